"""Ensembles as one net: members beside each other in an axis of their own, sharing as many weights as they like."""

from __future__ import annotations

from collections.abc import Sequence

from fastbp.core.checks import count
from fastbp.layers.activations import ReLU
from fastbp.layers.attention import Positions
from fastbp.layers.base import Layer
from fastbp.layers.linear import Linear
from fastbp.layers.structure import Dropout
from fastbp.layers.tables import GroupedLinear, Scale
from fastbp.optim.initializers import Normal, Zeros

__all__ = ["member_layers"]

KINDS = ("mini", "full", "independent")


def member_layers(members: int, hidden: Sequence[int], outputs: int, kind: str = "mini",
                  activation: Layer | None = None, dropout: float = 0.0) -> list[Layer]:
    """Return the layers of an ensemble of multilayer perceptrons: rows (B, F) in, (B, members, outputs) out.

    Each member's loss is its own: a target (B, members, …) has each row's once for each member. What the ensemble says
    is the mean over members, of probabilities or values, not of logits.

    Parameters
    ----------
    members : int
    hidden : sequence of int
        Widths of the hidden layers.
    outputs : int
        Of each member.
    kind : {"mini", "full", "independent"}, default "mini"
        "mini" (TabM-mini): one set of weights, before it an adapter ``r_m * x`` and after it a head of each member's
        own. "full" (TabM): each hidden layer is ``s_m * (W (r_m * x)) + b_m``, W shared. Gorishniy, Kotelnikov and
        Babenko (2025), https://arxiv.org/abs/2410.24210. "independent": members share nothing.
    activation : Layer, optional
        An elementwise one without parameters, used after each hidden layer; ReLU by default.
    dropout : float, default 0.0
        After each activation.

    Raises
    ------
    ValueError, TypeError
        For arguments that are not what they should be.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(5), *fb.member_layers(4, (16, 16), 3), seed=0)
    >>> net.predict(np.zeros((2, 5))).shape
    (2, 4, 3)
    >>> full, alone = (fb.Sequential(fb.Input(5), *fb.member_layers(4, (16, 16), 3, kind)) for kind in
    ...                ("full", "independent"))
    >>> net.params.flat.size, full.params.flat.size, alone.params.flat.size
    (592, 880, 1696)
    """
    count("member_layers", "members", members)
    if kind not in KINDS:
        raise ValueError(f"member_layers: kind is {kind!r}; expected one of {', '.join(map(repr, KINDS))}")
    if activation is not None and not isinstance(activation, Layer):
        raise TypeError(f"member_layers: activation is {activation!r}; expected a layer such as fb.SELU()")
    layers: list[Layer] = [Scale(members, trainable=False) if kind == "independent"
                           else Scale(members, weight_init=Normal(std=1.0))]
    for i, width in enumerate(hidden):
        count("member_layers", f"entry {i} of hidden", width)
        if kind == "independent":
            layers.append(GroupedLinear(width))
        elif kind == "mini":
            layers.append(Linear(None, width))
        else:
            layers += [*([Scale(axes=2)] if i else []), Linear(None, width, bias=False), Scale(axes=2),
                       Positions(members, weight_init=Zeros())]
        layers.append(activation or ReLU())
        if dropout:
            layers.append(Dropout(dropout))
    return [*layers, GroupedLinear(outputs)]
