"""Focal loss: find the few among the many, where almost all examples are easy and of one class.

Cross-entropy, written as a plain NumPy function, with a factor that lets examples that are right already count less.
Lin et al. (2017), https://arxiv.org/abs/1708.02002.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

import fastbp as fb


def main() -> None:
    """Train with both losses, and compare how well the few are found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    (x, y), (x_test, y_test) = data(options.rows, 0), data(options.rows, 1)
    print(f"{y.mean():.1%} of the examples are of the class that is looked for")
    for name, loss in (("cross-entropy", cross_entropy), ("focal loss", focal(gamma=2.0, alpha=0.75))):
        net = fb.Sequential(fb.Linear(8, 64), fb.ReLU(), fb.Linear(64, 64), fb.ReLU(), fb.Linear(64, 1), seed=0,
                            backend=options.backend)
        fb.Trainer(net, loss, fb.Adam(lr=2e-3)).fit(x, y, epochs=options.epochs, batch_size=128, progress=False)
        found = net.predict(x_test)[:, 0] > 0
        of_them, of_others = found[y_test == 1].mean(), found[y_test == 0].mean()
        print(f"{name:>13}: {of_them:5.1%} of them are found, {of_others:4.1%} of the others taken for one; balanced "
              f"accuracy {(of_them + 1 - of_others) / 2:.1%}")


def cross_entropy(logits: Any, y: Any) -> Any:
    """Return the mean of -log p, p being the probability of the right class."""
    return np.mean(fb.special.softplus(logits) - y * logits)


def focal(gamma: float, alpha: float) -> Callable[..., Any]:
    """Return the loss -a (1 - p)ᵞ log p, a being alpha for the class that is looked for, else 1 - alpha."""
    def focal_loss(logits: Any, y: Any) -> Any:
        towards = np.where(y == 1, logits, -logits)         # p = σ(towards)
        weight = np.where(y == 1, alpha, 1 - alpha)
        return np.mean(weight * fb.special.sigmoid(-towards) ** gamma * fb.special.softplus(-towards))
    return focal_loss


def data(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points in eight dimensions; few are near the surface of a ball, and not all of those are of the class."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 8))
    near = np.abs(np.linalg.norm(x[:, :4], axis=1) - 3.0) < 0.35
    return x, (near & (x[:, 4] > 0) & (rng.random(rows) < 0.9)).astype(float)


if __name__ == "__main__":
    main()
