"""The steps that the page goes through: forward, tensor by tensor; backward, factor by factor; check; update.

Each step has a title, what it says (HTML), and what it changes in the picture: boxes whose value or derivative appears,
and what is at the centre of attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isclose
from typing import Literal

from fastbp.views import markup
from fastbp.views.explanations.parts import Derivation, Factor, Path, Stage, Use
from fastbp.views.explanations.symbols import derivative
from fastbp.views.explanations.text import Writer

# Paths that are gone through factor by factor; further ones take a step each.
_IN_DETAIL = 3


@dataclass(frozen=True)
class Step:
    """One step of the page.

    Attributes
    ----------
    kind : {"start", "forward", "backward", "check", "update"}
    title, body : str
        HTML.
    values, slopes : list of str
        Boxes whose value, or whose derivative, appears with this step.
    edges : list of str
        Lines whose derivative appears, as "source>target".
    now : list of str
        Boxes and lines that the step is about.
    """

    kind: Literal["start", "forward", "backward", "check", "update"]
    title: str
    body: str
    values: list[str] = field(default_factory=list)
    slopes: list[str] = field(default_factory=list)
    edges: list[str] = field(default_factory=list)
    now: list[str] = field(default_factory=list)


class HtmlWriter(Writer):
    """Writes formulas for the page: derivatives as fractions, results as <data> with all their digits."""

    def result(self, value: float) -> str:
        """Return a number that a program can read whole."""
        return f'<data value="{float(value)!r}">{self.number(value)}</data>'

    def equation(self, steps: list[str], value: float | None = None) -> str:
        """Return "a = b = c" as one line of the page; the last becomes a <data> if its value is given."""
        if value is not None:
            steps = [*steps[:-1], self.result(value)]
        first, *others = steps
        return (f'<p class="eq"><span>{first}</span>' +
                "".join(f' <span><span class="op">=</span> {s}</span>' for s in others) + "</p>")


def steps(e: Derivation) -> list[Step]:
    """Return all steps of an explanation."""
    w = HtmlWriter(e, "html")
    return [_start(w), *_forward(w), *_backward(w), _check(w), *([_update(w)] if e.update else [])]


def _start(w: HtmlWriter) -> Step:
    e = w.e
    given = [b for column in e.diagram.columns for b in column.boxes if b.kind in ("input", "constant", "weight")]
    names = {"target": e.target.symbol.html(), "source": e.source.symbol.html()}
    equations = [f"{b.symbol.html()} = {w.number(b.value)}" for b in given if b.kind != "constant"]
    if all(b.symbol != e.source.symbol for b in given):
        equations.append(f"{e.source.symbol.html()} = {w.number(e.source.value)}")
    given_text = "".join(f"<span>{q}{',' * (q is not equations[-1])}</span>" for q in equations)
    body = f"<p>{w.say('start_text', **names)}</p><p class=\"eq\">{given_text}</p>"
    return Step("start", w.say("start"), body, values=[b.id for b in given])


def _forward(w: HtmlWriter) -> Iterator[Step]:
    for k, stage in enumerate(w.e.forward):
        is_loss = bool(w.e.name) and k == len(w.e.forward) - 1
        body = "".join(w.equation([line.quantity.symbol.html(), *w.evaluated(line.formula, line.quantity.value)],
                                  line.quantity.value) for line in stage.lines)
        if stage.more:
            body += f"<p class=\"more\">⋮ {w.say('more_units', count=f'{stage.more:,}')}</p>"
        title = w.say("loss_step") if is_loss else w.say("forward_step", name=_title(stage, w))
        boxes = [line.box for line in stage.lines]
        yield Step("forward", title, body, values=boxes, now=boxes)


def _title(stage: Stage, w: HtmlWriter) -> str:
    return markup.html(stage.name) if w.e.name else stage.lines[0].quantity.symbol.html()


def _backward(w: HtmlWriter) -> Iterator[Step]:
    e = w.e
    gradients = {b.id: b.gradient for column in e.diagram.columns for b in column.boxes}
    several = e.path_count > 1
    first_use = True
    number = 0
    for use in e.uses:
        for path in use.paths:
            number += 1
            where = ": ".join(part for part in (w.use_title(use), w.say("path", k=number)) if part) if several else ""
            if number <= _IN_DETAIL and first_use:
                yield from _path(w, path, where, gradients)
            else:
                yield Step("backward", f"{w.say('path_step')} ({where})", w.equation(w.product(path), path.value),
                           now=_along(path) if first_use else [])
        first_use = False
    if several:
        yield _sum(w, [b for b, gradient in gradients.items() if gradient is not None])


def _path(w: HtmlWriter, path: Path, where: str, gradients: dict[str, float | None]) -> Iterator[Step]:
    product = 1.0
    suffix = f" ({where})" if where else ""
    for k, factor in enumerate(path.factors):
        product *= factor.value
        partial = Path(path.factors[:k + 1])
        body = w.equation(w.factor(factor), factor.value)
        if k:
            steps = [w.derivatives(partial), w.numbers(partial), w.number(product)]
            body += f"<p class=\"label\">{w.say('so_far')}</p>" + w.equation(steps, product)
        reached = gradients.get(factor.source_box)
        arrived = reached is not None and isclose(product, reached, rel_tol=1e-9) and k < len(path.factors) - 1
        title = w.say("backward_step", derivative=derivative(factor.of, factor.by, "html")) + suffix
        slopes = [factor.source_box] * arrived + [factor.box] * (k == 0)
        yield Step("backward", title, body, slopes=slopes, edges=[_edge(factor)],
                   now=[factor.box, factor.source_box, _edge(factor)])
    yield Step("backward", w.say("product_step") + suffix, w.equation(w.product(path), path.value), now=_along(path))


def _edge(factor: Factor) -> str:
    return f"{factor.source_box or 'asked'}>{factor.box}"


def _along(path: Path) -> list[str]:
    return [b for f in path.factors for b in (f.box, f.source_box, _edge(f)) if b]


def _sum(w: HtmlWriter, boxes: list[str]) -> Step:
    e = w.e
    body = ""
    if e.hidden_paths:
        body += f"<p>{w.rest(e.hidden_paths)}: {w.number(e.rest)}</p>"
    body += w.equation([w.wanted(), w.summands(), ""], e.gradient)
    if e.use_count == 1 and e.uses[0].local is not None:
        body += f"<p>{w.say('one_pass')}</p>" + w.equation(w.one_pass(e.uses[0]), e.gradient)
    return Step("backward", w.say("sum_step"), body, slopes=boxes, now=[b for use in _drawn(e) for p in use.paths
                                                                        for b in _along(p)])


def _drawn(e: Derivation) -> tuple[Use, ...]:
    return tuple(u for u in e.uses if u.sample == e.uses[0].sample)


def _check(w: HtmlWriter) -> Step:
    return Step("check", w.say("check_step"), f"<p>{w.say('check_text')}</p>{check_table(w)}",
                slopes=[b.id for column in w.e.diagram.columns for b in column.boxes if b.gradient is not None],
                edges=["*"])


def check_table(w: HtmlWriter) -> str:
    """Return the gradient and what it is compared with, as a table."""
    check, gradient = w.e.check, w.e.gradient
    values = [gradient, *([] if check.backward is None else [check.backward]), check.numerical,
              check.difference(gradient), check.relative(gradient)]
    keys = ["chain", *([] if check.backward is None else ["backward"]), "numerical", "difference", "relative"]
    rows = "".join(f'<tr><th scope="row">{markup.html(label)}</th><td><data class="{key}" value="{float(value)!r}">'
                   f"{shown}</data></td></tr>"
                   for (label, shown), value, key in zip(w.checks(), values, keys, strict=True))
    return f'<table class="check">{rows}</table>'


def _update(w: HtmlWriter) -> Step:
    e = w.e
    assert e.update is not None
    target, rule, numbers, _ = w.update()
    body = f"<p>{w.say('update_text')}</p>" + w.equation([f"{target} ← {rule}", numbers, ""], e.update.after)
    title = f"{w.say('update_step')}: {w.say('descent', lr=w.number(e.update.lr))}"
    return Step("update", title, body, now=_along(e.paths[0]) if e.paths else [])
