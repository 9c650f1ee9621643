"""``trainer.step`` again and again on the native backend: the quick way, and what must not take it."""

import numpy as np
import pytest

import fastbp as fb

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((64, 3)).astype("float32"), RNG.standard_normal((64, 1)).astype("float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x_dtype", ["float32", "float64", "int64", "int32", "int16", "bool", ">f8"])
@pytest.mark.parametrize("y_form", [
    lambda y: y, lambda y: y[:, 0], lambda y: y[:, 0].astype("float64"), lambda y: y.astype("int32"),
    lambda y: y[:, 0].tolist()], ids=["as it is", "flat", "flat float64", "int32", "a list"])
def test_steps_on_arrays_of_other_dtypes_and_flat_targets_are_the_same_steps(y_form, x_dtype, dtype):
    rng = np.random.default_rng(0)
    nets = [fb.Sequential(fb.Linear(4, 5), fb.Tanh(), fb.Linear(5, 1), dtype=dtype, seed=0) for _ in range(2)]
    trainers = [fb.Trainer(net, fb.MSE(), fb.Adam(0.1)) for net in nets]
    for rows in (6, 6, 3, 7, 6):
        x = (10 * rng.standard_normal((rows, 4))).astype(x_dtype)
        y = np.round(10 * rng.standard_normal((rows, 1)))
        losses = trainers[0].step(x, y_form(y)), trainers[1].step(x.astype(dtype), y.astype(dtype))
        assert losses[0] == losses[1]
        np.testing.assert_array_equal(nets[0].predict(x), nets[1].predict(x.astype(dtype)))
    np.testing.assert_array_equal(nets[0].params.flat, nets[1].params.flat)


@pytest.mark.parametrize("labels", ["int32", "int64", "uint8"])
def test_steps_on_labels_of_any_integer_dtype_are_the_same_steps_and_bad_ones_are_refused(labels):
    net = fb.Sequential(fb.Linear(4, 5), seed=0)
    other, x = net.copy(), np.random.default_rng(0).standard_normal((6, 4))
    trainers = [fb.Trainer(n, fb.CrossEntropy(), fb.Adam(0.1)) for n in (net, other)]
    for y in ([0, 4, 1, 1, 2, 3], [1, 1, 1, 0, 0, 4], [2] * 6):
        assert trainers[0].step(x, np.array(y, labels)) == trainers[1].step(x, np.array(y))
    np.testing.assert_array_equal(net.params.flat, other.params.flat)
    with pytest.raises(ValueError, match="y has the label 5"):
        trainers[0].step(x, np.array([0, 5, 1, 1, 2, 3], labels))
    with pytest.raises((TypeError, ValueError), match="y has"):
        trainers[0].step(x, np.array([0, 0.5, 1, 1, 2, 3]))
    np.testing.assert_array_equal(net.params.flat, other.params.flat)


def test_numbers_too_large_for_the_networks_dtype_are_refused_in_a_step_of_the_trainer():
    net = fb.Sequential(fb.Linear(2, 1), seed=0)
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(0.1))
    x, y = np.ones((1, 2)), np.ones((1, 1))
    trainer.step(x, y)
    before = net.params.flat.copy()
    with pytest.raises(fb.DivergenceError):
        trainer.step(x * 1e300, y)
    with pytest.raises(ValueError, match="y has an infinite value in row 0"):
        trainer.step(x, y * 1e300)
    np.testing.assert_array_equal(net.params.flat, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [
    fb.Adam(1e-2, eps=0.0), fb.Adam(1e-2, eps=1e-30), fb.RMSprop(1e-2, eps=0.0), fb.Adagrad(1e-2, eps=0.0)], ids=repr)
def test_a_denominator_of_zero_is_undone(optimizer, dtype):
    net = fb.Sequential(fb.Linear(3, 8), fb.Tanh(), fb.Linear(8, 1), dtype=dtype, seed=0)
    trainer, x = fb.Trainer(net, fb.MSE(), optimizer), X.copy()
    x[:, 1] = 0
    for _ in range(3):
        before = net.params.flat.copy()
        try:
            trainer.step(x, Y)
        except fb.DivergenceError:
            np.testing.assert_array_equal(net.params.flat, before)
    assert np.isfinite(net.params.flat).all()


def test_a_weight_decay_that_makes_parameters_grow_ends_with_finite_ones():
    net = fb.Sequential(fb.Linear(3, 1, bias=False), seed=0)
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(1.0, weight_decay=30.0))
    with pytest.raises(fb.DivergenceError, match="after the update"):
        for _ in range(200):
            trainer.step(np.zeros_like(X), Y)
    assert np.isfinite(net.params.flat).all()


@pytest.mark.parametrize("between", ["fit", "a step that diverges", "a step"])
def test_two_trainers_of_one_network_step_with_their_own_optimizers(between):
    results = []
    for backend in ("native", "reference"):
        net = fb.Sequential(fb.Linear(3, 8), fb.Tanh(), fb.Linear(8, 1), seed=0, dtype="float64", backend=backend)
        a = fb.Trainer(net, fb.MSE(), fb.SGD(0.1, momentum=0.9))
        b = fb.Trainer(net, fb.MSE(), fb.Adam(1e-2), clip_norm=1.0)
        for _ in range(2):
            a.step(X, Y)
            a.step(X, Y)
            if between == "fit":
                b.fit(X, Y, batch_size=16, shuffle=False, progress=False)
            elif between == "a step":
                b.step(X, Y)
            else:
                with pytest.raises(fb.DivergenceError):
                    b.step(np.full_like(X, np.nan), Y)
        a.step(X, Y)
        results.append([net.params.flat, *a.update.state, *b.update.state])
    for native, reference in zip(*results, strict=True):
        np.testing.assert_allclose(native, reference, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("small", [1e-40, 1e-300])
def test_of_sample_weights_only_the_proportions_count_however_small(small, dtype):
    net = fb.Sequential(fb.Linear(3, 8), fb.Tanh(), fb.Linear(8, 1), dtype=dtype, seed=0)
    other = net.copy()
    weights = np.arange(64) % 3
    for each, w in ((net, weights * small), (other, weights)):
        fb.Trainer(each, fb.MSE(), fb.SGD(0.1)).fit(X, Y, batch_size=64, sample_weight=w, progress=False)
    np.testing.assert_allclose(net.params.flat, other.params.flat, rtol=1e-5, atol=1e-7)


def _refused_alike(loss, outputs, good, bad, message):
    net = fb.Sequential(fb.Linear(4, outputs), seed=0)
    trainer, x = fb.Trainer(net, loss, fb.SGD(0.1)), np.ones((2, 4), "float32")
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            trainer.step(x, bad)
        before = net.params.flat.copy()
        with pytest.raises(ValueError, match=message):
            trainer.step(x, bad.astype("float32"))
        np.testing.assert_array_equal(net.params.flat, before)
        trainer.step(x, good)
        trainer.step(x, good)


@pytest.mark.parametrize(("loss", "outputs", "good", "bad", "message"), [
    (fb.CrossEntropy(), 3, np.array([[0.5, 0.5, 0], [0, 0, 1]]), np.array([[5.0, -3, 0], [0, 0, 0]]), "-3"),
    (fb.BinaryCrossEntropy(), 1, np.array([[1.0], [0]]), np.array([[1.0], [1.5]]), "1.5"),
    (fb.BinaryCrossEntropy(), 1, np.array([1.0, 0]), np.array([np.nan, 1]), "NaN"),
    (fb.PoissonNLL(), 1, np.array([[2.0], [0]]), np.array([[-1.0], [1]]), "-1"),
], ids=["probabilities", "beyond 1", "NaN", "below 0"])
def test_targets_outside_the_domain_are_refused_in_every_step(loss, outputs, good, bad, message):
    _refused_alike(loss, outputs, good, bad, message)


@pytest.mark.parametrize("base", [fb.Quantile, fb.CrossEntropy], ids=lambda base: base.__name__)
def test_a_derived_loss_that_refuses_more_targets_does_so_in_every_step(base):
    class Below3(base):
        def _check_domain(self, name, target):
            if (target >= 3).any():
                raise ValueError(f"{name} is not below 3")

        def targets(self, t, *args, **kwargs):
            array = super().targets(t, *args, **kwargs)
            self._check_domain("y", array)
            return array

    outputs = 5 if base is fb.CrossEntropy else 1
    trainer = fb.Trainer(fb.Sequential(fb.Linear(3, outputs), seed=0), Below3(), fb.SGD(0.1))
    for _ in range(3):
        trainer.step(X[:2], np.array([0, 2]))
        with pytest.raises(ValueError, match="y is not below 3"):
            trainer.step(X[:2], np.array([0, 4]))


def test_a_loss_that_converts_its_targets_does_so_in_every_step():
    class OfLogarithms(fb.MSE):
        def targets(self, t, *args, **kwargs):
            return np.log(super().targets(t, *args, **kwargs))

    trainer = fb.Trainer(fb.Sequential(fb.Linear(3, 1), seed=0), OfLogarithms(), fb.SGD(1e-9))
    losses = [trainer.step(X, np.exp(Y)) for _ in range(4)]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-3)


def test_labels_of_another_shape_are_refused_in_every_step():
    net = fb.Sequential(fb.Input((1, 4)), fb.Linear(4, 3), seed=0)
    trainer, x = fb.Trainer(net, fb.CrossEntropy(), fb.SGD(0.1)), np.ones((5, 1, 4), "float32")
    for _ in range(2):
        trainer.step(x, np.zeros((5, 1), int))
        with pytest.raises(ValueError, match=r"expected labels \(5, 1\)"):
            trainer.step(x, np.zeros(5, int))


def test_a_weight_decay_times_a_large_parameter_is_undone():
    net = fb.Sequential(fb.Linear(3, 1, bias=False), seed=0)
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(1e-3, weight_decay=900.0))
    trainer.step(np.zeros_like(X), Y)
    net.params.flat[0] = 1e36
    with pytest.raises(fb.DivergenceError, match="after the update"):
        trainer.step(np.zeros_like(X), Y)
    assert np.isfinite(net.params.flat).all()


class Spoiler(fb.CustomLayer):
    """Passes everything on, but for one column of the gradient."""

    def __init__(self, column, value):
        super().__init__()
        self.column, self.value = column, value

    def forward(self, ctx, x):
        return x

    def backward(self, ctx, dy):
        dx = dy.copy()
        dx[:, self.column] = self.value
        return dx


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_found_wherever_it_is(value, dtype):
    x = np.ones((2, 1), dtype)
    for outputs in (1, 3, 7, 16, 35, 70):
        for column in range(outputs):
            net = fb.Sequential(fb.Linear(1, outputs), Spoiler(column, value), dtype=dtype, seed=0)
            trainer, before = fb.Trainer(net, fb.MSE(), fb.SGD(0.1)), net.params.flat.copy()
            with pytest.raises(fb.DivergenceError):
                trainer.step(x, np.ones((2, outputs), dtype))
            np.testing.assert_array_equal(net.params.flat, before)
