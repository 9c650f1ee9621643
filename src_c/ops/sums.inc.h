/* The sums that softmax and the normalisations are made of, over a row or down some columns.
 *
 *   FN(values)       sum of x
 *   FN(deviations)   sum of d = x - mean, and of d^2: a mean that was rounded is put right by the sum of d, and the
 *                    variance by its square. Chan, Golub and LeVeque (1983), "Algorithms for computing the sample
 *                    variance", https://doi.org/10.1080/00031305.1983.10483115
 *   FN(gradients)    sum of g, and of g (x - mean); along a row g = dy w, down the columns g = dy
 *   FN(normalised)   the same down the columns, with (x - mean) rstd instead, mean and rstd of the row
 *   FN(products)     along a row: sum of dy x alone
 *
 * A sum runs in T over a block and over the blocks in double. Its order depends on the length alone.
 */

enum { FN(values), FN(deviations), FN(gradients), FN(normalised), FN(products) };

/* One vector's share: of the sums a and b. dy and w may be read only where they are summed. */
static FBP_INLINE void FN(add_terms)(const int what, V *a, V *b, V x, const T *dy, const T *w, V mean, int64_t lanes)
{
    if (what == FN(values)) {
        *a += x;
    } else if (what == FN(deviations)) {
        const V d = FN(v_first)(x - mean, lanes);
        *a += d;
        *b = FN(v_fma)(d, d, *b);
    } else if (what == FN(products)) {
        *b = FN(v_fma)(FN(v_load_up_to)(dy, lanes), x, *b);
    } else {
        V g = FN(v_load_up_to)(dy, lanes);
        if (w) g *= FN(v_load_up_to)(w, lanes);
        *a += g;
        *b = FN(v_fma)(g, x - mean, *b);
    }
}

/* The two sums over a row of n elements. */
static FBP_INLINE void FN(row_sums)(const int what, double sums[2], const T *x, const T *dy, const T *w, T mean,
                                    int64_t n)
{
    const V m = FN(v_set1)(mean);
    sums[0] = sums[1] = 0;
    for (int64_t i = 0; i < n;) {
        const int64_t end = FN(min)(i + FBP_BLOCK * VL, n);
        V a[4] = {{0}}, b[4] = {{0}};
        for (; i + 4 * VL <= end; i += 4 * VL) {
            FBP_UNROLL
            for (int64_t k = 0; k < 4; k++) {
                const int64_t at = i + k * VL;
                FN(add_terms)(what, a + k, b + k, FN(v_load)(x + at), dy + at, w ? w + at : NULL, m, VL);
            }
        }
        for (; i < end; i += VL)
            FN(add_terms)(what, a, b, FN(v_load_up_to)(x + i, end - i), dy + i, w ? w + i : NULL, m, end - i);
        if (what != FN(products)) sums[0] += (double)FN(v_sum)((a[0] + a[1]) + (a[2] + a[3]));
        if (what != FN(values)) sums[1] += (double)FN(v_sum)((b[0] + b[1]) + (b[2] + b[3]));
    }
}

static FBP_INLINE void FN(add_lanes)(double *sum /* (VL,) */, V v)
{
    T lanes[VL];
    FN(v_store)(lanes, v);
    for (int64_t i = 0; i < VL; i++) sum[i] += (double)lanes[i];
}

/* The most columns that are summed at once. */
#define FBP_STRIP (4 * VL)

/* Sums down NV vectors of columns, the only one cut to `lanes` if NV is 1: a[j] and b[j] for column j of x and dy,
 * whose R rows are C elements apart. mean and rstd: one a column, or one a row. */
static FBP_INLINE void FN(strip_sums)(const int NV, const int what, double *a, double *b, const T *x, const T *dy,
                                      const T *mean, const T *rstd, int64_t R, int64_t C, int64_t lanes)
{
    V m[4] = {{0}};
    FBP_UNROLL
    for (int v = 0; v < NV; v++) {
        if (what == FN(deviations) || what == FN(gradients)) m[v] = FN(v_load_up_to)(mean + v * VL, lanes);
        for (int64_t i = 0; i < VL; i++) a[v * VL + i] = b[v * VL + i] = 0;
    }
    for (int64_t r = 0; r < R;) {
        const int64_t end = FN(min)(r + FBP_BLOCK, R);
        V block_a[4] = {{0}}, block_b[4] = {{0}};
        for (; r < end; r++) {
            FBP_UNROLL
            for (int v = 0; v < NV; v++) {
                const int64_t at = r * C + v * VL;
                V x_v = FN(v_load_up_to)(x + at, lanes);
                if (what == FN(normalised)) x_v = (x_v - FN(v_set1)(mean[r])) * FN(v_set1)(rstd[r]);
                FN(add_terms)(what, block_a + v, block_b + v, x_v, dy + at, NULL, m[v], lanes);
            }
        }
        FBP_UNROLL
        for (int v = 0; v < NV; v++) {
            FN(add_lanes)(a + v * VL, block_a[v]);
            if (what != FN(values)) FN(add_lanes)(b + v * VL, block_b[v]);
        }
    }
}

/* Sums down the next columns, at most n and FBP_STRIP; returns how many. A column's sums do not depend on how many. */
static FBP_INLINE int64_t FN(column_strip)(const int what, double a[FBP_STRIP], double b[FBP_STRIP], const T *x,
                                           const T *dy, const T *mean, const T *rstd, int64_t R, int64_t C, int64_t n)
{
    if (n >= FBP_STRIP) {
        FN(strip_sums)(4, what, a, b, x, dy, mean, rstd, R, C, VL);
        return FBP_STRIP;
    }
    n = FN(min)(n, VL);
    FN(strip_sums)(1, what, a, b, x, dy, mean, rstd, R, C, n);
    return n;
}

static inline double FN(reciprocal_deviation)(double variance, double eps) { return 1 / sqrt(variance + eps); }

/* The variance of n values from the sums of their deviations d, and of d^2. */
static inline double FN(variance)(double d, double d_squared, double n)
{
    const double v = (d_squared - d * d / n) / n;
    return v < 0 ? 0 : v;
}
