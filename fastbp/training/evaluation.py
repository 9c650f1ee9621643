"""The loss and the metrics of labelled data, without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, isnan, nan
from typing import Any

import numpy as np

from fastbp.core.checks import finite_inputs
from fastbp.engine.backend import Data, Look
from fastbp.engine.executable import Executable
from fastbp.engine.ranks import Ranks
from fastbp.objectives.functions import FunctionLoss
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array
from fastbp.training.metrics import NamedMetric, metric_named

Metric = Callable[[Any, Any], Any]


def evaluate(net: Executable, data: Data, metrics: Mapping[str, Metric], batch_size: int | None = None,
             rows: Array | None = None, ranks: Ranks | None = None) -> dict[str, float]:
    """Return the loss, the accuracy of losses that have one, and the metrics of checked data.

    Parameters
    ----------
    net : Executable
    data : Data
    metrics : dict of functions
    batch_size : int, optional
        Rows run together; by default as many as :meth:`~fastbp.Network.predict` runs.
    rows : array, optional
        How errors number the rows of the data.
    ranks : Ranks, optional
        That compute the outputs together, each of its part of the rows, which all of them have.
    """
    net = net._for(data.inputs)
    seen = _Seen(net, data, bool(metrics))
    heads = Heads(net, data)
    apart = batch_size is not None or data.rows <= 1 or net.graph.rows_apart
    batch_size = net._together(data.rows) if batch_size is None else batch_size
    if ranks is None or not apart or isinstance(data.losses[0], FunctionLoss):
        each = _losses(net, replace(data, scales=()), batch_size, seen)
    else:
        each = _losses_of_outputs(_shared_outputs(ranks, net, data.inputs, batch_size), data, seen)
    total = heads.total(each)
    if not isfinite(total):
        finite_inputs(data.inputs, rows)
    return {"loss": total, **heads.losses(each), **heads.accuracies(seen.accuracies()),
            **measure(net, data, metrics, seen)}


def measure(net: Executable, data: Data, metrics: Mapping[str, Metric], seen: _Seen | None = None) -> dict[str, float]:
    """Return the metrics of checked data."""
    if not metrics:
        return {}
    outputs = seen.outputs if seen is not None else net._outputs(data.inputs)
    if len(outputs) == len(data.targets):
        pair = net._outs.handed(data.targets), net._outs.handed(outputs)
    else:
        pair = tuple(data.targets), tuple(outputs)
    weights = () if data.sample_weight is None else (data.sample_weight,)
    return {name: _number(name, metric(*pair, *(weights if getattr(metric, "takes_weights", False) else ())))
            for name, metric in metrics.items()}


class Heads:
    """The outputs of a network with a loss each: what each counts for, and what its entries are called."""

    def __init__(self, net: Executable, data: Data) -> None:
        self._losses, self._scales = data.losses, data.scales or (1.0,) * len(data.losses)
        several = len(data.losses) > 1
        self._side, self._several = net._outs, several

    def name(self, what: str, head: int) -> str:
        """Return what an entry of a head is called: ``"accuracy"``, ``"kind_accuracy"``, ``"accuracy_0"``."""
        if not self._several:
            return what
        return f"{self._side.names[head]}_{what}" if self._side.named else f"{what}_{head}"

    def total(self, each: Sequence[float]) -> float:
        """Return the sum of the losses, each counted as it is to be."""
        return sum(scale * loss for scale, loss in zip(self._scales, each, strict=True))

    def losses(self, each: Sequence[float]) -> dict[str, float]:
        """Return the loss of each head, where there are several."""
        return {self.name("loss", i): loss for i, loss in enumerate(each)} if self._several else {}

    def accuracies(self, found: Mapping[int, float]) -> dict[str, float]:
        """Return the accuracies of heads by name."""
        return {self.name("accuracy", i): value for i, value in found.items()}

    def of_epoch(self, means: Array) -> dict[str, float]:
        """Return what `train` noted of the losses and right decisions, (losses, 2), averaged over the rows."""
        pairs = zip(means[:, 0].tolist(), self._scales, strict=True)
        each = [value / scale if scale else nan for value, scale in pairs]
        right = {i: value for i, value in enumerate(means[:, 1].tolist()) if not isnan(value)}
        return self.losses(each) | self.accuracies(right)


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
        self.outputs = [np.empty(t.shape_of(data.rows), net.dtype) for t in wanted]
        self._by_rows = [t.by_rows for t in wanted]

    @property
    def look(self) -> Look | None:
        """What is to be called with the outputs of each batch, if anything is."""
        return self._look if self._right or self.outputs else None

    def _look(self, rows: slice, outputs: Sequence[Array], counted: Mapping[int, Array]) -> None:
        weight = None if self._data.sample_weight is None else self._data.sample_weight[rows]
        for i, (right, counts) in self._right.items():
            if i in counted:
                right[rows], counts[rows] = counted[i], 1 if weight is None else weight
                continue
            right[rows], counts[rows] = self._data.losses[i].decisions(outputs[i], self._data.targets[i][rows], weight)
        for whole, part, by_rows in zip(self.outputs, outputs, self._by_rows, strict=False):
            whole[rows if by_rows else ...] = part

    def accuracies(self) -> dict[int, float]:
        """Return the accuracy of each loss that has one."""
        weight, losses = self._data.sample_weight, self._data.losses
        found: dict[int, float | None] = {i: _average(*pair) for i, pair in self._right.items()}
        for i in self._others:
            found[i] = losses[i].accuracy(self.outputs[i], self._data.targets[i], weight)
        return {i: value for i, value in sorted(found.items()) if value is not None}


def _losses(net: Executable, data: Data, batch_size: int, seen: _Seen) -> list[float]:
    """Return each of the losses of all rows, and show the outputs on the way."""
    if isinstance(data.losses[0], FunctionLoss):
        if seen.look is not None:
            seen.look(slice(0, data.rows), net._outputs(data.inputs, batch_size), {})
        return [net._loss_of(data, batch_size)]
    net._run_by(data.inputs)
    losses = net._backend.evaluate(data, batch_size, seen.look)
    if losses is None:
        return _losses_of_outputs(net._outputs(data.inputs, batch_size), data, seen)
    parts = [slice(i, i + batch_size) for i in range(0, data.rows, batch_size)]
    weights = [None if data.sample_weight is None else data.sample_weight[rows] for rows in parts]
    return [_average(each, np.array([loss.total_weight(target[rows], w)
                                     for rows, w in zip(parts, weights, strict=True)]))
            for each, loss, target in zip(losses.T, data.losses, data.targets, strict=True)]


def _losses_of_outputs(outputs: Sequence[Array], data: Data, seen: _Seen) -> list[float]:
    with np.errstate(all="ignore"):
        if seen.look is not None:
            seen.look(slice(0, data.rows), outputs, {})
        return [loss.value(y_pred, target, loss.row_weights(target, data.sample_weight))
                for y_pred, loss, target in zip(outputs, data.losses, data.targets, strict=True)]


def _average(values: Array, weights: Array | None) -> float:
    """Return the weighted mean; 0 where nothing weighs anything."""
    return float(np.average(values, weights=weights)) if weights is None or weights.any() else 0.0


def named_metrics(metrics: Any, net: Executable, losses: Sequence[Loss]) -> dict[str, Metric]:
    """Check the metrics that a trainer is given, and return them by name.

    Those of heads, given as a list or dict with an entry for each output, become metrics of all outputs.
    """
    per_head = _per_head(metrics, net)
    heads = Heads(net, Data((), losses))
    found: dict[str, Metric] = {}
    if per_head is None:
        for name, metric in _by_name(metrics).items():
            if isinstance(metric, NamedMetric) and len(net.graph.outputs) > 1:
                found |= {heads.name(name, i): _OfHead(i, net, metric.of(loss)) for i, loss in enumerate(losses)}
            else:
                found[name] = metric.of(losses[0]) if isinstance(metric, NamedMetric) else metric
    else:
        for i, (given, loss) in enumerate(zip(per_head, losses, strict=True)):
            for name, metric in _by_name(given).items():
                bound = metric.of(loss) if isinstance(metric, NamedMetric) else metric
                found[heads.name(name, i)] = _OfHead(i, net, bound)
    there = {"loss"} | {heads.name("accuracy", i) for i, loss in enumerate(losses) if loss.decides}
    return {name: metric for name, metric in found.items() if not (name in there and _is_accuracy(metric))}


def _is_accuracy(metric: Metric) -> bool:
    """Whether a metric is the accuracy that a loss has by itself."""
    return isinstance(getattr(metric, "metric", None), NamedMetric) or isinstance(metric, _OfHead)


@dataclass(frozen=True)
class _OfHead:
    """A metric of one of several outputs."""

    head: int
    net: Executable
    metric: Metric

    @property
    def takes_weights(self) -> bool:
        return getattr(self.metric, "takes_weights", False)

    def __call__(self, y_true: Any, y_pred: Any, *weights: Array) -> Any:
        pair = (self.net._outs.several(what, values)[self.head] for what, values in (("y", y_true), ("y_pred", y_pred)))
        return self.metric(*pair, *weights)


def _per_head(metrics: Any, net: Executable) -> list[Any] | None:
    """Return the metrics of each head, where they are given so."""
    side = net._outs
    if side.alone:
        return None
    if isinstance(metrics, Mapping) and metrics and set(metrics) <= set(side.names):
        return [metrics.get(name) for name in side.names]
    if isinstance(metrics, list | tuple) and any(m is None or isinstance(m, list | tuple | Mapping) for m in metrics):
        return side.several("Trainer: metrics", metrics)
    return None


def _by_name(metrics: Any) -> dict[str, Any]:
    """Return metrics by name; what is given by its name is a NamedMetric."""
    if metrics is None:
        return {}
    if isinstance(metrics, Mapping):
        named = {name: metric_named(m)[1] if isinstance(m, str) else m for name, m in metrics.items()}
    else:
        given = [metrics] if callable(metrics) or isinstance(metrics, str) else _sequence("Trainer: metrics", metrics)
        named = dict(metric_named(m) if isinstance(m, str) else
                     (getattr(m, "__name__", type(m).__name__), m) for m in given)
    for name, metric in named.items():
        if isinstance(metric, NamedMetric):
            continue
        if not callable(metric):
            raise TypeError(f"Trainer: metrics holds {metric!r}; expected names or functions metric(y_true, y_pred)")
        if name in ("loss", "accuracy"):
            raise ValueError(f"Trainer: a metric is called {name!r}, as one that is there already; give another name: "
                             f'metrics={{"my_{name}": {name}}}')
    return named


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
