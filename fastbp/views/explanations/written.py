"""The parts of an explanation that one op makes: factors of a path and equations of the forward pass."""

from __future__ import annotations

from fastbp.graph.graph import Node
from fastbp.ops.base import Array, Context
from fastbp.views.explanations.local_maps import LocalMap
from fastbp.views.explanations.op_table import account_of
from fastbp.views.explanations.parts import Factor, Line
from fastbp.views.explanations.paths import Route
from fastbp.views.explanations.symbols import Quantity
from fastbp.views.explanations.trace import Position, Trace, node_of


def maps_of(node: Node, ctx: Context, rows: Array | None) -> list[LocalMap | None]:
    """Return how a node's output depends on each of its inputs, for these rows or for the whole batch.

    None stands for an input that no gradient goes to: whole numbers, conditions, what is rounded or stopped.
    """
    derived = [node.op.has_gradient(i) and x.dtype.kind == "f" for i, x in enumerate(ctx.inputs)]
    if not any(derived):
        return [None] * len(derived)
    maps = account_of(node.op).maps(node, ctx, rows)
    return [local if has else None for has, local in zip(derived, maps, strict=True)]


def line(trace: Trace, at: Position) -> Line:
    """Return the equation that an element is computed by."""
    return Line(trace.quantity(at), account_of(node_of(at.tensor).op).forward(trace, at), trace.box(at))


def factor(trace: Trace, target: Position, source: Position, operand: int, value: float) -> Factor:
    """Return the factor ∂target/∂source, for the operand that the source is."""
    rule, extra = account_of(node_of(target.tensor).op).derivative(trace, target, source, operand)
    quantities = {"y": trace.quantity(target), **extra}
    return Factor(quantities["y"].symbol, trace.quantity(source).symbol, value, rule.formula(quantities),
                  rule.spelled_out(quantities), trace.box(target), trace.box(source), operand)


def factors(trace: Trace, route: Route, places: list[Position]) -> tuple[Factor, ...]:
    """Return the factors between the elements of a route, from its end back to its beginning."""
    return tuple(factor(trace, places[k + 1], places[k], route.steps[k].operand, route.steps[k].derivative)
                 for k in reversed(range(len(places) - 1)))


def parameter_factor(trace: Trace, unit: Position, role: str, index: tuple[int, ...], weight: Quantity,
                     value: float) -> Factor:
    """Return the factor ∂u/∂w of a unit by an entry of a parameter."""
    rule, quantities, source = account_of(node_of(unit.tensor).op).parameter_rule(trace, unit, role, index)
    formula = rule.formula(quantities)
    return Factor(trace.quantity(unit).symbol, weight.symbol, value, formula, formula, trace.box(unit),
                  "asked" if source is None else trace.box(source))


