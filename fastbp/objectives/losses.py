r"""The losses: what is minimised, each fused with its link (softmax, sigmoid, exponential) and its gradient.

A loss looks at rows: the samples of the batch or, for :class:`~fastbp.CrossEntropy` on outputs of shape (B, …, C),
every position that has a label of its own. With row weights :math:`u_r` that sum to 1,

.. math:: E = \sum_r u_r\, \ell(x_r, y_r), \qquad u_r = w_r / \sum_k w_k, \qquad
          \partial E / \partial x_r = u_r\, \partial \ell / \partial x_r

where :math:`x` is the network's output, :math:`y` the target and :math:`w` the sample weights (1 when none are given;
all :math:`u` are 0 if the weights add up to 0). A loss is a frozen dataclass of hyperparameters: the NumPy text here
gives :math:`\ell` and its derivative, and ``src_c/ops/losses.inc.h`` is its twin.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, prod
from typing import Any, ClassVar, Self

import numpy as np

from fastbp.core.checks import finite, number, numbers, real
from fastbp.core.words import Worded
from fastbp.objectives.on_arrays import OnArrays
from fastbp.ops.base import Array, Native, Shape

__all__ = [
    "MAE", "MSE", "BinaryCrossEntropy", "GaussianNLL", "HalfSquaredError", "Huber", "Loss",
    "PoissonNLL", "Quantile",
]


class Loss(OnArrays, Worded, ABC):
    """A loss. Subclasses are frozen dataclasses that give :meth:`rows`, the loss and gradient of each row alone."""

    words: ClassVar[Mapping[str, str]] = {
        "reduction": "sample_weight to fit, step or evaluate; a loss is the weighted mean over the batch",
        "from_logits": "logits to the loss, which are what it takes", "weight": "class_weight=…",
        "pos_weight": "class_weight=…", "beta": "delta=…",
    }
    name: ClassVar[str]
    of_batch: ClassVar[bool] = False
    """Whether it is one number of the batch as a whole, and no sum over its rows."""
    """The loss's name in C."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # a class that has a formula of its own for value and gradient together has it for the value, too
        if vars(cls).keys() & {"rows", "value_and_gradient"} and not vars(cls).keys() & {"values", "value"}:
            cls.value = Loss._value_of_both  # type: ignore[method-assign]

    @abstractmethod
    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        """Return ℓ (R,) of each row and dℓ/dx (R, D); x is (R, D), target as :meth:`targets` gives it."""

    def values(self, x: Array, target: Array) -> Array:
        """Return ℓ (R,) of each row, as :meth:`rows` does."""
        return self.rows(x, target)[0]

    def value(self, y_pred: Array, target: Array, row_weights: Array) -> float:
        """Return the loss.

        Parameters
        ----------
        y_pred : array (B, *output shape)
        target : array, as :meth:`targets` gives it
        row_weights : array (R,), as :meth:`row_weights` gives it
        """
        each = self.values(y_pred.reshape(len(row_weights), -1), target)
        return float(np.dot(row_weights, each.astype(np.float64)))

    def _value_of_both(self, y_pred: Array, target: Array, row_weights: Array) -> float:
        return self.value_and_gradient(y_pred, target, row_weights)[0]

    def value_and_gradient(self, y_pred: Array, target: Array, row_weights: Array) -> tuple[float, Array]:
        """Return the loss and its gradient, of the shape and dtype of y_pred; parameters as in :meth:`value`."""
        each, gradient = self.rows(y_pred.reshape(len(row_weights), -1), target)
        value = float(np.dot(row_weights, each.astype(np.float64)))
        dy = gradient * row_weights.astype(y_pred.dtype)[:, None]
        return value, dy.reshape(y_pred.shape)

    def row_weights(self, target: Array, sample_weight: Array | None) -> Array:
        """Return the weight of each row in float64: they sum to 1, or are all 0 where the sample weights are."""
        weights = self.unnormalized_weights(target, sample_weight)
        total = weights.sum()
        return weights / total if total > 0 else np.zeros_like(weights)

    def unnormalized_weights(self, target: Array, sample_weight: Array | None) -> Array:
        """Return the weight of each row before they are made to sum to 1."""
        return np.ones(len(target)) if sample_weight is None else sample_weight.astype(np.float64)

    def total_weight(self, target: Array, sample_weight: Array | None) -> float:
        """Return what so many rows count for beside others: the sum of their weights."""
        return float(self.unnormalized_weights(target, sample_weight).sum())

    def accuracy(self, y_pred: Array, target: Array, sample_weight: Array | None) -> float | None:
        """Return the (weighted) share of right decisions, or None for a loss that decides nothing."""
        if not self.decides:
            return None
        right, counts = self.decisions(y_pred, target, sample_weight)
        return float(np.average(right, weights=counts)) if counts.any() else 0.0

    def decisions(self, y_pred: Array, target: Array, sample_weight: Array | None) -> tuple[Array, Array]:
        """Return the share of right decisions in each row (B,), and what each row counts for beside others."""
        right = self.right(y_pred, target)
        return right, np.ones(len(right)) if sample_weight is None else sample_weight.astype(np.float64)

    def right(self, y_pred: Array, target: Array) -> Array:
        """Return the share of right decisions in each row (B,), for a loss that decides something."""
        raise NotImplementedError(f"{self} decides nothing")

    @property
    def decides(self) -> bool:
        """Whether the loss decides something, row by row."""
        return type(self).right is not Loss.right

    @property
    def counts_right(self) -> bool:
        """Whether right decisions can be counted while it is computed, all rows alike: not by other formulas."""
        return self.decides and type(self).accuracy is Loss.accuracy and is_own(type(self).right)

    # ---- what the backends are told --------------------------------------------------------------------------------

    def native(self, shape: Shape, target: Array) -> Native:
        """Return what the C twin needs, for outputs of this sample shape."""
        return Native(dims=(1, prod(shape)), attrs=self._attrs(), constants=self._constants(shape))

    def native_name(self, target: Array) -> str:
        """Return the name of the C twin."""
        return self.name

    def native_target(self, out_shape: Shape, target: Array) -> tuple[Shape, range | None]:
        """Return the shape of one row of the targets that the C twin reads, and what they may be if they are labels."""
        return self._target_shape(out_shape), None

    def _attrs(self) -> tuple[float, ...]:
        return ()

    def _constants(self, shape: Shape) -> tuple[float, ...]:
        return ()

    domain: ClassVar[tuple[float, float]] = (-inf, inf)
    """The numbers that may be targets, both ends included."""

    def plain_domain(self, target: Array) -> tuple[float, float] | None:
        """Return the domain of such targets if :meth:`targets` takes all numbers in it, or labels, as they are.

        None where it does more: a class from elsewhere has its own ways with targets.
        """
        return self.domain if all(map(is_own, (type(self).targets, type(self)._check_domain))) else None

    # ---- the border: checks and conversions ------------------------------------------------------------------------

    def check_output(self, shape: Shape) -> None:
        """Raise ValueError for a network whose output (sample shape given) the loss cannot take."""
        return

    def fitted(self, shape: Shape) -> Self:
        """Return the loss for a network whose output has this sample shape; errors as in :meth:`check_output`."""
        self.check_output(shape)
        return self

    def balanced(self, target: Array, sample_weight: Array | None = None) -> Self:
        """Return the loss with what it works out from all targets that are trained on."""
        return self

    def targets(self, t: Any, out_shape: Shape, dtype: str, rows: int, name: str = "y") -> Array:
        """Check targets and convert them to what :meth:`rows` and the C twin read.

        Parameters
        ----------
        t : array of shape (rows, *target shape)
            For a single output, (rows,) will do.
        out_shape : tuple of int
            The network's output, the batch axis left out.
        dtype : str
            The network's.
        rows : int
            As many as the inputs have.
        name : str
            What errors call it.

        Raises
        ------
        TypeError
            For a dtype that is not of real numbers.
        ValueError
            For another number of rows, another shape, values that are not finite or outside the loss's domain.
        """
        shape = self._target_shape(out_shape)
        array = numbers(name, t, dtype)
        check_rows(name, array, rows)
        if array.shape == (rows,) and prod(shape) == 1:
            array = array.reshape(rows, *shape)
        if array.shape[1:] != shape:
            raise ValueError(f"{name} has shape {array.shape}; expected {(rows, *shape)}")
        self._check_domain(name, finite(name, array))
        return array

    def positions(self, out_shape: Shape) -> Shape:
        """Return what positions a row has that may have weights of their own, as an array's shape; () for none."""
        return ()

    def sample_weights(self, w: Any, rows: int, dtype: str, positions: Shape = ()) -> Array:
        """Check and convert sample weights: (rows,), finite, none below 0.

        A loss that has ``positions`` in each row takes weights (rows, …) of those as well.
        """
        given = real("sample_weight", w)
        largest = given.max(initial=0)
        if 0 < largest < 1e-30 or 1e30 < largest < inf:  # only their proportions count, which float32 would lose
            given = given / largest
        array = numbers("sample_weight", given, dtype)
        if array.shape not in ((rows,), (rows, *positions)):
            also = f", or {(rows, *positions)}: one for each position" if positions else ""
            raise ValueError(f"sample_weight has shape {array.shape}; expected ({rows},): one for each row of x{also}")
        return within("sample_weight", finite("sample_weight", array), 0)

    def weights_of(self, w: Any, rows: int, dtype: str, out_shape: Shape) -> Array:
        """Return sample weights as :meth:`sample_weights` does, for outputs of this sample shape."""
        positions = self.positions(out_shape)
        return self.sample_weights(w, rows, dtype, positions) if positions else self.sample_weights(w, rows, dtype)

    def _target_shape(self, out_shape: Shape) -> Shape:
        return out_shape

    def _check_domain(self, name: str, target: Array) -> None:
        """Raise ValueError for targets outside the domain."""
        if self.domain != (-inf, inf):
            within(name, target, *self.domain)


@dataclass(frozen=True)
class MSE(Loss):
    """Mean squared error: ``ℓ = 1/D Σ_d (x_d - y_d)²``, ``dℓ/dx = 2/D (x - y)``.

    The D elements of a sample are averaged. Domain: any finite y, of the shape of the output.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Linear(2, 1, weight_init=fb.Constant(1.0)), backend="reference")
    >>> net.loss([[1.0, 2.0]], [5.0], fb.MSE())
    4.0
    """

    name: ClassVar[str] = "mse"

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        return self.values(x, target), (x - target.reshape(x.shape)) * (2.0 / x.shape[1])

    def values(self, x: Array, target: Array) -> Array:
        return _means(np.square(x - target.reshape(x.shape)))


@dataclass(frozen=True)
class HalfSquaredError(Loss):
    """Half the squared error, summed: ``ℓ = ½ Σ_d (x_d - y_d)²``, ``dℓ/dx = x - y``.

    The loss of the textbooks: a sum over the outputs, a mean over the batch. Domain: any finite y.
    """

    name: ClassVar[str] = "half_squared_error"

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        return self.values(x, target), x - target.reshape(x.shape)

    def values(self, x: Array, target: Array) -> Array:
        each: Array = 0.5 * np.square(x - target.reshape(x.shape)).sum(axis=1)
        return each


@dataclass(frozen=True)
class MAE(Loss):
    """Mean absolute error: ``ℓ = 1/D Σ_d |x_d - y_d|``, ``dℓ/dx = 1/D sign(x - y)`` (0 at x = y).

    Domain: any finite y, of the shape of the output.
    """

    name: ClassVar[str] = "mae"

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        return self.values(x, target), np.sign(x - target.reshape(x.shape)) * (1.0 / x.shape[1])

    def values(self, x: Array, target: Array) -> Array:
        return _means(np.abs(x - target.reshape(x.shape)))


@dataclass(frozen=True)
class Huber(Loss):
    """Huber loss: with ``e = x - y``, ``m = min(|e|, δ)``: ``ℓ = 1/D Σ_d m (|e| - m/2)``, a parabola, then straight.

    ``dℓ/dx = 1/D clip(e, -δ, δ)``. Huber (1964), https://doi.org/10.1214/aoms/1177703732.

    Parameters
    ----------
    delta : float, default 1.0
        Where the square turns into a line; above 0.
    """

    delta: float = 1.0
    name: ClassVar[str] = "huber"

    def __post_init__(self) -> None:
        set_field(self, "delta", number("Huber", "delta", self.delta, "a number above 0", lambda d: d > 0))

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        e = x - target.reshape(x.shape)
        return self.values(x, target), np.clip(e, -self.delta, self.delta) * (1.0 / x.shape[1])

    def values(self, x: Array, target: Array) -> Array:
        size = np.abs(x - target.reshape(x.shape))
        m = np.minimum(size, self.delta)
        return _means(m * (size - 0.5 * m))

    def _attrs(self) -> tuple[float, ...]:
        return (self.delta,)


@dataclass(frozen=True)
class Quantile(Loss):
    """Pinball loss: with e = y - x, ``ℓ = 1/Q Σ_k max(q_k e_k, (q_k - 1) e_k)``; output k learns the q_k quantile of y.

    ``dℓ/dx = 1/Q (-q where e > 0, 1 - q where e < 0, 0 at e = 0)``. Koenker and Bassett (1978),
    https://doi.org/10.2307/1913643.

    Parameters
    ----------
    quantiles : float or sequence of float, default 0.5
        Between 0 and 1, both excluded. Several of them want an output of shape (B, Q); one fits any output.

    Notes
    -----
    Targets: (B,) or (B, 1), one number that all quantiles are of, or the shape of the output.
    """

    quantiles: float | Sequence[float] = 0.5
    name: ClassVar[str] = "quantile"

    def __post_init__(self) -> None:
        given = self.quantiles if isinstance(self.quantiles, Sequence | np.ndarray) else (self.quantiles,)
        values = tuple(number("Quantile", "quantiles", value, "numbers between 0 and 1", lambda q: 0 < q < 1)
                       for value in given)
        if not values:
            raise ValueError("Quantile: quantiles is empty; expected at least one number between 0 and 1")
        set_field(self, "quantiles", values)

    def check_output(self, shape: Shape) -> None:
        count = len(self._quantiles)
        if count > 1 and shape != (count,):
            raise ValueError(f"{self}: the network's output is {batch_of(shape)}; expected (B, {count}), one for each "
                             "quantile")

    def targets(self, t: Any, out_shape: Shape, dtype: str, rows: int, name: str = "y") -> Array:
        if prod(out_shape) == len(self._quantiles) > 1 and np.shape(t) in ((rows,), (rows, 1)):
            one = super().targets(t, (1,), dtype, rows, name)
            return np.repeat(one, len(self._quantiles), axis=1)
        return super().targets(t, out_shape, dtype, rows, name)

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        q = np.asarray(self._quantiles, x.dtype)
        e = target.reshape(x.shape) - x
        return self.values(x, target), np.where(e > 0, -q, np.where(e < 0, 1 - q, e)) * (1.0 / x.shape[1])

    def values(self, x: Array, target: Array) -> Array:
        q = np.asarray(self._quantiles, x.dtype)
        e = target.reshape(x.shape) - x
        return _means(np.maximum(q * e, (q - 1) * e))

    @property
    def _quantiles(self) -> tuple[float, ...]:
        return self.quantiles  # type: ignore[return-value]

    def _constants(self, shape: Shape) -> tuple[float, ...]:
        return self._quantiles * (prod(shape) if len(self._quantiles) == 1 else 1)


@dataclass(frozen=True)
class PoissonNLL(Loss):
    """Negative log-likelihood of counts: ``ℓ = 1/D Σ_d (exp(x_d) - y_d x_d)``, ``dℓ/dx = 1/D (exp(x) - y)``.

    The output x is the logarithm of the rate; the term log y!, which no parameter changes, is left out. Domain: y ≥ 0.
    """

    name: ClassVar[str] = "poisson_nll"
    domain = (0, inf)

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        return self.values(x, target), (np.exp(x) - target.reshape(x.shape)) * (1.0 / x.shape[1])

    def values(self, x: Array, target: Array) -> Array:
        return _means(np.exp(x) - target.reshape(x.shape) * x)


@dataclass(frozen=True)
class GaussianNLL(Loss):
    r"""Negative log-likelihood of a normal distribution whose mean and variance are both learnt.

    The output is (B, 2D): D means μ, then D log-variances s. With :math:`r = (y - μ) e^{-s/2}`,
    :math:`\ell = \frac1D \sum_d \frac12 (s_d + r_d^2)`, :math:`d\ell/dμ = -\frac1D r e^{-s/2}` and
    :math:`d\ell/ds = \frac1{2D} (1 - r^2)`. The constant ½ log 2π is left out. Domain: any finite y, of shape (B, D).
    Nix and Weigend (1994), https://doi.org/10.1109/ICNN.1994.374138.
    """

    name: ClassVar[str] = "gaussian_nll"

    def check_output(self, shape: Shape) -> None:
        if len(shape) != 1 or shape[0] % 2:
            raise ValueError(f"{self}: the network's output is {batch_of(shape)}; expected (B, 2 D): D means, then D "
                             "log-variances")

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        _, scale, r = self._parts(x, target)
        gradient = np.concatenate([-r * scale, 0.5 * (1 - r * r)], axis=1)
        return self.values(x, target), gradient * (1.0 / r.shape[1])

    def values(self, x: Array, target: Array) -> Array:
        log_variance, _, r = self._parts(x, target)
        return _means(0.5 * (log_variance + r * r))

    def _parts(self, x: Array, target: Array) -> tuple[Array, Array, Array]:
        """Return s, exp(-s/2) and r."""
        half = x.shape[1] // 2
        mean, log_variance = x[:, :half], x[:, half:]
        scale = np.exp(-0.5 * log_variance)
        return log_variance, scale, (target.reshape(mean.shape) - mean) * scale

    def weights_of(self, w: Any, rows: int, dtype: str, out_shape: Shape) -> Array:
        """Return sample weights as :meth:`sample_weights` does, for outputs of this sample shape."""
        positions = self.positions(out_shape)
        return self.sample_weights(w, rows, dtype, positions) if positions else self.sample_weights(w, rows, dtype)

    def _target_shape(self, out_shape: Shape) -> Shape:
        return (out_shape[0] // 2,)


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    r"""Cross-entropy of yes-or-no decisions, from logits: ``ℓ = 1/D Σ_d (p y softplus(-x) + (1 - y) softplus(x))``.

    ``dℓ/dx = 1/D ((1 - y) σ(x) - p y σ(-x))``, with σ the sigmoid, which the network leaves out.

    Parameters
    ----------
    pos_weight : float, sequence or array of float, or "balanced", optional
        p, the weight of the positive class: one number, or one for each feature of the last axis; none below 0.
        ``"balanced"`` is worked out by ``trainer.fit``: negatives / positives of each feature.

    Notes
    -----
    Domain: y from 0 to 1, of the shape of the output; (B,) will do for (B, 1). Accuracy: x > 0 against y ≥ ½.
    """

    pos_weight: float | Sequence[float] | str | None = None
    name: ClassVar[str] = "binary_cross_entropy"
    domain = (0, 1)

    def __post_init__(self) -> None:
        if self.pos_weight is not None and not (isinstance(self.pos_weight, str) and self.pos_weight == "balanced"):
            weight = class_weights("BinaryCrossEntropy", "pos_weight", self.pos_weight, scalar=True)
            set_field(self, "pos_weight", weight)

    def check_output(self, shape: Shape) -> None:
        if isinstance(self.pos_weight, tuple) and len(self.pos_weight) != shape[-1]:
            raise ValueError(f"BinaryCrossEntropy: pos_weight has {len(self.pos_weight)} entries; expected "
                             f"{shape[-1]}, as the network's output is {batch_of(shape)}")

    def balanced(self, target: Array, sample_weight: Array | None = None) -> Self:
        if self.pos_weight != "balanced":
            return self
        y = target.reshape(-1, target.shape[-1]).astype(np.float64)
        weights = np.ones(len(target)) if sample_weight is None else sample_weight.astype(np.float64)
        weights = np.repeat(weights, len(y) // len(target))[:, None]
        positive, negative = (weights * y).sum(axis=0), (weights * (1 - y)).sum(axis=0)
        return replace(self, pos_weight=tuple(np.where((positive > 0) & (negative > 0), negative / np.maximum(
            positive, 1e-30), 1.0).tolist()))

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        positive, negative = self._shares(x, target)
        gradient = negative * _sigmoid(x) - positive * _sigmoid(-x)
        return self.values(x, target), gradient * (1.0 / x.shape[1])

    def values(self, x: Array, target: Array) -> Array:
        positive, negative = self._shares(x, target)
        return _means(positive * np.logaddexp(0, -x) + negative * np.logaddexp(0, x))

    def _shares(self, x: Array, target: Array) -> tuple[Array, Array]:
        """Return p y and 1 - y."""
        y = target.reshape(x.shape)
        return y * np.asarray(self._constants(target.shape[1:]) or 1, x.dtype), 1 - y

    def right(self, y_pred: Array, target: Array) -> Array:
        return shares_of((y_pred > 0) == (target >= 0.5))

    def _constants(self, shape: Shape) -> tuple[float, ...]:
        if self.pos_weight is None:
            return ()
        if isinstance(self.pos_weight, str):
            raise ValueError('BinaryCrossEntropy: pos_weight is "balanced", which trainer.fit works out from the '
                             "targets of all rows; train with it first, or give a number")
        return tuple(float(p) for p in np.broadcast_to(np.asarray(self.pos_weight, float), shape).ravel())


def shares_of(right: Array) -> Array:
    """Return the share of what is true in each row."""
    shares: Array = right.reshape(len(right), -1).mean(axis=1)
    return shares


def is_own(method: Any) -> bool:
    """Whether a method is one of fastbp's losses, and not of a class that derives from them."""
    return method.__module__ in (__name__, f"{__name__.rpartition('.')[0]}.cross_entropy")


def _means(each: Array) -> Array:
    """Return the mean of each row."""
    means: Array = each.mean(axis=1)
    return means


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    y: Array = np.where(x >= 0, 1, small) / (1 + small)
    return y


def check_rows(name: str, array: Array, rows: int) -> None:
    if not array.ndim:
        raise ValueError(f"{name} is a single number; expected {rows} row{'s' * (rows != 1)}, as x has")
    if len(array) != rows:
        raise ValueError(f"{name} has {len(array)} rows; expected {rows}, as x has")


def within(name: str, array: Array, low: float, high: float = np.inf) -> Array:
    wrong = (array < low) | (array > high)
    if wrong.any():
        limits = f"from {low} to {high}" if isfinite(high) else f"of at least {low}"
        raise ValueError(f"{name} has {array[wrong][0]:.6g} in row {int(np.argwhere(wrong)[0][0])}; expected numbers "
                         f"{limits}")
    return array


def batch_of(shape: Shape) -> str:
    return "(" + ", ".join(["B", *map(str, shape)]) + ")"


def set_field(loss: Loss, field: str, value: Any) -> None:
    object.__setattr__(loss, field, value)  # the dataclasses are frozen: this is their constructor at work


def class_weights(owner: str, argument: str, values: Any, scalar: bool = False) -> float | tuple[float, ...]:
    """Return weights as a tuple of floats (or, where allowed, one float)."""
    def one(value: Any) -> float:
        return number(owner, argument, value, "numbers of at least 0", lambda w: w >= 0)
    if np.ndim(values) == 0 and scalar:
        return one(values)
    if np.ndim(values) != 1 or isinstance(values, str):
        raise ValueError(f"{owner}: {argument} is {values!r}; expected a sequence of numbers")
    return tuple(one(v) for v in values)
