"""The graph of a network as an SVG drawing.

Tensors stand in ranks, each below all that it is made of. A line that passes ranks in between keeps a place free in
each of them, so that it goes around boxes; within a rank, order follows the mean place of the neighbours above and
below (Sugiyama et al. 1981, https://doi.org/10.1109/TSMC.1981.4308636). Colours follow the page's light or dark scheme.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from inspect import Parameter, signature
from itertools import pairwise
from math import prod
from typing import Any

from fastbp.engine.executable import Executable
from fastbp.graph.graph import Graph, Tensor
from fastbp.views import drawing, markup
from fastbp.views.drawing import at
from fastbp.views.report import shape_text

HEIGHT, GAP_X, GAP_Y, MARGIN = 46, 26, 40, 16
CHARACTER, SMALL_CHARACTER = 8.2, 6.6
"""Widths of a character in the two sizes of text: rather too wide than too narrow, whatever the font."""
_SWEEPS = 8

_STYLE = """
.fastbp-graph { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
.fastbp-graph .page { fill: #ffffff; }
.fastbp-graph .box { fill: #f4f6f8; stroke: #8a949e; }
.fastbp-graph .trained .box { fill: #e3efff; stroke: #2f6fb5; }
.fastbp-graph .frozen .box { fill: #e9e9ec; stroke: #6c7480; stroke-dasharray: 4 3; }
.fastbp-graph .end .box { fill: #e9f6ec; stroke: #2e8b57; }
.fastbp-graph text { fill: #1c2329; }
.fastbp-graph .small { font-size: 11px; fill: #55606b; }
.fastbp-graph .edge { fill: none; stroke: #7c8792; stroke-width: 1.4; }
.fastbp-graph .head { fill: #7c8792; }
@media (prefers-color-scheme: dark) {
.fastbp-graph .page { fill: #15191e; }
.fastbp-graph .box { fill: #232a31; stroke: #76828d; }
.fastbp-graph .trained .box { fill: #1b3350; stroke: #6aa5e8; }
.fastbp-graph .frozen .box { fill: #2b2f36; stroke: #99a2ad; }
.fastbp-graph .end .box { fill: #1d3a2a; stroke: #63c38c; }
.fastbp-graph text { fill: #e8edf2; }
.fastbp-graph .small { fill: #a9b4bf; }
.fastbp-graph .edge { stroke: #8b97a3; }
.fastbp-graph .head { fill: #8b97a3; }
}
"""


@dataclass(eq=False)
class _Box:
    """A box, or (``lines`` empty) where a line passes a rank."""

    lines: tuple[str, str] | None
    kind: str = ""
    above: list[_Box] = field(default_factory=list)
    below: list[_Box] = field(default_factory=list)
    x: float = 0.0
    """The middle."""
    y: float = 0.0
    """The top."""

    @property
    def width(self) -> float:
        if self.lines is None:
            return 10.0
        return max(110.0, 24 + CHARACTER * len(self.lines[0]), 24 + SMALL_CHARACTER * len(self.lines[1]))


def graph_svg(net: Executable) -> str:
    """Return the drawing: a box for each tensor, with what makes it, its shape and its parameters.

    Boxes with trained parameters are blue, with frozen ones dashed; inputs and other outputs are green.
    """
    ranks = _ranks(net.graph, net.memory.frozen)
    _order(ranks)
    _spread(ranks)
    left = min(p.x - p.width / 2 for rank in ranks for p in rank) - MARGIN
    right = max(p.x + p.width / 2 for rank in ranks for p in rank) + MARGIN
    width, height = round(right - left), len(ranks) * (HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN
    places = [p for rank in ranks for p in rank]
    for p in places:
        p.x -= left
    lines = [line for p in places for line in _lines(p)]
    boxes = [_box(p) for p in places if p.lines is not None]
    return drawing.frame("fastbp-graph", width, height, _STYLE, [
        f"<title>{markup.html(repr(net))}</title>", f'<rect class="page" width="{width}" height="{height}" rx="8"/>',
        *lines, *boxes])


def _ranks(graph: Graph, frozen: frozenset[str]) -> list[list[_Box]]:
    """Return the places rank by rank, with those that lines pass."""
    depth: dict[Tensor, int] = {}
    for t in graph.tensors:
        depth[t] = 1 + max((depth[s] for s in t.node.inputs), default=-1) if t.node else 0
    first_use: dict[Tensor, int] = {}
    for t in graph.tensors:
        for source in t.node.inputs if t.node else ():
            first_use[source] = min(first_use.get(source, depth[t]), depth[t])
    depth |= {t: first_use.get(t, 1) - 1 for t in graph.tensors if not depth[t]}  # just above what uses them first
    ranks: list[list[_Box]] = [[] for _ in range(max(depth.values()) + 1)]
    places = {t: _Box(*_describe(graph, t, frozen)) for t in graph.tensors}
    passing: dict[tuple[Tensor, int], _Box] = {}
    for t in graph.tensors:
        ranks[depth[t]].append(places[t])
        for source in dict.fromkeys(t.node.inputs if t.node else ()):
            last = places[source]
            for d in range(depth[source] + 1, depth[t]):
                if (source, d) not in passing:
                    passing[source, d] = _Box(None)
                    ranks[d].append(passing[source, d])
                    _join(last, passing[source, d])
                last = passing[source, d]
            _join(last, places[t])
    return ranks


def _join(above: _Box, below: _Box) -> None:
    above.below.append(below)
    below.above.append(above)


def _describe(graph: Graph, t: Tensor, frozen: frozenset[str]) -> tuple[tuple[str, str], str]:
    end = "end" if t.node is None or t in graph.outputs else ""
    if t.node is None:
        return (graph.names[t], shape_text(t)), end
    if t.node.owner is None:
        return (t.node.op.name, shape_text(t)), end
    label = _label(t.node.owner)
    small = f"{graph.layer_name(t.node.owner)} · {shape_text(t)}"
    params = t.node.params.values()
    if params:
        size = sum(prod(p.shape) for p in params)
        still = frozen.issuperset(map(graph.parameter_name, params))
        return (label, f"{small} · {size:,}"), "frozen" if still else "trained"
    return (label, small), end


def _label(layer: Any) -> str:
    """Return the layer's class, with those arguments that are not the default ones."""
    default = {n: p.default for n, p in signature(type(layer)).parameters.items()}
    told = [f"{v!r}" if default.get(k) is Parameter.empty else f"{k}={v!r}"
            for k, v in layer.hyperparameters().items() if v is not None and default.get(k, ...) != v]
    return f"{type(layer).__name__}({', '.join(told)})"


def _order(ranks: list[list[_Box]]) -> None:
    """Sort each rank by the mean place of the neighbours above, then below, and so on."""
    place = {p: float(i) for rank in ranks for i, p in enumerate(rank)}
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for rank in ranks if down else reversed(ranks):
            means = {p: _mean([place[n] for n in (p.above if down else p.below)], place[p]) for p in rank}
            rank.sort(key=means.__getitem__)
            place.update((p, float(i)) for i, p in enumerate(rank))


def _spread(ranks: list[list[_Box]]) -> None:
    """Give each place its coordinates: near its neighbours, but not over the one beside it."""
    for number, rank in enumerate(ranks):
        x = 0.0
        for p in rank:
            p.x, p.y = x + p.width / 2, MARGIN + number * (HEIGHT + GAP_Y)
            x += p.width + GAP_X
        for p in rank:
            p.x -= x / 2
    for sweep in range(2 * _SWEEPS):
        down = sweep % 2 == 0
        for rank in ranks if down else reversed(ranks):
            wanted = [_mean([n.x for n in (p.above if down else p.below)], p.x) for p in rank]
            _settle(rank, wanted)


def _settle(rank: list[_Box], wanted: list[float]) -> None:
    """Put a rank where it is wanted, with gaps: neighbours that would overlap move apart as one block."""
    blocks: list[tuple[list[int], float]] = []  # members, and the wanted middle of the first
    offsets = [0.0]
    for a, b in pairwise(rank):
        offsets.append(offsets[-1] + (a.width + b.width) / 2 + GAP_X)
    for i, target in enumerate(wanted):
        members, first = [i], target - offsets[i]
        while blocks and blocks[-1][1] > first:
            other, start = blocks.pop()
            first = (start * len(other) + first * len(members)) / (len(other) + len(members))
            members = other + members
        blocks.append((members, first))
    for members, first in blocks:
        for i in members:
            rank[i].x = first + offsets[i]


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _lines(p: _Box) -> Iterator[str]:
    """Draw the lines from a place down to those of the next rank, and through it where a line passes it."""
    bottom = p.y + HEIGHT
    if p.lines is None:
        yield f'<path class="edge" d="M{at(p.x)},{at(p.y)}V{at(bottom)}"/>'
    for end in p.below:
        middle, top = (bottom + end.y) / 2, end.y - 5 * bool(end.lines)
        yield (f'<path class="edge" d="M{at(p.x)},{at(bottom)} C{at(p.x)},{at(middle)} {at(end.x)},{at(middle)} '
               f'{at(end.x)},{at(top)}"/>')
        if end.lines is not None:
            yield f'<path class="head" d="M{at(end.x)},{at(end.y)} l-4,-7 h8 z"/>'


def _box(p: _Box) -> str:
    assert p.lines is not None
    first, second = map(markup.html, p.lines)
    return (f'<g class="{p.kind}"><rect class="box" x="{at(p.x - p.width / 2)}" y="{at(p.y)}" width="{at(p.width)}" '
            f'height="{HEIGHT}" rx="7"/>{drawing.text(p.x, p.y + 20, first)}'
            f'{drawing.text(p.x, p.y + 36, second, "small")}</g>')
