"""Training on batches as they come: from an iterable instead of arrays, for data that is made, or read, on the way."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fastbp.core.checks import count
from fastbp.training.callbacks import as_callbacks
from fastbp.training.history import History

if TYPE_CHECKING:
    from fastbp.training.trainer import Trainer


def fit_batches(trainer: Trainer, batches: Any, epochs: int, validation_data: Any, callbacks: Any,
                progress: bool) -> History:
    """Train on an iterable of (x, y) or (x, y, sample_weight); what ``Trainer.fit`` does without y."""
    epochs, called = count("fit", "epochs", epochs), as_callbacks(callbacks)
    if not isinstance(batches, Iterable) or hasattr(batches, "dtype"):
        raise TypeError(f"fit: y is missing, and X is no iterable of batches but {type(batches).__name__}; give the "
                        "targets as y, or batches (x, y)")
    validation = trainer.validation(validation_data)
    per_epoch = len(batches) if isinstance(batches, Sized) else None
    with trainer.running(called, None if per_epoch is None else epochs * per_epoch, progress) as bar:
        for done in range(epochs):
            if trainer.stop:
                break
            if not _epoch(trainer, batches, validation, bar):
                again = ("fit: X ran out after the first epoch: an iterator can be gone through once; give a list, or "
                         "epochs=1")
                raise ValueError(again if done else "fit: X has no batches; expected at least one (x, y)")
    return trainer.history


def _epoch(trainer: Trainer, batches: Iterable[Any], validation: Any, bar: Any) -> int:
    """Train on all batches once; return how many there were."""
    epoch, start = trainer.epoch + 1, perf_counter()
    number = rows = 0
    total = weights = lr = 0.0
    for item in batches:
        x, y, weight = _parts(item)
        if number == 0:
            for callback in trainer.callbacks:
                callback.on_epoch_begin(trainer, epoch)
        lr = trainer.lr
        loss = trainer.step(x, y, weight)
        size = len(x[0] if isinstance(x, tuple) else x)
        share = float(size if weight is None else sum(weight))
        total, weights, rows, number = total + share * loss, weights + share, rows + size, number + 1
        bar.update(1)
        for callback in trainer.callbacks:
            callback.on_progress(trainer, number)
            if callback.every is not None and trainer.update.step % callback.every == 0:
                callback.on_batch_end(trainer, number)
        if trainer.stop:
            break
    if number:
        _note(trainer, epoch, total / weights if weights else 0.0, lr, rows, start, validation)
    return number


def _note(trainer: Trainer, epoch: int, loss: float, lr: float, rows: int, start: float, validation: Any) -> None:
    trained = perf_counter()
    row: dict[str, float] = {"epoch": epoch, "loss": loss, "lr": lr}
    if validation is not None:
        row |= {f"val_{name}": value for name, value in trainer.evaluate_batch(validation).items()}
    row["seconds"] = perf_counter() - start
    row["samples_per_second"] = rows / max(trained - start, 1e-9)
    trainer.history.append(row)
    trainer.optimizer.lr.observe(row.get("val_loss", loss))
    for callback in trainer.callbacks:
        callback.on_epoch_end(trainer, epoch, row)


def _parts(item: Any) -> tuple[Any, Any, Any]:
    if not isinstance(item, list | tuple) or len(item) not in (2, 3):
        raise ValueError(f"fit: X holds a batch that is {type(item).__name__}"
                         + (f" of {len(item)}" if isinstance(item, list | tuple) else "")
                         + "; expected (x, y) or (x, y, sample_weight)")
    return item[0], item[1], item[2] if len(item) == 3 else None
