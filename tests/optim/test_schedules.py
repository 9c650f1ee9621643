"""The learning-rate schedules: values step by step, and what they refuse."""

import math
import re

import numpy as np
import pytest

import fastbp as fb
from fastbp.optim.schedules import FunctionSchedule, Plateau, as_schedule


def values(schedule, steps):
    return [schedule(t) for t in range(steps)]


def test_constant():
    assert values(fb.ConstantSchedule(0.3), 3) == [0.3] * 3


def test_step_decay():
    np.testing.assert_allclose(values(fb.StepDecay(1.0, 3, 0.1), 8), [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_multi_step_decay():
    np.testing.assert_allclose(values(fb.MultiStepDecay(2.0, [2, 5], 0.5), 7), [2, 2, 1, 1, 1, 0.5, 0.5])


def test_exponential_decay():
    np.testing.assert_allclose(values(fb.ExponentialDecay(1.0, 0.9), 5), 0.9 ** np.arange(5))
    np.testing.assert_allclose(values(fb.ExponentialDecay(1.0, 0.5, 10), 21), 0.5 ** (np.arange(21) / 10))


def test_cosine_decay():
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * t / 10)) / 2 for t in range(11)]
    np.testing.assert_allclose(values(fb.CosineDecay(1.0, 10, final_lr=0.1), 13), [*expected, 0.1, 0.1])


def test_cosine_decay_warms_up():
    schedule = fb.CosineDecay(1.0, 14, warmup=4)
    np.testing.assert_allclose(values(schedule, 4), [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose([schedule(t) for t in (4, 9, 14)], [1.0, 0.5, 0.0], atol=1e-12)


def test_one_cycle():
    schedule = fb.OneCycle(2.0, 100)
    # both phases are half cosines: their ends and middles
    np.testing.assert_allclose(schedule(0), 2.0 / 25)
    np.testing.assert_allclose(schedule(29), 2.0)
    np.testing.assert_allclose(schedule(14.5), (2.0 + 2.0 / 25) / 2)
    np.testing.assert_allclose(schedule(64), (2.0 + 2.0 / 25e4) / 2)
    assert schedule(99) == schedule(1000) == 2.0 / 25e4
    rates = values(schedule, 100)
    assert (np.diff(rates[:30]) > 0).all()
    assert (np.diff(rates[29:]) < 0).all()


def test_one_cycle_of_few_steps():
    assert values(fb.OneCycle(1.0, 2, warmup_fraction=0.1), 2) == [1.0, 1 / 25e4]


@pytest.mark.parametrize("schedule", [
    fb.ConstantSchedule(0.3), fb.StepDecay(1.0, 3), fb.MultiStepDecay(1.0, [2, 9]), fb.ExponentialDecay(1.0, 0.9),
    fb.CosineDecay(1.0, 9, 2), fb.OneCycle(1.0, 9), fb.ReduceOnPlateau(0.1), FunctionSchedule(lambda t: t / 2)])
def test_rates_are_the_values(schedule):
    rates = schedule.rates(3, 9)
    assert rates.dtype == np.float64
    np.testing.assert_array_equal(rates, [schedule(t) for t in range(3, 12)])


def test_as_schedule():
    cosine = fb.CosineDecay(1.0, 9)
    assert as_schedule("SGD", cosine) is cosine
    assert as_schedule("SGD", np.float32(0.5)) == fb.ConstantSchedule(0.5)
    assert as_schedule("SGD", lambda t: t + 1)(2) == 3.0


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_refused_rates(bad):
    schedule = FunctionSchedule(lambda t: bad if t == 2 else 1.0)
    message = f"gives the learning rate {bad} at step 2; expected a finite number of at least 0"
    with pytest.raises(ValueError, match=re.escape(message)):
        schedule.rates(1, 3)


# ---- plateaus ---------------------------------------------------------------------------------------------------


def reduce(schedule, losses):
    rates = []
    for loss in losses:
        schedule.observe(loss)
        rates.append(schedule(0))
    return rates


def test_reduce_on_plateau():
    schedule = fb.ReduceOnPlateau(1.0, factor=0.5, patience=1)
    assert reduce(schedule, [3, 2, 2, 2, 2, 2, 1, 1, 1]) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_reduce_on_plateau_counts_small_gains_as_none():
    assert reduce(fb.ReduceOnPlateau(1.0, 0.5, 0, min_delta=0.1), [1, 0.95, 0.8]) == [1, 0.5, 0.5]


def test_reduce_on_plateau_cools_down():
    assert reduce(fb.ReduceOnPlateau(1.0, 0.5, 0, cooldown=2), [1, 1, 1, 1, 1, 1]) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_reduce_on_plateau_stops_at_the_least():
    assert reduce(fb.ReduceOnPlateau(1.0, 0.1, 0, min_lr=0.05), [1, 1, 1, 1]) == [1, 0.1, 0.05, 0.05]
    assert reduce(fb.ReduceOnPlateau(0.01, 0.1, 0, min_lr=0.05), [1, 1]) == [0.01, 0.01]


def test_reduce_on_plateau_of_scores():
    assert reduce(fb.ReduceOnPlateau(1.0, 0.5, 0, mode="max"), [0.5, 0.6, 0.6, 0.5]) == [1, 1, 0.5, 0.25]


def test_nan_is_never_better():
    plateau = Plateau("P", "min", 0.0)
    assert [plateau.observe(v) for v in (math.nan, 1.0, math.nan, 0.5)] == [False, True, False, True]


# ---- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "message"), [
    (lambda: fb.ConstantSchedule(-1), "ConstantSchedule: lr is -1; expected a number above 0"),
    (lambda: fb.StepDecay(1.0, 0), "StepDecay: step_size is 0; expected a positive integer"),
    (lambda: fb.StepDecay(1.0, 2, 0), "StepDecay: factor is 0; expected a number above 0"),
    (lambda: fb.MultiStepDecay(1.0, [5, 2]), "MultiStepDecay: milestones is [5, 2]; expected rising numbers"),
    (lambda: fb.MultiStepDecay(1.0, [-1]), "MultiStepDecay: milestones is -1; expected an integer of at least 0"),
    (lambda: fb.ExponentialDecay(1.0, -0.5), "ExponentialDecay: factor is -0.5; expected a number above 0"),
    (lambda: fb.CosineDecay(1.0, 1.5), "CosineDecay: steps is 1.5; expected a positive integer"),
    (lambda: fb.CosineDecay(1.0, 5, 5), "CosineDecay: warmup is 5; expected less than steps, 5"),
    (lambda: fb.CosineDecay(1.0, 5, final_lr=-1), "CosineDecay: final_lr is -1; expected a number of at least 0"),
    (lambda: fb.OneCycle(1.0, 1), "OneCycle: steps is 1; expected an integer of at least 2"),
    (lambda: fb.OneCycle(1.0, 9, 1.0), "OneCycle: warmup_fraction is 1.0; expected a number between 0 and 1"),
    (lambda: fb.ReduceOnPlateau(1.0, 2), "ReduceOnPlateau: factor is 2; expected a number between 0 and 1"),
    (lambda: fb.ReduceOnPlateau(1.0, patience=-1),
     "ReduceOnPlateau: patience is -1; expected an integer of at least 0"),
    (lambda: fb.ReduceOnPlateau(1.0, mode="up"), 'ReduceOnPlateau: mode is \'up\'; expected "min" or "max"'),
])
def test_refused_hyperparameters(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


def test_repr():
    assert repr(fb.CosineDecay(1.0, 5)) == "CosineDecay(lr=1.0, steps=5, warmup=0, final_lr=0.0)"
    schedule = fb.ReduceOnPlateau(1.0, patience=3)
    assert repr(eval(repr(schedule), vars(fb))) == repr(schedule)
