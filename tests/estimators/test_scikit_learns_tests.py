"""scikit-learn's own tests of its MLP, as the installed version has them, with only the classes exchanged."""

from __future__ import annotations

import importlib.util
from types import FunctionType, ModuleType

import numpy as np
import pytest

from fastbp import MLPClassifier, MLPRegressor

neural_network = pytest.importorskip("sklearn.neural_network")
pytestmark = pytest.mark.filterwarnings("default")

LEFT_OUT = {
    "test_fit": "sets up a network by private attributes; test_a_worked_example has its numbers",
    "test_gradient": "calls the private _unpack and _loss_grad_lbfgs; gradients are checked by central differences",
    "test_learning_rate_warmstart": "reads the private _optimizer; test_warm_start_is_scikit_learns compares networks",
    "test_adaptive_learning_rate": "reads the private _optimizer; test_an_adaptive_rate_ends_training has the rest",
    "test_predict_proba_multilabel": "wants the logarithm of rounded probabilities; ours is that of the exact ones",
    "test_nonfinite_params": "wants scikit-learn's sentence; test_numbers_that_are_too_large_raise_value_error",
    "test_minimum_input_sample_size": "wants scikit-learn's sentence; test_a_validation_set_that_is_too_small",
    "test_early_stopping_stratified": "wants scikit-learn's sentence; test_a_validation_set_that_is_too_small",
    "test_mlp_partial_fit_after_fit": "wants partial_fit to refuse early_stopping, which fastbp's does: "
                                      "test_partial_fit_stops_early_with_the_best_weights",
    "test_mlp_diverging_loss": "wants NaN without a word; test_divergence_is_a_value_error",
}


def with_classes_exchanged() -> ModuleType:
    """Return the module of scikit-learn's tests, made once more with fastbp's classes."""
    spec = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    if spec is None or spec.loader is None:
        pytest.skip("this scikit-learn comes without its tests", allow_module_level=True)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural_network, "MLPClassifier", MLPClassifier)
        patch.setattr(neural_network, "MLPRegressor", MLPRegressor)
        spec.loader.exec_module(module)
    return module


theirs = with_classes_exchanged()
FOUND = [name for name, value in vars(theirs).items() if name.startswith("test_") and isinstance(value, FunctionType)]
for _name in FOUND:
    if _name not in LEFT_OUT:
        globals()[f"{_name}_of_scikit_learn"] = getattr(theirs, _name)


@pytest.fixture
def global_random_seed():
    """What scikit-learn's own fixture is without its environment variable."""
    return 42


def test_they_test_our_classes():
    assert (theirs.MLPClassifier, theirs.MLPRegressor) == (MLPClassifier, MLPRegressor)
    assert len(FOUND) - len(LEFT_OUT) >= 30


def test_a_worked_example():
    X, y = np.array([[0.6, 0.8, 0.7]]), np.array([0])
    model = MLPClassifier(solver="sgd", learning_rate_init=0.1, alpha=0.1, activation="logistic", random_state=1,
                          max_iter=1, hidden_layer_sizes=2, momentum=0)
    model.partial_fit(X, y, classes=[0, 1])
    model.coefs_ = [np.array([[0.1, 0.2], [0.3, 0.1], [0.5, 0]]), np.array([[0.1], [0.2]])]
    model.intercepts_ = [np.array([0.1, 0.1]), np.array([1.0])]
    model.partial_fit(X, y)
    h = 1 / (1 + np.exp([-0.75, -0.3]))
    slope = 1 / (1 + np.exp(-(h @ [0.1, 0.2] + 1)))
    back = (1 - h) * h * slope * [0.1, 0.2]
    first, second = np.array([[0.1, 0.2], [0.3, 0.1], [0.5, 0]]), np.array([0.1, 0.2])
    np.testing.assert_allclose(model.coefs_[0], first - 0.1 * (np.outer(X, back) + 0.1 * first), rtol=1e-10)
    np.testing.assert_allclose(model.coefs_[1][:, 0], second - 0.1 * (h * slope + 0.1 * second), rtol=1e-10)
    np.testing.assert_allclose(model.intercepts_[0], 0.1 - 0.1 * back, rtol=1e-10)
    np.testing.assert_allclose(model.intercepts_[1], 1 - 0.1 * slope, rtol=1e-10)
    assert model.predict_proba(X)[0, 1] == pytest.approx(0.739, abs=5e-4)


def test_logarithms_of_probabilities_of_several_labels():
    X, Y = theirs.make_multilabel_classification(n_samples=50, random_state=0, return_indicator=True)
    model = MLPClassifier(solver="lbfgs", hidden_layer_sizes=30, random_state=0).fit(X, Y)
    proba, logs = model.predict_proba(X), model.predict_log_proba(X)
    np.testing.assert_array_equal(proba > 0.5, Y)
    assert np.abs(proba.sum(axis=1) - 1).max() > 1e-5
    np.testing.assert_allclose(np.exp(logs), proba, rtol=1e-10)


def test_an_adaptive_rate_ends_training():
    model = MLPClassifier(tol=0.5, max_iter=3000, solver="sgd", learning_rate="adaptive").fit([[3, 2], [1, 6]], [1, 0])
    assert model.n_iter_ < 3000


def test_numbers_that_are_too_large_raise_value_error():
    rng = np.random.RandomState(0)
    with pytest.raises(ValueError, match="not finite"):
        MLPRegressor().fit(np.finfo(np.float64).max * rng.uniform(size=(10, 2)), rng.standard_normal(10))


def test_divergence_is_a_value_error():
    X, y = theirs.X_iris, theirs.y_iris
    model = MLPRegressor(activation="identity", solver="sgd", learning_rate_init=1, max_iter=20, early_stopping=True,
                         random_state=0)
    with pytest.raises(ValueError, match=r"learning rate .* too high"):
        model.fit(X, y)


@pytest.mark.parametrize(("kind", "rows", "message"), [
    (MLPRegressor, 2, "the validation set has 1 of 2 rows, too few"),
    (MLPClassifier, 4, "cannot be split by validation_fraction, 0.1, so that both parts have some of each class")])
def test_a_validation_set_that_is_too_small(kind, rows, message):
    y = [0, 0, 0, 1] if kind is MLPClassifier else [0.5, 1.5]
    with pytest.raises(ValueError, match=message):
        kind(early_stopping=True, random_state=0).fit(np.arange(2.0 * rows).reshape(rows, 2), y)
