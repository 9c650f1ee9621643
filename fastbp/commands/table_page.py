"""A report on a model of a table as one HTML page: no script, no other file, pictures drawn as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from fastbp.commands.figures import Judged, counted, figures
from fastbp.commands.table_report import Entry
from fastbp.ops.base import Array

_MOST_SHOWN = 20
_MOST_CLASSES = 12
_MOST_POINTS = 1500
_SIZE, _MARGIN = 320, 44
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color-scheme: light dark; color: light-dark(#1b1f24, #dfe4ea); background: light-dark(#fff, #15181c); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; }
td, th { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #8884; }
td:first-child, th:first-child { text-align: left; }
pre { overflow-x: auto; } svg { max-width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; } .axis { stroke: #888; fill: none; }
.mark { fill: #2a78d6; } .line { stroke: #2a78d6; fill: none; stroke-width: 2; }
.guide { stroke: #888; stroke-dasharray: 4 4; }
"""


def page(table: str, target: str, model: Any, rows: Judged, entries: Sequence[Entry],
         importances: Mapping[str, float]) -> str:
    """Return the page."""
    classes = rows.classes is not None
    parts = [f"<h1>{escape(target)}, predicted from {escape(table)}</h1>",
             f"<p>{'Classification' if classes else 'Regression'}; judged on {counted(len(rows.actual), 'row')} that "
             "training did not see.</p>", f"<pre>{escape(figures(rows, 'test row'))}</pre>"]
    if entries:
        parts.append("<h2>Beside other models</h2>" + _board(entries))
    parts.append("<h2>Columns that matter</h2><p>How much larger the "
                 f"{'log loss' if classes else 'root mean squared error'} is where a column's rows are shuffled.</p>"
                 + _bars(dict(list(importances.items())[:_MOST_SHOWN])))
    if classes:
        parts.append("<h2>Calibration</h2><p>Of the rows that were given a probability, the share that it came true "
                     "for.</p>" + _calibration(rows))
        if len(rows.classes or []) <= _MOST_CLASSES and (rows.known >= 0).all():
            parts.append("<h2>Confusion</h2><p>Actual classes in rows, predicted ones in columns.</p>"
                         + _confusion(rows))
    else:
        parts.append("<h2>Predicted and actual</h2>" + _scatter(rows.actual, rows.predicted, "actual", "predicted",
                                                                True))
        parts.append("<h2>Errors</h2>" + _scatter(rows.predicted, rows.predicted - rows.actual, "predicted",
                                                  "predicted − actual", False))
    parts.append("<h2>Training</h2><p>The error on rows held out, after each epoch.</p>" + _curve(model.scores_))
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width='
            f'device-width, initial-scale=1"><title>{escape(target)}</title><style>{_STYLE}</style></head>\n<body>'
            + "\n".join(parts) + "</body></html>\n")


def _board(entries: Sequence[Entry]) -> str:
    classes = entries[0].rows.classes is not None
    head = ("<th>log loss</th><th>accuracy</th>" if classes else "<th>RMSE</th>") + "<th>CPU seconds of fit</th>"
    body = "".join(
        f"<tr><td>{escape(e.name)}</td><td>{e.rows.error():.5g}</td>"
        + (f"<td>{e.rows.accuracy():.2%}</td>" if classes else "") + f"<td>{e.seconds:.2f}</td></tr>" for e in entries)
    return f"<table><tr><th>model</th>{head}</tr>{body}</table>"


def _bars(values: Mapping[str, float]) -> str:
    most = max([*values.values(), 1e-300])
    body = []
    for i, (name, value) in enumerate(values.items()):
        y, width = 24 * i, 300 * max(value, 0) / most
        body.append(f'<text x="190" y="{y + 16}" text-anchor="end">{escape(name[:28])}</text>'
                    f'<rect class="mark" x="200" y="{y + 4}" width="{width:.1f}" height="16"/>'
                    f'<text x="{206 + width:.1f}" y="{y + 16}">{value:.3g}</text>')
    return f'<svg viewBox="0 0 580 {24 * len(values) + 4}" width="580" role="img">{"".join(body)}</svg>'


def _frame(x: tuple[float, float], y: tuple[float, float], across: str, up: str, body: str) -> str:
    end = _MARGIN + _SIZE
    return (f'<svg viewBox="0 0 {end + 16} {end + 16}" width="{end + 16}" role="img">'
            f'<path class="axis" d="M{_MARGIN} 8V{_SIZE + 8}H{end}"/>'
            f'<text x="{_MARGIN}" y="{_SIZE + 24}">{x[0]:.3g}</text>'
            f'<text x="{end}" y="{_SIZE + 24}" text-anchor="end">{x[1]:.3g}</text>'
            f'<text x="{_MARGIN + _SIZE / 2}" y="{_SIZE + 42}" text-anchor="middle">{escape(across)}</text>'
            f'<text x="{_MARGIN - 4}" y="{_SIZE + 8}" text-anchor="end">{y[0]:.3g}</text>'
            f'<text x="{_MARGIN - 4}" y="18" text-anchor="end">{y[1]:.3g}</text>'
            f'<text transform="translate(12 {_SIZE / 2}) rotate(-90)" text-anchor="middle">{escape(up)}</text>'
            f"{body}</svg>")


def _places(x: Array, y: Array, xs: tuple[float, float], ys: tuple[float, float]) -> tuple[Array, Array]:
    across, up = ((v - ends[0]) / ((ends[1] - ends[0]) or 1) for v, ends in ((x, xs), (y, ys)))
    return _MARGIN + _SIZE * across, 8 + _SIZE * (1 - up)


def _range(values: Array) -> tuple[float, float]:
    return float(np.min(values)), float(np.max(values))


def _scatter(x: Array, y: Array, across: str, up: str, alike: bool) -> str:
    keep = np.random.default_rng(0).permutation(len(x))[:_MOST_POINTS]
    xs, ys = (_range(np.concatenate([x, y])),) * 2 if alike else (_range(x), _range(y))
    px, py = _places(x[keep], y[keep], xs, ys)
    points = "".join(f'<circle class="mark" cx="{a:.1f}" cy="{b:.1f}" r="2" opacity=".5"/>'
                     for a, b in zip(px, py, strict=True))
    ends = np.array(xs)
    gx, gy = _places(ends, ends if alike else np.zeros(2), xs, ys)
    guide = f'<path class="guide" d="M{gx[0]:.1f} {gy[0]:.1f}L{gx[1]:.1f} {gy[1]:.1f}"/>'
    guide = guide if alike or ys[0] <= 0 <= ys[1] else ""
    return _frame(xs, ys, across, up, guide + points)


def _calibration(rows: Judged) -> str:
    """Return a reliability diagram over all classes."""
    known = rows.known
    p = rows.predicted.reshape(-1)
    came = (np.arange(rows.predicted.shape[1]) == known[:, None]).reshape(-1)
    order = np.argsort(p, kind="stable")
    groups = np.array_split(order, min(10, len(order)))
    x, y = (np.array([v[g].mean() for g in groups]) for v in (p, came))
    px, py = _places(x, y, (0, 1), (0, 1))
    line = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(px, py, strict=True))
    dots = "".join(f'<circle class="mark" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in zip(px, py, strict=True))
    gx, gy = _places(np.array([0.0, 1.0]), np.array([0.0, 1.0]), (0, 1), (0, 1))
    guide = f'<path class="guide" d="M{gx[0]} {gy[0]}L{gx[1]} {gy[1]}"/>'
    return _frame((0, 1), (0, 1), "predicted probability", "share that came true",
                  f'{guide}<path class="line" d="{line}"/>{dots}')


def _confusion(rows: Judged) -> str:
    names = rows.classes or []
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (rows.known, rows.predicted.argmax(axis=1)), 1)
    head = "".join(f"<th>{escape(n)}</th>" for n in names)
    body = "".join(f"<tr><th>{escape(n)}</th>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>"
                   for n, row in zip(names, counts.tolist(), strict=True))
    return f"<table><tr><th></th>{head}</tr>{body}</table>"


def _curve(scores: Sequence[float]) -> str:
    y, x = np.array(scores), np.arange(1, len(scores) + 1, dtype=float)
    xs, ys = (1.0, float(max(len(scores), 2))), _range(y)
    px, py = _places(x, y, xs, ys)
    return _frame(xs, ys, "epoch", "error", '<path class="line" d="M'
                  + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(px, py, strict=True)) + '"/>')
