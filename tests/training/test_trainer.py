"""The trainer: what an epoch is made of, history, validation, divergence, interruption, and what it refuses."""

import copy
import math
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())


def regression(backend="reference", rows=10, **kwargs):
    """A trainer and data for it."""
    net = fb.Sequential(fb.Linear(3, 4), fb.Tanh(), fb.Linear(4, 1), seed=0, dtype="float64", backend=backend)
    rng = np.random.default_rng(5)
    x = rng.normal(size=(rows, 3))
    trainer = fb.Trainer(net, fb.MSE(), kwargs.pop("optimizer", None) or fb.SGD(lr=0.1, momentum=0.9), **kwargs)
    return trainer, x, x @ [0.5, -1.0, 0.2]


def by_steps(trainer, x, y, batches, weight=None):
    """Train on the given rows, mini-batch by mini-batch; return the losses."""
    return [trainer.step(x[b], y[b], None if weight is None else weight[b]) for b in batches]


def snapshot(trainer):
    return (trainer.net.params.flat.tobytes(), trainer.net.buffers.flat.tobytes(), trainer.update.step,
            *(s.tobytes() for s in trainer.update.state))


# ---- step -------------------------------------------------------------------------------------------------------


@each_backend
def test_step_is_the_loss_before_one_update(backend):
    trainer, x, y = regression(backend, optimizer=fb.SGD(lr=0.5))
    net = trainer.net
    loss = net.loss_and_grad(x, y, fb.MSE())
    expected = net.params.flat - 0.5 * net.grads.flat
    assert trainer.step(x, y) == pytest.approx(loss, rel=1e-14)
    np.testing.assert_allclose(net.params.flat, expected, rtol=1e-13)
    assert trainer.update.step == 1


@each_backend
def test_step_takes_sample_weights_and_schedules(backend):
    trainer, x, y = regression(backend, optimizer=fb.SGD(lr=fb.StepDecay(0.5, step_size=1, factor=0.1)))
    net, weight = trainer.net, np.arange(10.0)
    for lr in (0.5, 0.05):
        loss = net.loss_and_grad(x, y, fb.MSE(), weight)
        expected = net.params.flat - lr * net.grads.flat
        assert trainer.step(x, y, weight) == pytest.approx(loss, rel=1e-14)
        np.testing.assert_allclose(net.params.flat, expected, rtol=1e-12)


# ---- what an epoch is made of -----------------------------------------------------------------------------------


@each_backend
def test_an_epoch_is_its_mini_batches(backend):
    (whole, x, y), (stepped, _, _) = regression(backend), regression(backend)
    history = whole.fit(x, y, batch_size=4, shuffle=False)
    losses = by_steps(stepped, x, y, [slice(0, 4), slice(4, 8), slice(8, 10)])
    assert snapshot(whole) == snapshot(stepped)
    assert history["loss"] == [pytest.approx(np.average(losses, weights=[4, 4, 2]), rel=1e-14)]


@each_backend
def test_sample_weights_weigh_in_the_loss_of_an_epoch(backend):
    (whole, x, y), (stepped, _, _) = regression(backend), regression(backend)
    weight = np.arange(10.0)
    history = whole.fit(x, y, batch_size=4, shuffle=False, sample_weight=weight)
    batches = [slice(0, 4), slice(4, 8), slice(8, 10)]
    losses = by_steps(stepped, x, y, batches, weight)
    assert snapshot(whole) == snapshot(stepped)
    assert history["loss"] == [pytest.approx(np.average(losses, weights=[weight[b].sum() for b in batches]))]


def test_rows_without_weight_do_not_count():
    trainer, x, y = regression()
    assert trainer.fit(x, y, sample_weight=np.zeros(10))["loss"] == [0.0]


@each_backend
def test_shuffled_epochs_are_the_mini_batches_in_the_seeds_order(backend):
    (whole, x, y), (stepped, _, _) = regression(backend), regression(backend)
    whole.fit(x, y, batch_size=4, epochs=2)
    for epoch in (1, 2):
        order = np.random.default_rng((0, epoch)).permutation(10)
        by_steps(stepped, x, y, [order[:4], order[4:8], order[8:]])
    assert snapshot(whole) == snapshot(stepped)


@each_backend
def test_the_same_seed_trains_the_same_bits(backend):
    results = []
    for seed in (1, 1, 2):
        net = fb.Sequential(fb.Linear(3, 8), fb.Dropout(0.5), fb.Linear(8, 1), seed=seed, backend=backend)
        x = np.random.default_rng(0).normal(size=(50, 3))
        fb.Trainer(net, fb.MSE(), fb.Adam()).fit(x, x[:, 0], epochs=3, batch_size=8)
        results.append(net.params.flat.tobytes())
    assert results[0] == results[1] != results[2]


@each_backend
def test_going_on_is_never_having_stopped(backend):
    (once, x, y), (twice, _, _) = regression(backend), regression(backend)
    once.fit(x, y, epochs=4, batch_size=3)
    twice.fit(x, y, epochs=1, batch_size=3)
    history = twice.fit(x, y, epochs=3, batch_size=3)
    assert snapshot(once) == snapshot(twice)
    assert history is twice.history
    assert history.epochs == [1, 2, 3, 4]
    assert history["loss"] == once.history["loss"]


@each_backend
@pytest.mark.parametrize("remake", [copy.deepcopy, lambda trainer: pickle.loads(pickle.dumps(trainer))])
def test_copies_go_on_alike_and_apart(backend, remake):
    trainer, x, y = regression(backend, optimizer=fb.Adam(0.01), clip_norm=1.0)
    trainer.fit(x, y, epochs=2, batch_size=3)
    other = remake(trainer)
    assert snapshot(other) == snapshot(trainer)
    for one in (trainer, other):
        one.fit(x, y, epochs=2, batch_size=3)
        one.net.loss_and_grad(x, y, fb.MSE())
        one.optimizer.step(one.net)
    assert snapshot(other) == snapshot(trainer)
    assert other.history["loss"] == trainer.history["loss"]


@each_backend
@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_pieces_of_an_epoch_are_the_whole(backend, every):
    schedule = fb.ExponentialDecay(0.1, factor=0.9)
    (whole, x, y), (cut, _, _) = (regression(backend, rows=23, optimizer=fb.SGD(schedule, momentum=0.9))
                                  for _ in range(2))
    calls = []
    note = fb.callbacks.Lambda(every=every,
                                       on_batch_end=lambda t, batch: calls.append((t.update.step, batch)))
    for shuffle in (True, False):
        whole.fit(x, y, epochs=2, batch_size=4, shuffle=shuffle)
        cut.fit(x, y, epochs=2, batch_size=4, shuffle=shuffle, callbacks=[note])
    assert snapshot(whole) == snapshot(cut)
    assert whole.history["loss"] == cut.history["loss"]
    assert calls == [(step, (step - 1) % 6 + 1) for step in range(1, 25) if step % every == 0]


@each_backend
def test_a_batch_larger_than_the_data(backend):
    (whole, x, y), (stepped, _, _) = regression(backend), regression(backend)
    whole.fit(x, y, batch_size=1000, shuffle=False)
    stepped.step(x, y)
    assert snapshot(whole) == snapshot(stepped)


@each_backend
def test_learning_rates_are_those_of_the_schedule(backend):
    schedule = fb.CosineDecay(0.1, steps=6, warmup=2)
    (whole, x, y), (stepped, _, _) = (regression(backend, optimizer=fb.SGD(lr=schedule)) for _ in range(2))
    history = whole.fit(x, y, batch_size=4, epochs=2, shuffle=False)
    batches = [slice(0, 4), slice(4, 8), slice(8, 10)]
    by_steps(stepped, x, y, batches * 2)
    assert snapshot(whole) == snapshot(stepped)
    assert history["lr"] == [schedule(2), schedule(5)]


def test_reduce_on_plateau_sees_the_validation_loss():
    trainer, x, y = regression(optimizer=fb.SGD(lr=fb.ReduceOnPlateau(0.1, factor=0.5, patience=0, min_delta=1e9)))
    history = trainer.fit(x, y, epochs=3, validation_data=(x, y))
    assert history["lr"] == [0.1, 0.1, 0.05]
    assert trainer.optimizer.lr.plateau.best == history["val_loss"][0]


@each_backend
def test_the_networks_inputs_are_taken_as_they_are(backend):
    trainer, x, y = regression(backend)
    readonly = x.copy()
    readonly.flags.writeable = False
    trainer.fit(readonly, y.tolist(), batch_size=4)
    other, _, _ = regression(backend)
    other.fit(np.repeat(x, 2, axis=1)[:, ::2].astype(np.float64), y[:, None], batch_size=4)
    assert snapshot(trainer) == snapshot(other)


@each_backend
def test_several_inputs_and_outputs(backend):
    a, b = fb.Input(2), fb.Input(3)
    h = fb.Tanh()(fb.Linear(5, 6)(fb.Concat()(a, b)))
    net = fb.Network([a, b], [fb.Linear(6, 1)(h), fb.Linear(6, 3)(h)], seed=0, backend=backend)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2)), rng.normal(size=(30, 3))
    y = X[0].sum(axis=1), rng.integers(0, 3, 30)
    trainer = fb.Trainer(net, (fb.MSE(), fb.CrossEntropy()), fb.Adam(0.05),
                         metrics={"both": lambda t, p: len(t) == len(p) == 2})
    history = trainer.fit(X, y, epochs=60, batch_size=8, validation_data=(X, y))
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    assert history["val_accuracy_1"][-1] > 0.8
    assert history["val_both"][-1] == 1
    assert "val_accuracy_0" not in history[-1]
    assert trainer.evaluate(X, y)["loss"] == pytest.approx(net.loss(X, y, (fb.MSE(), fb.CrossEntropy())), rel=1e-6)


# ---- validation, metrics, evaluate ------------------------------------------------------------------------------


def classification(backend="reference"):
    net = fb.Sequential(fb.Linear(2, 16), fb.ReLU(), fb.Linear(16, 3), seed=0, backend=backend)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=300)
    return net, rng.normal(size=(300, 2)) * 0.3 + np.array([[0, 1], [1, -1], [-1, -1]])[labels], labels


@each_backend
def test_learns_to_classify(backend):
    net, x, labels = classification(backend)
    trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01))
    history = trainer.fit(x[:200], labels[:200], epochs=20, validation_data=(x[200:], labels[200:]))
    assert history["val_accuracy"][-1] > 0.97
    right = net.predict(x[200:]).argmax(axis=1) == labels[200:]
    assert trainer.evaluate(x[200:], labels[200:])["accuracy"] == pytest.approx(right.mean())
    assert history[-1]["val_accuracy"] == pytest.approx(right.mean())


@each_backend
def test_evaluate_is_the_loss_of_all_rows(backend):
    net, x, labels = classification(backend)
    weight = np.random.default_rng(1).uniform(size=300)
    loss = fb.CrossEntropy(class_weight=[1, 2, 3])
    trainer = fb.Trainer(net, loss, fb.Adam())
    before = snapshot(trainer)
    for size in (None, 7):
        result = trainer.evaluate(x, labels, weight, batch_size=size)
        assert result["loss"] == pytest.approx(net.loss(x, labels, loss, weight), rel=1e-6)
        right = net.predict(x).argmax(axis=1) == labels
        assert result["accuracy"] == pytest.approx(np.average(right, weights=weight))
    assert snapshot(trainer) == before


def test_metrics_return_one_number():
    for returned, what in ((np.zeros(3), "shape (3,)"), (None, "None"), ("good", "'good'"), ([], "shape (0,)")):
        trainer, x, y = regression(metrics={"mine": lambda t, p, returned=returned: returned})
        with pytest.raises(TypeError, match=re.escape(f"metric mine: returned {what}; expected one number")):
            trainer.evaluate(x, y)
    trainer, x, y = regression(metrics={"mine": lambda t, p: np.array([[2]])})
    assert trainer.evaluate(x, y)["mine"] == 2.0


def test_metrics_get_targets_and_outputs_of_one_shape():
    def worst(y_true, y_pred):
        assert y_true.shape == y_pred.shape == (10, 1)
        return np.abs(y_true - y_pred).max()
    trainer, x, y = regression(metrics=worst)
    expected = np.abs(trainer.net.predict(x)[:, 0] - y).max()
    result = trainer.evaluate(x, y)
    assert list(result) == ["loss", "worst"]
    assert result["worst"] == pytest.approx(expected)
    named, x, y = regression(metrics={"a": worst, "b": worst})
    assert list(named.fit(x, y, validation_data=(x, y))[0]) == [
        "epoch", "loss", "lr", "val_loss", "val_a", "val_b", "seconds", "samples_per_second"]
    assert list(regression(metrics=[worst])[0].metrics) == ["worst"]


@each_backend
def test_validation_comes_after_the_epoch_and_without_training(backend):
    net = fb.Sequential(fb.Linear(3, 8), fb.BatchNorm(), fb.Dropout(0.5), fb.Linear(8, 1), seed=0, backend=backend)
    x = np.random.default_rng(0).normal(size=(40, 3))
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam())
    history = trainer.fit(x, x[:, 0], epochs=1, batch_size=20, validation_data=(x, x[:, 0], np.arange(40.0)))
    assert history["val_loss"] == [pytest.approx(net.loss(x, x[:, 0], fb.MSE(), np.arange(40.0)), rel=1e-5)]


@each_backend
def test_validation_split_keeps_rows_apart(backend):
    (split, x, y), (stepped, _, _) = regression(backend, rows=20), regression(backend, rows=20)
    history = split.fit(x, y, epochs=2, batch_size=5, validation_split=0.25)
    shuffled = np.random.default_rng((0, 0)).permutation(20)
    kept, rows = np.sort(shuffled[:5]), np.sort(shuffled[5:])
    for epoch in (1, 2):
        order = np.random.default_rng((0, epoch)).permutation(rows)
        by_steps(stepped, x, y, np.split(order, 3))
    assert snapshot(split) == snapshot(stepped)
    assert history["val_loss"][-1] == pytest.approx(stepped.evaluate(x[kept], y[kept])["loss"])


@each_backend
def test_validation_split_without_shuffling(backend):
    (split, x, y), (stepped, _, _) = regression(backend, rows=20), regression(backend, rows=20)
    split.fit(x, y, batch_size=5, validation_split=0.25, shuffle=False)
    rows = np.sort(np.random.default_rng((0, 0)).permutation(20)[5:])
    by_steps(stepped, x, y, np.split(rows, 3))
    assert snapshot(split) == snapshot(stepped)


@each_backend
@pytest.mark.parametrize("epochs", [1, 3])
def test_rows_in_an_order_of_ones_own(backend, epochs):
    (whole, x, y), (stepped, _, _) = regression(backend), regression(backend)
    orders = {e: np.random.default_rng(e).integers(0, 10, 10) for e in range(1, 4)}
    seen = []

    def order(epoch, rows):
        seen.append((epoch, rows.tolist()))
        return orders[epoch]
    whole.fit(x, y, batch_size=5, epochs=epochs, shuffle=order)
    for epoch in range(1, epochs + 1):
        by_steps(stepped, x, y, np.split(orders[epoch], 2))
    assert snapshot(whole) == snapshot(stepped)
    assert seen == [(e, list(range(10))) for e in range(1, epochs + 1)]


@pytest.mark.parametrize("wrong", [[0, 1, 2], np.arange(10.0), np.arange(1, 11), np.arange(-1, 9), 3])
def test_an_order_that_is_none(wrong):
    trainer, x, y = regression()
    before = snapshot(trainer)
    with pytest.raises(ValueError, match=r"fit: shuffle returned .* expected 10 row numbers from 0 to 9"):
        trainer.fit(x, y, shuffle=lambda epoch, rows: wrong)
    assert snapshot(trainer) == before


# ---- history ----------------------------------------------------------------------------------------------------


def test_history():
    trainer, x, y = regression()
    history = trainer.fit(x, y, epochs=2)
    assert len(history) == 2
    assert history.epochs == [1, 2]
    assert history.keys() == ["epoch", "loss", "lr", "seconds", "samples_per_second"]
    assert [row["loss"] for row in history] == history["loss"] == history.to_dict()["loss"]
    assert history[-1] == list(history)[1]
    assert (np.array(history["samples_per_second"]) > 0).all()
    assert (np.array(history["seconds"]) > 0).all()
    assert repr(history).startswith("History(2 epochs; the newest: loss=")
    trainer.fit(x, y, validation_data=(x, y))
    assert [math.isnan(v) for v in history["val_loss"]] == [True, True, False]


def test_empty_history():
    history = fb.History()
    assert (len(history), history.epochs, history.to_dict(), repr(history)) == (0, [], {}, "History(no epochs yet)")
    with pytest.raises(KeyError, match=r"'loss'; there are no epochs yet"):
        history["loss"]


def test_history_is_not_changed_through_its_rows():
    history = fb.History([{"epoch": 1, "loss": 0.5}])
    history[0]["loss"] = 9
    next(iter(history))["loss"] = 9
    assert history["loss"] == [0.5]


# ---- progress ---------------------------------------------------------------------------------------------------


@each_backend
def test_progress_is_silent_without_a_terminal(backend, capfd):
    trainer, x, y = regression(backend)
    trainer.fit(x, y, epochs=3)
    assert capfd.readouterr() == ("", "")


@each_backend
def test_progress_on_a_terminal(backend, monkeypatch, capsys):
    trainer, x, y = regression(backend)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    trainer.fit(x, y, epochs=3, batch_size=4)
    shown = capsys.readouterr().err
    assert "epoch 3" in shown
    assert "9/9" in shown
    assert "loss=" in shown
    trainer.fit(x, y, epochs=3, progress=False)
    assert capsys.readouterr().err == ""


# ---- divergence -------------------------------------------------------------------------------------------------


@each_backend
def test_divergence_names_epoch_and_batch_and_keeps_the_last_good_parameters(backend):
    def make():
        net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(1.0)), fb.BatchNorm(1), fb.Linear(1, 1), seed=0,
                            backend=backend)
        return fb.Trainer(net, fb.MSE(), fb.SGD(lr=1e-3, momentum=0.9))
    trainer, stepped = make(), make()
    x = np.arange(1.0, 13)[:, None]
    y = x[:, 0].copy()
    trainer.fit(x, y, batch_size=4, shuffle=False)
    by_steps(stepped, x, y, [slice(0, 4), slice(4, 8), slice(8, 12), slice(0, 4), slice(4, 8)])
    bad = x.copy()
    bad[9] = np.inf
    with pytest.raises(fb.DivergenceError) as caught:
        trainer.fit(bad, y, batch_size=4, shuffle=False)
    assert str(caught.value) == (
        "epoch 2, batch 3: input is not finite. The input data has NaN or infinite values: fill or leave out such "
        "rows. The network holds the parameters from after the last good mini-batch.")
    assert (caught.value.epoch, caught.value.batch, caught.value.tensor) == (2, 3, "input")
    assert snapshot(trainer) == snapshot(stepped)
    assert trainer.history.epochs == [1]


@each_backend
@pytest.mark.parametrize("shuffle", [True, False])
def test_divergence_in_pieces_counts_the_batches_of_the_epoch(backend, shuffle):
    trainer, x, y = regression(backend, rows=24)
    order = np.random.default_rng((0, 1)).permutation(24) if shuffle else np.arange(24)
    x[order[4 * 4 + 1]] = np.nan
    note = fb.callbacks.Lambda(every=3, on_batch_end=lambda *a: None)
    with pytest.raises(fb.DivergenceError, match=r"^epoch 1, batch 5: input is not finite") as caught:
        trainer.fit(x, y, batch_size=4, shuffle=shuffle, callbacks=[note])
    assert caught.value.batch == 5
    assert trainer.update.step == 4


@each_backend
@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf])
def test_bad_learning_rates_are_refused(backend, lr):
    trainer, x, y = regression(backend, optimizer=fb.SGD(lr=lambda step: lr))
    before = snapshot(trainer)
    for run in (trainer.step, trainer.fit):
        with pytest.raises(ValueError, match=f"gives the learning rate {lr} at step 0; expected a finite number"):
            run(x, y)
    assert snapshot(trainer) == before


@each_backend
@pytest.mark.parametrize(("scale", "lr", "advice"), [
    (1.0, 1e200, "The learning rate (1e+200) is probably too high: lower it, or clip the gradient with clip_norm=1.0."),
    (1e150, 0.1, "The inputs are large (up to 1e+150): standardise them to mean 0 and standard deviation 1, or lower "
                 "the learning rate (0.1)."),
])
def test_advice(backend, scale, lr, advice):
    net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(2.0)), dtype="float64", backend=backend)
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(lr=lr))
    with pytest.raises(fb.DivergenceError, match=re.escape(advice)):
        for _ in range(100):
            trainer.step([[scale]], [0.0])
    assert np.isfinite(net.params.flat).all()


@each_backend
def test_advice_for_bad_parameters(backend):
    trainer, x, y = regression(backend)
    trainer.net.params["2.weight"][0] = np.nan
    message = r"^epoch 1, batch 1: 2\.weight is not finite\. It was so before the step"
    with pytest.raises(fb.DivergenceError, match=message):
        trainer.step(x, y)


@each_backend
def test_clipping_is_not_advised_where_it_is_on(backend):
    net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(2.0)), dtype="float64", backend=backend)
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(lr=1e300), clip_norm=1.0)
    with pytest.raises(fb.DivergenceError, match=r"is probably too high: lower it\. The network holds"):
        for _ in range(5):
            trainer.step([[1.0]], [0.0])


# ---- interruption -----------------------------------------------------------------------------------------------


@each_backend
def test_ctrl_c_leaves_a_network_that_can_be_trained_on(backend):
    (trainer, x, y), (whole, _, _) = regression(backend), regression(backend)

    def interrupt(trainer, batch):
        if trainer.epoch == 1:
            raise KeyboardInterrupt
    ended = []
    note = fb.callbacks.Lambda(on_progress=interrupt, on_fit_end=lambda trainer: ended.append(trainer.epoch))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(x, y, epochs=5, batch_size=2, callbacks=[note])
    assert ended == [1]
    assert trainer.history.epochs == [1]
    done = trainer.update.step
    assert 5 < done <= 10

    # what was done is exactly so many mini-batches, in the order that the seed gives
    for epoch in (1, 2):
        order = np.random.default_rng((0, epoch)).permutation(10)
        by_steps(whole, x, y, np.split(order, 5)[:done - 5 * (epoch - 1)])
    assert snapshot(trainer) == snapshot(whole)
    assert trainer.fit(x, y, batch_size=2).epochs == [1, 2]


@each_backend
def test_ctrl_c_within_a_mini_batch(backend, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(f"""
import os, signal, threading, time
import numpy as np
import fastbp as fb

def interrupt():
    while not trainer.update.step:
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)

def make():
    net = fb.Sequential(fb.Linear(20, 50), fb.BatchNorm(), fb.Tanh(), fb.Linear(50, 1), seed=0, backend={backend!r})
    return fb.Trainer(net, fb.MSE(), fb.Adam())

x = np.random.default_rng(0).normal(size=(64, 20))
trainer, again = make(), make()
threading.Thread(target=interrupt).start()
try:
    trainer.fit(x, x[:, 0], epochs=10**9, batch_size=16, shuffle=False)
except KeyboardInterrupt:
    print("interrupted")
done = trainer.update.step
again.fit(x, x[:, 0], epochs=done // 4, batch_size=16, shuffle=False) if done >= 4 else None
for k in range(done % 4):
    again.step(x[k * 16:k * 16 + 16], x[k * 16:k * 16 + 16, 0])
assert (trainer.net.params.flat == again.net.params.flat).all()
assert (trainer.net.buffers.flat == again.net.buffers.flat).all()
assert all((a == b).all() for a, b in zip(trainer.update.state, again.update.state))
assert trainer.update.step == again.update.step > 0
""")
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (result.stdout, result.stderr) == ("interrupted\n", "")


def test_a_step_of_the_reference_is_whole_or_not_at_all():
    class Interrupted(fb.SGD):
        def update(self, params, grads, state, lr, step, weight_decay):
            super().update(params, grads, state, lr, step, weight_decay)
            if step == 3:
                raise KeyboardInterrupt
    (trainer, x, y), (other, _, _) = (regression(optimizer=one(lr=0.1, momentum=0.9)) for one in (Interrupted, fb.SGD))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(x, y, batch_size=2, shuffle=False)
    by_steps(other, x, y, [slice(0, 2), slice(2, 4)])
    assert snapshot(trainer) == snapshot(other)


def test_an_error_in_a_callback_ends_those_that_began():
    trainer, x, y = regression()
    ended = []

    def fail(trainer):
        raise RuntimeError("no")
    callbacks = [fb.callbacks.Lambda(on_fit_end=lambda t: ended.append("first")),
                 fb.callbacks.Lambda(on_fit_begin=fail, on_fit_end=lambda t: ended.append("second")),
                 fb.callbacks.Lambda(on_fit_end=lambda t: ended.append("third"))]
    with pytest.raises(RuntimeError, match="no"):
        trainer.fit(x, y, callbacks=callbacks)
    assert ended == ["first", "second"]


# ---- what is refused --------------------------------------------------------------------------------------------

X, Y = np.ones((4, 3)), np.ones(4)
REFUSED = [
    ({"X": np.ones((4, 2))}, ValueError, "x has shape (4, 2); expected (B, 3): 3 features in the last axis"),
    ({"X": np.ones((4, 3), complex)}, TypeError,
     "x has dtype complex128; expected real numbers (take its real part)"),
    ({"X": np.ones((0, 3)), "y": []}, ValueError, "x has no rows; expected at least one sample"),
    ({"y": [1, 2]}, ValueError, "y has 2 rows; expected 4, as x has"),
    ({"sample_weight": [1, 2]}, ValueError, "sample_weight has shape (2,); expected (4,): one for each row of x"),
    ({"epochs": 0}, ValueError, "fit: epochs is 0; expected a positive integer"),
    ({"epochs": 1.5}, ValueError, "fit: epochs is 1.5; expected a positive integer"),
    ({"batch_size": -1}, ValueError, "fit: batch_size is -1; expected a positive integer"),
    ({"batch_size": True}, ValueError, "fit: batch_size is True; expected a positive integer"),
    ({"validation_split": 1}, ValueError, "fit: validation_split is 1; expected a number from 0 to below 1"),
    ({"validation_split": 0.9}, ValueError,
     "fit: validation_split is 0.9 of 4 rows; nothing would be left to train on"),
    ({"validation_split": 0.5, "validation_data": (X, Y)}, ValueError,
     "fit: validation_data and validation_split are both given; give one of them"),
    ({"validation_data": X}, ValueError, "fit: validation_data is not a tuple (X, y) or (X, y, sample_weight)"),
    ({"validation_data": (X, Y[:2])}, ValueError, "validation_data: y has 2 rows; expected 4, as x has"),
    ({"callbacks": fb.callbacks.Callback()}, TypeError, "fit: callbacks is Callback(); expected a list"),
    ({"callbacks": [print]}, TypeError,
     "fit: callbacks holds <built-in function print>; expected instances of fb.callbacks.Callback"),
    ({"callbacks": [fb.callbacks.EarlyStopping]}, TypeError,
     "fit: callbacks holds the class EarlyStopping; expected instances of fb.callbacks.Callback"),
]


@each_backend
@pytest.mark.parametrize(("change", "error", "message"), REFUSED)
def test_refused_arguments_change_nothing(change, error, message, backend):
    trainer, _, _ = regression(backend)
    before = snapshot(trainer)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        trainer.fit(**{"X": X, "y": Y, **change})
    assert snapshot(trainer) == before
    assert len(trainer.history) == 0


@each_backend
def test_one_row_for_batch_normalisation_changes_nothing(backend):
    net = fb.Sequential(fb.Linear(3, 2), fb.BatchNorm(), fb.Linear(2, 1), seed=0, backend=backend)
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD())
    before = snapshot(trainer)
    for run in (lambda: trainer.step(X[:1], Y[:1]), lambda: trainer.fit(X, Y, batch_size=3)):
        with pytest.raises(ValueError, match="BatchNorm"):
            run()
    assert snapshot(trainer) == before


def test_batch_size_of_evaluate():
    trainer, x, y = regression()
    with pytest.raises(ValueError, match=r"^evaluate: batch_size is 0; expected a positive integer$"):
        trainer.evaluate(x, y, batch_size=0)


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"net": 3}, TypeError, "Trainer: net is 3; expected a network such as fb.Sequential(…)"),
    ({"loss": fb.MSE}, TypeError, "loss is the class MSE; expected an instance: MSE()"),
    ({"loss": "mse"}, TypeError,
     "loss is 'mse'; expected a loss such as fb.MSE(), or a function of outputs and targets that returns one number"),
    ({"optimizer": fb.Adam}, TypeError, "Trainer: optimizer is the class Adam; expected an instance: Adam()"),
    ({"optimizer": "adam"}, TypeError,
     "Trainer: optimizer is 'adam'; expected an optimizer such as fb.Adam(lr=1e-3)"),
    ({"metrics": 3}, TypeError, "Trainer: metrics is 3; expected a list"),
    ({"metrics": [3]}, TypeError, "Trainer: metrics holds 3; expected functions metric(y_true, y_pred)"),
    ({"metrics": {"loss": max}}, ValueError,
     "Trainer: a metric is called 'loss', as one that is there already; give another name: "
     "metrics={\"my_loss\": loss}"),
    ({"clip_norm": 0}, ValueError, "Trainer: clip_norm is 0; expected a number above 0, or None"),
    ({"clip_value": -1}, ValueError, "Trainer: clip_value is -1; expected a number above 0, or None"),
])
def test_refused_trainers(change, error, message):
    net = fb.Sequential(fb.Linear(3, 1), backend="reference")
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        fb.Trainer(**{"net": net, "loss": fb.MSE(), "optimizer": fb.Adam(), **change})


def test_repr():
    trainer, x, y = regression()
    trainer.fit(x, y, epochs=2)
    assert repr(trainer) == f"Trainer({trainer.net!r}, loss=MSE(), optimizer={trainer.optimizer!r}, 2 epochs done)"
