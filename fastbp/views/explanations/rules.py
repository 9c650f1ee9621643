"""Formulas as people write them, and the shapes that those of functions with pieces share.

``@a`` and ``@b`` stand for the operands, ``@y`` for the result, ``@w`` for a weight, ``@o`` and ``@t`` for output and
target. A derivative that takes more than a few signs has a short name (``GELU′(@a)``) for use in a product, and is
spelled out beside it. Where a function has pieces, the piece that applies is named with its condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastbp.views.explanations.symbols import Formula, Quantity, number


@dataclass(frozen=True)
class Rule:
    """One formula: as it stands in a product, and spelled out where that is longer."""

    text: str
    latex: str
    long_text: str = ""
    long_latex: str = ""

    def formula(self, quantities: Mapping[str, Quantity]) -> Formula:
        """Return it as it stands in a product."""
        return Formula(self.text, self.latex, quantities)

    def spelled_out(self, quantities: Mapping[str, Quantity]) -> Formula:
        """Return it at full length."""
        return Formula(self.long_text or self.text, self.long_latex or self.latex, quantities)


@dataclass(frozen=True)
class Rules:
    """What is known of an elementwise op: its own formula, and one derivative for each operand."""

    forward: Rule
    derivatives: tuple[Rule, ...]


Piece = tuple[bool, str, str, str, str]
"""Whether it applies; the derivative in text and LaTeX; the condition in text and LaTeX."""


def same(text: str) -> Rule:
    """Return a rule that reads alike in text and LaTeX."""
    return Rule(text, text)


ONE = same("1")


def six(value: float) -> str:
    """Return a hyperparameter as it stands in a formula."""
    return number(value, 6)


def named(name: str, text: str = "", latex: str = "") -> Rule:
    """Return a derivative that goes by the function's name with a prime in a product."""
    return Rule(f"{name}′(@a)", rf"\mathrm{{{name}}}'(@a)", text, latex)


def pieces(name: str, *given: Piece) -> Rule:
    """Return the derivative by the first piece whose condition holds."""
    for holds, text, latex, condition, latex_condition in given:
        if holds:
            return named(name, f"{text} ({condition})", rf"{latex} \quad ({latex_condition})")
    return named(name, "NaN", r"\mathrm{NaN}")


def sided(name: str, a: float, above: tuple[str, str], below: tuple[str, str]) -> Rule:
    """Return the derivative of a function with one formula above 0, and another up to it."""
    return pieces(name, (a > 0, *above, "@a > 0", "@a > 0"), (a <= 0, *below, "@a ≤ 0", r"@a \le 0"))


def mean_of(width: int) -> tuple[str, str]:
    """Return the factor 1/d of a mean over d outputs, in text and LaTeX; nothing for one."""
    return (f"(1/{width}) · ", rf"\tfrac{{1}}{{{width}}} ") if width > 1 else ("", "")
