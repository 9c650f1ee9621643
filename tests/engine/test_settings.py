"""What may be assigned after a network, an optimizer or a trainer was made, and that the rest is refused."""

import numpy as np
import pytest

import fastbp as fb

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(64, 3)), RNG.normal(size=(64, 1))


def _net(**kw):
    return fb.Sequential(fb.Linear(3, 8), fb.Tanh(), fb.Linear(8, 1), seed=0, **kw)


class Scaled(fb.CustomLayer):
    factor = 1.0

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def hyperparameters(self):
        return {"factor": self.factor}

    def forward(self, ctx, x):
        return self.factor * x

    def backward(self, ctx, dy):
        return self.factor * dy


@pytest.mark.parametrize(("layer", "name", "value"), [
    (fb.Linear(3, 3), "trainable", False), (fb.Linear(3, 3), "out_features", 4), (fb.Dropout(0.5), "rate", 0.1),
    (fb.LeakyReLU(), "alpha", 0.5), (Scaled(2.0), "trainable", False)])
def test_a_layer_in_use_is_fixed(layer, name, value):
    assert hasattr(layer, name)
    fb.Sequential(fb.Linear(3, 3), layer)
    before = getattr(layer, name)
    with pytest.raises(AttributeError, match=rf"{name} is fixed.*load_state_dict"):
        setattr(layer, name, value)
    assert getattr(layer, name) == before


def test_a_layer_of_ones_own_reads_its_hyperparameters_when_it_runs():
    layer = Scaled(1.0)
    net = fb.Sequential(fb.Input(3), layer, fb.Linear(3, 1, bias=False), seed=0)
    before = net.predict(X)
    layer.factor = 2.0
    np.testing.assert_allclose(net.predict(X), 2 * before, rtol=1e-6)


@pytest.mark.parametrize(("optimizer", "name"), [(fb.SGD(momentum=0.9), "momentum"), (fb.Adam(), "beta1"),
                                                 (fb.AdamW(), "weight_decay"), (fb.Lion(), "decay_bias")])
def test_of_an_optimizer_in_use_only_the_learning_rate_may_be_assigned(optimizer, name):
    trainer = fb.Trainer(_net(), fb.MSE(), optimizer)
    with pytest.raises(AttributeError, match=rf"{name} is fixed, as the optimizer is in use; make a new one"):
        setattr(optimizer, name, 0.5)
    optimizer.lr = 0.25
    assert trainer.lr == 0.25


@pytest.mark.parametrize("name", ["net", "loss", "optimizer"])
def test_what_a_trainer_trains_is_fixed(name):
    trainer = fb.Trainer(_net(), fb.MSE(), fb.SGD(0.1))
    with pytest.raises(AttributeError, match=rf"Trainer: {name} is fixed; make a new one"):
        setattr(trainer, name, None)


def test_a_trainers_learning_rate_may_be_assigned():
    trainer = fb.Trainer(_net(), fb.MSE(), fb.SGD(0.1))
    trainer.lr = 0.5
    assert trainer.lr == trainer.optimizer.lr(0) == 0.5
    with pytest.raises(ValueError, match="lr is -1"):
        trainer.lr = -1


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_each_trainer_of_a_network_clips_by_its_own_limits(backend):
    net, optimizer = _net(backend=backend), fb.SGD(0.1)
    clipping = fb.Trainer(net, fb.MSE(), optimizer, clip_norm=1e-3)
    free = fb.Trainer(net, fb.MAE(), optimizer)
    for trainer, most, least in ((clipping, 1.01e-4, 0), (free, np.inf, 1e-3), (clipping, 1.01e-4, 0)):
        for train in (lambda t: t.step(X * 10, Y * 100), lambda t: t.fit(X * 10, Y * 100, batch_size=64)):
            before = net.params.flat.copy()
            train(trainer)
            assert least <= np.linalg.norm(net.params.flat - before) <= most


def test_limits_that_are_assigned_are_checked_and_used():
    net = _net()
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(0.1))
    trainer.step(X, Y)
    trainer.clip_norm = 1e-3
    before = net.params.flat.copy()
    trainer.step(X, 100 * Y)
    assert np.linalg.norm(net.params.flat - before) < 1.01e-4
    with pytest.raises(ValueError, match="clip_norm is 0"):
        trainer.clip_norm = 0


@pytest.mark.parametrize(("loss", "layer"), [(fb.CrossEntropy(), fb.Softmax()),
                                               (fb.BinaryCrossEntropy(), fb.Sigmoid())])
def test_probabilities_where_the_loss_wants_logits_are_warned_of(loss, layer):
    net = fb.Sequential(fb.Linear(3, 2), layer)
    with pytest.warns(UserWarning, match="train without that last layer"):
        fb.Trainer(net, loss, fb.Adam())


def test_a_step_of_an_optimizer_refuses_a_learning_rate_below_zero():
    net, optimizer = _net(), fb.SGD(lambda step: -0.1)
    net.loss_and_grad(X, Y, fb.MSE())
    before = net.params.flat.copy()
    with pytest.raises(ValueError, match=r"learning rate -0\.1"):
        optimizer.step(net)
    np.testing.assert_array_equal(net.params.flat, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_validation_inputs_that_are_not_finite_are_refused_before_training(bad):
    net = fb.Sequential(fb.Linear(3, 1), seed=0)
    trainer, spoilt = fb.Trainer(net, fb.MSE(), fb.Adam()), X.copy()
    spoilt[3, 1] = bad
    before = net.params.flat.copy()
    with pytest.raises(ValueError, match=r"validation_data: x has .* in row 3"):
        trainer.fit(X, Y, epochs=3, validation_data=(spoilt, Y), progress=False)
    with pytest.raises(ValueError, match=r"x has .* in row 3"):
        trainer.fit(spoilt, Y, epochs=3, validation_split=0.9, progress=False)
    np.testing.assert_array_equal(net.params.flat, before)
    assert len(trainer.history) == 0


def test_evaluation_names_the_row_that_makes_the_loss_nan():
    trainer, spoilt = fb.Trainer(_net(), fb.MSE(), fb.Adam()), X.copy()
    spoilt[5, 0] = np.nan
    with pytest.raises(ValueError, match="x has NaN in row 5"):
        trainer.evaluate(spoilt, Y)


def test_looking_at_a_trainer_changes_no_limits():
    net, optimizer = _net(), fb.SGD(1.0)
    clipping, free = fb.Trainer(net, fb.MSE(), optimizer, clip_norm=0.1), fb.Trainer(net, fb.MSE(), optimizer)
    free.step(X, Y)
    moved = []
    for trainer in (clipping, free):
        assert trainer.lr == 1.0
        assert trainer.update.step == 1 + len(moved)
        net.loss_and_grad(X, 100 * Y, fb.MSE())
        before = net.params.flat.copy()
        optimizer.step(net)
        moved.append(np.linalg.norm(net.params.flat - before))
    assert min(moved) > 1


def test_an_optimizer_derived_from_ours_may_choose_its_own_settings_and_count():
    class Mine(fb.SGD):
        def __init__(self, lr):
            super().__init__(lr, momentum=0.5)
            self.momentum = 0.25
            self.calls = 0

        def update(self, *args):
            self.calls += 1
            super().update(*args)

    optimizer = Mine(0.1)
    fb.Trainer(_net(backend="reference"), fb.MSE(), optimizer).fit(X, Y, epochs=2, batch_size=32, progress=False)
    assert optimizer.calls == 4
    assert optimizer.momentum == 0.25


def test_validation_inputs_that_a_layer_makes_finite_are_taken():
    class Filled(fb.CustomLayer):
        def forward(self, ctx, x):
            return np.nan_to_num(x)

        def backward(self, ctx, dy):
            return dy

    spoilt = X.copy()
    spoilt[3, 1] = np.nan
    net = fb.Sequential(fb.Input(3), Filled(), fb.Linear(3, 1), seed=0)
    history = fb.Trainer(net, fb.MSE(), fb.Adam()).fit(X, Y, epochs=2, validation_data=(spoilt, Y), progress=False)
    assert np.isfinite(history["val_loss"]).all()


@pytest.mark.parametrize("name", ["params", "grads", "buffers"])
def test_the_vectors_of_a_network_cannot_be_replaced(name):
    p, q = (fb.Sequential(fb.Linear(2, 3), fb.BatchNorm(3), backend="reference", seed=i) for i in range(2))
    before = getattr(q, name).flat.copy()
    with pytest.raises(AttributeError, match=f"{name} is the network's own vector .* net.{name}.flat = values"):
        setattr(q, name, getattr(p, name))
    np.testing.assert_array_equal(getattr(q, name).flat, before)
