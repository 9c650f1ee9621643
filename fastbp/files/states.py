"""States: parameters and buffers by name, taken over from another network or from PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastbp.core.checks import numbers
from fastbp.engine.executable import Executable
from fastbp.files.pytorch import as_array, from_state, is_tensor, turned_there
from fastbp.ops.base import Array, Shape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Layout = Literal["fastbp", "torch"]


@dataclass(frozen=True)
class LoadReport:
    """What ``net.load_state_dict`` did.

    Attributes
    ----------
    loaded : tuple of str
        Names of parameters and buffers that were set.
    missing : tuple of str
        Those that the state does not have; they are as they were.
    unexpected : tuple of str
        Names in the state that the network does not have.
    mismatched : dict of str to (shape, shape)
        Those whose shape is another one: as given, and as expected. They are as they were.
    """

    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every name had its counterpart."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        parts = [f"loaded {len(self.loaded)} of {len(self.loaded) + len(self.missing) + len(self.mismatched)}"]
        parts += [f"{what}: {', '.join(map(repr, names))}" for what, names in
                  (("missing", self.missing), ("unexpected", self.unexpected)) if names]
        if self.mismatched:
            parts.append("mismatched: " + ", ".join(f"{n!r} has shape {got}, expected {own}"
                                                    for n, (got, own) in self.mismatched.items()))
        return "; ".join(parts)


def load_state(net: Executable, state: Mapping[str, ArrayLike], strict: bool, layout: Layout | None) -> LoadReport:
    """Set parameters and buffers; ``net.load_state_dict(state)``."""
    if not isinstance(state, Mapping):
        raise TypeError(f"load_state_dict: state is {type(state).__name__}; expected a mapping of names to arrays, as "
                        "state_dict() gives")
    given: Mapping[str, Any] = state
    if _is_torch(net, state, layout):
        given = from_state(state, net.graph)
    own = {**net.params, **net.buffers}
    new = {name: numbers(f"state[{name!r}]", as_array(given[name]), net.dtype) for name in own if name in given}
    mismatched = {n: (v.shape, own[n].shape) for n, v in new.items() if v.shape != own[n].shape}
    if layout is None:
        _refuse_other_layout(net, mismatched)
    report = LoadReport(tuple(n for n in new if n not in mismatched), tuple(n for n in own if n not in new),
                        tuple(n for n in given if n not in own), mismatched)
    if strict and not report.complete:
        raise ValueError(_message(report, own))
    for name in report.loaded:
        own[name][...] = new[name]
    return report


def _is_torch(net: Executable, state: Mapping[str, Any], layout: Layout | None) -> bool:
    """Whether a state is laid out as PyTorch does it."""
    if layout is not None:
        if layout not in ("fastbp", "torch"):
            raise ValueError(f'load_state_dict: layout is {layout!r}; expected "fastbp", "torch", or None')
        return layout == "torch"
    tensors = [name for name, values in state.items() if is_tensor(values)]
    if tensors and len(tensors) < len(state):
        other = next(name for name in state if name not in tensors)
        raise TypeError(f"load_state_dict: state has both a tensor of PyTorch, {tensors[0]!r}, and an array, {other!r}"
                        '; PyTorch lays out linear weights as (out, in), fastbp as (in, out): say layout="torch" or '
                        'layout="fastbp"')
    counters = [name for name in state if name.endswith(".num_batches_tracked")]
    if counters and not tensors:
        raise ValueError(f"load_state_dict: state has {counters[0]!r}, as PyTorch names it, whose linear weights are "
                         '(out, in); to have them transposed say layout="torch"')
    return bool(tensors)


def _refuse_other_layout(net: Executable, mismatched: Mapping[str, tuple[Shape, Shape]]) -> None:
    """Square weights fit either way: one that fits only when turned tells that all are the other way round."""
    for name, turn in turned_there(net.graph).items():
        got, expected = mismatched.get(name, ((), ()))
        if len(got) == len(expected) > 1 and turn.here(np.broadcast_to(0.0, got)).shape == expected:
            raise ValueError(f"load_state_dict: state[{name!r}] has shape {got}; expected {expected}. If the state is "
                             'laid out as in PyTorch, (out, in), say layout="torch"')


def _message(report: LoadReport, own: Mapping[str, Array]) -> str:
    if report.missing or report.unexpected:
        parts = [f"{what} {', '.join(map(repr, names))}" for what, names in
                 (("lacks", report.missing), ("has unknown", report.unexpected)) if names]
        return (f"load_state_dict: state {' and '.join(parts)}; expected {', '.join(map(repr, own))}. With "
                "strict=False what fits is taken")
    name, (got, expected) = next(iter(report.mismatched.items()))
    return (f"load_state_dict: state[{name!r}] has shape {got}; expected {expected}. With strict=False what fits is "
            "taken")
