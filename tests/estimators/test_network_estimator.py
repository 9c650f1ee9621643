"""Networks of one's own as scikit-learn estimators."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import fastbp as fb

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install scikit-learn")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def dense(x: Any, outputs: int, width: int = 8) -> list[fb.Layer]:
    return [fb.Linear(None, width), fb.Tanh(), fb.Linear(width, outputs)]


def convolutional(x: Any, outputs: int, channels: int = 8) -> Any:
    x = fb.MaxPool2d(2)(fb.ReLU()(fb.Conv2d(1, channels, 3, padding="same")(x)))
    return fb.Linear(None, outputs)(fb.Flatten()(x))


def recurrent(x: Any, outputs: int) -> Any:
    return fb.Linear(None, outputs)(fb.GRU(None, 8, return_sequences=False)(x))


def digits() -> tuple[Any, Any, Any, Any]:
    data = fb.datasets.load_digits()
    return data.x_train.reshape(-1, 8, 8, 1), data.y_train, data.x_test.reshape(-1, 8, 8, 1), data.y_test


def blobs(rng: np.random.Generator) -> tuple[Any, Any]:
    y = rng.integers(0, 3, 150)
    return rng.standard_normal((150, 4)) + 3 * np.eye(3, 4)[y], np.array(["a", "b", "c"])[y]


def test_images() -> None:
    x, y, x_test, y_test = digits()
    model = fb.NetworkClassifier(convolutional, optimizer=fb.Adam(3e-3), epochs=8, random_state=0).fit(x, y)
    assert model.score(x_test, y_test) > 0.93
    p = model.predict_proba(x_test)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert np.array_equal(model.classes_[p.argmax(axis=1)], model.predict(x_test))


def test_sequences_and_shapes_of_targets() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6, 1))
    y = x[:, :, 0].sum(axis=1)
    model = fb.NetworkRegressor(recurrent, optimizer=fb.Adam(0.02), epochs=40, random_state=0)
    assert model.fit(x, y).score(x, y) > 0.9
    assert model.predict(x).shape == (200,)
    assert model.fit(x, np.stack([y, -y], axis=1)).predict(x).shape == (200, 2)


def test_grid_search_finds_arguments_of_the_function() -> None:
    x, y = blobs(np.random.default_rng(0))
    model = fb.NetworkClassifier(dense, epochs=10, random_state=0, optimizer=fb.Adam(0.02))
    search = GridSearchCV(model, {"build__width": [1, 16], "batch_size": [16]}, cv=2).fit(x, y)
    assert search.best_params_["build__width"] == 16
    assert search.best_estimator_.network_.params["0.weight"].shape == (4, 16)
    assert cross_val_score(make_pipeline(StandardScaler(), model), x, y, cv=3).mean() > 0.9


def test_arguments_of_the_function_need_no_prefix() -> None:
    x, y = blobs(np.random.default_rng(0))
    model = fb.NetworkClassifier(dense, epochs=2, random_state=0, width=5)
    assert model.get_params()["width"] == 5
    assert clone(model).fit(x, y).network_.params["0.weight"].shape == (4, 5)
    search = GridSearchCV(model, {"width": [3, 4]}, cv=2).fit(x, y)
    assert search.best_estimator_.network_.params["0.weight"].shape[1] == search.best_params_["width"]


def test_a_last_row_may_be_left_out() -> None:
    x, y = blobs(np.random.default_rng(0))
    model = fb.NetworkClassifier([fb.Linear(4, 6), fb.BatchNorm(6), fb.Linear(6, 3)], epochs=2, batch_size=30)
    with pytest.raises(ValueError, match="drop_last=True"):
        model.fit(x[:121], y[:121])
    assert len(model.set_params(drop_last=True).fit(x[:121], y[:121]).history_["loss"]) == 2


def test_cloning_and_pickling() -> None:
    x, y = blobs(np.random.default_rng(0))
    model = fb.NetworkClassifier(dense, epochs=3, random_state=0, build__width=5)
    assert clone(model).get_params() == model.get_params()
    assert model.get_params()["build__width"] == 5
    model.fit(x, y)
    other = pickle.loads(pickle.dumps(model))
    assert np.array_equal(model.predict_proba(x), other.predict_proba(x))
    again = clone(model).fit(x, y)
    assert np.array_equal(model.predict_proba(x), again.predict_proba(x)), "the seed decides"


def test_logarithms_of_probabilities() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    model = fb.NetworkClassifier([fb.Linear(4, 3)], epochs=1, random_state=0).fit(X, y)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X), rtol=1e-5)
    assert np.isfinite(model.predict_log_proba(X * 1e6)).all()


def test_partial_fit_goes_on() -> None:
    x, y = blobs(np.random.default_rng(0))
    model = fb.NetworkClassifier(dense, random_state=0, optimizer=fb.Adam(0.02))
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(x, y)
    for _ in range(20):
        model.partial_fit(x, y, classes=["a", "b", "c"])
    assert model.score(x, y) > 0.9
    assert len(model.history_) == 20


def test_early_stopping_takes_the_best() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((80, 5)), rng.standard_normal(80)
    model = fb.NetworkRegressor(dense, optimizer=fb.Adam(0.05), epochs=200, early_stopping=True, patience=3,
                                random_state=0, build__width=32).fit(x, y)
    assert len(model.history_) < 200
    assert len(model.history_["val_loss"]) == len(model.history_)


BUILDS: dict[str, Any] = {
    "of x and outputs": dense,
    "a network": lambda x, outputs: fb.Network(x, fb.Linear(4, outputs)(x)),
    "a sequential": lambda x, outputs: fb.Sequential(fb.Linear(4, 8), fb.Tanh(), fb.Linear(8, outputs)),
    "of nothing": lambda: fb.Sequential(fb.Linear(4, 3), seed=0),
    "of what has a default": lambda width=8: [fb.Linear(4, width), fb.Linear(width, 3)],
    "layers": [fb.Linear(4, 8), fb.Tanh(), fb.Linear(8, 3)],
}


@pytest.mark.parametrize("name", BUILDS)
def test_what_builds_a_network(name: str) -> None:
    """Each fit makes it anew, from the seed."""
    x, y = blobs(np.random.default_rng(0))
    model = fb.NetworkClassifier(BUILDS[name], optimizer="adam", optimizer__lr=0.05, epochs=20, random_state=0)
    assert model.fit(x, y).score(x, y) > 0.8
    first = model.predict_proba(x)
    np.testing.assert_array_equal(model.fit(x, y).predict_proba(x), first)
    np.testing.assert_array_equal(clone(model).fit(x, y).predict_proba(x), first)
    assert not np.array_equal(model.set_params(random_state=1).fit(x, y).predict_proba(x), first)


def test_words_and_the_optimizers_arguments() -> None:
    x, y = blobs(np.random.default_rng(0))
    model = fb.NetworkClassifier(dense, loss="cross_entropy", epochs=3, random_state=0)
    search = GridSearchCV(model, {"optimizer__lr": [1e-4, 0.05], "optimizer": ["sgd", fb.Adam(weight_decay=0.1)]}, cv=2)
    assert search.fit(x, y).best_params_["optimizer__lr"] == 0.05
    made = clone(model).set_params(optimizer=fb.Adam(weight_decay=0.1), optimizer__lr=0.5).fit(x, y)._trainer.optimizer
    assert (made.lr(0), made.weight_decay) == (0.5, 0.1)
    with pytest.raises(TypeError, match="momentum"):
        fb.NetworkClassifier(dense, optimizer__momentum=0.9).fit(x, y)


def test_ids() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 30, (300, 5))
    model = fb.NetworkClassifier([fb.Embedding(30, 4, mode="mean"), fb.Linear(4, 2)], optimizer__lr=0.05, epochs=30,
                                 input_dtype="int64", random_state=0)
    assert model.fit(ids, (ids < 15).sum(axis=1) > 2).score(ids, (ids < 15).sum(axis=1) > 2) > 0.95


def test_outputs_that_are_more_than_targets() -> None:
    """Of a mean and a variance, say."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3))
    model = fb.NetworkRegressor(lambda x, outputs: [fb.Linear(3, 2 * outputs)], loss=fb.GaussianNLL(), random_state=0)
    assert model.fit(x, x[:, 0]).network_.predict(x).shape == (60, 2)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x, y: fb.NetworkClassifier(fb.Sequential(fb.Linear(4, 3))).fit(x, y), TypeError,
     "expected a function that makes a network"),
    (lambda x, y: fb.NetworkClassifier(lambda x: [fb.Linear(4, 5)]).fit(x, y), ValueError,
     r"shape \(B, 5\); expected \(B, 3\), a logit for each class"),
    (lambda x, y: fb.NetworkClassifier(dense, input_dtype="float16").fit(x, y), ValueError, "input_dtype is 'float16'"),
    (lambda x, y: fb.NetworkClassifier(BUILDS["layers"], build__width=3).fit(x, y), TypeError, "build__width is given"),
    (lambda x, y: fb.NetworkClassifier(dense, optimizer=fb.Adam).fit(x, y), TypeError, "is the class Adam"),
    (lambda x, y: fb.NetworkClassifier(dense, breadth=3), TypeError, "breadth= is no argument; .* build__breadth="),
    (lambda x, y: fb.NetworkClassifier(dense).set_params(breadth=3), ValueError, "Invalid parameter 'breadth'"),
    (lambda x, y: fb.NetworkClassifier(3).fit(x, y), TypeError, "build is 3; expected a function"),
    (lambda x, y: fb.NetworkClassifier(lambda x, n: 3).fit(x, y), TypeError, "build returned 3; expected a tensor"),
    (lambda x, y: fb.NetworkClassifier(dense, epochs=0).fit(x, y), ValueError, "epochs is 0"),
    (lambda x, y: fb.NetworkClassifier(dense).fit(x, ["a"] * len(x)), ValueError, "y has one class"),
])
def test_what_does_not_fit_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(*blobs(np.random.default_rng(0)))
