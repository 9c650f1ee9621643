"""How many networks and epochs a table gets: more for few rows, fewer for many rows and columns."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from conftest import backends

import fastbp as fb
from fastbp.datasets.columns import Column
from fastbp.estimators.tabular.effort import epochs_of, folds_of, work_of


def numbers(columns):
    return [Column(f"x{i}", "number", np.zeros(1)) for i in range(columns)]


@pytest.mark.parametrize(("rows", "columns", "folds", "epochs"), [
    (200, 10, 8, 64), (1500, 10, 8, 64), (5000, 3, 8, 32), (4400, 85, 5, 32), (5001, 10, 4, 64), (10_000, 10, 4, 32),
    (100_000, 30, 4, 32), (3, 1, 3, 64)])
def test_a_budget_of_work_is_spent(rows, columns, folds, epochs):
    work = work_of(numbers(columns))
    assert folds_of(rows, work) == folds
    assert epochs_of(rows * (folds - 1), work, 1) == pytest.approx(epochs, abs=3)


def test_many_classes_are_seen_more_often():
    assert epochs_of(30_000, 1.2, 2) == epochs_of(30_000, 1.2, 1) < epochs_of(30_000, 1.2, 7) < 64
    assert epochs_of(30_000, 1.2, 26) == 64


def test_categories_take_as_long_as_what_is_made_of_them():
    few = Column("a", "category", np.zeros(1, np.int64), ("a", "b"))
    many = Column("b", "category", np.zeros(1, np.int64), tuple(map(str, range(100))))
    assert work_of([few]) < work_of(numbers(1)) < work_of([many])


@pytest.mark.skipif(backends()[-1] != "native", reason="networks for tables are trained by the native backend")
def test_epochs_that_are_asked_for_are_done(capsys):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    fb.TabularRegressor(random_state=0, early_stopping=False, n_folds=2, verbose=True).fit(X, X[:, 0])
    assert capsys.readouterr().out.splitlines()[-1].startswith("epoch 64/64 ")
    assert fb.TabularRegressor(random_state=0, max_iter=3, n_folds=2).fit(X, X[:, 0]).n_iter_ == 3
