/* One row an op, an optimizer, and their kernels: every table of them in C is made from this list.
 *
 *   FBP_OP(name)            an op or a loss; its phases are FN(name_phases)
 *   FBP_OPTIMIZER(name)     an optimizer; its update is FN(name_update)
 *   FBP_KERNEL(name, args)  a kernel usable on its own: outputs, then inputs, then sizes, then scalars
 *
 * The includer defines the three macros (and T) as it needs them. B rows, I inputs, O outputs, n elements, R groups
 * of C features. NULL is allowed where a comment says so. fastbp.kernels is made from this file as well: the comment
 * above a kernel, or beside its row, becomes its documentation, and names what `alpha`, `attr` and `constants` mean.
 */

FBP_OP(linear)
/* y = act(x W + b); z: the value before act; alpha: the hyperparameter of act */
FBP_KERNEL(linear_forward, (T *restrict y /* (B, O) */, T *restrict z /* (B, O) or NULL */,
                            const T *restrict x /* (B, I) */, const T *restrict W /* (I, O) */,
                            const T *restrict b /* (O,) or NULL */,
                            int64_t B, int64_t I, int64_t O, int32_t act, double alpha))
/* dx = dy Wt, where Wt is W transposed */
FBP_KERNEL(linear_backward_input, (T *restrict dx /* (B, I) */, const T *restrict dy /* (B, O) */,
                                   const T *restrict Wt /* (O, I) */, int64_t B, int64_t I, int64_t O))
/* dW = transposed x times dy; db = sum of dy over the rows */
FBP_KERNEL(linear_backward_weight, (T *restrict dW /* (I, O) */, T *restrict db /* (O,) or NULL */,
                                    const T *restrict x /* (B, I) */, const T *restrict dy /* (B, O) */,
                                    int64_t B, int64_t I, int64_t O))
/* y[c, r] = x[r, c] */
FBP_KERNEL(transpose, (T *restrict y /* (C, R) */, const T *restrict x /* (R, C) */, int64_t R, int64_t C))

/* elementwise activations: s is what the derivative is computed from, the output y or the input x */
#ifndef FBP_ACTIVATION
#define FBP_ACTIVATION(name)                                                                                  \
    FBP_OP(name)                                                                                              \
    FBP_KERNEL(name##_forward, (T *y /* (n,) */, const T *x /* (n,) */, int64_t n, double alpha))             \
    FBP_KERNEL(name##_backward, (T *dx /* (n,) */, const T *dy /* (n,) */, const T *s /* (n,) */,             \
                                 int64_t n, double alpha))
#endif
FBP_ACTIVATION(identity)     /* s = y; y = x */
FBP_ACTIVATION(relu)         /* s = y; y = max(x, 0) */
FBP_ACTIVATION(leaky_relu)   /* s = x; y = x if x > 0 else alpha x; alpha: slope below 0 */
FBP_ACTIVATION(elu)          /* s = x; y = x if x > 0 else alpha (exp(x) - 1); alpha: limit at -inf, negated */
FBP_ACTIVATION(selu)         /* s = x; y = 1.0507 (x if x > 0 else 1.6733 (exp(x) - 1)) */
FBP_ACTIVATION(gelu)         /* s = x; y = x Phi(x) = x (1 + erf(x / sqrt(2))) / 2 */
FBP_ACTIVATION(gelu_tanh)    /* s = x; y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 */
FBP_ACTIVATION(silu)         /* s = x; y = x / (1 + exp(-x)) */
FBP_ACTIVATION(mish)         /* s = x; y = x tanh(log(1 + exp(x))) */
FBP_ACTIVATION(sigmoid)      /* s = y; y = 1 / (1 + exp(-x)) */
FBP_ACTIVATION(tanh)         /* s = y; y = tanh(x) */
FBP_ACTIVATION(softplus)     /* s = x; y = log(1 + exp(x)) */
FBP_ACTIVATION(hardswish)    /* s = x; y = x min(max(x + 3, 0), 6) / 6 */
#undef FBP_ACTIVATION

FBP_OP(softmax)
/* y = exp(x) / sum of exp(x), over the last axis */
FBP_KERNEL(softmax_forward, (T *y /* (R, C) */, const T *x /* (R, C) */, int64_t R, int64_t C))
/* dx = y (dy - sum of dy y) */
FBP_KERNEL(softmax_backward, (T *dx /* (R, C) */, const T *dy /* (R, C) */, const T *y /* (R, C) */,
                              int64_t R, int64_t C))

FBP_OP(dropout)
/* y = x / (1 - rate) where element number `first` + i is kept, as Philox4x32-10 says, else 0 */
FBP_KERNEL(dropout_forward, (T *y /* (n,) */, const T *x /* (n,) */, int64_t n, int64_t first, double rate,
                             uint64_t seed, uint64_t step, int64_t node))
/* dx = dy / (1 - rate) where the element was kept, else 0 */
FBP_KERNEL(dropout_backward, (T *dx /* (n,) */, const T *dy /* (n,) */, int64_t n, int64_t first, double rate,
                              uint64_t seed, uint64_t step, int64_t node))

FBP_OP(batch_norm)
/* mean and rstd = 1 / sqrt(variance + eps) of each column; running := (1 - momentum) running + momentum new */
FBP_KERNEL(batch_norm_statistics, (T *mean /* (C,) */, T *rstd /* (C,) */, T *running_mean /* (C,) or NULL */,
                                   T *running_var /* (C,) or NULL */, const T *x /* (R, C) */, int64_t R, int64_t C,
                                   double momentum, double eps))
/* y = (x - mean) rstd weight + bias */
FBP_KERNEL(batch_norm_forward, (T *y /* (R, C) */, const T *x /* (R, C) */, const T *mean /* (C,) */,
                                const T *rstd /* (C,) */, const T *weight /* (C,) */, const T *bias /* (C,) */,
                                int64_t R, int64_t C))
/* dweight = sum of dy (x - mean) rstd, dbias = sum of dy, over the rows */
FBP_KERNEL(batch_norm_backward_weight, (T *dweight /* (C,) */, T *dbias /* (C,) */, const T *dy /* (R, C) */,
                                        const T *x /* (R, C) */, const T *mean /* (C,) */, const T *rstd /* (C,) */,
                                        int64_t R, int64_t C))
/* dx = weight rstd (dy - (dbias + (x - mean) rstd dweight) / R_total), sums over all R_total rows of the batch */
FBP_KERNEL(batch_norm_backward_input, (T *dx /* (R, C) */, const T *dy /* (R, C) */, const T *x /* (R, C) */,
                                       const T *mean /* (C,) */, const T *rstd /* (C,) */, const T *weight /* (C,) */,
                                       const T *dweight /* (C,) */, const T *dbias /* (C,) */, int64_t R, int64_t C,
                                       int64_t R_total))

FBP_OP(layer_norm)
/* y = (x - mean) rstd weight + bias, with mean and rstd = 1 / sqrt(variance + eps) of each row */
FBP_KERNEL(layer_norm_forward, (T *y /* (R, C) */, T *mean /* (R,) */, T *rstd /* (R,) */, const T *x /* (R, C) */,
                                const T *weight /* (C,) */, const T *bias /* (C,) */, int64_t R, int64_t C, double eps))
/* with h = (x - mean) rstd and g = dy weight: dx = rstd (g - average of g - h times average of g h) */
FBP_KERNEL(layer_norm_backward_input, (T *dx /* (R, C) */, const T *dy /* (R, C) */, const T *x /* (R, C) */,
                                       const T *mean /* (R,) */, const T *rstd /* (R,) */, const T *weight /* (C,) */,
                                       int64_t R, int64_t C))
/* dweight = sum of dy (x - mean) rstd, dbias = sum of dy, over the rows */
FBP_KERNEL(layer_norm_backward_weight, (T *dweight /* (C,) */, T *dbias /* (C,) */, const T *dy /* (R, C) */,
                                        const T *x /* (R, C) */, const T *mean /* (R,) */, const T *rstd /* (R,) */,
                                        int64_t R, int64_t C))

FBP_OP(add)
/* y = a + b */
FBP_KERNEL(add_forward, (T *y /* (n,) */, const T *a /* (n,) */, const T *b /* (n,) */, int64_t n))
FBP_OP(mul)
/* y = a b */
FBP_KERNEL(mul_forward, (T *y /* (n,) */, const T *a /* (n,) */, const T *b /* (n,) */, int64_t n))
/* da = dy b, db = dy a */
FBP_KERNEL(mul_backward, (T *da /* (n,) or NULL */, T *db /* (n,) or NULL */, const T *dy /* (n,) */,
                          const T *a /* (n,) */, const T *b /* (n,) */, int64_t n))
FBP_OP(concat)
/* y = a and b side by side */
FBP_KERNEL(concat_forward, (T *y /* (R, na + nb) */, const T *a /* (R, na) */, const T *b /* (R, nb) */,
                            int64_t R, int64_t na, int64_t nb))
/* da = the first na columns of dy, db = the others */
FBP_KERNEL(concat_backward, (T *da /* (R, na) or NULL */, T *db /* (R, nb) or NULL */, const T *dy /* (R, na + nb) */,
                             int64_t R, int64_t na, int64_t nb))

/* losses: row_loss[r] = weight[r] * l(x[r], target[r]), and its gradient dx (NULL if not wanted); the weights of all
 * rows sum to 1, and hold the class weights already. Means are over the D columns, t is the target, e = x - t. */
#define FBP_LOSS(name, target_type)                                                                             \
    FBP_OP(name)                                                                                                \
    FBP_KERNEL(name, (double *row_loss /* (B,) */, T *dx /* (B, D) or NULL */, const T *x /* (B, D) */,         \
                      const target_type *target, const T *weight /* (B,) */,                                    \
                      const T *constants /* (D,) or NULL */, int64_t B, int64_t D, double attr))
/* target (B, D); l = mean of e^2 */
FBP_LOSS(mse, T)
/* target (B, D); l = mean of |e| */
FBP_LOSS(mae, T)
/* target (B, D); l = mean of e^2 / 2 where |e| < delta, else delta (|e| - delta / 2); attr: delta */
FBP_LOSS(huber, T)
/* target (B,), labels; l = -sum of q log(softmax(x)), q = 1 at the label; attr: label_smoothing */
FBP_LOSS(cross_entropy, int64_t)
/* target (B, D), q; l = -sum of q log(softmax(x)); attr: label_smoothing */
FBP_LOSS(soft_cross_entropy, T)
/* target (B, D); l = mean of c t log(1 + exp(-x)) + (1 - t) log(1 + exp(x)); constants: pos_weight or NULL */
FBP_LOSS(binary_cross_entropy, T)
/* target (B, D); l = mean of exp(x) - t x */
FBP_LOSS(poisson_nll, T)
/* target (B, D / 2); x: means m, log-variances s; l = mean of (s + (t - m)^2 exp(-s)) / 2 */
FBP_LOSS(gaussian_nll, T)
/* target (B, D); l = mean of max(-c e, (1 - c) e); constants: quantiles */
FBP_LOSS(quantile, T)
/* target (B, D); l = sum of e^2 / 2 */
FBP_LOSS(half_squared_error, T)
#undef FBP_LOSS

/* optimizers: state vectors, then the optimizer's own numbers hyper[3], hyper[4], … in order; g is the gradient plus
 * weight_decay p unless the decay is decoupled */
/* state: velocity; hyper: momentum, nesterov; p -= lr v, v = momentum v + g */
FBP_OPTIMIZER(sgd)
/* state: square_avg, velocity; hyper: alpha, eps, momentum; p -= lr g / (sqrt(square_avg) + eps) */
FBP_OPTIMIZER(rmsprop)
/* state: sum_of_squares; hyper: eps; p -= lr g / (sqrt(sum_of_squares) + eps) */
FBP_OPTIMIZER(adagrad)
/* state: exp_avg, exp_avg_sq; hyper: beta1, beta2, eps, decoupled; p -= lr m / (sqrt(v) + eps) */
FBP_OPTIMIZER(adam)
/* state: exp_avg; hyper: beta1, beta2; p -= lr sign(beta1 exp_avg + (1 - beta1) g) */
FBP_OPTIMIZER(lion)
