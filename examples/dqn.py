"""Deep Q-learning: find the way over a frozen lake, from moves that were made before, with a target network.

The net says what each action is worth: the reward, and what the best action is worth then, which a slowly following
copy of the net is asked for (`blend`). Mnih et al. (2015), https://doi.org/10.1038/nature14236; the action is chosen by
the net and judged by the copy, after van Hasselt et al. (2016), https://arxiv.org/abs/1509.06461.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import fastbp as fb

LAKE = np.array([list(row) for row in ("S.......", "........", "...O....", ".....O..",
                                       "...O....", ".OO...O.", ".O..O.O.", "...O...G")])
STEPS = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
DISCOUNT = 0.97


def main() -> None:
    """Walk, learn, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=20_000)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    net = fb.Sequential(fb.Linear(64, 64), fb.ReLU(), fb.Linear(64, 4), seed=0, backend=options.backend)
    target = net.copy()
    trainer = fb.Trainer(net, q_loss, fb.Adam(lr=1e-3), clip_norm=10.0)
    memory = Memory(5000)
    place, age, ends = np.zeros(2, int), 0, []
    for move in range(1, options.moves + 1):
        careless = max(0.05, 1 - 2 * move / options.moves)
        action = int(rng.integers(4) if rng.random() < careless else net.predict(seen(place)[None])[0].argmax())
        then, reward, end = moved(place, action)
        memory.keep(seen(place), action, reward, seen(then), end)
        place, age = then, age + 1
        if end or age == 100:
            ends.append(reward)
            place, age = np.zeros(2, int), 0
        if move >= 500 and move % 2 == 0:
            x, a, r, x_then, over = memory.draw(rng, 64)
            best = net.predict(x_then).argmax(axis=1)
            value = np.take_along_axis(target.predict(x_then), best[:, None], axis=1)[:, 0]
            trainer.step(x, (a, r + DISCOUNT * value * ~over))
            target.blend(net, 0.01)
        if move % max(1, options.moves // 10) == 0:
            worth = net.predict(seen(np.zeros(2, int))[None]).max()
            print(f"move {move:6d}: {np.mean(ends[-50:]):4.0%} of the last walks arrive; the net takes the start to be "
                  f"worth {worth:.2f}, the shortest way makes it {DISCOUNT**13:.2f}")
    print("the way:", " ".join(way(net)))


def q_loss(q: Any, action: Any, wanted: Any) -> Any:
    """Return the Huber loss of what the actions that were taken are worth."""
    size = np.abs(np.take_along_axis(q, action[:, None], axis=1)[:, 0] - wanted)
    near = np.minimum(size, 1.0)
    return np.mean(near * (size - 0.5 * near))


class Memory:
    """The last so many moves."""

    def __init__(self, size: int) -> None:
        self.count, self.size = 0, size
        self.arrays = (np.zeros((size, 64), np.float32), np.zeros(size, int), np.zeros(size),
                       np.zeros((size, 64), np.float32), np.zeros(size, bool))

    def keep(self, *values: Any) -> None:
        """Remember a move in the place of the oldest."""
        for array, value in zip(self.arrays, values, strict=True):
            array[self.count % self.size] = value
        self.count += 1

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, ...]:
        """Return some of them."""
        chosen = rng.integers(min(self.count, self.size), size=rows)
        return tuple(array[chosen] for array in self.arrays)


def seen(place: np.ndarray) -> np.ndarray:
    """Return 1 for the field that one is on, 0 for all others."""
    return np.eye(64)[8 * place[0] + place[1]]


def moved(place: np.ndarray, action: int) -> tuple[np.ndarray, float, bool]:
    """Return the field that a step leads to, its reward, and whether it ends there: in a hole, or at the goal."""
    then = np.clip(place + STEPS[action], 0, 7)
    field = LAKE[tuple(then)]
    return then, float(field == "G"), field in "OG"


def way(net: fb.Network) -> list[str]:
    """Return the steps from the start that the net thinks best."""
    place, steps, end = np.zeros(2, int), [], False
    while not end and len(steps) < 30:
        action = int(net.predict(seen(place)[None])[0].argmax())
        place, _, end = moved(place, action)
        steps.append("→↓←↑"[action])
    return [*steps, "and there" if LAKE[tuple(place)] == "G" else "and lost"]


if __name__ == "__main__":
    main()
