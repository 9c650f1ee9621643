"""Training from Parquet files and from folders of .npy files, beside training from arrays in memory.

    python benchmarks/files.py --folder /tmp/rows
    python benchmarks/files.py --rows 3000000 --ways parquet

Each way has a process of its own; they take turns, an epoch each, so that all meet the same machine. Printed are the
medians of a step's time, of what is left of it without waiting for a CPU that other processes have (Linux), and of the
CPU time of all threads, one of which reads; the median speed in percent of that in memory within a round, by both;
and the most memory that the process ever held, Python and Arrow included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
from scale import memory

import fastbp as fb

COLUMNS, CLASSES, FILES = 50, 10, 4
WAYS = ("memory", "parquet", "memmap")


def unhindered() -> float:
    """Return the time in seconds, less what this thread has waited for a CPU."""
    waited = Path("/proc/thread-self/schedstat")
    return perf_counter() - (int(waited.read_text(encoding="ascii").split()[1]) * 1e-9 if waited.exists() else 0)


CLOCKS = (perf_counter, unhindered, process_time)


def write(folder: Path, rows: int, group: int) -> None:
    """Write the rows in some Parquet files and in as many folders of arrays, unless they are there."""
    import pyarrow as pa
    import pyarrow.parquet as parquet
    rng = np.random.default_rng(0)
    for i in range(FILES):
        path = folder / f"{i}.parquet"
        if path.exists() and parquet.read_metadata(path).num_rows == rows // FILES:
            continue
        x, y = rng.standard_normal((rows // FILES, COLUMNS), np.float32), rng.integers(0, CLASSES, rows // FILES)
        columns = {f"x{j}": x[:, j] for j in range(COLUMNS)} | {"y": y}
        parquet.write_table(pa.table(columns), path, row_group_size=group)
        (folder / str(i)).mkdir(exist_ok=True)
        np.save(folder / str(i) / "x.npy", x)
        np.save(folder / str(i) / "y.npy", y)


def batches(way: str, folder: Path, batch: int) -> Any:
    """Return what one of the ways gives to fit."""
    if way == "parquet":
        return fb.datasets.ParquetBatches(sorted(folder.glob("*.parquet")), x=[f"x{j}" for j in range(COLUMNS)], y="y",
                                          batch_size=batch)
    return fb.datasets.MemmapBatches([folder / str(i) for i in range(FILES)], batch_size=batch)


def train(way: str, folder: Path, batch: int, hidden: int, orders: Connection) -> None:
    """Train an epoch whenever told to; answer with its seconds by each clock, and the memory held so far."""
    fb.set_num_threads(1)
    layers = [fb.Linear(COLUMNS, hidden), fb.ReLU(), fb.Linear(hidden, hidden), fb.ReLU(), fb.Linear(hidden, CLASSES)]
    trainer = fb.Trainer(fb.Sequential(*layers, seed=0), fb.CrossEntropy(), fb.Adam(1e-4))
    data: tuple[Any, ...]
    if way == "memory":
        x, y = (np.concatenate([np.load(folder / str(i) / f"{name}.npy") for i in range(FILES)]) for name in "xy")
        data, settings = (x, y), {"batch_size": batch}
    else:
        data, settings = (batches(way, folder, batch),), {}
    while orders.recv():
        start = [clock() for clock in CLOCKS]
        trainer.fit(*data, epochs=1, progress=False, **settings)
        orders.send((*(clock() - t for clock, t in zip(CLOCKS, start, strict=True)), memory("VmHWM")))


def measure(folder: Path, ways: list[str], rows: int, batch: int, hidden: int, rounds: int) -> None:
    """Let the ways take turns, and print a row for each."""
    start = multiprocessing.get_context("spawn")
    ends: list[Connection] = []
    for way in ways:
        mine, other = start.Pipe()
        start.Process(target=train, args=(way, folder, batch, hidden, other), daemon=True).start()
        ends.append(mine)
    times = np.zeros((rounds + 1, len(ways), 4))
    for i in range(rounds + 1):                 # the first warms up
        for j in np.roll(range(len(ways)), i):
            ends[j].send(True)
            times[i, j] = ends[j].recv()
    for end in ends:
        end.send(False)
    steps = -(-rows // batch)
    print("| from | step | without waiting for a CPU | CPU time | speed | without waiting | most memory |\n"
          "| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for j, way in enumerate(ways):
        seconds = " | ".join(f"{median(t) / steps * 1e6:.0f} µs" for t in times[1:, j, :3].T)
        ratios = [median(times[1:, 0, k] / times[1:, j, k]) for k in (0, 1)]
        print(f"| {way} | {seconds} | {ratios[0]:.1%} | {ratios[1]:.1%} | {max(times[:, j, 3]) / 2**20:.0f} MiB |")


def main() -> int:
    """Read the arguments, write the files, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of the files, which stay there (default: a temporary one)")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--group", type=int, default=50_000, help="rows of a row group (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=256, help="units of the two hidden layers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS[1:], default=list(WAYS[1:]))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, args.rows, args.group)
        measure(folder, [WAYS[0], *args.ways], args.rows // FILES * FILES, args.batch, args.hidden, args.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
