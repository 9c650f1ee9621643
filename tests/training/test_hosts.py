"""Ranks on several hosts: network namespaces with addresses of their own, joined by slow links that lose packets."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import hosts
import mpi_runs
import numpy as np
import pytest

import fastbp as fb

MISSING = hosts.missing()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no hosts can be made here: {MISSING}")

# Within these the others end; a busy machine may take longer.
SECONDS = 30.0


def test_hosts_do_what_one_process_does(tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    assert mpi_runs.mpiexec(1, "fit", alone).returncode == 0
    with hosts.Hosts(3, rate=1e9, delay=2e-4, loss=0.01) as some:
        done = some.start(str(mpi_runs.SCRIPT), "fit", str(tmp_path), env=mpi_runs.PATH, stderr=subprocess.PIPE)
        said = done.communicate(timeout=120)[1]
    assert done.returncode == 0, said
    (one,) = mpi_runs.made(alone, 1)
    for rank in mpi_runs.made(tmp_path, 3):
        for name, values in one.items():
            np.testing.assert_allclose(rank[name], values, rtol=1e-12, atol=1e-12, err_msg=name)


def test_a_host_that_is_cut_off_ends_all_with_a_message_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    saved = tmp_path / "run.safetensors"
    with hosts.Hosts(3, rate=1e9, delay=2e-4) as some:
        run = some.start(str(mpi_runs.SCRIPT), "cut", str(tmp_path), env=mpi_runs.PATH, stderr=subprocess.PIPE)
        end = time.monotonic() + 120
        while not saved.exists() and run.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert saved.exists(), run.communicate(timeout=10)[1]
        some.cut(2)
        said = run.communicate(timeout=SECONDS)[1]
        end = time.monotonic() + SECONDS
        while (left := some.processes(0) + some.processes(1)) and time.monotonic() < end:
            time.sleep(0.1)
        assert not left
    assert "lost communication with a remote daemon" in said
    trainer = fb.Trainer.resume(saved)
    assert trainer.epoch > 0
    trainer.fit(np.zeros((8, 4)), [0, 1] * 4, epochs=1, batch_size=4, progress=False)
