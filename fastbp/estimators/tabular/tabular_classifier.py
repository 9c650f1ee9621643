"""The classifier for tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _assert_all_finite

from fastbp.estimators.tabular.columns import Column
from fastbp.estimators.tabular.plain_data import Plain
from fastbp.estimators.tabular.row_explanation import Slope
from fastbp.estimators.tabular.tabular import BaseTabular
from fastbp.objectives.losses import CrossEntropy, Loss
from fastbp.ops.base import Array


class TabularClassifier(ClassifierMixin, BaseTabular):
    """Networks for tables with a class to predict: frames as they are, good results with no parameter set."""

    def __init__(self, *, n_members: int = 1, hidden_layer_sizes: Any = (96, 96, 96), activation: str = "auto",
                 numeric_embedding: str = "auto", categorical_features: Any = "from_dtype", max_one_hot: int = 8,
                 max_iter: int = 32, batch_size: Any = "auto", learning_rate: str = "coslog4",
                 learning_rate_init: Any = "auto", beta_2: float = 0.95, dropout: float = 0.1,
                 weight_decay: float = 0.02, label_smoothing: float = 0.0, validation_fraction: float = 0.2,
                 n_folds: Any = "auto", early_stopping: Any = "cycle", scoring: str = "auto", class_weight: Any = None,
                 time_limit: float | None = None, random_state: Any = None, n_threads: Any = None,
                 verbose: bool = False) -> None:
        self._take({k: v for k, v in locals().items() if k not in ("self", "__class__")})

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, in the order of ``classes_``."""
        return np.asarray(np.mean(self._said(X), axis=0))

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
            return (z[..., likely] - rest).mean(axis=1), gradient / z.shape[1]
        return f"log odds of {self.classes_.tolist()[likely]!r}", slope

    def _check_targets(self, y: Any) -> Array:
        y = column_or_1d(y, warn=True)
        _assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"TabularClassifier: y has 1 class, {self.classes_.tolist()[0]!r}; expected at least two")
        return np.asarray(labels, np.int64)

    def _outputs(self) -> int:
        return len(self.classes_)

    def _levels_by(self, targets: Array) -> Array:
        one_hot = np.eye(len(self.classes_))[targets]
        return one_hot[:, 1:] if len(self.classes_) == 2 else one_hot

    def _loss(self) -> Loss:
        weights = None if self.class_weight is None else self._class_weights().tolist()
        return CrossEntropy(self.label_smoothing, weights)

    def _strata(self, targets: Array) -> Array | None:
        self._labels = targets
        return targets

    def _judged_by(self, targets: Array, weights: Array | None) -> Array | None:
        if self.class_weight is None:
            return weights
        each = self._class_weights()[targets]
        return each if weights is None else each * weights

    def _class_weights(self) -> Array:
        return np.asarray(compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[self._labels]))

    def _score_held_out(self, said: Array, targets: Array, weights: Array | None) -> float:
        p = said[np.arange(len(targets)), targets]
        return float(np.average(-np.log(np.maximum(p, 1e-7)), weights=weights))

    def _settle(self, said: Array, targets: Array) -> None:
        del self._labels

    def _described(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist(), "labels": self.classes_.dtype.str}

    def _restore(self, d: Plain) -> None:
        classes = d["classes"].items(_label)
        try:
            dtype = np.dtype(d["labels"].text())
            self.classes_ = np.array(classes, dtype)
        except (TypeError, ValueError, OverflowError):
            raise d["labels"].wrong("the dtype of the classes") from None
        if dtype.kind not in "OUSbiuf" or self.classes_.tolist() != classes or len(set(classes)) < len(classes):
            raise d["classes"].wrong("labels, each once, of the dtype that is given")
        if len(classes) < 2 or any(f.architecture.outputs != len(classes) for f in self.committee_.folds):
            raise d["classes"].wrong("as many classes as the networks have outputs")


def _label(d: Plain) -> Any:
    if not isinstance(d.value, str | int | float):
        raise d.wrong("a label")
    return d.value


def softmax(x: Array) -> Array:
    """Return exp(x) / Σ exp(x) over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))
