"""Attention in ONNX models, which is a chain of nodes there, and one op here that never has all scores at once.

The chain is ``MatMul(q, kᵀ)``, times a number, masks added or chosen by Where, ``Softmax``, ``MatMul(…, v)``. It is
read backwards from its last node. What was made of the nodes before is then used by nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fastbp import layers
from fastbp.files.onnx_reader import Loaded, Node, View, sample
from fastbp.ops.base import Array

_HIDDEN = -1e9      # a score to which so much is added has no weight beside others


@dataclass
class _Scores:
    """What stands between the product of queries with keys and the softmax.

    Attributes
    ----------
    scale : float
        What scores are multiplied by, before masks.
    hidden : array or None
        Which scores no weight is given, of the model's own.
    padding : View or None
        Integers that are not 0 for keys that nobody may see.
    added : View or None
    """

    scale: float = 1.0
    hidden: Array | None = None
    padding: View | None = None
    added: View | None = None


def attention(n: Node) -> View | None:
    """Return what a product of weights with values is, as one op, if it ends such a chain; else None."""
    loaded = n.loaded
    softmax = loaded.makers.get(n.names[0])
    if softmax is None or softmax.op_type != "Softmax" or not _over_last(loaded, softmax):
        return None
    scores, name = _Scores(), softmax.input[0]
    while (maker := loaded.makers.get(name)) is not None and maker.op_type != "MatMul":
        before = _before(loaded, maker, scores)
        if before is None:
            return None
        name = before
    if maker is None:
        return None
    q, k, v = (loaded.values.get(of) for of in (*maker.input, n.names[1]))
    if not (isinstance(q, View) and isinstance(k, View) and isinstance(v, View)):
        return None
    return _as_one(q, View(k.tensor, (*k.axes[:-2], k.axes[-1], k.axes[-2])), v, scores)


def _over_last(loaded: Loaded, softmax: Any) -> bool:
    values = loaded.values[softmax.input[0]]
    options = {a.name: loaded.onnx.helper.get_attribute_value(a) for a in softmax.attribute}
    ndim = len(values.axes) if isinstance(values, View) else values.ndim
    return bool(options.get("axis", -1 if loaded.opset >= 13 else 1) % ndim == ndim - 1)


def _before(loaded: Loaded, maker: Any, scores: _Scores) -> str | None:
    """Take one node into the scores, and return the name of what it works on, or None where it does not belong."""
    held: list[Any] = [loaded.values.get(name) for name in maker.input]
    numbers = [i for i, value in enumerate(held) if isinstance(value, np.ndarray)]
    if maker.op_type in ("Mul", "Div") and len(numbers) == 1:
        factor = held[numbers[0]]
        if factor.size != 1 or float(factor.item()) <= 0 or (maker.op_type == "Div" and numbers != [1]):
            return None
        scores.scale *= float(factor.item()) if maker.op_type == "Mul" else 1 / float(factor.item())
        return str(maker.input[1 - numbers[0]])
    if maker.op_type == "Add" and len(numbers) == 1:
        mask = held[numbers[0]]
        if not ((mask == 0) | (mask <= _HIDDEN)).all():
            return None
        return str(maker.input[1 - numbers[0]]) if _hide(scores, mask != 0) else None
    if maker.op_type == "Add" and not numbers and scores.added is None and scores.scale == 1:
        product = [i for i in (0, 1) if _is_scores(loaded, maker.input[i])]
        if len(product) == 1 and isinstance(added := held[1 - product[0]], View):
            scores.added = added
            return str(maker.input[product[0]])
    if maker.op_type == "Where" and len(numbers) in (1, 2):
        return _chosen(loaded, maker, held, scores)
    return None


def _hide(scores: _Scores, hidden: Array) -> bool:
    scores.hidden = hidden if scores.hidden is None else hidden | scores.hidden
    return True


def _is_scores(loaded: Loaded, name: str) -> bool:
    """Whether it is a product of matrices, with numbers and masks."""
    maker = loaded.makers.get(name)
    if maker is None or maker.op_type not in ("MatMul", "Mul", "Div", "Add", "Where"):
        return False
    views = [n for n in maker.input if isinstance(loaded.values.get(n), View)]
    return len(views) == 2 if maker.op_type == "MatMul" else any(_is_scores(loaded, n) for n in views)


def _chosen(loaded: Loaded, maker: Any, held: list[Any], scores: _Scores) -> str | None:
    """Where(condition, −∞, scores), or the other way round; the condition is numbers, or integers cast to bool."""
    place = next((i for i in (1, 2) if isinstance(held[i], np.ndarray)), 0)
    if not place or held[place].size != 1 or held[place].item() > _HIDDEN:
        return None
    condition, rest = held[0], str(maker.input[3 - place])
    if isinstance(condition, np.ndarray):
        hidden = condition if place == 1 else ~condition
        return rest if _hide(scores, hidden.astype(bool)) else None
    cast = loaded.makers.get(maker.input[0])
    source = loaded.values.get(cast.input[0]) if cast is not None and cast.op_type == "Cast" else None
    if place != 1 or scores.padding is not None or not isinstance(source, View) or source.tensor.dtype != "int64":
        return None
    scores.padding = source
    return rest


def _as_one(q: View, k: View, v: View, scores: _Scores) -> View | None:
    """Return the op on queries, keys and values (…, T, D), where their axes are those of heads."""
    if len({len(view.axes) for view in (q, k, v)}) > 1 or len(q.axes) < 3:
        return None
    if any((0 in group) != (i == 0) for view in (q, k, v) for i, group in enumerate(view.axes)):
        return None
    heads, shared = _heads(q), _heads(k)
    agree = next((i for i in range(len(heads), -1, -1) if heads[:i] == shared[:i]), 0)
    if shared != _heads(v) or prod(shared[agree:]) != 1 or not _size(q, -1) == _size(k, -1) == _size(v, -1):
        return None
    queries, keys = _size(q, -2), _size(k, -2)
    causal = scores.hidden is not None and bool(scores.hidden.any())
    if causal and not _is_causal(scores.hidden, queries, keys):
        return None
    padding, added = _mask(scores.padding, (keys,)), _mask(scores.added, (queries, keys))
    if (scores.padding is not None) != (padding is not None) or (scores.added is not None) != (added is not None):
        return None
    layer = layers.ScaledDotProductAttention(prod(heads), num_kv_heads=prod(shared), is_causal=causal,
                                             key_padding_mask=padding is not None, attn_mask=added is not None)
    factor = scores.scale * np.sqrt(_size(q, -1))
    asked = _beside(q) if abs(factor - 1) < 1e-6 else _beside(q) * factor
    y = layer(asked, _beside(k), _beside(v), *(m for m in (padding, added) if m is not None))
    first = 1 if len(q.axes[0]) > 1 else 0        # whether the batch and heads are one axis
    inner = heads if first else heads[1:]
    y = layers.Reshape(queries, *inner, _size(q, -1))(y)
    places = [i + 2 for i in range(len(inner))]
    return View(y, ((0, *places[:first]), *((i,) for i in places[first:]), (1,), (len(inner) + 2,)))


def _is_causal(hidden: Any, queries: int, keys: int) -> bool:
    later = ~np.tri(queries, keys, keys - queries, dtype=bool)
    return queries <= keys and prod(hidden.shape[:-2]) == 1 and bool((hidden.reshape(hidden.shape[-2:]) == later).all())


def _size(view: View, place: int) -> int:
    return int(prod(sample(view.tensor)[a - 1] for a in view.axes[place]))


def _heads(view: View) -> list[int]:
    """Return the sizes of the axes before the last two, the batch left out."""
    return [int(prod(sample(view.tensor)[a - 1] for a in group if a)) for group in view.axes[:-2]]


def _beside(view: View) -> Any:
    """Return (B, T, heads · D) of what is (…, T, D)."""
    heads = tuple(a for group in view.axes[:-2] for a in group if a)
    return View(view.tensor, ((0,), view.axes[-2], (*heads, *view.axes[-1]))).plain


def _mask(view: View | None, sizes: tuple[int, ...]) -> Any:
    """Return a mask (B, *sizes) that is the same for all heads."""
    if view is None or not view.axes or view.axes[0] != (0,):
        return None
    last = view.axes[len(view.axes) - len(sizes):]
    between = [a for group in view.axes[1:len(view.axes) - len(sizes)] for a in group]
    if any(sample(view.tensor)[a - 1] != 1 for a in between):
        return None
    if tuple(_size(view, i - len(sizes)) for i in range(len(sizes))) != sizes:
        return None
    return View(view.tensor, ((0,), *last)).plain
