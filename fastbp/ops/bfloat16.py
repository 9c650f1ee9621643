"""bfloat16: the upper half of float32, with its exponents and 8 significant bits."""

from __future__ import annotations

import numpy as np

from fastbp.ops.base import Array


def round_to_bfloat16(x: Array) -> Array:
    """Return float32 numbers rounded to the nearest bfloat16, ties to even, as float32.

    Numbers too large for bfloat16 become infinite; NaN stays NaN. Subnormal numbers are kept, which CPUs take for 0.

    Examples
    --------
    >>> import numpy as np
    >>> round_to_bfloat16(np.array([1.0, 1.003, 1.005, -1e-3], np.float32)).tolist()
    [1.0, 1.0, 1.0078125, -0.00099945068359375]
    """
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    with np.errstate(over="ignore"):
        rounded = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(x), x, rounded.view(np.float32))
