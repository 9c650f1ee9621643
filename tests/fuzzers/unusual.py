"""Arrays that are somehow unusual, and values that are none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any
Rng = np.random.Generator

ODD_NUMBERS = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 1e-310, 1e38, -3.4e38, 1e308, 88.73, -104.0]


def unaligned(a: Array) -> Array:
    buffer = np.zeros(a.nbytes + 1, np.uint8)
    view = buffer[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _read_only(a: Array) -> Array:
    a = a.copy()
    a.flags.writeable = False
    return a


def with_odd_numbers(rng: Rng, a: Array) -> Array:
    a = a.copy()
    if a.size and a.dtype.kind == "f":
        with np.errstate(all="ignore"):
            a.reshape(-1)[rng.integers(0, a.size, 3)] = np.array(rng.choice(ODD_NUMBERS, 3)).astype(a.dtype)
    elif a.size and a.dtype.kind == "i":
        a.reshape(-1)[rng.integers(0, a.size)] = rng.choice([-1, 2**31, -2**63, 2**63 - 1, 5, 1000])
    return a


def unusual(rng: Rng, a: Array) -> Any:
    """Return an array with another layout, values, dtype or shape, or something that is no array at all."""
    kinds: list[Callable[[], Any]] = [
        lambda: with_odd_numbers(rng, a), lambda: with_odd_numbers(rng, a), lambda: unaligned(a),
        lambda: _read_only(a), lambda: np.asfortranarray(a), lambda: a[::-1], lambda: np.repeat(a, 2, axis=0)[::2],
        lambda: a.astype(rng.choice(["f4", "f8", "i8", "i4", "?", ">f4", ">f8", "c16", "f2", "g", "O", "u8", "U3"])),
        lambda: a[..., None], lambda: a[None], lambda: a[:0], lambda: a[..., :0], lambda: a[1:], lambda: a[..., 1:],
        lambda: a.T, lambda: a.reshape(-1), lambda: np.concatenate([a, a], axis=int(rng.integers(max(a.ndim, 1)))),
        lambda: np.broadcast_to(a.reshape(-1)[:1], a.shape), lambda: a.tolist(), lambda: memoryview(a),
        lambda: np.ma.masked_array(a), lambda: np.broadcast_to(np.float32(1), (*a.shape[:-1], 2**14)),
        lambda: rng.choice(np.array([None, 3, "x", b"x", {}, [], 1.5, float("nan")], dtype=object)),
        lambda: np.array(a, dtype=[("x", a.dtype)]) if a.dtype.kind in "fi" else a, lambda: np.datetime64("2020-01-01"),
    ]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return kinds[rng.integers(len(kinds))]()
        except (ValueError, TypeError, IndexError, OverflowError):     # it does not go with this one
            return np.zeros((0, 3), a.dtype)


JUNK = [None, True, False, -1, 0, 1, 3, 2**31, 2**62, 2**63, 2**64, -2**63, 10**30, 0.5, -0.0, 1e308, float("inf"),
        float("nan"), "", "x", "relu", "avx512", "generic", b"x", (), [], {}, (1, 2), object]


def junk(rng: Rng) -> Any:
    return JUNK[rng.integers(len(JUNK))]
