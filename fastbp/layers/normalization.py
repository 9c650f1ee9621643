"""Batch, layer, root-mean-square and group normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastbp.core.checks import count, number
from fastbp.graph.graph import Tensor
from fastbp.layers.base import Layer, one_input
from fastbp.ops.base import Op, Shape
from fastbp.ops.batch_norm import BatchNormOp
from fastbp.ops.group_norm import GroupNormOp
from fastbp.ops.layer_norm import LayerNormOp
from fastbp.ops.rms_norm import RMSNormOp
from fastbp.optim.initializers import Ones, Zeros

__all__ = ["BatchNorm", "GroupNorm", "LayerNorm", "RMSNorm"]


class _Normalization(Layer):
    def __init__(self, features: int | None, eps: float, name: str | None, trainable: bool) -> None:
        super().__init__(name=name, trainable=trainable)
        label = type(self).__name__
        self.features = None if features is None else count(label, "features", features)
        self.eps = number(label, "eps", eps, "a number between 0 and 1, such as 1e-5", lambda e: 0 < e < 1)

    def _op(self, features: int) -> Op:
        raise NotImplementedError

    def _input_shapes(self) -> Sequence[Shape]:
        return super()._input_shapes() if self.features is None else [(self.features,)]

    def lower(self, *inputs: Tensor) -> Tensor:
        x = one_input(self, inputs)
        if self.features is not None and x.shape[-1] != self.features:
            shape = ", ".join(map(str, x.shape))
            raise ValueError(f"{self!r}: x has shape (B, {shape}); expected {self.features} features in the last axis. "
                             "Leave features out to have it learnt")
        return self.apply(self._op(x.shape[-1]), x, initializers={
            "weight": Ones(), "bias": Zeros(), "running_mean": Zeros(), "running_var": Ones()})


class BatchNorm(_Normalization):
    r"""Batch normalisation over the batch and every axis but the last.

    ``y = (x - mean) / √(var + eps) * weight + bias``, with the statistics of the batch in training, and running
    averages of them otherwise: ``running = (1 - momentum) * running + momentum * batch`` (variance unbiased there).
    A feature with NaN or infinity in the batch keeps its running averages as they are.
    Ioffe and Szegedy (2015), https://arxiv.org/abs/1502.03167.

    Parameters
    ----------
    features : int, optional
        Size of the last axis; learnt when left out.
    momentum : float, default 0.1
    eps : float, default 1e-5
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`. Weight starts at ones, bias at zeros.
    """

    each_step = True

    def __init__(self, features: int | None = None, momentum: float = 0.1, eps: float = 1e-5, *,
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(features, eps, name, trainable)
        self.momentum = number("BatchNorm", "momentum", momentum, "a number from 0 to 1, such as 0.1",
                               lambda m: 0 <= m <= 1)

    def _op(self, features: int) -> Op:
        return BatchNormOp(features, self.momentum, self.eps)

    def hyperparameters(self) -> dict[str, Any]:
        return {"features": self.features, "momentum": self.momentum, "eps": self.eps}


class LayerNorm(_Normalization):
    r"""Layer normalisation over the last axis, sample by sample.

    ``y = (x - mean) / √(var + eps) * weight + bias``. Ba et al. (2016), https://arxiv.org/abs/1607.06450.

    Parameters
    ----------
    features : int, optional
        Size of the last axis; learnt when left out.
    eps : float, default 1e-5
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`. Weight starts at ones, bias at zeros.
    """

    each_step = True

    def __init__(self, features: int | None = None, eps: float = 1e-5, *, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(features, eps, name, trainable)

    def _op(self, features: int) -> Op:
        return LayerNormOp(features, self.eps)

    def hyperparameters(self) -> dict[str, Any]:
        return {"features": self.features, "eps": self.eps}


class RMSNorm(_Normalization):
    r"""Root-mean-square normalisation over the last axis, sample by sample.

    ``y = x / √(mean(x²) + eps) * weight``. Zhang and Sennrich (2019), https://arxiv.org/abs/1910.07467.

    Parameters
    ----------
    features : int, optional
        Size of the last axis; learnt when left out.
    eps : float, default 1e-6
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`. Weight starts at ones.
    """

    each_step = True

    def __init__(self, features: int | None = None, eps: float = 1e-6, *, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(features, eps, name, trainable)

    def _op(self, features: int) -> Op:
        return RMSNormOp(features, self.eps)

    def hyperparameters(self) -> dict[str, Any]:
        return {"features": self.features, "eps": self.eps}


class GroupNorm(_Normalization):
    r"""Normalisation of groups of channels, over them and every axis between batch and channels, sample by sample.

    ``y = (x - mean) / √(var + eps) * weight + bias``. Wu and He (2018), https://arxiv.org/abs/1803.08494.

    Parameters
    ----------
    num_groups : int
        A divisor of the channels.
    features : int, optional
        Channels, the size of the last axis; learnt when left out.
    eps : float, default 1e-5
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`. Weight starts at ones, bias at zeros.

    Raises
    ------
    ValueError
        If num_groups does not divide the channels.
    """

    def __init__(self, num_groups: int, features: int | None = None, eps: float = 1e-5, *, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(features, eps, name, trainable)
        self.num_groups = count("GroupNorm", "num_groups", num_groups)

    def _op(self, features: int) -> Op:
        if features % self.num_groups:
            raise ValueError(f"{self!r}: num_groups is {self.num_groups}, which does not divide the {features} "
                             "channels of x; expected a divisor")
        return GroupNormOp(self.num_groups, features, self.eps)

    def hyperparameters(self) -> dict[str, Any]:
        return {"num_groups": self.num_groups, "features": self.features, "eps": self.eps}
