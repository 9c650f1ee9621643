"""Averages of parameters over ranks that train apart: for networks between machines that are slow."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fastbp.core.checks import count
from fastbp.engine.ranks import as_ranks
from fastbp.training.callback import Callback, Training


class AverageParameters(Callback):
    """Lets each rank train on data of its own, and averages their networks now and then.

    Give it to :meth:`fastbp.Trainer.fit` of a trainer without ``comm``: every rank takes steps of its own, and after
    every so many, and at the end, the parameters and running statistics become the mean over all ranks. The state of
    the optimizer stays each rank's own. Local SGD; Stich (2019), https://arxiv.org/abs/1805.09767.

    A rank that ends before the others goes on giving and taking averages until all have ended; one that raises ends
    all.

    Parameters
    ----------
    comm : communicator
        As in :class:`fastbp.Trainer`.
    every : int, default 20
        Updates from one average to the next.

    Raises
    ------
    RankError
        While training, if another rank has failed.
    ValueError
        When training begins, for a trainer that has a ``comm`` itself, or ranks with different networks.

    Examples
    --------
    >>> class Alone:
    ...     rank, size = 0, 1
    ...     def sum(self, array):
    ...         return array
    >>> average = AverageParameters(Alone(), every=20)
    """

    def __init__(self, comm: Any, every: int = 20) -> None:
        self._ranks = as_ranks("AverageParameters", comm)
        self.every = count("AverageParameters", "every", every)

    def on_fit_begin(self, trainer: Training) -> None:
        if getattr(trainer, "_ranks", None) is not None:
            raise ValueError("AverageParameters: the trainer has a comm itself, and so one network on all ranks; give "
                             "comm to one of the two")
        if self._ranks is None:
            return
        size = np.array([float(trainer.net.params.flat.size)])
        if self._ranks.sum(size.copy())[0] != self._ranks.size * size[0]:
            error = ValueError("AverageParameters: comm joins ranks with different networks; this one has "
                               f"{trainer.net!r}")
            self._ranks.settle(error)
            raise error
        self._ranks.broadcast(trainer.net.params.flat)
        self._ranks.broadcast(trainer.net.buffers.flat)

    def on_batch_end(self, trainer: Training, batch: int) -> None:
        if self._ranks is not None:
            self._average(trainer, True)

    def on_fit_end(self, trainer: Training) -> None:
        if self._ranks is None:
            return
        raised = sys.exc_info()[1]
        if raised is not None:
            self._ranks.fail(raised)
            return
        while self._average(trainer, False):
            pass

    def _average(self, trainer: Training, training: bool) -> bool:
        """Take the mean over all ranks; return whether any of them goes on training."""
        assert self._ranks is not None
        sums = self._ranks.sum(np.array([float(training), 0.0, 0.0]))
        if sums[1]:
            self._ranks.hear()
        for array in (trainer.net.params.flat, trainer.net.buffers.flat):
            self._ranks.sum(array)
            array /= self._ranks.size
        return bool(sums[0])

    def __repr__(self) -> str:
        return f"AverageParameters(every={self.every})"
