"""Settings of parameters by name: patterns such as ``"encoder.*"``.

A pattern is a name with ``*``, ``?`` and ``[…]`` as in file names, or the beginning of a name up to a dot:
``"encoder"`` is ``"encoder.*"``.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any


def matching(owner: str, patterns: Any, names: Iterable[str]) -> list[str]:
    """Return the names that match one of the patterns, in their order.

    Raises
    ------
    TypeError
        For what is no text, and no sequence of it.
    ValueError
        For a pattern that no name matches.

    Examples
    --------
    >>> matching("freeze", "encoder.*", ["encoder.weight", "encoder.bias", "head.weight"])
    ['encoder.weight', 'encoder.bias']
    """
    given = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(given, list | tuple) or not all(isinstance(p, str) for p in given):
        raise TypeError(f'{owner}: got {patterns!r}; expected names of parameters, such as "encoder.*"')
    known = list(names)
    for pattern in given:
        if not any(_fits(name, pattern) for name in known):
            raise ValueError(f"{owner}: no parameter is called {pattern!r}; there are "
                             f"{', '.join(map(repr, known)) or 'none'}")
    return [name for name in known if any(_fits(name, pattern) for pattern in given)]


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
