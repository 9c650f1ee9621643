"""The regressor."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.validation import validate_data

from fastbp.engine.executable import BackendName
from fastbp.estimators.mlp import BaseMLP, partial_fit_available
from fastbp.estimators.objective import Objective, poisson_offset, quantiles_of, regression
from fastbp.objectives.losses import MSE, GaussianNLL, HalfSquaredError, PoissonNLL, Quantile
from fastbp.ops.base import Array


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multi-layer perceptron for regression on one or more targets.

    In place of ``sklearn.neural_network.MLPRegressor``: the parameters down to `max_fun` have its names, defaults and
    meaning, and one random state gives the same initial weights, the same validation set and the same mini-batches.

    Parameters
    ----------
    loss : str or Loss, default "squared_error"
        - "squared_error": half the squared error;
        - "poisson": the Poisson deviance of counts, with an exponential as output activation;
        - beyond scikit-learn: "absolute_error"; "huber"; "quantile", the median; "gaussian", mean and variance both
          learnt;
        - an instance, such as ``fb.Quantile([0.1, 0.5, 0.9])``, ``fb.Huber(delta=0.5)``, or a function of one's own.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, \
shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, \
beta_1, beta_2, epsilon, n_iter_no_change, max_fun, dropout, batch_norm, layer_norm, callbacks, dtype, n_threads, \
backend
        As in :class:`MLPClassifier`.

    Attributes
    ----------
    out_activation_ : {"identity", "exp"}
        What turns the outputs of ``network_`` into predictions.
    validation_scores_, best_validation_score_ : list of float, float
        The score, as :meth:`score` defines it, after each epoch, with early stopping; else None.
    network_, history_, coefs_, intercepts_, loss_, best_loss_, loss_curve_, stopped_, n_iter_, t_, n_layers_, \
n_outputs_, n_features_in_, feature_names_in_
        As in :class:`MLPClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> X = np.linspace(0, 1, 200)[:, None]
    >>> y = np.sin(6 * X[:, 0])
    >>> reg = fb.MLPRegressor(hidden_layer_sizes=(64,), activation="tanh", solver="lbfgs", max_iter=500,
    ...                       random_state=0).fit(X, y)
    >>> reg.score(X, y) > 0.999
    True
    """

    def __init__(self, loss: Any = "squared_error", hidden_layer_sizes: Any = (100,), activation: Any = "relu", *,
                 solver: Any = "adam", alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: Any = "constant",
                 learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
                 random_state: Any = None, tol: float = 1e-4, verbose: bool = False, warm_start: bool = False,
                 momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
                 validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 n_iter_no_change: int = 10, max_fun: int = 15000, dropout: Any = 0.0, batch_norm: bool = False,
                 layer_norm: bool = False, callbacks: Any = (), dtype: Any = None, n_threads: Any = None,
                 backend: BackendName = "native") -> None:
        self._take({k: v for k, v in locals().items() if k not in ("self", "__class__")})

    @partial_fit_available
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, validation_data: Any = None) -> MLPRegressor:
        """Train for one epoch on the given rows; early stopping is as in :meth:`MLPClassifier.partial_fit`.

        Parameters
        ----------
        X, y, sample_weight, validation_data
            As in :meth:`fit`.
        """
        return self._fit(X, y, sample_weight, validation_data, None, incremental=True)  # type: ignore[no-any-return]

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the predicted values: (n_samples,) for one target, else (n_samples, n_outputs).

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n_samples, n_features)
        return_std : bool, default False
            Whether to return the predicted standard deviations too; for the loss "gaussian".

        Returns
        -------
        array, or a tuple of two
            Several quantiles are columns.
        """
        outputs = self._outputs(X)
        if not return_std:
            return _flat(self._predictions(outputs))
        if not isinstance(self._loss, GaussianNLL):
            raise ValueError(f'MLPRegressor: return_std is True, but loss is {self.loss!r}; expected "gaussian"')
        return _flat(self._predictions(outputs)), _flat(np.exp(0.5 * outputs[:, self.n_outputs_:]))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R²; for quantiles the D² of the pinball loss, averaged over them."""
        return self._score(np.asarray(y), self._predictions(self._outputs(X)), sample_weight)

    # ---- targets ----------------------------------------------------------------------------------------------------

    def _check_targets(self, X: Any, y: Any, classes: Any, reset: bool) -> tuple[Any, Array]:
        X, y = validate_data(self, X, y, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=True,
                             dtype=(np.float64, np.float32), reset=reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        y = y.reshape(len(y), -1)
        if reset:
            self.n_outputs_ = y.shape[1]
        elif y.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {y.shape[1]} columns; expected {self.n_outputs_}, as before")
        return X, y

    def _encode(self, y: Array) -> Array:
        return y

    def _make_objective(self, y: Array, sample_weight: Array | None) -> Objective:
        objective = regression(self.loss, y.shape[1])
        self._loss = objective.loss
        if self.loss == "poisson" and (y >= 0).all():
            return replace(objective, loss_offset=poisson_offset(y, sample_weight))
        return objective

    def _check_range(self, y: Array, objective: Objective, dtype: Any) -> None:
        try:
            name = np.dtype(dtype).name
        except TypeError:
            return  # the network says what is wrong with it
        if name not in ("float32", "float64"):
            return
        most = float(np.finfo(name).max)
        if isinstance(objective.loss, HalfSquaredError | MSE | GaussianNLL):
            most = sqrt(most)
        large = np.abs(y) > most
        if large.any():
            row, column = (int(i) for i in np.argwhere(large)[0])
            raise ValueError(f"MLPRegressor: y has {y[row, column]:.3g} in row {row}, too large for {objective.loss!r} "
                             f"in {name}; expected numbers up to {most:.1e} in size: scale y, for instance with "
                             "sklearn.compose.TransformedTargetRegressor")

    def _predictions(self, outputs: Array) -> Array:
        if isinstance(self._loss, PoissonNLL):
            return np.exp(outputs)
        return outputs[:, :self.n_outputs_] if isinstance(self._loss, GaussianNLL) else outputs

    def _score_outputs(self, targets: Array, outputs: Array, sample_weight: Array | None) -> float:
        y = targets[:, :self.n_outputs_]  # one target is repeated for each quantile
        return self._score(y, self._predictions(outputs), sample_weight)

    def _score(self, y: Array, predictions: Array, sample_weight: Any) -> float:
        if not np.isfinite(predictions).all():
            return float("nan")
        if isinstance(self._loss, Quantile):
            quantiles = quantiles_of(self._loss)
            columns = predictions.T if len(quantiles) > 1 else [_flat(predictions)]
            return float(np.mean([d2_pinball_score(_flat(y), p, sample_weight=sample_weight, alpha=q)
                                  for q, p in zip(quantiles, columns, strict=True)]))
        return float(r2_score(y, _flat(predictions), sample_weight=sample_weight))


def _flat(y: Array) -> Array:
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
