"""The program that a plan runs for a plain NumPy function: what the chain rule, and what it made of it, comes to.

Elementwise functions, small sums and moves become one op that runs a short program over strips of rows
(:mod:`fastbp.engine.fusion`); here it is written out, forwards and backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fastbp.engine.fusion import FusedOp, fused
from fastbp.engine.native import find_instruction
from fastbp.engine.program import Line
from fastbp.graph.graph import Graph
from fastbp.graph.tensor import Symbol, Tensor
from fastbp.graph.tracing import label_of, trace
from fastbp.objectives.functions import per_row
from fastbp.ops.over_rows import ReduceRowsOp


@dataclass(frozen=True)
class Program:
    """A program, which prints as text.

    Attributes
    ----------
    forward, backward : tuple of str
        Instructions. ``out`` is the result and ``dout`` its gradient; ``dx`` is that of x.
    """

    forward: tuple[str, ...]
    backward: tuple[str, ...]

    def __str__(self) -> str:
        parts = (("forward", self.forward), ("backward", self.backward))
        return "\n".join(f"{name}\n" + "\n".join(f"  {line}" for line in lines) for name, lines in parts if lines)


def program(function: Callable[..., Any], **shapes: tuple[int, ...]) -> Program:
    """Return the program that a plan runs for a plain NumPy function.

    Parameters
    ----------
    function : callable
        Of arrays with a row for each sample; it returns such an array, or, as a loss, a number that is a mean of rows.
    **shapes : tuple of int
        The shape of one sample of each argument, by the name that it has in the program.

    Raises
    ------
    TypeError, ValueError
        For a function that cannot be traced; the line is named.

    Examples
    --------
    >>> import numpy as np
    >>> print(program(lambda x: np.exp(-np.square(x)), x=(3,)))
    forward
      a = square x
      b = neg a
      out = exp b
    backward
      a = mul 2, x
      b = mul dout, out
      c = neg b
      dx = mul c, a
    """
    inputs = [_input(name, shape) for name, shape in shapes.items()]
    given = trace(function, inputs, f"program({label_of(function)})")
    made = given.tensor if isinstance(given, Symbol) else given
    if not isinstance(made, Tensor):
        raise TypeError(f"program: {label_of(function)} returned {type(made).__name__}; expected an array made of what "
                        "it was given")
    rows = made if made.rows else per_row(made)
    if rows is None:
        raise ValueError(f"program: {label_of(function)} returned one array for all rows; expected a row for each "
                         "sample, or a mean of rows")
    graph = fused(Graph([t for t in inputs if t in _needed(rows)], [rows]), find_instruction)
    names = {t: t.name for t in graph.inputs}
    lines = [_of_node(t, names, graph.outputs[0]) for t in graph.tensors if t.node is not None]
    forward, backward = [list(part) for part in zip(*lines, strict=True)]
    return Program(tuple(line for part in forward for line in part),
                   tuple(line for part in reversed(backward) for line in part))


def _input(name: str, shape: tuple[int, ...]) -> Tensor:
    return Tensor(tuple(shape) if isinstance(shape, tuple | list) else (shape,), name=name)


def _needed(t: Tensor) -> set[Tensor]:
    seen, stack = {t}, [t]
    while stack:
        node = stack.pop().node
        new = [s for s in (node.inputs if node else ()) if s not in seen]
        seen.update(new)
        stack.extend(new)
    return seen


def _of_node(t: Tensor, names: dict[Tensor, str], last: Tensor) -> tuple[list[str], list[str]]:
    """Return the instructions of a node, forwards and backwards, and name what it makes."""
    assert t.node is not None
    names[t] = "out" if t is last else f"out{len(names)}"
    inputs = [names[s] for s in t.node.inputs]
    if not isinstance(t.node.op, FusedOp):
        op = t.node.op
        name = op.function if isinstance(op, ReduceRowsOp) else op.name
        return [f"{names[t]} = {name} {', '.join(inputs)}        (as a whole)"], []
    called = {"x": inputs, "y": [names[t]], "dy": [f"d{names[t]}"],
              "dx": [f"d{name}" for name in inputs]}
    parts: list[list[str]] = [list(_written(code, called)) for code in t.node.op.listings()]
    return parts[0], parts[1]


def _written(code: list[Line], called: dict[str, list[str]]) -> Iterator[str]:
    names: dict[tuple[str, Any], str] = {}

    def name_of(place: tuple[str, Any]) -> str:
        kind, which = place
        if kind in called:
            return called[kind][int(which)]
        if kind == "number":
            return f"{which:.4g}" if isinstance(which, float) else str(which)
        return names.setdefault(place, _letters(len(names)))
    for instruction, target, operands in code:
        operand_names = [name_of(o) for o in operands]
        yield f"{name_of(target)} = {instruction} {', '.join(operand_names)}"


def _letters(number: int) -> str:
    """Return a, b, …, z, a1, b1, …"""
    letter, round_ = chr(ord("a") + number % 26), number // 26
    return f"{letter}{round_ or ''}"
