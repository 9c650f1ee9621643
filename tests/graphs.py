"""Random networks, with data and losses, for hypothesis: any op, any directed acyclic graph, widths 1 to 70."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import fastbp as fb
from fastbp.graph.graph import Tensor

Array = Any

SMOOTH: dict[str, Callable[[], fb.Layer]] = {
    "Identity": fb.Identity, "SiLU": fb.SiLU, "GELU": fb.GELU, "GELU, tanh": lambda: fb.GELU("tanh"), "Mish": fb.Mish,
    "Sigmoid": fb.Sigmoid, "Tanh": fb.Tanh, "Softplus": fb.Softplus, "Softmax": fb.Softmax, "ELU": fb.ELU,
    "BatchNorm": fb.BatchNorm, "LayerNorm": fb.LayerNorm, "Dropout": lambda: fb.Dropout(0.3), "Flatten": fb.Flatten,
    "frozen BatchNorm": lambda: fb.BatchNorm(trainable=False),
}
KINKED: dict[str, Callable[[], fb.Layer]] = {
    "ReLU": fb.ReLU, "LeakyReLU": lambda: fb.LeakyReLU(0.2), "SELU": fb.SELU, "ELU, 0.5": lambda: fb.ELU(0.5),
    "HardSwish": fb.HardSwish,
}
JOINS = {"Add": fb.Add, "Multiply": fb.Multiply, "Concat": fb.Concat}


@dataclass
class Example:
    """A network and what to train it on. ``seed`` decides parameters and data."""

    make: Callable[..., fb.Network]
    story: list[str]
    """How the graph was made, for the message of a test that fails."""
    losses: tuple[fb.Loss, ...]
    rows: int
    dtype: str
    seed: int
    weighted: bool
    smooth: bool

    def network(self, backend: str = "native", dtype: str | None = None) -> fb.Network:
        """Return the network with parameters that are none of the initial ones."""
        net = self.make(dtype=dtype or self.dtype, seed=self.seed, backend=backend)
        rng = np.random.default_rng(self.seed)
        for values in (*net.params.values(), *net.buffers.values()):
            values[...] += 0.1 * rng.uniform(0, 1, values.shape).astype(self.dtype)
        return net

    def data(self, net: fb.Network) -> tuple[list[Array], list[Array], Array | None]:
        """Return inputs, targets and sample weights."""
        rng = np.random.default_rng(self.seed + 1)
        x = [rng.standard_normal((self.rows, *t.shape)).astype(self.dtype) for t in net.graph.inputs]
        y = [_target(loss, t.shape, self.rows, rng) for loss, t in zip(self.losses, net.graph.outputs, strict=True)]
        return x, y, rng.uniform(0.5, 2, self.rows).astype(self.dtype) if self.weighted else None

    def __repr__(self) -> str:
        return f"Example({self.rows} rows, {self.dtype}, seed {self.seed}, {self.losses}: {'; '.join(self.story)})"


def _target(loss: fb.Loss, shape: tuple[int, ...], rows: int, rng: np.random.Generator) -> Array:
    if isinstance(loss, fb.CrossEntropy):
        return rng.integers(0, shape[-1], (rows, *shape[:-1]))
    if isinstance(loss, fb.BinaryCrossEntropy):
        return rng.integers(0, 2, (rows, *shape)).astype(float)
    if isinstance(loss, fb.PoissonNLL):
        return rng.poisson(2.0, (rows, *shape)).astype(float)
    if isinstance(loss, fb.GaussianNLL):
        return rng.standard_normal((rows, shape[0] // 2))
    return rng.standard_normal((rows, *shape))


@st.composite
def losses(draw: st.DrawFn, shape: tuple[int, ...], smooth: bool) -> fb.Loss:
    fitting: list[fb.Loss] = [fb.MSE(), fb.HalfSquaredError(), fb.BinaryCrossEntropy(), fb.PoissonNLL()]
    if not smooth:
        fitting += [fb.MAE(), fb.Huber(0.7), fb.Quantile(0.8)]
    if shape[-1] > 1:
        fitting += [fb.CrossEntropy(), fb.CrossEntropy(0.1)]
    if len(shape) == 1 and shape[0] % 2 == 0:
        fitting.append(fb.GaussianNLL())
    return draw(st.sampled_from(fitting))


class _Graph:
    """Grows a graph by choices that are drawn; the choices are kept, so that it can be made again and again."""

    def __init__(self, draw: st.DrawFn, smooth: bool) -> None:
        self.draw = draw
        self.story: list[str] = []
        self.recipe: list[Callable[[list[Tensor], dict[int, fb.Layer]], Tensor]] = []
        self.layers: list[str] = [*SMOOTH, *({} if smooth else KINKED), *JOINS, "Linear", "Linear", "Linear, again"]
        n_inputs = draw(st.integers(1, 2))
        width = st.integers(1, 70)
        self.input_shapes = [draw(st.tuples(width) | st.tuples(st.integers(1, 3), st.integers(1, 20)))
                             for _ in range(n_inputs)]
        self.shapes: list[tuple[int, ...]] = list(self.input_shapes)
        self.linears: list[tuple[int, tuple[int, int]]] = []       # number and sizes of those made

    def grow(self) -> None:
        kind = self.draw(st.sampled_from(self.layers))
        at = self.draw(st.integers(0, len(self.shapes) - 1))
        if kind == "Linear":
            self.linear(at, self.draw(st.integers(1, 70)))
        elif kind == "Linear, again":
            self.linear_again(at)
        elif kind in JOINS:
            self.join(kind, at, self.draw(st.integers(0, len(self.shapes) - 1)))
        else:
            self.layer(kind, at)

    def add(self, text: str, shape: tuple[int, ...], step: Any) -> None:
        self.story.append(f"t{len(self.shapes)} = {text}")
        self.shapes.append(shape)
        self.recipe.append(step)

    def linear(self, at: int, width: int) -> None:
        i, number = self.shapes[at][-1], len(self.linears)
        bias, trainable = self.draw(st.booleans()), self.draw(st.integers(0, 5)) > 0
        self.linears.append((number, (i, width)))

        def step(tensors: list[Tensor], made: dict[int, fb.Layer]) -> Tensor:
            made[number] = fb.Linear(i, width, bias=bias, trainable=trainable)
            return made[number](tensors[at])
        self.add(f"Linear{number}({i}, {width}, bias={bias}, trainable={trainable})(t{at})",
                 (*self.shapes[at][:-1], width), step)

    def linear_again(self, at: int) -> None:
        fitting = [(n, o) for n, (i, o) in self.linears if i == self.shapes[at][-1]]
        if not fitting:
            return
        number, width = self.draw(st.sampled_from(fitting))
        self.add(f"Linear{number}(t{at})", (*self.shapes[at][:-1], width), lambda t, made: made[number](t[at]))

    def join(self, kind: str, at: int, other: int) -> None:
        a, b = self.shapes[at], self.shapes[other]
        if a[:-1] != b[:-1] or (kind != "Concat" and a != b):
            other, b = at, a
        width = a[-1] + b[-1] if kind == "Concat" else a[-1]
        if width <= 140:
            self.add(f"{kind}(t{at}, t{other})", (*a[:-1], width), lambda t, _: JOINS[kind]()(t[at], t[other]))

    def layer(self, kind: str, at: int) -> None:
        make, shape = (SMOOTH | KINKED)[kind], self.shapes[at]
        if kind == "LayerNorm" and shape[-1] == 1:
            return      # of one feature it is a constant: its gradient, 0, is what rounding leaves, times 1/√eps
        if kind == "Flatten":
            shape = (int(np.prod(shape)),)
        self.add(f"{kind}(t{at})", shape, lambda t, _: make()(t[at]))

    def network(self, outputs: list[int], **options: Any) -> fb.Network:
        tensors: list[Tensor] = [fb.Input(*shape) for shape in self.input_shapes]
        inputs, made = tuple(tensors), dict[int, fb.Layer]()
        for step in self.recipe:
            tensors.append(step(tensors, made))
        return fb.Network(inputs, tuple(tensors[i] for i in outputs), **options)

    def use_all_inputs(self) -> int:
        """Return the number of a tensor that depends on every input and on the last tensor."""
        flat = []
        for at in sorted({*range(len(self.input_shapes)), len(self.shapes) - 1}):
            if len(self.shapes[at]) > 1:
                self.layer("Flatten", at)
                at = len(self.shapes) - 1
            self.linear(at, 4)
            flat.append(len(self.shapes) - 1)
        total = flat[0]
        for at in flat[1:]:
            self.join("Add", total, at)
            total = len(self.shapes) - 1
        return total


@st.composite
def examples(draw: st.DrawFn, most_rows: int = 200, least_rows: int = 0, depth: int = 9,
             dtypes: tuple[str, ...] = ("float32", "float64")) -> Example:
    dtype = draw(st.sampled_from(dtypes))
    smooth = dtype == "float32" or draw(st.booleans())     # float32 and float64 may lie on two sides of a kink
    graph = _Graph(draw, smooth)
    for _ in range(draw(st.integers(0, depth))):
        graph.grow()
    outputs = [graph.use_all_inputs()]
    if draw(st.booleans()):
        outputs.append(draw(st.integers(len(graph.input_shapes), len(graph.shapes) - 1).filter(
            lambda i: i not in outputs)))
    chosen = tuple(draw(losses(graph.shapes[i], smooth)) for i in outputs)
    return Example(lambda **options: graph.network(outputs, **options), graph.story, chosen,
                   draw(st.integers(least_rows, most_rows)), dtype, draw(st.integers(0, 2**32)), draw(st.booleans()),
                   smooth)
