"""What every op is: a shape rule, a forward and a backward rule in NumPy, and the sizes its C twin needs.

An op is a small frozen dataclass of hyperparameters. It holds no arrays: parameters, buffers and whatever forward
keeps for backward come and go through a :class:`Context`. The C twin of ``fastbp/ops/<name>.py`` is
``src_c/ops/<name>.inc.h``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]
"""The shape of one sample: the batch axis, always first, is left out."""


@dataclass
class Context:
    """What one use of an op knows while it runs: filled by the backend, read by the op.

    Attributes
    ----------
    training : bool
        Whether dropout drops and batch normalisation uses the statistics of the batch.
    inputs, output : arrays of shape (B, *sample shape)
        What forward was given and returned; set for backward.
    params : dict of arrays
        The parameters by role, as ``op.parameter_shapes`` names them.
    buffers : dict of arrays
        State that is not trained (running statistics), updated in place by forward when training.
    saved : dict
        Whatever forward keeps for backward.
    seed, step, node : int
        What random numbers are keyed by.
    compute_dtype : str
        What linear layers multiply in; "" or the dtype of the arrays for those as they are.
    """

    training: bool = False
    inputs: tuple[Array, ...] = ()
    output: Array | None = None
    params: dict[str, Array] = field(default_factory=dict)
    buffers: dict[str, Array] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    step: int = 0
    node: int = 0
    compute_dtype: str = ""


@dataclass(frozen=True)
class Native:
    """What the C twin of an op is told: the fields of its ``fbp_node``.

    Attributes
    ----------
    dims : tuple of int
        Sizes, in the order that the C twin documents.
    attrs : tuple of float
        Hyperparameters, likewise.
    params, buffers : tuple of str
        The roles of its parameters and buffers, in the order of the node's ``p`` and ``buffer``. One that the op does
        not have is NULL there (the bias of a linear op without).
    saves : tuple of (int, int)
        One entry a saved tensor: elements for each row of the batch, and elements in all.
    alpha : float
        The hyperparameter of an elementwise activation.
    constants : tuple of float
        Losses: one number for each output column, or none.
    """

    dims: tuple[int, ...] = ()
    attrs: tuple[float, ...] = ()
    params: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    saves: tuple[tuple[int, int], ...] = ()
    alpha: float = 0.0
    constants: tuple[float, ...] = ()


class Op(ABC):
    """One differentiable function. Subclasses are frozen dataclasses of hyperparameters."""

    name: ClassVar[str]
    """The op's name, in Python and in C."""
    is_view: ClassVar[bool] = False
    """Whether the output is the input's own memory under another shape."""
    has_native: ClassVar[bool] = True
    """Whether it has a C twin; if not, networks that use it run on the reference backend."""

    @abstractmethod
    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the shape of one output sample, or raise ValueError for inputs that do not fit."""

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        """Return the shapes of the trained parameters, by role."""
        return {}

    def buffer_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        """Return the shapes of the untrained state, by role."""
        return {}

    @abstractmethod
    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        """Return the output for a batch of inputs."""

    @abstractmethod
    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        """Return the gradients of the inputs and, by role, of the parameters."""

    def native(self, *shapes: Shape) -> Native:
        """Return what the C twin needs, for inputs of these shapes."""
        return Native()

    def formula(self) -> str:
        """Return the op's formula as plain text."""
        return f"y = {self.name}(x)"


def rows_and_features(shape: Shape) -> tuple[int, int]:
    """Split a sample shape into the number of groups and the features of its last axis.

    >>> rows_and_features((7, 5, 3))
    (35, 3)
    """
    return prod(shape[:-1]), shape[-1]
