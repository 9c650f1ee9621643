"""Tracing: a plain function is called once, on symbols; what it does with them is the graph.

What goes wrong within the function is told with its name, and with the line of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from fastbp.core.lines import line_of_error
from fastbp.core.words import mend_of
from fastbp.graph.tensor import Symbol, Tensor

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
            line = line_of_error(error.__traceback__)
            raise type(error)(f"{label}{line}: {error}{mend_of(str(error))}") from error


@contextmanager
def _while_tracing() -> Iterator[None]:
    token = _tracing.set(True)
    try:
        yield
    finally:
        _tracing.reset(token)
