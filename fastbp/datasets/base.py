"""What every loader returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, repr=False)
class Dataset:
    """Images and their labels, split into training and test data.

    Attributes
    ----------
    x_train, x_test : arrays of float32 (N, features), from 0 to 1
        One flattened image a row: ``x.reshape(-1, *image_shape)`` gives the pictures.
    y_train, y_test : arrays of int64 (N,)
        Labels, numbered from 0.
    image_shape : tuple of int
        (height, width).
    class_names : tuple of str
        What each label stands for.
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    image_shape: tuple[int, int]
    class_names: tuple[str, ...]

    def __repr__(self) -> str:
        return (f"Dataset(x_train: {self.x_train.shape}, x_test: {self.x_test.shape}, "
                f"{len(self.class_names)} classes)")


def pixels(images: NDArray[np.uint8], white: int) -> NDArray[np.float32]:
    """Return images (N, height, width) as rows (N, height · width) of float32; `white` becomes 1."""
    rows = images.reshape(len(images), images.shape[1] * images.shape[2])
    return np.multiply(rows, np.float32(1 / white), dtype=np.float32)
