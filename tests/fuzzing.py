"""Fuzzers for what takes input from outside, and for what Python code can do to a run.

    python tests/fuzzing.py NAME [seconds] [seed]

A fuzzer makes one case from a random number generator: it takes something right, makes it wrong in some ways, and looks
at what happens. It may work or be refused with the documented errors; nothing else may happen, and nothing may have
changed that should not. Each case has its own seed, which is printed where a case fails, and kept in a file in case the
process dies; ``python tests/fuzzing.py kernels --case SEED`` runs it again. ``tools/fuzz.sh`` runs all of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzzers.array_fuzzer import ArrayFuzzer
from fuzzers.callback_fuzzer import CallbackFuzzer
from fuzzers.file_fuzzer import FileFuzzer
from fuzzers.kernel_fuzzer import kernel_case
from fuzzers.table_fuzzer import SchemaFuzzer, TableFuzzer
from fuzzers.thread_fuzzer import ThreadFuzzer
from fuzzers.unusual import Rng

FUZZERS: dict[str, Callable[[Path], Callable[[Rng], None]]] = {
    "kernels": lambda folder: kernel_case, "files": FileFuzzer, "arrays": lambda folder: ArrayFuzzer(),
    "callbacks": lambda folder: CallbackFuzzer(), "threads": lambda folder: ThreadFuzzer(), "schemas": SchemaFuzzer,
    "tables": TableFuzzer,
}


def run(name: str, seed: int, fuzz: Callable[[Rng], None]) -> None:
    """Run one case; say which it was where it fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fuzz(np.random.default_rng(seed))
    except BaseException:
        print(f"failed: python tests/fuzzing.py {name} --case {seed}", file=sys.stderr)
        raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fuzzer", choices=FUZZERS)
    parser.add_argument("seconds", type=float, nargs="?", default=60)
    parser.add_argument("seed", type=int, nargs="?", default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--case", type=int, help="run this one again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fuzz = FUZZERS[arguments.fuzzer](Path(folder))
        if arguments.case is not None:
            run(arguments.fuzzer, arguments.case, fuzz)
            return
        last = Path(tempfile.gettempdir(), f"fastbp-fuzzing-{arguments.fuzzer}-{os.getpid()}")
        print(f"{arguments.fuzzer}: seed {arguments.seed}; the last case is kept in {last}", flush=True)
        end, n = time.monotonic() + arguments.seconds, 0
        while time.monotonic() < end:
            case = (arguments.seed << 32) + n
            last.write_text(str(case), encoding="utf-8")
            run(arguments.fuzzer, case, fuzz)
            n += 1
        last.unlink()
    print(f"{arguments.fuzzer}: {n} cases")


if __name__ == "__main__":
    main()
