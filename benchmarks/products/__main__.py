"""A map of the small products of a linear layer, beside BLAS: python benchmarks/products.

For every B, I and O of a few sizes y = x W, dx = dy Wᵀ and dW = xᵀ dy run in C loops, in float32 and one thread, in
turns with the ``sgemm`` of the BLAS that SciPy brings (OpenBLAS, as NumPy's matmul uses it). The loops are compiled
first, against the fastbp that is installed. Both results are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import product
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import fastbp as fb

SIZES = 1, 2, 3, 4, 8, 10, 16, 32, 64, 128
NAMES = "y", "dx", "dW"


def compiled(folder: Path) -> ModuleType:
    """Return the loops, compiled in a folder."""
    source = Path(__file__).with_name("loops.pyx")
    (folder / "loops.pyx").write_text(source.read_text())
    (folder / "setup.py").write_text(
        "from Cython.Build import cythonize\nfrom setuptools import Extension, setup\n"
        "flags = ['-O3', '-march=native']\n"
        "setup(ext_modules=cythonize([Extension('loops', ['loops.pyx'], extra_compile_args=flags)]))\n")
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, check=True)
    spec = importlib.util.spec_from_file_location("loops", next(folder.glob("loops*.so")))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ways(loops: ModuleType, rows: int, inputs: int,
         outputs: int) -> dict[str, tuple[Callable[[int], Any], Callable[[int], Any]]]:
    """Return how each product is run n times, by fastbp and by BLAS, after comparing them."""
    rng = np.random.default_rng((rows, inputs, outputs))
    shapes = (rows, inputs), (inputs, outputs), (rows, outputs)
    x, W, dy = (rng.standard_normal(shape).astype("f") for shape in shapes)
    Wt = np.ascontiguousarray(W.T)
    ours = np.empty_like(dy), np.empty_like(x), np.empty_like(W)
    theirs = tuple(a.copy() for a in ours)
    found = {
        "y": (lambda n: loops.forward(ours[0], x, W, n), lambda n: loops.blas(theirs[0], x, W, False, n)),
        "dx": (lambda n: loops.backward_input(ours[1], dy, Wt, n), lambda n: loops.blas(theirs[1], dy, Wt, False, n)),
        "dW": (lambda n: loops.backward_weight(ours[2], x, dy, n), lambda n: loops.blas(theirs[2], x, dy, True, n))}
    for (own, blas), a, b in zip(found.values(), ours, theirs, strict=True):
        own(1)
        blas(1)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    return found


def nanoseconds(run: Callable[[int], Any], other: Callable[[int], Any], seconds: float, rounds: int) -> list[float]:
    """Return the median time of one product of each, timed in turns."""
    begin = time.perf_counter()
    run(10)
    n = max(3, int(seconds / max((time.perf_counter() - begin) / 10, 1e-8)))
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for way, found in zip((run, other), times, strict=True):
            begin = time.perf_counter()
            way(n)
            found.append((time.perf_counter() - begin) / n * 1e9)
    return [float(np.median(found)) for found in times]


def measure(loops: ModuleType, sizes: tuple[int, ...], seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each B, I, O and product."""
    rows = []
    for size in product(sizes, repeat=3):
        for name, pair in ways(loops, *size).items():
            own, blas = (2 * prod(size) / t for t in nanoseconds(*pair, seconds, rounds))
            rows.append({**dict(zip("BIO", size, strict=True)), "product": name, "fastbp": own, "blas": blas})
    return rows


def chart(rows: list[dict[str, Any]], sizes: tuple[int, ...], path: Path) -> None:
    """Draw fastbp's GFLOP/s ÷ BLAS's for each product and B, over I and O."""
    import matplotlib.pyplot as plt


    shown = [b for b in (1, 4, 16, 32, 64, 128) if b in sizes]
    figure, axes = plt.subplots(3, len(shown), figsize=(2.3 * len(shown), 7.2), layout="constrained", squeeze=False)
    for name, line in zip(NAMES, axes, strict=True):
        for B, ax in zip(shown, line, strict=True):
            there = {(r["I"], r["O"]): r for r in rows if r["B"] == B and r["product"] == name}
            grid = np.array([[np.log2(there[i, o]["fastbp"] / there[i, o]["blas"]) for o in sizes] for i in sizes])
            image = ax.imshow(grid, origin="lower", cmap="RdBu", vmin=-3, vmax=3)
            for (r, c), i, o in ((at, sizes[at[0]], sizes[at[1]]) for at in np.ndindex(grid.shape)):
                ax.text(c, r, f"{there[i, o]['fastbp']:.0f}", ha="center", va="center", fontsize=4,
                        color="white" if abs(grid[r, c]) > 1.5 else "black")
            ax.set(title=f"{name}, B = {B}", xlabel="O", ylabel="I" if shown[0] == B else "")
            ax.set_xticks(range(len(sizes)), sizes, fontsize=5)
            ax.set_yticks(range(len(sizes)), sizes, fontsize=5)
    bar = figure.colorbar(image, ax=axes, shrink=0.5)
    bar.set_ticks([-3, -2, -1, 0, 1, 2, 3], labels=["⅛", "¼", "½", "1", "2", "4", "8"])
    bar.set_label("GFLOP/s of fastbp (the numbers) ÷ those of OpenBLAS")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=0.001, help="how long one timing takes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--chart", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    fb.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(compiled(Path(folder)), tuple(options.sizes), options.seconds, options.rounds)
    for name in NAMES:
        ratios = sorted(((r["fastbp"] / r["blas"], r) for r in rows if r["product"] == name), key=lambda pair: pair[0])
        behind = [pair for pair in ratios if pair[0] < 1]
        print(f"{name}: median {ratios[len(ratios) // 2][0]:.2f} times BLAS, behind it in {len(behind)} of "
              f"{len(ratios)}, least:")
        for ratio, r in ratios[:12]:
            print(f"    {ratio:.2f}  B {r['B']} I {r['I']} O {r['O']}: {r['fastbp']:.1f}, BLAS {r['blas']:.1f} GFLOP/s")
    if options.json:
        options.json.write_text(json.dumps(rows))
    if options.chart:
        chart(rows, tuple(options.sizes), options.chart)


if __name__ == "__main__":
    main()
