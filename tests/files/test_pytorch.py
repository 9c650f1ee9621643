"""PyTorch: the same outputs there as here, parameters there and back, and none the wrong way round."""

from __future__ import annotations

import sys
from typing import Any

import cases
import numpy as np
import pytest

import fastbp as fb
from fastbp.files import pytorch
from fastbp.files.rows import row_of
from fastbp.ops.custom import PythonOp
from fastbp.ops.expression import Expression
from fastbp.ops.scalar import ScalarOp


def torch_modules() -> dict[str, tuple[Any, tuple[int, ...], tuple[int, ...] | None]]:
    """Return modules by name, each with the shape of a sample and the input_shape that must be given."""
    from torch import nn
    activations = [nn.ReLU(), nn.LeakyReLU(0.2), nn.ELU(0.5), nn.SELU(), nn.GELU(), nn.GELU(approximate="tanh"),
                   nn.SiLU(), nn.Mish(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.Hardswish(), nn.Identity(),
                   nn.Softmax(-1), nn.Dropout(0.3)]
    found: dict[str, Any] = {f"{a}": (nn.Sequential(nn.Linear(5, 7), a), (5,), None) for a in activations}
    found["a sequence"] = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.LayerNorm(4)), (3, 5), (3, 5)
    norms = nn.BatchNorm1d(4, affine=False), nn.LayerNorm(4, elementwise_affine=False)
    found["norms"] = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 4, bias=False), nn.LayerNorm(4, eps=1e-3),
                                   *norms), (5,), None
    found["nested, images"] = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(12, 6), nn.Sequential(nn.Tanh())),
                                            nn.Linear(6, 2)), (3, 2, 2), (3, 2, 2)
    found["float64"] = nn.Sequential(nn.Linear(5, 3), nn.Softmax(1)).double(), (5,), None
    return found


@pytest.mark.parametrize("name", [
    "ReLU()", "LeakyReLU(negative_slope=0.2)", "ELU(alpha=0.5)", "SELU()", "GELU(approximate='none')",
    "GELU(approximate='tanh')", "SiLU()", "Mish()", "Sigmoid()", "Tanh()", "Softplus(beta=1.0, threshold=20.0)",
    "Hardswish()", "Identity()", "Softmax(dim=-1)", "Dropout(p=0.3, inplace=False)", "a sequence", "norms",
    "nested, images", "float64"])
def test_from_torch_and_back(name):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, shape, given = torch_modules()[name]
    dtype = next(iter(module.parameters())).dtype
    for _ in range(3):
        module(torch.randn(8, *shape, dtype=dtype))  # running statistics worth the name
    module.eval()
    net = fb.from_torch(module, input_shape=given, backend="reference")
    x = torch.randn(6, *shape, dtype=dtype)
    expected = module(x).detach().numpy()
    assert net.dtype == str(expected.dtype)
    np.testing.assert_allclose(net.predict(x.numpy()), expected, rtol=1e-5, atol=1e-6)
    state = net.to_torch_state_dict()
    for key, values in module.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(state[key], values), key


def test_torch_loads_what_was_trained_here():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    net = fb.Sequential(fb.Linear(4, 6), fb.BatchNorm(), fb.ReLU(), fb.Linear(6, 2), seed=0, backend="reference")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 4)), rng.integers(0, 2, 40)
    fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01)).fit(x, y, epochs=3)
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    module.load_state_dict(net.to_torch_state_dict())
    module.eval()
    got = module(torch.tensor(x, dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(got, net.predict(x), rtol=1e-5, atol=1e-6)
    module[0].weight.data.zero_()
    assert net.params["0.weight"].any(), "the tensors are copies"


def test_frozen_parameters_stay_frozen():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 1))
    module[0].requires_grad_(False)
    net = fb.from_torch(module, backend="reference")
    assert [p.trainable for p in net.graph.parameters.values()] == [False, False, True, True]
    module[0].bias.requires_grad_(True)
    with pytest.raises(ValueError, match="some parameters are frozen and some are not"):
        fb.from_torch(module)


def test_what_cannot_be_taken_from_torch():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Linear(nn.Module):
        """No relation of nn.Linear, but for its name."""
    for module, message in [
            (nn.Sequential(nn.Bilinear(1, 1, 1)), "'0' is Bilinear.*which fastbp has nothing for; it has Linear"),
            (nn.Sequential(Linear()), r"'0' is Linear\(\), which fastbp has nothing for"),
            (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, momentum=None)), "with momentum=None"),
            (nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)), "with track_running_stats=False"),
            (nn.Sequential(nn.LayerNorm((2, 2))), "with a normalized_shape of several axes"),
            (nn.Sequential(nn.LayerNorm(2, bias=False)), "with bias=False"),
            (nn.Sequential(nn.Linear(2, 2), nn.Softmax(0)), "PyTorch takes other axes than fastbp there"),
            (nn.Sequential(nn.Flatten(0)), "with other axes than all but the first"),
            (nn.Sequential(nn.Softplus(beta=2)), "with a beta other than 1"),
            (nn.Sequential(nn.Linear(2, 2).half()), "the parameters have torch.float16; expected float32"),
            (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "input size of layer 0"),
            (nn.Sequential(), "no layers given")]:
        with pytest.raises(ValueError, match=message):
            fb.from_torch(module, backend="reference")
    with pytest.raises(TypeError, match=r"module is Linear; expected torch.nn.Sequential"):
        fb.from_torch(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="PyTorch takes other axes than fastbp there"):
        fb.from_torch(nn.Sequential(nn.BatchNorm1d(3)), input_shape=(3, 3), backend="reference")


def images_of_torch() -> Any:
    from torch import nn
    return nn.Sequential(
        nn.Conv2d(3, 6, (3, 2), stride=(1, 2), padding=1, dilation=(2, 1)), nn.BatchNorm2d(6), nn.PReLU(6),
        nn.MaxPool2d(2, ceil_mode=True), nn.ConvTranspose2d(6, 4, 3, stride=2, output_padding=1, groups=2), nn.ReLU(),
        nn.AvgPool2d(3, stride=2, padding=1), nn.Flatten(), nn.Linear(80, 5))


def test_images_come_from_torch_and_go_back():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = images_of_torch().double()
    module(torch.randn(8, 3, 10, 9, dtype=torch.float64))        # running statistics that are none of the first
    module.eval()
    net = fb.from_torch(module, input_shape=(3, 10, 9))
    x = np.random.default_rng(0).standard_normal((4, 3, 10, 9))
    theirs = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(net.predict(x.transpose(0, 2, 3, 1)), theirs, rtol=1e-10, atol=1e-12)
    other = images_of_torch().double()
    other.load_state_dict(net.to_torch_state_dict())
    np.testing.assert_allclose(other.eval()(torch.from_numpy(x)).detach().numpy(), theirs, rtol=1e-12)


def made_larger() -> Any:
    from torch import nn
    return nn.Sequential(nn.ConvTranspose2d(2, 4, 3), nn.Upsample(scale_factor=(2, 3)), nn.GLU(dim=1),
                         nn.Upsample(scale_factor=2, mode="bilinear"), nn.Softmax(dim=-3))


def decoder() -> Any:
    from torch import nn
    return nn.Sequential(nn.Linear(5, 24), nn.GLU(), nn.Unflatten(1, (3, 2, 2)), nn.ConvTranspose2d(3, 2, 2),
                         nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(18, 4), nn.Softmax(1))


def sequences_made_short() -> Any:
    from torch import nn
    return nn.Sequential(nn.Conv1d(3, 4, 3), nn.Upsample(scale_factor=2), nn.BatchNorm1d(4), nn.GLU(1),
                         nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2, 3))


@pytest.mark.parametrize(("make", "shape"), [(made_larger, (2, 5, 4)), (decoder, (5,)), (sequences_made_short, (3, 9))])
def test_axes_of_channels_are_followed(make: Any, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = make().double()
    module(torch.randn(8, *shape, dtype=torch.float64))
    module.eval()
    net = fb.from_torch(module, input_shape=shape)
    x = np.random.default_rng(0).standard_normal((4, *shape))
    theirs = module(torch.from_numpy(x)).detach().numpy()
    ours = net.predict(np.moveaxis(x, 1, -1))
    np.testing.assert_allclose(np.moveaxis(ours, -1, 1), theirs, rtol=1e-10, atol=1e-12)
    other = make().double()
    other.load_state_dict(net.to_torch_state_dict())
    np.testing.assert_allclose(other.eval()(torch.from_numpy(x)).detach().numpy(), theirs, rtol=1e-12)


def test_axes_that_are_others_here() -> None:
    nn = pytest.importorskip("torch").nn
    for part in (nn.GLU(dim=2), nn.Softmax(dim=2)):
        with pytest.raises(ValueError, match="PyTorch takes other axes than fastbp there"):
            fb.from_torch(nn.Sequential(nn.Conv2d(1, 2, 1), part), input_shape=(1, 4, 4))
    with pytest.raises(ValueError, match="a scale_factor that is no integer"):
        fb.from_torch(nn.Sequential(nn.Upsample(scale_factor=1.5)), input_shape=(1, 4, 4))


def test_images_from_torch_want_their_shape():
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match="input_shape is None; expected 3 sizes, channels first"):
        fb.from_torch(images_of_torch())


def test_the_table_has_every_op() -> None:
    """A new op needs a row, or a reason why there is none."""
    kinds = {type(case.op) for case in cases.OPS.values()} - {ScalarOp}      # NumPy's functions are one family
    assert set(pytorch.TABLE) == kinds | {PythonOp, Expression}
    for op, row in pytorch.TABLE.items():
        assert (row if isinstance(row, tuple) else len(row.reason) > 9), op


def test_rows_know_the_parameters_of_their_ops() -> None:
    for case in cases.OPS.values():
        rows, roles = row_of(pytorch.TABLE, case.op), set(case.op.parameter_shapes(*case.shapes))
        for row in rows if isinstance(rows, tuple) else ():
            assert row.trains == bool(roles)
            assert set(row.turned) <= roles


@pytest.mark.parametrize("module", [row.module for rows in pytorch.TABLE.values() if isinstance(rows, tuple)
                                    for row in rows])
def test_a_module_becomes_the_op_that_its_row_is_of(module: str) -> None:
    """There from the module's class, and back by from_torch."""
    nn = pytest.importorskip("torch", reason="torch is not installed").nn
    arguments: dict[str, tuple[Any, ...]] = {
        "Linear": (4, 3), "BatchNorm1d": (4,), "BatchNorm2d": (4,), "LayerNorm": (4,), "Softmax": (-1,), "PReLU": (4,),
        "RMSNorm": (4,), "GroupNorm": (2, 4),
        "Embedding": (7, 5), "Conv1d": (4, 2, 3), "Conv2d": (4, 2, 3), "ConvTranspose2d": (4, 2, 3),
        "AdaptiveAvgPool1d": (1,), "AdaptiveAvgPool2d": (1,), "Upsample": (None, 2), "Unflatten": (1, (2, 2)),
        **dict.fromkeys(("MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d"), (2,))}
    ops = [op for op, rows in pytorch.TABLE.items() if isinstance(rows, tuple) and module in [r.module for r in rows]]
    axes = next(row.axes for row in pytorch.TABLE[ops[0]] if row.module == module)      # type: ignore[union-attr]
    part = getattr(nn, module)(*arguments.get(module, ()))
    net = fb.from_torch(nn.Sequential(part), input_shape=(4, 5, 5)[:axes + 1], backend="reference")
    assert [type(node.op) in ops for node in net.graph.nodes] == [True]


def test_images_that_are_flattened_with_channels_last() -> None:
    """Weights after that have another order in PyTorch: nothing is turned by guess."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    nn = torch.nn
    theirs = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))

    def network(*between: fb.Layer) -> fb.Sequential:
        return fb.Sequential(fb.Input(4, 4, 2), fb.Conv2d(2, 3, 3, name="0"), fb.ReLU(name="r"),
                             *between, fb.Flatten(name="f"),
                             fb.Linear(12, 2, name="3"), backend="reference")
    net = network()
    message = r"flattens images with their channels last.*put fb.Permute\(3, 1, 2\) before it"
    with pytest.raises(ValueError, match=f"load_state_dict: .*{message}"):
        net.load_state_dict(theirs.state_dict())
    with pytest.raises(ValueError, match=f"to_torch_state_dict: .*{message}"):
        net.to_torch_state_dict()
    net = network(fb.Permute(3, 1, 2, name="p"))
    assert net.load_state_dict(theirs.state_dict()).complete
    x = np.random.default_rng(0).standard_normal((5, 4, 4, 2)).astype("float32")
    expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).detach().numpy()
    np.testing.assert_allclose(net.predict(x), expected, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(theirs.state_dict()[name], values) for name, values in net.to_torch_state_dict().items())


@pytest.mark.parametrize("call", [lambda net: net.to_torch_state_dict(), lambda net: fb.from_torch(None)])
def test_without_torch(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'fastbp\[torch\]'"):
        call(fb.Sequential(fb.Linear(2, 2), backend="reference"))
