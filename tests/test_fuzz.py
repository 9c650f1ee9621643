"""A short run of each fuzzer, always the same cases, and what longer runs have found.

``tools/fuzz.sh`` tries new cases for as long as it is told to.
"""

from __future__ import annotations

from pathlib import Path

import fuzzing
import numpy as np
import pytest

import fastbp as fb
from fastbp import container

CASES = {"kernels": 3000, "files": 300, "arrays": 500}


@pytest.mark.parametrize("name", CASES)
def test_a_short_run(name: str, tmp_path: Path) -> None:
    fuzz = fuzzing.fuzzers(tmp_path)[name]()
    for seed in range(CASES[name]):
        fuzzing.run(name, seed, fuzz)


# ---- found ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    trainer = fb.Trainer(fb.Sequential(fb.Linear(3, 2), seed=0), fb.MSE(), fb.Adam(0.01), clip_norm=1.0)
    trainer.fit(np.ones((8, 3)), np.ones((8, 2)), progress=False)
    trainer.save_checkpoint(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.mark.parametrize(("key", "value"), [
    ("clip_norm", "junk"), ("clip_norm", -1), ("clip_value", float("nan")),
    ("losses", [{"type": "GaussianNLL", "arguments": {}}, {"type": "MSE", "arguments": {}}]),
    ("losses", [{"type": "CrossEntropy", "arguments": {"class_weight": [1.0]}}]),
])
def test_a_trainer_that_does_not_fit_its_network(checkpoint: Path, key: str, value: object) -> None:
    """Once a ValueError that named an argument of Trainer, which nobody had given."""
    contents = container.read(checkpoint)
    contents.description["trainer"][key] = value
    if key == "losses" and isinstance(value, list) and len(value) == 2:
        contents.description["trainer"][key] = value[:1]
        contents.description["network"]["outputs"] = [0]        # 3 columns: no means and log-variances
        contents.description["network"]["calls"] = []
        contents.description["network"]["layers"] = []
        for name in ("0.weight", "0.bias"):
            contents.tensors.pop(name)
    container.write(checkpoint, contents.description, contents.tensors)
    with pytest.raises(fb.FormatError):
        fb.Trainer.resume(checkpoint)
