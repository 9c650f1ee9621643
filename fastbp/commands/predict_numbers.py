"""``python -m fastbp predict`` with what takes numbers alone: networks, and scikit-learn's estimators.

Rows come from the columns of a table, or from images by their name.
"""

from __future__ import annotations

import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as fb
from fastbp.commands.figures import Judged, counted, figures
from fastbp.commands.models import IMAGES
from fastbp.commands.output import rows_in_pieces
from fastbp.core.checks import finite
from fastbp.datasets.table_files import Table, read_pieces
from fastbp.files.container import Contents
from fastbp.ops.base import Array


@dataclass(frozen=True)
class Model:
    """What predicts numbers or classes from rows of numbers.

    Attributes
    ----------
    predictor : Network or estimator
    features : int
        How many numbers a row has.
    names : list of str or None
        The columns of them; None for all that there are, in order.
    classes : list of str or None
        What probabilities are of; None where numbers are predicted.
    """

    predictor: Any
    features: int
    names: list[str] | None
    classes: list[str] | None

    @classmethod
    def of(cls, contents: Contents) -> Model:
        """Return what a file holds, or raise ValueError for a network that takes something else than numbers."""
        made: Any = fb.load(contents.path)
        if isinstance(made, fb.Network):
            inputs = made.graph.inputs
            if len(inputs) > 1 or inputs[0].dtype != "real":
                raise ValueError(f"{contents.path} holds a network that takes more than a row of numbers; apply it in "
                                 "Python: fb.load(path).predict(…)")
            known = contents.description.get("classes")
            fits = isinstance(known, list) and [t.shape for t in made.graph.outputs] == [(len(known),)]
            return cls(made, prod(inputs[0].shape), None, [str(name) for name in known] if known and fits else None)
        names = getattr(made, "feature_names_in_", None)
        classes = getattr(made, "classes_", None)
        return cls(made, made.n_features_in_, None if names is None else [str(n) for n in names],
                   None if classes is None else [str(c) for c in classes])

    def probabilities(self, rows: Array) -> Array:
        """Return the probability of each class."""
        net = self.predictor
        found: Array = net.predict_proba(rows.reshape(-1, *net.graph.inputs[0].shape) if isinstance(net, fb.Network)
                                         else rows)
        return found

    def columns(self, rows: Array, proba: bool) -> dict[str, list[Any]]:
        """Return what is written for some rows, by the name of the column."""
        if isinstance(self.predictor, fb.Network) and self.classes is None and not proba:
            return _numbered("output", self._outputs(rows))
        if self.classes is None:
            if proba and not isinstance(self.predictor, fb.Network):
                raise ValueError("--proba is given, but the model predicts numbers")
            return _numbered("probability of", self.probabilities(rows)) if proba else _numbered(
                "prediction", self.predictor.predict(rows))
        said = self.probabilities(rows)
        found: dict[str, list[Any]] = {"prediction": [self.classes[i] for i in said.argmax(axis=1)]}
        if not isinstance(self.predictor, fb.Network):
            found = _numbered("prediction", self.predictor.predict(rows))
        if proba:
            found |= {f"probability of {c}": [float(f"{p:.6g}") for p in column]
                      for c, column in zip(self.classes, said.T.tolist(), strict=True)}
        return found

    def _outputs(self, rows: Array) -> Array:
        net = self.predictor
        given = net.predict(rows.reshape(-1, *net.graph.inputs[0].shape))
        outputs = given.values() if isinstance(given, dict) else given if isinstance(given, tuple) else [given]
        return np.concatenate([y.reshape(len(rows), -1) for y in outputs], axis=1)


def run(contents: Contents, args: Namespace) -> None:
    """Read, predict, write, piece by piece. What is to be said besides goes to stderr."""
    # columns have been taken by their names
    warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
    model = Model.of(contents)
    pieces = _pieces(model, args)
    rows, labels = next(pieces)
    columns = model.columns(rows, args.proba)
    count = len(rows)
    with rows_in_pieces(args.output, list(columns)) as write:
        write(list(columns.values()))
        for more, _ in pieces:
            write(list(model.columns(more, args.proba).values()))
            count += len(more)
    if args.output is not None:
        print(f"{counted(count, 'prediction')} written to {args.output}", file=sys.stderr)
    if labels is not None and model.classes is not None:
        print(figures(Judged(labels, model.probabilities(rows), model.classes), "row"), file=sys.stderr)


def _pieces(model: Model, args: Namespace) -> Iterator[tuple[Array, Array | None]]:
    """Yield rows of numbers, with their labels where they are known."""
    images = IMAGES.get(str(args.table))
    if images is None or Path(args.table).exists():
        yield from ((_rows(model, table.without(args.drop)), None) for table in read_pieces(args.table))
        return
    data = images()
    if data.x_test[0].size != model.features:
        raise ValueError(f"{args.table} are images of {data.x_test[0].size} pixels; the model takes {model.features} "
                         "numbers")
    yield data.x_test.reshape(len(data.x_test), -1), np.array(data.class_names)[data.y_test]


def _rows(model: Model, table: Table) -> Array:
    """Return the columns of a table that a model takes, or raise ValueError."""
    names = table.names if model.names is None else model.names
    missing = [name for name in names if name not in table.names]
    if missing:
        raise ValueError(f"the table lacks {', '.join(map(repr, missing))}, which the model was trained on; it has "
                         f"{', '.join(map(repr, table.names))}")
    if len(names) != model.features:
        raise ValueError(f"the table has {counted(len(names), 'column')}; the model takes {model.features}: leave out "
                         "others with --drop COLUMN")
    return np.stack([_numbers(table, name) for name in names], axis=1)


def _numbers(table: Table, name: str) -> Array:
    column = table.known(name, "number")
    if column.kind != "number":
        raise ValueError(f"column {name!r} holds a {column.kind}; the model takes numbers alone")
    return finite(f"column {name!r}", column.values)


def _numbered(what: str, values: Array) -> dict[str, list[Any]]:
    """Return columns of an array, with numbers in their names where there are several."""
    if values.ndim == 1 or values.shape[1] == 1:
        return {"prediction": values.reshape(len(values)).tolist()}
    return {f"{what} {i}": column.tolist() for i, column in enumerate(values.T)}
