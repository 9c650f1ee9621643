/* Whole arrays: what clipping, checking and shared gradients need, and helpers of the kernels.
 *
 *   sum_of_squares    sum_i x_i^2, in double, so that squares of float32 neither overflow nor lose accuracy
 *   all_within        1 unless an |x_i| is above a limit, infinite or NaN
 *   all_finite        the same without a limit
 *   scale             x_i := factor x_i
 *   clamp             x_i := min(max(x_i, -limit), limit); NaN stays NaN
 *   accumulate        node: x[0] += x[1]; forward over rows of dim[0] columns, gradient over single elements
 */

/* Sums over many elements run in T over blocks of this many, and over the blocks in double. */
#define FBP_BLOCK 64

/* The vector at p, of which n lanes exist (n >= VL: all); the others read as 0. */
static FBP_INLINE V FN(v_load_up_to)(const T *p, int64_t n) { return n >= VL ? FN(v_load)(p) : FN(v_load_n)(p, n); }

static FBP_INLINE void FN(v_store_up_to)(T *p, V v, int64_t n)
{
    if (n >= VL) FN(v_store)(p, v);
    else FN(v_store_n)(p, v, n);
}

/* The number of each lane. */
static FBP_INLINE VI FN(v_lane)(void)
{
    VI lane;
    FBP_UNROLL
    for (int i = 0; i < VL; i++) lane[i] = (TI)i;
    return lane;
}

/* v with the lanes from n on set to 0. */
static FBP_INLINE V FN(v_first)(V v, int64_t n)
{
    return n >= VL ? v : (V)((VI)v & (FN(v_lane)() < FN(v_set1i)((TI)n)));
}

#define FBP_DOUBLES ((int64_t)(FBP_VBYTES / 8))

/* FBP_DOUBLES elements as double. */
static FBP_INLINE fbp_v_f64 FN(load_as_double)(const T *p)
{
    typedef T part __attribute__((vector_size(FBP_VBYTES / 8 * sizeof(T)), aligned(sizeof(T)), may_alias));
    return __builtin_convertvector(*(const part *)p, fbp_v_f64);
}

static FBP_INLINE void FN(add_squares)(fbp_v_f64 sum[4], const T *p)
{
    FBP_UNROLL
    for (int64_t k = 0; k < 4; k++) {
        const fbp_v_f64 v = FN(load_as_double)(p + k * FBP_DOUBLES);
        sum[k] += v * v;
    }
}

static double FN(sum_of_squares)(const void *x, int64_t n)
{
    const T *p = x;
    fbp_v_f64 sum[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * FBP_DOUBLES <= n; i += 4 * FBP_DOUBLES) FN(add_squares)(sum, p + i);
    if (i < n) {
        T rest[4 * FBP_VBYTES / 8] = {0};
        memcpy(rest, p + i, (size_t)(n - i) * sizeof(T));
        FN(add_squares)(sum, rest);
    }
    const fbp_v_f64 all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    double total = 0;
    for (int64_t k = 0; k < FBP_DOUBLES; k++) total += all[k];
    return total;
}

#undef FBP_DOUBLES

static int32_t FN(all_within)(const void *x, int64_t n, double limit)
{
    const double largest = FBP_F64 ? DBL_MAX : FLT_MAX;
    const V most = FN(v_set1)((T)(limit < largest ? limit : largest));
    const T *p = x;
    VI within[4];
    for (int64_t k = 0; k < 4; k++) within[k] = FN(v_set1i)(-1);
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        FBP_UNROLL
        for (int64_t k = 0; k < 4; k++) within[k] &= FN(v_abs)(FN(v_load)(p + i + k * VL)) <= most;
    }
    for (; i < n; i += VL) within[0] &= FN(v_abs)(FN(v_load_up_to)(p + i, n - i)) <= most;
    const VI all = (within[0] & within[1]) & (within[2] & within[3]);
    return FN(v_sum)(FN(v_select)(all, (V){0}, FN(v_set1)(1))) == 0;
}

static int32_t FN(all_finite)(const void *x, int64_t n) { return FN(all_within)(x, n, INFINITY); }

static void FN(scale)(void *x, int64_t n, double factor)
{
    T *p = x;
    const V f = FN(v_set1)((T)factor);
    for (int64_t i = 0; i < n; i += VL) FN(v_store_up_to)(p + i, FN(v_load_up_to)(p + i, n - i) * f, n - i);
}

static void FN(clamp)(void *x, int64_t n, double limit)
{
    T *p = x;
    const V high = FN(v_set1)((T)limit), low = FN(v_set1)((T)-limit);
    for (int64_t i = 0; i < n; i += VL) {
        const V v = FN(v_load_up_to)(p + i, n - i);
        FN(v_store_up_to)(p + i, FN(v_max)(low, FN(v_min)(high, v)), n - i);
    }
}

static void FN(accumulate)(T *sum /* (n,) */, const T *x /* (n,) */, int64_t n)
{
    for (int64_t i = 0; i < n; i += VL) {
        const V s = FN(v_load_up_to)(sum + i, n - i) + FN(v_load_up_to)(x + i, n - i);
        FN(v_store_up_to)(sum + i, s, n - i);
    }
}

static void FN(accumulate_forward)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t n = fbp_with_rows(node->dim[0], run->rows);
    FN(accumulate)((T *)node->x[0] + lo * n, (const T *)node->x[1] + lo * n, (hi - lo) * n);
}

static void FN(accumulate_gradient)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t n = fbp_with_rows(node->dim[0], run->rows);
    FN(accumulate)((T *)node->x[0] + lo, (const T *)node->x[1] + lo, (n == node->dim[0] ? hi : n) - lo);
}
