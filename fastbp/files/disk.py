"""Files on disk: read whole, and replaced so that at any moment there is the old one or the new one.

Reading takes all bytes before anything is looked at: what another process does to the file meanwhile or later cannot be
seen any more. Writing goes to a new file in the same folder, which takes the old one's place when it is safe on the
disk. Nobody waits for anybody: of several writers the last one wins.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fastbp.core.errors import FormatError
from fastbp.core.machine import memory_limit

# What there is not on every system is left out there.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)     # a FIFO would be waited for
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_OPEN_FILES = Path("/proc/self/fd")


def read_whole(path: Path) -> bytes:
    """Return all bytes of a file.

    Raises
    ------
    FormatError
        For what is no regular file: a device, a FIFO, a socket.
    MemoryError
        For more than the machine has.
    OSError
        If it cannot be read.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected a file")
    descriptor = os.open(path, _READ)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(f"{path} is {_kind(status.st_mode)}, no safetensors file; expected a regular file")
        if status.st_size > memory_limit():
            raise MemoryError(f"{path} has {status.st_size:,} bytes, more than there is memory")
        data: bytes = file.readall()
        return data


def replace(path: Path, data: bytes | bytearray) -> None:
    """Write a file, or put it in the place of one that is there.

    A symbolic link is followed: what it points to is replaced. Other names of the old file (hard links) keep what it
    held. Permissions, the group and access lists stay those of the old file; a new one has what the umask leaves.

    Raises
    ------
    IsADirectoryError, PermissionError, OSError
        For a folder, a file or folder that may not be written, a device, FIFO or socket, and for whatever goes wrong
        while it is written, such as a full disk: what was there stays, and nothing is left beside it.
    """
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to, piece by piece, which :func:`replace` puts in its place in the end."""
    target = Path(os.path.realpath(path))
    old = _replaceable(path)
    with _new_file(target, 0o666 if old is None else 0o600) as descriptor:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            yield file
        if old is not None:
            _make_like(descriptor, target, old)
        os.fsync(descriptor)
    _sync_folder(target.parent)


def _replaceable(path: Path) -> os.stat_result | None:
    """Return the status of the file that is to be replaced, None if there is none, or raise OSError."""
    try:
        old = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(f"{path} is a directory; expected the name of a file")
    if not stat.S_ISREG(old.st_mode):
        raise OSError(f"{path} is {_kind(old.st_mode)}, which is not replaced by a file; choose another name")
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} is read-only; make it writable, or choose another name")
    return old


@contextmanager
def _new_file(target: Path, mode: int) -> Iterator[int]:
    """Open a new file; move it to its place afterwards, or take it away if that comes to nothing.

    Where the system can do it, it has no name until it is complete: of a process that is killed nothing is left.
    """
    temporary = target.with_name(f".fastbp-{secrets.token_hex(12)}.tmp")
    descriptor = -1
    if hasattr(os, "O_TMPFILE") and _OPEN_FILES.is_dir():
        with suppress(OSError):     # not every file system can
            descriptor = os.open(target.parent, os.O_TMPFILE | os.O_RDWR, mode)
    nameless = descriptor >= 0
    if not nameless:
        try:
            descriptor = os.open(temporary, _CREATE, mode)
        except PermissionError:
            raise PermissionError(f"{target} cannot be written, as the folder {target.parent} does not allow new "
                                  "files; choose another folder") from None
    try:
        yield descriptor
        if nameless:
            _name(descriptor, temporary)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(descriptor)


def _name(descriptor: int, temporary: Path) -> None:
    folder = os.open(temporary.parent, os.O_RDONLY)
    try:
        # only with a folder given does os.link follow what /proc has for an open file
        os.link(_OPEN_FILES / str(descriptor), temporary.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _make_like(descriptor: int, target: Path, old: os.stat_result) -> None:
    """Give a file the permissions of another one, and to nobody more than they say."""
    if not hasattr(os, "fchown"):
        return
    mode = stat.S_IMODE(old.st_mode) & 0o777
    try:
        os.fchown(descriptor, -1, old.st_gid)
    except OSError:
        mode &= 0o707       # they were meant for another group
    os.fchmod(descriptor, mode)
    if hasattr(os, "setxattr"):
        with suppress(OSError):     # mostly there is none
            os.setxattr(descriptor, "system.posix_acl_access", os.getxattr(target, "system.posix_acl_access"))


def _sync_folder(folder: Path) -> None:
    """Without this the new name may be lost if the machine goes down."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a special file")
