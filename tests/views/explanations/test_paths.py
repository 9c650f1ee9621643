"""The search for paths: in the order of their size, whole in count and sum, and linear in the graph however many there
are."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import product
from math import fsum, prod

import numpy as np
import pytest

import fastbp as fb
import fastbp.chainrule as cr
from fastbp.views.explanations.local_maps import Dense, Elementwise, Grouped, Sparse
from fastbp.views.explanations.names import Names
from fastbp.views.explanations.paths import Paths
from fastbp.views.explanations.trace import Trace
from fastbp.views.explanations.written import maps_of

OPTIONS = {"dtype": "float64", "seed": 0, "backend": "reference"}


def doubled(times, width=2):
    """Return a network in which every tensor is added to itself: 2 to the power of ``times`` paths from each unit."""
    a = fb.Input(width)
    h = fb.Linear(width, width)(a)
    for _ in range(times):
        h = fb.Add()(h, h)
    return fb.Network(a, fb.Linear(width, 1)(h), **OPTIONS)


def deep(layers, width=2):
    return fb.Sequential(*(layer for _ in range(layers // 2) for layer in (fb.Linear(width, width), fb.Tanh())),
                         **OPTIONS)


@pytest.fixture
def looked_at(monkeypatch):
    """Count how often the derivatives of an element, and the potentials of a tensor, are asked for."""
    done = Counter()
    for kind, name in product((Dense, Elementwise, Grouped, Sparse), ("edges", "best")):
        method = getattr(kind, name)

        def counting(*args, method=method, name=name):
            done[name] += 1
            return method(*args)

        monkeypatch.setattr(kind, name, counting)
    return done


@pytest.mark.parametrize("times", [18, 60, 300])
def test_parallel_paths_are_counted_not_listed(looked_at, times):
    e = doubled(times).explain([[1.0, 2.0]], [[1.0]], fb.MSE(), weight="w1", terms=8)
    assert e.path_count == 2**times
    assert len(e.paths) == 8
    assert e.hidden_paths == 2**times - 8
    # Each of the eight paths is one way through the graph; where two are alike, the other one waits.
    assert looked_at["edges"] <= 2 * 8 * (times + 2)
    assert looked_at["best"] <= 2 * (times + 2)
    assert fsum([e.rest, *(p.value for p in e.paths)]) == pytest.approx(e.gradient, rel=1e-15)
    assert e.rest == pytest.approx(e.gradient * (1 - 8 / 2**times), rel=1e-12)


def test_products_that_are_alike_but_for_rounding_are_counted_not_listed(looked_at):
    x = cr.Var("x", 0.7)
    z = x
    for k in range(40):
        z = z * (0.3 + 0.01 * k) + (0.3 + 0.01 * k) * z
    e = z.explain(x, terms=4)
    assert e.path_count == 2**40
    assert looked_at["edges"] <= 4 * 4 * 120
    assert e.gradient == pytest.approx(prod(2 * (0.3 + 0.01 * k) for k in range(40)), rel=1e-12)
    assert [p.value for p in e.paths] == pytest.approx([e.gradient / 2**40] * 4, rel=1e-12)


@pytest.mark.parametrize("layers", [1100])
def test_a_thousand_layers_and_more(looked_at, layers):
    net = deep(layers)
    e = net.explain([[1.0, 2.0]], [[1.0, 1.0]], fb.MSE(), weight="w1", terms=3)
    assert e.path_count == 2 ** (layers // 2 - 1)
    assert looked_at["edges"] <= 3 * 3 * layers
    assert np.isfinite([p.value for p in e.paths]).all()
    text = e.text()
    assert f"≈ {e.path_count / 10 ** (len(str(e.path_count)) - 1):.3g} × 10" in text
    assert "⋯ stands for the factors in the middle of a long product" in text
    assert max(map(len, text.splitlines())) < 400
    assert "⋯는 긴 곱의 가운데 인수들을" in e.text(lang="ko")
    assert r"\cdots" in e.latex()
    for form in (e.markdown(), e.svg(), e.html()):
        assert len(form) < 6000 * layers


def test_numbers_in_a_long_product_multiply_to_what_is_shown():
    e = deep(100).explain([[1.0, 2.0]], [[1.0, 1.0]], fb.MSE(), weight="w1", terms=1, digits=17)
    _, line = (one for one in e.text().splitlines() if one.startswith("    = ") and one.count(" · ") == 12)
    shown = [float(one.strip("()= ").replace("−", "-")) for one in line.split(" · ")]
    assert prod(shown) == pytest.approx(e.paths[0].value, rel=1e-12)


def brute_force(e):
    return sorted((abs(p.value) for p in e.paths), reverse=True)


@pytest.mark.parametrize("seed", range(12))
def test_the_order_is_that_of_all_paths_listed(seed):
    rng = np.random.default_rng(seed)
    a = fb.Input(3)
    h = fb.Tanh()(fb.Linear(3, 4)(a))
    for _ in range(2):
        h = rng.choice([lambda t: fb.Add()(t, t), lambda t: fb.Multiply()(t, fb.Linear(4, 4)(t)),
                        lambda t: fb.LayerNorm()(t), lambda t: fb.Concat()(fb.Linear(4, 2)(t), fb.Linear(4, 2)(t)),
                        lambda t: fb.Softmax()(fb.Add()(t, fb.Sigmoid()(t)))])(h)
    net = fb.Network(a, fb.Linear(4, 2)(h), dtype="float64", seed=seed, backend="reference")
    data = rng.normal(size=(1, 3)), rng.normal(size=(1, 2)), fb.MSE()
    every = net.explain(*data, weight="w2", terms=10_000)
    assert len(every.paths) == every.path_count
    for terms in (1, 5, 9):
        few = net.explain(*data, weight="w2", terms=terms)
        assert [abs(p.value) for p in few.paths] == pytest.approx(brute_force(every)[:terms])
        assert few.rest == pytest.approx(fsum(p.value for p in every.paths) - fsum(p.value for p in few.paths),
                                         rel=1e-9, abs=1e-15)


def test_products_that_vanish_on_their_way_keep_their_order():
    x = cr.Var("x", 1.0)
    z = x * 1e-200 * 1e-200 * 1e200 * 1e200 + 3 * (x * 1e-180 * 1e-180 * 1e180 * 1e180) + 2 * x
    e = z.explain(x)
    assert [p.value for p in e.paths] == pytest.approx([3, 2, 1])
    assert e.paths[0].value == pytest.approx(3)


def test_nan_comes_first_and_zero_last():
    net = fb.Sequential(fb.Linear(1, 3), fb.Linear(3, 1), **OPTIONS)
    net.params["0.weight"] = [[1.0, 1.0, 1.0]]
    net.params["1.weight"] = [[0.0], [np.nan], [2.0]]
    graph = net.graph
    net.forward([[1.0]], training=True)
    values = {t: net._backend.values()[name] for t, name in graph.names.items()}
    trace = Trace(graph, net._backend.contexts(), values, {}, Names(graph))
    finder = Paths(trace, np.array([0]), {graph.outputs[0]: np.ones((1, 1))}, maps_of)
    found = finder.largest(graph.inputs[0], 0, 3)
    products = [route.product for route in found]
    assert np.isnan(products[0])
    assert products[1:] == [2.0, 0.0]


def steps_of(work):
    """Count the lines of Python that run."""
    done = Counter()

    def trace(frame, event, _):
        done[event] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return done["line"]


@pytest.mark.parametrize("form", ["explain", "text", "svg", "html", "to_svg"])
def test_twice_the_layers_is_twice_the_work(form):
    def work(layers):
        net = deep(layers)
        if form == "to_svg":
            return net.to_svg
        data = ([[1.0, 2.0]], [[1.0, 1.0]], fb.MSE())
        if form == "explain":
            return lambda: net.explain(*data, weight="w1")
        return getattr(net.explain(*data, weight="w1"), form)

    small, large = (steps_of(work(layers)) for layers in (60, 120))
    assert large < 2.3 * small
