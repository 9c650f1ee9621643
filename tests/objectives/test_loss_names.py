"""Losses by name, class weights as dict and "balanced", labels in a column."""

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())
RNG = np.random.default_rng(2)
X, Y = RNG.normal(size=(50, 3)), np.r_[np.zeros(35, int), np.ones(10, int), np.full(5, 2)]


def make(loss, outputs=3, backend="reference"):
    net = fb.Sequential(fb.Linear(3, outputs), seed=0, backend=backend, dtype="float64")
    return fb.Trainer(net, loss, fb.SGD(0.1))


@pytest.mark.parametrize(("name", "loss"), [
    ("cross_entropy", fb.CrossEntropy()), ("CrossEntropy", fb.CrossEntropy()), ("mse", fb.MSE()), ("mae", fb.MAE()),
    ("huber", fb.Huber()), ("binary-cross-entropy", fb.BinaryCrossEntropy()), ("poisson", fb.PoissonNLL()),
])
def test_losses_by_name(name, loss):
    assert make(name).loss == loss
    assert make("mse").net.loss(X, X, "mse") == make("mse").net.loss(X, X, fb.MSE())


def test_an_unknown_loss_is_answered_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"loss is 'MSELoss' .fastbp has fb.MSE.*expected a loss .*'mse'"):
        make("MSELoss")


@each_backend
def test_class_weights_of_a_dict_are_those_of_a_list(backend):
    weights = {2: 5.0, 0: 0.5}, [0.5, 1, 5]
    some, all_of_them = (make(fb.CrossEntropy(class_weight=w), backend=backend) for w in weights)
    for trainer in (some, all_of_them):
        trainer.step(X, Y)
        trainer.fit(X, Y, epochs=2)
    assert np.array_equal(some.net.params.flat, all_of_them.net.params.flat)
    assert some.loss == all_of_them.loss


@each_backend
@pytest.mark.parametrize("weighted", [False, True])
def test_balanced_class_weights_are_scikit_learns(backend, weighted, tmp_path):
    compute = pytest.importorskip("sklearn.utils.class_weight").compute_class_weight
    weight = RNG.uniform(0.5, 1, 50) if weighted else None
    options = {"sample_weight": weight} if weighted else {}
    numbers = compute("balanced", classes=np.arange(3), y=Y, **options)
    balanced, given = make(fb.CrossEntropy(class_weight="balanced"), backend=backend), \
        make(fb.CrossEntropy(class_weight=numbers), backend=backend)
    for trainer in (balanced, given):
        trainer.fit(X, Y, epochs=2, sample_weight=weight)
    np.testing.assert_allclose(balanced.net.params.flat, given.net.params.flat, rtol=1e-9)
    balanced.step(X, Y)
    balanced.save_checkpoint(tmp_path / "run")
    assert fb.Trainer.resume(tmp_path / "run", backend=backend).loss == balanced.loss


@each_backend
def test_balanced_answers(backend):
    y = (Y == 0).astype(float)
    trainer = make(fb.BinaryCrossEntropy(pos_weight="balanced"), 1, backend)
    trainer.fit(X, y)
    assert trainer.loss.pos_weight == (15 / 35,)


def test_balanced_needs_all_labels():
    with pytest.raises(ValueError, match=r'class_weight is .balanced., which trainer.fit works out'):
        make(fb.CrossEntropy(class_weight="balanced")).step(X, Y)
    loss = fb.CrossEntropy(class_weight="balanced")
    assert loss.forward(np.zeros((3, 2)), [0, 1, 1]) == pytest.approx(np.log(2))


@pytest.mark.parametrize(("weight", "message"), [
    ({3: 1.0}, "CrossEntropy: class_weight has the class 3; expected classes from 0 to 2"),
    ({"a": 1.0}, "CrossEntropy: class_weight has the class 'a'; expected numbers of classes from 0"),
    ({0: -1.0}, "CrossEntropy: class_weight is -1.0; expected numbers of at least 0"),
    ("balance", "CrossEntropy: class_weight is 'balance'; expected \"balanced\""),
])
def test_refused_class_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        make(fb.CrossEntropy(class_weight=weight))


@each_backend
def test_labels_and_numbers_in_a_column(backend):
    one, column = make("cross_entropy", backend=backend), make("cross_entropy", backend=backend)
    assert one.step(X, Y) == column.step(X, Y[:, None])
    one.fit(X, Y)
    column.fit(X, Y[:, None])
    assert np.array_equal(one.net.params.flat, column.net.params.flat)
    flat, high = make("mse", 1, backend), make("mse", 1, backend)
    assert flat.step(X, X[:, 0]) == high.step(X, X[:, :1])


@pytest.mark.parametrize("y", [np.array(["1", "2", "1"], object), np.array(["a", "b", "a"]), ["a", "b", "a"]])
def test_text_given_as_labels_is_told_to_be_numbered(y):
    with pytest.raises(TypeError) as error:
        make("cross_entropy").step(X[:3], y)
    assert "np.unique(y, return_inverse=True)[1]" in str(error.value)
    assert "astype" not in str(error.value)


def test_weights_of_positives_may_be_an_array():
    weights = np.array([1.0, 2.0, 0.5])
    loss = fb.BinaryCrossEntropy(pos_weight=weights)
    weights[:] = 9.0
    assert loss == fb.BinaryCrossEntropy(pos_weight=[1.0, 2.0, 0.5])
