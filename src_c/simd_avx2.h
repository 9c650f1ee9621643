/* AVX2 and FMA. */

#if FBP_F64
#define FBP_VECTOR __m256d
#define FBP_AVX(name) _mm256_##name##_pd
#define FBP_WIDEN(p) _mm256_cvtepi8_epi64(_mm_loadu_si32(p))
#define FBP_FIRST_LANES(n) _mm256_loadu_si256((const void *)(fbp_mask64 + 4 - (n)))
#else
#define FBP_VECTOR __m256
#define FBP_AVX(name) _mm256_##name##_ps
#define FBP_WIDEN(p) _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p))
#define FBP_FIRST_LANES(n) _mm256_loadu_si256((const void *)(fbp_mask32 + 8 - (n)))
#endif

static FBP_INLINE V FN(v_load_n)(const T *p, int64_t n) { return (V)FBP_AVX(maskload)(p, FBP_FIRST_LANES(n)); }

static FBP_INLINE void FN(v_store_n)(T *p, V v, int64_t n)
{
    FBP_AVX(maskstore)(p, FBP_FIRST_LANES(n), (FBP_VECTOR)v);
}

static FBP_INLINE V FN(v_fma)(V a, V b, V c)
{
    return (V)FBP_AVX(fmadd)((FBP_VECTOR)a, (FBP_VECTOR)b, (FBP_VECTOR)c);
}

static FBP_INLINE V FN(v_product_rest)(V a, V b, V product) { return FN(v_fma)(a, b, -product); }

static FBP_INLINE V FN(v_max)(V a, V b) { return (V)FBP_AVX(max)((FBP_VECTOR)a, (FBP_VECTOR)b); }
static FBP_INLINE V FN(v_min)(V a, V b) { return (V)FBP_AVX(min)((FBP_VECTOR)a, (FBP_VECTOR)b); }
static FBP_INLINE V FN(v_sqrt)(V a) { return (V)FBP_AVX(sqrt)((FBP_VECTOR)a); }
static FBP_INLINE VI FN(v_widen)(const int8_t *p) { return (VI)FBP_WIDEN(p); }
static FBP_INLINE int32_t FN(v_any_nan)(V a)
{
    return FBP_AVX(movemask)(FBP_AVX(cmp)((FBP_VECTOR)a, (FBP_VECTOR)a, _CMP_UNORD_Q)) != 0;
}
static FBP_INLINE V FN(v_over_root)(V m, V v, V e) { return FN(portable_over_root)(m, FN(v_sqrt)(v), e); }
#if FBP_F64
static FBP_INLINE V FN(v_lanes)(V v, VI at) { return FN(portable_lanes)(v, at); }
#else
static FBP_INLINE V FN(v_lanes)(V v, VI at) { return (V)_mm256_permutevar8x32_ps((__m256)v, (__m256i)at); }
#endif
static FBP_INLINE V FN(v_scale)(V a, V n) { return FN(portable_scale)(a, n); }

#undef FBP_VECTOR
#undef FBP_AVX
#undef FBP_WIDEN
#undef FBP_FIRST_LANES
