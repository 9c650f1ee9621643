"""Accounts of ops whose element is made of many: products with a weight, sums, softmax, normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fastbp.graph.graph import Node, Tensor
from fastbp.ops.base import Array, Context, Op
from fastbp.views.explanations.accounts import Account, Written, gradients_of, some
from fastbp.views.explanations.local_maps import Dense, Elementwise, Grouped, LocalMap
from fastbp.views.explanations.rules import ONE, Rule
from fastbp.views.explanations.symbols import Formula, Quantity, Symbol
from fastbp.views.explanations.trace import Position, Trace, node_of

# A sum of up to so many products is written out; of a longer one, the largest so many less one.
SUM_TERMS = 4
# Derivatives that are looked at in one op: some seconds.
_MOST_DERIVATIVES = 1 << 31


@dataclass(frozen=True)
class Reduced(Account):
    """A sum, a mean, the largest or the smallest of some elements."""

    letter: str = "s"

    def spans(self, node: Node) -> bool:
        op: Any = node.op
        return 0 in op.axis or not node.inputs[0].rows

    def maps(self, node: Node, ctx: Context, rows: Array | None) -> list[LocalMap]:
        assert ctx.output is not None
        (dx,) = gradients_of(node, ctx, np.ones_like(ctx.output))
        return [Elementwise(self._targets(node, some(ctx.inputs[0], rows)), some(dx, rows).ravel())]

    def _targets(self, node: Node, x: Array) -> Array:
        """Return of each element of the input where it goes."""
        op: Any = node.op
        kept = tuple(1 if axis in op.axis else size for axis, size in enumerate(x.shape))
        return np.broadcast_to(np.arange(prod(kept)).reshape(kept), x.shape).ravel()

    def forward(self, trace: Trace, at: Position) -> Formula:
        node, ctx = node_of(at.tensor), trace.contexts[at.tensor]
        op: Any = node.op
        members = np.flatnonzero(self._targets(node, ctx.inputs[0]) == trace.flat(at))
        values = np.asarray(ctx.inputs[0], float).ravel()[members]
        chosen = _largest_terms(values)
        quantities = {f"x{k}": trace.quantity(trace.place(node.inputs[0], int(members[i])))
                      for k, i in enumerate(chosen)}
        if op.function in ("sum", "mean"):
            parts = [f"@{name}" for name in quantities]
            if len(chosen) < len(values):
                parts.append("@rest")
                quantities["rest"] = _rest(values, chosen)
            text = " + ".join(parts)
            if op.function == "sum" or len(values) == 1:
                return Formula(text, text, quantities)
            return Formula(f"({text})/{len(values)}", rf"\tfrac{{1}}{{{len(values)}}}({text})", quantities)
        names = [f"@{name}" for name in quantities]
        text, latex = (", ".join([*names, *[dots] * (len(chosen) < len(values))]) for dots in ("…", r"\dots"))
        return Formula(f"{op.function}({text})", rf"\{op.function}({latex})", quantities)

    def derivative(self, trace: Trace, target: Position, source: Position, operand: int) -> Written:
        node, ctx = node_of(target.tensor), trace.contexts[target.tensor]
        op: Any = node.op
        group = self._targets(node, ctx.inputs[0]) == trace.flat(target)
        count = int(group.sum())
        if op.function in ("max", "min"):
            y, x = trace.quantity(target).value, trace.quantity(source).value
            count = int((ctx.inputs[0].ravel()[group] == y).sum()) if x == y else 0
        if op.function == "sum" or count == 1:
            return ONE, {}
        return (Rule(f"(1/{count})", rf"\tfrac{{1}}{{{count}}}") if count else Rule("0", "0")), {}

    def pairs(self, trace: Trace, tensor: Tensor, operand: int, sources: list[int],
              targets: list[int]) -> Iterator[tuple[int, int]]:
        (source,) = node_of(tensor).inputs
        goes = self._targets(node_of(tensor), trace.contexts[tensor].inputs[0])
        for s in sources:
            at = trace.place(tensor, int(goes[trace.flat(trace.here(source, s))]))
            if trace.box(at) and at.index in targets:
                yield s, at.index


def _largest_terms(terms: Array) -> list[int]:
    """Return which terms of a sum are written out, in their order: all, or of many the largest."""
    if len(terms) <= SUM_TERMS:
        return list(range(len(terms)))
    return sorted(int(i) for i in np.argsort(-np.abs(terms), kind="stable")[:SUM_TERMS - 1])


def _rest(terms: Array, chosen: list[int]) -> Quantity:
    """Return what the other terms add up to."""
    return Quantity(Symbol("Σ", str(len(terms) - len(chosen))), float(terms.sum() - terms[chosen].sum()))


@dataclass(frozen=True)
class Affine(Account):
    """y = x W + b over the last axis: (…, I) to (…, O)."""

    letter: str = "z"

    def maps(self, node: Node, ctx: Context, rows: Array | None) -> list[LocalMap]:
        return [Dense(ctx.params["weight"])]

    def forward(self, trace: Trace, at: Position) -> Formula:
        node = node_of(at.tensor)
        op: Any = node.op
        position, unit = divmod(at.index, op.out_features)
        x = np.asarray(trace.values[node.inputs[0]][at.sample], float).reshape(-1, op.in_features)[position]
        products = x * np.asarray(trace.contexts[at.tensor].params["weight"][:, unit], float)
        chosen = _largest_terms(products)
        parts, quantities = [], {}
        for k, i in enumerate(chosen):
            parts.append(f"@w{k} · @x{k}")
            quantities[f"w{k}"] = trace.parameter(at.tensor, "weight", (i, unit))
            quantities[f"x{k}"] = trace.quantity(Position(node.inputs[0], at.sample, position * op.in_features + i))
        if len(chosen) < len(products):
            parts.append("@rest")
            quantities["rest"] = _rest(products, chosen)
        if op.bias:
            parts.append("@b")
            quantities["b"] = trace.parameter(at.tensor, "bias", (unit,))
        text = " + ".join(parts)
        return Formula(text, text.replace(" · ", r" \cdot "), quantities)

    def derivative(self, trace: Trace, target: Position, source: Position, operand: int) -> Written:
        return Rule("@w", "@w"), {"w": self.weight(trace, target, source)}

    def pairs(self, trace: Trace, tensor: Tensor, operand: int, sources: list[int],
              targets: list[int]) -> Iterator[tuple[int, int]]:
        op: Any = node_of(tensor).op
        return ((s, t) for t in targets for s in sources if s // op.in_features == t // op.out_features)

    def weight(self, trace: Trace, target: Position, source: Position) -> Quantity:
        op: Any = node_of(target.tensor).op
        return trace.parameter(target.tensor, "weight",
                               (source.index % op.in_features, target.index % op.out_features))

    def parameter_slopes(self, trace: Trace, tensor: Tensor, role: str, index: tuple[int, ...]
                         ) -> tuple[Array, list[int]]:
        return _slopes(trace, tensor, role, index, trace.contexts[tensor].inputs[0])

    def parameter_rule(self, trace: Trace, unit: Position, role: str, index: tuple[int, ...]
                       ) -> tuple[Rule, dict[str, Quantity], Position | None]:
        if role == "bias":
            return ONE, {}, None
        node = node_of(unit.tensor)
        op: Any = node.op
        source = Position(node.inputs[0], unit.sample, unit.index // op.out_features * op.in_features + index[0])
        return Rule("@a", "@a"), {"a": trace.quantity(source)}, source


def _slopes(trace: Trace, tensor: Tensor, role: str, index: tuple[int, ...], multiplied: Array
            ) -> tuple[Array, list[int]]:
    """Return ∂u/∂w for a bias, or for a weight of what is multiplied (B, …, I)."""
    rows, features = len(trace.values[tensor]), tensor.shape[-1]
    groups = prod(tensor.shape[:-1])
    units = [g * features + index[-1] for g in range(groups)]
    if role == "bias":
        return np.ones((rows, groups)), units
    return np.asarray(multiplied, float).reshape(rows, groups, -1)[:, :, index[0]], units


@dataclass(frozen=True)
class OfGroup(Account):
    """An op whose element depends on all elements of its group, within the last axis unless it mixes rows."""

    letter: str
    mixes_rows: bool = False
    notes: tuple[str, ...] = ()

    def pairs(self, trace: Trace, tensor: Tensor, operand: int, sources: list[int],
              targets: list[int]) -> Iterator[tuple[int, int]]:
        if self.mixes_rows:
            return super().pairs(trace, tensor, operand, sources, targets)
        features = tensor.shape[-1]
        return ((s, t) for t in targets for s in sources if s // features == t // features)


@dataclass(frozen=True)
class SoftmaxGroup(OfGroup):
    """∂y_c/∂x_i = y_c (δ_ic − y_i)."""

    def maps(self, node: Node, ctx: Context, rows: Array | None) -> list[LocalMap]:
        assert ctx.output is not None
        y = some(ctx.output, rows).reshape(-1, ctx.output.shape[-1])
        return [_grouped(node.op, np.arange(y.size).reshape(y.shape), y, y[..., None], np.ones((*y.shape, 1)))]

    def forward(self, trace: Trace, at: Position) -> Formula:
        return Formula("softmax(@a)", r"\mathrm{softmax}(@a)", {"a": trace.quantity(trace.parts(at)[0])})

    def derivative(self, trace: Trace, target: Position, source: Position, operand: int) -> Written:
        if source.index == target.index:
            return Rule("@y(1 − @y)", "@y(1 - @y)"), {}
        return Rule("(−@y · @z)", r"(-@y \cdot @z)"), {
            "z": trace.quantity(Position(target.tensor, source.sample, source.index))}


@dataclass(frozen=True)
class NormalizedGroup(OfGroup):
    """y_c = γ_c x̂_c + β_c, x̂ = (x − μ) r, r = 1/√(v + ε): ∂y_c/∂x_i = γ_c r (δ_ic − 1/n − x̂_i x̂_c/n).

    The n members of a group are those of one feature where rows are mixed, and the features of one row where not.
    """

    def maps(self, node: Node, ctx: Context, rows: Array | None) -> list[LocalMap]:
        x_hat, rstd = some(ctx.saved["x_hat"], rows), ctx.saved["rstd"]
        rstd = np.broadcast_to(rstd if self.mixes_rows else some(rstd, rows), x_hat.shape)
        gamma = np.broadcast_to(ctx.params["weight"], x_hat.shape)
        features = x_hat.shape[-1]
        members, hat, scale = (np.asarray(a).reshape(-1, features) for a in (
            np.arange(x_hat.size), x_hat, gamma * rstd))
        if self.mixes_rows:
            members, hat, scale = members.T, hat.T, scale.T
        one_hat = np.stack([np.ones_like(hat), hat], axis=-1)
        return [_grouped(node.op, members, scale, one_hat / members.shape[1], one_hat)]

    def forward(self, trace: Trace, at: Position) -> Formula:
        feature = (at.index % at.tensor.shape[-1],)
        source = trace.quantity(Position(node_of(at.tensor).inputs[0], at.sample, at.index))
        scale, x_hat = self._scale(trace, at), self._normalized(trace, at, at)
        mean = trace.named(at, "μ", source.value - x_hat.value / scale.value if scale.value else float("nan"))
        return Formula("@g · (@a − @m) · @s + @b", r"@g \cdot (@a - @m) \cdot @s + @b",
                       {"g": trace.parameter(at.tensor, "weight", feature),
                        "b": trace.parameter(at.tensor, "bias", feature), "a": source, "m": mean, "s": scale})

    def derivative(self, trace: Trace, target: Position, source: Position, operand: int) -> Written:
        features = target.tensor.shape[-1]
        n = trace.values[target.tensor].size // features if self.mixes_rows else features
        same = (source.sample, source.index) == (target.sample, target.index)
        first = f"1 − 1/{n}" if same else f"−1/{n}"
        rule = Rule("@g · @s · κ", r"@g \, @s \, \kappa", f"@g · @s · κ, κ = {first} − @p · @q/{n}",
                    rf"@g \, @s \, \kappa, \; \kappa = {first.replace('−', '-')} - @p \cdot @q / {n}")
        return rule, {"g": trace.parameter(target.tensor, "weight", (target.index % features,)),
                      "s": self._scale(trace, target), "p": self._normalized(trace, target, source),
                      "q": self._normalized(trace, target, target)}

    def parameter_slopes(self, trace: Trace, tensor: Tensor, role: str, index: tuple[int, ...]
                         ) -> tuple[Array, list[int]]:
        return _slopes(trace, tensor, role, index, trace.contexts[tensor].saved["x_hat"])

    def parameter_rule(self, trace: Trace, unit: Position, role: str, index: tuple[int, ...]
                       ) -> tuple[Rule, dict[str, Quantity], Position | None]:
        if role == "bias":
            return ONE, {}, None
        return Rule("@a", "@a"), {"a": self._normalized(trace, unit, unit)}, None

    def _scale(self, trace: Trace, at: Position) -> Quantity:
        saved = trace.contexts[at.tensor].saved
        spread = np.broadcast_to(saved["rstd"], saved["x_hat"].shape)
        return trace.named(at, "r", float(spread[at.sample].flat[at.index]))

    def _normalized(self, trace: Trace, target: Position, at: Position) -> Quantity:
        """Return x̂ at an element, of the normalisation that makes the target."""
        here = Position(target.tensor, at.sample, at.index)
        return trace.named(here, "x̂", float(trace.contexts[target.tensor].saved["x_hat"][at.sample].flat[at.index]))


def _grouped(op: Op, members: Array, scale: Array, left: Array, right: Array) -> Grouped:
    groups, size = members.shape
    if groups * size**2 > _MOST_DERIVATIVES:
        raise ValueError(f"explain: {op.name!r} joins {size:,} elements in each of {groups:,} groups, whose paths are "
                         "too many to look through; explain a few rows of the batch, as in x[:4], y[:4]")
    return Grouped(members, scale, left, right)
