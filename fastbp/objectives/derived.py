"""The tensor that a function makes as a loss, and, where it is the loss of one output among several, its derivative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fastbp.core.lines import line_of_function
from fastbp.graph.grad import grad, reaches, why_not
from fastbp.graph.tensor import Symbol, Tensor
from fastbp.graph.tracing import trace
from fastbp.ops.base import Array, Context, DType, Shape


def traced_loss(function: Callable[..., Any], label: str, outputs: Sequence[Tensor],
                targets: Sequence[Tensor]) -> Tensor:
    """Return the tensor of a loss.

    Raises
    ------
    TypeError, ValueError
        Where the function cannot be traced, returns something else than one number, or has no derivative.
    """
    given = trace(function, [*outputs, *targets], label)
    where = f"{label}{line_of_function(function)}"
    if not isinstance(given, Symbol | Tensor):
        what = f"{given!r}" if given is None or isinstance(given, int | float | np.number) else type(given).__name__
        raise ValueError(f"{where}: returned {what}, which does not depend on what it was given; expected one "
                         "number made of the outputs, such as np.mean(np.square(y_pred - y))")
    loss = given if isinstance(given, Tensor) else given.tensor
    if loss.ndim or loss.dtype != "real":
        shape = ", ".join(map(str, loss.whole_shape)) + "," * (loss.ndim == 1)
        kind = "" if loss.dtype == "real" else f" of {loss.dtype}"
        mend = ", such as its mean: np.mean(…)" if loss.ndim else " of real numbers"
        raise ValueError(f"{where}: returned an array of shape ({shape}){kind}; expected one number{mend}")
    why = "" if reaches(loss, outputs) else why_not(loss, outputs)
    if why:
        raise ValueError(f"{label}: does not depend on the network's outputs{why}")
    return loss


def value_and_gradient(function: Callable[..., Any], label: str, y_pred: Array, target: Array) -> tuple[float, Array]:
    """Return a loss and its derivative by y_pred, in NumPy."""
    kind: DType = "int64" if target.dtype.kind == "i" else "real"
    output, given, loss, slope = _derivation(function, label, y_pred.shape[1:], target.shape[1:], kind)
    known = {output: y_pred, given: target}
    with np.errstate(all="ignore"):
        return float(evaluated(loss, known, y_pred)), np.array(evaluated(slope, known, y_pred))


@lru_cache(maxsize=32)
def _derivation(function: Callable[..., Any], label: str, shape: Shape, target_shape: Shape,
                kind: DType) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the symbols of y_pred and the target, and the tensors of the loss and its derivative."""
    output, target = Tensor(shape, name="y_pred"), Tensor(target_shape, name="y", dtype=kind)
    loss = traced_loss(function, label, [output], [target])
    return output, target, loss, grad(loss, output)


def evaluated(t: Tensor, known: dict[Tensor, Array], y_pred: Array) -> Array:
    """Return a tensor's array, in y_pred's rows and dtype; all that is made on the way is added to what is known."""
    ctx = Context(rows=len(y_pred), dtype=str(y_pred.dtype))
    stack = [t]
    while stack:
        top = stack[-1]
        waiting = [s for s in (top.node.inputs if top.node and top not in known else ()) if s not in known]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        if top not in known:
            assert top.node is not None
            known[top] = top.node.op.forward(ctx, *(known[s] for s in top.node.inputs))
    return known[t]
