"""A small regression, and what its trainer holds: what the tests of training share."""

import numpy as np

import fastbp as fb


def regression(backend="reference", rows=10, **kwargs):
    """A trainer and data for it."""
    net = fb.Sequential(fb.Linear(3, 4), fb.Tanh(), fb.Linear(4, 1), seed=0, dtype="float64", backend=backend)
    rng = np.random.default_rng(5)
    x = rng.normal(size=(rows, 3))
    trainer = fb.Trainer(net, fb.MSE(), kwargs.pop("optimizer", None) or fb.SGD(lr=0.1, momentum=0.9), **kwargs)
    return trainer, x, x @ [0.5, -1.0, 0.2]


def by_steps(trainer, x, y, batches, weight=None):
    """Train on the given rows, mini-batch by mini-batch; return the losses."""
    return [trainer.step(x[b], y[b], None if weight is None else weight[b]) for b in batches]


def snapshot(trainer):
    """What training changes, to the bit."""
    return (trainer.net.params.flat.tobytes(), trainer.net.buffers.flat.tobytes(), trainer.update.step,
            *(s.tobytes() for s in trainer.update.state))
