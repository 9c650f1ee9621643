"""How one tensor depends on another: the local derivatives of an op, in the forms that a search for paths asks of them.

Elements are counted in the flat arrays of the rows that are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from fastbp.ops.base import Array

# Elements of a temporary array: 32 MiB of float64.
_CHUNK = 1 << 22


class LocalMap(Protocol):
    """The local derivatives of one tensor, the target, by another, the source."""

    def best(self, potential: Array) -> Array:
        """Return, for each source element, the largest log₂|derivative| + potential over its targets."""

    def counts(self, paths: Array) -> Array:
        """Return, for each source element, the sum of paths over its targets: whole numbers of any size."""

    def edges(self, element: int) -> tuple[Array, Array]:
        """Return the targets of a source element, and the derivatives."""


@dataclass(frozen=True)
class Elementwise:
    """Each element reaches one element of the target."""

    targets: Array
    derivatives: Array

    def best(self, potential: Array) -> Array:
        return log_size(self.derivatives) + potential[self.targets]

    def counts(self, paths: Array) -> Array:
        return paths[self.targets]

    def edges(self, element: int) -> tuple[Array, Array]:
        return self.targets[element:element + 1], self.derivatives[element:element + 1]


@dataclass(frozen=True)
class Dense:
    """Each element of a row of I reaches all O elements of the row of the target, by weight (I, O)."""

    weight: Array

    def best(self, potential: Array) -> Array:
        size = log_size(self.weight)
        rows = potential.reshape(-1, size.shape[1])
        result = np.empty((len(rows), size.shape[0]))
        step = max(1, _CHUNK // max(size.size, 1))
        for i in range(0, len(rows), step):
            result[i:i + step] = (size + rows[i:i + step, None, :]).max(axis=2)
        return result.ravel()

    def counts(self, paths: Array) -> Array:
        total = paths.reshape(-1, self.weight.shape[1]).sum(axis=1)
        return np.repeat(total, self.weight.shape[0])

    def edges(self, element: int) -> tuple[Array, Array]:
        row, i = divmod(element, self.weight.shape[0])
        outputs = self.weight.shape[1]
        return np.arange(row * outputs, (row + 1) * outputs), self.weight[i]


@dataclass(frozen=True)
class Grouped:
    """Each element reaches all C of its group, by the derivatives s_c (δ_ic − l_i · r_c).

    Attributes
    ----------
    members : array (G, C)
        The flat elements of each group.
    scale : array (G, C)
    left, right : array (G, C, R)
    """

    members: Array
    scale: Array
    left: Array
    right: Array

    def best(self, potential: Array) -> Array:
        result = np.empty(self.members.size)
        groups, size = self.members.shape
        many, few = max(1, _CHUNK // size**2), max(1, _CHUNK // size)
        for g in range(0, groups, many):
            for i in range(0, size, few):
                block = slice(g, g + many), slice(i, i + few)
                reached = log_size(self._jacobian(*block)) + potential[self.members[block[0]]][:, None, :]
                result[self.members[block]] = reached.max(axis=2)
        return result

    def counts(self, paths: Array) -> Array:
        result = np.empty(self.members.size, object)
        result[self.members] = paths[self.members].sum(axis=1, keepdims=True)
        return result

    def edges(self, element: int) -> tuple[Array, Array]:
        group, place = divmod(int(self._where[element]), self.members.shape[1])
        one = slice(group, group + 1), slice(place, place + 1)
        return self.members[group], self._jacobian(*one)[0, 0]

    def _jacobian(self, groups: slice, rows: slice) -> Array:
        """Return the derivatives of all members of these groups by these members of each."""
        same = np.eye(self.members.shape[1])[rows]
        joint = self.left[groups, rows] @ self.right[groups].transpose(0, 2, 1)
        return np.asarray((same - joint) * self.scale[groups, None, :])

    @cached_property
    def _where(self) -> Array:
        return np.argsort(self.members, axis=None)


@dataclass(frozen=True)
class Sparse:
    """Some elements reach some elements: entry k says that sources[k], in rising order, reaches targets[k]."""

    size: int
    sources: Array
    targets: Array
    derivatives: Array

    def best(self, potential: Array) -> Array:
        result = np.full(self.size, -np.inf)
        np.maximum.at(result, self.sources, log_size(self.derivatives) + potential[self.targets])
        return result

    def counts(self, paths: Array) -> Array:
        result = np.zeros(self.size, object)
        np.add.at(result, self.sources, paths[self.targets])
        return result

    def edges(self, element: int) -> tuple[Array, Array]:
        here = slice(*np.searchsorted(self.sources, [element, element + 1]))
        return self.targets[here], self.derivatives[here]


def log_size(values: Array) -> Array:
    """Return log₂|x|, so that products of many factors neither vanish nor overflow; NaN counts as the largest."""
    with np.errstate(divide="ignore"):
        return np.where(np.isnan(values), np.inf, np.log2(np.abs(values)))
