# What type checkers take "import fastbp.kernels" for; at run time it is the module fastbp.engine.kernels.
from fastbp.engine.kernels import *  # noqa: F403
