"""net.summary() and net.verify(): what they say, and that a fault in a backend is found and named."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import fastbp as fb
from fastbp.ops.activations import GELUOp
from fastbp.views.report import TOLERANCES, memory_text

OPTIONS: dict[str, Any] = {"backend": "reference", "seed": 1}


def _net(**options: Any) -> fb.Network:
    layers = [fb.Linear(5, 7), fb.BatchNorm(), fb.GELU(), fb.Dropout(0.2), fb.Linear(7, 4), fb.Tanh(), fb.Linear(4, 3)]
    return fb.Sequential(*layers, **{**OPTIONS, **options})


def _batch() -> tuple[Any, Any, fb.Loss]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((8, 5)), rng.integers(0, 3, 8), fb.CrossEntropy()


# ---- summary ---------------------------------------------------------------------------------------------------------


def test_summary_of_a_graph_with_a_shared_a_frozen_and_a_two_axis_part() -> None:
    a = fb.Input(2, 6, name="series")
    shared = fb.Linear(6, 6, name="shared")
    h = fb.BatchNorm()(shared(fb.ReLU()(shared(a))))
    out = fb.Linear(12, 1, trainable=False)(fb.Flatten()(h))
    assert fb.Network(a, out, **OPTIONS).summary() == """\
Network((B, 2, 6) → (B, 1), 67 parameters, float32, reference)

tensor           layer                                              shape      parameters
series                                                              (B, 2, 6)
shared.linear    Linear(6, 6)                                       (B, 2, 6)          42
1.relu           ReLU()                                             (B, 2, 6)           0
shared.linear#2  Linear(6, 6)                                       (B, 2, 6)   42 shared
2.batch_norm     BatchNorm(features=None, momentum=0.1, eps=1e-05)  (B, 2, 6)          12
3.flatten        Flatten()                                          (B, 12)             0
4.linear         Linear(12, 1)                                      (B, 1)      13 frozen

parameters: 67, 54 of them trained, 268 B, and as much for their gradients
running statistics: 12, 48 B
values: 196 B for each row of a batch"""


@pytest.mark.parametrize(("size", "text"), [
    (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 * 2**20, "3.0 MiB"), (2**40, "1.0 TiB"), (2**52, "4096.0 TiB")])
def test_memory_text(size: int, text: str) -> None:
    assert memory_text(size) == text


def test_a_function_as_a_layer_is_shown_op_by_op() -> None:
    layer = fb.Lambda(lambda x: (x.T * np.array([2.0, 3.0, 4.0, 5.0])[:, None]).T - x.mean(axis=0))
    net = fb.Sequential(fb.Linear(3, 4), layer, **OPTIONS)
    rows = {line.split("  ")[0]: line for line in net.summary().splitlines()}
    assert rows["transpose"] == "transpose    y = x with its axes in another order  (4, B)           0"
    assert rows["constant"].split() == ["constant", "y", "=", "c", "(4,", "1)", "0"]
    assert rows["mean"].endswith("(4,)             0")
    assert "values: 80 B for each row of a batch" in net.summary()      # five of four float32 numbers
    assert "y = mean(x) over axes 0" in net._repr_html_()
    svg = ElementTree.fromstring(net.to_svg())
    texts = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("transpose") == 2
    assert texts.count("(4, B)") == 2


# ---- verify ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_verify_agrees_and_leaves_the_network_alone(dtype: str) -> None:
    net = _net(dtype=dtype)
    x, y, loss = _batch()
    net.loss_and_grad(x, y, loss)
    vectors = [net.params.flat, net.grads.flat, net.buffers.flat]
    before = [v.copy() for v in vectors]
    report = net.verify(x, y, loss, np.arange(8.0))
    for vector, old in zip(vectors, before, strict=True):
        np.testing.assert_array_equal(vector, old)
    assert report
    assert report.ok
    assert report.tolerance == TOLERANCES[dtype]
    assert [r.name for r in report.rows] == list(net.graph.names.values())
    kept = [d for r in report.rows for d in (r.value, r.gradient, r.parameter_gradient) if d is not None]
    assert len(kept) == 2 * 8 + 4
    assert max(kept) < (1e-5 if dtype == "float32" else 1e-15)
    assert str(report).startswith(f"reference ({dtype}) against reference (float64): they agree, largest deviation ")


def _with_fault(monkeypatch: pytest.MonkeyPatch, method: str, change: Any) -> Any:
    """Verify a float32 network whose GELU is wrong in float32 alone, as a fault of one backend would be."""
    right = getattr(GELUOp, method)

    def wrong(self: Any, s: Any) -> Any:
        y = right(self, s)
        return change(y) if s.dtype == np.float32 else y
    monkeypatch.setattr(GELUOp, method, wrong)
    x, y, loss = _batch()
    return _net().verify(x, y, loss)


def _one_element(change: Any) -> Any:
    def changed(y: Any) -> Any:
        y = y.copy()
        y[3, 2] = change(y[3, 2])
        return y
    return changed


def test_a_wrong_value_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    report = _with_fault(monkeypatch, "value", _one_element(lambda v: v + 0.1))
    assert not report
    assert report.verdict.endswith("they differ, first in the value of 2.gelu")
    deviations = {r.name: r.value for r in report.rows}
    assert deviations["1.batch_norm"] < 1e-5 < 1e-3 < deviations["2.gelu"]
    assert re.search(r"^2\.gelu +\d\.\de-\d\d!", str(report), re.MULTILINE)
    assert re.search(r"^1\.batch_norm +\d\.\de-\d\d ", str(report), re.MULTILINE)


def test_a_wrong_sign_in_backward_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    report = _with_fault(monkeypatch, "derivative", lambda d: -d)
    assert not report
    assert report.verdict.endswith("they differ, first in the gradient of 1.batch_norm")
    row = {r.name: r for r in report.rows}
    assert row["1.batch_norm"].gradient == pytest.approx(2, rel=1e-3)
    assert row["0.linear"].parameter_gradient == pytest.approx(2, rel=1e-3)
    assert row["2.gelu"].worst < 1e-5
    assert row["4.linear"].worst < 1e-5


def test_a_number_that_is_not_finite_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    report = _with_fault(monkeypatch, "value", _one_element(lambda v: np.nan))
    assert not report
    assert {r.name: r.value for r in report.rows}["2.gelu"] == np.inf


def test_a_wrong_loss_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = fb.CrossEntropy.value_and_gradient

    def wrong(self: Any, y_pred: Any, *rest: Any) -> Any:
        value, gradient = right(self, y_pred, *rest)
        return (value * 1.01 if y_pred.dtype == np.float32 else value), gradient
    monkeypatch.setattr(fb.CrossEntropy, "value_and_gradient", wrong)
    x, y, loss = _batch()
    report = _net().verify(x, y, loss)
    assert report.loss_deviation == pytest.approx(0.01, rel=1e-3)
    assert report.verdict.endswith("they differ, first in the loss")


def test_wrong_parameter_gradients_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastbp.ops.linear import LinearOp
    right = LinearOp.backward

    def wrong(self: Any, ctx: Any, dy: Any) -> Any:
        dxs, dparams = right(self, ctx, dy)
        if dy.dtype == np.float32 and self.in_features == 7:
            dparams["weight"][6, 3] = 0
        return dxs, dparams
    monkeypatch.setattr(LinearOp, "backward", wrong)
    x, y, loss = _batch()
    assert _net().verify(x, y, loss).verdict.endswith("first in the gradient of the parameters of 4.linear")


def test_gradients_that_cancel_are_held_to_what_they_are_summed_from() -> None:
    """A bias before batch normalisation has no gradient: all that is left of it is rounding."""
    net = _net()
    x, y, loss = _batch()
    report = net.verify(x, y, loss)
    net.loss_and_grad(x, y, loss)
    assert np.abs(net.grads["0.bias"]).max() < 1e-6
    assert report


def test_several_inputs_and_outputs() -> None:
    a, b = fb.Input(3), fb.Input(3)
    net = fb.Network([a, b], [fb.Tanh(name="t")(fb.Add(name="s")(a, b)), fb.Multiply(name="p")(a, b)], **OPTIONS)
    x = np.ones((2, 3))
    report = net.verify((x, 2 * x), (x, x), (fb.MSE(), fb.MAE()))
    assert report
    assert {r.name for r in report.rows} == {"input0", "input1", "s.add", "t.tanh", "p.mul"}
    assert [r.parameter_gradient for r in report.rows] == [None] * 5


def test_short_on_one_line_and_whole_when_printed_or_in_a_notebook() -> None:
    report = _net().verify(*_batch())
    assert repr(report) == f"VerifyReport({report.verdict})"
    assert "\n" not in repr(report)
    html = report._repr_html_()
    assert html.count("<tr") == 2 + len(report.rows)
    assert all(f">{row.name}</td>" in html for row in report.rows)
