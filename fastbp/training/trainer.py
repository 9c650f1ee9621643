"""The trainer: mini-batches, epochs, validation.

An epoch is one call of the backend: the order of the rows and the learning rate of every mini-batch are decided before
it, and nothing of Python runs in between but the progress bar. Callbacks that want to act on every so many updates
(:mod:`fastbp.callbacks`) cut the epoch into pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd, isfinite
from os import PathLike
from time import perf_counter
from typing import TYPE_CHECKING, Any
from warnings import warn

import numpy as np

from fastbp.core.checks import count, finite_inputs, flag, number
from fastbp.core.errors import DivergenceError, NonFiniteError
from fastbp.engine.backend import Data
from fastbp.engine.executable import BackendName
from fastbp.network import Network
from fastbp.objectives.losses import BinaryCrossEntropy, CrossEntropy, Loss
from fastbp.ops.base import Array
from fastbp.optim.optimizers import Optimizer, Update
from fastbp.optim.schedules import Schedule
from fastbp.training.callbacks import Callback, as_callbacks
from fastbp.training.divergence import divergence
from fastbp.training.history import History
from fastbp.training.progress import progress_bar

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Metric = Callable[[Any, Any], Any]
Shuffle = bool | Callable[[int, Array], "ArrayLike"]

# Epochs shorter than this are run several in one call.
_JOINED_SECONDS = 0.02
# An activation at the end of a network, and the loss that applies it itself.
_TWICE = (("softmax", CrossEntropy), ("sigmoid", BinaryCrossEntropy))


@dataclass
class _Fit:
    """The checked arguments of one call of fit."""

    batch: Data
    rows: Array | None
    """Row numbers to train on, or None for all."""
    validation: Data | None
    epochs: int
    batch_size: int
    shuffle: Shuffle
    callbacks: tuple[Callback, ...]
    bar: Any = None
    seconds: float | None = None
    """How long the newest epoch took."""

    @property
    def count(self) -> int:
        return self.batch.rows if self.rows is None else len(self.rows)

    @property
    def updates(self) -> int:
        """Mini-batches an epoch."""
        return -(-self.count // self.batch_size)

    def order(self, seed: int, epoch: int) -> Array:
        """Return the rows of an epoch in order. Keyed by seed and epoch alone, it needs no state of its own."""
        if callable(self.shuffle):
            return self._given_order(self.shuffle(epoch, np.arange(self.count) if self.rows is None else self.rows))
        if not self.shuffle:
            return np.arange(self.count) if self.rows is None else self.rows
        return np.random.default_rng((seed, epoch)).permutation(self.count if self.rows is None else self.rows)

    def _given_order(self, order: Any) -> Array:
        rows = np.asarray(order)
        if rows.shape != (self.count,) or rows.dtype.kind not in "iu" or rows.min() < 0 \
                or rows.max() >= self.batch.rows:
            raise ValueError(f"fit: shuffle returned an array of shape {rows.shape} and dtype {rows.dtype}; expected "
                             f"{self.count} row numbers from 0 to {self.batch.rows - 1}")
        return rows


class Stopped(Exception):
    """Ends an epoch between two mini-batches."""


class Trainer:
    """Trains a network.

    Parameters
    ----------
    net : Network
    loss : Loss, or a tuple of them for a network with several outputs (their sum is minimised)
    optimizer : Optimizer
    metrics : function, sequence of functions, or dict of them by name, optional
        ``metric(y_true, y_pred)``, computed on validation and in :meth:`evaluate`. y_pred is the network's output,
        y_true the target as the loss reads it: of the output's shape, or integer labels. With several outputs, tuples.
    clip_norm : float, optional
        The gradient of all parameters together is scaled down to this Euclidean norm where it is longer.
    clip_value : float, optional
        Each element of the gradient is limited to ±this, before clip_norm.

    Attributes
    ----------
    history : History
        Of all epochs so far: calling :meth:`fit` again goes on.
    clip_norm, clip_value : float or None
        May be assigned.
    stop : bool
        Set to True, by a callback, it ends training.
    callbacks : tuple of Callback
        Those of the running :meth:`fit`.
    resumed_callbacks : list of (str, dict)
        What callbacks remembered when the checkpoint was written, by class: the next :meth:`fit` hands it on.

    Raises
    ------
    TypeError, ValueError
        For arguments that are not what they should be, or a loss that does not fit the network's output.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> net = fb.Sequential(fb.Linear(1, 1), seed=0, backend="reference")
    >>> trainer = fb.Trainer(net, fb.MSE(), fb.SGD(lr=0.1))
    >>> history = trainer.fit(X, 3 * X + 1, epochs=50, batch_size=16)
    >>> history["loss"][-1] < 1e-6
    True
    """

    def __init__(self, net: Network, loss: Any, optimizer: Optimizer, *,
                 metrics: Metric | Sequence[Metric] | Mapping[str, Metric] | None = None,
                 clip_norm: float | None = None, clip_value: float | None = None) -> None:
        if not isinstance(net, Network):
            raise TypeError(f"Trainer: net is {net!r}; expected a network such as fb.Sequential(…)")
        if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
            raise TypeError(f"Trainer: optimizer is the class {optimizer.__name__}; expected an instance: "
                            f"{optimizer.__name__}()")
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"Trainer: optimizer is {optimizer!r}; expected an optimizer such as fb.Adam(lr=1e-3)")
        self.net, self.optimizer = net, optimizer
        losses = net._losses(loss)  # raises for a loss that does not fit
        self.loss: Any = losses if isinstance(loss, list | tuple) else losses[0]
        self.metrics = _metrics(metrics)
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self._update = optimizer.update_of(net)
        self.history = History()
        self.stop = False
        self.callbacks: tuple[Callback, ...] = ()
        self.resumed_callbacks: list[tuple[str, dict[str, Any]]] = []
        _warn_of_probabilities(net, losses)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("net", "loss", "optimizer") and name in self.__dict__:
            raise AttributeError(f"Trainer: {name} is fixed; make a new one: fb.Trainer(net, loss, optimizer)")
        super().__setattr__(name, _limit(name, value) if name in ("clip_norm", "clip_value") else value)

    @property
    def update(self) -> Update:
        """The optimizer's state for this network, shared with ``optimizer.step(net)``."""
        return self._update

    def _limited(self) -> Update:
        """The same, clipped as this trainer clips: another one may have other limits."""
        update = self._update
        update.clip_norm, update.clip_value = self.clip_norm, self.clip_value
        return update

    @property
    def lr(self) -> float:
        """The learning rate of the next update. A number or a schedule assigned is the optimizer's from then on."""
        return float(self.optimizer.lr.rates(self.update.step, 1)[0])

    @lr.setter
    def lr(self, lr: float | Schedule) -> None:
        self.optimizer.lr = lr

    @property
    def epoch(self) -> int:
        """Epochs done so far."""
        return int(self.history[-1]["epoch"]) if len(self.history) else 0

    def step(self, x: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Train on one mini-batch.

        Parameters
        ----------
        x : array of shape (B, *input shape), or a tuple of them for several inputs
        y : array as the loss wants it, or a tuple of them for several outputs
        sample_weight : array of shape (B,), optional

        Returns
        -------
        float
            The loss before the update.

        Raises
        ------
        DivergenceError
            If something stops being finite; the step is not taken.
        """
        update = self._limited()
        lr = self.optimizer.lr(update.step)
        if sample_weight is None and lr >= 0:
            loss = self.net._quick_step(x, y, self.loss, update, lr)
            if loss is not None:
                return loss
        batch = self.net._data(x, y, self.loss, sample_weight)
        rates = self.optimizer.lr.rates(self.update.step, 1)
        try:
            return float(self.net._train(batch, update, None, batch.rows, rates)[0])
        except NonFiniteError as error:
            raise self._diverged(error, batch, rates[0], self.epoch + 1, self.update.step + 1) from None

    def fit(self, X: Any, y: Any = None, *, epochs: int = 1, batch_size: int = 32, shuffle: Shuffle = True,
            validation_data: tuple[Any, ...] | None = None, validation_split: float = 0.0,
            sample_weight: ArrayLike | None = None, callbacks: Sequence[Callback] = (),
            progress: bool = True) -> History:
        """Train for some epochs.

        Parameters
        ----------
        X : array of shape (N, *input shape), or a tuple of them for several inputs
            Without y: batches, an iterable of (x, y) or (x, y, sample_weight); for several epochs one that can be gone
            through again, such as a list or a data loader.
        y : array as the loss wants it, or a tuple of them for several outputs
        epochs : int, default 1
        batch_size : int, default 32
            The last mini-batch of an epoch has the rows that are left.
        shuffle : bool or function, default True
            Whether each epoch has its own order of rows, decided by ``net.seed`` and the number of the epoch. A
            function ``shuffle(epoch, rows)`` returns the row numbers in an order of its own; it may repeat some and
            leave out others.
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            What to look at after each epoch.
        validation_split : float, default 0
            Instead: the share of the rows, drawn at random by ``net.seed``, that is kept for validation.
        sample_weight : array of shape (N,), optional
        callbacks : sequence of Callback
        progress : bool, default True
            Whether to show a bar; it never appears where stderr is not a terminal.

        Returns
        -------
        History
            ``trainer.history``: calling fit again goes on with it.

        Raises
        ------
        DivergenceError
            If something stops being finite; the network holds the parameters from after the last good mini-batch.
        TypeError, ValueError
            For arguments that do not fit; nothing is changed then.

        Notes
        -----
        Ctrl-C stops between two mini-batches: KeyboardInterrupt is raised, and the network can be used, or trained on.
        """
        if y is None:
            from fastbp.training.streaming import fit_batches
            if validation_split or sample_weight is not None:
                raise ValueError("fit: y is missing; give the targets, or, to train on batches, leave out "
                                 "validation_split and sample_weight: a batch may be (x, y, sample_weight)")
            return fit_batches(self, X, epochs, validation_data, callbacks, progress)
        fit = self._checked(X, y, epochs, batch_size, shuffle, validation_data, validation_split, sample_weight,
                            callbacks)
        with self.running(fit.callbacks, fit.epochs * fit.updates, progress) as fit.bar:
            left = fit.epochs
            while left and not self.stop:
                together = min(left, self._worth_joining(fit))
                if together > 1:
                    self._short_epochs(fit, together)
                else:
                    self._epoch(fit)
                left -= together
        return self.history

    @contextmanager
    def running(self, callbacks: tuple[Callback, ...], total: int | None, progress: bool) -> Iterator[Any]:
        """Tell callbacks that training begins and ends; give the progress bar. What sets `stop` ends it."""
        self.stop, self.callbacks = False, callbacks
        begun: list[Callback] = []
        with progress_bar(total, "batch", progress) as bar:
            try:
                for callback in callbacks:
                    begun.append(callback)
                    callback.on_fit_begin(self)
                self._resume_callbacks()
                yield bar
            except Stopped:
                pass
            finally:
                for callback in begun:
                    callback.on_fit_end(self)
                self.callbacks = ()

    def evaluate(self, X: Any, y: Any, sample_weight: ArrayLike | None = None,
                 batch_size: int | None = None) -> dict[str, float]:
        """Compute the loss and the metrics of labelled data, without training.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.
        batch_size : int, optional
            Rows run together; about a thousand by default. The result does not depend on it.

        Returns
        -------
        dict
            ``"loss"``, for classification ``"accuracy"`` (``"accuracy_0"``, … with several outputs), and the metrics.
        """
        size = 1024 if batch_size is None else count("evaluate", "batch_size", batch_size)
        return self.evaluate_batch(self.net._data(X, y, self.loss, sample_weight), size)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.optimizer.remember(self.net.memory, self.update)

    def save_checkpoint(self, path: str | PathLike[str]) -> None:
        """Write all that training needs to go on to a safetensors file, replacing it in one go.

        That is the network, the optimizer with its state and schedule, the loss, the history, and what the callbacks of
        the running fit remember; :meth:`resume` goes on with it, :func:`fastbp.load` gives the network alone. Within an
        epoch, the epoch counts as not begun. Errors as in :meth:`fastbp.Network.save`.
        """
        from fastbp.training.checkpoint import save_checkpoint
        save_checkpoint(self, path)

    @classmethod
    def resume(cls, path: str | PathLike[str], *, loss: Any = None, optimizer: Optimizer | None = None,
               metrics: Metric | Sequence[Metric] | Mapping[str, Metric] | None = None,
               backend: BackendName = "native", layers: Sequence[type[Any]] = ()) -> Trainer:
        """Return the trainer whose checkpoint a file has.

        With the same data and arguments of :meth:`fit`, and with the same callbacks, training goes on to the same bits
        as if it had never stopped.

        Parameters
        ----------
        path : path
            As :meth:`save_checkpoint` or :class:`fastbp.callbacks.ModelCheckpoint` wrote it.
        loss, optimizer : optional
            Needed only where they are your own, or hold functions of yours, which a file cannot.
        metrics
            As in :class:`Trainer`: functions are not in the file.
        backend, layers
            As in :func:`fastbp.load`.

        Raises
        ------
        FormatError, ImportError, OSError
            As :func:`fastbp.load` does; FormatError too for a file without a trainer.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> import fastbp as fb
        >>> X, path = np.linspace(-1, 1, 64)[:, None], pathlib.Path(tempfile.mkdtemp(), "run.safetensors")
        >>> net = fb.Sequential(fb.Linear(1, 1), seed=0, backend="reference")
        >>> trainer = fb.Trainer(net, fb.MSE(), fb.Adam(lr=0.1))
        >>> _ = trainer.fit(X, 3 * X, epochs=3, callbacks=[fb.callbacks.ModelCheckpoint(path)])
        >>> resumed = fb.Trainer.resume(path, backend="reference")
        >>> never_stopped = trainer.fit(X, 3 * X, epochs=7)
        >>> resumed.fit(X, 3 * X, epochs=10 - resumed.epoch)["loss"] == never_stopped["loss"]
        True
        """
        from fastbp.training.checkpoint import resume
        return resume(cls, path, loss, optimizer, metrics, backend, layers)

    def __repr__(self) -> str:
        return (f"Trainer({self.net!r}, loss={self.loss!r}, optimizer={self.optimizer!r}, {len(self.history)} epochs "
                "done)")

    # ---- an epoch ---------------------------------------------------------------------------------------------------

    def _epoch(self, fit: _Fit) -> None:
        epoch = self.epoch + 1
        for callback in fit.callbacks:
            callback.on_epoch_begin(self, epoch)
        fit.bar.set_description(f"epoch {epoch}", refresh=False)
        order = fit.order(self.net.seed, epoch)
        rates = self.optimizer.lr.rates(self.update.step, fit.updates)
        start = perf_counter()
        losses = self._train(fit, epoch, order, rates)
        trained = perf_counter()
        row: dict[str, float] = {"epoch": epoch, "loss": _mean(losses, fit, order), "lr": float(rates[-1])}
        if fit.validation is not None:
            row |= {f"val_{name}": value for name, value in self.evaluate_batch(fit.validation).items()}
        row["seconds"] = perf_counter() - start
        row["samples_per_second"] = fit.count / max(trained - start, 1e-9)
        self.history.append(row)
        fit.seconds = row["seconds"]
        if not fit.bar.disable:
            fit.bar.set_postfix({k: f"{row[k]:.4g}" for k in ("loss", "val_loss", "val_accuracy") if k in row})
        self.optimizer.lr.observe(row.get("val_loss", row["loss"]))
        for callback in fit.callbacks:
            callback.on_epoch_end(self, epoch, row)

    def _worth_joining(self, fit: _Fit) -> int:
        """Return how many epochs to run in one call: some milliseconds' worth, where nobody acts between them."""
        watched = fit.callbacks or fit.validation is not None
        looks = type(self.optimizer.lr).observe is not Schedule.observe
        ragged = (fit.shuffle or fit.rows is not None) and fit.count % fit.batch_size
        if watched or looks or ragged or fit.seconds is None:
            return 1
        return max(1, int(_JOINED_SECONDS / max(fit.seconds, 1e-6)))

    def _short_epochs(self, fit: _Fit, epochs: int) -> None:
        """Run some epochs in one call of the backend. Their seconds are the time of all, shared out evenly."""
        first = self.epoch + 1
        order = None
        if fit.shuffle or fit.rows is not None:
            order = np.concatenate([fit.order(self.net.seed, first + i) for i in range(epochs)])
        rates = self.optimizer.lr.rates(self.update.step, epochs * fit.updates)
        start = perf_counter()
        try:
            losses = self.net._train(fit.batch, self._limited(), order, fit.batch_size, rates)
        except NonFiniteError as error:
            epoch, batch = divmod(error.batch, fit.updates)
            good = np.asarray(error.losses[:epoch * fit.updates])
            self._note_epochs(fit, first, good, rates, order, perf_counter() - start)
            at = error.batch if order is not None else batch
            rows = slice(at * fit.batch_size, (at + 1) * fit.batch_size)
            failed = fit.batch.take(rows if order is None else order[rows])
            raise self._diverged(error, failed, rates[error.batch], first + epoch, batch + 1) from None
        self._note_epochs(fit, first, losses, rates, order, perf_counter() - start)
        fit.bar.update(len(losses))

    def _note_epochs(self, fit: _Fit, first: int, losses: Array, rates: Array, order: Array | None,
                     seconds: float) -> None:
        epochs = len(losses) // fit.updates
        each = losses.reshape(epochs, fit.updates)
        if fit.batch.sample_weight is None and fit.count % fit.batch_size == 0:
            means = each.mean(axis=1).tolist()
        else:
            rows = np.tile(np.arange(fit.count), epochs) if order is None else order
            means = [_mean(each[i], fit, rows[i * fit.count:(i + 1) * fit.count]) for i in range(epochs)]
        fit.seconds = seconds / max(epochs, 1)
        last = rates[fit.updates - 1::fit.updates].tolist()
        speed = fit.count / max(fit.seconds, 1e-9)
        self.history.extend({"epoch": first + i, "loss": loss, "lr": lr, "seconds": fit.seconds,
                             "samples_per_second": speed}
                            for i, (loss, lr) in enumerate(zip(means, last, strict=False)))

    def _resume_callbacks(self) -> None:
        """Hand what callbacks remembered to the first of each class, and so on."""
        waiting = list(self.callbacks)
        for kind, state in self.resumed_callbacks:
            callback = next((c for c in waiting if type(c).__name__ == kind), None)
            if callback is not None:
                waiting.remove(callback)
                callback.load_state_dict(state)
        self.resumed_callbacks = []

    def _train(self, fit: _Fit, epoch: int, order: Array, rates: Array) -> Array:
        """Take all updates of an epoch, in one piece or as many as the callbacks want; return their losses."""
        size, periods = fit.batch_size, [c.every for c in fit.callbacks if c.every is not None]
        every = gcd(*periods) if periods else 0
        losses = np.empty(len(rates))
        done = 0
        while done < len(rates):
            piece = min(every - self.update.step % every, len(rates) - done) if every else len(rates)
            rows = order[done * size:(done + piece) * size]
            unordered = not fit.shuffle and fit.rows is None and piece == len(rates)
            try:
                losses[done:done + piece] = self.net._train(
                    fit.batch, self._limited(), None if unordered else rows, size, rates[done:done + piece],
                    self._reporter(fit, done))
            except NonFiniteError as error:
                batch = done + error.batch
                failed = fit.batch.take(order[batch * size:(batch + 1) * size])
                raise self._diverged(error, failed, rates[batch], epoch, batch + 1) from None
            done += piece
            for callback in fit.callbacks:
                if callback.every is not None and self.update.step % callback.every == 0:
                    callback.on_batch_end(self, done)
            if self.stop and done < len(rates):
                raise Stopped
        return losses

    def _reporter(self, fit: _Fit, before: int) -> Callable[[int], None] | None:
        """Return what is called now and then between mini-batches, or None where nobody would notice."""
        watching = [c for c in fit.callbacks if type(c).on_progress is not Callback.on_progress
                    or "on_progress" in vars(c)]
        if fit.bar.disable and not watching:
            return None
        seen = before

        def report(done: int) -> None:
            nonlocal seen
            fit.bar.update(before + done - seen)
            seen = before + done
            for callback in watching:
                callback.on_progress(self, seen)
            if self.stop and seen < fit.updates:
                raise Stopped
        return report

    def evaluate_batch(self, batch: Data, batch_size: int = 1024, rows: Array | None = None) -> dict[str, float]:
        """Compute the loss and the metrics of checked data; ``rows`` says how errors number its rows."""
        outputs = self.net._outputs(batch.inputs, batch_size)
        result = {"loss": 0.0}
        with np.errstate(all="ignore"):
            for i, (loss, y_pred, target) in enumerate(zip(batch.losses, outputs, batch.targets, strict=True)):
                weights = loss.row_weights(target, batch.sample_weight)
                result["loss"] += loss.value_and_gradient(y_pred, target, weights)[0]
                accuracy = loss.accuracy(y_pred, target, batch.sample_weight)
                if accuracy is not None:
                    result["accuracy" if len(outputs) == 1 else f"accuracy_{i}"] = accuracy
        if not isfinite(result["loss"]):
            finite_inputs(batch.inputs, rows)
        pair: tuple[Any, Any] = (tuple(batch.targets), outputs)
        if len(outputs) == 1:
            pair = batch.targets[0], outputs[0]
        return result | {name: _number(name, metric(*pair)) for name, metric in self.metrics.items()}

    def _diverged(self, error: NonFiniteError, batch: Data, lr: float, epoch: int, at: int) -> DivergenceError:
        return divergence(self.net, error, batch, lr, self.clip_norm is not None, epoch, at)

    # ---- the border -------------------------------------------------------------------------------------------------

    def _checked(self, X: Any, y: Any, epochs: int, batch_size: int, shuffle: Shuffle,
                 validation_data: Any, validation_split: float, sample_weight: Any, callbacks: Any) -> _Fit:
        epochs, batch_size = count("fit", "epochs", epochs), count("fit", "batch_size", batch_size)
        split = number("fit", "validation_split", validation_split, "a number from 0 to below 1", lambda v: 0 <= v < 1)
        if validation_data is not None and split:
            raise ValueError("fit: validation_data and validation_split are both given; give one of them")
        checked_callbacks = as_callbacks(callbacks)
        batch = self.net._data(X, y, self.loss, sample_weight)
        validation, rows = self.validation(validation_data), None
        if split:
            rows, kept = self._split(batch.rows, split)
            validation = batch.take(kept)
            self._check_validation(validation, kept)
        order = shuffle if callable(shuffle) else flag("fit", "shuffle", shuffle)
        return _Fit(batch, rows, validation, epochs, min(batch_size, batch.rows), order, checked_callbacks)

    def validation(self, data: Any) -> Data | None:
        """Check and convert validation data."""
        if data is None:
            return None
        if not isinstance(data, list | tuple) or len(data) not in (2, 3):
            raise ValueError("fit: validation_data is not a tuple (X, y) or (X, y, sample_weight)")
        try:
            batch = self.net._data(data[0], data[1], self.loss, *data[2:])
            self._check_validation(batch)
            return batch
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation_data: {error}") from None

    def _check_validation(self, batch: Data, rows: Array | None = None) -> None:
        """Refuse inputs whose loss is not finite, and so nothing to stop early by, because they are not."""
        if not all(np.isfinite(x).all() for x in batch.inputs):
            self.evaluate_batch(batch, rows=rows)

    def _split(self, rows: int, share: float) -> tuple[Array, Array]:
        kept = max(1, round(share * rows))
        if kept >= rows:
            raise ValueError(f"fit: validation_split is {share} of {rows} row{'s' * (rows != 1)}; nothing would be "
                             "left to train on")
        shuffled = np.random.default_rng((self.net.seed, 0)).permutation(rows)
        return np.sort(shuffled[kept:]), np.sort(shuffled[:kept])


def _mean(losses: Array, fit: _Fit, order: Array) -> float:
    """Return the mean of the mini-batches' losses, each weighing as its rows do."""
    weight = fit.batch.sample_weight
    if weight is None:
        last = fit.count - (len(losses) - 1) * fit.batch_size
        return float((losses[:-1].sum() * fit.batch_size + losses[-1] * last) / fit.count)
    weights = np.add.reduceat(weight[order].astype(np.float64), np.arange(0, fit.count, fit.batch_size))
    return float(np.average(losses, weights=weights)) if weights.any() else 0.0


def _metrics(metrics: Any) -> dict[str, Metric]:
    if metrics is None:
        return {}
    if isinstance(metrics, Mapping):
        named = metrics
    else:
        given = [metrics] if callable(metrics) else _sequence("Trainer: metrics", metrics)
        named = {getattr(metric, "__name__", type(metric).__name__): metric for metric in given}
    for name, metric in named.items():
        if not callable(metric):
            raise TypeError(f"Trainer: metrics holds {metric!r}; expected functions metric(y_true, y_pred)")
        if name in ("loss", "accuracy"):
            raise ValueError(f"Trainer: a metric is called {name!r}, as one that is there already; give another name: "
                             f'metrics={{"my_{name}": {name}}}')
    return dict(named)


def _number(metric: str, value: Any) -> float:
    found = np.asarray(value)
    if found.size != 1 or found.dtype.kind not in "fiub":
        what = f"shape {found.shape}" if found.ndim else repr(value)
        raise TypeError(f"metric {metric}: returned {what}; expected one number, such as a mean")
    return float(found.item())


def _sequence(argument: str, values: Any) -> Sequence[Any]:
    if not isinstance(values, list | tuple):
        raise TypeError(f"{argument} is {values!r}; expected a list")
    return values


def _warn_of_probabilities(net: Network, losses: Sequence[Loss]) -> None:
    """Warn where a network makes probabilities of logits and the loss does so once more."""
    for loss, t in zip(losses, net.graph.outputs, strict=True):
        made_by = t.node.op.name if t.node is not None else ""
        if (made_by, type(loss)) in _TWICE:
            warn(f"the network ends in {made_by}, and {type(loss).__name__} applies {made_by} itself: train without "
                 f"that last layer, and apply it to what net.predict returns", stacklevel=3)


def _limit(argument: str, value: float | None) -> float | None:
    return None if value is None else number("Trainer", argument, value, "a number above 0, or None", lambda v: v > 0)
