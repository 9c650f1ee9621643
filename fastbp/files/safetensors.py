"""The safetensors format: named arrays, and text about them, as bytes.

::

    8 bytes         n, the length of the header, little-endian
    n bytes         JSON: {"__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets": [begin, end]}, …}
    the rest        the elements of all arrays, little-endian, without gaps

See https://github.com/huggingface/safetensors. Decoding believes nothing: whatever does not fit is an error that says
what, found before any array is made, in Python's integers, which do not overflow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from reprlib import repr as short
from typing import Any, NoReturn

import numpy as np

from fastbp.ops.base import Array, Shape

DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "|u1"}

_METADATA = "__metadata__"
_MOST_AXES = 32     # of an array of NumPy's, before version 2
_MOST_BYTES = 2**63
_Place = tuple[str, str, Shape, int]        # of an array: its name, dtype, shape, and where it begins


def encode(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytearray:
    """Return a file with these arrays: a copy of all as they are now.

    Raises
    ------
    TypeError
        For an array of another dtype than float64, float32, int64, int32 or uint8.
    """
    codes = {np.dtype(d): code for code, d in DTYPES.items()}
    for name, array in tensors.items():
        if array.dtype not in codes:
            raise TypeError(f"{name!r} has dtype {array.dtype}; a file holds {', '.join(map(str, codes))}")
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    places: list[_Place] = []
    end = 0
    # the widest first: so each is aligned to its elements
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        array, begin = tensors[name], end
        code, end = codes[array.dtype], begin + array.nbytes
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [begin, end]}
        places.append((name, DTYPES[code], array.shape, begin))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = bytearray(8 + len(text) + end)
    data[:8], data[8:8 + len(text)] = len(text).to_bytes(8, "little"), text
    for name, view in _views(data, 8 + len(text), places).items():
        view[...] = tensors[name]
    return data


def decode(data: bytes | bytearray) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays of a file, each with memory of its own, and the metadata.

    Raises
    ------
    ValueError
        If it is no such file, is cut short, or its header does not fit what comes after it.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError(f"it has {len(data):,} bytes, but its header alone should have {length:,}")
    header = _header(bytes(data[8:8 + length]))
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError(f"{_METADATA} is {short(metadata)}; expected an object of texts")
    places = _places(header, len(data) - 8 - length)
    return {name: view.copy() for name, view in _views(data, 8 + length, places).items()}, metadata


def _views(data: bytes | bytearray, start: int, places: list[_Place]) -> dict[str, Array]:
    return {name: np.ndarray(shape, dtype, data, start + begin) for name, dtype, shape, begin in places}


def _header(text: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(f"one of the names {short([name for name, _ in pairs])} comes twice")
        return found

    def refuse(number: str) -> NoReturn:
        raise ValueError(f"{number} is no number there")
    try:
        header = json.loads(text.decode(), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise ValueError(f"its header is {short(header)}; expected an object")
    return header


def _places(header: Mapping[str, Any], size: int) -> list[_Place]:
    """Return where the arrays are, in the order in which they lie there; or raise ValueError."""
    found: list[tuple[int, int, _Place]] = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name!r} is {short(entry)}; expected dtype, shape and data_offsets")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in DTYPES:
            raise ValueError(f"{name!r} has dtype {short(code)}; expected one of {', '.join(DTYPES)}")
        if not _are_counts(shape) or len(shape) > _MOST_AXES:
            raise ValueError(f"{name!r} has shape {short(shape)}; expected at most {_MOST_AXES} whole numbers")
        dtype = np.dtype(DTYPES[code])
        if prod(n for n in shape if n) * dtype.itemsize >= _MOST_BYTES:
            raise ValueError(f"{name!r} has shape {short(shape)}, which is more than can be addressed")
        if not _are_counts(offsets) or len(offsets) != 2:
            raise ValueError(f"{name!r} has data_offsets {short(offsets)}; expected two whole numbers")
        begin, end = offsets
        wanted = prod(shape) * dtype.itemsize
        if end - begin != wanted:
            raise ValueError(f"{name!r} has data_offsets {short(offsets)}; expected {wanted:,} bytes, as shape "
                             f"{short(shape)} of {code} has")
        found.append((begin, end, (name, DTYPES[code], tuple(shape), begin)))
    found.sort()
    at = 0
    for begin, end, (name, *_) in found:
        if begin != at:
            raise ValueError(f"{name!r} begins at byte {begin:,}; expected {at:,}, where the array before it ends")
        at = end
    if at != size:
        raise ValueError(f"its arrays should have {at:,} bytes, but {size:,} are there")
    return [place for *_, place in found]


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and n >= 0 for n in values)
