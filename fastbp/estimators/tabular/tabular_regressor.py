"""The regressor for tables."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import _assert_all_finite

from fastbp.core.checks import number
from fastbp.datasets.columns import Column
from fastbp.estimators.tabular.member_network import ACTIVATIONS
from fastbp.estimators.tabular.onnx_pipeline import Pipeline, means
from fastbp.estimators.tabular.plain_data import Plain
from fastbp.estimators.tabular.row_explanation import Slope
from fastbp.estimators.tabular.tabular import BaseTabular
from fastbp.estimators.x_and_y import as_numbers, check_given
from fastbp.objectives.losses import MSE, Loss
from fastbp.ops.base import Array

SQUARES = 1e-100, 1e100
"""The sizes of numbers whose squares are neither 0 nor infinite."""
RESIDUALS = 201
"""How many quantiles of the errors on rows held out are kept."""


class TabularRegressor(RegressorMixin, BaseTabular):
    """Networks for tables with a number to predict: frames as they are, good results with no parameter set.

    Parameters
    ----------
    n_members : int, default 1
        Members of each network, which share all weights but a first adapter and their heads, and see rows in orders of
        their own.
    hidden_layer_sizes : int or sequence of int, default (96, 96, 96)
    activation : {"auto", "relu", "selu", "mish", "gelu", "silu"}, default "auto"
        "auto" is Mish.
    numeric_embedding : {"auto", "both", "periodic", "piecewise", "none"}, default "auto"
        How numbers are embedded: :class:`~fastbp.Periodic` waves, :class:`~fastbp.PiecewiseLinear` bins, or both beside
        the number itself. "auto" is both, and none for more than 256 columns of numbers.
    categorical_features : "from_dtype", or sequence of str, int or bool, default "from_dtype"
        Columns that are categories whatever they hold: their names or numbers, or a truth value for each column.
        Categories of frames, text and truth values are so in any case.
    max_one_hot : int, default 8
        Columns of more levels have, beside a flag for each level, the mean target of the level.
    category_embedding : int, default 8
        Numbers that are learnt for each level, in place of flags, in columns of more than `max_one_hot` levels; 0 for
        flags.
    max_iter : int or "auto", default "auto"
        Epochs. "auto": 64, and down to 32 where there are many rows and columns.
    batch_size : int or "auto", default "auto"
        "auto": about a twenty-fourth of the rows, as a power of two from 32 to 256.
    learning_rate : {"coslog4", "flat_cos", "constant"}, default "coslog4"
        :class:`~fastbp.CosineCycles` of four cycles, :class:`~fastbp.FlatCosine`, or none.
    learning_rate_init : float or "auto", default "auto"
        The largest rate, 0.06 for "auto"; a weight's own is this over the root of its inputs.
    beta_2 : float, default 0.95
        Of AdamW.
    dropout : float, default 0.1
        After each hidden layer.
    weight_decay : float, default 0.02
        Decoupled, and falling as :class:`~fastbp.FlatCosine`.
    label_smoothing : float, default 0.0
        There are no classes to smooth over: 0 alone, so that both estimators take one list of parameters.
    validation_fraction : float, default 0.2
        The share of the rows that is held out where `n_folds` is 1.
    n_folds : int or "auto", default "auto"
        Networks that are trained, each on all rows but a part of its own. "auto": 8 up to 5,000 rows,
        fewer where those have many columns, else 4.
    early_stopping : "cycle" or bool, default "cycle"
        "cycle", or True, stops at the end of a cycle of the learning rate that was no better than those before, on all
        the rows held out together.
    scoring : {"auto", "rmse", "mae"}, default "auto"
        What epochs are chosen by, on the rows held out; "auto" is the root mean squared error.
    class_weight : None
        There are no classes to weigh: None alone.
    monotonic : mapping of str to int, or sequence of int, optional
        Columns of numbers along which what is predicted never falls, 1, or never rises, -1: by name, or
        one entry for each column, with 0 for all others. Networks then multiply by weights of one sign.
    time_limit : float, optional
        Seconds after which training ends.
    random_state : int, RandomState or None, default None
    n_threads : int or "auto", optional
        While fitting and predicting; None leaves it as it is (:func:`fastbp.set_num_threads`). No bit depends on it.
    verbose : bool, default False
        Whether to print a line for each epoch.

    Attributes
    ----------
    epochs_ : list of int
        The epochs that are kept of each network, some more than once: the few whose mean is best on the rows held out.
    scores_ : list of float
        The error of all rows held out after each epoch, in standard deviations of the target.
    n_iter_ : int
        Epochs done.
    column_kinds_ : dict of str to {"number", "date", "category"}
    committee_ : Committee
        What predicts: the schema and the networks of each fold.
    n_features_in_ : int
    feature_names_in_ : array of str
        Where X has names.

    Notes
    -----
    Missing values are taken as they are; columns are found by name; what is new in a category is unknown, never an
    error. Networks and training follow Holzmüller, Grinsztajn and Steinwart (2024), https://arxiv.org/abs/2407.04491,
    and, for members, Gorishniy, Kotelnikov and Babenko (2025), https://arxiv.org/abs/2410.24210. Products are
    multiplied in bfloat16 while training where the CPU has it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> rng = np.random.default_rng(0)
    >>> table = {"size": rng.uniform(20, 200, 200), "city": rng.choice(["Bern", "Oslo"], 200)}
    >>> price = 3 * table["size"] + 100 * (table["city"] == "Oslo")
    >>> reg = fb.TabularRegressor(random_state=0).fit(table, price)
    >>> reg.score(table, price) > 0.99
    True
    """

    def __init__(self, *, n_members: int = 1, hidden_layer_sizes: Any = (96, 96, 96), activation: str = "auto",
                 numeric_embedding: str = "auto", categorical_features: Any = "from_dtype", max_one_hot: int = 8,
                 category_embedding: int = 8, max_iter: int | str = "auto", batch_size: Any = "auto",
                 learning_rate: str = "coslog4", learning_rate_init: Any = "auto", beta_2: float = 0.95,
                 dropout: float = 0.1, weight_decay: float = 0.02, label_smoothing: float = 0.0,
                 validation_fraction: float = 0.2, n_folds: Any = "auto", early_stopping: Any = "cycle",
                 scoring: str = "auto", class_weight: None = None, monotonic: Any = None,
                 time_limit: float | None = None, random_state: Any = None, n_threads: Any = None,
                 verbose: bool = False) -> None:
        self._take({k: v for k, v in locals().items() if k not in ("self", "__class__")})

    _scorings = ("auto", "rmse", "mae")
    _range: tuple[float, float]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        number("TabularRegressor", "label_smoothing", self.label_smoothing,
               "0, as numbers have no classes to smooth over", lambda v: v == 0)
        if self.class_weight is not None:
            raise ValueError(f"TabularRegressor: class_weight is {self.class_weight!r}; expected None, as numbers have "
                             "no classes to weigh")

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> TabularRegressor:
        """Go on training with more rows, each once; the first call fits.

        What is done to each column stays as the first call decided it: levels that come later are unknown.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.

        Returns
        -------
        self
        """
        if not hasattr(self, "committee_"):
            self.fit(X, y, sample_weight)
            return self
        columns = self._columns(X, reset=False)
        z = (_numbers(y) - self._center) / self._spread
        if len(z) != len(columns[0].values):
            raise ValueError(f"TabularRegressor: y has {len(z)} rows; expected {len(columns[0].values)}, as X has")
        low, high = self._range
        self._range = min(low, float(z.min())), max(high, float(z.max()))
        self._go_on(columns, z, sample_weight)
        return self

    @overload
    def predict(self, X: Any, return_std: Literal[False] = False, quantiles: Any = None) -> Array: ...
    @overload
    def predict(self, X: Any, return_std: Literal[True], quantiles: None = None) -> tuple[Array, Array]: ...

    def predict(self, X: Any, return_std: bool = False, quantiles: Any = None) -> Array | tuple[Array, Array]:
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
        values = np.asarray(np.stack(self._said(X)) * self._spread + self._center)
        mean: Array = values.mean(axis=0)
        if quantiles is not None:
            return np.asarray(mean[:, None] + self._spread * self._error_quantiles(quantiles))
        if not return_std:
            return mean
        error = self._spread * np.sqrt(np.mean(self._residuals**2))
        return mean, np.sqrt(values.var(axis=0) + error**2)

    def _error_quantiles(self, given: Any) -> Array:
        try:
            levels = np.asarray(given, np.float64)
        except (TypeError, ValueError):
            levels = np.array(np.nan)
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

    def _onnx_outputs(self, pipeline: Pipeline) -> dict[str, tuple[str, Any, list[Any]]]:
        def value(said: str) -> str:
            y = pipeline.add("Clip", said, *map(pipeline.constant, self._range))
            return pipeline.add("ReduceMean", y, pipeline.constant([1, 2], np.int64), keepdims=0)
        z = means(pipeline, self.committee_, value, lambda z: z)
        spread, center = pipeline.constant(self._spread), pipeline.constant(self._center)
        y = pipeline.add("Add", pipeline.add("Mul", z, spread), center)
        return {"prediction": (y, pipeline.onnx.TensorProto.DOUBLE, ["batch"])}

    def _check_targets(self, y: Any) -> Array:
        y = _numbers(y)
        size = float(np.abs(y).max(initial=0))
        unit = 1.0 if size == 0 or SQUARES[0] < size < SQUARES[1] else size
        center, spread = (float((y / unit).mean()), float((y / unit).std())) if len(y) else (0.0, 1.0)
        if not spread > 1e-12 * abs(center):
            spread = 1.0
        z: Array = (y / unit - center) / spread
        self._center, self._spread = center * unit, spread * unit
        self._range = (float(z.min(initial=0)), float(z.max(initial=0)))
        return np.asarray(z)

    def _activation(self) -> Any:
        return ACTIVATIONS["mish"] if self.activation == "auto" and not self._signs else super()._activation()

    def _outputs(self) -> int:
        return 1

    def _levels_by(self, targets: Array) -> Array:
        return targets[:, None]

    def _loss(self) -> Loss:
        return MSE()

    def _strata(self, targets: Array) -> Array | None:
        return None

    def _score_held_out(self, said: Array, targets: Array, weights: Array | None) -> float:
        if self.scoring == "mae":
            return float(np.average(np.abs(said - targets), weights=weights))
        return float(np.sqrt(np.average((said - targets) ** 2, weights=weights)))

    def _settle(self, said: Array, targets: Array, weights: Array | None) -> None:
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


def _numbers(y: Any) -> Array:
    check_given(y=y)
    y = column_or_1d(as_numbers("TabularRegressor", y), warn=True)
    try:
        y = y.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"TabularRegressor: y has {y.dtype} such as {y.tolist()[0]!r}; expected numbers") from None
    _assert_all_finite(y, input_name="y")
    return np.asarray(y)
