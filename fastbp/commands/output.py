"""Files that commands write: whole or not at all, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Self

from fastbp.datasets.table_files import parquet_library
from fastbp.files.disk import replace, replacing

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
    text = _csv([header], False) + _csv(columns, True)
    if path is None:
        _say(text)
    else:
        replace(path, text.encode())


Columns = Sequence[Sequence[Any]]


@contextmanager
def rows_in_pieces(path: Path | None, header: Sequence[str]) -> Iterator[Callable[[Columns], None]]:
    """Give what writes columns piece by piece, as :func:`write_rows` writes all; Parquet by pyarrow."""
    if path is None:
        _say(_csv([header], False))
        yield lambda columns: _say(_csv(columns, True))
        return
    with replacing(path) as file:
        if path.suffix.lower() != ".parquet":
            file.write(_csv([header], False).encode())
            yield lambda columns: void(file.write(_csv(columns, True).encode()))
            return
        with _ParquetPieces(file, header) as pieces:
            yield pieces.add


def _say(text: str) -> None:
    """Print data, which no other characters may stand in for."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"the predictions have {error.object[error.start]!a}, which the terminal ({error.encoding}) "
                         "cannot show; write them to a file with --output FILE") from None
    sys.stdout.write(text)


def void(_: object) -> None:
    """Take what is of no interest."""


class _ParquetPieces:
    """A Parquet file, a row group for each piece."""

    def __init__(self, file: BinaryIO, header: Sequence[str]) -> None:
        self._file, self._header = file, header
        self._writer: Any = None

    def add(self, columns: Columns) -> None:
        import pyarrow as pa
        from pyarrow import parquet
        table = pa.table(dict(zip(self._header, columns, strict=True)))
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()


def _csv(columns: Columns, turned: bool) -> str:
    """Return rows, or columns that are turned into rows, as CSV."""
    text = io.StringIO()
    shown = [[inert(v) for v in column] if column and isinstance(column[0], str) else column for column in columns]
    csv.writer(text, lineterminator="\n").writerows(zip(*shown, strict=True) if turned else shown)
    return text.getvalue()


def _parquet(header: Sequence[str], columns: Sequence[Sequence[Any]]) -> bytes:
    name = parquet_library()
    library, data = import_module(name), io.BytesIO()
    frame = library.DataFrame(dict(zip(header, columns, strict=True)))
    if name == "pandas":
        frame.to_parquet(data, index=False)
    else:
        frame.write_parquet(data)
    return data.getvalue()
