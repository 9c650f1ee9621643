"""To and from PyTorch: ``nn.Sequential`` of layers that fastbp has, and parameters as PyTorch lays them out.

A row an op says which modules of ``torch.nn`` do the same, how each becomes a layer here, which of its options have no
counterpart, and how it keeps the parameters. A linear layer's weight is (out, in) there and (in, out) here. Images and
sequences have their channels first there, and last here: the weights of convolutions are turned, and where images are
flattened, they are brought to PyTorch's order before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar

import numpy as np

from fastbp import layers
from fastbp.engine.executable import BackendName, Executable
from fastbp.files import torch_modules
from fastbp.files.rows import Nothing, row_of
from fastbp.graph.graph import Graph, Input, Node, Tensor
from fastbp.layers.base import Layer
from fastbp.ops import activations as acts
from fastbp.ops.attention import AttentionOp
from fastbp.ops.base import Array, Op
from fastbp.ops.batch_norm import BatchNormOp
from fastbp.ops.concat import ConcatOp
from fastbp.ops.conv import ConvOp
from fastbp.ops.conv_transpose import ConvTransposeOp
from fastbp.ops.custom import PythonOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.elementwise import AddOp, MulOp
from fastbp.ops.embedding import EmbeddingOp
from fastbp.ops.expression import Expression
from fastbp.ops.flatten import FlattenOp
from fastbp.ops.glu import GLUOp, SwiGLUOp
from fastbp.ops.group_norm import GroupNormOp
from fastbp.ops.grouped_linear import GroupedLinearOp
from fastbp.ops.layer_norm import LayerNormOp
from fastbp.ops.linear import LinearBackOp, LinearOp
from fastbp.ops.periodic import PeriodicOp
from fastbp.ops.piecewise_linear import PiecewiseLinearOp
from fastbp.ops.pool import AvgPoolOp, GlobalAvgPoolOp, MaxPoolOp
from fastbp.ops.positions import PositionsOp
from fastbp.ops.prelu import PReLUOp
from fastbp.ops.recurrent import GRUOp, LSTMOp, RNNOp
from fastbp.ops.reshape import PermuteOp, ReshapeOp
from fastbp.ops.rms_norm import RMSNormOp
from fastbp.ops.rotary import RotaryOp
from fastbp.ops.scale import ScaleOp
from fastbp.ops.slice import SliceOp
from fastbp.ops.softmax import SoftmaxOp
from fastbp.ops.upsample import UpsampleOp

Net = TypeVar("Net", bound=Executable)
_Maker = Callable[[Any, dict[str, Any]], Layer]
_Must = tuple[tuple[Callable[[Any], bool], str], ...]
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Turn:
    """How an array that PyTorch lays out in another way is brought here, and back there."""

    here: Callable[[Array], Array]
    there: Callable[[Array], Array]


@dataclass(frozen=True)
class Row:
    """A module that does what an op does.

    Attributes
    ----------
    module : str
        Its class in ``torch.nn``.
    layer : function
        Makes the layer of a module, and of the arguments that every layer takes.
    must : tuple of (function, str)
        What options must be, and what is said where they are not.
    trains : bool
        Whether it may have parameters.
    turned : mapping of str to Turn
        The parameters that PyTorch lays out in another way, by role.
    axes : int
        Of images (2) and sequences (1), which have their channels first there; 0 where that does not matter.
    counts_batches : bool
        Whether it has a buffer that counts the batches it was trained on.
    """

    module: str
    layer: _Maker
    must: _Must = ()
    trains: bool = False
    turned: Mapping[str, Turn] = field(default_factory=dict)
    axes: int = 0
    counts_batches: bool = False


def _convolution(m: Any) -> tuple[Any, ...]:
    return m.in_channels, m.out_channels, m.kernel_size, m.stride, m.padding, m.dilation, m.groups, m.bias is not None


def _means(m: Any) -> tuple[Any, ...]:
    return m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad


def _maxima(m: Any) -> tuple[Any, ...]:
    return m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode


def _scales(m: Any) -> tuple[float, ...]:
    return m.scale_factor if isinstance(m.scale_factor, tuple) else (m.scale_factor,)


def _factors(m: Any) -> int | tuple[int, ...]:
    factors = tuple(int(f) for f in _scales(m))
    return factors if len(factors) > 1 else factors[0]


def _smallest(m: Any) -> float:
    """Return the eps of an RMSNorm, which is by default that of its dtype."""
    if m.eps is not None:
        return float(m.eps)
    return 2.0 ** (-52 if str(getattr(m.weight, "dtype", "")) == "torch.float64" else -23)


_TRANSPOSED = Turn(lambda w: w.T, lambda w: w.T)
_KERNEL = Turn(lambda w: np.moveaxis(np.moveaxis(w, 1, -1), 0, -1), lambda w: np.moveaxis(np.moveaxis(w, -1, 0), -1, 1))
_KERNEL_BACK = Turn(lambda w: np.moveaxis(w, 1, -1), lambda w: np.moveaxis(w, -1, 1))
_STATISTICS: _Must = ((lambda m: m.momentum is not None, "momentum=None (a cumulative average)"),
                      (lambda m: m.track_running_stats, "track_running_stats=False"))
_LAST_AXIS: _Must = ((lambda m: len(m.normalized_shape) == 1, "a normalized_shape of several axes"),)
_ZEROS: _Must = ((lambda m: m.padding_mode == "zeros", "a padding_mode other than zeros"),)
_ONE: _Must = ((lambda m: m.output_size in (1, (1,), (1, 1)), "an output_size other than 1"),)
_UPSAMPLE: _Must = ((lambda m: m.size is None, "a size in place of a scale_factor"),
                    (lambda m: all(float(f).is_integer() for f in _scales(m)), "a scale_factor that is no integer"),
                    (lambda m: m.mode in ("nearest", "linear", "bilinear"), "a mode other than nearest and (bi)linear"),
                    (lambda m: not m.align_corners, "align_corners=True"))
_NO_INDICES: _Must = ((lambda m: not m.return_indices, "return_indices=True"),)
_GELU = (Row("GELU", lambda m, o: layers.GELU(m.approximate, **o)),)
_ALONE = Nothing("PyTorch has no such module")
_SEVERAL = Nothing("it has several inputs or outputs, and a Sequential hands on one")

TABLE: dict[type[Op], tuple[Row, ...] | Nothing] = {
    LinearOp: (Row("Linear", lambda m, o: layers.Linear(m.in_features, m.out_features, m.bias is not None, **o),
                   trains=True, turned={"weight": _TRANSPOSED}),),
    ConvOp: (Row("Conv1d", lambda m, o: layers.Conv1d(*_convolution(m), **o), _ZEROS, True, {"weight": _KERNEL}, 1),
             Row("Conv2d", lambda m, o: layers.Conv2d(*_convolution(m), **o), _ZEROS, True, {"weight": _KERNEL}, 2)),
    ConvTransposeOp: (Row("ConvTranspose2d", lambda m, o: layers.ConvTranspose2d(
        m.in_channels, m.out_channels, m.kernel_size, m.stride, m.padding, m.output_padding, m.groups,
        m.bias is not None, m.dilation, **o), trains=True, turned={"weight": _KERNEL_BACK}, axes=2),),
    MaxPoolOp: (Row("MaxPool1d", lambda m, o: layers.MaxPool1d(*_maxima(m), **o), _NO_INDICES, axes=1),
                Row("MaxPool2d", lambda m, o: layers.MaxPool2d(*_maxima(m), **o), _NO_INDICES, axes=2)),
    AvgPoolOp: (Row("AvgPool1d", lambda m, o: layers.AvgPool1d(*_means(m), **o), axes=1),
                Row("AvgPool2d", lambda m, o: layers.AvgPool2d(*_means(m), **o),
                    ((lambda m: m.divisor_override is None, "a divisor_override"),), axes=2)),
    GlobalAvgPoolOp: (Row("AdaptiveAvgPool1d", lambda m, o: layers.GlobalAvgPool(**o), _ONE, axes=1),
                      Row("AdaptiveAvgPool2d", lambda m, o: layers.GlobalAvgPool(**o), _ONE, axes=2)),
    UpsampleOp: (Row("Upsample", lambda m, o: layers.Upsample(_factors(m), m.mode, **o), _UPSAMPLE, axes=2),),
    BatchNormOp: (Row("BatchNorm1d", lambda m, o: layers.BatchNorm(m.num_features, m.momentum, m.eps, **o),
                      _STATISTICS, True, counts_batches=True),
                  Row("BatchNorm2d", lambda m, o: layers.BatchNorm(m.num_features, m.momentum, m.eps, **o),
                      _STATISTICS, True, axes=2, counts_batches=True)),
    LayerNormOp: (Row("LayerNorm", lambda m, o: layers.LayerNorm(m.normalized_shape[0], m.eps, **o),
                      (*_LAST_AXIS, (lambda m: m.weight is None or m.bias is not None, "bias=False")), True),),
    RMSNormOp: (Row("RMSNorm", lambda m, o: layers.RMSNorm(m.normalized_shape[0], _smallest(m), **o), _LAST_AXIS,
                    trains=True),),
    GroupNormOp: (Row("GroupNorm", lambda m, o: layers.GroupNorm(m.num_groups, m.num_channels, m.eps, **o),
                      trains=True),),
    EmbeddingOp: (Row("Embedding", lambda m, o: layers.Embedding(m.num_embeddings, m.embedding_dim, m.padding_idx, **o),
                      ((lambda m: m.max_norm is None, "a max_norm"),
                       (lambda m: not m.scale_grad_by_freq, "scale_grad_by_freq=True"),
                       (lambda m: not m.sparse, "sparse=True"),
                       (lambda m: m.padding_idx is None or not m.weight[m.padding_idx].any(),
                        "a vector other than 0 at padding_idx")), True),),
    PReLUOp: (Row("PReLU", lambda m, o: layers.PReLU(m.num_parameters, **o), trains=True),),
    acts.IdentityOp: (Row("Identity", lambda m, o: layers.Identity(**o)),),
    FlattenOp: (Row("Flatten", lambda m, o: layers.Flatten(**o),
                    ((lambda m: (m.start_dim, m.end_dim) == (1, -1), "other axes than all but the first"),)),),
    DropoutOp: (Row("Dropout", lambda m, o: layers.Dropout(m.p, **o)),),
    ReshapeOp: (Row("Unflatten", lambda m, o: layers.Reshape(*m.unflattened_size, **o),
                    ((lambda m: m.dim == 1, "a dim other than 1"),)),),
    SoftmaxOp: (Row("Softmax", lambda m, o: layers.Softmax(**o), ((lambda m: m.dim is not None, "dim=None"),)),),
    GLUOp: (Row("GLU", lambda m, o: layers.GLU(**o)),),
    acts.ReLUOp: (Row("ReLU", lambda m, o: layers.ReLU(**o)),),
    acts.LeakyReLUOp: (Row("LeakyReLU", lambda m, o: layers.LeakyReLU(m.negative_slope, **o)),),
    acts.ELUOp: (Row("ELU", lambda m, o: layers.ELU(m.alpha, **o)),),
    acts.SELUOp: (Row("SELU", lambda m, o: layers.SELU(**o)),),
    acts.GELUOp: _GELU,
    acts.GELUTanhOp: _GELU,
    acts.SiLUOp: (Row("SiLU", lambda m, o: layers.SiLU(**o)),),
    acts.MishOp: (Row("Mish", lambda m, o: layers.Mish(**o)),),
    acts.SigmoidOp: (Row("Sigmoid", lambda m, o: layers.Sigmoid(**o)),),
    acts.TanhOp: (Row("Tanh", lambda m, o: layers.Tanh(**o)),),
    acts.SoftplusOp: (Row("Softplus", lambda m, o: layers.Softplus(**o),
                          ((lambda m: m.beta == 1, "a beta other than 1"),)),),
    acts.HardSwishOp: (Row("Hardswish", lambda m, o: layers.HardSwish(**o)),),
    **dict.fromkeys((AddOp, MulOp, ConcatOp, AttentionOp, RNNOp, GRUOp, LSTMOp), _SEVERAL),
    **dict.fromkeys((ScaleOp, GroupedLinearOp, PeriodicOp, PiecewiseLinearOp, SwiGLUOp, PositionsOp, RotaryOp, SliceOp,
                     PermuteOp), _ALONE),
    LinearBackOp: Nothing("it is what Linear does backwards; a module has no such use of another one's weight"),
    Expression: Nothing(  # type: ignore[type-abstract]
        "PyTorch has functions for it, and no module that a Sequential could hold"),
    PythonOp: Nothing("its rules are Python functions over NumPy arrays"),
}
_MODULES = {row.module: row for rows in TABLE.values() if isinstance(rows, tuple) for row in rows}


# ---- modules ---------------------------------------------------------------------------------------------------------


def convert(module: Any, sequential: Callable[..., Net], input_shape: Sequence[int] | None,
            backend: BackendName) -> Net:
    """Return the network that a module of PyTorch is; :func:`fastbp.from_torch`."""
    torch = _torch()
    alone = type(module).__name__ in torch_modules.MODULES
    if alone:
        module = torch.nn.Sequential(module)
    if not isinstance(module, torch.nn.Sequential | torch.nn.TransformerEncoder):
        raise TypeError(f"from_torch: module is {type(module).__name__}; expected torch.nn.Sequential. Wrap a single "
                        "layer: torch.nn.Sequential(layer)")
    modules = list(_flat(torch, module, ""))
    parts = [(_flat_name(name), part) for name, part in modules]
    made = [_layer(torch, name, part) for name, part in parts]
    features = _features(parts)
    shape = (features,) if input_shape is None and features is not None else tuple(input_shape or ())
    axes = _axes(parts)
    if axes and len(shape) != axes + 1:
        raise ValueError(f"from_torch: input_shape is {input_shape!r}; expected {axes + 1} sizes, channels first, for "
                         "convolution and pooling")
    shape = (*shape[1:], shape[0]) if axes else shape
    if len(shape) == 1 and parts and _takes_sequences(parts[0][1]):
        raise ValueError(f"from_torch: input_shape is {input_shape!r}; expected (T, {shape[0]}), as "
                         f"{type(parts[0][1]).__name__} takes sequences. T may be any: the network takes other lengths")
    dtype = "int64" if made and isinstance(made[0], layers.Embedding) else None
    given = [Input(shape, dtype=dtype)] if shape else []
    between = _axes_before(parts, axes)
    net = sequential(*given, *_in_order(made, between), dtype=_dtype(torch, module), seed=0, backend=backend)
    _check_axes(net, parts, between)
    plain = [(name, part) for name, part in parts if type(part).__name__ not in torch_modules.MODULES]
    state = from_state({f"{name}.{role}": values for name, part in plain
                        for role, values in [*part.named_parameters(), *part.named_buffers()]}, net.graph)
    for name, part in parts:
        if (name, part) not in plain:
            state.update(torch_modules.state_of(name, part))
    for name, values in state.items():
        (net.params if name in net.params else net.buffers)[name][...] = values
    net.module_names = {_flat_name(name): "" if alone else name for name, _ in modules if alone or "." in name}
    return net


def _axes(parts: list[tuple[str, Any]]) -> int:
    """Return over how many axes the first convolution or pooling goes, 0 if there is none before an Unflatten."""
    for _, part in parts:
        if type(part).__name__ == "Unflatten":
            return 0
        if axes := _axes_of(part):
            return axes
    return 0


def _axes_before(parts: list[tuple[str, Any]], axes: int) -> list[int]:
    """Return over how many axes images or sequences with channels first go before each module, and behind the last."""
    found = [axes]
    for i, (_, part) in enumerate(parts):
        kind = type(part).__name__
        if kind == "Unflatten":
            rest = _axes(parts[i + 1:])
            axes = rest if rest + 1 == len(part.unflattened_size) else 0
        found.append(axes := 0 if kind in ("Flatten", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d") else axes)
    return found


def _axes_of(part: Any) -> int:
    row = _MODULES.get(type(part).__name__)
    return 0 if row is None else row.axes


def _takes_sequences(part: Any) -> bool:
    row = torch_modules.MODULES.get(type(part).__name__)
    return row is not None and row.features is not None


def _in_order(made: list[Layer], axes: list[int]) -> list[Layer]:
    """Return the layers, with channels brought first where images are flattened, and last where they are made."""
    chain: list[Layer] = []
    for layer, before, behind in zip(made, axes, axes[1:], strict=False):
        if isinstance(layer, layers.Flatten) and before:
            chain.append(layers.Permute(before + 1, *range(1, before + 1), name=f"{layer.name}_order"))
        chain.append(layer)
        if isinstance(layer, layers.Reshape) and behind:
            chain.append(layers.Permute(*range(2, behind + 2), 1, name=f"{layer.name}_order"))
    return chain


def _flat(torch: Any, module: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Return the modules one after the other, by their names in PyTorch."""
    for name, part in module.named_children():
        if isinstance(part, torch.nn.Sequential | torch.nn.TransformerEncoder | torch.nn.ModuleList):
            yield from _flat(torch, part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", part


def _features(parts: list[tuple[str, Any]]) -> int | None:
    """Return the features that the first layer which knows them takes, layers before it leaving the shape alone."""
    for _, part in parts:
        kind = type(part).__name__
        if kind in ("Flatten", "Embedding", "EmbeddingBag") or _axes_of(part):
            return None
        if kind in torch_modules.MODULES:
            features = torch_modules.MODULES[kind].features
            return None if features is None else features(part)
        for attribute in ("in_features", "num_features"):
            if hasattr(part, attribute):
                return int(getattr(part, attribute))
        if type(part).__name__ == "LayerNorm":
            return int(part.normalized_shape[-1])
    return None


def _layer(torch: Any, name: str, part: Any) -> Layer:
    kind = type(part).__name__
    known: dict[str, Any] = {**_MODULES, **torch_modules.MODULES}
    if kind not in known or type(part) is not getattr(torch.nn, kind, None):
        raise ValueError(f"from_torch: {name!r} is {part}, which fastbp has nothing for; it has {', '.join(known)}")
    row = known[kind]
    for fits, what in row.must:
        if not fits(part):
            raise ValueError(f"from_torch: {name!r} is {part} with {what}, which fastbp has nothing for")
    options: dict[str, Any] = {"name": name}
    trained = {p.requires_grad for p in part.parameters()}
    if len(trained) > 1:
        raise ValueError(f"from_torch: {name!r} is {part}, of which some parameters are frozen and some are not; "
                         "expected all or none")
    # without parameters of its own (affine=False) it is frozen at 1 and 0
    if getattr(row, "trains", True) and trained != {True}:
        options["trainable"] = False
    layer: Layer = row.layer(part, options)
    return layer


def _check_axes(net: Executable, parts: list[tuple[str, Any]], axes: list[int]) -> None:
    """Refuse what works over another axis there than here.

    That is the last one here. There it is the first after the batch between convolutions (of modules that count axes),
    and for batch and group normalisation everywhere.
    """
    modules = {name: (part, over) for (name, part), over in zip(parts, axes, strict=False)}
    for tensor in net.graph.tensors:
        if tensor.node is None or not isinstance(tensor.node.op, BatchNormOp | GroupNormOp | SoftmaxOp | GLUOp):
            continue
        source, (part, over) = tensor.node.inputs[0], modules[tensor.node.owner.name or ""]
        rank = len(source.shape) + 1
        there = part.dim % rank if isinstance(tensor.node.op, SoftmaxOp | GLUOp) else 1
        if there != (1 if over else rank - 1):
            raise ValueError(f"from_torch: {tensor.node.owner!r} gets {source!r}; PyTorch takes other axes than "
                             "fastbp there. Expected (B, C), or the axis of channels")


def _dtype(torch: Any, module: Any) -> str:
    dtypes = {p.dtype for p in module.parameters()} or {torch.float32}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        raise ValueError(f"from_torch: the parameters have {', '.join(sorted(map(str, dtypes)))}; expected float32 or "
                         "float64 throughout: module.float()")
    return "float64" if torch.float64 in dtypes else "float32"


# ---- parameters by name ----------------------------------------------------------------------------------------------


def state_dict(net: Executable) -> dict[str, Any]:
    """Return the parameters and buffers as PyTorch has them; ``net.to_torch_state_dict()``."""
    torch = _torch()
    _check_flattened("to_torch_state_dict", net.graph)
    turned, counters = turned_there(net.graph), _counters(net.graph)
    arrays = {**net.params, **net.buffers}
    pieces = {f"{p.name}.{role}": p for p in torch_modules.pieces(net.params) for role in p.roles}
    laid_out: dict[str, Array] = {}
    for name, values in arrays.items():
        if name in pieces:
            laid_out.update(pieces[name].there(arrays))
        else:
            laid_out[name] = turned[name].there(values) if name in turned else values
    state = {name: torch.from_numpy(np.array(a, order="C")) for name, a in laid_out.items()}
    state |= {name: torch.tensor(net.memory.step) for name in counters}
    return {_named_there(name, net.module_names): values for name, values in state.items()}


def _named_there(name: str, modules: Mapping[str, str]) -> str:
    layer, _, role = name.partition(".")
    module = modules.get(layer, layer)
    return f"{module}.{role}" if module else role


def from_state(state: Mapping[str, Any], graph: Graph) -> dict[str, Any]:
    """Return a state dict of PyTorch's as arrays laid out and named as in a graph; unknown names are left in it.

    Dots in the names of nested modules become ``"_"``, as :func:`fastbp.from_torch` names layers. What PyTorch counts
    batches with is left out.
    """
    _check_flattened("load_state_dict", graph)
    turned, counters = turned_there(graph), _counters(graph)
    own = {_flat_name(name): name for name in (*graph.parameters, *graph.buffers, *counters)}
    found, rest = _from_pieces(state, graph)
    for name, values in rest.items():
        known = own.get(_flat_name(name), name)
        if known in found:
            raise ValueError(f"load_state_dict: state has {known!r} twice, also as {name!r}; expected each name once")
        if known not in own.values():
            found[name] = values
        elif known not in counters:
            array = np.asarray(as_array(values))
            fits = known in turned and array.ndim == len(graph.parameters[known].shape)
            found[known] = turned[known].here(array) if fits else array
    return found


def _flat_name(name: str) -> str:
    return name.replace(".", "_")


def _from_pieces(state: Mapping[str, Any], graph: Graph) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters of layers that PyTorch has in other pieces, if all of them are there, and the rest.

    The state of a single module has no name before what it calls them.
    """
    rest, found = dict(state), {}
    names = {_flat_name(name): name for name in state}
    owners = {name.rpartition(".")[0] for name in graph.parameters}
    for piece in torch_modules.pieces(graph.parameters):
        shapes = {f"{piece.name}.{role}": np.broadcast_to(0.0, graph.parameters[f"{piece.name}.{role}"].shape)
                  for role in piece.roles}
        wanted = {full: full.removeprefix(f"{piece.name}.") for full in piece.there(shapes)}
        given = {role: names.get(_flat_name(full), role if len(owners) == 1 and role in state else None)
                 for full, role in wanted.items()}
        if all(given.values()):
            found.update(piece.here({role: np.asarray(as_array(rest.pop(str(name)))) for role, name in given.items()}))
    return found, rest


def turned_there(graph: Graph) -> dict[str, Turn]:
    """Return the parameters that PyTorch lays out in another way, by name."""
    return {graph.parameter_name(node.params[role]): turn for node in graph.nodes for row in _rows(node)[:1]
            for role, turn in row.turned.items()}


def _counters(graph: Graph) -> set[str]:
    """Return the names of what PyTorch has besides: how many batches a module was trained on."""
    return {f"{graph.layer_name(node.owner)}.{_COUNTER}" for node in graph.nodes for row in _rows(node)
            if row.counts_batches}


def _rows(node: Node) -> tuple[Row, ...]:
    rows = row_of(TABLE, node.op)
    return rows if isinstance(rows, tuple) else ()


def _check_flattened(caller: str, graph: Graph) -> None:
    """Refuse images that are flattened with their channels last: the weights after that have another order there."""
    images: set[Tensor] = set()
    for tensor in graph.tensors:
        if tensor.node is None or isinstance(tensor.node.op, PermuteOp):
            continue
        source = tensor.node.inputs[0] if tensor.node.inputs else tensor
        flat = isinstance(tensor.node.op, FlattenOp | ReshapeOp) and len(tensor.shape) == 1
        if flat and source in images and source.shape[-1] > 1 and prod(source.shape[:-1]) > 1:
            raise ValueError(f"{caller}: {tensor.node.owner!r} flattens images with their channels last. PyTorch has "
                             "them first, so that the weights after it have another order there: put "
                             f"fb.Permute({len(source.shape)}, {', '.join(map(str, range(1, len(source.shape))))}) "
                             "before it, as fb.from_torch does")
        if len(tensor.shape) > 1 and (any(row.axes for row in _rows(tensor.node)) or images & {*tensor.node.inputs}):
            images.add(tensor)


def is_tensor(values: Any) -> bool:
    """Whether it is a tensor of PyTorch's; without importing that."""
    return any(kind.__module__.partition(".")[0] == "torch" for kind in type(values).__mro__)


def as_array(values: Any) -> Any:
    """Return the numbers of a tensor, wherever it is; anything else as it is."""
    if not is_tensor(values):
        return values
    tensor = values.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.double()    # NumPy has no bfloat16
    array: Array = tensor.numpy()
    return array


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise ImportError("this needs PyTorch; install it with: pip install 'fastbp[torch]'") from None
    return torch
