"""An explanation of a large network, from the call to text and page: ``pytest benchmarks/test_explain.py``.

It is meant to take less than a second: one that a teacher waits for is not asked for twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbp as fb


@pytest.mark.parametrize("hidden", [(256,), (256, 256)], ids=["784-256-10", "784-256-256-10"])
def test_explain(benchmark: Any, hidden: tuple[int, ...]) -> None:
    """The worked network of a learner's first data set; with two hidden layers the paths have to be searched."""
    widths = (784, *hidden)
    layers = [layer for i, o in zip(widths, hidden, strict=False) for layer in (fb.Linear(i, o), fb.ReLU())]
    net = fb.Sequential(*layers, fb.Linear(widths[-1], 10), seed=0)
    x, y = np.random.default_rng(0).normal(size=(1, 784)), np.array([3])

    def explain() -> tuple[Any, str, str]:
        found = net.explain(x, y, fb.CrossEntropy(), weight="w1000")
        return found, found.text(), found.html()

    found, *_ = benchmark(explain)
    assert found.relative_difference < 1e-6
