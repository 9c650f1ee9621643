"""``python -m fastbp predict`` with what ``train`` made of a table."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np

from fastbp.commands.figures import Judged, counted, figures
from fastbp.commands.output import rows_in_pieces, write_rows
from fastbp.datasets.columns import Column
from fastbp.datasets.table_files import Table, read_pieces
from fastbp.estimators.tabular.model_loading import estimator_of
from fastbp.estimators.tabular.schema import CategoryPlan
from fastbp.estimators.tabular.tabular_classifier import TabularClassifier
from fastbp.files.container import Contents
from fastbp.ops.base import Array


def run(contents: Contents, args: Namespace) -> None:
    """Read, predict, write. What is to be said besides goes to stderr."""
    model = estimator_of(contents)
    name, classes = model.target_name_, isinstance(model, TabularClassifier)
    if args.proba and not classes:
        raise ValueError(f"--proba is given, but the model predicts a number, {name!r}")
    pieces = (table.without(args.drop) for table in read_pieces(args.table))
    first = next(pieces)
    second = next(pieces, None)
    _tell_unknown(model, first)
    header = [name, *(f"probability of {c}" for c in model.classes_)] if args.proba else [name]
    if second is None:
        columns = _columns(model, first)
        for note in _notes(model, columns):
            print(note, file=sys.stderr)
        said = _said(model, columns)
        write_rows(args.output, header, _shown(model, said, args.proba))
        rows, actual = first.rows, _actual(first, name, classes)
    else:
        rows, actual = _predict_pieces(model, args, header, chain([first, second], pieces)), None
    if args.output is not None:
        print(f"{counted(rows, 'prediction')} written to {args.output}", file=sys.stderr)
    if actual is not None:
        print(figures(Judged(actual, said, model.classes_.tolist() if classes else None), "row"), file=sys.stderr)


def _predict_pieces(model: Any, args: Namespace, header: list[str], pieces: Iterable[Table]) -> int:
    """Predict piece by piece, in memory that does not grow with the table; return the rows."""
    rows = 0
    told: set[str] = set()
    with rows_in_pieces(args.output, header) as write:
        for table in pieces:
            columns = _columns(model, table)
            for note in _notes(model, columns):
                column = note.partition(":")[0]
                if column not in told:
                    print(f"{note} (rows {rows + 1} to {rows + table.rows}; the first of this column)", file=sys.stderr)
                told.add(column)
            write(_shown(model, _said(model, columns), args.proba))
            rows += table.rows
    return rows


def _tell_unknown(model: Any, table: Table) -> None:
    """Say which columns are left out."""
    known = {n for fold in model.committee_.folds for n in (*fold.schema.names, *fold.schema.unused)}
    unknown = [n for n in table.names if n not in known and n not in model.column_kinds_ and n != model.target_name_]
    if unknown:
        print(f"left out, as training did not know them: columns {', '.join(map(repr, unknown))}", file=sys.stderr)


def _said(model: Any, columns: dict[str, Column]) -> Array:
    """Return the prediction of each row: probabilities of the classes, or numbers."""
    said: Array = model.predict_proba(columns) if isinstance(model, TabularClassifier) else model.predict(columns)
    return said


def _shown(model: Any, said: Array, proba: bool) -> list[list[Any]]:
    """Return the columns to write."""
    if not isinstance(model, TabularClassifier):
        return [said.tolist()]
    labels = [str(model.classes_[i]) for i in said.argmax(axis=1)]
    return [labels, *([float(f"{p:.6g}") for p in column] for column in said.T.tolist())] if proba else [labels]


def _columns(model: Any, table: Table) -> dict[str, Column]:
    """Return the columns that the model was trained on, as what they were then."""
    used = {n for fold in model.committee_.folds for n in fold.schema.names}
    missing = [n for n in model.column_kinds_ if n in used and n not in table.names]
    if missing:
        raise ValueError(f"the table lacks {', '.join(map(repr, missing))}, which the model was trained on; it has "
                         f"{', '.join(map(repr, table.names))}")
    nothing = np.full(table.rows, np.nan)
    return {n: table.known(n, kind) if n in used else Column(n, "number", nothing)
            for n, kind in model.column_kinds_.items()}


def _notes(model: Any, columns: dict[str, Column]) -> list[str]:
    """Return what is unlike the training rows."""
    notes, plans = [], {p.name: p for fold in model.committee_.folds for p in fold.schema.plans}
    for name, plan in plans.items():
        column = plan.conform(columns[name])
        if isinstance(plan, CategoryPlan):
            known = {*plan.levels, *plan.known}
            counts = np.bincount(column.values[column.values >= 0], minlength=len(column.levels))
            new = Counter({level: int(n) for level, n in zip(column.levels, counts, strict=True)
                           if n and level not in known})
            if new:
                examples = ", ".join(repr(level) for level, _ in new.most_common(3))
                notes.append(f"column {name!r}: {counted(new.total(), 'row')} with categories that training did not "
                             f"know, such as {examples}; taken as unknown")
        elif np.isnan(column.values).any():
            gaps = counted(int(np.isnan(column.values).sum()), "row")
            notes.append(f"column {name!r}: {gaps} without a value, taken as the median")
    return notes


def _actual(table: Table, name: str, classes: bool) -> Array | None:
    """Return the target, where every row has one to compare with."""
    if name not in table.names:
        return None
    if classes:
        labels = table.labels(name)
        return None if any(label is None for label in labels) else np.array(labels, dtype=str)
    numbers = table.numbers(name)
    return numbers if numbers is not None and np.isfinite(numbers).all() else None
