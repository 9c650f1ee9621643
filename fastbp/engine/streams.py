"""A network goes through sequences as they come, a step or a piece at a time: ``y, state = net.step(x, state)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastbp.engine.executable import Executable
from fastbp.graph.graph import Graph, Tensor
from fastbp.graph.inline import parted, sources_of, streamed
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
    whole : tuple of arrays
        What each step sees as a whole: the memory of attention to another sequence.
    """

    steps: int
    states: tuple[Array, ...]
    keys: tuple[Array, ...]
    whole: tuple[Array, ...] = ()


class _Piece:
    """A network for a piece of so many steps, over the memory of another."""

    def __init__(self, net: Executable, steps: int, capacity: int, whole: Mapping[Tensor, Tensor]) -> None:
        self.stream = Stream(capacity)
        xs, outputs = streamed(net.graph, steps, self.stream, whole)
        self._more = [t for t in (self.stream.hidden, self.stream.places) if t is not None]
        kept = [*self.stream.states, *self.stream.keys]
        names = [(layer, name) for name, layer in net.graph.layers.items()]
        inputs = [*xs, *whole.values(), *(a for a, _ in kept), *self._more]
        graph = Graph(inputs, [*outputs, *(b for _, b in kept)], names)
        self.count, self.net = len(outputs), net._over(graph, False, False)

    def run(self, xs: list[Array], state: StreamState) -> tuple[tuple[Array, ...], StreamState]:
        rows, steps, before = len(xs[0]), xs[0].shape[1], state.steps
        kept = [*self.stream.states, *self.stream.keys]
        given = [np.zeros((rows, *t.shape), self.net.dtype) for t, _ in kept] if not before else \
            [*state.states, *(self._with_room(k) for k in state.keys)]
        hidden = np.arange(self.stream.capacity + steps) < self.stream.capacity - before
        places = np.arange(before, before + steps)
        more = [np.tile(hidden if t is self.stream.hidden else places, (rows, 1)).astype(np.int64) for t in self._more]
        inputs = [*xs, *state.whole, *given, *more]
        made: Any = self.net.predict(tuple(inputs) if len(inputs) > 1 else inputs)
        outputs, ends = made[:self.count], made[self.count:]
        states, new = ends[:len(self.stream.states)], ends[len(self.stream.states):]
        keys = tuple(np.concatenate([old[:, steps:], k], axis=1) if old.shape[1] > steps else k[:, -old.shape[1]:]
                     for old, k in zip(given[len(states):], new, strict=True))
        return outputs, StreamState(before + steps, tuple(states), keys, state.whole)

    def _with_room(self, keys: Array) -> Array:
        missing = self.stream.capacity - keys.shape[1]
        return keys if not missing else np.pad(keys, ((0, 0), (missing, 0), (0, 0)))


class _Streams:
    """What a network keeps to go through sequences: which inputs come step by step, and graphs for pieces."""

    def __init__(self, net: Executable) -> None:
        self.moving, self.whole = parted(net.graph)
        self.pieces: dict[tuple[Any, ...], _Piece] = {}
        self.seen = [t for t in net.graph.inputs if t not in self.moving]
        computed = [t for t in self.whole if t.node is not None]
        needed = {s for t in computed for s in sources_of(t)}
        self._read = [t for t in self.seen if t in needed]
        names = [(layer, name) for name, layer in net.graph.layers.items()]
        self._encoder = net._over(Graph(self._read, computed, names), False, False) if computed else None

    def all_of(self, arrays: dict[Tensor, Array]) -> tuple[Array, ...]:
        """Return what steps see as a whole, computed from the inputs that are given as a whole."""
        made: list[Array] = []
        if self._encoder is not None:
            made = list(self._encoder.predict(tuple(arrays[t] for t in self._read)))
        return tuple(arrays[t] if t.node is None else made.pop(0) for t in self.whole)


def step(net: Executable, x: Any, state: StreamState | None) -> tuple[Any, StreamState]:
    """Return the outputs for a step or a piece, and the state after it; ``net.step(x, state)``."""
    if state is not None and not isinstance(state, StreamState):
        raise TypeError(f"step: state is {type(state).__name__}; expected what the step before returned, or None to "
                        "begin")
    streams: _Streams = net.__dict__.get("_pieces") or net.__dict__.setdefault("_pieces", _Streams(net))
    given = dict(zip(net.graph.inputs, zip(net._ins.called("x"), net._ins.several("step: x", x), strict=True),
                     strict=True))
    xs, single = _steps(net, {t: given[t] for t in streams.moving})
    whole = _whole(net, streams, {t: given[t] for t in streams.seen}, state)
    if len({len(a) for a in whole}) > 1:
        raise ValueError(f"step: what is given as a whole has {', '.join(str(len(a)) for a in whole)} rows; expected "
                         "as many of each")
    begun = StreamState(0, (), (), whole) if state is None else replace(state, whole=whole)
    rows = next((len(a) for a in (*begun.states, *begun.keys, *whole)), len(xs[0]))
    if rows != len(xs[0]):
        raise ValueError(f"step: x has {len(xs[0])} rows; expected {rows}, as the state has")
    outputs, after = _piece(net, streams, xs[0].shape[1], begun).run(xs, begun)
    if single:
        outputs = tuple(y[:, 0] if y.ndim == len(o.shape) + 1 and len(o.shape) > 1 and y.shape[1] == 1 else y
                        for y, o in zip(outputs, net.graph.outputs, strict=True))
    return net._outs.handed(outputs), after


def _steps(net: Executable, given: dict[Tensor, tuple[str, Any]]) -> tuple[list[Array], bool]:
    """Return what comes step by step, as pieces, and whether they are single steps."""
    if not given:
        raise ValueError(f"step: {net!r} has no input that comes step by step")
    xs: list[Array] = []
    lengths: dict[str, int | None] = {}
    for t, (name, values) in given.items():
        if len(t.shape) < 1 + (t.dtype == "real"):
            raise ValueError(f"step: {net!r} takes samples of shape {t.shape}; expected one that takes sequences "
                             "(B, T, …)")
        array = net._converted(name, values, t)
        single = array.ndim == len(t.shape)
        array = array[:, None] if single else array
        if array.ndim != len(t.shape) + 1 or array.shape[2:] != t.shape[1:] or not array.shape[1]:
            features = "".join(f", {n}" for n in t.shape[1:])
            raise ValueError(f"step: {name} has shape {np.shape(values)}; expected (B{features}), one step, or "
                             f"(B, T{features}), a piece of any length")
        lengths[name] = None if single else array.shape[1]
        xs.append(array)
    if len(set(lengths.values())) > 1 or len({len(a) for a in xs}) > 1:
        shapes = ", ".join(f"{name} {np.shape(values)}" for name, values in given.values())
        raise ValueError(f"step: the inputs have the shapes {shapes}; expected as many rows and steps of each")
    return xs, None in lengths.values()


def _whole(net: Executable, streams: _Streams, given: dict[Tensor, tuple[str, Any]],
           state: StreamState | None) -> tuple[Array, ...]:
    """Return what steps see as a whole; what was given at the first step is kept where None is given now."""
    if state is not None and all(values is None for _, values in given.values()):
        return state.whole
    for name, values in given.values():
        if values is None:
            raise ValueError(f"step: {name} is None; expected an array at the first step, and then None for all that "
                             "each step sees as a whole, or arrays for all of it")
    return streams.all_of({t: net._converted(name, values, t) for t, (name, values) in given.items()})


def _piece(net: Executable, streams: _Streams, steps: int, state: StreamState) -> _Piece:
    """Return the network for a piece. Room for steps before grows in powers of two."""
    room = max([16, *(k.shape[1] for k in state.keys)])
    while room < state.steps + steps:
        room *= 2
    shapes = tuple(a.shape[1:] for a in state.whole)
    key = steps, room if _looks_back(net.graph.tensors) else 0, shapes
    whole = {t: Tensor(shape, None, f"whole{i}", None, t.dtype)
             for i, (t, shape) in enumerate(zip(streams.whole, shapes, strict=True))}
    pieces = streams.pieces
    found = pieces.pop(key, None) or _Piece(net, *key[:2], whole)
    while len(pieces) >= _MOST_PIECES:
        del pieces[next(iter(pieces))]
    pieces[key] = found
    return found


def _looks_back(tensors: Sequence[Tensor]) -> bool:
    return any(t.node is not None and t.node.op.name == "attention" for t in tensors)
