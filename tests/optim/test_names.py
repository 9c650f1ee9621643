"""Optimizers and schedules by name; learning rates that are multiplied."""

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 3)), RNG.normal(size=40)


def make(optimizer, backend="reference"):
    return fb.Trainer(fb.Sequential(fb.Linear(3, 1), seed=0, backend=backend), "mse", optimizer)


@pytest.mark.parametrize(("name", "kind"), [("sgd", fb.SGD), ("Adam", fb.Adam), ("adamw", fb.AdamW),
                                            ("RMSprop", fb.RMSprop), ("adagrad", fb.Adagrad), ("lion", fb.Lion)])
def test_optimizers_by_name(name, kind):
    assert type(make(name).optimizer) is kind
    assert repr(make(name).optimizer) == repr(kind())


def test_an_unknown_optimizer_is_answered_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"Trainer: optimizer is 'adamax'; expected an optimizer .*'sgd', 'adam'"):
        make("adamax")


@pytest.mark.parametrize("backend", backends())
def test_a_schedule_by_name_lasts_as_long_as_the_fit(backend, tmp_path):
    trainer = make(fb.SGD(0.1), backend)
    history = trainer.fit(X, Y, epochs=4, batch_size=10, schedule="cosine")
    expected = fb.CosineDecay(0.1, 16)
    assert history["lr"] == pytest.approx([expected(t) for t in (3, 7, 11, 15)])
    trainer.optimizer.lr = 0.1
    second = trainer.fit(X, Y, epochs=4, batch_size=10, schedule="cosine")
    assert second["lr"][4:] == pytest.approx([expected(t) for t in (3, 7, 11, 15)])
    trainer.save_checkpoint(tmp_path / "run")
    assert fb.Trainer.resume(tmp_path / "run", backend=backend).optimizer.lr == trainer.optimizer.lr


@pytest.mark.parametrize("name", ["constant", "one_cycle", "flat_cosine", "exponential", "step", "plateau", "cosine"])
def test_every_schedule_by_name(name):
    rates = make(fb.SGD(0.1)).fit(X, Y, epochs=6, batch_size=10, schedule=name)["lr"]
    assert 0 <= rates[-1] <= 0.1
    assert (rates[-1] < 0.1) == (name not in ("constant", "plateau"))


def test_a_schedule_needs_a_length_and_a_name():
    batches = ((X, Y) for _ in range(3))
    with pytest.raises(ValueError, match=r"fit: schedule is 'cosine', but X does not tell its length"):
        make("sgd").fit(batches, schedule="cosine")
    with pytest.raises(ValueError, match=r"fit: schedule is 'cosin'; expected a name, or one of 'constant', 'cosine'"):
        make("sgd").fit(X, Y, schedule="cosin")
    with pytest.raises(TypeError, match=r"Give a schedule of your own to the optimizer"):
        make("sgd").fit(X, Y, schedule=fb.CosineDecay(0.1, 10))


@pytest.mark.parametrize("schedule", [
    fb.CosineDecay(0.2, 10, final_lr=0.1), fb.StepDecay(0.2, 3), fb.MultiStepDecay(0.2, [2, 4]), fb.OneCycle(0.2, 10),
    fb.ExponentialDecay(0.2, 0.5), fb.FlatCosine(0.2, 10), fb.ConstantSchedule(0.2), fb.CosineCycles(0.2, 4)])
def test_schedules_times_a_number(schedule):
    for made in (schedule * 0.5, 0.5 * schedule, schedule / 2):
        assert type(made) is type(schedule)
        np.testing.assert_allclose(made.rates(0, 12), 0.5 * schedule.rates(0, 12), rtol=1e-12)


def test_a_plateau_times_a_number_still_observes():
    plateau = fb.ReduceOnPlateau(0.2, factor=0.5, patience=0)
    half = plateau * 0.5
    for loss in (3.0, 3.0):
        half.observe(loss)
    assert half(0) == 0.05


def test_activations_by_name():
    net = fb.Sequential(fb.Linear(3, 4), "relu", fb.Linear(None, 4), "Leaky-ReLU", "swish", fb.Linear(None, 1))
    assert [type(layer).__name__ for layer in net[1::2]] == ["ReLU", "LeakyReLU", "Linear"]
    with pytest.raises(ValueError, match=r"Sequential: a layer is 'reluu'; expected a layer .*'relu'"):
        fb.Sequential(fb.Linear(3, 4), "reluu")
