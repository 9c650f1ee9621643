"""What arrays can do as methods and operators, for tensors: each is NumPy's function of the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fastbp.core.words import TENSOR_METHODS, numpys_word
from fastbp.ops.numpy_names import NAMES


def _method(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **options: Any) -> Any:
        for argument in options:
            if numpys_word(argument):
                raise TypeError(f"{name}: got {argument}; {numpys_word(argument)}")
        return getattr(np, name)(self, *args, **options)
    method.__name__, method.__qualname__, method.__doc__ = name, f"ArrayMethods.{name}", f"As ``np.{name}``."
    return method


class ArrayMethods(NDArrayOperatorsMixin):
    """Operators and methods of arrays, by NumPy's functions."""

    sum, mean, max, min, prod, var, std = map(_method, ("sum", "mean", "max", "min", "prod", "var", "std"))
    any, all, argmax, argmin = map(_method, ("any", "all", "argmax", "argmin"))
    cumsum, cumprod, argsort, round = map(_method, ("cumsum", "cumprod", "argsort", "round"))
    ravel, swapaxes, squeeze, take, dot = map(_method, ("ravel", "swapaxes", "squeeze", "take", "dot"))
    diagonal, trace, conj, conjugate = map(_method, ("diagonal", "trace", "conj", "conjugate"))
    flatten = ravel

    # x += y makes a new tensor and calls it x: nothing is written into
    __iadd__, __isub__, __imul__ = (getattr(NDArrayOperatorsMixin, f"__{name}__") for name in ("add", "sub", "mul"))
    __itruediv__, __ipow__ = (getattr(NDArrayOperatorsMixin, f"__{name}__") for name in ("truediv", "pow"))

    def __getattr__(self, name: str) -> Any:
        instead = TENSOR_METHODS.get(name) or (f"np.{name}(x)" if name in NAMES else "")
        raise AttributeError(f"a tensor has no attribute {name!r}" + (f"; write {instead}" if instead else ""))

    @property
    def T(self) -> Any:  # noqa: N802 - NumPy's name
        """The transpose."""
        return np.transpose(self)

    @property
    def mT(self) -> Any:  # noqa: N802 - NumPy's name
        """The transpose of the last two axes."""
        return np.swapaxes(self, -1, -2)

    def clip(self, min: Any = None, max: Any = None, out: None = None) -> Any:
        """As ``np.clip``."""
        return np.clip(self, min, max)

    def reshape(self, *shape: Any) -> Any:
        """As ``np.reshape``, axis 0 being that of the rows."""
        return np.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Any:
        """As ``np.transpose``."""
        return np.transpose(self, axes[0] if len(axes) == 1 and axes[0] is not int else axes or None)

    def copy(self) -> Any:
        """Return the tensor itself, which nobody can write into."""
        return self

    def item(self, *place: int) -> float:
        """Raise TypeError: there are no numbers yet."""
        raise TypeError("item: the numbers of a tensor are not known while a function is traced; leave it out, and "
                        "return the tensor")
