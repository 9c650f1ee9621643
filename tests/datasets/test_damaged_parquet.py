"""Parquet files that were cut off or overwritten: an error that names the file, whoever reads it."""

import numpy as np
import pytest

import fastbp as fb
from fastbp.datasets.table_files import read_pieces, read_table

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
READERS = {"read_table": read_table, "read_pieces": lambda path: list(read_pieces(path)),
           "ParquetBatches": lambda path: list(fb.datasets.ParquetBatches(path, x=["a", "b"], y="label"))}


@pytest.mark.parametrize("rows", [1000, 70_000])
@pytest.mark.parametrize("reader", READERS)
def test_truncated_files_are_named(tmp_path, reader, rows):
    path, rng = tmp_path / "rows.parquet", np.random.default_rng(0)
    parquet.write_table(pa.table({"a": rng.random(rows), "b": rng.random(rows), "label": np.arange(rows) % 2}), path)
    data = path.read_bytes()
    for end in (0, 3, 100, len(data) // 2, len(data) - 200, len(data) - 8, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises((ValueError, OSError), match=r"rows\.parquet"):
            READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
def test_overwritten_pages_are_named(tmp_path, reader):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"a": np.ones(1000), "b": np.ones(1000), "label": np.arange(1000) % 2}), path)
    data = bytearray(path.read_bytes())
    data[4:40] = bytes(b ^ 0xFF for b in data[4:40])
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"rows\.parquet'? cannot be read"):
        READERS[reader](path)
