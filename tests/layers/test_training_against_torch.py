"""200 steps of Adam follow PyTorch's: LeNet on digits, a two-layer LSTM and a transformer block on sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

STEPS, ROWS = 200, 16


def lenet() -> Any:
    data = fb.datasets.load_digits()
    order = np.random.default_rng(0).integers(0, len(data.x_train), (STEPS, ROWS))
    nn = torch.nn
    ours = fb.Sequential, [fb.Input(8, 8, 1), fb.Conv2d(1, 6, 5, padding=2), fb.Tanh(), fb.MaxPool2d(2),
                           fb.Conv2d(6, 16, 3), fb.Tanh(), fb.AvgPool2d(2), fb.Flatten(), fb.Linear(16, 10)]
    theirs = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 3), nn.Tanh(),
                           nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 10))
    x = data.x_train[order].reshape(STEPS, ROWS, 8, 8, 1)
    return ours, theirs, x, data.y_train[order], lambda x: x.movedim(-1, 1)


class Recurrent(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.linear = torch.nn.LSTM(5, 12, 2, batch_first=True), torch.nn.Linear(12, 3)

    def forward(self, x: Any) -> Any:
        return self.linear(self.recurrent(x)[0][:, -1])


def sequences() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((STEPS, ROWS, 9, 5))
    return x, x[..., 0].sum(axis=-1).clip(-1, 1).round().astype(int) + 1


def lstm() -> Any:
    ours = [fb.Input(9, 5), fb.LSTM(5, 12, 2, return_sequences=False), fb.Linear(12, 3)]
    return (fb.Sequential, ours), Recurrent(), *sequences(), lambda x: x


def block() -> Any:
    nn = torch.nn
    theirs = nn.Sequential(nn.Linear(5, 12), nn.TransformerEncoderLayer(12, 3, 20, 0.0, "gelu", batch_first=True),
                           nn.Flatten(), nn.Linear(108, 3))
    ours = [fb.Input(9, 5), fb.Linear(5, 12), fb.TransformerEncoderLayer(12, 3, 20, 0.0, "gelu"), fb.Flatten(),
            fb.Linear(108, 3)]
    return (fb.Sequential, ours), theirs, *sequences(), lambda x: x


def copy_to(module: Any, net: fb.Network) -> None:
    """Give a module the network's parameters."""
    named = dict(module.named_parameters())
    with torch.no_grad():
        if isinstance(module, Recurrent):
            for name, p in named.items():
                layer, _, role = name.partition(".")
                ours = f"{0 if layer == 'recurrent' else 1}.{role.replace('bias_ih', 'bias')}"
                p.copy_(torch.from_numpy(net.params[ours].T.copy()) if ours in net.params else torch.zeros_like(p))
            return
        for name, p in named.items():
            values = net.params[name.replace("out_proj.", "out_proj_")]
            order = (3, 2, 0, 1) if values.ndim == 4 else tuple(range(values.ndim))[::-1]
            p.copy_(torch.from_numpy(values.transpose(order).copy()))


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("make", [lenet, lstm, block], ids=lambda f: f.__name__)
def test_the_loss_curve_is_pytorchs(make: Any, backend: Any) -> None:
    torch.set_num_threads(1)
    (kind, layers), module, xs, ys, view = make()
    net = kind(*layers, dtype="float64", seed=1, backend=backend)
    module = module.to(torch.float64)
    copy_to(module, net)
    if isinstance(module, Recurrent):               # its second biases are ours too
        frozen = [p for n, p in module.named_parameters() if "bias_hh" in n]
        for p in frozen:
            p.requires_grad_(False)
    trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(3e-3))
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], 3e-3)
    mine, theirs = [], []
    for x, y in zip(xs.astype("float64"), ys, strict=True):
        mine.append(trainer.step(x, y))
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(view(torch.from_numpy(x))), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        theirs.append(loss.item())
    assert np.mean(theirs[-20:]) < 0.8 * np.mean(theirs[:20])
    np.testing.assert_allclose(mine, theirs, rtol=1e-6)
