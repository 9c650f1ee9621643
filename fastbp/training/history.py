"""What training was like, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np


class History:
    """What training was like, epoch by epoch.

    ``history["loss"]`` is a column: one number an epoch. ``history[-1]`` is a row: the newest epoch as a dict. Its
    length is the number of epochs, iterating gives the rows, and ``pandas.DataFrame(history.to_dict())`` a table.

    Entries: ``epoch`` from 1, ``loss`` (the mean over the epoch's mini-batches, weighted by their rows or sample
    weights, as the parameters were at each), ``lr`` (of the last update), with validation ``val_loss``, for
    classification ``val_accuracy``, and each metric as ``val_<name>``; ``seconds`` (validation included) and
    ``samples_per_second`` (of training alone).

    Examples
    --------
    >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    >>> history["loss"], history[-1]["epoch"], len(history)
    ([0.5, 0.25], 2, 2)
    """

    def __init__(self, rows: Sequence[Mapping[str, float]] = ()) -> None:
        self._rows = [dict(row) for row in rows]

    def append(self, row: dict[str, float]) -> None:
        """Add an epoch: the dict itself, so that what is added to it later is in the history."""
        self._rows.append(row)

    def extend(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Add some epochs."""
        self._rows.extend(dict(row) for row in rows)

    @property
    def epochs(self) -> list[int]:
        """The numbers of the epochs, from 1."""
        return [int(row["epoch"]) for row in self._rows]

    def keys(self) -> list[str]:
        """Return the names of the columns."""
        return list(dict.fromkeys(name for row in self._rows for name in row))

    def to_dict(self) -> dict[str, list[float]]:
        """Return all columns by name."""
        return {name: self[name] for name in self.keys()}

    @overload
    def __getitem__(self, key: str) -> list[float]: ...
    @overload
    def __getitem__(self, key: int) -> dict[str, float]: ...

    def __getitem__(self, key: str | int) -> list[float] | dict[str, float]:
        if not isinstance(key, str):
            return dict(self._rows[key])
        if key not in self.keys():
            raise KeyError(f"{key!r}; there are {', '.join(map(repr, self.keys())) or 'no epochs yet'}")
        return [row.get(key, np.nan) for row in self._rows]

    def plot(self, figure: Any = None) -> Any:
        """Draw the loss, the metrics and the learning rate over the epochs; as :func:`fastbp.plots.history` does."""
        from fastbp.views import plots
        return plots.history(self.to_dict(), figure)

    def _repr_png_(self) -> bytes | None:
        """Return the picture for notebooks; None, for the text alone, without matplotlib or anything to draw."""
        try:
            png: bytes = self.plot()._repr_png_()
        except (ImportError, ValueError, KeyError):
            return None
        return png

    def __iter__(self) -> Iterator[dict[str, float]]:
        return (dict(row) for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        if not self._rows:
            return "History(no epochs yet)"
        newest = ", ".join(f"{k}={v:.6g}" for k, v in self._rows[-1].items() if k != "epoch")
        return f"History({len(self)} epoch{'s' * (len(self) != 1)}; the newest: {newest})"
