"""Many small networks trained at once: sweeps and ensembles on one machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Any

from fastbp.core.checks import flag
from fastbp.engine.cpu import get_num_threads
from fastbp.training.callback import Callback
from fastbp.training.history import History
from fastbp.training.progress import counting_bar
from fastbp.training.trainer import Trainer

CallbacksOf = Callable[[int], Sequence[Callback]]
"""Returns the callbacks of the trainer of this number."""


def fit_many(trainers: Sequence[Trainer], X: Any, y: Any = None, *, callbacks: CallbacksOf | None = None,
             progress: bool = True, **options: Any) -> list[History]:
    """Train many networks at once, each by its own trainer, on the same data.

    As many are trained side by side as fastbp uses threads (:func:`fastbp.set_num_threads`); each runs whole epochs
    without Python. Every one comes out as ``trainer.fit(X, y, …)`` alone would leave it, to the bit: networks with
    seeds of their own see the rows in orders of their own.

    Parameters
    ----------
    trainers : sequence of Trainer
        With a network each.
    X, y
        As in :meth:`fastbp.Trainer.fit`; batches in a list, where y is left out.
    callbacks : function, optional
        ``callbacks(i)`` returns those of trainer i, whose hooks are called in the thread that trains it.
    progress : bool, default True
        Whether to show a bar that counts the trainers.
    **options
        Whatever else :meth:`fastbp.Trainer.fit` takes, such as epochs and batch_size.

    Returns
    -------
    list of History

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit, or networks that share parameters.
    Exception
        Whatever a trainer raises, such as DivergenceError, once the others have ended: the first of several, with a
        note that says whose it is.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> nets = [fb.Sequential(fb.Linear(1, 8), fb.Tanh(), fb.Linear(8, 1), seed=i) for i in range(4)]
    >>> histories = fb.fit_many([fb.Trainer(net, fb.MSE(), fb.Adam(0.01)) for net in nets], X, X**2, epochs=50)
    >>> max(history["loss"][-1] for history in histories) < histories[0]["loss"][0]
    True
    """
    trainers = _checked(trainers)
    if callbacks is not None and not callable(callbacks):
        raise TypeError(f"fit_many: callbacks is {callbacks!r}; expected a function of the number of a trainer that "
                        "returns its callbacks, as several threads cannot share them")
    own = [list(callbacks(i)) if callbacks is not None else [] for i in range(len(trainers))]
    errors: list[BaseException | None] = [None] * len(trainers)
    lock, shown = Lock(), flag("fit_many", "progress", progress)

    def fit(i: int) -> None:
        try:
            trainers[i].fit(X, y, callbacks=own[i], progress=False, **options)
        except BaseException as error:
            error.add_note(f"raised by trainer {i} of fit_many")
            errors[i] = error
        with lock:
            bar.update(1)

    with counting_bar(len(trainers), "net", shown) as bar, \
            ThreadPoolExecutor(min(len(trainers), get_num_threads()), "fit_many") as pool:
        _wait(trainers, [pool.submit(fit, i) for i in range(len(trainers))])
    first = next((error for error in errors if error is not None), None)
    if first is not None:
        raise first
    return [trainer.history for trainer in trainers]


def _checked(trainers: Any) -> list[Trainer]:
    found = list(trainers)
    if not found or not all(isinstance(trainer, Trainer) for trainer in found):
        raise TypeError(f"fit_many: trainers is {trainers!r}; expected a sequence of fb.Trainer")
    if len({id(trainer.net.params.flat) for trainer in found}) < len(found):
        raise ValueError("fit_many: trainers share a network; give each one of its own (net.copy())")
    return found


def _wait(trainers: Sequence[Trainer], futures: Sequence[Future[None]]) -> None:
    """Wait until all are done; Ctrl-C stops those that run, and those that have not begun never do."""
    waiting = set(futures)
    try:
        while waiting:
            waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)[1]
    except BaseException:
        for future in futures:
            future.cancel()
        for trainer in trainers:
            trainer.stop = True
        raise
