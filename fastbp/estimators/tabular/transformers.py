"""What :mod:`schema` does to numbers, as scikit-learn's transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp.core.checks import count, flag
from fastbp.estimators.tabular.schema import MOST_EDGES, NumberCode
from fastbp.ops.base import Array


class _OfNumbers(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Learns something of each column alone; NaN is a missing number."""

    codes_: list[NumberCode | None]

    def _learn(self, X: Any, bins: int) -> None:
        X = validate_data(self, _with_gaps(X), dtype=np.float64, ensure_all_finite="allow-nan")
        self.codes_ = [NumberCode.of(column, bins) for column in X.T]

    def _given(self, X: Any) -> Array:
        check_is_fitted(self)
        X = _with_gaps(X)
        return np.asarray(validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _with_gaps(X: Any) -> Any:
    """Return masked arrays with NaN for what is left out, and all else as it is."""
    return np.where(np.ma.getmaskarray(X), np.nan, X.data) if isinstance(X, np.ma.MaskedArray) else X


class RobustSmoothScaler(_OfNumbers):
    r"""Scales each column by its median and quartiles, and clips it smoothly: no outlier is farther out than 3.

    .. math:: s = \frac{x - q_{50}}{q_{75} - q_{25}}, \qquad y = \frac{s}{\sqrt{1 + (s/3)^2}}

    Where the quartiles are equal, half the range divides; a column of one value is 0. Holzmüller, Grinsztajn and
    Steinwart (2024), https://arxiv.org/abs/2407.04491.

    Parameters
    ----------
    add_indicator : bool, default False
        Whether missing numbers become 0, and columns that had some in `fit` have a column of zeros and ones each at the
        end, 1 where the number is missing. Otherwise they stay NaN.

    Attributes
    ----------
    center_, scale_ : array of shape (n_features,)
    gaps_ : array of int
        Columns that had missing numbers.
    n_features_in_ : int
    feature_names_in_ : array of str
        Where X has names.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> X = np.array([[1.0], [2.0], [3.0], [4.0], [1e9]])
    >>> fb.RobustSmoothScaler().fit_transform(X)[:, 0].round(3).tolist()
    [-0.949, -0.493, 0.0, 0.493, 3.0]
    >>> fb.RobustSmoothScaler(add_indicator=True).fit_transform([[1.0], [np.nan], [3.0]]).round(3).tolist()
    [[-0.949, 0.0], [0.0, 1.0], [0.949, 0.0]]
    """

    def __init__(self, *, add_indicator: bool = False) -> None:
        self.add_indicator = add_indicator

    def fit(self, X: Any, y: Any = None) -> RobustSmoothScaler:
        """Learn medians and quartiles of an array (n_samples, n_features).

        Returns
        -------
        self
        """
        flag("RobustSmoothScaler", "add_indicator", self.add_indicator)
        self._learn(X, bins=1)
        self.center_ = np.array([0.0 if code is None else code.center for code in self.codes_])
        self.scale_ = np.array([1.0 if code is None else code.scale for code in self.codes_])
        given = self._given(X)
        self.gaps_ = np.flatnonzero(np.isnan(given).any(axis=0))
        return self

    def transform(self, X: Any) -> Array:
        """Return the columns scaled, float64 of shape (n_samples, n_features), and then the indicators."""
        X = self._given(X)
        missing = np.isnan(X)
        columns = [np.zeros(len(X)) if code is None else code.scaled(column)
                   for code, column in zip(self.codes_, X.T, strict=True)]
        scaled = np.where(missing, 0.0 if self.add_indicator else np.nan, np.stack(columns, axis=1))
        return np.concatenate([scaled, missing[:, self.gaps_]], axis=1) if self.add_indicator else scaled

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the columns, and of the indicators."""
        check_is_fitted(self)
        names = super().get_feature_names_out(input_features)
        more = [f"missingindicator_{names[i]}" for i in self.gaps_] if self.add_indicator else []
        return np.asarray([*names, *more], object)


class QuantileBins(_OfNumbers):
    r"""Says where numbers lie among the edges of bins: what :class:`~fastbp.PiecewiseLinear` takes.

    .. math:: y = t + \frac{x - e_t}{e_{t+1} - e_t} \quad\text{for } e_t \le x < e_{t+1}

    0 below the first edge, and the number of bins above the last. Three in eight edges are quantiles of the rows, as
    many of the values that differ, so that rare values of a column that is mostly 0 are told apart, and the others even
    steps of arsinh((x - median) / (distance of the quartiles)), so that long tails are. Gorishniy, Rubachev and Babenko
    (2022), https://arxiv.org/abs/2203.05556.

    Parameters
    ----------
    bins : int, default 48
        At most: columns of few values have as many edges as values. One of a single value is 0.

    Attributes
    ----------
    edges_ : list of array
        Of each column, rising; empty for one of a single value.
    n_features_in_ : int
    feature_names_in_ : array of str
        Where X has names.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> bins = fb.QuantileBins(3).fit([[0.0], [1.0], [2.0], [3.0], [10.0]])
    >>> bins.edges_[0].tolist(), bins.transform([[-1.0], [1.0], [6.0], [99.0]])[:, 0].tolist()
    ([0.0, 2.0, 10.0], [0.0, 0.5, 1.5, 2.0])
    """

    def __init__(self, bins: int = 48) -> None:
        self.bins = bins

    def fit(self, X: Any, y: Any = None) -> QuantileBins:
        """Learn the edges from an array (n_samples, n_features).

        Returns
        -------
        self
        """
        if count("QuantileBins", "bins", self.bins) >= MOST_EDGES:
            raise ValueError(f"QuantileBins: bins is {self.bins}; expected at most {MOST_EDGES - 1}")
        self._learn(X, self.bins)
        self.edges_ = [np.array(() if code is None else code.edges) for code in self.codes_]
        return self

    def transform(self, X: Any) -> Array:
        """Return the places, float64 of shape (n_samples, n_features); NaN where a number is missing."""
        X = self._given(X)
        places = [np.zeros(len(X)) if code is None else code.places(column)
                  for code, column in zip(self.codes_, X.T, strict=True)]
        return np.where(np.isnan(X), np.nan, np.stack(places, axis=1))
