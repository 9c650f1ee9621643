"""The loss and the metrics of labelled data, without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from fastbp.core.checks import finite_inputs
from fastbp.engine.backend import Data
from fastbp.engine.executable import Executable
from fastbp.ops.base import Array

Metric = Callable[[Any, Any], Any]


def evaluate(net: Executable, data: Data, metrics: Mapping[str, Metric], batch_size: int = 1024,
             rows: Array | None = None) -> dict[str, float]:
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
    """
    deciding = [i for i, loss in enumerate(data.losses) if loss.decides]
    total, outputs = net._evaluate(data, batch_size, bool(metrics or deciding))
    if not isfinite(total):
        finite_inputs(data.inputs, rows)
    result = {"loss": total}
    for i in deciding:
        accuracy = data.losses[i].accuracy(outputs[i], data.targets[i], data.sample_weight)
        if accuracy is not None:
            result["accuracy" if len(data.losses) == 1 else f"accuracy_{i}"] = accuracy
    if not metrics:
        return result
    pair: tuple[Any, Any] = (tuple(data.targets), outputs)
    if len(outputs) == len(data.targets) == 1:
        pair = data.targets[0], outputs[0]
    return result | {name: _number(name, metric(*pair)) for name, metric in metrics.items()}


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
