"""Each C kernel against its NumPy twin: every instruction set, both dtypes, sizes around the vector width."""

from __future__ import annotations

import inspect
import subprocess
import sys
from array import array as holder
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cases
import kernel_cases
import numpy as np
import pytest

import fastbp as fb
from fastbp import kernels

ISAS = fb.cpu_info().isas
VECTOR_BYTES = {"generic": 16, "neon": 16, "avx2": 32, "avx512": 64}
DTYPES = ("float32", "float64")
PADDING = 5000


def sizes(isa: str, dtype: str) -> list[int]:
    v = VECTOR_BYTES[isa] // np.dtype(dtype).itemsize
    return sorted({0, 1, v - 1, v, v + 1, 5 * v + 3})


def surrounded(array: np.ndarray, value: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a copy of an array that begins off every vector boundary, and all the memory around it."""
    buffer = np.full(array.size + 2 * PADDING + 64, value if array.dtype.kind == "f" else 2**40, array.dtype)
    start = PADDING + (-(buffer.ctypes.data // array.itemsize) - PADDING) % 64 + 1
    view = buffer[start:start + array.size].reshape(array.shape)
    view[...] = array
    return view, buffer


def assert_close(result: np.ndarray, expected: np.ndarray, case: kernel_cases.Case, dtype: str, dy: Any,
                 text: str) -> None:
    assert result.shape == expected.shape, text
    scale = np.abs(expected)
    if case.sums:
        scale = np.maximum(scale, max(1.0, scale.max(initial=0)))
    if case.derivative:
        scale = np.maximum(scale, np.abs(dy))
    relative = 1e-12 if dtype == "float64" else case.bound * np.finfo(np.float32).eps
    tolerance = relative * scale + np.finfo(dtype).tiny
    error = np.abs(result - expected)
    worst = (error / tolerance).max(initial=0)
    assert worst <= 1, f"{text}: off by {worst:.3g} times the bound"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", kernel_cases.CASES, ids=lambda c: f"{c.kernel}-{c.label}")
def test_kernel_agrees_with_its_twin(case: kernel_cases.Case, isa: str, dtype: str) -> None:
    """Inputs are read-only, unaligned and among NaN; nothing around the results may be touched."""
    kernel = getattr(kernels, case.kernel)
    for n in sizes(isa, dtype):
        if n < case.smallest:
            continue
        given = {}
        for name, array in case.arrays(np.random.default_rng(n), n).items():
            given[name], _ = surrounded(array if array.dtype.kind == "i" else array.astype(dtype), np.nan)
            given[name].flags.writeable = False
        exact = {name: a if a.dtype.kind == "i" else a.astype(np.float64) for name, a in given.items()}
        expected = _tuple(case.twin(**exact))
        dtypes = ["float64" if case.kernel in LOSSES and i == 0 else dtype for i in range(len(expected))]
        text = f"{case.kernel}, {case.label} = {n}, {isa}, {dtype}"

        # first into guarded memory: a stray write must be told, and must not crash what follows
        places = [surrounded(np.zeros(e.shape, d), 77.0) for e, d in zip(expected, dtypes, strict=True)]
        outs = tuple(view for view, _ in places)
        kernel(**given, **case.numbers, isa=isa, out=outs if len(outs) > 1 else outs[0])
        for (view, buffer), should in zip(places, expected, strict=True):
            assert (buffer == 77.0).sum() >= buffer.size - view.size, f"{text}: wrote outside of its result"
            assert_close(view, should, case, dtype, exact.get("dy"), text)
        made = _tuple(kernel(**given, **case.numbers, isa=isa))
        for result, view in zip(made, outs, strict=True):
            assert result.dtype == view.dtype
            np.testing.assert_array_equal(view, result, err_msg=f"{text}: alignment changes the bits")


def _tuple(results: Any) -> tuple[np.ndarray, ...]:
    return results if isinstance(results, tuple) else (results,)


LOSSES = {c.kernel for c in kernel_cases.CASES if "target" in c.arrays(np.random.default_rng(0), 4)}


PUBLIC = sorted(name for name, value in vars(kernels).items() if callable(value) and not name.startswith("_"))


def test_every_kernel_is_tried() -> None:
    tried = {c.kernel for c in kernel_cases.CASES} | {f"{make().name}_update" for make in cases.OPTIMIZERS.values()}
    assert set(PUBLIC) == tried


@pytest.mark.parametrize("name", PUBLIC)
def test_documentation_names_every_argument(name: str) -> None:
    kernel = getattr(kernels, name)
    for argument in inspect.signature(kernel).parameters:
        assert argument in kernel.__doc__, argument


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", cases.OPTIMIZERS)
def test_optimizers_agree_with_their_twins(name: str, isa: str, dtype: str) -> None:
    optimizer = cases.OPTIMIZERS[name]()
    update = getattr(kernels, f"{optimizer.name}_update")
    hyper = [p for p in inspect.signature(update).parameters
             if p not in ("p", "g", "lr", "step", "weight_decay", "isa", *optimizer.state_names)]
    for n in sizes(isa, dtype):
        rng = np.random.default_rng(n)
        p, buffer = surrounded(rng.standard_normal(n).astype(dtype), 77.0)
        states = [surrounded(np.zeros(n, dtype), 77.0)[0] for _ in optimizer.state_names]
        exact, exact_states = p.astype(np.float64), tuple(s.astype(np.float64) for s in states)
        for step in range(1, 6):
            g = surrounded(rng.standard_normal(n).astype(dtype), np.nan)[0]
            g.flags.writeable = False
            finite = update(p, g, *states, lr=0.01, step=step, weight_decay=0.1, isa=isa,
                            **dict(zip(hyper, optimizer.hyper(), strict=True)))
            optimizer.update(exact, g.astype(np.float64), exact_states, 0.01, step, 0.1)
            assert finite is True
        bound = 1e-12 if dtype == "float64" else 64 * np.finfo(np.float32).eps
        for result, should in zip((p, *states), (exact, *exact_states), strict=True):
            np.testing.assert_allclose(result, should, rtol=bound, atol=bound, err_msg=f"{n} elements")
        assert (buffer == 77.0).sum() == buffer.size - n


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_an_update_that_leaves_the_finite_numbers_says_so(isa: str, bad: float) -> None:
    for place in (0, 17, 40):
        p, g, velocity = (np.zeros(41, np.float32) for _ in range(3))
        g[place] = bad
        assert kernels.sgd_update(p, g, velocity, lr=0.1, step=1, momentum=0.0, nesterov=0, isa=isa) is False


@pytest.mark.parametrize("isa", ISAS)
def test_a_gradient_whose_square_overflows_moves_nothing(isa: str) -> None:
    g = np.full(21, 1e30, np.float32)
    adam = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "decoupled": 0}
    for update, states, numbers in ((kernels.adagrad_update, 1, {"eps": 1e-10}), (kernels.adam_update, 2, adam),
                                    (kernels.rmsprop_update, 2, {"alpha": 0.9, "eps": 1e-8, "momentum": 0.0})):
        p = np.ones(21, np.float32)
        state = [np.zeros(21, np.float32) for _ in range(states)]
        for step in (1, 2):
            assert update(p, g, *state, lr=0.1, step=step, isa=isa, **numbers) is True
            assert (p == 1).all(), update


SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 3e-39, 1e-20, 3.0, -3.0, 17.0, -17.0, 87.0, -87.0, 88.8,
           -88.8, 103.0, -104.0, 709.0, -709.0, 745.0, -746.0, 1e38, -1e38]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", [c for c in kernel_cases.CASES if c.kernel.endswith("_forward") and c.label == "n"
                                  and c.kernel[:3] not in ("add", "mul")], ids=lambda c: c.kernel)
def test_special_values(case: kernel_cases.Case, isa: str, dtype: str) -> None:
    """NaN stays NaN, infinities reach their limits, and nothing overflows on the way to a finite result."""
    x = np.array(SPECIAL).astype(dtype)
    with np.errstate(all="ignore"):
        expected = case.twin(x=x.astype(np.float64)).astype(dtype)
    result = getattr(kernels, case.kernel)(x, **case.numbers, isa=isa)
    bound = 1e-12 if dtype == "float64" else 2 * case.bound * np.finfo(np.float32).eps
    np.testing.assert_allclose(result, expected, rtol=bound, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("isa", ISAS)
def test_running_statistics(isa: str) -> None:
    x = np.random.default_rng(0).normal(3, 2, (50, 9))
    mean, var = np.full(9, 2.0), np.full(9, 5.0)
    kernels.batch_norm_statistics(x, running_mean=mean, running_var=var, momentum=0.25, isa=isa)
    np.testing.assert_allclose(mean, 0.75 * 2 + 0.25 * x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(var, 0.75 * 5 + 0.25 * x.var(axis=0, ddof=1), rtol=1e-12)


@pytest.mark.parametrize("isa", ISAS)
def test_the_value_before_the_activation(isa: str) -> None:
    rng = np.random.default_rng(0)
    x, W, b = rng.standard_normal((7, 5)), rng.standard_normal((5, 19)), rng.standard_normal(19)
    z = np.empty((7, 19))
    y = kernels.linear_forward(x, W, b, act="gelu", z=z, isa=isa)
    np.testing.assert_allclose(z, x @ W + b, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(y, kernels.gelu_forward(z, isa=isa))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_in_pieces_give_the_same_bits(isa: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, W, b = (rng.standard_normal(s).astype(dtype) for s in ((61, 33), (33, 35), (35,)))
    whole = kernels.linear_forward(x, W, b, act="tanh", isa=isa)
    for cut in (1, 5, 12, 30):
        parts = [kernels.linear_forward(part, W, b, act="tanh", isa=isa) for part in (x[:cut], x[cut:])]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("few", [1, 2, 3, 4])
@pytest.mark.parametrize("many", [2, 5, 16, 17, 31, 100])
def test_products_of_few_columns_have_the_bits_of_single_rows(isa: str, dtype: str, few: int, many: int) -> None:
    """Single rows go through tiles, which know nothing of vectors down the rows."""
    rng = np.random.default_rng(0)
    x, W, b = (rng.standard_normal(s).astype(dtype) for s in ((37, many), (many, few), (few,)))
    for act in ("identity", "relu", "tanh"):
        y = kernels.linear_forward(x, W, b, act=act, isa=isa)
        rows = [kernels.linear_forward(x[r:r + 1], W, b, act=act, isa=isa) for r in range(len(x))]
        np.testing.assert_array_equal(y, np.concatenate(rows))
    dx = kernels.linear_backward_input(x, W, isa=isa)
    np.testing.assert_array_equal(dx, np.concatenate([kernels.linear_backward_input(r, W, isa=isa)
                                                      for r in x[:, None]]))
    np.testing.assert_allclose(dx, x @ W, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("B", "I", "O"), [(100, 1024, 512), (130, 600, 515), (70, 2048, 9), (2100, 96, 64)])
def test_operands_that_are_copied_give_the_same_bits(isa: str, dtype: str, B: int, I: int, O: int) -> None:  # noqa: E741
    """Of fewer than 48 rows nothing is copied."""
    rng = np.random.default_rng(0)
    x, W, b, dy = (rng.standard_normal(s).astype(dtype) for s in ((B, I), (I, O), (O,), (B, O)))
    Wt = np.ascontiguousarray(W.T)
    y, dx = kernels.linear_forward(x, W, b, isa=isa), kernels.linear_backward_input(dy, Wt, isa=isa)
    dW, _ = kernels.linear_backward_weight(x, dy, isa=isa)
    for lo in range(0, B, 40):
        rows = slice(lo, lo + 40)
        np.testing.assert_array_equal(y[rows], kernels.linear_forward(x[rows], W, b, isa=isa))
        np.testing.assert_array_equal(dx[rows], kernels.linear_backward_input(dy[rows], Wt, isa=isa))
    for lo in range(0, I, 40):
        rows = slice(lo, lo + 40)
        np.testing.assert_array_equal(dW[rows], kernels.linear_backward_weight(x[:, rows], dy, isa=isa)[0])


def test_products_on_many_threads_copy_to_memory_of_their_own() -> None:
    """More of them at a time than blocks are kept."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 1024)).astype(np.float32)
    weights = [rng.standard_normal((1024, 512)).astype(np.float32) for _ in range(12)]
    expected = [kernels.linear_forward(x, W) for W in weights]
    with ThreadPoolExecutor(len(weights)) as pool:
        for _ in range(5):
            for y, alone in zip(pool.map(lambda W: kernels.linear_forward(x, W), weights), expected, strict=True):
                np.testing.assert_array_equal(y, alone)


# ---- what is accepted, and what is refused --------------------------------------------------------------------------


def test_any_shape_and_layout_of_elementwise_input() -> None:
    x = np.arange(24.0).reshape(2, 3, 4) - 12
    np.testing.assert_array_equal(kernels.relu_forward(x), np.maximum(x, 0))
    np.testing.assert_array_equal(kernels.relu_forward(x.transpose(2, 0, 1)), np.maximum(x, 0).transpose(2, 0, 1))
    np.testing.assert_array_equal(kernels.relu_forward(x[:, ::-1, ::2]), np.maximum(x, 0)[:, ::-1, ::2])
    assert kernels.relu_forward(np.array(-1.0)).shape == ()
    packed = np.zeros(9, dtype=[("byte", "i1"), ("x", "f8")])["x"]
    assert not packed.flags.aligned
    packed[:] = np.arange(9) - 4
    np.testing.assert_array_equal(kernels.relu_forward(packed), np.maximum(packed, 0))


def test_other_holders_of_numbers() -> None:
    """Whatever gives access to its memory will do, and lists of numbers are float64."""
    numbers = holder("f", [-1.0, 2.0, 3.0])
    expected = [0.0, 2.0, 3.0]
    assert kernels.relu_forward(numbers).tolist() == expected
    assert kernels.relu_forward(numbers).dtype == np.float32
    assert kernels.relu_forward(memoryview(numbers)).tolist() == expected
    assert kernels.relu_forward(list(numbers)).dtype == np.float64
    assert kernels.relu_forward(numbers, out=numbers) is numbers
    assert numbers.tolist() == expected
    loss, _ = kernels.cross_entropy(np.zeros((4, 2)), np.array([0, 9, 1, 9, 0, 9, 1, 9])[::2])
    np.testing.assert_allclose(loss, np.log(2) / 4)


def test_all_are_released() -> None:
    """A buffer that is still held would keep its array from being resized."""
    numbers = holder("f", [1.0, 2.0])
    kernels.add_forward(numbers, numbers, out=numbers)
    with pytest.raises(ValueError, match="rate is 2"):
        kernels.dropout_forward(numbers, rate=2)
    with pytest.raises(TypeError):
        kernels.add_forward(numbers, None)
    numbers.append(3.0)
    assert numbers.tolist() == [2.0, 4.0, 3.0]


def test_elementwise_in_place() -> None:
    x = np.array([-1.0, 2.0], np.float32)
    assert kernels.relu_forward(x, out=x) is x
    assert x.tolist() == [0, 2]


def test_results_that_are_not_wanted() -> None:
    dy, a, b = np.ones(3), np.arange(3.0), np.arange(3.0) + 1
    da = np.empty(3)
    results = kernels.mul_backward(dy, a, b, out=(da, None))
    assert results[0] is da
    assert results[1] is None
    np.testing.assert_array_equal(da, b)
    loss, dx = kernels.mse(np.ones((2, 3)), np.zeros((2, 3)), out=(None, None))
    assert loss.tolist() == [0.5, 0.5]
    assert dx is None


def f32(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


REFUSED: list[tuple[type[Exception], str, Any]] = [
    (TypeError, "tanh_forward: x has dtype int64; expected float32 or float64",
     lambda: kernels.tanh_forward(np.arange(3))),
    (TypeError, "tanh_forward: x has dtype complex128; expected float32 or float64",
     lambda: kernels.tanh_forward(np.zeros(3, complex))),
    (TypeError, "tanh_forward: x has dtype object; expected float32 or float64",
     lambda: kernels.tanh_forward(np.array([None]))),
    (TypeError, "tanh_forward: x has dtype >f4; expected float32 or float64",
     lambda: kernels.tanh_forward(np.zeros(3, ">f4"))),
    (ValueError, "tanh_forward: x is no array: setting an array element with a sequence. The requested array has an "
                 "inhomogeneous shape after 1 dimensions. The detected shape was (2,) + inhomogeneous part.",
     lambda: kernels.tanh_forward([[1.0], [1.0, 2.0]])),
    (TypeError, "add_forward: b has dtype float64; expected float32, as a has",
     lambda: kernels.add_forward(f32(3), np.zeros(3))),
    (ValueError, "add_forward: b has shape (4,); expected (3,), the shape of a",
     lambda: kernels.add_forward(f32(3), f32(4))),
    (ValueError, "linear_forward: W has shape (4, 2); expected (I, O) with I = 5",
     lambda: kernels.linear_forward(f32(3, 5), f32(4, 2))),
    (ValueError, "linear_forward: x has shape (5,); expected 2 axes, (B, I)",
     lambda: kernels.linear_forward(f32(5), f32(5, 2))),
    (ValueError, "linear_forward: b has shape (2, 1); expected 1 axis, (O,)",
     lambda: kernels.linear_forward(f32(3, 5), f32(5, 2), f32(2, 1))),
    (ValueError, "linear_forward: act is 'softmax'; expected one of " + ", ".join(
        repr(c.op.name) for c in cases.OPS.values() if isinstance(c.op, kernel_cases.ActivationOp)),
     lambda: kernels.linear_forward(f32(3, 5), f32(5, 2), act="softmax")),
    (ValueError, "linear_forward: z has shape (2, 3); expected (B, O) with B = 3",
     lambda: kernels.linear_forward(f32(3, 5), f32(5, 2), z=f32(2, 3))),
    (ValueError, "concat_backward: dy has shape (2, 6); expected (R, na + nb) with na + nb = 5",
     lambda: kernels.concat_backward(f32(2, 6), 2, 3)),
    (ValueError, "concat_backward: dy has shape (2, 5); expected (R, na + nb) with na + nb = 4611686018427387904",
     lambda: kernels.concat_backward(f32(2, 5), 2**62 - 1, 1)),
    (ValueError, "concat_backward: na is -1; expected a whole number from 0 to 2**62 - 1",
     lambda: kernels.concat_backward(f32(2, 6), -1, 7)),
    (ValueError, "softmax_forward: out has shape (2, 2); expected (2, 3)",
     lambda: kernels.softmax_forward(f32(2, 3), out=f32(2, 2))),
    (TypeError, "softmax_forward: out has dtype float64; expected float32",
     lambda: kernels.softmax_forward(f32(2, 3), out=np.zeros((2, 3)))),
    (TypeError, "softmax_forward: out is 'list'; expected a NumPy array",
     lambda: kernels.softmax_forward(f32(2, 3), out=[1])),
    (TypeError, "mul_backward: out is 'ndarray'; expected a tuple (da, db)",
     lambda: kernels.mul_backward(f32(3), f32(3), f32(3), out=f32(3))),
    (ValueError, "mul_backward: out[1] (db) has shape (4,); expected (3,)",
     lambda: kernels.mul_backward(f32(3), f32(3), f32(3), out=(None, f32(4)))),
    (ValueError, "softmax_forward: out is not C-contiguous and aligned; give an array that is",
     lambda: kernels.softmax_forward(f32(2, 3), out=f32(3, 2).T)),
    (ValueError, "softmax_forward: out is read-only; give an array that can be written to",
     lambda: kernels.softmax_forward(f32(2, 3), out=np.broadcast_to(np.float32(0), (2, 3)))),
    (ValueError, "softmax_forward: out shares memory with x; give another array",
     lambda: (lambda x: kernels.softmax_forward(x, out=x))(f32(2, 3))),
    (ValueError, "relu_forward: out shares memory with x; give another array",
     lambda: (lambda x: kernels.relu_forward(x[1:], out=x[:-1]))(f32(9))),
    (ValueError, "mul_backward: out shares memory with another result; give another array",
     lambda: (lambda d: kernels.mul_backward(f32(3), f32(3), f32(3), out=(d, d)))(f32(3))),
    (ValueError, "dropout_forward: rate is 1; expected a number from 0 up to, but not including, 1",
     lambda: kernels.dropout_forward(f32(3), rate=1)),
    (ValueError, "dropout_forward: seed is -1; expected a whole number from 0 to 2**64 - 1",
     lambda: kernels.dropout_forward(f32(3), rate=0.5, seed=-1)),
    (TypeError, "cross_entropy: target has dtype float64; expected int64",
     lambda: kernels.cross_entropy(f32(2, 3), np.zeros(2))),
    (ValueError, "cross_entropy: target has the label 3; expected labels from 0 to 2",
     lambda: kernels.cross_entropy(f32(2, 3), np.array([0, 3]))),
    (ValueError, "cross_entropy: target has the label -1; expected labels from 0 to 2",
     lambda: kernels.cross_entropy(f32(2, 3), np.array([-1, 0]))),
    (ValueError, "gaussian_nll: x has 3 columns; expected an even number",
     lambda: kernels.gaussian_nll(f32(2, 3), f32(2, 1))),
    (ValueError, "gaussian_nll: target has shape (2, 4); expected (B, D / 2) with D / 2 = 2",
     lambda: kernels.gaussian_nll(f32(2, 4), f32(2, 4))),
    (ValueError, "sgd_update: p is read-only; give an array that can be written to",
     lambda: kernels.sgd_update(np.broadcast_to(np.float32(0), (3,)), f32(3), f32(3), lr=0.1, step=1, momentum=0.0,
                                nesterov=0)),
    (ValueError, "sgd_update: velocity has shape (4,); expected (3,), the shape of p",
     lambda: kernels.sgd_update(f32(3), f32(3), f32(4), lr=0.1, step=1, momentum=0.0, nesterov=0)),
    (ValueError, "adam_update: step is 0; expected a whole number from 1 to 2**62 - 1",
     lambda: kernels.adam_update(f32(3), f32(3), f32(3), f32(3), lr=0.1, step=0, beta1=0.9, beta2=0.99, eps=1e-8,
                                 decoupled=0)),
    (TypeError, "relu_forward: isa is 512; expected a name such as 'generic'",
     lambda: kernels.relu_forward(f32(3), isa=512)),
    (ValueError, f"isa is 'sse9', which is unknown; expected one of {', '.join(ISAS)}. The environment variable "
                 "FASTBP_ISA sets it", lambda: kernels.relu_forward(f32(3), isa="sse9")),
]


@pytest.mark.parametrize(("kind", "message", "call"), REFUSED, ids=[message for _, message, _ in REFUSED])
def test_refused(kind: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(kind) as error:
        call()
    assert str(error.value) == message


@pytest.mark.parametrize("ending", ["pyi", "pxd"])
def test_what_is_made_from_the_list_of_ops_is_up_to_date(ending: str) -> None:
    root = Path(__file__).parents[2]
    if not (root / "tools" / "generate_kernels.py").exists():
        pytest.skip("the generator is not beside the tests")
    made = subprocess.run([sys.executable, root / "tools" / "generate_kernels.py", ending], text=True, check=True,
                          capture_output=True).stdout
    assert made == (root / "fastbp" / "engine" / f"kernels.{ending}").read_text(encoding="utf-8"), \
        f"run: python tools/generate_kernels.py {ending} > fastbp/engine/kernels.{ending}"


def test_comments_decide_no_signature() -> None:
    """The stub is the same without a comment in op_list.h."""
    root = Path(__file__).parents[2]
    if not (root / "tools" / "generate_kernels.py").exists():
        pytest.skip("the generator is not beside the tests")
    code = ("import re, sys; sys.path.insert(0, 'tools'); import generate_kernels as g, op_list as o; "
            "bare = re.sub(r'/\\*[\\s\\S]*?\\*/', '', o.PATH.read_text(encoding='utf-8')); "
            "assert '/*' not in bare; "
            "assert g.pyi(o.read(bare)) == g.pyi(o.read()) and g.pxd(o.read(bare)) == g.pxd(o.read())")
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


@pytest.mark.parametrize(("row", "message"), [
    ("FBP_KERNEL(f, (FBP_OOT(T, y, (n))))", "op_list.h: f: FBP_OOT(T, y, (n)) is no argument; expected one that the "
                                            "file's top explains"),
    ("FBP_KERNEL(f, (FBP_OUT(T, y, (n)))", "op_list.h: a parenthesis is not closed")])
def test_a_row_that_is_not_right(row: str, message: str) -> None:
    root = Path(__file__).parents[2]
    if not (root / "tools" / "op_list.py").exists():
        pytest.skip("the reader is not beside the tests")
    code = f"import sys; sys.path.insert(0, 'tools'); import op_list; op_list.read({row!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, text=True, capture_output=True)
    assert done.stderr.splitlines()[-1] == f"ValueError: {message}"
