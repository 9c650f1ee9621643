"""Optimizers with ``lazy=True``: only rows of a table whose gradient is not 0 are updated."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import backends
from thread_ranks import run

import fastbp as fb
from fastbp.ops.embedding import EmbeddingOp

each_backend = pytest.mark.parametrize("backend", backends())
ROWS, TABLE, DIM, COLUMNS, BATCH = 46, 30, 5, 3, 8
RNG = np.random.default_rng(0)
IDS = RNG.integers(0, TABLE, (ROWS, COLUMNS))
IDS[::4, 1] = IDS[::4, 0]           # ids that a row has twice
Y = RNG.standard_normal((ROWS, 2))
OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda **k: fb.SGD(0.1, 0.9, weight_decay=0.05, **k),
    "nesterov": lambda **k: fb.SGD(0.1, 0.9, True, **k),
    "adam": lambda **k: fb.Adam(0.02, **k),
    "adamw": lambda **k: fb.AdamW(0.02, weight_decay=0.1, **k),
    "rmsprop": lambda **k: fb.RMSprop(0.02, momentum=0.5, **k),
    "adagrad": lambda **k: fb.Adagrad(0.1, **k),
    "lion": lambda **k: fb.Lion(0.01, weight_decay=0.1, **k),
    "a rate of its own": lambda **k: fb.Adam(0.02, groups={"table.*": {"lr": 0.01, "weight_decay": 0.1}}, **k),
}


def network(backend: Any, dtype: str = "float64", **options: Any) -> fb.Sequential:
    return fb.Sequential(fb.Input(COLUMNS, dtype="int64"), fb.Embedding(TABLE, DIM, name="table", **options),
                         fb.Flatten(), fb.Linear(COLUMNS * DIM, 2), dtype=dtype, seed=0, backend=backend)


def batches(rows: int = ROWS, epochs: int = 2) -> list[slice]:
    return [slice(i, i + BATCH) for i in range(0, rows, BATCH)] * epochs


def lazy_adam(tables: np.ndarray, weight: np.ndarray, bias: np.ndarray, lr: float, clip: float | None) -> np.ndarray:
    """Train a table and a linear layer by NumPy alone: Adam, of the table on rows that the batch names."""
    state = [(np.zeros_like(a), np.zeros_like(a)) for a in (tables, weight, bias)]
    for step, part in enumerate(batches(), 1):
        ids, y = IDS[part], Y[part]
        x = tables[ids].reshape(len(ids), -1)
        dy = 2 * (x @ weight + bias - y) / y.size
        grads = [np.zeros_like(tables), x.T @ dy, dy.sum(axis=0)]
        for row, given in zip(ids, (dy @ weight.T).reshape(len(ids), COLUMNS, DIM), strict=True):
            for i, d in zip(row, given, strict=True):
                grads[0][i] += d
        norm = np.sqrt(sum((g * g).sum() for g in grads))
        if clip is not None and norm > clip:
            grads = [g * (clip / norm) for g in grads]
        touched: list[Any] = [np.unique(ids), slice(None), slice(None)]
        for p, g, (m, v), rows in zip((tables, weight, bias), grads, state, touched, strict=True):
            m[rows] = 0.9 * m[rows] + 0.1 * g[rows]
            v[rows] = 0.999 * v[rows] + 0.001 * g[rows] ** 2
            p[rows] -= lr * (m[rows] / (1 - 0.9**step)) / (np.sqrt(v[rows] / (1 - 0.999**step)) + 1e-8)
    return tables


@each_backend
@pytest.mark.parametrize(("by", "clip"), [("fit", None), ("fit", 0.2), ("step", None), ("step", 0.2), ("hand", None),
                                          ("mixed", None), ("mixed", 0.2)])
def test_lazy_adam_is_that_of_numpy(by: str, clip: float | None, backend: Any) -> None:
    net = network(backend)
    expected = lazy_adam(*(p.copy() for p in net.params.values()), 0.02, clip)
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam(0.02, lazy=True), clip_norm=clip)
    if by == "fit":
        trainer.fit(IDS, Y, epochs=2, batch_size=BATCH, shuffle=False)
    for i, part in enumerate(batches() if by != "fit" else []):
        if by == "hand" or (by == "mixed" and i % 3 == 1):
            net.loss_and_grad(IDS[part], Y[part], fb.MSE())
            net._apply_update(trainer.update, 0.02)
        else:
            trainer.step(IDS[part], Y[part])
            assert set(np.flatnonzero(net.grads["table.weight"].any(axis=1))) == set(IDS[part].flat)
    np.testing.assert_allclose(net.params["table.weight"], expected, rtol=1e-9, atol=1e-12)
    assert trainer.update.step == 12


@pytest.mark.skipif(backends() == ["reference"], reason="there are no kernels")
@pytest.mark.parametrize("limits", [{}, {"clip_norm": 0.1}, {"clip_value": 0.01}], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_backends_agree(name: str, dtype: str, limits: Any) -> None:
    nets = {b: network(b, dtype, padding_idx=3) for b in backends()}
    for net in nets.values():
        trainer = fb.Trainer(net, fb.MSE(), OPTIMIZERS[name](lazy=True), **limits)
        trainer.fit(IDS, Y, epochs=2, batch_size=BATCH)
        trainer.step(IDS[:5], Y[:5])
        trainer.fit(IDS, Y, epochs=1, batch_size=BATCH, accumulate=2)
        assert np.isfinite(net.params.flat).all()
    tolerance = 2e-3 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(nets["native"].params.flat, nets["reference"].params.flat, tolerance, tolerance)


@each_backend
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_that_no_id_names_stay(name: str, backend: Any) -> None:
    net = network(backend)
    trainer = fb.Trainer(net, fb.MSE(), OPTIMIZERS[name](lazy=True))
    trainer.fit(IDS, Y, epochs=1, batch_size=BATCH)
    before, state = net.params["table.weight"].copy(), [s[:TABLE * DIM].copy() for s in trainer.update.state]
    trainer.fit(IDS % 4, Y, epochs=1, batch_size=BATCH)
    trainer.step(IDS[:6] % 4, Y[:6])
    np.testing.assert_array_equal(net.params["table.weight"][4:], before[4:])
    for s, old in zip(trainer.update.state, state, strict=True):
        np.testing.assert_array_equal(s[4 * DIM:TABLE * DIM], old[4 * DIM:])
    assert (net.params["table.weight"][:4] != before[:4]).all()
    assert not net.grads["table.weight"][4:].any()


@each_backend
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_lazy_is_not_the_default(name: str, backend: Any) -> None:
    made = []
    for options in ({}, {"lazy": False}, {"lazy": True}):
        net = network(backend)
        fb.Trainer(net, fb.MSE(), OPTIMIZERS[name](**options)).fit(IDS, Y, epochs=2, batch_size=BATCH)
        made.append(net.params["table.weight"].copy())
    np.testing.assert_array_equal(made[0], made[1])
    assert abs(made[0] - made[2]).max() > 1e-3


@each_backend
@pytest.mark.parametrize("make", [
    lambda ids: fb.Embedding([TABLE, 9, TABLE], DIM, name="table")(ids),
    lambda ids: fb.Flatten()(fb.Embedding(TABLE, DIM, 0, mode="mean", name="table")(ids)),
    lambda ids: (lambda t: fb.Add()(fb.Flatten()(t(ids)), fb.Flatten()(t(ids[:, ::-1]))))(
        fb.Embedding(TABLE, DIM, name="table")),
], ids=["columns", "bag", "two uses"])
@pytest.mark.parametrize("checked", [False, True])
def test_columns_bags_and_tables_used_twice(make: Any, checked: bool, backend: Any) -> None:
    ids, nets = IDS % 9, []
    for b in (backend, "reference"):
        x = fb.Input(COLUMNS, dtype="int64")
        nets.append(fb.Network(x, fb.Linear(None, 2)(make(x)), seed=0, dtype="float64", backend=b))
        trainer = fb.Trainer(nets[-1], fb.MSE(), fb.Adam(0.05, lazy=True), clip_norm=1.0 if checked else None)
        before = nets[-1].params["table.weight"].copy()
        trainer.fit(ids, Y, epochs=2, batch_size=BATCH)
        stayed = (nets[-1].params["table.weight"] == before).all(axis=1)
        assert stayed.any()
        assert not stayed.all()
    np.testing.assert_allclose(nets[0].params.flat, nets[1].params.flat, 1e-9, 1e-12)


@each_backend
def test_ranks_are_one_process(backend: Any) -> None:
    def script(comm: Any) -> Any:
        net = network(backend)
        trainer = fb.Trainer(net, fb.MSE(), fb.Adam(0.02, lazy=True), comm=comm)
        trainer.fit(IDS, Y, epochs=2, batch_size=BATCH, progress=False)
        return net.params.flat.copy()
    alone = script(None)
    for params in run(2, script):
        np.testing.assert_allclose(params, alone, 1e-10, 1e-12)


@each_backend
@pytest.mark.parametrize("spoilt", [1e200, 1e160])
def test_divergence_goes_back_to_the_last_good_step(spoilt: float, backend: Any) -> None:
    bad = Y.copy()
    bad[25] = spoilt
    net, other = network(backend), network(backend)
    trainer, by_steps = (fb.Trainer(n, fb.MSE(), fb.Adam(0.02, lazy=True)) for n in (net, other))
    with pytest.raises(fb.DivergenceError, match="batch 4"):
        trainer.fit(IDS, bad, batch_size=BATCH, shuffle=False)
    for part in batches()[:3]:
        by_steps.step(IDS[part], Y[part])
    np.testing.assert_allclose(net.params.flat, other.params.flat, 1e-12, 1e-14)
    trainer.fit(IDS, Y, epochs=1, batch_size=BATCH, shuffle=False)
    by_steps.fit(IDS, Y, epochs=1, batch_size=BATCH, shuffle=False)
    np.testing.assert_allclose(net.params.flat, other.params.flat, 1e-12, 1e-14)


@each_backend
@pytest.mark.parametrize("at", [0, 2, 5])
def test_large_gradients_are_taken_from_where_they_come(at: int, backend: Any) -> None:
    large = Y.copy()
    large[at * BATCH] = 1e120
    net, other = network(backend), network(backend)
    trainer, by_steps = (fb.Trainer(n, fb.MSE(), fb.Adam(0.02, lazy=True)) for n in (net, other))
    history = trainer.fit(IDS, large, epochs=2, batch_size=BATCH, shuffle=False)
    losses = [by_steps.step(IDS[part], large[part]) for part in batches()]
    np.testing.assert_allclose(net.params.flat, other.params.flat, 1e-12, 1e-14)
    assert (trainer.update.step, net.memory.step) == (12, 12)
    np.testing.assert_allclose(history[0]["loss"], np.average(losses[:6], weights=[8] * 5 + [6]))


@each_backend
def test_gradients_of_others_do_not_stay_in_the_table(backend: Any) -> None:
    net = network(backend)
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam(0.02, lazy=True))
    for _ in range(2):
        trainer.step(IDS[:4] % 3, Y[:4])
        net.loss_and_grad(IDS[:4] % 3 + 20, Y[:4], fb.MSE())
        other = pickle.loads(pickle.dumps(net))
        fb.Trainer(other, fb.MSE(), fb.Adam(0.02, lazy=True)).step(IDS[:4] % 3 + 10, Y[:4])
        assert not other.grads["table.weight"][20:].any()
        trainer.step(IDS[:4] % 3 + 10, Y[:4])
        assert set(np.flatnonzero(net.grads["table.weight"].any(axis=1))) <= {10, 11, 12}


@each_backend
def test_checkpoints_go_on(backend: Any, tmp_path: Path) -> None:
    net = network(backend)
    trainer = fb.Trainer(net, fb.MSE(), fb.Adam(0.02, lazy=True))
    trainer.fit(IDS, Y, epochs=1, batch_size=BATCH)
    trainer.save_checkpoint(tmp_path / "run.safetensors")
    resumed = fb.Trainer.resume(tmp_path / "run.safetensors", backend=backend)
    assert resumed.optimizer.lazy
    assert repr(resumed.optimizer).endswith("lazy=True)")
    for t in (trainer, resumed):
        t.fit(IDS, Y, epochs=2, batch_size=BATCH)
    np.testing.assert_array_equal(resumed.net.params.flat, net.params.flat)


def test_threads_change_no_bits() -> None:
    made, ids = [], np.random.default_rng(1).integers(0, 5000, (4000, COLUMNS))
    before = fb.get_num_threads()
    for threads in (1, 3):
        fb.set_num_threads(threads)
        net = fb.Sequential(fb.Input(COLUMNS, dtype="int64"), fb.Embedding(5000, 33), fb.Flatten(),
                            fb.Linear(COLUMNS * 33, 1), seed=0)
        fb.Trainer(net, fb.MSE(), fb.Adam(lazy=True)).fit(ids, ids[:, 0] / 5000, epochs=1, batch_size=1000)
        made.append(net.params.flat.copy())
    fb.set_num_threads(before)
    np.testing.assert_array_equal(made[0], made[1])


def test_units_of_rows_are_those_of_c() -> None:
    native = pytest.importorskip("fastbp.engine.native", reason="there are no kernels")
    work = EmbeddingOp(9, 2).by_touched_rows().native((3,)).work["gradient"]
    assert work.units == native.ROW_UNITS


def test_arguments() -> None:
    with pytest.raises(ValueError, match=r"Adam: lazy is 1; expected True or False"):
        fb.Adam(lazy=1)
    with pytest.raises(TypeError, match=r"Embedding: there is no argument 'sparse'; give lazy=True to the optimizer"):
        fb.Embedding(3, 2, sparse=True)
    with pytest.raises(AttributeError):
        fb.Adam().lazy = True
