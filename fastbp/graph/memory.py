"""The numbers of a graph: one flat vector each of parameters, gradients and buffers, with named views."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fastbp.core.vector import Vector
from fastbp.graph.graph import Graph

# Draws are numbered from here on, and updates from 0: the two never share a key.
BY_HAND = 1 << 63


@dataclass
class _Clock:
    """What the random numbers are keyed by, one for all graphs over a memory."""

    step: int = 0
    draws: int = 0
    held: bool = False


class Memory:
    """The vectors of one network, all zero at first, which a backend and an optimizer work on in place.

    Parameters
    ----------
    graph : Graph
    dtype : str
        ``"float32"`` or ``"float64"``.
    seed : int
        Keys the random numbers of dropout, together with the number of the update or of the draw.
    compute_dtype : str, optional
        What linear layers multiply in: dtype, or ``"bfloat16"`` with float32.

    Attributes
    ----------
    params, grads, buffers : Vector
    step : int
        Updates of the parameters so far.
    draws : int
        Training passes outside of training so far.
    """

    def __init__(self, graph: Graph, dtype: str, seed: int = 0, compute_dtype: str = "") -> None:
        self.graph, self.dtype, self.seed, self.compute_dtype = graph, dtype, seed, compute_dtype or dtype
        self.params = Vector({n: p.shape for n, p in graph.parameters.items()}, dtype)
        self.grads = Vector({n: p.shape for n, p in graph.parameters.items()}, dtype)
        self.buffers = Vector({n: p.shape for n, p in graph.buffers.items()}, dtype)
        self._clock = _Clock()

    @property
    def step(self) -> int:
        """Updates of the parameters so far. The random numbers of training are keyed by it."""
        return self._clock.step

    @step.setter
    def step(self, step: int) -> None:
        self._clock.step = step

    @property
    def draws(self) -> int:
        """Training passes outside of training so far."""
        return self._clock.draws

    @draws.setter
    def draws(self, draws: int) -> None:
        self._clock.draws = draws

    def go_on_from(self, other: Memory) -> None:
        """Draw what another memory would draw from now on."""
        self.step, self.draws = other.step, other.draws - other._clock.held

    def draw(self) -> int:
        """Return what keys the random numbers of a training pass by hand: another one each time, unless held."""
        if not self._clock.held:
            self.draws += 1
        return BY_HAND + self.draws

    @contextmanager
    def held(self, draw: int | None = None) -> Iterator[None]:
        """Let all training passes by hand draw the same random numbers: those of a given draw, or of the next one."""
        clock, before = self._clock, replace(self._clock)
        if draw is not None:
            clock.draws = draw
        elif not clock.held:
            clock.draws = before.draws = before.draws + 1
        clock.held = True
        try:
            yield
        finally:
            clock.draws, clock.held = before.draws, before.held

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
