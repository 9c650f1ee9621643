"""Tracing: a plain function is called once, on symbols; what it does with them is the graph.

What goes wrong within the function is told with its name, and with the line of it.
"""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from fastbp.graph.tensor import Symbol, Tensor

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_tracing: ContextVar[bool] = ContextVar("tracing", default=False)


def tracing() -> bool:
    """Whether a function is being traced now."""
    return _tracing.get()


def label_of(function: Any) -> str:
    """Return what errors call a function."""
    return str(getattr(function, "__name__", None) or repr(function))


def trace(function: Callable[..., Any], tensors: Sequence[Tensor], label: str) -> Any:
    """Return what the function makes of symbols for the tensors.

    Raises
    ------
    TypeError, ValueError, IndexError, AttributeError, NotImplementedError
        As the function raises them, with the label and the line in front.
    """
    with _while_tracing():
        try:
            return function(*map(Symbol, tensors))
        except (TypeError, ValueError, IndexError, AttributeError, NotImplementedError) as error:
            line = _line(error.__traceback__)
            raise type(error)(f"{label}{line}: {error}") from error


@contextmanager
def _while_tracing() -> Iterator[None]:
    token = _tracing.set(True)
    try:
        yield
    finally:
        _tracing.reset(token)


def _line(traceback: TracebackType | None) -> str:
    """Return where an error came from: the last line that is not of this package or NumPy."""
    found = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(_PACKAGE) and f"{os.sep}numpy{os.sep}" not in file:
            text = linecache.getline(file, traceback.tb_lineno).strip()
            found = f", line {traceback.tb_lineno} of {os.path.basename(file)}" + (f" ({text})" if text else "")
        traceback = traceback.tb_next
    return found
