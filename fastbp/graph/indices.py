"""Integers that arrays are indexed by: which of them are given, and so checked before anything is run.

What is taken out of an array at integers of a target or an input has to be there. Those are looked through where they
enter; a plan then reads at them without looking. Others, that are computed, are looked at where they are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from fastbp.graph.tensor import Tensor
from fastbp.ops.base import Array
from fastbp.ops.expression import integer
from fastbp.ops.reduce import ReduceOp
from fastbp.ops.sources import ConstantOp
from fastbp.ops.structure import TakeAlongOp, TakeOp


def index_limits(tensors: Iterable[Tensor]) -> dict[Tensor, int]:
    """Return of each given tensor that an array is indexed by how many entries that has: -n to n - 1 are allowed."""
    limits: dict[Tensor, int] = {}
    for t in tensors:
        if t.node is None or not isinstance(t.node.op, TakeOp | TakeAlongOp):
            continue
        array, indices = t.node.inputs
        size = integer(array.whole_shape[t.node.op.axis])
        if size is not None:
            given = (origin for origin in _origins(indices) if origin.node is None)
            limits.update({origin: min(limits.get(origin, size), size) for origin in given})
    return limits


def are_known(indices: Tensor, size: int) -> bool:
    """Whether integers are known to be from -size to size - 1: given ones, as they are looked through, and others."""
    return all(_is_known(origin, size) for origin in _origins(indices))


def check(name: str, array: Array, size: int) -> None:
    """Raise IndexError where an array has an integer that is not from -size to size - 1."""
    wrong = (array < -size) | (array >= size)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise IndexError(f"{name} has {array[at]} in row {at[0]}, which an axis of size {size} is indexed by; expected "
                         f"integers from 0 to {size - 1}, or from {-size} to count from the end")


def check_all(arrays: Mapping[Tensor, Array], limits: Mapping[Tensor, int]) -> None:
    """Look through all that is given."""
    for t, size in limits.items():
        if t in arrays and arrays[t].dtype.kind == "i":
            check(t.name or "an input", arrays[t], size)


def _origins(t: Tensor) -> set[Tensor]:
    """Return what a tensor has its elements from, all of them as they are there."""
    found: set[Tensor] = set()
    stack = [t]
    while stack:
        top = stack.pop()
        node = top.node
        if node is None or not all(map(node.op.rearranges, range(len(node.inputs)))) or not node.inputs:
            found.add(top)
        else:
            stack.extend(node.inputs)
    return found


def _is_known(t: Tensor, size: int) -> bool:
    if t.node is None:
        return t.dtype == "int64"
    op = t.node.op
    if isinstance(op, ConstantOp):
        return bool(((op.values >= -size) & (op.values < size)).all())
    if isinstance(op, ReduceOp) and op.function in ("argmax", "argmin"):
        entries = integer(t.node.inputs[0].whole_shape[op.axis[0]])
        return entries is not None and entries <= size
    return False
