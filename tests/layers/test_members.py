"""Ensembles as one net: each member is the net that its formula says, and learns from its own targets."""

import numpy as np
import pytest

import fastbp as fb

MEMBERS, HIDDEN = 3, (6, 4)


def net_of(kind, **options):
    return fb.Sequential(fb.Input(5), *fb.member_layers(MEMBERS, HIDDEN, 2, kind, activation=fb.Tanh()), seed=0,
                         dtype="float64", **options)


def by_hand(net, kind, x, m):
    """Return what one member makes of x, each layer by its formula."""
    p = list(net.params.values())
    for value in p:
        value += 0.1 * np.random.default_rng(value.size).normal(size=value.shape)
    x = x * p.pop(0)[m]
    for i in range(len(HIDDEN)):
        if kind == "independent":
            x = x @ p.pop(0)[m] + p.pop(0)[m]
        elif kind == "mini":
            x = x @ p.pop(0) + p.pop(0)
        else:
            r = p.pop(0)[m] if i else 1.0
            x = ((r * x) @ p.pop(0)) * p.pop(0)[m] + p.pop(0)[m]
        x = np.tanh(x)
    return x @ p.pop(0)[m] + p.pop(0)[m]


@pytest.mark.parametrize("kind", ["mini", "full", "independent"])
@pytest.mark.parametrize("m", range(MEMBERS))
def test_each_member_is_its_formula(kind, m):
    net = net_of(kind, backend="reference")
    x = np.random.default_rng(0).normal(size=(7, 5))
    expected = by_hand(net, kind, x, m)
    np.testing.assert_allclose(net.predict(x)[:, m], expected)


@pytest.mark.parametrize("kind", ["mini", "full", "independent"])
def test_members_learn_from_targets_of_their_own(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(256, 5))
    y = np.stack([np.stack([X[:, m], X[:, m + 1]], axis=1) for m in range(MEMBERS)], axis=1)
    net = fb.Sequential(fb.Input(5), *fb.member_layers(MEMBERS, (32, 32), 2, kind, dropout=0.0), seed=0)
    fb.Trainer(net, fb.MSE(), fb.Adam(0.01)).fit(X, y, epochs=60, batch_size=32, progress=False)
    assert np.mean((net.predict(X) - y) ** 2) < 0.1


def test_independent_members_share_nothing():
    x, y = np.ones((4, 5)), np.zeros((4, MEMBERS, 2))
    found = []
    for target in (0.0, 5.0):
        net, y[:, 0] = net_of("independent"), target
        fb.Trainer(net, fb.MSE(), fb.SGD(0.1)).step(x, y)
        found.append({name: p.copy() for name, p in net.params.items()})
    for a, b in zip(found[0].values(), found[1].values(), strict=True):
        np.testing.assert_array_equal(a[1:], b[1:])
    *_, (a, b) = zip(found[0].values(), found[1].values(), strict=True)
    assert not np.array_equal(a[0], b[0])


@pytest.mark.parametrize(("arguments", "message"), [
    ((0, (4,), 1), "members is 0"), ((2, (0,), 1), "entry 0 of hidden is 0"), ((2, (4,), 1, "packed"),
     "kind is 'packed'; expected one of 'mini', 'full', 'independent'"), ((2, (4,), 1, "mini", "relu"),
     "activation is 'relu'; expected a layer")])
def test_what_is_no_ensemble_is_named(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        fb.member_layers(*arguments)
