"""What tests/training/test_mpi.py runs on each rank: ``mpiexec -n 2 python -m mpi4py mpi_script.py WHAT FOLDER``."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

import fastbp as fb


def trainer(comm: MPI.Comm | None, dtype: str = "float64") -> fb.Trainer:
    """Return a small network with all that looks at whole mini-batches."""
    layers = [fb.Linear(4, 8, bias=False), fb.BatchNorm(8), fb.ReLU(), fb.Dropout(0.3), fb.Linear(8, 3)]
    net = fb.Sequential(*layers, seed=0, dtype=dtype)
    return fb.Trainer(net, fb.CrossEntropy(class_weight=[1.0, 2.0, 0.5]), fb.Adam(0.01), clip_norm=1.0, comm=comm)


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return rows that no number of ranks shares evenly."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(101, 4)), rng.integers(0, 3, 101)


def main(what: str, folder: Path) -> None:
    comm = MPI.COMM_WORLD
    X, y = data()
    one = trainer(comm)
    if what == "fit":
        history = one.fit(X, y, epochs=3, batch_size=16, validation_data=(X[:33], y[:33]), progress=False)
        made = {"loss": history["loss"], "val_loss": history["val_loss"], "params": one.net.params.flat.tolist()}
        (folder / f"{comm.rank}.json").write_text(json.dumps(made))
    elif what == "average":
        one = trainer(None)
        rows = slice(comm.rank, None, comm.size)
        one.fit(X[rows], y[rows], epochs=4, batch_size=8, progress=False,
                callbacks=[fb.callbacks.AverageParameters(comm, every=3)])
        (folder / f"{comm.rank}.json").write_text(json.dumps({"params": one.net.params.flat.tolist()}))
    else:
        def act(trainer: fb.Trainer, epoch: int, logs: dict[str, float]) -> None:
            if epoch == 3 and what == "raise":
                raise KeyError("unhappy")
        if what == "kill" and comm.rank == 1:
            pid = os.getpid()
            if os.fork() == 0:      # a process of its own, as nothing in this one could be sure to go on
                time.sleep(1)
                os.kill(pid, 9)
                os._exit(0)
        one.fit(X, y, epochs=10**7, batch_size=16, progress=False, callbacks=[
            fb.callbacks.Lambda(on_epoch_end=act), fb.callbacks.ModelCheckpoint(folder / "run.safetensors")])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
