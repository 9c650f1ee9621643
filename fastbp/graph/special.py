"""Functions that NumPy has not, for arrays and tensors (``fb.special``), and what stops the chain rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.graph.tensor import B, Symbol, Tensor, as_tensor, on_tensors
from fastbp.ops import functions, scalar

__all__ = ["arange", "erf", "expit", "log_softmax", "logsumexp", "sigmoid", "softmax", "softplus", "stop_gradient",
           "take"]

softmax = on_tensors(functions.softmax)
log_softmax = on_tensors(functions.log_softmax)
logsumexp = on_tensors(functions.logsumexp)
stop_gradient = on_tensors(functions.stop_gradient)


@on_tensors
def erf(x: Any) -> Any:
    r"""Return the error function, :math:`\frac{2}{\sqrt\pi} \int_0^x e^{-t^2} dt`.

    Examples
    --------
    >>> float(erf(1.0)).__round__(4)
    0.8427
    """
    return scalar.SCALARS["erf"](x)


@on_tensors
def sigmoid(x: Any) -> Any:
    r"""Return :math:`1 / (1 + e^{-x})`.

    Examples
    --------
    >>> float(sigmoid(0.0))
    0.5
    """
    return scalar.sigmoid(x)


@on_tensors
def softplus(x: Any) -> Any:
    r"""Return :math:`\log(1 + e^x)`.

    Examples
    --------
    >>> float(softplus(1000.0))
    1000.0
    """
    return scalar.softplus(x)


expit = sigmoid
"""SciPy's name for :func:`sigmoid`."""


def take(array: Any, indices: Any, axis: int = 0) -> Any:
    """Return ``np.take(array, indices, axis)``, where the indices may be a tensor and the array plain numbers.

    Examples
    --------
    >>> import numpy as np
    >>> take(np.eye(3), np.array([2, 0]))
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    if not isinstance(indices, Tensor | Symbol):
        return np.take(array, indices, axis=axis)
    whole = array if isinstance(array, Tensor | Symbol) else Symbol(as_tensor(array))
    made: Any = functions.take(Symbol(as_tensor(whole)), Symbol(as_tensor(indices)), axis)
    return made if isinstance(indices, Symbol) else made.tensor


def arange(n: Any) -> Any:
    """Return the integers from 0 to below n, which may be the number of rows: ``fb.special.arange(x.shape[0])``.

    Examples
    --------
    Which pairs of rows are a row and itself:

    >>> import fastbp as fb
    >>> i = fb.special.arange(3)
    >>> (i[:, None] == i[None]).astype(int)
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 0, 1]])
    """
    if n is not B:
        return np.arange(n)
    ones = np.broadcast_to(Symbol(as_tensor(1.0)), (B,))
    return (np.cumsum(ones, axis=0) - 1.0).astype(int)
