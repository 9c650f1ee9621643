"""RNN, GRU and LSTM of ONNX files as layers.

ONNX has time before the batch, weights (directions, gates · H, features) whose gates stand in an order of its own, and
two biases that are added up; but for the last gate of a GRU, whose second one stands within.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp import layers
from fastbp.files.onnx_reader import Node, Value, View, ordered, sample, spread
from fastbp.layers.base import Layer
from fastbp.ops.base import Array

ORDERS: dict[str, tuple[int, ...]] = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}
"""ONNX's gates by their numbers here."""
_USUAL = {"RNN": ("tanh",), "GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}


def recurrence(n: Node) -> list[Value]:
    """Return y (T, directions, B, H) and the last state, each (directions, B, H)."""
    kind, lengths = n.op, _lengths(n)
    back, both = n.option("direction", "forward") == "reverse", n.option("direction", "forward") == "bidirectional"
    x = n.view().seen_by((0, 1, 2) if n.option("layout", 0) else (1, 0, 2))
    kernel, width = n.weight(1, "W"), n.weight(2, "R").shape[-1]
    options = _options(n, len(kernel), kernel.shape[1] // len(ORDERS[kind]), width)
    states = [s for i in range(1 + (kind == "LSTM")) if (s := _state(n, 5 + i, "c" if i else "h")) is not None]
    before = not n.option("linear_before_reset", 0)
    if kind == "GRU" and before and np.any(n.weight(2, "R")):
        y, *ends = _reset_first(n, x, states, lengths, (False, True) if both else (back,))
    else:
        x = _turned(x, lengths) if back else x
        layer = getattr(layers, kind)(kernel.shape[-1], width, bidirectional=both, lengths=lengths is not None,
                                      **options)
        n.load(layer, **_parameters(n))
        if len(states) == 1 and kind == "LSTM":     # the one that is left out is 0
            place = 0 if n.given(5) is None or _is_zero(n.given(5)) else 1
            states.insert(1 - place, states[0] * 0.0)
        given = (x, *states, *(() if lengths is None else (lengths,)))
        wanted = any(n.loaded.uses[name] for name in n.outputs[1:] if name)
        y, *ends = layer.with_state(*given) if wanted else (layer(*given),)
        y = _turned(y, lengths) if back else y
    return [_sequence(n, y, 1 + both), *(_end(n, end) for end in ends)]


def _options(n: Node, directions: int, hidden: int, width: int) -> dict[str, Any]:
    """Refuse what the layers do not have, and return what they are told."""
    kind = n.op
    n.must(hidden == width == n.option("hidden_size", width), f"weights of other sizes than its {width} units")
    n.must(n.option("clip") is None, "a clip")
    n.must(not n.option("input_forget", 0), "input_forget=1")
    peepholes = n.given(7)
    n.must(peepholes is None or (isinstance(peepholes, np.ndarray) and not peepholes.any()), "peepholes")
    functions = [str(getattr(f, "decode", lambda f=f: f)()).lower() for f in n.option("activations", [])]
    usual = list(_USUAL[kind]) * directions
    relu = kind == "RNN" and functions == ["relu"] * directions
    n.must(functions in ([], usual) or relu, f"the activations {', '.join(functions)}")
    return {"bias": n.given(3) is not None, **({"nonlinearity": "relu"} if relu else {})}


def _parameters(n: Node) -> dict[str, Array]:
    kind, order = n.op, ORDERS[n.op]
    kernels, recurrent = n.weight(1, "W"), n.weight(2, "R")
    hidden = recurrent.shape[-1]
    rows = np.concatenate([np.arange(hidden) + order.index(gate) * hidden for gate in range(len(order))])
    parameters: dict[str, Array] = {}
    for i, suffix in zip(range(len(kernels)), ("l0", "l0_reverse"), strict=False):
        parameters[f"weight_ih_{suffix}"] = kernels[i][rows].T
        parameters[f"weight_hh_{suffix}"] = recurrent[i][rows].T
        if n.given(3) is not None:
            first, second = (half[rows] for half in np.split(n.weight(3, "B")[i], 2))
            if kind == "GRU":
                parameters[f"bias_hn_{suffix}"] = second[2 * hidden:].copy()
                second[2 * hidden:] = 0
            parameters[f"bias_{suffix}"] = first + second
    return parameters


# ---- what goes in ----------------------------------------------------------------------------------------------------


def _lengths(n: Node) -> Any:
    """Return how many steps each sample has, (B, 1), or None where all have all."""
    value = n.given(4)
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        steps = n.view().shape[1 if n.option("layout", 0) else 0]
        n.must(bool((value == steps).all()), "lengths that the model holds")
        return None
    n.must(value.tensor.node is None and sample(value.tensor) == (1,),
           "lengths that are computed, or come in as (B,); expected an input (B, 1) of int64, and one axis squeezed")
    return value.tensor


def _is_zero(value: Value | None) -> bool:
    return isinstance(value, np.ndarray) and not value.any()


def _state(n: Node, place: int, name: str) -> Any:
    """Return a state before the first step, (B, directions, H), or None for 0."""
    value = n.given(place)
    if value is None or _is_zero(value):
        return None
    batch_first = n.option("layout", 0)
    if isinstance(value, View):
        return value.seen_by((0, 1, 2) if batch_first else (1, 0, 2))
    value = value if batch_first else value.swapaxes(0, 1)
    n.must(bool((value == value[:1]).all()), f"numbers of each row for initial_{name}")
    return spread(n.view().seen_by((0, 1, 2) if batch_first else (1, 0, 2))[:, :1, :1] * 0.0 + value[0],
                  value.shape[1:])


def _turned(x: Any, lengths: Any) -> Any:
    """Return a sequence with its steps in the other order; those beyond its length stay behind it."""
    if lengths is None:
        return x[:, ::-1]
    steps = sample(x)[0]
    places = np.mod(lengths - 1 - np.arange(steps), steps)      # (B, T)
    return np.take_along_axis(x, spread(places[:, :, None], sample(x)), axis=1)


# ---- what comes out --------------------------------------------------------------------------------------------------


def _sequence(n: Node, y: Any, directions: int) -> View:
    """Return y (B, T, directions · H) as ONNX sees it."""
    steps, width = sample(y)
    axes: tuple[tuple[int, ...], ...] = ((0,), (1,), (), (2,))
    if directions > 1:
        y, axes = layers.Reshape(steps, directions, width // directions)(y), ((0,), (1,), (2,), (3,))
    return View(y, axes if n.option("layout", 0) else (axes[1], axes[2], axes[0], axes[3]))


def _end(n: Node, end: Any) -> View:
    return ordered(end, (0, 1, 2) if n.option("layout", 0) else (1, 0, 2))


def _reset_first(n: Node, x: Any, states: list[Any], lengths: Any, turned: Sequence[bool]) -> list[Any]:
    """Return y and the last state of a GRU that resets the state before it is multiplied, step by step.

    ``n = tanh(x W + (r h) R + b)``; the layer multiplies first, as PyTorch does.
    """
    ys, ends = [], []
    for i, back in enumerate(turned):
        y, end = _one_direction(n, _turned(x, lengths) if back else x, "l0_reverse" if i else "l0",
                                states[0][:, i] if states else None, lengths)
        ys.append(_turned(y, lengths) if back else y)
        ends.append(end)
    return [ys[0] if len(ys) == 1 else layers.Concat()(*ys), np.stack(ends, axis=1)]


def _one_direction(n: Node, x: Any, suffix: str, h: Any, lengths: Any) -> tuple[Any, Any]:
    steps, features = sample(x)
    hidden = n.weight(2, "R").shape[-1]
    full = n.given(3) is not None
    found = _parameters(n)
    kernel, weight = found[f"weight_ih_{suffix}"], found[f"weight_hh_{suffix}"]
    bias = {"bias": found[f"bias_{suffix}"] + np.pad(found[f"bias_hn_{suffix}"], (2 * hidden, 0))} if full else {}
    gates = n.load(layers.Linear(features, 3 * hidden, full), weight=kernel, **bias)(x)
    reset: Layer = n.load(layers.Linear(hidden, 2 * hidden, False), weight=weight[:, :2 * hidden])
    new: Layer = n.load(layers.Linear(hidden, hidden, False), weight=weight[:, 2 * hidden:])
    h = gates[:, 0, :hidden] * 0.0 if h is None else h
    made = []
    for t in range(steps):
        z, u = gates[:, t], reset(h)
        r, s = (layers.Sigmoid()(z[:, part] + u[:, part]) for part in (slice(hidden), slice(hidden, 2 * hidden)))
        after = (1 - s) * np.tanh(z[:, 2 * hidden:] + new(r * h)) + s * h
        h = after if lengths is None else np.where(t < lengths, after, h)
        made.append(h if lengths is None else np.where(t < lengths, after, 0.0))
    return np.stack(made, axis=1), h
