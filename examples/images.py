"""Classify images with LeNet or a small residual network: on Fashion-MNIST, or on the digits that ship with fastbp.

    python examples/images.py --data fashion-mnist --model lenet --epochs 7
    python examples/images.py --data fashion-mnist --model resnet --epochs 14

The residual network sees other images in each epoch: clothes are shifted by up to a pixel, and half of them mirrored.

With Matplotlib it draws the first filters, and the images that the network is most wrong about.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import fastbp as fb


def main() -> None:
    """Train, test, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("digits", "fashion-mnist"), default="digits")
    parser.add_argument("--model", choices=("lenet", "resnet"), default="lenet")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)

    data = fb.datasets.load_digits() if options.data == "digits" else fb.datasets.load_fashion_mnist()
    shape = (*data.image_shape, 1)
    x_train, x_test = data.x_train.reshape(-1, *shape), data.x_test.reshape(-1, *shape)
    layers = lenet(shape[0]) if options.model == "lenet" else resnet()
    net = fb.Sequential(fb.Input(*shape), *layers, seed=0, backend=options.backend)
    batch_size, lr, decay = (64, 4e-3, 0.01) if options.model == "lenet" else (128, 1e-2, 0.05)
    schedule = fb.OneCycle(lr, steps=options.epochs * -(-len(x_train) // batch_size))
    trainer = fb.Trainer(net, fb.CrossEntropy(label_smoothing=0.05), fb.AdamW(lr=schedule, weight_decay=decay))

    start = perf_counter()
    if options.model == "resnet" and options.data == "fashion-mnist":
        rng = np.random.default_rng(0)
        for _ in range(options.epochs):
            trainer.fit(altered(x_train, rng), data.y_train, epochs=1, batch_size=batch_size)
    else:
        trainer.fit(x_train, data.y_train, epochs=options.epochs, batch_size=batch_size)
    outputs = net.predict(x_test)
    accuracy = float(np.mean(outputs.argmax(axis=1) == data.y_test))
    print(f"{options.model}, {net.params.flat.size:,} parameters, {options.epochs} epochs in "
          f"{perf_counter() - start:.0f} s: test accuracy {accuracy:.2%}")
    if find_spec("matplotlib"):
        draw(net, x_test, outputs, data, options.folder / f"{options.model}.png")
        print(f"filters and mistakes: {options.folder / options.model}.png")


def altered(images: Any, rng: np.random.Generator) -> Any:
    """Return the images, half of them mirrored, and each shifted by up to one pixel."""
    made = np.where(rng.random(len(images))[:, None, None, None] < 0.5, images, images[:, :, ::-1])
    height, width = images.shape[1:3]
    padded = np.pad(made, ((0, 0), (1, 1), (1, 1), (0, 0)))
    down, right = rng.integers(0, 3, (2, len(images)))
    for i in range(3):
        for j in range(3):
            chosen = (down == i) & (right == j)
            made[chosen] = padded[chosen, i:i + height, j:j + width]
    return made


def lenet(height: int) -> list[fb.Layer]:
    """Return the layers of LeNet-5, with ReLU and max pooling."""
    return [
        fb.Conv2d(1, 6, 5, padding="same"), fb.ReLU(), fb.MaxPool2d(2),
        fb.Conv2d(6, 16, 5, padding="valid" if height > 12 else "same"), fb.ReLU(), fb.MaxPool2d(2),
        fb.Flatten(), fb.Linear(None, 120), fb.ReLU(), fb.Linear(120, 84), fb.ReLU(), fb.Linear(84, 10)]


def resnet() -> list[fb.Layer]:
    """Return the layers of a small residual network."""
    layers: list[fb.Layer] = [fb.Conv2d(1, 16, 3, padding="same", bias=False), fb.BatchNorm(), fb.ReLU()]
    for before, channels in ((16, 16), (16, 32), (32, 64)):
        if before != channels:
            layers += [fb.Conv2d(before, channels, 3, stride=2, padding="same", bias=False), fb.BatchNorm(), fb.ReLU()]
        layers += [fb.Residual(
            fb.Conv2d(channels, channels, 3, padding="same", bias=False), fb.BatchNorm(), fb.ReLU(),
            fb.Conv2d(channels, channels, 3, padding="same", bias=False), fb.BatchNorm()), fb.ReLU()]
    return [*layers, fb.GlobalAvgPool(), fb.Linear(64, 10)]


def draw(net: fb.Network, images: Any, outputs: Any, data: Any, path: Path) -> None:
    """Draw the filters of the first layer, and the images that were given the least probability of what they are."""
    import matplotlib
    matplotlib.use("agg")
    from matplotlib import pyplot
    filters = net.params["0.weight"][:, :, 0]
    logits = outputs - outputs.max(axis=1, keepdims=True)
    right = logits[np.arange(len(images)), data.y_test] - np.log(np.exp(logits).sum(axis=1))
    worst = np.argsort(right)[:8]
    figure, axes = pyplot.subplots(2, 8, figsize=(12, 3.4), squeeze=False)
    for ax, i in zip(axes[0], range(8), strict=True):
        if i < filters.shape[-1]:
            ax.imshow(filters[..., i], cmap="gray")
            ax.set_title(f"filter {i + 1}", fontsize=8)
    for ax, i in zip(axes[1], worst, strict=True):
        ax.imshow(images[i, :, :, 0], cmap="gray")
        ax.set_title(f"{data.class_names[data.y_test[i]]}, not {data.class_names[outputs[i].argmax()]}", fontsize=7)
    for ax in axes.flat:
        ax.set_axis_off()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
