"""Compare two builds of fastbp: the same training, in turns, for the time of the processor alone.

    python benchmarks/compare_builds.py build_a/bin/python build_b/bin/python [--row mnist] [--rounds 15] [--limit 1.05]

Each argument is the Python of an environment in which one build is installed. Both train the networks of
``python -m fastbp bench`` in one thread on one CPU, turn by turn, so that both meet the same disturbances; the best of
all rounds counts. The exit code is 1 if the first build needs more than ``limit`` times what the second needs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from time import process_time

ROUND_SECONDS = 0.15


def serve() -> None:
    """The child: read "row epochs" lines, answer each with the seconds that an epoch took."""
    sys.path.append(str(Path(__file__).parent))     # for the harness; fastbp is that of the environment
    from harness.peer_fastbp import Fit
    from harness.rows import ROWS

    sessions: dict[str, Fit] = {}
    for line in sys.stdin:
        name, epochs = line.split()
        if name not in sessions:
            sessions[name] = Fit(ROWS[name].problem(), 1)
            sessions[name].run(2)
        start = process_time()
        sessions[name].run(int(epochs))
        print((process_time() - start) / int(epochs), flush=True)


class Build:
    """A process that trains with one build."""

    def __init__(self, python: str, cpu: int) -> None:
        arguments = ["taskset", "-c", str(cpu), python, "-P", str(Path(__file__).resolve()), "--serve"]
        self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def epoch(self, row: str, epochs: int) -> float:
        """Return the seconds that an epoch took, as the mean over so many."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(row, epochs, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"a build's process ended with exit code {self._process.wait()}")
        return float(answer)


def compare(row: str, builds: list[Build], rounds: int) -> list[float]:
    """Return the best seconds an epoch of each build."""
    epochs = max(1, round(ROUND_SECONDS / min(build.epoch(row, 1) for build in builds)))
    times: list[list[float]] = [[] for _ in builds]
    for turn in range(rounds):
        order = list(zip(builds, times, strict=True))
        for build, mine in order if turn % 2 else reversed(order):
            mine.append(build.epoch(row, epochs))
    return [min(mine) for mine in times]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Compare the speed of two builds of fastbp.")
    parser.add_argument("python", nargs=2)
    parser.add_argument("--row", action="append", choices=["b1", "rl", "deep", "tab", "mnist", "wide"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--limit", type=float, default=1.05)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    builds = [Build(python, arguments.cpu) for python in arguments.python]
    slow = []
    print(f"{'row':6} {'a, µs a step':>14} {'b, µs a step':>14} {'a / b':>7}")
    for row in arguments.row or ["b1", "rl", "deep", "tab", "mnist", "wide"]:
        a, b = compare(row, builds, arguments.rounds)
        print(f"{row:6} {a * 1e6 / 16:14.2f} {b * 1e6 / 16:14.2f} {a / b:7.3f}", flush=True)
        if a / b > arguments.limit:
            slow.append(row)
    if slow:
        print(f"more than {arguments.limit:g} times as slow: {', '.join(slow)}")
    return bool(slow)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        sys.exit(main())
