"""What predicts once training is done: the networks that were kept of each fold, with what is done to a table first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fastbp.datasets.columns import Column
from fastbp.estimators.tabular.member_network import Architecture
from fastbp.estimators.tabular.schema import Encoded, Schema
from fastbp.network import Network
from fastbp.ops.base import Array

PREDICTED_ROWS = 1024

Combine = Callable[[Array], Array]
"""From what members say, (N, members, outputs), to what is meant, (N, …)."""


@dataclass
class Fold:
    """What is kept of the training on one fold.

    Attributes
    ----------
    schema : Schema
    architecture : Architecture
    nets : list of Network
        One for each epoch kept.
    """

    schema: Schema
    architecture: Architecture
    nets: list[Network]

    def encode(self, table: Mapping[str, Column], rows: int) -> Encoded:
        """Return rows of a table as the networks take them."""
        return self.schema.encode(table, rows) if self.schema.plans else constant(rows)


@dataclass
class Committee:
    """All folds, and how much each of the epochs kept counts.

    Attributes
    ----------
    folds : list of Fold
    shares : array (epochs,)
        Add up to 1.
    """

    folds: list[Fold]
    shares: Array

    def means(self, table: Mapping[str, Column], rows: int, combine: Combine) -> list[Array]:
        """Return what each fold means, averaged over the epochs kept: (N, …) each."""
        found = []
        for fold in self.folds:
            encoded = fold.encode(table, rows)
            each = [combine(outputs_of(net, fold.architecture, encoded)) for net in fold.nets]
            found.append(np.asarray(sum(share * said for share, said in zip(self.shares, each, strict=True))))
        return found


def outputs_of(net: Network, architecture: Architecture, rows: Encoded) -> Array:
    """Return what a network for prediction says, (N, members, outputs)."""
    return np.asarray(net.predict(architecture.inputs(rows), batch_size=PREDICTED_ROWS))


def constant(rows: int) -> Encoded:
    """Return rows where no column is of use: a flag that is always there."""
    nothing = np.empty((rows, 0), np.float32)
    return Encoded(nothing, nothing, np.ones((rows, 1), np.float32), np.empty((rows, 0), np.int64))
