"""What other processes are asked to do: a module that they can import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import fastbp as fb
from fastbp.graph.graph import Tensor
from fastbp.ops.linear import LinearOp

X = np.random.default_rng(0).standard_normal((256, 12)).astype("float32")
Y = np.random.default_rng(1).integers(0, 5, 256)


def network(seed: int) -> fb.Network:
    return fb.Sequential(fb.Linear(12, 33), fb.GELU(), fb.BatchNorm(), fb.Linear(None, 5), seed=seed)


def train(seed: int, epochs: int = 5) -> bytes:
    """Return the bits of a network after some epochs."""
    net = network(seed)
    fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01)).fit(X, Y, epochs=epochs, progress=False)
    return bytes(net.params.flat.tobytes() + net.predict(X).tobytes())


def step(trainer: fb.Trainer) -> fb.Trainer:
    """Return a trainer after one more step."""
    trainer.step(X, Y)
    return trainer


def go_on(model: Any, inputs: Any, targets: Any) -> Any:
    """Return an estimator after some more mini-batches."""
    return model.partial_fit(inputs, targets).partial_fit(inputs, targets)


class Encoder(fb.Network):
    """A network that knows a layer and a tensor of its graph; as deep as it is told to be."""

    def __init__(self, depth: int) -> None:
        a = self.code = fb.Input(3)
        for _ in range(depth):
            self.code = fb.Identity()(self.code)
        self.head = fb.Linear(3, 2, name="head")
        super().__init__(a, self.head(self.code), seed=0, backend="reference")


@dataclass(eq=True, unsafe_hash=True, repr=False)
class Same(fb.Layer):
    """A layer that equals every other one of its size."""

    features: int

    def __post_init__(self) -> None:
        super().__init__()

    def lower(self, *inputs: Tensor) -> Tensor:
        op = LinearOp(self.features, self.features, bias=False)
        return self.apply(op, *inputs, initializers={"weight": fb.Ones()})


def twice(x: Any) -> Any:
    """A function of tensors in which sizes follow the rows."""
    return np.broadcast_to(np.reshape(x, (x.shape[0], 1, 4)), (x.shape[0], 2, 4)).sum(axis=1) / x.shape[0]
