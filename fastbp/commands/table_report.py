"""How good a model for tables is: beside others on a leaderboard, and which columns matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any

import numpy as np

from fastbp.commands.figures import Judged
from fastbp.datasets.columns import Column
from fastbp.estimators.tabular.tabular_classifier import TabularClassifier
from fastbp.ops.base import Array


def judged(model: Any, columns: Mapping[str, Column], actual: Array) -> Judged:
    """Return what a model predicts for rows whose target is known."""
    if isinstance(model, TabularClassifier):
        return Judged(actual, model.predict_proba(columns), model.classes_.tolist())
    return Judged(actual, model.predict(columns), None)


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
