"""Ctrl-C while ``python -m fastbp`` starts ends it without a traceback of imports.

Python imports the package before the command can catch anything. Until it can, the signal ends the process by itself.
"""

from __future__ import annotations

import signal
import sys
from threading import current_thread, main_thread


def _take(instead_of: object, handler: object) -> None:
    if current_thread() is main_thread() and signal.getsignal(signal.SIGINT) is instead_of:
        signal.signal(signal.SIGINT, handler)  # type: ignore[arg-type]


def catch() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again."""
    _take(signal.SIG_DFL, signal.default_int_handler)


# what Python has as the program's name while it looks for the module to run
if getattr(sys, "argv", [])[:1] == ["-m"]:
    _take(signal.default_int_handler, signal.SIG_DFL)
