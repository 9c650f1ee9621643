"""When memory runs out: MemoryError, nothing half done, and a network that works afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp as fb
from fastbp.core.machine import memory_limit
from fastbp.core.vector import aligned_zeros
from fastbp.engine import native

X = np.random.default_rng(0).standard_normal((40, 5)).astype("float32")
Y = np.random.default_rng(1).standard_normal((40, 3)).astype("float32")


def make_network() -> fb.Network:
    a = fb.Input(5)
    h = fb.GELU()(fb.BatchNorm()(fb.Linear(5, 9)(a)))
    return fb.Network(a, fb.Linear(14, 3)(fb.Concat()(fb.Dropout(0.2)(h), a)), seed=4)


USES: dict[str, Callable[[fb.Network], Any]] = {
    "predict": lambda net: net.predict(X),
    "predict, twice": lambda net: (net.predict(X), net.predict(X)),
    "predict, more rows": lambda net: (net.predict(X[:3]), net.predict(X)),
    "forward and backward": lambda net: (net.forward(X, training=True), net.backward(Y)),
    "loss": lambda net: net.loss(X, Y, fb.MSE()),
    "loss_and_grad": lambda net: net.loss_and_grad(X, Y, fb.Huber(), np.ones(40)),
    "step": lambda net: [fb.Trainer(net, fb.MSE(), fb.Adam(0.01)).step(X, Y) for _ in range(3)],
    "fit": lambda net: fb.Trainer(net, fb.MSE(), fb.Adam(0.01)).fit(X, Y, epochs=3, progress=False),
    "fit, clipped": lambda net: fb.Trainer(net, fb.MSE(), fb.SGD(0.01), clip_norm=0.1).fit(X, Y, progress=False),
}


def bits(net: fb.Network) -> bytes:
    return bytes(net.params.flat.tobytes() + net.buffers.flat.tobytes())


@pytest.fixture(autouse=True)
def _no_failure_is_left_over() -> Iterator[None]:
    yield
    native.fail_allocation(0)


@pytest.mark.parametrize("name", USES)
def test_every_allocation_may_fail(name: str) -> None:
    """The n-th allocation fails, for every n until all are through; the same call then does what it always does."""
    expected = make_network()
    USES[name](expected)
    n = failures = 0
    while True:
        n += 1
        net = make_network()
        before = bits(net)
        native.fail_allocation(n)
        try:
            USES[name](net)
        except MemoryError:
            assert native.fail_allocation(0) == 0
            failures += 1
        else:
            assert native.fail_allocation(0) > 0, "a failed allocation went unnoticed"
            break
        if name in ("predict", "loss", "loss_and_grad"):
            assert bits(net) == before
        again = net.copy()
        np.testing.assert_array_equal(net.predict(X), again.predict(X))
        assert np.isfinite(net.loss(X, Y, fb.MSE()))
        if bits(net) == before and net.memory.step == 0:
            USES[name](net)
            assert bits(net) == bits(expected)
    assert failures >= 8, "so many arrays has the smallest plan"


@pytest.mark.parametrize("quick", ["predict", "step", "loss_and_grad"])
def test_the_quick_ways_leave_the_network_free(quick: str) -> None:
    """More threads than before want more scratch memory: the one allocation on the quick ways."""
    net, before = fb.Sequential(fb.Linear(5, 3), seed=0), fb.get_num_threads()
    trainer, loss = fb.Trainer(net, fb.MSE(), fb.SGD(0.1)), fb.MSE()
    use = {"predict": lambda: net.predict(X), "step": lambda: trainer.step(X, Y),
           "loss_and_grad": lambda: net.loss_and_grad(X, Y, loss)}[quick]
    try:
        fb.set_num_threads(1)
        use()
        use()
        fb.set_num_threads(5)
        native.fail_allocation(1)
        with pytest.raises(MemoryError):
            use()
        use()
    finally:
        fb.set_num_threads(before)


def test_a_plan_too_large_for_this_machine_says_what_it_needs() -> None:
    net = fb.Sequential(fb.Linear(1, 1 << 20), fb.ReLU(), fb.Linear(None, 1), seed=0)
    rows = int(memory_limit() / (4 << 20)) + 1 if memory_limit() < 1e18 else 1 << 40
    x = np.broadcast_to(np.float32(0), (rows, 1))
    y = np.broadcast_to(np.float32(0), (rows, 1))
    with pytest.raises(MemoryError, match=r"running [\d,]+ rows at once needs [\d,.]+ GiB.*use smaller batches"):
        net.loss(x, y, fb.MSE())
    assert net.predict([[1.0]]).shape == (1, 1)


def test_more_than_there_is_is_not_asked_for() -> None:
    with pytest.raises(MemoryError):
        aligned_zeros(1 << 60, "uint8")
    with pytest.raises(MemoryError, match=r"the network has [\d,]+ parameters, which need [\d,.]+ GiB"):
        fb.Sequential(fb.Linear(1 << 28, 1 << 28))


@pytest.mark.parametrize(("meminfo", "cgroup", "limit"), [
    ("MemTotal: 4 kB\nSwapTotal: 2 kB\n", {}, 6144),
    ("MemTotal: 4 kB\nSwapTotal: 0 kB\n", {"memory.max": "1000\n"}, 1000),
    ("MemTotal: 4 kB\nSwapTotal: 0 kB\n", {"memory.max": "max\n"}, 4096),
    ("", {"memory/memory.limit_in_bytes": "77\n"}, 77),
    ("nonsense: x y\nMemTotal:\n", {}, float("inf")),
])
def test_memory_limit(tmp_path: Path, meminfo: str, cgroup: dict[str, str], limit: float) -> None:
    (tmp_path / "meminfo").write_text(meminfo)
    for name, text in cgroup.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_limit(tmp_path / "meminfo", tmp_path) == limit


SQUEEZED = """
import resource, sys
import numpy as np, fastbp as fb

fb.set_num_threads(2)
x, y = np.ones((4096, 64), "float32"), np.ones((4096, 8), "float32")
def vm():
    return int(open("/proc/self/statm").read().split()[0]) * 4096
warm = fb.Sequential(fb.Linear(64, 32), fb.ReLU(), fb.Linear(None, 8), seed=1)
fb.Trainer(warm, fb.MSE(), fb.Adam(1e-3)).fit(x[:64], y[:64], progress=False)
failed = passed = 0
for extra in range(0, 24 << 20, 256 << 10):
    net = fb.Sequential(fb.Linear(64, 256), fb.ReLU(), fb.Linear(None, 8), seed=1)
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam(1e-3))
    resource.setrlimit(resource.RLIMIT_AS, (vm() + extra, resource.RLIM_INFINITY))
    try:
        trainer.fit(x, y, batch_size=2048, epochs=2, progress=False)
        net.predict(x)
        passed += 1
    except MemoryError:
        failed += 1
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert np.isfinite(net.predict(x)).all()
    trainer.fit(x, y, batch_size=2048, progress=False)
print(failed, passed)
assert failed and passed, (failed, passed)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc/self/statm is Linux's")
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="ASan wants all of the address space")
def test_the_system_gives_no_memory() -> None:
    """The address space is limited more and more narrowly, so that NumPy's own allocations fail too."""
    run = subprocess.run([sys.executable, "-c", SQUEEZED], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
