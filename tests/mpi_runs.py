"""Runs of mpi_script.py by a real mpiexec, for tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastbp as fb

SCRIPT = Path(__file__).parent / "mpi_script.py"
BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")

# Open MPI's own words for: in a container, and with more ranks than CPUs.
ALLOWED = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PRTE_ALLOW_RUN_AS_ROOT": "1",
           "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
           "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
# mpi4py's runner puts the script's folder in the place of the first on the path
PATH = {"PYTHONSAFEPATH": "", "PYTHONPATH": str(Path(fb.__file__).parent.parent)}


def mpiexec(ranks: int, what: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ranks on this machine."""
    assert MPIEXEC is not None
    env = os.environ | ALLOWED | {"FASTBP_NUM_THREADS": "1"}
    path = [f"{name}={value}" for name, value in PATH.items()]
    return subprocess.run([MPIEXEC, "-n", str(ranks), "env", *path, sys.executable, "-m", "mpi4py", str(SCRIPT), what,
                           str(folder)], capture_output=True, text=True, timeout=120, env=env, check=False)


def made(folder: Path, ranks: int) -> list[Any]:
    """Return what each rank has written down."""
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]
