/* scale: y = x w; the twin of fastbp/ops/scale.py, where the gradient is derived.
 *
 * Node: x[0] (rows, G, I), y (rows, G, M, I), w p[0] (M, I). dim[0] G, dim[1] M, dim[2] I; units are elements of w. dx[0] may be written over dy where M is 1.
 */

static void FN(scale_values)(T *y /* (R, M, I) */, const T *x /* (R, I) */, const T *w /* (M, I) */, int64_t R,
                                  int64_t M, int64_t I)
{
    for (int64_t r = 0; r < R; r++, x += I)
        for (int64_t m = 0; m < M; m++, y += I)
            KERNEL(mul_forward)(y, x, w + m * I, I);
}

static void FN(scale_inputs)(T *dx /* (R, I) */, const T *dy /* (R, M, I) */, const T *w /* (M, I) */,
                                         int64_t R, int64_t M, int64_t I)
{
    for (int64_t r = 0; r < R; r++, dx += I, dy += M * I)
        for (int64_t i = 0; i < I; i += VL) {
            V sum = {0};
            for (int64_t m = 0; m < M; m++)
                sum = FN(v_fma)(FN(v_load_up_to)(dy + m * I + i, I - i), FN(v_load_up_to)(w + m * I + i, I - i), sum);
            FN(v_store_up_to)(dx + i, sum, I - i);
        }
}

/* Elements lo to hi of dw, counted over M and I. */
static void FN(scale_sums)(T *dw, const T *dy, const T *x, int64_t R, int64_t M, int64_t I, int64_t lo, int64_t hi)
{
    if (lo == hi) return;
    for (int64_t m = lo / I; m * I < hi; m++) {
        const int64_t end = FN(min)(hi - m * I, I);
        for (int64_t i = lo > m * I ? lo - m * I : 0; i < end; i += VL) {
            V sum = {0};
            for (int64_t r = 0; r < R;) {
                V block = {0};
                for (const int64_t stop = FN(min)(r + FBP_BLOCK, R); r < stop; r++)
                    block = FN(v_fma)(FN(v_load_up_to)(x + r * I + i, end - i),
                                      FN(v_load_up_to)(dy + (r * M + m) * I + i, end - i), block);
                sum += block;
            }
            FN(v_store_up_to)(dw + m * I + i, sum, end - i);
        }
    }
}

static void FN(scale_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t G = n->dim[0], M = n->dim[1], I = n->dim[2], row = lo * G;
    FN(scale_values)((T *)n->y + row * M * I, (const T *)n->x[0] + row * I, n->p[0], (hi - lo) * G, M, I);
}

static void FN(scale_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t G = n->dim[0], M = n->dim[1], I = n->dim[2], row = lo * G;
    if (!n->dx[0]) return;
    FN(scale_inputs)((T *)n->dx[0] + row * I, (const T *)n->dy + row * M * I, n->p[0], (hi - lo) * G, M, I);
}

static void FN(scale_gradient)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    if (n->dp[0])
        FN(scale_sums)(n->dp[0], n->dy, n->x[0], run->rows * n->dim[0], n->dim[1], n->dim[2], lo, hi);
}

static const fbp_phases FN(scale_phases) = {
    .forward = FN(scale_forward_rows),
    .backward = FN(scale_backward_rows),
    .gradient = FN(scale_gradient),
};
