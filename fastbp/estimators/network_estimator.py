"""Networks of one's own as scikit-learn estimators: ``fb.NetworkClassifier`` and ``fb.NetworkRegressor``.

Both take a function that builds the network, and are then what scikit-learn expects: grid search over the function's
arguments, pipelines, cloning, pickling, ``partial_fit``.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from fastbp.core.checks import count, flag, number
from fastbp.engine.executable import BackendName
from fastbp.estimators.x_and_y import as_labels, as_numbers, check_given
from fastbp.graph.graph import Input, Tensor
from fastbp.layers.base import Layer
from fastbp.network import Network
from fastbp.objectives.cross_entropy import CrossEntropy
from fastbp.objectives.losses import MSE, Loss
from fastbp.ops.base import Array
from fastbp.optim.optimizers import Adam, Optimizer, as_optimizer
from fastbp.training.callback import Callback
from fastbp.training.callbacks import EarlyStopping
from fastbp.training.history import History
from fastbp.training.trainer import Trainer

Build = Callable[..., Tensor | Sequence[Layer] | Network] | Sequence[Layer]
_PREFIXES = ("build__", "optimizer__")


class _NetworkEstimator(BaseEstimator):
    network_: Network
    history_: History

    if TYPE_CHECKING:   # scikit-learn's own, which has no types
        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float: ...

    def __init__(self, build: Build, *, loss: Loss | str | None = None, optimizer: Optimizer | str | None = None,
                 epochs: int = 20, batch_size: int = 32, shuffle: bool = True, drop_last: bool = False,
                 early_stopping: bool = False, validation_fraction: float = 0.1, patience: int = 10,
                 callbacks: Sequence[Callback] = (), random_state: Any = None, dtype: str = "float32",
                 backend: BackendName = "native", warm_start: bool = False, verbose: bool = False,
                 input_dtype: str | None = None, **arguments: Any) -> None:
        unknown = [name for name in arguments if not _is_handed_on(name, build)]
        if unknown:
            raise TypeError(f"{type(self).__name__}: {unknown[0]}= is no argument; those of the function that builds "
                            f"the network are written build__{unknown[0]}=…, and those of the optimizer "
                            f"optimizer__{unknown[0]}=…")
        self.build, self.loss, self.optimizer = build, loss, optimizer
        self.epochs, self.batch_size = epochs, batch_size
        self.shuffle, self.drop_last = shuffle, drop_last
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.patience, self.callbacks, self.random_state, self.dtype = patience, callbacks, random_state, dtype
        self.backend, self.warm_start, self.verbose = backend, warm_start, verbose
        self.input_dtype, self._arguments = input_dtype, arguments

    # ---- parameters -----------------------------------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor, with those of the building function and of the optimizer."""
        return {**super().get_params(deep), **self._arguments}

    def set_params(self, **params: Any) -> Any:
        """Set arguments of the constructor; ``build__name`` of the building function, ``optimizer__name`` of that."""
        build = params.get("build", self.build)
        own = self._get_param_names()
        handed_on = {n: v for n, v in params.items() if n not in own and _is_handed_on(n, build)}
        super().set_params(**{n: v for n, v in params.items() if n not in handed_on})
        self._arguments = self._arguments | handed_on
        return self

    def _arguments_of(self, prefix: str) -> dict[str, Any]:
        """Return what is handed on to the building function or the optimizer; what has no prefix is the function's."""
        bare = {n: v for n, v in self._arguments.items() if prefix == "build__" and not n.startswith(_PREFIXES)}
        return bare | {n.removeprefix(prefix): v for n, v in self._arguments.items() if n.startswith(prefix)}

    def _check_parameters(self) -> None:
        name = type(self).__name__
        if isinstance(self.build, Network) or not (callable(self.build) or _are_layers(self.build)):
            raise TypeError(f"{name}: build is {self.build!r}; expected a function that makes a network, such as "
                            "lambda x, outputs: [fb.Linear(None, 32), fb.ReLU(), fb.Linear(32, outputs)], or a list of "
                            "layers, which each fit makes anew")
        if self.input_dtype not in (None, "int64"):
            raise ValueError(f'{name}: input_dtype is {self.input_dtype!r}; expected "int64" for ids, or None')
        for argument in ("epochs", "batch_size"):
            count(name, argument, getattr(self, argument))
        count(name, "patience", self.patience, at_least=0)
        for argument in ("shuffle", "drop_last", "early_stopping", "warm_start", "verbose"):
            flag(name, argument, getattr(self, argument))
        number(name, "validation_fraction", self.validation_fraction, "a number above 0 and below 1",
               lambda v: 0 < v < 1)
        self._optimizer()

    # ---- fitting --------------------------------------------------------------------------------------------------

    def _make(self, shape: tuple[int, ...], outputs: int) -> Network:
        """Return the network that the function builds."""
        name, seed = type(self).__name__, int(check_random_state(self.random_state).randint(2**31))
        x = Input(*shape, dtype=self.input_dtype)
        made = self._build(x, outputs)
        if _are_layers(made):
            y = x
            for layer in made:
                y = layer(y)
            made = y
        if isinstance(made, Network):
            if len(made.graph.inputs) != 1 or len(made.graph.outputs) != 1:
                raise TypeError(f"{name}: build returned {made!r}; expected a network of one input and one output")
            (x,), (made,) = made.graph.inputs, made.graph.outputs
        if not isinstance(made, Tensor):
            raise TypeError(f"{name}: build returned {made!r}; expected a tensor, as layers called on x give, a list "
                            "of layers, or a network")
        if isinstance(self, ClassifierMixin) and made.shape != (outputs,):
            raise ValueError(f"{name}: build made an output of shape (B, {', '.join(map(str, made.shape))}); expected "
                             f"(B, {outputs}), a logit for each class: its second argument says how many there are")
        return Network(x, made, dtype=self.dtype, seed=seed, backend=self.backend)

    def _build(self, x: Tensor, outputs: int) -> Any:
        """Return what the function makes, given x and the number of outputs where it asks for them."""
        arguments = self._arguments_of("build__")
        if not callable(self.build):
            if arguments:
                raise TypeError(f"{type(self).__name__}: build__{next(iter(arguments))} is given, and build is a list "
                                "of layers; expected a function")
            return copy.deepcopy(list(self.build))
        asked = inspect.signature(self.build).parameters.values()
        free = [p for p in asked if p.name not in arguments and p.default is p.empty
                and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        every = any(p.kind is p.VAR_POSITIONAL for p in asked)
        return self.build(*(x, outputs)[:2 if every else len(free)], **arguments)

    def _optimizer(self) -> Optimizer:
        """Return the optimizer, with the arguments that are given for it."""
        found = Adam(1e-3) if self.optimizer is None else as_optimizer(type(self).__name__, self.optimizer)
        arguments = self._arguments_of("optimizer__")
        return type(found)(**{**found.hyperparameters(), **arguments}) if arguments else found

    def _train(self, X: Array, targets: Array, loss: Loss | str, outputs: int, sample_weight: Any, validation: Any,
               epochs: int, keep: bool) -> None:
        if sample_weight is not None:
            check_given(sample_weight=sample_weight)
            sample_weight = _check_sample_weight(sample_weight, X)
        if not keep or "network_" not in vars(self):
            self.network_ = self._make(X.shape[1:], outputs)
            self._trainer = Trainer(self.network_, loss, self._optimizer())
        callbacks, share = list(self.callbacks), 0.0
        if self.early_stopping and epochs > 1:
            callbacks.append(EarlyStopping(patience=self.patience))
            share = 0.0 if validation is not None else float(self.validation_fraction)
        self._trainer.fit(X, targets, epochs=epochs, batch_size=min(self.batch_size, len(X)), shuffle=self.shuffle,
                          drop_last=self.drop_last, sample_weight=sample_weight, validation_data=validation,
                          validation_split=share, callbacks=callbacks, progress=self.verbose, train_metrics=False)
        self.history_ = self._trainer.history

    def _rows(self, X: Any, **options: Any) -> Array:
        check_given(X=X)
        dtype = np.int64 if self.input_dtype else (np.float32, np.float64)
        return np.asarray(validate_data(self, X, dtype=dtype, allow_nd=True, **options))

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self, "network_")
        return np.asarray(self.network_.predict(self._rows(X, reset=False)))


def _are_layers(made: Any) -> bool:
    return isinstance(made, list | tuple) and bool(made) and all(isinstance(layer, Layer) for layer in made)


def _is_handed_on(name: str, build: Any) -> bool:
    """Whether an argument is one of the building function or the optimizer."""
    return name.startswith(_PREFIXES) or (callable(build) and name in inspect.signature(build).parameters)


class NetworkClassifier(ClassifierMixin, _NetworkEstimator):
    """A classifier made of any network: ``build(x, outputs)`` makes logits of an input.

    Parameters
    ----------
    build : function ``(x, outputs, **arguments) -> Tensor``, sequence of Layer or Network; or a sequence of Layer
        x is the input, :func:`fastbp.Input` of a row's shape; outputs the number of classes. It returns the logits,
        layers that are applied one after the other, or a network; one that asks for no arguments is given none. A named
        function of a module can be pickled.
    loss : Loss or str, optional
        Default: ``fb.CrossEntropy()``.
    optimizer : Optimizer or str, optional
        Default: ``fb.Adam(1e-3)``.
    epochs : int, default 20
    batch_size : int, default 32
    shuffle : bool, default True
    drop_last : bool, default False
        Whether the last rows of an epoch, where they are fewer than a mini-batch, are left out of it.
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
    input_dtype : {"int64"}, optional
        Where X holds ids, for ``fb.Embedding``; by default real numbers.
    ``**arguments``
        ``build__name=value`` hands an argument on to `build`, ``optimizer__name=value`` to the optimizer; grid search
        finds them under these names. ``name=value`` does the former too, where no argument here is called so.

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
        check_given(y=y)
        y = column_or_1d(as_labels("NetworkClassifier", y), warn=True)
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
        y = np.asarray(as_labels("NetworkClassifier", y))
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

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of :meth:`predict_proba`, from the logits: finite where a probability is next to 0."""
        logits = self._outputs(X)
        shifted = logits - logits.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


class NetworkRegressor(RegressorMixin, _NetworkEstimator):
    """A regressor made of any network: ``build(x, outputs)`` makes predictions of an input.

    Parameters
    ----------
    build : function, or sequence of Layer
        As in :class:`NetworkClassifier`; outputs is the number of columns of y.
    loss : Loss or str, optional
        Default: ``fb.MSE()``.
    optimizer, epochs, batch_size, shuffle, drop_last, early_stopping, validation_fraction, patience, callbacks, \
    random_state, dtype, backend, warm_start, verbose, input_dtype, **arguments
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
        targets = self._columns(y)
        if first:
            self._one_column = np.ndim(y) == 1
        if validation is not None:
            validation = self._rows(validation[0], reset=False), self._columns(validation[1])
        self._train(X, targets, self.loss or MSE(), targets.shape[1], sample_weight, validation, epochs, keep)
        return self

    def _columns(self, y: Any) -> Array:
        check_given(y=y)
        y = np.asarray(as_numbers("NetworkRegressor", y), dtype=np.float64)
        return np.asarray(y[:, None] if y.ndim == 1 else y)

    def predict(self, X: Any) -> Array:
        """Return the network's output for each row: (N,) if y was, else (N, outputs)."""
        outputs = self._outputs(X)
        return np.asarray(outputs[:, 0] if self._one_column else outputs)
