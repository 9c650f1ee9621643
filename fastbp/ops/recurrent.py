r"""The recurrent ops: RNN, GRU and LSTM over sequences, one layer in one direction.

They take z (B, T, G·H), what a linear op makes of the input for the G gates, and add what the state before gives to it.
With :math:`h_t` the state after step t (H numbers a sample), W (H, G·H), and :math:`u_t = h_{t-1} W`:

.. math::
    \text{RNN:}\quad  & h_t = f(z_t + u_t), \quad f = \tanh \text{ or } \max(0, \cdot) \\
    \text{GRU:}\quad  & r = \sigma(z^r_t + u^r_t), \quad s = \sigma(z^s_t + u^s_t), \quad
                        n = \tanh(z^n_t + r\,(u^n_t + \beta)), \quad h_t = (1 - s)\, n + s\, h_{t-1} \\
    \text{LSTM:}\quad & i, f, o = \sigma(z_t + u_t), \quad g = \tanh(z^g_t + u^g_t), \quad
                        c_t = f\, c_{t-1} + i\, g, \quad h_t = o \tanh c_t

Gates stand side by side in the order r, s, n and i, f, g, o, as in PyTorch. The state before the first step is 0 or
given. With ``reverse`` time runs backwards. With lengths (B, 1), a sample's steps from its length on do nothing: the
state stays as it is, and y is 0 there. Hochreiter and Schmidhuber (1997); Cho et al. (2014),
https://arxiv.org/abs/1406.1078.

y is (B, T, H), h of each step; with ``state`` rows follow at its end: the last state h, and for LSTM the last c.

**Derivation** (backpropagation through time). Going back in time, :math:`dh_t` is dy of the step plus what came from
step t + 1, and likewise :math:`dc_t`. With :math:`da` the gradient of what goes into a gate's activation, the chain
rule gives, step by step:

.. math::
    \text{RNN:}\quad  & da = dh\, f' \\
    \text{GRU:}\quad  & da^n = dh\,(1 - s)(1 - n^2), \quad da^r = da^n (u^n + \beta)\, r (1 - r), \quad
                        da^s = dh\,(h_{t-1} - n)\, s (1 - s) \\
    \text{LSTM:}\quad & dc \mathrel{+}= dh\, o\,(1 - \tanh^2 c), \quad da^o = dh \tanh c\; o (1 - o), \quad
                        da^f = dc\, c_{t-1} f (1 - f), \\ & da^i = dc\, g\, i (1 - i), \quad da^g = dc\, i (1 - g^2)

and :math:`dz_t = da`, :math:`dW = \sum_t h_{t-1}^T du_t`, where :math:`du = da` but for the GRU's
:math:`du^n = r\, da^n`, whose sum is dβ. The state before gets :math:`dh_{t-1} = du\, W^T` (GRU: :math:`+\, s\, dh`;
LSTM: :math:`dc_{t-1} = f\, dc`). Steps beyond a sample's length hand its dh and dc on as they are.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from fastbp.ops.base import PRODUCT_SCRATCH, Array, Context, DType, Native, Op, Shape, Space, Work
from fastbp.ops.special import sigmoid


@dataclass(frozen=True)
class RecurrentOp(Op):
    """One layer in one direction: inputs z, the state before if ``initial``, ``lengths`` of at most so many steps."""

    hidden_size: int
    reverse: bool = False
    initial: bool = False
    lengths: int = 0
    state: bool = False
    gates: ClassVar[int]
    """How many gates, or products with W, a step has."""
    states: ClassVar[int] = 1
    """How many vectors the state is made of: h, and c."""
    _more_saves: ClassVar[int] = 0
    spends_saves = True
    updates = True

    def output_shape(self, *shapes: Shape) -> Shape:
        steps = shapes[0][0]
        return (steps + self.states * self.state, self.hidden_size)

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        return {"weight": (self.hidden_size, self.gates * self.hidden_size)}

    def input_dtype(self, index: int) -> DType:
        """Return what the input of this number has to hold."""
        return "int64" if self.lengths and index == 1 + self.states * self.initial else "real"

    def among(self, index: int) -> range | None:
        """Return what the lengths may be."""
        return range(1, self.lengths + 1) if self.input_dtype(index) == "int64" else None

    @abstractmethod
    def step(self, ctx: Context, z: Array, before: list[Array]) -> tuple[list[Array], tuple[Array, ...]]:
        """Return the state after a step, and what its backward pass needs."""

    @abstractmethod
    def step_back(self, ctx: Context, d: list[Array], before: list[Array],
                  kept: tuple[Array, ...]) -> tuple[Array, Array, list[Array]]:
        """Return dz, du, and the gradient of the state before, but for what reaches it by u."""

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        z, given = xs[0], xs[1:1 + self.states * self.initial]
        rows, steps, H = len(z), z.shape[1], self.hidden_size
        y = np.zeros((rows, steps + self.states * self.state, H), z.dtype)
        now = list(given) or [np.zeros((rows, H), z.dtype) for _ in range(self.states)]
        ctx.saved["steps"] = saved = []
        for t in self._order(steps):
            after, kept = self.step(ctx, z[:, t], now)
            saved.append((t, now, kept))
            live = self._live(xs, t)
            y[:, t] = after[0] if live is None else np.where(live, after[0], 0)
            now = after if live is None else [np.where(live, new, old) for new, old in zip(after, now, strict=True)]
        for i, last in enumerate(now if self.state else ()):
            y[:, steps + i] = last
        return y

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array | None, ...], dict[str, Array]]:
        z, W = ctx.inputs[0], ctx.params["weight"]
        steps = z.shape[1]
        dz, dparams = np.zeros_like(z), {role: np.zeros_like(p) for role, p in ctx.params.items()}
        d = [dy[:, steps + i] if self.state else np.zeros_like(dy[:, 0]) for i in range(self.states)]
        for t, before, kept in reversed(ctx.saved["steps"]):
            live = self._live(ctx.inputs, t)
            da, du, back = self.step_back(ctx, [d[0] + dy[:, t], *d[1:]], before, kept)
            if live is not None:
                da, du = np.where(live, da, 0), np.where(live, du, 0)
            dz[:, t] = da
            dparams["weight"] += before[0].T @ du
            if "bias" in dparams:
                dparams["bias"] += du[:, -self.hidden_size:].sum(axis=0)
            back[0] = back[0] + du @ W.T
            d = back if live is None else [np.where(live, new, old) for new, old in zip(back, d, strict=True)]
        dxs = [dz, *(d if self.initial else ()), *([None] if self.lengths else ())]
        return tuple(dxs), dparams

    def native(self, *shapes: Shape) -> Native:
        steps, H, width = shapes[0][0], self.hidden_size, self.gates * self.hidden_size
        row = Work(cost=steps * (0.015 * H * width + 2 * width))
        unit = Work(cost=width, units=H, least=min(max(H // 8, 12), 192))
        saves = [steps * width, steps * H, self.states * H, *[steps * H] * self._more_saves]
        return Native(dims=(steps, H, self.states * self.state, int(self.reverse), int(self.initial),
                            int(self.lengths > 0), int(getattr(self, "nonlinearity", "") == "relu"), width),
                      params=("weight", "bias"), saves=tuple(Space(per_row=n) for n in saves),
                      prepared=H * width, prepared_always=True,
                      scratch=Space(fixed=PRODUCT_SCRATCH, kind="uint8"),
                      work={"prepare": unit, "forward": row, "backward": row,
                            "gradient": replace(unit, per_row=0.012 * steps * width)})

    def _order(self, steps: int) -> range:
        return range(steps - 1, -1, -1) if self.reverse else range(steps)

    def _live(self, xs: tuple[Array, ...], t: int) -> Array | None:
        """Return which samples have a step t, (B, 1), or None for all."""
        return t < xs[-1] if self.lengths else None

    def _cut(self, a: Array) -> list[Array]:
        """Return the parts of the gates."""
        return np.split(a, self.gates, axis=-1)


@dataclass(frozen=True)
class RNNOp(RecurrentOp):
    """``h = tanh(z + h W)``, or with ``max(0, ·)``."""

    nonlinearity: Literal["tanh", "relu"] = "tanh"
    name: ClassVar[str] = "rnn"
    gates: ClassVar[int] = 1

    def step(self, ctx: Context, z: Array, before: list[Array]) -> tuple[list[Array], tuple[Array, ...]]:
        a = z + before[0] @ ctx.params["weight"]
        h = np.tanh(a) if self.nonlinearity == "tanh" else np.maximum(a, 0)
        return [h], (h,)

    def step_back(self, ctx: Context, d: list[Array], before: list[Array],
                  kept: tuple[Array, ...]) -> tuple[Array, Array, list[Array]]:
        (h,) = kept
        da = d[0] * ((1 - h * h) if self.nonlinearity == "tanh" else (h > 0))
        return da, da, [np.zeros_like(h)]

    def formula(self) -> str:
        f = "tanh" if self.nonlinearity == "tanh" else "relu"
        return f"y = h of each step, h = {f}(z + h W)"


@dataclass(frozen=True)
class GRUOp(RecurrentOp):
    """``h = (1 - s) n + s h`` with the gates r, s and n; ``bias`` is β, of n."""

    bias: bool = True
    name: ClassVar[str] = "gru"
    _more_saves: ClassVar[int] = 1
    gates: ClassVar[int] = 3

    def parameter_shapes(self, *shapes: Shape) -> dict[str, Shape]:
        weight = super().parameter_shapes(*shapes)
        return {**weight, "bias": (self.hidden_size,)} if self.bias else weight

    def step(self, ctx: Context, z: Array, before: list[Array]) -> tuple[list[Array], tuple[Array, ...]]:
        zr, zs, zn = self._cut(z)
        ur, us, un = self._cut(before[0] @ ctx.params["weight"])
        if self.bias:
            un = un + ctx.params["bias"]
        r, s = sigmoid(zr + ur), sigmoid(zs + us)
        n = np.tanh(zn + r * un)
        return [(1 - s) * n + s * before[0]], (r, s, n, un)

    def step_back(self, ctx: Context, d: list[Array], before: list[Array],
                  kept: tuple[Array, ...]) -> tuple[Array, Array, list[Array]]:
        r, s, n, un = kept
        dn = d[0] * (1 - s) * (1 - n * n)
        dr, ds = dn * un * r * (1 - r), d[0] * (before[0] - n) * s * (1 - s)
        return np.concatenate([dr, ds, dn], axis=1), np.concatenate([dr, ds, dn * r], axis=1), [d[0] * s]

    def formula(self) -> str:
        return "y = h of each step, h = (1 - s) n + s h, r, s = σ(z + h W), n = tanh(z + r (h W + b))"


@dataclass(frozen=True)
class LSTMOp(RecurrentOp):
    """``c = f c + i g``, ``h = o tanh c`` with the gates i, f, g and o."""

    name: ClassVar[str] = "lstm"
    _more_saves: ClassVar[int] = 2
    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2

    def step(self, ctx: Context, z: Array, before: list[Array]) -> tuple[list[Array], tuple[Array, ...]]:
        i, f, g, o = self._cut(z + before[0] @ ctx.params["weight"])
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * before[1] + i * g
        tanh_c = np.tanh(c)
        return [o * tanh_c, c], (i, f, g, o, tanh_c)

    def step_back(self, ctx: Context, d: list[Array], before: list[Array],
                  kept: tuple[Array, ...]) -> tuple[Array, Array, list[Array]]:
        i, f, g, o, tanh_c = kept
        dc = d[1] + d[0] * o * (1 - tanh_c * tanh_c)
        da = np.concatenate([dc * g * i * (1 - i), dc * before[1] * f * (1 - f), dc * i * (1 - g * g),
                             d[0] * tanh_c * o * (1 - o)], axis=1)
        return da, da, [np.zeros_like(dc), dc * f]

    def formula(self) -> str:
        return "y = h of each step, h = o tanh(c), c = f c + i g, i, f, o = σ(z + h W), g = tanh(z + h W)"
