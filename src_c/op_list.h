/* One row an op, an optimizer, and their kernels: every table of them in C is made from this list.
 *
 *   FBP_OP(name)            an op or a loss; its phases are FN(name_phases)
 *   FBP_OPTIMIZER(name)     an optimizer; its update is FN(name_update)
 *   FBP_KERNEL(name, args)  a kernel usable on its own: outputs, then inputs, then sizes, then scalars
 *
 * The includer defines the three macros (and T) as it needs them. B rows, I inputs, O outputs, n elements, R groups
 * of C features. NULL is allowed where a comment says so.
 */

/* linear: y = act(x W + b), z the value before act (NULL if not wanted), b may be NULL */
FBP_OP(linear)
FBP_KERNEL(linear_forward, (T *restrict y /* (B, O) */, T *restrict z /* (B, O) */, const T *restrict x /* (B, I) */,
                            const T *restrict W /* (I, O) */, const T *restrict b /* (O,) */,
                            int64_t B, int64_t I, int64_t O, int32_t act, double alpha))
FBP_KERNEL(linear_backward_input, (T *restrict dx /* (B, I) */, const T *restrict dy /* (B, O) */,
                                   const T *restrict Wt /* (O, I) */, int64_t B, int64_t I, int64_t O))
FBP_KERNEL(linear_backward_weight, (T *restrict dW /* (I, O) */, T *restrict db /* (O,) or NULL */,
                                    const T *restrict x /* (B, I) */, const T *restrict dy /* (B, O) */,
                                    int64_t B, int64_t I, int64_t O))
FBP_KERNEL(transpose, (T *restrict y /* (C, R) */, const T *restrict x /* (R, C) */, int64_t R, int64_t C))

/* elementwise activations: s is what the derivative is computed from, the output y or the input x */
#define FBP_ACTIVATION(name)                                                                                  \
    FBP_OP(name)                                                                                              \
    FBP_KERNEL(name##_forward, (T *y /* (n,) */, const T *x /* (n,) */, int64_t n, double alpha))             \
    FBP_KERNEL(name##_backward, (T *dx /* (n,) */, const T *dy /* (n,) */, const T *s /* (n,) */, int64_t n, double alpha))
FBP_ACTIVATION(identity)     /* s = y */
FBP_ACTIVATION(relu)         /* s = y */
FBP_ACTIVATION(leaky_relu)   /* s = x, alpha: slope below 0 */
FBP_ACTIVATION(elu)          /* s = x, alpha: limit at -inf, negated */
FBP_ACTIVATION(selu)         /* s = x */
FBP_ACTIVATION(gelu)         /* s = x */
FBP_ACTIVATION(gelu_tanh)    /* s = x */
FBP_ACTIVATION(silu)         /* s = x */
FBP_ACTIVATION(mish)         /* s = x */
FBP_ACTIVATION(sigmoid)      /* s = y */
FBP_ACTIVATION(tanh)         /* s = y */
FBP_ACTIVATION(softplus)     /* s = x */
FBP_ACTIVATION(hardswish)    /* s = x */
#undef FBP_ACTIVATION

FBP_OP(softmax)
FBP_KERNEL(softmax_forward, (T *y /* (R, C) */, const T *x /* (R, C) */, int64_t R, int64_t C))
FBP_KERNEL(softmax_backward, (T *dx /* (R, C) */, const T *dy /* (R, C) */, const T *y /* (R, C) */, int64_t R, int64_t C))

/* dropout: element number `first` + i is kept, and scaled by 1/(1 - rate), as Philox4x32-10 says */
FBP_OP(dropout)
FBP_KERNEL(dropout_forward, (T *y /* (n,) */, const T *x /* (n,) */, int64_t n, int64_t first, double rate,
                             uint64_t seed, uint64_t step, int64_t node))
FBP_KERNEL(dropout_backward, (T *dx /* (n,) */, const T *dy /* (n,) */, int64_t n, int64_t first, double rate,
                              uint64_t seed, uint64_t step, int64_t node))

FBP_OP(batch_norm)
FBP_KERNEL(batch_norm_statistics, (T *mean /* (C,) */, T *rstd /* (C,) */, T *running_mean /* (C,) or NULL */,
                                   T *running_var /* (C,) or NULL */, const T *x /* (R, C) */, int64_t R, int64_t C,
                                   double momentum, double eps))
FBP_KERNEL(batch_norm_forward, (T *y /* (R, C) */, const T *x /* (R, C) */, const T *mean /* (C,) */,
                                const T *rstd /* (C,) */, const T *weight /* (C,) */, const T *bias /* (C,) */,
                                int64_t R, int64_t C))
FBP_KERNEL(batch_norm_backward_weight, (T *dweight /* (C,) */, T *dbias /* (C,) */, const T *dy /* (R, C) */,
                                        const T *x /* (R, C) */, const T *mean /* (C,) */, const T *rstd /* (C,) */,
                                        int64_t R, int64_t C))
FBP_KERNEL(batch_norm_backward_input, (T *dx /* (R, C) */, const T *dy /* (R, C) */, const T *x /* (R, C) */,
                                       const T *mean /* (C,) */, const T *rstd /* (C,) */, const T *weight /* (C,) */,
                                       const T *dweight /* (C,) */, const T *dbias /* (C,) */, int64_t R, int64_t C,
                                       int64_t R_total))

FBP_OP(layer_norm)
FBP_KERNEL(layer_norm_forward, (T *y /* (R, C) */, T *mean /* (R,) */, T *rstd /* (R,) */, const T *x /* (R, C) */,
                                const T *weight /* (C,) */, const T *bias /* (C,) */, int64_t R, int64_t C, double eps))
FBP_KERNEL(layer_norm_backward_input, (T *dx /* (R, C) */, const T *dy /* (R, C) */, const T *x /* (R, C) */,
                                       const T *mean /* (R,) */, const T *rstd /* (R,) */, const T *weight /* (C,) */,
                                       int64_t R, int64_t C))
FBP_KERNEL(layer_norm_backward_weight, (T *dweight /* (C,) */, T *dbias /* (C,) */, const T *dy /* (R, C) */,
                                        const T *x /* (R, C) */, const T *mean /* (R,) */, const T *rstd /* (R,) */,
                                        int64_t R, int64_t C))

FBP_OP(add)
FBP_KERNEL(add_forward, (T *y /* (n,) */, const T *a /* (n,) */, const T *b /* (n,) */, int64_t n))
FBP_OP(mul)
FBP_KERNEL(mul_forward, (T *y /* (n,) */, const T *a /* (n,) */, const T *b /* (n,) */, int64_t n))
FBP_KERNEL(mul_backward, (T *da /* (n,) or NULL */, T *db /* (n,) or NULL */, const T *dy /* (n,) */,
                          const T *a /* (n,) */, const T *b /* (n,) */, int64_t n))
FBP_OP(concat)
FBP_KERNEL(concat_forward, (T *y /* (R, na + nb) */, const T *a /* (R, na) */, const T *b /* (R, nb) */,
                            int64_t R, int64_t na, int64_t nb))
FBP_KERNEL(concat_backward, (T *da /* (R, na) or NULL */, T *db /* (R, nb) or NULL */, const T *dy /* (R, na + nb) */,
                             int64_t R, int64_t na, int64_t nb))

/* losses: row_loss[r] = weight[r] * l(x[r], target[r]), and its gradient dx (NULL if not wanted); weight sums to 1 */
#define FBP_LOSS(name, target_type)                                                                             \
    FBP_OP(name)                                                                                                \
    FBP_KERNEL(name, (double *row_loss /* (B,) */, T *dx /* (B, D) */, const T *x /* (B, D) */,                 \
                      const target_type *target, const T *weight /* (B,) */,                                    \
                      const T *constants /* (D,) or NULL */, int64_t B, int64_t D, double attr))
FBP_LOSS(mse, T)                     /* target (B, D) */
FBP_LOSS(mae, T)                     /* target (B, D) */
FBP_LOSS(huber, T)                   /* target (B, D); attr: delta */
FBP_LOSS(cross_entropy, int64_t)     /* target (B,) labels; constants: class weights; attr: label smoothing */
FBP_LOSS(soft_cross_entropy, T)      /* target (B, D) probabilities; constants and attr likewise */
FBP_LOSS(binary_cross_entropy, T)    /* target (B, D) in [0, 1]; constants: weights of the positive class */
FBP_LOSS(poisson_nll, T)             /* target (B, D) counts */
FBP_LOSS(gaussian_nll, T)            /* x (B, 2 D'): means, then log-variances; target (B, D') */
FBP_LOSS(quantile, T)                /* target (B, D); constants: the quantile of each column */
FBP_LOSS(half_squared_error, T)      /* target (B, D) */
#undef FBP_LOSS

FBP_OPTIMIZER(sgd)
FBP_OPTIMIZER(rmsprop)
FBP_OPTIMIZER(adagrad)
FBP_OPTIMIZER(adam)
FBP_OPTIMIZER(lion)
