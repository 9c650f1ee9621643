r"""Metrics by name, over the whole set: accuracy, F1, AUC, MAE, R² and others; their values are scikit-learn's.

The functions take targets and predictions, as those of ``sklearn.metrics`` do. By name,
``metrics=["accuracy", "auc"]``, a trainer applies them to the outputs of a network: what they want (classes,
probabilities, numbers) is made of the outputs as the loss reads them. With :class:`~fastbp.CrossEntropy` these are
logits of classes, with :class:`~fastbp.BinaryCrossEntropy` logits of yes-or-no answers, with other losses numbers, or
probabilities if there is one column of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbp.core.words import by_name
from fastbp.objectives.cross_entropy import CrossEntropy
from fastbp.objectives.losses import BinaryCrossEntropy, Loss
from fastbp.ops.base import Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["METRICS", "accuracy", "auc", "f1", "log_loss", "mae", "mse", "precision", "r2", "recall", "rmse"]


def accuracy(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the (weighted) share of predicted classes that are right.

    Examples
    --------
    >>> accuracy([0, 1, 1, 0], [0, 1, 0, 0])
    0.75
    """
    right = np.asarray(y_true) == np.asarray(y_pred)
    return _mean(right.reshape(len(right), -1).mean(axis=1), sample_weight)


def precision(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return true positives / predicted positives; of more than two classes, the mean over the classes. 0 for 0 / 0."""
    return _of_counts(y_true, y_pred, sample_weight, lambda hits, said, there: (hits, said))


def recall(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return true positives / positives; of more than two classes, the mean over the classes. 0 for 0 / 0."""
    return _of_counts(y_true, y_pred, sample_weight, lambda hits, said, there: (hits, there))


def f1(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the harmonic mean of precision and recall; of more than two classes, the mean over the classes ("macro").

    With classes 0 and 1 alone it is that of class 1; of several columns of answers, the mean over the columns.

    Examples
    --------
    >>> f1([0, 1, 1, 0], [0, 1, 0, 0])
    0.6666666666666666
    """
    return _of_counts(y_true, y_pred, sample_weight, lambda hits, said, there: (2 * hits, said + there))


def auc(y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the area under the ROC curve: how often a positive has a higher score than a negative, ties by half.

    Parameters
    ----------
    y_true : array (B,) of 0 and 1, or of classes
    y_score : array (B,), or (B, C) for C classes: the mean over each class against the rest
    sample_weight : array (B,), optional

    Returns
    -------
    float
        NaN where a class is missing.

    Examples
    --------
    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    y, score = np.asarray(y_true), np.asarray(y_score, np.float64)
    if score.ndim == 1:
        return _auc(y.reshape(-1) >= 0.5, score, sample_weight)
    each = y if y.ndim == 2 else y[:, None] == np.arange(score.shape[1])
    return float(np.mean([_auc(each[:, c] >= 0.5, score[:, c], sample_weight) for c in range(score.shape[1])]))


def log_loss(y_true: ArrayLike, y_prob: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean of -log p of what is true; probabilities (B,) of class 1, or (B, C)."""
    y, p = np.asarray(y_true), np.asarray(y_prob, np.float64)
    smallest = np.finfo(np.asarray(y_prob).dtype if np.asarray(y_prob).dtype.kind == "f" else np.float64).eps
    if p.ndim == 1:
        p, y = np.stack([1 - p, p], axis=1), y.reshape(-1).astype(int)
    p = np.clip(p, smallest, 1 - smallest)
    return _mean(-np.log(p[np.arange(len(p)), y]), sample_weight)


def mae(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean absolute error."""
    return _mean(_rows(np.abs(_errors(y_true, y_pred))), sample_weight)


def mse(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean squared error."""
    return _mean(_rows(np.square(_errors(y_true, y_pred))), sample_weight)


def rmse(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the root of the mean squared error, over all elements."""
    return float(np.sqrt(mse(y_true, y_pred, sample_weight)))


def r2(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return R², the share of the variance that is explained: 1 - Σ (y - x)² / Σ (y - mean y)², a mean over columns.

    Where y does not vary it is 1 for a perfect prediction, and 0 otherwise.

    Examples
    --------
    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.5
    """
    y = np.asarray(y_true, np.float64)
    y = y.reshape(len(y), -1)
    weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    left = weights @ np.square(_errors(y_true, y_pred)).reshape(y.shape)
    spread = weights @ np.square(y - np.average(y, axis=0, weights=weights))
    share = np.divide(left, spread, out=np.where(left > 0, 1.0, 0.0), where=spread > 0)
    return float(np.mean(1 - share))


# ---- by name ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamedMetric:
    """A metric as it is known by name: what of the outputs it wants, and whether more is better."""

    function: Callable[..., float]
    wants: str
    """"classes", "scores", "probabilities" or "numbers"."""
    maximised: bool = True

    def of(self, loss: Loss | None) -> Callable[..., float]:
        """Return the metric of the outputs of a network that is trained with this loss."""
        return _OfOutputs(self, "softmax" if isinstance(loss, CrossEntropy) else
                          "sigmoid" if isinstance(loss, BinaryCrossEntropy) else "")


METRICS: dict[str, NamedMetric] = {
    "accuracy": NamedMetric(accuracy, "classes"), "f1": NamedMetric(f1, "classes"),
    "precision": NamedMetric(precision, "classes"), "recall": NamedMetric(recall, "classes"),
    "auc": NamedMetric(auc, "scores"), "roc_auc": NamedMetric(auc, "scores"),
    "log_loss": NamedMetric(log_loss, "probabilities", maximised=False),
    "mae": NamedMetric(mae, "numbers", maximised=False), "mse": NamedMetric(mse, "numbers", maximised=False),
    "mean_absolute_error": NamedMetric(mae, "numbers", maximised=False),
    "mean_squared_error": NamedMetric(mse, "numbers", maximised=False),
    "rmse": NamedMetric(rmse, "numbers", maximised=False), "r2": NamedMetric(r2, "numbers"),
}
"""Metrics by name."""


def metric_named(name: str) -> tuple[str, NamedMetric]:
    """Return a metric and what it is called, or raise ValueError."""
    found: NamedMetric = by_name("Trainer", "metrics", name, METRICS, "a function metric(y_true, y_pred)")
    return next(known for known, metric in METRICS.items() if metric is found), found


@dataclass(frozen=True)
class _OfOutputs:
    """A named metric on the outputs of a network."""

    metric: NamedMetric
    link: str
    takes_weights = True

    def __call__(self, y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> float:
        x = np.asarray(y_pred, np.float64)
        y = np.asarray(y_true)
        if self.link == "softmax" and x.ndim > 2:       # each position of a row counts alike
            count = x[0, ..., 0].size
            sample_weight = None if sample_weight is None else np.repeat(sample_weight, count)
            y = y.reshape(-1) if y.ndim < x.ndim else y.reshape(-1, x.shape[-1])
            x = x.reshape(-1, x.shape[-1])
        if self.metric.wants == "numbers":
            if self.link == "softmax":
                raise ValueError(f"{self.metric.function.__name__}: wants numbers; the network gives logits of classes")
            return self.metric.function(y, x, sample_weight)
        several = x.ndim == 2 and x.shape[1] > 1 and self.link != "sigmoid"
        y = y.argmax(axis=1) if several and y.ndim == 2 and y.shape == x.shape else y
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if several:
            return self.metric.function(y, self._of_classes(x), sample_weight)
        x = x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x
        y = (y >= 0.5).astype(int) if y.dtype.kind == "f" else y
        return self.metric.function(y, self._of_answers(x), sample_weight)

    def _of_classes(self, x: Array) -> Array:
        if self.metric.wants == "classes":
            return np.asarray(x.argmax(axis=1))
        if x.shape[1] == 2 and self.metric.wants == "scores":
            return np.asarray(x[:, 1] - x[:, 0])
        powers = np.exp(x - x.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True) if self.link == "softmax" else x)

    def _of_answers(self, x: Array) -> Array:
        if self.metric.wants == "classes":
            return np.asarray(x > (0 if self.link == "sigmoid" else 0.5)).astype(int)
        if self.metric.wants == "probabilities" and self.link == "sigmoid":
            return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))
        return x


def _auc(positive: Array, score: Array, sample_weight: ArrayLike | None) -> float:
    weights = np.ones(len(score)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    _, place = np.unique(score, return_inverse=True)
    above = np.bincount(place, weights=weights * positive)
    below = np.bincount(place, weights=weights * ~positive)
    total = above.sum() * below.sum()
    return float((above * (below.cumsum() - 0.5 * below)).sum() / total) if total else float("nan")


def _of_counts(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None,
               fraction: Callable[[Array, Array, Array], tuple[Array, Array]]) -> float:
    """Return a fraction of the counts of true positives, predicted positives, and positives, of each class."""
    y, x = np.asarray(y_true), np.asarray(y_pred)
    weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if y.ndim == 2:
        there, said = y.astype(bool), x.astype(bool)
    else:
        classes = np.union1d(y, x)
        classes = np.array([1]) if np.isin(classes, (0, 1)).all() else classes
        there, said = y[:, None] == classes, x[:, None] == classes
    top, bottom = fraction(weights @ (there & said), weights @ said, weights @ there)
    return float(np.mean(np.divide(top, bottom, out=np.zeros(len(top)), where=bottom > 0)))


def _errors(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    y, x = np.asarray(y_true, np.float64), np.asarray(y_pred, np.float64)
    return np.asarray(x.reshape(len(x), -1) - y.reshape(len(y), -1))


def _rows(each: Array) -> Array:
    return np.asarray(each.mean(axis=1))


def _mean(each: Array, sample_weight: ArrayLike | None) -> float:
    if sample_weight is None:
        return float(np.mean(each))
    weights = np.asarray(sample_weight, np.float64)
    return float(np.average(each, weights=weights)) if weights.any() else 0.0
