"""What to say when training meets something that is not finite: where, what, and what to do about it."""

from __future__ import annotations

import numpy as np

from fastbp.core.errors import DivergenceError, NonFiniteError
from fastbp.engine.backend import Data
from fastbp.engine.executable import Executable
from fastbp.objectives.custom import CustomLoss
from fastbp.objectives.functions import FunctionLoss

# Inputs beyond this are a likelier cause than the learning rate.
_LARGE_INPUT = 100.0


def divergence(net: Executable, error: NonFiniteError, clipped: bool, epoch: int, batch: int,
               step: int) -> DivergenceError:
    """Return the error to raise for a mini-batch that went wrong; epoch and batch are counted from 1.

    `step` counts the updates that are left.
    """
    assert isinstance(error.data, Data)
    advice = _advice(net, error.tensor, error.data, error.lr, clipped)
    left = "The network holds the parameters from after the last good mini-batch."
    if error.undone:
        left = (f"The network holds the parameters from after update {step}: those after the last good mini-batch "
                "could not be computed once more, as a function of your own gives other values each time.")
    return DivergenceError(f"epoch {epoch}, batch {batch}: {error.tensor} is not finite. {advice} {left}", epoch,
                           batch, error.tensor)


def _advice(net: Executable, tensor: str, batch: Data, lr: float, clipped: bool) -> str:
    if tensor in [net.graph.names[t] for t in net.graph.inputs]:
        return "The input data has NaN or infinite values: fill or leave out such rows."
    if tensor == "sample_weight":
        return "Give finite sample weights."
    if tensor in net.params:
        return "It was so before the step: initialise the parameters anew, or load good ones."
    largest = max(float(np.abs(x).max(initial=0)) for x in batch.inputs)
    if largest > _LARGE_INPUT:
        return (f"The inputs are large (up to {largest:.3g}): standardise them to mean 0 and standard deviation 1, "
                f"or lower the learning rate ({lr:.3g}).")
    own = [loss.function for loss in batch.losses if isinstance(loss, CustomLoss | FunctionLoss)]
    if len(own) == len(batch.losses) and tensor == "the loss":
        name = getattr(own[0], "__name__", repr(own[0]))
        return f"The outputs are finite, and what {name} makes of them is not: let it return finite numbers for any."
    clip = "" if clipped else ", or clip the gradient with clip_norm=1.0"
    return f"The learning rate ({lr:.3g}) is probably too high: lower it{clip}."
