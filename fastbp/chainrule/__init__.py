"""The lesson: every gradient explained by the chain rule, beside its numerical twin.

* Scalar expressions: ``x = Var("x", 3.0)``, operators and functions, ``z.backward()``, ``z.explain(x)``.
* Networks: ``net.explain(x, y, loss, weight="w7", lr=0.5)``.
* Both give an :class:`Explanation`, which prints as text and has LaTeX, Markdown, SVG and HTML forms in English and
  Korean; :func:`page` puts several on one page.
* :func:`worked_example` is the 2-2-2 network of the tutorial; :func:`compare` counts and times numerical against
  backpropagated gradients; :func:`load` reads a network and data from a small JSON or Python file.
"""

from fastbp.chainrule.comparison import Comparison, compare
from fastbp.chainrule.example import Example, worked_example
from fastbp.chainrule.explanation import Explanation
from fastbp.chainrule.gradients import explain
from fastbp.chainrule.loading import load
from fastbp.chainrule.page import page
from fastbp.chainrule.scalars import Expr, Var, cos, exp, log, max, relu, sigmoid, sin, sqrt, tanh

__all__ = [
    "Comparison", "Example", "Explanation", "Expr", "Var", "compare", "cos", "exp", "explain", "load", "log", "max",
    "page", "relu", "sigmoid", "sin", "sqrt", "tanh", "worked_example",
]
