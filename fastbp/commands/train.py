"""``python -m fastbp train``: train a network on a table or on images, test it, and keep it.

The table's part is in ``train_table.py``.
"""

from __future__ import annotations

import shlex
from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

import fastbp as fb
from fastbp.commands.arguments import positive_float, positive_int, seed
from fastbp.commands.confusion import confusion_table
from fastbp.commands.models import DIGITS, IMAGES, MODELS
from fastbp.core.checks import file_to_write
from fastbp.datasets.base import Dataset
from fastbp.files.container import write
from fastbp.files.networks import describe, tensors_of
from fastbp.training.callbacks import Lambda
from fastbp.training.trainer import Trainer

SUFFIX = ".safetensors"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("table", nargs="?", type=Path, metavar="TABLE", default=DIGITS,
                        help="a .csv or .parquet file, or digits: the handwritten digits that ship with fastbp")
    parser.add_argument("--data", choices=sorted(IMAGES), default=SUPPRESS,
                        help="images instead of a table: digits, or fashion-mnist (28 × 28, as Debian's package "
                        "dataset-fashion-mnist has them)")
    parser.add_argument("--model", choices=sorted(MODELS), default="mlp",
                        help="what is trained on images: linear layers, LeNet-5, or a small residual network")
    parser.add_argument("--target", metavar="COLUMN", default=SUPPRESS, help="the column of the table to be predicted")
    parser.add_argument("--task", choices=("auto", "classification", "regression"), default="auto",
                        help="what the target is; auto finds out")
    parser.add_argument("--epochs", type=positive_int, default=SUPPRESS,
                        help="how often all rows are gone through (default: 40; for a table at most 64)")
    parser.add_argument("--batch-size", type=positive_int, default=SUPPRESS,
                        help="rows in a mini-batch (default: 32; for a table by its size)")
    parser.add_argument("--lr", type=positive_float, default=SUPPRESS,
                        help="learning rate of Adam (default: 0.001; for a table the estimator's)")
    parser.add_argument("--hidden", type=positive_int, nargs="*", default=SUPPRESS, metavar="WIDTH",
                        help="widths of the hidden layers (default: 128 64; for a table 96 96 96)")
    parser.add_argument("--seed", type=seed, default=0, help="decides the initial parameters and the order of rows")
    parser.add_argument("--backend", choices=("native", "reference"), default="native", help="what runs the network")
    parser.add_argument("--output", type=Path, default=SUPPRESS, metavar="FILE",
                        help="where the model goes, a .safetensors file (default: in this folder, called as the data)")
    table = parser.add_argument_group("for a table")
    table.add_argument("--drop", nargs="+", metavar="COLUMN", default=[], help="columns that are left out")
    table.add_argument("--columns", nargs="+", metavar="COLUMN", default=None, help="the only columns that are used")
    table.add_argument("--folds", type=positive_int, default=SUPPRESS, help="networks, each on all rows but a part of "
                       "its own (default: 8, or 4 for more than 5,000 rows)")
    table.add_argument("--time-limit", type=positive_float, default=None, metavar="SECONDS", help="when training ends")
    table.add_argument("--compare", action="store_true", help="whether to train a linear model and scikit-learn's "
                       "boosting on the same rows, for a leaderboard")
    table.add_argument("--report", type=Path, default=None, metavar="FILE",
                       help="where to write a report, an .html file")


def run(args: Namespace) -> None:
    """Train, test, print, save."""
    if str(args.table) != DIGITS:
        if "data" in args or args.model != "mlp":
            raise ValueError("--data and --model are for images, and a table is given; leave them or the table out")
        from fastbp.commands import train_table
        train_table.run(args)
        return
    if "target" in args:
        raise ValueError("--target is given without a table; write: python -m fastbp train table.csv --target …")
    name = getattr(args, "data", DIGITS)
    epochs, batch_size = (40, 32) if name == DIGITS else (5, 64)
    _train_on_images(name, Namespace(**{"epochs": epochs, "batch_size": batch_size,
                                        "output": Path(f"{name}{SUFFIX}"), "lr": 1e-3, "hidden": [128, 64],
                                        **vars(args)}))


def _train_on_images(name: str, args: Namespace) -> None:
    _check_output(args.output)
    data = IMAGES[name]()
    net = _network(data, args)
    shape = net.graph.inputs[0].shape
    x_train, x_test = data.x_train.reshape(-1, *shape), data.x_test.reshape(-1, *shape)
    trainer = Trainer(net, fb.CrossEntropy(), fb.Adam(lr=args.lr))
    print(f"{name}: {len(data.x_train)} training images, {len(data.x_test)} test images")
    widths = [data.x_train.shape[1], *args.hidden, len(data.class_names)]
    print(f"network: {' - '.join(map(str, widths)) + ', ReLU' if args.model == 'mlp' else args.model}, "
          f"{net.params.flat.size:,} parameters, {args.backend} backend")
    start = perf_counter()
    stopped = False
    try:
        trainer.fit(x_train, data.y_train, epochs=args.epochs, batch_size=args.batch_size,
                    callbacks=[Lambda(on_epoch_end=_report(args.epochs))])
    except KeyboardInterrupt:
        if not len(trainer.history):
            raise
        stopped = True
    seconds, epochs = perf_counter() - start, len(trainer.history)
    write(args.output, {"network": describe(net), "classes": list(data.class_names)}, tensors_of(net))
    if stopped:
        print(f"stopped by Ctrl-C after {epochs} of {args.epochs} epochs")
    predicted = net.predict(x_test).argmax(axis=1)
    print(f"\ntest accuracy {np.mean(predicted == data.y_test):.2%} after {epochs} "
          f"epoch{'s' * (epochs != 1)} in {seconds:.2f} s "
          f"({epochs * len(data.x_train) / seconds:,.0f} images/s)\n")
    print(confusion_table(data.y_test, predicted, data.class_names))
    print(f"\nmodel written to {shlex.quote(str(args.output.resolve()))}; fb.load reads it, and so does\n"
          f"  python -m fastbp predict {shlex.quote(str(args.output))} {name}")
    if stopped:
        raise KeyboardInterrupt


def _network(data: Dataset, args: Namespace) -> fb.Network:
    x = fb.Input(data.x_train.shape[1]) if args.model == "mlp" else fb.Input(*data.image_shape, 1)
    y = MODELS[args.model](x, len(data.class_names), args.hidden)
    return fb.Network(x, y, seed=args.seed, backend=args.backend)


def _report(epochs: int) -> Any:
    """Return a callback that prints about ten lines over all epochs."""
    def report(trainer: Trainer, epoch: int, logs: dict[str, float]) -> None:
        if epoch == epochs or epoch % max(epochs // 10, 1) == 0:
            tqdm.write(f"epoch {epoch:>{len(str(epochs))}}/{epochs}   loss {logs['loss']:.4f}   "
                       f"{logs['samples_per_second']:>11,.0f} images/s")
    return report


def _check_output(path: Path) -> None:
    """Say at the start what would go wrong at the end."""
    if path.suffix != SUFFIX:
        raise ValueError(f"--output is {str(path)!r}; expected a name that ends in {SUFFIX}")
    file_to_write("--output", path)
