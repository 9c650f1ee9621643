/* All pairs of rows; the twins of fastbp/ops/pairs.py. R is the number of rows of the batch.
 *
 * pair_product: y = a bᵗ. Node: x[0] a, x[1] b, dx (R, dim[0]), y, dy (R, R). save[0] (dim[0], R) = bᵗ. Units are columns
 * of b, and stretches of its rows: FBP_ROW_UNITS in all.
 *
 *   forward_reduce    bᵗ
 *   forward, backward y = a bᵗ, da = dy b
 *   backward_reduce   db = dyᵗ a
 *
 * all_rows: y (R, dim[0]) = x, for all rows to look at; dim[1]: 1 for integers. row_number: y (R,) = 0, 1, …, integers.
 */

static void FN(pair_product_forward_reduce)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t R = run->rows, D = n->dim[0];
    FN(transpose_block)((T *)n->save[0] + lo * R, R, (const T *)n->x[1] + lo, D, R, hi - lo);
}

static void FN(pair_product_forward)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    const int64_t R = run->rows, D = n->dim[0];
    const FN(epilogue) none = {0};
    FN(product_of)(n, (T *)n->y + lo * R, R, (const T *)n->x[0] + lo * D, D, 1, n->save[0], R, 1, hi - lo, R, D, &none,
                   scratch);
}

static void FN(pair_product_backward_reduce)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    const int64_t R = run->rows, D = n->dim[0], first = lo * R / FBP_ROW_UNITS, last = hi * R / FBP_ROW_UNITS;
    const FN(epilogue) none = {0};
    if (!n->dx[1] || first == last) return;
    FN(product_of)(n, (T *)n->dx[1] + first * D, D, (const T *)n->dy + first, 1, R, n->x[0], D, 1, last - first, D, R, &none,
                   scratch);
}

static void FN(pair_product_backward)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    const int64_t R = run->rows, D = n->dim[0];
    const FN(epilogue) none = {0};
    if (!n->dx[0]) return;
    FN(product_of)(n, (T *)n->dx[0] + lo * D, D, (const T *)n->dy + lo * R, R, 1, n->x[1], D, 1, hi - lo, D, R, &none,
                   scratch);
}

static const fbp_phases FN(pair_product_phases) = {
    .forward_reduce = FN(pair_product_forward_reduce),
    .forward = FN(pair_product_forward),
    .backward_reduce = FN(pair_product_backward_reduce),
    .backward = FN(pair_product_backward),
};

static void FN(all_rows_forward_reduce)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)lo; (void)hi; (void)scratch;
    memcpy(n->y, n->x[0], (size_t)(run->rows * n->dim[0]) * (n->dim[1] ? sizeof(int64_t) : sizeof(T)));
}

static void FN(all_rows_backward)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t D = n->dim[0];
    if (n->dx[0]) memcpy((T *)n->dx[0] + lo * D, (const T *)n->dy + lo * D, (size_t)((hi - lo) * D) * sizeof(T));
}

static const fbp_phases FN(all_rows_phases) = {.forward_reduce = FN(all_rows_forward_reduce),
                                               .backward = FN(all_rows_backward)};

static void FN(row_number_forward)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    for (int64_t r = lo; r < hi; r++) ((int64_t *)n->y)[r] = run->before + r;
}

static const fbp_phases FN(row_number_phases) = {.forward = FN(row_number_forward)};
