# What "from fastbp.kernels cimport …" finds.
from fastbp.engine.kernels cimport *
