"""Classes as plain data, for files: whole numbers, other numbers, truth values or text."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.files.description import Entry
from fastbp.ops.base import Array

_KINDS = {"b": "bool", "i": "int", "u": "int", "f": "float", "U": "text", "O": "object"}


def plain_labels(classes: Array) -> dict[str, Any]:
    """Return classes as JSON takes them, or raise TypeError.

    Examples
    --------
    >>> plain_labels(np.array(["a", "b"]))
    {'kind': 'text', 'values': ['a', 'b']}
    """
    kind = _KINDS.get(classes.dtype.kind)
    values = classes.tolist()
    if kind is None or (kind == "object" and not all(isinstance(v, str) for v in values)):
        raise TypeError(f"save: classes_ has dtype {classes.dtype}; a file can hold numbers, truth values and text")
    return {"kind": kind, "values": values}


def read_labels(entry: Entry) -> Array:
    """Return the classes that a file has, or raise ValueError."""
    kind = entry["kind"].among(tuple(_KINDS.values()))
    each = entry["values"].each()
    if kind in ("text", "object"):
        return np.array([e.text() for e in each], object if kind == "object" else None)
    if kind == "bool":
        return np.array([e.flag() for e in each])
    numbers = [e.real() for e in each]
    return np.array(numbers, np.int64 if kind == "int" else np.float64)
