"""Metrics by name, over the whole set."""

import numpy as np
import pytest

import fastbp as fb

sk = pytest.importorskip("sklearn.metrics")
RNG = np.random.default_rng(0)
N = 80
LOGITS = RNG.normal(size=(N, 3)).round(1)
CLASSES, ANSWERS = RNG.integers(0, 3, N), RNG.integers(0, 2, N)
WEIGHTS = RNG.uniform(0, 2, N)
each_weight = pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])


def given(columns, loss, metrics):
    """A trainer of a network that gives back its input."""
    layer = fb.Linear(columns, columns, bias=False, weight_init=lambda shape, rng, dtype: np.eye(columns))
    net = fb.Sequential(layer, backend="reference", dtype="float64")
    return fb.Trainer(net, loss, "sgd", metrics=metrics)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


@each_weight
def test_metrics_of_classes(weight):
    names = ["accuracy", "f1", "precision", "recall", "auc", "log_loss"]
    found = given(3, "cross_entropy", names).evaluate(LOGITS, CLASSES, weight)
    said, options = LOGITS.argmax(1), {"sample_weight": weight}
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(CLASSES, said, **options))
    for name, score in (("f1", sk.f1_score), ("precision", sk.precision_score), ("recall", sk.recall_score)):
        assert found[name] == pytest.approx(score(CLASSES, said, average="macro", zero_division=0, **options))
    p = softmax(LOGITS - LOGITS.max(axis=1, keepdims=True))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(CLASSES, p, multi_class="ovr", **options))
    assert found["log_loss"] == pytest.approx(sk.log_loss(CLASSES, p, **options)) == pytest.approx(found["loss"])


@each_weight
@pytest.mark.parametrize("columns", [1, 2])
def test_metrics_of_two_classes(columns, weight):
    loss = "binary_cross_entropy" if columns == 1 else "cross_entropy"
    found = given(columns, loss, ["f1", "auc", "precision"]).evaluate(LOGITS[:, :columns], ANSWERS, weight)
    score = LOGITS[:, 0] if columns == 1 else LOGITS[:, 1] - LOGITS[:, 0]
    assert found["f1"] == pytest.approx(sk.f1_score(ANSWERS, score > 0, sample_weight=weight))
    assert found["precision"] == pytest.approx(sk.precision_score(ANSWERS, score > 0, sample_weight=weight))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(ANSWERS, score, sample_weight=weight))


@each_weight
def test_metrics_of_several_answers(weight):
    y = (LOGITS + RNG.normal(size=LOGITS.shape) > 0).astype(float)
    found = given(3, "binary_cross_entropy", ["f1", "auc"]).evaluate(LOGITS, y, weight)
    assert found["f1"] == pytest.approx(sk.f1_score(y, LOGITS > 0, average="macro", sample_weight=weight))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(y, LOGITS, average="macro", sample_weight=weight))


@each_weight
@pytest.mark.parametrize("columns", [1, 2])
def test_metrics_of_numbers(columns, weight):
    x, y = LOGITS[:, :columns], RNG.normal(size=(N, columns))
    found = given(columns, "mse", ["mae", "mse", "rmse", "r2"]).evaluate(x, y if columns > 1 else y[:, 0], weight)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, x, sample_weight=weight))
    assert found["mse"] == pytest.approx(sk.mean_squared_error(y, x, sample_weight=weight))
    assert found["rmse"] == pytest.approx(np.sqrt(sk.mean_squared_error(y, x, sample_weight=weight)))
    assert found["r2"] == pytest.approx(sk.r2_score(y, x, sample_weight=weight))


def test_functions_are_those_of_scikit_learn():
    assert fb.metrics.f1(CLASSES, LOGITS.argmax(1)) == pytest.approx(
        sk.f1_score(CLASSES, LOGITS.argmax(1), average="macro"))
    assert fb.metrics.auc(ANSWERS, LOGITS[:, 0]) == pytest.approx(sk.roc_auc_score(ANSWERS, LOGITS[:, 0]))
    assert np.isnan(fb.metrics.auc([1, 1], [0.2, 0.3]))


def test_metrics_of_what_is_trained_on_stand_beside_those_of_validation():
    x, y = RNG.normal(size=(50, 3)), RNG.integers(0, 2, 50)
    net = fb.Sequential(fb.Linear(3, 2), seed=0, backend="reference")
    history = fb.Trainer(net, "cross_entropy", "adam", metrics="auc").fit(x, y, epochs=2, validation_split=0.2)
    assert {"accuracy", "val_accuracy", "auc", "val_auc"} <= set(history.keys())
    trainer = fb.Trainer(net, "cross_entropy", "adam", metrics=["auc"])
    whole = trainer.fit(x, y)[0]
    assert whole["auc"] == pytest.approx(sk.roc_auc_score(y, net.predict(x) @ [-1, 1]))
    assert "auc" not in trainer.fit(x, y, train_metrics=False)[1]


def test_early_stopping_knows_which_way_a_named_metric_is_better():
    x, y = RNG.normal(size=(50, 3)), RNG.integers(0, 2, 50)
    for metric, best in (("auc", max), ("log_loss", min)):
        net = fb.Sequential(fb.Linear(3, 2), seed=0, backend="reference")
        stop = fb.callbacks.EarlyStopping(f"val_{metric}", patience=2)
        history = fb.Trainer(net, "cross_entropy", fb.SGD(1.0), metrics=[metric]).fit(
            x, y, epochs=8, validation_split=0.4, callbacks=[stop])
        assert stop.best == best(history[f"val_{metric}"])


def test_an_unknown_name_is_answered_with_those_that_there_are():
    net = fb.Sequential(fb.Linear(3, 2), seed=0, backend="reference")
    with pytest.raises(ValueError, match=r"Trainer: metrics is 'acuracy'; expected a function .*'accuracy', 'f1'"):
        fb.Trainer(net, "cross_entropy", "adam", metrics=["acuracy"])
