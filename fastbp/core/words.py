"""Names that people bring from PyTorch, Keras and scikit-learn, each with fastbp's own.

Where fastbp has the same thing under another name, an unknown name is answered with it. Nothing is translated in
silence: one thing has one name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

PUBLIC = {
    "Activation": "the activations as layers, such as fb.ReLU()",
    "AdaptiveAvgPool2d": "fb.GlobalAvgPool()",
    "Affine": "fb.Linear(in_features, out_features)",
    "AveragePooling1D": "fb.AvgPool1d(kernel_size)",
    "AveragePooling2D": "fb.AvgPool2d(kernel_size)",
    "Bidirectional": "the argument bidirectional of fb.LSTM, fb.GRU and fb.RNN",
    "Conv2DTranspose": "fb.ConvTranspose2d(in_channels, out_channels, kernel_size)",
    "CosineAnnealingLR": "fb.CosineDecay(lr, steps), given as the optimizer's lr",
    "DataLoader": "trainer.fit(x, y, batch_size=32), which draws mini-batches from arrays",
    "Dense": "fb.Linear(in_features, out_features)",
    "GlobalAveragePooling1D": "fb.GlobalAvgPool()",
    "GlobalAveragePooling2D": "fb.GlobalAvgPool()",
    "MaxPooling1D": "fb.MaxPool1d(kernel_size)",
    "MaxPooling2D": "fb.MaxPool2d(kernel_size)",
    "Momentum": "fb.SGD(lr, momentum=0.9)",
    "SimpleRNN": "fb.RNN(input_size, hidden_size)",
    "SoftmaxCrossEntropy": "fb.CrossEntropy(), which takes logits",
    "SoftmaxWithLoss": "fb.CrossEntropy(), which takes logits",
    "SparseCategoricalCrossentropy": "fb.CrossEntropy(), which takes logits",
    "Tensor": "NumPy arrays; a symbol is fb.Input(shape)",
    "TransformerEncoder": "fb.TransformerEncoderLayer(d_model, nhead, dim_feedforward), one after the other",
    "BCELoss": "fb.BinaryCrossEntropy(), which takes logits",
    "BCEWithLogitsLoss": "fb.BinaryCrossEntropy()",
    "BatchNormalization": "fb.BatchNorm()",
    "BatchNorm1d": "fb.BatchNorm()",
    "BatchNorm2d": "fb.BatchNorm()",
    "CategoricalCrossentropy": "fb.CrossEntropy(), which takes logits",
    "BinaryCrossentropy": "fb.BinaryCrossEntropy(), which takes logits",
    "Concatenate": "fb.Concat()",
    "CrossEntropyLoss": "fb.CrossEntropy()",
    "EarlyStopping": "fb.callbacks.EarlyStopping()",
    "GaussianNLLLoss": "fb.GaussianNLL()",
    "HuberLoss": "fb.Huber()",
    "L1Loss": "fb.MAE()",
    "LayerNormalization": "fb.LayerNorm()",
    "MSELoss": "fb.MSE()",
    "MeanAbsoluteError": "fb.MAE()",
    "MeanSquaredError": "fb.MSE()",
    "Model": "fb.Network(inputs, outputs)",
    "ModelCheckpoint": "fb.callbacks.ModelCheckpoint(path)",
    "Module": "fb.Network(inputs, outputs), fb.Sequential(…) or, for a layer, fb.CustomLayer",
    "NLLLoss": "fb.CrossEntropy(), which takes logits",
    "PoissonNLLLoss": "fb.PoissonNLL()",
    "ReduceLROnPlateau": "fb.ReduceOnPlateau(lr), given as the optimizer's lr",
    "SmoothL1Loss": "fb.Huber()",
    "StepLR": "fb.StepDecay(lr, step_size, factor), given as the optimizer's lr",
    "Swish": "fb.SiLU()",
    "clip_grad_norm_": "fb.Trainer(net, loss, optimizer, clip_norm=1.0)",
    "compile": "fb.Trainer(net, loss, optimizer)",
    "cuda": "nothing to call: everything is on the CPU",
    "device": "nothing to call: everything is on the CPU",
    "load_model": "fb.load(path)",
    "nn": "its layers and losses at the top, such as fb.Linear(2, 3) and fb.MSE()",
    "no_grad": "net.predict(x), which computes no gradient",
    "save": "net.save(path)",
    "save_model": "net.save(path)",
    "seed": "the argument seed of fb.Network and fb.Sequential",
    "set_seed": "the argument seed of fb.Network and fb.Sequential",
    "manual_seed": "the argument seed of fb.Network and fb.Sequential",
    "tensor": "NumPy arrays; a symbol is fb.Input(shape)",
}

METHODS = {
    "clip_grad_norm": "fb.Trainer(net, loss, optimizer, clip_norm=1.0)",
    "clip_grad_norm_": "fb.Trainer(net, loss, optimizer, clip_norm=1.0)",
    "compile": "fb.Trainer(net, loss, optimizer)",
    "cpu": "nothing to call: everything is on the CPU",
    "eval": "nothing to call: net.predict(x) predicts, net.forward(x, training=True) is the training mode",
    "evaluate": "trainer.evaluate(x, y)",
    "fit": "fb.Trainer(net, loss, optimizer).fit(x, y)",
    "get_weights": "net.state_dict()",
    "load_weights": "fb.load(path)",
    "named_parameters": "net.params.items()",
    "no_grad": "nothing to call: net.predict(x) computes no gradient",
    "parameters": "net.params, the parameters by name, and net.params.flat, all of them as one vector",
    "requires_grad_": "net.freeze(\"encoder.*\") and net.unfreeze()",
    "save_weights": "net.save(path)",
    "set_weights": "net.load_state_dict(state)",
    "to": "net.copy(dtype=…)",
    "train": "nothing to call: fit and step train, net.forward(x, training=True) is the training mode",
    "zero_grad": "nothing to call: gradients are overwritten, unless accumulate=True is given",
}

TRAINER = {
    "batch_size": "batch_size to fit",
    "clip_grad_norm": "clip_norm=",
    "clip_grad_value": "clip_value=",
    "clipnorm": "clip_norm=",
    "clipvalue": "clip_value=",
    "criterion": "loss=",
    "device": "nothing: everything is on the CPU",
    "epochs": "epochs to fit",
    "gradient_clip_val": "clip_norm=",
    "learning_rate": "an optimizer with it: fb.Adam(1e-3)",
    "lr": "an optimizer with it: fb.Adam(1e-3)",
    "max_grad_norm": "clip_norm=",
    "max_norm": "clip_norm=",
    "model": "net=",
}

TENSOR_METHODS = {
    "abs": "np.abs(x)",
    "add": "x + y",
    "addmm": "x @ y + z",
    "backward": "fb.grad(y, x), or give the function to fb.Trainer as its loss",
    "argpartition": "x.argsort(axis)",
    "bmm": "x @ y",
    "bool": "x.astype(bool)",
    "cat": "np.concatenate([a, b], axis=1)",
    "chunk": "np.array_split(x, n, axis=1)",
    "clamp": "np.clip(x, low, high)",
    "clamp_max": "np.minimum(x, high)",
    "clamp_min": "np.maximum(x, low)",
    "clone": "x alone: nobody can write into a tensor",
    "contiguous": "x alone: how its numbers lie is the plan's",
    "cpu": "x alone: everything is on the CPU",
    "cuda": "x alone: everything is on the CPU",
    "detach": "fb.stop_gradient(x)",
    "device": "nothing: everything is on the CPU",
    "div": "x / y",
    "eq": "x == y",
    "expand": "np.broadcast_to(x, shape)",
    "expand_as": "np.broadcast_to(x, y.shape)",
    "fill_": "np.full_like(x, number)",
    "ge": "x >= y",
    "gt": "x > y",
    "half": "x alone: how wide numbers are is the network's",
    "imag": "0.0 * x: tensors are real",
    "int": "x.astype(int)",
    "is_cuda": "nothing: everything is on the CPU",
    "le": "x <= y",
    "lerp": "x + w * (y - x)",
    "long": "x.astype(int)",
    "lt": "x < y",
    "masked_fill": "np.where(mask, number, x)",
    "masked_select": "np.where(mask, x, 0.0): the number of elements is fixed",
    "matmul": "x @ y",
    "movedim": "np.moveaxis(x, source, destination)",
    "mul": "x * y",
    "narrow": "x[:, start:start + length]",
    "ne": "x != y",
    "neg": "-x",
    "new_ones": "np.ones_like(x)",
    "new_zeros": "np.zeros_like(x)",
    "nonzero": "np.where(condition, a, b): the number of elements is fixed",
    "nelement": "x.size",
    "numel": "x.size",
    "ones_like": "np.ones_like(x)",
    "partition": "np.sort(x, axis)",
    "dim": "x.ndim",
    "double": "x alone: how wide numbers are is the network's",
    "float": "x alone: how wide numbers are is the network's",
    "gather": "np.take_along_axis(x, indices, axis)",
    "grad": "fb.grad(y, x)",
    "log_softmax": "fb.special.log_softmax(x, axis=-1)",
    "logsumexp": "fb.special.logsumexp(x, axis=-1)",
    "mm": "x @ y",
    "norm": "np.linalg.norm(x, axis=-1)",
    "numpy": "x alone: its numbers are not known while a function is traced",
    "permute": "np.transpose(x, axes)",
    "pow": "x ** n",
    "relu": "np.maximum(x, 0)",
    "requires_grad": "fb.stop_gradient(x) where there is to be none",
    "sigmoid": "fb.special.sigmoid(x)",
    "softmax": "fb.special.softmax(x, axis=-1)",
    "real": "x alone: tensors are real",
    "repeat": "np.repeat(x, n, axis=1), or np.tile(x, (1, n)) for what PyTorch's repeat does",
    "repeat_interleave": "np.repeat(x, n, axis=1)",
    "resize": "np.reshape(x, shape)",
    "rsqrt": "1 / np.sqrt(x)",
    "scatter": "np.where(condition, y, x)",
    "select": "x[:, i]",
    "sort": "np.sort(x, axis), as a tensor cannot be written into",
    "sub": "x - y",
    "t": "x.T",
    "tolist": "x alone: its numbers are not known while a function is traced",
    "to": "x alone: its dtype is the network's; x.astype(int) makes integers",
    "topk": "np.sort(x, axis=1)[:, -k:]",
    "type": "x.astype(dtype)",
    "unbind": "x[:, i] for each i",
    "unflatten": "x.reshape(x.shape[0], n, m)",
    "unsqueeze": "np.expand_dims(x, axis)",
    "view": "x.reshape(…)",
    "view_as": "x.reshape(y.shape)",
    "zero_": "np.zeros_like(x)",
}
_ARGUMENTS = {
    "dim": "axis", "dims": "axis", "dim0": "axis1", "dim1": "axis2", "keepdim": "keepdims", "keep_dims": "keepdims",
    "unbiased": "ddof, 1 or 0", "correction": "ddof", "start_dim": "x.reshape(x.shape[0], -1)",
    "descending": "-np.sort(-x)", "reduction": "np.mean or np.sum",
}


def numpys_word(argument: str) -> str:
    """Return what to say of an argument that another library has under another name; "" of any other.

    >>> numpys_word("dim")
    'for dim NumPy has axis'
    """
    return f"for {argument} NumPy has {_ARGUMENTS[argument]}" if argument in _ARGUMENTS else ""


def mend_of(message: str) -> str:
    """Return what to add to an error that Python or NumPy raised for another library's habit; "" for any other.

    >>> mend_of("sum() got an unexpected keyword argument 'dim'")
    '; for dim NumPy has axis'
    >>> mend_of("'int' object is not callable")
    '; x.size, x.shape and x.ndim are attributes, without brackets'
    """
    _, _, rest = message.partition("unexpected keyword argument '")
    hint = numpys_word(rest.split("'")[0]) if rest else ""
    if re.fullmatch(r"'(int|tuple|Symbol)' object is not callable", message):
        hint = "x.size, x.shape and x.ndim are attributes, without brackets"
    return f"; {hint}" if hint else ""


def unknown(module: str, name: str, names: Iterable[str] = ()) -> str:
    """Return what to say of a name that a module does not have; ``names`` are those that it has.

    Examples
    --------
    >>> unknown("fastbp", "Relu", ["ReLU"])
    "module 'fastbp' has no attribute 'Relu'; fastbp has fb.ReLU"
    """
    known = PUBLIC.get(name) or next((f"fb.{own}" for own in names if _plain(own) == _plain(name)), None)
    return f"module {module!r} has no attribute {name!r}" + (f"; fastbp has {known}" if known else "")


def _plain(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def by_name(owner: str, argument: str, name: str, table: Mapping[str, Any], instead: str) -> Any:
    """Return what a table has under a name; capitals, spaces, hyphens and underscores do not matter.

    Raises
    ------
    ValueError
        For a name that is not in the table, with those that are.

    Examples
    --------
    >>> by_name("Trainer", "loss", "Cross-Entropy", {"cross_entropy": 1}, "a loss such as fb.MSE()")
    1
    """
    known = {_plain(key): value for key, value in table.items()}
    if _plain(name) not in known:
        word = f" (fastbp has {PUBLIC[name]})" if name in PUBLIC else ""
        raise ValueError(f"{owner}: {argument} is {name!r}{word}; expected {instead}, or one of "
                         f"{', '.join(map(repr, table))}")
    return known[_plain(name)]


class Worded:
    """A class that answers an argument of another library with its own: ``words`` maps one to the other."""

    words: ClassVar[Mapping[str, str]] = {}

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        for argument in kwargs:
            if argument in cls.words and argument not in signature(cls.__init__).parameters:
                raise TypeError(f"{cls.__name__}: there is no argument {argument!r}; give {cls.words[argument]}")
        return super().__new__(cls)


def signature(function: Any) -> Any:
    """Return ``inspect.signature(function)``; the module is slow to import, and rarely needed."""
    import inspect
    return inspect.signature(function)
