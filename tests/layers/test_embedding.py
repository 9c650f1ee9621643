"""Tables of vectors: several columns at once, and bags of ids."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from conftest import backends
from torch_peers import compare

import fastbp as fb

TABLES = [4, 2, 7]


def columns(rng: np.random.Generator, rows: int) -> Any:
    return rng.integers(0, TABLES, (rows, 3))


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("padding", [None, 1])
@pytest.mark.parametrize("features", [3, 16, 70])
def test_columns_of_ids_have_a_table_each(features: int, padding: int | None, backend: Any) -> None:
    rng = np.random.default_rng(0)
    net = fb.Sequential(fb.Input(3, dtype="int64"), fb.Embedding(TABLES, features, padding), dtype="float64", seed=0,
                        backend=backend)
    ids = columns(rng, 20)
    tables = np.split(net.params["0.weight"], [4, 6])
    expected = np.stack([t[i] for t, i in zip(tables, ids.T, strict=True)], axis=1)
    if padding is not None:
        expected[ids == padding] = 0
    np.testing.assert_array_equal(net.predict(ids), expected.reshape(20, -1))
    dy = rng.standard_normal((20, 3 * features))
    net.forward(ids, training=True)
    net.backward(dy)
    gradients = [np.zeros_like(t) for t in tables]
    for row, given in zip(ids, dy.reshape(20, 3, features), strict=True):
        for i, table, d in zip(row, gradients, given, strict=True):
            table[i] += d * (i != padding)
    np.testing.assert_allclose(net.grads["0.weight"], np.concatenate(gradients), rtol=1e-12, atol=1e-14)
    layer = fb.Embedding(TABLES, features, padding).build(dtype="float64", seed=0)
    np.testing.assert_array_equal(layer.forward(ids), net.predict(ids))


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("bad", [(4, 0, 0), (0, 2, 0), (3, 1, 7), (0, -1, 0)])
def test_ids_beyond_the_table_of_their_column(bad: tuple[int, ...], backend: Any) -> None:
    net = fb.Sequential(fb.Input(3, dtype="int64"), fb.Embedding(TABLES, 3), fb.Linear(9, 2), seed=0, backend=backend)
    trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01))
    good, y = columns(np.random.default_rng(0), 4), np.array([0, 1, 0, 1])
    for _ in range(3):
        trainer.step(good, y)
    before = net.params.flat.copy()
    wrong = good.copy()
    wrong[2] = bad
    at = next(k for k, (i, n) in enumerate(zip(bad, TABLES, strict=True)) if not 0 <= i < n)
    message = f"x has {bad[at]} in row 2, column {at}; expected integers from 0 to {TABLES[at] - 1}"
    for call in (lambda: net.predict(wrong), lambda: trainer.step(wrong, y), lambda: trainer.fit(wrong, y)):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
    np.testing.assert_array_equal(net.params.flat, before)
    with pytest.raises(ValueError, match="out of range"):
        fb.Embedding(TABLES, 3).forward(wrong)


def test_an_input_of_columns_may_be_read_in_several_ways() -> None:
    ids = fb.Input(3, dtype="int64")
    net = fb.Network(ids, fb.Add()(fb.Embedding(TABLES, 2)(ids), fb.Flatten()(fb.Embedding(5, 2)(ids))), seed=0)
    assert net.graph.among[ids] == (range(4), range(2), range(5))
    with pytest.raises(ValueError, match=r"give fb\.Embedding the input as it is"):
        fb.Network(ids, fb.Embedding(TABLES, 2)(ids[:, ::-1]))


@pytest.mark.parametrize("backend", backends())
def test_vectors_are_pytorchs(backend: Any) -> None:
    """Of 60 shapes, with an id for padding and without, and with a table for each column."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    for seed in range(60):
        rng = np.random.default_rng(seed)
        features, steps = int(rng.choice([1, 3, 8, 17, 64])), [int(n) for n in rng.integers(1, 6, rng.integers(1, 3))]
        sizes = [int(n) for n in rng.integers(2, 30, rng.integers(1, 4))]
        tables = seed % 3 == 0
        padding = int(rng.integers(0, min(sizes))) if seed % 2 else None
        layer = fb.Embedding(sizes if tables else sizes[0], features, padding)
        shape = (*steps, len(sizes)) if tables else tuple(steps)
        net = fb.Network(x := fb.Input(*shape, dtype="int64"), layer(x), dtype="float64", seed=0, backend=backend)
        rows = int(rng.integers(1, 40))
        ids = rng.integers(0, sizes if tables else sizes[0], (rows, *shape))
        starts = np.cumsum([0, *sizes[:-1]]) if tables else np.array([0])

        def peer(ids: Any, weight: Any, starts: Any = starts, padding: Any = padding, tables: bool = tables) -> Any:
            hidden = torch.zeros(len(weight), dtype=bool)
            if padding is not None:
                hidden[torch.from_numpy(starts) + padding] = True
            weight = weight.masked_fill(hidden[:, None], 0.0)
            y = torch.nn.functional.embedding(ids + torch.from_numpy(starts) if tables else ids, weight)
            return y.flatten(-2) if tables else y

        compare(net, peer, [ids], {"weight": lambda p: next(iter(p.values()))}, rng)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("seed", range(60))
def test_bags_are_pytorchs(seed: int, backend: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    rng = np.random.default_rng(seed)
    mode, padding = ["sum", "mean"][seed % 2], [None, 0, 3][seed % 3]
    length, features, rows = int(rng.integers(1, 6)), int(rng.integers(1, 20)), int(rng.integers(1, 5))
    net = fb.Sequential(fb.Input(length, dtype="int64"), fb.Embedding(5, features, padding, mode=mode), seed=0,
                        dtype="float64", backend=backend)
    ids = rng.integers(0, 5, (rows, length))

    def peer(ids: Any, weight: Any) -> Any:
        return torch.nn.functional.embedding_bag(ids, weight, mode=mode, padding_idx=padding)

    compare(net, peer, [ids], {"weight": lambda ps: ps["0.weight"]}, rng)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("padding", [None, 2])
def test_bags_by_hand(mode: Any, padding: int | None, backend: Any) -> None:
    rng = np.random.default_rng(0)
    net = fb.Sequential(fb.Input(2, 4, dtype="int64"), fb.Embedding(5, 3, padding, mode=mode), fb.Flatten(),
                        fb.Linear(6, 2), dtype="float64", seed=0, backend=backend)
    ids = rng.integers(0, 5, (6, 2, 4))
    ids[0, 0] = 2
    whole = net.activations(ids)["1.flatten"].reshape(6, 2, 3)
    weight = net.params["0.weight"]
    for b, t in np.ndindex(6, 2):
        rows = [weight[i] for i in ids[b, t] if i != padding]
        expected = np.zeros(3) if not rows else np.sum(rows, axis=0) / (len(rows) if mode == "mean" else 1)
        np.testing.assert_allclose(whole[b, t], expected, rtol=1e-12, atol=1e-15)
    assert fb.gradcheck(net, ids, rng.integers(0, 2, 6), fb.CrossEntropy()).ok


@pytest.mark.parametrize(("make", "message"), [
    (lambda: fb.Embedding([], 3), "num_embeddings is empty"),
    (lambda: fb.Embedding([3, 0], 3), "num_embeddings is 0"),
    (lambda: fb.Embedding([3, 2], 3, 2), "padding_idx is 2; expected an integer from -2 to 1"),
    (lambda: fb.Embedding([3, 2], 3, -1), "padding_idx is -1; expected an id that all tables have"),
    (lambda: fb.Embedding([3, 2], 3, mode="sum"), "a bag is of one table"),
    (lambda: fb.Embedding(3, 3, mode="max"), "mode is 'max'; expected"),
    (lambda: fb.Embedding([3, 2], 3)(fb.Input(3, dtype="int64")), "expected 2 columns in the last axis"),
])
def test_arguments_that_do_not_fit(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
