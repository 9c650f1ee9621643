"""``python -m fastbp predict model.safetensors table.csv``: apply a model to the rows of a table.

What was trained on a table is applied in ``predict_table.py``, which needs scikit-learn; what takes numbers alone,
networks and estimators, in ``predict_numbers.py``.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from fastbp.commands import predict_numbers
from fastbp.commands.arguments import not_an_input
from fastbp.core.checks import file_to_write
from fastbp.datasets.table_files import SUFFIXES, parquet_library
from fastbp.files.container import read


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", type=Path, metavar="MODEL",
                        help="what python -m fastbp train wrote, or the save of a network or estimator")
    parser.add_argument("table", type=Path, metavar="TABLE",
                        help="a .csv or .parquet file; for networks on images also their name: digits, fashion-mnist")
    parser.add_argument("--output", type=Path, metavar="FILE",
                        help="a .csv or .parquet file for the predictions, else printed")
    parser.add_argument("--drop", nargs="+", metavar="COLUMN", default=[],
                        help="columns that the model is not given")
    parser.add_argument("--proba", "--probabilities", action="store_true", dest="proba",
                        help="whether to give the probability of each class too")


def run(args: Namespace) -> None:
    """Read, predict, write. What is to be said besides goes to stderr."""
    if args.output is not None:
        _check_output(args)
    contents = read(args.model)
    if "tabular" in contents.description:
        from fastbp.commands import predict_table
        predict_table.run(contents, args)
    else:
        predict_numbers.run(contents, args)


def _check_output(args: Namespace) -> None:
    if args.output.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--output is {str(args.output)!r}; expected a name that ends in {' or '.join(SUFFIXES)}")
    if args.output.suffix.lower() == ".parquet":
        parquet_library()
    file_to_write("--output", args.output)
    not_an_input("--output", args.output, table=args.table, model=args.model)
