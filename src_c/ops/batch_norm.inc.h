/* batch_norm: y = (x - mean) rstd weight + bias, mean and rstd of each column over the batch, or in evaluation the
 * running ones; the twin of fastbp/ops/batch_norm.py, where the gradient is derived.
 *
 * Node: x[0], y, dx[0], dy, all (rows, dim[0], dim[1]). dim[0]: groups a row (G), dim[1]: C; units are columns. p[0]
 * weight, p[1] bias, buffer[0] running mean, buffer[1] running variance, all (C,). attr[0] momentum, attr[1] eps.
 *
 *   prepare           prepared (2, C): what x is multiplied by, and what is then added, with the running statistics; of an x
 *                     that lacks its bias p[2], if that is not NULL, which is added, too
 *   forward_reduce    save[0] mean, save[1] rstd (C,), and the running statistics
 *   backward_reduce   save[2] dweight, save[3] dbias (C,), which dx needs also where the parameters are frozen; and
 *                     dp, where it is wanted
 *
 * Results of kernels over rows may be written over x and dy. Forward applies fusion.act, backward goes on through
 * fusion.gate.
 */

/* A running statistic of n columns goes on by its share of what a mini-batch says, where that is finite: NaN would never
 * leave it again. The compiler makes vectors of it, as it does not of a loop with `continue`. */
static void FN(follow)(T *restrict running, const double *restrict share, const double *restrict finite, int64_t n,
                       double momentum)
{
    for (int64_t j = 0; j < n; j++) {
        const T next = (T)((1 - momentum) * (double)running[j] + share[j]);
        running[j] = finite[j] == 0 ? next : running[j];
    }
}

/* mean, rstd and running statistics of n columns, at most FBP_STRIP, from what their sums say; mean holds a first one. */
static __attribute__((noinline)) void FN(finish_statistics)(T *restrict mean, T *restrict rstd, T *running_mean,
                                                            T *running_var, const double *restrict d,
                                                            const double *restrict d_squared, int64_t R, int64_t n,
                                                            double momentum, double eps)
{
    const double rows = (double)R, unbiased = R > 1 ? rows / (rows - 1) : 1;
    double share_of_mean[FBP_STRIP], share_of_var[FBP_STRIP], finite[FBP_STRIP];
    for (int64_t j = 0; j < n; j++) {
        const double m = (double)mean[j] + d[j] / rows, var = FN(variance)(d[j], d_squared[j], rows);
        const T m_there = (T)m, var_there = (T)(var * unbiased);
        mean[j] = m_there;
        rstd[j] = (T)FN(reciprocal_deviation)(var, eps);
        share_of_mean[j] = momentum * m;
        share_of_var[j] = momentum * (var * unbiased);
        finite[j] = (double)((m_there - m_there) + (var_there - var_there));    /* 0, or NaN */
    }
    if (running_mean) FN(follow)(running_mean, share_of_mean, finite, n, momentum);
    if (running_var) FN(follow)(running_var, share_of_var, finite, n, momentum);
}

static void FN(batch_statistics)(T *mean, T *rstd, T *running_mean, T *running_var, const T *x, int64_t R, int64_t C,
                                 double momentum, double eps, int64_t lo, int64_t hi)
{
    double a[FBP_STRIP], b[FBP_STRIP];
    for (int64_t j = lo, n; j < hi; j += n) {
        n = FN(column_strip)(FN(values), a, b, x + j, x + j, NULL, NULL, R, C, hi - j);
        for (int64_t i = 0; i < n; i++) mean[j + i] = (T)(a[i] / (double)R);
        FN(column_strip)(FN(deviations), a, b, x + j, x + j, mean + j, NULL, R, C, n);
        FN(finish_statistics)(mean + j, rstd + j, running_mean && R ? running_mean + j : NULL,
                              running_var && R ? running_var + j : NULL, a, b, R, n, momentum, eps);
    }
}

static void FN(batch_norm_sums)(T *dweight, T *dbias, const T *dy, const T *x, const T *mean, const T *rstd,
                                int64_t R, int64_t C, int64_t lo, int64_t hi)
{
    double a[FBP_STRIP], b[FBP_STRIP];
    for (int64_t j = lo, n; j < hi; j += n) {
        n = FN(column_strip)(FN(gradients), a, b, x + j, dy + j, mean + j, NULL, R, C, hi - j);
        for (int64_t i = 0; i < n; i++) {
            dweight[j + i] = (T)(b[i] * (double)rstd[j + i]);
            dbias[j + i] = (T)a[i];
        }
    }
}

static void KERNEL(batch_norm_statistics)(T *mean /* (C,) */, T *rstd /* (C,) */, T *running_mean /* (C,) or NULL */,
                                          T *running_var /* (C,) or NULL */, const T *x /* (R, C) */, int64_t R,
                                          int64_t C, double momentum, double eps)
{
    FN(batch_statistics)(mean, rstd, running_mean, running_var, x, R, C, momentum, eps, 0, C);
}

/* Over rows, four vectors of columns at a time: what belongs to the columns stays in registers. */
static FBP_INLINE void FN(normalise_strip)(const int NV, T *y, const T *x, const T *mean, const T *rstd,
                                           const T *weight, const T *bias, int64_t R, int64_t C, int64_t lanes)
{
    V m[4], scale[4], shift[4];
    FBP_UNROLL
    for (int v = 0; v < NV; v++) {
        m[v] = FN(v_load_up_to)(mean + v * VL, lanes);
        scale[v] = FN(v_load_up_to)(rstd + v * VL, lanes) * FN(v_load_up_to)(weight + v * VL, lanes);
        shift[v] = FN(v_load_up_to)(bias + v * VL, lanes);
    }
    for (int64_t r = 0; r < R; r++) {
        FBP_UNROLL
        for (int v = 0; v < NV; v++) {
            const int64_t at = r * C + v * VL;
            const V d = FN(v_load_up_to)(x + at, lanes) - m[v];
            FN(v_store_up_to)(y + at, FN(v_fma)(d, scale[v], shift[v]), lanes);
        }
    }
}

static void KERNEL(batch_norm_forward)(T *y /* (R, C) */, const T *x /* (R, C) */, const T *mean /* (C,) */,
                                       const T *rstd /* (C,) */, const T *weight /* (C,) */, const T *bias /* (C,) */,
                                       int64_t R, int64_t C)
{
    int64_t j = 0;
    for (; j + 4 * VL <= C; j += 4 * VL)
        FN(normalise_strip)(4, y + j, x + j, mean + j, rstd + j, weight + j, bias + j, R, C, VL);
    for (; j < C; j += VL)
        FN(normalise_strip)(1, y + j, x + j, mean + j, rstd + j, weight + j, bias + j, R, C, FN(min)(VL, C - j));
}

static void KERNEL(batch_norm_backward_weight)(T *dweight /* (C,) */, T *dbias /* (C,) */, const T *dy /* (R, C) */,
                                               const T *x /* (R, C) */, const T *mean /* (C,) */,
                                               const T *rstd /* (C,) */, int64_t R, int64_t C)
{
    FN(batch_norm_sums)(dweight, dbias, dy, x, mean, rstd, R, C, 0, C);
}

/* dx = scale (dy - from_bias - (x - mean) from_weight): what the columns' sums are to each element of theirs */
static FBP_INLINE void FN(denormalise_strip)(const int NV, T *dx, const T *dy, const T *x, const T *mean, const T *rstd,
                                             const T *weight, const T *dweight, const T *dbias, int64_t R, int64_t C,
                                             int64_t R_total, int64_t lanes)
{
    const V part = FN(v_set1)((T)(1 / (double)R_total));
    V m[4], scale[4], from_weight[4], from_bias[4];
    FBP_UNROLL
    for (int v = 0; v < NV; v++) {
        const V s = FN(v_load_up_to)(rstd + v * VL, lanes);
        m[v] = FN(v_load_up_to)(mean + v * VL, lanes);
        scale[v] = s * FN(v_load_up_to)(weight + v * VL, lanes);
        from_weight[v] = s * FN(v_load_up_to)(dweight + v * VL, lanes) * part;
        from_bias[v] = FN(v_load_up_to)(dbias + v * VL, lanes) * part;
    }
    for (int64_t r = 0; r < R; r++) {
        FBP_UNROLL
        for (int v = 0; v < NV; v++) {
            const int64_t at = r * C + v * VL;
            const V d = FN(v_load_up_to)(x + at, lanes) - m[v];
            const V g = FN(v_load_up_to)(dy + at, lanes) - from_bias[v];
            FN(v_store_up_to)(dx + at, scale[v] * FN(v_fma)(-d, from_weight[v], g), lanes);
        }
    }
}

static void KERNEL(batch_norm_backward_input)(T *dx /* (R, C) */, const T *dy /* (R, C) */, const T *x /* (R, C) */,
                                              const T *mean /* (C,) */, const T *rstd /* (C,) */,
                                              const T *weight /* (C,) */, const T *dweight /* (C,) */,
                                              const T *dbias /* (C,) */, int64_t R, int64_t C, int64_t R_total)
{
    int64_t j = 0;
    for (; j + 4 * VL <= C; j += 4 * VL)
        FN(denormalise_strip)(4, dx + j, dy + j, x + j, mean + j, rstd + j, weight + j, dweight + j, dbias + j, R, C,
                              R_total, VL);
    for (; j < C; j += VL)
        FN(denormalise_strip)(1, dx + j, dy + j, x + j, mean + j, rstd + j, weight + j, dweight + j, dbias + j, R, C,
                              R_total, FN(min)(VL, C - j));
}

/* dx = weight rstd dy, where mean and rstd are constants */
static void FN(batch_norm_backward_constant)(T *dx, const T *dy, const T *rstd, const T *weight, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, dx += C, dy += C)
        for (int64_t i = 0; i < C; i += VL) {
            const V scale = FN(v_load_up_to)(rstd + i, C - i) * FN(v_load_up_to)(weight + i, C - i);
            FN(v_store_up_to)(dx + i, scale * FN(v_load_up_to)(dy + i, C - i), C - i);
        }
}

/* n columns; restrict, and no branch within, let it run in vectors. */
static FBP_INLINE void FN(affine_of)(const int has_before, T *restrict scale, T *restrict shift, const T *restrict weight,
                                     const T *restrict bias, const T *restrict before, const T *restrict mean,
                                     const T *restrict var, double eps, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        const double factor = (double)weight[j] * FN(reciprocal_deviation)((double)var[j], eps);
        const double from = has_before ? (double)before[j] - (double)mean[j] : -(double)mean[j];
        scale[j] = (T)factor;
        shift[j] = (T)((double)bias[j] + from * factor);
    }
}

static void FN(batch_norm_prepare)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    T *scale = (T *)n->prepared + lo, *shift = scale + n->dim[1];
    const T *weight = (const T *)n->p[0] + lo, *bias = (const T *)n->p[1] + lo, *before = n->p[2];
    const T *mean = (const T *)n->buffer[0] + lo, *var = (const T *)n->buffer[1] + lo;
    const double eps = n->attr[1];
    if (before) FN(affine_of)(1, scale, shift, weight, bias, before + lo, mean, var, eps, hi - lo);
    else FN(affine_of)(0, scale, shift, weight, bias, NULL, mean, var, eps, hi - lo);
}

static void FN(batch_norm_forward_reduce)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    T *mean = n->save[0], *rstd = n->save[1], *running_mean = n->buffer[0], *running_var = n->buffer[1];
    const double momentum = n->attr[0], eps = n->attr[1];
    if (run->training) {
        FN(batch_statistics)(mean, rstd, running_mean, running_var, n->x[0], run->rows * n->dim[0], n->dim[1], momentum,
                             eps, lo, hi);
        return;
    }
    for (int64_t j = lo; j < hi; j++) {
        mean[j] = running_mean[j];
        rstd[j] = (T)FN(reciprocal_deviation)((double)running_var[j], eps);
    }
}

static void FN(batch_norm_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    (void)scratch;
    const int64_t G = n->dim[0], C = n->dim[1], most = FN(near_rows)(C);
    for (int64_t r = lo * G, rows; r < hi * G; r += rows) {
        rows = FN(min)(most, hi * G - r);
        KERNEL(batch_norm_forward)((T *)n->y + r * C, (const T *)n->x[0] + r * C, n->save[0], n->save[1], n->p[0],
                                   n->p[1], rows, C);
        FN(activate_rows)(n, r, rows, C);
    }
}

static void FN(batch_norm_backward_reduce)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    FN(batch_norm_sums)(n->save[2], n->save[3], n->dy, n->x[0], n->save[0], n->save[1], run->rows * n->dim[0],
                        n->dim[1], lo, hi);
    for (int i = 0; i < 2; i++)
        if (n->dp[i]) memcpy((T *)n->dp[i] + lo, (const T *)n->save[2 + i] + lo, (size_t)(hi - lo) * sizeof(T));
}

static void FN(batch_norm_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t G = n->dim[0], C = n->dim[1], most = FN(near_rows)(C);
    for (int64_t r = lo * G, rows; n->dx[0] && r < hi * G; r += rows) {
        T *dx = (T *)n->dx[0] + r * C;
        const T *dy = (const T *)n->dy + r * C;
        rows = FN(min)(most, hi * G - r);
        if (!run->training) FN(batch_norm_backward_constant)(dx, dy, n->save[1], n->p[0], rows, C);
        else KERNEL(batch_norm_backward_input)(dx, dy, (const T *)n->x[0] + r * C, n->save[0], n->save[1], n->p[0],
                                               n->save[2], n->save[3], rows, C, run->rows * G);
        FN(go_back_rows)(n, r, rows, C);
    }
}

static const fbp_phases FN(batch_norm_phases) = {
    .prepare = FN(batch_norm_prepare),
    .forward_reduce = FN(batch_norm_forward_reduce),
    .forward = FN(batch_norm_forward_rows),
    .backward_reduce = FN(batch_norm_backward_reduce),
    .backward = FN(batch_norm_backward_rows),
};
