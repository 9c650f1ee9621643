r"""The elementwise activations: :math:`y_i = f(x_i)`.

**Derivation.** :math:`y_i` depends on :math:`x_i` alone, so the chain rule has one term:
:math:`\partial E/\partial x_i = dy_i f'(x_i)`. All that differs is f and f'. Each op says, as ``derivative_from``,
whether f' is computed from the input x or, where that is cheaper, from the output y; ``derivative(s)`` is given that
one. At a kink (relu, leaky_relu, hardswish; elu for alpha ≠ 1) f' is the left derivative, unless the op says otherwise.

Where the formula reads :math:`x \cdot 0` at :math:`x = -\infty`, x is first clamped to where the other factor is 0
in both dtypes; the limits are thus exact and NaN appears only where it was put in.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import pi, prod, sqrt
from typing import Any, ClassVar

import numpy as np

from fastbp.ops.base import Array, Context, Native, Op, Shape
from fastbp.ops.scalar import normal_cdf, sigmoid, softplus

# Beyond ±_FAR e^x and the normal distribution's tails are 0 in float64, and so in float32.
_FAR = 1000.0


@dataclass(frozen=True)
class ActivationOp(Op):
    """One function applied to every element. Those with hyperparameters are dataclasses of their own."""

    @abstractmethod
    def value(self, x: Array) -> Array:
        """Return f(x)."""

    @abstractmethod
    def derivative(self, s: Array) -> Array:
        """Return f'(x), given x or f(x) as ``derivative_from`` says."""

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        return shape

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        (x,) = xs
        return self.value(x)

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        s = ctx.inputs[0] if self.derivative_from == "input" else ctx.output
        assert s is not None
        return (dy * self.derivative(s),), {}

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        return dy * self.derivative(xs[0] if self.derivative_from == "input" else y)

    def in_parts(self, x: Any) -> Any:
        """Return f(x) of a tensor by the functions that ``gradient`` is made of: then each is worked out once.

        None where they have none in common.
        """
        return None

    def native(self, *shapes: Shape) -> Native:
        return Native(dims=(prod(shapes[0]),), attrs=(getattr(self, "alpha", 0.0),))


class IdentityOp(ActivationOp):
    r""":math:`y = x`, so :math:`y' = 1`."""

    name: ClassVar[str] = "identity"
    derivative_from = "output"

    def value(self, x: Array) -> Array:
        return x

    def derivative(self, s: Array) -> Array:
        return np.ones_like(s)

    def formula(self) -> str:
        return "y = x"


class ReLUOp(ActivationOp):
    r""":math:`y = \max(0, x)`, so :math:`y' = 1` where :math:`y > 0`, else 0."""

    name: ClassVar[str] = "relu"
    derivative_from = "output"

    def value(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def derivative(self, s: Array) -> Array:
        return (s > 0).astype(s.dtype)

    def formula(self) -> str:
        return "y = max(0, x)"


@dataclass(frozen=True)
class LeakyReLUOp(ActivationOp):
    r""":math:`y = x` for :math:`x > 0`, else :math:`\alpha x`; :math:`y' = 1` or :math:`\alpha`."""

    alpha: float = 0.01
    name: ClassVar[str] = "leaky_relu"
    derivative_from = "input"

    def value(self, x: Array) -> Array:
        return np.where(x > 0, x, self.alpha * x)

    def derivative(self, s: Array) -> Array:
        return np.where(s > 0, 1, self.alpha).astype(s.dtype)

    def formula(self) -> str:
        return f"y = x if x > 0 else {self.alpha:g} x"


@dataclass(frozen=True)
class ELUOp(ActivationOp):
    r""":math:`y = x` for :math:`x > 0`, else :math:`\alpha (e^x - 1)`; :math:`y' = 1` or :math:`\alpha e^x`."""

    alpha: float = 1.0
    name: ClassVar[str] = "elu"
    derivative_from = "input"

    def value(self, x: Array) -> Array:
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0)))

    def derivative(self, s: Array) -> Array:
        return np.where(s > 0, 1, self.alpha * np.exp(np.minimum(s, 0)))

    def formula(self) -> str:
        return f"y = x if x > 0 else {self.alpha:g} (exp(x) - 1)"


SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


class SELUOp(ActivationOp):
    r""":math:`y = \lambda x` for :math:`x > 0`, else :math:`\lambda \alpha (e^x - 1)`; :math:`y' = \lambda` or
    :math:`\lambda \alpha e^x`.

    λ and α are the constants for which mean 0 and variance 1 are a fixed point (Klambauer et al. 2017, appendix).
    """

    name: ClassVar[str] = "selu"
    derivative_from = "input"

    def value(self, x: Array) -> Array:
        return np.where(x > 0, SELU_SCALE * x, SELU_SCALE * SELU_ALPHA * np.expm1(np.minimum(x, 0)))

    def derivative(self, s: Array) -> Array:
        return np.where(s > 0, SELU_SCALE, SELU_SCALE * SELU_ALPHA * np.exp(np.minimum(s, 0))).astype(s.dtype)

    def formula(self) -> str:
        return f"y = {SELU_SCALE:.4f} x if x > 0 else {SELU_SCALE * SELU_ALPHA:.4f} (exp(x) - 1)"


class GELUOp(ActivationOp):
    r""":math:`y = x \Phi(x)`, so :math:`y' = \Phi(x) + x \varphi(x)`.

    Φ is the normal distribution function and :math:`\varphi(x) = e^{-x^2/2}/\sqrt{2\pi}` its derivative.
    """

    name: ClassVar[str] = "gelu"
    derivative_from = "input"

    def value(self, x: Array) -> Array:
        y: Array = np.maximum(x, -_FAR) * normal_cdf(x)
        return y

    def derivative(self, s: Array) -> Array:
        x = np.clip(s, -_FAR, _FAR)
        slope: Array = normal_cdf(x) + x * (np.exp(-x * x / 2) / sqrt(2 * pi))
        return slope

    def formula(self) -> str:
        return "y = x Φ(x)"


_GELU_TANH_CUBIC = 0.044715


class GELUTanhOp(ActivationOp):
    r""":math:`y = \frac x2 (1 + \tanh u)` with :math:`u = \sqrt{2/\pi}\,(x + 0.044715\, x^3)`.

    As :math:`(1 + \tanh u)/2 = \sigma(2u)`, this is :math:`y = x \sigma(2u)`, which keeps its digits where tanh u is
    near −1. With :math:`\sigma' = \sigma(2u)\,\sigma(-2u)`:
    :math:`y' = \sigma(2u) + x\, \sigma(2u)\, \sigma(-2u)\, 2u'`, where
    :math:`u' = \sqrt{2/\pi}\,(1 + 3 \cdot 0.044715\, x^2)`.
    """

    name: ClassVar[str] = "gelu_tanh"
    derivative_from = "input"

    def value(self, x: Array) -> Array:
        x = np.maximum(x, -_FAR)
        y: Array = x * sigmoid(self._two_u(x))
        return y

    def derivative(self, s: Array) -> Array:
        x = np.clip(s, -_FAR, _FAR)
        two_u = self._two_u(x)
        two_u_slope = 2 * sqrt(2 / pi) * (1 + 3 * _GELU_TANH_CUBIC * x * x)
        slope: Array = sigmoid(two_u) * (1 + x * sigmoid(-two_u) * two_u_slope)
        return slope

    def _two_u(self, x: Array) -> Array:
        two_u: Array = 2 * sqrt(2 / pi) * x * (1 + _GELU_TANH_CUBIC * x * x)
        return two_u

    def formula(self) -> str:
        return "y = x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))"


class SiLUOp(ActivationOp):
    r""":math:`y = x \sigma(x)`, so :math:`y' = \sigma(x) + x \sigma(x) (1 - \sigma(x))`, where
    :math:`1 - \sigma(x) = \sigma(-x)`.
    """

    name: ClassVar[str] = "silu"
    derivative_from = "input"

    def value(self, x: Array) -> Array:
        y: Array = np.maximum(x, -_FAR) * sigmoid(x)
        return y

    def derivative(self, s: Array) -> Array:
        x = np.clip(s, -_FAR, _FAR)
        slope: Array = sigmoid(x) * (1 + x * sigmoid(-x))
        return slope

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        # as a part of the graph it is derived itself: one σ serves it and its derivatives, and y is there
        s = sigmoid(xs[0])
        dx: Array = dy * (s + y * (1 - s))
        return dx

    def in_parts(self, x: Any) -> Any:
        return x * sigmoid(x)

    def formula(self) -> str:
        return "y = x σ(x)"


class MishOp(ActivationOp):
    r""":math:`y = x t` with :math:`t = \tanh(\log(1 + e^x))`.

    With :math:`u = e^x`, :math:`t = \frac{(1+u)^2 - 1}{(1+u)^2 + 1} = \frac{u^2 + 2u}{u^2 + 2u + 2}` and
    :math:`1 - t = \frac{2}{u^2 + 2u + 2}`. For :math:`x \ge 0` both fractions are divided by :math:`u^2`, so that only
    :math:`e^{-|x|}` is needed. As tanh' = 1 − t² and softplus' = σ: :math:`y' = t + x (1 - t)(1 + t) \sigma(x)`.
    """

    name: ClassVar[str] = "mish"
    derivative_from = "input"

    def value(self, x: Array) -> Array:
        t, _ = self._tanh_softplus(x)
        y: Array = np.maximum(x, -_FAR) * t
        return y

    def derivative(self, s: Array) -> Array:
        x = np.clip(s, -_FAR, _FAR)
        t, rest = self._tanh_softplus(x)
        slope: Array = t + x * rest * (1 + t) * sigmoid(x)
        return slope

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array:
        # |x| has a kink at 0 that the function has not: this form can be derived there, too
        x = np.clip(xs[0], -_FAR, _FAR)
        t = np.tanh(softplus(x))
        slope: Array = t + x * (1 - np.square(t)) * sigmoid(x)
        return dy * slope

    def _tanh_softplus(self, x: Array) -> tuple[Array, Array]:
        """Return t and 1 - t."""
        e = np.exp(-np.abs(x))
        numerator = np.where(x >= 0, 1 + 2 * e, e * (e + 2))
        rest = np.where(x >= 0, 2 * e * e, 2)
        return numerator / (numerator + rest), rest / (numerator + rest)

    def formula(self) -> str:
        return "y = x tanh(log(1 + exp(x)))"


class SigmoidOp(ActivationOp):
    r""":math:`y = \sigma(x) = 1/(1 + e^{-x})`, so :math:`y' = e^{-x}/(1 + e^{-x})^2 = y (1 - y)`."""

    name: ClassVar[str] = "sigmoid"
    derivative_from = "output"

    def value(self, x: Array) -> Array:
        y: Array = sigmoid(x)
        return y

    def derivative(self, s: Array) -> Array:
        slope: Array = s * (1 - s)
        return slope

    def formula(self) -> str:
        return "y = 1 / (1 + exp(-x))"


class TanhOp(ActivationOp):
    r""":math:`y = \tanh x`, so :math:`y' = 1 - y^2`."""

    name: ClassVar[str] = "tanh"
    derivative_from = "output"

    def value(self, x: Array) -> Array:
        return np.tanh(x)

    def derivative(self, s: Array) -> Array:
        return 1 - s * s

    def formula(self) -> str:
        return "y = tanh(x)"


class SoftplusOp(ActivationOp):
    r""":math:`y = \log(1 + e^x)`, so :math:`y' = e^x/(1 + e^x) = \sigma(x)`."""

    name: ClassVar[str] = "softplus"
    derivative_from = "input"

    def value(self, x: Array) -> Array:
        y: Array = softplus(x)
        return y

    def derivative(self, s: Array) -> Array:
        slope: Array = sigmoid(s)
        return slope

    def formula(self) -> str:
        return "y = log(1 + exp(x))"


class HardSwishOp(ActivationOp):
    r""":math:`y = x \min(\max(x + 3, 0), 6) / 6`.

    :math:`y' = 0` for :math:`x \le -3`, 1 for :math:`x \ge 3`, and :math:`(2x + 3)/6` between.
    """

    name: ClassVar[str] = "hardswish"
    derivative_from = "input"

    def value(self, x: Array) -> Array:
        y: Array = np.maximum(x, -3) * (np.clip(x + 3, 0, 6) / 6)
        return y

    def derivative(self, s: Array) -> Array:
        return np.where(s <= -3, 0, np.where(s >= 3, 1, (2 * s + 3) / 6))

    def formula(self) -> str:
        return "y = x min(max(x + 3, 0), 6) / 6"
