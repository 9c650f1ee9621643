r"""L-BFGS: full-batch training by SciPy's quasi-Newton method, for small data sets and smooth networks.

What is minimised is the loss over all rows plus ``½ λ |w|²``, as a function of the flat parameter vector:
:meth:`fastbp.Network.value_and_grad` evaluates it, ``scipy.optimize.minimize(method="L-BFGS-B")`` chooses the points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.core.checks import count, finite_inputs, number
from fastbp.core.errors import DivergenceError
from fastbp.engine.backend import Data
from fastbp.network import Network
from fastbp.ops.base import Array
from fastbp.optim.optimizers import segments

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

OnIteration = Callable[[int, float], Any]


@dataclass(frozen=True)
class LBFGSResult:
    """How it ended.

    Attributes
    ----------
    value : float
        What was minimised, at the end: the loss with the penalty.
    converged : bool
        Whether it ended because nothing was left to gain, rather than at a limit.
    message : str
        SciPy's word for it, or that `on_iteration` stopped it.
    iterations, evaluations : int
    values : list of float
        What was minimised, after each iteration.
    """

    value: float
    converged: bool
    message: str
    iterations: int
    evaluations: int
    values: list[float] = field(repr=False)


def fit_lbfgs(net: Network, X: Any, y: Any, loss: Any, *, sample_weight: ArrayLike | None = None,
              weight_decay: float = 0.0, decay_bias: bool = True, max_iter: int = 200, max_evaluations: int = 15000,
              tol: float = 1e-4, memory: int = 10, on_iteration: OnIteration | None = None) -> LBFGSResult:
    """Train a network on all rows at once by L-BFGS.

    Parameters
    ----------
    net : Network
        Preferably in float64: the line search compares losses that differ little. Dropout is the same in every
        evaluation; batch normalisation uses the statistics of all rows.
    X, y, loss, sample_weight
        As in :meth:`fastbp.Trainer.fit`.
    weight_decay : float, default 0.0
        λ: ``½ λ |w|²`` is added to the loss.
    decay_bias : bool, default True
        Whether the penalty covers biases and the parameters of normalisation too.
    max_iter, max_evaluations : int, default 200, 15000
    tol : float, default 1e-4
        It has converged where no entry of the gradient is larger.
    memory : int, default 10
        Steps that the curvature is estimated from.
    on_iteration : function, optional
        ``on_iteration(iteration, value)`` after each; training stops where it returns true.

    Returns
    -------
    LBFGSResult

    Raises
    ------
    ImportError
        Without SciPy (``pip install 'fastbp[sklearn]'``).
    TypeError, ValueError
        For arguments that do not fit, among them inputs or parameters that are not finite, and sample weights that are
        all 0.
    DivergenceError
        If the loss or its gradient is not finite at the start, where the network stays as it was, or in the end.

    Notes
    -----
    Byrd et al. (1995), https://doi.org/10.1137/0916069. Whatever ends it, Ctrl-C included, the network has the
    parameters of the last iteration.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp as fb
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> net = fb.Sequential(fb.Linear(1, 1), dtype="float64", seed=0)
    >>> result = fb.fit_lbfgs(net, X, 3 * X + 1, fb.MSE())
    >>> result.converged, net.params["0.weight"].round(3)
    (True, array([[3.]]))
    """
    number("fit_lbfgs", "weight_decay", weight_decay, "a number of at least 0", lambda v: v >= 0)
    number("fit_lbfgs", "tol", tol, "a number of at least 0", lambda v: v >= 0)
    options = {"maxiter": count("fit_lbfgs", "max_iter", max_iter), "gtol": tol,
               "maxfun": count("fit_lbfgs", "max_evaluations", max_evaluations),
               "maxcor": count("fit_lbfgs", "memory", memory)}
    batch = net._data(X, y, loss, sample_weight)
    _check(net, batch)
    return _Minimisation(net, batch, weight_decay, decay_bias, on_iteration).run(options)


def _check(net: Network, batch: Data) -> None:
    """Refuse what has no minimum."""
    for name, values in net.params.items():
        if not np.isfinite(values).all():
            raise ValueError(f"fit_lbfgs: net has NaN or infinite values in {name!r}; expected finite parameters: "
                             "initialise them anew, or load good ones")
    if batch.sample_weight is not None and not batch.sample_weight.any():
        raise ValueError("sample_weight is 0 for all rows; expected at least one above 0")


class _Minimisation:
    def __init__(self, net: Network, batch: Data, weight_decay: float, decay_bias: bool,
                 on_iteration: OnIteration | None) -> None:
        self._net, self._batch, self._on_iteration = net, batch, on_iteration
        self._decayed = [(slice(s.offset, s.offset + s.length), s.weight_decay)
                         for s in segments(net.memory, weight_decay, decay_bias) if s.weight_decay]
        self._values: list[float] = []
        self._started = self._stopped = False

    def run(self, options: dict[str, Any]) -> LBFGSResult:
        try:
            from scipy.optimize import minimize
        except ImportError:
            raise ImportError("fit_lbfgs needs SciPy; install it with: pip install 'fastbp[sklearn]'") from None
        start = self._accepted = self._net.params.flat.astype(np.float64)
        before = [(vector, vector.flat.copy()) for vector in (self._net.grads, self._net.buffers)]
        try:
            with self._net.fixed_dropout():
                result = minimize(self._evaluate, start, method="L-BFGS-B", jac=True, options=options,
                                  callback=self._after_iteration)
            if not np.isfinite(result.fun):
                raise self._diverged("The network holds the parameters of the last iteration.")
            self._accepted = result.x
        except (DivergenceError, ValueError):
            if not self._started:
                for vector, values in before:
                    vector.flat = values
            raise
        finally:
            self._net.params.flat = self._accepted
        message = "on_iteration stopped it" if self._stopped else str(result.message)
        return LBFGSResult(float(result.fun), result.status == 0, message, int(result.nit), int(result.nfev),
                           self._values)

    def _diverged(self, end: str) -> DivergenceError:
        sizes = {name: max(float(np.abs(a).max(initial=0)) for a in arrays)
                 for name, arrays in (("x", self._batch.inputs), ("y", self._batch.targets))}
        largest = max(sizes, key=sizes.__getitem__)
        iteration = len(self._values) + 1
        return DivergenceError(
            f"fit_lbfgs, iteration {iteration}: the loss or its gradient is not finite. {largest} has values up to "
            f"{sizes[largest]:.3g}: standardise x, and y where it is numbers, to mean 0 and standard deviation 1, or "
            f"start from smaller parameters. {end}", iteration, 1, "loss")

    def _evaluate(self, theta: Array) -> tuple[float, Array]:
        with np.errstate(all="ignore"):
            value, grad = self._penalised(theta)
        if not self._started and not (np.isfinite(value) and np.isfinite(grad).all()):
            finite_inputs(self._batch.inputs)
            raise self._diverged("The network is as it was.")
        self._started = True
        return value, grad

    def _penalised(self, theta: Array) -> tuple[float, Array]:
        value, grad = self._net._value_and_grad_at(theta, self._batch)
        for part, decay in self._decayed:
            w = theta[part]
            value += 0.5 * decay * float(w @ w)
            grad[part] += decay * w
        return value, grad

    def _after_iteration(self, intermediate_result: Any) -> None:
        self._accepted = intermediate_result.x.copy()
        self._values.append(float(intermediate_result.fun))
        if self._on_iteration is not None:
            # what looks at the network in between sees the point that was accepted, not one that was tried
            self._net.params.flat = self._accepted
            if self._on_iteration(len(self._values), self._values[-1]):
                self._stopped = True
                raise StopIteration
