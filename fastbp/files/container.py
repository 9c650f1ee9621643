"""The file that networks and checkpoints are kept in: safetensors, with a description in its metadata.

A file holds arrays by name and, under the metadata key ``fastbp``, one JSON object: the format version, the
description, and a SHA-256 digest of it all. Reading runs no code from the file: no pickle, no import by name. Nothing
is allocated beyond the size of the file, and whatever does not fit is a :class:`~fastbp.FormatError`.

A file is replaced in one go: a process that is killed while it writes leaves the old file or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.core.checks import file_to_write
from fastbp.core.errors import FormatError
from fastbp.ops.base import Array

FORMAT_VERSION = 2      # 1 knew no inputs of integers
KEY = "fastbp"
DTYPES = {"F32": "float32", "F64": "float64"}

# A length of 8 bytes and an empty JSON object: less cannot be a safetensors file.
_LEAST_BYTES = 10

Paths = str | os.PathLike[str]


@dataclass(frozen=True)
class Contents:
    """What a file holds."""

    path: Path
    description: dict[str, Any]
    tensors: dict[str, Array]


def write(path: Paths, description: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
    """Write a file, replacing one that is there in one go.

    Parameters
    ----------
    path : path
        Its folder must exist.
    description : mapping
        Of what JSON can hold; NaN and infinities too.
    tensors : mapping of str to array of float32 or float64

    Raises
    ------
    ImportError
        Without safetensors.
    OSError
        If it cannot be written; what was there stays.
    """
    path = file_to_write("path", path)
    save = _safetensors("numpy").save
    header = {"format_version": FORMAT_VERSION, "written_by": f"fastbp {_own_version()}", **description}
    header["sha256"] = _digest(header, tensors)
    _replace(path, save(dict(tensors), {KEY: json.dumps(header)}))


def read(path: Paths) -> Contents:
    """Read a file.

    Raises
    ------
    FormatError
        For a file that is truncated, altered, or none of fastbp's.
    ImportError
        Without safetensors.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    library = _safetensors()
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{path} is a folder; expected a file")
    regular = stat.S_ISREG(status.st_mode)
    if not regular or status.st_size < _LEAST_BYTES:
        what = "no safetensors file" if status.st_size or not regular else "empty"
        raise FormatError(f"{path} is {what}; expected what net.save or trainer.save_checkpoint wrote")
    try:
        with library.safe_open(path, framework="np") as file:
            header = _header(path, (file.metadata() or {}).get(KEY))
            tensors = {name: _tensor(path, file, name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except library.SafetensorError as error:
        raise FormatError(f"{path} is truncated, damaged, or no safetensors file: {error}") from None
    digest = header.pop("sha256", None)
    if digest != _digest(header, tensors):
        raise FormatError(f"{path} is damaged, or was altered after it was written: its SHA-256 digest does not fit")
    return Contents(path, header, tensors)


def _header(path: Path, text: str | None) -> dict[str, Any]:
    if text is None:
        raise FormatError(f"{path} is a safetensors file, but none of fastbp's. If it holds weights for a network that "
                          f"you have, use net.load_state_dict(safetensors.numpy.load_file({str(path)!r}))")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is damaged: its description is no JSON ({error})") from None
    known = header.get("format_version") if isinstance(header, dict) else None
    if not isinstance(known, int) or known < 1:
        raise FormatError(f"{path} is damaged: its description has no format version")
    if known > FORMAT_VERSION:
        raise FormatError(f"{path} has format version {known}; this fastbp reads up to {FORMAT_VERSION}: install a "
                          f"newer one (it was written by {header.get('written_by', 'an unknown version')})")
    return dict(header)


def _tensor(path: Path, file: Any, name: str) -> Array:
    dtype = file.get_slice(name).get_dtype()
    if dtype not in DTYPES:
        raise FormatError(f"{path} is damaged: {name!r} has dtype {dtype}; expected one of {', '.join(DTYPES)}")
    tensor: Array = file.get_tensor(name)
    return tensor


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Array]) -> str:
    """Return the SHA-256 of a description and of all arrays, whatever order they are in."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(json.dumps([name, str(array.dtype), array.shape]).encode())
        digest.update(array.data)
    return digest.hexdigest()


def _safetensors(module: str = "") -> Any:
    """Import safetensors here: networks that are never saved do without it."""
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise ImportError("saving and loading need safetensors; install it with: pip install 'fastbp[save]'") from None
    return safetensors.numpy if module == "numpy" else safetensors


def _own_version() -> str:
    try:
        return version("fastbp")
    except PackageNotFoundError:
        return "(not installed)"


def _replace(path: Path, data: bytes) -> None:
    """Put data in the place of a file so that at any moment there is the old one or the new one, whole."""
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.tmp")
    with _locked(temporary) as descriptor:
        try:
            os.ftruncate(descriptor, 0)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(descriptor)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # without it the new name may be lost if the machine goes down
    finally:
        os.close(folder)


@contextmanager
def _locked(temporary: Path) -> Iterator[int]:
    """Open the temporary file for this process alone. One that a killed process left is used again."""
    import fcntl  # here, as it is POSIX's alone: without it fastbp can be imported still
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.stat(temporary).st_ino == os.fstat(descriptor).st_ino:
                    yield descriptor
                    return
            # whoever held the lock has moved the file to its place: take a new one
        finally:
            os.close(descriptor)
