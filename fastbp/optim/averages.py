r"""Averages of the parameters over training: exponential (EMA), or of all alike (stochastic weight averaging, SWA).

Polyak and Juditsky (1992), https://doi.org/10.1137/0330046; Izmailov et al. (2018), https://arxiv.org/abs/1803.05407.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastbp.core.checks import number
from fastbp.ops.base import Array
from fastbp.optim.optimizers import OnItsOwn, Trained, trained_of


class ParameterAverage:
    r"""An average of a network's parameters, for training loops of one's own.

    With a decay β, :math:`s_t = β s_{t-1} + (1 - β) p_t` from :math:`s_0 = 0`, and the average is
    :math:`s_t / (1 - β^t)`; without one, it is the mean of all :math:`p_t`. Running statistics, as those of batch
    normalisation, are not averaged.

    Parameters
    ----------
    net : Network
    decay : float, optional
        β, from 0 to below 1; None weighs all alike.

    Attributes
    ----------
    average : array or None
        As long as ``net.params.flat``, in float64; None before the first :meth:`update`.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(1.0)), backend="reference")
    >>> mean = fb.ParameterAverage(net)
    >>> for weight in (1.0, 3.0):
    ...     net.params["0.weight"][...] = weight
    ...     mean.update()
    >>> with mean.applied():
    ...     net.predict([[1.0]])
    array([[2.]], dtype=float32)
    >>> net.predict([[1.0]])
    array([[3.]], dtype=float32)
    """

    def __init__(self, net: Trained | OnItsOwn, decay: float | None = None) -> None:
        self.net = trained_of("ParameterAverage", net)
        self.decay = None if decay is None else number("ParameterAverage", "decay", decay,
                                                       "a number from 0 to below 1, or None", lambda d: 0 <= d < 1)
        self._sum, self._looks = np.zeros(self.net.memory.params.flat.size), 0

    @property
    def average(self) -> Array | None:
        """The average so far."""
        if not self._looks:
            return None
        return np.asarray(self._sum / (self._looks if self.decay is None else 1 - self.decay**self._looks))

    def update(self) -> None:
        """Look at the parameters as they are now."""
        if self.decay is None:
            self._sum += self.net.memory.params.flat
        else:
            self._sum *= self.decay
            self._sum += (1 - self.decay) * self.net.memory.params.flat
        self._looks += 1

    def apply(self) -> None:
        """Give the network the average; its frozen parameters stay as they are, to the bit.

        Raises
        ------
        RuntimeError
            Before the first update.
        """
        average, memory = self.average, self.net.memory
        if average is None:
            raise RuntimeError("ParameterAverage: there is no average yet; call update() after each step")
        for name, size in memory.trained:
            part = slice(memory.params.offsets[name], memory.params.offsets[name] + size)
            memory.params.flat[part] = average[part]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the network the average within a ``with``, and its own parameters back after it."""
        own = self.net.memory.params.flat.copy()
        self.apply()
        try:
            yield
        finally:
            self.net.memory.params.flat[...] = own

    def state_dict(self) -> dict[str, Any]:
        """Return what it remembers."""
        return {"sum": self._sum.copy(), "looks": self._looks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what it remembered."""
        self._sum, self._looks = np.array(state["sum"], np.float64), int(state["looks"])
