"""Ranks joined by other engines than MPI, with the recipes of docs/scaling.md: tests/training/test_communicators.py.

As a script, one rank of two of PyTorch's gloo: ``python other_ranks.py RANK FOLDER``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as fb

SIZE = 2
Made = dict[str, list[float]]


class Gloo:
    """Ranks of torch.distributed: the tensor that it adds up shares the memory of the array."""

    threads = True

    def __init__(self) -> None:
        import torch.distributed as dist
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def sum(self, array: np.ndarray) -> None:
        """Add up over all ranks, in place."""
        import torch
        import torch.distributed as dist
        dist.all_reduce(torch.from_numpy(array))


class RayComm:
    """Ranks that are tasks of Ray, and meet in an actor."""

    def __init__(self, meeting: Any, rank: int, size: int) -> None:
        self.meeting, self.rank, self.size = meeting, rank, size

    def sum(self, array: np.ndarray) -> None:
        """Add up over all ranks, in place."""
        import ray
        array[...] = ray.get(self.meeting.sum.remote(self.rank, array), timeout=60)


class Meeting:
    """The actor: it adds up what the ranks hand in, in their order."""

    def __init__(self, size: int) -> None:
        self.size, self.arrays, self.total = size, {}, None

    async def sum(self, rank: int, array: np.ndarray) -> np.ndarray:
        """Wait for all ranks; return the sum."""
        import asyncio
        if not self.arrays:
            self.total = asyncio.get_running_loop().create_future()
        total, self.arrays[rank] = self.total, array
        if len(self.arrays) == self.size:
            total.set_result(sum(self.arrays[r] for r in sorted(self.arrays)))
            self.arrays = {}
        return await total


def train(comm: Any) -> Made:
    """Train what looks at whole mini-batches, on rows that ranks cannot share evenly; return the curve and the end."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(101, 4)), rng.integers(0, 3, 101)
    layers = [fb.Linear(4, 8, bias=False), fb.BatchNorm(8), fb.ReLU(), fb.Dropout(0.3), fb.Linear(8, 3)]
    net = fb.Sequential(*layers, seed=0, dtype="float64")
    loss = fb.CrossEntropy(class_weight=[1.0, 2.0, 0.5])
    trainer = fb.Trainer(net, loss, fb.Adam(0.01), clip_norm=1.0, comm=comm)
    history = trainer.fit(X, y, epochs=3, batch_size=16, validation_data=(X[:33], y[:33]), progress=False)
    return {"loss": history["loss"], "val_loss": history["val_loss"], "params": net.params.flat.tolist()}


def main(rank: int, folder: Path) -> None:
    """Train as one rank of gloo, and write down what came out."""
    import torch.distributed as dist
    dist.init_process_group("gloo", store=dist.FileStore(str(folder / "store"), SIZE), rank=rank, world_size=SIZE)
    try:
        made = train(Gloo())
    finally:
        dist.destroy_process_group()
    (folder / f"{rank}.json").write_text(json.dumps(made))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
