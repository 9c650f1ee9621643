"""What parameters start as: distributions, gains, dtypes, messages."""

from __future__ import annotations

import math
import re
from typing import Any

import cases
import numpy as np
import pytest

import fastbp as fb

I, O = 300, 200  # noqa: E741 - inputs and outputs, as in the formulas


def _draw(initializer: Any, shape: tuple[int, ...] = (I, O), dtype: str = "float64", seed: int = 0) -> Any:
    return initializer(shape, np.random.default_rng(seed), dtype)


@pytest.mark.parametrize("name", cases.INITIALIZERS)
def test_shape_dtype_and_seed(name: str) -> None:
    initializer = cases.INITIALIZERS[name]
    single, double = (_draw(initializer, (6, 5), dtype) for dtype in ("float32", "float64"))
    assert single.shape == double.shape == (6, 5)
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    assert single.flags.c_contiguous
    np.testing.assert_array_equal(single, double.astype(np.float32))
    np.testing.assert_array_equal(double, _draw(initializer, (6, 5)))
    random = name not in ("Zeros", "Ones", "Constant")
    assert (double != _draw(initializer, (6, 5), seed=1)).any() == random


@pytest.mark.parametrize("name", cases.INITIALIZERS)
def test_repr_makes_an_equal_one(name: str) -> None:
    assert eval(repr(cases.INITIALIZERS[name]), vars(fb)) == cases.INITIALIZERS[name]


@pytest.mark.parametrize(("initializer", "std"), [
    (fb.KaimingUniform(), math.sqrt(2 / I)),
    (fb.KaimingUniform(fan="fan_out"), math.sqrt(2 / O)),
    (fb.KaimingNormal(), math.sqrt(2 / I)),
    (fb.KaimingNormal("tanh"), 5 / 3 / math.sqrt(I)),
    (fb.KaimingNormal(math.sqrt(2 / (1 + 0.2**2)), "fan_out"), math.sqrt(2 / 1.04 / O)),
    (fb.XavierUniform(), math.sqrt(2 / (I + O))),
    (fb.XavierUniform("relu"), math.sqrt(4 / (I + O))),
    (fb.XavierNormal(0.5), math.sqrt(0.5 / (I + O))),
    (fb.LeCunUniform(), math.sqrt(1 / I)),
    (fb.LeCunNormal(), math.sqrt(1 / I)),
    (fb.Normal(0.0, 0.3), 0.3),
    (fb.Uniform(-2, 2), 4 / math.sqrt(12)),
], ids=repr)
def test_mean_and_standard_deviation(initializer: Any, std: float) -> None:
    values = _draw(initializer)
    # the spread of a mean and of a standard deviation over 60 000 draws, five times
    assert abs(values.mean()) < 5 * std / math.sqrt(I * O)
    assert values.std() == pytest.approx(std, rel=5 / math.sqrt(2 * I * O))
    uniform = "Uniform" in type(initializer).__name__
    assert (np.abs(values).max() <= math.sqrt(3) * std) == uniform


def test_the_limit_of_the_default_of_linear_is_the_one_it_states() -> None:
    net = fb.Sequential(fb.Linear(I, O), seed=0, backend="reference", dtype="float64")
    limit = math.sqrt(6 / I)
    assert 0.99 * limit < np.abs(net.params["0.weight"]).max() <= limit
    assert not net.params["0.bias"].any()


def test_axes_before_the_last_two_count_to_both_fans() -> None:
    values = _draw(fb.KaimingNormal(), (3, 3, 64, 32))
    assert values.std() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.05)
    values = _draw(fb.XavierNormal(), (3, 3, 64, 32))
    assert values.std() == pytest.approx(math.sqrt(2 / (9 * (64 + 32))), rel=0.05)


@pytest.mark.parametrize("shape", [(5, 5), (8, 3), (3, 8), (2, 3, 4)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    matrix = _draw(fb.Orthogonal(2.0), shape).reshape(-1, shape[-1])
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_is_uniform_over_rotations_and_reflections() -> None:
    traces = [np.trace(_draw(fb.Orthogonal(), (4, 4), seed=s)) for s in range(400)]
    # E tr Q = 0 and E (tr Q)² = 1 for the uniform (Haar) distribution; QR alone gives a mean below 0
    assert abs(np.mean(traces)) < 5 / math.sqrt(400)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: fb.Constant(float("nan")), "Constant: value is nan; expected a finite number"),
    (lambda: fb.Constant("1"), "Constant: value is '1'; expected a finite number"),
    (lambda: fb.Normal(0, -1), "Normal: std is -1; expected a number of at least 0"),
    (lambda: fb.Uniform(1, 0), "Uniform: high is 0; expected a number of at least low, 1"),
    (lambda: fb.KaimingUniform("swish"), "KaimingUniform: gain is 'swish'; expected a positive number or one of "
     "'linear', 'sigmoid', 'tanh', 'relu', 'selu'"),
    (lambda: fb.Orthogonal(0), "Orthogonal: gain is 0; expected a positive number or one of 'linear', 'sigmoid', "
     "'tanh', 'relu', 'selu'"),
    (lambda: fb.KaimingNormal(fan="in"), "KaimingNormal: fan is 'in'; expected \"fan_in\" or \"fan_out\""),
    (lambda: _draw(fb.LeCunNormal(), (3,)), "LeCunNormal(): shape is (3,); expected two axes or more, (…, inputs, "
     "outputs). For biases take Zeros, Constant, Normal or Uniform"),
    (lambda: _draw(fb.Orthogonal(), (3,)), "Orthogonal(gain='linear'): shape is (3,); expected two axes or more, (…, "
     "inputs, outputs). For biases take Zeros, Constant, Normal or Uniform"),
])
def test_messages(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()
