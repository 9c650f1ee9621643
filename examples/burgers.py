"""Solve Burgers' equation by a net that is trained on nothing but the equation (a physics-informed neural network).

u_t + u u_x = (0.01 / π) u_xx for x in [-1, 1], t in [0, 1], with u = -sin(πx) at first and 0 at both ends. A shock
forms in the middle. The derivatives of the net are tensors of its graph, made by the chain rule, and stand in its loss.
First Adam, then L-BFGS. Raissi, Perdikaris and Karniadakis (2019), https://doi.org/10.1016/j.jcp.2018.10.045; the
solution it is compared with is that of Hopf (1950) and Cole (1951), an integral.
"""

from __future__ import annotations

import argparse
from time import perf_counter
from typing import Any

import numpy as np

import fastbp as fb

VISCOSITY = 0.01 / np.pi


def main() -> None:
    """Train, and compare with the solution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=2048)
    parser.add_argument("--width", type=int, default=20)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--adam", type=int, default=1500, help="epochs")
    parser.add_argument("--until", type=float, default=1.0, help="the time up to which it is solved")
    parser.add_argument("--lbfgs", type=int, default=3000, help="iterations")
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    x = fb.Input(2, name="t, x")
    h: Any = x
    for _ in range(options.layers):
        h = fb.Tanh()(fb.Linear(None, options.width, weight_init=fb.XavierNormal())(h))
    # a net that is right at t = 0 and at both ends, whatever its weights are
    t, place = x[:, :1], x[:, 1:]
    u = -np.sin(np.pi * place) + t * (1 - place**2) * fb.Linear(None, 1, weight_init=fb.XavierNormal())(h)
    along_t, along_x = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    u_x = fb.jvp(u, x, along_x)
    residual = fb.jvp(u, x, along_t) + u * u_x - VISCOSITY * fb.jvp(u_x, x, along_x)
    net = fb.Network(x, residual, dtype="float64", seed=0, backend=options.backend)
    solution = net.part(x, u)

    rng = np.random.default_rng(0)
    points = np.stack([rng.uniform(0, options.until, options.points), rng.uniform(-1, 1, options.points)], axis=1)
    points[: options.points // 4, 1] *= 0.1     # more of them where the shock will be
    start = perf_counter()
    trainer = fb.Trainer(net, mean_square, fb.Adam(fb.CosineDecay(5e-3, options.adam * options.points // 256)))
    history = trainer.fit(points, (), epochs=options.adam, batch_size=256, progress=False)
    print(f"Adam:   mean square of the residual {history[-1]['loss']:.2e}, {error(solution, options.until)}")
    result = fb.fit_lbfgs(net, points, (), mean_square, max_iter=options.lbfgs, tol=1e-9, memory=30)
    print(f"L-BFGS: mean square of the residual {result.value:.2e}, {error(solution, options.until)}")
    print(f"{perf_counter() - start:.1f} s")


def mean_square(residual: Any) -> Any:
    """Return what is minimised: there is no target."""
    return np.mean(np.square(residual))


def error(solution: fb.Network, until: float) -> str:
    """Compare the net with the solution."""
    times, places = np.meshgrid(np.linspace(until / 20, until, 20), np.linspace(-1, 1, 201), indexing="ij")
    grid = np.stack([times.ravel(), places.ravel()], axis=1)
    known = exact(grid[:, 0], grid[:, 1])
    off = solution.predict(grid)[:, 0] - known
    return f"relative error {np.linalg.norm(off) / np.linalg.norm(known):.2e}"


def exact(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the solution: -∫ sin(πy) g(y) dz / ∫ g(y) dz, y = x - 2√(νt) z, g(y) = exp(-cos(πy) / (2πν) - z²)."""
    z, weight = np.polynomial.hermite.hermgauss(100)
    y = x[:, None] - 2 * np.sqrt(VISCOSITY * t[:, None]) * z
    exponent = -np.cos(np.pi * y) / (2 * np.pi * VISCOSITY)
    g = weight * np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return -(np.sin(np.pi * y) * g).sum(axis=1) / g.sum(axis=1)


if __name__ == "__main__":
    main()
