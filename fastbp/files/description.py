"""Descriptions: JSON that says what a network or a trainer is made of, read with care.

An :class:`Entry` is a value that knows where it stands, so that what is wrong with it can be named:
``network.layers[2].arguments lacks 'rate'``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from reprlib import repr as short
from typing import Any, TypeVar

import numpy as np

from fastbp.core.errors import FormatError

Thing = TypeVar("Thing")


class Entry:
    """One value of a description.

    Every method returns what its name says, or raises ValueError.

    Examples
    --------
    >>> Entry({"layers": [{"name": 5}]})["layers"].each()[0]["name"].text()
    Traceback (most recent call last):
    ValueError: layers[0].name is 5; expected text
    """

    def __init__(self, value: Any, place: str = "") -> None:
        self.value, self.place = value, place

    def __getitem__(self, key: str) -> Entry:
        if key not in self.mapping():
            raise ValueError(f"{self.place or 'its description'} lacks {key!r}")
        return Entry(self.value[key], f"{self.place}.{key}" if self.place else key)

    def mapping(self) -> dict[str, Any]:
        return self._of(dict, "an object")

    def each(self) -> list[Entry]:
        return [Entry(v, f"{self.place}[{i}]") for i, v in enumerate(self._of(list, "a list"))]

    def text(self) -> str:
        return self._of(str, "text")

    def flag(self) -> bool:
        return self._of(bool, "true or false")

    def whole(self, below: int = 2**63) -> int:
        expected = f"a whole number below {below:,}"
        number = self._of(int, expected)
        if not 0 <= number < below:
            raise self._error(expected)
        return number

    def real(self) -> float:
        """Return a number, NaN and infinities too; an integer stays one."""
        if type(self.value) is int and abs(self.value) < 2**63:
            return self.value
        return self._of(float, "a number")

    def among(self, words: Collection[str]) -> str:
        expected = f"one of {', '.join(words)}"
        word = self._of(str, expected)
        if word not in words:
            raise self._error(expected)
        return word

    def one_of(self, things: Mapping[str, Thing]) -> Thing:
        """Return the thing of this name."""
        return things[self.among(things)]

    def numbered(self, things: Sequence[Thing]) -> Thing:
        """Return the thing of this number."""
        return things[self.whole(len(things))]

    @contextmanager
    def told(self) -> Iterator[None]:
        """Put the place before what goes wrong with things that are made of the entry.

        They may be of classes that the caller handed in, so that anything may: all of it is the file's doing.
        """
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            raise ValueError(f"{self.place}: {error or type(error).__name__}") from error

    def _of(self, kind: type[Thing], expected: str) -> Thing:
        if type(self.value) is not kind:
            raise self._error(expected)
        return self.value

    def _error(self, expected: str) -> ValueError:
        return ValueError(f"{self.place or 'its description'} is {short(self.value)}; expected {expected}")


def plain(name: str, value: Any) -> Any:
    """Return a value as JSON takes it, or raise TypeError."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(name, v) for v in value]
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {k: plain(name, v) for k, v in value.items()}
    raise TypeError(f"{name} is {value!r}, which a file cannot hold; expected numbers, text, None, and lists or dicts "
                    "of them")


def plain_parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a file can hold: NumPy's numbers as Python's, no objects.

    >>> plain_parameters({"n_folds": np.int64(5), "monotonic": {"size": 1}, "random_state": np.random})
    {'n_folds': 5, 'monotonic': {'size': 1}}
    """
    found = {}
    for name, value in given.items():
        with suppress(TypeError):
            found[name] = plain(name, value.tolist() if isinstance(value, np.ndarray) else value)
    return found


@contextmanager
def described(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with a description into a FormatError that names the file."""
    try:
        yield
    except FormatError:
        raise
    except KeyError as error:
        raise FormatError(f"{path} cannot be loaded: its description lacks {error}") from error
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(f"{path} cannot be loaded: {error}") from error
