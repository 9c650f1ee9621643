"""What fastbp runs on: the CPU, its instruction sets, and how many threads of it are used."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from fastbp.core.machine import available_cpus
from fastbp.engine.threads import number_of_threads


@dataclass(frozen=True)
class CpuInfo:
    """The CPU, and what of it is used.

    Attributes
    ----------
    model : str
        The maker's name of the CPU.
    isas : tuple of str
        The instruction sets that this build has kernels for and this CPU can run, plainest first.
    isa : str
        The one in use: the last of those, unless the environment variable ``FASTBP_ISA`` said otherwise.
    cores : int
        Logical CPUs of the machine.
    available : int
        CPUs that this process may use, by its affinity and its cgroup's quota.
    threads : int
        The most threads that training and prediction use: ``fb.get_num_threads()``.
    bfloat16 : bool
        Whether the CPU and the instruction set in use can do ``compute_dtype="bfloat16"``.
    """

    model: str
    isas: tuple[str, ...]
    isa: str
    cores: int
    available: int
    threads: int
    bfloat16: bool


def cpu_info() -> CpuInfo:
    """Return what fastbp runs on.

    Examples
    --------
    >>> import fastbp as fb
    >>> info = fb.cpu_info()
    >>> info.isas[0], info.isa in info.isas
    ('generic', True)
    """
    from fastbp.engine import native
    isas = tuple(name for name, supported in native.known_isas().items() if supported)
    return CpuInfo(_model(), isas, native.isa(), os.cpu_count() or 1, available_cpus(), get_num_threads(),
                   native.has_bfloat16())


def _model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine() or "unknown"


def set_num_threads(n: int | str) -> None:
    """Set how many threads training and prediction may use.

    Parameters
    ----------
    n : int or "auto"
        ``"auto"``, the default at the start: the CPUs this process may use. The environment variable
        ``FASTBP_NUM_THREADS`` sets it from outside or, where that is not set, ``OMP_NUM_THREADS``; so does
        ``threadpoolctl.threadpool_limits``, for as long as it lasts.

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
    native.set_threads(number_of_threads("set_num_threads: n", n))


def get_num_threads() -> int:
    """Return how many threads training and prediction may use."""
    from fastbp.engine import native
    return int(native.get_threads())
