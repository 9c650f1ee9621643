"""A layer that runs by itself, on arrays, as a plan: what :mod:`fastbp.engine.walk` does op by op, for any op in C."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import numpy as np

from fastbp.core.vector import Vector
from fastbp.engine.native_backend import NativeBackend
from fastbp.engine.op_kernels import has_kernels
from fastbp.engine.walk import TrainingRows
from fastbp.graph.graph import Graph
from fastbp.graph.memory import BY_HAND, Memory
from fastbp.ops.base import Array
from fastbp.optim.optimizers import Update


def pays(graph: Graph) -> bool:
    """Whether a graph is to run as a plan: an op has no kernel of its own, and no op is somebody's own, in NumPy."""
    ops = [node.op for node in graph.nodes]
    return not all(op.is_view or has_kernels(op) for op in ops) and not any(op.calls_back and not op.on_arrays
                                                                           for op in ops)


class LayerMemory:
    """Parameters of a layer that runs by itself, as an optimizer wants them.

    Parameters
    ----------
    graph, vectors, seed
        As for :class:`LayerPlan`.
    dtype : str
        That of the parameters.
    """

    def __init__(self, graph: Graph, vectors: tuple[Vector, Vector, Vector], seed: int, dtype: str) -> None:
        self.memory = Memory(graph, dtype, seed)
        for own, there in zip((self.memory.params, self.memory.grads, self.memory.buffers), vectors, strict=True):
            if len(own):
                own.flat[...] = there.flat
                own.move_to(there.flat)
        self.backend = NativeBackend(self.memory)

    def _apply_update(self, update: Update, lr: float) -> None:
        if len(self.memory.params):
            self.backend.apply(update, lr)


class LayerPlan:
    """Runs a graph of one output, forwards and back, with the interface of :class:`~fastbp.engine.walk.Walk`.

    Parameters
    ----------
    graph : Graph
    vectors : Vector, Vector, Vector
        Parameters, gradients and buffers, in the order of the graph, which are worked on where they are.
    seed : int
        Keys random numbers, with the step that `forward` is given.
    """

    def __init__(self, graph: Graph, vectors: tuple[Vector, Vector, Vector], seed: int) -> None:
        self._graph, self._vectors, self._seed = graph, vectors, seed
        self._started: dict[str, LayerMemory] = {}
        self._last: NativeBackend | None = None
        self._lock = Lock()             # threads wait for each other, as they do not where there is a network
        self.check_training = TrainingRows(graph)

    def forward(self, inputs: Sequence[Array], training: bool, step: int, dtype: str) -> Array:
        """Return the output; keep what backward needs."""
        with self._lock:
            started = self._started.get(dtype)
            if started is None:
                started = self._started[dtype] = LayerMemory(self._graph, self._vectors, self._seed, dtype)
            started.memory.draws = step - BY_HAND - training    # a training pass counts them up
            self._last = started.backend
            return self._last.forward([np.ascontiguousarray(x) for x in inputs], training, backward=True)[0]

    def backward(self, dy: Array) -> list[Array | None]:
        """Fill the gradients of the parameters; return those of the inputs, None for an input of integers."""
        with self._lock:
            assert self._last is not None
            return list(self._last.backward([dy]))
