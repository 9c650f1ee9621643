"""Networks as files: what a network is made of as a JSON object, and the network that such an object describes.

The description lists the layers with their arguments, and which layer, or op of an expression, was called on which
tensors; tensors are numbered, inputs first, then one a call. Loading calls the layers again. Classes are looked up by
name among fastbp's own and those handed in, never imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any, TypeVar

import fastbp.layers as own_layers
from fastbp.engine.executable import DTYPES, BackendName, Executable
from fastbp.engine.sides import Form
from fastbp.files.container import Contents, Paths, write
from fastbp.files.description import Entry, described, plain
from fastbp.files.expressions import constants, describe_op, is_op, make
from fastbp.graph.graph import Graph, Input, Tensor
from fastbp.layers import function
from fastbp.layers.base import Layer
from fastbp.ops.base import Array

Net = TypeVar("Net", bound=Executable)


def save(net: Executable, path: Paths) -> None:
    """Write a network to a file; ``net.save(path)``."""
    write(path, {"network": describe(net)}, tensors_of(net))


def tensors_of(net: Executable) -> dict[str, Array]:
    """Return the arrays that a file of a network has, by name and without copies."""
    return {**net.params, **net.buffers, **constants(net.graph)}


# ---- from a network to its description -------------------------------------------------------------------------------


def describe(net: Executable) -> dict[str, Any]:
    """Return what a network is made of, as JSON takes it.

    Raises
    ------
    TypeError
        For an argument of a layer that JSON cannot hold.
    ValueError
        For a graph with ops that belong to no layer.
    """
    graph = net.graph
    numbers = {t: i for i, t in enumerate(graph.inputs)}
    places: dict[int, int] = {}
    layers: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    kept, called = _kept(graph)

    def place_of(layer: Layer) -> int:
        if id(layer) not in places:
            places[id(layer)] = len(layers)
            layers.append(_describe_layer(layer, graph.layer_name(layer)))
        return places[id(layer)]

    for tensor in graph.tensors:
        if tensor not in kept:
            continue
        if tensor not in called:
            calls.append({**describe_op(graph, tensor, place_of), "inputs": [numbers[t] for t in _inputs(tensor)]})
            numbers[tensor] = len(numbers)
            continue
        assert tensor.call is not None
        calls.append({"layer": place_of(tensor.call.layer), "inputs": [numbers[t] for t in tensor.call.inputs]})
        if tensor.call.method != "__call__":
            calls[-1].update(method=tensor.call.method, output=tensor.call.output)
        numbers[tensor] = len(numbers)
    for tensor, number in numbers.items():
        if tensor not in called and tensor.node is not None and tensor.node.key is not None:
            calls[number - len(graph.inputs)]["key"] = numbers[tensor.node.key]
    return {"type": net.file_type, "dtype": net.dtype,
            "compute_dtype": net.compute_dtype, "seed": net.seed,
            "step": net.memory.step, "inputs": [_describe_input(t) for t in graph.inputs],
            "layers": layers, "calls": calls, "outputs": [numbers[t] for t in graph.outputs],
            "single_input": net._ins.alone, "single_output": net._outs.alone,
            **{f"{role}_names": list(side.names) for role, side in (("input", net._ins), ("output", net._outs))
               if side.is_dict},
            **({"frozen": list(net.frozen)} if net.frozen != _frozen_at_first(graph) else {})}


def _describe_input(t: Tensor) -> dict[str, Any]:
    real = {"shape": list(t.shape), "name": t.name}
    return real if t.dtype == "real" else {**real, "dtype": t.dtype}


def _kept(graph: Graph) -> tuple[set[Tensor], set[Tensor]]:
    """Return what stands in a file, and what of it stands as the call of a layer.

    That is what layers and expressions make, without what layers make on the way. Where a derivative reads something of
    that, the whole use of the layer stands there as the ops that it is.
    """
    opened: set[Tensor] = set()
    while True:
        kept = _reached(graph, opened)
        calls = {t for t in kept if t.call is not None and t not in opened}
        more = {t for t in calls if not kept.isdisjoint(_on_the_way(t))}
        if not more:
            return kept, calls
        opened |= more


def _reached(graph: Graph, opened: set[Tensor]) -> set[Tensor]:
    kept: set[Tensor] = set()
    stack = list(graph.outputs)
    while stack:
        tensor = stack.pop()
        if tensor in kept or tensor in graph.inputs:
            continue
        kept.add(tensor)
        if tensor.call is not None and tensor not in opened:
            stack.extend(tensor.call.inputs)
            continue
        node = tensor.node
        if node is None or not is_op(tensor):
            raise ValueError(f"save: {tensor!r} was made outside of a layer; a file can hold layers, NumPy's functions "
                             "on tensors, their derivatives. Make it in the `lower` of a class derived from fb.Layer")
        if node.key is not None and node.key not in graph.places:
            raise ValueError(f"save: {tensor!r} is a derivative through {node.key!r}, which no output needs; make that "
                             "one of the outputs")
        stack.extend(node.inputs if node.key is None else (*node.inputs, node.key))
    return kept


def _on_the_way(tensor: Tensor) -> set[Tensor]:
    """Return what a layer made between what it was called on and what it returned."""
    ends = set(tensor.call.inputs) if tensor.call is not None else set()
    found: set[Tensor] = set()
    stack = [tensor]
    while stack:
        new = [t for t in _inputs(stack.pop()) if t not in ends and t not in found]
        found.update(new)
        stack.extend(new)
    return found


def _inputs(tensor: Tensor) -> tuple[Tensor, ...]:
    return () if tensor.node is None else tensor.node.inputs


def _describe_layer(layer: Layer, name: str) -> dict[str, Any]:
    label = type(layer).__name__
    arguments = {k: _argument(f"{label}: {k}", v) for k, v in layer.hyperparameters().items()}
    return {"type": label, "name": name, "named": layer.name is not None, "trainable": layer.trainable,
            "arguments": arguments}


def _argument(name: str, value: Any) -> Any:
    """Return an argument of a layer as JSON takes it: layers that it is made of are described in their turn."""
    if isinstance(value, tuple) and value and all(isinstance(v, Layer) for v in value):
        return {"layers": [_describe_layer(v, v.name or "") for v in value]}
    return plain(name, value)


# ---- from a description to a network ---------------------------------------------------------------------------------


def build(contents: Contents, kinds: Mapping[str, type[Net]], backend: BackendName,
          layers: Iterable[type[Layer]] = (), compute_dtype: str | None = None) -> Net:
    """Return the network that a file describes, with its parameters and buffers; of one of these kinds."""
    known = classes(Layer, (own_layers, function), layers)
    with described(contents.path):
        d = Entry(contents.description)["network"]
        kind, dtype, seed = d["type"].one_of(kinds), d["dtype"].among(DTYPES), d["seed"].whole(2**64)
        graph = _graph(d, known, contents.tensors)
        single = _form(d, "input", len(graph.inputs)), _form(d, "output", len(graph.outputs))
        frozen = [name.text() for name in d["frozen"].each()] if "frozen" in d.mapping() else _frozen_at_first(graph)
        if not set(frozen) <= set(graph.parameters):
            raise ValueError("its description has frozen parameters that the network lacks")
        step = d["step"].whole()
        factors = (dtype, "bfloat16") if dtype == "float32" else (dtype,)
        multiplied = d["compute_dtype"].among(factors) if "compute_dtype" in d.mapping() else dtype
        _check_tensors(graph, dtype, contents.tensors)
    net = kind.from_graph(graph, single, dtype=dtype, seed=seed, backend=backend,
                          compute_dtype=compute_dtype or multiplied)
    net.memory.step = step
    net.memory.freeze(graph.parameters, False)
    net.memory.freeze(frozen)
    for name, array in {**net.params, **net.buffers}.items():
        array[...] = contents.tensors[name]
    return net


def _frozen_at_first(graph: Graph) -> tuple[str, ...]:
    """Return the parameters that are frozen by their layers."""
    return tuple(name for name, p in graph.parameters.items() if not p.trainable)


def _form(d: Entry, role: str, count: int) -> Form:
    """Return how arrays are handed over."""
    if f"{role}_names" in d.mapping():
        names = [name.text() for name in d[f"{role}_names"].each()]
        if len(set(names)) != count or len(names) != count:
            raise ValueError(f"its description has the {role}s {', '.join(names)}; expected {count} names")
        return names
    alone = d[f"single_{role}"].flag()
    if alone and count > 1:
        raise ValueError("its description has several inputs or outputs where it says that there is one")
    return alone


def _graph(d: Entry, known: Mapping[str, Callable[..., Any]], arrays: Mapping[str, Array]) -> Graph:
    tensors = [_input(entry) for entry in d["inputs"].each()]
    inputs = tuple(tensors)
    layers = [_layer(entry, known) for entry in d["layers"].each()]
    names = [(layer, entry["name"].text()) for layer, entry in zip(layers, d["layers"].each(), strict=True)]
    made: dict[tuple[Any, ...], tuple[Tensor, ...]] = {}
    for call in d["calls"].each():
        taken = tuple(number.numbered(tensors) for number in call["inputs"].each())
        if "op" in call.mapping():
            tensors.append(make(call, taken, arrays, layers))
            continue
        layer = call["layer"].numbered(layers)
        if "method" not in call.mapping():
            with call.told():
                tensors.append(layer(*taken))
            continue
        key = (layer, *taken)
        if key not in made:
            method = _method(layer, call["method"])
            with call.told():
                made[key] = method(*taken)
        tensors.append(call["output"].numbered(made[key]))
    for call, tensor in zip(d["calls"].each(), tensors[len(inputs):], strict=True):
        if "key" in call.mapping() and tensor.node is not None:
            tensor.node.key = call["key"].numbered(tensors)
    with d["outputs"].told():
        return Graph(inputs, [number.numbered(tensors) for number in d["outputs"].each()], names)


def _input(entry: Entry) -> Tensor:
    shape, name = [size.whole() for size in entry["shape"].each()], entry["name"].text()
    dtype = entry["dtype"].among(("int64",)) if "dtype" in entry.mapping() else None
    with entry["shape"].told():
        return Input(shape, name=name, dtype=dtype)


def _layer(entry: Entry, known: Mapping[str, Callable[..., Any]]) -> Layer:
    options = dict(entry["arguments"].mapping())
    if entry["named"].flag():
        options["name"] = entry["name"].text()
    if not entry["trainable"].flag():
        options["trainable"] = False
    kind = find("layer", entry["type"].text(), known, "layers")
    parts: list[Layer] = []
    if isinstance(options.get("layers"), dict):
        del options["layers"]
        parts = [_layer(part, known) for part in entry["arguments"]["layers"]["layers"].each()]
    with entry.told():
        layer: Layer = kind(*parts, **options)
    return layer


def _method(layer: Layer, entry: Entry) -> Callable[..., tuple[Tensor, ...]]:
    """Return the method by which a layer makes several tensors, or raise ValueError."""
    method: Callable[..., tuple[Tensor, ...]] | None = getattr(layer, entry.among(("with_state",)), None)
    if method is None:
        raise ValueError(f"{entry.place} is {entry.value!r}, which {layer!r} does not have")
    return method


def _check_tensors(graph: Graph, dtype: str, tensors: Mapping[str, Array]) -> None:
    """Hold what the graph wants against what the file has, before memory is taken for it."""
    wanted = {n: p.shape for n, p in [*graph.parameters.items(), *graph.buffers.items()]}
    for name, shape in wanted.items():
        if name not in tensors:
            raise ValueError(f"{name!r} is missing")
        if tensors[name].shape != shape or tensors[name].dtype != dtype:
            raise ValueError(f"{name!r} is {tensors[name].shape} of {tensors[name].dtype}; expected {shape} of {dtype}")
    total = sum(prod(s) for s in wanted.values())
    if total > sum(t.size for t in tensors.values()):
        raise ValueError("one array is used for several parameters")


def classes(base: type, modules: Sequence[Any], more: Iterable[type] = ()) -> dict[str, Callable[..., Any]]:
    """Return the classes of some modules that derive from a base, and some more, by name."""
    found: dict[str, Callable[..., Any]] = {
        n: c for m in modules for n, c in vars(m).items() if isinstance(c, type) and issubclass(c, base)}
    for c in more:
        if not (isinstance(c, type) and issubclass(c, base)):
            raise TypeError(f"load: layers holds {c!r}; expected classes derived from fb.{base.__name__}")
        found[c.__name__] = c
    return found


def find(what: str, name: str, known: Mapping[str, Callable[..., Any]], argument: str) -> Callable[..., Any]:
    """Return the class of this name, or raise ValueError that says how to hand it in."""
    if name not in known:
        raise ValueError(f"it has the {what} {name!r}, which fastbp does not know. If it is a class of yours, hand it "
                         f"in: {argument}=[{name}]")
    return known[name]
