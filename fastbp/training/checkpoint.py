"""Checkpoints: all that training needs to go on, in the file of the network.

To the network's own file (:mod:`fastbp.files.networks`) come the loss, the optimizer with its schedule and state, the
updates done, the history, and what the callbacks of the running fit remember. Random numbers are keyed by seed, update
and epoch, which the file has. So training that stops after an epoch and is resumed gives the same bits as training that
never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fastbp.core.checks import number
from fastbp.core.errors import FormatError
from fastbp.engine.executable import BackendName
from fastbp.files.container import Contents, Paths, read, write
from fastbp.files.description import Entry, described, plain
from fastbp.files.networks import build, classes, describe, find, tensors_of
from fastbp.layers.base import Layer
from fastbp.network import Network
from fastbp.objectives import cross_entropy, losses
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array
from fastbp.optim import optimizers, schedules
from fastbp.optim.optimizers import Optimizer
from fastbp.optim.schedules import (
    ConstantSchedule,
    DelayedSchedule,
    FunctionSchedule,
    ReduceOnPlateau,
    ScaledSchedule,
    Schedule,
)
from fastbp.reading import KINDS

# Names of a network's arrays begin with the name of a layer, which has no dot: nothing of its can be called so.
_OPTIMIZER, _CALLBACKS = ".optimizer/", ".callbacks/"
_LOSSES = (losses, cross_entropy)


@dataclass
class TrainingState:
    """All that training needs to go on.

    Attributes
    ----------
    net : Network
    loss : Loss, or a tuple or dict of them
    optimizer : Optimizer
    step : int
        Updates done.
    arrays : sequence of arrays
        The optimizer's state, named by ``optimizer.state_names``.
    clip_norm, clip_value : float or None
    history : sequence of dict
    callbacks : list of (str, dict)
        What callbacks remember, by class.
    parameters : tuple of str or None
        What is trained, if not all.
    loss_weights : sequence of float, or None
    """

    net: Network
    loss: Any
    optimizer: Optimizer
    step: int
    arrays: Sequence[Array]
    clip_norm: float | None
    clip_value: float | None
    history: Sequence[Mapping[str, float]]
    callbacks: list[tuple[str, dict[str, Any]]]
    parameters: tuple[str, ...] | None = None
    loss_weights: Sequence[float] | None = None


def save(state: TrainingState, path: Paths) -> None:
    """Write a checkpoint; ``trainer.save_checkpoint(path)``."""
    tensors = tensors_of(state.net)
    tensors.update(zip(_state_names(state.optimizer), state.arrays, strict=True))
    callbacks = [{"type": kind, "state": _take_out(kept, f"{_CALLBACKS}{i}", tensors)}
                 for i, (kind, kept) in enumerate(state.callbacks)]
    write(path, {"network": describe(state.net), "trainer": {
        "losses": [_describe_loss(loss) for loss in state.net._losses(state.loss)],
        **({} if state.loss_weights is None else {"loss_weights": list(state.loss_weights)}),
        "optimizer": _describe_optimizer(state.optimizer), "step": state.step,
        "clip_norm": state.clip_norm, "clip_value": state.clip_value,
        **({} if state.parameters is None else {"parameters": list(state.parameters)}),
        "history": [{k: plain(f"history: {k}", v) for k, v in row.items()} for row in state.history],
        "callbacks": [c for c in callbacks if c["state"]]}}, tensors)


def load(path: Paths, loss: Any, optimizer: Optimizer | None, backend: BackendName,
         layers: Iterable[type[Layer]]) -> TrainingState:
    """Read a checkpoint; ``fb.Trainer.resume(path)``. A loss and an optimizer that are given are used instead."""
    contents = read(path)
    if "trainer" not in contents.description:
        raise FormatError(f"{contents.path} holds a network, but no trainer; load it with fb.load, and make a "
                          "fb.Trainer for it")
    net = build(contents, KINDS, backend, layers)
    d = Entry(contents.description)["trainer"]
    with described(contents.path):
        if loss is None:
            found = [_loss(entry) for entry in d["losses"].each()]
            if len(found) != len(net.graph.outputs):
                raise ValueError(f"it has {len(found)} losses for {len(net.graph.outputs)} outputs")
            loss = net._outs.handed(found)
            net._losses(loss)
        if optimizer is None:
            optimizer = _optimizer(d["optimizer"])
        lr = d["optimizer"]["lr"]
        if isinstance(optimizer.lr, ReduceOnPlateau) and "state" in lr.mapping():
            with lr["state"].told():
                optimizer.lr.load_state_dict(lr["state"].mapping())
        clip_norm, clip_value = (_limit(d[name]) for name in ("clip_norm", "clip_value"))
        return TrainingState(
            net, loss, optimizer, d["step"].whole(), _arrays(net, optimizer, d, contents), clip_norm, clip_value,
            [_row(row) for row in d["history"].each()],
            [(c["type"].text(), _put_back(c["state"].mapping(), contents.tensors)) for c in d["callbacks"].each()],
            _parameters(net, d),
            [w.real() for w in d["loss_weights"].each()] if "loss_weights" in d.mapping() else None)


def _limit(entry: Entry) -> float | None:
    if entry.value is None:
        return None
    return number("its description", entry.place, entry.value, "a number above 0", lambda v: v > 0)


def _parameters(net: Network, d: Entry) -> tuple[str, ...] | None:
    """Return the names of what is trained, if not all."""
    if "parameters" not in d.mapping():
        return None
    names = tuple(name.text() for name in d["parameters"].each())
    unknown = [name for name in names if name not in net.params]
    if unknown or not names:
        raise ValueError(f"it trains {', '.join(map(repr, unknown)) or 'nothing'}, which the network has not")
    return names


def _row(entry: Entry) -> dict[str, float]:
    """Return an epoch of the history."""
    entry["epoch"].whole()
    return {key: entry[key].real() for key in entry.mapping()}


def _arrays(net: Network, optimizer: Optimizer, d: Entry, contents: Contents) -> list[Array]:
    """Return the optimizer's state, having checked that it is this optimizer's for this network."""
    kept = {n for n in contents.tensors if n.startswith(_OPTIMIZER)}
    if kept != set(_state_names(optimizer)):
        raise ValueError(f"it was written with the optimizer {d['optimizer']['type'].text()}; give one of its kind, "
                         f"not {optimizer!r}")
    arrays = [contents.tensors[name] for name in _state_names(optimizer)]
    for name, array in zip(optimizer.state_names, arrays, strict=True):
        if array.shape != net.params.flat.shape or array.dtype != net.dtype:
            raise ValueError(f"{name} is {array.shape} of {array.dtype}; expected {net.params.flat.shape} of "
                             f"{net.dtype}")
    return arrays


def _state_names(optimizer: Optimizer) -> list[str]:
    return [_OPTIMIZER + name for name in optimizer.state_names]


# ---- losses, optimizers, schedules: their class and arguments, or only a name where they are somebody's own ----------


def _describe_loss(loss: Loss) -> dict[str, Any]:
    known = type(loss) in classes(Loss, _LOSSES).values()
    return {"type": type(loss).__name__, "arguments": _fields(loss) if known else None}


def _loss(d: Entry) -> Loss:
    if d["arguments"].value is None:
        raise ValueError(f"its loss, {d['type'].text()}, is one that a file cannot hold; hand it in: loss=…")
    loss: Loss = _made("loss", d, classes(Loss, _LOSSES))
    return loss


def _describe_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    known = type(optimizer) is vars(optimizers).get(type(optimizer).__name__)
    arguments = {k: plain(k, v) for k, v in optimizer.hyperparameters().items() if k != "lr"} if known else None
    return {"type": type(optimizer).__name__, "arguments": arguments, "lr": _describe_schedule(optimizer.lr)}


def _optimizer(d: Entry) -> Optimizer:
    if d["arguments"].value is None or d["lr"]["arguments"].value is None:
        raise ValueError(f"its optimizer, {d['type'].text()} with {d['lr']['type'].text()} as its learning rate, is "
                         "one that a file cannot hold; hand it in: optimizer=…")
    lr = _schedule(d["lr"])
    optimizer: Optimizer = _made("optimizer", d, classes(Optimizer, (optimizers,)),
                                 lr=lr.lr if isinstance(lr, ConstantSchedule) else lr)
    return optimizer


def _made(argument: str, d: Entry, known: Mapping[str, Callable[..., Any]], **more: Any) -> Any:
    kind, arguments = find(argument, d["type"].text(), known, argument), d["arguments"].mapping()
    with d.told():
        return kind(**{**arguments, **more})


def _describe_schedule(lr: Schedule) -> dict[str, Any]:
    kind = type(lr).__name__
    if isinstance(lr, ReduceOnPlateau):
        return {"type": kind, "arguments": lr.arguments(), "state": lr.state_dict()}
    if isinstance(lr, ScaledSchedule | DelayedSchedule):
        inner = _describe_schedule(lr.schedule)
        own = {k: v for k, v in vars(lr).items() if k != "schedule"}
        return {"type": kind, "arguments": None if inner["arguments"] is None else own, "schedule": inner}
    known = type(lr) is vars(schedules).get(kind) and not isinstance(lr, FunctionSchedule)
    return {"type": kind, "arguments": _fields(lr) if known else None}


def _schedule(d: Entry) -> Any:
    more = {"schedule": _schedule(d["schedule"])} if "schedule" in d.mapping() else {}
    return _made("optimizer", d, classes(Schedule, (schedules,)), **more)


def _fields(thing: Any) -> dict[str, Any]:
    return {f.name: plain(f.name, getattr(thing, f.name)) for f in fields(thing)}


# ---- what callbacks remember: arrays are kept as arrays, and stand in the description by name ------------------------


def _take_out(value: Any, name: str, tensors: dict[str, Array]) -> Any:
    if isinstance(value, np.ndarray):
        tensors[name] = value
        return {"array": name}
    if isinstance(value, Mapping):
        return {k: _take_out(v, f"{name}/{k}", tensors) for k, v in value.items()}
    return plain(name, value)


def _put_back(value: Any, tensors: Mapping[str, Array]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"array"} and isinstance(value["array"], str):
            return tensors[value["array"]]
        return {k: _put_back(v, tensors) for k, v in value.items()}
    return value
