"""The losses by name: ``fb.Trainer(net, "cross_entropy", "adam")``."""

from __future__ import annotations

from fastbp.objectives.cross_entropy import CrossEntropy
from fastbp.objectives.losses import (
    MAE,
    MSE,
    BinaryCrossEntropy,
    GaussianNLL,
    HalfSquaredError,
    Huber,
    Loss,
    PoissonNLL,
    Quantile,
)

LOSSES: dict[str, type[Loss]] = {
    "mse": MSE, "mean_squared_error": MSE, "squared_error": MSE, "half_squared_error": HalfSquaredError,
    "mae": MAE, "mean_absolute_error": MAE, "absolute_error": MAE, "l1": MAE, "huber": Huber, "smooth_l1": Huber,
    "quantile": Quantile, "pinball": Quantile, "poisson": PoissonNLL, "poisson_nll": PoissonNLL,
    "gaussian_nll": GaussianNLL, "binary_cross_entropy": BinaryCrossEntropy, "bce": BinaryCrossEntropy,
    "cross_entropy": CrossEntropy, "categorical_cross_entropy": CrossEntropy,
    "sparse_categorical_cross_entropy": CrossEntropy, "log_loss": CrossEntropy,
}
"""Losses by name, each with its defaults; those of classes take logits."""
