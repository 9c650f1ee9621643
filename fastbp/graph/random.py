"""Random tensors: new numbers for every batch, which seed, step, node and element decide (``fb.random``).

They are the same on both backends and for any number of threads. Called on plain sizes outside of a traced function
they return arrays, so that the text of a function runs on arrays as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.graph.tensor import Symbol, Tensor, _Rows, apply
from fastbp.graph.tracing import tracing
from fastbp.ops.expression import integer, sizes
from fastbp.ops.random import RandomOp

__all__ = ["normal", "uniform"]


def normal(shape: Any) -> Any:
    """Return numbers of the standard normal distribution.

    Parameters
    ----------
    shape : tuple, or tensor
        ``x.shape`` within a function; a tensor stands for its shape.

    Returns
    -------
    tensor
        Outside of a traced function, for a shape of plain numbers, an array.

    Examples
    --------
    >>> import fastbp as fb
    >>> noisy = fb.Lambda(lambda x: x + 0.1 * fb.random.normal(x.shape))
    >>> fb.Sequential(fb.Input(3), noisy, seed=0).predict([[0.0] * 3]).shape
    (1, 3)
    """
    return _random("normal", shape)


def uniform(shape: Any) -> Any:
    """Return numbers that are spread evenly over [0, 1); parameters as in :func:`normal`."""
    return _random("uniform", shape)


def _random(distribution: str, shape: Any) -> Any:
    if isinstance(shape, Tensor | Symbol):
        tensor = shape if isinstance(shape, Tensor) else shape.tensor
        made = apply(RandomOp(distribution, sizes(tensor.whole_shape)))
        return made if isinstance(shape, Tensor) else Symbol(made)
    given = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if not all(isinstance(s, _Rows) or (integer(s) or 0) > 0 for s in given):
        raise ValueError(f"fb.random.{distribution}: shape is {shape!r}; expected a tensor, or a tuple of sizes such "
                         "as x.shape")
    if tracing() or any(isinstance(s, _Rows) for s in given):
        return Symbol(apply(RandomOp(distribution, sizes(given))))
    rng = np.random.default_rng()
    return rng.standard_normal(given) if distribution == "normal" else rng.random(given)
