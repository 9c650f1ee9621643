"""The computational graph as an SVG picture: values forward in one colour, derivatives backward in another.

Columns run from left to right or, for narrow screens, rows from top to bottom. Colours come from custom properties
with a light and a dark set, so the picture follows its surroundings; a derivative also carries the sign ∂, so nothing
depends on colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from fastbp.views import markup
from fastbp.views.explanations.parts import Box, Derivation, Diagram, Edge
from fastbp.views.explanations.phrases import say
from fastbp.views.explanations.symbols import number

COLOURS = """
.fbp-graph { --bg: #ffffff; --ink: #1b1f24; --muted: #57606a; --line: #8c959f; --box: #f6f8fa; --value: #0550ae;
  --slope: #a40e26; --chain: #9a6700; --chain-box: #fff3cd; font-family: system-ui, "Noto Sans", "Noto Sans KR",
  "Noto Sans CJK KR", sans-serif; font-size: 13px; }
@media (prefers-color-scheme: dark) { .fbp-graph { --bg: #0d1117; --ink: #e6edf3; --muted: #9da7b3; --line: #6e7681;
  --box: #161b22; --value: #79c0ff; --slope: #ffa198; --chain: #e3b341; --chain-box: #33280a; } }
@media print { .fbp-graph { --bg: #ffffff; --ink: #000000; --muted: #444444; --line: #777777; --box: #ffffff;
  --value: #0550ae; --slope: #a40e26; --chain: #7a5200; --chain-box: #fff8e1; } }
"""
_STYLE = """
.fbp-graph text { fill: var(--ink); font-variant-numeric: tabular-nums; }
.fbp-graph .name { font-weight: 600; }
.fbp-graph .value { fill: var(--value); }
.fbp-graph .slope, .fbp-graph .chain .local { fill: var(--slope); }
.fbp-graph .more { fill: var(--muted); font-size: 12px; }
.fbp-graph rect { fill: var(--box); stroke: var(--line); }
.fbp-graph .chain rect { fill: var(--chain-box); stroke: var(--chain); stroke-width: 2; }
.fbp-graph path { fill: none; stroke: var(--line); stroke-width: 1; }
.fbp-graph .edge.chain path { stroke: var(--chain); stroke-width: 2.5; }
.fbp-graph marker path { fill: var(--line); stroke: none; }
.fbp-graph marker.chain path { fill: var(--chain); }
.fbp-graph .edge text { font-size: 12px; paint-order: stroke; stroke: var(--bg); stroke-width: 5px;
  stroke-linejoin: round; }
"""

_BOX_WIDTH, _BOX_HEIGHT = 96, 62
# Between the boxes of a layer, and between layers, for pictures that run to the right and downwards.
_BESIDE, _AHEAD = (22, 12), (112, 66)
_MARGIN, _LEGEND = 14, 34
# Lines of a layer are labelled with their weights if there are no more than so many.
_LABELLED = 6

_Point = tuple[float, float]


@dataclass(frozen=True)
class _Layout:
    """Where everything stands."""

    width: float
    height: float
    centres: dict[str, tuple[float, float]]
    columns: dict[str, int]
    more: list[tuple[float, float, int]]
    vertical: bool


def picture(e: Derivation, vertical: bool = False, digits: int = 4, legend: bool = True) -> str:
    """Return the picture of an explanation."""
    layout = _place(e.diagram, vertical, legend)
    key = f"{'v' if vertical else 'h'}-{''.join(c for c in str(e.source.symbol) if c.isalnum())}"
    parts = [_edge(edge, e, layout, key, digits) for edge in e.diagram.edges]
    parts += [_box(box, layout, digits) for column in e.diagram.columns for box in column.boxes]
    parts += [f'<text class="more" x="{x:g}" y="{y:g}" text-anchor="middle">⋮ '
              f'{markup.html(say("more_units", e.lang, count=n))}</text>' for x, y, n in layout.more]
    if legend:
        parts.append(_legend(e, layout))
    return ('<svg xmlns="http://www.w3.org/2000/svg" class="fbp-graph" '
            f'viewBox="0 0 {layout.width:g} {layout.height:g}" width="{layout.width:g}" height="{layout.height:g}" '
            f'lang="{e.lang}" role="img" aria-label="{markup.html(_description(e))}">\n'
            f'<style>{COLOURS}{_STYLE}</style>\n<defs>{_markers(key)}</defs>\n'
            + "\n".join(parts) + "\n</svg>")


def _place(diagram: Diagram, vertical: bool, legend: bool) -> _Layout:
    beside, ahead = (axis[vertical] for axis in (_BESIDE, _AHEAD))
    across, along = (_BOX_WIDTH, _BOX_HEIGHT) if vertical else (_BOX_HEIGHT, _BOX_WIDTH)
    extents = [len(c.boxes) * (across + beside) - beside + (0 if not c.more else 0 if vertical else 20)
               for c in diagram.columns]
    widest = max(extents)
    centres, columns, more = {}, {}, []
    folded = 16 if vertical and any(c.more for c in diagram.columns) else 0
    for k, column in enumerate(diagram.columns):
        a = _MARGIN + along / 2 + k * (along + ahead + folded)
        start = _MARGIN + (widest - extents[k]) / 2
        for i, box in enumerate(column.boxes):
            c = start + across / 2 + i * (across + beside)
            centres[box.id], columns[box.id] = ((c, a) if vertical else (a, c)), k
        if column.more:
            end = start + len(column.boxes) * (across + beside) - beside
            more.append((_MARGIN + widest / 2, a + along / 2 + 16, column.more) if vertical
                        else (a, end + 17, column.more))
    length = 2 * _MARGIN + len(diagram.columns) * (along + ahead + folded) - ahead
    breadth = 2 * _MARGIN + widest
    width, height = (max(breadth, 330), length) if vertical else (max(length, 420), breadth)
    if vertical and breadth < width:
        shift = (width - breadth) / 2
        centres = {b: (x + shift, y) for b, (x, y) in centres.items()}
        more = [(x + shift, y, n) for x, y, n in more]
    height += _LEGEND * (3 if vertical else 1) if legend else 0
    return _Layout(width, height, centres, columns, more, vertical)


def _box(box: Box, layout: _Layout, digits: int) -> str:
    x, y = layout.centres[box.id]
    left, top = x - _BOX_WIDTH / 2, y - _BOX_HEIGHT / 2
    slope = "" if box.gradient is None else (
        f'<text class="slope" x="{x:g}" y="{top + 54:g}" text-anchor="middle">∂ {number(box.gradient, digits)}</text>')
    corner = 6 if box.kind in ("input", "constant", "weight") else 16
    value = "" if box.kind == "constant" else (
        f'<text class="value" x="{x:g}" y="{top + 37:g}" text-anchor="middle">{number(box.value, digits)}</text>')
    return (f'<g class="box {box.kind}{" chain" * box.chain}" data-box="{box.id}"><rect x="{left:g}" y="{top:g}" '
            f'width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="{corner}"/><text class="name" x="{x:g}" y="{top + 19:g}" '
            f'text-anchor="middle">{markup.html(str(box.symbol))}</text>{value}{slope}</g>')


def _edge(edge: Edge, e: Derivation, layout: _Layout, key: str, digits: int) -> str:
    points = _curve(edge, layout)
    path = "M" + ("L" if len(points) == 2 else "C").join(
        " ".join(f"{x:g} {y:g}" for x, y in part) for part in (points[:1], points[1:]))
    return (f'<g class="edge{" chain" * edge.chain}" data-edge="{edge.source}>{edge.target}"><path d="{path}" '
            f'marker-end="url(#fbp-{key}{"-chain" * edge.chain})"/>{_labels(edge, e, layout, points, digits)}</g>')


def _curve(edge: Edge, layout: _Layout) -> list[_Point]:
    """Return start and end of a line, with two control points between where it swings around layers it skips."""
    (x1, y1), (x2, y2) = layout.centres[edge.source], layout.centres[edge.target]
    if layout.vertical:
        y1, y2 = y1 + _BOX_HEIGHT / 2, y2 - _BOX_HEIGHT / 2 - 2
    else:
        x1, x2 = x1 + _BOX_WIDTH / 2, x2 - _BOX_WIDTH / 2 - 2
    if layout.columns[edge.target] - layout.columns[edge.source] <= 1:
        return [(x1, y1), (x2, y2)]
    if layout.vertical:
        return [(x1, y1), (layout.width - 4, y1 + 20), (layout.width - 4, y2 - 20), (x2, y2)]
    return [(x1, y1), (x1 + 60, 4), (x2 - 60, 4), (x2, y2)]


def _point(points: list[_Point], t: float) -> _Point:
    if len(points) == 1:
        return points[0]
    between = [(a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])) for a, b in pairwise(points)]
    return _point(between, t)


def _labels(edge: Edge, e: Derivation, layout: _Layout, points: list[_Point], digits: int) -> str:
    """Name a weight with its value; write the derivative beside lines of the chain, where it may be the weight."""
    column = layout.columns[edge.target]
    alike = [other for other in e.diagram.edges if layout.columns[other.target] == column]
    crowded = sum(other.weight is not None for other in alike) > _LABELLED
    name = "" if edge.weight is None else markup.html(str(edge.weight.symbol))
    value = "" if edge.weight is None else number(edge.weight.value, digits)
    converging = sum(other.target == edge.target for other in alike) > 1
    lines = []
    if edge.gradient is not None:
        lines = [(f'{name} <tspan class="value">{value}</tspan>', ""), (f"∂ {number(edge.gradient, digits)}", "slope")]
    elif edge.weight is not None and edge.local is not None:
        slope = f'<tspan class="slope">×</tspan><tspan class="value local">{value}</tspan>'
        lines = [(name, ""), (slope, "")] if layout.vertical else [(f"{name} {slope}", "")]
        lines = lines[-1:] if crowded and layout.vertical else [(slope, "")] if crowded else lines
    elif edge.weight is not None and not crowded:
        lines = [(name if layout.vertical else f'{name} <tspan class="value">{value}</tspan>', "")]
    elif edge.local is not None and edge.local != 1:
        lines = [(f"×{number(edge.local, digits)}", "slope")]
    wide = edge.gradient is not None and crowded
    beside = layout.vertical and not edge.chain and edge.weight is not None
    x, y = _point(points, 0.62 if beside else 0.34 if converging and len(points) == 2 and not wide else 0.5)
    level = not layout.vertical and len(points) == 2 and abs(points[0][1] - points[1][1]) < 8
    first = y - 6 if level else y - 14 * (len(lines) - 1) / 2 + 4
    step = 20 if level else 15
    return "".join(f'<text class="{css}" x="{x:g}" y="{first + i * step:g}" text-anchor="middle">{label}</text>'
                   for i, (label, css) in enumerate(lines))


def _legend(e: Derivation, layout: _Layout) -> str:
    entries = [("value", say("legend_forward", e.lang)),
               ("slope", "∂ " + say("legend_backward", e.lang, target=e.target.symbol)),
               ("", say("legend_chain", e.lang, source=e.source.symbol))]
    parts = []
    for k, (css, text) in enumerate(entries):
        x = _MARGIN + (0 if layout.vertical else sum(36 + _width(t) for _, t in entries[:k]))
        y = layout.height - 10 - (0 if not layout.vertical else (2 - k) * 22)
        mark = (f'<rect x="{x:g}" y="{y - 10:g}" width="12" height="12" rx="2"/>' if not css else
                f'<circle cx="{x + 6:g}" cy="{y - 4:g}" r="5" style="fill: var(--{css})"/>')
        parts.append(f'<g class="legend{" chain" * (not css)}">{mark}<text class="{css}" x="{x + 18:g}" y="{y:g}">'
                     f"{markup.html(text)}</text></g>")
    return "".join(parts)


def _width(text: str) -> float:
    return sum(12 if c > "\u1100" else 7 for c in text)


def _markers(key: str) -> str:
    return "".join(f'<marker id="fbp-{key}{"-" * bool(css)}{css}" class="{css}" viewBox="0 0 8 8" refX="7" refY="4" '
                   'markerUnits="userSpaceOnUse" markerWidth="9" markerHeight="9" orient="auto">'
                   '<path d="M0 0L8 4L0 8z"/></marker>' for css in ("", "chain"))


def _description(e: Derivation) -> str:
    boxes = [b for column in e.diagram.columns for b in column.boxes]
    values = ", ".join(f"{b.symbol} = {number(b.value, 4)}" for b in boxes if b.kind != "constant")
    chain = ", ".join(f"∂{e.target.symbol}/∂{b.symbol} = {number(b.gradient, 4)}" for b in boxes
                      if b.chain and b.gradient is not None)
    return say("picture", e.lang, values=values, chain=chain)
