"""What scikit-learn's checks let through: masked entries, dates as targets; NumPy's numbers as parameters of files."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import fastbp as fb

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
NUMBERS = X[:, 0] - X[:, 1]
LABELS = np.where(NUMBERS > 0, "a", "b")
QUICK = {"max_iter": 2, "n_folds": 2, "random_state": 0}


def network(kind):
    return kind([fb.Linear(3, 2 if kind is fb.NetworkClassifier else 1)], epochs=1, random_state=0)


ESTIMATORS = {
    "tabular classifier": lambda: fb.TabularClassifier(**QUICK),
    "tabular regressor": lambda: fb.TabularRegressor(**QUICK),
    "mlp classifier": lambda: fb.MLPClassifier((4,), solver="lbfgs", random_state=0),
    "mlp regressor": lambda: fb.MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", random_state=0),
    "network classifier": lambda: network(fb.NetworkClassifier),
    "network regressor": lambda: network(fb.NetworkRegressor),
}
EVERY = pytest.mark.parametrize("name", ESTIMATORS)


def target(name):
    return LABELS if name.endswith("classifier") else NUMBERS


@EVERY
def test_targets_that_are_masked_are_named(name):
    y = np.ma.MaskedArray(target(name), np.arange(60) == 3)
    with pytest.raises(ValueError, match="y is a masked array with 1 values left out"):
        ESTIMATORS[name]().fit(X, y)
    estimator = ESTIMATORS[name]().fit(X, np.ma.MaskedArray(target(name), False))
    np.testing.assert_array_equal(estimator.predict(X), ESTIMATORS[name]().fit(X, target(name)).predict(X))


@EVERY
def test_rows_that_are_masked_are_missing_or_named(name):
    masked, gaps = np.ma.MaskedArray(X, X > 1), np.where(X > 1, np.nan, X)
    if name.startswith("tabular"):
        a, b = (ESTIMATORS[name]().fit(x, target(name)).predict(x) for x in (masked, gaps))
        np.testing.assert_array_equal(a, b)
        return
    with pytest.raises(ValueError, match="X is a masked array with"):
        ESTIMATORS[name]().fit(masked, target(name))
    with pytest.raises(ValueError, match="X is a masked array with"):
        ESTIMATORS[name]().fit(X, target(name)).predict(masked)


def test_scalers_and_bins_take_masked_numbers_for_gaps():
    masked, gaps = np.ma.MaskedArray(X, X > 1), np.where(X > 1, np.nan, X)
    for make in (fb.RobustSmoothScaler, fb.QuantileBins):
        np.testing.assert_array_equal(make().fit_transform(masked), make().fit_transform(gaps))


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n.endswith("regressor")])
@pytest.mark.parametrize(("kind", "what"), [("datetime64[D]", "dates"), ("timedelta64[h]", "durations")])
def test_times_are_no_numbers_to_predict(name, kind, what):
    with pytest.raises(ValueError, match=f"y has {what}; expected numbers"):
        ESTIMATORS[name]().fit(X, np.arange(60).astype(kind))


CLASSIFIERS = pytest.mark.parametrize("name", [n for n in ESTIMATORS if n.endswith("classifier")])
REGRESSORS = pytest.mark.parametrize("name", [n for n in ESTIMATORS if n.endswith("regressor")])


@CLASSIFIERS
@pytest.mark.parametrize("labels", [[True, False], [3, 7]])
@pytest.mark.parametrize("holder", ["object", "boolean", "Int64"])
def test_labels_are_what_they_were_before_pandas_held_them(name, labels, holder):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    y = np.where(NUMBERS > 0, *labels)
    if holder != "object" and (holder == "boolean") != (y.dtype == bool):
        pytest.skip("not held this way")
    plain, held = (ESTIMATORS[name]().fit(X, t) for t in (y, pandas.Series(y).astype(holder)))
    assert held.classes_.dtype == y.dtype
    np.testing.assert_array_equal(held.predict(X), plain.predict(X))


@CLASSIFIERS
@pytest.mark.parametrize("missing", [None, float("nan")])
def test_labels_that_are_missing_are_named(name, missing):
    y = LABELS.astype(object)
    y[4] = missing
    with pytest.raises(ValueError, match="y has missing labels"):
        ESTIMATORS[name]().fit(X, y)


@REGRESSORS
def test_text_is_predicted_where_it_spells_numbers(name):
    given = ESTIMATORS[name]().fit(X, NUMBERS.round(3).astype(str))
    np.testing.assert_array_equal(given.predict(X), ESTIMATORS[name]().fit(X, NUMBERS.round(3)).predict(X))
    with pytest.raises(ValueError, match=r"y has .* such as '[ab]'; expected numbers"):
        ESTIMATORS[name]().fit(X, LABELS)


@REGRESSORS
def test_complex_numbers_are_refused(name):
    with pytest.raises(ValueError, match="Complex data not supported"):
        ESTIMATORS[name]().fit(X, NUMBERS + 1j)


@pytest.mark.parametrize(("make", "given"), [
    (lambda **given: fb.TabularRegressor(**{**QUICK, **given}),
     {"n_members": np.int64(2), "n_folds": np.int32(3), "dropout": np.float32(0.25), "weight_decay": np.float64(0.5),
      "monotonic": {"x0": np.int64(1)}, "hidden_layer_sizes": (np.int64(8),)}),
    (lambda **given: fb.TabularClassifier(**{**QUICK, **given}), {"class_weight": {"a": 2, "b": np.float64(3)}}),
    (fb.MLPClassifier, {"alpha": np.float64(0.1), "hidden_layer_sizes": (np.int64(4),),
                        "max_fun": np.int32(9999), "random_state": np.int64(0),
                        "solver": "lbfgs"}),
], ids=["tabular regressor", "tabular classifier", "mlp"])
def test_parameters_of_a_search_are_kept_in_files(make, given, tmp_path):
    estimator = make(**given)
    estimator.fit(X, target("regressor" if "n_members" in given else "classifier"))
    estimator.save(tmp_path / "a.safetensors")
    loaded = fb.load(tmp_path / "a.safetensors")
    assert {name: loaded.get_params()[name] for name in given} == given
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X))


def test_widths_in_the_place_of_the_loss_are_understood():
    with pytest.raises(TypeError, match=r"loss is \(8,\).*write hidden_layer_sizes=\(8,\)"):
        fb.MLPRegressor((8,)).fit(X, NUMBERS)


def test_a_fit_that_no_iteration_betters_has_a_loss():
    reg = fb.MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", random_state=0)
    with pytest.warns(UserWarning, match="the targets are large|failed to converge"):
        reg.fit(X, X[:, 0] * 1e60)
    assert reg.n_iter_ == 0
    assert np.isfinite(reg.loss_)
