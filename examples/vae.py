"""A variational autoencoder: learn to draw clothes, from Fashion-MNIST, or digits where that is not there.

An encoder says which codes an image may have, a normal distribution; a decoder draws what a code stands for. Both are
trained together by one loss, a plain NumPy function, and used apart. Kingma and Welling (2014),
https://arxiv.org/abs/1312.6114; images by Xiao, Rasul and Vollgraf (2017), https://arxiv.org/abs/1708.07747.
"""

from __future__ import annotations

import argparse
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as fb


def main() -> None:
    """Train, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("fashion", "digits"), default="fashion")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--codes", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path(), help="where the pictures go")
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    data = fb.datasets.load_fashion_mnist() if options.data == "fashion" else fb.datasets.load_digits()
    pixels, hidden, codes = data.x_train.shape[1], 400, options.codes

    x = fb.Input(pixels)
    h = fb.ReLU()(fb.Linear(pixels, hidden)(x))
    mean, log_variance = fb.Linear(hidden, codes)(h), fb.Linear(hidden, codes)(h)
    code = mean + np.exp(0.5 * log_variance) * fb.random.normal(mean)
    logits = fb.Linear(hidden, pixels)(fb.ReLU()(fb.Linear(codes, hidden)(code)))
    net = fb.Network(x, (logits, mean, log_variance), seed=0, backend=options.backend)
    encoder, decoder = net.part(x, mean), net.part(code, logits)

    trainer = fb.Trainer(net, negative_elbo, fb.Adam(lr=1e-3))
    history = trainer.fit(data.x_train, (data.x_train,), epochs=options.epochs, batch_size=128,
                          validation_data=(data.x_test, (data.x_test,)))
    last = history[-1]
    print(f"{options.epochs} epochs: {last['loss']:.2f} nats an image, {last['val_loss']:.2f} for new ones")

    rng = np.random.default_rng(0)
    shown = data.x_test[:10]
    again = fb.special.sigmoid(decoder.predict(encoder.predict(shown)))
    imagined = fb.special.sigmoid(decoder.predict(rng.standard_normal((80, codes))))
    print(f"mean squared error of images that are drawn again: {np.mean(np.square(again - shown)):.4f}, of their mean: "
          f"{np.mean(np.square(data.x_train.mean(axis=0) - shown)):.4f}")
    write_png(options.folder / "again.png", tiled(np.concatenate([shown, again]), data.image_shape))
    write_png(options.folder / "imagined.png", tiled(imagined, data.image_shape))


def negative_elbo(logits: Any, mean: Any, log_variance: Any, x: Any) -> Any:
    """Return how unlikely the image is by what is drawn, and how far its codes are from standard normal numbers."""
    likelihood = np.sum(x * logits - fb.special.softplus(logits), axis=1)
    divergence = 0.5 * np.sum(mean**2 + np.exp(log_variance) - log_variance - 1, axis=1)
    return np.mean(divergence - likelihood)


def tiled(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return one picture of all, ten in a row."""
    height, width = shape
    return images.reshape(-1, 10, height, width).swapaxes(1, 2).reshape(-1, 10 * width)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write grey values from 0 to 1 to a PNG file."""
    rows = np.pad(np.rint(255 * picture).astype(np.uint8), ((0, 0), (1, 0)))    # each begins with a filter: none
    height, width = picture.shape
    chunks = ((b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows.tobytes())),
              (b"IEND", b""))
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    print("written:", path)


if __name__ == "__main__":
    main()
