"""Explanations of networks: one weight, every path from it to the loss, and the numbers on the way.

The network is copied to float64 on the reference backend and run once, forward and backward; everything that is shown
is read off that run. The network itself is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fastbp.chainrule.diagram import Box, Diagram, build
from fastbp.chainrule.explanation import (
    Check,
    Explanation,
    Factor,
    Language,
    Line,
    Note,
    Path,
    Stage,
    Update,
    Use,
    _language,
)
from fastbp.chainrule.formulas import ONE, Rule, expanded_loss, gaussian_rule, loss_formula, loss_rule
from fastbp.chainrule.names import Names
from fastbp.chainrule.paths import Paths, Route, mixes_rows
from fastbp.chainrule.symbols import Formula, Quantity, Symbol
from fastbp.chainrule.trace import Place, Trace
from fastbp.core.checks import count
from fastbp.engine.backend import Data
from fastbp.graph.graph import Tensor
from fastbp.objectives import losses
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array
from fastbp.views.gradcheck import CENTRAL_STEP, numerical_gradient

# Samples that are looked at one by one where a batch has more.
_SAMPLES = 4


def explain(net: Any, x: Any, y: Any, loss: Any, *, weight: str, lr: float = 0.1, sample_weight: Any = None,
            terms: int = 8, lang: Language = "en", digits: int = 9) -> Explanation:
    """Explain the gradient of one weight; see :meth:`fastbp.Network.explain`."""
    _language(lang)
    terms = count("explain", "terms", terms)
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not np.isfinite(lr):
        raise ValueError(f"explain: lr is {lr!r}; expected a finite number, such as 0.1")
    name, index = Names(net.graph).find(weight)
    run = _Run(net, x, y, loss, sample_weight, name, index)
    uses, use_count = run.uses(terms)
    gradient = run.gradient
    check = run.check()
    update = Update(float(lr), run.source.value, run.source.value - float(lr) * gradient)
    diagram, stages = run.picture(uses[0].sample - 1 if uses and uses[0].sample else 0, uses)
    found = Explanation(
        Quantity(Symbol("E"), run.loss), run.source, f"{name}[{', '.join(map(str, index))}]", gradient, tuple(uses),
        use_count, run.path_count(use_count, uses), run.batch.rows, stages, check, update, diagram, (), lang)
    return found.shown(digits=digits)._with_notes(run.notes(found))


@dataclass(frozen=True)
class _OutputLoss:
    """The loss on one output, row by row: (B, rows of a sample)."""

    loss: Loss
    tensor: Tensor
    target: Array
    values: Array
    slopes: Array
    shares: Array

    @classmethod
    def of(cls, loss: Loss, tensor: Tensor, y_pred: Array, target: Array, sample_weight: Array | None) -> _OutputLoss:
        shares = loss.row_weights(target, sample_weight)
        values, slopes = loss.rows(y_pred.reshape(len(shares), -1), target)
        batch = len(y_pred)
        return cls(loss, tensor, target, values.reshape(batch, -1), slopes.reshape(y_pred.shape),
                   shares.reshape(batch, -1))

    @property
    def width(self) -> int:
        """Outputs of one row."""
        return prod(self.tensor.shape) // int(self.shares.shape[1])

    def seed(self) -> Array:
        """∂E/∂o."""
        per_row = self.slopes.reshape(*self.shares.shape, -1) * self.shares[..., None]
        return np.asarray(per_row.reshape(self.slopes.shape))

    def target_of(self, sample: int, index: int) -> float:
        """Return t for one output: for labels one or zero, smoothed."""
        target = self.target[sample]
        if not isinstance(self.loss, losses.CrossEntropy):
            flat = np.ravel(target)
            return float(flat[index % flat.size])
        if self.target.dtype.kind == "i":
            row, c = divmod(index, self.width)
            one = float(np.ravel(target)[row] == c)
        else:
            one = float(np.ravel(target)[index])
        smoothing = self.loss.label_smoothing
        return (1 - smoothing) * one + smoothing / self.width


class _Run:
    """One run of a copy of the network, and all that is asked of it."""

    def __init__(self, net: Any, x: Any, y: Any, loss: Any, sample_weight: Any, name: str,
                 index: tuple[int, ...]) -> None:
        self.net = net.copy(dtype="float64", compute_dtype="float64", backend="reference")
        self.name, self.index, self.parameter = name, index, net.graph.parameters[name]
        self.batch: Data = self.net._data(x, y, loss, sample_weight)
        self.loss: float = self.net.loss_and_grad(x, y, loss, sample_weight)
        self.graph = self.net.graph
        backend = self.net._backend
        by_name = {n: t for t, n in self.graph.names.items()}
        values, gradients = ({by_name[n]: a for n, a in arrays.items()}
                             for arrays in (backend.values(), backend.gradients()))
        self.mixed = any(mixes_rows(n) for n in self.graph.nodes)
        self.names = Names(self.graph, samples=self.mixed)
        self.trace = Trace(self.graph, backend.contexts(), values, gradients, self.names)
        self.source = Quantity(self.names.parameter(name, index), float(self.net.params[name][index]))
        self.outputs = [_OutputLoss.of(one, t, values[t], target, self.batch.sample_weight) for one, t, target in
                        zip(self.batch.losses, self.graph.outputs, self.batch.targets, strict=True)]
        shares = self.outputs[0].shares
        self.simple = bool(len(self.outputs) == shares.size == 1 and shares.flat[0] == 1)
        self.own = self._own_backward(net, x, y, loss, sample_weight)
        self._finders: dict[int, Paths] = {}
        self._contributions()

    def _own_backward(self, net: Any, x: Any, y: Any, loss: Any, sample_weight: Any) -> tuple[float, str]:
        label = f"{net.backend}, {net.dtype}"
        if (net.backend, net.dtype) == ("reference", "float64"):
            return float(self.net.grads[self.name][self.index]), label
        own = net.copy()
        own.loss_and_grad(x, y, loss, sample_weight)
        return float(own.grads[self.name][self.index]), label

    # ---- the sum over uses and paths --------------------------------------------------------------------------------

    def _contributions(self) -> None:
        """Collect what each use of the weight adds: in each node that has it, each sample, each position."""
        self.nodes: list[tuple[Tensor, str, Array, list[int]]] = []
        self.parts: list[Array] = []
        for tensor in self.graph.tensors:
            roles = [r for r, p in (tensor.node.params if tensor.node else {}).items() if p is self.parameter]
            for role in roles:
                slopes, units = self.trace.parameter_slopes(tensor, role, self.index)
                gradients = self.trace.gradients[tensor].reshape(self.batch.rows, -1)[:, units]
                self.nodes.append((tensor, role, slopes, units))
                with np.errstate(all="ignore"):
                    self.parts.append(slopes * gradients)
        self.gradient = float(sum(p.sum() for p in self.parts))

    def uses(self, terms: int) -> tuple[list[Use], int]:
        """Return the largest uses, with their largest paths, and how many uses there are."""
        flat = np.concatenate([p.ravel() for p in self.parts])
        size = np.where(np.isnan(flat), np.inf, np.abs(flat))
        shown = np.argsort(-size, kind="stable")[:min(_SAMPLES, terms)]
        shown = shown[size[shown] > 0] if size[shown[0]] > 0 else shown
        each = max(1, terms // len(shown))
        return [self._use(int(i), each) for i in shown], len(flat)

    def _use(self, flat: int, limit: int) -> Use:
        k = 0
        while flat >= self.parts[k].size:
            flat -= self.parts[k].size
            k += 1
        tensor, role, slopes, units = self.nodes[k]
        sample, position = divmod(flat, len(units))
        unit = Place(tensor, sample, units[position])
        local = self.trace.parameter_factor(unit, role, self.index, self.source.symbol, float(slopes[sample, position]))
        finder = self._finder(sample)
        element = self._flat(unit)
        paths = tuple(self._path(route, sample, local) for route in finder.largest(tensor, element, limit))
        symbol = self.trace.quantity(unit).symbol
        return Use(sample + 1 if self.batch.rows > 1 else 0, position + 1 if len(units) > 1 else 0,
                   str(k + 1) if len(self.nodes) > 1 else "", float(self.parts[k][sample, position]), paths,
                   finder.count(tensor, element), Quantity(symbol, self.trace.gradient(unit)), symbol, local)

    def _finder(self, sample: int) -> Paths:
        key = 0 if self.mixed else sample
        if key not in self._finders:
            rows = np.arange(self.batch.rows) if self.mixed else np.array([sample])
            seeds = {o.tensor: o.seed() for o in self.outputs}
            self._finders[key] = Paths(self.graph, self.trace.contexts, rows, seeds)
        return self._finders[key]

    def _flat(self, at: Place) -> int:
        return at.index + (at.sample * int(np.prod(at.tensor.shape)) if self.mixed else 0)

    def path_count(self, use_count: int, uses: list[Use]) -> int:
        """Return how many paths there are: as many in each sample."""
        total = 0
        for tensor, _, _, units in self.nodes:
            finder = self._finder(uses[0].sample - 1 if uses[0].sample else 0)
            per_sample = sum(finder.count(tensor, self._flat(Place(tensor, 0, u))) for u in units)
            total += per_sample * self.batch.rows
        return total

    # ---- factors of the loss ----------------------------------------------------------------------------------------

    def _path(self, route: Route, sample: int, local: Factor) -> Path:
        places = [self._place(step.tensor, step.element, sample) for step in route.steps]
        factors = [local]
        for k in range(len(places) - 1):
            step = route.steps[k]
            factors.append(self.trace.factor(places[k + 1], places[k], step.operand, step.derivative))
        return Path((*self._loss_factors(places[-1]), *reversed(factors)))

    def _place(self, tensor: Tensor, element: int, sample: int) -> Place:
        size = int(np.prod(tensor.shape))
        return Place(tensor, element // size if self.mixed else sample, element % size)

    def _loss_factors(self, at: Place) -> list[Factor]:
        k = self.graph.outputs.index(at.tensor)
        output = self.outputs[k]
        row = at.index // output.width
        share = float(output.shares[at.sample, row])
        symbol = self._loss_symbol(k, at.sample, row)
        slope = self._slope(output, at, symbol, k)
        if self.simple:
            return [slope]
        rows = output.shares.size
        rule, quantities = ONE, dict[str, Quantity]()
        if share != 1 and np.allclose(output.shares, 1 / rows, rtol=1e-12):
            rule = Rule(f"(1/{rows})", rf"\tfrac{{1}}{{{rows}}}")
        elif share != 1:
            rule, quantities = Rule("@r", "@r"), {"r": Quantity(Symbol("ρ", symbol.index, symbol.layer), share)}
        formula = rule.formula(quantities)
        return [Factor(Symbol("E"), symbol, share, formula, formula, "total", f"loss{k}"), slope]

    def _loss_symbol(self, k: int, sample: int, row: int) -> Symbol:
        if self.simple:
            return Symbol("E")
        output = self.outputs[k]
        places = [str(sample + 1)] * (self.batch.rows > 1) + [str(row + 1)] * (output.shares.shape[1] > 1)
        return Symbol("E", ",".join(places), str(k + 1) if len(self.outputs) > 1 else "")

    def _slope(self, output: _OutputLoss, at: Place, symbol: Symbol, k: int) -> Factor:
        value = float(output.slopes[at.sample].flat[at.index])
        o = self.trace.quantity(at)
        if isinstance(output.loss, losses.GaussianNLL):
            rule, quantities = self._gaussian(output, at)
        else:
            t = self._target(output, at)
            rule = loss_rule(output.loss, output.width, t.value, o.value)
            quantities = {"o": o, "t": t, **self._extra(output, at, value, t)}
        return Factor(symbol, o.symbol, value, rule.formula(quantities), rule.spelled_out(quantities), f"loss{k}",
                      self.trace.box(at))

    def _target(self, output: _OutputLoss, at: Place) -> Quantity:
        return Quantity(self.names.alike(at.tensor, "t", at.index, at.sample), output.target_of(at.sample, at.index))

    def _extra(self, output: _OutputLoss, at: Place, slope: float, t: Quantity) -> dict[str, Quantity]:
        """Return @p, the probability, and @c, the loss's own constant."""
        loss: Any = output.loss
        if isinstance(loss, losses.CrossEntropy):
            row = np.asarray(self.trace.values[at.tensor][at.sample], float).reshape(-1, output.width)[
                at.index // output.width]
            powers = np.exp(row - row.max())
            p = float(powers[at.index % output.width] / powers.sum())
            return {"p": Quantity(self.names.alike(at.tensor, "p", at.index, at.sample), p)}
        constants = getattr(loss, "quantiles", None) or getattr(loss, "pos_weight", None) or 1.0
        values = np.atleast_1d(constants)
        letter = "q" if isinstance(loss, losses.Quantile) else "c"
        index = str(at.index % len(values) + 1) if len(values) > 1 else ""
        return {"c": Quantity(Symbol(letter, index), float(values[at.index % len(values)]))}

    def _gaussian(self, output: _OutputLoss, at: Place) -> tuple[Rule, dict[str, Quantity]]:
        half = output.width // 2
        mean, scale = (Place(at.tensor, at.sample, at.index % half + shift) for shift in (0, half))
        quantities = {"m": self.trace.quantity(mean), "s": self.trace.quantity(scale), "t": self._target(output, mean)}
        return gaussian_rule(half, at.index < half), quantities

    # ---- the rest of the explanation --------------------------------------------------------------------------------

    def check(self) -> Check:
        """Return the numerical gradient, which moves the weight of the copy a little and back."""
        weight, before = self.net.params[self.name], self.source.value
        seen: list[float] = []

        def loss_at(w: Any) -> float:
            weight[self.index] = w[0]
            seen.append(self.net._backend.loss(self.batch, True))
            return seen[-1]

        h = CENTRAL_STEP * max(1.0, abs(before))
        with np.errstate(all="ignore"):
            numerical = float(numerical_gradient(loss_at, [before])[0])
        weight[self.index] = before
        above, below = seen
        return Check(numerical, h, len(seen), ((self.loss - below) / h, (above - self.loss) / h), *self.own)

    def picture(self, sample: int, uses: list[Use]) -> tuple[Diagram, tuple[Stage, ...]]:
        """Return the diagram, and the forward pass of the units that it shows."""
        here = [u for u in uses if u.sample in (0, sample + 1)]
        ends: list[list[tuple[Box, list[str]]]] = [[]]
        paths = [p for u in here for p in u.paths]
        last = [Box("total", Symbol("E"), self.loss, 1.0, "loss", True)]
        for k, output in enumerate(self.outputs):
            value = float(output.values[sample] @ (output.shares[sample] / (output.shares[sample].sum() or 1)))
            share = float(output.shares[sample].sum())
            box = Box(f"loss{k}", self._loss_symbol(k, sample, 0), value, share, "loss", True)
            ends[0].append((box, []))
        if not self.simple:
            ends.append([(last[0], [box.id for box, _ in ends[0]])])
        local = here[0].local
        assert local is not None
        asked = (local.box, self.source, self.gradient, local.source_box)
        diagram, elements = build(self.trace, sample, paths, ends, asked,
                                  {f"loss{k}": o.tensor for k, o in enumerate(self.outputs)})
        return diagram, self._stages(sample, elements)

    def _stages(self, sample: int, elements: dict[Tensor, list[int]]) -> tuple[Stage, ...]:
        stages = []
        for tensor in self.graph.tensors:
            if tensor.node is not None:
                lines = tuple(self.trace.line(Place(tensor, sample, i)) for i in elements[tensor])
                label = f"{self.graph.names[tensor]}: {tensor.node.op.formula()}"
                stages.append(Stage(label, lines, int(np.prod(tensor.shape)) - len(lines)))
        lines = tuple(self._loss_line(k, sample) for k in range(len(self.outputs)))
        if not self.simple:
            lines += (Line(Quantity(Symbol("E"), self.loss), self._mean_formula(), "total"),)
        return (*stages, Stage("loss", lines))

    def _loss_line(self, k: int, sample: int) -> Line:
        output = self.outputs[k]
        value = float(output.values[sample].mean())
        rule = expanded_loss(output.loss, output.width)
        quantities: dict[str, Quantity] = {}
        if rule is None:
            rule = Rule(*loss_formula(output.loss, output.width))
        else:
            for i in range(output.width):
                at = Place(output.tensor, sample, i)
                quantities |= {f"o{i}": self.trace.quantity(at), f"t{i}": self._target(output, at)}
        return Line(Quantity(self._loss_symbol(k, sample, 0), value), rule.formula(quantities), f"loss{k}")

    def _mean_formula(self) -> Formula:
        rows = self.outputs[0].shares.size
        if len(self.outputs) > 1:
            return Formula("Σ (ρ · E)", r"\textstyle\sum \rho \, E")
        if np.allclose(self.outputs[0].shares, 1 / rows, rtol=1e-12):
            return Formula(f"(1/{rows}) · Σₛ Eₛ", rf"\tfrac{{1}}{{{rows}}} \textstyle\sum_s E_s")
        return Formula("Σₛ ρₛ · Eₛ", r"\textstyle\sum_s \rho_s E_s")

    def notes(self, found: Explanation) -> list[Note]:
        """Return what a reader should know beside the numbers."""
        notes = []
        if self.batch.rows > 1:
            weighted = not self.simple and not np.allclose(self.outputs[0].shares, 1 / self.outputs[0].shares.size)
            notes.append(Note("weighted" if weighted else "mean", {"rows": self.outputs[0].shares.size}))
        if any(isinstance(o.loss, losses.CrossEntropy) for o in self.outputs):
            notes.append(Note("softmax"))
        if self.mixed:
            notes.append(Note("mixed"))
        if len(self.nodes) > 1:
            notes.append(Note("shared", {"count": len(self.nodes)}))
        if any(n.op.name == "dropout" for n in self.graph.nodes):
            notes.append(Note("dropout"))
        if not self.parameter.trainable:
            notes.append(Note("frozen"))
        if any("Σ" in (q.symbol.letter for q in line.formula.quantities.values())
               for stage in found.forward for line in stage.lines):
            notes.append(Note("sigma"))
        if found.check.kink:
            left, right = found.check.one_sided
            notes.append(Note("kink", {"left": left, "right": right}))
        return notes + _suspicious(found)


def _suspicious(found: Explanation) -> list[Note]:
    """Say which factor makes a gradient vanish or overflow."""
    factors = [f for p in found.paths for f in p.factors]
    bad = [f for f in factors if not np.isfinite(f.value)]
    if bad:
        return [Note("not_finite", {"of": bad[0].of, "by": bad[0].by})]
    zeros = list(dict.fromkeys((f.of, f.by) for p in found.paths for f in p.factors if f.value == 0))
    if found.gradient == 0 and zeros:
        return [Note("zero", {"of": zeros[0][0], "by": zeros[0][1]})]
    return []
