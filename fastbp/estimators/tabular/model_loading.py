"""Reads a fitted estimator of either kind."""

from __future__ import annotations

from typing import Any

from fastbp.estimators.tabular import model_file
from fastbp.estimators.tabular.tabular_classifier import TabularClassifier
from fastbp.estimators.tabular.tabular_regressor import TabularRegressor
from fastbp.files.container import Paths

KINDS: dict[str, Any] = {kind.__name__: kind for kind in (TabularClassifier, TabularRegressor)}


def load_estimator(path: Paths) -> TabularClassifier | TabularRegressor:
    """Return the estimator that a file holds; errors as in :meth:`TabularClassifier.load`."""
    d, _ = model_file.load(path)
    estimator: TabularClassifier | TabularRegressor = d["kind"].one_of(KINDS).load(path)
    return estimator
