"""Programs of expressions: a graph of scalar functions, moves and small sums becomes a list of instructions.

The machine that runs them stands in ``src_c/ops/expression.inc.h``: its registers are strips, a few rows of a tensor
each, that stay in the first-level cache. Here tensors become registers and ops instructions. A subexpression that
occurs twice is computed once; what depends on no row is computed once for all; a strip that is not needed any more
makes room for another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from fastbp.graph.indices import are_known
from fastbp.graph.tensor import B, Node, Tensor
from fastbp.ops.base import Op, Shape
from fastbp.ops.elementwise import AddOp, MulOp
from fastbp.ops.expression import TIMES_ROWS
from fastbp.ops.reduce import CumsumOp, ReduceOp
from fastbp.ops.scalar import ScalarOp
from fastbp.ops.sources import CastOp, ConstantOp, FillOp, RowsOp, StopGradientOp
from fastbp.ops.structure import (
    BroadcastOp,
    IndexOp,
    JoinOp,
    PadOp,
    PlaceOp,
    ReshapeOp,
    TakeAlongBackOp,
    TakeAlongOp,
    TakeBackOp,
    TakeOp,
    TransposeOp,
    python_key,
)

# As in src_c/ops/expression.inc.h.
SCRATCH, X, WHOLE_X, Y, DY, DX, CONSTANT, SPLAT, ROWS = range(9)
_SIZE, _HEADER = 24, 4
# Numbers in the strips of a block: what stays in the first-level cache beside what is read and written.
_BLOCK = 7168
_MOST_ROWS = 256
# A guess, for estimates of time.
_USUAL_ROWS = 128
# Numbers that are copied for each row.
_LARGEST_TABLE = 256
# The longest vector, in numbers: what a splat takes, and where strips start.
_VECTOR = 16
_CHEAP = {"add", "sub", "mul", "neg", "square", "abs", "max", "min", "clip", "where", "less", "less_equal", "greater",
          "greater_equal", "equal", "not_equal", "and", "or", "xor", "not", "sign"}
_BY_LIBM = {"erf", "floor", "ceil", "rint", "trunc"}
_ON_INTEGERS = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "where"}


_READABLE = {X: "x", WHOLE_X: "x", Y: "y", DY: "dy", DX: "dx", CONSTANT: "constant", ROWS: "number"}
Line = tuple[str, tuple[str, Any], list[tuple[str, Any]]]
"""An instruction for people to read: its name, where it writes, and what it reads; each place is a kind and which."""


@dataclass(eq=False)
class Register:
    """A strip. ``once``: it depends on no row; ``number``: a splat, one number for all."""

    kind: int
    which: int = 0
    width: int = 1
    once: bool = False
    offset: int = 0
    pinned: bool = False
    alone: bool = False
    """Whether there is one row of it, whatever rows a block has."""

    @property
    def splat(self) -> bool:
        return self.kind in (SPLAT, ROWS)

    @property
    def single(self) -> bool:
        return self.alone or self.kind in (WHOLE_X, CONSTANT)


@dataclass(frozen=True)
class Value:
    """A tensor within a program: its register, and the shape of one row of it."""

    register: Register
    shape: Shape


@dataclass
class Instruction:
    name: str
    target: Register
    operands: list[Register]
    rest: list[int] = field(default_factory=list)


class Compiler:
    """Makes one program.

    Parameters
    ----------
    sources : dict of Tensor to (kind, which)
        What is read: inputs, and the gradient of the output. ``WHOLE_X`` is one array for all rows.
    constants : list of float
        Numbers, to which those of the program are added.
    """

    def __init__(self, sources: dict[Tensor, tuple[int, int]], constants: list[float]) -> None:
        self._sources, self._constants = sources, constants
        self._values: dict[Tensor, Value] = {}
        self._known: dict[Any, Register] = {}
        self._registers: list[Register] = []
        self._code: list[Instruction] = []
        self._placed = (0, 0)
        self.cost = 0.0

    def program(self, outputs: Sequence[tuple[Tensor, int, int]], find: Callable[[str], int]) -> list[int]:
        """Return the numbers of a program that writes tensors to places, each a kind and which."""
        taken: set[int] = set()
        for tensor, kind, which in outputs:
            self._write(self.value(tensor), kind, which, taken)
        return self._numbers(find)

    def listing(self) -> list[Line]:
        """Return what was compiled: names of instructions, where they write, and what they read."""
        def place(register: Register) -> tuple[str, Any]:
            if register.kind == SPLAT:
                return "number", self._constants[register.which]
            if register.kind in _READABLE:
                return _READABLE[register.kind], "B" if register.kind == ROWS else register.which
            return "strip", id(register)
        return [(c.name, place(c.target), [place(o) for o in c.operands]) for c in self._code]

    # ---- tensors to registers ---------------------------------------------------------------------------------------

    def value(self, tensor: Tensor) -> Value:
        """Return the register of a tensor; make it, and all that it needs, if it is new."""
        stack = [tensor]
        while stack:
            t = stack[-1]
            waiting = [] if t in self._sources else [s for s in needed_by(t) if s not in self._values]
            if t in self._values or not waiting:
                stack.pop()
                if t not in self._values:
                    self._values[t] = self._source(t) if t in self._sources else self._made(t)
            else:
                stack.extend(waiting)
        return self._values[tensor]

    def _source(self, t: Tensor) -> Value:
        kind, which = self._sources[t]
        shape = _row_of(t)
        if t.dtype != "real":
            whole = kind == WHOLE_X
            register = self._add(Register(SCRATCH, 0, prod(shape), once=whole, alone=whole))
            self._code.append(Instruction("load_integers", register, [register], [which, int(not whole)]))
            return Value(register, shape)
        return Value(self._add(Register(kind, which, prod(shape), once=kind == WHOLE_X)), shape)

    def _made(self, t: Tensor) -> Value:
        assert t.node is not None
        op, shape = t.node.op, _row_of(t)
        xs = [self._values[s] for s in needed_by(t)]
        rows = [s.rows for s in t.node.inputs]
        function = function_of(op)
        if function is not None:
            return self._elements(function, xs, rows, t)
        if isinstance(op, ConstantOp):
            return self._constant(np.asarray(op.values, np.float64))
        if isinstance(op, FillOp):
            return Value(self._splat(op.number), shape)
        if isinstance(op, RowsOp):
            return Value(self._unique(("rows",), lambda: Register(ROWS, once=True)), ())
        if isinstance(op, ReshapeOp | CastOp | StopGradientOp):
            return Value(xs[0].register, shape)
        if isinstance(op, BroadcastOp):
            return Value(self._spread(self._without_rows(xs[0], rows[0], t), shape), shape)
        if isinstance(op, ReduceOp | CumsumOp):
            return self._reduced(op, xs[0], rows[0], shape)
        if isinstance(op, TakeAlongOp | TakeAlongBackOp | TakeOp | TakeBackOp):
            return self._picked(op, xs, rows[0], shape)
        return self._moved(op, xs, rows[0], shape)

    def _constant(self, values: Any) -> Value:
        if not values.ndim:
            return Value(self._splat(float(values)), ())

        def table() -> Register:
            self._constants.extend(values.reshape(-1).tolist())
            return Register(CONSTANT, len(self._constants) - values.size, values.size, once=True)
        return Value(self._unique(("constant", values.shape, values.tobytes()), table), values.shape)

    def _splat(self, number: float) -> Register:
        def one() -> Register:
            self._constants.append(number)
            return Register(SPLAT, len(self._constants) - 1, once=True)
        return self._unique(("splat", np.float64(number).tobytes()), one)

    def _unique(self, key: Any, make: Callable[[], Register]) -> Register:
        if key not in self._known:
            self._known[key] = self._add(make())
        return self._known[key]

    def _without_rows(self, x: Value, has_rows: bool, t: Tensor) -> Value:
        """Return an operand with no more axes than a row of t: a whole array may have one, of 1, for the rows."""
        if not has_rows and t.rows and len(x.shape) == len(t.whole_shape):
            return Value(x.register, x.shape[1:])
        return x

    def _elements(self, function: str, xs: list[Value], rows: list[bool], t: Tensor) -> Value:
        shape = _row_of(t)
        operands = [self._spread(self._without_rows(x, r, t), shape) for x, r in zip(xs, rows, strict=True)]
        if all(o.splat for o in operands):
            operands[0] = self._filled(operands[0], shape)
        return Value(self._do(function, operands, prod(shape)), shape)

    def _spread(self, x: Value, shape: Shape) -> Register:
        """Return a register of the given shape: the value's own, a splat, or a repetition."""
        if x.register.splat:
            return x.register
        own = (1,) * (len(shape) - len(x.shape)) + x.shape
        if prod(own) == prod(shape) and not x.register.single:
            return x.register
        steps = _steps(own)
        return self._move(x.register, shape, tuple(0 if a == 1 else s for a, s in zip(own, steps, strict=True)))

    def _filled(self, splat: Register, shape: Shape) -> Register:
        return self._move(splat, shape, (0,) * len(shape))

    def _strip(self, x: Value) -> Register:
        """Return a register with a row for each row, whatever the value's own is."""
        return self._filled(x.register, x.shape) if x.register.splat else self._spread(x, x.shape)

    def _move(self, source: Register, sizes: Shape, steps: Sequence[int], start: int = 0) -> Register:
        """Return a new strip of the given sizes, read from another in steps."""
        return self._do("move", [source], prod(sizes), _moves(sizes, steps, _steps(sizes), start, 0, source))

    def _reduced(self, op: ReduceOp | CumsumOp, x: Value, has_rows: bool, shape: Shape) -> Value:
        given = op.axis if isinstance(op, ReduceOp) else (op.axis,)
        axes = [a - has_rows for a in given]
        a = self._strip(x)
        order = x.shape
        if axes and axes != list(range(axes[0], axes[0] + len(axes))):     # bring them together, at the end
            kept = [i for i in range(len(order)) if i not in axes]
            steps = _steps(order)
            a = self._move(a, tuple(order[i] for i in (*kept, *axes)), [steps[i] for i in (*kept, *axes)])
            order, axes = tuple(order[i] for i in (*kept, *axes)), list(range(len(kept), len(order)))
        first = axes[0] if axes else 0
        n = prod(order[i] for i in axes)
        outer, inner = prod(order[:first]), prod(order[first + len(axes):])
        if isinstance(op, CumsumOp):
            return Value(self._do("cumsum", [a], prod(shape), [outer, n, inner, int(op.reverse)]), shape)
        name = {"max": "reduce_max", "min": "reduce_min", "mean": "sum"}.get(op.function, op.function)
        y = self._do(name, [a], prod(shape), [outer, n, inner])
        return Value(self._divided(y, n) if op.function == "mean" else y, shape)

    def _divided(self, y: Register, n: int) -> Register:
        """Return y divided by n, in which the number of rows may be a factor."""
        if n >= TIMES_ROWS:
            rows = self._unique(("rows",), lambda: Register(ROWS, once=True))
            y, n = self._do("div", [y, rows], y.width), n // TIMES_ROWS
        return y if n == 1 else self._do("div", [y, self._splat(n)], y.width)

    def _picked(self, op: TakeAlongOp | TakeAlongBackOp | TakeOp | TakeBackOp, xs: list[Value], has_rows: bool,
                shape: Shape) -> Value:
        forward, along = isinstance(op, TakeAlongOp | TakeOp), isinstance(op, TakeAlongOp | TakeAlongBackOp)
        whole = xs[0].shape if forward else tuple(op.shape[1:])     # type: ignore[union-attr]
        axis, places = op.axis - has_rows, xs[1]
        outer, inner = prod(whole[:axis]), prod(whole[axis + 1:])
        taken = places.shape[axis] if along else prod(places.shape)
        if not along:
            places = Value(self._spread(Value(places.register, (taken, 1)), (outer, taken, inner)), ())
        at = self._strip(places) if along else places.register
        sizes = [outer, whole[axis], inner, taken]
        return Value(self._do("gather" if forward else "scatter", [self._strip(xs[0]), at], prod(shape), sizes), shape)

    def _moved(self, op: Op, xs: list[Value], has_rows: bool, shape: Shape) -> Value:
        """Return what an op makes that puts numbers elsewhere: found by moving the numbers of places."""
        if isinstance(op, TransposeOp):
            steps = _steps(xs[0].shape)
            axes = [a - 1 for a in op.axes[1:]] if has_rows else op.axes
            return Value(self._move(self._strip(xs[0]), shape, [steps[a] for a in axes]), shape)
        if isinstance(op, IndexOp | PlaceOp) and _keeps_order(op.key[has_rows:], shape if isinstance(op, PlaceOp) else
                                                              xs[0].shape):
            return Value(xs[0].register, shape)
        if isinstance(op, IndexOp):
            start, steps, sizes = _view(xs[0].shape, op.key[has_rows:])
            return Value(self._move(self._strip(xs[0]), sizes, steps, start), shape)
        if isinstance(op, PlaceOp):
            start, steps, sizes = _view(shape, op.key[has_rows:])
            return self._laid([(xs[0], sizes, start, steps)], shape, 0.0)
        if isinstance(op, PadOp):
            widths = op.widths[has_rows:]
            start = sum(before * s for (before, _), s in zip(widths, _steps(shape), strict=True))
            return self._laid([(xs[0], xs[0].shape, start, _steps(shape))], shape, op.constant)
        assert isinstance(op, JoinOp)
        axis = op.axis - has_rows
        starts = np.cumsum([0, *(x.shape[axis] for x in xs)])[:-1] * _steps(shape)[axis]
        return self._laid([(x, x.shape, int(start), _steps(shape)) for x, start in zip(xs, starts, strict=True)], shape,
                          None)

    def _laid(self, parts: list[tuple[Value, Shape, int, Sequence[int]]], shape: Shape, fill: float | None) -> Value:
        """Return a strip that parts are laid into, on a ground of one number."""
        target = self._new(prod(shape), once=all(p[0].register.once for p in parts))
        ground = self._splat(0.0 if fill is None else fill)
        for i, (part, sizes, start, steps) in enumerate(parts):
            source = self._strip(part)
            rest = _moves(sizes, _steps(sizes), steps, 0, start, source)
            rest[-1] = int(i == 0 and fill is not None)
            self._code.append(Instruction("move", target, [source, ground], rest))
            self.cost += 0.3 * _usual(prod(sizes))
        return Value(target, shape)

    # ---- registers and instructions ---------------------------------------------------------------------------------

    def _add(self, register: Register) -> Register:
        self._registers.append(register)
        return register

    def _new(self, width: int, *, once: bool) -> Register:
        return self._add(Register(SCRATCH, 0, width, once))

    def _do(self, name: str, operands: list[Register], width: int, rest: Sequence[int] = ()) -> Register:
        key = (name, tuple(map(id, operands)), width, tuple(rest))
        if key not in self._known:
            target = self._known[key] = self._new(width, once=all(o.once for o in operands))
            self._code.append(Instruction(name, target, operands, list(rest)))
            self.cost += _usual(width) * (0.1 if name in _CHEAP else 20.0 if name in _BY_LIBM else 1.0)
        return self._known[key]

    def _write(self, value: Value, kind: int, which: int, taken: set[int]) -> None:
        """Let a value be made where it is wanted, or copy it there."""
        register = value.register
        if register.kind != SCRATCH or register.once or id(register) in taken:
            source = register
            register = self._new(prod(value.shape), once=False)
            steps = (0,) * len(value.shape) if source.splat else _steps(value.shape)
            rest = _moves(value.shape, steps, _steps(value.shape), 0, 0, source)
            self._code.append(Instruction("move", register, [source], rest))
        register.kind, register.which, register.pinned = kind, which, True
        taken.add(id(register))

    def _numbers(self, find: Callable[[str], int]) -> list[int]:
        self._code = _merged(self._code)
        self._placed = rows, elements = self._place_strips()
        number = {id(r): i for i, r in enumerate(self._registers)}
        read = {id(r) for instruction in self._code for r in instruction.operands}
        code: list[int] = []
        for instruction in self._code:
            if instruction.name == "mul" and id(instruction.target) not in read and not instruction.target.once:
                instruction.rest = [1]
            operands = [number[id(o)] for o in instruction.operands]
            line = [find(instruction.name), number[id(instruction.target)], *(operands + operands[-1:] * 3)[:3],
                    instruction.target.width, int(instruction.target.once), *instruction.rest]
            assert len(line) <= _SIZE
            code += line + [0] * (_SIZE - len(line))
        table = [n for r in self._registers for n in (r.kind, r.which, r.width, r.offset)]
        return [len(self._registers), len(self._code), rows, elements, *table, *code]

    def _place_strips(self) -> tuple[int, int]:
        """Give each strip its place in scratch memory; return the rows of a block, and the numbers in all.

        Where widths depend on the number of rows, all strips are as large as the widest: then return how many there
        are, negative, and the widest.
        """
        last: dict[int, int] = {}
        for i, instruction in enumerate(self._code):
            for r in (instruction.target, *instruction.operands):
                last[id(r)] = i
        wide = [r.width for r in self._registers if r.width >= TIMES_ROWS]
        if wide:
            strips = self._sweep(last, lambda width: TIMES_ROWS) // TIMES_ROWS
            narrow = [r.width for r in self._registers if r.width < TIMES_ROWS]
            return -max(1, strips), max(wide) + max(narrow, default=0)
        width = max(1, self._sweep(last, lambda width: _room(width * _MOST_ROWS))) / _MOST_ROWS
        rows = max(1, min(_MOST_ROWS, int(_BLOCK / width)))
        return rows, self._sweep(last, lambda width: _room(width * rows))

    def _sweep(self, last: dict[int, int], room: Callable[[int], int]) -> int:
        """Go through the program and hand out memory, again where a strip is done with; return how much it took.

        ``room(width)`` is what a strip takes.
        """
        end = 0
        free: dict[int, list[int]] = {}
        placed: set[int] = set()
        for r in self._registers:
            if r.splat:
                r.offset, end = end, end + _VECTOR
        for i, instruction in enumerate(self._code):
            target = instruction.target
            size = room(target.width)
            if id(target) not in placed:
                placed.add(id(target))
                waiting = free.get(size)
                if waiting and not target.once:
                    target.offset = waiting.pop()
                else:
                    target.offset, end = end, end + size
            for r in {id(r): r for r in instruction.operands}.values():
                if r.kind == SCRATCH and not r.once and not r.pinned and last[id(r)] == i and r is not target:
                    free.setdefault(room(r.width), []).append(r.offset)
        return end

    def scratch(self) -> tuple[int, int]:
        """Return the bytes that a program needs: in all, and more for each row of the batch."""
        pointers = 8 * len(self._registers) + 64
        rows, numbers = self._placed
        if rows > 0:
            return pointers + 8 * numbers, 0
        splats = _VECTOR * sum(r.splat for r in self._registers)
        times, least = divmod(numbers, TIMES_ROWS)
        copied = 8 * (_HEADER + 4 * len(self._registers) + _SIZE * len(self._code)) + 64
        return pointers + copied + 8 * (splats + _BLOCK - rows * (least + 2 * _VECTOR)), -8 * rows * times


def _room(numbers: int) -> int:
    """Return how far strips of so many numbers lie apart: an odd number of vectors keeps them out of each other's
    cache sets.

    >>> _room(1), _room(1024)
    (16, 1040)
    """
    return (-(-numbers // _VECTOR) | 1) * _VECTOR


def _merged(code: list[Instruction]) -> list[Instruction]:
    """Return the code with a product that is only added, or a number that is only negated, as part of what uses it."""
    reads: dict[int, int] = {}
    for instruction in code:
        for r in instruction.operands:
            reads[id(r)] = reads.get(id(r), 0) + 1
    made: dict[int, Instruction] = {}
    gone: set[int] = set()

    def inner(r: Register, name: str, width: int) -> Instruction | None:
        before = made.get(id(r))
        fits = before is not None and before.name == name and reads[id(r)] == 1 and r.kind == SCRATCH and not r.once
        return before if fits and r.width == width else None

    for instruction in code:
        if instruction.name in ("add", "sub") and not instruction.target.once:
            _merge(instruction, inner, gone)
        made[id(instruction.target)] = instruction
    return [i for i in code if id(i) not in gone]


def _merge(instruction: Instruction, inner: Callable[[Register, str, int], Instruction | None], gone: set[int]) -> None:
    """Take what is negated, and one product, into a sum or a difference."""
    width = instruction.target.width
    a, b = instruction.operands
    negated = inner(b, "neg", width)
    if negated is not None:
        gone.add(id(negated))
        instruction.name = "sub" if instruction.name == "add" else "add"
        b = negated.operands[0]
    elif instruction.name == "add" and (negated := inner(a, "neg", width)) is not None:
        gone.add(id(negated))
        instruction.name, a, b = "sub", b, negated.operands[0]
    instruction.operands = [a, b]
    for product, other, name in ((inner(a, "mul", width), b, "fma" if instruction.name == "add" else "fms"),
                                 (inner(b, "mul", width), a, "fma" if instruction.name == "add" else "fnma")):
        if product is not None:
            gone.add(id(product))
            instruction.name, instruction.operands = name, [*product.operands, other]
            return


def needed_by(t: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors whose numbers are needed to make one: of what is filled with a number, the shape alone is."""
    return () if t.node is None or isinstance(t.node.op, FillOp) else t.node.inputs


def function_of(op: Op) -> str | None:
    """Return the scalar function that an op applies element by element, or None."""
    if isinstance(op, ScalarOp):
        return op.function
    return "add" if isinstance(op, AddOp) else "mul" if isinstance(op, MulOp) else None


def can_run(t: Tensor, find: Callable[[str], int]) -> bool:
    """Whether an instruction, or none, makes this tensor out of its inputs, row by row."""
    node = t.node
    if node is None or max(len(s.shape) for s in (t, *node.inputs)) > 4:
        return False
    if any(B in s.shape for s in (t, *node.inputs)) and not _is_of_pairs(t, node):
        return False
    op, has_rows = node.op, bool(node.inputs) and node.inputs[0].rows
    function = function_of(op)
    if function is not None:
        whole = t.dtype == "int64" or (any(s.dtype == "int64" and not _is_number(s) for s in node.inputs)
                                       and function not in _ON_INTEGERS)
        return find(function) >= 0 and not whole and all(s.rows or _fits_in_a_row(s, t) for s in node.inputs)
    if isinstance(op, ConstantOp):
        return True
    if isinstance(op, FillOp | RowsOp | StopGradientOp):
        return True
    if isinstance(op, CastOp):
        return op.kind == "real"
    if isinstance(op, ReshapeOp):
        return t.rows == has_rows
    if isinstance(op, BroadcastOp):
        return has_rows or not t.rows or _fits_in_a_row(node.inputs[0], t)
    if isinstance(op, ReduceOp):
        return op.function not in ("any", "all") and t.rows == has_rows and (not has_rows or 0 not in op.axis)
    if isinstance(op, CumsumOp | JoinOp):
        return (not has_rows or op.axis > 0) and len({s.rows for s in node.inputs}) == 1
    if isinstance(op, TakeAlongOp | TakeAlongBackOp):
        size = node.inputs[0].shape[op.axis - 1] if isinstance(op, TakeAlongOp) else op.shape[op.axis]
        return op.axis > 0 and all(s.rows for s in node.inputs) and are_known(node.inputs[1], size)
    if isinstance(op, TakeOp) and not has_rows:
        return _is_of_a_table(t, *node.inputs)
    if isinstance(op, TakeOp | TakeBackOp):
        return op.axis > 0 and has_rows and t.rows and isinstance(node.inputs[1].node and node.inputs[1].node.op,
                                                                  ConstantOp)
    if isinstance(op, TransposeOp):
        return not has_rows or op.axes[0] == 0
    if isinstance(op, IndexOp | PlaceOp):
        return has_rows == t.rows and (not has_rows or op.key[0] == (None, None, None))
    if isinstance(op, PadOp):
        return not has_rows or op.widths[0] == (0, 0)
    return False


def _is_of_pairs(t: Tensor, node: Node) -> bool:
    """Whether an op goes through pairs of rows in one of the ways that a program has."""
    if not t.rows or any(s.shape.count(B) > 1 for s in (t, *node.inputs)):
        return False
    if isinstance(node.op, ReshapeOp):
        return node.inputs[0].rows and node.inputs[0].shape.count(B) == t.shape.count(B)
    if isinstance(node.op, IndexOp):
        return node.inputs[0].rows and _keeps_order(node.op.key[1:], node.inputs[0].shape)
    return function_of(node.op) is not None or isinstance(node.op, ReduceOp | BroadcastOp | FillOp | CastOp
                                                          | StopGradientOp)


def _keeps_order(key: Any, shape: Shape) -> bool:
    """Whether x[key] has all numbers of x, in the same order: axes of size 1 come and go."""
    axes = iter(shape)
    return all(entry == "new" or next(axes) == 1 or entry == (None, None, None) for entry in key)


def _row_of(t: Tensor) -> Shape:
    """Return the shape of a row, or of a whole array, with a number for the symbol of the number of rows."""
    return tuple(TIMES_ROWS if size is B else size for size in t.shape)


def _usual(width: int) -> int:
    """Return a width, with a guess for the number of rows."""
    times, width = divmod(width, TIMES_ROWS)
    return width + times * _USUAL_ROWS


def _is_of_a_table(t: Tensor, table: Tensor, places: Tensor) -> bool:
    """Whether rows look up what a small table of numbers has: a strip has a copy of it for each row."""
    values = table.node.op.values if table.node is not None and isinstance(table.node.op, ConstantOp) else None
    return values is not None and t.rows and t.dtype == "real" and t.node is not None and t.node.op == TakeOp(0) \
        and values.size <= _LARGEST_TABLE and places.rows and are_known(places, len(values))


def _is_number(t: Tensor) -> bool:
    return t.node is not None and isinstance(t.node.op, ConstantOp) and not t.node.op.values.ndim


def _fits_in_a_row(s: Tensor, t: Tensor) -> bool:
    """Whether a whole array lines up with a row of t, or with the rows by an axis of 1."""
    return not t.rows or len(s.shape) <= len(t.shape) or (len(s.shape) == len(t.shape) + 1 and s.shape[0] == 1)


def _steps(shape: Shape) -> list[int]:
    """Return how many elements lie between neighbours along each axis.

    >>> _steps((2, 3, 4))
    [12, 4, 1]
    """
    return [prod(shape[i + 1:]) for i in range(len(shape))]


def _moves(sizes: Sequence[int], source: Sequence[int], target: Sequence[int], source_start: int, target_start: int,
           register: Register) -> list[int]:
    """Return what a move instruction says, in four axes; neighbouring ones that go together are one."""
    axes = [(n, a, b) for n, a, b in zip(sizes, source, target, strict=True) if n != 1]
    joined: list[tuple[int, int, int]] = []
    for n, a, b in axes:
        if joined and joined[-1][1] == n * a and joined[-1][2] == n * b:
            joined[-1] = joined[-1][0] * n, a, b
        else:
            joined.append((n, a, b))
    if len(joined) > 4:
        raise NotImplementedError("a move over more than four axes")
    joined = [(1, 0, 0)] * (4 - len(joined)) + joined
    apart = 0 if register.single or register.splat else register.width
    sizes, source, target = zip(*joined, strict=True)
    return [*sizes, *source, *target, source_start, target_start, apart, 0]


def _view(shape: Shape, key: Any) -> tuple[int, list[int], Shape]:
    """Return where x[key] starts in x, the steps of its axes, and its shape."""
    places = np.arange(prod(shape), dtype=np.int64).reshape(shape)
    view = np.asarray(places[python_key(key)])
    start = int(view.reshape(-1)[0])
    steps = [s // places.itemsize for s in view.strides]
    return start, steps, view.shape
