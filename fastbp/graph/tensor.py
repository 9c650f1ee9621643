"""Tensors: symbols and shapes only, no numbers.

A :class:`Tensor` is a symbol for a batch of samples, or for one array that the whole batch shares. A :class:`Node` is
one use of one op: it takes tensors and makes one. Layers called on tensors make nodes, and so do operators and NumPy's
functions: ``np.exp(t[:, 1:]) + 1`` is a tensor. Parameters are symbols here too (:class:`Parameter`); two nodes that
name the same layer share its parameters, and the gradient is the sum over both uses.

What a tensor does with NumPy's functions it does as a :class:`Symbol`, which looks as the whole array does: axis 0 is
that of the rows, whose number is the symbol ``B``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from math import prod
from typing import Any

import numpy as np

from fastbp.core.lines import line_here
from fastbp.graph.array_methods import ArrayMethods
from fastbp.ops.base import Array, Context, DType, Op, Shape
from fastbp.ops.expression import call
from fastbp.ops.functions import index
from fastbp.ops.numpy_names import FUNCTIONS, SCIPY, UFUNCS, no_such_function, of_method
from fastbp.ops.scalar import ScalarOp
from fastbp.ops.sources import CastOp, ConstantOp, FillOp, RowsOp
from fastbp.ops.structure import BroadcastOp, TransposeOp

Initializer = Callable[[Shape, "np.random.Generator", Any], Array]
# Of one sample: an array of float64 cannot have more, and an array of older versions of NumPy 32 axes at most.
_MOST_ELEMENTS, _MOST_AXES = 2**60, 31
KIND_OF: dict[str, DType] = {"f": "real", "i": "int64", "u": "int64", "b": "bool"}
_HOLDS = {"real": "real numbers", "int64": "integers", "bool": "truth values", "sparse": "sparse rows"}
_WITH_ROWS = ("x.shape[0] is a symbol for it, for sums and products; fb.special.arange(x.shape[0]) counts up to it. "
              "One entry of each row is np.take_along_axis(x, indices[:, None], axis=1)[:, 0]")
_DTYPES = {"real": np.dtype("float64"), "int64": np.dtype("int64"), "bool": np.dtype("bool")}


@dataclass(frozen=True, eq=False)
class Parameter:
    """One trained (or, as a buffer, untrained) array of a layer.

    Attributes
    ----------
    role : str
        What the layer calls it: ``"weight"``, ``"bias"``, ``"running_mean"``.
    shape : tuple of int
    initializer : callable
        ``initializer(shape, rng, dtype) -> array``.
    trainable : bool
    """

    role: str
    shape: Shape
    initializer: Initializer
    trainable: bool = True


@dataclass(eq=False)
class Node:
    """One use of one op.

    Attributes
    ----------
    op : Op
    inputs : tuple of Tensor
    owner : object
        The layer that made the node; nodes with one owner share parameters of one role.
    params, buffers : dict of Parameter
        By the role that the op gives them.
    key : Tensor or None
        The tensor whose random numbers it draws; None for its own.
    home : Memory or None
        Where the parameters are already, if a network was called to make the node.
    line : str
        Of a function without a derivative, the user's line that called it.
    """

    op: Op
    inputs: tuple[Tensor, ...]
    owner: Any = None
    params: dict[str, Parameter] = field(default_factory=dict)
    buffers: dict[str, Parameter] = field(default_factory=dict)
    key: Tensor | None = None
    home: Any = None
    line: str = ""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "home": None}


@dataclass(frozen=True, eq=False)
class Call:
    """One use of one layer: what its description is saved as, whatever ops it lowers to.

    A layer that makes several tensors has a method for it; ``output`` says which of them this is.
    """

    layer: Any
    inputs: tuple[Tensor, ...]
    method: str = "__call__"
    output: int = 0


class _NumPy(ArrayMethods):
    """Operators and NumPy's functions, on the symbols that stand for the operands."""

    def __array_ufunc__(self, ufunc: Any, method: str, *xs: Any, **options: Any) -> Any:
        if method != "__call__":
            return _unwrapped(of_method(ufunc, method, _wrapped(xs), options), xs)
        known = UFUNCS.get(ufunc) or SCIPY.get(ufunc.__name__)
        if known is None:
            raise no_such_function(ufunc.__name__)
        if set(options) - {"dtype", "casting", "subok", "order", "axis"}:
            raise TypeError(f"np.{ufunc.__name__}: got {', '.join(options)}; tensors cannot be written into. Write "
                            f"y = np.{ufunc.__name__}(…), with np.where for what is to be left out")
        axis = {"axis": options["axis"]} if "axis" in options else {}
        return _unwrapped(known(*_wrapped(xs), **axis), xs)

    def __array_function__(self, function: Any, types: Any, xs: Any, options: Any) -> Any:
        if function not in FUNCTIONS:
            module = function.__module__.removeprefix("numpy").strip(".")
            raise no_such_function(f"{module}.{function.__name__}" if module else function.__name__)
        if options.get("out") is not None:
            raise TypeError(f"np.{function.__name__}: got out; tensors cannot be written into. Write "
                            f"y = np.{function.__name__}(…)")
        options.pop("out", None)
        named = dict(zip(options, _wrapped(tuple(options.values())), strict=True))
        return _unwrapped(FUNCTIONS[function](*_wrapped(xs), **named), (*xs, *options.values()))

    def __getitem__(self, key: Any) -> Any:
        return _unwrapped(index(*_wrapped((self, key))), (self, key))

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("tensors cannot be written into; make a new one with np.where, np.concatenate or np.stack")

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("a tensor cannot be gone through; its parts are x[:, 0], x[:, 1], or what np.split gives")

    def __len__(self) -> int:
        raise TypeError(f"the number of rows is not known while a function is traced; {_WITH_ROWS}")

    def __bool__(self) -> bool:
        raise TypeError("a branch (if, while, and, or, not, assert) depends on the value of a tensor, which is not "
                        "known while a function is traced; use np.where(condition, a, b), & and |")

    def __float__(self) -> float:
        raise TypeError("a tensor is converted to a number, which is not known while a function is traced; leave out "
                        "float(), int(), item(), or functions of math: NumPy's take tensors")

    __int__ = __index__ = __float__

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise TypeError("a tensor is converted to an array, whose numbers are not known while a function is traced; "
                        "leave out np.array and np.asarray: NumPy's functions take tensors as they are, and fb.special "
                        "has softmax, log_softmax and logsumexp. To look up what an array has at integers, write "
                        "fb.special.take(array, integers, axis=0)")

    def astype(self, dtype: Any) -> Any:
        """Return it as real, whole or truth values; how wide real numbers are is the network's."""
        kind = KIND_OF.get(np.dtype(dtype).kind)
        if kind is None:
            raise TypeError(f"astype: dtype is {dtype!r}; expected one of real, whole or truth values")
        symbol = _wrapped((self,))[0]
        return self if symbol.tensor.dtype == kind else _unwrapped(call(CastOp(kind), symbol), (self,))


@dataclass(eq=False)
class Tensor(_NumPy):
    """A symbol for a batch of samples of one shape, made by a node or (``node=None``) given as input.

    Attributes
    ----------
    shape : tuple
        The shape of one sample, the batch axis left out; that of the whole array where ``rows`` is False, in which
        ``B`` may stand for the number of rows.
    dtype : {"real", "int64", "bool", "sparse"}
        Real numbers are of the network's dtype.
    rows : bool
        Whether it has a row for each sample, or is one array for the whole batch.
    call : Call or None
        Set where the tensor is what a layer returned.
    traced : Call or None
        Set instead where a layer returned it that makes expressions, of ops that belong to no layer. It is not
        pickled: a function of the user's may be part of it.
    """

    shape: Shape
    node: Node | None = None
    name: str = ""
    call: Call | None = None
    dtype: DType = "real"
    rows: bool = True
    traced: Call | None = None

    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "traced": None}

    @property
    def whole_shape(self) -> tuple[Any, ...]:
        """The shape of the whole array, with ``B`` for the number of rows."""
        return (B, *self.shape) if self.rows else tuple(self.shape)

    @property
    def by_rows(self) -> bool:
        """Whether it has a row for each sample, as long as in any batch: nothing for the whole batch, no pairs."""
        return self.rows and B not in self.shape

    @property
    def ndim(self) -> int:
        """How many axes the whole array has."""
        return len(self.shape) + self.rows

    def shape_of(self, rows: int) -> Shape:
        """Return the shape of the whole array for so many rows."""
        return tuple(rows if s is B else s for s in self.whole_shape)

    def __repr__(self) -> str:
        dtype = "" if self.dtype == "real" else f", dtype={self.dtype}"
        return f"Tensor({self.name or (self.node.op.name if self.node else 'input')}, shape={as_written(self)}{dtype})"


class Symbol(_NumPy):
    """A tensor as functions see it: as NumPy would the whole array, with ``B`` rows.

    Attributes
    ----------
    tensor : Tensor
    shape : tuple
        With the symbol ``B`` for the number of rows, which is a number to reckon with: ``x.sum() / x.shape[0]``.
    dtype : numpy.dtype
        float64 stands for real numbers, whatever their width is when they are computed.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape of the whole array."""
        return self.tensor.whole_shape

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return self.tensor.ndim

    @property
    def size(self) -> Any:
        """How many elements it has: a tensor where that depends on the number of rows."""
        size: Any = 1
        for s in self.shape:
            size = size * s
        return size

    @property
    def dtype(self) -> np.dtype[Any]:
        """What its numbers are."""
        return _DTYPES[self.tensor.dtype]

    def __apply_op__(self, op: Op, xs: Sequence[Any]) -> Symbol:
        made = apply(op, *map(as_tensor, xs))
        if made.node is not None and made.node.inputs and not any(map(op.has_gradient, range(len(xs)))):
            made.node.line = made.node.line or line_here()
        return Symbol(made)

    def __repr__(self) -> str:
        return f"Symbol({self.tensor.name or 'array'}, shape={as_written(self.tensor)})"


class _Rows(_NumPy):
    """The symbol for the number of rows. It is equal to itself alone; in sums and products it becomes a tensor."""

    ndim = 0
    shape = ()

    def __float__(self) -> float:
        raise TypeError(f"the number of rows is converted to a number, which is not known while a function is traced; "
                        f"{_WITH_ROWS}. Random numbers are fb.random.normal(x.shape)")

    __int__ = __index__ = __float__

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        self.__float__()
        raise AssertionError

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> str:
        return "B"      # there is one in each process

    def __repr__(self) -> str:
        return "B"


B: Any = _Rows()


def as_tensor(x: Any) -> Tensor:
    """Return what a function is applied to as a tensor: numbers and arrays become constants."""
    if isinstance(x, Symbol):
        return x.tensor
    if isinstance(x, Tensor):
        return x
    if x is B:
        return apply(RowsOp())
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"a tensor is combined with {type(x).__name__} of dtype {array.dtype}; expected numbers")
    return apply(ConstantOp(array.astype(_DTYPES[KIND_OF[array.dtype.kind]])))


def on_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function written for arrays and symbols take tensors, and give tensors for them."""
    @wraps(function)
    def on_any(*xs: Any, **options: Any) -> Any:
        named = dict(zip(options, _wrapped(tuple(options.values())), strict=True))
        return _unwrapped(function(*_wrapped(xs), **named), (*xs, *options.values()))
    return on_any


def _wrapped(xs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return tensors as the symbols that they are to NumPy's functions."""
    return tuple(Symbol(x) if isinstance(x, Tensor) else Symbol(as_tensor(x)) if x is B else
                 type(x)(_wrapped(tuple(x))) if type(x) in (list, tuple) and _mentions(x, Tensor) else x for x in xs)


def _mentions(xs: Any, kind: type) -> bool:
    return any(isinstance(x, kind) or (isinstance(x, list | tuple) and _mentions(x, kind)) for x in xs)


def _unwrapped(y: Any, xs: Sequence[Any]) -> Any:
    """Return symbols where one of the operands was one, and tensors otherwise."""
    if isinstance(y, list | tuple):
        parts = [_unwrapped(part, xs) for part in y]
        return parts if isinstance(y, list) else y._make(parts) if hasattr(y, "_make") else tuple(parts)
    return y.tensor if isinstance(y, Symbol) and not _mentions(xs, Symbol | _Rows) else y  # type: ignore[arg-type]


def Input(*shape: int | Sequence[int], name: str = "",  # noqa: N802 - reads as a layer does
          dtype: Any = None) -> Tensor:
    """Return the symbol for an input whose samples have the given shape (the batch axis is left out).

    Its ``shape`` is that of a sample, as layers count; ``whole_shape`` has the rows in front, as NumPy's functions
    count. Within a function of tensors (a loss, :class:`~fastbp.Lambda`) ``shape`` is that of the whole array.

    Parameters
    ----------
    *shape : int
        ``Input(32)`` or ``Input(28, 28, 1)``; a single tuple is taken as well.
    name : str, optional
    dtype : "int64", optional
        For integers: ids, labels, masks. They have no gradient. By default real numbers, of the network's dtype.

    Raises
    ------
    ValueError
        If a size is not a positive integer, or for another dtype.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Input(32)
    Tensor(input, shape=(B, 32))
    >>> fb.Input(8, dtype="int64")
    Tensor(input, shape=(B, 8), dtype=int64)
    >>> fb.Input(28, 28).shape, fb.Input(28, 28).whole_shape
    ((28, 28), (B, 28, 28))
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
    for size in sizes:
        if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
            raise ValueError(f"Input: shape is {sizes}; expected positive integers, the batch axis left out")
    if not isinstance(name, str):
        raise ValueError(f"Input: name is {name!r}; expected a string")
    if not sizes:
        raise ValueError("Input: shape is empty; give the sizes of one sample, such as Input(32)")
    if len(sizes) > _MOST_AXES:
        raise ValueError(f"Input: shape has {len(sizes)} axes; expected at most {_MOST_AXES}")
    sample = _addressable("Input", tuple(int(s) for s in sizes))  # type: ignore[arg-type]
    return Tensor(sample, name=name, dtype=_input_dtype(dtype))


def _input_dtype(dtype: Any) -> DType:
    if dtype is None:
        return "real"
    try:
        known = np.dtype(dtype) == np.int64
    except TypeError:
        known = False
    if not known:
        raise ValueError(f'Input: dtype is {dtype!r}; expected "int64", or None for real numbers, whose dtype is the '
                         "network's")
    return "int64"


def apply(op: Op, *inputs: Tensor, owner: Any = None, params: dict[str, Parameter] | None = None,
          buffers: dict[str, Parameter] | None = None) -> Tensor:
    """Add a node to the graph: the tensor that ``op`` makes of ``inputs``.

    Raises
    ------
    ValueError
        For inputs whose shapes or dtypes do not fit.
    """
    if op.on_arrays:
        known = _simpler(op, inputs)
        made = _inferred(op, Node(op, inputs, owner, params or {}, buffers or {})) if known is None else known
        if isinstance(op, ScalarOp) and made.rows and B in made.shape:
            _check_spread(op, inputs, made)
        return made
    for i, t in enumerate(inputs):
        if not t.rows:
            raise ValueError(f"{op.name}: {t!r} is one array for the whole batch; expected a tensor with a row for "
                             "each sample")
        wanted = op.input_dtype(i)
        if wanted not in (t.dtype, "any"):
            name = op.name if owner is None else repr(owner)
            mend = ("real numbers: fb.Embedding makes them of ids" if wanted == "real" else
                    'integers, such as fb.Input(…, dtype="int64")')
            raise ValueError(f"{name}: input {i}, {t!r}, holds {_HOLDS[t.dtype]}; expected {mend}")
    shape = _addressable(op.name, op.output_shape(*(t.shape for t in inputs)))
    dtype = op.output_dtype(*(t.dtype for t in inputs))
    return Tensor(shape, Node(op, inputs, owner, params or {}, buffers or {}), dtype=dtype)


def _addressable(what: str, shape: Shape) -> Shape:
    if prod(shape) >= _MOST_ELEMENTS:
        raise ValueError(f"{what}: a sample of shape {shape} has more numbers than can be addressed; expected fewer "
                         f"than {_MOST_ELEMENTS:,}")
    return shape


def _inferred(op: Op, node: Node) -> Tensor:
    """Return the tensor that an op on whole arrays makes: what comes out is found by running it on 2 rows and on 3.

    A function of each element needs no rows: operands of one shape, and numbers, give that shape.
    """
    if isinstance(op, ScalarOp):
        largest = max(node.inputs, key=lambda t: t.ndim)
        if all(not t.ndim or t.whole_shape == largest.whole_shape for t in node.inputs):
            return Tensor(largest.shape, node, dtype=_made_by(op, *(t.dtype for t in node.inputs)), rows=largest.rows)
    two, three = (_run(op, node.inputs, rows) for rows in (2, 3))
    sizes = tuple(a if a == b else B if (a, b) == (2, 3) else 0 for a, b in zip(two.shape, three.shape, strict=True))
    if 0 in sizes and 0 not in two.shape:
        raise ValueError(f"{op.name}: of operands of shape {_shapes(node.inputs)} it makes {two.shape} for 2 rows and "
                         f"{three.shape} for 3; expected as many rows as the batch has, or a fixed number")
    if 0 in two.shape:
        raise ValueError(f"{op.name}: nothing is left of operands of shape {_shapes(node.inputs)}")
    has_rows = bool(sizes) and sizes[0] is B
    return Tensor(sizes[has_rows:], node, dtype=KIND_OF[two.dtype.kind], rows=has_rows)


@lru_cache(maxsize=1024)
def _made_by(op: ScalarOp, *dtypes: DType) -> DType:
    """Return what a function makes of numbers of these kinds."""
    with np.errstate(all="ignore"):
        return KIND_OF[op.value(*(np.zeros((), _DTYPES[dtype]) for dtype in dtypes)).dtype.kind]


def _check_spread(op: Op, inputs: Sequence[Tensor], made: Tensor) -> None:
    """Raise ValueError where rows have met another axis by the way in which NumPy lines up axes, as (B, 1) - (B,)."""
    if any(t.rows and t.ndim < made.ndim for t in inputs):
        raise ValueError(f"{op.name}: operands of shape {_shapes(inputs)} would give {as_written(made)}, every row "
                         "with every other; write x[:, None] for the one with fewer axes, or x[:, 0] for the other "
                         "(or, if all pairs are meant, x[None])")


def _run(op: Op, inputs: Sequence[Tensor], rows: int) -> Array:
    arrays = [t.node.op.values if t.node is not None and isinstance(t.node.op, ConstantOp)
              else np.broadcast_to(np.zeros((), _DTYPES[t.dtype]), t.shape_of(rows)) for t in inputs]
    try:
        with np.errstate(all="ignore"):
            return op.forward(Context(rows=rows), *arrays)
    except (ValueError, IndexError) as error:
        mend = _MENDS.get(op.name) or (_MENDS["elementwise"] if isinstance(op, ScalarOp) else f" ({error})")
        raise type(error)(f"{op.name}: operands of shape {_shapes(inputs)} do not fit{mend}") from None


_MENDS = {
    "elementwise": ": they are lined up at their last axes, where sizes have to be equal or 1; insert axes by "
                   "x[:, None], or take part of one by x[:, :3]",
    "matmul": ": the last axis of the first has to be as long as the last but one of the second; products row by row "
              "are np.sum(a * b, axis=-1), those of all pairs of rows a @ b.T",
}


def _simpler(op: Op, inputs: Sequence[Tensor]) -> Tensor | None:
    """Return a tensor that is the result already (x · 1, x + 0, a transpose back, minus minus), or is made simpler."""
    def alike(kept: Tensor, other: Tensor) -> bool:
        return kept.dtype == "real" and (not other.ndim or other.whole_shape == kept.whole_shape)

    if isinstance(op, ScalarOp):
        if op.function in ("mul", "add", "div", "sub"):
            a, b = inputs
            neutral = 1.0 if op.function in ("mul", "div") else 0.0
            if _number(b) == neutral and alike(a, b):
                return a
            if op.function in ("mul", "add") and _number(a) == neutral and alike(b, a):
                return b
        if op.function == "add" and all(t.dtype == "bool" for t in inputs):
            return apply(ScalarOp("or"), *inputs)
        if op.function == "neg" and inputs[0].node is not None and inputs[0].node.op == op:
            return inputs[0].node.inputs[0]
    if isinstance(op, TransposeOp) and inputs[0].node is not None and isinstance(inputs[0].node.op, TransposeOp):
        before = inputs[0].node
        if tuple(before.op.axes[i] for i in op.axes) == tuple(range(len(op.axes))):  # type: ignore[attr-defined]
            return before.inputs[0]
    return None


def _number(t: Tensor) -> float | None:
    """Return the number that all elements are, if there is one."""
    op = None if t.node is None else t.node.op
    if isinstance(op, FillOp):
        return op.number
    if t.node is not None and isinstance(op, BroadcastOp):
        return _number(t.node.inputs[0])
    return float(op.values) if isinstance(op, ConstantOp) and not op.values.ndim else None


def _shapes(tensors: Sequence[Tensor]) -> str:
    return " and ".join(as_written(t) for t in tensors)


def as_written(t: Tensor) -> str:
    shape = t.whole_shape
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
