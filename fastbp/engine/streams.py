"""A network goes through sequences as they come, a step or a piece at a time: ``y, state = net.step(x, state)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.engine.executable import Executable
from fastbp.graph.graph import Graph, Tensor
from fastbp.graph.inline import streamed
from fastbp.graph.streaming import Stream
from fastbp.ops.base import Array

# Graphs for pieces of some length, and room for some steps before, that a network keeps.
_MOST_PIECES = 16


@dataclass(frozen=True)
class StreamState:
    """What a network remembers of the sequences so far; it is not changed by going on from it.

    Attributes
    ----------
    steps : int
        How many steps there were.
    states : tuple of arrays (B, …)
        Of recurrent layers, in the order in which the network needs them.
    keys : tuple of arrays (B, capacity, 2 K)
        Keys and values of attention: the last ``steps`` of each are there, and zeros before them.
    """

    steps: int
    states: tuple[Array, ...]
    keys: tuple[Array, ...]


class _Piece:
    """A network for a piece of so many steps, over the memory of another."""

    def __init__(self, net: Executable, steps: int, capacity: int) -> None:
        self.stream = Stream(capacity)
        x, outputs = streamed(net.graph, steps, self.stream)
        self._more = [t for t in (self.stream.hidden, self.stream.places) if t is not None]
        kept = [*self.stream.states, *self.stream.keys]
        names = [(layer, name) for name, layer in net.graph.layers.items()]
        graph = Graph([x, *(a for a, _ in kept), *self._more], [*outputs, *(b for _, b in kept)], names)
        self.count, self.net = len(outputs), net._over(graph, False, False)

    def run(self, x: Array, state: StreamState | None) -> tuple[tuple[Array, ...], StreamState]:
        rows, steps, before = len(x), x.shape[1], 0 if state is None else state.steps
        kept = [*self.stream.states, *self.stream.keys]
        given = [np.zeros((rows, *t.shape), self.net.dtype) for t, _ in kept] if state is None else \
            [*state.states, *(self._with_room(k) for k in state.keys)]
        hidden = np.arange(self.stream.capacity + steps) < self.stream.capacity - before
        places = np.arange(before, before + steps)
        more = [np.tile(hidden if t is self.stream.hidden else places, (rows, 1)).astype(np.int64) for t in self._more]
        made: Any = self.net.predict((x, *given, *more))
        outputs, ends = made[:self.count], made[self.count:]
        states, new = ends[:len(self.stream.states)], ends[len(self.stream.states):]
        keys = tuple(np.concatenate([old[:, steps:], k], axis=1) if old.shape[1] > steps else k[:, -old.shape[1]:]
                     for old, k in zip(given[len(states):], new, strict=True))
        return outputs, StreamState(before + steps, tuple(states), keys)

    def _with_room(self, keys: Array) -> Array:
        missing = self.stream.capacity - keys.shape[1]
        return keys if not missing else np.pad(keys, ((0, 0), (missing, 0), (0, 0)))


def step(net: Executable, x: Any, state: StreamState | None) -> tuple[Any, StreamState]:
    """Return the outputs for a step or a piece, and the state after it; ``net.step(x, state)``."""
    if len(net.graph.inputs) != 1:
        raise ValueError(f"step: {net!r} has {len(net.graph.inputs)} inputs; expected a network of one, whose "
                         "sequences come step by step")
    if state is not None and not isinstance(state, StreamState):
        raise TypeError(f"step: state is {type(state).__name__}; expected what the step before returned, or None to "
                        "begin")
    (t,) = net.graph.inputs
    if len(t.shape) < 1 + (t.dtype == "real"):
        raise ValueError(f"step: {net!r} takes samples of shape {t.shape}; expected one that takes sequences (B, T, …)")
    array = net._converted("x", x, t)
    single = array.ndim == len(t.shape)
    array = array[:, None] if single else array
    if array.ndim != len(t.shape) + 1 or array.shape[2:] != t.shape[1:] or not array.shape[1]:
        features = "".join(f", {n}" for n in t.shape[1:])
        raise ValueError(f"step: x has shape {np.shape(x)}; expected (B{features}), one step, or (B, T{features}), a "
                         "piece of any length")
    if state is not None and any(len(a) != len(array) for a in (*state.states, *state.keys)):
        rows = len((*state.states, *state.keys)[0])
        raise ValueError(f"step: x has {len(array)} rows; expected {rows}, as the state has")
    outputs, after = _piece(net, array.shape[1], state).run(array, state)
    if single:
        outputs = tuple(y[:, 0] if y.ndim == len(o.shape) + 1 and len(o.shape) > 1 and y.shape[1] == 1 else y
                        for y, o in zip(outputs, net.graph.outputs, strict=True))
    return (outputs[0] if net._outs.alone else outputs), after


def _piece(net: Executable, steps: int, state: StreamState | None) -> _Piece:
    """Return the network for a piece. Room for steps before grows in powers of two."""
    before = 0 if state is None else state.steps
    room = max([16, *(k.shape[1] for k in (state.keys if state is not None else ()))])
    while room < before + steps:
        room *= 2
    pieces: dict[tuple[int, int], _Piece] = net.__dict__.setdefault("_pieces", {})
    key = steps, room if _looks_back(net.graph.tensors) else 0
    found = pieces.pop(key, None) or _Piece(net, *key)
    while len(pieces) >= _MOST_PIECES:
        del pieces[next(iter(pieces))]
    pieces[key] = found
    return found


def _looks_back(tensors: Sequence[Tensor]) -> bool:
    return any(t.node is not None and t.node.op.name == "attention" for t in tensors)
