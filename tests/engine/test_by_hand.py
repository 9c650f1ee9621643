"""Training loops of one's own: masks of dropout, an optimizer's step, gradients of the inputs."""

import copy
import pickle
import re

import cases
import numpy as np
import pytest
from conftest import backends

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())


def dropping(backend="reference", dtype="float64", **options):
    return fb.Sequential(fb.Linear(3, 40), fb.Dropout(0.5), fb.Linear(40, 2), seed=7, dtype=dtype, backend=backend,
                         **options)


def batch(rows=6):
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2))


# ---- dropout ---------------------------------------------------------------------------------------------------------


PASSES = {
    "forward": lambda net, x, y: net.forward(x, training=True).tobytes(),
    "loss": lambda net, x, y: net.loss(x, y, fb.MSE(), training=True),
    "loss_and_grad": lambda net, x, y: net.loss_and_grad(x, y, fb.MSE()),
    "value_and_grad": lambda net, x, y: net.value_and_grad(net.params.flat, x, y, fb.MSE())[0],
    "a function": lambda net, x, y: net.loss_and_grad(x, y, lambda y_pred, y: np.mean(np.square(y_pred - y))),
}


@each_backend
@pytest.mark.parametrize("name", PASSES)
def test_each_training_pass_by_hand_draws_a_mask_of_its_own(name, backend):
    net, (x, y), run = dropping(backend), batch(), PASSES[name]
    assert len({run(net, x, y) for _ in range(8)}) == 8
    with net.fixed_dropout():
        assert len({run(net, x, y) for _ in range(4)}) == 1
        with net.fixed_dropout():
            assert len({run(net, x, y) for _ in range(4)}) == 1
    assert len({run(net, x, y) for _ in range(4)}) == 4


@pytest.mark.skipif("native" not in backends(), reason="needs the native backend")
def test_masks_by_hand_are_the_same_in_both_backends_and_follow_from_the_seed():
    x, y = batch()
    runs = []
    for backend in (*backends(), "reference"):
        net, found = dropping(backend), []
        for _ in range(3):
            found += [net.forward(x, training=True), net.loss_and_grad(x, y, fb.MSE()), net.grads.flat.copy()]
        fb.SGD(0.1).step(net)
        found.append(net.forward(x, training=True))
        runs.append(found)
    for other in runs[1:]:
        for mine, theirs in zip(runs[0], other, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-14)


@each_backend
def test_backward_goes_through_the_mask_of_its_forward(backend):
    x, _ = batch()
    net = fb.Sequential(fb.Input(3), fb.Dropout(0.5), seed=0, dtype="float64", backend=backend)
    for _ in range(4):
        kept = net.forward(np.ones_like(x), training=True)
        np.testing.assert_array_equal(net.backward(np.ones_like(x)), kept)


@each_backend
def test_masks_by_hand_and_in_between_leave_those_of_training_alone(backend):
    (plain, x, y), (mixed, _, _) = ((dropping(backend), *batch(24)) for _ in range(2))
    trainers = [fb.Trainer(net, fb.MSE(), fb.Adam(0.01)) for net in (plain, mixed)]
    for _ in range(3):
        trainers[0].fit(x, y, epochs=2, batch_size=8)
        trainers[0].step(x, y)
        mixed.forward(x, training=True)
        trainers[1].fit(x, y, epochs=2, batch_size=8)
        mixed.loss_and_grad(x, y, fb.MSE())
        with mixed.fixed_dropout():
            trainers[1].step(x, y)
    np.testing.assert_array_equal(plain.params.flat, mixed.params.flat)


@each_backend
@pytest.mark.parametrize("remake", [lambda net: net.copy(), copy.copy, copy.deepcopy,
                                    lambda net: pickle.loads(pickle.dumps(net))],
                         ids=["net.copy", "copy", "deepcopy", "pickle"])
def test_copies_draw_what_the_network_draws(remake, backend):
    net, (x, y) = dropping(backend), batch()
    net.loss_and_grad(x, y, fb.MSE())
    other = remake(net)
    assert [net.loss_and_grad(x, y, fb.MSE()) for _ in range(3)] == \
        [other.loss_and_grad(x, y, fb.MSE()) for _ in range(3)]


@each_backend
def test_gradcheck_and_explain_hold_the_mask(backend):
    net, (x, y) = dropping(backend), batch(3)
    for _ in range(3):
        assert fb.gradcheck(net, x, y, fb.MSE()).ok
        assert net.explain(x, y, fb.MSE(), weight="w1").relative_difference < 1e-6


@each_backend
def test_lbfgs_minimises_one_function_of_a_network_with_dropout(backend):
    pytest.importorskip("scipy")
    net, (x, y) = dropping(backend), batch(30)
    result = fb.fit_lbfgs(net, x, y, fb.MSE(), max_iter=20)
    assert result.values == sorted(result.values, reverse=True)
    assert len(result.values) > 5


# ---- an optimizer's step ---------------------------------------------------------------------------------------------


def several(backend, dtype="float64"):
    """Without a bias before the normalisation: its gradient would be rounding alone, which Adam makes large."""
    return fb.Sequential(fb.Linear(3, 9, bias=False), fb.BatchNorm(), fb.Tanh(), fb.Linear(9, 5, trainable=False),
                         fb.ReLU(), fb.Linear(5, 2), seed=3, dtype=dtype, backend=backend)


@pytest.mark.skipif("native" not in backends(), reason="needs the native backend")
@pytest.mark.parametrize("name", cases.OPTIMIZERS)
@pytest.mark.parametrize("way", ["loss_and_grad", "forward and backward", "gradients given", "a function"])
def test_a_step_of_an_optimizer_is_the_same_in_both_backends(name, way):
    results = []
    for backend in ("native", "reference"):
        net, optimizer = several(backend), cases.OPTIMIZERS[name]()
        rng = np.random.default_rng(0)
        for _ in range(5):
            x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
            if way == "loss_and_grad":
                net.loss_and_grad(x, y, fb.MSE())
            elif way == "forward and backward":
                net.backward(net.forward(x, training=True) - y)
            elif way == "a function":
                net.loss_and_grad(x, y, lambda y_pred, y: np.mean(np.square(y_pred - y)))
            else:
                net.grads.flat = rng.normal(size=net.grads.flat.size)
            optimizer.step(net)
        update = optimizer.update_of(net)
        assert update.step == net.memory.step == 5
        results.append([net.params.flat, *update.state])
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif("native" not in backends(), reason="needs the native backend")
@pytest.mark.parametrize("name", cases.OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.1}, {"clip_value": 0.01}])
def test_a_step_by_hand_has_the_bits_of_a_step_of_the_trainer(name, dtype, clip):
    by_hand, stepped = several("native", dtype), several("native", dtype)
    trainer, optimizer = fb.Trainer(stepped, fb.MSE(), cases.OPTIMIZERS[name](), **clip), cases.OPTIMIZERS[name]()
    update = optimizer.update_of(by_hand)
    update.clip_norm, update.clip_value = clip.get("clip_norm"), clip.get("clip_value")
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
        trainer.step(x, y)
        by_hand.loss_and_grad(x, y, fb.MSE())
        optimizer.step(by_hand)
    np.testing.assert_array_equal(by_hand.params.flat, stepped.params.flat)


@each_backend
def test_steps_by_hand_and_of_a_trainer_may_take_turns(backend):
    (mixed, plain), (x, y) = (several(backend) for _ in range(2)), batch()
    optimizers = [fb.Adam(0.01) for _ in range(2)]
    trainers = [fb.Trainer(net, fb.MSE(), o) for net, o in zip((mixed, plain), optimizers, strict=True)]
    for _ in range(4):
        for _ in range(2):
            trainers[0].step(x, y)
        mixed.loss_and_grad(x, y, fb.MSE())
        optimizers[0].step(mixed)
        for _ in range(3):
            trainers[1].step(x, y)
    np.testing.assert_allclose(mixed.params.flat, plain.params.flat, rtol=1e-12)


@each_backend
@pytest.mark.parametrize("lr", [1e-2, 1e300])
def test_a_step_that_spoils_something_changes_nothing(backend, lr):
    net, optimizer = several(backend), fb.SGD(lr, momentum=0.9)
    net.grads.flat[...] = 1.0
    before = net.params.flat.copy()
    if lr == 1e300:
        net.grads.flat[...] = 1e10
        with pytest.raises(fb.NonFiniteError, match=r"0\.weight after the update is not finite"):
            optimizer.step(net)
    net.grads["5.weight"][0, 0] = np.nan
    with pytest.raises(fb.NonFiniteError, match=re.escape("the gradient of 5.weight is not finite")):
        optimizer.step(net)
    np.testing.assert_array_equal(net.params.flat, before)
    assert not optimizer.update_of(net).state[0].any()
    assert optimizer.update_of(net).step == net.memory.step == 0


@each_backend
def test_large_gradients_are_steps_too(backend):
    net, optimizer = several(backend), fb.SGD(1e-40)
    before = net.params.flat.copy()
    net.grads.flat[...] = 1e150
    optimizer.step(net)
    trained = [n for n in net.params if net.graph.parameters[n].trainable]
    for name in trained:
        np.testing.assert_allclose(net.params[name], -1e110)
    frozen = net.params.offsets["3.weight"]
    np.testing.assert_array_equal(net.params["3.weight"].ravel(), before[frozen:frozen + 45])


@each_backend
def test_a_formula_of_ones_own_is_what_a_step_does(backend):
    class Fixed(fb.SGD):
        def update(self, params, grads, state, lr, step, weight_decay):
            params -= 1.0

    class New(fb.Optimizer):
        name, state_names = "brand new", ()

        def __init__(self):
            super().__init__(0.1, 0.0, True)

        def hyper(self):
            return ()

        def update(self, params, grads, state, lr, step, weight_decay):
            params -= 1.0
    for optimizer in (Fixed(0.5), New()):
        net = fb.Sequential(fb.Linear(3, 2), seed=0, dtype="float64", backend=backend)
        before = net.params.flat.copy()
        optimizer.step(net)
        np.testing.assert_array_equal(net.params.flat, before - 1)
        if backend == "native":
            with pytest.raises(ValueError, match="has no native kernel"):
                fb.Trainer(net, fb.MSE(), optimizer).step(*batch())


# ---- gradients of the inputs -----------------------------------------------------------------------------------------


def mixing(backend):
    a, b = fb.Input(3), fb.Input(2)
    h = fb.Dropout(0.3)(fb.Tanh()(fb.BatchNorm()(fb.Linear(5, 8)(fb.Concat()(a, b)))))
    return fb.Network([a, b], fb.Linear(8, 2)(h), seed=0, dtype="float64", backend=backend)


@each_backend
@pytest.mark.parametrize("loss", [fb.MSE(), lambda y_pred, y: np.mean(np.square(y_pred - y))],
                         ids=["MSE", "a function"])
def test_gradients_of_inputs_that_are_read_late_are_those_that_were_asked_for(backend, loss):
    late, early = mixing(backend), mixing(backend)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x, y = (rng.normal(size=(6, 3)), rng.normal(size=(6, 2))), rng.normal(size=(6, 2))
        values = [late.loss_and_grad(x, y, loss), early.loss_and_grad(x, y, loss, input_grads=True)]
        assert values[0] == values[1]
        late.grads.flat *= 2
        grads, buffers, draws = late.grads.flat.copy(), late.buffers.flat.copy(), late.memory.draws
        for _ in range(2):
            for mine, theirs in zip(late.input_grads, early.input_grads, strict=True):
                np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_array_equal(late.grads.flat, grads)
        np.testing.assert_array_equal(late.buffers.flat, buffers)
        assert late.memory.draws == draws == early.memory.draws


@each_backend
@pytest.mark.parametrize("change", ["a step", "parameters", "the input", "the target"])
def test_gradients_of_inputs_that_cannot_be_found_any_more_are_refused(backend, change):
    net, (x, y) = several(backend), batch()
    net.loss_and_grad(x, y, fb.MSE())
    if change == "a step":
        fb.SGD(0.1).step(net)
    elif change == "parameters":
        net.params.flat += 1e-3
    elif change == "the input":
        x[0] += 1e-3
    else:
        y[0] += 1e-3
    with pytest.raises(RuntimeError, match=r"input_grads: loss_and_grad was not asked .* input_grads=True"):
        _ = net.input_grads
    net.loss_and_grad(x, y, fb.MSE(), input_grads=True)
    kept = net.input_grads[0].copy()
    fb.SGD(0.1).step(net)
    np.testing.assert_array_equal(net.input_grads[0], kept)


@each_backend
def test_gradients_of_inputs_after_backward_and_before_anything(backend):
    net, (x, y) = several(backend), batch()
    assert net.input_grads == ()
    net.loss_and_grad(x, y, fb.MSE())
    dx = net.backward(net.forward(x, training=True) - y)
    np.testing.assert_array_equal(net.input_grads[0], dx)
    assert pickle.loads(pickle.dumps(net)).input_grads == ()


# ---- batch normalisation ---------------------------------------------------------------------------------------------


@each_backend
@pytest.mark.parametrize("every", [None, 1])
def test_a_last_mini_batch_of_one_row_is_refused_before_anything_happens(backend, every):
    net, calls = several(backend), []
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(0.1))
    note = fb.callbacks.Lambda(every=every, on_fit_begin=lambda t: calls.append("begun"))
    x, y = batch(33)
    before = net.params.flat.copy(), net.buffers.flat.copy()
    message = ("fit: 33 rows in mini-batches of 16 make a last one of 1 row. BatchNorm: the batch has 1 value a "
               "feature; expected at least 2 in training. Use larger batches, or LayerNorm; or leave such rows out of "
               "each epoch with drop_last=True")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        trainer.fit(x, y, batch_size=16, callbacks=[note])
    with pytest.raises(ValueError, match=r"^fit: 33 rows in mini-batches of 1 make each one of 1 row\. BatchNorm"):
        trainer.fit(x, y, batch_size=1, callbacks=[note])
    assert calls == []
    np.testing.assert_array_equal(net.params.flat, before[0])
    np.testing.assert_array_equal(net.buffers.flat, before[1])
    assert trainer.fit(x, y, batch_size=16, callbacks=[note], drop_last=True).epochs == [1]
    assert trainer.update.step == 2
    trainer.fit(x, y, batch_size=16, validation_split=0.03)


@each_backend
def test_the_share_for_validation_may_leave_one_row_over(backend):
    trainer, (x, y) = fb.Trainer(several(backend), fb.MSE(), fb.SGD(0.1)), batch(20)
    with pytest.raises(ValueError, match=r"^fit: 17 rows in mini-batches of 16 make a last one of 1 row"):
        trainer.fit(x, y, batch_size=16, validation_split=0.15)
    trainer.fit(x, y, batch_size=16, validation_split=0.15, drop_last=True)
