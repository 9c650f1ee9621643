"""The loop over epochs: what happens between a source of mini-batches, the history and the callbacks.

An epoch is one call of the backend: the order of the rows and the learning rate of every mini-batch are decided before
it, and nothing of Python runs in between but the progress bar. Callbacks that want to act on every so many updates cut
the epoch into pieces. Epochs of some milliseconds that nobody looks at are run several in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd
from time import perf_counter

import numpy as np

from fastbp.core.errors import DivergenceError, NonFiniteError
from fastbp.engine.backend import Progress
from fastbp.ops.base import Array
from fastbp.optim.schedules import Schedule
from fastbp.training.callback import Callback, Training
from fastbp.training.progress import Bar
from fastbp.training.sources import Source, means

Validate = Callable[[], dict[str, float]]
"""Returns the loss and the metrics of the validation data."""
Diverged = Callable[[NonFiniteError, float, int, int], DivergenceError]
"""Returns what to raise: (error, learning rate, epoch, mini-batch)."""

# Epochs shorter than this are run several in one call.
_JOINED_SECONDS = 0.02


class Stopped(Exception):
    """Ends an epoch between two mini-batches."""


class EpochLoop:
    """Runs epochs of a source, for one call of fit.

    Parameters
    ----------
    trainer : Training
    source : Source
    validate : function, or None where nothing is validated
    diverged : function
    callbacks : sequence of Callback
    bar : Bar
    """

    def __init__(self, trainer: Training, source: Source, validate: Validate | None, diverged: Diverged,
                 callbacks: Sequence[Callback], bar: Bar) -> None:
        self._trainer, self._source, self._validate, self._diverged = trainer, source, validate, diverged
        self._callbacks, self._bar = callbacks, bar
        self._every = gcd(*(c.every for c in callbacks if c.every is not None)) or None
        self._watching = [c for c in callbacks if type(c).on_progress is not Callback.on_progress
                          or "on_progress" in vars(c)]
        self._seconds: float | None = None  # of the newest epoch

    def run(self, epochs: int) -> None:
        """Run so many epochs, or until something stops the trainer."""
        while epochs and not self._trainer.stop:
            together = min(epochs, self._worth_joining())
            self._run(together)
            epochs -= together

    def _worth_joining(self) -> int:
        """Return how many epochs to run in one call: some milliseconds' worth, where nobody acts between them."""
        looks = type(self._trainer.optimizer.lr).observe is not Schedule.observe
        if self._callbacks or self._validate or looks or not self._source.joins or self._seconds is None:
            return 1
        return max(1, int(_JOINED_SECONDS / max(self._seconds, 1e-6)))

    def _run(self, count: int) -> None:
        """Run an epoch, or some of them that nobody looks at in between."""
        trainer, source = self._trainer, self._source
        first = trainer.epoch + 1
        source.open(first, count)
        for callback in self._callbacks:
            callback.on_epoch_begin(trainer, first)
        self._bar.set_description(f"epoch {first + count - 1}", refresh=False)
        record = _Record()
        start = perf_counter()
        try:
            self._train(record, first)
        except BaseException:
            if count > 1:
                self._note_all(record.rows(first, source), perf_counter() - start)
            raise
        trained = perf_counter() - start
        rows = record.rows(first, source)
        if count > 1:
            self._note_all(rows, trained)
        else:
            self._note(rows[0], start, trained)

    # ---- mini-batches -----------------------------------------------------------------------------------------------

    def _train(self, record: _Record, first: int) -> None:
        trainer, source = self._trainer, self._source
        while (piece := source.take(self._until_look())) is not None:
            rates = self._rates(piece.updates)
            losses, before = np.empty(piece.updates), trainer.update.step
            try:
                piece.train(rates, losses, self._reporter(record.done))
            except NonFiniteError as error:
                at = record.done + error.batch
                epoch, batch = divmod(at, source.per_epoch) if source.joins and source.per_epoch else (0, at)
                raise self._diverged(error, float(rates[error.batch]), first + epoch, batch + 1) from None
            finally:
                record.add(losses, rates, trainer.update.step - before)
            self._look(record.done)

    def _rates(self, updates: int) -> Array:
        schedule = self._trainer.optimizer.lr
        rates = np.array(schedule.rates(self._trainer.update.step, updates), np.float64)
        if rates.shape != (updates,):
            raise ValueError(f"{schedule!r}: rates gave an array of shape {rates.shape}; expected ({updates},)")
        return rates

    def _until_look(self) -> int | None:
        """Return the updates until a callback wants to look, or None where none does."""
        return None if self._every is None else self._every - self._trainer.update.step % self._every

    def _look(self, done: int) -> None:
        trainer = self._trainer
        for callback in self._callbacks:
            if callback.every is not None and trainer.update.step % callback.every == 0:
                callback.on_batch_end(trainer, done)
        if trainer.stop and not self._source.ends(done):
            raise Stopped

    def _reporter(self, before: int) -> Progress | None:
        """Return what is called now and then between mini-batches, or None where nobody would notice."""
        if self._bar.disable and not self._watching:
            return None
        seen = before

        def report(done: int) -> None:
            nonlocal seen
            self._bar.update(before + done - seen)
            seen = before + done
            for callback in self._watching:
                callback.on_progress(self._trainer, seen)
            if self._trainer.stop and not self._source.ends(seen):
                raise Stopped
        return report

    # ---- the history ------------------------------------------------------------------------------------------------

    def _note(self, row: dict[str, float], start: float, trained: float) -> None:
        """Validate an epoch, write it to the history, and tell everybody."""
        trainer = self._trainer
        if self._validate is not None:
            row |= {f"val_{name}": value for name, value in self._validate().items()}
        row["seconds"] = self._seconds = perf_counter() - start
        row["samples_per_second"] = self._source.rows() / max(trained, 1e-9)
        trainer.history.append(row)
        if not self._bar.disable:
            self._bar.set_postfix({k: f"{row[k]:.4g}" for k in ("loss", "val_loss", "val_accuracy") if k in row})
        trainer.optimizer.lr.observe(row.get("val_loss", row["loss"]))
        for callback in self._callbacks:
            callback.on_epoch_end(trainer, int(row["epoch"]), row)

    def _note_all(self, rows: list[dict[str, float]], seconds: float) -> None:
        """Write epochs that were run together to the history: their seconds are the time of all, shared out evenly."""
        self._seconds = seconds / max(len(rows), 1)
        speed = self._source.rows() / max(self._seconds, 1e-9)
        self._trainer.history.extend(row | {"seconds": self._seconds, "samples_per_second": speed} for row in rows)


class _Record:
    """What the mini-batches of some epochs were like."""

    def __init__(self) -> None:
        self.done = 0
        self._losses: list[Array] = []
        self._rates: list[Array] = []

    def add(self, losses: Array, rates: Array, done: int) -> None:
        """Take note of mini-batches, of which so many are done."""
        self._losses.append(losses[:done])
        self._rates.append(rates[:done])
        self.done += done

    def rows(self, first: int, source: Source) -> list[dict[str, float]]:
        """Return the rows of the history of the epochs that are complete."""
        if not self.done:
            return []
        weights = source.weights()
        updates = weights.shape[1]
        epochs = self.done // updates
        losses, rates = (np.concatenate(parts)[:epochs * updates].reshape(epochs, updates)
                         for parts in (self._losses, self._rates))
        last = rates[:, -1].tolist()
        return [{"epoch": first + i, "loss": loss, "lr": lr}
                for i, (loss, lr) in enumerate(zip(means(losses, weights[:epochs]), last, strict=True))]
