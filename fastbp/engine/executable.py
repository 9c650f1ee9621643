"""Executable networks: a graph plus one flat parameter vector and its named views, run by a backend.

Everything that enters is checked and converted here, once; a backend sees only arrays that fit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from fastbp.core.checks import count, flag, integer, numbers
from fastbp.core.terminal import printable
from fastbp.core.vector import Vector
from fastbp.engine.backend import Backend, Data, Progress, Update
from fastbp.engine.border import Border
from fastbp.engine.function_loss import Objective
from fastbp.engine.passes import Given, Pass
from fastbp.engine.ranks import Share
from fastbp.engine.reference import ReferenceBackend
from fastbp.engine.sharing import Tensors, as_tuple, is_symbolic
from fastbp.engine.sides import Form, Outputs, form_of
from fastbp.graph.graph import Graph, Parameter, Tensor
from fastbp.graph.indices import index_limits
from fastbp.graph.memory import Memory
from fastbp.graph.tensor import as_written
from fastbp.objectives.custom import as_loss
from fastbp.objectives.functions import FunctionLoss
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

BackendName = Literal["native", "reference"]
DTYPES = ("float32", "float64")
# Functions that are remembered as losses, each with its graph and plans.
_MOST_OBJECTIVES = 8
# What a copy from a pickle makes for itself.
_MADE_ANEW = ("_backend", "_index_limits", "_forward_rows", "_input_grads", "_pass", "_objectives", "_resized", "_ran",
               "_pieces", "_linked")


class Executable(Border):
    """A graph with its memory, a backend that runs it, and the border where everything that enters is checked.

    What :class:`~fastbp.Network` is below its files, drawings and explanations; those take any executable. Parameters
    and attributes are those of :class:`~fastbp.Network`.
    """

    file_type: ClassVar[str] = "Network"
    module_names: Mapping[str, str] = MappingProxyType({})
    """What PyTorch calls modules that layers come from, by the layers' names, where it is another one."""
    """What it is in a file."""

    def __init__(self, inputs: Tensors, outputs: Tensors, *,
                 dtype: str = "float32", seed: int | None = None, backend: BackendName = "native",
                 compute_dtype: str | None = None, _layer_names: Sequence[tuple[Any, str]] = ()) -> None:
        graph = Graph(as_tuple("inputs", inputs), as_tuple("outputs", outputs), _layer_names)
        self._take_sides(graph, form_of("inputs", inputs), form_of("outputs", outputs))
        self._set_up(graph, _dtype_name(dtype), compute_dtype, _seed(seed), backend, inside=True)
        rng = np.random.default_rng(self.seed)
        for vector, symbols in ((self.params, graph.parameters), (self.buffers, graph.buffers)):
            for name, parameter in symbols.items():
                if name not in self.memory.moved:
                    vector[name][...] = self._initial(name, parameter, rng)

    @classmethod
    def from_graph(cls, graph: Graph, single: tuple[Form, Form], *, dtype: str, seed: int,
                   backend: BackendName, compute_dtype: str | None = None) -> Self:
        """Return a network whose parameters are all zero, for whoever has values for them (:func:`fastbp.load`).

        ``single`` tells whether methods take one input, and return one output, rather than tuples; or it has the names
        of those that they take and return as dicts.
        """
        net = object.__new__(cls)
        net._take_sides(graph, *single)
        net._set_up(graph, _dtype_name(dtype), compute_dtype, _seed(seed), backend)
        return net

    def _set_up(self, graph: Graph, dtype: str, compute_dtype: str | None, seed: int, backend: BackendName,
                inside: bool = False) -> None:
        self.graph, self.dtype, self.seed = graph, dtype, seed
        self.compute_dtype = _compute_dtype_name(compute_dtype, dtype)
        homes = list({id(n.home): n.home for n in graph.nodes if n.home is not None and inside}.values())
        self.memory = Memory(graph, dtype, seed, self.compute_dtype, homes)
        self.backend: BackendName = backend
        self._start()

    def _start(self) -> None:
        """Make the backend, which has not seen any batch."""
        self._backend = _make_backend(self.backend, self.memory)
        self._index_limits = index_limits(self.graph.tensors)
        self.memory.used_by(self)
        self._forget_sizes()
        self._objectives: dict[Any, Objective] = {}
        self._linked: dict[str, Self] = {}
        self._forward_rows: int | None = None
        self._input_grads: tuple[Array | None, ...] = ()
        self._pass: Pass | None = None

    def _initial(self, name: str, parameter: Parameter, rng: np.random.Generator) -> Array:
        values = np.asarray(parameter.initializer(parameter.shape, rng, self.dtype))
        if values.shape != parameter.shape:
            raise ValueError(f"{name!r}: its initializer gave shape {values.shape}; expected {parameter.shape}")
        return values

    @property
    def params(self) -> Vector:
        """The parameters: named views of one flat vector."""
        return self.memory.params

    @params.setter
    def params(self, values: Any) -> None:
        raise AttributeError(_fixed("params"))

    @property
    def grads(self) -> Vector:
        """The gradients of the parameters, from the last backward pass."""
        return self.memory.grads

    @grads.setter
    def grads(self, values: Any) -> None:
        raise AttributeError(_fixed("grads"))

    @property
    def buffers(self) -> Vector:
        """State that is not trained: running statistics."""
        return self.memory.buffers

    @buffers.setter
    def buffers(self, values: Any) -> None:
        raise AttributeError(_fixed("buffers"))

    @property
    def input_grads(self) -> tuple[Array | None, ...]:
        """The gradient of each input, from the last backward pass.

        Where :meth:`loss_and_grad` was not asked for them, it is run once more when they are read.

        Raises
        ------
        RuntimeError
            If the parameters, or the arrays, have changed since then.
        """
        net: Executable = self._ran
        if net._pass is not None:
            net._input_grads, net._pass = net._found_late(net._pass), None
        return net._input_grads

    def _found_late(self, done: Pass) -> tuple[Array | None, ...]:
        grads, buffers = self.grads.flat.copy(), self.buffers.flat.copy()
        data = done.data if isinstance(done.data, Data) else self._data(done.data.x, done.data.y, done.data.loss)
        with self.memory.held(done.draws):
            loss, found = self._runner(data).loss_and_grad(data, input_grads=True)
        self.grads.flat, self.buffers.flat = grads, buffers
        if self.memory.step != done.step or not np.array_equal(loss, done.loss, equal_nan=True):
            raise RuntimeError("input_grads: loss_and_grad was not asked for the gradients of the inputs, and the "
                               "parameters, or the arrays, have changed since; call loss_and_grad(…, input_grads=True)")
        return found

    @contextmanager
    def fixed_dropout(self) -> Iterator[None]:
        """Let dropout draw the same mask in every training pass: ``with net.fixed_dropout(): …``

        Each training pass by hand draws a mask of its own otherwise; training by a :class:`~fastbp.Trainer` does so
        always. A function of the parameters whose gradient is compared with its differences, or that a line search
        goes along, must not change from call to call. The first pass of a copy made meanwhile draws the same mask, too.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(2, 3), fb.Dropout(0.5), seed=0)
        >>> with net.fixed_dropout():
        ...     masks = [net.forward([[1.0, 2.0]], training=True) == 0 for _ in range(2)]
        >>> bool((masks[0] == masks[1]).all())
        True
        """
        with self.memory.held():
            yield

    # ---- running ------------------------------------------------------------------------------------------------

    def forward(self, x: Any, training: bool = False) -> Outputs:
        """Return the outputs for a batch.

        Parameters
        ----------
        x : array of shape (B, *input shape), or a tuple of them for several inputs
        training : bool, default False
            Whether dropout drops, another mask each time, and batch normalisation uses the statistics of the batch.
            Needed for `backward`.

        Returns
        -------
        array of shape (B, *output shape), or a tuple of them

        Raises
        ------
        ValueError, TypeError
            For shapes or dtypes that do not fit.
        """
        training = flag("forward", "training", training)
        arrays = self._inputs(x)
        net = self._run_by(arrays)
        if training:
            net._check_training(len(arrays[0]))
        outputs = net._backend.forward(arrays, training)
        net._forward_rows = len(arrays[0]) if training else None
        return self._outs.handed(outputs)

    def __call__(self, *x: Any, training: bool = False) -> Any:
        """Return the outputs for a batch, as :meth:`forward` does; for tensors the tensors that the network makes.

        Several inputs are several arguments, or a tuple.

        A network called on tensors is a layer: the parameters are shared, not copied. Once a network of them is made,
        both work on the same memory.

        Examples
        --------
        >>> import fastbp as fb
        >>> body = fb.Sequential(fb.Linear(4, 8), fb.Tanh(), seed=0)
        >>> x = fb.Input(4)
        >>> net = fb.Network(x, fb.Linear(8, 1)(body(x)))
        >>> net.params["0.bias"][...] = 1.0
        >>> body.params["0.bias"][0]
        np.float32(1.0)
        """
        if len(x) == 2 and isinstance(x[1], bool):      # as forward takes it
            *x, training = x  # type: ignore[assignment]
        given = x[0] if len(x) == 1 else tuple(x)
        return self._upon(given) if is_symbolic(given) else self.forward(given, training)

    def backward(self, dy: Any, *, accumulate: bool = False) -> Outputs:
        """Fill ``net.grads`` from the gradient of the outputs, and return the gradient of the inputs.

        That of an input of integers is None: they cannot be changed a little.

        Parameters
        ----------
        dy : array of the shape of the outputs, or a tuple of them
            The gradient of whatever is to be minimised, for the batch of the last ``forward(x, training=True)``.
        accumulate : bool, default False
            Whether to add to the gradients of the parameters that are there.

        Raises
        ------
        RuntimeError
            Without a preceding ``forward(x, training=True)``.
        ValueError
            For a shape that does not fit.
        """
        if self._ran is not self:
            return self._ran.backward(dy, accumulate=accumulate)
        if self._forward_rows is None:
            raise RuntimeError("backward: no forward pass to go back through; call forward(x, training=True) first")
        given = self._outs.several("dy", dy)
        dys = [self._gradient_of(t, f"dy[{i}]" if len(given) > 1 else "dy", g, self._forward_rows)
               for i, (g, t) in enumerate(zip(given, self.graph.outputs, strict=True))]
        before = self.grads.flat.copy() if accumulate else 0.0
        self._input_grads = dxs = self._backend.backward(dys)
        self._pass = None
        if accumulate:
            self.grads.flat += before
        return self._ins.handed(dxs)

    def _gradient_of(self, output: Tensor, name: str, dy: Any, rows: int) -> Array:
        """Return the gradient that an output is given, checked."""
        if not output.by_rows:
            return self._whole_array(name, dy, output.shape_of(rows))
        checked = self._array(name, dy, output.shape)
        if len(checked) != rows:
            raise ValueError(f"dy has {len(checked)} rows; expected {rows}, as in the last forward")
        return checked

    def predict(self, x: Any, batch_size: int | None = None) -> Outputs:
        """Return the outputs for any number of rows, a batch at a time.

        Parameters
        ----------
        x : array of shape (N, *input shape), or a tuple of them
        batch_size : int, optional
            Rows run together; about a thousand by default. The result does not depend on it, but where a function
            looks at all rows of the batch, or draws random numbers: then all run together by default.

        Notes
        -----
        An iterator, such as a generator, is taken to give batches of x; the result has the rows of all of them.
        """
        if batch_size is None and self._ins.alone and self._outs.alone and not self.graph.checked:
            y = self._backend.quick_forward(x)
            if y is not None:
                self._ran, self._forward_rows = self, None
                return y
        if isinstance(x, Iterator):
            batches = [self._outs.several("y", self.predict(batch, batch_size)) for batch in x]
            parts = zip(*(batches or [list(self._empty(0))]), strict=True)
            return self._outs.handed([np.concatenate(part) for part in parts])
        arrays = self._inputs(x)
        size = None if batch_size is None else count("predict", "batch_size", batch_size)
        return self._outs.handed(self._outputs(arrays, size))

    def _empty(self, rows: int) -> tuple[Array, ...]:
        """Return arrays for the outputs of so many rows."""
        for t in self.graph.outputs:
            if not rows and not t.by_rows:
                raise ValueError(f"x has no rows; expected at least one, as an output has the shape {as_written(t)}")
        return tuple(np.empty((rows, *t.shape), self.dtype if t.dtype == "real" else t.dtype)
                     for t in self.graph.outputs)

    def _together(self, rows: int) -> int:
        """Return how many rows to run together: all of them where they look at each other."""
        return 1024 if rows <= 1024 or self.graph.rows_apart else rows

    def _outputs(self, inputs: Sequence[Array], batch_size: int | None = None) -> tuple[Array, ...]:
        """Return the outputs for checked inputs, a batch at a time."""
        rows, net = len(inputs[0]), self._run_by(inputs)
        batch_size = self._together(rows) if batch_size is None else batch_size
        if rows and (rows <= batch_size or not all(t.by_rows for t in net.graph.outputs)):
            return net._backend.forward(inputs, False)
        results = net._empty(rows)
        for start in range(0, rows, batch_size):
            part = slice(start, start + batch_size)
            for result, y in zip(results, net._backend.forward([a[part] for a in inputs], False), strict=True):
                result[part] = y
        return results

    def loss(self, x: Any, y: Any, loss: Any, sample_weight: ArrayLike | None = None, *,
             training: bool = False) -> float:
        """Return the loss of a batch, without gradients.

        Parameters
        ----------
        x, y : arrays, or tuples of them for several inputs or outputs
        loss : Loss, or a tuple of them (their sum) for several outputs
        sample_weight : array of shape (B,), optional
        training : bool, default False
        """
        data = self._data(x, y, loss, sample_weight)
        net = self._run_by(data.inputs)
        if training:
            net._check_training(data.rows)
        return net._runner(data).loss(data, training)

    def loss_and_grad(self, x: Any, y: Any, loss: Any, sample_weight: ArrayLike | None = None, *,
                      accumulate: bool = False, input_grads: bool = False) -> float:
        """Run forward and backward in training mode: return the loss and fill ``net.grads``.

        Parameters as in :meth:`loss`; ``accumulate=True`` adds to the gradients that are there. For the gradient of the
        mean over n batches of one size, accumulate them and divide: ``net.grads.flat /= n``.

        With ``input_grads=True`` the gradients of the inputs are computed too. They are in ``net.input_grads``, a tuple
        with one array for each input. Without it, reading them runs the pass once more.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(2, 1, weight_init=fb.Constant(0.5)), dtype="float64")
        >>> net.loss_and_grad([[1.0, 2.0]], [[1.0]], fb.MSE())
        0.25
        >>> net.grads["0.weight"]
        array([[1.],
               [2.]])
        """
        loss = as_loss(loss) if type(loss) is str else loss
        before = self.grads.flat.copy() if accumulate else 0.0
        value = None if input_grads or sample_weight is not None else self._quick_pass(x, y, loss)
        if value is None:
            data = self._data(x, y, loss, sample_weight)
            net = self._run_by(data.inputs)
            net._check_training(data.rows)
            value = net._run_back(data, input_grads)
        if accumulate:
            self.grads.flat += before
        return value

    def _quick_pass(self, x: Any, y: Any, loss: Any) -> float | None:
        """Do the same for arrays that fit as they are; None where they do not, or where anything is unusual."""
        value = None if self.graph.checked else self._backend.quick_loss_and_grad(x, y, loss)
        if value is not None:
            self._ran, self._forward_rows, self._input_grads = self, None, ()
            self._pass = Pass(Given(x, y, loss), value, self.memory.step, self.memory.draws)
        return value

    def value_and_grad(self, theta: ArrayLike, x: Any, y: Any, loss: Any,
                       sample_weight: ArrayLike | None = None) -> tuple[float, Array]:
        """Return the loss and its gradient as a function of all parameters in one vector: for any optimizer.

        With dropout it is another function in each call; :meth:`fixed_dropout` makes it the same one.

        Parameters
        ----------
        theta : array of shape (P,)
            Becomes ``net.params.flat``, in whose order the gradient is.
        x, y, loss, sample_weight
            As in :meth:`loss`.

        Returns
        -------
        float
        array of shape (P,) and float64, a copy; 0 for frozen parameters

        Raises
        ------
        ValueError, TypeError
            For arguments that do not fit; the parameters stay as they were then.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(2, 1), dtype="float64")
        >>> net.value_and_grad([0.5, 0.5, 0.0], [[1.0, 2.0]], [[1.0]], fb.MSE())
        (0.25, array([1., 2., 1.]))
        """
        return self._value_and_grad_at(numbers("theta", theta, self.dtype), self._data(x, y, loss, sample_weight))

    def _value_and_grad_at(self, theta: Array, data: Data) -> tuple[float, Array]:
        """Return the same for checked data."""
        net = self._run_by(data.inputs)
        net._check_training(data.rows)
        self.params.flat = theta
        return net._run_back(data), self.grads.flat.astype(np.float64)

    def _run_back(self, data: Data, input_grads: bool = False) -> float:
        """Run forward and backward, and remember what the gradients of the inputs can be found from."""
        value, self._input_grads = self._runner(data).loss_and_grad(data, input_grads)
        self._pass = None if input_grads else Pass(data, value, self.memory.step, self.memory.draws)
        return value

    def _train(self, data: Data, update: Update, order: Array | None, batch_size: int, learning_rates: Array,
               losses: Array, on_progress: Progress | None = None, share: Share | None = None,
               tally: Array | None = None) -> None:
        """Take a step per mini-batch of checked data; :class:`~fastbp.Trainer` has the convenient form of it."""
        rows, net = data.rows if order is None else order.shape[1], self._run_by(data.inputs)
        net._check_training(min(rows, rows % batch_size or batch_size) if share is None else share.fewest)
        net._runner(data).train(data, update, order, batch_size, learning_rates, losses, on_progress, share, tally)

    def _release(self) -> None:
        """Let go of the data that was trained on last."""
        self._backend.release()
        for objective in self._objectives.values():
            objective.release()
        for net in self._resized.values():
            net._release()

    def _quick_step(self, x: Any, y: Any, loss: Any, update: Update, lr: float) -> float | None:
        """Take a step on arrays that fit as they are; None where they do not, or where anything is unusual."""
        if self.graph.checked:
            return None
        self._ran, self._forward_rows = self, None
        return self._backend.quick_step(x, y, loss, update, lr)

    def _apply_update(self, update: Update, lr: float) -> None:
        """Update the parameters once from ``net.grads``; ``optimizer.step(net)`` is the convenient form of it."""
        self._backend.apply(update, lr)

    # ---- state --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers, by name."""
        return {n: v.copy() for vector in (self.params, self.buffers) for n, v in vector.items()}

    def copy(self, *, dtype: str | None = None, backend: BackendName | None = None,
             compute_dtype: str | None = None) -> Self:
        """Return an independent network with the same graph and parameters, and another dtype or backend if wanted.

        ``compute_dtype="float32"`` gives a network that multiplies in bfloat16 no more.
        """
        if compute_dtype is None and self.compute_dtype != self.dtype:
            compute_dtype = self.compute_dtype
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._set_up(self.graph, _dtype_name(dtype or self.dtype), compute_dtype, self.seed, backend or self.backend)
        for vector, own in ((other.params, self.params), (other.buffers, self.buffers)):
            for name, values in vector.items():
                values[...] = own[name]
        other.memory.go_on_from(self.memory)
        return other

    def __copy__(self) -> Self:
        other = self.copy()  # two networks on one memory would not know of each other
        other.grads.flat[...] = self.grads.flat
        return other

    def __getstate__(self) -> dict[str, Any]:
        # The graph first: what it does about its depth holds for all that refers to its tensors.
        keep = {k: v for k, v in self.__dict__.items() if k not in _MADE_ANEW}
        return {"graph": self.graph, **keep}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __repr__(self) -> str:
        shapes = " → ".join(as_written(t) + " int64" * (t.dtype == "int64")
                            for t in (*self.graph.inputs, *self.graph.outputs))
        dtype = self.dtype + (f" multiplied in {self.compute_dtype}" if self.compute_dtype != self.dtype else "")
        return printable(f"{type(self).__name__}({shapes}, {self.params.flat.size:,} parameters, {dtype}, "
                         f"{self.backend})")

    # ---- the border: everything that enters is checked and converted here ------------------------------------------

    def _data(self, x: Any, y: Any, loss: Any, sample_weight: ArrayLike | None = None) -> Data:
        """Check and convert a labelled batch or data set.

        What it holds are views of the user's arrays, whose shape nobody else can change, and copies of labels.
        """
        inputs = self._inputs(x)
        net, rows = self._for(inputs), len(inputs[0])
        if net is not self:
            return net._data(tuple(inputs) if not self._ins.alone else inputs[0], y, loss, sample_weight)
        if rows == 0:
            raise ValueError("x has no rows; expected at least one sample")
        losses = self._losses(loss)
        if isinstance(losses[0], FunctionLoss):
            function = losses[0]
            checked = function.all_targets(y, self.graph.outputs, self.dtype, rows)
            if not self._outs.alone or not function.returns_gradient(self.graph.outputs, checked):
                weight = None if sample_weight is None else function.sample_weights(sample_weight, rows, self.dtype)
                return _held(inputs, losses, checked, weight)
            losses = (function.custom,)
            _check_by_rows(losses, self.graph.outputs)
        targets = self._outs.several("y", y)
        names = self._outs.called("y")
        checked = [one.targets(t, out.shape, self.dtype, rows, name)
                   for one, t, out, name in zip(losses, targets, self.graph.outputs, names, strict=True)]
        weights = [one.weights_of(sample_weight, rows, self.dtype, out.shape)
                   for one, out in zip(losses, self.graph.outputs, strict=True) if sample_weight is not None]
        return _held(inputs, losses, checked, weights[0] if weights else None)

    def _losses(self, loss: Any) -> tuple[Loss, ...]:
        """Check that there is a loss for each output, and that it fits."""
        if callable(loss) and not isinstance(loss, type | Loss):
            loss = FunctionLoss(loss)
        if isinstance(loss, FunctionLoss):
            return (loss,)
        losses = [as_loss(one) for one in self._outs.several("loss", loss)]
        for one in losses:
            if isinstance(one, type) and issubclass(one, Loss):
                raise TypeError(f"loss is the class {one.__name__}; expected an instance: {one.__name__}()")
            if not isinstance(one, Loss):
                raise TypeError(f"loss is {one!r}; expected a loss such as fb.MSE(), or a function of outputs and "
                                "targets that returns one number")
        _check_by_rows(losses, self.graph.outputs)
        return tuple(one.fitted(t.shape) for one, t in zip(losses, self.graph.outputs, strict=True))

    def _loss_of(self, data: Data, batch_size: int) -> float:
        """Return the loss that a function makes of data: in batches where it is a mean over their rows."""
        runner = self._run_by(data.inputs)._runner(data)
        parts = [slice(i, i + batch_size) for i in range(0, data.rows, batch_size)]
        if len(parts) == 1 or not (isinstance(runner, Objective) and runner.is_mean):
            return runner.loss(data, False)
        batches = [data.take(rows) for rows in parts]
        weights = [b.rows if b.sample_weight is None else float(b.sample_weight.sum()) for b in batches]
        losses = [runner.loss(b, False) for b in batches]
        return float(np.average(losses, weights=weights)) if any(weights) else 0.0

    def _runner(self, data: Data) -> Backend | Objective:
        """Return what runs the network to the loss of the data."""
        (loss, *_) = data.losses
        if not isinstance(loss, FunctionLoss):
            return self._backend
        key = (loss, tuple((t.shape[1:], t.dtype) for t in data.targets), data.sample_weight is not None)
        if key not in self._objectives:
            made = Objective(loss, self.memory, data.targets, data.sample_weight is not None,
                             lambda memory: _make_backend(self.backend, memory))
            while len(self._objectives) >= _MOST_OBJECTIVES:
                del self._objectives[next(iter(self._objectives))]
            self._objectives[key] = made
        return self._objectives[key]

    def _check_training(self, rows: int) -> None:
        for node in self.graph.nodes:
            if not node.op.on_arrays:
                node.op.check_training_rows(rows * prod(node.inputs[0].shape[:-1]))


def _check_by_rows(losses: Sequence[Loss], outputs: Sequence[Tensor]) -> None:
    for one, t in zip(losses, outputs, strict=True):
        if not t.by_rows:
            raise ValueError(f"{one}: the output has the shape {as_written(t)}; expected a row for each sample. Give a "
                             "function of all outputs and targets as the loss, which returns one number")


def _held(inputs: Sequence[Array], losses: Sequence[Loss], targets: Sequence[Array], weight: Array | None) -> Data:
    """Return data whose shapes nobody else can change: views of arrays that may be the user's own."""
    return Data([a.view() for a in inputs], losses, [t.view() for t in targets],
                None if weight is None else weight.view())


def _fixed(name: str) -> str:
    return (f"{name} is the network's own vector and cannot be replaced; copy values into it: "
            f"net.{name}.flat = values, or net.{name}[name] = values")


def _dtype_name(dtype: Any) -> str:
    try:
        name = str(np.dtype(dtype).name)
    except TypeError:
        name = str(dtype)
    if dtype is None or name not in DTYPES:  # to NumPy None means float64
        raise ValueError(f'dtype is {dtype!r}; expected "float32" or "float64"')
    return name


def _compute_dtype_name(compute_dtype: str | None, dtype: str) -> str:
    if compute_dtype is None or compute_dtype == dtype:
        return dtype
    if compute_dtype != "bfloat16":
        raise ValueError(f'compute_dtype is {compute_dtype!r}; expected "bfloat16", or None for that of the parameters')
    if dtype != "float32":
        raise ValueError('compute_dtype is "bfloat16", which goes with dtype "float32" alone; dtype is '
                         f'{dtype!r}: give compute_dtype="{dtype}"')
    return compute_dtype


def _seed(seed: Any) -> int:
    if seed is None:
        return int.from_bytes(os.urandom(8), "little") >> 1
    number = integer(seed)
    if number is None or not 0 <= number < 2**64:
        raise ValueError(f"seed is {seed!r}; expected an integer from 0 to 2**64 - 1, or None")
    return number


def _make_backend(name: str, memory: Memory) -> Backend:
    if name == "reference":
        return ReferenceBackend(memory)
    if name == "native":
        from fastbp.engine.native_backend import NativeBackend
        native: Backend = NativeBackend(memory)
        return native
    raise ValueError(f'backend is {name!r}; expected "native" or "reference"')
