"""Calls of functions on typed memoryviews, for test_typed_kernels.py, which builds this against what is installed."""

from libc.stdint cimport int64_t

from fastbp.engine.kernels cimport (
    fbp_activation,
    fbp_concat_backward,
    fbp_cross_entropy,
    fbp_dropout_forward,
    fbp_gaussian_nll,
    fbp_isa,
    fbp_linear_forward,
    fbp_mul_backward,
    fbp_sgd_update,
    fbp_transpose,
    real,
)


def linear_forward(real[:, ::1] y, real[:, ::1] z, const real[:, ::1] x, const real[:, ::1] W, const real[::1] b,
                   act, double alpha):
    cdef int code = act if isinstance(act, int) else fbp_activation(act)
    with nogil:
        fbp_linear_forward[real](y, z, x, W, b, code, alpha)


def linear_forward_of(str isa, double[:, ::1] y, const double[:, ::1] x, const double[:, ::1] W):
    cdef const void *table = fbp_isa(isa)
    with nogil:
        fbp_linear_forward[double](y, None, x, W, None, fbp_activation_of_identity(), 0, table)


cdef int fbp_activation_of_identity() noexcept with gil:
    return fbp_activation("identity")


def transpose(float[:, ::1] y, const float[:, ::1] x):
    fbp_transpose(y, x)


def mul_backward(double[::1] da, double[::1] db, const double[::1] dy, const double[::1] a, const double[::1] b):
    fbp_mul_backward(da, db, dy, a, b)


def concat_backward(double[:, ::1] da, double[:, ::1] db, const double[:, ::1] dy, int64_t na, int64_t nb):
    fbp_concat_backward(da, db, dy, na, nb)


def cross_entropy(double[::1] row_loss, float[:, ::1] dx, const float[:, ::1] x, const int64_t[::1] target,
                  const float[::1] weight, double label_smoothing):
    fbp_cross_entropy[float](row_loss, dx, x, target, weight, label_smoothing)


def gaussian_nll(double[::1] row_loss, const float[:, ::1] x, const float[:, ::1] target, const float[::1] weight):
    fbp_gaussian_nll[float](row_loss, None, x, target, weight)


def dropout_forward(float[::1] y, const float[::1] x, int64_t first, double rate):
    fbp_dropout_forward(y, x, first, rate, 0, 0, 0)


def sgd_update(float[::1] p, float[::1] velocity, const float[::1] g, int64_t step):
    return fbp_sgd_update(p, velocity, g, 0.1, step, 0.9, 0, 0)
