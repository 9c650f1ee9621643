"""The program of a function: what is listed is what a plan runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbp as fb
from fastbp import chainrule as cr

UNARY: dict[str, Callable[..., Any]] = {
    "exp": np.exp, "square": np.square, "neg": np.negative, "tanh": np.tanh, "sin": np.sin, "cos": np.cos,
    "sigmoid": fb.special.sigmoid,
}
BINARY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "logaddexp": np.logaddexp,
    "fma": lambda a, b, c: a * b + c, "fms": lambda a, b, c: a * b - c, "fnma": lambda a, b, c: c - a * b,
}


def ran(lines: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
    """What the instructions come to, one after the other, in NumPy."""
    known = dict(given)
    for line in lines:
        target, rest = line.split(" = ")
        name, _, operands = rest.partition(" ")
        values = [known[o] if o in known else float(o) for o in operands.split(", ")]
        known[target] = {**UNARY, **BINARY}[name](*values)
    return known


@pytest.mark.parametrize("function", [
    lambda x, z: np.exp(-np.square(x)) * z, lambda x, z: np.tanh(x * z) / z, lambda x, z: np.sin(x) * np.sin(x) - z * x,
    lambda x, z: np.logaddexp(x, z) * 2.0,
])
def test_what_is_listed_computes_the_function_and_its_gradient(function: Callable[..., Any]) -> None:
    program = cr.program(function, x=(1,), z=(1,))
    x, z, h = 0.7, 1.3, 1e-6
    assert ran(program.forward, {"x": x, "z": z})["out"] == pytest.approx(function(x, z), rel=1e-12)
    back = ran(program.backward, {"x": x, "z": z, "dout": 2.0, **ran(program.forward, {"x": x, "z": z})})
    assert back["dx"] == pytest.approx((function(x + h, z) - function(x - h, z)) / h, rel=1e-6)
    assert back["dz"] == pytest.approx((function(x, z + h) - function(x, z - h)) / h, rel=1e-6)


def test_common_parts_are_computed_once() -> None:
    (sine, square) = cr.program(lambda x: np.sin(x) * np.sin(x), x=(1,)).forward
    assert sine == "a = sin x"
    assert square == "out = mul a, a"


def test_a_loss_is_listed_by_rows() -> None:
    program = cr.program(lambda p, t: np.mean(np.square(p - t)), p=(3,), t=(3,))
    assert program.forward[:2] == ("a = sub p, t", "b = square a")
    assert any("B" in line for line in program.forward)
    assert str(program).startswith("forward\n  a = sub p, t\n")


def test_what_is_no_program_is_named() -> None:
    with pytest.raises(ValueError, match="one array for all rows"):
        cr.program(lambda x: np.max(x, axis=0), x=(3,))
    with pytest.raises(TypeError, match="returned float"):
        cr.program(lambda x: 1.0, x=(3,))
    with pytest.raises(TypeError, match=r"program\(<lambda>\), line .*branch"):
        cr.program(lambda x: x if x > 0 else -x, x=(3,))
    text = str(cr.program(lambda x: x - x.mean(axis=0), x=(3,)))
    assert "mean x        (as a whole)" in text
