r"""What is done to each column of a table, decided once from the training rows, so that each row is read alone.

Numbers and dates
    robustly scaled and smoothly clipped, :math:`s = (x - m) / r`, :math:`s / \sqrt{1 + (s/3)^2}`, m the median and r
    the distance of the quartiles (Holzmüller et al., 2024, https://arxiv.org/abs/2407.04491); and a place among the
    edges of bins, which :class:`~fastbp.PiecewiseLinear` reads. A missing number is the median, and a flag of its own.
Categories
    a flag for each level, one for missing values too. Columns of many levels have the mean target of each level as
    numbers, drawn towards that of all rows where a level has few, for the training rows from other rows alone; and,
    where levels are embedded, an id in place of the flags, 0 for levels that are rare or new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from math import isfinite
from typing import Any, Literal

import numpy as np

from fastbp.datasets.columns import Column
from fastbp.estimators.tabular.plain_data import Plain
from fastbp.ops.base import Array

FLAG = 2 / np.sqrt(1 + (2 / 3) ** 2)
"""The size of a flag: what scaling by half its range and clipping make of 0 and 1."""
CLIP = 3.0
FARTHEST = 1e9
MOST_LEVELS = 256
MOST_EDGES = 4097
DATE_PARTS = ("value", "month", "weekday", "hour")
LEAST_ROWS = 2
"""Levels of fewer rows have no flag of their own."""
FOLDS = 5
MOST_CLASSES = 10
"""More classes than this have no mean target of their own in columns of many levels."""


@dataclass(frozen=True)
class Encoded:
    """Rows as a network takes them, float32 and int64.

    Attributes
    ----------
    numbers : array (N, D)
    places : array (N, D)
        Of the same columns, 0 to the number of bins.
    flags : array (N, F)
    ids : array (N, C)
        Of levels: each column's follow those of the column before it, 0 is any that has none.
    """

    numbers: Array
    places: Array
    flags: Array
    ids: Array

    def __len__(self) -> int:
        return len(self.flags)

    def take(self, rows: Any) -> Encoded:
        """Return some rows."""
        return Encoded(self.numbers[rows], self.places[rows], self.flags[rows], self.ids[rows])


@dataclass(frozen=True)
class Parts:
    """What one column gives: numbers and their places, flags, and the ids of levels, an array (N,) each."""

    numbers: list[Array] = field(default_factory=list)
    places: list[Array] = field(default_factory=list)
    flags: list[Array] = field(default_factory=list)
    ids: list[Array] = field(default_factory=list)


@dataclass(frozen=True)
class Sizes:
    """How many numbers and flags are made of a row, how many columns have ids, and how many ids there are but 0."""

    numbers: int = 0
    flags: int = 0
    columns: int = 0
    levels: int = 0

    def __add__(self, other: Sizes) -> Sizes:
        return Sizes(self.numbers + other.numbers, self.flags + other.flags, self.columns + other.columns,
                     self.levels + other.levels)


@dataclass(frozen=True)
class NumberCode:
    """How numbers are scaled and binned.

    Attributes
    ----------
    center, scale : float
    edges : tuple of float
        Of the bins, rising; at least two.
    """

    center: float
    scale: float
    edges: tuple[float, ...]

    @classmethod
    def of(cls, values: Array, bins: int) -> NumberCode | None:
        """Return how to scale numbers, NaN where missing, or None where they do not differ."""
        present = np.sort(values[~np.isnan(values)])
        if not len(present) or not present[0] < present[-1]:
            return None
        low, center, high = _quantiles(present, np.array([0.25, 0.5, 0.75])).tolist()
        scale = high - low if high > low else float(present[-1] / 2 - present[0] / 2)
        if not (isfinite(scale) and scale > 0):
            return None
        return cls(center, scale, _edges(present, center, scale, bins))

    @classmethod
    def read(cls, d: Plain) -> NumberCode:
        """Return it from what :meth:`Schema.to_dict` made, or raise FormatError."""
        code = cls(d["center"].number(), d["scale"].number(), tuple(d["edges"].items(Plain.number)))
        if code.scale <= 0:
            raise d["scale"].wrong("a number above 0")
        if not 2 <= len(code.edges) <= MOST_EDGES or any(a >= b for a, b in pairwise(code.edges)):
            raise d["edges"].wrong(f"rising numbers, 2 to {MOST_EDGES} of them")
        return code

    def encode(self, values: Array) -> tuple[Array, Array]:
        """Return numbers and places."""
        filled = np.where(np.isnan(values), self.center, values)
        return self.scaled(filled).astype(np.float32), self.places(filled).astype(np.float32)

    def scaled(self, values: Array) -> Array:
        """Return numbers scaled and smoothly clipped."""
        with np.errstate(over="ignore"):
            s = np.clip((values - self.center) / self.scale, -FARTHEST, FARTHEST)
        return np.asarray(s / np.sqrt(1 + (s / CLIP) ** 2))

    def places(self, values: Array) -> Array:
        """Return where numbers lie among the edges, from 0 to the number of bins."""
        return np.interp(values, self.edges, np.arange(len(self.edges)))


def _quantiles(ordered: Array, levels: Array) -> Array:
    """Return quantiles of sorted values, linear between two of them."""
    at = levels * (len(ordered) - 1)
    below = np.floor(at).astype(int)
    above = np.minimum(below + 1, len(ordered) - 1)
    part = at - below
    return np.asarray(ordered[below] * (1 - part) + ordered[above] * part)


def _edges(ordered: Array, center: float, scale: float, bins: int) -> tuple[float, ...]:
    """Return the edges of bins.

    Three in eight are quantiles of the rows, as many of the values that differ, and the others even steps of
    arsinh((x - center) / scale), for tails that are long.
    """
    distinct = ordered[np.concatenate([[True], ordered[1:] > ordered[:-1]])]
    if len(distinct) <= bins + 1:
        return tuple(distinct.tolist())
    steps = bins // 4
    half = (bins - steps) // 2
    with np.errstate(over="ignore"):
        first, last = np.arcsinh(np.clip((distinct[[0, -1]] - center) / scale, -FARTHEST, FARTHEST))
        even = center + scale * np.sinh(np.linspace(first, last, steps + 1)[1:-1])
    edges = [_quantiles(ordered, np.linspace(0, 1, half + 1)),
             _quantiles(distinct, np.linspace(0, 1, bins - steps - half + 1)), np.clip(even, *distinct[[0, -1]])]
    return tuple(np.unique(np.concatenate(edges)).tolist())


@dataclass(frozen=True)
class NumberPlan:
    """A column of numbers or dates.

    Attributes
    ----------
    name : str
    kind : {"number", "date"}
    codes : tuple of (part, NumberCode)
        Parts: "value", and of dates "month", "weekday" and "hour".
    gaps : bool
        Whether missing values have a flag.
    """

    name: str
    kind: Literal["number", "date"]
    codes: tuple[tuple[str, NumberCode], ...]
    gaps: bool

    @classmethod
    def of(cls, column: Column, bins: int) -> NumberPlan | str:
        """Return the plan, or why the column is of no use."""
        missing = np.isnan(column.values)
        parts = {part: NumberCode.of(values, bins) for part, values in _parts(column).items()}
        codes = tuple((part, code) for part, code in parts.items() if code is not None)
        gaps = bool(missing.any() and not missing.all())
        if missing.all():
            return "has no values"
        if not codes and not gaps:
            return "has the same value in every row"
        return cls(column.name, "date" if column.kind == "date" else "number", codes, gaps)

    @classmethod
    def read(cls, d: Plain) -> NumberPlan:
        """Return it from what :meth:`Schema.to_dict` made, or raise FormatError."""
        kinds: dict[str, Literal["number", "date"]] = {"number": "number", "date": "date"}
        kind = d["kind"].one_of(kinds)
        allowed = {part: part for part in (("value",) if kind == "number" else DATE_PARTS)}
        codes = d["codes"].items(lambda c: (c["part"].one_of(allowed), NumberCode.read(c["code"])))
        if len({part for part, _ in codes}) < len(codes):
            raise d["codes"].wrong("each part once")
        return cls(d["name"].text(), kind, tuple(codes), d["gaps"].flag())

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {"type": "number", "name": self.name, "kind": self.kind, "gaps": self.gaps,
                "codes": [{"part": part, "code": asdict(code)} for part, code in self.codes]}

    def encode(self, column: Column) -> Parts:
        """Return what the column gives."""
        parts = _parts(column)
        made = [code.encode(parts[part]) for part, code in self.codes]
        flags = [np.isnan(column.values) * np.float32(FLAG)] if self.gaps else []
        return Parts([n for n, _ in made], [p for _, p in made], flags)

    @property
    def sizes(self) -> Sizes:
        """How much the column gives."""
        return Sizes(len(self.codes), int(self.gaps))

    def conform(self, column: Column) -> Column:
        """Return a column of another table as numbers or dates, or raise ValueError."""
        if column.kind == self.kind:
            return column
        if column.kind != "category" and np.isnan(column.values).all():
            return Column(self.name, self.kind, column.values)
        if column.kind == "category":
            return Column(self.name, self.kind, _numbers_of(column, self.kind), ())
        raise ValueError(f"column {self.name!r} has {column.kind}s; expected {self.kind}s, as in training")


def _parts(column: Column) -> dict[str, Array]:
    """Return what a column says in numbers."""
    if column.kind == "number":
        return {"value": column.values}
    days = np.floor(column.values)
    known = np.where(np.isnan(days), 0, days).astype("datetime64[D]")
    month = (known.astype("datetime64[M]").astype(np.int64) % 12 + 1).astype(np.float64)
    parts = {"value": column.values, "month": month, "weekday": (days + 3) % 7, "hour": (column.values - days) * 24}
    return {part: np.where(np.isnan(days), np.nan, values) for part, values in parts.items()}


def _numbers_of(column: Column, kind: str) -> Array:
    """Return categories as the numbers that they spell."""
    table = np.full(len(column.levels) + 1, np.nan)
    for i, level in enumerate(column.levels):
        try:
            table[i] = _number_of(level, kind)
        except ValueError:
            raise ValueError(f"column {column.name!r} has text such as {level!r}; expected {kind}s, as in "
                             "training") from None
    return np.asarray(table[column.values])


def _number_of(level: str, kind: str) -> float:
    if level in ("True", "False"):
        return float(level == "True")
    if kind == "date":
        return float(np.datetime64(level, "us").astype(np.int64)) / 86_400e6
    value = float(level)
    if not isfinite(value):
        raise ValueError
    return value


@dataclass(frozen=True)
class CategoryPlan:
    """A column of categories.

    Attributes
    ----------
    name : str
    levels : tuple of str or None
        Those that have flags or ids; None is a missing value.
    usual : int
        The level that most rows have, whose flag is 0 there and negative elsewhere; -1 if there is none.
    known : tuple of str or None
        All levels that have mean targets; empty where the column has few levels.
    means : tuple of tuple of float
        For each of them, and at last for all others.
    codes : tuple of NumberCode or None
        How each mean target is made a number; None where levels do not differ in it.
    embedded : bool
        Whether levels have ids, not flags.
    """

    name: str
    levels: tuple[str | None, ...]
    usual: int
    known: tuple[str | None, ...] = ()
    means: tuple[tuple[float, ...], ...] = ()
    codes: tuple[NumberCode | None, ...] = ()
    embedded: bool = False

    @classmethod
    def read(cls, d: Plain) -> CategoryPlan:
        """Return it from what :meth:`Schema.to_dict` made, or raise FormatError."""
        def level(v: Plain) -> str | None:
            return v.or_none(Plain.text)
        levels, known = (tuple(d[key].items(level)) for key in ("levels", "known"))
        for key, found in (("levels", levels), ("known", known)):
            if len(set(found)) < len(found):
                raise d[key].wrong("each level once")
        plan = cls(d["name"].text(), levels, d["usual"].whole(-1, len(levels) - 1), known,
                   tuple(tuple(m) for m in d["means"].items(lambda m: m.items(Plain.number))),
                   tuple(d["codes"].items(lambda c: c.or_none(NumberCode.read))), d["embedded"].flag())
        if len(plan.means) != (len(known) + 1 if known else 0) or any(len(m) != len(plan.codes) for m in plan.means):
            raise d["means"].wrong("means of each known level, and one more")
        return plan

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {"type": "category", **asdict(self)}

    def places_of(self, column: Column, among: Sequence[str | None]) -> Array:
        """Return the place of each row's level, or -1."""
        at = {level: i for i, level in enumerate(among)}
        table = np.array([*(at.get(level, -1) for level in column.levels), at.get(None, -1)], np.int64)
        return np.asarray(table[column.values])

    def encode(self, column: Column, means: Array | None = None) -> Parts:
        """Return what the column gives; with mean targets of its rows, (N, T), where they are not those of the plan."""
        if self.known and means is None:
            means = np.array(self.means)[self.places_of(column, self.known)]
        numbers, places = ([], []) if means is None else self.encode_means(means)
        at = self.places_of(column, self.levels)
        return Parts(numbers, places, [], [at + 1]) if self.embedded else Parts(numbers, places, self._flags(at))

    def encode_means(self, means: Array) -> tuple[list[Array], list[Array]]:
        """Return numbers and places of the mean targets of rows, (N, T)."""
        made = [code.encode(means[:, t]) for t, code in enumerate(self.codes) if code is not None]
        return [n for n, _ in made], [p for _, p in made]

    @property
    def sizes(self) -> Sizes:
        """How much the column gives."""
        numbers, levels = sum(code is not None for code in self.codes), len(self.levels)
        return Sizes(numbers, columns=1, levels=levels) if self.embedded \
            else Sizes(numbers, levels - (levels == 2 and self.usual >= 0))

    def _flags(self, at: Array) -> list[Array]:
        """Return the flags of rows by the places of their levels: one for two levels."""
        flags = np.zeros((len(at), len(self.levels)), np.float32)
        rows = np.flatnonzero(at >= 0)
        flags[rows, at[rows]] = FLAG
        if self.usual >= 0:
            flags[:, self.usual] -= np.float32(FLAG)
        return [flags[:, i] for i in range(len(self.levels)) if i != self.usual or len(self.levels) != 2]

    def conform(self, column: Column) -> Column:
        """Return a column of another table as categories."""
        return column.as_category()


Plan = NumberPlan | CategoryPlan


@dataclass(frozen=True)
class Schema:
    """The plan of every column in use, and why the others are not.

    Attributes
    ----------
    plans : tuple of NumberPlan or CategoryPlan
    unused : dict of str to str
    """

    plans: tuple[Plan, ...]
    unused: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Sequence[Column], targets: Array, *, bins: int, max_one_hot: int, embedded: bool,
           seed: int) -> tuple[Schema, Encoded]:
        """Decide from the training rows what is done to each column, and do it.

        Parameters
        ----------
        columns : sequence of Column
        targets : array (N, T)
            What levels are told apart by: the target, or a column for each class.
        bins, max_one_hot, seed : int
        embedded : bool
            Whether levels have ids, not flags, in columns of more than `max_one_hot`.

        Returns
        -------
        Schema
        Encoded
            The training rows. Mean targets of their levels are from other rows, so they differ from what
            :meth:`encode` would give.
        """
        plans: list[Plan] = []
        unused: dict[str, str] = {}
        made: list[Parts] = []
        plan: Plan | str
        for column in columns:
            plan, parts = _category(column, targets, bins, max_one_hot, embedded, seed) if column.kind == "category" \
                else _number(column, bins)
            if isinstance(plan, str):
                unused[column.name] = plan
            else:
                plans.append(plan)
                made.append(parts)
        schema = cls(tuple(plans), unused)
        return schema, schema.joined(made, len(targets))

    @property
    def names(self) -> list[str]:
        """The columns in use."""
        return [plan.name for plan in self.plans]

    def encode(self, columns: Mapping[str, Column], rows: int) -> Encoded:
        """Return rows of another table as a network takes them.

        Raises
        ------
        ValueError
            For columns that hold something else than in training.
        """
        return self.joined([plan.encode(plan.conform(columns[plan.name])) for plan in self.plans], rows)

    def joined(self, made: Sequence[Parts], rows: int) -> Encoded:
        """Return what all columns give side by side."""
        def side_by_side(columns: list[Array], dtype: Any) -> Array:
            joined = np.empty((rows, len(columns)), dtype)
            for i, column in enumerate(columns):
                joined[:, i] = column
            return joined
        first = 0
        ids: list[Array] = []
        for plan, parts in zip(self.plans, made, strict=True):
            ids += [np.where(local > 0, local + first, 0) for local in parts.ids]
            first += plan.sizes.levels
        return Encoded(side_by_side([a for p in made for a in p.numbers], np.float32),
                       side_by_side([a for p in made for a in p.places], np.float32),
                       side_by_side([a for p in made for a in p.flags], np.float32), side_by_side(ids, np.int64))

    def owners(self) -> dict[str, list[str]]:
        """Return which column each number, each flag and each id is of."""
        owners: dict[str, list[str]] = {"numbers": [], "flags": [], "ids": []}
        for plan in self.plans:
            owners["numbers"] += [plan.name] * plan.sizes.numbers
            owners["flags"] += [plan.name] * plan.sizes.flags
            owners["ids"] += [plan.name] * plan.sizes.columns
        return owners

    def baseline(self) -> Encoded:
        """Return one row of medians and usual levels."""
        made = []
        for plan in self.plans:
            codes = [c for _, c in plan.codes] if isinstance(plan, NumberPlan) else [c for c in plan.codes if c]
            pairs = [code.encode(np.array([code.center])) for code in codes]
            made.append(Parts([n for n, _ in pairs], [p for _, p in pairs], [np.zeros(1)] * plan.sizes.flags,
                              [np.ones(1, np.int64)] * plan.sizes.columns))
        return self.joined(made, 1)

    @property
    def bins(self) -> int:
        """The most bins that a column has."""
        codes = [code for plan in self.plans for code in
                 ([c for _, c in plan.codes] if isinstance(plan, NumberPlan) else plan.codes)]
        return max((len(code.edges) - 1 for code in codes if code is not None), default=1)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {"columns": [plan.to_dict() for plan in self.plans], "unused": self.unused}

    @classmethod
    def read(cls, d: Plain) -> Schema:
        """Return it from what :meth:`to_dict` made, or raise FormatError."""
        kinds: dict[str, Callable[[Plain], Plan]] = {"number": NumberPlan.read, "category": CategoryPlan.read}
        plans = d["columns"].items(lambda c: c["type"].one_of(kinds)(c))
        schema = cls(tuple(plans), d["unused"].entries(Plain.text))
        if len({*schema.names, *schema.unused}) < len(plans) + len(schema.unused):
            raise d["columns"].wrong("each column once")
        return schema

    @property
    def sizes(self) -> Sizes:
        """How much all columns give."""
        return sum((plan.sizes for plan in self.plans), Sizes())


def _number(column: Column, bins: int) -> tuple[Plan | str, Parts]:
    """Return the plan of a column of numbers or dates, or why it is of no use, and the training rows."""
    plan = NumberPlan.of(column, bins)
    return plan, plan.encode(column) if isinstance(plan, NumberPlan) else Parts()


def _category(column: Column, targets: Array, bins: int, max_one_hot: int, embedded: bool,
              seed: int) -> tuple[Plan | str, Parts]:
    """Return the plan of a column of categories, or why it is of no use, and the training rows."""
    nothing = Parts()
    levels: list[str | None] = [*column.levels, None]
    codes = np.where(column.values >= 0, column.values, len(column.levels))
    counts = np.bincount(codes, minlength=len(levels))
    if counts[:-1].sum() == 0:
        return "has no values", nothing
    if counts.max() == len(codes):
        return "has the same value in every row", nothing
    frequent = [i for i in np.argsort(-counts, kind="stable")[:MOST_LEVELS].tolist() if counts[i] >= LEAST_ROWS]
    kept = tuple(levels[i] for i in frequent)
    usual = 0 if frequent and 2 * counts[frequent[0]] > len(codes) else -1
    embedded = embedded and bool(frequent) and bool((counts > 0).sum() > max_one_hot)
    if (counts > 0).sum() <= max_one_hot or targets.shape[1] > MOST_CLASSES:
        if not frequent or (len(frequent) == 1 and usual < 0):
            return "has another value in nearly every row", nothing
        plan = CategoryPlan(column.name, kept, usual, embedded=embedded)
        return plan, plan.encode(column)
    sums = np.stack([np.bincount(codes, t, len(levels)) for t in targets.T], axis=1)
    overall = targets.mean(axis=0)
    prior = _prior_rows(sums, counts, targets)
    means = (sums + prior * overall) / (counts[:, None] + prior)
    others = _means_of_others(codes, targets, len(levels), prior, seed)
    found = [NumberCode.of(others[:, t], bins) for t in range(targets.shape[1])]
    seen = np.flatnonzero(counts > 0)
    plan = CategoryPlan(column.name, kept, usual, tuple(levels[i] for i in seen),
                        (*(tuple(m) for m in means[seen].tolist()), tuple(overall.tolist())), tuple(found), embedded)
    if not kept and not any(found):
        return "has another value in nearly every row", nothing
    return plan, plan.encode(column, others)


def _prior_rows(sums: Array, counts: Array, targets: Array) -> Array:
    """Return how many rows of the overall mean each level's mean is drawn by: variance within over variance between.

    The empirical Bayes estimate of a mean with normal errors; Micci-Barreca (2001),
    https://doi.org/10.1145/507533.507538.
    """
    filled = counts > 0
    total = targets.var(axis=0)
    means = sums[filled] / counts[filled, None]
    overall = targets.mean(axis=0)
    between = (counts[filled, None] * (means - overall) ** 2).sum(axis=0) / max(len(targets), 1)
    within = np.maximum(total - between, 1e-12)
    rows = within * filled.sum() / len(targets)         # what chance alone makes means differ by, on average
    return np.asarray(np.clip(within / np.maximum(between - rows, 1e-12), 1.0, 1000.0))


def _means_of_others(codes: Array, targets: Array, levels: int, prior: Array, seed: int) -> Array:
    """Return for each row the mean target of its level over the rows of other folds."""
    fold = np.random.default_rng(seed).permutation(len(codes)) % FOLDS
    cells = fold * levels + codes
    counts = np.bincount(cells, minlength=FOLDS * levels).reshape(FOLDS, levels)
    made = np.empty(targets.shape)
    for t in range(targets.shape[1]):
        sums = np.bincount(cells, targets[:, t], FOLDS * levels).reshape(FOLDS, levels)
        rest, rows = sums.sum(axis=0) - sums, counts.sum(axis=0) - counts
        overall = (targets[:, t].sum() - sums.sum(axis=1)) / np.maximum(len(codes) - counts.sum(axis=1), 1)
        means = (rest + prior[t] * overall[:, None]) / (rows + prior[t])
        made[:, t] = means.reshape(-1)[cells]
    return made
