r"""The paths by which an element of a tensor reaches the loss, and the derivative along each of them.

The chain rule for many variables says
:math:`\partial E/\partial u = \sum_p \prod_{(a, b) \in p} \partial b/\partial a`, a sum over all paths p from u to E
of products of local derivatives. There can be astronomically many. Backpropagation never lists them: it multiplies its
way back once and adds up where paths meet. What is shown to a reader are the largest terms, and those are found without
listing the others:

1. going back once with *max* in the place of *sum* gives, for each element, the largest product that any of its paths
   has (the potential); with 1 for each derivative it gives their number;
2. a best-first search from u, guided by the potentials, meets the paths in falling order of their size.

How one tensor depends on another is a local map: :class:`Elementwise`, :class:`Dense` or :class:`Grouped`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import numpy as np

from fastbp.graph.graph import Graph, Node, Tensor
from fastbp.ops.activations import ActivationOp
from fastbp.ops.base import Array, Context
from fastbp.ops.batch_norm import BatchNormOp
from fastbp.ops.concat import ConcatOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.elementwise import AddOp, MulOp
from fastbp.ops.flatten import FlattenOp
from fastbp.ops.layer_norm import LayerNormOp
from fastbp.ops.linear import LinearOp
from fastbp.ops.scalar import ScalarOp
from fastbp.ops.softmax import SoftmaxOp

# Elements of a temporary array: 32 MiB of float64.
_CHUNK = 1 << 22


class LocalMap(Protocol):
    """The local derivatives of one tensor by another; elements are counted in the flat arrays."""

    def best(self, potential: Array) -> Array:
        """Return, for each source element, the largest |derivative| · potential over its targets."""

    def counts(self, paths: Array) -> Array:
        """Return, for each source element, the sum of paths over its targets."""

    def edges(self, element: int) -> tuple[Array, Array]:
        """Return the targets of a source element, and the derivatives."""


@dataclass(frozen=True)
class Elementwise:
    """Each element reaches one element of the target."""

    targets: Array
    derivatives: Array

    def best(self, potential: Array) -> Array:
        return np.abs(self.derivatives) * potential[self.targets]

    def counts(self, paths: Array) -> Array:
        return paths[self.targets]

    def edges(self, element: int) -> tuple[Array, Array]:
        return self.targets[element:element + 1], self.derivatives[element:element + 1]


@dataclass(frozen=True)
class Dense:
    """Each element of a row of I reaches all O elements of the row of the target, by weight (I, O)."""

    weight: Array

    def best(self, potential: Array) -> Array:
        size = np.abs(self.weight)
        rows = potential.reshape(-1, size.shape[1])
        result = np.empty((len(rows), size.shape[0]))
        step = max(1, _CHUNK // max(size.size, 1))
        for i in range(0, len(rows), step):
            result[i:i + step] = (size * rows[i:i + step, None, :]).max(axis=2)
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
    """Each element reaches all of its group: members (G, C) are flat elements, jacobian is (G, source, target)."""

    members: Array
    jacobian: Array

    def best(self, potential: Array) -> Array:
        return self._scatter((np.abs(self.jacobian) * potential[self.members][:, None, :]).max(axis=2))

    def counts(self, paths: Array) -> Array:
        total = paths[self.members].sum(axis=1, keepdims=True)
        return self._scatter(np.broadcast_to(total, self.members.shape))

    def edges(self, element: int) -> tuple[Array, Array]:
        group, place = (int(i[0]) for i in np.nonzero(self.members == element))
        return self.members[group], self.jacobian[group, place]

    def _scatter(self, values: Array) -> Array:
        result = np.empty(self.members.size)
        result[self.members] = values
        return result


def mixes_rows(node: Node, training: bool = True) -> bool:
    """Whether a sample's output depends on the other samples of the batch."""
    return training and isinstance(node.op, BatchNormOp)


def local_maps(node: Node, ctx: Context, rows: Array) -> list[LocalMap]:
    """Return how the node's output depends on each of its inputs, for these rows of the batch."""
    op = node.op
    assert ctx.output is not None
    if isinstance(op, LinearOp):
        return [Dense(ctx.params["weight"])]
    if isinstance(op, ConcatOp | FlattenOp):
        place = np.arange(ctx.output[rows].size).reshape(ctx.output[rows].shape)
        part = Context(inputs=tuple(x[rows] for x in ctx.inputs))
        return [Elementwise(p.ravel(), np.ones(p.size)) for p in op.backward(part, place)[0]]
    if isinstance(op, SoftmaxOp):
        y = ctx.output[rows].reshape(-1, ctx.output.shape[-1])
        jacobian = np.eye(y.shape[1]) * y[:, None, :] - y[:, :, None] * y[:, None, :]
        return [Grouped(np.arange(y.size).reshape(y.shape), jacobian)]
    if isinstance(op, LayerNormOp) or (isinstance(op, BatchNormOp) and ctx.training):
        return [_normalization_map(ctx, rows, by_feature=isinstance(op, BatchNormOp))]
    if isinstance(op, ActivationOp | DropoutOp | AddOp | MulOp | ScalarOp | BatchNormOp):
        dxs, _ = op.backward(ctx, np.ones_like(ctx.output))
        return [Elementwise(np.arange(dx[rows].size), dx[rows].ravel()) for dx in dxs]
    return _general_maps(node, ctx, rows)


def _normalization_map(ctx: Context, rows: Array, by_feature: bool) -> Grouped:
    """∂y_c/∂x_i = γ_c s (δ_ic − 1/n − x̂_i x̂_c/n) in each group of n; see the ops' derivation."""
    x_hat, weight = ctx.saved["x_hat"][rows], ctx.params["weight"]
    rstd = np.broadcast_to(ctx.saved["rstd"] if by_feature else ctx.saved["rstd"][rows], x_hat.shape)
    features = x_hat.shape[-1]
    members, hat, s, gamma = (a.reshape(-1, features) for a in (
        np.arange(x_hat.size), x_hat, rstd, np.broadcast_to(weight, x_hat.shape)))
    if by_feature:
        members, hat, s, gamma = members.T, hat.T, s.T, gamma.T
    n = members.shape[1]
    jacobian = np.eye(n) - 1 / n - hat[:, :, None] * hat[:, None, :] / n
    return Grouped(members, jacobian * (gamma * s)[:, None, :])


def _general_maps(node: Node, ctx: Context, rows: Array) -> list[LocalMap]:
    """The Jacobian of any op, a row at a time from its backward rule."""
    assert ctx.output is not None
    y_size, sizes = ctx.output[rows].size, [x[rows].size for x in ctx.inputs]
    jacobians = [np.zeros((size, y_size)) for size in sizes]
    for target in range(y_size):
        dy = np.zeros_like(ctx.output)
        part = dy[rows]
        part.flat[target] = 1
        dy[rows] = part
        for jacobian, dx in zip(jacobians, node.op.backward(ctx, dy)[0], strict=True):
            jacobian[:, target] = dx[rows].ravel()
    return [Dense(j) for j in jacobians]


@dataclass(frozen=True)
class Step:
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

    product: float
    steps: tuple[Step, ...]


class Paths:
    """The paths from elements of tensors to the loss.

    Parameters
    ----------
    graph : Graph
    contexts : dict of Tensor to Context
        Of the last run, for every tensor that a node made.
    rows : array of int
        The samples to look at: one of them, or all where the graph mixes rows.
    seeds : dict of Tensor to array
        The gradient of the loss for each output, of the whole batch.
    """

    def __init__(self, graph: Graph, contexts: dict[Tensor, Context], rows: Array, seeds: dict[Tensor, Array]) -> None:
        self._rows, self._contexts = rows, contexts
        self._seeds = {t: np.asarray(s[rows], float).ravel() for t, s in seeds.items()}
        self._consumers: dict[Tensor, list[tuple[Tensor, int]]] = {t: [] for t in graph.tensors}
        for t in graph.tensors:
            for place, source in enumerate(t.node.inputs if t.node else ()):
                self._consumers[source].append((t, place))
        self._maps: dict[Tensor, list[LocalMap]] = {}
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
        heap: list[tuple[float, int, float, tuple[Step, ...], tuple[Tensor, int] | None]] = []

        def push(size: float, product: float, steps: tuple[Step, ...], at: tuple[Tensor, int] | None) -> None:
            heapq.heappush(heap, (-_size(size), next(order), product, steps, at))

        push(self._potentials[tensor][element], 1.0, (), (tensor, element))
        found: list[Route] = []
        while heap and len(found) < limit:
            _, _, product, steps, at = heapq.heappop(heap)
            if at is None:
                found.append(Route(product, steps))
                continue
            tensor, element = at
            if tensor in self._seeds:
                seed = float(self._seeds[tensor][element])
                push(abs(product * seed), product * seed, (*steps, Step(tensor, element, seed)), None)
            for consumer, place in self._consumers[tensor]:
                targets, derivatives = self._maps[consumer][place].edges(element)
                sizes = np.abs(product * derivatives) * self._potentials[consumer][targets]
                for i in _largest(sizes, limit):
                    d = float(derivatives[i])
                    push(sizes[i], product * d, (*steps, Step(tensor, element, d, place)), (consumer, int(targets[i])))
        return found

    def _prepare(self, start: Tensor) -> None:
        stack = [start]
        while stack:
            tensor = stack[-1]
            waiting = [c for c, _ in self._consumers[tensor] if c not in self._potentials]
            if tensor in self._potentials or not waiting:
                stack.pop()
                if tensor not in self._potentials:
                    self._add_up(tensor)
            else:
                stack.extend(waiting)

    def _add_up(self, tensor: Tensor) -> None:
        seed = self._seeds.get(tensor)
        potentials: list[Array] = [] if seed is None else [np.abs(seed)]
        counts: list[Array] = [] if seed is None else [np.ones(len(seed))]
        for consumer, place in self._consumers[tensor]:
            if consumer not in self._maps:
                assert consumer.node is not None
                with np.errstate(all="ignore"):
                    self._maps[consumer] = local_maps(consumer.node, self._contexts[consumer], self._rows)
            potentials.append(self._maps[consumer][place].best(self._potentials[consumer]))
            counts.append(self._maps[consumer][place].counts(self._counts[consumer]))
        self._potentials[tensor] = np.max(potentials, axis=0)
        self._counts[tensor] = np.sum(counts, axis=0)


def _size(value: float) -> float:
    """NaN counts as the largest: who looks for where it comes from wants to see it first."""
    return float("inf") if value != value else float(value)


def _largest(sizes: Array, limit: int) -> Sequence[int]:
    sizes = np.where(np.isnan(sizes), np.inf, sizes)
    if len(sizes) <= limit:
        return range(len(sizes))
    return [int(i) for i in np.argpartition(-sizes, limit)[:limit]]
