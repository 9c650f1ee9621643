"""Estimators that are saved, written as ONNX, scored otherwise, and given large targets."""

import warnings

import numpy as np
import pytest

import fastbp as fb

pytest.importorskip("sklearn")
from sklearn.metrics import r2_score
from sklearn.preprocessing import MinMaxScaler, StandardScaler

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
LABELS = {"two": np.where(X[:, 0] > 0, "yes", "no"), "three": np.digitize(X[:, 1], [-0.5, 0.5]) + 4,
          "several": (X[:, :3] > 0).astype(int), "bool": X[:, 0] > 0,
          "object": np.where(X[:, 0] > 0, "a", "b").astype(object)}
QUICK = {"max_iter": 3, "random_state": 0, "n_iter_no_change": 1, "tol": 1e9}


def classifier(y, **options):
    return fb.MLPClassifier((6,), **{**QUICK, **options}).fit(X, y)


def regressor(y, **options):
    return fb.MLPRegressor(hidden_layer_sizes=(6,), **{**QUICK, **options}).fit(X, y)


@pytest.mark.parametrize("kind", LABELS)
def test_a_saved_classifier_predicts_the_same(kind, tmp_path):
    clf = classifier(LABELS[kind], activation="tanh", layer_norm=True)
    clf.save(tmp_path / "clf")
    loaded = fb.load(tmp_path / "clf")
    assert type(loaded) is fb.MLPClassifier
    assert loaded.get_params() == clf.get_params()
    assert np.array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    assert np.array_equal(loaded.predict(X), clf.predict(X))
    assert loaded.classes_.dtype == clf.classes_.dtype
    assert loaded.score(X, LABELS[kind]) == clf.score(X, LABELS[kind])
    assert loaded.fit(X, LABELS[kind]).n_iter_ == clf.n_iter_
    loaded.partial_fit(X, LABELS[kind])


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "gaussian", "quantile"])
@pytest.mark.parametrize("columns", [1, 2])
def test_a_saved_regressor_predicts_the_same(loss, columns, tmp_path):
    y = np.abs(X[:, 0]) if columns == 1 else np.abs(X[:, :2])
    reg = regressor(y, loss=loss, scale_targets=loss != "poisson")
    reg.save(tmp_path / "reg")
    loaded = fb.load(tmp_path / "reg")
    assert np.array_equal(loaded.predict(X), reg.predict(X))
    if loss == "gaussian":
        assert np.array_equal(loaded.predict(X, return_std=True)[1], reg.predict(X, return_std=True)[1])


def test_names_of_columns_are_saved(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    clf = fb.MLPClassifier((6,), **QUICK).fit(frame, LABELS["two"])
    clf.save(tmp_path / "clf")
    assert list(fb.load(tmp_path / "clf").feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        fb.load(tmp_path / "clf").predict(frame[["b", "a", "c", "d"]])


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    import json

    from fastbp.files.container import read, write
    clf = classifier(LABELS["three"])
    clf.save(tmp_path / "clf")
    contents = read(tmp_path / "clf")
    for change in ({"classes": {"kind": "int", "values": [1, 2]}}, {"type": "Pipeline"}, {"features": 3}, {"units": 7},
                   {"parameters": {"alpha": {"a": [1]}, "beta": 1}}, {"activation": "tanh"}, {"multilabel": 1}):
        d = json.loads(json.dumps(contents.description))
        d["mlp"] |= change
        write(tmp_path / "bad", d, contents.tensors)
        with pytest.raises(fb.FormatError):
            fb.load(tmp_path / "bad")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["two", "three", "several"])
@pytest.mark.parametrize("scaler", [None, StandardScaler(), MinMaxScaler()], ids=["none", "standard", "minmax"])
def test_onnx_has_softmax_and_scaling(kind, dtype, scaler, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    raw = 5 * X + 3
    inside = raw if scaler is None else scaler.fit_transform(raw)
    clf = fb.MLPClassifier((6,), dtype=dtype, **QUICK).fit(inside, LABELS[kind])
    clf.to_onnx(tmp_path / "clf.onnx", scaler=scaler)
    session = onnxruntime.InferenceSession(tmp_path / "clf.onnx")
    (found,) = session.run(["probabilities"], {"X": raw.astype(dtype)})
    assert found.dtype == dtype
    np.testing.assert_allclose(found, clf.predict_proba(inside), atol=1e-5 if dtype == "float32" else 1e-12)
    with pytest.raises(TypeError, match="to_onnx: scaler is 3; expected a fitted StandardScaler"):
        clf.to_onnx(tmp_path / "clf.onnx", scaler=3)


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "gaussian"])
def test_onnx_has_the_targets_of_a_regressor(loss, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    reg = regressor(np.abs(X[:, :2]) * 50, loss=loss, scale_targets=loss != "poisson")
    reg.to_onnx(tmp_path / "reg.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "reg.onnx")
    (found,) = session.run(["prediction"], {"X": X})
    np.testing.assert_allclose(found, reg.predict(X), rtol=1e-9)


def test_scaled_targets_train_at_any_scale():
    y = X @ [1.0, 2.0, -1.0, 0.5]
    options = {"max_iter": 60, "random_state": 0, "hidden_layer_sizes": (16,), "learning_rate_init": 0.01}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)
        small = fb.MLPRegressor(scale_targets=True, **options).fit(X, y)
        large = fb.MLPRegressor(scale_targets=True, **options).fit(X, 1e6 * y + 3e6)
    assert small.score(X, y) > 0.95
    np.testing.assert_allclose(large.predict(X), 1e6 * small.predict(X) + 3e6, rtol=1e-3, atol=1e4)
    assert large.score(X, 1e6 * y + 3e6) == pytest.approx(r2_score(1e6 * y + 3e6, large.predict(X)))
    with pytest.raises(ValueError, match='scale_targets is True with loss "poisson"'):
        regressor(np.abs(y), loss="poisson", scale_targets=True)


def test_large_targets_that_are_not_learnt_are_warned_of():
    y = 1e6 * X[:, 0]
    with pytest.warns(UserWarning, match="the targets are large.*scale_targets=True"):
        regressor(y)
    regressor(X[:, 0])


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("scoring", ["log_loss", "roc_auc", "f1", "accuracy", None])
@pytest.mark.parametrize("kind", ["two", "three"])
def test_early_stopping_by_another_score(scoring, kind):
    from sklearn import metrics
    held = X[:40], LABELS[kind][:40]
    clf = fb.MLPClassifier((6,), early_stopping=True, scoring=scoring, max_iter=2, random_state=0, n_iter_no_change=1,
                           tol=1e9).fit(X[40:], LABELS[kind][40:], validation_data=held)
    p = clf.predict_proba(held[0])
    if scoring == "log_loss":
        expected = -metrics.log_loss(held[1], p)
    elif scoring == "roc_auc":
        expected = metrics.roc_auc_score(held[1], p[:, 1] if kind == "two" else p, multi_class="ovr")
    elif scoring == "f1":
        options = {"pos_label": "yes"} if kind == "two" else {"average": "macro"}
        expected = metrics.f1_score(held[1], clf.predict(held[0]), **options)
    else:
        expected = clf.score(*held)
    assert clf.best_validation_score_ == max(clf.validation_scores_)
    assert clf.best_validation_score_ == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="MLPClassifier: scoring is 'auc'; expected one of None, 'accuracy'"):
        classifier(LABELS["two"], scoring="auc")


def test_weights_may_be_assigned():
    clf, other = classifier(LABELS["three"]), classifier(LABELS["three"], random_state=1)
    assert not np.array_equal(clf.predict_proba(X), other.predict_proba(X))
    other.coefs_, other.intercepts_ = clf.coefs_, clf.intercepts_
    assert np.array_equal(clf.predict_proba(X), other.predict_proba(X))
    with pytest.raises(ValueError, match=r"coefs_: got arrays of shapes \[\(4, 6\)\]; expected"):
        clf.coefs_ = clf.coefs_[:1]


def test_divergence_is_a_value_error():
    assert issubclass(fb.DivergenceError, ValueError)
    assert issubclass(fb.DivergenceError, ArithmeticError)


def test_a_warm_start_with_other_classes_raises():
    clf = classifier(LABELS["three"], warm_start=True)
    with pytest.raises(ValueError, match="classes"):
        clf.fit(X, LABELS["three"] + 1)
