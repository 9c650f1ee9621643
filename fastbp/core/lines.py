"""Lines of users' own code, for errors that come from what it did."""

from __future__ import annotations

import linecache
import os
import sys
from types import FrameType, TracebackType
from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARIES = (f"{os.sep}numpy{os.sep}", f"{os.sep}scipy{os.sep}")


def line_of_error(traceback: TracebackType | None) -> str:
    """Return where an error came from: the last line that is the user's own. "" for none."""
    found = ""
    while traceback is not None:
        if _is_own(traceback.tb_frame.f_code.co_filename):
            found = _written(traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def line_here() -> str:
    """Return the user's own line that is running now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_own(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame is None else _written(frame.f_code.co_filename, frame.f_lineno)


def line_of_function(function: Any) -> str:
    """Return the line where a function begins; "" for what is not written in Python."""
    code = getattr(function, "__code__", None)
    return "" if code is None else _written(code.co_filename, code.co_firstlineno)


def _is_own(file: str) -> bool:
    return not file.startswith(_PACKAGE) and file.endswith((".py", ">")) and not any(lib in file for lib in _LIBRARIES)


def _written(file: str, number: int) -> str:
    text = linecache.getline(file, number).strip()
    text = text if len(text) <= 120 else f"{text[:119]}…"
    return f", line {number} of {os.path.basename(file)}" + (f" ({text})" if text else "")
