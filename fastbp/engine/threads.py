"""How many threads the native backend may use: ``set_num_threads``, ``get_num_threads``, and what ``"auto"`` means.

The number is a limit. Work too small to be shared runs in one thread whatever the limit is, and results are the same
bits for every number.
"""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

from fastbp.core.checks import integer

_MOST = 255


def available_cpus() -> int:
    """Return how many CPUs this process may use: its affinity, and its cgroup's quota where there is one.

    >>> available_cpus() >= 1
    True
    """
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:      # macOS has no affinity
        cpus = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cpus, ceil(quota)) if quota else cpus)


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the CPUs that the cgroup grants, or None: version 2 first, then version 1."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((root / "cpu/cpu.cfs_quota_us").read_text())
        return quota_us / int((root / "cpu/cpu.cfs_period_us").read_text()) if quota_us > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _checked(owner: str, n: object) -> int:
    if isinstance(n, str) and n == "auto":
        return min(available_cpus(), _MOST)
    try:
        number = int(n) if isinstance(n, str) else integer(n)
    except ValueError:
        number = None
    if number is None or not 1 <= number <= _MOST:
        raise ValueError(f'{owner} is {n!r}; expected an integer from 1 to {_MOST}, or "auto"')
    return number


def initial_threads() -> int:
    """Return what the environment variable ``FASTBP_NUM_THREADS`` says, or what "auto" means."""
    return _checked("the environment variable FASTBP_NUM_THREADS", os.environ.get("FASTBP_NUM_THREADS") or "auto")


def set_num_threads(n: int | str) -> None:
    """Set how many threads training and prediction may use.

    Parameters
    ----------
    n : int or "auto"
        ``"auto"``, the default at the start: the CPUs this process may use. The environment variable
        ``FASTBP_NUM_THREADS`` sets it from outside.

    Raises
    ------
    ValueError
        For anything else; the number stays as it was.

    Examples
    --------
    >>> import fastbp as fb
    >>> before = fb.get_num_threads()
    >>> fb.set_num_threads(1)
    >>> fb.get_num_threads()
    1
    >>> fb.set_num_threads(before)
    """
    from fastbp.engine import native
    native.set_threads(_checked("set_num_threads: n", n))


def get_num_threads() -> int:
    """Return how many threads training and prediction may use."""
    from fastbp.engine import native
    return int(native.get_threads())
