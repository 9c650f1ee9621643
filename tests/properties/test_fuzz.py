"""A short run of each fuzzer, always the same cases, and what longer runs have found.

``tools/fuzz.sh`` tries new cases for as long as it is told to.
"""

from __future__ import annotations

from pathlib import Path

import fuzzing
import numpy as np
import pytest
from fuzzers.unusual import unaligned

import fastbp as fb
from fastbp.files import container

CASES = {"kernels": 3000, "files": 300, "arrays": 500, "callbacks": 300, "threads": 30, "schemas": 150, "tables": 60}


@pytest.mark.parametrize("name", CASES)
def test_a_short_run(name: str, tmp_path: Path) -> None:
    if name in ("schemas", "tables"):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    fuzz = fuzzing.FUZZERS[name](tmp_path)
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


@pytest.mark.parametrize("use", ["predict", "predict, slowly", "loss", "step", "fit", "fit, shuffled"])
def test_arrays_that_are_not_aligned(use: str) -> None:
    """Once read where they are: undefined behaviour, which UndefinedBehaviorSanitizer saw."""
    rng = np.random.default_rng(0)
    aligned = rng.standard_normal((40, 5)).astype("float32"), rng.integers(0, 3, 40), np.ones(40, "float32")
    results = []
    for x, y, weight in (aligned, [unaligned(a) for a in aligned]):
        net = fb.Sequential(fb.Linear(5, 7), fb.Tanh(), fb.Linear(7, 3), seed=0)
        trainer = fb.Trainer(net, fb.CrossEntropy(), fb.SGD(0.1))
        net.predict(aligned[0])
        if use.startswith("predict"):
            results.append(net.predict(x, batch_size=None if use == "predict" else 7))
        elif use == "loss":
            results.append(net.loss_and_grad(x, y, fb.CrossEntropy(), weight))
        elif use == "step":
            results.append([trainer.step(x, y) for _ in range(3)])
        else:
            trainer.fit(x, y, sample_weight=weight, batch_size=8, shuffle=use != "fit", progress=False)
            results.append(net.params.flat.copy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(("where", "value"), [
    (("network", "step"), 2**64), (("network", "step"), -1), (("trainer", "step"), -1), (("trainer", "step"), 2**70),
])
def test_numbers_beyond_what_c_holds(checkpoint: Path, where: tuple[str, str], value: int) -> None:
    """Once an OverflowError in the next call of predict."""
    contents = container.read(checkpoint)
    contents.description[where[0]][where[1]] = value
    container.write(checkpoint, contents.description, contents.tensors)
    with pytest.raises(fb.FormatError, match="whole number"):
        fb.Trainer.resume(checkpoint)


def test_several_inputs_that_are_said_to_be_one(tmp_path: Path) -> None:
    """Once a ValueError in the next call of predict."""
    a, b = fb.Input(2), fb.Input(2)
    fb.Network((a, b), fb.Add()(a, b), seed=0).save(tmp_path / "net")
    contents = container.read(tmp_path / "net")
    contents.description["network"]["single_input"] = True
    container.write(tmp_path / "net", contents.description, contents.tensors)
    with pytest.raises(fb.FormatError, match="several inputs"):
        fb.load(tmp_path / "net")
