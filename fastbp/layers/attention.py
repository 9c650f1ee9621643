"""Attention, and what transformers are made of, over sequences (B, T, C)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fastbp.core.checks import count, flag, number
from fastbp.graph.graph import Initializer, Tensor
from fastbp.graph.streaming import Stream, stream
from fastbp.layers.activations import GELU, ReLU
from fastbp.layers.base import Layer, checked_initializer, one_input
from fastbp.layers.linear import Linear
from fastbp.layers.normalization import LayerNorm
from fastbp.ops.attention import AttentionOp
from fastbp.ops.concat import ConcatOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.elementwise import AddOp
from fastbp.ops.embedding import EmbeddingOp
from fastbp.ops.linear import LinearOp
from fastbp.ops.positions import PositionsOp
from fastbp.ops.rotary import RotaryOp
from fastbp.ops.slice import SliceOp
from fastbp.optim.initializers import Normal, XavierUniform, Zeros

__all__ = ["MultiHeadAttention", "Positions", "ScaledDotProductAttention", "TransformerDecoderLayer",
           "TransformerEncoderLayer"]


class MultiHeadAttention(Layer):
    r"""Attention with several heads: ``y = [softmax(q kᵀ / √D) v of each head] W_out + b_out``.

    q, k and v are linear in what it is called on: one tensor x attends to itself, with two, ``x, memory``, x attends to
    memory. Masks follow as further inputs, where the arguments say that there are any. Vaswani et al. (2017),
    https://arxiv.org/abs/1706.03762.

    Parameters
    ----------
    embed_dim : int or None
        Features of x and y; None learns them when the network is built.
    num_heads : int
        A divisor of embed_dim.
    bias : bool, default True
    num_kv_heads : int, optional
        Heads of keys and values, a divisor of num_heads, where several heads of queries share them. Default: num_heads.
    is_causal : bool, default False
        Whether a step sees those before it and itself alone.
    rotary : bool, default False
        Whether queries and keys are told their positions by turning pairs of features (:mod:`fastbp.ops.rotary`).
    key_padding_mask : bool, default False
        Whether there is an input, ``fb.Input(Tk, dtype="int64")``, that is not 0 for keys which no query may see.
    attn_mask : bool, default False
        Whether there is an input (B, Tq, Tk) that is added to the scores; −∞ hides a key.
    weight_init : initializer, optional
        Default: Xavier uniform. Biases start at 0.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, and tensors of another shape or number.

    Notes
    -----
    Parameters, with E = embed_dim and K = num_kv_heads · D: ``in_proj_weight`` (E, E + 2 K) makes q, k and v of x, or
    ``q_proj_weight`` (E, E) and ``kv_proj_weight`` (memory, 2 K) do; ``out_proj_weight`` (E, E); and biases likewise.
    Memory grows with T, not with T².

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(10, 16), fb.MultiHeadAttention(16, num_heads=4, is_causal=True), seed=0)
    >>> net.graph.outputs[0].shape
    (10, 16)
    """

    each_step = True

    def __init__(self, embed_dim: int | None, num_heads: int, bias: bool = True, *, num_kv_heads: int | None = None,
                 is_causal: bool = False, rotary: bool = False, key_padding_mask: bool = False, attn_mask: bool = False,
                 weight_init: Initializer | None = None, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        label = f"MultiHeadAttention({embed_dim!r}, {num_heads!r})"
        self.embed_dim = None if embed_dim is None else count(label, "embed_dim", embed_dim)
        self.num_heads = count(label, "num_heads", num_heads)
        if self.embed_dim is not None and self.embed_dim % self.num_heads:
            raise ValueError(f"{label}: num_heads does not divide embed_dim; expected a divisor")
        self.num_kv_heads = None if num_kv_heads is None else count(label, "num_kv_heads", num_kv_heads)
        if self.num_heads % (self.num_kv_heads or 1):
            raise ValueError(f"{label}: num_kv_heads is {num_kv_heads}, which does not divide num_heads; expected a "
                             "divisor")
        self.bias = flag(label, "bias", bias)
        self.is_causal = flag(label, "is_causal", is_causal)
        self.rotary = flag(label, "rotary", rotary)
        self.key_padding_mask = flag(label, "key_padding_mask", key_padding_mask)
        self.attn_mask = flag(label, "attn_mask", attn_mask)
        self.weight_init = checked_initializer(label, "weight_init", weight_init, XavierUniform())

    def lower(self, *inputs: Tensor) -> Tensor:
        masks = self.key_padding_mask + self.attn_mask
        cross = len(inputs) - masks == 2
        if len(inputs) - masks not in (1, 2):
            wanted = "".join(f", {m}" for m in ("key_padding_mask", "attn_mask") if getattr(self, m))
            raise TypeError(f"{self!r}: called on {len(inputs)} tensors; expected x{wanted}, or x, memory{wanted}")
        x, memory, masked = inputs[0], inputs[1] if cross else inputs[0], inputs[1 + cross:]
        for name, tensor in (("x", x), ("memory", memory)):
            if len(tensor.shape) != 2:
                shape = ", ".join(map(str, tensor.shape))
                raise ValueError(f"{self!r}: {name} has shape (B, {shape}); expected (B, T, C), sequences of vectors")
        features, kv_heads = self._features(x), self.num_kv_heads or self.num_heads
        head = features // self.num_heads
        keys = kv_heads * head
        goes_on = stream()
        if goes_on is not None and cross and (self.is_causal or self.rotary):
            raise ValueError(f"{self!r}: counts positions in x and memory alike; in a stream it looks at a memory "
                             "without is_causal and rotary")
        if goes_on is not None and not cross:
            return self._linear("out_proj", self._go_on(goes_on, inputs, features, kv_heads, head), features)
        op = AttentionOp(self.num_heads, kv_heads, head, self.is_causal, cross, self.key_padding_mask, self.attn_mask)
        if cross:
            q = self._turn(self._linear("q_proj", x, features), self.num_heads, head)
            kv = self._turn(self._linear("kv_proj", memory, 2 * keys), kv_heads, head)
            y = self.apply(op, q, kv, *masked)
        else:
            qkv = self._turn(self._linear("in_proj", x, features + 2 * keys), self.num_heads + kv_heads, head)
            y = self.apply(op, qkv, *masked)
        return self._linear("out_proj", y, features)

    def whole_inputs(self, count: int) -> tuple[int, ...]:
        if count - self.key_padding_mask - self.attn_mask < 2:
            return ()
        return (1, 2) if self.key_padding_mask else (1,)

    def _go_on(self, goes_on: Stream, inputs: tuple[Tensor, ...], features: int, kv_heads: int, head: int) -> Tensor:
        """Attend to the steps before a piece, and to those of it.

        Positions are counted from the first step that there is room for: scores depend on differences alone.
        """
        if not self.is_causal or len(inputs) > 1:
            raise ValueError(f"{self!r}: looks at later steps, or at more than x; in a stream there is what came "
                             "before alone: is_causal=True")
        (x,), both, capacity = inputs, 2 * kv_heads * head, goes_on.capacity
        qkv = self._linear("in_proj", x, features + both)
        q, new = (self.apply(SliceOp(2, *part), qkv) for part in ((0, features), (features, features + both)))
        before = goes_on.before(both)
        goes_on.keys.append((before, new))
        kv = self.apply(ConcatOp(1), before, new)
        if self.rotary:
            q, kv = self.apply(RotaryOp(self.num_heads, head, first=capacity), q), self._turn(kv, kv_heads, head)
        op = AttentionOp(self.num_heads, kv_heads, head, True, True, True)
        return self.apply(op, q, kv, goes_on.hidden_steps(x.shape[0]))

    def _features(self, x: Tensor) -> int:
        features = x.shape[-1]
        if self.embed_dim is not None and features != self.embed_dim:
            raise ValueError(f"{self!r}: x has shape (B, {', '.join(map(str, x.shape))}); expected {self.embed_dim} "
                             "features in the last axis")
        if features % self.num_heads or (self.rotary and features // self.num_heads % 2):
            even = ", with an even number of features for each head" if self.rotary else ""
            raise ValueError(f"{self!r}: x has {features} features; expected a multiple of num_heads{even}")
        return features

    def _linear(self, role: str, x: Tensor, outputs: int) -> Tensor:
        return self.apply(LinearOp(x.shape[-1], outputs, self.bias), x,
                          initializers={"weight": self.weight_init, "bias": Zeros()},
                          names={"weight": f"{role}_weight", "bias": f"{role}_bias"})

    def _turn(self, x: Tensor, heads: int, head: int) -> Tensor:
        return self.apply(RotaryOp(heads, head), x) if self.rotary else x

    def hyperparameters(self) -> dict[str, Any]:
        return {"embed_dim": self.embed_dim, "num_heads": self.num_heads, "bias": self.bias,
                "num_kv_heads": self.num_kv_heads, "is_causal": self.is_causal, "rotary": self.rotary,
                "key_padding_mask": self.key_padding_mask, "attn_mask": self.attn_mask}

    def __repr__(self) -> str:
        usual = {"bias": True, "num_kv_heads": None, "is_causal": False, "rotary": False, "key_padding_mask": False,
                 "attn_mask": False}
        given = [f", {k}={v!r}" for k, v in self.hyperparameters().items() if k in usual and v != usual[k]]
        return f"MultiHeadAttention({self.embed_dim}, {self.num_heads}{''.join(given)})"


class ScaledDotProductAttention(Layer):
    r"""Attention of queries to keys, ``y = softmax(q kᵀ / √D) v`` head by head, without parameters.

    Called on ``q, k, v``, and on masks as :class:`MultiHeadAttention`, which makes q, k and v by linear layers as well.

    Parameters
    ----------
    num_heads : int
        A divisor of the features of q.
    num_kv_heads : int, optional
        Heads of keys and values, a divisor of num_heads, where several heads of queries share them. Default: num_heads.
    is_causal, key_padding_mask, attn_mask : bool, default False
        As in :class:`MultiHeadAttention`.
    name : str, optional

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, and tensors of another shape or number.

    Notes
    -----
    Shapes, with D features a head: q and y ``(B, Tq, num_heads · D)``, k and v ``(B, Tk, num_kv_heads · D)``. Memory
    grows with Tq and Tk, not with their product.

    Examples
    --------
    >>> import fastbp as fb
    >>> q, k, v = fb.Input(5, 8), fb.Input(7, 8), fb.Input(7, 8)
    >>> fb.ScaledDotProductAttention(num_heads=2)(q, k, v).shape
    (5, 8)
    """

    def __init__(self, num_heads: int, *, num_kv_heads: int | None = None, is_causal: bool = False,
                 key_padding_mask: bool = False, attn_mask: bool = False, name: str | None = None) -> None:
        super().__init__(name=name)
        label = f"ScaledDotProductAttention({num_heads!r})"
        self.num_heads = count(label, "num_heads", num_heads)
        self.num_kv_heads = None if num_kv_heads is None else count(label, "num_kv_heads", num_kv_heads)
        if self.num_heads % (self.num_kv_heads or 1):
            raise ValueError(f"{label}: num_kv_heads is {num_kv_heads}, which does not divide num_heads; expected a "
                             "divisor")
        self.is_causal = flag(label, "is_causal", is_causal)
        self.key_padding_mask = flag(label, "key_padding_mask", key_padding_mask)
        self.attn_mask = flag(label, "attn_mask", attn_mask)

    def lower(self, *inputs: Tensor) -> Tensor:
        masks = [m for m in ("key_padding_mask", "attn_mask") if getattr(self, m)]
        if len(inputs) != 3 + len(masks):
            raise TypeError(f"{self!r}: called on {len(inputs)} tensors; expected {', '.join(('q', 'k', 'v', *masks))}")
        q, k, v = inputs[:3]
        kv_heads = self.num_kv_heads or self.num_heads
        head = q.shape[-1] // self.num_heads
        steps = k.shape[:1]
        for name, x, expected in (("q", q, (*q.shape[:1], self.num_heads * head)), ("k", k, (*steps, kv_heads * head)),
                                  ("v", v, (*steps, kv_heads * head))):
            if x.shape != expected or len(expected) != 2:
                shape, wanted = (", ".join(map(str, s)) for s in (x.shape, expected))
                raise ValueError(f"{self!r}: {name} has shape (B, {shape}); expected (B, {wanted}): {self.num_heads} "
                                 f"heads of q, {kv_heads} of k and v, of as many features each")
        op = AttentionOp(self.num_heads, kv_heads, head, self.is_causal, True, self.key_padding_mask, self.attn_mask)
        return self.apply(op, q, self.apply(ConcatOp(2), k, v), *inputs[3:])

    def hyperparameters(self) -> dict[str, Any]:
        return {"num_heads": self.num_heads, "num_kv_heads": self.num_kv_heads, "is_causal": self.is_causal,
                "key_padding_mask": self.key_padding_mask, "attn_mask": self.attn_mask}

    def __repr__(self) -> str:
        usual = {"num_kv_heads": None, "is_causal": False, "key_padding_mask": False, "attn_mask": False}
        given = [f", {k}={v!r}" for k, v in self.hyperparameters().items() if k in usual and v != usual[k]]
        return f"ScaledDotProductAttention({self.num_heads}{''.join(given)})"


class Positions(Layer):
    """A learnt vector for each place in a sequence, added to what stands there: ``y[b, t] = x[b, t] + weight[t]``.

    Parameters
    ----------
    max_length : int
        The longest sequence.
    weight_init : initializer, optional
        Default: normal with standard deviation 0.02.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.
    """

    each_step = True

    def __init__(self, max_length: int, *, weight_init: Initializer | None = None, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        self.max_length = count("Positions", "max_length", max_length)
        self.weight_init = checked_initializer("Positions", "weight_init", weight_init, Normal(std=0.02))

    def lower(self, *inputs: Tensor) -> Tensor:
        start, goes_on = {"weight": self.weight_init}, stream()
        x = one_input(self, inputs)
        if goes_on is None:
            return self.apply(PositionsOp(self.max_length), x, initializers=start)
        places = goes_on.places_of(x.shape[0])
        return self.apply(AddOp(), x, self.apply(EmbeddingOp(self.max_length, x.shape[1]), places, initializers=start))

    def hyperparameters(self) -> dict[str, Any]:
        return {"max_length": self.max_length}


class _TransformerLayer(Layer):
    """What encoder and decoder layers have in common: normalised ways past attention and past two linear layers."""

    each_step = True

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int, dropout: float, activation: str,
                 norm_first: bool, is_causal: bool, name: str | None, trainable: bool) -> None:
        super().__init__(name=name, trainable=trainable)
        label = type(self).__name__
        self.d_model, self.nhead = count(label, "d_model", d_model), count(label, "nhead", nhead)
        self.dim_feedforward = count(label, "dim_feedforward", dim_feedforward)
        self.dropout = number(label, "dropout", dropout, "a number from 0 up to, but not including, 1",
                              lambda r: 0 <= r < 1)
        if activation not in ("relu", "gelu"):
            raise ValueError(f'{label}: activation is {activation!r}; expected "relu" or "gelu"')
        self.activation = activation
        self.norm_first = flag(label, "norm_first", norm_first)
        self.is_causal = flag(label, "is_causal", is_causal)
        self.self_attn = self.part("self_attn", MultiHeadAttention(d_model, nhead, is_causal=is_causal))
        self.linear1 = self.part("linear1", Linear(d_model, dim_feedforward))
        self.linear2 = self.part("linear2", Linear(dim_feedforward, d_model))
        self.act = self.part("act", ReLU() if activation == "relu" else GELU())

    def _norm(self, role: str) -> LayerNorm:
        return self.part(role, LayerNorm(self.d_model))

    def _past(self, norm: LayerNorm, x: Tensor, way: Callable[[Tensor], Tensor]) -> Tensor:
        """Return x + way(x), normalised first or last."""
        y: Tensor = way(norm(x) if self.norm_first else x)
        if self.dropout:
            y = self.apply(DropoutOp(self.dropout), y)
        y = self.apply(AddOp(), x, y)
        last: Tensor = y if self.norm_first else norm(y)
        return last

    def _feed_forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear2(self.act(self.linear1(x)))
        return y

    def hyperparameters(self) -> dict[str, Any]:
        return {"d_model": self.d_model, "nhead": self.nhead, "dim_feedforward": self.dim_feedforward,
                "dropout": self.dropout, "activation": self.activation, "norm_first": self.norm_first,
                "is_causal": self.is_causal}


class TransformerEncoderLayer(_TransformerLayer):
    r"""A transformer block: self-attention, then two linear layers at each step, each with a way past it.

    ``h = norm1(x + attention(x))``, ``y = norm2(h + linear2(f(linear1(h))))``; with ``norm_first`` the norms stand
    before attention and linear layers instead. Vaswani et al. (2017), https://arxiv.org/abs/1706.03762.

    Parameters
    ----------
    d_model : int
        Features of x and y.
    nhead : int
        Heads of attention, a divisor of d_model.
    dim_feedforward : int, default 2048
    dropout : float, default 0.1
        Of what attention and linear layers add to x. (PyTorch's drops attention weights and hidden units as well.)
    activation : {"relu", "gelu"}, default "relu"
    norm_first : bool, default False
    is_causal : bool, default False
        Whether a step sees those before it and itself alone.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Notes
    -----
    Parameters are named as those of PyTorch's ``nn.TransformerEncoderLayer``, with ``self_attn.out_proj_weight`` for
    ``self_attn.out_proj.weight``.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(10, 16), fb.TransformerEncoderLayer(16, nhead=4, dim_feedforward=32), seed=0)
    >>> net.params["0.linear1.weight"].shape
    (16, 32)
    """

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Literal["relu", "gelu"] = "relu", norm_first: bool = False, *, is_causal: bool = False,
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(d_model, nhead, dim_feedforward, dropout, activation, norm_first, is_causal, name, trainable)
        self.norm1, self.norm2 = self._norm("norm1"), self._norm("norm2")

    def lower(self, *inputs: Tensor) -> Tensor:
        h = self._past(self.norm1, one_input(self, inputs), self.self_attn)
        return self._past(self.norm2, h, self._feed_forward)


class TransformerDecoderLayer(_TransformerLayer):
    r"""A transformer block that looks at a memory as well: self-attention, attention to memory, two linear layers.

    Called on ``x, memory``. Each part has a way past it, as in :class:`TransformerEncoderLayer`.

    Parameters
    ----------
    d_model, nhead, dim_feedforward, dropout, activation, norm_first, name, trainable
        As in :class:`TransformerEncoderLayer`.
    is_causal : bool, default True
        Whether a step of x sees those before it and itself alone.
    """

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: Literal["relu", "gelu"] = "relu", norm_first: bool = False, *, is_causal: bool = True,
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(d_model, nhead, dim_feedforward, dropout, activation, norm_first, is_causal, name, trainable)
        self.multihead_attn = self.part("multihead_attn", MultiHeadAttention(d_model, nhead))
        self.norm1, self.norm2, self.norm3 = self._norm("norm1"), self._norm("norm2"), self._norm("norm3")

    def whole_inputs(self, count: int) -> tuple[int, ...]:
        return (1,)

    def lower(self, *inputs: Tensor) -> Tensor:
        if len(inputs) != 2:
            raise TypeError(f"{self!r}: called on {len(inputs)} tensors; expected x and memory")
        x, memory = inputs
        h = self._past(self.norm1, x, self.self_attn)
        h = self._past(self.norm2, h, lambda q: self.multihead_attn(q, memory))
        return self._past(self.norm3, h, self._feed_forward)
