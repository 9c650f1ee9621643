"""Each layer and loss four ways, in float32: ``pytest benchmarks/test_layers.py``.

``kernel`` calls the functions of fastbp.kernels for its op, ``layer`` is the layer by itself, ``plan`` a network of
this layer alone, ``reference`` the same network in NumPy. What a plan costs here for each layer, it costs once for a
network of many: benchmarks/test_step.py has those. That all agree is checked before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cases
import numpy as np
import pytest

import fastbp as fb
from fastbp.engine.op_kernels import rule_of
from fastbp.graph.memory import BY_HAND
from fastbp.ops.base import Context

WAYS = ("kernel", "layer", "plan", "reference")
BATCHES = {"batch 1": 1, "batch 128": 128}
WIDTH = 256
_OWN_SIZES: dict[str, tuple[Callable[[], fb.Layer], tuple[tuple[int, ...], ...]]] = {
    "Linear": (lambda: fb.Linear(WIDTH, WIDTH), ((WIDTH,),)),
    "Flatten": (fb.Flatten, ((16, 16),))}


def _layers() -> dict[str, tuple[Callable[[], fb.Layer], tuple[tuple[int, ...], ...]]]:
    """One variant of each layer of one op, of WIDTH features."""
    found = dict(_OWN_SIZES)
    for name, case in cases.LAYERS.items():
        if name.split(",")[0].split(" ")[0] in ("PReLU", "Residual"):     # they know how many features they take
            continue
        simple = case.dtype is None and len(case.shapes) <= 2 and all(len(shape) == 1 for shape in case.shapes)
        if simple and name.split(",")[0] not in found and name != "Lambda" and _is_one_op(case.make, len(case.shapes)):
            found[name] = (case.make, ((WIDTH,),) * len(case.shapes))
    return found


def _is_one_op(make: Callable[[], fb.Layer], n_inputs: int) -> bool:
    inputs = [fb.Input(WIDTH) for _ in range(n_inputs)]
    node = make()(*inputs).node
    return node is not None and set(node.inputs) <= set(inputs)


LAYERS = _layers()


class Way:
    """A layer, run in one of the four ways on one batch."""

    def __init__(self, name: str, way: str, rows: int) -> None:
        make, shapes = LAYERS[name]
        rng = np.random.default_rng(0)
        self.way, self.xs = way, tuple(rng.standard_normal((rows, *shape)).astype(np.float32) for shape in shapes)
        self.layer = make().build(*shapes, seed=3, dtype="float32")
        inputs = [fb.Input(*shape) for shape in shapes]
        out = make()(*inputs)
        backend: Any = "reference" if way == "reference" else "native"
        self.net = fb.Network(inputs, out, seed=3, backend=backend)
        node = out.node
        assert node is not None
        self.rule = rule_of(node.op)
        self.ctx = Context(True, self.xs, seed=3, step=BY_HAND + 1, node=1, params=dict(self.layer.params),
                           buffers=dict(self.layer.state))
        self.dy = rng.standard_normal((rows, *out.shape)).astype(np.float32)

    def forward(self) -> Any:
        if self.way == "kernel":
            self.ctx.output = self.rule.forward(self.ctx)
            return self.ctx.output
        return self.layer.forward(*self.xs, training=True) if self.way == "layer" else \
            self.net.forward(self.xs, training=True)

    def backward(self) -> Any:
        if self.way == "kernel":
            return self.rule.backward(self.ctx, self.dy)[0]
        dxs = self.layer.backward(self.dy) if self.way == "layer" else self.net.backward(self.dy)
        return dxs if isinstance(dxs, tuple) else (dxs,)


def _check(name: str, way: str, rows: int) -> Way:
    """Return a way whose results are those of the reference."""
    own, reference = Way(name, way, rows), Way(name, "reference", rows)
    np.testing.assert_allclose(own.forward(), reference.forward(), rtol=1e-4, atol=1e-5)
    for dx, expected in zip(own.backward(), reference.backward(), strict=True):
        np.testing.assert_allclose(dx, expected, rtol=1e-3, atol=1e-4)
    return own


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_layer(benchmark: Any, name: str, direction: str, batch: str, way: str) -> None:
    rows = max(BATCHES[batch], 2) if name == "BatchNorm" else BATCHES[batch]
    own = _check(name, way, rows)
    benchmark.group = f"{name} {direction}, {batch}"
    benchmark(getattr(own, direction))


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", cases.LOSSES)
def test_loss(benchmark: Any, name: str, batch: str, way: str) -> None:
    """Loss and gradient. ``layer`` is the loss by itself."""
    case, rng = cases.LOSSES[name], np.random.default_rng(0)
    y_pred = rng.standard_normal((BATCHES[batch], *case.shape)).astype(np.float32)
    y = case.target(rng, BATCHES[batch])
    x = fb.Input(*case.shape)

    def by_itself() -> Any:
        return case.loss.forward(y_pred, y), case.loss.backward()

    def in_a_network(backend: Any) -> Callable[[], Any]:
        net = fb.Network(x, fb.Identity()(x), backend=backend)
        return lambda: (net.loss_and_grad(y_pred, y, case.loss), net.input_grads[0])

    runs = {"layer": by_itself, "plan": in_a_network("native"), "reference": in_a_network("reference")}
    for own, expected in zip(runs[way](), runs["reference"](), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-6)
    benchmark.group = f"{name}, {batch}"
    benchmark(runs[way])
