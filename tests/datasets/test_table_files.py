"""Files as columns: what a table says is what is read, whatever it is written as."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp.datasets.columns import Column, columns_of
from fastbp.datasets.table_files import MISSING, column_of_text, odd_text, read_table
from fastbp.estimators.tabular.schema import Schema
from fastbp.estimators.tabular.target import Target, split

TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=8)
NUMBER = st.one_of(st.integers(-10**12, 10**12).map(str), st.floats(-1e12, 1e12).map(repr))
ODD = st.sampled_from(["01", "1", "007", "=1+1", "2020-01-02"])
CELL = st.one_of(TEXT, NUMBER, st.sampled_from(sorted(MISSING)), ODD)


def written(path, header, rows, **options):
    text = io.StringIO()
    writer = csv.writer(text, **options)
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path


@settings(deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=8), quoted=st.booleans(),
       line=st.sampled_from(["\n", "\r\n"]))
def test_every_cell_is_read_as_it_was_written(tmp_path_factory, rows, quoted, line):
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    table = read_table(written(path, ["a", "b", "c"], rows, quoting=quoting, lineterminator=line))
    assert table.rows == len(rows)
    for i, name in enumerate("abc"):
        assert table.texts[name] == [row[i] for row in rows]
        assert table.labels(name) == [row[i] if row[i] != "" else None for row in rows]


@settings(deadline=None)
@given(texts=st.lists(CELL, min_size=1, max_size=12), data=st.data())
def test_a_column_is_coded_row_by_row(texts, data):
    """Rows are coded alike alone, in any order and in any company."""
    try:
        column = column_of_text("x", texts)
        schema, _ = Schema.of([column], np.zeros((len(texts), 1)), bins=8, max_one_hot=4, embedded=False, seed=0)
    except ValueError:
        return      # numbers with commas, dates written otherwise
    order = data.draw(st.permutations(range(len(texts))))
    together = schema.encode({"x": column}, len(texts))
    shuffled = schema.encode({"x": column.take(np.array(order))}, len(texts))
    np.testing.assert_array_equal(together.take(np.array(order)).flags, shuffled.flags)
    np.testing.assert_array_equal(together.take(np.array(order)).places, shuffled.places)
    for i in range(len(texts)):
        alone = schema.encode({"x": column.take(np.array([i]))}, 1)
        for part in ("numbers", "places", "flags"):
            np.testing.assert_array_equal(getattr(alone, part)[0], getattr(together, part)[i])


@settings(deadline=None)
@given(values=st.lists(st.one_of(st.none(), st.floats(-1e300, 1e300)), min_size=2, max_size=30))
def test_numbers_are_finite_and_places_within_bins(values):
    (column,) = columns_of({"x": [np.nan if v is None else v for v in values]})
    schema, rows = Schema.of([column], np.zeros((len(values), 1)), bins=4, max_one_hot=8, embedded=False, seed=0)
    far = schema.encode({"x": Column("x", "number", np.array([1.7e308, -1.7e308, np.nan]))}, 3)
    for encoded in (rows, far):
        assert np.isfinite(encoded.numbers).all()
        assert (np.abs(encoded.numbers) <= 3).all()
        assert ((encoded.places >= 0) & (encoded.places <= schema.bins)).all()


@pytest.mark.parametrize(("texts", "kind"), [
    (["1", "2.5", "", "-3e4", ".5", "NA"], "number"), (["01", "02"], "category"), (["007", "1"], "category"),
    (["9007199254740993"], "category"), (["1", "x"], "category"), (["True", "False"], "category"),
    (["2020-01-02", "2020-01-02 03:04", ""], "date"), (["2020-01-02T03:04:05.5"], "date"), (["", "NA"], "number"),
    (["1_000"], "category"), (["0", "0.5", "-0"], "number"), (["١"], "category")])
def test_what_text_is(texts, kind):
    assert column_of_text("x", texts).kind == kind


def test_dates_are_days_and_their_parts(tmp_path):
    path = written(tmp_path / "t.csv", ["d"], [[d] for d in ("1970-01-01", "1970-01-02 12:00", "2000-02-29")])
    column = read_table(path).learnt("d")
    np.testing.assert_array_equal(column.values, [0, 1.5, 11016])
    (frame,) = columns_of({"d": np.array(["1970-01-01", "1970-01-02T12", "2000-02-29"], "datetime64[s]")})
    np.testing.assert_array_equal(frame.values, column.values)


# ---- the target ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "task", "classes", "why"), [
    ([i % 18 for i in range(360)], "auto", True, "18 distinct whole numbers; to predict a number choose --task regr"),
    ([i % 25 for i in range(360)], "auto", False, "25 distinct whole numbers; to predict classes choose --task class"),
    ([i % 2 / 4 for i in range(360)], "auto", False, "numbers; to predict classes choose --task classification"),
    (list(range(360)), "auto", False, "360 distinct whole numbers"),
    ([i / 7 for i in range(360)], "auto", False, "num"),
    (["b", "a"] * 20, "auto", True, "text"), (["01", "02"] * 20, "auto", True, "text"),
    ([0.5, 1.0] * 20, "classification", True, "as asked for"), ([10, 9] * 20, "regression", False, "as asked for")])
def test_the_task_is_found_out(tmp_path, values, task, classes, why):
    path = written(tmp_path / "t.csv", ["x", "y"], [[i, v] for i, v in enumerate(values)])
    target = Target.of(read_table(path), "y", task)
    assert target.classes == classes
    assert target.why.startswith(why)
    assert target.values.tolist() == [str(v) if classes else float(v) for v in values]


def test_classes_are_spread_over_the_parts():
    classes = np.repeat([0, 1, 2], [160, 30, 10])
    train, test = split(200, 0.15, 0, classes)
    assert sorted([*train, *test]) == list(range(200))
    np.testing.assert_allclose(np.bincount(classes[test], minlength=3), [24, 4.5, 1.5], atol=1)


@pytest.mark.parametrize(("text", "days"), [
    ("1970-01-02 00:00:00+00:00", 1), ("1970-01-02T00:00:00Z", 1), ("1970-01-02 09:00+0900", 1),
    ("1970-01-01 19:00:00-05:00", 1), ("1970-01-02 12:00:00.5+12:00", 1 + 0.5 / 86400)])
def test_dates_with_a_time_zone_are_brought_to_utc(text, days):
    column = column_of_text("t", ["", text])
    assert column.kind == "date"
    np.testing.assert_allclose(column.values, [np.nan, days], rtol=1e-12)


def test_dates_of_which_some_have_a_time_zone_are_named():
    with pytest.raises(ValueError, match="'t' has dates with a time zone, such as '2020-01-01Z', and without"):
        column_of_text("t", ["2020-01-01", "2020-01-01Z"])


def test_infinity_is_no_category():
    with pytest.raises(ValueError, match="'t' has '-inf' in row 2; expected numbers"):
        column_of_text("t", ["1.5", "-inf"])


@pytest.mark.parametrize(("texts", "said"), [
    (["1", "2", "?"], "2 of 3 values are numbers, but not '?' in row 3"),
    (["2020-01-01", "", "2020-01-02", "soon"], "2 of 3 values are dates, but not 'soon' in row 4"),
    (["1", "2", "3"], ""), (["1", "a"], ""), (["007", "12", "13", "a"], ""), (["", ""], "")])
def test_what_keeps_text_from_being_numbers_is_told(texts, said):
    assert odd_text(texts) == said
