"""The native backend against the reference: whole networks, node by node, step by step."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import cases
import numpy as np
import pytest

import fastbp as fb
from fastbp.core.errors import NonFiniteError
from fastbp.engine import native
from fastbp.ops.base import Native, Op, Space
from fastbp.ops.layer_norm import LayerNormOp
from fastbp.ops.linear import LARGEST_TRANSPOSED

RTOL = {"float32": 2e-4, "float64": 1e-11}
ATOL = {"float32": 2e-5, "float64": 1e-12}


def _residual(**kw):
    a = fb.Input(9)
    h = fb.GELU()(fb.Linear(9, 9)(a))
    s = fb.Add()(h, a)
    return fb.Network(a, fb.Linear(9, 4)(fb.ReLU()(s)), **kw)


def _chain(*layers):
    return lambda **kw: fb.Sequential(*(make() for make in layers), **kw)


def _two_inputs(**kw):
    a, b = fb.Input(5), fb.Input(3)
    joined = fb.Concat()(fb.Tanh()(fb.Linear(5, 6)(a)), fb.Linear(3, 7)(b), b)
    return fb.Network([a, b], [fb.Linear(16, 4)(joined)], **kw)


def _two_heads(**kw):
    a = fb.Input(6)
    h = fb.SiLU()(fb.Linear(6, 17)(a))
    return fb.Network(a, [fb.Linear(17, 4)(h), fb.Softplus()(fb.Linear(17, 2)(h)), h], **kw)


def _shared(**kw):
    a = fb.Input(8)
    layer, norm = fb.Linear(8, 8), fb.LayerNorm(8)
    return fb.Network(a, fb.Linear(8, 4)(norm(layer(fb.ReLU()(norm(layer(a)))))), **kw)


def _resnet(**kw):
    a = fb.Input(12)
    x = fb.Linear(12, 16)(a)
    for _ in range(2):
        x = fb.Add()(x, fb.Linear(16, 16)(fb.Mish()(fb.BatchNorm()(x))), fb.Identity()(x))
    return fb.Network(a, fb.Linear(16, 4)(fb.Multiply()(x, fb.Tanh()(x))), **kw)


def _views(**kw):
    a = fb.Input(2, 3, 4)
    x = fb.Linear(4, 5)(a)
    y = fb.Flatten()(x)
    z = fb.Linear(30, 20)(fb.ReLU()(y))
    return fb.Network(a, fb.Linear(20, 4)(fb.Add()(z, fb.Linear(30, 20)(y))), **kw)


NETWORKS = {
    "linear": _chain(lambda: fb.Linear(7, 4)),
    "no bias": _chain(lambda: fb.Linear(7, 33, bias=False), fb.ReLU, lambda: fb.Linear(33, 4, bias=False)),
    "relu": _chain(lambda: fb.Linear(7, 33), fb.ReLU, lambda: fb.Linear(33, 16), fb.ReLU, lambda: fb.Linear(16, 4)),
    "activation first": _chain(lambda: fb.Input(7), fb.Tanh, lambda: fb.Linear(None, 4)),
    "activation last": _chain(lambda: fb.Linear(7, 4), fb.Sigmoid),
    "two activations": _chain(lambda: fb.Linear(7, 18), fb.GELU, fb.ELU, lambda: fb.Linear(None, 4)),
    "softmax inside": _chain(lambda: fb.Linear(7, 18), fb.Softmax, lambda: fb.Linear(18, 4)),
    "dropout": _chain(lambda: fb.Linear(7, 40), fb.ReLU, lambda: fb.Dropout(0.3), lambda: fb.Linear(40, 4)),
    "norms": _chain(lambda: fb.Linear(7, 20), fb.BatchNorm, fb.ReLU, fb.LayerNorm, lambda: fb.Linear(20, 4)),
    "frozen": _chain(lambda: fb.Linear(7, 9, trainable=False), fb.ReLU, lambda: fb.Linear(9, 9, bias=False),
                     lambda: fb.BatchNorm(trainable=False), lambda: fb.Linear(9, 4, trainable=False)),
    "deep": _chain(lambda: fb.Linear(7, 64), *([fb.Tanh, lambda: fb.Linear(64, 64)] * 5), lambda: fb.Linear(64, 4)),
    "two inputs": _two_inputs,
    "two heads": _two_heads,
    "shared": _shared,
    "residual": _residual,
    "resnet": _resnet,
    "views": _views,
}
NETWORKS |= {f"act {name}": _chain(lambda: fb.Linear(7, 21), getattr(fb, name), lambda: fb.Linear(21, 4))
             for name in ("Identity", "LeakyReLU", "ELU", "SELU", "GELU", "SiLU", "Mish", "Sigmoid", "Tanh", "Softplus",
                          "HardSwish")}


def _data(net, rows, rng):
    x = [rng.standard_normal((rows, *t.shape)) for t in net.graph.inputs]
    y = [rng.standard_normal((rows, *t.shape)) for t in net.graph.outputs]
    one_x, one_y = len(x) == 1 and net._ins.alone, len(y) == 1 and net._outs.alone
    loss = tuple(fb.MSE() for _ in y)
    return (x[0] if one_x else x), (y[0] if one_y else y), (loss[0] if one_y else loss)


def _pair(name, dtype, rows=13, seed=1):
    rng = np.random.default_rng(seed)
    net = NETWORKS[name](dtype=dtype, seed=seed)
    for values in net.params.values():
        values[...] += 0.1 * rng.standard_normal(values.shape)
    reference = net.copy(dtype="float64", backend="reference")
    return net, reference, *_data(net, rows, rng)


def _assert_close(actual, expected, dtype, what):
    for i, (a, e) in enumerate(zip(_tuple(actual), _tuple(expected), strict=True)):
        scale = max(1.0, float(np.abs(e).max(initial=0)))
        np.testing.assert_allclose(a, e, rtol=RTOL[dtype], atol=ATOL[dtype] * scale, err_msg=f"{what} {i}")


def _tuple(x):
    return x if isinstance(x, tuple) else (x,)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_forward_and_backward_agree_with_the_reference(name, dtype):
    net, reference, x, y, _ = _pair(name, dtype)
    for training in (False, True):
        _assert_close(net.forward(x, training), reference.forward(x, training), dtype, f"output, training={training}")
    _assert_close(net.backward(y), reference.backward(y), dtype, "input gradient")
    for n in net.grads:
        _assert_close(net.grads[n], reference.grads[n], dtype, n)
    for n in net.buffers:
        _assert_close(net.buffers[n], reference.buffers[n], dtype, n)


@pytest.mark.parametrize("name", cases.OPS)
def test_backward_once_more_gives_the_same(name):
    net = cases.OPS[name].network(seed=0)
    y = net.forward(tuple(cases.OPS[name].inputs(np.random.default_rng(0), 9, "float32")), training=True)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    once, gradients = net.backward(dy), net.grads.flat.copy()
    np.testing.assert_equal(net.backward(dy), once)
    np.testing.assert_array_equal(net.grads.flat, gradients)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_loss_and_gradients_agree_with_the_reference(name, dtype):
    for rows in (5, 64):
        net, reference, x, y, loss = _pair(name, dtype, rows)
        weight = np.linspace(0, 2, rows)
        for w in (None, weight):
            expected = reference.loss_and_grad(x, y, loss, w)
            assert net.loss_and_grad(x, y, loss, w) == pytest.approx(expected, rel=RTOL[dtype])
            for n in net.grads:
                _assert_close(net.grads[n], reference.grads[n], dtype, f"{rows} rows, {n}")
            _assert_close(net.input_grads, reference.input_grads, dtype, "input gradient")
        assert net.loss(x, y, loss) == pytest.approx(reference.loss(x, y, loss), rel=RTOL[dtype])


OPTIMIZERS = [fb.SGD(0.01), fb.SGD(0.002, momentum=0.9, nesterov=True, weight_decay=0.01),
              fb.RMSprop(0.01, momentum=0.5), fb.Adagrad(0.05), fb.Adam(0.01, weight_decay=0.01),
              fb.AdamW(0.01, weight_decay=0.1, decay_bias=False), fb.Lion(0.001, weight_decay=0.1)]


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.5}, {"clip_value": 0.01}], ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("name", ["relu", "shared", "resnet", "frozen"])
def test_training_follows_the_reference(name, optimizer, clip):
    net, reference, x, y, loss = _pair(name, "float64", rows=50)
    curves = []
    for n in (net, reference):
        trainer = fb.Trainer(n, loss, optimizer, **clip)
        curves.append(trainer.fit(x, y, epochs=3, batch_size=8, progress=False)["loss"])
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-9)
    for n in net.params:
        np.testing.assert_allclose(net.params[n], reference.params[n], rtol=1e-6, atol=1e-8, err_msg=n)


@pytest.mark.parametrize("rows", [1, 7, 48, 130, 300])
@pytest.mark.parametrize(("inputs", "outputs"), [(517, 515), (1024, 300), (263, 1041), (4100, 65), (66, 4001)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_through_weights_too_large_to_be_transposed(dtype, inputs, outputs, rows):
    assert inputs * outputs > LARGEST_TRANSPOSED
    rng = np.random.default_rng(inputs)
    net = fb.Sequential(fb.Linear(9, inputs), fb.ReLU(), fb.Linear(inputs, outputs), dtype=dtype, seed=0)
    x, dy = rng.standard_normal((rows, 9)).astype(dtype), rng.standard_normal((rows, outputs)).astype(dtype)
    reference = net.copy(backend="reference")
    for each in net, reference:
        each.forward(x, training=True)
    whole, expected = net.backward(dy), reference.backward(dy)
    np.testing.assert_allclose(whole, expected, rtol=RTOL[dtype], atol=RTOL[dtype] * np.abs(expected).max())
    net.forward(x[:1], training=True)
    np.testing.assert_array_equal(net.backward(dy[:1]), whole[:1])


@pytest.mark.parametrize("name", NETWORKS)
def test_bits_do_not_depend_on_the_number_of_threads(name):
    results = []
    before = fb.get_num_threads()
    try:
        for threads in (1, 2, 3, 7):
            fb.set_num_threads(threads)
            native.set_fork_cost(0)          # share even the smallest work
            net, _, x, y, loss = _pair(name, "float32", rows=150)
            net.loss_and_grad(x, y, loss)
            grads = net.grads.flat.copy()
            fb.Trainer(net, loss, fb.Adam(0.01)).fit(x, y, epochs=2, batch_size=64, progress=False)
            results.append((threads, grads.tobytes(), net.params.flat.tobytes()))
    finally:
        fb.set_num_threads(before)
        native.set_fork_cost(None)
    for threads, grads, params in results[1:]:
        assert grads == results[0][1], f"{threads} threads: other gradients"
        assert params == results[0][2], f"{threads} threads: other parameters"


def test_step_and_fit_give_the_same_bits():
    nets = []
    for by_hand in (False, True):
        net, _, x, y, loss = _pair("relu", "float32", rows=40)
        trainer = fb.Trainer(net, loss, fb.Adam(0.01))
        if by_hand:
            for i in range(0, 40, 16):
                trainer.step(x[i:i + 16], y[i:i + 16])
        else:
            trainer.fit(x, y, epochs=1, batch_size=16, shuffle=False, progress=False)
        nets.append(net.params.flat.copy())
    np.testing.assert_array_equal(*nets)


def test_rows_predicted_together_or_one_by_one_give_the_same_bits():
    net, _, x, _, _ = _pair("deep", "float32", rows=77)
    whole = net.predict(x)
    for size in (1, 2, 5, 12, 64):
        np.testing.assert_array_equal(net.predict(x, batch_size=size), whole)


@pytest.mark.parametrize("form", [
    lambda x: x[::2], lambda x: np.asfortranarray(x), lambda x: x[:, ::-1], lambda x: x.astype("float64"),
    lambda x: x.tolist(),
], ids=["every second row", "column by column", "reversed", "float64", "a list"])
def test_predicting_again_takes_arrays_that_want_converting(form):
    net = fb.Sequential(fb.Linear(4, 3), fb.Tanh(), seed=0)
    x = np.random.default_rng(0).standard_normal((6, 4)).astype("float32")
    net.predict(x)
    converted = np.ascontiguousarray(form(x), "float32")
    np.testing.assert_array_equal(net.predict(form(x)), net.predict(converted))


@pytest.mark.parametrize("where", [0, 5, 11])
def test_after_divergence_everything_is_as_after_the_last_good_mini_batch(where):
    net, _, x, y, loss = _pair("norms", "float32", rows=96)
    other = net.copy()
    x[where * 8 + 3, 2] = np.inf
    net_run, other_run = fb.Trainer(net, loss, fb.Adam(0.01)), fb.Trainer(other, loss, fb.Adam(0.01))
    with pytest.raises(fb.DivergenceError, match=f"batch {where + 1}") as error:
        net_run.fit(x, y, batch_size=8, shuffle=False, progress=False)
    assert error.value.tensor == "input"
    if where:
        other_run.fit(x[:where * 8], y[:where * 8], batch_size=8, shuffle=False, progress=False)
    np.testing.assert_array_equal(net.params.flat, other.params.flat)
    np.testing.assert_array_equal(net.buffers.flat, other.buffers.flat)
    assert net_run.step(x[:1].repeat(8, 0), y[:8]) == other_run.step(x[:1].repeat(8, 0), y[:8]) or where == 0


def test_a_single_step_that_would_spoil_the_parameters_changes_nothing():
    net, _, x, y, loss = _pair("linear", "float32")
    before = net.params.flat.copy()
    trainer = fb.Trainer(net, loss, fb.SGD(1e30, momentum=0.9))
    with pytest.raises((fb.DivergenceError, NonFiniteError)):
        for _ in range(3):
            before = net.params.flat.copy()
            trainer.step(x, y)
    np.testing.assert_array_equal(net.params.flat, before)


def test_an_op_without_a_native_kernel_is_refused_by_name():
    with pytest.raises(ValueError, match="the op 'nonsense' has no native kernel"):
        native.op_phases("nonsense")


@pytest.mark.parametrize(("isa", "message"), [
    ("avx9", "isa is 'avx9', which is unknown; expected one of generic"),
    ("neon" if "x86" in os.uname().machine else "avx2", "which is unknown"),
])
def test_a_forced_isa_that_is_not_there_is_an_error_at_import(isa, message):
    run = subprocess.run([sys.executable, "-c", "import fastbp; fastbp.Sequential(fastbp.Linear(2, 1))"],
                         env={**os.environ, "FASTBP_ISA": isa}, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert message in run.stderr


def test_an_isa_this_cpu_lacks_is_named_as_such(monkeypatch):
    lacking = [name for name, supported in native.known_isas().items() if not supported]
    if not lacking:
        pytest.skip("this CPU has every instruction set that the build knows")
    run = subprocess.run([sys.executable, "-c", "import fastbp; fastbp.Sequential(fastbp.Linear(2, 1))"],
                         env={**os.environ, "FASTBP_ISA": lacking[0]}, capture_output=True, text=True, check=False)
    assert f"isa is '{lacking[0]}', which this CPU lacks" in run.stderr


@pytest.mark.parametrize("isa", [n for n, supported in native.known_isas().items() if supported])
def test_one_step_agrees_across_isas(isa):
    code = ("import numpy as np, fastbp as fb\n"
            "rng = np.random.default_rng(0)\n"
            "net = fb.Sequential(fb.Linear(37, 50), fb.GELU(), fb.Linear(50, 5), seed=3)\n"
            "x, y = rng.standard_normal((64, 37)), rng.integers(0, 5, 64)\n"
            "fb.Trainer(net, fb.CrossEntropy(), fb.Adam(1e-3)).step(x, y)\n"
            "print(*net.params.flat[::7])\n")
    run = subprocess.run([sys.executable, "-c", code], env={**os.environ, "FASTBP_ISA": isa}, capture_output=True,
                         text=True, check=True)
    rng = np.random.default_rng(0)
    net = fb.Sequential(fb.Linear(37, 50), fb.GELU(), fb.Linear(50, 5), seed=3)
    fb.Trainer(net, fb.CrossEntropy(), fb.Adam(1e-3)).step(rng.standard_normal((64, 37)), rng.integers(0, 5, 64))
    np.testing.assert_allclose(np.array(run.stdout.split(), dtype=float), net.params.flat[::7], rtol=1e-5, atol=1e-6)


# ---- what a plan has room for -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _TooMuch(Op):
    """y = the sum of the inputs, scaled by the parameters; says whatever it is told to of its C twin."""

    told: Native
    params: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    name: ClassVar[str] = "layer_norm"

    def output_shape(self, *shapes):
        return shapes[0]

    def parameter_shapes(self, *shapes):
        return dict.fromkeys(self.params, (shapes[0][-1],))

    def buffer_shapes(self, *shapes):
        return dict.fromkeys(self.states, (shapes[0][-1],))

    def forward(self, ctx, *xs, **params):
        return sum(xs) * np.prod(list(params.values()), axis=0)

    def backward(self, ctx, dy):
        raise NotImplementedError

    def native(self, *shapes):
        return self.told


@pytest.mark.parametrize(("op", "inputs", "message"), [
    (_TooMuch(Native()), 17, "the op 'layer_norm' has 17 inputs; the native backend takes at most 16"),
    (_TooMuch(Native(dims=(1,) * 41)), 1, "the op 'layer_norm' has 41 dims; the native backend takes at most 24"),
    (_TooMuch(Native(attrs=(1.0,) * 9)), 1, "the op 'layer_norm' has 9 attrs; the native backend takes at most 8"),
    (_TooMuch(Native(saves=(Space(1),) * 9)), 1, "has 9 saved tensors; the native backend takes at most 8"),
    (_TooMuch(Native(params=tuple("abcdefghijklm"))), 1, "has 13 parameters; the native backend takes at most 12"),
    (_TooMuch(Native(buffers=tuple("abcde"))), 1, "has 5 buffers; the native backend takes at most 4"),
    (_TooMuch(Native((1, 5), (1e-5,)), ("gamma", "beta")), 1,
     "the op 'layer_norm' has parameters 'gamma', 'beta' that its C twin is not told of"),
    (_TooMuch(Native((1, 5), (1e-5,)), (), ("mean",)), 1,
     "the op 'layer_norm' has buffers 'mean' that its C twin is not told of"),
], ids=lambda value: "" if isinstance(value, _TooMuch) else str(value)[:40])
def test_an_op_that_a_plan_has_no_room_for_is_refused_by_name(op, inputs, message):
    tensors = [fb.Input(5) for _ in range(inputs)]
    out = cases.OpLayer(op)(*tensors)
    with pytest.raises(ValueError, match=message):
        fb.Network(tensors, out)
    fb.Network(tensors, out, backend="reference").predict(tuple(np.ones((2, 5)) for _ in tensors))


def test_parameters_are_handed_over_by_the_roles_that_the_op_says():
    class Renamed(LayerNormOp):
        def parameter_shapes(self, *shapes):
            return {"beta": (self.features,), "gamma": (self.features,)}

        def native(self, *shapes):
            return replace(super().native(*shapes), params=("gamma", "beta"))

    a = fb.Input(5)
    net = fb.Network(a, cases.OpLayer(Renamed(5))(a), dtype="float64", seed=0)
    plain = fb.Sequential(fb.LayerNorm(5), dtype="float64")
    plain.load_state_dict({"0.weight": net.params["0.gamma"], "0.bias": net.params["0.beta"]})
    x = np.random.default_rng(0).standard_normal((7, 5))
    np.testing.assert_array_equal(net.predict(x), plain.predict(x))
    for each in (net, plain):
        each.loss_and_grad(x, 0 * x, fb.MSE())
    np.testing.assert_array_equal(net.grads["0.gamma"], plain.grads["0.weight"])
    np.testing.assert_array_equal(net.grads["0.beta"], plain.grads["0.bias"])


def test_an_optimizer_with_more_numbers_or_vectors_than_there_is_room_for_is_refused():
    class Long(fb.SGD):
        def hyper(self):
            return (0.0,) * 6

    class Wide(fb.SGD):
        state_names = ("a", "b", "c")

    x, y = np.ones((4, 2)), np.ones((4, 1))
    for optimizer, message in ((Long(0.1), "more than 5 numbers"), (Wide(0.1), "keeps 3 vectors")):
        net = fb.Sequential(fb.Linear(2, 1), seed=0)
        with pytest.raises(ValueError, match=message):
            fb.Trainer(net, fb.MSE(), optimizer).fit(x, y, progress=False)
