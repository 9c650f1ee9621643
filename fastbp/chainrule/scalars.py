"""Scalar expressions: write a formula as Python, and get every derivative by the chain rule.

An expression is a tensor of shape (1,) in the same graph that networks use; its ops are those of ``fastbp/ops``, and
the reference backend runs it. Only the notation, operators and functions on numbers, is its own.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from itertools import count as counter
from typing import Any

import numpy as np

from fastbp.chainrule.diagram import build
from fastbp.chainrule.explanation import Check, Explanation, Language, Note, Path, Stage, Use, _language
from fastbp.chainrule.paths import Paths
from fastbp.chainrule.symbols import Quantity, Symbol, number
from fastbp.chainrule.trace import Place, Trace
from fastbp.core.checks import count
from fastbp.engine.reference import ReferenceBackend
from fastbp.graph.graph import Graph, Tensor, apply
from fastbp.graph.memory import Memory
from fastbp.ops import scalar
from fastbp.ops.activations import ReLUOp, SigmoidOp, TanhOp
from fastbp.ops.base import Array, Op
from fastbp.ops.elementwise import AddOp, MulOp
from fastbp.views.gradcheck import CENTRAL_STEP, numerical_gradient


class Expr:
    """A scalar expression: a node of the graph, with a value.

    Expressions are made from :class:`Var` and numbers by ``+ - * / **``, unary minus and the functions of this module.

    Attributes
    ----------
    name : str
        As :meth:`named` set it; without one, explanations call it u₁, u₂, …
    grad : float or None
        The derivative that the last :meth:`backward` through this expression found.

    Examples
    --------
    >>> import fastbp.chainrule as cr
    >>> x, y = cr.Var("x", 3.0), cr.Var("y", 2.0)
    >>> t = (x + y).named("t")
    >>> z = t**2
    >>> z.value, z.backward()
    (25.0, {'x': 10.0, 'y': 10.0})
    >>> print(z.explain(x).chain())
    ∂z/∂x = ∂z/∂t · ∂t/∂x = 2t · 1 = 10
    """

    def __init__(self, tensor: Tensor, operands: tuple[Expr, ...]) -> None:
        self._tensor, self._operands = tensor, operands
        self._cached: _Compiled | None = None
        self.name = ""
        self.grad: float | None = None

    @property
    def value(self) -> float:
        """The number that it comes to.

        Raises
        ------
        ValueError
            Where it is not defined, as the logarithm of a negative number; the operation is named.
        """
        return self._compiled.run()

    def named(self, name: str) -> Expr:
        """Give it a name for use in explanations, and return it."""
        self.name = _name(name)
        return self

    def backward(self) -> dict[str, float]:
        """Return the derivative of this expression by every variable in it, by name; set ``grad`` all along the way."""
        compiled = self._compiled
        compiled.run()
        compiled.backward()
        return {e.name: e.grad or 0.0 for e in compiled.expressions if isinstance(e, Var)}

    def explain(self, variable: Expr, *, terms: int = 8, lang: Language = "en", digits: int = 9) -> Explanation:
        """Explain the derivative by a variable, or by any expression inside: every path of the chain rule.

        Parameters
        ----------
        variable : Expr
        terms : int, default 8
            How many paths are shown, the largest first; the others are added up.
        lang : {"en", "ko"}
        digits : int, default 9
            Significant digits in text.

        Raises
        ------
        ValueError
            If this expression does not depend on the variable, with what it does depend on.
        """
        _language(lang)
        terms = count("explain", "terms", terms)
        if not isinstance(variable, Expr) or isinstance(variable, _Constant):
            raise TypeError(f"explain: variable is {variable!r}; expected a Var, or another expression inside this one")
        return self._compiled.explain(variable, terms).shown(lang=lang, digits=digits)

    @property
    def _compiled(self) -> _Compiled:
        if self._cached is None:
            self._cached = _Compiled(self)
        return self._cached

    def __add__(self, other: Any) -> Expr:
        return _apply(AddOp(), self, other)

    def __radd__(self, other: Any) -> Expr:
        return _apply(AddOp(), other, self)

    def __sub__(self, other: Any) -> Expr:
        return _apply(scalar.SubOp(), self, other)

    def __rsub__(self, other: Any) -> Expr:
        return _apply(scalar.SubOp(), other, self)

    def __mul__(self, other: Any) -> Expr:
        return _apply(MulOp(), self, other)

    def __rmul__(self, other: Any) -> Expr:
        return _apply(MulOp(), other, self)

    def __truediv__(self, other: Any) -> Expr:
        return _apply(scalar.DivOp(), self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return _apply(scalar.DivOp(), other, self)

    def __pow__(self, other: Any) -> Expr:
        return _apply(scalar.PowOp(), self, other)

    def __rpow__(self, other: Any) -> Expr:
        return _apply(scalar.PowOp(), other, self)

    def __neg__(self) -> Expr:
        return _apply(scalar.NegOp(), self)

    def __repr__(self) -> str:
        return f"Expr({self.name or (self._tensor.node and self._tensor.node.op.name)})"


class Var(Expr):
    """A variable: a name and a value, which may be set anew.

    Parameters
    ----------
    name : str
    value : float

    Examples
    --------
    >>> x = Var("x", 3.0)
    >>> y = x * x
    >>> y.value
    9.0
    >>> x.value = 4.0
    >>> y.value
    16.0
    """

    def __init__(self, name: str, value: float) -> None:
        super().__init__(Tensor((1,)), ())
        self.name = _name(name)
        self._number = _real(f"Var {name!r}: value", value)

    @property
    def value(self) -> float:
        """Its number; assigning to it changes every expression that it is part of."""
        return self._number

    @value.setter
    def value(self, value: float) -> None:
        self._number = _real(f"Var {self.name!r}: value", value)

    def __repr__(self) -> str:
        return f"Var({self.name!r}, {self.value!r})"


class _Constant(Expr):
    def __init__(self, value: Any) -> None:
        super().__init__(Tensor((1,)), ())
        self._number = value

    @property
    def value(self) -> float:
        return float(self._number)

    def __repr__(self) -> str:
        return number(self.value)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"name is {name!r}; expected a non-empty string")
    return name.strip()


def _real(what: str, value: Any) -> float:
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not np.isfinite(value):
        raise ValueError(f"{what} is {value!r}; expected a finite number")
    return float(value)


def _apply(op: Op, *operands: Any) -> Expr:
    for o in operands:
        if not isinstance(o, Expr | int | float | np.integer | np.floating) or isinstance(o, bool):
            raise TypeError(f"{op.name}: {o!r} is {type(o).__name__}; expected an expression or a number")
    parts = tuple(o if isinstance(o, Expr) else _Constant(_real(op.name, o)) for o in operands)
    return Expr(apply(op, *(p._tensor for p in parts)), parts)


def exp(x: Any) -> Expr:
    """Return e to the power of x."""
    return _apply(scalar.ExpOp(), x)


def log(x: Any) -> Expr:
    """Return the natural logarithm of x > 0."""
    return _apply(scalar.LogOp(), x)


def sqrt(x: Any) -> Expr:
    """Return the square root of x ≥ 0."""
    return _apply(scalar.SqrtOp(), x)


def sin(x: Any) -> Expr:
    """Return the sine of x, in radians."""
    return _apply(scalar.SinOp(), x)


def cos(x: Any) -> Expr:
    """Return the cosine of x, in radians."""
    return _apply(scalar.CosOp(), x)


def tanh(x: Any) -> Expr:
    """Return the hyperbolic tangent of x."""
    return _apply(TanhOp(), x)


def sigmoid(x: Any) -> Expr:
    """Return 1 / (1 + exp(-x))."""
    return _apply(SigmoidOp(), x)


def relu(x: Any) -> Expr:
    """Return max(0, x); the derivative at 0 is taken as 0."""
    return _apply(ReLUOp(), x)


def max(a: Any, b: Any) -> Expr:
    """Return the larger of a and b; where they are equal, each gets half of the derivative."""
    return _apply(scalar.MaxOp(), a, b)


@dataclass
class _Names:
    """Symbols of expressions: their own names, u₁, u₂, … for those without, plain numbers for constants."""

    symbols: dict[Tensor, Symbol]

    def tensor(self, tensor: Tensor, index: int, sample: int = 0) -> Symbol:
        return self.symbols[tensor]

    def alike(self, tensor: Tensor, letter: str, index: int, sample: int = 0) -> Symbol:
        return Symbol(letter)

    def parameter(self, name: str, index: tuple[int, ...]) -> Symbol:
        raise AssertionError("expressions have no parameters")


class _Compiled:
    """The graph of one expression, and its runs."""

    def __init__(self, target: Expr) -> None:
        self.target = target
        by_tensor = _collect(target)
        leaves = [e._tensor for e in by_tensor.values() if not e._operands]
        self.graph = Graph(leaves, [target._tensor])
        self.expressions = [by_tensor[t] for t in self.graph.tensors]
        self._by_tensor = by_tensor
        self._backend = ReferenceBackend(Memory(self.graph, "float64"))

    def run(self) -> float:
        leaves = [self._by_tensor[t] for t in self.graph.inputs]
        (result,) = self._backend.forward([np.array([[e.value]]) for e in leaves], training=True)
        if not np.isfinite(result).all():
            self._complain()
        return float(result[0, 0])

    def _complain(self) -> None:
        for tensor, context in self._backend.contexts().items():
            assert context.output is not None
            if not np.isfinite(context.output).all():
                values = ", ".join(number(float(x[0, 0])) for x in context.inputs)
                name = tensor.node.op.name if tensor.node else ""
                raise ValueError(f"{name}({values}) is {number(float(context.output[0, 0]))}; expected operands for "
                                 "which it is a finite number: change the values of the variables")

    def backward(self) -> dict[Tensor, Array]:
        self._backend.backward([np.ones((1, 1))])
        by_name = {n: t for t, n in self.graph.names.items()}
        gradients = {by_name[n]: g for n, g in self._backend.gradients().items()}
        for e in self.expressions:
            if not isinstance(e, _Constant):
                e.grad = float(gradients[e._tensor][0, 0]) if e._tensor in gradients else 0.0
        return gradients

    def explain(self, variable: Expr, terms: int) -> Explanation:
        if variable._tensor not in self._by_tensor:
            inside = ", ".join(e.name for e in self.expressions if e.name and e is not self.target)
            raise ValueError(f"explain: {self.target!r} does not depend on {variable!r}; expected one of {inside}")
        self.run()
        trace = self._trace()
        source, target = (trace.quantity(Place(e._tensor, 0, 0)) for e in (variable, self.target))
        finder = Paths(self.graph, trace.contexts, np.array([0]), {self.target._tensor: np.ones((1, 1))})
        paths = []
        for route in finder.largest(variable._tensor, 0, terms):
            places = [Place(step.tensor, 0, 0) for step in route.steps]
            paths.append(Path(tuple(
                trace.factor(places[k + 1], places[k], step.operand, step.derivative)
                for k, step in reversed(list(enumerate(route.steps[:-1]))))))
        gradient = trace.gradient(Place(variable._tensor, 0, 0))
        paths = [p for p in paths if p.factors]
        paths_in_all = finder.count(variable._tensor, 0)
        diagram, _ = build(trace, 0, paths, [])
        use = Use(0, 0, "", gradient, tuple(paths), paths_in_all, Quantity(source.symbol, gradient), source.symbol,
                  None)
        check = self._check(variable)
        notes = []
        if check.kink:
            notes.append(Note("kink", {"left": check.one_sided[0], "right": check.one_sided[1]}))
        return Explanation(target, source, "", gradient, (use,), 1, paths_in_all, 1, self._stages(trace), check, None,
                           diagram, tuple(notes))

    def _trace(self) -> Trace:
        gradients = self.backward()
        values = dict(zip(self.graph.inputs, (np.array([[self._by_tensor[t].value]]) for t in self.graph.inputs),
                          strict=True))
        contexts = self._backend.contexts()
        values |= {t: c.output for t, c in contexts.items() if c.output is not None}
        constants = frozenset(t for t, e in self._by_tensor.items() if isinstance(e, _Constant))
        return Trace(self.graph, contexts, values, gradients, _Names(self._symbols()), constants)

    def _symbols(self) -> dict[Tensor, Symbol]:
        taken = {e.name for e in self.expressions}
        numbers = counter(1)
        symbols = {}
        for e in self.expressions:
            if isinstance(e, _Constant):
                shown = number(e.value)
                symbols[e._tensor] = Symbol(f"({shown})" if e.value < 0 else shown)
            elif e.name:
                symbols[e._tensor] = Symbol.parse(e.name)
            elif e is self.target:
                symbols[e._tensor] = Symbol(next(n for n in ("z", "f", "out", "result") if n not in taken))
            else:
                symbols[e._tensor] = Symbol("u", str(next(n for n in numbers if f"u{n}" not in taken)))
        return symbols

    def _stages(self, trace: Trace) -> tuple[Stage, ...]:
        return tuple(Stage(str(trace.names.tensor(t, 0)), (trace.line(Place(t, 0, 0)),))
                     for t in self.graph.tensors if t.node is not None)

    def _check(self, variable: Expr) -> Check:
        """The difference quotient: what lies before the variable is cut off, so any expression inside can be varied."""
        here = self._rerun(variable, variable.value)
        seen = []

        def at(v: Any) -> float:
            seen.append(self._rerun(variable, float(v[0])))
            return seen[-1]

        h = CENTRAL_STEP * builtins.max(1.0, abs(variable.value))
        with np.errstate(all="ignore"):
            numerical = float(numerical_gradient(at, [variable.value])[0])
        return Check(numerical, h, len(seen), ((here - seen[1]) / h, (seen[0] - here) / h))

    def _rerun(self, variable: Expr, value: float) -> float:
        values = {variable._tensor: np.array([[value]])}
        contexts = self._backend.contexts()
        with np.errstate(all="ignore"):
            for t in self.graph.tensors:
                if t in values:
                    continue
                if t.node is None:
                    values[t] = np.array([[self._by_tensor[t].value]])
                else:
                    values[t] = t.node.op.forward(contexts[t], *(values[s] for s in t.node.inputs))
        return float(values[self.target._tensor][0, 0])


def _collect(target: Expr) -> dict[Tensor, Expr]:
    """Return all expressions that the target is made of, by tensor, in the order in which it is written."""
    found: dict[Tensor, Expr] = {}
    stack = [target]
    while stack:
        e = stack.pop()
        if e._tensor not in found:
            found[e._tensor] = e
            stack.extend(reversed(e._operands))
    return found
