"""Estimators for tables as files: what is written is read, and what is altered is refused by name."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

import fastbp as fb

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")
from conftest import backends
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastbp.core.errors import FormatError
from fastbp.estimators.tabular.model_loading import load_estimator
from fastbp.files import container

if backends()[-1] != "native":
    pytest.skip("networks for tables are trained by the native backend", allow_module_level=True)

SMALL = {"max_iter": 4, "n_folds": 2, "hidden_layer_sizes": (8,), "random_state": 0}


def table(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    return {"size": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
            "kind": rng.choice(["x", "y"], rows).tolist(), "street": [f"s{i}" for i in rng.integers(0, 20, rows)],
            "day": np.datetime64("2020-01-01T03", "h") + rng.integers(0, 9000, rows)}


@pytest.fixture(scope="module")
def models():
    X = table()
    y = np.nan_to_num(X["size"]) + np.array([k == "x" for k in X["kind"]])
    return {"classes": fb.TabularClassifier(**SMALL, n_members=2, calibration="temperature").fit(X, y > 0.5),
            "numbers": fb.TabularRegressor(**SMALL).fit(X, y)}


@pytest.mark.parametrize("name", ["classes", "numbers"])
def test_what_is_written_is_read(models, tmp_path, name):
    model, path = models[name], tmp_path / "m.safetensors"
    model.save(path)
    for read in (type(model).load(path), load_estimator(path), fb.load(path)):
        assert repr(read) == repr(model)
        np.testing.assert_array_equal(read.predict(table(seed=1)), model.predict(table(seed=1)))
        for attribute in ("epochs_", "scores_", "n_iter_", "column_kinds_", "n_features_in_", "target_name_"):
            assert getattr(read, attribute) == getattr(model, attribute)
        assert read.explain_row(table(1)).output == model.explain_row(table(1)).output
        read.save(tmp_path / "again.safetensors")
        assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    other = fb.TabularRegressor if name == "classes" else fb.TabularClassifier
    with pytest.raises(FormatError, match=rf"kind is '{type(model).__name__}'; expected '{other.__name__}'"):
        other.load(path)


@pytest.mark.parametrize("labels", [["a", "bb"], [3, 10**17], [True, False], [np.int8(1), np.int8(2)], ["01", "1"]])
def test_labels_keep_their_type(tmp_path, labels):
    y = np.array(labels * 20)
    model = fb.TabularClassifier(**SMALL).fit({"x": np.arange(40.0)}, y)
    model.save(tmp_path / "m.safetensors")
    read = fb.TabularClassifier.load(tmp_path / "m.safetensors")
    assert read.classes_.dtype == model.classes_.dtype
    assert read.classes_.tolist() == sorted(set(y.tolist()))


def test_arrays_without_names(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = fb.TabularRegressor(**SMALL).fit(X, X[:, 0])
    model.save(tmp_path / "m.safetensors")
    read = fb.TabularRegressor.load(tmp_path / "m.safetensors")
    assert not hasattr(read, "feature_names_in_")
    np.testing.assert_array_equal(read.predict(X), model.predict(X))


# ---- what is altered -------------------------------------------------------------------------------------------------


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Return where everything in a description is."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(value, dict) or key < 3:
            found += places(inner, (*path, key))
    return found


def put(value: Any, path: tuple, new: Any) -> Any:
    value = copy.deepcopy(value)
    at = value
    for key in path[:-1]:
        at = at[key]
    if new is DELETED:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return value


DELETED = object()
JUNK = [None, True, -1, 0, 1, 3, 2**62, 10**400, 1e308, -0.5, float("nan"), float("inf"), "", "x", "category", "number",
        "S1", "M8[s]", [], [[]], [None], ["x"], [1.0, 0.0], {}, {"type": "number"}]


@pytest.fixture(scope="module")
def written(models, tmp_path_factory):
    found = {}
    for name, model in models.items():
        path = tmp_path_factory.mktemp("written") / f"{name}.safetensors"
        model.save(path)
        contents = container.read(path)
        found[name] = contents.description["tabular"], contents.tensors
    return found


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_made_up_models_are_refused_or_predict(written, tmp_path_factory, data):
    """Whatever a description says, with a fitting digest: FormatError, or predictions of the right shape."""
    name = data.draw(st.sampled_from(sorted(written)))
    description, tensors = written[name]
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(description)[1:]))
        new = data.draw(st.sampled_from([DELETED, *JUNK]))
        description = put(description, path, new)
    at = tmp_path_factory.getbasetemp() / "made-up.safetensors"
    try:
        json.dumps(description)
        container.write(at, {"tabular": description}, tensors)
    except (ValueError, OverflowError):
        return
    try:
        model = load_estimator(at)
    except FormatError:
        return
    X = table(5, seed=2)
    try:
        assert len(model.predict(X)) == 5
        model.save(at)
    except ValueError as error:     # of the table: a column that the model wants is of another name or kind
        assert type(error) in (ValueError, FormatError)  # noqa: PT017  others would be raised


def test_arrays_that_do_not_fit_are_refused(written, tmp_path):
    description, tensors = written["numbers"]
    path = tmp_path / "m.safetensors"
    for altered, message in (({}, "the file has nothing for its parameters"),
                             ({"fold0": tensors["fold0"][:, 1:]}, "expected float32 of shape"),
                             ({"fold0": tensors["fold0"].astype(np.float64)}, "dtype float64"),
                             ({"fold0": np.full_like(tensors["fold0"], np.nan)}, "not all finite")):
        kept = {k: v for k, v in tensors.items() if k != "fold0"}
        container.write(path, {"tabular": description}, {**kept, **altered})
        with pytest.raises(FormatError, match=message):
            load_estimator(path)


def test_what_networks_are_loaded_with_is_refused(models, tmp_path):
    models["numbers"].save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="holds no network, but an estimator; expected the path alone"):
        fb.load(tmp_path / "m.safetensors", backend="reference")
