"""The kernels as other people's Cython code has them: on typed memoryviews, from an installed fastbp."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fastbp as fb
from fastbp import kernels

ROOT = Path(__file__).parents[2]
SOURCES = {"typed_calls": Path(__file__).parent / "typed_calls.pyx", "own_loop": ROOT / "examples" / "own_loop.pyx"}


def build(name: str, folder: Path) -> ModuleType:
    """Build a Cython module outside of the checkout, and import it."""
    pytest.importorskip("Cython")
    if shutil.which(os.environ.get("CC", "cc").split()[0]) is None:
        pytest.skip("there is no C compiler")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        pytest.skip("there is no Python.h")
    if not SOURCES[name].exists():
        pytest.skip(f"{SOURCES[name].name} is not beside the tests")
    shutil.copy(SOURCES[name], folder)
    done = subprocess.run([sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", f"{name}.pyx"], cwd=folder,
                          env={**os.environ, "CFLAGS": "-O1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (p for p in folder.iterdir() if p.suffix in (".so", ".pyd"))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build("typed_calls", tmp_path_factory.mktemp("typed"))


def f32(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def test_the_example_learns(tmp_path: Path) -> None:
    own_loop: Any = build("own_loop", tmp_path)
    assert own_loop.train(2000) < 0.001 * own_loop.train(1)


@pytest.mark.skipif(not Path(fb.__file__).with_name("kernels.pxd").exists(),
                    reason="the file is made where fastbp is installed")
def test_the_example_cimports_by_the_public_name(tmp_path: Path) -> None:
    text = SOURCES["own_loop"].read_text(encoding="utf-8").replace("fastbp.engine.kernels", "fastbp.kernels")
    (tmp_path / "source").mkdir()
    SOURCES["public"] = tmp_path / "source" / "public.pyx"
    SOURCES["public"].write_text(text, encoding="utf-8")
    (tmp_path / "built").mkdir()
    public: Any = build("public", tmp_path / "built")
    assert public.train(200) < public.train(1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_are_those_of_the_python_functions(typed: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, W, b = (rng.standard_normal(shape).astype(dtype) for shape in ((7, 5), (5, 19), (19,)))
    for array in (x, W, b):
        array.flags.writeable = False
    y, z = np.zeros((7, 19), dtype), np.zeros((7, 19), dtype)
    typed.linear_forward(y, z, x, W, b, "elu", 0.5)
    z_expected = np.zeros((7, 19), dtype)
    np.testing.assert_array_equal(y, kernels.linear_forward(x, W, b, act="elu", alpha=0.5, z=z_expected))
    np.testing.assert_array_equal(z, z_expected)


@pytest.mark.parametrize("isa", fb.cpu_info().isas)
def test_an_instruction_set_by_name(typed: Any, isa: str) -> None:
    rng = np.random.default_rng(0)
    x, W, y = rng.standard_normal((9, 33)), rng.standard_normal((33, 35)), np.zeros((9, 35))
    typed.linear_forward_of(isa, y, x, W)
    np.testing.assert_array_equal(y, kernels.linear_forward(x, W, isa=isa))


def test_what_is_not_wanted(typed: Any) -> None:
    dy, a, b, db = np.ones(3), np.arange(3.0), np.arange(3.0) + 1, np.zeros(3)
    typed.mul_backward(None, db, dy, a, b)
    np.testing.assert_array_equal(db, a)


def test_an_update_says_whether_all_parameters_are_finite(typed: Any) -> None:
    p, velocity, g = np.ones(5, np.float32), f32(5), np.ones(5, np.float32)
    assert typed.sgd_update(p, velocity, g, 1) == 1
    np.testing.assert_allclose(p, 0.9)
    g[3] = np.inf
    assert typed.sgd_update(p, velocity, g, 2) == 0


def test_nothing_to_do_takes_no_time(typed: Any) -> None:
    """So many rows without a column would keep a loop busy for minutes."""
    nothing = np.empty((2**36, 0), np.float32)

    def run() -> None:
        typed.transpose(nothing.reshape(0, 2**36), nothing)
        kernels.transpose(nothing)
        kernels.concat_forward(nothing, nothing)
        kernels.concat_backward(nothing, 0, 0)
        kernels.softmax_forward(nothing)
        kernels.batch_norm_forward(nothing, *[nothing[0]] * 4)
        kernels.batch_norm_statistics(nothing)
        kernels.linear_backward_weight(nothing, nothing)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


REFUSED: list[tuple[str, str, tuple[Any, ...]]] = [
    ("linear_forward: x is None; expected an array", "linear_forward",
     (f32(3, 2), None, None, f32(5, 2), None, "identity", 0)),
    ("linear_forward: W has shape (4, 2); expected (I, O) with I = 5", "linear_forward",
     (f32(3, 2), None, f32(3, 5), f32(4, 2), None, "identity", 0)),
    ("linear_forward: y has shape (3, 3); expected (B, O) with O = 2", "linear_forward",
     (f32(3, 3), None, f32(3, 5), f32(5, 2), None, "identity", 0)),
    ("linear_forward: z has shape (2, 2); expected (B, O) with B = 3", "linear_forward",
     (f32(3, 2), f32(2, 2), f32(3, 5), f32(5, 2), None, "identity", 0)),
    ("linear_forward: b has shape (3,); expected (O,) with O = 2", "linear_forward",
     (f32(3, 2), None, f32(3, 5), f32(5, 2), f32(3), "identity", 0)),
    ("linear_forward: act is 99; expected a number that fbp_activation gives", "linear_forward",
     (f32(3, 2), None, f32(3, 5), f32(5, 2), None, 99, 0)),
    ("transpose: y has shape (2, 3); expected (C, R) with C = 3", "transpose", (f32(2, 3), f32(2, 3))),
    ("mul_backward: b has shape (4,); expected (n,) with n = 3", "mul_backward",
     (None, None, np.zeros(3), np.zeros(3), np.zeros(4))),
    ("concat_backward: nb is -1; expected a whole number from 0 to 2**62 - 1", "concat_backward",
     (None, None, np.zeros((2, 5)), 6, -1)),
    ("concat_backward: dy has shape (2, 6); expected (R, na + nb) with na + nb = 5", "concat_backward",
     (None, None, np.zeros((2, 6)), 2, 3)),
    ("cross_entropy: target has the label 3; expected labels from 0 to 2", "cross_entropy",
     (np.zeros(2), None, f32(2, 3), np.array([0, 3]), f32(2), 0)),
    ("cross_entropy: target has the label -1; expected labels from 0 to 2", "cross_entropy",
     (np.zeros(2), None, f32(2, 3), np.array([-1, 0]), f32(2), 0)),
    ("cross_entropy: label_smoothing is 1; expected a number from 0 up to, but not including, 1", "cross_entropy",
     (np.zeros(2), None, f32(2, 3), np.array([0, 0]), f32(2), 1)),
    ("gaussian_nll: x has 3 columns; expected an even number", "gaussian_nll",
     (np.zeros(2), f32(2, 3), f32(2, 1), f32(2))),
    ("dropout_forward: first is 4611686018427387904; expected a whole number from 0 to 2**62 - 1", "dropout_forward",
     (f32(3), f32(3), 2**62, 0.5)),
]


@pytest.mark.parametrize(("message", "function", "arguments"), REFUSED, ids=[message for message, _, _ in REFUSED])
def test_refused(typed: Any, message: str, function: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        getattr(typed, function)(*arguments)


def test_labels_that_change_while_a_kernel_runs_do_no_harm() -> None:
    """Another thread writes labels that are far out of range, again and again."""
    labels = np.zeros(200_000, np.int64)
    x = f32(len(labels), 2)
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            labels[:] = 2**50
            time.sleep(1e-5)
            labels[:] = 0
            time.sleep(1e-3)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(100):
            try:
                loss, _ = kernels.cross_entropy(x, labels)
            except ValueError as error:
                assert "has the label 1125899906842624" in str(error)  # noqa: PT017
            else:
                np.testing.assert_allclose(loss.sum(), np.log(2), rtol=1e-5)
    finally:
        stop.set()
        thread.join()
