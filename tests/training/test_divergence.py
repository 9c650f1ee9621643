"""When a loss, a gradient or a parameter stops being finite: what is said, and what is left."""

import math
import re

import numpy as np
import pytest
from conftest import backends
from hypothesis import given, settings
from hypothesis import strategies as st
from regressions import by_steps, regression, snapshot

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())


@each_backend
def test_divergence_names_epoch_and_batch_and_keeps_the_last_good_parameters(backend):
    def make():
        net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(1.0)), fb.BatchNorm(1), fb.Linear(1, 1), seed=0,
                            backend=backend)
        return fb.Trainer(net, fb.MSE(), fb.SGD(lr=1e-3, momentum=0.9))
    trainer, stepped = make(), make()
    x = np.arange(1.0, 13)[:, None]
    y = x[:, 0].copy()
    trainer.fit(x, y, batch_size=4, shuffle=False)
    by_steps(stepped, x, y, [slice(0, 4), slice(4, 8), slice(8, 12), slice(0, 4), slice(4, 8)])
    bad = x.copy()
    bad[9] = np.inf
    with pytest.raises(fb.DivergenceError) as caught:
        trainer.fit(bad, y, batch_size=4, shuffle=False)
    assert str(caught.value) == (
        "epoch 2, batch 3: input is not finite. The input data has NaN or infinite values: fill or leave out such "
        "rows. The network holds the parameters from after the last good mini-batch.")
    assert (caught.value.epoch, caught.value.batch, caught.value.tensor) == (2, 3, "input")
    assert snapshot(trainer) == snapshot(stepped)
    assert trainer.history.epochs == [1]


@each_backend
@pytest.mark.parametrize("shuffle", [True, False])
def test_divergence_in_pieces_counts_the_batches_of_the_epoch(backend, shuffle):
    trainer, x, y = regression(backend, rows=24)
    order = np.random.default_rng((0, 1)).permutation(24) if shuffle else np.arange(24)
    x[order[4 * 4 + 1]] = np.nan
    note = fb.callbacks.Lambda(every=3, on_batch_end=lambda *a: None)
    with pytest.raises(fb.DivergenceError, match=r"^epoch 1, batch 5: input is not finite") as caught:
        trainer.fit(x, y, batch_size=4, shuffle=shuffle, callbacks=[note])
    assert caught.value.batch == 5
    assert trainer.update.step == 4


@each_backend
@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf])
def test_bad_learning_rates_are_refused(backend, lr):
    trainer, x, y = regression(backend, optimizer=fb.SGD(lr=lambda step: lr))
    before = snapshot(trainer)
    for run in (trainer.step, trainer.fit):
        with pytest.raises(ValueError, match=f"gives the learning rate {lr} at step 0; expected a finite number"):
            run(x, y)
    assert snapshot(trainer) == before


@each_backend
@pytest.mark.parametrize(("scale", "lr", "advice"), [
    (1.0, 1e200, "The learning rate (1e+200) is probably too high: lower it, or clip the gradient with clip_norm=1.0."),
    (1e150, 0.1, "The inputs are large (up to 1e+150): standardise them to mean 0 and standard deviation 1, or lower "
                 "the learning rate (0.1)."),
])
def test_advice(backend, scale, lr, advice):
    net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(2.0)), dtype="float64", backend=backend)
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(lr=lr))
    with pytest.raises(fb.DivergenceError, match=re.escape(advice)):
        for _ in range(100):
            trainer.step([[scale]], [0.0])
    assert np.isfinite(net.params.flat).all()


@each_backend
def test_advice_for_bad_parameters(backend):
    trainer, x, y = regression(backend)
    trainer.net.params["2.weight"][0] = np.nan
    message = r"^epoch 1, batch 1: 2\.weight is not finite\. It was so before the step"
    with pytest.raises(fb.DivergenceError, match=message):
        trainer.step(x, y)


@each_backend
def test_clipping_is_not_advised_where_it_is_on(backend):
    net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(2.0)), dtype="float64", backend=backend)
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(lr=1e300), clip_norm=1.0)
    with pytest.raises(fb.DivergenceError, match=r"is probably too high: lower it\. The network holds"):
        for _ in range(5):
            trainer.step([[1.0]], [0.0])


def normalised(p):
    return np.mean((p - p.mean(axis=0)) / p.std(axis=0))


def rooted(p):
    return np.mean(np.sqrt(np.square(p - p.max(axis=1, keepdims=True))))


@each_backend
@pytest.mark.parametrize(("loss", "rows", "words"), [
    (normalised, 1, ["what loss normalised makes of them is not, line ", "(return np.mean((p - p.mean(axis=0)) / p.std("
                     "axis=0)))", "in divide", "one row, and so a standard deviation of 0"]),
    (lambda p: np.mean(np.log(p - 100)), 4, ["invalid value encountered in log. Let it return finite numbers"]),
    (lambda p: np.mean(np.exp(p + 100)), 4, ["overflow encountered in exp", "clip what np.exp is taken of"]),
    (rooted, 4, ["The outputs and the loss rooted are finite, but its derivative is not", "np.sqrt(x + 1e-8)"]),
])
def test_advice_where_a_function_is_the_cause(backend, loss, rows, words):
    net = fb.Sequential(fb.Linear(3, 4), seed=0, backend=backend)
    before = net.params.flat.copy()
    x = np.random.default_rng(0).random((rows, 3))
    for train in (lambda t: t.step(x, ()), lambda t: t.fit(x, (), epochs=2, progress=False)):
        with pytest.raises(fb.DivergenceError) as caught:
            train(fb.Trainer(net, loss, fb.Adam(1e-3)))
        assert "learning rate" not in str(caught.value)
        for text in words:
            assert text in str(caught.value)
    np.testing.assert_array_equal(net.params.flat, before)


@each_backend
def test_advice_where_outputs_of_a_function_have_grown(backend):
    net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(2.0)), dtype="float64", backend=backend)
    trainer = fb.Trainer(net, lambda p, y: np.mean((p - y) ** 2), fb.SGD(lr=1e30))
    with pytest.raises(fb.DivergenceError, match=r"The learning rate \(1e\+30\) is probably too high"):
        for _ in range(100):
            trainer.step([[1.0]], [0.0])


@each_backend
def test_a_standard_deviation_of_one_row_has_the_derivative_0(backend):
    net = fb.Sequential(fb.Linear(3, 4), seed=0, dtype="float64", backend=backend)
    for loss in (lambda p: np.mean(p.std(axis=0)), lambda p: np.mean((p - p.mean()) / (p.std(axis=0) + 1e-5))):
        net.loss_and_grad(np.ones((1, 3)), (), loss)
        assert np.isfinite(net.grads.flat).all()
    assert not net.loss_and_grad(np.ones((1, 3)), (), lambda p: np.mean(np.std(p, axis=0)))
    assert not net.grads.flat.any()


# ---- functions that give something else each time --------------------------------------------------------------------


def unsteady(kind, chance, rng):
    """A loss that is wrong now and then: its value, or its gradient, whatever it is given."""
    def loss(y_pred, y):
        e = y_pred - y
        value, gradient = float(np.mean(e * e)), 2 * e / e.size
        if rng.random() < chance:
            wrong = rng.choice([np.nan, np.inf, -np.inf])
            if kind == "value":
                value = wrong
            else:
                gradient = np.full_like(gradient, wrong)
        return value, gradient
    return fb.CustomLoss(loss)


class Unsteady(fb.CustomLayer):
    """Passes everything on, but for a gradient or a value that is not finite now and then."""

    def __init__(self, chance, rng):
        super().__init__()
        self.chance, self.rng = chance, rng

    def forward(self, ctx, x):
        return x * (np.inf if self.rng.random() < self.chance / 2 else 1)

    def backward(self, ctx, dy):
        return dy * (np.nan if self.rng.random() < self.chance / 2 else 1)


@each_backend
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["value", "gradient", "layer"]),
       chance=st.sampled_from([0.02, 0.1, 0.4]), clipped=st.booleans(),
       optimizer=st.sampled_from(["Adam", "SGD", "Lion"]), every=st.sampled_from([None, 1, 3]),
       norm=st.booleans())
def test_whatever_diverges_leaves_good_parameters(backend, seed, kind, chance, clipped, optimizer, every, norm):
    rng = np.random.default_rng(seed)
    layers = [fb.Linear(3, 4), *([fb.BatchNorm()] if norm else []), fb.Tanh()]
    if kind == "layer":
        layers.append(Unsteady(chance, rng))
    net = fb.Sequential(*layers, fb.Linear(4, 1), seed=0, backend=backend)
    loss = fb.MSE() if kind == "layer" else unsteady(kind, chance, rng)
    trainer = fb.Trainer(net, loss, getattr(fb, optimizer)(0.01), clip_norm=1.0 if clipped else None)
    x = np.random.default_rng(0).normal(size=(24, 3))
    good = {}

    def note(trainer, *arguments):
        good[trainer.update.step] = snapshot(trainer)
    hooks = {} if every is None else {"every": every, "on_batch_end": note}
    watch = [fb.callbacks.Lambda(on_epoch_begin=note, **hooks)]
    for _ in range(4):
        error = diverged(lambda: trainer.fit(x, x[:, 0], epochs=2, batch_size=4, callbacks=watch))
        assert trainer.history.epochs == list(range(1, trainer.epoch + 1))
        if error is not None:
            check_what_is_left(trainer, error, good)
            break


def diverged(run):
    """The error of a run that diverges, or None."""
    try:
        run()
    except fb.DivergenceError as error:
        return error
    return None


def check_what_is_left(trainer, error, good):
    """All is finite, and of the update that the message speaks of; six mini-batches make an epoch."""
    net, step = trainer.net, trainer.update.step
    for array in (net.params.flat, net.buffers.flat, *trainer.update.state):
        assert np.isfinite(array).all()
    assert step == net.memory.step
    at = 6 * (error.epoch - 1) + error.batch - 1
    if "could not be computed once more" in str(error):
        assert f"from after update {step}:" in str(error)
        assert step <= at
        assert step in good, "a call began with it"
    else:
        assert str(error).endswith("The network holds the parameters from after the last good mini-batch.")
        assert step == at
    if step in good:
        assert snapshot(trainer) == good[step]


def test_a_loss_of_ones_own_that_is_steady_is_gone_back_from_to_the_last_good_mini_batch():
    def loss(y_pred, y):
        e = y_pred - y
        gradient = 2 * e / e.size
        return float(np.mean(e * e)), gradient if np.abs(y).max() < 9 else np.full_like(gradient, np.nan)
    results = []
    for backend in backends():
        net = fb.Sequential(fb.Linear(3, 4), fb.Tanh(), fb.Linear(4, 1), seed=0, backend=backend, dtype="float64")
        trainer, stepped = (fb.Trainer(n, fb.CustomLoss(loss), fb.Adam(0.01)) for n in (net, net.copy()))
        x = np.random.default_rng(0).normal(size=(24, 3))
        y = x[:, 0].copy()
        y[17] = 9
        with pytest.raises(fb.DivergenceError, match=r"^epoch 1, batch 5: .* after the last good mini-batch\.$"):
            trainer.fit(x, y, epochs=3, batch_size=4, shuffle=False)
        by_steps(stepped, x, y, np.split(np.arange(16), 4))
        assert snapshot(trainer) == snapshot(stepped)
        results.append(net.params.flat)
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-9)
