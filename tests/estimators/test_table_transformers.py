"""Robust scaling and quantile bins as transformers: scikit-learn's contract, their formulas, and use before layers."""

import numpy as np
import pytest

import fastbp as fb

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from sklearn.preprocessing import RobustScaler
from sklearn.utils.estimator_checks import parametrize_with_checks


@parametrize_with_checks([fb.RobustSmoothScaler(), fb.RobustSmoothScaler(add_indicator=True), fb.QuantileBins(4)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)
    X = rng.exponential(size=(400, 3)) ** 2
    X[rng.random(X.shape) < 0.1] = np.nan
    return X


def test_scaling_is_scikit_learns_and_then_clipped(numbers):
    s = RobustScaler().fit_transform(numbers)
    np.testing.assert_allclose(fb.RobustSmoothScaler().fit_transform(numbers), s / np.sqrt(1 + (s / 3) ** 2))


def test_missing_numbers_have_columns_of_their_own(numbers):
    numbers[:, 1] = 7.0
    scaler = fb.RobustSmoothScaler(add_indicator=True).fit(numbers)
    found = scaler.transform(numbers)
    np.testing.assert_array_equal(found[:, 3:], np.isnan(numbers[:, [0, 2]]))
    assert not found[:, 1].any()
    assert not found[:, :3][np.isnan(numbers)].any()
    assert scaler.get_feature_names_out().tolist() == ["x0", "x1", "x2", "missingindicator_x0", "missingindicator_x2"]


def test_columns_that_are_mostly_0_are_scaled_by_their_range():
    X = np.zeros((100, 1))
    X[:10, 0] = 8.0
    np.testing.assert_allclose(fb.RobustSmoothScaler().fit_transform(X)[[0, 50], 0], [2 / np.sqrt(1 + 4 / 9), 0])


def test_bins_hold_rows_and_values_in_equal_parts():
    X = np.concatenate([np.zeros(900), np.arange(1, 101)])[:, None].astype(float)
    bins = fb.QuantileBins(20).fit(X)
    edges = bins.edges_[0]
    assert 10 <= len(edges) <= 21
    assert edges[0] == 0
    assert edges[-1] == 100
    assert np.diff(edges).max() < 15
    place = bins.transform(X)[:, 0]
    np.testing.assert_allclose(np.interp(place, np.arange(len(edges)), edges), X[:, 0], atol=1e-9)
    assert bins.transform([[-5.0], [1e9], [np.nan]])[:2, 0].tolist() == [0, len(edges) - 1]
    with pytest.raises(ValueError, match="bins is 0; expected a positive integer"):
        fb.QuantileBins(0).fit(X)


def test_layers_take_the_places():
    """A step, which a linear layer could not learn."""
    X = np.random.default_rng(0).uniform(-1, 1, (500, 1))
    y = np.where(X > 0.3, 2.0, -1.0)        # of variance 2; the best line leaves 0.6 of it
    bins = fb.QuantileBins(32).fit(X)
    net = fb.Sequential(fb.Input(1), fb.PiecewiseLinear(32, 4, weight_init=fb.Normal(std=0.1)), fb.Linear(None, 1),
                        seed=0)
    fb.Trainer(net, fb.MSE(), fb.Adam(0.03)).fit(bins.transform(X), y, epochs=60, batch_size=50, progress=False)
    assert np.mean((net.predict(bins.transform(X)) - y) ** 2) < 0.1


def test_bins_resolve_long_tails():
    X = np.exp(2 * np.random.default_rng(0).normal(size=(2000, 1)))
    edges = fb.QuantileBins(48).fit(X).edges_[0]
    quantiles = np.quantile(X, np.linspace(0, 1, 49))
    assert np.diff(edges).max() < np.diff(quantiles).max() / 2
    assert (edges[0], edges[-1]) == (X.min(), X.max())


@pytest.mark.parametrize("far", [1e308, -1e308, 5e-324])
def test_bins_take_numbers_of_any_size(far):
    X = np.concatenate([np.random.default_rng(0).normal(size=900), [far]])[:, None]
    edges = fb.QuantileBins(48).fit(X).edges_[0]
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()
