r"""The paths by which an element of a tensor reaches the loss, and the derivative along each of them.

The chain rule for many variables says
:math:`\partial E/\partial u = \sum_p \prod_{(a, b) \in p} \partial b/\partial a`, a sum over all paths p from u to E
of products of local derivatives. There can be astronomically many. Backpropagation never lists them: it multiplies its
way back once and adds up where paths meet. What is shown to a reader are the largest terms, and those are found without
listing the others:

1. going back once with *max* in the place of *sum* gives, for each element, the largest product that any of its paths
   has (the potential); with 1 for each derivative it gives their number;
2. a best-first search from u, guided by the potentials, meets the paths in falling order of their size.

Both are linear in the graph for each path that is found, however many there are of one size: an edge that the best path
takes has the rank of the step before it, unrounded, and of equal ranks the latest goes first. Products are compared by
their logarithms, so that a thousand layers neither vanish nor overflow.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from math import inf, isfinite, log2

import numpy as np

from fastbp.graph.graph import Node, Tensor
from fastbp.ops.base import Array, Context
from fastbp.views.explanations.local_maps import LocalMap, log_size
from fastbp.views.explanations.parts import product
from fastbp.views.explanations.trace import Trace


@dataclass(frozen=True)
class Link:
    """One factor of a path: the derivative of what comes next on the way to the loss by an element of a tensor.

    ``operand`` tells which operand of the next op the tensor is.
    """

    tensor: Tensor
    element: int
    derivative: float
    operand: int = 0


@dataclass(frozen=True)
class Route:
    """A path from an element to the loss: steps away from the element, the last being the derivative of the loss."""

    steps: tuple[Link, ...]

    @property
    def product(self) -> float:
        """The derivative along it."""
        return product(s.derivative for s in self.steps)


@dataclass(frozen=True, eq=False, slots=True)
class _Visit:
    """A search that has come to an element of a tensor (None: to the loss), by a step from another visit."""

    tensor: Tensor | None
    element: int
    log_product: float = 0.0
    step: Link | None = None
    before: _Visit | None = None

    def to(self, tensor: Tensor | None, element: int, derivative: float, operand: int = 0) -> _Visit:
        """Return the visit that follows by a derivative, of the operand of the next op that this one is."""
        assert self.tensor is not None
        step = Link(self.tensor, self.element, derivative, operand)
        total = self.log_product + _log(derivative)
        return _Visit(tensor, element, inf if total != total else total, step, self)

    def route(self) -> Route:
        """Return the steps that led here."""
        steps, visit = [], self
        while visit.step is not None and visit.before is not None:
            steps.append(visit.step)
            visit = visit.before
        return Route(tuple(reversed(steps)))


class Paths:
    """The paths from elements of tensors to the loss.

    Parameters
    ----------
    trace : Trace
    rows : array of int or None
        The samples to look at; None for whole arrays, where the graph mixes rows.
    seeds : dict of Tensor to array
        The gradient of the loss for each output, of the whole batch.
    maps_of : function of node, context and rows
        Returns how the node's output depends on each of its inputs, None where it has no derivative.
    """

    def __init__(self, trace: Trace, rows: Array | None, seeds: dict[Tensor, Array],
                 maps_of: Callable[[Node, Context, Array | None], list[LocalMap | None]]) -> None:
        self._trace, self._rows, self._maps_of = trace, rows, maps_of
        self._seeds = {t: np.asarray(s if rows is None else s[rows], float).ravel() for t, s in seeds.items()}
        self._consumers: dict[Tensor, list[tuple[Tensor, int]]] = {t: [] for t in trace.graph.tensors}
        for t in trace.graph.tensors:
            for place, source in enumerate(t.node.inputs if t.node else ()):
                self._consumers[source].append((t, place))
        self._maps: dict[Tensor, list[LocalMap | None]] = {}
        self._potentials: dict[Tensor, Array] = {}
        self._counts: dict[Tensor, Array] = {}

    def count(self, tensor: Tensor, element: int) -> int:
        """Return how many paths lead from the element to the loss."""
        self._prepare(tensor)
        return int(self._counts[tensor][element])

    def largest(self, tensor: Tensor, element: int, limit: int) -> list[Route]:
        """Return the paths with the largest products, at most so many, the largest first."""
        self._prepare(tensor)
        order = count()
        heap = [(-float(self._potentials[tensor][element]), next(order), _Visit(tensor, element))]
        found: list[Route] = []
        while heap and len(found) < limit:
            rank, _, visit = heapq.heappop(heap)
            if visit.tensor is None:
                found.append(visit.route())
                continue
            for lag, following in self._onward(visit, limit):
                # With NaN or infinity ahead there is no telling by how much the others lag behind.
                behind = rank + lag if lag < inf else -following.log_product
                heapq.heappush(heap, (behind, -next(order), following))
        return sorted(found, key=lambda route: -_nan_first(route.product))

    def _onward(self, visit: _Visit, limit: int) -> list[tuple[float, _Visit]]:
        """Return the best ways on, at most so many, the best of them last, each with its lag behind the best.

        The best has lag 0: what leads on along the best path keeps its rank.
        """
        tensor, element = visit.tensor, visit.element
        assert tensor is not None
        ways: list[tuple[float, _Visit]] = []
        if tensor in self._seeds:
            seed = float(self._seeds[tensor][element])
            ways.append((_log(seed), visit.to(None, 0, seed)))
        for consumer, place, local in self._ways(tensor):
            targets, derivatives = local.edges(element)
            with np.errstate(invalid="ignore"):
                sizes = _nan_to_largest(log_size(derivatives) + self._potentials[consumer][targets])
            ways += [(float(sizes[i]), visit.to(consumer, int(targets[i]), float(derivatives[i]), place))
                     for i in _largest(sizes, limit)]
        chosen = sorted(ways, key=lambda way: way[0], reverse=True)[:limit]
        top = chosen[0][0] if chosen else 0.0
        lags = [(0.0 if size == top else top - size if isfinite(top) else inf, way) for size, way in chosen]
        return lags[::-1]

    def _prepare(self, start: Tensor) -> None:
        """Find potentials and counts of a tensor and of all that lies between it and the loss."""
        if start in self._potentials:
            return
        tensors = self._trace.graph.tensors
        between = {start}
        following = tensors[tensors.index(start):]
        for t in following:
            if t.node is not None and not between.isdisjoint(t.node.inputs):
                between.add(t)
        for t in reversed(following):
            if t in between and t not in self._potentials:
                self._add_up(t)

    def _add_up(self, tensor: Tensor) -> None:
        values = self._trace.values[tensor]
        size = values.size if self._rows is None else values[self._rows].size
        potential, count = np.full(size, -inf), np.zeros(size, object)
        if tensor in self._seeds:
            potential, count = log_size(self._seeds[tensor]), count + 1
        for consumer, _, local in self._ways(tensor):
            with np.errstate(invalid="ignore"):
                potential = np.maximum(potential, _nan_to_largest(local.best(self._potentials[consumer])))
            count = count + local.counts(self._counts[consumer])
        self._potentials[tensor], self._counts[tensor] = potential, count

    def _ways(self, tensor: Tensor) -> Iterator[tuple[Tensor, int, LocalMap]]:
        """Yield what a tensor enters: the tensor that is made, which operand it is, and how the one depends on it."""
        for consumer, place in self._consumers[tensor]:
            if consumer not in self._maps:
                assert consumer.node is not None
                with np.errstate(all="ignore"):
                    self._maps[consumer] = self._maps_of(consumer.node, self._trace.contexts[consumer], self._rows)
            local = self._maps[consumer][place]
            if local is not None:
                yield consumer, place, local


def _log(value: float) -> float:
    if not isfinite(value):
        return inf
    return log2(abs(value)) if value else -inf


def _nan_first(value: float) -> float:
    return inf if value != value else abs(value)


def _largest(sizes: Array, limit: int) -> Iterable[int]:
    return range(len(sizes)) if len(sizes) <= limit else np.argpartition(-sizes, limit)[:limit].tolist()


def _nan_to_largest(sizes: Array) -> Array:
    """NaN counts as the largest: who looks for where it comes from wants to see it first."""
    return np.where(np.isnan(sizes), inf, sizes)
