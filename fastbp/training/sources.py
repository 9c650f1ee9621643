"""Where the mini-batches of an epoch come from: arrays, or an iterable of batches.

The loop over epochs (:mod:`fastbp.training.epochs`) opens a source for an epoch and takes from it, again and again,
what is trained on in one go: as many mini-batches of arrays as nobody wants to look at in between, or one batch of an
iterable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastbp.engine.backend import Data, Progress
from fastbp.ops.base import Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Shuffle = bool | Callable[[int, Array], "ArrayLike"]

TrainData = Callable[[Data, Array | None, int, Array, Array, Progress | None], None]
"""Trains on checked data: (data, order, batch size, learning rates, losses to fill, what to tell of progress)."""
Step = Callable[[Any, Any, Any, float], float]
"""Trains on one batch: (x, y, sample weights, learning rate) -> loss."""

_NOTHING: Any = object()


class Piece(Protocol):
    """What is trained on in one go."""

    updates: int
    """Mini-batches."""

    def train(self, rates: Array, losses: Array, on_progress: Progress | None) -> None:
        """Train with these learning rates, and fill in the loss of each mini-batch."""


class Source(Protocol):
    """Gives the mini-batches of epochs."""

    joins: bool
    """Whether several epochs can be trained on in one go."""

    @property
    def per_epoch(self) -> int | None:
        """Mini-batches of an epoch, where that is known."""

    def open(self, epoch: int, count: int) -> None:
        """Begin with an epoch, or with so many in a row."""

    def take(self, most: int | None) -> Piece | None:
        """Return the next mini-batches, at most so many; None at the end."""

    def ends(self, done: int) -> bool:
        """Whether an epoch is over after so many mini-batches."""

    def weights(self) -> Array:
        """Return what the loss of each mini-batch since `open` counts for: its rows, or the sum of their weights."""

    def rows(self) -> int:
        """Return the rows of an epoch."""


def means(losses: Array, weights: Array) -> list[float]:
    """Return the mean loss of each epoch, (epochs, mini-batches) of each; 0 where nothing weighs anything."""
    totals = weights.sum(axis=1)
    sums = (losses * weights).sum(axis=1)
    found: list[float] = np.divide(sums, totals, out=np.zeros(len(totals)), where=totals > 0).tolist()
    return found


# ---- arrays ----------------------------------------------------------------------------------------------------------


@dataclass
class ArrayPiece:
    """Mini-batches of arrays; `order` holds the rows of each epoch, or is None for all in order."""

    source: ArraySource
    order: Array | None
    updates: int

    def train(self, rates: Array, losses: Array, on_progress: Progress | None) -> None:
        source = self.source
        source.train(source.data, self.order, source.batch_size, rates, losses, on_progress)


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
    train : function
    """

    joins = True

    def __init__(self, data: Data, chosen: Array | None, batch_size: int, shuffle: Shuffle, drop_last: bool, seed: int,
                 train: TrainData) -> None:
        self.data, self.train, self.seed, self.shuffle = data, train, seed, shuffle
        self._chosen = chosen
        self.count = data.rows if chosen is None else len(chosen)
        self.batch_size = min(batch_size, self.count)
        self._used = self.count - (self.count % self.batch_size if drop_last else 0)
        if not shuffle and chosen is None and self._used < self.count:
            self.data = data.take(slice(0, self._used))
        self.per_epoch = -(-self._used // self.batch_size)
        self._epoch = self._epochs = self._done = 0
        self._order: Array | None = None

    def open(self, epoch: int, count: int) -> None:
        self._epoch, self._epochs, self._done, self._order = epoch, count, 0, None

    def take(self, most: int | None) -> ArrayPiece | None:
        left = self._epochs * self.per_epoch - self._done
        updates = left if most is None else min(most, left)
        if not updates:
            return None
        if self._done == 0:
            self._order = self._orders()
        order = self._order
        if updates < self._epochs * self.per_epoch:
            rows = slice(self._done * self.batch_size, (self._done + updates) * self.batch_size)
            order = (np.arange(self._used)[None] if order is None else order)[:, rows]
        self._done += updates
        return ArrayPiece(self, order, updates)

    def ends(self, done: int) -> bool:
        return done % self.per_epoch == 0

    def weights(self) -> Array:
        shape = self._epochs, self.per_epoch
        if self.data.sample_weight is None:
            rows = np.full(shape, self.batch_size, np.float64)
            rows[:, -1] = self._used - (self.per_epoch - 1) * self.batch_size
            return rows
        weight = self.data.sample_weight.astype(np.float64)
        each = np.tile(weight, (self._epochs, 1)) if self._order is None else weight[self._order]
        return np.add.reduceat(each, np.arange(0, self._used, self.batch_size), axis=1)

    def rows(self) -> int:
        return self._used

    def _orders(self) -> Array | None:
        """Return the rows of the epochs in order, (epochs, rows); None for all of them as they stand."""
        if not self.shuffle and self._chosen is None:
            return None
        return np.stack([self._order_of(self._epoch + i)[:self._used] for i in range(self._epochs)])

    def _order_of(self, epoch: int) -> Array:
        """Return the rows of an epoch in order. Keyed by seed and epoch alone, it needs no state of its own."""
        rows = np.arange(self.count) if self._chosen is None else self._chosen
        if callable(self.shuffle):
            return self._given(self.shuffle(epoch, rows.copy()))
        return np.random.default_rng((self.seed, epoch)).permutation(rows) if self.shuffle else rows

    def _given(self, order: Any) -> Array:
        """Check an order that a function of the user's gave; the copy is ours, whatever becomes of the original."""
        rows = np.array(order)
        if rows.shape != (self.count,) or rows.dtype.kind not in "iu" or rows.min() < 0 \
                or rows.max() >= self.data.rows:
            raise ValueError(f"fit: shuffle returned an array of shape {rows.shape} and dtype {rows.dtype}; expected "
                             f"{self.count} row numbers from 0 to {self.data.rows - 1}")
        return rows


# ---- batches ---------------------------------------------------------------------------------------------------------


@dataclass
class BatchPiece:
    """One batch as it came."""

    source: BatchSource
    x: Any
    y: Any
    sample_weight: Any
    updates: int = 1

    def train(self, rates: Array, losses: Array, on_progress: Progress | None) -> None:
        losses[0] = self.source.step(self.x, self.y, self.sample_weight, float(rates[0]))
        self.source.note(self)
        if on_progress is not None:
            on_progress(1)


class BatchSource:
    """Batches as they come from an iterable of (x, y) or (x, y, sample_weight).

    Parameters
    ----------
    batches : iterable
    several : bool
        Whether x is a tuple of arrays.
    step : function
    """

    joins = False

    def __init__(self, batches: Any, several: bool, step: Step) -> None:
        if not isinstance(batches, Iterable) or hasattr(batches, "dtype"):
            raise TypeError(f"fit: y is missing, and X is no iterable of batches but {type(batches).__name__}; give "
                            "the targets as y, or batches (x, y)")
        self.step, self._batches, self._several = step, batches, several
        self.per_epoch = len(batches) if isinstance(batches, Sized) else None
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

    def take(self, most: int | None) -> BatchPiece | None:
        if self._at_end():
            return None
        item, self._next = self._next, _NOTHING
        return BatchPiece(self, *_parts(item))

    def note(self, piece: BatchPiece) -> None:
        """Count a batch that has been trained on."""
        rows = len(piece.x[0] if self._several else piece.x)
        weight = piece.sample_weight
        self._rows += rows
        self._weights.append(float(rows if weight is None else np.sum(weight, dtype=np.float64)))

    def ends(self, done: int) -> bool:
        return self._at_end()

    def weights(self) -> Array:
        return np.array([self._weights])

    def rows(self) -> int:
        return self._rows

    def _at_end(self) -> bool:
        """Fetch the next batch, if that has not been done yet; return whether there is none."""
        if self._next is _NOTHING:
            self._next = next(self._items, _NOTHING)
        return self._next is _NOTHING


def _parts(item: Any) -> tuple[Any, Any, Any]:
    if not isinstance(item, list | tuple) or len(item) not in (2, 3):
        raise ValueError(f"fit: X holds a batch that is {type(item).__name__}"
                         + (f" of {len(item)}" if isinstance(item, list | tuple) else "")
                         + "; expected (x, y) or (x, y, sample_weight)")
    return item[0], item[1], item[2] if len(item) == 3 else None
