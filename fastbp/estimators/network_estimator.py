"""Networks of one's own as scikit-learn estimators: ``fb.NetworkClassifier`` and ``fb.NetworkRegressor``.

Both take a function that builds the network, and are then what scikit-learn expects: grid search over the function's
arguments, pipelines, cloning, pickling, ``partial_fit``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from fastbp.core.checks import count, flag, number
from fastbp.engine.executable import BackendName
from fastbp.graph.graph import Input, Tensor
from fastbp.layers.base import Layer
from fastbp.network import Network
from fastbp.objectives.cross_entropy import CrossEntropy
from fastbp.objectives.losses import MSE, Loss
from fastbp.ops.base import Array
from fastbp.optim.optimizers import Adam, Optimizer
from fastbp.training.callback import Callback
from fastbp.training.callbacks import EarlyStopping
from fastbp.training.history import History
from fastbp.training.trainer import Trainer

Build = Callable[..., Tensor | Sequence[Layer]]
_PREFIX = "build__"


class _NetworkEstimator(BaseEstimator):
    network_: Network
    history_: History

    if TYPE_CHECKING:   # scikit-learn's own, which has no types
        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float: ...

    def __init__(self, build: Build, *, loss: Loss | None = None, optimizer: Optimizer | None = None, epochs: int = 20,
                 batch_size: int = 32, shuffle: bool = True, early_stopping: bool = False,
                 validation_fraction: float = 0.1, patience: int = 10, callbacks: Sequence[Callback] = (),
                 random_state: Any = None, dtype: str = "float32", backend: BackendName = "native",
                 warm_start: bool = False, verbose: bool = False, **arguments: Any) -> None:
        unknown = [name for name in arguments if not name.startswith(_PREFIX)]
        if unknown:
            raise TypeError(f"{type(self).__name__}: {unknown[0]}= is no argument; those of the function that builds "
                            f"the network are written {_PREFIX}{unknown[0]}=…")
        self.build, self.loss, self.optimizer = build, loss, optimizer
        self.epochs, self.batch_size = epochs, batch_size
        self.shuffle, self.early_stopping, self.validation_fraction = shuffle, early_stopping, validation_fraction
        self.patience, self.callbacks, self.random_state, self.dtype = patience, callbacks, random_state, dtype
        self.backend, self.warm_start, self.verbose = backend, warm_start, verbose
        self._arguments = {name.removeprefix(_PREFIX): value for name, value in arguments.items()}

    # ---- parameters -----------------------------------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor, those of the building function with ``build__`` before them."""
        return {**super().get_params(deep), **{_PREFIX + name: v for name, v in self._arguments.items()}}

    def set_params(self, **params: Any) -> Any:
        """Set arguments of the constructor; ``build__name`` those of the building function."""
        own = {name: v for name, v in params.items() if not name.startswith(_PREFIX)}
        super().set_params(**own)
        self._arguments |= {n.removeprefix(_PREFIX): v for n, v in params.items() if n.startswith(_PREFIX)}
        return self

    def _check_parameters(self) -> None:
        name = type(self).__name__
        if not callable(self.build):
            raise TypeError(f"{name}: build is {self.build!r}; expected a function (x, outputs) -> tensor or layers")
        for argument in ("epochs", "batch_size"):
            count(name, argument, getattr(self, argument))
        count(name, "patience", self.patience, at_least=0)
        for argument in ("shuffle", "early_stopping", "warm_start", "verbose"):
            flag(name, argument, getattr(self, argument))
        number(name, "validation_fraction", self.validation_fraction, "a number above 0 and below 1",
               lambda v: 0 < v < 1)
        if self.optimizer is not None and not isinstance(self.optimizer, Optimizer):
            raise TypeError(f"{name}: optimizer is {self.optimizer!r}; expected one such as fb.Adam(1e-3)")

    # ---- fitting --------------------------------------------------------------------------------------------------

    def _make(self, shape: tuple[int, ...], outputs: int) -> Network:
        """Return the network that the function builds."""
        x = Input(*shape)
        made = self.build(x, outputs, **self._arguments)
        if isinstance(made, list | tuple) and made and all(isinstance(layer, Layer) for layer in made):
            y = x
            for layer in made:
                y = layer(y)
            made = y
        if not isinstance(made, Tensor):
            raise TypeError(f"{type(self).__name__}: build returned {made!r}; expected a tensor, as layers called on x "
                            "give, or a list of layers")
        seed = int(check_random_state(self.random_state).randint(2**31))
        return Network(x, made, dtype=self.dtype, seed=seed, backend=self.backend)

    def _train(self, X: Array, targets: Array, loss: Loss, outputs: int, sample_weight: Any, validation: Any,
               epochs: int, keep: bool) -> None:
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        if not keep or "network_" not in vars(self):
            self.network_ = self._make(X.shape[1:], outputs)
            self._trainer = Trainer(self.network_, loss, self.optimizer or Adam(1e-3))
        callbacks, share = list(self.callbacks), 0.0
        if self.early_stopping and epochs > 1:
            callbacks.append(EarlyStopping(patience=self.patience))
            share = 0.0 if validation is not None else float(self.validation_fraction)
        self._trainer.fit(X, targets, epochs=epochs, batch_size=min(self.batch_size, len(X)), shuffle=self.shuffle,
                          sample_weight=sample_weight, validation_data=validation, validation_split=share,
                          callbacks=callbacks, progress=self.verbose, train_metrics=False)
        self.history_ = self._trainer.history

    def _rows(self, X: Any, **options: Any) -> Array:
        return np.asarray(validate_data(self, X, dtype=(np.float32, np.float64), allow_nd=True, **options))

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self, "network_")
        return np.asarray(self.network_.predict(self._rows(X, reset=False)))


class NetworkClassifier(ClassifierMixin, _NetworkEstimator):
    """A classifier made of any network: ``build(x, outputs)`` makes logits of an input.

    Parameters
    ----------
    build : function ``(x, outputs, **arguments) -> Tensor`` or sequence of Layer
        x is the input, :func:`fastbp.Input` of a row's shape; outputs the number of classes. It returns the logits, or
        layers that are applied one after the other. A named function of a module can be pickled.
    loss : Loss, optional
        Default: ``fb.CrossEntropy()``.
    optimizer : Optimizer, optional
        Default: ``fb.Adam(1e-3)``.
    epochs : int, default 20
    batch_size : int, default 32
    shuffle : bool, default True
    early_stopping : bool, default False
        Whether to keep `validation_fraction` of the rows apart, stop when their loss has not got better for `patience`
        epochs, and take the best parameters.
    validation_fraction : float, default 0.1
    patience : int, default 10
    callbacks : sequence of Callback
    random_state : int, RandomState or None
        Decides the initial parameters, the order of rows and dropout.
    dtype : {"float32", "float64"}
    backend : {"native", "reference"}
    warm_start : bool, default False
        Whether ``fit`` goes on with the network that is there.
    verbose : bool, default False
        Whether to show a bar.
    ``**arguments``
        ``build__name=value`` hands an argument on to `build`; grid search finds them under these names.

    Attributes
    ----------
    network_ : Network
    classes_ : array
    history_ : History
    n_features_in_ : int
        Size of the second axis of X.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import fastbp as fb
    >>> def build(x, outputs, width=16):
    ...     return [fb.Linear(None, width), fb.Tanh(), fb.Linear(width, outputs)]
    >>> X, y = load_iris(return_X_y=True)
    >>> model = fb.NetworkClassifier(build, optimizer=fb.Adam(0.01), epochs=60, random_state=0, build__width=8)
    >>> model.fit(X, y).score(X, y) > 0.9
    True
    """

    classes_: Array

    def fit(self, X: Any, y: Any, sample_weight: Any = None, validation_data: Any = None) -> NetworkClassifier:
        """Train the network for `epochs` epochs.

        Parameters
        ----------
        X : array of shape (N, …)
            Any number of axes: rows of features, images (N, H, W, C), sequences (N, T, C).
        y : array of shape (N,)
        sample_weight : array of shape (N,), optional
        validation_data : tuple (X, y), optional
            What to look at after each epoch.
        """
        self._check_parameters()
        return self._fit(X, y, sample_weight, validation_data, None, self.epochs, keep=self.warm_start)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> NetworkClassifier:
        """Train for one epoch on the given rows; `classes`, all that there will be, are needed in the first call."""
        self._check_parameters()
        if "network_" not in vars(self) and classes is None:
            raise ValueError("NetworkClassifier: classes must be passed on the first call to partial_fit: all labels "
                             "there will ever be")
        return self._fit(X, y, sample_weight, None, classes, 1, keep=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation: Any, classes: Any, epochs: int,
             keep: bool) -> NetworkClassifier:
        first = not keep or "network_" not in vars(self)
        X = self._rows(X, reset=first)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if first:
            self.classes_ = np.unique(y) if classes is None else unique_labels(classes)
            if len(self.classes_) < 2:
                raise ValueError(f"NetworkClassifier: y has one class, {self.classes_.tolist()}; expected two or more")
        if validation is not None:
            validation = self._rows(validation[0], reset=False), self._labels(validation[1])
        self._train(X, self._labels(y), self.loss or CrossEntropy(), len(self.classes_), sample_weight, validation,
                    epochs, keep)
        return self

    def _labels(self, y: Any) -> Array:
        y = np.asarray(y)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"y has {unknown.tolist()}, not among the classes {self.classes_.tolist()}")
        return np.asarray(np.searchsorted(self.classes_, y))

    def predict(self, X: Any) -> Array:
        """Return the most likely class of each row."""
        outputs = self._outputs(X)
        return np.asarray(self.classes_[outputs.argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, in the order of ``classes_``."""
        logits = self._outputs(X)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


class NetworkRegressor(RegressorMixin, _NetworkEstimator):
    """A regressor made of any network: ``build(x, outputs)`` makes predictions of an input.

    Parameters
    ----------
    build : function ``(x, outputs, **arguments) -> Tensor`` or sequence of Layer
        As in :class:`NetworkClassifier`; outputs is the number of columns of y.
    loss : Loss, optional
        Default: ``fb.MSE()``.
    optimizer, epochs, batch_size, shuffle, early_stopping, validation_fraction, patience, callbacks, random_state, \
    dtype, backend, warm_start, verbose, **arguments
        As in :class:`NetworkClassifier`.

    Attributes
    ----------
    network_ : Network
    history_ : History
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> def build(x, outputs, units=16):
    ...     return fb.Linear(None, outputs)(fb.GRU(None, units, return_sequences=False)(x))
    >>> X = np.sin(np.arange(200)[:, None] * 0.3 + np.arange(9) * 0.3)
    >>> model = fb.NetworkRegressor(build, optimizer=fb.Adam(0.01), epochs=40, random_state=0)
    >>> model.fit(X[:, :8, None], X[:, 8]).score(X[:, :8, None], X[:, 8]) > 0.9
    True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None, validation_data: Any = None) -> NetworkRegressor:
        """Train the network for `epochs` epochs; y is (N,) or (N, outputs). Otherwise as :class:`NetworkClassifier`."""
        self._check_parameters()
        return self._fit(X, y, sample_weight, validation_data, self.epochs, keep=self.warm_start)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkRegressor:
        """Train for one epoch on the given rows."""
        self._check_parameters()
        return self._fit(X, y, sample_weight, None, 1, keep=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation: Any, epochs: int, keep: bool) -> NetworkRegressor:
        first = not keep or "network_" not in vars(self)
        X = self._rows(X, reset=first)
        y = np.asarray(y, dtype=np.float64)
        if first:
            self._one_column = y.ndim == 1
        if validation is not None:
            validation = self._rows(validation[0], reset=False), self._columns(validation[1])
        targets = self._columns(y)
        self._train(X, targets, self.loss or MSE(), targets.shape[1], sample_weight, validation, epochs, keep)
        return self

    def _columns(self, y: Any) -> Array:
        y = np.asarray(y, dtype=np.float64)
        return np.asarray(y[:, None] if y.ndim == 1 else y)

    def predict(self, X: Any) -> Array:
        """Return the network's output for each row: (N,) if y was, else (N, outputs)."""
        outputs = self._outputs(X)
        return np.asarray(outputs[:, 0] if self._one_column else outputs)
