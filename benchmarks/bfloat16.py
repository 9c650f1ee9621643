"""What `compute_dtype="bfloat16"` gains in time, and what it costs in accuracy, against float32.

Time: one training step of the benchmark's rows that are large enough to gain, in CPU time, the two taking turns.
Accuracy: test images of Fashion-MNIST that a network 784-256-128-10 (ReLU) gets right after some epochs of Adam at a
learning rate of 1e-3 with mini-batches of 128, for several seeds. A mean that differs from float32's by more than 0.3
points is an error; so is a loss of the first mini-batch that float32 does not agree with, before anything is timed.

    python benchmarks/bfloat16.py --json bfloat16.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean, median
from time import process_time

import fastbp as fb
from fastbp.commands.arguments import positive_int
from harness import machine
from harness.peer_fastbp import network
from harness.report import short
from harness.rows import LEARNING_RATE, MINI_BATCHES, ROWS, Row

DTYPES = ("float32", "bfloat16")
MOST_POINTS_APART = 0.3
BATCH = 128
SECONDS = 0.2
"""How long one timing takes, about."""


def main() -> int:
    """Measure, print, write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=["deep", "tab", "mnist", "wide"],
                        metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=positive_int, default=9, help="timings of each")
    parser.add_argument("--seeds", type=positive_int, default=3, help="networks trained on Fashion-MNIST")
    parser.add_argument("--epochs", type=positive_int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all that was measured")
    args = parser.parse_args()
    if not fb.cpu_info().bfloat16:
        print("this CPU, or the instruction set in use, has no products of bfloat16", file=sys.stderr)
        return 1
    facts = machine.describe(["fastbp", "numpy"], 1, machine.fence(1))
    fb.set_num_threads(1)
    times = {name: step_times(ROWS[name], args.rounds) for name in args.rows}
    print(table_of_times(times))
    accuracies = {dtype: [accuracy(dtype, seed, args.epochs) for seed in range(args.seeds)] for dtype in DTYPES}
    print("\n" + table_of_accuracies(accuracies))
    if args.json is not None:
        result = {"machine": facts, "seconds": times, "accuracy": accuracies}
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    apart = 100 * abs(mean(accuracies["bfloat16"]) - mean(accuracies["float32"]))
    if apart > MOST_POINTS_APART:
        print(f"mean accuracies are {apart:.2f} points apart; expected at most {MOST_POINTS_APART}", file=sys.stderr)
    return apart > MOST_POINTS_APART


def step_times(row: Row, rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of a step in each dtype, a number for each round."""
    problem = row.problem()
    loss: fb.losses.Loss = fb.MSE() if row.loss == "mse" else fb.CrossEntropy()
    trainers = [fb.Trainer(network(row).copy(compute_dtype=dtype), loss, fb.Adam(LEARNING_RATE)) for dtype in DTYPES]
    first = [t.net.loss(problem.x[:row.batch], problem.y[:row.batch], loss) for t in trainers]
    if abs(first[0] - first[1]) > 0.01 * first[0]:
        raise RuntimeError(f"{row.name}: the first losses are {first[0]:.5g} and {first[1]:.5g}")

    def seconds(trainer: fb.Trainer, epochs: int) -> float:
        start = process_time()
        trainer.fit(problem.x, problem.y, epochs=epochs, batch_size=row.batch, shuffle=False, progress=False)
        return (process_time() - start) / epochs / MINI_BATCHES

    epochs = max(1, round(SECONDS / MINI_BATCHES / max(seconds(t, 2) for t in trainers)))
    times: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    for _ in range(rounds):
        for dtype, trainer in zip(DTYPES, trainers, strict=True):
            times[dtype].append(seconds(trainer, epochs))
    return times


def accuracy(dtype: str, seed: int, epochs: int) -> float:
    """Train on Fashion-MNIST; return the accuracy on the test images."""
    data = fb.datasets.load_fashion_mnist()
    net = fb.Sequential(fb.Linear(784, 256), fb.ReLU(), fb.Linear(256, 128), fb.ReLU(), fb.Linear(128, 10), seed=seed,
                        compute_dtype=dtype)
    trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(LEARNING_RATE))
    trainer.fit(data.x_train, data.y_train, epochs=epochs, batch_size=BATCH, progress=False)
    return float(trainer.evaluate(data.x_test, data.y_test)["accuracy"])


def table_of_times(times: dict[str, dict[str, list[float]]]) -> str:
    """Return medians, and the median of the rounds' ratios, as a table in Markdown."""
    lines = ["| row | float32 µs | bfloat16 µs | faster |", "| --- | ---: | ---: | ---: |"]
    for name, each in times.items():
        ratio = median(a / b for a, b in zip(*(each[dtype] for dtype in DTYPES), strict=True))
        cells = [short(median(each[dtype]) * 1e6) for dtype in DTYPES]
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio:.2f} × |")
    return "\n".join(lines)


def table_of_accuracies(accuracies: dict[str, list[float]]) -> str:
    """Return the accuracy for each seed, and their means, as a table in Markdown."""
    seeds = range(len(accuracies[DTYPES[0]]))
    lines = [f"| Fashion-MNIST | {' | '.join(f'seed {s}' for s in seeds)} | mean |",
             f"| --- |{' ---: |' * (len(seeds) + 1)}"]
    lines += [f"| {dtype} | {' | '.join(f'{a:.2%}' for a in values)} | {mean(values):.2%} |"
              for dtype, values in accuracies.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
