"""The rows of layers in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from harness.layer_rows import LayerRow


class _Recurrent(nn.Module):  # type: ignore[misc]
    """A recurrent layer whose last step goes into a linear one."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.recurrent, self.linear = kind(16, 64, batch_first=True), nn.Linear(64, 1)
        if kind is nn.LSTM:     # two biases that add up would learn twice as fast as one
            self.recurrent.bias_hh_l0.requires_grad_(False)

    def forward(self, x: Any) -> Any:
        return self.linear(self.recurrent(x)[0][:, -1])


class _Tables(nn.Module):  # type: ignore[misc]
    """Eight tables as one, with an offset for each column: faster than eight modules."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(8000, 16)
        self.register_buffer("starts", torch.arange(8) * 1000)

    def forward(self, ids: Any) -> Any:
        return self.table(ids + self.starts).flatten(1)


def _images(channels: int) -> list[nn.Module]:
    if channels == 1:
        return [nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
                nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    layers: list[nn.Module] = []
    for i, o in ((3, 32), (32, 64)):
        layers += [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.Conv2d(o, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return [*layers, nn.Flatten(), nn.Linear(4096, 128), nn.ReLU(), nn.Linear(128, 10)]


def _module(name: str) -> Any:
    if name in ("lenet", "vgg"):
        return nn.Sequential(*_images(1 if name == "lenet" else 3))
    if name in ("lstm", "gru"):
        return _Recurrent(nn.LSTM if name == "lstm" else nn.GRU)
    if name == "block":
        return nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True)
    return nn.Sequential(_Tables(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))


class Model(nn.Module):  # type: ignore[misc]
    """A row's network; called on a mini-batch, it returns the loss."""

    def __init__(self, row: LayerRow, parameters: Any) -> None:
        super().__init__()
        self._row, self.net = row, _module(row.name)
        self._loss = nn.functional.mse_loss if row.targets else nn.functional.cross_entropy

    def forward(self, x: Any, y: Any) -> Any:
        return self._loss(self.net(x.movedim(-1, 1) if x.ndim == 4 else x), y)

    def reset(self, parameters: Any) -> None:
        """Take the given values, of fastbp's layouts."""
        arrays = [a for (a,) in parameters]
        with torch.no_grad():
            for (name, parameter), values in zip(self.net.named_parameters(), self._laid_out(arrays), strict=True):
                assert parameter.shape == values.shape, name
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))

    def _laid_out(self, arrays: list[Any]) -> list[Any]:
        name = self._row.name
        if name in ("lstm", "gru"):
            # ours: weight_ih, bias, weight_hh and, of a GRU, the bias of the state in its last gate
            by_shape = {a.shape: a for a in arrays}
            gates = 256 if name == "lstm" else 192
            second = np.zeros(gates, np.float32)
            if name == "gru":
                second[128:] = by_shape[64,]
            return [by_shape[16, gates].T, by_shape[64, gates].T, by_shape[gates,], second, by_shape[64, 1].T,
                    by_shape[1,]]
        if name == "block":         # the norms come last there
            return [a.T for a in (*arrays[:4], *arrays[6:10], *arrays[4:6], *arrays[10:])]
        if name == "embeddings":
            return [arrays[0], *(a.T for a in arrays[1:])]
        flat = {"lenet": (256, (4, 4, 16)), "vgg": (4096, (8, 8, 64))}.get(name, (0, ()))
        return [self._one(a, *flat) for a in arrays]

    @staticmethod
    def _one(values: Any, flat: int, image: tuple[int, ...]) -> Any:
        if values.ndim == 4:
            return values.transpose(3, 2, 0, 1)
        if values.shape[0] == flat and values.ndim == 2:        # behind a flattened image: channels come first there
            return values.reshape(*image, -1).transpose(3, 2, 0, 1).reshape(values.shape[1], -1)
        return values.T
