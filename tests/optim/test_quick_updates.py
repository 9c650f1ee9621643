"""``optimizer.step(net)`` again and again on the native backend: what was set up for one step, and what must be seen.

A network whose backend is made anew before each step sets up everything, and says what the steps must be, to the bit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbp as fb

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((6, 4)), RNG.standard_normal((6, 1))
OPTIMIZERS = [lambda: fb.SGD(0.1, momentum=0.9, weight_decay=0.1), lambda: fb.Adam(0.01), lambda: fb.RMSprop(0.01),
              lambda: fb.AdamW(fb.CosineDecay(0.1, 5), groups={"0.*": {"lr_factor": 0.5, "weight_decay": 0.0}}),
              lambda: fb.Lion(0.01), lambda: fb.Adagrad(0.1)]


def pair() -> tuple[fb.Network, fb.Network]:
    net = fb.Sequential(fb.Linear(4, 5), fb.Tanh(), fb.Linear(5, 1), seed=0)
    return net, net.copy()


def step(net: fb.Network, optimizer: fb.Optimizer) -> None:
    net.loss_and_grad(X, Y, fb.MSE())
    optimizer.step(net)


def stepped_alike(nets: tuple[fb.Network, fb.Network], optimizers: list[fb.Optimizer], steps: int = 3) -> None:
    for _ in range(steps):
        nets[1]._start()
        for net, optimizer in zip(nets, optimizers, strict=True):
            step(net, optimizer)
    np.testing.assert_array_equal(nets[0].params.flat, nets[1].params.flat)
    for own, other in zip(optimizers[0].update_of(nets[0]).state, optimizers[1].update_of(nets[1]).state, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("make", OPTIMIZERS, ids=lambda make: type(make()).__name__)
def test_steps_heed_what_changed_since_the_last_one(make: Callable[[], fb.Optimizer]) -> None:
    nets, optimizers = pair(), [make(), make()]
    trainers = [fb.Trainer(net, fb.MSE(), o, clip_norm=0.01) for net, o in zip(nets, optimizers, strict=True)]
    extra = [fb.SGD(0.1), fb.SGD(0.1)]

    def assign_lr(net: fb.Network, optimizer: fb.Optimizer) -> None:
        optimizer.lr = 0.002

    def load(net: fb.Network, optimizer: fb.Optimizer) -> None:
        update = optimizer.update_of(net)
        update.state = tuple(0.5 * s for s in update.state)

    changes: list[Callable[[int], Any]] = [
        lambda i: assign_lr(nets[i], optimizers[i]), lambda i: nets[i].freeze("0.weight"),
        lambda i: nets[i].unfreeze(), lambda i: trainers[i].step(X, Y), lambda i: trainers[i].step(X, Y),
        lambda i: setattr(trainers[i], "clip_norm", None), lambda i: trainers[i].step(X, Y),
        lambda i: extra[i].step(nets[i]), lambda i: load(nets[i], optimizers[i]),
        lambda i: trainers[i].fit(X, Y, batch_size=4, progress=False), lambda i: fb.set_num_threads(2),
        lambda i: nets[i].params.flat.__imul__(0.5), lambda i: nets[i].loss_and_grad(X, Y, fb.MAE())]
    before = fb.get_num_threads()
    try:
        stepped_alike(nets, optimizers)
        for change in changes:
            change(0)
            change(1)
            stepped_alike(nets, optimizers)
    finally:
        fb.set_num_threads(before)


def test_a_vector_that_became_read_only_is_not_written() -> None:
    (net, _), optimizer = pair(), fb.Adam(0.01)
    step(net, optimizer)
    step(net, optimizer)
    before, state = net.params.flat.copy(), optimizer.update_of(net).state
    for array, message in ((net.params.flat, "net.params.flat is read-only"), (state[0], "the state of Adam was")):
        array.flags.writeable = False
        try:
            with pytest.raises(ValueError, match=message):
                optimizer.step(net)
        finally:
            array.flags.writeable = True
        np.testing.assert_array_equal(net.params.flat, before)
    optimizer.step(net)
    assert (net.params.flat != before).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_gradient_that_is_not_usual_is_looked_at_in_every_step(bad: float) -> None:
    nets = pair()
    optimizers = [fb.SGD(1e9, momentum=0.9), fb.SGD(1e9, momentum=0.9)]
    for optimizer in optimizers:
        optimizer.lr = 1e-3
    stepped_alike(nets, optimizers)
    before = nets[0].params.flat.copy()
    nets[0].grads.flat[3] = bad
    optimizers[0].lr = 1e10
    with pytest.raises(fb.NonFiniteError):
        optimizers[0].step(nets[0])
    np.testing.assert_array_equal(nets[0].params.flat, before)
    optimizers[0].lr = 1e-3
    stepped_alike(nets, optimizers)


def test_a_schedule_is_asked_for_each_step_and_refused_where_it_gives_no_rate() -> None:
    (net, _), asked = pair(), []

    def schedule(step: int) -> float:
        asked.append(step)
        return (0.1, 0.2, float("nan"))[step]

    optimizer = fb.SGD(schedule)
    step(net, optimizer)
    step(net, optimizer)
    with pytest.raises(ValueError, match="gives the learning rate nan at step 2"):
        optimizer.step(net)
    assert asked[-3:] == [0, 1, 2]
