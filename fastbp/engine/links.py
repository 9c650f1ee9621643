"""What makes probabilities of logits, as NumPy functions of arrays and of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from fastbp.graph import special
from fastbp.graph.tensor import Tensor

Link = Literal["softmax", "sigmoid"]


def _both(t: Any) -> Any:
    p = special.sigmoid(t)
    return np.concatenate([1 - p, p], axis=-1)


LINKS: dict[str, Callable[[Any], Any]] = {"softmax": special.softmax, "sigmoid": special.sigmoid, "both": _both}
"""What makes probabilities of logits; "both" has no and yes as classes 0 and 1."""


def linked(t: Tensor, link: str | None) -> Tensor:
    """Return the probabilities that logits are made into; by the shape, where no link is said."""
    if link is None:
        made_by = t.node.op.name if t.node is not None else ""
        link = "" if made_by in ("softmax", "sigmoid") else "sigmoid" if t.shape[-1:] == (1,) else "softmax"
    made: Tensor = LINKS[link](t) if link else t * 1.0
    return made
