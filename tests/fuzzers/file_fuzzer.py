"""Files of networks and checkpoints: bytes changed, or a description changed whose digest is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as fb
from fastbp.files import container
from fuzzers.unusual import Rng, junk, with_odd_numbers


def _networks() -> list[fb.Network]:
    a, b = fb.Input(3), fb.Input(2)
    shared = fb.Linear(2, 2)
    joined = fb.Concat()(fb.Tanh()(fb.Linear(3, 4)(a)), fb.Dropout(0.2)(shared(shared(b))))
    return [fb.Sequential(fb.Linear(3, 4), fb.BatchNorm(), fb.LeakyReLU(0.1), fb.Linear(None, 2), seed=0),
            fb.Network((a, b), (fb.Linear(6, 2)(joined), fb.Softmax()(joined)), seed=1, dtype="float64"),
            fb.Sequential(fb.Input(2, 3), fb.Flatten(), fb.LayerNorm(), fb.Linear(None, 1, trainable=False), seed=2)]


def _files(folder: Path) -> list[Path]:
    paths = []
    for i, net in enumerate(_networks()):
        paths.append(folder / f"net{i}")
        net.save(paths[-1])
    net = _networks()[0]
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam(fb.CosineDecay(0.01, steps=9)), clip_norm=1.0)
    trainer.fit(np.ones((8, 3)), np.ones((8, 2)), epochs=2, progress=False)
    trainer.save_checkpoint(folder / "checkpoint")
    return [*paths, folder / "checkpoint"]


def _mutated_bytes(rng: Rng, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at, n = int(rng.integers(len(changed) + 1)), int(rng.integers(1, 17))
        kind = rng.integers(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at:at + n] = rng.bytes(n)
        elif kind == 2:
            changed[at:at] = rng.bytes(n)
        elif kind == 3:
            del changed[at:at + n]
        else:
            changed[:8] = int(rng.choice([0, 1, 2**16, 2**40, 2**63 - 1])).to_bytes(8, "little")
    return bytes(changed)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where there is something in a JSON object."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for k, v in items for p in [(*path, k), *_places(v, (*path, k))]]


def _mutated_json(rng: Rng, value: Any) -> None:
    places = _places(value)
    *keys, last = places[rng.integers(len(places))]
    for key in keys:
        value = value[key]
    kind = rng.integers(6)
    if kind == 0:
        del value[last]
    elif kind == 1 and isinstance(value, list):
        value.insert(last, value[rng.integers(len(value))])
    elif kind == 2 and isinstance(value[last], int | float):
        value[last] = value[last] + int(rng.choice([-1, 1, 2**31, 2**62, 10**20]))
    elif kind == 3 and len(value) > 1:
        other = list(value)[rng.integers(len(value))] if isinstance(value, dict) else int(rng.integers(len(value)))
        value[last], value[other] = value[other], value[last]
    else:
        made = junk(rng)
        value[last] = made if isinstance(made, int | float | str | list | dict) or made is None else "junk"


def mutated_description(rng: Rng, contents: container.Contents, to: Path) -> None:
    """Write a file whose description or arrays are wrong, but whose digest is right."""
    description, tensors = json.loads(json.dumps(contents.description)), dict(contents.tensors)
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.8:
            try:
                _mutated_json(rng, description)
            except (KeyError, IndexError, TypeError):
                continue        # an earlier change took it away
        elif tensors:
            name = list(tensors)[rng.integers(len(tensors))]
            array = tensors.pop(name)
            if rng.random() < 0.8:
                tensors[name] = [array[..., None].copy(), array.astype("float64"), array[:0].copy(),
                                 array.reshape(-1).copy(), with_odd_numbers(rng, array)][rng.integers(5)]
    description.pop("sha256", None)
    container.write(to, description, tensors)


class FileFuzzer:
    """Mutates files of networks and checkpoints; they live in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.files, self.to = _files(folder), folder / "mutated"

    def __call__(self, rng: Rng) -> None:
        path = self.files[rng.integers(len(self.files))]
        if rng.random() < 0.4:
            self.to.write_bytes(_mutated_bytes(rng, path.read_bytes()))
        else:
            mutated_description(rng, container.read(path), self.to)
        read = fb.Trainer.resume if path.name == "checkpoint" and rng.random() < 0.7 else fb.load
        try:
            made = read(self.to)
        except fb.FormatError:
            return
        net = made if isinstance(made, fb.Network) else made.net
        shapes = [t.shape for t in net.graph.inputs]
        if max(t.size for t in map(np.array, shapes)) < 9 and all(np.prod(s, dtype=float) < 1e4 for s in shapes):
            x = tuple(np.zeros((2, *s)) for s in shapes)
            net.predict(x[0] if net._ins.alone else x)
