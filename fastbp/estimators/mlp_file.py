"""Fitted estimators as files: the network, what an estimator knows of its data, and its parameters that are plain.

Reading runs no code from the file, and whatever does not fit is a :class:`~fastbp.FormatError` that says where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastbp.engine.executable import BackendName
from fastbp.estimators.classifier import MLPClassifier
from fastbp.estimators.regressor import MLPRegressor
from fastbp.files.container import Contents
from fastbp.files.description import Entry, described
from fastbp.files.networks import build
from fastbp.reading import KINDS

ESTIMATORS: dict[str, Any] = {kind.__name__: kind for kind in (MLPClassifier, MLPRegressor)}


def estimator_of(contents: Contents) -> MLPClassifier | MLPRegressor:
    """Return the estimator that was read from a file, or raise FormatError."""
    with described(contents.path):
        d = Entry(contents.description)["mlp"]
        kind = d["type"].one_of(ESTIMATORS)
        known = kind().get_params()
        given = {name: _argument(d["parameters"][name]) for name in d["parameters"].mapping()}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(f"it has the parameter {unknown[0]!r}, which {kind.__name__} does not have")
        estimator: MLPClassifier | MLPRegressor = kind(**given)
        backend: BackendName = "reference" if given.get("backend") == "reference" else "native"
        estimator._restore(d, build(contents, KINDS, backend))
    return estimator


def _argument(entry: Entry) -> Any:
    """Return an argument: a number, text, truth value or None, or a list of them; tuples come as lists."""
    value = entry.value
    if isinstance(value, list):
        return tuple(_argument(part) for part in entry.each())
    if value is None or isinstance(value, bool | str | int | float):
        return value
    if isinstance(value, Mapping):
        return {key: _argument(entry[key]) for key in value}
    raise ValueError(f"{entry.place} is {value!r}; expected plain data")
