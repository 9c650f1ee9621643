"""Replace a simulation by an ensemble of nets, trained at once in threads, which differ where they know less.

Each net is trained on rows drawn with replacement from what was simulated (bagging). Training holds no lock of
Python's, so that as many nets are trained at a time as there are cores.
Breiman (1996), https://doi.org/10.1007/BF00058655.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

import fastbp as fb


def main() -> None:
    """Simulate, train, and compare with simulations that were not trained on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    inside = rng.uniform(-1, 1, (2000, 3))
    start = perf_counter()
    simulated = simulate(inside)
    print(f"{len(inside)} simulations: {perf_counter() - start:.2f} s")

    fb.set_num_threads(1)  # a net keeps one core busy: the nets share the cores
    start = perf_counter()
    with ThreadPoolExecutor() as pool:
        nets = list(pool.map(lambda seed: train(inside, simulated, seed, options), range(options.nets)))
    print(f"{options.nets} nets: {perf_counter() - start:.2f} s")

    for name, x in (("inside the range that was simulated", rng.uniform(-1, 1, (500, 3))),
                    ("outside", rng.uniform(1.2, 1.6, (500, 3)))):
        truth = simulate(x)
        start = perf_counter()
        each = np.stack([net.predict(x) for net in nets])
        spent = perf_counter() - start
        error, doubt = np.abs(each.mean(axis=0) - truth).mean(), each.std(axis=0).mean()
        print(f"{name}: error {error:.4f}, doubt {doubt:.4f}, {1e6 * spent / len(x):.1f} µs a row")


def simulate(x: np.ndarray, steps: int = 2000) -> np.ndarray:
    """Return the angle of a damped, driven pendulum after ten seconds; columns of x: its angle, speed, and drive."""
    angle, speed = 0.6 * x[:, 0], 0.6 * x[:, 1]
    dt = 10 / steps
    for i in range(steps):
        speed += dt * (x[:, 2] * np.cos(2 * i * dt) - np.sin(angle) - 0.2 * speed)
        angle += dt * speed
    return angle[:, None]


def train(x: np.ndarray, y: np.ndarray, seed: int, options: argparse.Namespace) -> fb.Network:
    """Return a net trained on rows drawn with replacement."""
    rows = np.random.default_rng(seed).integers(0, len(x), len(x))
    net = fb.Sequential(fb.Linear(3, 64), fb.Tanh(), fb.Linear(64, 64), fb.Tanh(), fb.Linear(64, 1), seed=seed,
                        backend=options.backend)
    schedule = fb.CosineDecay(3e-3, steps=options.epochs * -(-len(x) // 32))
    fb.Trainer(net, fb.MSE(), fb.Adam(lr=schedule)).fit(x[rows], y[rows], epochs=options.epochs, batch_size=32,
                                                        progress=False)
    return net


if __name__ == "__main__":
    main()
