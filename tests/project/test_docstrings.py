"""The examples in the docstrings run, as they stand."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil

import pytest

import fastbp

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _names() -> list[str]:
    found = ["fastbp", *(m.name for m in pkgutil.walk_packages(fastbp.__path__, "fastbp."))]
    return [n for n in found if not n.endswith(".__main__")]


# importlib hands out the modules as they are; pytest's own collector would load them anew, and put the module
# fastbp.gradcheck where the function of that name is.
@pytest.mark.parametrize("name", _names())
def test_examples(name: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("fastbp.engine.native") is None:
        pytest.skip("the examples use the native backend, which is not built")
    monkeypatch.chdir(str(tmp_path))
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("fastbp"):
            raise
        pytest.skip(f"{error.name}, which this module is for, is not installed")
    failed, _ = doctest.testmod(module, optionflags=FLAGS)
    assert not failed, f"{failed} examples of {name} failed; see above"
