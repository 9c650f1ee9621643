"""Batches of data that does not fit in memory: read chunk by chunk, mixed, and cut, by a thread that reads ahead.

A chunk is what can be read by itself: a row group of a Parquet file, or neighbouring rows of an array on disk. Some of
them are read side by side, a piece of each at a time; what is held at once are some rows, however many there are.
"""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from fastbp.core.checks import count, flag
from fastbp.ops.base import Array

Rows = tuple[Array, ...]
"""Some rows: x, y and, where there are any, sample weights."""

# What shuffle=True means: so many chunks side by side, and so many of their rows mixed.
_CHUNKS, _ROWS = 4, 32_768
# Rows that are read at once where nothing is mixed.
_PIECE = 8192
# Rows that are handed on at once: many for each meeting of the two threads, few to hold.
_BLOCK = 2048
# Blocks that are read ahead.
_AHEAD = 16
_END: Any = object()


@dataclass(frozen=True)
class Chunk:
    """Rows that can be read by themselves: of the chunk of this number in its file, those from `first` on."""

    file: int
    number: int
    first: int
    rows: int


class ChunkBatches(ABC):
    """An iterable of batches (x, y) or (x, y, sample_weight), anew for each epoch: what ``trainer.fit`` takes.

    Parameters
    ----------
    owner : str
        What errors begin with.
    batch_size, shuffle, seed, comm, drop_last
        As in :class:`fastbp.datasets.ParquetBatches`.
    """

    def __init__(self, owner: str, batch_size: Any, shuffle: Any, seed: Any, comm: Any, drop_last: Any) -> None:
        self.batch_size = count(owner, "batch_size", batch_size)
        self.shuffle = _shuffle(owner, shuffle)
        self.seed = count(owner, "seed", seed, at_least=0)
        self.drop_last = flag(owner, "drop_last", drop_last)
        self.rank, self.size = (0, 1) if comm is None else (
            int(value() if callable(value) else value) for value in (comm.rank, comm.size))
        self.epoch = 0
        self._chunks = self._all_chunks()
        self.rows = sum(chunk.rows for chunk in self._chunks)
        if not self.rows:
            raise ValueError(f"{owner}: there are no rows; expected at least one")
        if self.rows < self.size:
            raise ValueError(f"{owner}: comm has {self.size} ranks for {self.rows} rows; expected one for each")

    @abstractmethod
    def _all_chunks(self) -> list[Chunk]:
        """Return all chunks, in the order of the data."""

    @abstractmethod
    def _read(self, chunk: Chunk, piece: int) -> Iterator[Rows]:
        """Go through the rows of a chunk, at most so many at a time."""

    def __len__(self) -> int:
        """Return the batches of an epoch: as many on every rank."""
        return max(1, self.rows // self.batch_size) if self.drop_last else -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[Rows]:
        """Begin the next epoch."""
        self.epoch += 1
        return _cut(_ahead(self._blocks(self.epoch)), self._sizes())

    def _blocks(self, epoch: int) -> Iterator[Rows]:
        """Go through this rank's rows of an epoch, in blocks of any length."""
        rng = np.random.default_rng((self.seed, epoch))
        chunks = self._chunks
        if self.shuffle:
            chunks = [chunks[i] for i in rng.permutation(len(chunks))]
        yield from self._mixed(_share(chunks, self.rank, self.size), rng)

    def _sizes(self) -> Iterator[int]:
        """Go through the rows of this rank's part of each batch."""
        total = len(self) * self.batch_size if self.drop_last else self.rows
        total = min(total, self.rows)
        if self.size == 1:
            yield from (min(self.batch_size, total - i * self.batch_size) for i in range(len(self)))
            return
        own, n = _end(total, self.rank + 1, self.size) - _end(total, self.rank, self.size), len(self)
        yield from (_end(own, i + 1, n) - _end(own, i, n) for i in range(n))

    def _mixed(self, chunks: list[Chunk], rng: np.random.Generator) -> Iterator[Rows]:
        """Go through the rows of chunks: some chunks side by side, and their rows in an order drawn anew."""
        if not self.shuffle:
            for chunk in chunks:
                yield from self._read(chunk, _PIECE)
            return
        together, rows = self.shuffle
        waiting = (self._read(chunk, max(1, rows // together)) for chunk in chunks)
        sources = list(islice(waiting, together))
        while sources:
            held: list[tuple[Iterator[Rows], Rows]] = []
            for source in sources:
                part = next(source, None)
                if part is None:                # the chunk has been read: the next one takes its place
                    part = next(source := next(waiting, iter(())), None)
                if part is not None:
                    held.append((source, part))
            sources = [source for source, _ in held]
            if held:
                order = rng.permutation(sum(len(part[0]) for _, part in held))
                arrays = [np.concatenate(parts) for parts in zip(*(part for _, part in held), strict=True)]
                held.clear()
                for at in range(0, len(order), _BLOCK):
                    yield tuple(array[order[at:at + _BLOCK]] for array in arrays)


def _end(total: int, part: int, parts: int) -> int:
    """Return where a part of some rows begins, the parts being as equal as can be."""
    return total * part // parts


def _share(chunks: list[Chunk], rank: int, size: int) -> list[Chunk]:
    """Return this rank's share of the rows of chunks in a row; a chunk on the border is read by two ranks."""
    total = sum(chunk.rows for chunk in chunks)
    low, high = _end(total, rank, size), _end(total, rank + 1, size)
    found, at = [], 0
    for chunk in chunks:
        begin, end = max(low - at, 0), min(high - at, chunk.rows)
        if begin < end:
            found.append(replace(chunk, first=chunk.first + begin, rows=end - begin))
        at += chunk.rows
    return found


def _cut(blocks: Generator[Rows, None, None], sizes: Iterator[int]) -> Iterator[Rows]:
    """Cut blocks of any length into batches of the given sizes, and close them."""
    held: Rows | None = None
    at = 0
    with closing(blocks):
        for size in sizes:
            parts: list[Rows] = []
            missing = size
            while missing:
                if held is None or at == len(held[0]):
                    held, at = next(blocks), 0
                taken = min(missing, len(held[0]) - at)
                parts.append(tuple(array[at:at + taken] for array in held))
                at += taken
                missing -= taken
            yield parts[0] if len(parts) == 1 else tuple(map(np.concatenate, zip(*parts, strict=True)))


def _ahead(blocks: Iterator[Rows]) -> Generator[Rows, None, None]:
    """Go through blocks that a thread reads ahead; what it raises is raised here, and it ends with the loop."""
    ready: queue.Queue[Any] = queue.Queue(_AHEAD)
    done = threading.Event()

    def put(item: Any) -> None:
        while not done.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def read() -> None:
        try:
            for block in blocks:
                put((block, None))
                if done.is_set():
                    return
            put((_END, None))
        except BaseException as error:
            put((_END, error))

    thread = threading.Thread(target=read, name="fastbp reads ahead", daemon=True)
    thread.start()
    try:
        while True:
            block, error = ready.get()
            if error is not None:
                raise error
            if block is _END:
                return
            yield block
    finally:
        done.set()
        thread.join()


def _shuffle(owner: str, shuffle: Any) -> tuple[int, int] | None:
    """Check how rows are mixed: return chunks and rows, or None."""
    if isinstance(shuffle, bool | np.bool_):
        return (_CHUNKS, _ROWS) if shuffle else None
    if not isinstance(shuffle, tuple | list) or len(shuffle) != 2:
        raise ValueError(f"{owner}: shuffle is {shuffle!r}; expected True, False, or a tuple (chunks, rows): how many "
                         "chunks are read side by side, and how many of their rows are mixed")
    return count(owner, "shuffle[0]", shuffle[0]), count(owner, "shuffle[1]", shuffle[1])
