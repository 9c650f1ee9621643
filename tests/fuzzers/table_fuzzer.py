"""Tables: a prediction depends on its row alone, and a model whose description was changed is refused when read."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as fb
from fastbp.commands.predict_table import _columns
from fastbp.datasets.table_files import read_table
from fastbp.estimators.tabular.model_loading import load_estimator
from fastbp.files import container
from fuzzers.file_fuzzer import mutated_description
from fuzzers.unusual import Rng

TEXT = ["a", "A1", "01", "1", "1.0", "007", "None", "nan", "NA", "null", "", " ", "x,y", 'q"q', "two\nlines", "=1+1",
        "é", "True", "2020-01-01", "12345678901234567890", "-", "#N/A", "ü" * 40, "0"]
NUMBERS = ["0", "1", "-1.5", "1e3", "", "3.25", "1e-3", "17", "250", "-0"]
DATES = ["2020-01-01", "1999-12-31", "", "2030-06-15", "2020-01-01 10:30"]
KINDS: dict[str, list[str]] = {"text": TEXT, "few": ["x", "y", "z", ""], "number": NUMBERS, "day": DATES,
                               "flag": ["True", "False", ""], "code": ["01", "02", "03", "A1"]}
ROWS = 120


def rows_of(rng: Rng, rows: int) -> list[list[str]]:
    return [[str(rng.choice(values)) for values in KINDS.values()] for _ in range(rows)]


def write(path: Path, rng: Rng, header: list[str], rows: list[list[str]]) -> Path:
    """Write rows in some way that CSV allows."""
    with path.open("w", newline="", encoding=str(rng.choice(["utf-8", "utf-8-sig"]))) as file:
        quoting = csv.QUOTE_ALL if rng.random() < 0.5 else csv.QUOTE_MINIMAL
        writer = csv.writer(file, quoting=quoting, lineterminator=str(rng.choice(["\n", "\r\n"])))
        writer.writerow(header)
        writer.writerows(rows)
    return path


def model(folder: Path, target: str) -> Path:
    """Train a small model on a table of every kind of column, read from a file as the command does."""
    rng = np.random.default_rng(0)
    rows = rows_of(rng, ROWS)
    table = read_table(write(folder / "train.csv", rng, list(KINDS), rows))
    columns = {name: table.learnt(name) for name in table.names}
    y = np.array([TEXT.index(row[0]) + 3.0 * ("x" in row[1]) for row in rows])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if target == "labels":
            made: Any = fb.TabularClassifier(max_iter=4, hidden_layer_sizes=(8,), n_folds=2, random_state=0)
            made.fit(columns, np.where(y > 12, "above", "below"))
        else:
            made = fb.TabularRegressor(max_iter=4, hidden_layer_sizes=(8,), n_folds=2, random_state=0).fit(columns, y)
    path = folder / f"{target}.safetensors"
    made.save(path)
    return path


class TableFuzzer:
    """Predictions do not depend on the other rows, their order, that of the columns, or the format of the file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = [load_estimator(model(folder, target)) for target in ("labels", "numbers")]

    def predictions(self, path: Path, number: int) -> Any:
        made, table = self.models[number], read_table(path)
        columns = _columns(made, table)
        return made.predict_proba(columns)[:, 0] if number == 0 else made.predict(columns)

    def __call__(self, rng: Rng) -> None:
        number, rows = int(rng.integers(2)), rows_of(rng, int(rng.integers(1, 30)))
        path, header = self.folder / "rows.csv", list(KINDS)
        together = self.predictions(write(path, rng, header, rows), number)
        assert together.shape == (len(rows),)
        assert np.isfinite(together).all()
        some = rng.permutation(len(rows))[:rng.integers(1, len(rows) + 1)]
        order = rng.permutation(len(header))
        others = [[rows[i][j] for j in order] for i in some]
        beside = self.predictions(write(path, rng, [header[j] for j in order], others), number)
        np.testing.assert_array_equal(beside, together[some])
        if rng.random() < 0.3:
            np.testing.assert_allclose(self.predictions(self.parquet(path), number), together[some], rtol=1e-6)

    def parquet(self, path: Path) -> Path:
        """Write the same columns as Parquet: what is text stays text, numbers are numbers, days days."""
        pandas = __import__("pandas")
        table, kinds = read_table(path), self.models[0].column_kinds_
        frame = {}
        for name in table.names:
            column = table.known(name, kinds[name])
            if column.kind == "category":
                levels = [*column.levels, None]
                frame[name] = pandas.Series([levels[i] for i in column.values.tolist()], dtype="str")
            elif column.kind == "date":
                days = (column.values * 86_400e6).round()
                frame[name] = pandas.Series(np.where(np.isnan(days), np.datetime64("NaT", "us"),
                                                     np.nan_to_num(days).astype("int64").astype("M8[us]")))
            else:
                frame[name] = pandas.Series(column.values)
        pandas.DataFrame(frame).to_parquet(self.folder / "rows.parquet")
        return self.folder / "rows.parquet"


class SchemaFuzzer:
    """Models with a changed description and a fitting digest: refused when read, or they predict."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = [container.read(model(folder, target)) for target in ("labels", "numbers")]
        rng = np.random.default_rng(1)
        self.table = read_table(write(folder / "table.csv", rng, list(KINDS), rows_of(rng, 6)))

    def __call__(self, rng: Rng) -> None:
        path = self.folder / "changed.safetensors"
        mutated_description(rng, self.written[rng.integers(2)], path)
        try:
            read = load_estimator(path)
        except fb.FormatError:
            return
        try:
            assert len(read.predict(_columns(read, self.table))) == self.table.rows
        except ValueError as error:     # it wants columns that the table has not, or of another kind
            if "column" not in str(error) and "the table lacks" not in str(error):
                raise
        read.save(path)
