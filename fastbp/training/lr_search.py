"""The learning-rate range test: which learning rate to begin with. Smith (2017), https://arxiv.org/abs/1506.01186."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.core.checks import count, number
from fastbp.core.errors import NonFiniteError
from fastbp.engine.backend import Data

# How much of the smoothed loss is of the step before, and how far it may rise above the best.
_SMOOTHING, _MOST = 0.9, 4.0


@dataclass(frozen=True)
class LearningRateSearch:
    """What a range test found.

    Attributes
    ----------
    lr : float
        Suggested: where the smoothed loss fell fastest.
    rates, losses : tuple of float
        Learning rate and loss of each step.
    smoothed : tuple of float
        An exponential average of the losses.
    """

    lr: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    def plot(self, figure: Any = None) -> Any:
        """Draw the loss over the learning rate, and the suggestion; as :func:`fastbp.plots.learning_rates` does."""
        from fastbp.views import plots
        return plots.learning_rates(self.rates, self.losses, self.smoothed, self.lr, figure)

    def _repr_png_(self) -> bytes | None:
        """Return the picture for notebooks; None without matplotlib."""
        try:
            png: bytes = self.plot()._repr_png_()
        except ImportError:
            return None
        return png

    def __repr__(self) -> str:
        return f"LearningRateSearch(lr={self.lr:.3g}, {len(self.rates)} steps up to {self.rates[-1]:.3g})"


Step = Callable[[Data, float], float]
"""Takes one step on a mini-batch with a learning rate: returns the loss, or raises NonFiniteError."""


def search(step: Step, data: Data, seed: int, lowest: float, highest: float, steps: int,
           batch_size: int) -> LearningRateSearch:
    """Take steps with rising learning rates; ``trainer.find_lr(X, y)``."""
    number("find_lr", "lowest", lowest, "a number above 0", lambda v: v > 0)
    number("find_lr", "highest", highest, "a number above lowest", lambda v: v > lowest)
    steps = count("find_lr", "steps", steps, at_least=2)
    size = min(count("find_lr", "batch_size", batch_size), data.rows)
    rates = np.geomspace(lowest, highest, steps)
    order = np.random.default_rng(seed).permutation(data.rows)
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    for i, lr in enumerate(rates.tolist()):
        rows = np.take(order, np.arange(i * size, (i + 1) * size), mode="wrap")
        try:
            losses.append(step(data.take(rows), lr))
        except NonFiniteError:
            break
        average = _SMOOTHING * average + (1 - _SMOOTHING) * losses[-1]
        smoothed.append(average / (1 - _SMOOTHING ** (i + 1)))
        if smoothed[-1] > _MOST * min(smoothed) and i > steps // 10 and min(smoothed) > 0:
            break
    if not losses:
        raise ValueError(f"find_lr: training diverges at once, with lowest={lowest:g}; give a lower one")
    return LearningRateSearch(_steepest(rates[:len(losses)], losses, smoothed), tuple(rates[:len(losses)].tolist()),
                              tuple(losses), tuple(smoothed))


def _steepest(rates: Any, losses: Sequence[float], smoothed: Sequence[float]) -> float:
    """Return the learning rate at which the loss falls fastest over its logarithm, up to where it is lowest.

    Fastest is the steepest of the straight lines through a tenth of the steps to either side.
    """
    reach = max(len(rates) // 10, 1)
    last = max(int(np.argmin(smoothed)), reach)
    x, y = np.log(rates), np.asarray(losses)
    slopes = [np.polyfit(x[max(i - reach, 0):i + reach + 1], y[max(i - reach, 0):i + reach + 1], 1)[0]
              for i in range(reach, last + 1)] if len(rates) > 2 * reach else [0.0]
    return float(rates[min(reach + int(np.argmin(slopes)), len(rates) - 1)])
