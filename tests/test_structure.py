"""The rules that keep the project easy to find one's way in: who may import whom, unique names, short files."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastbp"

# From the bottom up: a module may import, when it is loaded, from its own line and from those above it.
FLOORS = [
    ["errors", "threads", "ops", "checks"],
    ["gradcheck", "graph", "schedules", "initializers", "losses", "vector", "history", "container"],
    ["custom_loss", "optimizers", "layers"],
    ["backends"],
    ["outlook", "network", "cpu"],
    ["report", "summary_html", "graph_svg", "serialization", "checkpoint", "callbacks", "lbfgs", "plots", "streaming",
     "onnx_export", "torch_interop", "divergence"],
    ["trainer"],
    ["chainrule", "estimators", "datasets", "kernels", "table", "bench"],
    ["commands", "__main__", "__init__"],
]
FLOOR_OF = {name: i for i, names in enumerate(FLOORS) for name in names}


def _top(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def _loaded_imports(path: Path) -> list[str]:
    """The fastbp modules that are imported when this one is: not those of functions, nor those for types alone."""
    found: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fastbp":
            deeper = node.module.split(".")[1:]
            found += [deeper[0]] if deeper else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("fastbp.")]
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downwards(path):
    here = _top(path)
    assert here in FLOOR_OF, f"{here} has no floor yet: give it one in FLOORS"
    for name in _loaded_imports(path):
        if name in FLOOR_OF:
            assert FLOOR_OF[name] <= FLOOR_OF[here], f"{path.name} imports {name}, which stands above {here}"


@pytest.mark.parametrize("module", ["ops", "gradcheck"])
def test_the_bottom_needs_numpy_alone(module):
    paths = sorted((PACKAGE / module).rglob("*.py")) or [PACKAGE / f"{module}.py"]
    for path in paths:
        assert set(_loaded_imports(path)) <= {"ops", "checks"}, path


def test_network_names_no_concrete_layer():
    text = (PACKAGE / "network.py").read_text(encoding="utf-8")
    assert "fastbp.layers" not in text


def test_files_have_unique_names_or_are_twins():
    twins = {"__init__", "base"}
    places: dict[str, list[str]] = {}
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx")]:
        places.setdefault(path.stem, []).append(path.parent.name)
    layered = {"ops", "layers", "commands", "bench"}       # an op, its layer and its command may carry one name
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
        if path.stem in ("__init__", "base", "special", "philox", "scalar", "custom", "flatten", "bfloat16"):
            continue        # helpers, ops without a native form, and a view, which has nothing to compute
        assert (ROOT / "src_c" / "ops" / f"{path.stem}.inc.h").exists(), path.stem
