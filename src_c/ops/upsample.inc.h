/* upsample: images made larger by whole factors; the twin of fastbp/ops/upsample.py.
 *
 * Node: x[0], dx[0] (rows, dim[0] H, dim[1] W, dim[2] C), y, dy (rows, H dim[3], W dim[4], C); dim[5] linear, in the place
 * of nearest. A sequence is an image of height 1.
 */

/* Output o of n inputs, f times as many: (1 - share) of input low, and share of input high. */
typedef struct FN(between) {
    int64_t low, high;
    T share;
} FN(between);

static FN(between) FN(between_of)(int64_t o, int64_t n, int64_t f, int32_t linear)
{
    if (!linear) return (FN(between)){o / f, o / f, 0};
    double u = ((double)o + 0.5) / (double)f - 0.5;
    u = u < 0 ? 0 : u > (double)(n - 1) ? (double)(n - 1) : u;
    const int64_t low = (int64_t)u;
    return (FN(between)){low, FN(min)(low + 1, n - 1), (T)(u - (double)low)};
}

static inline T FN(mixed)(T low, T high, T share) { return share > 0 ? (1 - share) * low + share * high : low; }

static void FN(upsample_rows)(const fbp_node *node, int64_t lo, int64_t hi, const int back)
{
    const int64_t H = node->dim[0], W = node->dim[1], C = node->dim[2], fh = node->dim[3], fw = node->dim[4];
    const int32_t linear = node->dim[5] != 0;
    for (int64_t r = lo; r < hi; r++) {
        const T *x = (const T *)node->x[0] + r * H * W * C;
        T *dx = back ? (T *)node->dx[0] + r * H * W * C : NULL;
        for (int64_t i = 0; i < H * fh * W * fw; i++) {
            const FN(between) h = FN(between_of)(i / (W * fw), H, fh, linear);
            const FN(between) w = FN(between_of)(i % (W * fw), W, fw, linear);
            const int64_t a = (h.low * W + w.low) * C, b = (h.high * W + w.low) * C;
            const int64_t c = (h.low * W + w.high) * C, d = (h.high * W + w.high) * C;
            T *y = (T *)node->y + (r * H * fh * W * fw + i) * C;
            const T *dy = back ? (const T *)node->dy + (r * H * fh * W * fw + i) * C : NULL;
            for (int64_t v = 0; v < C; v++) {
                if (!back && !linear) y[v] = x[a + v];
                else if (!back) {
                    const T left = FN(mixed)(x[a + v], x[b + v], h.share);
                    y[v] = FN(mixed)(left, w.share > 0 ? FN(mixed)(x[c + v], x[d + v], h.share) : 0, w.share);
                } else if (!linear) dx[a + v] += dy[v];
                else {
                    dx[a + v] += (1 - h.share) * (1 - w.share) * dy[v];
                    dx[b + v] += h.share * (1 - w.share) * dy[v];
                    dx[c + v] += (1 - h.share) * w.share * dy[v];
                    dx[d + v] += h.share * w.share * dy[v];
                }
            }
        }
    }
}

static void FN(upsample_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    FN(upsample_rows)(n, lo, hi, 0);
}

static void FN(upsample_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t image = n->dim[0] * n->dim[1] * n->dim[2];
    if (!n->dx[0] || hi <= lo) return;
    memset((T *)n->dx[0] + lo * image, 0, (size_t)((hi - lo) * image) * sizeof(T));
    FN(upsample_rows)(n, lo, hi, 1);
}

static const fbp_phases FN(upsample_phases) = {
    .forward = FN(upsample_forward_rows),
    .backward = FN(upsample_backward_rows),
};
