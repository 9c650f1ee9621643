"""Plain functions as losses: against the losses that fastbp has, against differences, on both backends."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", ["reference", "native"])
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
rng = np.random.default_rng(0)
X = rng.standard_normal((24, 4))


def net(outputs: int = 3, **options: Any) -> fb.Network:
    return fb.Sequential(fb.Linear(4, 8), fb.Tanh(), fb.Linear(8, outputs), **{"seed": 0, **options})


def mse(y_pred: Any, y: Any) -> Any:
    return np.mean(np.square(y_pred - y))


def cross_entropy(logits: Any, label: Any) -> Any:
    return -np.mean(np.take_along_axis(fb.special.log_softmax(logits), label[:, None], axis=-1))


def binary(logits: Any, y: Any) -> Any:
    return np.mean(fb.special.softplus(logits) - y * logits)


PAIRS = {
    "mse": (mse, fb.MSE(), rng.standard_normal((24, 3))),
    "mae": (lambda p, y: np.abs(p - y).mean(), fb.MAE(), rng.standard_normal((24, 3))),
    "half": (lambda p, y: 0.5 * np.mean(np.sum((p - y) ** 2, axis=1)), fb.HalfSquaredError(),
             rng.standard_normal((24, 3))),
    "cross entropy": (cross_entropy, fb.CrossEntropy(), rng.integers(0, 3, 24)),
    "binary": (binary, fb.BinaryCrossEntropy(), rng.integers(0, 2, (24, 3))),
    "poisson": (lambda p, y: (np.exp(p) - y * p).mean(), fb.PoissonNLL(), rng.poisson(2.0, (24, 3))),
}


@each_backend
@each_dtype
@pytest.mark.parametrize("name", PAIRS)
def test_a_function_trains_as_the_loss_that_it_is(name: str, backend: str, dtype: str) -> None:
    function, known, y = PAIRS[name]
    tolerance = {"rtol": 2e-4, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-12}
    trainers = [fb.Trainer(net(dtype=dtype, backend=backend), loss, fb.Adam(0.01), clip_norm=1.0)
                for loss in (function, known)]
    for t in trainers:
        t.fit(X, y, epochs=5, batch_size=7, validation_data=(X, y), progress=False)
        t.step(X, y)
    mine, theirs = trainers
    for key in ("loss", "val_loss"):
        np.testing.assert_allclose(mine.history[key], theirs.history[key], **tolerance)
    np.testing.assert_allclose(mine.net.params.flat, theirs.net.params.flat, **tolerance)


@each_backend
@pytest.mark.parametrize("name", PAIRS)
def test_sample_weights(name: str, backend: str) -> None:
    function, known, y = PAIRS[name]
    weights = np.random.default_rng(1).random(24) * (np.arange(24) % 5 > 0)
    made = [net(dtype="float64", backend=backend) for _ in range(2)]
    values = [n.loss_and_grad(X, y, loss, weights) for n, loss in zip(made, (function, known), strict=True)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    np.testing.assert_allclose(made[0].grads.flat, made[1].grads.flat, rtol=1e-10, atol=1e-13)
    assert made[0].loss(X, y, function, np.zeros(24)) == 0


def test_sample_weights_need_a_mean() -> None:
    def total(p: Any, y: Any) -> Any:
        return np.sum(np.square(p - y))

    def normalised(p: Any, y: Any) -> Any:
        return np.sqrt(np.mean(np.square(p - y)))
    for function in (total, normalised):
        with pytest.raises(ValueError, match=r"sample_weight is given, but the loss is not a mean over the rows"):
            net().loss(X, X[:, :3], function, np.ones(24))


def test_sums_of_means_take_weights() -> None:
    def both(p: Any, y: Any) -> Any:
        return 0.5 * np.mean(np.square(p - y)) - np.abs(p).mean(axis=0).mean() / 4 + 3.0
    one = net(dtype="float64")
    w = np.arange(24.0)
    repeated = np.repeat(np.arange(24), np.arange(24))
    y = X[:, :3]
    assert one.loss(X, y, both, w) == pytest.approx(one.loss(X[repeated], y[repeated], both), rel=1e-12)
    assert fb.gradcheck(one, X, y, both, w).ok


def ppo(logits: Any, value: Any, action: Any, advantage: Any, old_logp: Any, returns: Any) -> Any:
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    logp = fb.special.log_softmax(logits)
    ratio = np.exp(np.take_along_axis(logp, action[:, None], axis=-1)[:, 0] - old_logp)
    policy = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
    entropy = -(np.exp(logp) * logp).sum(axis=-1)
    return -policy.mean() + 0.5 * np.mean((value[:, 0] - returns) ** 2) - 0.01 * entropy.mean()


def actor_critic(**options: Any) -> fb.Network:
    x = fb.Input(4)
    actor, critic = (fb.Linear(8, n)(fb.Tanh()(fb.Linear(4, 8)(x))) for n in (3, 1))
    return fb.Network(x, (actor, critic), **{"seed": 0, **options})


def experience(rows: int) -> tuple[Any, ...]:
    r = np.random.default_rng(3)
    return r.integers(0, 3, rows), r.standard_normal(rows), -r.random(rows), r.standard_normal(rows)


@each_backend
def test_several_outputs_and_targets(backend: str) -> None:
    one, y = actor_critic(dtype="float64", backend=backend), experience(24)
    assert fb.gradcheck(one, X, y, ppo).ok
    outputs = one.predict(X)
    assert one.loss(X, y, ppo) == pytest.approx(float(ppo(*outputs, *y)), rel=1e-12)
    trainer = fb.Trainer(one, ppo, fb.Adam(3e-3), clip_norm=0.5)
    losses = [trainer.step(X, y) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert trainer.evaluate(X, y)["loss"] == pytest.approx(float(ppo(*one.predict(X), *y)), rel=1e-12)


@each_dtype
def test_both_backends_agree(dtype: str) -> None:
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-12}
    trained = []
    for backend in ("reference", "native"):
        trainer = fb.Trainer(actor_critic(dtype=dtype, backend=backend), ppo, fb.AdamW(3e-3, weight_decay=0.01))
        trainer.fit(X, experience(24), epochs=4, batch_size=9, progress=False)
        trained.append(trainer.net.params.flat.copy())
    np.testing.assert_allclose(*trained, **tolerance)


@each_backend
def test_a_loss_in_terms_of_derivatives(backend: str) -> None:
    x = fb.Input(2)
    u = fb.Linear(8, 1)(fb.Tanh()(fb.Linear(8, 8)(fb.Tanh()(fb.Linear(2, 8)(x)))))
    du = fb.grad(u, x)
    u_xx = fb.grad(du[:, 1:], x)[:, 1:]
    one = fb.Network(x, (u, du, u_xx), dtype="float64", seed=0, backend=backend)

    def burgers(u: Any, du: Any, u_xx: Any, known: Any) -> Any:
        return np.mean(np.square(du[:, :1] + u * du[:, 1:] - 0.01 * u_xx)) + np.mean(np.square(u - known))
    points = np.random.default_rng(0).uniform(-1, 1, (16, 2))
    assert fb.gradcheck(one, points, np.sin(points[:, :1]), burgers).ok


@each_backend
def test_all_pairs_of_rows(backend: str) -> None:
    def contrastive(z: Any, label: Any) -> Any:
        z = z / np.sqrt(np.sum(z * z, axis=1, keepdims=True))
        same = np.where(label[:, None] == label[None, :], 1.0, 0.0)
        logits = z @ z.T / 0.5
        return -np.mean(np.sum(same * fb.special.log_softmax(logits), axis=1) / same.sum(axis=1))
    assert fb.gradcheck(net(dtype="float64", backend=backend), X, np.arange(24) % 4, contrastive).ok


@each_backend
def test_parameters_and_noise_in_a_network(backend: str) -> None:
    x = fb.Input(4)
    scale = fb.Parameter((3,), fb.Constant(0.5), name="scale")
    h = fb.Linear(4, 3)(x)
    noisy = fb.Lambda(lambda h: h + np.exp(scale) * fb.random.normal(h.shape))(h)
    one = fb.Network(x, noisy, dtype="float64", seed=0, backend=backend)
    assert set(one.params) == {"0.weight", "0.bias", "scale.value"}
    assert fb.gradcheck(one, X, X[:, :3], mse).ok


@each_backend
def test_targets_are_not_needed(backend: str) -> None:
    one = net(dtype="float64", backend=backend)
    assert fb.gradcheck(one, X, None, lambda p: np.mean(p**4)).ok
    assert one.loss(X, (), lambda p: np.mean(p)) == pytest.approx(one.predict(X).mean())


def test_a_column_does_not_spread() -> None:
    one = net(1, dtype="float64")
    assert one.loss(X, X[:, 0], mse) == pytest.approx(one.loss(X, X[:, 0], fb.MSE()))
    with pytest.raises(ValueError, match=r"sub: operands of shape \(B, 1\) and \(B,\) would give \(B, B\)"):
        actor_critic().loss(X, (X[:, 0],), lambda a, v, y: np.mean(a) + np.mean((v - y) ** 2))


@pytest.mark.parametrize(("function", "message"), [
    (lambda p, y: p - y, r"returned an array of shape \(B, 3\); expected one number, such as its mean"),
    (lambda p, y: np.argmax(p, axis=1).sum(), "of int64; expected one number"),
    (lambda p, y: 2.5, r"returned 2\.5, which does not depend on what it was given"),
    (lambda p, y: None, "returned NoneType"),
    (lambda p, y: np.mean(y), "does not depend on what the network is given"),
    (lambda p: np.mean(p), "takes 1 positional argument but 2 were given"),
    (lambda p, y: np.mean(p if p.mean() > 0 else y), r"line .*test_functions.py .*branch"),
    (lambda p, y: np.mean(p - y[:, :2]), r"sub: operands of shape \(B, 3\) and \(B, 2\) do not fit"),
    (lambda p, y: np.nanmedian(p - y), r"np.nanmedian .*use np.median of what np.where"),
])
def test_mistakes(function: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        net().loss(X, X[:, :3], function)
    assert re.search(message, str(error.value)), error.value
    assert "loss <lambda>" in str(error.value)


@pytest.mark.parametrize(("function", "op", "instead"), [
    (lambda p, y: np.mean(np.sign(p) * y), "sign", "np.tanh"),
    (lambda p, y: np.mean(np.argmax(p, axis=1) == y[:, 0]), "equal", "sigmoid"),
    (lambda p, y: np.mean(1.0 * np.argmax(p, axis=1)), "argmax", "softmax"),
    (lambda p, y: np.mean(p.astype(int) * y), "cast", "without astype"),
    (lambda p, y: np.mean(np.round(p)), "rint", "x itself"),
])
def test_what_has_no_derivative_is_named_with_its_line(function: Any, op: str, instead: str) -> None:
    message = rf"derivative: {op}, line \d+ of test_functions.py .* has none; use .*{instead}"
    with pytest.raises(ValueError, match=message):
        fb.Trainer(net(), function, fb.Adam()).step(X, X[:, :3])


def test_a_loss_of_constants_is_refused() -> None:
    with pytest.raises(ValueError, match=r"behind fb.stop_gradient, line \d+"):
        net().loss_and_grad(X, X[:, :3], lambda p, y: np.mean(fb.stop_gradient(p)))


@pytest.mark.parametrize("function", [
    lambda p, y: ((p - y) ** 2).sum() / p.shape[0],
    lambda p, y: np.sum(np.square(p - y), axis=(0, 1)) / (3 * y.shape[0]),
    lambda p, y: np.sum((p - y) ** 2) / p.size + 2 * np.mean(np.abs(p)),
    lambda p, y: (np.sum((p - y) ** 2) + 2 * np.sum(p)) / len_of(p),
])
def test_a_sum_divided_by_the_number_of_rows_heeds_sample_weights(function: Any) -> None:
    weights = np.arange(float(len(X)))
    repeated = np.repeat(X, np.arange(len(X)), axis=0)
    for backend in ("native", "reference"):
        one = net(dtype="float64", backend=backend)
        expected = one.loss(repeated, repeated[:, :3], function)
        assert one.loss(X, X[:, :3], function, weights) == pytest.approx(expected, rel=1e-12)


def len_of(p: Any) -> Any:
    return p.shape[0]


def test_a_sum_and_a_constant_divided_by_the_number_of_rows_is_no_mean() -> None:
    with pytest.raises(ValueError, match="not a mean over the rows"):
        net().loss(X, X[:, :3], lambda p, y: (np.sum(p) + 1.0) / p.shape[0], np.ones(len(X)))


def test_a_function_of_three_is_told_what_they_are() -> None:
    with pytest.raises(ValueError, match=r"expected a pair .*\(y_pred, y, weights\).*y=\(a, b\)"):
        net().loss(X, X[:, :3], lambda p, y, w: np.mean(w[:, None] * (p - y)))


def test_labels_out_of_range_are_named() -> None:
    labels = np.array([0, 2, 7, 1])
    for backend in ("native", "reference"):
        trainer = fb.Trainer(net(backend=backend), lambda q, a: np.mean(np.take_along_axis(q, a[:, None], axis=1)),
                             fb.Adam())
        before = trainer.net.params.flat.copy()
        with pytest.raises(IndexError, match=r"y has 7 in row 2, .*size 3 .*expected integers from 0 to 2"):
            trainer.step(X[:4], labels)
        np.testing.assert_array_equal(trainer.net.params.flat, before)


def test_each_set_of_shapes_is_traced_once() -> None:
    calls = []

    def counted(p: Any, y: Any) -> Any:
        calls.append(y.shape)
        return np.mean(np.square(p - y))
    trainer = fb.Trainer(net(), counted, fb.Adam())
    trainer.fit(X, X[:, :3], epochs=3, batch_size=5, progress=False)
    before = len(calls)
    trainer.fit(X, X[:, :3], epochs=3, batch_size=6, progress=False)
    assert len(calls) <= before + 1


@each_backend
def test_functions_as_the_losses_of_heads(backend: str) -> None:
    """One of each output, beside losses that fastbp has."""
    x = fb.Input(4)
    two = fb.Network(x, (fb.Linear(4, 2)(x), fb.Linear(4, 3)(x)), seed=0, dtype="float64", backend=backend)
    y = (X[:, :2], rng.integers(0, 3, len(X)))
    known = two.loss_and_grad(X, y, (fb.MSE(), fb.CrossEntropy()))
    gradient = two.grads.flat.copy()
    for losses in ((mse, cross_entropy), (fb.MSE(), cross_entropy), (mse, fb.CrossEntropy()),
                   (fb.CustomLoss(mse), fb.CrossEntropy())):
        for _ in range(2):
            assert two.loss_and_grad(X, y, losses) == pytest.approx(known, rel=1e-12)
            np.testing.assert_allclose(two.grads.flat, gradient, rtol=1e-10, atol=1e-14)
    fb.Trainer(two, (mse, cross_entropy), fb.Adam()).fit(X, y, epochs=2, batch_size=7, progress=False)
    with pytest.raises(ValueError, match=r"sign, line .* has none"):
        two.loss_and_grad(X, y, (lambda p, t: np.mean(np.sign(p)), fb.CrossEntropy()))


def test_weights_of_classes_are_looked_up_in_the_plan() -> None:
    from fastbp.engine.fusion import fused
    from fastbp.engine.native import find_instruction
    weights, table = np.array([0.5, 2.0, 3.0]), np.arange(6.0).reshape(3, 2)

    def weighted(logits: Any, y: Any) -> Any:
        entropy = -np.take_along_axis(fb.special.log_softmax(logits), y[:, None], axis=1)[:, 0]
        of_table = np.sum(fb.special.take(table, y) * logits[:, :2], axis=1)
        return np.mean(entropy * fb.special.take(weights, y) + of_table)

    y, found = np.arange(24) % 3 - 3 * (np.arange(24) % 2), []
    for backend in ("reference", "native"):
        made = net(dtype="float64", backend=backend)
        found.append([made.loss_and_grad(X, y, weighted), *made.grads.flat])
    np.testing.assert_allclose(*found, rtol=1e-11, atol=1e-13)
    (objective,) = made._objectives.values()
    assert not any(node.op.calls_back for node in fused(objective.graph, find_instruction).nodes)
    with pytest.raises(IndexError, match="y has 3 in row 0"):
        made.loss(X, y + 3, weighted)
