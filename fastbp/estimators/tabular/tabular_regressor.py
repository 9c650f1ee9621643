"""The regressor for tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import _assert_all_finite

from fastbp.estimators.tabular.columns import Column
from fastbp.estimators.tabular.member_network import ACTIVATIONS
from fastbp.estimators.tabular.plain_data import Plain
from fastbp.estimators.tabular.row_explanation import Slope
from fastbp.estimators.tabular.tabular import BaseTabular
from fastbp.objectives.losses import MSE, Loss
from fastbp.ops.base import Array

RESIDUALS = 201
"""How many quantiles of the errors on rows held out are kept."""


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

    def predict(self, X: Any, return_std: bool = False, quantiles: Any = None) -> Any:
        """Return the predicted numbers.

        Parameters
        ----------
        X : table, as in :meth:`fit`
        return_std : bool, default False
            Whether to return standard deviations too: of the networks among themselves, and of the rows that each held
            out, together.
        quantiles : sequence of float, optional
            Levels from 0 to 1. What is returned then are quantiles, (n_samples, n_quantiles): the predicted number plus
            quantiles of the errors on rows held out.

        Returns
        -------
        array of shape (n_samples,), or two of them, or one of shape (n_samples, n_quantiles)

        Examples
        --------
        >>> import numpy as np
        >>> import fastbp as fb
        >>> X = np.linspace(0, 1, 200)[:, None]
        >>> y = X[:, 0] + np.random.default_rng(0).normal(0, 0.1, 200)
        >>> reg = fb.TabularRegressor(max_iter=4, random_state=0).fit(X, y)
        >>> low, high = reg.predict(X, quantiles=[0.05, 0.95]).T
        >>> bool((low < high).all())
        True
        """
        if quantiles is not None and return_std:
            raise ValueError("TabularRegressor: return_std and quantiles are both given; expected one of them")
        values = np.stack(self._said(X)) * self._spread + self._center
        mean = values.mean(axis=0)
        if quantiles is not None:
            return mean[:, None] + self._spread * self._error_quantiles(quantiles)
        if not return_std:
            return mean
        error = self._spread * np.sqrt(np.mean(self._residuals**2))
        return mean, np.sqrt(values.var(axis=0) + error**2)

    def _error_quantiles(self, given: Any) -> Array:
        levels = np.asarray(given, np.float64)
        if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
            raise ValueError(f"TabularRegressor: quantiles is {given!r}; expected numbers from 0 to 1, such as "
                             "[0.05, 0.95]")
        return np.asarray(np.interp(levels, np.linspace(0, 1, len(self._residuals)), self._residuals))

    def _meant(self, outputs: Array) -> Array:
        return np.asarray(np.clip(outputs[..., 0].astype(np.float64), *self._range).mean(axis=1))

    def _slope(self, row: dict[str, Column]) -> tuple[str, Slope]:
        def slope(outputs: Array) -> tuple[Array, Array]:
            values = outputs[..., 0].astype(np.float64).mean(axis=1) * self._spread + self._center
            return values, np.full(outputs.shape, self._spread / outputs.shape[1])
        return self.target_name_, slope

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
        z: Array = (y - self._center) / self._spread
        self._range = (float(z.min(initial=0)), float(z.max(initial=0)))
        return np.asarray(z)

    def _activation(self) -> Any:
        return ACTIVATIONS["mish"] if self.activation == "auto" else super()._activation()

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
        self._residuals = np.quantile(targets - said, np.linspace(0, 1, RESIDUALS))

    def _described(self) -> dict[str, Any]:
        return {"center": self._center, "spread": self._spread, "range": list(self._range),
                "residuals": self._residuals.tolist()}

    def _restore(self, d: Plain) -> None:
        self._center, self._spread = d["center"].number(), d["spread"].number()
        if not self._spread > 0:
            raise d["spread"].wrong("a number above 0")
        ends = d["range"].items(Plain.number)
        if len(ends) != 2 or ends[0] > ends[1]:
            raise d["range"].wrong("two numbers, the lower first")
        self._range = ends[0], ends[1]
        self._residuals = np.array(d["residuals"].items(Plain.number))
        if not len(self._residuals) or (np.diff(self._residuals) < 0).any():
            raise d["residuals"].wrong("rising numbers")
        if any(f.architecture.outputs != 1 for f in self.committee_.folds):
            raise d["folds"].wrong("networks of one output")
