"""What a forked process must not inherit half done.

A child has the locks of its parent, but only the thread that forked. A lock that another thread held stays locked for
ever: that of a module which the other thread was importing, and tqdm's, which it takes for a moment with each bar.
"""

from __future__ import annotations

import os
import sys
from threading import RLock, get_ident
from typing import Any

# What fastbp imports when it is first needed, so perhaps in another thread.
_PACKAGES = ("fastbp", "numpy", "tqdm")


def _imported_elsewhere(importlib: Any) -> list[str]:
    """Return the modules of these packages whose locks other threads hold, from the search for the file to the end."""
    me = get_ident()
    locks = [(name, lock()) for name, lock in list(getattr(importlib, "_module_locks", {}).items())]
    return [name for name, lock in locks if name.partition(".")[0] in _PACKAGES
            and getattr(lock, "owner", None) not in (None, me)]


def _finish_imports() -> None:
    """Wait until no other thread is importing one of these packages.

    A thread that waited for may import the next module at once, so look again until there is none.
    """
    importlib = sys.modules["_frozen_importlib"]
    while names := _imported_elsewhere(importlib):
        for name in names:
            # returns at once if that thread waits for this one, as Python's own import statement does
            importlib._lock_unlock_module(name)
        if not set(_imported_elsewhere(importlib)) - set(names):
            break


def _free_progress_bars() -> None:
    """Give the child a lock of its own for progress bars."""
    if "tqdm.std" in sys.modules:
        sys.modules["tqdm.std"].tqdm.set_lock(RLock())


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_finish_imports, after_in_child=_free_progress_bars)
