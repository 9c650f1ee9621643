"""Predict a number from a table, and how sure the prediction is: three quantiles from one network.

The data are Friedman's (1991, https://doi.org/10.1214/aos/1176347963), with noise that grows along one column, so that
the width of the interval has something to tell.
"""

from __future__ import annotations

import argparse

import numpy as np

import fastbp as fb

QUANTILES = (0.1, 0.5, 0.9)


def main() -> None:
    """Train, and compare the interval with what it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    x, y = friedman(options.rows, np.random.default_rng(0))
    x_test, y_test = friedman(2000, np.random.default_rng(1))
    mean, scale = y.mean(), y.std()

    net = fb.Sequential(fb.Linear(10, 64), fb.SiLU(), fb.LayerNorm(), fb.Linear(64, 64), fb.SiLU(),
                        fb.Linear(64, len(QUANTILES)), seed=0, backend=options.backend)
    steps = options.epochs * -(-len(x) // 64)
    optimizer = fb.AdamW(lr=fb.OneCycle(5e-3, steps=steps), weight_decay=1e-3)
    trainer = fb.Trainer(net, fb.Quantile(QUANTILES), optimizer, clip_norm=1.0)
    trainer.fit(x, (y - mean) / scale, epochs=options.epochs, batch_size=64)

    low, middle, high = (mean + scale * net.predict(x_test)).T
    inside = np.mean((low <= y_test) & (y_test <= high))
    error = np.mean(np.abs(middle - y_test))
    baseline = np.mean(np.abs(y_test - np.median(y)))
    print(f"mean absolute error {error:.3f} (predicting the median for all: {baseline:.3f})")
    print(f"inside the interval from 10 % to 90 %: {inside:.1%}, expected 80 %")
    noisy = x_test[:, 9] > 0.5
    print(f"mean width of the interval: {np.mean((high - low)[~noisy]):.2f} where there is little noise, "
          f"{np.mean((high - low)[noisy]):.2f} where there is much")


def friedman(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return ten columns, five of which matter for the mean and the last for the noise."""
    x = rng.uniform(size=(rows, 10))
    mean = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return x, mean + (0.3 + 2 * x[:, 9]) * rng.standard_normal(rows)


if __name__ == "__main__":
    main()
