"""The callbacks: the order of the calls, and each one's doing."""

import csv
import re
import time

import numpy as np
import pytest
from conftest import backends

import fastbp as fb
from fastbp import callbacks as cb

each_backend = pytest.mark.parametrize("backend", backends())


def regression(backend="reference", rows=12, optimizer=None):
    net = fb.Sequential(fb.Linear(2, 1), seed=0, dtype="float64", backend=backend)
    x = np.random.default_rng(5).normal(size=(rows, 2))
    return fb.Trainer(net, fb.MSE(), optimizer or fb.SGD(lr=0.1)), x, x @ [0.5, -1.0]


class Scripted(cb.Callback):
    """Puts values of its own into the logs that later callbacks see, and numbers the network's parameters by epoch."""

    def __init__(self, **columns):
        self.columns = columns

    def on_epoch_end(self, trainer, epoch, logs):
        logs.update({name: values[epoch - 1] for name, values in self.columns.items()})
        trainer.net.params.flat[...] = epoch


# ---- the protocol -----------------------------------------------------------------------------------------------


@each_backend
def test_order_of_calls(backend):
    trainer, x, y = regression(backend)
    calls = []

    class Note(cb.Callback):
        every = 2

        def __init__(self, name):
            self.name = name

        def on_fit_begin(self, trainer):
            calls.append((self.name, "fit begin", trainer.update.step))

        def on_epoch_begin(self, trainer, epoch):
            calls.append((self.name, "epoch begin", epoch))

        def on_batch_end(self, trainer, batch):
            calls.append((self.name, "batch end", batch))

        def on_epoch_end(self, trainer, epoch, logs):
            assert logs == trainer.history[-1]
            calls.append((self.name, "epoch end", epoch))

        def on_fit_end(self, trainer):
            calls.append((self.name, "fit end", trainer.update.step))

    trainer.fit(x, y, batch_size=4, epochs=2, callbacks=[Note("a"), Note("b")])
    expected = [("fit begin", 0), ("epoch begin", 1), ("batch end", 2), ("epoch end", 1), ("epoch begin", 2),
                ("batch end", 1), ("batch end", 3), ("epoch end", 2), ("fit end", 6)]
    assert calls == [(name, *call) for call in expected for name in "ab"]


@each_backend
def test_periods_of_several_callbacks(backend):
    trainer, x, y = regression(backend)
    calls = []
    notes = [cb.Lambda(every=every, on_batch_end=lambda t, b, every=every: calls.append((every, t.update.step)))
             for every in (2, 3)]
    trainer.fit(x, y, batch_size=2, callbacks=notes)
    assert calls == [(2, 2), (3, 3), (2, 4), (2, 6), (3, 6)]


@each_backend
def test_progress_reports_the_batches_of_the_epoch(backend):
    trainer, x, y = regression(backend)
    seen = []
    trainer.fit(x, y, batch_size=2, callbacks=[cb.Lambda(on_progress=lambda t, batch: seen.append(batch)),
                                               cb.Lambda(every=4, on_batch_end=lambda t, batch: None)])
    assert seen == sorted(seen)
    assert {4, 6} <= set(seen)


@each_backend
def test_stop_after_an_epoch(backend):
    trainer, x, y = regression(backend)

    def stop(trainer, epoch, logs):
        trainer.stop = epoch == 2
    assert trainer.fit(x, y, epochs=9, callbacks=[cb.Lambda(on_epoch_end=stop)]).epochs == [1, 2]
    assert trainer.fit(x, y, epochs=1).epochs == [1, 2, 3]


@each_backend
@pytest.mark.parametrize("hook", ["on_batch_end", "on_progress"])
def test_stop_between_mini_batches(backend, hook):
    trainer, x, y = regression(backend)
    ended = []

    def stop(trainer, batch):
        trainer.stop = True
    note = cb.Lambda(every=1, on_fit_end=lambda t: ended.append(t.update.step), **{hook: stop})
    history = trainer.fit(x, y, batch_size=2, epochs=9, callbacks=[note])
    assert (trainer.update.step, ended, len(history)) == (1, [1], 0)
    assert trainer.fit(x, y, batch_size=2).epochs == [1]


def test_stopping_after_the_last_mini_batch_completes_the_epoch():
    trainer, x, y = regression()

    def stop(trainer, batch):
        trainer.stop = batch == 6
    for hook in ("on_batch_end", "on_progress"):
        trainer.fit(x, y, batch_size=2, epochs=9, callbacks=[cb.Lambda(**{hook: stop})])
    assert trainer.history.epochs == [1, 2]


def test_a_class_that_overrides_on_batch_end_is_called_for_each():
    class Count(cb.Callback):
        batches = ()

        def on_batch_end(self, trainer, batch):
            self.batches += (batch,)

    class Seldom(Count):
        every = 2

    counts = Count(), Seldom()
    trainer, x, y = regression()
    trainer.fit(x, y, batch_size=2, callbacks=counts)
    assert counts[0].batches == tuple(range(1, len(x) // 2 + 1))
    assert counts[1].batches == tuple(range(2, len(x) // 2 + 1, 2))


def test_a_hook_that_would_never_be_called_is_refused():
    with pytest.raises(TypeError, match=r"^Typo: there is no hook 'on_epoch_ends'; there are on_fit_begin, on_epoch"):
        class Typo(cb.Callback):
            def on_epoch_ends(self, trainer, epoch, logs):
                pass


def test_lambda_refuses():
    with pytest.raises(TypeError, match=r"^Lambda: there is no hook 'on_end'; there are on_fit_begin, "):
        cb.Lambda(on_end=print)
    with pytest.raises(TypeError, match=r"^Lambda: on_fit_end is 3; expected a function$"):
        cb.Lambda(on_fit_end=3)
    with pytest.raises(ValueError, match=r"^Lambda: every is 0; expected a positive integer$"):
        cb.Lambda(every=0)


# ---- early stopping ---------------------------------------------------------------------------------------------


def early(stopping, epochs=9, **columns):
    trainer, x, y = regression()
    trainer.fit(x, y, epochs=epochs, callbacks=[Scripted(**columns), stopping])
    return trainer


def test_early_stopping_restores_the_best():
    stopping = cb.EarlyStopping("val_loss", patience=2)
    trainer = early(stopping, val_loss=[5, 4, 3, 3.5, 3, 4, 1, 1, 1])
    assert trainer.history.epochs == [1, 2, 3, 4, 5, 6]
    assert (stopping.best_epoch, stopping.best, stopping.stopped_epoch) == (3, 3, 6)
    assert (trainer.net.params.flat == 3).all()


def test_early_stopping_restores_at_the_natural_end_too():
    stopping = cb.EarlyStopping("val_loss", patience=9)
    trainer = early(stopping, epochs=4, val_loss=[5, 1, 3, 4])
    assert (stopping.best_epoch, stopping.stopped_epoch) == (2, None)
    assert (trainer.net.params.flat == 2).all()


def test_early_stopping_without_restoring():
    trainer = early(cb.EarlyStopping("val_loss", patience=0, restore_best=False), val_loss=[5, 4, 5])
    assert (trainer.net.params.flat == 3).all()


def test_early_stopping_by_accuracy_and_by_delta():
    assert len(early(cb.EarlyStopping("val_accuracy", 0), val_accuracy=[0.1, 0.2, 0.2]).history) == 3
    assert len(early(cb.EarlyStopping("score", 0, mode="max"), score=[0.1, 0.2, 0.2]).history) == 3
    assert len(early(cb.EarlyStopping("val_loss", 0, min_delta=0.5), val_loss=[3, 2, 1.6]).history) == 3


def test_early_stopping_by_default_looks_at_the_validation_loss():
    for logs, expected in (({"loss": 1.0}, 1.0), ({"loss": 1.0, "val_loss": 2.0}, 2.0)):
        stopping = cb.EarlyStopping(restore_best=False)
        stopping.on_epoch_end(None, 1, logs)
        assert stopping.best == expected


def test_early_stopping_restores_buffers_and_begins_afresh():
    net = fb.Sequential(fb.Linear(2, 3), fb.BatchNorm(), fb.Linear(3, 1), seed=0, backend="reference")
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(lr=1e-3))
    states = []
    x = np.random.default_rng(0).normal(size=(8, 2))
    stopping = cb.EarlyStopping("score", patience=0, mode="min")
    for _ in range(2):
        states.clear()
        trainer.fit(x, x[:, 0], epochs=3, callbacks=[
            cb.Lambda(on_epoch_end=lambda t, e, logs: (states.append(t.net.state_dict()),
                                                               logs.update(score=len(states)))), stopping])
        assert len(states) == 2
        for name, values in net.state_dict().items():
            np.testing.assert_array_equal(values, states[0][name])


def test_early_stopping_gives_the_best_after_an_interruption():
    trainer, x, y = regression()

    def interrupt(trainer, epoch):
        if epoch == 4:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(x, y, epochs=9, callbacks=[Scripted(val_loss=[3, 1, 2]), cb.EarlyStopping("val_loss"),
                                               cb.Lambda(on_epoch_begin=interrupt)])
    assert (trainer.net.params.flat == 2).all()


def test_unknown_monitor():
    trainer, x, y = regression()
    message = ("EarlyStopping: monitor is 'val_loss'; the history has epoch, loss, lr, seconds, samples_per_second; "
               "give validation_data or validation_split")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        trainer.fit(x, y, callbacks=[cb.EarlyStopping("val_loss")])


@pytest.mark.parametrize(("monitor", "mode"), [
    (None, "min"), ("loss", "min"), ("val_loss", "min"), ("accuracy", "max"), ("val_accuracy", "max"),
    ("val_accuracy_0", "max"), ("accuracy_12", "max")])
def test_fastbps_own_entries_are_known_to_be_better_lower_or_higher(monitor, mode):
    assert f"mode={mode!r}" in repr(cb.EarlyStopping(monitor))
    for columns in ([3, 2, 1, 0], [0, 1, 2, 3]):
        stopping = cb.EarlyStopping(monitor, patience=0, restore_best=False)
        name = monitor or "val_loss"
        trainer = early(stopping, epochs=4, **{name: columns})
        assert (len(trainer.history) == 4) == ((columns[0] > columns[-1]) == (mode == "min"))


@pytest.mark.parametrize("monitor", [
    "val_score", "val_accuracy_", "balanced_accuracy", "val_my_loss", "lr", "kind_loss", ""])
@pytest.mark.parametrize("make", [cb.EarlyStopping, cb.ReduceLROnPlateau,
                                  lambda **options: cb.ModelCheckpoint("run", **options)],
                         ids=["EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"])
def test_other_entries_want_a_mode(make, monitor):
    message = re.escape(f"monitor is {monitor!r}, of which only you know") + '.*mode="min" or'
    with pytest.raises(ValueError, match=message):
        make(monitor=monitor)
    for mode in ("min", "max"):
        make(monitor=monitor, mode=mode)


@each_backend
def test_early_stopping_by_the_accuracy_of_one_of_several_outputs(backend):
    h = fb.Input(2)
    net = fb.Network(h, (fb.Linear(2, 2)(h), fb.Linear(2, 3)(h)), seed=0, backend=backend)
    trainer = fb.Trainer(net, (fb.CrossEntropy(), fb.CrossEntropy()), fb.SGD(0.5))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)), (rng.integers(0, 2, 40), rng.integers(0, 3, 40))
    stopping = cb.EarlyStopping("val_accuracy_0", patience=20)
    history = trainer.fit(x, y, epochs=12, validation_data=(x, y), callbacks=[stopping])
    assert stopping.best == max(history["val_accuracy_0"])
    assert trainer.evaluate(x, y)["accuracy_0"] == pytest.approx(stopping.best)


@pytest.mark.parametrize("every", [0, -1, 1.5, "1"])
def test_a_period_that_is_none_is_refused(every):
    trainer, x, y = regression()
    note = cb.Lambda()
    note.every = every
    with pytest.raises(ValueError, match=r"Lambda: every is .*; expected a positive integer"):
        trainer.fit(x, y, callbacks=[note])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: cb.EarlyStopping(patience=-1), "EarlyStopping: patience is -1; expected an integer of at least 0"),
    (lambda: cb.EarlyStopping(mode="up"), 'EarlyStopping: mode is \'up\'; expected "min" or "max"'),
    (lambda: cb.StopOnTime(0), "StopOnTime: seconds is 0; expected a number above 0"),
    (lambda: cb.ExponentialMovingAverage(1),
     "ExponentialMovingAverage: decay is 1; expected a number from 0 to below 1"),
    (lambda: cb.ReduceLROnPlateau(factor=2), "ReduceOnPlateau: factor is 2; expected a number between 0 and 1"),
])
def test_refused_hyperparameters(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


# ---- learning rates ---------------------------------------------------------------------------------------------


def test_reduce_lr_on_plateau():
    trainer, x, y = regression()
    reduce = cb.ReduceLROnPlateau("score", factor=0.5, patience=0, mode="min")
    history = trainer.fit(x, y, epochs=5, callbacks=[Scripted(score=[3, 3, 2, 2, 2]), reduce])
    assert history["lr"] == [0.1, 0.1, 0.05, 0.05, 0.025]
    assert trainer.lr == 0.0125


def test_reduce_lr_on_plateau_refuses_a_schedule():
    trainer, x, y = regression(optimizer=fb.SGD(lr=fb.CosineDecay(0.1, 10)))
    message = ("ReduceLROnPlateau: the optimizer's lr is CosineDecay(lr=0.1, steps=10, warmup=0, final_lr=0.0); "
               "expected a number, not a schedule")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        trainer.fit(x, y, callbacks=[cb.ReduceLROnPlateau()])


def test_learning_rate_schedule():
    trainer, x, y = regression()
    history = trainer.fit(x, y, epochs=3, callbacks=[cb.LearningRateSchedule(lambda epoch, lr: lr / epoch)])
    np.testing.assert_allclose(history["lr"], [0.1, 0.05, 0.05 / 3])
    message = "LearningRateSchedule: function is 0.1; expected function(epoch, lr) -> lr"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        cb.LearningRateSchedule(0.1)


# ---- time, files, averages --------------------------------------------------------------------------------------


@each_backend
def test_stop_on_time(backend, monkeypatch):
    trainer, x, y = regression(backend)
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def pass_time(trainer, epoch, logs):
        clock[0] += 1.0
    history = trainer.fit(x, y, epochs=9, callbacks=[cb.Lambda(on_epoch_end=pass_time), cb.StopOnTime(2.5)])
    assert history.epochs == [1, 2, 3]


@each_backend
def test_stop_on_time_within_an_epoch(backend, monkeypatch):
    trainer, x, y = regression(backend)
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def pass_time(trainer, batch):
        clock[0] += 1.0
    history = trainer.fit(x, y, epochs=9, batch_size=2,
                          callbacks=[cb.Lambda(on_batch_end=pass_time), cb.StopOnTime(1.5)])
    assert (len(history), trainer.update.step) == (0, 3)


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_csv_logger(tmp_path):
    trainer, x, y = regression()
    path = tmp_path / "log.csv"
    lines = []
    note = cb.Lambda(on_epoch_end=lambda *a: lines.append(len(read(path))))
    trainer.fit(x, y, epochs=2, callbacks=[cb.CSVLogger(path), note])
    assert lines == [2, 3]  # each epoch is on disk as soon as it ends
    assert read(path) == [trainer.history.keys(), *([str(v) for v in row.values()] for row in trainer.history)]
    trainer.fit(x, y, callbacks=[cb.CSVLogger(path, append=True)])
    assert [row[0] for row in read(path)] == ["epoch", "1", "2", "3"]
    trainer.fit(x, y, callbacks=[cb.CSVLogger(str(path))])
    assert [row[0] for row in read(path)] == ["epoch", "4"]


def test_csv_logger_refuses_other_columns(tmp_path):
    trainer, x, y = regression()
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss\n1,0.5\n")
    message = r"^CSVLogger: .*log\.csv has the columns epoch, loss; the history has epoch, "
    with pytest.raises(ValueError, match=message):
        trainer.fit(x, y, callbacks=[cb.CSVLogger(path, append=True)])
    assert read(path) == [["epoch", "loss"], ["1", "0.5"]]


@each_backend
@pytest.mark.parametrize("every", [1, 2])
def test_exponential_moving_average(backend, every):
    trainer, x, y = regression(backend)
    path = []
    average = cb.ExponentialMovingAverage(0.8, every=every)
    note = cb.Lambda(every=every, on_batch_end=lambda t, batch: path.append(t.net.params.flat.copy()))
    trainer.fit(x, y, epochs=3, batch_size=4, callbacks=[note, average])
    assert len(path) == 9 // every
    weights = (0.8**every) ** np.arange(len(path))[::-1]
    expected = np.average(path, axis=0, weights=weights)
    np.testing.assert_allclose(average.average, expected, rtol=1e-12)
    np.testing.assert_allclose(trainer.net.params.flat, expected, rtol=1e-12)


def test_exponential_moving_average_beside_the_network():
    trainer, x, y = regression()
    average = cb.ExponentialMovingAverage(0.8, overwrite=False)
    assert average.average is None
    trainer.fit(x, y, epochs=3, callbacks=[average])
    assert (trainer.net.params.flat != average.average).any()


def test_exponential_moving_average_leaves_frozen_parameters():
    net = fb.Sequential(fb.Linear(2, 3, trainable=False), fb.Linear(3, 1), seed=0, dtype="float64",
                        backend="reference")
    before = net.params["0.weight"].copy()
    x = np.random.default_rng(0).normal(size=(9, 2))
    fb.Trainer(net, fb.MSE(), fb.SGD()).fit(x, x[:, 0], epochs=7, callbacks=[cb.ExponentialMovingAverage(0.3)])
    assert (net.params["0.weight"] == before).all()


def test_reprs():
    assert repr(cb.EarlyStopping()) == (
        "EarlyStopping(monitor=None, patience=10, min_delta=0.0, mode='min', restore_best=True)")
    assert repr(cb.Callback()) == "Callback()"
