/* max_pool, avg_pool, global_avg_pool: the largest value or the mean of each window; the twins of fastbp/ops/pool.py.
 *
 * Nodes: x[0] (rows, H, W, C), y (rows, OH, OW, C); dim[0..12] as in window.inc.h. avg_pool: dim[13], dim[14] where
 * height and width end that count, dim[15] whether padding counts. global_avg_pool: x[0] (rows, P, C), y (rows, C),
 * dim[0] P, dim[1] C. Backward goes on through fusion.gate.
 */

/* Where a window begins in the image, and which of its taps are within it. */
typedef struct FN(taps) {
    int64_t ih, iw, i0, i1, j0, j1;
} FN(taps);

static inline FN(taps) FN(taps_at)(const FN(window) *w, int64_t oh, int64_t ow)
{
    FN(taps) t = {.ih = oh * w->sh - w->ph, .iw = ow * w->sw - w->pw};
    FN(taps_within)(t.ih, w->dh, w->kh, w->H, &t.i0, &t.i1);
    FN(taps_within)(t.iw, w->dw, w->kw, w->W, &t.j0, &t.j1);
    return t;
}

static inline FN(taps) FN(taps_of)(const FN(window) *w, int64_t m) { return FN(taps_at)(w, m / w->OW, m % w->OW); }

static inline int64_t FN(tap_at)(const FN(window) *w, const FN(taps) *t, int64_t i, int64_t j)
{
    return ((t->ih + i * w->dh) * w->W + t->iw + j * w->dw) * w->C;
}

static void FN(max_pool_image)(const FN(window) *w, T *y, const T *x)
{
    const int64_t C = w->C, line = w->dh * w->W * C, step = w->dw * C;
    for (int64_t oh = 0; oh < w->OH; oh++)
        for (int64_t ow = 0; ow < w->OW; ow++, y += C) {
            const FN(taps) t = FN(taps_at)(w, oh, ow);
            const int64_t first = FN(tap_at)(w, &t, t.i0, t.j0);
            for (int64_t v = 0; v < C; v += VL) {
                V most = FN(v_set1)((T)-INFINITY);
                VI unordered = FN(v_set1i)(0);
                for (int64_t i = t.i0, row = first + v; i < t.i1; i++, row += line)
                    for (int64_t j = t.j0, at = row; j < t.j1; j++, at += step) {
                        const V here = FN(v_load_up_to)(x + at, C - v);
                        most = FN(v_max)(here, most);      /* of two that are equal the first; a NaN is noted */
                        unordered |= here != here;
                    }
                FN(v_store_up_to)(y + v, FN(v_select)(unordered, FN(v_set1)((T)NAN), most), C - v);
            }
        }
}

/* dx += dy at the first tap that is y, or, if y is NaN, that is NaN. Where windows are apart from each other, nothing has
 * been added before. */
static FBP_INLINE void FN(max_pool_image_back)(const int apart, const FN(window) *w, T *dx, const T *dy, const T *x,
                                               const T *y)
{
    const int64_t C = w->C, line = w->dh * w->W * C, step = w->dw * C;
    for (int64_t oh = 0; oh < w->OH; oh++)
        for (int64_t ow = 0; ow < w->OW; ow++, y += C, dy += C) {
            const FN(taps) t = FN(taps_at)(w, oh, ow);
            const int64_t first = FN(tap_at)(w, &t, t.i0, t.j0);
            for (int64_t v = 0; v < C; v += VL) {
                const V most = FN(v_load_up_to)(y + v, C - v);
                const V left = FN(v_load_up_to)(dy + v, C - v);
                VI open = FN(v_set1i)(-1);
                for (int64_t i = t.i0, row = first + v; i < t.i1; i++, row += line)
                    for (int64_t j = t.j0, at = row; j < t.j1; j++, at += step) {
                        const V here = FN(v_load_up_to)(x + at, C - v);
                        const VI hit = ((here == most) | (here != here)) & open;
                        const V before = apart ? (V){0} : FN(v_load_up_to)(dx + at, C - v);
                        FN(v_store_up_to)(dx + at, before + (V)((VI)left & hit), C - v);
                        open &= ~hit;
                    }
            }
        }
}

static void FN(max_pool_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const FN(window) w = FN(window_of)(n);
    const int64_t image = w.H * w.W * w.C, map = w.OH * w.OW * w.C;
    for (int64_t r = lo; r < hi; r++) FN(max_pool_image)(&w, (T *)n->y + r * map, (const T *)n->x[0] + r * image);
}

static void FN(max_pool_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const FN(window) w = FN(window_of)(n);
    const int64_t image = w.H * w.W * w.C, map = w.OH * w.OW * w.C;
    if (!n->dx[0] || hi <= lo) return;
    memset((T *)n->dx[0] + lo * image, 0, (size_t)((hi - lo) * image) * sizeof(T));
    const int32_t apart = (w.kh - 1) * w.dh < w.sh && (w.kw - 1) * w.dw < w.sw;
    for (int64_t r = lo; r < hi; r++) {
        T *dx = (T *)n->dx[0] + r * image;
        const T *dy = (const T *)n->dy + r * map, *x = (const T *)n->x[0] + r * image, *y = (const T *)n->y + r * map;
        if (apart) FN(max_pool_image_back)(1, &w, dx, dy, x, y);
        else FN(max_pool_image_back)(0, &w, dx, dy, x, y);
    }
    FN(go_back_rows)(n, lo, hi - lo, image);
}

static const fbp_phases FN(max_pool_phases) = {
    .forward = FN(max_pool_forward_rows),
    .backward = FN(max_pool_backward_rows),
};

/* How many of `taps` elements from `first` on count along one axis: those before `end`, and in the padding or not. */
static inline int64_t FN(counted)(int64_t first, int64_t taps, int64_t end, int32_t padding)
{
    return FN(min)(first + taps, end) - (padding || first > 0 ? first : 0);
}

static T FN(elements_of)(const fbp_node *n, const FN(window) *w, const FN(taps) *t)
{
    const int32_t padding = n->dim[15] != 0;
    return (T)(FN(counted)(t->ih, w->kh, n->dim[13], padding) *
               FN(counted)(t->iw, w->kw, n->dim[14], padding));
}

static void FN(avg_pool_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const FN(window) w = FN(window_of)(n);
    const int64_t C = w.C, M = w.OH * w.OW;
    for (int64_t r = lo * M; r < hi * M; r++) {
        const T *x = (const T *)n->x[0] + r / M * (w.H * w.W * C);
        const FN(taps) t = FN(taps_of)(&w, r % M);
        const V count = FN(v_set1)(FN(elements_of)(n, &w, &t));
        for (int64_t v = 0; v < C; v += VL) {
            V sum = {0};
            for (int64_t i = t.i0; i < t.i1; i++)
                for (int64_t j = t.j0; j < t.j1; j++) sum += FN(v_load_up_to)(x + FN(tap_at)(&w, &t, i, j) + v, C - v);
            FN(v_store_up_to)((T *)n->y + r * C + v, sum / count, C - v);
        }
    }
}

static void FN(avg_pool_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const FN(window) w = FN(window_of)(n);
    const int64_t C = w.C, M = w.OH * w.OW, image = w.H * w.W * C;
    if (!n->dx[0] || hi <= lo) return;
    memset((T *)n->dx[0] + lo * image, 0, (size_t)((hi - lo) * image) * sizeof(T));
    for (int64_t r = lo * M; r < hi * M; r++) {
        T *dx = (T *)n->dx[0] + r / M * image;
        const FN(taps) t = FN(taps_of)(&w, r % M);
        const V count = FN(v_set1)(FN(elements_of)(n, &w, &t));
        for (int64_t v = 0; v < C; v += VL) {
            const V d = FN(v_load_up_to)((const T *)n->dy + r * C + v, C - v) / count;
            for (int64_t i = t.i0; i < t.i1; i++)
                for (int64_t j = t.j0; j < t.j1; j++) {
                    T *at = dx + FN(tap_at)(&w, &t, i, j) + v;
                    FN(v_store_up_to)(at, FN(v_load_up_to)(at, C - v) + d, C - v);
                }
        }
    }
    FN(go_back_rows)(n, lo, hi - lo, image);
}

static const fbp_phases FN(avg_pool_phases) = {
    .forward = FN(avg_pool_forward_rows),
    .backward = FN(avg_pool_backward_rows),
};

static void FN(global_avg_pool_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi,
                                             void *scratch)
{
    (void)run; (void)scratch;
    const int64_t P = n->dim[0], C = n->dim[1];
    for (int64_t r = lo; r < hi; r++) {
        const T *x = (const T *)n->x[0] + r * P * C;
        for (int64_t v = 0; v < C; v += VL) {
            V sum = {0};
            for (int64_t i = 0; i < P; i++) sum += FN(v_load_up_to)(x + i * C + v, C - v);
            FN(v_store_up_to)((T *)n->y + r * C + v, sum / FN(v_set1)((T)P), C - v);
        }
    }
}

static void FN(global_avg_pool_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi,
                                              void *scratch)
{
    (void)run; (void)scratch;
    const int64_t P = n->dim[0], C = n->dim[1];
    if (!n->dx[0]) return;
    for (int64_t r = lo; r < hi; r++)
        for (int64_t v = 0; v < C; v += VL) {
            const V d = FN(v_load_up_to)((const T *)n->dy + r * C + v, C - v) / FN(v_set1)((T)P);
            for (int64_t i = 0; i < P; i++) FN(v_store_up_to)((T *)n->dx[0] + (r * P + i) * C + v, d, C - v);
        }
    FN(go_back_rows)(n, lo, hi - lo, P * C);
}

static const fbp_phases FN(global_avg_pool_phases) = {
    .forward = FN(global_avg_pool_forward_rows),
    .backward = FN(global_avg_pool_backward_rows),
};
