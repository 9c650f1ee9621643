"""The computational graph as an SVG picture: values forward in one colour, derivatives backward in another.

Columns run from left to right or, for narrow screens, rows from top to bottom. Colours come from custom properties
with a light and a dark set, so the picture follows its surroundings; a derivative also carries the sign ∂, so nothing
depends on colour alone.
"""

from __future__ import annotations

from collections import Counter

from fastbp.views import drawing, markup
from fastbp.views.drawing import at
from fastbp.views.explanations.parts import Box, Derivation, Edge
from fastbp.views.explanations.phrases import say
from fastbp.views.explanations.placement import BOX_HEIGHT, BOX_WIDTH, MARGIN, Label, Placement, Seat
from fastbp.views.explanations.symbols import Symbol, number

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
.fbp-graph .slope, .fbp-graph .total, .fbp-graph .chain .local { fill: var(--slope); }
.fbp-graph .more { fill: var(--muted); font-size: 12px; }
.fbp-graph rect { fill: var(--box); stroke: var(--line); }
.fbp-graph .chain rect { fill: var(--chain-box); stroke: var(--chain); stroke-width: 2; }
.fbp-graph path { fill: none; stroke: var(--line); stroke-width: 1; }
.fbp-graph .edge.chain path { stroke: var(--chain); stroke-width: 2.5; }
.fbp-graph marker path { fill: var(--line); stroke: none; }
.fbp-graph marker.chain path { fill: var(--chain); }
.fbp-graph .label text { font-size: 12px; paint-order: stroke; stroke: var(--bg); stroke-width: 5px;
  stroke-linejoin: round; }
"""

# Lines to a column are labelled with their weights if there are no more than so many.
_LABELLED = 6
# Signs of a name that fit into a box, and beside a line.
_NAME, _WEIGHT_NAME = 12, 16


def picture(e: Derivation, vertical: bool = False, digits: int = 4, legend: bool = True) -> str:
    """Return the picture of an explanation."""
    labels = _labels(e, vertical, digits)
    placed = Placement(e.diagram, labels, vertical)
    key = f"{'v' if vertical else 'h'}-{''.join(c for c in str(e.source.symbol) if c.isalnum())}"
    width, height, entries = placed.width, placed.height, _legend(e, vertical, placed.height) if legend else []
    for _, right, bottom in entries:
        width, height = max(width, right), max(height, bottom)
    seats = zip(e.diagram.edges, labels, placed.seats(), strict=True)
    parts = [f"<defs>{_markers(key)}</defs>",
             *(_line(edge, placed.path(i), key) for i, edge in enumerate(e.diagram.edges)),
             *(_box(box, *placed.centres[box.id], digits) for box in e.diagram.boxes),
             *(_label(edge, label, seat) for edge, label, seat in seats if label is not None),
             *(drawing.text(x, y, f"⋮ {say('more_units', e.lang, count=n)}", "more") for x, y, n in placed.more),
             *(entry for entry, _, _ in entries)]
    return drawing.frame("fbp-graph", width, height, COLOURS + _STYLE, parts, lang=e.lang, aria_label=_description(e))


def _line(edge: Edge, path: str, key: str) -> str:
    return (f'<g class="edge{" chain" * edge.chain}" data-edge="{markup.html(edge.name)}"><path d="{path}" '
            f'marker-end="url(#fbp-{key}{"-chain" * edge.chain})"/></g>')


def _box(box: Box, x: float, y: float, digits: int) -> str:
    left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
    corner = 6 if box.kind in ("input", "constant", "weight") else 16
    name = str(box.symbol)
    full = f"<title>{markup.html(name)}</title>" if len(name) > _NAME else ""
    texts = [drawing.text(x, top + 19, _short(name, _NAME), "name")]
    if box.kind != "constant":
        texts.append(drawing.text(x, top + 37, number(box.value, digits), "value"))
    if box.gradient is not None:
        texts.append(drawing.text(x, top + 54, f"∂ {number(box.gradient, digits)}", "slope"))
    return (f'<g class="box {box.kind}{" chain" * box.chain}" data-box="{box.id}">{full}<rect x="{at(left)}" '
            f'y="{at(top)}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="{corner}"/>{"".join(texts)}</g>')


def _short(name: str, limit: int) -> str:
    """Return a name as it is drawn: long ones are cut off."""
    return markup.html(name if len(name) <= limit else name[:limit - 1] + "…")


# ---- labels of lines -------------------------------------------------------------------------------------------------


def _labels(e: Derivation, vertical: bool, digits: int) -> list[Label | None]:
    """Name a weight with its value; write the derivative beside lines of the chain, where it may be the weight."""
    column = {box.id: k for k, c in enumerate(e.diagram.columns) for box in c.boxes}
    weights = Counter(column[edge.target] for edge in e.diagram.edges if edge.weight is not None)
    return [_of_edge(edge, weights[column[edge.target]] > _LABELLED, vertical, digits) for edge in e.diagram.edges]


def _of_edge(edge: Edge, crowded: bool, vertical: bool, digits: int) -> Label | None:
    if edge.weight is None:
        slope = None if edge.local is None or edge.local == 1 else number(edge.local, digits)
        return None if slope is None else _made((f"×{slope}", f"×{slope}", "slope"))
    name, value = _named(edge.weight.symbol), number(edge.weight.value, digits)
    named = (f'{name[0]} <tspan class="value">{value}</tspan>', f"{name[1]} {value}", "")
    if edge.gradient is not None:
        total = f"∂ {number(edge.gradient, digits)}"
        return _made(named, (total, total, "total"))
    if edge.local is not None:
        times = (f'<tspan class="slope">×</tspan><tspan class="value local">{value}</tspan>', f"×{value}", "")
        if crowded:
            return _made(times)
        if vertical:
            return _made((*name, ""), times)
        return _made((f"{name[0]} {times[0]}", f"{name[1]} {times[1]}", ""))
    return None if crowded else _made((*name, "") if vertical else named)


def _named(symbol: Symbol) -> tuple[str, str]:
    """Return a weight's name as markup, and as plain text."""
    name = str(symbol)
    return _short(name, _WEIGHT_NAME), name[:_WEIGHT_NAME]


def _made(*lines: tuple[str, str, str]) -> Label:
    return Label(tuple((content, css) for content, _, css in lines), max(_width(plain) for _, plain, _ in lines))


def _label(edge: Edge, label: Label, seat: Seat) -> str:
    texts = "".join(drawing.text(seat.x, seat.y + k * seat.step, content, css)
                    for k, (content, css) in enumerate(label.lines))
    return f'<g class="edge label{" chain" * edge.chain}" data-edge="{markup.html(edge.name)}">{texts}</g>'


# ---- around the graph ------------------------------------------------------------------------------------------------


def _legend(e: Derivation, vertical: bool, top: float) -> list[tuple[str, float, float]]:
    """Return the entries of the legend, each with its right and lower end."""
    target, source = (_short(str(q.symbol), _WEIGHT_NAME) for q in (e.target, e.source))
    entries = [("value", say("legend_forward", e.lang)),
               ("slope", "∂ " + say("legend_backward", e.lang, target=target)),
               ("", say("legend_chain", e.lang, source=source))]
    found, x, y = [], float(MARGIN), top + 20
    for css, label in entries:
        mark = (f'<rect x="{at(x)}" y="{at(y - 10)}" width="12" height="12" rx="2"/>' if not css else
                f'<circle cx="{at(x + 6)}" cy="{at(y - 4)}" r="5" style="fill: var(--{css})"/>')
        right = x + 18 + _width(label) + MARGIN
        found.append((f'<g class="legend{" chain" * (not css)}">{mark}'
                      f'{drawing.text(x + 18, y, label, css, anchor="")}</g>', right, y + 10))
        x, y = (x, y + 22) if vertical else (right + 4, y)
    return found


def _width(text: str) -> float:
    """Return how wide a text of 12 or 13 pixels may be."""
    return sum(10.2 if c in "×−∂≈…" else 13 if c > "\u1100" and not "\u2000" <= c <= "\u2e7f" else 7.4 for c in text)


def _markers(key: str) -> str:
    return "".join(f'<marker id="fbp-{key}{"-" * bool(css)}{css}" class="{css}" viewBox="0 0 8 8" refX="7" refY="4" '
                   'markerUnits="userSpaceOnUse" markerWidth="9" markerHeight="9" orient="auto">'
                   '<path d="M0 0L8 4L0 8z"/></marker>' for css in ("", "chain"))


def _description(e: Derivation) -> str:
    values = ", ".join(f"{b.symbol} = {number(b.value, 4)}" for b in e.diagram.boxes if b.kind != "constant")
    chain = ", ".join(f"∂{e.target.symbol}/∂{b.symbol} = {number(b.gradient, 4)}" for b in e.diagram.boxes
                      if b.chain and b.gradient is not None)
    return say("picture", e.lang, values=values, chain=chain)
