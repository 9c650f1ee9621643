"""Files that commands write: whole or not at all, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from fastbp.estimators.tabular.table_files import parquet_library
from fastbp.files.disk import replace

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def inert(text: str) -> str:
    """Return text that a spreadsheet takes for text: what could be a formula has an apostrophe before it.

    >>> inert("=1+1"), inert("Bern")
    ("'=1+1", 'Bern')
    """
    return "'" + text if text.startswith(FORMULA) else text


def write_rows(path: Path | None, header: Sequence[str], columns: Sequence[Sequence[Any]]) -> None:
    """Write columns as CSV or Parquet, or print them as CSV where no file is given."""
    if path is not None and path.suffix.lower() == ".parquet":
        replace(path, _parquet(header, columns))
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([inert(name) for name in header])
    shown = [[inert(v) for v in column] if column and isinstance(column[0], str) else column for column in columns]
    writer.writerows(zip(*shown, strict=True))
    if path is None:
        sys.stdout.write(text.getvalue())
    else:
        replace(path, text.getvalue().encode())


def _parquet(header: Sequence[str], columns: Sequence[Sequence[Any]]) -> bytes:
    name = parquet_library()
    library, data = import_module(name), io.BytesIO()
    frame = library.DataFrame(dict(zip(header, columns, strict=True)))
    if name == "pandas":
        frame.to_parquet(data, index=False)
    else:
        frame.write_parquet(data)
    return data.getvalue()
