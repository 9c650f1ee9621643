"""How good the predictions for a table are: figures as text, a leaderboard, and which columns matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any

import numpy as np

from fastbp.commands.confusion import confusion_table
from fastbp.estimators.tabular.columns import Column
from fastbp.estimators.tabular.tabular_classifier import TabularClassifier
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


def judged(model: Any, columns: Mapping[str, Column], actual: Array) -> Judged:
    """Return what a model predicts for rows whose target is known."""
    if isinstance(model, TabularClassifier):
        return Judged(actual, model.predict_proba(columns), model.classes_.tolist())
    return Judged(actual, model.predict(columns), None)


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


# ---- the leaderboard -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One model of a leaderboard."""

    name: str
    rows: Judged
    seconds: float


def compared(model: Any, train: Mapping[str, Column], y: Array, test: Mapping[str, Column], actual: Array,
             seconds: float) -> list[Entry]:
    """Return the model beside a linear one and scikit-learn's boosting, on the same rows, the best first."""
    entries = [Entry("fastbp", judged(model, test, actual), seconds)]
    entries += [_entry("linear model", *_linear(model, train, test), y, actual),
                _entry("HistGradientBoosting", *_boosting(model, train, test), y, actual)]
    return sorted(entries, key=lambda e: e.rows.error())


def _entry(name: str, estimator: Any, X: Array, test: Array, y: Array, actual: Array) -> Entry:
    start = process_time()
    estimator.fit(X, y)
    seconds = process_time() - start
    if hasattr(estimator, "predict_proba"):
        return Entry(name, Judged(actual, estimator.predict_proba(test), estimator.classes_.tolist()), seconds)
    return Entry(name, Judged(actual, estimator.predict(test), None), seconds)


def _linear(model: Any, train: Mapping[str, Column], test: Mapping[str, Column]) -> tuple[Any, Array, Array]:
    from sklearn.linear_model import LogisticRegression, RidgeCV
    fold = model.committee_.folds[0]
    X, Z = (np.hstack([e.numbers, e.flags]) for e in (fold.encode(c, _rows(c)) for c in (train, test)))
    if isinstance(model, TabularClassifier):
        return LogisticRegression(max_iter=1000), X, Z
    return RidgeCV(np.logspace(-2, 4, 13)), X, Z


def _boosting(model: Any, train: Mapping[str, Column], test: Mapping[str, Column]) -> tuple[Any, Array, Array]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    kind = HistGradientBoostingClassifier if isinstance(model, TabularClassifier) else HistGradientBoostingRegressor
    used = {name for fold in model.committee_.folds for name in fold.schema.names}
    names = [name for name in model.column_kinds_ if name in used]
    categorical = [model.column_kinds_[n] == "category" for n in names]
    levels = {n: _frequent(train[n]) for n in names if model.column_kinds_[n] == "category"}
    X, Z = (np.stack([_codes(c[n], levels[n]) if n in levels else c[n].values for n in names], axis=1)
            for c in (train, test))
    return kind(random_state=0, categorical_features=categorical), X, Z


def _frequent(column: Column) -> dict[str, int]:
    """Return the numbers of the most frequent levels, as many as boosting takes."""
    counts = np.bincount(column.values[column.values >= 0], minlength=len(column.levels))
    return {column.levels[i]: n for n, i in enumerate(np.argsort(-counts, kind="stable")[:250].tolist())}


def _codes(column: Column, numbers: Mapping[str, int]) -> Array:
    table = np.array([*(numbers.get(level, np.nan) for level in column.levels), np.nan])
    return np.asarray(table[column.values])


def _rows(columns: Mapping[str, Column]) -> int:
    return len(next(iter(columns.values())).values)


def leaderboard(entries: Sequence[Entry]) -> str:
    """Return a leaderboard as text."""
    classes = entries[0].rows.classes is not None
    width = max(len(e.name) for e in entries)
    lines = [f"  {'model':<{width}}  {'log loss   accuracy' if classes else 'RMSE      '}   CPU seconds of fit"]
    for e in entries:
        shown = f"{e.rows.error():<8.4f}   {e.rows.accuracy():<8.2%}" if classes else f"{e.rows.error():<10.5g}"
        lines.append(f"  {e.name:<{width}}  {shown}   {e.seconds:.2f}")
    return "\n".join(lines)


# ---- columns ---------------------------------------------------------------------------------------------------------


def importances(model: Any, columns: Mapping[str, Column], actual: Array, seed: int,
                most: int = 2000) -> dict[str, float]:
    """Return how much larger the error is where a column's rows are shuffled, the most important first.

    Breiman (2001), https://doi.org/10.1023/A:1010933404324.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(actual))[:most])
    columns, actual = {n: c.take(rows) for n, c in columns.items()}, actual[rows]
    base = judged(model, columns, actual).error()
    used = {name for fold in model.committee_.folds for name in fold.schema.names}
    shuffled = {name: {**columns, name: columns[name].take(rng.permutation(len(rows)))} for name in columns
                if name in used}
    found = {name: judged(model, each, actual).error() - base for name, each in shuffled.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))
