"""The table of a network as HTML, for notebooks: it takes the colours of the page, light or dark."""

from __future__ import annotations

from fastbp.engine.executable import Executable
from fastbp.views import markup
from fastbp.views.report import summary_rows, summary_totals

_TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;color:inherit"
_CELL = "text-align:{};padding:3px 14px 3px 0;border-bottom:1px solid rgba(128,128,128,{});white-space:nowrap"


def summary_html(net: Executable) -> str:
    """Return the table of layers, shapes, parameters and memory.

    Examples
    --------
    >>> import fastbp as fb
    >>> "Linear(2, 1)" in summary_html(fb.Sequential(fb.Linear(2, 1), backend="reference"))
    True
    """
    heading, *rows = summary_rows(net)
    lines = [_row(heading, "th", 0.8), *(_row(row, "td", 0.25) for row in rows)]
    totals = "<br>".join(markup.html(line) for line in summary_totals(net))
    title = f'<div style="font-weight:600;margin-bottom:4px">{markup.html(repr(net))}</div>'
    return (f'<div style="line-height:1.4">{title}'
            f'<table style="{_TABLE}">{"".join(lines)}</table>'
            f'<div style="opacity:0.75;margin-top:6px">{totals}</div></div>')


def _row(cells: tuple[str, ...], tag: str, line: float) -> str:
    parts = [f'<{tag} style="{_CELL.format("right" if i == 3 else "left", line)}">{markup.html(cell)}</{tag}>'
             for i, cell in enumerate(cells)]
    return f'<tr style="background:none">{"".join(parts)}</tr>'
