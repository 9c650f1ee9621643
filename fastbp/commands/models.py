"""Images to train on by their names, and the networks that ``python -m fastbp train --model`` builds for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import fastbp as fb
from fastbp.datasets import load_digits, load_fashion_mnist
from fastbp.datasets.base import Dataset
from fastbp.graph.graph import Tensor

DIGITS = "digits"
IMAGES: dict[str, Callable[[], Dataset]] = {DIGITS: load_digits, "fashion-mnist": load_fashion_mnist}


def mlp(x: Tensor, classes: int, hidden: Sequence[int]) -> Tensor:
    """Linear layers with ReLU between them, on the pixels of an image in a row."""
    for width in hidden:
        x = fb.ReLU()(fb.Linear(None, width)(x))
    logits: Tensor = fb.Linear(None, classes)(x)
    return logits


def lenet(x: Tensor, classes: int, hidden: Sequence[int] = ()) -> Tensor:
    """LeNet-5 with ReLU and max pooling: LeCun et al. (1998), https://doi.org/10.1109/5.726791."""
    x = fb.MaxPool2d(2)(fb.ReLU()(fb.Conv2d(None, 6, 5, padding="same")(x)))
    x = fb.MaxPool2d(2)(fb.ReLU()(fb.Conv2d(None, 16, 5, padding="valid" if x.shape[0] >= 12 else "same")(x)))
    return mlp(fb.Flatten()(x), classes, (120, 84))


def resnet(x: Tensor, classes: int, hidden: Sequence[int] = ()) -> Tensor:
    """A small residual network: He et al. (2016), https://arxiv.org/abs/1512.03385."""
    def convolve(x: Tensor, channels: int, stride: int = 1) -> Tensor:
        y: Tensor = fb.BatchNorm()(fb.Conv2d(None, channels, 3, stride, "same", bias=False)(x))
        return y

    x = fb.ReLU()(convolve(x, 16))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        past = x if stride == 1 else fb.Conv2d(None, channels, 1, stride)(x)
        x = fb.ReLU()(fb.Add()(past, convolve(fb.ReLU()(convolve(x, channels, stride)), channels)))
    logits: Tensor = fb.Linear(None, classes)(fb.GlobalAvgPool()(x))
    return logits


MODELS: dict[str, Callable[[Tensor, int, Sequence[int]], Tensor]] = {"mlp": mlp, "lenet": lenet, "resnet": resnet}
"""By the name that --model takes. All but ``mlp`` want images (H, W, C)."""
