/* add: y = a + b,  da = db = dy.      mul: y = a b (elementwise),  da = dy b,  db = dy a.
 *
 * Node: x[0] a, x[1] b, y, all (rows, dim[0]); dx[0] and dx[1] may each be NULL. dim[0]: elements per row.
 * Gradients may be written over dy: add then has nothing to copy.
 */

static void KERNEL(add_forward)(T *y /* (n,) */, const T *a /* (n,) */, const T *b /* (n,) */, int64_t n)
{
    for (int64_t i = 0; i < n; i += VL) {
        const V sum = FN(v_load_up_to)(a + i, n - i) + FN(v_load_up_to)(b + i, n - i);
        FN(v_store_up_to)(y + i, sum, n - i);
    }
}

static void KERNEL(mul_forward)(T *y /* (n,) */, const T *a /* (n,) */, const T *b /* (n,) */, int64_t n)
{
    for (int64_t i = 0; i < n; i += VL) {
        const V product = FN(v_load_up_to)(a + i, n - i) * FN(v_load_up_to)(b + i, n - i);
        FN(v_store_up_to)(y + i, product, n - i);
    }
}

static void KERNEL(mul_backward)(T *da /* (n,) or NULL */, T *db /* (n,) or NULL */, const T *dy /* (n,) */,
                                 const T *a /* (n,) */, const T *b /* (n,) */, int64_t n)
{
    for (int64_t i = 0; i < n; i += VL) {
        const V g = FN(v_load_up_to)(dy + i, n - i);
        const V ga = g * FN(v_load_up_to)(b + i, n - i), gb = g * FN(v_load_up_to)(a + i, n - i);
        if (da) FN(v_store_up_to)(da + i, ga, n - i);
        if (db) FN(v_store_up_to)(db + i, gb, n - i);
    }
}

/* Rows lo <= r < hi of a tensor of n columns, NULL if there is no tensor. */
static FBP_INLINE T *FN(rows_from)(void *x, int64_t lo, int64_t n) { return x ? (T *)x + lo * n : NULL; }

static void FN(add_forward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t n = node->dim[0], first = lo * n;
    KERNEL(add_forward)((T *)node->y + first, (const T *)node->x[0] + first, (const T *)node->x[1] + first,
                        (hi - lo) * n);
}

static void FN(add_backward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t n = node->dim[0];
    const size_t bytes = (size_t)((hi - lo) * n) * sizeof(T);
    for (int i = 0; i < 2; i++)
        if (node->dx[i] && node->dx[i] != node->dy)
            memcpy((T *)node->dx[i] + lo * n, (const T *)node->dy + lo * n, bytes);
}

static void FN(mul_forward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t n = node->dim[0], first = lo * n;
    KERNEL(mul_forward)((T *)node->y + first, (const T *)node->x[0] + first, (const T *)node->x[1] + first,
                        (hi - lo) * n);
}

static void FN(mul_backward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t n = node->dim[0], first = lo * n;
    KERNEL(mul_backward)(FN(rows_from)(node->dx[0], lo, n), FN(rows_from)(node->dx[1], lo, n),
                         (const T *)node->dy + first, (const T *)node->x[0] + first, (const T *)node->x[1] + first,
                         (hi - lo) * n);
}

static const fbp_phases FN(add_phases) = {.forward = FN(add_forward_rows), .backward = FN(add_backward_rows)};
static const fbp_phases FN(mul_phases) = {.forward = FN(mul_forward_rows), .backward = FN(mul_backward_rows)};
