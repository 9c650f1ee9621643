"""What estimators for tables are given, checked: errors name the parameter, what came and what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np

from fastbp.core.checks import count, number
from fastbp.datasets.columns import Kind
from fastbp.engine.threads import number_of_threads
from fastbp.estimators.tabular.member_network import ACTIVATIONS, MONOTONE
from fastbp.ops.base import Array

EMBEDDINGS = ("auto", "both", "periodic", "piecewise", "none")
SCHEDULES = ("coslog4", "flat_cos", "constant")


def check_parameters(owner: str, given: Mapping[str, Any], scorings: Sequence[str]) -> None:
    """Raise ValueError for parameters of both estimators that are none."""
    count(owner, "n_members", given["n_members"])
    if given["max_iter"] != "auto":
        count(owner, "max_iter", given["max_iter"])
    for name in ("max_one_hot", "category_embedding"):
        count(owner, name, given[name], at_least=0)
    if given["n_folds"] != "auto":
        count(owner, "n_folds", given["n_folds"])
    number(owner, "dropout", given["dropout"], "a number from 0 to below 1", lambda v: 0 <= v < 1)
    number(owner, "validation_fraction", given["validation_fraction"], "a number between 0 and 1", lambda v: 0 < v < 1)
    number(owner, "weight_decay", given["weight_decay"], "a number of at least 0", lambda v: 0 <= v < inf)
    number(owner, "beta_2", given["beta_2"], "a number from 0 to below 1", lambda v: 0 <= v < 1)
    if given["learning_rate_init"] != "auto":
        number(owner, "learning_rate_init", given["learning_rate_init"], 'a number above 0, or "auto"', lambda v: v > 0)
    if given["batch_size"] != "auto":
        count(owner, "batch_size", given["batch_size"])
    if given["time_limit"] is not None:
        number(owner, "time_limit", given["time_limit"], "seconds above 0, or None", lambda v: v > 0)
    for name, among in (("numeric_embedding", EMBEDDINGS), ("learning_rate", SCHEDULES),
                        ("activation", ("auto", *ACTIVATIONS)), ("early_stopping", ("cycle", True, False)),
                        ("scoring", scorings)):
        if given[name] not in among:
            raise ValueError(f"{owner}: {name} is {given[name]!r}; expected one of {', '.join(map(repr, among))}")
    sizes_of(given["hidden_layer_sizes"])
    if given["n_threads"] is not None:
        number_of_threads(f"{owner}: n_threads", given["n_threads"])
    if given["monotonic"] is not None and given["activation"] not in ("auto", *MONOTONE):
        raise ValueError(f"{owner}: activation is {given['activation']!r}, which falls in places; with monotonic "
                         f"expected one of {', '.join(map(repr, ('auto', *MONOTONE)))}")


def sizes_of(given: Any) -> tuple[int, ...]:
    """Return the widths of hidden layers."""
    sizes = (given,) if isinstance(given, int | np.integer) else tuple(given)
    return tuple(count("hidden_layer_sizes", f"entry {i}", size) for i, size in enumerate(sizes))


def weights_of(given: Any, rows: int) -> Array | None:
    """Return sample weights, float64, or None."""
    if given is None:
        return None
    weights = np.asarray(given, np.float64)
    if weights.shape != (rows,):
        raise ValueError(f"sample_weight has shape {weights.shape}; expected ({rows},), one weight a row")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("sample_weight has negative or non-finite entries; expected numbers of at least 0")
    if not weights.any():
        raise ValueError("all entries of sample_weight are zero; expected a weight above 0 for some rows")
    return weights


def categorical_columns(given: Any, names: list[str]) -> set[str]:
    """Return the names of columns that are categories whatever they hold."""
    if given is None or (isinstance(given, str) and given == "from_dtype"):
        return set()
    entries = [given] if isinstance(given, str) else list(given)
    if all(isinstance(e, bool | np.bool_) for e in entries) and len(entries) == len(names):
        return {name for name, yes in zip(names, entries, strict=True) if yes}
    found = set()
    for e in entries:
        if isinstance(e, str) and e in names:
            found.add(e)
        elif isinstance(e, int | np.integer) and not isinstance(e, bool) and -len(names) <= e < len(names):
            found.add(names[e])
        else:
            raise ValueError(f"categorical_features has {e!r}; expected names or numbers of columns, or a truth value "
                             f"for each; X has {listed(names)}")
    return found


def monotone_columns(owner: str, given: Any, kinds: Mapping[str, Kind]) -> dict[str, int]:
    """Return the columns along which predictions only rise, 1, or only fall, -1."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        signs = dict(given)
    else:
        entries = list(given)
        signs = dict(zip(kinds, entries, strict=False))
        if len(entries) != len(kinds):
            raise ValueError(f"{owner}: monotonic has {len(entries)} entries; expected one for each of the "
                             f"{len(kinds)} columns: 1, 0 or -1, or a mapping such as {{'{next(iter(kinds))}': 1}}")
    for name, sign in signs.items():
        if name not in kinds:
            raise ValueError(f"{owner}: monotonic has {name!r}; expected columns of X, which has {listed(list(kinds))}")
        if isinstance(sign, bool) or sign not in (-1, 0, 1):
            raise ValueError(f"{owner}: monotonic has {sign!r} for {name!r}; expected 1 (predictions rise with it), -1 "
                             "(they fall) or 0")
        if sign and kinds[name] != "number":
            raise ValueError(f"{owner}: monotonic has {name!r}, a column of kind {kinds[name]!r}; expected a column of "
                             "numbers")
    return {name: int(sign) for name, sign in signs.items() if sign}


def listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
