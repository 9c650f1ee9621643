/* rnn, gru, lstm: one layer in one direction; the twins of fastbp/ops/recurrent.py, where the gradients are derived.
 *
 * Node: x[0] z (rows, T, G H), what the input gives to the G gates; then, as dim says, the state before (rows, H) each,
 * and lengths, int64 (rows, 1). y (rows, T + more, H). p[0] W (H, G H); gru: p[1] b (H,) or NULL. prepared: W transposed, (G H, H).
 * dim[0] T, dim[1] H, dim[2] how many rows of y are the last state, dim[3] reverse, dim[4] is the state before given,
 * dim[5] are lengths, dim[6] rnn: relu in the place of tanh, dim[7] G H. Units are rows of W.
 *
 * save[0] (rows, T, G H)   gates, after their activations; backward leaves the gradient of h W there
 * save[1] (rows, T, H)     h before each step
 * save[2] (rows, S H)      the state after the last step, and in backward its gradient: h, and c of an lstm (S = 2)
 * save[3] (rows, T, H)     gru: h W + b of the gate n; lstm: c before each step
 * save[4] (rows, T, H)     lstm: tanh of c after each step
 *
 * A tile of rows goes through all steps while W is in the cache.
 */

enum { FN(kind_rnn), FN(kind_gru), FN(kind_lstm) };

typedef struct FN(recurrent) {
    int64_t T_, H, GH, S, more;      /* steps, features, of all gates, vectors of the state, rows of y beyond T */
    int32_t reverse, initial, relu;
    const T *z, *W, *Wt, *bias, *dy;
    const int64_t *lengths;
    T *y, *dz, *gates, *before, *state, *kept, *tanh_c;
} FN(recurrent);

static FBP_INLINE FN(recurrent) FN(recurrent_of)(const int kind, const fbp_node *n)
{
    const int64_t *d = n->dim, gates = kind == FN(kind_rnn) ? 1 : kind == FN(kind_gru) ? 3 : 4;
    const int64_t S = kind == FN(kind_lstm) ? 2 : 1;
    return (FN(recurrent)){
        .T_ = d[0], .H = d[1], .GH = gates * d[1], .S = S, .more = d[2], .reverse = d[3] != 0, .initial = d[4] != 0,
        .relu = d[6] != 0, .z = n->x[0], .W = n->p[0], .Wt = n->prepared, .bias = n->p[1],
        .lengths = d[5] ? n->x[1 + (d[4] ? S : 0)] : NULL, .dy = n->dy, .y = n->y, .dz = n->dx[0], .gates = n->save[0],
        .before = n->save[1], .state = n->save[2], .kept = n->save[3], .tanh_c = n->save[4]};
}

/* C (M, N) (+)= A (M, K) B (K, N), B's rows without gaps between them. */
static void FN(step_product)(T *C, int64_t ldc, const T *A, int64_t lda, const T *B, int64_t M, int64_t N, int64_t K,
                             int32_t first, void *scratch)
{
    const FN(epilogue) none = {0};
    for (int64_t k = 0, n; k < K; k += n) {
        n = FN(min)(FBP_KC, K - k);
        FN(part_product)(C, ldc, A + k, lda, 1, B + k * N, N, M, N, n, first && k == 0, 1, &none, scratch);
    }
}

static inline int32_t FN(is_live)(const FN(recurrent) *p, int64_t r, int64_t t)
{
    return !p->lengths || t < p->lengths[r];
}

/* One step of row r: h and c in the state become those after step t. */
static FBP_INLINE void FN(recurrent_step)(const int kind, const FN(recurrent) *p, int64_t r, int64_t t)
{
    const int64_t H = p->H, at = r * p->T_ + t;
    T *g = p->gates + at * p->GH, *h = p->state + r * p->S * H, *y = p->y + (r * (p->T_ + p->more) + t) * H;
    const T *z = p->z + at * p->GH, *before = p->before + at * H;
    if (!FN(is_live)(p, r, t)) {
        memset(y, 0, (size_t)H * sizeof(T));
        return;
    }
    for (int64_t v = 0; v < H; v += VL) {
        const int64_t n = H - v;
        V now;
        if (kind == FN(kind_rnn)) {
            const V a = FN(v_load_up_to)(z + v, n) + FN(v_load_up_to)(g + v, n);
            now = p->relu ? FN(v_max)((V){0}, a) : FN(v_tanh)(a);
            FN(v_store_up_to)(g + v, now, n);
        } else if (kind == FN(kind_gru)) {
            const V u = FN(v_load_up_to)(g + 2 * H + v, n) + (p->bias ? FN(v_load_up_to)(p->bias + v, n) : (V){0});
            const V reset = FN(v_sigmoid)(FN(v_load_up_to)(z + v, n) + FN(v_load_up_to)(g + v, n));
            const V stay = FN(v_sigmoid)(FN(v_load_up_to)(z + H + v, n) + FN(v_load_up_to)(g + H + v, n));
            const V new = FN(v_tanh)(FN(v_fma)(reset, u, FN(v_load_up_to)(z + 2 * H + v, n)));
            now = FN(v_fma)(stay, FN(v_load_up_to)(before + v, n) - new, new);
            FN(v_store_up_to)(p->kept + at * H + v, u, n);
            FN(v_store_up_to)(g + v, reset, n);
            FN(v_store_up_to)(g + H + v, stay, n);
            FN(v_store_up_to)(g + 2 * H + v, new, n);
        } else {
            const V in = FN(v_sigmoid)(FN(v_load_up_to)(z + v, n) + FN(v_load_up_to)(g + v, n));
            const V forget = FN(v_sigmoid)(FN(v_load_up_to)(z + H + v, n) + FN(v_load_up_to)(g + H + v, n));
            const V cell = FN(v_tanh)(FN(v_load_up_to)(z + 2 * H + v, n) + FN(v_load_up_to)(g + 2 * H + v, n));
            const V out = FN(v_sigmoid)(FN(v_load_up_to)(z + 3 * H + v, n) + FN(v_load_up_to)(g + 3 * H + v, n));
            const V c_before = FN(v_load_up_to)(h + H + v, n), c = FN(v_fma)(forget, c_before, in * cell);
            const V squashed = FN(v_tanh)(c);
            now = out * squashed;
            FN(v_store_up_to)(p->kept + at * H + v, c_before, n);
            FN(v_store_up_to)(p->tanh_c + at * H + v, squashed, n);
            FN(v_store_up_to)(h + H + v, c, n);
            FN(v_store_up_to)(g + v, in, n);
            FN(v_store_up_to)(g + H + v, forget, n);
            FN(v_store_up_to)(g + 2 * H + v, cell, n);
            FN(v_store_up_to)(g + 3 * H + v, out, n);
        }
        FN(v_store_up_to)(h + v, now, n);
        FN(v_store_up_to)(y + v, now, n);
    }
}

/* One step back: the gradient of the state becomes that of the state before step t, but for what reaches it by W. */
static FBP_INLINE void FN(recurrent_step_back)(const int kind, const FN(recurrent) *p, int64_t r, int64_t t)
{
    const int64_t H = p->H, at = r * p->T_ + t;
    T *g = p->gates + at * p->GH, *dh = p->state + r * p->S * H, *dz = p->dz ? p->dz + at * p->GH : NULL;
    const T *dy = p->dy + (r * (p->T_ + p->more) + t) * H;
    if (!FN(is_live)(p, r, t)) {
        memset(g, 0, (size_t)p->GH * sizeof(T));
        if (dz) memset(dz, 0, (size_t)p->GH * sizeof(T));
        return;
    }
    const V one = FN(v_set1)(1);
    for (int64_t v = 0; v < H; v += VL) {
        const int64_t n = H - v;
        const V d = FN(v_load_up_to)(dh + v, n) + FN(v_load_up_to)(dy + v, n);
        V da[4], du, back = {0};
        if (kind == FN(kind_rnn)) {
            const V h = FN(v_load_up_to)(g + v, n);
            da[0] = du = p->relu ? FN(v_gate)(h, d) : d * FN(v_fma)(-h, h, one);
        } else if (kind == FN(kind_gru)) {
            const V reset = FN(v_load_up_to)(g + v, n), stay = FN(v_load_up_to)(g + H + v, n);
            const V new = FN(v_load_up_to)(g + 2 * H + v, n), u = FN(v_load_up_to)(p->kept + at * H + v, n);
            const V before = FN(v_load_up_to)(p->before + at * H + v, n);
            da[2] = d * (one - stay) * FN(v_fma)(-new, new, one);
            da[0] = da[2] * u * reset * (one - reset);
            da[1] = d * (before - new) * stay * (one - stay);
            du = da[2] * reset;
            back = d * stay;
        } else {
            const V in = FN(v_load_up_to)(g + v, n), forget = FN(v_load_up_to)(g + H + v, n);
            const V cell = FN(v_load_up_to)(g + 2 * H + v, n), out = FN(v_load_up_to)(g + 3 * H + v, n);
            const V c_before = FN(v_load_up_to)(p->kept + at * H + v, n);
            const V squashed = FN(v_load_up_to)(p->tanh_c + at * H + v, n);
            const V dc = FN(v_fma)(d * out, FN(v_fma)(-squashed, squashed, one), FN(v_load_up_to)(dh + H + v, n));
            da[0] = dc * cell * in * (one - in);
            da[1] = dc * c_before * forget * (one - forget);
            da[2] = dc * in * FN(v_fma)(-cell, cell, one);
            da[3] = du = d * squashed * out * (one - out);
            FN(v_store_up_to)(dh + H + v, dc * forget, n);
        }
        FN(v_store_up_to)(dh + v, back, n);
        const int gates = kind == FN(kind_rnn) ? 1 : kind == FN(kind_gru) ? 3 : 4;
        FBP_UNROLL
        for (int i = 0; i < gates; i++) {
            FN(v_store_up_to)(g + i * H + v, i == gates - 1 ? du : da[i], n);
            if (dz) FN(v_store_up_to)(dz + i * H + v, da[i], n);
        }
    }
}

static FBP_INLINE void FN(recurrent_forward)(const int kind, const fbp_node *n, int64_t lo, int64_t hi, void *scratch)
{
    const FN(recurrent) p = FN(recurrent_of)(kind, n);
    const int64_t H = p.H, T_ = p.T_, size = (int64_t)sizeof(T);
    for (int64_t r = lo; r < hi; r++)
        for (int64_t s = 0; s < p.S; s++) {
            T *to = p.state + (r * p.S + s) * H;
            if (p.initial) memcpy(to, (const T *)n->x[1 + s] + r * H, (size_t)(H * size));
            else memset(to, 0, (size_t)(H * size));
        }
    for (int64_t i = 0; i < T_; i++) {
        const int64_t t = p.reverse ? T_ - 1 - i : i;
        for (int64_t r = lo; r < hi; r++)
            memcpy(p.before + (r * T_ + t) * H, p.state + r * p.S * H, (size_t)(H * size));
        FN(step_product)(p.gates + (lo * T_ + t) * p.GH, T_ * p.GH, p.before + (lo * T_ + t) * H, T_ * H, p.W, hi - lo,
                         p.GH, H, 1, scratch);
        for (int64_t r = lo; r < hi; r++) FN(recurrent_step)(kind, &p, r, t);
    }
    for (int64_t r = lo; r < hi; r++)
        memcpy(p.y + (r * (T_ + p.more) + T_) * H, p.state + r * p.S * H, (size_t)(p.more * H * size));
}

static FBP_INLINE void FN(recurrent_backward)(const int kind, const fbp_node *n, int64_t lo, int64_t hi, void *scratch)
{
    const FN(recurrent) p = FN(recurrent_of)(kind, n);
    const int64_t H = p.H, T_ = p.T_, size = (int64_t)sizeof(T), ends = p.S * H * size;
    for (int64_t r = lo; r < hi; r++) {
        if (p.more) memcpy(p.state + r * p.S * H, p.dy + (r * (T_ + p.more) + T_) * H, (size_t)ends);
        else memset(p.state + r * p.S * H, 0, (size_t)ends);
    }
    for (int64_t i = T_ - 1; i >= 0; i--) {
        const int64_t t = p.reverse ? T_ - 1 - i : i;
        for (int64_t r = lo; r < hi; r++) FN(recurrent_step_back)(kind, &p, r, t);
        if (i || p.initial)
            FN(step_product)(p.state + lo * p.S * H, p.S * H, p.gates + (lo * T_ + t) * p.GH, T_ * p.GH, p.Wt, hi - lo, H,
                             p.GH, 0, scratch);
    }
    for (int64_t s = 0; s < p.S && p.initial; s++)
        for (int64_t r = lo; r < hi && n->dx[1 + s]; r++)
            memcpy((T *)n->dx[1 + s] + r * H, p.state + (r * p.S + s) * H, (size_t)(H * size));
}

static void FN(recurrent_prepare)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t H = n->dim[1], GH = n->dim[7];
    if (n->prepared) FN(transpose_block)((T *)n->prepared + lo, H, (const T *)n->p[0] + lo * GH, GH, hi - lo, GH);
}

/* dW of the rows lo to hi: the sum over rows and steps of h before, times the gradient of h W; with row 0 also db. If
 * the node updates, they are applied at once. */
static void FN(recurrent_gradient)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    const int64_t H = n->dim[1], steps = run->rows * n->dim[0], GH = n->dim[7];
    const FN(epilogue) none = {0};
    fbp_update_plan *update = n->fusion.updates ? run->update : NULL;
    if (n->dp[0] && lo < hi) {
        T *dW = (T *)n->dp[0] + lo * GH;
        FN(gemm)(dW, GH, (const T *)n->save[1] + lo, 1, H, n->save[0], GH, 1, hi - lo, GH, steps, &none, scratch);
        if (update) {
            fbp_update_piece(update, n, 0, lo * GH, (hi - lo) * GH);
            FN(recurrent_prepare)(n, run, lo, hi, scratch);
        }
    }
    if (n->dp[1] && lo == 0) {
        T *db = n->dp[1];
        memset(db, 0, (size_t)H * sizeof(T));
        for (int64_t r = 0; r < steps; r++) {
            const T *du = (const T *)n->save[0] + r * GH + GH - H;
            for (int64_t v = 0; v < H; v += VL)
                FN(v_store_up_to)(db + v, FN(v_load_up_to)(db + v, H - v) + FN(v_load_up_to)(du + v, H - v), H - v);
        }
        if (update) fbp_update_piece(update, n, 1, 0, H);
    }
}

#define FBP_RECURRENT(name)                                                                                      \
    static void FN(name##_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi,           \
                                        void *scratch)                                                           \
    {                                                                                                            \
        (void)run;                                                                                               \
        FN(recurrent_forward)(FN(kind_##name), n, lo, hi, scratch);                                              \
    }                                                                                                            \
    static void FN(name##_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi,          \
                                         void *scratch)                                                          \
    {                                                                                                            \
        (void)run;                                                                                               \
        FN(recurrent_backward)(FN(kind_##name), n, lo, hi, scratch);                                             \
    }                                                                                                            \
    static const fbp_phases FN(name##_phases) = {                                                                \
        .prepare = FN(recurrent_prepare),                                                                        \
            .forward = FN(name##_forward_rows),                                                                      \
        .backward = FN(name##_backward_rows),                                                                    \
        .gradient = FN(recurrent_gradient),                                                                      \
    };
FBP_RECURRENT(rnn)
FBP_RECURRENT(gru)
FBP_RECURRENT(lstm)
#undef FBP_RECURRENT
