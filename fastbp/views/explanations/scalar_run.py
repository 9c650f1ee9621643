"""One run of a scalar expression: its value, its derivatives, their explanation, and the expression as a formula."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count as counter
from typing import Any, Protocol

import numpy as np

from fastbp.engine.reference import ReferenceBackend
from fastbp.graph.graph import Graph, Tensor
from fastbp.graph.memory import Memory
from fastbp.ops.base import Array
from fastbp.views.explanations.diagram import build
from fastbp.views.explanations.explanation import Explanation
from fastbp.views.explanations.gradients import kink
from fastbp.views.explanations.parts import Check, Path, Stage, Use
from fastbp.views.explanations.paths import Paths
from fastbp.views.explanations.symbols import Formula, Kind, Quantity, Symbol, number
from fastbp.views.explanations.trace import Position, Trace
from fastbp.views.explanations.written import factors, line, maps_of
from fastbp.views.gradcheck import CENTRAL_STEP, numerical_gradient

# A formula inside another is cut off where it has more signs.
_LONGEST = 60


class Part(Protocol):
    """An expression as it is seen here: a tensor of the graph, and the expressions that it is made of."""

    tensor: Tensor
    name: str
    grad: float | None
    is_variable: bool
    is_constant: bool

    @property
    def operands(self) -> Sequence[Part]: ...

    @property
    def value(self) -> float: ...


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


class ScalarRun:
    """The graph of one expression, and its runs."""

    def __init__(self, target: Part) -> None:
        self.target = target
        self._by_tensor = _collect(target)
        leaves = [p.tensor for p in self._by_tensor.values() if not p.operands]
        self.graph = Graph(leaves, [target.tensor])
        self.parts = [self._by_tensor[t] for t in self.graph.tensors]
        self.backend = ReferenceBackend(Memory(self.graph, "float64"))

    def forward(self) -> float:
        """Return the value, or raise ValueError that names the operation which has none."""
        result = self._result()
        if not np.isfinite(result):
            self._complain()
        return result

    def _result(self) -> float:
        leaves = [self._by_tensor[t].value for t in self.graph.inputs]
        (result,) = self.backend.forward([np.array([[value]]) for value in leaves], training=True)
        return float(result[0, 0])

    def _complain(self) -> None:
        for tensor, context in self.backend.contexts().items():
            assert context.output is not None
            if not np.isfinite(context.output).all():
                values = ", ".join(number(float(x[0, 0])) for x in context.inputs)
                name = tensor.node.op.name if tensor.node else ""
                raise ValueError(f"{name}({values}) is {number(float(context.output[0, 0]))}; expected operands for "
                                 "which it is a finite number: change the values of the variables")

    def derivatives(self) -> dict[str, float]:
        """Return the derivative by each variable; set ``grad`` of every part."""
        variables = [p for p in self.parts if p.is_variable]
        _distinct("backward", variables)
        self.forward()
        self._backward()
        return {p.name: p.grad or 0.0 for p in variables}

    def _backward(self) -> dict[Tensor, Array]:
        self.backend.backward([np.ones((1, 1))])
        by_name = {n: t for t, n in self.graph.names.items()}
        gradients = {by_name[n]: g for n, g in self.backend.gradients().items()}
        for p in self.parts:
            if not p.is_constant:
                p.grad = float(gradients[p.tensor][0, 0]) if p.tensor in gradients else 0.0
        return gradients

    # ---- the explanation --------------------------------------------------------------------------------------------

    def explain(self, variable: Part, terms: int) -> Explanation:
        """Return the derivative by a variable, or by any part, with its largest paths."""
        if variable.tensor not in self._by_tensor:
            inside = ", ".join(p.name for p in self.parts if p.name and p is not self.target)
            raise ValueError(f"explain: {self.target!r} does not depend on {variable!r}; expected one of {inside}")
        _distinct("explain", [p for p in self.parts if p.name])
        self.forward()
        trace = self._trace(self._backward())
        source, target = (trace.quantity(Position(p.tensor, 0, 0)) for p in (variable, self.target))
        finder = Paths(trace, np.array([0]), {self.target.tensor: np.ones((1, 1))}, maps_of)
        found = (factors(trace, route, [Position(step.tensor, 0, 0) for step in route.steps])
                 for route in finder.largest(variable.tensor, 0, terms))
        paths = tuple(Path(along) for along in found if along)
        gradient = trace.gradient(Position(variable.tensor, 0, 0))
        paths_in_all = finder.count(variable.tensor, 0)
        diagram, _ = build(trace, 0, paths, [])
        reached = Quantity(source.symbol, gradient)
        use = Use(0, 0, "", gradient, paths, paths_in_all, reached, source.symbol, None)
        check = self._check(variable)
        stages = tuple(Stage(str(trace.names.tensor(t, 0)), (line(trace, Position(t, 0, 0)),))
                       for t in self.graph.tensors if t.node is not None)
        return Explanation(target, source, "", gradient, (use,), 1, paths_in_all, 1, stages, check, None, diagram,
                           tuple(kink(check)))

    def _trace(self, gradients: dict[Tensor, Array]) -> Trace:
        values = {t: np.array([[self._by_tensor[t].value]]) for t in self.graph.inputs}
        contexts = self.backend.contexts()
        values |= {t: c.output for t, c in contexts.items() if c.output is not None}
        constants = frozenset(t for t, p in self._by_tensor.items() if p.is_constant)
        return Trace(self.graph, contexts, values, gradients, _Names(self._symbols()), constants)

    def _symbols(self) -> dict[Tensor, Symbol]:
        symbols: dict[Tensor, Symbol] = {}
        taken: set[Symbol] = set()
        for p in self.parts:
            if p.name:
                parsed = Symbol.parse(p.name)
                symbols[p.tensor] = Symbol(p.name) if parsed in taken else parsed  # x1 and x_1
                taken.add(symbols[p.tensor])
        numbers = counter(1)
        for p in self.parts:
            if p.is_constant:
                symbols[p.tensor] = Symbol.number(p.value)
            elif not p.name and p is self.target:
                symbols[p.tensor] = next(s for s in map(Symbol, ("z", "f", "out", "result")) if s not in taken)
            elif not p.name:
                symbols[p.tensor] = next(s for s in (Symbol("u", str(n)) for n in numbers) if s not in taken)
        return symbols

    def _check(self, variable: Part) -> Check:
        """The difference quotient: what lies before the variable is cut off, so any part can be varied."""
        here = self._rerun(variable, variable.value)
        seen = []

        def at(v: Any) -> float:
            seen.append(self._rerun(variable, float(v[0])))
            return seen[-1]

        h = CENTRAL_STEP * max(1.0, abs(variable.value))
        with np.errstate(all="ignore"):
            numerical = float(numerical_gradient(at, [variable.value])[0])
        return Check(numerical, h, len(seen), ((here - seen[1]) / h, (seen[0] - here) / h))

    def _rerun(self, variable: Part, value: float) -> float:
        values = {variable.tensor: np.array([[value]])}
        contexts = self.backend.contexts()
        with np.errstate(all="ignore"):
            for t in self.graph.tensors:
                if t in values:
                    continue
                if t.node is None:
                    values[t] = np.array([[self._by_tensor[t].value]])
                else:
                    values[t] = t.node.op.forward(contexts[t], *(values[s] for s in t.node.inputs))
        return float(values[self.target.tensor][0, 0])

    # ---- the expression as a formula --------------------------------------------------------------------------------

    def equation(self, kind: Kind) -> str:
        """Return the name, if there is one, the formula and the value of the expression."""
        value = number(self._result(), 6, kind)
        name = [Symbol.parse(self.target.name).render(kind)] if self.target.name else []
        return " = ".join([*name, *([self._formula(kind)] if self.target.operands else []), value])

    def _formula(self, kind: Kind) -> str:
        """Write parts without a name into what they are parts of, from the variables up."""
        trace = self._trace({})
        written = {p.tensor: trace.names.tensor(p.tensor, 0).render(kind) for p in self.parts
                   if p.name or not p.operands}
        for p in self.parts:
            if p.operands and (not p.name or p is self.target):
                own = line(trace, Position(p.tensor, 0, 0)).formula
                inside = {letter: Quantity(Symbol(written[part.tensor] if part.name or not part.operands else
                                                  _within(own, letter, written[part.tensor], kind), plain=True), 0.0)
                          for letter, part in zip(own.quantities, p.operands, strict=True)}
                written[p.tensor] = Formula(own.text, own.latex, inside).render(kind)
        return written[self.target.tensor]


def _within(outer: Formula, letter: str, inner: str, kind: Kind) -> str:
    """Return a formula as it stands in another: in brackets unless that has them, cut off where it is long."""
    if len(inner) > _LONGEST:
        return r"\dots" if kind == "latex" else "…"
    template = outer.latex if kind == "latex" else outer.text
    bracketed = re.search(rf"\(@{letter}\)|\{{@{letter}\}}(?!\^)", template)
    is_call = re.fullmatch(r"\\?[^\W\d_]+\([^()]*\)", inner)
    return inner if bracketed or is_call or outer.text in ("@a", "@a + @b") else f"({inner})"


def _distinct(what: str, parts: Iterable[Part]) -> None:
    """Raise ValueError if two parts have one name."""
    parts = list(parts)
    name, times = next(iter(Counter(p.name for p in parts).most_common(1)), ("", 0))
    if times > 1:
        alike = [p for p in parts if p.name == name]
        both = "variables are" if all(p.is_variable for p in alike) else "parts of this expression are"
        raise ValueError(f"{what}: {times} {both} called {name!r}, with the values "
                         f"{', '.join(number(p.value) for p in alike)}; give each a name of its own, such as "
                         f"{name + '2'!r}, or use one {'Var' if alike[0].is_variable else 'part'} in all places")


def _collect(target: Part) -> dict[Tensor, Part]:
    """Return all parts of an expression, by tensor, in the order in which it is written."""
    found: dict[Tensor, Part] = {}
    stack = [target]
    while stack:
        part = stack.pop()
        if part.tensor not in found:
            found[part.tensor] = part
            stack.extend(reversed(part.operands))
    return found
