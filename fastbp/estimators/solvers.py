"""How an estimator trains: optimizer, learning rate, penalty, and scikit-learn's rule of when to stop."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from fastbp.estimators.objective import Objective
from fastbp.network import Network
from fastbp.ops.base import Array
from fastbp.optim.optimizers import SGD, Adam, Optimizer, segments
from fastbp.optim.schedules import ScaledSchedule, Schedule
from fastbp.training.callback import Callback, Logs, Training

LEARNING_RATES = ("constant", "invscaling", "adaptive")
_LEAST_RATE = 1e-6


def make_optimizer(owner: Any, objective: Objective, decay: float) -> Optimizer:
    """Return the optimizer that ``solver`` asks for; decay is λ of scikit-learn's penalty ½ λ |W|²."""
    if isinstance(owner.solver, Optimizer):
        return copy.deepcopy(owner.solver)
    scale = objective.gradient_scale
    lr: Any = copy.deepcopy(owner.learning_rate)
    if isinstance(lr, str):
        lr = owner.learning_rate_init
    if owner.solver == "adam":
        return Adam(lr, owner.beta_1, owner.beta_2, owner.epsilon / scale, weight_decay=decay / scale, decay_bias=False)
    lr = ScaledSchedule(lr, scale) if isinstance(lr, Schedule) else lr * scale
    return SGD(lr, owner.momentum, bool(owner.nesterovs_momentum and owner.momentum), weight_decay=decay / scale,
               decay_bias=False)


class Penalty:
    """scikit-learn's penalty ½ λ |W|² over the weights of a network, biases left out."""

    def __init__(self, net: Network, decay: float) -> None:
        self.decay = decay
        decayed = [s for s in segments(net.memory, 1.0, decay_bias=False) if s.weight_decay]
        self._parts = [net.params.flat[s.offset:s.offset + s.length] for s in decayed]

    def __call__(self) -> float:
        with np.errstate(over="ignore"):        # the loss is infinite then, and training says so
            return 0.5 * self.decay * sum(float(np.dot(w, w)) for w in self._parts) if self.decay else 0.0


class EpochRule(Callback):
    """Keeps an estimator's loss curve and scores, and does at the end of an epoch what scikit-learn's MLP does.

    It stops when the loss (with ``early_stopping`` the validation score) has not improved by `tol` for more than
    `n_iter_no_change` epochs in a row, or, where the learning rate is adaptive, divides that by 5 instead.

    Parameters
    ----------
    owner : estimator
        Has the attributes that end in an underscore, which this writes.
    objective : Objective
    penalty : Penalty
        What an epoch's loss has of it.
    rows : int
        Rows of an epoch.
    early_stopping : bool
        Whether the validation score decides, rather than the loss.
    """

    def __init__(self, owner: Any, objective: Objective, penalty: Penalty, rows: int,
                 early_stopping: bool) -> None:
        self.owner, self.objective, self.penalty = owner, objective, penalty
        self.rows, self.early_stopping = rows, early_stopping
        self._penalty = penalty()

    def on_epoch_end(self, trainer: Training, epoch: int, logs: Logs) -> None:
        owner = self.owner
        before, self._penalty = self._penalty, self.penalty()
        loss = self.objective.loss_scale * logs["loss"] + self.objective.loss_offset + 0.5 * (before + self._penalty)
        owner.n_iter_ += 1
        owner.t_ += self.rows
        owner.loss_ = loss
        owner.loss_curve_.append(loss)
        if owner.verbose:
            print(f"Iteration {owner.n_iter_}, loss = {loss:.8f}")
        if self.early_stopping:
            self._observe_score(trainer, logs["val_score"])
        else:
            self._observe_loss(loss)
        if owner.learning_rate == "invscaling" and owner.solver == "sgd":
            rate = owner.learning_rate_init / (owner.t_ + 1) ** owner.power_t
            self._set_rate(trainer, rate * self.objective.gradient_scale)
        if owner._no_improvement_count > owner.n_iter_no_change:
            self._stop(trainer)

    def _observe_loss(self, loss: float) -> None:
        owner = self.owner
        owner._no_improvement_count = owner._no_improvement_count + 1 if loss > owner.best_loss_ - owner.tol else 0
        owner.best_loss_ = min(owner.best_loss_, loss)

    def _observe_score(self, trainer: Training, score: float) -> None:
        owner = self.owner
        owner.validation_scores_.append(score)
        if owner.verbose:
            print(f"Validation score: {score:f}")
        worse = score < owner.best_validation_score_ + owner.tol
        owner._no_improvement_count = owner._no_improvement_count + 1 if worse else 0
        if score > owner.best_validation_score_:
            owner.best_validation_score_ = score
            owner._best_state = trainer.net.state_dict()

    def _stop(self, trainer: Training) -> None:
        owner = self.owner
        what = "Validation score" if self.early_stopping else "Training loss"
        message = (f"{what} did not improve more than tol={owner.tol:f} for {owner.n_iter_no_change} consecutive "
                   "epochs.")
        adaptive = owner.learning_rate == "adaptive" and owner.solver == "sgd"
        rate = trainer.lr / self.objective.gradient_scale
        if adaptive and rate > _LEAST_RATE:
            self._set_rate(trainer, trainer.lr / 5)
            owner._no_improvement_count = 0
            message += f" Setting learning rate to {rate / 5:f}"
        else:
            trainer.stop = owner.stopped_ = True
            message += " Learning rate too small. Stopping." if adaptive else " Stopping."
        if owner.verbose:
            print(message)

    def _set_rate(self, trainer: Training, rate: float) -> None:
        # scikit-learn's velocity has the learning rate in it: a new rate leaves it as it is
        velocity = trainer.update.state[0]
        velocity *= trainer.lr / rate
        trainer.optimizer.lr = rate


class Shuffling:
    """Orders the rows of each epoch as scikit-learn does: what was in order before is shuffled again."""

    def __init__(self, random_state: np.random.RandomState, shuffle: bool) -> None:
        self._random_state, self._shuffle = random_state, shuffle
        self._order: Array | None = None

    def __call__(self, epoch: int, rows: Array) -> Array:
        if self._order is None:
            self._order = rows
        if self._shuffle:
            again = np.arange(len(rows))
            self._random_state.shuffle(again)
            self._order = self._order[again]
        return self._order


@dataclass(frozen=True)
class Epoch:
    """The sizes of an epoch, and what scikit-learn's penalty α |W|² / (2 rows of the mini-batch) makes of them.

    Attributes
    ----------
    rows, batch_size : int
    weight : float
        The mean sample weight.
    """

    rows: int
    batch_size: int
    weight: float = 1.0

    @property
    def updates(self) -> int:
        """Mini-batches."""
        return -(-self.rows // self.batch_size)

    @property
    def decay(self) -> float:
        """What α is multiplied by in an update, averaged over the epoch: the last mini-batch may have fewer rows."""
        last = self.rows - (self.updates - 1) * self.batch_size
        return ((self.updates - 1) / self.batch_size + 1 / last) / self.updates / self.weight

    @property
    def penalty(self) -> float:
        """What α is multiplied by in the loss of the epoch, a mean over rows."""
        return self.updates / self.rows / self.weight


def start(owner: Any, early_stopping: bool) -> None:
    """Set what the rule keeps to its beginning."""
    owner.n_iter_, owner.t_, owner._no_improvement_count = 0, 0, 0
    owner.loss_curve_, owner.stopped_, owner._best_state = [], False, None
    owner.best_loss_ = None if early_stopping else inf
    owner.validation_scores_ = [] if early_stopping else None
    owner.best_validation_score_ = -inf if early_stopping else None
