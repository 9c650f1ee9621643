"""Ranks without MPI: threads of this process, joined by a sum, for tests of what ranks do together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

_SECONDS = 60


class _Meeting:
    """Where threads meet to add up their arrays."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size)
        self.arrays: list[Any] = [None] * size


class ThreadComm:
    """One rank's end of it."""

    threads = False     # whether sums may be made in other threads

    def __init__(self, meeting: _Meeting, rank: int, size: int) -> None:
        self._meeting, self.rank, self.size = meeting, rank, size
        self.calls = 0

    def sum(self, array: np.ndarray) -> None:
        """Add up over all threads, in place; arrays that do not fit each other break the meeting."""
        m = self._meeting
        self.calls += 1
        m.arrays[self.rank] = array.copy()
        m.barrier.wait(_SECONDS)
        shapes = {(a.shape, a.dtype) for a in m.arrays}
        if len(shapes) > 1:
            raise AssertionError(f"ranks meet with {shapes}")
        total = m.arrays[0].copy()
        for other in m.arrays[1:]:
            total += other
        m.barrier.wait(_SECONDS)
        array[...] = total


def run(size: int, script: Callable[[Any], Any]) -> list[Any]:
    """Run script(comm) on each rank: return what each returned, or the error that it raised."""
    meeting = _Meeting(size)
    results: list[Any] = [None] * size

    def rank(i: int) -> None:
        try:
            results[i] = script(ThreadComm(meeting, i, size))
        except BaseException as error:
            results[i] = error
            if isinstance(error, AssertionError):
                meeting.barrier.abort()

    threads = [threading.Thread(target=rank, args=(i,), daemon=True) for i in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * _SECONDS)
    if any(thread.is_alive() for thread in threads):
        raise AssertionError("a rank hangs")
    return results
