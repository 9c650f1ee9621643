"""Settings of parameters by name: what an optimizer does otherwise for those that fit ``"encoder.*"``.

A pattern is a name with ``*``, ``?`` and ``[…]`` as in file names, or the beginning of a name up to a dot:
``"encoder"`` is ``"encoder.*"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from fastbp.core.checks import number

Groups = tuple[tuple[str, dict[str, float]], ...]
"""Patterns with settings: "lr_factor" and "weight_decay"."""

_SETTINGS = ("lr", "lr_factor", "weight_decay")


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
    named = name == pattern or name.startswith(f"{pattern}.")     # a name may have brackets of its own
    return named or fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def as_groups(owner: str, groups: Any, lr: float | None) -> Groups:
    """Check the groups that an optimizer is given; lr is its learning rate, where that is a number.

    Raises
    ------
    TypeError, ValueError
        For anything but a dict of patterns to dicts of settings.
    """
    if groups is None:
        return ()
    if not isinstance(groups, Mapping) or not all(isinstance(p, str) for p in groups):
        raise TypeError(f'{owner}: groups is {groups!r}; expected a dict of patterns to settings, such as '
                        '{"encoder.*": {"lr": 1e-4}}')
    return tuple((pattern, _checked(f"{owner}: groups[{pattern!r}]", given, lr)) for pattern, given in groups.items())


def _checked(owner: str, given: Any, lr: float | None) -> dict[str, float]:
    if not isinstance(given, Mapping) or not given:
        raise TypeError(f'{owner} is {given!r}; expected settings, such as {{"lr": 1e-4, "weight_decay": 0.0}}')
    unknown = [name for name in given if name not in _SETTINGS]
    if unknown:
        raise ValueError(f"{owner} has {unknown[0]!r}; there are {', '.join(map(repr, _SETTINGS))}")
    settings = {name: number(owner, name, value, "a number of at least 0", lambda v: v >= 0)
                for name, value in given.items()}
    if "lr" in settings:
        if lr is None or "lr_factor" in settings:
            raise ValueError(f"{owner} has a learning rate beside a schedule or a factor; give \"lr_factor\" alone, "
                             "which the optimizer's learning rate is multiplied by")
        settings["lr_factor"] = settings.pop("lr") / lr
    return settings


def settings(owner: str, groups: Groups, names: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return the settings of each name: each from the last pattern that has it.

    Raises
    ------
    ValueError
        For a pattern that no name matches.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for pattern, given in groups:
        for name in matching(f"{owner}: groups", pattern, found):
            found[name] |= given
    return found
