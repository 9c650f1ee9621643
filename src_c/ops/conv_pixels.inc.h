/* Convolutions of images of one channel with few outputs: the vectors are pixels, not outputs, which would leave most of
 * their lanes empty.
 *
 * An image is read in patches: windows of some rows and columns, and the pixels that they see, with zeros around the
 * image, in scratch memory. There each tap reads a vector of neighbouring pixels, and each output has a sum of its own.
 * An element of y is the same chain over the taps as in the product (gemm.inc.h): the same bits. An element of dW is a
 * sum for each lane over the rows of a patch; then over patches, one after the other; then over the lanes.
 *
 * y and dy have their outputs side by side. They are brought to a row of pixels for each output, and back, by shuffles:
 * lane l of vector j is lane at[j][l] of vector from[j][l].
 */

#ifndef FBP_PATCH_COLUMNS
#define FBP_PATCH_COLUMNS 128
#define FBP_PATCH_BYTES (32 * 1024)       /* of outputs of a patch, and of the pixels that it sees */
#define FBP_PIXELS_BYTES (64 * 1024)      /* of pixels that one row of windows sees, at the most; of sums, twice as much */
#define FBP_MOST_PIXEL_OUTPUTS 8
#define FBP_PIXEL_TAPS(O) (2 * FBP_MR / (O) < 4 ? 2 * FBP_MR / (O) : 4)    /* taps at a time, whose sums fit registers */
#endif
#define FBP_LANES (FBP_VBYTES / (FBP_F64 ? 8 : 4))

typedef struct FN(shuffle) {
    VI from[FBP_MOST_PIXEL_OUTPUTS], at[FBP_MOST_PIXEL_OUTPUTS];
} FN(shuffle);

typedef struct FN(pixels) {
    const FN(conv) *c;
    int64_t outputs;                      /* O, or one more: even */
    int64_t rows, columns;                /* of windows in a patch, at the most */
    int64_t height, width;                /* of the pixels that a patch sees, zeros to the end of a vector included */
    T *seen;                              /* (height, width) */
    FN(shuffle) shuffle;
    int64_t oh, ow, rows_here, columns_here;      /* the patch at hand */
} FN(pixels);

static int64_t FN(patch_width)(const FN(window) *w)
{
    const int64_t step = 2 * VL;
    return (FN(min)(w->OW, FBP_PATCH_COLUMNS) + step - 1) / step * step + (w->kw - 1) * w->dw;
}

/* Whether pixels fill more lanes than outputs would. */
static int32_t FN(by_pixels)(const FN(conv) *c)
{
    const FN(window) *w = &c->w;
    const int64_t step = 2 * VL, lanes = (w->OW + step - 1) / step * step, span = (w->kh - 1) * w->dh + 1;
    return w->C == 1 && w->sw == 1 && 2 * c->O <= VL && w->OW * VL >= 2 * c->O * lanes &&
           span * FN(patch_width)(w) * (int64_t)sizeof(T) <= FBP_PIXELS_BYTES &&
           c->K * (c->O + 1) * VL * (int64_t)sizeof(T) <= 2 * FBP_PIXELS_BYTES;
}

static FN(pixels) FN(pixels_of)(const FN(conv) *c, void *scratch)
{
    const FN(window) *w = &c->w;
    FN(pixels) p = {.c = c, .outputs = c->O + c->O % 2, .columns = FN(min)(w->OW, FBP_PATCH_COLUMNS),
                    .width = FN(patch_width)(w), .seen = scratch};
    const int64_t most = FBP_PATCH_BYTES / (int64_t)sizeof(T), span = (w->kh - 1) * w->dh + 1;
    const int64_t rows = FN(min)(most / (p.outputs * p.width), (most / p.width - span) / w->sh + 1);
    p.rows = rows < 1 ? 1 : FN(min)(rows, w->OH);
    p.height = (p.rows - 1) * w->sh + span;
    return p;
}

/* The next patch, beginning with the first where rows_here is 0; returns 0 after the last. */
static int32_t FN(next_patch)(FN(pixels) *p, const T *x /* (H, W) */)
{
    const FN(window) *w = &p->c->w;
    if (!p->rows_here) {
        p->oh = p->ow = 0;
    } else if ((p->ow += p->columns_here) == w->OW) {
        p->ow = 0;
        p->oh += p->rows_here;
    }
    p->rows_here = FN(min)(p->rows, w->OH - p->oh);
    p->columns_here = FN(min)(p->columns, w->OW - p->ow);
    if (!p->rows_here) return 0;
    const int64_t height = (p->rows_here - 1) * w->sh + (w->kh - 1) * w->dh + 1;
    for (int64_t r = 0; r < height; r++)
        FN(read_tap)(p->seen + r * p->width, w, x, p->oh * w->sh - w->ph + r, p->ow - w->pw, p->width);
    return 1;
}

/* n vectors from n vectors, of which O count, n or one less; the last of them are not read beyond `elements`, nor
 * written. */
static FBP_INLINE void FN(shuffled_by)(const int n, T *to, int64_t to_ld, const T *in, const FN(shuffle) *s, int64_t O,
                                       int64_t elements, int64_t written)
{
    V v[FBP_MOST_PIXEL_OUTPUTS];
    FBP_UNROLL
    for (int i = 0; i < n; i++)
        v[i] = i < O && i * VL < elements ? FN(v_load_up_to)(in + i * VL, elements - i * VL) : (V){0};
    FBP_UNROLL
    for (int j = 0; j < n; j++) {
        if (j >= O || j * VL >= written) return;
        V out = {0};
        FBP_UNROLL
        for (int i = 0; i < n; i++)
            out = FN(v_select)(s->from[j] == FN(v_set1i)((TI)i), FN(v_lanes)(v[i], s->at[j]), out);
        FN(v_store_up_to)(to + j * to_ld, out, written - j * VL);
    }
}

static __attribute__((noinline)) void FN(shuffled)(T *to, int64_t to_ld, const T *in, const FN(shuffle) *s, int64_t O,
                                                   int64_t elements, int64_t written)
{
    if (O <= 2) FN(shuffled_by)(2, to, to_ld, in, s, O, elements, written);
#if FBP_LANES >= 8
    else if (O <= 4) FN(shuffled_by)(4, to, to_ld, in, s, O, elements, written);
#endif
#if FBP_LANES >= 16
    else if (O <= 6) FN(shuffled_by)(6, to, to_ld, in, s, O, elements, written);
    else FN(shuffled_by)(8, to, to_ld, in, s, O, elements, written);
#endif
}

/* ---- forward ------------------------------------------------------------------------------------------------------ */

/* What becomes of a sum: of each output, where it starts, and what it is multiplied by and added to. */
typedef struct FN(pixel_ends) {
    T start[FBP_MOST_PIXEL_OUTPUTS], scale[FBP_MOST_PIXEL_OUTPUTS], shift[FBP_MOST_PIXEL_OUTPUTS];
    int32_t affine, relu;
} FN(pixel_ends);

/* Two vectors of windows from x on: y of each output, (2, O, VL). */
static FBP_INLINE void FN(pixel_sums)(const int O, T *y, const FN(pixels) *p, const T *x, const T *W /* (K, O) */,
                                      const FN(pixel_ends) *e)
{
    const FN(window) *w = &p->c->w;
    V sum[FBP_MOST_PIXEL_OUTPUTS][2];
    FBP_UNROLL
    for (int o = 0; o < O; o++) sum[o][0] = sum[o][1] = FN(v_set1)(e->start[o]);
    for (int64_t i = 0; i < w->kh; i++, x += w->dh * p->width)
        for (int64_t j = 0; j < w->kw; j++, W += O) {
            const V left = FN(v_load)(x + j * w->dw), right = FN(v_load)(x + j * w->dw + VL);
            FBP_UNROLL
            for (int o = 0; o < O; o++) {
                const V weight = FN(v_set1)(W[o]);
                sum[o][0] = FN(v_fma)(left, weight, sum[o][0]);
                sum[o][1] = FN(v_fma)(right, weight, sum[o][1]);
            }
        }
    FBP_UNROLL
    for (int h = 0; h < 2; h++) {
        FBP_UNROLL
        for (int o = 0; o < O; o++) {
            V z = sum[o][h];
            if (e->affine) z = FN(v_fma)(z, FN(v_set1)(e->scale[o]), FN(v_set1)(e->shift[o]));
            if (e->relu) z = FN(v_max)((V){0}, z);
            FN(v_store)(y + (h * O + o) * VL, z);
        }
    }
}

/* dW of taps from x[0], x[1], … on, (taps, O, VL), to which a patch is added. */
static FBP_INLINE void FN(pixel_gradients)(const int O, T *dW, const FN(pixels) *p, const T *const *x,
                                           const T *dy /* (O, rows, width) */)
{
    V sum[4][FBP_MOST_PIXEL_OUTPUTS];
    const int64_t plane = p->rows * p->width, x_ld = p->c->w.sh * p->width;
    const T *taps[4];
    FBP_UNROLL
    for (int t = 0; t < FBP_PIXEL_TAPS(O); t++) {
        taps[t] = x[t];
        FBP_UNROLL
        for (int o = 0; o < O; o++) sum[t][o] = (V){0};
    }
    for (int64_t r = 0; r < p->rows_here; r++, dy += p->width) {
        for (int64_t v = 0; v < p->columns_here; v += VL) {
            const int64_t lanes = p->columns_here - v;
            V pixel[4];
            FBP_UNROLL
            for (int t = 0; t < FBP_PIXEL_TAPS(O); t++) pixel[t] = FN(v_load_up_to)(taps[t] + v, lanes);
            FBP_UNROLL
            for (int o = 0; o < O; o++) {
                const V d = FN(v_load)(dy + o * plane + v);
                FBP_UNROLL
                for (int t = 0; t < FBP_PIXEL_TAPS(O); t++) sum[t][o] = FN(v_fma)(pixel[t], d, sum[t][o]);
            }
        }
        FBP_UNROLL
        for (int t = 0; t < FBP_PIXEL_TAPS(O); t++) taps[t] += x_ld;
    }
    FBP_UNROLL
    for (int t = 0; t < FBP_PIXEL_TAPS(O); t++) {
        FBP_UNROLL
        for (int o = 0; o < O; o++) {
            T *to = dW + (t * O + o) * VL;
            FN(v_store)(to, FN(v_load)(to) + sum[t][o]);
        }
    }
}

typedef void (*FN(pixel_sums_fn))(T *y, const FN(pixels) *p, const T *x, const T *W, const FN(pixel_ends) *e);
typedef void (*FN(pixel_gradients_fn))(T *dW, const FN(pixels) *p, const T *const *x, const T *dy);

#define FBP_PIXEL_KERNELS(O)                                                                                     \
static __attribute__((noinline)) void FN(pixel_sums_##O)(T *y, const FN(pixels) *p, const T *x, const T *W,      \
                                                         const FN(pixel_ends) *e)                                \
{                                                                                                                \
    FN(pixel_sums)(O, y, p, x, W, e);                                                                            \
}                                                                                                                \
static __attribute__((noinline)) void FN(pixel_gradients_##O)(T *dW, const FN(pixels) *p, const T *const *x,     \
                                                              const T *dy)                                       \
{                                                                                                                \
    FN(pixel_gradients)(O, dW, p, x, dy);                                                                        \
}
FBP_PIXEL_KERNELS(2)
#if FBP_LANES >= 8
FBP_PIXEL_KERNELS(4)
#endif
#if FBP_LANES >= 16
FBP_PIXEL_KERNELS(6) FBP_PIXEL_KERNELS(8)
#endif
#undef FBP_PIXEL_KERNELS

/* By half the number of outputs; 2 O <= VL. */
static const FN(pixel_sums_fn) FN(pixel_sums_table)[] = {
    NULL, FN(pixel_sums_2),
#if FBP_LANES >= 8
    FN(pixel_sums_4),
#endif
#if FBP_LANES >= 16
    FN(pixel_sums_6), FN(pixel_sums_8),
#endif
};
static const FN(pixel_gradients_fn) FN(pixel_gradients_table)[] = {
    NULL, FN(pixel_gradients_2),
#if FBP_LANES >= 8
    FN(pixel_gradients_4),
#endif
#if FBP_LANES >= 16
    FN(pixel_gradients_6), FN(pixel_gradients_8),
#endif
};

static void FN(conv_forward_pixels)(const FN(conv) *c, T *y, const T *x, const T *W, const T *b, const T *affine,
                                    int32_t relu, int64_t rows, void *scratch)
{
    FN(pixels) p = FN(pixels_of)(c, scratch);
    const int64_t O = c->O, outputs = p.outputs;
    T *weights = p.seen + p.height * p.width, sums[2 * FBP_MOST_PIXEL_OUTPUTS * FBP_LANES];
    FN(pixel_ends) e = {.affine = affine != NULL, .relu = relu};
    for (int64_t o = 0; o < O; o++) {
        if (b) e.start[o] = b[o];
        if (affine) {
            e.scale[o] = affine[o];
            e.shift[o] = affine[O + o];
        }
        for (int64_t l = 0; l < VL; l++) {
            p.shuffle.from[o][l] = (TI)((o * VL + l) % O);
            p.shuffle.at[o][l] = (TI)((o * VL + l) / O);
        }
    }
    for (int64_t k = 0; k < c->K; k++)
        for (int64_t o = 0; o < outputs; o++) weights[k * outputs + o] = o < O ? W[k * O + o] : 0;
    for (int64_t r = 0; r < rows; r++)
        for (p.rows_here = 0; FN(next_patch)(&p, x + r * c->image);)
            for (int64_t i = 0; i < p.rows_here; i++)
                for (int64_t v = 0; v < p.columns_here; v += 2 * VL) {
                    FN(pixel_sums_table)[outputs / 2](sums, &p, p.seen + i * c->w.sh * p.width + v, weights, &e);
                    T *to = y + r * c->map + ((p.oh + i) * c->w.OW + p.ow + v) * O;
                    const int64_t left = (p.columns_here - v) * O;
                    FN(shuffled)(to, VL, sums, &p.shuffle, O, O * VL, left);
                    if (left > O * VL)
                        FN(shuffled)(to + O * VL, VL, sums + outputs * VL, &p.shuffle, O, O * VL, left - O * VL);
                }
}

/* ---- gradient ----------------------------------------------------------------------------------------------------- */

/* dy of a patch as rows of pixels for each output, (outputs, rows, width), zeros to the end of a vector */
static void FN(part_outputs)(T *to, const FN(pixels) *p, const T *dy /* (OH, OW, O) */)
{
    const int64_t O = p->c->O, plane = p->rows * p->width;
    for (int64_t i = 0; i < p->rows_here; i++)
        for (int64_t v = 0; v < p->columns_here; v += VL) {
            T *row = to + i * p->width + v;
            FN(shuffled)(row, plane, dy + ((p->oh + i) * p->c->w.OW + p->ow + v) * O, &p->shuffle, O,
                         (p->columns_here - v) * O, O * VL);
            for (int64_t o = O; o < p->outputs; o++) FN(v_store)(row + o * plane, (V){0});
        }
}

/* dW of the rows lo to hi. */
static void FN(conv_gradient_pixels)(const FN(conv) *c, T *dW, const T *x, const T *dy, int64_t rows, int64_t lo,
                                     int64_t hi, void *scratch)
{
    FN(pixels) p = FN(pixels_of)(c, scratch);
    const FN(window) *w = &c->w;
    const int64_t O = c->O, outputs = p.outputs, taps = FBP_PIXEL_TAPS(outputs);
    T *parts = p.seen + p.height * p.width, *sums = parts + outputs * p.rows * p.width;
    memset(sums, 0, (size_t)((hi - lo + taps) * outputs * VL) * sizeof(T));
    for (int64_t o = 0; o < O; o++)
        for (int64_t l = 0; l < VL; l++) {
            p.shuffle.from[o][l] = (TI)((l * O + o) / VL);
            p.shuffle.at[o][l] = (TI)((l * O + o) % VL);
        }
    for (int64_t r = 0; r < rows; r++)
        for (p.rows_here = 0; FN(next_patch)(&p, x + r * c->image);) {
            FN(part_outputs)(parts, &p, dy + r * c->map);
            for (int64_t k = lo; k < hi; k += taps) {
                const T *at[4];
                for (int64_t t = 0; t < 4; t++) {
                    const int64_t tap = FN(min)(k + t, hi - 1);     /* beyond the last one: sums that nobody reads */
                    at[t] = p.seen + tap / w->kw * w->dh * p.width + tap % w->kw * w->dw;
                }
                FN(pixel_gradients_table)[outputs / 2](sums + (k - lo) * outputs * VL, &p, at, parts);
            }
        }
    for (int64_t k = lo; k < hi; k++)
        for (int64_t o = 0; o < O; o++)
            dW[k * O + o] = FN(v_sum)(FN(v_load)(sums + ((k - lo) * outputs + o) * VL));
}

#undef FBP_LANES
