"""The losses: closed forms, gradients, extremes, weights, and what they refuse."""

import re
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

ROWS = 7
QUANTILES = np.array([0.1, 0.5, 0.9])

# name -> loss, output shape, target maker
CASES = {
    "mse": (fb.MSE(), (3,), lambda r, s: r.normal(size=s)),
    "mse images": (fb.MSE(), (2, 3), lambda r, s: r.normal(size=s)),
    "half squared error": (fb.HalfSquaredError(), (3,), lambda r, s: r.normal(size=s)),
    "mae": (fb.MAE(), (3,), lambda r, s: r.normal(size=s)),
    "huber": (fb.Huber(0.7), (3,), lambda r, s: r.normal(size=s)),
    "quantile": (fb.Quantile(0.3), (3,), lambda r, s: r.normal(size=s)),
    "quantiles": (fb.Quantile(QUANTILES), (3,), lambda r, s: r.normal(size=s[:1])),
    "poisson": (fb.PoissonNLL(), (3,), lambda r, s: r.poisson(2.0, size=s)),
    "gaussian": (fb.GaussianNLL(), (6,), lambda r, s: r.normal(size=(s[0], 3))),
    "binary": (fb.BinaryCrossEntropy(), (3,), lambda r, s: r.integers(0, 2, size=s)),
    "binary soft, weighted": (fb.BinaryCrossEntropy([0.5, 1.0, 3.0]), (3,), lambda r, s: r.uniform(size=s)),
    "binary images": (fb.BinaryCrossEntropy([0.5, 1.0, 3.0]), (2, 3), lambda r, s: r.uniform(size=s)),
    "labels": (fb.CrossEntropy(), (4,), lambda r, s: r.integers(0, s[-1], size=s[:-1])),
    "labels, smoothed, weighted": (fb.CrossEntropy(0.1, [0.5, 2.0, 1.0, 0.0]), (4,),
                                   lambda r, s: r.integers(0, s[-1], size=s[:-1])),
    "probabilities": (fb.CrossEntropy(0.1, [0.5, 2.0, 1.0, 0.0]), (4,),
                      lambda r, s: r.dirichlet(np.ones(s[-1]), size=s[:-1])),
    "labels of sequences": (fb.CrossEntropy(0.2), (5, 4), lambda r, s: r.integers(0, s[-1], size=s[:-1])),
    "probabilities of sequences": (fb.CrossEntropy(), (5, 4), lambda r, s: r.dirichlet(np.ones(s[-1]), size=s[:-1])),
}
each_case = pytest.mark.parametrize("name", CASES)


def make(name, dtype="float64", weighted=True):
    loss, shape, target = CASES[name]
    rng = np.random.default_rng(3)
    x = rng.normal(size=(ROWS, *shape)).astype(dtype)
    t = loss.targets(target(rng, (ROWS, *shape)), shape, dtype, ROWS)
    weight = loss.sample_weights(rng.uniform(size=ROWS), ROWS, dtype) if weighted else None
    return loss, x, t, weight


def value(loss, x, t, weight=None):
    return loss.value_and_gradient(x, t, loss.row_weights(t, weight))[0]


# ---- closed forms -----------------------------------------------------------------------------------------------


def expected(name, x, t, w):
    """The loss written out once more, plainly: a mean over elements, then a weighted mean over rows."""
    special, stats = pytest.importorskip("scipy.special"), pytest.importorskip("scipy.stats")
    rows = lambda each: each.reshape(ROWS, -1).mean(axis=1)  # noqa: E731
    if "labels" in name or "probabilities" in name:
        loss, classes = CASES[name][0], x.shape[-1]
        q = np.eye(classes)[t] if t.dtype.kind == "i" else t
        class_weight = np.ones(classes) if loss.class_weight is None else np.array(loss.class_weight)
        smooth = q * (1 - loss.label_smoothing) + loss.label_smoothing / classes
        each = -(smooth * special.log_softmax(x, axis=-1)).sum(axis=-1)
        weights = (q @ class_weight) * w.reshape(-1, *[1] * (each.ndim - 1))
        return (each * weights).sum() / weights.sum()
    each = {
        "mse": lambda: rows((x - t) ** 2),
        "half squared error": lambda: 0.5 * ((x - t) ** 2).sum(axis=1),
        "mae": lambda: rows(np.abs(x - t)),
        "huber": lambda: rows(special.huber(0.7, x - t)),
        "quantile": lambda: rows(np.where(t > x, 0.3 * (t - x), 0.7 * (x - t))),
        "quantiles": lambda: rows(np.maximum(QUANTILES * (t - x), (QUANTILES - 1) * (t - x))),
        "poisson": lambda: rows(-stats.poisson.logpmf(t, np.exp(x)) - special.gammaln(t + 1)),
        "gaussian": lambda: rows(-stats.norm.logpdf(t, x[:, :3], np.exp(x[:, 3:] / 2)) - 0.5 * np.log(2 * np.pi)),
        "binary": lambda: rows(-t * np.log(special.expit(x)) - (1 - t) * np.log(special.expit(-x))),
        "binary soft, weighted": lambda: rows(-t * np.array([0.5, 1.0, 3.0]) * np.log(special.expit(x))
                                              - (1 - t) * np.log(special.expit(-x))),
    }[{"mse images": "mse", "binary images": "binary soft, weighted"}.get(name, name)]()
    return (each * w).sum() / w.sum()


@each_case
@pytest.mark.parametrize("weighted", [False, True])
def test_closed_form(name, weighted):
    loss, x, t, weight = make(name, weighted=weighted)
    w = np.ones(ROWS) if weight is None else weight
    assert value(loss, x, t, weight) == pytest.approx(expected(name, x, t, w), rel=1e-12)


@each_case
@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_in_a_network(name, backend, dtype):
    loss, x, t, weight = make(name, dtype)
    net = fb.Sequential(fb.Input(*x.shape[1:]), fb.Identity(), dtype=dtype, backend=backend)
    tolerance = {"float32": 2e-6, "float64": 1e-13}[dtype]
    reference, dy = loss.value_and_gradient(x.astype(float), t, loss.row_weights(t, weight))
    assert net.loss(x, t, loss, weight) == pytest.approx(reference, rel=tolerance)
    assert net.loss_and_grad(x, t, loss, weight) == pytest.approx(reference, rel=tolerance)
    np.testing.assert_allclose(net.input_grads[0], dy, rtol=tolerance, atol=tolerance)


# ---- gradients --------------------------------------------------------------------------------------------------


@each_case
def test_gradient_is_the_central_difference(name):
    loss, x, t, weight = make(name)
    _, dy = loss.value_and_gradient(x, t, loss.row_weights(t, weight))
    numerical = np.empty_like(x)
    for at in np.ndindex(x.shape):
        probe = x.copy()
        probe[at] += 1e-6
        above = value(loss, probe, t, weight)
        probe[at] -= 2e-6
        numerical[at] = (above - value(loss, probe, t, weight)) / 2e-6
    np.testing.assert_allclose(dy, numerical, rtol=1e-6, atol=1e-9)


@each_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_has_the_dtype_and_shape_of_the_output(name, dtype):
    loss, x, t, weight = make(name, dtype)
    number, dy = loss.value_and_gradient(x, t, loss.row_weights(t, weight))
    assert type(number) is float
    assert (dy.dtype, dy.shape) == (x.dtype, x.shape)


def test_kinks_have_gradient_zero():
    for loss in (fb.MAE(), fb.Quantile(0.3)):
        assert loss.value_and_gradient(np.ones((1, 2)), np.ones((1, 2)), np.ones(1))[1].tolist() == [[0, 0]]


# ---- extremes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_of_any_size(dtype):
    x = np.array([[-1e4, 1e4, 0.0], [1e30, -1e30, 1e30]], dtype)
    t = np.array([0, 1])
    loss = fb.CrossEntropy()
    each, dx = loss.rows(x, t)
    np.testing.assert_allclose(each, [2e4, 2e30], rtol=1e-6)
    np.testing.assert_allclose(dx, [[-1, 1, 0], [0.5, -1, 0.5]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_logits_of_any_size(dtype):
    x = np.array([[-1e4], [1e4], [-1e30], [1e4]], dtype)
    t = np.array([[1], [0], [0], [1]], dtype)
    each, dx = fb.BinaryCrossEntropy().rows(x, t)
    np.testing.assert_allclose(each, [1e4, 1e4, 0, 0])
    np.testing.assert_allclose(dx[:, 0], [-1, 1, 0, 0])


def test_binary_tails_keep_their_digits():
    each, dx = fb.BinaryCrossEntropy().rows(np.array([[40.0]]), np.array([[1.0]]))
    assert each[0] == pytest.approx(np.exp(-40), rel=1e-12)
    assert dx[0, 0] == pytest.approx(-np.exp(-40), rel=1e-12)


def test_huber_of_huge_errors():
    each, dx = fb.Huber(2.0).rows(np.array([[1e30]], np.float32), np.zeros((1, 1), np.float32))
    np.testing.assert_allclose(each, [2e30], rtol=1e-6)
    assert dx[0, 0] == 2


def test_gaussian_of_tiny_and_huge_variances():
    x = np.array([[1.0, -60.0], [1.0, 60.0]], np.float32)
    each, dx = fb.GaussianNLL().rows(x, np.array([[1.0], [2.0]], np.float32))
    np.testing.assert_allclose(each, [-30, 30], rtol=1e-6)
    assert np.isfinite(dx).all()


# ---- weights ----------------------------------------------------------------------------------------------------


@each_case
def test_row_weights_sum_to_1(name):
    loss, _, t, weight = make(name)
    for w in (None, weight):
        assert loss.row_weights(t, w).sum() == pytest.approx(1)
    assert not loss.row_weights(t, np.zeros(ROWS)).any()
    assert value(loss, *make(name)[1:3], np.zeros(ROWS)) == 0


@each_case
def test_a_whole_weight_counts_as_repeated_rows(name):
    loss, x, t, _ = make(name)
    times = np.arange(ROWS) % 3 + 1
    assert value(loss, x, t, times.astype(float)) == pytest.approx(
        value(loss, np.repeat(x, times, axis=0), np.repeat(t, times, axis=0)))


def test_labels_are_one_hot_probabilities():
    loss = fb.CrossEntropy(0.1, [1.0, 2.0, 3.0])
    x = np.random.default_rng(0).normal(size=(5, 3))
    labels = np.array([0, 2, 1, 1, 0])
    soft = loss.targets(np.eye(3)[labels], (3,), "float64", 5)
    assert (loss.native_name(labels), loss.native_name(soft)) == ("cross_entropy", "soft_cross_entropy")
    for a, b in zip(loss.value_and_gradient(x, labels, loss.row_weights(labels, None)),
                    loss.value_and_gradient(x, soft, loss.row_weights(soft, None)), strict=True):
        np.testing.assert_allclose(a, b)


def test_accuracy():
    x = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, -1.0]])
    assert fb.CrossEntropy().accuracy(x, np.array([0, 1, 1]), None) == pytest.approx(2 / 3)
    assert fb.CrossEntropy().accuracy(x, np.eye(2)[[0, 1, 1]], None) == pytest.approx(2 / 3)
    assert fb.CrossEntropy().accuracy(x, np.array([0, 1, 1]), np.array([1.0, 0.0, 3.0])) == pytest.approx(1 / 4)
    assert fb.CrossEntropy().accuracy(x, np.array([0, 1, 1]), np.zeros(3)) == 0
    assert fb.BinaryCrossEntropy().accuracy(x, np.array([[1, 1], [0, 0], [1, 0]]), None) == pytest.approx(5 / 6)
    assert fb.MSE().accuracy(x, x, None) is None


# ---- what is taken ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [[1, 2, 3], [[1], [2], [3]], np.float32([1, 2, 3]), np.array([1, 2, 3], np.uint8)])
def test_a_single_output_takes_a_column_or_a_list(y):
    target = fb.MSE().targets(y, (1,), "float32", 3)
    assert (target.dtype, target.tolist()) == (np.float32, [[1], [2], [3]])


@pytest.mark.parametrize("y", [[0, 1, 2], np.array([0.0, 1.0, 2.0]), np.array([0, 1, 2], np.uint8)])
def test_labels_become_int64(y):
    target = fb.CrossEntropy().targets(y, (3,), "float32", 3)
    assert (target.dtype, target.tolist()) == (np.int64, [0, 1, 2])


def test_targets_that_fit_are_not_copied():
    y = np.zeros((3, 2), np.float32)
    y.flags.writeable = False
    assert fb.MSE().targets(y, (2,), "float32", 3) is y
    strided = np.zeros((6, 4))[::2, ::2]
    assert fb.MSE().targets(strided, (2,), "float64", 3).flags.c_contiguous


def test_quantile_targets_are_repeated():
    loss = fb.Quantile([0.1, 0.9])
    for y in ([1, 2], [[1], [2]]):
        assert loss.targets(y, (2,), "float64", 2).tolist() == [[1, 1], [2, 2]]


# ---- what is refused --------------------------------------------------------------------------------------------

nan, inf = np.nan, np.inf
REFUSED = [
    (fb.MSE(), [[1, 2], [3, 4]], ValueError, "y has 2 rows; expected 3, as x has"),
    (fb.MSE(), 1.0, ValueError, "y is a single number; expected 3 rows, as x has"),
    (fb.MSE(), [1, 2, 3], ValueError, "y has shape (3,); expected (3, 2)"),
    (fb.MSE(), np.zeros((3, 3)), ValueError, "y has shape (3, 3); expected (3, 2)"),
    (fb.MSE(), [[1, 2], [3, nan], [5, 6]], ValueError,
     "y has NaN in row 1; expected finite numbers: fill or leave out such rows"),
    (fb.MSE(), [[1, 2], [3, 4], [-inf, 6]], ValueError,
     "y has an infinite value in row 2; expected finite numbers: fill or leave out such rows"),
    (fb.MSE(), [["a", "b"]] * 3, TypeError, "y has dtype <U1; expected real numbers (encode it as numbers)"),
    (fb.MSE(), np.zeros((3, 2), complex), TypeError,
     "y has dtype complex128; expected real numbers (take its real part)"),
    (fb.MSE(), np.zeros((3, 2), object), TypeError,
     "y has dtype object; expected real numbers (convert it, for instance with .astype(float))"),
    (fb.PoissonNLL(), [[1, 2], [3, 4], [5, -6]], ValueError, "y has -6 in row 2; expected numbers of at least 0"),
    (fb.BinaryCrossEntropy(), [[0, 1], [1, 2], [0, 0]], ValueError, "y has 2 in row 1; expected numbers from 0 to 1"),
    (fb.GaussianNLL(), [[1, 2], [3, 4], [5, 6]], ValueError, "y has shape (3, 2); expected (3, 1)"),
    (fb.CrossEntropy(), [0, 1], ValueError, "y has 2 rows; expected 3, as x has"),
    (fb.CrossEntropy(), [0, 2, 1], ValueError,
     "y has the label 2 in row 1; expected labels from 0 to 1, as the network has 2 outputs"),
    (fb.CrossEntropy(), [0, 1, -1], ValueError,
     "y has the label -1 in row 2; expected labels from 0 to 1, as the network has 2 outputs"),
    (fb.CrossEntropy(), [0, nan, 1], ValueError,
     "y has NaN in row 1; expected finite numbers: fill or leave out such rows"),
    (fb.CrossEntropy(), [0, 0.5, 1], ValueError,
     "y has 0.5; expected whole numbers as labels, or probabilities of 2 classes"),
    (fb.CrossEntropy(), ["cat", "dog", "cat"], TypeError,
     "y has dtype <U3; expected real numbers (for labels, number the classes from 0: "
     "np.unique(y, return_inverse=True)[1])"),
    (fb.CrossEntropy(), [[0] * 3, [1] * 3, [1] * 3], ValueError,
     "y has shape (3, 3); expected labels (3,) or probabilities (3, 2)"),
    (fb.CrossEntropy(), [[0.5, 0.5], [0.5, 0.6], [1, 0]], ValueError,
     "y has probabilities that sum to 1.1 in row 1; expected 1"),
    (fb.CrossEntropy(), [[0.5, 0.5], [1.5, -0.5], [1, 0]], ValueError,
     "y has -0.5 in row 1; expected numbers of at least 0"),
]


@pytest.mark.parametrize(("loss", "y", "error", "message"), REFUSED)
@pytest.mark.parametrize("backend", backends())
def test_refused_targets_change_nothing(loss, y, error, message, backend):
    net = fb.Sequential(fb.Linear(4, 2), seed=0, backend=backend)
    net.grads.flat[...] = 7
    before = net.params.flat.copy()
    trainer = fb.Trainer(net, loss, fb.SGD(lr=1.0))
    x = np.ones((3, 4))
    for run in (lambda: net.loss_and_grad(x, y, loss), lambda: trainer.step(x, y), lambda: trainer.fit(x, y),
                lambda: net.loss(x, y, loss), lambda: trainer.evaluate(x, y)):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            run()
    assert (net.params.flat == before).all()
    assert (net.grads.flat == 7).all()
    assert (trainer.update.step, len(trainer.history)) == (0, 0)


def test_numbers_too_large_for_the_dtype_are_refused():
    with pytest.raises(ValueError, match=r"^y has an infinite value in row 1"):
        fb.MSE().targets([[1.0], [1e300]], (1,), "float32", 2)


@pytest.mark.parametrize(("weight", "message"), [
    ([1, 2], "sample_weight has shape (2,); expected (3,): one for each row of x"),
    ([[1], [2], [3]], "sample_weight has shape (3, 1); expected (3,): one for each row of x"),
    ([1, -2, 3], "sample_weight has -2 in row 1; expected numbers of at least 0"),
    ([1, nan, 3], "sample_weight has NaN in row 1; expected finite numbers: fill or leave out such rows"),
])
def test_refused_sample_weights(weight, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fb.MSE().sample_weights(weight, 3, "float32")


@pytest.mark.parametrize(("loss", "shape", "message"), [
    (fb.CrossEntropy(), (1,), "CrossEntropy: the network's output is (B, 1); expected a logit for each of at least 2 "
                              "classes. For a single yes-or-no output use fb.BinaryCrossEntropy()"),
    (fb.CrossEntropy(class_weight=[1, 2]), (3,), "CrossEntropy: class_weight has 2 entries; expected 3, as the "
                                                 "network's output is (B, 3)"),
    (fb.BinaryCrossEntropy([1, 2]), (3,), "BinaryCrossEntropy: pos_weight has 2 entries; expected 3, as the network's "
                                          "output is (B, 3)"),
    (fb.GaussianNLL(), (3,), "GaussianNLL(): the network's output is (B, 3); expected (B, 2 D): D means, then D "
                             "log-variances"),
    (fb.Quantile([0.1, 0.9]), (3,), "Quantile(quantiles=(0.1, 0.9)): the network's output is (B, 3); expected (B, 2), "
                                    "one for each quantile"),
])
def test_refused_outputs(loss, shape, message):
    net = fb.Sequential(fb.Linear(2, *shape), backend="reference")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fb.Trainer(net, loss, fb.Adam())


@pytest.mark.parametrize(("make", "message"), [
    (lambda: fb.Huber(0), "Huber: delta is 0; expected a number above 0"),
    (lambda: fb.Huber(nan), "Huber: delta is nan; expected a number above 0"),
    (lambda: fb.Quantile(1.0), "Quantile: quantiles is 1.0; expected numbers between 0 and 1"),
    (lambda: fb.Quantile([]), "Quantile: quantiles is empty; expected at least one number between 0 and 1"),
    (lambda: fb.CrossEntropy(1), "CrossEntropy: label_smoothing is 1; expected a number from 0 to below 1"),
    (lambda: fb.CrossEntropy(class_weight=[1, -1]),
     "CrossEntropy: class_weight is -1; expected numbers of at least 0"),
    (lambda: fb.CrossEntropy(class_weight=2), "CrossEntropy: class_weight is 2; expected a sequence of numbers"),
    (lambda: fb.BinaryCrossEntropy("a"), "BinaryCrossEntropy: pos_weight is 'a'; expected numbers of at least 0"),
])
def test_refused_hyperparameters(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


def test_losses_are_values():
    assert fb.Huber(2) == fb.Huber(2.0) != fb.Huber(1)
    assert len({fb.CrossEntropy(), fb.CrossEntropy(0.1), fb.CrossEntropy()}) == 2
    with pytest.raises(FrozenInstanceError):
        fb.Huber().delta = 3
