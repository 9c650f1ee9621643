"""Where mini-batches come from: arrays in an order, or an iterable of batches."""

import numpy as np
import pytest
from conftest import backends
from regressions import by_steps, regression, snapshot

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())


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


# ---- arrays -------------------------------------------------------------------------------------------------------


@each_backend
@pytest.mark.parametrize("epochs", [1, 3])
def test_rows_in_an_order_of_ones_own(backend, epochs):
    (whole, x, y), (stepped, _, _) = regression(backend), regression(backend)
    orders = {e: np.random.default_rng(e).integers(0, 10, 10) for e in range(1, 4)}
    seen = []

    def order(epoch, rows):
        seen.append((epoch, rows.tolist()))
        return orders[epoch]
    whole.fit(x, y, batch_size=5, epochs=epochs, shuffle=order)
    for epoch in range(1, epochs + 1):
        by_steps(stepped, x, y, np.split(orders[epoch], 2))
    assert snapshot(whole) == snapshot(stepped)
    assert seen == [(e, list(range(10))) for e in range(1, epochs + 1)]


@pytest.mark.parametrize("wrong", [[0, 1, 2], np.arange(10.0), np.arange(1, 11), np.arange(-1, 9), 3])
def test_an_order_that_is_none(wrong):
    trainer, x, y = regression()
    before = snapshot(trainer)
    with pytest.raises(ValueError, match=r"fit: shuffle returned .* expected 10 row numbers from 0 to 9"):
        trainer.fit(x, y, shuffle=lambda epoch, rows: wrong)
    assert snapshot(trainer) == before


@each_backend
@pytest.mark.parametrize("when", ["on_epoch_begin", "on_batch_end", "on_progress", "on_epoch_end"])
def test_an_order_array_that_is_used_again_and_changed_is_taken_as_it_was_given(backend, when):
    (changed, x, y), (whole, _, _) = regression(backend, rows=24), regression(backend, rows=24)
    array = np.arange(24)

    def shuffle(epoch, rows):
        array[...] = np.random.default_rng(epoch).permutation(24)
        return array

    def spoil(*arguments):
        array[...] = 2**40
    spoiling = fb.callbacks.Lambda(every=2, on_batch_end=lambda *a: None)
    setattr(spoiling, when, spoil)
    changed.fit(x, y, epochs=3, batch_size=4, shuffle=shuffle, callbacks=[spoiling])
    whole.fit(x, y, epochs=3, batch_size=4,
              shuffle=lambda epoch, rows: np.random.default_rng(epoch).permutation(24))
    assert snapshot(changed) == snapshot(whole)


def test_a_function_that_shuffles_the_rows_in_place_changes_none_of_ours():
    (changed, x, y), (whole, _, _) = regression(rows=20), regression(rows=20)

    def in_place(epoch, rows):
        given = rows.copy()
        rows[...] = 0
        return given
    for trainer, shuffle in ((changed, in_place), (whole, lambda epoch, rows: rows)):
        trainer.fit(x, y, epochs=3, batch_size=5, validation_split=0.25, shuffle=shuffle)
    assert snapshot(changed) == snapshot(whole)


@each_backend
@pytest.mark.parametrize("shuffle", [True, False, lambda epoch, rows: np.roll(rows, epoch)],
                         ids=["shuffled", "in order", "an order of one's own"])
@pytest.mark.parametrize("split", [0.0, 0.1])
def test_drop_last_leaves_out_the_rows_that_fill_no_mini_batch(backend, shuffle, split):
    (whole, x, y), (stepped, _, _) = regression(backend, rows=21), regression(backend, rows=21)
    weight = np.arange(1.0, 22)
    history = whole.fit(x, y, epochs=2, batch_size=4, shuffle=shuffle, validation_split=split, sample_weight=weight,
                        drop_last=True)
    rows = np.arange(21)
    if split:
        rows = np.sort(np.random.default_rng((0, 0)).permutation(21)[2:])
    for epoch in (1, 2):
        order = rows
        if shuffle is True:
            order = np.random.default_rng((0, epoch)).permutation(rows)
        elif callable(shuffle):
            order = shuffle(epoch, rows)
        used = len(rows) // 4 * 4
        losses = by_steps(stepped, x, y, np.split(order[:used], used // 4), weight)
        sums = weight[order[:used]].reshape(-1, 4).sum(axis=1)
        assert history["loss"][epoch - 1] == pytest.approx(np.average(losses, weights=sums), rel=1e-12)
    assert snapshot(whole) == snapshot(stepped)


def test_drop_last_of_fewer_rows_than_a_mini_batch_keeps_them():
    (kept, x, y), (whole, _, _) = regression(), regression()
    kept.fit(x, y, batch_size=32, drop_last=True)
    whole.fit(x, y, batch_size=32)
    assert snapshot(kept) == snapshot(whole)


def test_drop_last_is_for_arrays():
    trainer, x, y = regression()
    with pytest.raises(ValueError, match="leave out validation_split, sample_weight and drop_last"):
        trainer.fit([(x, y)], drop_last=True)
    with pytest.raises((TypeError, ValueError), match="fit: drop_last is 2"):
        trainer.fit(x, y, drop_last=2)


# ---- batches and arrays alike ----------------------------------------------------------------------------------------


def given(kind, x, y, size):
    """The same mini-batches as arguments of fit: as arrays, a list of batches, or an iterable of unknown length."""
    class Endless:
        def __iter__(self):
            return iter(batches)
    batches = [(x[i:i + size], y[i:i + size]) for i in range(0, len(x), size)]
    return {"arrays": {"X": x, "y": y, "batch_size": size, "shuffle": False}, "a list": {"X": batches},
            "an iterable": {"X": Endless()}}[kind]


KINDS = pytest.mark.parametrize("kind", ["arrays", "a list", "an iterable"])


@each_backend
@KINDS
@pytest.mark.parametrize("hook", ["on_batch_end", "on_progress"])
def test_an_epoch_that_is_stopped_is_in_no_history_and_told_to_nobody(backend, kind, hook):
    trainer, x, y = regression(backend, rows=12)
    calls = []

    def stop(trainer, batch):
        trainer.stop = trainer.epoch == 1 and batch >= 2
    note = fb.callbacks.Lambda(every=1, on_epoch_end=lambda t, epoch, logs: calls.append(epoch), **{hook: stop})
    history = trainer.fit(**given(kind, x, y, 2), epochs=5, callbacks=[note])
    assert (history.epochs, calls, trainer.update.step) == ([1], [1], 8)


@each_backend
@KINDS
@pytest.mark.parametrize("hook", ["on_batch_end", "on_progress"])
def test_an_epoch_that_is_stopped_by_its_last_mini_batch_is_complete(backend, kind, hook):
    trainer, x, y = regression(backend, rows=12)

    def stop(trainer, batch):
        trainer.stop = batch == 6
    note = fb.callbacks.Lambda(every=1, **{hook: stop})
    assert trainer.fit(**given(kind, x, y, 2), epochs=5, callbacks=[note]).epochs == [1]


@each_backend
@KINDS
def test_a_schedule_is_asked_once_a_step(backend, kind):
    asked = []

    def schedule(step):
        asked.append(step)
        return 0.1 / (1 + step)
    trainer, x, y = regression(backend, rows=11, optimizer=fb.SGD(schedule))
    trainer.fit(**given(kind, x, y, 4), epochs=3)
    assert asked == list(range(9))


@each_backend
@pytest.mark.parametrize("weight", [None, np.ones(10)])
def test_a_schedule_is_asked_once_a_step_of_the_trainer(backend, weight):
    asked = []
    trainer, x, y = regression(backend, optimizer=fb.SGD(lambda step: asked.append(step) or 0.1))
    for _ in range(5):
        trainer.step(x, y, weight)
    assert asked == list(range(5))


def test_sample_weights_of_batches_are_summed_as_arrays():
    class Array(np.ndarray):
        def __iter__(self):
            raise AssertionError("walked through in Python")
    (trainer, x, y), (stepped, _, _) = regression(), regression()
    history = trainer.fit([(x, y, np.arange(10.0).view(Array)), (x, y, [2.0] * 10)])
    losses = [stepped.step(x, y, np.arange(10.0)), stepped.step(x, y)]
    assert history["loss"] == [pytest.approx(np.average(losses, weights=[45, 20]), rel=1e-12)]


def test_batches_of_several_inputs_count_their_rows_as_tuples_and_as_lists():
    a, b = fb.Input(2), fb.Input(1)
    net = fb.Network([a, b], fb.Linear(3, 1)(fb.Concat()(a, b)), seed=0, backend="reference")
    rng = np.random.default_rng(0)
    batches = [((rng.normal(size=(n, 2)), rng.normal(size=(n, 1))), rng.normal(size=n)) for n in (7, 2)]
    histories = []
    for kind in (tuple, list):
        trainer = fb.Trainer(net.copy(), fb.MSE(), fb.SGD(0.1))
        histories.append(trainer.fit([(kind(x), y) for x, y in batches]))
    losses = by_steps(fb.Trainer(net.copy(), fb.MSE(), fb.SGD(0.1)), Rows(batches, 0), Rows(batches, 1), [0, 1])
    for history in histories:
        assert history["loss"] == [pytest.approx(np.average(losses, weights=[7, 2]), rel=1e-6)]


class Rows:
    """The first or second entry of batches, by number."""

    def __init__(self, batches, entry):
        self.batches, self.entry = batches, entry

    def __getitem__(self, number):
        return self.batches[number][self.entry]


@each_backend
@pytest.mark.parametrize("rates", [np.zeros(2), np.zeros((3, 1)), []])
def test_a_schedule_that_gives_too_few_rates_is_refused(backend, rates):
    class Mine(fb.Schedule):
        def __call__(self, step):
            return 0.1

        def rates(self, first, updates):
            return rates
    trainer, x, y = regression(backend, optimizer=fb.SGD(Mine()))
    before = snapshot(trainer)
    with pytest.raises(ValueError, match=r"rates gave an array of shape .*; expected \(3,\)"):
        trainer.fit(x, y, batch_size=4)
    assert snapshot(trainer) == before
