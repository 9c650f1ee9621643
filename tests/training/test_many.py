"""Many networks at once: what each trainer does is what it does alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp as fb

RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 4)).astype("float32")
Y = RNG.normal(size=(70, 1)).astype("float32")


def trainers(count: int = 6, lr: float = 0.01, **options: Any) -> list[fb.Trainer]:
    nets = [fb.Sequential(fb.Linear(4, 8), fb.Tanh(), fb.Dropout(0.2), fb.Linear(8, 1), seed=i, **options)
            for i in range(count)]
    return [fb.Trainer(net, fb.MSE(), fb.Adam(lr)) for net in nets]


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Any:
    before = fb.get_num_threads()
    fb.set_num_threads(request.param)
    yield request.param
    fb.set_num_threads(before)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_each_comes_out_as_alone(threads: int, backend: str) -> None:
    together, alone = trainers(backend=backend), trainers(backend=backend)
    options = {"epochs": 4, "batch_size": 16, "validation_split": 0.2}
    histories = fb.fit_many(together, X, Y, **options)
    for a, b, history in zip(together, alone, histories, strict=True):
        b.fit(X, Y, progress=False, **options)
        assert a.net.params.flat.tobytes() == b.net.params.flat.tobytes()
        assert history is a.history
        assert history["val_loss"] == b.history["val_loss"]


def test_callbacks_of_each(threads: int) -> None:
    seen: list[list[int]] = [[] for _ in range(3)]
    fb.fit_many(trainers(3), X, Y, epochs=4, callbacks=lambda i: [fb.callbacks.Lambda(
        on_epoch_end=lambda trainer, epoch, logs: seen[i].append(epoch) or setattr(trainer, "stop", epoch > i))])
    assert seen == [[1], [1, 2], [1, 2, 3]]


def test_one_that_diverges_ends_by_itself(threads: int) -> None:
    made = trainers(4)
    made[2].optimizer.lr = 1e30
    with pytest.raises(fb.DivergenceError) as caught:
        fb.fit_many(made, X, Y, epochs=3)
    assert caught.value.__notes__ == ["raised by trainer 2 of fit_many"]
    assert [trainer.epoch for trainer in made] == [3, 3, made[2].epoch, 3]
    assert np.isfinite(made[2].net.params.flat).all()


def test_batches_in_a_list(threads: int) -> None:
    together, alone = trainers(2), trainers(2)
    batches = [(X[i:i + 16], Y[i:i + 16]) for i in range(0, 70, 16)]
    fb.fit_many(together, batches, epochs=2)
    for a, b in zip(together, alone, strict=True):
        b.fit(batches, epochs=2, progress=False)
        assert a.net.params.flat.tobytes() == b.net.params.flat.tobytes()


@pytest.mark.parametrize(("given", "message"), [
    ([], "expected a sequence of fb.Trainer"), ([3], "expected a sequence of fb.Trainer")])
def test_what_are_no_trainers(given: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"fit_many: trainers is .*{message}"):
        fb.fit_many(given, X, Y)


def test_a_network_twice_and_callbacks_for_all_are_refused() -> None:
    one = trainers(1)
    with pytest.raises(ValueError, match="trainers share a network"):
        fb.fit_many(one * 2, X, Y)
    with pytest.raises(TypeError, match="expected a function of the number of a trainer"):
        fb.fit_many(one, X, Y, callbacks=[fb.callbacks.EarlyStopping()])
    with pytest.raises(TypeError, match="epoch"):
        fb.fit_many(one, X, Y, epoch=3)


# ---- ensembles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_an_ensemble_is_the_mean_of_its_members(backend: str, tmp_path: Path) -> None:
    nets = [trainer.net for trainer in trainers(3, backend=backend)]
    fb.fit_many([fb.Trainer(net, fb.MSE(), fb.Adam(0.01)) for net in nets], X, Y, epochs=2)
    ensemble = fb.Ensemble(nets)
    each = np.stack([net.predict(X) for net in nets])
    for made in (ensemble, fb.load(_saved(ensemble, tmp_path), backend=backend)):
        assert isinstance(made, fb.Ensemble)
        assert made.size == 3
        mean, std = made.predict(X, return_std=True)
        np.testing.assert_array_equal(made.predict_members(X), each)
        np.testing.assert_allclose(mean, each.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(std, each.std(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(made.predict(X, batch_size=16), made.predict(X))


def _saved(net: fb.Network, folder: Path) -> Path:
    net.save(folder / "ensemble.safetensors")
    return folder / "ensemble.safetensors"


def test_members_are_copied_and_may_be_copies_of_each_other() -> None:
    net = trainers(1)[0].net
    other = net.copy()
    other.params.flat += 1
    ensemble = fb.Ensemble([net, other, net])
    before = ensemble.predict(X)
    np.testing.assert_array_equal(ensemble.predict_members(X)[0], net.predict(X))
    net.params.flat[...] = 0
    np.testing.assert_array_equal(ensemble.predict(X), before)


def test_members_of_several_inputs() -> None:
    def made(seed: int) -> fb.Network:
        a, ids = fb.Input(4), fb.Input(1, dtype="int64")
        return fb.Network([a, ids], fb.Linear(6, 2)(fb.Concat()(a, fb.Flatten()(fb.Embedding(5, 2)(ids)))), seed=seed)
    nets = [made(0), made(1)]
    given = X, np.arange(70)[:, None] % 5
    np.testing.assert_array_equal(fb.Ensemble(nets).predict_members(given), [net.predict(given) for net in nets])


def test_members_that_do_not_fit() -> None:
    one = fb.Sequential(fb.Linear(4, 2))
    for other, message in ((fb.Sequential(fb.Linear(4, 3)), "outputs"), (fb.Sequential(fb.Linear(5, 2)), "inputs"),
                           (fb.Sequential(fb.Linear(4, 2), dtype="float64"), "dtype")):
        with pytest.raises(ValueError, match=f"Ensemble: member 1 .*{message}"):
            fb.Ensemble([one, other])
    with pytest.raises(TypeError, match="expected a sequence of networks"):
        fb.Ensemble([])


# ---- sweeps ----------------------------------------------------------------------------------------------------------


class Trial:
    """What Optuna gives an objective, as far as the callback uses it."""

    def __init__(self, worst: float) -> None:
        self.worst, self.reports = worst, list[tuple[int, float]]()

    def report(self, value: float, step: int) -> None:
        self.reports.append((step, value))

    def should_prune(self) -> bool:
        return len(self.reports) >= self.worst


def test_pruning_reports_each_epoch() -> None:
    trial, (trainer,) = Trial(99), trainers(1)
    trainer.fit(X, Y, epochs=3, progress=False, validation_split=0.2, callbacks=[fb.callbacks.OptunaPruning(trial)])
    assert trial.reports == list(zip([1, 2, 3], trainer.history["val_loss"], strict=True))


def test_pruning_with_optuna() -> None:
    optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: Any) -> float:
        (trainer,) = trainers(1, trial.suggest_float("lr", 1e-6, 1e-1, log=True))
        trainer.fit(X, Y, epochs=5, progress=False, callbacks=[fb.callbacks.OptunaPruning(trial, "loss")])
        return trainer.history["loss"][-1]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0), pruner=optuna.pruners.MedianPruner(2, 1))
    study.optimize(objective, n_trials=8)
    states = {trial.state.name for trial in study.trials}
    assert states == {"COMPLETE", "PRUNED"}


def test_pruning_refuses_what_it_cannot_use() -> None:
    with pytest.raises(TypeError, match="expected what Optuna gives the objective"):
        fb.callbacks.OptunaPruning(3)
    (trainer,) = trainers(1)
    with pytest.raises(ValueError, match="monitor is 'nothing'; the history has epoch, loss"):
        trainer.fit(X, Y, progress=False, callbacks=[fb.callbacks.OptunaPruning(Trial(9), "nothing")])
