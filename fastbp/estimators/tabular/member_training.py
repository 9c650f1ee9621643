"""Training for tables: several networks, each on all rows but those it holds out, cycle by cycle, side by side.

A :class:`Run` is one network in training; after each epoch it keeps its parameters and what it says of the rows held
out. Taken together those rows are many: they say when to stop, and which epochs are kept (:mod:`selection`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np

from fastbp.estimators.tabular.committee import Combine, outputs_of
from fastbp.estimators.tabular.member_network import Architecture, initialise, rates, stacked
from fastbp.estimators.tabular.schema import Encoded, Schema
from fastbp.network import Network
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array
from fastbp.optim.optimizers import AdamW, Segment
from fastbp.optim.schedules import ConstantSchedule, CosineCycles, FlatCosine, Schedule
from fastbp.training.callbacks import Callback, Logs
from fastbp.training.trainer import Trainer


@dataclass(frozen=True)
class Training:
    """How long and how fast.

    Attributes
    ----------
    epochs, batch_size : int
    learning_rate, weight_decay, beta2 : float
    schedule : {"coslog4", "flat_cos", "constant"}
    shared_batches : bool
        Whether all members see the same rows, as sample weights need.
    bf16 : bool
        Whether to multiply in bfloat16.
    deadline : float or None
        When to stop, as ``time.perf_counter`` counts.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    beta2: float
    schedule: str = "coslog4"
    shared_batches: bool = False
    bf16: bool = False
    deadline: float | None = None

    def rates(self, updates: int) -> Schedule:
        """Return the learning rate over all updates."""
        if self.schedule == "constant":
            return ConstantSchedule(self.learning_rate)
        return (CosineCycles if self.schedule == "coslog4" else FlatCosine)(self.learning_rate, updates)

    def cycles(self) -> list[int]:
        """Return how many epochs each cycle has."""
        if self.schedule != "coslog4":
            return [self.epochs]
        ends = sorted({max(round(end * self.epochs), 1) for end in CosineCycles(1.0, 1).ends()})
        return [end - begin for begin, end in pairwise([0, *ends])]

    def late(self) -> bool:
        """Whether time is up."""
        return self.deadline is not None and perf_counter() >= self.deadline


class Projection(Callback):
    """Keeps parameters inside of their bounds: after each update each is set to the nearest value there."""

    def __init__(self, low: Array, high: Array) -> None:
        self.low, self.high = low, high

    def on_batch_end(self, trainer: Any, batch: int) -> None:
        np.clip(trainer.net.params.flat, self.low, self.high, out=trainer.net.params.flat)


def projections(architecture: Architecture, net: Network) -> list[Callback]:
    """Return what keeps a network monotone: nothing where it need not be."""
    ends = architecture.bounds(net)
    return [] if ends is None else [Projection(*ends)]


class Run(Callback):
    """One network in training.

    Parameters
    ----------
    architecture : Architecture
    schema : Schema
        What made the rows.
    training : Training
    rows, held_out : Encoded
    targets : array (N, …)
        Of the rows trained on, as the loss wants them for one member.
    loss : Loss
    weights : array (N,), optional
        Sample weights; all members see the same rows then.
    combine : callable
    seed : int

    Attributes
    ----------
    epochs : list of array
        The parameters after each.
    said : list of array
        What is meant for the rows held out, after each.
    losses : list of float
    """

    def __init__(self, architecture: Architecture, schema: Schema, training: Training, rows: Encoded, targets: Array,
                 held_out: Encoded, loss: Loss, weights: Array | None, combine: Combine, seed: int) -> None:
        self.architecture, self.schema, self.training = architecture, schema, training
        self._held_out, self._combine, self._weights = held_out, combine, weights
        self.epochs: list[Array] = []
        self.said: list[Array] = []
        self.losses: list[float] = []
        rng = np.random.default_rng(seed)
        net = architecture.network(True, seed, training.bf16)
        self._predictor = architecture.network(False, seed)
        initialise(net, architecture, rows, rng)
        self._size = min(training.batch_size, len(rows))
        schedule = training.rates(training.epochs * -(-len(rows) // self._size))
        self._trainer = Trainer(net, loss, AdamW(schedule, 0.9, training.beta2, weight_decay=0.0))
        orders = _orders(len(rows), architecture.members, training.shared_batches, rng)
        y = np.ascontiguousarray(targets[orders])
        self._inputs, self._targets = stacked(architecture.inputs(rows), orders), \
            y if y.dtype.kind == "i" else y[..., None]

    def advance(self, epochs: int) -> None:
        """Train for some more epochs, or until time is up.

        Raises
        ------
        DivergenceError
        """
        self._trainer.fit(self._inputs, self._targets, epochs=epochs, batch_size=self._size,
                          callbacks=[*projections(self.architecture, self._trainer.net), self],
                          sample_weight=self._weights, progress=False)

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        decay = self.training.weight_decay
        if decay:
            decay = FlatCosine(decay, self.training.epochs)(epoch - 1)
        offsets, factors = trainer.net.params.offsets, rates(trainer.net)
        trainer.update.segments[:] = [
            Segment(offsets[name], p.size, 0.0 if name.endswith("bias") else decay, factors[name])
            for name, p in trainer.net.params.items()]

    def on_epoch_end(self, trainer: Any, epoch: int, logs: Logs) -> None:
        self._predictor.params.flat[...] = trainer.net.params.flat
        self.epochs.append(trainer.net.params.flat.copy())
        self.said.append(self._combine(outputs_of(self._predictor, self.architecture, self._held_out)))
        self.losses.append(float(logs["loss"]))
        if self.training.late():
            trainer.stop = True

    def network(self, epoch: int) -> Network:
        """Return the network for prediction as it was after an epoch, counted from 0."""
        net = self._predictor.copy()
        net.params.flat[...] = self.epochs[epoch]
        return net


def go_on(net: Network, architecture: Architecture, rows: Encoded, targets: Array, weights: Array | None, loss: Loss,
          rate: float, size: int, seed: int) -> None:
    """Train a network for prediction on more rows: each once, at a constant rate."""
    training = architecture.network(True, seed)
    training.params.flat[...] = net.params.flat
    trainer = Trainer(training, loss, AdamW(rate, weight_decay=0.0))
    offsets, factors = training.params.offsets, rates(training)
    trainer.update.segments[:] = [Segment(offsets[name], p.size, 0.0, factors[name])
                                  for name, p in training.params.items()]
    orders = _orders(len(rows), architecture.members, weights is not None, np.random.default_rng(seed))
    y = np.ascontiguousarray(targets[orders])
    trainer.fit(stacked(architecture.inputs(rows), orders), y if y.dtype.kind == "i" else y[..., None],
                batch_size=min(size, len(rows)), callbacks=projections(architecture, training), sample_weight=weights,
                progress=False)
    net.params.flat[...] = training.params.flat


def _orders(rows: int, members: int, shared: bool, rng: np.random.Generator) -> Array:
    """Return which row each member sees where another sees its own: (N, members)."""
    if shared:
        return np.repeat(np.arange(rows)[:, None], members, axis=1)
    return np.stack([rng.permutation(rows) for _ in range(members)], axis=1)
