"""What of a table is to be predicted: classes or a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from fastbp.datasets.table_files import Table
from fastbp.ops.base import Array

# Whole numbers are classes where there are at most so many of them, each in so many rows on average.
MOST_CLASSES = 20
ROWS_A_CLASS = 10
# More classes than this share of the rows cannot be learnt.
MOST_CLASS_SHARE = 0.5


@dataclass(frozen=True)
class Target:
    """The column to be predicted.

    Attributes
    ----------
    name : str
    classes : bool
        Whether it holds classes; else numbers.
    why : str
        What says so.
    rows : array of int
        Those that have a target.
    values : array
        Labels as text, or numbers; of those rows.
    """

    name: str
    classes: bool
    why: str
    rows: Array
    values: Array

    @classmethod
    def of(cls, table: Table, name: str, task: str = "auto") -> Target:
        """Decide what is predicted.

        Raises
        ------
        ValueError
            If there is no such column, or it has nothing, dates, text where numbers are asked for, a single class, or
            more classes than could be learnt.
        """
        if name not in table.names:
            close = get_close_matches(name, table.names, n=1)
            mend = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"--target is {name!r}, but the table has {', '.join(map(repr, table.names))}{mend}")
        if table.learnt(name).kind == "date":
            raise ValueError(f"the target {name!r} has dates, which cannot be predicted; choose another --target, or "
                             "write numbers into the table instead, such as the days since the first of them")
        labels, numbers = table.labels(name), table.numbers(name)
        rows = np.flatnonzero([label is not None for label in labels])
        if not len(rows):
            raise ValueError(f"the target {name!r} has no values")
        given = [labels[i] for i in rows]
        distinct = set(given)
        coded = table.learnt(name).kind == "category"       # digits such as 007 are labels
        task, why = _task(task, None if numbers is None or coded else numbers[rows], len(distinct), coded)
        odd = table.odd(name)
        if task == "regression":
            return cls(name, False, why, rows, _numbers(name, given, None if numbers is None else numbers[rows], odd))
        if len(distinct) < 2:
            raise ValueError(f"the target {name!r} has only the class {given[0]!r}; expected at least 2")
        if len(distinct) > MOST_CLASS_SHARE * len(given):
            raise ValueError(f"the target {name!r} has {len(distinct)} classes in {len(given)} rows, too many to "
                             + (f"learn: {odd}" if odd else "learn; for numbers choose --task regression"))
        return cls(name, True, why, rows, np.array(given, dtype=str))


def _task(task: str, numbers: Array | None, distinct: int, coded: bool) -> tuple[str, str]:
    """Return classification or regression, and why."""
    if task != "auto":
        return task, "as asked for"
    if numbers is None:
        return "classification", "text" if coded else "labels"
    whole = bool((numbers == np.floor(numbers)).all())
    few = distinct <= MOST_CLASSES and distinct * ROWS_A_CLASS <= len(numbers)
    if whole and few:
        return "classification", f"{distinct} distinct whole numbers; to predict a number choose --task regression"
    why = f"{distinct} distinct whole numbers" if whole else "numbers"
    if (whole or distinct <= MOST_CLASSES) and distinct <= MOST_CLASS_SHARE * len(numbers):
        why += "; to predict classes choose --task classification"
    return "regression", why


def _numbers(name: str, given: Sequence[str | None], numbers: Array | None, odd: str) -> Array:
    if numbers is None and odd:
        raise ValueError(f"the target {name!r} has text: {odd}; correct it, or leave it empty")
    if numbers is None:
        raise ValueError(f"the target {name!r} has text such as {given[0]!r}; regression needs numbers")
    if not np.isfinite(numbers).all():
        raise ValueError(f"the target {name!r} has {given[int((~np.isfinite(numbers)).argmax())]!r}; expected finite "
                         "numbers")
    if numbers.min() == numbers.max():
        raise ValueError(f"the target {name!r} has the same value in every row")
    return numbers


def split(rows: int, share: float, seed: int, classes: Array | None = None) -> tuple[Array, Array]:
    """Return row numbers in two parts, the second of about this share, drawn at random; each class in both as in all.

    >>> [len(part) for part in split(1000, 0.15, seed=0)]
    [850, 150]
    """
    order = np.random.default_rng(seed).permutation(rows)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    # every so many of those in order are for testing
    test = np.diff(np.floor(np.arange(rows + 1) * share + 1e-9)) > 0
    return np.sort(order[~test]), np.sort(order[test])
