r"""Learning-rate schedules: the learning rate as a function of the number of updates done.

A schedule is given in place of a number: ``fb.Adam(lr=fb.CosineDecay(1e-3, steps=10_000))``. It counts updates
(mini-batches), not epochs, so its steps are ``epochs * ceil(rows / batch_size)``. Any function of the step will do as
well. Notation: η the learning rate, t the updates done before, counted from 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from math import cos, inf, isnan, log2, pi
from typing import Any

import numpy as np

from fastbp.core.checks import count, number
from fastbp.core.words import by_name
from fastbp.ops.base import Array

__all__ = [
    "ConstantSchedule", "CosineCycles", "CosineDecay", "ExponentialDecay", "FlatCosine", "MultiStepDecay", "OneCycle",
    "ReduceOnPlateau", "Schedule", "StepDecay",
]


# What of a schedule is a learning rate.
_RATES = {"lr", "final_lr", "min_lr"}


class Schedule(ABC):
    """A learning rate as a function of the updates done before."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return the learning rate of the update that follows `step` others."""

    def rate(self, step: int) -> float:
        """Return the learning rate of one update; errors as in :meth:`rates`."""
        lr = float(self(step))
        if not 0 <= lr < inf:
            raise self.refused(lr, step)
        return lr

    def rates(self, first: int, updates: int) -> Array:
        """Return the learning rates of so many updates in a row, in float64.

        Raises
        ------
        ValueError
            If one is negative or not finite.
        """
        rates = np.array([self(step) for step in range(first, first + updates)], np.float64)
        wrong = ~(np.isfinite(rates) & (rates >= 0))
        if wrong.any():
            raise self.refused(float(rates[wrong][0]), first + int(wrong.argmax()))
        return rates

    def refused(self, lr: float, step: int) -> ValueError:
        """Return what to raise for a learning rate that is negative or not finite."""
        return ValueError(f"{self!r} gives the learning rate {lr} at step {step}; expected a finite number of at least "
                          "0")

    def observe(self, value: float) -> None:  # noqa: B027 - most schedules look at nothing
        """Take note of the monitored value after an epoch: the validation loss or, without validation, the loss."""

    def __mul__(self, factor: float) -> Schedule:
        """Return the schedule with all its learning rates multiplied: ``optimizer.lr *= 0.5``."""
        factor = number(type(self).__name__, "factor", factor, "a number above 0", _above_0)
        rates: list[str] = [f.name for f in fields(self) if f.name in _RATES] if is_dataclass(self) else []
        if "lr" not in rates:
            return ScaledSchedule(self, factor)
        made: Schedule = replace(self, **{name: factor * getattr(self, name) for name in rates})  # type: ignore[type-var]
        return made

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Schedule:
        return self * (1 / number(type(self).__name__, "divisor", divisor, "a number above 0", _above_0))


def as_schedule(owner: str, lr: Any) -> Schedule:
    """Return a learning rate, a number or a function of the step, as a schedule."""
    if isinstance(lr, Schedule):
        return lr
    if callable(lr) and not isinstance(lr, type):
        return FunctionSchedule(lr)
    expected = "a number above 0, or a schedule such as fb.CosineDecay(…)"
    return ConstantSchedule(number(owner, "lr", lr, expected, _above_0))


@dataclass(frozen=True)
class ConstantSchedule(Schedule):
    """The same learning rate always: what a number given as `lr` becomes.

    Examples
    --------
    >>> ConstantSchedule(0.1)(1000)
    0.1
    """

    lr: float

    def __post_init__(self) -> None:
        _rate(self, "lr", self.lr)

    def __call__(self, step: int) -> float:
        return self.lr

    def __float__(self) -> float:
        return self.lr

    def rates(self, first: int, updates: int) -> Array:
        return np.full(updates, self.lr)


@dataclass(frozen=True)
class ScaledSchedule(Schedule):
    """A schedule, times a factor."""

    schedule: Schedule
    factor: float

    def __call__(self, step: int) -> float:
        return self.factor * self.schedule(step)

    def observe(self, value: float) -> None:
        self.schedule.observe(value)


@dataclass(frozen=True)
class DelayedSchedule(Schedule):
    """A schedule that begins after `start` updates."""

    schedule: Schedule
    start: int

    def __call__(self, step: int) -> float:
        return self.schedule(max(step - self.start, 0))

    def observe(self, value: float) -> None:
        self.schedule.observe(value)


@dataclass(frozen=True)
class FunctionSchedule(Schedule):
    """A function of the step, counted from 0: what a function given as `lr` becomes."""

    function: Callable[[int], float]

    def __call__(self, step: int) -> float:
        lr = self.function(step)
        try:
            return float(lr)
        except (TypeError, ValueError):
            raise TypeError(f"{self!r} gives the learning rate {lr!r} at step {step}; expected a finite number of at "
                            "least 0") from None


@dataclass(frozen=True)
class StepDecay(Schedule):
    """``η(t) = lr · factor^⌊t / step_size⌋``.

    Parameters
    ----------
    lr : float
    step_size : int
        Updates between two decays.
    factor : float, default 0.1
        Above 0.

    Examples
    --------
    >>> schedule = StepDecay(1.0, step_size=2, factor=0.5)
    >>> [schedule(t) for t in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    lr: float
    step_size: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _rate(self, "lr", self.lr)
        count("StepDecay", "step_size", self.step_size)
        _rate(self, "factor", self.factor)

    def __call__(self, step: int) -> float:
        return self.lr * self.factor ** (step // self.step_size)


@dataclass(frozen=True)
class MultiStepDecay(Schedule):
    """``η(t) = lr · factor^k``, k of the milestones being ≤ t.

    Parameters
    ----------
    lr : float
    milestones : sequence of int
        Steps, rising, at which the learning rate falls.
    factor : float, default 0.1
        Above 0.

    Examples
    --------
    >>> schedule = MultiStepDecay(1.0, milestones=[1, 3], factor=0.5)
    >>> [schedule(t) for t in range(4)]
    [1.0, 0.5, 0.5, 0.25]
    """

    lr: float
    milestones: Sequence[int]
    factor: float = 0.1

    def __post_init__(self) -> None:
        _rate(self, "lr", self.lr)
        if np.ndim(self.milestones) != 1:
            raise ValueError(f"MultiStepDecay: milestones is {self.milestones!r}; expected rising numbers")
        given = tuple(count("MultiStepDecay", "milestones", m, at_least=0) for m in self.milestones)
        if list(given) != sorted(set(given)):
            raise ValueError(f"MultiStepDecay: milestones is {self.milestones!r}; expected rising numbers")
        _rate(self, "factor", self.factor)
        object.__setattr__(self, "milestones", given)

    def __call__(self, step: int) -> float:
        return self.lr * self.factor ** bisect_right(self.milestones, step)


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """``η(t) = lr · factor^(t / step_size)``.

    Parameters
    ----------
    lr : float
    factor : float
        Above 0.
    step_size : int, default 1
        Updates in which the learning rate is multiplied by the factor once.

    Examples
    --------
    >>> ExponentialDecay(1.0, factor=0.25, step_size=100)(50)
    0.5
    """

    lr: float
    factor: float
    step_size: int = 1

    def __post_init__(self) -> None:
        _rate(self, "lr", self.lr)
        _rate(self, "factor", self.factor)
        count("ExponentialDecay", "step_size", self.step_size)

    def __call__(self, step: int) -> float:
        return float(self.lr * self.factor ** (step / self.step_size))


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """Linear warm-up over W updates, ``η(t) = lr (t + 1) / W``, then half a cosine to ``final_lr`` at step N.

    ``η(t) = final_lr + ½ (lr - final_lr)(1 + cos(π (t - W) / (N - W)))`` for W ≤ t < N, then ``final_lr``. Loshchilov
    and Hutter (2017), https://arxiv.org/abs/1608.03983.

    Parameters
    ----------
    lr : float
        The highest learning rate.
    steps : int
        N, the updates in all.
    warmup : int, default 0
        W, below N.
    final_lr : float, default 0.0

    Examples
    --------
    >>> schedule = CosineDecay(1.0, steps=4, warmup=2)
    >>> [round(schedule(t), 3) for t in range(6)]
    [0.5, 1.0, 1.0, 0.5, 0.0, 0.0]
    """

    lr: float
    steps: int
    warmup: int = 0
    final_lr: float = 0.0

    def __post_init__(self) -> None:
        _rate(self, "lr", self.lr)
        count("CosineDecay", "steps", self.steps)
        if count("CosineDecay", "warmup", self.warmup, at_least=0) >= self.steps:
            raise ValueError(f"CosineDecay: warmup is {self.warmup}; expected less than steps, {self.steps}")
        number("CosineDecay", "final_lr", self.final_lr, "a number of at least 0", lambda v: v >= 0)

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        return _cosine(self.lr, self.final_lr, (step - self.warmup) / (self.steps - self.warmup))


@dataclass(frozen=True)
class CosineCycles(Schedule):
    """Cosine waves from 0 to `lr` and back, each twice as long as the one before.

    ``η(t) = lr (1 - cos 2π log₂(1 + (2ᶜ - 1) t / steps)) / 2`` over c cycles, 0 from `steps` on. The ends of cycles are
    good places to stop. "coslog4" of Holzmüller et al. (2024), https://arxiv.org/abs/2407.04491, for 4 cycles.

    Parameters
    ----------
    lr : float
    steps : int
        Updates in all.
    cycles : int, default 4

    Examples
    --------
    >>> schedule = CosineCycles(0.1, steps=15)
    >>> [round(schedule(t), 3) for t in (0, 1, 2, 3, 5, 7, 11, 15)]
    [0.0, 0.0, 0.093, 0.0, 0.093, 0.0, 0.093, 0.0]
    """

    lr: float
    steps: int
    cycles: int = 4

    def __post_init__(self) -> None:
        _rate(self, "lr", self.lr)
        for name in ("steps", "cycles"):
            object.__setattr__(self, name, count("CosineCycles", name, getattr(self, name)))

    def __call__(self, step: int) -> float:
        if step >= self.steps:
            return 0.0
        return self.lr * 0.5 * (1 - cos(2 * pi * log2(1 + (2**self.cycles - 1) * step / self.steps)))

    def ends(self) -> list[float]:
        """Return where cycles end, as shares of all steps."""
        return [(2**c - 1) / (2**self.cycles - 1) for c in range(1, self.cycles + 1)]


@dataclass(frozen=True)
class FlatCosine(Schedule):
    """`lr` for the first half of the steps, then half a cosine wave down to 0.

    ``η(t) = lr`` up to half of the steps, then ``lr (1 + cos π (2 t / steps - 1)) / 2``.

    Parameters
    ----------
    lr : float
    steps : int

    Examples
    --------
    >>> schedule = FlatCosine(0.1, steps=8)
    >>> [round(schedule(t), 3) for t in (0, 4, 6, 8)]
    [0.1, 0.1, 0.05, 0.0]
    """

    lr: float
    steps: int

    def __post_init__(self) -> None:
        _rate(self, "lr", self.lr)
        object.__setattr__(self, "steps", count("FlatCosine", "steps", self.steps))

    def __call__(self, step: int) -> float:
        t = min(step / self.steps, 1.0)
        return self.lr if t <= 0.5 else self.lr * 0.5 * (1 + cos(pi * (2 * t - 1)))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """One rise and one longer fall, both half a cosine: from ``lr / start_divisor`` up to ``lr``, then down.

    The top is at step ``warmup_fraction · steps - 1``; the last step, ``steps - 1``, and all after it have
    ``lr / start_divisor / final_divisor``. Only the learning rate is driven, not the momentum. Smith and Topin (2018),
    https://arxiv.org/abs/1708.07120, in the form of ``torch.optim.lr_scheduler.OneCycleLR``.

    Parameters
    ----------
    lr : float
        The highest learning rate.
    steps : int
        The updates in all; at least 2.
    warmup_fraction : float, default 0.3
        Between 0 and 1.
    start_divisor, final_divisor : float, default 25, 1e4

    Examples
    --------
    >>> schedule = OneCycle(1.0, steps=10)
    >>> [round(schedule(t), 2) for t in range(10)]
    [0.04, 0.52, 1.0, 0.95, 0.81, 0.61, 0.39, 0.19, 0.05, 0.0]
    """

    lr: float
    steps: int
    warmup_fraction: float = 0.3
    start_divisor: float = 25.0
    final_divisor: float = 1e4

    def __post_init__(self) -> None:
        _rate(self, "lr", self.lr)
        count("OneCycle", "steps", self.steps, at_least=2)
        number("OneCycle", "warmup_fraction", self.warmup_fraction, "a number between 0 and 1", lambda v: 0 < v < 1)
        _rate(self, "start_divisor", self.start_divisor)
        _rate(self, "final_divisor", self.final_divisor)

    def __call__(self, step: int) -> float:
        top, last = max(self.warmup_fraction * self.steps - 1, 0.0), self.steps - 1
        start = self.lr / self.start_divisor
        if step < top:
            return _cosine(start, self.lr, step / top)
        return _cosine(self.lr, start / self.final_divisor, (step - top) / (last - top))


class Plateau:
    """Watches whether a value still gets better.

    Parameters
    ----------
    mode : {"min", "max"}
        Whether lower or higher is better.
    min_delta : float
        What counts as better: by more than this.

    Attributes
    ----------
    best : float
    waited : int
        Values since the best one.
    """

    def __init__(self, owner: str, mode: str, min_delta: float) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f'{owner}: mode is {mode!r}; expected "min" or "max"')
        self.mode = mode
        self.min_delta = number(owner, "min_delta", min_delta, "a number of at least 0", lambda v: v >= 0)
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self.best = inf if self.mode == "min" else -inf
        self.waited = 0

    def observe(self, value: float) -> bool:
        """Take note of a value, and return whether it is the best so far. NaN never is."""
        gain = self.best - value if self.mode == "min" else value - self.best
        better = not isnan(value) and gain > self.min_delta
        self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)
        return better


class ReduceOnPlateau(Schedule):
    """Multiplies the learning rate by a factor when the monitored value has not got better for some epochs.

    The trainer shows it the validation loss after each epoch, or the loss where nothing is validated. It remembers what
    it saw: give each training one of its own.

    Parameters
    ----------
    lr : float
        At first.
    factor : float, default 0.1
        Between 0 and 1.
    patience : int, default 10
        Epochs without a better value that are borne.
    min_delta : float, default 1e-4
        A value is better if it is so by more than this.
    cooldown : int, default 0
        Epochs after a reduction that do not count.
    min_lr : float, default 0.0
    mode : {"min", "max"}, default "min"

    Examples
    --------
    >>> schedule = ReduceOnPlateau(1.0, factor=0.5, patience=1)
    >>> for loss in (3.0, 3.0, 3.0):
    ...     schedule.observe(loss)
    >>> schedule(0)
    0.5
    """

    def __init__(self, lr: float, factor: float = 0.1, patience: int = 10, min_delta: float = 1e-4, cooldown: int = 0,
                 min_lr: float = 0.0, mode: str = "min") -> None:
        name = "ReduceOnPlateau"
        self.lr = _rate(self, "lr", lr)
        self.factor = number(name, "factor", factor, "a number between 0 and 1", lambda v: 0 < v < 1)
        self.patience = count(name, "patience", patience, at_least=0)
        self.cooldown = count(name, "cooldown", cooldown, at_least=0)
        self.min_lr = number(name, "min_lr", min_lr, "a number of at least 0", lambda v: v >= 0)
        self.plateau = Plateau(name, mode, min_delta)
        self.cooling = 0

    def __call__(self, step: int) -> float:
        return self.lr

    def rates(self, first: int, updates: int) -> Array:
        return np.full(updates, self.lr)

    def observe(self, value: float) -> None:
        self.plateau.observe(value)
        if self.cooling:
            self.cooling -= 1
            self.plateau.waited = 0
        if self.plateau.waited > self.patience:
            self.lr = min(self.lr, max(self.lr * self.factor, self.min_lr))
            self.cooling, self.plateau.waited = self.cooldown, 0

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make an equal schedule, one that has seen nothing yet."""
        return {"lr": self.lr, "factor": self.factor, "patience": self.patience, "min_delta": self.plateau.min_delta,
                "cooldown": self.cooldown, "min_lr": self.min_lr, "mode": self.plateau.mode}

    def state_dict(self) -> dict[str, Any]:
        """Return what it remembers."""
        return {"lr": self.lr, "best": self.plateau.best, "waited": self.plateau.waited, "cooling": self.cooling}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what another remembered."""
        lr, best = _rate(self, "lr", state["lr"]), float(state["best"])
        waited, cooling = (count("ReduceOnPlateau", k, state[k], at_least=0) for k in ("waited", "cooling"))
        self.lr, self.plateau.best, self.plateau.waited, self.cooling = lr, best, waited, cooling

    def __repr__(self) -> str:
        return f"ReduceOnPlateau({', '.join(f'{k}={v!r}' for k, v in self.arguments().items())})"


def _cosine(start: float, end: float, progress: float) -> float:
    """Go from start to end along half a cosine; progress beyond 1 stays at the end."""
    return end if progress >= 1 else end + 0.5 * (start - end) * (1 + cos(pi * progress))


def _above_0(value: float) -> bool:
    return value > 0


def _rate(owner: Schedule, argument: str, value: Any) -> float:
    return number(type(owner).__name__, argument, value, "a number above 0", _above_0)


SCHEDULES: dict[str, Callable[[float, int], Schedule]] = {
    "constant": lambda lr, steps: ConstantSchedule(lr), "cosine": CosineDecay, "one_cycle": OneCycle,
    "flat_cosine": FlatCosine, "exponential": lambda lr, steps: ExponentialDecay(lr, 0.01, steps),
    "step": lambda lr, steps: StepDecay(lr, max(1, -(-steps // 3))), "plateau": lambda lr, steps: ReduceOnPlateau(lr),
}
"""Schedules by name, for a learning rate and so many updates."""


def named_schedule(owner: str, name: Any, lr: float, start: int, steps: int) -> Schedule:
    """Return the schedule of this name for the `steps` updates that follow `start` others.

    Raises
    ------
    TypeError, ValueError
        For anything but a name that there is.

    Examples
    --------
    >>> named_schedule("fit", "cosine", 0.1, 0, 100)
    CosineDecay(lr=0.1, steps=100, warmup=0, final_lr=0.0)
    """
    if not isinstance(name, str):
        raise TypeError(f"{owner}: schedule is {name!r}; expected a name such as \"cosine\". Give a schedule of your "
                        "own to the optimizer: fb.Adam(lr=fb.CosineDecay(…))")
    made: Schedule = by_name(owner, "schedule", name, SCHEDULES, "a name")(lr, steps)
    return DelayedSchedule(made, start) if start and not isinstance(made, ConstantSchedule | ReduceOnPlateau) else made
