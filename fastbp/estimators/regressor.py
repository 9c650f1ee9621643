"""The regressor."""

from __future__ import annotations

import warnings
from dataclasses import replace
from math import sqrt
from typing import Any, Literal, overload

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.validation import validate_data

from fastbp.core.checks import flag
from fastbp.engine.executable import BackendName
from fastbp.estimators.mlp import BaseMLP, partial_fit_available
from fastbp.estimators.objective import Objective, poisson_offset, quantiles_of, regression
from fastbp.estimators.x_and_y import as_numbers
from fastbp.files.description import Entry
from fastbp.network import Network
from fastbp.objectives.losses import MSE, GaussianNLL, HalfSquaredError, PoissonNLL, Quantile
from fastbp.ops.base import Array

# Targets from here on are called large.
_LARGE = 1e3


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
    scale_targets : bool, default False
        Whether targets are brought to mean 0 and standard deviation 1 for training; predictions come back as they are.
        scikit-learn's regressor does not, which fails where targets are large.

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
                 backend: BackendName = "native", scale_targets: bool = False) -> None:
        self._take({k: v for k, v in locals().items() if k not in ("self", "__class__")})

    @partial_fit_available
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, validation_data: Any = None) -> MLPRegressor:
        """Train for one epoch on the given rows; early stopping is as in :meth:`MLPClassifier.partial_fit`.

        Parameters
        ----------
        X, y, sample_weight, validation_data
            As in :meth:`fit`.
        """
        return self._fit(X, y, sample_weight, validation_data, None, incremental=True)

    @overload
    def predict(self, X: Any, return_std: Literal[False] = False) -> Array: ...
    @overload
    def predict(self, X: Any, return_std: Literal[True]) -> tuple[Array, Array]: ...

    def predict(self, X: Any, return_std: bool = False) -> Array | tuple[Array, Array]:
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
            return _flat(self._unscaled(self._predictions(outputs)))
        if not isinstance(self._loss, GaussianNLL):
            raise ValueError(f'MLPRegressor: return_std is True, but loss is {self.loss!r}; expected "gaussian"')
        std = np.exp(0.5 * outputs[:, self.n_outputs_:]) * self._scale
        return _flat(self._unscaled(self._predictions(outputs))), _flat(std)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R²; for quantiles the D² of the pinball loss, averaged over them."""
        return self._score(np.asarray(y), self._unscaled(self._predictions(self._outputs(X))), sample_weight)

    # ---- targets ----------------------------------------------------------------------------------------------------

    def _check_targets(self, X: Any, y: Any, classes: Any, reset: bool, again: bool = False) -> tuple[Any, Array]:
        y = as_numbers("MLPRegressor", y)
        X, y = validate_data(self, X, y, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=True,
                             dtype=(np.float64, np.float32), reset=reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        y = y.reshape(len(y), -1)
        if reset:
            self.n_outputs_ = y.shape[1]
            self._take_scale(y)
        elif y.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {y.shape[1]} columns; expected {self.n_outputs_}, as before")
        return X, y

    def _take_scale(self, y: Array) -> None:
        """Note what targets are scaled by."""
        columns = y.shape[1]
        self._mean, self._scale = np.zeros(columns), np.ones(columns)
        if flag("MLPRegressor", "scale_targets", self.scale_targets):
            if self.loss == "poisson":
                raise ValueError('MLPRegressor: scale_targets is True with loss "poisson", whose targets are counts; '
                                 "leave it out")
            self._mean, spread = y.mean(axis=0), y.std(axis=0)
            self._scale = np.where(spread > 0, spread, 1.0)

    def _encode(self, y: Array) -> Array:
        return (y - self._mean) / self._scale if self.scale_targets else y

    def _unscaled(self, predictions: Array) -> Array:
        if not self.scale_targets:
            return predictions
        return np.asarray(predictions * self._scale.astype(predictions.dtype) + self._mean.astype(predictions.dtype))

    def _described(self) -> dict[str, Any]:
        if not isinstance(self.loss, str):
            raise TypeError(f"save: loss is {self.loss!r}; a file can hold losses that are given by name")
        return {"mean": self._mean.tolist(), "scale": self._scale.tolist()}

    def _restore(self, d: Entry, net: Network) -> None:
        super()._restore(d, net)
        self._loss = regression(self.loss, self.n_outputs_).loss
        self._mean, self._scale = (np.array([v.real() for v in d[key].each()], float) for key in ("mean", "scale"))
        if self._mean.shape != (self.n_outputs_,) or self._scale.shape != (self.n_outputs_,):
            raise ValueError(f"it has {len(self._mean)} means of targets; expected {self.n_outputs_}")

    def _onnx_output(self, outputs: Any) -> tuple[str, Any]:
        made = outputs
        if isinstance(self._loss, PoissonNLL):
            made = np.exp(outputs)
        elif isinstance(self._loss, GaussianNLL):
            made = outputs[:, :self.n_outputs_]
        return "prediction", made * self._scale + self._mean

    def _look_back(self, y: Array) -> None:
        """Warn where large targets were not learnt."""
        spread = float(y.std(axis=0).mean()) if y.size else 0.0
        large = max(spread, float(np.abs(y.mean(axis=0)).max(initial=0)))
        if self.scale_targets or large < _LARGE or not isinstance(self._loss, HalfSquaredError | MSE):
            return
        if self.loss_ > 0.5 * float(y.var(axis=0).mean()):
            warnings.warn(f"the targets are large (about {large:.3g}), and the network predicts them worse than their "
                          "mean does; give scale_targets=True, or scale them", stacklevel=4)

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
