"""Fashion-MNIST: photographs of clothes, read from the four IDX files it is spread as."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastbp.datasets.base import Dataset, pixels
from fastbp.datasets.idx import read_idx

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASS_NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def load_fashion_mnist(path: str | Path | None = None) -> Dataset:
    """Return Fashion-MNIST: 60 000 training and 10 000 test images of 28 × 28 pixels, 10 classes.

    Parameters
    ----------
    path : str or Path, optional
        The folder of the four files ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
        ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each with ``.gz`` behind or not. The default is where
        Debian's package ``dataset-fashion-mnist`` puts them.

    Returns
    -------
    Dataset
        ``x_train`` (60000, 784), ``x_test`` (10000, 784).

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, or is not one of Fashion-MNIST's kind.

    Notes
    -----
    Xiao, Rasul and Vollgraf (2017), https://arxiv.org/abs/1708.07747.
    """
    folder = DEBIAN_FOLDER if path is None else Path(path)
    x_train, y_train = _read_part(folder, "train")
    x_test, y_test = _read_part(folder, "t10k")
    return Dataset(x_train, y_train, x_test, y_test, (28, 28), CLASS_NAMES)


def _read_part(folder: Path, part: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    image_file, label_file = _find(folder, f"{part}-images-idx3-ubyte"), _find(folder, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise ValueError(f"{image_file}: its array has shape {images.shape}; expected (N, 28, 28)")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{label_file}: its array has shape {labels.shape}; expected ({len(images)},), a label for "
                         "each image")
    if labels.size and labels.max() >= len(CLASS_NAMES):
        raise ValueError(f"{label_file}: it has the label {labels.max()}; expected labels from 0 to "
                         f"{len(CLASS_NAMES) - 1}")
    return pixels(images, 255), labels.astype(np.int64)


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"load_fashion_mnist: there is no {name} or {name}.gz in {folder}. On Debian and Ubuntu "
                            "install the package with: apt-get install dataset-fashion-mnist. Or give the folder that "
                            "holds the files: load_fashion_mnist(path)")
