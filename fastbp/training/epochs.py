"""The loop over epochs: what happens between a source of mini-batches, the history and the callbacks.

An epoch is one call of the backend: the order of the rows and the learning rate of every mini-batch are decided before
it, and nothing of Python runs in between but the progress bar. Callbacks that want to act on every so many updates cut
the epoch into pieces. Epochs of some milliseconds that nobody looks at are run several in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd
from time import perf_counter

from fastbp.core.errors import DivergenceError, NonFiniteError
from fastbp.engine.backend import Progress
from fastbp.optim.schedules import Schedule
from fastbp.training.callback import Callback, Training
from fastbp.training.evaluation import Heads
from fastbp.training.progress import Bar
from fastbp.training.shares import Lead
from fastbp.training.sources import Record, Source

Validate = Callable[[], dict[str, float]]
"""Returns the loss and the metrics of the validation data."""
Diverged = Callable[[NonFiniteError, int, int], DivergenceError]
"""Returns what to raise: (error, epoch, mini-batch)."""

# Epochs shorter than this are run several in one call.
_JOINED_SECONDS = 0.02


def every_of(callbacks: Sequence[Callback]) -> int | None:
    """Return the updates from one look of a callback at them to the next, or None where none looks."""
    return gcd(*(c.every for c in callbacks if c.every is not None)) or None


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
    every : int or None
        Updates from one look of a callback at them to the next.
    lead : Lead
        In ranks, what is done under it is done by the first, and followed by the others, who have no callbacks.
    heads : Heads
    measure : function, or None where nothing is measured on what is trained on
    """

    def __init__(self, trainer: Training, source: Source, validate: Validate | None, diverged: Diverged,
                 callbacks: Sequence[Callback], bar: Bar, every: int | None, lead: Lead, heads: Heads,
                 measure: Validate | None) -> None:
        self._trainer, self._source, self._validate, self._diverged = trainer, source, validate, diverged
        self._callbacks, self._bar, self._heads, self._measure = callbacks, bar, heads, measure
        self._every, self._lead = lead.share(every), lead     # callbacks may be given to rank 0 alone
        self._watching = [c for c in callbacks if type(c).on_progress is not Callback.on_progress
                          or "on_progress" in vars(c)]
        self._watched = lead.any(bool(self._watching) or bar.counts)
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
        acts = self._callbacks or self._validate or self._measure or looks
        if acts or not self._source.joins or self._seconds is None or not self._lead.is_alone:
            return 1
        return max(1, int(_JOINED_SECONDS / max(self._seconds, 1e-6)))

    def _run(self, count: int) -> None:
        """Run an epoch, or some of them that nobody looks at in between."""
        trainer, source = self._trainer, self._source
        first = trainer.epoch + 1
        with self._lead.together():
            source.open(first, count)
        with self._lead(parameters=True):
            for callback in self._callbacks:
                callback.on_epoch_begin(trainer, first)
        self._bar.begin(first + count - 1)
        record = Record()
        start = perf_counter()
        try:
            self._train(record, first)
        except BaseException:
            if count > 1 and record.done:
                self._note_all(self._epochs(record), first, perf_counter() - start)
            raise
        trained = perf_counter() - start
        epochs = self._epochs(record)
        if count > 1:
            self._note_all(epochs, first, trained)
        else:
            self._note({"epoch": first} | epochs[0], start, trained)

    # ---- mini-batches -----------------------------------------------------------------------------------------------

    def _train(self, record: Record, first: int) -> None:
        trainer, source = self._trainer, self._source
        while True:
            try:
                source.train(self._until_look(), record, self._reporter(record.done))
            except NonFiniteError as error:
                epoch, batch = divmod(error.batch, source.per_epoch or 1) if source.joins else (0, error.batch)
                raise self._diverged(error, first + epoch, batch + 1) from None
            if self._every is not None:
                with self._lead(parameters=True):
                    for callback in self._callbacks:
                        if callback.every is not None and trainer.update.step % callback.every == 0:
                            callback.on_batch_end(trainer, record.done)
            if source.ends(record.done):
                return
            if trainer.stop:
                raise Stopped

    def _until_look(self) -> int | None:
        """Return the updates until a callback wants to look, or None where none does."""
        return None if self._every is None else self._every - self._trainer.update.step % self._every

    def _reporter(self, before: int) -> Progress | None:
        """Return what is called now and then between mini-batches, or None where nobody would notice."""
        if not self._watched and (self._source.joins or not self._lead.is_alone):
            return None
        seen = before

        def report(done: int) -> None:
            nonlocal seen
            with self._lead():
                self._bar.update(before + done - seen)
                seen = before + done
                for callback in self._watching:
                    callback.on_progress(self._trainer, seen)
            if self._trainer.stop and not self._source.ends(seen):
                raise Stopped
        return report

    def _epochs(self, record: Record) -> list[dict[str, float]]:
        return record.epochs(self._source.weights(), self._heads.of_epoch)

    # ---- the history ------------------------------------------------------------------------------------------------

    def _note(self, row: dict[str, float], start: float, trained: float) -> None:
        """Validate an epoch, write it to the history, and tell everybody."""
        trainer = self._trainer
        if self._measure is not None:
            row |= self._measure()
        if self._validate is not None:
            row |= {f"val_{name}": value for name, value in self._validate().items()}
        row["seconds"] = self._seconds = perf_counter() - start
        row["samples_per_second"] = self._source.rows() / max(trained, 1e-9)
        trainer.history.append(row)
        self._bar.end(row)
        trainer.optimizer.lr.observe(row.get("val_loss", row["loss"]))
        with self._lead(parameters=True):
            for callback in self._callbacks:
                callback.on_epoch_end(trainer, int(row["epoch"]), row)
        row.update(self._lead.share(row))

    def _note_all(self, epochs: list[dict[str, float]], first: int, seconds: float) -> None:
        """Write epochs that were run together to the history: their seconds are the time of all, shared out evenly."""
        self._seconds = seconds / max(len(epochs), 1)
        speed = self._source.rows() / max(self._seconds, 1e-9)
        each = {"seconds": self._seconds, "samples_per_second": speed}
        rows = [{"epoch": first + i} | epoch | each for i, epoch in enumerate(epochs)]
        self._trainer.history.extend(rows)
        for row in rows:
            self._bar.end(row)
