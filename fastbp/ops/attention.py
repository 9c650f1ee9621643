r"""The attention op: each query takes a mean of values, weighted by how well it fits their keys.

For each head, with queries q (Tq, D), keys k (Tk, D) and values v (Tk, D) of one sample:

.. math:: S = \frac{q k^T}{\sqrt D} + M, \qquad P_{ij} = \frac{e^{S_{ij}}}{\sum_l e^{S_{il}}}, \qquad y = P v

M is 0, or −∞ where a query may not look: at keys that come later (``causal``: query i sees the keys up to
i + Tk − Tq), at keys that are padding (mask (B, Tk), not 0 where a key is hidden), or whatever an additive mask (B, Tq,
Tk) says. Vaswani et al. (2017), https://arxiv.org/abs/1706.03762. There may be fewer heads of keys and values than of
queries: neighbouring heads share them (Ainslie et al. 2023, https://arxiv.org/abs/2305.13245).

Attention of a sequence to itself takes q, k and v side by side in one tensor, (B, T, (H + 2 K) D) with H heads of
queries and K of keys and of values; otherwise the inputs are q (B, Tq, H·D) and k and v side by side (B, Tk, 2·K·D).

**Derivation**, head by head. y is linear in v and P: :math:`dv = P^T dy` and :math:`dP = dy\, v^T`. Each row of P is a
softmax, for which :math:`dS_{ij} = P_{ij} (dP_{ij} - \sum_l P_{il} dP_{il})`; and as :math:`y_i = \sum_l P_{il} v_l`,
the sum is :math:`dy_i \cdot y_i`, known before any of P is. Then :math:`dq = dS\, k / \sqrt D` and
:math:`dk = dS^T q / \sqrt D`; an additive mask gets dS, summed over the heads. Heads that share keys add up.

What forward keeps is :math:`\log \sum_l e^{S_{il}}` of each query: P is computed anew from it, a block at a time, so
that memory grows with T and not with T² (Dao et al. 2022, https://arxiv.org/abs/2205.14135).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import numpy as np

from fastbp.ops.base import PRODUCT_SCRATCH, Array, Context, DType, Native, Op, Shape, Space, Work

# Elements of P that are there at a time.
_BLOCK = 1 << 20
# The C twin's: FBP_QUERIES and FBP_KEYS.
_QUERIES, _KEYS = 64, 128


@dataclass(frozen=True)
class AttentionOp(Op):
    """``y = softmax(q kᵀ / √D + mask) v``, head by head."""

    heads: int
    kv_heads: int
    head_dim: int
    causal: bool = False
    cross: bool = False
    key_padding_mask: bool = False
    attn_mask: bool = False
    name: ClassVar[str] = "attention"

    def input_dtype(self, index: int) -> DType:
        """Return what the input of this number has to hold."""
        return "int64" if self.key_padding_mask and index == 1 + self.cross else "real"

    def output_shape(self, *shapes: Shape) -> Shape:
        queries, keys = shapes[0][0], shapes[1 if self.cross else 0][0]
        if self.key_padding_mask and shapes[1 + self.cross] != (keys,):
            raise ValueError(f"MultiHeadAttention: key_padding_mask has shape {_written(shapes[1 + self.cross])}; "
                             f"expected (B, {keys}), one number for each key")
        if self.attn_mask and shapes[-1] != (queries, keys):
            raise ValueError(f"MultiHeadAttention: attn_mask has shape {_written(shapes[-1])}; expected "
                             f"(B, {queries}, {keys}), one number for each query and key")
        if self.causal and queries > keys:
            raise ValueError(f"MultiHeadAttention: causal attention of {queries} queries to {keys} keys leaves the "
                             "first queries no key; expected as many keys or more")
        return (queries, self.heads * self.head_dim)

    @property
    def checks_inputs(self) -> bool:  # type: ignore[override]
        """Whether masks may hide all keys of a query."""
        return self.key_padding_mask or self.attn_mask

    def check_inputs(self, shapes: Sequence[Shape], arrays: Sequence[Array | None]) -> None:
        """Raise ValueError for masks that leave a query no key at all."""
        queries, keys = shapes[0][0], shapes[1 if self.cross else 0][0]
        padding = arrays[1 + self.cross] if self.key_padding_mask else None
        added = arrays[-1] if self.attn_mask else None
        if padding is None and added is None:
            return
        names = [n for n, mask in (("key_padding_mask", padding), ("attn_mask", added)) if mask is not None]
        if added is None:       # the first query sees the fewest keys
            assert padding is not None
            hidden = (padding != 0)[:, None, :keys - queries + 1 if self.causal else keys]
        else:
            hidden = added == -np.inf
            if padding is not None:
                hidden |= (padding != 0)[:, None]
            if self.causal:
                hidden |= ~np.tri(queries, keys, keys - queries, dtype=bool)
        lost = hidden.all(axis=-1)
        if lost.any():
            row, query = (int(i) for i in np.argwhere(lost)[0])
            who = " and ".join([*names, *(["is_causal"] if self.causal else [])])
            last = ", or put the padding at the end" if self.causal and padding is not None else ""
            raise ValueError(f"MultiHeadAttention: {who} hide{'s' * (' ' not in who)} every key from query "
                             f"{query} of row {row}; expected at least one that it sees: leave such rows "
                             f"out{last}")

    def forward(self, ctx: Context, *xs: Array, **params: Array) -> Array:
        q, k, v = self._heads(xs)
        y, lse = np.empty_like(q), np.empty(q.shape[:-1], q.dtype)
        for rows in self._blocks(q, k):
            s = self._scores(xs, q, k, rows)
            most = s.max(axis=-1, keepdims=True)
            p = np.exp(s - most)
            total = p.sum(axis=-1, keepdims=True)
            y[..., rows, :] = (p / total) @ v
            lse[..., rows] = (most + np.log(total))[..., 0]
        ctx.saved.update(y=y, lse=lse)
        return self._beside(y)

    def backward(self, ctx: Context, dy: Array) -> tuple[tuple[Array | None, ...], dict[str, Array]]:
        q, k, v = self._heads(ctx.inputs)
        y, lse = ctx.saved["y"], ctx.saved["lse"]
        d = dy.reshape(*dy.shape[:2], self.kv_heads, -1, self.head_dim).transpose(0, 2, 3, 1, 4)
        dq, dk, dv = np.empty_like(q), np.zeros_like(k), np.zeros_like(v)
        dmask = np.zeros_like(ctx.inputs[-1]) if self.attn_mask else None
        mean = (d * y).sum(axis=-1, keepdims=True)
        for rows in self._blocks(q, k):
            p = np.exp(self._scores(ctx.inputs, q, k, rows) - lse[..., rows, None])
            ds = p * (d[..., rows, :] @ v.swapaxes(-1, -2) - mean[..., rows, :])
            dv += (p.swapaxes(-1, -2) @ d[..., rows, :]).sum(axis=2, keepdims=True)
            dq[..., rows, :] = ds @ k / sqrt(self.head_dim)
            dk += (ds.swapaxes(-1, -2) @ q[..., rows, :]).sum(axis=2, keepdims=True) / sqrt(self.head_dim)
            if dmask is not None:
                dmask[:, rows] = ds.sum(axis=(1, 2))
        parts = [self._beside(part) for part in (dq, dk, dv)]
        together = parts[1:] if self.cross else parts
        dxs: list[Array | None] = [*parts[:self.cross], np.concatenate(together, axis=-1)]
        if self.key_padding_mask:
            dxs.append(None)
        return (*dxs, *(() if dmask is None else (dmask,))), {}

    def native(self, *shapes: Shape) -> Native:
        queries, keys = shapes[0][0], shapes[1 if self.cross else 0][0]
        row = Work(cost=0.03 * self.heads * queries * keys * (self.head_dim + 50))
        own = 2 * self.head_dim * _KEYS + 2 * _QUERIES * _KEYS + _KEYS + queries
        return Native(dims=(queries, keys, self.heads, self.kv_heads, self.head_dim, int(self.causal), int(self.cross),
                            int(self.key_padding_mask), int(self.attn_mask)), attrs=(1 / sqrt(self.head_dim),),
                      saves=(Space(per_row=self.heads * queries),),
                      scratch=Space(fixed=PRODUCT_SCRATCH + 8 * own, kind="uint8"),
                      work={"forward": row, "backward": row})

    def _heads(self, xs: tuple[Array, ...]) -> tuple[Array, Array, Array]:
        """Return q (B, K, H / K, Tq, D), k and v (B, K, 1, Tk, D)."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        q, kv = (xs[0], xs[1]) if self.cross else np.split(xs[0], [queries], axis=-1)
        k, v = np.split(kv, [keys], axis=-1)
        return (self._split(q, self.heads // self.kv_heads), self._split(k, 1), self._split(v, 1))

    def _split(self, x: Array, shared: int) -> Array:
        return x.reshape(*x.shape[:2], self.kv_heads, shared, self.head_dim).transpose(0, 2, 3, 1, 4)

    def _beside(self, x: Array) -> Array:
        """Return (B, T, heads · D), the heads side by side."""
        rows, _, _, steps, _ = x.shape
        return x.transpose(0, 3, 1, 2, 4).reshape(rows, steps, x.shape[1] * x.shape[2] * x.shape[4])

    def _blocks(self, q: Array, k: Array) -> Iterator[slice]:
        """Cut the queries, so that P is never whole."""
        queries, keys = q.shape[3], k.shape[3]
        step = max(1, _BLOCK // max(1, len(q) * self.heads * keys))
        for i in range(0, queries, step):
            yield slice(i, min(i + step, queries))

    def _scores(self, xs: tuple[Array, ...], q: Array, k: Array, rows: slice) -> Array:
        """Return S for some queries: (B, K, H / K, rows, Tk)."""
        s: Array = q[..., rows, :] @ k.swapaxes(-1, -2) / sqrt(self.head_dim)
        if self.causal:
            late = q.shape[3] - k.shape[3]
            seen = np.arange(rows.start, rows.stop)[:, None] >= np.arange(k.shape[3]) + late
            s = np.where(seen, s, -np.inf)
        if self.key_padding_mask:
            s = np.where((xs[1 + self.cross] != 0)[:, None, None, None, :], -np.inf, s)
        if self.attn_mask:
            s = s + xs[-1][:, None, None, rows]
        return s.astype(q.dtype)

    def formula(self) -> str:
        return f"y = softmax(q kᵀ / √{self.head_dim}{' + mask' if self.causal or self.attn_mask else ''}) v"


def _written(shape: Shape) -> str:
    return f"({', '.join(map(str, ('B', *shape)))})"
