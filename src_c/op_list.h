/* One row an op, an optimizer, and their kernels: every table of them in C is made from this list, and so is the module
 * fastbp.kernels, whose signatures and checks are what the rows say.
 *
 *   FBP_OP(name)                  an op or a loss; its phases are FN(name_phases)
 *   FBP_OPTIMIZER(name)           an optimizer; its update is FN(name_update)
 *   FBP_UPDATE_ARGS(name, args)   its state vectors, and its own numbers hyper[3], hyper[4], … in order
 *   FBP_KERNEL(name, args)        a kernel usable on its own: outputs, then inputs, then sizes, then scalars
 *
 * The includer defines FBP_OP, FBP_OPTIMIZER, FBP_KERNEL (and T), and FBP_ACTIVATION if at all, as it needs them. The
 * comment above a row, or beside it, becomes the function's documentation, with "name: text" for the argument of that
 * name.
 *
 * Arrays are C-contiguous. A shape lists sizes: B rows, I inputs, O outputs, R groups of C features, D columns, N ids. The
 * shape (n) is any one shape: all arrays of such a kernel have it, and a result may be written over an input.
 *
 *   FBP_OUT(type, name, shape)           is written; in Python a result, made or given in `out`
 *   FBP_OUT_OR_NULL(type, name, shape)   likewise, unless it is not wanted
 *   FBP_CHANGED(type, name, shape)       is changed in place; NULL, or in Python a keyword left out, where not wanted
 *   FBP_STATE(type, name, shape)         is changed in place; in Python a required argument
 *   FBP_IN(type, name, shape)            is read
 *   FBP_IN_OR_NULL(type, name, shape)    is read where it is given
 *   FBP_WEIGHTS(type, name, shape)       is read; where Python is not given it, equal numbers that sum to 1
 *   FBP_LABELS(name, shape, limit)       is read: int64, each from 0 to below the size `limit`
 *   FBP_SIZE(name)                       one of the sizes; where no input has it, Python asks for it
 *   FBP_REAL(name), FBP_REAL_OR(name, value)        a number, and one that may be left out
 *   FBP_SHARE(name), FBP_SHARE_OR(name, value)      a number from 0 to below 1
 *   FBP_WHOLE_OR(name, value)            a whole number, none below 0; the value may be a size
 *   FBP_KEY(name)                        64 bits that key random numbers
 *   FBP_ACT(name)                        an activation op; in Python its name
 *   FBP_SCRATCH(name)                    FBP_PRODUCT_SCRATCH_BYTES of scratch memory, or NULL; nobody is asked for it
 *   FBP_MEMORY(name)                     the same, where the kernel cannot do without
 *   FBP_NONE(type)                       a place that this kernel leaves alone: 0
 */
#ifndef FBP_OUT
#define FBP_OUT(type, name, shape) type *name
#define FBP_OUT_OR_NULL(type, name, shape) type *name
#define FBP_CHANGED(type, name, shape) type *name
#define FBP_STATE(type, name, shape) type *name
#define FBP_IN(type, name, shape) const type *name
#define FBP_IN_OR_NULL(type, name, shape) const type *name
#define FBP_WEIGHTS(type, name, shape) const type *name
#define FBP_LABELS(name, shape, limit) const int64_t *name
#define FBP_SIZE(name) int64_t name
#define FBP_REAL(name) double name
#define FBP_REAL_OR(name, value) double name
#define FBP_SHARE(name) double name
#define FBP_SHARE_OR(name, value) double name
#define FBP_WHOLE_OR(name, value) int64_t name
#define FBP_KEY(name) uint64_t name
#define FBP_ACT(name) int32_t name
#define FBP_SCRATCH(name) void *name
#define FBP_MEMORY(name) void *name
#define FBP_NONE(type) type
#define FBP_UPDATE_ARGS(name, args)      /* for fastbp.kernels alone: to C all updates are alike, fbp_update */
#endif

FBP_OP(linear)
/* y = act(x W + b); z: the value before act; alpha: the hyperparameter of act */
FBP_KERNEL(linear_forward, (FBP_OUT(T, y, (B, O)), FBP_CHANGED(T, z, (B, O)), FBP_IN(T, x, (B, I)),
                            FBP_IN(T, W, (I, O)), FBP_IN_OR_NULL(T, b, (O)),
                            FBP_SIZE(B), FBP_SIZE(I), FBP_SIZE(O), FBP_ACT(act), FBP_REAL_OR(alpha, 0.0),
                            FBP_SCRATCH(scratch)))
/* dx = dy Wt, where Wt is W transposed */
FBP_KERNEL(linear_backward_input, (FBP_OUT(T, dx, (B, I)), FBP_IN(T, dy, (B, O)), FBP_IN(T, Wt, (O, I)),
                                   FBP_SIZE(B), FBP_SIZE(I), FBP_SIZE(O), FBP_SCRATCH(scratch)))
/* dW = transposed x times dy; db = sum of dy over the rows */
FBP_KERNEL(linear_backward_weight, (FBP_OUT(T, dW, (I, O)), FBP_OUT_OR_NULL(T, db, (O)), FBP_IN(T, x, (B, I)),
                                    FBP_IN(T, dy, (B, O)), FBP_SIZE(B), FBP_SIZE(I), FBP_SIZE(O),
                                    FBP_SCRATCH(scratch)))
/* y[c, r] = x[r, c] */
FBP_KERNEL(transpose, (FBP_OUT(T, y, (C, R)), FBP_IN(T, x, (R, C)), FBP_SIZE(R), FBP_SIZE(C)))

FBP_OP(linear_back)
/* y = x times transposed W: what linear_backward_input is, from W itself */
FBP_KERNEL(linear_back_forward, (FBP_OUT(T, y, (B, I)), FBP_IN(T, x, (B, O)), FBP_IN(T, W, (I, O)),
                                 FBP_SIZE(B), FBP_SIZE(I), FBP_SIZE(O), FBP_MEMORY(scratch)))

/* linear, for rows of which only what is not 0 is written down */
FBP_OP(sparse_linear)
/* y = x W + b, where row r of x has values[k] in column columns[k] for begin[r] <= k < end[r]; columns: the column of each
 * entry, rising within a row; begin: the first entry of each row; end: the one after its last */
FBP_KERNEL(sparse_linear_forward, (FBP_OUT(T, y, (B, O)), FBP_IN(T, values, (E)), FBP_LABELS(columns, (E), I),
                                   FBP_LABELS(begin, (B), E + 1), FBP_LABELS(end, (B), E + 1), FBP_IN(T, W, (I, O)),
                                   FBP_IN_OR_NULL(T, b, (O)), FBP_SIZE(B), FBP_SIZE(E), FBP_SIZE(I), FBP_SIZE(O)))
/* dW = transposed x times dy; db = sum of dy over the rows; columns: the column of each entry, rising within a row;
 * begin: the first entry of each row; end: the one after its last */
FBP_KERNEL(sparse_linear_backward_weight, (FBP_OUT(T, dW, (I, O)), FBP_OUT_OR_NULL(T, db, (O)), FBP_IN(T, values, (E)),
                                           FBP_LABELS(columns, (E), I), FBP_LABELS(begin, (B), E + 1),
                                           FBP_LABELS(end, (B), E + 1), FBP_IN(T, dy, (B, O)), FBP_SIZE(B), FBP_SIZE(E),
                                           FBP_SIZE(I), FBP_SIZE(O)))

/* elementwise activations: `from` is what the derivative is computed from, the output y or the input x */
#ifndef FBP_ACTIVATION
#define FBP_ACTIVATION(name, from, alpha)                                                                           \
    FBP_OP(name)                                                                                                    \
    FBP_KERNEL(name##_forward, (FBP_OUT(T, y, (n)), FBP_IN(T, x, (n)), FBP_SIZE(n), alpha))                         \
    FBP_KERNEL(name##_backward, (FBP_OUT(T, dx, (n)), FBP_IN(T, dy, (n)), FBP_IN(T, from, (n)), FBP_SIZE(n), alpha))
#endif
FBP_ACTIVATION(identity, y, FBP_NONE(double))      /* y = x */
FBP_ACTIVATION(relu, y, FBP_NONE(double))          /* y = max(x, 0) */
FBP_ACTIVATION(leaky_relu, x, FBP_REAL(alpha))     /* y = x if x > 0 else alpha x; alpha: slope below 0 */
FBP_ACTIVATION(elu, x, FBP_REAL(alpha))            /* y = x if x > 0 else alpha (exp(x) - 1); alpha: -y far below 0 */
FBP_ACTIVATION(selu, x, FBP_NONE(double))          /* y = 1.0507 (x if x > 0 else 1.6733 (exp(x) - 1)) */
FBP_ACTIVATION(gelu, x, FBP_NONE(double))          /* y = x Phi(x) = x (1 + erf(x / sqrt(2))) / 2 */
FBP_ACTIVATION(gelu_tanh, x, FBP_NONE(double))     /* y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 */
FBP_ACTIVATION(silu, x, FBP_NONE(double))          /* y = x / (1 + exp(-x)) */
FBP_ACTIVATION(mish, x, FBP_NONE(double))          /* y = x tanh(log(1 + exp(x))) */
FBP_ACTIVATION(sigmoid, y, FBP_NONE(double))       /* y = 1 / (1 + exp(-x)) */
FBP_ACTIVATION(tanh, y, FBP_NONE(double))          /* y = tanh(x) */
FBP_ACTIVATION(softplus, x, FBP_NONE(double))      /* y = log(1 + exp(x)) */
FBP_ACTIVATION(hardswish, x, FBP_NONE(double))     /* y = x min(max(x + 3, 0), 6) / 6 */
#undef FBP_ACTIVATION

FBP_OP(softmax)
/* y = exp(x) / sum of exp(x), over the last axis */
FBP_KERNEL(softmax_forward, (FBP_OUT(T, y, (R, C)), FBP_IN(T, x, (R, C)), FBP_SIZE(R), FBP_SIZE(C)))
/* dx = y (dy - sum of dy y) */
FBP_KERNEL(softmax_backward, (FBP_OUT(T, dx, (R, C)), FBP_IN(T, dy, (R, C)), FBP_IN(T, y, (R, C)),
                              FBP_SIZE(R), FBP_SIZE(C)))

FBP_OP(dropout)
/* y = x / (1 - rate) where element number `first` + i is kept, as Philox4x32-10 says, else 0 */
FBP_KERNEL(dropout_forward, (FBP_OUT(T, y, (n)), FBP_IN(T, x, (n)), FBP_SIZE(n), FBP_WHOLE_OR(first, 0),
                             FBP_SHARE(rate), FBP_KEY(seed), FBP_KEY(step), FBP_WHOLE_OR(node, 0)))
/* dx = dy / (1 - rate) where the element was kept, else 0 */
FBP_KERNEL(dropout_backward, (FBP_OUT(T, dx, (n)), FBP_IN(T, dy, (n)), FBP_SIZE(n), FBP_WHOLE_OR(first, 0),
                              FBP_SHARE(rate), FBP_KEY(seed), FBP_KEY(step), FBP_WHOLE_OR(node, 0)))

FBP_OP(batch_norm)
/* mean and rstd = 1 / sqrt(variance + eps) of each column; running := (1 - momentum) running + momentum new */
FBP_KERNEL(batch_norm_statistics, (FBP_OUT(T, mean, (C)), FBP_OUT(T, rstd, (C)), FBP_CHANGED(T, running_mean, (C)),
                                   FBP_CHANGED(T, running_var, (C)), FBP_IN(T, x, (R, C)), FBP_SIZE(R), FBP_SIZE(C),
                                   FBP_REAL_OR(momentum, 0.1), FBP_REAL_OR(eps, 1e-5)))
/* y = (x - mean) rstd weight + bias */
FBP_KERNEL(batch_norm_forward, (FBP_OUT(T, y, (R, C)), FBP_IN(T, x, (R, C)), FBP_IN(T, mean, (C)),
                                FBP_IN(T, rstd, (C)), FBP_IN(T, weight, (C)), FBP_IN(T, bias, (C)),
                                FBP_SIZE(R), FBP_SIZE(C)))
/* dweight = sum of dy (x - mean) rstd, dbias = sum of dy, over the rows */
FBP_KERNEL(batch_norm_backward_weight, (FBP_OUT(T, dweight, (C)), FBP_OUT(T, dbias, (C)), FBP_IN(T, dy, (R, C)),
                                        FBP_IN(T, x, (R, C)), FBP_IN(T, mean, (C)), FBP_IN(T, rstd, (C)),
                                        FBP_SIZE(R), FBP_SIZE(C)))
/* dx = weight rstd (dy - (dbias + (x - mean) rstd dweight) / R_total), sums over all R_total rows of the batch */
FBP_KERNEL(batch_norm_backward_input, (FBP_OUT(T, dx, (R, C)), FBP_IN(T, dy, (R, C)), FBP_IN(T, x, (R, C)),
                                       FBP_IN(T, mean, (C)), FBP_IN(T, rstd, (C)), FBP_IN(T, weight, (C)),
                                       FBP_IN(T, dweight, (C)), FBP_IN(T, dbias, (C)), FBP_SIZE(R), FBP_SIZE(C),
                                       FBP_WHOLE_OR(R_total, R)))

FBP_OP(layer_norm)
/* y = (x - mean) rstd weight + bias, with mean and rstd = 1 / sqrt(variance + eps) of each row */
FBP_KERNEL(layer_norm_forward, (FBP_OUT(T, y, (R, C)), FBP_OUT(T, mean, (R)), FBP_OUT(T, rstd, (R)),
                                FBP_IN(T, x, (R, C)), FBP_IN(T, weight, (C)), FBP_IN(T, bias, (C)),
                                FBP_SIZE(R), FBP_SIZE(C), FBP_REAL_OR(eps, 1e-5)))
/* with h = (x - mean) rstd and g = dy weight: dx = rstd (g - average of g - h times average of g h) */
FBP_KERNEL(layer_norm_backward_input, (FBP_OUT(T, dx, (R, C)), FBP_IN(T, dy, (R, C)), FBP_IN(T, x, (R, C)),
                                       FBP_IN(T, mean, (R)), FBP_IN(T, rstd, (R)), FBP_IN(T, weight, (C)),
                                       FBP_SIZE(R), FBP_SIZE(C)))
/* dweight = sum of dy (x - mean) rstd, dbias = sum of dy, over the rows */
FBP_KERNEL(layer_norm_backward_weight, (FBP_OUT(T, dweight, (C)), FBP_OUT(T, dbias, (C)), FBP_IN(T, dy, (R, C)),
                                        FBP_IN(T, x, (R, C)), FBP_IN(T, mean, (R)), FBP_IN(T, rstd, (R)),
                                        FBP_SIZE(R), FBP_SIZE(C)))

FBP_OP(conv)
FBP_OP(max_pool)
FBP_OP(avg_pool)
FBP_OP(global_avg_pool)
FBP_OP(rnn)
FBP_OP(gru)
FBP_OP(lstm)
FBP_OP(attention)
FBP_OP(rms_norm)
FBP_OP(glu)
FBP_OP(swiglu)
FBP_OP(slice)
FBP_OP(positions)
FBP_OP(rotary)
FBP_OP(conv_transpose)
FBP_OP(group_norm)
FBP_OP(prelu)
FBP_OP(permute)
FBP_OP(upsample)

FBP_OP(add)
/* y = a + b */
FBP_KERNEL(add_forward, (FBP_OUT(T, y, (n)), FBP_IN(T, a, (n)), FBP_IN(T, b, (n)), FBP_SIZE(n)))
FBP_OP(mul)
/* y = a b */
FBP_KERNEL(mul_forward, (FBP_OUT(T, y, (n)), FBP_IN(T, a, (n)), FBP_IN(T, b, (n)), FBP_SIZE(n)))
/* da = dy b, db = dy a */
FBP_KERNEL(mul_backward, (FBP_OUT_OR_NULL(T, da, (n)), FBP_OUT_OR_NULL(T, db, (n)), FBP_IN(T, dy, (n)),
                          FBP_IN(T, a, (n)), FBP_IN(T, b, (n)), FBP_SIZE(n)))
FBP_OP(concat)
/* y = a and b side by side */
FBP_KERNEL(concat_forward, (FBP_OUT(T, y, (R, na + nb)), FBP_IN(T, a, (R, na)), FBP_IN(T, b, (R, nb)),
                            FBP_SIZE(R), FBP_SIZE(na), FBP_SIZE(nb)))
/* da = the first na columns of dy, db = the others */
FBP_KERNEL(concat_backward, (FBP_OUT_OR_NULL(T, da, (R, na)), FBP_OUT_OR_NULL(T, db, (R, nb)),
                             FBP_IN(T, dy, (R, na + nb)), FBP_SIZE(R), FBP_SIZE(na), FBP_SIZE(nb)))

/* made of functions: y and dx by short programs, and losses that are there already, as rows or in all */
FBP_OP(expression)
FBP_OP(whole_expression)
FBP_OP(reduce_rows)
FBP_OP(spread_rows)
FBP_OP(pair_product)
FBP_OP(all_rows)
FBP_OP(row_number)
FBP_OP(parameter)
FBP_OP(random)
FBP_OP(whole_random)
FBP_OP(row_sum)
FBP_OP(total)
FBP_OP(embedding)
/* y[r] = W[ids[r]] */
FBP_KERNEL(embedding_forward, (FBP_OUT(T, y, (R, C)), FBP_IN(T, W, (N, C)), FBP_LABELS(ids, (R), N), FBP_SIZE(R),
                               FBP_SIZE(N), FBP_SIZE(C)))
/* dW[v] = sum of dy[r] over the rows with ids[r] = v */
FBP_KERNEL(embedding_backward, (FBP_OUT(T, dW, (N, C)), FBP_IN(T, dy, (R, C)), FBP_LABELS(ids, (R), N), FBP_SIZE(R),
                                FBP_SIZE(N), FBP_SIZE(C)))
/* columns of tables, and members of ensembles */
FBP_OP(scale)
FBP_OP(grouped_linear)
FBP_OP(periodic)
FBP_OP(piecewise_linear)

/* losses: row_loss[r] = weight[r] * l(x[r], target[r]), and its gradient dx; the weights of all rows sum to 1, and hold
 * the class weights already. Means are over the D columns, t is the target, e = x - t. */
#define FBP_LOSS(name, target, constants, attr)                                                                     \
    FBP_OP(name)                                                                                                    \
    FBP_KERNEL(name, (FBP_OUT(double, row_loss, (B)), FBP_OUT_OR_NULL(T, dx, (B, D)), FBP_IN(T, x, (B, D)), target, \
                      FBP_WEIGHTS(T, weight, (B)), constants, FBP_SIZE(B), FBP_SIZE(D), attr))
/* l = mean of e^2 */
FBP_LOSS(mse, FBP_IN(T, target, (B, D)), FBP_NONE(const T *), FBP_NONE(double))
/* l = mean of abs(e) */
FBP_LOSS(mae, FBP_IN(T, target, (B, D)), FBP_NONE(const T *), FBP_NONE(double))
/* l = mean of e^2 / 2 where abs(e) < delta, else delta (abs(e) - delta / 2) */
FBP_LOSS(huber, FBP_IN(T, target, (B, D)), FBP_NONE(const T *), FBP_REAL_OR(delta, 1.0))
/* l = -sum of q log(softmax(x)), q = 1 at the label */
FBP_LOSS(cross_entropy, FBP_LABELS(target, (B), D), FBP_NONE(const T *), FBP_SHARE_OR(label_smoothing, 0.0))
/* l = -sum of q log(softmax(x)), q = the target */
FBP_LOSS(soft_cross_entropy, FBP_IN(T, target, (B, D)), FBP_NONE(const T *), FBP_SHARE_OR(label_smoothing, 0.0))
/* l = mean of c t log(1 + exp(-x)) + (1 - t) log(1 + exp(x)); pos_weight: c of the formula, one for each
 * column, 1 unless given */
FBP_LOSS(binary_cross_entropy, FBP_IN(T, target, (B, D)), FBP_IN_OR_NULL(T, pos_weight, (D)), FBP_NONE(double))
/* l = mean of exp(x) - t x */
FBP_LOSS(poisson_nll, FBP_IN(T, target, (B, D)), FBP_NONE(const T *), FBP_NONE(double))
/* l = mean of (s + (t - m)^2 exp(-s)) / 2; x: D / 2 means m, then as many log-variances s */
FBP_LOSS(gaussian_nll, FBP_IN(T, target, (B, D / 2)), FBP_NONE(const T *), FBP_NONE(double))
/* l = mean of max(-c e, (1 - c) e); quantiles: c of the formula, one for each column */
FBP_LOSS(quantile, FBP_IN(T, target, (B, D)), FBP_IN(T, quantiles, (D)), FBP_NONE(double))
/* l = sum of e^2 / 2 */
FBP_LOSS(half_squared_error, FBP_IN(T, target, (B, D)), FBP_NONE(const T *), FBP_NONE(double))
#undef FBP_LOSS

/* optimizers: g is the gradient plus weight_decay p unless the decay is decoupled */
FBP_OPTIMIZER(sgd)
/* p -= lr v, v = momentum v + g */
FBP_UPDATE_ARGS(sgd, (FBP_STATE(T, velocity, (n)), FBP_REAL(momentum), FBP_REAL(nesterov)))
FBP_OPTIMIZER(rmsprop)
/* p -= lr g / (sqrt(square_avg) + eps) */
FBP_UPDATE_ARGS(rmsprop, (FBP_STATE(T, square_avg, (n)), FBP_STATE(T, velocity, (n)), FBP_REAL(alpha), FBP_REAL(eps),
                     FBP_REAL(momentum)))
FBP_OPTIMIZER(adagrad)
/* p -= lr g / (sqrt(sum_of_squares) + eps) */
FBP_UPDATE_ARGS(adagrad, (FBP_STATE(T, sum_of_squares, (n)), FBP_REAL(eps)))
FBP_OPTIMIZER(adam)
/* p -= lr m / (sqrt(v) + eps) */
FBP_UPDATE_ARGS(adam, (FBP_STATE(T, exp_avg, (n)), FBP_STATE(T, exp_avg_sq, (n)), FBP_REAL(beta1), FBP_REAL(beta2),
                  FBP_REAL(eps), FBP_REAL(decoupled)))
FBP_OPTIMIZER(lion)
/* p -= lr sign(beta1 exp_avg + (1 - beta1) g) */
FBP_UPDATE_ARGS(lion, (FBP_STATE(T, exp_avg, (n)), FBP_REAL(beta1), FBP_REAL(beta2)))
