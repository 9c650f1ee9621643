r"""The python op: a layer of the user's own, whose forward and backward rules are Python functions over NumPy arrays.

**Derivation.** None can stand here: it is the user's. :func:`fastbp.gradcheck` holds it against differences.

What the functions return is checked and brought to the network's dtype; what they are given is read only, as other
nodes of the graph use the same memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from fastbp.ops.base import Array, Context, DType, Op, Shape


class Rules(Protocol):
    """What the op asks of the layer that it stands for (:class:`fastbp.CustomLayer`)."""

    def output_shape(self, *shapes: Shape) -> Shape: ...
    def parameters(self, *shapes: Shape) -> Mapping[str, tuple[Shape, Any]]: ...
    def buffers(self, *shapes: Shape) -> Mapping[str, tuple[Shape, Any]]: ...
    def input_dtype(self, index: int) -> DType: ...
    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Any: ...
    def backward(self, ctx: Context, dy: Array) -> Any: ...


@dataclass(frozen=True)
class PythonOp(Op):
    """What ``rules`` say."""

    rules: Rules
    name: ClassVar[str] = "python"
    has_native = False
    calls_back = True

    def output_shape(self, *shapes: Shape) -> Shape:
        given = self.rules.output_shape(*shapes)
        if not isinstance(given, tuple | list) or not all(_is_size(s) for s in given):
            raise ValueError(f"{self.rules!r}: output_shape returned {given!r}; expected a tuple of positive integers, "
                             "the batch axis left out")
        return tuple(int(s) for s in given)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {role: tuple(shape) for role, (shape, _) in self.rules.parameters(*shapes).items()}

    def buffer_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {role: tuple(shape) for role, (shape, _) in self.rules.buffers(*shapes).items()}

    def input_dtype(self, index: int) -> DType:
        return self.rules.input_dtype(index)

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        ctx.inputs = tuple(_read_only(x) for x in xs)
        ctx.params = {role: _read_only(p) for role, p in params.items()}
        shape = (len(xs[0]), *self.output_shape(*(x.shape[1:] for x in xs)))
        y = self.rules.forward(ctx, *ctx.inputs, **ctx.params)
        return self._checked("forward returned y", y, shape, ctx.dtype or xs[0].dtype)

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array | None, ...], dict[str, Array]]:
        given = self.rules.backward(ctx, _read_only(dy))
        if given is None:
            expected = "the gradient of each input, as in `return dx`"
            if ctx.params:
                expected = (f"gradients of inputs and parameters ({_listed(ctx.params)}), as in "
                            "`return dx, {\"weight\": dW}`")
            raise TypeError(f"{self.rules!r}: backward returned None; expected {expected}")
        with_params = isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dict)
        dxs, dparams = given if with_params else (given, {})
        dxs = tuple(dxs) if isinstance(dxs, tuple | list) else (dxs,)
        if len(dxs) != len(ctx.inputs):
            raise ValueError(f"{self.rules!r}: backward returned {len(dxs)} gradients of inputs; expected "
                             f"{len(ctx.inputs)}")
        if set(dparams) != set(ctx.params):
            raise ValueError(f"{self.rules!r}: backward returned gradients of the parameters {_listed(dparams)}; "
                             f"expected {_listed(ctx.params)}, as in `return dx, {{\"weight\": dW}}`")
        gradients = tuple(self._checked(f"backward returned dx[{i}]", dx, x.shape, dy.dtype)
                          if self.input_dtype(i) == "real" else None
                          for i, (dx, x) in enumerate(zip(dxs, ctx.inputs, strict=True)))
        return gradients, {r: self._checked(f"backward returned the gradient of {r}", g, ctx.params[r].shape, dy.dtype)
                           for r, g in dparams.items()}

    def _checked(self, what: str, values: Any, shape: Shape, dtype: Any) -> Array:
        if values is None:
            raise TypeError(f"{self.rules!r}: {what} = None; expected real numbers of shape {shape}")
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{self.rules!r}: {what} of dtype {array.dtype}; expected real numbers")
        if array.shape != shape:
            raise ValueError(f"{self.rules!r}: {what} of shape {array.shape}; expected {shape}")
        return np.ascontiguousarray(array, dtype)

    def formula(self) -> str:
        return f"y = {self.rules!r}(x)"


def _is_size(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value > 0)


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "none"
