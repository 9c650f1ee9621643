r"""The chain rule from graph to graph: derivatives that are tensors themselves.

Going back from y, every tensor on the way to x gets a tensor of its own: its gradient, made by the backward rule of
each op that uses it (``Op.gradient``), and added up where there are several. That is what a backend does with numbers;
done with symbols, the result can stand in a loss, be an output, or be derived again.

**Forwards.** The gradient :math:`g(d) = J^T d` is linear in d, the gradient that y is given. Its own gradient by d is
therefore :math:`J`: so :math:`J v`, the derivative along v, is what going back twice gives, and d itself drops out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.graph.tensor import Node, Parameter, Symbol, Tensor, apply, as_tensor
from fastbp.graph.tracing import label_of
from fastbp.ops.base import Array, Shape
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.sources import ParameterOp, TrainingOp


def grad(y: Any, x: Any = None) -> Any:
    r"""Return the derivative of y by x as a tensor: :math:`\partial \sum y / \partial x`, of x's shape.

    Rows do not mix in most graphs: then each row of it is the derivative of that row's y.

    Parameters
    ----------
    y : tensor
        With several elements, their sum is derived.
    x : tensor, or sequence of them
        An input, or what was made on the way to y.

    Returns
    -------
    tensor, or tuple of them

    Raises
    ------
    ValueError
        Where y does not depend on x, or an op on the way cannot be derived in this way; it is named.
    TypeError
        For what is no tensor of real numbers.

    Examples
    --------
    The slope of a network, as an output beside what it predicts:

    >>> import fastbp as fb
    >>> x = fb.Input(1)
    >>> y = fb.Tanh()(fb.Linear(1, 1, weight_init=fb.Constant(2.0))(x))
    >>> net = fb.Network(x, (y, fb.grad(y, x)), dtype="float64")
    >>> net.predict([[0.0]])
    (array([[0.]]), array([[2.]]))
    """
    if callable(y) and not isinstance(y, Tensor | Symbol):
        raise TypeError(f"grad: y is {label_of(y)}, a function; expected what it returns for a tensor x, such as "
                        "fb.Input(3) or what a loss or fb.Lambda is given: fb.grad(function(x), x)")
    several = isinstance(x, list | tuple)
    xs = [_real(f"grad: x[{i}]" if several else "grad: x", t) for i, t in enumerate(x if several else (x,))]
    of = _real("grad: y", y)
    ones: Any = np.broadcast_to(_array(Symbol(as_tensor(1.0))), of.whole_shape)
    results = back(of, xs, ones)
    for t, g in zip(xs, results, strict=True):
        if g is None:
            raise ValueError(f"grad: {of!r} does not depend on {t!r}{why_not(of, [t])}")
    as_symbols = isinstance(y, Symbol) or any(isinstance(t, Symbol) for t in (x if several else (x,)))
    found = tuple(g if as_symbols or g is None else g.tensor for g in results)
    return found if several else found[0]


def jvp(y: Any, x: Any, v: Any) -> Any:
    r"""Return the derivative of y along v as a tensor: :math:`\sum_i v_i\, \partial y / \partial x_i`, of y's shape.

    Cheaper than :func:`grad` where y has many elements for each row, or for a second derivative along one direction.

    Parameters
    ----------
    y, x : tensor
        As in :func:`grad`.
    v : tensor or array
        The direction; it is broadcast to x's shape.

    Examples
    --------
    >>> import fastbp as fb
    >>> x = fb.Input(2)
    >>> net = fb.Network(x, fb.jvp(x[:, :1] * x, x, [1.0, 0.0]), dtype="float64")
    >>> net.predict([[3.0, 5.0]])
    array([[6., 5.]])
    """
    of, by = _real("jvp: y", y), _real("jvp: x", x)
    direction: Any = np.broadcast_to(_array(Symbol(as_tensor(v))), by.whole_shape)
    given = Tensor(of.shape, name="d", rows=of.rows)
    (gradient,) = back(of, [by], Symbol(given))
    if gradient is None:
        raise ValueError(f"jvp: {of!r} does not depend on {by!r}{why_not(of, [by])}")
    (result,) = back(gradient.tensor, [given], direction)
    assert result is not None
    return result if isinstance(y, Symbol) or isinstance(x, Symbol) or isinstance(v, Symbol) else result.tensor


def _real(label: str, x: Any) -> Tensor:
    if not isinstance(x, Tensor | Symbol):
        raise TypeError(f"{label} is {x!r}; expected a tensor, as fb.Input(…) and layers called on tensors give")
    tensor = as_tensor(x)
    if tensor.dtype != "real":
        raise TypeError(f"{label} holds {'whole numbers' if tensor.dtype == 'int64' else 'truth values'}, which have "
                        "no derivative; expected real numbers")
    return tensor


def back(y: Tensor, xs: Sequence[Tensor], dy: Symbol, *, stop: bool = False) -> list[Symbol | None]:
    """Return the gradients of xs, given that of y; None where none arrives. ``stop``: do not go behind any of them."""
    gradients: dict[Tensor, Symbol] = {y: dy}
    on_the_way = _between(y, xs, stop)
    parameters: dict[Parameter, Symbol] = {}
    for t in reversed(on_the_way):
        if t.node is None or (stop and t in xs) or t not in gradients:
            continue
        for source, dx in _of_inputs(t, t.node, gradients[t], set(on_the_way), parameters):
            known = gradients.get(source)
            gradients[source] = dx if known is None else known + dx
    return [gradients.get(x) for x in xs]


_SMOOTH = {
    "argmax": "fb.special.softmax(x), or np.max(x, axis) for the largest itself",
    "argmin": "fb.special.softmax(-x), or np.min(x, axis) for the smallest itself",
    "sign": "np.tanh(c * x)", "cast": "real numbers as they are, without astype", "floor": "x itself",
    "ceil": "x itself", "rint": "x itself", "floor_div": "x / y",
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"),
                    "np.maximum(0, a - b), or fb.special.sigmoid(c * (a - b))"),
}


def why_not(y: Tensor, xs: Sequence[Tensor]) -> str:
    """Return what to say of a y that depends on xs, but not in a way that has a derivative; "" where it does not."""
    for t in reversed(_between(y, xs, stop=False)):
        op = None if t.node is None else t.node.op
        if t.node is None or op is None or t in xs:
            continue
        if op.name == "stop_gradient":
            return f" but behind fb.stop_gradient{t.node.line}, where the chain rule ends; leave that out"
        if not any(map(op.has_gradient, range(len(t.node.inputs)))):
            instead = f"; use {_SMOOTH[op.name]}" if op.name in _SMOOTH else ""
            return f" in a way that has a derivative: {op.name}{t.node.line} has none{instead}"
    return ""


def reaches(y: Tensor, xs: Sequence[Tensor]) -> bool:
    """Whether the chain rule, going back from y, arrives at one of xs."""
    seen, stack = {y}, [y]
    while stack:
        t = stack.pop()
        if t in xs:
            return True
        new = [] if t.node is None else [s for i, s in enumerate(t.node.inputs) if s not in seen and s.dtype == "real"
                                         and t.node.op.has_gradient(i)]
        seen.update(new)
        stack.extend(new)
    return False


def _between(y: Tensor, xs: Sequence[Tensor], stop: bool) -> list[Tensor]:
    """Return what y is made of and depends on xs, each after what it needs."""
    wanted = set(xs)
    depends: dict[Tensor, bool] = {}
    order: list[Tensor] = []
    stack = [(y, False)]
    while stack:
        t, expanded = stack.pop()
        if t in depends:
            continue
        inputs = () if t.node is None or (stop and t in wanted) else t.node.inputs
        if expanded or not inputs:
            depends[t] = t in wanted or any(depends[s] for s in inputs)
            if depends[t]:
                order.append(t)
        else:
            stack.append((t, True))
            stack.extend((s, False) for s in inputs)
    return order


def _of_inputs(t: Tensor, node: Node, dy: Symbol, wanted: set[Tensor],
               parameters: dict[Parameter, Symbol]) -> list[tuple[Tensor, Symbol]]:
    params = {role: _parameter(node, role, p, parameters) for role, p in (*node.params.items(), *node.buffers.items())}
    if node.buffers:
        params["training"] = Symbol(apply(TrainingOp()))
    found = []
    for i, source in enumerate(node.inputs):
        if source not in wanted or source.dtype != "real":
            continue
        try:
            dx: Any = node.op.gradient(i, _array(dy), _array(Symbol(t)), *(_array(Symbol(s)) for s in node.inputs),
                                       **params)
        except NotImplementedError as error:
            raise ValueError(f"grad: {error}") from None
        if dx is not None:
            symbol = Symbol(as_tensor(dx))
            if isinstance(node.op, DropoutOp) and symbol.tensor.node is not None:
                symbol.tensor.node.key = t if node.key is None else node.key
            found.append((source, symbol))
    return found


def _array(symbol: Symbol) -> Array:
    """Return a symbol as what rules are written for: it takes all that they do with arrays."""
    return symbol  # type: ignore[return-value]


def _parameter(node: Node, role: str, p: Parameter, known: dict[Parameter, Symbol]) -> Any:
    if p not in known:
        shape: Shape = p.shape
        as_kind: Any = {"params" if role in node.params else "buffers": {role: p}}
        known[p] = Symbol(apply(ParameterOp(shape, role), owner=node.owner, **as_kind))
    return known[p]
