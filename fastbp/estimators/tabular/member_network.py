r"""The network for tables: an ensemble whose members share all weights but an adapter and a head each.

Columns are embedded (:class:`~fastbp.Periodic` with the number itself beside it, :class:`~fastbp.PiecewiseLinear`), put
side by side with flags, multiplied by the member's own factors, and go through a few linear layers; each member has a
head. Gorishniy, Kotelnikov and Babenko (2025), https://arxiv.org/abs/2410.24210, call that TabM-mini.

Two graphs have the same parameters: in training each member sees rows of its own, so that inputs are (B, K, D); in
prediction all see the same row, (B, D).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from fastbp.estimators.tabular.schema import Encoded
from fastbp.graph.graph import Input, Tensor
from fastbp.layers.activations import GELU, SELU, Activation, Mish, ReLU, SiLU
from fastbp.layers.embedding import Embedding
from fastbp.layers.linear import Linear
from fastbp.layers.structure import Concat, Dropout, Reshape
from fastbp.layers.tables import GroupedLinear, Periodic, PiecewiseLinear, Scale
from fastbp.network import Network
from fastbp.ops.base import Array, Context
from fastbp.optim.data_driven import data_driven
from fastbp.optim.initializers import Zeros

MONOTONE = ("relu", "selu")
"""Activations that never fall."""
ACTIVATIONS: dict[str, type[Activation]] = {"relu": ReLU, "selu": SELU, "mish": Mish, "gelu": GELU, "silu": SiLU}
SAMPLE_ROWS = 512
"""Rows that the scale of initial weights is measured on."""


@dataclass(frozen=True)
class Architecture:
    """What the network looks like.

    Attributes
    ----------
    numbers, flags, bins : int
        Columns of each, and the most bins.
    categories, levels, category_size : int
        Columns whose levels are embedded, how many ids there are but 0, and the size of the embedding.
    outputs, members : int
    hidden : tuple of int
    activation : Activation layer
    periodic, piecewise : bool
        How numbers are embedded.
    frequencies, waves, sigma, pieces
        Sizes of the embeddings: see the layers.
    dropout : float
    signs : tuple of int
        1 for each number along which outputs never fall, -1 where they never rise, else 0; empty where all are 0. Of
        two outputs it is the second.
    """

    numbers: int
    flags: int
    bins: int
    outputs: int
    members: int = 8
    hidden: tuple[int, ...] = (128, 128, 128)
    activation: type[Activation] = SELU
    periodic: bool = True
    piecewise: bool = True
    frequencies: int = 16
    waves: int = 3
    sigma: float = 0.1
    pieces: int = 4
    dropout: float = 0.15
    categories: int = 0
    levels: int = 0
    category_size: int = 8
    signs: tuple[int, ...] = ()

    def inputs(self, rows: Encoded) -> Sequence[Array]:
        """Return what of the rows the network takes, in the order of its inputs."""
        asked = ((rows.numbers, self.numbers), (rows.places, self.numbers and self.piecewise), (rows.flags, self.flags),
                 (rows.ids, self.categories))
        return [array for array, used in asked if used]

    def kinds(self) -> list[str]:
        """Return what each input is: "numbers", of places too, "flags" or "ids"."""
        places = bool(self.numbers and self.piecewise)
        return ["numbers"] * (bool(self.numbers) + places) + ["flags"] * bool(self.flags) + \
            ["ids"] * bool(self.categories)

    def parameters(self) -> int:
        """Return how many parameters the network has."""
        width = self.flags + self.numbers * (1 + self.waves * self.periodic + self.pieces * self.piecewise) + \
            self.categories * self.category_size
        count = self.members * width
        if self.categories:
            count += (self.levels + 1) * self.category_size
        if self.numbers and self.periodic:
            count += self.numbers * (self.frequencies * (2 + self.waves) + self.waves)
        if self.numbers and self.piecewise:
            count += self.numbers * self.bins * self.pieces
        for hidden in self.hidden:
            count += (width + 1) * hidden
            width = hidden
        return count + self.members * (width + 1) * self.outputs

    def network(self, training: bool, seed: int, bf16: bool = False, vectors: bool = False) -> Network:
        """Return the graph for training, or that for prediction; with `vectors` it takes those of levels, not ids."""
        lead = (self.members,) if training else ()
        inputs: list[Tensor] = []
        features: list[Tensor] = []
        if self.numbers:
            inputs.append(Input(*lead, self.numbers))
            features.append(inputs[-1])
            if self.periodic:
                features.append(Periodic(self.frequencies, self.waves, self.sigma, name="periodic")(inputs[-1]))
            if self.piecewise:
                inputs.append(Input(*lead, self.numbers))
                features.append(PiecewiseLinear(self.bins, self.pieces, name="bins")(inputs[-1]))
        if self.flags:
            inputs.append(Input(*lead, self.flags))
            features.append(inputs[-1])
        if self.categories and vectors:
            inputs.append(Input(*lead, self.categories * self.category_size))
            features.append(inputs[-1])
        elif self.categories:
            inputs.append(Input(*lead, self.categories, dtype="int64"))
            found = Embedding(self.levels + 1, self.category_size, padding_idx=0, name="categories")(inputs[-1])
            features.append(Reshape(*lead, self.categories * self.category_size)(found))
        x = features[0] if len(features) == 1 else Concat()(*features)
        x = (Scale(axes=2, name="adapter") if training else Scale(self.members, name="adapter"))(x)
        for i, width in enumerate(self.hidden):
            x = self.activate(self.activation(), Linear(None, width, name=f"hidden{i}")(x))
            if self.dropout and training:
                x = Dropout(self.dropout)(x)
        y = GroupedLinear(self.outputs, weight_init=Zeros(), name="heads")(x)
        return Network(tuple(inputs), y, seed=seed, compute_dtype="bfloat16" if bf16 else None)


    def activate(self, f: Any, z: Any) -> Any:
        """Return f(z), of a tensor or an array; of monotone networks f(z) for half of z and -f(-z) for the others.

        Sums of one convex function with weights of one sign are convex, those of both are not. Runje and
        Shankaranarayana (2023), https://arxiv.org/abs/2205.11775.
        """
        half = z.shape[-1] // 2
        return np.concatenate([f(z[..., :half]), -f(-z[..., half:])], axis=-1) if self.signs and half else f(z)

    def bounds(self, net: Network) -> tuple[Array, Array] | None:
        """Return the least and largest values of all parameters that keep a network monotone, or None.

        Along a number of sign s the adapter has that sign, and the weights after it none below 0. Its bins have none
        either, and its waves, which rise and fall, have weights of 0.
        """
        if not self.signs:
            return None
        signs = np.array(self.signs)
        pieces = np.repeat(signs, self.pieces) if self.piecewise else signs[:0]
        waves = np.zeros(self.waves * len(signs) if self.periodic else 0)
        of_inputs = np.concatenate([signs, waves, pieces])
        lead = np.zeros(len(net.params["adapter.weight"][0]))
        lead[:len(of_inputs)] = of_inputs
        ends = {name: (np.full(p.shape, -np.inf), np.full(p.shape, np.inf)) for name, p in net.params.items()}
        ends["adapter.weight"][0][:, lead > 0] = 0
        ends["adapter.weight"][1][:, lead < 0] = 0
        if self.periodic:
            for end in ends["periodic.weight"]:
                end[..., signs != 0] = 0
        if self.piecewise:
            ends["bins.weight"][0][signs != 0] = 0
        rows = lead != 0
        for i in range(len(self.hidden)):
            ends[f"hidden{i}.weight"][0][rows] = 0
            rows = np.ones(self.hidden[i], bool)
        low, high = ends["heads.weight"]
        low[:, rows, -1] = 0
        if self.outputs == 2:
            high[:, rows, 0] = 0
        low_all, high_all = (np.concatenate([ends[name][i].reshape(-1) for name in net.params]) for i in (0, 1))
        return low_all, high_all


def initialise(net: Network, architecture: Architecture, rows: Encoded, rng: np.random.Generator) -> None:
    """Set the first parameters of a network for training by what some rows look like on their way.

    Each neuron has variance 1 over the rows, and its zero lies among them: :mod:`fastbp.optim.data_driven`.
    """
    rows = rows.take(rng.permutation(len(rows))[:SAMPLE_ROWS])
    params, ends = net.params, architecture.bounds(net)

    def draw(name: str) -> Array:
        drawn: Array = np.asarray(rng.standard_normal(params[name].shape))
        return drawn if ends is None else _inside(drawn, ends, net, name)
    if ends is not None:
        np.clip(params.flat, *ends, out=params.flat)
    x = _features(net, architecture, rows)
    adapter = draw("adapter.weight")
    params["adapter.weight"][...] = adapter
    h = x[:, None] * adapter
    for i in range(len(architecture.hidden)):
        weight, bias = params[f"hidden{i}.weight"], params[f"hidden{i}.bias"]
        h = h.reshape(-1, weight.shape[0])
        weight[...], bias[...], z = data_driven(h, draw(f"hidden{i}.weight"), rng)
        op = next(node.op for node in net.graph.nodes if node.op.derivative_from)
        h = architecture.activate(lambda given, f=op: f.forward(Context(), given), z + bias)


def _inside(drawn: Array, ends: tuple[Array, Array], net: Network, name: str) -> Array:
    """Return what was drawn for a parameter, mirrored at 0 where it lies outside of its bounds."""
    first = net.params.offsets[name]
    low, high = (end[first:first + drawn.size].reshape(drawn.shape) for end in ends)
    return np.where((drawn < low) | (drawn > high), -drawn, drawn)


def _features(net: Network, architecture: Architecture, rows: Encoded) -> Array:
    """Return the embedded columns of some rows, (N, D)."""
    parts: list[Array] = []
    if architecture.numbers:
        parts.append(rows.numbers)
        for name, given in (("periodic", rows.numbers), ("bins", rows.places)):
            op = next((n.op for n in net.graph.nodes if n.owner and n.owner.name == name), None)
            if op is not None:
                roles = {key.split(".")[1]: value for key, value in net.params.items() if key.startswith(f"{name}.")}
                parts.append(op.forward(Context(), given, **roles))
    if architecture.flags:
        parts.append(rows.flags)
    if architecture.categories:
        parts.append(vectors_of(net, rows.ids))
    return np.concatenate(parts, axis=1).astype(np.float64)


def vectors_of(net: Network, ids: Array) -> Array:
    """Return the vectors of levels, (N, C) as (N, C · size)."""
    table = net.params["categories.weight"].copy()
    table[0] = 0
    return np.asarray(table[ids].reshape(len(ids), -1))


def on_vectors(net: Network, architecture: Architecture) -> Network:
    """Return a network for prediction that takes the vectors of levels, so that it has a gradient by them."""
    twin = architecture.network(False, 0, vectors=True)
    for name, values in twin.params.items():
        values[...] = net.params[name]
    return twin


def rates(net: Network) -> dict[str, float]:
    """Return what the learning rate is multiplied by for each parameter.

    Weights move by one over the root of their inputs, as in the neural tangent parametrisation; embeddings, biases and
    adapters have factors of their own.
    """
    own = {"periodic": 0.1, "bins": 0.1, "adapter": 6.0, "categories": 1.0}
    found = {}
    for name, p in net.params.items():
        layer, role = name.split(".")
        found[name] = own[layer] if layer in own else 0.1 if role == "bias" else 1 / sqrt(p.shape[-2])
    return found


def stacked(arrays: Sequence[Array], orders: Array) -> tuple[Any, ...]:
    """Return rows in an order for each member: (N, D) and (N, K) give (N, K, D)."""
    return tuple(np.ascontiguousarray(a[orders]) for a in arrays)
