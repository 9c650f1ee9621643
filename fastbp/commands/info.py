"""``python -m fastbp info``: versions, CPU, instruction set, threads."""

from __future__ import annotations

import platform
from argparse import ArgumentParser, Namespace
from importlib.metadata import PackageNotFoundError, version

from fastbp.engine.cpu import cpu_info


def add_arguments(parser: ArgumentParser) -> None:
    """There are none."""


def run(args: Namespace) -> None:
    """Print the facts that a report of a problem or of a measurement needs."""
    cpu = cpu_info()
    facts = {
        "fastbp": _version("fastbp"),
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "numpy": _version("numpy"),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cpu": cpu.model,
        "isa": f"{cpu.isa} (of {', '.join(cpu.isas)})",
        "cpus": f"{cpu.available} of {cpu.cores} usable",
        "threads": str(cpu.threads),
        "bfloat16": "yes" if cpu.bfloat16 else "no",
    }
    for name, value in facts.items():
        print(f"{name:<9}{value}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
