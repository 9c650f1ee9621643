"""Evaluation and validation: the loss, the accuracy and the metrics of labelled data."""

import re

import cases
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
        "epoch", "loss", "lr", "a", "b", "val_loss", "val_a", "val_b", "seconds", "samples_per_second"]
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


# ---- the value of a loss ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cases.LOSSES)
def test_the_value_of_a_loss_is_that_beside_its_gradient(name):
    case, rng = cases.LOSSES[name], np.random.default_rng(0)
    y_pred = rng.normal(size=(7, *case.shape))
    target = case.loss.targets(case.target(rng, 7), case.shape, "float64", 7)
    for weight in (None, rng.uniform(size=7), np.zeros(7)):
        shares = case.loss.row_weights(target, weight)
        value, _ = case.loss.value_and_gradient(y_pred, target, shares)
        assert case.loss.value(y_pred, target, shares) == value


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", cases.LOSSES)
def test_evaluate_is_the_mean_over_all_rows_in_batches_of_any_size(name, dtype, backend):
    case, rng = cases.LOSSES[name], np.random.default_rng(1)
    shape = (*case.shape[:-1], 3)
    net = fb.Sequential(fb.Input(*shape), fb.Linear(3, case.shape[-1]), seed=0, dtype=dtype, backend=backend)
    near = 1e-6 if dtype == "float32" else 1e-12
    trainer = fb.Trainer(net, case.loss, fb.SGD(0.1))
    x, y = rng.normal(size=(2500, *shape)), case.target(rng, 2500)
    before = snapshot(trainer)
    for weight in (None, rng.uniform(size=2500), np.arange(2500) < 30, np.zeros(2500)):
        target = case.loss.targets(y, case.shape, "float64", 2500)
        shares = case.loss.row_weights(target, None if weight is None else weight.astype(float))
        each = case.loss.rows(net.predict(x).astype("float64").reshape(len(shares), -1), target)[0]
        for size in (None, 1, 7, 2500, 10**6) if weight is None else (None, 7):
            if size == 1 and dtype == "float32":
                continue
            found = trainer.evaluate(x, y, weight, batch_size=size)
            assert found["loss"] == pytest.approx(shares @ each, rel=near, abs=1e-12)
            right = case.loss.accuracy(net.predict(x), target, weight)
            assert found.get("accuracy") == (None if right is None else pytest.approx(right, rel=near))
    assert snapshot(trainer) == before


@each_backend
def test_evaluate_several_outputs_each_with_weights_of_its_own(backend):
    h = fb.Input(3)
    net = fb.Network(h, (fb.Linear(3, 4)(h), fb.Linear(3, 2)(h), fb.Linear(3, 3)(h)), seed=0, backend=backend,
                     dtype="float64")
    losses = fb.CrossEntropy(class_weight=[1, 0, 5, 2]), fb.MSE(), fb.CrossEntropy(0.1)
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(100, 3)), rng.uniform(size=100)
    y = np.sort(rng.integers(0, 4, 100)), rng.normal(size=(100, 2)), rng.integers(0, 3, 100)
    trainer = fb.Trainer(net, losses, fb.SGD(0.1))
    expected = net.loss(x, y, losses, weight)
    for size in (None, 9, 33):
        found = trainer.evaluate(x, y, weight, batch_size=size)
        assert found["loss"] == pytest.approx(expected, rel=1e-12)
        assert list(found) == ["loss", "loss_0", "loss_1", "loss_2", "accuracy_0", "accuracy_2"]


@each_backend
def test_evaluate_shows_a_loss_of_ones_own_all_rows_at_once(backend):
    seen = []

    def spread(y_pred, y):
        seen.append(len(y_pred))
        return float(np.std(y_pred)), np.zeros_like(y_pred)
    net = fb.Sequential(fb.Linear(3, 1), seed=0, backend=backend)
    x = np.random.default_rng(0).normal(size=(3000, 3))
    found = fb.Trainer(net, fb.CustomLoss(spread), fb.SGD(0.1)).evaluate(x, np.zeros(3000), batch_size=100)
    assert found["loss"] == pytest.approx(np.std(net.predict(x)), rel=1e-6)
    assert set(seen) == {3000}


@each_backend
def test_evaluate_runs_layers_of_ones_own_and_buffers_as_predict_does(backend):
    class Double(fb.CustomLayer):
        def forward(self, ctx, x):
            assert not ctx.training
            return 2 * x

        def backward(self, ctx, dy):
            return 2 * dy
    net = fb.Sequential(fb.Linear(3, 5), fb.BatchNorm(), Double(), fb.Dropout(0.5), fb.Linear(5, 2), seed=0,
                        backend=backend, dtype="float64")
    net.buffers.flat = np.random.default_rng(2).uniform(0.5, 2, net.buffers.flat.size)
    rng = np.random.default_rng(0)
    x, y, kept = rng.normal(size=(50, 3)), rng.normal(size=(50, 2)), net.buffers.flat.copy()
    found = fb.Trainer(net, fb.MSE(), fb.SGD(0.1)).evaluate(x, y, batch_size=8)
    assert found == {"loss": pytest.approx(np.square(net.predict(x) - y).mean(), rel=1e-12)}
    np.testing.assert_array_equal(net.buffers.flat, kept)


def test_a_derived_loss_that_has_another_formula_is_evaluated_by_it():
    class Thrice(fb.MSE):
        def rows(self, x, target):
            each, gradient = super().rows(x, target)
            return 3 * each, 3 * gradient

    class Fourfold(fb.MSE):
        def value_and_gradient(self, y_pred, target, row_weights):
            value, gradient = super().value_and_gradient(y_pred, target, row_weights)
            return 4 * value, 4 * gradient

    class Half(fb.MSE):
        def values(self, x, target):
            return super().values(x, target) / 2
    net = fb.Sequential(fb.Linear(3, 1), seed=0, backend="reference")
    x = np.random.default_rng(0).normal(size=(9, 3))
    plain = fb.Trainer(net, fb.MSE(), fb.SGD(0.1)).evaluate(x, x[:, 0])["loss"]
    for kind, times in ((Thrice, 3), (Fourfold, 4), (Half, 0.5)):
        found = fb.Trainer(net, kind(), fb.SGD(0.1)).evaluate(x, x[:, 0])["loss"]
        assert found == pytest.approx(times * plain, rel=1e-6)


@each_backend
def test_a_validation_whose_loss_is_not_finite_is_reported_as_it_is(backend):
    net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(1.0)), dtype="float32", backend=backend)
    found = fb.Trainer(net, fb.MSE(), fb.SGD(0.1)).evaluate([[1e30], [0.0], [1.0]], [0.0, 0.0, 0.0], batch_size=1)
    assert found == {"loss": np.inf}
    with pytest.raises(ValueError, match="x has NaN in row 1"):
        fb.Trainer(net, fb.MSE(), fb.SGD(0.1)).evaluate([[1.0], [np.nan]], [0.0, 0.0])


@each_backend
def test_an_accuracy_of_ones_own_sees_all_rows_at_once(backend):
    class Balanced(fb.CrossEntropy):
        def accuracy(self, y_pred, target, sample_weight):
            right = y_pred.argmax(axis=1) == target
            return float(np.mean([right[target == label].mean() for label in np.unique(target)]))
    net, x, labels = classification(backend)
    trainer = fb.Trainer(net, Balanced(), fb.SGD(0.1))
    expected = Balanced().accuracy(net.predict(x), labels, None)
    for size in (7, 300):
        assert trainer.evaluate(x, labels, batch_size=size)["accuracy"] == pytest.approx(expected)


LOOKING_AROUND = {
    "a mean of the batch": lambda h: h - h.mean(axis=0),
    "running sums": lambda h: np.cumsum(h, axis=0) / 100,
    "all pairs": lambda h: (h @ h.T) @ h / 5000,
    "the number of rows": lambda h: h * h.shape[0] / 1000,
    "rows picked": lambda h: h + np.take(h, np.argmax(h, axis=0), axis=0)[:1] * h.mean(axis=0),
    "noise": lambda h: h + fb.random.normal(h.shape),
}


@each_backend
@pytest.mark.parametrize("name", LOOKING_AROUND)
def test_functions_that_look_at_the_batch_see_all_of_it(name, backend):
    net = fb.Sequential(fb.Linear(2, 3), fb.Lambda(LOOKING_AROUND[name]), fb.Linear(3, 1), seed=0, backend=backend,
                        dtype="float64")
    assert not net.graph.rows_apart
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(1e-4), metrics={"mine": lambda t, p: np.mean((t - p) ** 2)})
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1500, 2)), rng.normal(size=(1500, 1))
    for _ in range(2):      # random numbers are others after an update
        whole = net.forward(x)
        for seen in (net.predict(x), net.predict(x.tolist()), net.predict(x)):
            assert np.array_equal(seen, whole)
        result = trainer.evaluate(x, y)
        assert result["mine"] == pytest.approx(np.mean((whole - y) ** 2), rel=1e-12)
        assert result["loss"] == pytest.approx(result["mine"], rel=1e-12)
        history = trainer.fit(x, y, batch_size=300, validation_data=(x, y))
        assert history["val_loss"][-1] == pytest.approx(net.loss(x, y, fb.MSE()), rel=1e-12)


def test_rows_that_do_not_look_at_each_other_run_apart():
    scale = fb.Parameter((3,), fb.Ones(), name="scale")
    net = fb.Sequential(fb.Linear(2, 3), fb.BatchNorm(), fb.Dropout(0.1),
                        fb.Lambda(lambda h: scale * h / np.cumsum(h, axis=1) + h.mean(axis=-1, keepdims=True)), seed=0)
    assert net.graph.rows_apart
