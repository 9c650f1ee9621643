"""Recurrent layers over sequences (B, T, C): RNN, GRU, LSTM."""

from __future__ import annotations

from math import sqrt
from typing import Any, ClassVar, Literal

from fastbp.core.checks import count, flag, number
from fastbp.graph.graph import Call, Initializer, Tensor
from fastbp.graph.streaming import stream
from fastbp.layers.base import Layer, checked_initializer
from fastbp.ops.concat import ConcatOp
from fastbp.ops.dropout import DropoutOp
from fastbp.ops.linear import LinearOp
from fastbp.ops.recurrent import GRUOp, LSTMOp, RecurrentOp, RNNOp
from fastbp.ops.reshape import ReshapeOp
from fastbp.ops.slice import SliceOp
from fastbp.optim.initializers import Uniform

__all__ = ["GRU", "LSTM", "RNN"]


class _Recurrent(Layer):
    each_step = True
    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, input_size: int | None, hidden_size: int, num_layers: int, bias: bool, dropout: float,
                 bidirectional: bool, return_sequences: bool, lengths: bool, weight_init: Initializer | None,
                 name: str | None, trainable: bool) -> None:
        super().__init__(name=name, trainable=trainable)
        label = f"{type(self).__name__}({input_size!r}, {hidden_size!r})"
        self.input_size = None if input_size is None else count(label, "input_size", input_size)
        self.hidden_size = count(label, "hidden_size", hidden_size)
        self.num_layers = count(label, "num_layers", num_layers)
        self.bias = flag(label, "bias", bias)
        self.dropout = number(label, "dropout", dropout, "a number from 0 up to, but not including, 1",
                              lambda r: 0 <= r < 1)
        self.bidirectional = flag(label, "bidirectional", bidirectional)
        self.return_sequences = flag(label, "return_sequences", return_sequences)
        self.lengths = flag(label, "lengths", lengths)
        limit = 1 / sqrt(self.hidden_size)
        self.weight_init = checked_initializer(label, "weight_init", weight_init, Uniform(-limit, limit))
        self.in_features = self.input_size

    def _op(self, **options: Any) -> RecurrentOp:
        raise NotImplementedError

    def lower(self, *inputs: Tensor) -> Tensor:
        goes_on = stream()
        if goes_on is None:
            return self._run(inputs, keep_state=False)[0]
        if self.bidirectional or len(inputs) > 1:
            raise ValueError(f"{self!r}: reads backwards, or is given lengths or a state; a stream comes forwards, and "
                             "keeps the state itself")
        before = [goes_on.state((self.num_layers, self.hidden_size)) for _ in self.state_names]
        y, *after = self._run((*inputs, *before), keep_state=True)
        goes_on.states += zip(before, after, strict=True)
        return y

    def with_state(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Apply the layer to tensors, and return y and the last state: ``y, h`` or, of an LSTM, ``y, h, c``.

        Each part of the state is (B, num_layers · directions, hidden_size).
        """
        outputs = self._run(inputs, keep_state=True)
        self._used = True
        for i, tensor in enumerate(outputs):
            tensor.call = Call(self, inputs, "with_state", i)
        return outputs

    def _run(self, inputs: tuple[Tensor, ...], keep_state: bool) -> tuple[Tensor, ...]:
        x, given, lengths = self._sort_inputs(inputs)
        ends: list[list[Tensor]] = [[] for _ in self.state_names]
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = self.apply(DropoutOp(self.dropout), x)
            last = layer == self.num_layers - 1 and not self.return_sequences
            outputs = []
            for direction in range(1 + self.bidirectional):
                before = [self._state(s, layer * (1 + self.bidirectional) + direction) for s in given]
                op = self._op(reverse=bool(direction), initial=bool(given), state=keep_state or last,
                              lengths=0 if lengths is None else x.shape[0])
                out = self._one_direction(op, f"l{layer}{'_reverse' * direction}", x,
                                          [*before, *(() if lengths is None else (lengths,))])
                steps = x.shape[0]
                if op.state:
                    for i, end in enumerate(ends):
                        end.append(self.apply(SliceOp(1, steps + i, steps + i + 1), out))
                    out = self.apply(SliceOp(1, 0, steps), out) if not last else self._flat(ends[0][-1])
                outputs.append(out)
            x = outputs[0] if len(outputs) == 1 else self.apply(ConcatOp(-1), *outputs)
        return (x, *(self._joined(end) for end in ends)) if keep_state else (x,)

    def _one_direction(self, op: RecurrentOp, suffix: str, x: Tensor, more: list[Tensor]) -> Tensor:
        start = {"weight": self.weight_init, "bias": self.weight_init}
        z = self.apply(LinearOp(x.shape[-1], op.gates * self.hidden_size, self.bias), x, initializers=start,
                       names={"weight": f"weight_ih_{suffix}", "bias": f"bias_{suffix}"})
        return self.apply(op, z, *more, initializers=start,
                          names={"weight": f"weight_hh_{suffix}", "bias": f"bias_hn_{suffix}"})

    def _sort_inputs(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """Return x, the state before, if any, and the lengths, if any."""
        states = len(inputs) - 1 - self.lengths
        if states not in (0, len(self.state_names)):
            also = " and lengths" if self.lengths else ""
            parts = ", ".join(f"{s}0" for s in self.state_names)
            raise TypeError(f"{self!r}: called on {len(inputs)} tensors; expected x{also}, or x, {parts}{also}")
        x, given, lengths = inputs[0], inputs[1:1 + states], inputs[-1] if self.lengths else None
        shape = ", ".join(map(str, x.shape))
        if len(x.shape) != 2:
            raise ValueError(f"{self!r}: x has shape (B, {shape}); expected (B, T, C), sequences of vectors")
        if self.input_size is not None and x.shape[-1] != self.input_size:
            raise ValueError(f"{self!r}: x has shape (B, {shape}); expected {self.input_size} features in the last "
                             f"axis. Write {type(self).__name__}({x.shape[-1]}, {self.hidden_size}), or None to have "
                             "it learnt")
        wanted = (self.num_layers * (1 + self.bidirectional), self.hidden_size)
        for name, state in zip(self.state_names, given, strict=False):
            if state.shape != wanted:
                raise ValueError(f"{self!r}: {name}0 has shape (B, {', '.join(map(str, state.shape))}); expected "
                                 f"(B, {wanted[0]}, {wanted[1]}), layers and directions, then features")
        if lengths is not None and lengths.shape != (1,):
            raise ValueError(f"{self!r}: lengths has shape (B, {', '.join(map(str, lengths.shape))}); expected (B, 1)")
        return x, given, lengths

    def _state(self, states: Tensor, i: int) -> Tensor:
        return self._flat(states if states.shape[0] == 1 else self.apply(SliceOp(1, i, i + 1), states))

    def _flat(self, row: Tensor) -> Tensor:
        return self.apply(ReshapeOp((self.hidden_size,)), row)

    def _joined(self, rows: list[Tensor]) -> Tensor:
        while len(rows) > 1:
            rows = [self.apply(ConcatOp(1), rows[0], rows[1]), *rows[2:]]
        return rows[0]

    def hyperparameters(self) -> dict[str, Any]:
        return {"input_size": self.input_size, "hidden_size": self.hidden_size, "num_layers": self.num_layers,
                "bias": self.bias, "dropout": self.dropout, "bidirectional": self.bidirectional,
                "return_sequences": self.return_sequences, "lengths": self.lengths}

    def __repr__(self) -> str:
        usual = {"num_layers": 1, "bias": True, "dropout": 0.0, "bidirectional": False, "return_sequences": True,
                 "lengths": False, "nonlinearity": "tanh"}
        given = [f", {k}={v!r}" for k, v in self.hyperparameters().items() if k in usual and v != usual[k]]
        return f"{type(self).__name__}({self.input_size}, {self.hidden_size}{''.join(given)})"


class RNN(_Recurrent):
    r"""A recurrent layer: ``h_t = f(x_t W_ih + b + h_{t-1} W_hh)``, f tanh or max(0, ·).

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, dropout, bidirectional, return_sequences, lengths
        As in :class:`LSTM`.
    weight_init, name, trainable
        As in :class:`LSTM`.
    nonlinearity : {"tanh", "relu"}, default "tanh"
    """

    def __init__(self, input_size: int | None, hidden_size: int, num_layers: int = 1,
                 nonlinearity: Literal["tanh", "relu"] = "tanh", bias: bool = True, dropout: float = 0.0,
                 bidirectional: bool = False, *, return_sequences: bool = True, lengths: bool = False,
                 weight_init: Initializer | None = None, name: str | None = None, trainable: bool = True) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, dropout, bidirectional, return_sequences, lengths,
                         weight_init, name, trainable)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'RNN: nonlinearity is {nonlinearity!r}; expected "tanh" or "relu"')
        self.nonlinearity: Literal["tanh", "relu"] = nonlinearity

    def _op(self, **options: Any) -> RecurrentOp:
        return RNNOp(self.hidden_size, **options, nonlinearity=self.nonlinearity)

    def hyperparameters(self) -> dict[str, Any]:
        return {**super().hyperparameters(), "nonlinearity": self.nonlinearity}


class GRU(_Recurrent):
    r"""A gated recurrent unit: ``h_t = (1 - s) n + s h_{t-1}``.

    With ``r, s = σ(x_t W_ih + b + h_{t-1} W_hh)`` and ``n = tanh(x_t W_ih + b + r (h_{t-1} W_hh + b_hn))``, each with
    its columns of the weights. Cho et al. (2014), https://arxiv.org/abs/1406.1078.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, dropout, bidirectional, return_sequences, lengths
        As in :class:`LSTM`.
    weight_init, name, trainable
        As in :class:`LSTM`.

    Notes
    -----
    Parameters are named as in :class:`LSTM`, with gates in the order r, s, n, and ``bias_hn_l0`` (H,) beside
    ``bias_l0``.
    """

    def __init__(self, input_size: int | None, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 dropout: float = 0.0, bidirectional: bool = False, *, return_sequences: bool = True,
                 lengths: bool = False, weight_init: Initializer | None = None, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, dropout, bidirectional, return_sequences, lengths,
                         weight_init, name, trainable)

    def _op(self, **options: Any) -> RecurrentOp:
        return GRUOp(self.hidden_size, **options, bias=self.bias)


class LSTM(_Recurrent):
    r"""Long short-term memory: ``c_t = f c_{t-1} + i g``, ``h_t = o tanh(c_t)``.

    The gates are ``i, f, o = σ(x_t W_ih + b + h_{t-1} W_hh)`` and ``g = tanh(…)``, each with its columns of the
    weights. Hochreiter and Schmidhuber (1997), https://doi.org/10.1162/neco.1997.9.8.1735.

    Called on ``x`` or on ``x, h0, c0`` (and, last, on lengths, if ``lengths``), it returns y;
    :meth:`with_state` returns the last state as well.

    Parameters
    ----------
    input_size : int or None
        Features of a step; None learns them when the network is built.
    hidden_size : int
    num_layers : int, default 1
        Layers on top of each other.
    bias : bool, default True
    dropout : float, default 0.0
        Between layers, in training.
    bidirectional : bool, default False
        A second set of layers reads backwards in time; y has both side by side.
    return_sequences : bool, default True
        Whether y is (B, T, H) with every step, or (B, H) with the last one of each direction.
    lengths : bool, default False
        Whether the last input, ``fb.Input(1, dtype="int64")``, is how many steps each sample has, at most T. What is
        beyond changes nothing, and y is 0 there.
    weight_init : initializer, optional
        Of all parameters. Default: uniform within ±1/√H.
    name, trainable
        As in :class:`~fastbp.layers.base.Layer`.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, and tensors of another shape or number.

    Notes
    -----
    Shapes: x (B, T, C), ``weight_ih_l0`` (C, 4 H), ``weight_hh_l0`` (H, 4 H), ``bias_l0`` (4 H), gates in the order
    i, f, g, o; ``l1`` … for further layers, ``_reverse`` at the end for the way back. h0 and c0 are
    (B, num_layers · directions, H). PyTorch has two biases that are added up, and its weights transposed.

    Examples
    --------
    >>> import fastbp as fb
    >>> net = fb.Sequential(fb.Input(32, 8), fb.LSTM(8, 16, return_sequences=False), fb.Linear(16, 1), seed=0)
    >>> net.params["0.weight_hh_l0"].shape, net.graph.outputs[0].shape
    ((16, 64), (1,))
    """

    state_names = ("h", "c")

    def __init__(self, input_size: int | None, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 dropout: float = 0.0, bidirectional: bool = False, *, return_sequences: bool = True,
                 lengths: bool = False, weight_init: Initializer | None = None, name: str | None = None,
                 trainable: bool = True) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, dropout, bidirectional, return_sequences, lengths,
                         weight_init, name, trainable)

    def _op(self, **options: Any) -> RecurrentOp:
        return LSTMOp(self.hidden_size, **options)
