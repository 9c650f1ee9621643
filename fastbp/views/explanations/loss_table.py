"""How each loss is written down in explanations: one row a loss, with its formula and its derivative by an output.

A new loss needs a row; one of the users' own goes by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.objectives import losses
from fastbp.objectives.cross_entropy import CrossEntropy
from fastbp.objectives.custom import CustomLoss
from fastbp.objectives.losses import Loss
from fastbp.views.explanations.rules import Rule, mean_of, six
from fastbp.views.explanations.symbols import Quantity, Symbol
from fastbp.views.explanations.trace import Position, Trace

Slope = Callable[[Any, int, float, float], Rule]
"""The derivative by one output: of the loss, the number of outputs, the target and the output."""

Target = Callable[[Position], Quantity]
"""The target of an output."""


@dataclass(frozen=True)
class LossAccount:
    """A loss of one sample, ``text`` and ``latex``, and its ``slope`` for each output by itself.

    ``{d}`` in a formula is the number of outputs, ``{delta}`` the loss's threshold. ``constants`` gives the loss's own
    numbers, one for all outputs or one for each: @c in the slope, called ``letter``.
    """

    text: str
    latex: str
    slope: Slope
    constants: Callable[[Any], Any] | None = None
    letter: str = "c"
    expanded: Callable[[int], Rule] | None = None
    notes: tuple[str, ...] = ()

    def formula(self, loss: Loss, width: int) -> Rule:
        """Return the loss of one sample with so many outputs."""
        delta = six(getattr(loss, "delta", 0.0))
        text, latex = self.text.format(d=width, delta=delta), self.latex.format(d=width, delta=delta)
        return Rule(text.replace("1/1 · ", ""), latex.replace(r"\tfrac{1}{1} ", ""))

    def derivative(self, loss: Loss, width: int, trace: Trace, at: Position, target: Target
                   ) -> tuple[Rule, dict[str, Quantity]]:
        """Return ∂ℓ/∂o of one output."""
        o, t = trace.quantity(at), target(at)
        quantities = {"o": o, "t": t}
        if self.constants is not None:
            values = np.atleast_1d(1.0 if self.constants(loss) is None else self.constants(loss))
            index = str(at.index % len(values) + 1) if len(values) > 1 else ""
            quantities["c"] = Quantity(Symbol(self.letter, index), float(values[at.index % len(values)]))
        return self.slope(loss, width, t.value, o.value), quantities


class Unwritten(LossAccount):
    """A loss that only its own code knows."""

    def derivative(self, loss: Loss, width: int, trace: Trace, at: Position, target: Target
                   ) -> tuple[Rule, dict[str, Quantity]]:
        return self.slope(loss, width, float("nan"), float("nan")), {"o": trace.quantity(at)}


class OfDecisions(LossAccount):
    """The loss of yes-or-no decisions; p, the weight of the positive class, is left out where it is 1."""

    def formula(self, loss: Any, width: int) -> Rule:
        rule = super().formula(loss, width)
        if loss.pos_weight is not None:
            return rule
        return Rule(rule.text.replace("p tₖ", "tₖ"), rule.latex.replace(r"p \, t_k", "t_k"))


class OfLogits(LossAccount):
    """A loss whose derivative holds the softmax of the outputs, @p."""

    def derivative(self, loss: Loss, width: int, trace: Trace, at: Position, target: Target
                   ) -> tuple[Rule, dict[str, Quantity]]:
        row = np.asarray(trace.values[at.tensor][at.sample], float).reshape(-1, width)[at.index // width]
        powers = np.exp(row - row.max())
        p = trace.named(at, "p", float(powers[at.index % width] / powers.sum()))
        return Rule("(@p − @t)", "(@p - @t)", "@p − @t", "@p - @t"), {"p": p, "t": target(at)}


class OfMeanAndVariance(LossAccount):
    """A loss of outputs in two halves: means μ, @m, and log-variances s, @s."""

    def derivative(self, loss: Loss, width: int, trace: Trace, at: Position, target: Target
                   ) -> tuple[Rule, dict[str, Quantity]]:
        row, column = divmod(at.index, width)
        half = width // 2
        mean, scale = (Position(at.tensor, at.sample, row * width + column % half + shift) for shift in (0, half))
        quantities = {"m": trace.quantity(mean), "s": trace.quantity(scale), "t": target(mean)}
        front, latex = mean_of(half)
        if column < half:
            return Rule(f"{front}(@m − @t) · e^(−@s)", rf"{latex}(@m - @t) \, e^{{-@s}}"), quantities
        return Rule(f"{front}½(1 − (@t − @m)² · e^(−@s))",
                    rf"{latex}\tfrac12(1 - (@t - @m)^2 e^{{-@s}})"), quantities


# ---- derivatives by one output ---------------------------------------------------------------------------------------


def _half_squared(loss: Any, d: int, t: float, o: float) -> Rule:
    return Rule("−(@t − @o)", "-(@t - @o)")


def _squared(loss: Any, d: int, t: float, o: float) -> Rule:
    if d == 1:
        return Rule("2(@o − @t)", "2(@o - @t)")
    return Rule(f"(2/{d})(@o − @t)", rf"\tfrac{{2}}{{{d}}}(@o - @t)")


def _absolute(loss: Any, d: int, t: float, o: float) -> Rule:
    front, latex = mean_of(d)
    return Rule(f"{front}sign(@o − @t)", rf"{latex}\operatorname{{sign}}(@o - @t)")


def _huber(loss: Any, d: int, t: float, o: float) -> Rule:
    front, latex = mean_of(d)
    delta = six(loss.delta)
    if abs(o - t) <= loss.delta:
        return Rule(f"{front}(@o − @t)", f"{latex}(@o - @t)", f"{front}(@o − @t), |@o − @t| ≤ {delta}",
                    rf"{latex}(@o - @t), \; |@o - @t| \le {delta}")
    return Rule(f"{front}{delta} · sign(@o − @t)", rf"{latex}{delta} \operatorname{{sign}}(@o - @t)",
                f"{front}{delta} · sign(@o − @t), |@o − @t| > {delta}",
                rf"{latex}{delta} \operatorname{{sign}}(@o - @t), \; |@o - @t| > {delta}")


def _poisson(loss: Any, d: int, t: float, o: float) -> Rule:
    front, latex = mean_of(d)
    return Rule(f"{front}(e^(@o) − @t)", rf"{latex}(e^{{@o}} - @t)")


def _binary(loss: Any, d: int, t: float, o: float) -> Rule:
    front, latex = mean_of(d)
    if loss.pos_weight is None:
        return Rule(f"{front}(σ(@o) − @t)", rf"{latex}(\sigma(@o) - @t)")
    return Rule(f"{front}((1 − @t)σ(@o) − @c · @t · σ(−@o))", rf"{latex}((1 - @t)\sigma(@o) - @c \, @t \, \sigma(-@o))")


def _quantile(loss: Any, d: int, t: float, o: float) -> Rule:
    front, latex = mean_of(d)
    text, condition = ("(−@c)", "@o < @t") if o < t else ("(1 − @c)", "@o > @t") if o > t else ("0", "@o = @t")
    plain = text.replace("−", "-")
    return Rule(front + text, latex + plain, f"{front}{text} ({condition})", rf"{latex}{plain} \quad ({condition})")


def _unknown(loss: Any, d: int, t: float, o: float) -> Rule:
    return Rule("ℓ′(@o)", r"\ell'(@o)")


# ---- the loss with each output written out, @o0, @t0, … --------------------------------------------------------------


def _half_squares(d: int) -> Rule:
    return Rule(" + ".join(f"½(@t{k} − @o{k})²" for k in range(d)),
                " + ".join(rf"\tfrac12(@t{k} - @o{k})^2" for k in range(d)))


def _squares(d: int) -> Rule:
    text = " + ".join(f"(@o{k} − @t{k})²" for k in range(d))
    latex = text.replace("−", "-").replace("²", "^2")
    return Rule(f"1/{d} · ({text})", rf"\tfrac{{1}}{{{d}}} ({latex})") if d > 1 else Rule(text, latex)


# ---- the rows --------------------------------------------------------------------------------------------------------

ACCOUNTS: dict[type, LossAccount] = {
    losses.HalfSquaredError: LossAccount(
        "½ Σₖ (tₖ − oₖ)²", r"\tfrac12 \sum_k (t_k - o_k)^2", _half_squared, expanded=_half_squares),
    losses.MSE: LossAccount(
        "1/{d} · Σₖ (oₖ − tₖ)²", r"\tfrac{{1}}{{{d}}} \sum_k (o_k - t_k)^2", _squared, expanded=_squares),
    losses.MAE: LossAccount("1/{d} · Σₖ |oₖ − tₖ|", r"\tfrac{{1}}{{{d}}} \sum_k |o_k - t_k|", _absolute),
    losses.Huber: LossAccount(
        "1/{d} · Σₖ mₖ(|oₖ − tₖ| − ½mₖ), mₖ = min(|oₖ − tₖ|, {delta})",
        r"\tfrac{{1}}{{{d}}} \sum_k m_k (|o_k - t_k| - \tfrac12 m_k), \; m_k = \min(|o_k - t_k|, {delta})", _huber),
    losses.Quantile: LossAccount(
        "1/{d} · Σₖ max(q(tₖ − oₖ), (q − 1)(tₖ − oₖ))",
        r"\tfrac{{1}}{{{d}}} \sum_k \max(q(t_k - o_k), (q - 1)(t_k - o_k))",
        _quantile, lambda loss: loss.quantiles, "q"),
    losses.PoissonNLL: LossAccount(
        "1/{d} · Σₖ (e^oₖ − tₖoₖ)", r"\tfrac{{1}}{{{d}}} \sum_k (e^{{o_k}} - t_k o_k)", _poisson),
    losses.GaussianNLL: OfMeanAndVariance(
        "1/{d} · Σₖ ½(sₖ + (tₖ − μₖ)² e^(−sₖ))",
        r"\tfrac{{1}}{{{d}}} \sum_k \tfrac12 (s_k + (t_k - \mu_k)^2 e^{{-s_k}})", _unknown),
    losses.BinaryCrossEntropy: OfDecisions(
        "−1/{d} · Σₖ (p tₖ ln σ(oₖ) + (1 − tₖ) ln(1 − σ(oₖ)))",
        r"-\tfrac{{1}}{{{d}}} \sum_k (p \, t_k \ln \sigma(o_k) + (1 - t_k) \ln(1 - \sigma(o_k)))",
        _binary, lambda loss: loss.pos_weight),
    CrossEntropy: OfLogits(
        "−Σₖ tₖ ln pₖ, p = softmax(o)", r"-\sum_k t_k \ln p_k, \; p = \mathrm{{softmax}}(o)", _unknown,
        notes=("softmax",)),
    # users' own
    CustomLoss: Unwritten("ℓ(o, t)", r"\ell(o, t)", _unknown),
    Loss: Unwritten("ℓ(o, t)", r"\ell(o, t)", _unknown),
}


def account_of(loss: Loss) -> LossAccount:
    """Return the row of a loss, or of the nearest class that it derives from."""
    return next(ACCOUNTS[kind] for kind in type(loss).__mro__ if kind in ACCOUNTS)
