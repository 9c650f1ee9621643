"""Cross-entropy over positions: labels that are ignored, weights of positions, smoothing."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest
from conftest import backends

import fastbp as fb

ROWS, STEPS = 6, 4


def by_hand(x: Any, y: Any, smoothing: float, class_weight: Any, ignored: Any, weight: Any) -> tuple[float, float]:
    """Return loss and accuracy, position by position."""
    classes = x.shape[-1]
    total = sums = right = counted = 0.0
    for b in range(len(x)):
        for t in range(STEPS):
            if np.ndim(y) == 2 and y[b, t] == ignored:
                continue
            p = np.eye(classes)[y[b, t]] if np.ndim(y) == 2 else y[b, t]
            counts = np.arange(classes) != ignored
            q = (1 - smoothing) * p + np.where(counts, smoothing / counts.sum(), 0)
            u = 1.0 if weight is None else weight[b] if np.ndim(weight) == 1 else weight[b, t]
            right += u * (x[b, t].argmax() == p.argmax())
            counted += u
            u *= sum(p[c] * (1.0 if class_weight is None else class_weight[c]) for c in range(classes) if counts[c])
            total += u * -(q * (x[b, t] - np.log(np.exp(x[b, t]).sum()))).sum()
            sums += u
    return total / sums, right / counted


def batch(classes: int, ignored: int | None, soft: bool) -> tuple[Any, Any]:
    rng = np.random.default_rng(classes)
    x = rng.standard_normal((ROWS, STEPS, 3))
    if soft:
        return x, rng.dirichlet(np.ones(classes), (ROWS, STEPS))
    y = rng.integers(0, classes, (ROWS, STEPS))
    if ignored is not None:
        y[rng.random(y.shape) < 0.3] = ignored
        y[0, 0] = ignored
    return x, y


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weights", [None, "rows", "positions"])
@pytest.mark.parametrize(("smoothing", "weighted", "ignored", "soft"), [
    (0.0, False, None, False), (0.2, True, None, False), (0.0, False, -100, False), (0.2, True, -100, False),
    (0.0, True, 1, False), (0.2, False, 1, False), (0.2, True, 1, True), (0.2, False, None, True)])
def test_it_is_what_it_is_by_hand(smoothing: float, weighted: bool, ignored: int | None, soft: bool, weights: Any,
                                  dtype: str, backend: Any) -> None:
    rng = np.random.default_rng(0)
    for classes in (3, 8, 17, 40):
        class_weight = rng.uniform(0.5, 2, classes) if weighted else None
        loss = fb.CrossEntropy(smoothing, class_weight, ignored)
        x, y = batch(classes, ignored, soft)
        w = None if weights is None else rng.uniform(0, 2, ROWS if weights == "rows" else (ROWS, STEPS))
        net = fb.Sequential(fb.Input(STEPS, 3), fb.Linear(3, classes), seed=1, dtype=dtype, backend=backend)
        outputs = net.predict(x)
        expected, accuracy = by_hand(outputs.astype("float64"), y, smoothing, class_weight, ignored, w)
        tolerance = 1e-12 if dtype == "float64" else 2e-6
        assert net.loss(x, y, loss, w) == pytest.approx(expected, rel=tolerance)
        assert loss.forward(outputs, y, w) == pytest.approx(expected, rel=tolerance)
        found = fb.Trainer(net, loss, fb.SGD(0.1)).evaluate(x, y, w, batch_size=4)
        assert found["loss"] == pytest.approx(expected, rel=tolerance)
        assert found["accuracy"] == pytest.approx(accuracy, rel=1e-6)
        if dtype == "float64":
            assert fb.gradcheck(net, x, y, loss, w).ok
        assert net.verify(x, y, loss, w).ok


def test_by_itself_it_looks_at_nothing_that_is_ignored() -> None:
    loss = fb.CrossEntropy(ignore_index=-100)
    assert loss.forward(np.array([[[0.0, 0.0], [np.nan, np.inf]]]), [[1, -100]]) == pytest.approx(np.log(2))
    assert loss.backward().tolist() == [[[0.5, -0.5], [0.0, 0.0]]]


def test_ignored_labels_are_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, STEPS, 5)), rng.integers(0, 5, (ROWS, STEPS))
    y[rng.random(y.shape) < 0.4] = -100
    class_weight = rng.uniform(0.5, 2, 5)
    for weight in (None, class_weight):
        loss, logits = fb.CrossEntropy(class_weight=weight, ignore_index=-100), torch.tensor(x, requires_grad=True)
        theirs = torch.nn.functional.cross_entropy(logits.movedim(-1, 1), torch.tensor(y), ignore_index=-100,
                                                   weight=None if weight is None else torch.tensor(weight))
        theirs.backward()
        assert loss.forward(x, y) == pytest.approx(theirs.item(), rel=1e-12)
        np.testing.assert_allclose(loss.backward(), logits.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", backends())
def test_positions_that_are_ignored_change_nothing_whatever_stands_there(backend: Any) -> None:
    def train(fill: float) -> Any:
        net = fb.Sequential(fb.Input(STEPS, 3), fb.Linear(3, 5), seed=0, backend=backend)
        trainer = fb.Trainer(net, fb.CrossEntropy(0.1, ignore_index=-100), fb.SGD(0.1))
        x, y = batch(5, -100, soft=False)
        x[y == -100] = fill
        trainer.fit(x, y, epochs=2, batch_size=4, progress=False)
        return trainer.step(x, y), net.params.flat.copy()
    (a, params), (b, others) = train(0.0), train(7.0)
    assert a == b
    np.testing.assert_array_equal(params, others)


@pytest.mark.parametrize("backend", backends())
def test_a_batch_of_ignored_labels_changes_nothing(backend: Any) -> None:
    net = fb.Sequential(fb.Input(STEPS, 3), fb.Linear(3, 5), seed=0, backend=backend)
    before = net.params.flat.copy()
    trainer = fb.Trainer(net, fb.CrossEntropy(ignore_index=0), fb.SGD(0.1))
    x, y = np.ones((2, STEPS, 3)), np.zeros((2, STEPS), int)
    assert [trainer.step(x, y) for _ in range(3)] == [0.0] * 3
    np.testing.assert_array_equal(net.params.flat, before)
    assert trainer.evaluate(x, y) == {"loss": 0.0, "accuracy": 0.0}


@pytest.mark.parametrize("label", [-1, -101, 5])
def test_labels_that_are_neither_classes_nor_ignored(label: int) -> None:
    net = fb.Sequential(fb.Input(STEPS, 3), fb.Linear(3, 5), seed=0)
    trainer = fb.Trainer(net, fb.CrossEntropy(ignore_index=-100), fb.SGD(0.1))
    x = np.ones((2, STEPS, 3))
    trainer.step(x, np.full((2, STEPS), -100))
    expected = f"y has the label {label} in row 0; expected labels from 0 to 4 or -100, which is ignored"
    with pytest.raises(ValueError, match=re.escape(expected)):
        trainer.step(x, np.full((2, STEPS), label))


def test_weights_of_positions_of_another_loss() -> None:
    net = fb.Sequential(fb.Input(STEPS, 3), fb.Linear(3, 5), seed=0)
    with pytest.raises(ValueError, match=re.escape("sample_weight has shape (2, 4); expected (2,)")):
        net.loss(np.ones((2, STEPS, 3)), np.zeros((2, STEPS, 5)), fb.MSE(), np.ones((2, STEPS)))
    with pytest.raises(ValueError, match=re.escape("expected (2,): one for each row of x, or (2, 4): one for each")):
        net.loss(np.ones((2, STEPS, 3)), np.zeros((2, STEPS), int), fb.CrossEntropy(), np.ones((2, 3)))


@pytest.mark.parametrize("index", [1.5, "pad", True])
def test_an_ignore_index_that_is_none(index: Any) -> None:
    with pytest.raises(ValueError, match="ignore_index is"):
        fb.CrossEntropy(ignore_index=index)


def test_a_loss_travels(tmp_path: Any) -> None:
    loss = fb.CrossEntropy(0.1, [1.0, 2.0, 3.0], ignore_index=-100)
    assert pickle.loads(pickle.dumps(loss)) == loss
    net = fb.Sequential(fb.Input(STEPS, 3), fb.Linear(3, 3), seed=0)
    trainer = fb.Trainer(net, loss, fb.SGD(0.1))
    trainer.fit(np.ones((2, STEPS, 3)), np.zeros((2, STEPS), int), epochs=1, progress=False)
    trainer.save_checkpoint(tmp_path / "c.safetensors")
    assert fb.Trainer.resume(tmp_path / "c.safetensors").loss == loss
