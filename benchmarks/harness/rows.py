"""The networks that are timed: shapes, the work they are, and the data all libraries get."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEARNING_RATE = 1e-3
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
MINI_BATCHES = 16
"""Mini-batches an epoch."""


@dataclass(frozen=True)
class Row:
    """A fully connected network with a mini-batch size: one row of the table.

    Attributes
    ----------
    name : str
    widths : tuple of int
        Features of the input, of each hidden layer, and of the output.
    batch : int
        Rows of a mini-batch.
    activation : {"relu", "tanh"}
        Of the hidden layers.
    loss : {"mse", "cross_entropy"}
    tolerance : float
        How far the loss of each of the first mini-batches may be off in float32, relative to float64.
    optimizer : {"adam", "sgd"}
    """

    name: str
    widths: tuple[int, ...]
    batch: int
    activation: str
    loss: str
    tolerance: float = 1e-4
    optimizer: str = "adam"

    @property
    def shape(self) -> str:
        """The widths as text.

        >>> ROWS["deep"].shape
        '64-(64)×8-10'
        """
        first, *hidden, last = self.widths
        if len(hidden) >= 3 and len(set(hidden)) == 1:
            return f"{first}-({hidden[0]})×{len(hidden)}-{last}"
        return "-".join(map(str, self.widths))

    @property
    def parameters(self) -> int:
        """Weights and biases.

        >>> ROWS["b1"].parameters
        1633
        """
        return sum((i + 1) * o for i, o in pairwise(self.widths))

    @property
    def flop(self) -> int:
        """Floating-point operations of the matrix products of one step: ``Y = XW``, ``dW = XᵀdY``, ``dX = dYWᵀ``.

        The first layer needs no ``dX``. Everything else (activations, loss, Adam) is left out, so that the share of
        the peak is a lower bound.

        >>> ROWS["mnist"].flop
        128909312
        """
        products = [i * o for i, o in pairwise(self.widths)]
        return 2 * self.batch * (3 * sum(products) - products[0])

    def problem(self, seed: int = 0) -> Problem:
        """Return the data and the parameters to start from; the same for the same seed."""
        rng = np.random.default_rng(seed)
        features, outputs, samples = self.widths[0], self.widths[-1], self.batch * MINI_BATCHES
        x = rng.standard_normal((samples, features), dtype=np.float32)
        if self.loss == "mse":
            y: NDArray[Any] = rng.standard_normal((samples, outputs), dtype=np.float32)
        else:
            y = rng.integers(outputs, size=samples)
        parameters = []
        for i, o in pairwise(self.widths):
            limit = np.sqrt((6 if self.activation == "relu" else 3) / i)
            parameters.append((rng.uniform(-limit, limit, (i, o)).astype(np.float32),
                               rng.uniform(-0.1, 0.1, o).astype(np.float32)))
        return Problem(self, x, y, parameters)


@dataclass(frozen=True)
class Problem:
    """A row with numbers.

    Attributes
    ----------
    x : array of float32 (16·B, I)
    y : array of float32 (16·B, O), or of int64 (16·B,)
    parameters : list of (weight (I, O), bias (O,)), one for each layer, float32
    """

    row: Row
    x: NDArray[np.float32]
    y: NDArray[Any]
    parameters: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = field(repr=False)

    @property
    def batches(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """x and y with an axis of mini-batches in front, as views."""
        return (self.x.reshape(MINI_BATCHES, self.row.batch, *self.x.shape[1:]),
                self.y.reshape(MINI_BATCHES, self.row.batch, *self.y.shape[1:]))


ROWS = {row.name: row for row in (
    Row("b1", (16, 32, 32, 1), 1, "tanh", "mse"),
    Row("sgd", (16, 32, 32, 1), 1, "tanh", "mse", optimizer="sgd"),
    Row("rl", (4, 64, 64, 2), 32, "tanh", "mse"),
    Row("deep", (64, *[64] * 8, 10), 64, "relu", "cross_entropy"),
    Row("tab", (32, 128, 128, 1), 256, "relu", "mse"),
    Row("mnist", (784, 256, 128, 10), 128, "relu", "cross_entropy"),
    # Adam's first step is the sign of the gradient, and of three million elements some are 0 but for rounding
    Row("wide", (1024, 1024, 1024, 1024, 10), 512, "relu", "cross_entropy", tolerance=2e-3),
)}
