/* attention: y = softmax(q kt / sqrt(D) + mask) v, head by head; the twin of fastbp/ops/attention.py, where the gradient
 * is derived.
 *
 * Node: dim[0] Tq, dim[1] Tk, dim[2] heads, dim[3] heads of keys, dim[4] D, dim[5] causal, dim[6] cross, dim[7] is there a
 * padding mask, dim[8] an additive one. x[0] (rows, Tq, (heads + 2 kv) D), q, k and v side by side; or, if cross, x[0] q
 * and x[1] k and v (rows, Tk, 2 kv D). Then the masks: int64 (rows, Tk), (rows, Tq, Tk). y (rows, Tq, heads D). save[0]
 * (rows, heads, Tq): log of the sum of exp(scores). attr[0] 1 / sqrt(D).
 *
 * Scores are made for FBP_QUERIES queries and FBP_KEYS keys at a time, and are never whole: forward keeps a running
 * maximum and sum of each query, and scales what it has when the maximum grows; backward makes them again.
 */

#ifndef FBP_QUERIES
#define FBP_QUERIES 64
#define FBP_KEYS 128
#endif

/* One head of one sample. Rows of q, k, v and y are apart by ldq, ldk, ldk and ldy; so are those of the gradients. */
typedef struct FN(head) {
    int64_t Tq, Tk, D, ldq, ldk, ldy, late;   /* late: query i sees the keys before i + late, if causal; else all */
    const T *q, *k, *v, *mask, *dy;
    const int64_t *padding;
    T *y, *lse, *dq, *dk, *dv, *dmask;
    T scale;
    int32_t first_of_keys, first_head;        /* is it the first that adds to dk and dv, to dmask? */
    /* scratch memory: (D, FBP_KEYS) twice, (FBP_QUERIES, FBP_KEYS) twice, (FBP_KEYS), (Tq) */
    T *kt, *vt, *p, *dp, *hidden, *mean;
} FN(head);

static FN(head) FN(head_of)(const fbp_node *n, int64_t row, int64_t h, void *scratch)
{
    const int64_t *d = n->dim, Tq = d[0], Tk = d[1], H = d[2], K = d[3], D = d[4], group = h / (H / K);
    const int32_t cross = d[6] != 0;
    FN(head) a = {.Tq = Tq, .Tk = Tk, .D = D, .ldy = H * D, .scale = (T)n->attr[0]};
    a.late = d[5] ? Tk - Tq + 1 : Tk;
    a.ldq = cross ? H * D : (H + 2 * K) * D;
    a.ldk = cross ? 2 * K * D : a.ldq;
    const int64_t q_at = row * Tq * a.ldq + h * D, k_at = row * Tk * a.ldk + (cross ? 0 : H * D) + group * D;
    T *const dx_k = cross ? n->dx[1] : n->dx[0];
    a.q = (const T *)n->x[0] + q_at;
    a.k = (const T *)n->x[cross] + k_at;
    a.v = a.k + K * D;
    a.y = (T *)n->y + row * Tq * a.ldy + h * D;
    a.dy = n->dy ? (const T *)n->dy + row * Tq * a.ldy + h * D : NULL;
    a.lse = (T *)n->save[0] + (row * H + h) * Tq;
    a.dq = n->dx[0] ? (T *)n->dx[0] + q_at : NULL;
    a.dk = dx_k ? dx_k + k_at : NULL;
    a.dv = dx_k ? a.dk + K * D : NULL;
    a.padding = d[7] ? (const int64_t *)n->x[1 + cross] + row * Tk : NULL;
    const int64_t mask = 1 + cross + (d[7] != 0);
    a.mask = d[8] ? (const T *)n->x[mask] + row * Tq * Tk : NULL;
    a.dmask = d[8] && n->dx[mask] ? (T *)n->dx[mask] + row * Tq * Tk : NULL;
    a.first_of_keys = h % (H / K) == 0;
    a.first_head = h == 0;
    a.kt = (T *)((char *)scratch + FBP_WINDOW_AT);
    a.vt = a.kt + D * FBP_KEYS;
    a.p = a.vt + D * FBP_KEYS;
    a.dp = a.p + FBP_QUERIES * FBP_KEYS;
    a.hidden = a.dp + FBP_QUERIES * FBP_KEYS;
    a.mean = a.hidden + FBP_KEYS;
    return a;
}

/* C (M, N) (+)= A (M, K) B (K, N), for any K. */
static void FN(long_product)(T *C, int64_t ldc, const T *A, int64_t a_row, int64_t a_k, const T *B, int64_t ldb, int64_t M,
                             int64_t N, int64_t K, int32_t first, void *scratch)
{
    const FN(epilogue) none = {0};
    for (int64_t k = 0, n; k < K; k += n) {
        n = FN(min)(FBP_KC, K - k);
        FN(part_product)(C, ldc, A + k * a_k, a_row, a_k, B + k * ldb, ldb, M, N, n, first && k == 0, 1, &none, scratch);
    }
}

/* The scores of queries i to i + M and keys j to j + N, in p: scaled, masked, and -inf where a query may not look. */
static void FN(scores)(const FN(head) *a, int64_t i, int64_t M, int64_t j, int64_t N, void *scratch)
{
    FN(long_product)(a->p, FBP_KEYS, a->q + i * a->ldq, a->ldq, 1, a->kt, FBP_KEYS, M, N, a->D, 1, scratch);
    const V scale = FN(v_set1)(a->scale), never = FN(v_set1)((T)-INFINITY);
    for (int64_t r = 0; r < M; r++) {
        T *p = a->p + r * FBP_KEYS;
        const int64_t seen = i + r + a->late - j;
        for (int64_t c = 0; c < N; c += VL) {
            const int64_t n = N - c;
            V s = FN(v_load_up_to)(p + c, n) * scale;
            if (a->mask) s += FN(v_load_up_to)(a->mask + (i + r) * a->Tk + j + c, n);
            if (a->padding) s = FN(v_select)(FN(v_load_up_to)(a->hidden + c, n) != 0, never, s);
            if (seen < c + VL && seen < N) s = FN(v_select)(FN(v_lane)() < FN(v_set1i)((TI)(seen - c)), s, never);
            FN(v_store_up_to)(p + c, s, n);
        }
    }
}

/* The keys, and the values, of j to j + N as columns, and which of them are hidden. */
static void FN(turn_keys)(const FN(head) *a, int64_t j, int64_t N, int32_t values)
{
    FN(transpose_block)(a->kt, FBP_KEYS, a->k + j * a->ldk, a->ldk, N, a->D);
    for (int64_t c = 0; c < N && a->padding; c++) a->hidden[c] = a->padding[j + c] != 0;
    if (values) FN(transpose_block)(a->vt, FBP_KEYS, a->v + j * a->ldk, a->ldk, N, a->D);
}

/* Row r of p: exp(p - its maximum), with what came before scaled to the new maximum. most and sum are the query's. */
static void FN(soften)(T *p, int64_t N, T *most, T *sum, T *y, int64_t D, int32_t first)
{
    const V never = FN(v_set1)((T)-INFINITY);
    V peak = first ? never : FN(v_set1)(*most), total = {0};
    for (int64_t c = 0; c < N; c += VL) {
        const V s = FN(v_load_up_to)(p + c, N - c);
        peak = FN(v_max)(peak, N - c >= VL ? s : FN(v_select)(FN(v_lane)() < FN(v_set1i)((TI)(N - c)), s, never));
    }
    const T now = FN(v_hmax)(peak);
    for (int64_t c = 0; c < N; c += VL) {
        const V e = FN(v_first)(FN(v_exp)(FN(v_load_up_to)(p + c, N - c) - FN(v_set1)(now)), N - c);
        total += e;
        FN(v_store_up_to)(p + c, e, N - c);
    }
    T before = 0;
    if (!first && *most == now) before = *sum;
    else if (!first) {
        const T factor = FN(v_exp)(FN(v_set1)(*most - now))[0];
        before = *sum * factor;
        for (int64_t d = 0; d < D; d += VL) FN(v_store_up_to)(y + d, FN(v_load_up_to)(y + d, D - d) * factor, D - d);
    }
    *sum = before + FN(v_sum)(total);
    *most = now;
}

static void FN(attend)(const FN(head) *a, void *scratch)
{
    for (int64_t j = 0, N; j < a->Tk; j += N) {
        N = FN(min)(FBP_KEYS, a->Tk - j);
        FN(turn_keys)(a, j, N, 0);
        for (int64_t i = 0, M; i < a->Tq; i += M) {
            M = FN(min)(FBP_QUERIES, a->Tq - i);
            if (i + M - 1 + a->late <= j) continue;           /* later keys, which no query of these may see */
            FN(scores)(a, i, M, j, N, scratch);
            for (int64_t r = 0; r < M; r++) {
                T *y = a->y + (i + r) * a->ldy;
                /* the sum waits where backward looks for its logarithm; the maximum needs a place of its own */
                FN(soften)(a->p + r * FBP_KEYS, N, a->mean + i + r, a->lse + i + r, y, a->D, j == 0);
            }
            FN(long_product)(a->y + i * a->ldy, a->ldy, a->p, FBP_KEYS, 1, a->v + j * a->ldk, a->ldk, M, a->D, N, j == 0,
                             scratch);
        }
    }
    for (int64_t i = 0; i < a->Tq; i++) {
        T *y = a->y + i * a->ldy;
        const T sum = a->lse[i];
        for (int64_t d = 0; d < a->D; d += VL) FN(v_store_up_to)(y + d, FN(v_load_up_to)(y + d, a->D - d) / sum, a->D - d);
        a->lse[i] = a->mean[i] + FN(v_log)(FN(v_set1)(sum))[0];
    }
}

static T FN(dot)(const T *x, const T *y, int64_t n)
{
    V sum = {0};
    for (int64_t i = 0; i < n; i += VL) sum = FN(v_fma)(FN(v_load_up_to)(x + i, n - i), FN(v_load_up_to)(y + i, n - i), sum);
    return FN(v_sum)(sum);
}

/* p := P, dp := the gradient of the scaled scores; both of queries i to i + M and N keys from j on. */
static void FN(score_gradients)(const FN(head) *a, int64_t i, int64_t M, int64_t j, int64_t N)
{
    const V scale = FN(v_set1)(a->scale);
    for (int64_t r = 0; r < M; r++) {
        T *p = a->p + r * FBP_KEYS, *dp = a->dp + r * FBP_KEYS;
        T *dmask = a->dmask ? a->dmask + (i + r) * a->Tk + j : NULL;
        const V lse = FN(v_set1)(a->lse[i + r]), mean = FN(v_set1)(a->mean[i + r]);
        for (int64_t c = 0; c < N; c += VL) {
            const int64_t n = N - c;
            const V share = FN(v_exp)(FN(v_load_up_to)(p + c, n) - lse);
            const V ds = share * (FN(v_load_up_to)(dp + c, n) - mean);
            FN(v_store_up_to)(p + c, share, n);
            FN(v_store_up_to)(dp + c, ds * scale, n);
            if (dmask) FN(v_store_up_to)(dmask + c, a->first_head ? ds : FN(v_load_up_to)(dmask + c, n) + ds, n);
        }
    }
}

static void FN(attend_back)(const FN(head) *a, void *scratch)
{
    for (int64_t i = 0; i < a->Tq; i++) a->mean[i] = FN(dot)(a->dy + i * a->ldy, a->y + i * a->ldy, a->D);
    if (a->dmask && a->first_head) memset(a->dmask, 0, (size_t)(a->Tq * a->Tk) * sizeof(T));
    for (int64_t j = 0, N; j < a->Tk; j += N) {
        int32_t first = a->first_of_keys;
        N = FN(min)(FBP_KEYS, a->Tk - j);
        FN(turn_keys)(a, j, N, 1);
        for (int64_t i = 0, M; i < a->Tq; i += M) {
            M = FN(min)(FBP_QUERIES, a->Tq - i);
            if (i + M - 1 + a->late <= j) continue;
            const T *dy = a->dy + i * a->ldy;
            FN(scores)(a, i, M, j, N, scratch);
            FN(long_product)(a->dp, FBP_KEYS, dy, a->ldy, 1, a->vt, FBP_KEYS, M, N, a->D, 1, scratch);
            FN(score_gradients)(a, i, M, j, N);
            if (a->dk) {
                FN(long_product)(a->dv + j * a->ldk, a->ldk, a->p, 1, FBP_KEYS, dy, a->ldy, N, a->D, M, first, scratch);
                FN(long_product)(a->dk + j * a->ldk, a->ldk, a->dp, 1, FBP_KEYS, a->q + i * a->ldq, a->ldq, N, a->D, M,
                                 first, scratch);
            }
            if (a->dq)
                FN(long_product)(a->dq + i * a->ldq, a->ldq, a->dp, FBP_KEYS, 1, a->k + j * a->ldk, a->ldk, M, a->D, N,
                                 j == 0, scratch);
            first = 0;
        }
        if (first && a->dk)                                     /* keys that no query sees */
            for (int64_t r = j; r < j + N; r++) {
                memset(a->dk + r * a->ldk, 0, (size_t)a->D * sizeof(T));
                memset(a->dv + r * a->ldk, 0, (size_t)a->D * sizeof(T));
            }
    }
}

static void FN(attention_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    for (int64_t row = lo; row < hi; row++)
        for (int64_t h = 0; h < n->dim[2]; h++) {
            const FN(head) a = FN(head_of)(n, row, h, scratch);
            FN(attend)(&a, scratch);
        }
}

static void FN(attention_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run;
    for (int64_t row = lo; row < hi; row++)
        for (int64_t h = 0; h < n->dim[2]; h++) {
            const FN(head) a = FN(head_of)(n, row, h, scratch);
            FN(attend_back)(&a, scratch);
        }
}

static const fbp_phases FN(attention_phases) = {
    .forward = FN(attention_forward_rows),
    .backward = FN(attention_backward_rows),
};
