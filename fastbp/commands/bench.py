"""``python -m fastbp bench``: time a training step of some networks against other libraries.

The benchmark itself is in ``benchmarks/harness`` of the source tree; the wheel leaves it out.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import fastbp


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    harness = _harness()
    if harness is None:
        parser.error("the benchmark is part of the source tree, not of the wheel; run this in a checkout of fastbp, "
                     "the folder that holds benchmarks/harness")
    harness.add_arguments(parser)


def run(args: Namespace) -> None:
    """Check, time, print, write."""
    harness = _harness()
    assert harness is not None
    harness.run(args)


def _harness() -> ModuleType | None:
    """Import the benchmark's command from the checkout that this is run in, or that fastbp was imported from."""
    for root in (Path.cwd(), Path(fastbp.__file__).parents[1]):
        folder = root / "benchmarks"
        if (folder / "harness" / "command.py").is_file():
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
            return import_module("harness.command")
    return None
