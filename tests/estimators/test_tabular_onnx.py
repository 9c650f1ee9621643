"""Estimators for tables as ONNX files: ONNX Runtime predicts what they predict, from the columns as they are."""

import numpy as np
import pytest

import fastbp as fb

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from conftest import backends  # noqa: E402

if backends()[-1] != "native":
    pytest.skip("networks for tables are trained by the native backend", allow_module_level=True)

SMALL = {"max_iter": 6, "n_folds": 2, "hidden_layer_sizes": (16,), "random_state": 0}
MICROSECONDS_A_DAY = 86_400e6


def frame(rows=300, seed=0):
    """Every kind of column, with gaps in each."""
    rng = np.random.default_rng(seed)
    minutes = rng.integers(-40_000_000, 40_000_000, rows)      # from 1893 to 2046
    X = pd.DataFrame({
        "size": rng.normal(size=rows), "count": rng.integers(0, 5, rows), "rare": rng.exponential(size=rows) ** 4,
        "kind": pd.Categorical(rng.choice(list("xyz"), rows)), "yes": rng.random(rows) < 0.3,
        "street": rng.choice([f"s{i}" for i in range(30)], rows).astype(object),
        "two": rng.choice(["a", "b"], rows, p=[0.8, 0.2]).astype(object), "same": 1.0,
        "day": np.datetime64("1970-01-01") + minutes.astype("timedelta64[m]")})
    y = X["size"] + (X["kind"] == "x") - X["yes"] + 0.3 * X["count"] + X["day"].dt.month / 6
    for name in ("size", "kind", "street", "day"):
        X.loc[rng.random(rows) < 0.1, name] = None
    return X, y.to_numpy()


def run(path, X):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {}
    for given in session.get_inputs():
        if given.type == "tensor(string)":
            column = X[given.name].astype(object)
            feeds[given.name] = np.array(column.where(column.notna(), "").astype(str).tolist(), object)[:, None]
            continue
        column = X.get(given.name, X)
        values = column.to_numpy()
        if values.dtype.kind == "M":
            missing, values = np.isnat(values), values.astype("datetime64[us]").astype(np.int64) / MICROSECONDS_A_DAY
            values[missing] = np.nan
        feeds[given.name] = values.astype(np.float64).reshape(len(X), -1)
    return session.run(None, feeds)


@pytest.fixture(scope="module")
def table():
    return frame()


@pytest.mark.parametrize("parameters", [{}, {"n_members": 3}, {"numeric_embedding": "none"}, {"category_embedding": 0}])
def test_numbers_are_those_of_the_estimator(table, tmp_path, parameters):
    X, y = table
    model = fb.TabularRegressor(**SMALL, **parameters).fit(X, 1e5 * y)
    model.to_onnx(tmp_path / "m.onnx")
    new = frame(200, seed=1)[0].astype({"kind": object})
    new["kind"], new["street"] = new["kind"].replace("z", "other"), new["street"].replace("s3", "elsewhere")
    new.loc[3, "size"], new.loc[4, "size"] = 1e300, -1e12
    for rows in (X, new):
        (found,) = run(tmp_path / "m.onnx", rows)
        np.testing.assert_allclose(found, model.predict(rows), rtol=1e-4, atol=1)


@pytest.mark.parametrize(("labels", "parameters"), [
    (["a", "b", "c"], {}), ([3, 7], {"label_smoothing": 0.3}), ([True, False], {"scoring": "accuracy"})])
def test_probabilities_are_those_of_the_estimator(table, tmp_path, labels, parameters):
    X, y = table
    target = np.array(labels)[np.digitize(y, np.quantile(y, np.linspace(0, 1, len(labels) + 1)[1:-1]))]
    model = fb.TabularClassifier(**SMALL, **parameters).fit(X, target)
    model.to_onnx(tmp_path / "m.onnx")
    label, p = run(tmp_path / "m.onnx", X)
    np.testing.assert_allclose(p, model.predict_proba(X), atol=1e-5)
    np.testing.assert_array_equal(label, model.predict(X))


def test_an_array_is_one_input(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    X[::7, 2] = np.nan
    X[:, 3] = 5
    model = fb.TabularClassifier(**SMALL).fit(X, X[:, 0] > 0)
    model.to_onnx(tmp_path / "m.onnx")
    session = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("X", ["batch", 4])]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("label", ["batch"]), ("probabilities", ["batch", 2])]
    np.testing.assert_allclose(session.run(None, {"X": X})[1], model.predict_proba(X), atol=1e-5)


def test_what_has_no_use_of_columns_is_no_file(tmp_path):
    model = fb.TabularRegressor(**SMALL).fit(np.zeros((20, 1)), np.arange(20.0))
    with pytest.raises(ValueError, match="no column is in use"):
        model.to_onnx(tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
