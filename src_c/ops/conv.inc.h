/* conv: y = x * W + b; the twin of fastbp/ops/conv.py.
 *
 * Node: x[0] (rows, H, W, C), y (rows, OH, OW, O); dim[0..12] as in window.inc.h, dim[13] O, dim[14] groups (G), dim[15]
 * K = kernel C / G. p[0] W (K, O), p[1] b (O,) or NULL. prepared: for each group, W transposed, (G, O / G, K), or NULL
 * where dx is not wanted. Units are rows of W.
 *
 * A convolution is a product whose A are the windows, one a row. They are read a piece at a time into the scratch
 * memory, and multiplied while they are in the cache. Which piece a window falls in depends on its place in its image
 * alone, so that no bit depends on how rows are cut; sums over all windows of a batch run window by window. Where one
 * channel has few outputs, and where each channel has a kernel of its own, there are other ways.
 *
 *   prepare   refreshes the units' columns of what is prepared
 *   forward   y = act(z), and act'(z) to fusion.slope if that is not NULL
 *   backward  is given dz in dy; dx: the gradient of the windows, a piece at a time, added back to the image, and on
 *             through fusion.gate
 *   gradient  dW of the units; with unit 0 also db. If the node updates, they are applied at once
 */

#ifndef FBP_WINDOW_BYTES
#define FBP_WINDOW_BYTES (256 * 1024)        /* of windows at a time, above what a product copies to */
#define FBP_TAPS_BYTES (48 * 1024)           /* of windows read tap by tap, which goes through all of them each time */
#define FBP_WINDOW_AT (FBP_PANEL_BYTES + FBP_BLOCK_BYTES)
#endif

typedef struct FN(conv) {
    FN(window) w;
    int64_t O, G, K, M, Cg, Og;
    int64_t image, map;        /* elements of an image, and of its output */
} FN(conv);

static FN(conv) FN(conv_of)(const fbp_node *n)
{
    const FN(window) w = FN(window_of)(n);
    const int64_t O = n->dim[13], G = n->dim[14], M = w.OH * w.OW;
    return (FN(conv)){w, O, G, n->dim[15], M, w.C / G, O / G, w.H * w.W * w.C, M * O};
}

static int32_t FN(is_depthwise)(const FN(conv) *c) { return c->Cg == 1 && c->Og == 1 && c->G > 1; }

/* C (M, N) (+)= A (M, K) B (K, N), for K up to FBP_KC. */
static void FN(part_product)(T *C, int64_t ldc, const T *A, int64_t a_row, int64_t a_k, const T *B, int64_t ldb,
                             int64_t M, int64_t N, int64_t K, int32_t first, int32_t last, const FN(epilogue) *e,
                             void *scratch)
{
    FN(product) p = {.tiles = FN(tiles), .C = C, .ldc = ldc, .a_row = a_row, .a_k = a_k, .ldb = ldb, .K = K,
                     .first = first, .last = last, .e = e};
    if (K > FBP_PACK_ROWS && FN(is_far)(ldb)) p.panel = scratch;
    FN(gemm_block)(&p, A, B, 0, M, 0, N);
}

/* Images of one channel are read tap by tap: their windows stand in columns then. */
static int32_t FN(by_taps)(const FN(conv) *c) { return c->w.C == 1 && c->w.sw == 1; }

/* How many windows of K elements are read at a time, of M in an image, tap by tap or not: whole images, or a part of
 * one. */
static int64_t FN(windows_at_a_time)(int64_t M, int64_t K, int32_t taps)
{
    /* a row is up to two cache lines longer than what it holds, of whichever the rows are */
    const int64_t row = (int64_t)sizeof(T) * K + 128, room = FN(min)(FBP_WINDOW_BYTES / row - 32, FBP_KC);
    const int64_t most = taps ? FN(min)(FBP_TAPS_BYTES / row + 1, room) : room;
    return M <= most ? most / M * M : (M + FN(parts)(M, most) - 1) / FN(parts)(M, most);
}

/* The end of the piece that begins at window r: in the same image, if a piece is a part of one. */
static int64_t FN(piece_end)(int64_t r, int64_t step, int64_t M, int64_t end)
{
    return FN(min)(r + step, step < M ? (r / M + 1) * M : end);
}

static void FN(conv_forward_group)(const FN(conv) *c, T *y, const T *x, const T *W, const T *b, const T *affine,
                                   int32_t relu, int64_t g, int64_t rows, void *scratch)
{
    T *windows = (T *)((char *)scratch + FBP_WINDOW_AT);
    const int64_t o = g * c->Og;
    const FN(epilogue) e = {.bias = b ? b + o : NULL, .scale = affine ? affine + o : NULL,
                            .shift = affine ? affine + c->O + o : NULL, .relu = relu};
    const int64_t depth = FN(min)(c->K, FBP_KC), end = rows * c->M;
    const int64_t step = FN(windows_at_a_time)(c->M, depth, FN(by_taps)(c));
    for (int64_t r = 0, next; r < end; r = next) {
        next = FN(piece_end)(r, step, c->M, end);
        for (int64_t k = 0, K; k < c->K; k += K) {
            K = FN(min)(depth, c->K - k);
            const int64_t taps = FN(by_taps)(c), ld = FN(spread)(taps ? next - r : K);
            if (taps) FN(read_taps)(windows, ld, &c->w, x, r, next - r, k, k + K);
            else FN(read_windows)(windows, ld, &c->w, x, g * c->Cg, c->Cg, r, next - r, k, k + K);
            FN(part_product)(y + r * c->O + g * c->Og, c->O, windows, taps ? 1 : ld, taps ? ld : 1,
                             W + k * c->O + g * c->Og, c->O, next - r, c->Og, K, k == 0, k + K == c->K, &e, scratch);
        }
    }
}

static void FN(conv_backward_group)(const FN(conv) *c, T *dx, const T *dy, const T *Wt, int64_t g, int64_t rows,
                                    void *scratch)
{
    T *windows = (T *)((char *)scratch + FBP_WINDOW_AT);
    const FN(epilogue) none = {0};
    const int64_t depth = FN(min)(c->K, FBP_KC), step = FN(windows_at_a_time)(c->M, depth, 0), end = rows * c->M;
    for (int64_t r = 0, next; r < end; r = next) {
        next = FN(piece_end)(r, step, c->M, end);
        for (int64_t k = 0, K; k < c->K; k += K) {
            K = FN(min)(depth, c->K - k);
            const int64_t ld = FN(spread)(K);
            for (int64_t o = 0, n; o < c->Og; o += n) {
                n = FN(min)(FBP_KC, c->Og - o);
                FN(part_product)(windows, ld, dy + r * c->O + g * c->Og + o, c->O, 1, Wt + (g * c->Og + o) * c->K + k,
                                 c->K, next - r, K, n, o == 0, 1, &none, scratch);
            }
            FN(add_windows)(dx, windows, ld, &c->w, g * c->Cg, c->Cg, r, next - r, k, k + K);
        }
    }
}

/* dW of the rows lo to hi. */
static void FN(conv_gradient_group)(const FN(conv) *c, T *dW, const T *x, const T *dy, int64_t g, int64_t rows,
                                    int64_t lo, int64_t hi, void *scratch)
{
    T *windows = (T *)((char *)scratch + FBP_WINDOW_AT);
    const FN(epilogue) none = {0};
    const int64_t end = rows * c->M;
    for (int64_t k = lo, K; k < hi; k += K) {
        K = FN(min)(FBP_KC, hi - k);
        const int64_t taps = FN(by_taps)(c), step = FN(windows_at_a_time)(1, K, (int32_t)taps);
        for (int64_t r = 0, n; r < end; r += n) {
            n = FN(min)(step, end - r);
            const int64_t ld = FN(spread)(taps ? n : K);
            if (taps) FN(read_taps)(windows, ld, &c->w, x, r, n, k, k + K);
            else FN(read_windows)(windows, ld, &c->w, x, g * c->Cg, c->Cg, r, n, k, k + K);
            FN(part_product)(dW + k * c->O + g * c->Og, c->O, windows, taps ? ld : 1, taps ? 1 : ld,
                             dy + r * c->O + g * c->Og, c->O, K, c->Og, n, r == 0, 1, &none, scratch);
        }
    }
}

#include "conv_pixels.inc.h"

/* ---- depthwise: each channel with a kernel of its own ----------------------------------------------------------- */

/* For each window and each of its taps that is within the image: what a loop over channels does. */
#define FBP_EACH_WINDOW(c, body)                                                                                 \
    for (int64_t oh = 0, m = 0; oh < (c)->w.OH; oh++)                                                            \
        for (int64_t ow = 0; ow < (c)->w.OW; ow++, m++) {                                                        \
            const int64_t ih = oh * (c)->w.sh - (c)->w.ph, iw = ow * (c)->w.sw - (c)->w.pw;                      \
            int64_t i0, i1, j0, j1;                                                                              \
            FN(taps_within)(ih, (c)->w.dh, (c)->w.kh, (c)->w.H, &i0, &i1);                                       \
            FN(taps_within)(iw, (c)->w.dw, (c)->w.kw, (c)->w.W, &j0, &j1);                                       \
            body                                                                                                 \
        }
#define FBP_EACH_TAP(c, body)                                                                                    \
    for (int64_t i = i0; i < i1; i++)                                                                            \
        for (int64_t j = j0; j < j1; j++) {                                                                      \
            const int64_t tap = i * (c)->w.kw + j;                                                               \
            const int64_t at = ((ih + i * (c)->w.dh) * (c)->w.W + iw + j * (c)->w.dw) * (c)->w.C;                \
            body                                                                                                 \
        }

static void FN(depthwise_forward)(const FN(conv) *c, T *y, const T *x, const T *W, const T *b, const T *affine)
{
    const int64_t C = c->O;
    FBP_EACH_WINDOW(c, {
        for (int64_t v = 0; v < C; v += VL) {
            V sum = b ? FN(v_load_up_to)(b + v, C - v) : (V){0};
            FBP_EACH_TAP(c, {
                sum = FN(v_fma)(FN(v_load_up_to)(x + at + v, C - v), FN(v_load_up_to)(W + tap * C + v, C - v), sum);
            })
            if (affine)
                sum = FN(v_fma)(sum, FN(v_load_up_to)(affine + v, C - v), FN(v_load_up_to)(affine + C + v, C - v));
            FN(v_store_up_to)(y + m * C + v, sum, C - v);
        }
    })
}

static void FN(depthwise_backward)(const FN(conv) *c, T *dx, const T *dy, const T *W)
{
    const int64_t C = c->O;
    FBP_EACH_WINDOW(c, {
        for (int64_t v = 0; v < C; v += VL) {
            const V d = FN(v_load_up_to)(dy + m * C + v, C - v);
            FBP_EACH_TAP(c, {
                const V sum = FN(v_fma)(d, FN(v_load_up_to)(W + tap * C + v, C - v), FN(v_load_up_to)(dx + at + v, C - v));
                FN(v_store_up_to)(dx + at + v, sum, C - v);
            })
        }
    })
}

static void FN(depthwise_gradient)(const FN(conv) *c, T *dW, const T *x, const T *dy, int64_t lo, int64_t hi)
{
    const int64_t C = c->O;
    FBP_EACH_WINDOW(c, {
        FBP_EACH_TAP(c, {
            for (int64_t v = 0; v < C && tap >= lo && tap < hi; v += VL) {
                const V sum = FN(v_fma)(FN(v_load_up_to)(dy + m * C + v, C - v), FN(v_load_up_to)(x + at + v, C - v),
                                        FN(v_load_up_to)(dW + tap * C + v, C - v));
                FN(v_store_up_to)(dW + tap * C + v, sum, C - v);
            }
        })
    })
}

/* ---- phases --------------------------------------------------------------------------------------------------- */

static void FN(conv_prepare)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const FN(conv) c = FN(conv_of)(n);
    for (int64_t g = 0; g < c.G && n->prepared; g++)
        FN(transpose_block)((T *)n->prepared + g * c.Og * c.K + lo, c.K, (const T *)n->p[0] + lo * c.O + g * c.Og, c.O,
                            hi - lo, c.Og);
}

static void FN(conv_forward_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    const FN(conv) c = FN(conv_of)(n);
    const int32_t depthwise = FN(is_depthwise)(&c), relu = n->fusion.act.op == FBP_OP_relu && !depthwise;
    T *y = (T *)n->y + lo * c.map;
    const T *x = (const T *)n->x[0] + lo * c.image, *W = n->p[0], *affine = n->fusion.affine;
    const T *b = affine ? NULL : n->p[1];
    if (depthwise)
        for (int64_t r = 0; r < hi - lo; r++) FN(depthwise_forward)(&c, y + r * c.map, x + r * c.image, W, b, affine);
    else if (FN(by_pixels)(&c)) FN(conv_forward_pixels)(&c, y, x, W, b, affine, relu, hi - lo, scratch);
    else
        for (int64_t g = 0; g < c.G; g++) FN(conv_forward_group)(&c, y, x, W, b, affine, relu, g, hi - lo, scratch);
    if (!relu) FN(activate_rows)(n, lo, hi - lo, c.map);
}

static void FN(conv_backward_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    const FN(conv) c = FN(conv_of)(n);
    if (!n->dx[0] || hi <= lo) return;
    T *dx = (T *)n->dx[0] + lo * c.image;
    const T *dy = (const T *)n->dy + lo * c.map;
    memset(dx, 0, (size_t)((hi - lo) * c.image) * sizeof(T));
    if (FN(is_depthwise)(&c))
        for (int64_t r = 0; r < hi - lo; r++) FN(depthwise_backward)(&c, dx + r * c.image, dy + r * c.map, n->p[0]);
    else
        for (int64_t g = 0; g < c.G; g++) FN(conv_backward_group)(&c, dx, dy, n->prepared, g, hi - lo, scratch);
    FN(go_back_rows)(n, lo, hi - lo, c.image);
}

static void FN(conv_weight_gradient)(const FN(conv) *c, T *dW, const T *x, const T *dy, int64_t rows, int64_t lo,
                                     int64_t hi, void *scratch)
{
    const int32_t depthwise = FN(is_depthwise)(c);
    if (depthwise || rows == 0) memset(dW + lo * c->O, 0, (size_t)((hi - lo) * c->O) * sizeof(T));
    if (depthwise)
        for (int64_t r = 0; r < rows; r++) FN(depthwise_gradient)(c, dW, x + r * c->image, dy + r * c->map, lo, hi);
    else if (rows && FN(by_pixels)(c)) FN(conv_gradient_pixels)(c, dW, x, dy, rows, lo, hi, scratch);
    else
        for (int64_t g = 0; g < c->G; g++) FN(conv_gradient_group)(c, dW, x, dy, g, rows, lo, hi, scratch);
}

static void FN(conv_gradient_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    const FN(conv) c = FN(conv_of)(n);
    fbp_update_plan *update = n->fusion.updates ? run->update : NULL;
    if (n->dp[0] && lo < hi) {
        FN(conv_weight_gradient)(&c, n->dp[0], n->x[0], n->dy, run->rows, lo, hi, scratch);
        if (update) {
            fbp_update_piece(update, n, 0, lo * c.O, (hi - lo) * c.O);
            FN(conv_prepare)(n, run, lo, hi, scratch);
        }
    }
    if (n->dp[1] && lo == 0) {
        FN(column_sums)(n->dp[1], n->dy, run->rows * c.M, c.O);
        if (update) fbp_update_piece(update, n, 1, 0, c.O);
    }
}

static const fbp_phases FN(conv_phases) = {
    .prepare = FN(conv_prepare),
    .forward = FN(conv_forward_phase),
    .backward = FN(conv_backward_phase),
    .gradient = FN(conv_gradient_phase),
};

#undef FBP_EACH_TAP
#undef FBP_EACH_WINDOW
