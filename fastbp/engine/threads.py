"""How many threads the native backend may use: numbers that are checked, and the one to begin with.

The number is a limit. Work too small to be shared runs in one thread whatever the limit is, and results are the same
bits for every number. ``cpu.py`` has what users set it with.
"""

from __future__ import annotations

import os

from fastbp.core.checks import integer
from fastbp.core.machine import available_cpus

_MOST = 255


def number_of_threads(owner: str, n: object) -> int:
    """Return a number of threads, which may be "auto", or raise ValueError."""
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
    """Return what the environment says: ``FASTBP_NUM_THREADS``, then ``OMP_NUM_THREADS``; or what "auto" means.

    joblib, Dask and Ray set the second in their workers, so that many of them share a machine. As OpenMP does,
    ignore it where it is no number; of a list, one for each level of nesting, the first counts.
    """
    own = os.environ.get("FASTBP_NUM_THREADS")
    common = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if not own and common.isdecimal() and int(common):
        return min(int(common), _MOST)
    return number_of_threads("the environment variable FASTBP_NUM_THREADS", own or "auto")
