"""scikit-learn: MLPRegressor and MLPClassifier."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from harness.rows import BETA1, BETA2, EPSILON, LEARNING_RATE, Problem


class Fit:
    """All epochs in one call of ``fit``, started from given parameters.

    MLPRegressor minimises half the squared error, summed over outputs. Adam does not see the scale of a loss, but for
    ε, which scikit-learn besides adds before the correction of the bias: the steps are nearly the same, and the loss
    has to be scaled.
    """

    def __init__(self, problem: Problem, threads: int) -> None:
        warnings.simplefilter("ignore", ConvergenceWarning)
        self._problem = problem
        self._y = problem.y.ravel() if problem.row.widths[-1] == 1 else problem.y
        self._scale = 2 if problem.row.loss == "mse" else 1
        self.reset()

    def reset(self) -> None:
        row = self._problem.row
        kind = MLPRegressor if row.loss == "mse" else MLPClassifier
        self._model = kind(
            hidden_layer_sizes=row.widths[1:-1], activation=row.activation, alpha=0, batch_size=row.batch,
            solver="adam", learning_rate_init=LEARNING_RATE, beta_1=BETA1, beta_2=BETA2, epsilon=EPSILON,
            shuffle=False, max_iter=1, tol=0, n_iter_no_change=10**9, random_state=0)
        self._model.fit(self._problem.x, self._y)
        for model, given in ((self._model.coefs_, 0), (self._model.intercepts_, 1)):
            for array, pair in zip(model, self._problem.parameters, strict=True):
                array[...] = pair[given]
        # that fit only laid out the parameters: partial_fit makes a new optimizer where there is none
        del self._model._optimizer

    def losses(self) -> NDArray[Any]:
        losses = []
        size = self._problem.row.batch
        for start in range(0, len(self._y), size):
            self._model.partial_fit(self._problem.x[start:start + size], self._y[start:start + size])
            losses.append(self._scale * self._model.loss_)
        return np.array(losses)

    def run(self, epochs: int) -> None:
        self._model.set_params(max_iter=epochs, warm_start=True)
        self._model.fit(self._problem.x, self._y)
