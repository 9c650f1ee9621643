"""Modules of PyTorch that are several ops here, or keep their parameters in another way: recurrence, attention, bags.

One row a module: the layer, what its options must be, and its parameters as the layer has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import layers
from fastbp.layers.base import Layer
from fastbp.ops.base import Array

_Must = tuple[tuple[Callable[[Any], bool], str], ...]


@dataclass(frozen=True)
class Module:
    """One module of ``torch.nn``.

    Attributes
    ----------
    layer : function
        Makes the layer of a module, and of the arguments that every layer takes.
    state : function
        Makes the layer's parameters, by role, of the module's arrays by name.
    must : tuple of (function, str)
        What options must be, and what is said where they are not.
    features : function
        Returns how many features it takes; None for ids.
    """

    layer: Callable[[Any, dict[str, Any]], Layer]
    state: Callable[[Mapping[str, Array]], dict[str, Array]]
    must: _Must = ()
    features: Callable[[Any], int] | None = None


def _transposed(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.replace("out_proj.", "out_proj_"): a.T for name, a in arrays.items()}


def _recurrent(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Two biases that are added up become one; but for the last gate of a GRU, whose second one stands within."""
    state: dict[str, Array] = {}
    for name, a in arrays.items():
        if name.startswith("weight_"):
            state[name] = a.T
        elif name.startswith("bias_ih_"):
            suffix = name.removeprefix("bias_ih_")
            second = arrays[f"bias_hh_{suffix}"].copy()
            if len(a) == 3 * arrays[f"weight_hh_{suffix}"].shape[1]:
                hidden = len(a) // 3
                state[f"bias_hn_{suffix}"] = second[2 * hidden:].copy()
                second[2 * hidden:] = 0
            state[f"bias_{suffix}"] = a + second
    return state


def _parted(state: dict[str, Array]) -> dict[str, Array]:
    """One bias becomes two, the second of them 0 but for the last gate of a GRU."""
    arrays: dict[str, Array] = {}
    for role, a in state.items():
        if role.startswith("weight_"):
            arrays[role] = a.T
        elif not role.startswith("bias_hn_"):
            suffix = role.removeprefix("bias_")
            second, within = np.zeros_like(a), state.get(f"bias_hn_{suffix}")
            if within is not None:
                second[-len(within):] = within
            arrays |= {f"bias_ih_{suffix}": a, f"bias_hh_{suffix}": second}
    return arrays


def _attention(arrays: Mapping[str, Array], roles: Collection[str]) -> dict[str, Array]:
    """Queries have weights of their own in attention to a memory."""
    state = _transposed(arrays)
    if "q_proj_weight" in roles:
        for kind in ("weight", "bias"):
            if (whole := state.pop(f"in_proj_{kind}", None)) is not None:
                width = whole.shape[-1] // 3
                state |= {f"q_proj_{kind}": whole[..., :width], f"kv_proj_{kind}": whole[..., width:]}
        if "k_proj_weight" in state:
            state["kv_proj_weight"] = np.concatenate([state.pop(f"{k}_proj_weight") for k in "kv"], axis=-1)
    return state


def _joined(state: dict[str, Array]) -> dict[str, Array]:
    """Queries, keys and values have one weight in PyTorch, in attention to a memory of the same size too."""
    arrays: dict[str, Array] = {}
    for role, a in state.items():
        part, _, kind = role.rpartition("_")
        if part == "out_proj":
            arrays[f"out_proj.{kind}"] = a.T
        elif part == "in_proj":
            arrays[role] = a.T
        elif part == "q_proj":
            more = state[f"kv_proj_{kind}"]
            if a.shape[:-1] == more.shape[:-1]:
                arrays[f"in_proj_{kind}"] = np.concatenate([a, more], axis=-1).T
            else:
                arrays |= {"q_proj_weight": a.T, **{f"{k}_proj_weight": half.T for k, half in
                                                    zip("kv", np.split(more, 2, axis=-1), strict=True)}}
    return arrays


def _options(m: Any) -> dict[str, Any]:
    return {"num_layers": m.num_layers, "bias": m.bias, "dropout": m.dropout, "bidirectional": m.bidirectional}


_BATCH_FIRST: _Must = ((lambda m: m.batch_first, "batch_first=False"),)
_ATTENTION: _Must = (
    *_BATCH_FIRST, (lambda m: m._qkv_same_embed_dim, "a kdim or vdim of its own"),
    (lambda m: m.bias_k is None and not m.add_zero_attn, "keys of its own (add_bias_kv, add_zero_attn)"),
    (lambda m: not m.dropout, "dropout of the attention weights"))


def _rnn(m: Any) -> int:
    return int(m.input_size)


MODULES: dict[str, Module] = {
    "RNN": Module(lambda m, o: layers.RNN(m.input_size, m.hidden_size, nonlinearity=m.nonlinearity, **_options(m), **o),
                  _recurrent, _BATCH_FIRST, _rnn),
    "GRU": Module(lambda m, o: layers.GRU(m.input_size, m.hidden_size, **_options(m), **o), _recurrent, _BATCH_FIRST,
                  _rnn),
    "LSTM": Module(lambda m, o: layers.LSTM(m.input_size, m.hidden_size, **_options(m), **o), _recurrent,
                   (*_BATCH_FIRST, (lambda m: not m.proj_size, "a proj_size")), _rnn),
    "MultiheadAttention": Module(
        lambda m, o: layers.MultiHeadAttention(m.embed_dim, m.num_heads, m.in_proj_bias is not None, **o), _transposed,
        _ATTENTION, lambda m: int(m.embed_dim)),
    "TransformerEncoderLayer": Module(
        lambda m, o: layers.TransformerEncoderLayer(
            m.self_attn.embed_dim, m.self_attn.num_heads, m.linear1.out_features, m.dropout1.p,
            "relu" if m.activation_relu_or_gelu == 1 else "gelu", m.norm_first, **o), _transposed,
        ((lambda m: m.self_attn.batch_first, "batch_first=False"),
         (lambda m: m.activation_relu_or_gelu, "an activation other than relu and gelu"),
         (lambda m: m.linear1.bias is not None, "bias=False"),
         (lambda m: m.norm1.eps == m.norm2.eps == 1e-5, "a layer_norm_eps other than 1e-5"),
         (lambda m: not m.dropout.p, "dropout, which it applies within as well")),
        lambda m: int(m.self_attn.embed_dim)),
    "EmbeddingBag": Module(
        lambda m, o: layers.Embedding(m.num_embeddings, m.embedding_dim, m.padding_idx, mode=m.mode, **o), dict,
        ((lambda m: m.mode != "max", 'mode="max"'), (lambda m: m.max_norm is None, "a max_norm"),
         (lambda m: not m.scale_grad_by_freq and not m.sparse, "scale_grad_by_freq=True or sparse=True"))),
}
"""By the name of their class."""


def state_of(name: str, part: Any) -> dict[str, Array]:
    """Return the parameters of a module as its layer here has them, by full name."""
    arrays = {n: np.array(p.detach().cpu().numpy()) for n, p in part.named_parameters()}
    found = MODULES[type(part).__name__].state(arrays)
    return {f"{name}.{role}": np.ascontiguousarray(a) for role, a in found.items()}


# ---- layers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Family:
    """Layers whose parameters PyTorch has in other pieces.

    Attributes
    ----------
    roles : str
        A pattern of what they are called here.
    there, here : function
        From a layer's parameters by role to those of the module, and back, where the roles are known.
    """

    roles: str
    there: Callable[[dict[str, Array]], dict[str, Array]]
    here: Callable[[Mapping[str, Array], Collection[str]], dict[str, Array]]


_FAMILIES = (
    _Family(r"(weight_ih|weight_hh|bias|bias_hn)_l\d+(_reverse)?", _parted, lambda arrays, roles: _recurrent(arrays)),
    _Family(r"(in|q|kv|out)_proj_(weight|bias)", _joined, _attention),
)


@dataclass(frozen=True)
class Piece:
    """A layer, or a part of one, whose parameters PyTorch has in other pieces."""

    name: str
    roles: tuple[str, ...]
    family: _Family

    def there(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return what PyTorch has for the parameters, both by full name."""
        made = self.family.there({role: arrays[f"{self.name}.{role}"] for role in self.roles})
        return {f"{self.name}.{role}": a for role, a in made.items()}

    def here(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return the parameters that the module's are, by full name; those by what it calls them."""
        return {f"{self.name}.{role}": a for role, a in self.family.here(arrays, self.roles).items()}


def pieces(names: Iterable[str]) -> list[Piece]:
    """Return the layers among parameters whose counterparts have other pieces."""
    found: dict[tuple[str, int], list[str]] = {}
    for name in names:
        layer, _, role = name.rpartition(".")
        for i, family in enumerate(_FAMILIES):
            if re.fullmatch(family.roles, role):
                found.setdefault((layer, i), []).append(role)
    return [Piece(layer, tuple(roles), _FAMILIES[i]) for (layer, i), roles in found.items()]
