"""The rules that keep the project easy to find one's way in: imports go downward, unique names, short files.

Every import counts: at the top of a file, inside a function or ``try``, for types alone, and in Cython.
"""

import ast
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "fastbp"

# From the top down: what a file imports stands in its own folder or further down. Those in one line know nothing of
# each other.
FLOORS = [
    ["__main__"],
    ["commands"],
    ["__init__"],
    ["estimators"],
    ["training", "chainrule"],
    ["reading"],
    ["network"],
    ["files"],
    ["layers"],
    ["views"],
    ["engine"],
    ["objectives", "optim"],
    ["graph", "datasets"],
    ["core"],
    ["ops"],
]
FLOOR_OF = {name: number for number, names in enumerate(reversed(FLOORS)) for name in names}


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(["fastbp", *(parts[:-1] if parts[-1] == "__init__" else parts)])


def modules_of(package: Path) -> dict[str, Path]:
    """Every module by its dotted name; a text that a Cython module includes counts as one."""
    paths = (path for ending in ("py", "pyx", "pxi") for path in package.rglob(f"*.{ending}"))
    return {module_name(path, package): path for path in paths}


def named_in(path: Path, module: str) -> set[str]:
    """What a file imports, as dotted names: the modules, and what is taken from them."""
    text = path.read_text(encoding="utf-8")
    folder = module if path.stem == "__init__" else module.rpartition(".")[0]
    return named_in_python(text, folder) if path.suffix == ".py" else named_in_cython(text, folder)


def named_in_python(text: str, folder: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(folder.split(".")[:len(folder.split(".")) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, [above, node.module]))
            found |= {f"{source}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            texts = [a.value for a in ast.walk(node) if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            found |= {text.strip(".") for text in texts}
    return found


def named_in_cython(text: str, folder: str) -> set[str]:
    found = {f"{folder}.{stem}" for stem in re.findall(r'^include "(\w+)\.pxi"', text, re.MULTILINE)}
    found |= set(re.findall(r"^\s*c?import\s+([\w.]+)", text, re.MULTILINE))
    for source, names in re.findall(r"^\s*from\s+([\w.]+)\s+c?import\s+\(?([\w ,]+)", text, re.MULTILINE):
        found |= {f"{source}.{name.split()[0]}" for name in names.split(",") if name.strip()}
    return found


def imports_of(package: Path) -> dict[str, set[str]]:
    """The modules of fastbp that each of its modules imports."""
    modules = modules_of(package)

    def holder(name: str) -> str:
        while name and name not in modules:
            name = name.rpartition(".")[0]
        return name

    return {module: {holder(name) for name in named_in(path, module)} - {module, ""}
            for module, path in modules.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module, each sorted."""
    reach = {module: set(names) for module, names in graph.items()}
    for middle in graph:
        for module in graph:
            if middle in reach[module]:
                reach[module] |= reach[middle]
    together = {tuple(sorted(m for m in graph if m in reach[module] and module in reach[m])) for module in graph}
    return sorted(list(found) for found in together if len(found) > 1)


def floor(module: str) -> int:
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    assert name in FLOOR_OF, f"{name} has no floor yet: give it one in FLOORS"
    return FLOOR_OF[name]


def climbing(graph: dict[str, set[str]]) -> list[str]:
    """The imports that do not go downward: to a floor above, or to another folder of the same floor."""
    def goes_down(module: str, name: str) -> bool:
        return floor(name) < floor(module) or module.split(".")[1:2] == name.split(".")[1:2]

    return sorted(f"{module} imports {name}" for module, names in graph.items() for name in names
                  if not goes_down(module, name))


def test_no_file_imports_itself_by_a_detour():
    assert circles(imports_of(PACKAGE)) == []


def test_imports_go_downward():
    assert climbing(imports_of(PACKAGE)) == []


PLANTED = {
    "at the top": ("graph/graph.py", "from fastbp.training.trainer import Trainer\n"),
    "in a function": ("core/checks.py", "def late():\n    from fastbp.network import Network\n    return Network\n"),
    "in a try": ("graph/graph.py", "try:\n    import fastbp.network\nexcept ImportError:\n    pass\n"),
    "for types": ("optim/optimizers.py",
                  "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fastbp.network import Network\n"),
    "relative": ("ops/base.py", "from ..graph import graph\n"),
    "by name": ("engine/backend.py", "import importlib\nlayers = importlib.import_module('fastbp.layers')\n"),
    "of the public names": ("views/report.py", "from fastbp import Network\n"),
    "between neighbours": ("optim/optimizers.py", "from fastbp.objectives.losses import Loss\n"),
    "in Cython": ("engine/native.pyx", "from fastbp.network import Network\n"),
    "in Cython, in a function": ("engine/native.pyx", "def late():\n    import fastbp.training.trainer\n"),
}


@pytest.mark.parametrize(("file", "text"), PLANTED.values(), ids=list(PLANTED))
def test_an_import_upward_is_found(tmp_path, file, text):
    copy = shutil.copytree(PACKAGE, tmp_path / "fastbp", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    before = climbing(imports_of(copy))
    path = copy / file
    path.write_text(path.read_text(encoding="utf-8") + "\n" + text, encoding="utf-8")
    new = set(climbing(imports_of(copy))) - set(before)
    assert new
    assert all(line.startswith(module_name(path, copy) + " imports ") for line in new)


def test_a_circle_is_found(tmp_path):
    copy = shutil.copytree(PACKAGE, tmp_path / "fastbp", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for file, other in (("core/errors.py", "checks"), ("core/checks.py", "errors")):
        with (copy / file).open("a", encoding="utf-8") as stream:
            stream.write(f"def late():\n    from fastbp.core import {other}\n    return {other}\n")
    assert ["fastbp.core.checks", "fastbp.core.errors"] in circles(imports_of(copy))


def test_few_entries_at_the_top():
    entries = [e.name for e in PACKAGE.iterdir() if e.suffix not in (".pyi", ".typed", ".so") and e.name[:2] != "__"]
    assert len(entries) <= 16, sorted(entries)


def test_each_folder_says_what_it_is():
    for path in PACKAGE.rglob("__init__.py"):
        first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
        assert first.endswith((".", "``", ":")), path


def test_files_have_unique_names_or_are_twins():
    twins = {"__init__", "base", "custom"}
    places: dict[str, list[str]] = {}
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx")]:
        places.setdefault(path.stem, []).append(path.parent.name)
    layered = {"ops", "layers", "commands"}       # an op, its layer and its command may carry one name
    for name, folders in places.items():
        if name not in twins:
            assert len([f for f in folders if f not in layered]) <= 1, (name, folders)


SOURCES = [p for folder in ("fastbp", "src_c", "tests", "benchmarks", "tools", "examples")
           for ending in ("py", "pyx", "pxd", "pxi", "c", "h") for p in (ROOT / folder).rglob(f"*.{ending}")]


def test_no_file_is_long():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCES}
    assert {name: n for name, n in lengths.items() if n > 650} == {}


def test_each_op_has_its_twin_in_c():
    for path in (PACKAGE / "ops").glob("*.py"):
        if path.stem in ("__init__", "base", "special", "philox", "scalar", "custom", "flatten", "bfloat16",
                         "composed", "expression", "functions", "linalg", "numpy_names", "reduce", "sort", "sources",
                         "structure"):
            continue        # helpers, ops of expressions, and a view, which has nothing to compute
        assert (ROOT / "src_c" / "ops" / f"{path.stem}.inc.h").exists(), path.stem
