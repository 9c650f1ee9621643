"""What scikit-learn's checks of X and y let through, and would be taken for numbers that nobody gave."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.core.checks import all_there


def check_given(**arrays: Any) -> None:
    """Raise ValueError for masked arrays with values left out: scikit-learn would take what is under the mask."""
    for name, values in arrays.items():
        if isinstance(values, np.ma.MaskedArray):
            all_there(name, values)


def as_numbers(owner: str, y: Any) -> Any:
    """Return what is to be predicted, text as the numbers that it spells, or raise ValueError for what are none.

    Dates and durations as numbers would be nanoseconds.

    >>> as_numbers("MLPRegressor", np.array(["2020-01-01"], "datetime64[D]"))
    Traceback (most recent call last):
    ValueError: MLPRegressor: y has dates; expected numbers, such as days: (y - y.min()) / np.timedelta64(1, "D")
    """
    kind = getattr(getattr(y, "dtype", None), "kind", "")
    if kind in ("M", "m"):
        what, days = ("dates", "(y - y.min())") if kind == "M" else ("durations", "y")
        raise ValueError(f'{owner}: y has {what}; expected numbers, such as days: {days} / np.timedelta64(1, "D")')
    if kind == "c":
        raise ValueError(f"Complex data not supported: {owner}: y has complex numbers; expected real ones")
    if kind not in ("U", "S"):
        return y
    try:
        return np.asarray(y).astype(np.float64)
    except ValueError:
        raise ValueError(f"{owner}: y has text such as {np.ravel(y)[0].item()!r}; expected numbers") from None


def as_labels(owner: str, y: Any) -> Any:
    """Return labels, whole numbers and truth values as NumPy's own, though pandas holds them as objects or its own.

    Raises ValueError where labels are missing.

    >>> as_labels("MLPClassifier", np.array([True, False], object))
    array([ True, False])
    """
    dtype = getattr(y, "dtype", None)
    if getattr(y, "ndim", 0) != 1 or dtype is None:
        return y
    plain = getattr(dtype, "numpy_dtype", None)
    if plain is not None and plain.kind in "iub" and not y.isna().any():
        return y.to_numpy(plain)
    if dtype.kind != "O":
        return y
    labels = np.asarray(y).tolist()
    if any(label is None or label != label for label in labels):
        raise ValueError(f"{owner}: y has missing labels; expected one for each row: leave those rows out")
    return np.array(labels) if {type(label) for label in labels} in ({bool}, {int}) else y
