"""How plans are laid out: phases, tiles, scratch memory, and what is read where it is."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cases
import numpy as np
import pytest

import fastbp as fb
from fastbp.engine import native
from fastbp.engine.lowering import Lowering
from fastbp.engine.plan_parts import LossSpec, Purpose, buffers_of, nodes_of, read_in_place
from fastbp.graph.memory import Memory
from fastbp.ops.base import PRODUCT_SCRATCH, Native, Work
from fastbp.ops.layer_norm import LayerNormOp


def lowered(net, loss=None, target=None, **purpose):
    specs = ()
    if loss is not None:
        kind = "int64" if target.dtype.kind == "i" else "real"
        shape = net.graph.outputs[0].shape
        labels = loss.native_target(shape, target)[1]
        specs = (LossSpec(loss.native_name(target), loss.native(shape, target), target.shape[1:], kind, labels),)
    return Lowering(net.graph, Purpose(specs, **purpose), native.op_phases)


def training_plan(net, rows):
    low = lowered(net, fb.MSE(), np.zeros((1, *net.graph.outputs[0].shape)), backward=True)
    run = low.first + low.forward + low.loss + low.backward + low.gradients
    return native.Plan(Memory(net.graph, net.dtype), low, rows, {"prepare": low.prepare, "run": run}, native.Gate())


def test_the_document_names_the_phases_in_their_order():
    path = Path(__file__).parents[2] / "docs" / "architecture.md"
    if not path.exists():
        pytest.skip("the documents are not beside the tests")
    cells = [line.split("|")[1:3] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    named = {name.strip(): over.strip() for name, over in cells if over.strip() in ("rows", "units")}
    assert list(named.items()) == list(native.phases().items())


def test_python_and_c_agree_on_the_scratch_memory_of_products():
    assert native.PRODUCT_SCRATCH_BYTES == PRODUCT_SCRATCH


def test_threads_get_the_scratch_memory_that_the_ops_ask_for():
    assert training_plan(fb.Sequential(fb.LayerNorm(5)), 9).scratch_bytes == 0
    assert training_plan(fb.Sequential(fb.Linear(5, 5), fb.LayerNorm()), 9).scratch_bytes == PRODUCT_SCRATCH


@pytest.mark.parametrize(("widths", "tile"), [
    ((784, 256, 10), 256), ((64, 64, 64, 64, 64, 10), 256), ((784, 4096, 4096, 10), 256), ((4, 8, 2), 3168),
], ids=str)
def test_tiles_of_dense_networks(widths, tile):
    layers = [part for a, b in pairwise(widths) for part in (fb.Linear(a, b), fb.ReLU())]
    assert training_plan(fb.Sequential(*layers, seed=0), 10_000).tile == tile


def test_the_tile_follows_from_the_bytes_of_a_row():
    a = fb.Input(100, 64)
    net = fb.Network(a, fb.Linear(64, 64)(fb.LayerNorm()(fb.Linear(64, 64)(a))), seed=0)
    plan = training_plan(net, 500)
    row_bytes = 4 * sum(b.per_row for b in buffers_of(nodes_of([plan.lowering.forward, plan.lowering.backward])))
    assert row_bytes > 100_000
    assert plan.tile >= 1
    assert plan.tile * row_bytes < 5e6
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 130, 100, 64)).astype("float32")
    reference = net.copy(dtype="float64", backend="reference")
    assert net.loss_and_grad(x, y, fb.MSE()) == pytest.approx(reference.loss_and_grad(x, y, fb.MSE()), rel=1e-5)
    for name, g in net.grads.items():
        np.testing.assert_allclose(g, reference.grads[name], rtol=1e-3, atol=1e-5)


def test_integers_are_never_read_where_the_data_set_is():
    net = fb.Sequential(fb.Linear(3, 4))
    low = lowered(net, fb.CrossEntropy(), np.zeros(1, np.int64), backward=True, weights=1)
    nodes = nodes_of([low.first, low.forward, low.loss, low.backward, low.gradients])
    assert {name for _, name, _ in read_in_place(nodes, low.feeds)} == {"x[0]", "weight"}
    low = lowered(net, fb.MSE(), np.zeros((1, 4)), backward=True)
    nodes = nodes_of([low.first, low.forward, low.loss, low.backward, low.gradients])
    assert {name for _, name, _ in read_in_place(nodes, low.feeds)} == {"x[0]", "target"}


def test_work_for_a_phase_that_there_is_not_is_refused():
    class Mistaken(LayerNormOp):
        def native(self, *shapes: tuple[int, ...]) -> Native:
            return replace(super().native(*shapes), work={"gradiant": Work()})

    a = fb.Input(5)
    with pytest.raises(ValueError, match="the op 'layer_norm' says what the phase 'gradiant' has to do"):
        fb.Network(a, cases.OpLayer(Mistaken(5))(a))


@pytest.mark.parametrize("name", [n for n, c in cases.OPS.items() if c.op.has_native and not c.op.is_view])
def test_ops_say_how_many_units_their_phases_have(name):
    """A phase over more than one unit that an op says nothing of would be run on the first alone."""
    case = cases.OPS[name]
    reduced = {p for p in native.op_phases(case.op.name) if native.phases()[p] == "units"}
    assert reduced == {p for p in case.op.native(*case.shapes).work if native.phases()[p] == "units"}
