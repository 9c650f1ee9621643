/* permute: the axes of a sample in another order; the twin of fastbp/ops/reshape.py, whose reshape moves nothing.
 *
 * Node: x[0], y, dx[0], dy (rows, dim[0]); dim[1] axes (N), dim[2..] the sizes of y's, then how far apart their
 * neighbours are in x.
 */

/* Element i of y is the one of x that this returns. */
static FBP_INLINE int64_t FN(permuted)(const fbp_node *n, int64_t i)
{
    const int64_t axes = n->dim[1], *sizes = n->dim + 2, *steps = sizes + axes;
    int64_t at = 0;
    for (int64_t a = axes - 1; a >= 0; a--) {
        at += i % sizes[a] * steps[a];
        i /= sizes[a];
    }
    return at;
}

static void FN(permute_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t size = n->dim[0];
    for (int64_t i = 0; i < size; i++) {
        const int64_t from = FN(permuted)(n, i);
        for (int64_t r = lo; r < hi; r++) ((T *)n->y)[r * size + i] = ((const T *)n->x[0])[r * size + from];
    }
}

static void FN(permute_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t size = n->dim[0];
    for (int64_t i = 0; i < size && n->dx[0]; i++) {
        const int64_t to = FN(permuted)(n, i);
        for (int64_t r = lo; r < hi; r++) ((T *)n->dx[0])[r * size + to] = ((const T *)n->dy)[r * size + i];
    }
}

static const fbp_phases FN(permute_phases) = {
    .forward = FN(permute_forward_rows),
    .backward = FN(permute_backward_rows),
};
