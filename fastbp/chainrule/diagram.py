"""The computational graph as boxes and lines, before it is drawn: which units are shown, and where they stand in line.

Columns follow the depth in the graph. A layer of many units is folded: those on the chain, and those with the largest
value times gradient, stand for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fastbp.chainrule.explanation import Path
from fastbp.chainrule.symbols import Quantity, Symbol
from fastbp.chainrule.trace import Place, Trace
from fastbp.graph.graph import Tensor
from fastbp.ops.linear import LinearOp

# A layer of up to so many units is drawn whole; of a larger one, the second number of units.
WHOLE, FOLDED = 6, 4


@dataclass(frozen=True)
class Box:
    """One quantity: its value, and the derivative of the target by it (None: not wanted)."""

    id: str
    symbol: Symbol
    value: float
    gradient: float | None
    kind: str
    chain: bool = False


@dataclass(frozen=True)
class Edge:
    """How one quantity enters another: through a weight or directly.

    ``local`` is the derivative of the one by the other, on the chain; ``gradient`` that of the weight asked for.
    """

    source: str
    target: str
    weight: Quantity | None = None
    local: float | None = None
    gradient: float | None = None

    @property
    def chain(self) -> bool:
        """Whether a path of the chain rule leads through it."""
        return self.local is not None


@dataclass(frozen=True)
class Column:
    """Quantities of one depth; ``more`` are left out."""

    boxes: tuple[Box, ...]
    more: int = 0


@dataclass(frozen=True)
class Diagram:
    """Columns from the inputs to the target, and the lines between."""

    columns: tuple[Column, ...]
    edges: tuple[Edge, ...]


def shown_elements(trace: Trace, tensor: Tensor, sample: int, needed: set[int]) -> list[int]:
    """Return which elements of a tensor are drawn."""
    values = np.asarray(trace.values[tensor][sample], float).ravel()
    if len(values) <= WHOLE:
        return list(range(len(values)))
    gradient = np.asarray(trace.gradients.get(tensor, np.zeros((sample + 1, 1)))[sample], float).ravel()
    weight = np.nan_to_num(np.abs(values * gradient))
    largest = [int(i) for i in np.argsort(-weight, kind="stable") if int(i) not in needed]
    chosen = [*sorted(needed, key=lambda i: -weight[i])[:WHOLE], *largest]
    return sorted(chosen[:max(FOLDED, min(len(needed), WHOLE))])


def build(trace: Trace, sample: int, paths: Iterable[Path], ends: list[list[tuple[Box, list[str]]]],
          asked: tuple[str, Quantity, float, str] | None = None,
          feeds: dict[str, Tensor] | None = None) -> tuple[Diagram, dict[Tensor, list[int]]]:
    """Return the diagram, and the elements of each tensor that it shows.

    Parameters
    ----------
    trace : Trace
    sample : int
        The sample whose values are drawn.
    paths : paths of that sample
        Their elements are drawn and marked.
    ends : list of lists of (box, ids)
        What follows the graph, a list for each column: losses, and which boxes lead to them.
    asked : (unit's box, weight, gradient, source's box), optional
        The parameter that is asked for. Without a source it gets a box of its own.
    feeds : dict of box to Tensor, optional
        Ends that all drawn elements of a tensor lead to.
    """
    drawn = _depths(trace)
    links = {(f.source_box, f.box): f.value for p in paths for f in p.factors}
    on_chain = {b for link in links for b in link if b}
    elements = {}
    for tensor in drawn:
        prefix = trace.box(Place(tensor, sample, 0)).split("-")[0] + "-"
        needed = {int(b[len(prefix):]) for b in on_chain if b.startswith(prefix)}
        elements[tensor] = shown_elements(trace, tensor, sample, needed)
    columns: list[tuple[list[Box], int]] = [([], 0) for _ in range(max(drawn.values()) + 1)]
    for tensor, depth in drawn.items():
        boxes, more = columns[depth]
        boxes += [_box(trace, Place(tensor, sample, i), on_chain) for i in elements[tensor]]
        columns[depth] = boxes, more + int(np.prod(tensor.shape)) - len(elements[tensor])
    edges = _edges(trace, sample, elements, links, asked)
    if asked and not asked[3]:
        _add_parameter(columns, edges, asked, links.get(("", asked[0]), 1.0))
    for column in ends:
        columns.append(([box for box, _ in column], 0))
        for box, sources in column:
            fed = (feeds or {}).get(box.id)
            outputs = [trace.box(Place(fed, sample, i)) for i in elements[fed]] if fed else []
            edges += [Edge(s, box.id, local=links.get((s, box.id))) for s in (*sources, *outputs)]
    return Diagram(tuple(Column(tuple(b), m) for b, m in columns), tuple(edges)), elements


def _depths(trace: Trace) -> dict[Tensor, int]:
    """Return the column of each tensor; inputs stand just before their first use. Exponents are not drawn."""
    depths: dict[Tensor, int] = {}
    for t in trace.graph.tensors:
        depths[t] = 1 + max(depths[s] for s in t.node.inputs) if t.node else 0
    for t in trace.graph.inputs:
        uses = [depths[c] for c in trace.graph.tensors if c.node and t in c.node.inputs]
        depths[t] = min(uses, default=1) - 1
    exponents = {c.node.inputs[1] for c in trace.graph.tensors if c.node and c.node.op.name == "pow"}
    return {t: d for t, d in depths.items() if not (t in trace.constants and t in exponents)}


def _box(trace: Trace, at: Place, on_chain: set[str]) -> Box:
    quantity = trace.quantity(at)
    constant = at.tensor in trace.constants
    kind = "constant" if constant else "input" if at.tensor.node is None else "unit"
    gradient = None if constant else trace.gradient(at)
    return Box(trace.box(at), quantity.symbol, quantity.value, gradient, kind, trace.box(at) in on_chain)


def _edges(trace: Trace, sample: int, elements: dict[Tensor, list[int]], links: dict[tuple[str, str], float],
           asked: tuple[str, Quantity, float, str] | None) -> list[Edge]:
    edges = []
    for tensor in elements:
        for operand, source in enumerate(tensor.node.inputs if tensor.node else ()):
            if source not in elements:
                continue
            for i in elements[tensor]:
                for j in _sources(trace, tensor, operand, i, elements[source]):
                    at, origin = Place(tensor, sample, i), Place(source, sample, j)
                    ends = trace.box(origin), trace.box(at)
                    weight = trace.weight(at, origin)
                    gradient = asked[2] if asked and (asked[3], asked[0]) == ends else None
                    edges.append(Edge(*ends, weight, links.get(ends), gradient))
    return edges


def _sources(trace: Trace, tensor: Tensor, operand: int, i: int, drawn: list[int]) -> list[int]:
    """Return which drawn elements of an operand element i of the tensor is computed from."""
    node = tensor.node
    assert node is not None
    if isinstance(node.op, LinearOp):
        position = i // node.op.out_features
        return [j for j in drawn if j // node.op.in_features == position]
    return [j for j in drawn if i in trace.reach(tensor, operand, j)]


def _add_parameter(columns: list[tuple[list[Box], int]], edges: list[Edge],
                   asked: tuple[str, Quantity, float, str], local: float) -> None:
    unit, weight, gradient, _ = asked
    depth = next(d for d, (boxes, _) in enumerate(columns) if any(b.id == unit for b in boxes))
    columns[depth - 1][0].append(Box("asked", weight.symbol, weight.value, gradient, "weight", chain=True))
    edges.append(Edge("asked", unit, local=local))
