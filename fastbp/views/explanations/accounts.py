"""How each kind of op is accounted for: what it depends on by how much, and how that is written.

An account answers everything that explanations ask of an op. There are a few kinds; ``op_table`` has the row of each
op. All sizes and indices are those of a flat sample, unless rows of the batch are named.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fastbp.graph.graph import Node, Tensor
from fastbp.ops.base import Array, Context, Op
from fastbp.views.explanations.local_maps import Dense, Elementwise, Grouped, LocalMap, Sparse
from fastbp.views.explanations.rules import ONE, Rule, Rules, named
from fastbp.views.explanations.symbols import Formula, Quantity, Symbol
from fastbp.views.explanations.trace import Place, Trace, node_of

Written = tuple[Rule, dict[str, Quantity]]
"""A formula, and the quantities that it names."""

# A sum of up to so many products is written out; of a longer one, the largest so many less one.
SUM_TERMS = 4
# Derivatives that are looked at in one op, and backward passes that are made for one: some seconds each.
_MOST_DERIVATIVES, _MOST_PASSES = 1 << 31, 1 << 12


class Account(ABC):
    """What explanations ask of an op.

    Attributes
    ----------
    letter : str
        What its outputs are called where the network does not end with them.
    mixes_rows : bool
        Whether a sample's output depends on the other samples of a batch in training.
    notes : tuple of str
        Keys of remarks that belong below whatever leads through it.
    """

    letter: str = "u"
    mixes_rows: bool = False
    notes: tuple[str, ...] = ()

    @abstractmethod
    def maps(self, node: Node, ctx: Context, rows: Array) -> list[LocalMap]:
        """Return how the output depends on each input, for these rows of the batch."""

    @abstractmethod
    def forward(self, trace: Trace, at: Place) -> Formula:
        """Return the formula that an element of the output is computed by."""

    @abstractmethod
    def derivative(self, trace: Trace, target: Place, source: Place, operand: int) -> Written:
        """Return ∂target/∂source, for the operand that the source is."""

    def pairs(self, trace: Trace, tensor: Tensor, operand: int, sources: list[int],
              targets: list[int]) -> Iterator[tuple[int, int]]:
        """Yield those pairs of an operand's element and an output's, in one sample, of which one enters the other."""
        ours = set(targets)
        return ((s, s) for s in sources if s in ours)

    def weight(self, trace: Trace, target: Place, source: Place) -> Quantity | None:
        """Return the weight between two elements, None where there is none."""
        return None

    def parameter_slopes(self, trace: Trace, tensor: Tensor, role: str, index: tuple[int, ...]
                         ) -> tuple[Array, list[int]]:
        """Return ∂u/∂w for each row and position (B, G), and the units u by their places in the flat sample.

        Raises
        ------
        TypeError
            For parameters that there is no account of.
        """
        name = trace.graph.parameter_name(node_of(tensor).params[role])
        raise TypeError(f"explain: {name!r} is a parameter of {node_of(tensor).op.name!r}, and {self.why_not}; "
                        "expected a parameter of a Linear, BatchNorm or LayerNorm layer. fb.gradcheck compares the "
                        "gradients of every parameter with differences")

    why_not: str = "there is no account of how its parameters work"

    def parameter_rule(self, trace: Trace, unit: Place, role: str, index: tuple[int, ...]
                       ) -> tuple[Rule, dict[str, Quantity], Place | None]:
        """Return ∂u/∂w as a formula, its quantities and, where it is one, the element that w multiplies."""
        return ONE, {}, None


def _gradients(node: Node, ctx: Context, dy: Array) -> list[Array]:
    """Return the gradients of the inputs; zeros for one that has none, such as integers."""
    dxs, _ = node.op.backward(ctx, dy)
    return [np.zeros(x.shape) if dx is None else dx for x, dx in zip(ctx.inputs, dxs, strict=True)]


# ---- one element from one element ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pointwise(Account):
    """Each element is a function of those at the same place in the inputs.

    ``rules`` are the formulas, or a function of the op, the operands' values and, for each, whether it stands for a
    plain number.
    """

    rules: Rules | Callable[[Any, tuple[float, ...], tuple[bool, ...]], Rules]
    letter: str = "u"
    notes: tuple[str, ...] = ()

    def maps(self, node: Node, ctx: Context, rows: Array) -> list[LocalMap]:
        assert ctx.output is not None
        dxs = _gradients(node, ctx, np.ones_like(ctx.output))
        return [Elementwise(np.arange(dx[rows].size), dx[rows].ravel()) for dx in dxs]

    def forward(self, trace: Trace, at: Place) -> Formula:
        return self._rules(trace, at).forward.formula(self._quantities(trace, at))

    def derivative(self, trace: Trace, target: Place, source: Place, operand: int) -> Written:
        return self._rules(trace, target).derivatives[operand], self._quantities(trace, target)

    def _rules(self, trace: Trace, at: Place) -> Rules:
        if isinstance(self.rules, Rules):
            return self.rules
        node = node_of(at.tensor)
        values = tuple(q.value for q in trace.operands(at).values())
        return self.rules(node.op, values, tuple(t in trace.constants for t in node.inputs))

    def _quantities(self, trace: Trace, at: Place) -> dict[str, Quantity]:
        return trace.operands(at)


@dataclass(frozen=True)
class Masked(Pointwise):
    """A function of one operand and of a mask, @m: the slope that the backward rule has at the element."""

    def _quantities(self, trace: Trace, at: Place) -> dict[str, Quantity]:
        ctx = trace.contexts[at.tensor]
        one = np.zeros_like(trace.values[at.tensor])
        one[at.sample].flat[at.index] = 1
        (slopes,) = _gradients(node_of(at.tensor), ctx, one)
        return {**trace.operands(at), "m": trace.named(at, "m", float(slopes[at.sample].flat[at.index]))}


@dataclass(frozen=True)
class Moved(Account):
    """Each element is an element of one of the inputs, at another place."""

    letter: str

    def maps(self, node: Node, ctx: Context, rows: Array) -> list[LocalMap]:
        assert ctx.output is not None
        places = self._places(node, ctx, ctx.output[rows].shape, tuple(x[rows] for x in ctx.inputs))
        return [Elementwise(p, np.ones(p.size)) for p in places]

    def _places(self, node: Node, ctx: Context, shape: tuple[int, ...], inputs: tuple[Array, ...]) -> list[Array]:
        """Return where each element of each input goes: the backward rule, given places for a gradient."""
        part = Context(training=ctx.training, inputs=inputs)
        return [p.ravel() for p in _gradients(node, part, np.arange(prod(shape)).reshape(shape))]

    def _in_a_sample(self, trace: Trace, tensor: Tensor) -> list[Array]:
        node = node_of(tensor)
        inputs = tuple(trace.values[t][:1] for t in node.inputs)
        return self._places(node, trace.contexts[tensor], (1, *tensor.shape), inputs)

    def forward(self, trace: Trace, at: Place) -> Formula:
        for t, places in zip(node_of(at.tensor).inputs, self._in_a_sample(trace, at.tensor), strict=True):
            found = np.flatnonzero(places == at.index)
            if found.size:
                return Formula("@a", "@a", {"a": trace.quantity(Place(t, at.sample, int(found[0])))})
        raise AssertionError("an element that is moved comes from one of the inputs")

    def derivative(self, trace: Trace, target: Place, source: Place, operand: int) -> Written:
        return ONE, {}

    def pairs(self, trace: Trace, tensor: Tensor, operand: int, sources: list[int],
              targets: list[int]) -> Iterator[tuple[int, int]]:
        places, ours = self._in_a_sample(trace, tensor)[operand], set(targets)
        return ((s, int(places[s])) for s in sources if int(places[s]) in ours)


# ---- sums over the last axis -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Affine(Account):
    """y = x W + b over the last axis: (…, I) to (…, O)."""

    letter: str = "z"

    def maps(self, node: Node, ctx: Context, rows: Array) -> list[LocalMap]:
        return [Dense(ctx.params["weight"])]

    def forward(self, trace: Trace, at: Place) -> Formula:
        node = node_of(at.tensor)
        op: Any = node.op
        position, unit = divmod(at.index, op.out_features)
        x = np.asarray(trace.values[node.inputs[0]][at.sample], float).reshape(-1, op.in_features)[position]
        products = x * np.asarray(trace.contexts[at.tensor].params["weight"][:, unit], float)
        chosen = list(range(len(products)))
        if len(products) > SUM_TERMS:
            chosen = sorted(np.argsort(-np.abs(products), kind="stable")[:SUM_TERMS - 1].tolist())
        parts, quantities = [], {}
        for k, i in enumerate(chosen):
            parts.append(f"@w{k} · @x{k}")
            quantities[f"w{k}"] = trace.parameter(at.tensor, "weight", (i, unit))
            quantities[f"x{k}"] = trace.quantity(Place(node.inputs[0], at.sample, position * op.in_features + i))
        if len(chosen) < len(products):
            parts.append("@rest")
            quantities["rest"] = Quantity(Symbol("Σ", str(len(products) - len(chosen))),
                                          float(products.sum() - products[chosen].sum()))
        if op.bias:
            parts.append("@b")
            quantities["b"] = trace.parameter(at.tensor, "bias", (unit,))
        text = " + ".join(parts)
        return Formula(text, text.replace(" · ", r" \cdot "), quantities)

    def derivative(self, trace: Trace, target: Place, source: Place, operand: int) -> Written:
        return Rule("@w", "@w"), {"w": self.weight(trace, target, source)}

    def pairs(self, trace: Trace, tensor: Tensor, operand: int, sources: list[int],
              targets: list[int]) -> Iterator[tuple[int, int]]:
        op: Any = node_of(tensor).op
        return ((s, t) for t in targets for s in sources if s // op.in_features == t // op.out_features)

    def weight(self, trace: Trace, target: Place, source: Place) -> Quantity:
        op: Any = node_of(target.tensor).op
        return trace.parameter(target.tensor, "weight",
                               (source.index % op.in_features, target.index % op.out_features))

    def parameter_slopes(self, trace: Trace, tensor: Tensor, role: str, index: tuple[int, ...]
                         ) -> tuple[Array, list[int]]:
        return _slopes(trace, tensor, role, index, trace.contexts[tensor].inputs[0])

    def parameter_rule(self, trace: Trace, unit: Place, role: str, index: tuple[int, ...]
                       ) -> tuple[Rule, dict[str, Quantity], Place | None]:
        if role == "bias":
            return ONE, {}, None
        node = node_of(unit.tensor)
        op: Any = node.op
        source = Place(node.inputs[0], unit.sample, unit.index // op.out_features * op.in_features + index[0])
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


# ---- ops that join the elements of a group ---------------------------------------------------------------------------


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
class Softmax(OfGroup):
    """∂y_c/∂x_i = y_c (δ_ic − y_i)."""

    def maps(self, node: Node, ctx: Context, rows: Array) -> list[LocalMap]:
        assert ctx.output is not None
        y = ctx.output[rows].reshape(-1, ctx.output.shape[-1])
        return [_grouped(node.op, np.arange(y.size).reshape(y.shape), y, y[..., None], np.ones((*y.shape, 1)))]

    def forward(self, trace: Trace, at: Place) -> Formula:
        return Formula("softmax(@a)", r"\mathrm{softmax}(@a)", trace.operands(at))

    def derivative(self, trace: Trace, target: Place, source: Place, operand: int) -> Written:
        if source.index == target.index:
            return Rule("@y(1 − @y)", "@y(1 - @y)"), {}
        return Rule("(−@y · @z)", r"(-@y \cdot @z)"), {
            "z": trace.quantity(Place(target.tensor, source.sample, source.index))}


@dataclass(frozen=True)
class Normalization(OfGroup):
    """y_c = γ_c x̂_c + β_c, x̂ = (x − μ) r, r = 1/√(v + ε): ∂y_c/∂x_i = γ_c r (δ_ic − 1/n − x̂_i x̂_c/n).

    The n members of a group are those of one feature where rows are mixed, and the features of one row where not.
    """

    def maps(self, node: Node, ctx: Context, rows: Array) -> list[LocalMap]:
        x_hat = ctx.saved["x_hat"][rows]
        rstd = np.broadcast_to(ctx.saved["rstd"] if self.mixes_rows else ctx.saved["rstd"][rows], x_hat.shape)
        gamma = np.broadcast_to(ctx.params["weight"], x_hat.shape)
        features = x_hat.shape[-1]
        members, hat, scale = (np.asarray(a).reshape(-1, features) for a in (
            np.arange(x_hat.size), x_hat, gamma * rstd))
        if self.mixes_rows:
            members, hat, scale = members.T, hat.T, scale.T
        one_hat = np.stack([np.ones_like(hat), hat], axis=-1)
        return [_grouped(node.op, members, scale, one_hat / members.shape[1], one_hat)]

    def forward(self, trace: Trace, at: Place) -> Formula:
        feature = (at.index % at.tensor.shape[-1],)
        source = trace.quantity(Place(node_of(at.tensor).inputs[0], at.sample, at.index))
        scale, x_hat = self._scale(trace, at), self._normalized(trace, at, at)
        mean = trace.named(at, "μ", source.value - x_hat.value / scale.value if scale.value else float("nan"))
        return Formula("@g · (@a − @m) · @s + @b", r"@g \cdot (@a - @m) \cdot @s + @b",
                       {"g": trace.parameter(at.tensor, "weight", feature),
                        "b": trace.parameter(at.tensor, "bias", feature), "a": source, "m": mean, "s": scale})

    def derivative(self, trace: Trace, target: Place, source: Place, operand: int) -> Written:
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

    def parameter_rule(self, trace: Trace, unit: Place, role: str, index: tuple[int, ...]
                       ) -> tuple[Rule, dict[str, Quantity], Place | None]:
        if role == "bias":
            return ONE, {}, None
        return Rule("@a", "@a"), {"a": self._normalized(trace, unit, unit)}, None

    def _scale(self, trace: Trace, at: Place) -> Quantity:
        saved = trace.contexts[at.tensor].saved
        spread = np.broadcast_to(saved["rstd"], saved["x_hat"].shape)
        return trace.named(at, "r", float(spread[at.sample].flat[at.index]))

    def _normalized(self, trace: Trace, target: Place, at: Place) -> Quantity:
        """Return x̂ at an element, of the normalisation that makes the target."""
        here = Place(target.tensor, at.sample, at.index)
        return trace.named(here, "x̂", float(trace.contexts[target.tensor].saved["x_hat"][at.sample].flat[at.index]))


def _grouped(op: Op, members: Array, scale: Array, left: Array, right: Array) -> Grouped:
    groups, size = members.shape
    if groups * size**2 > _MOST_DERIVATIVES:
        raise ValueError(f"explain: {op.name!r} joins {size:,} elements in each of {groups:,} groups, whose paths are "
                         "too many to look through; explain a few rows of the batch, as in x[:4], y[:4]")
    return Grouped(members, scale, left, right)


# ---- anything else ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opaque(Account):
    """An op without formulas: its derivatives are those of its backward rule, found one output at a time.

    ``why_not`` says what is missing for an account of its own, and of its parameters.
    """

    why_not: str
    letter: str = "u"

    def maps(self, node: Node, ctx: Context, rows: Array) -> list[LocalMap]:
        assert ctx.output is not None
        size = ctx.output[rows].size
        if size > _MOST_PASSES:
            raise ValueError(f"explain: {node.op.name!r} has {size:,} outputs a sample, and its derivatives are found "
                             f"one output at a time; expected at most {_MOST_PASSES:,}")
        found: list[list[tuple[Array, Array, Array]]] = [[] for _ in ctx.inputs]
        for target in range(size):
            dy = np.zeros_like(ctx.output)
            part = dy[rows]
            part.flat[target] = 1
            dy[rows] = part
            for entries, dx in zip(found, _gradients(node, ctx, dy), strict=True):
                slopes = dx[rows].ravel()
                here = np.flatnonzero(slopes)
                entries.append((here, np.full(here.size, target), slopes[here]))
        return [_sparse(x[rows].size, entries) for x, entries in zip(ctx.inputs, found, strict=True)]

    def forward(self, trace: Trace, at: Place) -> Formula:
        name = _function_name(node_of(at.tensor))
        return Formula(f"{name}(…)", rf"\mathrm{{{name}}}(\dots)")

    def derivative(self, trace: Trace, target: Place, source: Place, operand: int) -> Written:
        return named(_function_name(node_of(target.tensor))), {"a": trace.quantity(source)}

    def pairs(self, trace: Trace, tensor: Tensor, operand: int, sources: list[int],
              targets: list[int]) -> Iterator[tuple[int, int]]:
        return iter(())


def _sparse(size: int, entries: list[tuple[Array, Array, Array]]) -> Sparse:
    sources, targets, slopes = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    order = np.argsort(sources, kind="stable")
    return Sparse(size, sources[order], targets[order], slopes[order])


def _function_name(node: Node) -> str:
    """Return what an op without formulas is called in one: after its layer, letters and digits alone."""
    name = node.op.name if node.owner is None else type(node.owner).__name__
    return "".join(c for c in name if c.isalnum())
