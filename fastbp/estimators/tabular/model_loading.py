"""Reads a fitted estimator of either kind."""

from __future__ import annotations

from typing import Any

from fastbp.estimators.tabular import model_file
from fastbp.estimators.tabular.tabular_classifier import TabularClassifier
from fastbp.estimators.tabular.tabular_regressor import TabularRegressor
from fastbp.files.container import Contents, Paths, read

KINDS: dict[str, Any] = {kind.__name__: kind for kind in (TabularClassifier, TabularRegressor)}


def load_estimator(path: Paths) -> TabularClassifier | TabularRegressor:
    """Return the estimator that a file holds; errors as in :meth:`TabularClassifier.load`."""
    return estimator_of(read(path))


def estimator_of(contents: Contents) -> TabularClassifier | TabularRegressor:
    """Return the estimator that was read from a file, or raise FormatError."""
    d, committee = model_file.parse(contents)
    estimator: TabularClassifier | TabularRegressor = d["kind"].one_of(KINDS).from_description(d, committee)
    return estimator
