"""Every op, layer, loss, optimizer, schedule and initializer, each with what it takes to try it.

One row a variant; what is added to fastbp gets a row here, and with it all the tests that run over these lists.
``tests/project/test_cases.py`` names whatever has been forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastbp as fb
from fastbp import schedules
from fastbp.graph.graph import Tensor, as_ranges
from fastbp.ops import activations
from fastbp.ops.attention import AttentionOp
from fastbp.ops.base import Among, Op
from fastbp.ops.batch_norm import BatchNormOp
from fastbp.ops.concat import ConcatOp
from fastbp.ops.conv import ConvOp
from fastbp.ops.conv_transpose import ConvTransposeOp
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
from fastbp.ops.reshape import PermuteOp, ReshapeOp
from fastbp.ops.rms_norm import RMSNormOp
from fastbp.ops.rotary import RotaryOp
from fastbp.ops.scalar import ScalarOp
from fastbp.ops.scale import ScaleOp
from fastbp.ops.slice import SliceOp
from fastbp.ops.softmax import SoftmaxOp
from fastbp.ops.upsample import UpsampleOp
from fastbp.ops.window import Window

Array = Any
Shape = tuple[int, ...]


def make_input(rng: np.random.Generator, rows: int, t: Tensor, among: Among = range(2)) -> Array:
    """Return normal numbers, or integers out of a range, as a tensor holds."""
    size, limits = (rows, *t.shape), as_ranges(among)
    if t.dtype == "real":
        return 2 * rng.standard_normal(size)
    return rng.integers([r.start for r in limits], [r.stop for r in limits], size)


@dataclass(frozen=True)
class OpCase:
    """An op, the shape of one sample of each input, and, unless any number will do, the interval they lie in."""

    op: Op
    shapes: tuple[Shape, ...]
    interval: tuple[float, float] | None = None

    def inputs(self, rng: np.random.Generator, rows: int, dtype: str = "float64") -> list[Array]:
        """Return a batch for each input."""
        if self.interval is not None:
            return [rng.uniform(*self.interval, (rows, *s)).astype(dtype) for s in self.shapes]
        made = [make_input(rng, rows, t, self.op.among(i) or range(2)) for i, t in enumerate(self.tensors())]
        return [x.astype(dtype) if x.dtype.kind == "f" else x for x in made]

    def tensors(self) -> list[Tensor]:
        """Return a symbol for each input."""
        wanted = [self.op.input_dtype(i) for i in range(len(self.shapes))]
        return [fb.Input(*s, dtype="int64" if d == "int64" else None) for s, d in zip(self.shapes, wanted, strict=True)]

    def network(self, **options: Any) -> fb.Network:
        """Return a network of this op alone, with random parameters."""
        inputs = self.tensors()
        return fb.Network(inputs, OpLayer(self.op)(*inputs), **options)


class OpLayer(fb.Layer):
    """A layer of one op, whichever it is."""

    def __init__(self, op: Op) -> None:
        super().__init__()
        self.op = op

    def lower(self, *inputs: Tensor) -> Tensor:
        shapes = [t.shape for t in inputs]
        trained = dict.fromkeys(self.op.parameter_shapes(*shapes), fb.Normal(std=1.0))
        state = dict.fromkeys(self.op.buffer_shapes(*shapes), fb.Uniform(0.5, 2.0))
        return self.apply(self.op, *inputs, initializers={**trained, **state})


@dataclass(frozen=True)
class LayerCase:
    """A layer, the shape of one sample of each input, and what they hold."""

    make: Callable[[], fb.Layer]
    shapes: tuple[Shape, ...]
    dtype: str | None = None

    def network(self, **options: Any) -> fb.Network:
        """Return a network of this layer alone."""
        inputs = self.tensors()
        return fb.Network(inputs, self.make()(*inputs), **options)

    def tensors(self) -> list[Tensor]:
        """Return a symbol for each input."""
        return [fb.Input(*s, dtype=self.dtype) for s in self.shapes]

    def inputs(self, rng: np.random.Generator, rows: int) -> list[Array]:
        """Return a batch for each input."""
        return [make_input(rng, rows, t) for t in self.tensors()]


@dataclass(frozen=True)
class LossCase:
    """A loss, the shape of one sample of the output, and a function that makes targets."""

    loss: fb.Loss
    shape: Shape
    target: Callable[[np.random.Generator, int], Array]


def normal(*shape: int) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, rows: rng.standard_normal((rows, *shape))


def labels(classes: int, *shape: int) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, rows: rng.integers(0, classes, (rows, *shape))


def probabilities(*shape: int) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, rows: rng.dirichlet(np.ones(shape[-1]), (rows, *shape[:-1]))


def uniform(*shape: int) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, rows: rng.uniform(0, 1, (rows, *shape))


def counts(*shape: int) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, rows: rng.poisson(2.0, (rows, *shape))


_ONE: tuple[Shape, ...] = ((5,),)
_TWO: tuple[Shape, ...] = ((5,), (5,))
_POSITIVE = (0.5, 2.0)
_PLAIN = Window((3,), (1,), ((0, 0),), (1,))
_STRIDED = Window((2, 3), (2, 1), ((1, 0), (0, 2)), (1, 2))
_SAME = Window((3, 2), (2, 2), "same", (1, 1))
_DISJOINT = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
_OVERLAPPING = Window((3, 2), (2, 1), ((1, 1), (0, 1)), (1, 1), ceil_mode=True)

OPS: dict[str, OpCase] = {
    "linear": OpCase(LinearOp(5, 3), ((5,),)),
    "linear, no bias, sequence": OpCase(LinearOp(5, 3, bias=False), ((2, 5),)),
    "linear_back": OpCase(LinearBackOp(5, 3), ((3,),)),
    "linear_back, sequence": OpCase(LinearBackOp(5, 3), ((2, 3),)),
    "identity": OpCase(activations.IdentityOp(), _ONE),
    "relu": OpCase(activations.ReLUOp(), _ONE),
    "leaky_relu": OpCase(activations.LeakyReLUOp(0.1), _ONE),
    "elu": OpCase(activations.ELUOp(0.7), _ONE),
    "selu": OpCase(activations.SELUOp(), _ONE),
    "gelu": OpCase(activations.GELUOp(), _ONE),
    "gelu_tanh": OpCase(activations.GELUTanhOp(), _ONE),
    "silu": OpCase(activations.SiLUOp(), _ONE),
    "mish": OpCase(activations.MishOp(), _ONE),
    "sigmoid": OpCase(activations.SigmoidOp(), _ONE),
    "tanh": OpCase(activations.TanhOp(), _ONE),
    "softplus": OpCase(activations.SoftplusOp(), _ONE),
    "hardswish": OpCase(activations.HardSwishOp(), _ONE),
    "softmax": OpCase(SoftmaxOp(), ((2, 5),)),
    "dropout": OpCase(DropoutOp(0.4), ((2, 5),)),
    "batch_norm": OpCase(BatchNormOp(5), ((5,),)),
    "batch_norm, image": OpCase(BatchNormOp(3, momentum=0.3, eps=1e-3), ((2, 2, 3),)),
    "layer_norm": OpCase(LayerNormOp(5), ((5,),)),
    "layer_norm, sequence": OpCase(LayerNormOp(5, eps=1e-3), ((2, 5),)),
    "flatten": OpCase(FlattenOp(), ((2, 3, 2),)),
    "embedding": OpCase(EmbeddingOp(7, 5), ((3,),)),
    "embedding, padding": OpCase(EmbeddingOp(4, 18, padding_idx=1), ((2, 3),)),
    "embedding, tables": OpCase(EmbeddingOp(9, 5, 1, (4, 2, 3)), ((2, 3),)),
    "add": OpCase(AddOp(), _TWO),
    "mul": OpCase(MulOp(), _TWO),
    "concat": OpCase(ConcatOp(), ((2, 3), (2, 4))),
    "concat, axis 1": OpCase(ConcatOp(1), ((2, 3), (4, 3))),
    "scale": OpCase(ScaleOp((5,)), ((2, 5),)),
    "scale, two axes": OpCase(ScaleOp((3, 5)), ((2, 3, 5),)),
    "scale, members": OpCase(ScaleOp((5,), 3), ((5,),)),
    "grouped_linear": OpCase(GroupedLinearOp(3, 5, 2), ((3, 5),)),
    "grouped_linear, no bias": OpCase(GroupedLinearOp(2, 3, 1, bias=False), ((4, 2, 3),)),
    "periodic": OpCase(PeriodicOp(5, 4, 3), _ONE, (-0.5, 0.5)),
    "periodic, members": OpCase(PeriodicOp(3, 2, 6), ((2, 3),), (-0.5, 0.5)),
    "piecewise_linear": OpCase(PiecewiseLinearOp(5, 4, 3), _ONE, (-0.93, 4.91)),
    "piecewise_linear, members": OpCase(PiecewiseLinearOp(3, 1, 2), ((2, 3),)),
    "sub": OpCase(ScalarOp("sub"), _TWO),
    "div": OpCase(ScalarOp("div"), _TWO, _POSITIVE),
    "neg": OpCase(ScalarOp("neg"), _ONE),
    "pow": OpCase(ScalarOp("pow"), _TWO, _POSITIVE),
    "exp": OpCase(ScalarOp("exp"), _ONE),
    "log": OpCase(ScalarOp("log"), _ONE, _POSITIVE),
    "sqrt": OpCase(ScalarOp("sqrt"), _ONE, _POSITIVE),
    "sin": OpCase(ScalarOp("sin"), _ONE),
    "cos": OpCase(ScalarOp("cos"), _ONE),
    "max": OpCase(ScalarOp("max"), _TWO),
    "conv": OpCase(ConvOp(2, 3, _PLAIN), ((5, 2),)),
    "conv, image, strided, dilated": OpCase(ConvOp(2, 3, _STRIDED, bias=False), ((5, 6, 2),)),
    "conv, image, same, groups": OpCase(ConvOp(4, 6, _SAME, groups=2), ((5, 6, 4),)),
    "conv, image, depthwise": OpCase(ConvOp(3, 3, _STRIDED, groups=3), ((4, 6, 3),)),
    "conv_transpose": OpCase(ConvTransposeOp(2, 3, _STRIDED, (1, 0)), ((3, 4, 2),)),
    "conv_transpose, same, groups": OpCase(ConvTransposeOp(4, 2, _SAME, (0, 0), 2, bias=False), ((3, 2, 4),)),
    "max_pool": OpCase(MaxPoolOp(_DISJOINT), ((4, 5, 3),)),
    "max_pool, sequence": OpCase(MaxPoolOp(Window((2,), (1,), ((1, 0),), (2,))), ((6, 3),)),
    "max_pool, overlapping": OpCase(MaxPoolOp(_OVERLAPPING), ((5, 4, 3),)),
    "avg_pool": OpCase(AvgPoolOp(_DISJOINT), ((4, 5, 3),)),
    "avg_pool, overlapping": OpCase(AvgPoolOp(_OVERLAPPING), ((5, 4, 3),)),
    "avg_pool, padding left out": OpCase(AvgPoolOp(_OVERLAPPING, count_include_pad=False), ((5, 4, 3),)),
    "global_avg_pool": OpCase(GlobalAvgPoolOp(), ((2, 3, 4),)),
    "upsample": OpCase(UpsampleOp((2, 3)), ((2, 3, 2),)),
    "upsample, linear": OpCase(UpsampleOp((3,), "linear"), ((4, 2),)),
    "reshape": OpCase(ReshapeOp((-1, 4)), ((2, 3, 2),)),
    "permute": OpCase(PermuteOp((3, 1, 2)), ((2, 3, 4),)),
    "prelu": OpCase(PReLUOp(5), _ONE),
    "prelu, one slope": OpCase(PReLUOp(1), ((2, 5),)),
    "glu": OpCase(GLUOp(), ((6,),)),
    "swiglu": OpCase(SwiGLUOp(), ((2, 6),)),
    "rms_norm": OpCase(RMSNormOp(5), _ONE),
    "rms_norm, sequence": OpCase(RMSNormOp(5, eps=1e-3), ((2, 5),)),
    "group_norm": OpCase(GroupNormOp(2, 4), ((2, 3, 4),)),
    "rnn": OpCase(RNNOp(3), ((4, 3),)),
    "rnn, relu, reverse": OpCase(RNNOp(3, reverse=True, initial=True, nonlinearity="relu"), ((4, 3), (3,))),
    "gru": OpCase(GRUOp(3), ((4, 9),)),
    "gru, initial, state": OpCase(GRUOp(3, initial=True, state=True), ((4, 9), (3,))),
    "gru, reverse, no bias": OpCase(GRUOp(3, reverse=True, bias=False), ((4, 9),)),
    "lstm": OpCase(LSTMOp(3), ((4, 12),)),
    "lstm, initial, state": OpCase(LSTMOp(3, initial=True, state=True), ((4, 12), (3,), (3,))),
    "lstm, reverse": OpCase(LSTMOp(3, reverse=True), ((4, 12),)),
    "slice": OpCase(SliceOp(1, 1, 3), ((4, 2),)),
    "attention": OpCase(AttentionOp(2, 2, 3), ((4, 18),)),
    "attention, causal, shared keys": OpCase(AttentionOp(4, 2, 2, causal=True), ((5, 16),)),
    "attention, cross, additive mask": OpCase(AttentionOp(2, 1, 2, cross=True, attn_mask=True),
                                              ((3, 4), (5, 4), (3, 5))),
    "rotary": OpCase(RotaryOp(2, 4), ((5, 10),)),
    "positions": OpCase(PositionsOp(6), ((4, 3),)),
}

LAYERS: dict[str, LayerCase] = {
    "Linear": LayerCase(lambda: fb.Linear(5, 3), ((5,),)),
    "Linear, no bias": LayerCase(lambda: fb.Linear(None, 3, bias=False), ((2, 5),)),
    "Identity": LayerCase(fb.Identity, _ONE),
    "ReLU": LayerCase(fb.ReLU, _ONE),
    "LeakyReLU": LayerCase(lambda: fb.LeakyReLU(0.2), _ONE),
    "ELU": LayerCase(lambda: fb.ELU(0.5), _ONE),
    "SELU": LayerCase(fb.SELU, _ONE),
    "GELU": LayerCase(fb.GELU, _ONE),
    "GELU, tanh": LayerCase(lambda: fb.GELU("tanh"), _ONE),
    "SiLU": LayerCase(fb.SiLU, _ONE),
    "Mish": LayerCase(fb.Mish, _ONE),
    "Sigmoid": LayerCase(fb.Sigmoid, _ONE),
    "Tanh": LayerCase(fb.Tanh, _ONE),
    "Softplus": LayerCase(fb.Softplus, _ONE),
    "HardSwish": LayerCase(fb.HardSwish, _ONE),
    "Softmax": LayerCase(fb.Softmax, _ONE),
    "Dropout": LayerCase(lambda: fb.Dropout(0.3), _ONE),
    "BatchNorm": LayerCase(fb.BatchNorm, _ONE),
    "BatchNorm, image": LayerCase(lambda: fb.BatchNorm(3, momentum=0.2), ((2, 2, 3),)),
    "LayerNorm": LayerCase(fb.LayerNorm, _ONE),
    "Lambda": LayerCase(lambda: fb.Lambda(lambda x: np.tanh(x[:, ::-1]) * x + x.mean(axis=0)), _ONE),
    "RMSNorm": LayerCase(fb.RMSNorm, _ONE),
    "GroupNorm": LayerCase(lambda: fb.GroupNorm(2, eps=1e-3), ((2, 3, 4),)),
    "GLU": LayerCase(fb.GLU, ((4,),)),
    "SwiGLU": LayerCase(fb.SwiGLU, ((2, 4),)),
    "PReLU": LayerCase(lambda: fb.PReLU(5, init=0.1), _ONE),
    "Conv1d": LayerCase(lambda: fb.Conv1d(2, 3, 3, padding=((2, 0),), dilation=2), ((5, 2),)),
    "Conv2d": LayerCase(lambda: fb.Conv2d(2, 3, (2, 3), stride=2, padding=1), ((4, 5, 2),)),
    "Conv2d, same, groups": LayerCase(lambda: fb.Conv2d(None, 4, 3, padding="same", groups=2, bias=False),
                                      ((4, 5, 2),)),
    "ConvTranspose2d": LayerCase(lambda: fb.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1),
                                 ((3, 2, 2),)),
    "MaxPool1d": LayerCase(lambda: fb.MaxPool1d(2), ((5, 2),)),
    "MaxPool2d": LayerCase(lambda: fb.MaxPool2d(3, stride=2, padding=1), ((5, 4, 2),)),
    "AvgPool1d": LayerCase(lambda: fb.AvgPool1d(2, stride=1), ((5, 2),)),
    "AvgPool2d": LayerCase(lambda: fb.AvgPool2d((2, 3), padding=1, count_include_pad=False), ((5, 4, 2),)),
    "GlobalAvgPool": LayerCase(fb.GlobalAvgPool, ((2, 3, 4),)),
    "Upsample": LayerCase(lambda: fb.Upsample((2, 1), mode="bilinear"), ((2, 3, 2),)),
    "Reshape": LayerCase(lambda: fb.Reshape(2, -1), ((2, 3, 2),)),
    "Permute": LayerCase(lambda: fb.Permute(2, 1), ((2, 3),)),
    "Residual": LayerCase(lambda: fb.Residual(fb.Linear(5, 3), fb.Tanh(), fb.Linear(3, 5)), _ONE),
    "RNN": LayerCase(lambda: fb.RNN(2, 3, nonlinearity="relu"), ((4, 2),)),
    "GRU": LayerCase(lambda: fb.GRU(None, 3, bidirectional=True), ((4, 2),)),
    "GRU, initial state": LayerCase(lambda: fb.GRU(2, 3, num_layers=2, return_sequences=False), ((4, 2), (2, 3))),
    "LSTM": LayerCase(lambda: fb.LSTM(2, 3, num_layers=2, dropout=0.3), ((4, 2),)),
    "LSTM, last step": LayerCase(lambda: fb.LSTM(2, 3, bidirectional=True, bias=False, return_sequences=False),
                                 ((4, 2),)),
    "MultiHeadAttention": LayerCase(lambda: fb.MultiHeadAttention(4, 2, is_causal=True, rotary=True), ((5, 4),)),
    "MultiHeadAttention, cross": LayerCase(lambda: fb.MultiHeadAttention(None, 4, num_kv_heads=2), ((3, 8), (5, 4))),
    "ScaledDotProductAttention": LayerCase(lambda: fb.ScaledDotProductAttention(4, num_kv_heads=2, is_causal=True),
                                           ((3, 8), (5, 4), (5, 4))),
    "MultiHeadAttention, mask": LayerCase(lambda: fb.MultiHeadAttention(4, 2, attn_mask=True), ((3, 4), (3, 3))),
    "Positions": LayerCase(lambda: fb.Positions(6), ((4, 3),)),
    "TransformerEncoderLayer": LayerCase(lambda: fb.TransformerEncoderLayer(4, 2, 6), ((3, 4),)),
    "TransformerEncoderLayer, norm first": LayerCase(
        lambda: fb.TransformerEncoderLayer(4, 2, 6, 0.0, "gelu", True, is_causal=True), ((3, 4),)),
    "TransformerDecoderLayer": LayerCase(lambda: fb.TransformerDecoderLayer(4, 2, 6), ((3, 4), (5, 4))),
    "Flatten": LayerCase(fb.Flatten, ((2, 3, 2),)),
    "Embedding": LayerCase(lambda: fb.Embedding(7, 5), ((3,),), "int64"),
    "Embedding, padding": LayerCase(lambda: fb.Embedding(4, 18, padding_idx=-3), ((2, 3),), "int64"),
    "Embedding, tables": LayerCase(lambda: fb.Embedding([2, 7, 3], 5), ((2, 3),), "int64"),
    "Embedding, sums": LayerCase(lambda: fb.Embedding(7, 5, mode="sum"), ((2, 3),), "int64"),
    "Embedding, means": LayerCase(lambda: fb.Embedding(7, 5, 1, mode="mean"), ((2, 3),), "int64"),
    "Add": LayerCase(fb.Add, _TWO),
    "Add, three": LayerCase(fb.Add, (*_TWO, (5,))),
    "Multiply": LayerCase(fb.Multiply, _TWO),
    "Multiply, four": LayerCase(fb.Multiply, (*_TWO, *_TWO)),
    "Concat": LayerCase(fb.Concat, ((3,), (4,))),
    "Scale": LayerCase(fb.Scale, _ONE),
    "Scale, two axes": LayerCase(lambda: fb.Scale(axes=2), ((2, 3),)),
    "Scale, members": LayerCase(lambda: fb.Scale(members=3, weight_init=fb.Normal()), _ONE),
    "GroupedLinear": LayerCase(lambda: fb.GroupedLinear(2), ((3, 5),)),
    "GroupedLinear, no bias": LayerCase(lambda: fb.GroupedLinear(2, bias=False), ((2, 3, 4),)),
    "Periodic": LayerCase(lambda: fb.Periodic(4, 2), _ONE),
    "Periodic, dense": LayerCase(lambda: fb.Periodic(4, 2, dense=True), _ONE),
    "ParametricActivation": LayerCase(lambda: fb.ParametricActivation(fb.SELU()), _ONE),
    "ParametricActivation, axes": LayerCase(lambda: fb.ParametricActivation(fb.Mish()), ((2, 3),)),
    "PiecewiseLinear": LayerCase(lambda: fb.PiecewiseLinear(3, 2, weight_init=fb.Normal()), _ONE),
    "Concat, axis 1": LayerCase(lambda: fb.Concat(axis=1), ((2, 3), (1, 3), (4, 3))),
}

LOSSES: dict[str, LossCase] = {
    "MSE": LossCase(fb.MSE(), (3,), normal(3)),
    "MSE, image": LossCase(fb.MSE(), (2, 3), normal(2, 3)),
    "HalfSquaredError": LossCase(fb.HalfSquaredError(), (3,), normal(3)),
    "MAE": LossCase(fb.MAE(), (3,), normal(3)),
    "Huber": LossCase(fb.Huber(0.7), (3,), normal(3)),
    "Quantile": LossCase(fb.Quantile(0.8), (3,), normal(3)),
    "Quantile, three": LossCase(fb.Quantile([0.1, 0.5, 0.9]), (3,), normal()),
    "PoissonNLL": LossCase(fb.PoissonNLL(), (3,), counts(3)),
    "GaussianNLL": LossCase(fb.GaussianNLL(), (4,), normal(2)),
    "BinaryCrossEntropy": LossCase(fb.BinaryCrossEntropy(), (1,), labels(2)),
    "BinaryCrossEntropy, weights": LossCase(fb.BinaryCrossEntropy([0.5, 2.0, 1.0]), (3,), uniform(3)),
    "CrossEntropy": LossCase(fb.CrossEntropy(), (4,), labels(4)),
    "CrossEntropy, sequence": LossCase(fb.CrossEntropy(), (2, 4), labels(4, 2)),
    "CrossEntropy, smoothed": LossCase(fb.CrossEntropy(0.1, [1.0, 2.0, 0.0, 0.5]), (4,), labels(4)),
    "CrossEntropy, ignored, not smoothed": LossCase(fb.CrossEntropy(ignore_index=2), (2, 4), labels(4, 2)),
    "CrossEntropy, a class ignored": LossCase(fb.CrossEntropy(0.1, ignore_index=2), (2, 4), labels(4, 2)),
    "CrossEntropy, probabilities": LossCase(fb.CrossEntropy(0.1, [1.0, 2.0, 0.0, 0.5]), (4,), probabilities(4)),
    "CrossEntropy, probabilities, sequence": LossCase(fb.CrossEntropy(), (2, 4), probabilities(2, 4)),
}

OPTIMIZERS: dict[str, Callable[[], fb.Optimizer]] = {
    "SGD": lambda: fb.SGD(0.1),
    "SGD, momentum": lambda: fb.SGD(0.05, momentum=0.9, weight_decay=0.01),
    "SGD, Nesterov": lambda: fb.SGD(0.05, momentum=0.9, nesterov=True),
    "RMSprop": lambda: fb.RMSprop(0.01, weight_decay=0.01),
    "RMSprop, momentum": lambda: fb.RMSprop(0.01, momentum=0.5),
    "Adagrad": lambda: fb.Adagrad(0.05, weight_decay=0.01),
    "Adam": lambda: fb.Adam(0.01),
    "Adam, weight decay": lambda: fb.Adam(0.01, weight_decay=0.1, decay_bias=False),
    "AdamW": lambda: fb.AdamW(0.01, weight_decay=0.1),
    "Lion": lambda: fb.Lion(0.01, weight_decay=0.1),
}

SCHEDULES: dict[str, Callable[[], fb.Schedule]] = {
    "ConstantSchedule": lambda: schedules.ConstantSchedule(0.1),
    "FunctionSchedule": lambda: schedules.FunctionSchedule(lambda step: 0.1 / (1 + step)),
    "ScaledSchedule": lambda: schedules.ScaledSchedule(schedules.FunctionSchedule(lambda step: 0.1 / (1 + step)), 0.5),
    "DelayedSchedule": lambda: schedules.DelayedSchedule(fb.CosineDecay(0.1, steps=20), 3),
    "StepDecay": lambda: fb.StepDecay(0.1, step_size=3),
    "MultiStepDecay": lambda: fb.MultiStepDecay(0.1, milestones=[2, 5]),
    "ExponentialDecay": lambda: fb.ExponentialDecay(0.1, factor=0.9),
    "CosineDecay": lambda: fb.CosineDecay(0.1, steps=20, warmup=5, final_lr=0.001),
    "CosineCycles": lambda: fb.CosineCycles(0.1, steps=20),
    "FlatCosine": lambda: fb.FlatCosine(0.1, steps=20),
    "OneCycle": lambda: fb.OneCycle(0.1, steps=20),
    "ReduceOnPlateau": lambda: fb.ReduceOnPlateau(0.1, patience=1),
}

INITIALIZERS: dict[str, Any] = {
    "Zeros": fb.Zeros(),
    "Ones": fb.Ones(),
    "Constant": fb.Constant(0.25),
    "Normal": fb.Normal(0.5, 2.0),
    "Uniform": fb.Uniform(-1.0, 3.0),
    "KaimingUniform": fb.KaimingUniform(),
    "KaimingNormal": fb.KaimingNormal("tanh", fan="fan_out"),
    "XavierUniform": fb.XavierUniform(),
    "XavierNormal": fb.XavierNormal(2.0),
    "LeCunUniform": fb.LeCunUniform(),
    "LeCunNormal": fb.LeCunNormal(),
    "Orthogonal": fb.Orthogonal("relu"),
}
