"""A training loop of one's own in Cython: fastbp's kernels on typed memoryviews, no Python in the loop, no GIL.

A network of one hidden layer learns the sine from 64 points by gradient descent. Build it where fastbp and Cython are
installed, and run it:

    cythonize -i own_loop.pyx
    python -c "import own_loop; own_loop.main()"
"""

from fastbp.engine.kernels cimport (
    fbp_activation,
    fbp_linear_backward_input,
    fbp_linear_backward_weight,
    fbp_linear_forward,
    fbp_mse,
    fbp_sgd_update,
    fbp_tanh_backward,
    fbp_transpose,
)

import numpy as np


cdef class Layer:
    """A linear layer with everything that training it takes."""

    cdef float[:, ::1] W, dW, Wt
    cdef float[::1] b, db, W_velocity, b_velocity, W_flat, dW_flat

    def __init__(self, int inputs, int outputs, rng):
        weight = rng.uniform(-1, 1, (inputs, outputs)).astype(np.float32) * (3 / inputs) ** 0.5
        self.W, self.b = weight.astype(np.float32), np.zeros(outputs, np.float32)
        self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)
        self.Wt = np.zeros((outputs, inputs), np.float32)
        self.W_velocity, self.b_velocity = np.zeros(inputs * outputs, np.float32), np.zeros(outputs, np.float32)
        self.W_flat, self.dW_flat = np.asarray(self.W).reshape(-1), np.asarray(self.dW).reshape(-1)

    cdef int update(self, double lr, int step) except -1 nogil:
        fbp_sgd_update(self.W_flat, self.W_velocity, self.dW_flat, lr, step, 0.9, 0, 0)
        fbp_sgd_update(self.b, self.b_velocity, self.db, lr, step, 0.9, 0, 0)
        return 0


def train(int steps, double lr=0.05, int hidden=32, int seed=0):
    """Return the loss after so many steps."""
    rng = np.random.default_rng(seed)
    cdef Layer first = Layer(1, hidden, rng), second = Layer(hidden, 1, rng)
    points = np.linspace(-3, 3, 64, dtype=np.float32)[:, None]
    cdef const float[:, ::1] x = points, target = np.sin(points)
    cdef const float[::1] weight = np.full(64, 1 / 64, np.float32)
    cdef float[:, ::1] h = np.zeros((64, hidden), np.float32), dh = np.zeros((64, hidden), np.float32)
    cdef float[:, ::1] y = np.zeros((64, 1), np.float32), dy = np.zeros((64, 1), np.float32)
    cdef float[::1] h_flat = np.asarray(h).reshape(-1), dh_flat = np.asarray(dh).reshape(-1)
    cdef double[::1] row_loss = np.zeros(64)
    cdef int tanh = fbp_activation("tanh"), identity = fbp_activation("identity"), step
    with nogil:
        for step in range(1, steps + 1):
            fbp_linear_forward[float](h, None, x, first.W, first.b, tanh, 0)
            fbp_linear_forward[float](y, None, h, second.W, second.b, identity, 0)
            fbp_mse(row_loss, dy, y, target, weight)
            fbp_linear_backward_weight(second.dW, second.db, h, dy)
            fbp_transpose(second.Wt, second.W)
            fbp_linear_backward_input(dh, dy, second.Wt)
            fbp_tanh_backward(dh_flat, dh_flat, h_flat)
            fbp_linear_backward_weight(first.dW, first.db, x, dh)
            first.update(lr, step)
            second.update(lr, step)
    return np.sum(row_loss)


def main(steps=5000):
    for n in (1, steps // 10, steps):
        print(f"loss after {n} steps: {train(n):.6f}")
