"""The check itself: it must find what is wrong, name it, and know a kink from an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cases
import numpy as np
import pytest

import fastbp as fb
from fastbp.ops.activations import LeakyReLUOp, ReLUOp, TanhOp
from fastbp.ops.base import Op

OPTIONS: dict[str, Any] = {"backend": "reference", "seed": 1}


# ---- numerical_gradient ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "digits"), [("central", 1e-9), ("forward", 1e-6)])
def test_numerical_gradient_of_a_function_with_a_known_one(method: Any, digits: float) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4)) * [1.0, 10.0, 100.0, 1000.0]
    A = np.random.default_rng(1).standard_normal((3, 4))
    gradient = fb.numerical_gradient(lambda v: (A * np.sin(v)).sum(), x, method=method)
    np.testing.assert_allclose(gradient, A * np.cos(x), atol=digits * 1000)
    assert gradient.dtype == np.float64


def test_numerical_gradient_of_tuples_and_dicts() -> None:
    def f(p: Any) -> float:
        return float(np.sum(p[0] * p[1] ** 2))
    gradient = fb.numerical_gradient(f, (np.array([1.0, 2.0]), np.array([3.0, 4.0])))
    assert isinstance(gradient, tuple)
    np.testing.assert_allclose(gradient, [[9, 16], [6, 16]])
    by_name = fb.numerical_gradient(lambda p: p["W"].sum() * p["b"], {"W": np.ones((2, 2)), "b": 3})
    np.testing.assert_allclose(by_name["W"], np.full((2, 2), 3))
    assert by_name["b"] == pytest.approx(4)
    as_list = fb.numerical_gradient(f, [np.array([1.0]), np.array([3.0])])
    np.testing.assert_allclose(as_list, [[9], [6]])


def test_numerical_gradient_leaves_x_alone_whatever_f_does() -> None:
    x = np.array([1.0, 2.0])

    def f(v: Any) -> float:
        v *= 2
        return float((v**2).sum())
    np.testing.assert_allclose(fb.numerical_gradient(f, x), 8 * x)
    np.testing.assert_array_equal(x, [1, 2])


def test_numerical_gradient_takes_the_step_it_is_given() -> None:
    seen: list[float] = []

    def cube(v: Any) -> Any:
        seen.append(float(v))
        return v**3
    assert fb.numerical_gradient(cube, 10, eps=0.5) == pytest.approx(300 + 0.25)
    assert seen == [10.5, 9.5]
    assert fb.numerical_gradient(cube, 10, eps=0.5, method="forward") == pytest.approx(300 + 15 + 0.25)


@pytest.mark.parametrize(("call", "message"), [
    (lambda f: fb.numerical_gradient(f, 1.0, method="left"),
     'numerical_gradient: method is \'left\'; expected "central" or "forward"'),
    (lambda f: fb.numerical_gradient(f, 1.0, eps=0),
     "numerical_gradient: eps is 0; expected a positive number, or None"),
    (lambda f: fb.numerical_gradient(f, np.ones(3), np.ones(2)),
     "numerical_gradient: eps is ndarray; expected a positive number, or None. Several arrays are given as one "
     "argument, a tuple, list or dict"),
    (lambda f: fb.numerical_gradient(f, np.ones(3)),
     "numerical_gradient: f returned shape (3,); expected one number, such as a sum"),
    (lambda f: fb.numerical_gradient(f, {"w": 1j}),
     "numerical_gradient: x['w'] has dtype complex128; expected real numbers"),
])
def test_numerical_gradient_messages(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(message)}$"):
        call(lambda v: v)


# ---- faults are found ------------------------------------------------------------------------------------------------


@contextmanager
def planted(op: type[Op], factor: float, which: int | str = 0) -> Iterator[None]:
    """Make an op's backward wrong by a factor, in one input or parameter."""
    right = op.backward

    def wrong(self: Op, ctx: Any, dy: Any) -> Any:
        dxs, dparams = right(self, ctx, dy)
        if isinstance(which, str):
            return dxs, {role: d * factor if role == which else d for role, d in dparams.items()}
        return tuple(d * factor if i == which else d for i, d in enumerate(dxs)), dparams
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op, "backward", wrong)
        yield


@pytest.mark.parametrize("name", [n for n in cases.OPS if "," not in n])
def test_a_wrong_sign_in_any_op_is_found_and_the_op_is_named(name: str) -> None:
    rng = np.random.default_rng(0)
    case = cases.OPS[name]
    net = case.network(**OPTIONS)
    x, y = case.inputs(rng, 4), rng.standard_normal((4, *net.graph.outputs[0].shape))
    assert fb.gradcheck(net, x, y, fb.MSE())
    inputs = [i for i, t in enumerate(case.tensors()) if t.dtype == "real"]
    for which in [*inputs, *case.op.parameter_shapes(*case.shapes)]:
        with planted(type(case.op), -1.0, which):
            report = fb.gradcheck(net, x, y, fb.MSE())
        assert not report
        assert f"0.{case.op.name}" in report.suspects


def _deep() -> tuple[fb.Network, Any, Any]:
    rng = np.random.default_rng(2)
    layers = [fb.Linear(4, 5), fb.Tanh(), fb.Linear(5, 6), fb.ReLU(), fb.Linear(6, 3), fb.Sigmoid(), fb.Linear(3, 2)]
    return fb.Sequential(*layers, **OPTIONS), rng.standard_normal((5, 4)), rng.standard_normal((5, 2))


def test_the_fault_lies_between_what_is_wrong_and_what_is_right() -> None:
    net, x, y = _deep()
    with planted(ReLUOp, -1.0):
        report = fb.gradcheck(net, x, y, fb.MSE())
    wrong = [t.name for t in report.tensors if t.errors]
    assert wrong == ["0.weight", "0.bias", "2.weight", "2.bias", "input"]
    assert report.suspects == ("2.linear", "3.relu", "4.linear")
    assert report.worst is not None
    assert report.worst.relative_error == pytest.approx(2)


def test_a_wrong_loss_is_suspected_too() -> None:
    net, x, y = _deep()
    right = fb.MSE.value_and_gradient
    with pytest.MonkeyPatch.context() as patch:
        def wrong(self: Any, *args: Any) -> Any:
            value, gradient = right(self, *args)
            return value, 2 * gradient
        patch.setattr(fb.MSE, "value_and_gradient", wrong)
        report = fb.gradcheck(net, x, y, fb.MSE())
    assert report.suspects == ("6.linear", "the loss")


@pytest.mark.parametrize("directions", [None, 2])
@pytest.mark.parametrize("factor", [1 + 1e-4, 1 + 3e-6])
def test_small_faults_are_found(factor: float, directions: int | None) -> None:
    net, x, y = _deep()
    with planted(TanhOp, factor):
        report = fb.gradcheck(net, x, y, fb.MSE(), directions=directions)
    assert not report
    assert not report.kinks
    assert report.worst is not None
    assert report.worst.tensor in ("0.weight", "0.bias", "input")
    assert report.worst.relative_error == pytest.approx(factor - 1, rel=0.2)
    assert fb.gradcheck(net, x, y, fb.MSE(), directions=directions)


def test_a_gradient_that_is_not_finite_is_an_error() -> None:
    net, x, y = _deep()
    with planted(TanhOp, float("nan")):
        report = fb.gradcheck(net, x, y, fb.MSE())
    assert report.worst is not None
    assert report.worst.relative_error == float("inf")
    assert not report


def test_a_small_loss_is_checked_as_sharply_as_a_large_one() -> None:
    """Nothing in the check may have a scale of its own."""
    x = np.random.default_rng(3).standard_normal((5, 4))
    for scale in (1e-9, 1e9):
        last = fb.Tanh() if scale < 1 else fb.Identity()
        net = fb.Sequential(fb.Linear(4, 2, weight_init=fb.Normal(std=scale)), last, **OPTIONS)
        y = scale * np.ones((5, 2))
        assert fb.gradcheck(net, x, y, fb.MSE())
        with planted(type(net.graph.nodes[1].op), 1.001):
            assert not fb.gradcheck(net, x, y, fb.MSE())


# ---- kinks are not errors --------------------------------------------------------------------------------------------


def _one_unit(activation: fb.Layer, bias: float) -> fb.Network:
    return fb.Sequential(fb.Linear(1, 1, weight_init=fb.Ones(), bias_init=fb.Constant(bias)), activation,
                         fb.Linear(1, 1, weight_init=fb.Ones()), **OPTIONS)


@pytest.mark.parametrize("bias", [0.0, 1e-6, -1e-6, 1e-8, -1e-8, 3e-12])
@pytest.mark.parametrize("activation", [fb.ReLU(), fb.LeakyReLU(0.1), fb.ELU(2.0)], ids=repr)
def test_a_kink_between_the_probes_is_flagged(activation: fb.Layer, bias: float) -> None:
    report = fb.gradcheck(_one_unit(activation, bias), [[0.0]], [[1.0]], fb.MSE())
    assert report
    assert [(e.tensor, e.index) for e in report.kinks] == [("0.bias", (0,)), ("input", (0, 0))]


def test_kinks_elsewhere_than_at_0() -> None:
    for bias in (-3.0, 3.0):
        report = fb.gradcheck(_one_unit(fb.HardSwish(), bias), [[0.0]], [[1.0]], fb.MSE())
        assert report
        assert {e.tensor for e in report.kinks} == {"0.bias", "input"}


def test_losses_have_kinks_as_well() -> None:
    net = fb.Sequential(fb.Linear(2, 1, weight_init=fb.Ones()), **OPTIONS)
    report = fb.gradcheck(net, [[1.0, 2.0], [3.0, 3.0]], [[3.0 + 1e-7], [0.0]], fb.MAE())
    assert report
    assert {e.tensor for e in report.kinks} == {"0.weight", "0.bias", "input"}


@pytest.mark.parametrize("activation", [fb.ELU(), fb.Softplus(), fb.GELU(), fb.Identity()], ids=repr)
def test_what_is_smooth_has_no_kinks(activation: fb.Layer) -> None:
    """ELU's second derivative jumps at 0; its first does not."""
    for bias in (0.0, 1e-7, 1.0):
        report = fb.gradcheck(_one_unit(activation, bias), [[0.0]], [[1.0]], fb.MSE())
        assert report
        assert not report.kinks


def test_an_error_beside_a_kink_stays_an_error() -> None:
    net, x = _one_unit(fb.LeakyReLU(0.5), 1e-7), [[0.0]]
    assert fb.gradcheck(net, x, [[1.0]], fb.MSE())
    with planted(LeakyReLUOp, -1.0):
        report = fb.gradcheck(net, x, [[1.0]], fb.MSE())
    assert not report
    # a weight whose input is 0 has no gradient, whatever its sign
    assert {t.name for t in report.tensors if t.errors} <= {"0.bias", "input"}


def test_where_all_is_kinks_nothing_was_checked() -> None:
    a = fb.Input(2)
    net = fb.Network(a, fb.ReLU()(a), **OPTIONS)
    report = fb.gradcheck(net, [[0.0, 0.0]], [[1.0, 1.0]], fb.MSE())
    assert not report
    assert report.verdict == "nothing could be compared: 2 derivatives; 2 at a kink left out"
    assert "  -" in str(report)


def test_relu_networks_of_some_size_pass() -> None:
    rng = np.random.default_rng(4)
    for seed in range(3):
        net = fb.Sequential(fb.Linear(8, 30), fb.ReLU(), fb.Linear(30, 30), fb.ReLU(), fb.Linear(30, 3),
                            backend="reference", seed=seed)
        x, labels = rng.standard_normal((20, 8)), rng.integers(0, 3, 20)
        report = fb.gradcheck(net, x, labels, fb.CrossEntropy(), max_entries=60)
        assert report, str(report)


# ---- what is checked, and what is left alone -------------------------------------------------------------------------


def test_the_network_is_not_touched() -> None:
    rng = np.random.default_rng(5)
    net = fb.Sequential(fb.Linear(3, 4), fb.BatchNorm(), fb.Dropout(0.5), fb.Linear(4, 2), **OPTIONS)
    x, y = rng.standard_normal((6, 3)).astype(np.float32), rng.standard_normal((6, 2)).astype(np.float32)
    net.loss_and_grad(x, y, fb.MSE())
    vectors = [net.params.flat, net.grads.flat, net.buffers.flat, x, y, net.input_grads[0]]
    before = [v.copy() for v in vectors]
    assert fb.gradcheck(net, x, y, fb.MSE())
    for vector, old in zip(vectors, before, strict=True):
        np.testing.assert_array_equal(vector, old)
    assert net.dtype == "float32"


def test_float64_input_is_not_touched() -> None:
    net, x, y = _deep()
    net = net.copy(dtype="float64")
    before = x.copy()
    fb.gradcheck(net, x, y, fb.MSE())
    np.testing.assert_array_equal(x, before)


def test_integers_and_sample_weights_are_taken() -> None:
    net = fb.Sequential(fb.Linear(3, 2), **OPTIONS)
    report = fb.gradcheck(net, [[1, 2, 3], [4, 5, 6]], [0, 1], fb.CrossEntropy(), sample_weight=[1.0, 0.0])
    assert report
    assert report.worst is not None


def test_options_choose_what_is_compared() -> None:
    net, x, y = _deep()

    def counts(**options: Any) -> dict[str, int]:
        return {t.name: t.checked for t in fb.gradcheck(net, x, y, fb.MSE(), **options).tensors}
    full = {"0.weight": 20, "0.bias": 5, "2.weight": 30, "2.bias": 6, "4.weight": 18, "4.bias": 3, "6.weight": 6,
            "6.bias": 2, "input": 20}
    assert counts() == full
    assert counts(max_entries=4) == {n: min(c, 4) for n, c in full.items()}
    assert counts(directions=3, inputs=False) == {n: 3 for n in full if n != "input"}


def test_draws_depend_on_the_seed() -> None:
    net, x, y = _deep()
    worst = [fb.gradcheck(net, x, y, fb.MSE(), directions=1, seed=s).worst for s in (0, 0, 1)]
    assert worst[0] == worst[1] != worst[2]


def test_frozen_parameters_are_left_out_and_named() -> None:
    net = fb.Sequential(fb.Linear(3, 4, trainable=False), fb.Tanh(), fb.Linear(4, 2), **OPTIONS)
    report = fb.gradcheck(net, np.ones((2, 3)), np.ones((2, 2)), fb.MSE())
    assert report
    assert [t.name for t in report.tensors] == ["2.weight", "2.bias", "input"]
    assert report.frozen == ("0.weight", "0.bias")
    assert "frozen, so not checked: 0.weight, 0.bias" in str(report)


@pytest.mark.parametrize(("options", "message"), [
    ({"eps": -1.0}, "gradcheck: eps is -1.0; expected a positive number, or None"),
    ({"tolerance": 0}, "gradcheck: tolerance is 0; expected a number between 0 and 1, such as 1e-6"),
    ({"directions": 0}, "gradcheck: directions is 0; expected a positive integer, or None"),
    ({"max_entries": 2.5}, "gradcheck: max_entries is 2.5; expected a positive integer, or None"),
    ({"max_entries": 2, "directions": 1}, "gradcheck: directions and max_entries are both given; expected one of them"),
])
def test_messages(options: dict[str, Any], message: str) -> None:
    net, x, y = _deep()
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fb.gradcheck(net, x, y, fb.MSE(), **options)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    net = fb.Sequential(fb.Linear(2, 1), **OPTIONS)
    with pytest.raises(ValueError, match=r"gradcheck: the loss is (inf|nan) on this batch; expected a finite number"):
        fb.gradcheck(net, [[np.inf, 1.0]], [[0.0]], fb.MSE())


# ---- the report ------------------------------------------------------------------------------------------------------


def test_the_text_of_a_report() -> None:
    net = fb.Sequential(fb.Linear(2, 2, weight_init=fb.Constant(0.5)), fb.Tanh(),
                        fb.Linear(2, 1, weight_init=fb.Ones()), **OPTIONS)
    x, y = [[1.0, -0.5]], [[0.0]]
    assert str(fb.gradcheck(net, x, y, fb.MSE())).splitlines()[0] == (
        "gradients agree: 11 derivatives of 5 tensors (tolerance 1e-06)")
    with planted(TanhOp, -1.0):
        lines = str(fb.gradcheck(net, x, y, fb.MSE())).splitlines()
    assert lines[0] == ('gradients differ: 8 of 11 derivatives, in "0.weight", "0.bias", "input" (tolerance 1e-06)')
    assert lines[1].startswith('worst: "0.')
    assert "]: analytic " in lines[1]
    assert ", numerical " in lines[1]
    assert lines[1].endswith(", relative error 2")
    assert lines[2] == "look at: 0.linear, 1.tanh, 2.linear"
    assert lines[4].split() == ["tensor", "shape", "checked", "kinks", "errors", "worst", "relative", "error"]
    assert lines[5].split() == ["0.weight", "(2,", "2)", "4", "0", "4", "2"]
    assert len({line.index("(") for line in lines[5:]}) == 1


def test_an_entry_is_named_by_tensor_and_index() -> None:
    from fastbp.views.gradcheck import GradcheckEntry
    entry = GradcheckEntry("2.weight", (3, 7), None, 0.5, -0.5, 1.0 + 1 / 3, kink=False)
    assert str(entry) == '"2.weight"[3, 7]: analytic 0.5, numerical -0.5, relative error 1.3'
    along = GradcheckEntry("input", None, 2, 1e-9, 2e-9, 0.5, kink=False)
    assert str(along) == '"input" along direction 2: analytic 1e-09, numerical 2e-09, relative error 0.5'


class Doubtful(fb.CrossEntropy):
    """Cross-entropy whose gradient is wrong by a thousandth."""

    def rows(self, x, target):
        value, gradient = super().rows(x, target)
        return value, gradient * 1.001


def sure_network(seed):
    """A network whose loss is about 1e-6: the difference of logits of about 10."""
    rng = np.random.default_rng(seed)
    net = fb.Sequential(fb.Linear(8, 16), fb.Tanh(), fb.Linear(16, 5), seed=seed, backend="reference")
    x = rng.standard_normal((4, 8))
    y = net.predict(x).argmax(axis=1)
    net.params["2.weight"] = 40.0 * net.params["2.weight"]
    return net, x, y


def test_rounding_of_a_small_loss_is_no_error():
    for seed in range(12):
        net, x, y = sure_network(seed)
        report = fb.gradcheck(net, x, y, fb.CrossEntropy())
        assert report.ok, report


def test_a_wrong_gradient_of_a_small_loss_is_found():
    net, x, y = sure_network(0)
    assert not fb.gradcheck(net, x, y, Doubtful())


def test_a_report_is_short_on_one_line() -> None:
    net = fb.Sequential(fb.Linear(2, 1), dtype="float64", seed=0, backend="reference")
    report = fb.gradcheck(net, [[1.0, 2.0]], [[1.0]], fb.MSE())
    assert report.worst is not None
    assert repr(report) == (f"GradcheckReport(gradients agree: 5 derivatives of 3 tensors, largest relative error "
                            f"{report.worst.relative_error:.2g})")
    html = report._repr_html_()
    assert html.count("<tr") == 1 + len(report.tensors)
    assert all(f">{t.name}</td>" in html and f">{t.worst.relative_error:.2g}</td>" in html for t in report.tensors)
    assert "<pre" not in html
