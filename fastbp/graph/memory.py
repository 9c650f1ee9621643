"""The numbers of a graph: one flat vector each of parameters, gradients and buffers, with named views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from fastbp.core.vector import Vector
from fastbp.graph.graph import Graph, Parameter

# Draws are numbered from here on, and updates from 0: the two never share a key.
BY_HAND = 1 << 63


@dataclass
class Clock:
    """What the random numbers are keyed by, and which plan wrote the gradients; one for all graphs over a memory."""

    step: int = 0
    draws: int = 0
    held: bool = False
    writer: int = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "writer": 0}       # plans do not travel


@dataclass
class _Moving:
    """Which parameters move, one for all graphs over a memory, and who is told when that changes."""

    frozen: set[Parameter]
    told: WeakKeyDictionary[Follower, Memory]


class Follower(Protocol):
    """Who wants to know which parameters of a memory move."""

    def follow(self, memory: Memory) -> None:
        """Begin, or go on, with the parameters that move now."""


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

    homes : sequence of Memory, optional
        Of networks within the graph: what they hold moves into this memory, and they use it there.

    Attributes
    ----------
    params, grads, buffers : Vector
    step : int
        Updates of the parameters so far.
    draws : int
        Training passes outside of training so far.
    clock : Clock
        Holds both, for whoever reads them in each step.
    """

    def __init__(self, graph: Graph, dtype: str, seed: int = 0, compute_dtype: str = "",
                 homes: Sequence[Memory] = ()) -> None:
        self.graph, self.dtype, self.seed, self.compute_dtype = graph, dtype, seed, compute_dtype or dtype
        for home in homes:
            home._check_can_move(graph, dtype)
        # those of a network within lie side by side, as they do in a vector of its own
        params = [*(p for home in homes for p in home.graph.parameters.values()), *graph.parameters.values()]
        buffers = [*(p for home in homes for p in home.graph.buffers.values()), *graph.buffers.values()]
        shapes = {graph.parameter_name(p): p.shape for p in params}
        self.params, self.grads = Vector(shapes, dtype), Vector(shapes, dtype)
        self.buffers = Vector({graph.parameter_name(p): p.shape for p in buffers}, dtype)
        self.clock = Clock()
        self._moving = _Moving({p for p in graph.parameters.values() if not p.trainable}, WeakKeyDictionary())
        self._whole: list[Memory] = []
        self._users: WeakSet[Any] = WeakSet()
        self.moved = frozenset(graph.parameter_name(p) for home in homes
                               for p in (*home.graph.parameters.values(), *home.graph.buffers.values()))
        for home in homes:
            home._move_into(self)

    def used_by(self, network: Any) -> None:
        """Note a network that is to start anew (``network._start()``) when the memory moves."""
        self._users.add(network)

    @property
    def frozen(self) -> frozenset[str]:
        """The names of the parameters of the graph that do not move."""
        return frozenset(n for n, p in self.graph.parameters.items() if p in self._moving.frozen)

    @property
    def trained(self) -> tuple[tuple[str, int], ...]:
        """The parameters of the graph that move, each with its number of elements."""
        return tuple((n, self.params[n].size) for n, p in self.graph.parameters.items() if p not in self._moving.frozen)

    def freeze(self, names: Iterable[str], frozen: bool = True) -> None:
        """Let parameters stay where they are from now on, or move again."""
        chosen = {self.graph.parameters[name] for name in names}
        if frozen:
            self._moving.frozen |= chosen
        else:
            self._moving.frozen -= chosen
        for follower, memory in list(self._moving.told.items()):
            follower.follow(memory)

    def tell(self, follower: Follower) -> None:
        """Tell somebody which parameters move, now and whenever that changes."""
        self._moving.told[follower] = self
        follower.follow(self)

    def _check_can_move(self, graph: Graph, dtype: str) -> None:
        if self._whole:
            raise ValueError("a network within the graph is part of another network already; take part in that one "
                             "(net.part), or use a copy (net.copy())")
        if self.dtype != dtype:
            raise ValueError(f"a network within the graph is of dtype {self.dtype}; expected {dtype}, as this one is. "
                             f'Use its copy: net.copy(dtype="{dtype}")')
        missing = [n for d in (self.graph.parameters, self.graph.buffers) for n, p in d.items() if not graph.has(p)]
        if missing:
            raise ValueError(f"a network within the graph has {', '.join(missing)}, which no output needs; use all of "
                             "its outputs, or a network of the part: net.part(inputs, outputs)")

    def _move_into(self, whole: Memory) -> None:
        for own, other, symbols in ((self.params, whole.params, self.graph.parameters),
                                    (self.grads, whole.grads, self.graph.parameters),
                                    (self.buffers, whole.buffers, self.graph.buffers)):
            if symbols:
                start = other.offsets[whole.graph.parameter_name(next(iter(symbols.values())))]
                own.move_to(other.flat[start:start + own.flat.size])
        whole._moving.frozen |= self._moving.frozen
        whole._moving.told.update(self._moving.told)
        self._moving.frozen, self._moving.told = whole._moving.frozen, whole._moving.told
        self._whole.append(whole)
        for network in list(self._users):
            network._start()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_users": None, "_whole": [], "_moving": list(self._moving.frozen)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _users=WeakSet())
        self._moving = _Moving(set(state["_moving"]), WeakKeyDictionary())

    @property
    def step(self) -> int:
        """Updates of the parameters so far. The random numbers of training are keyed by it."""
        return self.clock.step

    @step.setter
    def step(self, step: int) -> None:
        self.clock.step = step

    @property
    def draws(self) -> int:
        """Training passes outside of training so far."""
        return self.clock.draws

    @draws.setter
    def draws(self, draws: int) -> None:
        self.clock.draws = draws

    def go_on_from(self, other: Memory) -> None:
        """Draw what another memory of the same graph would draw from now on, and freeze what it has frozen."""
        self.step, self.draws = other.step, other.draws - other.clock.held
        self._moving.frozen.clear()
        self._moving.frozen |= other._moving.frozen

    def draw(self) -> int:
        """Return what keys the random numbers of a training pass by hand: another one each time, unless held."""
        if not self.clock.held:
            self.draws += 1
        return BY_HAND + self.draws

    @contextmanager
    def held(self, draw: int | None = None) -> Iterator[None]:
        """Let all training passes by hand draw the same random numbers: those of a given draw, or of the next one."""
        clock, before = self.clock, replace(self.clock)
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
