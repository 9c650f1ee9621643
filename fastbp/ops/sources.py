r"""The ops that bring something in: constants, parameters, the number of rows, random numbers; and stop_gradient.

**Derivation.** None depends on what the chain rule goes back to, but for a parameter, whose gradient is dy itself.
``stop_gradient`` is the identity, and says that the chain rule ends here.

Random numbers are a function of seed, step, node and element (:mod:`fastbp.ops.philox`), as dropout's are.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Shape, Work
from fastbp.ops.expression import Expression, with_rows
from fastbp.ops.philox import random_words


@dataclass(frozen=True, eq=False)
class ConstantOp(Expression):
    """``y = values``, one array for the whole batch."""

    values: Array
    name: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        values = np.array(self.values)          # the user's own may change
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    def value(self, *xs: Array) -> Array:
        return self.values

    def formula(self) -> str:
        return "y = c"


@dataclass(frozen=True)
class FillOp(Expression):
    """An array of x's shape, all of one number."""

    number: float
    name: ClassVar[str] = "fill"

    def value(self, *xs: Array) -> Array:
        return np.full_like(xs[0], self.number)

    def has_gradient(self, which: int) -> bool:
        return False

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return None

    def formula(self) -> str:
        return f"y = {self.number:g}"


@dataclass(frozen=True)
class ParameterOp(Expression):
    """``y = the parameter``, one array for the whole batch."""

    shape: Shape
    role: str = "value"
    name: ClassVar[str] = "parameter"
    has_native: ClassVar[bool] = True
    calls_back: ClassVar[bool] = False

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {self.role: self.shape}

    def value(self, *xs: Array) -> Array:
        return np.zeros(self.shape)

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return params[self.role] if params else ctx.buffers[self.role] if ctx.buffers else self.value()

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        return (), {self.role: dy} if ctx.params else {}

    def native(self, *shapes: Shape) -> Native:
        elements = Work(cost=0.2, units=prod(self.shape))
        return Native(dims=(prod(self.shape),), params=(self.role,), buffers=(self.role,),
                      work={"forward_reduce": elements, "gradient": elements})

    def formula(self) -> str:
        return "y = the parameter"


@dataclass(frozen=True)
class RowsOp(Expression):
    """The number of rows of the batch."""

    name: ClassVar[str] = "rows"

    def value(self, *xs: Array) -> Array:
        return np.ones(())

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return np.asarray(ctx.rows, ctx.dtype or np.float64)

    def formula(self) -> str:
        return "y = B"


@dataclass(frozen=True)
class TrainingOp(Expression):
    """Whether the network trains."""

    name: ClassVar[str] = "training"

    def value(self, *xs: Array) -> Array:
        return np.asarray(False)

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return np.asarray(ctx.training)

    def formula(self) -> str:
        return "y = whether the network trains"


@dataclass(frozen=True)
class StopGradientOp(Expression):
    """``y = x``, taken as a constant by the chain rule."""

    name: ClassVar[str] = "stop_gradient"

    def value(self, *xs: Array) -> Array:
        return xs[0]

    def has_gradient(self, which: int) -> bool:
        return False

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return None

    def formula(self) -> str:
        return "y = x, a constant to the chain rule"


@dataclass(frozen=True)
class CastOp(Expression):
    """``y = x`` as another kind of number: "real", "int64" or "bool"."""

    kind: str
    name: ClassVar[str] = "cast"

    def value(self, *xs: Array) -> Array:
        return xs[0].astype({"real": np.float64}.get(self.kind, self.kind))

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        return xs[0].astype(ctx.dtype or np.float64) if self.kind == "real" else self.value(*xs)

    def has_gradient(self, which: int) -> bool:
        return self.kind == "real"

    def gradient(self, which: int, dy: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return dy if self.kind == "real" else None

    def formula(self) -> str:
        return f"y = x as {self.kind}"


@dataclass(frozen=True)
class RandomOp(Expression):
    r"""Random numbers in an array of the given shape: uniform in [0, 1), or of the standard normal distribution.

    Element e of a uniform array is :math:`w_e / 2^{32}`, rounded down to 24 bits, w being its random word. Elements 2k
    and 2k + 1 of a normal one are :math:`\sqrt{-2 \ln u} \cos 2\pi v` and :math:`\sqrt{-2 \ln u} \sin 2\pi v`, with u
    and v the uniform numbers in (0, 1] and [0, 1) of words 2k and 2k + 1. Box and Muller (1958),
    https://doi.org/10.1214/aoms/1177706645.
    """

    distribution: str
    shape: tuple[int, ...]
    name: ClassVar[str] = "random"

    def value(self, *xs: Array) -> Array:
        return self.forward(Context(), *xs)

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        shape = with_rows(self.shape, ctx.rows)
        count = prod(shape)
        words = random_words(count + count % 2, ctx.seed, ctx.step, ctx.node)
        uniform = (words >> np.uint64(8)).astype(np.float64) * 2.0**-24
        if self.distribution == "normal":
            radius, angle = np.sqrt(-2 * np.log(uniform[::2] + 2.0**-24)), 2 * np.pi * uniform[1::2]
            uniform = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(-1)
        return uniform[:count].reshape(shape).astype(ctx.dtype or np.float64)

    def formula(self) -> str:
        return f"y = random numbers, {self.distribution}"
