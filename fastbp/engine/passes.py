"""Passes forward and backward that were not asked for the gradients of the inputs, kept in case these are read."""

from __future__ import annotations

from dataclasses import dataclass

from fastbp.engine.backend import Data, pin
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array


class Given:
    """A batch that is checked where it is needed: views of arrays whose memory stays, and copies of labels."""

    def __init__(self, x: Array, y: Array, loss: Loss) -> None:
        self.x, self.y, self.loss = x.view(), y.view() if y.dtype.kind == "f" else y.copy(), loss
        self._pins = pin(x), pin(y)


@dataclass(frozen=True)
class Pass:
    """What to run once more, what its loss was, and when it was."""

    data: Data | Given
    loss: float
    step: int
    draws: int
