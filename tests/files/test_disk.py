"""Files on disk: read whole, replaced in one go, and nothing beside them touched."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp as fb
from fastbp.files import disk

POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions and special files are POSIX's")


@pytest.fixture(params=["without a name at first", "with a name from the start"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which a new file comes about."""
    if request.param.startswith("without"):
        if not hasattr(os, "O_TMPFILE"):
            pytest.skip("this system has no files without a name")
    else:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


def network(width: int = 2, seed: int = 0) -> fb.Network:
    return fb.Sequential(fb.Linear(2, width), seed=seed, backend="reference")


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_a_new_file_and_an_old_one(way: None, tmp_path: Path) -> None:
    disk.replace(tmp_path / "file", b"first")
    assert (tmp_path / "file").read_bytes() == b"first"
    disk.replace(tmp_path / "file", bytearray(b"second"))
    assert (tmp_path / "file").read_bytes() == b"second"
    assert names(tmp_path) == ["file"]


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o755, 0o200])
def test_an_old_file_keeps_its_permissions(mode: int, way: None, tmp_path: Path) -> None:
    net, path = network(), tmp_path / "net"
    net.save(path)
    path.chmod(mode)
    old = os.umask(0o077)
    try:
        net.save(path)
    finally:
        os.umask(old)
    assert permissions(path) == mode


@POSIX
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o000, 0o666)])
def test_a_new_file_has_what_the_umask_leaves(mask: int, mode: int, way: None, tmp_path: Path) -> None:
    old = os.umask(mask)
    try:
        network().save(tmp_path / "net")
    finally:
        os.umask(old)
    assert permissions(tmp_path / "net") == mode


@POSIX
def test_nobody_reads_a_private_file_while_it_is_replaced(way: None, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    disk.replace(tmp_path / "file", b"old")
    (tmp_path / "file").chmod(0o600)
    seen = []
    fdopen = os.fdopen

    def look(descriptor: int, *args: Any, **options: Any) -> Any:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return fdopen(descriptor, *args, **options)
    monkeypatch.setattr(os, "fdopen", look)
    disk.replace(tmp_path / "file", b"new")
    assert seen == [0o600]


@POSIX
def test_rights_of_a_group_are_not_given_to_another_one(way: None, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    disk.replace(tmp_path / "file", b"old")
    (tmp_path / "file").chmod(0o664)

    def refuse(*_: Any) -> None:
        raise PermissionError("not a member")
    monkeypatch.setattr(os, "fchown", refuse)
    disk.replace(tmp_path / "file", b"new")
    assert permissions(tmp_path / "file") == 0o604


@POSIX
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root gives files away")
def test_an_old_file_keeps_its_group(way: None, tmp_path: Path) -> None:
    disk.replace(tmp_path / "file", b"old")
    os.chown(tmp_path / "file", -1, 1234)
    disk.replace(tmp_path / "file", b"new")
    assert (tmp_path / "file").stat().st_gid == 1234


@POSIX
def test_an_access_list_stays(way: None, tmp_path: Path) -> None:
    # version 2; owner rw-, user 1000 r--, group ---, mask r--, others ---
    entries = [(0x01, 6, 0xFFFFFFFF), (0x02, 4, 1000), (0x04, 0, 0xFFFFFFFF), (0x10, 4, 0xFFFFFFFF),
               (0x20, 0, 0xFFFFFFFF)]
    acl = (2).to_bytes(4, "little") + b"".join(t.to_bytes(2, "little") + p.to_bytes(2, "little")
                                               + i.to_bytes(4, "little") for t, p, i in entries)
    disk.replace(tmp_path / "file", b"old")
    try:
        os.setxattr(tmp_path / "file", "system.posix_acl_access", acl)
    except (OSError, AttributeError):
        pytest.skip("this file system has no access lists")
    disk.replace(tmp_path / "file", b"new")
    assert os.getxattr(tmp_path / "file", "system.posix_acl_access") == acl


@POSIX
@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed(there: bool, way: None, tmp_path: Path) -> None:
    """What it points to is replaced, wherever that is, there already or not."""
    (tmp_path / "far").mkdir()
    real = tmp_path / "far" / "real"
    if there:
        network().save(real)
        real.chmod(0o600)
    (tmp_path / "near").symlink_to("far/real")
    (tmp_path / "link").symlink_to("near")
    network(9).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert fb.load(real, backend="reference").params["0.weight"].shape == (2, 9)
    assert permissions(real) == 0o600 or not there
    assert names(tmp_path / "far") == ["real"]


@POSIX
def test_other_names_of_a_file_keep_what_it_held(way: None, tmp_path: Path) -> None:
    disk.replace(tmp_path / "file", b"old")
    os.link(tmp_path / "file", tmp_path / "backup")
    disk.replace(tmp_path / "file", b"new")
    assert (tmp_path / "backup").read_bytes() == b"old"


@POSIX
def test_temporary_names_cannot_be_foreseen_and_are_not_followed(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write in the folder, and knew the name, could have something else overwritten."""
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    (tmp_path / "precious").write_bytes(b"precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    used = []
    opened = os.open

    def note(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            used.append(Path(path).name)
        return opened(path, flags, *args, **options)
    monkeypatch.setattr(os, "open", note)
    for _ in range(20):
        disk.replace(folder / "file", b"new")
    assert len(set(used)) == 20
    # even one that is known comes to nothing: it is there already
    for plant in (lambda p: p.symlink_to(tmp_path / "precious"), lambda p: os.link(tmp_path / "precious", p)):
        monkeypatch.setattr(disk.secrets, "token_hex", lambda _: "known")
        planted = folder / ".fastbp-known.tmp"
        plant(planted)
        with pytest.raises(FileExistsError):
            disk.replace(folder / "file", b"newer")
        planted.unlink()
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (folder / "file").read_bytes() == b"new"


@POSIX
@pytest.mark.parametrize("what", ["device", "FIFO", "socket", "link to a device", "folder", "link to a folder"])
@pytest.mark.parametrize("write", [lambda net, path: net.save(path), lambda net, path: net.to_svg(path),
                                   lambda net, path: fb.Trainer(net, fb.MSE(), fb.SGD()).save_checkpoint(path)],
                         ids=["save", "to_svg", "save_checkpoint"])
def test_what_is_no_file_is_not_replaced(what: str, write: Any, way: None, tmp_path: Path) -> None:
    path = tmp_path / "it"
    kept = None
    if what == "device":
        path = Path("/dev/null")
    elif what == "link to a device":
        path.symlink_to("/dev/null")
    elif what == "FIFO":
        os.mkfifo(path)
    elif what == "socket":
        kept = socket.socket(socket.AF_UNIX)
        kept.bind(os.path.relpath(path))
    elif what == "folder":
        path.mkdir()
    else:
        (tmp_path / "real").mkdir()
        path.symlink_to(tmp_path / "real")
    before = os.stat(path)
    kind = what.removeprefix("link to a ").replace("folder", "directory")
    with pytest.raises(OSError, match=f"is a {kind}"):
        write(network(), path)
    after = os.stat(path)
    assert (before.st_ino, before.st_mode, before.st_rdev) == (after.st_ino, after.st_mode, after.st_rdev)
    if kept is not None:
        kept.close()


def test_a_file_that_is_read_only_is_not_replaced(way: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, path = network(), tmp_path / "net"
    net.save(path)
    path.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda *_: False)     # root may all
    with pytest.raises(PermissionError, match="is read-only; make it writable"):
        net.save(path)


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)

    def refuse(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match=r"net cannot be written, as the folder .* does not allow new files"):
        network().save(tmp_path / "net")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^path is '.*net', but there is no folder '.*absent'; make it first$"):
        network().save(tmp_path / "absent" / "net")
    assert names(tmp_path) == []


@pytest.mark.parametrize("step", ["fsync", "replace", "fchmod", "link"])
def test_what_was_there_stays_when_writing_fails(step: str, way: None, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    network().save(tmp_path / "net")
    before = (tmp_path / "net").read_bytes()
    called = []

    def full(*_: Any, **__: Any) -> None:
        called.append(step)
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, step, full)
    if step == "link" and not hasattr(os, "O_TMPFILE"):
        pytest.skip("nothing is linked")
    with pytest.raises(OSError, match="No space left"):
        network(9).save(tmp_path / "net")
    assert called
    assert names(tmp_path) == ["net"]
    assert (tmp_path / "net").read_bytes() == before


FULL_DISK = """
import resource, signal, sys
import fastbp as fb
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
net = fb.Sequential(fb.Linear(2, 1), seed=0, backend="reference")
net.save(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    fb.Sequential(fb.Linear(200, 100), backend="reference").save(sys.argv[1])
except OSError as error:
    print("refused:", error)
fb.load(sys.argv[1], backend="reference")
"""


@POSIX
def test_a_full_disk(tmp_path: Path) -> None:
    """The system itself refuses the bytes beyond a limit."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path / "net"], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.stdout.startswith("refused:"), done.stderr
    assert names(tmp_path) == ["net"]
    assert fb.load(tmp_path / "net", backend="reference").params["0.weight"].shape == (2, 1)


def test_several_writers_at_once(way: None, tmp_path: Path) -> None:
    """Each writes whole, the last one wins, and no one waits for another."""
    nets = [network(n, n) for n in (1, 300, 9, 50)]

    def write(net: fb.Network) -> None:
        for _ in range(20):
            net.save(tmp_path / "net")
    threads = [threading.Thread(target=write, args=(n,)) for n in nets]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        if (tmp_path / "net").exists():
            fb.load(tmp_path / "net", backend="reference")
    assert names(tmp_path) == ["net"]


LOCKED = """
import fcntl, sys, time
files = [open(name, "a") for name in sys.argv[1:]]
for file in files:
    fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(600)
"""


@POSIX
def test_a_lock_of_others_is_not_waited_for(tmp_path: Path) -> None:
    """Once it waited for whoever held a lock on ``.net.tmp``, for ever."""
    network().save(tmp_path / "net")
    holder = subprocess.Popen([sys.executable, "-c", LOCKED, tmp_path / "net", tmp_path / ".net.tmp"],
                              stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        network(9).save(tmp_path / "net")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()       # type: ignore[union-attr]
    assert fb.load(tmp_path / "net", backend="reference").params["0.weight"].shape == (2, 9)


def test_a_file_is_whole_though_its_network_trains_meanwhile(tmp_path: Path) -> None:
    """The digest is that of the numbers which are written, whatever becomes of them meanwhile."""
    net = fb.Sequential(fb.Linear(40, 40), seed=0, backend="reference")
    end = threading.Event()

    def change() -> None:
        while not end.is_set():
            net.params.flat[...] = np.random.default_rng().random()
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(60):
            net.save(tmp_path / "net")
            fb.load(tmp_path / "net", backend="reference")
    finally:
        end.set()
        thread.join()


# ---- reading ---------------------------------------------------------------------------------------------------------


RACE = """
import os, sys
path, size = sys.argv[1], os.path.getsize(sys.argv[1])
data = open(path, "rb").read()
print("begin", flush=True)
while True:
    os.truncate(path, size // 3)
    with open(path, "r+b") as file:
        file.write(data)
"""


@POSIX
def test_another_process_cuts_the_file_meanwhile(tmp_path: Path) -> None:
    """Once the end of the process, by SIGBUS: the file was mapped."""
    net = fb.Sequential(fb.Linear(300, 300), seed=0, backend="reference")
    net.save(tmp_path / "net")
    other = subprocess.Popen([sys.executable, "-c", RACE, tmp_path / "net"], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    loaded = refused = 0
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and (loaded + refused < 200 or not (loaded and refused)):
            try:
                same = fb.load(tmp_path / "net", backend="reference")
            except fb.FormatError:
                refused += 1
            else:
                loaded += 1
                np.testing.assert_array_equal(same.params.flat, net.params.flat)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert refused


@POSIX
def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, what in [("/dev/zero", "a device"), ("/dev/null", "a device"), (tmp_path / "fifo", "a FIFO")]:
        with pytest.raises(fb.FormatError, match=f"is {what}, no safetensors file; expected a regular file"):
            fb.load(path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fb.load(tmp_path / "absent")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        fb.load(tmp_path)


def test_a_file_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large").write_bytes(b"x" * 2000)
    monkeypatch.setattr(disk, "memory_limit", lambda: 1000.0)
    with pytest.raises(MemoryError, match="large has 2,000 bytes, more than there is memory"):
        fb.load(tmp_path / "large")
