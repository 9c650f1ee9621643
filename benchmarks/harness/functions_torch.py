"""The rows of functions in PyTorch: objectives of (parameters, arrays of a mini-batch)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.function_rows import FunctionRow


def _split(row: FunctionRow, parameters: Any) -> list[Any]:
    chains, start = [], 0
    for widths in row.chains:
        count = len(list(pairwise(widths)))
        chains.append(parameters[start:start + count])
        start += count
    return chains


def _chain(x: Any, layers: Any, activation: Any) -> Any:
    for i, (weight, bias) in enumerate(layers):
        x = torch.addmm(bias, activation(x) if i else x, weight)
    return x


def objective(row: FunctionRow) -> Any:
    """Return ``objective(parameters, *tensors)``."""
    act = {"relu": nn.functional.relu, "tanh": torch.tanh, "silu": nn.functional.silu}[row.activation]

    def ppo(parameters: Any, x: Any, action: Any, advantage: Any, old_logp: Any, returns: Any) -> Any:
        actor, critic = _split(row, parameters)
        logp = torch.log_softmax(_chain(x, actor, act), dim=1)
        value = _chain(x, critic, act)
        ratio = torch.exp(logp.gather(1, action[:, None])[:, 0] - old_logp)
        policy = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        entropy = -(logp.exp() * logp).sum(dim=1)
        return -policy.mean() + 0.5 * ((value[:, 0] - returns) ** 2).mean() - 0.01 * entropy.mean()

    def dqn(parameters: Any, x: Any, then: Any, action: Any, reward: Any) -> Any:
        online, fixed = _split(row, parameters)
        with torch.no_grad():
            target = reward + 0.99 * _chain(then, fixed, act).max(dim=1).values
        return nn.functional.huber_loss(_chain(x, online, act).gather(1, action[:, None])[:, 0], target)

    def vae(parameters: Any, x: Any, noise: Any) -> Any:
        first, means, variances, decoder = _split(row, parameters)
        h = act(_chain(x, first, act))
        mean, log_variance = _chain(h, means, act), _chain(h, variances, act)
        logits = _chain(mean + torch.exp(0.5 * log_variance) * noise, decoder, act)
        likelihood = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=1)
        return (likelihood - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1)).mean()

    def pinn(parameters: Any, points: Any) -> Any:
        (layers,) = _split(row, parameters)
        points = points.detach().requires_grad_()
        u = _chain(points, layers, act)
        (du,) = torch.autograd.grad(u.sum(), points, create_graph=True)
        (second,) = torch.autograd.grad(du[:, 1].sum(), points, create_graph=True)
        return ((du[:, 0] + u[:, 0] * du[:, 1] - 0.01 / np.pi * second[:, 1]) ** 2).mean()

    def force(parameters: Any, x: Any, known_energy: Any, known_force: Any) -> Any:
        (layers,) = _split(row, parameters)
        x = x.detach().requires_grad_()
        energy = _chain(x, layers, act)
        (slope,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
        return ((energy[:, 0] - known_energy) ** 2).mean() + ((slope + known_force) ** 2).mean()

    return {"ppo": ppo, "dqn": dqn, "vae": vae, "pinn": pinn, "force": force}[row.name]


class Model(nn.Module):  # type: ignore[misc]
    """The parameters of a row; called on a mini-batch, it returns the loss."""

    def __init__(self, row: FunctionRow, parameters: Any) -> None:
        super().__init__()
        trained = len(parameters) - row.fixed
        tensors = [nn.Parameter(torch.from_numpy(array.copy()), requires_grad=i < trained)
                   for i, pair in enumerate(parameters) for array in pair]
        self._tensors = tensors
        self.trained = nn.ParameterList([t for t in tensors if t.requires_grad])
        self._objective = objective(row)

    def reset(self, parameters: Any) -> None:
        """Take the given values."""
        with torch.no_grad():
            for tensor, array in zip(self._tensors, (a for pair in parameters for a in pair), strict=True):
                tensor.copy_(torch.from_numpy(array))

    def forward(self, *batch: Any) -> Any:
        return self._objective(list(zip(self._tensors[::2], self._tensors[1::2], strict=True)), *batch)
