"""Kill a training process at random moments, and look at the checkpoint that it leaves: old or new, it must load.

Each process resumes the checkpoint that the one before left, and writes a new one after every epoch. At the end the
losses of all epochs, trained by many processes, are compared with those of one process that was never killed.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import fastbp as fb


def main() -> int:
    """Run the trial; return 0 if every checkpoint could be loaded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=Path, metavar="CHECKPOINT", help="be the process that is killed")
    options = parser.parse_args()
    if options.train:
        train(options.train, options.backend)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return trial(Path(folder) / "run.safetensors", options.kills, options.backend, random.Random(options.seed))


def trial(path: Path, kills: int, backend: str, rng: random.Random) -> int:
    """Kill a process so many times."""
    epochs: list[int] = []
    longest = 0.15
    while len(epochs) < kills:
        command = [sys.executable, __file__, "--train", str(path), "--backend", backend]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()  # training begins: importing takes longer than what is of interest
        time.sleep(rng.uniform(0, longest))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not path.exists():
            longest *= 1.3      # the machine has other things to do
            continue
        epochs.append(fb.Trainer.resume(path, backend=backend).epoch)  # raises if it is not whole
        if epochs != sorted(epochs):
            print(f"after {len(epochs)} kills: epoch {epochs[-1]} follows epoch {epochs[-2]}")
            return 1
    left = sorted(p.name for p in path.parent.iterdir())
    print(f"{kills} kills: a checkpoint that loads each time; {epochs[-1]} epochs by {kills} processes; files: {left}")
    resumed, never = fb.Trainer.resume(path, backend=backend), new_trainer(backend)
    never.fit(*data(), epochs=resumed.epoch, progress=False)
    same = never.history["loss"] == resumed.history["loss"]
    print("the losses are those of training that never stopped" if same else "the losses differ from one never stopped")
    return 0 if same and len(left) <= 2 else 1


def train(path: Path, backend: str) -> None:
    """Go on with the checkpoint, if there is one, until killed."""
    trainer = fb.Trainer.resume(path, backend=backend) if path.exists() else new_trainer(backend)
    print("begin", flush=True)
    trainer.fit(*data(), epochs=10**6, callbacks=[fb.callbacks.ModelCheckpoint(path)], progress=False)


def new_trainer(backend: str) -> fb.Trainer:
    """Return a trainer whose checkpoint takes some time to write."""
    net = fb.Sequential(fb.Linear(32, 400), fb.ReLU(), fb.Dropout(0.1), fb.Linear(400, 400), fb.Linear(400, 1),
                        seed=0, backend=backend)
    return fb.Trainer(net, fb.MSE(), fb.Adam(1e-3))


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return a small regression."""
    x = np.random.default_rng(0).standard_normal((64, 32))
    return x, x[:, :1] * x[:, 1:2]


if __name__ == "__main__":
    sys.exit(main())
