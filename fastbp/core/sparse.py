"""Sparse matrices at the border: SciPy's become rows that nobody else can change."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.ops.base import Array
from fastbp.ops.sparse_linear import SparseRows


def is_sparse(values: Any) -> bool:
    """Whether something is a sparse matrix, by SciPy or in its manner, or rows of one."""
    return isinstance(values, SparseRows) or hasattr(values, "tocsr")


def sparse_rows(name: str, matrix: Any, dtype: str) -> SparseRows:
    """Return the rows of a sparse matrix: copies, checked, with columns that rise within a row.

    Raises
    ------
    TypeError
        For numbers that are not real.
    ValueError
        For a matrix that has not two axes, whose parts do not fit each other, or with NaN or infinity in it.
    """
    if isinstance(matrix, SparseRows):
        known = matrix.values.dtype == dtype
        return matrix if known else SparseRows.of(matrix, matrix.columns, matrix.values.astype(dtype), matrix.features)
    if len(matrix.shape) != 2:
        raise ValueError(f"{name} is a sparse array of shape {matrix.shape}; expected two axes")
    if matrix.dtype.kind not in "fiub":
        raise TypeError(f"{name} is a sparse matrix of dtype {matrix.dtype}; expected real numbers")
    rows, features = (int(n) for n in matrix.shape)
    csr = matrix.tocsr()
    starts, columns, values = (np.array(a) for a in (csr.indptr, csr.indices, csr.data))
    if not _fits(starts, columns, values, rows, features):
        raise ValueError(f"{name} is a sparse matrix whose indptr and indices do not fit its shape, {matrix.shape}; "
                         "make it anew, for instance with scipy.sparse.csr_matrix(x.toarray())")
    if not _rising(starts, columns):
        csr = type(csr)((values, columns, starts), shape=(rows, features))
        csr.sum_duplicates()
        starts, columns, values = csr.indptr, csr.indices, csr.data
    with np.errstate(over="ignore"):
        values = np.asarray(values, dtype)
    if not np.isfinite(values).all():
        at = int(np.argmin(np.isfinite(values)))
        row = int(np.searchsorted(starts, at, side="right")) - 1
        raise ValueError(f"{name} has {values[at]} in row {row}, column {columns[at]}; expected finite numbers of "
                         f"{dtype}")
    spans = np.stack([starts[:-1], starts[1:]], axis=1)
    return SparseRows.of(spans, np.asarray(columns, np.int64), values, features)


def _fits(starts: Array, columns: Array, values: Array, rows: int, features: int) -> bool:
    entries = len(values)
    return bool(starts.shape == (rows + 1,) and len(columns) >= entries and starts[0] >= 0 and starts[-1] <= entries
                and (np.diff(starts) >= 0).all()
                and (not len(columns) or (columns.min() >= 0 and columns.max() < features)))


def _rising(starts: Array, columns: Array) -> bool:
    """Whether the columns of each row rise."""
    rises = np.diff(columns) > 0
    between = starts[1:-1]
    rises[between[(between > 0) & (between < len(columns))] - 1] = True
    return bool(rises.all())
