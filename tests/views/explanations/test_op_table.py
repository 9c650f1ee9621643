"""The row of each op and each loss: there is one, its derivatives are those of the backward rule, and its formulas,
read as arithmetic, come to the numbers beside them."""

from __future__ import annotations

import math
import re

import cases
import numpy as np
import pytest

import fastbp as fb
from fastbp.ops import reduce, structure
from fastbp.ops.activations import ActivationOp
from fastbp.ops.base import Op
from fastbp.ops.custom import PythonOp
from fastbp.ops.scalar import ROWS as SCALARS
from fastbp.ops.scalar import ScalarOp
from fastbp.views.explanations import loss_table, op_table
from fastbp.views.explanations.accounts import Opaque
from fastbp.views.explanations.names import Names
from fastbp.views.explanations.trace import Trace
from fastbp.views.explanations.written import factor, line, maps_of

FALLBACKS = [op_table.ACCOUNTS[kind] for kind in (Op, ActivationOp, ScalarOp)]
ROWS = 3


def every_op():
    """Return the cases of all ops: those of layers, the functions of the table, and what moves and adds up arrays."""
    found = dict(cases.OPS)
    for row in SCALARS:
        interval = (-2.0, 2.0) if row.name in ("min", "max", "clip", "where", "abs", "mod") else \
            (-0.9, 0.9) if row.name in ("arcsin", "arccos", "arctanh") else (1.2, 2.0) if row.name == "arccosh" else \
            (0.5, 2.0)
        found.setdefault(row.name, cases.OpCase(ScalarOp(row.name), ((2, 2),) * row.operands, interval))
    return found | MORE


ROWS_OF_ALL = (None, None, None)
MORE = {
    "reshape": cases.OpCase(structure.ReshapeOp((-1, 6)), ((2, 3),)),
    "transpose": cases.OpCase(structure.TransposeOp((0, 2, 1)), ((2, 3),)),
    "broadcast": cases.OpCase(structure.BroadcastOp((-1, 4, 3)), ((1, 3),)),
    "index": cases.OpCase(structure.IndexOp((ROWS_OF_ALL, (None, None, -1), "new")), ((3,),)),
    "place": cases.OpCase(structure.PlaceOp((ROWS_OF_ALL, (1, 3, None)), (-1, 4)), ((2,),)),
    "join": cases.OpCase(structure.JoinOp(1), ((2, 3), (1, 3), (2, 3))),
    "pad": cases.OpCase(structure.PadOp(((0, 0), (1, 2)), 5.0), ((3,),)),
    "mean": cases.OpCase(reduce.ReduceOp("mean", (0, 2), True), ((2, 5),)),
    "mean of all": cases.OpCase(reduce.ReduceOp("mean", (0, 1)), ((2,),)),
    "sum": cases.OpCase(reduce.ReduceOp("sum", (1,)), ((2, 3),)),
    "largest": cases.OpCase(reduce.ReduceOp("max", (1,)), ((6,),)),
    "smallest": cases.OpCase(reduce.ReduceOp("min", (0, 1)), ((2,),)),
    "cumsum": cases.OpCase(reduce.CumsumOp(1, True), ((4,),)),
    "matmul": cases.OpCase(reduce.MatmulOp(), ((2, 3), (3, 2))),
    "einsum": cases.OpCase(reduce.EinsumOp("bij,bj->bi"), ((2, 3), (3,))),
}
EVERY = every_op()


def ops_of(kind):
    return [op for sub in kind.__subclasses__() for op in ([sub] if not sub.__subclasses__() else ops_of(sub))]


@pytest.mark.parametrize("kind", [k for k in ops_of(Op) if k.__module__.startswith("fastbp.ops.")],
                         ids=lambda kind: kind.__name__)
def test_every_class_of_ops_has_a_row(kind):
    assert kind in op_table.ACCOUNTS or kind is ScalarOp, (
        f"fastbp/views/explanations/op_table.py has no row for {kind.__name__}: give it one, or "
        'Opaque("why there is none")')


@pytest.mark.parametrize("case", EVERY.values(), ids=list(EVERY))
def test_every_op_has_a_row(case):
    row = op_table.account_of(case.op)
    assert not any(row is fallback for fallback in FALLBACKS), (
        f"fastbp/views/explanations/op_table.py has no row for {type(case.op).__name__}: give it one, or "
        'Opaque("why there is none")')
    assert not isinstance(row, Opaque) or row.why_not


def test_users_ops_and_losses_have_rows():
    assert isinstance(op_table.account_of(PythonOp(None)), Opaque)
    assert loss_table.account_of(fb.CustomLoss(lambda y_pred, y: (0.0, y_pred))) is loss_table.ACCOUNTS[fb.CustomLoss]


@pytest.mark.parametrize("case", cases.LOSSES.values(), ids=list(cases.LOSSES))
def test_every_loss_has_a_row(case):
    assert loss_table.account_of(case.loss) is not loss_table.ACCOUNTS[fb.Loss], (
        f"fastbp/views/explanations/loss_table.py has no row for {type(case.loss).__name__}")


def run_of(case):
    """Return a finished run of an op alone, on random numbers."""
    rng = np.random.default_rng(0)
    net = case.network(dtype="float64", seed=1, backend="reference")
    net.forward(tuple(case.inputs(rng, ROWS)), training=True)
    contexts = net._backend.contexts()
    ((tensor, ctx),) = contexts.items()
    values = {**dict(zip(net.graph.inputs, ctx.inputs, strict=True)), tensor: ctx.output}
    return Trace(net.graph, contexts, values, {}, Names(net.graph, samples=True)), tensor, ctx, rng


@pytest.mark.parametrize("case", EVERY.values(), ids=list(EVERY))
def test_maps_are_the_backward_rule(case):
    _, tensor, ctx, rng = run_of(case)
    mixed = op_table.account_of(case.op).spans(tensor.node)
    dy = rng.normal(size=ctx.output.shape)
    for rows in [None] if mixed else [None, np.arange(ROWS)]:
        maps = maps_of(tensor.node, ctx, rows)
        for k, (map_, dx) in enumerate(zip(maps, tensor.node.op.backward(ctx, dy)[0], strict=True)):
            if map_ is None:        # of integers there is no gradient
                assert dx is None or not dx.any()
                continue
            edges = [map_.edges(i) for i in range(dx.size)]
            mine = [sum(d * dy.flat[t] for t, d in zip(*e, strict=True)) for e in edges]
            np.testing.assert_allclose(mine, dx.ravel(), atol=1e-12, err_msg=f"operand {k}")
            potential = rng.normal(size=dy.size)
            with np.errstate(divide="ignore"):
                best = [max(np.log2(np.abs(d)) + potential[t], default=-np.inf) for t, d in edges]
            np.testing.assert_allclose(map_.best(potential), best, rtol=1e-12)
            paths = np.array([10**30 + i for i in range(dy.size)], object)
            assert map_.counts(paths).tolist() == [sum(paths[t].tolist()) for t, _ in edges]


WORDS = {"floor": math.floor, "ceil": math.ceil, "round": round, "arctan": math.atan, "tan": math.tan,
         "arcsin": math.asin, "arccos": math.acos, "arctan2": math.atan2, "arcsinh": math.asinh, "arccosh": math.acosh,
         "arctanh": math.atanh, "cbrt": math.cbrt, "trunc": math.trunc,
         "sinh": math.sinh, "cosh": math.cosh, "erf": math.erf, "exp": math.exp, "tanh": math.tanh,
         "sqrt": math.sqrt, "log": math.log, "sin": math.sin, "cos": math.cos, "max": max, "min": min, "pi": math.pi,
         "abs": abs, "sign": lambda v: (v > 0) - (v < 0), "sigmoid": lambda v: 1 / (1 + math.exp(-v)),
         "cdf": lambda v: 0.5 * math.erfc(-v / math.sqrt(2)),
         "pdf": lambda v: math.exp(-v * v / 2) / math.sqrt(2 * math.pi)}


def without_condition(written):
    """Return a formula without the condition in brackets that it ends with, or the one after a comma."""
    depth = 0
    for i in range(len(written) - 1, -1, -1):
        depth += (written[i] == ")") - (written[i] == "(")
        if depth == 0:
            break
    ends_in_condition = written.endswith(")") and re.search("[<>=≤≥]", written[i:])
    return re.sub(r", \|.*", "", written[:i].rstrip() if ends_in_condition else written)


def arithmetic(written, names):
    """Return what a formula comes to that is written as people write them."""
    text, *definitions = re.split(r", (?=\S+ = )", without_condition(written))
    for definition in reversed(definitions):
        name, meaning = definition.split(" = ", 1)
        names = {**names, name.replace("′", "_prime"): arithmetic(meaning, names)}
    for sign, word in (("−", "-"), ("·", "*"), ("e^(", "exp("), ("√(", "sqrt("), ("∛(", "cbrt("), ("ln(", "log("),
                       ("σ(", "sigmoid("), ("Φ(", "cdf("), ("φ(", "pdf("), ("π", "pi"), ("²", "**2"),
                       ("³", "**3"), ("½", "(1/2)"),
                       ("′", "_prime"), (" mod ", "%")):
        text = text.replace(sign, word)
    text = re.sub(r"\)\^\(", ")**(", text)
    text = re.sub(r"((?<![a-z])\d|\))\s?(?=[a-zτκ(])", r"\1*", text)
    text = re.sub(r"\b(\d+)\*(e[-+]?\d+)", r"\1\2", text)
    text = re.sub(r"\)(?=\d)", ")*", text)
    return eval(text, {"__builtins__": {}}, {**WORDS, **names})


@pytest.mark.parametrize(("written", "value"), [
    ("0.25(1 − 0.25)", 0.1875), ("1 (0.7 > 0)", 1), ("0.5 · e^(−2) (−2 ≤ 0)", 0.5 * math.exp(-2)),
    ("(2 · (−2.5) + 3)/6 (−3 < (−2.5) < 3)", -1 / 3), ("(2/3)(0.5 − (−1))", 1.0), ("(−1)", -1),
    ("0.5 + κ, κ = −1/5 − 2 · 3/5", 0.5 - 0.2 - 1.2)])
def test_formulas_are_read_as_arithmetic(written, value):
    assert arithmetic(written, {}) == pytest.approx(value)


@pytest.mark.parametrize("name", EVERY)
def test_formulas_come_to_the_numbers_beside_them(name):
    case = EVERY[name]
    if isinstance(op_table.account_of(case.op), Opaque):
        pytest.skip("this op has no formulas")
    trace, tensor, ctx, rng = run_of(case)
    maps = maps_of(tensor.node, ctx, None)
    for operand, (source, map_) in enumerate(zip(tensor.node.inputs, maps, strict=True)):
        elements = [] if map_ is None else rng.choice(trace.values[source].size, 4, replace=False)
        for element in elements:
            targets, derivatives = map_.edges(int(element))
            for target, value in list(zip(targets, derivatives, strict=True))[:4]:
                found = factor(trace, trace.place(tensor, int(target)), trace.place(source, int(element)), operand,
                               float(value))
                check_filled(found.formula, found.spelled_out)
                written = found.formula if name == "dropout" else found.spelled_out  # that one says what m may be
                text = written.numbers(17, "text")
                # Constants are written with six digits.
                assert arithmetic(text, {}) == pytest.approx(value, rel=1e-5, abs=1e-12), text
    for element in rng.choice(trace.values[tensor].size, min(4, trace.values[tensor].size), replace=False):
        shown = line(trace, trace.place(tensor, int(element)))
        check_filled(shown.formula)
        text = shown.formula.numbers(17, "text")
        if not re.search(r"softmax|[<>≤≥≠=|]|and|or|not|is|…", text):      # those stand for what is no arithmetic
            assert arithmetic(text, {}) == pytest.approx(shown.quantity.value, rel=1e-5, abs=1e-12), text


def check_filled(*formulas):
    for formula in formulas:
        for kind in ("text", "latex", "html"):
            assert "@" not in formula.render(kind) + formula.numbers(9, kind)


@pytest.mark.parametrize("case", cases.LOSSES.values(), ids=list(cases.LOSSES))
def test_formulas_of_losses_come_to_the_slopes_beside_them(case):
    rng = np.random.default_rng(2)
    source = fb.Input(*case.shape)
    net = fb.Network(source, fb.Linear(case.shape[-1], case.shape[-1])(source), dtype="float64", seed=3,
                     backend="reference")
    e = net.explain(rng.normal(size=(ROWS, *case.shape)), case.target(rng, ROWS), case.loss, weight="w1", terms=40)
    slopes = [f for path in e.paths for f in path.factors if f.box == "loss0"]
    assert slopes
    for slope in slopes:
        check_filled(slope.formula, slope.spelled_out)
        text = slope.spelled_out.numbers(17, "text")
        assert arithmetic(text, {}) == pytest.approx(slope.value, rel=1e-9, abs=1e-12), text
    for stage in e.forward[-1:]:
        check_filled(*(one.formula for one in stage.lines))
