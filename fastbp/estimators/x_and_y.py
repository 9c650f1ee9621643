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


def check_no_times(owner: str, y: Any) -> None:
    """Raise ValueError for dates and durations where numbers are predicted: as numbers they would be nanoseconds.

    >>> check_no_times("MLPRegressor", np.array(["2020-01-01"], "datetime64[D]"))
    Traceback (most recent call last):
    ValueError: MLPRegressor: y has dates; expected numbers, such as days: (y - y.min()) / np.timedelta64(1, "D")
    """
    kind = getattr(getattr(y, "dtype", None), "kind", "")
    if kind in ("M", "m"):
        what, days = ("dates", "(y - y.min())") if kind == "M" else ("durations", "y")
        raise ValueError(f'{owner}: y has {what}; expected numbers, such as days: {days} / np.timedelta64(1, "D")')
