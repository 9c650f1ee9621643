"""The trainer: takes data, a loss and an optimizer, and trains a network.

Here is the border where everything given is checked; what an epoch is made of is in :mod:`fastbp.training.epochs`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbp.core.checks import count, flag, number
from fastbp.core.errors import NonFiniteError
from fastbp.core.words import TRAINER, Worded
from fastbp.engine.backend import Data
from fastbp.engine.executable import BackendName
from fastbp.engine.links import LINKS
from fastbp.engine.ranks import as_ranks
from fastbp.engine.sides import Outputs
from fastbp.network import Network
from fastbp.objectives.cross_entropy import CrossEntropy
from fastbp.objectives.custom import Losses
from fastbp.objectives.losses import BinaryCrossEntropy
from fastbp.ops.base import Array
from fastbp.optim.optimizers import Optimizer, Update, as_optimizer
from fastbp.optim.schedules import Schedule, named_schedule
from fastbp.training import given
from fastbp.training.callback import Callback, as_callbacks
from fastbp.training.epochs import EpochLoop, Stopped, Validate, every_of
from fastbp.training.evaluation import Heads, Metric, evaluate, measure, named_metrics
from fastbp.training.history import History
from fastbp.training.lr_search import LearningRateSearch, search
from fastbp.training.progress import Shown, checked, progress_bar
from fastbp.training.shares import Lead, RankBatches, RowWeights, agree, align
from fastbp.training.sources import ArraySource, BatchSource, Shuffle, Source, batches_of, joined
from fastbp.training.stepping import Steps

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastbp.training.checkpoint import TrainingState

Metrics = str | Metric | Sequence[Any] | Mapping[str, Any]
"""Metrics as a trainer takes them: a name or function, several of them, or those of each output."""


@dataclass
class _Fit:
    """What a fit has been given, checked."""

    source: Source
    validation: Data | None
    callbacks: tuple[Callback, ...]
    epochs: int
    measure: Validate | None


class Trainer(Worded, Steps):
    """Trains a network.

    Parameters
    ----------
    net : Network
    loss : Loss, str, or a tuple or dict of them for a network with several outputs (their sum is minimised)
        A name, such as ``"cross_entropy"`` or ``"mse"``, is a loss with its defaults.
    optimizer : Optimizer, or str
        A name, such as ``"adam"``, is an optimizer with its defaults.
    loss_weights : sequence or dict of float, optional
        What each of several losses counts for in their sum; 1 by default, none below 0.
    metrics : str, function, sequence of them, or dict of them by name, optional
        Names are ``"accuracy"``, ``"f1"``, ``"auc"``, ``"mae"``, ``"r2"`` and others of :mod:`fastbp.metrics`. A
        function is ``metric(y_true, y_pred)``: y_pred is the network's output, y_true the target as the loss reads it,
        of the output's shape, or integer labels; with several outputs, tuples or dicts of them. A dict by the names of
        outputs, or a list of lists, has metrics of each output by itself. They are computed over whole sets, after each
        epoch and in :meth:`evaluate`.
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

    words: ClassVar[Mapping[str, str]] = TRAINER

    def __init__(self, net: Network, loss: Losses, optimizer: Optimizer | str, *,
                 loss_weights: Sequence[float] | Mapping[str, float] | None = None, metrics: Metrics | None = None,
                 clip_norm: float | None = None, clip_value: float | None = None,
                 parameters: str | Sequence[str] | Network | None = None, comm: Any = None,
                 sync_batch_norm: bool = True) -> None:
        if not isinstance(net, Network):
            raise TypeError(f"Trainer: net is {net!r}; expected a network such as fb.Sequential(…)")
        optimizer = as_optimizer("Trainer", optimizer)
        self.net, self.optimizer = net, optimizer
        losses = net._losses(loss)  # raises for a loss that does not fit
        self._loss: Any = given.handed(net, losses)
        self.loss_weights = given.scales(net, losses, loss_weights)
        self.metrics = named_metrics(metrics, net, losses)
        self._asked = metrics is not None
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self._update = optimizer.update_of(net, given.part(net, parameters))
        self.history = History()
        self.stop = False
        self.callbacks: tuple[Callback, ...] = ()
        self._fitting = False
        self.resumed_callbacks: list[tuple[str, dict[str, Any]]] = []
        self._apart = not flag("Trainer", "sync_batch_norm", sync_batch_norm)
        self._ranks, self._weights = as_ranks("Trainer", comm), RowWeights()
        if self._ranks is not None:
            align(self._ranks, self)
        given.warn_of_probabilities(net, losses)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "loss" or (name in ("net", "loss_weights", "optimizer") and name in self.__dict__):
            raise AttributeError(f"Trainer: {name} is fixed; make a new one: fb.Trainer(net, loss, optimizer)")
        super().__setattr__(name, given.limit(name, value) if name in ("clip_norm", "clip_value") else value)

    @property
    def loss(self) -> Any:
        """What is minimised: as it was given, and, where it weighs classes by the data, with what `fit` found there."""
        return self._loss

    @property
    def update(self) -> Update:
        """The optimizer's state for this network, shared with ``optimizer.step(net)``."""
        return self._update

    @property
    def lr(self) -> float:
        """The learning rate of the next update. A number or a schedule assigned is the optimizer's from then on."""
        return self.optimizer.lr.rate(self.update.step)

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
            if self._ranks is None:
                return self._checked_step(x, y, sample_weight, lr, None)
            return self._step_in_ranks(x, y, sample_weight, lr)
        except NonFiniteError as error:
            raise self._diverged(error, self.epoch + 1, update.step + 1) from None

    def fit(self, X: Any, y: Any = None, *, epochs: int = 1, batch_size: int = 32, shuffle: Shuffle = True,
            validation_data: tuple[Any, ...] | None = None, validation_split: float = 0.0,
            sample_weight: ArrayLike | None = None, callbacks: Sequence[Callback] = (),
            progress: Shown = "auto", drop_last: bool = False, schedule: str | None = None,
            train_metrics: bool = True, accumulate: int = 1) -> History:
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
        validation_data : tuple (X, y) or (X, y, sample_weight), or batches of them, optional
            What to look at after each epoch; batches are taken together once.
        validation_split : float, default 0
            Instead: the share of the rows, drawn at random by ``net.seed``, that is kept for validation.
        sample_weight : array of shape (N,), optional
        callbacks : sequence of Callback
        progress : {"auto", "bar", "lines", False}, default "auto"
            What is shown: a bar that counts mini-batches (on stderr), a line for each epoch (on stdout), or nothing.
            "auto" is a bar in a terminal, lines in a notebook, and nothing elsewhere.
        drop_last : bool, default False
            Whether rows that do not fill a last mini-batch are left out of an epoch: with batch normalisation, one of
            a single row cannot be trained on. Shuffled, they are others in each epoch.
        schedule : str, optional
            How the learning rate moves in these epochs, from the optimizer's: ``"cosine"``, ``"one_cycle"``,
            ``"flat_cosine"``, ``"exponential"``, ``"step"``, ``"plateau"`` or ``"constant"``.
        train_metrics : bool, default True
            Whether the history has metrics of what is trained on beside those of validation. The accuracy of losses
            that have one is counted in training, as the parameters were at each mini-batch, where something is
            validated or the trainer has metrics; those metrics are computed after each epoch, which costs a pass
            forward.
        accumulate : int, default 1
            Mini-batches for each update: their gradients are averaged, weighted by rows or sample weights, as if they
            were one large mini-batch; batch normalisation looks at each by itself. ``history`` counts updates.

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
            progress = checked(progress)
            fit = self._prepared(X, y, epochs, batch_size, shuffle, validation_data, validation_split, sample_weight,
                                 callbacks, drop_last, accumulate, flag("fit", "train_metrics", train_metrics))
            if schedule is not None:
                self._follow(schedule, fit.source.per_epoch, fit.epochs)
        if self._ranks is not None:
            agree(self._ranks, self, fit.source, fit.epochs, fit.validation)
            align(self._ranks, self)
        validate = None if fit.validation is None else partial(evaluate, self.net, fit.validation, self.metrics,
                                                               ranks=self._ranks)
        own = fit.callbacks if self._leads else ()
        heads = Heads(self.net, self._scaled(Data((), self.net._losses(self.loss))))
        with self._failing_together(), self._running(own, lead):
            total = None if fit.source.per_epoch is None else fit.epochs * fit.source.per_epoch
            with progress_bar(total, fit.epochs, self.epoch + 1, self._leads and progress) as bar:
                EpochLoop(self, fit.source, validate, self._diverged, own, bar, every_of(fit.callbacks), lead, heads,
                          fit.measure).run(fit.epochs)
        return self.history

    def _prepared(self, X: Any, y: Any, epochs: Any, batch_size: Any, shuffle: Any, validation_data: Any,
                  validation_split: Any, sample_weight: Any, callbacks: Any, drop_last: Any, accumulate: Any,
                  train_metrics: bool) -> _Fit:
        """Check all that fit is given."""
        accumulate = count("fit", "accumulate", accumulate)
        if accumulate > 1 and self._ranks is not None:
            raise ValueError(f"fit: accumulate is {accumulate}, but the trainer has a comm; give a larger batch_size")
        epochs, called = count("fit", "epochs", epochs), as_callbacks(callbacks)
        batch_size = count("fit", "batch_size", batch_size)
        drop_last = flag("fit", "drop_last", drop_last)
        order = shuffle if callable(shuffle) else flag("fit", "shuffle", shuffle)
        source: Source
        if y is None:
            if validation_split or sample_weight is not None or drop_last:
                raise ValueError("fit: y is missing; give the targets, or, to train on batches, leave out "
                                 "validation_split, sample_weight and drop_last: a batch may be (x, y, sample_weight)")
            validation = self._validation(validation_data)
            several = self.net._ins.several
            tally = self._tally_shape(train_metrics and accumulate == 1, validation is not None)
            source = BatchSource(X, several, self._step, tally, accumulate, self._step_of_several) \
                if self._ranks is None else RankBatches(X, several, self._shared_step, tally, self._ranks)
        else:
            data, chosen, validation = self._balanced(
                *self._split(X, y, sample_weight, validation_data, validation_split))
            together = accumulate > 1
            train = partial(self._train_together, batch_size) if together else self._train
            tally = None if together else self._tally_shape(train_metrics, validation is not None)
            source = arrays = ArraySource(data, chosen, batch_size * accumulate, order, drop_last, self.net.seed,
                                          self._update, train, tally)
            self._check_last(arrays)
        measured = partial(measure, self.net, arrays.trained(), self.metrics) \
            if y is not None and self.metrics and train_metrics else None
        return _Fit(source, validation, called, epochs, measured)

    @property
    def _leads(self) -> bool:
        """Whether this is the rank that calls callbacks and writes files."""
        return self._ranks is None or self._ranks.leads

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

    def evaluate(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None,
                 batch_size: int | None = None) -> dict[str, float]:
        """Compute the loss and the metrics of labelled data, without training.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`; without y, batches (x, y) or (x, y, sample_weight), which are taken together.
        batch_size : int, optional
            Rows run together; about a thousand by default. The result does not depend on it.

        Returns
        -------
        dict
            ``"loss"``, for classification ``"accuracy"`` (``"accuracy_0"``, … with several outputs), and the metrics.
        """
        size = None if batch_size is None else count("evaluate", "batch_size", batch_size)
        data = joined([self._data(*batch) for batch in batches_of(X)]) if y is None else self._data(X, y, sample_weight)
        return evaluate(self.net, data, self.metrics, size)

    def predict(self, X: Any, batch_size: int | None = None) -> Outputs:
        """Return the network's outputs, as :meth:`fastbp.Network.predict` does."""
        return self.net.predict(X, batch_size)

    def predict_proba(self, X: Any, batch_size: int | None = None) -> Outputs:
        """Return probabilities, made of outputs that are logits, as the loss of each says; other outputs as they are.

        Parameters
        ----------
        X, batch_size
            As in :meth:`fastbp.Network.predict`.

        Raises
        ------
        ValueError
            Where no loss is one of classes or of yes-or-no answers.

        Examples
        --------
        >>> import fastbp as fb
        >>> trainer = fb.Trainer(fb.Sequential(fb.Linear(2, 3), seed=0), "binary_cross_entropy", "adam")
        >>> trainer.predict_proba([[0.0, 0.0]]).tolist()
        [[0.5, 0.5, 0.5]]
        """
        links = ["softmax" if isinstance(loss, CrossEntropy) else "sigmoid" if isinstance(loss, BinaryCrossEntropy)
                 else "" for loss in self.net._losses(self.loss)]
        if not any(links):
            raise ValueError(f"predict_proba: the loss is {self.loss!r}, which has no probabilities; use predict, or "
                             "net.predict_proba(X, link=…)")
        outputs = self.net._outs.several("y", self.net.predict(X, batch_size))
        return self.net._outs.handed([LINKS[link](y) if link else y for link, y in zip(links, outputs, strict=True)])

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
               metrics: Metrics | None = None, backend: BackendName = "native", layers: Sequence[type[Any]] = (),
               comm: Any = None, sync_batch_norm: bool = True) -> Trainer:
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
        trainer = cls(state.net, state.loss, state.optimizer, loss_weights=state.loss_weights, metrics=metrics,
                      clip_norm=state.clip_norm, clip_value=state.clip_value, parameters=state.parameters, comm=comm,
                      sync_batch_norm=sync_batch_norm)
        trainer._restore(state)
        return trainer

    def _state(self) -> TrainingState:
        from fastbp.training.checkpoint import TrainingState
        update = self._update
        return TrainingState(self.net, self.loss, self.optimizer, update.step, tuple(update.state), self.clip_norm,
                             self.clip_value, list(self.history),
                             [(type(c).__name__, c.state_dict()) for c in self.callbacks], update.parameters,
                             self.loss_weights)

    def _restore(self, state: TrainingState) -> None:
        self._update.step = state.step
        for own, array in zip(self._update.state, state.arrays, strict=True):
            own[...] = array
        self.history, self.resumed_callbacks = History(state.history), state.callbacks

    def __repr__(self) -> str:
        return (f"Trainer({self.net!r}, loss={self.loss!r}, optimizer={self.optimizer!r}, {len(self.history)} epochs "
                "done)")

    # ---- mini-batches -----------------------------------------------------------------------------------------------

    def find_lr(self, X: Any, y: Any, *, lowest: float = 1e-6, highest: float = 10.0, steps: int = 100,
                batch_size: int = 32) -> LearningRateSearch:
        """Find a learning rate to begin with: train a copy with rising rates, and see where the loss falls fastest.

        Parameters
        ----------
        X, y
            As in :meth:`fit`.
        lowest, highest : float, default 1e-6, 10.0
        steps : int, default 100
            Mini-batches in all; it stops earlier where the loss rises to four times the lowest.
        batch_size : int, default 32

        Returns
        -------
        LearningRateSearch
            ``.lr`` is the suggestion, ``.plot()`` the picture. The trainer and its network stay as they were.

        Examples
        --------
        >>> import numpy as np
        >>> import fastbp as fb
        >>> X = np.linspace(-1, 1, 256)[:, None]
        >>> trainer = fb.Trainer(fb.Sequential(fb.Linear(1, 1), seed=0), fb.MSE(), fb.SGD())
        >>> trainer.lr = trainer.find_lr(X, 3 * X).lr
        >>> 0.001 < trainer.lr < 10
        True
        """
        data = self._balanced(self._data(X, y, None), None, None)[0]
        work = copy.deepcopy(self)

        def step(batch: Data, lr: float) -> float:
            losses = np.empty(1)
            try:
                work._train(batch, None, batch.rows, np.array([lr]), losses, None, None)
            finally:
                work.net._release()
            return float(losses[0])
        return search(step, data, self.net.seed, lowest, highest, steps, batch_size)

    def _tally_shape(self, train_metrics: bool, validated: bool) -> tuple[int, int] | None:
        """Return the shape of what is noted of each mini-batch beside its loss, if anything is."""
        losses = self.net._losses(self.loss)
        asked = train_metrics and (validated or self._asked) and any(loss.counts_right for loss in losses)
        return (len(losses), 2) if asked or len(losses) > 1 else None

    def _balanced(self, data: Data, chosen: Array | None,
                  validation: Data | None) -> tuple[Data, Array | None, Data | None]:
        """Return the same with losses that know what they work out from all rows that are trained on."""
        rows = slice(None) if chosen is None else chosen
        weight = None if data.sample_weight is None else data.sample_weight[rows]
        losses = tuple(loss.balanced(target[rows], weight).fitted(t.shape) for loss, target, t in
                       zip(data.losses, data.targets, self.net.graph.outputs, strict=False))
        if all(new is old for new, old in zip(losses, data.losses, strict=False)):
            return data, chosen, validation
        self._loss = given.handed(self.net, losses)
        return (replace(data, losses=losses), chosen,
                None if validation is None else replace(validation, losses=losses))

    def _follow(self, schedule: str, per_epoch: int | None, epochs: int) -> None:
        """Let the learning rate follow a schedule for so many epochs."""
        if per_epoch is None:
            raise ValueError(f"fit: schedule is {schedule!r}, but X does not tell its length; give batches that have "
                             "one, such as a list, or a schedule to the optimizer")
        self.optimizer.lr = named_schedule("fit", schedule, self.lr, self._update.step, epochs * per_epoch)

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
        data = self._data(X, y, sample_weight)
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
        if not isinstance(given, tuple) and hasattr(given, "__iter__") and not hasattr(given, "dtype") \
                and not isinstance(given, str | dict) \
                and not (isinstance(given, list) and len(given) in (2, 3) and not isinstance(given[0], tuple)):
            return joined([self._data(*batch) for batch in batches_of(given)])
        if not isinstance(given, list | tuple) or len(given) not in (2, 3):
            raise ValueError("fit: validation_data is not a tuple (X, y) or (X, y, sample_weight)")
        try:
            data = self._data(given[0], given[1], given[2] if len(given) > 2 else None)
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
