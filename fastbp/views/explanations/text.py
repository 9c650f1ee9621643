"""Explanations as plain text, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastbp.views import markup
from fastbp.views.explanations.parts import Derivation, Factor, Note, Path, Use, product
from fastbp.views.explanations.phrases import say
from fastbp.views.explanations.symbols import Formula, Kind, derivative, factor_number, number, whole

# A chain that is no longer stays on one line.
WIDTH = 100
# Local derivatives that are listed one by one.
LISTED = 12


@dataclass(frozen=True)
class Writer:
    """Writes the parts of one explanation in one form."""

    e: Derivation
    kind: Kind

    @property
    def dot(self) -> str:
        """The sign between factors."""
        return r" \cdot " if self.kind == "latex" else " · "

    def say(self, key: str, **values: object) -> str:
        """Return a phrase in the explanation's language."""
        return say(key, self.e.lang, **values)

    def number(self, value: float) -> str:
        """Return a number with the explanation's digits."""
        return number(value, self.e.digits, self.kind)

    def title_key(self) -> str:
        """Return which phrase is the title: for a variable, a weight or a bias."""
        if not self.e.name:
            return "title_scalar"
        return "title_bias" if self.e.source.symbol.letter == "b" else "title"

    def wanted(self) -> str:
        """Return ∂E/∂w."""
        return derivative(self.e.target.symbol, self.e.source.symbol, self.kind)

    def small(self, value: float) -> str:
        """Return a number of which only the size matters."""
        return number(value, 2, self.kind)

    def name(self) -> str:
        """Return the full name of the weight."""
        forms = {"html": markup.html, "markdown": markup.markdown}
        layer, bracket, index = self.e.name.rpartition("[")
        return forms.get(self.kind, markup.printable)(layer) + bracket + index

    def derivatives(self, path: Path) -> str:
        """Return the product as derivatives."""
        return self._joined(path, [derivative(f.of, f.by, self.kind) for f in path.factors])

    def formulas(self, path: Path) -> str:
        """Return the product as formulas."""
        return self._joined(path, [f.formula.render(self.kind) for f in path.factors])

    def numbers(self, path: Path) -> str:
        """Return the product as numbers; those in the middle of a long one are multiplied."""
        middle = factor_number(product(f.value for f in path.factors[path.middle]), self.e.digits, self.kind)
        return self._joined(path, [factor_number(f.value, self.e.digits, self.kind, i == 0)
                                   for i, f in enumerate(path.factors)], middle)

    def _joined(self, path: Path, factors: list[str], middle: str = "") -> str:
        if path.middle.start < path.middle.stop:
            factors[path.middle] = [middle or {"latex": r"\cdots"}.get(self.kind, "⋯")]
        return self.dot.join(factors)

    def product(self, path: Path) -> list[str]:
        """Return the product as derivatives, formulas, numbers, and its value, without steps that tell nothing new."""
        steps = [self.derivatives(path), self.formulas(path)]
        if sum(f.value != 1 for f in path.factors) > 1:
            steps.append(self.numbers(path))
        steps.append(self.number(path.value))
        return _unrepeated(steps)

    def only_path(self) -> list[str]:
        """Return the derivative that is wanted, and the product that it is: of a gradient with one path."""
        return _unrepeated([self.wanted(), *self.product(self.e.paths[0])])

    def factor(self, factor: Factor) -> list[str]:
        """Return one factor as derivative, formula, formula with numbers, value."""
        return [derivative(factor.of, factor.by, self.kind),
                *self.evaluated(factor.spelled_out, factor.value)]

    def evaluated(self, formula: Formula, value: float) -> list[str]:
        """Return a formula, the same with numbers, and what it comes to; repetitions left out."""
        if not formula.has_symbols:
            words = [formula.render(self.kind)] if formula.text.strip("()−0123456789./½") else []
            return [*words, self.number(value)]
        return _unrepeated([formula.render(self.kind), formula.numbers(self.e.digits, self.kind), self.number(value)])

    def summands(self) -> str:
        """Return the paths' values as a sum, with the rest."""
        values = [p.value for p in self.e.paths]
        if self.e.hidden_paths:
            values.append(self.e.rest)
        return " + ".join(factor_number(v, self.e.digits, self.kind, i == 0) for i, v in enumerate(values))

    def count(self, paths: int) -> str:
        """Return how many paths, in words."""
        return self.say("one_path") if paths == 1 else self.say("paths", count=whole(paths))

    def rest(self, count: int) -> str:
        """Return how many paths are folded, in words."""
        return self.say("rest_one") if count == 1 else self.say("rest", count=whole(count))

    def sum_title(self) -> str:
        """Return what kind of a sum the gradient is."""
        if self.e.sample_count > 1:
            return self.say("sum_of_samples", samples=whole(self.e.sample_count), count=whole(self.e.path_count))
        return self.say("sum_of_paths", count=whole(self.e.path_count))

    def use_title(self, use: Use) -> str:
        """Return which sample, position and use of the layer a summand belongs to."""
        parts = [self.say(key, k=k) for key, k in
                 (("sample", use.sample), ("position", use.position), ("use", use.layer)) if k]
        return ", ".join(parts)

    def one_pass(self, use: Use) -> list[str]:
        """Return ∂E/∂w = ∂E/∂u · ∂u/∂w, in derivatives and numbers."""
        assert use.local is not None
        reached = derivative(self.e.target.symbol, use.unit, self.kind)
        local = derivative(use.unit, self.e.source.symbol, self.kind)
        second = factor_number(use.local.value, self.e.digits, self.kind)
        numbers = self.number(use.reached.value) + self.dot + second
        return [self.wanted(), f"{reached}{self.dot}{local}", numbers, self.number(use.value)]

    def update(self) -> list[str]:
        """Return the update rule, with numbers, and its result."""
        u = self.e.update
        assert u is not None
        w, eta = self.e.source.symbol.render(self.kind), {"latex": r"\eta"}.get(self.kind, "η")
        numbers = (f"{self.number(u.before)} − {factor_number(u.lr, self.e.digits, self.kind)}{self.dot}"
                   f"{factor_number(self.e.gradient, self.e.digits, self.kind)}")
        if self.kind == "latex":
            numbers = numbers.replace("−", "-")
        minus = "-" if self.kind == "latex" else "−"
        return [w, f"{w} {minus} {eta}{self.dot}{self.wanted()}", numbers, self.number(u.after)]

    def note(self, note: Note) -> str:
        """Return a remark."""
        values = {k: self.small(v) if isinstance(v, float) else v for k, v in note.values.items()}
        if "of" in note.values:
            values["derivative"] = derivative(note.values["of"], note.values["by"], self.kind)
        return self.say(note.key, **values)

    def notes(self) -> list[str]:
        """Return all remarks, with those on how things are written."""
        long = any(p.middle.start < p.middle.stop for p in self.e.paths)
        return [self.note(n) for n in (*self.e.notes, *[Note("long")] * long)]

    def local_derivatives(self) -> tuple[list[list[str]], str]:
        """Return the equations of the first summand's factors, each once: of another sample they have other numbers.

        Of many there are the first ones, and in words how many more there are.
        """
        found = list(dict.fromkeys(tuple(self.factor(f)) for p in self.e.uses[0].paths for f in p.factors))
        more = len(found) - LISTED
        return [list(steps) for steps in found[:LISTED]], f"⋮ {self.say('more_units', count=more)}" * (more > 0)

    def factors_title(self) -> str:
        """Return the heading for them."""
        which = self.use_title(self.e.uses[0])
        return self.say("factors") + (f" ({which})" if which else "")

    def checks(self) -> list[tuple[str, str]]:
        """Return what the gradient is compared with, in words and numbers."""
        check = self.e.check
        how = self.say("numerical_how", h=self.small(check.h), evaluations=check.evaluations)
        rows = [(self.say("by_chain"), self.number(self.e.gradient))]
        if check.backward is not None:
            rows.append((self.say("by_backward", backend=check.backend), self.number(check.backward)))
        rows += [(f"{self.say('numerical')} ({how})", self.number(check.numerical)),
                 (self.say("difference"), self.small(check.difference(self.e.gradient))),
                 (self.say("relative"), self.small(check.relative(self.e.gradient)))]
        return rows


def chain(e: Derivation) -> str:
    """Return the chain of each path that is shown, one a line, and the sum."""
    w = Writer(e, "text")
    if e.path_count == 1 and len(e.paths) == 1:
        return " = ".join(w.only_path())
    lines = [" = ".join(w.product(p)) for p in e.paths]
    if e.hidden_paths:
        lines.append(f"{w.rest(e.hidden_paths)} = {w.number(e.rest)}")
    return "\n".join([*lines, f"{w.wanted()} = {w.summands()} = {w.number(e.gradient)}"])


def headline(e: Derivation) -> str:
    """Return the result and its check on one line, in English."""
    w = Writer(e, "text")
    paths = "1 path" if e.path_count == 1 else f"{whole(e.path_count)} paths"
    return (f"{type(e).__name__}({w.wanted()} = {w.number(e.gradient)}, {paths}, numerical gradient "
            f"{w.number(e.numerical)}, relative difference {w.small(e.relative_difference)})")


def plain_text(e: Derivation) -> str:
    """Return the whole explanation as text."""
    w = Writer(e, "text")
    parts = [[_title(w)]]
    if not e.name:
        parts.append([" = ".join([str(line.quantity.symbol), *w.evaluated(line.formula, line.quantity.value)])
                      for stage in e.forward for line in stage.lines])
    parts += list(_sum_text(w))
    if e.name:
        equations, more = w.local_derivatives()
        parts.append([w.factors_title() + ":", *_aligned(equations), *([f"  {more}"] if more else [])])
        if e.path_count > e.use_count and e.uses[0].local is not None and e.use_count == 1:
            parts.append([w.say("one_pass"), "  " + " = ".join(w.one_pass(e.uses[0]))])
    parts.append([w.say("check") + ":", *_columns(w.checks())])
    if e.update is not None:
        target, *steps = w.update()
        parts.append([w.say("descent", lr=w.number(e.update.lr)) + ":", f"  {target} ← " + " = ".join(steps)])
    notes = w.notes()
    if notes:
        parts.append(["· " + note for note in notes])
    return "\n\n".join("\n".join(lines) for lines in parts)


def _title(w: Writer) -> str:
    e = w.e
    source = f"{e.source.symbol.render(w.kind)} = {w.number(e.source.value)}"
    target = e.target.symbol.render(w.kind)
    if not e.name:
        return w.say(w.title_key(), target=target, source=source)
    return w.say(w.title_key(), target=f"{target} = {w.number(e.target.value)}", source=f"{source} ({w.name()})")


def _sum_text(w: Writer) -> Iterable[list[str]]:
    e = w.e
    if e.path_count == 1 and e.paths:
        yield _broken(w.only_path())
        return
    yield [f"{w.wanted()} = {w.sum_title()} = {w.number(e.gradient)}"]
    number_of_path = 0
    for use in e.uses:
        title = w.use_title(use)
        if title:
            yield [f"{title}: {w.number(use.value)} ({w.count(use.path_count)})"]
        for path in use.paths:
            number_of_path += 1
            first, *others = w.product(path)
            yield [f"  {w.say('path', k=number_of_path)}: {first}", *(f"    = {o}" for o in others)]
    if e.hidden_paths:
        yield [f"  {w.rest(e.hidden_paths)}: {w.number(e.rest)}"]
    yield [f"{w.say('sum')}: {w.summands()} = {w.number(e.gradient)}"]


def _unrepeated(steps: list[str]) -> list[str]:
    return [s for i, s in enumerate(steps) if i == 0 or s != steps[i - 1]]


def _broken(equation: list[str]) -> list[str]:
    line, (left, *steps) = " = ".join(equation), equation
    if len(line) <= WIDTH:
        return [line]
    return [f"{left} = {steps[0]}", *(f"{' ' * len(left)} = {s}" for s in steps[1:])]


def _aligned(rows: Iterable[list[str]]) -> list[str]:
    rows = list(rows)
    width = max((len(r[0]) for r in rows), default=0)
    return [f"  {r[0]:<{width}} = " + " = ".join(r[1:]) for r in rows]


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    width = max(_display_width(label) for label, _ in rows)
    return [f"  {label}{' ' * (width - _display_width(label))}  {value}" for label, value in rows]


def _display_width(text: str) -> int:
    """Hangul takes two columns in a terminal."""
    return sum(2 if "\u1100" <= c <= "\uffdc" and not "\u2000" <= c <= "\u2e7f" else 1 for c in text)


def latex(e: Derivation) -> str:
    """Return the chain, the sum and the update as an aligned block."""
    w = Writer(e, "latex")
    lines = []
    if e.path_count == 1 and e.paths:
        wanted, first, *others = w.only_path()
        lines = [f"{wanted} &= {first}", *(f"&= {o}" for o in others)]
    else:
        for k, path in enumerate(e.paths, 1):
            first, *others = w.product(path)
            lines += [rf"p_{{{k}}} &= {first}", *(f"&= {o}" for o in others)]
        if e.hidden_paths:
            count = e.hidden_paths if e.hidden_paths < 10**15 else whole(e.hidden_paths, "latex")
            lines.append(rf"\textstyle\sum_{{{count}}} &= {w.number(e.rest)}")
        lines += [f"{w.wanted()} &= {w.summands()}", f"&= {w.number(e.gradient)}"]
    if e.update is not None:
        target, *steps = w.update()
        lines += [rf"{target} &\leftarrow {steps[0]}", *(f"&= {s}" for s in steps[1:])]
    body = " \\\\\n".join(lines)
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def markdown(e: Derivation) -> str:
    """Return the whole explanation as Markdown."""
    w, tex = Writer(e, "markdown"), Writer(e, "latex")
    equations, more = tex.local_derivatives()
    parts = [f"## {_title(w)}", f"$$\n{latex(e)}\n$$", f"### {w.factors_title()}"]
    parts.append("\n".join([f"- $\\displaystyle {' = '.join(steps)}$" for steps in equations] +
                           [f"- {more}"] * bool(more)))
    parts.append(f"### {w.say('check')}")
    rows = "\n".join(f"| {label} | {value} |" for label, value in w.checks())
    parts.append(f"| | |\n| --- | --- |\n{rows}")
    notes = w.notes()
    if notes:
        parts += [f"### {w.say('notes')}", "\n".join("- " + note for note in notes)]
    return "\n\n".join(parts)
