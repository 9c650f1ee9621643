"""Networks that share their parameters: called on tensors, cut into parts, blended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from fastbp.core.checks import number
from fastbp.core.vector import Vector
from fastbp.engine.links import LINKS, Link, linked
from fastbp.engine.sides import Form, Outputs, Side, form_of
from fastbp.graph.graph import Graph, Tensor
from fastbp.graph.inline import made_upon, placeholder
from fastbp.graph.memory import Memory
from fastbp.graph.tensor import Symbol, as_tensor
from fastbp.optim.groups import matching

Tensors = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


class Sharing:
    """What an executable network does with its memory besides running: several graphs may stand over it."""

    graph: Graph
    memory: Memory
    dtype: str
    compute_dtype: str
    seed: int
    backend: Literal["native", "reference"]
    _linked: dict[str, Self]
    _ins: Side
    _outs: Side

    @property
    def input_names(self) -> tuple[str, ...]:
        """What the inputs are called."""
        return self._ins.names

    @property
    def output_names(self) -> tuple[str, ...]:
        """What the outputs are called."""
        return self._outs.names

    def _take_sides(self, graph: Graph, inputs: Form, outputs: Form) -> None:
        """Note how arrays are handed over."""
        self._ins = Side.of("input", inputs, graph.inputs, graph)
        self._outs = Side.of("output", outputs, graph.outputs, graph)

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

    def predict(self, x: Any, batch_size: int | None = None) -> Any:
        """Return the outputs for any number of rows."""
        raise NotImplementedError

    @classmethod
    def _part_class(cls) -> Any:
        """The class of a part: no longer that of a chain of layers, or of a user's own constructor."""
        own = (kind for kind in cls.__mro__ if kind.__module__.startswith("fastbp.") and kind.__name__ != "Sequential")
        return next(own)

    def _upon(self, x: Any) -> Any:
        """Return the tensors that the network makes of tensors."""
        x = self._ins.several("x", x) if isinstance(x, Mapping) else x
        tensors = [as_tensor(t) for t in (x if isinstance(x, list | tuple) else (x,)) if isinstance(t, Tensor | Symbol)]
        if len(tensors) != len(self.graph.inputs) or (not isinstance(x, Tensor | Symbol) and len(x) != len(tensors)):
            given = len(x) if isinstance(x, list | tuple) else 1
            others = given - len(tensors)
            what = f"{others} of {given} inputs are no tensors" if others else f"called on {given} tensors"
            raise TypeError(f"{self!r}: {what}; expected {len(self.graph.inputs)}")
        for t, known in zip(tensors, self.graph.inputs, strict=True):
            if t.whole_shape != known.whole_shape:
                raise ValueError(f"{self!r}: called on {t!r}; expected the shape {known.whole_shape}")
        made = made_upon(self.graph.tensors, dict(zip(self.graph.inputs, tensors, strict=True)), self.graph.outputs,
                         self.memory)
        symbols = any(isinstance(t, Symbol) for t in (x if isinstance(x, list | tuple) else (x,)))
        found = tuple(Symbol(t) if symbols else t for t in made)
        return self._outs.handed(found)

    def part(self, inputs: Tensors, outputs: Tensors) -> Self:
        """Return the network between some tensors of this one, over the same memory: training one trains the other.

        Parameters
        ----------
        inputs : Tensor, sequence of Tensor, or dict of them
            Inputs of the network, or tensors that it makes: then numbers are given for them.
        outputs : likewise

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
        return self._over(graph, form_of("inputs", inputs), form_of("outputs", outputs))

    def followed_by(self, link: Callable[[Tensor], Tensor]) -> Self:
        """Return the network that goes on with a function of its outputs, without parameters, over the same memory.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(2, 3), seed=0)
        >>> float(net.followed_by(fb.Softmax()).predict([[1.0, 2.0]]).sum().round(5))
        1.0
        """
        given = {t: placeholder(t) for t in self.graph.inputs}
        made = [link(t) for t in made_upon(self.graph.tensors, given, self.graph.outputs)]
        graph = Graph(list(given.values()), made, [(layer, name) for name, layer in self.graph.layers.items()])
        return self._over(graph, self._ins.form, self._outs.form)

    def _over(self, graph: Graph, ins: Form, outs: Form) -> Self:
        """Return a network of another graph over the same memory."""
        other: Self = object.__new__(self._part_class())
        other._take_sides(graph, ins, outs)
        other.graph, other.dtype, other.seed, other.compute_dtype = graph, self.dtype, self.seed, self.compute_dtype
        other.memory, other.backend = self.memory.over(graph), self.backend
        other._start()
        return other

    def predict_proba(self, x: Any, batch_size: int | None = None, *, link: Link | None = None) -> Outputs:
        """Return probabilities for any number of rows, where the outputs are logits.

        Parameters
        ----------
        x, batch_size
            As in :meth:`predict`.
        link : {"softmax", "sigmoid"}, optional
            What makes probabilities of logits: of classes, in the last axis, or of yes-or-no answers, each by itself.
            By default the sigmoid for outputs with a last axis of 1, the softmax for others, and nothing for a network
            that ends in one of them. ``trainer.predict_proba`` knows it from the loss.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(4, 3), seed=0)
        >>> p = net.predict_proba([[0.1, 0.2, 0.3, 0.4]])
        >>> p.shape, float(p.sum().round(5))
        ((1, 3), 1.0)
        """
        return self._with_link(link).predict(x, batch_size)

    def _with_link(self, link: str | None) -> Self:
        """Return the network followed by what makes probabilities of logits."""
        if link not in (None, *LINKS):
            raise ValueError(f"predict_proba: link is {link!r}; expected \"softmax\" or \"sigmoid\"")
        key = link or ""
        if key not in self._linked:
            self._linked[key] = self.followed_by(lambda t: linked(t, link))
        return self._linked[key]

    def freeze(self, *patterns: str | Sequence[str]) -> None:
        """Keep parameters as they are from now on, whoever trains: this network, or another one that shares them.

        Parameters
        ----------
        *patterns : str, or a sequence of them
            Names of parameters, with ``*`` and ``?``, or of layers; none for all parameters.

        Raises
        ------
        ValueError
            For a pattern that fits no parameter; nothing is changed then.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(4, 3, name="encoder"), fb.Tanh(), fb.Linear(3, 2, name="head"), seed=0)
        >>> net.freeze("encoder.*")
        >>> net.frozen
        ('encoder.weight', 'encoder.bias')
        >>> net.unfreeze()
        >>> net.frozen
        ()
        """
        self._let_move("freeze", patterns, False)

    def unfreeze(self, *patterns: str | Sequence[str]) -> None:
        """Train parameters again that were frozen, by :meth:`freeze` or by trainable=False; none given for all."""
        self._let_move("unfreeze", patterns, True)

    @property
    def frozen(self) -> tuple[str, ...]:
        """The names of the parameters that training leaves as they are."""
        frozen = self.memory.frozen
        return tuple(name for name in self.graph.parameters if name in frozen)

    def _let_move(self, owner: str, given: tuple[str | Sequence[str], ...], move: bool) -> None:
        names = list(self.graph.parameters)
        patterns: Any = given[0] if len(given) == 1 and isinstance(given[0], list | tuple) else given
        if given and not patterns:
            return
        self.memory.freeze(matching(owner, patterns, names) if patterns else names, not move)

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
    given = x.values() if isinstance(x, Mapping) else x if isinstance(x, list | tuple) else (x,)
    return any(isinstance(t, Tensor | Symbol) for t in given)


def as_tuple(role: str, tensors: Any) -> tuple[Tensor, ...]:
    if isinstance(tensors, Mapping):
        return tuple(tensors.values())
    if isinstance(tensors, Tensor):
        return (tensors,)
    if not isinstance(tensors, Iterable):
        raise TypeError(f"{role} is {tensors!r}; expected a tensor, as fb.Input(…) gives, or a sequence of them")
    return tuple(tensors)
