"""What a forked process must not inherit half done.

A child has the locks of its parent, but only the thread that forked. A lock that another thread held stays locked for
ever: that of a module which the other thread was importing, and tqdm's, which it takes for a moment with each bar.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from threading import RLock

# What fastbp imports when it is first needed, so perhaps in another thread.
_PACKAGES = ("fastbp", "numpy", "tqdm")


def _finish_imports() -> None:
    """Wait until no other thread is importing one of these packages."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _PACKAGES and getattr(getattr(module, "__spec__", None), "_initializing", False):
            import_module(name)  # waits for the thread that holds the module's lock; returns at once if it is this one


def _free_progress_bars() -> None:
    """Give the child a lock of its own for progress bars."""
    if "tqdm.std" in sys.modules:
        sys.modules["tqdm.std"].tqdm.set_lock(RLock())


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_finish_imports, after_in_child=_free_progress_bars)
