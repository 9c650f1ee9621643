"""Which parameters move, how fast, and how that changes while a network is in use."""

import copy
import pickle

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())
RNG = np.random.default_rng(1)
X, Y = RNG.normal(size=(40, 3)), RNG.integers(0, 2, 40)


def make(backend, encoder=True, **options):
    return fb.Sequential(fb.Linear(3, 6, name="encoder", trainable=encoder), fb.Tanh(), fb.Linear(6, 2, name="head"),
                         seed=0, backend=backend, dtype="float64", **options)


@each_backend
@pytest.mark.parametrize("clip", [None, 0.01])
def test_a_frozen_layer_trains_like_one_made_so(backend, clip):
    made, frozen = make(backend, encoder=False), make(backend)
    frozen.freeze("encoder.*")
    assert frozen.frozen == made.frozen == ("encoder.weight", "encoder.bias")
    for net in (made, frozen):
        trainer = fb.Trainer(net, "cross_entropy", fb.Adam(0.05, weight_decay=0.1), clip_norm=clip)
        trainer.fit(X, Y, epochs=3, batch_size=8)
        trainer.step(X, Y)
    assert np.array_equal(made.params.flat, frozen.params.flat)
    assert np.array_equal(made.params["encoder.weight"], make(backend).params["encoder.weight"])


@each_backend
def test_freezing_in_the_midst_of_training(backend):
    net = make(backend)
    optimizer = fb.Adam(0.05)
    trainer = fb.Trainer(net, "cross_entropy", optimizer)
    for _ in range(3):
        trainer.step(X, Y)          # the quick way too
    net.freeze("encoder")
    kept, head = net.params["encoder.weight"].copy(), net.params["head.weight"].copy()
    for _ in range(3):
        trainer.step(X, Y)
    trainer.fit(X, Y, epochs=2)
    net.loss_and_grad(X, Y, "cross_entropy")
    assert not net.grads["encoder.weight"].any()
    assert net.grads["head.weight"].any()
    optimizer.step(net)
    assert np.array_equal(net.params["encoder.weight"], kept)
    assert not np.array_equal(net.params["head.weight"], head)
    net.unfreeze("encoder.bias")
    assert net.frozen == ("encoder.weight",)
    net.unfreeze()
    trainer.step(X, Y)
    assert not np.array_equal(net.params["encoder.weight"], kept)


@each_backend
def test_what_is_frozen_of_a_layer_has_the_gradient_0(backend):
    net, all_of_it = make(backend), make(backend)
    net.freeze("encoder.weight")
    for one in (net, all_of_it):
        one.grads.flat[...] = 7.0
        one.loss_and_grad(X, Y, "cross_entropy")
    assert not net.grads["encoder.weight"].any()
    for name in ("encoder.bias", "head.weight", "head.bias"):
        assert np.array_equal(net.grads[name], all_of_it.grads[name])
    y = net.forward(X, training=True)
    net.backward(np.ones_like(y))
    assert not net.grads["encoder.weight"].any()
    assert net.grads["encoder.bias"].any()
    fb.Trainer(net, "cross_entropy", "sgd").fit(X, Y)
    assert not net.grads["encoder.weight"].any()
    assert net.grads["encoder.bias"].any()


@each_backend
def test_what_the_loss_does_not_reach_has_the_gradient_0(backend):
    x = fb.Input(3)
    net = fb.Network(x, [fb.Linear(3, 2)(x), fb.Linear(3, 2)(x)], seed=0, backend=backend, dtype="float64")
    net.grads.flat[...] = 7.0
    fb.Trainer(net, lambda first, second, target: np.mean((first - target)**2), "sgd").fit(X, X[:, :2], batch_size=16)
    assert net.grads["0.weight"].any()
    assert not net.grads["1.weight"].any()
    assert not net.grads["1.bias"].any()


def test_names_are_given_one_by_one_or_in_a_list():
    net = fb.Sequential(fb.Linear(3, 4, name="a[0]"), fb.Linear(4, 2, name="a?b"), seed=0)
    net.freeze("a[0]")
    assert net.frozen == ("a[0].weight", "a[0].bias")
    net.unfreeze(["a[0].weight", "a[0].bias"])
    net.freeze([])
    assert net.frozen == ()
    net.freeze(["a[0].bias", "a?b.weight"])
    assert net.frozen == ("a[0].bias", "a?b.weight")
    with pytest.raises(ValueError, match=r"no parameter is called 'c'"):
        net.freeze(["a[0]", "c"])
    assert net.frozen == ("a[0].bias", "a?b.weight")


@each_backend
def test_a_layer_made_frozen_can_be_unfrozen(backend):
    net = make(backend, encoder=False)
    net.unfreeze()
    plain = make(backend)
    for one in (net, plain):
        fb.Trainer(one, "cross_entropy", "sgd").fit(X, Y, epochs=2)
    assert np.array_equal(net.params.flat, plain.params.flat)


@each_backend
def test_what_is_frozen_travels(backend, tmp_path):
    net = make(backend)
    net.freeze("encoder.weight")
    net.save(tmp_path / "net")
    for other in (fb.load(tmp_path / "net", backend=backend), net.copy(), pickle.loads(pickle.dumps(net)),
                  copy.deepcopy(net)):
        assert other.frozen == ("encoder.weight",)
        other.unfreeze()
        assert net.frozen == ("encoder.weight",), "a copy has its own"
    thawed = make(backend, encoder=False)
    thawed.unfreeze()
    thawed.save(tmp_path / "thawed")
    assert fb.load(tmp_path / "thawed", backend=backend).frozen == ()


@each_backend
def test_a_resumed_run_keeps_what_is_frozen(backend, tmp_path):
    trainer = fb.Trainer(make(backend), "cross_entropy", fb.Adam(0.05, groups={"head": {"lr": 0.5}}))
    trainer.net.freeze("encoder.weight")
    trainer.fit(X, Y, epochs=2)
    trainer.save_checkpoint(tmp_path / "run")
    resumed = fb.Trainer.resume(tmp_path / "run", backend=backend)
    assert resumed.fit(X, Y, epochs=2)["loss"] == trainer.fit(X, Y, epochs=2)["loss"]
    assert np.array_equal(resumed.net.params.flat, trainer.net.params.flat)


@each_backend
def test_a_pickled_trainer_still_hears_of_freezing(backend):
    trainer = pickle.loads(pickle.dumps(fb.Trainer(make(backend), "cross_entropy", "adam")))
    trainer.net.freeze("encoder")
    kept = trainer.net.params["encoder.weight"].copy()
    trainer.fit(X, Y)
    assert np.array_equal(trainer.net.params["encoder.weight"], kept)


def test_networks_that_share_parameters_share_what_is_frozen():
    for backend in backends():
        body = fb.Sequential(fb.Linear(3, 4, name="body"), seed=0, backend=backend)
        x = fb.Input(3)
        net = fb.Network(x, fb.Linear(4, 2, name="head")(body(x)), seed=0, backend=backend)
        body.freeze()
        assert net.frozen == ("body.weight", "body.bias")
        kept = body.params.flat.copy()
        fb.Trainer(net, "cross_entropy", "sgd").fit(X, Y)
        assert np.array_equal(body.params.flat, kept)
        net.unfreeze("body.weight")
        assert body.frozen == ("body.bias",)


@each_backend
def test_groups_have_learning_rates_and_decays_of_their_own(backend):
    net = make(backend)
    groups = {"encoder.*": {"lr": 0.01, "weight_decay": 0.5}, "*.bias": {"weight_decay": 0.0}}
    optimizer = fb.SGD(0.1, weight_decay=0.2, groups=groups)
    trainer = fb.Trainer(net, "cross_entropy", optimizer)
    net.params.flat += 0.5          # biases too have something to lose
    for by_hand in (False, True):
        before = net.state_dict()
        if by_hand:
            net.loss_and_grad(X, Y, "cross_entropy")
            optimizer.step(net)
        else:
            trainer.fit(X, Y, batch_size=40, shuffle=False)
        gradient = net.copy()
        for name, values in before.items():
            gradient.params[name] = values
        gradient.loss_and_grad(X, Y, "cross_entropy")
        for name, p in before.items():
            lr = 0.01 if "encoder" in name else 0.1
            decay = 0.0 if "bias" in name else 0.5 if "encoder" in name else 0.2
            expected = p - lr * (gradient.grads[name] + decay * p)
            np.testing.assert_allclose(net.params[name], expected, rtol=1e-10, atol=1e-12)


@each_backend
def test_changing_the_learning_rate_of_an_optimizer_in_use(backend):
    net = make(backend)
    optimizer = fb.SGD(0.1, groups={"head": {"lr": 0.4}})
    trainer = fb.Trainer(net, "cross_entropy", optimizer)
    optimizer.lr *= 0.5
    assert float(optimizer.lr) == trainer.lr == 0.05
    before = net.params.flat.copy()
    trainer.step(X, Y)
    moved = net.copy()
    moved.params.flat = before - net.params.flat
    np.testing.assert_allclose(moved.params["encoder.weight"], 0.05 * net.grads["encoder.weight"], rtol=1e-10)
    np.testing.assert_allclose(moved.params["head.weight"], 0.2 * net.grads["head.weight"], rtol=1e-10)
    optimizer.lr = fb.CosineDecay(1.0, 10)
    optimizer.lr /= 2
    assert optimizer.lr(0) == 0.5
    optimizer.lr = lambda step: 0.1 + step
    optimizer.lr *= 2
    assert optimizer.lr(1) == 2.2


@pytest.mark.parametrize(("groups", "error", "message"), [
    ({"decoder": {"lr": 1}}, ValueError, "optimizer: groups: no parameter is called 'decoder'; there are"),
    ({"head": {"rate": 1}}, ValueError, "SGD: groups['head'] has 'rate'; there are 'lr', 'lr_factor', 'weight_decay'"),
    ({"head": 1}, TypeError, "SGD: groups['head'] is 1; expected settings"),
    ({"head": {"lr": -1}}, ValueError, "SGD: groups['head']: lr is -1; expected a number of at least 0"),
    ([1], TypeError, "SGD: groups is [1]; expected a dict of patterns to settings"),
])
def test_refused_groups(groups, error, message):
    import re
    with pytest.raises(error, match=re.escape(message)):
        fb.Trainer(make("reference"), "cross_entropy", fb.SGD(0.1, groups=groups))


def test_an_unknown_name_changes_nothing():
    net = make("reference")
    with pytest.raises(ValueError, match=r"^freeze: no parameter is called 'decoder.\*'; there are 'encoder.weight'"):
        net.freeze("encoder.*", "decoder.*")
    assert net.frozen == ()
