"""Reads what JSON may hold, piece by piece: whatever is not as it should be is a FormatError that says where."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fastbp.core.errors import FormatError

T = TypeVar("T")
MOST = sys.float_info.max


class Plain:
    """A value, and where in a description it stands.

    Examples
    --------
    >>> Plain({"sizes": [1, 2.5]}, "table")["sizes"].items(Plain.number)
    [1.0, 2.5]
    >>> Plain({"sizes": [1, "x"]}, "table")["sizes"].items(Plain.number)
    Traceback (most recent call last):
    fastbp.core.errors.FormatError: table.sizes[1] is 'x'; expected a finite number
    """

    def __init__(self, value: Any, where: str) -> None:
        self.value, self.where = value, where

    def wrong(self, expected: str) -> FormatError:
        """Return the error for a value that is not what is expected."""
        text = repr(self.value)
        return FormatError(f"{self.where} is {text if len(text) <= 60 else text[:57] + '...'}; expected {expected}")

    def __getitem__(self, key: str) -> Plain:
        if not isinstance(self.value, Mapping):
            raise self.wrong("an object")
        if key not in self.value:
            raise FormatError(f"{self.where} lacks {key!r}")
        return Plain(self.value[key], f"{self.where}.{key}")

    def number(self) -> float:
        """Return a finite number."""
        number = not isinstance(self.value, bool) and isinstance(self.value, int | float)
        if not number or not -MOST <= self.value <= MOST:      # NaN is not, and a whole number may be larger
            raise self.wrong("a finite number")
        return float(self.value)

    def whole(self, least: int, most: int = 2**31) -> int:
        """Return a whole number in a range."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not least <= self.value <= most:
            raise self.wrong(f"a whole number from {least} to {most}")
        return self.value

    def text(self) -> str:
        """Return a text."""
        if not isinstance(self.value, str):
            raise self.wrong("a text")
        return self.value

    def one_of(self, among: Mapping[str, T]) -> T:
        """Return what a name stands for."""
        if not isinstance(self.value, str) or self.value not in among:
            raise self.wrong(f"one of {', '.join(map(repr, among))}")
        return among[self.value]

    def flag(self) -> bool:
        """Return a truth value."""
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def or_none(self, read: Callable[[Plain], T]) -> T | None:
        """Return None, or what is read."""
        return None if self.value is None else read(self)

    def items(self, read: Callable[[Plain], T]) -> list[T]:
        """Return the entries of a list, each read."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [read(Plain(v, f"{self.where}[{i}]")) for i, v in enumerate(self.value)]

    def entries(self, read: Callable[[Plain], T]) -> dict[str, T]:
        """Return the entries of an object, each read."""
        if not isinstance(self.value, Mapping):
            raise self.wrong("an object")
        return {str(k): read(Plain(v, f"{self.where}.{k}")) for k, v in self.value.items()}
