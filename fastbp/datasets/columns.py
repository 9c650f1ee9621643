"""Tables as columns: from pandas, polars and Arrow, arrays and mappings to numbers, dates and categories.

A column of numbers or dates holds float64, NaN where it is missing: dates as days since 1970, durations and times of
day as days. A column of categories holds the number of each row's level, -1 where it is missing, beside the levels as
text: frames keep categories that way themselves, so that nothing is done row by row.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from fastbp.ops.base import Array

Kind = Literal["number", "date", "category"]

_MICROSECONDS_A_DAY = 86_400e6
_EXPECTED = "numbers, text, categories, truth values, dates, times or durations"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
    kind : {"number", "date", "category"}
    values : array (N,)
        float64, or for categories the int64 number of the level.
    levels : tuple of str
        Of categories, each once.
    declared : bool
        Whether the frame itself says that it holds categories: not text or truth values alone.
    """

    name: str
    kind: Kind
    values: Array
    levels: tuple[str, ...] = ()
    declared: bool = False

    def take(self, rows: Array) -> Column:
        """Return some rows of it."""
        return Column(self.name, self.kind, self.values[rows], self.levels, self.declared)

    def as_category(self) -> Column:
        """Return the column with each of its numbers as a level."""
        if self.kind == "category":
            return self
        missing = np.isnan(self.values)
        found, codes = np.unique(self.values[~missing], return_inverse=True)
        values = np.full(len(self.values), -1, np.int64)
        values[~missing] = codes
        return Column(self.name, "category", values, tuple(level_of(v) for v in found.tolist()), True)


def level_of(value: Any) -> str:
    """Return what stands for a value among levels: numbers that are whole without a point, so that 2 and 2.0 are one.

    >>> level_of(2.0), level_of(2), level_of("02"), level_of(True), level_of(2**60 + 1)
    ('2', '2', '02', 'True', '1152921504606846977')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float | np.floating) and float(value).is_integer() and abs(float(value)) < 2**53:
        return str(int(value))
    return str(value)


def columns_of(X: Any, names: Sequence[str] | None = None, only: Container[str] | None = None) -> list[Column]:
    """Return the columns of a pandas or polars frame, an Arrow table, a mapping of names to arrays, or a 2-d array.

    Parameters
    ----------
    X : frame, table, mapping or array
    names : sequence of str, optional
        What the columns of an array are called; ``x0``, ``x1``, … by default.
    only : container of str, optional
        The columns that are wanted: others are not looked at, whatever they hold.

    Raises
    ------
    ValueError, TypeError
        For what is no table, for columns of a kind that is not known, and for infinite numbers.

    Examples
    --------
    >>> [(c.name, c.kind) for c in columns_of({"size": [1.5, None], "city": ["Bern", "Lima"]})]
    [('size', 'number'), ('city', 'category')]
    """
    found: list[Column] = []
    seen: set[str] = set()
    for name, values in named_values(X, names):
        if only is not None and name not in only:
            continue
        if name in seen:
            raise ValueError(f"X has two columns called {name!r}; expected a name for each")
        seen.add(name)
        found.append(column_of(name, values))
    return found


def column_of(name: str, values: Any) -> Column:
    """Return one column of those that :func:`columns_of` finds; errors as there."""
    column = _column(name, values)
    check_finite(column)
    return column


def named_values(X: Any, names: Sequence[str] | None = None) -> Iterable[tuple[str, Any]]:
    """Return the name of each column of a table and what it holds, as :func:`columns_of` finds them."""
    if hasattr(X, "collect_schema") and not hasattr(X, "get_column"):
        raise TypeError(f"X is a {type(X).__name__}, which has no rows yet; expected a frame: X.collect()")
    if isinstance(X, Mapping):
        return [(str(name), values) for name, values in X.items()]
    if hasattr(X, "columns") and hasattr(X, "iloc"):
        return [(str(name), X.iloc[:, i]) for i, name in enumerate(X.columns)]
    if hasattr(X, "columns") and hasattr(X, "get_column"):
        return [(name, X.get_column(name)) for name in X.columns]
    if hasattr(X, "column_names") and hasattr(X, "schema"):
        return [(name, X.column(i)) for i, name in enumerate(X.column_names)]
    array = X if isinstance(X, np.ndarray) else np.asarray(X)
    if array.ndim != 2:
        raise ValueError(f"X has {array.ndim} axes; expected a table of rows and columns. Reshape your data: "
                         "X.reshape(-1, 1) for one column, X.reshape(1, -1) for one row")
    names = names or [f"x{i}" for i in range(array.shape[1])]
    return [(name, array[:, i]) for name, i in zip(names, range(array.shape[1]), strict=True)]


def check_finite(column: Column) -> None:
    """Raise ValueError for infinite numbers."""
    if column.kind != "category" and np.isinf(column.values).any():
        row = int(np.isinf(column.values).argmax())
        raise ValueError(f"column {column.name!r} has {column.values[row]} in row {row}; expected finite numbers "
                         "(infinity or a value too large for dtype('float64')): correct it, or leave it empty")


def _column(name: str, values: Any) -> Column:
    if isinstance(values, Column):
        return Column(name, values.kind, values.values, values.levels, values.declared)
    if hasattr(values, "cat") and hasattr(values, "dtype") and str(values.dtype) == "category":
        return _pandas_category(name, values)
    if hasattr(values, "to_physical"):
        return _polars(name, values)
    if hasattr(values, "array") and hasattr(values, "isna"):
        return _pandas(name, values)
    if hasattr(values, "to_numpy") and hasattr(values, "type"):
        return _arrow(name, values)
    if isinstance(values, np.ma.MaskedArray):
        return _masked(name, values)
    return _plain(name, np.asarray(values) if not isinstance(values, list | tuple) else _as_array(values))


def _masked(name: str, values: Any) -> Column:
    """Return a column from an array of NumPy whose masked entries are missing."""
    mask = np.ma.getmaskarray(values)
    if values.dtype.kind == "O":
        given = values.data.copy()
        given[mask] = None
        return _plain(name, given)
    column = _plain(name, values.data)
    missing = -1 if column.kind == "category" else np.nan
    return Column(name, column.kind, np.where(mask, missing, column.values), column.levels)


def _as_array(values: Sequence[Any]) -> Array:
    """Return a list as an array that holds what it held: NumPy would make text of numbers beside text."""
    if any(isinstance(v, str) or v is None for v in values):
        array = np.empty(len(values), object)
        array[:] = values
        return array
    return np.asarray(values)


def _pandas_category(name: str, values: Any) -> Column:
    codes = np.asarray(values.cat.codes, np.int64)
    return _declared(name, codes, [level_of(v) for v in values.cat.categories.tolist()])


def _declared(name: str, codes: Array, levels: list[str]) -> Column:
    """Return a column of categories whose levels may come twice once they are text."""
    order: dict[str, int] = {}
    number = np.array([order.setdefault(level, len(order)) for level in levels] or [0], np.int64)
    return Column(name, "category", np.where(codes >= 0, number[codes], -1), tuple(order), True)


def _pandas(name: str, values: Any) -> Column:
    kind = getattr(values.dtype, "kind", "O")
    if hasattr(values.dtype, "freq"):       # periods: the moments at which they begin
        return _plain(name, values.dt.to_timestamp().to_numpy())
    if kind == "M":
        if getattr(getattr(values.dtype, "pyarrow_dtype", values.dtype), "tz", None) is not None:
            values = values.dt.tz_convert("UTC").dt.tz_localize(None)
        return _plain(name, values.to_numpy())
    if kind in "iuf" and not isinstance(values.dtype, np.dtype):
        return _plain(name, values.to_numpy(np.float64, na_value=np.nan))
    if kind == "b" and not isinstance(values.dtype, np.dtype):
        return _plain(name, values.to_numpy(object, na_value=None))
    return _plain(name, values.to_numpy())


def _polars(name: str, values: Any) -> Column:
    dtype = str(values.dtype)
    if dtype.startswith(("Categorical", "Enum")):
        column = _category(name, values.cast(_text_of_polars()).to_list())
        return Column(name, "category", column.values, column.levels, True)
    if dtype in ("String", "Utf8", "Boolean", "Object", "Null", "Time"):
        return _plain(name, _as_array([None, *values.to_list()])[1:])
    if dtype.startswith(("Date", "Datetime")):
        return _plain(name, values.to_numpy().astype("datetime64[us]"))
    if dtype.startswith("Duration"):
        return _plain(name, values.to_numpy())
    if dtype.startswith("Decimal"):
        return _plain(name, np.array([np.nan if v is None else float(v) for v in values.to_list()]))
    if dtype.startswith(("Int", "UInt", "Float")):
        return _plain(name, values.to_numpy())
    raise TypeError(f"column {name!r} has the type {dtype}; expected {_EXPECTED}")


def _arrow(name: str, values: Any) -> Column:
    declared = hasattr(values.type, "index_type")
    if declared:
        values = values.cast(values.type.value_type)
    column = _plain(name, values.to_numpy() if hasattr(values, "chunks") else values.to_numpy(zero_copy_only=False))
    if not declared:
        return column
    column = column.as_category()
    return Column(name, column.kind, column.values, column.levels, True)


def _text_of_polars() -> Any:
    from polars import String  # whoever hands in a polars frame has polars
    return String


def _plain(name: str, values: Array) -> Column:
    """Return a column from a NumPy array."""
    if values.ndim != 1:
        raise ValueError(f"column {name!r} has {values.ndim} axes; expected one value a row")
    kind = values.dtype.kind
    if kind == "b":
        return Column(name, "category", values.astype(np.int64), ("False", "True"))
    if kind in "iuf":
        return Column(name, "number", values.astype(np.float64))
    if kind == "M":
        days = values.astype("datetime64[us]").astype(np.int64) / _MICROSECONDS_A_DAY
        return Column(name, "date", np.where(np.isnat(values), np.nan, days))
    if kind == "m":
        days = values.astype("timedelta64[us]").astype(np.int64) / _MICROSECONDS_A_DAY
        return Column(name, "number", np.where(np.isnat(values), np.nan, days))
    if kind in "US":
        return _category(name, values.tolist())
    if kind == "O":
        return _objects(name, values)
    if kind == "c":
        raise ValueError(f"Complex data not supported: column {name!r} has complex numbers; expected real ones")
    raise TypeError(f"column {name!r} has the type {values.dtype}; expected {_EXPECTED}")


def _missing(value: Any) -> bool:
    return value is None or value != value or type(value).__name__ in ("NAType", "NaTType")


def _objects(name: str, values: Array) -> Column:
    """Return a column from Python objects: numbers or dates if all are, else categories."""
    given = [None if type(v).__name__ in ("NAType", "NaTType") or (isinstance(v, float) and v != v) else v
             for v in values.tolist()]
    kinds = {type(v) for v in given if v is not None}
    if not kinds or all(issubclass(k, int | float | Decimal | np.integer | np.floating) and not issubclass(k, bool)
                        for k in kinds):
        try:
            return Column(name, "number", np.array([np.nan if v is None else float(v) for v in given], np.float64))
        except OverflowError:
            raise ValueError(f"column {name!r} has a whole number too large for dtype('float64'); expected finite "
                             "numbers, or text where it is a label") from None
    if all(issubclass(k, date | np.datetime64) for k in kinds):
        # a time zone is taken away by pandas alone: a date of Python that has one is brought to UTC here
        return _plain(name, np.array([_without_zone(v) for v in given], "datetime64[us]"))
    if kinds and all(issubclass(k, timedelta | np.timedelta64) for k in kinds):
        return _plain(name, np.array(given, "timedelta64[us]"))
    if kinds == {time}:
        return _plain(name, np.array([None if v is None else datetime.combine(date.min, v) - datetime.min
                                      for v in given], "timedelta64[us]"))
    labels = str | bool | int | float | np.bool_ | np.number | bytes | date
    wrong = next((k for k in kinds if not issubclass(k, labels)), None)
    if wrong is not None:
        raise TypeError(f"column {name!r}: argument must be a string or a number, got {wrong.__name__!r}; expected "
                        f"{_EXPECTED}")
    return _category(name, given)


def _without_zone(value: Any) -> Any:
    if getattr(value, "tzinfo", None) is not None:
        return (value - value.utcoffset()).replace(tzinfo=None)
    return value


def _category(name: str, values: Iterable[Any]) -> Column:
    order: dict[str, int] = {}
    codes = [-1 if v is None else order.setdefault(level_of(v), len(order)) for v in values]
    return Column(name, "category", np.array(codes, np.int64), tuple(order))
