/* Windows over images: what convolution and pooling have in common; the twin of fastbp/ops/window.py.
 *
 * Node: dim[0] H, dim[1] W, dim[2] C; dim[3] OH, dim[4] OW, how many windows there are; dim[5], dim[6] the kernel;
 * dim[7], dim[8] the stride; dim[9], dim[10] the padding before; dim[11], dim[12] the dilation. A sequence is an image
 * of height 1. The windows of a sample are numbered row by row: window m = oh OW + ow.
 */

typedef struct FN(window) {
    int64_t H, W, C, OH, OW, kh, kw, sh, sw, ph, pw, dh, dw;
} FN(window);

static FN(window) FN(window_of)(const fbp_node *n)
{
    const int64_t *d = n->dim;
    return (FN(window)){d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7], d[8], d[9], d[10], d[11], d[12]};
}

/* Where the taps of one axis fall that begin at `first`: those from *begin up to *end are within n elements. */
static inline void FN(taps_within)(int64_t first, int64_t step, int64_t taps, int64_t n, int64_t *begin, int64_t *end)
{
    if (first >= 0 && first + (taps - 1) * step < n) {     /* most are: and dividing takes long */
        *begin = 0;
        *end = taps;
        return;
    }
    *begin = first < 0 ? FN(min)((-first + step - 1) / step, taps) : 0;
    *end = first < n ? FN(min)((n - first + step - 1) / step, taps) : 0;
    if (*end < *begin) *end = *begin;
}

/* n elements of a row of windows, copied from the image, or (back) added to it. */
static FBP_INLINE void FN(window_run)(const int back, T *row, T *image, int64_t n)
{
    if (back)
        for (int64_t i = 0; i < n; i += VL)
            FN(v_store_up_to)(image + i, FN(v_load_up_to)(image + i, n - i) + FN(v_load_up_to)(row + i, n - i), n - i);
    else
        for (int64_t i = 0; i < n; i += VL) FN(v_store_up_to)(row + i, FN(v_load_up_to)(image + i, n - i), n - i);
}

static FBP_INLINE void FN(window_zeros)(const int back, T *row, int64_t n)
{
    for (int64_t i = 0; i < n && !back; i += VL) FN(v_store_up_to)(row + i, (V){0}, n - i);
}

/* Elements k0 to k1 of window m, each tap with the Cg channels from c0 on: read from the image x (H, W, C), or (back)
 * added to it. row is where element k0 is. */
static FBP_INLINE void FN(window_row)(const int back, const FN(window) *w, T *row, T *x, int64_t c0, int64_t Cg,
                                      int64_t m, int64_t k0, int64_t k1)
{
    const int64_t ih0 = m / w->OW * w->sh - w->ph, iw0 = m % w->OW * w->sw - w->pw, line = w->kw * Cg;
    int64_t j0, j1;
    FN(taps_within)(iw0, w->dw, w->kw, w->W, &j0, &j1);
    row -= k0;
    for (int64_t i = k0 / line, k = k0; k < k1; i++) {
        const int64_t ih = ih0 + i * w->dh, at = i * line, end = FN(min)(at + line, k1);
        const int64_t begin_in = at + j0 * Cg, end_in = at + j1 * Cg;
        if (ih < 0 || ih >= w->H || begin_in >= end || end_in <= k) {
            FN(window_zeros)(back, row + k, end - k);
            k = end;
            continue;
        }
        if (k < begin_in) {
            FN(window_zeros)(back, row + k, begin_in - k);
            k = begin_in;
        }
        const int64_t stop = FN(min)(end, end_in);
        if (w->dw == 1 && Cg == w->C) {
            FN(window_run)(back, row + k, x + (ih * w->W + iw0) * w->C + (k - at), stop - k);
            k = stop;
        }
        while (k < stop) {
            const int64_t j = (k - at) / Cg, c = (k - at) % Cg, n = FN(min)(Cg - c, stop - k);
            FN(window_run)(back, row + k, x + (ih * w->W + iw0 + j * w->dw) * w->C + c0 + c, n);
            k += n;
        }
        FN(window_zeros)(back, row + k, end - k);
        k = end;
    }
}

/* Whether all taps of the window at (ih, iw) are within the image, and each line of them lies in one piece. */
static inline int32_t FN(is_inside)(const FN(window) *w, int64_t ih, int64_t iw, int64_t Cg)
{
    return ih >= 0 && iw >= 0 && ih + (w->kh - 1) * w->dh < w->H && iw + w->kw <= w->W && w->dw == 1 && Cg == w->C;
}

/* Rows r to r + rows of the windows of several images, one after the other; rows of the buffer are apart by ld. */
static FBP_INLINE void FN(walk_windows)(const int back, T *buffer, int64_t ld, const FN(window) *w, T *x, int64_t c0,
                                        int64_t Cg, int64_t r, int64_t rows, int64_t k0, int64_t k1)
{
    const int64_t M = w->OH * w->OW, image = w->H * w->W * w->C, line = w->kw * Cg, whole = w->kh * line;
    int64_t m = r % M, oh = m / w->OW, ow = m % w->OW;
    x += r / M * image;
    for (int64_t i = 0; i < rows; i++, buffer += ld) {
        const int64_t ih = oh * w->sh - w->ph, iw = ow * w->sw - w->pw;
        if (k0 == 0 && k1 == whole && FN(is_inside)(w, ih, iw, Cg)) {
            T *from = x + (ih * w->W + iw) * w->C;
            for (int64_t k = 0; k < whole; k += line, from += w->dh * w->W * w->C)
                FN(window_run)(back, buffer + k, from, line);
        } else {
            FN(window_row)(back, w, buffer, x, c0, Cg, oh * w->OW + ow, k0, k1);
        }
        if (++ow == w->OW) {
            ow = 0;
            if (++oh == w->OH) {
                oh = 0;
                x += image;
            }
        }
    }
}

static void FN(read_windows)(T *to, int64_t ld, const FN(window) *w, const T *x, int64_t c0, int64_t Cg, int64_t r,
                             int64_t rows, int64_t k0, int64_t k1)
{
    FN(walk_windows)(0, to, ld, w, (T *)x, c0, Cg, r, rows, k0, k1);
}

static void FN(add_windows)(T *x, const T *from, int64_t ld, const FN(window) *w, int64_t c0, int64_t Cg, int64_t r,
                            int64_t rows, int64_t k0, int64_t k1)
{
    FN(walk_windows)(1, (T *)from, ld, w, x, c0, Cg, r, rows, k0, k1);
}

static FBP_INLINE void FN(copy_line)(T *to, const T *from, int64_t n)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL) FN(v_store)(to + i, FN(v_load)(from + i));
    if (i < n) FN(v_store_up_to)(to + i, FN(v_load_up_to)(from + i, n - i), n - i);
}

/* Tap (i, j) of n windows of one line of the image, the first of which begins at column iw, -pw at the least. */
static inline void FN(read_tap)(T *out, const FN(window) *w, const T *pixels, int64_t ih, int64_t iw, int64_t n)
{
    /* windows begin to end see a pixel */
    int64_t begin = -iw, end = w->W - iw;
    begin = begin < 0 ? 0 : FN(min)(begin, n);
    end = ih < 0 || ih >= w->H || end < begin ? begin : FN(min)(end, n);
    FN(window_zeros)(0, out, begin);
    FN(copy_line)(out + begin, pixels + ih * w->W + iw + begin, end - begin);
    FN(window_zeros)(0, out + end, n - end);
}

/* Images of one channel: the same windows the other way round, taps k0 to k1 apart by ld, whose neighbours in a row of
 * the image stay neighbours. The stride along the row is 1. */
static void FN(read_taps)(T *to, int64_t ld, const FN(window) *w, const T *x, int64_t r, int64_t rows, int64_t k0,
                          int64_t k1)
{
    const int64_t M = w->OH * w->OW, image = w->H * w->W;
    for (int64_t at = 0, n; at < rows; at += n) {
        const int64_t m = (r + at) % M, oh = m / w->OW, ow = m % w->OW;
        const int64_t ih = oh * w->sh - w->ph, iw = ow - w->pw;
        const T *pixels = x + (r + at) / M * image;
        T *out = to + at;
        n = FN(min)(w->OW - ow, rows - at);
        const int32_t inside = ih >= 0 && ih + (w->kh - 1) * w->dh < w->H && iw >= 0 &&
                               iw + n - 1 + (w->kw - 1) * w->dw < w->W;
        for (int64_t k = k0, i = k0 / w->kw, j = k0 % w->kw; k < k1; i++, j = 0)
            for (; j < w->kw && k < k1; j++, k++, out += ld) {
                const int64_t h = ih + i * w->dh, v = iw + j * w->dw;
                if (inside) FN(copy_line)(out, pixels + h * w->W + v, n);
                else FN(read_tap)(out, w, pixels, h, v, n);
            }
    }
}
