"""A recommender: what users think of items, from vectors of both that are learnt by their ids.

    python examples/recommender.py

The ratings are made up: people and things have four hidden tastes each, of which a rating shows the product and noise.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import fastbp as fb

USERS, ITEMS, TASTES = 400, 250, 4


def main() -> None:
    """Train on most ratings, compare on the others, recommend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    ids, ratings = ratings_of(np.random.default_rng(0), 30_000)
    train, test = slice(0, 25_000), slice(25_000, None)
    net = network(options.backend)
    trainer = fb.Trainer(net, fb.MSE(), fb.AdamW(0.02, weight_decay=0.02))
    trainer.fit(ids[train], ratings[train], epochs=options.epochs, batch_size=256, progress=False)
    print(f"error of each rating: {rms(net.predict(ids[test])[:, 0] - ratings[test]):.3f}, of the mean rating for all: "
          f"{rms(ratings[train].mean() - ratings[test]):.3f}; the noise alone is 0.1")
    user = 7
    scores = net.predict(np.column_stack([np.full(ITEMS, user), np.arange(ITEMS)]))[:, 0]
    print(f"user {user} may like the items {', '.join(map(str, np.argsort(-scores)[:5]))}")


def ratings_of(rng: np.random.Generator, count: int) -> tuple[Any, Any]:
    """Return ids (N, 2) of users and items, and ratings (N,)."""
    users, items = (rng.standard_normal((n, TASTES)) / TASTES**0.25 for n in (USERS, ITEMS))
    ids = np.column_stack([rng.integers(0, USERS, count), rng.integers(0, ITEMS, count)])
    ratings = (users[ids[:, 0]] * items[ids[:, 1]]).sum(axis=1) + 0.1 * rng.standard_normal(count)
    return ids, ratings


def network(backend: Any) -> fb.Network:
    """Return a network from (B, 2) ids to a rating: the product of both vectors, and what each adds by itself."""
    ids = fb.Input(2, dtype="int64")
    vectors = fb.Embedding([USERS, ITEMS], 8, weight_init=fb.Normal(std=0.3), name="tastes")(ids)
    alone = fb.Embedding([USERS, ITEMS], 1, weight_init=fb.Zeros(), name="alone")(ids)
    product = fb.Lambda(lambda v: (v[:, :8] * v[:, 8:]).sum(axis=1, keepdims=True))(vectors)
    return fb.Network(ids, fb.Add()(product, fb.Linear(2, 1, weight_init=fb.Ones())(alone)), seed=0, backend=backend)


def rms(errors: Any) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(errors))))


if __name__ == "__main__":
    main()
