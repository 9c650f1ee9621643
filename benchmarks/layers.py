"""Training steps of networks with convolution, recurrence and attention, beside PyTorch, in turns, on one thread.

    python benchmarks/layers.py [--rows lenet lstm] [--rounds 30] [--json FILE]

Both start from the same parameters, and the losses of the first steps are compared before anything is timed. What is
timed is the CPU's time of a step of Adam in float32: so other programs disturb less. PyTorch runs eagerly with fused
Adam, and, with --compile, its compiled form as well, of which the faster counts.
"""

from __future__ import annotations

import argparse
import json
import os
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import process_time_ns
from typing import Any

import numpy as np
import torch
from torch import nn

import fastbp as fb

Array = Any


def convolutional(kind: str) -> tuple[list[fb.Layer], list[nn.Module], tuple[int, ...]]:
    """Return the layers of both libraries, and the shape of an image."""
    if kind == "lenet":
        plan: list[Any] = [(1, 6, 5, 2), "pool", (6, 16, 5, 0), "pool", 400, 120, 84, 10]
        shape = (28, 28, 1)
    else:
        plan = [(3, 32, 3, 1), (32, 32, 3, 1), "pool", (32, 64, 3, 1), (64, 64, 3, 1), "pool", (64, 128, 3, 1),
                (128, 128, 3, 1), "pool", 2048, 128, 10]
        shape = (32, 32, 3)
    ours: list[fb.Layer] = [fb.Input(*shape)]  # type: ignore[list-item]
    theirs: list[nn.Module] = []
    for part in (p for p in plan if not isinstance(p, int)):
        if part == "pool":
            ours.append(fb.MaxPool2d(2))
            theirs.append(nn.MaxPool2d(2))
        else:
            i, o, k, padding = part
            ours += [fb.Conv2d(i, o, k, padding=padding), fb.ReLU()]
            theirs += [nn.Conv2d(i, o, k, padding=padding), nn.ReLU()]
    widths = [p for p in plan if isinstance(p, int)]
    ours.append(fb.Flatten())
    theirs.append(nn.Flatten())
    for i, o in pairwise(widths):
        ours += [fb.Linear(i, o), fb.ReLU()]
        theirs += [nn.Linear(i, o), nn.ReLU()]
    return ours[:-1], theirs[:-1], shape


class Recurrent(nn.Module):
    """A recurrent layer whose last step goes into a linear one."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.recurrent, self.linear = kind(64, 64, batch_first=True), nn.Linear(64, 1)

    def forward(self, x: Any) -> Any:
        return self.linear(self.recurrent(x)[0][:, -1])


def build(row: str) -> tuple[fb.Network, nn.Module, Array, Array]:
    """Return both networks, with parameters that are the same, and a mini-batch."""
    rng = np.random.default_rng(0)
    if row in ("lenet", "vgg"):
        layers, modules, shape = convolutional(row)
        net, module = fb.Sequential(*layers, seed=0), nn.Sequential(*modules)
        rows = 64 if row == "lenet" else 32
        x, y = rng.standard_normal((rows, *shape), dtype=np.float32), rng.integers(0, 10, rows)
    elif row in ("lstm", "gru"):
        kind = {"lstm": (fb.LSTM, nn.LSTM), "gru": (fb.GRU, nn.GRU)}[row]
        net = fb.Sequential(fb.Input(32, 64), kind[0](64, 64, return_sequences=False), fb.Linear(64, 1), seed=0)
        module = Recurrent(kind[1])
        x, y = rng.standard_normal((32, 32, 64), dtype=np.float32), rng.standard_normal((32, 1), dtype=np.float32)
    else:
        net = fb.Sequential(fb.Input(32, 64), fb.TransformerEncoderLayer(64, 4, 256, 0.0), seed=0)
        module = nn.TransformerEncoderLayer(64, 4, 256, 0.0, batch_first=True)
        x, y = (rng.standard_normal((16, 32, 64), dtype=np.float32) for _ in range(2))
    copy_parameters(net, module)
    return net, module, x, y


def copy_parameters(net: fb.Network, module: nn.Module) -> None:
    """Give the network the module's parameters; both list them in the same order, but for recurrent layers."""
    theirs = {name: p.detach().numpy() for name, p in module.named_parameters()}
    if isinstance(module, Recurrent):
        prefix = "recurrent."
        net.params["0.weight_ih_l0"] = theirs[prefix + "weight_ih_l0"].T
        net.params["0.weight_hh_l0"] = theirs[prefix + "weight_hh_l0"].T
        first, second = theirs[prefix + "bias_ih_l0"].copy(), theirs[prefix + "bias_hh_l0"]
        if "0.bias_hn_l0" in net.params:
            first[:128] += second[:128]
            net.params["0.bias_hn_l0"] = second[128:]
        else:
            first += second
        net.params["0.bias_l0"] = first
        net.params["1.weight"], net.params["1.bias"] = theirs["linear.weight"].T, theirs["linear.bias"]
        return
    if isinstance(module, nn.TransformerEncoderLayer):
        for name, values in theirs.items():
            net.params["0." + name.replace("out_proj.", "out_proj_")] = values.T
        return
    for (name, ours), values in zip(net.params.items(), theirs.values(), strict=True):
        if values.ndim == 4:
            net.params[name] = values.transpose(2, 3, 1, 0)
        elif ours.shape == (2048, 128):             # behind a flattened image: channels first there
            net.params[name] = values.reshape(128, 128, 4, 4).transpose(2, 3, 1, 0).reshape(2048, 128)
        elif ours.shape == (400, 120):
            net.params[name] = values.reshape(120, 16, 5, 5).transpose(2, 3, 1, 0).reshape(400, 120)
        else:
            net.params[name] = values.T


def steppers(row: str, compiled: bool) -> tuple[Any, dict[str, Any]]:
    """Return functions that take one step and return the loss: ours, and PyTorch's by form."""
    net, module, x, y = build(row)
    loss = fb.CrossEntropy() if y.dtype.kind == "i" else fb.MSE()
    trainer = fb.Trainer(net, loss, fb.Adam(1e-3))
    channels = torch.from_numpy(x).movedim(-1, 1).contiguous() if x.ndim == 4 else torch.from_numpy(x)
    target = torch.from_numpy(y)
    their_loss = nn.functional.cross_entropy if y.dtype.kind == "i" else nn.functional.mse_loss
    optimizer = torch.optim.Adam(module.parameters(), 1e-3, fused=True)

    def eager(forward: Any = lambda: their_loss(module(channels), target)) -> float:
        optimizer.zero_grad(set_to_none=True)
        value = forward()
        value.backward()
        optimizer.step()
        return float(value.detach())

    forms = {"eager": eager}
    if compiled:
        function = torch.compile(lambda: their_loss(module(channels), target), dynamic=False)
        forms["compiled"] = lambda: eager(function)
    return lambda: trainer.step(x, y), forms


def timed(function: Any) -> float:
    """Return the microseconds of CPU time that a call takes."""
    start = process_time_ns()
    function()
    return (process_time_ns() - start) / 1e3


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    fb.set_num_threads(1)
    results = {}
    print(f"{'row':8} {'fastbp µs':>10} {'PyTorch µs':>11} {'ratio':>6}   (torch {torch.__version__})")
    for row in options.rows:
        ours, forms = steppers(row, options.compile)
        one = next(iter(forms.values()))
        for _ in range(3):
            mine, their = ours(), one()
            if abs(mine - their) > 1e-3 * abs(their):
                raise SystemExit(f"{row}: the losses differ, {mine} and {their}")
        samples: dict[str, list[float]] = {name: [] for name in ("fastbp", *forms)}
        for _ in range(options.rounds):
            for name, step in (("fastbp", ours), *forms.items()):
                samples[name].append(timed(step))
        best = min(forms, key=lambda name: median(samples[name]))
        ratio = median(a / b for a, b in zip(samples["fastbp"], samples[best], strict=True))
        results[row] = {name: median(s) for name, s in samples.items()} | {"ratio": ratio}
        print(f"{row:8} {median(samples['fastbp']):10.0f} {median(samples[best]):11.0f} {ratio:6.2f}   {best}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


ROWS = ("lenet", "vgg", "lstm", "gru", "block")

if __name__ == "__main__":
    main()
