"""Rooms: memory that ranks share where all of them are on one machine, in place of messages.

Ranks that have one add up the gradients there, each its part of the vector, and each updates that part of the
parameters (``src_c/room.c``). It is a file in ``/dev/shm`` that has no name any more once all ranks have it. Each rank
holds a lock on it, which the system takes away when the rank ends, in whatever way: so the others see that it is gone.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
import sys
import tempfile
import weakref
from pathlib import Path

import numpy as np

from fastbp.core.errors import RankError
from fastbp.engine.native import Room, room_bytes
from fastbp.engine.ranks import Ranks

FOLDER = "/dev/shm"
# Parts begin at multiples of so many elements, so that no two ranks write to one cache line.
_GRAIN = 64
_LOCK = "hhqqi4x"       # struct flock: type, whence, start, length, process
# Open files with locks. A child would hold them for a rank that is gone.
_held: set[int] = set()


def room_of(ranks: Ranks, length: int, dtype: np.dtype) -> Room | None:
    """Return the room of these ranks for vectors of this length, made when first asked for; None where there is none.

    All ranks call it at the same time.
    """
    key = (length, dtype.str)
    if ranks.room_key != key:
        ranks.room, ranks.room_key = _open(ranks, length, dtype), key
    return ranks.room


def _open(ranks: Ranks, length: int, dtype: np.dtype) -> Room | None:
    size = room_bytes(ranks.size, length, dtype)
    name, token = ranks.share(_make(size) if ranks.leads else None)
    room = None
    try:
        if name:
            room = _enter(ranks, name, token, size, length, dtype)
    except (OSError, ValueError):
        pass                    # on another machine, or in another container
    missing = ranks.any(room is None)
    if ranks.leads and name:
        Path(name).unlink(missing_ok=True)
    return None if missing else room


def _make(size: int) -> tuple[str, bytes]:
    """Make the file: return its name, which is empty if there can be none, and what it ends with."""
    token = secrets.token_bytes(16)
    if os.environ.get("FASTBP_SHARED_MEMORY") == "0" or sys.platform != "linux":
        return "", token
    try:
        file, name = tempfile.mkstemp(prefix="fastbp-", dir=FOLDER)
    except OSError:
        return "", token
    try:
        os.posix_fallocate(file, 0, size + len(token))      # a write to what cannot be had would end the process
        os.pwrite(file, token, size)
    except OSError:
        Path(name).unlink()
        name = ""
    finally:
        os.close(file)
    return name, token


def _enter(ranks: Ranks, name: str, token: bytes, size: int, length: int, dtype: np.dtype) -> Room:
    file = os.open(name, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.pread(file, len(token), size) != token:
            raise ValueError(f"{name} is another file")
        memory = mmap.mmap(file, size)
    finally:
        os.close(file)
    locks = os.open(name, os.O_RDWR | os.O_CLOEXEC)
    _held.add(locks)
    weakref.finalize(ranks, _let_go, locks)
    _lock(locks, ranks.rank)
    bounds = [length * r // ranks.size // _GRAIN * _GRAIN for r in range(ranks.size)] + [length]
    room: Room = Room(memory, ranks.rank, ranks.size, bounds, dtype, lambda: _look(room, ranks.size, locks))
    return room


def _let_go(locks: int) -> None:
    if locks in _held:
        _held.remove(locks)
        os.close(locks)


def _let_go_of_all() -> None:
    for locks in tuple(_held):
        _let_go(locks)


def _lock(locks: int, rank: int) -> None:
    """Hold the lock of this rank."""
    import fcntl
    fcntl.fcntl(locks, fcntl.F_OFD_SETLK, struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, rank, 1, 0))


def _is_held(locks: int, rank: int) -> bool:
    """Whether a rank other than this one holds its lock."""
    import fcntl
    found = fcntl.fcntl(locks, fcntl.F_OFD_GETLK, struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, rank, 1, 0))
    return bool(struct.unpack(_LOCK, found)[0] != fcntl.F_UNLCK)


def _look(room: Room, size: int, locks: int) -> None:
    """Raise RankError if a rank that this one waits for is not there any more."""
    for rank in range(size):
        if (room.has_left(rank) or not _is_held(locks, rank)) and room.waits_for(rank):
            raise RankError(f"rank {rank} has ended in the middle of training. Training has ended on all ranks")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_all)
