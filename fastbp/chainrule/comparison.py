"""The demonstration: numerical gradients against backpropagation, counted and timed as the number of weights grows.

A central difference costs two forward passes for each weight. Backpropagation costs one forward and one backward pass
for all of them, whatever their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from fastbp.core.checks import count
from fastbp.engine.executable import BackendName
from fastbp.layers import Linear, Tanh
from fastbp.network import Sequential
from fastbp.objectives.losses import MSE
from fastbp.views.explanations.phrases import Language, language, say
from fastbp.views.explanations.picture import COLOURS
from fastbp.views.gradcheck import numerical_gradient


@dataclass(frozen=True)
class Row:
    """One network.

    Attributes
    ----------
    weights : int
    passes : int
        Forward passes of the numerical gradient.
    numerical, backward : float
        Seconds for all gradients.
    difference : float
        The largest difference of the two, relative to the largest gradient.
    measured : int
        Weights that were probed; the seconds are scaled up where these are not all.
    """

    weights: int
    passes: int
    numerical: float
    backward: float
    difference: float
    measured: int

    @property
    def ratio(self) -> float:
        """How many times as long the numerical gradient takes."""
        return self.numerical / self.backward


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` measured: a table when printed, and a plot."""

    rows: tuple[Row, ...]
    lang: Language = "en"

    def text(self) -> str:
        """Return the table."""
        keys = ("weights", "passes", "numerical", "backward", "ratio", "difference")
        lines = [[say(f"compare_{key}", self.lang) for key in keys]]
        for r in self.rows:
            estimated = "*" if r.measured < r.weights else ""
            lines.append([f"{r.weights:,}", f"{r.passes:,}", f"{r.numerical:.3g}{estimated}", f"{r.backward:.3g}",
                          f"{r.ratio:,.0f}×", f"{r.difference:.1e}"])
        widths = [max(map(_columns, column)) for column in zip(*lines, strict=True)]
        table = ["  ".join(" " * (w - _columns(cell)) + cell for w, cell in zip(widths, line, strict=True))
                 for line in lines]
        notes = [say("compare_estimated", self.lang, measured=f"{r.measured:,}") for r in self.rows[-1:]
                 if r.measured < r.weights]
        return "\n".join([say("compare_title", self.lang), "", *table, "", *notes, say("compare_result", self.lang)])

    def svg(self) -> str:
        """Return a plot of seconds against weights, both axes logarithmic."""
        return _plot(self)

    def __str__(self) -> str:
        return self.text()

    def _repr_svg_(self) -> str:
        return self.svg()


def compare(widths: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128), *, rows: int = 16, seconds: float = 1.0,
            backend: BackendName = "native", seed: int = 0, lang: Language = "en") -> Comparison:
    """Count and time both kinds of gradient for networks 8-w-w-1 with tanh, on a random batch, in float64.

    Parameters
    ----------
    widths : sequence of int
        The widths w.
    rows : int, default 16
        Samples in the batch.
    seconds : float, default 1.0
        Time for one numerical gradient. What would take longer is measured on evenly spread weights, scaled up and
        marked.
    backend : {"native", "reference"}
    seed : int
    lang : {"en", "ko"}

    Returns
    -------
    Comparison

    Examples
    --------
    >>> from fastbp.chainrule import compare
    >>> found = compare(widths=(2, 4), seconds=0.1, backend="reference")
    >>> [(r.weights, r.passes) for r in found.rows]
    [(27, 54), (61, 122)]
    """
    language(lang)
    if not widths or not 0 < seconds < float("inf"):
        raise ValueError(f"compare: widths is {widths!r}, seconds is {seconds!r}; expected widths, and a time above 0")
    return Comparison(tuple(_row(count("compare", "widths", w), rows, seconds, backend, seed) for w in widths), lang)


def _row(width: int, rows: int, seconds: float, backend: BackendName, seed: int) -> Row:
    net = Sequential(Linear(8, width), Tanh(), Linear(width, width), Tanh(), Linear(width, 1), dtype="float64",
                     seed=seed, backend=backend)
    rng = np.random.default_rng(seed)
    x, y, loss = rng.normal(size=(rows, 8)), rng.normal(size=(rows, 1)), MSE()
    backward = _time(lambda: net.loss_and_grad(x, y, loss))
    gradient = net.grads.flat.copy()
    forward = _time(lambda: net.loss(x, y, loss))
    weights = net.params.flat.size
    probed = np.unique(np.linspace(0, weights - 1, min(weights, max(1, int(seconds / (2 * forward))))).astype(int))

    def loss_at(values: Any) -> float:
        net.params.flat[probed] = values
        return net.loss(x, y, loss)

    before = net.params.flat[probed].copy()
    start = perf_counter()
    numerical = numerical_gradient(loss_at, before)
    elapsed = perf_counter() - start
    difference = float(np.max(np.abs(numerical - gradient[probed])) / np.max(np.abs(gradient)))
    return Row(weights, 2 * weights, elapsed * weights / len(probed), backward, difference, len(probed))


def _time(work: Any) -> float:
    """Return the median seconds of a call, warmed up."""
    work()
    found = []
    for _ in range(9):
        start = perf_counter()
        work()
        found.append(perf_counter() - start)
    return median(found)


def _columns(text: str) -> int:
    return sum(2 if "가" <= c <= "힣" else 1 for c in text)


_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 400, 76, 40, 54, 62


def _plot(found: Comparison) -> str:
    xs = [r.weights for r in found.rows]
    ys = [t for r in found.rows for t in (r.numerical, r.backward)]
    x_range, y_range = (floor(log10(min(xs))), ceil(log10(max(xs)))), (floor(log10(min(ys))), ceil(log10(max(ys))))

    def x(value: float) -> float:
        return _LEFT + (log10(value) - x_range[0]) / max(1, x_range[1] - x_range[0]) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (log10(value) - y_range[0]) / max(1, y_range[1] - y_range[0]) * (
            _HEIGHT - _TOP - _BOTTOM)

    parts = []
    for k in range(x_range[0], x_range[1] + 1):
        parts.append(f'<path class="grid" d="M{x(10**k):g} {_TOP}V{_HEIGHT - _BOTTOM}"/><text x="{x(10**k):g}" '
                     f'y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{10**k:,}</text>')
    for k in range(y_range[0], y_range[1] + 1):
        parts.append(f'<path class="grid" d="M{_LEFT} {y(10.0**k):g}H{_WIDTH - _RIGHT}"/><text x="{_LEFT - 8}" '
                     f'y="{y(10.0**k) + 4:g}" text-anchor="end">{10.0**k:g}</text>')
    for k, (css, attribute) in enumerate((("slope", "numerical"), ("value", "backward"))):
        points = [(x(r.weights), y(getattr(r, attribute))) for r in found.rows]
        parts.append(f'<path class="{css}" d="M' + "L".join(f"{a:g} {b:g}" for a, b in points) + '"/>')
        for a, b in points:
            parts.append(f'<rect class="{css}" x="{a - 4:g}" y="{b - 4:g}" width="8" height="8"/>' if k == 0 else
                         f'<circle class="{css}" cx="{a:g}" cy="{b:g}" r="4.5"/>')
        end = points[-1]
        parts.append(f'<text class="label {css}" x="{end[0] - 8:g}" y="{end[1] - 12:g}" text-anchor="end">'
                     f"{say(f'compare_line_{attribute}', found.lang)}</text>")
    parts.append(f'<text class="label" x="{_LEFT - 60}" y="26">{say("compare_seconds", found.lang)}</text>'
                 f'<text class="label" x="{(_LEFT + _WIDTH - _RIGHT) / 2:g}" y="{_HEIGHT - 14}" text-anchor="middle">'
                 f'{say("compare_axis", found.lang)}</text>')
    last = found.rows[-1]
    description = f"{say('compare_title', found.lang)}: {last.weights:,}, {last.numerical:.3g} s, {last.backward:.3g} s"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" class="fbp-graph" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'width="{_WIDTH}" height="{_HEIGHT}" lang="{found.lang}" role="img" aria-label="{description}">\n'
            f'<style>{COLOURS}{_STYLE}</style>\n<rect class="paper" width="{_WIDTH}" height="{_HEIGHT}"/>'
            + "\n".join(parts) + "\n</svg>")


_STYLE = """
.fbp-graph .paper { fill: var(--bg); }
.fbp-graph .grid { stroke: var(--line); stroke-width: .5; fill: none; }
.fbp-graph path.slope, .fbp-graph path.value { fill: none; stroke-width: 2.5; }
.fbp-graph path.slope { stroke: var(--slope); }
.fbp-graph path.value { stroke: var(--value); }
.fbp-graph .slope { fill: var(--slope); }
.fbp-graph .value { fill: var(--value); }
.fbp-graph text { fill: var(--ink); font-variant-numeric: tabular-nums; }
.fbp-graph .label { font-weight: 600; }
.fbp-graph text.slope { fill: var(--slope); }
.fbp-graph text.value { fill: var(--value); }
"""
