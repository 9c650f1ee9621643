"""What a backend is: the interface that ``reference`` and ``native`` keep, and what they are handed.

A backend is made for one network and works on that network's own vectors (parameters, gradients, buffers). Everything
it is given has been checked and converted at the border (``network.py``, ``losses.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import ref

import numpy as np

from fastbp.engine.ranks import Share
from fastbp.graph.memory import Memory
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array
from fastbp.optim.optimizers import Segment, Update

__all__ = ["Backend", "Data", "Memory", "Progress", "Segment", "Update"]

Progress = Callable[[int], None]
"""Called with the number of mini-batches done. What it raises stops training between two mini-batches."""


Look = Callable[[slice, Sequence[Array], Mapping[int, Array]], None]
"""Called with the rows of a batch, its outputs, and the share of right decisions in each row for losses whose kernels
count them, by number. The arrays are good until it returns."""


@dataclass(frozen=True)
class Data:
    """Checked and converted data: whole data sets, or one mini-batch.

    Attributes
    ----------
    inputs : sequence of arrays (N, *input shape)
    losses : sequence of Loss
        One for each output of the network; or one :class:`~fastbp.objectives.functions.FunctionLoss` for all of them.
    targets : sequence of arrays
        One for each loss, as ``Loss.targets`` gives them; or all that the function takes.
    sample_weight : array (N,) or None
    scales : tuple of float
        What each loss counts for in their sum; empty where all count alike.
    """

    inputs: Sequence[Array]
    losses: Sequence[Loss] = ()
    targets: Sequence[Array] = ()
    sample_weight: Array | None = None
    scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pins", [pin(a) for a in (*self.inputs, *self.targets, *self.weights)])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_pins"}

    @property
    def rows(self) -> int:
        """N."""
        return len(self.inputs[0])

    def take(self, rows: Any) -> Data:
        """Return the given rows (a slice or an array of row numbers)."""
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        return Data([x[rows] for x in self.inputs], self.losses, [t[rows] for t in self.targets], weight, self.scales)

    @property
    def weights(self) -> tuple[Array, ...]:
        """The sample weights, if there are any."""
        return () if self.sample_weight is None else (self.sample_weight,)


def pin(array: Array) -> ref[Array]:
    """Return what keeps the memory of an array where it is.

    While there is a weak reference to the owner of some memory, NumPy's resize() does not give the memory back.
    """
    while isinstance(array.base, np.ndarray):
        array = array.base
    return ref(array)


class Backend(Protocol):
    """Runs the graph of one network."""

    def __init__(self, memory: Memory) -> None: ...

    def forward(self, inputs: Sequence[Array], training: bool) -> tuple[Array, ...]:
        """Return the outputs. Each training pass, here and below, draws random numbers of its own."""

    def backward(self, dys: Sequence[Array]) -> tuple[Array | None, ...]:
        """After forward in training: fill the gradients of the parameters, and return those of the inputs.

        That of an input of integers is None.
        """

    def loss(self, data: Data, training: bool) -> float:
        """Return the loss."""

    def loss_and_grad(self, data: Data, input_grads: bool = False) -> tuple[float, tuple[Array | None, ...]]:
        """Return the loss and, where asked for, the gradients of the inputs; fill those of the parameters."""

    def evaluate(self, data: Data, batch_size: int, look: Look | None) -> Array | None:
        """Return the losses of each batch of rows, (batches, losses), outside of training; show each batch's outputs.

        None where there is no faster way than to compute the losses from the outputs.
        """

    def apply(self, update: Update, lr: float) -> None:
        """Take one step from the gradients that are there. Raises NonFiniteError; nothing is changed then."""

    def train(self, data: Data, update: Update, order: Array | None, batch_size: int, learning_rates: Array,
              losses: Array, on_progress: Progress | None = None, share: Share | None = None,
              tally: Array | None = None) -> None:
        """Take one step per learning rate, and write the loss of each mini-batch into `losses`.

        And into `tally` (mini-batches, losses, 2), where it is given, each of the losses by itself, as it counts in
        their sum, and the right decisions of all rows, each counted by its sample weight.

        `order` (epochs, rows) names the rows of each epoch, of which its last mini-batch has what is left; None goes
        through all rows as they stand, again and again. on_progress is called now and then, and at the end. Raises
        NonFiniteError, with everything as it was after the last good mini-batch unless the error says otherwise;
        likewise whatever on_progress or a signal handler raises. ``update.step`` tells how many steps were taken.
        The memory of the data stays where it is until `release`. With a share, ranks train on mini-batches together,
        each on its part of them.
        """

    def release(self) -> None:
        """Let go of the data that was trained on last."""

    def quick_forward(self, x: Any) -> Array | None:
        """Return the output for one array that needs no check or conversion; None where it does, or always."""

    def quick_loss_and_grad(self, x: Any, y: Any, loss: Any) -> float | None:
        """Return the loss of arrays that need no check or conversion, and fill the gradients of the parameters.

        None where nothing was done: where they do, where the last such pass was of another kind, or always.
        """

    def quick_step(self, x: Any, y: Any, loss: Any, update: Update, lr: float) -> float | None:
        """Take one step on arrays that need no check or conversion: return the loss.

        None where nothing was done: where they do, where anything went wrong, or always.
        """

    def values(self) -> dict[str, Array]:
        """Return what each tensor of the graph held in the last run, by name, as far as the backend keeps it."""

    def gradients(self) -> dict[str, Array]:
        """Return the gradient of each tensor in the last run that made gradients, likewise."""
