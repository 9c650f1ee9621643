"""The errors that are fastbp's own. Bad arguments raise ValueError or TypeError."""

from __future__ import annotations

from typing import Any


class NonFiniteError(ArithmeticError):
    """A backend met a loss, gradient or parameter that is not finite. The step was not taken.

    Attributes
    ----------
    batch : int
        Mini-batches that went well before.
    tensor : str
        The first tensor that went bad, in the order of computation.
    data : Data or None
        The mini-batch, of those that training goes through.
    lr : float
        The learning rate of the step.
    undone : bool
        Whether the mini-batches that went well are undone too, as they could not be done once more.
    """

    def __init__(self, batch: int, tensor: str, data: Any = None, lr: float = 0.0, undone: bool = False) -> None:
        super().__init__(f"mini-batch {batch}: {tensor} is not finite")
        self.batch, self.tensor, self.data, self.lr, self.undone = batch, tensor, data, lr, undone


class DivergenceError(ArithmeticError, ValueError):
    """Training stopped because the loss stopped being finite: a ValueError as well, as scikit-learn has it.

    The network holds the parameters it had after the last good mini-batch, or those that the message names.

    Attributes
    ----------
    epoch, batch : int
        Where it happened, counted from 1.
    tensor : str
        The first tensor that was not finite.
    """

    def __init__(self, message: str, epoch: int, batch: int, tensor: str) -> None:
        super().__init__(message)
        self.epoch, self.batch, self.tensor = epoch, batch, tensor


class FormatError(ValueError):
    """A file is no network or checkpoint of fastbp's, or it is damaged."""


class RankError(RuntimeError):
    """Another of the ranks that train together has failed; the message says which, and what it raised."""
