"""What is shown while a network trains: tqdm's bar, a line for each epoch, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Protocol, Self

Shown = Literal["auto", "bar", "lines"] | bool
"""How progress is shown: "auto", "bar", "lines"; True is "auto", False nothing."""

# Of an epoch's entries, those that are not shown.
_UNTOLD = ("epoch", "lr", "samples_per_second")


class Bar(Protocol):
    """What training tells whoever shows progress."""

    counts: bool
    """Whether it wants to hear of mini-batches."""

    def update(self, n: int) -> Any:
        """So many mini-batches more are done."""

    def begin(self, epoch: int) -> None:
        """An epoch begins."""

    def end(self, row: Mapping[str, float]) -> None:
        """An epoch has ended, with these entries of the history."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> Any: ...


class NoBar:
    """Shows nothing, and takes none of the locks that bars share."""

    counts = False

    def update(self, n: int) -> None: ...
    def begin(self, epoch: int) -> None: ...
    def end(self, row: Mapping[str, float]) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None: ...


class Lines(NoBar):
    """A line for each epoch, on the standard output."""

    def __init__(self, epochs: int, first: int) -> None:
        self._last = first + epochs - 1

    def end(self, row: Mapping[str, float]) -> None:
        told = [f"{name} {row[name]:.4g}" + " s" * (name == "seconds") for name in row if name not in _UNTOLD]
        try:
            print(f"epoch {int(row['epoch'])}/{self._last}", *told, sep="  ", flush=True)
        except (OSError, ValueError, AttributeError):       # nobody reads it any more, or there never was an output
            return


class TerminalBar:
    """tqdm's bar, on the standard error."""

    counts = True

    def __init__(self, total: int | None, unit: str = "batch") -> None:
        from tqdm import tqdm  # here, as it would make up a third of the time that importing fastbp takes
        self._bar = tqdm(total=total, unit=unit)

    def update(self, n: int) -> None:
        self._bar.update(n)

    def begin(self, epoch: int) -> None:
        self._bar.set_description(f"epoch {epoch}", refresh=False)

    def end(self, row: Mapping[str, float]) -> None:
        self._bar.set_postfix({name: f"{row[name]:.4g}" for name in row if name not in (*_UNTOLD, "seconds")})

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._bar.__exit__(kind, error, traceback)


def checked(shown: Any) -> Shown:
    """Return how progress is to be shown, or raise ValueError.

    Examples
    --------
    >>> checked(True)
    True
    """
    if shown is None or (shown is not True and shown is not False and shown not in ("auto", "bar", "lines")):
        raise ValueError(f'fit: progress is {shown!r}; expected "auto", "bar", "lines" or False')
    known: Shown = shown
    return known


def progress_bar(updates: int | None, epochs: int, first: int, shown: Shown) -> Bar:
    """Return what shows the progress of so many updates and epochs, the first of which has this number.

    By itself that is a bar in a terminal, and lines in a notebook; elsewhere, as in a log, only what is asked for.
    """
    kind = shown
    if shown in (True, "auto"):
        kind = "bar" if _is_terminal() else "lines" if in_notebook() else False
    if kind == "bar" and sys.stderr is not None:
        return TerminalBar(updates)
    return Lines(epochs, first) if kind == "lines" else NoBar()


def counting_bar(total: int, unit: str, shown: bool) -> Bar:
    """Return a bar that counts so many things; one that shows nothing where the standard error is no terminal."""
    return TerminalBar(total, unit) if shown and _is_terminal() else NoBar()


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:      # it is closed
        return False


def in_notebook() -> bool:
    """Whether this runs in a notebook, or in another front end of IPython's kernel."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")
