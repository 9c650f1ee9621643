"""Several things trained at once: names, weights, and a loss and metrics of each output."""

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

each_backend = pytest.mark.parametrize("backend", backends())
RNG = np.random.default_rng(3)
X = {"image": RNG.normal(size=(60, 4)), "age": RNG.normal(size=(60, 1))}
Y = {"kind": RNG.integers(0, 3, 60), "size": RNG.normal(size=60)}
LOSSES = {"kind": fb.CrossEntropy(), "size": fb.MSE()}


def two_heads(backend, seed=0):
    image, age = fb.Input(4), fb.Input(1)
    h = fb.Tanh()(fb.Linear(5, 8, name="body")(fb.Concat()(image, age)))
    heads = {"kind": fb.Linear(8, 3, name="k")(h), "size": fb.Linear(8, 1, name="s")(h)}
    return fb.Network({"image": image, "age": age}, heads, seed=seed, backend=backend, dtype="float64")


@each_backend
def test_dicts_of_arrays_come_and_go(backend):
    net = two_heads(backend)
    assert (net.input_names, net.output_names) == (("image", "age"), ("kind", "size"))
    found = net.predict(X)
    assert {name: y.shape for name, y in found.items()} == {"kind": (60, 3), "size": (60, 1)}
    turned = net.predict({"age": X["age"], "image": X["image"]})
    assert np.array_equal(turned["kind"], found["kind"]), "the order of a dict does not matter"
    y = net.forward(X, training=True)
    dx = net.backward({name: np.ones_like(values) for name, values in y.items()})
    assert {name: d.shape for name, d in dx.items()} == {"image": (60, 4), "age": (60, 1)}
    with pytest.raises(ValueError, match=r"^x has 'image'; expected 'image', 'age', as the network has$"):
        net.predict({"image": X["image"]})
    with pytest.raises(ValueError, match=r"x\['age'\] has shape"):
        net.predict({"image": X["image"], "age": X["image"]})


@each_backend
def test_loss_weights_weigh_losses_and_gradients(backend):
    """Gradients add up: those of the heads alone, each times its weight."""
    net, other = two_heads(backend), two_heads(backend)
    trainer = fb.Trainer(net, LOSSES, fb.SGD(1.0), loss_weights={"size": 0.25, "kind": 2.0})
    before = net.params.flat.copy()
    loss = trainer.step(X, Y)
    gradients, values = [], []
    for name, column in (("kind", 0), ("size", 1)):
        part = other.part(dict(zip(X, other.graph.inputs, strict=True)), other.graph.outputs[column])
        values.append(part.loss_and_grad(X, Y[name], LOSSES[name]))
        gradients.append(other.grads.flat.copy())
        other.grads.flat[...] = 0
    assert loss == pytest.approx(2 * values[0] + 0.25 * values[1], rel=1e-12)
    np.testing.assert_allclose(before - net.params.flat, 2 * gradients[0] + 0.25 * gradients[1], rtol=1e-10, atol=1e-13)


@each_backend
def test_history_has_each_head_by_name(backend):
    trainer = fb.Trainer(two_heads(backend), LOSSES, fb.Adam(0.01), loss_weights=[1.0, 0.5],
                         metrics={"kind": ["f1", "accuracy"], "size": "r2"})
    history = trainer.fit(X, Y, epochs=2, validation_data=(X, Y), batch_size=16)
    both = ["kind_loss", "size_loss", "kind_accuracy", "kind_f1", "size_r2"]
    assert history.keys() == ["epoch", "loss", "lr", *both, "val_loss", *(f"val_{name}" for name in both), "seconds",
                              "samples_per_second"]
    row = history[-1]
    assert row["loss"] == pytest.approx(row["kind_loss"] + 0.5 * row["size_loss"], rel=1e-6)
    found = trainer.evaluate(X, Y)
    assert found["loss"] == pytest.approx(found["kind_loss"] + 0.5 * found["size_loss"], rel=1e-6)
    predicted = trainer.net.predict(X)
    assert found["kind_accuracy"] == np.mean(predicted["kind"].argmax(1) == Y["kind"])
    residual = np.square(predicted["size"][:, 0] - Y["size"]).sum()
    assert found["size_r2"] == pytest.approx(1 - residual / np.square(Y["size"] - Y["size"].mean()).sum())


@each_backend
def test_files_and_checkpoints_keep_names_and_weights(backend, tmp_path):
    trainer = fb.Trainer(two_heads(backend), LOSSES, fb.Adam(0.01), loss_weights={"kind": 2.0, "size": 0.5})
    trainer.fit(X, Y, epochs=2)
    trainer.save_checkpoint(tmp_path / "run")
    net = fb.load(tmp_path / "run", backend=backend)
    assert (net.input_names, net.output_names) == (("image", "age"), ("kind", "size"))
    assert np.array_equal(net.predict(X)["size"], trainer.net.predict(X)["size"])
    resumed = fb.Trainer.resume(tmp_path / "run", backend=backend)
    assert resumed.loss_weights == (2.0, 0.5)
    assert resumed.fit(X, Y, epochs=2)["loss"] == trainer.fit(X, Y, epochs=2)["loss"]
    assert np.array_equal(resumed.net.params.flat, trainer.net.params.flat)


def test_onnx_has_the_names(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    net = two_heads("reference")
    net.to_onnx(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert [i.name for i in session.get_inputs()] == ["image", "age"]
    assert [o.name for o in session.get_outputs()] == ["kind", "size"]
    kind, size = session.run(None, X)
    np.testing.assert_allclose(kind, net.predict(X)["kind"], rtol=1e-6)
    np.testing.assert_allclose(size, net.predict(X)["size"], rtol=1e-6)


def test_names_of_layers_name_the_outputs_of_a_tuple():
    x = fb.Input(4, name="x")
    net = fb.Network(x, [fb.Linear(4, 2, name="a")(x), fb.Linear(4, 1, name="b")(x)], seed=0, backend="reference")
    assert net.output_names == ("a", "b")
    trainer = fb.Trainer(net, {"a": "cross_entropy", "b": "mse"}, "sgd", metrics={"a": "accuracy"})
    row = trainer.fit(X["image"], (Y["kind"] % 2, Y["size"]))[0]
    assert {"a_loss", "b_loss", "a_accuracy"} <= set(row)
    unnamed = fb.Network(x, [fb.Linear(4, 2)(x), fb.Linear(4, 1)(x)], seed=0, backend="reference")
    trainer = fb.Trainer(unnamed, (fb.CrossEntropy(), fb.MSE()), "sgd", metrics=[["accuracy"], None])
    row = trainer.fit(X["image"], (Y["kind"] % 2, Y["size"]))[0]
    assert {"loss_0", "loss_1", "accuracy_0"} <= set(row)


@each_backend
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [fb.CrossEntropy(), fb.CrossEntropy(class_weight=[1, 3]), fb.BinaryCrossEntropy()])
def test_training_accuracy_is_that_of_the_batches(backend, loss, weighted):
    """Counted as the parameters were at each mini-batch."""
    columns = 2 if isinstance(loss, fb.CrossEntropy) else 3
    x = RNG.normal(size=(37, 4))
    y = RNG.integers(0, 2, 37) if columns == 2 else RNG.integers(0, 2, (37, 3)).astype(float)
    weight = RNG.uniform(0.1, 2, 37) if weighted else None

    def make():
        net = fb.Sequential(fb.Linear(4, columns), seed=1, backend=backend, dtype="float64")
        return fb.Trainer(net, loss, fb.SGD(0.5), metrics="accuracy")
    history = make().fit(x, y, epochs=3, batch_size=8, shuffle=False, sample_weight=weight)
    again, expected = make(), []
    for _ in range(3):
        right, total = 0.0, 0.0
        for start in range(0, 37, 8):
            rows = slice(start, start + 8)
            w = np.ones(len(x[rows])) if weight is None else weight[rows]
            out = again.net.predict(x[rows])
            hits = out.argmax(1) == y[rows] if columns == 2 else ((out > 0) == (y[rows] > 0.5)).mean(axis=1)
            right, total = right + w @ hits, total + w.sum()
            again.step(x[rows], y[rows], None if weight is None else weight[rows])
        expected.append(right / total)
    np.testing.assert_allclose(history["accuracy"], expected, rtol=1e-6)
    batches = [(x[s:s + 8], y[s:s + 8]) for s in range(0, 37, 8)]
    if not weighted:
        assert make().fit(batches, epochs=3)["accuracy"] == pytest.approx(expected)


def test_equal_outputs_count_as_the_first_class():
    for backend in backends():
        net = fb.Sequential(fb.Linear(2, 5, weight_init=fb.Zeros()), seed=0, backend=backend)
        trainer = fb.Trainer(net, "cross_entropy", fb.SGD(1e-30), metrics="accuracy")
        history = trainer.fit(np.ones((10, 2)), np.arange(10) % 5)
        assert history["accuracy"] == [0.2]


@pytest.mark.parametrize(("weights", "message"), [
    ([1.0], "Trainer: loss_weights has 1 entries; expected a tuple of 2"),
    ({"kind": 1.0}, "Trainer: loss_weights has 'kind'; expected 'kind', 'size'"),
    ([1.0, -1.0], "Trainer: loss_weights is -1.0; expected numbers of at least 0"),
])
def test_refused_loss_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        fb.Trainer(two_heads("reference"), LOSSES, fb.SGD(), loss_weights=weights)
