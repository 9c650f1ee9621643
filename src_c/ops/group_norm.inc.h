/* group_norm: y = (x - mean) rstd weight + bias, mean and rstd of each group of channels of a sample; the twin of
 * fastbp/ops/group_norm.py, where the gradient is derived.
 *
 * Node: x[0], y, dx[0], dy (rows, dim[0] P, dim[1] groups, dim[2] channels of one). p[0] weight, p[1] bias, one a
 * channel; units are channels. save[0] mean, save[1] rstd (rows, groups). attr[0] eps.
 */

/* The sums of row_sums over all positions of a group. */
static FBP_INLINE void FN(group_sums)(const int what, double sums[2], const T *x, const T *dy, const T *w, T mean,
                                      int64_t P, int64_t ld, int64_t n)
{
    sums[0] = sums[1] = 0;
    for (int64_t p = 0; p < P; p++) {
        double part[2];
        FN(row_sums)(what, part, x + p * ld, dy ? dy + p * ld : NULL, w, mean, n);
        sums[0] += part[0];
        sums[1] += part[1];
    }
}

static void FN(group_norm_forward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t P = node->dim[0], G = node->dim[1], c = node->dim[2], ld = G * c;
    const double n = (double)(P * c);
    for (int64_t r = lo * G; r < hi * G; r++) {
        const int64_t at = r / G * P * ld + r % G * c, channel = r % G * c;
        const T *x = (const T *)node->x[0] + at, *weight = (const T *)node->p[0] + channel;
        const T *bias = (const T *)node->p[1] + channel;
        T *y = (T *)node->y + at, *mean = (T *)node->save[0] + r, *rstd = (T *)node->save[1] + r;
        double sums[2];
        FN(group_sums)(FN(values), sums, x, NULL, NULL, 0, P, ld, c);
        const T first = (T)(sums[0] / n);
        FN(group_sums)(FN(deviations), sums, x, NULL, NULL, first, P, ld, c);
        *mean = (T)((double)first + sums[0] / n);
        *rstd = (T)FN(reciprocal_deviation)(FN(variance)(sums[0], sums[1], n), node->attr[0]);
        const V m = FN(v_set1)(*mean), s = FN(v_set1)(*rstd);
        for (int64_t p = 0; p < P; p++)
            for (int64_t i = 0; i < c; i += VL) {
                const V h = (FN(v_load_up_to)(x + p * ld + i, c - i) - m) * s;
                const V w = FN(v_load_up_to)(weight + i, c - i), b = FN(v_load_up_to)(bias + i, c - i);
                FN(v_store_up_to)(y + p * ld + i, FN(v_fma)(h, w, b), c - i);
            }
    }
}

static void FN(group_norm_backward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t P = node->dim[0], G = node->dim[1], c = node->dim[2], ld = G * c;
    const double n = (double)(P * c);
    for (int64_t r = lo * G; node->dx[0] && r < hi * G; r++) {
        const int64_t at = r / G * P * ld + r % G * c;
        const T *x = (const T *)node->x[0] + at, *dy = (const T *)node->dy + at;
        const T *weight = (const T *)node->p[0] + r % G * c, mean = ((const T *)node->save[0])[r];
        T *dx = (T *)node->dx[0] + at;
        const double s = (double)((const T *)node->save[1])[r];
        double sums[2];
        FN(group_sums)(FN(gradients), sums, x, dy, weight, mean, P, ld, c);
        const V m = FN(v_set1)(mean), scale = FN(v_set1)((T)s), average = FN(v_set1)((T)(sums[0] / n));
        const V slope = FN(v_set1)((T)(s * s * sums[1] / n));
        for (int64_t p = 0; p < P; p++)
            for (int64_t i = 0; i < c; i += VL) {
                const int64_t j = p * ld + i;
                const V g = FN(v_load_up_to)(dy + j, c - i) * FN(v_load_up_to)(weight + i, c - i) - average;
                const V d = FN(v_load_up_to)(x + j, c - i) - m;
                FN(v_store_up_to)(dx + j, scale * FN(v_fma)(-d, slope, g), c - i);
            }
    }
}

static void FN(group_norm_gradient)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t P = node->dim[0], G = node->dim[1], c = node->dim[2], C = G * c;
    for (int64_t j = lo; j < hi; j++) {
        double dweight = 0, dbias = 0;
        for (int64_t r = 0; r < run->rows; r++) {
            const T *x = (const T *)node->x[0] + r * P * C + j, *dy = (const T *)node->dy + r * P * C + j;
            const double mean = (double)((const T *)node->save[0])[r * G + j / c];
            double a = 0, b = 0;
            for (int64_t p = 0; p < P; p++) {
                a += (double)dy[p * C];
                b += (double)dy[p * C] * ((double)x[p * C] - mean);
            }
            dbias += a;
            dweight += b * (double)((const T *)node->save[1])[r * G + j / c];
        }
        if (node->dp[0]) ((T *)node->dp[0])[j] = (T)dweight;
        if (node->dp[1]) ((T *)node->dp[1])[j] = (T)dbias;
    }
}

static const fbp_phases FN(group_norm_phases) = {
    .forward = FN(group_norm_forward_rows),
    .backward = FN(group_norm_backward_rows),
    .gradient = FN(group_norm_gradient),
};
