"""``python -m fastbp predict model.safetensors table.csv``: apply a model to the rows of a table."""

from __future__ import annotations

import csv
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.commands.arguments import not_an_input
from fastbp.commands.train_table import report
from fastbp.core.checks import file_to_write
from fastbp.estimators.table.columns import Columns, check_numbers, counted
from fastbp.estimators.table.reading import read_table
from fastbp.estimators.table.table_model import TableModel, Target
from fastbp.ops.base import Array


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="what python -m fastbp train TABLE wrote")
    parser.add_argument("table", type=Path, metavar="TABLE", help="a .csv or .parquet file")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a .csv file for the predictions, else printed")
    parser.add_argument("--probabilities", action="store_true", help="whether to give that of each class too")
    parser.add_argument("--backend", choices=("native", "reference"), default="native", help="what runs the network")


def run(args: Namespace) -> None:
    """Read, predict, write. What is to be said besides goes to stderr."""
    if args.output is not None:
        if args.output.suffix.lower() != ".csv":
            raise ValueError(f"--output is {str(args.output)!r}; expected a name that ends in .csv")
        file_to_write("--output", args.output)
        not_an_input("--output", args.output, table=args.table, model=args.model)
    model = TableModel.load(args.model, args.backend)
    target = model.target
    if args.probabilities and target.classes is None:
        raise ValueError(f"--probabilities is given, but the model predicts a number, {target.name!r}")
    columns, _ = read_table(args.table)
    conforming, notes = model.encoder.conform(columns)
    unknown = [n for n in columns if n not in conforming and n != target.name and n not in model.encoder.unused]
    if unknown:
        notes.insert(0, f"left out, as training did not know them: columns {', '.join(map(repr, unknown))}")
    y = _complete(columns, target)
    for note in notes:
        print(note, file=sys.stderr)
    outputs = model.outputs(conforming)
    header, rows = [target.name], [[p] for p in model.predictions(outputs)]
    if args.probabilities and target.classes is not None:
        header += [f"probability of {c}" for c in target.classes]
        rows = [[*row, *(f"{p:.6g}" for p in each)] for row, each in zip(rows, outputs, strict=True)]
    _write(args.output, header, rows)
    if y is not None:
        print(report(model, conforming, y, "row"), file=sys.stderr)


def _complete(columns: Columns, target: Target) -> Array | None:
    """Return the target, where every row has one to compare with."""
    y, numbers = columns.get(target.name), target.classes is None
    if y is None or (numbers and y.dtype == object):
        return None
    if numbers:
        check_numbers({target.name: y})
    return y if all(v is not None for v in y) and (y.dtype == object or np.isfinite(y).all()) else None


def _write(path: Path | None, header: list[str], rows: list[list[Any]]) -> None:
    if path is None:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    print(f"{counted(len(rows), 'prediction')} written to {path}", file=sys.stderr)
