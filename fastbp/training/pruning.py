"""Sweeps with Optuna: trials that promise little are given up early."""

from __future__ import annotations

from typing import Any

from fastbp.training.callback import Callback, Logs, Training


class OptunaPruning(Callback):
    """Reports an entry of the history to a trial of Optuna after each epoch, and ends training where it is pruned.

    Parameters
    ----------
    trial : optuna.trial.Trial
    monitor : str, optional
        An entry of the history; by default ``"val_loss"`` or, without validation, ``"loss"``.

    Raises
    ------
    optuna.TrialPruned
        While training: let it out of the objective, which tells Optuna.
    ValueError
        For an entry that the history does not have.

    Examples
    --------
    >>> def objective(trial):                                       # study.optimize(objective, n_trials=50)
    ...     lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    ...     trainer = fb.Trainer(net.copy(), fb.CrossEntropy(), fb.Adam(lr))
    ...     trainer.fit(X, y, epochs=20, validation_split=0.2, callbacks=[fb.callbacks.OptunaPruning(trial)])
    ...     return trainer.history["val_loss"][-1]
    """

    def __init__(self, trial: Any, monitor: str | None = None) -> None:
        if not all(callable(getattr(trial, name, None)) for name in ("report", "should_prune")):
            raise TypeError(f"OptunaPruning: trial is {trial!r}; expected what Optuna gives the objective")
        self.trial, self.monitor = trial, monitor

    def on_epoch_end(self, trainer: Training, epoch: int, logs: Logs) -> None:
        name = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        if name not in logs:
            raise ValueError(f"OptunaPruning: monitor is {name!r}; the history has {', '.join(logs)}")
        self.trial.report(logs[name], epoch)
        if self.trial.should_prune():
            from optuna import TrialPruned
            raise TrialPruned(f"{name} is {logs[name]:.6g} after epoch {epoch}")
