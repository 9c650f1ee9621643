"""The loss and the metrics of labelled data, without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from fastbp.core.checks import finite_inputs
from fastbp.engine.backend import Data, Look
from fastbp.engine.executable import Executable
from fastbp.engine.ranks import Ranks
from fastbp.objectives.functions import FunctionLoss
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array

Metric = Callable[[Any, Any], Any]


def evaluate(net: Executable, data: Data, metrics: Mapping[str, Metric], batch_size: int = 1024,
             rows: Array | None = None, ranks: Ranks | None = None) -> dict[str, float]:
    """Return the loss, the accuracy of losses that have one, and the metrics of checked data.

    Parameters
    ----------
    net : Executable
    data : Data
    metrics : dict of functions
    batch_size : int
        Rows run together.
    rows : array, optional
        How errors number the rows of the data.
    ranks : Ranks, optional
        That compute the outputs together, each of its part of the rows, which all of them have.
    """
    net = net._for(data.inputs)
    seen = _Seen(net, data, bool(metrics))
    if ranks is None or isinstance(data.losses[0], FunctionLoss):
        total = _loss(net, data, batch_size, seen)
    else:
        total = _loss_of_outputs(_shared_outputs(ranks, net, data.inputs, batch_size), data, seen)
    if not isfinite(total):
        finite_inputs(data.inputs, rows)
    result = {"loss": total} | seen.accuracies()
    if not metrics:
        return result
    pair: tuple[Any, Any] = (tuple(data.targets), tuple(seen.outputs))
    if len(seen.outputs) == len(data.targets) == 1:
        pair = data.targets[0], seen.outputs[0]
    return result | {name: _number(name, metric(*pair)) for name, metric in metrics.items()}


def _shared_outputs(ranks: Ranks, net: Executable, inputs: Sequence[Array], batch_size: int) -> list[Array]:
    """Return the outputs of all rows, each rank having computed its part of them."""
    rows = len(inputs[0])
    low, high = (-(-(ranks.rank + i) * rows // ranks.size) for i in (0, 1))
    with ranks.together():
        own = net._outputs([x[low:high] for x in inputs], batch_size) if high > low else [
            np.empty((0, *t.shape), net.dtype) for t in net.graph.outputs]
    return [ranks.gather(y, low, rows) for y in own]


class _Seen:
    """What is kept of the outputs: the decisions of each row, and all of them where somebody wants to see them."""

    def __init__(self, net: Executable, data: Data, all_outputs: bool) -> None:
        self._data = data
        self._others = [i for i, loss in enumerate(data.losses) if type(loss).accuracy is not Loss.accuracy]
        # the share of right decisions in each row, and what the row counts for
        self._right = {i: (np.empty(data.rows), np.empty(data.rows)) for i, loss in enumerate(data.losses)
                       if loss.decides and i not in self._others}
        wanted = net.graph.outputs if all_outputs or self._others else ()
        self.outputs = [np.empty((data.rows, *t.shape), net.dtype) for t in wanted]

    @property
    def look(self) -> Look | None:
        """What is to be called with the outputs of each batch, if anything is."""
        return self._look if self._right or self.outputs else None

    def _look(self, rows: slice, outputs: Sequence[Array]) -> None:
        weight = None if self._data.sample_weight is None else self._data.sample_weight[rows]
        for i, (right, counts) in self._right.items():
            right[rows], counts[rows] = self._data.losses[i].decisions(outputs[i], self._data.targets[i][rows], weight)
        for whole, part in zip(self.outputs, outputs, strict=False):
            whole[rows] = part

    def accuracies(self) -> dict[str, float]:
        """Return the accuracy of each loss that has one."""
        weight, losses = self._data.sample_weight, self._data.losses
        found: dict[int, float | None] = {i: _average(*pair) for i, pair in self._right.items()}
        for i in self._others:
            found[i] = losses[i].accuracy(self.outputs[i], self._data.targets[i], weight)
        return {"accuracy" if len(losses) == 1 else f"accuracy_{i}": value for i, value in sorted(found.items())
                if value is not None}


def _loss(net: Executable, data: Data, batch_size: int, seen: _Seen) -> float:
    """Return the loss of all rows, and show the outputs on the way."""
    if isinstance(data.losses[0], FunctionLoss):
        if seen.look is not None:
            seen.look(slice(0, data.rows), net._outputs(data.inputs, batch_size))
        return net._loss_of(data, batch_size)
    net._run_by(data.inputs)
    losses = net._backend.evaluate(data, batch_size, seen.look)
    if losses is None:
        return _loss_of_outputs(net._outputs(data.inputs, batch_size), data, seen)
    parts = [slice(i, i + batch_size) for i in range(0, data.rows, batch_size)]
    weights = [None if data.sample_weight is None else data.sample_weight[rows] for rows in parts]
    return sum(_average(each, np.array([loss.total_weight(target[rows], w)
                                        for rows, w in zip(parts, weights, strict=True)]))
               for each, loss, target in zip(losses.T, data.losses, data.targets, strict=True))


def _loss_of_outputs(outputs: Sequence[Array], data: Data, seen: _Seen) -> float:
    with np.errstate(all="ignore"):
        if seen.look is not None:
            seen.look(slice(0, data.rows), outputs)
        return sum(loss.value(y_pred, target, loss.row_weights(target, data.sample_weight))
                   for y_pred, loss, target in zip(outputs, data.losses, data.targets, strict=True))


def _average(values: Array, weights: Array | None) -> float:
    """Return the weighted mean; 0 where nothing weighs anything."""
    return float(np.average(values, weights=weights)) if weights is None or weights.any() else 0.0


def named_metrics(metrics: Any) -> dict[str, Metric]:
    """Check the metrics that a trainer is given, and return them by name."""
    if metrics is None:
        return {}
    if isinstance(metrics, Mapping):
        named = metrics
    else:
        given = [metrics] if callable(metrics) else _sequence("Trainer: metrics", metrics)
        named = {getattr(metric, "__name__", type(metric).__name__): metric for metric in given}
    for name, metric in named.items():
        if not callable(metric):
            raise TypeError(f"Trainer: metrics holds {metric!r}; expected functions metric(y_true, y_pred)")
        if name in ("loss", "accuracy"):
            raise ValueError(f"Trainer: a metric is called {name!r}, as one that is there already; give another name: "
                             f'metrics={{"my_{name}": {name}}}')
    return dict(named)


def _sequence(argument: str, values: Any) -> Sequence[Any]:
    if not isinstance(values, list | tuple):
        raise TypeError(f"{argument} is {values!r}; expected a list")
    return values


def _number(metric: str, value: Any) -> float:
    found = np.asarray(value)
    if found.size != 1 or found.dtype.kind not in "fiub":
        what = f"shape {found.shape}" if found.ndim else repr(value)
        raise TypeError(f"metric {metric}: returned {what}; expected one number, such as a mean")
    return float(found.item())
