/* linear: y = act(x W + b); the twin of fastbp/ops/linear.py, fused with the activations before and after it.
 *
 * dim[0] groups a row (G), dim[1] I, dim[2] O. p[0] W (I, O), p[1] b (O,) or NULL. aux Wt (O, I), refreshed by prepare.
 * Forward writes act(z) to y, and z = x W + b to save[0] if that is not NULL. Backward is given dz in dy. Where in_act
 * is an activation, x is its output, and dx[0] gets the gradient of that activation's input, from in_from.
 */

static void KERNEL(transpose)(T *restrict y /* (C, R) */, const T *restrict x /* (R, C) */, int64_t R, int64_t C)
{
    /* in squares that stay in the first-level cache on both sides */
    for (int64_t r0 = 0; r0 < R; r0 += 16)
        for (int64_t c0 = 0; c0 < C; c0 += 16) {
            const int64_t r1 = r0 + 16 < R ? r0 + 16 : R, c1 = c0 + 16 < C ? c0 + 16 : C;
            for (int64_t c = c0; c < c1; c++)
                for (int64_t r = r0; r < r1; r++) y[c * R + r] = x[r * C + c];
        }
}

static void KERNEL(linear_forward)(T *restrict y /* (B, O) */, T *restrict z /* (B, O) */, const T *restrict x /* (B, I) */,
                                   const T *restrict W /* (I, O) */, const T *restrict b /* (O,) */,
                                   int64_t B, int64_t I, int64_t O, int32_t act, double alpha)
{
    const FN(epilogue) e = {.bias = b, .relu = act == FBP_OP_relu && !z};
    if (act == FBP_OP_identity || e.relu) {
        FN(gemm)(y, O, x, I, 1, W, O, B, O, I, &e);
        return;
    }
    /* a few rows at a time, so that the activation finds them in the first-level cache */
    const FN(activation_forward_fn) f = FN(activation_forward_of)(act);
    T *into = z ? z : y;
    for (int64_t r = 0; r < B; r += FBP_MR) {
        const int64_t rows = B - r < FBP_MR ? B - r : FBP_MR;
        FN(gemm)(into + r * O, O, x + r * I, I, 1, W, O, rows, O, I, &e);
        f(y + r * O, into + r * O, rows * O, alpha);
    }
}

static void FN(linear_backward_fused)(T *restrict dx, const T *restrict dy, const T *restrict Wt, int64_t B, int64_t I,
                                      int64_t O, int32_t in_act, const T *from, double alpha)
{
    const FN(epilogue) e = {.gate = in_act == FBP_OP_relu ? from : NULL, .gate_ld = I};
    if (in_act == FBP_OP_identity || in_act == FBP_OP_relu) {
        FN(gemm)(dx, I, dy, O, 1, Wt, I, B, I, O, &e);
        return;
    }
    const FN(activation_backward_fn) f = FN(activation_backward_of)(in_act);
    for (int64_t r = 0; r < B; r += FBP_MR) {
        const int64_t rows = B - r < FBP_MR ? B - r : FBP_MR;
        FN(gemm)(dx + r * I, I, dy + r * O, O, 1, Wt, I, rows, I, O, &e);
        f(dx + r * I, dx + r * I, from + r * I, rows * I, alpha);
    }
}

static void KERNEL(linear_backward_input)(T *restrict dx /* (B, I) */, const T *restrict dy /* (B, O) */,
                                          const T *restrict Wt /* (O, I) */, int64_t B, int64_t I, int64_t O)
{
    FN(linear_backward_fused)(dx, dy, Wt, B, I, O, FBP_OP_identity, NULL, 0);
}

/* db: the sums of the columns of dy, rows in order */
static void FN(column_sums)(T *restrict db /* (O,) */, const T *restrict dy /* (B, O) */, int64_t B, int64_t O)
{
    for (int64_t j = 0; j < O; j += VL) {
        const int64_t lanes = O - j < VL ? O - j : VL;
        V sum[4] = {{0}};
        for (int64_t r = 0; r < B; r++) sum[r & 3] += FN(v_load_n)(dy + r * O + j, lanes);
        FN(v_store_n)(db + j, (sum[0] + sum[1]) + (sum[2] + sum[3]), lanes);
    }
}

static void KERNEL(linear_backward_weight)(T *restrict dW /* (I, O) */, T *restrict db /* (O,) or NULL */,
                                           const T *restrict x /* (B, I) */, const T *restrict dy /* (B, O) */,
                                           int64_t B, int64_t I, int64_t O)
{
    const FN(epilogue) e = {0};
    FN(gemm)(dW, O, x, 1, I, dy, O, I, O, B, &e);
    if (db) FN(column_sums)(db, dy, B, O);
}

static void FN(linear_prepare)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi)
{
    (void)run; (void)lo; (void)hi;
    if (n->aux) KERNEL(transpose)(n->aux, n->p[0], n->dim[1], n->dim[2]);
}

static void FN(linear_forward_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi)
{
    (void)run;
    const int64_t G = n->dim[0], I = n->dim[1], O = n->dim[2];
    KERNEL(linear_forward)((T *)n->y + lo * G * O, n->save[0] ? (T *)n->save[0] + lo * G * O : NULL,
                           (const T *)n->x[0] + lo * G * I, n->p[0], n->p[1], (hi - lo) * G, I, O, n->act, n->act_alpha);
}

static void FN(linear_backward_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi)
{
    (void)run;
    const int64_t G = n->dim[0], I = n->dim[1], O = n->dim[2];
    if (!n->dx[0]) return;
    FN(linear_backward_fused)((T *)n->dx[0] + lo * G * I, (const T *)n->dy + lo * G * O, n->aux, (hi - lo) * G, I, O,
                              n->in_act, n->in_from ? (const T *)n->in_from + lo * G * I : NULL, n->in_alpha);
}

static void FN(linear_gradient_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi)
{
    const int64_t G = n->dim[0], I = n->dim[1], O = n->dim[2], B = run->rows * G;
    const FN(epilogue) e = {0};
    if (n->dp[0]) FN(gemm)((T *)n->dp[0] + lo * O, O, (const T *)n->x[0] + lo, 1, I, n->dy, O, hi - lo, O, B, &e);
    if (n->dp[1] && lo == 0) FN(column_sums)(n->dp[1], n->dy, B, O);
}

static const fbp_phases FN(linear_phases) = {
    .prepare = FN(linear_prepare),
    .prepare_units = -1,
    .forward = FN(linear_forward_phase),
    .backward = FN(linear_backward_phase),
    .gradient = FN(linear_gradient_phase),
    .gradient_units = 1,
};
