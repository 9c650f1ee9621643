"""The file that networks and checkpoints are kept in: safetensors, with a description in its metadata.

A file holds arrays by name and, under the metadata key ``fastbp``, one JSON object: the format version, the
description, and a SHA-256 digest of it all. Reading runs no code from the file: no pickle, no import by name. Nothing
is allocated beyond the size of the file, and whatever does not fit is a :class:`~fastbp.FormatError`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.core.checks import file_to_write
from fastbp.core.errors import FormatError
from fastbp.files.disk import read_whole, replace
from fastbp.files.safetensors import decode, encode
from fastbp.ops.base import Array

FORMAT_VERSION = 2      # 1 knew no inputs of integers
KEY = "fastbp"

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
    tensors : mapping of str to array
        As they are at this moment.

    Raises
    ------
    OSError
        If it cannot be written; what was there stays.
    TypeError
        For an array of a dtype that a file cannot hold.
    """
    path = file_to_write("path", path)
    header = {"format_version": FORMAT_VERSION, "written_by": f"fastbp {_own_version()}", **description}
    kept = {name: np.array(array) for name, array in tensors.items()}   # others may be training meanwhile
    header["sha256"] = _digest(header, kept)
    replace(path, encode(kept, {KEY: json.dumps(header)}))


def read(path: Paths) -> Contents:
    """Read a file.

    Raises
    ------
    FormatError
        For a file that is truncated, altered, or none of fastbp's.
    MemoryError
        For a file that is larger than memory.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    data = read_whole(path)
    if not data:
        raise FormatError(f"{path} is empty; expected what net.save or trainer.save_checkpoint wrote")
    try:
        tensors, metadata = decode(data)
    except ValueError as error:
        raise FormatError(f"{path} is truncated, damaged, or no safetensors file: {error}") from None
    header = _header(path, metadata)
    digest = header.pop("sha256", None)
    if digest != _digest(header, tensors):
        raise FormatError(f"{path} is damaged, or was altered after it was written: its SHA-256 digest does not fit")
    return Contents(path, header, tensors)


def _header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    text = metadata.get(KEY)
    if text is None:
        layout = ', layout="torch"' if metadata.get("format") == "pt" else ""
        raise FormatError(f"{path} is a safetensors file, but none of fastbp's. If it holds weights for a network that "
                          f"you have, use net.load_state_dict(safetensors.numpy.load_file({str(path)!r}){layout})")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is damaged: its description is no JSON ({error})") from None
    known = header.get("format_version") if isinstance(header, dict) else None
    if type(known) is not int or known < 1:
        raise FormatError(f"{path} is damaged: its description has no format version")
    if known > FORMAT_VERSION:
        raise FormatError(f"{path} has format version {known}; this fastbp reads up to {FORMAT_VERSION}: install a "
                          f"newer one (it was written by {header.get('written_by', 'an unknown version')})")
    return dict(header)


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Array]) -> str:
    """Return the SHA-256 of a description and of all arrays, whatever order they are in."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(json.dumps([name, str(array.dtype), array.shape]).encode())
        digest.update(array.data)
    return digest.hexdigest()


def _own_version() -> str:
    try:
        return version("fastbp")
    except PackageNotFoundError:
        return "(not installed)"
