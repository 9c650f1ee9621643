"""Training on an iterable of batches."""

import numpy as np
import pytest

import fastbp as fb


def _net(seed=0):
    return fb.Sequential(fb.Linear(3, 8), fb.Tanh(), fb.Linear(8, 1), seed=seed)


def _data(rows=40):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 3)).astype("f"), rng.standard_normal((rows, 1)).astype("f")


def test_batches_give_the_same_bits_as_arrays():
    x, y = _data()
    nets = _net(), _net()
    one = fb.Trainer(nets[0], fb.MSE(), fb.Adam(0.01)).fit(x, y, epochs=3, batch_size=16, shuffle=False, progress=False)
    batches = [(x[i:i + 16], y[i:i + 16]) for i in range(0, 40, 16)]
    other = fb.Trainer(nets[1], fb.MSE(), fb.Adam(0.01)).fit(batches, epochs=3, progress=False)
    np.testing.assert_array_equal(nets[0].params.flat, nets[1].params.flat)
    np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-12)


def test_a_generator_serves_one_epoch_and_says_so_for_more():
    x, y = _data()
    trainer = fb.Trainer(_net(), fb.MSE(), fb.SGD(0.1))
    assert len(trainer.fit(((x[i:i + 8], y[i:i + 8]) for i in range(0, 40, 8)), progress=False)) == 1
    with pytest.raises(ValueError, match="X ran out after the first epoch"):
        trainer.fit(((x, y) for _ in range(2)), epochs=2, progress=False)


def test_weights_validation_and_callbacks_work_as_for_arrays():
    x, y = _data()
    seen = []
    callback = fb.callbacks.Lambda(on_epoch_end=lambda trainer, epoch, logs: seen.append(epoch))
    trainer = fb.Trainer(_net(), fb.MSE(), fb.SGD(0.1))
    history = trainer.fit([(x, y, np.ones(40)), (x, y, np.zeros(40))], epochs=2, validation_data=(x, y),
                          callbacks=[callback], progress=False)
    assert seen == [1, 2]
    assert len(history["val_loss"]) == 2
    assert history["loss"][0] > history["loss"][1]


@pytest.mark.parametrize(("batches", "error", "message"), [
    (np.zeros((4, 3)), TypeError, "y is missing, and X is no iterable of batches but ndarray"),
    ([], ValueError, "X has no batches"),
    ([np.zeros((4, 3))], ValueError, "X holds a batch that is ndarray; expected"),
    ([(1, 2, 3, 4)], ValueError, "X holds a batch that is tuple of 4; expected"),
    (7, TypeError, "X is no iterable of batches but int"),
])
def test_what_is_no_batch_is_refused_and_nothing_is_changed(batches, error, message):
    net = _net()
    before = net.params.flat.copy()
    with pytest.raises(error, match=message):
        fb.Trainer(net, fb.MSE(), fb.SGD(0.1)).fit(batches, progress=False)
    np.testing.assert_array_equal(net.params.flat, before)
