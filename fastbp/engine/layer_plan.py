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


def pays(graph: Graph) -> bool:
    """Whether a graph is to run as a plan: an op has no kernel of its own, and no op is somebody's own, in NumPy."""
    ops = [node.op for node in graph.nodes]
    return not all(op.is_view or has_kernels(op) for op in ops) and not any(op.calls_back and not op.on_arrays
                                                                           for op in ops)


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
        self._started: dict[str, tuple[Memory, NativeBackend]] = {}
        self._last: NativeBackend | None = None
        self._lock = Lock()             # threads wait for each other, as they do not where there is a network
        self.check_training = TrainingRows(graph)

    def forward(self, inputs: Sequence[Array], training: bool, step: int, dtype: str) -> Array:
        """Return the output; keep what backward needs."""
        with self._lock:
            memory, self._last = self._started.get(dtype) or self._start(dtype)
            memory.draws = step - BY_HAND - training    # a training pass counts them up
            return self._last.forward([np.ascontiguousarray(x) for x in inputs], training, backward=True)[0]

    def backward(self, dy: Array) -> list[Array | None]:
        """Fill the gradients of the parameters; return those of the inputs, None for an input of integers."""
        with self._lock:
            assert self._last is not None
            return list(self._last.backward([dy]))

    def _start(self, dtype: str) -> tuple[Memory, NativeBackend]:
        memory = Memory(self._graph, dtype, self._seed)
        for own, there in zip((memory.params, memory.grads, memory.buffers), self._vectors, strict=True):
            if len(own):
                own.flat[...] = there.flat
                own.move_to(there.flat)
        made = self._started[dtype] = memory, NativeBackend(memory)
        return made
