"""Files of networks: what comes back is what was written, and a file that is not right gets a clear error."""

from __future__ import annotations

import json
import pickle

import cases
import expression_cases
import numpy as np
import pytest
from conftest import backends

import fastbp as fb
from fastbp.files import container

each_backend = pytest.mark.parametrize("backend", backends())


def graph(backend: str = "reference", dtype: str = "float32") -> fb.Network:
    """Return a network with several inputs and outputs, a shared layer, a frozen one, buffers and own names."""
    a, b = fb.Input(4, name="left"), fb.Input(2, 2, name="right")
    shared = fb.Linear(4, 5, name="shared")
    flat = fb.Flatten()(b)
    h = fb.Concat()(fb.Tanh()(shared(a)), fb.BatchNorm(momentum=0.3)(shared(flat)), flat)
    frozen = fb.Linear(None, 5, bias=False, trainable=False)(h)
    skip = fb.Add()(frozen, shared(a), fb.Dropout(0.25)(shared(flat)))
    return fb.Network((a, b), (fb.LeakyReLU(0.2)(skip), fb.Linear(None, 1)(h)), dtype=dtype, seed=2**63 + 1,
                      backend=backend)


def batch(rng: np.random.Generator, rows: int = 6) -> tuple:
    return rng.standard_normal((rows, 4)), rng.standard_normal((rows, 2, 2))


def train(net: fb.Network, x: tuple, y: tuple, updates: int) -> list[float]:
    trainer = fb.Trainer(net, (fb.MSE(), fb.Huber()), fb.Adam(0.01))
    return [trainer.step(x, y) for _ in range(updates)]


def assert_same(a: fb.Network, b: fb.Network) -> None:
    assert type(a) is type(b)
    assert (a.dtype, a.seed, a.graph.names.values().__str__()) == (b.dtype, b.seed, b.graph.names.values().__str__())
    assert a.summary() == b.summary()
    assert list(a.state_dict()) == list(b.state_dict())
    for name, values in a.state_dict().items():
        assert np.array_equal(values, b.state_dict()[name], equal_nan=True), name
        assert values.dtype == b.state_dict()[name].dtype


DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1"}


def description_with(data: bytes, change) -> bytes:
    """Return a file with an altered description under a digest that fits."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    description = json.loads(header["__metadata__"]["fastbp"])
    change(description)
    tensors = {k: np.frombuffer(data[8 + size:][slice(*v["data_offsets"])], DTYPES[v["dtype"]]).reshape(v["shape"])
               for k, v in header.items() if k != "__metadata__"}
    description.pop("sha256", None)
    description["sha256"] = container._digest(description, tensors)
    header["__metadata__"]["fastbp"] = json.dumps(description)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size:]


def _set(*path):
    *keys, value = path

    def change(d):
        for key in keys[:-1]:
            d = d[key]
        if value is ...:
            del d[keys[-1]]
        else:
            d[keys[-1]] = value
    return change


@pytest.mark.parametrize("name", cases.LAYERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_layer_comes_back(name, dtype, tmp_path):
    case = cases.LAYERS[name]
    net = case.network(dtype=dtype, seed=3, backend="reference")
    net.save(tmp_path / "net.safetensors")
    other = fb.load(tmp_path / "net.safetensors", backend="reference")
    assert_same(net, other)
    own, loaded = ([t.node.owner for t in n.graph.tensors if t.node and t.node.owner] for n in (net, other))
    assert [str(layer.hyperparameters()) for layer in own] == [str(layer.hyperparameters()) for layer in loaded]
    rng = np.random.default_rng(0)
    x = tuple(case.inputs(rng, 3))
    assert np.array_equal(net.predict(x), other.predict(x))


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_graph_comes_back_and_trains_on_alike(backend, dtype, tmp_path):
    net = graph(backend, dtype)
    rng = np.random.default_rng(0)
    x, y = batch(rng), (rng.standard_normal((6, 5)), rng.standard_normal(6))
    train(net, x, y, 3)
    net.save(tmp_path / "net")
    other = fb.load(tmp_path / "net", backend=backend)
    assert_same(net, other)
    assert not np.array_equal(net.buffers["3.running_mean"], np.zeros(5))
    assert train(net, x, y, 5) == train(other, x, y, 5)  # dropout goes on with the same masks
    assert_same(net, other)


@pytest.mark.parametrize("name", expression_cases.CASES)
def test_every_function_of_tensors_comes_back(name, tmp_path):
    """As what it does: the ops that it was traced to."""
    function, shapes, (low, high) = expression_cases.CASES[name]
    inputs = [fb.Input(*s) for s in shapes]
    net = fb.Network(inputs, fb.Lambda(function)(*inputs), dtype="float64", seed=0, backend="reference")
    net.save(tmp_path / "net")
    other = fb.load(tmp_path / "net", backend="reference")
    assert_same(net, other)
    x = tuple(expression_cases.data(*shapes, low=low, high=high))
    assert np.array_equal(net.predict(x), other.predict(x), equal_nan=True)
    other.save(tmp_path / "other")
    assert (tmp_path / "net").read_bytes() == (tmp_path / "other").read_bytes()


@each_backend
@pytest.mark.parametrize("size", ["rows", "whole"])
def test_noise_comes_back_with_the_same_numbers(backend, size, tmp_path):
    noisy = fb.Lambda(lambda h: h + 0.1 * fb.random.normal(h.shape if size == "rows" else (3,)) * fb.random.uniform(h))
    net = fb.Sequential(fb.Linear(4, 3), noisy, fb.Linear(3, 2), seed=0, backend=backend)
    net.save(tmp_path / "net")
    other = fb.load(tmp_path / "net", backend=backend)
    x = np.ones((5, 4))
    assert np.array_equal(net.predict(x), other.predict(x))
    for one in (net, other):
        fb.Trainer(one, "mse", fb.SGD(0.1)).fit(x, x[:, :2], epochs=2, batch_size=2, progress=False)
    assert_same(net, other)


@each_backend
def test_expressions_between_layers_come_back(backend, tmp_path):
    """With parameters of one's own, random numbers, truth values and derivatives."""
    x, ids = fb.Input(4), fb.Input(3, dtype="int64")
    scale = fb.Parameter((4,), fb.Ones(), name="scale")
    hidden = fb.Linear(4, 4)(x * scale)
    noisy = fb.Lambda(lambda h: np.where(h > np.array([0.0, -1.0, 0.5, 9.0]), h + 0.1 * fb.random.normal(h.shape), -h))
    table = fb.Embedding(5, 4)(ids).sum(axis=1)
    y = noisy(hidden) + table * np.array([True, False, True, True])
    net = fb.Network((x, ids), fb.Tanh()(y) + fb.grad(np.sum(np.square(x * scale)), x), seed=1, backend=backend)
    rng = np.random.default_rng(0)
    data, target = (rng.standard_normal((6, 4)), rng.integers(0, 5, (6, 3))), rng.standard_normal((6, 4))
    train = lambda one: [fb.Trainer(one, fb.MSE(), fb.SGD(0.01)).step(data, target) for _ in range(3)]  # noqa: E731
    train(net)
    net.save(tmp_path / "net")
    other = fb.load(tmp_path / "net", backend=backend)
    assert_same(net, other)
    assert train(net) == train(other)
    assert_same(net, other)


class Inside(fb.Layer):
    """NumPy's functions on the way from one op to the next belong to the layer."""

    def lower(self, *inputs):
        (x,) = inputs
        return fb.Linear(3, 2, name="inner")(np.tanh(self.apply(fb.ops.activations.ReLUOp(), x)) * 2)


class Around(Inside):
    def lower(self, *inputs):
        (x,) = inputs
        return self.apply(fb.ops.activations.ReLUOp(), np.tanh(self.apply(fb.ops.activations.ReLUOp(), x)) * 2)


def test_expressions_within_a_layer(tmp_path):
    net = fb.Sequential(fb.Linear(3, 3), Around(), fb.Linear(3, 1), backend="reference", seed=0)
    net.save(tmp_path / "net")
    assert_same(net, fb.load(tmp_path / "net", backend="reference", layers=[Around]))
    net = fb.Sequential(fb.Linear(3, 3), Inside(), fb.Linear(2, 1), backend="reference", seed=0)
    net.save(tmp_path / "net")
    other = fb.load(tmp_path / "net", backend="reference")
    assert isinstance(other, fb.Sequential)
    np.testing.assert_array_equal(other.predict(np.eye(3)), net.predict(np.eye(3)))
    x = fb.Input(4, 3)
    net = fb.Network(x, Permuted()(x), backend="reference", seed=0)
    with pytest.raises(ValueError, match=r"save: Tensor\(permute.*was made outside of a layer"):
        net.save(tmp_path / "net")


class Permuted(fb.Layer):
    def lower(self, *inputs):
        (x,) = inputs
        return fb.Linear(4, 2, name="inner")(self.apply(fb.ops.reshape.PermuteOp((2, 1)), x))


@each_backend
@pytest.mark.parametrize("name", ["second", "normalised", "dropped", "gated", "residual"])
def test_derivatives_come_back(name, backend, tmp_path):
    x = fb.Input(4)
    hidden = {
        "second": lambda: fb.Tanh()(fb.Linear(4, 5)(x)),
        "normalised": lambda: fb.LayerNorm(5)(fb.BatchNorm(5)(fb.Linear(4, 5)(x))),
        "dropped": lambda: fb.SiLU()(fb.Linear(4, 5)(fb.Dropout(0.5)(x))),
        "gated": lambda: fb.SwiGLU()(fb.Linear(4, 10)(fb.GELU()(x))),
        "residual": lambda: fb.Linear(4, 5)(fb.Residual(fb.Linear(4, 4), fb.Dropout(0.3), fb.Tanh())(x)),
    }[name]()
    energy = fb.Linear(5, 1)(hidden)
    force = -fb.grad(energy, x)
    net = fb.Network(x, (force, fb.grad(np.sum(force**2, axis=1), x), hidden), seed=0, backend=backend)
    data = np.random.default_rng(0).standard_normal((6, 4))
    net.save(tmp_path / "net")
    other = fb.load(tmp_path / "net", backend=backend)
    for one in (net, other):
        trainer = fb.Trainer(one, lambda f, g, h: np.mean(f**2) + np.mean(np.square(g)) + np.mean(h**2), fb.SGD(0.01))
        trainer.fit(data, (), epochs=2, progress=False)
    np.testing.assert_array_equal(net.params.flat, other.params.flat)
    for mine, its in zip(net.predict(data), other.predict(data), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_a_parameter_that_is_not_the_layers(tmp_path):
    x = fb.Input(4)
    energy = fb.Linear(3, 1)(fb.Tanh()(fb.Linear(4, 3)(x)))
    fb.Network(x, fb.grad(energy, x), seed=0, backend="reference").save(tmp_path / "net")
    data = (tmp_path / "net").read_bytes()

    def change(change_call):
        def altered(d):
            (call, *_) = [c for c in d["network"]["calls"] if c.get("op") == "ParameterOp"]
            change_call(call)
        (tmp_path / "altered").write_bytes(description_with(data, altered))
    for alter, message in ((lambda c: c.update(params={"weight": "absent"}), "absent"),
                           (lambda c: c.update(params={"evil": "weight"}), "params has 'evil'; expected weight"),
                           (lambda c: c.update(params={}), "parameter lacks weight"),
                           (lambda c: c.pop("layer_of"), "expected the layer that they are of"),
                           (lambda c: c["arguments"].update(shape=[7, 7]), "do not fit")):
        change(alter)
        with pytest.raises(fb.FormatError, match=message):
            fb.load(tmp_path / "altered", backend="reference")


@pytest.mark.parametrize(("change", "message"), [
    (_set("op", "PythonOp"), r"network.calls\[0\].op is 'PythonOp'; expected one of IdentityOp"),
    (_set("op", None), r"network.calls\[0\].op is None; expected one of"),
    (_set("arguments", {"function": "evil"}), r"network.calls\[0\].arguments: ScalarOp: function is 'evil'"),
    (_set("arguments", {"function": "tanh", "more": 1}), r"network.calls\[0\].arguments: .*more"),
    (_set("arguments", {"function": "add"}), r"network.calls\[0\]: .*expected 2"),
    (_set("arguments", []), r"network.calls\[0\].arguments is \[\]; expected an object"),
    (_set("inputs", [0, 0]), r"network.calls\[0\]: tanh: got 2 operands"),
    (lambda c: c.update(op="BroadcastOp", arguments={"shape": [-1, 2**40]}), r"calls\[0\].arguments: .*more elements"),
    (lambda c: c.update(op="ReshapeOp", arguments={"shape": [3, 5]}), r"calls\[0\]: reshape"),
    (lambda c: c.update(op="ConstantOp", arguments={"values": "absent", "bool": False}), r"values is 'absent'; expect"),
    (lambda c: c.update(op="TransposeOp", arguments={"axes": [0, 7]}), r"calls\[0\]: transpose"),
    (lambda c: c.update(op="ReduceOp", arguments={"function": "evil", "axis": [1]}), r"network.calls\[0\]: 'evil'"),
    (lambda c: c.update(op="IndexOp", arguments={"key": [[None, None, 0]]}), r"network.calls\[0\]: "),
    (lambda c: c.update(op="PadOp", arguments={"widths": [[-1, 0]]}), r"network.calls\[0\]: "),
], ids=range(14))
def test_an_op_that_is_not_right(change, message, tmp_path):
    a = fb.Input(4)
    fb.Network(a, fb.Linear(4, 2)(np.tanh(a)), seed=0, backend="reference").save(tmp_path / "net")
    (tmp_path / "altered").write_bytes(
        description_with((tmp_path / "net").read_bytes(), lambda d: change(d["network"]["calls"][0])))
    with pytest.raises(fb.FormatError, match=message):
        fb.load(tmp_path / "altered", backend="reference")


def test_sequential_comes_back_as_one(tmp_path):
    shared = fb.Linear(3, 3)
    net = fb.Sequential(fb.Input(3, name="x"), shared, fb.ReLU(), shared, fb.ReLU(name="last"), backend="reference")
    net.save(tmp_path / "net")
    other = fb.load(tmp_path / "net", backend="reference")
    assert_same(net, other)
    assert list(other.params) == ["0.weight", "0.bias"]
    assert [repr(layer) for layer in other.layers] == [repr(layer) for layer in net.layers]
    assert other.layers[0] is other.layers[2]
    assert other.graph.layer_name(other.layers[3]) == "last"


def test_saving_is_reproducible_and_saves_what_was_loaded(tmp_path):
    net = graph()
    for name in "ab":
        net.save(tmp_path / name)
    fb.load(tmp_path / "a", backend="reference").save(tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_the_file_is_open_to_others(tmp_path):
    """Any reader of safetensors finds the weights by name, and the description as JSON."""
    safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed")
    net = fb.Sequential(fb.Linear(2, 3), backend="reference")
    net.save(tmp_path / "net.safetensors")
    with safetensors.safe_open(tmp_path / "net.safetensors", framework="np") as file:
        assert np.array_equal(file.get_tensor("0.weight"), net.params["0.weight"])
        description = json.loads(file.metadata()["fastbp"])
    assert description["format_version"] == 2
    assert description["network"]["layers"][0]["arguments"] == {"in_features": 2, "out_features": 3, "bias": True}


class Twice(fb.Layer):
    """A layer made of others: what is written is what it is made of."""

    def __init__(self, inner: fb.Layer) -> None:
        super().__init__()
        self.inner = inner

    def lower(self, *inputs):
        return self.inner(self.inner(*inputs))


class Shift(fb.Layer):
    """A layer of one's own, with an argument."""

    def __init__(self, by: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.by = by

    def hyperparameters(self):
        return {"by": self.by}

    def lower(self, *inputs):
        (x,) = inputs
        return fb.LeakyReLU(self.by)(x) if x is None else self.apply(fb.ops.activations.LeakyReLUOp(self.by), x)


def test_layers_of_ones_own(tmp_path):
    net = fb.Sequential(fb.Linear(3, 3), Twice(fb.Linear(3, 3)), Shift(0.5), backend="reference", seed=0)
    net.save(tmp_path / "net")
    with pytest.raises(fb.FormatError, match=r"has the layer 'Shift', which fastbp does not know.*layers=\[Shift\]"):
        fb.load(tmp_path / "net", backend="reference")
    other = fb.load(tmp_path / "net", backend="reference", layers=[Shift])
    assert_same(net, other)
    with pytest.raises(TypeError, match="layers holds"):
        fb.load(tmp_path / "net", layers=[np.ndarray])


def test_what_a_file_cannot_hold(tmp_path):
    net = fb.Sequential(fb.Linear(3, 3), Shift(np.ones(3)), backend="reference")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Shift: by is array.*cannot hold"):
        net.save(tmp_path / "net")
    assert not list(tmp_path.iterdir())


# ---- files that are not right ----------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path):
    """A small file, and the network that it has."""
    net = fb.Sequential(fb.Linear(2, 2), fb.BatchNorm(), fb.Linear(None, 1), seed=0, backend="reference")
    net.save(tmp_path / "net")
    return net, (tmp_path / "net").read_bytes(), tmp_path / "altered"


def test_every_cut_is_noticed(written):
    _, data, path = written
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(fb.FormatError, match=r"empty|safetensors file"):
            fb.load(path, backend="reference")


def test_a_thousand_mutations(written):
    """Each file with altered, added or removed bytes gives a FormatError, or the very same network."""
    net, data, path = written
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(1000):
        changed = bytearray(data)
        at = int(rng.integers(len(data)))
        kind = i % 4
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at:at + int(rng.integers(1, 9))] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 2:
            changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
        else:
            del changed[at:at + int(rng.integers(1, 9))]
        path.write_bytes(changed)
        try:
            other = fb.load(path, backend="reference")
        except fb.FormatError:
            refused += 1
        else:
            assert_same(net, other)
    assert refused > 950


@pytest.mark.parametrize(("change", "message"), [
    (_set("format_version", 3), "format version 3; this fastbp reads up to 2: install a newer one"),
    (_set("format_version", "1"), "no format version"),
    (_set("format_version", True), "no format version"),
    (_set("format_version", ...), "no format version"),
    (_set("network", ...), "its description lacks 'network'"),
    (_set("network", 3), "network is 3; expected an object"),
    (_set("network", "type", "Trainer"), "network.type is 'Trainer'; expected one of Network, Sequential"),
    (_set("network", "type", []), r"network.type is \[\]; expected one of"),
    (_set("network", "dtype", "float16"), "network.dtype is 'float16'; expected one of float32, float64"),
    (_set("network", "dtype", "float64"), "network.compute_dtype is 'float32'; expected one of float64"),
    (lambda d: d["network"].update(dtype="float64", compute_dtype="float64"),
     "'0.weight' is .* of float32; expected .* of float64"),
    (_set("network", "compute_dtype", "junk"), "network.compute_dtype is 'junk'; expected one of float32, bfloat16"),
    (_set("network", "seed", -1), "network.seed is -1; expected a whole number below"),
    (_set("network", "seed", 2**70), "network.seed is 1180591620717411303424; expected a whole number below"),
    (_set("network", "seed", True), "network.seed is True; expected a whole number below"),
    (_set("network", "step", 0.5), "network.step is 0.5; expected a whole number below"),
    (_set("network", "single_input", "no"), "network.single_input is 'no'; expected true or false"),
    (_set("network", "inputs", []), r"network.calls\[0\].inputs\[0\] is 0; expected a whole number below 0"),
    (_set("network", "inputs", {}), "network.inputs is {}; expected a list"),
    (_set("network", "inputs", 0, "shape", 5), r"network.inputs\[0\].shape is 5; expected a list"),
    (_set("network", "inputs", 0, "shape", []), r"network.inputs\[0\].shape: Input: shape is empty"),
    (_set("network", "inputs", 0, "shape", [0]), r"network.inputs\[0\].shape: .*expected positive integers"),
    (_set("network", "inputs", 0, "shape", [3]), r"network.calls\[0\]: .*features"),
    (_set("network", "inputs", 0, "shape", [2**60]), r"inputs\[0\].shape: .*more numbers than can be addressed"),
    (_set("network", "inputs", 0, "shape", [2**32, 2**32]), r"inputs\[0\].shape: .*more numbers than can be"),
    (_set("network", "inputs", 0, "shape", [10**30]), r"network.inputs\[0\].shape\[0\] is 1000.*; expected a whole"),
    (_set("network", "inputs", 0, "shape", [1] * 40), r"inputs\[0\].shape: .*40 axes; expected at most 31"),
    (_set("network", "inputs", 0, "name", None), r"network.inputs\[0\].name is None; expected text"),
    (_set("network", "layers", 0, "type", "Network"), "has the layer 'Network', which fastbp does not know"),
    (_set("network", "layers", 0, "type", "Activation"), "Activation"),
    (_set("network", "layers", 0, "type", ...), r"network.layers\[0\] lacks 'type'"),
    (_set("network", "layers", 0, "arguments", "in_features", 10**30), r"layers\[0\]: .*more than can be addressed"),
    (_set("network", "layers", 2, "arguments", "out_features", 10**15), r"'2.weight' is \(2, 1\) of float32; expected"),
    (_set("network", "layers", 0, "arguments", {"evil": 1}), r"network.layers\[0\]: .*evil"),
    (_set("network", "layers", 0, "arguments", 5), r"network.layers\[0\].arguments is 5; expected an object"),
    (_set("network", "layers", 1, "arguments", "momentum", 10**400), r"network.layers\[1\]: BatchNorm: momentum is 10"),
    (_set("network", "layers", 0, "trainable", 1), r"network.layers\[0\].trainable is 1; expected true or false"),
    (_set("network", "layers", 0, "name", "1"), "two layers are called '1'"),
    (_set("network", "layers", 0, "name", "other"), "'other.weight' is missing"),
    (_set("network", "calls", 0, "layer", 9), r"network.calls\[0\].layer is 9; expected a whole number below 3"),
    (_set("network", "calls", 0, "layer", -1), r"network.calls\[0\].layer is -1; expected a whole number below 3"),
    (_set("network", "calls", 0, "inputs", [5]), r"network.calls\[0\].inputs\[0\] is 5; expected a whole number"),
    (_set("network", "calls", 0, "inputs", [0, 0]), r"network.calls\[0\]: .*expected 1"),
    (_set("network", "outputs", [99]), r"network.outputs\[0\] is 99; expected a whole number below 4"),
    (_set("network", "outputs", []), "network.outputs: outputs is empty"),
], ids=range(45))
def test_a_description_that_is_not_right(written, change, message):
    _, data, path = written
    path.write_bytes(description_with(data, change))
    with pytest.raises(fb.FormatError, match=message) as caught:
        fb.load(path, backend="reference")
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_what_is_wrong_with_the_arguments_is_no_matter_of_the_format(written):
    net, _, path = written
    net.save(path)
    for options, message in [({"backend": "gpu"}, "backend is 'gpu'; expected"),
                             ({"compute_dtype": "float8"}, "compute_dtype is 'float8'; expected")]:
        with pytest.raises(ValueError, match=message) as caught:
            fb.load(path, **options)
        assert not isinstance(caught.value, fb.FormatError)


class Fragile(fb.Layer):
    """Takes nothing for granted."""

    def __init__(self, size):
        assert size[0] == {}["no"]

    def lower(self, *inputs):
        raise ZeroDivisionError


def test_a_class_of_ones_own_may_fail_in_any_way(written):
    _, data, path = written
    for arguments in ({"size": 0}, {"size": [1]}, {}):
        path.write_bytes(description_with(data, _set("network", "layers", 0, {
            "type": "Fragile", "name": "0", "named": False, "trainable": True, "arguments": arguments})))
        with pytest.raises(fb.FormatError, match=r"network.layers\[0\]: "):
            fb.load(path, layers=[Fragile])


def test_the_helper_of_these_tests_makes_good_files(written):
    net, data, path = written
    path.write_bytes(description_with(data, lambda d: None))
    assert_same(net, fb.load(path, backend="reference"))


def test_a_deeply_nested_description(written):
    _, data, path = written
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    header["__metadata__"]["fastbp"] = "[" * 100_000
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size:])
    with pytest.raises(fb.FormatError, match="no JSON"):
        fb.load(path)


@pytest.mark.parametrize("data", [
    b"", b"\0", b"\0" * 8, b"\0" * 100, b"\xff" * 100, (2**62).to_bytes(8, "little") + b"{}",
    b"PK\x03\x04" + b"x" * 200, pickle.dumps({"weight": [1.0] * 100}),
    b"\x89HDF\r\n\x1a\n" + b"0" * 500, (2).to_bytes(8, "little") + b"[]",
    (2).to_bytes(8, "little") + b"{}",
], ids=range(11))
def test_foreign_files(data, tmp_path):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(fb.FormatError, match=r"empty|safetensors file"):
        fb.load(tmp_path / "file")


def test_safetensors_of_others(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed").save_file
    save_file({"0.weight": np.ones((2, 2), np.float32)}, tmp_path / "weights", {"format": "pt"})
    with pytest.raises(fb.FormatError, match=r"none of fastbp's.*load_file\('.*'\), layout=\"torch\"\)"):
        fb.load(tmp_path / "weights")


def test_a_strange_dtype(written):
    _, data, path = written
    size = int.from_bytes(data[:8], "little")
    path.write_bytes(data[:8] + data[8:8 + size].replace(b'"F32"', b'"F16"') + data[8 + size:])
    with pytest.raises(fb.FormatError, match="dtype 'F16'; expected one of F64, F32"):
        fb.load(path)


def test_integers_for_parameters(written):
    _, _, path = written
    contents = container.read(path.with_name("net"))
    tensors = {name: values.astype("int32") for name, values in contents.tensors.items()}
    container.write(path, contents.description, tensors)
    with pytest.raises(fb.FormatError, match=r"'0.weight' is \(2, 2\) of int32; expected \(2, 2\) of float32"):
        fb.load(path)


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        fb.load(tmp_path / "absent")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        fb.load(tmp_path)
    with pytest.raises(fb.FormatError, match="no safetensors file"):
        fb.load("/dev/zero")
