"""One row an op, for whoever takes networks elsewhere: a table of all ops, also of those without a counterpart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from fastbp.ops.base import Op
from fastbp.ops.expression import Expression

Row = TypeVar("Row")


@dataclass(frozen=True)
class Nothing:
    """The row of an op that has no counterpart there; it says why."""

    reason: str


def row_of(table: Mapping[type[Op], Row | Nothing], op: Op) -> Row | Nothing:
    """Return the row of an op, or of the family that it belongs to. One that somebody else wrote has none."""
    kind: type = type(op)
    if kind not in table and isinstance(op, Expression):
        kind = Expression
    return table.get(kind, Nothing(f"{type(op).__name__} is none of fastbp's own ops"))
