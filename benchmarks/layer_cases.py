"""What benchmarks/test_layers.py times: every layer, op and loss, at sizes that small networks have.

tests/project/test_cases.py names what has been forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cases
import numpy as np
from cases import LossCase, OpLayer, Shape

import fastbp as fb
from fastbp.objectives.functions import FunctionLoss
from fastbp.ops.linear import LinearBackOp
from fastbp.ops.scalar import SCALARS

Array = Any


@dataclass(frozen=True)
class Timed(cases.LayerCase):
    """A layer, the shape of one sample of each input, and what they hold."""

    ids: int = 0
    """How many ids there are, for inputs of ids."""
    interval: tuple[float, float] | None = None
    """What the numbers lie between, where not any number will do."""

    @property
    def rows(self) -> int:
        """The rows of a batch of a middling size."""
        return 128 if max(map(len, self.shapes)) == 1 else 16

    def batch(self, rng: np.random.Generator, rows: int) -> tuple[Array, ...]:
        """Return a batch for each input, in float32."""
        sizes = [(rows, *shape) for shape in self.shapes]
        if self.dtype is not None:
            return tuple(rng.integers(0, self.ids, size) for size in sizes)
        if self.interval is not None:
            return tuple(rng.uniform(*self.interval, size).astype(np.float32) for size in sizes)
        return tuple(rng.standard_normal(size, np.float32) for size in sizes)


# ---- layers ---------------------------------------------------------------------------------------------------------

WIDTH = 256
FEATURES, IMAGE, STEPS = (WIDTH,), (14, 14, 16), (32, 64)
_OF_FEATURES = (
    "Identity", "ReLU", "LeakyReLU", "ELU", "SELU", "GELU", "GELU, tanh", "SiLU", "Mish", "Sigmoid", "Tanh", "Softplus",
    "HardSwish", "Softmax", "Dropout", "BatchNorm", "LayerNorm", "RMSNorm", "GLU", "SwiGLU", "Add", "Add, three",
    "Multiply", "Multiply, four", "Concat", "Scale", "ParametricActivation")


class Doubled(fb.CustomLayer):
    """y = 2 x, written in Python: what calling it costs."""

    def forward(self, ctx: Any, x: Array) -> Array:
        return 2 * x

    def backward(self, ctx: Any, dy: Array) -> Array:
        return 2 * dy


LAYERS: dict[str, Timed] = {
    "Linear": Timed(lambda: fb.Linear(WIDTH, WIDTH), (FEATURES,)),
    "Linear, no bias": Timed(lambda: fb.Linear(WIDTH, WIDTH, bias=False), (FEATURES,)),
    "Linear, sequence": Timed(lambda: fb.Linear(64, 64), (STEPS,)),
    **{name: Timed(cases.LAYERS[name].make, (FEATURES,) * len(cases.LAYERS[name].shapes)) for name in _OF_FEATURES},
    "BatchNorm, image": Timed(fb.BatchNorm, (IMAGE,)),
    "GroupNorm": Timed(lambda: fb.GroupNorm(4), (IMAGE,)),
    "GroupNorm, each channel": Timed(lambda: fb.GroupNorm(16), (IMAGE,)),       # instance normalisation
    "PReLU": Timed(lambda: fb.PReLU(WIDTH), (FEATURES,)),
    "PReLU, one slope": Timed(fb.PReLU, (FEATURES,)),
    "Residual": Timed(lambda: fb.Residual(fb.Linear(WIDTH, 64), fb.ReLU(), fb.Linear(64, WIDTH)), (FEATURES,)),
    "Conv1d": Timed(lambda: fb.Conv1d(64, 64, 3, padding=1), (STEPS,)),
    "Conv2d": Timed(lambda: fb.Conv2d(16, 32, 3, padding=1), (IMAGE,)),
    "Conv2d, 1 × 1": Timed(lambda: fb.Conv2d(16, 32, 1), (IMAGE,)),
    "Conv2d, strided": Timed(lambda: fb.Conv2d(16, 32, 3, stride=2, padding=1), (IMAGE,)),
    "Conv2d, groups": Timed(lambda: fb.Conv2d(16, 32, 3, padding=1, groups=4), (IMAGE,)),
    "Conv2d, depthwise": Timed(lambda: fb.Conv2d(16, 16, 3, padding=1, groups=16), (IMAGE,)),
    "ConvTranspose2d": Timed(lambda: fb.ConvTranspose2d(16, 8, 2, stride=2), (IMAGE,)),
    "MaxPool1d": Timed(lambda: fb.MaxPool1d(2), (STEPS,)),
    "MaxPool2d": Timed(lambda: fb.MaxPool2d(2), (IMAGE,)),
    "MaxPool2d, overlapping": Timed(lambda: fb.MaxPool2d(3, stride=2, padding=1), (IMAGE,)),
    "AvgPool1d": Timed(lambda: fb.AvgPool1d(2), (STEPS,)),
    "AvgPool2d": Timed(lambda: fb.AvgPool2d(2), (IMAGE,)),
    "GlobalAvgPool": Timed(fb.GlobalAvgPool, (IMAGE,)),
    "Upsample": Timed(lambda: fb.Upsample(2), (IMAGE,)),
    "Upsample, bilinear": Timed(lambda: fb.Upsample(2, mode="bilinear"), (IMAGE,)),
    "Flatten": Timed(fb.Flatten, (IMAGE,)),
    "Reshape": Timed(lambda: fb.Reshape(196, 16), (IMAGE,)),
    "Permute": Timed(lambda: fb.Permute(2, 1), (STEPS,)),
    "Permute, image": Timed(lambda: fb.Permute(3, 1, 2), (IMAGE,)),
    "RNN": Timed(lambda: fb.RNN(64, 64), (STEPS,)),
    "GRU": Timed(lambda: fb.GRU(64, 64), (STEPS,)),
    "LSTM": Timed(lambda: fb.LSTM(64, 64), (STEPS,)),
    "LSTM, both ways, last step": Timed(lambda: fb.LSTM(64, 32, bidirectional=True, return_sequences=False), (STEPS,)),
    "ScaledDotProductAttention": Timed(lambda: fb.ScaledDotProductAttention(4), (STEPS,) * 3),
    "MultiHeadAttention": Timed(lambda: fb.MultiHeadAttention(64, 4), (STEPS,)),
    "MultiHeadAttention, causal, rotary": Timed(lambda: fb.MultiHeadAttention(64, 4, is_causal=True, rotary=True),
                                                (STEPS,)),
    "MultiHeadAttention, cross": Timed(lambda: fb.MultiHeadAttention(64, 4), (STEPS, (48, 64))),
    "Positions": Timed(lambda: fb.Positions(32), (STEPS,)),
    "TransformerEncoderLayer": Timed(lambda: fb.TransformerEncoderLayer(64, 4, 128, dropout=0.1), (STEPS,)),
    "TransformerDecoderLayer": Timed(lambda: fb.TransformerDecoderLayer(64, 4, 128, dropout=0.1), (STEPS, (48, 64))),
    "Embedding": Timed(lambda: fb.Embedding(1000, 64), ((32,),), "int64", 1000),
    "Embedding, padding": Timed(lambda: fb.Embedding(1000, 64, padding_idx=0), ((32,),), "int64", 1000),
    "Embedding, tables": Timed(lambda: fb.Embedding([100] * 8, 16), ((8,),), "int64", 100),
    "Embedding, means": Timed(lambda: fb.Embedding(1000, 64, mode="mean"), ((32,),), "int64", 1000),
    "Concat, axis 1": Timed(lambda: fb.Concat(axis=1), (STEPS, STEPS)),
    "GroupedLinear": Timed(lambda: fb.GroupedLinear(32), ((16, 32),)),
    "Periodic": Timed(lambda: fb.Periodic(8, 16), ((32,),)),
    "PiecewiseLinear": Timed(lambda: fb.PiecewiseLinear(8, 16), ((32,),)),
    "CustomLayer": Timed(Doubled, (FEATURES,)),
}

# ---- functions of tensors, and ops that no layer is made of ---------------------------------------------------------


def function(body: Callable[..., Any], *shapes: Shape, interval: tuple[float, float] | None = None) -> Timed:
    """Return a function as a layer."""
    return Timed(lambda: fb.Lambda(body), shapes or (FEATURES,), interval=interval)


def _scalar(name: str) -> Timed:
    """Return a function of the table of scalar functions, in a domain of all; what is true or false times x."""
    row = SCALARS[name]
    plain = any(derivative is not None for derivative in row.derivatives)

    def body(*xs: Any) -> Any:
        y = row(xs[0] > 0.7, *xs[1:]) if name == "where" else row(*xs)
        return y if plain else y * xs[0]
    return function(body, *(FEATURES,) * row.operands, interval=(0.4, 0.9))


def _slope(body: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function's derivative, whose own way back has ops of its own."""
    return lambda x: fb.grad(np.sum(body(x)), x)


def _along(name: str) -> Timed:
    """Return x times what is found along its last axis."""
    f = getattr(np, name)
    return function(lambda x: x * f(x > 0 if name in ("any", "all") else x, axis=-1)[:, None])


def _over_rows(name: str) -> Timed:
    f = getattr(np, name)
    return function(lambda x: x * f(x > 0 if name in ("any", "all") else x, axis=0))


_REDUCTIONS = ("sum", "mean", "max", "min", "var", "std", "any", "all", "argmax", "argmin")
FUNCTIONS: dict[str, Timed] = {
    **{f"scalar {name}": _scalar(name) for name in SCALARS},
    **{f"np.{name}": _along(name) for name in _REDUCTIONS},
    **{f"np.{name} over the rows": _over_rows(name) for name in _REDUCTIONS},
    "np.prod": function(lambda x: np.prod(x, axis=1), (32, 8), interval=(0.8, 1.2)),
    "np.prod over the rows": function(lambda x: x * np.prod(x, axis=0), interval=(0.99, 1.01)),
    "np.cumsum": function(lambda x: np.cumsum(x, axis=-1)),
    "np.matmul, of samples": function(lambda a, b: a @ b, (16, 16), (16, 16)),
    "np.matmul, by a constant": function(lambda x: x @ np.full((WIDTH, 16), 0.1)),
    "np.einsum": function(lambda a, b: np.einsum("bij,bkj->bik", a, b), (16, 16), (16, 16)),
    "np.broadcast_to": function(lambda x: np.broadcast_to(x[:, None, :], (x.shape[0], 4, WIDTH))),
    "index": function(lambda x: x[:, ::-1]),
    "np.reshape": function(lambda x: np.reshape(x, (-1, 16, 16))),
    "np.transpose": function(lambda x: np.transpose(x, (0, 2, 1)), STEPS),
    "np.concatenate": function(lambda a, b: np.concatenate([a, b], axis=-1), FEATURES, FEATURES),
    "np.pad": function(lambda x: np.pad(x, ((0, 0), (1, 1)))),
    "np.take": function(lambda x: np.take(x, [0, 2, 2, 200], axis=1)),
    "np.take_along_axis": function(lambda x: np.take_along_axis(x, np.argmax(x, axis=-1)[:, None], axis=-1)),
    "the derivative of an index": function(_slope(lambda x: x[:, ::2] ** 3)),
    "the derivative of np.take": function(_slope(lambda x: np.take(x, [0, 2, 2, 200], axis=1) ** 3)),
    "the derivative of np.take_along_axis": function(_slope(
        lambda x: np.take_along_axis(x, np.argmax(x, axis=-1)[:, None], axis=-1) ** 3)),
    "the derivative of BatchNorm": function(_slope(lambda x: fb.BatchNorm()(x) ** 3)),
    "np.sort": function(lambda x: np.sort(x, axis=-1)),
    "np.linalg.inv": function(lambda a: np.linalg.inv(a + 16 * np.eye(16)), (16, 16)),
    "np.linalg.solve": function(lambda a, b: np.linalg.solve(a + 16 * np.eye(16), b), (16, 16), (16, 4)),
    "np.linalg.det": function(lambda a: np.linalg.det(0.1 * a + np.eye(8))[:, None], (8, 8)),
    "np.linalg.cholesky": function(
        lambda a: np.linalg.cholesky(a @ np.transpose(a, (0, 2, 1)) + 16 * np.eye(16)), (16, 16)),
    "astype": function(lambda x: x * x.astype(int)),
    "stop_gradient": function(lambda x: x * fb.special.stop_gradient(x)),
    "softmax": function(fb.special.softmax),
    "log_softmax": function(fb.special.log_softmax),
    "products of all pairs of rows": function(lambda x: np.exp(0.01 * x @ x.T).sum(axis=1)),
    "distances of all pairs of rows": function(
        lambda x: np.exp(-np.square(x[:, None] - x[None]).sum(axis=-1)).sum(axis=1), (8,)),
    "a row and itself": function(lambda x: x * (fb.special.arange(x.shape[0])[:, None] % 2)),
    "np.full_like": function(lambda x: x * np.full_like(x, 2.0)),
    "by the number of rows": function(lambda x: x / x.shape[0]),
    "random": function(lambda x: x + 0.1 * fb.random.normal(x.shape)),
    "a parameter": function(lambda x: x * fb.Parameter(FEATURES, fb.Ones())),
}
OPS: dict[str, Timed] = {
    "linear_back": Timed(lambda: OpLayer(LinearBackOp(WIDTH, WIDTH)), (FEATURES,)),
}

# ---- losses ---------------------------------------------------------------------------------------------------------


def _log_cosh(y_pred: Any, y: Any) -> Any:
    return np.mean(np.log(np.cosh(y_pred - y)))


def _half_squares(y_pred: Array, y: Array) -> tuple[float, Array]:
    e = y_pred - y
    return 0.5 * float(np.square(e).sum()) / len(e), e / len(e)


_OUT = 16
LOSSES: dict[str, LossCase] = {
    "MSE": LossCase(fb.MSE(), (_OUT,), cases.normal(_OUT)),
    "HalfSquaredError": LossCase(fb.HalfSquaredError(), (_OUT,), cases.normal(_OUT)),
    "MAE": LossCase(fb.MAE(), (_OUT,), cases.normal(_OUT)),
    "Huber": LossCase(fb.Huber(), (_OUT,), cases.normal(_OUT)),
    "Quantile": LossCase(fb.Quantile([0.1, 0.5, 0.9]), (3,), cases.normal()),
    "PoissonNLL": LossCase(fb.PoissonNLL(), (_OUT,), cases.counts(_OUT)),
    "GaussianNLL": LossCase(fb.GaussianNLL(), (_OUT,), cases.normal(_OUT // 2)),
    "BinaryCrossEntropy": LossCase(fb.BinaryCrossEntropy(), (_OUT,), cases.uniform(_OUT)),
    "CrossEntropy": LossCase(fb.CrossEntropy(), (_OUT,), cases.labels(_OUT)),
    "CrossEntropy, sequence": LossCase(fb.CrossEntropy(), (32, _OUT), cases.labels(_OUT, 32)),
    "CrossEntropy, smoothed": LossCase(fb.CrossEntropy(0.1), (_OUT,), cases.labels(_OUT)),
    "CrossEntropy, a class ignored": LossCase(fb.CrossEntropy(ignore_index=2), (32, _OUT), cases.labels(_OUT, 32)),
    "CrossEntropy, probabilities": LossCase(fb.CrossEntropy(), (_OUT,), cases.probabilities(_OUT)),
    "CustomLoss, in Python": LossCase(fb.CustomLoss(_half_squares), (_OUT,), cases.normal(_OUT)),
    "a function": LossCase(FunctionLoss(_log_cosh), (_OUT,), cases.normal(_OUT)),
}
