"""The reference backend: the chain rule on a graph, in plain NumPy.

Forward visits every node after what it needs; backward visits them the other way round, and adds up what a tensor
gets from each place where it is used. This is the specification that the native backend is checked against.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import nan
from typing import Any

import numpy as np

from fastbp.core.errors import NonFiniteError
from fastbp.engine.backend import Data, Look, Progress, Update
from fastbp.engine.ranks import Share
from fastbp.graph.graph import Node, Parameter, Tensor
from fastbp.graph.memory import Memory
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array, Context


class ReferenceBackend:
    """Runs a graph with the NumPy ops."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._graph = memory.graph
        self._contexts: dict[Tensor, Context] = {}
        self._values: dict[Tensor, Array] = {}
        self._gradients: dict[Tensor, Array] = {}

    def forward(self, inputs: Sequence[Array], training: bool) -> tuple[Array, ...]:
        made = self._forward(inputs, training, self._memory.draw() if training else self._memory.step)
        return tuple(y if t.rows else y.copy() for t, y in zip(self._graph.outputs, made, strict=True))

    def _forward(self, inputs: Sequence[Array], training: bool, key: int) -> tuple[Array, ...]:
        values: dict[Tensor, Array] = dict(zip(self._graph.inputs, inputs, strict=True))
        contexts: dict[Tensor, Context] = {}
        rows = len(inputs[0])
        with np.errstate(all="ignore"):
            for tensor in self._graph.tensors:
                node = tensor.node
                if node is None:
                    continue
                ctx = Context(training, tuple(values[t] for t in node.inputs), seed=self._memory.seed,
                              step=key, node=self._graph.draws_at(tensor),
                              compute_dtype=self._memory.compute_dtype, rows=rows, dtype=self._memory.dtype,
                              params=self._named(node.params, self._memory.params),
                              buffers=self._named(node.buffers, self._memory.buffers))
                ctx.output = values[tensor] = node.op.forward(ctx, *ctx.inputs, **ctx.params)
                contexts[tensor] = ctx
        self._values, self._contexts, self._gradients = values, contexts, {}
        return tuple(values[t] for t in self._graph.outputs)

    def backward(self, dys: Sequence[Array]) -> tuple[Array | None, ...]:
        gradients: dict[Tensor, Array] = dict(zip(self._graph.outputs, dys, strict=True))
        self._memory.grads.flat[...] = 0
        frozen = self._memory.frozen
        with np.errstate(all="ignore"):
            for tensor in reversed(self._graph.tensors):
                node = tensor.node
                if node is None or tensor not in gradients:
                    continue
                dxs, dparams = node.op.backward(self._contexts[tensor], gradients[tensor])
                for source, dx in zip(node.inputs, dxs, strict=True):
                    if source.dtype == "real" and dx is not None:
                        gradients[source] = gradients[source] + dx if source in gradients else dx
                self._add_parameter_gradients(node, dparams, frozen)
        self._gradients = gradients
        return tuple(gradients.get(t, np.zeros_like(self._values[t])) if t.dtype == "real" else None
                     for t in self._graph.inputs)

    def loss(self, data: Data, training: bool) -> float:
        return self._losses(data, self.forward(data.inputs, training))[0]

    def loss_and_grad(self, data: Data, input_grads: bool = False) -> tuple[float, tuple[Array | None, ...]]:
        return self._loss_and_grad(data, self._memory.draw())

    def _loss_and_grad(self, data: Data, key: int,
                       tally: Array | None = None) -> tuple[float, tuple[Array | None, ...]]:
        loss, dys = self._losses(data, self._forward(data.inputs, True, key), tally)
        return loss, self.backward(dys)

    def evaluate(self, data: Data, batch_size: int, look: Look | None) -> None:
        return None

    def apply(self, update: Update, lr: float) -> None:
        apply_update(self._memory, update, lr)

    def train(self, data: Data, update: Update, order: Array | None, batch_size: int, learning_rates: Array,
              losses: Array, on_progress: Progress | None = None, share: Share | None = None,
              tally: Array | None = None) -> None:
        if share is not None and share.is_local:
            data = whole_batch(data, share)
            batch_size = data.rows
        for i, lr in enumerate(learning_rates):
            part = data.take(mini_batch(i, data.rows, order, batch_size))
            with self._whole_or_not_at_all(update):
                losses[i] = self._step(i, part, update, float(lr), None if tally is None else tally[i])
            if tally is not None and share is not None and not share.ranks.leads:
                tally[i] = 0            # every rank has seen the whole batch, and one of them counts it
            if on_progress is not None:
                on_progress(i + 1)

    def release(self) -> None:
        return

    def quick_forward(self, x: Any) -> Array | None:
        return None

    def quick_loss_and_grad(self, x: Any, y: Any, loss: Any) -> float | None:
        return None

    def quick_step(self, x: Any, y: Any, loss: Any, update: Update, lr: float) -> float | None:
        return None

    def values(self) -> dict[str, Array]:
        return {self._graph.names[t]: v for t, v in self._values.items()}

    def gradients(self) -> dict[str, Array]:
        return {self._graph.names[t]: v for t, v in self._gradients.items()}

    def contexts(self) -> dict[Tensor, Context]:
        """Return what each node knew in the last run, by the tensor that it made."""
        return dict(self._contexts)

    def first_bad_tensor(self, data: Data) -> str:
        """Return the first tensor of the last run that is not finite, in the order of computation."""
        return first_bad_tensor(self._memory, data, self.values(), self.gradients())

    def _step(self, i: int, data: Data, update: Update, lr: float, tally: Array | None) -> float:
        loss, _ = self._loss_and_grad(data, self._memory.step, tally)
        if not np.isfinite(loss) or not np.isfinite(self._memory.grads.flat).all():
            raise NonFiniteError(i, self.first_bad_tensor(data), data, lr)
        bad = update.apply(self._memory.params.flat, self._memory.grads.flat, lr)
        if bad is not None:
            raise NonFiniteError(i, f"{self._memory.parameter_at(bad)} after the update", data, lr)
        self._memory.step += 1
        return loss

    @contextmanager
    def _whole_or_not_at_all(self, update: Update) -> Iterator[None]:
        """Put everything back where a step fails, or Ctrl-C comes in the midst of it."""
        arrays = [self._memory.params.flat, self._memory.buffers.flat, *update.state]
        before, steps = [a.copy() for a in arrays], (update.step, self._memory.step)
        try:
            yield
        except BaseException:
            for array, old in zip(arrays, before, strict=True):
                array[...] = old
            update.step, self._memory.step = steps
            raise

    def _named(self, roles: dict[str, Parameter], arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {role: arrays[self._graph.parameter_name(p)] for role, p in roles.items()}

    def _add_parameter_gradients(self, node: Node, dparams: dict[str, Array], frozen: frozenset[str]) -> None:
        for role, gradient in dparams.items():
            name = self._graph.parameter_name(node.params[role])
            if name not in frozen:
                self._memory.grads[name] += gradient

    def _losses(self, data: Data, outputs: Sequence[Array], tally: Array | None = None) -> tuple[float, list[Array]]:
        total, dys = 0.0, []
        scales = data.scales or (1.0,) * len(data.losses)
        with np.errstate(all="ignore"):
            for i, (loss, y_pred, target) in enumerate(zip(data.losses, outputs, data.targets, strict=True)):
                weights = loss.row_weights(target, data.sample_weight)
                value, dy = loss.value_and_gradient(y_pred, target, weights)
                if scales[i] != 1:
                    value, dy = value * scales[i], dy * dy.dtype.type(scales[i])
                total += value
                dys.append(dy)
                if tally is not None:
                    tally[i] = value, _right(loss, y_pred, target, data.sample_weight)
        return total, dys


def whole_batch(data: Data, share: Share) -> Data:
    """Return the rows of all ranks, for what computes the whole batch on each of them."""
    part = share.part(*share.parts[0, 2:].tolist())
    weight = None if data.sample_weight is None else part.gather(data.sample_weight)
    return Data([part.gather(x) for x in data.inputs], data.losses, [part.gather(t) for t in data.targets], weight,
                data.scales)


def _right(loss: Loss, y_pred: Array, target: Array, sample_weight: Array | None) -> float:
    """Return how many decisions are right, each row counted by its sample weight; NaN where they are not counted."""
    if not loss.counts_right or (sample_weight is not None and sample_weight.ndim > 1):
        return nan
    right = loss.right(y_pred, target)
    return float(right.sum() if sample_weight is None else np.dot(right, sample_weight.astype(np.float64)))


def mini_batch(number: int, rows: int, order: Array | None, batch_size: int) -> Any:
    """Return the rows of a mini-batch, numbered through all epochs: what ``Data.take`` takes."""
    per_epoch = rows if order is None else order.shape[1]
    epoch, at = divmod(number, -(-per_epoch // batch_size))
    part = slice(at * batch_size, min((at + 1) * batch_size, per_epoch))
    return part if order is None else order[epoch, part]


def apply_update(memory: Memory, update: Update, lr: float) -> None:
    """Update the parameters once from the gradients; raise NonFiniteError where something is not finite."""
    for name, gradient in memory.grads.items():
        if not np.isfinite(gradient).all():
            raise NonFiniteError(update.step, f"the gradient of {name}")
    bad = update.apply(memory.params.flat, memory.grads.flat, lr)
    if bad is not None:
        raise NonFiniteError(update.step, f"{memory.parameter_at(bad)} after the update")
    memory.step += 1


def first_bad_tensor(memory: Memory, data: Data, values: dict[str, Array], gradients: dict[str, Array]) -> str:
    """Return the first tensor that is not finite: inputs, parameters, values, gradients, in this order."""
    graph = memory.graph
    order: list[tuple[str, Array | None]] = [(graph.names[t], values.get(graph.names[t])) for t in graph.inputs]
    order += list(memory.params.items())
    order += [(graph.names[t], values.get(graph.names[t])) for t in graph.tensors if t.node is not None]
    if data.sample_weight is not None:
        order.append(("sample_weight", data.sample_weight))
    names = [graph.names[t] for t in reversed(graph.tensors)]
    late: list[tuple[str, Array | None]] = [(f"the gradient of {n}", gradients.get(n)) for n in names]
    late += [(f"the gradient of {n}", g) for n, g in memory.grads.items()]
    for name, array in order:
        if array is not None and not np.isfinite(array).all():
            return name
    for name, array in late:
        if array is not None and not np.isfinite(array).all():
            return name if gradients else "the loss"
    return "the loss"
