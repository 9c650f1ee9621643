"""What every layer is: hyperparameters, and how they lower to ops.

A layer is a description, and knows no network: called on tensors it adds nodes to the graph and returns the tensor they
make. Calling one layer twice shares its parameters. Run by itself, on arrays, it has parameters of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast, overload

from fastbp.core.checks import flag
from fastbp.core.vector import Vector
from fastbp.core.words import Worded
from fastbp.graph.graph import Call, Initializer, Parameter, Tensor, apply
from fastbp.graph.streaming import stream
from fastbp.graph.tensor import Symbol
from fastbp.layers.alone import Alone
from fastbp.ops.base import Array, Op, Shape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastbp.engine.layer_plan import LayerMemory

__all__ = ["Layer"]

L = TypeVar("L", bound="Layer")
R = TypeVar("R")


def overridable(method: Callable[..., R]) -> Callable[..., R]:
    """Tell type checkers that a subclass may take other arguments: those of its own inputs, by names of its own."""
    return method


class Layer(Worded, ABC):
    """One layer of a network.

    Parameters
    ----------
    name : str, optional
        What its parameters are filed under (``"<name>.weight"``); by default its place in the network.
    trainable : bool, default True
        False keeps its parameters as they are: they get no gradient and no update.
    """

    words: ClassVar[Mapping[str, str]] = {
        "activation": "an activation as the next layer, such as fb.ReLU()", "p": "rate=…", "units": "out_features=…",
        "input_shape": "fb.Input(shape) as the first layer", "input_dim": "in_features=…", "use_bias": "bias=…",
        "kernel_initializer": "weight_init=…", "bias_initializer": "bias_init=…", "num_features": "features=…",
        "normalized_shape": "features=…", "epsilon": "eps=…", "dtype": "dtype=… to the network",
        "sparse": "lazy=True to the optimizer, such as fb.Adam(lazy=True)",
    }
    reads_hyperparameters_late: ClassVar[bool] = False
    """Whether what is assigned to hyperparameters of a layer in use has an effect."""
    each_step: ClassVar[bool] = False
    """Whether it does the same at each step of a sequence, or remembers what it needs of the steps before."""
    takes: ClassVar[str | None] = None
    """What the inputs of the layer by itself hold: real numbers, or ``"int64"``."""
    any_inputs: ClassVar[tuple[Shape, ...]] = ()
    """For a layer whose parameters do not depend on its inputs: sample shapes of some that fit."""

    def __init__(self, *, name: str | None = None, trainable: bool = True) -> None:
        if name is not None and (not isinstance(name, str) or not name or "." in name):
            raise ValueError(f"{self._label}: name is {name!r}; expected a non-empty string without a dot")
        self.name = name
        self.trainable = flag(self._label, "trainable", trainable)
        self._known: dict[tuple[str, Shape], Parameter] = {}
        self._whole: tuple[Layer, str] | None = None
        self._used = False

    @property
    def _label(self) -> str:
        """What messages call it."""
        return type(self).__name__

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__dict__.get("_used") and name in self._fixed():
            raise AttributeError(f"{self._label}: {name} is fixed, as the layer is part of a network; make the "
                                 f"network anew with {name}={value!r}, and take over what was learnt by "
                                 "new.load_state_dict(old.state_dict())")
        if name == "trainable" and self.__dict__.get("_known"):
            raise AttributeError(f"{type(self).__name__}: trainable is fixed, as the layer has its parameters; make "
                                 f"another with trainable={value!r}")
        super().__setattr__(name, value)
        if "_alone" in self.__dict__:
            self._by_itself().forget_graphs()

    def _fixed(self) -> set[str]:
        return {"name", "trainable", *(() if self.reads_hyperparameters_late else self.hyperparameters())}

    @overload
    def __call__(self, *inputs: Tensor) -> Tensor: ...
    @overload
    def __call__(self, *inputs: Any) -> Any: ...

    def __call__(self, *inputs: Any) -> Any:
        """Apply the layer to tensors, and return the tensor it makes."""
        tensors = tuple(t.tensor if isinstance(t, Symbol) else t for t in inputs)
        for t in tensors:
            if not isinstance(t, Tensor):
                raise TypeError(f"{self!r}: called on {type(t).__name__}; expected tensors, as fb.Input(…) gives. "
                                "To run a layer on numbers, call its forward")
        if not self.each_step and stream() is not None:
            raise ValueError(f"{self!r}: looks at several steps at once; a network that goes through a stream has "
                             "layers that look at each step by itself, recurrent ones in one direction, and causal "
                             "attention")
        out = self.lower(*tensors)
        self._used = True
        if self._whole is None and out.node is not None and out.call is None:
            if out.node.owner is self:
                out.call = Call(self, tensors)
            elif out.node.owner is None and out.traced is None and out not in tensors:
                out.traced = Call(self, tensors)
        return out if all(a is b for a, b in zip(tensors, inputs, strict=True)) else Symbol(out)

    @abstractmethod
    def lower(self, *inputs: Tensor) -> Tensor:
        """Add the layer's ops to the graph."""

    def hyperparameters(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return {}

    # ---- a layer by itself, on arrays ------------------------------------------------------------------------------

    @overridable
    def forward(self, *xs: ArrayLike, training: bool = False) -> Array:
        """Return the layer's output for a batch, and keep what `backward` needs.

        A layer that runs by itself has parameters of its own (`params`), whatever networks it is part of. It runs by
        the functions of :mod:`fastbp.kernels`, or where there are none as a plan of its own; a
        :class:`~fastbp.CustomLayer` runs in NumPy. What `backward` needs are x and the output as they are, without
        copies: leave them unchanged until then.

        Parameters
        ----------
        *xs : arrays (B, …)
            One for each input of the layer. Arrays of float32 or float64 keep their dtype; other numbers become
            float32. Lists take the dtype of the parameters, or float64 where there are none yet.
        training : bool, default False
            Whether dropout drops, with other random numbers at every call, and batch normalisation uses the statistics
            of the batch.

        Returns
        -------
        array (B, …)
            It may be a view of x, or x itself, where nothing is computed.

        Raises
        ------
        ValueError
            For shapes that do not fit.
        TypeError
            For what is no array of real numbers, and for another dtype than that of the parameters.

        Examples
        --------
        >>> import numpy as np
        >>> import fastbp as fb
        >>> relu = fb.ReLU()
        >>> relu.forward(np.array([[-1.0, 2.0]]))
        array([[0., 2.]])
        >>> relu.backward(np.array([[5.0, 7.0]]))
        array([[0., 7.]])
        """
        return self._by_itself().forward(xs, training)

    @overridable
    def backward(self, dy: ArrayLike) -> Any:
        """Return the gradient of the input, and write those of the parameters into `grads`.

        Parameters
        ----------
        dy : array of the shape of the output
            The gradient of whatever is to be minimised, for the batch of the last `forward`.

        Returns
        -------
        array of the shape of x, or a tuple of them for several inputs
            None for an input of integers.

        Raises
        ------
        RuntimeError
            Without a preceding `forward`.
        ValueError, TypeError
            For another shape or dtype than the output's.

        Examples
        --------
        >>> import numpy as np
        >>> import fastbp as fb
        >>> affine = fb.Linear(2, 1, weight_init=fb.Ones())
        >>> affine.forward(np.array([[1.0, 2.0]]))
        array([[3.]])
        >>> affine.backward(np.array([[10.0]]))
        array([[10., 10.]])
        >>> affine.grads["weight"]
        array([[10.],
               [20.]])
        """
        dxs = self._by_itself().backward(dy)
        return dxs[0] if len(dxs) == 1 else dxs

    def build(self, *shapes: int | Shape, seed: int | None = None, dtype: str | None = None) -> Self:
        """Give the layer new parameters of its own.

        Parameters
        ----------
        *shapes : tuple of int, or int
            Of one sample of each input. Where they are left out, the layer's arguments or the first `forward` tell.
        seed : int, optional
            Decides the parameters, and dropout; drawn when left out. A :class:`~fastbp.Sequential` of this layer alone
            begins with the same ones.
        dtype : {"float32", "float64"}, optional
            Where it is left out, that of the first input.

        Returns
        -------
        Layer
            Itself.

        Examples
        --------
        >>> import fastbp as fb
        >>> layer = fb.Linear(3, 2).build(seed=0)
        >>> layer.params
        {'weight': (3, 2), 'bias': (2,)}
        """
        if dtype not in (None, "float32", "float64"):
            raise ValueError(f'{self!r}: dtype is {dtype!r}; expected "float32" or "float64"')
        alone = Alone(self, seed)
        if shapes or dtype is not None:
            alone.build([s if isinstance(s, tuple | list) else (s,) for s in shapes] or self._input_shapes(),
                        dtype or "float32")
        self.__dict__["_alone"] = alone
        return self

    @property
    def params(self) -> Vector:
        """The parameters of the layer by itself, by role: ``layer.params["weight"]``, ``layer.params.flat``."""
        return self._vectors()[0]

    @property
    def grads(self) -> Vector:
        """Their gradients, from the last `backward`, likewise; 0 where the layer is not trainable."""
        return self._vectors()[1]

    @property
    def state(self) -> Vector:
        """What is not trained, likewise: running statistics."""
        return self._vectors()[2]

    def _by_itself(self) -> Alone:
        alone = self.__dict__.get("_alone")
        if alone is None:
            alone = self.__dict__["_alone"] = Alone(self, meant=not self._used)
        return cast(Alone, alone)

    def _trained(self) -> LayerMemory:
        self._vectors()
        return self._by_itself().trained

    def _vectors(self) -> tuple[Vector, Vector, Vector]:
        alone = self._by_itself()
        if alone.vectors is None:
            alone.build(self._input_shapes(), "float32")
        return cast("tuple[Vector, Vector, Vector]", alone.vectors)

    def _input_shapes(self) -> Sequence[Shape]:
        """Return sample shapes of inputs that will do to make the parameters."""
        if self.any_inputs:
            return self.any_inputs
        raise RuntimeError(f"{self!r}: has no parameters of its own yet, as their shapes depend on the input; call "
                           "forward(x) or build(shape) first")

    @property
    def output_features(self) -> int | None:
        """The features it puts out whatever comes in, or None."""
        return None

    def __repr__(self) -> str:
        given = dict(self.hyperparameters())
        if self.name is not None:
            given["name"] = self.name
        if not self.trainable:
            given["trainable"] = False
        return f"{self._label}({', '.join(f'{k}={v!r}' for k, v in given.items())})"

    def parameter(self, role: str, shape: Shape, initializer: Initializer, trainable: bool = True) -> Parameter:
        """Return the layer's parameter of this role and shape: the same one at every call."""
        if self._whole is not None:
            whole, part = self._whole
            return whole.parameter(f"{part}.{role}", shape, initializer, trainable and self.trainable)
        return self._known.setdefault((role, shape), Parameter(role, shape, initializer, trainable and self.trainable))

    def apply(self, op: Op, *inputs: Tensor, initializers: dict[str, Initializer] | None = None,
              names: dict[str, str] | None = None) -> Tensor:
        """Add one op to the graph, with parameters and buffers as the op wants them.

        ``names`` says what the layer calls parameters, where that is not what the op calls them.
        """
        shapes = [t.shape for t in inputs]
        start, called = initializers or {}, names or {}
        params = {r: self.parameter(called.get(r, r), s, start[r]) for r, s in op.parameter_shapes(*shapes).items()}
        buffers = {r: self.parameter(called.get(r, r), s, start[r], False)
                   for r, s in op.buffer_shapes(*shapes).items()}
        return apply(op, *inputs, owner=self._owner, params=params, buffers=buffers)

    @property
    def _owner(self) -> Layer:
        """What owns the nodes that this layer makes: itself, or the layer that it is a part of."""
        return self if self._whole is None else self._whole[0]._owner

    def whole_inputs(self, count: int) -> tuple[int, ...]:
        """Return which of so many inputs each step sees as a whole: the memory that attention looks at."""
        return ()

    def part(self, role: str, layer: L) -> L:
        """Make a layer a part of this one, which then owns its nodes and has its parameters as ``"<role>.<its own>"``.

        Call it in the constructor, and the part in ``lower``.

        Raises
        ------
        ValueError
            If the layer is part of something already.
        """
        if layer._whole is not None or layer._used:
            raise ValueError(f"{type(self).__name__}: {layer!r} is part of another layer or network already; give each "
                             "a layer of its own")
        layer._whole = self, role
        return layer


def one_input(layer: Layer, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return the only input, or raise TypeError."""
    if len(inputs) != 1:
        raise TypeError(f"{layer!r}: called on {len(inputs)} tensors; expected 1")
    return inputs[0]


def fold(layer: Layer, inputs: tuple[Tensor, ...], combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine any number of inputs, two at a time, neighbours first."""
    if len(inputs) < 2:
        raise TypeError(f"{layer!r}: called on {len(inputs)} tensor{'s' * (len(inputs) != 1)}; expected at least 2")
    row = list(inputs)
    while len(row) > 1:
        pairs = [combine(a, b) for a, b in zip(row[::2], row[1::2], strict=False)]
        row = pairs + ([row[-1]] if len(row) % 2 else [])
    return row[0]


def checked_initializer(label: str, argument: str, given: Initializer | None, default: Initializer) -> Initializer:
    """Return a given initializer, or the default for None; TypeError for what is none."""
    if given is None:
        return default
    if isinstance(given, type) or not callable(given):
        raise TypeError(f"{label}: {argument} is {given!r}; expected an initializer such as fb.XavierUniform(), or a "
                        "function (shape, rng, dtype) -> array")
    return given
