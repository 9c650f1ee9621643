"""Tensors as NumPy arrays: every function's value, first and second derivative, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from expression_cases import CASES, S, data, weights_for
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp as fb
from fastbp.graph.tensor import Symbol, Tensor


def run(function: Callable[..., Any], *xs: Any, backend: str = "reference", outputs: int = 1) -> Any:
    """What a function of tensors makes of arrays, as the outputs of a network."""
    inputs = [fb.Input(*x.shape[1:]) for x in xs]
    made = function(*map(Symbol, inputs))
    made = made if isinstance(made, tuple) else (made,)
    net = fb.Network(inputs, [m.tensor for m in made], dtype="float64", backend=backend, seed=3)
    return net.forward(tuple(xs), training=True)


KINKS = {"stop_gradient"}
# what np.broadcast of a gradient by chance hides: the loss weighs every element differently


def loss_of(function: Callable[..., Any], weights: Any) -> Callable[..., Any]:
    return lambda *xs: np.sum(np.cos(function(*xs)) * weights)


def relative(a: np.ndarray, n: np.ndarray) -> float:
    return float(np.max(np.abs(a - n)) / max(float(np.max(np.abs(n))), 1e-3))


def central(function: Callable[..., Any], xs: list[np.ndarray], which: int, h: float) -> np.ndarray:
    """A difference quotient of the fourth order, of a function of arrays that returns a number or an array."""
    slopes = []
    for i in range(xs[which].size):
        def at(step: float, i: int = i) -> np.ndarray:
            moved = [x.copy() for x in xs]
            moved[which].reshape(-1)[i] += step
            return np.asarray(function(*moved))
        slopes.append((8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h))
    return np.array(slopes).reshape(*xs[which].shape, *np.asarray(slopes[0]).shape)


@pytest.mark.parametrize("name", CASES)
def test_the_same_text_on_arrays_and_tensors(name: str) -> None:
    function, shapes, (low, high) = CASES[name]
    xs = data(*shapes, low=low, high=high)
    for backend in ("reference", "native"):
        whole = lambda *ts: function(*ts) + 0 * ts[0].reshape(ts[0].shape[0], -1)[:, :1].reshape(  # noqa: E731
            ts[0].shape[0], *(1,) * (max(np.ndim(function(*ts)), 1) - 1))
        expected = np.broadcast_to(np.asarray(function(*xs), np.float64), np.shape(whole(*xs)))
        (y,) = run(whole, *xs, backend=backend)
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in CASES if n not in KINKS])
def test_first_derivative(name: str) -> None:
    function, shapes, (low, high) = CASES[name]
    xs = data(*shapes, low=low, high=high)
    loss = loss_of(function, weights_for(function, xs))
    inputs = [fb.Input(*x.shape[1:]) for x in xs]
    traced = loss(*map(Symbol, inputs))
    gradients = backward(inputs, traced, xs)
    for i, g in enumerate(gradients):
        assert relative(g, central(loss, xs, i, 1e-3 if name == "tan" else 2e-4)) < 1e-6, name


def backward(inputs: list[Tensor], traced: Symbol, xs: list[np.ndarray]) -> list[np.ndarray]:
    """The gradients of a traced number, by the reference's backward pass, and by fb.grad; they agree."""
    from fastbp.engine.reference import ReferenceBackend
    from fastbp.graph.graph import Graph
    from fastbp.graph.memory import Memory
    graph = Graph(inputs, [traced.tensor])
    reference = ReferenceBackend(Memory(graph, "float64"))
    reference.forward(xs, training=True)
    gradients = [np.asarray(g) for g in reference.backward([np.ones(())])]
    derived = derivatives(traced, inputs)
    if derived is None:
        assert not any(g.any() for g in gradients)
        return gradients
    leaves = _leaves(derived)
    used = [t for t in inputs if t in leaves] or inputs
    if set(used) == set(inputs):
        second = ReferenceBackend(Memory(Graph(inputs, list(dict.fromkeys(derived))), "float64"))
        made = dict(zip(dict.fromkeys(derived), second.forward(xs, training=True), strict=True))
        for g, t in zip(gradients, derived, strict=True):
            np.testing.assert_allclose(np.broadcast_to(made[t], g.shape), g, rtol=1e-10, atol=1e-12)
    return gradients


def derivatives(y: Symbol, xs: list[Any]) -> list[Tensor] | None:
    """What fb.grad makes; None where it says that y has no derivative by one of them."""
    try:
        return [g.tensor for g in fb.grad(y, xs)]
    except ValueError as error:
        if "does not depend" in str(error):
            return None
        raise


def _leaves(tensors: list[Tensor]) -> set[Tensor]:
    seen, stack = set(tensors), list(tensors)
    while stack:
        node = stack.pop().node
        new = [t for t in (node.inputs if node else ()) if t not in seen]
        seen.update(new)
        stack.extend(new)
    return seen


@pytest.mark.parametrize("name", [n for n in CASES if n not in KINKS])
def test_second_derivative(name: str) -> None:
    """The gradient of a weighted sum of the gradient, against differences of the gradient."""
    function, shapes, (low, high) = CASES[name]
    xs = data(*shapes, low=low, high=high)
    loss = loss_of(function, weights_for(function, xs))

    inputs = [fb.Input(*x.shape[1:]) for x in xs]
    symbols = [Symbol(t) for t in inputs]
    gradients = derivatives(loss(*symbols), inputs)
    if gradients is None:
        return
    traced: Any = sum(np.sum(Symbol(g) * np.cos(0.5 * t)) for g, t in zip(gradients, symbols, strict=True))

    def on_arrays(*arrays: np.ndarray) -> Any:
        first = backward(inputs, loss(*map(Symbol, inputs)), list(arrays))
        return sum(np.sum(g * np.cos(0.5 * x)) for g, x in zip(first, arrays, strict=True))

    for i, g in enumerate(backward(inputs, traced, xs)):
        assert relative(g, central(on_arrays, xs, i, 1e-3)) < 1e-5, name


@pytest.mark.parametrize("name", [n for n in CASES if n not in KINKS])
def test_plans_derive_as_the_reference_does(name: str) -> None:
    """A loss, and one made of its gradient: both backends make the same numbers, and derive them alike."""
    function, shapes, (low, high) = CASES[name]
    xs = data(*shapes, low=low, high=high)
    first = loss_of(function, weights_for(function, xs))

    def second(*ts: Any) -> Any:
        return sum(np.sum(g * np.cos(0.5 * t)) for g, t in zip(fb.grad(first(*ts), list(ts)), ts, strict=True))

    given: Any = tuple(xs) if len(xs) > 1 else xs[0]
    for loss in (first, second):
        found = []
        for backend in ("reference", "native"):
            inputs = tuple(fb.Input(*shape) for shape in shapes)
            net = fb.Network(inputs if len(xs) > 1 else inputs[0], [t * 1.0 for t in inputs], dtype="float64",
                             backend=backend)  # type: ignore[arg-type]
            try:
                found.append([net.loss_and_grad(given, (), loss), *net.input_grads])
            except ValueError as error:
                assert "has a derivative" in str(error) or "does not depend" in str(error)  # noqa: PT017 - by both
                found.append([])
        for ours, theirs in zip(*found, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


# ---- random expressions ----------------------------------------------------------------------------------------------

UNARY = {
    "exp": lambda x: np.exp(np.tanh(x)), "tanh": np.tanh, "sin": np.sin, "square": lambda x: np.square(np.tanh(x)),
    "sqrt": lambda x: np.sqrt(1 + x * x), "log1p": lambda x: np.log1p(x * x), "sigmoid": S.sigmoid,
    "mean": lambda x: x - x.mean(axis=-1, keepdims=True), "batch": lambda x: x * x.mean(axis=0),
    "softmax": lambda x: S.softmax(x), "turn": lambda x: x[:, ::-1], "cumsum": lambda x: np.cumsum(x, axis=1) / 3,
}
BINARY = {
    "add": lambda a, b: a + b, "mul": lambda a, b: a * b, "sub": lambda a, b: a - b,
    "div": lambda a, b: a / (2 + np.sin(b)), "max": np.maximum, "where": lambda a, b: np.where(a > b, a * b, b),
    "logaddexp": np.logaddexp, "outer": lambda a, b: (a[:, :, None] * b[:, None, :]).mean(axis=2),
    "join": lambda a, b: np.concatenate([a[:, :1], b[:, 1:]], axis=1),
}


def expressions() -> Any:
    leaf = st.sampled_from([("x",), ("y",), ("c",)])
    return st.recursive(leaf, lambda e: st.one_of(st.tuples(st.sampled_from(sorted(UNARY)), e),
                                                  st.tuples(st.sampled_from(sorted(BINARY)), e, e)), max_leaves=12)


def depth(tree: Any) -> int:
    return 1 + max((depth(t) for t in tree[1:]), default=0)


def build(tree: Any, x: Any, y: Any) -> Any:
    if tree == ("c",):
        return 0.5 + 0.0 * x
    if len(tree) == 1:
        return x if tree[0] == "x" else y
    parts = [build(t, x, y) for t in tree[1:]]
    return (UNARY if len(parts) == 1 else BINARY)[tree[0]](*parts)


@settings(max_examples=60, deadline=None)
@given(expressions().filter(lambda t: depth(t) <= 8))
def test_random_expressions_against_differences(tree: Any) -> None:
    xs = data((3,), (3,), low=-1.5, high=1.5, seed=4)
    loss = lambda x, y: np.mean(np.sin(build(tree, x, y))) + 0.0 * np.sum(x * y)  # noqa: E731
    inputs = [fb.Input(3), fb.Input(3)]
    for i, g in enumerate(backward(inputs, loss(*map(Symbol, inputs)), xs)):
        assert np.max(np.abs(g - central(loss, xs, i, 1e-3))) < 1e-7


@settings(max_examples=60, deadline=None)
@given(expressions().filter(lambda t: depth(t) <= 8))
def test_random_expressions_against_torch(tree: Any) -> None:
    torch = pytest.importorskip("torch")
    xs = data((3,), (3,), low=-1.5, high=1.5, seed=4)
    inputs = [fb.Input(3), fb.Input(3)]
    loss = lambda x, y: np.mean(np.sin(build(tree, x, y))) + 0.0 * np.sum(x * y)  # noqa: E731
    mine = backward(inputs, loss(*map(Symbol, inputs)), xs)
    with torch.enable_grad():
        ts = [torch.tensor(x, requires_grad=True) for x in xs]
        torch.sin(_on_torch(tree, *ts, torch)).mean().backward()
    for g, t in zip(mine, ts, strict=True):
        expected = np.zeros_like(g) if t.grad is None else t.grad.numpy()
        np.testing.assert_allclose(g, expected, rtol=1e-10, atol=1e-10)


def _on_torch(tree: Any, x: Any, y: Any, torch: Any) -> Any:
    unary = {
        "exp": lambda a: torch.exp(torch.tanh(a)), "tanh": torch.tanh, "sin": torch.sin,
        "square": lambda a: torch.tanh(a) ** 2, "sqrt": lambda a: torch.sqrt(1 + a * a),
        "log1p": lambda a: torch.log1p(a * a), "sigmoid": torch.sigmoid,
        "mean": lambda a: a - a.mean(dim=-1, keepdim=True), "batch": lambda a: a * a.mean(dim=0),
        "softmax": lambda a: torch.softmax(a, dim=-1), "turn": lambda a: torch.flip(a, (1,)),
        "cumsum": lambda a: torch.cumsum(a, dim=1) / 3,
    }
    binary = {
        "add": lambda a, b: a + b, "mul": lambda a, b: a * b, "sub": lambda a, b: a - b,
        "div": lambda a, b: a / (2 + torch.sin(b)), "max": torch.maximum,
        "where": lambda a, b: torch.where(a > b, a * b, b), "logaddexp": torch.logaddexp,
        "outer": lambda a, b: (a[:, :, None] * b[:, None, :]).mean(dim=2),
        "join": lambda a, b: torch.cat([a[:, :1], b[:, 1:]], dim=1),
    }
    if len(tree) == 1:
        return {"x": x, "y": y, "c": 0.5 + 0.0 * x}[tree[0]]
    parts = [_on_torch(t, x, y, torch) for t in tree[1:]]
    return (unary if len(parts) == 1 else binary)[tree[0]](*parts)


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("function", "message"), [
    (lambda x: x if x > 0 else -x, "branch .*np.where"),
    (lambda x: np.mean(x) * float(x.mean()), "converted to a number"),
    (lambda x: x + np.ones(7), r"add: operands of shape \(B, 4\) and \(7,\) do not fit"),
    (lambda x: x @ np.ones((3, 2)), r"matmul: operands of shape \(B, 4\) and \(3, 2\) do not fit"),
    (lambda x: np.linalg.eigvalsh(x), r"np.linalg.eigvalsh has no derivative here.*no eigenvalues"),
    (lambda x: np.linalg.inv(x), r"np.linalg.inv: the last two axes.* no square matrix"),
    (lambda x: np.linalg.norm(x, -1, axis=1), r"ord is -1 for vectors; expected None, a number above 0"),
    (lambda x: np.roll(x, 1), "np.roll: all axes as one"),
    (lambda x: np.pad(x, 1), r"adds rows.*\(\(0, 0\), \(before, after\)\)"),
    (lambda x: x.detach(), r"no attribute 'detach'; write fb.stop_gradient"),
    (lambda x: x.sum(dim=1), r"sum: got dim; for dim NumPy has axis"),
    (lambda x: np.sum(x, dim=1), r"unexpected keyword argument 'dim'; for dim NumPy has axis"),
    (lambda x: np.max(x, axis=1, keepdim=True), r"for keepdim NumPy has keepdims"),
    (lambda x: x.flatten(start_dim=1), r"x.reshape\(x.shape\[0\], -1\)"),
    (lambda x: x.size(), r"x.size, x.shape and x.ndim are attributes"),
    (lambda x: x.cat([x, x]), r"np.concatenate"),
    (lambda x: x.masked_fill(x > 0, 0.0), r"np.where\(mask, number, x\)"),
    (lambda x: x.repeat(1, 2), r"np.repeat\(x, n, axis=1\), or np.tile"),
    (lambda x: x.item(), r"item: the numbers of a tensor are not known"),
    (lambda x: x.sort(), r"np.sort\(x, axis\)"),
    (lambda x: np.insert(x, 0, 1.0, axis=1), r"use np.concatenate of x\[:, :i\], what is new, and x\[:, i:\]"),
    (lambda x: np.packbits(x > 0), r"np.packbits .* docs/functions.md lists"),
    (lambda x: np.linalg.svd(x), r"there are no eigenvalues"),
    (lambda x: np.max(x, axis=1, where=x > 0), r"needs initial"),
    (lambda x: np.cumprod(x, axis=0), r"over the rows there are running sums alone"),
    (lambda x: np.tile(x, (2, 1)), r"np.tile: reps is \(2, 1\), which repeats the rows"),
    (lambda x: np.gradient(x), r"np.gradient: axis is None.*axis=1"),
    (lambda x: np.interp(x, [0.0, 1.0], [0.0]), r"np.interp: xp and fp are of shape \(2,\) and \(1,\)"),
    (lambda x: np.digitize(x, [1.0, 0.0]), r"expected a vector of increasing numbers"),
    (lambda x: fb.grad(np.sum, x), r"grad: y is sum, a function; expected .*fb.grad\(function\(x\), x\)"),
    (lambda x: x.exp(), r"no attribute 'exp'; write np.exp\(x\)"),
    (lambda x: x + np.random.default_rng(0).normal(size=x.shape), r"fb.random.normal"),
    (lambda x: np.eye(x.shape[0]) @ x, r"fb.special.arange"),
    (lambda x: np.eye(4)[np.argmax(x, axis=1)], r"fb.special.take"),
    (lambda x: np.median(x), r"np.median: axis is None.*axis=0"),
    (lambda x: np.vstack([x, x]), "np.vstack .*use np.stack"),
    (lambda x: np.add.at(x, 0, x), r"np.add.at .*np.sum"),
    (lambda x: np.asarray(x), "converted to an array"),
    (lambda x: len(x), r"x.shape\[0\]"),
    (lambda x: list(x), "gone through"),
    (lambda x: x.reshape(-1), r"np.reshape: an array of shape \(B, 4\) cannot become \(-1,\)"),
    (lambda x: np.split(x, 2), "axis 0 is that of the rows"),
    (lambda x: np.split(x, 3, axis=1), "4 cannot be cut into 3 equal parts"),
    (lambda x: x[x > 0], "np.where"),
    (lambda x: x[np.arange(4), np.arange(4)], "take_along_axis"),
    (lambda x: x[:, 9], r"index: operands of shape \(B, 4\) do not fit"),
    (lambda x: x[:, 1, 2], "indexed by 3 entries"),
    (lambda x: x[1:], r"the rows of the batch are cut, \[1:\]; expected all"),
    (lambda x: x[:, 1:][::2], r"are cut, \[::2\]"),
    (lambda x: np.concatenate([x, x]), r"along axis 0 are the rows.*np.stack\(…, axis=1\)"),
    (lambda x: np.einsum("bi,bj", x), "one or two"),
    (lambda x: np.sum(x, axis=3), r"np.sum: axis is 3, but the array has 2 axes"),
    (lambda x: np.add(x, x, out=x), "cannot be written into"),
    (lambda x: x + "a", "expected numbers"),
])
def test_mistakes_are_named_with_their_line(function: Callable[..., Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError, IndexError, AttributeError)) as error:
        fb.Lambda(function)(fb.Input(4))
    text = str(error.value)
    assert re.search(message, text), text
    assert "Lambda(<lambda>), line " in text
    assert "test_expressions.py" in text


def test_writing_into_a_tensor_is_refused() -> None:
    def writes(x: Any) -> Any:
        x[:, 0] = 1.0
        return x
    with pytest.raises(TypeError, match=r"writes\), line .*cannot be written into.*np.where"):
        fb.Lambda(writes)(fb.Input(4))


def test_rows_that_would_spread_over_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(B, 1\) and \(B,\).*x\[:, None\]"):
        fb.Lambda(lambda x: np.mean(x - x[:, 0], axis=1))(fb.Input(1))


def test_a_tensor_is_itself_in_sets_and_lists() -> None:
    a, b = fb.Input(3), fb.Input(3)
    assert a in [b, a]
    assert len({a, b}) == 2
    assert [b, a].index(a) == 1


def test_tensors_outside_of_functions() -> None:
    x = fb.Input(4)
    y = np.tanh(x[:, 1:3]) * 2 + np.mean(x, axis=1)[:, None]
    net = fb.Network(x, y, dtype="float64", backend="reference")
    a = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_allclose(net.predict(a), np.tanh(a[:, 1:3]) * 2 + a.mean(axis=1)[:, None])
    assert repr(x @ np.ones((4, 2))) == "Tensor(matmul, shape=(B, 2))"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_random_numbers_are_new_each_step_and_the_same_on_both_backends(distribution: str, dtype: Any) -> None:
    draw = getattr(fb.random, distribution)
    for width in (1, 3, 7, 20):     # rows that begin within a block of four, and within a pair
        seen: dict[str, list[np.ndarray]] = {}
        for backend in ("reference", "native"):
            x = fb.Input(width)
            net = fb.Network(x, 0 * x + draw(x), dtype=dtype, seed=5, backend=backend)  # type: ignore[arg-type]
            zeros = np.zeros((999, width))
            seen[backend] = [net.predict(zeros), net.predict(zeros), net.forward(zeros[:33], training=True)]
            net.memory.step = 1
            seen[backend] += [net.predict(zeros[:1]), net.predict(zeros)]
        for ours, theirs in zip(seen["native"], seen["reference"], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        values = seen["reference"][0]
        assert not np.array_equal(values, seen["native"][4])
        if distribution == "uniform":
            assert values.min() >= 0
            assert values.max() < 1
            assert abs(values.mean() - 0.5) < 0.03
        else:
            assert abs(values.mean()) < 0.1
            assert abs(values.std() - 1) < 0.1
            assert abs(np.mean(values > 1) - 0.1587) < 0.03
    assert draw((3, 2)).shape == (3, 2)


def test_random_numbers_for_the_whole_batch() -> None:
    seen = []
    for backend in ("reference", "native"):
        noise = fb.Lambda(lambda h: h * (1 + 0.1 * fb.random.normal((3,))) + fb.random.uniform((1, 3)))
        net = fb.Sequential(fb.Linear(2, 3), noise, fb.Linear(3, 1), seed=0, dtype="float64",
                            backend=backend)  # type: ignore[arg-type]
        x = data((2,))[0]
        trainer = fb.Trainer(net, "mse", fb.SGD(0.1))
        trainer.fit(x, x[:, :1], epochs=3, batch_size=2, progress=False)
        seen.append([*trainer.history["loss"], *net.params.flat, *net.predict(x)[:, 0]])
        assert not any(node.op.calls_back for node in net.graph.nodes if node.op.name.endswith("random"))
    np.testing.assert_allclose(*seen, rtol=1e-11)


def test_normal_numbers_are_those_of_box_and_muller() -> None:
    from fastbp.ops.base import Context
    from fastbp.ops.philox import random_words
    from fastbp.ops.random import RandomOp
    rows = 5000
    made = RandomOp("normal", (-1, 2)).forward(Context(rows=rows, seed=3, step=4, node=5))
    u, v = ((random_words(2 * rows, 3, 4, 5)[i::2] >> np.uint64(8)).astype(float) / 2**24 for i in range(2))
    radius, angle = np.sqrt(-2 * np.log(u + 2.0**-24)), 2 * np.pi * v
    np.testing.assert_allclose(made, np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), atol=1e-14)


def test_training_with_noise_calls_no_python() -> None:
    losses = {}
    for backend in ("reference", "native"):
        x = fb.Input(5)
        mean, spread = (fb.Linear(5, 3)(x) for _ in range(2))
        z = mean + np.exp(0.5 * spread) * fb.random.normal(mean)
        net = fb.Network(x, fb.Linear(3, 5)(z), seed=0, backend=backend)  # type: ignore[arg-type]
        trainer = fb.Trainer(net, "mse", fb.Adam(0.01))
        (rows,) = data((5,))
        trainer.fit(np.repeat(rows, 9, axis=0), np.repeat(rows, 9, axis=0), epochs=3, batch_size=7, progress=False)
        losses[backend] = [*trainer.history["loss"], *(trainer.step(rows, rows) for _ in range(3))]
        assert not any(node.op.calls_back for node in net.graph.nodes if node.op.name == "random")
    np.testing.assert_allclose(losses["native"], losses["reference"], rtol=1e-5)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_functions_of_truth_values_have_all_digits(backend: str) -> None:
    """NumPy computes them in half precision."""
    (x,) = data((4,))
    (y,) = run(lambda x: x + np.exp(x > 0.5), x, backend=backend)
    np.testing.assert_allclose(y, x + np.exp((x > 0.5).astype(float)), rtol=1e-15)


SMALLEST, LARGEST = 2.0**-1074, np.finfo(float).max
EDGES = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -3.0, np.inf, -np.inf, np.nan, SMALLEST, -SMALLEST, LARGEST, -LARGEST])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", ["arcsin", "arccos", "arctan", "arctan2", "hypot", "arcsinh", "arccosh", "arctanh",
                                      "cbrt", "trunc", "nan_to_num"])
def test_numbers_at_the_ends(function: str, dtype: Any) -> None:
    """Both backends have NumPy's values, its infinities and signs of zero among them, and agree on the derivative."""
    from fastbp.ops.scalar import SCALARS
    row = SCALARS[function]
    with np.errstate(all="ignore"):
        edges = EDGES.astype(dtype)
        xs = tuple(g.reshape(-1, 1) for g in np.meshgrid(*[edges] * row.operands))
        expected, slopes = row.value(*xs), []
    for backend in ("reference", "native"):
        inputs = [fb.Input(1) for _ in xs]
        net = fb.Network(inputs, [row(*map(Symbol, inputs)).tensor], dtype=dtype, backend=backend)  # type: ignore[arg-type]
        (y,) = net.forward(xs, training=True)
        np.testing.assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps, atol=0)
        assert not (np.signbit(y) != np.signbit(expected))[~np.isnan(expected)].any()
        net.backward((np.ones_like(y),))
        slopes.append([g.copy() for g in net.input_grads])
    for ours, theirs in zip(*slopes, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5 if dtype == "float32" else 1e-13)


def test_an_angle_and_a_length_have_the_derivative_0_at_the_origin() -> None:
    for function in (np.arctan2, np.hypot):
        a, b = fb.Input(2), fb.Input(2)
        slopes = fb.grad(function(a, b), (a, b))
        net = fb.Network((a, b), [*slopes, fb.grad(slopes[0] + slopes[1], a)], dtype="float64")
        zero, one = np.zeros((1, 2)), np.array([[0.0, 2.0]])
        made = net.predict((zero, one))
        assert [part[0, 0] for part in made[:2]] == [0.0, 0.0]
        assert np.isfinite(made).all()


def test_writing_over_a_name_leaves_the_tensor_as_it_was() -> None:
    def doubled(x: Any) -> Any:
        y = x
        y *= 2.0
        return y - x
    net = fb.Network(x := fb.Input(2), fb.Lambda(doubled)(x), dtype="float64")
    np.testing.assert_array_equal(net.predict([[1.0, 3.0]]), [[1.0, 3.0]])


def test_scipy_functions() -> None:
    special = pytest.importorskip("scipy.special")
    function = lambda x: (special.erf(x) + special.expit(x) * special.ndtr(x) + special.log_expit(x)  # noqa: E731
                          + special.xlogy(x * x, x * x))
    (x,) = data((4,))
    np.testing.assert_allclose(run(function, x)[0], function(x), rtol=1e-12)
    with pytest.raises(TypeError, match=r"fb.special"):
        fb.Lambda(lambda x: special.softmax(x, axis=1))(fb.Input(4))


# ---- integers that arrays are indexed by -----------------------------------------------------------------------------


INDEXED: dict[str, Callable[..., Any]] = {
    "along": lambda x, i: np.take_along_axis(x, i, axis=1),
    "along the last": lambda x, i: np.take_along_axis(x, i[:, ::-1], axis=-1),
    "a table": lambda x, i: S.take(np.arange(3.0), i) * x[:, :1],
}


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("name", INDEXED)
def test_integers_that_are_not_there_are_named(name: str, backend: str) -> None:
    function = INDEXED[name]
    (x,), good = data((3,)), np.array([[0, 1], [2, -1], [-3, 0], [1, 1], [2, 2]])
    inputs = [fb.Input(3), fb.Input(2, dtype="int64")]
    net = fb.Network(inputs, fb.Lambda(function)(*inputs), dtype="float64", backend=backend)
    np.testing.assert_allclose(net.predict((x, good)), function(x, good))
    for wrong in (3, -4, 2**40):
        bad = good.copy()
        bad[2, 1] = wrong
        with pytest.raises(IndexError, match=rf"x\[1\] has {wrong} in row 2, .* size 3 .*expected .* 0 to 2"):
            net.predict((x, bad))


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_integers_that_are_computed_are_looked_at_where_they_are_used(backend: str) -> None:
    (x,) = data((3,))
    entry = fb.Input(3)
    computed = fb.Lambda(lambda x: np.take_along_axis(x, np.floor(4 * np.abs(x[:, :1])).astype(int), axis=1))(entry)
    net = fb.Network(entry, computed, dtype="float64", backend=backend)
    np.testing.assert_array_equal(net.predict(0.1 * x), 0.1 * x[:, :1])
    with pytest.raises(IndexError, match=r"take_along_axis: index \d is out of bounds .*expected integers from 0 to 2"):
        net.predict(x)


@pytest.mark.parametrize("function", [
    lambda x: np.take(x, [0, 2, 2], axis=1), lambda x: np.take_along_axis(x, np.argmax(x, axis=1)[:, None], axis=1),
    lambda x: np.repeat(x, 2, axis=-1), lambda x: np.pad(x, ((0, 0), (1, 1)), mode="edge"),
])
def test_integers_that_are_known_to_be_there_are_read_at_in_c(function: Callable[..., Any]) -> None:
    from fastbp.engine.fusion import fused
    from fastbp.engine.native import find_instruction
    net = fb.Network(x := fb.Input(3), fb.Lambda(function)(np.tanh(x) * 2.0), dtype="float64", backend="reference")
    assert not any(node.op.calls_back for node in fused(net.graph, find_instruction).nodes if node.op.name != "argmax")


def test_a_derivative_wants_what_a_function_returns() -> None:
    with pytest.raises(TypeError, match=r"grad: y is <lambda>, a function; .*fb.grad\(function\(x\), x\)"):
        fb.grad(lambda x: x**2)
    with pytest.raises(TypeError, match=r"grad: x is None; expected a tensor"):
        fb.grad(fb.Input(2))


def test_a_parameter_is_called_so() -> None:
    with pytest.raises(ValueError, match=r"^Parameter: name is 'a.b'; expected a non-empty string without a dot"):
        fb.Parameter((3,), name="a.b")
    assert repr(fb.Parameter((3,)).node.owner).startswith("Parameter(")  # type: ignore[union-attr]


def test_names_of_older_and_newer_versions_of_numpy() -> None:
    """A name that this version does not have is none of the table's."""
    from fastbp.ops.numpy_names import FUNCTIONS, UFUNCS
    assert None not in FUNCTIONS
    assert all(map(callable, [*FUNCTIONS, *UFUNCS]))


@pytest.mark.parametrize("init", [1.0, np.ones(3), "ones"])
def test_a_parameter_wants_an_initializer(init: Any) -> None:
    with pytest.raises(TypeError, match=r"Parameter: init is .*expected an initializer such as fb\.Normal"):
        fb.Parameter((3,), init)


def test_hints_name_what_tensors_take() -> None:
    from fastbp.core.words import TENSOR_METHODS
    from fastbp.ops.numpy_names import _INSTEAD, FUNCTIONS, UFUNCS, _numpys
    known = {*FUNCTIONS, *UFUNCS, np.inf, np.pi, np.linalg}
    for hint in (*TENSOR_METHODS.values(), *_INSTEAD.values()):
        for name in re.findall(r"np\.((?:linalg\.)?\w+)", hint):
            assert _numpys(name) in known, hint
    assert not {name for name in _INSTEAD if _numpys(name) in known - {None}}
