"""A fitted estimator as one ONNX file, what is done to the columns included.

Each column in use is an input of shape (batch, 1) under its own name: numbers and dates as float64, dates as days since
1970, missing ones as NaN; categories as text, missing ones as "". An array of numbers is one input, X. Columns are
prepared in float64 as the schema does it; the networks are those of ``net.to_onnx``. Text is looked up by LabelEncoder,
of the set ai.onnx.ml.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastbp.datasets.columns import Kind
from fastbp.estimators.tabular.committee import Committee, Fold
from fastbp.estimators.tabular.schema import CLIP, FARTHEST, FLAG, CategoryPlan, NumberCode, NumberPlan
from fastbp.files.onnx import IR_VERSION, OPSET, model_of
from fastbp.ops.base import Array

ML_OPSET = 3
ARRAY = "X"

Combine = Callable[[str], str]
"""From the name of a tensor to that of what is made of it."""


class Pipeline:
    """Collects the nodes and constants of a model.

    Parameters
    ----------
    kinds : mapping of str to {"number", "date", "category"}
        Of all columns.
    named : bool
        Whether each column is an input of its own; else all are numbers, in one input.
    """

    def __init__(self, kinds: Mapping[str, Kind], named: bool) -> None:
        try:
            import onnx
            import onnx.compose
        except ImportError:
            raise ImportError("to_onnx needs onnx; install it with: pip install 'fastbp[onnx]'") from None
        self.onnx, self._kinds, self._named = onnx, kinds, named
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._used: dict[str, str] = {}
        self._count = 0

    def add(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node, and return the name of what it makes."""
        self._count += 1
        name = f"fastbp:{self._count}"
        self._nodes.append(self.onnx.helper.make_node(kind, list(inputs), [name], name=name, domain=domain,
                                                      **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float64) -> str:
        """Return the name of a constant."""
        self._count += 1
        name = f"fastbp:{self._count}"
        array = np.ascontiguousarray(values, dtype)
        self._constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def column(self, name: str) -> str:
        """Return the column of this name, (batch, 1)."""
        if name not in self._used:
            self._used[name] = name if self._named else self.add(
                "Gather", ARRAY, self.constant([list(self._kinds).index(name)], np.int64), axis=1)
        return self._used[name]

    def mean(self, names: Sequence[str], shares: Sequence[float]) -> str:
        """Return a weighted sum."""
        parts = [self.add("Mul", name, self.constant(share)) for name, share in zip(names, shares, strict=True)]
        return self.add("Sum", *parts) if len(parts) > 1 else parts[0]

    def model(self, outputs: Mapping[str, tuple[str, Any, list[Any]]]) -> Any:
        """Return the model, checked. Outputs: by name, the tensor, its type and its shape."""
        helper, types = self.onnx.helper, self.onnx.TensorProto
        if not self._used:
            raise ValueError("to_onnx: no column is in use, so that there is nothing to take in")
        inputs = [helper.make_tensor_value_info(n, types.STRING if kind == "category" else types.DOUBLE, ["batch", 1])
                  for n, kind in self._kinds.items() if n in self._used]
        if not self._named:
            inputs = [helper.make_tensor_value_info(ARRAY, types.DOUBLE, ["batch", len(self._kinds)])]
        for name, (made, _, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [made], [name], name=name))
        graph = helper.make_graph(self._nodes, "fastbp", inputs, [
            helper.make_tensor_value_info(name, kind, shape) for name, (_, kind, shape) in outputs.items()],
            self._constants)
        model = helper.make_model(graph, producer_name="fastbp", ir_version=IR_VERSION, opset_imports=[
            helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)])
        self.onnx.checker.check_model(model, full_check=True)
        return model

    # ---- columns -----------------------------------------------------------------------------------------------------

    def encoded(self, fold: Fold) -> dict[str, str]:
        """Return the numbers, places and flags of a fold, float32, and the ids of levels, int64."""
        if not fold.schema.plans:
            return {"flags": self.constant([[1.0]], np.float32)}
        made: dict[str, list[str]] = {"numbers": [], "places": [], "flags": [], "ids": []}
        first = 0
        for plan in fold.schema.plans:
            found = self._number(plan) if isinstance(plan, NumberPlan) else self._category(plan, first)
            for key, names in zip(made, found, strict=True):
                made[key] += names
            first += plan.sizes.levels
        real, whole = self.onnx.TensorProto.FLOAT, self.onnx.TensorProto.INT64
        return {key: self.add("Cast", self.add("Concat", *names, axis=1), to=whole if key == "ids" else real)
                for key, names in made.items() if names}

    def _number(self, plan: NumberPlan) -> tuple[list[str], ...]:
        x = self.column(plan.name)
        missing = self.add("IsNaN", x)
        flags = [self.add("Mul", self.add("Cast", missing, to=self.onnx.TensorProto.DOUBLE), self.constant(FLAG))]
        made = [self._scaled(value, missing, code) for value, code in
                ((self._part(x, part), code) for part, code in plan.codes)]
        return [n for n, _ in made], [p for _, p in made], flags if plan.gaps else [], []

    def _scaled(self, x: str, missing: str, code: NumberCode) -> tuple[str, str]:
        filled = self.add("Where", missing, self.constant([[code.center]]), x)
        s = self.add("Div", self.add("Sub", filled, self.constant(code.center)), self.constant(code.scale))
        s = self.add("Clip", s, self.constant(-FARTHEST), self.constant(FARTHEST))
        third = self.add("Div", s, self.constant(CLIP))
        root = self.add("Sqrt", self.add("Add", self.constant(1.0), self.add("Mul", third, third)))
        edges = np.array(code.edges)
        inside = self.add("Div", self.add("Sub", filled, self.constant(edges[:-1])), self.constant(np.diff(edges)))
        inside = self.add("Clip", inside, self.constant(0.0), self.constant(1.0))
        place = self.add("ReduceSum", inside, self.constant([1], np.int64), keepdims=1)
        return self.add("Div", s, root), place

    def _part(self, x: str, part: str) -> str:
        """Return part of a date: days to the civil calendar, whose years begin in March and whose eras have 400."""
        if part == "value":
            return x
        days = self.add("Floor", x)
        if part == "weekday":
            return self._rest(self.add("Add", days, self.constant(3.0)), 7.0)
        if part == "hour":
            return self.add("Mul", self.add("Sub", x, days), self.constant(24.0))
        day = self._rest(self.add("Add", days, self.constant(719_468.0)), 146_097.0)

        def whole(value: str, divisor: float) -> str:
            return self.add("Floor", self.add("Div", value, self.constant(divisor)))
        leap = self.add("Sub", self.add("Sub", whole(day, 36_524.0), whole(day, 1460.0)), whole(day, 146_096.0))
        year = whole(self.add("Add", day, leap), 365.0)
        before = self.add("Sub", self.add("Add", self.add("Mul", year, self.constant(365.0)), whole(year, 4.0)),
                          whole(year, 100.0))
        of_year = self.add("Sub", day, before)
        march = whole(self.add("Add", self.add("Mul", of_year, self.constant(5.0)), self.constant(2.0)), 153.0)
        late = self.add("Less", march, self.constant(10.0))
        return self.add("Add", march, self.add("Where", late, self.constant([[3.0]]), self.constant([[-9.0]])))

    def _rest(self, x: str, divisor: float) -> str:
        whole = self.add("Floor", self.add("Div", x, self.constant(divisor)))
        return self.add("Sub", x, self.add("Mul", whole, self.constant(divisor)))

    def _category(self, plan: CategoryPlan, first: int) -> tuple[list[str], ...]:
        x = self.column(plan.name)
        pairs = plan.encode_means(np.array(plan.means)) if plan.known else ([], [])
        numbers, places = ([self._looked_up(x, plan.known, np.stack(rows, axis=1))] if rows else [] for rows in pairs)
        if plan.embedded:
            ids = [*range(first + 1, first + 1 + len(plan.levels)), 0]
            return numbers, places, [], [self._looked_up(x, plan.levels, np.array(ids)[:, None])]
        flags = np.full((len(plan.levels) + 1, len(plan.levels)), 0.0)
        flags[np.arange(len(plan.levels)), np.arange(len(plan.levels))] = FLAG
        if plan.usual >= 0:
            flags[:, plan.usual] -= FLAG
        if len(plan.levels) == 2 and plan.usual >= 0:
            flags = np.delete(flags, plan.usual, axis=1)
        return numbers, places, [self._looked_up(x, plan.levels, flags)] if flags.shape[1] else [], []

    def _looked_up(self, x: str, levels: Sequence[str | None], rows: Array) -> str:
        """Return the row of a table that stands for a level, the last one for what is none of them."""
        texts = {("" if level is None else level): i for i, level in reversed(list(enumerate(levels)))}
        codes = self.add("LabelEncoder", x, domain="ai.onnx.ml", keys_strings=list(texts),
                         values_int64s=list(texts.values()), default_int64=len(levels))
        return self.add("Squeeze", self.add("Gather", self.constant(rows), codes, axis=0), self.constant([1], np.int64))

    # ---- networks ----------------------------------------------------------------------------------------------------

    def said(self, fold: Fold, epoch: int, encoded: Mapping[str, str]) -> str:
        """Return what a network says, float64 (batch, members, outputs)."""
        net, architecture = fold.nets[epoch], fold.architecture
        given = [encoded[key] for key, used in (("numbers", architecture.numbers),
                                                ("places", architecture.numbers and architecture.piecewise),
                                                ("flags", architecture.flags),
                                                ("ids", architecture.categories)) if used]
        self._count += 1
        model = self.onnx.compose.add_prefix(model_of(net), f"net{self._count}/")
        for value, name in zip(model.graph.input, given, strict=True):
            self._nodes.append(self.onnx.helper.make_node("Identity", [name], [value.name], name=value.name))
        self._nodes += model.graph.node
        self._constants += model.graph.initializer
        return self.add("Cast", model.graph.output[0].name, to=self.onnx.TensorProto.DOUBLE)


def means(pipeline: Pipeline, committee: Committee, combine: Combine, finish: Combine) -> str:
    """Return what the committee means.

    `combine` turns what a network says, (batch, members, outputs), into what is averaged over the epochs kept, and
    `finish` that into what is averaged over folds.
    """
    made = []
    for fold in committee.folds:
        encoded = pipeline.encoded(fold)
        each = [combine(pipeline.said(fold, epoch, encoded)) for epoch in range(len(committee.shares))]
        made.append(finish(pipeline.mean(each, committee.shares.tolist())))
    return pipeline.mean(made, [1 / len(made)] * len(made))
