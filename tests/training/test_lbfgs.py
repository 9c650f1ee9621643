"""L-BFGS, and the function of all parameters that it minimises."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

pytest.importorskip("scipy", reason="SciPy is not installed")
from scipy.optimize import minimize

BACKENDS = backends()


def problem(backend="reference", dtype="float64", activation=fb.Tanh):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    net = fb.Sequential(fb.Linear(3, 5), activation(), fb.Linear(5, 2), dtype=dtype, seed=0, backend=backend)
    return net, X, rng.integers(0, 2, 60)


# ---- value_and_grad --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_that_of_the_value(backend, weighted):
    net, X, y = problem(backend)
    weight = np.linspace(0, 2, 60) if weighted else None
    theta = np.random.default_rng(1).standard_normal(net.params.flat.size)
    value, grad = net.value_and_grad(theta, X, y, fb.CrossEntropy(), weight)
    numerical = fb.numerical_gradient(lambda t: net.value_and_grad(t, X, y, fb.CrossEntropy(), weight)[0], theta)
    np.testing.assert_allclose(grad, numerical, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(net.value_and_grad(theta, X, y, fb.CrossEntropy(), weight)[0], value)
    np.testing.assert_array_equal(net.params.flat, theta)
    assert value == net.loss(X, y, fb.CrossEntropy(), weight)


def test_the_gradient_is_a_copy_in_float64():
    net, X, y = problem(dtype="float32")
    _, grad = net.value_and_grad(np.zeros(net.params.flat.size), X, y, fb.CrossEntropy())
    kept = grad.copy()
    net.value_and_grad(np.ones(net.params.flat.size), X, y, fb.CrossEntropy())
    assert grad.dtype == np.float64
    np.testing.assert_array_equal(grad, kept)


def test_frozen_parameters_have_no_gradient():
    net = fb.Sequential(fb.Linear(2, 3, trainable=False), fb.Tanh(), fb.Linear(3, 1), dtype="float64", seed=0,
                        backend="reference")
    _, grad = net.value_and_grad(net.params.flat, [[1.0, 2.0]], [[1.0]], fb.MSE())
    assert not grad[:9].any()
    assert grad[9:].any()


def test_what_does_not_fit_changes_nothing():
    net, X, y = problem()
    before = net.params.flat.copy()
    with pytest.raises(ValueError, match=r"flat: got shape \(3,\); expected \(32,\)"):
        net.value_and_grad([1.0, 2.0, 3.0], X, y, fb.CrossEntropy())
    with pytest.raises(TypeError, match="theta has dtype complex128"):
        net.value_and_grad(1j * before, X, y, fb.CrossEntropy())
    with pytest.raises(ValueError, match="y has the label 7 in row 0"):
        net.value_and_grad(0 * before, X, y + 7, fb.CrossEntropy())
    np.testing.assert_array_equal(net.params.flat, before)


# ---- fit_lbfgs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_least_squares_are_solved(backend):
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((50, 4)), rng.standard_normal((4, 2))
    y = X @ W + [1.0, -2.0] + 0.1 * rng.standard_normal((50, 2))
    net = fb.Sequential(fb.Linear(4, 2), dtype="float64", seed=0, backend=backend)
    result = fb.fit_lbfgs(net, X, y, fb.HalfSquaredError(), tol=1e-10)
    exact = np.linalg.lstsq(np.c_[X, np.ones(50)], y, rcond=None)[0]
    np.testing.assert_allclose(net.params["0.weight"], exact[:4], rtol=1e-6)
    np.testing.assert_allclose(net.params["0.bias"], exact[4], rtol=1e-6)
    assert result.converged
    assert result.value == pytest.approx(net.loss(X, y, fb.HalfSquaredError()))


@pytest.mark.parametrize("decay_bias", [False, True])
def test_ridge_regression_is_solved(decay_bias):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 3))
    y = X @ [[1.0], [2.0], [3.0]] + 4
    net = fb.Sequential(fb.Linear(3, 1), dtype="float64", seed=0, backend="reference")
    result = fb.fit_lbfgs(net, X, y, fb.HalfSquaredError(), weight_decay=0.3, decay_bias=decay_bias, tol=1e-10)
    A, penalty = np.c_[X, np.ones(50)], 0.3 * np.diag([1, 1, 1, float(decay_bias)])
    exact = np.linalg.solve(A.T @ A / 50 + penalty, A.T @ y / 50)
    np.testing.assert_allclose(net.params.flat[:, None], exact, rtol=1e-6)
    penalised = net.loss(X, y, fb.HalfSquaredError()) + (0.5 * exact.T @ penalty @ exact).item()
    assert result.value == pytest.approx(penalised)


def test_it_is_scipys():
    net, X, y = problem()
    start = net.params.flat.copy()
    direct = minimize(net.value_and_grad, start, args=(X, y, fb.CrossEntropy()), jac=True, method="L-BFGS-B",
                      options={"maxiter": 25, "gtol": 1e-4})
    net.params.flat = start
    result = fb.fit_lbfgs(net, X, y, fb.CrossEntropy(), max_iter=25)
    np.testing.assert_array_equal(net.params.flat, direct.x)
    assert (result.value, result.iterations, result.evaluations) == (direct.fun, direct.nit, direct.nfev)


def test_sample_weights_stand_for_repeated_rows():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, 60)
    results = []
    for repeated in (False, True):
        net, X, y = problem()
        weight = None if repeated else counts
        X, y = (np.repeat(X, counts, axis=0), np.repeat(y, counts)) if repeated else (X, y)
        results.append(fb.fit_lbfgs(net, X, y, fb.CrossEntropy(), sample_weight=weight, max_iter=30).value)
    assert results[0] == pytest.approx(results[1], rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_gets_almost_as_far(backend):
    values = []
    for dtype in ("float32", "float64"):
        net, X, y = problem(backend, dtype)
        values.append(fb.fit_lbfgs(net, X, y, fb.CrossEntropy(), weight_decay=0.01, max_iter=100).value)
    assert values[0] == pytest.approx(values[1], rel=1e-2)


def test_the_end_at_a_limit():
    net, X, y = problem()
    result = fb.fit_lbfgs(net, X, y, fb.CrossEntropy(), max_iter=3, tol=0)
    assert (result.converged, result.iterations, len(result.values)) == (False, 3, 3)
    assert result.values == sorted(result.values, reverse=True)
    assert result.values[-1] == result.value == net.loss(X, y, fb.CrossEntropy())
    assert "values" not in repr(result)
    few = fb.fit_lbfgs(net, X, y, fb.CrossEntropy(), max_evaluations=5, tol=0)
    assert not few.converged
    assert few.evaluations <= 10


def test_whoever_looks_on_sees_each_iteration_and_may_stop_it():
    net, X, y = problem()
    seen = []

    def look(iteration, value):
        seen.append((iteration, value, net.loss(X, y, fb.CrossEntropy())))
        return iteration == 4
    result = fb.fit_lbfgs(net, X, y, fb.CrossEntropy(), on_iteration=look)
    assert [i for i, *_ in seen] == [1, 2, 3, 4]
    assert all(value == loss for _, value, loss in seen)
    assert (result.converged, result.message) == (False, "on_iteration stopped it")
    assert net.loss(X, y, fb.CrossEntropy()) == seen[-1][1] == result.value


def test_ctrl_c_leaves_the_last_iteration():
    net, X, y = problem()
    accepted = []

    def look(iteration, value):
        accepted.append(net.params.flat.copy())
        if iteration == 3:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        fb.fit_lbfgs(net, X, y, fb.CrossEntropy(), on_iteration=look)
    np.testing.assert_array_equal(net.params.flat, accepted[-1])


@pytest.mark.parametrize(("argument", "value", "expected"), [
    ("max_iter", 0, "a positive integer"), ("tol", -1, "a number of at least 0"), ("memory", 1.5, "a positive integer"),
    ("weight_decay", float("nan"), "a number of at least 0"), ("max_evaluations", "many", "a positive integer"),
])
def test_wrong_arguments(argument, value, expected):
    net, X, y = problem()
    with pytest.raises((TypeError, ValueError), match=f"fit_lbfgs: {argument} is {value!r}; expected {expected}"):
        fb.fit_lbfgs(net, X, y, fb.CrossEntropy(), **{argument: value})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("spoil", "error", "message"), [
    (lambda net, X, w: X.__setitem__((7, 1), np.nan), ValueError, r"^x has NaN in row 7; expected finite numbers"),
    (lambda net, X, w: X.__setitem__((7, 1), -np.inf), ValueError, r"^x has an infinite value in row 7; expected"),
    (lambda net, X, w: net.params["0.weight"].__setitem__((0, 0), np.nan), ValueError,
     r"^fit_lbfgs: net has NaN or infinite values in '0.weight'; expected finite parameters"),
    (lambda net, X, w: w.fill(0), ValueError, r"^sample_weight is 0 for all rows; expected at least one above 0$"),
    (lambda net, X, w: X.fill(1e200), fb.DivergenceError,
     r"^fit_lbfgs, iteration 1: the loss or its gradient is not finite. x has values up to 1e\+200: standardise"),
])
def test_what_has_no_minimum_is_refused_and_the_network_stays_as_it_was(backend, spoil, error, message):
    X, y, w = np.ones((60, 3)), np.ones((60, 2)), np.ones(60)
    net = fb.Sequential(fb.Linear(3, 5), fb.BatchNorm(), fb.Linear(5, 2), dtype="float64", seed=0, backend=backend)
    if error is fb.DivergenceError:
        net = fb.Sequential(fb.Linear(3, 2), dtype="float64", seed=0, backend=backend)
    net.loss_and_grad(X, y, fb.MSE())
    spoil(net, X, w)
    before, gradient = net.state_dict(), net.grads.flat.copy()
    with pytest.raises(error, match=message):
        fb.fit_lbfgs(net, X, y, fb.MSE(), sample_weight=w)
    assert all(np.array_equal(value, before[name], equal_nan=True) for name, value in net.state_dict().items())
    np.testing.assert_array_equal(net.grads.flat, gradient)


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_targets_are_named_and_running_statistics_stay(backend):
    net = fb.Sequential(fb.Linear(3, 2), fb.BatchNorm(), dtype="float64", seed=0, backend=backend)
    before = net.state_dict()
    with pytest.raises(fb.DivergenceError, match=r"y has values up to 1e\+200: standardise"):
        fb.fit_lbfgs(net, np.ones((60, 3)), np.full((60, 2), 1e200), fb.MSE())
    assert all(np.array_equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_loss_that_turns_nan_on_the_way_leaves_the_last_iteration():
    net, X, y = problem()
    accepted, calls = [net.params.flat.copy()], []

    def fading(y_pred, y):
        calls.append(0)
        e = y_pred - y[:, None]
        return (np.mean(e**2), 2 * e / e.size) if len(calls) < 8 else (np.nan, e)
    with pytest.raises(fb.DivergenceError, match="The network holds the parameters of the last iteration") as raised:
        fb.fit_lbfgs(net, X, np.stack([y, y], axis=1), lambda y_pred, y: fading(y_pred, y[:, 0]),
                     on_iteration=lambda *_: accepted.append(net.params.flat.copy()))
    assert len(accepted) == raised.value.epoch > 1
    np.testing.assert_array_equal(net.params.flat, accepted[-1])


def test_without_scipy(tmp_path):
    code = ("import sys; sys.modules['scipy'] = sys.modules['scipy.optimize'] = None\n"
            "import fastbp as fb\n"
            "net = fb.Sequential(fb.Linear(1, 1), backend='reference')\n"
            "try: fb.fit_lbfgs(net, [[1.0]], [1.0], fb.MSE())\n"
            "except ImportError as error: print(error)")
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, check=True, capture_output=True).stdout
    assert out == "fit_lbfgs needs SciPy; install it with: pip install 'fastbp[sklearn]'\n"
