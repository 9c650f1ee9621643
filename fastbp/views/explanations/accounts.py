"""What an account is: how an op is accounted for, what it depends on by how much, and how that is written.

An account answers everything that explanations ask of an op. ``pointwise`` and ``sums`` have the kinds of them, and
``op_table`` the row of each op. All sizes and indices are those of a flat sample, unless rows of the batch are named.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastbp.graph.graph import Node, Tensor
from fastbp.ops.base import Array, Context
from fastbp.views.explanations.local_maps import LocalMap, Sparse
from fastbp.views.explanations.rules import Rule, named
from fastbp.views.explanations.symbols import Formula, Quantity
from fastbp.views.explanations.trace import Position, Trace, node_of

Written = tuple[Rule, dict[str, Quantity]]
"""A formula, and the quantities that it names."""

# Backward passes that are made for one op: some seconds.
_MOST_PASSES = 1 << 12


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

    def spans(self, node: Node) -> bool:
        """Return whether paths through a node may lead from one sample to another, or from what they share to all."""
        return self.mixes_rows

    @abstractmethod
    def maps(self, node: Node, ctx: Context, rows: Array | None) -> list[LocalMap]:
        """Return how the output depends on each input, for these rows of the batch, or for whole arrays."""

    @abstractmethod
    def forward(self, trace: Trace, at: Position) -> Formula:
        """Return the formula that an element of the output is computed by."""

    @abstractmethod
    def derivative(self, trace: Trace, target: Position, source: Position, operand: int) -> Written:
        """Return ∂target/∂source, for the operand that the source is."""

    def pairs(self, trace: Trace, tensor: Tensor, operand: int, sources: list[int],
              targets: list[int]) -> Iterator[tuple[int, int]]:
        """Yield those pairs of an operand's element and an output's, in one sample, of which one enters the other."""
        ours = set(targets)
        return ((s, s) for s in sources if s in ours)

    def weight(self, trace: Trace, target: Position, source: Position) -> Quantity | None:
        """Return the weight between two elements, None where there is none."""
        return None

    def parameter_slopes(self, trace: Trace, tensor: Tensor, role: str, index: tuple[int, ...]
                         ) -> tuple[Array, list[int]]:
        """Return ∂u/∂w for each row and position (B, G), and the units u by their places in the flat sample.

        By default they are found by the backward rule, one unit at a time, as far as there are any.
        """
        node, ctx = node_of(tensor), trace.contexts[tensor]
        assert ctx.output is not None
        slopes = np.array([node.op.backward(ctx, dy)[1][role][index] for dy in self.one_by_one(node, ctx.output, None)],
                          float).reshape(len(trace.values[tensor]), -1)
        units = np.flatnonzero(slopes.any(axis=0))
        units = units if units.size else np.array([0])
        return slopes[:, units], units.tolist()

    def parameter_rule(self, trace: Trace, unit: Position, role: str, index: tuple[int, ...]
                       ) -> tuple[Rule, dict[str, Quantity], Position | None]:
        """Return ∂u/∂w as a formula, its quantities and, where it is one, the element that w multiplies."""
        return named(function_name(node_of(unit.tensor))), {"a": trace.parameter(unit.tensor, role, index)}, None

    why_not: str = "there is no account of it"

    def one_by_one(self, node: Node, y: Array, rows: Array | None) -> Iterator[Array]:
        """Yield a gradient of y for each element of these rows: 1 for the element, 0 for all others."""
        size = some(y, rows).size
        if size > _MOST_PASSES:
            raise ValueError(f"explain: {node.op.name!r} has {size:,} outputs, whose derivatives are found one by one, "
                             f"as {self.why_not}; expected at most {_MOST_PASSES:,}. Explain fewer rows of the batch")
        for target in range(size):
            dy = np.zeros_like(y)
            part = some(dy, rows)
            part.flat[target] = 1
            if rows is not None:
                dy[rows] = part
            yield dy


@dataclass(frozen=True)
class Opaque(Account):
    """An op without formulas: its derivatives are those of its backward rule, found one output at a time.

    ``why_not`` says why.
    """

    why_not: str
    letter: str = "u"

    def spans(self, node: Node) -> bool:
        return node.op.on_arrays or node.op.mixes_rows

    def maps(self, node: Node, ctx: Context, rows: Array | None) -> list[LocalMap]:
        assert ctx.output is not None
        found: list[list[tuple[Array, Array, Array]]] = [[] for _ in ctx.inputs]
        for target, dy in enumerate(self.one_by_one(node, ctx.output, rows)):
            for entries, dx in zip(found, gradients_of(node, ctx, dy), strict=True):
                slopes = some(dx, rows).ravel()
                here = np.flatnonzero(slopes)
                entries.append((here, np.full(here.size, target), slopes[here]))
        return [sparse(some(x, rows).size, *map(np.concatenate, zip(*entries, strict=True)))
                for x, entries in zip(ctx.inputs, found, strict=True)]

    def forward(self, trace: Trace, at: Position) -> Formula:
        name = function_name(node_of(at.tensor))
        return Formula(f"{name}(…)", rf"\mathrm{{{name}}}(\dots)")

    def derivative(self, trace: Trace, target: Position, source: Position, operand: int) -> Written:
        return named(function_name(node_of(target.tensor))), {"a": trace.quantity(source)}

    def pairs(self, trace: Trace, tensor: Tensor, operand: int, sources: list[int],
              targets: list[int]) -> Iterator[tuple[int, int]]:
        return iter(())


def function_name(node: Node) -> str:
    """Return what an op without formulas is called in one: after its layer, letters and digits alone."""
    name = node.op.name if node.owner is None else type(node.owner).__name__
    return "".join(c for c in name if c.isalnum())


def gradients_of(node: Node, ctx: Context, dy: Array) -> list[Array]:
    """Return the gradients of the inputs; zeros for one that has none, such as integers."""
    dxs, _ = node.op.backward(ctx, dy)
    return [np.zeros(x.shape) if dx is None else dx for x, dx in zip(ctx.inputs, dxs, strict=True)]


def sparse(size: int, sources: Array, targets: Array, slopes: Array) -> Sparse:
    order = np.argsort(sources, kind="stable")
    return Sparse(size, sources[order], targets[order], slopes[order])


def some(array: Array, rows: Array | None) -> Array:
    """Return these rows of an array, or all of it."""
    return array if rows is None else array[rows]
