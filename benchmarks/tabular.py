"""Tables: fastbp's estimators beside boosting and other networks, all with their defaults.

    python benchmarks/tabular.py FOLDER [--models fastbp lightgbm …] [--sets adult …] [--seeds 0 1 2] [--rows 1000]
                                        [--out FILE]
    python benchmarks/tabular.py FOLDER --ablation [--sets …] [--seeds …] [--out FILE]
    python benchmarks/tabular.py --report results.json > table.md

Each Parquet file of the folder is a table with a column `target`: floating point for regression, whole numbers for
classes. A quarter of the rows is for testing, drawn with the seed, stratified for classes; at most 10,000 of the
others, or ``--rows``, are for training. Every model sees the same rows, runs in a process of its own in one thread, and
its fit is timed in CPU seconds. What is written already is not measured again. ``--ablation`` measures fastbp with one
of its pieces taken away at a time instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

TEST, MOST_ROWS = 0.25, 10_000
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "FASTBP_NUM_THREADS"), "1")


# ---- models --------------------------------------------------------------------------------------------------------

def fastbp(task: str, seed: int, frame: Any) -> Any:
    import fastbp as fb
    kind = fb.TabularClassifier if task == "classes" else fb.TabularRegressor
    return kind(random_state=seed, n_threads=1)


def fastbp_mlp(task: str, seed: int, frame: Any) -> Any:
    from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    import fastbp as fb
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_include="category")),
        (make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")))
    kind = fb.MLPClassifier if task == "classes" else fb.MLPRegressor
    model = kind(random_state=seed, dtype="float32", n_threads=1)
    if task != "classes":
        model = TransformedTargetRegressor(model, transformer=StandardScaler())
    return make_pipeline(columns, model)


def hgb(task: str, seed: int, frame: Any) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    kind = HistGradientBoostingClassifier if task == "classes" else HistGradientBoostingRegressor
    return kind(random_state=seed, categorical_features="from_dtype")


def lightgbm(task: str, seed: int, frame: Any) -> Any:
    from lightgbm import LGBMClassifier, LGBMRegressor
    return (LGBMClassifier if task == "classes" else LGBMRegressor)(random_state=seed, n_jobs=1, verbose=-1)


def xgboost(task: str, seed: int, frame: Any) -> Any:
    from xgboost import XGBClassifier, XGBRegressor
    return (XGBClassifier if task == "classes" else XGBRegressor)(random_state=seed, n_jobs=1, enable_categorical=True)


class _CatBoost:
    """CatBoost takes missing categories as a text only."""

    def __init__(self, model: Any, frame: Any) -> None:
        self.model, self.names = model, list(frame.select_dtypes("category").columns)

    def _ready(self, frame: Any) -> Any:
        return frame.assign(**{n: frame[n].astype(object).where(frame[n].notna(), "missing").astype(str)
                               for n in self.names})

    def fit(self, frame: Any, y: Any) -> _CatBoost:
        self.model.fit(self._ready(frame), y, cat_features=self.names)
        return self

    def predict(self, frame: Any) -> Any:
        return self.model.predict(self._ready(frame))

    def predict_proba(self, frame: Any) -> Any:
        return self.model.predict_proba(self._ready(frame))


def catboost(task: str, seed: int, frame: Any) -> Any:
    from catboost import CatBoostClassifier, CatBoostRegressor
    kind = CatBoostClassifier if task == "classes" else CatBoostRegressor
    return _CatBoost(kind(random_seed=seed, thread_count=1, verbose=False, allow_writing_files=False), frame)


class _Filled:
    """pytabkit's networks take no missing numbers: means fill them, and a column of zeros and ones says where."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def _ready(self, frame: Any) -> Any:
        gaps = frame[self.gaps].isna().astype(np.float32).add_suffix(" missing")
        return frame.fillna(self.means).join(gaps)

    def fit(self, frame: Any, y: Any) -> _Filled:
        numbers = frame.select_dtypes("number")
        self.means = numbers.mean()
        self.gaps = [n for n in numbers.columns if numbers[n].isna().any()]
        self.model.fit(self._ready(frame), y)
        return self

    def predict(self, frame: Any) -> Any:
        return self.model.predict(self._ready(frame))

    def predict_proba(self, frame: Any) -> Any:
        return self.model.predict_proba(self._ready(frame))


def realmlp(task: str, seed: int, frame: Any) -> Any:
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor
    shared = {"random_state": seed, "n_threads": 1, "device": "cpu"}
    if task != "classes":
        return _Filled(RealMLP_TD_Regressor(**shared))
    # what its documentation recommends where the log loss judges
    return _Filled(RealMLP_TD_Classifier(**shared, val_metric_name="cross_entropy", use_ls=False))


def tabm(task: str, seed: int, frame: Any) -> Any:
    from pytabkit import TabM_D_Classifier, TabM_D_Regressor
    kind = TabM_D_Classifier if task == "classes" else TabM_D_Regressor
    return _Filled(kind(random_state=seed, n_threads=1, device="cpu"))


ABLATIONS: dict[str, dict[str, Any]] = {
    "no bins": {"numeric_embedding": "periodic"},
    "no waves": {"numeric_embedding": "piecewise"},
    "neither": {"numeric_embedding": "none"},
    "no embedding of levels": {"category_embedding": 0},
    "a fifth held out, no folds": {"n_folds": 1},
    "constant learning rate": {"learning_rate": "constant", "learning_rate_init": 0.015},
    "ReLU": {"activation": "relu"},
    "no dropout": {"dropout": 0.0},
    "no weight decay": {"weight_decay": 0.0},
    "labels not smoothed": {"label_smoothing": 0.0},
    "not calibrated": {"calibration": None},
    "32 epochs": {"max_iter": 32},
    "2 members": {"n_members": 2},
}
"""What is changed in the defaults, one line at a time."""


def ablated(change: str) -> Callable[[str, int, Any], Any]:
    """Return what makes fastbp's estimators with one thing changed."""
    def make(task: str, seed: int, frame: Any) -> Any:
        import fastbp as fb
        kind = fb.TabularClassifier if task == "classes" else fb.TabularRegressor
        known = kind().get_params()
        return kind(random_state=seed, n_threads=1, **{k: v for k, v in ABLATIONS[change].items() if k in known})
    return make


MODELS: dict[str, Callable[[str, int, Any], Any]] = {
    m.__name__: m for m in (fastbp, fastbp_mlp, hgb, lightgbm, xgboost, catboost, realmlp, tabm)}
NAMES = {"fastbp": "fastbp", "fastbp_mlp": "fastbp MLP", "hgb": "HGB", "lightgbm": "LightGBM", "xgboost": "XGBoost",
         "catboost": "CatBoost", "realmlp": "RealMLP", "tabm": "TabM"}
MODELS |= {change: ablated(change) for change in ABLATIONS}


# ---- one measurement -----------------------------------------------------------------------------------------------

def split(path: Path, seed: int, most_rows: int = MOST_ROWS) -> tuple[Any, Any, Any, Any, str]:
    """Return the training and test parts of a table, and its task."""
    import pandas as pd
    from sklearn.model_selection import train_test_split
    frame = pd.read_parquet(path)
    y = frame.pop("target").to_numpy()
    task = "regression" if y.dtype.kind == "f" else "classes"
    strata = y if task == "classes" else None
    train, test, y_train, y_test = train_test_split(frame, y, test_size=TEST, random_state=seed, stratify=strata)
    if len(train) > most_rows:
        strata = y_train if task == "classes" else None
        train, _, y_train, _ = train_test_split(train, y_train, train_size=most_rows, random_state=seed,
                                                stratify=strata)
    return train, test, y_train, y_test, task


def measure(path: Path, model: str, seed: int, most_rows: int) -> dict[str, float]:
    """Fit one model on one table; return its errors on the test rows."""
    from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error
    warnings.simplefilter("ignore")
    train, test, y_train, y_test, task = split(path, seed, most_rows)
    estimator = MODELS[model](task, seed, train)
    start = process_time()
    estimator.fit(train, y_train)
    seconds = process_time() - start
    start = process_time()
    if task == "regression":
        errors = {"rmse": float(root_mean_squared_error(y_test, estimator.predict(test)))}
        errors["error"] = errors["rmse"]
    else:
        p = np.asarray(estimator.predict_proba(test), np.float64)
        p = np.clip(p, 1e-15, 1)
        p /= p.sum(axis=1, keepdims=True)
        classes = np.unique(y_train)
        errors = {"log_loss": float(log_loss(y_test, p, labels=classes)),
                  "accuracy": float(accuracy_score(y_test, classes[p.argmax(axis=1)]))}
        errors["error"] = errors["log_loss"]
    return {**errors, "fit_seconds": seconds, "predict_seconds": process_time() - start, "rows": len(train),
            "columns": train.shape[1]}


def measured(path: Path, model: str, seed: int, most_rows: int, timeout: float) -> dict[str, Any]:
    """Measure in a process of its own, in one thread."""
    command = [sys.executable, __file__, "--one", str(path), model, str(seed), str(most_rows)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **THREADS}, timeout=timeout,
                              check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {timeout:g} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return {"failed": done.stderr.strip().splitlines()[-1:] or ["no result"]}
    return dict(json.loads(lines[-1]))


# ---- the report ----------------------------------------------------------------------------------------------------

def averaged(results: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the means over the seeds: set → model → figure."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for key, row in results.items():
        table, model, _ = key.split("/")
        if "failed" not in row:
            found.setdefault(table, {}).setdefault(model, []).append(row)
    return {t: {m: {k: float(np.mean([r[k] for r in rows])) for k in rows[0]} for m, rows in models.items()}
            for t, models in found.items()}


def ranks(errors: dict[str, float]) -> dict[str, float]:
    """Return the rank of each model, 1 the best; equal ones share theirs."""
    return {m: 1 + sum(o < e for o in errors.values()) + 0.5 * (sum(o == e for o in errors.values()) - 1)
            for m, e in errors.items()}


def report(results: dict[str, Any], models: list[str]) -> str:
    """Return tables of errors, seconds and ranks in Markdown."""
    sets = {t: row for t, row in sorted(averaged(results).items()) if all(m in row for m in models)}
    head = "| set | " + " | ".join(NAMES[m] for m in models) + " |\n" + "| --- " * (len(models) + 1) + "|\n"
    text = head
    for table, row in sets.items():
        best = min(row[m]["error"] for m in models)
        cells = []
        for m in models:
            e = row[m]
            shown = f"{e['error']:.4g}" if "rmse" in e else f"{e['accuracy']:.3f} / {e['error']:.4f}"
            cells.append(f"**{shown}**" if e["error"] == best else shown)
        text += f"| {table} | " + " | ".join(cells) + " |\n"
    each = [ranks({m: row[m]["error"] for m in models}) for row in sets.values()]
    best_of = {t: min(row[m]["error"] for m in models) for t, row in sets.items()}
    own = models[0]
    rows: dict[str, Callable[[str], str]] = {
        "mean rank": lambda m: f"{np.mean([r[m] for r in each]):.2f}",
        "first": lambda m: str(sum(r[m] == 1 for r in each)),
        f"{NAMES[own]} better": lambda m: "" if m == own else
        f"{sum(row[own]['error'] < row[m]['error'] for row in sets.values())} of {len(sets)}",
        "error / best, geometric mean":
            lambda m: f"{_geometric([r[m]['error'] / best_of[t] for t, r in sets.items()]):.3f}",
        "error / best, largest": lambda m: f"{max(r[m]['error'] / best_of[t] for t, r in sets.items()):.3f}",
        "fit, CPU seconds, median": lambda m: f"{np.median([r[m]['fit_seconds'] for r in sets.values()]):.2f}",
        "fit, CPU seconds, most": lambda m: f"{max(r[m]['fit_seconds'] for r in sets.values()):.2f}",
        f"fit, CPU seconds / {NAMES[own]}'s, least to most": lambda m: "" if m == own else
        " to ".join(f"{end(r[m]['fit_seconds'] / r[own]['fit_seconds'] for r in sets.values()):.3g}"
                    for end in (min, max)),
    }
    text += "\n" + head.replace("set", f"over {len(sets)} sets")
    for name, cell in rows.items():
        text += f"| {name} | " + " | ".join(cell(m) for m in models) + " |\n"
    return text


def ablation_report(results: dict[str, Any]) -> str:
    """Return what each change makes of the error, in Markdown: means over sets and seeds, as ratios to the defaults."""
    text = "| change | error, geometric mean | sets with less error | rank among all | CPU seconds |\n" + \
        "| --- " * 5 + "|\n"
    sets = averaged(results)
    each = {t: ranks({m: e["error"] for m, e in row.items()}) for t, row in sets.items()}
    for model in ["fastbp", *ABLATIONS]:
        rows = {t: (row[model], row["fastbp"]) for t, row in sets.items() if model in row and "fastbp" in row}
        changed = {t: pair for t, pair in rows.items() if pair[0]["error"] != pair[1]["error"]}
        ratio = _geometric([a["error"] / b["error"] for a, b in rows.values()])
        seconds = _geometric([a["fit_seconds"] / b["fit_seconds"] for a, b in rows.values()])
        better = f"{sum(a['error'] < b['error'] for a, b in changed.values())} of {len(changed)}"
        text += (f"| {NAMES.get(model, model)} | {100 * (ratio - 1):+.1f} % | {better if changed else ''} | "
                 f"{np.mean([each[t][model] for t in rows]):.1f} | × {seconds:.2f} |\n")
    return text


def _geometric(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def main() -> None:
    """Measure, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(NAMES))
    parser.add_argument("--ablation", action="store_true", help="fastbp with one thing changed at a time")
    parser.add_argument("--sets", nargs="+", default=None)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rows", type=int, default=MOST_ROWS, help="for training, at most")
    parser.add_argument("--out", type=Path, default=Path("tabular.json"))
    parser.add_argument("--timeout", type=float, default=3600.0)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(Path(args.one[0]), args.one[1], *map(int, args.one[2:]))))
        return
    if args.report:
        results = json.loads(args.report.read_text())
        print(ablation_report(results) if args.ablation else report(results, args.models))
        return
    if args.ablation:
        args.models = ["fastbp", *ABLATIONS]
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    for path in sorted(args.folder.glob("*.parquet")):
        for seed in args.seeds:
            for model in args.models:
                key = f"{path.stem}/{model}/{seed}"
                if key in results or (args.sets and path.stem not in args.sets):
                    continue
                results[key] = measured(path, model, seed, args.rows, args.timeout)
                print(key, {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in results[key].items()}, flush=True)
                args.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
