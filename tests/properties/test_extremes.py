"""Numbers at the ends of what there is: infinities, NaN, subnormal and huge ones.

Losses and softmax are held against Python's ``decimal`` with 60 digits, from the very numbers that the kernel is given;
ops against the reference backend: NaN and infinities must be where they are there, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Context, Decimal, localcontext
from itertools import product
from typing import Any

import cases
import numpy as np
import pytest

import fastbp as fb
from fastbp import kernels
from fastbp.engine import native
from fastbp.ops.base import Op

Array = Any

ISAS = fb.cpu_info().isas
DTYPES = ["float32", "float64"]
LARGE = {"float32": 3e38, "float64": 1.7e308}
TINY = {"float32": 1e-45, "float64": 5e-324}
WIDE = Context(prec=60, Emax=999999999999999999, Emin=-999999999999999999)


def numbers(dtype: str) -> list[float]:
    large, tiny = LARGE[dtype], TINY[dtype]
    return [0.0, -0.0, tiny, -tiny, 1.0, -1.0, 0.5, -17.0, 88.7, -88.7, 103.9, -104.1, 709.7, -745.2, 1e4, -1e4,
            large / 3, -large / 3, large, -large]


def rows(dtype: str, width: int) -> Array:
    """Return all rows of such numbers."""
    return np.array(list(product(numbers(dtype), repeat=width))).astype(dtype)


def exact(x: Array) -> list[Decimal]:
    return [Decimal(float(v)) for v in x]


def exponentials(x: Sequence[Decimal]) -> list[Decimal]:
    """Return exp(x - max x). Differences first: 60 digits do not hold 1e38 + 1e-45."""
    top = max(x)
    return [(v - top).exp() if v - top > -10**6 else Decimal(0) for v in x]


def softmax(x: Sequence[Decimal]) -> list[Decimal]:
    e = exponentials(x)
    total = sum(e, Decimal(0))
    return [v / total for v in e]


def cross_entropy(x: Sequence[Decimal], label: int) -> Decimal:
    """logsumexp(x) - x[label]"""
    return sum(exponentials(x), Decimal(0)).ln() + (max(x) - x[label])


def log1pexp(x: Decimal) -> Decimal:
    return cross_entropy([Decimal(0), x], 0)


def assert_near(result: Array, should: list[Decimal], dtype: str, slack: Array = 0.0, ulps: float = 4) -> None:
    """Compare with exact values: within some ULP and ``slack``; at the end of the range or beyond it, also infinite."""
    limit = float(np.finfo(dtype).max)
    expected = np.array([float(max(min(s, Decimal(limit)), -Decimal(limit))) for s in should])
    result = np.clip(np.asarray(result, dtype=np.float64).reshape(-1), -limit, limit)     # NaN stays
    bound = ulps * np.finfo(dtype).eps * np.abs(expected) + 4 * np.finfo(dtype).smallest_subnormal + slack
    wrong = ~(np.abs(result / 2 - expected / 2) <= bound / 2)
    assert not wrong.any(), (np.argmax(wrong), result[wrong][:3], expected[wrong][:3])


@pytest.fixture
def _subnormals() -> None:
    """Some libraries, once imported, have this thread take subnormal numbers for 0: then there is nothing to see."""
    if np.float32(1e-40) * np.float32(1) == 0:
        pytest.skip("another library in this process has set the CPU to flush subnormal numbers to 0")


@pytest.mark.usefixtures("_subnormals")
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(dtype: str, isa: str) -> None:
    x = rows(dtype, 2)
    result = kernels.softmax_forward(x, isa=isa)
    with localcontext(WIDE):
        for row, y in zip(x, result, strict=True):
            # and exp(d) is off by what the difference d of two numbers is off
            distance = min(abs(float(row[0]) / 2 - float(row[1]) / 2), 1e3)
            assert_near(y, softmax(exact(row)), dtype, ulps=6 + distance)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_is_logsumexp_minus_the_logit(dtype: str, isa: str) -> None:
    x = rows(dtype, 2)
    x = x[np.abs(x).max(axis=1) < LARGE[dtype] / 2.5]
    for label in (0, 1):
        labels = np.full(len(x), label)
        loss, dx = kernels.cross_entropy(x, labels, np.ones(len(x), dtype), isa=isa)
        with localcontext(WIDE):
            should = [cross_entropy(exact(row), label) for row in x]
            gradient = [softmax(exact(row)) for row in x]
        # where the label is by far the largest, the loss is the small difference of large numbers
        assert_near(loss, should, dtype, slack=2 * np.finfo(dtype).eps)
        flat = [p - (i == label) for row in gradient for i, p in enumerate(row)]
        assert_near(dx, flat, dtype, slack=4 * np.finfo(dtype).eps)


LOSSES: dict[str, tuple[Callable[..., Any], Callable[[Decimal, Decimal], Decimal]]] = {
    "mse": (kernels.mse, lambda x, t: (x - t) ** 2),
    "half_squared_error": (kernels.half_squared_error, lambda x, t: (x - t) ** 2 / 2),
    "mae": (kernels.mae, lambda x, t: abs(x - t)),
    "huber": (kernels.huber, lambda x, t: (x - t) ** 2 / 2 if abs(x - t) < 1 else abs(x - t) - Decimal("0.5")),
    "binary_cross_entropy": (kernels.binary_cross_entropy,
                             lambda x, t: t * log1pexp(-x) + (1 - t) * log1pexp(x)),
    "poisson_nll": (kernels.poisson_nll, lambda x, t: (x.exp() if x < 10**4 else Decimal("Infinity")) - t * x),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str, dtype: str, isa: str) -> None:
    kernel, formula = LOSSES[name]
    for target in (0.0, 1.0, *([0.25] if name == "binary_cross_entropy" else [3.0])):
        x = np.array([v for v in numbers(dtype) if abs(v) * target < LARGE[dtype]]).astype(dtype)
        t = np.full_like(x, target)
        loss, dx = kernel(x[:, None], t[:, None], np.ones(len(x), dtype), isa=isa)
        with localcontext(WIDE):
            should = [formula(Decimal(float(v)), Decimal(target)) for v in x]
        terms = np.where(np.abs(x) < 1e5, np.abs(x), 0).astype(np.float64) * abs(target) + 1
        assert_near(loss, should, dtype, slack=8 * np.finfo(dtype).eps * terms)
        assert not np.isnan(dx).any()


# ---- ops ---------------------------------------------------------------------------------------------------------


def has_twin(op: Op) -> bool:
    try:
        return op.is_view or bool(native.op_phases(op.name))
    except ValueError:
        return False


SPECIAL = [np.nan, np.inf, -np.inf, 1e18, -1e18, 1e-45, -1e-40, 0.0, -0.0, 1.0, -1.0, 88.8, -104.0]


def kinds(a: Array) -> Array:
    return np.where(np.isnan(a), "NaN", np.where(np.isfinite(a), "finite", np.where(a > 0, "inf", "-inf")))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, case in cases.OPS.items() if has_twin(case.op)])
def test_ops_keep_infinities_and_nan_in_their_places(name: str, dtype: str) -> None:
    case, rng = cases.OPS[name], np.random.default_rng(0)
    net = case.network(dtype=dtype, seed=0)
    for values in net.params.values():
        values[...] = rng.choice(SPECIAL, values.shape) if case.op.name == "embedding" else values
    reference = net.copy(backend="reference")
    xs = tuple(rng.choice(SPECIAL, x.shape).astype(dtype) if x.dtype.kind == "f" else x for x in case.inputs(rng, 60))
    dy = rng.standard_normal((60, *net.graph.outputs[0].shape))
    results = []
    with np.errstate(all="ignore"):
        for n in (net, reference):
            outputs = [n.forward(xs), n.forward(xs, training=True)]
            results.append([*outputs, *(dx for dx in n.backward(dy) if dx is not None)])
    for result, should in zip(*results, strict=True):
        np.testing.assert_array_equal(kinds(result), kinds(should))
        if case.op.name == "attention":
            continue  # the exponential of products of such numbers: their last places decide which key wins
        finite = np.isfinite(should)
        # the sine of an angle of a thousand takes the angle's rounding whole
        atol = 1e4 * np.finfo(dtype).eps if case.op.name == "periodic" else 1e-5
        np.testing.assert_allclose(result[finite], should[finite], rtol=1e-4, atol=atol)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("width", [1, 3, 16, 33, 64, 70])
def test_what_is_not_finite_stays_in_its_row(width: int, bad: float) -> None:
    """Rows are worked on side by side, and padded: neither may carry NaN from one to another."""
    net = fb.Sequential(fb.Linear(width, 37), fb.GELU(), fb.LayerNorm(), fb.Linear(None, width), seed=0)
    x = np.random.default_rng(0).standard_normal((53, width)).astype("float32")
    dy = np.ones_like(x)
    clean = net.forward(x, training=True), net.backward(dy)
    for row in (0, 5, 52):
        spoilt = x.copy()
        spoilt[row, width // 2] = bad
        for result, should in zip((net.forward(spoilt, training=True), net.backward(dy)), clean, strict=True):
            others = np.arange(53) != row
            np.testing.assert_array_equal(result[others], should[others])
            assert not np.isfinite(result[row]).all()


@pytest.mark.usefixtures("_subnormals")
@pytest.mark.parametrize("n_threads", [1, 3])
def test_subnormal_numbers_are_numbers(n_threads: int) -> None:
    """No thread flushes them to 0, not even NumPy's afterwards."""
    before = fb.get_num_threads()
    fb.set_num_threads(n_threads)
    native.set_fork_cost(0)
    try:
        net = fb.Sequential(fb.Linear(4, 4, bias=False, weight_init=fb.Orthogonal()), seed=0)
        net.params["0.weight"] = np.eye(4)
        x = np.full((999, 4), 1e-40, dtype="float32")
        np.testing.assert_array_equal(net.predict(x), x)
        assert np.float32(1e-40) * np.float32(1) != 0
    finally:
        fb.set_num_threads(before)
        native.set_fork_cost(None)


class Witness(fb.CustomLayer):
    """Notes whether NumPy, called from within a plan, flushes subnormal numbers to 0."""

    def forward(self, ctx: object, x: np.ndarray) -> np.ndarray:
        self.flushed = np.float32(1e-40) * np.float32(1) == 0
        return x

    def backward(self, ctx: object, dy: np.ndarray) -> np.ndarray:
        return dy


@pytest.mark.usefixtures("_subnormals")
@pytest.mark.parametrize("n_threads", [1, 3])
def test_training_takes_subnormal_numbers_for_zero_and_nothing_else_does(n_threads: int) -> None:
    """They come up as a network converges, and would slow it down."""
    before = fb.get_num_threads()
    fb.set_num_threads(n_threads)
    native.set_fork_cost(0)
    try:
        witness = Witness()
        net = fb.Sequential(fb.Linear(64, 96, bias=False, weight_init=fb.Zeros()), witness)
        x, y = np.full((200, 64), 1e-40, "float32"), np.ones((200, 96), "float32")
        net.loss_and_grad(x, y, fb.MSE())
        assert (net.grads["0.weight"] < 0).all()
        assert not witness.flushed
        trainer = fb.Trainer(net, fb.MSE(), fb.SGD(1.0))
        trainer.fit(x, y, epochs=1, batch_size=200, progress=False)
        assert not net.params["0.weight"].any()
        assert not witness.flushed
        assert np.float32(1e-40) * np.float32(1) != 0
    finally:
        fb.set_num_threads(before)
        native.set_fork_cost(None)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e38])
def test_training_on_such_inputs_stops_and_says_so(bad: float) -> None:
    net = fb.Sequential(fb.Linear(3, 8), fb.ReLU(), fb.Linear(None, 1), seed=0)
    x, y = np.ones((32, 3), "float32"), np.ones((32, 1), "float32")
    x[20, 1] = bad
    with pytest.raises(fb.DivergenceError, match="batch 3") as error:
        fb.Trainer(net, fb.MSE(), fb.SGD(0.01)).fit(x, y, batch_size=8, shuffle=False, progress=False)
    assert ("input data has NaN" in str(error.value)) == (not np.isfinite(bad))
    assert np.isfinite(net.params.flat).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_cross_entropy_of_what_is_not_finite(bad: float, dtype: str, isa: str) -> None:
    """Found by UndefinedBehaviorSanitizer: the logarithm took the bits of NaN as a number, which overflowed."""
    x = np.zeros((3, 5), dtype)
    x[1, 2] = bad
    loss, _ = kernels.cross_entropy(x, np.array([2, 2, 2]), np.ones(3, dtype), isa=isa)
    assert np.isfinite(loss).tolist() == [True, False, True]


def batch_norm_inputs(dtype: str) -> tuple[Array, Array]:
    """Return a batch whose last columns have no finite mean, or no finite variance, and which columns have both."""
    bad = [np.nan, np.inf, -np.inf, LARGE[dtype]]
    x = np.random.default_rng(3).normal(3, 2, (40, 37)).astype(dtype)
    x[7, -len(bad):] = bad
    return x, np.arange(x.shape[1]) < x.shape[1] - len(bad)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_running_statistics_take_no_batch_that_is_not_finite(dtype: str, isa: str) -> None:
    x, good = batch_norm_inputs(dtype)
    mean, var = np.full(x.shape[1], 2, dtype), np.full(x.shape[1], 5, dtype)
    kernels.batch_norm_statistics(x, running_mean=mean, running_var=var, momentum=0.25, isa=isa)
    np.testing.assert_array_equal(mean[~good], 2)
    np.testing.assert_array_equal(var[~good], 5)
    rtol = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(mean[good], 1.5 + 0.25 * x[:, good].mean(axis=0), rtol=rtol)
    np.testing.assert_allclose(var[good], 3.75 + 0.25 * x[:, good].var(axis=0, ddof=1), rtol=rtol)


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_that_is_not_finite_spoils_no_running_statistics(dtype: str, backend: Any) -> None:
    x, good = batch_norm_inputs(dtype)
    def after(run: Callable[[fb.Network], object]) -> Array:
        net = fb.Sequential(fb.BatchNorm(x.shape[1]), fb.Linear(None, 2), dtype=dtype, backend=backend, seed=0)
        run(net)
        return np.stack([net.buffers["0.running_mean"], net.buffers["0.running_var"]])
    old, finite = after(lambda net: None), after(lambda net: net.forward(np.where(good, x, 1), training=True))
    y = np.zeros((len(x), 2), dtype)
    for run in (lambda net: net.forward(x, training=True), lambda net: net.loss_and_grad(x, y, fb.MSE())):
        np.testing.assert_array_equal(after(run), np.where(good, finite, old))
    assert (finite != old)[:, good].all()


@pytest.mark.parametrize(("width", "outputs"), [(4, 1), (8, 3), (40, 33)])
def test_gradients_of_many_rows_keep_their_digits(width, outputs):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((300_000, width)) + 1).astype(np.float32)
    y = rng.standard_normal((len(x), outputs)).astype(np.float32)
    net = fb.Sequential(fb.Linear(width, outputs), seed=0)
    exact = net.copy(dtype="float64")
    net.loss_and_grad(x, y, fb.MSE())
    exact.loss_and_grad(x, y, fb.MSE())
    for name, gradient in net.grads.items():
        np.testing.assert_allclose(gradient, exact.grads[name], rtol=0, atol=3e-6 * np.abs(exact.grads[name]).max())
