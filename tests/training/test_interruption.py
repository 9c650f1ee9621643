"""Ctrl-C and errors in the midst of training."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import backends
from regressions import by_steps, regression, snapshot

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())


@each_backend
def test_ctrl_c_leaves_a_network_that_can_be_trained_on(backend):
    (trainer, x, y), (whole, _, _) = regression(backend), regression(backend)

    def interrupt(trainer, batch):
        if trainer.epoch == 1:
            raise KeyboardInterrupt
    ended = []
    note = fb.callbacks.Lambda(on_progress=interrupt, on_fit_end=lambda trainer: ended.append(trainer.epoch))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(x, y, epochs=5, batch_size=2, callbacks=[note])
    assert ended == [1]
    assert trainer.history.epochs == [1]
    done = trainer.update.step
    assert 5 < done <= 10

    # what was done is exactly so many mini-batches, in the order that the seed gives
    for epoch in (1, 2):
        order = np.random.default_rng((0, epoch)).permutation(10)
        by_steps(whole, x, y, np.split(order, 5)[:done - 5 * (epoch - 1)])
    assert snapshot(trainer) == snapshot(whole)
    assert trainer.fit(x, y, batch_size=2).epochs == [1, 2]


@each_backend
def test_ctrl_c_within_a_mini_batch(backend, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(f"""
import os, signal, threading, time
import numpy as np
import fastbp as fb

def interrupt():
    while not trainer.update.step:
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)

def make():
    net = fb.Sequential(fb.Linear(20, 50), fb.BatchNorm(), fb.Tanh(), fb.Linear(50, 1), seed=0, backend={backend!r})
    return fb.Trainer(net, fb.MSE(), fb.Adam())

x = np.random.default_rng(0).normal(size=(64, 20))
trainer, again = make(), make()
threading.Thread(target=interrupt).start()
try:
    trainer.fit(x, x[:, 0], epochs=10**9, batch_size=16, shuffle=False)
except KeyboardInterrupt:
    print("interrupted")
done = trainer.update.step
again.fit(x, x[:, 0], epochs=done // 4, batch_size=16, shuffle=False) if done >= 4 else None
for k in range(done % 4):
    again.step(x[k * 16:k * 16 + 16], x[k * 16:k * 16 + 16, 0])
assert (trainer.net.params.flat == again.net.params.flat).all()
assert (trainer.net.buffers.flat == again.net.buffers.flat).all()
assert all((a == b).all() for a, b in zip(trainer.update.state, again.update.state))
assert trainer.update.step == again.update.step > 0
""")
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (result.stdout, result.stderr) == ("interrupted\n", "")


def test_a_step_of_the_reference_is_whole_or_not_at_all():
    class Interrupted(fb.SGD):
        def update(self, params, grads, state, lr, step, weight_decay):
            super().update(params, grads, state, lr, step, weight_decay)
            if step == 3:
                raise KeyboardInterrupt
    (trainer, x, y), (other, _, _) = (regression(optimizer=one(lr=0.1, momentum=0.9)) for one in (Interrupted, fb.SGD))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(x, y, batch_size=2, shuffle=False)
    by_steps(other, x, y, [slice(0, 2), slice(2, 4)])
    assert snapshot(trainer) == snapshot(other)


def test_an_error_in_a_callback_ends_those_that_began():
    trainer, x, y = regression()
    ended = []

    def fail(trainer):
        raise RuntimeError("no")
    callbacks = [fb.callbacks.Lambda(on_fit_end=lambda t: ended.append("first")),
                 fb.callbacks.Lambda(on_fit_begin=fail, on_fit_end=lambda t: ended.append("second")),
                 fb.callbacks.Lambda(on_fit_end=lambda t: ended.append("third"))]
    with pytest.raises(RuntimeError, match="no"):
        trainer.fit(x, y, callbacks=callbacks)
    assert ended == ["first", "second"]
