"""Arrays that networks get: unusual ones, on the quick ways and the checked ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastbp as fb
from fuzzers.unusual import Rng, unusual


class ArrayFuzzer:
    """Gives unusual arrays to networks that know the usual ones, and so try the quick ways first."""

    def __init__(self) -> None:
        self.net = fb.Sequential(fb.Linear(6, 7), fb.ReLU(), fb.Linear(7, 4), seed=0)
        self.reference = self.net.copy(backend="reference")
        self.trainer = fb.Trainer(self.net, fb.CrossEntropy(), fb.SGD(1e-4))
        self.start = self.net.params.flat.copy()

    def __call__(self, rng: Rng) -> None:
        x, y = rng.standard_normal((9, 6)).astype("float32"), rng.integers(0, 4, 9)
        self.net.params.flat = self.start      # huge inputs spoil them
        self.net.predict(x)
        self.trainer.step(x, y)
        wrong_x = unusual(rng, x) if rng.random() < 0.7 else x
        wrong_y = unusual(rng, y) if rng.random() < 0.5 else y
        self.reference.params.flat = self.net.params.flat
        with np.errstate(all="ignore"):
            self.same("predict", lambda net: net.predict(wrong_x))
            self.same("loss", lambda net: net.loss(wrong_x, wrong_y, fb.CrossEntropy()))
        before = self.net.params.flat.copy()
        try:
            self.trainer.step(wrong_x, wrong_y)
        except (TypeError, ValueError, fb.DivergenceError):
            np.testing.assert_array_equal(self.net.params.flat, before)
        assert np.isfinite(self.net.params.flat).all()

    def same(self, what: str, use: Callable[[fb.Network], Any]) -> None:
        results = []
        for net in (self.net, self.reference):
            try:
                results.append(use(net))
            except (TypeError, ValueError) as error:
                results.append(str(error))
        if isinstance(results[0], str) or isinstance(results[1], str):
            assert results[0] == results[1], (what, results)
        else:
            native, should = (np.asarray(r, dtype=np.float64) for r in results)
            assert native.shape == should.shape, what
            for a, b in zip(np.atleast_1d(native), np.atleast_1d(should), strict=True):
                if np.isfinite(a).all() and np.isfinite(b).all():     # else it is a matter of order which is NaN
                    scale = float(np.abs(b).max(initial=1))
                    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * scale, err_msg=what)
