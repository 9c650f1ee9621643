"""From a cold process to the accuracy on Fashion-MNIST, in fastbp, PyTorch, JAX and scikit-learn.

Each run is a process of its own, timed from its start to its end: import, reading the data, building and compiling the
network 784-256-128-10 (ReLU), 5 epochs of Adam at a learning rate of 1e-3 with mini-batches of 128, prediction of the
10 000 test images. Libraries take turns, so that all see the same machine. A median accuracy below 87 % is an
error (by the seed it varies by half a point, in every library).

    python benchmarks/fashion_mnist.py --rounds 5 --json fashion_mnist.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from os import wait4
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from fastbp.commands.arguments import positive_int
from harness import machine

SCRIPTS = {"fastbp": "with_fastbp.py", "torch": "with_torch.py", "jax": "with_jax.py",
           "scikit-learn": "with_sklearn.py"}
LEAST_ACCURACY = 0.87


def main() -> int:
    """Run, print, write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--libraries", nargs="+", choices=tuple(SCRIPTS), default=list(SCRIPTS), metavar="LIBRARY",
                        help=f"of {', '.join(SCRIPTS)}; those that are not installed are left out")
    parser.add_argument("--rounds", type=positive_int, default=5, help="runs of each library")
    parser.add_argument("--threads", type=positive_int, default=1, help="threads, and CPUs to be confined to")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all that was measured")
    args = parser.parse_args()

    cpus = machine.fence(args.threads)
    libraries = [name for name in args.libraries if name == "fastbp" or machine.version_of(name) != "not installed"]
    facts = machine.describe(["fastbp", "numpy", *libraries], args.threads, cpus)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in libraries}
    for number in range(args.rounds):
        for name in libraries:
            runs[name].append(run(SCRIPTS[name], seed=number))
            print(f"round {number + 1}, {name}: {runs[name][-1]['seconds']:.2f} s", file=sys.stderr)
    print(table(runs))
    if args.json is not None:
        args.json.write_text(json.dumps({"machine": facts, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    poor = [name for name, each in runs.items() if median(r["accuracy"] for r in each) < LEAST_ACCURACY]
    if poor:
        print(f"below {LEAST_ACCURACY:.0%}: {', '.join(poor)}", file=sys.stderr)
    return bool(poor)


def run(script: str, seed: int) -> dict[str, float]:
    """Run one script; return its seconds by the wall and of CPU, its accuracy, and its peak memory in MiB."""
    path = Path(__file__).with_suffix("") / script
    start = perf_counter()
    process = subprocess.Popen([sys.executable, str(path), str(seed)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = wait4(process.pid, 0)
    seconds = perf_counter() - start
    process.returncode = status
    if status:
        raise RuntimeError(f"{script} ended with status {status}")
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "accuracy": result["accuracy"],
            "peak_mib": usage.ru_maxrss / 1024}


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    """Return medians and ranges as a table in Markdown."""
    lines = ["| library | seconds | range | CPU seconds | accuracy | peak MiB |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, each in runs.items():
        wall = [r["seconds"] for r in each]
        lines.append(f"| {name} | {median(wall):.2f} | {min(wall):.2f} to {max(wall):.2f} | "
                     f"{median(r['cpu_seconds'] for r in each):.2f} | {median(r['accuracy'] for r in each):.2%} | "
                     f"{median(r['peak_mib'] for r in each):.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
