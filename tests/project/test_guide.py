"""The code in README and docs runs: the python blocks of each page, one after another."""

from __future__ import annotations

import re
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import backends

import fastbp as fb

ROOT = Path(__file__).parents[2]
PAGES = [p for p in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if p.exists()]
BLOCK = re.compile(r"(?:<!-- needs ([\w, ]+) -->\n)?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.skipif("native" not in backends(), reason="pages speak of the native backend")
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_code_on_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        needs, code = block.groups()
        if needs and not all(find_spec(module) for module in re.split(r", *", needs)):
            continue
        line = text[:block.start(2)].count("\n")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # the blank lines make errors name the line of the page
            exec(compile("\n" * line + code, str(page), "exec"), names)


def test_the_guide_is_among_the_pages() -> None:
    if not PAGES:
        pytest.skip("the pages are not beside the tests")
    guide = ROOT / "docs" / "guide.md"
    assert guide in PAGES
    assert len(BLOCK.findall(guide.read_text(encoding="utf-8"))) >= 10


def test_the_reference_has_every_public_name() -> None:
    page = ROOT / "docs" / "reference.md"
    if not page.exists():
        pytest.skip("the pages are not beside the tests")
    listed = re.findall(r"^   (\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(set(listed))
    assert {*dir(fb)} - {"__doc__", "__version__"} == {*listed}


def test_every_example_is_on_its_page() -> None:
    page = ROOT / "docs" / "examples.md"
    if not page.exists():
        pytest.skip("the pages are not beside the tests")
    assert re.findall(r"\.\./examples/(\w+\.py)", page.read_text(encoding="utf-8")) \
        == sorted(path.name for path in (ROOT / "examples").glob("*.py"))
