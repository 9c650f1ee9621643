"""Explanations of plain NumPy functions as losses and layers: all paths add up to the gradient, sample by sample."""

from __future__ import annotations

from math import fsum

import numpy as np
import pytest

import fastbp as fb

OPTIONS = {"dtype": "float64", "seed": 0, "backend": "reference"}


def mean_square(y_pred, y):
    return np.mean(np.square(y_pred - y))


def mean_of_pieces(y_pred, y):
    e = y_pred - y
    return np.mean(np.where(np.abs(e) < 0.5, 0.5 * e * e, 0.5 * (np.abs(e) - 0.25)))


def cross_entropy(logits, labels):
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    logp = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return -np.mean(np.take_along_axis(logp, labels[:, None], axis=1))


def network():
    return fb.Sequential(fb.Linear(3, 2), fb.Tanh(), fb.Linear(2, 2), **OPTIONS)


def everywhere(net, x, y, loss, **weights):
    """Explain every weight, and compare the chain, all paths together and the difference quotient with backward."""
    net.loss_and_grad(x, y, loss, **weights)
    grads = {name: values.copy() for name, values in net.grads.items()}
    for name, values in grads.items():
        for index in np.ndindex(values.shape):
            e = net.explain(x, y, loss, weight=f"{name}[{', '.join(map(str, index))}]", terms=10_000, **weights)
            floor = max(abs(values[index]), 1e-3)
            assert abs(e.gradient - values[index]) <= 1e-12 * floor
            assert abs(e.numerical - values[index]) <= 1e-6 * floor
            for use in e.uses:
                assert len(use.paths) == use.path_count
                assert fsum(p.value for p in use.paths) == pytest.approx(use.value, rel=1e-9, abs=1e-14)
    for form in ("text", "latex", "markdown", "svg", "html"):
        assert "@" not in getattr(e, form)().replace("@media", "").replace("@page", ""), form
    return e


@pytest.mark.parametrize("loss", [mean_square, mean_of_pieces])
@pytest.mark.parametrize("rows", [1, 3])
def test_functions_as_losses(loss, rows):
    rng = np.random.default_rng(0)
    e = everywhere(network(), rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2)), loss)
    assert ("∂E/∂E₁ · ∂E₁/∂" in e.text()) == (rows > 1)
    assert "⟨1⟩" not in e.text()
    assert str(e.target.symbol) == "E"


def test_a_function_as_a_loss_is_the_loss_that_it_writes_out():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 3)), rng.normal(size=(2, 2))
    net = network()
    for weight in ("w1", "w5", "b1"):
        mine, own = (net.explain(x, y, loss, weight=weight, terms=100) for loss in (mean_square, fb.MSE()))
        assert mine.gradient == pytest.approx(own.gradient, rel=1e-12)
        assert sorted(p.value for p in mine.paths) == pytest.approx(sorted(p.value for p in own.paths), rel=1e-12)
        assert mine.path_count == own.path_count


def test_labels_weights_and_several_outputs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 3))
    everywhere(network(), x, np.array([0, 1, 1]), cross_entropy)
    everywhere(network(), x, rng.normal(size=(3, 2)), mean_square, sample_weight=[1.0, 2.0, 0.5])
    a = fb.Input(3)
    h = fb.Linear(3, 2)(a)
    net = fb.Network(a, (fb.Tanh()(h), fb.Linear(2, 2)(h)), **OPTIONS)
    everywhere(net, x, rng.normal(size=(3, 2)), lambda p, q, y: np.mean((p * q - y) ** 2) + 0.1 * np.mean(np.abs(q)))


def test_a_loss_that_depends_on_a_part_of_the_network():
    a = fb.Input(3)
    net = fb.Network(a, (fb.Linear(3, 2)(a), fb.Linear(3, 2)(a)), **OPTIONS)
    x, y = np.ones((2, 3)), np.zeros((2, 2))
    assert net.explain(x, y, lambda p, q, y: np.mean((p - y) ** 2), weight="w1").gradient != 0
    with pytest.raises(ValueError, match=r"the loss does not depend on '1.weight'; its gradient is 0"):
        net.explain(x, y, lambda p, q, y: np.mean((p - y) ** 2), weight="1.weight[0, 0]")


@pytest.mark.parametrize("function", [
    lambda x: np.tanh(x[:, ::-1]) * x + x.mean(axis=0),
    lambda x: np.concatenate([x[:, 1:], np.exp(-x[:, :1])], axis=1) / (1 + np.sum(x * x, axis=-1, keepdims=True)),
    lambda x: np.clip(np.cumsum(x, axis=1), -0.7, 0.7),
    lambda x: np.reshape(np.swapaxes(np.reshape(x, (-1, 2, 2)), 1, 2) @ np.reshape(x, (-1, 2, 2)), (-1, 4)),
    lambda x: (x.T * 2).T - x.mean(axis=0),
    lambda x: np.maximum(x, -0.5 * x) * np.max(x, axis=1, keepdims=True),
], ids=["reversed and averaged", "joined and normalised", "running sums, clipped", "products", "rows across",
        "largest"])
def test_functions_as_layers(function):
    rng = np.random.default_rng(2)
    net = fb.Sequential(fb.Linear(3, 4), fb.Lambda(function), fb.Linear(4, 2), **OPTIONS)
    everywhere(net, rng.normal(size=(2, 3)), rng.normal(size=(2, 2)), fb.MSE())


def test_a_parameter_by_itself():
    rng = np.random.default_rng(3)
    scale = fb.Parameter((4,), fb.Normal(std=1.0), name="scale")
    net = fb.Sequential(fb.Linear(3, 4), fb.Lambda(lambda x: scale * np.exp(-np.square(x))), fb.Linear(4, 2), **OPTIONS)
    x, y = rng.normal(size=(3, 3)), rng.normal(size=(3, 2))
    everywhere(net, x, y, fb.MSE())
    e = net.explain(x, y, fb.MSE(), weight="scale.value[1]")
    assert str(e.source.symbol) == "scale₂"
    assert e.use_count == 1
    assert e.path_count == 3 * 2


def centred():
    return fb.Sequential(fb.Linear(3, 2), fb.Lambda(lambda x: np.tanh(x - x.mean(axis=0))), fb.Linear(2, 2), **OPTIONS)


def test_samples_that_meet_are_marked():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(3, 3)), rng.normal(size=(3, 2))
    e = everywhere(centred(), x, y, fb.MSE())
    assert "⟨k⟩ marks sample k" in e.text()
    assert "⟨k⟩는 k번째 표본입니다" in e.text(lang="ko")
    assert "⟨1⟩" not in everywhere(centred(), x[:1], y[:1], fb.MSE()).text()
    everywhere(centred(), x, y, lambda p, t: np.max(np.abs(p - t)) + np.var(p))


def test_the_picture_shows_one_sample_and_marks_what_leads_through_it():
    rng = np.random.default_rng(4)
    e = centred().explain(rng.normal(size=(3, 3)), rng.normal(size=(3, 2)), fb.MSE(), weight="w1", terms=100)
    shown = {b.id for b in e.diagram.boxes}
    marked = {b.id for b in e.diagram.boxes if b.chain}
    drawn = [f for p in e.paths for f in p.factors if f.edge]
    assert {f.box for f in drawn} <= shown
    assert {box for p in e.paths for f in p.factors for box in (f.box, f.source_box) if box} <= marked
    # Of the paths between three samples there are those that stay within the one that is drawn.
    whole = [p for p in e.paths if all(f.edge for f in p.factors)]
    assert 0 < len(whole) < len(e.paths)
    symbols = {b.symbol.sample for b in e.diagram.boxes if b.kind == "unit"}
    assert symbols == {str(e.uses[0].sample), ""}
    assert {f.edge for f in drawn} <= {edge.name for edge in e.diagram.edges}
