"""The rows of layers in fastbp."""

from __future__ import annotations

from typing import Any

import fastbp as fb


def network(name: str, backend: Any = "native", dtype: str = "float32") -> fb.Network:
    """Return a row's network."""
    return fb.Sequential(*LAYERS[name](), seed=0, backend=backend, dtype=dtype)


def loss(name: str) -> fb.Loss:
    """Return what it minimises."""
    return fb.CrossEntropy() if name in ("lenet", "vgg") else fb.MSE()


def _lenet() -> list[Any]:
    return [fb.Input(28, 28, 1), fb.Conv2d(1, 6, 5), fb.ReLU(), fb.MaxPool2d(2), fb.Conv2d(6, 16, 5), fb.ReLU(),
            fb.MaxPool2d(2), fb.Flatten(), fb.Linear(256, 120), fb.ReLU(), fb.Linear(120, 84), fb.ReLU(),
            fb.Linear(84, 10)]


def _vgg() -> list[Any]:
    layers: list[Any] = [fb.Input(32, 32, 3)]
    for i, o in ((3, 32), (32, 64)):
        layers += [fb.Conv2d(i, o, 3, padding=1), fb.ReLU(), fb.Conv2d(o, o, 3, padding=1), fb.ReLU(), fb.MaxPool2d(2)]
    return [*layers, fb.Flatten(), fb.Linear(4096, 128), fb.ReLU(), fb.Linear(128, 10)]


def _recurrent(kind: Any) -> list[Any]:
    return [fb.Input(32, 16), kind(16, 64, return_sequences=False), fb.Linear(64, 1)]


LAYERS: dict[str, Any] = {
    "lenet": _lenet, "vgg": _vgg, "lstm": lambda: _recurrent(fb.LSTM), "gru": lambda: _recurrent(fb.GRU),
    "block": lambda: [fb.Input(32, 64), fb.TransformerEncoderLayer(64, 4, 128, 0.0)],
    "embeddings": lambda: [fb.Input(8, dtype="int64"), fb.Embedding([1000] * 8, 16), fb.Linear(128, 128), fb.ReLU(),
                           fb.Linear(128, 64), fb.ReLU(), fb.Linear(64, 1)],
}
