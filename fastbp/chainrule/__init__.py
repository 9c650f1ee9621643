"""The lesson: every gradient explained by the chain rule, beside its numerical twin.

* Scalar expressions: ``x = Var("x", 3.0)``, operators and functions, ``z.backward()``, ``z.explain(x)``.
* Networks: ``net.explain(x, y, loss, weight="w7", lr=0.5)``.
* Plain functions: :func:`program` is what a plan runs for one, forwards and backwards.
* The first two give an :class:`Explanation`, which prints as text and has LaTeX, Markdown, SVG and HTML forms in
  English and Korean; :func:`page` puts several on one page.
* :func:`worked_example` is the 2-2-2 network of the tutorial; :func:`compare` counts and times numerical against
  backpropagated gradients; :func:`load` reads a network and data from a file.

Two things meet here that pull in opposite directions: ``net.explain`` is a method of the networks that users hold, so
what explains must stand below them; the worked example *is* such a network, so it must stand above. Hence the lesson is
in two places. What explains is ``fastbp.views.explanations``, which takes any executable network and is imported by
``network.py``; what makes networks, and the public names of both, is this folder, above ``network.py``.
"""

from fastbp.chainrule.comparison import Comparison, compare
from fastbp.chainrule.example import Example, worked_example
from fastbp.chainrule.listing import Program, program
from fastbp.chainrule.loading import load
from fastbp.views.explanations.explanation import Explanation
from fastbp.views.explanations.gradients import explain
from fastbp.views.explanations.page import page
from fastbp.views.explanations.scalars import Expr, Var, cos, exp, log, max, relu, sigmoid, sin, sqrt, tanh

__all__ = [
    "Comparison", "Example", "Explanation", "Expr", "Program", "Var", "compare", "cos", "exp", "explain", "load", "log",
    "max", "page", "program", "relu", "sigmoid", "sin", "sqrt", "tanh", "worked_example",
]
