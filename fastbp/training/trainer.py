"""The trainer: takes data, a loss and an optimizer, and trains a network.

Here is the border where everything given is checked; what an epoch is made of is in :mod:`fastbp.training.epochs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from math import inf
from os import PathLike
from typing import TYPE_CHECKING, Any
from warnings import warn

import numpy as np

from fastbp.core.checks import count, flag, number
from fastbp.core.errors import DivergenceError, NonFiniteError
from fastbp.engine.backend import Data, Progress
from fastbp.engine.executable import BackendName
from fastbp.engine.ranks import as_ranks
from fastbp.network import Network
from fastbp.objectives.cross_entropy import CrossEntropy
from fastbp.objectives.losses import BinaryCrossEntropy, Loss
from fastbp.ops.base import Array
from fastbp.optim.groups import matching
from fastbp.optim.optimizers import Optimizer, Update
from fastbp.optim.schedules import Schedule
from fastbp.training.callback import Callback, as_callbacks
from fastbp.training.divergence import divergence
from fastbp.training.epochs import EpochLoop, Stopped, every_of
from fastbp.training.evaluation import Metric, evaluate, named_metrics
from fastbp.training.history import History
from fastbp.training.progress import progress_bar
from fastbp.training.shares import Lead, RankBatches, RowWeights, align, share_of_arrays, share_of_batch
from fastbp.training.sources import ArraySource, BatchSource, Shuffle, Source

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastbp.training.checkpoint import TrainingState

# An activation at the end of a network, and the loss that applies it itself.
_TWICE = (("softmax", CrossEntropy), ("sigmoid", BinaryCrossEntropy))


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
    parameters : str, sequence of str, or Network, optional
        What is trained, if not all: names in ``net.params`` or patterns of them such as ``"encoder.*"``, or a network
        over the same memory, such as ``net.part(…)`` or one that was called to make this one. All others stay as they
        are, to the bit; no gradient is computed for them, and clip_norm is about those trained.
    comm : communicator, optional
        Joins ranks that train this network together, each on its share of every mini-batch: ``MPI.COMM_WORLD`` of
        mpi4py, or any object with ``rank``, ``size`` and ``sum(array)``, which adds up over all ranks in place. They do
        what one process does with the whole mini-batch (see Notes).
    sync_batch_norm : bool, default True
        Whether batch normalisation looks at the rows of all ranks, rather than at those of each apart. Running
        statistics are then those of rank 0.

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

    Notes
    -----
    With `comm` the same script runs on one rank and on many: ``mpiexec -n 4 python -m mpi4py train.py``. Every rank
    gives :meth:`fit` the same arrays, and takes its rows of each mini-batch; or an iterable of batches of its own, and
    the batches of one turn make a mini-batch. What :meth:`step` is given are a rank's own rows, too. All ranks begin
    with the network of rank 0, which alone shows bars, calls callbacks and writes checkpoints; the others follow what
    callbacks change. What one rank raises, all raise: it itself, and the others RankError with its message.

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
                 clip_norm: float | None = None, clip_value: float | None = None,
                 parameters: str | Sequence[str] | Network | None = None, comm: Any = None,
                 sync_batch_norm: bool = True) -> None:
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
        self.metrics = named_metrics(metrics)
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self._update = optimizer.update_of(net, _part(net, parameters))
        self.history = History()
        self.stop = False
        self.callbacks: tuple[Callback, ...] = ()
        self._fitting = False
        self.resumed_callbacks: list[tuple[str, dict[str, Any]]] = []
        self._apart = not flag("Trainer", "sync_batch_norm", sync_batch_norm)
        self._ranks, self._weights = as_ranks("Trainer", comm), RowWeights()
        if self._ranks is not None:
            align(self._ranks, self)
        _warn_of_probabilities(net, losses)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("net", "loss", "optimizer") and name in self.__dict__:
            raise AttributeError(f"Trainer: {name} is fixed; make a new one: fb.Trainer(net, loss, optimizer)")
        super().__setattr__(name, _limit(name, value) if name in ("clip_norm", "clip_value") else value)

    @property
    def update(self) -> Update:
        """The optimizer's state for this network, shared with ``optimizer.step(net)``."""
        return self._update

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
        lr, update = self._next_rate(), self._update
        if sample_weight is None and self._ranks is None:
            loss = self.net._quick_step(x, y, self.loss, update, lr)
            if loss is not None:
                return loss
        try:
            step = self._checked_step if self._ranks is None else self._step_in_ranks
            return step(x, y, sample_weight, lr)
        except NonFiniteError as error:
            raise self._diverged(error, self.epoch + 1, update.step + 1) from None

    def fit(self, X: Any, y: Any = None, *, epochs: int = 1, batch_size: int = 32, shuffle: Shuffle = True,
            validation_data: tuple[Any, ...] | None = None, validation_split: float = 0.0,
            sample_weight: ArrayLike | None = None, callbacks: Sequence[Callback] = (),
            progress: bool = True, drop_last: bool = False) -> History:
        """Train for some epochs.

        Parameters
        ----------
        X : array of shape (N, *input shape), or a tuple of them for several inputs
            Without y: batches, an iterable of (x, y) or (x, y, sample_weight); for several epochs one that can be gone
            through again, such as a list or a data loader.
        y : array as the loss wants it, or a tuple of them for several outputs
        epochs : int, default 1
        batch_size : int, default 32
            The last mini-batch of an epoch has the rows that are left, unless `drop_last` leaves them out.
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
        drop_last : bool, default False
            Whether rows that do not fill a last mini-batch are left out of an epoch: with batch normalisation, one of
            a single row cannot be trained on. Shuffled, they are others in each epoch.

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
        RuntimeError
            If it is called by a callback of a fit of this trainer.

        Notes
        -----
        Ctrl-C stops between two mini-batches: KeyboardInterrupt is raised, and the network can be used, or trained on.
        """
        lead = Lead(self, self._ranks)
        with self._failing_together(), lead.together():
            source, validation, called, epochs = self._prepared(
                X, y, epochs, batch_size, shuffle, validation_data, validation_split, sample_weight, callbacks,
                drop_last)
        if self._ranks is not None:
            align(self._ranks, self)
        validate = None if validation is None else partial(evaluate, self.net, validation, self.metrics,
                                                           ranks=self._ranks)
        own = called if self._leads else ()
        with self._failing_together(), self._running(own, lead):
            total = None if source.per_epoch is None else epochs * source.per_epoch
            with progress_bar(total, "batch", progress and self._leads) as bar:
                EpochLoop(self, source, validate, self._diverged, own, bar, every_of(called), lead).run(epochs)
        return self.history

    def _prepared(self, X: Any, y: Any, epochs: Any, batch_size: Any, shuffle: Any, validation_data: Any,
                  validation_split: Any, sample_weight: Any, callbacks: Any,
                  drop_last: Any) -> tuple[Source, Data | None, tuple[Callback, ...], int]:
        """Check all that fit is given: return mini-batches, what to validate with, callbacks, and epochs."""
        epochs, called = count("fit", "epochs", epochs), as_callbacks(callbacks)
        batch_size = count("fit", "batch_size", batch_size)
        drop_last = flag("fit", "drop_last", drop_last)
        order = shuffle if callable(shuffle) else flag("fit", "shuffle", shuffle)
        source: Source
        if y is None:
            if validation_split or sample_weight is not None or drop_last:
                raise ValueError("fit: y is missing; give the targets, or, to train on batches, leave out "
                                 "validation_split, sample_weight and drop_last: a batch may be (x, y, sample_weight)")
            several = not self.net._single_input
            source = BatchSource(X, several, self._step) if self._ranks is None else RankBatches(
                X, several, self._shared_step, self._ranks)
            validation = self._validation(validation_data)
        else:
            data, chosen, validation = self._split(X, y, sample_weight, validation_data, validation_split)
            source = arrays = ArraySource(data, chosen, batch_size, order, drop_last, self.net.seed,
                                          self._update, self._train)
            self._check_last(arrays)
        return source, validation, called, epochs

    @property
    def _leads(self) -> bool:
        """Whether this is the rank that calls callbacks and writes files."""
        return self._ranks is None or self._ranks.leads

    @contextmanager
    def _failing_together(self) -> Iterator[None]:
        """Tell the other ranks of what is raised here."""
        try:
            yield
        except DivergenceError:
            raise               # of the whole batch: all ranks have met it
        except BaseException as error:
            if self._ranks is not None:
                self._ranks.fail(error)
            raise

    @contextmanager
    def _running(self, callbacks: tuple[Callback, ...], lead: Lead) -> Iterator[None]:
        """Tell callbacks that training begins and ends. What sets `stop` ends it."""
        if self._fitting:
            raise RuntimeError("fit: this trainer is in a fit already, which this call comes from the middle of; call "
                               "trainer.step there, or make another fb.Trainer")
        self._fitting, self.stop, self.callbacks = True, False, callbacks
        begun: list[Callback] = []
        try:
            with lead(parameters=True):
                for callback in callbacks:
                    begun.append(callback)
                    callback.on_fit_begin(self)
                self._resume_callbacks()
            with suppress(Stopped):
                yield
            with lead(parameters=True):
                ended, begun = begun, []
                for callback in ended:
                    callback.on_fit_end(self)
        finally:
            try:
                for callback in begun:      # something was raised
                    callback.on_fit_end(self)
            finally:
                self._fitting, self.callbacks = False, ()
                self.net._release()

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
        return evaluate(self.net, self.net._data(X, y, self.loss, sample_weight), self.metrics, size)

    def __getstate__(self) -> dict[str, Any]:
        # a copy made by a callback is in no fit, and no rank
        return {**self.__dict__, "_fitting": False, "callbacks": (), "_ranks": None, "_weights": RowWeights()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.optimizer.remember(self.net.memory, self.update)

    def save_checkpoint(self, path: str | PathLike[str]) -> None:
        """Write all that training needs to go on to a safetensors file, replacing it in one go.

        That is the network, the optimizer with its state and schedule, the loss, the history, and what the callbacks of
        the running fit remember; :meth:`resume` goes on with it, :func:`fastbp.load` gives the network alone. Within an
        epoch, the epoch counts as not begun. Of several ranks, rank 0 writes it. Errors as in
        :meth:`fastbp.Network.save`.
        """
        from fastbp.training.checkpoint import save  # it needs what importing fastbp should not wait for
        if self._leads:
            save(self._state(), path)

    @classmethod
    def resume(cls, path: str | PathLike[str], *, loss: Any = None, optimizer: Optimizer | None = None,
               metrics: Metric | Sequence[Metric] | Mapping[str, Metric] | None = None,
               backend: BackendName = "native", layers: Sequence[type[Any]] = (), comm: Any = None,
               sync_batch_norm: bool = True) -> Trainer:
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
        comm, sync_batch_norm
            As in :class:`Trainer`; there may be more ranks than before, or fewer.

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
        from fastbp.training.checkpoint import load
        state = load(path, loss, optimizer, backend, layers)
        trainer = cls(state.net, state.loss, state.optimizer, metrics=metrics, clip_norm=state.clip_norm,
                      clip_value=state.clip_value, parameters=state.parameters, comm=comm,
                      sync_batch_norm=sync_batch_norm)
        trainer._restore(state)
        return trainer

    def _state(self) -> TrainingState:
        from fastbp.training.checkpoint import TrainingState
        update = self._update
        return TrainingState(self.net, self.loss, self.optimizer, update.step, tuple(update.state), self.clip_norm,
                             self.clip_value, list(self.history),
                             [(type(c).__name__, c.state_dict()) for c in self.callbacks], update.parameters)

    def _restore(self, state: TrainingState) -> None:
        self._update.step = state.step
        for own, array in zip(self._update.state, state.arrays, strict=True):
            own[...] = array
        self.history, self.resumed_callbacks = History(state.history), state.callbacks

    def __repr__(self) -> str:
        return (f"Trainer({self.net!r}, loss={self.loss!r}, optimizer={self.optimizer!r}, {len(self.history)} epochs "
                "done)")

    # ---- mini-batches -----------------------------------------------------------------------------------------------

    def _next_rate(self) -> float:
        """Return the learning rate of the next update, and set this trainer's limits: another may have other ones."""
        update, schedule = self._update, self.optimizer._lr
        update.clip_norm, update.clip_value = self.clip_norm, self.clip_value
        lr = schedule(update.step)
        if not 0 <= lr < inf:
            raise schedule.refused(lr, update.step)
        return lr

    def _checked_step(self, x: Any, y: Any, sample_weight: Any, lr: float) -> float:
        """Train on one mini-batch that may be anything."""
        data, losses = self.net._data(x, y, self.loss, sample_weight), np.empty(1)
        try:
            self.net._train(data, self._update, None, data.rows, np.array([lr], np.float64), losses)
        finally:
            self.net._release()
        return float(losses[0])

    def _step(self, x: Any, y: Any, sample_weight: Any) -> tuple[float, float]:
        """Train on one mini-batch as it comes: return the loss and the learning rate."""
        lr = self._next_rate()
        quick = self.net._quick_step(x, y, self.loss, self._update, lr) if sample_weight is None else None
        return self._checked_step(x, y, sample_weight, lr) if quick is None else quick, lr

    def _shared_step(self, x: Any, y: Any, sample_weight: Any) -> tuple[float, float]:
        """Train on a mini-batch of which this rank has some rows: return the loss of all and the learning rate."""
        lr = self._next_rate()
        return self._step_in_ranks(x, y, sample_weight, lr), lr

    def _step_in_ranks(self, x: Any, y: Any, sample_weight: Any, lr: float) -> float:
        """Train on a mini-batch of which this rank has some rows, and others have the rest."""
        assert self._ranks is not None
        with self._failing_together():
            with self._ranks.together():
                data, losses = self.net._data(x, y, self.loss, sample_weight), np.empty(1)
                totals = RowWeights().totals(data)
            share = share_of_batch(self._ranks, data, totals, self._apart)
            try:
                self.net._train(data, self._update, None, data.rows, np.array([lr], np.float64), losses, None, share)
            except NonFiniteError as error:
                self._ranks.settle(error)
                raise
            finally:
                self.net._release()
        return float(losses[0])

    def _train(self, data: Data, order: Array | None, batch_size: int, rates: Array, losses: Array,
               on_progress: Progress | None) -> None:
        """Train on mini-batches of checked data."""
        update = self._update
        update.clip_norm, update.clip_value = self.clip_norm, self.clip_value
        share = None if self._ranks is None else share_of_arrays(
            self._ranks, data, self._weights.of(data), order, batch_size, len(rates), self._apart)
        self.net._train(data, update, order, batch_size, rates, losses, on_progress, share)

    def _diverged(self, error: NonFiniteError, epoch: int, batch: int) -> DivergenceError:
        return divergence(self.net, error, self.clip_norm is not None, epoch, batch, self._update.step)

    def _resume_callbacks(self) -> None:
        """Hand what callbacks remembered to the first of each class, and so on."""
        waiting = list(self.callbacks)
        for kind, state in self.resumed_callbacks:
            callback = next((c for c in waiting if type(c).__name__ == kind), None)
            if callback is not None:
                waiting.remove(callback)
                callback.load_state_dict(state)
        self.resumed_callbacks = []

    # ---- the border -------------------------------------------------------------------------------------------------

    def _split(self, X: Any, y: Any, sample_weight: Any, validation_data: Any,
               validation_split: Any) -> tuple[Data, Array | None, Data | None]:
        """Check and convert arrays: return them, the rows to train on (None for all), and what to validate with."""
        share = number("fit", "validation_split", validation_split, "a number from 0 to below 1", lambda v: 0 <= v < 1)
        if validation_data is not None and share:
            raise ValueError("fit: validation_data and validation_split are both given; give one of them")
        data = self.net._data(X, y, self.loss, sample_weight)
        if not share:
            return data, None, self._validation(validation_data)
        kept = max(1, round(share * data.rows))
        if kept >= data.rows:
            raise ValueError(f"fit: validation_split is {share} of {data.rows} row{'s' * (data.rows != 1)}; nothing "
                             "would be left to train on")
        shuffled = np.random.default_rng((self.net.seed, 0)).permutation(data.rows)
        chosen = np.sort(shuffled[:kept])
        validation = data.take(chosen)
        self._check_validation(validation, chosen)
        return data, np.sort(shuffled[kept:]), validation

    def _validation(self, given: Any) -> Data | None:
        """Check and convert validation data."""
        if given is None:
            return None
        if not isinstance(given, list | tuple) or len(given) not in (2, 3):
            raise ValueError("fit: validation_data is not a tuple (X, y) or (X, y, sample_weight)")
        try:
            data = self.net._data(given[0], given[1], self.loss, *given[2:])
            self._check_validation(data)
            return data
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation_data: {error}") from None

    def _check_validation(self, data: Data, rows: Array | None = None) -> None:
        """Refuse inputs whose loss is not finite, and so nothing to stop early by, because they are not."""
        if not all(np.isfinite(x).all() for x in data.inputs):
            evaluate(self.net, data, self.metrics, rows=rows)

    def _check_last(self, source: ArraySource) -> None:
        """Refuse a last mini-batch that has too few rows for a layer of the network."""
        last = source.rows() - (source.per_epoch - 1) * source.batch_size
        try:
            self.net._check_training(last)
        except ValueError as error:
            left = last < source.batch_size
            mend = "; or leave such rows out of each epoch with drop_last=True" if left else ""
            raise ValueError(f"fit: {source.rows()} rows in mini-batches of {source.batch_size} make "
                             f"{'a last one' if left else 'each one'} of {last} row{'s' * (last != 1)}. "
                             f"{error}{mend}") from None


def _warn_of_probabilities(net: Network, losses: Sequence[Loss]) -> None:
    """Warn where a network makes probabilities of logits and the loss does so once more."""
    for loss, t in zip(losses, net.graph.outputs, strict=False):
        made_by = t.node.op.name if t.node is not None else ""
        if (made_by, type(loss)) in _TWICE:
            warn(f"the network ends in {made_by}, and {type(loss).__name__} applies {made_by} itself: train without "
                 f"that last layer, and apply it to what net.predict returns", stacklevel=3)


def _part(net: Network, parameters: str | Sequence[str] | Network | None) -> tuple[str, ...] | None:
    """Return the names of what is trained; None for all."""
    if parameters is None:
        return None
    if isinstance(parameters, Network):
        theirs = {array.ctypes.data for array in parameters.params.values()}
        found = tuple(name for name, array in net.params.items() if array.ctypes.data in theirs)
        if len(found) < len(theirs):
            raise ValueError("Trainer: parameters is a network that does not share its memory with net; expected "
                             "net.part(…), or a network that was called on tensors to make net")
    else:
        found = tuple(matching("Trainer: parameters", parameters, net.params))
    symbols = net.graph.parameters
    if not any(symbols[name].trainable for name in found if name in symbols):
        raise ValueError("Trainer: parameters has nothing that is trained; expected the name of at least one parameter "
                         f"of a layer with trainable=True, not {parameters!r}")
    return found


def _limit(argument: str, value: float | None) -> float | None:
    return None if value is None else number("Trainer", argument, value, "a number above 0, or None", lambda v: v > 0)
