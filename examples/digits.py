"""Classify handwritten digits: early stopping, a checkpoint that training resumes, pictures of how it went.

    python examples/digits.py --folder runs

Run it again to go on where it stopped.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

import fastbp as fb


def main() -> None:
    """Train, or go on with training; report; draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "digits.safetensors"

    data = fb.datasets.load_digits()
    if path.exists():
        trainer = fb.Trainer.resume(path, backend=options.backend)
        print(f"going on after epoch {trainer.epoch}")
    else:
        trainer = new_trainer(options.backend)
    left = options.epochs - trainer.epoch
    if left > 0:
        trainer.fit(data.x_train, data.y_train, epochs=left, validation_split=0.1, callbacks=[
            fb.callbacks.EarlyStopping(patience=15), fb.callbacks.ModelCheckpoint(path)])

    result = trainer.evaluate(data.x_test, data.y_test)
    print(f"{trainer.epoch} epochs: test loss {result['loss']:.4f}, test accuracy {result['accuracy']:.2%}")
    if find_spec("matplotlib"):
        trainer.history.plot().savefig(options.folder / "history.png")
        outputs = trainer.net.predict(data.x_test)
        fb.plots.confusion_matrix(data.y_test, outputs).savefig(options.folder / "confusion.png")
        print(f"pictures: {options.folder}/history.png, {options.folder}/confusion.png")


def new_trainer(backend: str) -> fb.Trainer:
    """Return the trainer of a network that begins anew."""
    net = fb.Sequential(
        fb.Linear(64, 128), fb.BatchNorm(), fb.ReLU(), fb.Dropout(0.2),
        fb.Linear(128, 64), fb.BatchNorm(), fb.ReLU(),
        fb.Linear(64, 10), seed=0, backend=backend)
    print(net.summary())
    optimizer = fb.AdamW(lr=2e-3, weight_decay=0.01, decay_bias=False)
    return fb.Trainer(net, fb.CrossEntropy(label_smoothing=0.05), optimizer)


if __name__ == "__main__":
    main()
