"""Six networks of layers over images, sequences and ids: convolution, recurrence, attention, embeddings.

Parameters are those that fastbp begins with, in its order and layout; the other libraries bring them into theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.function_rows import ROWS as OTHER_ROWS
from harness.function_rows import FunctionProblem, FunctionRow
from harness.rows import MINI_BATCHES, Row


@dataclass(frozen=True)
class LayerRow(FunctionRow):
    """A row of layers, with one input and one target.

    Attributes
    ----------
    inputs : tuple of int
        One sample.
    targets : tuple of int
        One sample of numbers; of () labels from 0 to 9.
    products_first, products_rest : int
        Multiply-adds of one sample forwards: of layers that need no gradient of their input, and of all others.
    """

    inputs: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()
    products_first: int = 0
    products_rest: int = 0

    @property
    def parameters(self) -> int:
        return sum(a.size for a in _initial(self.name))

    @property
    def flop(self) -> int:
        return 2 * self.batch * (2 * self.products_first + 3 * self.products_rest)

    def problem(self, seed: int = 0) -> FunctionProblem:
        rng, n = np.random.default_rng(seed), self.batch * MINI_BATCHES
        ids = self.name == "embeddings"
        x: Any = rng.integers(1000, size=(n, *self.inputs)) if ids else \
            rng.standard_normal((n, *self.inputs), dtype=np.float32)
        y: Any = rng.standard_normal((n, *self.targets), dtype=np.float32) if self.targets else rng.integers(10, size=n)
        parameters: Any = [(a,) for a in _initial(self.name)]
        return FunctionProblem(self, np.empty(0, np.float32), np.empty(0), parameters, (x,), (y,))


def _initial(name: str) -> list[np.ndarray]:
    from harness.layers_fastbp import network
    return [np.array(values) for values in network(name).params.values()]


def _row(name: str, batch: int, inputs: tuple[int, ...], targets: tuple[int, ...], first: int, rest: int) -> LayerRow:
    # Adam's first steps are the signs of gradients, some of which are 0 but for rounding
    return LayerRow(name, (), batch, "relu", "function", tolerance=2e-3, inputs=inputs, targets=targets,
                    products_first=first, products_rest=rest)


_RECURRENT = 32 * 64 * 16, 32 * 64 * 64         # 32 steps of one gate: inputs, and the state before
LAYER_ROWS = {row.name: row for row in (
    _row("lenet", 64, (28, 28, 1), (), 24 * 24 * 25 * 6, 8 * 8 * 150 * 16 + 256 * 120 + 120 * 84 + 84 * 10),
    _row("vgg", 32, (32, 32, 3), (), 32 * 32 * 27 * 32, 32 * 32 * 288 * 32 + 16 * 16 * (288 + 576) * 64
         + 4096 * 128 + 128 * 10),
    _row("lstm", 32, (32, 16), (1,), 4 * _RECURRENT[0], 4 * _RECURRENT[1] + 64),
    _row("gru", 32, (32, 16), (1,), 3 * _RECURRENT[0], 3 * _RECURRENT[1] + 64),
    _row("block", 16, (32, 64), (32, 64), 0, 32 * (4 * 64 * 64 + 2 * 64 * 128)),
    _row("embeddings", 256, (8,), (1,), 0, 128 * 128 + 128 * 64 + 64),
)}
ROWS: dict[str, Row] = {**OTHER_ROWS, **LAYER_ROWS}
"""All rows, by name."""
