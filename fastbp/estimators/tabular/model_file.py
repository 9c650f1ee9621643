"""Fitted estimators as files: schema, sizes and labels as one JSON object, the parameters as arrays, in safetensors.

Reading runs no code from the file, and whatever does not fit is a :class:`~fastbp.FormatError` that says where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbp.core.errors import FormatError
from fastbp.estimators.tabular.committee import Committee, Fold
from fastbp.estimators.tabular.member_network import ACTIVATIONS, Architecture
from fastbp.estimators.tabular.plain_data import Plain
from fastbp.estimators.tabular.schema import Schema, Sizes
from fastbp.files.container import Contents, Paths, write
from fastbp.files.description import plain
from fastbp.ops.base import Array

KEY = "tabular"
MOST_UNITS = 2**20
_NAMES = {activation: name for name, activation in ACTIVATIONS.items()}


def save(description: Mapping[str, Any], committee: Committee, path: Paths) -> None:
    """Write a committee, and what else is to be known, to a file."""
    folds, tensors = [], {}
    for i, fold in enumerate(committee.folds):
        architecture = fold.architecture
        folds.append({"schema": fold.schema.to_dict(), "architecture": plain("architecture", {
            "numbers": architecture.numbers, "flags": architecture.flags, "bins": architecture.bins,
            "outputs": architecture.outputs, "members": architecture.members, "hidden": list(architecture.hidden),
            "activation": _NAMES[architecture.activation], "periodic": architecture.periodic,
            "piecewise": architecture.piecewise, "frequencies": architecture.frequencies, "waves": architecture.waves,
            "sigma": architecture.sigma, "pieces": architecture.pieces, "dropout": architecture.dropout,
            "categories": architecture.categories, "levels": architecture.levels,
            "category_size": architecture.category_size, "signs": list(architecture.signs)})})
        tensors[f"fold{i}"] = np.stack([net.params.flat for net in fold.nets])
    write(path, {KEY: {**description, "folds": folds, "shares": committee.shares.tolist()}}, tensors)


def parse(contents: Contents) -> tuple[Plain, Committee]:
    """Return what :func:`save` wrote, or raise FormatError."""
    if not isinstance(contents.description.get(KEY), Mapping):
        raise FormatError(f"{contents.path} holds no estimator for tables; clf.save(…) and python -m fastbp train "
                          "table.csv --target … write one. fastbp.load reads networks too")
    d = Plain(contents.description[KEY], f"{contents.path}: {KEY}")
    return d, _committee(d, contents)


def _committee(d: Plain, contents: Contents) -> Committee:
    shares = np.array(d["shares"].items(Plain.number))
    if not len(shares) or (shares < 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise d["shares"].wrong("numbers of at least 0 that add up to 1")
    folds = d["folds"].items(lambda f: f)
    if not folds:
        raise d["folds"].wrong("at least one")
    return Committee([_fold(fold, contents.tensors.get(f"fold{i}"), len(shares)) for i, fold in enumerate(folds)],
                     shares)


def _fold(d: Plain, params: Array | None, epochs: int) -> Fold:
    schema, architecture = Schema.read(d["schema"]), _architecture(d["architecture"])
    made = schema.sizes if schema.plans else Sizes(flags=1)
    if Sizes(architecture.numbers, architecture.flags, architecture.categories, architecture.levels) != made \
            or schema.bins > architecture.bins:
        raise d["architecture"].wrong(f"{made} and at least {schema.bins} bins, as the schema makes them")
    size = architecture.parameters()
    if params is None or params.shape != (epochs, size) or params.dtype != np.float32:
        found = "nothing" if params is None else f"an array of shape {params.shape} and dtype {params.dtype}"
        raise FormatError(f"{d.where}: the file has {found} for its parameters; expected float32 of shape "
                          f"{(epochs, size)}")
    if not np.isfinite(params).all():
        raise FormatError(f"{d.where}: its parameters are not all finite")
    nets = []
    for values in params:
        nets.append(architecture.network(False, 0))
        nets[-1].params.flat[...] = values
    return Fold(schema, architecture, nets)


def _architecture(d: Plain) -> Architecture:
    def units(key: str, least: int = 1) -> int:
        return d[key].whole(least, MOST_UNITS)
    return Architecture(units("numbers", 0), units("flags", 0), units("bins"), units("outputs"), units("members"),
                        tuple(d["hidden"].items(lambda h: h.whole(1, MOST_UNITS))),
                        d["activation"].one_of(ACTIVATIONS), d["periodic"].flag(), d["piecewise"].flag(),
                        units("frequencies"), units("waves"), _above_0(d["sigma"]), units("pieces"),
                        _share(d["dropout"]), units("categories", 0), units("levels", 0), units("category_size"),
                        _signs(d["signs"], d["numbers"].whole(0)))


def _above_0(d: Plain) -> float:
    value = d.number()
    if not value > 0:
        raise d.wrong("a number above 0")
    return value


def _signs(d: Plain, numbers: int) -> tuple[int, ...]:
    signs = tuple(d.items(lambda s: s.whole(-1, 1)))
    if len(signs) not in (0, numbers):
        raise d.wrong(f"{numbers} numbers from -1 to 1, or none")
    return signs


def _share(d: Plain) -> float:
    value = d.number()
    if not 0 <= value < 1:
        raise d.wrong("a number from 0 to below 1")
    return value
