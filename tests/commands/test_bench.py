"""The benchmark: that it counts and checks as it says. How long anything takes is no test."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from harness import report, runner
from harness.layer_rows import LAYER_ROWS
from harness.peer_fastbp import Exact, Fit, Step
from harness.peers import PEERS
from harness.rows import MINI_BATCHES, ROWS, Row

SMALL = Row("small", (5, 4, 3), 2, "relu", "cross_entropy")
# each module, and how PEERS calls what it has
LIBRARIES = {"torch": ("eager", "libtorch"), "jax": ("jax",), "sklearn": ("sklearn",), "tensorflow": ("tensorflow",),
             "mlx.core": ("mlx",), "thinc": ("thinc",)}

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_the_work_of_a_row(row):
    multiply_adds = 0
    for layer, (i, o) in enumerate(pairwise(row.widths)):
        multiply_adds += row.batch * i * o * (3 if layer else 2)
    assert row.flop == 2 * multiply_adds


def test_a_problem_is_the_same_every_time():
    one, other = SMALL.problem(), SMALL.problem()
    np.testing.assert_array_equal(one.x, other.x)
    np.testing.assert_array_equal(one.y, other.y)
    assert all(np.array_equal(a, b) for p, q in zip(one.parameters, other.parameters, strict=True)
               for a, b in zip(p, q, strict=True))
    assert one.batches[0].shape == (MINI_BATCHES, 2, 5)


@pytest.mark.parametrize("session", [Fit, Step])
def test_our_sessions_do_the_work_of_the_reference_and_start_again(session):
    mine, exact = session(SMALL.problem(), 1), Exact(SMALL.problem(), 1)
    first = mine.losses()
    np.testing.assert_allclose(first, exact.losses(), rtol=1e-5)
    mine.run(2)
    exact.run(2)
    np.testing.assert_allclose(mine.losses(), exact.losses(), rtol=1e-4)
    mine.reset()
    np.testing.assert_array_equal(mine.losses(), first)


@pytest.fixture
def subnormal_numbers_afterwards():
    """PyTorch is told to take them for 0, which holds for the whole thread."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("row", [SMALL, Row("tanh", (5, 4, 4, 2), 3, "tanh", "mse")], ids=str)
@pytest.mark.parametrize("module", LIBRARIES)
def test_other_libraries_do_the_same_work(module, row, subnormal_numbers_afterwards):
    pytest.importorskip(module, reason=f"{module} is not installed")
    for peer in runner.installed(LIBRARIES[module]):
        for form in PEERS[peer].forms:
            theirs, exact = PEERS[peer].session(form, row.problem(), 1), Exact(row.problem(), 1)
            for session in (theirs, exact):
                session.run(1)
                session.reset()
            np.testing.assert_allclose(theirs.losses(), exact.losses(), rtol=row.tolerance * PEERS[peer].slack)


def test_fann_does_the_work_of_plain_sgd():
    if runner.missing("fann"):
        pytest.skip("libfann is not installed")
    # small numbers: FANN cuts the slope of tanh off beyond 0.98
    row = Row("sample by sample", (3, 5, 4, 2), 1, "tanh", "mse", optimizer="sgd")
    problem = row.problem()
    problem.x[:] *= 0.5
    theirs, exact = PEERS["fann"].session("fann_train_on_data", problem, 1), Exact(problem, 1)
    first = exact.losses()
    np.testing.assert_allclose(theirs.losses(), first, rtol=1e-4)
    for session in (theirs, exact):
        session.run(20)
    np.testing.assert_allclose(theirs.losses(), exact.losses(), rtol=1e-3)
    theirs.reset()
    np.testing.assert_allclose(theirs.losses(), first, rtol=1e-4)


def test_what_a_peer_can_train():
    adam, sgd, function = ROWS["b1"], ROWS["sgd"], LAYER_ROWS["lenet"]
    trains = {peer: [PEERS[peer].trains(row) for row in (adam, sgd, function)] for peer in PEERS}
    assert trains["fastbp"] == [True, True, True]
    assert trains["jax"] == [True, False, True]
    assert trains["fann"] == [False, True, False]
    assert all(trains[peer] == [True, False, False] for peer in ("sklearn", "tensorflow", "libtorch", "mlx", "thinc"))


def test_a_peer_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(runner, "which", lambda program: None)
    monkeypatch.setattr(runner, "version_of", lambda library: "1.0")
    assert runner.missing("libtorch") == "c++"
    assert runner.installed(["jax", "libtorch"]) == ["jax"]
    monkeypatch.setattr(runner, "version_of", lambda library: "not installed")
    assert runner.missing("fann") == "libfann"


@pytest.mark.parametrize("session", [Fit, Step])
@pytest.mark.parametrize("row", [r for r in LAYER_ROWS.values() if r.name != "vgg"], ids=lambda r: r.name)
def test_our_sessions_of_layers_do_the_work_of_the_reference(row, session):
    mine, exact = session(row.problem(), 1).losses(), Exact(row.problem(), 1).losses()
    assert exact.shape == (MINI_BATCHES,)
    np.testing.assert_allclose(mine, exact, rtol=row.tolerance)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("row", [r for r in LAYER_ROWS.values() if r.name != "vgg"], ids=lambda r: r.name)
@pytest.mark.parametrize("module", ["torch", "jax"])
def test_layers_of_other_libraries_do_the_same_work(module, row, subnormal_numbers_afterwards):
    pytest.importorskip(module, reason=f"{module} is not installed")
    peer = PEERS[LIBRARIES[module][0]]
    theirs = peer.session(next(iter(peer.forms)), row.problem(), 1).losses()
    np.testing.assert_allclose(theirs, Exact(row.problem(), 1).losses(), rtol=row.tolerance)


class FaultyWorker:
    """Answers as a peer whose losses are off by a thousandth."""

    def call(self, method, *arguments):
        return Exact(SMALL.problem(), 1).losses() * 1.001 if method == "open" else 1.0


def test_other_work_is_not_timed():
    exact = Exact(SMALL.problem(), 1).losses()
    timing, _ = runner._prepare(SMALL, "fastbp", FaultyWorker(), exact, runner._Clock("wall", 0.01))
    assert timing.error == "Trainer.fit: its losses are off by 1.0e-03; at most 1e-04 is allowed"
    assert not timing.samples
    assert runner.Result(1, timings={"b1": {"fastbp": timing}}).failed


def test_figures_of_a_result():
    fast, slow = runner.Timing(samples=[1.0, 2.0, 4.0]), runner.Timing(samples=[3.0, 5.0, 16.0])
    result = runner.Result(2, timings={"b1": {"fastbp": fast, "jax": slow}}, peaks=[9.0, 10.0, 11.0])
    assert fast.microseconds == 2.0
    assert result.peak == 20.0
    assert result.speed_up("b1", "jax") == 3.0
    assert result.speed_up("b1", "torch") is None
    assert result.gflops("b1", "fastbp") == pytest.approx(ROWS["b1"].flop / 2e-6 / 1e9)


def test_the_command(tmp_path):
    path = tmp_path / "result.json"
    options = ["--rows", "b1", "--peers", "fastbp", "step", "reference", "--rounds", "2", "--seconds", "0.001"]
    done = subprocess.run([sys.executable, "-P", "-m", "fastbp", "bench", *options, "--json", str(path)], cwd=ROOT,
                          text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    told = done.stderr.splitlines()
    assert [line for line in told if line.startswith("b1: round")] == ["b1: round 1 of 2", "b1: round 2 of 2"]
    assert f"b1: checking {PEERS['step'].label}" in told
    result = json.loads(path.read_text())
    assert result["machine"]["command"].startswith("python -m fastbp bench --rows b1")
    assert result["machine"]["threads"] == len(result["machine"]["pinned_to"]) == 1
    peers = result["rows"]["b1"]["peers"]
    assert list(peers) == ["fastbp", "step", "reference"]
    for peer, entry in peers.items():
        assert len(entry["samples"]) == 2
        assert entry["loss_deviation"] < 1e-4
        assert report.short(entry["microseconds"]) in next(
            line for line in done.stdout.splitlines() if f"  {PEERS[peer].label}  " in line)


def test_the_command_outside_a_checkout_says_where_the_benchmark_is(tmp_path):
    done = subprocess.run([sys.executable, "-m", "fastbp", "bench"], cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 2
    assert "run this in a checkout of fastbp, the folder that holds benchmarks/harness" in done.stderr


def test_a_library_that_trains_none_of_the_rows_is_left_out_by_name():
    pytest.importorskip("sklearn", reason="sklearn is not installed")
    options = ["--rows", "lstm", "--peers", "sklearn"]
    done = subprocess.run([sys.executable, "-P", "-m", "fastbp", "bench", *options], cwd=ROOT, text=True,
                          capture_output=True)
    assert done.returncode == 1
    assert done.stderr == ("scikit-learn is left out: it trains no network of lstm\n"
                           "python -m fastbp bench: none of the libraries trains these networks\n")


def test_more_threads_than_cpus_are_refused():
    done = subprocess.run([sys.executable, "-P", "-m", "fastbp", "bench", "--threads", "9999"], cwd=ROOT, text=True,
                          capture_output=True)
    assert done.returncode == 1
    assert "9999 threads are asked for; this process may use" in done.stderr


def test_the_chart(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from harness import chart
    timings = {peer: runner.Timing(samples=[float(i + 1)]) for i, peer in enumerate(PEERS)}
    chart.draw(runner.Result(1, timings={"b1": timings, "wide": timings}, peaks=[100.0]),
               {"cpu": "Some CPU", "threads": 1}, tmp_path / "speed.svg")
    svg = (tmp_path / "speed.svg").read_text()
    assert all(text in svg for text in ("JAX", "scikit-learn", "Some CPU", "1024-(1024)×3-10"))
