"""A layer and a loss of one's own, checked against numerical gradients, and trained.

The layer is a Fourier feature map with trained frequencies: it lets a small network learn a function that wiggles. The
loss is the log-cosh, a smooth relative of the absolute error.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import fastbp as fb


class FourierFeatures(fb.CustomLayer):
    """``y = [sin(x F), cos(x F)]`` for inputs (B, I), with trained frequencies F (I, K): outputs (B, 2 K)."""

    def __init__(self, frequencies: int, scale: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.frequencies, self.scale = frequencies, scale

    def hyperparameters(self) -> dict[str, Any]:
        return {"frequencies": self.frequencies, "scale": self.scale}

    def output_shape(self, *shapes):
        return (2 * self.frequencies,)

    def parameters(self, *shapes):
        ((features,),) = shapes
        return {"F": ((features, self.frequencies), fb.Normal(std=self.scale))}

    def forward(self, ctx, x, F):
        ctx.saved["y"] = y = np.concatenate([np.sin(x @ F), np.cos(x @ F)], axis=1)
        return y

    def backward(self, ctx, dy):
        (x,), F = ctx.inputs, ctx.params["F"]
        sin, cos = np.split(ctx.saved["y"], 2, axis=1)
        dsin, dcos = np.split(dy, 2, axis=1)
        dz = dsin * cos - dcos * sin
        return dz @ F.T, {"F": x.T @ dz}


def log_cosh(y_pred, y):
    """Return the mean of log cosh(y_pred - y), and its gradient."""
    e = y_pred - y
    return np.mean(np.logaddexp(e, -e) - np.log(2)), np.tanh(e) / e.size


def main() -> None:
    """Check, train with and without the layer, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    print("the layer alone:", FourierFeatures(3).gradcheck((2,)).verdict)

    x = np.linspace(-3, 3, 512)[:, None]
    y = np.sin(7 * x) + 0.5 * np.cos(17 * x)
    with_layer = fb.Sequential(fb.Input(1), FourierFeatures(24, scale=8.0, name="fourier"), fb.Linear(48, 32),
                               fb.Tanh(), fb.Linear(32, 1), seed=0, backend=options.backend)
    without = fb.Sequential(fb.Linear(1, 48), fb.Tanh(), fb.Linear(48, 32), fb.Tanh(), fb.Linear(32, 1), seed=0,
                            backend=options.backend)
    print("the whole network, with the loss:", fb.gradcheck(with_layer, x[::60], y[::60], log_cosh).verdict)
    for name, net in (("with Fourier features", with_layer), ("without", without)):
        history = fb.Trainer(net, log_cosh, fb.Adam(lr=3e-3)).fit(x, y, epochs=options.epochs)
        print(f"{name}: loss {history['loss'][-1]:.5f} after {len(history)} epochs")


if __name__ == "__main__":
    main()
