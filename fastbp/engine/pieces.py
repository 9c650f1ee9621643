"""Pieces of the gradient that are added up over ranks while the next ones are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastbp.core.vector import Vector
from fastbp.engine.plan_parts import NetworkArray, PlanStep

# A piece has so many bytes, and a share of all: each of them costs messages, and the last one is waited for.
_LEAST_BYTES, _MOST_PIECES = 1 << 21, 2


@dataclass(frozen=True)
class Piece:
    """Steps, and the stretch of the flat vector of gradients that is done when they are."""

    steps: list[PlanStep]
    first: int
    last: int


def pieces_of(steps: Sequence[PlanStep], gradients: Vector) -> list[Piece]:
    """Cut the steps that make gradients into pieces, each of which completes the next stretch of the vector.

    What none of the steps writes is there before them.
    """
    size, item = gradients.flat.size, gradients.flat.dtype.itemsize
    least = max(_LEAST_BYTES // item, -(-size // _MOST_PIECES))
    written = [_written(step) for step in steps]
    last_step = {name: i for i, names in enumerate(written) for name in names}
    waiting = sorted((gradients.offsets[name], i) for name, i in last_step.items())
    pieces: list[Piece] = []
    begin = first = 0
    for i in range(len(steps)):
        while waiting and waiting[0][1] <= i:
            waiting.pop(0)
        done = waiting[0][0] if waiting else size
        if done - first >= least or i == len(steps) - 1:
            pieces.append(Piece(list(steps[begin:i + 1]), first, done))
            begin, first = i + 1, done
    return pieces


def _written(step: PlanStep) -> list[str]:
    """Return the parameters whose gradients a step writes, or adds to."""
    places = (*step.node.dp, *(step.node.x if step.phase == "accumulate_units" else ()))
    return [place.name for place in places if isinstance(place, NetworkArray) and place.vector == "grads"]
