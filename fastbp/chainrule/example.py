"""The worked example: two inputs, two hidden units, two outputs, sigmoid everywhere, half the squared error.

Its numbers have been in use for teaching backpropagation for years; here they go through the library's public pieces
only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.engine.executable import BackendName
from fastbp.layers import Linear, Sigmoid
from fastbp.network import Network, Sequential
from fastbp.objectives.losses import HalfSquaredError


@dataclass(frozen=True)
class Example:
    """A network with data: what ``net.explain`` takes.

    Attributes
    ----------
    net : Network
    x, y : array, or whatever else the network takes
    loss : Loss
    lr : float
    """

    net: Network
    x: Any
    y: Any
    loss: Any
    lr: float = 0.1


def worked_example(backend: BackendName = "reference") -> Example:
    """Return the 2-2-2 network with its weights, the sample, the loss and the learning rate.

    Examples
    --------
    >>> from fastbp.chainrule import worked_example
    >>> e = worked_example()
    >>> e.net.predict(e.x)
    array([[0.75136507, 0.77292847]])
    >>> e.net.explain(e.x, e.y, e.loss, weight="w7", lr=e.lr).gradient
    -0.022602540477475067
    """
    net = Sequential(Linear(2, 2), Sigmoid(), Linear(2, 2), Sigmoid(), dtype="float64", seed=0, backend=backend)
    # A column for each destination unit: w1, w2 lead to unit 1, w3, w4 to unit 2.
    net.params["0.weight"] = [[0.15, 0.25], [0.20, 0.30]]
    net.params["0.bias"] = [0.35, 0.35]
    net.params["2.weight"] = [[0.40, 0.50], [0.45, 0.55]]
    net.params["2.bias"] = [0.60, 0.60]
    return Example(net, np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]]), HalfSquaredError(), 0.5)
