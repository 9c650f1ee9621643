"""Threads that use one network, or rewrite the arrays of a run, at the same time.

No thread frees memory that another reads (`resize(refcheck=False)`): then NumPy's own functions crash as well.
"""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

import fastbp as fb
from fuzzers.callback_fuzzer import changes_of_an_array
from fuzzers.unusual import Array, Rng, with_odd_numbers

REFUSED = (TypeError, ValueError, RuntimeError, IndexError, AttributeError, fb.DivergenceError)


class ThreadFuzzer:
    """One to three threads do the same things over and over for the length of some work in this one."""

    def __init__(self) -> None:
        self.start = fb.Sequential(fb.Linear(6, 17), fb.GELU(), fb.LayerNorm(), fb.Linear(17, 4), seed=0)

    def __call__(self, rng: Rng) -> None:
        net = self.start.copy()
        trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(1e-3))
        rows = int(rng.integers(8, 2000))
        x, y = rng.standard_normal((rows, 6)).astype("float32"), rng.integers(0, 4, rows)
        uses, end = self.uses(rng, net, trainer, x, y), threading.Event()
        chosen = [uses[i] for i in rng.integers(0, len(uses), rng.integers(1, 4))]
        errors: list[BaseException] = []
        helpers = [threading.Thread(target=_again, args=(use, end, errors)) for use in chosen]
        work = [lambda: trainer.fit(x, y, epochs=2, batch_size=int(rng.integers(1, 64)), progress=False),
                lambda: [trainer.step(x, y) for _ in range(5)], lambda: [net.predict(x) for _ in range(5)],
                lambda: [net.loss_and_grad(x, y, fb.CrossEntropy()) for _ in range(5)]][rng.integers(4)]
        for helper in helpers:
            helper.start()
        try:
            with np.errstate(all="ignore"), suppress(*REFUSED):
                work()
        finally:
            end.set()
            for helper in helpers:
                helper.join(60)
                assert not helper.is_alive(), "a thread hangs"
        if errors:
            raise errors[0]
        net.params.flat[...] = self.start.params.flat
        fresh = np.ones((3, 6), np.float32)
        np.testing.assert_array_equal(net.predict(fresh), self.start.predict(fresh))

    def uses(self, rng: Rng, net: fb.Network, trainer: fb.Trainer, x: Array, y: Array) -> list[Callable[[], Any]]:
        own = np.random.default_rng(rng.integers(2**32))    # generators are no more for several threads than networks
        few, labels = np.ones((3, 6), np.float32), np.zeros(3, np.int64)
        changes = [*changes_of_an_array(own, x), *changes_of_an_array(own, y)]
        return [
            lambda: y.__setitem__(..., own.choice([-1, 0, 3, 4, 2**31, -2**63])),
            lambda: y.__setitem__(..., own.choice([-1, 0, 3, 4, 2**31, -2**63])),
            lambda: x.__setitem__(..., with_odd_numbers(own, x)), changes[own.integers(len(changes))],
            lambda: net.predict(few), lambda: trainer.step(few, labels), lambda: net.copy(),
            lambda: net.save(io.BytesIO()), lambda: pickle.dumps(net), lambda: net.params.flat.fill(0.1),
            lambda: net.loss_and_grad(few, labels, fb.CrossEntropy()), lambda: trainer.fit(few, labels, progress=False),
            lambda: fb.set_num_threads(int(own.integers(1, 3))), lambda: net.load_state_dict(net.state_dict()),
        ]


def _again(use: Callable[[], Any], end: threading.Event, errors: list[BaseException]) -> None:
    with np.errstate(all="ignore"):
        while not end.is_set():
            try:
                use()
            except REFUSED:
                end.wait(0.001)
            except BaseException as error:
                errors.append(error)
                return
