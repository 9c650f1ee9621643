"""Checkpoints: training that stops and is resumed ends in the same bits as training that never stopped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import backends

import fastbp as fb
from fastbp.training.callbacks import (
    Callback,
    EarlyStopping,
    ExponentialMovingAverage,
    LearningRateSchedule,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
)
from fastbp.training.checkpoint import TrainingState, load, save

pytest.importorskip("safetensors")

each_backend = pytest.mark.parametrize("backend", backends())


def data(rows: int = 50) -> tuple:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, 4))
    return x, (x[:, 0] > x[:, 1] ** 2).astype(int)


def new_trainer(optimizer: fb.Optimizer | None = None, backend: str = "reference", **options) -> fb.Trainer:
    net = fb.Sequential(fb.Linear(4, 8), fb.BatchNorm(), fb.ReLU(), fb.Dropout(0.2), fb.Linear(8, 2), seed=5,
                        backend=backend)
    return fb.Trainer(net, fb.CrossEntropy(label_smoothing=0.1), optimizer or fb.Adam(0.01), **options)


def assert_same_bits(a: fb.Trainer, b: fb.Trainer) -> None:
    for name, values in a.net.state_dict().items():
        assert np.array_equal(values, b.net.state_dict()[name]), name
    assert all(np.array_equal(s, t) for s, t in zip(a.update.state, b.update.state, strict=True))
    assert (a.update.step, a.epoch, a.lr) == (b.update.step, b.epoch, b.lr)
    kept = [k for k in a.history.keys() if "second" not in k]  # noqa: SIM118
    assert [a.history[k] for k in kept] == [b.history[k] for k in kept]


OPTIMIZERS = {
    "SGD": lambda: fb.SGD(0.05),
    "momentum, cosine": lambda: fb.SGD(fb.CosineDecay(0.05, steps=60, warmup=5), momentum=0.9, nesterov=True),
    "RMSprop, steps": lambda: fb.RMSprop(fb.MultiStepDecay(0.01, milestones=[7, 30]), momentum=0.5),
    "Adagrad": lambda: fb.Adagrad(0.05, weight_decay=0.01),
    "Adam, plateau": lambda: fb.Adam(fb.ReduceOnPlateau(0.01, patience=0, factor=0.5, min_delta=0.05)),
    "AdamW, one cycle": lambda: fb.AdamW(fb.OneCycle(0.01, steps=60), weight_decay=0.1, decay_bias=False),
    "Lion, exponential": lambda: fb.Lion(fb.ExponentialDecay(0.01, factor=0.9)),
}


@each_backend
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumed_is_never_stopped(name, backend, tmp_path):
    x, y = data()
    options = {"batch_size": 8, "validation_split": 0.2, "sample_weight": np.linspace(0.5, 2, 50)}
    never = new_trainer(OPTIMIZERS[name](), backend, clip_norm=1.0, clip_value=0.5)
    never.fit(x, y, epochs=8, **options)
    stopped = new_trainer(OPTIMIZERS[name](), backend, clip_norm=1.0, clip_value=0.5)
    stopped.fit(x, y, epochs=3, **options)
    stopped.save_checkpoint(tmp_path / "run")
    resumed = fb.Trainer.resume(tmp_path / "run", backend=backend)
    assert repr(resumed) == repr(stopped)
    assert_same_bits(resumed, stopped)
    resumed.fit(x, y, epochs=8 - resumed.epoch, **options)
    assert_same_bits(resumed, never)


def remembering() -> list[Callback]:
    return [EarlyStopping(patience=3, min_delta=0.002), ReduceLROnPlateau(patience=0, factor=0.5, min_delta=0.03),
            ExponentialMovingAverage(0.9, every=2)]


@each_backend
def test_callbacks_go_on_with_what_they_remember(backend, tmp_path):
    x, y = data()
    never = new_trainer(backend=backend)
    first = remembering()
    never.fit(x, y, epochs=40, batch_size=10, callbacks=first)
    assert never.epoch < 40, "early stopping has something to do"

    stopped = new_trainer(backend=backend)
    keep_all = ModelCheckpoint(str(tmp_path / "{epoch}"))
    stopped.fit(x, y, epochs=never.epoch - 1, batch_size=10, callbacks=[*remembering(), keep_all])
    for epoch in range(1, never.epoch):
        resumed = fb.Trainer.resume(tmp_path / f"{epoch}", backend=backend)
        then = remembering()
        resumed.fit(x, y, epochs=40 - epoch, batch_size=10, callbacks=then)
        assert_same_bits(resumed, never)
        assert (first[0].best, first[0].best_epoch, first[0].stopped_epoch) == \
            (then[0].best, then[0].best_epoch, then[0].stopped_epoch)
        assert np.array_equal(first[2].average, then[2].average)
        assert resumed.resumed_callbacks == [], "handed on once"


def test_without_the_callbacks_training_goes_on_too(tmp_path):
    x, y = data()
    stopped = new_trainer()
    stopped.fit(x, y, epochs=2, callbacks=[*remembering(), ModelCheckpoint(tmp_path / "run")])
    resumed = fb.Trainer.resume(tmp_path / "run", backend="reference")
    assert len(resumed.fit(x, y, epochs=1)) == 3


def test_several_losses_and_hand_made_steps(tmp_path):
    a = fb.Input(3)
    h = fb.Tanh()(fb.Linear(3, 4)(a))
    net = fb.Network(a, (fb.Linear(4, 2)(h), fb.Linear(4, 3)(h)), seed=0, backend="reference")
    losses = (fb.Huber(0.5), fb.Quantile([0.1, 0.5, 0.9]))
    trainer = fb.Trainer(net, losses, fb.Adam())
    x, y = np.ones((5, 3)), (np.ones((5, 2)), np.ones(5))
    trainer.step(x, y)
    trainer.save_checkpoint(tmp_path / "run")
    resumed = fb.Trainer.resume(tmp_path / "run", backend="reference")
    assert resumed.loss == losses
    assert [trainer.step(x, y) for _ in range(3)] == [resumed.step(x, y) for _ in range(3)]
    assert fb.load(tmp_path / "run", backend="reference").seed == 0


# ---- what a file cannot hold, and what it should not ----------------------------------------------------------------


def test_functions_are_handed_in_again(tmp_path):
    x, y = data()
    optimizer = fb.Adam(lambda step: 0.01 / (1 + step))
    trainer = new_trainer(optimizer, metrics=lambda true, scores: float((scores.argmax(1) == true).mean()))
    trainer.fit(x, y, validation_data=(x, y))
    trainer.save_checkpoint(tmp_path / "run")
    with pytest.raises(fb.FormatError, match=r"optimizer, Adam with FunctionSchedule.*hand it in: optimizer="):
        fb.Trainer.resume(tmp_path / "run", backend="reference")
    resumed = fb.Trainer.resume(tmp_path / "run", backend="reference", optimizer=fb.Adam(optimizer.lr))
    assert_same_bits(resumed, trainer)
    with pytest.raises(fb.FormatError, match=r"with the optimizer Adam; give one of its kind, not SGD"):
        fb.Trainer.resume(tmp_path / "run", backend="reference", optimizer=fb.SGD(0.1))


def test_a_network_is_no_checkpoint(tmp_path):
    new_trainer().net.save(tmp_path / "net")
    with pytest.raises(fb.FormatError, match=r"holds a network, but no trainer; load it with fb.load"):
        fb.Trainer.resume(tmp_path / "net")


def test_cuts_and_mutations_of_a_checkpoint(tmp_path):
    x, y = data()
    trainer = fb.Trainer(fb.Sequential(fb.Linear(4, 2), backend="reference", seed=0), fb.CrossEntropy(), fb.Adam())
    trainer.fit(x, y, epochs=2, callbacks=[EarlyStopping(), ModelCheckpoint(tmp_path / "run")])
    whole = (tmp_path / "run").read_bytes()
    rng = np.random.default_rng(0)
    for i in range(0, len(whole), 5):
        if i % 2:
            (tmp_path / "run").write_bytes(whole[:i])
        else:
            changed = bytearray(whole)
            changed[i] ^= 1 << int(rng.integers(8))
            (tmp_path / "run").write_bytes(changed)
        try:
            resumed = fb.Trainer.resume(tmp_path / "run", backend="reference")
        except fb.FormatError:
            continue
        assert_same_bits(resumed, trainer)


# ---- the callback ----------------------------------------------------------------------------------------------------


def test_model_checkpoint_keeps_the_best(tmp_path):
    x, y = data()
    rates = [0.01, 0.01, 50.0, 0.01]
    spoil = LearningRateSchedule(lambda epoch, lr: rates[epoch - 1])
    best = ModelCheckpoint(tmp_path / "best", best_only=True)
    every = ModelCheckpoint(str(tmp_path / "{epoch:02d}-{loss:.2f}"), every_epochs=2)
    trainer = new_trainer(fb.SGD(0.01))
    history = trainer.fit(x, y, epochs=4, callbacks=[spoil, best, every])
    losses = history["loss"]
    assert best.best == min(losses)
    assert losses[2] > losses[1], "the third epoch is worse, and so not kept"
    assert fb.Trainer.resume(tmp_path / "best", backend="reference").epoch == 1 + int(np.argmin(losses))
    kept = {"best", *(f"{e:02d}-{losses[e - 1]:.2f}" for e in (2, 4))}
    assert {p.name for p in tmp_path.iterdir()} == kept
    assert every.last_path == tmp_path / f"04-{losses[3]:.2f}"


def test_the_best_of_several_fits_is_kept(tmp_path):
    x, y = data()
    trainer = new_trainer(fb.SGD(0.05))
    best = ModelCheckpoint(tmp_path / "best", best_only=True)
    losses = trainer.fit(x, y, epochs=6, callbacks=[best])["loss"]
    kept = (tmp_path / "best").read_bytes()
    trainer.lr = 50.0
    history = trainer.fit(x, y, epochs=2, callbacks=[best])
    assert min(history["loss"][6:]) > min(losses) == best.best, "the second fit is worse"
    assert (tmp_path / "best").read_bytes() == kept
    trainer = fb.Trainer.resume(tmp_path / "best", backend="reference")
    trainer.lr = 0.05
    after = trainer.fit(x, y, epochs=20, callbacks=[best])["loss"]
    assert min(after) < min(losses) > best.best == min(after)
    assert fb.Trainer.resume(tmp_path / "best", backend="reference").history["loss"][-1] == best.best


def test_a_checkpoint_is_made_of_a_plain_state(tmp_path):
    x, y = data()
    trainer = new_trainer(clip_norm=1.0)
    trainer.fit(x, y, epochs=2)
    state = TrainingState(trainer.net, trainer.loss, trainer.optimizer, 7, trainer.update.state, None, 0.5,
                          [{"epoch": 1, "loss": 0.25}], [("EarlyStopping", {"best": 0.5})])
    save(state, tmp_path / "run")
    found = load(tmp_path / "run", None, None, "reference", ())
    assert (found.step, found.clip_norm, found.clip_value) == (7, None, 0.5)
    assert (found.loss, found.history, found.callbacks) == (trainer.loss, state.history, state.callbacks)
    for array, other in zip(found.arrays, state.arrays, strict=True):
        np.testing.assert_array_equal(array, other)


def test_model_checkpoint_goes_on_with_the_best(tmp_path):
    x, y = data()
    trainer = new_trainer()
    trainer.fit(x, y, epochs=2, callbacks=[ModelCheckpoint(tmp_path / "run")])
    resumed = fb.Trainer.resume(tmp_path / "run", backend="reference")
    callback = ModelCheckpoint(tmp_path / "next", best_only=True)
    resumed.resumed_callbacks[0][1]["best"] = -1.0
    resumed.fit(x, y, callbacks=[callback])
    assert callback.best == -1.0
    assert callback.last_path is None


def test_model_checkpoint_mistakes(tmp_path):
    x, y = data()
    trainer = new_trainer()
    with pytest.raises(ValueError, match=r"EarlyStopping.* comes after it.*give ModelCheckpoint last"):
        trainer.fit(x, y, callbacks=[ModelCheckpoint(tmp_path / "run"), EarlyStopping()])
    with pytest.raises(ValueError, match=r"path is '\{nothing\}', which cannot be filled in.*there are epoch, loss"):
        trainer.fit(x, y, callbacks=[ModelCheckpoint("{nothing}")])
    with pytest.raises(ValueError, match="monitor is 'val_loss'"):
        trainer.fit(x, y, callbacks=[ModelCheckpoint(tmp_path / "run", monitor="val_loss")])
    with pytest.raises(ValueError, match="ModelCheckpoint: every_epochs is 0"):
        ModelCheckpoint("x", every_epochs=0)


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event
    x, y = data()
    trainer = new_trainer()
    history = trainer.fit(x, y, epochs=3, callbacks=[TensorBoard(tmp_path / "logs", histograms=2)])
    (path,) = (tmp_path / "logs").iterdir()
    raw, events = path.read_bytes(), []
    while raw:  # records of TFRecord: length, its checksum, the event, its checksum
        size = int.from_bytes(raw[:8], "little")
        events.append(Event.FromString(raw[12:12 + size]))
        raw = raw[16 + size:]
    values = [(v.tag, e.step, v.simple_value) for e in events for v in e.summary.value if v.WhichOneof("value") ==
              "simple_value"]
    assert [v for t, _, v in values if t == "loss"] == pytest.approx(history["loss"])
    assert [s for t, s, _ in values if t == "lr"] == [1, 2, 3]
    histograms = {(v.tag, e.step) for e in events for v in e.summary.value if v.HasField("histo")}
    assert histograms == {(name, 2) for name in trainer.net.params}


def test_tensorboard_without_its_writer(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'fastbp\[tensorboard\]'"):
        new_trainer().fit(*data(), callbacks=[TensorBoard(tmp_path)])


def test_killed_at_any_moment():
    """A short run of the script that kills a training process again and again."""
    script = Path(__file__).parents[2] / "tools" / "kill_while_saving.py"
    if not script.exists():
        pytest.skip("the tools are not beside the tests")
    done = subprocess.run([sys.executable, script, "--kills", "6", "--backend", "reference"], capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 kills: a checkpoint that loads each time" in done.stdout
