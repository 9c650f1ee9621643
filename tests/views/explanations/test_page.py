"""The HTML page in a real browser: stepped through by keyboard and mouse, its numbers read and compared."""

from __future__ import annotations

import json
import re
import time

import numpy as np
import pytest
from browser import browser_or_skip

import fastbp as fb
from fastbp.chainrule import Var, page, sin, worked_example

# Reads the page as a visitor sees it: the step in sight, and what the picture shows.
STATE = """
const article = [...document.querySelectorAll('.lesson')].find(a => !a.hidden);
const visible = e => e.getClientRects().length > 0 && getComputedStyle(e).visibility === 'visible';
const step = [...article.querySelectorAll('.step')].filter(visible);
const svg = [...article.querySelectorAll('svg')].find(visible);
const boxes = {};
for (const box of svg.querySelectorAll('.box')) {
  const read = css => [...box.querySelectorAll(css)].filter(visible).map(t => t.textContent)[0] || null;
  boxes[box.querySelector('.name').textContent] = [read('.value'), read('.slope')];
}
return {
  steps: step.length, place: step[0].querySelector('.place').innerText, title: step[0].querySelector('h2').innerText,
  data: [...step[0].querySelectorAll('data')].map(d => [d.className, Number(d.value), d.innerText]),
  boxes, now: [...svg.querySelectorAll('.box.now .name')].map(t => t.textContent),
  disabled: [...article.querySelectorAll('button:disabled')].map(b => b.dataset.go),
  slider: Number(article.querySelector('input').value),
};
"""

# The contrast of every visible text against what lies behind it, by the formula of WCAG 2.
CONTRAST = """
const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => {
  const f = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
  return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
const page = parse(getComputedStyle(document.documentElement).backgroundColor);
const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
  if (c.length === 3 || c[3] > 0) return c; } return page; };
const found = [];
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || e.getClientRects().length === 0 || getComputedStyle(e).visibility !== 'visible' || e.disabled
      || ['STYLE', 'SCRIPT', 'OPTION', 'SELECT'].includes(e.tagName.toUpperCase())) continue;
  const inSvg = e.closest('svg');
  const rect = inSvg && e.closest('.box') ? e.closest('.box').querySelector('rect') : null;
  const back = rect ? parse(getComputedStyle(rect).fill) : inSvg ? page : behind(e);
  const front = parse(inSvg ? getComputedStyle(e).fill : getComputedStyle(e).color);
  const [a, b] = [light(front), light(back)].sort((p, q) => q - p);
  found.push([e.textContent.trim().slice(0, 40), (a + .05) / (b + .05)]);
}
return found;
"""


@pytest.fixture(scope="module")
def browser():
    window = browser_or_skip()
    yield window
    window.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    e = worked_example("reference")
    found = {}
    for lang in ("en", "ko"):
        lessons = [e.net.explain(e.x, e.y, e.loss, weight=w, lr=e.lr, lang=lang) for w in ("w7", "w1", "b3")]
        found[lang] = folder / f"{lang}.html"
        found[lang].write_text(page(lessons), encoding="utf-8")
    return found


def choose(browser, index, heading):
    """Choose a weight from the menu, once it is there."""
    for _ in range(100):
        browser.run("const m = document.getElementById('weight'); if (!m) return; m.value = arguments[0]; "
                    "m.dispatchEvent(new Event('change'))", str(index))
        if browser.texts("h1") == [heading]:
            return
        time.sleep(0.1)
    raise AssertionError(f"the menu does not lead to {heading!r}: {browser.texts('h1')}")


def state(browser):
    return browser.run(STATE)


def values(found):
    return [value for _, value, _ in found["data"]]


def test_stepping_through_w7(browser, pages):
    browser.open(pages["en"])
    first = state(browser)
    assert first["steps"] == 1
    assert first["place"] == "Step 1 of 12"
    assert first["disabled"] == ["first", "back"]
    assert first["boxes"]["x₁"] == ["0.05", None]
    assert first["boxes"]["h₁"] == [None, None]

    seen = []
    for _ in range(11):
        browser.press("ArrowRight")
        seen.append(state(browser))
    assert [s["slider"] for s in seen] == list(range(1, 12))
    assert values(seen[0]) == pytest.approx([0.3775, 0.3925], abs=1e-12)
    assert seen[0]["boxes"]["z⁽¹⁾₁"] == ["0.3775", None]
    assert values(seen[3]) == pytest.approx([0.7513650695523157, 0.7729284653214625], abs=1e-12)
    assert values(seen[4]) == pytest.approx([0.2983711087600027], abs=1e-12)
    factors = [seen[k]["data"][0][1] for k in (5, 6, 7)]
    assert factors == pytest.approx([-0.21707153467853746, 0.17551005281727122, 0.5932699921071872], abs=1e-12)
    assert seen[7]["data"][1][1] == pytest.approx(-0.022602540477475067, abs=1e-12)
    assert values(seen[8]) == pytest.approx([-0.022602540477475067], abs=1e-12)
    check = {name: value for name, value, _ in seen[9]["data"]}
    assert check["chain"] == check["backward"] == pytest.approx(-0.022602540477475067, abs=1e-12)
    assert check["numerical"] == pytest.approx(check["chain"], rel=1e-6)
    assert check["relative"] < 1e-6
    assert values(seen[10]) == pytest.approx([0.5113012702387375], abs=1e-12)
    assert seen[10]["disabled"] == ["next", "last"]
    for s in seen:
        for _, value, shown in s["data"]:
            read = float(shown.replace("−", "-").replace(" × 10", "e").replace("\n", ""))
            assert read == pytest.approx(value, rel=1e-2), s
    assert seen[5]["boxes"]["o₂"][1].startswith("∂ −0.2171")
    assert seen[5]["boxes"]["z⁽²⁾₂"][1] is None
    assert set(seen[6]["now"]) == {"o₂", "z⁽²⁾₂"}
    assert browser.errors() == []


def test_mouse_slider_keyboard_and_menu(browser, pages):
    browser.open(pages["en"])
    browser.click('article:not([hidden]) button[data-go="next"]')
    browser.click('article:not([hidden]) button[data-go="next"]')
    assert state(browser)["slider"] == 2
    browser.click('article:not([hidden]) button[data-go="back"]')
    assert state(browser)["slider"] == 1
    browser.press("End")
    assert state(browser)["place"] == "Step 12 of 12"
    browser.press("Home")
    assert state(browser)["place"] == "Step 1 of 12"
    browser.run("const r = document.querySelector('article:not([hidden]) input'); r.value = 4; "
                "r.dispatchEvent(new Event('input'))")
    assert state(browser)["place"] == "Step 5 of 12"
    browser.click("article:not([hidden]) button.all")
    assert state(browser)["steps"] == 12
    choose(browser, 1, "The gradient of the error E for the weight w1")
    assert state(browser)["place"] == "Step 1 of 21"


def test_both_paths_of_w1_in_korean(browser, pages):
    browser.open(pages["ko"])
    choose(browser, 1, "가중치 w1에 대한 오차 E의 기울기")
    titles, last = [], None
    for _ in range(21):
        last = state(browser)
        titles.append(last["title"].replace("\n", " "))
        if "경로들의 합" in last["title"]:
            total = values(last)
        browser.press("ArrowRight")
    assert titles[0] == "시작"
    assert titles[1].startswith("순전파")
    assert titles[6].startswith("역전파")
    assert titles[-1].startswith("가중치 갱신")
    assert sum("경로 1" in t for t in titles) == sum("경로 2" in t for t in titles) == 6
    assert total[0] == pytest.approx(0.00043856773447434685, abs=1e-12)
    assert values(last) == pytest.approx([0.1497807161327628], abs=1e-12)


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390, 360])
def test_it_fits_the_window_and_has_contrast(browser, pages, lang, dark, width):
    browser.open(pages[lang], width=width, height=800, dark=dark)
    for key in ("Home", "End"):
        browser.press(key)
        assert browser.run("return document.documentElement.scrollWidth") <= width
        measured = browser.run(CONTRAST)
        assert len(measured) > 25
        poor = [(text, round(ratio, 2)) for text, ratio in measured if ratio < 4.5]
        assert poor == []
    background = browser.run("return getComputedStyle(document.documentElement).backgroundColor")
    assert background == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")
    shown = browser.run("return [...document.querySelectorAll('article:not([hidden]) .scroll')]"
                        ".filter(e => e.offsetParent).map(e => e.className)")
    assert shown == (["scroll wide"] if width > 760 else ["scroll narrow"])
    if width < 760:
        sizes = browser.run("return [...document.querySelectorAll('article:not([hidden]) button')]"
                            ".map(b => Math.min(b.offsetHeight, b.offsetWidth))")
        assert min(sizes) >= 44


def test_what_a_screen_reader_is_told(browser, pages):
    browser.open(pages["ko"])
    tree = browser.command("Accessibility.getFullAXTree")["nodes"]
    named = {(n["role"]["value"], n.get("name", {}).get("value", "")) for n in tree if not n["ignored"]}
    roles = {role for role, _ in named}
    assert ("button", "다음") in named
    assert ("slider", "단계 고르기") in named
    assert any(role in ("image", "img") and name.startswith("계산 그래프. 값: x₁ = 0.05") for role, name in named)
    assert {"heading", "list", "group", "region"} <= roles
    assert browser.run("return document.documentElement.lang") == "ko"
    assert browser.run("return document.querySelector('.steps').getAttribute('aria-live')") == "polite"
    assert all(name for role, name in named if role in ("button", "slider", "image", "combobox"))


def test_printed_it_shows_every_step(browser, pages, tmp_path):
    browser.open(pages["en"])
    browser.command("Emulation.setEmulatedMedia", media="print")
    article = "document.querySelector('article:not([hidden])')"
    assert browser.run(f"return [...{article}.querySelectorAll('.step')].filter(s => s.offsetParent).length") == 12
    assert not browser.run(f"return {article}.querySelector('.controls').offsetParent")
    hidden = browser.run(f"return [...{article}.querySelectorAll('.wide .box text')]"
                         ".filter(t => getComputedStyle(t).visibility !== 'visible').length")
    assert hidden == 0
    browser.command("Emulation.setEmulatedMedia", media="")
    browser.print(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_without_the_script_all_is_there(browser, pages, tmp_path):
    bare = tmp_path / "bare.html"
    bare.write_text(re.sub(r"<script>.*</script>", "", pages["en"].read_text(encoding="utf-8"), flags=re.DOTALL))
    browser.open(bare)
    assert state(browser)["steps"] == 12


# What the chain rule's section and the line of the weight say in sight, and what of the gradient is in the picture.
TOLD = """
const article = [...document.querySelectorAll('.lesson')].find(a => !a.hidden);
const visible = e => e.getClientRects().length > 0 && getComputedStyle(e).visibility === 'visible';
const svg = [...article.querySelectorAll('svg')].find(visible);
return {
  told: [...article.querySelectorAll('.told')].filter(visible).map(t => [...t.querySelectorAll('data')]
    .map(d => Number(d.value))),
  total: [...svg.querySelectorAll('.label .total')].filter(visible).map(t => t.textContent),
  slopes: [...svg.querySelectorAll('.box .slope')].filter(visible).length };
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_each_paths_product_and_the_sum_appear_when_they_are_told(browser, pages, width):
    browser.open(pages["en"], width=width)
    choose(browser, 1, "The gradient of the error E for the weight w1")
    first, second, total = 0.000668396021, -0.000229828287, 0.000438567734
    seen = {}
    for k in range(1, 22):
        seen[k] = browser.run(TOLD)
        browser.press("ArrowRight")
    # Steps 7 to 12 go along the first path, 13 to 18 along the second; step 19 is the sum.
    for k in range(1, 22):
        expected = [[first]] * (k >= 12) + [[second]] * (k >= 18) + [[total]] * (k >= 19)
        assert [pytest.approx(values, rel=1e-8) for values in expected] == seen[k]["told"], k
        assert seen[k]["total"] == (["∂ 0.0004386"] if k >= 19 else []), k
    assert [seen[k]["slopes"] for k in (6, 7, 13, 19)] == [0, 2, 4, 11]
    browser.click("article:not([hidden]) button.all")
    browser.run("document.querySelector('article:not([hidden]) input').value = 0")
    assert len(browser.run(TOLD)["told"]) == 3


def test_a_single_path_is_told_with_its_product(browser, pages):
    browser.open(pages["en"])
    told = []
    for _ in range(12):
        told.append((len(browser.run(TOLD)["told"]), browser.run(TOLD)["total"]))
        browser.press("ArrowRight")
    assert told == [(0, [])] * 9 + [(1, ["∂ −0.0226"])] * 3


# The labels of lines, the boxes, and each text in a box, as they are drawn.
PLACES = """
const place = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom, e.textContent]; };
const svg = document.querySelector('svg'), all = css => [...svg.querySelectorAll(css)].map(place);
return { frame: place(svg), boxes: all('.box rect'), labels: all('.label text'), more: all('.more'),
  inside: [...svg.querySelectorAll('.box text')].map(t => [place(t), place(t.closest('.box').querySelector('rect'))]),
  legend: all('.legend') };
"""


def overlap(a, b):
    """How many pixels two rectangles share, the finest hairs left out."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0]) - 1) * max(0, min(a[3], b[3]) - max(a[1], b[1]) - 1)


def explanations_of_every_kind():
    rng = np.random.default_rng(0)
    a = fb.Input(3)
    h = fb.Add()(fb.Tanh()(fb.Linear(3, 3)(a)), a)
    h = fb.LayerNorm()(fb.Linear(3, 3)(h))
    residual = fb.Network(a, fb.Linear(3, 4)(fb.Multiply()(h, a)), dtype="float64", seed=1, backend="reference")
    large = fb.Sequential(fb.Linear(784, 256), fb.ReLU(), fb.Linear(256, 10), seed=0, backend="reference")
    mixed = fb.Sequential(fb.Linear(3, 4), fb.BatchNorm(), fb.ReLU(), fb.Linear(4, 3), seed=3, backend="reference")
    x, y = Var("x", -2.0), Var("a_variable_with_a_name_that_is_long", 1234567.0)
    u = (x * x).named("u")
    e = worked_example("reference")
    worked = {w: e.net.explain(e.x, e.y, e.loss, weight=w, lr=e.lr) for w in ("w1", "w7", "b1", "b3")}
    return {**worked, "korean": worked["w1"].shown(lang="ko"),
            "residual": residual.explain(rng.normal(size=(2, 3)), rng.normal(size=(2, 4)), fb.MSE(), weight="w1"),
            "large": large.explain(rng.normal(size=(3, 784)), [3, 1, 2], fb.CrossEntropy(), weight="w1000"),
            "mixed": mixed.explain(rng.normal(size=(4, 3)), rng.normal(size=(4, 3)) * 1e-7, fb.MSE(), weight="w1"),
            "function": e.net.explain(np.repeat(e.x, 3, axis=0), np.repeat(e.y, 3, axis=0) * [[1], [2], [3]],
                                      lambda p, t: np.mean(np.square(p - t)), weight="w1"),
            "scalar": (u * sin(x) * y).explain(x), "named": (u / y).explain(y)}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_no_label_covers_a_box_or_another_label(browser, tmp_path, width, dark):
    for name, e in explanations_of_every_kind().items():
        for vertical in (False, True):
            file = tmp_path / "picture.html"
            file.write_text(f'<meta name="viewport" content="width=device-width">{e.svg(vertical=vertical)}',
                            encoding="utf-8")
            browser.open(file, width=width, dark=dark)
            seen = browser.run(PLACES)
            for label in (*seen["labels"], *seen["more"]):
                for box in seen["boxes"]:
                    assert not overlap(label, box), (name, vertical, label[4])
            for i, label in enumerate(seen["labels"]):
                for other in (*seen["labels"][:i], *seen["more"]):
                    assert not overlap(label, other), (name, vertical, label[4], other[4])
            left, top, right, bottom, _ = seen["frame"]
            for text, box in seen["inside"]:
                assert box[0] <= text[0], (name, text[4])
                assert text[2] <= box[2], (name, text[4])
            for place in (*seen["boxes"], *seen["labels"], *seen["more"], *seen["legend"]):
                assert left <= place[0] < place[2] <= right, (name, vertical, place[4])
                assert top <= place[1] < place[3] <= bottom, (name, vertical, place[4])


def test_large_networks_batches_and_scalars_have_working_pages(browser, tmp_path):
    rng = np.random.default_rng(0)
    net = fb.Sequential(fb.Linear(784, 256), fb.ReLU(), fb.Linear(256, 10), seed=0, backend="reference")
    x = Var("x", 2.0)
    made = {"large": net.explain(rng.normal(size=(3, 784)), [3, 1, 2], fb.CrossEntropy(), weight="w1000"),
            "scalar": (sin(x) * x).explain(x)}
    for name, e in made.items():
        file = tmp_path / f"{name}.html"
        file.write_text(e.html(), encoding="utf-8")
        for width in (1280, 360):
            browser.open(file, width=width)
            browser.press("End")
            assert state(browser)["steps"] == 1
            assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.errors() == []
        changes = json.loads(browser.run("return document.querySelector('.lesson').dataset.changes"))
        boxes = {b.id for column in e.diagram.columns for b in column.boxes}
        for change in changes:
            assert set(change["values"]) | set(change["slopes"]) <= boxes | {""}, change
