"""From an estimator's parameters to its network: layers, and weights as scikit-learn would have drawn them."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from fastbp import layers
from fastbp.core.checks import integer
from fastbp.graph.graph import Input
from fastbp.layers.activations import ELEMENTWISE, Activation
from fastbp.layers.base import Layer
from fastbp.layers.linear import Linear
from fastbp.network import Network, Sequential
from fastbp.optim.initializers import Zeros

ACTIVATIONS: dict[str, type[Layer]] = {"identity": layers.Identity, "logistic": layers.Sigmoid, **ELEMENTWISE}


def build(owner: Any, features: int, outputs: int, dtype: str, random_state: np.random.RandomState) -> Network:
    """Return the network that an estimator's parameters describe.

    Weights and biases are uniform in ±√(6 / (fan in + fan out)), ±√(2 / …) before a logistic activation, and drawn in
    scikit-learn's order: with one random state both begin with the same numbers.
    """
    sizes = hidden_sizes(owner)
    chosen = _each(owner, "activation", owner.activation, len(sizes), _activation)
    rates = _each(owner, "dropout", owner.dropout, len(sizes), _rate)
    stack: list[Layer] = []
    for size, activation, rate in zip(sizes, chosen, rates, strict=True):
        stack.append(_linear(size))
        if owner.batch_norm:
            stack.append(layers.BatchNorm())
        if owner.layer_norm:
            stack.append(layers.LayerNorm())
        stack.append(activation)
        if rate:
            stack.append(layers.Dropout(rate))
    # only dropout needs a seed: drawing one would move on the random numbers that scikit-learn draws
    seed = int(random_state.randint(2**31)) if any(rates) else 0
    net = Sequential(Input(features), *stack, _linear(outputs), dtype=dtype, seed=seed, backend=owner.backend)
    logistic = [isinstance(a, layers.Sigmoid) for a in chosen]
    for (weight, bias), narrow in zip(linear_parameters(net), [*logistic, logistic[-1] if logistic else False],
                                      strict=True):
        limit = sqrt((2 if narrow else 6) / sum(weight.shape))
        weight[...] = random_state.uniform(-limit, limit, weight.shape)
        bias[...] = random_state.uniform(-limit, limit, bias.shape)
    return net


def linear_parameters(net: Network) -> list[tuple[Any, Any]]:
    """Return weight and bias of each linear layer, as views: ``coefs_`` and ``intercepts_``."""
    names = [net.graph.layer_name(n.owner) for n in net.graph.nodes if n.op.name == "linear"]
    return [(net.params[f"{name}.weight"], net.params[f"{name}.bias"]) for name in names]


def hidden_sizes(owner: Any) -> list[int]:
    """Return the sizes of the hidden layers."""
    given = owner.hidden_layer_sizes
    sizes = list(given) if np.iterable(given) else [given]
    for size in sizes:
        if (integer(size) or 0) < 1:
            raise ValueError(f"{type(owner).__name__}: hidden_layer_sizes is {given!r}; expected positive integers")
    return [int(size) for size in sizes]


def _linear(size: int) -> Linear:
    return Linear(None, size, weight_init=Zeros(), bias_init=Zeros())


def _each(owner: Any, name: str, value: Any, count: int, convert: Any) -> list[Any]:
    """Return one value for each hidden layer: those given, or the given one for all."""
    label = type(owner).__name__
    if isinstance(value, list | tuple):
        if len(value) != count:
            raise ValueError(f"{label}: {name} has {len(value)} entries; expected {count}, one for each hidden layer")
        return [convert(label, v) for v in value]
    return [convert(label, value) for _ in range(count)]


def _activation(label: str, value: Any) -> Layer:
    if isinstance(value, Activation):
        return type(value)(**value.hyperparameters())
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise ValueError(f"{label}: activation is {value!r}; expected one of {', '.join(map(repr, ACTIVATIONS))}, an "
                         "activation layer such as fb.LeakyReLU(0.2), or a list of them, one for each hidden layer")
    return ACTIVATIONS[value]()


def _rate(label: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{label}: dropout is {value!r}; expected a number from 0 up to, but not including, 1, or a "
                         "list of them, one for each hidden layer")
    return float(value)
