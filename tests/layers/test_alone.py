"""Layers and losses by themselves, on arrays: every one against its NumPy op and, to the bit, against a plan of it."""

from __future__ import annotations

import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cases
import numpy as np
import pytest

import fastbp as fb
from fastbp import kernels
from fastbp.engine.layer_plan import LayerPlan
from fastbp.engine.op_kernels import has_kernels
from fastbp.ops.custom import PythonOp

DTYPES = ("float32", "float64")
BOUND = {"float32": 1e-5, "float64": 1e-12}


def batch(case: cases.LayerCase, dtype: str, rows: int = 9) -> tuple[np.ndarray, ...]:
    arrays = case.inputs(np.random.default_rng(3), rows)
    return tuple(a if a.dtype.kind == "i" else a.astype(dtype) for a in arrays)


def built(case: cases.LayerCase, dtype: str) -> tuple[fb.Layer, fb.Network, fb.Network]:
    """Return a layer by itself, a plan of it, and a reference network of it, with the same parameters and seed."""
    layer = case.make().build(*case.shapes, seed=7, dtype=dtype)
    nets = [case.network(seed=7, dtype=dtype, backend=backend) for backend in ("native", "reference")]
    for i, value in enumerate(layer.params.values()):
        value[...] = np.random.default_rng(i).uniform(-1, 1, value.shape)
        for net in nets:
            next(iter(list(net.params.values())[i:]))[...] = value
    return layer, *nets


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", cases.LAYERS)
def test_a_layer_does_what_a_network_of_it_does(name: str, training: bool, dtype: str) -> None:
    layer, plan, reference = built(cases.LAYERS[name], dtype)
    xs = batch(cases.LAYERS[name], dtype)
    in_numpy = any(node.op.calls_back and not node.op.on_arrays for node in plan.graph.nodes)
    alike = _close(dtype) if in_numpy else np.testing.assert_array_equal
    for _ in range(2):      # dropout draws anew, running statistics move
        y = layer.forward(*xs, training=training)
        assert y.dtype == dtype
        alike(y, plan.forward(xs, training=training))
        np.testing.assert_allclose(y, reference.forward(xs, training=training), rtol=BOUND[dtype], atol=BOUND[dtype])
        for own, other in zip(layer.state.values(), plan.buffers.values(), strict=True):
            alike(own, other)
        if not training:
            continue
        dy = np.random.default_rng(5).standard_normal(y.shape).astype(dtype)
        dxs = layer.backward(dy)
        assert isinstance(dxs, tuple) == (len(xs) > 1)
        for net, equal in ((plan, alike), (reference, _close(dtype))):
            for own, other in zip(dxs if len(xs) > 1 else (dxs,), net.backward(dy), strict=True):
                if own is None:                     # nothing comes back to integers
                    assert not np.any(other)
                else:
                    equal(own, other)
            for own, other in zip(layer.grads.values(), net.grads.values(), strict=True):
                equal(own, other)


def _close(dtype: str) -> Any:
    return lambda a, b: np.testing.assert_allclose(a, b, rtol=BOUND[dtype], atol=10 * BOUND[dtype])


@pytest.mark.parametrize("name", [name for name, case in cases.LAYERS.items() if case.dtype is None])
def test_backward_without_training_is_the_slope_of_forward(name: str) -> None:
    case = cases.LAYERS[name]
    layer = case.make().build(*case.shapes, seed=7, dtype="float64")
    xs = batch(case, "float64", rows=2)
    y = layer.forward(*xs)
    dy = np.random.default_rng(5).standard_normal(y.shape)
    given = layer.backward(dy)
    for i, (x, dx) in enumerate(zip(xs, given if len(xs) > 1 else (given,), strict=True)):
        def total(values: np.ndarray, i: int = i) -> float:
            return float((dy * layer.forward(*(values if j == i else other for j, other in enumerate(xs)))).sum())
        np.testing.assert_allclose(dx, fb.numerical_gradient(total, x), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", cases.LAYERS)
def test_a_layer_without_kernels_runs_as_a_plan(name: str) -> None:
    """Unless somebody's own rules are in it."""
    case = cases.LAYERS[name]
    walk = case.make().build(*case.shapes).__dict__["_alone"].build(case.shapes, "float32")
    ops = [node.op for node in case.network().graph.nodes]
    by_kernels, own = all(op.is_view or has_kernels(op) for op in ops), any(isinstance(op, PythonOp) for op in ops)
    assert isinstance(walk, LayerPlan) == (not by_kernels and not own)


@pytest.mark.parametrize("name", cases.OPS)
def test_an_op_with_kernels_runs_by_them(name: str) -> None:
    op = cases.OPS[name].op
    assert has_kernels(op) == (hasattr(kernels, f"{op.name}_forward") or op.name == "flatten")


@pytest.mark.parametrize("name", [name for name, case in cases.OPS.items()
                                  if has_kernels(case.op) and case.tensors()[0].dtype == "real"])
def test_an_op_by_its_kernels_is_its_numpy_text(name: str) -> None:
    case = cases.OPS[name]
    layer = cases.OpLayer(case.op).build(*case.shapes, seed=7, dtype="float64")
    reference = case.network(seed=7, dtype="float64", backend="reference")
    xs = case.inputs(np.random.default_rng(3), 9)
    y = layer.forward(*xs, training=True)
    np.testing.assert_allclose(y, reference.forward(tuple(xs), training=True), rtol=1e-12, atol=1e-12)
    dy = np.random.default_rng(5).standard_normal(y.shape)
    dxs, expected = layer.backward(dy), reference.backward(dy)
    for dx, other in zip(*(dx if isinstance(dx, tuple) else (dx,) for dx in (dxs, expected)), strict=True):
        if other is not None:
            np.testing.assert_allclose(dx, other, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer.grads.flat, reference.grads.flat, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", cases.LAYERS)
def test_back_twice_and_in_batches_of_any_size(name: str) -> None:
    case = cases.LAYERS[name]
    layer = case.make().build(*case.shapes, seed=7, dtype="float32")
    for rows in (4, 1, 9, 2):
        xs = batch(case, "float32", rows)
        y = layer.forward(*xs)
        dy = np.random.default_rng(5).standard_normal(y.shape).astype("float32")
        once, gradients = layer.backward(dy), layer.grads.flat.copy()
        np.testing.assert_equal(layer.backward(dy), once)
        np.testing.assert_array_equal(layer.grads.flat, gradients)


@pytest.mark.parametrize("name", cases.LAYERS)
def test_no_rows_and_rows_that_are_infinite(name: str) -> None:
    case = cases.LAYERS[name]
    layer = case.make().build(*case.shapes, seed=7, dtype="float32")
    xs = batch(case, "float32", 0)
    dxs = layer.backward(layer.forward(*xs))
    for x, dx in zip(xs, dxs if len(xs) > 1 else (dxs,), strict=True):
        assert dx is None or dx.shape == x.shape
    assert not layer.grads.flat.any()
    y = layer.forward(*(x if x.dtype.kind == "i" else np.full_like(x, np.inf) for x in batch(case, "float32")))
    layer.backward(np.full_like(y, np.inf))


def test_threads_that_share_a_layer_wait_for_each_other() -> None:
    layer = fb.Conv1d(3, 4, 2).build((5, 3), seed=0)
    xs = [np.random.default_rng(i).standard_normal((i + 1, 5, 3)).astype(np.float32) for i in range(8)]
    expected = [layer.forward(x) for x in xs]
    with ThreadPoolExecutor(len(xs)) as pool:
        for y, alone in zip(pool.map(layer.forward, 10 * xs), 10 * expected, strict=True):
            np.testing.assert_array_equal(y, alone)


# ---- networks by hand -----------------------------------------------------------------------------------------------


def hand_trained(layers: list[fb.Layer], loss: fb.Loss, x: np.ndarray, y: np.ndarray, steps: int,
                 update: Any) -> list[float]:
    losses = []
    for _ in range(steps):
        a = x
        for layer in layers:
            a = layer.forward(a, training=True)
        losses.append(loss.forward(a, y))
        d = loss.backward()
        for layer in reversed(layers):
            d = layer.backward(d)
        for layer in layers:
            update(layer)
    return losses


def by_hand(layer: fb.Layer) -> None:
    for role, value in layer.params.items():
        value -= value.dtype.type(0.1) * layer.grads[role]


def by_kernel(layer: fb.Layer) -> None:
    for role, value in layer.params.items():
        kernels.sgd_update(value, layer.grads[role], np.zeros_like(value), lr=0.1, step=1, momentum=0, nesterov=0)


NETS: dict[str, tuple[Any, fb.Loss]] = {
    "the lesson's": (lambda: [fb.Linear(20, 30), fb.ReLU(), fb.Linear(30, 16), fb.Sigmoid(), fb.Linear(16, 10)],
                     fb.CrossEntropy()),
    "normalised": (lambda: [fb.Linear(20, 64), fb.BatchNorm(), fb.GELU(), fb.Linear(64, 64), fb.LayerNorm(), fb.Tanh(),
                            fb.Linear(64, 1)], fb.MSE()),
    "wide": (lambda: [fb.Linear(20, 300), fb.SiLU(), fb.Linear(300, 400), fb.ELU(), fb.Linear(400, 10), fb.Softmax()],
             fb.Huber())}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("update", [by_kernel, by_hand])
def test_a_network_by_hand_trains_as_a_plan_does(name: str, dtype: str, update: Any) -> None:
    """To the bit with the optimizer's kernel; with NumPy's `p -= lr * g`, which rounds twice, but for rounding."""
    make, loss = NETS[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((48, 20)).astype(dtype)
    outputs = [layer for layer in make() if isinstance(layer, fb.Linear)][-1].out_features
    y: Any = rng.integers(0, outputs, 48) if isinstance(loss, fb.CrossEntropy) else rng.standard_normal((48, outputs))
    net = fb.Sequential(*make(), dtype=dtype, seed=1)
    trainer = fb.Trainer(net, loss, fb.SGD(0.1))
    layers = make()
    for i, layer in enumerate(layers):
        layer.build(*_sample(layers, i), dtype=dtype)
        for role in layer.params:
            layer.params[role] = net.params[f"{i}.{role}"]
    by_plan = [trainer.step(x, y) for _ in range(20)]
    own = hand_trained(layers, loss, x, y, 20, update)
    if update is by_kernel:
        assert own == by_plan
    else:
        np.testing.assert_allclose(own, by_plan, rtol=2e-6 if dtype == "float32" else 1e-13)
    for i, layer in enumerate(layers):
        for role, value in layer.params.items():
            if update is by_kernel:
                np.testing.assert_array_equal(value, net.params[f"{i}.{role}"])
            else:
                error = 2e-6 if dtype == "float32" else 1e-12
                np.testing.assert_allclose(value, net.params[f"{i}.{role}"], rtol=error, atol=error)


OPTIMIZERS: list[Any] = [lambda: fb.SGD(0.1, momentum=0.9), lambda: fb.Adam(fb.CosineDecay(1e-2, 50)),
                         lambda: fb.AdamW(1e-2, weight_decay=0.1, decay_bias=False), lambda: fb.Lion(1e-3)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_an_optimizer_moves_layers_as_it_moves_a_network_of_them(make: Any, dtype: str) -> None:
    def stack() -> list[fb.Layer]:
        return [fb.Linear(5, 30), fb.BatchNorm(), fb.GELU(), fb.Linear(30, 30, trainable=False), fb.PReLU(),
                fb.LSTM(30, 4), fb.Flatten(), fb.Linear(28, 3)]

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 7, 5)).astype(dtype), rng.integers(0, 3, 16)
    net = fb.Sequential(fb.Input(7, 5), *stack(), seed=0, dtype=dtype)
    trainer = fb.Trainer(net, fb.CrossEntropy(), make())
    layers, optimizer, a = stack(), make(), x
    for i, layer in enumerate(layers):
        a = layer.forward(a)
        for role in layer.params:
            layer.params[role] = net.params[f"{i}.{role}"]
    losses = hand_trained(layers, fb.CrossEntropy(), x, y, 10, optimizer.step)
    assert losses == [trainer.step(x, y) for _ in range(10)]
    for i, layer in enumerate(layers):
        for role, value in layer.params.items():
            np.testing.assert_array_equal(value, net.params[f"{i}.{role}"])


def test_an_optimizer_leaves_a_layer_alone_whose_gradient_is_not_finite() -> None:
    layer, optimizer = fb.Linear(3, 2).build(seed=0), fb.Adam()
    before = layer.params.flat.copy()
    layer.forward(X)
    layer.backward(np.full((4, 2), np.nan, np.float32))
    with pytest.raises(fb.NonFiniteError, match=r"the gradient of .*weight is not finite"):
        optimizer.step(layer)
    np.testing.assert_array_equal(layer.params.flat, before)
    assert optimizer.update_of(layer).step == 0
    layer.backward(np.ones((4, 2), np.float32))
    optimizer.step(layer)
    other = copy.deepcopy(layer)
    optimizer.step(other)
    assert (optimizer.update_of(layer).step, optimizer.update_of(other).step) == (1, 1)


def test_averages_and_what_optimizers_remember_of_layers() -> None:
    layer, new, optimizer = fb.Linear(3, 2).build(seed=0), fb.Linear(3, 2).build(seed=1), fb.Adam()
    average = fb.ParameterAverage(layer)
    first = layer.params.flat.copy()
    average.update()
    layer.forward(X)
    layer.backward(np.ones((4, 2), np.float32))
    optimizer.step(layer)
    optimizer.carry_over(layer, new)
    assert optimizer.update_of(new).step == 1
    np.testing.assert_array_equal(optimizer.update_of(new).state, optimizer.update_of(layer).state)
    average.apply()
    np.testing.assert_allclose(layer.params.flat, first, rtol=1e-7)


def _sample(layers: list[fb.Layer], i: int) -> tuple[tuple[int, ...], ...]:
    sizes = [layer.out_features for layer in layers[:i] if isinstance(layer, fb.Linear)]
    return ((sizes[-1] if sizes else 20,),)


# ---- parameters of a layer by itself --------------------------------------------------------------------------------


def test_it_begins_as_a_network_of_it_does() -> None:
    layer = fb.Linear(5, 3).build(seed=4)
    np.testing.assert_array_equal(layer.params["weight"], fb.Sequential(fb.Linear(5, 3), seed=4).params["0.weight"])


@pytest.mark.parametrize(("given", "dtype"), [(np.float32, "float32"), (np.float64, "float64"), (np.int64, "float32"),
                                              (np.float16, "float32"), (bool, "float32")])
def test_the_dtype_follows_the_first_input(given: Any, dtype: str) -> None:
    layer = fb.Linear(None, 3).build(seed=0)
    y = layer.forward(np.ones((2, 5), given))
    assert y.dtype == layer.params.flat.dtype == layer.backward(y).dtype == dtype
    assert fb.ReLU().forward([[1.0, -1.0]]).dtype == "float64"


def test_a_layer_without_parameters_takes_both_dtypes_in_turn() -> None:
    relu = fb.ReLU()
    for dtype in ("float32", "float64", "float32"):
        assert relu.forward(np.ones((2, 3), dtype)).dtype == dtype
        assert relu.backward(np.ones((2, 3), dtype)).dtype == dtype


def test_assigning_to_parameters_copies() -> None:
    layer, w = fb.Linear(2, 1), np.array([[3.0], [4.0]])
    layer.params["weight"] = w
    w[...] = 0
    assert layer.forward(np.ones((1, 2), np.float32)).tolist() == [[7.0]]
    layer.params.flat -= 1
    assert layer.forward(np.ones((1, 2), np.float32)).tolist() == [[4.0]]
    with pytest.raises(ValueError, match=r"'weight': got shape \(2,\); expected \(2, 1\)"):
        layer.params["weight"] = [1.0, 2.0]


def test_gradients_are_overwritten_and_frozen_ones_stay_zero() -> None:
    layer = fb.Linear(2, 1).build(seed=0)
    x = np.ones((3, 2), np.float32)
    for _ in range(2):
        layer.forward(x)
        layer.backward(np.ones((3, 1), np.float32))
        assert layer.grads["weight"].tolist() == [[3.0], [3.0]]
    frozen = fb.Linear(2, 1, trainable=False).build(seed=0)
    frozen.forward(x)
    frozen.backward(np.ones((3, 1), np.float32))
    assert not frozen.grads.flat.any()


def test_one_layer_for_samples_of_several_shapes() -> None:
    layer = fb.Linear(5, 3).build(seed=0)
    x = np.random.default_rng(0).standard_normal((4, 2, 5)).astype(np.float32)
    y = layer.forward(x)
    assert y.shape == (4, 2, 3)
    np.testing.assert_array_equal(layer.forward(x.reshape(8, 5)), y.reshape(8, 3))
    np.testing.assert_array_equal(layer.forward(x[:, ::-1]), y[:, ::-1])


def test_a_layer_is_by_itself_whatever_network_it_is_part_of() -> None:
    layer = fb.Linear(2, 1)
    net = fb.Sequential(layer, seed=0)
    before = net.params.flat.copy()
    layer.build(seed=1)
    layer.params.flat[...] = 5
    np.testing.assert_array_equal(net.params.flat, before)
    assert layer.forward(np.ones((1, 2), np.float32)).tolist() == [[15.0]]


@pytest.mark.parametrize("use", [lambda layer: layer.forward(X), lambda layer: layer.params])
def test_a_layer_of_a_network_says_that_it_has_other_parameters_by_itself(use: Any) -> None:
    layer = fb.Linear(3, 2)
    net = fb.Sequential(layer, fb.ReLU(), seed=0)
    message = r"^Linear\(3, 2\) is part of a network, and runs by itself with new parameters"
    with pytest.warns(UserWarning, match=message) as w:
        use(layer)
    assert w[0].filename == __file__
    use(layer)                          # says it once
    use(fb.Linear(3, 2))
    net[1].forward(X)                   # has none


def test_lists_have_no_dtype_to_refuse() -> None:
    layer = fb.Linear(3, 2).build(dtype="float32")
    y = layer.forward(X.tolist())
    np.testing.assert_array_equal(y, layer.forward(X))
    assert layer.backward(y.tolist()).dtype == y.dtype == np.float32


def test_a_hyperparameter_that_changes_is_heeded() -> None:
    layer = fb.LeakyReLU(0.5)
    x = np.array([[-2.0]])
    assert layer.forward(x).tolist() == [[-1.0]]
    layer.alpha = 0.25
    assert layer.forward(x).tolist() == [[-0.5]]


@pytest.mark.parametrize("again", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_have_parameters_of_their_own(again: Any) -> None:
    layer = fb.BatchNorm(3).build(seed=0)
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    layer.forward(x, training=True)
    other = again(layer)
    np.testing.assert_array_equal(other.state["running_mean"], layer.state["running_mean"])
    other.params.flat[...] = 2
    other.forward(x, training=True)
    other.backward(x)
    assert layer.params["weight"].tolist() == [1, 1, 1]
    assert other.forward(x).tolist() != layer.forward(x).tolist()
    with pytest.raises(RuntimeError, match="no forward pass"):
        again(layer).backward(x)


def test_dropout_draws_anew_and_again_from_its_seed() -> None:
    x = np.ones((2, 50), np.float32)
    first, second = (fb.Dropout(0.5).build(seed=3) for _ in range(2))
    draws = [first.forward(x, training=True) for _ in range(3)]
    assert not np.array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(first.backward(x), draws[2])
    np.testing.assert_array_equal(second.forward(x, training=True), draws[0])
    np.testing.assert_array_equal(first.forward(x), x)


class Scale(fb.CustomLayer):
    def parameters(self, shape):
        return {"a": (shape, fb.Ones())}

    def forward(self, ctx, x, a):
        ctx.saved["training"] = ctx.training
        return a * x

    def backward(self, ctx, dy):
        (x,) = ctx.inputs
        assert ctx.saved["training"]
        return dy * ctx.params["a"], {"a": (dy * x).sum(axis=0)}


class Twice(Scale):
    """Its rules call those of its base."""

    def forward(self, ctx, x, a):
        return 2 * super().forward(ctx, x, a)

    def backward(self, ctx, dy):
        return super().backward(ctx, 2 * dy)


@pytest.mark.parametrize(("kind", "factor"), [(Scale, 1), (Twice, 2)])
def test_a_custom_layer_by_itself(kind: type[fb.CustomLayer], factor: int) -> None:
    layer: Any = kind()
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(layer.forward(x, training=True), factor * x)
    np.testing.assert_array_equal(layer.backward(np.ones((2, 3))), np.full((2, 3), factor))
    np.testing.assert_array_equal(layer.grads["a"], factor * x.sum(axis=0))
    assert layer.gradcheck((3,)).ok


def test_a_function_as_a_layer_by_itself() -> None:
    layer = fb.Lambda(lambda x: np.tanh(x) * x)
    x = np.array([[0.5, -1.0]])
    np.testing.assert_allclose(layer.forward(x), np.tanh(x) * x, rtol=1e-12)
    np.testing.assert_allclose(layer.backward(np.ones((1, 2))), np.tanh(x) + x / np.cosh(x) ** 2, rtol=1e-12)


# ---- losses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", cases.LOSSES)
def test_a_loss_does_what_a_network_with_it_does(name: str, weighted: bool, dtype: str) -> None:
    case, rng = cases.LOSSES[name], np.random.default_rng(0)
    y_pred, y = (2 * rng.standard_normal((17, *case.shape))).astype(dtype), case.target(rng, 17)
    weights = rng.uniform(0.5, 2, 17).astype(dtype) if weighted else None
    value, dy = case.loss.forward(y_pred, y, weights), case.loss.backward()
    assert dy.dtype == dtype
    x = fb.Input(*case.shape)
    # by itself, weights are made to sum to 1 before what is ignored is left out
    ignores = getattr(case.loss, "ignore_index", None) is not None
    for backend, bound in (("native", BOUND[dtype] if ignores else 1e-15), ("reference", BOUND[dtype])):
        net = fb.Network(x, fb.Identity()(x), dtype=dtype, backend=backend)
        np.testing.assert_allclose(value, net.loss_and_grad(y_pred, y, case.loss, weights), rtol=bound)
        np.testing.assert_allclose(dy, net.input_grads[0], rtol=max(bound, np.finfo(dtype).eps), atol=bound)


def test_a_loss_of_ones_own_by_itself() -> None:
    loss = fb.CustomLoss(lambda y_pred, y: (np.mean((y_pred - y) ** 2), 2 * (y_pred - y) / y.size))
    assert loss.forward(np.array([[3.0], [1.0]]), [1.0, 1.0]) == 2.0
    assert loss.backward().tolist() == [[2.0], [0.0]]


class Halved(fb.MSE):
    """It has the name of a loss with a kernel, and rows of its own."""

    def rows(self, x, target):
        each, gradient = super().rows(x, target)
        return each / 2, gradient / 2


def test_a_loss_with_rows_of_its_own_is_asked_for_them() -> None:
    loss = Halved()
    assert loss.forward(np.array([[3.0]]), [1.0]) == 2.0
    assert loss.backward().tolist() == [[2.0]]


def test_a_loss_stays_what_it_is() -> None:
    used, fresh = fb.CrossEntropy(0.1), fb.CrossEntropy(0.1)
    used.forward(np.zeros((2, 3)), [0, 1])
    assert used == fresh
    assert hash(used) == hash(fresh)
    with pytest.raises(RuntimeError, match="no forward pass"):
        pickle.loads(pickle.dumps(used)).backward()


# ---- misuse ---------------------------------------------------------------------------------------------------------

X = np.ones((4, 3), np.float32)
IDS = np.array([[0, 4]])
MISUSED: list[tuple[type[Exception], str, Any]] = [
    (RuntimeError, "ReLU(): backward: no forward pass to go back through; call forward(x) first",
     lambda: fb.ReLU().backward(X)),
    (RuntimeError, "MSE(): backward: no forward pass to go back through; call forward(y_pred, y) first",
     lambda: fb.MSE().backward()),
    (RuntimeError, "Linear(None, 2): has no parameters of its own yet, as their shapes depend on the input; call "
                   "forward(x) or build(shape) first", lambda: fb.Linear(None, 2).params),
    (ValueError, "ReLU(): dy has shape (4, 2); expected (4, 3), as the output of the last forward has",
     lambda: used(fb.ReLU()).backward(X[:, :2])),
    (TypeError, 'ReLU(): dy has dtype float64; expected float32, as the output has: dy.astype("float32")',
     lambda: used(fb.ReLU()).backward(X.astype(float))),
    (TypeError, 'Linear(3, 2): x has dtype float64; expected float32, as its parameters have: x.astype("float32")',
     lambda: used(fb.Linear(3, 2)).forward(X.astype(float))),
    (TypeError, 'Add(): x[1] has dtype float64; expected float32, as x[0] has: x[1].astype("float32")',
     lambda: fb.Add().forward(X, X.astype(float))),
    (ValueError, "Add(): x[1] has 2 rows; expected 4, as x[0] has", lambda: fb.Add().forward(X, X[:2])),
    (TypeError, "Add(): called on 1 tensor; expected at least 2", lambda: fb.Add().forward(X)),
    (TypeError, "ReLU(): called on 2 tensors; expected 1", lambda: fb.ReLU().forward(X, X)),
    (TypeError, "ReLU(): forward got no array; expected at least 1", lambda: fb.ReLU().forward()),
    (TypeError, "Dropout(rate=0.5): x[1] is True; expected an array. Say what the rest is by name: forward(x, "
                "training=True)", lambda: fb.Dropout(0.5).forward(X, True)),
    (ValueError, "ReLU(): training is 'False'; expected True or False", lambda: fb.ReLU().forward(X, training="False")),
    (TypeError, "ReLU(): x is of type csr_matrix; expected an array of real numbers (make it dense with x.toarray())",
     lambda: fb.ReLU().forward(pytest.importorskip("scipy.sparse").csr_matrix(X))),
    (AttributeError, "Linear: trainable is fixed, as the layer has its parameters; make another with trainable=False",
     lambda: setattr(used(fb.Linear(3, 2)), "trainable", False)),
    (TypeError, "gradcheck: net is ReLU(); expected a network, such as fb.Sequential(layer)",
     lambda: fb.gradcheck(fb.ReLU(), X, X, fb.MSE())),
    (TypeError, "ParameterAverage: net is 3; expected a network, such as fb.Sequential(…), or a layer",
     lambda: fb.ParameterAverage(3)),
    (TypeError, "Adam: net is [ReLU()]; expected a network, such as fb.Sequential(…), or a layer",
     lambda: fb.Adam().step([fb.ReLU()])),
    (TypeError, "ReLU(): x has dtype <U1; expected real numbers (encode it as numbers)",
     lambda: fb.ReLU().forward([["a"]])),
    (ValueError, "ReLU(): x has shape (B,); expected (B, …), a batch of samples. x[None] is a batch of one sample, "
                 "x[:, None] one of samples of one number", lambda: fb.ReLU().forward(X[0])),
    (ValueError, "ReLU(): x has shape (B, 0); expected (B, …), a batch of samples that are not empty",
     lambda: fb.ReLU().forward(X[:, :0])),
    (ValueError, "ReLU(): x is a single number; expected (B, …), a batch of samples", lambda: fb.ReLU().forward(1.0)),
    (ValueError, "Linear(5, 2): x has shape (B, 3); expected 5 features in the last axis. Write Linear(3, 2), or None "
                 "to have it learnt", lambda: fb.Linear(5, 2).forward(X)),
    (ValueError, "Linear(None, 2): x has shape (B, 2), for which weight would have shape (2, 2); it has (3, 2). Make "
                 "another layer for it, or call build() for new parameters",
     lambda: used(fb.Linear(None, 2)).forward(X[:, :2])),
    (ValueError, "ReLU(): seed is -1; expected an integer from 0 to 2**64 - 1, or None",
     lambda: fb.ReLU().build(seed=-1)),
    (ValueError, "ReLU(): dtype is 'int8'; expected \"float32\" or \"float64\"", lambda: fb.ReLU().build(dtype="int8")),
    (ValueError, "BatchNorm: the batch has 1 value a feature; expected at least 2 in training. Use larger batches, or "
                 "LayerNorm", lambda: fb.BatchNorm().forward(X[:1], training=True)),
    (TypeError, "Embedding(4, 2): x has dtype float64; expected integers",
     lambda: fb.Embedding(4, 2).forward(IDS.astype(float))),
    (ValueError, "embedding_forward: ids has the label 4; expected labels from 0 to 3",
     lambda: fb.Embedding(4, 2).forward(IDS)),
    (ValueError, "MSE(): y_pred has shape (4,); expected (B, …), at least one row of outputs; y_pred[:, None] has an "
                 "output of one number", lambda: fb.MSE().forward(X[:, 0], X[:, 0])),
    (ValueError, "y has 2 rows; expected 4, as x has", lambda: fb.MSE().forward(X, X[:2])),
    (ValueError, "y has the label 3 in row 0; expected labels from 0 to 2, as the network has 3 outputs",
     lambda: fb.CrossEntropy().forward(X, [3, 0, 0, 0])),
]


def used(layer: fb.Layer) -> fb.Layer:
    layer.forward(X)
    return layer


@pytest.mark.parametrize(("kind", "message", "call"), MISUSED, ids=[message for _, message, _ in MISUSED])
def test_misused(kind: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        call()
