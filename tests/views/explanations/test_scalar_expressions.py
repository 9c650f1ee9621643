"""Scalar expressions: values, derivatives, explanations, against difference quotients and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastbp as fb
import fastbp.chainrule as cr
from fastbp.engine.reference import ReferenceBackend
from fastbp.graph.graph import Graph
from fastbp.ops.base import Context
from fastbp.ops.scalar import ScalarOp

# An expression of one variable, where to try it, and its derivative.
CASES = {
    "add": (lambda x: x + 2, 1.5, lambda x: 1),
    "add to": (lambda x: 2 + x, 1.5, lambda x: 1),
    "sub": (lambda x: x - 2, 1.5, lambda x: 1),
    "sub from": (lambda x: 2 - x, 1.5, lambda x: -1),
    "mul": (lambda x: 3 * x, 1.5, lambda x: 3),
    "square by mul": (lambda x: x * x, 1.5, lambda x: 2 * x),
    "div": (lambda x: x / 4, 1.5, lambda x: 0.25),
    "div by": (lambda x: 4 / x, 1.5, lambda x: -4 / x**2),
    "neg": (lambda x: -x, 1.5, lambda x: -1),
    "square": (lambda x: x**2, -1.5, lambda x: 2 * x),
    "cube": (lambda x: x**3, 1.5, lambda x: 3 * x**2),
    "first power": (lambda x: x**1, 1.5, lambda x: 1),
    "zeroth power": (lambda x: x**0, 0.0, lambda x: 0),
    "negative power": (lambda x: x**-2, 1.5, lambda x: -2 * x**-3),
    "root power": (lambda x: x**0.5, 1.5, lambda x: 0.5 * x**-0.5),
    "exponent": (lambda x: 2**x, 1.5, lambda x: 2**x * math.log(2)),
    "both": (lambda x: x**x, 1.5, lambda x: x**x * (math.log(x) + 1)),
    "exp": (cr.exp, 0.7, math.exp),
    "log": (cr.log, 0.7, lambda x: 1 / x),
    "sqrt": (cr.sqrt, 0.7, lambda x: 0.5 / math.sqrt(x)),
    "sin": (cr.sin, 0.7, math.cos),
    "cos": (cr.cos, 0.7, lambda x: -math.sin(x)),
    "tanh": (cr.tanh, 0.7, lambda x: 1 - math.tanh(x) ** 2),
    "sigmoid": (cr.sigmoid, 0.7, lambda x: math.exp(-x) / (1 + math.exp(-x)) ** 2),
    "relu on": (cr.relu, 0.7, lambda x: 1),
    "relu off": (cr.relu, -0.7, lambda x: 0),
    "max left": (lambda x: cr.max(x, 0.1), 0.7, lambda x: 1),
    "max right": (lambda x: cr.max(0.1, x), 0.7, lambda x: 1),
    "max none": (lambda x: cr.max(x, 1.0), 0.7, lambda x: 0),
    "composed": (lambda x: cr.sin(x) * x - cr.exp(-x) / x, 0.7,
                 lambda x: math.cos(x) * x + math.sin(x) + math.exp(-x) / x + math.exp(-x) / x**2),
}


@pytest.mark.parametrize("name", CASES)
def test_derivative_is_the_closed_form_and_the_quotient(name):
    f, at, slope = CASES[name]
    x = cr.Var("x", at)
    z = f(x)
    assert z.backward()["x"] == pytest.approx(slope(at), rel=1e-12, abs=1e-15)
    assert x.grad == z.backward()["x"]
    e = z.explain(x, terms=100)
    assert e.gradient == x.grad
    assert sum(p.value for p in e.paths) == pytest.approx(x.grad, rel=1e-12, abs=1e-15)
    assert e.numerical == pytest.approx(x.grad, rel=1e-8, abs=1e-9)
    for form in ("text", "chain", "latex", "markdown", "svg", "html"):
        for lang in ("en", "ko"):
            assert getattr(e, form)(lang=lang)


def test_the_textbook_example_prints_just_what_a_textbook_would():
    x, y = cr.Var("x", 3.0), cr.Var("y", 2.0)
    t = (x + y).named("t")
    z = t**2
    e = z.explain(x)
    assert e.chain() == "∂z/∂x = ∂z/∂t · ∂t/∂x = 2t · 1 = 10"
    assert str(e).split("\n\n")[:3] == ["The derivative of z with respect to x = 3",
                                        "t = x + y = 3 + 2 = 5\nz = t² = 5² = 25",
                                        "∂z/∂x = ∂z/∂t · ∂t/∂x = 2t · 1 = 10"]
    assert e.text(lang="ko").startswith("x = 3에 대한 z의 미분")
    assert e.latex().splitlines()[1:-1] == [
        r"\frac{\partial z}{\partial x} &= \frac{\partial z}{\partial t} \cdot \frac{\partial t}{\partial x} \\",
        r"&= 2 t \cdot 1 \\", "&= 10"]
    assert z.backward() == {"x": 10.0, "y": 10.0}
    assert t.grad == 10.0
    assert z.grad == 1.0


def test_every_path_of_a_sum_is_shown():
    x = cr.Var("x", 2.0)
    u, v = (x * x).named("u"), cr.exp(-x).named("v")
    e = (u * v).explain(x, digits=6)
    assert e.path_count == 3
    assert e.chain().count("\n") == 3
    assert "u · e^(u₁) · (−1) = 4 · 0.135335 · (−1) = −0.541341" in e.chain()
    assert e.chain().endswith("∂z/∂x = −0.541341 + 0.270671 + 0.270671 = 0")


def test_paths_beyond_counting_are_folded():
    x = cr.Var("x", 0.5)
    z = x
    for _ in range(40):
        z = cr.sin(z) + z * 0.5
    e = z.explain(x, terms=3)
    assert e.path_count == 2**40
    assert len(e.paths) == 3
    assert [abs(p.value) for p in e.paths] == sorted((abs(p.value) for p in e.paths), reverse=True)
    assert e.gradient == pytest.approx(e.numerical, rel=1e-6)
    assert "1,099,511,627,773 smaller paths together" in str(e)


def test_any_expression_inside_can_be_asked_for():
    x = cr.Var("x", 3.0)
    t = (x + 1).named("t")
    e = (t**2 + x).explain(t)
    assert e.gradient == 8
    assert e.numerical == pytest.approx(8)
    with pytest.raises(ValueError, match=r"does not depend on Var\('y', 1\.0\); expected one of x, t"):
        (t**2 + x).explain(cr.Var("y", 1.0))
    with pytest.raises(TypeError, match="expected a Var"):
        t.explain("x")


def test_expressions_run_on_the_networks_graph_and_backend():
    x, y = cr.Var("x", 3.0), cr.Var("y", 2.0)
    run = (x * y)._run
    assert isinstance(run.graph, Graph)
    assert isinstance(run.backend, ReferenceBackend)
    assert run.graph.nodes[0].op is not None


def test_values_follow_variables():
    x = cr.Var("x", 3.0)
    z = x**2
    assert z.value == 9
    x.value = 4
    assert (z.value, z.backward()["x"]) == (16, 8)
    assert z.explain(x).gradient == 8


def test_names_are_kept_apart():
    z, x1 = cr.Var("z", 1.0), cr.Var("x1", 2.0)
    e = (z * x1).explain(x1)
    assert str(e.target.symbol) == "f"
    assert str(e.source.symbol) == "x₁"
    assert e.source.symbol.latex() == "x_{1}"
    theta = cr.Var("theta", 1.0)
    assert r"\theta" in cr.sin(theta).explain(theta).latex()


def test_bad_numbers_are_refused_with_the_reason():
    x = cr.Var("x", -1.0)
    with pytest.raises(ValueError, match=r"log\(−1\) is NaN; expected operands for which it is a finite number"):
        _ = cr.log(x).value
    with pytest.raises(ValueError, match=r"div\(1, 0\) is ∞"):
        (1 / (x + 1)).backward()
    with pytest.raises(TypeError, match="add: 'a' is str; expected an expression or a number"):
        x + "a"
    with pytest.raises(ValueError, match="value is nan; expected a finite number"):
        cr.Var("x", float("nan"))
    with pytest.raises(ValueError, match="value is inf; expected a finite number"):
        x.value = float("inf")
    with pytest.raises(ValueError, match="name is ''; expected a non-empty string"):
        cr.Var("", 1.0)


def test_a_tie_of_max_is_named():
    x = cr.Var("x", 1.0)
    e = cr.max(x, 1.0).explain(x)
    assert e.gradient == 0.5
    assert e.numerical == pytest.approx(0.5)
    assert "There is a kink here: the slope is 0 on the left and 1 on the right" in str(e)


@pytest.mark.parametrize("op", [ScalarOp("sub"), ScalarOp("div"), ScalarOp("neg"), ScalarOp("pow"), ScalarOp("exp"),
                                ScalarOp("log"), ScalarOp("sqrt"), ScalarOp("sin"), ScalarOp("cos"), ScalarOp("max")])
def test_scalar_ops_work_on_arrays(op):
    rng = np.random.default_rng(0)
    xs = tuple(rng.uniform(0.5, 2.0, (4, 3)) for _ in range(op.row.operands))
    weight = rng.normal(size=(4, 3))
    ctx = Context(training=True, inputs=xs)
    ctx.output = op.forward(ctx, *xs)
    dxs, dparams = op.backward(ctx, weight)
    assert dparams == {}
    expected = fb.numerical_gradient(lambda a: (op.forward(ctx, *a) * weight).sum(), xs)
    for dx, numerical in zip(dxs, expected, strict=True):
        np.testing.assert_allclose(dx, numerical, rtol=1e-7, atol=1e-9)
    assert not op.has_native
    with pytest.raises(TypeError, match="operands; expected"):
        op.output_shape((3,), (3,), (3,))
    if op.row.operands == 2:
        with pytest.raises(ValueError, match="broadcast"):
            op.output_shape((3,), (4,))


def test_two_variables_of_one_name_are_refused():
    a, b = cr.Var("x", 3.0), cr.Var("x", 2.0)
    z = a * b
    assert z.value == 6
    message = (r": 2 variables are called 'x', with the values 3, 2; give each a name of its own, such as 'x2', or use "
               r"one Var in all places")
    with pytest.raises(ValueError, match="backward" + message):
        z.backward()
    assert (a.grad, b.grad) == (None, None)
    for variable in (a, b):
        with pytest.raises(ValueError, match="explain" + message):
            z.explain(variable)
    b.name = "x2"
    assert z.backward() == {"x": 2.0, "x2": 3.0}


def test_two_parts_of_one_name_cannot_be_told_apart():
    x = cr.Var("x", 3.0)
    z = (x + 1).named("t") * (x + 2).named("t")
    assert z.backward() == {"x": 9.0}
    with pytest.raises(ValueError, match=r"explain: 2 parts of this expression are called 't', with the values 4, 5"):
        z.explain(x)
    with pytest.raises(ValueError, match="parts of this expression are called 'x'"):
        (x * (x + 1).named("x")).explain(x)


def test_names_with_one_symbol_are_kept_apart():
    x1, x_1, u1 = cr.Var("x1", 3.0), cr.Var("x_1", 2.0), cr.Var("u1", 1.0)
    e = (cr.exp(x1 + u1) * x_1).explain(x1)
    written = [str(line.quantity.symbol) for stage in e.forward for line in stage.lines]
    symbols = [str(b.symbol) for b in e.diagram.boxes]
    assert len(set(symbols)) == len(symbols)
    assert "u₁" not in written


@pytest.mark.parametrize(("make", "text", "latex"), [
    (lambda x, y: x + y, "x + y = 5", "x + y = 5"),
    (lambda x, y: (x + y) ** 2, "(x + y)² = 25", "{(x + y)}^{2} = 25"),
    (lambda x, y: (x**2) ** 3, "(x²)³ = 729", "{({x}^{2})}^{3} = 729"),
    (lambda x, y: cr.sin(x) * cr.exp(-y), "sin(x) · (e^(−y)) = 0.0190985",
     r"\sin(x) \cdot (e^{-y}) = 0.0190985"),
    (lambda x, y: ((x + y).named("t1") ** 2).named("z"), "z = t₁² = 25", "z = {t_{1}}^{2} = 25"),
    (lambda x, y: cr.log(x - 2 * y), "ln(x − (2 · y)) = NaN", r"\ln(x - (2 \cdot y)) = \mathrm{NaN}"),
    (lambda x, y: x * -2.5, "x · (−2.5) = −7.5", r"x \cdot (-2.5) = -7.5"),
])
def test_an_expression_shows_formula_and_value(make, text, latex):
    z = make(cr.Var("x", 3.0), cr.Var("y", 2.0))
    assert repr(z) == f"Expr({text})"
    assert z._repr_latex_() == rf"$\displaystyle {latex}$"


def test_a_long_expression_has_a_short_repr():
    x = cr.Var("x", 0.5)
    z = x
    for _ in range(3000):
        z = cr.sin(z) + x
    assert len(repr(z)) < 200
    assert "…" in repr(z)
    assert z.backward()["x"] == pytest.approx(z.explain(x, terms=1).numerical, rel=1e-6)
