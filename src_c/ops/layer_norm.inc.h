/* layer_norm: y = (x - mean) rstd weight + bias, mean and rstd of each row of C features; the twin of
 * fastbp/ops/layer_norm.py, where the gradient is derived.
 *
 * Node: x[0], y, dx[0], dy, all (rows, dim[0], dim[1]). dim[0]: groups a row (G), dim[1]: C; units are columns. p[0]
 * weight, p[1] bias (C,); dp[0] and dp[1] may each be NULL. save[0] mean, save[1] rstd, (rows, G). attr[0] eps.
 * Results of kernels over rows may be written over x and dy.
 */

static void KERNEL(layer_norm_forward)(T *y /* (R, C) */, T *mean /* (R,) */, T *rstd /* (R,) */,
                                       const T *x /* (R, C) */, const T *weight /* (C,) */, const T *bias /* (C,) */,
                                       int64_t R, int64_t C, double eps)
{
    const double n = (double)C;
    for (int64_t r = 0; r < R; r++, y += C, x += C) {
        double sums[2];
        FN(row_sums)(FN(values), sums, x, x, NULL, 0, C);
        const T first = (T)(sums[0] / n);
        FN(row_sums)(FN(deviations), sums, x, x, NULL, first, C);
        mean[r] = (T)((double)first + sums[0] / n);
        rstd[r] = (T)FN(reciprocal_deviation)(FN(variance)(sums[0], sums[1], n), eps);
        const V m = FN(v_set1)(mean[r]), s = FN(v_set1)(rstd[r]);
        for (int64_t i = 0; i < C; i += VL) {
            const V h = (FN(v_load_up_to)(x + i, C - i) - m) * s;
            const V w = FN(v_load_up_to)(weight + i, C - i), b = FN(v_load_up_to)(bias + i, C - i);
            FN(v_store_up_to)(y + i, FN(v_fma)(h, w, b), C - i);
        }
    }
}

static void KERNEL(layer_norm_backward_input)(T *dx /* (R, C) */, const T *dy /* (R, C) */, const T *x /* (R, C) */,
                                              const T *mean /* (R,) */, const T *rstd /* (R,) */,
                                              const T *weight /* (C,) */, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, dx += C, dy += C, x += C) {
        double sums[2];
        FN(row_sums)(FN(gradients), sums, x, dy, weight, mean[r], C);
        const double s = (double)rstd[r], n = (double)C;
        const V m = FN(v_set1)(mean[r]), scale = FN(v_set1)(rstd[r]);
        const V average = FN(v_set1)((T)(sums[0] / n)), slope = FN(v_set1)((T)(s * s * sums[1] / n));
        for (int64_t i = 0; i < C; i += VL) {
            const V g = FN(v_load_up_to)(dy + i, C - i) * FN(v_load_up_to)(weight + i, C - i) - average;
            const V d = FN(v_load_up_to)(x + i, C - i) - m;
            FN(v_store_up_to)(dx + i, scale * FN(v_fma)(-d, slope, g), C - i);
        }
    }
}

static void FN(layer_norm_sums)(T *dweight, T *dbias, const T *dy, const T *x, const T *mean, const T *rstd,
                                int64_t R, int64_t C, int64_t lo, int64_t hi)
{
    double a[FBP_STRIP], b[FBP_STRIP];
    for (int64_t j = lo, n; j < hi; j += n) {
        n = FN(column_strip)(FN(normalised), a, b, x + j, dy + j, mean, rstd, R, C, hi - j);
        for (int64_t i = 0; i < n; i++) {
            if (dweight) dweight[j + i] = (T)b[i];
            if (dbias) dbias[j + i] = (T)a[i];
        }
    }
}

static void KERNEL(layer_norm_backward_weight)(T *dweight /* (C,) */, T *dbias /* (C,) */, const T *dy /* (R, C) */,
                                               const T *x /* (R, C) */, const T *mean /* (R,) */,
                                               const T *rstd /* (R,) */, int64_t R, int64_t C)
{
    FN(layer_norm_sums)(dweight, dbias, dy, x, mean, rstd, R, C, 0, C);
}

static void FN(layer_norm_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    (void)scratch;
    const int64_t G = n->dim[0], C = n->dim[1], row = lo * G;
    KERNEL(layer_norm_forward)((T *)n->y + row * C, (T *)n->save[0] + row, (T *)n->save[1] + row,
                               (const T *)n->x[0] + row * C, n->p[0], n->p[1], (hi - lo) * G, C, n->attr[0]);
}

static void FN(layer_norm_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    (void)scratch;
    const int64_t G = n->dim[0], C = n->dim[1], row = lo * G;
    if (!n->dx[0]) return;
    KERNEL(layer_norm_backward_input)((T *)n->dx[0] + row * C, (const T *)n->dy + row * C, (const T *)n->x[0] + row * C,
                                      (const T *)n->save[0] + row, (const T *)n->save[1] + row, n->p[0],
                                      (hi - lo) * G, C);
}

static void FN(layer_norm_gradient)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    FN(layer_norm_sums)(n->dp[0], n->dp[1], n->dy, n->x[0], n->save[0], n->save[1], run->rows * n->dim[0], n->dim[1],
                        lo, hi);
}

static const fbp_phases FN(layer_norm_phases) = {
    .forward = FN(layer_norm_forward_rows),
    .backward = FN(layer_norm_backward_rows),
    .gradient = FN(layer_norm_gradient),
};
