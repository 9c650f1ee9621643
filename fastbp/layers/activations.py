"""The activation layers: one class line each; formulas and derivations stand with the ops."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from fastbp.core.checks import count, number
from fastbp.graph.graph import Tensor
from fastbp.layers.base import Layer, one_input
from fastbp.ops import activations as ops
from fastbp.ops.base import Op
from fastbp.ops.elementwise import AddOp
from fastbp.ops.glu import GLUOp, SwiGLUOp
from fastbp.ops.prelu import PReLUOp
from fastbp.ops.scale import ScaleOp
from fastbp.ops.softmax import SoftmaxOp
from fastbp.optim.initializers import Constant, Ones

__all__ = [
    "ELU", "GELU", "GLU", "SELU", "HardSwish", "Identity", "LeakyReLU", "Mish", "PReLU", "ParametricActivation",
    "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus", "SwiGLU", "Tanh",
]


class Activation(Layer):
    """An activation layer: applies one op, without parameters, to one input of any shape."""

    each_step = True
    op_class: ClassVar[type[Op]]
    any_inputs = ((1,),)

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)

    def lower(self, *inputs: Tensor) -> Tensor:
        return self.apply(self.op_class(**self.hyperparameters()), one_input(self, inputs))


class _WithAlpha(Activation):
    def __init__(self, alpha: float, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.alpha = number(type(self).__name__, "alpha", alpha, "a finite number", lambda _: True)

    def hyperparameters(self) -> dict[str, Any]:
        return {"alpha": self.alpha}


class Identity(Activation):
    """``y = x``."""

    op_class = ops.IdentityOp


class ReLU(Activation):
    """``y = max(0, x)``; the derivative at 0 is taken as 0."""

    op_class = ops.ReLUOp


class LeakyReLU(_WithAlpha):
    """``y = x`` for x > 0, else ``alpha * x``."""

    op_class = ops.LeakyReLUOp

    def __init__(self, alpha: float = 0.01, *, name: str | None = None) -> None:
        super().__init__(alpha, name=name)


class ELU(_WithAlpha):
    """``y = x`` for x > 0, else ``alpha * (exp(x) - 1)``. Clevert et al. (2015), https://arxiv.org/abs/1511.07289."""

    op_class = ops.ELUOp

    def __init__(self, alpha: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(alpha, name=name)


class SELU(Activation):
    """Scaled ELU with the self-normalising constants. Klambauer et al. (2017), https://arxiv.org/abs/1706.02515."""

    op_class = ops.SELUOp


class GELU(Activation):
    """``y = x Φ(x)``, Φ the normal distribution function; exact, or its tanh form.

    Hendrycks and Gimpel (2016), https://arxiv.org/abs/1606.08415.

    Parameters
    ----------
    approximate : {"none", "tanh"}, default "none"
        ``"tanh"``: ``y = x/2 (1 + tanh(√(2/π)(x + 0.044715 x³)))``.
    name : str, optional
    """

    op_class = ops.GELUOp

    def __init__(self, approximate: str = "none", *, name: str | None = None) -> None:
        super().__init__(name=name)
        if approximate not in ("none", "tanh"):
            raise ValueError(f'GELU: approximate is {approximate!r}; expected "none" or "tanh"')
        self.approximate = approximate

    def hyperparameters(self) -> dict[str, Any]:
        return {"approximate": self.approximate}

    def lower(self, *inputs: Tensor) -> Tensor:
        op = ops.GELUOp() if self.approximate == "none" else ops.GELUTanhOp()
        return self.apply(op, one_input(self, inputs))


class SiLU(Activation):
    """``y = x σ(x)`` (swish). Elfwing et al. (2017), https://arxiv.org/abs/1702.03118."""

    op_class = ops.SiLUOp


class Mish(Activation):
    """``y = x tanh(softplus(x))``. Misra (2019), https://arxiv.org/abs/1908.08681."""

    op_class = ops.MishOp


class Sigmoid(Activation):
    """``y = 1 / (1 + exp(-x))``."""

    op_class = ops.SigmoidOp


class Tanh(Activation):
    """``y = tanh(x)``."""

    op_class = ops.TanhOp


class Softplus(Activation):
    """``y = log(1 + exp(x))``."""

    op_class = ops.SoftplusOp


class HardSwish(Activation):
    """``y = x min(max(x + 3, 0), 6) / 6``. Howard et al. (2019), https://arxiv.org/abs/1905.02244."""

    op_class = ops.HardSwishOp


class Softmax(Activation):
    """``y_c = exp(x_c) / Σ_k exp(x_k)`` over the last axis.

    :class:`~fastbp.CrossEntropy` takes logits: leave this layer out before it.
    """

    op_class = SoftmaxOp


class GLU(Activation):
    """``y = a σ(b)``, a and b the halves of the last axis. Dauphin et al. (2017), https://arxiv.org/abs/1612.08083."""

    op_class = GLUOp


class SwiGLU(Activation):
    """``y = a σ(a) b``, a and b the halves of the last axis: a SiLU that gates. Shazeer (2020),
    https://arxiv.org/abs/2002.05202.
    """

    op_class = SwiGLUOp


class PReLU(Layer):
    """``y = x`` for x > 0, else ``weight * x``, with slopes that are learnt.

    He et al. (2015), https://arxiv.org/abs/1502.01852.

    Parameters
    ----------
    num_parameters : int, default 1
        One slope for all, or one for each channel (the last axis).
    init : float, default 0.25
        What the slopes start at.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.
    """

    each_step = True

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        self.num_parameters = count("PReLU", "num_parameters", num_parameters)
        self.init = number("PReLU", "init", init, "a finite number", lambda _: True)

    def lower(self, *inputs: Tensor) -> Tensor:
        x = one_input(self, inputs)
        if self.num_parameters not in (1, x.shape[-1]):
            raise ValueError(f"{self!r}: x has {x.shape[-1]} channels in its last axis; expected "
                             f"{self.num_parameters}, as num_parameters says, or num_parameters=1")
        return self.apply(PReLUOp(self.num_parameters), x, initializers={"weight": Constant(self.init)})

    def hyperparameters(self) -> dict[str, Any]:
        return {"num_parameters": self.num_parameters, "init": self.init}


class ParametricActivation(Layer):
    """``y = x + weight * (f(x) - x)``: how much of an activation there is, learnt for each feature.

    With a weight of 0 it is the identity, with 1, where it starts, it is f. Holzmüller, Grinsztajn and Steinwart
    (2024), https://arxiv.org/abs/2407.04491.

    Parameters
    ----------
    activation : Layer
        f, of no parameters and elementwise, such as ``fb.SELU()``.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Notes
    -----
    Shapes: x ``(B, …, F)``, weight ``(F,)``, y as x.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(2), fb.ParametricActivation(fb.ReLU()), dtype="float64")
    >>> net.params["0.weight"][...] = [0.0, 0.5]
    >>> net.predict([[-4.0, -4.0]])
    array([[-4., -2.]])
    """

    def __init__(self, activation: Layer, *, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        if not isinstance(activation, Layer):
            raise TypeError(f"ParametricActivation: activation is {activation!r}; expected a layer such as fb.SELU()")
        self.activation = self.part("activation", activation)

    def lower(self, *inputs: Tensor) -> Tensor:
        x = one_input(self, inputs)
        made = self.activation(x)
        if made.shape != x.shape:
            raise ValueError(f"{self!r}: the activation makes {made.shape} of {x.shape}; expected the shape of x")
        part = self.apply(ScaleOp(x.shape[-1:], 0), made - x, initializers={"weight": Ones()})
        return self.apply(AddOp(), x, part)

    def hyperparameters(self) -> dict[str, Any]:
        return {"layers": (self.activation,)}

    def __repr__(self) -> str:
        return f"ParametricActivation({self.activation!r})"


def _elementwise() -> dict[str, type[Activation]]:
    layers = [globals()[name] for name in __all__]
    return {re.sub("(?<=[a-z])(?=[A-Z][a-z])", "_", layer.__name__).lower(): layer for layer in layers
            if issubclass(layer, Activation) and issubclass(layer.op_class, ops.ActivationOp)}


ELEMENTWISE = _elementwise()
"""The elementwise activation layers by name: "relu", "leaky_relu", "hard_swish", …"""
ACTIVATIONS: dict[str, type[Layer]] = {
    **ELEMENTWISE, "identity": Identity, "linear": Identity, "swish": SiLU, "logistic": Sigmoid, "softmax": Softmax,
    "glu": GLU, "swiglu": SwiGLU, "prelu": PReLU,
}
"""The activation layers by name, each with its defaults."""
