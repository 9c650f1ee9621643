"""Recurrent and attention modules of PyTorch become layers that compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp as fb

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
nn = torch.nn
T, C = 7, 6


def recurrent(kind: Any, **options: Any) -> Any:
    return kind(C, 4, batch_first=True, **options)


MODULES: dict[str, Any] = {
    "rnn": lambda: recurrent(nn.RNN, nonlinearity="relu"),
    "gru": lambda: recurrent(nn.GRU, num_layers=2, bidirectional=True),
    "gru without bias": lambda: recurrent(nn.GRU, bias=False),
    "lstm": lambda: recurrent(nn.LSTM, num_layers=2),
    "lstm both ways": lambda: recurrent(nn.LSTM, bidirectional=True, bias=False),
    "attention": lambda: nn.MultiheadAttention(C, 2, batch_first=True),
    "attention without bias": lambda: nn.MultiheadAttention(C, 3, bias=False, batch_first=True),
    "block": lambda: nn.Sequential(nn.TransformerEncoderLayer(C, 2, 10, 0.0, batch_first=True), nn.Flatten(),
                                   nn.Linear(T * C, 3)),
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(C, 2, 10, 0.0, batch_first=True), 2,
                                             nn.LayerNorm(C), enable_nested_tensor=False),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.TransformerEncoderLayer(C, 2, 10, 0.0, batch_first=True),
                                                  nn.RMSNorm(C)), nn.Linear(C, 2)),
    "convolution": lambda: nn.Sequential(nn.Sequential(nn.Conv1d(C, 8, 3), nn.BatchNorm1d(8), nn.ReLU(),
                                                       nn.GroupNorm(2, 8)), nn.Flatten(), nn.Linear(8 * (T - 2), 2)),
    "blocks": lambda: nn.Sequential(
        nn.Linear(C, 8), nn.TransformerEncoderLayer(8, 4, 10, 0.0, "gelu", batch_first=True, norm_first=True),
        nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True), nn.Linear(8, 2)),
}


@pytest.mark.parametrize("name", MODULES)
def test_it_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    module = MODULES[name]().double().eval()
    with torch.no_grad():
        for p in module.parameters():
            p.uniform_(-0.7, 0.7)
    x, theirs, net = outputs_of(name, module)
    np.testing.assert_allclose(net.predict(x), theirs, rtol=1e-9, atol=1e-12)


def outputs_of(name: str, module: Any) -> tuple[Any, Any, fb.Sequential]:
    """Return a batch, what the module makes of it, and the network that it becomes."""
    x = np.random.default_rng(0).standard_normal((3, T, C))
    first = name == "convolution"       # of the channels
    given = torch.from_numpy(x.transpose(0, 2, 1).copy() if first else x)
    with torch.no_grad():
        theirs = module(given, given, given) if isinstance(module, nn.MultiheadAttention) else module(given)
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    return x, theirs.numpy(), fb.from_torch(module, input_shape=(C, T) if first else (T, C))


@pytest.mark.parametrize("name", MODULES)
def test_its_parameters_go_back_and_come_again(name: str) -> None:
    """By the names that the module has, however deep; and a state of PyTorch's is taken as it is."""
    torch.manual_seed(0)
    module, other = MODULES[name]().double().eval(), MODULES[name]().double().eval()
    _, theirs, net = outputs_of(name, module)
    other.load_state_dict(net.to_torch_state_dict(), strict=True)
    x, same, _ = outputs_of(name, other)
    np.testing.assert_allclose(same, theirs, rtol=1e-12, atol=1e-12)
    _, _, third = outputs_of(name, MODULES[name]().double().eval())
    assert third.load_state_dict(module.state_dict()).complete
    np.testing.assert_array_equal(third.predict(x), net.predict(x))


@pytest.mark.parametrize("memory", [8, 5])
def test_a_decoder_goes_to_torch(memory: int) -> None:
    """Attention to a memory has a weight for queries and one for keys and values here, and another form there."""
    x, m = fb.Input(T, 8), fb.Input(4, memory)
    net = fb.Network([x, m], fb.MultiHeadAttention(8, 2, name="a")(x, m), dtype="float64", seed=0)
    theirs = nn.MultiheadAttention(8, 2, kdim=memory, vdim=memory, batch_first=True).double()
    state = net.to_torch_state_dict()
    theirs.load_state_dict({name.removeprefix("a."): a for name, a in state.items()}, strict=True)
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((3, T, 8)), rng.standard_normal((3, 4, memory))
    keys = torch.from_numpy(k)
    expected = theirs(torch.from_numpy(q), keys, keys)[0].detach().numpy()
    np.testing.assert_allclose(net.predict((q, k)), expected, rtol=1e-10, atol=1e-12)
    before = net.predict((q, k))
    net.params.flat[...] = 0
    assert net.load_state_dict(state).complete
    np.testing.assert_array_equal(net.predict((q, k)), before)


@pytest.mark.parametrize(("mode", "padding"), [("sum", None), ("mean", None), ("mean", 2), ("sum", 0)])
def test_bags(mode: str, padding: int | None) -> None:
    module = nn.Sequential(nn.EmbeddingBag(9, 5, mode=mode, padding_idx=padding), nn.Linear(5, 2)).double()
    net = fb.from_torch(module, input_shape=(4,))
    ids = np.random.default_rng(0).integers(0, 9, (6, 4))
    np.testing.assert_allclose(net.predict(ids), module(torch.from_numpy(ids)).detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize(("make", "shape", "message"), [
    (lambda: nn.LSTM(C, 4), (T, C), "with batch_first=False"),
    (lambda: nn.LSTM(C, 4, proj_size=2, batch_first=True), (T, C), "with a proj_size"),
    (lambda: nn.GRU(C, 4, batch_first=True), None, r"input_shape is None; expected \(T, 6\)"),
    (lambda: nn.Sequential(nn.TransformerEncoderLayer(C, 2, batch_first=True)), (T, C), "with dropout"),
    (lambda: nn.MultiheadAttention(C, 2, kdim=3, batch_first=True), (T, C), "with a kdim"),
])
def test_what_there_is_nothing_for(make: Any, shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fb.from_torch(make(), input_shape=shape)


class Last(nn.Module):
    """The last step of a recurrent layer, or its last state, through a linear one."""

    def __init__(self, layer: Any, state: bool) -> None:
        super().__init__()
        self.layer, self.state = layer, state
        self.head = nn.Linear(4 * (1 + layer.bidirectional * (not state)), 2)

    def forward(self, x: Any) -> Any:
        y, end = self.layer(x)
        end = end[0] if isinstance(end, tuple) else end
        return self.head(end[-1] if self.state else y[:, -1])


class Itself(nn.Module):
    """Attention of one tensor to itself."""

    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(C, 2, batch_first=True), weights

    def forward(self, x: Any) -> Any:
        return self.attention(x, x, x, need_weights=self.weights)[0]


EXPORTED: dict[str, Any] = {
    "rnn": lambda: Last(recurrent(nn.RNN, nonlinearity="relu"), False),
    "gru": lambda: Last(recurrent(nn.GRU, num_layers=2), True),
    "lstm": lambda: Last(recurrent(nn.LSTM, num_layers=2, bidirectional=True), False),
    "attention": lambda: Itself(False),
    "attention with weights": lambda: Itself(True),
    "group norm": lambda: nn.Sequential(nn.Conv1d(T, 4, 3), nn.GroupNorm(2, 4), nn.BatchNorm1d(4), nn.ReLU()),
    "block": lambda: nn.Sequential(nn.TransformerEncoderLayer(C, 2, 10, 0.0, batch_first=True), nn.Flatten(),
                                   nn.Linear(T * C, 3)),
}


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.parametrize("rows", ["any", "fixed"])
@pytest.mark.filterwarnings("ignore")
def test_what_it_exports_to_onnx_comes_back(name: str, rows: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    torch.manual_seed(0)
    module = EXPORTED[name]().train(name == "block")    # else its block is one node of PyTorch's own
    x = np.random.default_rng(0).standard_normal((6, T, C)).astype(np.float32)
    axes = {"dynamic_axes": {"x": {0: "batch"}}} if rows == "any" else {}
    torch.onnx.export(module, (torch.from_numpy(x[:2]),), str(tmp_path / "net.onnx"), dynamo=False, input_names=["x"],
                      training=torch.onnx.TrainingMode.PRESERVE, **axes)
    net = fb.from_onnx(tmp_path / "net.onnx")
    np.testing.assert_allclose(net.predict(x), module(torch.from_numpy(x)).detach().numpy(), rtol=0, atol=2e-6)
