"""Networks from files and from other libraries: what :mod:`fastbp.network` writes is read here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Any

from fastbp.engine.executable import BackendName
from fastbp.layers.base import Layer
from fastbp.network import Ensemble, Network, Sequential

KINDS: dict[str, type[Network]] = {kind.file_type: kind for kind in (Network, Sequential, Ensemble)}
"""What a file may hold."""
READERS: dict[str, Callable[[Any], Any]] = {}
"""What makes something else of a file's contents, by a key of its description: what stands above hands it in."""


def load(path: str | PathLike[str], *, backend: BackendName = "native", layers: Iterable[type[Layer]] = (),
         compute_dtype: str | None = None) -> Network:
    """Read the network from a file that ``net.save`` or ``trainer.save_checkpoint`` wrote, or an estimator for tables.

    The whole file is read before anything of it is used: nothing that happens to it later matters.

    Parameters
    ----------
    path : path
    backend : {"native", "reference"}
    layers : classes, optional
        Layers of your own that the network has. A file names classes; it never brings code.
    compute_dtype : str, optional
        As in :class:`~fastbp.Network`; by default what it was. "float32" loads a network that multiplied in bfloat16
        on a CPU that cannot.

    Returns
    -------
    Network
        A :class:`~fastbp.Sequential` if it was one; the estimator if the file is one's, which takes none of the other
        arguments. Parameters, buffers, names, dtype, seed and the counter of dropout
        are as they were; initializers, which have done their work, are not kept.

    Raises
    ------
    FormatError
        For a file that is truncated, altered, none of fastbp's, or of a newer format; it says what is wrong.
    ValueError
        For a backend that there is not, or a compute_dtype that it cannot do.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Linear(4, 8), fb.ReLU(), fb.Linear(8, 1), seed=0, backend="reference")
    >>> path = pathlib.Path(tempfile.mkdtemp(), "net.safetensors")
    >>> net.save(path)
    >>> fb.load(path, backend="reference")
    Sequential((B, 4) → (B, 1), 49 parameters, float32, reference)
    """
    from fastbp.files.container import read
    from fastbp.files.networks import build
    contents = read(path)
    other = next((kind for kind in READERS if kind in contents.description), None)
    if other is None:
        return build(contents, KINDS, backend, layers, compute_dtype)
    if (backend, tuple(layers), compute_dtype) != ("native", (), None):
        raise ValueError(f"load: {contents.path} holds no network, but an estimator; expected the path alone")
    made: Network = READERS[other](contents)
    return made


def from_onnx(source: Any, *, backend: BackendName = "native") -> Network:
    """Return a network that predicts what a model of ONNX does, with its parameters and dtype.

    Parameters
    ----------
    source : path or onnx.ModelProto
        Of opset 9 or newer, in float32 or float64: as fastbp and PyTorch write dense and convolutional networks,
        recurrent ones, transformers and embeddings.
    backend : {"native", "reference"}

    Returns
    -------
    Network
        It takes and returns arrays as the model does, images (B, C, H, W) where it has channels first; an output whose
        batch is another axis, such as the last state of a recurrent layer, comes with the batch first. What ``Gemm``,
        ``MatMul``, ``Conv``, ``RNN``, ``GRU``, ``LSTM``, normalisation, ``PRelu`` and ``Gather`` hold are parameters,
        named as in the model where its names are like ``"0.weight"``; numbers that other nodes hold are constants.
        Attention is computed as it is written, with scores (B, heads, T, T).

    Raises
    ------
    ImportError
        Without onnx (``pip install 'fastbp[onnx]'``).
    FormatError, TypeError, ValueError
        For what is no model of ONNX's, or a file cut off or altered; an operator or option that fastbp has nothing for,
        with the node and what there is; parameters that are not finite, and inputs whose size is not known.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Linear(4, 3), fb.Tanh(), seed=0)
    >>> path = pathlib.Path(tempfile.mkdtemp(), "net.onnx")
    >>> net.to_onnx(path)  # doctest: +SKIP
    >>> fb.from_onnx(path)  # doctest: +SKIP
    Network((B, 4) → (B, 3), 15 parameters, float32, native)
    """
    from fastbp.files.onnx_import import convert
    return convert(source, Network, backend)


def from_torch(module: Any, *, input_shape: Sequence[int] | None = None,
               backend: BackendName = "native") -> Sequential:
    """Return a network that computes what a module of PyTorch does, with its parameters and dtype.

    Parameters
    ----------
    module : torch.nn.Sequential
        Of ``Linear``, the activations that fastbp has, ``Softmax`` over the last axis, ``Dropout``, ``BatchNorm1d`` on
        (B, C) and between convolutions of sequences, ``LayerNorm`` and ``RMSNorm`` over the last axis, ``GroupNorm``,
        ``Embedding``, ``Flatten``, ``Identity``, convolutions and pooling of one or two axes, ``BatchNorm2d``,
        ``AdaptiveAvgPool2d(1)``, ``PReLU``, ``EmbeddingBag``, ``TransformerEncoderLayer``, ``TransformerEncoder``, and
        ``Sequential`` of these; or one ``RNN``, ``GRU``, ``LSTM`` (its first output), ``MultiheadAttention`` (of one
        tensor to itself), or ``TransformerEncoder``. With ``batch_first=True``.
    input_shape : sequence of int, optional
        Of one sample, as PyTorch has it: (C, H, W) of an image. Needed where the first layer does not tell, as
        ``Flatten``, ``Embedding`` and convolutions do not; (T, C) of sequences. The network takes (B, H, W, C).
    backend : {"native", "reference"}

    Returns
    -------
    Sequential
        Parameters with ``requires_grad=False`` are frozen. Layers are named as in the module (``"0"``, ``"1"``, …; dots
        in the names of nested ones become ``"_"``). ``net.to_torch_state_dict()`` has PyTorch's names again; from a
        network that was saved since, it has those of the layers.

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
    from fastbp.files.pytorch import convert
    return convert(module, Sequential, input_shape, backend)
