"""A graph walked op by op on arrays: forward, and backward in reverse order.

What a plan does in one go, and :mod:`fastbp.engine.reference` in NumPy, is done with a kernel for each op. This serves
layers that run by themselves, where little is computed at a time: all that can be looked up before is. Where an op has
no kernel in :mod:`fastbp.kernels`, the graph is a plan (:mod:`fastbp.engine.layer_plan`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from fastbp.engine.op_kernels import KernelRule, rule_of
from fastbp.graph.graph import Graph, Parameter
from fastbp.ops.base import Array, Context
from fastbp.ops.batch_norm import BatchNormOp


@dataclass(frozen=True)
class _Done:
    """One node: how it runs, where its inputs stand among the tensors, and the arrays it uses."""

    rule: KernelRule
    place: int
    sources: tuple[int, ...]
    key: int
    params: dict[str, Array]
    buffers: dict[str, Array]
    grads: dict[str, Array]


class TrainingRows:
    """Raises ValueError for a batch too small to train on, when called with its rows."""

    def __init__(self, graph: Graph) -> None:
        self._checks = [(node.op.check_training_rows, prod(node.inputs[0].shape[:-1])) for node in graph.nodes
                        if isinstance(node.op, BatchNormOp)]

    def __call__(self, rows: int) -> None:
        for check, groups in self._checks:
            check(rows * groups)


class Walk:
    """Runs a graph of one output.

    Parameters
    ----------
    graph : Graph
    arrays, grads : mapping of Parameter to array
        The values of all parameters and buffers; the gradients of the parameters that are trained.
    seed : int
        Keys random numbers, with the step that `forward` is given.
    """

    def __init__(self, graph: Graph, arrays: Mapping[Parameter, Array], grads: Mapping[Parameter, Array],
                 seed: int) -> None:
        places = graph.places
        self._n, self._inputs, self._output = len(graph.tensors), len(graph.inputs), places[graph.outputs[0]]
        self._integer = {places[t] for t in graph.tensors if t.dtype != "real"}
        self._seed, self._grads = seed, [grads[p] for p in graph.parameters.values() if p in grads]
        self._steps: list[_Done] = []
        for place, tensor in enumerate(graph.tensors):
            node = tensor.node
            if node is not None:
                self._steps.append(_Done(
                    rule_of(node.op), place, tuple(places[t] for t in node.inputs),
                    graph.draws_at(tensor),
                    {role: arrays[p] for role, p in node.params.items()},
                    {role: arrays[p] for role, p in node.buffers.items()},
                    {role: grads[p] for role, p in node.params.items() if p in grads}))
        self._contexts: list[Context] = []
        self.check_training = TrainingRows(graph)

    def forward(self, inputs: Sequence[Array], training: bool, step: int, dtype: str) -> Array:
        """Return the output; keep what backward needs."""
        values, contexts, rows = list(inputs), [], len(inputs[0])
        for s in self._steps:
            ctx = Context(training, tuple([values[i] for i in s.sources]), None, s.params, s.buffers, {}, self._seed,
                          step, s.key, "", rows, dtype)
            ctx.output = s.rule.forward(ctx)
            values.append(ctx.output)
            contexts.append(ctx)
        self._contexts = contexts
        return values[self._output]

    def backward(self, dy: Array) -> list[Array | None]:
        """Fill the gradients of the parameters; return those of the inputs, None for one that nothing comes back to."""
        gradients: list[Array | None] = [None] * self._n
        gradients[self._output] = dy
        fresh = {id(gradient) for gradient in self._grads}
        for s, ctx in zip(reversed(self._steps), reversed(self._contexts), strict=True):
            slope = gradients[s.place]
            if slope is None:
                continue
            dxs, dparams = s.rule.backward(ctx, slope)
            for source, dx in zip(s.sources, dxs, strict=True):
                if source not in self._integer and dx is not None:
                    known = gradients[source]
                    gradients[source] = dx if known is None else known + dx
            for role, values in dparams.items():
                gradient = s.grads.get(role)
                if gradient is None:
                    continue
                if id(gradient) in fresh:
                    gradient[...] = values
                    fresh.remove(id(gradient))
                else:                           # the parameter is used once more
                    gradient += values
        for gradient in self._grads:
            if id(gradient) in fresh:
                gradient.fill(0)
        return gradients[:self._inputs]
