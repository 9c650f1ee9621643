"""Predictions and probabilities from trainers, networks and estimators; batches as iterators."""

import pickle

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())
RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4))


def make(outputs, backend, **options):
    return fb.Sequential(fb.Linear(4, outputs), seed=0, backend=backend, dtype="float64", **options)


def softmax(z):
    return np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@each_backend
def test_probabilities_of_a_network(backend):
    classes, answer = make(3, backend), make(1, backend)
    np.testing.assert_allclose(classes.predict_proba(X), softmax(classes.predict(X)), rtol=1e-12)
    np.testing.assert_allclose(answer.predict_proba(X), sigmoid(answer.predict(X)), rtol=1e-12)
    np.testing.assert_allclose(classes.predict_proba(X, link="sigmoid"), sigmoid(classes.predict(X)), rtol=1e-12)
    done = fb.Sequential(fb.Linear(4, 3), fb.Softmax(), seed=0, backend=backend)
    assert np.array_equal(done.predict_proba(X), done.predict(X)), "what ends in a softmax gives probabilities already"
    with pytest.raises(ValueError, match=r'^predict_proba: link is .logistic.; expected "softmax" or "sigmoid"$'):
        classes.predict_proba(X, link="logistic")


@each_backend
def test_probabilities_follow_the_parameters(backend):
    net = make(3, backend)
    net.predict_proba(X)
    fb.Trainer(net, "cross_entropy", fb.SGD(1.0)).fit(X, RNG.integers(0, 3, 30))
    np.testing.assert_allclose(net.predict_proba(X), softmax(net.predict(X)), rtol=1e-12)
    other = net.copy()
    other.params.flat[...] = 0
    np.testing.assert_allclose(other.predict_proba(X), 1 / 3)
    assert np.array_equal(pickle.loads(pickle.dumps(net)).predict_proba(X), net.predict_proba(X))


@each_backend
def test_a_trainer_predicts_as_its_loss_says(backend):
    several = fb.Trainer(make(3, backend), "binary_cross_entropy", "adam")
    assert np.array_equal(several.predict(X), several.net.predict(X))
    np.testing.assert_allclose(several.predict_proba(X), sigmoid(several.net.predict(X)), rtol=1e-12)
    np.testing.assert_allclose(fb.Trainer(make(3, backend), "cross_entropy", "adam").predict_proba(X),
                               softmax(make(3, backend).predict(X)), rtol=1e-12)
    with pytest.raises(ValueError, match="predict_proba: the loss is MSE"):
        fb.Trainer(make(3, backend), "mse", "adam").predict_proba(X)


@each_backend
def test_probabilities_of_heads(backend):
    x = fb.Input(4)
    net = fb.Network(x, {"kind": fb.Linear(4, 3)(x), "size": fb.Linear(4, 1)(x)}, seed=0, backend=backend)
    trainer = fb.Trainer(net, {"kind": "cross_entropy", "size": "mse"}, "adam")
    found, outputs = trainer.predict_proba(X), net.predict(X)
    np.testing.assert_allclose(found["kind"], softmax(outputs["kind"]), rtol=1e-5)
    assert np.array_equal(found["size"], outputs["size"])


def test_softmax_and_sigmoid_are_there_for_arrays_and_tensors():
    z = X[:, :3]
    np.testing.assert_allclose(fb.softmax(z), softmax(z))
    np.testing.assert_allclose(fb.softmax(z, axis=0), softmax(z.T).T)
    np.testing.assert_allclose(fb.sigmoid(z), sigmoid(z))
    x = fb.Input(3)
    net = fb.Network(x, fb.softmax(x), dtype="float64")
    np.testing.assert_allclose(net.predict(z), softmax(z))


@each_backend
def test_batches_as_iterators(backend):
    net, y = make(2, backend), RNG.integers(0, 2, 30)
    trainer = fb.Trainer(net, "cross_entropy", "sgd", metrics=["auc"])
    parts = [slice(i, i + 7) for i in range(0, 30, 7)]
    np.testing.assert_allclose(net.predict(X[p] for p in parts), net.predict(X))
    np.testing.assert_allclose(trainer.predict_proba(X[p] for p in parts), net.predict_proba(X))
    assert net.predict(iter([])).shape == (0, 2)
    batches = [(X[p], y[p]) for p in parts]
    whole = trainer.evaluate(X, y)
    for given in (batches, iter(batches), ((x, t) for x, t in batches)):
        assert trainer.evaluate(given) == pytest.approx(whole)
    history = trainer.fit(batches, validation_data=batches)
    assert history[-1]["val_auc"] == pytest.approx(trainer.evaluate(X, y)["auc"])
    with pytest.raises(TypeError, match=r"^y is missing, and X is no iterable of batches but ndarray"):
        trainer.evaluate(X)


@each_backend
@pytest.mark.parametrize("classes", [2, 3])
def test_one_row_of_an_estimator_is_a_row_of_many(backend, classes):
    pytest.importorskip("sklearn")
    y = np.arange(30) % classes
    clf = fb.MLPClassifier((8,), max_iter=3, random_state=0, tol=1e9, n_iter_no_change=1, backend=backend).fit(X, y)
    whole = clf.predict_proba(X)
    for row in (X[3:4], X[3:4].copy()):
        found = clf.predict_proba(row)
        np.testing.assert_allclose(found, whole[3:4], rtol=0 if backend == "native" else 1e-12)
        assert np.array_equal(clf.predict(row), clf.predict(X)[3:4])
    for wrong in (np.full((1, 4), np.nan), np.full((1, 4), np.inf), np.zeros((1, 5)), np.zeros(4)):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"NaN|infinity|features|1D array"):
                clf.predict_proba(wrong)
