"""Networks as files: what a network is made of as a JSON object, and the network that such an object describes.

The description lists the layers with their arguments, and which layer was called on which tensors; tensors are
numbered, inputs first, then one a call. Loading calls the layers again. Classes are looked up by name among fastbp's
own and those handed in, never imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import fastbp.layers as own_layers
from fastbp.core.errors import FormatError
from fastbp.engine.executable import BackendName
from fastbp.files.container import Contents, Paths, read, write
from fastbp.graph.graph import Graph, Input, Tensor
from fastbp.layers.base import Layer
from fastbp.network import Network, Sequential
from fastbp.ops.base import Array

KINDS: dict[str, type[Network]] = {"Network": Network, "Sequential": Sequential}


def save(net: Network, path: Paths) -> None:
    """Write a network to a file; ``net.save(path)``."""
    write(path, {"network": describe(net)}, tensors_of(net))


def load(path: Paths, *, backend: BackendName = "native", layers: Iterable[type[Layer]] = (),
         compute_dtype: str | None = None) -> Network:
    """Read the network from a file that ``net.save`` or ``trainer.save_checkpoint`` wrote.

    Parameters
    ----------
    path : path
    backend : {"native", "reference"}
    layers : classes, optional
        Layers of your own that the network has. A file names classes; it never brings code.
    compute_dtype : str, optional
        As in :class:`~fastbp.Network`; by default what it was. "float32" loads a network that multiplied in bfloat16
        on a CPU that cannot.

    Returns
    -------
    Network
        A :class:`~fastbp.Sequential` if it was one. Parameters, buffers, names, dtype, seed and the counter of dropout
        are as they were; initializers, which have done their work, are not kept.

    Raises
    ------
    FormatError
        For a file that is truncated, altered, none of fastbp's, or of a newer format.
    ImportError
        Without safetensors (``pip install 'fastbp[save]'``).
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Linear(4, 8), fb.ReLU(), fb.Linear(8, 1), seed=0, backend="reference")
    >>> path = pathlib.Path(tempfile.mkdtemp(), "net.safetensors")
    >>> net.save(path)
    >>> fb.load(path, backend="reference")
    Sequential((B, 4) → (B, 1), 49 parameters, float32, reference)
    """
    return build(read(path), backend, layers, compute_dtype)


def tensors_of(net: Network) -> dict[str, Array]:
    """Return the parameters and buffers by name, without copies."""
    return {**net.params, **net.buffers}


# ---- from a network to its description -------------------------------------------------------------------------------


def describe(net: Network) -> dict[str, Any]:
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
    for tensor in graph.tensors:
        if tensor.call is None:
            continue
        layer = tensor.call.layer
        if id(layer) not in places:
            places[id(layer)] = len(layers)
            layers.append(_describe_layer(layer, graph.layer_name(layer)))
        calls.append({"layer": places[id(layer)], "inputs": [_number(numbers, t) for t in tensor.call.inputs]})
        if tensor.call.method != "__call__":
            calls[-1].update(method=tensor.call.method, output=tensor.call.output)
        numbers[tensor] = len(numbers)
    return {"type": "Sequential" if isinstance(net, Sequential) else "Network", "dtype": net.dtype,
            "compute_dtype": net.compute_dtype, "seed": net.seed,
            "step": net.memory.step, "inputs": [_describe_input(t) for t in graph.inputs],
            "layers": layers, "calls": calls, "outputs": [_number(numbers, t) for t in graph.outputs],
            "single_input": net._single_input, "single_output": net._single_output}


def _describe_input(t: Tensor) -> dict[str, Any]:
    real = {"shape": list(t.shape), "name": t.name}
    return real if t.dtype == "real" else {**real, "dtype": t.dtype}


def _number(numbers: Mapping[Tensor, int], tensor: Tensor) -> int:
    if tensor not in numbers:
        raise ValueError(f"save: {tensor!r} was made outside of a layer; a file can hold layers only. Make it in the "
                         "`lower` of a class derived from fb.Layer")
    return numbers[tensor]


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


def plain(name: str, value: Any) -> Any:
    """Return a value as JSON takes it, or raise TypeError."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(name, v) for v in value]
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {k: plain(name, v) for k, v in value.items()}
    raise TypeError(f"{name} is {value!r}, which a file cannot hold; expected numbers, text, None, and lists or dicts "
                    "of them")


# ---- from a description to a network ---------------------------------------------------------------------------------


def build(contents: Contents, backend: BackendName, layers: Iterable[type[Layer]] = (),
          compute_dtype: str | None = None) -> Network:
    """Return the network that a file describes, with its parameters and buffers."""
    known = classes(Layer, (own_layers,), layers)
    with described(contents.path):
        d = contents.description["network"]
        kind, dtype, seed = KINDS[d["type"]], _text(d["dtype"]), whole(d["seed"], 2**64)
        single = bool(d["single_input"]), bool(d["single_output"])
        graph, chain = _graph(d, known)
        if (single[0] and len(graph.inputs) > 1) or (single[1] and len(graph.outputs) > 1):
            raise ValueError("its description has several inputs or outputs where it says that there is one")
        _check_tensors(graph, dtype, contents.tensors)
        net = kind.from_graph(graph, single, dtype=dtype, seed=seed, backend=backend,
                              compute_dtype=compute_dtype or d.get("compute_dtype"))
        if isinstance(net, Sequential):
            net.layers = chain
        net.memory.step = whole(d["step"])
    for name, array in tensors_of(net).items():
        array[...] = contents.tensors[name]
    return net


def _graph(d: Any, known: Mapping[str, type[Layer]]) -> tuple[Graph, tuple[Layer, ...]]:
    tensors = [Input(*i["shape"], name=_text(i["name"]), dtype=i.get("dtype")) for i in d["inputs"]]
    inputs = tuple(tensors)
    layers = [_layer(entry, known) for entry in d["layers"]]
    chain = []
    made: dict[tuple[Any, ...], tuple[Tensor, ...]] = {}
    for call in d["calls"]:
        layer = layers[whole(call["layer"])]
        given = tuple(tensors[whole(i)] for i in call["inputs"])
        if "method" not in call:
            tensors.append(layer(*given))
        else:
            key = (layer, *given)
            if key not in made:
                made[key] = _method(layer, call["method"])(*given)
            tensors.append(made[key][whole(call["output"])])
        chain.append(layer)
    names = [(layer, _text(entry["name"])) for layer, entry in zip(layers, d["layers"], strict=True)]
    return Graph(inputs, [tensors[whole(i)] for i in d["outputs"]], names), tuple(chain)


def _layer(entry: Any, known: Mapping[str, type[Layer]]) -> Layer:
    options = dict(entry["arguments"])
    if entry["named"]:
        options["name"] = _text(entry["name"])
    if entry["trainable"] is not True:
        options["trainable"] = False
    parts: list[Layer] = []
    if isinstance(options.get("layers"), dict):
        parts = [_layer(part, known) for part in options.pop("layers")["layers"]]
    layer: Layer = find("layer", _text(entry["type"]), known, "layers")(*parts, **options)
    return layer


def _method(layer: Layer, name: Any) -> Callable[..., tuple[Tensor, ...]]:
    """Return the method by which a layer makes several tensors, or raise ValueError."""
    method: Callable[..., tuple[Tensor, ...]] | None = getattr(layer, "with_state", None)
    if name != "with_state" or method is None:
        raise ValueError(f"its description calls {name!r} of {layer!r}, which there is not")
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


# ---- what checkpoints use as well ------------------------------------------------------------------------------------


def classes(base: type, modules: Sequence[Any], more: Iterable[type]) -> dict[str, type[Any]]:
    """Return the classes of some modules that derive from a base, and some more, by name."""
    found = {n: c for m in modules for n, c in vars(m).items() if isinstance(c, type) and issubclass(c, base)}
    for c in more:
        if not (isinstance(c, type) and issubclass(c, base)):
            raise TypeError(f"load: layers holds {c!r}; expected classes derived from fb.{base.__name__}")
        found[c.__name__] = c
    return found


def find(what: str, name: str, known: Mapping[str, type[Any]], argument: str) -> Callable[..., Any]:
    """Return the class of this name, or raise ValueError that says how to hand it in."""
    if name not in known:
        raise ValueError(f"it has the {what} {name!r}, which fastbp does not know. If it is a class of yours, hand it "
                          f"in: {argument}=[{name}]")
    return known[name]


def whole(value: Any, below: int = 2**63) -> int:
    """Return a whole number from a description, or raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < below:
        raise ValueError(f"its description has {value!r} where a whole number is expected")
    return value


@contextmanager
def described(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong with a description into a FormatError."""
    try:
        yield
    except FormatError:
        raise
    except KeyError as error:
        raise FormatError(f"{path} cannot be loaded: its description lacks {error}") from error
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(f"{path} cannot be loaded: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"its description has {value!r} where text is expected")
    return value
