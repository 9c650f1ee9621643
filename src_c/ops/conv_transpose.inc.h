/* conv_transpose: y = the windows x W, added up where they overlap, + b; the twin of fastbp/ops/conv_transpose.py.
 *
 * Node: x[0] (rows, OH, OW, C), y (rows, H, W, O): dim[0..12] as in window.inc.h describe the windows of y, whose
 * channels are O. dim[13] C, dim[14] groups (G), dim[15] K = kernel O / G. p[0] W (C, K), p[1] b (O,) or NULL. prepared:
 * for each group, W transposed, (G, K, C / G), or NULL where dx is not wanted. Units are rows of W.
 */

/* The same as a convolution of y: M windows of K elements, of Cg channels of y; Og are the channels of x. */
static FN(conv) FN(conv_transpose_of)(const fbp_node *n)
{
    const FN(window) w = FN(window_of)(n);
    const int64_t C = n->dim[13], G = n->dim[14], M = w.OH * w.OW;
    return (FN(conv)){w, C, G, n->dim[15], M, w.C / G, C / G, w.H * w.W * w.C, M * C};
}

static void FN(conv_transpose_prepare)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const FN(conv) c = FN(conv_transpose_of)(n);
    for (int64_t g = 0; g < c.G && n->prepared; g++) {
        const int64_t first = lo < g * c.Og ? g * c.Og : lo, end = FN(min)(hi, (g + 1) * c.Og);
        if (first < end)
            FN(transpose_block)((T *)n->prepared + g * c.K * c.Og + first - g * c.Og, c.Og,
                                (const T *)n->p[0] + first * c.K, c.K, end - first, c.K);
    }
}

static void FN(conv_transpose_forward_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    const FN(conv) c = FN(conv_transpose_of)(n);
    const int64_t O = c.w.C, pixels = c.w.H * c.w.W;
    T *y = (T *)n->y + lo * c.image;
    const T *b = n->p[1];
    for (int64_t r = 0; r < (hi - lo) * pixels; r++)
        for (int64_t o = 0; o < O; o += VL)
            FN(v_store_up_to)(y + r * O + o, b ? FN(v_load_up_to)(b + o, O - o) : (V){0}, O - o);
    /* x is to y what dy is to dx in a convolution */
    for (int64_t g = 0; g < c.G; g++) FN(conv_backward_group)(&c, y, (const T *)n->x[0] + lo * c.map, n->p[0], g, hi - lo, scratch);
}

static void FN(conv_transpose_backward_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi,
                                              void *scratch)
{
    (void)run;
    const FN(conv) c = FN(conv_transpose_of)(n);
    const FN(epilogue) none = {0};
    T *windows = (T *)((char *)scratch + FBP_WINDOW_AT), *dx = n->dx[0] ? (T *)n->dx[0] + lo * c.map : NULL;
    const T *dy = (const T *)n->dy + lo * c.image;
    const int64_t depth = FN(min)(c.K, FBP_KC), step = FN(windows_at_a_time)(c.M, depth, 0), end = (hi - lo) * c.M;
    for (int64_t g = 0; g < c.G && dx; g++) {
        const T *Wt = (const T *)n->prepared + g * c.K * c.Og;
        for (int64_t r = 0, next; r < end; r = next) {
            next = FN(piece_end)(r, step, c.M, end);
            for (int64_t k = 0, K; k < c.K; k += K) {
                K = FN(min)(depth, c.K - k);
                const int64_t ld = FN(spread)(K);
                FN(read_windows)(windows, ld, &c.w, dy, g * c.Cg, c.Cg, r, next - r, k, k + K);
                FN(part_product)(dx + r * c.O + g * c.Og, c.O, windows, ld, 1, Wt + k * c.Og, c.Og, next - r, c.Og, K,
                                 k == 0, 1, &none, scratch);
            }
        }
    }
}

/* dW of the rows lo to hi of one group. */
static void FN(conv_transpose_weight_gradient)(const FN(conv) *c, T *dW, const T *x, const T *dy, int64_t g, int64_t rows,
                                               int64_t lo, int64_t hi, void *scratch)
{
    T *windows = (T *)((char *)scratch + FBP_WINDOW_AT);
    const FN(epilogue) none = {0};
    const int64_t end = rows * c->M;
    for (int64_t k = 0, K; k < c->K; k += K) {
        K = FN(min)(FBP_KC, c->K - k);
        const int64_t step = FN(windows_at_a_time)(1, K, 0), ld = FN(spread)(K);
        for (int64_t r = 0, n; r < end; r += n) {
            n = FN(min)(step, end - r);
            FN(read_windows)(windows, ld, &c->w, dy, g * c->Cg, c->Cg, r, n, k, k + K);
            FN(part_product)(dW + lo * c->K + k, c->K, x + r * c->O + lo, 1, c->O, windows, ld, hi - lo, K, n, r == 0, 1,
                             &none, scratch);
        }
    }
}

static void FN(conv_transpose_gradient_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi,
                                              void *scratch)
{
    const FN(conv) c = FN(conv_transpose_of)(n);
    if (n->dp[0] && lo < hi && run->rows == 0) memset((T *)n->dp[0] + lo * c.K, 0, (size_t)((hi - lo) * c.K) * sizeof(T));
    for (int64_t g = 0; g < c.G && n->dp[0]; g++) {
        const int64_t first = lo < g * c.Og ? g * c.Og : lo, end = FN(min)(hi, (g + 1) * c.Og);
        if (first < end)
            FN(conv_transpose_weight_gradient)(&c, n->dp[0], n->x[0], n->dy, g, run->rows, first, end, scratch);
    }
    if (n->dp[1] && lo == 0) FN(column_sums)(n->dp[1], n->dy, run->rows * c.w.H * c.w.W, c.w.C);
}

static const fbp_phases FN(conv_transpose_phases) = {
    .prepare = FN(conv_transpose_prepare),
    .forward = FN(conv_transpose_forward_phase),
    .backward = FN(conv_transpose_backward_phase),
    .gradient = FN(conv_transpose_gradient_phase),
};
