"""Accounts of ops whose element is made of one element of each input: functions, moves, and what is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.graph.graph import Node, Tensor
from fastbp.ops.base import Array, Context, Op
from fastbp.views.explanations.accounts import Account, Written, gradients_of, some, sparse
from fastbp.views.explanations.local_maps import Elementwise, LocalMap, Sparse
from fastbp.views.explanations.rules import ONE, Rule, Rules, same, six
from fastbp.views.explanations.symbols import Formula, Quantity
from fastbp.views.explanations.trace import Position, Trace, node_of


@dataclass(frozen=True)
class Pointwise(Account):
    """Each element is a function of those at the same place in the inputs.

    ``rules`` are the formulas, or a function of the op, the operands' values and, for each, whether it stands for a
    plain number.
    """

    rules: Rules | Callable[[Any, tuple[float, ...], tuple[bool, ...]], Rules]
    letter: str = "u"
    notes: tuple[str, ...] = ()

    def maps(self, node: Node, ctx: Context, rows: Array | None) -> list[LocalMap]:
        assert ctx.output is not None
        dxs = gradients_of(node, ctx, np.ones_like(ctx.output))
        return [Elementwise(np.arange(some(dx, rows).size), some(dx, rows).ravel()) for dx in dxs]

    def forward(self, trace: Trace, at: Position) -> Formula:
        return self._rules(trace, at).forward.formula(self._quantities(trace, at))

    def derivative(self, trace: Trace, target: Position, source: Position, operand: int) -> Written:
        return self._rules(trace, target).derivatives[operand], self._quantities(trace, target)

    def _rules(self, trace: Trace, at: Position) -> Rules:
        if isinstance(self.rules, Rules):
            return self.rules
        node = node_of(at.tensor)
        values = tuple(trace.quantity(part).value for part in trace.parts(at))
        return self.rules(node.op, values, tuple(t in trace.constants for t in node.inputs))

    def _quantities(self, trace: Trace, at: Position) -> dict[str, Quantity]:
        return {letter: trace.quantity(part) for letter, part in zip("abcdefgh", trace.parts(at), strict=False)}

    def pairs(self, trace: Trace, tensor: Tensor, operand: int, sources: list[int],
              targets: list[int]) -> Iterator[tuple[int, int]]:
        for t in targets:
            source = trace.parts(trace.here(tensor, t))[operand]
            if source.index in sources and trace.box(source):
                yield source.index, t


@dataclass(frozen=True)
class OfTable(Pointwise):
    """A function of the table of scalar functions, whose operands are broadcast as NumPy does it."""

    def spans(self, node: Node) -> bool:
        rank = max(len(t.shape) for t in node.inputs)
        return any(node.op.has_gradient(i) and t.dtype == "real" and not (t.rows and len(t.shape) == rank)
                   and not _is_constant(t) for i, t in enumerate(node.inputs))

    def maps(self, node: Node, ctx: Context, rows: Array | None) -> list[LocalMap]:
        op: Any = node.op
        assert ctx.output is not None
        y = some(ctx.output, rows)
        found: list[LocalMap] = []
        for t, x, slope in zip(node.inputs, ctx.inputs, op.derivatives(ctx.output, *ctx.inputs), strict=True):
            if rows is not None and not t.rows:
                found.append(Sparse(x.size, *(np.empty(0, int),) * 2, np.empty(0)))     # a constant
                continue
            x, slope = some(x, rows), some(slope, rows).ravel()
            if x.shape == y.shape:
                found.append(Elementwise(np.arange(x.size), slope))
            else:
                places = np.broadcast_to(np.arange(x.size).reshape(x.shape), y.shape).ravel()
                found.append(sparse(x.size, places, np.arange(y.size), slope))
        return found


@dataclass(frozen=True)
class Masked(Pointwise):
    """A function of one operand and of a mask, @m: the slope that the backward rule has at the element."""

    def _quantities(self, trace: Trace, at: Position) -> dict[str, Quantity]:
        ctx = trace.contexts[at.tensor]
        one = np.zeros_like(trace.values[at.tensor])
        one[at.sample].flat[at.index] = 1
        (slopes,) = gradients_of(node_of(at.tensor), ctx, one)
        return {**super()._quantities(trace, at), "m": trace.named(at, "m", float(slopes[at.sample].flat[at.index]))}


@dataclass(frozen=True)
class Moved(Account):
    """Each element is an element of one of the inputs, at another place, or a constant.

    Where from is found by running the op on places instead of numbers; ``bare`` makes it an op that brings in nothing
    but zeros.
    """

    letter: str = "u"
    bare: Callable[[Any], Op] = lambda op: op

    def spans(self, node: Node) -> bool:
        return node.op.on_arrays

    def maps(self, node: Node, ctx: Context, rows: Array | None) -> list[LocalMap]:
        inputs = [some(x, rows) for x in ctx.inputs]
        origins = self._origins(node, ctx, inputs, ctx.rows if rows is None else len(rows)).ravel()
        found: list[LocalMap] = []
        first = 1
        for x in inputs:
            targets = np.flatnonzero((origins >= first) & (origins < first + x.size))
            found.append(sparse(x.size, origins[targets] - first, targets, np.ones(targets.size)))
            first += x.size if x.dtype.kind == "f" else 0
        return found

    def _origins(self, node: Node, ctx: Context, inputs: list[Array], rows: int) -> Array:
        """Return of each element of the output where it comes from: counted from 1 through all inputs, 0 for none."""
        places, first = [], 1
        for i, x in enumerate(inputs):
            if x.dtype.kind == "f":
                places.append(np.arange(first, first + x.size).reshape(x.shape))
                first += x.size
            else:       # numbers to be joined, or where to take from
                places.append(np.zeros_like(x) if node.op.has_gradient(i) else x)
        plain = Context(training=ctx.training, inputs=tuple(places), rows=rows)
        return np.asarray(self.bare(node.op).forward(plain, *places))

    def _origin(self, trace: Trace, at: Position) -> Position | None:
        """Return which element of an input one of the output is; None for a constant."""
        node, ctx = node_of(at.tensor), trace.contexts[at.tensor]
        if at.tensor not in trace.cache:
            trace.cache[at.tensor] = self._origins(node, ctx, list(ctx.inputs), ctx.rows).ravel()
        place = int(trace.cache[at.tensor][trace.flat(at)]) - 1
        for t, x in zip(node.inputs, ctx.inputs, strict=True):
            if x.dtype.kind == "f":
                if 0 <= place < x.size:
                    return trace.place(t, place)
                place -= x.size
        return None

    def forward(self, trace: Trace, at: Position) -> Formula:
        origin = self._origin(trace, at)
        if origin is None:
            return same(six(trace.quantity(at).value)).formula({})
        return Formula("@a", "@a", {"a": trace.quantity(origin)})

    def derivative(self, trace: Trace, target: Position, source: Position, operand: int) -> Written:
        return ONE, {}

    def pairs(self, trace: Trace, tensor: Tensor, operand: int, sources: list[int],
              targets: list[int]) -> Iterator[tuple[int, int]]:
        for t in targets:
            origin = self._origin(trace, trace.here(tensor, t))
            if origin is not None and origin.tensor is node_of(tensor).inputs[operand] and trace.box(origin) \
                    and origin.index in sources:
                yield origin.index, t


@dataclass(frozen=True)
class Given(Account):
    """A tensor that nothing enters: a constant, a parameter by itself, random numbers."""

    word: str
    letter: str = "c"

    def spans(self, node: Node) -> bool:
        return bool(node.params)

    def maps(self, node: Node, ctx: Context, rows: Array | None) -> list[LocalMap]:
        return []

    def forward(self, trace: Trace, at: Position) -> Formula:
        params = node_of(at.tensor).params
        if not params:
            return Formula(self.word, rf"\text{{{self.word}}}")
        (role, parameter), = params.items()
        index = tuple(int(i) for i in np.unravel_index(at.index, parameter.shape))
        return Formula("@w", "@w", {"w": trace.parameter(at.tensor, role, index)})

    def derivative(self, trace: Trace, target: Position, source: Position, operand: int) -> Written:
        raise AssertionError("nothing enters it")

    def parameter_slopes(self, trace: Trace, tensor: Tensor, role: str, index: tuple[int, ...]
                         ) -> tuple[Array, list[int]]:
        return np.ones((1, 1)), [int(np.ravel_multi_index(index, tensor.shape)) if index else 0]

    def parameter_rule(self, trace: Trace, unit: Position, role: str, index: tuple[int, ...]
                       ) -> tuple[Rule, dict[str, Quantity], Position | None]:
        return ONE, {}, None


def _is_constant(tensor: Tensor) -> bool:
    node = tensor.node
    return node is not None and not node.params and not any(map(node.op.has_gradient, range(len(node.inputs))))
