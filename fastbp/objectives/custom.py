"""A loss of one's own: a Python function that returns the loss and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from typing import Any, ClassVar

import numpy as np

from fastbp.core.checks import finite, real
from fastbp.core.words import by_name
from fastbp.objectives.derived import value_and_gradient
from fastbp.objectives.loss_names import LOSSES
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array, Shape

LossFunction = Callable[..., tuple[Any, Any]]
"""``(y_pred, y) -> (loss, gradient)``, or ``(y_pred, y, weights) -> (loss, gradient)``."""

OneLoss = Loss | str | Callable[..., Any]
Losses = OneLoss | Sequence[OneLoss] | Mapping[str, OneLoss]
"""What a trainer takes: a loss, its word or a function, or one of them for each output."""


@dataclass(frozen=True)
class CustomLoss(Loss):
    """A loss given as a function. Wherever a loss is expected, the function itself will do.

    Parameters
    ----------
    function : callable
        ``function(y_pred, y) -> (loss, gradient)`` or, to heed sample weights, ``function(y_pred, y, weights)``. y_pred
        is the network's output ``(B, *shape)``; y has B rows, whole numbers in int64 and others in the network's dtype;
        weights (B,) sum to 1. The loss is one number, a mean over the rows; the gradient, of y_pred's shape, is the
        derivative of it by y_pred. Where it returns one number alone, it is derived by the chain rule.

    Raises
    ------
    TypeError
        If it is no function.
    ValueError
        While running, if it returns something else; if sample weights are given that it has no parameter for.

    Notes
    -----
    :func:`fastbp.gradcheck` compares its gradient with differences of its loss.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> def log_cosh(y_pred, y):
    ...     e = y_pred - y
    ...     return np.log(np.cosh(e)).mean(), np.tanh(e) / e.size
    >>> net = fb.Sequential(fb.Linear(2, 1), seed=0, backend="reference", dtype="float64")
    >>> net.loss([[1.0, 2.0]], [0.0], log_cosh) == net.loss([[1.0, 2.0]], [0.0], fb.CustomLoss(log_cosh))
    True
    >>> fb.gradcheck(net, [[1.0, 2.0]], [0.0], log_cosh).ok
    True
    """

    function: LossFunction
    name: ClassVar[str] = "python"

    def __post_init__(self) -> None:
        if not callable(self.function) or isinstance(self.function, type):
            raise TypeError(f"CustomLoss: function is {self.function!r}; expected a function (y_pred, y) -> (loss, "
                            "gradient)")

    @property
    def label(self) -> str:
        """What errors call it."""
        return f"loss {getattr(self.function, '__name__', repr(self.function))}"

    @cached_property
    def takes_weights(self) -> bool:
        """Whether the function has a third parameter that must be given."""
        import inspect  # slow to import, and rarely needed
        try:
            parameters = inspect.signature(self.function).parameters.values()
        except (TypeError, ValueError):
            return False
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        return sum(p.default is p.empty for p in positional) == 3

    def value_and_gradient(self, y_pred: Array, target: Array, row_weights: Array) -> tuple[float, Array]:
        if self.__dict__.get("_derives"):
            return value_and_gradient(self.function, self.label, y_pred, target)
        weights = (row_weights.astype(y_pred.dtype),) if self.takes_weights else ()
        given: Any = self.function(_read_only(y_pred), target, *weights)
        if isinstance(given, float | np.floating) and not self.takes_weights:
            self.__dict__["_derives"] = True    # from now on it is not called any more
            return value_and_gradient(self.function, self.label, y_pred, target)
        if not isinstance(given, tuple | list) or len(given) != 2:
            mend = (": as a function of (y_pred, y, weights). One of several targets is given them as a tuple, y=(a, b)"
                    if self.takes_weights else "")
            raise ValueError(f"{self.label}: returned {type(given).__name__}; expected a pair (loss, gradient){mend}")
        value, gradient = np.asarray(given[0]), np.asarray(given[1])
        if value.size != 1 or value.dtype.kind not in "fiub":
            raise ValueError(f"{self.label}: returned a loss of shape {value.shape} and dtype {value.dtype}; expected "
                             "one number, such as a mean")
        if gradient.shape != y_pred.shape or gradient.dtype.kind not in "fiub":
            raise ValueError(f"{self.label}: returned a gradient of shape {gradient.shape} and dtype {gradient.dtype}; "
                             f"expected real numbers of shape {y_pred.shape}, as y_pred has")
        return float(value.reshape(())), np.ascontiguousarray(gradient, y_pred.dtype)

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        # Only the function knows how rows and loss belong together; value_and_gradient asks it.
        raise NotImplementedError(f"{self.label}: looks at a batch as a whole")

    def sample_weights(self, w: Any, rows: int, dtype: str, positions: Shape = ()) -> Array:
        if not self.takes_weights:
            raise ValueError(f"{self.label}: sample_weight is given, which it has no parameter for; write it as "
                             "function(y_pred, y, weights)")
        return super().sample_weights(w, rows, dtype)

    def targets(self, t: Any, out_shape: Shape, dtype: str, rows: int, name: str = "y") -> Array:
        array = real(name, t)
        if not array.ndim or len(array) != rows:
            has = f"{len(array)} rows" if array.ndim else "a single number"
            raise ValueError(f"{name} has {has}; expected {rows} row{'s' * (rows != 1)}, as x has")
        whole = array.dtype.kind in "iu"
        array = np.ascontiguousarray(array, np.int64 if whole else dtype)
        # Without it, (B, 1) - (B,) would quietly be (B, B).
        single = array.shape == (rows,) and prod(out_shape) == 1
        return finite(name, array.reshape(rows, *out_shape) if single else array)

    def __repr__(self) -> str:
        return f"CustomLoss({getattr(self.function, '__name__', repr(self.function))})"


def as_loss(loss: Any) -> Any:
    """Return a function, or a name, as the loss that it is, and anything else as it comes."""
    if isinstance(loss, str):
        return _named(str(loss))
    is_function = callable(loss) and not isinstance(loss, type | Loss)
    return CustomLoss(loss) if is_function else loss


@cache
def _named(name: str) -> Loss:
    """Return the loss of a name: always the same one, as what was checked for it is remembered."""
    made: Loss = by_name("loss", "loss", name, LOSSES, "a loss such as fb.MSE()")()
    return made


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
