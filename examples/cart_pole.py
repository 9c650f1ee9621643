"""Balance a pole on a cart: a policy learnt by its gradient (REINFORCE), from episodes that it plays itself.

A policy is a small net that is asked once for every move, and trained on each episode: all overhead and little
arithmetic. The loss is a function of one's own. Barto, Sutton and Anderson (1983), https://doi.org/10.1109/TSMC.1983.6313077;
Williams (1992), https://doi.org/10.1007/BF00992696.
"""

from __future__ import annotations

import argparse
from math import cos, sin
from time import perf_counter

import numpy as np

import fastbp as fb

LONGEST = 200


def main() -> None:
    """Play, learn, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    policy = fb.Sequential(fb.Linear(4, 32), fb.Tanh(), fb.Linear(32, 2), seed=0, backend=options.backend)
    trainer = fb.Trainer(policy, policy_loss, fb.Adam(lr=5e-3), clip_norm=1.0)
    lengths: list[int] = []
    start = perf_counter()
    for _ in range(options.episodes):
        states, actions = play(policy, rng)
        lengths.append(len(states))
        returns = np.cumsum(0.99 ** np.arange(len(states)))[::-1]  # a move that the pole still stands is worth 1
        advantage = (returns - returns.mean()) / (returns.std() + 1e-8)
        trainer.step(states, np.column_stack([actions, advantage]))
    spent = perf_counter() - start

    tenth = max(1, options.episodes // 10)
    for first in range(0, options.episodes, tenth):
        part = lengths[first:first + tenth]
        print(f"episodes up to {first + len(part):4d}: the pole stands for {np.mean(part):5.1f} of {LONGEST} moves")
    print(f"{1e6 * spent / sum(lengths):.1f} µs a move, of learning, deciding and mechanics")


def policy_loss(logits: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Return -mean(advantage · log p(action)), and its gradient for the logits: advantage · (p - chosen) / rows."""
    actions, advantage = y[:, 0].astype(int), y[:, 1:]
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    chosen = np.eye(logits.shape[1])[actions]
    loss = -(advantage * log_p * chosen).sum() / len(y)
    return float(loss), advantage * (np.exp(log_p) - chosen) / len(y)


def play(policy: fb.Network, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Play one episode; return the states that were met and what was done there."""
    state = rng.uniform(-0.05, 0.05, 4)
    states, actions = [], []
    while len(states) < LONGEST and abs(state[0]) < 2.4 and abs(state[2]) < 0.21:
        left, right = policy.predict(state[None])[0]
        actions.append(int(rng.random() < 1 / (1 + np.exp(left - right))))
        states.append(state)
        state = moved(state, 10.0 if actions[-1] else -10.0)
    return np.array(states), np.array(actions)


def moved(state: np.ndarray, force: float) -> np.ndarray:
    """Return place, speed, angle and angular speed 20 ms later: a cart of 1 kg, a pole of 0.1 kg and 1 m."""
    _, speed, angle, turning = state
    push = (force + 0.05 * turning**2 * sin(angle)) / 1.1
    turned = (9.8 * sin(angle) - cos(angle) * push) / (0.5 * (4 / 3 - 0.1 * cos(angle)**2 / 1.1))
    return state + 0.02 * np.array([speed, push - 0.05 * turned * cos(angle) / 1.1, turning, turned])


if __name__ == "__main__":
    main()
