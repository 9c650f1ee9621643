"""Which epochs are kept: those whose mean says best what the rows held out are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fastbp.ops.base import Array

Score = Callable[[Array], float]
"""How bad predictions for all rows held out are."""


def chosen(candidates: Sequence[Array], score: Score, most: int) -> list[int]:
    """Return candidates, some more than once, whose mean scores best.

    Greedy, beginning with the best one: each time the candidate is added that makes the mean best, and what is returned
    is the best mean on the way. Caruana et al. (2004), https://doi.org/10.1145/1015330.1015432.

    Parameters
    ----------
    candidates : sequence of array of one shape
    score : callable
        Of an array of that shape; less is better.
    most : int
        How many at the most.

    Examples
    --------
    >>> chosen([np.array([3.0]), np.array([1.0]), np.array([-2.0])], lambda p: abs(float(p[0])), 3)
    [1, 1, 2]
    """
    first = min(range(len(candidates)), key=lambda i: score(candidates[i]))
    picked, total = [first], candidates[first].astype(np.float64)
    best, kept = score(total), 1
    for n in range(2, most + 1):
        scores = [score((total + c) / n) for c in candidates]
        picked.append(int(np.argmin(scores)))
        total = total + candidates[picked[-1]]
        if scores[picked[-1]] < best:
            best, kept = scores[picked[-1]], n
    return sorted(picked[:kept])
