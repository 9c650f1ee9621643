"""Temperatures against those of scikit-learn, and probabilities that smoothed labels would have left too timid."""

import numpy as np
import pytest

import fastbp as fb

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from conftest import backends
from sklearn.metrics import log_loss

from fastbp.estimators.tabular.calibration import cooled, temperature_of
from fastbp.estimators.tabular.tabular_classifier import softmax


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_found(temperature):
    """Labels are drawn by probabilities at one temperature, and given at 1."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(50_000, 4)) * 2
    true = softmax(z / temperature)
    labels = (true.cumsum(axis=1) > rng.random((len(z), 1))).argmax(axis=1)
    assert temperature_of(softmax(z), labels) == pytest.approx(temperature, rel=0.03)
    weights = np.where(np.arange(len(z)) < 30_000, 5.0, 0.0)
    labels[30_000:] = 0
    assert temperature_of(softmax(z), labels, weights) == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(cooled(softmax(z), temperature), true, rtol=1e-6, atol=1e-9)


def test_few_rows_change_little():
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert 0.8 < temperature_of(p, np.array([0, 1])) < 1
    certain = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert np.isfinite(temperature_of(certain, np.array([1, 0])))
    np.testing.assert_allclose(cooled(certain, 0.5), certain, atol=1e-20)


@pytest.mark.skipif(backends()[-1] != "native", reason="networks for tables are trained by the native backend")
@pytest.mark.parametrize("parameters", [{"label_smoothing": 0.3}, {"scoring": "roc_auc"}])
def test_smoothed_labels_are_made_good(parameters):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1200, 4))
    y = X[:, 0] + 0.3 * rng.normal(size=1200) > 0
    fitted = {c: fb.TabularClassifier(max_iter=16, n_folds=3, hidden_layer_sizes=(32,), random_state=0, calibration=c,
                                      **parameters).fit(X[:600], y[:600]) for c in ("auto", None, "temperature")}
    losses = {c: log_loss(y[600:], m.predict_proba(X[600:])) for c, m in fitted.items()}
    assert losses["auto"] == losses["temperature"]
    assert losses["auto"] < losses[None] - (0.02 if "label_smoothing" in parameters else -0.01)
    assert fitted[None].temperature_ == 1
    plain = fb.TabularClassifier(max_iter=2, n_folds=2, label_smoothing=0, random_state=0).fit(X[:100], y[:100])
    assert plain.temperature_ == 1
    with pytest.raises(ValueError, match="calibration is 'platt'; expected one of 'auto', 'temperature', None"):
        fb.TabularClassifier(calibration="platt").fit(X, y)
