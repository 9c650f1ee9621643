"""The progress bar: tqdm's where someone watches, and nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Protocol, Self


class Bar(Protocol):
    """What training tells a bar."""

    disable: bool | None

    def update(self, n: int) -> Any: ...
    def set_description(self, desc: str, refresh: bool) -> Any: ...
    def set_postfix(self, ordered_dict: dict[str, str]) -> Any: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> Any: ...


class NoBar:
    """Shows nothing, and takes none of the locks that bars share."""

    disable: bool | None = True

    def update(self, n: int) -> None: ...
    def set_description(self, desc: str, refresh: bool) -> None: ...
    def set_postfix(self, ordered_dict: dict[str, str]) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None: ...


def progress_bar(total: int | None, unit: str, shown: bool) -> Bar:
    """Return a bar that counts to ``total``; one that shows nothing where stderr is no terminal."""
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        return NoBar()
    from tqdm import tqdm  # here, as it would make up a third of the time that importing fastbp takes
    bar: Bar = tqdm(total=total, unit=unit)
    return bar
