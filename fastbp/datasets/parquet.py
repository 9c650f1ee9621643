"""Batches from Parquet files that do not fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from glob import glob
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.datasets.chunks import Chunk, ChunkBatches, Rows
from fastbp.ops.base import Array

_OWNER = "ParquetBatches"
# Bytes that are read at once: of this machine's files, and of those of a file system that may be far.
_BUFFER, _FAR_BUFFER = 1 << 14, 1 << 16


class ParquetBatches(ChunkBatches):
    """Batches of Parquet files, for ``trainer.fit(batches, epochs=…)``, in memory that does not grow with the files.

    A thread reads ahead. Each epoch has an order of its own, which the seed and the number of the epoch decide.

    Parameters
    ----------
    paths : path, sequence of paths, or pyarrow.dataset.Dataset
        Files; folders, of which all .parquet files are taken, by name; or patterns such as ``"data/*.parquet"``. Of a
        dataset all rows are taken: one with a filter is refused.
    x : str or sequence of str
        The columns of the inputs, numbers each; or one column of lists of one length.
    y : str or sequence of str
        The column of the targets: whole numbers are labels. Several of them make targets of shape (B, columns).
    batch_size : int, default 32
        Rows of a mini-batch; with `comm`, those of all ranks together.
    shuffle : bool or tuple (chunks, rows), default True
        Chunks (row groups of the files) are read in an order drawn anew, so many side by side, and so many of their
        rows are held and mixed; True stands for (4, 32768). False keeps the order of the files.
    sample_weight : str, optional
        The column of the sample weights.
    seed : int, default 0
    comm : communicator, optional
        Each rank reads its share of the rows: as many batches on each. Give the same `comm` to :class:`fastbp.Trainer`.
    drop_last : bool, default False
        Whether rows that do not fill a last batch are left out of an epoch.
    dtype : str, default "float32"
        Of x and of targets that are not whole numbers.

    Attributes
    ----------
    rows : int
        Of all files.
    epoch : int
        Epochs begun so far. May be assigned: after ``batches.epoch = trainer.epoch`` a resumed training goes on as it
        would have.

    Raises
    ------
    ImportError
        Without pyarrow (``pip install 'fastbp[table]'``).
    OSError, ValueError
        For files that are not there, columns that they do not have or that hold no numbers, and gaps.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np, pyarrow as pa, pyarrow.parquet as pq
    >>> path = pathlib.Path(tempfile.mkdtemp(), "rows.parquet")
    >>> pq.write_table(pa.table({"a": np.arange(10.0), "b": np.ones(10), "label": np.arange(10) % 2}), path)
    >>> batches = ParquetBatches(path, x=["a", "b"], y="label", batch_size=4)
    >>> [(x.shape, y.dtype.name) for x, y in batches]
    [((4, 2), 'int64'), ((4, 2), 'int64'), ((2, 2), 'int64')]
    """

    def __init__(self, paths: Any, x: str | Sequence[str], y: str | Sequence[str], batch_size: int = 32,
                 shuffle: bool | tuple[int, int] = True, *, sample_weight: str | None = None, seed: int = 0,
                 comm: Any = None, drop_last: bool = False, dtype: str = "float32") -> None:
        try:
            import pyarrow.parquet as parquet
            from pyarrow import ArrowException, default_memory_pool
        except ImportError:
            raise ImportError(f"{_OWNER} needs pyarrow; install it with: pip install 'fastbp[table]'") from None
        self._release = default_memory_pool().release_unused
        self._parquet, self._damage, self._dtype = parquet, ArrowException, np.dtype(dtype)
        self._x, self._y, self._weight = _names("x", x), _names("y", y), sample_weight
        self._single = isinstance(y, str)
        self._files, self._filesystem, self._expected = _files(paths)
        super().__init__(_OWNER, batch_size, shuffle, seed, comm, drop_last)

    def _all_chunks(self) -> list[Chunk]:
        found: list[Chunk] = []
        for i, path in enumerate(self._files):
            with self._open(i) as file:
                names = file.schema_arrow.names
                missing = [n for n in self._columns if n not in names]
                if missing:
                    raise ValueError(f"{_OWNER}: {path} lacks {', '.join(map(repr, missing))}; it has "
                                     f"{', '.join(map(repr, names))}")
                rows = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
            found += [Chunk(i, g, 0, n) for g, n in enumerate(rows) if n]
        rows_read = sum(chunk.rows for chunk in found)
        if self._expected not in (None, rows_read):
            raise ValueError(f"{_OWNER}: the dataset has {self._expected} rows, and its files {rows_read}: a filter "
                             "chooses some; write those to a file of their own with pyarrow.dataset.write_dataset")
        return found

    @property
    def _columns(self) -> list[str]:
        weight = [] if self._weight is None else [self._weight]
        return list(dict.fromkeys([*self._x, *self._y, *weight]))

    @contextmanager
    def _open(self, file: int) -> Iterator[Any]:
        """Open a file. What is wrong with it is a ValueError that names it."""
        path = self._files[file]
        try:
            source = path if self._filesystem is None else self._filesystem.open_input_file(path)
            # buffered, pages are read as they are needed; a chunk would else be held whole. Each column has a buffer
            buffer = _BUFFER if self._filesystem is None else _FAR_BUFFER
            with self._parquet.ParquetFile(source, buffer_size=buffer, pre_buffer=False) as opened:
                yield opened
        except (self._damage, OSError) as error:
            if isinstance(error, OSError) and path in str(error):
                raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{_OWNER}: {path} cannot be read: {reason}") from error

    def _read(self, chunk: Chunk, piece: int) -> Iterator[Rows]:
        skip, left = chunk.first, chunk.rows
        with self._open(chunk.file) as file:
            for batch in file.iter_batches(piece, [chunk.number], self._columns, use_threads=False):
                part = batch.slice(skip, left)
                skip = max(0, skip - batch.num_rows)
                if part.num_rows:
                    left -= part.num_rows
                    yield self._rows(part, chunk.file)
                if not left:
                    break
        # the pool would keep more than it hands out, as columns of many lengths come and go
        self._release()

    def _rows(self, batch: Any, file: int) -> Rows:
        x = self._numbers(batch, self._x, file).astype(self._dtype, copy=False)
        y = self._numbers(batch, self._y, file)
        y = y.astype(np.int64 if y.dtype.kind in "iub" else self._dtype, copy=False)
        if self._single and y.shape[1] == 1:
            y = y[:, 0]
        weight = () if self._weight is None else (self._numbers(batch, [self._weight], file)[:, 0],)
        return (x, y, *weight)

    def _numbers(self, batch: Any, names: Sequence[str], file: int) -> Array:
        """Return columns side by side, (rows, columns)."""
        if len(names) > 1 and hasattr(batch, "to_tensor"):
            try:                # in one call, which leaves Python to the thread that trains
                whole = np.asarray(batch.select(names).to_tensor(row_major=True).to_numpy())
                if whole.dtype.kind == "f":     # signed and unsigned numbers would wrap around
                    return whole
            except (self._damage, TypeError):
                pass            # lists, booleans, or what is refused below
        columns = [self._column(batch.column(name), name, file) for name in names]
        if len(columns) == 1:
            return columns[0]
        found = np.empty((batch.num_rows, sum(c.shape[1] for c in columns)),
                         np.result_type(*(self._dtype if c.dtype.kind == "f" else c.dtype for c in columns)))
        at = 0
        for column in columns:
            found[:, at:at + column.shape[1]] = column
            at += column.shape[1]
        return found

    def _column(self, column: Any, name: str, file: int) -> Array:
        if column.null_count:
            raise ValueError(f"{_OWNER}: column {name!r} of {self._files[file]} has rows without a value; fill them, "
                             "or leave them out")
        flat = column.flatten() if hasattr(column.type, "value_field") else column
        values = np.asarray(flat.to_numpy(zero_copy_only=False))
        if values.dtype.kind not in "fiub":
            raise ValueError(f"{_OWNER}: column {name!r} of {self._files[file]} holds {column.type}; expected numbers")
        if len(values) % len(column):
            raise ValueError(f"{_OWNER}: column {name!r} of {self._files[file]} has lists of several lengths; expected "
                             "lists of one")
        return values.reshape(len(column), -1)


def _names(argument: str, names: Any) -> list[str]:
    found = [names] if isinstance(names, str) else list(names) if isinstance(names, Iterable) else []
    if not found or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{_OWNER}: {argument} is {names!r}; expected the name of a column, or a list of them")
    return found


def _files(paths: Any) -> tuple[list[str], Any, int | None]:
    """Return the files, the file system that they are on (None: this machine's own), and the rows, where known."""
    if hasattr(paths, "files") and hasattr(paths, "filesystem"):
        return list(paths.files), paths.filesystem, int(paths.count_rows())
    given = [paths] if isinstance(paths, str | PathLike) else list(paths) if isinstance(paths, Iterable) else []
    found = [file for path in given for file in _files_of(Path(path))]
    if not found:
        raise ValueError(f"{_OWNER}: paths is {paths!r}; expected at least one file, or a pyarrow dataset of files")
    return found, None, None


def _files_of(path: Path) -> list[str]:
    if path.is_dir():
        inside = sorted(map(fspath, path.rglob("*.parquet")))
    else:
        inside = [fspath(path)] if path.exists() else sorted(glob(fspath(path), recursive=True))
    if not inside:
        raise FileNotFoundError(f"{_OWNER}: there is no Parquet file {fspath(path)!r}")
    return inside
