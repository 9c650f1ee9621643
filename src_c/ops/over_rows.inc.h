/* reduce_rows: y_j = the sum over all rows r of x_rj, or mean, max, min; the twin of fastbp/ops/over_rows.py.
 *
 * Node: x[0], dx[0] (rows, dim[0]), y, dy (dim[0],). attr[0]: which, as below. Units are columns.
 *
 *   backward_reduce   max and min: save[0] = dy shared out among the rows that are it
 *
 * spread_rows: y_rj = x_j. Node: x[0], dx[0] (dim[0],), y, dy (rows, dim[0]). Units are columns.
 *
 * Of pairs of rows dim[0] is FBP_TIMES_ROWS: then there is one unit.
 *
 * A column's sum has an order of its own, whatever the other columns are.
 */

enum { FN(rows_sum), FN(rows_mean), FN(rows_max), FN(rows_min) };

/* y_j = the sum of column j, divided by `count`, for lo <= j < hi */
static void FN(sum_rows)(T *y, const T *x, int64_t R, int64_t C, double count, int64_t lo, int64_t hi)
{
    double a[FBP_STRIP], b[FBP_STRIP];
    if (C == 1) {
        FN(row_sums)(FN(values), a, x, x, NULL, 0, R);
        y[0] = (T)(a[0] / count);
        return;
    }
    for (int64_t j = lo, n; j < hi; j += n) {
        n = FN(column_strip)(FN(values), a, b, x + j, x + j, NULL, NULL, R, C, hi - j);
        for (int64_t i = 0; i < n; i++) y[j + i] = (T)(a[i] / count);
    }
}

static void FN(extreme_rows)(T *y, const T *x, int64_t R, int64_t C, int low, int64_t lo, int64_t hi)
{
    for (int64_t j = lo; j < hi; j += VL) {
        V best = FN(v_load_up_to)(x + j, hi - j);
        for (int64_t r = 1; r < R; r++) {
            const V v = FN(v_load_up_to)(x + r * C + j, hi - j);
            best = low ? FN(v_smaller)(best, v) : FN(v_larger)(best, v);
        }
        FN(v_store_up_to)(y + j, best, hi - j);
    }
}

static void FN(reduce_rows_forward_reduce)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t R = run->rows, C = n->dim[0];
    const int which = (int)n->attr[0];
    if (which < FN(rows_max)) FN(sum_rows)(n->y, n->x[0], R, C, which == FN(rows_mean) ? (double)R : 1, lo, hi);
    else FN(extreme_rows)(n->y, n->x[0], R, C, which == FN(rows_min), lo, hi);
}

static void FN(reduce_rows_backward_reduce)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t R = run->rows, C = n->dim[0];
    const T *x = n->x[0], *y = n->y, *dy = n->dy;
    T *share = n->save[0];
    if (!n->dx[0] || n->attr[0] < FN(rows_max)) return;
    for (int64_t j = lo; j < hi; j++) {
        int64_t count = 0;
        for (int64_t r = 0; r < R; r++) count += x[r * C + j] == y[j];
        share[j] = dy[j] / (T)count;
    }
}

static void FN(reduce_rows_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t C = n->dim[0];
    const T *x = n->x[0], *y = n->y, *dy = n->dy, *share = n->save[0], count = (T)run->rows;
    T *dx = n->dx[0];
    if (!dx) return;
    const int which = (int)n->attr[0];
    for (int64_t r = lo; r < hi; r++)
        for (int64_t j = 0; j < C; j++) {
            if (which >= FN(rows_max)) dx[r * C + j] = (T)(x[r * C + j] == y[j]) * share[j];
            else dx[r * C + j] = which == FN(rows_mean) ? dy[j] / count : dy[j];
        }
}

static const fbp_phases FN(reduce_rows_phases) = {
    .forward_reduce = FN(reduce_rows_forward_reduce),
    .backward_reduce = FN(reduce_rows_backward_reduce),
    .backward = FN(reduce_rows_backward_rows),
};

static void FN(spread_rows_forward)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t C = fbp_with_rows(n->dim[0], run->rows);
    const T *x = n->x[0];
    T *y = n->y;
    for (int64_t r = lo; r < hi; r++)
        for (int64_t j = 0; j < C; j++) y[r * C + j] = x[j];
}

static void FN(spread_rows_backward_reduce)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t C = fbp_with_rows(n->dim[0], run->rows);
    if (n->dx[0]) FN(sum_rows)(n->dx[0], n->dy, run->rows, C, 1, lo, C == n->dim[0] ? hi : C);
}

static const fbp_phases FN(spread_rows_phases) = {
    .forward = FN(spread_rows_forward),
    .backward_reduce = FN(spread_rows_backward_reduce),
};
