"""A loss by itself, on arrays: forward gives the loss, backward its gradient, as a layer's do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from fastbp.core.checks import numbers, real
from fastbp.ops.base import Array, Shape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class _Rules(Protocol):
    """What a loss has besides."""

    by_kernels: ClassVar[Callable[[Any, Array, Array, Array], tuple[float, Array]] | None]

    def check_output(self, shape: Shape) -> None: ...
    def targets(self, t: Any, out_shape: Shape, dtype: str, rows: int, name: str = "y") -> Array: ...
    def weights_of(self, w: Any, rows: int, dtype: str, out_shape: Shape) -> Array: ...
    def fitted(self, shape: Shape) -> Any: ...
    def row_weights(self, target: Array, sample_weight: Array | None) -> Array: ...
    def value_and_gradient(self, y_pred: Array, target: Array, row_weights: Array) -> tuple[float, Array]: ...


class OnArrays:
    """What a :class:`~fastbp.Loss` inherits to run by itself."""

    by_kernels: ClassVar[Callable[[Any, Array, Array, Array], tuple[float, Array]] | None] = None
    """What computes loss and gradient, ``(loss, y_pred, target, row_weights)``; None for `value_and_gradient`.

    Losses know no kernels, which are further up: :mod:`fastbp` hands them down.
    """

    def forward(self: _Rules, y_pred: ArrayLike, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the loss of a batch, and keep its gradient for `backward`.

        Parameters
        ----------
        y_pred : array (B, *output shape)
            Float64 keeps its dtype; other numbers are taken as float32.
        y : array
            The targets, as for a network with that output.
        sample_weight : array (B,), optional
            Of :class:`~fastbp.CrossEntropy` also (B, …), for each position.

        Returns
        -------
        float
            The mean over the rows, weighted where weights are given.

        Raises
        ------
        ValueError, TypeError
            For shapes, targets or weights that do not fit.

        Examples
        --------
        >>> import numpy as np
        >>> import fastbp as fb
        >>> loss = fb.CrossEntropy()
        >>> loss.forward(np.array([[0.0, 0.0], [0.0, 0.0]]), [0, 1])
        0.6931471805599453
        >>> loss.backward()
        array([[-0.25,  0.25],
               [ 0.25, -0.25]])
        """
        array = real("y_pred", y_pred)
        dtype = "float64" if array.dtype == np.float64 else "float32"
        array = numbers("y_pred", array, dtype)
        if array.ndim < 2 or not array.size:
            mend = "; y_pred[:, None] has an output of one number" if array.ndim == 1 else ""
            raise ValueError(f"{self!r}: y_pred has shape {array.shape}; expected (B, …), at least one row of outputs"
                             f"{mend}")
        shape = array.shape[1:]
        loss = self.fitted(shape)
        target = loss.targets(y, shape, dtype, len(array))
        weight = None if sample_weight is None else loss.weights_of(sample_weight, len(array), dtype, shape)
        loss = loss.balanced(target, weight).fitted(shape)
        weights = loss.row_weights(target, weight)
        run = type(self).by_kernels
        value, gradient = run(loss, array, target, weights) if run else loss.value_and_gradient(array, target, weights)
        self.__dict__["_gradient"] = gradient           # losses are frozen, but for what they have just done
        return value

    def backward(self) -> Array:
        """Return the gradient of the loss with respect to y_pred, for the batch of the last `forward`.

        Raises
        ------
        RuntimeError
            Without a preceding `forward`.
        """
        if "_gradient" not in self.__dict__:
            raise RuntimeError(f"{self!r}: backward: no forward pass to go back through; call forward(y_pred, y) first")
        gradient: Array = self.__dict__["_gradient"]
        return gradient

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_gradient"}
