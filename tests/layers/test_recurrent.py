"""Recurrent layers against PyTorch, lengths against shorter sequences, and what they say of what does not fit."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from conftest import backends
from torch_peers import compare

import fastbp as fb

KINDS = [fb.RNN, fb.GRU, fb.LSTM]


def _peer_parameters(net: fb.Network, gates: int, H: int) -> dict[str, Any]:
    """Return PyTorch's parameters by name, as functions of ours."""
    read: dict[str, Any] = {}
    for full in net.params:
        name = full.split(".")[1]
        suffix = name.split("_", 2)[2] if name.startswith("weight") else name.split("_", 1)[1]
        if name.startswith("weight"):
            read[name] = lambda p, full=full: p[full].T
        elif name.startswith("bias_l"):
            read[f"bias_ih_{suffix}"] = lambda p, full=full: p[full]
            hidden = full.replace("bias_", "bias_hn_")
            read[f"bias_hh_{suffix}"] = lambda p, full=full, hidden=hidden: _hidden_bias(p, full, hidden, gates * H, H)
    return read


def _hidden_bias(p: Any, full: str, hidden: str, size: int, H: int) -> Any:
    import torch
    zeros = torch.zeros(size, dtype=p[full].dtype)
    return torch.cat([zeros[H:], p[hidden]]) if hidden in p else zeros


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("seed", range(60))
def test_recurrence_is_pytorchs(seed: int, backend: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    rng = np.random.default_rng(seed)
    kind, initial, lengths = KINDS[seed % 3], bool(rng.integers(0, 2)), bool(rng.integers(0, 2))
    features, H = int(rng.integers(1, 6)), int(rng.choice([1, 3, 5, 8, 17, 33]))
    layers, both, bias = int(rng.integers(1, 4)), bool(rng.integers(0, 2)), bool(rng.integers(0, 2))
    rows, steps = int(rng.integers(1, 6)), int(rng.integers(1, 8))
    relu = {"nonlinearity": "relu"} if kind is fb.RNN and seed % 2 else {}
    layer = kind(features, H, layers, bias=bias, bidirectional=both, lengths=lengths, **relu)
    x = fb.Input(steps, features)
    count = len(layer.state_names)
    more = [fb.Input(layers * (1 + both), H) for _ in range(count * initial)]
    ends = [fb.Input(1, dtype="int64")] if lengths else []
    net = fb.Network([x, *more, *ends], layer.with_state(x, *more, *ends), dtype="float64", seed=0, backend=backend)
    peer_kind = getattr(torch.nn, kind.__name__)
    module = peer_kind(features, H, layers, bias=bias, bidirectional=both, batch_first=True, dtype=torch.float64,
                       **relu)
    gates = {fb.RNN: 1, fb.GRU: 3, fb.LSTM: 4}[kind]
    many = rng.integers(1, steps + 1, rows)
    xs = [rng.standard_normal((rows, steps, features)),
          *(0.5 * rng.standard_normal((rows, layers * (1 + both), H)) for _ in more),
          *([many[:, None]] if lengths else [])]

    def peer(x: Any, *given: Any, **parameters: Any) -> Any:
        states = tuple(s.movedim(1, 0).contiguous() for s in given[:count]) if initial else None
        entering = x
        if lengths:
            entering = torch.nn.utils.rnn.pack_padded_sequence(x, many, batch_first=True, enforce_sorted=False)
        start = () if states is None else (states if count == 2 else states[0],)
        y, last = torch.func.functional_call(module, parameters, (entering, *start))
        if lengths:
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=steps)
        return y, *(s.movedim(0, 1) for s in (last if count == 2 else (last,)))

    compare(net, peer, xs, _peer_parameters(net, gates, H), rng)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_padding_changes_nothing(kind: Any, backend: Any) -> None:
    rng = np.random.default_rng(0)
    x, n = fb.Input(9, 2), fb.Input(1, dtype="int64")
    layer = kind(2, 5, bidirectional=True, lengths=True, return_sequences=False, name="it")
    net = fb.Network([x, n], layer(x, n), dtype="float64", seed=1, backend=backend)
    short = fb.Input(4, 2)
    alone = fb.Network(short, kind(2, 5, bidirectional=True, return_sequences=False, name="it")(short),
                       dtype="float64", seed=2, backend=backend)
    alone.load_state_dict(net.state_dict())
    data = rng.standard_normal((3, 4, 2))
    padded = np.concatenate([data, np.full((3, 5, 2), 1e3)], axis=1)
    np.testing.assert_allclose(net.predict((padded, np.full((3, 1), 4))), alone.predict(data), rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_two_halves_give_what_the_whole_gives(kind: Any, backend: Any) -> None:
    rng = np.random.default_rng(0)
    layer = kind(2, 5, num_layers=2, name="it")
    x, states = fb.Input(3, 2), [fb.Input(2, 5) for _ in layer.state_names]
    part = fb.Network([x, *states], layer.with_state(x, *states), dtype="float64", seed=1, backend=backend)
    whole = fb.Sequential(fb.Input(6, 2), kind(2, 5, num_layers=2, name="it"), dtype="float64", seed=2, backend=backend)
    whole.load_state_dict(part.state_dict())
    data = rng.standard_normal((4, 6, 2))
    first = part.predict((data[:, :3], *(np.zeros((4, 2, 5)) for _ in states)))
    second = part.predict((data[:, 3:], *first[1:]))
    np.testing.assert_allclose(np.concatenate([first[0], second[0]], axis=1), whole.predict(data), rtol=0, atol=1e-14)


def test_a_layer_that_gives_its_state_comes_back_from_a_file(tmp_path: Any) -> None:
    pytest.importorskip("safetensors")
    x = fb.Input(4, 2)
    net = fb.Network(x, fb.LSTM(2, 3, name="it").with_state(x), seed=0, backend="reference")
    net.save(tmp_path / "net")
    data = np.random.default_rng(0).standard_normal((2, 4, 2))
    for a, b in zip(net.predict(data), fb.load(tmp_path / "net", backend="reference").predict(data), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: fb.LSTM(2, 3)(fb.Input(4, 2), fb.Input(1, 3)),
     "LSTM(2, 3): called on 2 tensors; expected x, or x, h0, c0"),
    (lambda: fb.GRU(2, 3, lengths=True)(fb.Input(4, 2)),
     "GRU(2, 3, lengths=True): called on 1 tensors; expected x and lengths, or x, h0 and lengths"),
    (lambda: fb.GRU(2, 3)(fb.Input(4, 2), fb.Input(3)),
     "GRU(2, 3): h0 has shape (B, 3); expected (B, 1, 3), layers and directions, then features"),
    (lambda: fb.RNN(2, 3)(fb.Input(2)), "RNN(2, 3): x has shape (B, 2); expected (B, T, C), sequences of vectors"),
    (lambda: fb.RNN(2, 3)(fb.Input(4, 5)),
     "RNN(2, 3): x has shape (B, 4, 5); expected 2 features in the last axis. Write RNN(5, 3), or None to have "
     "it learnt"),
    (lambda: fb.RNN(2, 3, nonlinearity="sigmoid"), "RNN: nonlinearity is 'sigmoid'; expected \"tanh\" or \"relu\""),
])
def test_what_does_not_fit_is_named(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize("backend", backends())
def test_lengths_beyond_the_sequence_are_refused(backend: Any) -> None:
    x, n = fb.Input(4, 2), fb.Input(1, dtype="int64")
    net = fb.Network([x, n], fb.GRU(2, 3, lengths=True)(x, n), seed=0, backend=backend)
    with pytest.raises(ValueError, match="5"):
        net.predict((np.zeros((2, 4, 2)), [[4], [5]]))


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_gradients_of_parameters_without_those_of_the_layers_before(kind: Any) -> None:
    net = fb.Sequential(fb.Input(4, 2), kind(2, 3, name="it"), seed=0)
    op = next(n.op for n in net.graph.nodes if n.op.name == kind.__name__.lower())
    assert op.native(*((4, op.gates * 3),)).prepared_always
