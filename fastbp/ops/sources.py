r"""The ops that bring something in: constants, parameters, the number of rows; and stop_gradient.

**Derivation.** None depends on what the chain rule goes back to, but for a parameter, whose gradient is dy itself.
``stop_gradient`` is the identity, and says that the chain rule ends here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Shape, Work
from fastbp.ops.expression import Expression


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
