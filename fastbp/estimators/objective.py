"""What an estimator minimises: a loss, the output units it wants, and how its value is stated.

scikit-learn adds the losses of a sample's outputs up in some places where fastbp averages them. Both have the same
minimum; to take the same steps the learning rate, the penalty and Adam's ε are scaled by `gradient_scale`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastbp.objectives.cross_entropy import CrossEntropy
from fastbp.objectives.custom import CustomLoss
from fastbp.objectives.losses import (
    MAE,
    BinaryCrossEntropy,
    GaussianNLL,
    HalfSquaredError,
    Huber,
    Loss,
    PoissonNLL,
    Quantile,
)
from fastbp.ops.base import Array

REGRESSION_LOSSES: dict[str, type[Loss]] = {
    "squared_error": HalfSquaredError, "poisson": PoissonNLL, "absolute_error": MAE, "huber": Huber,
    "quantile": Quantile, "gaussian": GaussianNLL,
}


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes
    ----------
    loss : Loss
    units : int
        Outputs of the network.
    activation : str
        What turns them into predictions: ``out_activation_``.
    gradient_scale : float
        scikit-learn's gradient is this times fastbp's.
    loss_scale, loss_offset : float
        scikit-learn's loss is ``loss_scale * loss + loss_offset``.
    """

    loss: Loss
    units: int
    activation: str
    gradient_scale: float = 1.0
    loss_scale: float = 1.0
    loss_offset: float = 0.0


def classification(loss: Any, kind: str, classes: int) -> Objective:
    """Return the objective for a type of target, as ``sklearn.utils.multiclass.type_of_target`` calls it."""
    multilabel = kind == "multilabel-indicator"
    if isinstance(loss, str):
        if loss != "log_loss":
            raise ValueError(f'MLPClassifier: loss is {loss!r}; expected "log_loss", or a loss such as '
                             "fb.CrossEntropy(label_smoothing=0.1)")
        if classes > 2 and not multilabel:
            return Objective(CrossEntropy(), classes, "softmax")
        units = classes if multilabel else 1
        return Objective(BinaryCrossEntropy(), units, "logistic", units, units)
    loss = as_loss("MLPClassifier", loss)
    if isinstance(loss, BinaryCrossEntropy):
        if classes > 2 and not multilabel:
            raise ValueError(f"MLPClassifier: loss is {loss!r}, but y has {classes} classes; expected "
                             "fb.CrossEntropy(…)")
        return Objective(loss, classes if multilabel else 1, "logistic")
    if multilabel:
        raise ValueError(f"MLPClassifier: loss is {loss!r}, but a row of y may have several labels; expected "
                         "fb.BinaryCrossEntropy(…)")
    if not isinstance(loss, CrossEntropy | CustomLoss):
        raise ValueError(f"MLPClassifier: loss is {loss!r}, which is for regression; expected fb.CrossEntropy(…) or "
                         "fb.BinaryCrossEntropy(…)")
    return Objective(loss, max(classes, 2), "softmax")


def regression(loss: Any, outputs: int) -> Objective:
    """Return the objective for so many targets a sample."""
    if isinstance(loss, str):
        if loss not in REGRESSION_LOSSES:
            raise ValueError(f"MLPRegressor: loss is {loss!r}; expected one of "
                             f"{', '.join(map(repr, REGRESSION_LOSSES))}, or a loss such as fb.Quantile([0.1, 0.9])")
        found = _regression(REGRESSION_LOSSES[loss](), outputs)
        if loss == "squared_error":
            return replace(found, loss_scale=1 / outputs)
        return replace(found, gradient_scale=outputs, loss_scale=outputs) if loss == "poisson" else found
    return _regression(as_loss("MLPRegressor", loss), outputs)


def _regression(loss: Loss, outputs: int) -> Objective:
    if isinstance(loss, CrossEntropy | BinaryCrossEntropy):
        raise ValueError(f"MLPRegressor: loss is {loss!r}, which is for classification; use fb.MLPClassifier")
    if isinstance(loss, GaussianNLL):
        return Objective(loss, 2 * outputs, "identity")
    quantiles = quantiles_of(loss)
    if len(quantiles) > 1:
        if outputs > 1:
            raise ValueError(f"MLPRegressor: loss is {loss!r}, but y has {outputs} columns; expected one, of which all "
                             "quantiles are")
        return Objective(loss, len(quantiles), "identity")
    return Objective(loss, outputs, "exp" if isinstance(loss, PoissonNLL) else "identity")


def quantiles_of(loss: Loss) -> tuple[float, ...]:
    """Return the quantiles that a loss asks for; none for other losses."""
    return tuple(np.atleast_1d(loss.quantiles)) if isinstance(loss, Quantile) else ()


def poisson_offset(y: Array, sample_weight: Array | None) -> float:
    """Return what fastbp's Poisson loss leaves out: ``y log y - y``, a mean over the rows, a sum over the outputs."""
    logs = np.log(y, where=y > 0, out=np.zeros_like(y, dtype=np.float64))
    return float(np.average(y * logs - y, axis=0, weights=sample_weight).sum())


def as_loss(owner: str, loss: Any) -> Loss:
    """Return an instance of a loss, or a function as one."""
    if isinstance(loss, Loss):
        return loss
    if callable(loss) and not isinstance(loss, type):
        return CustomLoss(loss)
    sizes = loss if isinstance(loss, list | tuple) else (loss,)
    mend = f"; for widths of hidden layers write hidden_layer_sizes={loss!r}" if all(
        isinstance(size, int) for size in sizes) else ""
    raise TypeError(f"{owner}: loss is {loss!r}; expected a name, or an instance of a loss such as fb.Huber(){mend}")
