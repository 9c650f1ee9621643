"""Columns of frames, tables and lists: one content is one column, whoever holds it."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pytest

from fastbp.datasets.columns import columns_of

CONTENT = {
    "number": ([1.5, None, -2.0], "number", [1.5, np.nan, -2.0]),
    "whole": ([3, None, 2**40], "number", [3, np.nan, 2**40]),
    "decimal": ([Decimal("1.5"), None, Decimal(2)], "number", [1.5, np.nan, 2]),
    "text": (["b", None, "a"], "category", ["b", None, "a"]),
    "truth": ([True, None, False], "category", ["True", None, "False"]),
    "date": ([date(1970, 1, 3), None, date(2000, 2, 29)], "date", [2, np.nan, 11016]),
    "moment": ([datetime(1970, 1, 3, 12), None, datetime(1969, 12, 31)], "date", [2.5, np.nan, -1]),
    "duration": ([timedelta(days=1.5), None, timedelta(hours=-6)], "number", [1.5, np.nan, -0.25]),
    "time of day": ([time(6), None, time(18, 0, 0)], "number", [0.25, np.nan, 0.75]),
}


def a_list(values):
    return {"x": values}


def pandas_frame(values):
    return pytest.importorskip("pandas", reason="pandas is not installed").DataFrame({"x": values})


def pandas_arrow(values):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    return pandas.DataFrame({"x": pandas.Series(values, dtype=pandas.ArrowDtype(arrow.array(values).type))})


def polars_frame(values):
    return pytest.importorskip("polars", reason="polars is not installed").DataFrame({"x": values})


def arrow_table(values):
    return pytest.importorskip("pyarrow", reason="pyarrow is not installed").table({"x": values})


def arrow_batch(values):
    return arrow_table(values).to_batches()[0]


HOLDERS = [a_list, pandas_frame, pandas_arrow, polars_frame, arrow_table, arrow_batch]


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("what", CONTENT)
def test_what_is_held_is_read(holder, what):
    values, kind, expected = CONTENT[what]
    (column,) = columns_of(holder(values))
    assert (column.name, column.kind) == ("x", kind)
    if kind == "category":
        assert [None if i < 0 else column.levels[i] for i in column.values] == expected
    else:
        np.testing.assert_array_equal(column.values, expected)


@pytest.mark.parametrize("holder", [arrow_table, arrow_batch])
def test_dictionaries_of_arrow_are_declared_categories(holder):
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    for values, levels in ((["b", "a", None, "b"], {"a", "b"}), ([2, 1, None, 2], {"1", "2"})):
        (column,) = columns_of(holder(arrow.array(values).dictionary_encode()))
        assert column.declared
        assert (column.kind, set(column.levels)) == ("category", levels)
        assert column.values[0] == column.values[3] != column.values[1]
        assert column.values[2] == -1


def test_columns_that_are_not_wanted_are_not_looked_at():
    X = {"a": [1.0], "b": [object()], "c": [np.inf]}
    assert [c.name for c in columns_of(X, only={"a"})] == ["a"]
    with pytest.raises(TypeError, match="column 'b'"):
        columns_of(X)


def test_numbers_that_are_too_large_are_named():
    with pytest.raises(ValueError, match="column 'x' has a whole number too large"):
        columns_of({"x": [10**400, None]})


def test_masked_entries_are_missing():
    mask = [False, True, False]
    numbers, labels, things = columns_of({
        "n": np.ma.MaskedArray([1, np.inf, 3], mask), "l": np.ma.MaskedArray(["a", "b", "c"], mask),
        "o": np.ma.MaskedArray(np.array([1, "x", 2.5], object), mask)})
    np.testing.assert_array_equal(numbers.values, [1, np.nan, 3])
    assert [labels.levels[i] if i >= 0 else None for i in labels.values] == ["a", None, "c"]
    np.testing.assert_array_equal(things.values, [1, np.nan, 2.5])


def test_periods_are_the_dates_they_begin_at():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    months = pandas.PeriodIndex(["1970-02", None, "1971-01"], freq="M")
    (column,) = columns_of(pandas.DataFrame({"x": months}))
    assert column.kind == "date"
    np.testing.assert_array_equal(column.values, [31, np.nan, 365])
