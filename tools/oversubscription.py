"""Measure what it costs when more threads want to run than there are cores.

    python tools/oversubscription.py [--processes 4] [--threads 2] [--limit 1.15]

Several processes, of several threads each, train the same network: first one after the other, then all at once. In the
best case both take the same time. The two are measured in turn, some rounds, and the medians compared. Ends with 1 if
all at once takes more than ``--limit`` times as long. On a machine that others use, look at the CPU time: theirs is not
in it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from statistics import median

WORK = """
import os, sys, time
import numpy as np, fastbp as fb
fb.set_num_threads(int(sys.argv[1]))
rng = np.random.default_rng(0)
x, y = rng.standard_normal((8192, 128)).astype("float32"), rng.integers(0, 10, 8192)
net = fb.Sequential(fb.Linear(128, 256), fb.ReLU(), fb.Linear(None, 256), fb.ReLU(), fb.Linear(None, 10), seed=0)
trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(1e-3))
trainer.fit(x, y, batch_size=int(sys.argv[2]), progress=False)
print("ready", flush=True)
sys.stdin.readline()
trainer.fit(x, y, batch_size=int(sys.argv[2]), epochs=int(sys.argv[3]), progress=False)
"""


def start(arguments: argparse.Namespace) -> subprocess.Popen[str]:
    """Return a process that has done all but the work."""
    command = [sys.executable, "-c", WORK, str(arguments.threads), str(arguments.batch), str(arguments.epochs)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def measure(arguments: argparse.Namespace, at_once: bool) -> tuple[float, float]:
    """Return the seconds by the clock, and of CPU time, that the work of all processes takes."""
    processes = [start(arguments) for _ in range(arguments.processes)]
    warm = sum(cpu_seconds(p.pid) for p in processes)
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        if not at_once:
            process.wait()
    for process in processes:
        process.wait()
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - warm


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has taken so far."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=1.15)
    arguments = parser.parse_args()
    rounds = [(measure(arguments, False), measure(arguments, True)) for _ in range(arguments.rounds)]
    for what, i in (("clock", 0), ("CPU", 1)):
        one, all_ = median(r[0][i] for r in rounds), median(r[1][i] for r in rounds)
        print(f"{what:>6}: one after the other {one:6.2f} s, all at once {all_:6.2f} s: {all_ / one:.3f} times")
    ratio = median(r[1][0] for r in rounds) / median(r[0][0] for r in rounds)
    return ratio > arguments.limit


if __name__ == "__main__":
    raise SystemExit(main())
