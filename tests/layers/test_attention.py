"""Attention and transformer layers against PyTorch, and what they say of what does not fit."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from conftest import backends
from torch_peers import compare

import fastbp as fb


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("seed", range(60))
def test_attention_is_pytorchs(seed: int, backend: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    F = torch.nn.functional
    rng = np.random.default_rng(seed)
    kv, shared, D = int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.choice([1, 2, 3, 5, 8, 16, 20]))
    heads = kv * shared
    E, rows = heads * D, int(rng.integers(1, 4))
    cross, bias, padding, additive = (bool(b) for b in rng.integers(0, 2, 4))
    tq = int(rng.integers(1, 12))
    tk = int(rng.integers(tq, 14)) if cross else tq
    causal = bool(rng.integers(0, 2))
    layer = fb.MultiHeadAttention(E, heads, bias, num_kv_heads=kv, is_causal=causal, key_padding_mask=padding,
                                  attn_mask=additive)
    x = fb.Input(tq, E)
    inputs = [x, *([fb.Input(tk, 7)] if cross else []), *([fb.Input(tk, dtype="int64")] if padding else []),
              *([fb.Input(tq, tk)] if additive else [])]
    net = fb.Network(inputs if len(inputs) > 1 else x, layer(*inputs), dtype="float64", seed=0, backend=backend)
    xs = [rng.standard_normal((rows, *t.shape)) for t in inputs]
    hidden = rng.random((rows, tk)) < 0.4
    hidden[:, 0] = False
    if padding:
        xs[1 + cross] = hidden.astype(np.int64)

    def split(a: Any, n: int) -> Any:
        return a.reshape(rows, -1, n, D).movedim(2, 1)

    def peer(x: Any, *more: Any, **p: Any) -> Any:
        def linear(role: str, a: Any) -> Any:
            return a @ p[f"{role}_weight"] + p.get(f"{role}_bias", 0)
        if cross:
            q, (k, v) = linear("q_proj", x), linear("kv_proj", more[0]).split([kv * D] * 2, dim=-1)
        else:
            q, k, v = linear("in_proj", x).split([E, kv * D, kv * D], dim=-1)
        mask = torch.zeros(rows, 1, tq, tk, dtype=torch.float64)
        if causal:
            mask = mask.masked_fill(~torch.ones(tq, tk, dtype=torch.bool).tril(tk - tq), -torch.inf)
        if padding:
            mask = mask.masked_fill(torch.from_numpy(hidden)[:, None, None], -torch.inf)
        if additive:
            mask = mask + more[-1][:, None]
        y = F.scaled_dot_product_attention(split(q, heads), split(k, kv), split(v, kv), mask, enable_gqa=True)
        return linear("out_proj", y.movedim(1, 2).reshape(rows, tq, E))

    roles = {name.split(".")[1]: (lambda q, name=name: q[name]) for name in net.params}
    compare(net, peer, xs, roles, rng)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("seed", range(12))
def test_transformer_layers_are_pytorchs(seed: int, backend: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    rng = np.random.default_rng(seed)
    decoder, first, causal = seed % 2 == 1, bool(rng.integers(0, 2)), bool(rng.integers(0, 2))
    activation = ["relu", "gelu"][int(rng.integers(0, 2))]
    nhead, rows, steps = int(rng.integers(1, 4)), 2, int(rng.integers(1, 8))
    d = nhead * int(rng.integers(1, 6))
    kind = fb.TransformerDecoderLayer if decoder else fb.TransformerEncoderLayer
    layer = kind(d, nhead, 11, 0.0, activation, first, is_causal=causal, name="it")
    inputs = [fb.Input(steps, d), *([fb.Input(5, d)] if decoder else [])]
    net = fb.Network(inputs if decoder else inputs[0], layer(*inputs), dtype="float64", seed=0, backend=backend)
    peer_kind = torch.nn.TransformerDecoderLayer if decoder else torch.nn.TransformerEncoderLayer
    module = peer_kind(d, nhead, 11, 0.0, activation, batch_first=True, norm_first=first, dtype=torch.float64)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(steps, dtype=torch.float64) if causal else None

    def peer(x: Any, *memory: Any, **parameters: Any) -> Any:
        options = {"tgt_mask": mask} if decoder else {"src_mask": mask}
        return torch.func.functional_call(module, parameters, (x, *memory), options)

    read: dict[str, Any] = {}
    for full in net.params:
        name = full.removeprefix("it.").replace("out_proj_", "out_proj.")
        if "norm" in name or name.endswith("bias"):
            read[name] = lambda p, full=full: p[full]
        else:
            read[name] = lambda p, full=full: p[full].T
    if decoder:
        for part in ("weight", "bias"):
            read[f"multihead_attn.in_proj_{part}"] = lambda p, part=part: torch.cat(
                [p[f"it.multihead_attn.{role}_proj_{part}"].movedim(0, -1) for role in ("q", "kv")])
            for role in ("q", "kv"):
                read.pop(f"multihead_attn.{role}_proj_{part}")
    compare(net, peer, [rng.standard_normal((rows, *t.shape)) for t in inputs], read, rng)


def test_rotary_scores_depend_on_distance_alone() -> None:
    from fastbp.ops.rotary import RotaryOp
    op, rng = RotaryOp(1, 8), np.random.default_rng(0)
    q, k = np.tile(rng.standard_normal(8), (1, 10, 1)), np.tile(rng.standard_normal(8), (1, 10, 1))
    turned = [op._turned(a, 1) for a in (q, k)]
    scores = turned[0][0] @ turned[1][0].T
    for apart in range(-9, 10):
        diagonal = np.diag(scores, apart)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores[0, 0], q[0, 0] @ k[0, 0])


@pytest.mark.parametrize("backend", backends())
def test_scores_are_never_whole(backend: Any) -> None:
    T, heads = 2048, 4
    net = fb.Sequential(fb.Input(T, 8), fb.MultiHeadAttention(8, heads, is_causal=True), seed=0, backend=backend)
    x = np.random.default_rng(0).standard_normal((1, T, 8)).astype("float32")
    tracemalloc.start()
    net.loss_and_grad(x, x, fb.MSE())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < heads * T * T * 4


@pytest.mark.parametrize(("call", "message"), [
    (lambda: fb.MultiHeadAttention(8, 3), "MultiHeadAttention(8, 3): num_heads does not divide embed_dim; expected a "
     "divisor"),
    (lambda: fb.MultiHeadAttention(8, 4, num_kv_heads=3),
     "MultiHeadAttention(8, 4): num_kv_heads is 3, which does not divide num_heads; expected a divisor"),
    (lambda: fb.MultiHeadAttention(8, 4)(fb.Input(8)),
     "MultiHeadAttention(8, 4): x has shape (B, 8); expected (B, T, C), sequences of vectors"),
    (lambda: fb.MultiHeadAttention(8, 4, attn_mask=True)(fb.Input(3, 8)),
     "MultiHeadAttention(8, 4, attn_mask=True): called on 1 tensors; expected x, attn_mask, or x, memory, attn_mask"),
    (lambda: fb.MultiHeadAttention(8, 4, attn_mask=True)(fb.Input(3, 8), fb.Input(3, 4)),
     "MultiHeadAttention: attn_mask has shape (B, 3, 4); expected (B, 3, 3), one number for each query and key"),
    (lambda: fb.Positions(4)(fb.Input(5, 2)),
     "Positions: x has shape (B, 5, 2); expected (B, T, C) with at most 4 steps, as max_length says"),
])
def test_what_does_not_fit_is_named(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize(("cross", "causal", "padding", "additive", "hidden"), [
    (False, False, True, False, "padding"), (True, False, True, False, "padding"),
    (False, False, False, True, "additive"), (True, True, False, True, "additive"),
    (False, True, True, False, "first key"), (True, True, True, True, "between them"),
])
def test_a_mask_that_hides_every_key_is_an_error(cross: bool, causal: bool, padding: bool, additive: bool,
                                                 hidden: str, backend: Any) -> None:
    x, memory = fb.Input(3, 4), fb.Input(5 if cross else 3, 4)
    keys = memory.shape[0]
    masks = [*([fb.Input(keys, dtype="int64")] if padding else []), *([fb.Input(3, keys)] if additive else [])]
    inputs = [x, *([memory] if cross else []), *masks]
    layer = fb.MultiHeadAttention(4, 2, is_causal=causal, key_padding_mask=padding, attn_mask=additive)
    net = fb.Network(inputs, layer(*inputs), seed=0, backend=backend)
    arrays = [np.zeros((2, *t.shape), "int64" if t.dtype == "int64" else "float32") for t in inputs]
    assert np.isfinite(net.predict(tuple(arrays))).all()
    pad, add = arrays[1 + cross] if padding else None, arrays[-1]
    if hidden == "padding":
        pad[1] = 1
    elif hidden == "additive":
        add[1, 2] = -np.inf
    elif hidden == "first key":
        pad[1, 0] = 1
    else:
        pad[1, :4], add[1, 2, 4] = 1, -np.inf
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(0.1))
    before = net.params.flat.copy()
    for call in (lambda: net.predict(tuple(arrays)), lambda: net.forward(tuple(arrays), training=True),
                 lambda: trainer.step(tuple(arrays), np.zeros((2, 3, 4)))):
        with pytest.raises(ValueError, match=r"every key from query \d of row 1; expected at least one that it sees"):
            call()
    np.testing.assert_array_equal(net.params.flat, before)
