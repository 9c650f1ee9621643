"""Networks within networks: a graph made again upon other tensors, with the same layers and so the same parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastbp.graph.tensor import Call, Node, Tensor


def made_upon(tensors: Sequence[Tensor], given: Mapping[Tensor, Tensor], outputs: Sequence[Tensor],
              home: Any = None) -> list[Tensor]:
    """Return outputs made again, with other tensors in the place of those given.

    Parameters
    ----------
    tensors : sequence of Tensor
        All that outputs are made of, each after what it needs.
    given : dict of Tensor to Tensor
        What takes the place of which tensor; nothing behind those is made again.
    outputs : sequence of Tensor
    home : Memory, optional
        Where the parameters are.
    """
    made = dict(given)
    for t in tensors:
        if t in made or t.node is None or not all(s in made for s in t.node.inputs):
            continue
        node = Node(t.node.op, tuple(made[s] for s in t.node.inputs), t.node.owner, t.node.params, t.node.buffers,
                    None if t.node.key is None else made.get(t.node.key), home or t.node.home)
        call = t.call
        if call is not None and all(s in made for s in call.inputs):
            call = Call(call.layer, tuple(made[s] for s in call.inputs))
        made[t] = Tensor(t.shape, node, t.name, call, t.dtype, t.rows)
    return [made[t] for t in outputs]


def placeholder(t: Tensor) -> Tensor:
    """Return an input in the place of a tensor."""
    return Tensor(t.shape, None, t.name, None, t.dtype, t.rows)
