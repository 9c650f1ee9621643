/* piecewise_linear: y[i, o] = sum of min(max(x[i] - t, 0), 1) W[i, t, o] over t; the twin of
 * fastbp/ops/piecewise_linear.py, where the gradient is derived.
 *
 * Node: x[0] (rows, G, I), y (rows, G, I, O), p[0] W (I, N, O). dim[0] G, dim[1] I, dim[2] N bins, dim[3] O; units are
 * features. save[0] (I, N, O): before[t], what all bins before t add; forward_reduce makes it, so that a row looks at
 * one bin alone.
 */

/* The bin that x lies in, 0 <= k < N, and how far x is past its edge, 0 to 1; NaN lies NaN past the first one. */
static FBP_INLINE int64_t FN(bin_of)(T x, int64_t N, T *part)
{
    const T last = (T)(N - 1);
    const int64_t k = x > 0 ? (int64_t)(x < last ? x : last) : 0;
    const T past = x - (T)k;
    *part = past < 0 ? 0 : past > 1 ? 1 : past;
    return k;
}

/* Features lo to hi. */
static void FN(sums_before)(T *before, const T *W, int64_t N, int64_t O, int64_t lo, int64_t hi)
{
    for (int64_t i = lo; i < hi; i++) {
        T *b = before + i * N * O;
        const T *w = W + i * N * O;
        memset(b, 0, (size_t)O * sizeof(T));
        for (int64_t t = O; t < N * O; t++) b[t] = b[t - O] + w[t - O];
    }
}

/* R rows; before as the node says. */
static void FN(piecewise_rows)(T *y, const T *x, const T *W, const T *before, int64_t R, int64_t I, int64_t N, int64_t O)
{
    for (int64_t r = 0; r < R; r++)
        for (int64_t i = 0; i < I; i++, y += O) {
            T part;
            const int64_t at = (i * N + FN(bin_of)(x[r * I + i], N, &part)) * O;
            for (int64_t o = 0; o < O; o++) y[o] = before[at + o] + part * W[at + o];
        }
}

static void FN(piecewise_inputs)(T *dx /* (R, I) */, const T *dy /* (R, I, O) */,
                                                    const T *x /* (R, I) */, const T *W /* (I, N, O) */, int64_t R,
                                                    int64_t I, int64_t N, int64_t O)
{
    for (int64_t r = 0; r < R; r++)
        for (int64_t i = 0; i < I; i++, dy += O) {
            T part, sum = 0;
            const T place = x[r * I + i];
            const T *w = W + (i * N + FN(bin_of)(place, N, &part)) * O;
            for (int64_t o = 0; o < O; o++) sum += dy[o] * w[o];
            dx[r * I + i] = place >= 0 && place < (T)N ? sum : 0;
        }
}

/* Features lo to hi. dW holds what its own bin adds to t, `full` (N, O) what bins after it do. */
static void FN(piecewise_sums)(T *dW, T *full, const T *dy, const T *x, int64_t R, int64_t I, int64_t N, int64_t O,
                               int64_t lo, int64_t hi)
{
    for (int64_t i = lo; i < hi; i++) {
        T *own = dW + i * N * O;
        memset(own, 0, (size_t)(N * O) * sizeof(T));
        memset(full, 0, (size_t)(N * O) * sizeof(T));
        for (int64_t r = 0; r < R; r++) {
            T part;
            const int64_t at = FN(bin_of)(x[r * I + i], N, &part) * O;
            const T *g = dy + (r * I + i) * O;
            for (int64_t o = 0; o < O; o++) own[at + o] += part * g[o];
            for (int64_t o = 0; o < O; o++) full[at + o] += g[o];
        }
        for (int64_t t = (N - 1) * O - 1; t >= 0; t--) {
            own[t] += full[t + O];
            full[t] += full[t + O];
        }
    }
}

static void FN(piecewise_linear_reduce)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    FN(sums_before)(n->save[0], n->p[0], n->dim[2], n->dim[3], lo, hi);
}

static void FN(piecewise_linear_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi,
                                              void *scratch)
{
    (void)run; (void)scratch;
    const int64_t G = n->dim[0], I = n->dim[1], O = n->dim[3], row = lo * G;
    FN(piecewise_rows)((T *)n->y + row * I * O, (const T *)n->x[0] + row * I, n->p[0], n->save[0], (hi - lo) * G, I,
                       n->dim[2], O);
}

static void FN(piecewise_linear_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi,
                                               void *scratch)
{
    (void)run; (void)scratch;
    const int64_t G = n->dim[0], I = n->dim[1], O = n->dim[3], row = lo * G;
    if (n->dx[0])
        FN(piecewise_inputs)((T *)n->dx[0] + row * I, (const T *)n->dy + row * I * O,
                                                (const T *)n->x[0] + row * I, n->p[0], (hi - lo) * G, I, n->dim[2], O);
}

static void FN(piecewise_linear_gradient)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    if (n->dp[0])
        FN(piecewise_sums)(n->dp[0], scratch, n->dy, n->x[0], run->rows * n->dim[0], n->dim[1], n->dim[2], n->dim[3],
                           lo, hi);
}

static const fbp_phases FN(piecewise_linear_phases) = {
    .forward_reduce = FN(piecewise_linear_reduce),
    .forward = FN(piecewise_linear_forward_rows),
    .backward = FN(piecewise_linear_backward_rows),
    .gradient = FN(piecewise_linear_gradient),
};
