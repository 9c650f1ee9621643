"""One run of a graph, and how any part of it is written down: the values, the local derivatives, their formulas.

Networks and scalar expressions share it; all they do not share are the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fastbp.chainrule.explanation import Factor, Line
from fastbp.chainrule.formulas import ONE, Rule, elementwise_rules, normalization_rule, softmax_rules
from fastbp.chainrule.symbols import Formula, Quantity, Symbol
from fastbp.graph.graph import Graph, Node, Tensor
from fastbp.ops.base import Array, Context
from fastbp.ops.batch_norm import BatchNormOp
from fastbp.ops.concat import ConcatOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.flatten import FlattenOp
from fastbp.ops.layer_norm import LayerNormOp
from fastbp.ops.linear import LinearOp
from fastbp.ops.softmax import SoftmaxOp

# A sum of up to so many products is written out; of a longer one, the largest so many less one.
SUM_TERMS = 4


class Naming(Protocol):
    """Gives tensors and parameters their symbols."""

    def tensor(self, tensor: Tensor, index: int, sample: int = 0) -> Symbol:
        """Return the symbol of one element."""

    def alike(self, tensor: Tensor, letter: str, index: int, sample: int = 0) -> Symbol:
        """Return a symbol with another letter and the same indices."""

    def parameter(self, name: str, index: tuple[int, ...]) -> Symbol:
        """Return the symbol of one entry of a parameter."""


@dataclass(frozen=True)
class Place:
    """One element of a tensor in the batch: the sample, and the place in the flat sample."""

    tensor: Tensor
    sample: int
    index: int


@dataclass
class Trace:
    """A finished run.

    Attributes
    ----------
    graph : Graph
    contexts : dict of Tensor to Context
    values, gradients : dict of Tensor to array (B, *sample shape)
    names : Naming
    constants : set of Tensor
        Inputs that stand for plain numbers.
    """

    graph: Graph
    contexts: dict[Tensor, Context]
    values: dict[Tensor, Array]
    gradients: dict[Tensor, Array]
    names: Naming
    constants: frozenset[Tensor] = frozenset()

    def __post_init__(self) -> None:
        self._numbers = {t: i for i, t in enumerate(self.graph.tensors)}
        self._makers = {id(t.node): t for t in self.graph.tensors if t.node is not None}

    def box(self, at: Place) -> str:
        """Return what the diagram calls an element."""
        return f"t{self._numbers[at.tensor]}-{at.index}"

    def quantity(self, at: Place) -> Quantity:
        """Return the symbol and value of an element."""
        value = float(self.values[at.tensor][at.sample].flat[at.index])
        return Quantity(self.names.tensor(at.tensor, at.index, at.sample), value)

    def gradient(self, at: Place) -> float:
        """Return ∂E/∂ of an element."""
        if at.tensor not in self.gradients:
            return 0.0
        return float(self.gradients[at.tensor][at.sample].flat[at.index])

    # ---- local derivatives ------------------------------------------------------------------------------------------

    def factor(self, target: Place, source: Place, operand: int, value: float) -> Factor:
        """Return the factor ∂target/∂source, for the operand that the source is."""
        rule, extra = self._derivative(target, source, operand)
        quantities = {"y": self.quantity(target), **extra}
        return Factor(self.quantity(target).symbol, self.quantity(source).symbol, value, rule.formula(quantities),
                      rule.spelled_out(quantities), self.box(target), self.box(source))

    def _derivative(self, target: Place, source: Place, operand: int) -> tuple[Rule, dict[str, Quantity]]:
        node = _node(target.tensor)
        op = node.op
        if isinstance(op, LinearOp):
            index = (source.index % op.in_features, target.index % op.out_features)
            return Rule("@w", "@w"), {"w": self._parameter(node, "weight", index)}
        if isinstance(op, ConcatOp | FlattenOp):
            return ONE, {}
        if isinstance(op, SoftmaxOp):
            other = self.quantity(Place(target.tensor, source.sample, source.index))
            return softmax_rules(source.index == target.index), {"z": other}
        if isinstance(op, BatchNormOp | LayerNormOp):
            return self._normalization(node, target, source)
        quantities = self.operands(target)
        a, b = quantities["a"].value, quantities["b"].value if "b" in quantities else None
        rules = elementwise_rules(op, a, b, len(node.inputs) > 1 and node.inputs[1] in self.constants)
        return rules.derivatives[operand], {**quantities, **self._mask(target)}

    def operands(self, at: Place) -> dict[str, Quantity]:
        """Return the operands of an elementwise op as @a, @b."""
        return {letter: self.quantity(Place(t, at.sample, at.index))
                for letter, t in zip("abcdefgh", _node(at.tensor).inputs, strict=False)}

    def _mask(self, at: Place) -> dict[str, Quantity]:
        """Return @m, what dropout multiplies an element with."""
        op = _node(at.tensor).op
        if not isinstance(op, DropoutOp):
            return {}
        ((slopes,), _) = op.backward(self.contexts[at.tensor], np.ones_like(self.values[at.tensor]))
        return {"m": Quantity(self.names.alike(at.tensor, "m", at.index, at.sample),
                              float(slopes[at.sample].flat[at.index]))}

    def _normalization(self, node: Node, target: Place, source: Place) -> tuple[Rule, dict[str, Quantity]]:
        ctx = self.contexts[target.tensor]
        features = target.tensor.shape[-1]
        quantities = {"g": self._parameter(node, "weight", (target.index % features,)),
                      "s": self._scale(ctx, target), "p": self.normalized(target.tensor, source),
                      "q": self.normalized(target.tensor, target)}
        x = self.values[target.tensor]
        n = features if isinstance(node.op, LayerNormOp) else x.size // features
        same = source.index == target.index and source.sample == target.sample
        return normalization_rule(same, n), quantities

    def _scale(self, ctx: Context, at: Place) -> Quantity:
        x_hat, rstd = ctx.saved["x_hat"], ctx.saved["rstd"]
        value = float(np.broadcast_to(rstd, x_hat.shape)[at.sample].flat[at.index])
        return Quantity(self.names.alike(at.tensor, "r", at.index, at.sample), value)

    def normalized(self, tensor: Tensor, at: Place) -> Quantity:
        """Return x̂, the normalised input of a batch or layer normalisation."""
        value = float(self.contexts[tensor].saved["x_hat"][at.sample].flat[at.index])
        return Quantity(self.names.alike(tensor, "x̂", at.index, at.sample), value)

    def _parameter(self, node: Node, role: str, index: tuple[int, ...]) -> Quantity:
        name = self.graph.parameter_name(node.params[role])
        value = float(self.contexts[self._makers[id(node)]].params[role][index])
        return Quantity(self.names.parameter(name, index), value)

    def weight(self, target: Place, source: Place) -> Quantity | None:
        """Return the weight between two elements, None where there is none."""
        node = _node(target.tensor)
        if not isinstance(node.op, LinearOp):
            return None
        return self._parameter(node, "weight", (source.index % node.op.in_features,
                                                target.index % node.op.out_features))

    def reach(self, tensor: Tensor, operand: int, element: int) -> set[int]:
        """Return which elements of a tensor an element of its operand enters, within a sample."""
        op = _node(tensor).op
        if isinstance(op, ConcatOp | FlattenOp):
            place = np.arange(int(np.prod(tensor.shape))).reshape(1, *tensor.shape)
            part = Context(inputs=tuple(self.values[t][:1] for t in _node(tensor).inputs))
            return {int(op.backward(part, place)[0][operand].flat[element])}
        if isinstance(op, SoftmaxOp | LayerNormOp):
            features = tensor.shape[-1]
            start = element // features * features
            return set(range(start, start + features))
        return {element}

    # ---- parameters -------------------------------------------------------------------------------------------------

    def parameter_slopes(self, tensor: Tensor, role: str, index: tuple[int, ...]) -> tuple[Array, list[int]]:
        """Return ∂u/∂w for each sample and position (B, G), and the places of the units u in the flat sample.

        Raises
        ------
        TypeError
            For an op whose parameters work in a way that is not known here.
        """
        op, ctx = _node(tensor).op, self.contexts[tensor]
        rows, features = len(self.values[tensor]), tensor.shape[-1]
        groups = int(np.prod(tensor.shape[:-1]))
        if isinstance(op, LinearOp | BatchNormOp | LayerNormOp):
            units = [g * features + index[-1] for g in range(groups)]
            if role == "bias":
                return np.ones((rows, groups)), units
            source = ctx.inputs[0] if isinstance(op, LinearOp) else ctx.saved["x_hat"]
            return np.asarray(source, float).reshape(rows, groups, -1)[:, :, index[0]], units
        raise TypeError(f"explain: the parameters of {op.name!r} cannot be explained; expected those of Linear, "
                        "BatchNorm or LayerNorm layers")

    def parameter_factor(self, unit: Place, role: str, index: tuple[int, ...], symbol: Symbol, value: float) -> Factor:
        """Return the factor ∂u/∂w."""
        node = _node(unit.tensor)
        rule, quantities, box = ONE, {}, ""
        if role == "weight" and isinstance(node.op, LinearOp):
            position = unit.index // node.op.out_features
            source = Place(node.inputs[0], unit.sample, position * node.op.in_features + index[0])
            rule, quantities, box = Rule("@a", "@a"), {"a": self.quantity(source)}, self.box(source)
        elif role == "weight":
            rule, quantities = Rule("@a", "@a"), {"a": self.normalized(unit.tensor, unit)}
        formula = rule.formula(quantities)
        return Factor(self.quantity(unit).symbol, symbol, value, formula, formula, self.box(unit), box)

    # ---- the forward pass -------------------------------------------------------------------------------------------

    def line(self, at: Place) -> Line:
        """Return the equation that an element is computed by."""
        return Line(self.quantity(at), self._forward(at), self.box(at))

    def _forward(self, at: Place) -> Formula:
        node = _node(at.tensor)
        op: Any = node.op
        if isinstance(op, LinearOp):
            return self._linear(node, op, at)
        if isinstance(op, SoftmaxOp):
            return Formula("softmax(@a)", r"\mathrm{softmax}(@a)", self.operands(at))
        if isinstance(op, BatchNormOp | LayerNormOp):
            return self._normalized_line(node, at)
        if isinstance(op, ConcatOp | FlattenOp):
            return Formula("@a", "@a", {"a": self._origin(at)})
        operands = self.operands(at)
        constant = len(node.inputs) > 1 and node.inputs[1] in self.constants
        rules = elementwise_rules(op, operands["a"].value, operands["b"].value if "b" in operands else None, constant)
        return rules.forward.formula({**operands, **self._mask(at)})

    def _linear(self, node: Node, op: LinearOp, at: Place) -> Formula:
        position, unit = divmod(at.index, op.out_features)
        x = np.asarray(self.values[node.inputs[0]][at.sample], float).reshape(-1, op.in_features)[position]
        products = x * np.asarray(self.contexts[at.tensor].params["weight"][:, unit], float)
        chosen = list(range(len(products)))
        if len(products) > SUM_TERMS:
            chosen = sorted(np.argsort(-np.abs(products), kind="stable")[:SUM_TERMS - 1].tolist())
        parts, quantities = [], {}
        for k, i in enumerate(chosen):
            parts.append(f"@w{k} · @x{k}")
            quantities[f"w{k}"] = self._parameter(node, "weight", (i, unit))
            quantities[f"x{k}"] = self.quantity(Place(node.inputs[0], at.sample, position * op.in_features + i))
        if len(chosen) < len(products):
            parts.append("@rest")
            quantities["rest"] = Quantity(Symbol("Σ", str(len(products) - len(chosen))),
                                          float(products.sum() - products[chosen].sum()))
        if op.bias:
            parts.append("@b")
            quantities["b"] = self._parameter(node, "bias", (unit,))
        text = " + ".join(parts)
        return Formula(text, text.replace(" · ", r" \cdot "), quantities)

    def _normalized_line(self, node: Node, at: Place) -> Formula:
        feature = (at.index % at.tensor.shape[-1],)
        source = self.quantity(Place(node.inputs[0], at.sample, at.index))
        scale, x_hat = self._scale(self.contexts[at.tensor], at), self.normalized(at.tensor, at)
        mean = Quantity(self.names.alike(at.tensor, "μ", at.index, at.sample), source.value - x_hat.value / scale.value)
        return Formula("@g · (@a − @m) · @s + @b", r"@g \cdot (@a - @m) \cdot @s + @b",
                       {"g": self._parameter(node, "weight", feature), "b": self._parameter(node, "bias", feature),
                        "a": source, "m": mean, "s": scale})

    def _origin(self, at: Place) -> Quantity:
        """Return the element that a concat or flatten takes unchanged."""
        node = _node(at.tensor)
        index = np.zeros((1, *at.tensor.shape), int)
        index[0].flat[at.index] = 1
        part = Context(inputs=tuple(self.values[t][:1] for t in node.inputs))
        for t, found in zip(node.inputs, node.op.backward(part, index)[0], strict=True):
            if found.any():
                return self.quantity(Place(t, at.sample, int(found.argmax())))
        raise AssertionError("an element of a concat comes from one of its inputs")


def _node(tensor: Tensor) -> Node:
    assert tensor.node is not None
    return tensor.node
