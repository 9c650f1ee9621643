/* rms_norm: y = x rstd weight, rstd = 1 / sqrt(mean of x^2 + eps) of each row of C features; the twin of
 * fastbp/ops/rms_norm.py, where the gradient is derived.
 *
 * Node: x[0], y, dx[0], dy, all (rows, dim[0], dim[1]). dim[0]: groups a row (G), dim[1]: C; units are columns. p[0]
 * weight (C,). save[0] rstd, save[1] zeros, which stand for the mean: both (rows, G). attr[0] eps.
 */

static void FN(rms_norm_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t G = n->dim[0], C = n->dim[1];
    const T *weight = n->p[0];
    for (int64_t r = lo * G; r < hi * G; r++) {
        const T *x = (const T *)n->x[0] + r * C;
        T *y = (T *)n->y + r * C;
        double sums[2];
        FN(row_sums)(FN(products), sums, x, x, NULL, 0, C);
        const T rstd = (T)FN(reciprocal_deviation)(sums[1] / (double)C, n->attr[0]);
        ((T *)n->save[0])[r] = rstd;
        ((T *)n->save[1])[r] = 0;
        for (int64_t i = 0; i < C; i += VL)
            FN(v_store_up_to)(y + i, FN(v_load_up_to)(x + i, C - i) * rstd * FN(v_load_up_to)(weight + i, C - i), C - i);
    }
}

static void FN(rms_norm_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t G = n->dim[0], C = n->dim[1];
    const T *weight = n->p[0];
    for (int64_t r = lo * G; n->dx[0] && r < hi * G; r++) {
        const T *x = (const T *)n->x[0] + r * C, *dy = (const T *)n->dy + r * C;
        T *dx = (T *)n->dx[0] + r * C;
        double sums[2];
        FN(row_sums)(FN(gradients), sums, x, dy, weight, 0, C);
        const T rstd = ((const T *)n->save[0])[r];
        const V slope = FN(v_set1)((T)((double)rstd * (double)rstd * sums[1] / (double)C));
        for (int64_t i = 0; i < C; i += VL) {
            const V g = FN(v_load_up_to)(dy + i, C - i) * FN(v_load_up_to)(weight + i, C - i);
            FN(v_store_up_to)(dx + i, FN(v_fma)(-FN(v_load_up_to)(x + i, C - i), slope, g) * rstd, C - i);
        }
    }
}

static void FN(rms_norm_gradient)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t R = run->rows * n->dim[0], C = n->dim[1];
    double a[FBP_STRIP], b[FBP_STRIP];
    for (int64_t j = lo, m; j < hi && n->dp[0]; j += m) {
        m = FN(column_strip)(FN(normalised), a, b, (const T *)n->x[0] + j, (const T *)n->dy + j, n->save[1], n->save[0], R, C,
                             hi - j);
        for (int64_t i = 0; i < m; i++) ((T *)n->dp[0])[j + i] = (T)b[i];
    }
}

static const fbp_phases FN(rms_norm_phases) = {
    .forward = FN(rms_norm_forward_rows),
    .backward = FN(rms_norm_backward_rows),
    .gradient = FN(rms_norm_gradient),
};
