/* periodic: y[o, i] = sum of cos(2 pi (x[i] w[f, i] + p[f, i])) V[f, o, i] over f, + b[o, i]; the twin of
 * fastbp/ops/periodic.py, where the gradient is derived. Features lie along the lanes of vectors.
 *
 * Node: x[0] (rows, G, I), y (rows, G, O, I), p[0] w (F, I), p[1] p (F, I), p[2] V (F, O, I), p[3] b (O, I); all their
 * gradients are wanted or none. dim[0] G, dim[1] I, dim[2] F, dim[3] O; units are frequencies, and with unit 0 also db.
 */

#if FBP_F64
/* sin(2 pi q) / q in q², |q| <= 1/4 */
#define FBP_TURN 6.283185307179586, -41.341702240399755, 81.60524927607341, -76.70585975279849, 42.058693923784524,   \
    -15.094641620493139, 3.8199270503024825, -0.7177235797461269, 0.10085633406670626
#else
#define FBP_TURN 6.2831854820251465f, -41.341678619384766f, 81.60223388671875f, -76.57498931884766f, 39.710899353027344f
#endif

static FBP_INLINE V FN(v_sine_of_turn)(V q)
{
    static const T c[] = {FBP_TURN};
    return q * FN(v_horner)(q * q, c, (int)(sizeof c / sizeof(T)));
}
#undef FBP_TURN

/* cos(2 pi u) and, if it is wanted, sin(2 pi u), with u = x w + p. Of u only what is left of a whole number counts, r in
 * [-1/2, 1/2], which has the digits that u has not; numbers too large for a fraction are taken as whole, infinities and
 * NaN give NaN. */
static FBP_INLINE V FN(v_wave)(V x, V w, V p, V *sine)
{
    const V round = FN(v_set1)(FBP_ROUND), u = FN(v_fma)(x, w, p), whole = (u + round) - round;
    const V left = FN(v_fma)(x, w, -whole) + p;
    const V r = FN(v_select)(FN(v_abs)(u) < (T)(FBP_ROUND / 3), left, u * (T)0), size = FN(v_abs)(r);
    if (sine) {
        const V near = FN(v_select)(size > (T)0.25, (T)0.5 - size, size);
        *sine = FN(v_sine_of_turn)(FN(v_copysign)(near, r));
    }
    return FN(v_sine_of_turn)((T)0.25 - size);
}

/* N outputs of one row from output o on, for one vector of features. */
static FBP_INLINE void FN(periodic_outputs)(const int N, T *y, V x, const T *w, const T *p, const T *weight, const T *b,
                                            int64_t I, int64_t F, int64_t O, int64_t n)
{
    V sum[4];
    FBP_UNROLL
    for (int o = 0; o < N; o++) sum[o] = FN(v_load_up_to)(b + o * I, n);
    for (int64_t f = 0; f < F; f++) {
        const V wave = FN(v_wave)(x, FN(v_load_up_to)(w + f * I, n), FN(v_load_up_to)(p + f * I, n), NULL);
        FBP_UNROLL
        for (int o = 0; o < N; o++) sum[o] = FN(v_fma)(wave, FN(v_load_up_to)(weight + (f * O + o) * I, n), sum[o]);
    }
    FBP_UNROLL
    for (int o = 0; o < N; o++) FN(v_store_up_to)(y + o * I, sum[o], n);
}

static void FN(periodic_values)(T *y /* (R, O, I) */, const T *x /* (R, I) */, const T *w /* (F, I) */,
                                     const T *p /* (F, I) */, const T *weight /* (F, O, I) */, const T *b /* (O, I) */,
                                     int64_t R, int64_t O, int64_t I, int64_t F)
{
    for (int64_t i = 0; i < I; i += VL) {
        const int64_t n = I - i;
        for (int64_t r = 0; r < R; r++) {
            const V x_i = FN(v_load_up_to)(x + r * I + i, n);
            for (int64_t o = 0; o < O; o += 4) {
                T *to = y + (r * O + o) * I + i;
                const T *from = weight + o * I + i, *bias = b + o * I + i;
                if (O - o >= 4) FN(periodic_outputs)(4, to, x_i, w + i, p + i, from, bias, I, F, O, n);
                else if (O - o == 3) FN(periodic_outputs)(3, to, x_i, w + i, p + i, from, bias, I, F, O, n);
                else if (O - o == 2) FN(periodic_outputs)(2, to, x_i, w + i, p + i, from, bias, I, F, O, n);
                else FN(periodic_outputs)(1, to, x_i, w + i, p + i, from, bias, I, F, O, n);
            }
        }
    }
}

/* The gradient of the phase of frequency f in one row, for one vector of features; the wave itself as well. */
static FBP_INLINE V FN(periodic_phase_gradient)(V x, const T *dy, const T *w, const T *p, const T *weight, int64_t I,
                                                int64_t O, int64_t n, V *wave)
{
    V sine, g = {0};
    *wave = FN(v_wave)(x, FN(v_load_up_to)(w, n), FN(v_load_up_to)(p, n), &sine);
    for (int64_t o = 0; o < O; o++)
        g = FN(v_fma)(FN(v_load_up_to)(dy + o * I, n), FN(v_load_up_to)(weight + o * I, n), g);
    return g * sine * (T)-6.283185307179586;
}

static void FN(periodic_inputs)(T *dx /* (R, I) */, const T *dy /* (R, O, I) */, const T *x /* (R, I) */,
                                            const T *w /* (F, I) */, const T *p /* (F, I) */,
                                            const T *weight /* (F, O, I) */, int64_t R, int64_t O, int64_t I, int64_t F)
{
    for (int64_t r = 0; r < R; r++)
        for (int64_t i = 0; i < I; i += VL) {
            const int64_t n = I - i;
            const V x_i = FN(v_load_up_to)(x + r * I + i, n);
            V sum = {0}, wave;
            for (int64_t f = 0; f < F; f++) {
                const V s = FN(periodic_phase_gradient)(x_i, dy + r * O * I + i, w + f * I + i, p + f * I + i,
                                                        weight + f * O * I + i, I, O, n, &wave);
                sum = FN(v_fma)(s, FN(v_load_up_to)(w + f * I + i, n), sum);
            }
            FN(v_store_up_to)(dx + r * I + i, sum, n);
        }
}

/* All sums of one frequency: N of the outputs from o on, and, with o = 0, those of frequency and phase. */
static FBP_INLINE void FN(periodic_sums)(const int N, T *dw, T *dp, T *dweight, const T *dy, const T *x, const T *w,
                                         const T *p, const T *weight, int64_t R, int64_t O, int64_t I, int64_t o,
                                         int64_t n)
{
    V all[6] = {{0}};
    for (int64_t r = 0; r < R;) {
        V block[6] = {{0}};
        for (const int64_t stop = FN(min)(r + FBP_BLOCK, R); r < stop; r++) {
            const V x_i = FN(v_load_up_to)(x + r * I, n);
            V wave;
            const V s = FN(periodic_phase_gradient)(x_i, dy + r * O * I, w, p, weight, I, O, n, &wave);
            FBP_UNROLL
            for (int k = 0; k < N; k++)
                block[k] = FN(v_fma)(wave, FN(v_load_up_to)(dy + (r * O + o + k) * I, n), block[k]);
            block[4] = FN(v_fma)(s, x_i, block[4]);
            block[5] += s;
        }
        FBP_UNROLL
        for (int k = 0; k < 6; k++) all[k] += block[k];
    }
    FBP_UNROLL
    for (int k = 0; k < N; k++) FN(v_store_up_to)(dweight + (o + k) * I, all[k], n);
    if (o > 0) return;
    FN(v_store_up_to)(dw, all[4], n);
    FN(v_store_up_to)(dp, all[5], n);
}

/* Frequencies lo to hi. */
static void FN(periodic_gradients)(T *dw, T *dp, T *dweight, T *db, const T *dy, const T *x, const T *w, const T *p,
                                   const T *weight, int64_t R, int64_t O, int64_t I, int64_t lo, int64_t hi)
{
    for (int64_t f = lo; f < hi; f++)
        for (int64_t i = 0; i < I; i += VL)
            for (int64_t o = 0; o < O; o += 4) {
                const int64_t wave = f * I + i, map = f * O * I + i;
#define FBP_SUMS(N) FN(periodic_sums)(N, dw + wave, dp + wave, dweight + map, dy + i, x + i, w + wave, p + wave,       \
                                      weight + map, R, O, I, o, I - i)
                if (O - o >= 4) FBP_SUMS(4);
                else if (O - o == 3) FBP_SUMS(3);
                else if (O - o == 2) FBP_SUMS(2);
                else FBP_SUMS(1);
#undef FBP_SUMS
            }
    if (lo == 0) FN(column_sums)(db, dy, R, O * I);
}

static void FN(periodic_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t G = n->dim[0], I = n->dim[1], F = n->dim[2], O = n->dim[3], row = lo * G;
    FN(periodic_values)((T *)n->y + row * O * I, (const T *)n->x[0] + row * I, n->p[0], n->p[1], n->p[2], n->p[3],
                             (hi - lo) * G, O, I, F);
}

static void FN(periodic_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t G = n->dim[0], I = n->dim[1], F = n->dim[2], O = n->dim[3], row = lo * G;
    if (!n->dx[0]) return;
    FN(periodic_inputs)((T *)n->dx[0] + row * I, (const T *)n->dy + row * O * I,
                                    (const T *)n->x[0] + row * I, n->p[0], n->p[1], n->p[2], (hi - lo) * G, O, I, F);
}

static void FN(periodic_gradient)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    if (n->dp[0])
        FN(periodic_gradients)(n->dp[0], n->dp[1], n->dp[2], n->dp[3], n->dy, n->x[0], n->p[0], n->p[1], n->p[2],
                               run->rows * n->dim[0], n->dim[3], n->dim[1], lo, hi);
}

static const fbp_phases FN(periodic_phases) = {
    .forward = FN(periodic_forward_rows),
    .backward = FN(periodic_backward_rows),
    .gradient = FN(periodic_gradient),
};
