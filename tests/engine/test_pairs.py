"""Functions of all pairs of rows in the plan: no call back, and what the NumPy text gives."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp as fb

Loss = Callable[[Any, Any], Any]


def supervised_contrastive(z: Any, label: Any) -> Any:
    i = fb.special.arange(z.shape[0])
    itself = i[:, None] == i[None]
    alike = (label[:, None] == label[None]) & ~itself
    logp = fb.special.log_softmax(np.where(itself, -1e9, z @ z.T / 0.5), axis=1)
    likes = np.sum(alike.astype(float), axis=1)
    return -np.mean(np.sum(np.where(alike, logp, 0.0), axis=1) / np.maximum(likes, 1.0))


def cosines(z: Any, label: Any) -> Any:
    z = z / np.sqrt(np.sum(z * z, axis=1, keepdims=True) + 1e-3)
    same = np.where(label[:, None] == label[None, :], 1.0, 0.0)
    return -np.mean(np.sum(same * fb.special.log_softmax(z @ z.T / 0.5), axis=1) / same.sum(axis=1))


def gaussian_kernel(z: Any, label: Any) -> Any:
    size = np.sum(z * z, axis=1)
    return np.mean(np.exp(-0.1 * (size[:, None] + size[None] - 2 * z @ z.T)))


def distances(z: Any, label: Any) -> Any:
    square = np.sum((z[:, None] - z[None]) ** 2, axis=-1)
    return np.mean(np.sqrt(square + 0.1)) + 0.1 * np.max(square)


def ranking(z: Any, label: Any) -> Any:
    score = z[:, 0]
    order = np.where(label[:, None] > label[None], 1.0, -1.0)
    return np.mean(np.logaddexp(0, -(score[:, None] - score[None]) * order))


def both_ways(z: Any, label: Any) -> Any:
    """Each row with its own among all, and the other way round, as CLIP has it."""
    a, b = z[:, :2], np.sin(z[:, 2:])
    logits = np.exp(z.mean()) * (a @ b.T) / 0.3
    i = fb.special.arange(z.shape[0])
    own = np.where(i[:, None] == i[None], 1.0, 0.0)
    return -np.mean(np.sum(own * (fb.special.log_softmax(logits) + fb.special.log_softmax(logits.T)), axis=1))


LOSSES: dict[str, Loss] = {
    "supervised contrastive": supervised_contrastive,
    "cosines": cosines,
    "gaussian kernel": gaussian_kernel,
    "distances": distances,
    "ranking": ranking,
    "both ways": both_ways,
    "products": lambda z, label: np.mean(np.square(z @ z.T - 1.0)),
    "einsum": lambda z, label: np.mean(np.tanh(np.einsum("id,jd->ij", z, z * 2))),
    "two kinds of rows": lambda z, label: np.mean(np.maximum(0, z @ np.sin(z).T + 1).sum(axis=1)),
    "largest": lambda z, label: np.mean(np.max(z @ z.T, axis=1) + np.min(z @ z.T, axis=1, keepdims=True)[:, 0]),
    "beside the columns' means": lambda z, label: np.mean(np.tanh(z @ z.T) * z.mean() + z.max()),
    "an entry of each row": lambda z, label: -np.mean(
        fb.special.log_softmax(z)[fb.special.arange(z.shape[0]), label]),
    "numbers of rows": lambda z, label: np.mean(z * fb.special.arange(z.shape[0]).astype(float)[:, None]) / z.shape[0],
}


def network(**options: Any) -> fb.Sequential:
    return fb.Sequential(fb.Linear(5, 9), fb.Tanh(), fb.Linear(9, 4), **{"seed": 0, **options})


def data(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, 5)), rng.integers(0, 4, rows)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_agrees_with_the_reference_and_calls_nothing_back(name: str, dtype: str, called: list[str]) -> None:
    for rows in (1, 2, 5, 17, 64, 130, 300):
        x, y = data(rows)
        values, gradients = [], []
        for backend in ("reference", "native"):
            net = network(dtype=dtype, backend=backend)
            values.append(net.loss_and_grad(x, y, LOSSES[name]))
            gradients.append(net.grads.flat.copy())
        tolerance = 5e-4 if dtype == "float32" else 1e-11
        assert values[1] == pytest.approx(values[0], rel=tolerance, abs=tolerance)
        scale = np.abs(gradients[0]).max() + 1e-3
        np.testing.assert_allclose(gradients[1], gradients[0], rtol=0, atol=tolerance * scale)
    assert not called


@pytest.mark.parametrize("name", LOSSES)
def test_mini_batches_of_two_sizes(name: str) -> None:
    """The last one is smaller than those that the plan was made for."""
    x, y = data(70)
    seen = []
    for backend in ("reference", "native"):
        trainer = fb.Trainer(network(dtype="float64", backend=backend), LOSSES[name], fb.SGD(1e-2))
        trainer.fit(x, y, epochs=3, batch_size=32, progress=False)
        seen.append([*trainer.history["loss"], *trainer.net.params.flat])
    np.testing.assert_allclose(*seen, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "largest"])
def test_its_gradient_is_what_a_difference_finds(name: str) -> None:
    x, y = data(6)
    assert fb.gradcheck(network(dtype="float64"), x, y, LOSSES[name])


@pytest.mark.parametrize("name", ["supervised contrastive", "gaussian kernel", "distances"])
def test_training_does_not_depend_on_threads(name: str) -> None:
    x, y = data(600)
    before, seen = fb.get_num_threads(), []
    for threads in (1, 3):
        fb.set_num_threads(threads)
        net = network()
        fb.Trainer(net, LOSSES[name], fb.Adam(1e-2)).fit(x, y, epochs=2, batch_size=250, progress=False)
        seen.append(net.params.flat.copy())
    fb.set_num_threads(before)
    np.testing.assert_array_equal(*seen)


def test_what_plans_keep_is_called_as_in_the_network() -> None:
    """Its first product is another op in a plan: the second one is not taken for it."""
    net = fb.Sequential(fb.Linear(5, 3), fb.Lambda(lambda h: (h @ h.T) @ h), seed=0)
    x, _ = data(7)
    assert net.verify(x, x[:, :3], "mse").ok
    assert "w" in str(net.explain(x, x[:, :3], "mse", weight="0.weight[0, 0]"))


_SCRIPT = """
    import numpy as np
    import test_pairs as cases
    for rows in (3, 67):
        x, y = cases.data(rows)
        for dtype in ("float32", "float64"):
            for name, loss in cases.LOSSES.items():
                seen = []
                for backend in ("reference", "native"):
                    net = cases.network(dtype=dtype, backend=backend)
                    net.loss_and_grad(x, y, loss)
                    seen.append(net.grads.flat.copy())
                np.testing.assert_allclose(seen[1], seen[0], rtol=0, err_msg=name,
                                           atol=(5e-4 if dtype == "float32" else 1e-11) * (abs(seen[0]).max() + 1e-3))
"""


@pytest.mark.parametrize("isa", [i for i in fb.cpu_info().isas if i != fb.cpu_info().isa])
def test_each_instruction_set(isa: str) -> None:
    path = os.pathsep.join((str(Path(__file__).parent), *sys.path))
    environment = {**os.environ, "FASTBP_ISA": isa, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", textwrap.dedent(_SCRIPT)], env=environment, check=True)
