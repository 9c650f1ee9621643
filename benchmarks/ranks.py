"""Steps of ranks beside steps of one process of one thread, and what the alpha-beta model says of more hosts.

    mpiexec -n 2 python -m mpi4py benchmarks/ranks.py
    python benchmarks/ranks.py --model

Rank 0 trains alone while the others sleep, then all train together; in turn, so that both meet the same machine.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from math import ceil, log2
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np

import fastbp as fb

# widths, rows of a mini-batch, mini-batches of an epoch
NETS = {"784-256-128-10": ((784, 256, 128, 10), 128, 500), "1024x4": ((1024,) * 5, 512, 64)}
LATENCY = 30e-6
HOSTS, GIGABITS, EVERY = (2, 4, 8, 16, 32, 64, 128, 256), (10, 100), 20


def trainer(widths: tuple[int, ...], comm: Any) -> fb.Trainer:
    """Return a trainer of a multilayer perceptron."""
    layers: list[fb.Layer] = []
    for a, b in pairwise(widths[:-1]):
        layers += [fb.Linear(a, b), fb.ReLU()]
    net = fb.Sequential(*layers, fb.Linear(*widths[-2:]), seed=0)
    return fb.Trainer(net, fb.CrossEntropy(), fb.Adam(1e-4), comm=comm)


def step_seconds(one: fb.Trainer, X: np.ndarray, y: np.ndarray, batch: int) -> float:
    """Return the seconds of a step: those of an epoch by its steps."""
    start = perf_counter()
    one.fit(X, y, epochs=1, batch_size=batch, progress=False)
    return (perf_counter() - start) / (len(X) // batch)


def wait_for(comm: Any) -> None:
    """Let the others sleep until rank 0 is here."""
    if comm.rank == 0:
        for other in range(1, comm.size):
            comm.send(None, dest=other)
        return
    while not comm.Iprobe(source=0):
        sleep(0.02)
    comm.recv(source=0)


def measure(repeats: int, names: list[str]) -> None:
    """Print a row for each network."""
    from mpi4py import MPI
    comm = MPI.COMM_WORLD
    fb.set_num_threads(1)
    for name in names:
        widths, batch, steps = NETS[name]
        rng = np.random.default_rng(0)
        X, y = rng.standard_normal((batch * steps, widths[0]), np.float32), rng.integers(0, 10, batch * steps)
        alone, together = trainer(widths, None), trainer(widths, comm)
        times: list[tuple[float, float]] = []
        for _ in range(repeats + 1):
            one = step_seconds(alone, X, y, batch) if comm.rank == 0 else 0.0
            wait_for(comm)
            times.append((one, step_seconds(together, X, y, batch)))
        one, many = (median(t) for t in zip(*times[1:], strict=True))
        if comm.rank == 0:
            print(f"{name}, batch {batch}: 1 process {one * 1e6:.0f} us, {comm.size} ranks {many * 1e6:.0f} us, "
                  f"{one / many:.2f} times as fast", flush=True)


def predicted(hosts: int, seconds: float, size: float, gigabit: float, latency: float = LATENCY) -> float:
    """Return the seconds of a step on so many hosts: of its rows, of a vote, and of a sum over so many bytes."""
    bandwidth = gigabit / 8 * 1e9
    return seconds + 3 * ceil(log2(hosts)) * latency + 2 * (hosts - 1) / hosts * size / bandwidth


def simulated(hosts: int, seconds: float, size: float, gigabit: float) -> float:
    """Return the same from the messages themselves.

    The loss and votes go to ever farther partners; then the vector, halved with ever nearer ones, and doubled again. A
    message begins when both partners are ready, and then takes a latency and the time of its bytes.
    """
    clock = np.full(hosts, seconds)
    bandwidth, ranks = gigabit / 8 * 1e9, np.arange(hosts)
    rounds = range(int(log2(hosts)))
    halves = [size / 2 ** (k + 1) for k in rounds]
    for k, part in (*((k, 0.0) for k in rounds), *zip(rounds, halves, strict=True),
                    *zip(reversed(rounds), reversed(halves), strict=True)):
        clock = np.maximum(clock, clock[ranks ^ 2 ** k]) + LATENCY + part / bandwidth
    return float(clock.max())


def model(seconds: float, size: float, rows: int) -> None:
    """Print tables of weak and strong scaling; check the formula by the simulation."""
    for gigabit in GIGABITS:
        print(f"\n| hosts, {gigabit} Gbit | weak | weak, averaged | strong | strong, averaged |")
        print("| ---: | ---: | ---: | ---: | ---: |")
        for n in HOSTS:
            cells = []
            for compute in (seconds, seconds / min(n, rows)):
                step, other = (f(n, compute, size, gigabit) for f in (predicted, simulated))
                if abs(step / other - 1) > 1e-9:
                    raise AssertionError(f"{n} hosts: the formula gives {step}, the messages {other}")
                averaged = compute + (step - compute) / EVERY
                cells += [f"{seconds / t:.0%}" if compute == seconds else f"{seconds / t:.2f} ×"
                          for t in (step, averaged)]
            print(f"| {n} | " + " | ".join(cells) + " |")


def main() -> int:
    """Read the arguments, measure or compute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="store_true", help="compute, do not measure")
    parser.add_argument("--seconds", type=float, default=596e-6, help="of a step of one host (default: %(default)s)")
    parser.add_argument("--bytes", type=float, default=0.94e6, help="of the gradient (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=128, help="of a mini-batch (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    args = parser.parse_args()
    if args.model:
        model(args.seconds, args.bytes, args.rows)
    else:
        measure(args.repeats, args.nets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
