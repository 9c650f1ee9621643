"""Where the mini-batches of an epoch come from: arrays, or an iterable of batches.

The loop over epochs (:mod:`fastbp.training.epochs`) opens a source for an epoch and lets it train, again and again, on
as many mini-batches as nobody wants to look at in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

import numpy as np

from fastbp.core.errors import NonFiniteError
from fastbp.core.sparse import is_sparse
from fastbp.engine.backend import Data, Progress
from fastbp.ops.base import Array
from fastbp.optim.optimizers import Update

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Shuffle = bool | Callable[[int, Array], "ArrayLike"]

TrainData = Callable[[Data, Array | None, int, Array, Array, Progress | None, Array | None], None]
"""Trains on checked data: (data, order, batch size, learning rates, losses to fill, what to tell of progress, parts to
fill)."""
Step = Callable[[Any, Any, Any, Array | None], tuple[float, float]]
"""Trains on one batch: (x, y, sample weights, parts to fill) -> (loss, learning rate)."""
StepOfSeveral = Callable[[Sequence[tuple[Any, Any, Any]]], tuple[float, float]]
"""Takes a step for several batches: [(x, y, sample weights), …] -> (loss, learning rate)."""
PartShape = tuple[int, int] | None
"""The shape of what is noted of a mini-batch beside its loss: each loss by itself, and its right decisions."""

_NOTHING: Any = object()
# Rows that ranks compare before they train on arrays.
_LOOKED_AT = 64


class Record:
    """The loss and the learning rate of each mini-batch that is done."""

    def __init__(self) -> None:
        self.done = 0
        self._losses: list[Array] = []
        self._rates: list[Array] = []
        self._parts: list[Array] = []

    def add(self, losses: Sequence[float] | Array, rates: Sequence[float] | Array, parts: Array | None = None) -> None:
        """Take note of some more mini-batches."""
        if parts is not None:
            self._parts.append(parts)
        self._losses.append(np.asarray(losses))
        self._rates.append(np.asarray(rates))
        self.done += len(losses)

    def epochs(self, weights: Array,
               of_parts: Callable[[Array], dict[str, float]] | None = None) -> list[dict[str, float]]:
        """Return the mean loss and the last learning rate of each epoch that is complete, and what else was noted.

        Parameters
        ----------
        weights : array (epochs, mini-batches)
            What the loss of each mini-batch counts for.
        of_parts : function
            What of the history the parts, averaged over an epoch, are.
        """
        updates = weights.shape[1]
        count = self.done // updates
        losses, rates = (np.concatenate(parts)[:count * updates].reshape(count, updates)
                         for parts in (self._losses, self._rates))
        totals = weights[:count].sum(axis=1)
        means = np.divide((losses * weights[:count]).sum(axis=1), totals, out=np.zeros(count), where=totals > 0)
        found = [{"loss": loss, "lr": lr} for loss, lr in zip(means.tolist(), rates[:, -1].tolist(), strict=True)]
        if self._parts and of_parts is not None:
            parts = np.concatenate(self._parts)[:count * updates]
            parts = parts.reshape(count, updates, *parts.shape[1:]).copy()
            parts[..., 0] *= weights[:count, :, None]           # a loss is a mean, and right decisions are counted
            sums = parts.sum(axis=1)
            for row, mean in zip(found, np.divide(sums, totals[:, None, None], out=np.zeros_like(sums),
                                                  where=totals[:, None, None] > 0), strict=True):
                row |= of_parts(mean)
        return found


class Source(Protocol):
    """Gives the mini-batches of epochs, and trains on them."""

    joins: bool
    """Whether several epochs can be trained on in one go."""

    @property
    def per_epoch(self) -> int | None:
        """Mini-batches of an epoch, where that is known."""

    def open(self, epoch: int, count: int) -> None:
        """Begin with an epoch, or with so many in a row."""

    def train(self, most: int | None, record: Record, on_progress: Progress | None) -> None:
        """Train on the next mini-batches: all that are left, or at most so many. A NonFiniteError counts all."""

    def ends(self, done: int) -> bool:
        """Whether an epoch is over after so many mini-batches."""

    def weights(self) -> Array:
        """Return what the losses since `open` count for, (epochs, mini-batches): rows, or the sum of their weights."""

    def rows(self) -> int:
        """Return the rows of an epoch."""

    def given(self) -> dict[str, Any]:
        """Return what must be the same on all ranks, with names for errors."""


# ---- arrays ----------------------------------------------------------------------------------------------------------


class ArraySource:
    """Mini-batches of arrays, in an order that the seed and the epoch decide.

    Parameters
    ----------
    data : Data
    chosen : array of row numbers to train on, or None for all
    batch_size : int
    shuffle : bool, or function of epoch and rows
    drop_last : bool
        Whether rows that do not fill a mini-batch are left out.
    seed : int
    update : Update
        Counts the steps, and has the schedule of learning rates.
    train : function
    part_shape : tuple of int, or None
    """

    joins = True

    def __init__(self, data: Data, chosen: Array | None, batch_size: int, shuffle: Shuffle, drop_last: bool, seed: int,
                 update: Update, train: TrainData, part_shape: PartShape = None) -> None:
        self.data, self._chosen, self._shuffle, self._seed = data, chosen, shuffle, seed
        self._update, self._train, self._part_shape = update, train, part_shape
        self.count = data.rows if chosen is None else len(chosen)
        self.batch_size = min(batch_size, self.count)
        self._used = self.count - (self.count % self.batch_size if drop_last else 0)
        if not shuffle and chosen is None and self._used < self.count:
            self.data = data.take(slice(0, self._used))
        self.per_epoch = -(-self._used // self.batch_size)
        self._epoch = self._epochs = 0
        self._order: Array | None = None

    def open(self, epoch: int, count: int) -> None:
        self._epoch, self._epochs, self._order = epoch, count, None

    def train(self, most: int | None, record: Record, on_progress: Progress | None) -> None:
        before = self._update.step
        updates = self._epochs * self.per_epoch - record.done
        if most is not None:
            updates = min(most, updates)
        if not record.done:
            self._order = self._orders()
        rates, losses = self._rates(before, updates), np.empty(updates)
        parts = None if self._part_shape is None else np.empty((updates, *self._part_shape))
        try:
            self._train(self.data, self._rows_of(record.done, updates), self.batch_size, rates, losses, on_progress,
                        parts)
        except NonFiniteError as error:
            error.batch += record.done
            raise
        finally:
            done = self._update.step - before
            record.add(losses[:done], rates[:done], None if parts is None else parts[:done])

    def ends(self, done: int) -> bool:
        return done % self.per_epoch == 0

    def weights(self) -> Array:
        shape = self._epochs, self.per_epoch
        if self.data.sample_weight is None:
            rows = np.full(shape, self.batch_size, np.float64)
            rows[:, -1] = self._used - (self.per_epoch - 1) * self.batch_size
            return rows
        weight = self.data.sample_weight.astype(np.float64).reshape(self.data.rows, -1).sum(axis=1)
        each = np.tile(weight, (self._epochs, 1)) if self._order is None else weight[self._order]
        return np.add.reduceat(each, np.arange(0, self._used, self.batch_size), axis=1)

    def rows(self) -> int:
        return self._used

    def given(self) -> dict[str, Any]:
        arrays = [*self.data.inputs, *self.data.targets, *self.data.weights]
        return {"rows of X": self.data.rows, "rows of an epoch": self._used, "batch_size": self.batch_size,
                "shuffle": bool(self._shuffle), "checksums of some rows": [_checksum(a) for a in arrays]}

    def trained(self) -> Data:
        """Return the rows that are trained on."""
        return self.data if self._chosen is None else self.data.take(self._chosen)

    def _rates(self, step: int, updates: int) -> Array:
        schedule = self._update.optimizer.lr
        rates = np.array(schedule.rates(step, updates), np.float64)
        if rates.shape != (updates,):
            raise ValueError(f"{schedule!r}: rates gave an array of shape {rates.shape}; expected ({updates},)")
        return rates

    def _rows_of(self, first: int, updates: int) -> Array | None:
        """Return the rows of some mini-batches in order, (epochs, rows); None for all of them as they stand."""
        if updates == self._epochs * self.per_epoch:
            return self._order
        order = np.arange(self._used)[None] if self._order is None else self._order
        return order[:, first * self.batch_size:(first + updates) * self.batch_size]

    def _orders(self) -> Array | None:
        """Return the rows of the epochs in order, (epochs, rows); None for all of them as they stand."""
        if not self._shuffle and self._chosen is None:
            return None
        orders = [self._order_of(self._epoch + i)[:self._used] for i in range(self._epochs)]
        return orders[0][None] if len(orders) == 1 else np.stack(orders)

    def _order_of(self, epoch: int) -> Array:
        """Return the rows of an epoch in order. Keyed by seed and epoch alone, it needs no state of its own."""
        if callable(self._shuffle):
            rows = np.arange(self.count) if self._chosen is None else self._chosen.copy()
            return self._given(self._shuffle(epoch, rows))
        if self._shuffle:  # of the first so many numbers it is faster than of an array of them
            return np.random.default_rng((self._seed, epoch)).permutation(
                self.count if self._chosen is None else self._chosen)
        return np.arange(self.count) if self._chosen is None else self._chosen

    def _given(self, order: Any) -> Array:
        """Check an order that a function of the user's gave; the copy is ours, whatever becomes of the original."""
        rows = np.array(order)
        if rows.shape != (self.count,) or rows.dtype.kind not in "iu" or rows.min() < 0 \
                or rows.max() >= self.data.rows:
            raise ValueError(f"fit: shuffle returned an array of shape {rows.shape} and dtype {rows.dtype}; expected "
                             f"{self.count} row numbers from 0 to {self.data.rows - 1}")
        return rows


def _checksum(array: Any) -> int:
    """Return a number that arrays with other values hardly have; memory-mapped ones are not read whole for it."""
    if not isinstance(array, np.ndarray):
        return 0
    return crc32(array[np.linspace(0, len(array) - 1, _LOOKED_AT, dtype=np.int64)].tobytes())


# ---- batches ---------------------------------------------------------------------------------------------------------


class BatchSource:
    """Batches as they come from an iterable of (x, y) or (x, y, sample_weight).

    Parameters
    ----------
    batches : iterable
    several : function
        Returns the arrays of an x.
    step : function
    part_shape : tuple of int, or None
    accumulate : int
        Batches for each update; the last one of an epoch has what is left.
    together : function
        Takes a step for several.
    """

    joins = False

    def __init__(self, batches: Any, several: Callable[[str, Any], Sequence[Any]], step: Step,
                 part_shape: PartShape = None, accumulate: int = 1, together: StepOfSeveral | None = None) -> None:
        if not isinstance(batches, Iterable) or hasattr(batches, "dtype"):
            raise TypeError(f"fit: y is missing, and X is no iterable of batches but {type(batches).__name__}; give "
                            "the targets as y, or batches (x, y)")
        self._step, self._batches, self._several, self._part_shape = step, batches, several, part_shape
        self._accumulate, self._together = accumulate, together
        self.per_epoch = -(-len(batches) // accumulate) if isinstance(batches, Sized) else None
        self._items: Iterator[Any] = iter(())
        self._next: Any = _NOTHING
        self._opened = False
        self._rows = 0
        self._weights: list[float] = []

    def open(self, epoch: int, count: int) -> None:
        self._items, self._next, self._weights, self._rows = iter(self._batches), _NOTHING, [], 0
        if self._at_end():
            again = ("fit: X ran out after the first epoch: an iterator can be gone through once; give a list, or "
                     "epochs=1")
            raise ValueError(again if self._opened else "fit: X has no batches; expected at least one (x, y)")
        self._opened = True

    def train(self, most: int | None, record: Record, on_progress: Progress | None) -> None:
        losses: list[float] = []
        rates: list[float] = []
        parts: list[Array] = []
        try:
            while len(losses) != most and not self._at_end():
                items = self._fetch()
                part = None if self._part_shape is None else np.empty(self._part_shape)
                if self._together is not None and self._accumulate > 1:
                    loss, lr = self._together(items)
                else:
                    loss, lr = self._step(*items[0], part)
                if part is not None:
                    parts.append(part)
                losses.append(loss)
                rates.append(lr)
                self._count(items)
                if on_progress is not None:
                    on_progress(len(losses))
        except NonFiniteError as error:
            error.batch = record.done + len(losses)
            raise
        finally:
            record.add(losses, rates, np.stack(parts) if parts else None)

    def _fetch(self) -> list[tuple[Any, Any, Any]]:
        """Return the batches of the next update."""
        items: list[tuple[Any, Any, Any]] = []
        while len(items) < self._accumulate and not self._at_end():
            items.append(_parts(self._next))
            self._next = _NOTHING
        return items

    def _count(self, items: Sequence[tuple[Any, Any, Any]]) -> None:
        rows, totals = zip(*(self._measure(x, weight) for x, _, weight in items), strict=True)
        self._rows += sum(rows)
        self._weights.append(sum(totals))

    def _measure(self, x: Any, weight: Any) -> tuple[int, float]:
        """Return the rows of a batch, and the sum of their weights."""
        first = self._several("x", x)[0]
        rows = first.shape[0] if is_sparse(first) else len(first)
        return rows, float(rows if weight is None else np.sum(weight, dtype=np.float64))

    def ends(self, done: int) -> bool:
        return self._at_end()

    def weights(self) -> Array:
        return np.array([self._weights])

    def rows(self) -> int:
        return self._rows

    def given(self) -> dict[str, Any]:
        return {"rows of X": "batches"}

    def _at_end(self) -> bool:
        """Fetch the next batch, if that has not been done yet; return whether there is none."""
        if self._next is _NOTHING:
            self._next = next(self._items, _NOTHING)
        return self._next is _NOTHING

    @property
    def _waits(self) -> bool:
        """Whether a batch is there that has been fetched already."""
        return self._next is not _NOTHING


def batches_of(batches: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Return x, y and sample weights of each batch of an iterable."""
    if not isinstance(batches, Iterable) or hasattr(batches, "dtype"):
        raise TypeError(f"y is missing, and X is no iterable of batches but {type(batches).__name__}; give the targets "
                        "as y, or batches (x, y)")
    return (_parts(item) for item in batches)


def joined(parts: Sequence[Data]) -> Data:
    """Return the rows of several batches as those of one data set."""
    if not parts:
        raise ValueError("X has no batches; expected at least one (x, y)")
    weights = None
    if any(p.sample_weight is not None for p in parts):
        weights = np.concatenate([np.ones(p.rows, p.inputs[0].dtype) if p.sample_weight is None else p.sample_weight
                                  for p in parts])
    inputs, targets = ([np.concatenate(arrays) for arrays in zip(*several, strict=True)]
                       for several in ([p.inputs for p in parts], [p.targets for p in parts]))
    return Data(inputs, parts[0].losses, targets, weights, parts[0].scales)


def _parts(item: Any) -> tuple[Any, Any, Any]:
    if not isinstance(item, list | tuple) or len(item) not in (2, 3):
        raise ValueError(f"fit: X holds a batch that is {type(item).__name__}"
                         + (f" of {len(item)}" if isinstance(item, list | tuple) else "")
                         + "; expected (x, y) or (x, y, sample_weight)")
    return item[0], item[1], item[2] if len(item) == 3 else None
