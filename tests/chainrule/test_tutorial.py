"""The tutorial: every block of code runs, in order, and prints what stands below it."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from fastbp.chainrule import worked_example

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("backpropagation.md", "backpropagation.ko.md")


def blocks(page):
    """Return (line, code, expected output or None) for each block of Python."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, m.start()) + 1, m[1], m[2]) for m in found]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs_and_prints_what_is_shown(page):
    names: dict = {}
    for line, code, expected in blocks(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * line + code, page, "exec"), names)
        assert printed.getvalue() == (expected or ""), f"{page}, line {line}"


def test_both_languages_have_the_same_code():
    def bare(code):
        lines = [re.sub(r"\s*#.*", "", line) for line in code.splitlines()]
        return [re.sub(r'"[^"]*"', '""', line) for line in lines]

    english, korean = (blocks(page) for page in PAGES)
    assert [bare(code) for _, code, _ in english] == [bare(code) for _, code, _ in korean]


def test_pictures_are_what_the_library_draws():
    e = worked_example("reference")
    for weight in ("w7", "w1"):
        picture = e.net.explain(e.x, e.y, e.loss, weight=weight, lr=e.lr).svg()
        assert (DOCS / "images" / f"chain-{weight}.svg").read_text(encoding="utf-8") == picture + "\n", (
            f"docs/images/chain-{weight}.svg is out of date: write it anew with Explanation.save")
