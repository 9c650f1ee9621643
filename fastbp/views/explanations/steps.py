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
from fastbp.views.explanations.parts import Derivation, Path, Stage, Use
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
    edges, totals : list of str
        Lines whose local derivative, or whose weight's gradient, appears; "*" for all of both.
    now : list of str
        Boxes and lines that the step is about.
    told : str
        What stands in the chain rule's section from this step on: the product of a path, or the sum. HTML.
    """

    kind: Literal["start", "forward", "backward", "check", "update"]
    title: str
    body: str
    values: list[str] = field(default_factory=list)
    slopes: list[str] = field(default_factory=list)
    edges: list[str] = field(default_factory=list)
    totals: list[str] = field(default_factory=list)
    now: list[str] = field(default_factory=list)
    told: str = ""


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
    given = [b for b in e.diagram.boxes if b.kind in ("input", "constant", "weight")]
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
    several = w.e.path_count > 1
    gradients = {b.id: b.gradient for b in w.e.diagram.boxes}
    number = 0
    for use in w.e.uses:
        drawn = use.sample == w.e.uses[0].sample
        for path in use.paths:
            number += 1
            where = ": ".join(part for part in (w.use_title(use), w.say("path", k=number)) if part) if several else ""
            if number <= _IN_DETAIL and use is w.e.uses[0]:
                yield from _path(w, path, where, gradients)
            else:
                body = w.equation(w.product(path), path.value)
                yield Step("backward", f"{w.say('path_step')} ({where})", body, now=_along(path) if drawn else [],
                           edges=[f.edge for f in path.factors] if drawn else [], told=body)
    if several:
        yield _sum(w, [b for b, gradient in gradients.items() if gradient is not None])


def _path(w: HtmlWriter, path: Path, where: str, gradients: dict[str, float | None]) -> Iterator[Step]:
    suffix = f" ({where})" if where else ""
    middle = path.middle
    for k in (*range(middle.start), *range(middle.stop, len(path.factors))):
        if k == middle.stop and middle.start < middle.stop:
            yield _middle(w, path, suffix)
        yield _factor(w, path, k, suffix, gradients)
    whole = w.equation(w.product(path), path.value)
    if where:
        yield Step("backward", w.say("product_step") + suffix, whole, now=_along(path), told=whole)
    else:
        yield Step("backward", w.say("product_step"), whole, slopes=_asked(w), totals=_totals(w), now=_along(path),
                   told=w.equation(w.only_path(), w.e.gradient))


def _factor(w: HtmlWriter, path: Path, k: int, suffix: str, gradients: dict[str, float | None]) -> Step:
    """Return the step from one quantity back to the next; what has arrived there appears if it is all there is."""
    factor, so_far = path.factors[k], Path(path.factors[:k + 1])
    body = w.equation(w.factor(factor), factor.value)
    if k:
        equation = [w.derivatives(so_far), w.numbers(so_far), w.number(so_far.value)]
        body += f"<p class=\"label\">{w.say('so_far')}</p>" + w.equation(equation, so_far.value)
    reached = gradients.get(factor.source_box)
    last = k == len(path.factors) - 1
    arrived = reached is not None and isclose(so_far.value, reached, rel_tol=1e-9) and not last
    title = w.say("backward_step", derivative=derivative(factor.of, factor.by, "html")) + suffix
    slopes = [factor.source_box] * arrived + [factor.box] * (k == 0)
    return Step("backward", title, body, slopes=slopes, edges=[factor.edge],
                now=[factor.box, factor.source_box, factor.edge])


def _middle(w: HtmlWriter, path: Path, suffix: str) -> Step:
    """Return the step over the factors in the middle of a long path, all at once."""
    factors = path.factors[path.middle]
    between = Path(factors)
    ends = derivative(factors[0].of, factors[0].by, "html"), derivative(factors[-1].of, factors[-1].by, "html")
    body = w.equation([f"{ends[0]} · ⋯ · {ends[1]}", ""], between.value)
    title = w.say("middle_step", count=len(factors)) + suffix
    return Step("backward", title, body, edges=[f.edge for f in factors], now=_along(between))


def _along(path: Path) -> list[str]:
    return [b for f in path.factors for b in (f.box, f.source_box, f.edge) if b]


def _asked(w: HtmlWriter) -> list[str]:
    """Return the box of the parameter that is asked for, if it has one."""
    return [b.id for b in w.e.diagram.boxes if b.kind == "weight"]


def _totals(w: HtmlWriter) -> list[str]:
    return [edge.name for edge in w.e.diagram.edges if edge.gradient is not None]


def _sum(w: HtmlWriter, boxes: list[str]) -> Step:
    e = w.e
    told = f"<p>{w.rest(e.hidden_paths)}: {w.number(e.rest)}</p>" if e.hidden_paths else ""
    told += w.equation([w.wanted(), w.summands(), ""], e.gradient)
    body = told
    if e.use_count == 1 and e.uses[0].local is not None:
        body += f"<p>{w.say('one_pass')}</p>" + w.equation(w.one_pass(e.uses[0]), e.gradient)
    along = [b for use in _drawn(e) for p in use.paths for b in _along(p)]
    return Step("backward", w.say("sum_step"), body, slopes=boxes, totals=_totals(w), now=list(dict.fromkeys(along)),
                told=told)


def _drawn(e: Derivation) -> tuple[Use, ...]:
    return tuple(u for u in e.uses if u.sample == e.uses[0].sample)


def _check(w: HtmlWriter) -> Step:
    return Step("check", w.say("check_step"), f"<p>{w.say('check_text')}</p>{check_table(w)}",
                slopes=[b.id for b in w.e.diagram.boxes if b.gradient is not None], edges=["*"])


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
