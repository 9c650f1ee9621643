"""What every op is: a shape rule, a forward and a backward rule in NumPy, and the sizes its C twin needs.

An op is a small frozen dataclass of hyperparameters. It holds no arrays: parameters, buffers and whatever forward
keeps for backward come and go through a :class:`Context`. The C twin of ``fastbp/ops/<name>.py`` is
``src_c/ops/<name>.inc.h``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]
"""The shape of one sample: the batch axis, always first, is left out."""
DType = Literal["real", "int64", "bool", "sparse"]
"""What a tensor holds: real numbers, of the network's dtype, integers (ids, labels, masks), truth values, or real
numbers of which only those that are not 0 are written down (:class:`~fastbp.ops.sparse_linear.SparseRows`)."""
Kind = Literal["real", "float64", "int64", "int32", "uint8", "bool"]
"""A kind of element in a plan's memory; "real" is the network's dtype."""


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
    rows : int
        B, for ops that make their output of no input.
    dtype : str
        What real numbers are, likewise; "" for whatever NumPy makes of the inputs.
    total : callable, or None
        Where ranks share the batch: returns the sum of an array over all of them.
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
    rows: int = 0
    dtype: str = ""
    total: Callable[[Array], Array] | None = None

    def over_all_rows(self, rows: Array) -> Array:
        """Return the sum over the rows of the batch, axis 0, those of other ranks too."""
        own: Array = rows.sum(axis=0)
        return own if self.total is None else self.total(own)


@dataclass(frozen=True)
class Space:
    """Memory that a C twin asks for.

    Attributes
    ----------
    per_row, fixed : int
        Elements for each row, and elements in all. Rows are those of the batch; of scratch memory, those of a tile.
    kind : Kind
    backward_only : bool
        Whether backward alone needs it: it is NULL where a plan goes forward only.
    per_batch_row : int
        Of scratch memory, elements for each row of the batch.
    """

    per_row: int = 0
    fixed: int = 0
    kind: Kind = "real"
    backward_only: bool = False
    per_batch_row: int = 0


PRODUCT_SCRATCH = 768 * 1024
"""The bytes of scratch memory that the C code of matrix products needs: ``FBP_PRODUCT_SCRATCH_BYTES``."""


ROW_UNITS = 64
"""The units into which tables are cut whose rows are updated one by one: ``FBP_ROW_UNITS``."""


@dataclass(frozen=True)
class Work:
    """What one phase of a C twin has to do.

    Attributes
    ----------
    cost : float
        Estimated nanoseconds, in one thread, for a row or a unit.
    per_row : float
        For a unit, and each row of the batch, besides.
    units : int
        How many units there are, for phases over units.
    least : int
        Units that are worth a task of their own, at the least.
    """

    cost: float = 1.0
    per_row: float = 0.0
    units: int = 1
    least: int = 1


@dataclass(frozen=True)
class Native:
    """What the C twin of an op is told: the fields of its ``fbp_node``, and what it needs besides.

    Attributes
    ----------
    dims : tuple of int
        Sizes, in the order that the C twin documents.
    attrs : tuple of float
        Hyperparameters, likewise; of an elementwise activation, alpha.
    params, buffers : tuple of str
        The roles of its parameters and buffers, in the order of the node's ``p`` and ``buffer``. One that the op does
        not have is NULL there (the bias of a linear op without).
    saves : tuple of Space
        Tensors kept from forward for backward, and from a reduce phase for the next.
    touched : int, optional
        The place among them where it keeps which rows of its table a mini-batch touched: how many, then which.
    prepared : int
        Elements of what the phase ``prepare`` makes of the parameters for the gradients of the inputs: a transposed
        weight. It is made anew after each update; uses of the same parameters share it.
    prepared_always : bool
        Whether the gradients of the parameters need it too.
    scratch : Space
        What each thread needs while it runs a phase.
    constants, integers : tuple of float, tuple of int
        Numbers that the C twin reads as an array, of the network's dtype or int64; none: NULL. Of a loss, one constant
        for each output column.
    work : dict of str to Work
        What the phases have to do, by name. One that is left out costs a nanosecond for each element of the output, or
        is a single unit.
    """

    dims: tuple[int, ...] = ()
    attrs: tuple[float, ...] = ()
    params: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    saves: tuple[Space, ...] = ()
    touched: int | None = None
    prepared: int = 0
    prepared_always: bool = False
    scratch: Space = Space()
    constants: tuple[float, ...] = ()
    integers: tuple[int, ...] = ()
    work: Mapping[str, Work] = field(default_factory=dict, hash=False)


Among = range | tuple[range, ...]
"""What integers may be: all of them, or those in each column of the last axis."""


class Op(ABC):
    """One differentiable function. Subclasses are frozen dataclasses of hyperparameters."""

    name: ClassVar[str]
    """The op's name, in Python and in C."""
    is_view: ClassVar[bool] = False
    """Whether the output is the input's own memory under another shape."""
    has_native: ClassVar[bool] = True
    """Whether it has a C twin; if not, networks that use it run on the reference backend."""
    calls_back: ClassVar[bool] = False
    """Whether plans call its rules in Python, instead of a C twin: they are a user's own, or it has none yet."""
    on_arrays: ClassVar[bool] = False
    """Whether it works on whole arrays, their batch axis among the others (:mod:`fastbp.ops.expression`)."""
    mixes_rows: ClassVar[bool] = False
    """Whether a row of the output depends, in training, on other rows of the batch."""
    adds_up: ClassVar[bool] = False
    """Whether it does so by sums over all rows alone, which its NumPy text makes by ``ctx.over_all_rows``."""
    derivative_from: ClassVar[Literal["", "input", "output"]] = ""
    """Of an op that applies one function to every element: what the derivative is computed from. "" for any other.

    Where it is the input, a plan that trains keeps the derivative itself, which the C twin makes with the value."""
    takes_activation: ClassVar[bool] = False
    """Whether the C twin can apply an activation to its output as it makes it (``fusion.act``)."""
    takes_affine: ClassVar[bool] = False
    """Whether the C twin can scale and shift the columns of its output, in place of its bias (``fusion.affine``)."""
    affine_outside_training: ClassVar[bool] = False
    """Whether all it does outside of training is to scale and shift columns, by what its phase ``prepare`` makes."""
    takes_gate: ClassVar[bool] = False
    """Whether the C twin can go on, in backward, through the activation that made its first input (``fusion.gate``)."""
    passes_gradient: ClassVar[bool] = False
    """Whether the gradient of each input is that of the output: then it may be the same memory."""
    adds_gradients: ClassVar[bool] = False
    """Whether the C twin can add the gradient of an input to what is there."""
    spends_saves: ClassVar[bool] = False
    """Whether the C twin, in backward, writes over what forward saved: to go back once more, it goes forward again."""
    updates: ClassVar[bool] = False
    """Whether the C twin can update its parameters, piece by piece, as it makes their gradients."""

    row_roles: ClassVar[tuple[str, ...]] = ()
    """The roles of its parameters whose gradient is 0 but for the rows that its ids name."""

    def by_touched_rows(self) -> Op:
        """Return the op whose C twin makes gradients of those rows alone, and updates no others."""
        return self

    @abstractmethod
    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the shape of one output sample, or raise ValueError for inputs that do not fit."""

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        """Return the shapes of the trained parameters, by role."""
        return {}

    def buffer_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        """Return the shapes of the untrained state, by role."""
        return {}

    def input_dtype(self, index: int) -> DType | Literal["any"]:
        """Return what the input of this number has to hold."""
        return "real"

    def output_dtype(self, *dtypes: DType) -> DType:
        """Return what the output holds, for inputs of these dtypes."""
        return "real"

    def rearranges(self, index: int) -> bool:
        """Return whether the output has elements of this input as they are: what limits them limits those."""
        return False

    def among(self, index: int) -> Among | None:
        """Return what each number of an input of integers is one of. None where any integer will do."""
        return None

    checks_inputs: ClassVar[bool] = False
    """Whether there is more to check about what a network is given: then `check_inputs` is called at the border."""

    def check_inputs(self, shapes: Sequence[Shape], arrays: Sequence[Array | None]) -> None:
        """Raise ValueError unless the arrays fit: one for each input that is the network's own, None for others."""
        return

    @abstractmethod
    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        """Return the output for a batch of inputs."""

    @abstractmethod
    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array | None, ...], dict[str, Array]]:
        """Return the gradients of the inputs, None for one that has none, and, by role, of the parameters."""

    def has_gradient(self, which: int) -> bool:
        """Whether y's gradient reaches input ``which``. It never reaches one of integers."""
        return True

    def gradient(self, which: int, dy: Array, y: Array, *xs: Array, **params: Array) -> Array | None:
        """Return the gradient of input ``which``, written in NumPy functions that tensors take as well as arrays.

        :func:`fastbp.grad` derives with it. ``params`` has the parameters and buffers by role, and as ``training``
        whether the network trains. None where there is no derivative.

        Raises
        ------
        NotImplementedError
            By ops that cannot be derived in this way.
        """
        raise NotImplementedError(f"{self.name} cannot be derived as a part of the graph: its backward pass is written "
                                  "for numbers alone")

    def native(self, *shapes: Shape) -> Native:
        """Return what the C twin needs, for inputs of these shapes."""
        return Native()

    def rounds(self, compute_dtype: str) -> bool:
        """Return whether the operands of its products are rounded to bfloat16."""
        return False

    def check_training_rows(self, values: int) -> None:
        """Raise ValueError unless so many values of a feature are enough to train with."""
        return

    def for_sparse(self) -> Op | None:
        """Return the op that does the same to an input that is sparse; None where there is none."""
        return None

    def formula(self) -> str:
        """Return the op's formula as plain text."""
        return f"y = {self.name}(x)"


def rows_and_features(shape: Shape) -> tuple[int, int]:
    """Split a sample shape into the number of groups and the features of its last axis.

    >>> rows_and_features((7, 5, 3))
    (35, 3)
    """
    return prod(shape[:-1]), shape[-1]
