"""Networks on sparse matrices: what dense ones give, from what is not 0 alone."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

import fastbp as fb
from fastbp.core.sparse import sparse_rows
from fastbp.engine import native
from fastbp.ops.base import Context
from fastbp.ops.sparse_linear import SparseLinearOp

sparse = pytest.importorskip("scipy.sparse")

BACKENDS = ("native", "reference")
DTYPES = ("float32", "float64")
LOSS = fb.CrossEntropy()


def data(rows=90, features=41, density=0.12, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, features)) * (rng.random((rows, features)) < density)
    x[3] = 0
    return sparse.csr_matrix(x), rng.integers(0, 3, rows)


def network(hidden=(19,), activation=fb.Tanh, features=41, **options):
    sizes, layers = (features, *hidden), []
    for i, o in pairwise(sizes):
        layers += [fb.Linear(i, o), activation()]
    return fb.Sequential(*layers, fb.Linear(sizes[-1], 3), **{"seed": 0, **options})


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix, sparse.csr_array,
                                  sparse.lil_matrix])
def test_all_kinds_of_sparse_matrices(form):
    x, _ = data()
    np.testing.assert_allclose(network().predict(form(x)), network().predict(x.toarray()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_goes_back_after_forward_is_what_the_dense_matrix_has(backend):
    x, _ = data(rows=128, features=400)
    dy = np.random.default_rng(2).standard_normal((128, 3))
    net, dense = (network(features=400, dtype="float64", backend=b) for b in (backend, "reference"))
    dense.forward(x.toarray(), training=True)
    dense.backward(dy)
    for _ in range(2):
        net.forward(x.copy(), training=True)
        rubbish = [np.full(x.nnz, 7) for _ in range(8)]     # in the place of what forward let go of
        net.backward(dy)
        np.testing.assert_allclose(net.grads.flat, dense.grads.flat, rtol=1e-12, atol=1e-12)
        net.backward(dy, accumulate=True)
        np.testing.assert_allclose(net.grads.flat, 2 * dense.grads.flat, rtol=1e-12, atol=1e-12)
        del rubbish


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("activation", [fb.ReLU, fb.Tanh, fb.GELU, fb.Identity])
@pytest.mark.parametrize("hidden", [(), (1,), (19,), (200, 5)])
def test_loss_and_gradients_are_those_of_the_dense_matrix(hidden, activation, backend, dtype):
    x, y = data()
    weight = np.random.default_rng(1).random(len(y))
    net = network(hidden, activation, dtype=dtype, backend=backend)
    dense = network(hidden, activation, dtype="float64", backend="reference")
    dense.params.flat[...] = net.params.flat
    expected = dense.loss_and_grad(x.toarray(), y, LOSS, weight)
    relative = 1e-12 if dtype == "float64" else 1e-5
    assert net.loss_and_grad(x, y, LOSS, weight) == pytest.approx(expected, rel=relative)
    np.testing.assert_allclose(net.grads.flat, dense.grads.flat, rtol=relative, atol=relative)
    assert net.input_grads == (None,)
    np.testing.assert_allclose(net.predict(x), dense.predict(x.toarray()), rtol=relative, atol=relative)


def test_the_op_is_right_by_central_differences():
    x, _ = data(7, 11, 0.3)
    rows, op = sparse_rows("x", x, "float64"), SparseLinearOp(11, 4)
    rng = np.random.default_rng(0)
    params = {"weight": rng.standard_normal((11, 4)), "bias": rng.standard_normal(4)}
    dy = rng.standard_normal((7, 4))
    np.testing.assert_allclose(op.forward(Context(), rows, **params), x.toarray() @ params["weight"] + params["bias"],
                               rtol=1e-13)
    found = op.backward(Context(inputs=(rows,), params=params), dy)[1]
    expected = fb.numerical_gradient(lambda p: (dy * op.forward(Context(), rows, **p)).sum(), params)
    for role in params:
        np.testing.assert_allclose(found[role], expected[role], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck_takes_sparse_matrices(backend):
    x, y = data(8)
    assert fb.gradcheck(network(dtype="float64", backend=backend), x, y, LOSS).ok


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}, {"clip_value": 0.01}])
@pytest.mark.parametrize("optimizer", [lambda: fb.Adam(0.01), lambda: fb.SGD(0.1, momentum=0.9, weight_decay=0.01)])
def test_training_is_that_of_the_dense_matrix(optimizer, options):
    x, y = data()
    results = []
    for given, backend in ((x, "native"), (x, "reference"), (x.toarray(), "native")):
        net = network(dtype="float64", backend=backend)
        trainer = fb.Trainer(net, LOSS, optimizer(), **options)
        trainer.fit(given, y, epochs=3, batch_size=16, validation_data=(given, y), progress=False)
        for _ in range(3):
            trainer.step(given[:20], y[:20])
        results.append((net.params.flat.copy(), *trainer.history["loss"], *trainer.history["val_loss"],
                        trainer.evaluate(given, y)["accuracy"]))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_one_network_takes_dense_and_sparse_in_turn():
    x, y = data()
    dense, mixed = (network(dtype="float64") for _ in range(2))
    trainers = [fb.Trainer(net, LOSS, fb.Adam(0.01)) for net in (dense, mixed)]
    for step in range(8):
        rows = slice(10 * step, 10 * step + 9)
        trainers[0].step(x[rows].toarray(), y[rows])
        trainers[1].step(x[rows] if step % 2 else x[rows].toarray(), y[rows])
        np.testing.assert_allclose(mixed.predict(x if step % 3 else x.toarray()), dense.predict(x.toarray()), rtol=1e-9,
                                   atol=1e-12)


def test_batches_of_sparse_rows():
    x, y = data()
    nets = [network(dtype="float64") for _ in range(2)]
    fb.Trainer(nets[0], LOSS, fb.Adam(0.01)).fit(x, y, epochs=2, batch_size=30, shuffle=False, progress=False)
    batches = [(x[i:i + 30], y[i:i + 30]) for i in range(0, 90, 30)]
    fb.Trainer(nets[1], LOSS, fb.Adam(0.01)).fit(batches, epochs=2, progress=False)
    np.testing.assert_array_equal(nets[0].params.flat, nets[1].params.flat)
    np.testing.assert_array_equal(nets[0].predict(b for b, _ in batches), nets[0].predict(x))


def test_sparse_beside_dense_inputs():
    x, y = data()
    others = np.random.default_rng(0).standard_normal((90, 4))
    a, b = fb.Input(41), fb.Input(4)
    h = fb.Concat()(fb.Linear(41, 6)(a), b)
    net = fb.Network([a, b], fb.Linear(10, 3)(h), dtype="float64", seed=0)
    expected = net.loss_and_grad((x.toarray(), others), y, LOSS, input_grads=True)
    gradients, slope = net.grads.flat.copy(), net.input_grads[1]
    assert net.loss_and_grad((x, others), y, LOSS, input_grads=True) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(net.grads.flat, gradients, rtol=1e-10, atol=1e-13)
    assert net.input_grads[0] is None
    np.testing.assert_allclose(net.input_grads[1], slope, rtol=1e-10, atol=1e-13)


def test_entries_may_stand_in_any_order_and_more_than_once():
    columns, values, starts = np.array([4, 1, 4, 0]), np.array([1.0, 2.0, 0.5, -3.0]), np.array([0, 3, 3, 4])
    x = sparse.csr_matrix((values, columns, starts), shape=(3, 5))
    net = network(features=5, dtype="float64")
    np.testing.assert_allclose(net.predict(x), net.predict([[0, 2, 0, 0, 1.5], [0] * 5, [-3, 0, 0, 0, 0]]), rtol=1e-13)
    assert x.indices.tolist() == [4, 1, 4, 0]      # the user's own matrix is as it was


def test_what_is_changed_later_changes_nothing():
    x, _ = data()
    rows = sparse_rows("x", x, "float64")
    x.data[...], x.indices[...] = 7, 0
    assert not (rows.values == 7).any()
    assert rows.columns.any()


def test_bits_do_not_depend_on_threads_or_on_how_rows_are_cut():
    x, y = data(300, 3000, 0.02)
    results, before = [], fb.get_num_threads()
    try:
        for threads in (1, 2, 5):
            fb.set_num_threads(threads)
            native.set_fork_cost(0)
            net = network((70,), features=3000)
            fb.Trainer(net, LOSS, fb.Adam(0.01)).fit(x, y, epochs=2, batch_size=100, progress=False)
            results.append(net.params.flat.tobytes() + net.predict(x).tobytes())
            results.append(net.params.flat.tobytes() + net.predict(x, batch_size=7).tobytes())
    finally:
        fb.set_num_threads(before)
        native.set_fork_cost(None)
    assert len(set(results)) == 1


def test_the_dense_matrix_is_never_made():
    x = sparse.random(3000, 20000, density=0.0005, random_state=0, format="csr", dtype=np.float32)
    y = np.arange(3000) % 3
    net = network((4,), features=20000)
    trainer = fb.Trainer(net, LOSS, fb.Adam(0.01))
    tracemalloc.start()
    try:
        trainer.fit(x, y, epochs=1, validation_data=(x, y), progress=False)
        net.predict(x)
        net.loss_and_grad(x, y, LOSS)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 3000 * 20000 * 4 / 20


def test_a_column_that_is_none_is_no_address():
    x, y = data()
    net = network()
    rows = sparse_rows("x", x, "float32")
    rows.columns[5] = 2**40
    with pytest.raises(ValueError, match="changed while it was in use"):
        net.predict(rows)
    rows.columns[5] = -1
    with pytest.raises(ValueError, match="changed while it was in use"):
        net.loss_and_grad(rows, y, LOSS)
    rows.columns[5] = 0
    rows[0, 1] = 2**40
    with pytest.raises(ValueError, match="changed while it was in use"):
        net.predict(rows)


def broken(**parts):
    x, _ = data()
    for name, value in parts.items():
        setattr(x, name, value)
    return x


@pytest.mark.parametrize(("x", "error", "message"), [
    (data()[0][:, :40], ValueError, r"x has shape \(90, 40\); expected \(B, 41\)"),
    (data()[0].astype(complex), TypeError, "x is a sparse matrix of dtype complex128; expected real numbers"),
    (broken(indices=np.full_like(data()[0].indices, 41)), ValueError, "indptr and indices do not fit its shape"),
    (broken(indptr=data()[0].indptr[::-1].copy()), ValueError, "indptr and indices do not fit its shape"),
    (sparse.csr_matrix(([1.0, np.nan], ([0, 2], [0, 7])), shape=(4, 41)), ValueError,
     "x has nan in row 2, column 7; expected finite numbers of float32"),
    (sparse.csr_matrix(([1e300], ([3], [1])), shape=(4, 41)), ValueError, "x has inf in row 3, column 1")])
def test_matrices_that_do_not_fit(x, error, message):
    with pytest.raises(error, match=message):
        network().predict(x)


@pytest.mark.parametrize(("layer", "what"), [(fb.Dropout(0.5), "0.dropout reads it"),
                                             (fb.LayerNorm(41), "0.layer_norm")])
def test_only_linear_layers_read_sparse_rows(layer, what):
    net = fb.Sequential(fb.Input(41), layer, fb.Linear(41, 2))
    with pytest.raises(ValueError, match=rf"x is sparse, but {what}.*make it dense with x.toarray\(\)"):
        net.predict(data()[0])


def test_products_in_bfloat16_are_for_dense_arrays():
    net = network(compute_dtype="bfloat16", backend="reference")
    with pytest.raises(ValueError, match="x is sparse, and the network multiplies in bfloat16"):
        net.predict(data()[0])


def test_no_rows():
    assert network().predict(sparse.csr_matrix((0, 41))).shape == (0, 3)


@pytest.mark.parametrize("shape", [(5, 2)])
def test_two_features_are_not_taken_for_where_rows_begin_and_end(shape):
    x = sparse.random(*shape, density=0.5, random_state=0, format="csr")
    net = network(features=2)
    np.testing.assert_allclose(net.predict(x), net.predict(x.toarray()), rtol=1e-6)
    np.testing.assert_allclose(net.sized(x).predict(x), net.predict(x.toarray()), rtol=1e-6)
    with pytest.raises((ValueError, TypeError)):
        net.sized(x).predict(np.array([[0, 10**9]]))
