r"""Why one row is predicted as it is: what each column adds, by the chain rule.

Between a baseline b (medians, the usual level of each column) and the row x the output F is followed along a straight
line; a feature adds what F changes along it through that feature alone:

.. math:: F(x) - F(b) = \sum_j (x_j - b_j) \int_0^1 \frac{\partial F}{\partial x_j}(b + t (x - b))\, dt

These are integrated gradients, Sundararajan, Taly and Yan (2017), https://arxiv.org/abs/1703.01365. The integral is a
mean over midpoints, the gradients are those of backpropagation; the parts of a column, its number, its place among bins
and its flags, are added up. What the midpoints miss of the integral is given too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from fastbp.datasets.columns import Column
from fastbp.estimators.tabular.committee import Committee, Fold
from fastbp.estimators.tabular.member_network import Architecture, on_vectors, vectors_of
from fastbp.estimators.tabular.schema import Encoded
from fastbp.network import Network
from fastbp.ops.base import Array

STEPS = 64
_MOST_SHOWN = 20

Slope = Callable[[Array], tuple[Array, Array]]
"""From outputs (N, members, outputs) to F (N,) and its gradient of their shape."""


@dataclass(frozen=True)
class RowExplanation:
    """What each column adds to one prediction.

    Attributes
    ----------
    what : str
        What is explained, such as ``price`` or ``log odds of 'yes'``.
    output, baseline : float
        For the row, and for a row of medians and usual levels.
    columns : tuple of (str, str, float)
        Name, value and what it adds, the largest first.
    missed : float
        What is left of ``output - baseline``: the error of the integral.
    """

    what: str
    output: float
    baseline: float
    columns: tuple[tuple[str, str, float], ...]
    missed: float

    def __str__(self) -> str:
        shown = self.columns[:_MOST_SHOWN]
        left, middle = max([len(c[0]) for c in shown] + [0]), max([len(c[1]) for c in shown] + [0])
        lines = [f"{self.what}: {self.output:.6g}, against {self.baseline:.6g} for medians and usual levels"]
        lines += [f"  {name:<{left}}  {value:<{middle}}  {adds:+.4g}" for name, value, adds in shown]
        if len(self.columns) > len(shown):
            rest = sum(adds for *_, adds in self.columns[len(shown):])
            lines.append(f"  {len(self.columns) - len(shown)} other columns: {rest:+.4g}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"RowExplanation({self.what}: {self.output:.6g}, {len(self.columns)} columns)"

    def html(self) -> str:
        """Return a table with bars as HTML."""
        most = max([abs(adds) for *_, adds in self.columns] + [1e-300])
        rows = []
        for name, value, adds in self.columns[:_MOST_SHOWN]:
            width, color = 120 * abs(adds) / most, "#2a78d6" if adds >= 0 else "#d55e00"
            x = 130 if adds >= 0 else 130 - width
            bar = (f'<svg width="260" height="14" role="img"><rect x="{x:.1f}" y="2" width="{width:.1f}" height="10" '
                   f'fill="{color}"/><path d="M130 0V14" stroke="#888"/></svg>')
            rows.append(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td><td>{bar}</td><td>{adds:+.4g}</td></tr>")
        return (f"<table><caption>{escape(self.what)}: {self.output:.6g}, against {self.baseline:.6g} for medians and "
                f"usual levels</caption><tr><th>column</th><th>value</th><th></th><th>adds</th></tr>{''.join(rows)}"
                "</table>")

    def _repr_html_(self) -> str:
        return self.html()


def as_table(X: Any) -> Any:
    """Return a row as a table of one row; tables as they are.

    >>> as_table({"size": 1.5, "city": "Bern"})
    {'size': [1.5], 'city': ['Bern']}
    """
    if hasattr(X, "index") and hasattr(X, "items") and not hasattr(X, "columns"):       # a Series of pandas
        X = dict(X.items())
    if isinstance(X, Mapping):
        return {name: [value] if isinstance(value, str) or np.ndim(value) == 0 else value for name, value in X.items()}
    if isinstance(X, np.ndarray | list | tuple) and np.ndim(np.asarray(X, object)) == 1:
        return [list(X)]
    return X


def explain(committee: Committee, row: Mapping[str, Column], what: str, slope: Slope) -> RowExplanation:
    """Return what each column of one row adds to the committee's output."""
    added: dict[str, float] = dict.fromkeys(row, 0.0)
    output = baseline = 0.0
    for fold in committee.folds:
        for share, net in zip(committee.shares.tolist(), fold.nets, strict=True):
            weight = share / len(committee.folds)
            begin, end, parts = _along(fold, net, row, slope)
            output, baseline = output + weight * end, baseline + weight * begin
            for name, part in parts.items():
                added[name] += weight * part
    columns = sorted(((name, _shown(row[name]), adds) for name, adds in added.items()), key=lambda c: -abs(c[2]))
    return RowExplanation(what, output, baseline, tuple(columns), output - baseline - sum(added.values()))


def _along(fold: Fold, net: Network, row: Mapping[str, Column], slope: Slope) -> tuple[float, float, dict[str, float]]:
    """Return the output at the baseline and at the row, and what each column adds in between."""
    encoded = fold.encode(row, 1)
    inputs = _real(net, fold.architecture, encoded)
    bases = _real(net, fold.architecture, fold.schema.baseline() if fold.schema.plans else encoded)
    net = on_vectors(net, fold.architecture)
    t = ((np.arange(STEPS) + 0.5) / STEPS)[:, None]
    points = tuple((b + t * (x - b)).astype(np.float32) for x, b in zip(inputs, bases, strict=True))
    _, gradient = slope(np.asarray(net.forward(points, training=True)))
    slopes = net.backward(gradient.astype(np.float32))
    (begin,), _ = slope(np.asarray(net.predict(tuple(bases))))
    (end,), _ = slope(np.asarray(net.predict(tuple(inputs))))
    owners = fold.schema.owners()
    owners["ids"] = [name for name in owners["ids"] for _ in range(fold.architecture.category_size)]
    of_inputs = fold.architecture.kinds()
    found: dict[str, float] = {}
    for x, b, s, kind in zip(inputs, bases, slopes, of_inputs, strict=True):
        each = (x - b)[0].astype(np.float64) * np.mean(s, axis=0, dtype=np.float64)
        for name, value in zip(owners[kind], each.tolist(), strict=False):
            found[name] = found.get(name, 0.0) + value
    return float(begin), float(end), found


def _real(net: Network, architecture: Architecture, rows: Encoded) -> list[Array]:
    """Return the inputs of a network, levels as their vectors."""
    return [vectors_of(net, given) if kind == "ids" else given
            for kind, given in zip(architecture.kinds(), architecture.inputs(rows), strict=True)]


def _shown(column: Column) -> str:
    """Return the value of a column of one row."""
    value = column.values[0]
    if column.kind == "category":
        return column.levels[int(value)] if value >= 0 else "(missing)"
    if np.isnan(value):
        return "(missing)"
    if column.kind == "date":
        return str(np.datetime64(round(float(value) * 86_400), "s"))
    return f"{float(value):.6g}"
