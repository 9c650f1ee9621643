"""Explanations of networks against the network's own gradients and against difference quotients."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from math import fsum

import cases
import numpy as np
import pytest

import fastbp as fb
from fastbp.chainrule import worked_example
from fastbp.chainrule.example import Example
from fastbp.engine.executable import Executable
from fastbp.ops.activations import ActivationOp
from fastbp.ops.linear import LinearOp
from fastbp.views.explanations.local_maps import Dense, Elementwise
from fastbp.views.explanations.written import maps_of

ACTIVATIONS = [fb.Identity, fb.ReLU, fb.LeakyReLU, fb.ELU, fb.SELU, fb.GELU, lambda: fb.GELU("tanh"), fb.SiLU, fb.Mish,
               fb.Sigmoid, fb.Tanh, fb.Softplus, fb.HardSwish, fb.Softmax]
LOSSES = [fb.MSE(), fb.MAE(), fb.Huber(0.3), fb.CrossEntropy(), fb.CrossEntropy(label_smoothing=0.1),
          fb.CrossEntropy(class_weight=(1.0, 2.0, 0.5, 1.0)), fb.BinaryCrossEntropy(),
          fb.BinaryCrossEntropy(pos_weight=2.0), fb.PoissonNLL(), fb.GaussianNLL(), fb.Quantile(0.3),
          fb.Quantile((0.1, 0.5, 0.7, 0.9)), fb.HalfSquaredError()]


def targets(loss, rng, rows, outputs=4):
    if isinstance(loss, fb.CrossEntropy):
        return rng.integers(0, outputs, rows)
    if isinstance(loss, fb.BinaryCrossEntropy):
        return rng.integers(0, 2, (rows, outputs)).astype(float)
    if isinstance(loss, fb.PoissonNLL):
        return rng.poisson(1.5, (rows, outputs)).astype(float)
    if isinstance(loss, fb.GaussianNLL):
        return rng.normal(size=(rows, outputs // 2))
    return rng.normal(size=(rows, outputs))


def random_case(k):
    """Return net, x, y, loss: every activation and every loss comes up, with batches of 1 to 5 and 1 to 3 layers."""
    rng = np.random.default_rng(k)
    sizes = [3, *rng.integers(2, 6, 1 + k % 3), 4]
    layers = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers.append(fb.Linear(int(a), int(b), bias_init=fb.Normal(0.3)))
        if i < len(sizes) - 2:
            layers.append(ACTIVATIONS[(k + i) % len(ACTIVATIONS)]())
    net = fb.Sequential(*layers, dtype="float64", seed=k, backend="reference")
    rows = 1 + k % 5
    loss = LOSSES[k % len(LOSSES)]
    return net, rng.normal(size=(rows, 3)), targets(loss, rng, rows), loss, rng


def agrees(e, actual, tolerance=1e-6):
    """Whether the chain, all paths together, backward and the difference quotient are one number."""
    # Below this the rounding of the difference quotient is larger than the tolerance allows.
    floor = 1e-9 * max(1, abs(e.target.value)) / tolerance
    scale = max(abs(actual), floor)
    return (abs(e.gradient - actual) <= 1e-12 * max(abs(actual), 1e-3)
            and abs(e.numerical - actual) <= tolerance * scale)


@pytest.mark.parametrize("k", range(50))
def test_random_networks_explanation_is_backward_is_numerical(k):
    net, x, y, loss, rng = random_case(k)
    net.loss_and_grad(x, y, loss)
    every = [f"{n}[{', '.join(map(str, i))}]" for n, p in net.params.items() for i in np.ndindex(p.shape)]
    for weight in rng.choice(every, 4, replace=False):
        e = net.explain(x, y, loss, weight=weight, terms=10_000)
        name, index = weight.split("[")
        actual = net.grads[name][tuple(int(i) for i in index[:-1].split(","))]
        assert agrees(e, actual), (weight, e.gradient, e.numerical, actual)
        for path in e.paths:
            assert path.value == pytest.approx(np.prod([f.value for f in path.factors]), rel=1e-12, abs=1e-300)
        for use in e.uses:
            assert sum(p.value for p in use.paths) == pytest.approx(use.value, rel=1e-9, abs=1e-13)
            assert len(use.paths) == use.path_count
        for form in ("text", "latex", "markdown", "svg", "html"):
            assert "@" not in getattr(e, form)().replace("@media", "").replace("@page", ""), form


def test_every_activation_and_loss_comes_up():
    def leaves(c):
        return [c] if not c.__subclasses__() else [x for s in c.__subclasses__() for x in leaves(s)]

    ops = {n.op.name for k in range(50) for n in random_case(k)[0].graph.nodes}
    for op in leaves(ActivationOp):
        assert op.name in ops, f"no random network uses {op.name}"
    for loss in leaves(fb.Loss):
        if loss.__module__ == "fastbp.objectives.losses":
            assert any(isinstance(known, loss) for known in LOSSES)


def residual():
    a = fb.Input(3)
    h = fb.Tanh()(fb.Linear(3, 3)(a))
    h = fb.Add()(h, a)
    h = fb.LayerNorm()(fb.Linear(3, 3)(h))
    return fb.Network(a, fb.Linear(3, 4)(fb.Multiply()(h, a)), dtype="float64", seed=1, backend="reference")


def concatenated():
    a = fb.Input(3)
    b, c = fb.Sigmoid()(fb.Linear(3, 2)(a)), fb.Linear(3, 2)(a)
    return fb.Network(a, fb.Linear(4, 4)(fb.Concat()(b, c)), dtype="float64", seed=2, backend="reference")


def batch_normalised():
    return fb.Sequential(fb.Linear(3, 4), fb.BatchNorm(), fb.ReLU(), fb.Linear(4, 3), fb.BatchNorm(), fb.Tanh(),
                         fb.Linear(3, 4), dtype="float64", seed=3, backend="reference")


def shared():
    a, layer = fb.Input(3), fb.Linear(3, 3)
    return fb.Network(a, fb.Linear(3, 4)(layer(fb.Tanh()(layer(a)))), dtype="float64", seed=4, backend="reference")


def dropped():
    return fb.Sequential(fb.Linear(3, 6), fb.Dropout(0.4), fb.Tanh(), fb.Linear(6, 4), dtype="float64", seed=5,
                         backend="reference")


@pytest.mark.parametrize("make", [residual, concatenated, batch_normalised, shared, dropped])
def test_graphs_of_every_kind_all_paths(make):
    net, rng = make(), np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(4, 4))
    with net.fixed_dropout():
        net.loss_and_grad(x, y, fb.MSE())
        for name, grads in net.grads.items():
            for index in list(np.ndindex(grads.shape))[:4]:
                e = net.explain(x, y, fb.MSE(), weight=f"{name}[{', '.join(map(str, index))}]", terms=3_000)
                assert agrees(e, grads[index]), (name, index, e.gradient, e.numerical, grads[index])
                for use in e.uses:
                    total = sum(p.value for p in use.paths)
                    assert total == pytest.approx(use.value, rel=1e-9, abs=1e-13), (name, index)
                    assert len(use.paths) == use.path_count
                e.html(), e.text(lang="ko")


def test_sequences_and_flatten_two_outputs_two_losses():
    a = fb.Input(2, 3)
    h = fb.ReLU()(fb.Linear(3, 4)(a))
    net = fb.Network(a, (fb.Linear(4, 3)(h), fb.Linear(8, 1)(fb.Flatten()(h))), dtype="float64", seed=0,
                     backend="reference")
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(3, 2, 3)), (rng.integers(0, 3, (3, 2)), rng.normal(size=(3, 1)))
    losses = (fb.CrossEntropy(), fb.HalfSquaredError())
    net.loss_and_grad(x, y, losses, sample_weight=[1.0, 2.0, 0.0])
    for name, grads in net.grads.items():
        index = (0,) * grads.ndim
        e = net.explain(x, y, losses, weight=f"{name}[{', '.join(map(str, index))}]", terms=1000,
                        sample_weight=[1.0, 2.0, 0.0])
        assert agrees(e, grads[index]), name
        for use in e.uses:
            assert sum(p.value for p in use.paths) == pytest.approx(use.value, rel=1e-9, abs=1e-13)
        e.html(lang="ko"), e.markdown()


def test_softmax_and_normalisation_maps_are_the_backward_rule():
    net, rng = residual(), np.random.default_rng(0)
    net.forward(rng.normal(size=(2, 3)), training=True)
    for tensor, ctx in net._backend.contexts().items():
        maps = maps_of(tensor.node, ctx, np.arange(2))
        dy = rng.normal(size=ctx.output.shape)
        for k, (map_, dx) in enumerate(zip(maps, tensor.node.op.backward(ctx, dy)[0], strict=True)):
            mine = [sum(d * dy.flat[t] for t, d in zip(*map_.edges(i), strict=True)) for i in range(dx.size)]
            np.testing.assert_allclose(mine, dx.ravel(), atol=1e-12, err_msg=f"{tensor.node.op.name}, operand {k}")


def test_the_largest_paths_come_first_and_the_rest_is_counted():
    rng = np.random.default_rng(0)
    net = fb.Sequential(fb.Linear(2, 3), fb.Tanh(), fb.Linear(3, 5), fb.Tanh(), fb.Linear(5, 4), dtype="float64",
                        seed=0, backend="reference")
    x, y = rng.normal(size=(1, 2)), rng.normal(size=(1, 4))
    every = net.explain(x, y, fb.MSE(), weight="w1", terms=1000)
    assert every.path_count == len(every.paths) == 5 * 4
    few = net.explain(x, y, fb.MSE(), weight="w1", terms=6)
    sizes = sorted((abs(p.value) for p in every.paths), reverse=True)
    assert [abs(p.value) for p in few.paths] == pytest.approx(sizes[:6])
    assert few.hidden_paths == 14
    assert few.rest == pytest.approx(sum(p.value for p in every.paths) - sum(p.value for p in few.paths))
    assert "14 smaller paths together" in few.text()
    assert "나머지 작은 경로 14개의 합" in few.text(lang="ko")


def test_numbering_and_names():
    e = worked_example()
    by_number = {f"w{k}": e.net.explain(e.x, e.y, e.loss, weight=f"w{k}").name for k in range(1, 9)}
    assert by_number == {"w1": "0.weight[0, 0]", "w2": "0.weight[1, 0]", "w3": "0.weight[0, 1]", "w4": "0.weight[1, 1]",
                         "w5": "2.weight[0, 0]", "w6": "2.weight[1, 0]", "w7": "2.weight[0, 1]", "w8": "2.weight[1, 1]"}
    assert e.net.explain(e.x, e.y, e.loss, weight="w₇").gradient == e.net.explain(
        e.x, e.y, e.loss, weight="2.weight[-2, 1]").gradient
    bias = e.net.explain(e.x, e.y, e.loss, weight="2.bias[1]")
    assert bias.gradient == e.net.explain(e.x, e.y, e.loss, weight="b4").gradient
    assert bias.gradient == pytest.approx(-0.21707153467853746 * 0.17551005281727122, rel=1e-14)


def test_a_wrong_name_answers_with_the_valid_range():
    e = worked_example()

    def message(weight):
        with pytest.raises((ValueError, TypeError)) as error:
            e.net.explain(e.x, e.y, e.loss, weight=weight)
        return str(error.value)

    valid = 'expected w1 to w8, b1 to b4 or an entry such as "0.weight[0, 0]"'
    assert message("w99") == f"weight is 'w99'; {valid}"
    assert message("w0") == f"weight is 'w0'; {valid}"
    assert message("b5") == f"weight is 'b5'; {valid}"
    assert message("7.weight[0]") == f"weight is '7.weight[0]'; {valid}"
    assert message(7) == f"weight is 7; {valid}"
    assert message("2.weight[2, 0]") == ("weight is '2.weight[2, 0]'; expected an entry of shape (2, 2), as in "
                                         '"2.weight[0, 0]", with indices within [0–1, 0–1]')
    assert message("2.weight") == ("weight is '2.weight'; expected an entry of shape (2, 2), as in \"2.weight[0, 0]\", "
                                   "with indices within [0–1, 0–1]")


def test_bad_arguments_name_the_mend():
    e = worked_example()
    for argument, value, words in (("lr", "fast", "expected a finite number"), ("lang", "de", '"en" or "ko"'),
                                   ("digits", 30, "expected 1 to 17"), ("terms", 0, "expected a positive integer")):
        with pytest.raises(ValueError, match=words):
            e.net.explain(e.x, e.y, e.loss, weight="w1", **{argument: value})
    with pytest.raises(ValueError, match=r"x has shape \(1, 3\)"):
        e.net.explain([[1, 2, 3]], e.y, e.loss, weight="w1")


def test_the_network_is_left_as_it_was():
    net, rng = batch_normalised(), np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(4, 4))
    net.loss_and_grad(x, y, fb.MSE())
    before = net.state_dict(), net.grads.flat.copy()
    net.explain(x, y, fb.MSE(), weight="w3")
    after = net.state_dict()
    assert all(np.array_equal(v, after[n]) for n, v in before[0].items())
    assert np.array_equal(before[1], net.grads.flat)


def test_a_dead_relu_is_named():
    net = fb.Sequential(fb.Linear(2, 1, bias_init=fb.Constant(-100.0)), fb.ReLU(), fb.Linear(1, 1), dtype="float64",
                        seed=0, backend="reference")
    text = net.explain([[1.0, 1.0]], [[1.0]], fb.MSE(), weight="w1").text()
    assert "The gradient is 0, because ∂h/∂z = 0" in text
    assert "ReLU′(z) = ReLU" not in text
    assert "0 (z ≤ 0)" in text


def test_a_kink_is_named():
    net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(0.0)), fb.ReLU(), dtype="float64", seed=0,
                        backend="reference")
    e = net.explain([[1.0]], [[1.0]], fb.MSE(), weight="w1")
    assert e.check.kink
    assert "There is a kink here" in str(e)
    assert "꺾인 점" in e.text(lang="ko")


def test_a_frozen_layer_is_named():
    net = fb.Sequential(fb.Linear(2, 2, trainable=False), fb.Tanh(), fb.Linear(2, 1), dtype="float64", seed=0,
                        backend="reference")
    e = net.explain([[1.0, 1.0]], [[1.0]], fb.MSE(), weight="w1")
    assert "frozen" in str(e)
    assert e.gradient == pytest.approx(e.numerical, rel=1e-6)
    assert e.check.backward == 0


def test_nan_is_traced_to_a_factor():
    net = fb.Sequential(fb.Linear(2, 2), fb.Tanh(), fb.Linear(2, 1), dtype="float64", seed=0, backend="reference")
    net.params["2.weight"][0, 0] = np.nan
    text = net.explain([[1.0, 1.0]], [[1.0]], fb.MSE(), weight="w1").text()
    assert "The gradient is not finite, because" in text


def test_a_batch_says_how_samples_are_summed():
    e = worked_example()
    x, y = np.repeat(e.x, 3, axis=0) * [[1.0], [2.0], [3.0]], np.repeat(e.y, 3, axis=0)
    found = e.net.explain(x, y, e.loss, weight="w7")
    text = str(found)
    assert "the sum over 3 samples, 3 paths in all" in text
    assert "E is the mean over 3 rows" in text
    assert "(1/3)" in text
    assert "sample 3" in text
    weighted = e.net.explain(x, y, e.loss, weight="w7", sample_weight=[1.0, 0.0, 3.0])
    assert "ρ" in str(weighted)
    assert "weighted mean" in str(weighted)


def test_a_large_network_is_readable_and_little_work(monkeypatch):
    rng = np.random.default_rng(0)
    net = fb.Sequential(fb.Linear(784, 256), fb.ReLU(), fb.Linear(256, 10), seed=0, backend="reference")
    x, y = rng.normal(size=(1, 784)), np.array([3])
    done = Counter()

    def counted(kind, name):
        method = getattr(kind, name)

        def counting(*args, **named):
            done[name] += 1
            return method(*args, **named)

        monkeypatch.setattr(kind, name, counting)

    for kind, names in ((LinearOp, ("forward", "backward")), (Dense, ("best", "edges")),
                        (Elementwise, ("best", "edges"))):
        for name in names:
            counted(kind, name)
    e = net.explain(x, y, fb.CrossEntropy(), weight="w1000")
    text, page = e.text(), e.html()
    # The network itself and its float64 copy, forward and backward, and two passes for the numerical gradient: of two
    # layers each. The search looks at each layer once, and only at elements on the paths that are shown.
    assert done["forward"] <= 2 * 4
    assert done["backward"] <= 2 * 2
    assert done["best"] <= 2
    assert done["edges"] <= 2 * 10
    assert len(text.splitlines()) < 100
    assert max(len(line) for line in text.splitlines()) < 200
    assert len(page) < 300_000
    assert e.path_count == 10


def test_own_backend_and_dtype_are_compared():
    e = worked_example()
    net = e.net.copy(dtype="float32")
    found = net.explain(e.x, e.y, e.loss, weight="w7")
    assert found.check.backend == "reference, float32"
    assert found.check.backward == pytest.approx(found.gradient, rel=1e-5)
    assert found.check.backward != found.gradient


def test_example_is_what_explain_takes():
    e = worked_example()
    assert isinstance(e, Example)
    assert e.net.explain(e.x, e.y, e.loss, weight="w7", lr=e.lr).updated == pytest.approx(0.5113012702387375, abs=1e-12)


def log_cosh(y_pred, y):
    e = y_pred - y
    return np.log(np.cosh(e)).mean(), np.tanh(e) / e.size


@pytest.mark.parametrize("rows", [1, 3])
def test_a_loss_of_ones_own_is_explained_as_a_whole(rows):
    rng = np.random.default_rng(0)
    net = fb.Sequential(fb.Linear(3, 2), fb.Tanh(), fb.Linear(2, 2), dtype="float64", seed=0, backend="reference")
    x, y = rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2))
    net.loss_and_grad(x, y, log_cosh)
    e = net.explain(x, y, log_cosh, weight="w2", terms=100)
    assert agrees(e, net.grads["0.weight"][1, 0])
    assert fsum(p.value for p in e.paths) == pytest.approx(e.gradient, rel=1e-12)
    assert "∂E/∂o₁" in e.text()
    assert "ℓ′(o₁)" in e.text()
    assert e.html()


def test_two_losses_of_which_one_is_ones_own():
    a = fb.Input(3)
    net = fb.Network(a, (fb.Linear(3, 2)(fb.Tanh()(h := fb.Linear(3, 3)(a))), fb.Linear(3, 2)(h)), dtype="float64",
                     seed=0, backend="reference")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3)), (rng.normal(size=(4, 2)), rng.normal(size=(4, 2)))
    net.loss_and_grad(x, y, (fb.MSE(), log_cosh))
    e = net.explain(x, y, (fb.MSE(), log_cosh), weight="w1", terms=1000)
    assert agrees(e, net.grads["0.weight"][0, 0])
    for use in e.uses:
        assert fsum(p.value for p in use.paths) == pytest.approx(use.value, rel=1e-9)


class Twisted(fb.CustomLayer):
    """y_i = a x_i x_{i+1}, with one trained a."""

    def parameters(self, shape):
        return {"a": ((1,), fb.Constant(0.7))}

    def forward(self, ctx, x, a):
        return a * x * np.roll(x, -1, axis=1)

    def backward(self, ctx, dy):
        (x,), a = ctx.inputs, ctx.params["a"]
        dx = a * (dy * np.roll(x, -1, axis=1) + np.roll(dy * x, 1, axis=1))
        return dx, {"a": np.array([(dy * x * np.roll(x, -1, axis=1)).sum()])}


def test_a_layer_of_ones_own_is_gone_through_by_its_backward_rule():
    rng = np.random.default_rng(0)
    net = fb.Sequential(fb.Linear(3, 4), Twisted(), fb.Linear(4, 2), dtype="float64", seed=0, backend="reference")
    x, y = rng.normal(size=(3, 3)), rng.normal(size=(3, 2))
    net.loss_and_grad(x, y, fb.MSE())
    e = net.explain(x, y, fb.MSE(), weight="w2", terms=100)
    assert agrees(e, net.grads["0.weight"][1, 0])
    assert e.path_count == 3 * 2 * 2
    assert fsum(p.value for p in e.paths) == pytest.approx(e.gradient, rel=1e-12)
    assert "Twisted′(z₁)" in e.text()
    for form in ("html", "svg", "markdown"):
        assert "@" not in getattr(e, form)().replace("@media", "").replace("@page", "")
    own = net.explain(x, y, fb.MSE(), weight="1.a", terms=100)
    assert agrees(own, net.grads["1.a"][0])
    assert own.use_count == 3 * 4
    for use in own.uses:
        assert fsum(p.value for p in use.paths) == pytest.approx(use.value, rel=1e-9)
    assert "Twisted′(a₁)" in own.text()
    assert own.html()


@pytest.mark.parametrize("name", [n for n in cases.LAYERS if cases.LAYERS[n].network(backend="reference").params])
def test_parameters_of_every_layer(name):
    case, rng = cases.LAYERS[name], np.random.default_rng(5)
    net = case.network(dtype="float64", seed=5, backend="reference")
    x = tuple(case.inputs(rng, 3))
    y = rng.normal(size=(3, *net.graph.outputs[0].shape))
    net.params.flat = net.params.flat + 0.3 * rng.normal(size=net.params.flat.size)
    data = x[0] if len(x) == 1 and net._ins.alone else x, y if net._outs.alone else (y,), fb.MSE()
    own = net.copy()        # which draws what the explanation draws
    own.loss_and_grad(*data)
    for parameter, grads in own.grads.items():
        index = tuple(int(i) for i in np.unravel_index(np.argmax(np.abs(grads)), grads.shape))
        e = net.explain(*data, weight=f"{parameter}[{', '.join(map(str, index))}]", terms=3_000)
        assert agrees(e, grads[index]), (parameter, index)
        for use in e.uses:
            if use.path_count == len(use.paths):
                assert fsum(p.value for p in use.paths) == pytest.approx(use.value, rel=1e-9, abs=1e-13)


def test_data_is_checked_and_converted_once(monkeypatch):
    done = Counter()
    for kind, name in ((fb.MSE, "targets"), (fb.MSE, "sample_weights"), (Executable, "_inputs")):
        method = getattr(kind, name)

        def counting(*args, method=method, name=name, **named):
            done[name] += 1
            return method(*args, **named)

        monkeypatch.setattr(kind, name, counting)
    net = fb.Sequential(fb.Linear(3, 2), fb.Tanh(), seed=0, backend="reference")
    e = net.explain([[1, 2, 3]], [[0.5, 1]], fb.MSE(), weight="w1", sample_weight=[2.0])
    assert done == {"targets": 1, "sample_weights": 1, "_inputs": 1}
    net.loss_and_grad([[1, 2, 3]], [[0.5, 1]], fb.MSE(), sample_weight=[2.0])
    assert e.check.backward == net.grads["0.weight"][0, 0]
    assert e.check.backend == "reference, float32"


def test_batch_normalisation_needs_two_rows():
    with pytest.raises(ValueError, match="expected at least 2 in training"):
        batch_normalised().explain(np.ones((1, 3)), np.ones((1, 4)), fb.MSE(), weight="w1")


def test_too_many_derivatives_are_refused_with_a_way_out():
    net = fb.Sequential(fb.Input(200, 2), fb.Linear(2, 1), fb.BatchNorm(), dtype="float64", seed=0, backend="reference")
    x = np.random.default_rng(0).normal(size=(300, 200, 2))
    with pytest.raises(ValueError, match=r"'batch_norm' joins 60,000 elements .* explain a few rows of the batch"):
        net.explain(x, x[:, :, :1], fb.MSE(), weight="w1")


def test_an_explanation_is_short_on_one_line():
    e = worked_example()
    found = e.net.explain(e.x, e.y, e.loss, weight="w7", lr=0.5)
    assert re.fullmatch(r"Explanation\(∂E/∂w₇ = −0\.0226025405, 1 path, numerical gradient −0\.02260254\d+, relative "
                        r"difference \S+\)", repr(found))
    assert str(found) == found.text()
