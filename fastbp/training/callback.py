"""What a callback is, and what it sees of the training that calls it.

A callback is a :class:`Callback` with some of its methods overridden. Each gets the trainer, as :class:`Training`
describes it; ``trainer.stop = True`` ends training after the epoch, or between two mini-batches when set by
`on_batch_end` or `on_progress`. Callbacks are called in the order they were given.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

from fastbp.core.checks import count
from fastbp.core.words import Worded
from fastbp.network import Network
from fastbp.optim.optimizers import Optimizer, Update
from fastbp.optim.schedules import Schedule
from fastbp.training.history import History

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Logs = dict[str, float]
"""An epoch's entries of the history."""

HOOKS = ("on_fit_begin", "on_epoch_begin", "on_batch_end", "on_progress", "on_epoch_end", "on_fit_end")


class Training(Protocol):
    """What trains, as callbacks see it: a :class:`fastbp.Trainer`.

    Attributes
    ----------
    net : Network
    loss : Loss, or a tuple of them
    optimizer : Optimizer
    history : History
    stop : bool
        Set to True, it ends training.
    callbacks : tuple of Callback
        Those of the running fit.
    """

    history: History
    stop: bool
    callbacks: tuple[Callback, ...]

    @property
    def net(self) -> Network: ...

    @property
    def loss(self) -> Any: ...

    @property
    def optimizer(self) -> Optimizer: ...

    @property
    def update(self) -> Update:
        """The optimizer's state for this network."""

    @property
    def lr(self) -> float:
        """The learning rate of the next update. A number or a schedule may be assigned."""

    @lr.setter
    def lr(self, lr: float | Schedule) -> None: ...

    @property
    def epoch(self) -> int:
        """Epochs done so far."""

    def evaluate(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None,
                 batch_size: int | None = None) -> dict[str, float]:
        """Compute the loss and the metrics of labelled data."""

    def save_checkpoint(self, path: str | PathLike[str]) -> None:
        """Write all that training needs to go on to a file."""


class Callback(Worded):
    """Does nothing; override what is wanted.

    Attributes
    ----------
    every : int or None
        Updates from one `on_batch_end` to the next: 1 in a class that overrides it and says nothing else; None never
        calls it. An epoch is one call of the compiled core, which this cuts into pieces: ask for no more of them than
        needed.

    Raises
    ------
    TypeError
        When a class is derived that has a method on_… other than those below: it would never be called.

    Examples
    --------
    >>> class PrintLoss(Callback):
    ...     def on_epoch_end(self, trainer, epoch, logs):
    ...         print(epoch, logs["loss"])
    """

    every: int | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        unknown = [name for name in vars(cls) if name.startswith("on_") and name not in HOOKS]
        if unknown:
            raise TypeError(f"{cls.__name__}: there is no hook {unknown[0]!r}; there are {', '.join(HOOKS)}")
        if "on_batch_end" in vars(cls) and cls.every is None:
            cls.every = 1

    def on_fit_begin(self, trainer: Training) -> None:
        """Before the first epoch, all arguments having been found right."""

    def on_epoch_begin(self, trainer: Training, epoch: int) -> None:
        """Before an epoch, counted from 1. A learning rate set here holds for the whole epoch."""

    def on_batch_end(self, trainer: Training, batch: int) -> None:
        """After every so many updates (see `every`); `batch` mini-batches of the epoch are done."""

    def on_progress(self, trainer: Training, batch: int) -> None:
        """Between mini-batches, now and then, as the backend sees fit; `batch` of the epoch are done."""

    def on_epoch_end(self, trainer: Training, epoch: int, logs: Logs) -> None:
        """After an epoch and its validation, but not one cut short. What is added to logs is added to the history."""

    def on_fit_end(self, trainer: Training) -> None:
        """At the end of training, whatever ended it: the last epoch, ``trainer.stop``, an error, Ctrl-C."""

    def state_dict(self) -> dict[str, Any]:
        """Return what it remembers, for a checkpoint: numbers, text, arrays, or dicts of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what it remembered: called after `on_fit_begin` when training is resumed from a checkpoint."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Lambda(Callback):
    """A callback made of functions, each with the arguments of the method it stands for.

    Parameters
    ----------
    on_fit_begin, on_epoch_begin, on_batch_end, on_progress, on_epoch_end, on_fit_end : function, optional
    every : int, optional
        As in :class:`Callback`; 1 where `on_batch_end` is given and this is not.

    Examples
    --------
    >>> lines = []
    >>> note = Lambda(on_epoch_end=lambda trainer, epoch, logs: lines.append(logs["loss"]))
    """

    def __init__(self, *, every: int | None = None, **hooks: Callable[..., Any]) -> None:
        for name, function in hooks.items():
            if name not in HOOKS:
                raise TypeError(f"Lambda: there is no hook {name!r}; there are {', '.join(HOOKS)}")
            if not callable(function):
                raise TypeError(f"Lambda: {name} is {function!r}; expected a function")
            setattr(self, name, function)
        if every is not None:
            self.every = count("Lambda", "every", every)
        elif "on_batch_end" in hooks:
            self.every = 1


def as_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """Check a list of callbacks."""
    if not isinstance(callbacks, list | tuple):
        raise TypeError(f"fit: callbacks is {callbacks!r}; expected a list")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            what = f"the class {callback.__name__}" if isinstance(callback, type) else repr(callback)
            raise TypeError(f"fit: callbacks holds {what}; expected instances of fb.callbacks.Callback")
        if callback.every is not None:
            count(type(callback).__name__, "every", callback.every)
    return tuple(callbacks)
