/* concat: y = [a, b] along one axis, so (da, db) = dy cut where they meet.
 *
 * A sample is `outer` groups: na elements of a, then nb of b. Node: x[0] a, x[1] b, y; dx[0] and dx[1] may each be
 * NULL. dim[0]: outer, dim[1]: na, dim[2]: nb.
 */

/* R rows of n elements between matrices whose rows are dst_stride and src_stride elements apart. */
static FBP_INLINE void FN(copy_rows)(T *dst, int64_t dst_stride, const T *src, int64_t src_stride, int64_t R, int64_t n)
{
    for (int64_t r = 0; r < R; r++) memcpy(dst + r * dst_stride, src + r * src_stride, (size_t)n * sizeof(T));
}

static void KERNEL(concat_forward)(T *y /* (R, na + nb) */, const T *a /* (R, na) */, const T *b /* (R, nb) */,
                                   int64_t R, int64_t na, int64_t nb)
{
    FN(copy_rows)(y, na + nb, a, na, R, na);
    FN(copy_rows)(y + na, na + nb, b, nb, R, nb);
}

static void KERNEL(concat_backward)(T *da /* (R, na) or NULL */, T *db /* (R, nb) or NULL */,
                                    const T *dy /* (R, na + nb) */, int64_t R, int64_t na, int64_t nb)
{
    if (da) FN(copy_rows)(da, na, dy, na + nb, R, na);
    if (db) FN(copy_rows)(db, nb, dy + na, na + nb, R, nb);
}

static void FN(concat_forward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t outer = node->dim[0], na = node->dim[1], nb = node->dim[2], first = lo * outer;
    KERNEL(concat_forward)((T *)node->y + first * (na + nb), (const T *)node->x[0] + first * na,
                           (const T *)node->x[1] + first * nb, (hi - lo) * outer, na, nb);
}

static void FN(concat_backward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t outer = node->dim[0], na = node->dim[1], nb = node->dim[2], first = lo * outer;
    T *da = node->dx[0], *db = node->dx[1];
    KERNEL(concat_backward)(da ? da + first * na : NULL, db ? db + first * nb : NULL,
                            (const T *)node->dy + first * (na + nb), (hi - lo) * outer, na, nb);
}

static const fbp_phases FN(concat_phases) = {.forward = FN(concat_forward_rows), .backward = FN(concat_backward_rows)};
