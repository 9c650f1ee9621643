"""Names that users give (layers, inputs, variables, parameters) are text in every form, whatever they hold."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

import fastbp as fb
import fastbp.chainrule as cr
from fastbp.views import markup

HOSTILE = ["<script>alert(1)</script>", "a|b", "`c`", "$x$", "two\nlines", "](http:x)", "\x00\x1b[31m", "\ud800", "@a",
           "{b}", "\\newpage", "50%d", "&amp;", "a_1*b*", "\u202egnp", '"><img src=x onerror=y>', "'", "#1", "~", "^2"]


def explained(name):
    """Return an explanation of a network whose layer and parameter, and one of an expression whose variable, are so
    called."""
    class Scale(fb.CustomLayer):
        def parameters(self, shape):
            return {name: (shape, fb.Ones())}

        def forward(self, ctx, x, **params):
            return x * params[name]

        def backward(self, ctx, dy):
            return dy * ctx.params[name], {name: (dy * ctx.inputs[0]).sum(axis=0)}

    a = fb.Input(2, name=name + "in")
    net = fb.Network(a, fb.Tanh()(Scale()(fb.Linear(2, 1, name=name)(a))), dtype="float64", seed=0,
                     backend="reference")
    x, y = cr.Var(name, 2.0), cr.Var("y", 3.0)
    return net.explain([[1.0, 2.0]], [[1.0]], fb.MSE(), weight="w1"), (x * y).named(name + "z").explain(x), net


class Page(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.words = set(), set(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize("name", HOSTILE)
def test_html_and_svg_hold_it_as_text(name):
    harmless = explained("harmless")
    for e, plain in zip(explained(name)[:2], harmless, strict=False):
        for form in ("html", "_repr_html_", "svg"):
            html, expected = getattr(e, form)(), Page(getattr(plain, form)())
            page = Page(html)
            assert page.tags - {"title"} == expected.tags - {"title"}   # a name that is cut off has a title
            assert page.attributes == expected.attributes
            assert markup.printable(html.replace("\n", "")) == html.replace("\n", "")
        assert any(markup.printable(name)[:9] in word for word in Page(e.html()).words)
        for vertical in (False, True):
            ElementTree.fromstring(e.svg(vertical=vertical))


@pytest.mark.parametrize("name", HOSTILE)
def test_drawings_and_tables_of_networks_hold_it_as_text(name):
    net, plain = explained(name)[2], explained("harmless")[2]
    assert Page(net._repr_html_()).tags == Page(plain._repr_html_()).tags
    svg = ElementTree.fromstring(net.to_svg())
    assert markup.printable(name + "in") in {t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")}


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_holds_it_as_text(name):
    for e, plain in zip(explained(name)[:2], explained("harmless"), strict=False):
        text, expected = e.markdown(), plain.markdown()
        assert len(text.splitlines()) == len(expected.splitlines())
        outside = re.sub(r"\$\$.*?\$\$|\$\\displaystyle.*\$$", "", text, flags=re.DOTALL | re.MULTILINE)
        bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", outside)     # what a backslash stands before is text
        assert not re.search(r"[`$<>\\]|\]\(", bare)
        assert bare.count("|") == expected.count("|")
        assert "<" not in text.replace("{<}", "")
        assert "`" not in re.sub(r"\\`", "", text)


@pytest.mark.parametrize("name", HOSTILE)
def test_latex_holds_it_as_text(name):
    for e, plain in zip(explained(name)[:2], explained("harmless"), strict=False):
        text, expected = e.latex(), plain.latex()
        bare = re.sub(r"\\[{}$&#%_]", "", text)
        for sign in "$&#%":
            assert bare.count(sign) == expected.count(sign)
        assert bare.count("{") == bare.count("}")
        assert len(text.splitlines()) == len(expected.splitlines())
        assert "newpage" not in re.sub(r"\\backslash\{\}newpage", "", text)


@pytest.mark.parametrize("name", HOSTILE)
def test_text_keeps_its_lines(name, tmp_path):
    for e, plain in zip(explained(name)[:2], explained("harmless"), strict=False):
        assert len(e.text().splitlines()) == len(plain.text().splitlines())
        assert "\n" not in e.chain() + repr(e)
        for ending in ("html", "svg", "md", "tex", "txt"):
            e.save(tmp_path / f"e.{ending}")


def test_plain_names_stay_as_they_are():
    for form in (markup.printable, markup.html, markup.latex, markup.markdown):
        for name in ("w1", "hidden-2.weight", "가중치"):
            assert form(name) == name


def test_two_parameters_of_a_formula_stand_side_by_side():
    x = cr.Var("@b", 2.0)
    y = cr.Var("@a", 3.0)
    assert (x - y).explain(x).text().splitlines()[2] == "z = @b − @a = 2 − 3 = −1"
