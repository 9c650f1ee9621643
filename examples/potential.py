"""Learn the potential energy of a molecule from energies and forces: the force is the slope of the energy.

The net gives the energy; its derivative by the places of the atoms is a tensor too, and stands in the loss beside it.
Each molecule brings one energy and many forces, so little data goes far. Behler and Parrinello (2007),
https://doi.org/10.1103/PhysRevLett.98.146401; Chmiela et al. (2017), https://doi.org/10.1126/sciadv.1603015.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import fastbp as fb

ATOMS = 4
PAIRS = np.array([(i, j) for i in range(ATOMS) for j in range(i)])
PLACES = np.stack([np.arange(ATOMS) == i for i, _ in PAIRS]).astype(float), np.stack(
    [np.arange(ATOMS) == j for _, j in PAIRS]).astype(float)


def main() -> None:
    """Train with and without forces, and let the molecule swing in what was learnt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    x, x_test = molecules(rng, options.molecules), molecules(rng, 1000)
    y, y_test = lennard_jones(x), lennard_jones(x_test)
    for name, loss in (("energies alone", energies_alone), ("energies and forces", energies_and_forces)):
        net = potential(options.backend)
        steps = options.epochs * -(-options.molecules // 20)
        fb.Trainer(net, loss, fb.Adam(fb.CosineDecay(3e-3, steps))).fit(
            x, y, epochs=options.epochs, batch_size=20, progress=False)
        off = [np.sqrt(np.mean(np.square(a - b))) for a, b in zip(net.predict(x_test), y_test, strict=True)]
        print(f"{name:>19}: error of the energy {off[0]:.4f} (its spread is {y_test[0].std():.3f}), of the force "
              f"{off[1]:.4f} ({y_test[1].std():.3f}); energy lost in 500 moves {drift(net, x_test[0]):.1e}")


def potential(backend: Any) -> fb.Network:
    """Return a network of energy and force. The energy is made of distances, so turning a molecule changes nothing."""
    x = fb.Input(ATOMS, 3)
    distance = np.sqrt(np.sum(np.square(PLACES[0] @ x - PLACES[1] @ x), axis=2))
    h: Any = (1.12 - distance) / 0.1
    for _ in range(2):
        h = fb.SiLU()(fb.Linear(None, 32)(h))
    energy = fb.Linear(None, 1)(h)
    return fb.Network(x, (energy[:, 0], -fb.grad(energy, x)), dtype="float64", seed=0, backend=backend)


def energies_and_forces(energy: Any, force: Any, known_energy: Any, known_force: Any) -> Any:
    """Return the mean square error of both."""
    return np.mean((energy - known_energy) ** 2) + np.mean((force - known_force) ** 2)


def energies_alone(energy: Any, force: Any, known_energy: Any, known_force: Any) -> Any:
    """Return the mean square error of the energy: the force is looked at by nobody."""
    return np.mean((energy - known_energy) ** 2)


def molecules(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return places of atoms: a tetrahedron with edges of 1.12, turned and shaken."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 1.12 / np.sqrt(8)
    turned = np.linalg.qr(rng.standard_normal((count, 3, 3)))[0]
    return corners @ turned + 0.03 * rng.standard_normal((count, ATOMS, 3))


def lennard_jones(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return energies (B,) and forces (B, atoms, 3): each pair has the energy 4 (r⁻¹² - r⁻⁶)."""
    apart = x[:, PAIRS[:, 0]] - x[:, PAIRS[:, 1]]
    square = np.sum(apart**2, axis=2)
    slope = (24 * square**-4 - 48 * square**-7)[:, :, None] * apart
    force = np.zeros_like(x)
    for k, (i, j) in enumerate(PAIRS):
        force[:, i] -= slope[:, k]
        force[:, j] += slope[:, k]
    return np.sum(4 * (square**-6 - square**-3), axis=1), force


def drift(net: fb.Network, x: np.ndarray) -> float:
    """Let a molecule swing by the forces of the net; return the share of the true energy that is lost or won."""
    velocity, (_, force) = np.zeros_like(x), net.predict(x[None])
    begin = lennard_jones(x[None])[0][0]
    for _ in range(500):
        velocity = velocity + 0.005 * force[0]
        x = x + 0.01 * velocity
        _, force = net.predict(x[None])
        velocity = velocity + 0.005 * force[0]
    end = lennard_jones(x[None])[0][0] + 0.5 * np.sum(velocity**2)
    return float(abs(end / begin - 1))


if __name__ == "__main__":
    main()
