"""How much training a table gets where nobody says: networks and epochs, as many as a budget of work allows.

Few rows are seen more often, as networks learn on for 64 epochs where they do not overfit, and early stopping ends
those that do. Many rows and columns get fewer networks and epochs, so that no table takes long. Work is counted in rows
seen, times what a row takes by its columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastbp.datasets.columns import Column

LEAST_EPOCHS, MOST_EPOCHS = 32, 64
LEAST_FOLDS, MOST_FOLDS, SMALL_ROWS = 4, 8, 5000
COLUMNS = 40
"""Columns of numbers that take as long as the layers after them."""
MORE_EPOCHS_WORK, FEWER_FOLDS_WORK = 1.2e6, 2e6
"""What may be used on more than the least number of epochs, and what the least number of epochs may take."""
FEW_LEVELS = 8
CLASSES = 10
"""Classes more than two that allow for twice the epochs: there is more to learn."""


def work_of(columns: Sequence[Column]) -> float:
    """Return how long a row takes, in relation to one without columns.

    >>> work_of([Column("size", "number", np.zeros(1))] * 40)
    2.0
    """
    def parts(column: Column) -> float:
        if column.kind != "category":
            return 1.0
        return len(column.levels) / FEW_LEVELS if len(column.levels) <= FEW_LEVELS else 2.0
    return 1 + sum(map(parts, columns)) / COLUMNS


def folds_of(rows: int, work: float) -> int:
    """Return how many networks are trained, each on all rows but a part of its own."""
    affordable = 1 + FEWER_FOLDS_WORK / (LEAST_EPOCHS * rows * work)
    most = MOST_FOLDS if rows <= SMALL_ROWS else LEAST_FOLDS
    return min(int(np.clip(affordable, LEAST_FOLDS, most)), rows)


def epochs_of(rows: int, work: float, outputs: int) -> int:
    """Return how many epochs there are, given the rows that all networks together see in one."""
    more = 1 + max(outputs - 2, 0) / CLASSES
    return int(np.clip(MORE_EPOCHS_WORK * more / (rows * work), LEAST_EPOCHS, MOST_EPOCHS))
