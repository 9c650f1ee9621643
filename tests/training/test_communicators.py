"""Anything with rank, size and a sum in place joins ranks: PyTorch's gloo, and an actor of Ray."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import other_ranks
import pytest

import fastbp as fb

SOURCE = str(Path(fb.__file__).parent.parent)
ways = pytest.mark.parametrize("shared", ["0", "1"], ids=["messages", "shared memory"])


def assert_as_one_process(ranks: list[other_ranks.Made]) -> None:
    assert len(ranks) == other_ranks.SIZE
    for name, values in other_ranks.train(None).items():
        for made in ranks:
            np.testing.assert_allclose(made[name], values, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@ways
def test_ranks_of_gloo_do_what_one_process_does(shared: str, tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": SOURCE, "FASTBP_NUM_THREADS": "1", "FASTBP_SHARED_MEMORY": shared}
    started = [subprocess.Popen([sys.executable, other_ranks.__file__, str(rank), str(tmp_path)], env=env,
                                stderr=subprocess.PIPE, text=True) for rank in range(other_ranks.SIZE)]
    try:
        for process in started:
            errors = process.communicate(timeout=120)[1]
            assert process.returncode == 0, errors
    finally:
        for process in started:
            process.kill()
    assert_as_one_process([json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(other_ranks.SIZE)])


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    path = os.pathsep.join([SOURCE, str(Path(other_ranks.__file__).parent)])
    ray.init(num_cpus=other_ranks.SIZE, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
             object_store_memory=100 * 2**20, runtime_env={"env_vars": {"PYTHONPATH": path}})
    yield ray
    ray.shutdown()


@pytest.mark.filterwarnings("ignore")
@ways
def test_ranks_of_ray_do_what_one_process_does(ray: Any, shared: str) -> None:
    size = other_ranks.SIZE

    def train(meeting: Any, rank: int) -> other_ranks.Made:
        os.environ["FASTBP_SHARED_MEMORY"] = shared
        return other_ranks.train(other_ranks.RayComm(meeting, rank, size))
    meeting = ray.remote(num_cpus=0)(other_ranks.Meeting).remote(size)
    task = ray.remote(num_cpus=1)(train)
    assert_as_one_process(ray.get([task.remote(meeting, rank) for rank in range(size)], timeout=120))
