"""LibTorch from C++: PyTorch's operations and its fused Adam in a loop without Python.

The loop is compiled once for each version of PyTorch, with its own headers and libraries, into build/ of the checkout.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from harness.rows import BETA1, BETA2, EPSILON, LEARNING_RATE, MINI_BATCHES, Problem

_SOURCE = Path(__file__).with_name("libtorch.cpp")
_BUILD = Path(__file__).parents[2] / "build" / "libtorch"


def _compiled() -> Path:
    """Return the compiled loop, as a shared library."""
    root = Path(torch.__file__).parent
    abi = int(torch._C._GLIBCXX_USE_CXX11_ABI)
    command = ["c++", "-std=c++20", "-O3", "-march=native", "-shared", "-fPIC", f"-D_GLIBCXX_USE_CXX11_ABI={abi}",
               f"-isystem{root / 'include'}", f"-isystem{root / 'include/torch/csrc/api/include'}", str(_SOURCE),
               f"-L{root / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{root / 'lib'}"]
    key = hashlib.sha256("\0".join([torch.__version__, _SOURCE.read_text(encoding="utf-8"), *command]).encode())
    path = _BUILD / f"{key.hexdigest()[:16]}.so"
    if not path.exists():
        _BUILD.mkdir(parents=True, exist_ok=True)
        # under another name at first: an interrupted compiler leaves nothing that would be taken for the library
        unfinished = path.with_suffix(f".{os.getpid()}")
        try:
            done = subprocess.run([*command, "-o", str(unfinished)], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"the compiler does not take {_SOURCE.name}: {done.stderr.strip()[:2000]}")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path


def _library() -> Any:
    library = ctypes.CDLL(str(_compiled()))
    pointer, number, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    for name, arguments in (
            ("create", (ctypes.POINTER(pointer), long, pointer, long, number, number, number, pointer, pointer,
                        pointer, number)),
            ("reset", (pointer, pointer)),
            ("losses", (pointer, pointer)),
            ("run", (pointer, long))):
        function = getattr(library, f"session_{name}")
        function.restype, function.argtypes = ctypes.c_char_p, arguments
    library.session_destroy.restype, library.session_destroy.argtypes = None, (pointer,)
    return library


def _check(message: bytes | None) -> None:
    if message is not None:
        raise RuntimeError(message.decode(errors="replace"))


class Recorded:
    """The graph is recorded and walked back, as with ``torch::nn``; fused Adam."""

    by_hand: ClassVar[bool] = False

    def __init__(self, problem: Problem, threads: int) -> None:
        row = problem.row
        self._library, self._handle = _library(), ctypes.c_void_p()
        self._values = np.concatenate([part.ravel() for weight, bias in problem.parameters
                                       for part in (weight.T, bias)])
        widths, adam = np.array(row.widths, np.int64), np.array([LEARNING_RATE, BETA1, BETA2, EPSILON])
        x, y = np.ascontiguousarray(problem.x), np.ascontiguousarray(problem.y)
        _check(self._library.session_create(
            ctypes.byref(self._handle), len(widths) - 1, widths.ctypes.data, row.batch, row.activation == "tanh",
            row.loss == "mse", self.by_hand, adam.ctypes.data, x.ctypes.data, y.ctypes.data, threads))
        self.reset()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.session_destroy(self._handle)

    def reset(self) -> None:
        _check(self._library.session_reset(self._handle, self._values.ctypes.data))

    def losses(self) -> NDArray[Any]:
        losses = np.empty(MINI_BATCHES, np.float32)
        _check(self._library.session_losses(self._handle, losses.ctypes.data))
        return losses

    def run(self, epochs: int) -> None:
        _check(self._library.session_run(self._handle, epochs))


class WrittenOut(Recorded):
    """The derivatives written out in LibTorch's operations, without a record; fused Adam."""

    by_hand = True
