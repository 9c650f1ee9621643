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


def _starts_a_command() -> bool:
    """Whether Python looks for the module to run, which gives the program this name, and it is fastbp's own."""
    given = getattr(sys, "orig_argv", [])
    at = next((i for i, word in enumerate(given) if word.startswith("-m")), len(given))
    runs = given[at:at + 1] == ["-mfastbp"] or given[at:at + 2] == ["-m", "fastbp"]
    return runs and getattr(sys, "argv", [])[:1] == ["-m"]


if _starts_a_command():
    _take(signal.default_int_handler, signal.SIG_DFL)
