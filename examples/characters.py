"""A model of characters that learns a short text and then writes: a causal transformer, or a GRU.

    python examples/characters.py --model gru

The text is the Zen of Python, which every Python has.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
from typing import Any

import numpy as np

import fastbp as fb

WINDOW = 32


def main() -> None:
    """Train, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("transformer", "gru"), default="transformer")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--backend", choices=("native", "reference"), default="native")
    options = parser.parse_args()

    text = zen()
    letters = sorted(set(text))
    codes = np.array([letters.index(c) for c in text])
    one_hot = np.eye(len(letters), dtype=np.float32)
    net = network(options.model, len(letters), options.backend)
    trainer = fb.Trainer(net, fb.CrossEntropy(), fb.Adam(3e-3), clip_norm=1.0)
    rng = np.random.default_rng(0)
    for step in range(1, options.steps + 1):
        starts = rng.integers(0, len(codes) - WINDOW - 1, 16)
        places = starts[:, None] + np.arange(WINDOW)
        loss = trainer.step(one_hot[codes[places]], codes[places + 1])
        if step in (1, options.steps // 2, options.steps):
            print(f"step {step}: {loss / np.log(2):.2f} bits a character")
    print("writes:", write(net, codes[:WINDOW], one_hot, letters, 80))


def zen() -> str:
    """Return the Zen of Python."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    return codecs.decode(this.s, "rot13")


def network(model: str, letters: int, backend: Any) -> fb.Network:
    """Return a network from one-hot letters (B, T, letters) to logits of the next ones."""
    if model == "gru":
        return fb.Sequential(fb.Input(WINDOW, letters), fb.GRU(letters, 96), fb.Linear(96, letters), seed=0,
                             backend=backend)
    return fb.Sequential(
        fb.Input(WINDOW, letters), fb.Linear(letters, 64), fb.Positions(WINDOW),
        fb.TransformerEncoderLayer(64, 4, 128, 0.0, norm_first=True, is_causal=True),
        fb.TransformerEncoderLayer(64, 4, 128, 0.0, norm_first=True, is_causal=True),
        fb.LayerNorm(), fb.Linear(64, letters), seed=0, backend=backend)


def write(net: fb.Network, start: Any, one_hot: Any, letters: list[str], count: int) -> str:
    """Return what the network goes on with after a start, the most likely letter each time.

    Letters go through it one after the other; what came before is in the state. As it has learnt no positions beyond
    the window, it starts anew from the last half of it when that is full.
    """
    codes = list(start)
    logits, state = net.step(one_hot[codes][None])
    while len(codes) < len(start) + count:
        codes.append(int(logits[0, -1].argmax()))
        if state.steps < WINDOW:
            logits, state = net.step(one_hot[codes[-1:]][None], state)
        else:
            logits, state = net.step(one_hot[codes[-WINDOW // 2:]][None])
    return "".join(letters[c] for c in codes[len(start):])


if __name__ == "__main__":
    main()
