"""A process of its own for each peer: libraries cannot disturb one another's threads, memory or failures.

The parent talks to it in calls, one at a time, so that while one works all others sleep.
"""

from __future__ import annotations

import gc
import sys
from multiprocessing import get_context
from time import perf_counter, process_time
from typing import Any

from harness.peers import PEERS, Session
from harness.rows import Row

CLOCKS = {"wall": perf_counter, "cpu": process_time}


class PeerError(Exception):
    """What went wrong in a peer's process."""


class Worker:
    """The parent's end: starts the process, and calls it.

    Parameters
    ----------
    peer : str
        A name in ``PEERS``.
    threads : int
    """

    def __init__(self, peer: str, threads: int) -> None:
        # spawn, not fork: libraries start with the environment and the affinity as they are now, and clean
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, peer, threads), daemon=True)
        self._process.start()
        theirs.close()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the process's :class:`_Sessions`, and return its result.

        Raises
        ------
        PeerError
            With the message of whatever it raised, or if the process died.
        """
        try:
            self._pipe.send((method, arguments))
            failed, result = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(1)
            raise PeerError(f"its process ended with exit code {self._process.exitcode}") from None
        if failed:
            raise PeerError(result)
        return result

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


class _Sessions:
    """The other end: the sessions of one row, by form."""

    def __init__(self, peer: str, threads: int) -> None:
        self._peer, self._threads = PEERS[peer], threads
        self._open: dict[str, Session] = {}

    def open(self, row: Row, form: str) -> Any:
        """Set up a session; return the losses of its first epoch."""
        self._open[form] = session = self._peer.session(form, row.problem(), self._threads)
        losses = session.losses()
        session.reset()
        return losses

    def time(self, form: str, epochs: int, clock: str) -> float:
        """Return the seconds that so many epochs take, from the parameters of the start, warmed up."""
        now = CLOCKS[clock]
        session = self._open[form]
        session.run(max(1, epochs // 8))
        session.reset()
        gc.collect()
        gc.disable()
        start = now()
        session.run(epochs)
        seconds = now() - start
        gc.enable()
        return seconds

    def close(self, form: str | None = None) -> None:
        """Forget a session, or all."""
        for name in [form] if form is not None else list(self._open):
            self._open.pop(name, None)
        gc.collect()


def _serve(pipe: Any, peer: str, threads: int) -> None:
    # what libraries print belongs to neither the table nor the JSON
    sys.stdout = sys.stderr
    sessions = _Sessions(peer, threads)
    while True:
        try:
            method, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            reply = False, getattr(sessions, method)(*arguments)
        except KeyboardInterrupt:
            return
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            reply = True, f"{type(error).__name__}: {lines[0]}"
        pipe.send(reply)
