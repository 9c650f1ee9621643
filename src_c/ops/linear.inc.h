/* linear: y = act(x W + b); the twin of fastbp/ops/linear.py, fused with the activations before and after it, and with
 * the optimizer.
 *
 * dim[0] groups a row (G), dim[1] I, dim[2] O. p[0] W (I, O), p[1] b (O,) or NULL. prepared Wt (O, I) or NULL. Units
 * are rows of W. Without Wt, dx is made from W itself: where it is of a single row, by dot products with the rows of W,
 * and Wt is not kept up.
 *
 *   prepare   refreshes the units' columns of Wt
 *   forward   writes act(z), z = x W + b, to y, and act'(z) to fusion.slope if that is not NULL
 *   backward  is given dz in dy. Where fusion.gate is an activation, x is its output, and dx[0] gets the gradient of
 *             that activation's input
 *   gradient  dW of the units; with unit 0 also db. If the node updates and there is an update, each block of dW is
 *             applied to W, and Wt refreshed, while they are in the cache
 */

/* linear_back: y = x Wᵗ, with x (B, O) and y (B, I): what linear does backwards, as an op of its own. The same dims, W
 * and phases; nothing is fused into it.
 */

/* y = x scale + shift, column by column; y may be x. */
static void FN(affine_columns)(T *y /* (R, C) */, const T *x /* (R, C) */, const T *affine /* (2, C) */, int64_t R,
                               int64_t C)
{
    for (int64_t r = 0; r < R; r++)
        for (int64_t j = 0; j < C; j += VL) {
            const V scale = FN(v_load_up_to)(affine + j, C - j), shift = FN(v_load_up_to)(affine + C + j, C - j);
            FN(v_store_up_to)(y + r * C + j, FN(v_fma)(FN(v_load_up_to)(x + r * C + j, C - j), scale, shift), C - j);
        }
}

/* An activation over rows of a matrix that have just been made, each of `columns` elements: act's forward, and act' where
 * `slope` is not NULL; or backward, from y or act'. */
typedef struct FN(strip) {
    const fbp_activation *act;
    T *rows, *slope;
    const T *from;
    int64_t columns;
} FN(strip);

static void FN(finish_forward)(const void *context, int64_t i, int64_t rows)
{
    const FN(strip) *s = context;
    const int64_t at = i * s->columns;
    FN(activate)(s->act, s->rows + at, s->slope ? s->slope + at : NULL, s->rows + at, rows * s->columns);
}

static void FN(finish_backward)(const void *context, int64_t i, int64_t rows)
{
    const FN(strip) *s = context;
    const int64_t at = i * s->columns;
    FN(go_back)(s->act, s->rows + at, s->rows + at, s->from + at, rows * s->columns);
}

/* Whether dx of the run's only row is made by dot products: with few outputs they would be short. */
static inline int32_t FN(is_single)(const fbp_node *n, const fbp_run *run)
{
    return run->single && n->dim[0] == 1 && n->dim[2] >= FBP_SINGLE_OUTPUTS && !n->bf16;
}

/* Whether Wt is there, and differs from W. */
static inline int32_t FN(has_transposed)(const fbp_node *n, const fbp_run *run)
{
    return n->prepared && n->dim[2] > 1 && !FN(is_single)(n, run);
}

static void FN(linear_forward_fused)(const fbp_node *n, T *restrict y, T *restrict slope, const T *restrict x,
                                     int64_t B, void *scratch)
{
    const int64_t I = n->dim[1], O = n->dim[2];
    const T *W = n->p[0], *affine = n->fusion.affine, *b = affine ? NULL : n->p[1];
    const int32_t act = n->fusion.act.op, relu = act == FBP_OP_relu, plain = act == FBP_OP_identity;
    const FN(strip) strip = {.act = &n->fusion.act, .rows = y, .slope = slope, .columns = O};
    if (FN(is_dot)(I, O)) {
        FN(linear_forward_dot)(y, x, W, n->prepared, b, B, I, O);
        if (affine) FN(affine_columns)(y, y, affine, B, O);
        if (!plain) FN(finish_forward)(&strip, 0, B);
        return;
    }
    const FN(epilogue) e = {.bias = b, .scale = affine, .shift = affine ? affine + O : NULL, .relu = relu,
                            .finish = relu || plain ? NULL : FN(finish_forward), .context = &strip};
    FN(product_of)(n, y, O, x, I, 1, W, O, 1, B, O, I, &e, scratch);
}

static void FN(linear_backward_fused)(const fbp_node *n, const fbp_run *run, T *restrict dx, const T *restrict dy,
                                      const T *from, int64_t B, void *scratch)
{
    const int64_t I = n->dim[1], O = n->dim[2];
    const int32_t act = n->fusion.gate.op, relu = act == FBP_OP_relu, plain = act == FBP_OP_identity;
    const FN(strip) strip = {.act = &n->fusion.gate, .rows = dx, .from = from, .columns = I};
    if (FN(is_single)(n, run)) {
        FN(linear_forward_dot)(dx, n->p[0], dy, NULL, NULL, I, O, 1);
        if (!plain) FN(finish_backward)(&strip, 0, 1);
        return;
    }
    const FN(epilogue) e = {.gate = relu ? from : NULL, .gate_ld = I,
                            .finish = relu || plain ? NULL : FN(finish_backward), .context = &strip};
    if (FN(has_transposed)(n, run)) FN(product_of)(n, dx, I, dy, O, 1, n->prepared, I, 1, B, I, O, &e, scratch);
    else FN(product_of)(n, dx, I, dy, O, 1, n->p[0], 1, O, B, I, O, &e, scratch);
}

/* A sum of T over more rows than `long_sum` loses digits: it is cut into stretches of so many, which are added up. */
enum { FN(long_sum) = 1 << 14, FN(long_part) = 1 << 14 };

/* db of NV vectors of columns, added to what is there or not; a single one has `lanes` lanes. Chain c sums the rows c,
 * c + chains, … */
static FBP_INLINE void FN(sum_columns)(const int NV, const int chains, T *restrict db, const T *restrict dy, int64_t B,
                                       int64_t O, int64_t lanes, int add)
{
    V sum[8] = {{0}};
    for (int64_t r = 0; r < B; r += chains) {
        FBP_UNROLL
        for (int c = 0; c < chains; c++) {
            FBP_UNROLL
            for (int v = 0; v < NV; v++)
                if (chains == 1 || r + c < B)
                    sum[c * NV + v] += FN(v_load_cut)(NV == 1, dy + (r + c) * O + v * VL, lanes);
        }
    }
    FBP_UNROLL
    for (int v = 0; v < NV; v++) {
        V all = chains == 1 ? sum[v] : (sum[v] + sum[NV + v]) + (sum[2 * NV + v] + sum[3 * NV + v]);
        if (add) all += FN(v_load_cut)(NV == 1, db + v * VL, lanes);
        FN(v_store_up_to)(db + v * VL, all, NV == 1 ? lanes : VL);
    }
}

/* db: the sums of the columns of dy. Their order depends on O alone. */
static void FN(column_sums)(T *restrict db /* (O,) */, const T *restrict dy /* (B, O) */, int64_t B, int64_t O)
{
    for (int64_t b = 0; b == 0 || b < B; b += FN(long_sum)) {
        const T *rows = dy + b * O;
        const int64_t n = FN(min)(FN(long_sum), B - b);
        int64_t j = 0;
        for (; j + 8 * VL <= O; j += 8 * VL) FN(sum_columns)(8, 1, db + j, rows + j, n, O, VL, b > 0);
        for (; j + 2 * VL <= O; j += 2 * VL) FN(sum_columns)(2, 4, db + j, rows + j, n, O, VL, b > 0);
        for (; j < O; j += VL) FN(sum_columns)(1, 4, db + j, rows + j, n, O, FN(min)(VL, O - j), b > 0);
    }
}

/* ---- phases --------------------------------------------------------------------------------------------------- */

static void FN(linear_prepare)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t I = n->dim[1], O = n->dim[2];
    if (FN(has_transposed)(n, run))
        FN(transpose_block)((T *)n->prepared + lo, I, (const T *)n->p[0] + lo * O, O, hi - lo, O);
}

static void FN(linear_forward_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    const int64_t G = n->dim[0], I = n->dim[1], O = n->dim[2];
    FN(linear_forward_fused)(n, (T *)n->y + lo * G * O, n->fusion.slope ? (T *)n->fusion.slope + lo * G * O : NULL,
                             (const T *)n->x[0] + lo * G * I, (hi - lo) * G, scratch);
}

static void FN(linear_backward_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    const int64_t G = n->dim[0], I = n->dim[1], O = n->dim[2];
    if (!n->dx[0]) return;
    FN(linear_backward_fused)(n, run, (T *)n->dx[0] + lo * G * I, (const T *)n->dy + lo * G * O,
                              n->fusion.gate.from ? (const T *)n->fusion.gate.from + lo * G * I : NULL, (hi - lo) * G, scratch);
}

/* Rows of W from `first` on, and what is updated with them. */
typedef struct FN(weight_block) {
    const fbp_node *node;
    const fbp_run *run;
    int64_t first;
    int64_t more;              /* elements behind the last row that are updated with it: those of b */
} FN(weight_block);

static void FN(finish_gradient)(const void *context, int64_t i, int64_t rows)
{
    const FN(weight_block) *block = context;
    const fbp_node *n = block->node;
    const int64_t I = n->dim[1], O = n->dim[2], row = block->first + i;
    fbp_update_piece(block->run->update, n, 0, row * O, rows * O + (row + rows == I ? block->more : 0));
    if (FN(has_transposed)(n, block->run))
        FN(transpose_block)((T *)n->prepared + row, I, (const T *)n->p[0] + row * O, O, rows, O);
}

/* dW = x^T dy for `rows` rows of W, of which x has the columns, over B rows; e finishes blocks of them. */
static FBP_INLINE void FN(linear_gradient_rows)(const fbp_node *n, T *dW /* (rows, O) */, const T *x /* (B, I) */,
                                                const T *dy /* (B, O) */, int64_t B, int64_t rows,
                                                const FN(epilogue) *e, void *scratch)
{
    const int64_t I = n->dim[1], O = n->dim[2];
    if (O == 1 || (scratch && FN(is_narrow)(O))) {
        const FN(epilogue) none = {0};
        if (O == 1) FN(gemm)(dW, rows, dy, 1, 1, x, I, 1, 1, rows, B, &none, NULL);
        else FN(linear_gradient_narrow)(dW, x, I, dy, B, rows, O, scratch);
        if (e->finish) e->finish(e->context, 0, rows);
        return;
    }
    FN(product_of)(n, dW, O, x, 1, I, dy, O, 1, rows, O, B, e, scratch);
}

/* The same over many rows, some rows of W at a time: as many as `part` has room for. */
static void FN(linear_gradient_long)(const fbp_node *n, T *dW, const T *x, const T *dy, int64_t B, int64_t rows,
                                     const FN(epilogue) *e, void *scratch)
{
    const int64_t I = n->dim[1], O = n->dim[2], most = FN(long_part) / O;
    const FN(epilogue) none = {0};
    T part[FN(long_part)];
    for (int64_t i = 0; i < rows; i += most) {
        const int64_t m = FN(min)(most, rows - i);
        for (int64_t b = 0; b < B; b += FN(long_sum)) {
            T *to = b ? part : dW + i * O;
            FN(linear_gradient_rows)(n, to, x + b * I + i, dy + b * O, FN(min)(FN(long_sum), B - b), m, &none, scratch);
            for (int64_t k = 0; b && k < m * O; k++) dW[i * O + k] += part[k];
        }
        if (e->finish) e->finish(e->context, i, m);
    }
}

/* run: where the node updates W at once; more: as in FN(weight_block) */
static void FN(linear_gradient_weight)(const fbp_node *n, const fbp_run *run, const T *x_all, const T *dy, int64_t B,
                                       int64_t lo, int64_t hi, int64_t more, void *scratch)
{
    const int64_t O = n->dim[2];
    const FN(weight_block) block = {.node = n, .run = run, .first = lo, .more = more};
    const T *x = x_all + lo;
    T *dW = (T *)n->dp[0] + lo * O;
    FN(epilogue) e = {0};
    if (run) {
        e.finish = FN(finish_gradient);
        e.context = &block;
    }
    if (B > FN(long_sum) && O <= FN(long_part)) FN(linear_gradient_long)(n, dW, x, dy, B, hi - lo, &e, scratch);
    else FN(linear_gradient_rows)(n, dW, x, dy, B, hi - lo, &e, scratch);
}

/* Whether b lies behind W and is updated alike, so that one call does both. */
static int32_t FN(bias_follows)(const fbp_node *n)
{
    const int64_t size = n->dim[1] * n->dim[2];
    return n->dp[0] && n->dp[1] && n->p[1] == (T *)n->p[0] + size && n->dp[1] == (T *)n->dp[0] + size &&
           n->decay[0] == n->decay[1] && n->rate[0] == n->rate[1];
}

static void FN(linear_gradient_phase)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    const int64_t I = n->dim[1], O = n->dim[2], B = run->rows * n->dim[0];
    const int32_t updates = n->fusion.updates && run->update, has_bias = n->dp[1] && lo == 0;
    const int32_t together = updates && has_bias && hi == I && FN(bias_follows)(n);
    if (has_bias) FN(column_sums)(n->dp[1], n->dy, B, O);
    if (has_bias && updates && !together) fbp_update_piece(run->update, n, 1, 0, O);
    if (n->dp[0] && lo < hi)
        FN(linear_gradient_weight)(n, updates ? run : NULL, n->x[0], n->dy, B, lo, hi, together ? O : 0, scratch);
}

static const fbp_phases FN(linear_phases) = {
    .prepare = FN(linear_prepare),
    .forward = FN(linear_forward_phase),
    .backward = FN(linear_backward_phase),
    .gradient = FN(linear_gradient_phase),
};

/* ---- kernels: scratch as in fastbp.h, or NULL ------------------------------------------------------------------- */

static void KERNEL(linear_forward)(T *restrict y /* (B, O) */, T *restrict z /* (B, O) or NULL */,
                                   const T *restrict x /* (B, I) */, const T *restrict W /* (I, O) */,
                                   const T *restrict b /* (O,) or NULL */, int64_t B, int64_t I, int64_t O, int32_t act,
                                   double alpha, void *scratch)
{
    const fbp_activation f = {.op = act, .alpha = alpha}, none = {.op = FBP_OP_identity};
    const fbp_node n = {.dim = {1, I, O}, .p = {(void *)W, (void *)b}, .fusion.act = z ? none : f};
    FN(linear_forward_fused)(&n, z ? z : y, NULL, x, B, scratch);
    if (z) FN(activate)(&f, y, NULL, z, B * O);
}

static void KERNEL(linear_backward_input)(T *restrict dx /* (B, I) */, const T *restrict dy /* (B, O) */,
                                          const T *restrict Wt /* (O, I) */, int64_t B, int64_t I, int64_t O,
                                          void *scratch)
{
    const fbp_node n = {.dim = {1, I, O}, .p = {O == 1 ? (void *)Wt : NULL}, .prepared = (void *)Wt,
                        .fusion.gate.op = FBP_OP_identity};
    const fbp_run run = {.rows = B};
    FN(linear_backward_fused)(&n, &run, dx, dy, NULL, B, scratch);
}

static void KERNEL(linear_backward_weight)(T *restrict dW /* (I, O) */, T *restrict db /* (O,) or NULL */,
                                           const T *restrict x /* (B, I) */, const T *restrict dy /* (B, O) */,
                                           int64_t B, int64_t I, int64_t O, void *scratch)
{
    const fbp_node n = {.dim = {1, I, O}, .dp = {dW}};
    FN(linear_gradient_weight)(&n, NULL, x, dy, B, 0, I, 0, scratch);
    if (db) FN(column_sums)(db, dy, B, O);
}

/* ---- linear_back: the same, the other way round ---------------------------------------------------------------- */

static void FN(linear_back_forward)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    const int64_t G = n->dim[0], I = n->dim[1], O = n->dim[2];
    FN(linear_backward_fused)(n, run, (T *)n->y + lo * G * I, (const T *)n->x[0] + lo * G * O, NULL, (hi - lo) * G, scratch);
}

static void FN(linear_back_backward)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    const int64_t G = n->dim[0], I = n->dim[1], O = n->dim[2];
    if (n->dx[0])
        FN(linear_forward_fused)(n, (T *)n->dx[0] + lo * G * O, NULL, (const T *)n->dy + lo * G * I, (hi - lo) * G, scratch);
}

static void FN(linear_back_gradient)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    const int32_t updates = n->fusion.updates && run->update;
    if (n->dp[0] && lo < hi)
        FN(linear_gradient_weight)(n, updates ? run : NULL, n->dy, n->x[0], run->rows * n->dim[0], lo, hi, 0,
                                   scratch);
}

static void KERNEL(linear_back_forward)(T *restrict y /* (B, I) */, const T *restrict x /* (B, O) */,
                                        const T *restrict W /* (I, O) */, int64_t B, int64_t I, int64_t O, void *scratch)
{
    const fbp_node n = {.dim = {1, I, O}, .p = {(void *)W}, .fusion.gate.op = FBP_OP_identity};
    const fbp_run run = {.rows = B};
    FN(linear_backward_fused)(&n, &run, y, x, NULL, B, scratch);
}

static const fbp_phases FN(linear_back_phases) = {
    .prepare = FN(linear_prepare),
    .forward = FN(linear_back_forward),
    .backward = FN(linear_back_backward),
    .gradient = FN(linear_back_gradient),
};
