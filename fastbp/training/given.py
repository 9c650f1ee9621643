"""What a trainer is given, checked: which parameters it trains, what each loss counts for, limits of the gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from warnings import warn

from fastbp.core.checks import number
from fastbp.network import Network
from fastbp.objectives.cross_entropy import CrossEntropy
from fastbp.objectives.functions import FunctionLoss
from fastbp.objectives.losses import BinaryCrossEntropy, Loss
from fastbp.optim.groups import matching

# An activation at the end of a network, and the loss that applies it itself.
_TWICE = (("softmax", CrossEntropy), ("sigmoid", BinaryCrossEntropy))


def handed(net: Network, losses: Sequence[Loss]) -> Any:
    """Return losses as they are given: one, or a tuple or dict with one for each output."""
    return losses[0] if isinstance(losses[0], FunctionLoss) else net._outs.handed(losses)


def scales(net: Network, losses: Sequence[Loss], weights: Any) -> tuple[float, ...] | None:
    """Check what each loss counts for."""
    if weights is None:
        return None
    if len(losses) != len(net.graph.outputs):
        raise ValueError("Trainer: loss_weights is given for one function of all outputs; weigh the parts of its sum")
    given = [weights] if net._outs.alone and not isinstance(weights, list | tuple | Mapping) else \
        list(weights) if net._outs.alone and isinstance(weights, list | tuple) and len(weights) == 1 else \
        net._outs.several("Trainer: loss_weights", weights)
    return tuple(number("Trainer", "loss_weights", w, "numbers of at least 0", lambda v: v >= 0) for w in given)


def warn_of_probabilities(net: Network, losses: Sequence[Loss]) -> None:
    """Warn where a network makes probabilities of logits and the loss does so once more."""
    for loss, t in zip(losses, net.graph.outputs, strict=False):
        made_by = t.node.op.name if t.node is not None else ""
        if (made_by, type(loss)) in _TWICE:
            warn(f"the network ends in {made_by}, and {type(loss).__name__} applies {made_by} itself: train without "
                 f"that last layer, and apply it to what net.predict returns", stacklevel=4)


def part(net: Network, parameters: str | Sequence[str] | Network | None) -> tuple[str, ...] | None:
    """Return the names of what is trained; None for all."""
    if parameters is None:
        return None
    if isinstance(parameters, Network):
        theirs = {array.ctypes.data for array in parameters.params.values()}
        found = tuple(name for name, array in net.params.items() if array.ctypes.data in theirs)
        if len(found) < len(theirs):
            raise ValueError("Trainer: parameters is a network that does not share its memory with net; expected "
                             "net.part(…), or a network that was called on tensors to make net")
    else:
        found = tuple(matching("Trainer: parameters", parameters, net.params))
    if not any(name in found for name, _ in net.memory.trained):
        raise ValueError("Trainer: parameters has nothing that is trained; expected the name of at least one parameter "
                         f"that is not frozen, of a layer with trainable=True, not {parameters!r}")
    return found


def limit(argument: str, value: float | None) -> float | None:
    return None if value is None else number("Trainer", argument, value, "a number above 0, or None", lambda v: v > 0)
