"""The IDX file format of the MNIST family: a header of big-endian numbers, then the bytes of one array.

http://yann.lecun.com/exdb/mnist/ describes it: two zero bytes, a type code (8: unsigned bytes), the number of axes, the
length of each axis as 4 bytes, then the elements in row-major order.
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNSIGNED_BYTES = 0x08


def read_idx(path: str | Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, compressed by gzip or not.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no IDX file of unsigned bytes, is cut short, or is damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from fastbp.datasets import read_idx
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    ...     read_idx(path)
    array([7, 8, 9], dtype=uint8)
    """
    path = Path(path)
    content = _decompressed(path, path.read_bytes())
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError(f"{path}: this is no IDX file: it begins with {content[:4]!r}; expected two zero bytes, a "
                         "type and a number of axes")
    kind, axes = content[2], content[3]
    if kind != UNSIGNED_BYTES:
        raise ValueError(f"{path}: its elements have the type code {kind:#04x}; expected {UNSIGNED_BYTES:#04x}, "
                         "unsigned bytes")
    start = 4 + 4 * axes
    if len(content) < start:
        raise ValueError(f"{path}: the file is cut short within its header; get it anew")
    shape = tuple(int.from_bytes(content[4 + 4 * i:8 + 4 * i], "big") for i in range(axes))
    size = len(content) - start
    if size != prod(shape):
        state = "cut short" if size < prod(shape) else "damaged"
        raise ValueError(f"{path}: the file is {state}: it has {size} bytes of data; expected {prod(shape)}, as its "
                         f"header says {shape}; get it anew")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _decompressed(path: Path, content: bytes) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: the compressed file is cut short or damaged ({error}); get it anew") from error
