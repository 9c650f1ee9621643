"""What a chain of layers may be written with: the names of activations, and a first layer that knows its input."""

from __future__ import annotations

from typing import Any

from fastbp.core.words import by_name
from fastbp.layers.activations import ACTIVATIONS


def named_layer(layer: Any) -> Any:
    """Return the activation of a name, and anything else as it comes."""
    if not isinstance(layer, str):
        return layer
    return by_name("Sequential", "a layer", layer, ACTIVATIONS, "a layer such as fb.ReLU()")()


def known_features(layer: Any) -> int:
    """Return the features that a layer takes, or raise ValueError where it does not know them."""
    for attribute in ("in_features", "features"):
        features = getattr(layer, attribute, None)
        if features is not None:
            return int(features)
    raise ValueError(f"Sequential: the input size of layer 0, {layer!r}, is not known; give it, as in "
                     "fb.Linear(4, 2), or put the shape of one sample first: fb.Input(4)")
