"""How each op is written down in explanations: one row an op. What has no formula says why.

A new op needs a row; ops of the users' own take the row of the class that they derive from.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

from fastbp.ops import activations as act
from fastbp.ops import linalg, over_rows, pairs, random, reduce, reshape, sort, sources, structure
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
from fastbp.ops.grouped_linear import GroupedLinearOp
from fastbp.ops.layer_norm import LayerNormOp
from fastbp.ops.linear import LinearBackOp, LinearOp
from fastbp.ops.periodic import PeriodicOp
from fastbp.ops.piecewise_linear import PiecewiseLinearOp
from fastbp.ops.pool import AvgPoolOp, GlobalAvgPoolOp, MaxPoolOp
from fastbp.ops.positions import PositionsOp
from fastbp.ops.prelu import PReLUOp
from fastbp.ops.recurrent import GRUOp, LSTMOp, RNNOp
from fastbp.ops.rms_norm import RMSNormOp
from fastbp.ops.rotary import RotaryOp
from fastbp.ops.scalar import ScalarOp
from fastbp.ops.scale import ScaleOp
from fastbp.ops.slice import SliceOp
from fastbp.ops.softmax import SoftmaxOp
from fastbp.ops.sparse_linear import SparseLinearOp
from fastbp.ops.upsample import UpsampleOp
from fastbp.views.explanations.accounts import Account, Opaque
from fastbp.views.explanations.pointwise import Given, Masked, Moved, OfTable, Pointwise
from fastbp.views.explanations.rules import ONE, Rule, Rules, named, pieces, same, sided, six
from fastbp.views.explanations.sums import Affine, NormalizedGroup, Reduced, SoftmaxGroup
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
    SoftmaxOp: SoftmaxGroup("p"),
    DropoutOp: Masked(_dropout, "d", ("dropout",)),
    # normalisations
    BatchNormOp: NormalizedGroup("n", mixes_rows=True, notes=("mixed",)),
    LayerNormOp: NormalizedGroup("n"),
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
    EmbeddingOp: Opaque("rows of a table, chosen by ids, are not written out"),
    LinearBackOp: Opaque("the way back through a linear op is not written out"),
    SparseLinearOp: Opaque("sums over what is not 0 are not written out"),
    GroupedLinearOp: Opaque("sums within groups are not written out"),
    ScaleOp: Opaque("a scale of each feature is not written out"),
    PeriodicOp: Opaque("waves of a feature are not written out"),
    PiecewiseLinearOp: Opaque("pieces of a feature are not written out"),
    # elements in another place, of whole arrays
    reshape.ReshapeOp: Moved("f"),
    reshape.PermuteOp: Moved("f"),
    SliceOp: Moved("f"),
    structure.ReshapeOp: Moved(),
    structure.TransposeOp: Moved(),
    structure.BroadcastOp: Moved(),
    structure.IndexOp: Moved(),
    structure.PlaceOp: Moved(),
    structure.TakeOp: Moved(),
    structure.TakeAlongOp: Moved(),
    structure.JoinOp: Moved(),
    structure.PadOp: Moved(bare=lambda op: replace(op, constant=0.0)),
    structure.TakeBackOp: Opaque("where its sums come from is not written out"),
    structure.TakeAlongBackOp: Opaque("where its sums come from is not written out"),
    # arithmetic
    AddOp: Pointwise(Rules(same("@a + @b"), (ONE, ONE)), "s"),
    MulOp: Pointwise(Rules(Rule("@a · @b", r"@a \cdot @b"), (same("@b"), same("@a"))), "m"),
    # sums and products of arrays
    reduce.ReduceOp: Reduced(),
    over_rows.ReduceRowsOp: Opaque("plans make it of a reduction"),
    over_rows.SpreadRowsOp: Opaque("plans make it of a broadcast"),
    pairs.PairProductOp: Opaque("plans make it of a product"),
    pairs.AllRowsOp: Opaque("plans make it of an index"),
    pairs.RowNumberOp: Opaque("plans make it of running sums"),
    reduce.ProductOp: Opaque("its products are not written out"),
    reduce.CumsumOp: Opaque("its sums are not written out"),
    sort.ArgsortOp: Opaque("an order has no formula"),
    **dict.fromkeys((linalg.InverseOp, linalg.SolveOp, linalg.DeterminantOp, linalg.CholeskyOp),
                    Opaque("what it makes of a matrix is not written out")),
    reduce.MatmulOp: Opaque("its sums of products are not written out"),
    reduce.EinsumOp: Opaque("its sums of products are not written out"),
    # what expressions begin with, and what they are cut off by
    sources.ConstantOp: Given("constant"),
    sources.ParameterOp: Given("parameter", "θ"),
    random.RandomOp: Given("random number"),
    sources.FillOp: Given("constant"),
    sources.RowsOp: Given("number of rows"),
    sources.TrainingOp: Given("training"),
    sources.StopGradientOp: Pointwise(Rules(same("@a"), (ONE,))),
    sources.CastOp: Pointwise(Rules(same("@a"), (ONE,))),
    # none: users' own
    PythonOp: Opaque("a layer of your own brings no formulas"),
    act.ActivationOp: Pointwise(_unknown, "h"),
    ScalarOp: OfTable(_unknown),
    Op: Opaque("an op of your own brings no formulas"),
}


# ---- the table of scalar functions, by name --------------------------------------------------------------------------


def _min(op: Op, values: Values, plain: Plain) -> Rules:
    rules = _max(op, (-values[0], -values[1]), plain)
    turned = tuple(replace(r, long_text=r.long_text.translate(_TURNED), long_latex=r.long_latex.translate(_TURNED))
                   for r in rules.derivatives)
    return Rules(Rule("min(@a, @b)", r"\min(@a, @b)"), turned)


_TURNED = str.maketrans("<>", "><")


def _clip(op: Op, values: Values, plain: Plain) -> Rules:
    a, low, high = values
    text, latex = (("@a < @b", "@a < @b") if a < low else ("@a > @c", "@a > @c") if a > high else
                   ("@b ≤ @a ≤ @c", r"@b \le @a \le @c"))
    slopes = (float(low <= a <= high), float(a < low <= high), float(a > high or low > high))
    return Rules(Rule("min(max(@a, @b), @c)", r"\min(\max(@a, @b), @c)"),
                 tuple(Rule(six(v), six(v), f"{six(v)} ({text})", rf"{six(v)} \quad ({latex})") for v in slopes))


def _where(op: Op, values: Values, plain: Plain) -> Rules:
    chosen = "b" if values[0] else "c"
    return Rules(same(f"@{chosen}"), (Rule("0", "0"), *(same(str(int(letter == chosen))) for letter in "bc")))


def _nan_to_num(op: Op, values: Values, plain: Plain) -> Rules:
    return Rules(same("@a"), (ONE,)) if abs(values[0]) < inf else Rules(same("@y"), (same("0"),))


def _written(text: str, latex: str, *slopes: tuple[str, str]) -> OfTable:
    """Return the row of a function with one formula for it, and one for each derivative."""
    return OfTable(Rules(Rule(text, latex), tuple(Rule(*slope) for slope in slopes)))


def _flat(text: str, latex: str) -> OfTable:
    """Return the row of a function that has no derivative: it is constant in between its jumps."""
    return _written(text, latex, ("0", "0"), ("0", "0"))


_ONE, _MINUS = ("1", "1"), ("(−1)", "(-1)")
SCALAR_ACCOUNTS: dict[str, Account] = {
    "add": _written("@a + @b", "@a + @b", _ONE, _ONE),
    "sub": _written("@a − @b", "@a - @b", _ONE, _MINUS),
    "mul": _written("@a · @b", r"@a \cdot @b", ("@b", "@b"), ("@a", "@a")),
    "div": _written("@a / @b", r"\frac{@a}{@b}", ("(1/@b)", r"\frac{1}{@b}"),
                    ("(−@a/@b²)", r"\left(-\frac{@a}{{@b}^2}\right)")),
    "neg": _written("−@a", "-@a", _MINUS),
    "pow": OfTable(_pow),
    "square": _written("@a²", "{@a}^{2}", ("2@a", "2 @a")),
    "reciprocal": _written("1/@a", r"\frac{1}{@a}", ("(−1/@a²)", r"\left(-\frac{1}{{@a}^2}\right)")),
    "sqrt": _written("√(@a)", r"\sqrt{@a}", ("1/(2√(@a))", r"\frac{1}{2\sqrt{@a}}")),
    "exp": _written("e^(@a)", "e^{@a}", ("e^(@a)", "e^{@a}")),
    "expm1": _written("e^(@a) − 1", "e^{@a} - 1", ("e^(@a)", "e^{@a}")),
    "exp2": _written("(2)^(@a)", "2^{@a}", ("(2)^(@a) · ln(2)", r"2^{@a} \ln(2)")),
    "log": _written("ln(@a)", r"\ln(@a)", ("(1/@a)", r"\frac{1}{@a}")),
    "log1p": _written("ln(1 + @a)", r"\ln(1 + @a)", ("1/(1 + @a)", r"\frac{1}{1 + @a}")),
    "log2": _written("ln(@a)/ln(2)", r"\log_2(@a)", ("1/(@a · ln(2))", r"\frac{1}{@a \ln(2)}")),
    "log10": _written("ln(@a)/ln(10)", r"\log_{10}(@a)", ("1/(@a · ln(10))", r"\frac{1}{@a \ln(10)}")),
    "sin": _written("sin(@a)", r"\sin(@a)", ("cos(@a)", r"\cos(@a)")),
    "cos": _written("cos(@a)", r"\cos(@a)", ("(−sin(@a))", r"(-\sin(@a))")),
    "tan": _written("tan(@a)", r"\tan(@a)", ("(1 + @y²)", "(1 + {@y}^2)")),
    "arctan": _written("arctan(@a)", r"\arctan(@a)", ("1/(1 + @a²)", r"\frac{1}{1 + {@a}^2}")),
    "arcsin": _written("arcsin(@a)", r"\arcsin(@a)", ("1/√(1 − @a²)", r"\frac{1}{\sqrt{1 - {@a}^2}}")),
    "arccos": _written("arccos(@a)", r"\arccos(@a)", ("(−1/√(1 − @a²))", r"\left(-\frac{1}{\sqrt{1 - {@a}^2}}\right)")),
    "arctan2": _written("arctan2(@a, @b)", r"\operatorname{arctan2}(@a, @b)",
                        ("@b/(@a² + @b²)", r"\frac{@b}{{@a}^2 + {@b}^2}"),
                        ("(−@a/(@a² + @b²))", r"\left(-\frac{@a}{{@a}^2 + {@b}^2}\right)")),
    "hypot": _written("√(@a² + @b²)", r"\sqrt{{@a}^2 + {@b}^2}", ("@a/@y", r"\frac{@a}{@y}"),
                      ("@b/@y", r"\frac{@b}{@y}")),
    "arcsinh": _written("arcsinh(@a)", r"\operatorname{arcsinh}(@a)", ("1/√(@a² + 1)", r"\frac{1}{\sqrt{{@a}^2 + 1}}")),
    "arccosh": _written("arccosh(@a)", r"\operatorname{arccosh}(@a)", ("1/√(@a² − 1)", r"\frac{1}{\sqrt{{@a}^2 - 1}}")),
    "arctanh": _written("arctanh(@a)", r"\operatorname{arctanh}(@a)", ("1/(1 − @a²)", r"\frac{1}{1 - {@a}^2}")),
    "cbrt": _written("∛(@a)", r"\sqrt[3]{@a}", ("1/(3@y²)", r"\frac{1}{3 {@y}^2}")),
    "sinh": _written("sinh(@a)", r"\sinh(@a)", ("cosh(@a)", r"\cosh(@a)")),
    "cosh": _written("cosh(@a)", r"\cosh(@a)", ("sinh(@a)", r"\sinh(@a)")),
    "tanh": _written("tanh(@a)", r"\tanh(@a)", ("(1 − @y²)", "(1 - {@y}^2)")),
    "erf": _written("erf(@a)", r"\operatorname{erf}(@a)",
                    ("2/√(π) · e^(−(@a)²)", r"\tfrac{2}{\sqrt{\pi}} \, e^{-(@a)^2}")),
    "normal_cdf": _written("Φ(@a)", r"\Phi(@a)", ("φ(@a)", r"\varphi(@a)")),
    "sigmoid": _written("σ(@a)", r"\sigma(@a)", ("@y(1 − @y)", "@y(1 - @y)")),
    "softplus": _written("ln(1 + e^(@a))", r"\ln(1 + e^{@a})", ("σ(@a)", r"\sigma(@a)")),
    "logaddexp": _written("ln(e^(@a) + e^(@b))", r"\ln(e^{@a} + e^{@b})", ("σ(@a − @b)", r"\sigma(@a - @b)"),
                          ("σ(@b − @a)", r"\sigma(@b - @a)")),
    "abs": _written("|@a|", "|@a|", ("sign(@a)", r"\operatorname{sign}(@a)")),
    "max": OfTable(_max),
    "min": OfTable(_min),
    "clip": OfTable(_clip),
    "where": OfTable(_where),
    "mod": _written("@a mod @b", r"@a \bmod @b", _ONE, ("(−floor(@a / @b))", r"(-\lfloor @a / @b \rfloor)")),
    "sign": _flat("sign(@a)", r"\operatorname{sign}(@a)"),
    "floor": _flat("floor(@a)", r"\lfloor @a \rfloor"),
    "ceil": _flat("ceil(@a)", r"\lceil @a \rceil"),
    "rint": _flat("round(@a)", r"\operatorname{round}(@a)"),
    "trunc": _flat("trunc(@a)", r"\operatorname{trunc}(@a)"),
    "nan_to_num": OfTable(_nan_to_num),
    "floor_div": _flat("floor(@a / @b)", r"\lfloor @a / @b \rfloor"),
    "less": _flat("@a < @b", "@a < @b"), "less_equal": _flat("@a ≤ @b", r"@a \le @b"),
    "greater": _flat("@a > @b", "@a > @b"), "greater_equal": _flat("@a ≥ @b", r"@a \ge @b"),
    "equal": _flat("@a = @b", "@a = @b"), "not_equal": _flat("@a ≠ @b", r"@a \ne @b"),
    "and": _flat("@a and @b", r"@a \land @b"), "or": _flat("@a or @b", r"@a \lor @b"),
    "xor": _flat("@a or @b, not both", r"@a \oplus @b"), "not": _flat("not @a", r"\lnot @a"),
    "isnan": _flat("@a is NaN", r"@a = \mathrm{NaN}"), "isfinite": _flat("@a is finite", r"|@a| < \infty"),
}


def account_of(op: Op) -> Account:
    """Return the row of an op, or of the nearest class that it derives from."""
    if isinstance(op, ScalarOp) and op.function in SCALAR_ACCOUNTS:
        return SCALAR_ACCOUNTS[op.function]
    return next(ACCOUNTS[kind] for kind in type(op).__mro__ if kind in ACCOUNTS)
