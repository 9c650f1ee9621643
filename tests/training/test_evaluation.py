"""Evaluation and validation: the loss, the accuracy and the metrics of labelled data."""

import re

import numpy as np
import pytest
from conftest import backends
from regressions import by_steps, regression, snapshot

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())


def classification(backend="reference"):
    net = fb.Sequential(fb.Linear(2, 16), fb.ReLU(), fb.Linear(16, 3), seed=0, backend=backend)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=300)
    return net, rng.normal(size=(300, 2)) * 0.3 + np.array([[0, 1], [1, -1], [-1, -1]])[labels], labels


@each_backend
def test_learns_to_classify(backend):
    net, x, labels = classification(backend)
    trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01))
    history = trainer.fit(x[:200], labels[:200], epochs=20, validation_data=(x[200:], labels[200:]))
    assert history["val_accuracy"][-1] > 0.97
    right = net.predict(x[200:]).argmax(axis=1) == labels[200:]
    assert trainer.evaluate(x[200:], labels[200:])["accuracy"] == pytest.approx(right.mean())
    assert history[-1]["val_accuracy"] == pytest.approx(right.mean())


@each_backend
def test_evaluate_is_the_loss_of_all_rows(backend):
    net, x, labels = classification(backend)
    weight = np.random.default_rng(1).uniform(size=300)
    loss = fb.CrossEntropy(class_weight=[1, 2, 3])
    trainer = fb.Trainer(net, loss, fb.Adam())
    before = snapshot(trainer)
    for size in (None, 7):
        result = trainer.evaluate(x, labels, weight, batch_size=size)
        assert result["loss"] == pytest.approx(net.loss(x, labels, loss, weight), rel=1e-6)
        right = net.predict(x).argmax(axis=1) == labels
        assert result["accuracy"] == pytest.approx(np.average(right, weights=weight))
    assert snapshot(trainer) == before


def test_metrics_return_one_number():
    for returned, what in ((np.zeros(3), "shape (3,)"), (None, "None"), ("good", "'good'"), ([], "shape (0,)")):
        trainer, x, y = regression(metrics={"mine": lambda t, p, returned=returned: returned})
        with pytest.raises(TypeError, match=re.escape(f"metric mine: returned {what}; expected one number")):
            trainer.evaluate(x, y)
    trainer, x, y = regression(metrics={"mine": lambda t, p: np.array([[2]])})
    assert trainer.evaluate(x, y)["mine"] == 2.0


def test_metrics_get_targets_and_outputs_of_one_shape():
    def worst(y_true, y_pred):
        assert y_true.shape == y_pred.shape == (10, 1)
        return np.abs(y_true - y_pred).max()
    trainer, x, y = regression(metrics=worst)
    expected = np.abs(trainer.net.predict(x)[:, 0] - y).max()
    result = trainer.evaluate(x, y)
    assert list(result) == ["loss", "worst"]
    assert result["worst"] == pytest.approx(expected)
    named, x, y = regression(metrics={"a": worst, "b": worst})
    assert list(named.fit(x, y, validation_data=(x, y))[0]) == [
        "epoch", "loss", "lr", "val_loss", "val_a", "val_b", "seconds", "samples_per_second"]
    assert list(regression(metrics=[worst])[0].metrics) == ["worst"]


@each_backend
def test_validation_comes_after_the_epoch_and_without_training(backend):
    net = fb.Sequential(fb.Linear(3, 8), fb.BatchNorm(), fb.Dropout(0.5), fb.Linear(8, 1), seed=0, backend=backend)
    x = np.random.default_rng(0).normal(size=(40, 3))
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam())
    history = trainer.fit(x, x[:, 0], epochs=1, batch_size=20, validation_data=(x, x[:, 0], np.arange(40.0)))
    assert history["val_loss"] == [pytest.approx(net.loss(x, x[:, 0], fb.MSE(), np.arange(40.0)), rel=1e-5)]


@each_backend
def test_validation_split_keeps_rows_apart(backend):
    (split, x, y), (stepped, _, _) = regression(backend, rows=20), regression(backend, rows=20)
    history = split.fit(x, y, epochs=2, batch_size=5, validation_split=0.25)
    shuffled = np.random.default_rng((0, 0)).permutation(20)
    kept, rows = np.sort(shuffled[:5]), np.sort(shuffled[5:])
    for epoch in (1, 2):
        order = np.random.default_rng((0, epoch)).permutation(rows)
        by_steps(stepped, x, y, np.split(order, 3))
    assert snapshot(split) == snapshot(stepped)
    assert history["val_loss"][-1] == pytest.approx(stepped.evaluate(x[kept], y[kept])["loss"])


@each_backend
def test_validation_split_without_shuffling(backend):
    (split, x, y), (stepped, _, _) = regression(backend, rows=20), regression(backend, rows=20)
    split.fit(x, y, batch_size=5, validation_split=0.25, shuffle=False)
    rows = np.sort(np.random.default_rng((0, 0)).permutation(20)[5:])
    by_steps(stepped, x, y, np.split(rows, 3))
    assert snapshot(split) == snapshot(stepped)
