"""The optimizers: formulas over several steps, decay, clipping, what is updated, steps by hand."""

import copy
import gc
import math
import pickle
import re

import numpy as np
import pytest
from conftest import backends

import fastbp as fb
from fastbp.optim.optimizers import Segment, Update

OPTIMIZERS = {
    "sgd": lambda **k: fb.SGD(0.1, **k),
    "momentum": lambda **k: fb.SGD(0.1, momentum=0.9, **k),
    "nesterov": lambda **k: fb.SGD(0.1, momentum=0.9, nesterov=True, **k),
    "rmsprop": lambda **k: fb.RMSprop(0.01, **k),
    "rmsprop momentum": lambda **k: fb.RMSprop(0.01, momentum=0.9, **k),
    "adagrad": lambda **k: fb.Adagrad(0.1, **k),
    "adam": lambda **k: fb.Adam(0.01, **k),
    "adamw": lambda **k: fb.AdamW(0.01, **k),
    "lion": lambda **k: fb.Lion(0.01, **k),
}
each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
each_backend = pytest.mark.parametrize("backend", backends())


def run(optimizer, p, gradients, weight_decay=0.0, lr=None):
    """Return a parameter after each of some steps."""
    params = np.array([p])
    state = tuple(np.zeros(1) for _ in optimizer.state_names)
    path = []
    for step, g in enumerate(gradients):
        optimizer.update(params, np.array([g]), state, lr or optimizer.lr(step), step + 1, weight_decay)
        path.append(float(params[0]))
    return path


# ---- formulas: a constant or simple gradient has a closed form ---------------------------------------------------

STEPS = 6
G, P, LR = 0.5, 2.0, 0.1


def test_sgd():
    np.testing.assert_allclose(run(fb.SGD(LR), P, [G] * STEPS), [P - LR * G * t for t in range(1, STEPS + 1)])


def test_sgd_with_momentum_sums_a_geometric_series():
    velocity = [G * (1 - 0.9**t) / (1 - 0.9) for t in range(1, STEPS + 1)]
    np.testing.assert_allclose(run(fb.SGD(LR, 0.9), P, [G] * STEPS), P - LR * np.cumsum(velocity))


def test_nesterov_looks_ahead():
    velocity = np.array([G * (1 - 0.9**t) / (1 - 0.9) for t in range(1, STEPS + 1)])
    expected = P - LR * np.cumsum(G + 0.9 * velocity)
    np.testing.assert_allclose(run(fb.SGD(LR, 0.9, nesterov=True), P, [G] * STEPS), expected)


def test_coupled_weight_decay_is_a_pull_to_0():
    np.testing.assert_allclose(run(fb.SGD(LR), P, [0.0] * STEPS, weight_decay=0.3),
                               [P * (1 - LR * 0.3) ** t for t in range(1, STEPS + 1)])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop(momentum):
    each = [G / (math.sqrt(G * G * (1 - 0.99**t)) + 1e-8) for t in range(1, STEPS + 1)]
    velocity = [sum(momentum ** (t - s) * each[s] for s in range(t + 1)) for t in range(STEPS)]
    np.testing.assert_allclose(run(fb.RMSprop(LR, momentum=momentum), P, [G] * STEPS), P - LR * np.cumsum(velocity))


def test_adagrad():
    gradients = [1.0, -2.0, 0.5]
    sums = np.cumsum(np.square(gradients))
    np.testing.assert_allclose(run(fb.Adagrad(LR), P, gradients),
                               P - LR * np.cumsum(gradients / (np.sqrt(sums) + 1e-10)))


def adam_path(gradients, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    """Adam's averages written as the weighted sums that they are."""
    p, path = P, []
    for t in range(1, len(gradients) + 1):
        ages = np.arange(t)[::-1]
        g = np.array(gradients[:t])
        m = ((1 - beta1) * beta1**ages * g).sum() / (1 - beta1**t)
        v = ((1 - beta2) * beta2**ages * g * g).sum() / (1 - beta2**t)
        p = p * (1 - LR * decay) - LR * m / (math.sqrt(v) + eps)
        path.append(p)
    return path


def test_adam():
    gradients = [0.3, -0.2, 1e-9, 5.0, -5.0]
    np.testing.assert_allclose(run(fb.Adam(LR), P, gradients), adam_path(gradients))
    np.testing.assert_allclose(run(fb.Adam(LR, 0.5, 0.9, 1e-3), P, gradients), adam_path(gradients, 0.5, 0.9, 1e-3))


def test_adam_moves_by_the_learning_rate_at_first():
    for g in (1e-3, 1.0, -1e4):
        assert run(fb.Adam(LR), P, [g])[0] == pytest.approx(P - LR * np.sign(g), rel=1e-5)


def test_adamw_decays_apart_from_the_gradient():
    gradients = [0.3, -0.2, 1e-9, 5.0, -5.0]
    np.testing.assert_allclose(run(fb.AdamW(LR), P, gradients, weight_decay=0.2), adam_path(gradients, decay=0.2))


def test_lion_moves_by_signs():
    # beta1 m + (1 - beta1) g is 0.1, then 0.009 - 0.005, then 0.00846 - 0.05, as m is 0, 0.01, 0.0094
    path = run(fb.Lion(LR), P, [1.0, -0.05, -0.5])
    np.testing.assert_allclose(np.diff([P, *path]), [-LR, -LR, LR])
    np.testing.assert_allclose(run(fb.Lion(LR), P, [0.0] * 3, weight_decay=0.5), P * (1 - LR * 0.5) ** np.arange(1, 4))


@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if n not in ("adamw", "lion")])
def test_coupled_weight_decay_joins_the_gradient(name):
    decayed, plain = OPTIMIZERS[name](), OPTIMIZERS[name]()
    p, state = np.array([P]), tuple(np.zeros(1) for _ in plain.state_names)
    expected = []
    for step in range(4):
        plain.update(p, 0.3 * p + G, state, 0.1, step + 1, 0.0)
        expected.append(float(p[0]))
    np.testing.assert_allclose(run(decayed, P, [G] * 4, weight_decay=0.3, lr=0.1), expected)


@each_optimizer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_update_keeps_the_dtype_and_works_in_place(name, dtype):
    optimizer = OPTIMIZERS[name](weight_decay=0.1)
    p, g = np.ones(3, dtype), np.full(3, 0.5, dtype)
    state = tuple(np.zeros(3, dtype) for _ in optimizer.state_names)
    optimizer.update(p, g, state, 0.1, 1, 0.1)
    assert {a.dtype for a in (p, *state)} == {np.dtype(dtype)}
    assert (p < 1).all()
    assert (g == 0.5).all()


@each_optimizer
@each_backend
def test_minimises(name, backend):
    net = fb.Sequential(fb.Linear(2, 1), seed=0, dtype="float64", backend=backend)
    x = np.random.default_rng(0).normal(size=(64, 2))
    y = x @ [[0.3], [-0.2]] + 0.1
    trainer = fb.Trainer(net, fb.MSE(), OPTIMIZERS[name](weight_decay=0.0))
    losses = [trainer.step(x, y) for _ in range(300)]
    assert losses[-1] < 1e-2 * losses[0]


# ---- what is updated --------------------------------------------------------------------------------------------


def deep(backend="reference", **kwargs):
    return fb.Sequential(fb.Linear(3, 4), fb.LayerNorm(4), fb.Linear(4, 4, trainable=False), fb.ReLU(), fb.Linear(4, 2),
                         seed=1, backend=backend, **kwargs)


def pieces(net, **kwargs):
    return [(s.offset, s.length, s.weight_decay) for s in fb.SGD(**kwargs).update_of(net).segments]


def test_segments_are_the_trained_parameters():
    net = deep()
    frozen = net.params.offsets["2.weight"], net.params["2.weight"].size + net.params["2.bias"].size
    assert pieces(net, weight_decay=0.1) == [(0, frozen[0], 0.1), (sum(frozen), 10, 0.1)]


def test_biases_and_normalisation_can_be_spared_the_decay():
    net = deep()
    assert pieces(net, weight_decay=0.1, decay_bias=False) == [
        (0, 12, 0.1), (12, 12, 0.0), (44, 8, 0.1), (52, 2, 0.0)]
    assert pieces(net, decay_bias=False) == [(0, 24, 0.0), (44, 10, 0.0)]


@each_optimizer
@each_backend
def test_frozen_parameters_and_spared_biases_stay(name, backend):
    net = deep(backend, dtype="float64")
    before = net.state_dict()
    trainer = fb.Trainer(net, fb.MSE(), OPTIMIZERS[name](weight_decay=0.5, decay_bias=False))
    trainer.step(np.zeros((2, 3)), net.predict(np.zeros((2, 3))))  # no loss, so no gradient: only the decay is left
    changed = {n for n, v in net.params.items() if not np.allclose(v, before[n], rtol=1e-9, atol=1e-12)}
    assert changed == {"0.weight", "4.weight"}


# ---- clipping ---------------------------------------------------------------------------------------------------


def clipped(gradient, **limits):
    grads = np.array(gradient)
    params = np.zeros_like(grads)
    update = Update(fb.SGD(1.0), [Segment(0, grads.size, 0.0)], [np.zeros_like(grads)], **limits)
    assert update.apply(params, grads, 1.0) is None
    return -params


def test_clip_norm_scales_the_whole_gradient():
    np.testing.assert_allclose(clipped([3.0, -4.0], clip_norm=1.0), [0.6, -0.8])
    np.testing.assert_allclose(clipped([3.0, -4.0], clip_norm=5.1), [3, -4])
    np.testing.assert_allclose(clipped([0.0, 0.0], clip_norm=1.0), [0, 0])


def test_clip_value_limits_each_element():
    np.testing.assert_allclose(clipped([3.0, -4.0, 0.5], clip_value=2.0), [2, -2, 0.5])
    np.testing.assert_allclose(clipped([30.0, -40.0], clip_value=20.0, clip_norm=1.0), [0.5**0.5, -(0.5**0.5)])


@each_backend
@pytest.mark.parametrize("limits", [{"clip_norm": 0.01}, {"clip_value": 1e-3}, {"clip_norm": 1e-3, "clip_value": 1e-4}])
def test_backends_clip(backend, limits):
    net = fb.Sequential(fb.Linear(3, 4), fb.Tanh(), fb.Linear(4, 2), seed=0, dtype="float64", backend=backend)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    net.loss_and_grad(x, y, fb.MSE())
    expected = net.params.flat - clipped(net.grads.flat, **limits)
    fb.Trainer(net, fb.MSE(), fb.SGD(lr=1.0), **limits).step(x, y)
    np.testing.assert_allclose(net.params.flat, expected, rtol=1e-12)


# ---- steps by hand ----------------------------------------------------------------------------------------------


@each_optimizer
@each_backend
def test_steps_by_hand_are_the_trainers(name, backend):
    by_hand, trained = (fb.Sequential(fb.Linear(3, 8), fb.Tanh(), fb.Linear(8, 2), seed=0, dtype="float64",
                                      backend=backend) for _ in range(2))
    rng = np.random.default_rng(0)
    optimizer = OPTIMIZERS[name](weight_decay=0.1)
    trainer = fb.Trainer(trained, fb.MSE(), OPTIMIZERS[name](weight_decay=0.1))
    for _ in range(4):
        x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
        prediction = by_hand.forward(x, training=True)
        by_hand.backward((prediction - y) / 6)  # the gradient of the mean over 6 rows of half the sum over 2 outputs
        optimizer.step(by_hand)
        trainer.step(x, y)
    np.testing.assert_allclose(by_hand.params.flat, trained.params.flat, rtol=1e-10)


@each_backend
def test_hand_and_trainer_share_state(backend):
    net = fb.Sequential(fb.Linear(3, 2), seed=0, backend=backend)
    optimizer = fb.SGD(lr=lambda step: 0.1 / (1 + step), momentum=0.9)
    trainer = fb.Trainer(net, fb.MSE(), optimizer)
    x, y = np.ones((4, 3)), np.zeros((4, 2))
    trainer.step(x, y)
    net.loss_and_grad(x, y, fb.MSE())
    optimizer.step(net)
    assert trainer.update is optimizer.update_of(net)
    assert trainer.update.step == 2
    assert trainer.lr == pytest.approx(0.1 / 3)


@each_backend
def test_dropout_goes_on_after_a_step_by_hand(backend):
    net = fb.Sequential(fb.Input(200), fb.Dropout(0.5), fb.Linear(200, 1), seed=0, backend=backend)
    x = np.ones((1, 200))
    optimizer = fb.SGD(lr=1e-9)
    masks = []
    for _ in range(2):
        net.forward(x, training=True)
        masks.append(net.backward([[1.0]]) != 0)
        optimizer.step(net)
    assert (masks[0] != masks[1]).any()


def test_gradients_of_the_inputs_are_those_of_the_last_backward_pass():
    net = fb.Sequential(fb.Linear(2, 1), seed=0, backend="reference")
    net.loss_and_grad([[1.0, 2.0]], [[0.0]], fb.MSE())
    net.forward([[1.0, 2.0]] * 3, training=True)
    dx = net.backward(np.ones((3, 1)))
    np.testing.assert_array_equal(net.input_grads[0], dx)


def test_a_step_needs_a_network():
    with pytest.raises(TypeError, match=r"^Adam: net is 3; expected a network, such as .*, or a layer$"):
        fb.Adam().step(3)


def test_one_optimizer_remembers_each_network():
    a, b = (fb.Sequential(fb.Linear(2, 1), backend="reference") for _ in range(2))
    optimizer = fb.Adam()
    optimizer.step(a)
    assert (optimizer.update_of(a).step, optimizer.update_of(b).step) == (1, 0)
    del b
    gc.collect()
    assert len(optimizer._updates) == 1


@each_backend
@pytest.mark.parametrize(("gradient", "tensor"),
                         [(np.nan, "the gradient of 0.bias"), (1e38, "0.bias after the update")])
def test_bad_steps_are_not_taken(gradient, tensor, backend):
    net = fb.Sequential(fb.Linear(2, 1), seed=0, backend=backend)
    optimizer = fb.SGD(lr=100.0, momentum=0.9)
    optimizer.step(net)
    before, state = net.params.flat.copy(), optimizer.update_of(net).state[0].copy()
    net.grads["0.bias"][...] = gradient
    with pytest.raises(fb.NonFiniteError, match=f"^mini-batch 1: {tensor} is not finite$"):
        optimizer.step(net)
    assert (net.params.flat == before).all()
    assert (optimizer.update_of(net).state[0] == state).all()
    assert optimizer.update_of(net).step == 1


# ---- description ------------------------------------------------------------------------------------------------


@each_optimizer
def test_repr_and_hyperparameters_make_an_equal_one(name):
    optimizer = OPTIMIZERS[name](weight_decay=0.2, decay_bias=False)
    again = eval(repr(optimizer), vars(fb))
    assert repr(again) == repr(optimizer)
    assert type(optimizer)(**optimizer.hyperparameters()).hyper() == optimizer.hyper()
    assert all(type(h) is float for h in optimizer.hyper())
    assert len(optimizer.hyper()) <= 5


@pytest.mark.parametrize("remake", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_begin_afresh(remake):
    net = fb.Sequential(fb.Linear(2, 1), backend="reference")
    optimizer = fb.Adam(0.5)
    optimizer.step(net)
    again = remake(optimizer)
    assert repr(again) == repr(optimizer)
    assert again.update_of(net).step == 0


@pytest.mark.parametrize(("make", "message"), [
    (lambda: fb.SGD(lr=0), "SGD: lr is 0; expected a number above 0, or a schedule such as fb.CosineDecay(…)"),
    (lambda: fb.Adam(lr="fast"),
     "Adam: lr is 'fast'; expected a number above 0, or a schedule such as fb.CosineDecay(…)"),
    (lambda: fb.Adam(lr=float("nan")),
     "Adam: lr is nan; expected a number above 0, or a schedule such as fb.CosineDecay(…)"),
    (lambda: fb.SGD(momentum=1), "SGD: momentum is 1; expected a number from 0 to below 1"),
    (lambda: fb.SGD(nesterov=True), "SGD: nesterov is True with momentum 0; give a momentum above 0, such as 0.9"),
    (lambda: fb.SGD(weight_decay=-1), "SGD: weight_decay is -1; expected a number of at least 0"),
    (lambda: fb.RMSprop(alpha=1.5), "RMSprop: alpha is 1.5; expected a number from 0 to below 1"),
    (lambda: fb.Adagrad(eps=-1), "Adagrad: eps is -1; expected a number of at least 0"),
    (lambda: fb.Adam(beta2=1.0), "Adam: beta2 is 1.0; expected a number from 0 to below 1"),
    (lambda: fb.Lion(beta1=True), "Lion: beta1 is True; expected a number from 0 to below 1"),
])
def test_refused_hyperparameters(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


@pytest.mark.parametrize("step", [1, 6, 399, 401, 5_000, 39_999, 40_001, 10**7])
def test_adams_bias_corrections_are_exact_from_the_first_step_to_the_last(step):
    kernels = pytest.importorskip("fastbp.engine.kernels")
    p, g, m, v = np.array([[0.5, -2.0], [0.3, 1e-3], [0.1, -0.2], [0.05, 0.4]])
    m1, v1 = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    expected = p - 0.01 * (m1 / (1 - 0.9**step)) / (np.sqrt(v1 / (1 - 0.999**step)) + 1e-8)
    kernels.adam_update(p, g, m, v, lr=0.01, step=step, beta1=0.9, beta2=0.999, eps=1e-8, decoupled=0.0)
    np.testing.assert_allclose(p, expected, rtol=1e-14)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_steps_by_hand_heed_what_is_frozen_between_them(backend):
    net = fb.Sequential(fb.Linear(3, 4), fb.Tanh(), fb.Linear(4, 2), seed=0, backend=backend)
    twin = net.copy(dtype="float64", backend="reference")
    optimizers = [fb.AdamW(1e-2, weight_decay=0.1) for _ in range(2)]
    x = np.random.default_rng(0).standard_normal((5, 3))
    for each in (net, twin):
        each.forward(x, training=True)
        each.backward(np.ones((5, 2)))
    for step in range(5):
        for each in (net, twin):
            each.freeze("0.*") if step == 1 else each.unfreeze() if step == 3 else None
        before = net.params["0.weight"].copy()
        for each, optimizer in zip((net, twin), optimizers, strict=True):
            optimizer.step(each)
        assert np.array_equal(before, net.params["0.weight"]) == (step in (1, 2))
    np.testing.assert_allclose(net.params.flat, twin.params.flat, rtol=1e-4, atol=1e-5)
