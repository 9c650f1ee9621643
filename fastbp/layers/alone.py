"""A layer by itself: parameters, gradients, and what its last forward pass left for backward.

A layer is a description, and stays one: what it needs to run on arrays is kept here, made at the first
``layer.forward(x)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import randbits
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from warnings import warn

import numpy as np

from fastbp.core.checks import flag, integer, numbered, numbers, real
from fastbp.core.vector import Vector
from fastbp.graph.graph import Graph, Input, Parameter, Tensor
from fastbp.graph.memory import BY_HAND
from fastbp.ops.base import Array, Shape

if TYPE_CHECKING:
    from fastbp.engine.layer_plan import LayerMemory, LayerPlan
    from fastbp.engine.walk import Walk

_FLOATS = {np.dtype(name): name for name in ("float32", "float64")}


class Lowers(Protocol):
    """What is asked of a layer."""

    takes: ClassVar[str | None]

    def lower(self, *inputs: Tensor) -> Tensor: ...


class Alone:
    """What one layer has when it runs by itself.

    Parameters
    ----------
    layer : Layer
    seed : int, optional
        Decides the initial parameters and random numbers; drawn when left out.
    meant : bool, default True
        Whether the layer is to have parameters of its own even if it is part of a network: those may be the ones meant.
    """

    def __init__(self, layer: Lowers, seed: Any = None, meant: bool = True) -> None:
        number = integer(seed)
        if seed is not None and (number is None or not 0 <= number < 2**64):
            raise ValueError(f"{layer!r}: seed is {seed!r}; expected an integer from 0 to 2**64 - 1, or None")
        self.seed = randbits(63) if number is None else number
        self._layer, self._meant = layer, meant
        self._draws = 0
        self._walks: dict[tuple[Shape, ...], Walk | LayerPlan] = {}
        self._last: tuple[Walk | LayerPlan, Array, tuple[Array, ...]] | None = None
        self._vectors: tuple[Vector, Vector, Vector] | None = None
        self._graph: Graph | None = None
        self._trained: LayerMemory | None = None
        self._dtype: str | None = None
        self._roles: tuple[dict[str, Parameter], dict[str, Parameter]] = ({}, {})
        self._arrays: dict[Parameter, Array] = {}
        self._grads: dict[Parameter, Array] = {}

    @property
    def vectors(self) -> tuple[Vector, Vector, Vector] | None:
        """Parameters, gradients and state, by role; None before they are made."""
        return self._vectors

    @property
    def trained(self) -> LayerMemory:
        """The parameters, once they are made, as an optimizer wants them."""
        from fastbp.engine.layer_plan import LayerMemory
        if self._trained is None:
            assert self._graph is not None
            assert self._vectors is not None
            self._trained = LayerMemory(self._graph, self._vectors, self.seed, self._vectors[0].flat.dtype.name)
        return self._trained

    def forget_graphs(self) -> None:
        """Have hyperparameters read anew; parameters stay."""
        self._walks.clear()

    def build(self, shapes: Sequence[Shape], dtype: str) -> Walk | LayerPlan:
        """Make what inputs of these sample shapes need; parameters, the first time."""
        layer = self._layer
        for name, shape in zip(_names(shapes), shapes, strict=True):
            if not shape:
                raise ValueError(f"{layer!r}: {name} has shape (B,); expected (B, …), a batch of samples. {name}[None] "
                                 f"is a batch of one sample, {name}[:, None] one of samples of one number")
            if 0 in shape:
                raise ValueError(f"{layer!r}: {name} has shape {_batch(shape)}; expected (B, …), a batch of samples "
                                 "that are not empty")
        inputs = [Input(*shape, dtype=layer.takes) for shape in shapes]
        graph = Graph(inputs, [layer.lower(*inputs)])
        if self._vectors is None:
            self._initialize(graph, dtype)
        for parameter in (*graph.parameters.values(), *graph.buffers.values()):
            if parameter not in self._arrays:
                had = {p.role: p.shape for p in self._arrays}
                raise ValueError(f"{layer!r}: x has shape {_batch(shapes[0])}, for which {parameter.role} would have "
                                 f"shape {parameter.shape}; it has {had.get(parameter.role)}. Make another layer for "
                                 "it, or call build() for new parameters")
        self._walks[tuple(shapes)] = walk = self._walk(graph)
        return walk

    def _walk(self, graph: Graph) -> Walk | LayerPlan:
        from fastbp.engine.layer_plan import LayerPlan, pays
        from fastbp.engine.walk import Walk
        assert self._vectors is not None
        has_all = all(list(own.values()) == list(all_of.values()) for own, all_of in
                      zip((graph.parameters, graph.buffers), self._roles, strict=True))
        if has_all and pays(graph):
            return LayerPlan(graph, self._vectors, self.seed)
        return Walk(graph, self._arrays, self._grads, self.seed)

    def _initialize(self, graph: Graph, dtype: str) -> None:
        rng = np.random.default_rng(self.seed)
        self._roles = _by_role(graph.parameters), _by_role(graph.buffers)
        params, grads, state = (Vector({role: p.shape for role, p in self._roles[i].items()}, dtype) for i in (0, 0, 1))
        for vector, symbols in ((params, self._roles[0]), (state, self._roles[1])):
            for role, parameter in symbols.items():
                values = np.asarray(parameter.initializer(parameter.shape, rng, dtype))
                if values.shape != parameter.shape:
                    raise ValueError(f"{self._layer!r}: the initializer of {role} gave shape {values.shape}; expected "
                                     f"{parameter.shape}")
                vector[role][...] = values
        if params and not self._meant:
            warn(f"{self._layer!r} is part of a network, and runs by itself with new parameters of its own; "
                 "net.activations(x) has what it puts out there, net.params its parameters there. If it is to have its "
                 "own, call its build() first", stacklevel=5)
        self._vectors, self._graph = (params, grads, state), graph
        self._dtype = dtype if self._roles[0] or self._roles[1] else None
        self._link()

    def _link(self) -> None:
        """Note where the values and gradients of each parameter are."""
        if self._vectors is not None:
            params, grads, state = self._vectors
            self._arrays = {p: vector[role] for vector, symbols in zip((params, state), self._roles, strict=True)
                            for role, p in symbols.items()}
            self._grads = {p: grads[role] for role, p in self._roles[0].items() if p.trainable}

    def __getstate__(self) -> dict[str, Any]:
        made_anew: dict[str, Any] = {"_walks": {}, "_last": None, "_arrays": {}, "_grads": {}, "_trained": None}
        return self.__dict__ | made_anew

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._link()

    def forward(self, xs: tuple[Any, ...], training: Any) -> Array:
        if training is not True and training is not False:
            training = flag(repr(self._layer), "training", training)
        arrays, dtype = xs, self._dtype_of(xs)
        if dtype is None:
            arrays = self._inputs(xs)
            dtype = _FLOATS.get(arrays[0].dtype) or self._dtype or "float32"
        shapes = tuple([x.shape[1:] for x in arrays])
        walk = self._walks.get(shapes) or self.build(shapes, dtype)
        if training:
            walk.check_training(len(arrays[0]))
            self._draws += 1
        y = walk.forward(arrays, training, BY_HAND + self._draws, dtype)
        self._last = walk, y, arrays
        return y

    def backward(self, dy: Any) -> tuple[Array | None, ...]:
        if self._last is None:
            raise RuntimeError(f"{self._layer!r}: backward: no forward pass to go back through; call forward(x) first")
        walk, y, arrays = self._last
        if type(dy) is not np.ndarray or dy.dtype != y.dtype:
            dy = self._converted("dy", dy, _FLOATS[y.dtype], "as the output has")
        if dy.shape != y.shape:
            raise ValueError(f"{self._layer!r}: dy has shape {dy.shape}; expected {y.shape}, as the output of the last "
                             "forward has")
        return tuple([np.zeros_like(x) if dx is None and x.dtype in _FLOATS else dx
                      for dx, x in zip(walk.backward(dy), arrays, strict=True)])

    def _dtype_of(self, xs: tuple[Any, ...]) -> str | None:
        """Return the dtype of inputs that fit as they are; None for others."""
        dtype = self._dtype
        if not xs or self._layer.takes is not None:
            return None
        for x in xs:
            own = _FLOATS.get(x.dtype) if type(x) is np.ndarray else None
            if own is None or (dtype is not None and own != dtype) or x.shape[:1] != xs[0].shape[:1]:
                return None
            dtype = own
        return dtype

    def _inputs(self, xs: tuple[Any, ...]) -> tuple[Array, ...]:
        """Check inputs, and bring them to one dtype: that of the parameters, or of the first one."""
        if not xs:
            raise TypeError(f"{self._layer!r}: forward got no array; expected at least 1")
        names, dtype, why = _names(xs), self._dtype, "as its parameters have"
        arrays: list[Array] = []
        for name, x in zip(names, xs, strict=True):
            if isinstance(x, bool):
                raise TypeError(f"{self._layer!r}: {name} is {x}; expected an array. Say what the rest is by name: "
                                f"forward(x, training={x})")
            array = self._converted(name, x, dtype, why) if self._layer.takes is None else self._integers(name, x)
            if dtype is None and self._layer.takes is None:
                dtype, why = _FLOATS[array.dtype], f"as {name} has"
            if not array.ndim:
                raise ValueError(f"{self._layer!r}: {name} is a single number; expected (B, …), a batch of samples")
            if arrays and len(array) != len(arrays[0]):
                raise ValueError(f"{self._layer!r}: {name} has {len(array)} rows; expected {len(arrays[0])}, as "
                                 f"{names[0]} has")
            arrays.append(array)
        return tuple(arrays)

    def _converted(self, name: str, values: Any, dtype: str | None, why: str) -> Array:
        """Return numbers of a dtype, or of a float one if it is None; an array that is float must have it."""
        label = f"{self._layer!r}: {name}"
        array = real(label, values)
        if dtype is None:
            dtype = _FLOATS.get(array.dtype, "float32")
        if not isinstance(values, list | tuple | float) and _FLOATS.get(array.dtype, dtype) != dtype:
            raise TypeError(f"{label} has dtype {array.dtype}; expected {dtype}, {why}: {name}.astype(\"{dtype}\")")
        return numbers(label, array, dtype)

    def _integers(self, name: str, values: Any) -> Array:
        array = real(f"{self._layer!r}: {name}", values)
        if array.dtype.kind not in "iu":
            raise TypeError(f"{self._layer!r}: {name} has dtype {array.dtype}; expected integers")
        return np.ascontiguousarray(array, np.int64)


def _by_role(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    """Name parameters by their roles; those of layers within a layer keep their full names."""
    named: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        named[name if parameter.role in named else parameter.role] = parameter
    return named


def _names(xs: Sequence[Any]) -> list[str]:
    return numbered("x", len(xs))


def _batch(shape: Shape) -> str:
    return f"(B, {', '.join(map(str, shape))})" if shape else "(B,)"
