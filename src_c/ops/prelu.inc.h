/* prelu: y = x where x > 0, else weight x; the twin of fastbp/ops/prelu.py.
 *
 * Node: x[0], y, dx[0], dy (rows, dim[0], dim[1] C). p[0] weight (dim[2],): one a channel, or one for all; units are its
 * elements.
 */

static void FN(prelu_rows)(const fbp_node *n, T *y, const T *from, int64_t lo, int64_t hi)
{
    const int64_t G = n->dim[0], C = n->dim[1];
    const T *weight = n->p[0];
    for (int64_t r = lo * G; r < hi * G; r++)
        for (int64_t i = 0; i < C; i += VL) {
            const V x = FN(v_load_up_to)((const T *)n->x[0] + r * C + i, C - i), v = FN(v_load_up_to)(from + r * C + i, C - i);
            const V w = n->dim[2] == 1 ? FN(v_set1)(weight[0]) : FN(v_load_up_to)(weight + i, C - i);
            FN(v_store_up_to)(y + r * C + i, FN(v_select)(x > 0, v, w * v), C - i);
        }
}

static void FN(prelu_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    FN(prelu_rows)(n, n->y, n->x[0], lo, hi);
}

static void FN(prelu_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    if (n->dx[0]) FN(prelu_rows)(n, n->dx[0], n->dy, lo, hi);
}

/* Sums down n columns of what each element of weight moves y by, times dy. */
static FBP_INLINE void FN(prelu_sums)(const int64_t n, double *sum /* (n,) */, const T *x, const T *dy, int64_t R, int64_t C)
{
    for (int64_t j = 0; j < n; j++) sum[j] = 0;
    for (int64_t r = 0; r < R; r++, x += C, dy += C)
        for (int64_t j = 0; j < n; j++) sum[j] = x[j] > 0 ? sum[j] : sum[j] + (double)dy[j] * (double)x[j];
}

static void FN(prelu_gradient)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t R = run->rows * n->dim[0], C = n->dim[1], one = n->dim[2] == 1;
    double all = 0, sum[VL];
    for (int64_t j = one ? 0 : lo, end = one ? C : hi; n->dp[0] && j < end; j += VL) {
        const T *x = (const T *)n->x[0] + j, *dy = (const T *)n->dy + j;
        const int64_t columns = FN(min)(VL, end - j);
        if (columns == VL) FN(prelu_sums)(VL, sum, x, dy, R, C);
        else FN(prelu_sums)(columns, sum, x, dy, R, C);
        for (int64_t i = 0; i < columns; i++) {
            all += sum[i];
            ((T *)n->dp[0])[one ? 0 : j + i] = (T)(one ? all : sum[i]);
        }
    }
}

static const fbp_phases FN(prelu_phases) = {
    .forward = FN(prelu_forward_rows),
    .backward = FN(prelu_backward_rows),
    .gradient = FN(prelu_gradient),
};
