"""Train two networks against each other by hand: a generator that learns a distribution, and a critic that tells.

Goodfellow et al. (2014), https://arxiv.org/abs/1406.2661. The generator turns noise into points of the plane that
should lie like the real ones, on a ring. The gradient that reaches the critic's input is handed to the generator's
`backward`: all there is to training networks together.
"""

from __future__ import annotations

import argparse

import numpy as np

import fastbp as fb

REAL, FAKE = 1.0, 0.0


def main() -> None:
    """Train both, and compare the generated points with the real ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    generator = fb.Sequential(fb.Linear(4, 48), fb.LeakyReLU(0.1), fb.Linear(48, 48), fb.LeakyReLU(0.1),
                              fb.Linear(48, 2), seed=1, backend=options.backend)
    critic = fb.Sequential(fb.Linear(2, 48), fb.LeakyReLU(0.1), fb.Linear(48, 48), fb.LeakyReLU(0.1),
                           fb.Linear(48, 1), seed=2, backend=options.backend)
    improve_generator, improve_critic = (fb.Adam(lr=5e-4, beta1=0.5) for _ in range(2))
    loss = fb.BinaryCrossEntropy()
    n = options.batch_size
    for step in range(options.steps):
        # The critic: real points should get REAL, generated ones FAKE. Its gradients are the sum over both batches.
        points = generator.predict(noise(rng, n))
        critic_loss = critic.loss_and_grad(ring(rng, n), np.full(n, REAL), loss)
        critic_loss += critic.loss_and_grad(points, np.full(n, FAKE), loss, accumulate=True)
        improve_critic.step(critic)

        # The generator: the critic should take its points for real. dx is how each point would have to move.
        points = generator.forward(noise(rng, n), training=True)
        generator_loss = critic.loss_and_grad(points, np.full(n, REAL), loss, input_grads=True)
        (dx,) = critic.input_grads
        generator.backward(dx)
        improve_generator.step(generator)
        if (step + 1) % max(options.steps // 6, 1) == 0:
            print(f"step {step + 1:5d}: loss of the critic {critic_loss:.3f} (2 ln 2 = 1.386 if it cannot tell), "
                  f"of the generator {generator_loss:.3f}")

    for name, points in (("real", ring(rng, 4000)), ("generated", generator.predict(noise(rng, 4000)))):
        radius, angle = np.hypot(*points.T), np.arctan2(*points.T)
        shares = np.histogram(angle, 8, (-np.pi, np.pi))[0] / len(points)
        print(f"{name:>9}: radius {radius.mean():.3f} ± {radius.std():.3f}, eighths of the ring "
              f"{' '.join(f'{s:.0%}' for s in shares)}")


def noise(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Return what the generator makes points of."""
    return rng.standard_normal((rows, 4))


def ring(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Return real points."""
    angle, radius = rng.uniform(0, 2 * np.pi, rows), 1 + 0.05 * rng.standard_normal(rows)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


if __name__ == "__main__":
    main()
