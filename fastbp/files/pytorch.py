"""To and from PyTorch: ``nn.Sequential`` of layers that fastbp has, and parameters as PyTorch lays them out.

PyTorch keeps the weight of a linear layer as (out, in), fastbp as (in, out). Images and sequences have their channels
first there, and last here: the weights of convolutions are turned, and where images are flattened, they are brought to
PyTorch's order before. All else is laid out alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import layers
from fastbp.engine.executable import BackendName
from fastbp.graph.graph import Input, Tensor
from fastbp.layers.base import Layer
from fastbp.network import Network, Sequential
from fastbp.ops.batch_norm import BatchNormOp
from fastbp.ops.conv import ConvOp
from fastbp.ops.conv_transpose import ConvTransposeOp
from fastbp.ops.linear import LinearOp

if TYPE_CHECKING:
    from fastbp.ops.base import Array


def from_torch(module: Any, *, input_shape: Sequence[int] | None = None,
               backend: BackendName = "native") -> Sequential:
    """Return a network that computes what a module of PyTorch does, with its parameters and dtype.

    Parameters
    ----------
    module : torch.nn.Sequential
        Of ``Linear``, the activations that fastbp has, ``Softmax`` over the last axis, ``Dropout``, ``BatchNorm1d`` on
        (B, C), ``LayerNorm`` over the last axis, ``Embedding``, ``Flatten``, ``Identity``, convolutions and pooling of
        one or two axes, ``BatchNorm2d``, ``AdaptiveAvgPool2d(1)``, ``PReLU``, and ``Sequential`` of these.
    input_shape : sequence of int, optional
        Of one sample, as PyTorch has it: (C, H, W) of an image. Needed where the first layer does not tell, as
        ``Flatten``, ``Embedding`` and convolutions do not. The network takes (B, H, W, C).
    backend : {"native", "reference"}

    Returns
    -------
    Sequential
        Parameters with ``requires_grad=False`` are frozen. Layers are named as in the module (``"0"``, ``"1"``, …; dots
        in the names of nested ones become ``"_"``).

    Raises
    ------
    ImportError
        Without torch.
    TypeError, ValueError
        For a module or an option that fastbp has nothing for.

    Examples
    --------
    >>> import fastbp as fb
    >>> import torch  # doctest: +SKIP
    >>> module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh())  # doctest: +SKIP
    >>> fb.from_torch(module)  # doctest: +SKIP
    Sequential((B, 4) → (B, 3), 15 parameters, float32, native)
    """
    torch = _torch()
    if not isinstance(module, torch.nn.Sequential):
        raise TypeError(f"from_torch: module is {type(module).__name__}; expected torch.nn.Sequential. Wrap a single "
                        "layer: torch.nn.Sequential(layer)")
    parts = list(_flat(torch, module, ""))
    made = [_layer(torch, name, part) for name, part in parts]
    features = _features(parts)
    shape = (features,) if input_shape is None and features is not None else tuple(input_shape or ())
    axes = _axes(parts)
    if axes and len(shape) != axes + 1:
        raise ValueError(f"from_torch: input_shape is {input_shape!r}; expected {axes + 1} sizes, channels first, for "
                         "convolution and pooling")
    shape = (*shape[1:], shape[0]) if axes else shape
    dtype = "int64" if made and isinstance(made[0], layers.Embedding) else None
    given = [Input(shape, dtype=dtype)] if shape else []
    net = Sequential(*given, *_in_order(made, axes), dtype=_dtype(torch, module), seed=0, backend=backend)
    _check_batch_norms(net, {name for name, part in parts if type(part).__name__ == "BatchNorm2d"})
    for (name, part), layer in zip(parts, made, strict=True):
        _take_values(net, name, part, layer)
    return net


def state_dict(net: Network) -> dict[str, Any]:
    """Return the parameters and buffers as PyTorch has them; ``net.to_torch_state_dict()``."""
    torch = _torch()
    state: dict[str, Any] = {}
    turned = {net.graph.parameter_name(n.params["weight"]): _TURNED[type(n.op)] for n in net.graph.nodes
              if type(n.op) in _TURNED}
    counted = {net.graph.layer_name(n.owner) for n in net.graph.nodes if isinstance(n.op, BatchNormOp)}
    for name, values in {**net.params, **net.buffers}.items():
        laid_out: Array = turned[name][1](values) if name in turned else values
        state[name] = torch.from_numpy(np.array(laid_out, order="C"))
    for name in counted:
        state[f"{name}.num_batches_tracked"] = torch.tensor(net.memory.step)
    return state


# Of ops whose weights PyTorch lays out in another way: from there, and to there.
_TURNED: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    LinearOp: (lambda w: w.T, lambda w: w.T),
    ConvOp: (lambda w: np.moveaxis(np.moveaxis(w, 1, -1), 0, -1), lambda w: np.moveaxis(np.moveaxis(w, -1, 0), -1, 1)),
    ConvTransposeOp: (lambda w: np.moveaxis(w, 1, -1), lambda w: np.moveaxis(w, -1, 1)),
}


def _axes(parts: list[tuple[str, Any]]) -> int:
    """Return over how many axes the first convolution or pooling goes, 0 if there is none."""
    for _, part in parts:
        kind = type(part).__name__
        if kind[-2:] in ("1d", "2d") and kind != "BatchNorm1d":
            return int(kind[-2])
    return 0


def _in_order(made: list[Layer], axes: int) -> list[Layer]:
    """Return the layers, with channels brought first where images are flattened."""
    chain: list[Layer] = []
    for layer in made:
        if isinstance(layer, layers.GlobalAvgPool):
            axes = 0
        if isinstance(layer, layers.Flatten) and axes:
            chain.append(layers.Permute(axes + 1, *range(1, axes + 1), name=f"{layer.name}_order"))
            axes = 0
        chain.append(layer)
    return chain


def _flat(torch: Any, module: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, part in module.named_children():
        if isinstance(part, torch.nn.Sequential):
            yield from _flat(torch, part, f"{prefix}{name}_")
        else:
            yield f"{prefix}{name}", part


def _features(parts: list[tuple[str, Any]]) -> int | None:
    """Return the features that the first layer which knows them takes, layers before it leaving the shape alone."""
    for _, part in parts:
        kind = type(part).__name__
        if kind in ("Flatten", "Embedding") or (kind[-2:] in ("1d", "2d") and kind != "BatchNorm1d"):
            return None
        for attribute in ("in_features", "num_features"):
            if hasattr(part, attribute):
                return int(getattr(part, attribute))
        if type(part).__name__ == "LayerNorm":
            return int(part.normalized_shape[-1])
    return None


_Maker = Callable[[Any, dict[str, Any]], Layer]
_LAYERS: dict[str, _Maker] = {
    "Conv1d": lambda m, o: layers.Conv1d(**_convolution(m), **o),
    "Conv2d": lambda m, o: layers.Conv2d(**_convolution(m), **o),
    "ConvTranspose2d": lambda m, o: layers.ConvTranspose2d(
        m.in_channels, m.out_channels, m.kernel_size, m.stride, m.padding, m.output_padding, m.groups,
        m.bias is not None, m.dilation, **o),
    "MaxPool1d": lambda m, o: layers.MaxPool1d(m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, **o),
    "MaxPool2d": lambda m, o: layers.MaxPool2d(m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, **o),
    "AvgPool1d": lambda m, o: layers.AvgPool1d(**_means(m), **o),
    "AvgPool2d": lambda m, o: layers.AvgPool2d(**_means(m), **o),
    "AdaptiveAvgPool2d": lambda m, o: layers.GlobalAvgPool(**o),
    "BatchNorm2d": lambda m, o: layers.BatchNorm(m.num_features, m.momentum, m.eps, **o),
    "PReLU": lambda m, o: layers.PReLU(m.num_parameters, **o),
    "Linear": lambda m, o: layers.Linear(m.in_features, m.out_features, m.bias is not None, **o),
    "BatchNorm1d": lambda m, o: layers.BatchNorm(m.num_features, m.momentum, m.eps, **o),
    "LayerNorm": lambda m, o: layers.LayerNorm(m.normalized_shape[0], m.eps, **o),
    "Embedding": lambda m, o: layers.Embedding(m.num_embeddings, m.embedding_dim, m.padding_idx, **o),
    "Identity": lambda m, o: layers.Identity(**o),
    "Flatten": lambda m, o: layers.Flatten(**o),
    "Dropout": lambda m, o: layers.Dropout(m.p, **o),
    "Softmax": lambda m, o: layers.Softmax(**o),
    "ReLU": lambda m, o: layers.ReLU(**o),
    "LeakyReLU": lambda m, o: layers.LeakyReLU(m.negative_slope, **o),
    "ELU": lambda m, o: layers.ELU(m.alpha, **o),
    "SELU": lambda m, o: layers.SELU(**o),
    "GELU": lambda m, o: layers.GELU(m.approximate, **o),
    "SiLU": lambda m, o: layers.SiLU(**o),
    "Mish": lambda m, o: layers.Mish(**o),
    "Sigmoid": lambda m, o: layers.Sigmoid(**o),
    "Tanh": lambda m, o: layers.Tanh(**o),
    "Softplus": lambda m, o: layers.Softplus(**o),
    "Hardswish": lambda m, o: layers.HardSwish(**o),
}

# An option of a module, what it must be, and why.
_MUST: dict[str, list[tuple[Callable[[Any], bool], str]]] = {
    "BatchNorm1d": [(lambda m: m.momentum is not None, "momentum=None (a cumulative average)"),
                    (lambda m: m.track_running_stats, "track_running_stats=False")],
    "BatchNorm2d": [(lambda m: m.momentum is not None, "momentum=None (a cumulative average)"),
                    (lambda m: m.track_running_stats, "track_running_stats=False")],
    "Conv1d": [(lambda m: m.padding_mode == "zeros", "a padding_mode other than zeros")],
    "Conv2d": [(lambda m: m.padding_mode == "zeros", "a padding_mode other than zeros")],
    "MaxPool1d": [(lambda m: not m.return_indices, "return_indices=True")],
    "MaxPool2d": [(lambda m: not m.return_indices, "return_indices=True")],
    "AvgPool2d": [(lambda m: m.divisor_override is None, "a divisor_override")],
    "AdaptiveAvgPool2d": [(lambda m: m.output_size in (1, (1, 1)), "an output_size other than 1")],
    "LayerNorm": [(lambda m: len(m.normalized_shape) == 1, "a normalized_shape of several axes"),
                  (lambda m: m.weight is None or m.bias is not None, "bias=False")],
    "Softmax": [(lambda m: m.dim in (-1, 1), "a dim other than the last")],
    "Embedding": [(lambda m: m.max_norm is None, "a max_norm"),
                  (lambda m: not m.scale_grad_by_freq, "scale_grad_by_freq=True"),
                  (lambda m: not m.sparse, "sparse=True")],
    "Flatten": [(lambda m: (m.start_dim, m.end_dim) == (1, -1), "other axes than all but the first")],
    "Softplus": [(lambda m: m.beta == 1, "a beta other than 1")],
}


def _layer(torch: Any, name: str, part: Any) -> Layer:
    kind = type(part).__name__
    if kind not in _LAYERS or type(part) is not getattr(torch.nn, kind, None):
        raise ValueError(f"from_torch: {name!r} is {part}, which fastbp has nothing for; it has {', '.join(_LAYERS)}")
    for fits, what in _MUST.get(kind, []):
        if not fits(part):
            raise ValueError(f"from_torch: {name!r} is {part} with {what}, which fastbp has nothing for")
    options: dict[str, Any] = {"name": name}
    trained = {p.requires_grad for p in part.parameters()}
    if len(trained) > 1:
        raise ValueError(f"from_torch: {name!r} is {part}, of which some parameters are frozen and some are not; "
                         "expected all or none")
    has_parameters = kind in ("Linear", "BatchNorm1d", "BatchNorm2d", "LayerNorm", "Embedding", "PReLU", "Conv1d",
                              "Conv2d", "ConvTranspose2d")
    if has_parameters and trained != {True}:  # without parameters of its own (affine=False) it is frozen at 1 and 0
        options["trainable"] = False
    return _LAYERS[kind](part, options)


def _convolution(m: Any) -> dict[str, Any]:
    same = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    return {argument: getattr(m, argument) for argument in same} | {"bias": m.bias is not None}


def _means(m: Any) -> dict[str, Any]:
    same = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
    return {argument: getattr(m, argument) for argument in same}


def _check_batch_norms(net: Sequential, images: set[str]) -> None:
    """BatchNorm1d and Softmax on several axes mean other axes there than here; BatchNorm2d, named, means images."""
    for tensor in net.graph.tensors:
        if tensor.node is not None and isinstance(tensor.node.owner, layers.BatchNorm | layers.Softmax):
            source: Tensor = tensor.node.inputs[0]
            if len(source.shape) != 1 and tensor.node.owner.name not in images:
                raise ValueError(f"from_torch: {tensor.node.owner!r} gets {source!r}; PyTorch takes other axes than "
                                 "fastbp there. Expected (B, C)")


def _take_values(net: Sequential, name: str, part: Any, layer: Layer) -> None:
    ops: dict[type, type] = {layers.Linear: LinearOp, layers.Conv1d: ConvOp, layers.Conv2d: ConvOp,
                             layers.ConvTranspose2d: ConvTransposeOp}
    turn = _TURNED[ops[type(layer)]][0] if type(layer) in ops else np.asarray
    for role, values in [*part.named_parameters(), *part.named_buffers()]:
        if role != "num_batches_tracked":
            array = values.detach().cpu().numpy()
            own = net.params if f"{name}.{role}" in net.params else net.buffers
            own[f"{name}.{role}"][...] = turn(array) if role == "weight" else array


def _dtype(torch: Any, module: Any) -> str:
    dtypes = {p.dtype for p in module.parameters()} or {torch.float32}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        raise ValueError(f"from_torch: the parameters have {', '.join(sorted(map(str, dtypes)))}; expected float32 or "
                         "float64 throughout: module.float()")
    return "float64" if torch.float64 in dtypes else "float32"


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise ImportError("this needs PyTorch; install it with: pip install 'fastbp[torch]'") from None
    return torch
