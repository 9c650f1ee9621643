r"""Philox4x32-10: random numbers that are a function of a counter and a key, so that any of them can be had at once.

Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3", https://doi.org/10.1145/2063384.2063405. Ten
rounds turn a counter of four 32-bit words, under a key of two, into four random words. A round multiplies two words by
odd constants and mixes the high halves of the products with the other two and the key.
"""

from __future__ import annotations

import numpy as np

from fastbp.ops.base import Array, Shape

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def philox(counter: tuple[Array, Array, Array, Array], key: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """Return the four random words of each counter.

    Parameters
    ----------
    counter : four arrays of uint64, each below 2**32, of one shape
    key : two integers below 2**32

    Examples
    --------
    >>> zero = np.zeros(1, np.uint64)
    >>> [hex(int(word[0])) for word in philox((zero, zero, zero, zero), (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    for r in range(_ROUNDS):
        k0, k1 = (np.uint64((k + r * step) % 2**32) for k, step in zip(key, _KEY_STEPS, strict=True))
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
    return c0, c1, c2, c3


def random_words(count: int, seed: int, step: int, node: int) -> Array:
    """Return the first ``count`` random 32-bit words of one use of an op at one step, as uint64.

    Word e is word e % 4 of block k = e // 4. Its counter is (low(k), high(k) ^ high(step), low(node), low(step)) and
    its key (low(seed), high(seed)), where low and high are the halves of 64 bits.

    >>> random_words(3, seed=0, step=0, node=0).tolist() == [0x6627e8d5, 0xe169c58d, 0xbc57ac4c]
    True
    """
    block = np.arange((count + 3) // 4, dtype=np.uint64)
    fill = np.zeros_like(block)
    counter = (block & _LOW, (block >> _32) ^ np.uint64(step >> 32 & 0xFFFFFFFF),
               fill | np.uint64(node & 0xFFFFFFFF), fill | np.uint64(step & 0xFFFFFFFF))
    words = philox(counter, (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF))
    return np.stack(words, axis=-1).reshape(-1)[:count]


def keep_mask(shape: Shape, rate: float, seed: int, step: int, node: int) -> Array:
    """Return which elements of an array of this shape dropout keeps: True with probability ``1 - rate``.

    Element e, counted in row-major order over the whole batch, is kept where its word is at least
    ``floor(rate * 2**32)``.
    """
    words = random_words(int(np.prod(shape)), seed, step, node)
    return (words >= np.uint64(int(rate * 2**32))).reshape(shape)
