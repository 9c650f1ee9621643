/* Vector operations that any target can do, of which each instruction set takes what it has nothing better for. */

static FBP_INLINE V FN(portable_load_n)(const T *p, int64_t n)
{
    V v = {0};
    FBP_UNROLL
    for (int i = 0; i < VL; i++)
        if (i < n) v[i] = p[i];
    return v;
}

static FBP_INLINE void FN(portable_store_n)(T *p, V v, int64_t n)
{
    FBP_UNROLL
    for (int i = 0; i < VL; i++)
        if (i < n) p[i] = v[i];
}

static FBP_INLINE V FN(portable_max)(V a, V b) { return FN(v_select)(a > b, a, b); }
static FBP_INLINE V FN(portable_min)(V a, V b) { return FN(v_select)(a < b, a, b); }

static FBP_INLINE V FN(portable_sqrt)(V a)
{
    FBP_UNROLL
    for (int i = 0; i < VL; i++) a[i] = FBP_F64 ? (T)__builtin_sqrt((double)a[i]) : (T)__builtin_sqrtf((float)a[i]);
    return a;
}

static FBP_INLINE VI FN(portable_widen)(const int8_t *p)
{
    VI v = {0};
    FBP_UNROLL
    for (int i = 0; i < VL; i++) v[i] = p[i];
    return v;
}

static FBP_INLINE int32_t FN(portable_any_nan)(V a)
{
    const VI unordered = a != a;
    TI any = 0;
    FBP_UNROLL
    for (int i = 0; i < VL; i++) any |= unordered[i];
    return any != 0;
}

static FBP_INLINE V FN(portable_lanes)(V v, VI at)
{
    V y;
    FBP_UNROLL
    for (int i = 0; i < VL; i++) y[i] = v[at[i] & (VL - 1)];
    return y;
}

/* m / (root + e) */
static FBP_INLINE V FN(portable_over_root)(V m, V root, V e) { return m / (root + e); }

/* by two powers, so that neither leaves the normal exponents */
static FBP_INLINE V FN(portable_scale)(V a, V n)
{
    const V half = n * FN(v_set1)((T)0.5) + FN(v_set1)(FBP_ROUND) - FN(v_set1)(FBP_ROUND);
    return a * FN(v_pow2)(half) * FN(v_pow2)(n - half);
}

/* both factors are cut into halves, whose products are exact */
static FBP_INLINE V FN(portable_product_rest)(V a, V b, V product)
{
    const VI first_half = FN(v_set1i)(-1) << (FBP_F64 ? 27 : 12);
    const V a1 = (V)((VI)a & first_half), b1 = (V)((VI)b & first_half), a2 = a - a1, b2 = b - b1;
    return ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2;
}
