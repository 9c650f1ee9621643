"""What both estimators share: checking, fitting by any solver, the outputs of the network."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf, isfinite, isinf
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastbp.core.checks import count, flag, number
from fastbp.core.sparse import is_sparse, sparse_rows
from fastbp.engine.cpu import get_num_threads, set_num_threads
from fastbp.estimators.mlp_network import build, linear_parameters
from fastbp.estimators.objective import Objective
from fastbp.estimators.observers import CallbackSupport, Observer, observe, with_callbacks
from fastbp.estimators.solvers import LEARNING_RATES, Epoch, EpochRule, Penalty, Shuffling, make_optimizer, start
from fastbp.estimators.x_and_y import check_given
from fastbp.files.container import write
from fastbp.files.description import Entry, plain_parameters
from fastbp.files.networks import describe, tensors_of
from fastbp.graph.graph import Input
from fastbp.network import Network
from fastbp.ops.base import Array
from fastbp.optim.optimizers import Optimizer
from fastbp.optim.schedules import Schedule
from fastbp.training.history import History
from fastbp.training.lbfgs import fit_lbfgs
from fastbp.training.trainer import Trainer

SOLVERS = ("lbfgs", "sgd", "adam")
# Rows that are looked at for what is not finite by their sum.
_FEW_ROWS = 64
# A network is used by one thread at a time. Kept apart from estimators: locks can be neither pickled nor copied, and
# the copies that share a network share its lock.
_locks: WeakKeyDictionary[Network, Any] = WeakKeyDictionary()
# The number of threads is the process's: what it was before those that set it, while they do.
_threads_before: list[int] = []
_lock_of_threads = Lock()


def _forget_locks() -> None:
    """In a forked process, where the threads that held them do not live on."""
    global _lock_of_threads
    _locks.clear()
    _lock_of_threads = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


class BaseMLP(CallbackSupport, BaseEstimator, ABC):
    """Base class of :class:`MLPClassifier` and :class:`MLPRegressor`; see there."""

    hidden_layer_sizes: Any
    activation: Any
    solver: Any
    learning_rate: Any
    loss: Any
    batch_size: Any
    dtype: Any
    n_threads: Any
    callbacks: Any
    max_iter: int
    early_stopping: bool
    network_: Network
    history_: History
    _trainer: Trainer | None
    _split_seed: int | None

    if TYPE_CHECKING:   # scikit-learn's own, which has no types
        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float: ...

    def _take(self, parameters: dict[str, Any]) -> None:
        """Keep the arguments of the constructor as they are: scikit-learn wants them unchecked and uncopied."""
        self.__dict__.update(parameters)

    # ---- what subclasses know ---------------------------------------------------------------------------------------

    @abstractmethod
    def _check_targets(self, X: Any, y: Any, classes: Any, reset: bool, again: bool = False) -> tuple[Any, Array]:
        """Return checked X (dense or sparse) and y; set what is to be known about y where reset.

        ``again`` is for a fit that goes on from another one: then y has all classes that that one had.
        """

    @abstractmethod
    def _encode(self, y: Array) -> Array:
        """Return y as the loss wants it."""

    @abstractmethod
    def _make_objective(self, y: Array, sample_weight: Array | None) -> Objective:
        """Return what is minimised for checked targets."""

    @abstractmethod
    def _score_outputs(self, targets: Array, outputs: Array, sample_weight: Array | None) -> float:
        """Return the score of the network's outputs: what early stopping looks at."""

    def _check_range(self, y: Array, objective: Objective, dtype: Any) -> None:
        """Refuse targets whose loss does not fit the network's dtype."""
        return

    def _weights(self, y: Array, sample_weight: Array | None) -> Array | None:
        """Return the sample weights to train with."""
        return sample_weight

    def _strata(self, targets: Array) -> Array | None:
        """Return what a validation set is to have in the same proportions."""
        return None

    # ---- fitting ----------------------------------------------------------------------------------------------------

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, validation_data: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n_samples, n_features)
            Sparse ones stay sparse: the first layer multiplies with what is not 0 alone.
        y : array of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array of shape (n_samples,), optional
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            What to look at after each epoch: ``history_`` gets ``val_loss`` and ``val_score``, and early stopping goes
            by it instead of by a part of the training data.

        Returns
        -------
        self

        Raises
        ------
        DivergenceError
            If something stops being finite in training.
        TypeError, ValueError
            For parameters or data that do not fit.
        """
        return self._fit(X, y, sample_weight, validation_data, None, incremental=False)

    def _has_epochs(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError(f"{type(self).__name__}: partial_fit is there for solvers that take mini-batches; "
                                 "solver is 'lbfgs'")
        return True

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation_data: Any, classes: Any, incremental: bool) -> Self:
        self._check_parameters(incremental, validation_data is not None)
        first = not hasattr(self, "network_") or not (self.warm_start or incremental)
        if incremental and not first and self.early_stopping and self.stopped_:
            return self
        check_given(X=X, y=y, sample_weight=sample_weight)
        X, y = self._check_targets(X, y, classes, first, not first and not incremental)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        sample_weight = _usable(self._weights(y, sample_weight))
        self._random_state = check_random_state(self.random_state)
        objective = self._make_objective(y, sample_weight)
        dtype = (self.dtype or ("float64" if self.solver == "lbfgs" else X.dtype)) if first else self.network_.dtype
        self._check_range(y, objective, dtype)
        if first:
            self._begin(X.shape[1], objective, dtype)
        elif objective.units != self._units:
            raise ValueError(f"{type(self).__name__}: y wants {objective.units} output units; the network has "
                             f"{self._units}: only data of one kind can be trained on further")
        validation = None if validation_data is None else self._checked_validation(validation_data, objective)
        data = _converted(X, self.network_.dtype), self._encode(y), sample_weight
        observer = None if incremental else observe(self, X, y)
        with _threads(self.n_threads):
            if self.solver == "lbfgs":
                self._fit_lbfgs(*data, objective, observer)
            else:
                self._fit_epochs(*data, objective, validation, observer, incremental)
        if observer is not None:
            observer.finish()
        if not incremental:
            self._look_back(y)
        return self

    def _look_back(self, y: Array) -> None:
        """Say what is to be said after a fit."""
        return

    def _begin(self, features: int, objective: Objective, dtype: Any) -> None:
        """Make the network, and set all that training goes on from."""
        self.network_ = build(self, features, objective.units, dtype, self._random_state)
        self._units, self.out_activation_ = objective.units, objective.activation
        self.n_layers_ = len(self.coefs_) + 1
        self._trainer, self._split_seed = None, None
        start(self, self.early_stopping and self.solver != "lbfgs")

    def _fit_epochs(self, X: Array, targets: Array, sample_weight: Array | None, objective: Objective,
                    validation: tuple[Any, ...] | None, observer: Observer | None,
                    incremental: bool) -> None:
        if self.early_stopping and validation is None:
            (X, targets, sample_weight), validation = self._split(X, targets, sample_weight, incremental)
        epoch = Epoch(len(X), self._batch_rows(len(X)), 1.0 if sample_weight is None else float(sample_weight.mean()))
        alpha = 0.0 if isinstance(self.solver, Optimizer) else float(self.alpha)
        if self._trainer is None or not incremental:
            optimizer = make_optimizer(self, objective, alpha * epoch.decay)
            self._trainer = Trainer(self.network_, objective.loss, optimizer)
        trainer, self.n_iter_ = self._trainer, 0
        if validation is not None:
            weight = validation[2]
            trainer.metrics = {"score": lambda t, out: self._score_outputs(t, out, weight)}
        rule = EpochRule(self, objective, Penalty(self.network_, alpha * epoch.penalty), epoch.rows,
                         self.early_stopping)
        callbacks = [rule, *self.callbacks, *([observer] if observer else [])]
        try:
            trainer.fit(X, targets, epochs=1 if incremental else self.max_iter, batch_size=epoch.batch_size,
                        shuffle=Shuffling(self._random_state, self.shuffle), sample_weight=sample_weight,
                        validation_data=validation, callbacks=callbacks, progress=False, train_metrics=False)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        finally:
            trainer.metrics = {}
        self.history_ = trainer.history
        if self._best_state is not None and (self.stopped_ or not incremental):
            self.network_.load_state_dict(self._best_state)
        if self.n_iter_ == self.max_iter and not self.stopped_ and not incremental:
            warnings.warn(f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                          "hasn't converged yet.", ConvergenceWarning, stacklevel=4)

    def _fit_lbfgs(self, X: Array, targets: Array, sample_weight: Array | None, objective: Objective,
                   observer: Observer | None) -> None:
        scale = objective.gradient_scale
        decay = float(self.alpha) / (len(X) if sample_weight is None else float(sample_weight.sum()))
        penalty = Penalty(self.network_, decay)

        stop = False

        def reported(value: float) -> float:
            return float(objective.loss_scale * (value - penalty() / scale) + objective.loss_offset + penalty())

        def after(iteration: int, value: float) -> bool:
            self.loss_ = reported(value)
            self.loss_curve_.append(self.loss_)
            if self.verbose:
                print(f"Iteration {iteration}, loss = {self.loss_:.8f}")
            nonlocal stop
            stop = observer is not None and observer.end()
            if observer is not None and not stop and iteration < self.max_iter:
                observer.begin()
            return stop

        if observer is not None:
            observer.begin()
        result = fit_lbfgs(self.network_, X, targets, objective.loss, sample_weight=sample_weight,
                           weight_decay=decay / scale, decay_bias=False, max_iter=self.max_iter,
                           max_evaluations=self.max_fun, tol=self.tol / scale, on_iteration=after)
        self.n_iter_, self.stopped_, self.loss_ = result.iterations, result.converged, reported(result.value)
        self.best_loss_ = min(self.loss_curve_, default=inf)
        if not result.converged and not stop:
            warnings.warn(f"lbfgs failed to converge after {result.iterations} iteration(s): {result.message}. "
                          "Increase max_iter or scale the data to mean 0 and standard deviation 1.", ConvergenceWarning,
                          stacklevel=4)

    def _split(self, X: Array, targets: Array, sample_weight: Array | None, incremental: bool) -> Any:
        """Return training and validation parts, as scikit-learn draws them.

        In partial_fit rows are drawn by one seed always: where the same data come again, the same rows are kept apart.
        """
        state = self._random_state
        if incremental:
            if self._split_seed is None:
                self._split_seed = int(state.randint(2**31))
            state = np.random.RandomState(self._split_seed)
        strata = self._strata(targets)
        try:
            train, kept = train_test_split(np.arange(len(X)), random_state=state, test_size=self.validation_fraction,
                                           stratify=strata)
        except ValueError:
            some = "some" if strata is None else "some of each class"
            raise ValueError(f"{type(self).__name__}: early_stopping is True, but {len(X)} rows cannot be split by "
                             f"validation_fraction, {self.validation_fraction}, so that both parts have {some}; "
                             "change validation_fraction, or give validation_data") from None
        if len(kept) < 2:
            raise ValueError(f"{type(self).__name__}: the validation set has {len(kept)} of {len(X)} rows, too few; "
                             f"increase validation_fraction, {self.validation_fraction}, or give validation_data")
        weights = (None, None) if sample_weight is None else (sample_weight[train], sample_weight[kept])
        return (X[train], targets[train], weights[0]), (X[kept], targets[kept], weights[1])

    def _checked_validation(self, data: Any, objective: Objective) -> tuple[Any, ...]:
        if not isinstance(data, list | tuple) or len(data) not in (2, 3):
            raise ValueError("validation_data is not a tuple (X, y) or (X, y, sample_weight)")
        check_given(X=data[0], y=data[1], sample_weight=data[2] if len(data) > 2 else None)
        X, y = self._check_targets(data[0], data[1], None, False)
        self._check_range(y, objective, self.network_.dtype)
        weight = None if len(data) == 2 or data[2] is None else _check_sample_weight(data[2], X, dtype=np.float64)
        return _converted(X, self.network_.dtype), self._encode(y), _usable(weight)

    def _batch_rows(self, rows: int) -> int:
        if isinstance(self.batch_size, str):
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn(f"batch_size is {self.batch_size}, more than the {rows} rows there are: all of them make one "
                          "mini-batch", stacklevel=5)
        return min(int(self.batch_size), rows)

    # ---- the parameters ---------------------------------------------------------------------------------------------

    def _check_parameters(self, incremental: bool, validated: bool) -> None:
        name = type(self).__name__
        if self.solver not in SOLVERS and not isinstance(self.solver, Optimizer):
            raise ValueError(f"{name}: solver is {self.solver!r}; expected one of {', '.join(map(repr, SOLVERS))}, or "
                             "an optimizer such as fb.AdamW(1e-3)")
        if self.learning_rate not in LEARNING_RATES and not isinstance(self.learning_rate, Schedule):
            raise ValueError(f"{name}: learning_rate is {self.learning_rate!r}; expected one of "
                             f"{', '.join(map(repr, LEARNING_RATES))}, or a schedule such as fb.CosineDecay(…)")
        if self.batch_size != "auto":
            count(name, "batch_size", self.batch_size)
        for argument in ("max_iter", "max_fun"):
            count(name, argument, getattr(self, argument))
        if not (isinstance(self.n_iter_no_change, float) and isinf(self.n_iter_no_change)):
            count(name, "n_iter_no_change", self.n_iter_no_change)
        for argument in ("alpha", "power_t", "tol"):
            number(name, argument, getattr(self, argument), "a number of at least 0", lambda v: v >= 0)
        for argument in ("learning_rate_init", "epsilon"):
            number(name, argument, getattr(self, argument), "a number above 0", lambda v: v > 0)
        for argument in ("momentum", "validation_fraction", "beta_1", "beta_2"):
            number(name, argument, getattr(self, argument), "a number from 0 to below 1", lambda v: 0 <= v < 1)
        for argument in ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping", "batch_norm", "layer_norm"):
            flag(name, argument, getattr(self, argument))
        if self.early_stopping and not validated and not self.validation_fraction and self.solver != "lbfgs":
            raise ValueError(f"{name}: validation_fraction is {self.validation_fraction!r} and early_stopping is True; "
                             "expected a number above 0, or validation_data given to fit")
        if self.solver == "lbfgs" and self.callbacks:
            raise ValueError(f"{name}: callbacks are given with solver='lbfgs', which has no epochs; expected \"sgd\", "
                             '"adam" or an optimizer')
        if incremental:
            self._has_epochs()

    # ---- the network's outputs --------------------------------------------------------------------------------------

    def _outputs(self, X: Any, link: str | None = None) -> Array:
        """Return what the network gives for checked or unchecked rows, as probabilities where a link is given.

        Threads wait for each other.
        """
        quick = self._quick_outputs(X, link)
        if quick is not None:
            return quick
        check_is_fitted(self)
        check_given(X=X)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False)
        with _locks.setdefault(self.network_, RLock()), _threads(self.n_threads):
            net = self.network_ if link is None else self.network_._with_link(link)
            return np.asarray(net.predict(X))

    def _quick_outputs(self, X: Any, link: str | None) -> Array | None:
        """Return the same for a few rows that need no check or conversion, and None for all else."""
        own = self.__dict__
        net = own.get("network_")
        if net is None or type(X) is not np.ndarray or X.ndim != 2 or len(X) > _FEW_ROWS or self.n_threads is not None:
            return None
        if X.dtype.char not in "df" or X.shape[1] != own["n_features_in_"] or "feature_names_in_" in own:
            return None
        lock = _locks.get(net)
        if lock is None or not isfinite(np.add.reduce(X, axis=None)):
            return None
        with lock:
            run = net if link is None else net._linked.get(link)
            return None if run is None else run._backend.quick_forward(X)

    # ---- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that predicting needs to a safetensors file, replacing it in one go; :func:`fastbp.load` reads it.

        Parameters that are objects, such as optimizers and callbacks, are left out: they have their defaults in what is
        loaded, and training begins with a new optimizer.

        Raises
        ------
        OSError
            If it cannot be written; what was there stays.
        """
        check_is_fitted(self)
        parameters = plain_parameters(self.get_params(deep=False))
        names = {"names": self.feature_names_in_.tolist()} if hasattr(self, "feature_names_in_") else {}
        write(path, {"network": describe(self.network_), "mlp": {
            "type": type(self).__name__, "parameters": parameters, "features": int(self.n_features_in_), **names,
            "outputs": int(self.n_outputs_), "activation": self.out_activation_, "units": int(self._units),
            "epochs": int(self.n_iter_), "loss": float(self.loss_), **self._described()}}, tensors_of(self.network_))

    @abstractmethod
    def _described(self) -> dict[str, Any]:
        """Return what else a file has to know."""

    def _restore(self, d: Entry, net: Network) -> None:
        """Be as fitted as the estimator that a file describes, or raise ValueError."""
        start(self, False)
        self.network_, self._trainer, self._split_seed, self.history_ = net, None, None, History()
        self.n_features_in_, self.n_outputs_ = d["features"].whole(), d["outputs"].whole()
        self.out_activation_, self._units = d["activation"].text(), d["units"].whole()
        self.n_iter_, self.loss_ = d["epochs"].whole(), d["loss"].real()
        if "names" in d.mapping():
            self.feature_names_in_ = np.array([name.text() for name in d["names"].each()], object)
        shapes = [t.shape for t in (*net.graph.inputs, *net.graph.outputs)]
        if shapes != [(self.n_features_in_,), (self._units,)]:
            raise ValueError(f"its network takes and makes {shapes}; expected {self.n_features_in_} features and "
                             f"{self._units} outputs")
        self.n_layers_ = len(self.coefs_) + 1
        self._random_state = check_random_state(self.random_state)

    def to_onnx(self, path: str | os.PathLike[str], scaler: Any = None) -> None:
        """Write what the estimator predicts to an ONNX file: of a classifier probabilities, of a regressor the targets.

        The input is called "X", the output "probabilities" or "prediction".

        Parameters
        ----------
        path : path
        scaler : fitted scikit-learn StandardScaler or MinMaxScaler, optional
            What the estimator's data went through before: it becomes part of the model.

        Raises
        ------
        ImportError
            Without onnx (``pip install 'fastbp[onnx]'``).
        OSError
            If it cannot be written.
        TypeError
            For a scaler of another kind.
        """
        check_is_fitted(self)
        net, x = self.network_.copy(), Input(self.n_features_in_)
        shift, factor = _scaling(scaler, self.n_features_in_)
        scaled: Any = x if scaler is None else (x - shift) * factor
        name, made = self._onnx_output(net(scaled))
        Network({"X": x}, {name: made}, dtype=net.dtype, seed=0, backend="reference").to_onnx(path)

    @abstractmethod
    def _onnx_output(self, outputs: Any) -> tuple[str, Any]:
        """Return what the outputs of the network are made into, and its name."""

    @property
    def coefs_(self) -> list[Array]:
        """The weights of each linear layer, (inputs, outputs); views of the network's. They may be assigned."""
        return [weight for weight, _ in linear_parameters(self._fitted_network())]

    @coefs_.setter
    def coefs_(self, values: Sequence[Array]) -> None:
        _assign("coefs_", self.coefs_, values)

    @property
    def intercepts_(self) -> list[Array]:
        """The biases of each linear layer; views of the network's. They may be assigned."""
        return [bias for _, bias in linear_parameters(self._fitted_network())]

    @intercepts_.setter
    def intercepts_(self, values: Sequence[Array]) -> None:
        _assign("intercepts_", self.intercepts_, values)

    def _fitted_network(self) -> Network:
        if "network_" not in vars(self):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet; call fit first")
        return self.network_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


partial_fit_available = available_if(lambda estimator: estimator._has_epochs())


def _assign(name: str, own: Sequence[Array], values: Sequence[Any]) -> None:
    """Copy arrays into views of the network's parameters."""
    given = [np.asarray(v) for v in values]
    if [v.shape for v in given] != [v.shape for v in own]:
        raise ValueError(f"{name}: got arrays of shapes {[v.shape for v in given]}; expected {[v.shape for v in own]}")
    for view, array in zip(own, given, strict=True):
        view[...] = array


def _scaling(scaler: Any, features: int) -> tuple[Array, Array]:
    """Return what is taken off, and what is multiplied by then."""
    if scaler is None:
        return np.zeros(features), np.ones(features)
    own = vars(scaler) if hasattr(scaler, "__dict__") else {}
    if "scale_" in own and "mean_" in own:
        mean, scale = own["mean_"], own["scale_"]
        return (np.zeros(features) if mean is None or not scaler.with_mean else mean,
                np.ones(features) if scale is None else 1 / scale)
    if "data_min_" in own and not scaler.clip:
        return -own["min_"] / own["scale_"], own["scale_"]
    raise TypeError(f"to_onnx: scaler is {scaler!r}; expected a fitted StandardScaler, or a MinMaxScaler that does not "
                    "clip")


def _converted(X: Any, dtype: str) -> Array:
    return sparse_rows("X", X, dtype) if is_sparse(X) else np.ascontiguousarray(X, dtype=dtype)


def _usable(sample_weight: Array | None) -> Array | None:
    """Return weights, or raise ValueError for some that nothing can be learnt with."""
    if sample_weight is not None:
        if (sample_weight < 0).any():
            row = int(np.argmax(sample_weight < 0))
            raise ValueError(f"sample_weight has {sample_weight[row]:g} in row {row}; expected numbers of at least 0")
        if not sample_weight.any():
            raise ValueError("sample_weight is 0 for all rows; expected at least one above 0")
    return sample_weight


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    if n is None:
        yield
        return
    with _lock_of_threads:
        _threads_before.append(get_num_threads())
        set_num_threads(n)
    try:
        yield
    finally:
        with _lock_of_threads:
            # who began first need not end last: the last brings back what was set before all of them
            first = _threads_before[0]
            _threads_before.pop()
            if not _threads_before:
                set_num_threads(first)
