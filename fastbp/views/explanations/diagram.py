"""The computational graph as boxes and lines, before it is drawn: which units are shown, and where they stand in line.

Columns follow the depth in the graph. A layer of many units is folded: those on the chain, and those with the largest
value times gradient, stand for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fastbp.graph.graph import Tensor
from fastbp.views.explanations.op_table import account_of
from fastbp.views.explanations.parts import Box, Diagram, DiagramColumn, Edge, Path, edge_name
from fastbp.views.explanations.symbols import Quantity
from fastbp.views.explanations.trace import Position, Trace

# A layer of up to so many units is drawn whole; of a larger one, the second number of units.
WHOLE, FOLDED = 6, 4

Ends = list[list[tuple[Box, Tensor | None]]]
"""Boxes that follow the graph, a list for each column, each with the tensor that it is made of, if one alone."""


@dataclass(frozen=True)
class Asked:
    """The parameter that is asked for: the unit it acts on, its value and gradient, and what it is multiplied with.

    Multiplied with nothing ("asked") it gets a box of its own.
    """

    unit: str
    weight: Quantity
    gradient: float
    source: str


@dataclass
class _Drawing:
    """What is drawn of one sample of a run."""

    trace: Trace
    sample: int
    links: dict[str, float]
    on_chain: set[str]
    asked: Asked | None

    def __post_init__(self) -> None:
        self.depths = _depths(self.trace)
        needed: dict[str, set[int]] = {}
        for name in self.on_chain:
            tensor, _, element = name.partition("-")
            if element:
                needed.setdefault(tensor, set()).add(int(element))
        self.elements = {t: self._shown(t, needed.get(self.box(t, 0).partition("-")[0], set())) for t in self.depths}

    def place(self, tensor: Tensor, element: int) -> Position:
        return Position(tensor, self.sample if tensor.rows else 0, element)

    def box(self, tensor: Tensor, element: int) -> str:
        return self.trace.box(self.place(tensor, element))

    def _shown(self, tensor: Tensor, needed: set[int]) -> list[int]:
        """Return which elements of a tensor are drawn."""
        at = self.sample if tensor.rows else 0
        values = np.asarray(self.trace.values[tensor][at], float).ravel()
        if len(values) <= WHOLE:
            return list(range(len(values)))
        gradients = self.trace.gradients.get(tensor)
        gradient = np.zeros(1) if gradients is None else np.asarray(gradients[at], float).ravel()
        weight = np.nan_to_num(np.abs(values * gradient))
        largest = [int(i) for i in np.argsort(-weight, kind="stable") if int(i) not in needed]
        chosen = [*sorted(needed, key=lambda i: -weight[i])[:WHOLE], *largest]
        return sorted(chosen[:max(FOLDED, min(len(needed), WHOLE))])

    def columns(self) -> list[tuple[list[Box], int]]:
        """Return the boxes of each depth, and how many elements are left out."""
        columns: list[tuple[list[Box], int]] = [([], 0) for _ in range(max(self.depths.values()) + 1)]
        for tensor, depth in self.depths.items():
            boxes, more = columns[depth]
            boxes += [self._drawn(tensor, i) for i in self.elements[tensor]]
            columns[depth] = boxes, more + self.trace.size(tensor) - len(self.elements[tensor])
        return columns

    def _drawn(self, tensor: Tensor, element: int) -> Box:
        at = self.place(tensor, element)
        name, quantity = self.trace.box(at), self.trace.quantity(at)
        constant = tensor in self.trace.constants
        kind = "constant" if constant else "unit" if tensor.node is not None and tensor.node.inputs else "input"
        wanted = not constant and self.trace.values[tensor].dtype.kind == "f"
        gradient = self.trace.gradient(at) if wanted else None
        return Box(name, quantity.symbol, quantity.value, gradient, kind, name in self.on_chain)

    def edges(self) -> list[Edge]:
        """Return the lines between elements that are drawn: where one enters another, or the chain leads through."""
        return [edge for tensor in self.elements for operand, source in
                enumerate(tensor.node.inputs if tensor.node else ()) if source in self.elements
                for edge in self._edges(tensor, operand, source)]

    def _edges(self, tensor: Tensor, operand: int, source: Tensor) -> Iterable[Edge]:
        assert tensor.node is not None
        account = account_of(tensor.node.op)
        sources, targets = self.elements[source], self.elements[tensor]
        pairs = dict.fromkeys(account.pairs(self.trace, tensor, operand, sources, targets))
        pairs |= dict.fromkeys((s, t) for t in targets for s in sources
                               if edge_name(self.box(source, s), self.box(tensor, t), operand) in self.links)
        for s, t in pairs:
            ends = self.box(source, s), self.box(tensor, t)
            asked = self.asked is not None and (self.asked.source, self.asked.unit) == ends
            weight = account.weight(self.trace, self.place(tensor, t), self.place(source, s))
            yield Edge(*ends, weight, self.links.get(edge_name(*ends, operand)),
                       self.asked.gradient if asked and self.asked else None, operand)


def build(trace: Trace, sample: int, paths: Iterable[Path], ends: Ends,
          asked: Asked | None = None) -> tuple[Diagram, dict[Tensor, list[int]]]:
    """Return the diagram, and the elements of each tensor that it shows.

    Parameters
    ----------
    trace : Trace
    sample : int
        The sample whose values are drawn.
    paths : paths of that sample
        Their elements are drawn and marked.
    ends : Ends
        What follows the graph: losses, and their sum.
    asked : Asked, optional
    """
    factors = [f for p in paths for f in p.factors]
    links = {f.edge: f.value for f in factors if f.edge}
    on_chain = {box for f in factors for box in (f.box, f.source_box) if box}
    drawing = _Drawing(trace, sample, links, on_chain, asked)
    columns, edges = drawing.columns(), drawing.edges()
    if asked is not None and asked.source == "asked":
        depth = next(d for d, (boxes, _) in enumerate(columns) if any(b.id == asked.unit for b in boxes))
        if depth:       # at depth 0 the unit is the parameter itself
            columns[depth - 1][0].append(Box("asked", asked.weight.symbol, asked.weight.value, asked.gradient, "weight",
                                             chain=True))
            edges.append(Edge("asked", asked.unit, local=links.get(edge_name("asked", asked.unit, 0), 1.0)))
    for column in ends:
        before = [box.id for box in columns[-1][0]]
        columns.append(([box for box, _ in column], 0))
        for box, made_of in column:
            sources = before if made_of is None else [drawing.box(made_of, i) for i in drawing.elements[made_of]]
            edges += [Edge(s, box.id, local=links.get(edge_name(s, box.id, 0))) for s in sources]
    return Diagram(tuple(DiagramColumn(tuple(b), m) for b, m in columns), tuple(edges)), drawing.elements


def _depths(trace: Trace) -> dict[Tensor, int]:
    """Return the column of each tensor; inputs stand just before their first use. Exponents are not drawn."""
    depths: dict[Tensor, int] = {}
    first_use: dict[Tensor, int] = {}
    exponents: set[Tensor] = set()
    for t in trace.graph.tensors:
        inputs = t.node.inputs if t.node else ()
        depths[t] = 1 + max((depths[s] for s in inputs), default=-1)
        for s in inputs:
            first_use[s] = min(first_use.get(s, depths[t]), depths[t])
        if t.node is not None and t.node.op.name == "pow":
            exponents.add(t.node.inputs[1])
    depths |= {t: max(first_use.get(t, 1) - 1, 0) for t in trace.graph.tensors if not (t.node and t.node.inputs)}
    return {t: d for t, d in depths.items() if not (t in trace.constants and t in exponents)}
