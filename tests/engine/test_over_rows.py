"""Sums, means and extremes over the batch in the plan: no call back, and what the NumPy text gives."""

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
from thread_ranks import run

import fastbp as fb

Made = Callable[[Any, Any], Any]


def concordance(p: Any, y: Any) -> Any:
    """One minus the concordance correlation coefficient."""
    a, b = p - p.mean(axis=0), y - y.mean(axis=0)
    return 1 - 2 * np.mean(a * b, axis=0).sum() / (p.var() + y.var() + np.square(p.mean() - y.mean()))


def correlation(p: Any, y: Any) -> Any:
    a, b = p - p.mean(axis=0), y - y.mean(axis=0)
    return -np.sum(a * b) / np.sqrt(np.sum(np.square(a)) * np.sum(np.square(b)))


LOSSES: dict[str, Made] = {
    "targets made normal": lambda p, y: np.mean(np.square(p - (y - y.mean()) / (y.std() + 1e-3))),
    "outputs made normal": lambda p, y: np.mean(np.square((p - p.mean(axis=0)) / (p.std(axis=0) + 0.1) - y)),
    "concordance": concordance,
    "correlation": correlation,
    "largest": lambda p, y: np.mean(np.square(p - y) / (1 + np.max(np.abs(p), axis=0))) + 0.1 * np.max(p),
    "smallest": lambda p, y: np.sum(p.min(axis=0) * y.max(axis=0)) + np.mean(np.square(p)),
    "ties": lambda p, y: np.sum(np.max(np.maximum(p, 0.2), axis=0)) + np.min(np.minimum(p, 0.1)),
    "softmax over the batch": lambda p, y: np.mean(np.sum(y * fb.special.log_softmax(p, axis=0), axis=1)),
    "axes that stay": lambda p, y: np.mean(np.square(p / np.sqrt(np.sum(np.square(p), axis=0, keepdims=True) + 1) - y)),
    "a function of a mean": lambda p, y: np.log(np.mean(np.exp(p - y))),
    "a share of rows": lambda p, y: np.mean(np.square(p - y)) * np.mean(p > 0) + np.mean(np.square(p)),
    "a mean over some rows": lambda p, y: np.sum(np.where(y > 0, np.square(p - y), 0)) / np.sum(y > 0),
    "repeated": lambda p, y: np.mean(np.square(np.broadcast_to(p.mean(axis=0), p.shape) * y + p.mean())),
    "unbiased variance": lambda p, y: np.mean(np.square(p - y)) / (p.var(ddof=1) + 0.1),
    "compared with the mean": lambda p, y: np.mean(np.where(p > p.mean(), p - y, y * p)),
}


def network(**options: Any) -> fb.Sequential:
    scale, shift = fb.Parameter((8,), fb.Ones(), name="scale"), fb.Parameter((8,), fb.Zeros(), name="shift")
    normal = fb.Lambda(lambda h: scale * (h - h.mean(axis=0)) / np.sqrt(h.var(axis=0) + 0.1) + shift)
    return fb.Sequential(fb.Linear(5, 8), normal, fb.Tanh(), fb.Linear(8, 3), **{"seed": 0, **options})


def data(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, 5)), rng.normal(size=(rows, 3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_agrees_with_the_reference_and_calls_nothing_back(name: str, dtype: str, called: list[str]) -> None:
    for rows in (3, 7, 64, 300):        # of two, made normal, the one is minus the other: ties that rounding decides
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


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "ties"])
def test_its_gradient_is_what_a_difference_finds(name: str) -> None:
    x, y = data(6)
    assert fb.gradcheck(network(dtype="float64"), x, y, LOSSES[name])


@pytest.mark.parametrize("name", ["outputs made normal", "concordance", "largest"])
def test_training_does_not_depend_on_threads(name: str) -> None:
    x, y = data(1000)
    before, seen = fb.get_num_threads(), []
    for threads in (1, 3):
        fb.set_num_threads(threads)
        net = network()
        trainer = fb.Trainer(net, LOSSES[name], fb.Adam(1e-2))
        trainer.fit(x, y, epochs=2, batch_size=300, progress=False)
        seen.append(net.params.flat.copy())
    fb.set_num_threads(before)
    np.testing.assert_array_equal(*seen)


@pytest.mark.parametrize("name", ["targets made normal", "concordance", "smallest"])
def test_ranks_do_what_one_process_does(name: str) -> None:
    x, y = data(23)

    def script(comm: Any) -> np.ndarray:
        net = network(dtype="float64")
        fb.Trainer(net, LOSSES[name], fb.SGD(0.05), comm=comm).fit(x, y, epochs=2, batch_size=6, progress=False)
        return np.array(net.params.flat)
    alone = script(None)
    for made in run(2, script):
        if isinstance(made, BaseException):
            raise made
        np.testing.assert_allclose(made, alone, rtol=1e-11, atol=1e-11)


def test_nan_among_the_rows_is_the_largest_as_it_is_to_numpy() -> None:
    a = fb.Input(2)
    net = fb.Network(a, a * 0 + fb.Lambda(lambda h: h * 0 + h.max(axis=0))(a), dtype="float64", backend="native")
    for at in (0, 3):
        x = np.arange(10.0).reshape(5, 2)
        x[at, 1] = np.nan
        assert np.isnan(net.predict(x)[:, 1]).all()


_SCRIPT = """
    import numpy as np
    import test_over_rows as cases
    x, y = cases.data(67)
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


def whole_outputs(backend):
    x, w = fb.Input(3), fb.Parameter((3,), fb.Normal(1.0), name="w")
    h = fb.Linear(3, 4)(x * w)
    outputs = {"y": fb.Linear(4, 1)(h), "gram": h @ h.T, "mean": np.mean(h, axis=0), "number": np.mean(h), "w": w,
               "slope": fb.grad(np.sum(np.tanh(h)), w)}
    return fb.Network(x, outputs, backend=backend, seed=0, dtype="float64")


def test_outputs_may_be_of_the_whole_batch_or_of_pairs():
    x = np.random.default_rng(0).normal(size=(20, 3))
    shapes = {"y": (20, 1), "gram": (20, 20), "mean": (4,), "number": (), "w": (3,), "slope": (3,)}
    results = []
    for backend in ("reference", "native"):
        net = whole_outputs(backend)
        y = net.forward(x, training=True)
        assert {name: values.shape for name, values in y.items()} == shapes
        rng = np.random.default_rng(1)
        dx = net.backward({name: rng.normal(size=shape) for name, shape in shapes.items()})
        gradient = net.grads.flat.copy()
        with pytest.raises(ValueError, match=r"dy\[1\] has shape \(20, 3\); expected \(20, 20\)"):
            net.backward({name: np.zeros((20, 3) if name == "gram" else shape) for name, shape in shapes.items()})
        many = net.predict(np.repeat(x, 60, axis=0), batch_size=7)     # all of it at once: there are no parts of a mean
        assert many["gram"].shape == (1200, 1200)
        np.testing.assert_allclose(many["mean"], y["mean"], rtol=1e-12)
        assert not np.shares_memory(y["w"], net.params.flat)
        results.append([*y.values(), dx, gradient])
        with pytest.raises(ValueError, match=r"x has no rows; expected at least one, as an output has the shape"):
            net.predict(x[:0])
        with pytest.raises(ValueError, match=r"MSE\(\): the output has the shape \(B, B\); expected a row for each"):
            fb.Trainer(net, dict.fromkeys(shapes, "mse"), "sgd")
        alone = net.part(net.graph.inputs[0], net.graph.outputs[1])
        for rows in (20, 20, 4):
            assert alone.predict(x[:rows]).shape == (rows, rows)
    for reference, native in zip(*results, strict=True):
        np.testing.assert_allclose(native, reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_whole_numbers_stay_whole_in_any_number_of_rows(backend):
    x = fb.Input(3)
    net = fb.Network(x, (np.argmax(x, axis=-1), x > 0), backend=backend)
    rows = np.random.default_rng(0).normal(size=(3000, 3))
    for n in (0, 1, 1024, 3000):
        place, positive = net.predict(rows[:n])
        assert (place.dtype, positive.dtype) == (np.int64, bool)
        assert np.array_equal(place, rows[:n].argmax(axis=1))
        assert np.array_equal(positive, rows[:n] > 0)
