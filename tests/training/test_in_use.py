"""Networks changed in use: heads that are swapped, gradients accumulated, learning rates found, averages of weights."""

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())
RNG = np.random.default_rng(4)
X, Y = RNG.normal(size=(50, 3)), RNG.integers(0, 2, 50)


def make(backend, *layers, optimizer=None, **options):
    layers = layers or (fb.Linear(3, 6), fb.Tanh(), fb.Linear(6, 2, name="head"))
    net = fb.Sequential(*layers, seed=0, backend=backend, dtype="float64")
    return fb.Trainer(net, "cross_entropy", optimizer or fb.Adam(0.02), **options)


# ---- accumulate ------------------------------------------------------------------------------------------------------


@each_backend
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_accumulated_gradients_are_those_of_one_large_batch(backend, weighted, clip):
    weight = RNG.uniform(0.1, 2, 50) if weighted else None
    large, small = make(backend, clip_norm=clip), make(backend, clip_norm=clip)
    one = large.fit(X, Y, epochs=3, batch_size=16, sample_weight=weight)
    many = small.fit(X, Y, epochs=3, batch_size=4, accumulate=4, sample_weight=weight)
    np.testing.assert_allclose(small.net.params.flat, large.net.params.flat, rtol=1e-9)
    assert many["loss"] == pytest.approx(one["loss"])
    assert small.update.step == large.update.step == 12


@each_backend
def test_accumulated_batches_of_an_iterable(backend):
    rows = [slice(i, i + 5) for i in range(0, 50, 5)]
    small, large = make(backend), make(backend)
    history = small.fit([(X[r], Y[r]) for r in rows], epochs=2, accumulate=4)
    large.fit(X, Y, epochs=2, batch_size=20, shuffle=False)
    np.testing.assert_allclose(small.net.params.flat, large.net.params.flat, rtol=1e-9)
    assert history["loss"] == pytest.approx(large.history["loss"])
    assert small.update.step == 6


@each_backend
def test_batch_normalisation_looks_at_each_accumulated_batch_by_itself(backend):
    layers = fb.Linear(3, 4), fb.BatchNorm(), fb.Linear(4, 2)
    trainer, twin = make(backend, *layers, optimizer=fb.SGD(0.1)), make(backend, *layers, optimizer=fb.SGD(0.1)).net
    trainer.fit(X[:20], Y[:20], batch_size=10, accumulate=2, shuffle=False)
    for part in (slice(0, 10), slice(10, 20)):
        twin.loss_and_grad(X[part], Y[part], "cross_entropy", accumulate=part.start > 0)
    twin.params.flat -= 0.1 * twin.grads.flat / 2
    np.testing.assert_allclose(trainer.net.params.flat, twin.params.flat, rtol=1e-9)
    np.testing.assert_allclose(trainer.net.buffers.flat, twin.buffers.flat, rtol=1e-9)


@each_backend
def test_accumulation_with_dropout_is_resumed_to_the_same_bits(backend, tmp_path):
    layers = fb.Linear(3, 8), fb.Dropout(0.5), fb.Linear(8, 2)
    never, stopped = make(backend, *layers), make(backend, *layers)
    never.fit(X, Y, epochs=4, batch_size=8, accumulate=2)
    stopped.fit(X, Y, epochs=2, batch_size=8, accumulate=2)
    stopped.save_checkpoint(tmp_path / "run")
    resumed = fb.Trainer.resume(tmp_path / "run", backend=backend)
    resumed.fit(X, Y, epochs=2, batch_size=8, accumulate=2)
    assert np.array_equal(resumed.net.params.flat, never.net.params.flat)


@each_backend
def test_a_divergence_while_accumulating_leaves_the_last_good_parameters(backend):
    trainer = make(backend, fb.Linear(3, 4), fb.Linear(4, 2), optimizer=fb.SGD(0.1))
    trainer.fit(X, Y, batch_size=5, accumulate=2, shuffle=False)
    trainer.lr = 1e306
    with pytest.raises(fb.DivergenceError, match=r"epoch 2, batch 1: 0\.weight after the update"):
        trainer.fit(X * 1e5, Y, epochs=3, batch_size=5, accumulate=2, shuffle=False)
    assert trainer.update.step == 5
    assert np.isfinite(trainer.net.params.flat).all()


# ---- another head ----------------------------------------------------------------------------------------------------


@each_backend
def test_a_new_head_keeps_the_rest_and_the_optimizers_state(backend, tmp_path):
    trainer = make(backend)
    net, optimizer = trainer.net, trainer.optimizer
    trainer.fit(X, Y, epochs=2)
    net.freeze("0.bias")
    new = net.replace("head", fb.Linear(6, 5))
    assert type(new) is fb.Sequential
    assert [repr(layer) for layer in new] == ["Linear(3, 6)", "Tanh()", "Linear(6, 5)"]
    assert new.frozen == ("0.bias",)
    assert np.array_equal(new.params["0.weight"], net.params["0.weight"])
    assert new.params["head.weight"].any()
    optimizer.carry_over(net, new)
    before, after = optimizer.update_of(net), optimizer.update_of(new)
    assert after.step == before.step
    for old, now in zip(before.state, after.state, strict=True):
        assert np.array_equal(old[:24], now[:24])
        assert not now[24:].any()
    kept = net.params.flat.copy()
    fb.Trainer(new, "cross_entropy", optimizer).fit(X, RNG.integers(0, 5, 50))
    assert np.array_equal(net.params.flat, kept), "the old network has parameters of its own"
    new.save(tmp_path / "net")
    assert np.array_equal(fb.load(tmp_path / "net", backend=backend).predict(X), new.predict(X))


@each_backend
def test_layers_of_any_graph_are_replaced(backend):
    x = fb.Input(3, name="x")
    h = fb.Residual(fb.Linear(3, 3), fb.Tanh(), name="block")(x) * 2.0
    net = fb.Network({"x": x}, {"y": fb.Linear(3, 1, name="head")(h)}, seed=0, backend=backend, dtype="float64")
    new = net.replace("head", fb.Linear(3, 4))
    assert new.output_names == ("y",)
    assert new.predict({"x": X})["y"].shape == (50, 4)
    same = net.replace("head", net.graph.layers["head"])
    assert np.array_equal(same.predict({"x": X})["y"], net.predict({"x": X})["y"])
    with pytest.raises(KeyError, match="replace: there is no layer 'tail'; there are 'block"):
        net.replace("tail", fb.Linear(3, 4))
    with pytest.raises(ValueError, match="expected 5 features"):
        net.replace("head", fb.Linear(5, 4))


# ---- the learning rate -----------------------------------------------------------------------------------------------


@each_backend
def test_finding_a_learning_rate_changes_nothing(backend):
    trainer = make(backend, fb.Linear(3, 8), fb.BatchNorm(), fb.Dropout(0.1), fb.Linear(8, 2))
    twin = make(backend, fb.Linear(3, 8), fb.BatchNorm(), fb.Dropout(0.1), fb.Linear(8, 2))
    found = trainer.find_lr(X, Y, steps=40, batch_size=10)
    assert found.rates[0] <= found.lr <= found.rates[-1]
    assert len(found.rates) == len(found.losses) == len(found.smoothed) <= 40
    assert trainer.lr == 0.02
    trainer.fit(X, Y, epochs=2)
    twin.fit(X, Y, epochs=2)
    assert np.array_equal(trainer.net.params.flat, twin.net.params.flat)


def test_the_learning_rate_that_is_found_trains():
    x = np.linspace(-1, 1, 200)[:, None]
    net = fb.Sequential(fb.Linear(1, 16, weight_init=fb.XavierUniform()), "tanh", fb.Linear(16, 1), seed=0)
    trainer = fb.Trainer(net, "mse", fb.Adam(1e-9))
    trainer.lr = trainer.find_lr(x, np.sin(3 * x)).lr
    assert trainer.fit(x, np.sin(3 * x), epochs=60)["loss"][-1] < 0.15


def test_the_picture_of_a_search():
    pytest.importorskip("matplotlib")
    found = make("reference").find_lr(X, Y, steps=20)
    axes = found.plot().axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("learning rate", "loss", "log")
    assert axes.get_legend().get_texts()[-1].get_text() == f"suggested: {found.lr:.2g}"
    assert found._repr_png_().startswith(b"\x89PNG")


# ---- averages --------------------------------------------------------------------------------------------------------


@each_backend
def test_averages_with_and_without_fit(backend):
    """By the formulas, from the parameters after each update."""
    by_fit, by_hand = make(backend), make(backend)
    swa = fb.callbacks.StochasticWeightAverage(start_epoch=2, overwrite=False)
    ema = fb.callbacks.ExponentialMovingAverage(decay=0.9, overwrite=False)
    by_fit.fit(X, Y, epochs=4, batch_size=50, shuffle=False, callbacks=[swa, ema])
    mean, moving = fb.ParameterAverage(by_hand.net), fb.ParameterAverage(by_hand.net, decay=0.9)
    seen = []
    for i in range(4):
        by_hand.step(X, Y)
        seen.append(by_hand.net.params.flat.copy())
        moving.update()
        if i:
            mean.update()
    np.testing.assert_allclose(swa.average, np.mean(seen[1:], axis=0), rtol=1e-12)
    weights = 0.9 ** np.arange(3, -1, -1)
    np.testing.assert_allclose(ema.average, weights @ np.array(seen) / weights.sum(), rtol=1e-10)
    np.testing.assert_allclose(mean.average, swa.average, rtol=1e-12)
    np.testing.assert_allclose(moving.average, ema.average, rtol=1e-12)
    with mean.applied():
        np.testing.assert_allclose(by_hand.net.params.flat, mean.average, rtol=1e-12)
    assert np.array_equal(by_hand.net.params.flat, seen[-1])
    by_hand.net.freeze("head")
    mean.apply()
    assert np.array_equal(by_hand.net.params["head.weight"].ravel(), seen[-1][24:36])
    np.testing.assert_allclose(by_hand.net.params.flat[:24], mean.average[:24], rtol=1e-12)


def test_the_network_gets_the_average_at_the_end():
    trainer = make("reference")
    average = fb.callbacks.StochasticWeightAverage(decay=0.5)
    trainer.fit(X, Y, epochs=3, callbacks=[average])
    np.testing.assert_allclose(trainer.net.params.flat, average.average, rtol=1e-12)


def test_averages_are_resumed(tmp_path):
    StochasticWeightAverage, ModelCheckpoint = fb.callbacks.StochasticWeightAverage, fb.callbacks.ModelCheckpoint
    never, stopped = make("reference"), make("reference")
    first = StochasticWeightAverage(start_epoch=2)
    never.fit(X, Y, epochs=5, callbacks=[first])
    stopped.fit(X, Y, epochs=3, callbacks=[StochasticWeightAverage(start_epoch=2), ModelCheckpoint(tmp_path / "run")])
    resumed, then = fb.Trainer.resume(tmp_path / "run", backend="reference"), StochasticWeightAverage(start_epoch=2)
    resumed.fit(X, Y, epochs=2, callbacks=[then])
    assert np.array_equal(first.average, then.average)


def test_there_is_no_average_before_the_first_update():
    average = fb.ParameterAverage(make("reference").net)
    assert average.average is None
    with pytest.raises(RuntimeError, match="there is no average yet; call update"):
        average.apply()
