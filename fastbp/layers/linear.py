"""The linear (fully connected, dense) layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastbp.core.checks import count, flag
from fastbp.graph.graph import Initializer, Tensor
from fastbp.layers.base import Layer, checked_initializer, one_input
from fastbp.ops.base import Shape
from fastbp.ops.linear import LinearOp
from fastbp.optim.initializers import KaimingUniform, Zeros

__all__ = ["Linear"]

# A tensor's elements are counted in int64 by the plan, in bytes by the allocator.
_MOST_ELEMENTS = 2**60


class Linear(Layer):
    r"""``y = x @ W + b`` over the last axis.

    Parameters
    ----------
    in_features : int or None
        Features of the last axis of x; None learns it when the network is built.
    out_features : int
    bias : bool, default True
    weight_init, bias_init : initializer, optional
        Default: Kaiming uniform for ReLU, ``U(-√(6/I), √(6/I))``, and zeros.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Raises
    ------
    ValueError
        For sizes that are not positive integers, or too large; when called on a tensor whose last axis has another
        size.
    TypeError
        For an initializer that is none.

    Notes
    -----
    Shapes: x ``(B, …, I)``, weight ``(I, O)``, bias ``(O,)``, y ``(B, …, O)``. Initialisation after He et al. (2015),
    https://arxiv.org/abs/1502.01852.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Linear(4, 3), seed=0)
    >>> net.params["0.weight"].shape
    (4, 3)
    """

    each_step = True

    def __init__(self, in_features: int | None, out_features: int, bias: bool = True, *,
                 weight_init: Initializer | None = None, bias_init: Initializer | None = None,
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        label = f"Linear({in_features!r}, {out_features!r})"
        self.in_features = None if in_features is None else count(label, "in_features", in_features)
        self.out_features = count(label, "out_features", out_features)
        if (self.in_features or 1) * self.out_features > _MOST_ELEMENTS:
            raise ValueError(f"{label}: the weight would have {self.in_features or 1:,} × {self.out_features:,} "
                             "elements, more than can be addressed; use a smaller layer")
        self.bias = flag(label, "bias", bias)
        self.weight_init = checked_initializer(label, "weight_init", weight_init, KaimingUniform())
        self.bias_init = checked_initializer(label, "bias_init", bias_init, Zeros())

    def lower(self, *inputs: Tensor) -> Tensor:
        x = one_input(self, inputs)
        features = x.shape[-1]
        if self.in_features is not None and features != self.in_features:
            shape = ", ".join(map(str, x.shape))
            raise ValueError(f"{self!r}: x has shape (B, {shape}); expected {self.in_features} features in the last "
                             f"axis. Write Linear({features}, {self.out_features}), or None to have it learnt")
        if features * self.out_features > _MOST_ELEMENTS:
            raise ValueError(f"{self!r}: the weight would have {features:,} × {self.out_features:,} elements, more "
                             "than can be addressed; use a smaller layer")
        return self.apply(LinearOp(features, self.out_features, self.bias), x,
                          initializers={"weight": self.weight_init, "bias": self.bias_init})

    def _input_shapes(self) -> Sequence[Shape]:
        return super()._input_shapes() if self.in_features is None else [(self.in_features,)]

    def hyperparameters(self) -> dict[str, Any]:
        return {"in_features": self.in_features, "out_features": self.out_features, "bias": self.bias}

    def __repr__(self) -> str:
        return f"Linear({self.in_features}, {self.out_features})"
