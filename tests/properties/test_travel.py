"""What was pickled, copied, or sent to another process and back does all that it did before."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import graphs
import numpy as np
import pytest
import workers
from conftest import backends
from hypothesis import given
from hypothesis import strategies as st

import fastbp as fb
from fastbp.core.vector import Vector

each_backend = pytest.mark.parametrize("backend", backends())


def by_joblib(thing: Any, folder: Path) -> Any:
    """Return what joblib maps from a file: its large arrays are read-only."""
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    joblib.dump(thing, folder / "thing.joblib")
    return joblib.load(folder / "thing.joblib", mmap_mode="r")


def by_cloudpickle(thing: Any, folder: Path) -> Any:
    cloudpickle = pytest.importorskip("cloudpickle", reason="cloudpickle is not installed")
    return pickle.loads(cloudpickle.dumps(thing))


def out_of_band(thing: Any, folder: Path) -> Any:
    """Return it from buffers that are read-only and not aligned, as a message from another process may be."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[memoryview(b"x" + b.raw())[1:] for b in buffers])


WAYS: dict[str, Callable[[Any, Path], Any]] = {
    **{f"pickle {p}": lambda thing, _, p=p: pickle.loads(pickle.dumps(thing, protocol=p)) for p in (0, 2, 5)},
    "pickle 5, out of band": out_of_band, "copy": lambda thing, _: copy.copy(thing),
    "deepcopy": lambda thing, _: copy.deepcopy(thing), "joblib, mapped": by_joblib, "cloudpickle": by_cloudpickle,
    "twice": lambda thing, folder: by_joblib(copy.deepcopy(thing), folder),
}
each_way = pytest.mark.parametrize("way", WAYS)
each_deep_way = pytest.mark.parametrize("way", [way for way in WAYS if way != "copy"])


def network(backend: str = "native") -> fb.Network:
    """Return a network with a shared layer, a frozen one, buffers, names, several inputs and outputs."""
    a, b = fb.Input(4, name="left"), fb.Input(2, 2)
    shared = fb.Linear(4, 5, name="shared")
    flat = fb.Flatten()(b)
    h = fb.Concat()(fb.Tanh()(shared(a)), fb.BatchNorm()(shared(flat)), flat)
    frozen = fb.Linear(None, 5, bias=False, trainable=False)(h)
    return fb.Network((a, b), (fb.Add()(frozen, fb.Dropout(0.25)(shared(a))), fb.Linear(None, 1)(h)), seed=7,
                      backend=backend)


LOSSES = (fb.MSE(), fb.Huber())


def data(rows: int = 8) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return ((rng.standard_normal((rows, 4)), rng.standard_normal((rows, 2, 2))),
            (rng.standard_normal((rows, 5)), rng.standard_normal((rows, 1))))


def state(net: fb.Network) -> bytes:
    return b"".join(v.flat.tobytes() for v in (net.params, net.grads, net.buffers)) + bytes([net.memory.step % 256])


# ---- networks --------------------------------------------------------------------------------------------------------


def expressions(backend: str = "native") -> fb.Network:
    """Return a network of NumPy's functions on tensors: sizes that follow the rows, constants, a parameter."""
    x, ids = fb.Input(4), fb.Input(3, dtype="int64")
    scale = fb.Parameter((4,), fb.Ones(), name="scale")
    h = np.where(x > np.array([0.0, 0.5, 1.0, -1.0]), x * scale, -x) - x.mean(axis=0)
    h = h + fb.Embedding(5, 4, name="ids")(ids).sum(axis=1)
    h = h + fb.Lambda(workers.twice)(x)
    return fb.Network((x, ids), (fb.Tanh()(h), h.sum(axis=1, keepdims=True)), seed=1, backend=backend)


@each_deep_way
@each_backend
def test_expressions_travel(way: str, backend: str, tmp_path: Path) -> None:
    net, rng = expressions(backend), np.random.default_rng(0)
    x, y = (rng.standard_normal((6, 4)), rng.integers(0, 5, (6, 3))), (np.ones((6, 4)), np.ones((6, 1)))
    trainer = fb.Trainer(net, LOSSES, fb.Adam(0.01))
    trainer.step(x, y)
    other = WAYS[way](trainer, tmp_path)
    assert [trainer.step(x, y) for _ in range(3)] == [other.step(x, y) for _ in range(3)]
    assert state(net) == state(other.net)
    for one, name in ((net, "own"), (other.net, "other")):
        one.save(tmp_path / name)
    assert (tmp_path / "own").read_bytes() == (tmp_path / "other").read_bytes()
    more = tuple(np.concatenate([a, a, a]) for a in x)
    np.testing.assert_array_equal(net.predict(more)[1], other.net.predict(more)[1])


@each_way
@each_backend
def test_a_network_does_all_that_it_did(way: str, backend: str, tmp_path: Path) -> None:
    net, (x, y) = network(backend), data()
    fb.Trainer(net, LOSSES, fb.Adam(0.01)).fit(x, y, epochs=2, batch_size=4, progress=False)
    other = WAYS[way](net, tmp_path)
    assert type(other) is type(net)
    assert state(other) == state(net)
    for a, b in zip(net.predict(x), other.predict(x), strict=True):
        np.testing.assert_array_equal(a, b)
    assert other.summary() == net.summary()
    assert other.to_svg() == net.to_svg()
    assert other._repr_html_() == net._repr_html_()
    assert repr(other) == repr(net)
    assert list(other.activations(x)) == list(net.activations(x))
    assert other.verify(x, y, LOSSES).ok
    assert fb.gradcheck(other.copy(dtype="float64"), x, y, LOSSES).ok
    for one, name in ((net, "own"), (other, "other")):
        one.save(tmp_path / name)
    assert (tmp_path / "own").read_bytes() == (tmp_path / "other").read_bytes()
    fb.load(tmp_path / "other", backend=backend)


@each_way
def test_a_network_is_exported(way: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    net = network("reference")
    other = WAYS[way](net, tmp_path)
    for one, name in ((net, "own"), (other, "other")):
        one.to_onnx(tmp_path / name)
    assert (tmp_path / "own").read_bytes() == (tmp_path / "other").read_bytes()


@each_way
def test_a_network_goes_to_torch(way: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    net = network("reference")
    own, other = net.to_torch_state_dict(), WAYS[way](net, tmp_path).to_torch_state_dict()
    assert list(own) == list(other)
    assert all(torch.equal(own[name], other[name]) for name in own)


@each_way
def test_a_network_is_explained(way: str, tmp_path: Path) -> None:
    net = fb.Sequential(fb.Linear(2, 3), fb.Tanh(), fb.Linear(3, 1), seed=0, backend="reference")
    other = WAYS[way](net, tmp_path)
    own, again = (str(n.explain([[1.0, 2.0]], [[0.5]], fb.MSE(), weight="w2")) for n in (net, other))
    assert own == again


@each_way
def test_copies_are_apart(way: str, tmp_path: Path) -> None:
    net, (x, y) = network(), data()
    other = WAYS[way](net, tmp_path)
    before = state(net)
    fb.Trainer(other, LOSSES, fb.SGD(0.1)).step(x, y)
    assert state(net) == before != state(other)


@each_way
def test_vectors_are_fresh(way: str, tmp_path: Path) -> None:
    """Whatever array comes back, a network has aligned vectors of its own that may be written."""
    trainer = trained(workers.network(0))
    other = WAYS[way](trainer, tmp_path) if way != "copy" else trainer
    vectors = [other.net.params.flat, other.net.grads.flat, other.net.buffers.flat, *other.update.state]
    for vector in vectors:
        assert type(vector) is np.ndarray
        assert vector.flags.carray
        assert vector.ctypes.data % 64 == 0
    for one in (other.net.params, other.net.grads, other.net.buffers):
        assert all(np.shares_memory(view, one.flat) for view in one.values())


@each_way
def test_gradients_that_are_added_up(way: str, tmp_path: Path) -> None:
    net, (x, y) = network(), data()
    net.loss_and_grad(x, y, LOSSES)
    other = WAYS[way](net, tmp_path)
    for one in (net, other):
        one.loss_and_grad(x, y, LOSSES, accumulate=True)
    assert state(net) == state(other)


@each_way
def test_no_backward_without_forward(way: str, tmp_path: Path) -> None:
    net, (x, _) = network(), data()
    y = net.forward(x, training=True)
    other = WAYS[way](net, tmp_path)
    assert other.input_grads == ()
    with pytest.raises(RuntimeError, match="no forward pass"):
        other.backward(y)
    net.backward(y)


@each_deep_way
def test_a_subclass_keeps_what_it_knows_of_its_graph(way: str, tmp_path: Path) -> None:
    net = workers.Encoder(200)
    other = WAYS[way](net, tmp_path)
    assert other.code is other.graph.tensors[-2]
    assert other.graph.names[other.code] == net.graph.names[net.code]
    assert other.head is other.graph.layers["head"]


def test_equal_layers_have_names_of_their_own() -> None:
    """Names go by identity: a layer that is equal to another, and hashes alike, is still another one."""
    a = fb.Input(3)
    net = fb.Network(a, workers.Same(3)(workers.Same(3)(a)), backend="reference")
    assert list(pickle.loads(pickle.dumps(net)).params) == list(net.params) == ["0.weight", "1.weight"]
    chain = fb.Sequential(fb.Input(3), workers.Same(3), workers.Same(3), backend="reference")
    assert list(copy.deepcopy(chain).params) == list(chain.params) == ["0.weight", "1.weight"]


@pytest.mark.parametrize("way", ["pickle 0", "pickle 2", "pickle 5", "deepcopy", "copy", "cloudpickle"])
@pytest.mark.parametrize("layers", [1000, 5000])
def test_depth(way: str, layers: int, tmp_path: Path) -> None:
    stack = [fb.Linear(2, 2), *(fb.Tanh() if i % 2 else fb.Identity() for i in range(layers - 1))]
    net = fb.Sequential(*stack, seed=0, backend="reference")
    other = WAYS[way](net, tmp_path)
    assert list(other.graph.names.values()) == list(net.graph.names.values())
    assert len(other.layers) == layers
    np.testing.assert_array_equal(other.predict([[1.0, 2.0]]), net.predict([[1.0, 2.0]]))
    other.save(tmp_path / "net")


def test_depth_of_a_trainer_whose_callbacks_know_it(tmp_path: Path) -> None:
    net = fb.Sequential(fb.Linear(2, 2), *(fb.Tanh() for _ in range(1000)), seed=0, backend="reference")
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(0.1))
    trainer.resumed_callbacks = [("Own", {"trainer": trainer})]
    for other in (copy.deepcopy(trainer), by_joblib(trainer, tmp_path)):
        assert other.resumed_callbacks[0][1]["trainer"] is other


@each_way
def test_a_vector_alone(way: str, tmp_path: Path) -> None:
    vector = Vector({"a": (2, 3), "none": (0,), "one": ()}, "float64")
    vector.flat = np.arange(7)
    other = WAYS[way](vector, tmp_path)
    assert {n: v.tolist() for n, v in other.items()} == {n: v.tolist() for n, v in vector.items()}
    assert other.offsets == vector.offsets
    other["a"] = 9 * np.ones((2, 3))
    assert other.flat.tolist() == [9] * 6 + [6]
    assert vector.flat.tolist() == [0, 1, 2, 3, 4, 5, 6]


# ---- trainers --------------------------------------------------------------------------------------------------------


def trained(net: fb.Network, optimizer: fb.Optimizer | None = None) -> fb.Trainer:
    trainer = fb.Trainer(net, fb.CrossEntropy(), optimizer or fb.Adam(fb.CosineDecay(0.01, steps=90)), clip_norm=1.0)
    trainer.fit(workers.X, workers.Y, epochs=2, progress=False)
    return trainer


@each_deep_way
@each_backend
def test_a_trainer_goes_on(way: str, backend: str, tmp_path: Path) -> None:
    trainer = trained(workers.network(0).copy(backend=backend))
    other = WAYS[way](trainer, tmp_path)
    for one, name in ((trainer, "own"), (other, "other")):
        one.fit(workers.X, workers.Y, epochs=2, progress=False)
        for _ in range(3):
            one.step(workers.X, workers.Y)
        one.net.loss_and_grad(workers.X, workers.Y, fb.CrossEntropy())
        one.optimizer.step(one.net)
        one.history = fb.History()      # without the seconds that it took
        one.save_checkpoint(tmp_path / name)
    assert state(trainer.net) == state(other.net)
    assert (tmp_path / "own").read_bytes() == (tmp_path / "other").read_bytes()
    resumed = fb.Trainer.resume(tmp_path / "other", backend=backend)
    assert state(resumed.net)[:trainer.net.params.flat.nbytes] == trainer.net.params.flat.tobytes()


@pytest.mark.filterwarnings("ignore:the network ends in")
@given(example=graphs.examples(most_rows=30, least_rows=2), way=st.sampled_from([way for way in WAYS if way != "copy"]),
       optimizer=st.sampled_from(["SGD", "SGD, momentum", "RMSprop", "Adagrad", "Adam", "AdamW", "Lion"]))
@each_backend
def test_random_networks_train_to_the_same_bits(backend: str, example: graphs.Example, way: str, optimizer: str,
                                                tmp_path_factory: pytest.TempPathFactory) -> None:
    net = example.network(backend)
    x, y, weight = example.data(net)
    trainer = fb.Trainer(net, example.losses, cases.OPTIMIZERS[optimizer]())

    def train(one: fb.Trainer) -> list[Any]:
        try:
            return [one.step(tuple(x), tuple(y), weight) for _ in range(3)]
        except fb.DivergenceError as error:
            return [str(error)]
    train(trainer)
    other = WAYS[way](trainer, tmp_path_factory.mktemp("way"))
    assert train(trainer) == train(other)
    assert state(net) == state(other.net)
    for a, b in zip(trainer.update.state, other.update.state, strict=True):
        assert a.tobytes() == b.tobytes()


def test_functions_as_losses_and_layers_by_cloudpickle(tmp_path: Path) -> None:
    scale = 3.0

    class Scale(fb.CustomLayer):
        def forward(self, ctx: Any, *xs: Any, **params: Any) -> Any:
            return scale * xs[0]

        def backward(self, ctx: Any, dy: Any) -> Any:
            return scale * dy

    def loss(pred: Any, y: Any) -> Any:
        return float(np.mean((pred - y) ** 2)), 2 * (pred - y) / pred.size
    net = fb.Sequential(fb.Linear(2, 3), Scale(), fb.Linear(3, 1), seed=0)
    trainer = fb.Trainer(net, loss, fb.Adam(lambda step: 0.1 / (1 + step)), metrics=lambda t, p: np.abs(t - p).mean())
    x, y = np.ones((4, 2)), np.ones((4, 1))
    trainer.fit(x, y, progress=False)
    other = by_cloudpickle(trainer, tmp_path)
    assert [trainer.step(x, y) for _ in range(3)] == [other.step(x, y) for _ in range(3)]
    assert other.evaluate(x, y) == trainer.evaluate(x, y)


def unaligned(vector: Any) -> Any:
    return np.frombuffer(bytearray(vector.nbytes + 1), np.uint8)[1:].view(vector.dtype)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "none": lambda s: (), "more": lambda s: (*s, s[0]), "short": lambda s: (s[0][:3], s[1]),
    "dtype": lambda s: (s[0].astype("float64"), s[1]), "strided": lambda s: (s[0], np.repeat(s[1], 2)[::2]),
    "read-only": lambda s: (np.frombuffer(s[0].tobytes(), s[0].dtype), s[1]),
    "unaligned": lambda s: (unaligned(s[0]), s[1]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("use", ["step", "quick step", "fit"])
def test_a_state_that_cannot_be_written_is_refused(change: str, use: str) -> None:
    """Once a segmentation fault: arrays of a pickle may be mapped from a file that is read-only."""
    net = workers.network(0) if use == "step" else fb.Sequential(fb.Linear(12, 5), seed=0)
    trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam())
    x, y = workers.X, workers.Y.astype("int64")
    for _ in range(3):
        trainer.step(x, y)
    trainer.update.state = CHANGES[change](trainer.update.state)
    gc.collect()
    before = net.params.flat.copy()
    with pytest.raises(ValueError, match=r"the state of Adam was changed; expected 2 writable vectors \(exp_avg, "):
        trainer.fit(x, y, progress=False) if use == "fit" else trainer.step(x, y)
    np.testing.assert_array_equal(net.params.flat, before)


@pytest.mark.parametrize("name", ["params", "grads"])
@each_backend
def test_vectors_that_were_made_read_only(name: str, backend: str) -> None:
    trainer = fb.Trainer(fb.Sequential(fb.Linear(2, 1), seed=0, backend=backend), fb.MSE(), fb.SGD(0.1))
    vector = getattr(trainer.net, name).flat
    before = vector.copy()
    vector.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        trainer.step([[1.0, 2.0]], [[1.0]])
    np.testing.assert_array_equal(vector, before)


# ---- estimators ------------------------------------------------------------------------------------------------------


def classifier(**options: Any) -> Any:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from fastbp.estimators import MLPClassifier
    return MLPClassifier((600, 300), random_state=0, **options)


def large(rows: int = 64) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 300)), rng.integers(0, 3, rows)


@each_deep_way
@pytest.mark.parametrize("options", [{}, {"batch_norm": True, "solver": "sgd"}, {"early_stopping": True}], ids=range(3))
def test_an_estimator_goes_on(way: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Larger than a megabyte: joblib maps it from a file, read-only."""
    X, y = large()
    model = classifier(**options).partial_fit(X, y, classes=[0, 1, 2])
    other = WAYS[way](model, tmp_path)
    for _ in range(3):
        model.partial_fit(X, y)
        other.partial_fit(X, y)
    for a, b in zip([*model.coefs_, *model.intercepts_], [*other.coefs_, *other.intercepts_], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))


def test_parallel_sends_models_to_workers_and_back() -> None:
    """More than a megabyte: joblib hands the workers files that are read-only, and maps what they return."""
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    from joblib.externals.loky import get_reusable_executor
    X, y = large()
    model = classifier().partial_fit(X, y, classes=[0, 1, 2])
    trainer = trained(workers.network(0), fb.Adam())
    try:
        models = joblib.Parallel(2)(joblib.delayed(workers.go_on)(m, X, y) for m in [model] * 2)
        trainers = joblib.Parallel(2)(joblib.delayed(workers.step)(t) for t in [trainer] * 2)
    finally:
        get_reusable_executor().shutdown(wait=True)
    expected = workers.go_on(model, X, y)
    assert models[0].network_.params.flat.nbytes > 1e6
    for other in models:
        np.testing.assert_array_equal(other.coefs_[0], expected.coefs_[0])
        workers.go_on(other, X, y)
    workers.go_on(expected, X, y)
    np.testing.assert_array_equal(models[1].predict_proba(X), expected.predict_proba(X))
    workers.step(trainer)
    for one in trainers:
        assert state(one.net) == state(trainer.net)
        assert workers.step(one).net.summary() == trainer.net.summary()
