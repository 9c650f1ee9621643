"""Proximal policy optimisation: balance a pole on a cart by pushes left and right, swing up a pendulum by a torque.

An actor says how likely each action is, a critic how much reward is to come; both are trained by one loss, which is
written here as a plain NumPy function and derived by the chain rule. Schulman et al. (2017),
https://arxiv.org/abs/1707.06347; advantages after Schulman et al. (2016), https://arxiv.org/abs/1506.02438.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import fastbp as fb

COPIES, MOVES = 16, 128     # worlds side by side, and moves between two trainings


def main() -> None:
    """Play, learn, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("cartpole", "pendulum"), default="cartpole")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    world = CartPole(rng) if options.task == "cartpole" else Pendulum(rng)
    net = actor_and_critic(world, options.backend)
    trainer = fb.Trainer(net, world.loss, fb.Adam(lr=1e-3), clip_norm=0.5)
    for number in range(1, options.rounds + 1):
        x, action, logp, reward, end, value = play(world, net)
        advantage = advantages(reward, end, value, world.discount)
        y = [flat(a) for a in (action, advantage, logp, advantage + value[:-1])]
        trainer.fit(flat(x), tuple(y), epochs=8, batch_size=128, progress=False)
        if number % max(1, options.rounds // 10) == 0:
            print(f"round {number:4d}: {world.report(reward, end)}")


def actor_and_critic(world: Any, backend: Any) -> fb.Network:
    """Return one network of both: for the pendulum, the logarithm of the spread is a parameter of its own."""
    x = fb.Input(world.inputs)
    outputs: list[Any] = []
    for n, gain in ((world.actions, 0.01), (1, 1.0)):
        h = fb.Tanh()(fb.Linear(64, 64)(fb.Tanh()(fb.Linear(world.inputs, 64)(x))))
        outputs.append(fb.Linear(64, n, weight_init=fb.Orthogonal(gain))(h))
    if world.loss is gaussian_loss:
        log_std = fb.Parameter((world.actions,), fb.Constant(-0.5), name="log_std")
        outputs.insert(1, 0.0 * outputs[0] + log_std)
    return fb.Network(x, outputs, seed=0, backend=backend)


# ---- the losses: what the method is ----------------------------------------------------------------------------------


def softmax_loss(logits: Any, value: Any, action: Any, advantage: Any, old_logp: Any, returns: Any) -> Any:
    """Actions are numbers of choices."""
    logp = fb.special.log_softmax(logits)
    chosen = np.take_along_axis(logp, action[:, None], axis=1)[:, 0]
    entropy = -np.sum(np.exp(logp) * logp, axis=1)
    return clipped(chosen - old_logp, advantage) + 0.5 * np.mean((value[:, 0] - returns) ** 2) - 0.01 * np.mean(entropy)


def gaussian_loss(mean: Any, log_std: Any, value: Any, action: Any, advantage: Any, old_logp: Any, returns: Any) -> Any:
    """Actions are real numbers, drawn from a normal distribution."""
    chosen = gaussian_logp(mean, log_std, action)
    value_error = np.mean((value[:, 0] - returns) ** 2)
    return clipped(chosen - old_logp, advantage) + 0.5 * value_error - 0.001 * np.mean(log_std)


def gaussian_logp(mean: Any, log_std: Any, action: Any) -> Any:
    """Return the logarithm of the density, but for a constant."""
    return np.sum(-0.5 * np.square((action - mean) * np.exp(-log_std)) - log_std, axis=1)


def clipped(log_ratio: Any, advantage: Any) -> Any:
    """Return what is gained by the new probabilities, no more than a fifth away from the old ones counted."""
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = np.exp(log_ratio)
    return -np.mean(np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage))


# ---- playing ---------------------------------------------------------------------------------------------------------


def play(world: Any, net: fb.Network) -> tuple[np.ndarray, ...]:
    """Return what was seen, done, its log-probability, rewards, ends, and the critic's values: (moves, copies, …)."""
    seen = []
    for _ in range(MOVES):
        x = world.look()
        *policy, value = net.predict(x)
        action, logp = world.choose(*policy)
        reward, end = world.move(action)
        seen.append((x, action, logp, reward, end, value[:, 0]))
    x, action, logp, reward, end, values = (np.array(a) for a in zip(*seen, strict=True))
    return x, action, logp, reward, end, np.concatenate([values, net.predict(world.look())[-1].T])


def advantages(reward: np.ndarray, end: np.ndarray, value: np.ndarray, discount: float) -> np.ndarray:
    """Return how much better each move turned out than the critic had thought."""
    surprise = reward + discount * value[1:] * ~end - value[:-1]
    for i in range(len(surprise) - 2, -1, -1):
        surprise[i] += 0.95 * discount * surprise[i + 1] * ~end[i]
    return surprise


def flat(a: np.ndarray) -> np.ndarray:
    """Return the moves of all copies one after the other."""
    return a.reshape(-1, *a.shape[2:])


class CartPole:
    """A pole of 1 m on a cart, to be kept upright by a push of 10 N each 20 ms. Each move is worth 1."""

    inputs, actions, loss, discount = 4, 2, staticmethod(softmax_loss), 0.99

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.state, self.age = rng, rng.uniform(-0.05, 0.05, (COPIES, 4)), np.zeros(COPIES)

    def look(self) -> np.ndarray:
        return self.state * [0.5, 0.5, 4.0, 0.5]

    def choose(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logp = fb.special.log_softmax(logits)
        action = (self.rng.random(COPIES) < np.exp(logp[:, 1])).astype(int)
        return action, np.take_along_axis(logp, action[:, None], axis=1)[:, 0]

    def move(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, speed, angle, turning = self.state.T
        push = (np.where(action == 1, 10.0, -10.0) + 0.05 * turning**2 * np.sin(angle)) / 1.1
        turned = (9.8 * np.sin(angle) - np.cos(angle) * push) / (0.5 * (4 / 3 - 0.1 * np.cos(angle) ** 2 / 1.1))
        change = np.stack([speed, push - 0.05 * turned * np.cos(angle) / 1.1, turning, turned], axis=1)
        self.state, self.age = self.state + 0.02 * change, self.age + 1
        end = (abs(self.state[:, 0]) > 2.4) | (abs(self.state[:, 2]) > 0.21) | (self.age >= 500)
        self.state[end], self.age[end] = self.rng.uniform(-0.05, 0.05, (end.sum(), 4)), 0
        return np.ones(COPIES), end

    def report(self, reward: np.ndarray, end: np.ndarray) -> str:
        return f"the pole falls after {reward.size / max(1, end.sum()):5.1f} moves"


class Pendulum:
    """A pendulum that hangs, to be swung up and held up by a torque too weak to lift it. It costs to be elsewhere."""

    inputs, actions, loss, discount = 3, 1, staticmethod(gaussian_loss), 0.95

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.angle, self.turning = rng.uniform(-np.pi, np.pi, COPIES), rng.uniform(-1, 1, COPIES)
        self.age = rng.integers(0, 200, COPIES)

    def look(self) -> np.ndarray:
        return np.stack([np.cos(self.angle), np.sin(self.angle), self.turning / 4], axis=1)

    def choose(self, mean: np.ndarray, log_std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        action = mean + np.exp(log_std) * self.rng.standard_normal(mean.shape)
        return action, gaussian_logp(mean, log_std, action)

    def move(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        torque = np.clip(2 * action[:, 0], -2, 2)
        off = (self.angle + np.pi) % (2 * np.pi) - np.pi
        cost = off**2 + 0.1 * self.turning**2 + 0.001 * torque**2
        self.turning = np.clip(self.turning + 0.05 * (15 * np.sin(self.angle) + 3 * torque), -8, 8)
        self.angle, self.age = self.angle + 0.05 * self.turning, self.age + 1
        end = self.age >= 200
        self.angle[end], self.turning[end] = self.rng.uniform([[-np.pi], [-1]], [[np.pi], [1]], (2, end.sum()))
        self.age[end] = 0
        return -cost / 8, end

    def report(self, reward: np.ndarray, end: np.ndarray) -> str:
        return f"a move costs {-8 * reward.mean():5.2f}"


if __name__ == "__main__":
    main()
