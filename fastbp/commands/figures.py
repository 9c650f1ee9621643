"""How good predictions are, as text: beside those of a model that knows the target alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastbp.commands.confusion import confusion_table
from fastbp.ops.base import Array

_MOST_SHOWN_CLASSES = 12
_LEAST_PROBABILITY = 1e-15


@dataclass(frozen=True)
class Judged:
    """Rows whose target is known, and what is predicted for them.

    Attributes
    ----------
    actual : array
        Labels as text, or numbers.
    predicted : array
        Probabilities (N, classes), or numbers (N,).
    classes : list of str or None
    """

    actual: Array
    predicted: Array
    classes: list[str] | None

    @property
    def known(self) -> Array:
        """The number of each row's class, -1 for one that training did not know."""
        places = {c: i for i, c in enumerate(self.classes or [])}
        return np.array([places.get(v, -1) for v in self.actual.tolist()])

    def error(self) -> float:
        """Return the log loss over the rows whose class is known, or the root mean squared error."""
        if self.classes is None:
            return float(np.sqrt(np.mean((self.predicted - self.actual) ** 2)))
        rows = np.flatnonzero(self.known >= 0)
        likely = self.predicted[rows, self.known[rows]]
        return float(-np.log(np.maximum(likely, _LEAST_PROBABILITY)).mean()) if len(rows) else float("nan")

    def accuracy(self) -> float:
        """Return the share of rows whose most likely class is theirs."""
        return float(np.mean(self.predicted.argmax(axis=1) == self.known))


def counted(count: int, what: str) -> str:
    """Return how many there are, in words.

    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {what}{'s' * (count != 1)}"


def figures(rows: Judged, what: str) -> str:
    """Return how good predictions are, beside those of a model that knows the target alone."""
    n = len(rows.actual)
    if rows.classes is None:
        error = rows.predicted - rows.actual
        spread = float(rows.actual.std())
        lines = [f"on {counted(n, what)}:",
                 f"  root mean squared error  {rows.error():.6g}  (always their mean: {spread:.6g})",
                 f"  mean absolute error      {np.abs(error).mean():.6g}"]
        if n > 1 and spread > 0:
            lines.append(f"  R²                       {1 - np.mean(error**2) / spread**2:.4f}")
        return "\n".join(lines)
    known = rows.known
    most = np.bincount(known[known >= 0], minlength=len(rows.classes)).max(initial=0) / n
    lines = [f"on {counted(n, what)}:",
             f"  accuracy  {rows.accuracy():.2%}  (always the most frequent class: {most:.2%})"]
    if (known >= 0).any():
        lines.append(f"  log loss  {rows.error():.4f}")
    if (known < 0).any():
        new = sorted({v for v, k in zip(rows.actual.tolist(), known, strict=True) if k < 0})
        lines.append(f"  {counted(int((known < 0).sum()), what)} with a class that training did not know: "
                     f"{', '.join(map(repr, new[:5]))}")
    elif len(rows.classes) <= _MOST_SHOWN_CLASSES:
        lines += ["", confusion_table(known, rows.predicted.argmax(axis=1), tuple(rows.classes))]
    return "\n".join(lines)
