"""Networks that share their parameters: called on tensors, cut into parts, blended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

from fastbp.core.checks import number
from fastbp.core.vector import Vector
from fastbp.graph.graph import Graph, Tensor
from fastbp.graph.inline import made_upon, placeholder
from fastbp.graph.memory import Memory
from fastbp.graph.tensor import Symbol, as_tensor


class Sharing:
    """What an executable network does with its memory besides running: several graphs may stand over it."""

    graph: Graph
    memory: Memory
    dtype: str
    compute_dtype: str
    seed: int
    backend: Literal["native", "reference"]
    _single_input: bool
    _single_output: bool

    @property
    def params(self) -> Vector:
        """The parameters: named views of one flat vector."""
        return self.memory.params

    @property
    def buffers(self) -> Vector:
        """State that is not trained: running statistics."""
        return self.memory.buffers

    def _start(self) -> None:
        raise NotImplementedError

    @classmethod
    def _part_class(cls) -> Any:
        """The class of a part: no longer that of a chain of layers, or of a user's own constructor."""
        own = (kind for kind in cls.__mro__ if kind.__module__.startswith("fastbp.") and kind.__name__ != "Sequential")
        return next(own)

    def _upon(self, x: Any) -> Any:
        """Return the tensors that the network makes of tensors."""
        tensors = [as_tensor(t) for t in (x if isinstance(x, list | tuple) else (x,)) if isinstance(t, Tensor | Symbol)]
        if len(tensors) != len(self.graph.inputs) or (not isinstance(x, Tensor | Symbol) and len(x) != len(tensors)):
            raise TypeError(f"{self!r}: called on {len(tensors)} tensors; expected {len(self.graph.inputs)}")
        for t, known in zip(tensors, self.graph.inputs, strict=True):
            if t.whole_shape != known.whole_shape:
                raise ValueError(f"{self!r}: called on {t!r}; expected the shape {known.whole_shape}")
        made = made_upon(self.graph.tensors, dict(zip(self.graph.inputs, tensors, strict=True)), self.graph.outputs,
                         self.memory)
        symbols = any(isinstance(t, Symbol) for t in (x if isinstance(x, list | tuple) else (x,)))
        found = tuple(Symbol(t) if symbols else t for t in made)
        return found[0] if self._single_output else found

    def part(self, inputs: Tensor | Sequence[Tensor], outputs: Tensor | Sequence[Tensor]) -> Self:
        """Return the network between some tensors of this one, over the same memory: training one trains the other.

        Parameters
        ----------
        inputs : Tensor or sequence of Tensor
            Inputs of the network, or tensors that it makes: then numbers are given for them.
        outputs : Tensor or sequence of Tensor

        Raises
        ------
        ValueError
            For tensors that are not of this network's graph, or outputs that need other inputs.

        Examples
        --------
        >>> import fastbp as fb
        >>> x = fb.Input(8)
        >>> code = fb.Linear(8, 2)(x)
        >>> net = fb.Network(x, fb.Linear(2, 8)(code), seed=0)
        >>> encoder, decoder = net.part(x, code), net.part(code, net.graph.outputs[0])
        >>> decoder.predict(encoder.predict([[1.0] * 8])).shape
        (1, 8)
        """
        ins, outs = as_tuple("inputs", inputs), as_tuple("outputs", outputs)
        for role, tensors in (("inputs", ins), ("outputs", outs)):
            for t in tensors:
                if t not in self.graph.places:
                    raise ValueError(f"part: {role} holds {t!r}, which is not of the network's graph; expected tensors "
                                     "that the network was made of, such as net.graph.inputs[0]")
        given = {t: placeholder(t) for t in ins}
        try:
            made = made_upon(self.graph.tensors, given, outs)
        except KeyError as error:
            raise ValueError(f"part: {error.args[0]!r} depends on more than the inputs; add what else it is made "
                             "of") from None
        graph = Graph(list(given.values()), made, [(layer, name) for name, layer in self.graph.layers.items()])
        return self._over(graph, isinstance(inputs, Tensor), isinstance(outputs, Tensor))

    def _over(self, graph: Graph, single_input: bool, single_output: bool) -> Self:
        """Return a network of another graph over the same memory."""
        other: Self = object.__new__(self._part_class())
        other._single_input, other._single_output = single_input, single_output
        other.graph, other.dtype, other.seed, other.compute_dtype = graph, self.dtype, self.seed, self.compute_dtype
        other.memory, other.backend = self.memory.over(graph), self.backend
        other._start()
        return other

    def blend(self, other: Sharing, tau: float) -> None:
        """Move the parameters and buffers towards another network's: ``(1 - tau) * own + tau * other``.

        Parameters
        ----------
        other : Network
            With the same parameters.
        tau : float
            From 0 to 1; 1 copies them.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(2, 1), seed=0)
        >>> target = net.copy()
        >>> net.params.flat += 1.0
        >>> target.blend(net, 0.25)
        >>> (net.params.flat - target.params.flat).round(4)
        array([0.75, 0.75, 0.75], dtype=float32)
        """
        share = number("blend", "tau", tau, "a number from 0 to 1", lambda t: 0 <= t <= 1)
        if not isinstance(other, Sharing):
            raise TypeError(f"blend: other is {other!r}; expected a network")
        for own, theirs in ((self.params, other.params), (self.buffers, other.buffers)):
            if {n: v.shape for n, v in own.items()} != {n: v.shape for n, v in theirs.items()}:
                raise ValueError("blend: the networks have different parameters; expected the same names and shapes, "
                                 "as those of net.copy() are")
        for own, theirs in ((self.params, other.params), (self.buffers, other.buffers)):
            for name, values in own.items():
                values[...] = (1 - share) * values + share * theirs[name]


def is_symbolic(x: Any) -> bool:
    """Whether what a network is called on are tensors."""
    return any(isinstance(t, Tensor | Symbol) for t in (x if isinstance(x, list | tuple) else (x,)))


def as_tuple(role: str, tensors: Any) -> tuple[Tensor, ...]:
    if isinstance(tensors, Tensor):
        return (tensors,)
    if not isinstance(tensors, Iterable):
        raise TypeError(f"{role} is {tensors!r}; expected a tensor, as fb.Input(…) gives, or a sequence of them")
    return tuple(tensors)
