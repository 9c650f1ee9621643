"""The loop over epochs: several in one call, and pieces of one, come to the same as one after the other."""

import numpy as np
import pytest
from conftest import backends
from hypothesis import given
from hypothesis import strategies as st
from regressions import regression, snapshot

import fastbp as fb
from fastbp.training import epochs
from fastbp.training.sources import Record

each_backend = pytest.mark.parametrize("backend", backends())


@pytest.fixture
def joined(monkeypatch):
    """Epochs of any length are run ten in a call."""
    monkeypatch.setattr(epochs.EpochLoop, "_worth_joining", lambda self: 1 if self._callbacks else 10)


@each_backend
@pytest.mark.parametrize("rows", [12, 11])
@pytest.mark.parametrize("options", [
    {}, {"shuffle": False}, {"drop_last": True}, {"shuffle": lambda epoch, rows: np.roll(rows, epoch)},
    {"sample_weight": True}, {"sample_weight": True, "shuffle": False}],
    ids=lambda options: " ".join(options) or "plain")
def test_epochs_run_together_are_epochs_run_alone(backend, rows, options, joined):
    options = dict(options)
    if "sample_weight" in options:
        options["sample_weight"] = np.arange(rows) % 3
    optimizers = [fb.Adam(fb.CosineDecay(0.01, 60)) for _ in range(2)]
    (together, x, y), (alone, _, _) = (regression(backend, rows=rows, optimizer=o) for o in optimizers)
    note = fb.callbacks.Lambda()
    together.fit(x, y, epochs=13, batch_size=4, **options)
    alone.fit(x, y, epochs=13, batch_size=4, callbacks=[note], **options)
    assert snapshot(together) == snapshot(alone)
    assert together.history.epochs == alone.history.epochs == list(range(1, 14))
    for name in ("loss", "lr"):
        assert together.history[name] == alone.history[name]


@each_backend
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_epochs_that_were_complete_before_an_error_are_in_the_history(backend, error, joined):
    calls = []

    def loss(y_pred, y):
        calls.append(len(calls))
        if len(calls) == 9:
            raise error
        e = y_pred - y
        return np.mean(e * e), 2 * e / e.size
    net = fb.Sequential(fb.Linear(3, 1), seed=0, backend=backend)
    trainer = fb.Trainer(net, fb.CustomLoss(loss), fb.SGD(0.1))
    x = np.random.default_rng(0).normal(size=(12, 3))
    with pytest.raises(error):
        trainer.fit(x, x[:, 0], epochs=7, batch_size=4)
    assert (trainer.history.epochs, trainer.update.step) == ([1, 2], 8)
    assert trainer.fit(x, x[:, 0], epochs=1, batch_size=4).epochs == [1, 2, 3]


@each_backend
def test_epochs_that_were_complete_before_a_divergence_are_in_the_history(backend, joined):
    trainer, x, y = regression(backend, rows=12, optimizer=fb.SGD(lambda step: 1e300 if step >= 7 else 0.01))
    with pytest.raises(fb.DivergenceError, match=r"^epoch 3, batch 3: ") as caught:
        trainer.fit(x, y, epochs=7, batch_size=4)
    assert (caught.value.epoch, caught.value.batch) == (3, 3)
    assert trainer.history.epochs == [1, 2]
    assert np.isfinite(trainer.net.params.flat).all()


@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_mean_loss_of_an_epoch_does_not_depend_on_those_it_is_run_with(count, updates, seed):
    rng = np.random.default_rng(seed)
    losses, weights = rng.normal(size=(count, updates)), rng.integers(0, 3, (count, updates)).astype(float)
    together = Record()
    together.add(losses.ravel(), losses.ravel())
    expected = [float(np.average(one, weights=w)) if w.any() else 0.0 for one, w in zip(losses, weights, strict=True)]
    rows = together.epochs(weights)
    assert [row["loss"] for row in rows] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    for one, w, row in zip(losses, weights, rows, strict=True):
        alone = Record()
        for part in np.array_split(one, 3):
            alone.add(part, part)
        assert alone.epochs(w[None]) == [row]


@each_backend
def test_a_learning_rate_set_between_mini_batches_holds_from_the_next_one_on(backend):
    (trainer, x, y), (stepped, _, _) = regression(backend, rows=12), regression(backend, rows=12)

    def halve(trainer, batch):
        trainer.lr = trainer.lr / 2
    history = trainer.fit(x, y, batch_size=4, shuffle=False, callbacks=[fb.callbacks.Lambda(on_batch_end=halve)])
    for part, lr in ((slice(0, 4), 0.1), (slice(4, 8), 0.05), (slice(8, 12), 0.025)):
        stepped.lr = lr
        stepped.step(x[part], y[part])
    assert snapshot(trainer) == snapshot(stepped)
    assert history["lr"] == [0.025]


@each_backend
def test_a_fit_within_a_fit_is_refused_and_the_outer_one_stops_as_it_was_told(backend):
    trainer, x, y = regression(backend)
    refused = []

    def nest(trainer, epoch, logs):
        trainer.stop = True
        for again in (trainer.fit, lambda *a: trainer.fit([(x, y)])):
            with pytest.raises(RuntimeError, match=r"^fit: this trainer is in a fit already"):
                again(x, y)
            refused.append(trainer.callbacks)
    note = fb.callbacks.Lambda(on_epoch_end=nest)
    assert trainer.fit(x, y, epochs=5, callbacks=[note]).epochs == [1]
    assert refused == [(note,)] * 2
    assert trainer.fit(x, y).epochs == [1, 2]


def test_a_copy_made_within_a_fit_can_be_fitted():
    import copy
    trainer, x, y = regression()
    copies = []
    note = fb.callbacks.Lambda(on_epoch_end=lambda trainer, epoch, logs: copies.append(copy.deepcopy(trainer)))
    trainer.fit(x, y, epochs=2, callbacks=[note])
    assert copies[0].fit(x, y).epochs == [1, 2]
    assert snapshot(copies[0]) == snapshot(trainer)


def test_a_failing_end_of_a_callback_leaves_a_trainer_that_can_be_fitted():
    trainer, x, y = regression()

    def fail(trainer):
        raise RuntimeError("no")
    with pytest.raises(RuntimeError, match=r"^no$"):
        trainer.fit(x, y, callbacks=[fb.callbacks.Lambda(on_fit_end=fail)])
    assert (trainer.callbacks, trainer.fit(x, y).epochs) == ((), [1, 2])
