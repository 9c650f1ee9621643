r"""The optimizers: how parameters move along the gradient. Formulas are those of ``torch.optim``.

An optimizer is declarative: hyperparameters, and one formula over flat vectors in NumPy (:meth:`Optimizer.update`),
whose twin is in ``src_c/ops/optimizers.inc.h``. What it remembers about a network is an :class:`Update`: the state
vectors, the steps done, and the stretches of the parameter vector that are updated. The trainer and
:meth:`Optimizer.step` use one and the same.

Notation: p parameters, g their gradient, η learning rate, λ weight decay, t the step counted from 1; all elementwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast
from weakref import WeakKeyDictionary

import numpy as np

from fastbp.core.checks import flag, number
from fastbp.core.vector import aligned_copy, aligned_zeros
from fastbp.core.words import Worded, by_name
from fastbp.graph.memory import Memory
from fastbp.ops.base import Array
from fastbp.optim.groups import Groups, as_groups, settings
from fastbp.optim.schedules import ConstantSchedule, Schedule, as_schedule

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Lion", "Optimizer", "RMSprop"]


class Trained(Protocol):
    """What an optimizer needs of a network."""

    memory: Memory

    def _apply_update(self, update: Update, lr: float) -> None: ...


class OnItsOwn(Protocol):
    """What an optimizer needs of a layer that runs by itself: what has its parameters."""

    def _trained(self) -> Trained: ...


def trained_of(owner: str, net: Trained | OnItsOwn) -> Trained:
    """Return what has the parameters of a network, or of a layer; TypeError for anything else."""
    if not isinstance(getattr(net, "memory", None), Memory):
        own = getattr(net, "_trained", None)
        if own is None:
            raise TypeError(f"{owner}: net is {net!r}; expected a network, such as fb.Sequential(…), or a layer")
        return cast(OnItsOwn, net)._trained()
    return cast(Trained, net)


@dataclass(frozen=True)
class Segment:
    """Neighbouring parameters that are updated alike: ``flat[offset:offset + length]``.

    ``rate`` is what the learning rate is multiplied by. ``row`` is not 0 for a table of which only rows whose gradient
    is not 0 are updated: the elements of a row.
    """

    offset: int
    length: int
    weight_decay: float
    rate: float = 1.0
    row: int = 0


@dataclass(eq=False)
class Update:
    """How the parameters of one network are updated, and the optimizer's state, which a backend changes in place.

    Attributes
    ----------
    optimizer : Optimizer
    segments : list of Segment
        What is updated: the parameters that are not frozen. Another list takes its place when that changes.
    state : tuple of arrays
        Flat vectors as long as the parameters, named by ``optimizer.state_names``.
    clip_norm, clip_value : float or None
        Limits for the norm of the whole gradient, and for each of its elements (applied first).
    step : int
        Updates done so far.
    parameters : tuple of str or None
        The parameters that it is about, where it is not about all.
    """

    optimizer: Optimizer
    segments: list[Segment]
    state: tuple[Array, ...] = ()
    clip_norm: float | None = None
    clip_value: float | None = None
    step: int = 0
    parameters: tuple[str, ...] | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Arrays of a pickle may be read-only, as joblib maps them, or lie anywhere.
        self.__dict__.update(state, state=tuple(map(aligned_copy, state["state"])))

    def apply(self, params: Array, grads: Array, lr: float) -> int | None:
        """Clip the gradient and update the parameters once.

        Returns
        -------
        int or None
            The place of the first parameter that would not be finite: parameters, state and step are left as they
            were then.
        """
        before = params.copy(), [s.copy() for s in self.state]
        with np.errstate(all="ignore"):
            self._clip(grads)
            for s in self.segments:
                if s.row:
                    self._update_rows(s, params, grads, lr)
                    continue
                part = slice(s.offset, s.offset + s.length)
                self.optimizer.update(params[part], grads[part], tuple(v[part] for v in self.state),
                                      lr * s.rate, self.step + 1, s.weight_decay)
        bad = ~np.isfinite(params)
        if bad.any():
            params[...] = before[0]
            for state, old in zip(self.state, before[1], strict=True):
                state[...] = old
            return int(bad.argmax())
        self.step += 1
        return None

    def _update_rows(self, segment: Segment, params: Array, grads: Array, lr: float) -> None:
        """Update the rows of a table whose gradient is not 0."""
        table = slice(segment.offset, segment.offset + segment.length)
        p, g, *state = (v[table].reshape(-1, segment.row) for v in (params, grads, *self.state))
        rows = g.any(axis=1)
        own, kept = p[rows], [v[rows] for v in state]
        self.optimizer.update(own, g[rows], tuple(kept), lr * segment.rate, self.step + 1, segment.weight_decay)
        for whole, part in zip((p, *state), (own, *kept), strict=True):
            whole[rows] = part

    def trained(self, memory: Memory) -> tuple[tuple[str, int], ...]:
        """Return the parameters that are updated, each with its number of elements."""
        return tuple((name, array.size) for name, array in memory.params.items()
                     if any(s.offset <= memory.params.offsets[name] < s.offset + s.length for s in self.segments))

    def tables(self, memory: Memory) -> tuple[tuple[str, int], ...]:
        """Return the tables of which only rows whose gradient is not 0 are updated, each with the elements of a row."""
        rows = {s.offset: s.row for s in self.segments if s.row}
        return tuple((name, rows[at]) for name, at in memory.params.offsets.items() if at in rows) if rows else ()

    def follow(self, memory: Memory) -> None:
        """Update what moves now."""
        self.segments = self.optimizer.segments(memory, self.parameters)

    def check(self, memory: Memory) -> None:
        """Raise ValueError unless all that is written has the right size and may be written."""
        names, params = self.optimizer.state_names, memory.params.flat
        if len(self.state) != len(names) or not all(
                v.shape == params.shape and v.dtype == params.dtype and v.flags.carray for v in self.state):
            raise ValueError(f"the state of {type(self.optimizer).__name__} was changed; expected {len(names)} "
                             f"writable vectors ({', '.join(names)}) of {params.size} {params.dtype}s: begin anew with "
                             "another optimizer")
        for name, vector in (("params", params), ("grads", memory.grads.flat), ("buffers", memory.buffers.flat)):
            if not vector.flags.writeable:
                raise ValueError(f"net.{name}.flat is read-only; expected a vector that training may write. Layers "
                                 "made with trainable=False keep their parameters")

    def _clip(self, grads: Array) -> None:
        """Limit the gradient of what is updated."""
        parts = [grads[s.offset:s.offset + s.length] for s in self.segments]
        if self.clip_value is not None:
            for part in parts:
                np.clip(part, -self.clip_value, self.clip_value, out=part)
        if self.clip_norm is not None:
            norm = float(np.sqrt(sum(np.sum(np.square(part, dtype=np.float64)) for part in parts)))
            if norm > self.clip_norm:
                for part in parts:
                    part *= self.clip_norm / norm


# What an optimizer in use is not looked up for again.
_SETTINGS = {"weight_decay", "decay_bias", "momentum", "nesterov", "alpha", "eps", "beta1", "beta2"}


class Optimizer(Worded, ABC):
    """An optimizer.

    Parameters
    ----------
    lr : float, Schedule, or function of the step
        η: a number above 0, or a schedule such as ``fb.CosineDecay(…)``.
    weight_decay : float
        λ.
    decay_bias : bool, default True
        False spares biases and the parameters of normalisation (those with one axis) the weight decay.
    groups : dict of str to dict, optional
        Other settings for parameters by name: ``{"encoder.*": {"lr": 1e-4}, "*.bias": {"weight_decay": 0.0}}``. A key
        is a pattern with ``*`` and ``?``, or the name of a layer; of patterns that match, the last one that has a
        setting counts. ``"lr"`` is a learning rate beside the optimizer's own number, and keeps its proportion to it
        when that changes; ``"lr_factor"`` is that proportion, for schedules too.
    lazy : bool, default False
        True updates, of the table of an :class:`~fastbp.Embedding`, only rows whose gradient is not 0 in a step: those
        of ids in the mini-batch. All other rows keep their values and their state, momentum and weight decay included,
        and a step takes as long as its rows do, whatever the size of the table. As ``SparseAdam`` of PyTorch and
        ``LazyAdam`` of TensorFlow do.
    """

    words: ClassVar[Mapping[str, str]] = {
        "learning_rate": "lr=…", "params": "the network to fb.Trainer, or to optimizer.step(net)",
        "clipnorm": "clip_norm=… to fb.Trainer", "clipvalue": "clip_value=… to fb.Trainer",
        "betas": "beta1=0.9, beta2=0.999", "beta_1": "beta1=…", "beta_2": "beta2=…", "epsilon": "eps=…",
        "rho": "alpha=…", "sparse": "lazy=True",
    }
    name: ClassVar[str]
    """The optimizer's name in C."""
    state_names: ClassVar[tuple[str, ...]]
    """What it remembers: the vectors of ``Update.state``, all zero at first."""
    has_twin: ClassVar[bool] = False
    """Whether C has the formula: a class that overrides :meth:`update` and has no name of its own does not."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "update" in vars(cls) or "name" in vars(cls):
            cls.has_twin = "name" in vars(cls)

    def __init__(self, lr: float | Schedule, weight_decay: float, decay_bias: bool,
                 groups: Mapping[str, Mapping[str, float]] | None = None, lazy: bool = False) -> None:
        self.lr = lr
        self._lazy = flag(type(self).__name__, "lazy", lazy)
        fixed = self._lr.lr if isinstance(self._lr, ConstantSchedule) else None
        self._groups = as_groups(type(self).__name__, groups, fixed)
        self.weight_decay = self._number("weight_decay", weight_decay)
        self.decay_bias = flag(type(self).__name__, "decay_bias", decay_bias)
        self._updates: WeakKeyDictionary[Memory, dict[tuple[str, ...] | None, Update]] = WeakKeyDictionary()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SETTINGS and self.__dict__.get("_updates"):
            raise AttributeError(f"{type(self).__name__}: {name} is fixed, as the optimizer is in use; make a new one "
                                 f"with {name}={value!r}. Only lr may be assigned")
        super().__setattr__(name, value)

    @property
    def lr(self) -> Schedule:
        """The learning rate as a schedule. A number may be assigned, at any time: the state stays."""
        return self._lr

    @lr.setter
    def lr(self, lr: float | Schedule) -> None:
        self._lr = as_schedule(type(self).__name__, lr)

    @property
    def lazy(self) -> bool:
        """Whether only rows of a table whose gradient is not 0 are updated. It is fixed."""
        return self._lazy

    @abstractmethod
    def hyper(self) -> tuple[float, ...]:
        """Return the optimizer's own numbers, in the order that the C twin reads them."""

    @abstractmethod
    def update(self, params: Array, grads: Array, state: tuple[Array, ...], lr: float, step: int,
               weight_decay: float) -> None:
        """Update parameters and state in place; step counts from 1."""

    def step(self, net: Trained | OnItsOwn) -> None:
        """Update parameters once, from ``net.grads``: for training loops of one's own.

        Parameters
        ----------
        net : Network or Layer
            A layer that runs by itself has parameters of its own; one that has none is left as it is.

        Raises
        ------
        TypeError
            For anything else. Call it for each of several layers.
        NonFiniteError
            If a gradient is not finite, or a parameter would become so; nothing is changed then.
        ValueError
            If the learning rate of this step is below 0 or not finite.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(1.0)), backend="reference", dtype="float64")
        >>> optimizer = fb.SGD(lr=0.5)
        >>> y = net.forward([[2.0]], training=True)
        >>> dx = net.backward(y - 3.0)
        >>> optimizer.step(net)
        >>> net.params["0.weight"]
        array([[2.]])
        """
        trained = trained_of(type(self).__name__, net)
        update = self._update_of(trained.memory, None)
        trained._apply_update(update, self._lr.rate(update.step))

    def update_of(self, net: Trained | OnItsOwn, parameters: tuple[str, ...] | None = None) -> Update:
        """Return what this optimizer remembers about a network, or some parameters of it; it begins with zeros."""
        return self._update_of(trained_of(type(self).__name__, net).memory, parameters)

    def _update_of(self, memory: Memory, parameters: tuple[str, ...] | None) -> Update:
        known = self._updates.setdefault(memory, {})
        if parameters not in known:
            state = tuple(aligned_zeros(memory.params.flat.size, memory.dtype) for _ in self.state_names)
            self.remember(memory, Update(self, self.segments(memory, parameters), state, parameters=parameters))
        return known[parameters]

    def segments(self, memory: Memory, parameters: tuple[str, ...] | None = None) -> list[Segment]:
        """Return the stretches of a network's parameter vector that it updates, those updated alike joined."""
        return segments(memory, self.weight_decay, self.decay_bias, parameters, self._groups, self.lazy)

    def carry_over(self, old: Trained | OnItsOwn, new: Trained | OnItsOwn) -> None:
        """Take what it remembers about a network over to another: of parameters of one name and shape, and the steps.

        For a network whose head was swapped: ``new = net.replace("head", …); optimizer.carry_over(net, new)``.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(2, 3), fb.Linear(3, 1), seed=0)
        >>> optimizer = fb.Adam()
        >>> loss = fb.Trainer(net, fb.MSE(), optimizer).step([[1.0, 2.0]], [1.0])
        >>> new = net.replace("1", fb.Linear(3, 4))
        >>> optimizer.carry_over(net, new)
        >>> optimizer.update_of(new).step
        1
        """
        before, after = self.update_of(old), self.update_of(new)
        source, target = (trained_of("carry_over", net).memory.params for net in (old, new))
        after.step = before.step
        for vector, kept in zip(after.state, before.state, strict=True):
            for name, values in target.items():
                own = source.get(name)
                if own is not None and own.shape == values.shape:
                    start, there = source.offsets[name], target.offsets[name]
                    vector[there:there + own.size] = kept[start:start + own.size]

    def remember(self, memory: Memory, update: Update) -> None:
        """Go on with what was remembered about a network elsewhere, such as before pickling."""
        self._updates.setdefault(memory, {})[update.parameters] = update
        memory.tell(update)

    def __getstate__(self) -> dict[str, Any]:
        # What is remembered belongs to networks of this process: a copy begins afresh.
        return {**self.__dict__, "_updates": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _updates=WeakKeyDictionary())

    def _number(self, argument: str, value: Any, below: float = np.inf) -> float:
        expected = "a number of at least 0" if below == np.inf else f"a number from 0 to below {below}"
        return number(type(self).__name__, argument, value, expected, lambda v: 0 <= v < below)

    def hyperparameters(self) -> dict[str, Any]:
        """Return the arguments that make an equal optimizer."""
        own = {k: v for k, v in self.__dict__.items() if not k.startswith("_")}
        lr = self.lr.lr if isinstance(self.lr, ConstantSchedule) else self.lr
        groups = {"groups": {pattern: dict(given) for pattern, given in self._groups}} if self._groups else {}
        return {"lr": lr, **own, **groups, **({"lazy": True} if self.lazy else {})}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.hyperparameters().items())})"


def segments(memory: Memory, weight_decay: float, decay_bias: bool, parameters: tuple[str, ...] | None = None,
             groups: Groups = (), lazy: bool = False) -> list[Segment]:
    """Return the stretches of a network's parameter vector that are trained, those updated alike joined.

    Frozen parameters are left out, and so are those that are not among `parameters`, where these are given. With
    `lazy`, tables are by themselves.
    """
    found: list[Segment] = []
    tables = memory.graph.tables if lazy else frozenset()
    frozen, known = memory.frozen, memory.graph.parameters
    own = settings("optimizer", groups, known)
    for name, parameter in known.items():
        if name in frozen or (parameters is not None and name not in parameters):
            continue
        usual = weight_decay if decay_bias or len(parameter.shape) > 1 else 0.0
        decay, rate = own[name].get("weight_decay", usual), own[name].get("lr_factor", 1.0)
        offset, length = memory.params.offsets[name], memory.params[name].size
        row = parameter.shape[-1] if name in tables else 0
        if not row and found and not found[-1].row and found[-1].offset + found[-1].length == offset \
                and (found[-1].weight_decay, found[-1].rate) == (decay, rate):
            length += found[-1].length
            offset = found.pop().offset
        found.append(Segment(offset, length, decay, rate, row))
    return found


class SGD(Optimizer):
    """Stochastic gradient descent: ``g ← g + λp; v ← μv + g; p ← p - ηv``; Nesterov: ``p ← p - η(g + μv)``.

    Parameters
    ----------
    lr : float or Schedule, default 0.01
    momentum : float, default 0.0
        μ, from 0 to below 1.
    nesterov : bool, default False
        Needs a momentum above 0. Sutskever et al. (2013), https://proceedings.mlr.press/v28/sutskever13.html.
    weight_decay : float, default 0.0
    decay_bias : bool, default True
    groups : dict, optional
    lazy : bool, default False
        As in :class:`Optimizer`.

    Examples
    --------
    >>> SGD(lr=0.1, momentum=0.9)
    SGD(lr=0.1, weight_decay=0.0, decay_bias=True, momentum=0.9, nesterov=False)
    """

    name = "sgd"
    state_names = ("velocity",)

    def __init__(self, lr: float | Schedule = 0.01, momentum: float = 0.0, nesterov: bool = False, *,
                 weight_decay: float = 0.0, decay_bias: bool = True,
                 groups: Mapping[str, Mapping[str, float]] | None = None, lazy: bool = False) -> None:
        super().__init__(lr, weight_decay, decay_bias, groups, lazy)
        self.momentum = self._number("momentum", momentum, 1)
        self.nesterov = flag("SGD", "nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("SGD: nesterov is True with momentum 0; give a momentum above 0, such as 0.9")

    def hyper(self) -> tuple[float, ...]:
        return self.momentum, float(self.nesterov)

    def update(self, params: Array, grads: Array, state: tuple[Array, ...], lr: float, step: int,
               weight_decay: float) -> None:
        (velocity,) = state
        g = grads + weight_decay * params
        velocity[...] = self.momentum * velocity + g
        params -= lr * (g + self.momentum * velocity if self.nesterov else velocity)


class RMSprop(Optimizer):
    """RMSprop: ``g ← g + λp; s ← αs + (1 - α)g²; v ← μv + g / (√s + ε); p ← p - ηv``.

    Hinton, Neural Networks for Machine Learning (2012), lecture 6e.

    Parameters
    ----------
    lr : float or Schedule, default 0.01
    alpha : float, default 0.99
    eps : float, default 1e-8
    momentum : float, default 0.0
        μ.
    weight_decay : float, default 0.0
    decay_bias : bool, default True
    groups : dict, optional
    lazy : bool, default False
        As in :class:`Optimizer`.
    """

    name = "rmsprop"
    state_names = ("square_avg", "velocity")

    def __init__(self, lr: float | Schedule = 0.01, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0.0, *,
                 weight_decay: float = 0.0, decay_bias: bool = True,
                 groups: Mapping[str, Mapping[str, float]] | None = None, lazy: bool = False) -> None:
        super().__init__(lr, weight_decay, decay_bias, groups, lazy)
        self.alpha, self.eps = self._number("alpha", alpha, 1), self._number("eps", eps)
        self.momentum = self._number("momentum", momentum, 1)

    def hyper(self) -> tuple[float, ...]:
        return self.alpha, self.eps, self.momentum

    def update(self, params: Array, grads: Array, state: tuple[Array, ...], lr: float, step: int,
               weight_decay: float) -> None:
        square_avg, velocity = state
        g = grads + weight_decay * params
        square_avg[...] = self.alpha * square_avg + (1 - self.alpha) * g * g
        velocity[...] = self.momentum * velocity + g / (np.sqrt(square_avg) + self.eps)
        params -= lr * velocity


class Adagrad(Optimizer):
    """Adagrad: ``g ← g + λp; s ← s + g²; p ← p - ηg / (√s + ε)``.

    Duchi et al. (2011), https://jmlr.org/papers/v12/duchi11a.html.

    Parameters
    ----------
    lr : float or Schedule, default 0.01
    eps : float, default 1e-10
    weight_decay : float, default 0.0
    decay_bias : bool, default True
    groups : dict, optional
    lazy : bool, default False
        As in :class:`Optimizer`.
    """

    name = "adagrad"
    state_names = ("sum_of_squares",)

    def __init__(self, lr: float | Schedule = 0.01, eps: float = 1e-10, *, weight_decay: float = 0.0,
                 decay_bias: bool = True,
                 groups: Mapping[str, Mapping[str, float]] | None = None, lazy: bool = False) -> None:
        super().__init__(lr, weight_decay, decay_bias, groups, lazy)
        self.eps = self._number("eps", eps)

    def hyper(self) -> tuple[float, ...]:
        return (self.eps,)

    def update(self, params: Array, grads: Array, state: tuple[Array, ...], lr: float, step: int,
               weight_decay: float) -> None:
        (sum_of_squares,) = state
        g = grads + weight_decay * params
        sum_of_squares += g * g
        params -= lr * g / (np.sqrt(sum_of_squares) + self.eps)


class Adam(Optimizer):
    r"""Adam: ``g ← g + λp; m ← β₁m + (1 - β₁)g; v ← β₂v + (1 - β₂)g²; p ← p - η m̂ / (√v̂ + ε)``.

    Here ``m̂ = m / (1 - β₁ᵗ)`` and ``v̂ = v / (1 - β₂ᵗ)``. Kingma and Ba (2015), https://arxiv.org/abs/1412.6980.

    Parameters
    ----------
    lr : float or Schedule, default 0.001
    beta1, beta2 : float, default 0.9, 0.999
    eps : float, default 1e-8
    weight_decay : float, default 0.0
    decay_bias : bool, default True
    groups : dict, optional
    lazy : bool, default False
        As in :class:`Optimizer`.
    """

    name = "adam"
    state_names = ("exp_avg", "exp_avg_sq")
    decoupled: ClassVar[bool] = False
    """Whether weight decay shrinks p itself (AdamW) instead of entering g."""

    def __init__(self, lr: float | Schedule = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, *,
                 weight_decay: float = 0.0, decay_bias: bool = True,
                 groups: Mapping[str, Mapping[str, float]] | None = None, lazy: bool = False) -> None:
        super().__init__(lr, weight_decay, decay_bias, groups, lazy)
        self.beta1, self.beta2 = self._number("beta1", beta1, 1), self._number("beta2", beta2, 1)
        self.eps = self._number("eps", eps)

    def hyper(self) -> tuple[float, ...]:
        return self.beta1, self.beta2, self.eps, float(self.decoupled)

    def update(self, params: Array, grads: Array, state: tuple[Array, ...], lr: float, step: int,
               weight_decay: float) -> None:
        exp_avg, exp_avg_sq = state
        g = grads
        if self.decoupled:
            params *= 1 - lr * weight_decay
        else:
            g = grads + weight_decay * params
        exp_avg[...] = self.beta1 * exp_avg + (1 - self.beta1) * g
        exp_avg_sq[...] = self.beta2 * exp_avg_sq + (1 - self.beta2) * g * g
        root = np.sqrt(exp_avg_sq) / (1 - self.beta2**step) ** 0.5
        params -= lr / (1 - self.beta1**step) * exp_avg / (root + self.eps)


class AdamW(Adam):
    """Adam with decoupled weight decay: ``p ← p - ηλp`` first, then as :class:`Adam` does without decay.

    Loshchilov and Hutter (2019), https://arxiv.org/abs/1711.05101.

    Parameters
    ----------
    lr : float or Schedule, default 0.001
    beta1, beta2 : float, default 0.9, 0.999
    eps : float, default 1e-8
    weight_decay : float, default 0.01
    decay_bias : bool, default True
    groups : dict, optional
    lazy : bool, default False
        As in :class:`Optimizer`.
    """

    decoupled = True

    def __init__(self, lr: float | Schedule = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, *,
                 weight_decay: float = 0.01, decay_bias: bool = True,
                 groups: Mapping[str, Mapping[str, float]] | None = None, lazy: bool = False) -> None:
        super().__init__(lr, beta1, beta2, eps, weight_decay=weight_decay, decay_bias=decay_bias,
                         groups=groups, lazy=lazy)


class Lion(Optimizer):
    """Lion: ``p ← p - ηλp; p ← p - η sign(β₁m + (1 - β₁)g); m ← β₂m + (1 - β₂)g``.

    Chen et al. (2023), https://arxiv.org/abs/2302.06675. Wants a learning rate 3 to 10 times smaller than Adam's.

    Parameters
    ----------
    lr : float or Schedule, default 0.0001
    beta1, beta2 : float, default 0.9, 0.99
    weight_decay : float, default 0.0
    decay_bias : bool, default True
    groups : dict, optional
    lazy : bool, default False
        As in :class:`Optimizer`.
    """

    name = "lion"
    state_names = ("exp_avg",)

    def __init__(self, lr: float | Schedule = 0.0001, beta1: float = 0.9, beta2: float = 0.99, *,
                 weight_decay: float = 0.0, decay_bias: bool = True,
                 groups: Mapping[str, Mapping[str, float]] | None = None, lazy: bool = False) -> None:
        super().__init__(lr, weight_decay, decay_bias, groups, lazy)
        self.beta1, self.beta2 = self._number("beta1", beta1, 1), self._number("beta2", beta2, 1)

    def hyper(self) -> tuple[float, ...]:
        return self.beta1, self.beta2

    def update(self, params: Array, grads: Array, state: tuple[Array, ...], lr: float, step: int,
               weight_decay: float) -> None:
        (exp_avg,) = state
        params *= 1 - lr * weight_decay
        params -= lr * np.sign(self.beta1 * exp_avg + (1 - self.beta1) * grads)
        exp_avg[...] = self.beta2 * exp_avg + (1 - self.beta2) * grads


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "adagrad": Adagrad, "lion": Lion,
}
"""Optimizers by name, each with its defaults."""


def as_optimizer(owner: str, optimizer: Any) -> Optimizer:
    """Return an optimizer, given itself or by its name.

    Raises
    ------
    TypeError, ValueError
        For anything else; for a name that there is not.

    Examples
    --------
    >>> as_optimizer("Trainer", "sgd").name
    'sgd'
    """
    if isinstance(optimizer, str):
        made: Optimizer = by_name(owner, "optimizer", optimizer, OPTIMIZERS, "an optimizer such as fb.Adam(lr=1e-3)")()
        return made
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        raise TypeError(f"{owner}: optimizer is the class {optimizer.__name__}; expected an instance: "
                        f"{optimizer.__name__}()")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{owner}: optimizer is {optimizer!r}; expected an optimizer such as fb.Adam(lr=1e-3)")
    return optimizer
