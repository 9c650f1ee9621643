"""A confusion matrix as text."""

from __future__ import annotations

import numpy as np

from fastbp.ops.base import Array


def confusion_table(actual: Array, predicted: Array, names: tuple[str, ...]) -> str:
    """Return how often each class (rows) was taken for each (columns), as text.

    >>> print(confusion_table(np.array([0, 1, 1]), np.array([0, 1, 0]), ("no", "yes")))
    actual \\ predicted
            no  yes
       no    1    .
      yes    1    1
    """
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (actual, predicted), 1)
    width = max(len(name) for name in (*names, str(counts.max(initial=0)))) + 2
    lines = ["actual \\ predicted", " " * width + "".join(f"{name:>{width}}" for name in names)]
    lines += [f"{name:>{width}}" + "".join(f"{count or '.':>{width}}" for count in row)
              for name, row in zip(names, counts.tolist(), strict=True)]
    return "\n".join(lines)
