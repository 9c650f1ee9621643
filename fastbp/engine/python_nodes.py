"""Nodes of a plan that call back into Python: layers and losses of the user's own, and ops without a C twin.

A node looks at the whole batch through views of the plan's memory, and so cuts a tile's way through the net in two. The
other nodes cost what they always do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.engine.plan_parts import Buffer, LossSpec, Place, PlanMemory, PlanNode
from fastbp.engine.ranks import Part
from fastbp.graph.graph import Tensor
from fastbp.ops.base import Array, Context, Shape


class PythonNode:
    """One use of an op that NumPy does: forward, then backward, on the same context.

    One that looks around sees the whole batch also where ranks share it: each computes all rows, and takes its own. The
    others look at a row at a time, or add up over all ranks by themselves.
    """

    def __init__(self, t: Tensor, number: int, x: Sequence[Place], y: Buffer, names: dict[str, dict[str, str]],
                 compute_dtype: str, looks_around: bool = True) -> None:
        assert t.node is not None
        self._looks_around = looks_around
        self._node, self._number, self._tensor = t.node, number, t
        self._x, self._y, self._names, self._compute_dtype = x, y, names, compute_dtype
        self._ctx = Context()
        self.dy: Place = None
        self.dx: Sequence[Place] = ()
        self.added: Sequence[bool] = ()
        """Whether the gradient of each input is added to what is there."""
        self.dp: dict[str, Place] = {}

    def forward(self, plan: PlanMemory, rows: int, training: bool, seed: int, step: int, part: Part | None) -> None:
        """Fill y."""
        inputs = tuple(_whole(plan, b, t, rows) for b, t in zip(self._x, self._node.inputs, strict=True))
        total = None if part is None else part.total
        y, own, part = _whole(plan, self._y, self._tensor, rows), rows, part if self._looks_around else None
        if part is not None:
            inputs = tuple(part.gather(x) if t.rows else x for x, t in zip(inputs, self._node.inputs, strict=True))
            rows = part.whole
        params = {role: plan.memory.params[name] for role, name in self._names["params"].items()}
        buffers = {role: plan.memory.buffers[name] for role, name in self._names["buffers"].items()}
        ctx = Context(training, inputs, params=params, buffers=buffers, seed=seed, step=step, node=self._number,
                      rows=rows, dtype=plan.memory.dtype, compute_dtype=self._compute_dtype, total=total)
        made = self._node.op.forward(ctx, *ctx.inputs, **ctx.params)
        y[...] = made if part is None or not self._tensor.rows else part.own(made, own)
        ctx.output = y if part is None else made
        self._ctx = ctx

    def backward(self, plan: PlanMemory, rows: int, training: bool, seed: int, step: int, part: Part | None) -> None:
        """Fill dx and the gradients of the parameters, those that are wanted."""
        dy, part = _whole(plan, self.dy, self._tensor, rows), part if self._looks_around else None
        if part is not None:
            # what has no rows stands on every rank, and the gradients that they have of it add up to the whole one
            dy = part.gather(dy) if self._tensor.rows else part.total(dy)
        dxs, dparams = self._node.op.backward(self._ctx, dy)
        for place, dx, t, added in zip(self.dx, dxs, self._node.inputs, self.added, strict=True):
            if place is not None and dx is not None:
                own = dx if part is None else part.own(dx, rows) if t.rows else part.once(dx)
                target = _whole(plan, place, t, rows)
                target[...] = target + own if added else own
        for role, place in self.dp.items():
            if place is not None:
                gradient = dparams[role] if part is None else part.once(dparams[role])
                plan.array(place, gradient.shape)[...] = gradient


class PythonLoss:
    """A loss that is a Python function: the loss of the batch in the first row's place, and dx."""

    def __init__(self, spec: LossSpec, node: PlanNode, tensor: Tensor) -> None:
        assert spec.loss is not None
        self._loss, self._target_shape, self._node, self._tensor = spec.loss, spec.target_shape, node, tensor

    def forward(self, plan: PlanMemory, rows: int, training: bool, seed: int, step: int, part: Part | None) -> None:
        """Fill row_loss and, where it is wanted, dx. Ranks that share a batch compute the loss of all of it."""
        node, of = self._node, self._node.loss
        target = _view(plan, of.target, self._target_shape, rows)
        given: Array | None = None if of.weight is None else _view(plan, of.weight, (), rows)
        y_pred, has_rows = _whole(plan, node.x[0], self._tensor, rows), self._tensor.rows
        if part is not None:
            target, given = part.gather(target), None if given is None else part.gather(given)
            y_pred = part.gather(y_pred) if has_rows else y_pred
        value, dy = self._loss.value_and_gradient(y_pred, target, self._loss.row_weights(target, given))
        value, dy = value * of.scale, dy if of.scale == 1 else dy * y_pred.dtype.type(of.scale)
        row_loss = _view(plan, of.row_loss, (), rows)
        row_loss[...] = 0
        row_loss[:1] = value if part is None or part.ranks.leads else 0
        if node.dx:
            own = dy if part is None else part.own(dy, rows) if has_rows else part.once(dy)
            _whole(plan, node.dx[0], self._tensor, rows)[...] = own


def _view(plan: PlanMemory, place: Place, shape: Shape, rows: int) -> Array:
    assert isinstance(place, Buffer)
    return plan.view(place, shape, rows)


def _whole(plan: PlanMemory, place: Place, t: Tensor, rows: int) -> Array:
    assert isinstance(place, Buffer)
    return plan.whole(place, t.shape_of(rows))


def call(node: PlanNode, plan: PlanMemory, rows: int, training: bool, seed: int, step: int,
         part: Part | None = None) -> Any:
    """Call what a node is written in; return what it raised."""
    assert node.call is not None
    try:
        with np.errstate(all="ignore"):
            node.call(plan, rows, training, seed, step, part)
    except BaseException as error:
        return error
    return None
