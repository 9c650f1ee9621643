"""A network for a table: what its columns are, what the target is, how it is trained, judged and kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as fb
from fastbp.core.errors import FormatError
from fastbp.engine.executable import BackendName
from fastbp.estimators.table.columns import Columns, Encoder, as_text
from fastbp.files.container import read, write
from fastbp.files.description import described
from fastbp.files.networks import build, describe, tensors_of
from fastbp.graph.graph import Tensor
from fastbp.network import KINDS, Network
from fastbp.ops.base import Array
from fastbp.training.callbacks import Callback, EarlyStopping

# Whole numbers are classes where there are at most so many of them, each in so many rows on average.
MOST_CLASSES = 20
ROWS_A_CLASS = 10
# More classes than this share of the rows cannot be learnt.
MOST_CLASS_SHARE = 0.5
VERSION = 1
_GOLDEN_RATIO = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Target:
    """What is to be predicted.

    Attributes
    ----------
    name : str
    classes : list of str, or None
        In the order of the network's outputs; None for regression.
    mean, std : float
        Of a number, in the training rows: the network predicts ``(y - mean) / std``.
    """

    name: str
    classes: list[str] | None
    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def of(cls, name: str, values: Array, task: str = "auto") -> tuple[Target, str]:
        """Decide what is predicted, and say why.

        Raises
        ------
        ValueError
            For text where regression is asked for, for a single class, or more classes than could be learnt.
        """
        text = values.dtype == object
        distinct = len(set(values.tolist()))
        if task == "auto":
            whole = not text and bool((values == np.floor(values)).all())
            few = distinct <= MOST_CLASSES and distinct * ROWS_A_CLASS <= len(values)
            task = "classification" if text or (whole and few) else "regression"
            why = "text" if text else f"{distinct} distinct whole numbers" if whole else "numbers"
            if task == "classification" and not text:
                why += "; to predict a number choose --task regression"
            elif not text and (whole or distinct <= MOST_CLASSES) and distinct <= MOST_CLASS_SHARE * len(values):
                why += "; to predict classes choose --task classification"
        else:
            why = "as asked for"
        if task == "regression":
            if text:
                raise ValueError(f"the target {name!r} has text such as {values[0]!r}; regression needs numbers")
            if distinct == 1:
                raise ValueError(f"the target {name!r} has the same value in every row")
            return cls(name, None, float(values.mean()), float(values.std())), why
        classes = sorted(set(as_text(values)), key=lambda c: (0, float(c), c) if _is_finite(c) else (1, 0.0, c))
        if len(classes) < 2:
            raise ValueError(f"the target {name!r} has only the class {classes[0]!r}; expected at least 2")
        if len(classes) > MOST_CLASS_SHARE * len(values):
            raise ValueError(f"the target {name!r} has {len(classes)} classes in {len(values)} rows, too many to "
                             "learn; for numbers choose --task regression")
        return cls(name, classes), why

    def encode(self, values: Array) -> Array:
        """Return what the loss takes; -1 for classes that are not known."""
        if self.classes is None:
            return ((values - self.mean) / self.std)[:, None].astype(np.float32)
        places = {c: i for i, c in enumerate(self.classes)}
        return np.array([places.get(v, -1) for v in as_text(values)])

    @property
    def outputs(self) -> int:
        """Outputs of the network."""
        return len(self.classes) if self.classes else 1


@dataclass(frozen=True)
class Training:
    """How a network is trained."""

    hidden: Sequence[int]
    epochs: int
    batch_size: int
    lr: float
    dropout: float
    patience: int
    seed: int
    backend: BackendName


class TableModel:
    """A trained network with all that is done to a table before and after it.

    Attributes
    ----------
    net : Network
    encoder : Encoder
    target : Target
    """

    def __init__(self, net: Network, encoder: Encoder, target: Target) -> None:
        self.net, self.encoder, self.target = net, encoder, target

    @classmethod
    def train(cls, columns: Columns, target: Target, y: Array, parts: tuple[Array, Array], training: Training,
              callbacks: Sequence[Callback] = ()) -> tuple[TableModel, fb.History, bool]:
        """Train on the rows of the first part, stop when those of the second are predicted no better.

        Ctrl-C stops too, once an epoch is done; whether it did is the last that is returned.

        Raises
        ------
        ValueError
            If no column is of use, or the rows have numbers far beyond those of the first part.
        """
        fit, check = parts
        encoder = Encoder.of({name: values[fit] for name, values in columns.items()})
        encoder.check(columns)
        net = _network(encoder, target, training)
        loss = fb.MSE() if target.classes is None else fb.CrossEntropy()
        trainer = fb.Trainer(net, loss, fb.AdamW(training.lr, weight_decay=1e-4, decay_bias=False), clip_norm=1.0)
        inputs, encoded = encoder.encode(columns), target.encode(y)
        stopped = False
        try:
            trainer.fit(_several([x[fit] for x in inputs]), encoded[fit], epochs=training.epochs,
                        batch_size=training.batch_size,
                        validation_data=(_several([x[check] for x in inputs]), encoded[check]),
                        callbacks=[EarlyStopping("val_loss", training.patience), *callbacks])
        except KeyboardInterrupt:
            if not len(trainer.history):
                raise
            stopped = True
        return cls(net, encoder, target), trainer.history, stopped

    def outputs(self, columns: Columns) -> Array:
        """Return probabilities (N, classes), or predicted numbers (N,), for columns that conform."""
        y = np.asarray(self.net.predict(_several(self.encoder.encode(columns))), np.float64)
        if self.target.classes is None:
            return y[:, 0] * self.target.std + self.target.mean
        powers = np.exp(y - y.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def predictions(self, outputs: Array) -> list[Any]:
        """Return the most likely class, or the number, of each row."""
        if self.target.classes is None:
            return list(outputs.tolist())
        return [self.target.classes[i] for i in outputs.argmax(axis=1)]

    def save(self, path: Path) -> None:
        """Write it to a file; :func:`fastbp.load` reads the network alone."""
        target = vars(self.target)
        write(path, {"network": describe(self.net),
                     "table": {"version": VERSION, "target": target, "encoder": self.encoder.to_dict()}},
              tensors_of(self.net))

    @classmethod
    def load(cls, path: Path, backend: BackendName = "native") -> TableModel:
        """Read it from a file.

        Raises
        ------
        FormatError, ImportError, OSError
            As :func:`fastbp.load` does; FormatError too for a file without a table model.
        """
        contents = read(path)
        d = contents.description.get("table")
        if not isinstance(d, Mapping):
            raise FormatError(f"{path} holds a network, but no model of a table: python -m fastbp train table.csv "
                              "--target … writes one")
        net = build(contents, KINDS, backend)
        with described(contents.path):
            return cls(net, Encoder.from_dict(d["encoder"]), Target(**d["target"]))


def take_target(columns: Columns, name: str, dates: Collection[str] = ()) -> tuple[dict[str, Array], Array, Array]:
    """Return the other columns, the target, and the numbers of the rows that have one.

    Raises
    ------
    ValueError
        If there is no such column, or it has nothing, or dates.
    """
    if name not in columns:
        close = get_close_matches(name, columns, n=1)
        mend = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"--target is {name!r}, but the table has {', '.join(map(repr, columns))}{mend}")
    if name in dates:
        raise ValueError(f"the target {name!r} has dates, which cannot be predicted; choose another --target, or write "
                         "numbers into the table instead, such as the days since the first of them")
    y = columns[name]
    given = np.array([v is not None for v in y]) if y.dtype == object else np.isfinite(y)
    if not given.any():
        raise ValueError(f"the target {name!r} has no values")
    return {n: values for n, values in columns.items() if n != name}, y, np.flatnonzero(given)


def split(rows: int, shares: Sequence[float], seed: int, classes: Array | None = None) -> list[Array]:
    """Return row numbers in parts of about these shares, drawn at random; each class in every part as often as in all.

    >>> [len(part) for part in split(1000, (0.7, 0.15, 0.15), seed=0)]
    [699, 151, 150]
    """
    order = np.random.default_rng(seed).permutation(rows)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    # multiples of the golden ratio are spread evenly over 0 to 1, in each stretch of them too: in that of each class
    place = np.arange(rows) * _GOLDEN_RATIO % 1
    to = np.searchsorted(np.cumsum(shares)[:-1], place, side="right")
    return [np.sort(order[to == part]) for part in range(len(shares))]


def _network(encoder: Encoder, target: Target, training: Training) -> Network:
    """Return an MLP over the features, and the embeddings of text with many categories."""
    inputs: list[Tensor] = []
    joined: list[Tensor] = []
    if encoder.features:
        inputs.append(fb.Input(encoder.features, name="features"))
        joined.append(inputs[-1])
    for i, text in enumerate(encoder.embedded):
        inputs.append(fb.Input(text.size, name=f"category{i}"))
        joined.append(fb.Linear(text.size, text.embedding, bias=False, name=f"embedding{i}",
                                weight_init=fb.Normal(std=0.1))(inputs[-1]))
    h = fb.Concat()(*joined) if len(joined) > 1 else joined[0]
    for width in training.hidden:
        h = fb.ReLU()(fb.Linear(None, width)(h))
        if training.dropout:
            h = fb.Dropout(training.dropout)(h)
    out = fb.Linear(None, target.outputs)(h)
    return Network(inputs[0] if len(inputs) == 1 else inputs, out, seed=training.seed, backend=training.backend)


def _several(arrays: Sequence[Array]) -> Any:
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def _is_finite(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
