"""Reads CSV and Parquet files into columns of numbers and columns of text, through pandas or polars."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.ops.base import Array

SUFFIXES = (".csv", ".parquet")
MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "n/a", "<NA>"]
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?$")
_MICROSECONDS_A_DAY = 86_400e6


def read_table(path: Path) -> tuple[dict[str, Array], set[str]]:
    """Return the columns of a file, by name, and which of them are dates.

    Parameters
    ----------
    path : Path
        Ends in .csv or .parquet.

    Returns
    -------
    columns : dict of str to array
        Numbers in float64, missing ones as NaN, and dates as days since 1970; all else as text, in an array of objects,
        where None is missing.
    dates : set of str

    Raises
    ------
    ImportError
        Without pandas and polars (``pip install 'fastbp[table]'``).
    OSError, ValueError
        If the file is not there, or no table.
    """
    check_table(path)
    library = _library(path.suffix.lower())
    try:
        columns = _with_pandas(path) if library == "pandas" else _with_polars(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # each library has errors of its own
        raise ValueError(f"{str(path)!r} cannot be read: {str(error).strip().splitlines()[0]}") from error
    if not columns or not len(next(iter(columns.values()))):
        raise ValueError(f"{str(path)!r} has no rows")
    columns = {name: _dates(values) for name, values in columns.items()}
    return ({name: _days(values) if values.dtype.kind == "M" else values for name, values in columns.items()},
            {name for name, values in columns.items() if values.dtype.kind == "M"})


def check_table(path: Path) -> None:
    """Raise ValueError or OSError for a path that cannot be a table's."""
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; expected a table, a {' or '.join(SUFFIXES)} file")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{str(path)!r}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")


def _library(suffix: str) -> str:
    """Return the library that can read such a file."""
    if find_spec("pandas") and (suffix == ".csv" or find_spec("pyarrow") or find_spec("fastparquet")):
        return "pandas"
    if find_spec("polars"):
        return "polars"
    raise ImportError(f"to read {suffix} files pandas (with pyarrow) or polars is needed; install them with: "
                      "pip install 'fastbp[table]'")


def _with_pandas(path: Path) -> dict[str, Array]:
    pandas = import_module("pandas")
    frame = pandas.read_csv(path, low_memory=False) if path.suffix.lower() == ".csv" else pandas.read_parquet(path)
    types = pandas.api.types
    columns = {}
    for name in frame.columns:
        values = frame[name]
        if types.is_bool_dtype(values):
            columns[str(name)] = _text(values.astype(object).where(values.notna(), None))
        elif types.is_datetime64_any_dtype(values):
            columns[str(name)] = (values.dt.tz_convert(None) if values.dt.tz else values).to_numpy("datetime64[us]")
        elif types.is_numeric_dtype(values):
            columns[str(name)] = values.to_numpy(dtype=float, na_value=np.nan)
        else:
            columns[str(name)] = _text(values.astype(object).where(values.notna(), None))
    return columns


def _with_polars(path: Path) -> dict[str, Array]:
    polars = import_module("polars")
    if path.suffix.lower() == ".csv":
        frame = polars.read_csv(path, infer_schema_length=None, null_values=MISSING)
    else:
        frame = polars.read_parquet(path)
    columns = {}
    for values in frame.iter_columns():
        if values.dtype.is_temporal() and values.dtype not in (polars.Time, polars.Duration):
            columns[values.name] = values.cast(polars.Datetime("us")).to_numpy()
        elif values.dtype.is_numeric():
            columns[values.name] = values.cast(polars.Float64).to_numpy().copy()
        else:
            columns[values.name] = _text(values.to_list())
    return columns


def _dates(values: Array) -> Array:
    """Return text that is all dates, as ISO 8601 has them, as dates; anything else as it is."""
    if values.dtype != object or not all(v is None or _ISO_DATE.match(v) for v in values) \
            or all(v is None for v in values):
        return values
    try:
        return np.array(["NaT" if v is None else v.replace(" ", "T") for v in values], "datetime64[us]")
    except ValueError:
        return values


def _days(dates: Array) -> Array:
    """Return dates as days since 1970."""
    return np.where(np.isnat(dates), np.nan, dates.astype("datetime64[us]").astype(np.int64) / _MICROSECONDS_A_DAY)


def _text(values: Any) -> Array:
    """Return values as text, None where they are missing."""
    return np.array([None if value is None else str(value) for value in values], dtype=object)
