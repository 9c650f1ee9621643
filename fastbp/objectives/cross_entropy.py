"""Cross-entropy of classes: its rows are the positions of outputs (B, …, C), each with a label of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, Self

import numpy as np

from fastbp.core.checks import finite, integer, number, numbers, real
from fastbp.objectives.losses import Loss, batch_of, check_rows, class_weights, set_field, within
from fastbp.ops.base import Array, Native, Shape

__all__ = ["CrossEntropy"]

# What a label that is ignored becomes; and what stands for the weight of a class that is.
_IGNORED = -1


@dataclass(frozen=True)
class CrossEntropy(Loss):
    r"""Cross-entropy of C classes, from logits: ``ℓ = Σ_c q_c (log Σ_k exp(x_k) - x_c)``, the softmax included.

    Here q is the target distribution, smoothed: ``q = (1 - ε) y + ε / C``, y being one at the label and zero elsewhere,
    or the given probabilities. ``dℓ/dx = (Σ_c q_c) softmax(x) - q``.

    Parameters
    ----------
    label_smoothing : float, default 0.0
        ε, from 0 to below 1. Szegedy et al. (2016), https://arxiv.org/abs/1512.00567. It is spread over the classes
        that count: all but one that is ignored.
    class_weight : sequence of float, dict of int to float, or "balanced", optional
        One number for each class, none below 0; a dict may leave out classes, which then weigh 1. ``"balanced"`` is
        worked out by ``trainer.fit``: rows / (C · rows of the class), in the sum of their sample weights. A row's
        weight is multiplied by that of its label (by ``Σ_c y_c class_weight_c`` for probabilities), then the weights
        are made to sum to 1 as always.
    ignore_index : int, optional
        A label of positions that do not count, neither for the loss nor for accuracy: a class, such as the one of
        padding, or a number that is none, such as -100. Where no position of a batch counts, the loss is 0.

    Notes
    -----
    Output (B, …, C), C at least 2. Targets: integer labels (B, …), or (B, 1), from 0 to C - 1, or probabilities
    (B, …, C) that sum to 1. Each of the B · G positions counts alike, or by its weight: ``sample_weight``
    is (B,) or (B, …). Accuracy: the largest logit against the label, or against the largest probability.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> loss = fb.CrossEntropy(ignore_index=-100)
    >>> loss.forward(np.zeros((1, 3, 2)), [[0, 1, -100]])
    0.6931471805599453
    >>> loss.backward()[0]
    array([[-0.25,  0.25],
           [ 0.25, -0.25],
           [ 0.  ,  0.  ]])
    """

    label_smoothing: float = 0.0
    class_weight: Sequence[float] | Mapping[int, float] | str | None = None
    ignore_index: int | None = None
    name: ClassVar[str] = "cross_entropy"

    def __post_init__(self) -> None:
        set_field(self, "label_smoothing", number("CrossEntropy", "label_smoothing", self.label_smoothing,
                                                  "a number from 0 to below 1", lambda e: 0 <= e < 1))
        given = self.class_weight
        if isinstance(given, str) and given != "balanced":
            raise ValueError(f'CrossEntropy: class_weight is {given!r}; expected "balanced", a number for each '
                             "class, or a dict of them")
        if isinstance(given, Mapping):
            set_field(self, "class_weight", _by_class(given))
        elif given is not None and not isinstance(given, str):
            set_field(self, "class_weight", class_weights("CrossEntropy", "class_weight", given))
        if self.ignore_index is not None:
            index = integer(self.ignore_index)
            if index is None:
                raise ValueError(f"CrossEntropy: ignore_index is {self.ignore_index!r}; expected an integer, or None")
            set_field(self, "ignore_index", index)

    def check_output(self, shape: Shape) -> None:
        if shape[-1] < 2:
            raise ValueError(f"CrossEntropy: the network's output is {batch_of(shape)}; expected a logit for each of "
                             "at least 2 classes. For a single yes-or-no output use fb.BinaryCrossEntropy()")
        if isinstance(self.class_weight, tuple) and len(self.class_weight) != shape[-1]:
            raise ValueError(f"CrossEntropy: class_weight has {len(self.class_weight)} entries; expected {shape[-1]}, "
                             f"as the network's output is {batch_of(shape)}")

    def fitted(self, shape: Shape) -> Self:
        self.check_output(shape)
        if not isinstance(self.class_weight, Mapping):
            return self
        beyond = [c for c in self.class_weight if c >= shape[-1]]
        if beyond:
            raise ValueError(f"CrossEntropy: class_weight has the class {beyond[0]}; expected classes from 0 to "
                             f"{shape[-1] - 1}, as the network's output is {batch_of(shape)}")
        return replace(self, class_weight=tuple(self.class_weight.get(c, 1.0) for c in range(shape[-1])))

    def balanced(self, target: Array, sample_weight: Array | None = None) -> Self:
        if self.class_weight != "balanced":
            return self
        if not _is_labels(target):
            raise ValueError('CrossEntropy: class_weight is "balanced", but the targets are probabilities; give a '
                             "number for each class")
        weights = replace(self, class_weight=None).unnormalized_weights(target, sample_weight)
        counts = np.bincount(np.maximum(target.reshape(-1), 0), weights=weights)
        each = np.divide(counts.sum(), np.count_nonzero(counts) * counts, out=np.ones_like(counts), where=counts > 0)
        return replace(self, class_weight={c: float(w) for c, w in enumerate(each)})

    @property
    def _weights(self) -> tuple[float, ...] | None:
        if isinstance(self.class_weight, str | Mapping):
            raise ValueError(f"CrossEntropy: class_weight is {self.class_weight!r}, which trainer.fit works out from "
                             "the labels of all rows; train with it first, or give a number for each class")
        return None if self.class_weight is None else tuple(self.class_weight)

    def rows(self, x: Array, target: Array) -> tuple[Array, Array]:
        powers = np.exp(x - x.max(axis=1, keepdims=True))
        q = self.distribution(x, target)
        total = powers.sum(axis=1, keepdims=True)
        gradient = powers / total * q.sum(axis=1, keepdims=True) - q
        if self._ignores(target):
            gradient[target.reshape(-1) == _IGNORED] = 0
        return self.values(x, target), gradient

    def values(self, x: Array, target: Array) -> Array:
        shifted = x - x.max(axis=1, keepdims=True)
        surprise = np.log(np.exp(shifted).sum(axis=1, keepdims=True)) - shifted
        q = self.distribution(x, target)
        # A class that the target rules out costs nothing, even where its surprise is infinite.
        each: Array = np.multiply(q, surprise, where=q != 0, out=np.zeros_like(x)).sum(axis=1)
        return each

    def distribution(self, x: Array, target: Array) -> Array:
        """Return q (R, C), which is 0 where the label is ignored."""
        rows, counts = len(x), np.arange(x.shape[1]) != self.ignore_index
        if _is_labels(target):
            labels = target.reshape(-1)
            y = np.zeros_like(x)
            y[np.arange(rows), labels] = 1
        else:
            y = target.reshape(x.shape).copy()
        y *= 1 - self.label_smoothing
        np.add(y, self.label_smoothing / int(counts.sum()), where=counts, out=y)
        if self._ignores(target):
            y[labels == _IGNORED] = 0
        return y

    def unnormalized_weights(self, target: Array, sample_weight: Array | None) -> Array:
        labels = _is_labels(target)
        count = target.size if labels else target.size // target.shape[-1]
        weights = np.ones(count)
        if sample_weight is not None:
            given = sample_weight.astype(np.float64).reshape(-1)
            weights *= np.repeat(given, count // max(len(given), 1))
        classes = self._class_weights(None if labels else target.shape[-1])
        if classes is not None:
            weights *= classes[target.reshape(-1)] if labels else target.reshape(count, -1) @ classes
        if self._ignores(target):
            weights[target.reshape(-1) == _IGNORED] = 0
        return weights

    def _class_weights(self, classes: int | None) -> Array | None:
        """Return what classes weigh: 0 one that is ignored. ``classes`` says how many, where probabilities do."""
        own = self._weights
        if own is None and (classes is None or self.ignore_index not in range(classes)):
            return None
        weights = np.ones(classes or 0) if own is None else np.array(own, np.float64)
        if self.ignore_index in range(len(weights)):
            weights[self.ignore_index] = 0
        return weights

    def _ignores(self, target: Array) -> bool:
        return self.ignore_index is not None and _is_labels(target)

    @property
    def counts_right(self) -> bool:
        return super().counts_right and self.ignore_index is None

    def right(self, y_pred: Array, target: Array) -> Array:
        return self.decisions(y_pred, target, None)[0]

    def decisions(self, y_pred: Array, target: Array, sample_weight: Array | None) -> tuple[Array, Array]:
        labels = target if _is_labels(target) else target.argmax(axis=-1)
        rows = len(labels)
        right = (y_pred.argmax(axis=-1) == labels).reshape(rows, -1)
        counts = np.ones(right.shape)
        if sample_weight is not None:
            counts *= sample_weight.reshape(rows, -1)
        if self._ignores(target):
            counts[target.reshape(rows, -1) == _IGNORED] = 0
        total = counts.sum(axis=1)
        share = np.divide((right * counts).sum(axis=1), total, where=total > 0, out=np.zeros(rows))
        return share, total / max(right.shape[1], 1)

    def positions(self, out_shape: Shape) -> Shape:
        return out_shape[:-1]

    def native(self, shape: Shape, target: Array) -> Native:
        weights = list(self._weights or ())
        if self.ignore_index is not None:
            weights = weights or [1.0] * shape[-1]
            if self.ignore_index in range(shape[-1]):
                weights[self.ignore_index] = _IGNORED
        return Native(dims=(prod(shape[:-1]), shape[-1]), attrs=(self.label_smoothing,), constants=tuple(weights))

    def native_name(self, target: Array) -> str:
        return "cross_entropy" if _is_labels(target) else "soft_cross_entropy"

    def native_target(self, out_shape: Shape, target: Array) -> tuple[Shape, range | None]:
        if not _is_labels(target):
            return out_shape, None
        return out_shape[:-1], range(0 if self.ignore_index is None else _IGNORED, out_shape[-1])

    def plain_domain(self, target: Array) -> tuple[float, float] | None:
        # probabilities must sum to 1, and labels that are ignored become others
        return super().plain_domain(target) if _is_labels(target) and self.ignore_index is None else None

    def targets(self, t: Any, out_shape: Shape, dtype: str, rows: int, name: str = "y") -> Array:
        array = real(name, t, "for labels, number the classes from 0: np.unique(y, return_inverse=True)[1]")
        check_rows(name, array, rows)
        if array.shape == (rows, 1) and len(out_shape) == 1:
            array = array[:, 0]
        if array.shape[1:] == out_shape:
            return _probabilities(name, numbers(name, array, dtype))
        if array.shape[1:] != out_shape[:-1]:
            raise ValueError(f"{name} has shape {array.shape}; expected labels {(rows, *out_shape[:-1])} or "
                             f"probabilities {(rows, *out_shape)}")
        return _labels(name, array, out_shape[-1], self.ignore_index)


def _labels(name: str, given: Array, classes: int, ignored: int | None) -> Array:
    """Return labels as a copy, which nobody can change once they are found right; those that are ignored become -1."""
    array = given.copy()
    if array.dtype.kind == "f":
        finite(name, array)
        if (array != np.floor(array)).any():
            raise ValueError(f"{name} has {array[array != np.floor(array)][0]}; expected whole numbers as labels, or "
                             f"probabilities of {classes} classes")
    left_out = np.zeros(array.shape, bool) if ignored is None else array == ignored
    wrong = ((array < 0) | (array >= classes)) & ~left_out
    if wrong.any():
        at = int(np.argwhere(wrong)[0][0])
        also = "" if ignored is None else f" or {ignored}, which is ignored"
        raise ValueError(f"{name} has the label {array[wrong].flat[0]:.17g} in row {at}; expected labels from 0 to "
                         f"{classes - 1}{also}, as the network has {classes} outputs")
    array = array.astype(np.int64, order="C", copy=False)
    array[left_out] = _IGNORED
    return array


def _probabilities(name: str, array: Array) -> Array:
    within(name, finite(name, array), 0)
    off = np.abs(array.sum(axis=-1) - 1) > 1e-3
    if off.any():
        at = int(np.argwhere(off)[0][0])
        raise ValueError(f"{name} has probabilities that sum to {array.sum(axis=-1)[off][0]:.6g} in row {at}; expected "
                         "1")
    return array


def _by_class(weights: Mapping[Any, Any]) -> dict[int, float]:
    """Return the weights of some classes, checked."""
    wrong = [c for c in weights if integer(c) is None or c < 0]
    if wrong:
        raise ValueError(f"CrossEntropy: class_weight has the class {wrong[0]!r}; expected numbers of classes from 0")
    values: Any = class_weights("CrossEntropy", "class_weight", list(weights.values()))
    return dict(zip(map(int, weights), values, strict=True))


def _is_labels(target: Array) -> bool:
    return target.dtype.kind == "i"
