"""Data sets to try things on: one that ships inside, readers for what does not, batches of what memory cannot hold."""

from fastbp.datasets.base import Dataset
from fastbp.datasets.digits import load_digits
from fastbp.datasets.fashion_mnist import load_fashion_mnist
from fastbp.datasets.idx import read_idx
from fastbp.datasets.memmap import MemmapBatches
from fastbp.datasets.parquet import ParquetBatches

__all__ = ["Dataset", "MemmapBatches", "ParquetBatches", "load_digits", "load_fashion_mnist", "read_idx"]
