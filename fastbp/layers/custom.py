"""A layer of one's own: forward and backward in NumPy, anywhere in a graph."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.core.checks import count
from fastbp.graph.graph import Initializer, Tensor
from fastbp.layers.base import Layer, overridable
from fastbp.ops.base import Array, Context, DType, Shape
from fastbp.ops.custom import PythonOp

if TYPE_CHECKING:
    from fastbp.views.gradcheck import GradcheckReport

__all__ = ["CustomLayer"]


class CustomLayer(Layer):
    """A layer whose forward and backward rules are written in Python.

    Override :meth:`forward` and :meth:`backward`, and what else the layer needs. It is used like any other layer:
    in a :class:`~fastbp.Sequential` or called on tensors, shared, trained, checked by :func:`fastbp.gradcheck`. Return
    the constructor's arguments from ``hyperparameters`` to have it in files (``fb.load(path, layers=[MyLayer])``).

    Parameters
    ----------
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Notes
    -----
    Shapes are those of one sample; arrays have the batch axis before it. Arrays that are handed in are read only and
    good until the next batch: copy what is to be kept for longer. Python costs a few microseconds a call, and holds the
    GIL while it runs; the other layers stay as fast as they are.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> class Scale(fb.CustomLayer):  # y = a x, with one trained a for each feature
    ...     def parameters(self, shape):
    ...         return {"a": (shape, fb.Ones())}
    ...     def forward(self, ctx, x, a):
    ...         return a * x
    ...     def backward(self, ctx, dy):
    ...         (x,) = ctx.inputs
    ...         return dy * ctx.params["a"], {"a": (dy * x).sum(axis=0)}
    >>> Scale().gradcheck((3,)).ok
    True
    >>> net = fb.Sequential(fb.Linear(4, 3), Scale(), fb.Tanh(), backend="reference")
    >>> net.params["1.a"]
    array([1., 1., 1.], dtype=float32)
    """

    reads_hyperparameters_late = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("forward", "backward"):
            rule = getattr(cls, name)
            if not hasattr(rule, "_is_either"):
                setattr(cls, name, _either(rule, getattr(Layer, name)))

    @overridable
    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the shape of an output sample; that of the first input, unless overridden."""
        return shapes[0]

    @overridable
    def parameters(self, *shapes: Shape) -> Mapping[str, tuple[Shape, Initializer]]:
        """Return the trained parameters by role, each as (shape, initializer); none, unless overridden."""
        return {}

    @overridable
    def buffers(self, *shapes: Shape) -> Mapping[str, tuple[Shape, Initializer]]:
        """Return the state that is not trained, likewise; forward updates it in place in ``ctx.buffers``."""
        return {}

    def input_dtype(self, index: int) -> DType:
        """Return what the input of this number holds, "real" numbers or integers, "int64"; real, unless overridden.

        Integers have no gradient: backward returns None for them.
        """
        return "real"

    @abstractmethod
    @overridable
    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        """Return the output for a batch.

        Written with a context as its first argument, and called without one it runs the layer by itself:
        ``layer.forward(x)``, and then ``layer.backward(dy)``, as any layer's.

        Parameters
        ----------
        ctx : Context
            ``ctx.training``; ``ctx.buffers``; ``ctx.saved``, a dict for what backward needs; ``ctx.seed``, ``ctx.step``
            and ``ctx.node``, which random numbers are to be keyed by.
        *xs : arrays (B, *shape)
        **params : arrays, by role
        """

    @abstractmethod
    @overridable
    def backward(self, ctx: Context, dy: Array) -> Any:
        """Return the gradient of the input and, where there are parameters, a dict with theirs: ``dx, {"weight": dW}``.

        With several inputs, dx is a tuple of one gradient for each.

        Parameters
        ----------
        ctx : Context
            As forward left it, with ``ctx.inputs``, ``ctx.output`` and ``ctx.params``.
        dy : array (B, *output shape)
        """

    def lower(self, *inputs: Tensor) -> Tensor:
        if not inputs:
            raise TypeError(f"{self!r}: called on no tensor; expected at least 1")
        shapes = [t.shape for t in inputs]
        declared = {**self.parameters(*shapes), **self.buffers(*shapes)}
        return self.apply(PythonOp(self), *inputs, initializers={role: init for role, (_, init) in declared.items()})

    def gradcheck(self, *shapes: Shape | int, rows: int = 3, seed: int = 0, **options: Any) -> GradcheckReport:
        """Compare backward with differences of forward, on random inputs; those of integers are 0 and 1.

        Parameters
        ----------
        *shapes : tuple of int, or int
            Of one sample of each input.
        rows : int, default 3
            Samples in the batch.
        seed : int, default 0
        **options
            As in :func:`fastbp.gradcheck`.

        Returns
        -------
        GradcheckReport
        """
        from fastbp.engine.executable import Executable
        from fastbp.graph.graph import Input
        from fastbp.objectives.losses import HalfSquaredError
        from fastbp.views.gradcheck import gradcheck
        rows = count(f"{self!r}.gradcheck", "rows", rows)
        dtypes = [self.input_dtype(i) for i in range(len(shapes))]
        inputs = [Input(s, dtype=None if d == "real" else d) for s, d in zip(shapes, dtypes, strict=True)]
        out = self(*inputs)
        net = Executable(inputs, out, dtype="float64", seed=seed, backend="reference")
        rng = np.random.default_rng(seed)
        sizes = [(rows, *t.shape) for t in inputs]
        x = tuple(rng.standard_normal(s) if d == "real" else rng.integers(0, 2, s)
                  for s, d in zip(sizes, dtypes, strict=True))
        return gradcheck(net, x, rng.standard_normal((rows, *out.shape)), HalfSquaredError(), **options)


def _either(rule: Callable[..., Any], by_itself: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that is the user's rule for a context, and runs the layer by itself for arrays."""
    @wraps(rule)
    def method(self: CustomLayer, *args: Any, **options: Any) -> Any:
        if "ctx" in options or (args and isinstance(args[0], Context)):
            return rule(self, *args, **options)
        return by_itself(self, *args, **options)

    method._is_either = True  # type: ignore[attr-defined]
    return method
