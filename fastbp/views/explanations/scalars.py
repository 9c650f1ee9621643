"""Scalar expressions: write a formula as Python, and get every derivative by the chain rule.

An expression is a tensor of shape (1,) in the same graph that networks use; its ops are those of ``fastbp/ops``, and
the reference backend runs it (``scalar_run``). Only the notation, operators and functions on numbers, is its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.core.checks import count
from fastbp.core.terminal import printable
from fastbp.graph.graph import Tensor, apply
from fastbp.ops import scalar
from fastbp.ops.activations import ReLUOp, SigmoidOp, TanhOp
from fastbp.ops.base import Op
from fastbp.ops.elementwise import AddOp, MulOp
from fastbp.views.explanations.explanation import Explanation
from fastbp.views.explanations.phrases import Language, language
from fastbp.views.explanations.scalar_run import ScalarRun
from fastbp.views.explanations.symbols import number


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
    >>> z
    Expr(t² = 25)
    >>> print(z.explain(x).chain())
    ∂z/∂x = ∂z/∂t · ∂t/∂x = 2t · 1 = 10
    """

    is_variable = is_constant = False

    def __init__(self, tensor: Tensor, operands: tuple[Expr, ...]) -> None:
        self.tensor, self.operands = tensor, operands
        self._cached: ScalarRun | None = None
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
        return self._run.forward()

    def named(self, name: str) -> Expr:
        """Give it a name for use in explanations, and return it."""
        self.name = _name(name)
        return self

    def backward(self) -> dict[str, float]:
        """Return the derivative of this expression by every variable in it, by name; set ``grad`` all along the way.

        Raises
        ------
        ValueError
            If two variables have one name.
        """
        return self._run.derivatives()

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
            If this expression does not depend on the variable, with what it does depend on; if two parts have one name.
        """
        language(lang)
        terms = count("explain", "terms", terms)
        if not isinstance(variable, Expr) or variable.is_constant:
            raise TypeError(f"explain: variable is {variable!r}; expected a Var, or another expression inside this one")
        return self._run.explain(variable, terms).shown(lang=lang, digits=digits)

    @property
    def _run(self) -> ScalarRun:
        if self._cached is None:
            self._cached = ScalarRun(self)
        return self._cached

    def __add__(self, other: Any) -> Expr:
        return _apply(AddOp(), self, other)

    def __radd__(self, other: Any) -> Expr:
        return _apply(AddOp(), other, self)

    def __sub__(self, other: Any) -> Expr:
        return _apply(scalar.ScalarOp("sub"), self, other)

    def __rsub__(self, other: Any) -> Expr:
        return _apply(scalar.ScalarOp("sub"), other, self)

    def __mul__(self, other: Any) -> Expr:
        return _apply(MulOp(), self, other)

    def __rmul__(self, other: Any) -> Expr:
        return _apply(MulOp(), other, self)

    def __truediv__(self, other: Any) -> Expr:
        return _apply(scalar.ScalarOp("div"), self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return _apply(scalar.ScalarOp("div"), other, self)

    def __pow__(self, other: Any) -> Expr:
        return _apply(scalar.ScalarOp("pow"), self, other)

    def __rpow__(self, other: Any) -> Expr:
        return _apply(scalar.ScalarOp("pow"), other, self)

    def __neg__(self) -> Expr:
        return _apply(scalar.ScalarOp("neg"), self)

    def __repr__(self) -> str:
        return printable(f"Expr({self._run.equation('text')})")

    def _repr_html_(self) -> str:
        return f"<span>{self._repr_latex_()}</span>"        # notebooks typeset formulas within HTML

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self._run.equation('latex')}$"


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

    is_variable = True

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
    is_constant = True

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
    return Expr(apply(op, *(p.tensor for p in parts)), parts)


def exp(x: Any) -> Expr:
    """Return e to the power of x."""
    return _apply(scalar.ScalarOp("exp"), x)


def log(x: Any) -> Expr:
    """Return the natural logarithm of x > 0."""
    return _apply(scalar.ScalarOp("log"), x)


def sqrt(x: Any) -> Expr:
    """Return the square root of x ≥ 0."""
    return _apply(scalar.ScalarOp("sqrt"), x)


def sin(x: Any) -> Expr:
    """Return the sine of x, in radians."""
    return _apply(scalar.ScalarOp("sin"), x)


def cos(x: Any) -> Expr:
    """Return the cosine of x, in radians."""
    return _apply(scalar.ScalarOp("cos"), x)


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
    return _apply(scalar.ScalarOp("max"), a, b)
