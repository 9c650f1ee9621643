"""The numbers of a graph: one flat vector each of parameters, gradients and buffers, with named views."""

from __future__ import annotations

from fastbp.core.vector import Vector
from fastbp.graph.graph import Graph


class Memory:
    """The vectors of one network, all zero at first, which a backend and an optimizer work on in place.

    Parameters
    ----------
    graph : Graph
    dtype : str
        ``"float32"`` or ``"float64"``.
    seed : int
        Keys the random numbers of dropout, together with ``step``.
    compute_dtype : str, optional
        What linear layers multiply in: dtype, or ``"bfloat16"`` with float32.

    Attributes
    ----------
    params, grads, buffers : Vector
    step : int
        Updates of the parameters so far.
    """

    def __init__(self, graph: Graph, dtype: str, seed: int = 0, compute_dtype: str = "") -> None:
        self.graph, self.dtype, self.seed, self.compute_dtype = graph, dtype, seed, compute_dtype or dtype
        self.params = Vector({n: p.shape for n, p in graph.parameters.items()}, dtype)
        self.grads = Vector({n: p.shape for n, p in graph.parameters.items()}, dtype)
        self.buffers = Vector({n: p.shape for n, p in graph.buffers.items()}, dtype)
        self._clock = [0]

    @property
    def step(self) -> int:
        """Updates of the parameters so far."""
        return self._clock[0]

    @step.setter
    def step(self, step: int) -> None:
        self._clock[0] = step

    def over(self, graph: Graph) -> Memory:
        """Return the same memory for another graph, whose parameters and buffers are among those of this one."""
        for name in (*graph.parameters, *graph.buffers):
            if name not in self.params and name not in self.buffers:
                raise ValueError(f"the graph uses the parameter {name!r}, which the network does not have; use it in "
                                 "one of the network's outputs, too")
        other = object.__new__(Memory)
        other.__dict__.update(self.__dict__, graph=graph)
        return other

    def parameter_at(self, index: int) -> str:
        """Return the name of the parameter that has this place in the flat vector."""
        return [name for name, offset in self.params.offsets.items() if offset <= index][-1]
