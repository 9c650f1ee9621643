"""The formula of every op and loss, and of its local derivatives, as people write them.

``@a`` and ``@b`` stand for the operands, ``@y`` for the result, ``@w`` for a weight, ``@o`` and ``@t`` for output and
target. A derivative that takes more than a few signs has a short name (``GELU′(@a)``) for use in a product, and is
spelled out beside it. Where a function has pieces, the piece that applies is named with its condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastbp.chainrule.symbols import Formula, Quantity, number, superscript
from fastbp.objectives import losses
from fastbp.objectives.losses import Loss
from fastbp.ops.activations import SELU_ALPHA, SELU_SCALE
from fastbp.ops.base import Op


@dataclass(frozen=True)
class Rule:
    """One formula: as it stands in a product, and spelled out where that is longer."""

    text: str
    latex: str
    long_text: str = ""
    long_latex: str = ""

    def formula(self, quantities: Mapping[str, Quantity]) -> Formula:
        """Return it as it stands in a product."""
        return Formula(self.text, self.latex, quantities)

    def spelled_out(self, quantities: Mapping[str, Quantity]) -> Formula:
        """Return it at full length."""
        return Formula(self.long_text or self.text, self.long_latex or self.latex, quantities)


@dataclass(frozen=True)
class Rules:
    """What is known of an op: its own formula and one derivative for each operand."""

    forward: Rule
    derivatives: tuple[Rule, ...] = field(default_factory=tuple)


def _number(value: float) -> str:
    return number(value, 6)


def _same(text: str) -> Rule:
    return Rule(text, text)


ONE = _same("1")


def _named(name: str, text: str, latex: str) -> Rule:
    """A derivative that goes by the function's name with a prime."""
    return Rule(f"{name}′(@a)", rf"\mathrm{{{name}}}'(@a)", text, latex)


def _pieces(name: str, pieces: list[tuple[bool, str, str, str, str]]) -> Rule:
    """Return the derivative by the first piece whose condition holds."""
    for holds, text, latex, condition, latex_condition in pieces:
        if holds:
            return _named(name, f"{text} ({condition})", rf"{latex} \quad ({latex_condition})")
    return _named(name, "NaN", r"\mathrm{NaN}")


def _sided(name: str, a: float, above: tuple[str, str], below: tuple[str, str]) -> Rule:
    return _pieces(name, [(a > 0, *above, "@a > 0", "@a > 0"), (a <= 0, *below, "@a ≤ 0", r"@a \le 0")])


def _relu(op: Op, a: float) -> Rules:
    return Rules(Rule("max(0, @a)", r"\max(0, @a)"), (_sided("ReLU", a, ("1", "1"), ("0", "0")),))


def _leaky_relu(op: Any, a: float) -> Rules:
    alpha = _number(op.alpha)
    return Rules(Rule(f"max(@a, {alpha} · @a)", rf"\max(@a, {alpha} \cdot @a)") if op.alpha <= 1 else
                 Rule("LeakyReLU(@a)", r"\mathrm{LeakyReLU}(@a)"),
                 (_sided("LeakyReLU", a, ("1", "1"), (alpha, alpha)),))


def _elu(op: Any, a: float) -> Rules:
    alpha = _number(op.alpha)
    forward = (Rule("@a", "@a") if a > 0 else Rule(f"{alpha} · (e^(@a) − 1)", rf"{alpha} \, (e^{{@a}} - 1)"))
    return Rules(forward, (_sided("ELU", a, ("1", "1"), (f"{alpha} · e^(@a)", rf"{alpha} \, e^{{@a}}")),))


def _selu(op: Op, a: float) -> Rules:
    scale, lower = _number(SELU_SCALE), _number(SELU_SCALE * SELU_ALPHA)
    forward = (Rule(f"{scale} · @a", rf"{scale} \cdot @a") if a > 0 else
               Rule(f"{lower} · (e^(@a) − 1)", rf"{lower} \, (e^{{@a}} - 1)"))
    below = (f"{lower} · e^(@a)", rf"{lower} \, e^{{@a}}")
    return Rules(forward, (_sided("SELU", a, (scale, scale), below),))


def _hardswish(op: Op, a: float) -> Rules:
    pieces = [(a <= -3, "0", "0", "@a ≤ −3", r"@a \le -3"), (a >= 3, "1", "1", "@a ≥ 3", r"@a \ge 3"),
              (-3 < a < 3, "(2 · @a + 3)/6", r"\frac{2 \cdot @a + 3}{6}", "−3 < @a < 3", "-3 < @a < 3")]
    return Rules(Rule("@a · min(max(@a + 3, 0), 6)/6", r"@a \cdot \min(\max(@a + 3, 0), 6)/6"),
                 (_pieces("HardSwish", pieces),))


def _dropout(op: Any, a: float) -> Rules:
    scale = f"1/(1 − {_number(op.rate)})"
    latex = rf"\frac{{1}}{{1 - {_number(op.rate)}}}"
    slope = Rule("@m", "@m", f"@m ∈ {{0, {scale}}}", rf"@m \in \{{0, {latex}\}}")
    return Rules(Rule("@m · @a", r"@m \cdot @a"), (slope,))


_FIXED: dict[str, Rules] = {
    "identity": Rules(_same("@a"), (ONE,)),
    "sigmoid": Rules(Rule("σ(@a)", r"\sigma(@a)"), (Rule("@y(1 − @y)", "@y(1 - @y)"),)),
    "tanh": Rules(Rule("tanh(@a)", r"\tanh(@a)"), (Rule("(1 − @y²)", "(1 - @y^2)"),)),
    "softplus": Rules(Rule("ln(1 + e^(@a))", r"\ln(1 + e^{@a})"), (Rule("σ(@a)", r"\sigma(@a)"),)),
    "gelu": Rules(Rule("@a · Φ(@a)", r"@a \, \Phi(@a)"),
                  (_named("GELU", "Φ(@a) + @a · φ(@a)", r"\Phi(@a) + @a \, \varphi(@a)"),)),
    "gelu_tanh": Rules(
        Rule("@a · σ(2u), u = √(2/π)(@a + 0.044715 · (@a)³)",
             r"@a \, \sigma(2u), \; u = \sqrt{2/\pi}\,(@a + 0.044715 \, (@a)^3)"),
        (_named("GELU", "σ(2u) + @a · σ(2u)σ(−2u) · 2u′",
                r"\sigma(2u) + @a \, \sigma(2u)\sigma(-2u) \cdot 2u'"),)),
    "silu": Rules(Rule("@a · σ(@a)", r"@a \, \sigma(@a)"),
                  (_named("SiLU", "σ(@a) + @a · σ(@a)(1 − σ(@a))", r"\sigma(@a) + @a \, \sigma(@a)(1 - \sigma(@a))"),)),
    "mish": Rules(Rule("@a · tanh(ln(1 + e^(@a)))", r"@a \tanh(\ln(1 + e^{@a}))"),
                  (_named("Mish", "τ + @a · (1 − τ²) · σ(@a), τ = tanh(ln(1 + e^(@a)))",
                          r"\tau + @a (1 - \tau^2)\, \sigma(@a), \; \tau = \tanh(\ln(1 + e^{@a}))"),)),
    "flatten": Rules(_same("@a"), (ONE,)),
    "concat": Rules(_same("@a"), (ONE, ONE)),
    "add": Rules(_same("@a + @b"), (ONE, ONE)),
    "mul": Rules(Rule("@a · @b", r"@a \cdot @b"), (_same("@b"), _same("@a"))),
    "sub": Rules(Rule("@a − @b", "@a - @b"), (ONE, Rule("(−1)", "(-1)"))),
    "neg": Rules(Rule("−@a", "-@a"), (Rule("(−1)", "(-1)"),)),
    "div": Rules(Rule("@a / @b", r"\frac{@a}{@b}"),
                 (Rule("(1/@b)", r"\frac{1}{@b}"), Rule("(−@a/@b²)", r"\left(-\frac{@a}{@b^2}\right)"))),
    "exp": Rules(Rule("e^(@a)", "e^{@a}"), (Rule("e^(@a)", "e^{@a}"),)),
    "log": Rules(Rule("ln(@a)", r"\ln(@a)"), (Rule("(1/@a)", r"\frac{1}{@a}"),)),
    "sqrt": Rules(Rule("√(@a)", r"\sqrt{@a}"), (Rule("1/(2√(@a))", r"\frac{1}{2\sqrt{@a}}"),)),
    "sin": Rules(Rule("sin(@a)", r"\sin(@a)"), (Rule("cos(@a)", r"\cos(@a)"),)),
    "cos": Rules(Rule("cos(@a)", r"\cos(@a)"), (Rule("(−sin(@a))", r"(-\sin(@a))"),)),
}
_BY_VALUE: dict[str, Callable[[Op, float], Rules]] = {
    "relu": _relu, "leaky_relu": _leaky_relu, "elu": _elu, "selu": _selu, "hardswish": _hardswish, "dropout": _dropout,
}


def elementwise_rules(op: Op, a: float, b: float | None = None, exponent_is_constant: bool = False) -> Rules:
    """Return the rules of an op that works element by element, for operands of these values."""
    if op.name == "pow":
        return _power(b if exponent_is_constant else None)
    if op.name == "max":
        return _maximum(a, float("nan") if b is None else b)
    if op.name in _BY_VALUE:
        return _BY_VALUE[op.name](op, a)
    if op.name in _FIXED:
        return _FIXED[op.name]
    return Rules(Rule(f"{op.name}(@a)", rf"\mathrm{{{op.name}}}(@a)"), (_named(op.name, "", ""),) * 2)


def _power(n: float | None) -> Rules:
    if n is None:
        return Rules(Rule("(@a)^(@b)", "{@a}^{@b}"),
                     (Rule("@b · (@a)^(@b − 1)", r"@b \, {@a}^{@b - 1}"),
                      Rule("(@a)^(@b) · ln(@a)", r"{@a}^{@b} \ln(@a)")))
    return Rules(_raised(n), (_scaled(n, n - 1),))


def _raised(n: float) -> Rule:
    if n == int(n) and abs(n) < 1000:
        whole = str(int(n))
        return _same("@a") if n == 1 else Rule("@a" + superscript(whole), f"{{@a}}^{{{whole}}}")
    return Rule(f"(@a)^({_number(n)})", f"{{@a}}^{{{number(n, 6, 'latex')}}}")


def _scaled(n: float, power: float) -> Rule:
    """n · a^power."""
    if power == 0:
        return Rule(_number(n), number(n, 6, "latex"))
    base, front, latex = _raised(power), _number(n), number(n, 6, "latex")
    plain = n == int(n) and n >= 0
    text = f"{front}{base.text}" if plain and base.text.startswith("@") else f"{front} · {base.text}"
    latex = f"{latex} {base.latex}"
    return Rule(text, latex) if n >= 0 else Rule(f"({text})", f"({latex})")


def _maximum(a: float, b: float) -> Rules:
    if a == b:
        rules = tuple(Rule("½", r"\tfrac12", "½ (@a = @b)", r"\tfrac12 \quad (@a = @b)") for _ in range(2))
    else:
        sign, latex = (">", ">") if a > b else ("<", "<")
        rules = tuple(Rule(v, v, f"{v} (@a {sign} @b)", rf"{v} \quad (@a {latex} @b)")
                      for v in ("10" if a > b else "01"))
    return Rules(Rule("max(@a, @b)", r"\max(@a, @b)"), rules)


# ---- ops that join the elements of a group ---------------------------------------------------------------------------

def softmax_rules(same: bool) -> Rule:
    """∂y_c/∂x_i of the softmax; @z is y_i."""
    if same:
        return Rule("@y(1 − @y)", "@y(1 - @y)")
    return Rule("(−@y · @z)", r"(-@y \cdot @z)")


def normalization_rule(same: bool, n: int) -> Rule:
    """∂y_c/∂x_i of batch or layer normalisation: @g is γ_c, @s is 1/√(v + ε), @p is x̂_i and @q is x̂_c."""
    first = f"1 − 1/{n}" if same else f"−1/{n}"
    return Rule("@g · @s · κ", r"@g \, @s \, \kappa",
                f"@g · @s · κ, κ = {first} − @p · @q/{n}",
                rf"@g \, @s \, \kappa, \; \kappa = {first.replace('−', '-')} - @p \cdot @q / {n}")


# ---- losses ----------------------------------------------------------------------------------------------------------

def _squared(loss: Any, d: int, t: float, o: float) -> Rule:
    if d == 1:
        return Rule("2(@o − @t)", "2(@o - @t)")
    return Rule(f"(2/{d})(@o − @t)", rf"\tfrac{{2}}{{{d}}}(@o - @t)")


def _mean(d: int) -> tuple[str, str]:
    return (f"(1/{d}) · ", rf"\tfrac{{1}}{{{d}}} ") if d > 1 else ("", "")


def _absolute(loss: Any, d: int, t: float, o: float) -> Rule:
    front, latex = _mean(d)
    return Rule(f"{front}sign(@o − @t)", rf"{latex}\operatorname{{sign}}(@o - @t)")


def _huber(loss: Any, d: int, t: float, o: float) -> Rule:
    front, latex = _mean(d)
    delta = _number(loss.delta)
    if abs(o - t) <= loss.delta:
        return Rule(f"{front}(@o − @t)", f"{latex}(@o - @t)", f"{front}(@o − @t), |@o − @t| ≤ {delta}",
                    rf"{latex}(@o - @t), \; |@o - @t| \le {delta}")
    return Rule(f"{front}{delta} · sign(@o − @t)", rf"{latex}{delta} \operatorname{{sign}}(@o - @t)",
                f"{front}{delta} · sign(@o − @t), |@o − @t| > {delta}",
                rf"{latex}{delta} \operatorname{{sign}}(@o - @t), \; |@o - @t| > {delta}")


def _poisson(loss: Any, d: int, t: float, o: float) -> Rule:
    front, latex = _mean(d)
    return Rule(f"{front}(e^(@o) − @t)", rf"{latex}(e^{{@o}} - @t)")


def _binary(loss: Any, d: int, t: float, o: float) -> Rule:
    front, latex = _mean(d)
    if loss.pos_weight is None:
        return Rule(f"{front}(σ(@o) − @t)", rf"{latex}(\sigma(@o) - @t)")
    return Rule(f"{front}((1 − @t)σ(@o) − @c · @t · σ(−@o))", rf"{latex}((1 - @t)\sigma(@o) - @c \, @t \, \sigma(-@o))")


def _quantile(loss: Any, d: int, t: float, o: float) -> Rule:
    front, latex = _mean(d)
    text, condition = ("(−@c)", "@o < @t") if o < t else ("(1 − @c)", "@o > @t") if o > t else ("0", "@o = @t")
    plain = text.replace("−", "-")
    return Rule(front + text, latex + plain, f"{front}{text} ({condition})", rf"{latex}{plain} \quad ({condition})")


def gaussian_rule(d: int, is_mean: bool) -> Rule:
    """dℓ/dμ and dℓ/ds of the Gaussian likelihood: @m is μ, @s the log-variance."""
    front, latex = _mean(d)
    if is_mean:
        return Rule(f"{front}(@m − @t) · e^(−@s)", rf"{latex}(@m - @t) \, e^{{-@s}}")
    return Rule(f"{front}½(1 − (@t − @m)² · e^(−@s))", rf"{latex}\tfrac12(1 - (@t - @m)^2 e^{{-@s}})")


def _cross_entropy(loss: Any, d: int, t: float, o: float) -> Rule:
    return Rule("(@p − @t)", "(@p - @t)", "@p − @t", "@p - @t")


_LOSSES: dict[type[Loss], tuple[str, str, Callable[[Any, int, float, float], Rule] | None]] = {
    losses.HalfSquaredError: ("½ Σₖ (tₖ − oₖ)²", r"\tfrac12 \sum_k (t_k - o_k)^2",
                              lambda loss, d, t, o: Rule("−(@t − @o)", "-(@t - @o)")),
    losses.MSE: ("1/{d} · Σₖ (oₖ − tₖ)²", r"\tfrac{{1}}{{{d}}} \sum_k (o_k - t_k)^2", _squared),
    losses.MAE: ("1/{d} · Σₖ |oₖ − tₖ|", r"\tfrac{{1}}{{{d}}} \sum_k |o_k - t_k|", _absolute),
    losses.Huber: ("1/{d} · Σₖ mₖ(|oₖ − tₖ| − ½mₖ), mₖ = min(|oₖ − tₖ|, {delta})",
                   r"\tfrac{{1}}{{{d}}} \sum_k m_k (|o_k - t_k| - \tfrac12 m_k), \; m_k = \min(|o_k - t_k|, {delta})",
                   _huber),
    losses.Quantile: ("1/{d} · Σₖ max(q(tₖ − oₖ), (q − 1)(tₖ − oₖ))",
                      r"\tfrac{{1}}{{{d}}} \sum_k \max(q(t_k - o_k), (q - 1)(t_k - o_k))", _quantile),
    losses.PoissonNLL: ("1/{d} · Σₖ (e^oₖ − tₖoₖ)", r"\tfrac{{1}}{{{d}}} \sum_k (e^{{o_k}} - t_k o_k)", _poisson),
    losses.GaussianNLL: ("1/{d} · Σₖ ½(sₖ + (tₖ − μₖ)² e^(−sₖ))",
                         r"\tfrac{{1}}{{{d}}} \sum_k \tfrac12 (s_k + (t_k - \mu_k)^2 e^{{-s_k}})", None),
    losses.BinaryCrossEntropy: ("−1/{d} · Σₖ (p tₖ ln σ(oₖ) + (1 − tₖ) ln(1 − σ(oₖ)))",
                                r"-\tfrac{{1}}{{{d}}} \sum_k "
                                r"(p \, t_k \ln \sigma(o_k) + (1 - t_k) \ln(1 - \sigma(o_k)))",
                                _binary),
    losses.CrossEntropy: ("−Σₖ tₖ ln pₖ, p = softmax(o)", r"-\sum_k t_k \ln p_k, \; p = \mathrm{{softmax}}(o)",
                          _cross_entropy),
}


def loss_formula(loss: Loss, d: int) -> tuple[str, str]:
    """Return the formula of the loss of one sample with d outputs, in text and LaTeX."""
    if type(loss) not in _LOSSES:
        return f"{type(loss).__name__}(o, t)", rf"\mathrm{{{type(loss).__name__}}}(o, t)"
    text, latex, _ = _LOSSES[type(loss)]
    delta = _number(getattr(loss, "delta", 0.0))
    text, latex = text.format(d=d, delta=delta), latex.format(d=d, delta=delta)
    if isinstance(loss, losses.BinaryCrossEntropy) and loss.pos_weight is None:
        text, latex = text.replace("p tₖ", "tₖ"), latex.replace(r"p \, t_k", "t_k")
    return text.replace("1/1 · ", ""), latex.replace(r"\tfrac{1}{1} ", "")


def loss_rule(loss: Loss, d: int, t: float, o: float) -> Rule:
    """Return dℓ/do for one output of d; @c is the loss's own constant: a weight of positives, a quantile."""
    _, _, rule = _LOSSES.get(type(loss), ("", "", None))
    return Rule("ℓ′(@o)", r"\ell'(@o)") if rule is None else rule(loss, d, t, o)


def expanded_loss(loss: Loss, d: int) -> Rule | None:
    """Return the loss of one sample with each output written out, @o0, @t0, …; None where that is no gain."""
    if d > 3:
        return None
    if isinstance(loss, losses.HalfSquaredError):
        return Rule(" + ".join(f"½(@t{k} − @o{k})²" for k in range(d)),
                    " + ".join(rf"\tfrac12(@t{k} - @o{k})^2" for k in range(d)))
    if isinstance(loss, losses.MSE):
        text = " + ".join(f"(@o{k} − @t{k})²" for k in range(d))
        latex = text.replace("−", "-").replace("²", "^2")
        return Rule(f"1/{d} · ({text})", rf"\tfrac{{1}}{{{d}}} ({latex})") if d > 1 else Rule(text, latex)
    return None
