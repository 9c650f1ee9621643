"""A network and data of the user's own, from a small JSON or Python file.

A Python file is run, and must set ``net``, ``x``, ``y`` and ``loss``; ``lr`` is optional. A JSON file describes them::

    {"layers": [{"type": "Linear", "in_features": 2, "out_features": 2,
                 "params": {"weight": [[0.15, 0.25], [0.20, 0.30]], "bias": [0.35, 0.35]}},
                {"type": "Sigmoid"}],
     "loss": "HalfSquaredError", "x": [[0.05, 0.10]], "y": [[0.01, 0.99]], "lr": 0.5}

A layer or loss without options may be a plain string. Parameters that are left out are drawn at random, from ``seed``.
"""

from __future__ import annotations

import json
import runpy
from inspect import isabstract, signature
from numbers import Real
from pathlib import Path
from traceback import extract_tb
from typing import Any

from fastbp import layers
from fastbp.chainrule.example import Example
from fastbp.engine.executable import BackendName
from fastbp.network import Sequential
from fastbp.objectives import losses

# Bases that users derive their own from; they are no layers themselves.
_BASES = ("Activation", "CustomLayer", "Layer", "Loss")
_KEYS = ("layers", "loss", "x", "y", "lr", "seed")


def load(path: str | Path, backend: BackendName = "native") -> Example:
    """Return the network, data, loss and learning rate that a file describes.

    Parameters
    ----------
    path : str or Path
        Ends in ``.json`` or ``.py``. A Python file is run: take it from people you trust only.
    backend : {"native", "reference"}
        What runs a network from JSON.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If something is missing, unknown or does not fit; the message names it.
    """
    file = Path(path)
    if file.suffix == ".py":
        if not file.is_file():
            raise FileNotFoundError(f"{file}: there is no such file")
        try:
            found = runpy.run_path(str(file))
        except Exception as error:
            raise ValueError(_of_the_program(file, error)) from error
        _require(file, found, "sets no")
        return Example(found["net"], found["x"], found["y"], found["loss"], _learning_rate(file, found.get("lr", 0.1)))
    if file.suffix == ".json":
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}: no valid JSON: {error}") from None
        return _from_json(file, data, backend)
    raise ValueError(f"{file}: expected a file that ends in .json or .py")


def _of_the_program(file: Path, error: Exception) -> str:
    """Return what went wrong in the user's own program, and in which of its lines."""
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(file)]
    where = f", line {lines[-1]}" if lines else ""
    return f"{file}{where}: {type(error).__name__}: {error}"


def _learning_rate(file: Path, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{file}: lr is {value!r}; expected a number, such as 0.1")
    return float(value)


def _require(file: Path, found: Any, verb: str, names: tuple[str, ...] = ("net", "x", "y", "loss")) -> None:
    missing = [n for n in names if n not in found]
    if missing:
        raise ValueError(f"{file}: {verb} {', '.join(missing)}; expected {', '.join(names)}")


def _from_json(file: Path, data: Any, backend: BackendName) -> Example:
    if not isinstance(data, dict):
        raise ValueError(f"{file}: is {type(data).__name__}; expected an object with {', '.join(_KEYS)}")
    unknown = [k for k in data if k not in _KEYS]
    if unknown:
        raise ValueError(f"{file}: unknown {', '.join(unknown)}; expected {', '.join(_KEYS)}")
    _require(file, data, "lacks", ("layers", "loss", "x", "y"))
    if not isinstance(data["layers"], list):
        raise ValueError(f"{file}: layers is {data['layers']!r}; expected a list of layers")
    made = [_make(f"{file}: layers[{i}]", entry, layers, layers.Layer) for i, entry in enumerate(data["layers"])]
    net = Sequential(*(layer for layer, _ in made), dtype="float64", seed=data.get("seed", 0), backend=backend)
    for i, (_, params) in enumerate(made):
        if not isinstance(params, dict):
            raise ValueError(f"{file}: params of layers[{i}] is {params!r}; expected an object, such as "
                             '{"weight": [[1.0]], "bias": [0.0]}')
        for role, values in params.items():
            name = f"{i}.{role}"
            if name not in net.params:
                raise ValueError(f"{file}: layers[{i}] has no parameter {role!r}; it has "
                                 f"{', '.join(n for n in net.params if n.startswith(f'{i}.')) or 'none'}")
            net.params[name] = values
    loss, _ = _make(f"{file}: loss", data["loss"], losses, losses.Loss)
    return Example(net, data["x"], data["y"], loss, _learning_rate(file, data.get("lr", 0.1)))


def _make(where: str, entry: Any, module: Any, base: type) -> tuple[Any, dict[str, Any]]:
    """Return what an entry describes, and the parameters that come with it."""
    entry = {"type": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or "type" not in entry:
        raise ValueError(f"{where} is {entry!r}; expected a name, or an object with a type")
    kinds = {n: c for n, c in vars(module).items()
             if isinstance(c, type) and issubclass(c, base) and not isabstract(c) and n not in _BASES and n[0] != "_"}
    if entry["type"] not in kinds:
        raise ValueError(f"{where} is of type {entry['type']!r}; expected one of {', '.join(sorted(kinds))}")
    options = {k: v for k, v in entry.items() if k not in ("type", "params")}
    kind = kinds[entry["type"]]
    try:
        signature(kind).bind(**options)
    except TypeError as error:
        raise ValueError(f"{where}: {entry['type']}: {error}; it takes {signature(kind)}") from None
    return kind(**options), entry.get("params", {})
