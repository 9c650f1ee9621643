"""The border of a network for what it is given: checked, converted, and run by a graph of its size.

A network takes batches of another size than that of its inputs - sequences of another length, larger images - where its
layers do: the graph is made again for that size (:func:`fastbp.graph.inline.resized`), over the same memory. So it is
for sparse matrices (:func:`fastbp.graph.inline.with_sparse`), which stay sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Self

import numpy as np

from fastbp.core.checks import integers, numbers
from fastbp.core.sparse import is_sparse, sparse_rows
from fastbp.engine.sharing import Sharing
from fastbp.graph.graph import Tensor, as_ranges
from fastbp.graph.indices import check
from fastbp.graph.inline import resized, with_sparse
from fastbp.ops.base import Among, Array, Shape
from fastbp.ops.sparse_linear import SparseRows

# Graphs for other sizes that are kept, each with its plans; the one used longest ago makes room.
_MOST_SIZES = 16


class Border(Sharing):
    """What an executable network does with arrays before they are run."""

    _forward_rows: int | None
    _resized: dict[tuple[Any, ...], Self]
    _ran: Any       # a network like this one, or itself
    _index_limits: dict[Tensor, int]    # of integers that arrays are indexed by

    def _forget_sizes(self) -> None:
        self._resized, self._ran = {}, self
        self.__dict__.pop("_pieces", None)

    def _for(self, inputs: Sequence[Array]) -> Self:
        """Return the network over the same memory for checked inputs of any size: itself for those of its own."""
        shapes = tuple(map(_sample_shape, inputs))
        sparse = tuple(isinstance(a, SparseRows) and t.dtype != "sparse"
                       for a, t in zip(inputs, self.graph.inputs, strict=True))
        odd = shapes != tuple(t.shape for t in self.graph.inputs)
        if not odd and not any(sparse):
            return self
        net = self._resized.pop((shapes, sparse), None)
        if net is None:
            graph = resized(self.graph, shapes) if odd else self.graph
            net = self._over(with_sparse(graph, sparse) if any(sparse) else graph, self._ins.form, self._outs.form)
        while len(self._resized) >= _MOST_SIZES:
            del self._resized[next(iter(self._resized))]
        self._resized[shapes, sparse] = net
        return net

    def sized(self, x: Any) -> Self:
        """Return the network over the same memory whose graph is of the size of a batch: itself, if it is."""
        return self._for(self._inputs(x))

    def _run_by(self, inputs: Sequence[Array]) -> Self:
        """Return the same, and note that it ran last: that there is nothing to go back through yet."""
        net = self._ran = self._for(inputs)
        net._forward_rows = self._forward_rows = None
        return net

    def _inputs(self, x: Any) -> list[Array]:
        """Check and convert inputs, which may be of another size than the graph's, or raise ValueError, TypeError."""
        inputs = self.graph.inputs
        given, names = self._ins.several("x", x), self._ins.called("x")
        arrays = [self._converted(n, g, t) for n, g, t in zip(names, given, inputs, strict=True)]
        net = self
        odd = [i for i, (a, t) in enumerate(zip(arrays, inputs, strict=True))
               if not a.ndim or _sample_shape(a) != t.shape]
        if odd:
            try:
                if any(len(_sample_shape(arrays[i])) != len(inputs[i].shape) or not arrays[i].ndim
                       or 0 in _sample_shape(arrays[i]) for i in odd):
                    raise ValueError("another number of axes")
                net = self._for(arrays)
            except ValueError as error:
                raise _misfit(names[odd[0]], arrays[odd[0]], inputs[odd[0]].shape, inputs[odd[0]].dtype) from error
        elif any(isinstance(a, SparseRows) for a in arrays):
            net = self._for_sparse(arrays)
        graph = net.graph
        for n, a, t in zip(names, arrays, graph.inputs, strict=True):
            if len(a) != len(arrays[0]):
                raise ValueError(f"{n} has {len(a)} rows; expected {len(arrays[0])}, as {names[0]} has")
            if t in graph.among:
                _check_among(n, a, graph.among[t])
            if t in net._index_limits:
                check(n, a, net._index_limits[t])
        known = dict(zip(graph.inputs, arrays, strict=True))
        for node in graph.checked:
            node.op.check_inputs([t.shape for t in node.inputs], [known.get(t) for t in node.inputs])
        return arrays

    def _for_sparse(self, arrays: Sequence[Array]) -> Self:
        """Return the network that takes these arrays as they are, or raise ValueError where there can be none."""
        name = next(n for n, a in zip(self._ins.called("x"), arrays, strict=True) if isinstance(a, SparseRows))
        dense = f"make it dense with {name}.toarray()"
        if self.compute_dtype != self.dtype:
            raise ValueError(f"{name} is sparse, and the network multiplies in {self.compute_dtype}, which is for "
                             f"dense arrays; {dense}")
        try:
            return self._for(arrays)
        except ValueError as error:
            raise ValueError(f"{name} is sparse, but {error}; {dense}") from None

    def _converted(self, name: str, values: Any, t: Tensor) -> Array:
        if t.dtype in ("real", "sparse") and is_sparse(values):
            return sparse_rows(name, values, self.dtype)
        if t.dtype == "sparse":
            raise TypeError(f"{name} is {type(values).__name__}; this network was made for sparse rows: give it a "
                            "sparse matrix, or give dense arrays to the network that it was made of")
        if t.dtype == "real":
            return self._numbers(name, values, t.shape)
        array = integers(name, values)
        return array[:, None] if array.ndim == 1 and t.shape == (1,) else array

    def _numbers(self, name: str, values: Any, shape: Shape) -> Array:
        if type(values) is np.ndarray and values.dtype == self.dtype and values.shape[1:] == shape \
                and values.flags.c_contiguous and values.ndim:
            return values
        return numbers(name, values, self.dtype)

    def _array(self, name: str, values: Any, shape: Shape) -> Array:
        """Return numbers of a dtype and shape, or raise ValueError."""
        array = self._numbers(name, values, shape)
        if array.shape[1:] != shape or not array.ndim:
            raise _misfit(name, array, shape)
        return array

    def _whole_array(self, name: str, values: Any, shape: Shape) -> Array:
        """Return numbers of a dtype, of the shape of a whole array, or raise ValueError."""
        array = self._numbers(name, values, shape)
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
        return array


def _sample_shape(array: Array) -> Shape:
    """Return the shape of one sample."""
    return (array.features,) if isinstance(array, SparseRows) else array.shape[1:]


def _check_among(name: str, array: Array, among: Among) -> None:
    ranges = as_ranges(among)
    wrong = (array < [r.start for r in ranges]) | (array >= [r.stop for r in ranges])
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        column = "" if len(ranges) == 1 else f", column {at[-1]}"
        limits = ranges[0 if len(ranges) == 1 else at[-1]]
        raise ValueError(f"{name} has {array[at]} in row {at[0]}{column}; expected integers from {limits.start} to "
                         f"{limits.stop - 1}, as the network reads them")


def _misfit(name: str, array: Array, shape: Shape, dtype: str = "real") -> ValueError:
    """Return the error for an array of the wrong shape, with how to fix it where that can be told."""
    wanted = ", ".join(["B", *map(str, shape)])
    given = (len(array), *_sample_shape(array)) if array.ndim else ()
    return ValueError(f"{name} has shape {given}; expected ({wanted}){_advice(name, given, shape, dtype)}")


def _advice(name: str, given: Shape, shape: Shape, dtype: str) -> str:
    axes = len(shape)
    if given == shape:
        return f"; for a single sample give {name}[None]"
    if len(given) == axes + 1 and axes == 1 and dtype == "real":
        return f": {shape[0]} features in the last axis"
    if len(given) == axes + 1 and axes > 1 and given[1] == shape[-1] != given[-1]:
        what = "time comes" if axes == 2 else "channels come"
        where = "last: bring features there" if axes == 2 else "first: bring them to the end"
        order = ", ".join(map(str, (0, *range(2, axes + 1), 1)))
        return f". It looks as if {what} {where} with {name}.transpose({order})"
    if axes > 1 and shape[-1] == 1 and given[1:] == shape[:-1]:
        return f"; add the axis of its one {'channel' if axes > 2 else 'feature'} with {name}[..., None]"
    if axes > 1 and len(given) == 2 and given[1] == prod(shape):
        return f"; cut its rows with {name}.reshape(-1, {', '.join(map(str, shape))})"
    return ""
