"""What each op is in ONNX, in prediction mode: one row an op, in terms of the operators of opset 20.

ONNX Runtime has many operators for float32 alone, and ONNX holds attributes as float32. So in float64 what needs such
an operator or attribute is written out with others, from the same formulas as the op's own (``fastbp/ops``).
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any

import numpy as np

from fastbp.files import onnx_arrays as arrays
from fastbp.files import onnx_formulas as formulas
from fastbp.files.onnx_functions import scalar
from fastbp.files.onnx_sequences import TABLE as SEQUENCES
from fastbp.files.onnx_writer import Rule, Writer
from fastbp.files.rows import Nothing
from fastbp.ops import activations as acts
from fastbp.ops import linalg, random, reduce, sort, sources, structure
from fastbp.ops.base import Op
from fastbp.ops.batch_norm import BatchNormOp
from fastbp.ops.concat import ConcatOp
from fastbp.ops.custom import PythonOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.elementwise import AddOp, MulOp
from fastbp.ops.embedding import EmbeddingOp
from fastbp.ops.flatten import FlattenOp
from fastbp.ops.grouped_linear import GroupedLinearOp
from fastbp.ops.layer_norm import LayerNormOp
from fastbp.ops.linear import LinearBackOp, LinearOp
from fastbp.ops.periodic import PeriodicOp
from fastbp.ops.piecewise_linear import PiecewiseLinearOp
from fastbp.ops.scalar import ScalarOp
from fastbp.ops.scale import ScaleOp
from fastbp.ops.softmax import SoftmaxOp

_FAR = 1e3      # below minus this the factor is 0, and -inf times 0 is NaN


def _same(operator: str, attributes: Callable[[Any], dict[str, Any]] = lambda op: {}) -> Rule:
    """Return the rule of an op that ONNX has as it is, in both dtypes."""
    return lambda w, op, xs: w(operator, *xs, **attributes(op))


def _single(operator: str, double: Rule, attributes: Callable[[Any], dict[str, Any]] = lambda op: {}) -> Rule:
    """Return the rule of an op that ONNX has, for float32; another one holds for float64."""
    return lambda w, op, xs: (double if w.double else _same(operator, attributes))(w, op, xs)


def _nothing(w: Writer, op: Op, xs: list[str]) -> str:
    return xs[0]


# ---- with parameters -------------------------------------------------------------------------------------------------


def _linear(w: Writer, op: LinearOp, xs: list[str]) -> str:
    product = w("MatMul", *xs, w.parameter("weight"))
    return w("Add", product, w.parameter("bias")) if op.bias else product


def _grouped_linear(w: Writer, op: GroupedLinearOp, xs: list[str]) -> str:
    product = w("MatMul", w("Unsqueeze", *xs, np.array([-2])), w.parameter("weight"))
    y = w("Squeeze", product, np.array([-2]))
    return w("Add", y, w.parameter("bias")) if op.bias else y


def _scale(w: Writer, op: ScaleOp, xs: list[str]) -> str:
    return w("Mul", w("Unsqueeze", *xs, np.array([1])) if op.members else xs[0], w.parameter("weight"))


def _embedding(w: Writer, op: EmbeddingOp, xs: list[str]) -> str:
    if op.padding_idx is None:
        table: Any = w.parameter("weight")
    else:
        table = w.values("weight").copy()
        table[[start + op.padding_idx for start in op.offsets]] = 0
    if not op.tables:
        return w("Gather", table, *xs, axis=0)
    (shape,) = (t.shape for t in w.node.inputs)
    y = w("Gather", table, w("Add", *xs, np.array(op.offsets)), axis=0)
    return w("Reshape", y, np.array([-1, *op.output_shape(shape)]))


def _batch_norm(w: Writer, op: BatchNormOp, xs: list[str]) -> str:
    """The multiplication and the addition that it is, for axes other than ONNX's channel axis too."""
    scale = w.values("weight") / np.sqrt(w.values("running_var") + op.eps)
    return w("Add", w("Mul", *xs, scale), w.values("bias") - w.values("running_mean") * scale)


def _layer_norm(w: Writer, op: LayerNormOp, xs: list[str]) -> str:
    weight, bias = w.parameter("weight"), w.parameter("bias")
    if not w.double:
        return w("LayerNormalization", *xs, weight, bias, axis=-1, epsilon=op.eps)
    deviation = w("Sub", *xs, w.mean(xs[0], -1))
    scale = w("Sqrt", w("Add", w.mean(w("Mul", deviation, deviation), -1), op.eps))
    return w("Add", w("Mul", w("Div", deviation, scale), weight), bias)


def _periodic(w: Writer, op: PeriodicOp, xs: list[str]) -> str:
    """Turns are found in float64, as the op does it: they keep their digits when whole ones are taken off."""
    x, frequency, phase = (w.cast(name, "real", "double")
                           for name in (*xs, w.parameter("frequency"), w.parameter("phase")))
    turns = w("Add", w("Mul", w("Unsqueeze", x, np.array([-2])), frequency), phase)
    part = w.cast(w("Sub", turns, w("Round", turns)), "double", "real")
    waves = w("Cos", w("Mul", part, 2 * pi))
    y = w("Einsum", waves, w.parameter("weight"), equation="...fi,foi->...oi")
    return w.reshape(w("Add", y, w.parameter("bias")), *w.tensor.shape)


def _piecewise_linear(w: Writer, op: PiecewiseLinearOp, xs: list[str]) -> str:
    past = w("Sub", w("Unsqueeze", *xs, np.array([-1])), np.arange(op.bins, dtype=float))
    parts = w("Min", w("Max", past, 0.0), 1.0)
    return w.reshape(w("Einsum", parts, w.parameter("weight"), equation="...it,ito->...io"), *w.tensor.shape)


# ---- activations -----------------------------------------------------------------------------------------------------


def _leaky_relu(w: Writer, op: acts.LeakyReLUOp, xs: list[str]) -> str:
    return w("Where", w("Greater", *xs, 0.0), *xs, w("Mul", *xs, op.alpha))


def _elu(w: Writer, op: Any, xs: list[str]) -> str:
    """SELU too: ``scale·x`` above 0, ``scale·α(eˣ − 1)`` below."""
    scale, alpha = (acts.SELU_SCALE, acts.SELU_ALPHA) if isinstance(op, acts.SELUOp) else (1.0, op.alpha)
    below = w("Mul", formulas.expm1(w, w("Min", *xs, 0.0)), scale * alpha)
    return w("Where", w("Greater", *xs, 0.0), w("Mul", *xs, scale), below)


def _gelu(w: Writer, op: acts.GELUOp, xs: list[str]) -> str:
    """``x Φ(x)``."""
    return w("Mul", w("Max", *xs, -formulas.NORMAL_END), formulas.normal_cdf(w, *xs))


def _gelu_tanh(w: Writer, op: acts.GELUTanhOp, xs: list[str]) -> str:
    """``x σ(2u)`` with u = √(2/π) (x + 0.044715 x³)."""
    cubic = w("Add", w("Mul", w("Mul", *xs, *xs), 0.044715), 1.0)
    gate = w("Sigmoid", w("Mul", w("Mul", *xs, 2 * sqrt(2 / pi)), cubic))
    return w("Mul", w("Max", *xs, -_FAR), gate)


def _silu(w: Writer, op: acts.SiLUOp, xs: list[str]) -> str:
    # x itself would do, and ONNX Runtime up to 1.28 would make of it what it has for float32 alone
    return w("Mul", w("Max", *xs, -_FAR), w("Sigmoid", *xs))


def _softplus(w: Writer, op: acts.SoftplusOp, xs: list[str]) -> str:
    return formulas.softplus(w, *xs)


def _mish(w: Writer, op: acts.MishOp, xs: list[str]) -> str:
    e, positive = w("Exp", w("Neg", w("Abs", *xs))), w("Greater", *xs, 0.0)
    double = w("Mul", e, 2.0)
    numerator = w("Where", positive, w("Add", double, 1.0), w("Mul", e, w("Add", e, 2.0)))
    rest = w("Where", positive, w("Mul", double, e), 2.0)
    return w("Mul", w("Max", *xs, -_FAR), w("Div", numerator, w("Add", numerator, rest)))


def _hard_swish(w: Writer, op: acts.HardSwishOp, xs: list[str]) -> str:
    gate = w("Min", w("Max", w("Add", *xs, 3.0), 0.0), 6.0)
    return w("Mul", w("Max", *xs, -3.0), w("Div", gate, 6.0))


# ---- the table -------------------------------------------------------------------------------------------------------

_DERIVATIVE = Nothing("it is part of a derivative, and files hold what a network predicts")

TABLE: dict[type[Op], Rule | Nothing] = {
    LinearOp: _linear,
    LinearBackOp: lambda w, op, xs: w("MatMul", *xs, w.transpose(w.parameter("weight"), 1, 0)),
    GroupedLinearOp: _grouped_linear,
    ScaleOp: _scale,
    EmbeddingOp: _embedding,
    BatchNormOp: _batch_norm,
    LayerNormOp: _layer_norm,
    PeriodicOp: _periodic,
    PiecewiseLinearOp: _piecewise_linear,
    acts.IdentityOp: _nothing,
    acts.ReLUOp: _same("Relu"),
    acts.LeakyReLUOp: _single("LeakyRelu", _leaky_relu, lambda op: {"alpha": op.alpha}),
    acts.ELUOp: _single("Elu", _elu, lambda op: {"alpha": op.alpha}),
    acts.SELUOp: _single("Selu", _elu),
    acts.GELUOp: _single("Gelu", _gelu, lambda op: {"approximate": "none"}),
    acts.GELUTanhOp: _single("Gelu", _gelu_tanh, lambda op: {"approximate": "tanh"}),
    acts.SiLUOp: _silu,
    acts.MishOp: _single("Mish", _mish),
    acts.SigmoidOp: _same("Sigmoid"),
    acts.TanhOp: _same("Tanh"),
    acts.SoftplusOp: _single("Softplus", _softplus),
    acts.HardSwishOp: _single("HardSwish", _hard_swish),
    SoftmaxOp: _same("Softmax", lambda op: {"axis": -1}),
    DropoutOp: _nothing,
    FlattenOp: _same("Flatten", lambda op: {"axis": 1}),
    AddOp: _same("Add"),
    MulOp: _same("Mul"),
    ConcatOp: _same("Concat", lambda op: {"axis": op.axis}),
    **SEQUENCES,
    ScalarOp: scalar,
    reduce.ReduceOp: arrays.reduce,
    reduce.ProductOp: arrays.product,
    reduce.CumsumOp: arrays.cumsum,
    sort.ArgsortOp: arrays.argsort,
    **dict.fromkeys((linalg.InverseOp, linalg.SolveOp, linalg.DeterminantOp, linalg.CholeskyOp),
                    Nothing("ONNX has no inverses of matrices, nor solutions")),
    reduce.MatmulOp: arrays.matmul,
    reduce.EinsumOp: arrays.einsum,
    sources.ConstantOp: arrays.constant,
    sources.FillOp: arrays.fill,
    sources.ParameterOp: arrays.parameter,
    sources.RowsOp: arrays.rows,
    sources.TrainingOp: arrays.training,
    sources.StopGradientOp: arrays.stop_gradient,
    sources.CastOp: arrays.cast,
    random.RandomOp: Nothing("its random numbers go by fastbp's seed and step, which a file does not have"),
    structure.ReshapeOp: arrays.reshape,
    structure.TransposeOp: arrays.transpose,
    structure.BroadcastOp: arrays.broadcast,
    structure.IndexOp: arrays.index,
    structure.TakeOp: arrays.take,
    structure.TakeAlongOp: arrays.take_along,
    structure.JoinOp: arrays.join,
    structure.PadOp: arrays.pad,
    structure.PlaceOp: _DERIVATIVE,
    structure.TakeBackOp: _DERIVATIVE,
    structure.TakeAlongBackOp: _DERIVATIVE,
    PythonOp: Nothing("its rules are Python functions, which ONNX cannot hold"),
}
