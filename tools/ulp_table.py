"""Measure how exact the elementary functions are, in units in the last place (ULP), over all float32 numbers.

    python tools/ulp_table.py [--every 1] [--jobs 2] [names]

Each function is run on every bit pattern of float32 (or on every K-th), by every instruction set this CPU has, and
compared with its formula in float64, as tests/properties/test_ulp.py writes it. Prints the table in docs/numerics.md:
the worst error of results that are normal numbers, and in brackets of those that are subnormal or x times something
subnormal; then where the worst is. All patterns take some minutes of two cores a function.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from test_ulp import FUNCTIONS, ISAS, errors

import fastbp as fb

PATTERNS, PIECE = 2**32, 2**20
Worst = tuple[float, float, float]          # of normal results, its argument; of subnormal results


def measure(name: str, every: int, first: int) -> dict[str, Worst]:
    """Return the worst errors on PIECE patterns, beginning with ``first``, for each instruction set."""
    fb.set_num_threads(1)
    patterns = np.arange(first, min(first + PIECE * every, PATTERNS), every, dtype=np.uint64)
    x = patterns.astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[name].formula(x.astype(np.float64))
        # x times a factor that is subnormal is off by x times what the factor is
        factor = np.maximum(np.abs(x.astype(np.float64)), 1) if FUNCTIONS[name].product else 1
        subnormal = np.abs(exact) < np.finfo(np.float32).tiny * factor
        # there one unit decides between the largest number and infinity
        at_the_end = np.abs(exact) > (1 - 2.0**-21) * np.finfo(np.float32).max
        found = {}
        for isa in ISAS:
            off = errors(FUNCTIONS[name].kernel(x, isa), exact)
            normal = np.where(subnormal | at_the_end, 0, off)
            at = int(normal.argmax())
            found[isa] = float(normal[at]), float(x[at]), float(off[subnormal].max(initial=0))
    return found


def worst_of(name: str, every: int, pool: Any) -> dict[str, Worst]:
    worst = dict.fromkeys(ISAS, (0.0, 0.0, 0.0))
    for found in pool.map(partial(measure, name, every), range(0, PATTERNS, PIECE * every), chunksize=4):
        for isa, (normal, at, subnormal) in found.items():
            best = worst[isa]
            worst[isa] = (*((normal, at) if normal > best[0] else best[:2]), max(subnormal, best[2]))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(FUNCTIONS), help=f"of {', '.join(FUNCTIONS)}")
    parser.add_argument("--every", type=int, default=1, help="take every so-manieth bit pattern")
    parser.add_argument("--jobs", type=int, default=fb.cpu_info().available)
    arguments = parser.parse_args()
    print(f"| function | {' | '.join(ISAS)} | worst at |\n| --- |{' ---: |' * len(ISAS)} --- |")
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for name in arguments.names:
            worst = worst_of(name, arguments.every, pool)
            cells = " | ".join(f"{n:.2f} ({s:.1f})" for n, _, s in worst.values())
            at = max(worst.values())[1]
            print(f"| {name} | {cells} | {at:.9g} |", flush=True)
    print(f"\n{-(-PATTERNS // arguments.every):,} arguments each")


if __name__ == "__main__":
    main()
