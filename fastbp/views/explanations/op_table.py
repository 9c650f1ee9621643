"""How each op is written down in explanations: one row an op. What has no formula says why.

A new op needs a row; ops of the users' own take the row of the class that they derive from.
"""

from __future__ import annotations

from typing import Any

from fastbp.ops import activations as act
from fastbp.ops import scalar
from fastbp.ops.attention import AttentionOp
from fastbp.ops.base import Op
from fastbp.ops.batch_norm import BatchNormOp
from fastbp.ops.concat import ConcatOp
from fastbp.ops.conv import ConvOp
from fastbp.ops.conv_transpose import ConvTransposeOp
from fastbp.ops.custom import PythonOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.elementwise import AddOp, MulOp
from fastbp.ops.embedding import EmbeddingOp
from fastbp.ops.flatten import FlattenOp
from fastbp.ops.glu import GLUOp, SwiGLUOp
from fastbp.ops.group_norm import GroupNormOp
from fastbp.ops.layer_norm import LayerNormOp
from fastbp.ops.linear import LinearOp
from fastbp.ops.pool import AvgPoolOp, GlobalAvgPoolOp, MaxPoolOp
from fastbp.ops.positions import PositionsOp
from fastbp.ops.prelu import PReLUOp
from fastbp.ops.recurrent import GRUOp, LSTMOp, RNNOp
from fastbp.ops.reshape import PermuteOp, ReshapeOp
from fastbp.ops.rms_norm import RMSNormOp
from fastbp.ops.rotary import RotaryOp
from fastbp.ops.slice import SliceOp
from fastbp.ops.softmax import SoftmaxOp
from fastbp.ops.upsample import UpsampleOp
from fastbp.views.explanations.accounts import (
    Account,
    Affine,
    Masked,
    Moved,
    Normalization,
    Opaque,
    Pointwise,
    Softmax,
)
from fastbp.views.explanations.rules import ONE, Rule, Rules, named, pieces, same, sided, six
from fastbp.views.explanations.symbols import number, superscript

Values = tuple[float, ...]
Plain = tuple[bool, ...]


# ---- functions whose formula depends on where they are ---------------------------------------------------------------


def _relu(op: Op, values: Values, plain: Plain) -> Rules:
    return Rules(Rule("max(0, @a)", r"\max(0, @a)"), (sided("ReLU", values[0], ("1", "1"), ("0", "0")),))


def _leaky_relu(op: Any, values: Values, plain: Plain) -> Rules:
    alpha = six(op.alpha)
    return Rules(Rule(f"max(@a, {alpha} · @a)", rf"\max(@a, {alpha} \cdot @a)") if op.alpha <= 1 else
                 Rule("LeakyReLU(@a)", r"\mathrm{LeakyReLU}(@a)"),
                 (sided("LeakyReLU", values[0], ("1", "1"), (alpha, alpha)),))


def _elu(op: Any, values: Values, plain: Plain) -> Rules:
    alpha, above = six(op.alpha), values[0] > 0
    forward = Rule("@a", "@a") if above else Rule(f"{alpha} · (e^(@a) − 1)", rf"{alpha} \, (e^{{@a}} - 1)")
    below = (f"{alpha} · e^(@a)", rf"{alpha} \, e^{{@a}}")
    return Rules(forward, (sided("ELU", values[0], ("1", "1"), below),))


def _selu(op: Op, values: Values, plain: Plain) -> Rules:
    scale, lower = six(act.SELU_SCALE), six(act.SELU_SCALE * act.SELU_ALPHA)
    forward = (Rule(f"{scale} · @a", rf"{scale} \cdot @a") if values[0] > 0 else
               Rule(f"{lower} · (e^(@a) − 1)", rf"{lower} \, (e^{{@a}} - 1)"))
    below = (f"{lower} · e^(@a)", rf"{lower} \, e^{{@a}}")
    return Rules(forward, (sided("SELU", values[0], (scale, scale), below),))


def _hardswish(op: Op, values: Values, plain: Plain) -> Rules:
    a = values[0]
    slope = pieces("HardSwish", (a <= -3, "0", "0", "@a ≤ −3", r"@a \le -3"),
                   (a >= 3, "1", "1", "@a ≥ 3", r"@a \ge 3"),
                   (-3 < a < 3, "(2 · @a + 3)/6", r"\frac{2 \cdot @a + 3}{6}", "−3 < @a < 3", "-3 < @a < 3"))
    return Rules(Rule("@a · min(max(@a + 3, 0), 6)/6", r"@a \cdot \min(\max(@a + 3, 0), 6)/6"), (slope,))


def _dropout(op: Any, values: Values, plain: Plain) -> Rules:
    scale, latex = f"1/(1 − {six(op.rate)})", rf"\frac{{1}}{{1 - {six(op.rate)}}}"
    slope = Rule("@m", "@m", f"@m ∈ {{0, {scale}}}", rf"@m \in \{{0, {latex}\}}")
    return Rules(Rule("@m · @a", r"@m \cdot @a"), (slope,))


def _max(op: Op, values: Values, plain: Plain) -> Rules:
    a, b = values
    if a == b:
        slopes = tuple(Rule("½", r"\tfrac12", "½ (@a = @b)", r"\tfrac12 \quad (@a = @b)") for _ in range(2))
    else:
        sign = ">" if a > b else "<"
        slopes = tuple(Rule(v, v, f"{v} (@a {sign} @b)", rf"{v} \quad (@a {sign} @b)")
                       for v in ("10" if a > b else "01"))
    return Rules(Rule("max(@a, @b)", r"\max(@a, @b)"), slopes)


def _pow(op: Op, values: Values, plain: Plain) -> Rules:
    if plain[1]:
        return Rules(_raised(values[1]), (_scaled(values[1], values[1] - 1),))
    return Rules(Rule("(@a)^(@b)", "{@a}^{@b}"),
                 (Rule("@b · (@a)^(@b − 1)", r"@b \, {@a}^{@b - 1}"),
                  Rule("(@a)^(@b) · ln(@a)", r"{@a}^{@b} \ln(@a)")))


def _raised(n: float) -> Rule:
    if n == int(n) and abs(n) < 1000:
        whole = str(int(n))
        return same("@a") if n == 1 else Rule("@a" + superscript(whole), f"{{@a}}^{{{whole}}}")
    return Rule(f"(@a)^({six(n)})", f"{{@a}}^{{{number(n, 6, 'latex')}}}")


def _scaled(n: float, power: float) -> Rule:
    """n · a^power."""
    if power == 0:
        return Rule(six(n), number(n, 6, "latex"))
    base, front, latex = _raised(power), six(n), number(n, 6, "latex")
    plain = n == int(n) and n >= 0
    text = f"{front}{base.text}" if plain and base.text.startswith("@") else f"{front} · {base.text}"
    latex = f"{latex} {base.latex}"
    return Rule(text, latex) if n >= 0 else Rule(f"({text})", f"({latex})")


def _unknown(op: Op, values: Values, plain: Plain) -> Rules:
    """Return what stands for a function of the user's own: its name."""
    name = "".join(c for c in op.name if c.isalnum())
    operands = ", ".join("@" + letter for letter in "abcdefgh"[:len(values)])
    return Rules(Rule(f"{name}({operands})", rf"\mathrm{{{name}}}({operands})"), (named(name),) * len(values))


# ---- the rows --------------------------------------------------------------------------------------------------------

ACCOUNTS: dict[type, Account] = {
    # sums of products
    LinearOp: Affine(),
    # activations: what follows them is called h
    act.IdentityOp: Pointwise(Rules(same("@a"), (ONE,)), "h"),
    act.ReLUOp: Pointwise(_relu, "h"),
    act.LeakyReLUOp: Pointwise(_leaky_relu, "h"),
    act.ELUOp: Pointwise(_elu, "h"),
    act.SELUOp: Pointwise(_selu, "h"),
    act.HardSwishOp: Pointwise(_hardswish, "h"),
    act.SigmoidOp: Pointwise(Rules(Rule("σ(@a)", r"\sigma(@a)"), (Rule("@y(1 − @y)", "@y(1 - @y)"),)), "h"),
    act.TanhOp: Pointwise(Rules(Rule("tanh(@a)", r"\tanh(@a)"), (Rule("(1 − @y²)", "(1 - {@y}^2)"),)), "h"),
    act.SoftplusOp: Pointwise(Rules(Rule("ln(1 + e^(@a))", r"\ln(1 + e^{@a})"), (Rule("σ(@a)", r"\sigma(@a)"),)), "h"),
    act.GELUOp: Pointwise(Rules(
        Rule("@a · Φ(@a)", r"@a \, \Phi(@a)"),
        (named("GELU", "Φ(@a) + @a · φ(@a)", r"\Phi(@a) + @a \, \varphi(@a)"),)), "h"),
    act.GELUTanhOp: Pointwise(Rules(
        Rule("@a · σ(2u), u = √(2/π)(@a + 0.044715 · (@a)³)",
             r"@a \, \sigma(2u), \; u = \sqrt{2/\pi}\,(@a + 0.044715 \, (@a)^3)"),
        (named("GELU", "σ(2u) + @a · σ(2u)σ(−2u) · 2u′, u = √(2/π)(@a + 0.044715 · (@a)³), "
                       "u′ = √(2/π)(1 + 0.134145 · (@a)²)",
               r"\sigma(2u) + @a \, \sigma(2u)\sigma(-2u) \cdot 2u', \; u = \sqrt{2/\pi}\,(@a + 0.044715 \, (@a)^3), "
               r"\; u' = \sqrt{2/\pi}\,(1 + 0.134145 \, (@a)^2)"),)), "h"),
    act.SiLUOp: Pointwise(Rules(
        Rule("@a · σ(@a)", r"@a \, \sigma(@a)"),
        (named("SiLU", "σ(@a) + @a · σ(@a)(1 − σ(@a))", r"\sigma(@a) + @a \, \sigma(@a)(1 - \sigma(@a))"),)), "h"),
    act.MishOp: Pointwise(Rules(
        Rule("@a · tanh(ln(1 + e^(@a)))", r"@a \tanh(\ln(1 + e^{@a}))"),
        (named("Mish", "τ + @a · (1 − τ²) · σ(@a), τ = tanh(ln(1 + e^(@a)))",
               r"\tau + @a (1 - \tau^2)\, \sigma(@a), \; \tau = \tanh(\ln(1 + e^{@a}))"),)), "h"),
    SoftmaxOp: Softmax("p"),
    DropoutOp: Masked(_dropout, "d", ("dropout",)),
    # normalisations
    BatchNormOp: Normalization("n", mixes_rows=True, notes=("mixed",)),
    LayerNormOp: Normalization("n"),
    # elements in another place
    FlattenOp: Moved("f"),
    ConcatOp: Moved("c"),
    # images and sequences: sums of products over windows, steps and heads
    ConvOp: Opaque("a convolution is a sum over windows, which is not written out"),
    ConvTransposeOp: Opaque("a transposed convolution is a sum over windows, which is not written out"),
    MaxPoolOp: Opaque("the largest value of a window is not written out"),
    AvgPoolOp: Opaque("the mean of a window is not written out"),
    GlobalAvgPoolOp: Opaque("the mean over all positions is not written out"),
    UpsampleOp: Opaque("interpolation is not written out"),
    RNNOp: Opaque("steps in time are not written out"),
    GRUOp: Opaque("steps in time are not written out"),
    LSTMOp: Opaque("steps in time are not written out"),
    AttentionOp: Opaque("attention is not written out"),
    RotaryOp: Opaque("turns by position are not written out"),
    PositionsOp: Opaque("vectors of positions are not written out"),
    GLUOp: Opaque("gates are not written out"),
    SwiGLUOp: Opaque("gates are not written out"),
    PReLUOp: Opaque("learnt slopes are not written out"),
    RMSNormOp: Opaque("normalisation by the root of a mean square is not written out"),
    GroupNormOp: Opaque("normalisation of groups is not written out"),
    ReshapeOp: Moved("f"),
    PermuteOp: Moved("f"),
    SliceOp: Moved("f"),
    # arithmetic
    AddOp: Pointwise(Rules(same("@a + @b"), (ONE, ONE)), "s"),
    MulOp: Pointwise(Rules(Rule("@a · @b", r"@a \cdot @b"), (same("@b"), same("@a"))), "m"),
    # none
    EmbeddingOp: Opaque("ids choose rows of a table"),
    # none: users' own
    PythonOp: Opaque("a layer of your own brings no formulas"),
    act.ActivationOp: Pointwise(_unknown, "h"),
    scalar.ScalarOp: Pointwise(_unknown),
    Op: Opaque("an op of your own brings no formulas"),
}


# of the table of scalar functions, by name
SCALAR_ACCOUNTS: dict[str, Account] = {
    "sub": Pointwise(Rules(Rule("@a − @b", "@a - @b"), (ONE, Rule("(−1)", "(-1)")))),
    "neg": Pointwise(Rules(Rule("−@a", "-@a"), (Rule("(−1)", "(-1)"),))),
    "div": Pointwise(Rules(
        Rule("@a / @b", r"\frac{@a}{@b}"),
        (Rule("(1/@b)", r"\frac{1}{@b}"), Rule("(−@a/@b²)", r"\left(-\frac{@a}{{@b}^2}\right)")))),
    "pow": Pointwise(_pow),
    "exp": Pointwise(Rules(Rule("e^(@a)", "e^{@a}"), (Rule("e^(@a)", "e^{@a}"),))),
    "log": Pointwise(Rules(Rule("ln(@a)", r"\ln(@a)"), (Rule("(1/@a)", r"\frac{1}{@a}"),))),
    "sqrt": Pointwise(Rules(Rule("√(@a)", r"\sqrt{@a}"), (Rule("1/(2√(@a))", r"\frac{1}{2\sqrt{@a}}"),))),
    "sin": Pointwise(Rules(Rule("sin(@a)", r"\sin(@a)"), (Rule("cos(@a)", r"\cos(@a)"),))),
    "cos": Pointwise(Rules(Rule("cos(@a)", r"\cos(@a)"), (Rule("(−sin(@a))", r"(-\sin(@a))"),))),
    "max": Pointwise(_max),
}


def account_of(op: Op) -> Account:
    """Return the row of an op, or of the nearest class that it derives from."""
    if isinstance(op, scalar.ScalarOp) and op.function in SCALAR_ACCOUNTS:
        return SCALAR_ACCOUNTS[op.function]
    return next(ACCOUNTS[kind] for kind in type(op).__mro__ if kind in ACCOUNTS)
