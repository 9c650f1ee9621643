"""What both estimators for tables share: parameters, columns, folds, training and prediction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names, _check_n_features, check_array, check_is_fitted

from fastbp.core.checks import file_to_write
from fastbp.core.errors import DivergenceError, FormatError
from fastbp.datasets.columns import Column, Kind, columns_of, named_values
from fastbp.engine.cpu import cpu_info, get_num_threads, set_num_threads
from fastbp.estimators.tabular import model_file
from fastbp.estimators.tabular.committee import Committee, Fold, constant
from fastbp.estimators.tabular.effort import epochs_of, folds_of, work_of
from fastbp.estimators.tabular.member_network import ACTIVATIONS, Architecture
from fastbp.estimators.tabular.member_training import Run, Training, go_on
from fastbp.estimators.tabular.onnx_pipeline import Pipeline
from fastbp.estimators.tabular.plain_data import Plain
from fastbp.estimators.tabular.row_explanation import RowExplanation, Slope, as_table, explain
from fastbp.estimators.tabular.schema import Schema, Sizes
from fastbp.estimators.tabular.selection import Score, chosen
from fastbp.estimators.tabular.tabular_arguments import (
    categorical_columns,
    check_parameters,
    listed,
    monotone_columns,
    sizes_of,
    weights_of,
)
from fastbp.files.container import read
from fastbp.files.description import plain_parameters
from fastbp.files.disk import replace
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array

BINS = 64
LEAST_ROWS = 2
VERSION = 1
EMBEDDED_COLUMNS = 256
"""More columns of numbers than this are not embedded by "auto"."""


FEW_NUMBERS, WIDE, NARROW = 24, (16, 3, 4), (8, 1, 2)
"""More columns of numbers than this have narrower embeddings: frequencies, waves and pieces of each."""
ATTEMPTS = 3
"""After a divergence training begins anew with a quarter of the learning rate, this many times in all."""
MOST_EPOCHS_KEPT = 4


class BaseTabular(BaseEstimator, ABC):
    """What :class:`TabularClassifier` and :class:`TabularRegressor` share."""

    _scorings: tuple[str, ...] = ("auto",)

    if TYPE_CHECKING:   # scikit-learn's own, which has no types
        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float: ...

    def _take(self, parameters: dict[str, Any]) -> None:
        for name, value in parameters.items():
            setattr(self, name, value)

    # ---- what the two estimators differ in --------------------------------------------------------------------------

    @abstractmethod
    def _check_targets(self, y: Any) -> Array:
        """Return what is trained on, one row a row; sets what predictions need."""

    @abstractmethod
    def _outputs(self) -> int:
        """Return how many numbers a member gives."""

    @abstractmethod
    def _levels_by(self, targets: Array) -> Array:
        """Return what categories are told apart by, (N, T)."""

    @abstractmethod
    def _loss(self) -> Loss:
        """Return what is minimised."""

    @abstractmethod
    def _strata(self, targets: Array) -> Array | None:
        """Return what rows are held out in proportion to, or None."""

    @abstractmethod
    def _meant(self, outputs: Array) -> Array:
        """Return what is predicted where members give (N, members, outputs)."""

    @abstractmethod
    def _score_held_out(self, said: Array, targets: Array, weights: Array | None) -> float:
        """Return how bad predictions are."""

    @abstractmethod
    def _settle(self, said: Array, targets: Array, weights: Array | None) -> None:
        """Take note of predictions for rows held out, and of how much each counts."""

    # ---- fit --------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to a table.

        Parameters
        ----------
        X : pandas or polars frame, Arrow table, mapping of names to columns, or array of shape (n_samples, n_features)
        y : array of shape (n_samples,)
        sample_weight : array of shape (n_samples,), optional
            Rows of weight 0 are left out.

        Returns
        -------
        self
        """
        start = perf_counter()
        self._check_parameters()
        columns = self._columns(X, reset=True)
        rows = len(columns[0].values)
        self.target_name_ = str(getattr(y, "name", None) or "y")
        targets = self._check_targets(y)
        if len(targets) != rows:
            raise ValueError(f"Found input variables with inconsistent numbers of samples: X has {rows} rows, y has "
                             f"{len(targets)}; expected as many")
        columns, targets, weights = _weighted(columns, targets, weights_of(sample_weight, rows))
        rows = len(targets)
        if rows < LEAST_ROWS:
            raise ValueError(f"{type(self).__name__}: X has {rows} sample; expected a minimum of {LEAST_ROWS}")
        deadline = None if self.time_limit is None else start + self.time_limit
        with self._threads():
            self._fit_folds(columns, targets, weights, deadline)
        return self

    def _fit_folds(self, columns: list[Column], targets: Array, weights: Array | None, deadline: float | None) -> None:
        random = check_random_state(self.random_state)
        seed = int(random.randint(2**31 - 1))
        work = work_of(columns)
        folds = held_out_rows(len(targets), self._folds(len(targets), work), self.validation_fraction,
                              self._strata(targets), seed)
        epochs = epochs_of(sum(len(targets) - len(out) for out in folds), work, self._outputs()) \
            if self.max_iter == "auto" else self.max_iter
        for attempt in range(ATTEMPTS):
            runs = [self._run(columns, targets, weights, held_out, seed + i, epochs, deadline, 0.25**attempt)
                    for i, held_out in enumerate(folds)]
            scores: list[float] = []
            try:
                self._train(runs, folds, targets, weights, scores)
                break
            except DivergenceError:
                if attempt == ATTEMPTS - 1:
                    raise
            except KeyboardInterrupt:
                if all(run.epochs for run in runs):
                    self._note(runs, folds, targets, weights, scores)
                    self._keep(runs, folds, targets, weights, scores)
                raise
        self._keep(runs, folds, targets, weights, scores)

    def _run(self, columns: list[Column], targets: Array, weights: Array | None, held_out: Array, seed: int,
             epochs: int, deadline: float | None, slower: float) -> Run:
        """Return the training of one network on all rows but those held out."""
        inside = np.setdiff1d(np.arange(len(targets)), held_out)
        if not len(inside):
            inside = held_out
        y = targets[inside]
        schema, rows = Schema.of([c.take(inside) for c in columns], self._levels_by(y), bins=BINS,
                                 max_one_hot=self.max_one_hot, embedded=self.category_embedding > 0, seed=seed)
        others = schema.encode({c.name: c.take(held_out) for c in columns}, len(held_out))
        if not schema.plans:
            rows, others = constant(len(inside)), constant(len(held_out))
        return Run(self._architecture(schema), schema,
                   self._training(len(inside), epochs, weights is not None, deadline, slower), rows, y, others,
                   self._loss(), None if weights is None else weights[inside], self._meant, seed)

    def _train(self, runs: list[Run], folds: list[Array], targets: Array, weights: Array | None,
               scores: list[float]) -> None:
        """Train all networks cycle by cycle, and note the score after each epoch that all have done."""
        training = runs[0].training
        for cycle in training.cycles():
            before = min(scores, default=inf)
            for run in runs:
                if not training.late() or not run.epochs:
                    run.advance(cycle)
            self._note(runs, folds, targets, weights, scores)
            if training.late() or (self.early_stopping and min(scores) >= before):
                return

    def _note(self, runs: list[Run], folds: list[Array], targets: Array, weights: Array | None,
              scores: list[float]) -> None:
        score = self._scorer(folds, targets, weights)
        for epoch in range(len(scores), min(len(run.epochs) for run in runs)):
            scores.append(score(np.concatenate([run.said[epoch] for run in runs])))
            if self.verbose:
                loss = np.mean([run.losses[epoch] for run in runs])
                with suppress(OSError):     # nobody reads on: no reason to lose what is trained
                    print(f"epoch {epoch + 1}/{runs[0].training.epochs}   loss {loss:.4f}   held out {scores[-1]:.4f}",
                          flush=True)

    def _scorer(self, folds: list[Array], targets: Array, weights: Array | None) -> Score:
        rows = np.concatenate(folds)
        judged = self._judged_by(targets[rows], None if weights is None else weights[rows])
        return lambda said: self._score_held_out(said, targets[rows], judged)

    def _judged_by(self, targets: Array, weights: Array | None) -> Array | None:
        """Return how much each row held out counts."""
        return weights

    def _keep(self, runs: list[Run], folds: list[Array], targets: Array, weights: Array | None,
              scores: list[float]) -> None:
        """Keep the networks of the epochs that say best, together, what the rows held out are."""
        done = len(scores)
        self.scores_, self.n_iter_ = scores, done
        candidates = [np.concatenate([run.said[epoch] for run in runs]) for epoch in range(done)]
        epochs = chosen(candidates, self._scorer(folds, targets, weights), MOST_EPOCHS_KEPT)
        kept, counts = np.unique(epochs, return_counts=True)
        self.committee_ = Committee([Fold(run.schema, run.architecture, [run.network(e) for e in kept.tolist()])
                                     for run in runs], counts / counts.sum())
        self.epochs_ = [e + 1 for e in epochs]
        rows = np.concatenate(folds)
        self._settle(np.mean([candidates[e] for e in epochs], axis=0), targets[rows],
                     self._judged_by(targets[rows], None if weights is None else weights[rows]))

    def _architecture(self, schema: Schema) -> Architecture:
        sizes = schema.sizes if schema.plans else Sizes(flags=1)
        numbers = sizes.numbers
        signs = tuple(self._signs.get(name, 0) for name in schema.owners()["numbers"])
        embedding = self.numeric_embedding
        if embedding == "auto":
            embedding = "both" if numbers <= EMBEDDED_COLUMNS else "none"
        frequencies, waves, pieces = WIDE if numbers <= FEW_NUMBERS else NARROW
        return Architecture(numbers, sizes.flags, schema.bins, self._outputs(), self.n_members,
                            sizes_of(self.hidden_layer_sizes), self._activation(), embedding in ("both", "periodic"),
                            embedding in ("both", "piecewise"), frequencies, waves, pieces=pieces,
                            dropout=self.dropout, categories=sizes.columns, levels=sizes.levels,
                            category_size=max(self.category_embedding, 1), signs=signs if any(signs) else ())

    def _training(self, rows: int, epochs: int, shared: bool, deadline: float | None, slower: float) -> Training:
        size = self.batch_size
        if size == "auto":
            size = int(np.clip(2 ** round(np.log2(max(rows / 24, 1))), 32, 256))
        rate = 0.06 if self.learning_rate_init == "auto" else self.learning_rate_init
        return Training(epochs, size, rate * slower, self.weight_decay, self.beta_2, self.learning_rate, shared,
                        cpu_info().bfloat16, deadline)

    def _folds(self, rows: int, work: float) -> int:
        return folds_of(rows, work) if self.n_folds == "auto" else min(int(self.n_folds), rows)

    def _activation(self) -> Any:
        return ACTIVATIONS["selu" if self.activation == "auto" else self.activation]

    def _go_on(self, columns: list[Column], targets: Array, sample_weight: Any) -> None:
        """Train the networks that are kept on more rows, each row once, at a tenth of the learning rate."""
        columns, targets, weights = _weighted(columns, targets, weights_of(sample_weight, len(targets)))
        training = self._training(len(targets), 1, False, None, 0.1)
        table = {c.name: c for c in columns}
        with self._threads():
            for i, fold in enumerate(self.committee_.folds):
                rows = fold.encode(table, len(targets))
                for net in fold.nets:
                    go_on(net, fold.architecture, rows, targets, weights, self._loss(), training.learning_rate,
                          training.batch_size, i)

    # ---- predict ----------------------------------------------------------------------------------------------------

    def _said(self, X: Any) -> list[Array]:
        """Return what each fold's networks mean, (N, …)."""
        check_is_fitted(self, "committee_")
        columns = self._columns(X, reset=False)
        with self._threads():
            return self.committee_.means({c.name: c for c in columns}, len(columns[0].values), self._meant)

    def explain_row(self, X: Any) -> RowExplanation:
        """Say what each column adds to the prediction for one row.

        Parameters
        ----------
        X : table of one row, as in :meth:`fit`, or the row itself
            A Series of pandas such as ``X.iloc[0]``, a mapping of names to values, or an array of one axis.

        Returns
        -------
        RowExplanation
            Prints as a table; in a notebook it has bars, and so has ``.html()``. Numbers are in units of the target, or
            log odds of the most likely class against the others.

        Notes
        -----
        Integrated gradients: gradients of the output times the distance from a row of medians and usual levels,
        averaged along the way from there. They add up to the difference of the two outputs.
        """
        check_is_fitted(self, "committee_")
        X = as_table(X)
        columns = self._columns(X, reset=False)
        if len(columns[0].values) != 1:
            raise ValueError(f"X has {len(columns[0].values)} rows; expected one, such as X.iloc[[0]]")
        table = {c.name: c for c in columns}
        with self._threads():
            what, slope = self._slope(table)
            return explain(self.committee_, table, what, slope)

    @abstractmethod
    def _slope(self, row: dict[str, Column]) -> tuple[str, Slope]:
        """Return what is explained of a row, and its value and gradient."""

    # ---- files ------------------------------------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Write all that predicting needs to one safetensors file, replacing it in one go; :meth:`load` reads it.

        Parameters
        ----------
        path : path

        Raises
        ------
        ImportError
            Without safetensors (``pip install 'fastbp[save]'``).
        OSError
            If it cannot be written; what was there stays.
        """
        check_is_fitted(self, "committee_")
        parameters = plain_parameters(self.get_params(deep=False))
        model_file.save({"kind": type(self).__name__, "version": VERSION, "parameters": parameters,
                         "target": self.target_name_,
                         "columns": [{"name": n, "kind": k} for n, k in self.column_kinds_.items()],
                         "named": hasattr(self, "feature_names_in_"),
                         "categorical": sorted(self._categorical), "epochs": self.epochs_, "scores": self.scores_,
                         **self._described()}, self.committee_, path)

    def to_onnx(self, path: Any) -> None:
        """Write the estimator to an ONNX file, what is done to the columns included.

        Inputs are the columns in use, each of shape (batch, 1): numbers as float64, dates as days since 1970, missing
        ones as NaN; categories as text, missing ones as "". After `fit` with an array of numbers there is one input, X,
        of shape (batch, n_features). Outputs are "label" and "probabilities", or "prediction".

        Parameters
        ----------
        path : path

        Raises
        ------
        ImportError
            Without onnx (``pip install 'fastbp[onnx]'``).
        OSError
            If it cannot be written; what was there stays.
        """
        check_is_fitted(self, "committee_")
        file = file_to_write("to_onnx: path", path)
        plain = not hasattr(self, "feature_names_in_") and set(self.column_kinds_.values()) == {"number"}
        pipeline = Pipeline(self.column_kinds_, not plain)
        replace(file, pipeline.model(self._onnx_outputs(pipeline)).SerializeToString())

    @abstractmethod
    def _onnx_outputs(self, pipeline: Pipeline) -> dict[str, tuple[str, Any, list[Any]]]:
        """Return the outputs of an ONNX model: by name, the tensor, its type and its shape."""

    @classmethod
    def load(cls, path: Any) -> Any:
        """Return the estimator that :meth:`save` wrote.

        Raises
        ------
        FormatError
            For a file that is truncated, altered, of another kind of estimator, or not one at all.
        ImportError, OSError
            As :func:`fastbp.load` does.
        """
        return cls.from_description(*model_file.parse(read(path)))

    @classmethod
    def from_description(cls, d: Plain, committee: Committee) -> Any:
        """Return the estimator that a file describes, or raise FormatError."""
        d["version"].whole(1, VERSION)
        if d["kind"].text() != cls.__name__:
            raise d["kind"].wrong(repr(cls.__name__))
        estimator = cls()
        known = estimator.get_params(deep=False)
        given = d["parameters"].entries(lambda v: tuple(v.value) if isinstance(v.value, list) else v.value)
        estimator.set_params(**{k: v for k, v in given.items() if k in known})
        try:
            estimator._check_parameters()
        except (TypeError, ValueError) as error:
            raise FormatError(f"{d.where}: its parameters do not fit: {error}") from None
        estimator.committee_ = committee
        kinds: dict[str, Kind] = {"number": "number", "date": "date", "category": "category"}
        pairs = d["columns"].items(lambda c: (c["name"].text(), c["kind"].one_of(kinds)))
        estimator.column_kinds_, estimator._names = dict(pairs), [name for name, _ in pairs]
        estimator.target_name_ = d["target"].text()
        estimator.n_features_in_ = len(estimator._names)
        if d["named"].flag():
            estimator.feature_names_in_ = np.array(estimator._names, object)
        missing = {name for fold in committee.folds for name in fold.schema.names} - set(estimator._names)
        if missing or len(set(estimator._names)) < len(estimator._names):
            raise d["columns"].wrong("each column once, those of the schema among them")
        estimator._categorical = set(d["categorical"].items(Plain.text))
        estimator.epochs_ = d["epochs"].items(lambda e: e.whole(1))
        estimator.scores_ = d["scores"].items(Plain.number)
        estimator.n_iter_ = len(estimator.scores_)
        estimator._restore(d)
        return estimator

    @abstractmethod
    def _described(self) -> dict[str, Any]:
        """Return what else predictions need, as JSON takes it."""

    @abstractmethod
    def _restore(self, d: Plain) -> None:
        """Take back what :meth:`_described` gave, or raise FormatError."""

    # ---- the border -------------------------------------------------------------------------------------------------

    def _columns(self, X: Any, reset: bool) -> list[Column]:
        lazy = hasattr(X, "collect_schema")         # asking it for its columns would make it work
        named = (lazy or isinstance(X, Mapping) or hasattr(X, "columns")) and not hasattr(X, "tocsr")
        if not named:
            X = self._array(X)
        wanted = None if reset or not named or not hasattr(self, "feature_names_in_") else self._names
        columns = columns_of(X, only=wanted)
        if wanted is not None:
            self._check_all_are_there(X, columns)
        if not columns:
            raise ValueError(f"0 feature(s) (shape=({len(X)}, 0)) while a minimum of 1 is required.")
        if any(len(c.values) != len(columns[0].values) for c in columns):
            raise ValueError("X has columns of different lengths; expected one value a row in each")
        if not len(columns[0].values):
            raise ValueError(f"Found array with 0 sample(s) (shape=(0, {len(columns)})) while a minimum of 1 is "
                             f"required by {type(self).__name__}.")
        if reset:
            return self._learn_columns(X, columns, named)
        return self._known_columns(X, columns, named)

    def _array(self, X: Any) -> Array:
        array = check_array(X, dtype=None, ensure_all_finite=False, ensure_min_samples=0, ensure_min_features=0,
                            estimator=self, input_name="X")
        if array.dtype.kind == "c":
            raise ValueError("Complex data not supported: X has complex numbers; expected real ones")
        if isinstance(X, np.ma.MaskedArray):
            return np.ma.MaskedArray(array, np.ma.getmaskarray(X))
        return np.asarray(array)

    def _learn_columns(self, X: Any, columns: list[Column], named: bool) -> list[Column]:
        _check_n_features(self, np.empty((1, len(columns))), reset=True)
        if isinstance(X, Mapping):
            self.feature_names_in_ = np.array([c.name for c in columns], object)
        else:
            _check_feature_names(self, X, reset=True)
        self._names = [c.name for c in columns]
        self._categorical = categorical_columns(self.categorical_features, self._names)
        columns = [c.as_category() if c.name in self._categorical else c for c in columns]
        self.column_kinds_: dict[str, Kind] = {c.name: c.kind for c in columns}
        self._signs = monotone_columns(type(self).__name__, self.monotonic, self.column_kinds_)
        return columns

    def _known_columns(self, X: Any, columns: list[Column], named: bool) -> list[Column]:
        """Bring the columns into the order of fit: by name where there are names."""
        if not named or not hasattr(self, "feature_names_in_"):
            _check_n_features(self, np.empty((1, len(columns))), reset=False)
            return [Column(name, c.kind, c.values, c.levels, c.declared)
                    for name, c in zip(self._names, columns, strict=True)]
        given = {c.name: c for c in columns}
        return [given[name] for name in self._names]

    def _check_all_are_there(self, X: Any, columns: list[Column]) -> None:
        found = {c.name for c in columns}
        missing = [name for name in self._names if name not in found]
        if missing:
            raise ValueError(f"X lacks the columns {listed(missing)}, which {type(self).__name__} was fitted with; it "
                             f"has {listed([name for name, _ in named_values(X)])}")

    @contextmanager
    def _threads(self) -> Any:
        if self.n_threads is None:
            yield
            return
        before = get_num_threads()
        set_num_threads(self.n_threads)
        try:
            yield
        finally:
            set_num_threads(before)

    def _check_parameters(self) -> None:
        check_parameters(type(self).__name__, self.get_params(deep=False), self._scorings)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags


def _weighted(columns: list[Column], targets: Array,
              weights: Array | None) -> tuple[list[Column], Array, Array | None]:
    """Return the rows that have a weight above 0."""
    if weights is None or weights.all():
        return columns, targets, weights
    kept = np.flatnonzero(weights)
    return [c.take(kept) for c in columns], targets[kept], weights[kept]


def held_out_rows(rows: int, folds: int, fraction: float, strata: Array | None, seed: int) -> list[Array]:
    """Return the rows that each fold holds out: of one fold a share, of several equal parts; each class in proportion.

    A class with one row is trained on.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(rows)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
    if folds > 1:
        parts = [np.sort(order[i::folds]) for i in range(folds)]
        return [p for p in parts if 0 < len(p) < rows]
    held_out = max(1, round(rows * fraction)) if rows > 1 else 0
    # every so many of those in order, so that each class is there in proportion
    at = np.floor((np.arange(held_out) + rng.random()) * rows / held_out).astype(int)
    chosen = order[np.minimum(at, rows - 1)]
    if strata is not None:
        counts = np.bincount(strata)
        chosen = chosen[counts[strata[chosen]] > 1]
    if not len(chosen):
        chosen = order[:1]
    return [np.sort(chosen)]
