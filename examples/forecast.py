"""Forecast the sunspots of the coming year with a GRU, beside the naive and the seasonal forecast.

    python examples/forecast.py

The series is the yearly number of sunspots since 1700 (SILSO), as statsmodels ships it: pip install statsmodels.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import fastbp as fb

WINDOW, CYCLE, TEST = 33, 11, 60


def main() -> None:
    """Train on the years before, compare on the last ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    series = sunspots()
    scale = float(series[:-TEST].std())
    x, y = windows(series / scale)
    train, test = slice(0, len(x) - TEST), slice(len(x) - TEST, None)
    net = fb.Sequential(fb.Input(WINDOW, 1), fb.GRU(1, 32, return_sequences=False), fb.Linear(32, 1), seed=0,
                        backend=options.backend)
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam(fb.CosineDecay(5e-3, steps=options.epochs * 7)))
    trainer.fit(x[train], y[train], epochs=options.epochs, batch_size=32, progress=False)
    forecasts = {"GRU": net.predict(x[test])[:, 0], "naive (as last year)": x[test][:, -1, 0],
                 f"seasonal (as {CYCLE} years ago)": x[test][:, -CYCLE, 0]}
    for name, forecast in forecasts.items():
        error = float(np.mean(np.abs(forecast - y[test][:, 0]))) * scale
        print(f"{name}: mean absolute error {error:.1f} sunspots")


def sunspots() -> Any:
    """Return the yearly number of sunspots."""
    try:
        from statsmodels.datasets import sunspots as data
    except ImportError:
        raise SystemExit("the series comes with statsmodels: pip install statsmodels") from None
    return np.asarray(data.load_pandas().data["SUNACTIVITY"], dtype=np.float64)


def windows(series: Any) -> tuple[Any, Any]:
    """Return windows (N, WINDOW, 1) of a series, and what follows each (N, 1)."""
    view = np.lib.stride_tricks.sliding_window_view(series, WINDOW + 1)
    return view[:, :WINDOW, None].astype(np.float32), view[:, WINDOW:].astype(np.float32)


if __name__ == "__main__":
    main()
