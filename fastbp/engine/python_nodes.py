"""Nodes of a plan that call back into Python: layers and losses of the user's own.

A node looks at the whole batch through views of the plan's memory, and so cuts a tile's way through the net in two. The
other nodes cost what they always do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.graph.graph import Tensor
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array, Context, Shape

if TYPE_CHECKING:
    from fastbp.engine.lowering import Buffer, Place
    from fastbp.engine.native import Plan


class PythonNode:
    """One use of a Python op: forward, then backward, on the same context."""

    def __init__(self, t: Tensor, number: int, x: Sequence[Place], y: Buffer, names: dict[str, dict[str, str]]) -> None:
        assert t.node is not None
        self._node, self._number, self._shape = t.node, number, t.shape
        self._x, self._y, self._names = x, y, names
        self._ctx = Context()
        self.dy: Place = None
        self.dx: Sequence[Place] = ()
        self.dp: dict[str, Place] = {}

    def forward(self, plan: Plan, rows: int, training: bool, seed: int, step: int) -> None:
        """Fill y."""
        inputs = tuple(plan.view(b, t.shape, rows) for b, t in zip(self._x, self._node.inputs, strict=True))
        params = {role: plan.memory.params[name] for role, name in self._names["params"].items()}
        buffers = {role: plan.memory.buffers[name] for role, name in self._names["buffers"].items()}
        ctx = Context(training, inputs, params=params, buffers=buffers, seed=seed, step=step, node=self._number)
        y = plan.view(self._y, self._shape, rows)
        y[...] = self._node.op.forward(ctx, *ctx.inputs, **ctx.params)
        ctx.output = y
        self._ctx = ctx

    def backward(self, plan: Plan, rows: int, training: bool, seed: int, step: int) -> None:
        """Fill dx and the gradients of the parameters, those that are wanted."""
        dxs, dparams = self._node.op.backward(self._ctx, plan.view(self.dy, self._shape, rows))
        for place, dx, t in zip(self.dx, dxs, self._node.inputs, strict=True):
            if place is not None:
                plan.view(place, t.shape, rows)[...] = dx
        for role, place in self.dp.items():
            if place is not None:
                plan.array(place, dparams[role].shape)[...] = dparams[role]


class PythonLoss:
    """A loss that is a Python function: the loss of the batch in the first row's place, and dx."""

    def __init__(self, loss: Loss, x: Buffer, shape: Shape, target: Buffer, target_shape: Shape, weight: Buffer | None,
                 row_loss: Buffer) -> None:
        self._loss, self._x, self._shape = loss, x, shape
        self._target, self._target_shape, self._weight, self._row_loss = target, target_shape, weight, row_loss
        self.dx: Place = None

    def forward(self, plan: Plan, rows: int, training: bool, seed: int, step: int) -> None:
        """Fill row_loss and, where it is wanted, dx."""
        target = plan.view(self._target, self._target_shape, rows)
        given: Array | None = None if self._weight is None else plan.view(self._weight, (), rows)
        y_pred = plan.view(self._x, self._shape, rows)
        value, dy = self._loss.value_and_gradient(y_pred, target, self._loss.row_weights(target, given))
        row_loss = plan.view(self._row_loss, (), rows)
        row_loss[...] = 0
        row_loss[0] = value
        if self.dx is not None:
            plan.view(self.dx, self._shape, rows)[...] = dy


def call(target: Any, plan: Plan, rows: int, training: bool, seed: int, step: int) -> BaseException | None:
    """Call a node's method; return what it raised."""
    try:
        with np.errstate(all="ignore"):
            target(plan, rows, training, seed, step)
    except BaseException as error:
        return error
    return None
