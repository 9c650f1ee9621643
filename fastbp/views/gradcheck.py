r"""Numerical gradients, and the check of a network's own gradients against them.

The derivative of a function is the limit of difference quotients. The central one,

.. math:: \frac{f(x + h) - f(x - h)}{2h} = f'(x) + \frac{h^2}{6} f'''(x) + \dots

is off by a truncation error that shrinks as :math:`h^2`, and by a rounding error :math:`\epsilon |f| / h` that grows as
h shrinks (:math:`\epsilon \approx 2.2 \cdot 10^{-16}` in float64). Their sum is least near :math:`h = \epsilon^{1/3}
\approx 6 \cdot 10^{-6}`, where both are around :math:`10^{-11}`; for the forward quotient, whose truncation error
shrinks as h only, it is near :math:`\epsilon^{1/2}`. Steps grow with |x|, as the
spacing of floating-point numbers does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import comb
from numbers import Real
from typing import Any, Literal

import numpy as np

from fastbp.engine.executable import Executable
from fastbp.views import markup

Array = np.ndarray[Any, np.dtype[Any]]

_EPSILON = float(np.finfo(np.float64).eps)
CENTRAL_STEP = _EPSILON ** (1 / 3)
FORWARD_STEP = _EPSILON ** (1 / 2)


def numerical_gradient(f: Callable[[Any], Any], x: Any, eps: float | None = None,
                       method: Literal["central", "forward"] = "central") -> Any:
    r"""Return the gradient of a function by difference quotients, in float64.

    Parameters
    ----------
    f : callable
        Takes what x is (with arrays of float64 in it; copies, so it may keep or change them) and returns a number.
    x : array, or a tuple, list or dict of arrays
        Where the gradient is wanted. It is not changed.
    eps : float, optional
        The step h. By default ``max(1, |x|)`` times 6e-6 (central) or 1.5e-8 (forward), where the sum of truncation
        and rounding error is least.
    method : {"central", "forward"}, default "central"
        ``(f(x + h) - f(x - h)) / 2h``, or ``(f(x + h) - f(x)) / h``: half the evaluations, half the digits.

    Returns
    -------
    array, or a tuple, list or dict of arrays, of the shape of x

    Raises
    ------
    ValueError
        For an unknown method, a step that is not positive, or an f that does not return one number.

    Notes
    -----
    Nocedal and Wright, Numerical Optimization (2006), section 8.1.

    Examples
    --------
    >>> import fastbp as fb, numpy as np
    >>> fb.numerical_gradient(lambda x: (x ** 2).sum(), np.array([1.0, -3.0])).round(6)
    array([ 2., -6.])
    >>> gradient = fb.numerical_gradient(lambda p: p["w"] * p["b"], {"w": 2.0, "b": 5.0})
    >>> round(float(gradient["w"]), 6), round(float(gradient["b"]), 6)
    (5.0, 2.0)
    """
    if method not in ("central", "forward"):
        raise ValueError(f'numerical_gradient: method is {method!r}; expected "central" or "forward"')
    _check_step("numerical_gradient", eps)
    if not callable(f):
        raise TypeError(f"numerical_gradient: f is {type(f).__name__}; expected a function of x that returns one "
                        "number")
    arrays, rebuild = _take_apart(x)

    def evaluate() -> float:
        return _one_number(f(rebuild([a.copy() for a in arrays])))

    here = evaluate() if method == "forward" else 0.0
    gradients = [np.zeros_like(a) for a in arrays]
    for array, gradient in zip(arrays, gradients, strict=True):
        for index in np.ndindex(array.shape):
            old = float(array[index])
            h = eps or (CENTRAL_STEP if method == "central" else FORWARD_STEP) * max(1.0, abs(old))
            array[index] = high = old + h
            above = evaluate()
            low, below = old, here
            if method == "central":
                array[index] = low = old - h
                below = evaluate()
            array[index] = old
            # high - low is the step that was really taken: old ± h is rounded
            gradient[index] = (above - below) / (high - low)
    return rebuild(gradients)


def _take_apart(x: Any) -> tuple[list[Array], Callable[[list[Array]], Any]]:
    """Return float64 copies of the arrays in x, and a function that puts arrays back into x's structure."""
    if isinstance(x, dict):
        return [_float64(f"x[{k!r}]", v) for k, v in x.items()], lambda arrays: dict(zip(x, arrays, strict=True))
    if isinstance(x, tuple):
        return [_float64(f"x[{i}]", v) for i, v in enumerate(x)], tuple
    if isinstance(x, list) and any(isinstance(v, np.ndarray) for v in x):
        return [_float64(f"x[{i}]", v) for i, v in enumerate(x)], list
    return [_float64("x", x)], lambda arrays: arrays[0]


def _float64(name: str, values: Any) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"numerical_gradient: {name} has dtype {array.dtype}; expected real numbers")
    return np.array(array, dtype=np.float64, order="C")


def _one_number(value: Any) -> float:
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(f"numerical_gradient: f returned shape {array.shape}; expected one number, such as a sum")
    return float(array.reshape(()))


def _check_step(owner: str, eps: Any) -> None:
    if eps is None:
        return
    if isinstance(eps, bool) or not isinstance(eps, Real):
        raise TypeError(f"{owner}: eps is {type(eps).__name__}; expected a positive number, or None. Several arrays "
                        "are given as one argument, a tuple, list or dict")
    if not 0 < float(eps) < float("inf"):
        raise ValueError(f"{owner}: eps is {eps!r}; expected a positive number, or None")


# ---- the check of a network ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GradcheckEntry:
    """One comparison: a single entry of a tensor, or a random direction in it.

    Attributes
    ----------
    tensor : str
        The parameter's name, or the input's.
    index : tuple of int or None
        Which entry; None for a direction.
    direction : int or None
        Which direction; None for an entry.
    analytic, numerical : float
        The derivative by backpropagation, and by differences.
    relative_error : float
        ``|a - n| / max(|a|, |n|, floor)``.
    kink : bool
        Whether the two disagree only because the probes lie on two sides of a kink.
    """

    tensor: str
    index: tuple[int, ...] | None
    direction: int | None
    analytic: float
    numerical: float
    relative_error: float
    kink: bool

    def __str__(self) -> str:
        if self.index is None:
            where = f" along direction {self.direction}"
        else:
            where = f"[{', '.join(map(str, self.index))}]"
        return (f'"{self.tensor}"{where}: analytic {self.analytic:.10g}, numerical {self.numerical:.10g}, '
                f"relative error {self.relative_error:.2g}")


@dataclass(frozen=True)
class TensorCheck:
    """All comparisons in one tensor: how many, how many of them kinks and errors, and the worst that is no kink."""

    name: str
    shape: tuple[int, ...]
    checked: int
    kinks: int
    errors: int
    worst: GradcheckEntry | None


@dataclass(frozen=True, repr=False)
class GradcheckReport:
    """What :func:`gradcheck` found. True where everything agrees; a verdict and a table when printed.

    Attributes
    ----------
    ok : bool
        Whether at least one entry was compared, and all that were, kinks left out, agree.
    verdict : str
        One sentence.
    worst : GradcheckEntry or None
        The entry with the largest relative error, kinks left out.
    kinks : tuple of GradcheckEntry
        Where the probes lay on two sides of a kink.
    tensors : tuple of TensorCheck
    suspects : tuple of str
        Where gradients differ, the places in the graph that can have caused it: the last one whose gradient is wrong,
        and what lies between it and those whose gradients are right.
    frozen : tuple of str
        Parameters that are not trained and so have no gradient to check.
    tolerance : float
    integers : tuple of str
        Inputs of integers, which have no gradient either.
    """

    tensors: tuple[TensorCheck, ...]
    kinks: tuple[GradcheckEntry, ...]
    suspects: tuple[str, ...]
    frozen: tuple[str, ...]
    tolerance: float
    integers: tuple[str, ...] = ()

    @property
    def worst(self) -> GradcheckEntry | None:
        entries = [t.worst for t in self.tensors if t.worst is not None]
        return max(entries, key=lambda e: e.relative_error, default=None)

    @property
    def ok(self) -> bool:
        return self.worst is not None and not any(t.errors for t in self.tensors)

    @property
    def verdict(self) -> str:
        checked, errors = sum(t.checked for t in self.tensors), sum(t.errors for t in self.tensors)
        aside = f"; {len(self.kinks)} at a kink left out" if self.kinks else ""
        if self.worst is None:
            return f"nothing could be compared: {checked} derivatives{aside}"
        if errors:
            wrong = ", ".join(f'"{t.name}"' for t in self.tensors if t.errors)
            return f"gradients differ: {errors} of {checked} derivatives, in {wrong}{aside}"
        return f"gradients agree: {checked} derivatives of {len(self.tensors)} tensors{aside}"

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        worst = "" if self.worst is None else f", largest relative error {self.worst.relative_error:.2g}"
        return f"GradcheckReport({self.verdict}{worst})"

    def _repr_html_(self) -> str:
        title, *notes = self._remarks()
        return markup.html_table(title, self._table(), right=(2, 3, 4, 5), notes=notes)

    def __str__(self) -> str:
        rows = self._table()
        width = max(len(row[0]) for row in rows)
        lines = [f"{name:<{width}}  {shape:<16}{checked:>8}{kinks:>7}{errors:>8}  {worst}"
                 for name, shape, checked, kinks, errors, worst in rows]
        return "\n".join([*self._remarks(), "", *lines])

    def _remarks(self) -> list[str]:
        lines = [f"{self.verdict} (tolerance {self.tolerance:.0e})"]
        if self.worst is not None:
            lines.append(f"worst: {self.worst}")
        if self.suspects:
            lines.append(f"look at: {', '.join(self.suspects)}")
        lines += [f"kink: {entry}" for entry in self.kinks[:3]]
        if len(self.kinks) > 3:
            lines.append(f"and {len(self.kinks) - 3} more kinks")
        if self.frozen:
            lines.append(f"frozen, so not checked: {', '.join(self.frozen)}")
        if self.integers:
            lines.append(f"integers, which have no gradient: {', '.join(self.integers)}")
        return lines

    def _table(self) -> list[tuple[str, ...]]:
        return [("tensor", "shape", "checked", "kinks", "errors", "worst relative error"),
                *((t.name, str(t.shape), str(t.checked), str(t.kinks), str(t.errors),
                   "-" if t.worst is None else f"{t.worst.relative_error:.2g}") for t in self.tensors)]


def gradcheck(net: Any, x: Any, y: Any, loss: Any, sample_weight: Any = None, *, eps: float | None = None,
              tolerance: float = 1e-6, directions: int | None = None, inputs: bool = True,
              max_entries: int | None = None, seed: int = 0) -> GradcheckReport:
    r"""Compare a network's gradients with central differences of its loss, in training mode and float64.

    The check runs on a float64 copy with the same backend; the network itself is not touched. Dropout keeps its mask
    and batch normalisation its buffers while the loss is probed.

    Parameters
    ----------
    net : Network
    x, y, loss, sample_weight
        A batch, as ``net.loss_and_grad`` takes it. Every derivative costs two evaluations of the loss on it: a few
        rows are best.
    eps : float, optional
        The step; by default ``6e-6 * max(1, |x|)``, see :func:`numerical_gradient`.
    tolerance : float, default 1e-6
        The largest relative error that counts as agreement.
    directions : int, optional
        Compare derivatives along that many random directions in each tensor, rather than entry by entry: less work
        for large networks, and every entry takes part.
    inputs : bool, default True
        Whether the gradients of the inputs are checked too. Inputs of integers have none.
    max_entries : int, optional
        Compare at most so many entries of each tensor, drawn at random; all by default.
    seed : int, default 0
        Decides what is drawn.

    Returns
    -------
    GradcheckReport

    Raises
    ------
    ValueError
        If the loss is not finite, for options that do not fit, or for a network that multiplies in bfloat16: rounding
        makes steps of its loss.

    Notes
    -----
    The relative error is :math:`|a - n| / \max(|a|, |n|, floor)`. The floor is what rounding alone does to a
    difference quotient, divided by the tolerance: where both derivatives are so small that their difference drowns in
    rounding, it counts for nothing. How much the loss itself is rounded is measured, by moving every number by a few
    units in its last place, and by how far the loss strays from a smooth curve (Moré and Wild, 2011,
    https://doi.org/10.1137/100786125).

    Where the two differ, the step is made smaller, as far as rounding allows. A wrong gradient stays wrong. If the
    quotients to the left and to the right keep apart, there is a kink at this point (ReLU at 0): the derivative does
    not exist, and there is nothing to compare with. If the smaller step agrees, there was one nearby, between the
    probes.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Linear(3, 4), fb.Tanh(), fb.Linear(4, 1), seed=0, backend="reference")
    >>> report = fb.gradcheck(net, [[0.1, 0.2, 0.3]], [[1.0]], fb.MSE())
    >>> report.ok, report.verdict
    (True, 'gradients agree: 24 derivatives of 5 tensors')
    """
    _check_options(eps, tolerance, directions, max_entries)
    if not isinstance(net, Executable):
        raise TypeError(f"gradcheck: net is {net!r}; expected a network, such as fb.Sequential(layer)")
    if net.compute_dtype != net.dtype:
        raise ValueError(f"gradcheck: the network multiplies in {net.compute_dtype}, whose rounding makes steps of the "
                         "loss, with no slope to compare with; check a copy that does not: "
                         f'net.copy(compute_dtype="{net.dtype}")')
    work = net.sized(x).copy(dtype="float64", backend=net.backend)
    batch = work._data(x, y, loss, sample_weight)
    batch = replace(batch, inputs=[a.copy() for a in batch.inputs])
    with work.fixed_dropout():
        return _gradcheck(work, batch, eps, tolerance, directions, inputs, max_entries, np.random.default_rng(seed))


def _gradcheck(work: Any, batch: Any, eps: float | None, tolerance: float, directions: int | None, inputs: bool,
               max_entries: int | None, rng: np.random.Generator) -> GradcheckReport:
    """Check the gradients of a network for checked data; it changes both, and puts them back."""
    names = [work.graph.names[t] for t in work.graph.inputs]
    buffers = work.buffers.flat.copy()
    work._check_training(batch.rows)
    work._run_back(batch, input_grads=True)

    def evaluate() -> float:
        work.buffers.flat[...] = buffers
        return float(work._runner(batch).loss(batch, True))

    trained = {n: p for n, p in work.params.items() if n not in work.memory.frozen}
    named = dict(zip(names, zip(batch.inputs, work.input_grads, strict=True), strict=True))
    real = {n: x for n, (x, g) in named.items() if g is not None}
    moved = {**trained, **(real if inputs else {})}
    gradients = {**work.grads, **{n: g for n, (_, g) in named.items() if g is not None}}
    analytic = {n: g.copy() for n, g in gradients.items()}
    prober = _Prober(evaluate, [*trained.values(), *real.values()], tolerance, eps, rng)
    checks, kinks = [], []
    for name, array in moved.items():
        entries = [prober.compare(name, array, analytic[name], *probe)
                   for probe in _probes(array, directions, max_entries, rng)]
        checks.append(_summarize(name, array, entries, tolerance))
        kinks += [e for e in entries if e.kink]
    frozen = tuple(n for n in work.params if n not in trained)
    wrong, right = [{c.name for c in checks if bool(c.errors) is bad and c.worst} for bad in (True, False)]
    integers = tuple(n for n in names if n not in real)
    suspects = _suspects(work.graph, wrong, right)
    return GradcheckReport(tuple(checks), tuple(kinks), suspects, frozen, tolerance, integers)


def _check_options(eps: Any, tolerance: Any, directions: Any, max_entries: Any) -> None:
    _check_step("gradcheck", eps)
    if not 0 < tolerance < 1:
        raise ValueError(f"gradcheck: tolerance is {tolerance!r}; expected a number between 0 and 1, such as 1e-6")
    for argument, value in (("directions", directions), ("max_entries", max_entries)):
        if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__") or value < 1):
            raise ValueError(f"gradcheck: {argument} is {value!r}; expected a positive integer, or None")
    if directions is not None and max_entries is not None:
        raise ValueError("gradcheck: directions and max_entries are both given; expected one of them")


_Key = tuple[int, ...] | None


def _probes(array: Array, directions: int | None, max_entries: int | None,
            rng: np.random.Generator) -> Iterator[tuple[_Key, int | None, Array | float]]:
    """Yield what to compare in a tensor: (index, None, 1) for an entry, (None, number, unit vector) for a direction."""
    if directions is not None:
        for number in range(directions):
            v = rng.standard_normal(array.shape)
            yield None, number, np.asarray(v / np.linalg.norm(v))
        return
    flat = np.arange(array.size)
    if max_entries is not None and max_entries < array.size:
        flat = np.sort(rng.choice(array.size, max_entries, replace=False))
    for i in flat:
        yield tuple(int(k) for k in np.unravel_index(i, array.shape)), None, 1.0


@dataclass(frozen=True)
class _Slopes:
    """The difference quotients to the left and to the right of a point, and what rounding may do to them."""

    left: float
    right: float
    noise: float

    @property
    def central(self) -> float:
        return (self.left + self.right) / 2

    @property
    def gap(self) -> float:
        return abs(self.right - self.left)

    def limit(self, finer: _Slopes, ratio: float) -> _Slopes:
        """Return what quotients whose error is proportional to the step go to, given those at a step / ratio.

        Central ones have such an error where the second derivative jumps, as that of ELU does at 0.
        """
        def extrapolate(here: float, there: float) -> float:
            return there + (there - here) / (ratio - 1)
        return _Slopes(extrapolate(self.left, finer.left), extrapolate(self.right, finer.right), 2 * finer.noise)


class _Prober:
    """Compares derivatives with difference quotients of a loss whose arrays it moves in place."""

    # To tell a kink from an error the step is divided by FINER, and again, up to FINEST.
    FINER, FINEST = 8, 512

    def __init__(self, evaluate: Callable[[], float], arrays: list[Array], tolerance: float, eps: float | None,
                 rng: np.random.Generator) -> None:
        self._evaluate, self._tolerance, self._eps = evaluate, tolerance, eps
        self._here = evaluate()
        if not np.isfinite(self._here):
            raise ValueError(f"gradcheck: the loss is {self._here} on this batch; expected a finite number. Try "
                             "smaller inputs or parameters")
        self._rounding = self._measure_rounding(arrays, rng)

    def _measure_rounding(self, arrays: list[Array], rng: np.random.Generator) -> float:
        """Return how far rounding may move a loss: by inputs that move a few units in their last place, or by itself.

        The second matters where the loss is the small difference of larger numbers, as it is for a network that is sure
        of its classes: such a loss moves in wider steps than its inputs.
        """
        largest = max(_EPSILON * abs(self._here), *(self._roughness(arrays, rng) for _ in range(3)))
        before = [a.copy() for a in arrays]
        for _ in range(4):
            for a in arrays:
                a *= 1 + _EPSILON * rng.integers(-2, 3, a.shape)
            largest = max(largest, abs(self._evaluate() - self._here))
            for a, old in zip(arrays, before, strict=True):
                a[...] = old
        return 4 * largest

    def _roughness(self, arrays: list[Array], rng: np.random.Generator) -> float:
        """Return the standard deviation of the loss around a smooth curve, along a random line through this point.

        From differences of high order of values at equal distances, in which a smooth curve is nothing: Moré and Wild,
        Estimating Computational Noise (2011), https://doi.org/10.1137/100786125.
        """
        directions = [rng.choice([-1.0, 1.0], a.shape) for a in arrays]
        step, values = 1e-10, self._along(arrays, directions, 1e-10)
        while len(set(values)) < 5 and step < 1e-2:  # too short to see the steps in which the loss moves
            step *= 10
            values = self._along(arrays, directions, step)
        differences = {k: np.diff(values, k) for k in (3, 4, 5)}
        return max(float(np.sqrt(np.mean(d**2) / comb(2 * k, k))) for k, d in differences.items())

    def _along(self, arrays: list[Array], directions: list[Array], step: float) -> list[float]:
        """Return the loss at nine points of a line, relative steps apart."""
        before = [a.copy() for a in arrays]
        values = []
        for i in range(-4, 5):
            for a, old, direction in zip(arrays, before, directions, strict=True):
                a[...] = old * (1 + step * i * direction)
            values.append(self._evaluate())
        for a, old in zip(arrays, before, strict=True):
            a[...] = old
        return values

    def compare(self, name: str, array: Array, gradient: Array, index: _Key, number: int | None,
                along: Array | float) -> GradcheckEntry:
        """Compare one derivative of a tensor."""
        part = ... if index is None else index
        analytic = float(np.sum(gradient[part] * along))
        step = self._eps or CENTRAL_STEP * max(1.0, float(np.max(np.abs(array[part]))))

        def slopes(h: float) -> _Slopes:
            return self._slopes(array, part, along, h)

        first = slopes(step)
        kink, best = False, first
        if self._error(analytic, first) > self._tolerance:
            kink, best = self._refine(analytic, first, step, slopes)
        return GradcheckEntry(name, index, number, analytic, best.central, self._error(analytic, best), kink)

    def _slopes(self, array: Array, part: Any, along: Array | float, h: float) -> _Slopes:
        old = np.copy(array[part])
        array[part] = old + h * along
        above = self._evaluate()
        array[part] = old - h * along
        below = self._evaluate()
        array[part] = old
        return _Slopes((self._here - below) / h, (above - self._here) / h, self._rounding / h)

    def _error(self, analytic: float, slopes: _Slopes) -> float:
        difference = abs(analytic - slopes.central)
        if not np.isfinite(difference):
            return float("inf")
        floor = slopes.noise / self._tolerance
        return difference / max(abs(analytic), abs(slopes.central), floor, np.finfo(np.float64).tiny)

    def _refine(self, analytic: float, first: _Slopes, step: float,
                slopes: Callable[[float], _Slopes]) -> tuple[bool, _Slopes]:
        """Tell a kink from an error with smaller steps: return whether there is one, and the quotients to report."""
        difference = abs(analytic - first.central)
        coarse = finest = first
        ratio = 1
        # Where rounding comes near the difference, it could make a wrong gradient look right.
        while ratio < self.FINEST and self._rounding / (step / ratio / self.FINER) < difference / 10:
            ratio *= self.FINER
            coarse, finest = finest, slopes(step / ratio)
            if self._error(analytic, finest) <= self._tolerance:
                # The gap of a smooth function shrinks with the step; if by more than that, a kink was left behind.
                return coarse.gap > 2 * self.FINER * finest.gap, finest
            limit = first.limit(finest, ratio)
            if self._error(analytic, limit) <= self._tolerance:
                return False, limit
        stays = finest.gap > 2 * first.gap / ratio + 4 * finest.noise
        # Where several kinks meet, the gradient need not lie between the two quotients, but it is near them.
        return stays and abs(analytic - finest.central) <= 4 * finest.gap, first


def _summarize(name: str, array: Array, entries: list[GradcheckEntry], tolerance: float) -> TensorCheck:
    compared = [e for e in entries if not e.kink]
    worst = max(compared, key=lambda e: e.relative_error, default=None)
    errors = sum(e.relative_error > tolerance for e in compared)
    return TensorCheck(name, array.shape, len(entries), len(entries) - len(compared), errors, worst)


def _suspects(graph: Any, wrong: set[str], right: set[str]) -> tuple[str, ...]:
    """Return the nodes that can have caused wrong gradients.

    Gradients run from the outputs to the inputs. Whatever is at fault lies at or after the last tensor whose gradient
    is wrong, and not after one whose parameters' gradients are right.
    """
    def owns(tensor: Any, names: set[str]) -> bool:
        if tensor.node is None:
            return graph.names[tensor] in names
        return any(graph.parameter_name(p) in names for p in tensor.node.params.values())

    bad = [t for t in graph.tensors if owns(t, wrong)]
    if not bad:
        return ()
    found, ahead = {}, [bad[-1]]
    while ahead:
        tensor = ahead.pop()
        if tensor.node is not None:
            found[tensor] = graph.names[tensor]
        if tensor is not bad[-1] and owns(tensor, right):
            continue
        if tensor in graph.outputs:
            found[tensor, "loss"] = "the loss"
        ahead += [t for t in graph.tensors if t.node is not None and tensor in t.node.inputs and t not in found]
    return tuple(found.values())
