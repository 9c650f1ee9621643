"""Threads, processes and signals: what people and operating systems do to a training."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from workers import X, Y, network, train

import fastbp as fb
from fastbp.core.machine import available_cpus, cpu_quota
from fastbp.engine import native
from fastbp.ops.base import Op

Array = Any

POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def shares_everything() -> Any:
    """Let even tiny work be shared among four threads."""
    before = fb.get_num_threads()
    fb.set_num_threads(4)
    native.set_fork_cost(0)
    yield
    fb.set_num_threads(before)
    native.set_fork_cost(None)


# ---- Python threads --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shares_everything")
def test_networks_trained_at_once_are_those_trained_one_by_one() -> None:
    alone = [train(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(train, range(6))) == alone


def _busy(net: fb.Network) -> tuple[threading.Thread, threading.Event]:
    """Train a network in another thread until the event is set; return when training is under way."""
    end, begun = threading.Event(), threading.Event()

    class Watch(fb.callbacks.Callback):
        def on_progress(self, trainer: fb.Trainer, batch: int) -> None:
            begun.set()
            trainer.stop = end.is_set()

    def run() -> None:
        x = np.tile(X, (40, 1))
        while not end.is_set():
            with suppress(RuntimeError):        # in use by this test's own thread
                fb.Trainer(net, fb.CrossEntropy(), fb.SGD(0.001)).fit(
                    x, np.tile(Y, 40), epochs=100_000, batch_size=8, callbacks=[Watch()], progress=False)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(60)
    return thread, end


IN_USE = "the network is in use by another thread, or by the call that this one is made from; give each a network"
USES: dict[str, Callable[[fb.Network], Any]] = {
    "predict": lambda net: net.predict(X),
    "predict float64": lambda net: net.predict(X.astype("float64")),
    "forward": lambda net: net.forward(X, training=True),
    "loss": lambda net: net.loss(X, Y, fb.CrossEntropy()),
    "loss_and_grad": lambda net: net.loss_and_grad(X, Y, fb.CrossEntropy()),
    "step": lambda net: fb.Trainer(net, fb.CrossEntropy(), fb.SGD(0.1)).step(X, Y),
    "fit": lambda net: fb.Trainer(net, fb.CrossEntropy(), fb.SGD(0.1)).fit(X, Y, progress=False),
}


def test_a_network_that_another_thread_trains_is_refused() -> None:
    net = network(0)
    net.predict(X)
    thread, end = _busy(net)
    refused = dict.fromkeys(USES, 0)
    try:
        # between two calls of the backend the other thread lets go for a moment: try until it is met
        for name, use in USES.items():
            limit = time.monotonic() + 20
            while not refused[name] and time.monotonic() < limit:
                try:
                    use(net)
                    time.sleep(0.01)        # let the other thread in
                except RuntimeError as error:
                    assert IN_USE in str(error)  # noqa: PT017 - others are let through as they are
                    refused[name] += 1
    finally:
        end.set()
        thread.join()
    assert all(refused.values()), refused
    assert np.isfinite(net.predict(X)).all()


def test_a_copy_of_a_network_in_use_may_be_used() -> None:
    net = network(0)
    thread, end = _busy(net)
    try:
        assert np.isfinite(net.copy().predict(X)).all()
    finally:
        end.set()
        thread.join()


# ---- the number of threads -------------------------------------------------------------------------------------------


def _bits(net: fb.Network, x: Any, y: Any, loss: Any, n_threads: int) -> list[bytes]:
    before = fb.get_num_threads()
    fb.set_num_threads(n_threads)
    native.set_fork_cost(0)
    try:
        losses = [net.loss_and_grad(x, y, loss), net.loss(x, y, loss)]
        grads = [g.tobytes() for g in net.input_grads if g is not None]
        return [np.array(losses).tobytes(), net.grads.flat.tobytes(), net.buffers.flat.tobytes(),
                *grads, *(v.tobytes() for v in _tuple(net.predict(x)))]
    finally:
        fb.set_num_threads(before)
        native.set_fork_cost(None)


def _tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", cases.LOSSES)
def test_no_bit_of_a_loss_depends_on_the_number_of_threads(name: str, dtype: str) -> None:
    case = cases.LOSSES[name]
    rows, rng = 300, np.random.default_rng(0)
    x, y = rng.standard_normal((rows, *case.shape)), case.target(rng, rows)
    results = []
    for n in (1, 2, 3, 7):
        a = fb.Input(*case.shape)
        net = fb.Network(a, fb.Linear(case.shape[-1], case.shape[-1])(a), dtype=dtype, seed=0)
        results.append(_bits(net, x, y, case.loss, n))
    assert results[1:] == results[:1] * 3


def _has_twin(op: Op) -> bool:
    """Whether an op has a C twin; the scalars of the lesson have none."""
    try:
        return op.is_view or bool(native.op_phases(op.name))
    except ValueError:
        return False


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name, case in cases.OPS.items() if _has_twin(case.op)])
def test_no_bit_of_an_op_depends_on_the_number_of_threads(name: str, dtype: str) -> None:
    case = cases.OPS[name]
    rows, rng = 300, np.random.default_rng(0)
    x = tuple(case.inputs(rng, rows))
    results = []
    for n in (1, 2, 3, 7):
        net = case.network(dtype=dtype, seed=0)
        y = np.zeros((rows, *net.graph.outputs[0].shape))
        results.append(_bits(net, x, y, fb.MSE(), n))
    assert results[1:] == results[:1] * 3


def test_affinity_limits_the_threads() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no affinity here")
    code = ("import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
            "import fastbp as fb; print(fb.get_num_threads(), fb.cpu_info().available)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env={k: v for k, v in os.environ.items() if k != "FASTBP_NUM_THREADS"})
    assert run.stdout.split() == ["1", "1"]
    assert available_cpus() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("files", "cpus"), [
    ({"cpu.max": "150000 100000\n"}, 1.5), ({"cpu.max": "max 100000\n"}, None), ({"cpu.max": "nonsense"}, None),
    ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ({"cpu/cpu.cfs_quota_us": "5\n", "cpu/cpu.cfs_period_us": "0\n"}, None), ({}, None),
])
def test_the_quota_of_a_cgroup(tmp_path: Path, files: dict[str, str], cpus: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == cpus


# ---- processes -------------------------------------------------------------------------------------------------------


def _in_a_fork(use: Callable[[], bytes]) -> bytes:
    """Return what a function returns in a forked child. (os.fork warns of threads: that they are gone is the test.)"""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(write, use())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        result = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return result


@POSIX
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.usefixtures("shares_everything")
def test_a_forked_child_trains_on_its_own() -> None:
    expected = train(7)
    assert _in_a_fork(lambda: train(7)[:1000]) == expected[:1000]
    assert train(7) == expected, "and the parent goes on"


@POSIX
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.usefixtures("shares_everything")
def test_fork_while_another_thread_trains() -> None:
    expected = train(7)[:1000]
    thread, end = _busy(network(0))
    try:
        for _ in range(5):
            assert _in_a_fork(lambda: train(7)[:1000]) == expected
    finally:
        end.set()
        thread.join()


FORKS = """
import io, os, sys, threading, time, warnings

warnings.simplefilter("ignore")  # Python warns of forks while threads run: that is the case here

def children(count, work):
    for _ in range(count):
        child = os.fork()
        if child == 0:
            try:
                work()
            finally:
                os._exit(0)
        limit = time.monotonic() + 20
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > limit:
                os.kill(child, 9)
                os.waitpid(child, 0)
                print("a child hangs", flush=True)
                os._exit(1)
            time.sleep(0.001)
"""

FIRST_IMPORT = """
def load():
    import fastbp as fb
    fb.Sequential(fb.Linear(2, 1), seed=0).predict([[1.0, 2.0]])

import numpy
thread = threading.Thread(target=load)
thread.start()
while "fastbp.core.errors" not in sys.modules:
    time.sleep(0.0001)
children(8, load)
thread.join()
"""

UNDER_LOAD = """
import numpy as np
import fastbp as fb

class Terminal(io.StringIO):
    def isatty(self):
        return True

sys.stderr = Terminal()
x = np.ones((64, 4), np.float32)

def train(epochs=1):
    net = fb.Sequential(fb.Linear(4, 8), fb.Tanh(), fb.Linear(8, 1), seed=0)
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam(1e-3))
    for _ in range(epochs):
        trainer.fit(x, x[:, :1])

threading.Thread(target=train, args=(10**9,), daemon=True).start()
time.sleep(0.1)
children(150, train)
os._exit(0)
"""


@POSIX
@pytest.mark.parametrize("use", [FIRST_IMPORT, UNDER_LOAD], ids=["another thread imports", "another thread trains"])
def test_no_forked_child_hangs_on_a_lock_of_another_thread(use: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKS + use]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr


@POSIX
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str) -> None:
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(train, [3, 4, 5]).get(timeout=120) == [train(seed) for seed in (3, 4, 5)]


def test_joblib() -> None:
    joblib = pytest.importorskip("joblib")
    for backend in ("loky", "threading"):
        results = joblib.Parallel(2, backend=backend)(joblib.delayed(train)(seed) for seed in (3, 4, 5))
        assert results == [train(seed) for seed in (3, 4, 5)]
    # the workers of loky stay for a while; with them a warning from their resource tracker at the end
    from joblib.externals.loky import get_reusable_executor
    get_reusable_executor().shutdown(wait=True)


SUBINTERPRETER = """
import fastbp
try:
    import _interpreters
    problem = _interpreters.exec(_interpreters.create("legacy"), "import fastbp")
    print(problem.formatted if problem else "imported")
except ImportError:
    import _xxsubinterpreters as old
    try:
        old.run_string(old.create(), "import fastbp")
        print("imported")
    except old.RunFailedError as error:
        print(error)
"""


def test_subinterpreters_are_refused() -> None:
    """By NumPy: it cannot be loaded more than once in a process."""
    run = subprocess.run([sys.executable, "-c", SUBINTERPRETER], capture_output=True, text=True, check=True)
    assert "ImportError" in run.stdout


# ---- signals ---------------------------------------------------------------------------------------------------------

SIGNALLED = """
import os, signal, sys, threading
import numpy as np, fastbp as fb

class Terminated(BaseException):
    pass

def handler(number, frame):
    raise Terminated

signal.signal(signal.SIGTERM, handler)
rng = np.random.default_rng(0)
x, y = rng.standard_normal((4096, 64)).astype("float32"), rng.standard_normal((4096, 8)).astype("float32")
net = fb.Sequential(fb.Linear(64, 64), fb.BatchNorm(), fb.ReLU(), fb.Linear(None, 8), seed=1)
trainer = fb.Trainer(net, fb.MSE(), fb.Adam(1e-3))
trainer.fit(x, y, batch_size=16, progress=False)
print("ready", flush=True)
try:
    trainer.fit(x, y, batch_size=16, epochs=1_000_000, progress=False)
except (KeyboardInterrupt, Terminated) as error:
    print(type(error).__name__, trainer.update.step == net.memory.step > 256, np.isfinite(net.predict(x)).all())
    before = net.params.flat.copy()
    trainer.fit(x, y, batch_size=16, progress=False)
    print((net.params.flat != before).any(), flush=True)
"""


@POSIX
@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "KeyboardInterrupt"), (signal.SIGTERM, "Terminated")])
def test_a_signal_during_fit(number: signal.Signals, name: str) -> None:
    """Its handler runs within a fraction of a second, and what it raises leaves a network to go on with."""
    with subprocess.Popen([sys.executable, "-c", SIGNALLED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(number)
        assert process.stdout.read().split() == [name, "True", "True", "True"]
    assert process.returncode == 0


@POSIX
def test_a_signal_without_a_handler_ends_the_process() -> None:
    code = SIGNALLED.replace("signal.signal(signal.SIGTERM, handler)", "")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        process.stdout.read()
    assert process.returncode == -signal.SIGTERM
