"""Plain functions as losses: traced once for each set of shapes, and derived by the chain rule.

``function(*outputs, *targets)`` returns one number. Called on symbols it gives the tensor of the loss; the graph of the
network and that of the function are one graph then, which a backend runs as any other (``engine/function_loss.py``). A
function that returns ``(loss, gradient)`` derives itself, and is a :class:`~fastbp.CustomLoss`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, ClassVar

import numpy as np

from fastbp.core.checks import finite, numbered, real
from fastbp.graph.tensor import B, Symbol, Tensor
from fastbp.graph.tracing import label_of, trace
from fastbp.objectives.custom import CustomLoss
from fastbp.objectives.derived import traced_loss
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array, Shape
from fastbp.ops.expression import call
from fastbp.ops.reduce import ReduceOp
from fastbp.ops.scalar import ScalarOp
from fastbp.ops.sources import ConstantOp, RowsOp
from fastbp.ops.structure import IndexOp, ReshapeOp


@dataclass(frozen=True)
class FunctionLoss(Loss):
    """A loss given as a function of all outputs and all targets, in order."""

    function: Callable[..., Any]
    name: ClassVar[str] = "python"

    @property
    def label(self) -> str:
        """What errors call it."""
        return f"loss {label_of(self.function)}"

    @cached_property
    def custom(self) -> CustomLoss:
        """The same function, taken as one that returns (loss, gradient)."""
        return CustomLoss(self.function)

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        # Only the function knows how rows and loss belong together.
        raise NotImplementedError(f"{self.label}: looks at a batch as a whole")

    def all_targets(self, y: Any, outputs: Sequence[Tensor], dtype: str, rows: int) -> list[Array]:
        """Check and convert the targets: a tuple has several, None none."""
        given = list(y) if isinstance(y, tuple) else [] if y is None else [y]
        arrays = []
        for name, t in zip(numbered("y", len(given)), given, strict=True):
            array = real(name, t)
            if not array.ndim or len(array) != rows:
                has = f"{len(array)} rows" if array.ndim else "a single number"
                raise ValueError(f"{name} has {has}; expected {rows} row{'s' * (rows != 1)}, as x has")
            whole = array.dtype.kind in "iu"  # a copy then: it may say which elements are taken
            array = np.array(array, np.int64, order="C") if whole else np.ascontiguousarray(array, dtype)
            # without it, (B, 1) - (B,) would be (B, B)
            single = len(given) == len(outputs) == 1 and array.ndim == 1 and prod(outputs[0].shape) == 1
            arrays.append(finite(name, array.reshape(rows, *outputs[0].shape) if single else array))
        return arrays

    def returns_gradient(self, outputs: Sequence[Tensor], targets: Sequence[Array]) -> bool:
        """Whether the function returns a pair (loss, gradient), as found by calling it on symbols, or on two rows."""
        if len(outputs) == len(targets) == 1 and self.custom.takes_weights:
            return True
        try:
            return _is_pair(self._called(outputs, targets))
        except (TypeError, ValueError, IndexError, AttributeError, NotImplementedError):
            arrays = [np.zeros((2, *t.shape)) for t in outputs]
            try:
                with np.errstate(all="ignore"):
                    return _is_pair(self.function(*arrays, *(np.repeat(t[:1], 2, axis=0) for t in targets)))
            except Exception:  # what it raises on numbers says nothing of what it returns
                return False

    def _called(self, outputs: Sequence[Tensor], targets: Sequence[Array]) -> Any:
        return trace(self.function, [*outputs, *map(placeholder, targets)], self.label)

    def tensor(self, outputs: Sequence[Tensor], targets: Sequence[Tensor], weight: Tensor | None) -> Tensor:
        """Return the tensor of the loss.

        Raises
        ------
        TypeError, ValueError
            Where the function cannot be traced, returns something else than one number, or is given sample weights that
            it cannot heed.
        """
        loss = traced_loss(self.function, self.label, outputs, targets)
        return loss if weight is None else self._weighted(loss, weight)

    def _weighted(self, loss: Tensor, weight: Tensor) -> Tensor:
        w = Symbol(weight)
        total = np.sum(w)
        share = np.where(total > 0, w / total, 0.0)
        weighted: Any = row_means(loss, share, _depends_on_rows(loss))
        if weighted is None:
            raise ValueError(f"{self.label}: sample_weight is given, but the loss is not a mean over the rows of the "
                             "batch, or a sum of such means; end it in np.mean(…), or take the weights as a target")
        found: Tensor = weighted.tensor
        return found


def placeholder(array: Array) -> Tensor:
    """Return the symbol for an array with a row for each sample."""
    return Tensor(array.shape[1:], dtype="int64" if array.dtype.kind == "i" else "real")


def row_means(loss: Tensor, share: Any, depends: dict[Tensor, bool], leaf: str = "mean") -> Any:
    """Return the loss with each mean over rows as a sum weighted by ``share``; None where it is made otherwise.

    A sum over rows divided by their number is a mean: what it is divided by is taken off, and sums are looked for.
    """
    node = loss.node
    if not depends[loss]:
        return Symbol(loss) if leaf == "mean" else None
    if node is None:
        return None
    op, xs = node.op, node.inputs
    if isinstance(op, ReduceOp) and op.function == leaf and 0 in op.axis and xs[0].rows and B not in xs[0].shape:
        x = Symbol(xs[0])
        others = tuple(a for a in op.axis if a)
        each = call(ReduceOp(leaf, others, True), x) if others else x
        return np.sum(each * np.reshape(share, (x.shape[0], *(1,) * (x.ndim - 1))), axis=op.axis, keepdims=op.keepdims)
    if (isinstance(op, ReduceOp) and op.function in ("sum", "mean")) or isinstance(op, ReshapeOp | IndexOp):
        inner = None if xs[0].rows or B in xs[0].shape else row_means(xs[0], share, depends, leaf)
        return None if inner is None else call(op, inner)
    if not isinstance(op, ScalarOp) or op.function not in ("add", "sub", "neg", "mul", "div"):
        return None
    times_rows = _times_rows(xs[1]) if op.function == "div" and leaf == "mean" else None
    if times_rows is not None:
        total = row_means(xs[0], share, depends, "sum")
        return None if total is None else total / times_rows
    if op.function in ("mul", "div") and depends[xs[1]] and (op.function == "div" or depends[xs[0]]):
        return None
    if any(x.rows or B in x.shape for x in xs):
        return None
    factor = op.function in ("mul", "div")
    parts = [Symbol(x) if factor and not depends[x] else row_means(x, share, depends, leaf) for x in xs]
    return None if any(p is None for p in parts) else call(op, *parts)


def _times_rows(t: Tensor) -> float | None:
    """Return what the number of rows is multiplied by to be t, if it is made so."""
    if t.node is None or isinstance(t.node.op, RowsOp):
        return None if t.node is None else 1.0
    if not isinstance(t.node.op, ScalarOp) or t.node.op.function != "mul":
        return None
    a, b = t.node.inputs
    number, rows = (a, b) if isinstance(a.node.op if a.node else None, ConstantOp) else (b, a)
    times = _times_rows(rows)
    if times is None or number.node is None or not isinstance(number.node.op, ConstantOp) or number.ndim:
        return None
    return times * float(number.node.op.values)


def _depends_on_rows(loss: Tensor) -> dict[Tensor, bool]:
    """Return of every tensor that a loss is made of whether it depends on the batch."""
    depends: dict[Tensor, bool] = {}
    stack = [loss]
    while stack:
        t = stack[-1]
        waiting = [s for s in (t.node.inputs if t.node else ()) if s not in depends]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        made_of_rows = t.node is None or t.rows or t.node.op.name in ("rows", "random")
        depends[t] = made_of_rows or any(depends[s] for s in t.node.inputs)  # type: ignore[union-attr]
    return depends


def is_mean_of_rows(loss: Tensor) -> bool:
    """Whether a loss is a mean over rows, so that parts of a data set can be averaged."""
    return row_means(loss, Symbol(Tensor(())), _depends_on_rows(loss)) is not None


def per_row(loss: Tensor) -> Tensor | None:
    """Return the rows whose sum is the loss; None where it is no such sum."""
    found = _rows_of(loss, _depends_on_rows(loss))
    return None if found is None else found.tensor


def _rows_of(t: Tensor, depends: dict[Tensor, bool]) -> Any:
    """Return an array (B, *t's shape) that adds up to t over its rows, or None."""
    node = t.node
    if not depends[t]:
        return np.broadcast_to(Symbol(t) / B, (B, *t.shape))
    if node is None or t.rows or B in t.shape:
        return None
    op, xs = node.op, node.inputs
    if isinstance(op, ReduceOp) and op.function in ("sum", "mean") and not op.keepdims and B not in xs[0].shape:
        if not xs[0].rows:
            inner = _rows_of(xs[0], depends)
            return None if inner is None else call(ReduceOp(op.function, tuple(a + 1 for a in op.axis)), inner)
        if 0 not in op.axis:
            return None
        others = op.axis[1:]
        each = call(ReduceOp(op.function, others), Symbol(xs[0])) if others else Symbol(xs[0])
        return each if op.function == "sum" else each / B
    if not isinstance(op, ScalarOp) or op.function not in ("add", "sub", "neg", "mul", "div"):
        return None
    if op.function in ("mul", "div"):
        if depends[xs[1]] and (depends[xs[0]] or op.function == "div"):
            return None
        if any(len(x.shape) > len(t.shape) for x in xs):
            return None
        parts = [_rows_of(x, depends) if depends[x] else Symbol(x) for x in xs]
    else:
        if any(x.shape != t.shape for x in xs):
            return None
        parts = [_rows_of(x, depends) for x in xs]
    return None if any(p is None for p in parts) else call(op, *parts)


def _is_pair(given: Any) -> bool:
    return isinstance(given, tuple | list) and len(given) == 2


@dataclass(frozen=True)
class TotalLoss(Loss):
    """What a graph that ends in its loss is minimised by: the loss itself, whose derivative by itself is 1."""

    name: ClassVar[str] = "total"
    of_batch: ClassVar[bool] = True

    def value_and_gradient(self, y_pred: Array, target: Array, row_weights: Array) -> tuple[float, Array]:
        return float(y_pred), np.ones_like(y_pred)

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        raise NotImplementedError("the loss of a batch as a whole")

    def native_target(self, out_shape: Shape, target: Array) -> tuple[Shape, range | None]:
        return (0,), None

    def plain_domain(self, target: Array) -> None:
        return None


@dataclass(frozen=True)
class RowSum(TotalLoss):
    """The sum of an output of one number a row: what a graph that ends in the rows of its loss is minimised by."""

    name: ClassVar[str] = "row_sum"
    of_batch: ClassVar[bool] = False

    def value_and_gradient(self, y_pred: Array, target: Array, row_weights: Array) -> tuple[float, Array]:
        return float(y_pred.sum(dtype=np.float64)), np.ones_like(y_pred)

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        return x[:, 0], np.ones_like(x)


def no_targets(rows: int, dtype: str) -> Array:
    """Return the targets of a TotalLoss."""
    return np.empty((rows, 0), dtype)

