"""A layer and its peer in PyTorch, held against each other: outputs and all gradients, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import fastbp as fb

Array = Any
TOLERANCE = 1e-9


def compare(net: fb.Network, peer: Callable[..., Any], inputs: Sequence[Array], to_peer: dict[str, Any],
            rng: np.random.Generator) -> None:
    """Hold outputs, gradients of inputs and of parameters of a network against those of a function of tensors.

    ``peer(*inputs, **parameters)`` takes and gives tensors of PyTorch laid out as ours; ``to_peer`` brings our
    parameters to it: a function of an array each, which is differentiated through.
    """
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    torch.set_num_threads(1)        # its threads wait for each other by turning, which takes long on a busy machine
    for values in net.params.values():
        values[...] = rng.standard_normal(values.shape)
    xs = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    ps = {name: torch.tensor(np.array(v), requires_grad=True) for name, v in net.params.items()}
    theirs = peer(*xs, **{role: read(ps) for role, read in to_peer.items()})
    theirs = theirs if isinstance(theirs, tuple) else (theirs,)
    ours = net.forward(inputs[0] if net._ins.alone else tuple(inputs), training=True)
    ours = ours if isinstance(ours, tuple) else (ours,)
    dys = [rng.standard_normal(y.shape) for y in ours]
    for y, t in zip(ours, theirs, strict=True):
        close("y", y, t)
    sum((t * torch.from_numpy(dy)).sum() for t, dy in zip(theirs, dys, strict=True)).backward()
    dxs = net.backward(tuple(dys) if len(dys) > 1 else dys[0])
    for i, (dx, x) in enumerate(zip(dxs if isinstance(dxs, tuple) else (dxs,), xs, strict=True)):
        if x.requires_grad:
            close(f"dx{i}", dx, torch.zeros_like(x) if x.grad is None else x.grad)
    for name, p in ps.items():
        close(name, net.grads[name], torch.zeros_like(p) if p.grad is None else p.grad)


def close(name: str, ours: Array, theirs: Any) -> None:
    """Raise AssertionError where numbers differ by more than a billionth of the largest."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, name
    scale = max(1.0, float(np.abs(theirs).max(initial=0)))
    assert float(np.abs(ours - theirs).max(initial=0)) <= TOLERANCE * scale, name
