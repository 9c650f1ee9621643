"""Random networks: the native backend against the reference, and both against central differences.

The suite tries a fixed number of them; ``tools/fuzz.sh`` tries new ones for as long as it is told to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import graphs
import numpy as np
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

import fastbp as fb
from fastbp.engine import native

Array = Any

EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Share even tiny work among n threads."""
    before = fb.get_num_threads()
    fb.set_num_threads(n)
    native.set_fork_cost(0 if n > 1 else None)
    try:
        yield
    finally:
        fb.set_num_threads(before)
        native.set_fork_cost(None)


def results(net: fb.Network, example: graphs.Example, off: float = 0) -> list[Array]:
    """Return output, loss and all gradients; ``off`` moves every number that goes in by that much of itself."""
    x, y, weight = example.data(net)
    rng = np.random.default_rng(99)
    if off:
        x = [a * (1 + off * rng.uniform(-1, 1, a.shape)) for a in x]
        net.params.flat *= 1 + off * rng.uniform(-1, 1, net.params.flat.shape)
    outputs = [*net.forward(tuple(x)), *net.forward(tuple(x), training=True)]
    loss = net.loss_and_grad(tuple(x), tuple(y), example.losses, weight)
    return [*outputs, np.array(loss), *net.input_grads, *(g.copy() for g in net.grads.values()),
            *(b.copy() for b in net.buffers.values())]


def assert_close(native_results: list[Array], example: graphs.Example) -> None:
    """Hold the error against how much the results move when all that goes in is rounded once more."""
    with np.errstate(all="ignore"):
        exact = results(example.network("reference", "float64"), example)
        assume(all(np.isfinite(e).all() and np.abs(e).max(initial=0) < 1e6 for e in exact))
        moved = [results(example.network("reference", "float64"), example, 2 * EPSILON[example.dtype])]
        if example.dtype == "float32":
            moved.append(results(example.network("reference", "float32"), example))
    for i, (result, should) in enumerate(zip(native_results, exact, strict=True)):
        assert result.shape == should.shape
        sensitivity = max(float(np.abs(m[i] - should).max(initial=0)) for m in moved)
        scale = max(1.0, float(np.abs(should).max(initial=0)))
        bound = 100 * sensitivity + 2000 * EPSILON[example.dtype] * scale
        worst = float(np.abs(result - should).max(initial=0))
        assert worst <= bound, f"result {i} is off by {worst:.3g}; allowed {bound:.3g}; {example}"


def refusal(net: fb.Network, example: graphs.Example) -> str:
    """Return why this cannot be trained on: no rows at all, or too few for batch normalisation; "" if it can."""
    x, y, weight = example.data(net)
    try:
        net.loss_and_grad(tuple(x), tuple(y), example.losses, weight)
    except ValueError as error:
        return str(error)
    return ""


def refused(example: graphs.Example) -> bool:
    """Whether it is; both backends must say the same."""
    reasons = {refusal(example.network(backend), example) for backend in ("reference", "native")}
    assert len(reasons) == 1, reasons
    return reasons != {""}


@given(graphs.examples(), st.integers(1, 3))
def test_native_agrees_with_the_reference(example: graphs.Example, n_threads: int) -> None:
    net = example.network()
    event(f"{example.dtype}, {len(net.graph.nodes)} ops")
    if refused(example):
        outputs = net.forward(tuple(example.data(net)[0]))
        assert [y.shape for y in outputs] == [(example.rows, *t.shape) for t in net.graph.outputs]
        return
    with threads(n_threads):
        assert_close(results(net, example), example)


@pytest.mark.filterwarnings("ignore:the network ends in:UserWarning")
@given(graphs.examples(dtypes=("float64",), most_rows=40), st.integers(1, 17), st.integers(1, 3))
def test_training_follows_the_reference(example: graphs.Example, batch_size: int, n_threads: int) -> None:
    """Two epochs, with a last mini-batch of what is left."""
    assume(example.rows > 0)
    nets, problems = [example.network("reference"), example.network()], []
    for net in nets:
        x, y, weight = example.data(net)
        trainer = fb.Trainer(net, example.losses, fb.SGD(1e-3, momentum=0.5))
        with threads(n_threads):
            try:
                trainer.fit(tuple(x), tuple(y), sample_weight=weight, batch_size=batch_size, epochs=2, progress=False)
                problems.append("")
            except (ValueError, fb.DivergenceError) as error:
                problems.append(str(error))
    assert problems[0] == problems[1]
    assume(all(np.isfinite(net.params.flat).all() and np.abs(net.params.flat).max(initial=0) < 100 for net in nets))
    for name in nets[0].params:
        np.testing.assert_allclose(nets[1].params[name], nets[0].params[name], rtol=1e-5, atol=1e-7,
                                   err_msg=f"{name}; {example}")


@given(graphs.examples(dtypes=("float64",), most_rows=6, least_rows=2, depth=5))
def test_gradients_agree_with_central_differences(example: graphs.Example) -> None:
    net = example.network()
    x, y, weight = example.data(net)
    assume(not refused(example))
    with np.errstate(all="ignore"):
        loss = net.loss_and_grad(tuple(x), tuple(y), example.losses, weight)
    assume(np.isfinite(loss) and abs(loss) < 1e4 and np.abs(net.grads.flat).max(initial=0) < 1e4)
    report = fb.gradcheck(net, tuple(x), tuple(y), example.losses, weight, directions=1, tolerance=1e-4)
    assert report or report.worst is None, f"{report}\n{example}"


# ---- found -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_a_network_of_views_alone(backend: Any) -> None:
    """Once a KeyError: no op wrote or read the gradient of the output."""
    net = fb.Sequential(fb.Input(2, 3), fb.Flatten(), backend=backend)
    x = np.arange(24.0).reshape(4, 2, 3)
    np.testing.assert_array_equal(net.forward(x, training=True), x.reshape(4, 6))
    np.testing.assert_array_equal(net.backward(np.ones((4, 6))), np.ones((4, 2, 3)))
    net.loss_and_grad(x, np.zeros((4, 6)), fb.HalfSquaredError())
    np.testing.assert_array_equal(net.input_grads[0], x / 4)
