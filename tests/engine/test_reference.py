"""The reference backend against central differences, and the ops against closed forms from elsewhere."""

from __future__ import annotations

import math
from typing import Any

import cases
import numpy as np
import pytest

import fastbp as fb
from fastbp.ops import activations, philox, special
from fastbp.ops.base import Context
from fastbp.ops.batch_norm import BatchNormOp
from fastbp.ops.concat import ConcatOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.elementwise import AddOp
from fastbp.ops.layer_norm import LayerNormOp
from fastbp.ops.softmax import SoftmaxOp

REFERENCE: dict[str, Any] = {"backend": "reference", "dtype": "float64", "seed": 3}
ROWS = 4


def _check(net: fb.Network, x: Any, y: Any, loss: Any, **options: Any) -> fb.GradcheckReport:
    report = fb.gradcheck(net, x, y, loss, **options)
    assert report, str(report)
    assert report.tolerance <= 1e-6
    return report


def _targets(net: fb.Network, rng: np.random.Generator) -> Any:
    arrays = tuple(rng.standard_normal((ROWS, *t.shape)) for t in net.graph.outputs)
    return arrays if len(arrays) > 1 else arrays[0]


@pytest.mark.parametrize("name", cases.OPS)
def test_op_passes_gradcheck(name: str) -> None:
    rng = np.random.default_rng(5)
    case = cases.OPS[name]
    net = case.network(**REFERENCE)
    _check(net, case.inputs(rng, ROWS), _targets(net, rng), fb.MSE())


@pytest.mark.parametrize("name", cases.LAYERS)
def test_layer_passes_gradcheck(name: str) -> None:
    rng = np.random.default_rng(6)
    case = cases.LAYERS[name]
    net = case.network(**REFERENCE)
    _check(net, case.inputs(rng, ROWS), _targets(net, rng), fb.MSE())


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("name", cases.LOSSES)
def test_loss_passes_gradcheck(name: str, weighted: bool) -> None:
    rng = np.random.default_rng(7)
    case = cases.LOSSES[name]
    net = fb.Sequential(fb.Input(*case.shape[:-1], 3), fb.Linear(3, case.shape[-1]), **REFERENCE)
    weight = [0.5, 2.0, 0.0, 1.0] if weighted else None
    _check(net, rng.standard_normal((ROWS, *case.shape[:-1], 3)), case.target(rng, ROWS), case.loss,
           sample_weight=weight)


def _residual(**options: Any) -> fb.Network:
    a = fb.Input(5)
    h = fb.Tanh()(fb.Linear(5, 5)(a))
    h = fb.Add()(h, a)
    return fb.Network(a, fb.Linear(5, 2)(fb.Multiply()(h, fb.Sigmoid()(h), h)), **options)


def _two_inputs(**options: Any) -> fb.Network:
    a, b = fb.Input(4), fb.Input(3)
    joined = fb.Concat()(fb.SiLU()(fb.Linear(4, 5)(a)), fb.Linear(3, 5)(b), b)
    return fb.Network([a, b], fb.Linear(13, 2)(joined), **options)


def _two_heads(**options: Any) -> fb.Network:
    a = fb.Input(5)
    h = fb.GELU()(fb.LayerNorm()(fb.Linear(5, 6)(a)))
    return fb.Network(a, [fb.Linear(6, 2)(h), fb.Softplus()(fb.Linear(6, 3)(h))], **options)


def _an_output_inside(**options: Any) -> fb.Network:
    a = fb.Input(5)
    h = fb.Tanh()(fb.Linear(5, 3)(a))
    return fb.Network(a, [h, fb.Linear(3, 2)(h)], **options)


def _used_twice(**options: Any) -> fb.Network:
    a = fb.Input(4)
    layer, norm = fb.Linear(4, 4), fb.BatchNorm(4)
    return fb.Network(a, layer(fb.Mish()(norm(layer(fb.Tanh()(norm(layer(a))))))), **options)


def _deep(**options: Any) -> fb.Network:
    layers = [fb.Input(3, 4), fb.Linear(None, 6), fb.BatchNorm(), fb.ReLU(), fb.Dropout(0.3), fb.Linear(None, 5),
              fb.ELU(), fb.Flatten(), fb.Linear(None, 4), fb.Softmax()]
    return fb.Sequential(*layers, **options)


GRAPHS = [_residual, _two_inputs, _two_heads, _an_output_inside, _used_twice, _deep]


@pytest.mark.parametrize("make", GRAPHS, ids=lambda f: f.__name__.strip("_"))
def test_graph_passes_gradcheck(make: Any) -> None:
    rng = np.random.default_rng(8)
    net = make(**REFERENCE)
    x = [rng.standard_normal((ROWS, *t.shape)) for t in net.graph.inputs]
    losses = tuple(fb.MSE() for _ in net.graph.outputs)
    several = len(losses) > 1
    report = _check(net, x if len(x) > 1 else x[0], _targets(net, rng), losses if several else losses[0])
    assert {t.name for t in report.tensors} == {*net.params, *(net.graph.names[t] for t in net.graph.inputs)}


def test_the_gradient_of_a_shared_layer_is_the_sum_over_its_uses() -> None:
    rng = np.random.default_rng(9)
    a = fb.Input(4)
    shared = fb.Linear(4, 4, name="both")
    once = fb.Network(a, shared(fb.Tanh()(shared(a))), **REFERENCE)
    twice = fb.Sequential(fb.Linear(4, 4), fb.Tanh(), fb.Linear(4, 4), **REFERENCE)
    for role in ("weight", "bias"):
        twice.params[f"0.{role}"] = twice.params[f"2.{role}"] = once.params[f"both.{role}"]
    x, y = rng.standard_normal((ROWS, 4)), rng.standard_normal((ROWS, 4))
    assert once.loss_and_grad(x, y, fb.MSE()) == pytest.approx(twice.loss_and_grad(x, y, fb.MSE()))
    for role in ("weight", "bias"):
        expected = twice.grads[f"0.{role}"] + twice.grads[f"2.{role}"]
        np.testing.assert_allclose(once.grads[f"both.{role}"], expected, rtol=1e-12)


def test_gradients_overwrite() -> None:
    net = _residual(**REFERENCE)
    x, y = np.ones((2, 5)), np.zeros((2, 2))
    net.loss_and_grad(x, y, fb.MSE())
    first = net.grads.flat.copy()
    net.loss_and_grad(x, y, fb.MSE())
    np.testing.assert_array_equal(net.grads.flat, first)


def test_a_frozen_layer_gets_no_gradient_but_passes_one_on() -> None:
    net = fb.Sequential(fb.Linear(3, 4), fb.Tanh(), fb.Linear(4, 2, trainable=False), **REFERENCE)
    net.loss_and_grad(np.ones((2, 3)), np.zeros((2, 2)), fb.MSE())
    assert not net.grads["2.weight"].any()
    assert net.grads["0.weight"].all()


# ---- dtype, NaN, extremes --------------------------------------------------------------------------------------------


def _run(op: Any, *xs: Any, training: bool = True, **state: Any) -> tuple[Any, Any]:
    """Return the output of an op and the gradients of its inputs for dy = 1."""
    ctx = Context(training, xs, params=state.pop("params", {}), buffers=state.pop("buffers", {}), **state)
    with np.errstate(all="ignore"):
        ctx.output = op.forward(ctx, *xs, **ctx.params)
        dxs, dparams = op.backward(ctx, np.ones_like(ctx.output))
    return ctx.output, (dxs, dparams)


@pytest.mark.parametrize("name", cases.OPS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_op_keeps_the_dtype(name: str, dtype: str) -> None:
    rng = np.random.default_rng(10)
    case = cases.OPS[name]
    op, shapes = case.op, case.shapes
    params = {r: np.ones(s, dtype) for r, s in op.parameter_shapes(*shapes).items()}
    buffers = {r: np.ones(s, dtype) for r, s in op.buffer_shapes(*shapes).items()}
    for training in (False, True):
        y, (dxs, dparams) = _run(op, *case.inputs(rng, ROWS, dtype), training=training, params=params, buffers=buffers)
        assert y.shape == (ROWS, *op.output_shape(*shapes))
        assert [None if d is None else d.shape for d in dxs] == [
            (ROWS, *t.shape) if t.dtype == "real" else None for t in case.tensors()]
        assert {r: d.shape for r, d in dparams.items()} == {r: p.shape for r, p in params.items()}
        assert {a.dtype.name for a in (y, *dxs, *dparams.values()) if a is not None} == {dtype}


ACTIVATIONS = {n: c.op for n, c in cases.OPS.items() if isinstance(c.op, activations.ActivationOp)}
LIMITS = {  # f(-inf), f'(-inf), f(inf), f'(inf)
    "identity": (-np.inf, 1, np.inf, 1), "relu": (0, 0, np.inf, 1), "leaky_relu": (-np.inf, 0.1, np.inf, 1),
    "elu": (-0.7, 0, np.inf, 1), "selu": (-1.7580993408473766, 0, np.inf, 1.0507009873554805),
    "gelu": (0, 0, np.inf, 1), "gelu_tanh": (0, 0, np.inf, 1), "silu": (0, 0, np.inf, 1), "mish": (0, 0, np.inf, 1),
    "sigmoid": (0, 0, 1, 0), "tanh": (-1, 0, 1, 0), "softplus": (0, 0, np.inf, 1), "hardswish": (0, 0, np.inf, 1),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_at_the_extremes(name: str, dtype: str) -> None:
    low, low_slope, high, high_slope = LIMITS[name]
    most = np.finfo(dtype).max / 2
    y, ((dx,), _) = _run(ACTIVATIONS[name], np.array([-np.inf, -most, np.inf, most], dtype))
    np.testing.assert_allclose(y[[0, 2]], [low, high], rtol=1e-6)
    np.testing.assert_allclose(dx, [low_slope, low_slope, high_slope, high_slope], rtol=1e-6)
    assert np.isfinite(y[[1, 3]]).all(), "no overflow before infinity"


@pytest.mark.parametrize("name", [*ACTIVATIONS, "softmax"])
def test_nan_in_nan_out(name: str) -> None:
    y, _ = _run(cases.OPS[name].op, np.array([[1.0, np.nan]]))
    assert np.isnan(y[0, 1])
    assert np.isnan(y[0, 0]) == (name == "softmax")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_in_float32_is_as_good_as_its_digits(name: str) -> None:
    x = np.linspace(-30, 30, 4001).astype(np.float32)
    op = ACTIVATIONS[name]
    single, exact = op.value(x), op.value(x.astype(np.float64))
    slope = op.derivative(exact if op.derivative_from == "output" else x.astype(np.float64))
    normal = np.abs(exact) > 1e-30  # below, factors that are subnormal have fewer digits
    units = np.abs(single - exact)[normal] / np.spacing(np.abs(single[normal]))
    # a rounded argument alone costs as many units as the condition number says
    condition = np.abs(x * slope / np.where(normal, exact, 1))[normal]
    assert (units <= 4 + 2 * condition).all()


# ---- closed forms from elsewhere -------------------------------------------------------------------------------------


X = np.concatenate([np.linspace(-36, 36, 1001), [-700.0, -100.0, 100.0, 700.0], [-1e-8, 0.0, 1e-8, -1e-300]])


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "mish", "sigmoid", "softplus", "elu", "selu",
                                  "hardswish"])
def test_activation_equals_the_closed_form_of_scipy(name: str) -> None:
    scipy_special = pytest.importorskip("scipy.special")
    u = 2 * np.sqrt(2 / np.pi) * (X + 0.044715 * X**3)
    expected = {
        "gelu": X * scipy_special.ndtr(X),
        "gelu_tanh": X * scipy_special.expit(u),
        "silu": X * scipy_special.expit(X),
        "mish": X * np.tanh(np.logaddexp(0, X)),
        "sigmoid": scipy_special.expit(X),
        "softplus": np.logaddexp(0, X),
        "elu": 0.7 * np.where(X > 0, X / 0.7, scipy_special.expm1(np.minimum(X, 0))),
        "selu": 1.0507009873554805 * np.where(X > 0, X, 1.6732632423543772 * scipy_special.expm1(np.minimum(X, 0))),
        "hardswish": np.where(X > 3, X, np.where(X < -3, 0, X * (X + 3) / 6)),
    }[name]
    # both round the argument of the exponential, which costs x² digits there
    rtol = 1e-12 if name in ("gelu", "gelu_tanh") else 1e-13
    np.testing.assert_allclose(ACTIVATIONS[name].value(X), expected, rtol=rtol, atol=1e-300)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "softplus"])
def test_derivative_keeps_its_digits_in_the_tails(name: str) -> None:
    x = np.array([-30.0, -20.0, -10.0, 10.0, 20.0, 30.0])
    expected = {
        "gelu": [0.5 * math.erfc(-v / math.sqrt(2)) + v * math.exp(-v * v / 2) / math.sqrt(2 * math.pi) for v in x],
        "silu": [1 / (1 + math.exp(-v)) + v * math.exp(-v) / (1 + math.exp(-v)) ** 2 for v in x],
        "mish": [math.tanh(s := math.log1p(math.exp(v))) + v / math.cosh(s) ** 2 / (1 + math.exp(-v)) for v in x],
        "softplus": [1 / (1 + math.exp(-v)) for v in x],
    }[name]
    np.testing.assert_allclose(ACTIVATIONS[name].derivative(x), expected, rtol=1e-13)


def test_normal_cdf_is_right_to_the_last_digits_of_both_dtypes() -> None:
    scipy_special = pytest.importorskip("scipy.special")
    x = np.linspace(-37, 9, 3001)
    np.testing.assert_allclose(special.normal_cdf(x), scipy_special.ndtr(x), rtol=1e-12)
    single = x.astype(np.float32)
    expected = scipy_special.ndtr(single.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_max_ulp(special.normal_cdf(single), expected, maxulp=1)


def test_softmax_equals_scipy_and_bears_large_numbers() -> None:
    scipy_special = pytest.importorskip("scipy.special")
    x = np.random.default_rng(0).standard_normal((3, 4, 5)) * 10
    y, _ = _run(SoftmaxOp(), x)
    np.testing.assert_allclose(y, scipy_special.softmax(x, axis=-1), rtol=1e-14)
    y, _ = _run(SoftmaxOp(), np.array([[1e300, 1e300, -1e300], [-np.inf, 0.0, 0.0]]))
    np.testing.assert_array_equal(y, [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])


# ---- dropout ---------------------------------------------------------------------------------------------------------


def test_philox_gives_the_published_numbers() -> None:
    """The known answers that its authors publish with Random123, philox4x32, ten rounds."""
    def words(counter: list[int], key: tuple[int, int]) -> list[int]:
        c = tuple(np.array([word], np.uint64) for word in counter)
        return [int(word[0]) for word in philox.philox(c, key)]  # type: ignore[arg-type]
    ones = 0xFFFFFFFF
    assert words([0] * 4, (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert words([ones] * 4, (ones, ones)) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    assert words([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], (0xA4093822, 0x299F31D0)) == [
        0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def test_dropout_masks_depend_on_seed_step_and_node_alone() -> None:
    def mask(shape: tuple[int, ...] = (50, 20), **key: int) -> Any:
        return philox.keep_mask(shape, 0.3, **{"seed": 1, "step": 2, "node": 3, **key})
    np.testing.assert_array_equal(mask(), mask())
    np.testing.assert_array_equal(mask((25, 20)), mask()[:25])
    for other in ({"seed": 9}, {"seed": 1 + 2**32}, {"step": 9}, {"step": 2 + 2**32}, {"node": 9}):
        assert 0.3 < (mask(**other) == mask()).mean() < 0.7, other


def test_dropout_keeps_the_expectation() -> None:
    x = np.ones((400, 250))
    for rate in (0.1, 0.5, 0.9):
        y, ((dx,), _) = _run(DropoutOp(rate), x, seed=4)
        np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)])
        # five standard deviations of the mean of 100 000 draws
        assert abs(y.mean() - 1) < 5 * math.sqrt(rate / (1 - rate) / x.size)
        np.testing.assert_array_equal(dx, y)


def test_dropout_does_nothing_at_rate_0_or_outside_training() -> None:
    x = np.random.default_rng(0).standard_normal((3, 7))
    np.testing.assert_array_equal(_run(DropoutOp(0.0), x)[0], x)
    np.testing.assert_array_equal(_run(DropoutOp(0.9), x, training=False)[0], x)


# ---- normalisation ---------------------------------------------------------------------------------------------------


def test_batch_norm_normalises_and_keeps_running_statistics() -> None:
    rng = np.random.default_rng(11)
    x = rng.normal(3.0, 2.0, (6, 4, 2))
    params = {"weight": np.array([1.0, 2.0]), "bias": np.array([0.0, -1.0])}
    buffers = {"running_mean": np.array([1.0, 1.0]), "running_var": np.array([2.0, 2.0])}
    y, _ = _run(BatchNormOp(2, momentum=0.25, eps=1e-9), x, params=params, buffers=buffers)
    np.testing.assert_allclose(y.mean(axis=(0, 1)), params["bias"], atol=1e-12)
    np.testing.assert_allclose(y.std(axis=(0, 1)), params["weight"], rtol=1e-8)
    np.testing.assert_allclose(buffers["running_mean"], 0.75 * 1 + 0.25 * x.mean(axis=(0, 1)))
    np.testing.assert_allclose(buffers["running_var"], 0.75 * 2 + 0.25 * x.var(axis=(0, 1), ddof=1))
    before = {n: b.copy() for n, b in buffers.items()}
    y, _ = _run(BatchNormOp(2), x, training=False, params=params, buffers=buffers)
    expected = (x - before["running_mean"]) / np.sqrt(before["running_var"] + 1e-5) * params["weight"] + params["bias"]
    np.testing.assert_allclose(y, expected)
    for n, b in buffers.items():
        np.testing.assert_array_equal(b, before[n])


def test_batch_norm_outside_training_passes_its_gradient_on() -> None:
    x = np.random.default_rng(12).standard_normal((3, 2))
    state: dict[str, Any] = {"params": {"weight": np.array([2.0, 3.0]), "bias": np.zeros(2)}, "training": False,
                             "buffers": {"running_mean": np.array([0.5, -0.5]), "running_var": np.array([4.0, 0.25])}}
    op = BatchNormOp(2)
    _, ((dx,), dparams) = _run(op, x, **state)
    numerical = fb.numerical_gradient(lambda v: _run(op, v, **state)[0].sum(), x)
    np.testing.assert_allclose(dx, numerical, rtol=1e-8)
    np.testing.assert_allclose(dparams["bias"], [3, 3])


@pytest.mark.parametrize("rows", [0, 1])
def test_batch_norm_refuses_to_train_on_one_value(rows: int) -> None:
    net = fb.Sequential(fb.Linear(3, 2), fb.BatchNorm(), **REFERENCE)
    with pytest.raises(ValueError, match=rf"^BatchNorm: the batch has {rows} values? a feature; expected at least 2 in "
                                         r"training\. Use larger batches, or LayerNorm$"):
        net.forward(np.ones((rows, 3)), training=True)
    assert net.forward(np.ones((1, 3))).shape == (1, 2)


def test_layer_norm_normalises_each_row() -> None:
    x = np.random.default_rng(13).normal(5.0, 3.0, (4, 3, 8))
    params = {"weight": np.full(8, 2.0), "bias": np.full(8, 1.0)}
    y, _ = _run(LayerNormOp(8, eps=1e-12), x, params=params)
    np.testing.assert_allclose(y.mean(axis=-1), 1, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=-1), 2, rtol=1e-9)


# ---- shapes and errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "message"), [
    (lambda: AddOp().output_shape((3,), (4,)),
     "Add: the inputs have shapes (B, 3) and (B, 4); expected one shape. Bring them to one with a Linear layer, or use "
     "Concat"),
    (lambda: fb.Multiply()(fb.Input(2, 3), fb.Input(3)),
     "Multiply: the inputs have shapes (B, 2, 3) and (B, 3); expected one shape. Bring them to one with a Linear "
     "layer, or use Concat"),
    (lambda: fb.Concat(0), "Concat: axis is 0, the batch axis; expected an axis of the samples, such as -1"),
    (lambda: ConcatOp(2).output_shape((3,), (3,)),
     "Concat: axis is 2, but the inputs have shape (B, 3); expected 1 to 1, or -1 for the last"),
    (lambda: ConcatOp(-3).output_shape((2, 3), (2, 3)),
     "Concat: axis is -3, but the inputs have shape (B, 2, 3); expected 1 to 2, or -1 for the last"),
    (lambda: ConcatOp().output_shape((2, 3), (4, 3)),
     "Concat: the inputs have shapes (B, 2, 3) and (B, 4, 3); expected the same but for axis -1"),
    (lambda: fb.Concat("x"), "Concat: axis is 'x'; expected an integer, such as -1"),
    (lambda: fb.Concat(np.array([1, 2])), "Concat: axis is array([1, 2]); expected an integer, such as -1"),
    (lambda: fb.Concat(np.array([1])), "Concat: axis is array([1]); expected an integer, such as -1"),
])
def test_what_does_not_fit_is_named(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    assert str(error.value) == message


@pytest.mark.parametrize("name", cases.OPS)
def test_empty_batches_are_fine_outside_training(name: str) -> None:
    case = cases.OPS[name]
    net = case.network(**REFERENCE)
    y = net.predict(case.inputs(np.random.default_rng(0), 0))
    assert y.shape == (0, *net.graph.outputs[0].shape)


@pytest.mark.parametrize("name", cases.OPS)
def test_formula_says_what_y_is(name: str) -> None:
    assert cases.OPS[name].op.formula().startswith("y")
