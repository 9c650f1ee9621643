"""A network's graph continued to its loss: how a function becomes what a backend minimises.

The graph's inputs are those of the network, the targets and the sample weights; its only output is the loss. It works
on the network's own memory, so that a step of it is a step of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fastbp.core.errors import NonFiniteError
from fastbp.engine.backend import Backend, Data, Progress, Update
from fastbp.engine.ranks import Share
from fastbp.engine.reference import mini_batch
from fastbp.graph.graph import Graph, Tensor
from fastbp.graph.indices import check_all, index_limits
from fastbp.graph.memory import Memory
from fastbp.graph.special import stop_gradient
from fastbp.objectives.functions import (
    FunctionLoss,
    RowSum,
    TotalLoss,
    is_mean_of_rows,
    no_targets,
    per_row,
    placeholder,
)
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array


class Objective:
    """One function as the loss of one network, for targets of given shapes; with or without sample weights.

    Parameters
    ----------
    loss : FunctionLoss
    memory : Memory
        The network's.
    targets : sequence of arrays
        Examples: their shapes and dtypes count.
    weighted : bool
    make_backend : callable
        ``make_backend(memory)``.
    """

    def __init__(self, loss: FunctionLoss, memory: Memory, targets: Sequence[Array], weighted: bool,
                 make_backend: Callable[[Memory], Backend]) -> None:
        net = memory.graph
        symbols = [placeholder(t) for t in targets]
        for i, t in enumerate(symbols):
            t.name = "y" if len(symbols) == 1 else f"y{i}"
        weight = Tensor((), name="sample_weight") if weighted else None
        fixed = [stop_gradient(t) if t.dtype == "real" else t for t in symbols]
        total = loss.tensor(net.outputs, fixed, None if weight is None else stop_gradient(weight))
        self.is_mean = weighted or is_mean_of_rows(total)
        rows = per_row(total)
        self.tensor = total if rows is None else rows
        self._loss: Loss = TotalLoss() if rows is None else RowSum()
        feeds = [*net.inputs, *symbols, *([] if weight is None else [weight])]
        needed = _leaves(self.tensor)
        self._fed = [i for i, t in enumerate(feeds) if t in needed]
        if not any(t in needed for t in net.inputs):
            raise ValueError(f"{loss.label}: does not depend on what the network is given; return a number that is "
                             "made of its outputs")
        names = [(layer, name) for name, layer in net.layers.items()]
        self.graph = Graph([feeds[i] for i in self._fed], [self.tensor], names)
        self.memory = memory.over(self.graph)
        self._inputs = net.inputs
        self._limits = index_limits(self.graph.tensors)
        self.backend = make_backend(self.memory)
        self._given: tuple[Data, Data] | None = None

    def loss(self, data: Data, training: bool) -> float:
        """Return the loss."""
        return self.backend.loss(self.data(data), training)

    def loss_and_grad(self, data: Data, input_grads: bool = False) -> tuple[float, tuple[Array | None, ...]]:
        """Return the loss and, where asked for, the gradients of the network's inputs."""
        loss, found = self.backend.loss_and_grad(self.data(data), input_grads)
        if not input_grads:
            return loss, ()
        known = dict(zip(self.graph.inputs, found, strict=True))
        return loss, tuple(known[t] if t in known else np.zeros_like(x) if t.dtype == "real" else None
                           for t, x in zip(self._inputs, data.inputs, strict=True))

    def train(self, data: Data, update: Update, order: Array | None, batch_size: int, learning_rates: Array,
              losses: Array, on_progress: Progress | None = None, share: Share | None = None,
              tally: Array | None = None) -> None:
        """Take one step per mini-batch, as a backend does."""
        try:
            self.backend.train(self.data(data), update, order, batch_size, learning_rates, losses, on_progress, share)
        except NonFiniteError as error:     # of the network's own data: here targets are inputs, too
            error.data = data.take(mini_batch(error.batch, data.rows, order, batch_size))
            raise

    def release(self) -> None:
        """Let go of the data that was trained on last."""
        self._given = None
        self.backend.release()

    def data(self, data: Data) -> Data:
        """Return the data of this graph: targets and weights among the inputs."""
        if self._given is None or self._given[0] is not data:
            arrays = [*data.inputs, *data.targets, *data.weights]
            if self._limits:
                check_all({t: arrays[i] for t, i in zip(self.graph.inputs, self._fed, strict=True)}, self._limits)
            made = Data([arrays[i] for i in self._fed], (self._loss,), [no_targets(data.rows, self.memory.dtype)])
            self._given = data, made
        return self._given[1]


def _leaves(tensor: Tensor) -> set[Tensor]:
    """Return the tensors without a node that one is made of."""
    seen, stack = {tensor}, [tensor]
    while stack:
        node = stack.pop().node
        new = [t for t in (node.inputs if node else ()) if t not in seen]
        seen.update(new)
        stack.extend(new)
    return {t for t in seen if t.node is None}
