"""The classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from fastbp.core.checks import number
from fastbp.engine.executable import BackendName
from fastbp.engine.links import LINKS
from fastbp.estimators.class_labels import plain_labels, read_labels
from fastbp.estimators.mlp import BaseMLP, partial_fit_available
from fastbp.estimators.objective import Objective, classification
from fastbp.estimators.x_and_y import as_labels
from fastbp.files.description import Entry
from fastbp.network import Network
from fastbp.objectives.cross_entropy import CrossEntropy
from fastbp.objectives.losses import BinaryCrossEntropy
from fastbp.ops.base import Array
from fastbp.training.metrics import METRICS

SCORINGS = (None, "accuracy", "log_loss", "roc_auc", "f1")


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multi-layer perceptron for classification: two classes, several, or several labels a row.

    In place of ``sklearn.neural_network.MLPClassifier``: the parameters down to `max_fun` have its names, defaults and
    meaning, and one random state gives the same initial weights, the same validation set and the same mini-batches.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (100,)
    activation : str, activation layer, or list of them, default "relu"
        Of the hidden layers: "identity", "logistic", "tanh", "relu", and beyond scikit-learn the name of any other
        elementwise activation layer, such as "leaky_relu", "gelu" or "silu", or a layer such as
        ``fb.LeakyReLU(0.2)``. A list has one for each layer.
    solver : {"adam", "sgd", "lbfgs"} or Optimizer, default "adam"
        An optimizer such as ``fb.AdamW(1e-3)`` brings its own learning rate and weight decay; `alpha` is not used then.
    alpha : float, default 0.0001
        The penalty ``alpha |W|² / (2 n)``, n being the rows of a mini-batch (of all data for "lbfgs"). Biases are not
        penalised.
    batch_size : int or "auto", default "auto"
        "auto" is ``min(200, n_samples)``.
    learning_rate : {"constant", "invscaling", "adaptive"} or Schedule, default "constant"
        The names are for "sgd": "invscaling" divides by ``t_ ** power_t`` after each epoch, "adaptive" divides by 5
        where it would else stop. A schedule such as ``fb.CosineDecay(1e-3, steps)`` is for "adam" too.
    learning_rate_init : float, default 0.001
    power_t : float, default 0.5
    max_iter : int, default 200
        Epochs, or iterations of "lbfgs".
    shuffle : bool, default True
    random_state : int, RandomState or None, default None
    tol : float, default 0.0001
        What counts as an improvement; for "lbfgs" the largest entry of the gradient at convergence.
    verbose : bool, default False
    warm_start : bool, default False
        Whether fit goes on from the weights of the last fit.
    momentum : float, default 0.9
        Of "sgd"; from 0 to below 1.
    nesterovs_momentum : bool, default True
    early_stopping : bool, default False
        Whether the score of a validation set decides when to stop; the best weights are given back.
    validation_fraction : float, default 0.1
        The share of the training data that is the validation set, where no `validation_data` are given.
    beta_1, beta_2, epsilon : float, default 0.9, 0.999, 1e-8
        Of "adam".
    n_iter_no_change : int, default 10
        Epochs without improvement that are borne.
    max_fun : int, default 15000
        Evaluations of "lbfgs".
    loss : "log_loss" or Loss, default "log_loss"
        Or ``fb.CrossEntropy(…)``, ``fb.BinaryCrossEntropy(…)``, or a function of one's own, of a logit for each class.
    class_weight : dict or "balanced", default None
        Multiplies the sample weights. Classes that a dict leaves out weigh 1. For several labels a row: a list with a
        dict of the weights of 0 and 1 for each label, or "balanced".
    dropout : float or list of float, default 0.0
        After each hidden layer.
    batch_norm, layer_norm : bool, default False
        Whether the hidden layers are normalised before their activation.
    callbacks : sequence of fb.callbacks.Callback, default ()
    dtype : {"float32", "float64"} or None, default None
        None: that of X; float64 for "lbfgs".
    n_threads : int or "auto", default None
        While fitting and predicting; None leaves it as it is (:func:`fastbp.set_num_threads`).
    backend : {"native", "reference"}, default "native"
    scoring : {"accuracy", "log_loss", "roc_auc", "f1"} or None, default None
        What early stopping goes by; None is the accuracy, as scikit-learn has it. Where a class is rare, "log_loss" or
        "roc_auc" are better guides. A loss counts as its negative in ``validation_scores_``.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    network_ : fastbp.Network
        The network itself: it gives logits.
    history_ : fastbp.History
        Of the last fit, epoch by epoch.
    coefs_, intercepts_ : list of arrays
        Weights and biases of each linear layer; views of the network's.
    loss_, best_loss_ : float
        Of the last epoch, the penalty included, and the lowest; ``best_loss_`` is None with early stopping.
    loss_curve_ : list of float
    validation_scores_, best_validation_score_ : list of float, float
        Accuracy after each epoch, with early stopping; else None.
    stopped_ : bool
        Whether training ended by the stopping rule, rather than at `max_iter`.
    n_iter_, t_ : int
        Epochs of the last fit; rows gone through in all.
    n_layers_, n_outputs_, n_features_in_ : int
    feature_names_in_ : array of str
        Where X has feature names.
    out_activation_ : {"logistic", "softmax"}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import fastbp as fb
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = fb.MLPClassifier((32,), activation="gelu", learning_rate_init=0.01, random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.95
    True
    """

    classes_: Array

    def __init__(self, hidden_layer_sizes: Any = (100,), activation: Any = "relu", *, solver: Any = "adam",
                 alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: Any = "constant",
                 learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
                 random_state: Any = None, tol: float = 1e-4, verbose: bool = False, warm_start: bool = False,
                 momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
                 validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 n_iter_no_change: int = 10, max_fun: int = 15000, loss: Any = "log_loss", class_weight: Any = None,
                 dropout: Any = 0.0, batch_norm: bool = False, layer_norm: bool = False, callbacks: Any = (),
                 dtype: Any = None, n_threads: Any = None, backend: BackendName = "native",
                 scoring: str | None = None) -> None:
        self._take({k: v for k, v in locals().items() if k not in ("self", "__class__")})

    @partial_fit_available
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None,
                    validation_data: Any = None) -> MLPClassifier:
        """Train for one epoch on the given rows.

        With ``early_stopping=True`` the score on `validation_data`, or on the same `validation_fraction` of the rows
        at each call, is looked at; once it has stopped improving the best weights are taken back, ``stopped_`` is True,
        and further calls change nothing.

        Parameters
        ----------
        X, y, sample_weight, validation_data
            As in :meth:`fit`.
        classes : array of shape (n_classes,), optional
            All classes there will ever be; needed in the first call.
        """
        first = "network_" not in vars(self)
        if first and classes is None:
            raise ValueError("MLPClassifier: classes must be passed on the first call to partial_fit: all labels there "
                             "will ever be, as this call's rows may not have them all")
        if not first and classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise ValueError(f"MLPClassifier: classes is {classes!r}; expected {self.classes_.tolist()}, as in the "
                             "first call to partial_fit")
        return self._fit(X, y, sample_weight, validation_data, classes, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the most likely class of each row, or the labels above one half as 0 and 1."""
        return self._decide(self._outputs(X))

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, in the order of ``classes_``."""
        return self._outputs(X, self._link)

    @property
    def _link(self) -> str | None:
        """What makes probabilities of the network's outputs."""
        link = self.__dict__.get("out_activation_")
        return "both" if link == "logistic" and not self._multilabel else "sigmoid" if link == "logistic" else link

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`, from the logits: finite where a probability is next to 0."""
        logits = self._outputs(X)
        if self.out_activation_ == "softmax":
            shifted = logits - logits.max(axis=1, keepdims=True)
            return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
        log_p = -np.logaddexp(0, -logits)
        return log_p if self._multilabel else np.hstack([-np.logaddexp(0, logits), log_p])

    def _described(self) -> dict[str, Any]:
        return {"classes": plain_labels(self.classes_), "multilabel": bool(self._multilabel)}

    def _restore(self, d: Entry, net: Network) -> None:
        super()._restore(d, net)
        self._multilabel = d["multilabel"].flag()
        self.classes_ = read_labels(d["classes"])
        wanted = self._units if self._units > 1 or self._multilabel else min(len(self.classes_), 2)
        if len(self.classes_) != wanted or self.out_activation_ not in ("softmax", "logistic"):
            raise ValueError(f"it has {len(self.classes_)} classes and {self.out_activation_!r} for {self._units} "
                             "outputs")

    def _onnx_output(self, outputs: Any) -> tuple[str, Any]:
        return "probabilities", LINKS[str(self._link)](outputs)

    # ---- targets ----------------------------------------------------------------------------------------------------

    def _check_targets(self, X: Any, y: Any, classes: Any, reset: bool, again: bool = False) -> tuple[Any, Array]:
        y = as_labels("MLPClassifier", y)
        X, y = validate_data(self, X, y, accept_sparse=["csr", "csc"], multi_output=True,
                             dtype=(np.float64, np.float32), reset=reset)
        check_classification_targets(y)
        y = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError("MLPClassifier: y has several columns with more than two classes; expected one column, or "
                             "columns of 0 and 1. Fit one classifier for each column")
        multilabel = kind == "multilabel-indicator"
        y = y if multilabel else column_or_1d(y, warn=True)
        if reset:
            if multilabel:
                self.classes_ = np.arange(y.shape[1])
            else:
                self.classes_ = np.unique(y) if classes is None else unique_labels(classes)
            self._multilabel = multilabel
        self._check_classes(y, multilabel, again)
        if reset:
            self.n_outputs_ = 1 if not multilabel and len(self.classes_) <= 2 else len(self.classes_)
        return X, y

    def _check_classes(self, y: Array, multilabel: bool, again: bool) -> None:
        if multilabel != self._multilabel:
            raise ValueError(f"y has {'several labels' if multilabel else 'one class'} a row; expected "
                             f"{'several labels' if self._multilabel else 'one class'}, as before")
        if again and not multilabel and not np.array_equal(np.unique(y), self.classes_):
            raise ValueError("MLPClassifier: warm_start can only be used where `y` has the same classes as in the "
                             f"previous call to fit. Previously got {self.classes_}, `y` has {np.unique(y)}; use "
                             "partial_fit for some of them, or warm_start=False")
        found: object = y.shape[1] if multilabel else np.setdiff1d(y, self.classes_).tolist()
        if found != (len(self.classes_) if multilabel else []):
            raise ValueError(f"y has {found}, not among the classes {self.classes_.tolist()}")

    def _encode(self, y: Array) -> Array:
        if self._multilabel:
            return np.asarray(y)
        labels = np.searchsorted(self.classes_, y)
        return labels if self.out_activation_ == "softmax" else labels[:, None]

    def _make_objective(self, y: Array, sample_weight: Array | None) -> Objective:
        return classification(self.loss, "multilabel-indicator" if self._multilabel else "", len(self.classes_))

    def _weights(self, y: Array, sample_weight: Array | None) -> Array | None:
        if self.class_weight is None:
            return sample_weight
        weights = compute_sample_weight(self._checked_class_weight(), y)
        return np.asarray(weights if sample_weight is None else weights * sample_weight)

    def _checked_class_weight(self) -> Any:
        """Return what scikit-learn makes weights of rows from, with a weight for every class."""
        given = self.class_weight
        if isinstance(given, str) and given == "balanced":
            return given
        if not self._multilabel:
            return _weights_of_classes("class_weight", given, self.classes_.tolist())
        if not isinstance(given, list) or len(given) != len(self.classes_):
            raise ValueError(f"MLPClassifier: class_weight is {given!r}; expected \"balanced\", or a list of "
                             f"{len(self.classes_)} dicts, one for each label, such as {{0: 1.0, 1: 2.0}}")
        return [_weights_of_classes(f"class_weight[{i}]", each, [0, 1]) for i, each in enumerate(given)]

    def _strata(self, targets: Array) -> Array | None:
        return targets if self.n_outputs_ == 1 else None

    def _decide(self, logits: Array) -> Array:
        if self.out_activation_ == "softmax":
            return np.asarray(self.classes_[logits.argmax(axis=1)])
        positive = (logits > 0).astype(int)
        # a single class has no opposite
        if self._multilabel:
            return positive
        return np.asarray(self.classes_[np.minimum(positive[:, 0], len(self.classes_) - 1)])

    def _score_outputs(self, targets: Array, outputs: Array, sample_weight: Array | None) -> float:
        if self.scoring in (None, "accuracy"):
            return self._accuracy(targets, outputs, sample_weight)
        loss = CrossEntropy() if self.out_activation_ == "softmax" else BinaryCrossEntropy()
        score = METRICS[self.scoring].of(loss)(targets, outputs, sample_weight)
        return score if METRICS[self.scoring].maximised else -score

    def _check_parameters(self, incremental: bool, validated: bool) -> None:
        super()._check_parameters(incremental, validated)
        if self.scoring not in SCORINGS:
            raise ValueError(f"MLPClassifier: scoring is {self.scoring!r}; expected one of "
                             f"{', '.join(map(repr, SCORINGS))}")

    def _accuracy(self, targets: Array, outputs: Array, sample_weight: Array | None) -> float:
        right = outputs.argmax(axis=1) == targets if self.out_activation_ == "softmax" \
            else ((outputs > 0) == (targets > 0)).all(axis=1)
        return float(np.average(right, weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _weights_of_classes(argument: str, given: Any, classes: list[Any]) -> dict[Any, float]:
    if not isinstance(given, dict):
        alternative = '"balanced", or ' if argument == "class_weight" else ""
        raise ValueError(f"MLPClassifier: {argument} is {given!r}; expected {alternative}a dict from classes to "
                         f"numbers of at least 0, such as {{{classes[0]!r}: 2.0}}")
    weights = {c: number("MLPClassifier", f"{argument}[{c!r}]", w, "a number of at least 0", lambda v: v >= 0)
               for c, w in given.items()}
    unknown = [c for c in weights if c not in classes]
    # where every class has its weight, others may be of classes that these rows lack, as in a fold
    if unknown and not all(c in weights for c in classes):
        raise ValueError(f"MLPClassifier: {argument} has the keys {list(weights)}; expected some of the classes "
                         f"{classes}, which {unknown[0]!r} is not among")
    return dict.fromkeys(classes, 1.0) | weights
