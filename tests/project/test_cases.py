"""Nothing may be forgotten: what fastbp has is in tests/cases.py, and an op's two texts, NumPy and C, both exist."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import cases
import layer_cases
import numpy as np
import pytest

import fastbp
import fastbp as fb
from fastbp.engine.fusion import fused
from fastbp.engine.native import find_instruction
from fastbp.layers.activations import Activation
from fastbp.objectives.functions import FunctionLoss, RowSum, TotalLoss
from fastbp.ops.base import Op
from fastbp.ops.custom import PythonOp
from fastbp.ops.expression import Expression
from fastbp.ops.scalar import SCALARS, ScalarOp
from fastbp.ops.sparse_linear import SparseLinearOp
from fastbp.optim import initializers

for _module in pkgutil.walk_packages([*fastbp.ops.__path__], "fastbp.ops."):
    importlib.import_module(_module.name)


def _kinds(base: type) -> set[type]:
    """Return all that can be used of what fastbp derives from a class."""
    found = set()
    for kind in base.__subclasses__():
        found |= _kinds(kind)
        if kind.__module__.startswith("fastbp.") and not inspect.isabstract(kind) and not kind.__name__.startswith("_"):
            found.add(kind)
    return found


def _of(rows: object) -> set[type]:
    return {type(row) for row in rows}  # type: ignore[attr-defined]


# Your own pieces (PythonOp, CustomLayer, CustomLoss) say nothing by themselves: test_custom.py has them. The ops of
# expressions are reached by NumPy's names: tests/graph has them. Sparse rows come to an op of their own at the border:
# tests/engine/test_sparse.py has it.
LISTS = {
    "OPS": (_kinds(Op) - _kinds(Expression) - {PythonOp, SparseLinearOp},
            _of(c.op for c in cases.OPS.values()) - {ScalarOp}),
    "LAYERS": (_kinds(fb.Layer) - {Activation}, _of(c.make() for c in cases.LAYERS.values())),
    "LOSSES": (_kinds(fb.Loss) - {fb.CustomLoss, FunctionLoss, RowSum, TotalLoss},
               _of(c.loss for c in cases.LOSSES.values())),
    "OPTIMIZERS": (_kinds(fb.Optimizer), _of(make() for make in cases.OPTIMIZERS.values())),
    "SCHEDULES": (_kinds(fb.Schedule), _of(make() for make in cases.SCHEDULES.values())),
    "INITIALIZERS": ({c for _, c in inspect.getmembers(initializers, inspect.isclass)
                      if c.__module__ == initializers.__name__}, _of(cases.INITIALIZERS.values())),
}


@pytest.mark.parametrize("name", LISTS)
def test_each_list_is_complete(name: str) -> None:
    exist, listed = LISTS[name]
    forgotten = sorted(k.__name__ for k in exist - listed)
    assert not forgotten, f"add a row to {name} in tests/cases.py for {', '.join(forgotten)}"


@pytest.mark.parametrize("name", ["LAYERS", "LOSSES", "OPTIMIZERS", "INITIALIZERS"])
def test_each_is_a_public_name(name: str) -> None:
    hidden = sorted(k.__name__ for k in LISTS[name][0] if k.__name__ not in fb.__all__)
    assert not hidden, f"export {', '.join(hidden)} in fastbp/__init__.py"


def test_public_names_exist_and_are_named_once() -> None:
    assert not [n for n in fb.__all__ if not hasattr(fb, n)]
    assert len(set(fb.__all__)) == len(fb.__all__)


def _c_names(pattern: str) -> set[str]:
    op_list = Path(__file__).parents[2] / "src_c" / "op_list.h"
    if not op_list.exists():
        pytest.skip("the C sources are not beside the tests")
    return set(re.findall(rf"^{pattern}\((\w+)", op_list.read_text(), re.MULTILINE))


def test_each_op_has_its_twin_in_c() -> None:
    ops = {c.op.name for c in cases.OPS.values() if not c.op.is_view and getattr(c.op, "has_native", True)}
    # of other ops, and of the losses that they make
    made_by_fusion = {"expression", "whole_expression", "reduce_rows", "spread_rows", "pair_product", "all_rows",
                      "row_number", "row_sum", "total"}
    made_of_nothing = {"parameter", "random", "whole_random"}
    made = made_by_fusion | made_of_nothing | {SparseLinearOp.name}
    assert ops | made == _c_names("FBP_(?:OP|ACTIVATION)"), "fastbp/ops and op_list.h name different ops"


def test_each_loss_has_its_twin_in_c() -> None:
    rng = np.random.default_rng(0)
    targets = {name: c.loss.targets(c.target(rng, 4), c.shape, "float64", 4) for name, c in cases.LOSSES.items()}
    names = {c.loss.native_name(targets[name]) for name, c in cases.LOSSES.items()}
    assert names == _c_names("FBP_LOSS"), "fastbp/objectives/losses.py and src_c/op_list.h name different losses"


def test_each_optimizer_has_its_twin_in_c() -> None:
    names = {make().name for make in cases.OPTIMIZERS.values()}
    assert names == _c_names("FBP_OPTIMIZER"), "optimizers.py and op_list.h name different optimizers"


# What benchmarks/test_layers.py does not time, and why.
NOT_TIMED: dict[type, str] = {
    Activation: "has no formula",
    SparseLinearOp: "comes to sparse rows at the border: test_sparse_linear times it",
    RowSum: "what a network makes of FunctionLoss, which is timed",
    TotalLoss: "what a network makes of FunctionLoss, which is timed",
}


def test_benchmarks_time_each_op_layer_and_loss() -> None:
    timed = {**layer_cases.LAYERS, **layer_cases.OPS, **layer_cases.FUNCTIONS}
    graphs = [case.network(backend="reference").graph for case in timed.values()]
    ops = [node.op for graph in graphs for node in (*graph.nodes, *fused(graph, find_instruction).nodes)]
    exist = _kinds(Op) | _kinds(fb.Layer) | _kinds(fb.Loss)
    has = _of(ops) | _of(case.make() for case in timed.values()) | _of(c.loss for c in layer_cases.LOSSES.values())
    forgotten = sorted(kind.__name__ for kind in exist - has - set(NOT_TIMED))
    forgotten += sorted(set(SCALARS) - {op.name for op in ops})
    assert not forgotten, f"add a row to benchmarks/layer_cases.py for {', '.join(forgotten)}"
    assert not has & set(NOT_TIMED), "timed all the same"
