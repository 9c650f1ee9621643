"""States: parameters by name, from other networks and from PyTorch; what does not fit is named."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastbp as fb


def network(*widths: int, seed: int = 0, batch_norm: bool = False) -> fb.Sequential:
    layers: list[fb.Layer] = []
    for i, o in pairwise(widths):
        layers += [fb.Linear(i, o), *([fb.BatchNorm(o)] if batch_norm else []), fb.Tanh()]
    return fb.Sequential(*layers[:-1], seed=seed, backend="reference")


def arrays(net: fb.Network) -> dict[str, Any]:
    return {name: values.tolist() for name, values in net.state_dict().items()}


# ---- from another network --------------------------------------------------------------------------------------------


def test_a_state_of_the_same_network() -> None:
    old, new = network(4, 4, 2, seed=0, batch_norm=True), network(4, 4, 2, seed=1, batch_norm=True)
    report = new.load_state_dict(old.state_dict())
    assert arrays(new) == arrays(old)
    assert report.complete
    assert report.loaded == tuple(old.state_dict())
    assert str(report) == "loaded 12 of 12"


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: s.pop("0.bias"), "state lacks '0.bias'; expected '0.weight', '0.bias', '2.weight', '2.bias'. With str"),
    (lambda s: s.update(more=1), "state has unknown 'more'; expected '0.weight'"),
    (lambda s: s.update({"0.bias": np.ones(5)}), r"state\['0.bias'\] has shape \(5,\); expected \(3,\). With strict=F"),
    (lambda s: s.update({"0.bias": ["a", "b", "c"]}), r"state\['0.bias'\] has dtype"),
])
def test_strict_refuses_and_changes_nothing(change: Any, message: str) -> None:
    net = network(4, 3, 2)
    before, state = arrays(net), network(4, 3, 2, seed=1).state_dict()
    change(state)
    with pytest.raises((ValueError, TypeError), match=message):
        net.load_state_dict(state)
    assert arrays(net) == before


def test_what_fits_is_taken_if_not_strict() -> None:
    old, new = network(4, 3, 2), network(4, 3, 5, seed=1)
    state = {**old.state_dict(), "extra": np.ones(3)}
    del state["0.bias"]
    before = new.state_dict()
    report = new.load_state_dict(state, strict=False)
    assert report == fb.LoadReport(("0.weight",), ("0.bias",), ("extra",),
                                   {"2.weight": ((3, 2), (3, 5)), "2.bias": ((2,), (5,))})
    assert not report.complete
    assert str(report) == ("loaded 1 of 4; missing: '0.bias'; unexpected: 'extra'; mismatched: '2.weight' has shape "
                           "(3, 2), expected (3, 5), '2.bias' has shape (2,), expected (5,)")
    np.testing.assert_array_equal(new.params["0.weight"], old.params["0.weight"])
    for name in ("0.bias", "2.weight", "2.bias"):
        np.testing.assert_array_equal(new.params[name], before[name])


def test_numbers_that_are_none_change_nothing_though_not_strict() -> None:
    net = network(4, 3, 2)
    before = arrays(net)
    with pytest.raises(TypeError, match=r"state\['2.bias'\] has dtype"):
        net.load_state_dict({"0.bias": np.ones(3), "2.bias": np.array(["a", "b"])}, strict=False)
    assert arrays(net) == before


@given(names=st.lists(st.sampled_from(["0.weight", "0.bias", "2.weight", "2.bias", "x", "0.weight.y"]), unique=True),
       size=st.integers(1, 4))
def test_the_report_has_each_name_once(names: list[str], size: int) -> None:
    net = network(3, 3, 2)
    state = {name: np.full((3, 2) if name == "2.weight" else (size,), 7.0) for name in names}
    report = net.load_state_dict(state, strict=False)
    own = [*net.params]
    assert sorted([*report.loaded, *report.missing, *report.mismatched]) == sorted(own)
    assert sorted([*report.loaded, *report.mismatched, *report.unexpected]) == sorted(names)
    assert all((net.params[name] == 7).all() == (name in report.loaded) for name in own)


def test_what_is_no_state() -> None:
    for state in (None, [1], "x", 3):
        with pytest.raises(TypeError, match=r"state is .*; expected a mapping of names to arrays"):
            network(2, 2).load_state_dict(state)    # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"layout is 'keras'; expected \"fastbp\", \"torch\", or None"):
        network(2, 2).load_state_dict({}, layout="keras")       # type: ignore[arg-type]


# ---- from PyTorch ----------------------------------------------------------------------------------------------------


def module(*widths: int, batch_norm: bool = False, dtype: Any = None) -> Any:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(1)
    parts: list[Any] = []
    for i, o in pairwise(widths):
        parts += [torch.nn.Linear(i, o), *([torch.nn.BatchNorm1d(o)] if batch_norm else []), torch.nn.Tanh()]
    made = torch.nn.Sequential(*parts[:-1]).to(dtype or torch.float32)
    if batch_norm:
        made(torch.randn(9, widths[0], dtype=dtype or torch.float32))
    return made.eval()


def as_there(net: fb.Network, theirs: Any, rtol: float = 1e-5) -> None:
    import torch
    x = np.random.default_rng(0).standard_normal((5, net.graph.inputs[0].shape[0])).astype("float32")
    with torch.no_grad():
        expected = theirs.float()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(net.predict(x), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("widths", [(4, 4), (4, 4, 4), (4, 7, 4), (1, 1), (3, 5, 2)], ids=str)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_weights_come_the_right_way_round(widths: tuple[int, ...], batch_norm: bool) -> None:
    """Square ones too: once they were taken as they are, without a word."""
    theirs, net = module(*widths, batch_norm=batch_norm), network(*widths, batch_norm=batch_norm)
    assert net.load_state_dict(theirs.state_dict()).complete
    as_there(net, theirs)


def test_there_and_back() -> None:
    theirs, net = module(4, 4, 4, batch_norm=True), network(4, 4, 4, batch_norm=True)
    net.load_state_dict(theirs.state_dict())
    other = network(4, 4, 4, seed=3, batch_norm=True)
    other.load_state_dict(net.to_torch_state_dict())
    assert arrays(other) == arrays(net)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_dtypes(dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    theirs, net = module(4, 4, 2, dtype=getattr(torch, dtype)), network(4, 4, 2)
    net.load_state_dict(theirs.state_dict())
    as_there(net, theirs)


def test_parameters_that_are_trained_there() -> None:
    """Of named_parameters, which have gradients; on their own, without buffers."""
    theirs, net = module(4, 4, 2), network(4, 4, 2)
    net.load_state_dict(dict(theirs.named_parameters()))
    as_there(net, theirs)


def test_names_of_nested_modules() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    nn = torch.nn
    theirs = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.Tanh()), nn.Sequential(nn.Sequential(nn.Linear(3, 3))))
    net = fb.from_torch(theirs, backend="reference")
    with torch.no_grad():
        theirs[0][0].weight += torch.arange(9.0).reshape(3, 3) / 9
    assert net.load_state_dict(theirs.state_dict()).loaded == ("0_0.weight", "0_0.bias", "1_0_0.weight", "1_0_0.bias")
    as_there(net, theirs)
    state = {**theirs.state_dict(), "0_0.weight": theirs[0][0].weight}
    with pytest.raises(ValueError, match=r"state has '0_0.weight' twice"):
        net.load_state_dict(state)


def test_part_of_a_module_if_not_strict() -> None:
    theirs, net = module(4, 4, 9, batch_norm=True), network(4, 4, 2, batch_norm=True)
    report = net.load_state_dict(theirs.state_dict(), strict=False)
    assert report.mismatched["3.weight"] == ((4, 9), (4, 2))
    assert not report.unexpected
    np.testing.assert_array_equal(net.params["0.weight"], theirs[0].weight.detach().numpy().T)


def numpy_of(theirs: Any) -> dict[str, Any]:
    return {name: values.numpy() for name, values in theirs.state_dict().items()}


def test_arrays_that_come_from_there(tmp_path: Path) -> None:
    """From a safetensors file, for instance: numbers do not say how they are laid out, so that the caller has to."""
    theirs, net = module(4, 4, 2), network(4, 4, 2)
    before = arrays(net)
    for strict in (True, False):
        with pytest.raises(ValueError, match=r"'2.weight'\] has shape \(2, 4\); expected \(4, 2\)\..*layout"):
            net.load_state_dict(numpy_of(theirs), strict=strict)
    assert arrays(net) == before
    net.load_state_dict(numpy_of(theirs), layout="torch")
    as_there(net, theirs)


def test_arrays_with_names_that_only_pytorch_has() -> None:
    theirs, net = module(4, 4, batch_norm=True), network(4, 4, batch_norm=True)
    for strict in (True, False):
        with pytest.raises(ValueError, match=r"state has '1.num_batches_tracked', as PyTorch names it.*layout="):
            net.load_state_dict(numpy_of(theirs), strict=strict)
    assert net.load_state_dict(numpy_of(theirs), layout="torch").complete
    as_there(net, theirs)


def test_tensors_that_are_laid_out_as_here() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    old, new = network(3, 3, 3), network(3, 3, 3, seed=1)
    new.load_state_dict({name: torch.tensor(values) for name, values in old.state_dict().items()}, layout="fastbp")
    assert arrays(new) == arrays(old)


def test_tensors_and_arrays_mixed() -> None:
    theirs, net = module(4, 4), network(4, 4)
    state = {**theirs.state_dict(), "0.bias": np.zeros(4)}
    before = arrays(net)
    with pytest.raises(TypeError, match=r"both a tensor of PyTorch, '0.weight', and an array, '0.bias'.*say layout="):
        net.load_state_dict(state)
    assert arrays(net) == before
    net.load_state_dict(state, layout="torch")
    np.testing.assert_array_equal(net.params["0.weight"], theirs[0].weight.detach().numpy().T)
