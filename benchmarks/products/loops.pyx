# cython: language_level=3, boundscheck=False, wraparound=False
"""The three products of a linear layer in C loops: fastbp's kernels, and the BLAS that SciPy brings."""

from scipy.linalg.cython_blas cimport sgemm

from fastbp.engine.kernels cimport (
    fbp_activation,
    fbp_linear_backward_input,
    fbp_linear_backward_weight,
    fbp_linear_forward,
)


def forward(float[:, ::1] y, const float[:, ::1] x, const float[:, ::1] W, long n):
    """y = x W, n times."""
    cdef int identity = fbp_activation("identity")
    cdef long _
    with nogil:
        for _ in range(n):
            fbp_linear_forward[float](y, None, x, W, None, identity, 0)


def backward_input(float[:, ::1] dx, const float[:, ::1] dy, const float[:, ::1] Wt, long n):
    """dx = dy Wᵀ, n times."""
    cdef long _
    with nogil:
        for _ in range(n):
            fbp_linear_backward_input[float](dx, dy, Wt)


def backward_weight(float[:, ::1] dW, const float[:, ::1] x, const float[:, ::1] dy, long n):
    """dW = xᵀ dy, n times."""
    cdef long _
    with nogil:
        for _ in range(n):
            fbp_linear_backward_weight[float](dW, None, x, dy)


def blas(float[:, ::1] c, const float[:, ::1] a, const float[:, ::1] b, bint transposed, long n):
    """c = a b, or aᵀ b, n times: as bᵀ aᵀ in BLAS's order of columns."""
    cdef int columns = c.shape[1], rows = c.shape[0], inner = b.shape[0], lda = a.shape[1]
    cdef char *trans = b"T" if transposed else b"N"
    cdef float one = 1, zero = 0
    cdef long _
    with nogil:
        for _ in range(n):
            sgemm(b"N", trans, &columns, &rows, &inner, &one, <float *> &b[0, 0], &columns, <float *> &a[0, 0], &lda,
                  &zero, &c[0, 0], &columns)
