"""Checks at the border: users' numbers and paths are taken once, here, with one wording of what did not fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from math import isfinite
from numbers import Real
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.ops.base import Array


def numbers(name: str, values: Any, dtype: Any) -> Array:
    """Return real numbers as a C-contiguous array of the given dtype; without a copy where they are one already.

    Data frames and series of pandas and polars may mix numbers and bools; what is missing in them becomes NaN.

    Raises
    ------
    TypeError
        For complex numbers, objects and text, in a column of a data frame too; for what is no array at all.
    ValueError
        For ragged sequences, and for masked arrays with values left out.

    Examples
    --------
    >>> numbers("x", [1, 2], "float32")
    array([1., 2.], dtype=float32)
    """
    array = real(name, values)
    with np.errstate(over="ignore"):
        return np.asarray(array, dtype=dtype, order="C")


_ENCODE = "encode it as numbers"


def real(name: str, values: Any, mend: str = _ENCODE) -> Array:
    """Return real numbers as an array of whatever real dtype they have; errors as in :func:`numbers`."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is no array: {error}") from None
    if array.dtype.kind not in "fiub":
        array = _unpacked(name, values, array, mend)
    if isinstance(values, np.ma.MaskedArray):
        all_there(name, values)
    return array


def all_there(name: str, values: np.ma.MaskedArray[Any, Any]) -> None:
    """Raise ValueError for a masked array with values left out."""
    left_out = int(np.ma.getmaskarray(values).sum())
    if left_out:
        raise ValueError(f"{name} is a masked array with {left_out} values left out; expected all of them: fill them "
                         "with .filled(value), or leave out such rows")


def integers(name: str, values: Any) -> Array:
    """Return integers as a C-contiguous array of int64; without a copy where they are one already.

    Raises
    ------
    TypeError
        For anything but integers and bools: for floats too, even if they are whole.
    ValueError
        For ragged sequences, masked arrays with values left out, and integers that int64 cannot hold.

    Examples
    --------
    >>> integers("x", [[1, 2]])
    array([[1, 2]])
    >>> integers("x", [1.0])
    Traceback (most recent call last):
    TypeError: x has dtype float64; expected integers, such as ids: convert it with .astype("int64")
    """
    array = real(name, values, "number them from 0: np.unique(x, return_inverse=True)[1]")
    if array.dtype.kind == "f" and array.size:
        raise TypeError(f'{name} has dtype {array.dtype}; expected integers, such as ids: convert it with '
                        '.astype("int64")')
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} has {array.max()}, which int64 cannot hold; use smaller ids")
    return np.asarray(array, dtype=np.int64, order="C")


def _unpacked(name: str, values: Any, array: Array, mend: str) -> Array:
    """Return the numbers of a data frame or series that NumPy took for something else, or raise TypeError."""
    if hasattr(values, "to_numpy") and hasattr(values, "columns"):
        # pandas has items(), where names may come twice; polars has names that do not
        named = values.items() if hasattr(values, "items") else ((c, values[c]) for c in values.columns)
        columns = [_column(f"{name} has column {c!r} of", column, mend) for c, column in named]
        return np.stack(columns, axis=1) if columns else np.empty((len(values), 0))
    if hasattr(values, "to_numpy") and hasattr(values, "dtype"):
        return _column(f"{name} has", values, mend)
    if array.ndim or array.dtype.kind != "O":
        raise TypeError(f"{name} has dtype {array.dtype}; expected real numbers ({_mend(array, mend)})")
    what = "None" if values is None else f"of type {type(values).__name__}"
    own, mend = name.rpartition(": ")[2], "a list of rows will do"
    if hasattr(values, "toarray"):  # SciPy's sparse ones
        mend = f"make it dense with {own}.toarray()"
    elif isinstance(values, Mapping):
        mend = f"np.stack(list({own}.values()), axis=1) makes its values columns"
    elif isinstance(values, Iterator | Set):
        mend = f"collect what it gives with np.array(list({own}))"
    raise TypeError(f"{name} is {what}; expected an array of real numbers ({mend})")


def _column(has: str, column: Any, mend: str) -> Array:
    dtype: Any = column.dtype
    if hasattr(dtype, "is_numeric"):  # polars
        if dtype.is_numeric() or str(dtype) == "Boolean":
            return np.asarray(column.cast(float), np.float64)
    elif dtype.kind in "fiub":
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    raise TypeError(f"{has} dtype {dtype}; expected real numbers ({_mend(np.asarray(column), mend)})")


def _mend(array: Array, mend: str) -> str:
    if array.dtype.kind == "c":
        return "take its real part"
    if array.dtype.kind != "O":
        return mend
    if any(isinstance(entry, list | tuple | np.ndarray) for entry in array.flat):
        return "its entries are sequences: np.stack makes one array of them"
    if mend != _ENCODE and any(isinstance(entry, str) for entry in array.flat):
        return mend
    try:
        array.astype(float)
    except (TypeError, ValueError):
        return mend
    return "convert it, for instance with .astype(float)"


def finite(name: str, array: Array, rows: Array | None = None) -> Array:
    """Return the array, or raise ValueError that names the first row, of ``rows``, with NaN or infinity."""
    if not np.isfinite(array).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        what = "NaN" if np.isnan(array[at]) else "an infinite value"
        row = at[0] if rows is None else rows[at[0]]
        raise ValueError(f"{name} has {what} in row {row}; expected finite numbers: fill or leave out such rows")
    return array


def numbered(name: str, count: int) -> list[str]:
    """Return what errors call each of several arrays: the name alone if there is one.

    >>> numbered("x", 1), numbered("x", 2)
    (['x'], ['x[0]', 'x[1]'])
    """
    return [name] if count == 1 else [f"{name}[{i}]" for i in range(count)]


def finite_inputs(inputs: Sequence[Array], rows: Array | None = None) -> None:
    """Raise ValueError as :func:`finite` does, for the inputs of a network."""
    for name, x in zip(numbered("x", len(inputs)), inputs, strict=True):
        finite(name, x, rows)


def number(owner: str, argument: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    """Return a hyperparameter as a float, or raise ValueError that names owner and argument.

    Examples
    --------
    >>> number("Huber", "delta", -1, "a number above 0", lambda d: d > 0)
    Traceback (most recent call last):
    ValueError: Huber: delta is -1; expected a number above 0
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not _is_finite(value) or not fits(float(value)):
        raise ValueError(f"{owner}: {argument} is {value!r}; expected {expected}")
    return float(value)


def _is_finite(value: Real) -> bool:
    try:
        return isfinite(value)
    except OverflowError:       # an integer beyond all floating-point numbers
        return False


def integer(value: Any) -> int | None:
    """Return what is an integer as an int, and None for anything else.

    Examples
    --------
    >>> integer(np.int64(3)), integer(3.0), integer(True), integer([3])
    (3, None, None, None)
    """
    if isinstance(value, bool):
        return None
    try:
        return index(value)
    except TypeError:
        return None


def count(owner: str, argument: str, value: Any, at_least: int = 1) -> int:
    """Return a count as an int, or raise ValueError that names owner and argument."""
    number = integer(value)
    if number is None or number < at_least:
        expected = "a positive integer" if at_least == 1 else f"an integer of at least {at_least}"
        raise ValueError(f"{owner}: {argument} is {value!r}; expected {expected}")
    return number


def flag(owner: str, argument: str, value: Any) -> bool:
    """Return a yes-or-no argument as a bool, or raise ValueError: the text "False" would count as yes."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{owner}: {argument} is {value!r}; expected True or False")
    return bool(value)


def file_to_write(name: str, path: str | os.PathLike[str]) -> Path:
    """Return where a file is to be written, or raise FileNotFoundError if the folder is missing. Call it before work.

    Examples
    --------
    >>> file_to_write("path", "/absent/net.onnx")
    Traceback (most recent call last):
    FileNotFoundError: path is '/absent/net.onnx', but there is no folder '/absent'; make it first
    """
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{name} is {os.fspath(path)!r}, but there is no folder {str(folder)!r}; make it first")
    return Path(path)
