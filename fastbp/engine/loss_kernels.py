"""Losses on arrays by their C kernels, with no plan around."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.objectives.losses import Loss, is_own
from fastbp.ops.base import Array

# What the kernel of a loss calls the number, or the numbers for its columns, that the loss gives its C twin.
_NUMBER = {"huber": "delta", "cross_entropy": "label_smoothing", "soft_cross_entropy": "label_smoothing"}
_NUMBERS = {"quantile": "quantiles", "binary_cross_entropy": "pos_weight"}


def value_and_gradient(loss: Loss, y_pred: Array, target: Array, row_weights: Array) -> tuple[float, Array]:
    """Return the loss and its gradient, as :meth:`Loss.value_and_gradient` does in NumPy.

    A loss whose rows are not fastbp's own has no kernel, and is computed there; so is one that ignores a class to which
    smoothing gives nothing.
    """
    is_label, ignores = target.dtype.kind == "i", getattr(loss, "ignore_index", None) is not None
    if not is_own(type(loss).rows) or (ignores and (not is_label or getattr(loss, "label_smoothing", 0) > 0)):
        return loss.value_and_gradient(y_pred, target, row_weights)
    ignored = target.reshape(-1) < 0 if ignores else None       # the number that labels to be ignored have become
    if ignored is not None:
        target = np.maximum(target, 0)
    from fastbp.engine import kernels
    shape = y_pred.shape[1:]
    name, native = loss.native_name(target), loss.native(shape, target)
    columns = native.dims[1]
    options: dict[str, Any] = {_NUMBER[name]: native.attrs[0]} if name in _NUMBER else {}
    if name in _NUMBERS and native.constants:
        options[_NUMBERS[name]] = np.array(native.constants, y_pred.dtype)
    row_loss, gradient = getattr(kernels, name)(
        y_pred.reshape(-1, columns), target.reshape(-1) if is_label else target.reshape(len(row_weights), -1),
        weight=row_weights.astype(y_pred.dtype), **options)
    if ignored is not None:
        row_loss[ignored] = gradient[ignored] = 0   # whatever the output is there
    # in the order of rows, as plans add up
    return float(row_loss.cumsum()[-1]), gradient.reshape(y_pred.shape)
