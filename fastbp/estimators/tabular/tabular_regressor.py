"""The regressor for tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import _assert_all_finite

from fastbp.estimators.tabular.tabular import BaseTabular
from fastbp.objectives.losses import MSE, Loss
from fastbp.ops.base import Array


class TabularRegressor(RegressorMixin, BaseTabular):
    """Networks for tables with a number to predict: frames as they are, good results with no parameter set."""

    def __init__(self, *, n_members: int = 1, hidden_layer_sizes: Any = (96, 96, 96), activation: str = "auto",
                 numeric_embedding: str = "auto", categorical_features: Any = "from_dtype", max_one_hot: int = 8,
                 max_iter: int = 32, batch_size: Any = "auto", learning_rate: str = "coslog4",
                 learning_rate_init: Any = "auto", beta_2: float = 0.95, dropout: float = 0.1,
                 weight_decay: float = 0.02, validation_fraction: float = 0.2, n_folds: Any = "auto",
                 early_stopping: Any = "cycle", scoring: str = "auto", time_limit: float | None = None,
                 random_state: Any = None, n_threads: Any = None, verbose: bool = False) -> None:
        self._take({k: v for k, v in locals().items() if k not in ("self", "__class__")})

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the predicted numbers, and with `return_std` how far off they are likely to be."""
        values = np.stack(self._said(X)) * self._spread + self._center
        if not return_std:
            return values.mean(axis=0)
        return values.mean(axis=0), np.sqrt(values.var(axis=0) + self._residual_variance)

    def _meant(self, outputs: Array) -> Array:
        return np.clip(outputs[..., 0].astype(np.float64), *self._range).mean(axis=1)

    def _check_targets(self, y: Any) -> Array:
        y = column_or_1d(y, warn=True)
        try:
            y = y.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"TabularRegressor: y has {y.dtype} such as {y[0]!r}; expected numbers") from None
        _assert_all_finite(y, input_name="y")
        self._center = float(y.mean()) if len(y) else 0.0
        self._spread = float(y.std()) if len(y) else 1.0
        if not self._spread > 1e-12 * abs(self._center):
            self._spread = 1.0
        z = (y - self._center) / self._spread
        self._range = (float(z.min(initial=0)), float(z.max(initial=0)))
        return z

    def _activation(self) -> Any:
        from fastbp.layers import Mish
        return Mish if self.activation == "auto" else super()._activation()

    def _outputs(self) -> int:
        return 1

    def _levels_by(self, targets: Array) -> Array:
        return targets[:, None]

    def _loss(self) -> Loss:
        return MSE()

    def _strata(self, targets: Array) -> Array | None:
        return None

    def _score_held_out(self, said: Array, targets: Array, weights: Array | None) -> float:
        return float(np.sqrt(np.average((said - targets) ** 2, weights=weights)))

    def _settle(self, said: Array, targets: Array) -> None:
        self._residual_variance = float(np.mean((said - targets) ** 2)) * self._spread**2
