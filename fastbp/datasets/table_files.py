"""Reads CSV and Parquet files as columns.

A CSV file is text. What each of its columns is, numbers, dates or categories, is decided once, from the whole file that
a model is trained on; from then on the model's own schema says what the text is, so that a row is read alone. Every
line must have as many fields as the header: what could shift columns or rows is an error, never a guess.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.datasets.columns import Column, Kind, column_of, level_of, named_values
from fastbp.ops.base import Array

SUFFIXES = (".csv", ".parquet")
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "n/a", "<NA>", "NaT"})
MOST_FIELD = 2**24
PIECE_ROWS = 65_536
# infinity, as pandas writes it, is a number that is refused
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|Inf|INF|infinity|Infinity)", re.ASCII)
# digits that stand for something, as in a postal code, or more of them than float64 tells apart
_CODE = re.compile(r"[+-]?(0\d+|\d{16,})", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?[\d.]*\d,\d+([eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"(\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?)(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_OTHER_DATE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?", re.ASCII)
_MICROSECONDS_A_DAY = 86_400e6


@dataclass(frozen=True)
class Table:
    """A file as columns.

    Attributes
    ----------
    path : Path
    rows : int
    texts : dict of str to list of str
        The columns of a CSV file, as they stand there.
    held : dict of str to object
        Those of a Parquet file, as the library holds them that read it. One that is left out may hold anything.
    """

    path: Path
    rows: int
    texts: dict[str, list[str]]
    held: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        return [*self.texts, *self.held]

    def without(self, names: Sequence[str]) -> Table:
        """Return the same without some columns, or raise ValueError for one that there is not."""
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(f"there is no column {unknown[0]!r} to drop; {str(self.path)!r} has {_listed(self.names)}")
        return Table(self.path, self.rows, {n: texts for n, texts in self.texts.items() if n not in names},
                     {n: values for n, values in self.held.items() if n not in names})

    def learnt(self, name: str) -> Column:
        """Return a column as training sees it: what its text is, all of it together says."""
        return self._read(name) if name in self.held else column_of_text(name, self.texts[name])

    def known(self, name: str, kind: Kind) -> Column:
        """Return a column as what it was in training."""
        if name in self.held:
            return self._read(name)
        texts = self.texts[name]
        return _categories(name, texts) if kind == "category" else Column(name, kind, _values(name, texts, kind))

    def labels(self, name: str) -> list[str | None]:
        """Return a column as labels, exactly as they stand there; None where there is nothing."""
        if name in self.texts:
            return [text if text != "" else None for text in self.texts[name]]
        column = self._read(name)
        if column.kind == "category":
            return [column.levels[i] if i >= 0 else None for i in column.values.tolist()]
        return [None if v != v else level_of(v) for v in column.values.tolist()]

    def numbers(self, name: str) -> Array | None:
        """Return a column as numbers, NaN where there is nothing, or None where there is text."""
        if name in self.held:
            column = self._read(name)
            return column.values if column.kind == "number" else None
        texts = self.texts[name]
        if not all(text == "" or _NUMBER.fullmatch(text.strip()) for text in texts):
            return None
        return np.array([np.nan if text == "" else float(text) for text in texts])

    def odd(self, name: str) -> str:
        """Say what keeps a column of text from being one of numbers or dates, where it nearly is one; else ""."""
        return odd_text(self.texts[name]) if name in self.texts else ""

    def _read(self, name: str) -> Column:
        try:
            return column_of(name, self.held[name])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{error}; or leave the column out with --drop") from None


def read_table(path: Path) -> Table:
    """Read a file.

    Parameters
    ----------
    path : Path
        Ends in .csv or .parquet.

    Raises
    ------
    ImportError
        For a Parquet file, without pandas and pyarrow or polars (``pip install 'fastbp[table]'``).
    OSError, ValueError
        If the file is not there, or no table.
    """
    check_table(path)
    if path.suffix.lower() == ".parquet":
        table = _held(path, _parquet(path))
    else:
        header, columns_of_text = _csv(path)
        table = Table(path, len(columns_of_text[0]), dict(zip(header, columns_of_text, strict=True)), {})
    if not table.rows:
        raise ValueError(f"{str(path)!r} has no rows")
    return table


def read_pieces(path: Path) -> Iterator[Table]:
    """Read a file in pieces of PIECE_ROWS, where it is a Parquet file of more rows and pyarrow is installed.

    Errors as in :func:`read_table`.
    """
    check_table(path)
    if path.suffix.lower() == ".parquet" and parquet_library() == "pandas" and find_spec("pyarrow"):
        from pyarrow import ArrowException, parquet
        try:
            with parquet.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False) as file:
                if file.metadata.num_rows > PIECE_ROWS:
                    for batch in file.iter_batches(PIECE_ROWS, use_threads=False):
                        yield _held(path, batch.to_pandas())
                    return
        except (ArrowException, OSError) as error:
            raise _unreadable(path, error) from error
    yield read_table(path)


def check_table(path: Path) -> None:
    """Raise ValueError or OSError for a path that cannot be a table's."""
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; expected a table, a {' or '.join(SUFFIXES)} file")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{str(path)!r}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")


def parquet_library() -> str:
    """Return the library that reads and writes Parquet files, or raise ImportError."""
    if find_spec("pandas") and (find_spec("pyarrow") or find_spec("fastparquet")):
        return "pandas"
    if find_spec("polars"):
        return "polars"
    raise ImportError("for .parquet files pandas (with pyarrow) or polars is needed; install them with: "
                      "pip install 'fastbp[table]'")


def _parquet(path: Path) -> Any:
    library = import_module(parquet_library())
    try:
        return library.read_parquet(path)
    except MemoryError:
        raise
    except Exception as error:  # each library has errors of its own
        raise _unreadable(path, error) from error


def _held(path: Path, frame: Any) -> Table:
    """Return a frame as a table whose columns nobody has looked at."""
    names, values = zip(*named_values(frame), strict=True) if len(frame.columns) else ((), ())
    _check_names(path, names)
    return Table(path, len(frame), {}, dict(zip(names, values, strict=True)))


def _check_names(path: Path, names: Sequence[str]) -> None:
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise ValueError(f"{str(path)!r} has two columns called {twice!r}; expected a name for each: rename one")


def _unreadable(path: Path, error: Exception) -> Exception:
    """Return an error that names the file; as it is, where it does so itself."""
    if isinstance(error, OSError) and (error.filename or str(path) in str(error)):
        return error
    return ValueError(f"{str(path)!r} cannot be read: {(str(error).strip().splitlines() or [type(error).__name__])[0]}")


# ---- CSV -------------------------------------------------------------------------------------------------------------


def _csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and the columns of a CSV file."""
    with suppress(OverflowError):
        csv.field_size_limit(MOST_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            lines = list(_lines(path, csv.reader(file, strict=True)))
        except UnicodeDecodeError as error:
            raise ValueError(f"{str(path)!r} cannot be read: it is no UTF-8 text at byte {error.start}; save it as "
                             "UTF-8") from None
    if not lines:
        raise ValueError(f"{str(path)!r} cannot be read: it is empty; expected a header and rows")
    header, rows = lines[0][1], lines[1:]
    _check_separator(path, header)
    # an empty line is a missing value where there is one column, and nothing at the end of others
    while rows and len(header) > 1 and not rows[-1][1]:
        rows.pop()
    width = len(header)
    if rows and all(len(fields) == width + 1 and fields[-1] == "" for _, fields in rows):
        rows = [(line, fields[:-1]) for line, fields in rows]      # a comma at the end of every row
    for line, fields in rows:
        if len(fields) != width and not (width == 1 and not fields):
            what = "is empty" if not fields else f"has {len(fields)} fields"
            raise ValueError(f"{str(path)!r}: line {line} {what}; expected {width}, as the header has: "
                             f"{_listed(header)}")
    columns = [[fields[i] if fields else "" for _, fields in rows] for i in range(width)]
    return _named(path, header, columns)


def _lines(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"{str(path)!r} cannot be read: line {reader.line_num}: {error}") from None
        yield reader.line_num, fields


def _check_separator(path: Path, header: list[str]) -> None:
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and separator in header[0]:
            raise ValueError(f"{str(path)!r} has fields that are separated by {name}: {header[0]!r}; expected commas. "
                             "Save it as comma-separated values, with points in numbers")


def _named(path: Path, header: list[str], columns: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Return the columns that have a name; one without must be empty."""
    kept = []
    for i, name in enumerate(header):
        if name.strip():
            kept.append(i)
        elif any(columns[i]):
            kept.append(i)
            header = [*header[:i], f"column {i + 1}", *header[i + 1:]]
    names = [header[i] for i in kept]
    if not names:
        raise ValueError(f"{str(path)!r} has no header; expected the names of columns in its first line")
    _check_names(path, names)
    return names, [columns[i] for i in kept]


def column_of_text(name: str, texts: Sequence[str]) -> Column:
    """Return a column as the kind that its text is: numbers or dates if all of it is, else categories.

    Digits that stand for something stay text: ``007``, or more of them than float64 tells apart.

    >>> column_of_text("a", ["1", "2.5", ""]).kind, column_of_text("b", ["01", "02"]).kind
    ('number', 'category')
    """
    present = [text.strip() for text in texts if text.strip() not in MISSING]
    if present and all(map(_NUMBER.fullmatch, present)) and not any(map(_CODE.fullmatch, present)):
        return Column(name, "number", _values(name, texts, "number"))
    if present and all(_NUMBER.fullmatch(t) or _DECIMAL_COMMA.fullmatch(t) for t in present) \
            and any(map(_DECIMAL_COMMA.fullmatch, present)):
        example = next(t for t in present if _DECIMAL_COMMA.fullmatch(t))
        raise ValueError(f"column {name!r} has numbers with a comma, such as {example!r}; expected a point for the "
                         "decimals and nothing between thousands")
    if present and all(map(_DATE.fullmatch, present)):
        _check_zones(name, present)
        return Column(name, "date", _values(name, texts, "date"))
    if present and all(map(_OTHER_DATE.fullmatch, present)):
        raise ValueError(f"column {name!r} has dates such as {present[0]!r}; expected them as 2020-12-31 or 2020-12-31 "
                         "23:59:00: rewrite them, or leave the column out with --drop")
    if not present:
        return Column(name, "number", np.full(len(texts), np.nan))
    return _categories(name, texts)


def _check_zones(name: str, present: Sequence[str]) -> None:
    """Raise ValueError for dates of which some have a time zone: nobody knows where the others were."""
    has = {bool(_DATE.fullmatch(text)[5]): text for text in present}    # type: ignore[index]
    if len(has) > 1:
        raise ValueError(f"column {name!r} has dates with a time zone, such as {has[True]!r}, and without, such as "
                         f"{has[False]!r}; expected one or the other")


def odd_text(texts: Sequence[str]) -> str:
    """Say which text keeps a column from being one of numbers or dates, where more than half of it is; else "".

    >>> odd_text(["1", "2.5", "", "?"])
    "2 of 3 values are numbers, but not '?' in row 4"
    """
    present = [(i, text.strip()) for i, text in enumerate(texts) if text.strip() not in MISSING]
    for pattern, what in ((_NUMBER, "numbers"), (_DATE, "dates")):
        odd = [(i, text) for i, text in present if not pattern.fullmatch(text)]
        if 0 < 2 * len(odd) < len(present) and not any(_CODE.fullmatch(text) for _, text in present):
            row, text = odd[0]
            return (f"{len(present) - len(odd):,} of {len(present):,} values are {what}, but not {text!r} in row "
                    f"{row + 1}")
    return ""


def _categories(name: str, texts: Sequence[str]) -> Column:
    order: dict[str, int] = {}
    codes = [-1 if text.strip() in MISSING else order.setdefault(text, len(order)) for text in texts]
    return Column(name, "category", np.array(codes, np.int64), tuple(order))


def _values(name: str, texts: Sequence[str], kind: Kind) -> Array:
    """Return numbers or days, NaN where missing, or raise ValueError that shows what is none."""
    read: Callable[[str], float] = _number if kind == "number" else _days
    values = np.empty(len(texts))
    for i, text in enumerate(texts):
        stripped = text.strip()
        if stripped in MISSING:
            values[i] = np.nan
            continue
        try:
            values[i] = read(stripped)
        except ValueError:
            raise ValueError(f"column {name!r} has {text!r} in row {i + 1}; expected {kind}s"
                             + (" as 2020-12-31" if kind == "date" else "")) from None
    return values


def _number(text: str) -> float:
    if text in ("True", "False", "true", "false"):
        return float(text.lower() == "true")
    if not _NUMBER.fullmatch(text) or abs(value := float(text)) == inf:
        raise ValueError
    return value


def _days(text: str) -> float:
    found = _DATE.fullmatch(text)
    if not found:
        raise ValueError
    here = float(np.datetime64(found[1].replace(" ", "T"), "us").astype(np.int64))
    zone = (found[5] or "Z").replace(":", "").replace("Z", "+0000")
    ahead = int(zone[0] + "1") * (int(zone[1:3]) * 60 + int(zone[3:5]))
    return (here - ahead * 60e6) / _MICROSECONDS_A_DAY


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
