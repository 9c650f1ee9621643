"""Estimators on sparse matrices: what scikit-learn's give, without the dense matrix."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from fastbp import MLPClassifier, MLPRegressor

neural_network = pytest.importorskip("sklearn.neural_network")
sparse = pytest.importorskip("scipy.sparse")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def data(rows=300, features=60, density=0.08, dtype=np.float64):
    rng = np.random.default_rng(0)
    x = sparse.random(rows, features, density=density, random_state=0, format="csr", dtype=dtype)
    return x, x @ rng.standard_normal(features)


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}, {"solver": "sgd", "learning_rate_init": 0.1},
                                        {"solver": "lbfgs"}, {"hidden_layer_sizes": ()},
                                        {"hidden_layer_sizes": (30, 20), "batch_size": 37}])
@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_sparse_input_is_scikit_learns(kind, form, parameters):
    x, y = data()
    x, y = x.asformat(form), y > 0 if kind == "MLPClassifier" else y
    options = {"hidden_layer_sizes": (25,), "random_state": 0, "max_iter": 6, **parameters}
    theirs = getattr(neural_network, kind)(**options).fit(x, y)
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[kind](**options).fit(x, y)
    # epsilon stands elsewhere in Adam, and an odd last mini-batch counts by its rows
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=2e-2, atol=2e-2)
    dense = type(ours)(**options).fit(x.toarray(), y)
    np.testing.assert_allclose(ours.loss_curve_, dense.loss_curve_, rtol=1e-7)
    np.testing.assert_allclose(ours.predict(x), dense.predict(x.toarray()), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(ours.predict(x), np.concatenate([ours.predict(x[:7]), ours.predict(x[7:])]))


def test_partial_fit_takes_sparse_and_dense_in_turn():
    x, y = data()
    ours, dense = (MLPClassifier((25,), random_state=0) for _ in range(2))
    for i in range(0, 300, 50):
        rows = slice(i, i + 50)
        ours.partial_fit(x[rows] if i % 100 else x[rows].toarray(), y[rows] > 0, classes=[False, True])
        dense.partial_fit(x[rows].toarray(), y[rows] > 0, classes=[False, True])
    np.testing.assert_allclose(ours.predict_proba(x), dense.predict_proba(x.toarray()), rtol=1e-6)


def test_text_from_words_to_classes():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    pipeline = pytest.importorskip("sklearn.pipeline")
    words = ["a good film", "a bad film", "very good", "very bad", "good good", "bad bad"] * 10
    model = pipeline.make_pipeline(text.TfidfVectorizer(), MLPClassifier((8,), learning_rate_init=0.05, random_state=0))
    praise = ["good" in w for w in words]
    assert model.fit(words, praise).score(words, praise) == 1


def test_validation_data_may_be_sparse():
    x, y = data()
    options = {"hidden_layer_sizes": (9,), "random_state": 0, "max_iter": 3}
    model = MLPRegressor(**options).fit(x[:200], y[:200], validation_data=(x[200:], y[200:]))
    dense = MLPRegressor(**options).fit(
        x[:200].toarray(), y[:200], validation_data=(x[200:].toarray(), y[200:]))
    np.testing.assert_allclose(model.history_["val_loss"], dense.history_["val_loss"], rtol=1e-7)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_the_dense_matrix_is_never_made(kind):
    x, y = data(3000, 15000, 0.0005, np.float32)
    model = kind(hidden_layer_sizes=(3,), max_iter=2, early_stopping=True)
    y = y > 0 if kind is MLPClassifier else y
    tracemalloc.start()
    try:
        model.fit(x, y)
        model.partial_fit(x, y)
        model.predict(x)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 3000 * 15000 * 4 / 20
