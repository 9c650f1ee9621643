"""Callbacks that come with fastbp: early stopping, checkpoints, learning rates, logs, averages.

What a callback is, and how to write one, is in :mod:`fastbp.training.callback`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar, TextIO

import numpy as np

from fastbp.core.checks import count, file_to_write, number
from fastbp.ops.base import Array
from fastbp.optim.averages import ParameterAverage
from fastbp.optim.schedules import ConstantSchedule, Plateau, ReduceOnPlateau
from fastbp.training.averaging import AverageParameters
from fastbp.training.callback import HOOKS, Callback, Lambda, Logs, Training
from fastbp.training.metrics import METRICS
from fastbp.training.progress import in_notebook
from fastbp.training.pruning import OptunaPruning

__all__ = ["HOOKS", "AverageParameters", "CSVLogger", "Callback", "EarlyStopping", "ExponentialMovingAverage", "Lambda",
           "LearningRateSchedule", "LivePlot", "Logs", "ModelCheckpoint", "OptunaPruning", "ReduceLROnPlateau",
           "StochasticWeightAverage", "StopOnTime",
           "TensorBoard", "Training"]


class _Monitor:
    """An entry of the history, and whether lower or higher is better.

    Without a name it is the validation loss or, where nothing is validated, the loss.
    """

    def __init__(self, owner: str, name: str | None, mode: str | None) -> None:
        self.owner, self.name = owner, name
        self.mode = _direction(owner, name) if mode is None else mode

    def value(self, logs: Logs) -> float:
        """Return the entry of this epoch."""
        if self.name is None:
            return logs.get("val_loss", logs["loss"])
        if self.name not in logs:
            mend = "; give validation_data or validation_split" if self.name.startswith("val_") else ""
            raise ValueError(f"{self.owner}: monitor is {self.name!r}; the history has {', '.join(logs)}{mend}")
        return logs[self.name]


def _direction(owner: str, name: str | None) -> str:
    """Return whether lower or higher is better, of the entries whose meaning is known."""
    if name is None or name in ("loss", "val_loss"):
        return "min"
    known = re.fullmatch(rf"(?:val_)?({'|'.join(METRICS)}|loss)(?:_\d+)?", name)
    if known is not None:
        return "max" if known[1] != "loss" and METRICS[known[1]].maximised else "min"
    raise ValueError(f"{owner}: monitor is {name!r}, of which only you know whether lower or higher is better; give "
                     'mode="min" or mode="max"')


class EarlyStopping(Callback):
    """Stops when the monitored value has not got better for some epochs, and gives the best parameters back.

    Parameters
    ----------
    monitor : str, optional
        An entry of the history; by default ``"val_loss"`` or, without validation, ``"loss"``.
    patience : int, default 10
        Epochs without a better value that are borne.
    min_delta : float, default 0.0
        A value is better if it is so by more than this.
    mode : {"min", "max"}, optional
        Whether lower or higher is better. Must be given but for fastbp's own entries: losses and errors are minimised,
        and accuracies (``"val_accuracy"``, ``"val_accuracy_0"``, …) and metrics such as ``"val_auc"`` maximised.
    restore_best : bool, default True
        Whether the network gets the parameters and buffers of the best epoch at the end, whatever ended the training.

    Attributes
    ----------
    best_epoch : int
        0 before the first.
    best : float
    stopped_epoch : int or None
        Where it stopped, if it did.
    """

    words: ClassVar[Mapping[str, str]] = {"restore_best_weights": "restore_best="}

    def __init__(self, monitor: str | None = None, patience: int = 10, min_delta: float = 0.0, mode: str | None = None,
                 restore_best: bool = True) -> None:
        self.monitor, self.restore_best = monitor, bool(restore_best)
        self.patience = count("EarlyStopping", "patience", patience, at_least=0)
        self._monitor = _Monitor("EarlyStopping", monitor, mode)
        self._plateau = Plateau("EarlyStopping", self._monitor.mode, min_delta)
        self._state: dict[str, Array] | None = None
        self.best_epoch, self.stopped_epoch = 0, None  # type: tuple[int, int | None]

    @property
    def best(self) -> float:
        """The best value so far."""
        return self._plateau.best

    def on_fit_begin(self, trainer: Training) -> None:
        self._plateau.reset()
        self._state, self.best_epoch, self.stopped_epoch = None, 0, None

    def on_epoch_end(self, trainer: Training, epoch: int, logs: Logs) -> None:
        if self._plateau.observe(self._monitor.value(logs)):
            self.best_epoch = epoch
            if self.restore_best:
                self._state = trainer.net.state_dict()
        elif self._plateau.waited > self.patience:
            self.stopped_epoch = epoch
            trainer.stop = True

    def on_fit_end(self, trainer: Training) -> None:
        if self._state is not None:
            trainer.net.load_state_dict(self._state)
            self._state = None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self._plateau.waited, "best_epoch": self.best_epoch, "net": self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._plateau.best, self._plateau.waited = state["best"], state["waited"]
        self.best_epoch, self._state = state["best_epoch"], state["net"]

    def __repr__(self) -> str:
        return (f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience}, "
                f"min_delta={self._plateau.min_delta}, mode={self._plateau.mode!r}, restore_best={self.restore_best})")


class ReduceLROnPlateau(Callback):
    """Multiplies the learning rate by a factor when the monitored value has not got better for some epochs.

    As :class:`~fastbp.schedules.ReduceOnPlateau`, for any entry of the history, beginning with the learning rate that
    the optimizer has.

    Parameters
    ----------
    monitor, mode
        As in :class:`EarlyStopping`.
    factor, patience, min_delta, cooldown, min_lr
        As in :class:`~fastbp.schedules.ReduceOnPlateau`.

    Raises
    ------
    ValueError
        When training begins with a learning rate that follows a schedule already.
    """

    def __init__(self, monitor: str | None = None, factor: float = 0.1, patience: int = 10, min_delta: float = 1e-4,
                 cooldown: int = 0, min_lr: float = 0.0, mode: str | None = None) -> None:
        self.monitor = monitor
        self._monitor = _Monitor("ReduceLROnPlateau", monitor, mode)
        self._arguments = (factor, patience, min_delta, cooldown, min_lr, self._monitor.mode)
        self._schedule = ReduceOnPlateau(1.0, *self._arguments)

    def on_fit_begin(self, trainer: Training) -> None:
        lr = trainer.optimizer.lr
        if not isinstance(lr, ConstantSchedule):
            raise ValueError(f"ReduceLROnPlateau: the optimizer's lr is {lr!r}; expected a number, not a schedule")
        self._schedule = ReduceOnPlateau(lr.lr, *self._arguments)

    def on_epoch_end(self, trainer: Training, epoch: int, logs: Logs) -> None:
        before = self._schedule.lr
        self._schedule.observe(self._monitor.value(logs))
        if self._schedule.lr != before:
            trainer.optimizer.lr = self._schedule.lr

    def state_dict(self) -> dict[str, Any]:
        return self._schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._schedule.load_state_dict(state)


class LearningRateSchedule(Callback):
    """Sets the learning rate of each epoch: ``lr = function(epoch, lr)``, the epoch counted from 1.

    Examples
    --------
    >>> halved = LearningRateSchedule(lambda epoch, lr: lr / 2 if epoch > 10 else lr)
    """

    def __init__(self, function: Callable[[int, float], float]) -> None:
        if not callable(function):
            raise TypeError(f"LearningRateSchedule: function is {function!r}; expected function(epoch, lr) -> lr")
        self.function = function

    def on_epoch_begin(self, trainer: Training, epoch: int) -> None:
        trainer.optimizer.lr = self.function(epoch, trainer.lr)


class StopOnTime(Callback):
    """Stops after so many seconds, between two mini-batches if need be; an epoch cut short is not in the history."""

    def __init__(self, seconds: float) -> None:
        self.seconds = number("StopOnTime", "seconds", seconds, "a number above 0", lambda s: s > 0)
        self._end = 0.0

    def on_fit_begin(self, trainer: Training) -> None:
        self._end = time.monotonic() + self.seconds

    def on_progress(self, trainer: Training, batch: int) -> None:
        if time.monotonic() >= self._end:
            trainer.stop = True

    def on_epoch_end(self, trainer: Training, epoch: int, logs: Logs) -> None:
        self.on_progress(trainer, 0)


class CSVLogger(Callback):
    """Writes the history to a CSV file, a line as soon as an epoch ends.

    Parameters
    ----------
    path : path
    append : bool, default False
        Whether to go on with a file that is there; its columns must be the same.

    Raises
    ------
    OSError
        When training begins, if the file cannot be written.
    """

    def __init__(self, path: str | PathLike[str], append: bool = False) -> None:
        self.path, self.append = Path(path), bool(append)
        self._file: TextIO | None = None
        self._columns: list[str] = []

    def on_fit_begin(self, trainer: Training) -> None:
        import csv  # with what it needs, a good part of the time that importing fastbp takes
        self._columns = []
        file_to_write("CSVLogger: path", self.path)
        if self.append and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as old:
                self._columns = next(csv.reader(old), [])
        self._file = self.path.open("a" if self.append else "w", newline="", encoding="utf-8")

    def on_epoch_end(self, trainer: Training, epoch: int, logs: Logs) -> None:
        if self._file is None:
            return
        import csv
        writer = csv.writer(self._file)
        if not self._columns:
            self._columns = list(logs)
            writer.writerow(self._columns)
        if self._columns != list(logs):
            raise ValueError(f"CSVLogger: {self.path} has the columns {', '.join(self._columns)}; the history has "
                             f"{', '.join(logs)}. Give another path, or append=False")
        writer.writerow(logs.values())
        self._file.flush()

    def on_fit_end(self, trainer: Training) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Averaging(Callback):
    """Averages the parameters while a network trains; the network gets the average at the end."""

    def __init__(self, decay: float | None, overwrite: bool) -> None:
        self.decay, self.overwrite = decay, bool(overwrite)
        self._average: ParameterAverage | None = None

    def _beta(self) -> float | None:
        return self.decay

    @property
    def average(self) -> Array | None:
        """The average so far, in float64."""
        return None if self._average is None else self._average.average

    def on_fit_begin(self, trainer: Training) -> None:
        self._average = ParameterAverage(trainer.net, self._beta())

    def on_fit_end(self, trainer: Training) -> None:
        if self.overwrite and self._average is not None and self._average.average is not None:
            self._average.apply()

    def state_dict(self) -> dict[str, Any]:
        return {} if self._average is None else self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._average is not None:
            self._average.load_state_dict(state)


class ExponentialMovingAverage(_Averaging):
    r"""Averages the parameters over the updates, the newest weighing most; the network gets the average at the end.

    After update t, :math:`s_t = β s_{t-1} + (1 - β) p_t` from :math:`s_0 = 0`, and the average is
    :math:`s_t / (1 - β^t)`, as in Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980, section 7.2). Without
    `fit`: :class:`fastbp.ParameterAverage`.

    Parameters
    ----------
    decay : float, default 0.999
        β, from 0 to below 1.
    every : int, default 1
        Updates from one look at the parameters to the next, each with the decay :math:`β^{every}`.
    overwrite : bool, default True
        Whether the network gets the average when training ends; False leaves it to the user.

    Attributes
    ----------
    average : array or None
        As long as ``net.params.flat``; None before the first update.
    """

    def __init__(self, decay: float = 0.999, every: int = 1, overwrite: bool = True) -> None:
        name = "ExponentialMovingAverage"
        super().__init__(number(name, "decay", decay, "a number from 0 to below 1", lambda d: 0 <= d < 1), overwrite)
        self.every = count(name, "every", every)

    def _beta(self) -> float:
        return float((self.decay or 0.0) ** (self.every or 1))

    def on_batch_end(self, trainer: Training, batch: int) -> None:
        if self._average is not None:
            self._average.update()


class StochasticWeightAverage(_Averaging):
    """Averages the parameters after each epoch, all alike: stochastic weight averaging (SWA).

    The network gets the average at the end. Izmailov et al. (2018), https://arxiv.org/abs/1803.05407. Running
    statistics, as those of batch normalisation, stay as training left them. Without `fit`:
    :class:`fastbp.ParameterAverage`.

    Parameters
    ----------
    start_epoch : int, default 1
        The first epoch, counted from 1, whose parameters count.
    every_epochs : int, default 1
    decay : float, optional
        Weighs later epochs more, as in :class:`ExponentialMovingAverage`.
    overwrite : bool, default True
        Whether the network gets the average when training ends; False leaves it to the user.

    Attributes
    ----------
    average : array or None
        As long as ``net.params.flat``; None before the first such epoch.

    Examples
    --------
    >>> late = StochasticWeightAverage(start_epoch=15)
    """

    def __init__(self, start_epoch: int = 1, every_epochs: int = 1, decay: float | None = None,
                 overwrite: bool = True) -> None:
        name = "StochasticWeightAverage"
        super().__init__(None if decay is None else number(name, "decay", decay, "a number from 0 to below 1, or None",
                                                           lambda d: 0 <= d < 1), overwrite)
        self.start_epoch = count(name, "start_epoch", start_epoch)
        self.every_epochs = count(name, "every_epochs", every_epochs)

    def on_epoch_end(self, trainer: Training, epoch: int, logs: Logs) -> None:
        late = epoch - self.start_epoch
        if late >= 0 and late % self.every_epochs == 0 and self._average is not None:
            self._average.update()


class LivePlot(Callback):
    """Draws the history while training goes on: in a notebook in place, and into a file where a path is given.

    Parameters
    ----------
    path : path, optional
        A picture that is replaced after each epoch drawn: ``.png``, ``.svg`` or what else matplotlib writes.
    every_epochs : int, default 1
        Epochs from one drawing to the next; the last one of a fit is always drawn.

    Raises
    ------
    ImportError
        Without matplotlib, when training begins.
    ValueError
        When training begins outside of a notebook, and there is no path.

    Examples
    --------
    >>> to_file = LivePlot("training.png", every_epochs=10)
    """

    def __init__(self, path: str | PathLike[str] | None = None, every_epochs: int = 1) -> None:
        self.path = None if path is None else Path(path)
        self.every_epochs = count("LivePlot", "every_epochs", every_epochs)
        self._handle: Any = None
        self._drawn = 0

    def on_fit_begin(self, trainer: Training) -> None:
        if self.path is not None:
            file_to_write("LivePlot: path", self.path)
        elif not in_notebook():
            raise ValueError("LivePlot: this is no notebook, and path is None; give the file to draw into, such as "
                             'LivePlot("training.png")')
        from fastbp.views import plots
        plots.available()
        self._handle, self._drawn = None, 0

    def on_epoch_end(self, trainer: Training, epoch: int, logs: Logs) -> None:
        if epoch % self.every_epochs == 0:
            self._draw(trainer)

    def on_fit_end(self, trainer: Training) -> None:
        if len(trainer.history) and self._drawn != trainer.epoch:
            self._draw(trainer)

    def _draw(self, trainer: Training) -> None:
        figure, self._drawn = trainer.history.plot(), trainer.epoch
        if self.path is not None:
            figure.savefig(self.path)
        if in_notebook():
            if self._handle is None:
                self._handle = import_module("IPython.display").display(figure, display_id=True)
            else:
                self._handle.update(figure)


class ModelCheckpoint(Callback):
    """Writes a checkpoint after each epoch, or after those in which the monitored value got better.

    A checkpoint is what ``trainer.save_checkpoint`` writes: :meth:`fastbp.Trainer.resume` goes on with it, and
    :func:`fastbp.load` gives the network. It is replaced in one go: killed at any moment, the process leaves one that
    can be loaded.

    Parameters
    ----------
    path : path
        ``{epoch}``, ``{loss:.3f}`` and other entries of the history are filled in.
    monitor, mode, min_delta
        As in :class:`EarlyStopping`. They matter with ``best_only``.
    best_only : bool, default False
        Whether to write only when the monitored value is the best so far: in all fits that this callback is used for,
        so that a second one replaces the file by something better only. Take a new one for another network.
    every_epochs : int, default 1
        Epochs from one checkpoint to the next.

    Attributes
    ----------
    best : float
    last_path : Path or None
        Where the newest checkpoint is.

    Raises
    ------
    ValueError
        When training begins, if a callback that remembers something is called after this one: give it last, so that
        what is written is of one moment.
    OSError
        If it cannot be written; as training begins for a missing folder, unless its name has to be filled in.

    Examples
    --------
    >>> keep_all = ModelCheckpoint("run-{epoch:03d}.safetensors")
    >>> keep_best = ModelCheckpoint("best.safetensors", monitor="val_loss", best_only=True)
    """

    words: ClassVar[Mapping[str, str]] = {"save_best_only": "best_only=", "filepath": "path=", "dirpath": "path="}

    def __init__(self, path: str | PathLike[str], monitor: str | None = None, mode: str | None = None,
                 min_delta: float = 0.0, best_only: bool = False, every_epochs: int = 1) -> None:
        self.path, self.monitor, self.best_only = path, monitor, bool(best_only)
        self.every_epochs = count("ModelCheckpoint", "every_epochs", every_epochs)
        self._monitor = _Monitor("ModelCheckpoint", monitor, mode)
        self._plateau = Plateau("ModelCheckpoint", self._monitor.mode, min_delta)
        self.last_path: Path | None = None

    @property
    def best(self) -> float:
        """The best value so far."""
        return self._plateau.best

    def on_fit_begin(self, trainer: Training) -> None:
        after = trainer.callbacks[trainer.callbacks.index(self) + 1:]
        for callback in after:
            if type(callback).state_dict is not Callback.state_dict and not isinstance(callback, ModelCheckpoint):
                raise ValueError(f"ModelCheckpoint: {callback!r} comes after it, and would be written as it was an "
                                 "epoch before; give ModelCheckpoint last")
        if "{" not in str(Path(self.path).parent):
            file_to_write("ModelCheckpoint: path", self.path)

    def on_epoch_end(self, trainer: Training, epoch: int, logs: Logs) -> None:
        better = self._plateau.observe(self._monitor.value(logs))
        if epoch % self.every_epochs == 0 and (better or not self.best_only):
            path = self._path(logs)
            trainer.save_checkpoint(path)
            self.last_path = path

    def _path(self, logs: Logs) -> Path:
        values: dict[str, Any] = {**logs, "epoch": int(logs["epoch"])}
        try:
            return Path(fspath(self.path).format(**values))
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"ModelCheckpoint: path is {self.path!r}, which cannot be filled in ({error}); there are "
                             f"{', '.join(logs)}") from None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._plateau.best = state["best"]


class TensorBoard(Callback):
    """Writes the history, and histograms if wanted, as event files for TensorBoard.

    Through tensorboardX (``pip install 'fastbp[tensorboard]'``), which needs neither TensorFlow nor PyTorch.

    Parameters
    ----------
    log_dir : path
        A folder for this training; it is made.
    histograms : int, optional
        Epochs from one set of histograms of the parameters to the next; none by default.

    Raises
    ------
    ImportError
        Without tensorboardX, when training begins.
    """

    def __init__(self, log_dir: str | PathLike[str], histograms: int | None = None) -> None:
        self.log_dir = Path(log_dir)
        self.histograms = None if histograms is None else count("TensorBoard", "histograms", histograms)
        self._writer: Any = None

    def on_fit_begin(self, trainer: Training) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ImportError("callbacks.TensorBoard needs tensorboardX; install it with: "
                              "pip install 'fastbp[tensorboard]'") from None
        self._writer = SummaryWriter(str(self.log_dir))

    def on_epoch_end(self, trainer: Training, epoch: int, logs: Logs) -> None:
        for name, value in logs.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, epoch)
        if self.histograms and epoch % self.histograms == 0:
            for name, values in trainer.net.params.items():
                if np.isfinite(values).all():
                    self._writer.add_histogram(name, values.ravel(), epoch)
        self._writer.flush()

    def on_fit_end(self, trainer: Training) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
