"""A network and data of the user's own, from a file.

A Python file is run, and must set ``net``, ``x``, ``y`` and ``loss``; ``lr`` is optional. A file that ``net.save``
wrote holds the network alone: data and loss are given beside it.
"""

from __future__ import annotations

import runpy
from numbers import Real
from pathlib import Path
from traceback import extract_tb
from typing import Any

from fastbp.chainrule.example import Example
from fastbp.engine.executable import BackendName
from fastbp.reading import load as load_network

_PROGRAM = """\
    import fastbp as fb
    net = fb.Sequential(fb.Linear(2, 2), fb.Sigmoid())
    x, y, loss, lr = [[0.05, 0.10]], [[0.01, 0.99]], fb.HalfSquaredError(), 0.5"""


def load(path: str | Path, backend: BackendName = "native", *, x: Any = None, y: Any = None, loss: Any = None,
         lr: float | None = None) -> Example:
    """Return the network, data, loss and learning rate that a file has.

    Parameters
    ----------
    path : str or Path
        Ends in ``.py`` or ``.safetensors``. A Python file is run: take it from people you trust only.
    backend : {"native", "reference"}
        What runs a network from a safetensors file.
    x, y, loss, lr : optional
        As ``net.explain`` takes them: they go before those of the file, which a safetensors file has none of.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If something is missing or does not fit; the message names it.
    """
    file = Path(path)
    given = {name: value for name, value in (("x", x), ("y", y), ("loss", loss), ("lr", lr)) if value is not None}
    if file.suffix == ".py":
        found, hint = {**_run(file), **given}, f"such as\n{_PROGRAM}"
    elif file.suffix == ".safetensors":
        found = {"net": load_network(file, backend=backend), **given}
        hint = "given beside the file, which holds the network alone: --x, --y and --loss on the command line"
    else:
        raise ValueError(f"{file}: networks are read from .safetensors files, as net.save writes them, and from Python "
                         "files that set net, x, y, loss and, if wanted, lr. To bring one from elsewhere, write a file "
                         f"that ends in .py, such as\n{_PROGRAM}")
    missing = [name for name in ("net", "x", "y", "loss") if name not in found]
    if missing:
        raise ValueError(f"{file}: there is no {', '.join(missing)}; expected net, x, y and loss, {hint}")
    return Example(found["net"], found["x"], found["y"], found["loss"], _learning_rate(file, found.get("lr", 0.1)))


def _run(file: Path) -> dict[str, Any]:
    """Return what a Python program sets."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no such file")
    try:
        return runpy.run_path(str(file))
    except Exception as error:
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(file)]
        where = f", line {lines[-1]}" if lines else ""
        raise ValueError(f"{file}{where}: {type(error).__name__}: {error}") from error


def _learning_rate(file: Path, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{file}: lr is {value!r}; expected a number, such as 0.1")
    return float(value)
