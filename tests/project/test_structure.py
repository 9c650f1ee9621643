"""The rules that keep the project easy to find one's way in: who may import whom, unique names, short files."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "fastbp"

def test_files_have_unique_names_or_are_twins():
    twins = {"__init__", "base"}
    places: dict[str, list[str]] = {}
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx")]:
        places.setdefault(path.stem, []).append(path.parent.name)
    layered = {"ops", "layers", "commands", "harness"}       # an op, its layer and its command may carry one name
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
