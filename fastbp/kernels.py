"""What ``import fastbp.kernels`` finds: the module :mod:`fastbp.engine.kernels` itself."""

import sys

from fastbp.engine import kernels
from fastbp.engine.kernels import *  # noqa: F403  for type checkers: they take this file for what it is

sys.modules[__name__] = kernels
