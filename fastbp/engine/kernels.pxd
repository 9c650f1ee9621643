# Made by tools/generate_kernels.py from src_c/op_list.h: python tools/generate_kernels.py pxd
# What Cython code of your own may cimport; the documentation of fastbp.kernels says how.
from libc.stdint cimport int32_t, int64_t, uint64_t

ctypedef fused real:
    float
    double

cdef const void *fbp_isa(str name) except NULL
cdef int32_t fbp_activation(str name) except -1

cdef int fbp_linear_forward(real[:, ::1] y, real[:, ::1] z, const real[:, ::1] x, const real[:, ::1] W,
                            const real[::1] b, int32_t act, double alpha, const void *isa=*) except -1 nogil
cdef int fbp_linear_backward_input(real[:, ::1] dx, const real[:, ::1] dy, const real[:, ::1] Wt,
                                   const void *isa=*) except -1 nogil
cdef int fbp_linear_backward_weight(real[:, ::1] dW, real[::1] db, const real[:, ::1] x, const real[:, ::1] dy,
                                    const void *isa=*) except -1 nogil
cdef int fbp_transpose(real[:, ::1] y, const real[:, ::1] x, const void *isa=*) except -1 nogil
cdef int fbp_linear_back_forward(real[:, ::1] y, const real[:, ::1] x, const real[:, ::1] W,
                                 const void *isa=*) except -1 nogil
cdef int fbp_sparse_linear_forward(real[:, ::1] y, const real[::1] values, const int64_t[::1] columns,
                                   const int64_t[::1] begin, const int64_t[::1] end, const real[:, ::1] W,
                                   const real[::1] b, const void *isa=*) except -1 nogil
cdef int fbp_sparse_linear_backward_weight(real[:, ::1] dW, real[::1] db, const real[::1] values,
                                           const int64_t[::1] columns, const int64_t[::1] begin,
                                           const int64_t[::1] end, const real[:, ::1] dy, int64_t I,
                                           const void *isa=*) except -1 nogil
cdef int fbp_identity_forward(real[::1] y, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_identity_backward(real[::1] dx, const real[::1] dy, const real[::1] y, const void *isa=*) except -1 nogil
cdef int fbp_relu_forward(real[::1] y, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_relu_backward(real[::1] dx, const real[::1] dy, const real[::1] y, const void *isa=*) except -1 nogil
cdef int fbp_leaky_relu_forward(real[::1] y, const real[::1] x, double alpha, const void *isa=*) except -1 nogil
cdef int fbp_leaky_relu_backward(real[::1] dx, const real[::1] dy, const real[::1] x, double alpha,
                                 const void *isa=*) except -1 nogil
cdef int fbp_elu_forward(real[::1] y, const real[::1] x, double alpha, const void *isa=*) except -1 nogil
cdef int fbp_elu_backward(real[::1] dx, const real[::1] dy, const real[::1] x, double alpha,
                          const void *isa=*) except -1 nogil
cdef int fbp_selu_forward(real[::1] y, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_selu_backward(real[::1] dx, const real[::1] dy, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_gelu_forward(real[::1] y, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_gelu_backward(real[::1] dx, const real[::1] dy, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_gelu_tanh_forward(real[::1] y, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_gelu_tanh_backward(real[::1] dx, const real[::1] dy, const real[::1] x,
                                const void *isa=*) except -1 nogil
cdef int fbp_silu_forward(real[::1] y, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_silu_backward(real[::1] dx, const real[::1] dy, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_mish_forward(real[::1] y, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_mish_backward(real[::1] dx, const real[::1] dy, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_sigmoid_forward(real[::1] y, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_sigmoid_backward(real[::1] dx, const real[::1] dy, const real[::1] y, const void *isa=*) except -1 nogil
cdef int fbp_tanh_forward(real[::1] y, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_tanh_backward(real[::1] dx, const real[::1] dy, const real[::1] y, const void *isa=*) except -1 nogil
cdef int fbp_softplus_forward(real[::1] y, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_softplus_backward(real[::1] dx, const real[::1] dy, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_hardswish_forward(real[::1] y, const real[::1] x, const void *isa=*) except -1 nogil
cdef int fbp_hardswish_backward(real[::1] dx, const real[::1] dy, const real[::1] x,
                                const void *isa=*) except -1 nogil
cdef int fbp_softmax_forward(real[:, ::1] y, const real[:, ::1] x, const void *isa=*) except -1 nogil
cdef int fbp_softmax_backward(real[:, ::1] dx, const real[:, ::1] dy, const real[:, ::1] y,
                              const void *isa=*) except -1 nogil
cdef int fbp_dropout_forward(real[::1] y, const real[::1] x, int64_t first, double rate, uint64_t seed, uint64_t step,
                             int64_t node, const void *isa=*) except -1 nogil
cdef int fbp_dropout_backward(real[::1] dx, const real[::1] dy, int64_t first, double rate, uint64_t seed,
                              uint64_t step, int64_t node, const void *isa=*) except -1 nogil
cdef int fbp_batch_norm_statistics(real[::1] mean, real[::1] rstd, real[::1] running_mean, real[::1] running_var,
                                   const real[:, ::1] x, double momentum, double eps,
                                   const void *isa=*) except -1 nogil
cdef int fbp_batch_norm_forward(real[:, ::1] y, const real[:, ::1] x, const real[::1] mean, const real[::1] rstd,
                                const real[::1] weight, const real[::1] bias, const void *isa=*) except -1 nogil
cdef int fbp_batch_norm_backward_weight(real[::1] dweight, real[::1] dbias, const real[:, ::1] dy,
                                        const real[:, ::1] x, const real[::1] mean, const real[::1] rstd,
                                        const void *isa=*) except -1 nogil
cdef int fbp_batch_norm_backward_input(real[:, ::1] dx, const real[:, ::1] dy, const real[:, ::1] x,
                                       const real[::1] mean, const real[::1] rstd, const real[::1] weight,
                                       const real[::1] dweight, const real[::1] dbias, int64_t R_total,
                                       const void *isa=*) except -1 nogil
cdef int fbp_layer_norm_forward(real[:, ::1] y, real[::1] mean, real[::1] rstd, const real[:, ::1] x,
                                const real[::1] weight, const real[::1] bias, double eps,
                                const void *isa=*) except -1 nogil
cdef int fbp_layer_norm_backward_input(real[:, ::1] dx, const real[:, ::1] dy, const real[:, ::1] x,
                                       const real[::1] mean, const real[::1] rstd, const real[::1] weight,
                                       const void *isa=*) except -1 nogil
cdef int fbp_layer_norm_backward_weight(real[::1] dweight, real[::1] dbias, const real[:, ::1] dy,
                                        const real[:, ::1] x, const real[::1] mean, const real[::1] rstd,
                                        const void *isa=*) except -1 nogil
cdef int fbp_add_forward(real[::1] y, const real[::1] a, const real[::1] b, const void *isa=*) except -1 nogil
cdef int fbp_mul_forward(real[::1] y, const real[::1] a, const real[::1] b, const void *isa=*) except -1 nogil
cdef int fbp_mul_backward(real[::1] da, real[::1] db, const real[::1] dy, const real[::1] a, const real[::1] b,
                          const void *isa=*) except -1 nogil
cdef int fbp_concat_forward(real[:, ::1] y, const real[:, ::1] a, const real[:, ::1] b,
                            const void *isa=*) except -1 nogil
cdef int fbp_concat_backward(real[:, ::1] da, real[:, ::1] db, const real[:, ::1] dy, int64_t na, int64_t nb,
                             const void *isa=*) except -1 nogil
cdef int fbp_embedding_forward(real[:, ::1] y, const real[:, ::1] W, const int64_t[::1] ids,
                               const void *isa=*) except -1 nogil
cdef int fbp_embedding_backward(real[:, ::1] dW, const real[:, ::1] dy, const int64_t[::1] ids, int64_t N,
                                const void *isa=*) except -1 nogil
cdef int fbp_mse(double[::1] row_loss, real[:, ::1] dx, const real[:, ::1] x, const real[:, ::1] target,
                 const real[::1] weight, const void *isa=*) except -1 nogil
cdef int fbp_mae(double[::1] row_loss, real[:, ::1] dx, const real[:, ::1] x, const real[:, ::1] target,
                 const real[::1] weight, const void *isa=*) except -1 nogil
cdef int fbp_huber(double[::1] row_loss, real[:, ::1] dx, const real[:, ::1] x, const real[:, ::1] target,
                   const real[::1] weight, double delta, const void *isa=*) except -1 nogil
cdef int fbp_cross_entropy(double[::1] row_loss, real[:, ::1] dx, const real[:, ::1] x, const int64_t[::1] target,
                           const real[::1] weight, double label_smoothing, const void *isa=*) except -1 nogil
cdef int fbp_soft_cross_entropy(double[::1] row_loss, real[:, ::1] dx, const real[:, ::1] x, const real[:, ::1] target,
                                const real[::1] weight, double label_smoothing, const void *isa=*) except -1 nogil
cdef int fbp_binary_cross_entropy(double[::1] row_loss, real[:, ::1] dx, const real[:, ::1] x,
                                  const real[:, ::1] target, const real[::1] weight, const real[::1] pos_weight,
                                  const void *isa=*) except -1 nogil
cdef int fbp_poisson_nll(double[::1] row_loss, real[:, ::1] dx, const real[:, ::1] x, const real[:, ::1] target,
                         const real[::1] weight, const void *isa=*) except -1 nogil
cdef int fbp_gaussian_nll(double[::1] row_loss, real[:, ::1] dx, const real[:, ::1] x, const real[:, ::1] target,
                          const real[::1] weight, const void *isa=*) except -1 nogil
cdef int fbp_quantile(double[::1] row_loss, real[:, ::1] dx, const real[:, ::1] x, const real[:, ::1] target,
                      const real[::1] weight, const real[::1] quantiles, const void *isa=*) except -1 nogil
cdef int fbp_half_squared_error(double[::1] row_loss, real[:, ::1] dx, const real[:, ::1] x, const real[:, ::1] target,
                                const real[::1] weight, const void *isa=*) except -1 nogil
cdef int fbp_sgd_update(real[::1] p, real[::1] velocity, const real[::1] g, double lr, int64_t step, double momentum,
                        double nesterov, double weight_decay, const void *isa=*) except -1 nogil
cdef int fbp_rmsprop_update(real[::1] p, real[::1] square_avg, real[::1] velocity, const real[::1] g, double lr,
                            int64_t step, double alpha, double eps, double momentum, double weight_decay,
                            const void *isa=*) except -1 nogil
cdef int fbp_adagrad_update(real[::1] p, real[::1] sum_of_squares, const real[::1] g, double lr, int64_t step,
                            double eps, double weight_decay, const void *isa=*) except -1 nogil
cdef int fbp_adam_update(real[::1] p, real[::1] exp_avg, real[::1] exp_avg_sq, const real[::1] g, double lr,
                         int64_t step, double beta1, double beta2, double eps, double decoupled, double weight_decay,
                         const void *isa=*) except -1 nogil
cdef int fbp_lion_update(real[::1] p, real[::1] exp_avg, const real[::1] g, double lr, int64_t step, double beta1,
                         double beta2, double weight_decay, const void *isa=*) except -1 nogil
