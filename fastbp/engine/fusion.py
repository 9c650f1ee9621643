"""Fusion: what plans run in the place of single ops of expressions.

Neighbouring ops that work row by row become one node with a short program (``program.py``), where nothing else needs
what lies between them. Its backward pass is the chain rule from graph to graph, compiled in the same way: each scalar
function's derivative comes from the one table in ``ops/scalar.py``. A product with a parameter becomes the linear op
that it is. Sums, means and extremes over the batch are ops of their own, and what is made of them alone is a program
for the batch as a whole. What is left is called in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from fastbp.engine.program import DX, DY, WHOLE_X, Compiler, Line, X, Y, can_run, function_of, needed_by
from fastbp.graph.grad import back
from fastbp.graph.graph import Graph, Node, Tensor
from fastbp.graph.tensor import B, Symbol, apply
from fastbp.ops.activations import ActivationOp
from fastbp.ops.base import Array, Context, Native, Op, Shape, Space, Work
from fastbp.ops.expression import Expression, sizes
from fastbp.ops.linear import LinearBackOp, LinearOp
from fastbp.ops.over_rows import REDUCED_OVER_ROWS, ReduceRowsOp, SpreadRowsOp
from fastbp.ops.pairs import AllRowsOp, PairProductOp, RowNumberOp
from fastbp.ops.random import RandomOp
from fastbp.ops.reduce import CumsumOp, EinsumOp, MatmulOp, ReduceOp
from fastbp.ops.scalar import ScalarOp
from fastbp.ops.sources import CastOp, ConstantOp, FillOp, ParameterOp, RowsOp
from fastbp.ops.structure import BroadcastOp, IndexOp, ReshapeOp, TakeOp, TransposeOp

Find = Callable[[str], int]
# As FBP_MOST_INPUTS: with more, a group is cut.
_MOST_INPUTS = 16


@dataclass(frozen=True, eq=False)
class FusedOp(Expression):
    """A group of ops that work row by row, as one.

    Attributes
    ----------
    root : Tensor
        What the group makes.
    sources : tuple of Tensor
        What it is made of.
    find : callable
        ``find(name)`` is the number of an instruction.
    """

    root: Tensor
    sources: tuple[Tensor, ...]
    find: Find
    has_native: ClassVar[bool] = True
    calls_back: ClassVar[bool] = False
    adds_gradients: ClassVar[bool] = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """By whether it makes a row for each row, or one array for the whole batch."""
        return "expression" if self.root.rows else "whole_expression"

    @property
    def mixes_rows(self) -> bool:  # type: ignore[override]
        """Whether pairs of rows go through it."""
        return any(B in t.shape for t in (self.root, *self.sources))

    @cached_property
    def _gradients(self) -> tuple[Tensor, list[Tensor | None]]:
        """The tensor that stands for dy, and the gradients of the sources made of it."""
        dy = Tensor(self.root.shape, name="dy", rows=self.root.rows)
        found = dict(zip(self.sources, back(self.root, self.sources, Symbol(dy), stop=True), strict=True))
        gradients = (found[s] if s.dtype == "real" and s.rows == self.root.rows else None for s in self.sources)
        return dy, [None if g is None else g.tensor for g in gradients]

    def has_gradient(self, which: int) -> bool:
        return self._gradients[1][which] is not None

    def value(self, *xs: Array) -> Array:
        return self.forward(Context(), *xs)

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return _evaluate(self.root, dict(zip(self.sources, xs, strict=True)), ctx)

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        symbol, gradients = self._gradients
        known = {**dict(zip(self.sources, ctx.inputs, strict=True)), symbol: dy}
        return tuple(np.zeros_like(x) if g is None else _evaluate(g, known, ctx)
                     for x, g in zip(ctx.inputs, gradients, strict=True)), {}

    def native(self, *shapes: Shape) -> Native:
        return self._native

    def _compiled(self, constants: list[float]) -> tuple[list[Compiler], list[list[int]]]:
        """Return the compilers of the programs forwards and, if there is a gradient, backwards, and those programs."""
        kinds = {s: (X if s.rows == self.root.rows else WHOLE_X, i) for i, s in enumerate(self.sources)}
        dy, gradients = self._gradients
        wanted = [(g, DX, i) for i, g in enumerate(gradients) if g is not None]
        known = {**kinds, dy: (DY, 0), self.root: (Y, 0)}
        compilers = [Compiler(kinds, constants)] + [Compiler(known, constants)] * bool(wanted)
        outputs = [[(self.root, Y, 0)], wanted]
        return compilers, [c.program(o, self.find) for c, o in zip(compilers, outputs, strict=False)]

    def listings(self) -> tuple[list[Line], list[Line]]:
        """Return the instructions forwards and backwards, for people to read."""
        constants: list[float] = []
        compilers, _ = self._compiled(constants)
        forward, *backward = [c.listing() for c in compilers]
        return forward, backward[0] if backward else []

    @cached_property
    def _native(self) -> Native:
        constants: list[float] = []
        compilers, programs = self._compiled(constants)
        numbers, wanted = programs[0], len(programs) > 1
        reduce = "" if self.root.rows else "_reduce"
        cost = compilers[1].cost if wanted else 0.0
        programs = programs if wanted else [*programs, []]
        forward = compilers[0]
        starts = [2, 2 + len(numbers) if wanted else 0]
        asked = [c.scratch() for c in compilers]
        return Native(integers=(*starts, *programs[0], *programs[1]), constants=tuple(constants),
                      scratch=Space(fixed=max(a[0] for a in asked) + 64, per_batch_row=max(a[1] for a in asked),
                                    kind="uint8"),
                      work={"forward" + reduce: Work(cost=forward.cost), "backward" + reduce: Work(cost=cost)})

    def formula(self) -> str:
        return "y = f(x)"


def _evaluate(t: Tensor, known: dict[Tensor, Array], ctx: Context) -> Array:
    """Return a tensor's array, from those of the tensors that it is made of."""
    stack, made = [t], dict(known)
    while stack:
        top = stack[-1]
        waiting = [] if top in made else [s for s in needed_by(top) if s not in made]
        if top in made or not waiting:
            stack.pop()
            if top not in made:
                assert top.node is not None
                shapes = (np.broadcast_to(0.0, s.shape_of(ctx.rows)) for s in top.node.inputs)
                given = shapes if isinstance(top.node.op, FillOp) else (made[s] for s in top.node.inputs)
                made[top] = top.node.op.forward(ctx, *given)
        else:
            stack.extend(waiting)
    return made[t]


def fused(graph: Graph, find: Find) -> Graph:
    """Return the graph as plans run it: the same inputs, as many outputs, the same parameters by the same names."""
    if not any(n.op.on_arrays for n in graph.nodes):
        return graph
    return _Fusion(graph, find).graph()


class _Fusion:
    def __init__(self, graph: Graph, find: Find) -> None:
        self._graph, self._find = graph, find
        self._new: dict[Tensor, Tensor] = {}
        self._known: dict[Any, Tensor] = {}
        self._functions = {(repr(n.op), n.inputs) for n in graph.nodes if isinstance(n.op, ScalarOp)}
        self._place: dict[Tensor, int] = {}
        self._trained: dict[Tensor, bool] = {}

    def graph(self) -> Graph:
        """Return the new graph."""
        for t in self._graph.tensors:
            new = self._rebuilt(t)
            given = {self._new[s] for s in t.node.inputs} if t.node else {t}
            self._new[t] = self._place_of(new if t in self._graph.outputs else self._once(new, given), t)
        outputs = [self._new[t] for t in self._graph.outputs]
        middle = self._graph_of(outputs)
        self._group(middle)
        self._new = {}
        for t in middle.tensors:
            if t in self._runs and t not in self._sources and None not in self._groups[t]:
                continue            # within groups
            self._new[t] = self._place_of(self._grouped(t), t, middle)
        return self._graph_of([self._new[t] for t in outputs])

    def _graph_of(self, outputs: list[Tensor]) -> Graph:
        made = Graph(self._graph.inputs, outputs, [(layer, name) for name, layer in self._graph.layers.items()])
        # random numbers are keyed by where a tensor stands in the graph that was given
        made.places = {t: self._place.get(t, i) for t, i in made.places.items()}
        return made

    def _place_of(self, new: Tensor, old: Tensor, graph: Graph | None = None) -> Tensor:
        self._place.setdefault(new, (graph or self._graph).places[old])
        return new

    def _once(self, t: Tensor, given: set[Tensor]) -> Tensor:
        """Return a tensor made of those given, and all on the way to it, as what is there already, if it is."""
        if t in given or t.node is None:
            return t
        inputs = tuple(self._once(s, given) for s in t.node.inputs)
        new = t if inputs == t.node.inputs else _with_inputs(t, t.node, inputs, t.node.key)
        return self._known.setdefault(_made_as(new), new)

    # ---- products with parameters, and whole arrays among rows ------------------------------------------------------

    def _rebuilt(self, t: Tensor) -> Tensor:
        node = t.node
        if node is None:
            return t
        inputs = tuple(self._new[s] for s in node.inputs)
        if isinstance(node.op, ActivationOp) and self._is_derived(node):
            parts: Tensor = node.op.in_parts(Symbol(inputs[0])).tensor
            return parts
        if isinstance(node.op, ReduceOp) and _is_over_rows(node.op, inputs[0]):
            return _over_rows(node.op, inputs[0])
        if isinstance(node.op, BroadcastOp) and t.rows and self._is_spread(inputs[0]):
            return apply(node.op, _spread(inputs[0], t))
        linear = self._linear(node, inputs)
        if linear is not None:
            return linear
        of_pairs = _OF_PAIRS.get(type(node.op))
        made = None if of_pairs is None else of_pairs(node.op, inputs)
        if made is not None:
            return made
        if t.rows and function_of(node.op) is not None:
            inputs = tuple(self._among_rows(s, t) for s in inputs)
        if t.dtype == "real" and isinstance(node.op, ScalarOp):
            inputs = tuple(self._count(s) for s in inputs)
        return t if inputs == node.inputs else _with_inputs(t, node, inputs, self._key(node))

    def _is_derived(self, node: Node) -> bool:
        """Whether what an activation is made of is there already, as it is where its derivative is in the graph."""
        parts = node.op.in_parts(Symbol(node.inputs[0])) if isinstance(node.op, ActivationOp) else None
        inner = () if parts is None else parts.tensor.node.inputs
        return any(s.node is not None and (repr(s.node.op), s.node.inputs) in self._functions for s in inner)

    def _key(self, node: Node) -> Tensor | None:
        return node.key if node.key is None else self._new.get(node.key, node.key)

    def _linear(self, node: Node, inputs: tuple[Tensor, ...]) -> Tensor | None:
        """Return a product with a parameter, or with its transpose, as the linear op that it is."""
        if not isinstance(node.op, MatmulOp):
            return None
        x, w = inputs
        turned = w.node is not None and isinstance(w.node.op, TransposeOp) and w.node.op.axes == (1, 0)
        source = w.node.inputs[0].node if turned and w.node is not None else w.node
        if not x.rows or not x.shape or source is None or not isinstance(source.op, ParameterOp) or not source.params \
                or len(source.op.shape) != 2:
            return None
        rows, columns = source.op.shape
        (parameter,) = source.params.values()
        op: Any = LinearBackOp(rows, columns) if turned else LinearOp(rows, columns, bias=False)
        return Tensor(op.output_shape(x.shape), Node(op, (x,), source.owner, {"weight": parameter}))

    def _among_rows(self, s: Tensor, t: Tensor) -> Tensor:
        return _spread(s, t) if self._is_spread(s) else s

    def _count(self, s: Tensor) -> Tensor:
        """Return how many rows are true as a real number, where it is reckoned with as one."""
        node = s.node
        if node is None or not isinstance(op := node.op, ReduceOp) or op.function != "sum" \
                or node.inputs[0].dtype != "bool":
            return s
        x = apply(CastOp("real"), node.inputs[0])
        return _over_rows(op, x) if _is_over_rows(op, x) else apply(op, x)

    def _is_spread(self, s: Tensor) -> bool:
        """Whether a whole array that meets rows is to have rows itself: it has a gradient, the sum over them."""
        return not s.rows and s.dtype == "real" and s.shape.count(B) < 2 and self._is_trained(s)

    # ---- groups -----------------------------------------------------------------------------------------------------

    def _group(self, graph: Graph) -> None:
        """Find which tensors are made within the groups of which others."""
        runs = {t for t in graph.tensors if can_run(t, self._find)}
        while True:
            roots = self._roots(graph, runs)
            self._sources = {root: self._inside(root, roots, runs) for root in roots}
            misfits = {root for root, sources in self._sources.items() if not _fits(sources)}
            if not misfits:
                self._runs = runs
                return
            runs -= misfits         # they are called in NumPy, and what was within them is cut anew

    def _roots(self, graph: Graph, runs: set[Tensor]) -> list[Tensor]:
        """Return what groups make; all else that runs is made within one, or anew within each that needs it."""
        users: dict[Tensor, list[Tensor]] = {t: [] for t in graph.tensors}
        for t in graph.tensors:
            for s in t.node.inputs if t.node else ():
                users[s].append(t)
        self._groups: dict[Tensor, set[Tensor | None]] = {}
        roots = []
        for t in reversed(graph.tensors):
            wanted: set[Tensor | None] = {None} if t in graph.outputs else set()
            wanted = wanted.union(*(self._groups[u] if u in runs else {None} for u in users[t]))
            own = (t.rows or self._is_trained(t)) and t.dtype == "real" and not _is_free(t)
            if t in runs and own and (len(wanted) != 1 or None in wanted):
                roots.append(t)
                wanted = {t}
            self._groups[t] = wanted
        return roots[::-1]

    def _inside(self, root: Tensor, roots: list[Tensor], runs: set[Tensor]) -> list[Tensor]:
        """Return what a group is made of."""
        inside: set[Tensor] = set()
        sources: dict[Tensor, None] = {}
        others, stack = set(roots) - {root}, [root]
        while stack:
            t = stack.pop()
            if t in inside or t in sources:
                continue
            if t in runs and t not in others:
                inside.add(t)
                stack.extend(reversed(needed_by(t)))
            else:
                sources[t] = None
        return list(sources)

    def _is_trained(self, t: Tensor) -> bool:
        """Whether a tensor depends on something that may have a gradient."""
        waiting = [t]
        while waiting:
            top = waiting[-1]
            inputs = [] if top.node is None or top.dtype != "real" else [
                s for i, s in enumerate(top.node.inputs) if top.node.op.has_gradient(i)]
            new = [s for s in inputs if s not in self._trained]
            if new and top not in self._trained:
                waiting.extend(new)
                continue
            waiting.pop()
            own = top.node is None or bool(top.node.params)     # what is frozen now may be trained later
            self._trained[top] = top.dtype == "real" and (own or any(self._trained[s] for s in inputs))
        return self._trained[t]

    def _grouped(self, t: Tensor) -> Tensor:
        node = t.node
        if node is None:
            return t
        if t in self._sources:
            sources = self._sources[t]
            op = FusedOp(t, tuple(sources), self._find)
            return Tensor(t.shape, Node(op, tuple(self._new[s] for s in sources)), rows=t.rows)
        inputs = tuple(self._new[s] for s in node.inputs)
        return t if inputs == node.inputs else _with_inputs(t, node, inputs, self._key(node))


def _is_over_rows(op: ReduceOp, x: Tensor) -> bool:
    real = x.dtype == "real" or op.function == "mean"
    rest = [size for i, size in enumerate(x.shape) if i + 1 not in op.axis]
    return x.rows and 0 in op.axis and op.function in REDUCED_OVER_ROWS and real and B not in rest


def _over_rows(op: ReduceOp, x: Tensor) -> Tensor:
    """Return a reduction over the batch as one within the rows, and one over them."""
    others = tuple(a for a in op.axis if a)
    x = x if x.dtype == "real" else apply(CastOp("real"), x)
    return apply(ReduceRowsOp(op.function, (0,), op.keepdims), apply(ReduceOp(op.function, others, op.keepdims), x)
                 if others else x)


def _all_rows(op: IndexOp, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """Return ``x[None]`` as one array that all rows look at."""
    (x,) = inputs
    of_all = op.key[:1] == ("new",) and all(k == (None, None, None) for k in op.key[1:])
    fits = of_all and x.rows and x.dtype != "bool" and B not in x.shape
    return apply(AllRowsOp(x.dtype == "int64"), x) if fits else None


def _row_numbers(op: CastOp, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """Return what fb.special.arange makes: running sums of ones over the rows, less 1, as integers."""
    node = inputs[0].node
    if op.kind != "int64" or node is None or function_of(node.op) != "sub" or _filled_with(node.inputs[1]) != 1.0:
        return None
    sums = node.inputs[0].node
    counts = sums is not None and sums.op == CumsumOp(0) and inputs[0].shape == () and \
        _filled_with(sums.inputs[0]) == 1.0
    return apply(RowNumberOp()) if counts else None


def _product_of_pairs(op: MatmulOp, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """Return a product with a transpose, ``a @ b.T``."""
    a, turned = inputs
    node = turned.node
    return _pairs(a, node.inputs[0]) if node is not None and node.op == TransposeOp((1, 0)) else None


def _summed_pairs(op: EinsumOp, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """Return the same as ``np.einsum("id,jd->ij", a, b)``."""
    first, second, out = op.subscripts.replace("->", ",").split(",")
    alike = len(first) == len(second) == 2 and first[1] == second[1] and out == first[0] + second[0]
    return _pairs(*inputs) if alike else None


def _pairs(a: Tensor, b: Tensor) -> Tensor | None:
    of_rows = a.rows and b.rows and a.dtype == b.dtype == "real" and len(a.shape) == 1 and a.shape == b.shape != (B,)
    return apply(PairProductOp(), a, b) if of_rows else None


def _other_way_round(op: TransposeOp, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """Return the transpose of a number for each pair of rows: of b aᵗ, and what functions make of it."""
    (x,) = inputs
    return _turned(x) if x.rows and x.shape == (B,) and op.axes == (1, 0) else None


def _turned(x: Tensor) -> Tensor | None:
    node = x.node
    if node is None or _is_one_number(x):
        return x if _is_one_number(x) else None
    if isinstance(node.op, PairProductOp):
        return apply(node.op, *reversed(node.inputs))
    turned = [_turned(s) for s in node.inputs] if function_of(node.op) is not None and x.shape == (B,) else [None]
    return None if any(t is None for t in turned) else apply(node.op, *(t for t in turned if t is not None))


def _is_one_number(x: Tensor) -> bool:
    """Whether it is one number for the whole batch, given to each row or not."""
    node = x.node
    if node is not None and x.rows and isinstance(node.op, ReshapeOp | SpreadRowsOp):
        return _is_one_number(node.inputs[0])
    return not x.whole_shape


def _own_rows(op: TakeOp, inputs: tuple[Tensor, ...]) -> Tensor | None:
    """Return x, of which each row is taken."""
    x, places = inputs
    return x if op.axis == 0 and x.rows and places.node is not None and places.node.op == RowNumberOp() else None


_OF_PAIRS: dict[type[Op], Callable[[Any, tuple[Tensor, ...]], Tensor | None]] = {
    IndexOp: _all_rows, CastOp: _row_numbers, MatmulOp: _product_of_pairs, EinsumOp: _summed_pairs,
    TakeOp: _own_rows, TransposeOp: _other_way_round}
"""What ops become that rows do with one another, or with their numbers."""


def _filled_with(t: Tensor) -> float | None:
    """Return the number that all elements are, where it is known."""
    node = t.node
    if node is not None and isinstance(node.op, BroadcastOp):
        return _filled_with(node.inputs[0])
    if node is None or not isinstance(node.op, ConstantOp) or node.op.values.ndim:
        return None
    return float(node.op.values)


def _spread(s: Tensor, t: Tensor) -> Tensor:
    """Return a whole array as one with rows, and with as many axes as t."""
    shape = s.shape[1:] if len(s.shape) > len(t.shape) else s.shape
    return apply(ReshapeOp((-1, *(1,) * (len(t.shape) - len(shape)), *sizes(shape))), apply(SpreadRowsOp(), s))


def _with_inputs(t: Tensor, node: Node, inputs: tuple[Tensor, ...], key: Tensor | None) -> Tensor:
    return Tensor(t.shape, Node(node.op, inputs, node.owner, node.params, node.buffers, key), t.name, None, t.dtype,
                  t.rows)


def _made_as(t: Tensor) -> Any:
    """Return what two tensors have in common that are equal, number for number: then one of them is enough.

    Derivatives of derivatives make much that is there already. Random numbers are drawn for each tensor anew.
    """
    node = t.node
    if node is None or node.buffers or isinstance(node.op, RandomOp) or \
            not isinstance(node.op, Expression | LinearOp | LinearBackOp):
        return t
    values = node.op.values if isinstance(node.op, ConstantOp) else None
    op = repr(node.op) if values is None else (values.dtype.str, values.shape, values.tobytes())
    return op, node.inputs, tuple(node.params.items()), t.rows, t.dtype


def _is_free(t: Tensor) -> bool:
    """Whether a tensor is made of nothing."""
    return t.node is not None and isinstance(t.node.op, ConstantOp | RowsOp | FillOp)


def _fits(sources: list[Tensor]) -> bool:
    """Whether one node has room for so many inputs, and can read them."""
    return len(sources) <= _MOST_INPUTS and all(s.dtype in ("real", "int64") for s in sources)
