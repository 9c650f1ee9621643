"""What Python code changes while a network trains decides no address: arrays, and the optimizer's state."""

import threading
from contextlib import suppress

import numpy as np
import pytest
from conftest import backends
from regressions import regression, snapshot

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())


def classifier(backend, loss=None, **options):
    """A trainer of a classifier, and data for it."""
    net = fb.Sequential(fb.Linear(4, 8), fb.Tanh(), fb.Linear(8, 3), seed=0, dtype="float64", backend=backend)
    rng = np.random.default_rng(0)
    trainer = fb.Trainer(net, loss or fb.CrossEntropy(), fb.Adam(0.01), **options)
    return trainer, rng.normal(size=(36, 4)), rng.integers(0, 3, 36)


@each_backend
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_batch_end", "on_progress", "on_epoch_end"])
@pytest.mark.parametrize("label", [-1, 3, 2**31, -2**63, 2**62])
@pytest.mark.parametrize("loss", [fb.CrossEntropy(), fb.CrossEntropy(0.1, class_weight=[1, 2, 3])], ids=str)
def test_labels_that_a_callback_changes_are_those_that_were_given(backend, hook, label, loss):
    (changed, x, y), (whole, _, _) = classifier(backend, loss), classifier(backend, loss)
    kept = y.copy()

    def spoil(*arguments):
        y[:] = label
    changed.fit(x, y, epochs=3, batch_size=8, callbacks=[fb.callbacks.Lambda(every=2, **{hook: spoil})])
    whole.fit(x, kept, epochs=3, batch_size=8)
    assert snapshot(changed) == snapshot(whole)


@each_backend
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_batch_end", "on_progress", "on_epoch_end"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_callback_that_reshapes_the_arrays_reshapes_none_of_ours(backend, hook, shuffle):
    (changed, x, y), (whole, _, _) = regression(backend, rows=36), regression(backend, rows=36)
    y, weight = y.astype("float64"), np.ones(36)
    same = x.copy(), y.copy(), weight.copy()

    def spoil(*arguments):
        x.shape, y.shape, weight.shape = (3, 36), (6, 6), (4, 9)
    changed.fit(x, y, epochs=3, batch_size=8, shuffle=shuffle, sample_weight=weight, validation_data=(x, y),
                callbacks=[fb.callbacks.Lambda(every=2, **{hook: spoil})])
    whole.fit(same[0], same[1], epochs=3, batch_size=8, shuffle=shuffle, sample_weight=same[2])
    assert snapshot(changed) == snapshot(whole)


@each_backend
@pytest.mark.parametrize("hook", ["on_batch_end", "on_progress"])
def test_the_memory_of_arrays_stays_where_it_is_while_they_are_trained_on(backend, hook):
    trainer, x, y = regression(backend, rows=36)
    owner = np.concatenate([x, x])
    refused = []

    def grow(*arguments):
        try:
            owner.resize((10**4, 3), refcheck=False)
        except ValueError:
            refused.append(True)
    if backend == "reference":
        pytest.skip("NumPy's own views are all that it uses")
    trainer.fit(owner[:36], y, epochs=2, batch_size=8, shuffle=False,
                callbacks=[fb.callbacks.Lambda(every=1, **{hook: grow})])
    assert refused
    refused.clear()
    grow()
    assert not refused, "and is let go of afterwards"


@pytest.mark.skipif("native" not in backends(), reason="needs the native backend")
def test_another_thread_that_rewrites_labels_during_steps_does_no_harm():
    trainer, x, y = classifier("native")
    x, y = np.tile(x, (20, 1)), np.tile(y, 20)
    over = threading.Event()

    def rewrite():
        while not over.is_set():
            y[:] = 2**40
            y[:] = 1
    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for _ in range(300):
            with suppress(ValueError):  # labels that are out of range when they are looked at
                trainer.step(x, y)
                trainer.net.loss_and_grad(x, y, fb.CrossEntropy())
    finally:
        over.set()
        thread.join()
    assert np.isfinite(trainer.net.params.flat).all()


class Unchecked(fb.CrossEntropy):
    """A loss of one's own whose targets are whatever was given."""

    def targets(self, t, out_shape, dtype, rows, name="y"):
        return np.asarray(t)


@pytest.mark.skipif("native" not in backends(), reason="needs the native backend")
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("label", [-1, 3, 2**40, -2**63])
def test_labels_that_a_loss_of_ones_own_lets_pass_read_and_write_nothing_outside(label, weights):
    trainer, x, y = classifier("native", Unchecked(class_weight=weights))
    before = snapshot(trainer)
    y[7] = label
    for run in (lambda: trainer.fit(x, y, batch_size=8), lambda: trainer.step(x, y)):
        with pytest.raises((fb.DivergenceError, ValueError)):
            run()
    assert np.isfinite(trainer.net.params.flat).all()
    trainer.net.load_state_dict(fb.Sequential(fb.Linear(4, 8), fb.Tanh(), fb.Linear(8, 3), seed=0,
                                              dtype="float64").state_dict())
    assert snapshot(trainer)[0] == before[0]


@pytest.mark.skipif("native" not in backends(), reason="needs the native backend")
@pytest.mark.parametrize(("base", "made"), [
    (fb.CrossEntropy, lambda t: t.astype("int32")),
    (fb.CrossEntropy, lambda t: t[:-1]),
    (fb.CrossEntropy, lambda t: np.repeat(t, 2)[::2]),
    (fb.CrossEntropy, lambda t: t[:, None].repeat(2, axis=1)),
    (fb.CrossEntropy, lambda t: t[:, None].astype(float)),
    (fb.MSE, lambda t: t[:, None].astype(float)),
    (fb.MSE, lambda t: t[:, None].repeat(3, axis=1)),
    (fb.Huber, lambda t: np.zeros((len(t), 4))),
], ids=["int32", "too few", "not contiguous", "too wide", "too few probabilities", "too narrow", "integers",
        "too wide reals"])
def test_targets_that_fit_no_plan_are_refused(base, made):
    class Wrong(base):
        def targets(self, t, out_shape, dtype, rows, name="y"):
            return made(np.asarray(t, np.int64))
    trainer, x, y = classifier("native", Wrong())
    before = snapshot(trainer)
    def by_hand(x, y):
        return trainer.net.loss_and_grad(x, y, trainer.loss)
    for run in (trainer.fit, trainer.step, by_hand, trainer.evaluate):
        with pytest.raises(ValueError, match=r"targets\(\) gave an array of shape|a plan is fed"):
            run(x, y)
    assert snapshot(trainer) == before


@each_backend
def test_the_optimizers_state_is_a_tuple_and_what_replaces_it_is_checked(backend):
    trainer, x, y = classifier(backend)
    trainer.step(x, y)
    with pytest.raises(AttributeError):
        trainer.update.state.clear()
    if backend == "reference":
        return
    kept = trainer.update.state
    for change in (lambda s: s[:-1], lambda s: s.astype("float32"), lambda s: s[None], None):
        wrong = kept[:1] if change is None else map(change, kept)
        trainer.update.state = tuple(wrong)
        before = snapshot(trainer)
        for run in (trainer.step, trainer.fit):
            with pytest.raises(ValueError, match="the state of Adam was changed"):
                run(x, y)
        assert snapshot(trainer) == before
    trainer.update.state = list(kept)
    trainer.step(x, y)
    trainer.update.state.clear()
    with pytest.raises(ValueError, match="the state of Adam was changed"):
        trainer.step(x, y)


@pytest.mark.skipif("native" not in backends(), reason="needs the native backend")
def test_an_optimizer_that_gives_too_many_numbers_or_segments_is_refused():
    class Many(fb.SGD):
        def hyper(self):
            return (0.0,) * 100
    net = fb.Sequential(fb.Linear(4, 3), seed=0)
    trainer = fb.Trainer(net, fb.MSE(), Many(0.1))
    x, y = np.ones((5, 4)), np.ones((5, 3))
    with pytest.raises(ValueError, match="numbers in hyper"):
        trainer.step(x, y)
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(0.1))
    trainer.update.segments.append(type(trainer.update.segments[0])(10, 10**9, 0.0))
    with pytest.raises(ValueError, match=r"update\.segments has Segment"):
        trainer.step(x, y)


@each_backend
def test_every_loss_is_asked_about_sample_weights(backend):
    def heedless(y_pred, y):
        e = y_pred - y
        return np.mean(e * e), 2 * e / e.size
    h = fb.Input(2)
    net = fb.Network(h, (fb.Linear(2, 1)(h), fb.Linear(2, 1)(h)), seed=0, backend=backend)
    x, y, weight = np.ones((4, 2)), (np.ones(4), np.ones(4)), np.ones(4)
    mine = fb.CustomLoss(heedless)
    for losses in ((mine, fb.MSE()), (fb.MSE(), mine)):
        trainer = fb.Trainer(net, losses, fb.SGD(0.1))
        before = snapshot(trainer)
        refused = pytest.raises(ValueError, match="sample_weight is given, which it has no parameter for")
        with refused:
            trainer.step(x, y, weight)
        with refused:
            trainer.evaluate(x, y, weight)
        with refused:
            net.loss_and_grad(x, y, losses, weight)
        with refused:
            trainer.fit(x, y, sample_weight=weight)
        with refused:
            trainer.fit([(x, y, weight)])
        assert snapshot(trainer) == before


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("which", range(5))
def test_arrays_in_use_are_not_resized(backend, which):
    """Not even where NumPy is told to look at no references: the memory would be freed under the run."""
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((40, 3)).astype("float32"), rng.standard_normal((40, 1)).astype("float32"), \
        np.ones(40, np.float32), np.ones((1000, 3), np.float32), np.ones((1000, 1), np.float32)
    refused = []

    class Resizes(fb.callbacks.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            with pytest.raises(ValueError, match="cannot resize"):
                arrays[which].resize(1, refcheck=False)
            refused.append(epoch)

    trainer = fb.Trainer(fb.Sequential(fb.Linear(3, 1), seed=0, backend=backend), fb.MSE(), fb.SGD(0.01))
    trainer.fit(*arrays[:2], sample_weight=arrays[2], epochs=2, callbacks=[Resizes()], progress=False, drop_last=True,
                shuffle=False, validation_data=arrays[3:])
    assert refused == [1, 2]
