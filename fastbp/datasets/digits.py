"""The UCI handwritten digits: small enough to ship inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastbp.datasets.base import Dataset, pixels

TEST_SHARE = 5
"""Every fifth image of each digit is test data."""


def load_digits() -> Dataset:
    """Return the 1797 UCI handwritten digits: 8 × 8 pixels, 10 classes.

    The split is fixed and stratified: in the order of the file, every fifth image of each digit is test data. Pixels
    count the dots in a block of 4 × 4, so 16 becomes 1.

    Returns
    -------
    Dataset
        ``x_train`` (1442, 64), ``x_test`` (355, 64).

    Notes
    -----
    From E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    https://doi.org/10.24432/C50P49 (CC BY 4.0): its test set, as scikit-learn ships it too.

    Examples
    --------
    >>> import fastbp as fb
    >>> data = fb.datasets.load_digits()
    >>> data
    Dataset(x_train: (1442, 64), x_test: (355, 64), 10 classes)
    >>> data.y_train[:5]
    array([0, 1, 2, 3, 4])
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        images, labels = file["images"], file["labels"].astype(np.int64)
    x, test = pixels(images, 16), _is_test(labels)
    names = tuple(str(digit) for digit in range(10))
    return Dataset(x[~test], labels[~test], x[test], labels[test], (8, 8), names)


def _is_test(labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[TEST_SHARE - 1::TEST_SHARE]] = True
    return chosen
