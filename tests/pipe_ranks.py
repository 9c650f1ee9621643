"""Two ranks joined by pipes, of which the second is killed while they train: ``python pipe_ranks.py FOLDER``."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import fastbp as fb


class PipeComm:
    """One of two ranks."""

    size = 2

    def __init__(self, rank: int, other: Connection) -> None:
        self.rank, self._other = rank, other

    def sum(self, array: np.ndarray) -> None:
        """Add what the other has."""
        self._other.send(array)
        more = self._other.recv()
        array[...] = array + more if self.rank == 0 else more + array


def die(checkpoint: Path) -> None:
    """End this process once there is a checkpoint."""
    while not checkpoint.exists():
        time.sleep(0.05)
    time.sleep(0.2)
    os.kill(os.getpid(), 9)


def train(rank: int, other: Connection, folder: str) -> None:
    rng = np.random.default_rng(0)
    net = fb.Sequential(fb.Linear(8, 64), fb.ReLU(), fb.Linear(64, 1), seed=0)
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam(1e-3), comm=PipeComm(rank, other))
    if rank == 1:
        threading.Thread(target=die, args=(Path(folder) / "run.safetensors",), daemon=True).start()
    # epochs of many steps: between them, ranks meet by messages
    X = rng.normal(size=(100_000, 8))
    trainer.fit(X, X[:, :1], epochs=10**7, batch_size=32, progress=False,
                callbacks=[fb.callbacks.ModelCheckpoint(Path(folder) / "run.safetensors")])


if __name__ == "__main__":
    ends = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=train, args=(1, ends[1], sys.argv[1]), daemon=True).start()
    ends[1].close()
    train(0, ends[0], sys.argv[1])
