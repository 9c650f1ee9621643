"""Explanations of networks: one weight, every path from it to the loss, and the numbers on the way.

The network is copied to float64 on the reference backend and run once, forward and backward; everything that is shown
is read off that run. The network itself is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np

from fastbp.core.checks import count
from fastbp.engine.backend import Data
from fastbp.engine.executable import Executable
from fastbp.engine.function_loss import Objective
from fastbp.engine.reference import ReferenceBackend
from fastbp.graph.graph import Tensor
from fastbp.ops.base import Array
from fastbp.ops.sources import ConstantOp, RowsOp, StopGradientOp
from fastbp.views.explanations.diagram import Asked, build
from fastbp.views.explanations.explanation import Explanation
from fastbp.views.explanations.names import Names
from fastbp.views.explanations.op_table import account_of
from fastbp.views.explanations.output_loss import Losses, WholeLoss
from fastbp.views.explanations.parts import Check, Derivation, Diagram, Factor, Note, ParameterUpdate, Path, Stage, Use
from fastbp.views.explanations.paths import Paths, Route
from fastbp.views.explanations.phrases import Language, language
from fastbp.views.explanations.symbols import Quantity, Symbol
from fastbp.views.explanations.trace import Position, Trace, node_of
from fastbp.views.explanations.written import factors, line, maps_of, parameter_factor
from fastbp.views.gradcheck import CENTRAL_STEP, numerical_gradient

# Samples that are looked at one by one where a batch has more.
_SAMPLES = 4


def explain(net: Executable, x: Any, y: Any, loss: Any, *, weight: str, lr: float = 0.1, sample_weight: Any = None,
            terms: int = 8, lang: Language = "en", digits: int = 9) -> Explanation:
    """Explain the gradient of one weight; see :meth:`fastbp.Network.explain`."""
    language(lang)
    terms = count("explain", "terms", terms)
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not isfinite(lr):
        raise ValueError(f"explain: lr is {lr!r}; expected a finite number, such as 0.1")
    name, index = Names(net.graph).find(weight)
    run = _Run(net, x, y, loss, sample_weight)
    asked = _Weight(run, name, index)
    uses = asked.uses(terms)
    diagram, stages = asked.picture(uses)
    value, gradient = asked.quantity.value, asked.gradient
    found = Explanation(
        Quantity(Symbol("E"), run.losses.total), asked.quantity, f"{name}[{', '.join(map(str, index))}]", gradient,
        uses, asked.use_count, asked.path_count(uses), run.given.rows, stages, asked.check(),
        ParameterUpdate(float(lr), value, value - float(lr) * gradient), diagram, (), lang)
    return replace(found, notes=tuple(asked.notes(found))).shown(digits=digits)


class _Run:
    """A copy of a network in float64, and what it computed for one batch."""

    def __init__(self, net: Executable, x: Any, y: Any, loss: Any, sample_weight: Any) -> None:
        copy = net.copy(dtype="float64", compute_dtype="float64", backend="reference")
        self.given = copy._data(x, y, loss, sample_weight)
        self.own, self.net = net._for(self.given.inputs), copy._for(self.given.inputs)
        self.net._check_training(self.given.rows)
        whole = self.net._runner(self.given)
        if isinstance(whole, Objective):
            self.graph, self.data, memory = whole.graph, whole.data(self.given), whole.memory
        else:
            self.graph, self.data, memory = self.net.graph, self.given, self.net.memory
        self.backend = ReferenceBackend(memory)
        total, _ = self.backend.loss_and_grad(self.data)
        self.mixed = any(account_of(n.op).spans(n) for n in self.graph.nodes)
        self.trace = self._trace()
        self.losses = WholeLoss(self.trace, total) if isinstance(whole, Objective) else \
            Losses(self.trace, self.data, total)
        self._finders: dict[int, Paths] = {}

    def _trace(self) -> Trace:
        by_name = {n: t for t, n in self.graph.names.items()}
        values, gradients = ({by_name[n]: a for n, a in arrays.items()}
                             for arrays in (self.backend.values(), self.backend.gradients()))
        letters = self._letters() if self.graph is not self.net.graph else {}
        constants = {t: float(values[t].item()) for t in self.graph.tensors if t.node is not None
                     and isinstance(t.node.op, ConstantOp | RowsOp) and values[t].size == 1}
        rows = self.given.rows
        self.names = Names(self.graph, self.mixed and rows > 1, rows, letters, constants, self.net.graph,
                           frozenset(t for t in self.graph.outputs if letters and t.rows))
        return Trace(self.graph, self.backend.contexts(), values, gradients, self.names, frozenset(constants))

    def _letters(self) -> dict[Tensor, str]:
        """Return what tensors of a graph that ends in its loss are called: o, E, and t, which no gradient goes to."""
        graph, own = self.graph, set(self.net.graph.inputs)
        given = {t: "ρ" if t.name == "sample_weight" else "y" for t in graph.inputs if t not in own}
        fixed = {t: "t" for t in graph.tensors if t.node is not None and isinstance(t.node.op, StopGradientOp)
                 and given.get(t.node.inputs[0]) == "y"}
        return {**dict.fromkeys(self.net.graph.outputs, "o"), **dict.fromkeys(graph.outputs, "E"), **given, **fixed}

    def finder(self, sample: int) -> Paths:
        """Return the search for paths from elements of a sample; of the whole batch where samples mix."""
        key = 0 if self.mixed else sample
        if key not in self._finders:
            self._finders[key] = Paths(self.trace, None if self.mixed else np.array([sample]), self.losses.seeds,
                                       maps_of)
        return self._finders[key]

    def flat(self, at: Position) -> int:
        """Return where an element stands among those that the search for paths counts."""
        return self.trace.flat(at) if self.mixed else at.index

    def place(self, tensor: Tensor, element: int, sample: int) -> Position:
        """Return the element that the search for paths counts so."""
        return self.trace.place(tensor, element) if self.mixed else Position(tensor, sample, element)

    def gradient_of_own(self, name: str, index: tuple[int, ...]) -> tuple[float, str]:
        """Return what the network's own backend and dtype give, and which these are."""
        label = f"{self.own.backend}, {self.own.dtype}"
        if (self.own.backend, self.own.dtype) == ("reference", "float64"):
            return float(self.net.grads[name][index]), label
        own = self.own.copy()
        data = _in_dtype(self.given, own.dtype)
        own._runner(data).loss_and_grad(data)
        return float(own.grads[name][index]), label


@dataclass(frozen=True)
class _Node:
    """One node that the weight acts in: ∂u/∂w (B, G) by its units u, and what each adds to the gradient."""

    tensor: Tensor
    role: str
    slopes: Array
    units: list[int]
    parts: Array


class _Weight:
    """One entry of a parameter, and its part in a run."""

    def __init__(self, run: _Run, name: str, index: tuple[int, ...]) -> None:
        self.run, self.name, self.index = run, name, index
        self.parameter = run.net.graph.parameters[name]
        self.quantity = Quantity(run.names.parameter(name, index), float(run.net.params[name][index]))
        self.nodes = [self._node(tensor, role) for tensor in run.graph.tensors if tensor.node is not None
                      for role, p in tensor.node.params.items() if p is self.parameter]
        if not self.nodes:
            raise ValueError(f"explain: the loss does not depend on {name!r}; its gradient is 0")
        self.gradient = float(sum(n.parts.sum() for n in self.nodes))
        self.use_count = sum(n.parts.size for n in self.nodes)
        self._own = run.gradient_of_own(name, index)

    def _node(self, tensor: Tensor, role: str) -> _Node:
        trace = self.run.trace
        slopes, units = account_of(node_of(tensor).op).parameter_slopes(trace, tensor, role, self.index)
        rows = len(trace.values[tensor])
        arrived = trace.gradients.get(tensor, np.zeros_like(trace.values[tensor]))
        gradients = arrived.reshape(rows, -1)[:, units]
        with np.errstate(all="ignore"):
            return _Node(tensor, role, slopes, units, slopes * gradients)

    # ---- the sum over uses and paths --------------------------------------------------------------------------------

    def uses(self, terms: int) -> tuple[Use, ...]:
        """Return the largest uses, with their largest paths."""
        flat = np.concatenate([n.parts.ravel() for n in self.nodes])
        size = np.where(np.isnan(flat), np.inf, np.abs(flat))
        shown = np.argsort(-size, kind="stable")[:min(_SAMPLES, terms)]
        shown = shown[size[shown] > 0] if size[shown[0]] > 0 else shown
        each = max(1, terms // len(shown))
        if self.run.mixed:      # the picture has room for one sample
            node, sample, _ = self._part(int(shown[0]))
            self.run.trace.shown = sample if node.tensor.rows else 0
        return tuple(self._use(int(i), each) for i in shown)

    def _part(self, flat: int) -> tuple[_Node, int, int]:
        """Return the node, sample and position of one use of all."""
        for node in self.nodes:
            if flat < node.parts.size:
                return node, *divmod(flat, len(node.units))
            flat -= node.parts.size
        raise AssertionError("there are no more uses")

    def _use(self, flat: int, limit: int) -> Use:
        node, sample, position = self._part(flat)
        run = self.run
        unit = Position(node.tensor, sample, node.units[position])
        local = parameter_factor(run.trace, unit, node.role, self.index, self.quantity,
                                 float(node.slopes[sample, position]))
        finder, element = run.finder(sample), run.flat(unit)
        paths = tuple(self._path(route, sample, local) for route in finder.largest(node.tensor, element, limit))
        symbol = run.trace.quantity(unit).symbol
        return Use(sample + 1 if run.given.rows > 1 and node.tensor.rows else 0,
                   position + 1 if len(node.units) > 1 else 0,
                   str(self.nodes.index(node) + 1) if len(self.nodes) > 1 else "", float(node.parts[sample, position]),
                   paths, finder.count(node.tensor, element), Quantity(symbol, run.trace.gradient(unit)), symbol, local)

    def _path(self, route: Route, sample: int, local: Factor) -> Path:
        places = [self.run.place(step.tensor, step.element, sample) for step in route.steps]
        return Path((*self.run.losses.factors(places[-1]), *factors(self.run.trace, route, places), local))

    def path_count(self, uses: tuple[Use, ...]) -> int:
        """Return how many paths there are: as many in each sample, unless they mix."""
        run, total = self.run, 0
        for node in self.nodes:
            rows = len(node.parts)
            samples = range(rows) if run.mixed else [max(uses[0].sample - 1, 0)]
            found = sum(run.finder(s).count(node.tensor, run.flat(Position(node.tensor, s, u)))
                        for s in samples for u in node.units)
            total += found if run.mixed else found * rows
        return total

    # ---- the rest of the explanation --------------------------------------------------------------------------------

    def check(self) -> Check:
        """Return the numerical gradient, which moves the weight of the copy a little and back."""
        run = self.run
        weight, before, loss = run.net.params[self.name], self.quantity.value, run.losses.total
        seen: list[float] = []

        def loss_at(w: Any) -> float:
            weight[self.index] = w[0]
            seen.append(run.backend.loss(run.data, True))
            return seen[-1]

        h = CENTRAL_STEP * max(1.0, abs(before))
        memory = run.net.memory
        with np.errstate(all="ignore"), memory.held(memory.draws):
            numerical = float(numerical_gradient(loss_at, [before])[0])
        weight[self.index] = before
        above, below = seen
        return Check(numerical, h, len(seen), ((loss - below) / h, (above - loss) / h), *self._own)

    def picture(self, uses: tuple[Use, ...]) -> tuple[Diagram, tuple[Stage, ...]]:
        """Return the diagram of the first use's sample, and the forward pass of the units that it shows."""
        sample = max(uses[0].sample - 1, 0)
        here = uses if self.run.mixed else [u for u in uses if u.sample == uses[0].sample]
        local = here[0].local
        assert local is not None
        diagram, elements = build(self.run.trace, sample, [p for u in here for p in u.paths],
                                  self.run.losses.boxes(sample),
                                  Asked(local.box, self.quantity, self.gradient, local.source_box))
        return diagram, self._stages(sample, elements)

    def _stages(self, sample: int, elements: dict[Tensor, list[int]]) -> tuple[Stage, ...]:
        stages, trace = [], self.run.trace
        for tensor in self.run.graph.tensors:
            if tensor.node is not None and tensor not in trace.constants:
                at = sample if tensor.rows else 0
                lines = tuple(line(trace, Position(tensor, at, i)) for i in elements.get(tensor, []))
                label = f"{self.run.graph.names[tensor]}: {tensor.node.op.formula()}"
                stages.append(Stage(label, lines, trace.size(tensor) - len(lines)))
        lines = self.run.losses.lines(sample)
        return (*stages, Stage("loss", lines)) if lines else tuple(stages)

    def notes(self, found: Derivation) -> list[Note]:
        """Return what a reader should know beside the numbers."""
        notes = self.run.losses.notes()
        for node in self.run.graph.nodes:
            notes += [Note(key) for key in account_of(node.op).notes]
        if self.run.names.samples and Note("mixed") not in notes:
            notes.append(Note("marked"))
        if len(self.nodes) > 1:
            notes.append(Note("shared", {"count": len(self.nodes)}))
        if self.name in self.run.net.memory.frozen:
            notes.append(Note("frozen"))
        if any("Σ" in (q.symbol.letter for q in line.formula.quantities.values())
               for stage in found.forward for line in stage.lines):
            notes.append(Note("sigma"))
        notes += kink(found.check)
        return [note for i, note in enumerate(notes) if note not in notes[:i]] + _suspicious(found)


def _in_dtype(data: Data, dtype: str) -> Data:
    """Return checked data in another dtype; labels stay what they are."""
    def cast(array: Array) -> Array:
        return np.ascontiguousarray(array, dtype) if array.dtype.kind == "f" else array

    weight = None if data.sample_weight is None else cast(data.sample_weight)
    return Data([cast(x) for x in data.inputs], data.losses, [cast(t) for t in data.targets], weight)


def kink(check: Check) -> list[Note]:
    """Return a remark where the slopes to the left and to the right are not the same."""
    left, right = check.one_sided
    return [Note("kink", {"left": left, "right": right})] if check.kink else []


def _suspicious(found: Derivation) -> list[Note]:
    """Say which factor makes a gradient vanish or overflow."""
    factors = [f for p in found.paths for f in p.factors]
    bad = [f for f in factors if not isfinite(f.value)]
    if bad:
        return [Note("not_finite", {"of": bad[0].of, "by": bad[0].by})]
    zeros = [f for f in factors if f.value == 0]
    if found.gradient == 0 and zeros:
        return [Note("zero", {"of": zeros[0].of, "by": zeros[0].by})]
    return []
