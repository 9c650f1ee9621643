"""Networks as users hold them: what an executable network can be saved as, shown as, explained by and turned into.

:class:`Network` takes any directed acyclic graph, :class:`Sequential` a chain of layers, :class:`Ensemble` networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, overload

import numpy as np

from fastbp.core.checks import file_to_write
from fastbp.core.words import METHODS
from fastbp.engine.executable import BackendName, Executable
from fastbp.engine.sides import Form
from fastbp.graph.graph import Graph, Input, Tensor
from fastbp.graph.inline import with_layer
from fastbp.layers.base import Layer
from fastbp.layers.chain import known_features, named_layer
from fastbp.ops.base import Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastbp.engine.links import Link
    from fastbp.engine.streams import StreamState
    from fastbp.files.states import LoadReport
    from fastbp.views.explanations.explanation import Explanation
    from fastbp.views.report import VerifyReport


class Network(Executable):
    """A network: any directed acyclic graph of layers.

    Parameters
    ----------
    inputs, outputs : Tensor, sequence of Tensor, or dict of them
        As ``fb.Input(…)`` and layers called on tensors give them. Where a sequence is given, methods take and return
        tuples of arrays in that order; where a dict is given, dicts of arrays with its names.
    dtype : {"float32", "float64"}
    seed : int, optional
        Decides the initial parameters and dropout; drawn at random when left out.
    backend : {"native", "reference"}
    compute_dtype : "bfloat16", optional
        With dtype float32: linear layers round what they multiply to bfloat16 (8 significant bits) and add up in
        float32, which is up to twice as fast where a CPU has AVX512_BF16. Parameters, gradients, activations and the
        optimizer's state stay float32, and so do layers with fewer than 12 outputs.

    Attributes
    ----------
    params, grads : mapping of str to array
        Named views of one flat vector each: ``net.params["0.weight"]``, ``net.params.flat``.
    buffers : mapping of str to array
        State that is not trained: running statistics.
    input_grads : tuple of array
        The gradient of each input, from the last backward pass; None for an input of integers, which has none.
    graph : Graph

    Raises
    ------
    ValueError
        For a graph with a cycle, outputs that need other inputs, unused inputs, an unknown dtype or backend, or a
        compute_dtype that the backend cannot do on this CPU.

    Examples
    --------
    >>> import fastbp as fb
    >>> a = fb.Input(32)
    >>> h = fb.ReLU()(fb.Linear(32, 32)(a))
    >>> net = fb.Network(inputs=a, outputs=fb.Linear(32, 1)(fb.Add()(h, a)), seed=0)
    >>> net.predict([[0.5] * 32] * 3).shape
    (3, 1)
    """

    def __getattr__(self, name: str) -> Any:
        known = f"; fastbp has {METHODS[name]}" if name in METHODS else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{known}")

    def step(self, x: Any, state: StreamState | None = None) -> tuple[Any, StreamState]:
        """Return the outputs for the next step of sequences, and the state to go on from.

        ``y, state = net.step(x, state)``, for streams and for writing one token after the other: no step is computed
        twice. The network is one of sequences (B, T, …): layers that look at each step by itself, recurrent layers in
        one direction, whose state it keeps, and causal attention, whose keys and values it keeps. Of several inputs,
        those that attention looks at as a memory are given as a whole; what is made of them is kept, too.

        Parameters
        ----------
        x : array (B, …) or (B, T, …), or a tuple or dict of them
            One step, or a piece of any length: a sequence to begin with. What is given as a whole may be None after the
            first step, and is then what it was.
        state : StreamState, optional
            What the step before returned; None begins. It is not changed: several may go on from one.

        Returns
        -------
        y : array, or a tuple of them
            As :meth:`predict` returns it for the whole sequence, for these steps. Of a network that returns one output
            for a sequence, the one for the sequence up to here.
        state : StreamState

        Raises
        ------
        ValueError, TypeError
            For a layer that looks ahead, or at several steps at once; for shapes that do not fit.

        Examples
        --------
        >>> import numpy as np
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Input(5, 2), fb.GRU(2, 4), fb.Linear(4, 1), seed=0)
        >>> x, state = np.ones((1, 5, 2)), None
        >>> for t in range(5):
        ...     y, state = net.step(x[:, t], state)
        >>> bool(np.allclose(y, net.predict(x)[:, -1], atol=1e-6))
        True
        >>> words, memory = fb.Input(9, 8), fb.Input(6, 8)
        >>> read = fb.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16)(memory)
        >>> net = fb.Network([words, memory], fb.TransformerDecoderLayer(8, 2, 16)(words, read), seed=0)
        >>> y, state = net.step((np.ones((1, 8)), np.ones((1, 6, 8))))
        >>> y, state = net.step((y, None), state)
        """
        from fastbp.engine.streams import step
        return step(self, x, state)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to a safetensors file; :func:`fastbp.load` reads it.

        The file has the parameters and buffers by name, and the layers with their arguments as JSON in its metadata. A
        file that is there is replaced in one go, and its permissions stay; a link is followed. Of several who write at
        once the last one wins.

        Raises
        ------
        OSError
            If it cannot be written: a full disk, a folder, a file that is read-only, a device or FIFO. What was there
            stays.
        TypeError, ValueError
            For a layer with arguments that JSON cannot hold, or ops that belong to no layer.
        """
        from fastbp.files.networks import save
        save(self, path)

    def load_state_dict(self, state: Mapping[str, ArrayLike], *, strict: bool = True,
                        layout: Literal["fastbp", "torch"] | None = None) -> LoadReport:
        """Set parameters and buffers by name.

        Parameters
        ----------
        state : mapping of str to array
            As :meth:`state_dict` gives it, or as ``module.state_dict()`` of PyTorch does.
        strict : bool, default True
            Whether each name must have its counterpart. False takes what fits and leaves the rest as it was: after the
            head of a network was swapped, for instance.
        layout : {"fastbp", "torch"}, optional
            How weights of linear layers are laid out: (in, out), or (out, in) as in PyTorch, which are transposed. By
            default arrays are taken as fastbp lays them out, and tensors of PyTorch as PyTorch does. Say "torch" for
            arrays that come from there, as from ``safetensors.numpy.load_file``: square weights fit either way.

        Returns
        -------
        LoadReport
            The names that were loaded, missing, unexpected, and of another shape. Print it.

        Raises
        ------
        ValueError, TypeError
            If a name is missing or unknown or a shape does not fit while strict, if a dtype does not fit, or if the
            weights look like another layout; nothing is changed then.

        Examples
        --------
        >>> import fastbp as fb
        >>> old = fb.Sequential(fb.Linear(4, 3), fb.ReLU(), fb.Linear(3, 2), backend="reference")
        >>> new = fb.Sequential(fb.Linear(4, 3), fb.ReLU(), fb.Linear(3, 5), backend="reference")
        >>> print(new.load_state_dict(old.state_dict(), strict=False))
        loaded 2 of 4; mismatched: '2.weight' has shape (3, 2), expected (3, 5), '2.bias' has shape (2,), expected (5,)
        """
        from fastbp.files.states import load_state
        return load_state(self, state, strict, layout)

    def replace(self, name: str, layer: Layer) -> Self:
        """Return a network with another layer in the place of one; all else is as it is here, parameters too.

        For another head, for instance. What an optimizer remembers is taken over by ``optimizer.carry_over(net, new)``.

        Parameters
        ----------
        name : str
            Of a layer: its own name, or its number.
        layer : Layer
            Takes over the name where it has none.

        Raises
        ------
        KeyError
            For a name that there is not.
        ValueError
            For a layer that does not fit there.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(4, 8), fb.ReLU(), fb.Linear(8, 2, name="head"), seed=0)
        >>> new = net.replace("head", fb.Linear(8, 5))
        >>> new.params["head.weight"].shape, bool((new.params["0.weight"] == net.params["0.weight"]).all())
        ((8, 5), True)
        """
        if name not in self.graph.layers:
            raise KeyError(f"replace: there is no layer {name!r}; there are {', '.join(map(repr, self.graph.layers))}")
        if not callable(getattr(layer, "lower", None)) or isinstance(layer, type):
            raise TypeError(f"replace: layer is {layer!r}; expected a layer such as fb.Linear(8, 5)")
        old = self.graph.layers[name]
        graph = with_layer(self.graph, old, layer)
        new = self.from_graph(graph, (self._ins.form, self._outs.form), dtype=self.dtype, seed=self.seed,
                              backend=self.backend, compute_dtype=self.compute_dtype)
        new._begin_like(self)
        return new

    def _begin_like(self, other: Network) -> None:
        """Begin with another network's parameters and buffers where there are such, and with new ones elsewhere."""
        rng = np.random.default_rng(self.seed)
        for vector, theirs, symbols in ((self.params, other.params, self.graph.parameters),
                                        (self.buffers, other.buffers, self.graph.buffers)):
            for name, parameter in symbols.items():
                known = theirs.get(name)
                fits = known is not None and known.shape == parameter.shape and other.graph.has(parameter)
                vector[name][...] = known if fits else self._initial(name, parameter, rng)
        self.memory.freeze(name for name in other.memory.frozen if name in self.graph.parameters
                           and other.graph.has(self.graph.parameters[name]))
        self.memory.step, self.memory.draws = other.memory.step, other.memory.draws

    def summary(self) -> str:
        """Return a table of the graph: one line for each tensor, with its shape and parameters."""
        from fastbp.views.report import summary
        return summary(self)

    def _repr_html_(self) -> str:
        """Return the table of :meth:`summary` for notebooks."""
        from fastbp.views.summary_html import summary_html
        return summary_html(self)

    def to_svg(self, path: str | PathLike[str] | None = None) -> str:
        """Return the graph as a drawing, an SVG image that suits light and dark pages; write it to a file if given one.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(4, 2), fb.Softmax(), backend="reference")
        >>> net.to_svg().startswith("<svg ")
        True
        """
        from fastbp.files.disk import replace
        from fastbp.views.graph_svg import graph_svg
        file = None if path is None else file_to_write("to_svg: path", path)
        text = graph_svg(self)
        if file is not None:
            replace(file, text.encode())
        return text

    def to_onnx(self, path: str | PathLike[str]) -> None:
        """Write the network, as it predicts, to an ONNX file (opset 20) with a free batch size.

        Inputs and outputs are float32 or float64, as the network is; both run in ONNX Runtime. Needs onnx
        (``pip install 'fastbp[onnx]'``).

        Raises
        ------
        ImportError
            Without onnx.
        OSError
            If it cannot be written.
        ValueError
            For an op that ONNX has nothing for, such as a layer of your own.
        """
        from fastbp.files.onnx import export
        export(self, path)

    def to_torch_state_dict(self) -> dict[str, Any]:
        """Return parameters and buffers as tensors of PyTorch, named and laid out as there: weights (out, in).

        The names are those of an ``nn.Sequential`` of the same layers, or of the module that :func:`~fastbp.from_torch`
        took: ``module.load_state_dict(...)`` takes it. Recurrent layers have two biases there, one of them 0 but for
        the last gate of a GRU. Needs torch.
        """
        from fastbp.files.pytorch import state_dict
        return state_dict(self)

    def activations(self, x: Any, training: bool = False) -> dict[str, Array]:
        """Return what every tensor of the graph holds for a batch, by name, as :meth:`summary` lists them.

        Computed by the reference, as the native backend fuses some tensors away. Nothing of the network is changed.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(-2.0)), fb.ReLU(), backend="reference")
        >>> {name: values.tolist() for name, values in net.activations([[3.0]]).items()}
        {'input': [[3.0]], '0.linear': [[-6.0]], '1.relu': [[0.0]]}
        """
        from fastbp.views.report import activations
        return activations(self, x, training)

    def verify(self, x: Any, y: Any, loss: Any, sample_weight: ArrayLike | None = None) -> VerifyReport:
        """Run this network's backend and the reference on one batch, and compare them tensor by tensor.

        Returns
        -------
        VerifyReport
            ``ok``, the deviations, and a table when printed. The reference runs in float64.
        """
        from fastbp.views.report import verify
        return verify(self, x, y, loss, sample_weight)

    def explain(self, x: Any, y: Any, loss: Any, *, weight: str, lr: float = 0.1,
                sample_weight: ArrayLike | None = None, terms: int = 8, lang: Literal["en", "ko"] = "en",
                digits: int = 9) -> Explanation:
        """Explain the gradient of one weight by the chain rule: every factor, every path, the numerical gradient.

        Parameters
        ----------
        x, y, loss, sample_weight
            A batch, as :meth:`loss_and_grad` takes it.
        weight : str
            ``"w7"``, ``"b2"``, or an entry of a parameter, ``"2.weight[0, 1]"``. Weights are numbered layer by layer,
            destination unit by destination unit: w1 leads from input 1 to unit 1, w2 from input 2 to unit 1.
        lr : float, default 0.1
            Learning rate for the update that is shown.
        terms : int, default 8
            How many paths are shown, the largest first; the others are added up.
        lang : {"en", "ko"}
        digits : int, default 9
            Significant digits in text.

        Returns
        -------
        Explanation
            Prints as text; ``.html()``, ``.svg()``, ``.latex()``, ``.markdown()``, ``.save(path)`` give other forms.

        Raises
        ------
        ValueError
            For a name that there is not, with those that there are.

        Notes
        -----
        The network is copied, and run in float64 in training mode; it is not changed itself.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.Sequential(fb.Linear(1, 1, weight_init=fb.Constant(0.5)), dtype="float64", backend="reference")
        >>> print(net.explain([[2.0]], [[3.0]], fb.HalfSquaredError(), weight="w1").chain())
        ∂E/∂w₁ = ∂E/∂o · ∂o/∂w₁ = −(t − o) · x = −2 · 2 = −4
        """
        from fastbp.views.explanations.gradients import explain
        return explain(self, x, y, loss, weight=weight, lr=lr, sample_weight=sample_weight, terms=terms, lang=lang,
                       digits=digits)


class Sequential(Network):
    """A chain of layers.

    Parameters
    ----------
    *layers : Layer, or str
        The first one must know its input size; or the first argument is a ``fb.Input(…)``. A name is an activation:
        ``"relu"``.
    dtype, seed, backend, compute_dtype
        As in :class:`Network`.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Linear(784, 256), fb.ReLU(), fb.Linear(None, 10), seed=0)
    >>> net.params["2.weight"].shape
    (256, 10)
    """

    file_type: ClassVar[str] = "Sequential"

    if TYPE_CHECKING:   # a chain has one output
        def forward(self, x: Any, training: bool = False) -> Array: ...
        def predict(self, x: Any, batch_size: int | None = None) -> Array: ...
        def predict_proba(self, x: Any, batch_size: int | None = None, *, link: Link | None = None) -> Array: ...

    def __init__(self, *layers: Part | Sequence[Part], dtype: str = "float32", seed: int | None = None,
                 backend: BackendName = "native", compute_dtype: str | None = None) -> None:
        if len(layers) == 1 and isinstance(layers[0], list | tuple):
            layers = tuple(layers[0])
        start = layers[0] if layers and isinstance(layers[0], Tensor) else None
        chain: tuple[Any, ...] = tuple(map(named_layer, layers[start is not None:]))
        if not chain:
            raise ValueError("Sequential: no layers given; expected at least one, such as fb.Linear(4, 2)")
        for i, layer in enumerate(chain):
            if isinstance(layer, type):
                raise TypeError(f"Sequential: layer {i} is the class {layer.__name__}; expected an instance: "
                                f"{layer.__name__}(…)")
            if not callable(getattr(layer, "lower", None)):
                raise TypeError(f"Sequential: layer {i} is {layer!r}; expected a layer such as fb.ReLU()")
        self.layers: tuple[Layer, ...] = chain
        first = Input(known_features(self.layers[0])) if start is None else start
        tensor = first
        for i, layer in enumerate(self.layers):
            try:
                tensor = layer(tensor)
            except ValueError as error:
                raise ValueError(f"Sequential: layer {i}: {error}") from None
        super().__init__(first, tensor, dtype=dtype, seed=seed, backend=backend, compute_dtype=compute_dtype,
                         _layer_names=[(layer, str(i)) for i, layer in enumerate(self.layers)])

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Layer, ...]: ...

    def __getitem__(self, index: int | slice) -> Layer | tuple[Layer, ...]:
        """Return a layer, or some of them."""
        return self.layers[index]

    @classmethod
    def from_graph(cls, graph: Graph, single: tuple[Form, Form], *, dtype: str, seed: int,
                   backend: BackendName, compute_dtype: str | None = None) -> Self:
        net = super().from_graph(graph, single, dtype=dtype, seed=seed, backend=backend, compute_dtype=compute_dtype)
        net.layers = tuple(t.call.layer for t in graph.tensors if t.call is not None)
        return net


class Ensemble(Network):
    """Networks with the same inputs and outputs as one: its prediction is the mean of theirs, with their spread.

    Parameters
    ----------
    members : sequence of Network
        With one output each, of one shape; they are copied.
    backend : {"native", "reference"}, optional
        That of the first member when left out.

    Attributes
    ----------
    size : int
        Of how many members it is.

    Raises
    ------
    TypeError, ValueError
        For members that do not fit each other.

    Notes
    -----
    It is a network with an output for each member: saved as one file, which :func:`fastbp.load` reads, and exported as
    any other. :func:`fastbp.fit_many` trains its members at once.

    Examples
    --------
    >>> import fastbp as fb
    >>> ensemble = fb.Ensemble([fb.Sequential(fb.Linear(2, 1), seed=i) for i in range(5)])
    >>> mean, std = ensemble.predict([[1.0, 2.0]] * 3, return_std=True)
    >>> mean.shape, std.shape, ensemble.size
    ((3, 1), (3, 1), 5)
    """

    file_type = "Ensemble"

    def __init__(self, members: Sequence[Network], *, backend: BackendName | None = None) -> None:
        copies = [deepcopy(member) for member in _members(members)]     # each with symbols of its own
        inputs = [Input(*t.shape, dtype=None if t.dtype == "real" else "int64") for t in copies[0].graph.inputs]
        x: Any = inputs[0] if copies[0]._ins.alone else tuple(inputs)
        super().__init__(x, [member(x) for member in copies], dtype=copies[0].dtype, seed=copies[0].seed,
                         backend=backend or copies[0].backend)

    @property
    def size(self) -> int:
        """Of how many members it is."""
        return len(self.graph.outputs)

    def predict_members(self, x: Any, batch_size: int | None = None) -> Array:
        """Return what each member predicts, ``(members, N, *output shape)``; parameters as in :meth:`predict`."""
        each: Any = super().predict(x, batch_size)
        return np.stack(each)

    @overload
    def predict(self, x: Any, batch_size: int | None = None, *, return_std: Literal[False] = False) -> Array: ...
    @overload
    def predict(self, x: Any, batch_size: int | None = None, *, return_std: Literal[True]) -> tuple[Array, Array]: ...

    def predict(self, x: Any, batch_size: int | None = None, *,
                return_std: bool = False) -> Array | tuple[Array, Array]:
        """Return the mean of what the members predict and, if asked for, their standard deviation.

        Parameters
        ----------
        x : array of shape (N, *input shape), or a tuple of them
        batch_size : int, optional
            Rows run together; about a thousand by default. The result does not depend on it.
        return_std : bool, default False

        Returns
        -------
        array of shape (N, *output shape), or two of them
        """
        made = self.predict_members(x, batch_size)
        mean = made.mean(axis=0)
        return (mean, made.std(axis=0)) if return_std else mean


def _members(members: Any) -> list[Network]:
    """Check the members of an ensemble."""
    found = list(members)
    if not found or not all(isinstance(member, Network) for member in found):
        raise TypeError(f"Ensemble: members is {members!r}; expected a sequence of networks")
    first = found[0]
    for i, member in enumerate(found):
        if not member._outs.alone:
            raise ValueError(f"Ensemble: member {i} has {len(member.graph.outputs)} outputs; expected one")
        for name in ("inputs", "outputs"):
            own, wanted = ([(t.shape, t.dtype) for t in getattr(m.graph, name)] for m in (member, first))
            if own != wanted:
                raise ValueError(f"Ensemble: member {i} has the {name} {own}; expected {wanted}, as member 0 has")
        if (member.dtype, member._ins.alone) != (first.dtype, first._ins.alone):
            raise ValueError(f"Ensemble: member {i} is {member!r}; expected dtype and inputs of member 0, {first!r}")
    return found


# What a chain is made of: layers, the words of activations, networks, and first of all an input.
Part = Layer | Network | Tensor | str
