"""Chains of nodes that fastbp writes, and that are one layer here: their parts could not be computed one by one."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import layers
from fastbp.files.onnx_reader import Loaded, Node, View, sample

_PERIODIC = ("Unsqueeze", "Mul", "Add", "Sub", "Cast", "Mul", "Cos", "Einsum", "Add")


def periodic(n: Node) -> bool:
    """Take what ``Periodic`` becomes, from the cast of x to float64 on, and say whether it was that.

    Turns are found in float64, which a network of float32 has only within the layer.
    """
    if n.loaded.dtype != "float32":
        return False
    chain, name = [], n.outputs[0]
    for kind in _PERIODIC:
        user = _user(n.loaded, name, kind)
        if user is None:
            return False
        chain.append(user)
        name = user.output[0]
    _, times, plus, minus, *_, product, last = chain
    turns, part = plus.output[0], minus.input[1]
    rounded = n.loaded.makers.get(part)
    if rounded is None or rounded.op_type != "Round" or list(rounded.input) != [turns]:
        return False
    found = [_held(n.loaded, node, i) for node, i in ((times, 1), (plus, 1), (product, 1), (last, 1))]
    if any(a is None for a in found) or _equation(n.loaded, product) != "...fi,foi->...oi":
        return False
    frequency, phase, weight, bias = (np.asarray(a) for a in found)
    view, _ = n.view().last(-1)
    layer = layers.Periodic(len(frequency), weight.shape[1])
    y = n.load(layer, frequency=frequency, phase=phase, weight=weight, bias=bias)(view.tensor)
    *before, width = sample(y)
    y, place = layers.Reshape(*before, weight.shape[1], width // weight.shape[1])(y), len(before) + 1
    n.loaded.values[last.output[0]] = View(y, (*view.axes[:-1], (place,), (place + 1,)))
    n.loaded.within.update(node.output[0] for node in (*chain[:-1], rounded))
    return True


def _user(loaded: Loaded, name: str, kind: str) -> Any:
    """Return what uses a name, of this kind; Round is a second use of one."""
    return next((u for u in loaded.users.get(name, ()) if u.op_type == kind), None)


def _held(loaded: Loaded, node: Any, place: int) -> Any:
    """Return the numbers that an input is, behind a cast as well."""
    name = node.input[place]
    maker = loaded.makers.get(name)
    value = loaded.values.get(maker.input[0] if maker is not None and maker.op_type == "Cast" else name)
    return value if isinstance(value, np.ndarray) else None


def _equation(loaded: Loaded, node: Any) -> str:
    found = {a.name: loaded.onnx.helper.get_attribute_value(a) for a in node.attribute}.get("equation", b"")
    return str(found.decode())
