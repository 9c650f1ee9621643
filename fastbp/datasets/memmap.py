"""Batches from arrays on disk that do not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.datasets.chunks import Chunk, ChunkBatches, Rows

_OWNER = "MemmapBatches"


class MemmapBatches(ChunkBatches):
    """Batches of arrays on disk, for ``trainer.fit(batches, epochs=…)``: the same as ParquetBatches, for .npy files.

    Parameters
    ----------
    folders : path or sequence of paths
        Folders that hold the files; several are read one after the other.
    x, y : str, default "x.npy" and "y.npy"
        The files of the inputs and of the targets, a row for each sample, as ``np.save`` writes them.
    batch_size, shuffle, seed, comm, drop_last
        As in :class:`fastbp.datasets.ParquetBatches`; chunks are of `chunk_rows` neighbouring rows.
    sample_weight : str, optional
        The file of the sample weights.
    chunk_rows : int, default 4096

    Raises
    ------
    OSError, ValueError
        For files that are not there, or that do not fit each other.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> np.save(folder / "x.npy", np.ones((10, 3))), np.save(folder / "y.npy", np.arange(10))
    (None, None)
    >>> [len(y) for x, y in MemmapBatches(folder, batch_size=4)]
    [4, 4, 2]
    """

    def __init__(self, folders: Any, x: str = "x.npy", y: str = "y.npy", batch_size: int = 32,
                 shuffle: bool | tuple[int, int] = True, *, sample_weight: str | None = None, seed: int = 0,
                 comm: Any = None, drop_last: bool = False, chunk_rows: int = 4096) -> None:
        given = [folders] if isinstance(folders, str | PathLike) else list(folders)
        names = [x, y] if sample_weight is None else [x, y, sample_weight]
        self._arrays = [_arrays(Path(folder), names) for folder in given]
        self._chunk_rows = chunk_rows
        super().__init__(_OWNER, batch_size, shuffle, seed, comm, drop_last)

    def _all_chunks(self) -> list[Chunk]:
        return [Chunk(i, 0, at, min(self._chunk_rows, len(arrays[0]) - at)) for i, arrays in enumerate(self._arrays)
                for at in range(0, len(arrays[0]), self._chunk_rows)]

    def _read(self, chunk: Chunk, piece: int) -> Iterator[Rows]:
        end = chunk.first + chunk.rows
        for at in range(chunk.first, end, piece):
            yield tuple(np.array(array[at:min(at + piece, end)]) for array in self._arrays[chunk.file])


def _arrays(folder: Path, names: list[str]) -> list[Any]:
    arrays = [np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in names]
    for name, array in zip(names, arrays, strict=True):
        if not array.ndim or len(array) != len(arrays[0]):
            raise ValueError(f"{_OWNER}: {fspath(folder / name)!r} has shape {array.shape}; expected {len(arrays[0])} "
                             f"rows, as {names[0]} has")
    return arrays
