"""Sums over ranks that go on while the plan computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any


class Ahead:
    """Does one thing after the other in a thread of its own, until one raises: `wait` raises that then."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._begun = 0
        self._done = threading.Semaphore(0)
        threading.Thread(target=self._run, name="fastbp adds up", daemon=True).start()

    def begin(self, call: Callable[[], Any]) -> None:
        """Do this once all before it is done; do not wait."""
        self._begun += 1
        self._calls.put(call)

    def wait(self) -> None:
        """Wait until all is done. Ctrl-C waits too, as others count on what is under way; a second one does not."""
        raised: BaseException | None = None
        while self._begun:
            try:
                self._done.acquire()
                self._begun -= 1
            except KeyboardInterrupt as interrupt:
                if raised is not None:
                    raise
                raised = interrupt
        raised, self._error = self._error or raised, None
        if raised is not None:
            raise raised

    def _run(self) -> None:
        while True:
            call = self._calls.get()
            try:
                if self._error is None:
                    call()
            except BaseException as error:
                self._error = error
            self._done.release()
