"""``python -m fastbp train table.csv --target price``: train on a table, report on rows kept apart, write a model."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from fastbp.commands.arguments import not_an_input
from fastbp.commands.figures import counted, figures
from fastbp.commands.table_page import page
from fastbp.commands.table_report import compared, importances, judged, leaderboard
from fastbp.core.checks import file_to_write
from fastbp.datasets.columns import Column
from fastbp.datasets.table_files import Table, check_table, read_table
from fastbp.estimators.tabular.tabular_arguments import listed
from fastbp.estimators.tabular.tabular_classifier import TabularClassifier
from fastbp.estimators.tabular.tabular_regressor import TabularRegressor
from fastbp.estimators.tabular.target import Target, split
from fastbp.files.disk import replace
from fastbp.ops.base import Array

TEST_SHARE = 0.15
LEAST_ROWS = 20


def run(args: Namespace) -> None:
    """Read, train, save, report. Ctrl-C ends training early; what was trained is kept."""
    check_table(args.table)
    if "target" not in args:
        raise ValueError(f"which column is to be predicted? Write: python -m fastbp train {args.table} --target COLUMN")
    output = args.output if "output" in args else Path(f"{args.table.stem}.safetensors")
    _check_outputs(output, args.report, args.table)
    table = read_table(args.table)
    target = Target.of(table, args.target, args.task)
    names = _chosen([n for n in table.names if n != target.name], args.columns, args.drop)
    if len(target.rows) < LEAST_ROWS:
        raise ValueError(f"the table has {counted(len(target.rows), 'row')} with a target; expected at least "
                         f"{LEAST_ROWS}, as some are kept for testing")
    columns = {name: table.learnt(name).take(target.rows) for name in names}
    strata = np.unique(target.values, return_inverse=True)[1] if target.classes else None
    inside, test = split(len(target.rows), TEST_SHARE, args.seed, strata)
    train = {name: column.take(inside) for name, column in columns.items()}
    model, seconds, cpu, stopped = _train(args, target, train, target.values[inside])
    model.save(output)
    rows = {name: column.take(test) for name, column in columns.items()}
    print(_describe(table, target, model, len(inside), len(test)))
    print(f"{'stopped by Ctrl-C after' if stopped else 'trained for'} {counted(model.n_iter_, 'epoch')} in "
          f"{seconds:.1f} s; kept: {_epochs(model.epochs_)}\n")
    print(figures(judged(model, rows, target.values[test]), "test row"))
    entries = compared(model, train, target.values[inside], rows, target.values[test], cpu) if args.compare else []
    if entries:
        print(f"\non the same rows:\n{leaderboard(entries)}")
    if args.report is not None:
        matters = importances(model, rows, target.values[test], args.seed)
        text = page(args.table.name, target.name, model, judged(model, rows, target.values[test]), entries, matters)
        replace(args.report, text.encode())
        print(f"\nreport written to {shlex.quote(str(args.report.resolve()))}")
    print(f"\nmodel written to {shlex.quote(str(output.resolve()))}; apply it with\n"
          f"  python -m fastbp predict {shlex.quote(str(output))} {shlex.quote(str(args.table))}")
    if stopped:
        raise KeyboardInterrupt


def _train(args: Namespace, target: Target, columns: dict[str, Column],
           y: Array) -> tuple[TabularClassifier | TabularRegressor, float, float, bool]:
    """Return the model, the seconds that it took, those of the CPU, and whether Ctrl-C ended it."""
    given = {"max_iter": "epochs", "batch_size": "batch_size", "learning_rate_init": "lr", "n_folds": "folds",
             "hidden_layer_sizes": "hidden"}
    parameters: dict[str, Any] = {name: getattr(args, option) for name, option in given.items() if option in args}
    if "hidden_layer_sizes" in parameters:
        parameters["hidden_layer_sizes"] = tuple(parameters["hidden_layer_sizes"])
    kind = TabularClassifier if target.classes else TabularRegressor
    model = kind(random_state=args.seed, time_limit=args.time_limit, verbose=True, **parameters)
    start, cpu, stopped = perf_counter(), process_time(), False
    try:
        model.fit(columns, y)
    except KeyboardInterrupt:
        if not hasattr(model, "committee_"):
            raise
        stopped = True
    model.target_name_ = target.name
    if not any(fold.schema.plans for fold in model.committee_.folds):
        reasons = "; ".join(f"{name!r} {why}" for name, why in model.committee_.folds[0].schema.unused.items())
        raise ValueError(f"no column can be learnt from: {reasons}")
    return model, perf_counter() - start, process_time() - cpu, stopped


def _chosen(names: list[str], only: list[str] | None, drop: list[str]) -> list[str]:
    """Return the columns in use."""
    for option, given in (("--columns", only or []), ("--drop", drop)):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise ValueError(f"{option} has {unknown[0]!r}; expected columns besides the target: "
                             f"{', '.join(map(repr, names))}")
    kept = [name for name in names if (only is None or name in only) and name not in drop]
    if not kept:
        raise ValueError("no column can be learnt from: there is none but the target")
    return kept


def _describe(table: Table, target: Target, model: Any, train: int, test: int) -> str:
    fold, rows = model.committee_.folds[0], table.rows
    used = {kinds: [name for name in fold.schema.names if model.column_kinds_[name] == kind]
            for kind, kinds in (("number", "numbers"), ("date", "dates"), ("category", "categories"))}
    task = f"classification into {len(model.classes_)} classes" if target.classes else "regression"
    without = f", {rows - len(target.rows):,} of them left out, as they have no target" * (rows > len(target.rows))
    lines = [f"{table.path}: {counted(rows, 'row')}{without}", f"target: {target.name!r}, {task} ({target.why})",
             f"columns in use: {', '.join(f'{len(names)} of {kinds}' for kinds, names in used.items() if names)}"]
    lines += [f"  {kinds}: {listed(names)}" for kinds, names in used.items() if names]
    lines += [f"  {name!r} is taken as categories: {odd}; leave such fields empty if they are missing values"
              for name in used["categories"] if (odd := table.odd(name))]
    lines += [f"  left out: {name!r}, which {reason}" for name, reason in fold.schema.unused.items()]
    sizes = f"{len(model.committee_.folds)} networks of {fold.architecture.parameters():,} parameters"
    return "\n".join([*lines, f"rows: {train:,} for training, {test:,} for testing", sizes])


def _epochs(epochs: list[int]) -> str:
    return f"epoch{'s' * (len(set(epochs)) > 1)} {', '.join(map(str, sorted(set(epochs))))}"


def _check_outputs(output: Path, report: Path | None, table: Path) -> None:
    """Say at the start what would go wrong at the end."""
    if output.suffix != ".safetensors":
        raise ValueError(f"--output is {str(output)!r}; expected a name that ends in .safetensors")
    file_to_write("--output", output)
    not_an_input("--output", output, table=table)
    if report is not None:
        if report.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"--report is {str(report)!r}; expected a name that ends in .html")
        file_to_write("--report", report)
        not_an_input("--report", report, table=table)
