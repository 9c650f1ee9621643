"""The ops: what a computational graph is made of, as readable NumPy. One op, one file; the C twins are in src_c/ops."""
