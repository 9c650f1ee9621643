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

static FN(between) FN(between_of)(int64_t o, int64_t n, int64_t f)
{
    double u = ((double)o + 0.5) / (double)f - 0.5;
    u = u < 0 ? 0 : u > (double)(n - 1) ? (double)(n - 1) : u;
    const int64_t low = (int64_t)u;
    return (FN(between)){low, FN(min)(low + 1, n - 1), (T)(u - (double)low)};
}

static inline T FN(mixed)(T low, T high, T share) { return share > 0 ? (1 - share) * low + share * high : low; }

/* y of one sample from x: each element fw times along a row, and each row fh times. */
static void FN(nearest_forward)(T *y, const T *x, int64_t H, int64_t W, int64_t C, int64_t fh, int64_t fw)
{
    const int64_t row = W * fw * C;
    for (int64_t h = 0; h < H; h++, x += W * C) {
        for (int64_t i = 0; i < W * fw; i++) {
            const T *from = x + i / fw * C;
            for (int64_t v = 0; v < C; v += VL) FN(v_store_up_to)(y + i * C + v, FN(v_load_up_to)(from + v, C - v), C - v);
        }
        for (int64_t k = 1; k < fh; k++) memcpy(y + k * row, y, (size_t)row * sizeof(T));
        y += fh * row;
    }
}

static void FN(nearest_backward)(T *dx, const T *dy, int64_t H, int64_t W, int64_t C, int64_t fh, int64_t fw)
{
    for (int64_t h = 0; h < H; h++, dy += fh * W * fw * C)
        for (int64_t w = 0; w < W; w++, dx += C)
            for (int64_t v = 0; v < C; v += VL) {
                V sum = {0};
                for (int64_t i = 0; i < fh; i++)
                    for (int64_t j = 0; j < fw; j++)
                        sum += FN(v_load_up_to)(dy + (i * W * fw + w * fw + j) * C + v, C - v);
                FN(v_store_up_to)(dx + v, sum, C - v);
            }
}

/* dx is 0 before, or NULL: then it goes forward. */
static void FN(linear_rows)(const fbp_node *node, T *y, const T *x, T *dx, const T *dy)
{
    const int64_t H = node->dim[0], W = node->dim[1], C = node->dim[2], fh = node->dim[3], fw = node->dim[4];
    for (int64_t i = 0; i < H * fh; i++) {
        const FN(between) h = FN(between_of)(i, H, fh);
        for (int64_t j = 0; j < W * fw; j++) {
            const FN(between) w = FN(between_of)(j, W, fw);
            const int64_t a = (h.low * W + w.low) * C, b = (h.high * W + w.low) * C, at = (i * W * fw + j) * C;
            const int64_t c = (h.low * W + w.high) * C, d = (h.high * W + w.high) * C;
            for (int64_t v = 0; v < C; v++) {
                if (!dx) {
                    const T left = FN(mixed)(x[a + v], x[b + v], h.share);
                    y[at + v] = FN(mixed)(left, w.share > 0 ? FN(mixed)(x[c + v], x[d + v], h.share) : 0, w.share);
                } else {
                    const T slope = dy[at + v];
                    dx[a + v] += (1 - h.share) * (1 - w.share) * slope;
                    dx[b + v] += h.share * (1 - w.share) * slope;
                    dx[c + v] += (1 - h.share) * w.share * slope;
                    dx[d + v] += h.share * w.share * slope;
                }
            }
        }
    }
}

static void FN(upsample_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t image = n->dim[0] * n->dim[1] * n->dim[2], larger = image * n->dim[3] * n->dim[4];
    for (int64_t r = lo; r < hi; r++) {
        const T *x = (const T *)n->x[0] + r * image;
        T *y = (T *)n->y + r * larger;
        if (n->dim[5]) FN(linear_rows)(n, y, x, NULL, NULL);
        else FN(nearest_forward)(y, x, n->dim[0], n->dim[1], n->dim[2], n->dim[3], n->dim[4]);
    }
}

static void FN(upsample_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t image = n->dim[0] * n->dim[1] * n->dim[2], larger = image * n->dim[3] * n->dim[4];
    if (!n->dx[0]) return;
    for (int64_t r = lo; r < hi; r++) {
        const T *dy = (const T *)n->dy + r * larger;
        T *dx = (T *)n->dx[0] + r * image;
        if (n->dim[5]) {
            memset(dx, 0, (size_t)image * sizeof(T));
            FN(linear_rows)(n, NULL, NULL, dx, dy);
        } else {
            FN(nearest_backward)(dx, dy, n->dim[0], n->dim[1], n->dim[2], n->dim[3], n->dim[4]);
        }
    }
}

static const fbp_phases FN(upsample_phases) = {
    .forward = FN(upsample_forward_rows),
    .backward = FN(upsample_backward_rows),
};
