"""Supervised contrastive learning: images of one digit are drawn together, all others pushed apart.

The loss is about all pairs of a batch: rows meet rows, which a plain NumPy function says as it is. What is learnt is a
distance; an image is then recognised by its nearest neighbours. Khosla et al. (2020), https://arxiv.org/abs/2004.11362.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import fastbp as fb

TEMPERATURE = 0.1


def main() -> None:
    """Train, and compare distances before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    data = fb.datasets.load_digits()
    x = fb.Input(64)
    h = fb.Linear(128, 8)(fb.ReLU()(fb.Linear(64, 128)(x)))
    net = fb.Network(x, h / np.linalg.norm(h, axis=1, keepdims=True), seed=0, backend=options.backend)
    report("before", net, data)
    fb.Trainer(net, contrastive_loss, fb.Adam(lr=2e-3)).fit(data.x_train, data.y_train, epochs=options.epochs,
                                                            batch_size=128, progress=False, drop_last=True)
    report("after", net, data)


def contrastive_loss(z: Any, label: Any) -> Any:
    """Return how little each row is drawn to its likes: -log of its share of them, among all but itself."""
    i = fb.special.arange(z.shape[0])
    itself = i[:, None] == i[None]
    alike = (label[:, None] == label[None]) & ~itself
    logp = fb.special.log_softmax(np.where(itself, -1e9, z @ z.T / TEMPERATURE), axis=1)
    likes = np.sum(alike.astype(float), axis=1)
    return -np.mean(np.sum(np.where(alike, logp, 0.0), axis=1) / np.maximum(likes, 1.0))


def report(when: str, net: fb.Network, data: Any) -> None:
    """Print how alike images are, and how well the nearest of those that were trained on tell what a new one is."""
    z, z_test = net.predict(data.x_train), net.predict(data.x_test)
    similarity = z_test @ z.T
    same = data.y_test[:, None] == data.y_train[None]
    nearest = np.argsort(-similarity, axis=1)[:, :5]
    votes = np.eye(10)[data.y_train[nearest]].sum(axis=1).argmax(axis=1)
    print(f"{when:>6}: similarity of one digit {similarity[same].mean():5.2f}, of two {similarity[~same].mean():5.2f}; "
          f"nearest neighbours in {z.shape[1]} numbers are right for {np.mean(votes == data.y_test):.1%}")


if __name__ == "__main__":
    main()
