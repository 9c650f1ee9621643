/* grouped_linear: y[g] = x[g] W[g] + b[g]; the twin of fastbp/ops/grouped_linear.py.
 *
 * Node: x[0] (rows, R, G, I), y (rows, R, G, O), p[0] W (G, I, O), p[1] b (G, O) or NULL. dim[0] R, dim[1] G, dim[2] I,
 * dim[3] O; units are groups. Each group is a product whose rows are a stride apart.
 */

static void FN(grouped_linear_values)(T *restrict y /* (B, G, O) */, const T *restrict x /* (B, G, I) */,
                                           const T *restrict W /* (G, I, O) */, const T *restrict b /* (G, O) or NULL */,
                                           int64_t B, int64_t G, int64_t I, int64_t O)
{
    for (int64_t g = 0; g < G; g++) {
        const FN(epilogue) e = {.bias = b ? b + g * O : NULL};
        FN(gemm)(y + g * O, G * O, x + g * I, G * I, 1, W + g * I * O, O, 1, B, O, I, &e, NULL);
    }
}

static void FN(grouped_linear_input)(T *restrict dx /* (B, G, I) */, const T *restrict dy /* (B, G, O) */,
                                     const T *restrict W /* (G, I, O) */, int64_t B, int64_t G, int64_t I, int64_t O,
                                     void *scratch)
{
    const FN(epilogue) none = {0};
    for (int64_t g = 0; g < G; g++)
        FN(gemm)(dx + g * I, G * I, dy + g * O, G * O, 1, W + g * I * O, 1, O, B, I, O, &none, scratch);
}

/* Groups lo to hi. */
static void FN(grouped_linear_sums)(T *dW, T *db, const T *x, const T *dy, int64_t B, int64_t G, int64_t I, int64_t O,
                                    int64_t lo, int64_t hi, void *scratch)
{
    const FN(epilogue) none = {0};
    for (int64_t g = lo; g < hi; g++) {
        if (dW) FN(gemm)(dW + g * I * O, O, x + g * I, 1, G * I, dy + g * O, G * O, 1, I, O, B, &none, scratch);
        for (int64_t j = 0; db && j < O; j += VL) {
            V sum = {0};
            for (int64_t r = 0; r < B; r++) sum += FN(v_load_up_to)(dy + (r * G + g) * O + j, O - j);
            FN(v_store_up_to)(db + g * O + j, sum, O - j);
        }
    }
}

static void FN(grouped_linear_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t G = n->dim[1], I = n->dim[2], O = n->dim[3], first = lo * n->dim[0] * G;
    FN(grouped_linear_values)((T *)n->y + first * O, (const T *)n->x[0] + first * I, n->p[0], n->p[1],
                                   (hi - lo) * n->dim[0], G, I, O);
}

static void FN(grouped_linear_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    const int64_t G = n->dim[1], I = n->dim[2], O = n->dim[3], first = lo * n->dim[0] * G;
    if (n->dx[0])
        FN(grouped_linear_input)((T *)n->dx[0] + first * I, (const T *)n->dy + first * O, n->p[0],
                                 (hi - lo) * n->dim[0], G, I, O, scratch);
}

static void FN(grouped_linear_gradient)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    FN(grouped_linear_sums)(n->dp[0], n->dp[1], n->x[0], n->dy, run->rows * n->dim[0], n->dim[1], n->dim[2], n->dim[3],
                            lo, hi, scratch);
}

static const fbp_phases FN(grouped_linear_phases) = {
    .forward = FN(grouped_linear_forward_rows),
    .backward = FN(grouped_linear_backward_rows),
    .gradient = FN(grouped_linear_gradient),
};
