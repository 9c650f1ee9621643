"""fastbp's estimators against scikit-learn's of the same names: the same data, parameters and random states.

    python benchmarks/estimators.py --json estimators.json

Prints the table of docs/estimators.md. Both run on one CPU and one thread, turn and turn about, in float64, with the
default parameters; inputs (and regression targets) are standardised. Shuttle is read from Debian's r-cran-mlbench by
rdata (``apt-get install r-cran-mlbench``, ``pip install rdata``), and left out where it is not there.
"""

import argparse
import json
import os
import platform
import warnings
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import mean, median, stdev
from time import perf_counter, process_time

import numpy as np
import sklearn
from sklearn import datasets, neural_network
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import fastbp as fb

CLOCKS = {"wall": perf_counter, "cpu": process_time}
SHUTTLE = Path("/usr/lib/R/site-library/mlbench/data/Shuttle.rda")
NAMES = ("digits", "breast cancer", "wine", "diabetes", "Shuttle")
LOADERS = {"digits": datasets.load_digits, "breast cancer": datasets.load_breast_cancer, "wine": datasets.load_wine,
           "diabetes": datasets.load_diabetes}
# a quarter of the rows is kept for the test; of Shuttle the last 14,500, as in the Statlog project
SHUTTLE_TRAINING_ROWS = 43_500


@dataclass
class Run:
    """One fit."""

    seed: int
    seconds: float
    score: float
    epochs: int
    loss: float


@cache
def load_shuttle(path: Path):
    """Return X and y."""
    import rdata
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = rdata.read_rda(path)["Shuttle"]
    return table.drop(columns="Class").to_numpy(float), table["Class"].astype(str).to_numpy()


def parts(name: str, seed: int, shuttle: Path):
    """Return standardised training and test data."""
    if name == "Shuttle":
        X, y = load_shuttle(shuttle)
        n = SHUTTLE_TRAINING_ROWS
        data = X[:n], X[n:], y[:n], y[n:]
    else:
        X, y = LOADERS[name](return_X_y=True)
        data = train_test_split(X, y, random_state=seed, stratify=None if name == "diabetes" else y)
    X_train, X_test, y_train, y_test = data
    scaler = StandardScaler().fit(X_train)
    if name == "diabetes":
        centre, spread = y_train.mean(), y_train.std()
        y_train, y_test = (y_train - centre) / spread, (y_test - centre) / spread
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test


def fit(kind, data, seed: int, clock=perf_counter, **options) -> Run:
    """Fit once; return how long it took and how good it is."""
    X_train, X_test, y_train, y_test = data
    model = kind(random_state=seed, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 200 epochs are often not enough to converge: so it is for both
        start = clock()
        model.fit(X_train, y_train)
        seconds = clock() - start
    return Run(seed, seconds, model.score(X_test, y_test), model.n_iter_, model.loss_)


def compare(name: str, seeds: int, shuttle: Path, clock) -> dict[str, list[Run]]:
    """Fit both libraries, in float64 and fastbp in float32 too, for each seed."""
    which = "MLPRegressor" if name == "diabetes" else "MLPClassifier"
    contestants = {"scikit-learn": (getattr(neural_network, which), {}), "fastbp": (getattr(fb, which), {}),
                   "fastbp float32": (getattr(fb, which), {"dtype": "float32"})}
    runs: dict[str, list[Run]] = {label: [] for label in contestants}
    for kind, options in contestants.values():
        fit(kind, tuple(part[:300] for part in parts(name, 0, shuttle)), 0, max_iter=2, **options)  # warm up
    for seed in range(seeds):
        data = parts(name, seed, shuttle)
        for label, (kind, options) in contestants.items():
            runs[label].append(fit(kind, data, seed, clock, **options))
    return runs


def row(name: str, runs: dict[str, list[Run]]) -> str:
    """Return a line of the table."""
    def scores(label):
        return f"{mean(r.score for r in runs[label]):.4f} ± {stdev(r.score for r in runs[label]):.4f}"

    def seconds(label):
        return median(r.seconds for r in runs[label])
    apart = max(abs(a.score - b.score) for a, b in zip(runs["scikit-learn"], runs["fastbp"], strict=True))
    ratios = [median(a.seconds / b.seconds for a, b in zip(runs["scikit-learn"], runs[label], strict=True))
              for label in ("fastbp", "fastbp float32")]
    return (f"| {name} | {scores('scikit-learn')} | {scores('fastbp')} | {apart:.4f} | "
            f"{seconds('scikit-learn'):.3f} s | {seconds('fastbp'):.3f} s | {ratios[0]:.1f}× | {ratios[1]:.1f}× |")


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shuttle", type=Path, default=SHUTTLE, help="mlbench's Shuttle.rda")
    parser.add_argument("--clock", choices=CLOCKS, default="wall",
                        help="cpu: the time that the process was given, for machines that are not idle")
    parser.add_argument("--json", type=Path, help="where to write all that was measured")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("--seeds: expected at least 2")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    threadpool_limits(1)
    fb.set_num_threads(1)
    cpu = fb.cpu_info()
    versions = {"isa": cpu.isa, "scikit-learn": sklearn.__version__, "numpy": np.__version__,
                "python": platform.python_version()}
    print(f"{cpu.model}, {cpu.isa}, 1 thread; scikit-learn {versions['scikit-learn']}, NumPy {versions['numpy']}, "
          f"Python {versions['python']}; {args.seeds} seeds: mean ± standard deviation, median {args.clock} time\n")
    print("| data | score: scikit-learn | score: fastbp | largest difference | fit: scikit-learn | fit: fastbp | "
          "faster | in float32 |\n| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    found = {}
    for name in args.datasets:
        if name == "Shuttle" and not args.shuttle.is_file():
            print(f"Shuttle is left out: there is no {args.shuttle}")
            continue
        runs = compare(name, args.seeds, args.shuttle, CLOCKS[args.clock])
        print(row(name, runs), flush=True)
        found[name] = {label: [asdict(r) for r in each] for label, each in runs.items()}
    if args.json is not None:
        result = {"cpu": cpu.model, "versions": versions, "clock": args.clock, "runs": found}
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
