"""Command-line arguments: types for argparse, which return a value or word an error, and a check of several."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path


def positive_int(text: str) -> int:
    """A whole number of at least 1.

    >>> positive_int("12")
    12
    """
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def seed(text: str) -> int:
    """A whole number of at least 0."""
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"{text!r} is no whole number of at least 0")
    return int(text)


def positive_float(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def not_an_input(option: str, path: Path, **inputs: Path) -> None:
    """Raise ValueError where the file to be written is, by whatever name, one of those that are read."""
    for what, other in inputs.items():
        if path.exists() and other.exists() and path.samefile(other):
            raise ValueError(f"{option} is {str(path)!r}, the {what} itself, which would be lost; choose another name")
