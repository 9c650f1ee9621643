"""Your own pieces: layers and losses in Python, anywhere in a graph, on both backends, held against the built-in."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())


class MyLinear(fb.CustomLayer):
    """What fb.Linear does."""

    def __init__(self, features: int, *, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        self.features = features

    def hyperparameters(self):
        return {"features": self.features}

    def output_shape(self, *shapes):
        return (self.features,)

    def parameters(self, *shapes):
        return {"weight": ((shapes[0][0], self.features), fb.KaimingUniform()), "bias": ((self.features,), fb.Zeros())}

    def forward(self, ctx, *xs, **params):
        return xs[0] @ params["weight"] + params["bias"]

    def backward(self, ctx, dy):
        (x,) = ctx.inputs
        return dy @ ctx.params["weight"].T, {"weight": x.T @ dy, "bias": dy.sum(axis=0)}


class MyTanh(fb.CustomLayer):
    """What fb.Tanh does."""

    def forward(self, ctx, *xs, **params):
        ctx.saved["y"] = np.tanh(xs[0])
        return ctx.saved["y"]

    def backward(self, ctx, dy):
        assert ctx.output is not None
        return dy * (1 - ctx.saved["y"] ** 2)


class Blend(fb.CustomLayer):
    """y = m a b + c for three inputs, m being a running mean of a in training."""

    def buffers(self, *shapes):
        return {"mean": (shapes[0], fb.Ones())}

    def forward(self, ctx, *xs, **params):
        a, b, c = xs
        if ctx.training:
            ctx.buffers["mean"][...] = 0.9 * ctx.buffers["mean"] + 0.1
        return ctx.buffers["mean"] * a * b + c

    def backward(self, ctx, dy):
        a, b, _ = ctx.inputs
        m = ctx.buffers["mean"]
        return dy * m * b, dy * m * a, dy


class WrongBackward(MyTanh):
    """A planted fault."""

    def backward(self, ctx, dy):
        return dy * (1 - ctx.saved["y"])


def pair(backend: str, dtype: str) -> tuple[fb.Network, fb.Network]:
    """Return a network of custom layers between others, and the same of fastbp's own."""
    nets = []
    for linear, tanh in ((MyLinear, MyTanh), (lambda n, **o: fb.Linear(None, n, **o), fb.Tanh)):
        a = fb.Input(5)
        shared = linear(4, name="shared")
        h = tanh(name="act")(shared(fb.ReLU()(fb.Linear(5, 3)(a))))
        both = fb.Concat()(h, fb.Sigmoid()(shared(fb.Linear(5, 3)(a))))
        out = fb.Add()(linear(2, name="last")(fb.Flatten()(both)), linear(2, name="cold", trainable=False)(h))
        nets.append(fb.Network(a, out, dtype=dtype, seed=1, backend=backend))
    nets[1].load_state_dict(nets[0].state_dict())
    return nets[0], nets[1]


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_custom_layers_do_as_the_own_ones(backend, dtype):
    mine, own = pair(backend, dtype)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 5)), rng.standard_normal((9, 2))
    close = {"rtol": 1e-4, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-13}
    for net in (mine, own):
        net.trainers = fb.Trainer(net, fb.MSE(), fb.Adam(0.01))
        net.loss_and_grad(x, y, fb.MSE())
    assert mine.input_grads[0] == pytest.approx(own.input_grads[0], rel=1e-3, abs=1e-6)
    for name, gradient in own.grads.items():
        np.testing.assert_allclose(mine.grads[name], gradient, err_msg=name, **close)
    assert not mine.grads["cold.weight"].any()
    losses = [net.trainers.fit(x, y, epochs=5, batch_size=4)["loss"] for net in (mine, own)]
    np.testing.assert_allclose(*losses, **close)
    np.testing.assert_allclose(mine.predict(x), own.predict(x), **close)
    assert mine.predict(x).dtype == dtype


@each_backend
def test_a_custom_layer_with_several_inputs_and_state(backend):
    a, b = fb.Input(3), fb.Input(3)
    net = fb.Network((a, b), Blend(name="blend")(fb.Linear(3, 3)(a), b, a), dtype="float64", seed=0, backend=backend)
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((4, 3)), rng.standard_normal((4, 3))), rng.standard_normal((4, 3))
    assert fb.gradcheck(net, x, y, fb.MSE())
    assert np.array_equal(net.buffers["blend.mean"], np.ones(3)), "a check changes nothing"
    net.loss_and_grad(x, y, fb.MSE())
    assert net.buffers["blend.mean"] == pytest.approx(np.ones(3))
    net.buffers["blend.mean"][...] = 0
    net.forward(x, training=True)
    assert net.buffers["blend.mean"] == pytest.approx(np.full(3, 0.1))
    assert net.predict(x) == pytest.approx(0.1 * (x[0] @ net.params["0.weight"]) * x[1] + x[0])


def test_gradcheck_of_a_layer_by_one_call():
    assert MyLinear(4).gradcheck((3,))
    assert MyTanh().gradcheck((2, 3))
    assert MyTanh().gradcheck(5, rows=1)
    assert Blend().gradcheck((3,), (3,), (3,), max_entries=4)
    report = WrongBackward().gradcheck((3,))
    assert not report
    assert report.worst is not None
    assert report.suspects


def test_custom_layers_in_files(tmp_path):
    pytest.importorskip("safetensors")
    net, _ = pair("reference", "float32")
    net.save(tmp_path / "net")
    other = fb.load(tmp_path / "net", backend="reference", layers=[MyLinear, MyTanh])
    x = np.ones((2, 5))
    assert np.array_equal(net.predict(x), other.predict(x))
    assert not other.graph.parameters["cold.weight"].trainable


class Faulty(fb.CustomLayer):
    """Returns whatever it is told to."""

    def __init__(self, y=lambda x: x, dx=lambda dy: dy, shape=lambda s: s, parameters=None) -> None:
        super().__init__()
        self.y, self.dx, self.shape, self.declared = y, dx, shape, parameters or {}

    def output_shape(self, *shapes):
        return self.shape(shapes[0])

    def parameters(self, *shapes):
        return self.declared

    def forward(self, ctx, *xs, **params):
        return self.y(xs[0])

    def backward(self, ctx, dy):
        return self.dx(dy)


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"y": lambda x: x[:, :1]}, ValueError, r"Faulty\(\): forward returned y of shape \(2, 1\); expected \(2, 3\)"),
    ({"y": lambda x: x.sum()}, ValueError, r"forward returned y of shape \(\); expected \(2, 3\)"),
    ({"y": lambda x: None}, TypeError, r"forward returned y = None; expected real numbers of shape \(2, 3\)"),
    ({"y": lambda x: [[None] * 3] * 2}, TypeError, r"forward returned y of dtype object; expected real numbers"),
    ({"y": lambda x: x + 1j}, TypeError, r"forward returned y of dtype complex"),
    ({"y": lambda x: x.__imul__(2)}, ValueError, r"read-only"),
    ({"dx": lambda dy: dy[:1]}, ValueError, r"backward returned dx\[0\] of shape \(1, 3\); expected \(2, 3\)"),
    ({"dx": lambda dy: None}, TypeError,
     r"^Faulty\(\): backward returned None; expected the gradient of each input, as in `return dx`$"),
    ({"dx": lambda dy: None, "parameters": {"w": ((2,), fb.Ones())}}, TypeError,
     r"returned None; expected gradients of inputs and parameters \('w'\), as in `return dx, \{\"weight\": dW\}`$"),
    ({"dx": lambda dy: (None,)}, TypeError, r"backward returned dx\[0\] = None; expected real numbers of shape"),
    ({"dx": lambda dy: (dy, {"w": None}), "parameters": {"w": ((2,), fb.Ones())}}, TypeError,
     r"backward returned the gradient of w = None; expected real numbers of shape \(2,\)"),
    ({"dx": lambda dy: (dy, dy)}, ValueError, r"backward returned 2 gradients of inputs; expected 1"),
    ({"dx": lambda dy: (dy, {"w": 1})}, ValueError, r"gradients of the parameters 'w'; expected none"),
    ({"parameters": {"w": ((2,), fb.Ones())}}, ValueError, r"of the parameters none; expected 'w'"),
    ({"dx": lambda dy: dy.fill(0)}, ValueError, r"read-only"),
    ({"shape": lambda s: (0,)}, ValueError, r"output_shape returned \(0,\); expected a tuple of positive integers"),
    ({"shape": lambda s: 3}, ValueError, r"output_shape returned 3; expected a tuple"),
])
def test_mistakes_in_a_layer(options, error, message):
    with pytest.raises(error, match=message):
        net = fb.Sequential(fb.Linear(3, 3), Faulty(**options), backend="reference", seed=0)
        net.loss_and_grad(np.ones((2, 3)), np.ones((2, 3)), fb.MSE())


def test_a_layer_needs_an_input():
    with pytest.raises(TypeError, match="called on no tensor"):
        MyTanh()()


@each_backend
def test_an_error_in_a_layer_comes_through(backend):
    def fail(x):
        raise ZeroDivisionError("mine")
    net = fb.Sequential(fb.Linear(3, 3), Faulty(fail), backend=backend, seed=0)
    before = net.params.flat.copy()
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(0.1))
    for call in (trainer.step, net.loss_and_grad) if backend == "reference" else (trainer.step,):
        with pytest.raises(ZeroDivisionError, match="mine"):
            call(np.ones((2, 3)), np.ones((2, 3)), *((fb.MSE(),) if call == net.loss_and_grad else ()))
    assert np.array_equal(net.params.flat, before)


# ---- losses ----------------------------------------------------------------------------------------------------------


def my_mse(y_pred, y):
    e = y_pred - y
    return np.mean(e**2), 2 * e / e.size


def my_weighted_mse(y_pred, y, weights):
    e = y_pred - y
    return weights @ np.mean(e**2, axis=1), 2 * e / e.shape[1] * weights[:, None]


def my_cross_entropy(y_pred, y):
    p = np.exp(y_pred - y_pred.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    loss = -np.log(p[rows, y]).mean()
    p[rows, y] -= 1
    return loss, p / len(y)


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("mine", "own", "labels"), [
    (my_mse, fb.MSE(), False), (fb.CustomLoss(my_weighted_mse), fb.MSE(), False),
    (my_cross_entropy, fb.CrossEntropy(), True)])
def test_a_custom_loss_does_as_the_own_one(backend, dtype, mine, own, labels):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 4))
    y = rng.integers(0, 3, 20) if labels else rng.standard_normal((20, 3))
    trainers = [fb.Trainer(fb.Sequential(fb.Linear(4, 8), fb.Tanh(), fb.Linear(8, 3), dtype=dtype, seed=0,
                                         backend=backend), loss, fb.Adam(0.01)) for loss in (mine, own)]
    for t in trainers:
        t.fit(x, y, epochs=4, batch_size=6, validation_data=(x, y))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    assert trainers[0].history["loss"] == pytest.approx(trainers[1].history["loss"], rel=tolerance)
    assert trainers[0].history["val_loss"] == pytest.approx(trainers[1].history["val_loss"], rel=tolerance)
    assert trainers[0].net.params.flat == pytest.approx(trainers[1].net.params.flat, rel=100 * tolerance, abs=1e-6)
    assert fb.gradcheck(trainers[0].net, x[:3], y[:3], mine)


@each_backend
def test_weights_reach_a_custom_loss(backend):
    net = fb.Sequential(fb.Linear(2, 2), seed=0, dtype="float64", backend=backend)
    x, y, w = np.ones((3, 2)), np.arange(6.0).reshape(3, 2), [1.0, 0.0, 3.0]
    assert net.loss(x, y, my_weighted_mse, w) == pytest.approx(net.loss(x, y, fb.MSE(), w))
    assert net.loss_and_grad(x, y, my_weighted_mse, w) == pytest.approx(net.loss_and_grad(x, y, fb.MSE(), w))
    with pytest.raises(ValueError, match=r"loss my_mse: sample_weight is given.*function\(y_pred, y, weights\)"):
        net.loss(x, y, my_mse, w)


def test_one_column_does_not_spread():
    net = fb.Sequential(fb.Linear(2, 1), seed=0, backend="reference")
    x, y = np.ones((4, 2)), np.ones(4)
    assert net.loss(x, y, my_mse) == pytest.approx(net.loss(x, y, fb.MSE()))


@pytest.mark.parametrize(("function", "message"), [
    (lambda p, y: 3.0, r"returned 3.0, which does not depend on what it was given; expected one number"),
    (lambda p, y: ((p - y) ** 2, p), r"returned a loss of shape \(2, 1\) and dtype float32; expected one number"),
    (lambda p, y: ("a", p), r"a loss of shape \(\) and dtype <U1"),
    (lambda p, y: (0.0, p.sum()), r"a gradient of shape \(\) and dtype float32; expected .* shape \(2, 1\)"),
    (lambda p, y: (0.0, np.multiply(p, 2, out=p)), "read-only"),
])
def test_mistakes_in_a_loss(function, message):
    net = fb.Sequential(fb.Linear(3, 1), backend="reference", seed=0)
    with pytest.raises(ValueError, match=message):
        net.loss_and_grad(np.ones((2, 3)), np.ones((2, 1)), function)


def test_what_is_no_loss():
    net = fb.Sequential(fb.Linear(3, 1), backend="reference", seed=0)
    with pytest.raises(TypeError, match=r"loss is 3; expected a loss such as fb.MSE\(\), or a function"):
        fb.Trainer(net, 3, fb.SGD())
    with pytest.raises(TypeError, match=r"CustomLoss: function is 3; expected a function"):
        fb.CustomLoss(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"y has 1 rows; expected 2 rows, as x has"):
        net.loss(np.ones((2, 3)), [1.0], my_mse)
    with pytest.raises(ValueError, match=r"y has NaN in row 1"):
        net.loss(np.ones((2, 3)), [1.0, np.nan], my_mse)


def test_a_custom_loss_in_a_checkpoint(tmp_path):
    pytest.importorskip("safetensors")
    net = fb.Sequential(fb.Linear(3, 1), backend="reference", seed=0)
    trainer = fb.Trainer(net, my_mse, fb.Adam())
    x, y = np.ones((4, 3)), np.ones((4, 1))
    trainer.fit(x, y)
    trainer.save_checkpoint(tmp_path / "run")
    with pytest.raises(fb.FormatError, match=r"loss, FunctionLoss, is one that a file cannot hold; hand it in: loss="):
        fb.Trainer.resume(tmp_path / "run", backend="reference")
    resumed = fb.Trainer.resume(tmp_path / "run", loss=my_mse, backend="reference")
    assert resumed.step(x, y) == trainer.step(x, y)


# ---- training by hand ------------------------------------------------------------------------------------------------


@each_backend
def test_activations_by_name(backend):
    net = fb.Sequential(fb.Linear(3, 4), fb.ReLU(), fb.BatchNorm(), fb.Dropout(0.5), fb.Linear(4, 2), dtype="float64",
                        seed=0, backend=backend)
    x = np.random.default_rng(0).standard_normal((5, 3))
    got = net.activations(x)
    assert list(got) == ["input", "0.linear", "1.relu", "2.batch_norm", "3.dropout", "4.linear"]
    z = x @ net.params["0.weight"] + net.params["0.bias"]
    assert got["0.linear"] == pytest.approx(z)
    assert got["1.relu"] == pytest.approx(np.maximum(z, 0))
    assert got["4.linear"] == pytest.approx(net.predict(x))
    state = net.state_dict()
    trained = net.activations(x, training=True)
    assert not np.array_equal(trained["3.dropout"], trained["2.batch_norm"]), "dropout drops"
    assert all(np.array_equal(v, state[n]) for n, v in net.state_dict().items()), "looking changes nothing"
    y = net.forward(x, training=True)
    net.activations(x)
    assert net.backward(y).shape == x.shape, "a look in between does not disturb backward"


@each_backend
def test_accumulated_gradients_are_those_of_one_batch(backend):
    net = fb.Sequential(fb.Linear(3, 4), fb.Tanh(), fb.Linear(4, 2), dtype="float64", seed=0, backend=backend)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    net.loss_and_grad(x, y, fb.MSE())
    whole = net.grads.flat.copy()
    for i in range(0, 12, 4):
        net.loss_and_grad(x[i:i + 4], y[i:i + 4], fb.MSE(), accumulate=i > 0)
    assert net.grads.flat / 3 == pytest.approx(whole, rel=1e-12)
    for i in range(0, 12, 4):
        out = net.forward(x[i:i + 4], training=True)
        net.backward(2 * (out - y[i:i + 4]) / 24, accumulate=i > 0)
    assert net.grads.flat == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("backend", backends())
def test_a_loss_of_ones_own_that_is_not_finite_is_named(backend):
    def strange(y_pred, y):
        return np.nan, np.zeros_like(y_pred)

    net = fb.Sequential(fb.Linear(2, 1), seed=0, backend=backend)
    with pytest.raises(fb.DivergenceError, match="what strange makes of them is not"):
        fb.Trainer(net, strange, fb.SGD(0.1)).fit(np.ones((4, 2)), np.ones((4, 1)), progress=False)
