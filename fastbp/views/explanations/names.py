"""Names of the quantities of a network: inputs x₁, units z⁽¹⁾₂ and h₂, outputs o₁, weights w₁, w₂, …, biases b₁, b₂, …

Weights are numbered layer by layer, destination unit by destination unit: in a 2-2-2 net w₁ leads from input 1 to unit
1, w₂ from input 2 to unit 1, and the second layer has w₅ to w₈. Biases are numbered unit by unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod

import numpy as np

from fastbp.graph.graph import Graph, Tensor
from fastbp.ops.base import Shape
from fastbp.views.explanations.op_table import account_of
from fastbp.views.explanations.symbols import Symbol

_ROLES = {"weight": "w", "bias": "b"}
_PLAIN_DIGITS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


class Names:
    """The symbols of a graph's tensors and parameters.

    Parameters
    ----------
    graph : Graph
    samples : bool
        Whether symbols tell the sample: needed where samples mix.
    rows : int
        How many samples there are.
    letters : dict of Tensor to str
        For tensors that are called otherwise than the ops that make them would have it.
    constants : dict of Tensor to float
        Those that stand for plain numbers.
    numbered : Graph, optional
        The graph whose parameters are numbered; by default the same.
    by_sample : set of Tensor
        Those of one number a sample that go by the number of the sample: E₂.
    """

    def __init__(self, graph: Graph, samples: bool = False, rows: int = 1, letters: Mapping[Tensor, str] | None = None,
                 constants: Mapping[Tensor, float] | None = None, numbered: Graph | None = None,
                 by_sample: frozenset[Tensor] = frozenset()) -> None:
        self._by_sample = by_sample
        self._rows = rows
        self._graph, self.samples, self._given, self._constants = graph, samples, letters or {}, constants or {}
        alike: dict[str, list[Tensor]] = {}
        for t in graph.tensors:
            alike.setdefault(self._letter(t), []).append(t)
        self._letters = {t: (letter, str(k) if len(tensors) > 1 else "")
                         for letter, tensors in alike.items() for k, t in enumerate(tensors, 1)}
        self._parameters = (numbered or graph).parameters
        self._first: dict[str, int] = {}
        counts = dict.fromkeys(_ROLES.values(), 1)
        for name, parameter in self._parameters.items():
            letter = _ROLES.get(parameter.role, "")
            if letter:
                self._first[name] = counts[letter]
                counts[letter] += prod(parameter.shape)
        self._counts = {letter: n - 1 for letter, n in counts.items()}

    def _letter(self, tensor: Tensor) -> str:
        if tensor in self._given:
            return self._given[tensor]
        if tensor.node is None:
            return "x"
        if tensor in self._graph.outputs:
            return "o"
        return account_of(tensor.node.op).letter

    def tensor(self, tensor: Tensor, index: int, sample: int = 0) -> Symbol:
        """Return the symbol of one element of a sample; index counts in the flat sample, sample from 0."""
        if tensor in self._constants:
            return Symbol.number(self._constants[tensor])
        letter, layer = self._letters[tensor]
        if tensor in self._by_sample:
            return Symbol(letter, str(sample + 1) if self._rows > 1 else "")
        shape = tensor.shape_of(self._rows)[tensor.rows:]
        told = self.samples and tensor.rows
        return Symbol(letter, element(shape, index), layer, str(sample + 1) if told else "")

    def alike(self, tensor: Tensor, letter: str, index: int, sample: int = 0) -> Symbol:
        """Return a symbol with another letter and the same indices: t₁ beside o₁."""
        symbol = self.tensor(tensor, index, sample)
        return Symbol(letter, symbol.index, symbol.layer, symbol.sample)

    def parameter(self, name: str, index: tuple[int, ...]) -> Symbol:
        """Return the symbol of one entry of a parameter."""
        parameter = self._parameters[name]
        letter = _ROLES.get(parameter.role)
        if letter is None and parameter.role == "value":      # of a parameter by itself, which goes by its own name
            own = name.removesuffix(".value")
            return Symbol("θ" if own.isdecimal() else own, element(parameter.shape, _flat(parameter.shape, index)))
        if letter is None:
            return Symbol(parameter.role, ",".join(str(i + 1) for i in index))
        return Symbol(letter, str(self._first[name] + _place(parameter.shape, index)))

    def find(self, weight: str) -> tuple[str, tuple[int, ...]]:
        """Return the parameter and the index that "w7", "b2", "2.weight[0, 1]" or "2.bias[0]" mean.

        Raises
        ------
        TypeError, ValueError
            With the names that there are.
        """
        if not isinstance(weight, str):
            raise TypeError(f"weight is {weight!r}; expected {self.valid()}")
        text = weight.strip().translate(_PLAIN_DIGITS)
        numbered = re.fullmatch(r"([wb])_?(\d+)", text)
        if numbered and text not in self._parameters:
            return self._numbered(weight, numbered[1], int(numbered[2]))
        parts = re.fullmatch(r"(.+?)\s*(?:\[([-\d,\s]*)\])?", text, re.DOTALL)
        places = [] if parts is None else [i.strip() for i in (parts[2] or "").split(",") if i.strip()]
        well_formed = all(re.fullmatch(r"-?\d+", i) for i in places)
        if parts is None or parts[1] not in self._parameters or not well_formed:
            raise ValueError(f"weight is {weight!r}; expected {self.valid()}")
        shape = self._parameters[parts[1]].shape
        index = tuple(int(i) for i in places)
        if not index and prod(shape) == 1:
            index = (0,) * len(shape)
        if len(index) != len(shape) or not all(-n <= i < n for i, n in zip(index, shape, strict=True)):
            limits = ", ".join(f"0–{n - 1}" for n in shape)
            raise ValueError(f'weight is {weight!r}; expected an entry of shape {shape}, as in "{parts[1]}'
                             f'[{", ".join("0" for _ in shape)}]", with indices within [{limits}]')
        return parts[1], tuple(i % n for i, n in zip(index, shape, strict=True))

    def _numbered(self, weight: str, letter: str, number: int) -> tuple[str, tuple[int, ...]]:
        for name, first in self._first.items():
            shape = self._parameters[name].shape
            if _ROLES[self._parameters[name].role] == letter and first <= number < first + prod(shape):
                return name, _index(shape, number - first)
        raise ValueError(f"weight is {weight!r}; expected {self.valid()}")

    def valid(self) -> str:
        """Return the range of names, for errors."""
        if not self._parameters:
            return "a network with parameters: this one has none"
        ranges = [f"{letter}1" + (f" to {letter}{n}" if n > 1 else "") for letter, n in self._counts.items() if n]
        name, parameter = next(iter(self._parameters.items()))
        ranges.append(f'an entry such as "{name}[{", ".join("0" for _ in parameter.shape)}]"')
        return ", ".join(ranges[:-1]) + " or " * (len(ranges) > 1) + ranges[-1]

    def all_weights(self) -> list[str]:
        """Return the short names of all weights, then of all biases."""
        return [f"{letter}{i}" for letter, n in self._counts.items() for i in range(1, n + 1)]


def _flat(shape: Shape, index: tuple[int, ...]) -> int:
    return int(np.ravel_multi_index(index, shape)) if index else 0


def element(shape: Shape, index: int) -> str:
    """Return the place of an element in a sample, counted from 1; empty where there is but one.

    >>> element((3, 4), 5), element((7,), 2), element((1,), 0)
    ('2,2', '3', '')
    """
    if prod(shape) == 1:
        return ""
    return ",".join(str(int(i) + 1) for i in np.unravel_index(index, shape))


def _place(shape: Shape, index: tuple[int, ...]) -> int:
    """Return the number, from 0, of an entry: the last axis, the destination units, is the slowest."""
    order = (*shape[-1:], *shape[:-1])
    return int(np.ravel_multi_index((*index[-1:], *index[:-1]), order))


def _index(shape: Shape, place: int) -> tuple[int, ...]:
    order = tuple(int(i) for i in np.unravel_index(place, (*shape[-1:], *shape[:-1])))
    return (*order[1:], order[0])
