"""Monotone columns: along them no prediction turns back, whatever the other columns hold, and the net still learns."""

import numpy as np
import pytest

import fastbp as fb

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")
from conftest import backends  # noqa: E402

if backends()[-1] != "native":
    pytest.skip("networks for tables are trained by the native backend", allow_module_level=True)

SMALL = {"max_iter": 16, "n_folds": 3, "hidden_layer_sizes": (32, 32), "random_state": 0}


def table(rows=600, seed=0):
    """What rises with a, falls with b, and goes up and down with c, in one way or another by kind."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.exponential(size=rows), "c": rng.uniform(-3, 3, rows),
                      "kind": rng.choice([f"k{i}" for i in range(12)], rows), "d": rng.normal(size=rows)})
    X.loc[rng.random(rows) < 0.1, "a"] = np.nan
    swing = np.where(X["kind"].isin(["k0", "k1", "k2"]), 1.0, -1.0)
    y = 2 * np.tanh(X["a"].fillna(0)) - np.log1p(X["b"]) + swing * np.sin(X["c"])
    return X, (y + 0.5 * rng.normal(size=rows)).to_numpy()


def along(model, X, name, method="predict"):
    """Return predictions with one column going up, (rows, steps), far beyond what was trained on."""
    steps = np.concatenate([[-1e6], np.linspace(-4, 6, 60), [1e6]])
    rows = pd.concat([X.iloc[:40].assign(**{name: step}) for step in steps])
    found = getattr(model, method)(rows)
    return (found[:, 1] if found.ndim == 2 else found).reshape(len(steps), 40).T


@pytest.mark.parametrize("parameters", [
    {}, {"n_members": 4}, {"activation": "relu"}, {"numeric_embedding": "none"}, {"numeric_embedding": "periodic"},
    {"hidden_layer_sizes": ()}, {"hidden_layer_sizes": (1, 7)}, {"category_embedding": 0}])
def test_numbers_never_turn_back(parameters):
    X, y = table()
    model = fb.TabularRegressor(**{**SMALL, **parameters}, monotonic={"a": 1, "b": -1}).fit(X, y)
    assert np.diff(along(model, X, "a")).min() > -1e-5
    assert np.diff(along(model, X, "b")).max() < 1e-5
    against = fb.TabularRegressor(**{**SMALL, **parameters}, monotonic={"a": -1, "b": 1}).fit(X, y)
    assert np.diff(along(against, X, "a")).max() < 1e-5
    assert np.diff(along(against, X, "b")).min() > -1e-5


@pytest.mark.parametrize("signs", [[1, -1, 0, 0, 0], {"a": 1, "b": -1}])
def test_probabilities_never_turn_back(signs):
    X, y = table()
    model = fb.TabularClassifier(**SMALL, monotonic=signs).fit(X, np.where(y > 0, "yes", "no"))
    assert np.diff(along(model, X, "a", "predict_proba")).min() > -1e-6
    assert np.diff(along(model, X, "b", "predict_proba")).max() < 1e-6
    model.partial_fit(X[::-1], np.where(y > 0, "yes", "no")[::-1])
    assert np.diff(along(model, X, "a", "predict_proba")).min() > -1e-6


def test_as_much_is_learnt():
    """All but the noise, whose variance is 0.25; the other columns' ups and downs too."""
    X, y = table(3000)
    test, y_test = table(1000, seed=1)
    errors = [np.mean((fb.TabularRegressor(random_state=0, n_folds=3, monotonic=signs).fit(X, y).predict(test)
                       - y_test) ** 2) for signs in (None, {"a": 1, "b": -1})]
    assert max(errors) < 0.32
    assert errors[1] < 1.05 * errors[0]


def test_files_keep_it(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    X, y = table(200)
    model = fb.TabularRegressor(**SMALL, monotonic={"a": 1}).fit(X, y)
    model.save(tmp_path / "m.safetensors")
    read = fb.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(read.predict(X), model.predict(X))
    assert np.diff(along(read.partial_fit(X, -np.nan_to_num(X["a"])), X, "a")).min() > -1e-5
    assert "kind" in str(model.explain_row(X[:1]))


@pytest.mark.parametrize(("signs", "message"), [
    ({"z": 1}, "monotonic has 'z'; expected columns of X, which has 'a', 'b'"), ({"a": 2}, "monotonic has 2 for 'a'"),
    ({"kind": 1}, "monotonic has 'kind', a column of kind 'category'; expected a column of numbers"),
    ([1, 0], "monotonic has 2 entries; expected one for each of the 5 columns"), ({"a": True}, "has True for 'a'")])
def test_what_is_no_sign_is_named(signs, message):
    with pytest.raises(ValueError, match=message):
        fb.TabularRegressor(**SMALL, monotonic=signs).fit(*table(50))


def test_what_cannot_be_monotone_is_refused():
    X, y = table(50)
    with pytest.raises(ValueError, match="activation is 'mish', which falls in places; with monotonic expected one of"):
        fb.TabularRegressor(**SMALL, activation="mish", monotonic={"a": 1}).fit(X, y)
    with pytest.raises(ValueError, match="monotonic is given and y has 3 classes; expected two"):
        fb.TabularClassifier(**SMALL, monotonic={"a": 1}).fit(X, np.arange(50) % 3)
