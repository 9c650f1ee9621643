"""Functions that NumPy has not, for arrays and tensors (``fb.special``), and what stops the chain rule."""

from __future__ import annotations

from typing import Any

from fastbp.graph.tensor import on_tensors
from fastbp.ops import functions, scalar

__all__ = ["erf", "log_softmax", "logsumexp", "sigmoid", "softmax", "softplus", "stop_gradient"]

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
