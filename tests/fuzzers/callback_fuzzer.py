"""Callbacks, shuffles and batches that change what a run works on, or leave it by raising, in the middle of it."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

import fastbp as fb
from fastbp.training.callback import Callback
from fuzzers.unusual import Array, Rng, junk, with_odd_numbers


def _squared(y_pred: Any, y: Any) -> Any:
    return np.mean((y_pred - y) ** 2)


def _squared_and_gradient(y_pred: Array, y: Array) -> tuple[float, Array]:
    return ((y_pred - y) ** 2).mean(), 2 * (y_pred - y) / y_pred.size


LOSSES: dict[str, Callable[[], Any]] = {
    "labels": fb.CrossEntropy, "numbers": fb.MSE, "derived": lambda: _squared,
    "in Python": lambda: fb.CustomLoss(_squared_and_gradient),
}


class Stopped(Exception):
    """What a callback raises to leave a run; not a bug of the library's."""


def _reshaped(a: Array, shape: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a.shape = shape


def _retyped(a: Array, dtype: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a.dtype = dtype


def resizes_of_an_array(a: Array) -> list[Callable[[], Any]]:
    """Return what frees the memory of an array that others still use."""
    return [lambda: a.resize((1, *a.shape[1:]), refcheck=False),
            lambda: a.resize(4 * min(a.size, 10**4), refcheck=False)]


def changes_of_an_array(rng: Rng, a: Array) -> list[Callable[[], Any]]:
    """Return what can be done to an array in place: values, shape, dtype, flags."""
    return [
        lambda: a.__setitem__(..., with_odd_numbers(rng, a)), lambda: a.__setitem__(..., with_odd_numbers(rng, a)),
        lambda: a.__setitem__(..., int(rng.choice([-1, 2**31, 10**6])) if a.dtype.kind == "i" else np.nan),
        lambda: _reshaped(a, (*a.shape, 1)), lambda: _reshaped(a, -1), lambda: _reshaped(a, (a.size, 1)),
        lambda: _retyped(a, "u1"), lambda: _retyped(a, "f4"), lambda: _retyped(a, "i8"),
        lambda: a.setflags(write=False), lambda: a.sort(axis=0), lambda: a.partition(0, axis=0), lambda: a.fill(0),
    ]


class Meddler(Callback):
    """Does something else each time it is called: to the arrays, the network, the optimizer, the run."""

    def __init__(self, rng: Rng, arrays: list[Array], share: float) -> None:
        self.rng, self.arrays, self.share = rng, arrays, share

    def meddle(self, trainer: Any) -> None:
        if self.rng.random() > self.share:
            return
        rng, net = self.rng, trainer.net
        array = self.arrays[rng.integers(len(self.arrays))]
        does = [*changes_of_an_array(rng, array), *resizes_of_an_array(array)]
        if rng.random() < 0.4:
            x = np.zeros((3, 6), np.float32)
            does = [
                lambda: net.predict(x), lambda: trainer.step(x, self.arrays[1][:3]), gc.collect,
                lambda: net.params.flat.fill(np.nan), lambda: net.params.flat.resize(1, refcheck=False),
                lambda: pickle.loads(pickle.dumps(net)), lambda: copy.deepcopy(trainer),
                lambda: setattr(trainer, "stop", True), lambda: setattr(trainer.optimizer, "lr", junk(rng)),
                lambda: net.load_state_dict(net.copy(seed=1).state_dict()),
                lambda: trainer.fit(x, self.arrays[1][:3], progress=False), lambda: net.forward(x, training=True),
                lambda: setattr(trainer, ["net", "losses", "optimizer", "history"][rng.integers(4)], junk(rng)),
                lambda: self.arrays.__setitem__(rng.integers(len(self.arrays)), np.zeros(2)), self.leave,
            ]
        do = does[rng.integers(len(does))]
        with suppress(TypeError, ValueError, AttributeError, RuntimeError, IndexError, fb.DivergenceError):
            do()

    def leave(self) -> None:
        raise Stopped if self.rng.random() < 0.7 else KeyboardInterrupt

    def on_fit_begin(self, trainer: Any) -> None:
        self.meddle(trainer)

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        self.meddle(trainer)

    def on_epoch_end(self, trainer: Any, epoch: int, logs: Any) -> None:
        self.meddle(trainer)

    def on_fit_end(self, trainer: Any) -> None:
        self.meddle(trainer)


class BatchMeddler(Meddler):
    """Looks in after every mini-batch too."""

    def on_batch_end(self, trainer: Any, batch: int) -> None:
        self.meddle(trainer)


class CallbackFuzzer:
    """One `fit` a case. It may end, raise what is documented, or what the callback raised; then all is as before."""

    def __init__(self) -> None:
        layers = fb.Linear(6, 7), fb.BatchNorm(), fb.Tanh(), fb.Dropout(0.2), fb.Linear(7, 4)
        self.nets = [fb.Sequential(*(copy.deepcopy(layer) for layer in layers), seed=0, backend=backend)
                     for backend in ("native", "native", "native", "reference")]

    def __call__(self, rng: Rng) -> None:
        net = self.nets[rng.integers(len(self.nets))].copy()
        kind = list(LOSSES)[rng.integers(len(LOSSES))]
        rows = int(rng.integers(20, 60))
        x = rng.standard_normal((rows, 6)).astype("float32")
        y = rng.integers(0, 4, rows) if kind == "labels" else rng.standard_normal((rows, 4)).astype("float32")
        weight = rng.uniform(0.5, 2, rows).astype("float32")
        order = np.arange(rows)
        arrays = [x, y, weight, order]
        callback = [Meddler, BatchMeddler][rng.integers(2)](rng, arrays, float(rng.choice([0.1, 0.5, 1.0])))
        trainer = fb.Trainer(net, LOSSES[kind](), [fb.SGD(0.01, momentum=0.9), fb.Adam(0.01)][rng.integers(2)])
        options: dict[str, Any] = {"epochs": int(rng.integers(1, 5)), "callbacks": [callback], "progress": False}
        validation = (x.copy(), y.copy())
        arrays += validation
        if rng.random() < 0.5:
            options["validation_data"] = validation
        with np.errstate(all="ignore"), suppress(TypeError, ValueError, RuntimeError, IndexError, AttributeError,
                                                 fb.DivergenceError, Stopped, KeyboardInterrupt):
            if rng.random() < 0.3:
                trainer.fit(Batches(x, y, weight, callback, trainer), **options)
            else:
                if rng.random() < 0.5:
                    options["sample_weight"] = weight
                if rng.random() < 0.5:
                    options["shuffle"] = lambda epoch, rows: order
                trainer.fit(x, y, batch_size=int(rng.integers(1, rows + 9)), **options)
        self.still_works(net)

    def still_works(self, net: fb.Network) -> None:
        net.params.flat[...] = self.nets[0].params.flat
        for name, values in self.nets[0].buffers.items():
            net.buffers[name][...] = values
        x = np.ones((3, 6), np.float32)
        np.testing.assert_allclose(net.predict(x), self.nets[0].predict(x), rtol=1e-5, atol=1e-6)
        fb.Trainer(net, fb.MSE(), fb.SGD(0.01)).fit(x, np.zeros((3, 4)), progress=False)
        assert np.isfinite(net.params.flat).all()


class Batches:
    """Batches whose arrays are changed while they are handed over."""

    def __init__(self, x: Array, y: Array, weight: Array, callback: Meddler, trainer: Any) -> None:
        self.arrays, self.callback, self.trainer = (x, y, weight), callback, trainer

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Iterator[Any]:
        for i in range(4):
            # no views: one of an array that is then resized would be no array to NumPy itself
            handed = tuple(a[5 * i:5 * i + 5].copy() for a in self.arrays)
            self.callback.arrays[:3] = handed
            yield handed
            self.callback.meddle(self.trainer)
