"""The classifier for tables."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import roc_auc_score
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _assert_all_finite

from fastbp.core.checks import number
from fastbp.datasets.columns import Column
from fastbp.estimators.tabular.calibration import LEAST, cooled, temperature_of
from fastbp.estimators.tabular.onnx_pipeline import Pipeline, means
from fastbp.estimators.tabular.plain_data import Plain
from fastbp.estimators.tabular.row_explanation import Slope
from fastbp.estimators.tabular.tabular import BaseTabular
from fastbp.estimators.x_and_y import as_labels, check_given
from fastbp.objectives.cross_entropy import CrossEntropy
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array

CALIBRATIONS = ("auto", "temperature", None)
SCORINGS = ("auto", "log_loss", "roc_auc", "accuracy")


class TabularClassifier(ClassifierMixin, BaseTabular):
    """Networks for tables with a class to predict: frames as they are, good results with no parameter set.

    Parameters
    ----------
    n_members : int, default 1
        Members of each network, which share all weights but a first adapter and their heads, and see rows in orders of
        their own.
    hidden_layer_sizes : int or sequence of int, default (96, 96, 96)
    activation : {"auto", "relu", "selu", "mish", "gelu", "silu"}, default "auto"
        "auto" is SELU.
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
    label_smoothing : float, default 0.02
        Labels count as so much less certain while training, from 0 to below 1; probabilities are calibrated afterwards.
    validation_fraction : float, default 0.2
        The share of the rows that is held out where `n_folds` is 1.
    n_folds : int or "auto", default "auto"
        Networks that are trained, each on all rows but a part of its own. "auto": 8 up to 5,000 rows,
        fewer where those have many columns, else 4.
    early_stopping : "cycle" or bool, default "cycle"
        "cycle", or True, stops at the end of a cycle of the learning rate that was no better than those before, on all
        the rows held out together.
    scoring : {"auto", "log_loss", "roc_auc", "accuracy"}, default "auto"
        What epochs are chosen by, on the rows held out; "auto" is the log loss, by which probabilities are best.
    class_weight : dict or "balanced", optional
        Multiplies the loss of each class, in training and on the rows held out.
    calibration : {"auto", "temperature", None}, default "auto"
        "temperature" calibrates probabilities by one number, found on predictions for rows held out. "auto" does so
        where labels were smoothed or epochs chosen by another score: else it changes next to nothing.
    monotonic : mapping of str to int, or sequence of int, optional
        Columns of numbers along which the probability of the second class never falls, 1, or never rises, -1: by name,
        or one entry for each column, with 0 for all others. Networks then multiply by weights of one sign.
    time_limit : float, optional
        Seconds after which training ends.
    random_state : int, RandomState or None, default None
    n_threads : int or "auto", optional
        While fitting and predicting; None leaves it as it is (:func:`fastbp.set_num_threads`). No bit depends on it.
    verbose : bool, default False
        Whether to print a line for each epoch.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    epochs_ : list of int
        The epochs that are kept of each network, some more than once: the few whose mean is best on the rows held out.
    scores_ : list of float
        The score of all rows held out after each epoch, less is better: the log loss, or minus `scoring`.
    n_iter_ : int
        Epochs done.
    column_kinds_ : dict of str to {"number", "date", "category"}
    temperature_ : float
        Probabilities are taken to the power of one over this.
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
    >>> from sklearn.datasets import load_iris
    >>> import fastbp as fb
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> clf = fb.TabularClassifier(random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.95
    True
    """

    def __init__(self, *, n_members: int = 1, hidden_layer_sizes: Any = (96, 96, 96), activation: str = "auto",
                 numeric_embedding: str = "auto", categorical_features: Any = "from_dtype", max_one_hot: int = 8,
                 category_embedding: int = 8, max_iter: int | str = "auto", batch_size: Any = "auto",
                 learning_rate: str = "coslog4", learning_rate_init: Any = "auto", beta_2: float = 0.95,
                 dropout: float = 0.1, weight_decay: float = 0.02, label_smoothing: float = 0.02,
                 validation_fraction: float = 0.2, n_folds: Any = "auto", early_stopping: Any = "cycle",
                 scoring: str = "auto", class_weight: Any = None, calibration: str | None = "auto",
                 monotonic: Any = None, time_limit: float | None = None, random_state: Any = None,
                 n_threads: Any = None, verbose: bool = False) -> None:
        self._take({k: v for k, v in locals().items() if k not in ("self", "__class__")})

    _scorings = SCORINGS

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> TabularClassifier:
        """Go on training with more rows, each once; the first call fits.

        What is done to each column stays as the first call decided it, and so do the weights of classes: levels that
        come later are unknown.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.
        classes : array of shape (n_classes,), optional
            All there will ever be, for the first call; by default those of its y.

        Returns
        -------
        self
        """
        if not hasattr(self, "committee_"):
            self._all_classes = None if classes is None else np.unique(classes)
            try:
                self.fit(X, y, sample_weight)
            finally:
                self._all_classes = None
            return self
        if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"TabularClassifier: classes is {classes!r}; expected {self.classes_.tolist()}, as in the "
                             "first call")
        columns = self._columns(X, reset=False)
        labels = _labels(y)
        unknown = sorted(set(labels.tolist()) - set(self.classes_.tolist()))
        if unknown or len(labels) != len(columns[0].values):
            raise ValueError(f"TabularClassifier: y has {unknown or len(labels)}; expected a label for each of the "
                             f"{len(columns[0].values)} rows, among {self.classes_.tolist()}")
        self._go_on(columns, np.searchsorted(self.classes_, labels), sample_weight)
        return self

    @overload
    def predict_proba(self, X: Any, return_std: Literal[False] = False) -> Array: ...
    @overload
    def predict_proba(self, X: Any, return_std: Literal[True]) -> tuple[Array, Array]: ...

    def predict_proba(self, X: Any, return_std: bool = False) -> Array | tuple[Array, Array]:
        """Return the probability of each class, in the order of ``classes_``.

        Parameters
        ----------
        X : table, as in :meth:`fit`
        return_std : bool, default False
            Whether to return standard deviations too: of the networks of all folds among themselves.

        Returns
        -------
        array of shape (n_samples, n_classes), or two of them
        """
        each = np.stack([cooled(p, self.temperature_) for p in self._said(X)])
        return (each.mean(axis=0), each.std(axis=0)) if return_std else each.mean(axis=0)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of :meth:`predict_proba`."""
        return np.asarray(np.log(np.maximum(self.predict_proba(X), np.finfo(float).tiny)))

    def predict(self, X: Any) -> Array:
        """Return the most likely class of each row."""
        most_likely = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[most_likely])

    def _meant(self, outputs: Array) -> Array:
        return np.asarray(softmax(outputs.astype(np.float64)).mean(axis=1))

    def _slope(self, row: dict[str, Column]) -> tuple[str, Slope]:
        means = self.committee_.means(row, 1, self._meant)
        likely = int(np.mean(means, axis=0)[0].argmax())

        def slope(outputs: Array) -> tuple[Array, Array]:
            z = outputs.astype(np.float64)
            others = np.delete(z, likely, axis=-1)
            most = others.max(axis=-1, keepdims=True)
            rest = most[..., 0] + np.log(np.exp(others - most).sum(axis=-1))
            gradient = np.insert(-softmax(others), likely, 1.0, axis=-1)
            scale = self.temperature_
            return (z[..., likely] - rest).mean(axis=1) / scale, gradient / (scale * z.shape[1])
        return f"log odds of {self.classes_.tolist()[likely]!r}", slope

    def _onnx_outputs(self, pipeline: Pipeline) -> dict[str, tuple[str, Any, list[Any]]]:
        def probabilities(said: str) -> str:
            p = pipeline.add("Softmax", said, axis=-1)
            return pipeline.add("ReduceMean", p, pipeline.constant([1], np.int64), keepdims=0)
        types, text = pipeline.onnx.TensorProto, self.classes_.dtype.kind in "OSUM"
        def calibrated(p: str) -> str:
            if self.temperature_ == 1:
                return p
            log = pipeline.add("Log", pipeline.add("Max", p, pipeline.constant(LEAST)))
            return pipeline.add("Softmax", pipeline.add("Div", log, pipeline.constant(self.temperature_)), axis=-1)
        p = means(pipeline, self.committee_, probabilities, calibrated)
        labels = [str(c) for c in _plain_labels(self.classes_)] if text else self.classes_.astype(np.int64)
        names = pipeline.constant(labels, object if text else np.int64)
        label = pipeline.add("Gather", names, pipeline.add("ArgMax", p, axis=1, keepdims=0), axis=0)
        return {"label": (label, types.STRING if text else types.INT64, ["batch"]),
                "probabilities": (p, types.DOUBLE, ["batch", len(self.classes_)])}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        number("TabularClassifier", "label_smoothing", self.label_smoothing, "a number from 0 to below 1",
               lambda v: 0 <= v < 1)
        if self.calibration not in CALIBRATIONS:
            raise ValueError(f"TabularClassifier: calibration is {self.calibration!r}; expected one of "
                             f"{', '.join(map(repr, CALIBRATIONS))}")

    def _check_targets(self, y: Any) -> Array:
        y = _labels(y)
        _assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        every = getattr(self, "_all_classes", None)
        if every is not None:
            unknown = sorted(set(self.classes_.tolist()) - set(every.tolist()))
            if unknown:
                raise ValueError(f"TabularClassifier: y has {unknown}, not among classes: {every.tolist()}")
            labels = np.searchsorted(every, self.classes_)[labels]
            self.classes_ = every
        if len(self.classes_) < 2:
            raise ValueError(f"TabularClassifier: y has 1 class, {self.classes_.tolist()[0]!r}; expected at least two")
        return np.asarray(labels, np.int64)

    def _outputs(self) -> int:
        if self._signs and len(self.classes_) > 2:
            raise ValueError(f"TabularClassifier: monotonic is given and y has {len(self.classes_)} classes; expected "
                             "two, of which the second becomes more likely")
        return len(self.classes_)

    def _levels_by(self, targets: Array) -> Array:
        one_hot = np.eye(len(self.classes_))[targets]
        return one_hot[:, 1:] if len(self.classes_) == 2 else one_hot

    def _loss(self) -> Loss:
        weights = self._weight_of_class
        return CrossEntropy(self.label_smoothing, None if weights is None else weights.tolist())

    def _strata(self, targets: Array) -> Array | None:
        self._weight_of_class = self._class_weights(targets)
        return targets

    def _judged_by(self, targets: Array, weights: Array | None) -> Array | None:
        if self._weight_of_class is None:
            return weights
        each = self._weight_of_class[targets]
        return each if weights is None else each * weights

    def _class_weights(self, targets: Array) -> Array | None:
        """Return what each class counts; 1 where "balanced" has no row of it to go by."""
        if self.class_weight is None:
            return None
        there = np.unique(targets) if isinstance(self.class_weight, str) else np.arange(len(self.classes_))
        weights = np.ones(len(self.classes_))
        weights[there] = compute_class_weight(self.class_weight, classes=self.classes_[there],
                                              y=self.classes_[targets])
        return weights

    def _score_held_out(self, said: Array, targets: Array, weights: Array | None) -> float:
        if self.scoring == "accuracy":
            return -float(np.average(said.argmax(axis=1) == targets, weights=weights))
        if self.scoring == "roc_auc" and len(np.unique(targets)) == len(self.classes_):
            p = said[:, 1] if len(self.classes_) == 2 else said
            return -float(roc_auc_score(targets, p, sample_weight=weights, multi_class="ovr"))
        p = said[np.arange(len(targets)), targets]
        return float(np.average(-np.log(np.maximum(p, 1e-7)), weights=weights))

    def _settle(self, said: Array, targets: Array, weights: Array | None) -> None:
        chosen_otherwise = self.label_smoothing > 0 or self.scoring in ("roc_auc", "accuracy")
        calibrated = self.calibration == "temperature" or (self.calibration == "auto" and chosen_otherwise)
        self.temperature_ = temperature_of(said, targets, weights) if calibrated else 1.0

    def _described(self) -> dict[str, Any]:
        weights = self._weight_of_class
        return {"classes": _plain_labels(self.classes_), "labels": self.classes_.dtype.str,
                "temperature": self.temperature_, "weights": None if weights is None else weights.tolist()}

    def _restore(self, d: Plain) -> None:
        classes = d["classes"].items(_label)
        self.temperature_ = d["temperature"].number()
        if not self.temperature_ > 0:
            raise d["temperature"].wrong("a number above 0")
        try:
            dtype = np.dtype(d["labels"].text())
            self.classes_ = np.array(classes, dtype)
        except (TypeError, ValueError, OverflowError):
            raise d["labels"].wrong("the dtype of the classes") from None
        if dtype.kind not in "OUSbiufM" or _plain_labels(self.classes_) != classes or len(set(classes)) < len(classes):
            raise d["classes"].wrong("labels, each once, of the dtype that is given")
        if len(classes) < 2 or any(f.architecture.outputs != len(classes) for f in self.committee_.folds):
            raise d["classes"].wrong("as many classes as the networks have outputs")
        weights = d["weights"].or_none(lambda w: w.items(Plain.number)) if "weights" in d.value else None
        if weights is not None and (len(weights) != len(classes) or min(weights) < 0):
            raise d["weights"].wrong("a number of at least 0 for each class")
        self._weight_of_class = None if weights is None else np.array(weights)


def _labels(y: Any) -> Array:
    check_given(y=y)
    return np.asarray(column_or_1d(as_labels("TabularClassifier", y), warn=True))


def _plain_labels(classes: Array) -> list[Any]:
    """Return classes as JSON takes them: dates as text."""
    return list((classes.astype(str) if classes.dtype.kind == "M" else classes).tolist())


def _label(d: Plain) -> Any:
    if not isinstance(d.value, str | int | float):
        raise d.wrong("a label")
    return d.value


def softmax(x: Array) -> Array:
    """Return exp(x) / Σ exp(x) over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))
