"""Learning-rate schedules: the learning rate as a function of the number of updates done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from fastbp.checks import number


class Schedule(ABC):
    """A learning rate as a function of the update, counted from 0."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return the learning rate of the update that follows `step` others."""


@dataclass(frozen=True)
class ConstantSchedule(Schedule):
    """The same learning rate always: what a number given as `lr` becomes."""

    lr: float

    def __post_init__(self) -> None:
        number("ConstantSchedule", "lr", self.lr, "a number above 0", lambda v: v > 0)

    def __call__(self, step: int) -> float:
        return self.lr
