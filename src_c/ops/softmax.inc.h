/* softmax: y = exp(x) / sum of exp(x) over the last axis,  dx = y (dy - sum of dy y); the twin of
 * fastbp/ops/softmax.py.
 *
 * Node: x[0], y, dx[0], dy, all (rows, dim[0], dim[1]). dim[0]: groups a row (G), dim[1]: C. Results may be written
 * over x and dy.
 */

/* The largest x, without regard to NaN: exp keeps NaN, and one makes the sum NaN. */
static FBP_INLINE T FN(row_max)(const T *x, int64_t C)
{
    const V lowest = FN(v_set1)(-(T)INFINITY);
    V m[2] = {lowest, lowest};
    int64_t i = 0;
    for (; i + 2 * VL <= C; i += 2 * VL) {
        m[0] = FN(v_max)(FN(v_load)(x + i), m[0]);
        m[1] = FN(v_max)(FN(v_load)(x + i + VL), m[1]);
    }
    for (; i + VL <= C; i += VL) m[0] = FN(v_max)(FN(v_load)(x + i), m[0]);
    if (i < C) {
        const V all = FN(v_set1)((T)1), there = FN(v_first)(all, C - i);
        m[0] = FN(v_max)(FN(v_select)(there == all, FN(v_load_n)(x + i, C - i), lowest), m[0]);
    }
    return FN(v_hmax)(FN(v_max)(m[0], m[1]));
}

static void FN(softmax_row)(T *y, const T *x, int64_t C)
{
    const V top = FN(v_set1)(FN(row_max)(x, C));
    double total = 0;
    V e = {0};
    for (int64_t i = 0; i < C;) {
        const int64_t end = FN(min)(i + FBP_BLOCK * VL, C);
        V sum = {0};
        for (; i < end; i += VL) {
            e = FN(v_exp)(FN(v_load_up_to)(x + i, end - i) - top);
            sum += FN(v_first)(e, end - i);
            if (C > VL) FN(v_store_up_to)(y + i, e, end - i);
        }
        total += (double)FN(v_sum)(sum);
    }
    const V scale = FN(v_set1)((T)(1 / total));
    if (C <= VL) FN(v_store_up_to)(y, e * scale, C);
    else for (int64_t i = 0; i < C; i += VL) FN(v_store_up_to)(y + i, FN(v_load_up_to)(y + i, C - i) * scale, C - i);
}

static void KERNEL(softmax_forward)(T *y /* (R, C) */, const T *x /* (R, C) */, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R && C; r++) FN(softmax_row)(y + r * C, x + r * C, C);
}

static void KERNEL(softmax_backward)(T *dx /* (R, C) */, const T *dy /* (R, C) */, const T *y /* (R, C) */,
                                     int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, dx += C, dy += C, y += C) {
        double sums[2];
        FN(row_sums)(FN(products), sums, y, dy, NULL, 0, C);
        const V s = FN(v_set1)((T)sums[1]);
        for (int64_t i = 0; i < C; i += VL) {
            const V g = FN(v_load_up_to)(dy + i, C - i) - s;
            FN(v_store_up_to)(dx + i, FN(v_load_up_to)(y + i, C - i) * g, C - i);
        }
    }
}

static void FN(softmax_forward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    (void)scratch;
    const int64_t G = node->dim[0], C = node->dim[1], first = lo * G * C;
    KERNEL(softmax_forward)((T *)node->y + first, (const T *)node->x[0] + first, (hi - lo) * G, C);
}

static void FN(softmax_backward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    (void)scratch;
    const int64_t G = node->dim[0], C = node->dim[1], first = lo * G * C;
    if (!node->dx[0]) return;
    KERNEL(softmax_backward)((T *)node->dx[0] + first, (const T *)node->dy + first, (const T *)node->y + first,
                             (hi - lo) * G, C);
}

static const fbp_phases FN(softmax_phases) = {
    .forward = FN(softmax_forward_rows),
    .backward = FN(softmax_backward_rows),
};
