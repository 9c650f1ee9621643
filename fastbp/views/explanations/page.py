"""One self-contained HTML page for one or more explanations, and a fragment of it for notebooks.

The page needs no network. Its style and script stand beside this module and are put inside; without the script, and on
paper, all steps are shown one below the other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from string import Template

from fastbp.views import markup
from fastbp.views.explanations.parts import Derivation
from fastbp.views.explanations.picture import picture
from fastbp.views.explanations.steps import HtmlWriter, Step, check_table, steps


def page(explanations: Sequence[Derivation]) -> str:
    """Return a page for one or more explanations of one network or expression; a menu chooses between several.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not explanations:
        raise ValueError("page: explanations is empty; expected at least one")
    first = explanations[0]
    w = HtmlWriter(first, "html")
    menu = ""
    if len(explanations) > 1:
        options = "".join(f'<option value="{i}">{markup.html(f"{e.source.symbol} {e.name}")}</option>'
                          for i, e in enumerate(explanations))
        menu = f'<label class="menu">{w.say("choose_weight")} <select id="weight">{options}</select></label>'
    title = _heading(HtmlWriter(first, "text"))
    return Template(_file("page.html")).substitute(
        lang=first.lang, title=markup.html(title), style=_file("page.css"), script=_file("page.js"), menu=menu,
        lessons="\n".join(_lesson(e, i) for i, e in enumerate(explanations)))


def fragment(e: Derivation) -> str:
    """Return picture, chain and check as HTML for a notebook: no script, styles that stay inside."""
    w = HtmlWriter(e, "html")
    told = "".join(step.told for step in steps(e))
    return (f'<div class="fbp" lang="{e.lang}"><style>{_scoped(_file("page.css"))}</style><h3>{_heading(w)}</h3>'
            f'<div class="scroll">{picture(e)}</div>{told}{check_table(w)}{_update(w)}{_notes(w)}</div>')


def _file(name: str) -> str:
    return (files("fastbp.views.explanations") / name).read_text(encoding="utf-8")


def _scoped(style: str) -> str:
    """Leave out what is about the page as a whole, between two marks in the style sheet."""
    return style.split("/* ---- the page alone ---- */")[0]


def _heading(w: HtmlWriter) -> str:
    return w.say(w.title_key(), target=w.e.target.symbol.render(w.kind), source=w.e.source.symbol.render(w.kind))


def _lesson(e: Derivation, index: int) -> str:
    w = HtmlWriter(e, "html")
    found = steps(e)
    items = "\n".join(_item(step, f"step-{index}-{k}", w.say("step", k=k + 1, n=len(found)))
                      for k, step in enumerate(found))
    told = "\n".join(f'<div class="told" data-step="{k}">{step.told}</div>'
                     for k, step in enumerate(found) if step.told)
    changes = markup.html(json.dumps([_changes(s) for s in found]))
    summary = ", ".join(f"{q.symbol.html()} = {w.number(q.value)}" for q in (e.target, e.source))
    if e.name:
        summary += f" <code>{w.name()}</code>"
    sample = e.uses[0].sample
    here = f"<p>{w.say('here', k=sample)}</p>" if sample else ""
    labels = {"first": "⇤", "back": f"← {w.say('back')}", "next": f"{w.say('next')} →", "last": "⇥"}
    buttons = "".join(f'<button type="button" data-go="{go}" title="{w.say(go)}" aria-label="{w.say(go)}">'
                      f"{label}</button>" for go, label in labels.items())
    return f"""<article class="lesson fbp" data-changes="{changes}">
<header><h1>{_heading(w)}</h1><p class="summary">{summary}</p>{here}</header>
<div class="pictures">
<div class="scroll wide" tabindex="0" role="region" aria-label="{w.say("scroll")}">{picture(e)}</div>
<div class="scroll narrow">{picture(e, vertical=True)}</div></div>
<div class="controls" role="group" aria-label="{w.say("choose_step")}">{buttons}
<input type="range" min="0" max="{len(found) - 1}" value="0" aria-label="{w.say("choose_step")}">
<button type="button" class="all" aria-pressed="false">{w.say("all_steps")}</button></div>
<ol class="steps" aria-live="polite">{items}</ol>
<p class="keys">{w.say("keys")}</p>
<section class="chain" aria-labelledby="chain-{index}"><h2 id="chain-{index}">{w.say("chain")}</h2>
{told}</section>
{_notes(w)}
</article>"""


def _item(step: Step, name: str, place: str) -> str:
    return (f'<li class="step {step.kind}" id="{name}"><p class="place">{place}</p><h2>{step.title}</h2>'
            f"{step.body}</li>")


def _changes(step: Step) -> dict[str, list[str]]:
    return {key: getattr(step, key) for key in ("values", "slopes", "edges", "totals", "now")}


def _update(w: HtmlWriter) -> str:
    if w.e.update is None:
        return ""
    target, rule, numbers, _ = w.update()
    return w.equation([f"{target} ← {rule}", numbers, ""], w.e.update.after)


def _notes(w: HtmlWriter) -> str:
    items = "".join(f"<li>{note}</li>" for note in w.notes())
    return f'<section class="notes"><h2>{w.say("notes")}</h2><ul>{items}</ul></section>' if items else ""
