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


BESIDE = ROOT / "docs" / "coming_from.md"
TWELVE = ["A Pipeline with a frame", "GridSearchCV", "Calibrated probabilities", "A net with two heads",
          "Fine-tuning with a frozen part", "Transfer from a PyTorch module", "A loop of your own", "ONNX to a service",
          "A run in a notebook", "Quantile regression", "An imbalanced set", "A run saved and resumed"]


def _lines(code: str) -> int:
    """Count the lines of a program: not the empty ones, comments, and imports, which both sides need."""
    lines = (line.strip() for line in code.split("\n"))
    return sum(bool(line) and not line.startswith(("#", "import ", "from ")) for line in lines)


@pytest.mark.skipif(not BESIDE.exists(), reason="the pages are not beside the tests")
def test_no_program_is_longer_than_its_counterpart() -> None:
    page = BESIDE.read_text(encoding="utf-8")
    programs = re.findall(r"^### \d+\. (.*?)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert [title for title, _ in programs][:12] == TWELVE
    for title, text in programs:
        blocks = re.findall(r"^```(py|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert [language for language, _ in blocks] == ["py", "python"], title
        theirs, ours = (_lines(code) for _, code in blocks)
        assert 0 < ours <= theirs, title


@pytest.mark.parametrize(("library", "module"), [("scikit-learn", "sklearn"), ("PyTorch", "torch")])
def test_the_counterparts_run(library: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not BESIDE.exists() or not all(map(find_spec, (module, "pandas", "onnx", "onnxruntime"))):
        pytest.skip(f"{library} or the pages are not there")
    monkeypatch.chdir(tmp_path)
    text = BESIDE.read_text(encoding="utf-8")
    theirs = re.findall(rf"^```py\n(# {library}\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(theirs) >= 5
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for code in [BLOCK.findall(text)[0][1], *theirs]:
            exec(compile(code, str(BESIDE), "exec"), names)
