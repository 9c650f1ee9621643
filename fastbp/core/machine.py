"""What the machine grants this process: CPUs and memory, by its affinity, its cgroup and what is built in."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from math import ceil, inf
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """Return how many CPUs this process may use: its affinity, and its cgroup's quota where there is one.

    >>> available_cpus() >= 1
    True
    """
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:      # macOS has no affinity
        cpus = os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, min(cpus, ceil(quota)) if quota else cpus)


def cpu_quota(cgroup: Path = _CGROUP) -> float | None:
    """Return the CPUs that the cgroup grants, or None: version 2 first, then version 1."""
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        microseconds = _number(cgroup / "cpu/cpu.cfs_quota_us")
        return microseconds / _number(cgroup / "cpu/cpu.cfs_period_us") if microseconds > 0 else None
    return None


@lru_cache
def memory_limit(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> float:
    """Return the bytes that a process can have: memory and swap, or what its cgroup grants; infinity if unknown."""
    limits = [inf]
    with suppress(OSError, ValueError, KeyError, IndexError):
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines() if ":" in line)
        limits.append(1024.0 * sum(int(lines[name].split()[0]) for name in ("MemTotal", "SwapTotal")))
    for file in (cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):      # it is not there, or says "max"
            limits.append(float(_number(file)))
    return min(limits)


def _number(file: Path) -> int:
    return int(file.read_text(encoding="utf-8"))
