"""What other processes are asked to do: a module that they can import."""

from __future__ import annotations

import numpy as np

import fastbp as fb

X = np.random.default_rng(0).standard_normal((256, 12)).astype("float32")
Y = np.random.default_rng(1).integers(0, 5, 256)


def network(seed: int) -> fb.Network:
    return fb.Sequential(fb.Linear(12, 33), fb.GELU(), fb.BatchNorm(), fb.Linear(None, 5), seed=seed)


def train(seed: int, epochs: int = 5) -> bytes:
    """Return the bits of a network after some epochs."""
    net = network(seed)
    fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01)).fit(X, Y, epochs=epochs, progress=False)
    return bytes(net.params.flat.tobytes() + net.predict(X).tobytes())
