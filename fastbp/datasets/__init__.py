"""Data sets to try things on: one that ships inside, and readers for what does not."""

from fastbp.datasets.base import Dataset
from fastbp.datasets.digits import load_digits
from fastbp.datasets.fashion_mnist import load_fashion_mnist
from fastbp.datasets.idx import read_idx

__all__ = ["Dataset", "load_digits", "load_fashion_mnist", "read_idx"]
