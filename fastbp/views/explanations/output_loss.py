"""The losses at the end of a network: what each output's loss is, and the factors that a path begins with."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from fastbp.engine.backend import Data
from fastbp.graph.graph import Tensor
from fastbp.objectives.cross_entropy import CrossEntropy
from fastbp.objectives.custom import CustomLoss
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array
from fastbp.views.explanations.loss_table import LossAccount, account_of
from fastbp.views.explanations.parts import Box, Factor, Line, Note
from fastbp.views.explanations.rules import ONE, Rule
from fastbp.views.explanations.symbols import Formula, Quantity, Symbol
from fastbp.views.explanations.trace import Position, Trace

# Outputs that a loss is written out for, one by one.
_WRITTEN_OUT = 3


@dataclass(frozen=True)
class OutputLoss:
    """The loss of one output, row by row.

    Attributes
    ----------
    loss : Loss
    tensor : Tensor
    target : array (B, …)
    values, shares : array (B, rows of a sample)
        The loss of each row, and its share of E.
    slopes : array (B, *output shape)
        ∂ of a row's loss by each of its outputs.
    joint : bool
        Whether the loss looks at the batch as a whole: it is then one value, and each output's share of it is whole.
    """

    loss: Loss
    tensor: Tensor
    target: Array
    values: Array
    slopes: Array
    shares: Array
    joint: bool

    @classmethod
    def of(cls, loss: Loss, tensor: Tensor, y_pred: Array, target: Array, sample_weight: Array | None) -> OutputLoss:
        """Return the loss of an output that has this value."""
        with np.errstate(all="ignore"):
            return cls._of(loss, tensor, y_pred, target, sample_weight)

    @classmethod
    def _of(cls, loss: Loss, tensor: Tensor, y_pred: Array, target: Array, sample_weight: Array | None) -> OutputLoss:
        batch = len(y_pred)
        shares = loss.row_weights(target, sample_weight)
        if isinstance(loss, CustomLoss):
            value, gradient = loss.value_and_gradient(y_pred, target, shares)
            return cls(loss, tensor, target, np.full((batch, 1), value), gradient, np.ones((batch, 1)), joint=True)
        values, slopes = loss.rows(y_pred.reshape(len(shares), -1), target)
        return cls(loss, tensor, target, values.reshape(batch, -1), slopes.reshape(y_pred.shape),
                   shares.reshape(batch, -1), joint=False)

    @property
    def account(self) -> LossAccount:
        """How the loss is written down."""
        return account_of(self.loss)

    @property
    def width(self) -> int:
        """Outputs of one row."""
        return prod(self.tensor.shape) // int(self.shares.shape[1])

    @property
    def seed(self) -> Array:
        """∂E/∂o."""
        per_row = self.slopes.reshape(*self.shares.shape, -1) * self.shares[..., None]
        return np.asarray(per_row.reshape(self.slopes.shape))

    @property
    def is_mean(self) -> bool:
        """Whether every row has the same share."""
        return bool(np.allclose(self.shares, 1 / self.shares.size, rtol=1e-12))

    def target_of(self, sample: int, index: int) -> float:
        """Return t for one output: for labels one or zero, smoothed."""
        target = self.target[sample]
        if not isinstance(self.loss, CrossEntropy):
            flat = np.ravel(target)
            return float(flat[index % flat.size])
        flat = self.loss.distribution(np.zeros((self.shares.shape[1], self.width)), target[None])
        return float(np.ravel(flat)[index])


class Losses:
    """The losses of all outputs, whose sum is E.

    Attributes
    ----------
    total : float
        E.
    outputs : list of OutputLoss
    simple : bool
        Whether E is the loss of one output alone, with nothing to be averaged.
    """

    def __init__(self, trace: Trace, data: Data, total: float) -> None:
        self._trace, self.total, self._batch = trace, total, data.rows
        self.outputs = [OutputLoss.of(loss, t, trace.values[t], target, data.sample_weight)
                        for loss, t, target in zip(data.losses, trace.graph.outputs, data.targets, strict=True)]
        first = self.outputs[0]
        self.simple = len(self.outputs) == 1 and (first.joint or (first.shares.size == 1 and first.shares.item() == 1))

    @property
    def seeds(self) -> dict[Tensor, Array]:
        """∂E/∂o of each output."""
        return {o.tensor: o.seed for o in self.outputs}

    @property
    def rows(self) -> int:
        """Rows that the first loss is a mean of."""
        return int(self.outputs[0].shares.size)

    def notes(self) -> list[Note]:
        """Return what a reader should know of the loss."""
        notes = [Note(key) for output in self.outputs for key in output.account.notes]
        if self._batch == 1 or self.simple:
            return notes
        return [Note("mean" if self.outputs[0].is_mean else "weighted", {"rows": self.rows}), *notes]

    def factors(self, at: Position) -> list[Factor]:
        """Return what leads from E to an element of an output: the share of its row, and the slope of the loss."""
        k = self._trace.graph.outputs.index(at.tensor)
        output = self.outputs[k]
        row = at.index // output.width
        symbol = self._symbol(k, at.sample, row)
        slope = self._slope(output, at, symbol, f"loss{k}")
        return [slope] if self.simple else [self._share(output, at.sample, row, symbol, f"loss{k}"), slope]

    def boxes(self, sample: int) -> list[list[tuple[Box, Tensor | None]]]:
        """Return the columns that follow the graph in the picture, each box with the output that it is made of."""
        column: list[tuple[Box, Tensor | None]] = []
        for k, output in enumerate(self.outputs):
            shares = output.shares[sample]
            value = float(output.values[sample] @ (shares / (shares.sum() or 1)))
            box = Box(f"loss{k}", self._symbol(k, sample, 0), value, float(shares.sum()), "loss", True)
            column.append((box, output.tensor))
        return [column] if self.simple else [column, [(Box("total", Symbol("E"), self.total, 1.0, "loss", True), None)]]

    def lines(self, sample: int) -> tuple[Line, ...]:
        """Return the equations of the losses and, where it is not one of them, of E."""
        lines = tuple(self._line(k, sample) for k in range(len(self.outputs)))
        return lines if self.simple else (*lines, Line(Quantity(Symbol("E"), self.total), self._mean(), "total"))

    def _symbol(self, k: int, sample: int, row: int) -> Symbol:
        if self.simple:
            return Symbol("E")
        output = self.outputs[k]
        several = self._batch > 1 and not output.joint
        places = [str(sample + 1)] * several + [str(row + 1)] * (output.shares.shape[1] > 1)
        return Symbol("E", ",".join(places), str(k + 1) if len(self.outputs) > 1 else "")

    def _share(self, output: OutputLoss, sample: int, row: int, symbol: Symbol, box: str) -> Factor:
        share, rows = float(output.shares[sample, row]), output.shares.size
        rule, quantities = ONE, dict[str, Quantity]()
        if share != 1 and output.is_mean:
            rule = Rule(f"(1/{rows})", rf"\tfrac{{1}}{{{rows}}}")
        elif share != 1:
            rule, quantities = Rule("@r", "@r"), {"r": Quantity(Symbol("ρ", symbol.index, symbol.layer), share)}
        formula = rule.formula(quantities)
        return Factor(Symbol("E"), symbol, share, formula, formula, "total", box)

    def _slope(self, output: OutputLoss, at: Position, symbol: Symbol, box: str) -> Factor:
        value = float(output.slopes[at.sample].flat[at.index])
        rule, quantities = output.account.derivative(output.loss, output.width, self._trace, at,
                                                     lambda place: self._target(output, place))
        return Factor(symbol, self._trace.quantity(at).symbol, value, rule.formula(quantities),
                      rule.spelled_out(quantities), box, self._trace.box(at))

    def _target(self, output: OutputLoss, at: Position) -> Quantity:
        return self._trace.named(at, "t", output.target_of(at.sample, at.index))

    def _line(self, k: int, sample: int) -> Line:
        output = self.outputs[k]
        account, quantities = output.account, dict[str, Quantity]()
        if account.expanded is None or output.width > _WRITTEN_OUT:
            rule = account.formula(output.loss, output.width)
        else:
            rule = account.expanded(output.width)
            for i in range(output.width):
                at = Position(output.tensor, sample, i)
                quantities |= {f"o{i}": self._trace.quantity(at), f"t{i}": self._target(output, at)}
        value = float(output.values[sample].mean())
        return Line(Quantity(self._symbol(k, sample, 0), value), rule.formula(quantities), f"loss{k}")

    def _mean(self) -> Formula:
        if len(self.outputs) > 1:
            return Formula("Σ (ρ · E)", r"\textstyle\sum \rho \, E")
        if self.outputs[0].is_mean:
            return Formula(f"(1/{self.rows}) · Σₛ Eₛ", rf"\tfrac{{1}}{{{self.rows}}} \textstyle\sum_s E_s")
        return Formula("Σₛ ρₛ · Eₛ", r"\textstyle\sum_s \rho_s E_s")


class WholeLoss:
    """A loss that is a part of the graph: its last tensor is E, or E is the sum of its last tensor over the samples."""

    def __init__(self, trace: Trace, total: float) -> None:
        self._trace, self.total = trace, total
        (self._loss,) = trace.graph.outputs
        self.is_sum = self._loss.rows and len(trace.values[self._loss]) > 1

    @property
    def seeds(self) -> dict[Tensor, Array]:
        """∂E by the last tensor: 1."""
        values = self._trace.values[self._loss]
        return {self._loss: np.ones_like(values if self._loss.rows else values[0])}

    def notes(self) -> list[Note]:
        """Return nothing: all there is to know stands in the graph."""
        return []

    def factors(self, at: Position) -> list[Factor]:
        """Return the factor of E by what a sample adds to it, if there are several."""
        if not self.is_sum:
            return []
        one = ONE.formula({})
        return [Factor(Symbol("E"), self._trace.quantity(at).symbol, 1.0, one, one, "total", self._trace.box(at))]

    def boxes(self, sample: int) -> list[list[tuple[Box, Tensor | None]]]:
        """Return a box for E, unless it is a part of the graph."""
        return [[(Box("total", Symbol("E"), self.total, 1.0, "loss", True), self._loss)]] if self.is_sum else []

    def lines(self, sample: int) -> tuple[Line, ...]:
        """Return the equation of E, unless it is a part of the graph."""
        formula = Formula("Σₛ Eₛ", r"\textstyle\sum_s E_s")
        return (Line(Quantity(Symbol("E"), self.total), formula, "total"),) if self.is_sum else ()
