"""Time of a step and memory, as width, depth, mini-batch and data set grow; and training from a file mapped to memory.

Each point is a process of its own. Memory is the most that the process held while it trained, less what it held before
the network was made; for data in files, what it held at the end, without the pages of the file. Beside each time stands
what the arithmetic takes at the multiply-add peak, and beside each memory what must be held: for every parameter the
value, the gradient, two moments of Adam, and the copies of the value and of the moments that a run can go back to; for
every row of the mini-batch each tensor and its gradient.

    python benchmarks/scale.py --json scale.json --markdown scale.md --chart docs/scale.svg
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

import fastbp as fb
from fastbp.commands.arguments import positive_float, positive_int
from fastbp.engine import native
from harness import machine
from harness.peer_fastbp import Fit, network
from harness.report import short
from harness.rows import MINI_BATCHES, Row

REPEATS = 5
GIB = 2**30


def net(widths: list[int], batch: int) -> Row:
    """Return a classifier's row."""
    return Row("x".join(map(str, widths)), tuple(widths), batch, "relu", "cross_entropy")


SERIES: dict[str, dict[int, Row]] = {
    "width": {w: net([w, w, w, 10], 128) for w in (16, 32, 64, 128, 256, 512, 1024, 2048)},
    "depth": {d: net([128] * (d + 1) + [10], 64) for d in (1, 2, 4, 8, 16, 32, 64)},
    "batch": {b: net([128, 128, 128, 10], b) for b in (1, 4, 16, 64, 256, 1024, 4096)},
}
ROW_COUNTS = (2**12, 2**14, 2**16, 2**18, 2**20)
# of the series over data sets, and of the mapped file
TABULAR = Row("tab", (32, 128, 128, 1), 256, "relu", "mse")


def memory(what: str) -> int:
    """Return bytes of this process: RssAnon is what it holds, without pages of files, VmHWM the most it ever held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(what))) * 1024


def forget_peak() -> int:
    """Let VmHWM begin anew, and return where it begins."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return memory("VmHWM")


def step_time(run: Callable[[int], None], steps: int, seconds: float) -> float:
    """Return the seconds of one step: the median of some timings, each of which takes about so many seconds."""
    def timed(epochs: int) -> float:
        start = perf_counter()
        run(epochs)
        return perf_counter() - start
    timed(1)
    epochs = max(1, round(seconds / max(timed(1), 1e-6)))
    return median(timed(epochs) for _ in range(REPEATS)) / epochs / steps


def needed_bytes(row: Row) -> int:
    """Return what must be held to train a network in float32 with Adam."""
    return 4 * (7 * row.parameters + 2 * row.batch * sum(row.widths))


# ---- what a point's process does -------------------------------------------------------------------------------------

def measure_network(row: Row, seconds: float) -> dict[str, float]:
    """Time a step of a network on sixteen mini-batches; see whether epochs leave anything behind."""
    problem = row.problem()
    before = forget_peak()
    session = Fit(problem, fb.get_num_threads())
    session.run(2)
    peak = memory("VmHWM")
    seconds_a_step = step_time(session.run, MINI_BATCHES, seconds)
    return {"seconds": seconds_a_step, "bytes": peak - before, "bytes_after_all_epochs": memory("VmHWM") - before,
            "needed_bytes": needed_bytes(row), "flop": row.flop, "peak_gflops": native.fma_peak(0.05)}


def measure_rows(rows: int, seconds: float) -> dict[str, float]:
    """Time a step as the data set grows; memory includes the data."""
    before = forget_peak()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, 32), dtype=np.float32), rng.standard_normal((rows, 1), dtype=np.float32)
    result = _fit(x, y, True, seconds)
    return result | {"bytes": memory("VmHWM") - before, "needed_bytes": needed_bytes(TABULAR) + x.nbytes + y.nbytes,
                     "flop": TABULAR.flop, "peak_gflops": native.fma_peak(0.05)}


def measure_file(path: str, rows: int, mapped: bool, shuffle: bool, seconds: float) -> dict[str, float]:
    """Time a step on data in a file, mapped or read."""
    before = memory("RssAnon")
    x: Any = np.memmap(path, np.float32, "r", shape=(rows, 32)) if mapped \
        else np.fromfile(path, np.float32, count=rows * 32).reshape(rows, 32)
    y = np.zeros((rows, 1), dtype=np.float32)
    result = _fit(x, y, shuffle, seconds)
    return result | {"bytes": memory("RssAnon") - before, "file_bytes": x.nbytes}


def _fit(x: Any, y: Any, shuffle: bool, seconds: float) -> dict[str, float]:
    trainer = fb.Trainer(network(TABULAR), fb.MSE(), fb.Adam(lr=1e-4))

    def run(epochs: int) -> None:
        trainer.fit(x, y, epochs=epochs, batch_size=TABULAR.batch, shuffle=shuffle, progress=False)
    return {"seconds": step_time(run, -(-len(x) // TABULAR.batch), seconds)}


POINTS: dict[str, Callable[..., dict[str, float]]] = {
    "network": lambda row, **options: measure_network(Row(**row | {"widths": tuple(row["widths"])}), **options),
    "rows": measure_rows,
    "file": measure_file,
}


# ---- what the parent does --------------------------------------------------------------------------------------------

def point(kind: str, **arguments: Any) -> dict[str, Any]:
    """Measure one point in a process of its own."""
    print(f"{kind} {arguments}", file=sys.stderr)
    command = [sys.executable, __file__, "--point", json.dumps([kind, arguments])]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


def measure_all(series: list[str], seconds: float, gib: float) -> dict[str, dict[str, dict[str, Any]]]:
    """Return series, by name, of points, by what grows."""
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for name in series:
        if name in SERIES:
            result[name] = {str(size): point("network", row=asdict(row), seconds=seconds)
                            for size, row in SERIES[name].items()}
        elif name == "rows":
            result[name] = {str(rows): point("rows", rows=rows, seconds=seconds) for rows in ROW_COUNTS}
        else:
            result[name] = measure_files(seconds, gib)
    return result


def measure_files(seconds: float, gib: float) -> dict[str, dict[str, Any]]:
    """Train from a mapped file, and from as much of it as fits in a quarter of the memory that is free."""
    rows = int(gib * GIB) // (32 * 4)
    free = next(int(line.split()[1]) * 1024 for line in Path("/proc/meminfo").read_text().splitlines()
                if line.startswith("MemAvailable"))
    readable = min(rows, free // 4 // (32 * 4))
    with tempfile.NamedTemporaryFile(dir=".", prefix="scale-", suffix=".data") as file:
        rng = np.random.default_rng(0)
        for start in range(0, rows, 2**18):
            rng.standard_normal((min(2**18, rows - start), 32), dtype=np.float32).tofile(file)
        file.flush()
        return {f"{'mapped' if mapped else 'in memory'}, {'shuffled' if shuffle else 'in order'}":
                point("file", path=file.name, rows=rows if mapped else readable, mapped=mapped, shuffle=shuffle,
                      seconds=seconds)
                for shuffle in (False, True) for mapped in (False, True)}


def tables(result: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return all series as tables in Markdown."""
    parts = []
    for name, points in result.items():
        head = ["data", "GiB", "µs a step", "held MiB"] if name == "file" else \
            [name, "µs a step", "arithmetic µs", "GFLOP/s", "of peak", "held MiB", "needed MiB"]
        lines = [[label, *(_file_cells(p) if name == "file" else _cells(p))] for label, p in points.items()]
        rule = ["---:"] * len(head)
        parts.append("\n".join([f"### {name}", "", *("| " + " | ".join(line) + " |" for line in (head, rule, *lines))]))
    return "\n\n".join(parts)


def _cells(p: dict[str, Any]) -> list[str]:
    gflops = p["flop"] / p["seconds"] / 1e9
    held = f"{p['bytes'] / 2**20:.1f}"
    grown = p.get("bytes_after_all_epochs", p["bytes"]) - p["bytes"]
    if grown > 2**17:
        held += f" (+{grown / 2**20:.1f} over the epochs)"
    return [short(p["seconds"] * 1e6), short(p["flop"] / p["peak_gflops"] / 1e3), short(gflops),
            f"{gflops / p['peak_gflops']:.0%}", held, f"{p['needed_bytes'] / 2**20:.1f}"]


def _file_cells(p: dict[str, Any]) -> list[str]:
    return [f"{p['file_bytes'] / GIB:.2f}", short(p["seconds"] * 1e6), f"{p['bytes'] / 2**20:.1f}"]


def draw(result: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """Draw time above and memory below, a column for each series."""
    import matplotlib as mpl
    mpl.use("svg")
    from matplotlib import pyplot as plt

    from harness.chart import OTHERS, OWN, STYLE
    names = [name for name in result if name != "file"]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, len(names), figsize=(2.6 * len(names), 4.4), squeeze=False)
        for column, name in enumerate(names):
            sizes, points = [int(size) for size in result[name]], list(result[name].values())
            curves = [
                ("µs a step", "the arithmetic", [p["seconds"] * 1e6 for p in points],
                 [p["flop"] / p["peak_gflops"] / 1e3 for p in points]),
                ("MiB", "what must be held", [p["bytes"] / 2**20 for p in points],
                 [p["needed_bytes"] / 2**20 for p in points]),
            ]
            for ax, (label, limit, measured, least) in zip(axes[:, column], curves, strict=True):
                ax.loglog(sizes, measured, color=OWN, marker="o", markersize=3, label="fastbp")
                ax.loglog(sizes, least, color=OTHERS, linestyle="--", label=limit)
                low, high = ax.get_ylim()
                if high < 10 * low:  # no magnifying glass for what hardly changes
                    ax.set_ylim(low / 3, high * 3)
                ax.set_xlabel(name)
                ax.spines[["top", "right"]].set_visible(False)
                if column == 0:
                    ax.set_ylabel(label)
                    ax.legend(frameon=False, fontsize=7)
        figure.tight_layout()
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)


def main() -> int:
    """Measure, print, write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    names = [*SERIES, "rows", "file"]
    parser.add_argument("--series", nargs="+", choices=names, default=names, metavar="SERIES",
                        help=f"of {', '.join(names)}")
    parser.add_argument("--threads", type=positive_int, default=1, help="threads, and CPUs to be confined to")
    parser.add_argument("--seconds", type=positive_float, default=0.3, help="how long one timing takes, about")
    parser.add_argument("--gib", type=positive_float, default=1.0, help="size of the mapped file, made in this folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all that was measured")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="where to write the tables; printed if not given")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="where to draw, as .svg")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point is not None:
        kind, arguments = json.loads(args.point)
        print(json.dumps(POINTS[kind](**arguments)))
        return 0
    cpus = machine.fence(args.threads)
    facts = machine.describe(["fastbp", "numpy"], args.threads, cpus)
    result = measure_all(args.series, args.seconds, args.gib)
    if args.markdown is None:
        print(tables(result))
    else:
        args.markdown.write_text(tables(result) + "\n", encoding="utf-8")
    if args.json is not None:
        args.json.write_text(json.dumps({"machine": facts, "series": result}, indent=1) + "\n", encoding="utf-8")
    if args.chart is not None:
        draw(result, args.chart)
    return 0


if __name__ == "__main__":
    sys.exit(main())
