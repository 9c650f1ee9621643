"""One finished run of a graph, and what its elements are called: the values and gradients that explanations read off.

Networks and scalar expressions share it; all they do not share are the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fastbp.graph.graph import Graph, Node, Tensor
from fastbp.ops.base import Array, Context
from fastbp.views.explanations.symbols import Quantity, Symbol


class Naming(Protocol):
    """Gives tensors and parameters their symbols."""

    def tensor(self, tensor: Tensor, index: int, sample: int = 0) -> Symbol:
        """Return the symbol of one element."""

    def alike(self, tensor: Tensor, letter: str, index: int, sample: int = 0) -> Symbol:
        """Return a symbol with another letter and the same indices."""

    def parameter(self, name: str, index: tuple[int, ...]) -> Symbol:
        """Return the symbol of one entry of a parameter."""


@dataclass(frozen=True)
class Position:
    """One element of a tensor: the sample (0 where the batch shares one array), and the place in the flat sample."""

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
        An array that the whole batch shares has a first axis of one.
    names : Naming
    constants : set of Tensor
        Those that stand for plain numbers.
    shown : int or None
        The sample that the diagram shows, where samples mix.
    cache : dict of Tensor to anything
        What accounts find out once.
    """

    graph: Graph
    contexts: dict[Tensor, Context]
    values: dict[Tensor, Array]
    gradients: dict[Tensor, Array]
    names: Naming
    constants: frozenset[Tensor] = frozenset()

    def __post_init__(self) -> None:
        self._numbers = {t: i for i, t in enumerate(self.graph.tensors)}
        self.values, self.gradients = ({t: a if t.rows else a[None] for t, a in arrays.items()}
                                       for arrays in (self.values, self.gradients))
        self.shown: int | None = None
        self.cache: dict[Tensor, Any] = {}

    def size(self, tensor: Tensor) -> int:
        """Return how many elements a sample has, or the one array that the whole batch shares."""
        return int(self.values[tensor][0].size)

    def here(self, tensor: Tensor, index: int) -> Position:
        """Return an element of the sample that is shown, or of the array that the batch shares."""
        return Position(tensor, self.shown or 0 if tensor.rows else 0, index)

    def flat(self, at: Position) -> int:
        """Return where an element stands in the whole array."""
        return at.sample * self.size(at.tensor) + at.index

    def place(self, tensor: Tensor, element: int) -> Position:
        """Return the element that stands there in the whole array."""
        return Position(tensor, *divmod(element, self.size(tensor)))

    def box(self, at: Position) -> str:
        """Return what the diagram calls an element; "" for one of another sample than the one that is shown."""
        if self.shown is not None and at.tensor.rows and at.sample != self.shown:
            return ""
        return f"t{self._numbers[at.tensor]}-{at.index}"

    def quantity(self, at: Position) -> Quantity:
        """Return the symbol and value of an element."""
        value = float(self.values[at.tensor][at.sample].flat[at.index])
        return Quantity(self.names.tensor(at.tensor, at.index, at.sample), value)

    def named(self, at: Position, letter: str, value: float) -> Quantity:
        """Return a quantity that belongs to an element, with a letter of its own: t₁ beside o₁."""
        return Quantity(self.names.alike(at.tensor, letter, at.index, at.sample), value)

    def gradient(self, at: Position) -> float:
        """Return ∂E/∂ of an element; 0 where none arrives."""
        if at.tensor not in self.gradients:
            return 0.0
        return float(self.gradients[at.tensor][at.sample].flat[at.index])

    def parameter(self, tensor: Tensor, role: str, index: tuple[int, ...]) -> Quantity:
        """Return an entry of a parameter of the node that makes a tensor."""
        name = self.graph.parameter_name(node_of(tensor).params[role])
        return Quantity(self.names.parameter(name, index), float(self.contexts[tensor].params[role][index]))

    def parts(self, at: Position) -> list[Position]:
        """Return the element of each input of a node that stands at the place of one of its output, as NumPy has it."""
        ctx, node = self.contexts[at.tensor], node_of(at.tensor)
        assert ctx.output is not None
        where: tuple[Any, ...] = ()
        found = []
        for t, x in zip(node.inputs, ctx.inputs, strict=True):
            if x.shape == ctx.output.shape:
                found.append(Position(t, at.sample, at.index))
                continue
            where = where or np.unravel_index(self.flat(at), ctx.output.shape)
            inside = [0 if size == 1 else i for i, size in zip(where[len(where) - x.ndim:], x.shape, strict=True)]
            found.append(self.place(t, int(np.ravel_multi_index(inside, x.shape)) if inside else 0))
        return found


def node_of(tensor: Tensor) -> Node:
    """Return the node that makes a tensor, which is no input."""
    assert tensor.node is not None
    return tensor.node
