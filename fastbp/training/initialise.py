"""Initial parameters of a whole network by the rows that it will be trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.core.checks import count
from fastbp.network import Network
from fastbp.ops.linear import LinearOp
from fastbp.optim.data_driven import data_driven

SAMPLE_ROWS = 1024


def init_by_data(net: Network, X: Any, seed: int = 0) -> Network:
    """Set the weights and biases of all linear layers by what some rows look like on their way, from input to output.

    Each output of a layer has variance 1 over the rows, and its zero lies among them:
    :func:`~fastbp.optim.data_driven.data_driven` has the formula. Other parameters, and layers that are not trained,
    stay as they are; so do linear layers that make an output of the network.

    Parameters
    ----------
    net : Network
        Changed in place.
    X : array, or tuple of arrays for several inputs
        At most 1,024 rows of it are used, drawn at random.
    seed : int, default 0

    Returns
    -------
    Network
        The same one.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> X = 5 + 0.1 * np.random.default_rng(0).normal(size=(200, 4))
    >>> net = fb.Sequential(fb.Linear(4, 8), fb.SELU(), fb.Linear(8, 1), seed=0)
    >>> fb.init_by_data(net, X).activations(X)["0.linear"].std(axis=0).round(3).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    if not isinstance(net, Network):
        raise TypeError(f"init_by_data: net is {net!r}; expected a network such as fb.Sequential(…)")
    rng = np.random.default_rng(count("init_by_data", "seed", seed, at_least=0))
    arrays = X if isinstance(X, tuple) else (X,)
    rows = rng.permutation(len(arrays[0]))[:SAMPLE_ROWS]
    given = tuple(np.asarray(a)[rows] for a in arrays)
    sample: Any = given if isinstance(X, tuple) else given[0]
    name_of = net.graph.parameter_name
    done: set[Any] = set()
    for tensor in net.graph.tensors:
        node = tensor.node
        if node is None or not isinstance(node.op, LinearOp) or tensor in net.graph.outputs:
            continue
        weight = node.params["weight"]
        if weight in done or not weight.trainable:
            continue
        done.add(weight)
        x = net.activations(sample)[net.graph.names[node.inputs[0]]].astype(np.float64)
        drawn, bias, _ = data_driven(x.reshape(-1, x.shape[-1]), rng.standard_normal(weight.shape), rng)
        net.params[name_of(weight)][...] = drawn
        if "bias" in node.params:
            net.params[name_of(node.params["bias"])][...] = bias
    return net
