"""Batches of data that does not fit in memory: every row once an epoch, in an order that the seed decides."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from thread_ranks import run

import fastbp as fb
from fastbp.datasets import MemmapBatches, ParquetBatches

ROWS = 1000
X = np.stack([np.arange(ROWS), np.arange(ROWS) ** 0.5], axis=1).astype("float32")
Y = np.arange(ROWS) % 3
KINDS = ["parquet", "dataset", "memmap"]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet
    root = tmp_path_factory.mktemp("rows")
    for i, part in enumerate((slice(0, 310), slice(310, ROWS))):
        table = pa.table({"a": X[part, 0], "b": X[part, 1], "label": Y[part], "w": X[part, 0] / ROWS, "text": ["t"] * (
            part.stop - part.start), "pair": pa.FixedSizeListArray.from_arrays(X[part].ravel(), 2)})
        parquet.write_table(table, root / f"{i}.parquet", row_group_size=130)
        (root / str(i)).mkdir()
        for name, array in (("x", X[part]), ("y", Y[part]), ("w", X[part, 0] / ROWS)):
            np.save(root / str(i) / f"{name}.npy", array)
    return root


def batches(folder: Path, kind: str, **options: Any) -> Any:
    if kind == "memmap":
        return MemmapBatches([folder / "0", folder / "1"], chunk_rows=130, **options)
    if kind == "dataset":
        from pyarrow import dataset
        files = dataset.dataset(sorted(map(str, folder.glob("*.parquet"))))
        return ParquetBatches(files, ["a", "b"], "label", **options)
    return ParquetBatches(folder, ["a", "b"], "label", **options)


def numbers(items: Any) -> list[int]:
    return [int(n) for x, *_ in items for n in x[:, 0]]


@each_kind
@pytest.mark.parametrize("batch_size", [1, 7, 130, 999, 1000, 5000])
def test_in_order(kind: str, batch_size: int, folder: Path) -> None:
    made = batches(folder, kind, batch_size=batch_size, shuffle=False)
    items = list(made)
    assert len(items) == len(made) == -(-ROWS // batch_size)
    assert {len(x) for x, _ in items[:-1]} <= {batch_size}
    np.testing.assert_array_equal(np.concatenate([x for x, _ in items]), X)
    np.testing.assert_array_equal(np.concatenate([y for _, y in items]), Y)


@each_kind
@pytest.mark.parametrize("shuffle", [True, (1, 1), (3, 50), (2, 10_000), (100, 64)])
def test_each_row_once_an_epoch_in_an_order_of_its_own(kind: str, shuffle: Any, folder: Path) -> None:
    made = batches(folder, kind, batch_size=64, shuffle=shuffle, seed=4)
    epochs = [numbers(made) for _ in range(2)]
    assert [sorted(e) for e in epochs] == [list(range(ROWS))] * 2
    assert epochs[0] != epochs[1] != list(range(ROWS))
    again = batches(folder, kind, batch_size=64, shuffle=shuffle, seed=4)
    again.epoch = 1                                     # as a resumed training sets it
    assert numbers(again) == epochs[1]
    assert numbers(batches(folder, kind, batch_size=64, shuffle=shuffle, seed=5)) != epochs[0]
    for x, y in again:
        np.testing.assert_array_equal(y, x[:, 0].astype(int) % 3)


def test_chunks_are_mixed(folder: Path) -> None:
    x, _ = next(iter(batches(folder, "parquet", batch_size=64, shuffle=(4, 512))))
    assert len({int(n) // 130 for n in x[:, 0]}) >= 3


@each_kind
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("shuffle", [False, True])
def test_ranks_share_the_rows(kind: str, size: int, shuffle: bool, folder: Path) -> None:
    comms = [type("C", (), {"rank": rank, "size": size})() for rank in range(size)]
    shares = [list(batches(folder, kind, batch_size=64, shuffle=shuffle, comm=comm)) for comm in comms]
    assert {len(share) for share in shares} == {-(-ROWS // 64)}
    assert sorted(n for share in shares for n in numbers(share)) == list(range(ROWS))
    assert max(sum(len(share[i][0]) for share in shares) for i in range(16)) <= 64 + size


def test_drop_last(folder: Path) -> None:
    made = batches(folder, "memmap", batch_size=64, drop_last=True)
    items = list(made)
    assert len(items) == len(made) == 15
    assert {len(x) for x, _ in items} == {64}


@pytest.mark.parametrize("kind", ["parquet", "memmap"])
def test_sample_weights(kind: str, folder: Path) -> None:
    name = "w.npy" if kind == "memmap" else "w"
    for x, _, w in batches(folder, kind, sample_weight=name):
        np.testing.assert_allclose(w, x[:, 0] / ROWS, rtol=1e-6)


def test_columns_of_lists_and_several_targets(folder: Path) -> None:
    x, y = next(iter(ParquetBatches(folder / "0.parquet", "pair", ["a", "b"], 50, False, dtype="float64")))
    np.testing.assert_array_equal(x, X[:50].astype("float64"))
    np.testing.assert_array_equal(y, x)
    assert y.dtype == "float64"


@each_kind
def test_training_is_as_on_arrays(kind: str, folder: Path) -> None:
    def made() -> fb.Trainer:
        return fb.Trainer(fb.Sequential(fb.Linear(2, 3), seed=0), fb.CrossEntropy(), fb.SGD(1e-6))
    ours, theirs = made(), made()
    history = ours.fit(batches(folder, kind, batch_size=48, shuffle=False), epochs=2, progress=False)
    expected = theirs.fit(X, Y, batch_size=48, shuffle=False, epochs=2, progress=False)
    np.testing.assert_array_equal(ours.net.params.flat, theirs.net.params.flat)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-12)


def test_training_in_ranks(folder: Path) -> None:
    def script(comm: Any) -> Any:
        trainer = fb.Trainer(fb.Sequential(fb.Linear(2, 3), seed=0), fb.CrossEntropy(), fb.SGD(1e-6), comm=comm)
        trainer.fit(batches(folder, "parquet", batch_size=48, comm=comm), epochs=2, progress=False)
        return trainer.update.step, trainer.net.params.flat.tolist()
    a, b = run(2, script)
    assert a == b
    assert a[0] == 2 * -(-ROWS // 48)


def test_the_thread_ends_with_the_loop(folder: Path) -> None:
    before = threading.active_count()
    iterator = iter(batches(folder, "memmap", batch_size=1, shuffle=(1, 10)))    # too small for all to be read ahead
    next(iterator)
    assert threading.active_count() == before + 1
    iterator.close()
    assert threading.active_count() == before


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """A file of 156 MB takes no more than one of 31 MB."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    script = f"""
import resource, numpy as np, pyarrow as pa, pyarrow.parquet as pq
from fastbp.datasets import ParquetBatches
rng = np.random.default_rng(0)
names = [f"c{{i}}" for i in range(50)]
schema = pa.schema([(name, pa.float32()) for name in names] + [("y", pa.int64())])
peaks, rows = [], 0
for groups in (30, 150):
    path = {str(tmp_path)!r} + f"/{{groups}}.parquet"
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for _ in range(groups):
            columns = [rng.standard_normal(5000, "float32") for _ in range(50)] + [np.zeros(5000, int)]
            writer.write_table(pa.table(columns, schema=schema))
    rows += sum(len(x) for x, _ in ParquetBatches(path, names, "y", 512))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(rows, peaks[1] - peaks[0])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    rows, grown = map(int, done.stdout.split())
    assert rows == 900_000
    assert grown < 60 * 1024      # KiB


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "message"), [
    ({"batch_size": 0}, "batch_size is 0"), ({"shuffle": 3}, r"shuffle is 3; expected True, False, or a tuple"),
    ({"shuffle": (0, 5)}, r"shuffle\[0\] is 0"), ({"seed": -1}, "seed is -1"), ({"drop_last": 1}, "drop_last is 1"),
    ({"y": None}, "y is None; expected the name of a column"),
    ({"x": []}, r"x is \[\]; expected the name of a column"),
    ({"x": ["a", "z"]}, "lacks 'z'; it has 'a', 'b'")])
def test_arguments(options: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=f"ParquetBatches: .*{message}"):
        ParquetBatches(**{"paths": folder, "x": ["a", "b"], "y": "label"} | options)


def test_a_file_that_is_not_there(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no Parquet file"):
        ParquetBatches(folder / "nothing.parquet", "a", "b")
    with pytest.raises(FileNotFoundError):
        MemmapBatches(folder / "nothing")


def test_files_by_a_pattern(folder: Path) -> None:
    for paths in (str(folder / "*.parquet"), folder.glob("*.parquet")):
        made = ParquetBatches(paths, "a", "label", shuffle=False)
        assert sorted(numbers(made)) == list(range(ROWS))
    with pytest.raises(FileNotFoundError, match=r"there is no Parquet file '.*x\*\.parquet'"):
        ParquetBatches(str(folder / "x*.parquet"), "a", "label")


def test_a_filter_of_a_dataset_is_not_passed_over(folder: Path) -> None:
    from pyarrow import dataset
    files = dataset.dataset(sorted(map(str, folder.glob("*.parquet"))))
    assert ParquetBatches(files, "a", "label").rows == ROWS
    with pytest.raises(ValueError, match=rf"the dataset has 10 rows, and its files {ROWS}: a filter chooses some"):
        ParquetBatches(files.filter(dataset.field("a") < 10), "a", "label")
    with pytest.raises(ValueError, match=r"paths is .*; expected at least one file, or a pyarrow dataset of files"):
        ParquetBatches(dataset.dataset([files, files]), "a", "label")


def test_columns_that_hold_no_numbers_or_have_gaps(folder: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet
    with pytest.raises(ValueError, match=r"column 'text' of .*0.parquet holds string; expected numbers"):
        next(iter(ParquetBatches(folder, "text", "label", shuffle=False)))
    parquet.write_table(pa.table({"a": [1.0, None], "y": [0, 1]}), tmp_path / "gaps.parquet")
    with pytest.raises(ValueError, match=r"column 'a' of .*gaps.parquet has rows without a value"):
        next(iter(ParquetBatches(tmp_path / "gaps.parquet", "a", "y")))


def test_arrays_that_do_not_fit_each_other(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    np.save(tmp_path / "y.npy", np.ones(4))
    with pytest.raises(ValueError, match=r"y.npy' has shape \(4,\); expected 3 rows, as x.npy has"):
        MemmapBatches(tmp_path)
