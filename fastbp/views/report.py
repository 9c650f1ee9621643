"""Looking at a network: its table (:func:`summary`), and its backend held against the reference (:func:`verify`)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.engine.executable import Executable
from fastbp.engine.reference import ReferenceBackend
from fastbp.graph.graph import Graph, Tensor
from fastbp.ops.base import Array
from fastbp.views import markup

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Rounding in float32 adds up over layers to some 1e-5 of a tensor's largest element, in float64 to 1e-13; a fault is
# usually as large as the tensor.
TOLERANCES = {"float32": 1e-3, "float64": 1e-9, "bfloat16": 5e-2}


def table(rows: list[tuple[str, ...]], right: tuple[int, ...]) -> str:
    """Return rows of text as aligned columns; ``right`` are the columns of numbers.

    >>> print(table([("name", "size"), ("a", "10")], right=(1,)))
    name  size
    a       10
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(w) if i in right else cell.ljust(w)
                       for i, (cell, w) in enumerate(zip(row, widths, strict=True))) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def memory_text(size: int) -> str:
    """Return a number of bytes in the unit that fits.

    >>> memory_text(940584)
    '918.5 KiB'
    """
    amount, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.0f} {units[0]}" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def shape_text(tensor: Tensor) -> str:
    """Return the shape of a tensor, with B for the number of rows, and what it holds if not real numbers.

    >>> from fastbp.graph.graph import Input
    >>> shape_text(Input(28, 28, 1)), shape_text(Input(3, dtype="int64"))
    ('(B, 28, 28, 1)', '(B, 3) int64')
    """
    shape = tensor.whole_shape
    dtype = "" if tensor.dtype == "real" else f" {tensor.dtype}"
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)}){dtype}"


def summary(net: Executable) -> str:
    """Return a table of the graph: each tensor with the layer that makes it, its shape and parameters, then the totals.

    Parameters
    ----------
    net : Network

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Linear(784, 256), fb.ReLU(), fb.Linear(256, 10), backend="reference")
    >>> print(net.summary())
    Sequential((B, 784) → (B, 10), 203,530 parameters, float32, reference)
    <BLANKLINE>
    tensor    layer             shape     parameters
    input                       (B, 784)
    0.linear  Linear(784, 256)  (B, 256)     200,960
    1.relu    ReLU()            (B, 256)           0
    2.linear  Linear(256, 10)   (B, 10)        2,570
    <BLANKLINE>
    parameters: 203,530, all trained, 795.0 KiB, and as much for their gradients
    values: 2.0 KiB for each row of a batch
    """
    return "\n".join([repr(net), "", table(summary_rows(net), right=(3,)), "", *summary_totals(net)])


def summary_rows(net: Executable) -> list[tuple[str, ...]]:
    """Return the table of :func:`summary`, a heading and then a row for each tensor."""
    graph, counted = net.graph, set[str]()
    rows: list[tuple[str, ...]] = [("tensor", "layer", "shape", "parameters")]
    for tensor in graph.tensors:
        rows.append((graph.names[tensor], _made_by(tensor), shape_text(tensor),
                     _parameters_text(graph, tensor, counted, net.memory.frozen)))
    return rows


def _made_by(tensor: Tensor) -> str:
    """Return the layer that makes a tensor or, where none does, the formula."""
    if tensor.node is None:
        return ""
    return tensor.node.op.formula() if tensor.node.owner is None else repr(tensor.node.owner)


def summary_totals(net: Executable) -> list[str]:
    """Return what :func:`summary` says below its table."""
    graph, item = net.graph, np.dtype(net.dtype).itemsize
    total = net.params.flat.size
    trained = sum(size for _, size in net.memory.trained)
    share = "all trained" if trained == total else f"{trained:,} of them trained"
    values = sum(_per_row(t) for t in graph.tensors if t.node is not None and not t.node.op.is_view)
    lines = [f"parameters: {total:,}, {share}, {memory_text(total * item)}, and as much for their gradients"]
    if net.buffers.flat.size:
        lines.append(f"running statistics: {net.buffers.flat.size:,}, {memory_text(net.buffers.flat.size * item)}")
    return [*lines, f"values: {memory_text(values * item)} for each row of a batch"]


def _per_row(tensor: Tensor) -> int:
    """Return how many elements a tensor has for each row of a batch."""
    sizes = [s for s in tensor.whole_shape if isinstance(s, int)]
    return prod(sizes) if len(sizes) < len(tensor.whole_shape) else 0


def _parameters_text(graph: Graph, tensor: Tensor, counted: set[str], frozen: frozenset[str]) -> str:
    """Return how many parameters make this tensor, and whether they are frozen or have been counted before."""
    if tensor.node is None:
        return ""
    parameters = {graph.parameter_name(p): p for p in tensor.node.params.values()}
    text = f"{sum(prod(p.shape) for p in parameters.values()):,}"
    if parameters and frozen.issuperset(parameters):
        text += " frozen"
    if parameters and counted.issuperset(parameters):
        text += " shared"
    counted.update(parameters)
    return text


def activations(net: Executable, x: Any, training: bool) -> dict[str, Array]:
    """Return what every tensor of the graph holds for a batch; ``net.activations(x)``."""
    net, arrays = net.sized(x), net._inputs(x)
    if training:
        net._check_training(len(arrays[0]))
    buffers = net.buffers.flat.copy()
    walk = ReferenceBackend(net.memory)
    walk.forward(arrays, training)
    net.buffers.flat = buffers
    return walk.values()


@dataclass(frozen=True)
class VerifyRow:
    """How far one tensor is from the reference, relative to its largest element; None where the backend keeps nothing.

    Attributes
    ----------
    name : str
        The tensor's, such as ``"0.linear"``.
    value, gradient : float or None
        What the tensor held, and the gradient of the loss with respect to it.
    parameter_gradient : float or None
        The worst of the parameters of the node that makes it.
    """

    name: str
    value: float | None
    gradient: float | None
    parameter_gradient: float | None

    @property
    def worst(self) -> float:
        """The largest of the three."""
        return max((d for d in (self.value, self.gradient, self.parameter_gradient) if d is not None), default=0.0)


@dataclass(frozen=True, repr=False)
class VerifyReport:
    """What :func:`verify` found. True where everything agrees; a verdict and a table when printed.

    Attributes
    ----------
    ok : bool
        Whether no deviation is above the tolerance.
    rows : tuple of VerifyRow
        In the order of computation.
    loss, reference_loss : float
    loss_deviation : float
        Relative to the reference, or to 1e-3 where that is smaller.
    backend, dtype : str
        Of the network.
    tolerance : float
    """

    rows: tuple[VerifyRow, ...]
    loss: float
    reference_loss: float
    backend: str
    dtype: str
    tolerance: float

    @property
    def loss_deviation(self) -> float:
        return _deviation(np.asarray(self.loss), np.asarray(self.reference_loss), floor=1e-3)

    @property
    def ok(self) -> bool:
        return self.loss_deviation <= self.tolerance and all(r.worst <= self.tolerance for r in self.rows)

    @property
    def verdict(self) -> str:
        """One sentence; where something deviates, it names the first tensor in the order in which it is computed."""
        what = f"{self.backend} ({self.dtype}) against reference (float64)"
        if self.ok:
            worst = max([self.loss_deviation, *(r.worst for r in self.rows)])
            return f"{what}: they agree, largest deviation {worst:.2g}"
        return f"{what}: they differ, first in {self._first_difference()}"

    def _first_difference(self) -> str:
        for row in self.rows:
            if row.value is not None and row.value > self.tolerance:
                return f"the value of {row.name}"
        if self.loss_deviation > self.tolerance:
            return "the loss"
        for row in reversed(self.rows):
            if row.gradient is not None and row.gradient > self.tolerance:
                return f"the gradient of {row.name}"
            if row.parameter_gradient is not None and row.parameter_gradient > self.tolerance:
                return f"the gradient of the parameters of {row.name}"
        raise AssertionError("nothing differs")

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return f"VerifyReport({self.verdict})"

    def _repr_html_(self) -> str:
        return markup.html_table(f"{self.verdict} (tolerance {self.tolerance:.0e})", self._table(), right=(1, 2, 3))

    def __str__(self) -> str:
        return f"{self.verdict} (tolerance {self.tolerance:.0e})\n\n{table(self._table(), right=(1, 2, 3))}"

    def _table(self) -> list[tuple[str, ...]]:
        def cell(deviation: float | None) -> str:
            return "-" if deviation is None else f"{deviation:.1e}" + "!" * (deviation > self.tolerance)
        rows: list[tuple[str, ...]] = [("tensor", "value", "gradient", "parameter gradient")]
        rows += [(r.name, cell(r.value), cell(r.gradient), cell(r.parameter_gradient)) for r in self.rows]
        return [*rows, ("loss", cell(self.loss_deviation), "", "")]


def verify(net: Executable, x: Any, y: Any, loss: Any, sample_weight: ArrayLike | None = None) -> VerifyReport:
    """Run a network's backend and a float64 reference on one batch in training mode, and compare them.

    Both run on copies: parameters, gradients and buffers of the network stay as they are.

    Parameters
    ----------
    net : Network
    x, y, loss, sample_weight
        A batch, as ``net.loss_and_grad`` takes it.

    Returns
    -------
    VerifyReport

    Notes
    -----
    A deviation is the largest absolute difference in a tensor, divided by the largest element of the reference. A
    gradient of a bias or of another parameter with one axis is a sum of the gradients of the node's outputs, which may
    cancel (a bias before batch normalisation has none): it is divided by the largest of those, where that is more.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Linear(3, 2), fb.Tanh(), seed=0, backend="reference", dtype="float64")
    >>> print(net.verify([[1.0, 2.0, 3.0]], [[0.0, 1.0]], fb.MSE()))
    reference (float64) against reference (float64): they agree, largest deviation 0 (tolerance 1e-09)
    <BLANKLINE>
    tensor      value  gradient  parameter gradient
    input     0.0e+00   0.0e+00                   -
    0.linear  0.0e+00   0.0e+00             0.0e+00
    1.tanh    0.0e+00   0.0e+00                   -
    loss      0.0e+00
    """
    net = net.sized(x)
    own, reference = net.copy(), net.copy(dtype="float64", compute_dtype="float64", backend="reference")
    values = own.loss_and_grad(x, y, loss, sample_weight), reference.loss_and_grad(x, y, loss, sample_weight)
    rows = tuple(_compare(own, reference, tensor) for tensor in net.graph.tensors)
    return VerifyReport(rows, *values, backend=net.backend, dtype=net.compute_dtype,
                        tolerance=TOLERANCES[net.compute_dtype])


def _compare(own: Executable, reference: Executable, tensor: Tensor) -> VerifyRow:
    name = own.graph.names[tensor]
    (value, gradient), (true_value, true_gradient) = [
        (net._backend.values().get(name), net._backend.gradients().get(name)) for net in (own, reference)]
    parameter_deviations = []
    for p in tensor.node.params.values() if tensor.node else ():
        full_name = own.graph.parameter_name(p)
        floor = _largest(true_gradient) if len(p.shape) == 1 and true_gradient is not None else 0.0
        parameter_deviations.append(_deviation(own.grads[full_name], reference.grads[full_name], floor))
    return VerifyRow(name, _deviation_if_kept(value, true_value), _deviation_if_kept(gradient, true_gradient),
                     max(parameter_deviations, default=None))


def _deviation_if_kept(mine: Array | None, true: Array | None) -> float | None:
    return None if mine is None or true is None else _deviation(mine, true)


def _largest(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0, where=np.isfinite(array)))


def _deviation(mine: Array, true: Array, floor: float = 0.0) -> float:
    """Return the largest absolute difference, relative to the largest element of the truth or the floor.

    >>> _deviation(np.array([1.0, 2.1]), np.array([1.0, 2.0])).__round__(3)
    0.05
    """
    mine, true = np.asarray(mine, np.float64), np.asarray(true, np.float64)
    same = (mine == true) | (np.isnan(mine) & np.isnan(true))
    if not np.isfinite(mine[~same]).all() or not np.isfinite(true[~same]).all():
        return float("inf")
    difference = float(np.max(np.abs(mine - true), initial=0, where=~same))
    scale = max(_largest(true), floor)
    return difference / scale if scale > 0 else difference
