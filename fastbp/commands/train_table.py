"""``python -m fastbp train table.csv --target price``: train on a table, report on rows kept apart, write a model."""

from __future__ import annotations

import shlex
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

from fastbp.commands.arguments import not_an_input
from fastbp.commands.train import confusion_table
from fastbp.core.checks import file_to_write
from fastbp.estimators.table.columns import as_text, check_distance, check_numbers, counted
from fastbp.estimators.table.reading import check_table, read_table
from fastbp.estimators.table.table_model import TableModel, Target, Training, split, take_target
from fastbp.ops.base import Array
from fastbp.training.callbacks import Lambda
from fastbp.training.history import History

SHARES = (0.7, 0.15, 0.15)
LEAST_ROWS = 20
MOST_EPOCHS, PATIENCE, DROPOUT = 200, 15, 0.1
_MOST_SHOWN_CLASSES = 12


def run(args: Namespace) -> None:
    """Read, train, report, save. Ctrl-C ends training early; what was trained is kept."""
    check_table(args.table)
    if "target" not in args:
        raise ValueError(f"which column is to be predicted? Write: python -m fastbp train {args.table} --target COLUMN")
    output = args.output if "output" in args else Path(f"{args.table.stem}.safetensors")
    _check_output(output)
    not_an_input("--output", output, table=args.table)
    table, dates = read_table(args.table)
    columns, y, given = take_target(table, args.target, dates)
    check_numbers(table)
    target, why = Target.of(args.target, y[given], args.task)
    if len(given) < LEAST_ROWS:
        raise ValueError(f"the table has {counted(len(given), 'row')} with a target; expected at least {LEAST_ROWS}, "
                         "as some are kept for validation and testing")
    classes = None if target.classes is None else target.encode(y[given])
    parts = [given[part] for part in split(len(given), SHARES, args.seed, classes)]
    if target.classes is None:
        target = Target(target.name, None, float(y[parts[0]].mean()), float(y[parts[0]].std()) or 1.0)
        check_distance(target.name, y, target.mean, target.std)
    training = Training(args.hidden, getattr(args, "epochs", MOST_EPOCHS),
                        getattr(args, "batch_size", _batch_size(len(parts[0]))), args.lr, DROPOUT, PATIENCE, args.seed,
                        args.backend)
    start = perf_counter()
    model, history, stopped = TableModel.train(columns, target, y, (parts[0], parts[1]), training,
                                               [Lambda(on_epoch_end=_progress(training.epochs))])
    seconds = perf_counter() - start
    model.save(output)
    print(_describe(args.table, len(y), target, why, model, parts))
    print(f"{'stopped by Ctrl-C after' if stopped else 'trained for'} {counted(len(history), 'epoch')} in "
          f"{seconds:.1f} s; the best was epoch {_best(history)}\n")
    print(report(model, {n: v[parts[2]] for n, v in columns.items()}, y[parts[2]]))
    print(f"\nmodel written to {shlex.quote(str(output.resolve()))}; apply it with\n"
          f"  python -m fastbp predict {shlex.quote(str(output))} {shlex.quote(str(args.table))}")
    if stopped:
        raise KeyboardInterrupt


def report(model: TableModel, columns: dict[str, Array], y: Array, row: str = "test row") -> str:
    """Return how good the predictions for these rows are, beside those of a model that knows the target alone."""
    outputs, target = model.outputs(columns), model.target
    if target.classes is None:
        error = outputs - y
        spread = float(np.sqrt(np.mean((y - target.mean) ** 2)))
        rmse = float(np.sqrt(np.mean(error**2)))
        lines = [f"on {counted(len(y), row)}:",
                 f"  root mean squared error  {rmse:.6g}  (always the mean: {spread:.6g})",
                 f"  mean absolute error      {np.abs(error).mean():.6g}"]
        if len(y) > 1 and y.std() > 0:
            lines.append(f"  R²                       {1 - np.mean(error**2) / y.var():.4f}")
        return "\n".join(lines)
    known = target.encode(y)
    predicted = outputs.argmax(axis=1)
    most = np.bincount(known[known >= 0], minlength=len(target.classes)).max(initial=0) / len(y)
    lines = [f"on {counted(len(y), row)}:", f"  accuracy  {np.mean(predicted == known):.2%}  (always the most frequent "
             f"class: {most:.2%})"]
    if (known >= 0).all():
        likely = outputs[np.arange(len(y)), known]
        lines.append(f"  log loss  {-np.log(np.maximum(likely, 1e-300)).mean():.4f}")
        if len(target.classes) <= _MOST_SHOWN_CLASSES:
            lines += ["", confusion_table(known, predicted, tuple(target.classes))]
    else:
        new = sorted({v for v, k in zip(as_text(y), known, strict=True) if k < 0})
        lines.append(f"  {counted(int((known < 0).sum()), 'row')} with a class that training did not know: "
                     f"{', '.join(map(repr, new[:5]))}")
    return "\n".join(lines)


def _describe(path: Path, rows: int, target: Target, why: str, model: TableModel, parts: list[Array]) -> str:
    encoder = model.encoder
    used = sum(map(len, parts))
    one_hot = [t for t in encoder.texts if not t.embedding]
    kinds = [f"{len(found)} {what}" for found, what in ((encoder.numbers, "of numbers"), (one_hot, "of text, one-hot"),
                                                       (encoder.embedded, "of text, embedded")) if found]
    task = "regression" if target.classes is None else f"classification into {len(target.classes)} classes"
    without = f", {rows - used:,} of them left out, as they have no target" * (rows > used)
    lines = [f"{path}: {counted(rows, 'row')}{without}",
             f"target: {target.name!r}, {task} ({why})", f"columns in use: {', '.join(kinds)}"]
    lines += [f"  left out: {name!r}, which {reason}" for name, reason in encoder.unused.items()]
    lines += [f"rows: {len(parts[0]):,} for training, {len(parts[1]):,} for validation, {len(parts[2]):,} for testing",
              f"network: {model.net.params.flat.size:,} parameters"]
    return "\n".join(lines)


def _batch_size(rows: int) -> int:
    """Return a size that makes some dozens of updates an epoch."""
    return int(np.clip(2 ** round(np.log2(max(rows / 50, 1))), 16, 256))


def _best(history: History) -> int:
    return int(np.nanargmin(history["val_loss"])) + 1


def _progress(epochs: int) -> Any:
    """Return a callback that prints a line every so many epochs."""
    def show(trainer: Any, epoch: int, logs: dict[str, float]) -> None:
        if epoch == 1 or epoch % max(epochs // 10, 1) == 0:
            tqdm.write(f"epoch {epoch:>{len(str(epochs))}}   loss {logs['loss']:.4f}   validation "
                       f"{logs['val_loss']:.4f}")
    return show


def _check_output(path: Path) -> None:
    """Say at the start what would go wrong at the end."""
    if path.suffix != ".safetensors":
        raise ValueError(f"--output is {str(path)!r}; expected a name that ends in .safetensors")
    if not find_spec("safetensors"):
        raise ImportError("to write a model safetensors is needed: pip install 'fastbp[table]'")
    file_to_write("--output", path)
