"""What the benchmark runs on: how it is fenced in, and how it is named in the result."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from ctypes.util import find_library
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Every library in the benchmark, and every BLAS behind one, reads one of these when it is loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS",
                     "NUMEXPR_NUM_THREADS", "FASTBP_NUM_THREADS")


def fence(threads: int) -> list[int]:
    """Confine this process, and those that it starts, to as many CPUs and threads as given; return the CPUs.

    Libraries loaded before keep their threads: call it first, and load libraries in processes started after.

    Raises
    ------
    ValueError
        If there are not that many CPUs.
    """
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    xla = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "multi_thread_eigen" not in flag]
    if threads == 1:
        xla.append("--xla_cpu_multi_thread_eigen=false")
    os.environ["XLA_FLAGS"] = " ".join(xla)
    if not hasattr(os, "sched_setaffinity"):
        return list(range(threads))
    usable = sorted(os.sched_getaffinity(0))
    if threads > len(usable):
        raise ValueError(f"{threads} threads are asked for; this process may use {len(usable)} CPUs")
    # from the end: the first CPUs have more of the system's own work
    cpus = usable[-threads:]
    os.sched_setaffinity(0, cpus)
    return cpus


def describe(libraries: Sequence[str], threads: int, cpus: Sequence[int]) -> dict[str, Any]:
    """Return the facts that a measurement needs beside it."""
    from fastbp.engine.cpu import cpu_info
    cpu = cpu_info()
    versions = {"python": platform.python_version(), **{name: version_of(name) for name in libraries}}
    if versions.get("fastbp") == "not installed":
        versions["fastbp"] = "from its folder"
    return {
        "cpu": cpu.model,
        "isa": cpu.isa,
        "threads": threads,
        "pinned_to": list(cpus),
        "cores": cpu.cores,
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": versions,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command(),
    }


def _command() -> str:
    """Return the command without the folders of this machine."""
    program = Path(sys.argv[0])
    name = "-m fastbp" if program.name == "__main__.py" else f"{program.absolute().parent.name}/{program.name}"
    return f"python {name} {shlex.join(sys.argv[1:])}".rstrip()


def version_of(package: str) -> str:
    """Return the version of an installed package, of a name like "libfann" the file of the library, or "not installed".
    """
    try:
        return version(package)
    except PackageNotFoundError:
        found = find_library(package.removeprefix("lib")) if package.startswith("lib") else None
        return found or "not installed"
