"""Same seed, same bits: over runs, process restarts, numbers of threads, and batch splits in predict, for every ISA.

There are no checksums to compare with from elsewhere: instruction sets and compilers round differently. Between them
``test_native.py`` compares numbers.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache

import numpy as np
import pytest

import fastbp as fb
from fastbp.engine import native

ISAS = fb.cpu_info().isas
DTYPES = ("float32", "float64")

TRAINING = """
import hashlib, sys
import numpy as np, fastbp as fb
from fastbp.engine import native

assert native.isa() == sys.argv[1]
rng = np.random.default_rng(5)
x, y = rng.standard_normal((300, 23)), rng.integers(0, 7, 300)

def trained(dtype, optimizer):
    a = fb.Input(23)
    h = fb.Dropout(0.2)(fb.GELU()(fb.BatchNorm()(fb.Linear(23, 45)(a))))
    h = fb.Add()(h, fb.Tanh()(fb.LayerNorm()(fb.Linear(45, 45)(h))))
    net = fb.Network(a, fb.Linear(None, 7)(h), dtype=dtype, seed=11)
    fb.Trainer(net, fb.CrossEntropy(0.1), optimizer).fit(x, y, epochs=2, batch_size=32, progress=False)
    return net

def checksum(net, predicted):
    digest = hashlib.sha256()
    for array in (net.params.flat, net.buffers.flat, predicted):
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()

for dtype in ("float32", "float64"):
    for optimizer in (fb.Adam(0.01), fb.SGD(0.05, momentum=0.9)):
        for n_threads, batch_size in ((1, None), (2, 1), (3, 7), (1, 300)):
            fb.set_num_threads(n_threads)
            native.set_fork_cost(0 if n_threads > 1 else None)
            net = trained(dtype, optimizer)
            print(dtype, type(optimizer).__name__, checksum(net, net.predict(x, batch_size=batch_size)))
"""


@lru_cache
def checksums(isa: str, restart: int) -> list[str]:
    """Return the checksums that a process of its own prints; ``restart`` is its number."""
    run = subprocess.run([sys.executable, "-c", TRAINING, isa], capture_output=True, text=True, check=True,
                         env={**os.environ, "FASTBP_ISA": isa, "PYTHONHASHSEED": str(restart)})
    return run.stdout.splitlines()


@pytest.mark.parametrize("isa", ISAS)
def test_neither_threads_nor_batch_splits_change_a_bit(isa: str) -> None:
    lines = checksums(isa, 0)
    assert len(lines) == 16
    assert len(set(lines)) == 4, lines


@pytest.mark.parametrize("isa", ISAS)
def test_restarting_the_process_changes_no_bit(isa: str) -> None:
    assert checksums(isa, 0) == checksums(isa, 1)


def test_another_seed_gives_other_bits() -> None:
    nets = [fb.Sequential(fb.Linear(5, 5), seed=seed) for seed in (1, 2, 1)]
    assert nets[0].params.flat.tobytes() != nets[1].params.flat.tobytes()
    assert nets[0].params.flat.tobytes() == nets[2].params.flat.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_where_memory_lies_changes_no_bit(dtype: str) -> None:
    """Data that begins at any address that the dtype may begin at."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 9)).astype(dtype), rng.standard_normal((64, 3)).astype(dtype)
    results = set()
    for shift in range(0, 64, np.dtype(dtype).itemsize):
        moved = []
        for array in (x, y):
            memory = np.zeros(array.nbytes + 128, np.uint8)
            start = -memory.ctypes.data % 64 + shift
            view = memory[start:start + array.nbytes].view(dtype).reshape(array.shape)
            view[...] = array
            moved.append(view)
        net = fb.Sequential(fb.Linear(9, 19), fb.SiLU(), fb.Linear(19, 3), dtype=dtype, seed=3)
        fb.Trainer(net, fb.MSE(), fb.Adam(0.01)).fit(*moved, batch_size=16, shuffle=False, progress=False)
        results.add(net.params.flat.tobytes() + net.predict(moved[0]).tobytes())
    assert len(results) == 1


def test_the_order_in_which_threads_come_changes_no_bit() -> None:
    """Many short runs, in which other tasks fall to other threads each time."""
    before = fb.get_num_threads()
    fb.set_num_threads(4)
    native.set_fork_cost(0)
    try:
        net = fb.Sequential(fb.Linear(33, 65), fb.Mish(), fb.BatchNorm(), fb.Linear(None, 5), seed=0)
        x, y = np.random.default_rng(0).standard_normal((512, 33)), np.random.default_rng(1).integers(0, 5, 512)
        results = set()
        for _ in range(30):
            net.buffers.flat[...] = 1
            loss = net.loss_and_grad(x, y, fb.CrossEntropy())
            results.add((loss, net.grads.flat.tobytes(), net.buffers.flat.tobytes()))
        assert len(results) == 1
    finally:
        fb.set_num_threads(before)
        native.set_fork_cost(None)


def test_going_between_one_thread_and_all_changes_no_bit() -> None:
    """So many mini-batches that both ways are tried again; more threads than there are ranges of tasks, too."""
    x, y = np.random.default_rng(0).standard_normal((300, 33)), np.random.default_rng(1).integers(0, 5, 300)
    before = fb.get_num_threads()
    native.set_fork_cost(0)
    results = {}
    try:
        for threads in (1, 2, 20):
            fb.set_num_threads(threads)
            net = fb.Sequential(fb.Linear(33, 40), fb.Tanh(), fb.Linear(40, 5), seed=0)
            trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01))
            for epochs in (1, 4, 1):
                trainer.fit(x, y, epochs=epochs, batch_size=3, progress=False)
            results[threads] = net.params.flat.tobytes()
    finally:
        fb.set_num_threads(before)
        native.set_fork_cost(None)
    assert len(set(results.values())) == 1
