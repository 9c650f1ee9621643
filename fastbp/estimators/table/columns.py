"""From columns to what a network takes: numbers standardised, text as one category of several.

What is done to each column is decided once, from the training rows, and kept as plain data that JSON can hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fastbp.ops.base import Array

Columns = Mapping[str, Array]

# Text with more categories than this is embedded; those beyond the most frequent are taken for one.
ONE_HOT_CATEGORIES = 12
MOST_CATEGORIES = 256
# A category of fewer rows than this says too little.
LEAST_ROWS = 2
# Text that differs in more than this share of the rows is a name or a number of the row.
MOST_DISTINCT = 0.5
# Squares of larger numbers than this cannot be summed.
LARGEST = 1e100
# What is more standard deviations away than this could be too much for float32 once a network weighs and squares it.
FARTHEST = 1e12


@dataclass(frozen=True)
class NumberColumn:
    """``(x - mean) / std``, the median where x is missing."""

    name: str
    median: float
    mean: float
    std: float

    @classmethod
    def of(cls, name: str, values: Array) -> NumberColumn | str:
        """Return the column, or why it is of no use."""
        present = values[np.isfinite(values)]
        if not len(present):
            return "has no values"
        median = float(np.median(present))
        filled = np.where(np.isfinite(values), values, median)
        std = float(filled.std())
        largest = float(np.abs(filled).max())
        if std <= 1e-12 * largest:
            # whole numbers from 2**53 on may have been others before they were float64
            if np.ptp(filled) == 0 and largest < 2**53:
                return "has the same value in every row"
            return f"has values too close to each other for float64, all about {largest:g}: shift or scale them"
        return cls(name, median, float(filled.mean()), std)

    def encode(self, values: Array) -> Array:
        """Return (N, 1)."""
        filled = np.where(np.isfinite(values), values, self.median)
        return ((filled - self.mean) / self.std)[:, None]


@dataclass(frozen=True)
class TextColumn:
    """One of several categories: a column of zeros and ones for each.

    Attributes
    ----------
    other : bool
        Whether one more stands for rows whose text is missing or rare, as some of the training rows' was.
    """

    name: str
    categories: list[str]
    other: bool

    @classmethod
    def of(cls, name: str, values: Array) -> TextColumn | str:
        """Return the column, or why it is of no use."""
        counts = Counter(v for v in values if v is not None)
        if not counts:
            return "has no values"
        if len(counts) > max(MOST_DISTINCT * counts.total(), ONE_HOT_CATEGORIES):
            return "has another text in nearly every row"
        kept = sorted(c for c, n in counts.most_common(MOST_CATEGORIES) if n >= LEAST_ROWS)
        rows = sum(counts[c] for c in kept)
        other = rows < len(values)
        if len(kept) + other < 2:
            return "has the same value in every row"
        return cls(name, kept, other)

    @property
    def size(self) -> int:
        """Columns of zeros and ones."""
        return len(self.categories) + self.other

    @property
    def embedding(self) -> int:
        """Width of its embedding; 0 where it is small enough to go without."""
        return min(32, round(1.6 * self.size**0.56)) if self.size > ONE_HOT_CATEGORIES else 0

    def encode(self, values: Array) -> Array:
        """Return (N, size). A category that is not known is taken for a rare one, or is all zeros."""
        places = {c: i for i, c in enumerate(self.categories)}
        unknown = len(self.categories) if self.other else -1
        at = np.array([places.get(v, unknown) for v in values])
        encoded = np.zeros((len(values), self.size), np.float32)
        known = at >= 0
        encoded[np.flatnonzero(known), at[known]] = 1
        return encoded

    def unseen(self, values: Array) -> Counter[str]:
        """Return the categories that training did not know, with their rows; rare ones were not kept apart."""
        known = set(self.categories)
        return Counter(v for v in values if v is not None and v not in known)


@dataclass
class Encoder:
    """What is done to each column of a table.

    Attributes
    ----------
    numbers, texts : list
        The columns in use.
    unused : dict of str to str
        The others, and why.
    """

    numbers: list[NumberColumn] = field(default_factory=list)
    texts: list[TextColumn] = field(default_factory=list)
    unused: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Columns) -> Encoder:
        """Decide, from the training rows, what is done to each column.

        Raises
        ------
        ValueError
            If none is of use.

        Examples
        --------
        >>> encoder = Encoder.of({"size": np.array([1.0, 3.0]), "id": np.array([np.nan, np.nan])})
        >>> encoder.encode({"size": np.array([2.0, np.nan, 5.0])})[0].tolist()
        [[0.0], [0.0], [3.0]]
        >>> encoder.unused
        {'id': 'has no values'}
        """
        encoder = cls()
        for name, values in columns.items():
            text = values.dtype == object
            column = TextColumn.of(name, values) if text else NumberColumn.of(name, values)
            if isinstance(column, str):
                encoder.unused[name] = column
            elif isinstance(column, TextColumn):
                encoder.texts.append(column)
            else:
                encoder.numbers.append(column)
        if not encoder.numbers and not encoder.texts:
            reasons = "; ".join(f"{name!r} {reason}" for name, reason in encoder.unused.items())
            raise ValueError(f"no column can be learnt from: {reasons or 'there is none but the target'}")
        return encoder

    @property
    def names(self) -> list[str]:
        """The columns in use."""
        return [n.name for n in self.numbers] + [t.name for t in self.texts]

    @property
    def embedded(self) -> list[TextColumn]:
        """The text columns that have inputs of their own."""
        return [t for t in self.texts if t.embedding]

    @property
    def features(self) -> int:
        """Columns of the first input: numbers, and text with few categories; 0 where there is no such input."""
        return len(self.numbers) + sum(t.size for t in self.texts if not t.embedding)

    def encode(self, columns: Columns) -> tuple[Array, ...]:
        """Return the network's inputs in float32: one of all features, then one for each embedded column."""
        parts: list[Array] = [n.encode(columns[n.name]) for n in self.numbers]
        parts += [t.encode(columns[t.name]) for t in self.texts if not t.embedding]
        first = [np.ascontiguousarray(np.hstack(parts), np.float32)] if parts else []
        return (*first, *(t.encode(columns[t.name]) for t in self.embedded))

    def conform(self, columns: Columns) -> tuple[dict[str, Array], list[str]]:
        """Return the columns in use of another table, and a note for all that is unlike the training rows.

        Raises
        ------
        ValueError
            If columns are missing, hold text where numbers are expected, or numbers far beyond those trained on.
        """
        missing = [name for name in self.names if name not in columns]
        if missing:
            raise ValueError(f"the table lacks {_quoted(missing)}, which the model was trained on; it has "
                             f"{_quoted(list(columns))}")
        notes, found = [], {}
        for number in self.numbers:
            values = _as_numbers(number.name, columns[number.name])
            gaps = int((~np.isfinite(values)).sum())
            if gaps:
                notes.append(f"column {number.name!r}: {counted(gaps, 'row')} without a value, taken as the median "
                             f"{number.median:g}")
            found[number.name] = values
        for text in self.texts:
            values = as_text(columns[text.name])
            unseen = text.unseen(values)
            if unseen:
                examples = ", ".join(repr(c) for c, _ in unseen.most_common(3))
                notes.append(f"column {text.name!r}: {counted(unseen.total(), 'row')} with categories that training "
                             f"did not know, such as {examples}; taken as unknown")
            found[text.name] = values
        self.check(found)
        return found, notes

    def check(self, columns: Columns) -> None:
        """Raise ValueError for a number that is too far from those trained on for a network to take."""
        for number in self.numbers:
            check_distance(number.name, columns[number.name], number.mean, number.std)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Encoder:
        """Return it from what `to_dict` gave."""
        return cls([NumberColumn(**n) for n in d["numbers"]], [TextColumn(**t) for t in d["texts"]], dict(d["unused"]))


def check_numbers(columns: Columns) -> None:
    """Raise ValueError for a number that is too large to compute with.

    >>> check_numbers({"size": np.array([1.0, 1e300])})
    Traceback (most recent call last):
    ValueError: column 'size' has 1e+300 in row 2; expected numbers up to 1e+100: correct it, or leave it empty
    """
    for name, values in columns.items():
        if values.dtype != object:
            _refuse(name, values, np.abs(values) > LARGEST, f"numbers up to {LARGEST:g}")


def check_distance(name: str, values: Array, mean: float, std: float) -> None:
    """Raise ValueError for a number too many standard deviations away from the mean of the training rows."""
    with np.errstate(over="ignore"):
        far = np.abs(values - mean) > FARTHEST * std
    _refuse(name, values, far, f"numbers like those trained on (mean {mean:g}, standard deviation {std:g})")


def as_text(values: Array) -> Array:
    """Return a column as text: whole numbers without a point, None where missing.

    >>> as_text(np.array([1.0, 2.5, np.nan])).tolist()
    ['1', '2.5', None]
    """
    if values.dtype == object:
        return values
    return np.array([None if np.isnan(v) else str(int(v)) if v == np.floor(v) and abs(v) < 2**53 else str(v)
                     for v in values.tolist()], dtype=object)


def _as_numbers(name: str, values: Array) -> Array:
    """Return a column as numbers, NaN where missing, or raise ValueError that shows what is none."""
    if values.dtype != object:
        return values
    numbers = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        try:
            numbers[i] = np.nan if value is None else float(value)
        except ValueError:
            raise ValueError(f"column {name!r} has text such as {value!r}; the model was trained on numbers "
                             "there") from None
    return numbers


def counted(count: int, what: str) -> str:
    """Return how many there are, in words.

    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {what}{'s' * (count != 1)}"


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _refuse(name: str, values: Array, bad: Array, expected: str) -> None:
    found = np.flatnonzero(bad & np.isfinite(values))
    if len(found):
        raise ValueError(f"column {name!r} has {float(values[found[0]])!r} in row {found[0] + 1}; expected {expected}: "
                         "correct it, or leave it empty")
