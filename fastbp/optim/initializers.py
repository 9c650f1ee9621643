r"""What parameters start as. An initializer is called as ``init(shape, rng, dtype)`` and returns an array.

Weights have shape (…, I, O): I inputs and O outputs, and before them the axes of a receptive field, if any. The number
of values that one output is made of is *fan in* = … · I, that of outputs that one input goes to *fan out* = … · O.
Every one of the scaled initializers draws with mean 0 and standard deviation ``gain / √fan``; uniform ones from
``(-√3 std, √3 std)``, which has that deviation.

Numbers are drawn in float64 and then rounded: a network starts from the same point in either dtype. Anything callable
in the same way is an initializer too.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, Literal

import numpy as np

from fastbp.core.checks import number
from fastbp.ops.base import Array, Shape

__all__ = [
    "Constant", "KaimingNormal", "KaimingUniform", "LeCunNormal", "LeCunUniform", "Normal", "Ones", "Orthogonal",
    "Uniform", "XavierNormal", "XavierUniform", "Zeros",
]

Activation = Literal["linear", "sigmoid", "tanh", "relu", "selu"]
Fan = Literal["fan_in", "fan_out"]

GAINS: dict[str, float] = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2), "selu": 3 / 4}
"""What keeps the variance of a signal about constant through each activation (as PyTorch's ``calculate_gain`` has it).
For a leaky ReLU of slope α below 0 give ``√(2 / (1 + α²))``."""


@dataclass(frozen=True)
class Zeros:
    """All zeros.

    >>> import fastbp as fb
    >>> fb.Zeros()((2,), None, "float32")
    array([0., 0.], dtype=float32)
    """

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        return np.zeros(shape, dtype)


@dataclass(frozen=True)
class Ones:
    """All ones."""

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        return np.ones(shape, dtype)


@dataclass(frozen=True)
class Constant:
    """One value everywhere.

    Parameters
    ----------
    value : float

    Raises
    ------
    ValueError
        If it is not a finite number.
    """

    value: float

    def __post_init__(self) -> None:
        number("Constant", "value", self.value, "a finite number", lambda _: True)

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        return np.full(shape, self.value, dtype)


@dataclass(frozen=True)
class Normal:
    """Normal distribution.

    Parameters
    ----------
    mean : float, default 0
    std : float, default 0.05

    Raises
    ------
    ValueError
        If they are not finite, or ``std`` is negative.
    """

    mean: float = 0.0
    std: float = 0.05

    def __post_init__(self) -> None:
        number("Normal", "mean", self.mean, "a finite number", lambda _: True)
        number("Normal", "std", self.std, "a number of at least 0", lambda std: std >= 0)

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        return rng.normal(self.mean, self.std, shape).astype(dtype)


@dataclass(frozen=True)
class Uniform:
    """Uniform distribution over ``[low, high)``.

    Parameters
    ----------
    low : float, default -0.05
    high : float, default 0.05

    Raises
    ------
    ValueError
        If they are not finite, or ``high`` is below ``low``.
    """

    low: float = -0.05
    high: float = 0.05

    def __post_init__(self) -> None:
        number("Uniform", "low", self.low, "a finite number", lambda _: True)
        number("Uniform", "high", self.high, f"a number of at least low, {self.low:g}", lambda high: high >= self.low)

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        return rng.uniform(self.low, self.high, shape).astype(dtype)


@dataclass(frozen=True)
class KaimingUniform:
    r"""Uniform over :math:`(-l, l)`, :math:`l = \text{gain} \sqrt{3/\text{fan}}`: keeps the variance through layers.

    He et al. (2015), https://arxiv.org/abs/1502.01852.

    Parameters
    ----------
    gain : float or {"linear", "sigmoid", "tanh", "relu", "selu"}, default "relu"
        ``"relu"`` is √2, so that :math:`l = \sqrt{6/I}`.
    fan : {"fan_in", "fan_out"}, default "fan_in"
        Whether the variance of the values (forward) or of the gradients (backward) is kept.

    Raises
    ------
    ValueError
        For an unknown gain or fan, or, when called, a shape with fewer than two axes.

    Examples
    --------
    >>> import fastbp as fb, numpy as np
    >>> weight = fb.KaimingUniform()((600, 400), np.random.default_rng(0), "float32")
    >>> bool(abs(weight).max() <= 0.1), weight.dtype.name
    (True, 'float32')
    """

    gain: float | Activation = "relu"
    fan: Fan = "fan_in"

    def __post_init__(self) -> None:
        _gain(self, self.gain)
        _check_fan(self, self.fan)

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        return _uniform(_gain(self, self.gain) / sqrt(_fans(self, shape)[self.fan]), shape, rng, dtype)


@dataclass(frozen=True)
class KaimingNormal:
    r"""Normal with :math:`\sigma = \text{gain}/\sqrt{\text{fan}}`. Parameters, errors and source as in
    :class:`KaimingUniform`.
    """

    gain: float | Activation = "relu"
    fan: Fan = "fan_in"

    def __post_init__(self) -> None:
        _gain(self, self.gain)
        _check_fan(self, self.fan)

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        return _normal(_gain(self, self.gain) / sqrt(_fans(self, shape)[self.fan]), shape, rng, dtype)


@dataclass(frozen=True)
class XavierUniform:
    r"""Uniform over :math:`(-l, l)`, :math:`l = \text{gain} \sqrt{6/(\text{fan in} + \text{fan out})}`: a compromise
    between values and gradients.

    Glorot and Bengio (2010), https://proceedings.mlr.press/v9/glorot10a.html.

    Parameters
    ----------
    gain : float or {"linear", "sigmoid", "tanh", "relu", "selu"}, default "linear"

    Raises
    ------
    ValueError
        For an unknown gain, or, when called, a shape with fewer than two axes.
    """

    gain: float | Activation = "linear"

    def __post_init__(self) -> None:
        _gain(self, self.gain)

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        return _uniform(_gain(self, self.gain) / sqrt(_mean_fan(self, shape)), shape, rng, dtype)


@dataclass(frozen=True)
class XavierNormal:
    r"""Normal with :math:`\sigma = \text{gain} \sqrt{2/(\text{fan in} + \text{fan out})}`. Parameters, errors and
    source as in :class:`XavierUniform`.
    """

    gain: float | Activation = "linear"

    def __post_init__(self) -> None:
        _gain(self, self.gain)

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        return _normal(_gain(self, self.gain) / sqrt(_mean_fan(self, shape)), shape, rng, dtype)


@dataclass(frozen=True)
class LeCunUniform:
    r"""Uniform over :math:`(-l, l)`, :math:`l = \sqrt{3/\text{fan in}}`.

    LeCun et al. (1998), "Efficient BackProp", http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf.

    Raises
    ------
    ValueError
        When called, for a shape with fewer than two axes.
    """

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        return _uniform(1 / sqrt(_fans(self, shape)["fan_in"]), shape, rng, dtype)


@dataclass(frozen=True)
class LeCunNormal:
    r"""Normal with :math:`\sigma = 1/\sqrt{\text{fan in}}`: what SELU expects. Errors and source as in
    :class:`LeCunUniform`.
    """

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        return _normal(1 / sqrt(_fans(self, shape)["fan_in"]), shape, rng, dtype)


@dataclass(frozen=True)
class Orthogonal:
    r"""A random matrix whose rows or columns, whichever are fewer, are orthogonal and of length ``gain``.

    :math:`W = QR` of a normal matrix; the signs of R's diagonal are moved into Q, without which Q would not be uniform
    over the orthogonal matrices. Saxe et al. (2013), https://arxiv.org/abs/1312.6120.

    Parameters
    ----------
    gain : float or {"linear", "sigmoid", "tanh", "relu", "selu"}, default "linear"

    Raises
    ------
    ValueError
        For an unknown gain, or, when called, a shape with fewer than two axes.

    Examples
    --------
    >>> import fastbp as fb, numpy as np
    >>> W = fb.Orthogonal()((2, 3), np.random.default_rng(0), "float64")
    >>> np.allclose(W @ W.T, np.eye(2))
    True
    """

    gain: float | Activation = "linear"

    def __post_init__(self) -> None:
        _gain(self, self.gain)

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
        _fans(self, shape)
        rows, columns = prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.where(np.diag(r) < 0, -1, 1)
        weight = q if rows >= columns else q.T
        return np.ascontiguousarray(_gain(self, self.gain) * weight, dtype).reshape(shape)


def _uniform(std: float, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
    limit = sqrt(3) * std
    return rng.uniform(-limit, limit, shape).astype(dtype)


def _normal(std: float, shape: Shape, rng: np.random.Generator, dtype: Any) -> Array:
    return (std * rng.standard_normal(shape)).astype(dtype)


def _fans(owner: Any, shape: Shape) -> dict[str, int]:
    if len(shape) < 2:
        raise ValueError(f"{owner!r}: shape is {tuple(shape)}; expected two axes or more, (…, inputs, outputs). "
                         "For biases take Zeros, Constant, Normal or Uniform")
    field = prod(shape[:-2])
    return {"fan_in": field * shape[-2], "fan_out": field * shape[-1]}


def _mean_fan(owner: Any, shape: Shape) -> float:
    fans = _fans(owner, shape)
    return (fans["fan_in"] + fans["fan_out"]) / 2


def _gain(owner: Any, gain: Any) -> float:
    if isinstance(gain, str) and gain in GAINS:
        return GAINS[gain]
    expected = f"a positive number or one of {', '.join(map(repr, GAINS))}"
    return number(type(owner).__name__, "gain", gain, expected, lambda g: g > 0)


def _check_fan(owner: Any, fan: Any) -> None:
    if fan not in ("fan_in", "fan_out"):
        raise ValueError(f'{type(owner).__name__}: fan is {fan!r}; expected "fan_in" or "fan_out"')
