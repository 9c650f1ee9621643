"""The table of a network as HTML, for notebooks: it takes the colours of the page, light or dark."""

from __future__ import annotations

from fastbp.engine.executable import Executable
from fastbp.views import markup
from fastbp.views.report import summary_rows, summary_totals


def summary_html(net: Executable) -> str:
    """Return the table of layers, shapes, parameters and memory.

    Examples
    --------
    >>> import fastbp as fb
    >>> "Linear(2, 1)" in summary_html(fb.Sequential(fb.Linear(2, 1), backend="reference"))
    True
    """
    return markup.html_table(repr(net), summary_rows(net), right=(3,), notes=summary_totals(net))
