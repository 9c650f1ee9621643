/* positions: y = x + weight of each place; the twin of fastbp/ops/positions.py.
 *
 * Node: x[0], y, dx[0], dy (rows, dim[0] T, dim[1] C). p[0] weight (dim[2], C); units are its rows.
 */

static void FN(positions_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t size = n->dim[0] * n->dim[1];
    for (int64_t r = lo; r < hi; r++)
        KERNEL(add_forward)((T *)n->y + r * size, (const T *)n->x[0] + r * size, n->p[0], size);
}

static void FN(positions_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t size = n->dim[0] * n->dim[1];
    if (n->dx[0] && n->dx[0] != n->dy && hi > lo)
        memcpy((T *)n->dx[0] + lo * size, (const T *)n->dy + lo * size, (size_t)((hi - lo) * size) * sizeof(T));
}

static void FN(positions_gradient)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t steps = n->dim[0], C = n->dim[1];
    for (int64_t t = lo; n->dp[0] && t < hi; t++)
        for (int64_t i = 0; i < C; i += VL) {
            V sum = {0};
            for (int64_t r = 0; r < run->rows && t < steps; r++)
                sum += FN(v_load_up_to)((const T *)n->dy + (r * steps + t) * C + i, C - i);
            FN(v_store_up_to)((T *)n->dp[0] + t * C + i, sum, C - i);
        }
}

static const fbp_phases FN(positions_phases) = {
    .forward = FN(positions_forward_rows),
    .backward = FN(positions_backward_rows),
    .gradient = FN(positions_gradient),
};
