"""What to say when training meets something that is not finite: where, what, and what to do about it."""

from __future__ import annotations

from warnings import catch_warnings, simplefilter

import numpy as np

from fastbp.core.errors import DivergenceError, NonFiniteError
from fastbp.core.lines import line_of_error
from fastbp.engine.backend import Data
from fastbp.engine.executable import Executable
from fastbp.graph.grad import grad, reaches
from fastbp.objectives.custom import CustomLoss
from fastbp.objectives.derived import evaluated
from fastbp.objectives.functions import FunctionLoss, placeholder
from fastbp.ops.base import Array

# Inputs beyond this are a likelier cause than the learning rate.
_LARGE_INPUT = 100.0
# Outputs beyond this come of a learning rate that is too high, whatever a function makes of them.
_LARGE_OUTPUT = 1e6


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
    if len(batch.losses) == 1 and isinstance(batch.losses[0], FunctionLoss):
        function = _advice_on_function(net, batch.losses[0], batch)
        if function:
            return function
    own = [loss.function for loss in batch.losses if isinstance(loss, CustomLoss)]
    if len(own) == len(batch.losses) and tensor == "the loss":
        name = getattr(own[0], "__name__", repr(own[0]))
        return f"The outputs are finite, and what {name} makes of them is not: let it return finite numbers for any."
    clip = "" if clipped else ", or clip the gradient with clip_norm=1.0"
    return f"The learning rate ({lr:.3g}) is probably too high: lower it{clip}."


def _advice_on_function(net: Executable, loss: FunctionLoss, batch: Data) -> str:
    """Return what to say where a function makes something else than finite numbers of finite outputs; "" otherwise."""
    given = tuple(batch.inputs)
    made = net.predict(given if len(given) > 1 else given[0])
    outputs = list(made) if isinstance(made, tuple) else [made]
    if not all((np.abs(y) < _LARGE_OUTPUT).all() for y in outputs):
        return ""
    symbols, targets = [placeholder(y) for y in outputs], [placeholder(y) for y in batch.targets]
    total = loss.tensor(symbols, targets, None)
    known = dict(zip([*symbols, *targets], [*outputs, *batch.targets], strict=True))
    with np.errstate(all="ignore"):
        fine = np.isfinite(evaluated(total, known, outputs[0]))
        slopes = [g for t in symbols if reaches(total, [t]) for g in [evaluated(grad(total, t), known, outputs[0])]]
    single = " The mini-batch has one row, and so a standard deviation of 0." if batch.rows == 1 else ""
    if not fine:
        return (f"The outputs are finite, and what {loss.label} makes of them is not{_trouble(loss, outputs, batch)}. "
                "Let it return finite numbers for any: add a small number, such as 1e-8, to what is divided by, and to "
                f"what a logarithm is taken of; clip what np.exp is taken of.{single}")
    if not all(np.isfinite(g).all() for g in slopes):
        return (f"The outputs and the {loss.label} are finite, but its derivative is not: a root, a power or a "
                "logarithm is taken where it has none, as np.sqrt(x) at 0. Add a small number: np.sqrt(x + 1e-8)."
                f"{single}")
    return ""


def _trouble(loss: FunctionLoss, outputs: list[Array], batch: Data) -> str:
    """Return NumPy's own word and the line, found by calling the function on the arrays."""
    try:
        with np.errstate(divide="raise", invalid="raise", over="raise"), catch_warnings():
            simplefilter("ignore")
            loss.function(*outputs, *batch.targets)
    except FloatingPointError as error:
        return f"{line_of_error(error.__traceback__)}: {error}"
    except (TypeError, ValueError, IndexError, AttributeError):
        pass        # what it does works on symbols alone
    return ""
