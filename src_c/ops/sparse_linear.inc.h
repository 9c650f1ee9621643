/* sparse_linear: y = act(x W + b) for rows x of which only what is not 0 is written down; the twin of
 * fastbp/ops/sparse_linear.py, fused with the activation after it, and with the optimizer.
 *
 * Node: x[0] spans (B, 2) of int64, each from 0 to dim[3], as fbp_feed_integers sees to; x[1] columns (dim[3],) of int64,
 * rising within a span; x[2] values (dim[3],). Row r of x has values[k] in column columns[k] for spans[r, 0] <= k <
 * spans[r, 1]. dim[1] I, dim[2] O. p[0] W (I, O), p[1] b (O,) or NULL. Units are rows of W.
 *
 *   forward   writes act(z), z = x W + b, to y, and act'(z) to fusion.slope if that is not NULL
 *   gradient  dW of the units; with unit 0 also db. If the node updates and there is an update, each block of dW is
 *             applied to W while it is in the cache
 *
 * Each element of y is one chain over the entries of its row, in order, from the bias on; each of dW one over the rows
 * of the batch. A column that is none makes the run fail: it would be an address.
 */

#ifndef FBP_SPARSE_BLOCK
#define FBP_SPARSE_BLOCK (1 << 15)      /* elements of dW that stay in the cache until they are used */
#endif

/* Rows of x: those of row r from begin[r step] to end[r step]. */
typedef struct FN(entries) {
    const int64_t *begin, *end, *columns;
    const T *values;
    int64_t step, I;
} FN(entries);

static FBP_INLINE int64_t FN(column_of)(const FN(entries) *x, int64_t k)
{
    return __atomic_load_n(x->columns + k, __ATOMIC_RELAXED);
}

/* NV vectors of columns of one row of y; a single one has `lanes` lanes. Returns whether all columns of x are some. */
static FBP_INLINE int32_t FN(sparse_forward_strip)(const int NV, T *y, const FN(entries) *x, int64_t begin, int64_t end,
                                                   const T *W, const T *b, int64_t O, int64_t lanes)
{
    V sum[8];
    int32_t fits = 1;
    FBP_UNROLL
    for (int v = 0; v < NV; v++) sum[v] = b ? FN(v_load_cut)(NV == 1, b + v * VL, lanes) : (V){0};
    for (int64_t k = begin; k < end; k++) {
        const int64_t c = FN(column_of)(x, k);
        if ((uint64_t)c >= (uint64_t)x->I) {
            fits = 0;
            continue;
        }
        const V value = FN(v_set1)(x->values[k]);
        FBP_UNROLL
        for (int v = 0; v < NV; v++)
            sum[v] = FN(v_fma)(value, FN(v_load_cut)(NV == 1, W + c * O + v * VL, lanes), sum[v]);
    }
    FBP_UNROLL
    for (int v = 0; v < NV; v++) FN(v_store_up_to)(y + v * VL, sum[v], NV == 1 ? lanes : VL);
    return fits;
}

/* y = x W + b for the rows lo to hi. */
static int32_t FN(sparse_forward_rows)(T *y /* (hi - lo, O) */, const FN(entries) *x, const T *W, const T *b, int64_t O,
                                       int64_t lo, int64_t hi)
{
    int32_t fits = 1;
    for (int64_t r = lo; r < hi; r++, y += O) {
        const int64_t begin = x->begin[r * x->step], end = x->end[r * x->step];
        int64_t j = 0;
        for (; j + 8 * VL <= O; j += 8 * VL)
            fits &= FN(sparse_forward_strip)(8, y + j, x, begin, end, W + j, b ? b + j : NULL, O, VL);
        for (; j + 4 * VL <= O; j += 4 * VL)
            fits &= FN(sparse_forward_strip)(4, y + j, x, begin, end, W + j, b ? b + j : NULL, O, VL);
        for (; j < O; j += VL)
            fits &= FN(sparse_forward_strip)(1, y + j, x, begin, end, W + j, b ? b + j : NULL, O, FN(min)(VL, O - j));
    }
    return fits;
}

/* The first entry of a row whose column is at least c. */
static int64_t FN(first_from)(const FN(entries) *x, int64_t begin, int64_t end, int64_t c)
{
    while (begin < end) {
        const int64_t middle = begin + (end - begin) / 2;
        if (FN(column_of)(x, middle) < c) begin = middle + 1;
        else end = middle;
    }
    return begin;
}

/* dW (rows, O) = transposed x times dy for the rows `first` to first + rows of W, whatever x has elsewhere. */
static void FN(sparse_gradient_rows)(T *restrict dW, const FN(entries) *x, const T *restrict dy /* (B, O) */, int64_t B,
                                     int64_t O, int64_t first, int64_t rows)
{
    memset(dW, 0, (size_t)(rows * O) * sizeof(T));
    for (int64_t r = 0; r < B; r++, dy += O) {
        const int64_t end = x->end[r * x->step];
        for (int64_t k = FN(first_from)(x, x->begin[r * x->step], end, first); k < end; k++) {
            const int64_t c = FN(column_of)(x, k) - first;
            if ((uint64_t)c >= (uint64_t)rows) break;
            const V value = FN(v_set1)(x->values[k]);
            T *row = dW + c * O;
            int64_t j = 0;
            for (; j + VL <= O; j += VL)
                FN(v_store)(row + j, FN(v_fma)(value, FN(v_load)(dy + j), FN(v_load)(row + j)));
            if (j < O)
                FN(v_store_n)(row + j, FN(v_fma)(value, FN(v_load_n)(dy + j, O - j), FN(v_load_n)(row + j, O - j)), O - j);
        }
    }
}

/* ---- kernels -------------------------------------------------------------------------------------------------- */

static void KERNEL(sparse_linear_forward)(T *y /* (B, O) */, const T *values /* (E,) */,
                                          const int64_t *columns /* (E,) */, const int64_t *begin /* (B,) */,
                                          const int64_t *end /* (B,) */, const T *W /* (I, O) */,
                                          const T *b /* (O,) or NULL */, int64_t B, int64_t E, int64_t I, int64_t O)
{
    (void)E;
    const FN(entries) x = {.begin = begin, .end = end, .step = 1, .columns = columns, .values = values, .I = I};
    FN(sparse_forward_rows)(y, &x, W, b, O, 0, B);
}

static void KERNEL(sparse_linear_backward_weight)(T *dW /* (I, O) */, T *db /* (O,) or NULL */,
                                                  const T *values /* (E,) */, const int64_t *columns /* (E,) */,
                                                  const int64_t *begin /* (B,) */, const int64_t *end /* (B,) */,
                                                  const T *dy /* (B, O) */, int64_t B, int64_t E, int64_t I, int64_t O)
{
    (void)E;
    const FN(entries) x = {.begin = begin, .end = end, .step = 1, .columns = columns, .values = values, .I = I};
    FN(sparse_gradient_rows)(dW, &x, dy, B, O, 0, I);
    if (db) FN(column_sums)(db, dy, B, O);
}

/* ---- phases --------------------------------------------------------------------------------------------------- */

static FN(entries) FN(entries_of)(const fbp_node *n)
{
    const int64_t *spans = n->x[0];
    return (FN(entries)){.begin = spans, .end = spans + 1, .step = 2, .columns = n->x[1], .values = n->x[2],
                         .I = n->dim[1]};
}

static void FN(sparse_linear_forward_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t O = n->dim[2];
    const FN(entries) x = FN(entries_of)(n);
    if (!FN(sparse_forward_rows)((T *)n->y + lo * O, &x, n->p[0], n->p[1], O, lo, hi) && run->failed)
        __atomic_store_n(run->failed, 1, __ATOMIC_RELAXED);
    FN(activate_rows)(n, lo, hi - lo, O);
}

static void FN(sparse_linear_gradient_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t O = n->dim[2], most = O < FBP_SPARSE_BLOCK ? FBP_SPARSE_BLOCK / (O ? O : 1) : 1;
    const FN(entries) x = FN(entries_of)(n);
    fbp_update_plan *update = n->fusion.updates ? run->update : NULL;
    for (int64_t i = lo; i < hi && n->dp[0]; i += most) {
        const int64_t rows = FN(min)(most, hi - i);
        FN(sparse_gradient_rows)((T *)n->dp[0] + i * O, &x, n->dy, run->rows, O, i, rows);
        if (update) fbp_update_piece(update, n, 0, i * O, rows * O);
    }
    if (n->dp[1] && lo == 0) {
        FN(column_sums)(n->dp[1], n->dy, run->rows, O);
        if (update) fbp_update_piece(update, n, 1, 0, O);
    }
}

static const fbp_phases FN(sparse_linear_phases) = {
    .forward = FN(sparse_linear_forward_phase),
    .gradient = FN(sparse_linear_gradient_phase),
};
