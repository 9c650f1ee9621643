"""A graph made again, with the same layers and so the same parameters: upon other tensors, or for other sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastbp.graph.graph import Graph
from fastbp.graph.streaming import Stream, stream
from fastbp.graph.tensor import Call, Node, Tensor, apply
from fastbp.ops.base import Op, Shape
from fastbp.ops.reduce import CumsumOp, MatmulOp, ReduceOp
from fastbp.ops.scalar import ScalarOp
from fastbp.ops.sources import StopGradientOp
from fastbp.ops.structure import JoinOp, TransposeOp

# What these do is written down without any size, so that they do the same for another one.
_OF_ANY_SIZE = (ScalarOp, ReduceOp, CumsumOp, MatmulOp, StopGradientOp, JoinOp, TransposeOp)


def made_upon(tensors: Sequence[Tensor], given: Mapping[Tensor, Tensor], outputs: Sequence[Tensor],
              home: Any = None, ops: Mapping[Tensor, Op] | None = None) -> list[Tensor]:
    """Return outputs made again, with other tensors in the place of those given.

    Parameters
    ----------
    tensors : sequence of Tensor
        All that outputs are made of, each after what it needs.
    given : dict of Tensor to Tensor
        What takes the place of which tensor; nothing behind those is made again.
    outputs : sequence of Tensor
    home : Memory, optional
        Where the parameters are.
    ops : dict of Tensor to Op, optional
        What makes some tensors instead of their own op.
    """
    made = dict(given)
    for t in tensors:
        if t in made or t.node is None or not all(s in made for s in t.node.inputs):
            continue
        op = (ops or {}).get(t, t.node.op)
        node = Node(op, tuple(made[s] for s in t.node.inputs), t.node.owner, t.node.params, t.node.buffers,
                    None if t.node.key is None else made.get(t.node.key), home or t.node.home)
        made[t] = Tensor(t.shape, node, t.name, _moved(t.call, made), t.dtype, t.rows, _moved(t.traced, made))
    return [made[t] for t in outputs]


def _moved(call: Call | None, made: Mapping[Tensor, Tensor]) -> Call | None:
    """Return a call upon what was made, as far as all of that was."""
    if call is None or not all(s in made for s in call.inputs):
        return call
    return replace(call, inputs=tuple(made[s] for s in call.inputs))


def placeholder(t: Tensor) -> Tensor:
    """Return an input in the place of a tensor."""
    return Tensor(t.shape, None, t.name, None, t.dtype, t.rows)


def with_sparse(graph: Graph, sparse: Sequence[bool]) -> Graph:
    """Return a graph of the same layers and parameters that is given some of its inputs as sparse matrices.

    Raises
    ------
    ValueError
        If something else than a linear layer reads one of them.
    """
    given = {t: replace(t, dtype="sparse") if one else t for t, one in zip(graph.inputs, sparse, strict=True)}
    ops: dict[Tensor, Op] = {}
    for t in graph.tensors:
        read = [s for s in (t.node.inputs if t.node else ()) if s in given and given[s] is not s]
        if not read:
            continue
        assert t.node is not None
        op = t.node.op.for_sparse() if len(read[0].shape) == 1 else None
        if op is None:
            raise ValueError(f"{graph.names[t]} reads it, and only linear layers read sparse rows")
        ops[t] = op
    if any(given.get(t, t) is not t for t in graph.outputs):
        raise ValueError("it is an output, too")
    made = made_upon(graph.tensors, given, graph.outputs, ops=ops)
    return Graph([given[t] for t in graph.inputs], made, [(layer, name) for name, layer in graph.layers.items()])


def resized(graph: Graph, shapes: Sequence[Shape]) -> Graph:
    """Return a graph of the same layers and parameters for inputs of other sizes: each layer is called again.

    Operations on tensors outside of layers are done again where no size can be written down in them: element by
    element and without numbers, sums and means, products.

    Parameters
    ----------
    graph : Graph
    shapes : sequence of tuple of int
        Of one sample of each input.

    Raises
    ------
    ValueError
        If a layer does not take such inputs, or would have parameters of another shape.
    """
    made = _made_again(graph, {t: t if t.shape == shape else replace(t, shape=tuple(shape))
                               for t, shape in zip(graph.inputs, shapes, strict=True)})
    names = [(layer, name) for name, layer in graph.layers.items()]
    found = Graph([made[t] for t in graph.inputs], [made[t] for t in graph.outputs], names)
    _check_alike(graph, found)
    return found


def parted(graph: Graph) -> tuple[list[Tensor], list[Tensor]]:
    """Return the inputs that come step by step, and the tensors that steps see as a whole.

    Raises
    ------
    ValueError
        If a layer sees as a whole what comes step by step.
    """
    moving: set[Tensor] = set()
    whole: dict[Tensor, Any] = {}
    stack = list(graph.outputs)
    while stack:
        t = stack.pop()
        if t in moving:
            continue
        moving.add(t)
        if t.node is not None:
            call = t.call or t.traced
            sources = t.node.inputs if call is None else call.inputs
            seen = () if call is None else call.layer.whole_inputs(len(sources))
            stack += [s for i, s in enumerate(sources) if i not in seen]
            whole.update((sources[i], call.layer) for i in seen if call is not None)
    streams = [t for t in graph.inputs if t in moving]
    for t, layer in whole.items():
        if set(streams) & sources_of(t):
            raise ValueError(f"{layer!r}: looks at the whole of what comes step by step; in a stream there is what "
                             "came before alone: is_causal=True")
    return streams, list(whole)


def sources_of(t: Tensor) -> set[Tensor]:
    """Return the inputs that a tensor is made of."""
    seen, stack = {t}, [t]
    while stack:
        node = stack.pop().node
        new = {s for s in (() if node is None else node.inputs) if s not in seen}
        seen |= new
        stack += new
    return {s for s in seen if s.node is None}


def streamed(graph: Graph, steps: int, stream: Stream, whole: Mapping[Tensor, Tensor]) -> tuple[list[Tensor],
                                                                                               list[Tensor]]:
    """Return the inputs and outputs of the same layers for a piece of sequences, with what the stream remembers.

    Parameters
    ----------
    graph : Graph
    steps : int
        Of the piece.
    stream : Stream
    whole : dict of Tensor to Tensor
        What takes the place of the tensors that steps see as a whole.

    Raises
    ------
    ValueError
        If a layer looks at several steps in another way than by what it remembers.
    """
    pieces = {t: replace(t, shape=(steps, *t.shape[1:])) for t in parted(graph)[0]}
    with stream.open():
        made = _made_again(graph, {**pieces, **whole})
    return list(pieces.values()), [made[t] for t in graph.outputs]


def with_layer(graph: Graph, old: Any, new: Any) -> Graph:
    """Return a graph with another layer in the place of one; layers after it are called again.

    Raises
    ------
    ValueError
        For a layer that does not fit there, or after which others do not.
    """
    made = _made_again(graph, {t: t for t in graph.inputs}, old, new)
    names = [(new if layer is old else layer, name) for name, layer in graph.layers.items()]
    return Graph([made[t] for t in graph.inputs], [made[t] for t in graph.outputs], names)


def _made_again(graph: Graph, made: dict[Tensor, Tensor], old: Any = None, new: Any = None) -> dict[Tensor, Tensor]:
    """Return what takes the place of each tensor that is needed, given what takes the place of the inputs.

    And with another layer in the place of one, if any.
    """
    known: dict[tuple[Any, ...], Any] = {}
    kept = _needed(graph, made)
    for t in graph.tensors:
        if t not in kept or t in made:
            continue
        call = t.call or t.traced
        assert t.node is not None
        before = t.node.inputs if call is None else call.inputs
        sources = tuple(made[s] for s in before)
        swapped = old is not None and call is not None and call.layer is old
        if not swapped and all(a is b for a, b in zip(sources, before, strict=True)):
            made[t] = t
        elif call is None:
            made[t] = _done_again(t, sources)
        else:
            made[t] = _called_again(replace(call, layer=new) if swapped else call, sources, known)
    return made


def _check_alike(graph: Graph, found: Graph) -> None:
    """Raise ValueError unless a graph for another size has the same ops and parameters."""
    for before, after in ((graph.parameters, found.parameters), (graph.buffers, found.buffers)):
        for name, parameter in after.items():
            if before.get(name) is not parameter:
                raise ValueError(f"{name} would be another parameter, of shape {parameter.shape}")
    if [n.op.name for n in graph.nodes] != [n.op.name for n in found.nodes]:
        raise ValueError("other ops would be needed")
    for old, new in zip(graph.tensors, found.tensors, strict=True):
        if old.node is None or new.node is None or not new.node.op.is_view or old.shape != new.shape:
            continue
        if old.node.inputs[0].shape != new.node.inputs[0].shape:
            raise ValueError(f"{new!r} would have its elements in another order")


def _needed(graph: Graph, given: Mapping[Tensor, Tensor]) -> set[Tensor]:
    """Return what layers, and operations outside of them, make of what is given; not what layers make on the way."""
    needed: set[Tensor] = set()
    stack = list(graph.outputs)
    while stack:
        t = stack.pop()
        if t not in needed and t not in given and t.node is not None:
            needed.add(t)
            call = t.call or t.traced
            stack.extend(t.node.inputs if call is None else call.inputs)
    return needed


def _called_again(call: Call, sources: tuple[Tensor, ...], known: dict[tuple[Any, ...], Any]) -> Tensor:
    if stream() is not None and call.method != "__call__":
        raise ValueError(f"{call.layer!r}: hands its state out ({call.method}); a stream is for networks whose layers "
                         "do not, as it keeps it for them")
    if call.method == "__call__":
        one: Tensor = call.layer(*sources)
        return one
    key = (id(call.layer), call.method, sources)
    if key not in known:
        known[key] = getattr(call.layer, call.method)(*sources)
    several: tuple[Tensor, ...] = known[key]
    return several[call.output]


def _done_again(t: Tensor, sources: tuple[Tensor, ...]) -> Tensor:
    node = t.node
    assert node is not None
    kinds = _OF_ANY_SIZE if stream() is None else (ScalarOp,)
    numbers = any(s.node is not None and not s.node.inputs and s.call is None for s in sources)
    if numbers or node.owner is not None or node.key is not None or not isinstance(node.op, kinds):
        raise ValueError(f"{t!r} is made outside of a layer, by an operation that may have its size written down; "
                         "make it in an fb.Lambda")
    return apply(node.op, *sources)
