"""What operators of ONNX do to shapes: axes moved, joined, cut apart and put together; and shapes reckoned with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from fastbp import layers
from fastbp.files.onnx_reader import Node, Rule, Value, View, sample, spread, whole
from fastbp.ops.base import Array

_Sizes = list[tuple[int, bool]]
"""Of each axis a number, and whether it is times the number of rows."""


def plain(value: Value | None) -> Any:
    """Return the tensor with its axes as ONNX has them; numbers are left as they are."""
    return value.plain if isinstance(value, View) else value


def made(y: Any) -> Value:
    """Return what a function made: numbers, or a tensor whose axes are as ONNX has them."""
    return np.asarray(y) if isinstance(y, np.ndarray | np.generic | float | int) else whole(y)


def shape_of(value: Value | None) -> tuple[Any, ...]:
    """Return the sizes as ONNX has them."""
    assert value is not None
    return tuple(value.shape)


# ---- axes ------------------------------------------------------------------------------------------------------------


def _transpose(n: Node) -> Value:
    value = n.given(0)
    perm = list(n.option("perm", range(len(shape_of(value)))[::-1]))
    if isinstance(value, np.ndarray):
        return value.transpose(perm)
    return View(n.view().tensor, tuple(n.view().axes[p] for p in perm))


def _flatten(n: Node) -> Value:
    view = n.view()
    n.must(n.axis("axis", 1, len(view.axes)) == 1, "another axis than 1")
    return View(view.tensor, (view.axes[0], tuple(a for group in view.axes[1:] for a in group)))


def _squeeze(n: Node) -> Value:
    value, axes = n.given(0), n.axes(1)
    shape = shape_of(value)
    chosen = [a % len(shape) for a in axes] if axes is not None else [i for i, s in enumerate(shape) if s == 1]
    if isinstance(value, np.ndarray):
        return value.squeeze(tuple(chosen))
    n.must(all(shape[a] == 1 for a in chosen), "an axis to squeeze that is not of size 1")
    return View(n.view().tensor, tuple(g for i, g in enumerate(n.view().axes) if i not in chosen))


def _unsqueeze(n: Node) -> Value:
    value, axes = n.given(0), n.axes(1) or []
    chosen = sorted(a % (len(shape_of(value)) + len(axes)) for a in axes)
    if isinstance(value, np.ndarray):
        return np.expand_dims(value, tuple(chosen))
    groups = list(n.view().axes)
    for axis in chosen:
        groups.insert(axis, ())
    return View(n.view().tensor, tuple(groups))


def _reshape(n: Node) -> Value:
    wanted = [int(size) for size in n.array(1, "the shape").reshape(-1)]
    value = n.given(0)
    if isinstance(value, np.ndarray):
        return value.reshape([value.shape[i] if s == 0 else s for i, s in enumerate(wanted)])
    view = n.view()
    sizes = [view.shape[i] if s == 0 and not n.option("allowzero", 0) else s for i, s in enumerate(wanted)]
    found = [new for meant in _meanings(sizes, wanted, prod(sample(view.tensor)), n.loaded.rows)
             if (new := _reshaped(view, meant)) is not None]
    alone = [new for new in found if (0,) in new.axes]
    if not found or (not alone and len(found) > 1):
        before = ", ".join("B" if s == -1 else f"{-s} B" if s < 0 else str(s) for s in view.shape)
        raise ValueError(f"it reshapes ({before}) to {wanted}; expected a shape that leaves the batch axis as it is")
    return (alone or found)[0]


def _meanings(sizes: list[int], wanted: list[int], count: int, rows: int | None) -> list[_Sizes]:
    """Return what a shape can mean, as -1 is both the number of rows and what is left over, and rows may be a number.

    ``count`` is how many numbers a sample has.
    """
    free = [i for i, s in enumerate(wanted) if s == -1]
    certain = [i for i, s in enumerate(sizes) if s < 0 and i not in free]
    if certain:
        choices = [(certain[0], -sizes[certain[0]], free)]
    elif len(free) > 1:
        choices = [(free[0], 1, free[1:])]
    else:
        choices = [(i, s // rows, free) for i, s in enumerate(sizes) if rows and s > 0 and s % rows == 0]
        choices += [(i, 0, []) for i in free]       # what is left over, times the rows
    meanings = []
    for batch, times, left in choices:
        known = prod(s for i, s in enumerate(sizes) if i != batch and i not in left) * (times or 1)
        rest = count // known if known else 0
        if len(left) < 2 and (left or not times) and rest and rest * known == count:
            given = dict.fromkeys([*left, *([] if times else [batch])], rest)
        elif not left and times and known == count:
            given = {}
        else:
            continue
        meanings.append([(given.get(i, times if i == batch else s), i == batch) for i, s in enumerate(sizes)])
    return meanings


def _reshaped(view: View, wanted: _Sizes) -> View | None:
    """Return the view of another shape: axes are joined as ONNX sees them, and cut apart where they must be."""
    cut = _cut(view, wanted)
    if cut is None:
        if view.axes[:1] != ((0,),) or wanted[:1] != [(1, True)]:
            return None
        return whole(layers.Reshape(*(size for size, _ in wanted[1:]))(
            View(view.tensor, ((0,), tuple(a for g in view.axes[1:] for a in g))).plain))
    groups, pieces = cut
    sizes = [size for a in sorted(pieces) if a for size in pieces[a]]
    tensor = view.tensor if tuple(sizes) == sample(view.tensor) else layers.Reshape(*sizes)(view.tensor)
    first = dict(zip(sorted(pieces), np.cumsum([0, *(len(pieces[a]) for a in sorted(pieces))]).tolist(), strict=False))
    return View(tensor, tuple(tuple(first[a] + part for a, part in group) for group in groups))


def _cut(view: View, wanted: _Sizes) -> tuple[list[list[tuple[int, int]]], dict[int, list[int]]] | None:
    """Return of which pieces of axes each new axis is made, and the sizes of the pieces; None where none fit."""
    sizes = (-1, *sample(view.tensor))
    pieces: dict[int, list[int]] = {a: [] if size != 1 else [1] for a, size in enumerate(sizes)}
    waiting = [(a, sizes[a]) for group in view.axes for a in group if sizes[a] != 1]
    groups: list[list[tuple[int, int]]] = []
    for size, batch in wanted:
        group: list[tuple[int, int]] = []
        while size > 1 or batch:
            if not waiting:
                return None
            axis, there = waiting.pop(0)
            if there == -1:
                if not batch:
                    return None
                taken, batch = -1, False
            else:
                taken = there if size % there == 0 else size if there % size == 0 else 0
                if not taken or size == 1:
                    return None
                size //= taken
                if taken < there:
                    waiting.insert(0, (axis, there // taken))
            group.append((axis, len(pieces[axis])))
            pieces[axis].append(taken)
        groups.append(group)
    return None if waiting else (groups, pieces)


# ---- parts -----------------------------------------------------------------------------------------------------------


def _concat(n: Node) -> Value:
    axis = n.axis("axis", 0, len(shape_of(n.given(0))))
    if all(isinstance(v, np.ndarray) for v in n.inputs):
        return np.concatenate([np.asarray(v) for v in n.inputs], axis)
    views = [n.view(i).single(axis)[0] for i in range(len(n.inputs))]
    if not all(view.is_made_like(views[0]) for view in views):
        first = views[0] if views[0].is_straight else views[0].straight()
        views = [View(view.seen_by(tuple(group[0] for group in first.axes)), first.axes) for view in views]
    if len(views) == 1:
        return views[0]
    return View(layers.Concat(views[0].axes[axis][0])(*(view.tensor for view in views)), views[0].axes)


def _slice(n: Node) -> Value:
    value = n.given(0)
    starts, ends = n.axes(1, "starts") or [], n.axes(2, "ends") or []
    axes, steps = n.axes(3) or list(range(len(starts))), n.axes(4, "steps") or [1] * len(starts)
    picked: dict[int, slice] = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # beyond the end means all there is
        part = slice(start or None if step > 0 else start, None if abs(end) >= 2**31 - 1 else end, step)
        if part != slice(None, None, 1):
            picked[axis % len(shape_of(value))] = part
    if isinstance(value, np.ndarray):
        return np.asarray(value[tuple(picked.get(i, slice(None)) for i in range(value.ndim))])
    view = n.view()
    for axis in picked:
        view = view.single(axis)[0]
    places = {view.axes[axis][0]: part for axis, part in picked.items()}
    if not places:
        return view
    return View(view.tensor[tuple(places.get(i, slice(None)) for i in range(max(places) + 1))], view.axes)


def pick(n: Node, value: Value, indices: Array, axis: int) -> Value:
    """Return entries of an axis, by numbers that the model holds."""
    if isinstance(value, np.ndarray):
        return np.asarray(np.take(value, indices, axis=axis))
    view, place = value.single(axis)
    before = (slice(None),) * place
    if indices.ndim == 0:
        return view.without(axis, view.tensor[(*before, int(indices))], place)
    more = indices.ndim - 1
    groups = [tuple(a + more * (a > place) for a in group) for group in view.axes]
    groups[axis:axis + 1] = [(place + i,) for i in range(more + 1)]
    return View(np.take(view.tensor, indices, axis=place), tuple(groups))


def _split(n: Node) -> list[Value]:
    parts, value = len(n.outputs), n.given(0)
    axis = n.axis("axis", 0, len(shape_of(value)))
    if isinstance(value, np.ndarray):
        sizes = n.axes(1, "split") or _even(value.shape[axis], parts)
        return list(np.split(value, np.cumsum(sizes)[:-1], axis))
    view, place = n.view().single(axis)
    sizes = n.axes(1, "split") or _even(view.shape[axis], parts)
    ends, before = np.cumsum(sizes), (slice(None),) * place
    return [View(view.tensor[(*before, slice(int(end) - size, int(end)))], view.axes)
            for size, end in zip(sizes, ends, strict=True)]


def _even(size: int, parts: int) -> list[int]:
    chunk = -(-size // parts)
    return [min(chunk, size - i * chunk) for i in range(parts)]


def _reduce(function: Callable[..., Any]) -> Rule:
    """Return the rule of a reduction over axes."""
    def rule(n: Node) -> Value:
        value, axes, keep = n.given(0), n.axes(1), bool(n.option("keepdims", 1))
        ndim = len(shape_of(value))
        if axes is None and n.option("noop_with_empty_axes", 0):
            assert value is not None
            return value
        chosen = sorted(a % ndim for a in axes) if axes is not None else list(range(ndim))
        if isinstance(value, np.ndarray):
            return np.asarray(function(value, axis=tuple(chosen), keepdims=keep))
        return _reduced(n, function, chosen, keep)
    return rule


def _place(function: Callable[..., Any]) -> Rule:
    """Return the rule of what finds a place along one axis."""
    def rule(n: Node) -> Value:
        n.must(not n.option("select_last_index", 0), "select_last_index=1")
        chosen = n.axis("axis", 0, len(n.view().axes))
        return _reduced(n, lambda x, axis, keepdims: function(x, axis=axis[0], keepdims=keepdims), [chosen],
                        bool(n.option("keepdims", 1)))
    return rule


def _reduced(n: Node, function: Callable[..., Any], chosen: list[int], keep: bool) -> View:
    view = n.view()
    n.must(not any(0 in view.axes[axis] for axis in chosen), "the batch axis reduced")
    for axis in chosen:
        view = view.single(axis)[0]
    gone = sorted(view.axes[axis][0] for axis in chosen)
    y = function(view.tensor, axis=tuple(gone), keepdims=keep)
    if keep:
        return View(y, view.axes)
    kept = (group for i, group in enumerate(view.axes) if i not in chosen)
    return View(y, tuple(tuple(a - sum(a > g for g in gone) for a in group) for group in kept))


def _cumsum(n: Node) -> Value:
    n.must(not n.option("exclusive", 0), "exclusive=1")
    axis = int(n.array(1, "the axis").reshape(())) % len(n.view().axes)
    view, place = n.view().single(axis)
    back = (*(slice(None),) * place, slice(None, None, -1))
    x = view.tensor[back] if n.option("reverse", 0) else view.tensor
    y = np.cumsum(x, axis=place)
    return View(y[back] if n.option("reverse", 0) else y, view.axes)


def _gather_elements(n: Node) -> Value:
    axis = n.axis("axis", 0, len(shape_of(n.given(0))))
    return made(np.take_along_axis(plain(n.given(0)), plain(n.given(1)), axis=axis))


# ---- shapes as numbers -----------------------------------------------------------------------------------------------


def _shape(n: Node) -> Value:
    shape = n.view().shape
    n.loaded.sizes.add(n.outputs[0])
    return np.array(shape[n.option("start", 0):n.option("end", len(shape))], np.int64)


def sizes_times(a: Array, b: Array) -> Array:
    """Return the product of sizes; no size is the number of rows twice."""
    if np.any((a < 0) & (b < 0)):
        raise ValueError("it multiplies the number of rows by itself, which fastbp has nothing for")
    return np.asarray(a * b)


def sizes_over(a: Array, b: Array) -> Array:
    """Return a size divided by a number that divides it."""
    if np.any(b <= 0) or np.any(a % b):
        raise ValueError("it divides the number of rows, which is any here")
    return np.asarray(a // b)


def _constant_of_shape(n: Node) -> Value:
    """A single number or row of them for all rows."""
    value = n.option("value")
    number = np.zeros(1, np.float32) if value is None else n.loaded.onnx.numpy_helper.to_array(value)
    return np.full(_one_row(n.array(0, "the shape")), number.reshape(()), number.dtype)


def _one_row(sizes: Array) -> tuple[int, ...]:
    return tuple(int(s) if s >= 0 else 1 for s in sizes.reshape(-1))


def _expand(n: Node) -> Value:
    sizes = n.array(1, "the shape").reshape(-1)
    value = n.given(0)
    if isinstance(value, np.ndarray):
        return np.broadcast_to(value, np.broadcast_shapes(value.shape, _one_row(sizes)))
    have = n.view().shape
    wanted = [int(s) for s in sizes]
    wanted = [*have[:len(have) - len(wanted)], *wanted]
    have = (*[1] * (len(wanted) - len(have)), *have)
    target = tuple(h if w == 1 else w for h, w in zip(have, wanted, strict=True))
    if target == n.view().shape:
        return n.view()
    n.must(target[0] == -1, f"a shape that begins with {target[0]}")
    return whole(spread(n.view().plain, target[1:]))


def _trilu(n: Node) -> Value:
    k = 0 if n.given(1) is None else int(n.array(1, "k").reshape(()))
    return (np.triu if n.option("upper", 1) else np.tril)(n.array(0, "the matrix"), k)


def _range(n: Node) -> Value:
    """Return the numbers from a first one on."""
    start, end, step = (n.array(i, what) for i, what in enumerate(("start", "limit", "delta")))
    return np.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


TABLE: dict[str, Rule] = {
    "Transpose": _transpose, "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Reshape": _reshape,
    "Concat": _concat, "Slice": _slice, "Split": _split, "CumSum": _cumsum, "GatherElements": _gather_elements,
    "Shape": _shape, "ConstantOfShape": _constant_of_shape, "Expand": _expand, "Trilu": _trilu, "Range": _range,
    "ReduceMean": _reduce(np.mean), "ReduceSum": _reduce(np.sum), "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min), "ReduceProd": _reduce(np.prod), "ArgMax": _place(np.argmax),
    "ArgMin": _place(np.argmin),
}
SIZES: Sequence[str] = ("Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Identity", "Cast", "Mul", "Div",
                        "ConstantOfShape")
"""What may be done to a shape whose number of rows is not known."""
