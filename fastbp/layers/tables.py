"""Layers for the columns of tables, and for ensembles of nets that share weights."""

from __future__ import annotations

from math import inf
from typing import Any

from fastbp.core.checks import count, flag, number
from fastbp.graph.graph import Initializer, Tensor
from fastbp.layers.base import Layer, one_input
from fastbp.ops.concat import ConcatOp
from fastbp.ops.grouped_linear import GroupedLinearOp
from fastbp.ops.periodic import MOST_OUTPUTS, PeriodicOp
from fastbp.ops.piecewise_linear import MOST_WEIGHTS, PiecewiseLinearOp
from fastbp.ops.scale import ScaleOp
from fastbp.optim.initializers import Normal, Ones, Uniform, Zeros

__all__ = ["GroupedLinear", "Periodic", "PiecewiseLinear", "Scale"]


class Scale(Layer):
    r"""``y = x * weight``, elementwise: a learnt factor for each feature.

    With members the weight has one factor for each member and feature, and y one more axis, before the last:
    ``y[m] = x * weight[m]``. Nets that share all but these adapters make an ensemble at little more than the cost of
    one set of weights; Wen, Tran and Ba (2020), https://arxiv.org/abs/2002.06715. Where x has the members' axis already
    (each member sees rows of its own), give none: the weight is as large as all axes of x that `axes` counts.

    Parameters
    ----------
    members : int, default 0
        Members to be made of one x, of shape (B, F).
    axes : int, default 1
        The last axes of x that have factors of their own.
    weight_init : initializer, optional
        Default: ones.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Notes
    -----
    Shapes: x ``(B, …, F)``, weight ``(F,)``, y as x; with members x ``(B, F)``, weight ``(M, F)``, y ``(B, M, F)``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(2), fb.Scale(members=3, weight_init=fb.Constant(2.0)))
    >>> net.predict(np.ones((1, 2), np.float32)).tolist()
    [[[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]]]
    """

    each_step = True

    def __init__(self, members: int = 0, axes: int = 1, *, weight_init: Initializer | None = None,
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        self.members = 0 if members == 0 else count("Scale", "members", members)
        self.axes = count("Scale", "axes", axes)
        self.weight_init = weight_init or Ones()

    def lower(self, *inputs: Tensor) -> Tensor:
        x = one_input(self, inputs)
        if len(x.shape) < self.axes or (self.members and len(x.shape) != 1):
            wanted = "one axis" if self.members else f"at least {self.axes} axes"
            raise ValueError(f"{self!r}: x has a sample shape of {x.shape}; expected {wanted}")
        return self.apply(ScaleOp(x.shape[-self.axes:], self.members), x, initializers={"weight": self.weight_init})

    def hyperparameters(self) -> dict[str, Any]:
        return {"members": self.members, "axes": self.axes}


class GroupedLinear(Layer):
    r"""``y[g] = x[g] @ W[g] + b[g]``: a linear layer of its own for each group, such as each member of an ensemble.

    Parameters
    ----------
    out_features : int
    bias : bool, default True
    weight_init, bias_init : initializer, optional
        Default: ``U(-1/√I, 1/√I)`` of the I features of a group, and zeros.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Notes
    -----
    Shapes: x ``(B, …, G, I)``, weight ``(G, I, O)``, bias ``(G, O)``, y ``(B, …, G, O)``; G and I are those of x.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(4, 8), fb.GroupedLinear(2), seed=0)
    >>> net.params["0.weight"].shape
    (4, 8, 2)
    """

    def __init__(self, out_features: int, bias: bool = True, *, weight_init: Initializer | None = None,
                 bias_init: Initializer | None = None, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        self.out_features = count("GroupedLinear", "out_features", out_features)
        self.bias = flag("GroupedLinear", "bias", bias)
        self.weight_init, self.bias_init = weight_init, bias_init or Zeros()

    def lower(self, *inputs: Tensor) -> Tensor:
        x = one_input(self, inputs)
        if len(x.shape) < 2:
            raise ValueError(f"{self!r}: x has a sample shape of {x.shape}; expected (…, groups, features)")
        groups, features = x.shape[-2:]
        weight_init = self.weight_init or Uniform(-features**-0.5, features**-0.5)
        return self.apply(GroupedLinearOp(groups, features, self.out_features, self.bias), x,
                          initializers={"weight": weight_init, "bias": self.bias_init})

    def hyperparameters(self) -> dict[str, Any]:
        return {"out_features": self.out_features, "bias": self.bias}


class Periodic(Layer):
    r"""``y = cos(2π (x w + p)) V + b``, for each feature on its own: numbers as waves of learnt frequencies.

    With x itself beside it, ``dense=True``, it is the embedding "PBLD". Holzmüller, Grinsztajn and Steinwart (2024),
    https://arxiv.org/abs/2407.04491.

    Parameters
    ----------
    frequencies : int, default 16
        Waves of each feature.
    outputs : int, default 3
        Features that are made of each one.
    sigma : float, default 0.1
        The frequencies start as N(0, sigma²): the right size for features of a size of about 1.
    dense : bool, default False
        Whether x is put before what is made of it.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`. Phases start as U(-½, ½), V and b as U(±1/√frequencies).

    Notes
    -----
    Shapes: x ``(B, …, I)``, frequency and phase ``(F, I)``, weight ``(F, O, I)``, bias ``(O, I)``, y ``(B, …, O · I)``,
    all features of the first output first; ``(B, …, I + O · I)`` if dense.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(5), fb.Periodic(8, 2), seed=0)
    >>> net.graph.outputs[0].shape
    (10,)
    """

    def __init__(self, frequencies: int = 16, outputs: int = 3, sigma: float = 0.1, dense: bool = False, *,
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        self.frequencies = count("Periodic", "frequencies", frequencies)
        self.outputs = count("Periodic", "outputs", outputs)
        if self.outputs > MOST_OUTPUTS:
            raise ValueError(f"Periodic: outputs is {outputs}; expected at most {MOST_OUTPUTS}")
        self.sigma = number("Periodic", "sigma", sigma, "a number above 0", lambda v: 0 < v < inf)
        self.dense = flag("Periodic", "dense", dense)

    def lower(self, *inputs: Tensor) -> Tensor:
        x = one_input(self, inputs)
        small = Uniform(-self.frequencies**-0.5, self.frequencies**-0.5)
        waves = self.apply(PeriodicOp(x.shape[-1], self.frequencies, self.outputs), x, initializers={
            "frequency": Normal(std=self.sigma), "phase": Uniform(-0.5, 0.5), "weight": small, "bias": small})
        return self.apply(ConcatOp(-1), x, waves) if self.dense else waves

    def hyperparameters(self) -> dict[str, Any]:
        return {"frequencies": self.frequencies, "outputs": self.outputs, "sigma": self.sigma,
                "dense": self.dense}


class PiecewiseLinear(Layer):
    r"""A learnt function of each feature, linear inside of bins: ``y = Σ_t min(max(x - t, 0), 1) W_t``.

    x says where a number lies among the edges of bins: 0 at the first edge, ``bins`` at the last, as
    ``np.interp(values, edges, np.arange(bins + 1))`` gives it; what lies outside counts as at the end. Quantiles make
    good edges. Gorishniy, Rubachev and Babenko (2022), https://arxiv.org/abs/2203.05556.

    Parameters
    ----------
    bins : int, default 24
    outputs : int, default 4
        Features that are made of each one.
    weight_init : initializer, optional
        Default: zeros.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Notes
    -----
    Shapes: x ``(B, …, I)``, weight ``(I, bins, outputs)``, y ``(B, …, I · outputs)``, all outputs of the first feature
    first.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(1), fb.PiecewiseLinear(2, 1), backend="reference")
    >>> net.params["0.weight"][...] = np.array([1.0, -4.0])[:, None]
    >>> net.predict([[0.0], [0.5], [1.0], [1.5], [9.0]])[:, 0].tolist()
    [0.0, 0.5, 1.0, -1.0, -3.0]
    """

    def __init__(self, bins: int = 24, outputs: int = 4, *, weight_init: Initializer | None = None,
                 name: str | None = None, trainable: bool = True) -> None:
        super().__init__(name=name, trainable=trainable)
        self.bins = count("PiecewiseLinear", "bins", bins)
        self.outputs = count("PiecewiseLinear", "outputs", outputs)
        if self.bins * self.outputs > MOST_WEIGHTS:
            raise ValueError(f"PiecewiseLinear: bins times outputs is {self.bins * self.outputs:,}; expected at most "
                             f"{MOST_WEIGHTS:,}")
        self.weight_init = weight_init or Zeros()

    def lower(self, *inputs: Tensor) -> Tensor:
        x = one_input(self, inputs)
        return self.apply(PiecewiseLinearOp(x.shape[-1], self.bins, self.outputs), x,
                          initializers={"weight": self.weight_init})

    def hyperparameters(self) -> dict[str, Any]:
        return {"bins": self.bins, "outputs": self.outputs}
