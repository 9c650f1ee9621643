"""Learn from a stream, one small batch after another, while what is to be learnt changes half-way.

Each batch is predicted first and learnt from then (prequential evaluation): no data are kept.
"""

from __future__ import annotations

import argparse
from time import perf_counter

import numpy as np

import fastbp as fb


def main() -> None:
    """Run through the stream, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=6000)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    net = fb.Sequential(fb.Linear(6, 32), fb.Tanh(), fb.Linear(32, 1), seed=0, backend=options.backend)
    trainer = fb.Trainer(net, fb.BinaryCrossEntropy(), fb.Adam(lr=0.01))
    right: list[float] = []
    spent = 0.0
    for i in range(options.batches):
        x, y = draw(rng, after_the_change=i >= options.batches // 2)
        start = perf_counter()
        guess = net.predict(x)[:, 0] > 0
        trainer.step(x, y)
        spent += perf_counter() - start
        right.append(float(np.mean(guess == y)))

    tenth = options.batches // 10
    for part in range(10):
        note = "  <- the world changes" if part == 5 else ""
        print(f"batches up to {(part + 1) * tenth:5d}: accuracy {np.mean(right[part * tenth:][:tenth]):.1%}{note}")
    print(f"{1e6 * spent / options.batches:.1f} µs to predict and learn a batch of 8")


def draw(rng: np.random.Generator, after_the_change: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return eight samples: whether two of the features have one sign; which two, changes."""
    x = rng.standard_normal((8, 6)).astype(np.float32)
    a, b = (2, 4) if after_the_change else (0, 1)
    return x, x[:, a] * x[:, b] > 0


if __name__ == "__main__":
    main()
