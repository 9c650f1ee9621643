/* slice: some neighbouring elements along one axis; the twin of fastbp/ops/slice.py.
 *
 * Node: x[0], dx[0] (rows, dim[0], dim[1]), y, dy (rows, dim[0], dim[3]): the elements from dim[2] on.
 */

static void FN(slice_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t G = n->dim[0], from = n->dim[1], to = n->dim[3];
    for (int64_t r = lo * G; r < hi * G; r++)
        memcpy((T *)n->y + r * to, (const T *)n->x[0] + r * from + n->dim[2], (size_t)to * sizeof(T));
}

static void FN(slice_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t G = n->dim[0], from = n->dim[1], to = n->dim[3];
    for (int64_t r = lo * G; n->dx[0] && r < hi * G; r++) {
        T *dx = (T *)n->dx[0] + r * from;
        memset(dx, 0, (size_t)from * sizeof(T));
        memcpy(dx + n->dim[2], (const T *)n->dy + r * to, (size_t)to * sizeof(T));
    }
}

static const fbp_phases FN(slice_phases) = {
    .forward = FN(slice_forward_rows),
    .backward = FN(slice_backward_rows),
};
