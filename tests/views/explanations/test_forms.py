"""The forms of an explanation: text, LaTeX, Markdown, notebooks, SVG, HTML, in both languages."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from string import Formatter
from xml.etree import ElementTree

import numpy as np
import pytest

import fastbp as fb
from fastbp.chainrule import Var, page, worked_example
from fastbp.views.explanations.phrases import PHRASES
from fastbp.views.explanations.symbols import Symbol, number

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def explanations():
    e = worked_example("reference")
    return {w: e.net.explain(e.x, e.y, e.loss, weight=w, lr=e.lr) for w in ("w7", "w1", "b1")}


def test_phrases_exist_in_both_languages_with_the_same_blanks():
    for key, phrase in PHRASES.items():
        assert set(phrase) == {"en", "ko"}, key
        blanks = {lang: {name for _, name, _, _ in Formatter().parse(text) if name} for lang, text in phrase.items()}
        assert blanks["en"] == blanks["ko"], key
        assert not re.search("[가-힣]", phrase["en"]), key
        assert re.search("[가-힣]", phrase["ko"]), key


def test_standard_terms_in_korean(explanations):
    text = explanations["w1"].text(lang="ko")
    for term in ("기울기", "학습률", "오차역전파", "연쇄법칙", "경사하강법", "수치 미분", "국소 미분", "순전파",
                 "가중치"):
        assert term in text, term
    assert "gradient" not in text


def test_text_has_chain_check_and_update(explanations):
    text = str(explanations["w7"])
    assert "∂E/∂w₇ = ∂E/∂o₂ · ∂o₂/∂z⁽²⁾₂ · ∂z⁽²⁾₂/∂w₇" in text
    assert "= −(t₂ − o₂) · o₂(1 − o₂) · h₁" in text
    assert "= −0.217071535 · 0.175510053 · 0.593269992" in text
    assert "w₇ ← w₇ − η · ∂E/∂w₇ = 0.5 − 0.5 · (−0.0226025405) = 0.51130127" in text
    assert "numerical gradient" in text
    assert "relative difference" in text
    assert "−0.022602540477475067" in explanations["w7"].text(digits=17)


def test_latex_is_balanced_and_plain_ascii_mathematics(explanations):
    for e in explanations.values():
        latex = e.latex()
        assert latex.count("{") == latex.count("}")
        assert latex.startswith(r"\begin{aligned}")
        assert latex.endswith(r"\end{aligned}")
        assert latex.isascii(), re.findall(r"[^\x00-\x7f]", latex)
        assert e._repr_latex_() == f"$$\n{latex}\n$$"


def test_markdown_has_a_table_and_formulas(explanations):
    text = explanations["w7"].markdown(lang="ko")
    assert text.startswith("## 가중치 w₇ = 0.5 (2.weight[0, 1])에 대한")
    assert "| --- | --- |" in text
    assert "$$\n\\begin{aligned}" in text


def test_svg_is_xml_with_a_description_and_marks_the_chain(explanations):
    for e in explanations.values():
        for vertical in (False, True):
            root = ElementTree.fromstring(e.svg(vertical=vertical))
            assert root.tag == SVG + "svg"
            assert root.get("role") == "img"
            assert "E = 0.2984" in root.get("aria-label")
            boxes = {g.find(f"{SVG}text").text: g for g in root.iter(SVG + "g")
                     if "box" in (g.get("class") or "").split()}
            assert {"x₁", "x₂", "h₁", "h₂", "o₁", "o₂", "E"} <= set(boxes)
            on_chain = {name for name, g in boxes.items() if "chain" in g.get("class").split()}
            assert {"o₂", "E"} <= on_chain
            x, y, width, height = (float(v) for v in root.get("viewBox").split())
            for g in boxes.values():
                r = g.find(f"{SVG}rect")
                assert float(r.get("x")) >= 0
                assert float(r.get("x")) + float(r.get("width")) <= width
                assert float(r.get("y")) >= 0
                assert float(r.get("y")) + float(r.get("height")) <= height
            assert (x, y) == (0, 0)
    chain = {g.find(f"{SVG}text").text for g in ElementTree.fromstring(explanations["w7"].svg()).iter(SVG + "g")
             if {"box", "chain"} <= set((g.get("class") or "").split())}
    assert chain == {"h₁", "z⁽²⁾₂", "o₂", "E"}


class Parser(HTMLParser):
    """Collects what matters of a page, and checks that tags match."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.data, self.unlabelled = [], [], {}, []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [given[k] for k in ("src", "href") if k in given]
        if tag == "data":
            self.data.setdefault(given.get("class", ""), []).append(float(given["value"]))
        if tag in ("button", "input", "select") and not (given.get("aria-label") or given.get("class") == "all"
                                                         or given.get("id") == "weight"):
            self.unlabelled.append((tag, given))
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_page_is_whole_and_needs_nothing_from_outside(explanations, lang):
    html = page([e.shown(lang=lang) for e in explanations.values()])
    parser = Parser()
    parser.feed(html)
    assert parser.open == []
    assert parser.links == []
    assert not re.search(r"url\((?!#)", html)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert parser.unlabelled == []
    assert f'<html lang="{lang}">' in html
    assert html.count('<article class="lesson') == 3
    assert -0.022602540477475067 in parser.data["chain"]
    assert 0.00043856773447434685 in parser.data["chain"]


def test_notebook_fragment_has_no_script_and_keeps_its_styles_inside(explanations):
    html = explanations["w1"]._repr_html_()
    assert "<script" not in html
    assert "<html" not in html
    assert not re.search(r"^(html|body|main|\.menu)\b", html, re.MULTILINE)
    parser = Parser()
    parser.feed(html)
    assert parser.open == []


def test_a_page_of_nothing_is_refused():
    with pytest.raises(ValueError, match="explanations is empty; expected at least one"):
        page([])


def test_saving_by_the_ending(explanations, tmp_path):
    e = explanations["w7"]
    for ending, beginning in ((".html", "<!DOCTYPE html>"), (".svg", "<svg"), (".md", "## "), (".tex", "\\begin"),
                              (".txt", "The gradient")):
        e.save(tmp_path / f"e{ending}")
        assert (tmp_path / f"e{ending}").read_text(encoding="utf-8").startswith(beginning)
    with pytest.raises(ValueError, match=r"expected a name that ends in \.html, \.svg, \.md, \.tex, \.txt"):
        e.save(tmp_path / "e.pdf")


def test_a_layers_name_cannot_break_the_page():
    net = fb.Sequential(fb.Linear(1, 1, name="<b>&\"'"), dtype="float64", seed=0, backend="reference")
    html = net.explain([[1.0]], [[1.0]], fb.MSE(), weight="w1").html()
    parser = Parser()
    parser.feed(html)
    assert parser.open == []
    assert "<b>" not in html


@pytest.mark.parametrize(("value", "digits", "kind", "expected"), [
    (-0.5, 3, "text", "−0.5"), (1e-9, 2, "text", "1e-09"), (-1e-9, 2, "latex", r"-1 \times 10^{-9}"),
    (1e-9, 2, "html", "1 × 10<sup>−9</sup>"), (-0.0, 3, "text", "0"), (float("nan"), 3, "text", "NaN"),
    (float("-inf"), 3, "text", "−∞"), (float("-inf"), 3, "latex", r"-\infty"), (10.0, 17, "text", "10"),
    (0.1 + 0.2, 17, "text", "0.30000000000000004"),
])
def test_numbers(value, digits, kind, expected):
    assert number(value, digits, kind) == expected


def test_symbols():
    assert str(Symbol("z", "2,3", "1", "4")) == "z⁽¹⁾₂,₃⟨4⟩"
    assert Symbol("z", "2,3", "1").html() == "<i>z</i><sup>(1)</sup><sub>2,3</sub>"
    assert Symbol("running_mean").latex() == r"\mathrm{running\_mean}"


def test_large_layers_are_folded_in_the_picture():
    rng = np.random.default_rng(0)
    net = fb.Sequential(fb.Linear(100, 50), fb.ReLU(), fb.Linear(50, 3), dtype="float64", seed=0, backend="reference")
    e = net.explain(rng.normal(size=(2, 100)), [0, 1], fb.CrossEntropy(), weight="w4950")
    columns = e.diagram.columns
    assert [len(c.boxes) + c.more for c in columns][:4] == [100, 50, 50, 3]
    assert max(len(c.boxes) for c in columns) <= 6
    assert "⋮ 96 more" in e.svg()
    assert "⋮ 외 96개" in e.svg(lang="ko")


def test_a_bias_is_called_a_bias():
    e = worked_example("reference")
    for lang, title in (("en", "The gradient of the error E = 0.298371109 for the bias b₃ = 0.6 (2.bias[0])"),
                        ("ko", "편향 b₃ = 0.6 (2.bias[0])에 대한 오차 E = 0.298371109의 기울기")):
        found = e.net.explain(e.x, e.y, e.loss, weight="b3", lang=lang)
        assert found.text().splitlines()[0] == title
        assert ("편향" if lang == "ko" else "for the bias") in found.html()


def test_a_chain_of_one_factor_is_not_said_twice():
    x = Var("x", 3.0)
    e = (x ** 2).named("z").explain(x)
    assert e.chain() == "∂z/∂x = 2x = 6"
    assert "∂z/∂x = 2x = 6" in e.text().splitlines()
    assert e.latex().count(r"\frac{\partial z}{\partial x}") == 1
