"""The demonstration: numerical gradients against backpropagation, counted and timed as the number of weights grows.

A central difference costs two forward passes for each weight. Backpropagation costs one forward and one backward pass
for all of them, whatever their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from fastbp.core.checks import count
from fastbp.engine.executable import BackendName
from fastbp.layers import Linear, Tanh
from fastbp.network import Sequential
from fastbp.objectives.losses import MSE
from fastbp.views import plots
from fastbp.views.explanations.phrases import Language, language, say
from fastbp.views.gradcheck import numerical_gradient

# Fonts that have Korean letters, as Matplotlib names them; without any of them the plot is in English.
_KOREAN = ("Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans KR", "NanumGothic", "Malgun Gothic",
           "Apple SD Gothic Neo", "AppleGothic")


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


@dataclass(frozen=True, repr=False)
class Comparison:
    """What :func:`compare` measured: a table when printed, and a plot.

    Attributes
    ----------
    rows : tuple of Row
    lang : {"en", "ko"}
    """

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

    def plot(self, figure: Any = None) -> Any:
        """Draw seconds against weights, both axes logarithmic. Needs Matplotlib (``pip install 'fastbp[plot]'``).

        Parameters
        ----------
        figure : matplotlib Figure, optional

        Returns
        -------
        matplotlib Figure
        """
        fonts = _korean_fonts() if self.lang == "ko" else []
        lang = "ko" if fonts else "en"
        labels = [say(f"compare_{key}", lang) for key in ("axis", "seconds", "line_numerical", "line_backward")]
        figure = plots.gradient_cost([r.weights for r in self.rows], [r.numerical for r in self.rows],
                                     [r.backward for r in self.rows], figure, labels=labels)
        texts = [figure.axes[0].xaxis.label, figure.axes[0].yaxis.label, *figure.axes[0].get_legend().get_texts()]
        for text in texts if fonts else []:
            text.set_fontfamily([*fonts, "sans-serif"])
        return figure

    def svg(self) -> str:
        """Return the plot as an SVG picture."""
        file = StringIO()
        self.plot().savefig(file, format="svg")
        return file.getvalue()[file.getvalue().index("<svg"):]

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        first, last = self.rows[0], self.rows[-1]
        return (f"Comparison({len(self.rows)} networks, {first.weights:,} to {last.weights:,} weights: numerical "
                f"gradients take {first.ratio:,.0f} to {last.ratio:,.0f} times as long)")

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text())}</pre>"


def _korean_fonts() -> list[str]:
    """Return those fonts on this machine that have Korean letters."""
    try:
        from matplotlib.font_manager import fontManager
    except ImportError:
        return []  # the plot itself says what to install
    known = {font.name for font in fontManager.ttflist}
    return [name for name in _KOREAN if name in known]


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

