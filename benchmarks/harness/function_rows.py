"""Five networks whose losses are functions: reinforcement learning, a variational autoencoder, derivatives in the loss.

What is fed is the same for all libraries, noise too. Parameters are lists of (weight, bias), layer by layer, one list
of layers after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.rows import MINI_BATCHES, Problem, Row
from harness.rows import ROWS as PLAIN_ROWS


@dataclass(frozen=True)
class FunctionRow(Row):
    """A row with several chains of layers, and a loss of its own.

    Attributes
    ----------
    chains : tuple of tuple of int
        The widths of each chain of fully connected layers.
    products : float
        How many products of a layer's size a step takes, for each layer: 3 for forward, dx and dW.
    clip_norm : float or None
    frozen : int
        How many of the last chains are not trained.
    """

    chains: tuple[tuple[int, ...], ...] = ()
    products: float = 3
    clip_norm: float | None = None
    frozen: int = 0

    @property
    def shape(self) -> str:
        return self.name

    @property
    def parameters(self) -> int:
        trained = self.chains[:len(self.chains) - self.frozen]
        return sum((i + 1) * o for chain in trained for i, o in pairwise(chain))

    @property
    def fixed(self) -> int:
        """How many of the last layers are not trained."""
        return sum(len(chain) - 1 for chain in self.chains[len(self.chains) - self.frozen:])

    @property
    def flop(self) -> int:
        return int(2 * self.batch * self.products * sum(i * o for chain in self.chains for i, o in pairwise(chain)))

    def problem(self, seed: int = 0) -> FunctionProblem:
        rng = np.random.default_rng(seed)
        n = self.batch * MINI_BATCHES
        inputs, targets = _DATA[self.name](rng, n)
        parameters = []
        for chain in self.chains:
            for i, o in pairwise(chain):
                limit = np.sqrt(3 / i)
                parameters.append((rng.uniform(-limit, limit, (i, o)).astype(np.float32),
                                   rng.uniform(-0.1, 0.1, o).astype(np.float32)))
        return FunctionProblem(self, np.empty(0, np.float32), np.empty(0), parameters, inputs, targets)


@dataclass(frozen=True)
class FunctionProblem(Problem):
    """Such a row with numbers: arrays with the samples first."""

    inputs: tuple[NDArray[Any], ...] = field(default=(), repr=False)
    targets: tuple[NDArray[Any], ...] = field(default=(), repr=False)

    @property
    def mini_batches(self) -> list[NDArray[Any]]:
        """Inputs and targets with an axis of mini-batches in front, as views."""
        return [a.reshape(MINI_BATCHES, self.row.batch, *a.shape[1:]) for a in (*self.inputs, *self.targets)]


def _normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape, dtype=np.float32)


def _force(rng: np.random.Generator, n: int) -> Any:
    return (_normal(rng, n, 32),), (_normal(rng, n), _normal(rng, n, 32))


_DATA = {
    "ppo": lambda rng, n: ((_normal(rng, n, 8),), (rng.integers(4, size=n), _normal(rng, n),
                                                   -rng.random(n, np.float32), _normal(rng, n))),
    "dqn": lambda rng, n: ((_normal(rng, n, 8), _normal(rng, n, 8)), (rng.integers(4, size=n), _normal(rng, n))),
    "vae": lambda rng, n: ((rng.random((n, 784), np.float32), _normal(rng, n, 20)), ()),
    "pinn": lambda rng, n: ((rng.uniform(-1, 1, (n, 2)).astype(np.float32),), ()),
    "force": _force,
}
_DEEP = (2, *[20] * 8, 1)
FUNCTION_ROWS = {row.name: row for row in (
    FunctionRow("ppo", (), 64, "tanh", "function", chains=((8, 64, 64, 4), (8, 64, 64, 1)), clip_norm=0.5),
    FunctionRow("dqn", (), 64, "relu", "function", chains=((8, 128, 128, 4), (8, 128, 128, 4)), products=2, frozen=1),
    FunctionRow("vae", (), 128, "relu", "function", chains=((784, 400), (400, 20), (400, 20), (20, 400, 784))),
    FunctionRow("pinn", (), 1024, "tanh", "function", chains=(_DEEP,), products=12, tolerance=1e-3),
    FunctionRow("force", (), 64, "silu", "function", chains=((32, 64, 64, 1),), products=6),
)}
ROWS: dict[str, Row] = {**PLAIN_ROWS, **FUNCTION_ROWS}
"""All rows, by name."""
