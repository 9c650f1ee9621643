"""Inputs of integers: ids, labels and masks, from the border to the rows of a table, and what has no gradient."""

import base64
import copy
import pickle
import re
import threading

import numpy as np
import pytest

import fastbp as fb

N, C = 11, 6


def network(backend="native", dtype="float64", **options):
    """Ids of two columns that share a table, and real numbers beside them."""
    ids, other, real = fb.Input(3, dtype="int64", name="ids"), fb.Input(2, 2, dtype="int64"), fb.Input(4)
    table = fb.Embedding(N, C, padding_idx=2)
    h = fb.Concat()(fb.Flatten()(table(ids)), fb.Flatten()(table(other)), fb.Tanh()(fb.Linear(4, 5)(real)))
    return fb.Network([ids, other, real], fb.Linear(None, 2)(h), backend=backend, dtype=dtype, seed=0, **options)


def batch(rows=20, seed=1):
    rng = np.random.default_rng(seed)
    return (rng.integers(0, N, (rows, 3)), rng.integers(0, N, (rows, 2, 2)), rng.standard_normal((rows, 4))), \
        rng.standard_normal((rows, 2))


def simple(**options):
    return fb.Sequential(fb.Input(3, dtype="int64"), fb.Embedding(N, C), fb.Flatten(), fb.Linear(None, 2), seed=0,
                         **options)


# ---- symbols -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "int32", bool, "nonsense", 3])
def test_an_input_is_of_real_numbers_or_of_int64(dtype):
    with pytest.raises(ValueError, match=re.escape(f'Input: dtype is {dtype!r}; expected "int64", or None')):
        fb.Input(3, dtype=dtype)
    assert fb.Input(3, dtype=np.int64).dtype == fb.Input(3, dtype="int64").dtype == "int64"
    assert fb.Input(3).dtype == "real"


@pytest.mark.parametrize("layer", [fb.Linear(None, 3), fb.ReLU(), fb.LayerNorm(), fb.BatchNorm(), fb.Softmax(),
                                   fb.Dropout()], ids=repr)
def test_layers_of_real_numbers_take_no_integers(layer):
    message = (f"{layer!r}: input 0, Tensor(input, shape=(B, 5), dtype=int64), holds integers; expected real numbers: "
               "fb.Embedding makes them of ids")
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(fb.Input(5, dtype="int64"))


def test_an_embedding_takes_no_real_numbers():
    with pytest.raises(ValueError, match=r"Embedding\(11, 6\): input 0, .* holds real numbers; expected integers"):
        fb.Embedding(N, C)(fb.Input(5))
    with pytest.raises(ValueError, match="Sequential: layer 0: Embedding"):
        fb.Sequential(fb.Input(5), fb.Embedding(N, C))


@pytest.mark.parametrize(("arguments", "message"), [
    ((0, 3), "num_embeddings is 0; expected a positive integer"),
    ((3, 2.0), "embedding_dim is 2.0; expected a positive integer"),
    ((3, 2, 3), "padding_idx is 3; expected an integer from -3 to 2, or None"),
    ((3, 2, True), "padding_idx is True; expected an integer from -3 to 2, or None"),
    ((2**40, 2**30), "more elements than can be addressed"),
])
def test_arguments_of_an_embedding(arguments, message):
    with pytest.raises(ValueError, match=message):
        fb.Embedding(*arguments)


def test_ids_may_be_rearranged_before_they_are_read_but_not_reckoned_with():
    ids = fb.Input(4, dtype="int64")
    moved = np.concatenate([ids[:, 2:], ids[:, :1]], axis=1)
    net = fb.Network(ids, fb.Flatten()(fb.Embedding(N, C)(moved)), dtype="float64", seed=0)
    assert net.graph.among == {ids: range(N), **{t: range(N) for t in net.graph.among if t is not ids}}
    x = np.arange(8).reshape(2, 4)
    np.testing.assert_array_equal(net.predict(x), net.params["0.weight"][x[:, [2, 3, 0]]].reshape(2, -1))
    with pytest.raises(ValueError, match="x has 11 in row 1; expected integers from 0 to 10"):
        net.predict([[0, 0, 0, 0], [0, 0, 0, 11]])
    with pytest.raises(ValueError, match="is read as integers below 11; only those that an input holds"):
        fb.Network(ids, fb.Flatten()(fb.Embedding(N, C)(ids + 1)))


def test_the_tightest_limit_counts():
    ids = fb.Input(2, dtype="int64")
    outputs = [fb.Flatten()(fb.Embedding(n, C)(ids)) for n in (9, 4, 7)]
    assert fb.Network(ids, outputs).graph.among == {ids: range(4)}


# ---- the border ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [
    lambda x: x, lambda x: x.tolist(), lambda x: x.astype("int32"), lambda x: x.astype("uint8"),
    lambda x: x.astype("uint64"), np.asfortranarray, lambda x: x[::-1][::-1], lambda x: x.astype(">i8"),
], ids=["int64", "list", "int32", "uint8", "uint64", "columns", "reversed", "big endian"])
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_integers_of_any_form(form, backend):
    net = simple(backend=backend)
    x = np.random.default_rng(0).integers(0, N, (5, 3))
    whole = net.predict(x)
    for _ in range(2):
        np.testing.assert_array_equal(net.predict(form(x)), whole)
    y = np.zeros((5, 2))
    losses = [fb.Trainer(simple(backend=backend), fb.MSE(), fb.SGD(0.1)).step(a, y) for a in (x, form(x))]
    assert losses[0] == losses[1]


def test_truth_values_are_0_and_1():
    x = np.array([[True, False, True]])
    np.testing.assert_array_equal(simple().predict(x), simple().predict(x.astype(int)))


REFUSED = [
    (lambda: np.ones((2, 3)), TypeError, 'x has dtype float64; expected integers, such as ids: convert it with '
                                         '.astype("int64")'),
    (lambda: np.array([["a", "b", "c"]]), TypeError, "x has dtype <U1; expected real numbers (number them from 0"),
    (lambda: np.full((1, 3), 2**64 - 1, np.uint64), ValueError, "x has 18446744073709551615, which int64 cannot hold"),
    (lambda: [[0, 1, 2], [0, -1, 2]], ValueError, "x has -1 in row 1; expected integers from 0 to 10"),
    (lambda: [[0, 1, 11]], ValueError, "x has 11 in row 0; expected integers from 0 to 10"),
    (lambda: [[0, 1]], ValueError, "x has shape (1, 2); expected (B, 3)"),
    (lambda: np.ma.masked_equal([[0, 1, 2]], 1), ValueError, "x is a masked array with 1 values left out"),
]


@pytest.mark.parametrize(("make", "kind", "message"), REFUSED, ids=[message[:40] for _, _, message in REFUSED])
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_what_is_no_id_is_refused_everywhere_and_changes_nothing(make, kind, message, backend):
    net = simple(backend=backend)
    good = np.zeros((2, 3), np.int64)
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam(0.1))
    trainer.step(good, np.zeros((2, 2)))
    net.predict(good)
    before = net.params.flat.copy()
    x = make()
    y = np.zeros((len(x), 2))
    calls = [lambda: net.predict(x), lambda: net.forward(x, training=True), lambda: net.loss(x, y, fb.MSE()),
             lambda: net.loss_and_grad(x, y, fb.MSE()), lambda: trainer.step(x, y), lambda: trainer.evaluate(x, y),
             lambda: trainer.fit(x, y, progress=False)]
    for call in calls:
        with pytest.raises(kind, match=re.escape(message)):
            call()
    np.testing.assert_array_equal(net.params.flat, before)
    assert net.memory.step == 1


def test_several_inputs_are_named():
    (ids, other, real), y = batch(4)
    other[2, 1, 0] = N
    with pytest.raises(ValueError, match=re.escape("x[1] has 11 in row 2; expected integers from 0 to 10")):
        network().loss((ids, other, real), y, fb.MSE())


# ---- arrays that change while they are in use ----------------------------------------------------------------------


class _Change(fb.callbacks.Callback):
    """Writes an id that there is not into the data set after a mini-batch."""

    def __init__(self, x, value):
        self._x, self._value = x, value

    def on_batch_end(self, trainer, batch):
        if batch == 2:
            self._x[...] = self._value


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("value", [N, -1, 2**62, -2**63])
def test_ids_that_change_while_they_are_trained_on_are_an_error(value, shuffle):
    net = simple()
    x = np.random.default_rng(0).integers(0, N, (64, 3))
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(0.01))
    with pytest.raises(ValueError, match="changed while it was in use"):
        trainer.fit(x, np.zeros((64, 2)), batch_size=8, shuffle=shuffle, progress=False,
                    callbacks=[_Change(x, value)])
    assert np.isfinite(net.params.flat).all()
    assert np.isfinite(trainer.step(x * 0, np.zeros((64, 2))))


def test_another_thread_may_write_ids_at_any_time():
    """Neither a crash nor an address that an id out of range would make; errors are fine."""
    net, rng = simple(), np.random.default_rng(0)
    x = rng.integers(0, N, (512, 3))
    y = np.zeros((512, 2))
    trainer = fb.Trainer(net, fb.MSE(), fb.SGD(1e-4))
    done, messages = threading.Event(), set()

    def write():
        while not done.is_set():
            x[:] = 2**60
            x[:] = 3

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            for call in (lambda: net.predict(x), lambda: trainer.step(x, y),
                         lambda: trainer.fit(x, y, batch_size=64, progress=False)):
                try:
                    call()
                except ValueError as error:
                    messages.add(str(error))
    finally:
        done.set()
        writer.join()
    assert np.isfinite(net.params.flat).all()
    assert not [m for m in messages if not re.search("expected integers|changed while", m)]


def test_labels_that_change_in_a_custom_layer_of_ids():
    class Spoil(fb.CustomLayer):
        """Passes real numbers on, and is handed ids that it may not write to."""

        def input_dtype(self, index):
            return "int64" if index == 1 else "real"

        def forward(self, ctx, x, ids):
            with pytest.raises(ValueError, match="read-only"):
                ids[...] = 10**12
            return x

        def backward(self, ctx, dy):
            return dy, None

    ids, real = fb.Input(3, dtype="int64"), fb.Input(3 * C)
    net = fb.Network([ids, real], fb.Add()(Spoil()(real, ids), fb.Flatten()(fb.Embedding(N, C)(ids))), seed=0)
    x = np.zeros((4, 3), int), np.ones((4, 3 * C))
    assert np.isfinite(net.loss_and_grad(x, np.zeros((4, 3 * C)), fb.MSE()))


# ---- the numbers ---------------------------------------------------------------------------------------------------


OPTIMIZERS = {"sgd": lambda: fb.SGD(0.05, momentum=0.9), "adam": lambda: fb.AdamW(0.01, weight_decay=0.1)}


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.1}])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_follows_the_reference(optimizer, clip):
    x, y = batch(50)
    weights = []
    for backend in ("native", "reference"):
        net = network(backend)
        trainer = fb.Trainer(net, fb.MSE(), OPTIMIZERS[optimizer](), **clip)
        trainer.fit(x, y, epochs=3, batch_size=8, progress=False)
        trainer.step(tuple(a[:5] for a in x), y[:5])
        weights.append(net.params.flat.copy())
    np.testing.assert_allclose(*weights, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("embedding", [fb.Embedding(300, 70), fb.Embedding(300, 3, padding_idx=7),
                                       fb.Embedding(300, 5, trainable=False)], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_those_of_one_hot_vectors(embedding, dtype):
    rng = np.random.default_rng(0)
    ids = np.minimum(rng.geometric(0.02, (200, 9)) - 1, 299)
    net = fb.Sequential(fb.Input(9, dtype="int64"), embedding, dtype=dtype, seed=0)
    dy = rng.standard_normal((200, 9, embedding.embedding_dim))
    y = net.forward(ids, training=True)
    assert net.backward(dy) is None
    one_hot = np.eye(300)[ids]
    if embedding.padding_idx is not None:
        one_hot[..., embedding.padding_idx] = 0
    np.testing.assert_allclose(y, one_hot @ net.params["0.weight"], rtol=1e-6)
    expected = np.einsum("btv,btc->vc", one_hot, dy) * embedding.trainable
    np.testing.assert_allclose(net.grads["0.weight"], expected, rtol=1e-5, atol=2e-5 if dtype == "float32" else 1e-12)


def test_bits_do_not_depend_on_threads_or_on_updates_in_place():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5000, (600, 3)), rng.standard_normal((600, 2)).astype("float32")
    results = []

    def large():
        layers = fb.Embedding(5000, 20), fb.Flatten(), fb.Linear(None, 2)
        return fb.Sequential(fb.Input(3, dtype="int64"), *layers, seed=0)

    before = fb.get_num_threads()
    try:
        for threads in (1, 2, 5):
            fb.set_num_threads(threads)
            fb.engine.native.set_fork_cost(0)
            net = large()
            trainer = fb.Trainer(net, fb.MSE(), fb.Adam(0.01))
            trainer.fit(x, y, epochs=2, batch_size=100, shuffle=False, progress=False)
            for _ in range(2):
                for i in range(0, 600, 100):       # updates after the gradients
                    trainer.step(x[i:i + 100], y[i:i + 100])
            results.append(net.params.flat.tobytes())
        twice = large()
        fb.Trainer(twice, fb.MSE(), fb.Adam(0.01)).fit(x, y, epochs=4, batch_size=100, shuffle=False, progress=False)
        results.append(twice.params.flat.tobytes())
    finally:
        fb.set_num_threads(before)
        fb.engine.native.set_fork_cost(None)
    assert results[1:] == results[:1] * 3


def test_integers_have_no_gradient():
    x, y = batch(4)
    for backend in ("native", "reference"):
        net = network(backend)
        net.loss_and_grad(x, y, fb.MSE())
        assert [g is None for g in net.input_grads] == [True, True, False]
        net.forward(x, training=True)
        dxs = net.backward(y)
        assert [g is None for g in dxs] == [True, True, False]
        assert dxs[2].shape == (4, 4)


def test_a_function_as_loss_over_ids():
    (ids, _, _), y = batch(6)
    nets = [simple(dtype="float64", backend=backend) for backend in ("native", "reference")]
    losses = [net.loss_and_grad(ids, y, lambda p, t: np.mean((p - t) ** 2)) for net in nets]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert losses[0] == pytest.approx(nets[0].loss_and_grad(ids, y, fb.MSE()), rel=1e-12)
    assert nets[1].input_grads == (None,)


# ---- parameters that no gradient reaches ---------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1.0}])
def test_what_no_gradient_reaches_is_updated_with_0(clip):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 4)), rng.standard_normal((16, 2))
    weights = []
    for backend in ("native", "reference"):
        a = fb.Input(4)
        h = fb.stop_gradient(fb.Linear(4, 3)(a))
        net = fb.Network(a, fb.Linear(None, 2)(fb.Concat()(h, a)), backend=backend, dtype="float64", seed=0)
        net.grads.flat[...] = 7
        trainer = fb.Trainer(net, fb.MSE(), fb.SGD(0.1, weight_decay=0.1), **clip)
        trainer.fit(x, y, epochs=2, batch_size=8, progress=False)
        weights.append(net.params.flat.copy())
    np.testing.assert_allclose(*weights, rtol=1e-12)


# ---- those who look on ---------------------------------------------------------------------------------------------


def test_gradcheck_says_that_integers_have_none():
    x, y = batch(3)
    report = fb.gradcheck(network("reference"), x, y, fb.MSE())
    assert report
    assert report.integers == ("ids", "input1")
    assert "integers, which have no gradient: ids, input1" in str(report)
    assert {t.name for t in report.tensors} >= {"0.weight", "input2"}
    assert fb.gradcheck(network("native"), x, y, fb.MSE(), directions=2)


def test_reports_name_the_dtype():
    net = network()
    assert re.search(r"ids +\(B, 3\) int64", net.summary())
    assert repr(net).startswith("Network((B, 3) int64 → (B, 2, 2) int64 → (B, 4) → (B, 2), ")
    assert "(B, 3) int64" in net._repr_html_()
    x, y = batch(4)
    report = net.verify(x, y, fb.MSE())
    assert report.ok, str(report)
    assert net.activations(x)["ids"].dtype == np.int64


def test_explanations_go_through_an_embedding():
    ids = np.array([[0, 3, 5], [1, 1, 2]])
    net = fb.Sequential(fb.Input(3, dtype="int64"), fb.Embedding(N, 2), fb.Flatten(), fb.Linear(6, 1), dtype="float64",
                        seed=0, backend="reference")
    told = net.explain(ids, [[0.5], [1.0]], fb.MSE(), weight="2.weight[0, 0]")
    net.loss_and_grad(ids, [[0.5], [1.0]], fb.MSE())
    assert told.gradient == pytest.approx(net.grads["2.weight"][0, 0])


def test_a_network_with_ids_is_saved_copied_and_pickled(tmp_path):
    net = network(dtype="float32")
    x, _ = batch(5)
    net.save(tmp_path / "net.safetensors")
    loaded = fb.load(tmp_path / "net.safetensors")
    assert [t.dtype for t in loaded.graph.inputs] == ["int64", "int64", "real"]
    for other in (loaded, net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other.predict(x), net.predict(x))
        with pytest.raises(TypeError, match="expected integers"):
            other.predict((x[0] + 0.5, x[1], x[2]))


# Written by fastbp with format version 1: Sequential(Linear(2, 1)), weights 0.5 and -1, bias 2.
VERSION_1 = (
    "6AIAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmYXN0YnAiOiJ7XCJmb3JtYXRfdmVyc2lvblwiOiAxLCBcIndyaXR0ZW5fYnlcIjogXCJmYXN0Yn"
    "AgMC4xLjBcIiwgXCJuZXR3b3JrXCI6IHtcInR5cGVcIjogXCJTZXF1ZW50aWFsXCIsIFwiZHR5cGVcIjogXCJmbG9hdDMyXCIsIFwiY29tcHV0"
    "ZV9kdHlwZVwiOiBcImZsb2F0MzJcIiwgXCJzZWVkXCI6IDAsIFwic3RlcFwiOiAwLCBcImlucHV0c1wiOiBbe1wic2hhcGVcIjogWzJdLCBcIm"
    "5hbWVcIjogXCJcIn1dLCBcImxheWVyc1wiOiBbe1widHlwZVwiOiBcIkxpbmVhclwiLCBcIm5hbWVcIjogXCIwXCIsIFwibmFtZWRcIjogZmFs"
    "c2UsIFwidHJhaW5hYmxlXCI6IHRydWUsIFwiYXJndW1lbnRzXCI6IHtcImluX2ZlYXR1cmVzXCI6IDIsIFwib3V0X2ZlYXR1cmVzXCI6IDEsIF"
    "wiYmlhc1wiOiB0cnVlfX1dLCBcImNhbGxzXCI6IFt7XCJsYXllclwiOiAwLCBcImlucHV0c1wiOiBbMF19XSwgXCJvdXRwdXRzXCI6IFsxXSwg"
    "XCJzaW5nbGVfaW5wdXRcIjogdHJ1ZSwgXCJzaW5nbGVfb3V0cHV0XCI6IHRydWV9LCBcInNoYTI1NlwiOiBcIjZhNjFjZmE1MTczYTA5YjFlMD"
    "AxZTZlOTc1ZmRmODdhOGI4MThiZWZkYWEwZTgzNmE2OGQ1ZWY0YmZjZTk3MzFcIn0ifSwiMC5iaWFzIjp7ImR0eXBlIjoiRjMyIiwic2hhcGUi"
    "OlsxXSwiZGF0YV9vZmZzZXRzIjpbMCw0XX0sIjAud2VpZ2h0Ijp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyLDFdLCJkYXRhX29mZnNldHMiOl"
    "s0LDEyXX19ICAAAABAAAAAPwAAgL8=")


def test_files_of_the_first_format_are_read(tmp_path):
    (tmp_path / "old.safetensors").write_bytes(base64.b64decode(VERSION_1))
    net = fb.load(tmp_path / "old.safetensors")
    assert net.predict([[4.0, 1.0]]).tolist() == [[3.0]]


# ---- layers of your own --------------------------------------------------------------------------------------------


class Pick(fb.CustomLayer):
    """y = x at the places that the ids say."""

    def input_dtype(self, index):
        return "int64" if index == 1 else "real"

    def output_shape(self, x, ids):
        return ids

    def forward(self, ctx, x, ids):
        assert ids.dtype == np.int64
        return np.take_along_axis(x, ids, axis=1)

    def backward(self, ctx, dy):
        x, ids = ctx.inputs
        dx = np.zeros_like(x)
        for row, (i, d) in enumerate(zip(ids, dy, strict=True)):
            np.add.at(dx[row], i, d)
        return dx, None


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_layer_of_your_own_takes_integers(backend):
    assert Pick().gradcheck((4,), (3,)).ok
    x, ids = fb.Input(4), fb.Input(3, dtype="int64")
    net = fb.Network([x, ids], fb.Linear(3, 1)(Pick()(x, ids)), backend=backend, dtype="float64", seed=0)
    values = np.arange(8.0).reshape(2, 4), np.array([[0, 3, 3], [1, 1, 2]])
    picked = np.array([[0.0, 3, 3], [5, 5, 6]])
    np.testing.assert_allclose(net.predict(values), picked @ net.params["1.weight"] + net.params["1.bias"])
    assert fb.gradcheck(net, values, np.zeros((2, 1)), fb.MSE())
