/* permute: the axes of a sample in another order; the twin of fastbp/ops/reshape.py, whose reshape moves nothing.
 *
 * Node: x[0], y, dx[0], dy (rows, dim[0]); dim[1] axes (N), dim[2..] the sizes of y's, then how far apart their
 * neighbours are in x: along one axis side by side.
 */

/* to = from for one sample: y from x, or back. All axes but two are counted through; those along which the neighbours in
 * `to`, and in `from`, lie side by side are transposed as a matrix, or are one, which is copied. */
static void FN(permuted)(const fbp_node *n, T *to, const T *from, const int back)
{
    const int64_t axes = n->dim[1], *sizes = n->dim + 2, *x_steps = sizes + axes;
    int64_t row = axes - 1, column = axes - 1, y_steps[FBP_MOST_DIMS], at[FBP_MOST_DIMS] = {0};
    y_steps[axes - 1] = 1;
    for (int64_t a = axes - 1; a > 0; a--) y_steps[a - 1] = y_steps[a] * sizes[a];
    const int64_t *to_steps = back ? x_steps : y_steps, *from_steps = back ? y_steps : x_steps;
    while (row > 0 && to_steps[row] != 1) row--;
    while (column > 0 && from_steps[column] != 1) column--;
    for (int64_t a = 0; a >= 0;) {
        if (row == column) memcpy(to, from, (size_t)sizes[row] * sizeof(T));
        else FN(transpose_block)(to, to_steps[column], from, from_steps[row], sizes[row], sizes[column]);
        for (a = axes - 1; a >= 0; a--) {
            if (a == row || a == column) continue;
            to += to_steps[a];
            from += from_steps[a];
            if (++at[a] < sizes[a]) break;
            to -= sizes[a] * to_steps[a];
            from -= sizes[a] * from_steps[a];
            at[a] = 0;
        }
    }
}

static void FN(permute_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t size = n->dim[0];
    for (int64_t r = lo; r < hi; r++) FN(permuted)(n, (T *)n->y + r * size, (const T *)n->x[0] + r * size, 0);
}

static void FN(permute_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t size = n->dim[0];
    for (int64_t r = lo; r < hi && n->dx[0]; r++)
        FN(permuted)(n, (T *)n->dx[0] + r * size, (const T *)n->dy + r * size, 1);
}

static const fbp_phases FN(permute_phases) = {
    .forward = FN(permute_forward_rows),
    .backward = FN(permute_backward_rows),
};
