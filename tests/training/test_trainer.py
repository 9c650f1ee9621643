"""The trainer: what a step and an epoch are made of, progress, and what it refuses."""

import copy
import pickle
import re

import numpy as np
import pytest
from conftest import backends
from regressions import by_steps, regression, snapshot

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())
X4 = np.random.default_rng(0).standard_normal((20, 4))


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
    ({"loss": 3}, TypeError,
     "loss is 3; expected a loss such as fb.MSE(), or a function of outputs and targets that returns one number"),
    ({"optimizer": fb.Adam}, TypeError, "Trainer: optimizer is the class Adam; expected an instance: Adam()"),
    ({"optimizer": 3}, TypeError,
     "Trainer: optimizer is 3; expected an optimizer such as fb.Adam(lr=1e-3)"),
    ({"metrics": 3}, TypeError, "Trainer: metrics is 3; expected a list"),
    ({"metrics": [3]}, TypeError, "Trainer: metrics holds 3; expected names or functions metric(y_true, y_pred)"),
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


def two_heads(backend: str) -> fb.Network:
    x = fb.Input(4)
    body = fb.Tanh()(fb.Linear(4, 6, name="body")(x))
    return fb.Network(x, (fb.Linear(6, 2, name="a")(body), fb.Linear(6, 3, name="b")(body)), seed=0, dtype="float64",
                      backend=backend)


OPTIMIZERS = [lambda: fb.SGD(0.1, momentum=0.9, weight_decay=0.1), lambda: fb.AdamW(0.1),
              lambda: fb.Lion(0.1, weight_decay=0.1)]


@pytest.mark.parametrize("limits", [{}, {"clip_norm": 0.05}, {"clip_value": 0.01}])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_parameters_that_a_function_does_not_reach_decay_all_the_same(optimizer, limits) -> None:
    ended = []
    for backend in ("native", "reference"):
        net = two_heads(backend)
        before = net.params["b.weight"].copy()
        fb.Trainer(net, lambda a, b, y: np.mean(np.square(a - y)), optimizer(), **limits).fit(
            X4, (X4[:, :2],), epochs=2, batch_size=8, progress=False)
        assert not np.allclose(net.params["b.weight"], before, rtol=1e-3)
        ended.append(net.params.flat.copy())
    np.testing.assert_allclose(*ended, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("limits", [{}, {"clip_norm": 0.05}])
@pytest.mark.parametrize("loss", [(fb.MSE(), fb.MSE()), lambda a, b, y, z: np.mean((a - y) ** 2) + np.mean((b - z)**2)])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_a_part(optimizer, loss, limits) -> None:
    y = (X4[:, :2], X4[:, :3])
    for parameters, trained in (("a.*", {"a.weight", "a.bias"}),
                                (["b.bias", "body.weight"], {"b.bias", "body.weight"})):
        ended = []
        for backend in ("native", "reference"):
            net = two_heads(backend)
            before = net.state_dict()
            trainer = fb.Trainer(net, loss, optimizer(), parameters=parameters, **limits)
            trainer.fit(X4, y, epochs=2, batch_size=8, progress=False)
            trainer.step(X4, y)
            changed = {n for n, p in net.params.items() if not np.array_equal(p, before[n])}
            assert changed == trained
            ended.append(net.params.flat.copy())
        np.testing.assert_allclose(*ended, rtol=1e-11, atol=1e-13)


def test_training_a_network_within_another() -> None:
    for backend in ("native", "reference"):
        generator = fb.Sequential(fb.Linear(4, 4), seed=0, backend=backend)
        critic = fb.Sequential(fb.Linear(4, 8), fb.Tanh(), fb.Linear(8, 1), seed=1, backend=backend)
        x = fb.Input(4)
        both = fb.Network(x, critic(generator(x)), backend=backend)
        before = critic.state_dict(), generator.state_dict()
        fb.Trainer(both, fb.MSE(), fb.AdamW(0.1), parameters=generator).step(X4, X4[:, :1])
        assert all(np.array_equal(a, before[0][n]) for n, a in critic.params.items())
        assert not any(np.array_equal(a, before[1][n]) for n, a in generator.params.items())


def test_an_optimizer_remembers_each_part_by_itself(tmp_path) -> None:
    net, adam = two_heads("native"), fb.Adam(0.01)
    loss, y = (fb.MSE(), fb.MSE()), (X4[:, :2], X4[:, :3])
    first, second = (fb.Trainer(net, loss, adam, parameters=p) for p in ("a.*", "b.*"))
    first.fit(X4, y, epochs=2, progress=False)
    assert (first.update.step, second.update.step) == (2, 0)
    first.save_checkpoint(tmp_path / "run")
    resumed = fb.Trainer.resume(tmp_path / "run")
    for trainer in (first, resumed):
        trainer.fit(X4, y, epochs=1, progress=False)
    np.testing.assert_array_equal(resumed.net.params.flat, net.params.flat)


@pytest.mark.parametrize(("parameters", "message"), [
    ("c.*", r"Trainer: parameters: no parameter is called 'c\.\*'; there are 'body\.weight'"),
    ([], "has nothing that is trained"),
    ([3], r"got \[3\]; expected names"),
    (fb.Sequential(fb.Linear(4, 1)), "does not share its memory"),
])
def test_parameters_that_there_are_not(parameters, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        fb.Trainer(two_heads("reference"), (fb.MSE(), fb.MSE()), fb.Adam(), parameters=parameters)
