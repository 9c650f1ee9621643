"""One finished run of a graph, and what its elements are called: the values and gradients that explanations read off.

Networks and scalar expressions share it; all they do not share are the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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

    def box(self, at: Place) -> str:
        """Return what the diagram calls an element."""
        return f"t{self._numbers[at.tensor]}-{at.index}"

    def quantity(self, at: Place) -> Quantity:
        """Return the symbol and value of an element."""
        value = float(self.values[at.tensor][at.sample].flat[at.index])
        return Quantity(self.names.tensor(at.tensor, at.index, at.sample), value)

    def named(self, at: Place, letter: str, value: float) -> Quantity:
        """Return a quantity that belongs to an element, with a letter of its own: t₁ beside o₁."""
        return Quantity(self.names.alike(at.tensor, letter, at.index, at.sample), value)

    def gradient(self, at: Place) -> float:
        """Return ∂E/∂ of an element; 0 where none arrives."""
        if at.tensor not in self.gradients:
            return 0.0
        return float(self.gradients[at.tensor][at.sample].flat[at.index])

    def parameter(self, tensor: Tensor, role: str, index: tuple[int, ...]) -> Quantity:
        """Return an entry of a parameter of the node that makes a tensor."""
        name = self.graph.parameter_name(node_of(tensor).params[role])
        return Quantity(self.names.parameter(name, index), float(self.contexts[tensor].params[role][index]))

    def operands(self, at: Place) -> dict[str, Quantity]:
        """Return the elements of the node's inputs at the same place, as @a, @b, …"""
        return {letter: self.quantity(Place(t, at.sample, at.index))
                for letter, t in zip("abcdefgh", node_of(at.tensor).inputs, strict=False)}


def node_of(tensor: Tensor) -> Node:
    """Return the node that makes a tensor, which is no input."""
    assert tensor.node is not None
    return tensor.node
