/* layer_norm: y = (x - mean) rstd weight + bias, mean and rstd of each row of C features; the twin of
 * fastbp/ops/layer_norm.py, where the gradient is derived.
 *
 * Node: x[0], y, dx[0], dy, all (rows, dim[0], dim[1]). dim[0]: groups a row (G), dim[1]: C; units are columns. p[0]
 * weight, p[1] bias (C,); dp[0] and dp[1] may each be NULL. save[0] mean, save[1] rstd, (rows, G). attr[0] eps.
 * Results of kernels over rows may be written over x and dy. Forward applies fusion.act, backward goes on through
 * fusion.gate.
 */

/* A row's mean waits for its sum, what is divided for that, and so on: some rows side by side fill the time. */
#define FBP_ROWS_AT_ONCE 8

/* mean and rstd of n rows, at most FBP_ROWS_AT_ONCE */
static void FN(row_statistics)(T *mean, T *rstd, const T *x /* (n, C) */, int64_t n, int64_t C, double eps)
{
    const double count = (double)C;
    double sums[FBP_ROWS_AT_ONCE][2];
    for (int64_t r = 0; r < n; r++) FN(row_sums)(FN(values), sums[r], x + r * C, NULL, NULL, 0, C);
    for (int64_t r = 0; r < n; r++) mean[r] = (T)(sums[r][0] / count);
    for (int64_t r = 0; r < n; r++) FN(row_sums)(FN(deviations), sums[r], x + r * C, NULL, NULL, mean[r], C);
    for (int64_t r = 0; r < n; r++) {
        mean[r] = (T)((double)mean[r] + sums[r][0] / count);
        rstd[r] = (T)FN(reciprocal_deviation)(FN(variance)(sums[r][0], sums[r][1], count), eps);
    }
}

static void KERNEL(layer_norm_forward)(T *y /* (R, C) */, T *mean /* (R,) */, T *rstd /* (R,) */,
                                       const T *x /* (R, C) */, const T *weight /* (C,) */, const T *bias /* (C,) */,
                                       int64_t R, int64_t C, double eps)
{
    const int64_t most = FN(min)(FBP_ROWS_AT_ONCE, FN(near_rows)(C));
    for (int64_t first = 0, n; first < R; first += n) {
        n = FN(min)(most, R - first);
        FN(row_statistics)(mean + first, rstd + first, x + first * C, n, C, eps);
        for (int64_t r = first; r < first + n; r++) {
            const V m = FN(v_set1)(mean[r]), s = FN(v_set1)(rstd[r]);
            for (int64_t i = 0; i < C; i += VL) {
                const V h = (FN(v_load_up_to)(x + r * C + i, C - i) - m) * s;
                const V w = FN(v_load_up_to)(weight + i, C - i), b = FN(v_load_up_to)(bias + i, C - i);
                FN(v_store_up_to)(y + r * C + i, FN(v_fma)(h, w, b), C - i);
            }
        }
    }
}

#undef FBP_ROWS_AT_ONCE

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
    const int64_t G = n->dim[0], C = n->dim[1], most = FN(near_rows)(C);
    for (int64_t r = lo * G, rows; r < hi * G; r += rows) {
        rows = FN(min)(most, hi * G - r);
        KERNEL(layer_norm_forward)((T *)n->y + r * C, (T *)n->save[0] + r, (T *)n->save[1] + r,
                                   (const T *)n->x[0] + r * C, n->p[0], n->p[1], rows, C, n->attr[0]);
        FN(activate_rows)(n, r, rows, C);
    }
}

static void FN(layer_norm_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    (void)scratch;
    const int64_t G = n->dim[0], C = n->dim[1], most = FN(near_rows)(C);
    for (int64_t r = lo * G, rows; n->dx[0] && r < hi * G; r += rows) {
        rows = FN(min)(most, hi * G - r);
        KERNEL(layer_norm_backward_input)((T *)n->dx[0] + r * C, (const T *)n->dy + r * C, (const T *)n->x[0] + r * C,
                                          (const T *)n->save[0] + r, (const T *)n->save[1] + r, n->p[0], rows, C);
        FN(go_back_rows)(n, r, rows, C);
    }
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
