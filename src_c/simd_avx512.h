/* AVX-512 (F, VL, DQ, BW); bfloat16 where the CPU has it. */

#if FBP_F64
#define FBP_VECTOR __m512d
#define FBP_AVX(name) _mm512_##name##_pd
#define FBP_UNORDERED _mm512_cmp_pd_mask
#define FBP_WIDEN(p) _mm512_cvtepi8_epi64(_mm_loadl_epi64((const void *)p))
#define FBP_FIRST_LANES(n) (__mmask8)_bzhi_u32(0xff, (unsigned)(n))
#else
#define FBP_VECTOR __m512
#define FBP_AVX(name) _mm512_##name##_ps
#define FBP_UNORDERED _mm512_cmp_ps_mask
#define FBP_WIDEN(p) _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p))
#define FBP_FIRST_LANES(n) (__mmask16)_bzhi_u32(0xffff, (unsigned)(n))
#endif

static FBP_INLINE V FN(v_load_n)(const T *p, int64_t n) { return (V)FBP_AVX(maskz_loadu)(FBP_FIRST_LANES(n), p); }

static FBP_INLINE void FN(v_store_n)(T *p, V v, int64_t n)
{
    FBP_AVX(mask_storeu)(p, FBP_FIRST_LANES(n), (FBP_VECTOR)v);
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
    return FBP_UNORDERED((FBP_VECTOR)a, (FBP_VECTOR)a, _CMP_UNORD_Q) != 0;
}
static FBP_INLINE V FN(v_lanes)(V v, VI at) { return (V)FBP_AVX(permutexvar)((__m512i)at, (FBP_VECTOR)v); }
static FBP_INLINE V FN(v_scale)(V a, V n) { return (V)FBP_AVX(scalef)((FBP_VECTOR)a, (FBP_VECTOR)n); }

#if FBP_F64
static FBP_INLINE V FN(v_over_root)(V m, V v, V e) { return FN(portable_over_root)(m, FN(v_sqrt)(v), e); }
#else
/* The square root comes from the CPU's estimate, made better by a Newton step, so that it does not queue with the
 * division. There v is at least the least normal number, and the estimate above 0: an infinite v, a square that
 * overflowed, gives 0 as it does elsewhere. */
static FBP_INLINE V FN(v_over_root)(V m, V v, V e)
{
    v = FN(v_max)(FN(v_set1)(FLT_MIN), v);
    const V r = FN(v_max)(FN(v_set1)(0x1p-65f), (V)_mm512_rsqrt14_ps((__m512)v)), h = v * r;
    return (m + m) / FN(v_fma)(h, FN(v_fma)(-h, r, FN(v_set1)(3)), e + e);
}

/* bfloat16. rounded: lanes of a, then those of b, as 32 of them; pairs: each a lane of a beside that of b; dot_pairs: c +
 * the two products of the pairs in a and b, all lanes. The compiler would have to be told that functions may use these
 * instructions, each in its own way; the assembler need not. */
static FBP_INLINE V FN(v_rounded)(V a, V b)
{
    V y;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(y) : "v"(a), "v"(b));
    return y;
}

static FBP_INLINE V FN(v_pairs)(V a, V b)
{
    typedef int16_t halves __attribute__((vector_size(FBP_VBYTES)));
    const halves order = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                          8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return (V)_mm512_permutexvar_epi16((__m512i)order, (__m512i)FN(v_rounded)(a, b));
}

static FBP_INLINE V FN(v_dot_pairs)(V a, V b, V c)
{
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
    return c;
}
#endif

#undef FBP_VECTOR
#undef FBP_AVX
#undef FBP_UNORDERED
#undef FBP_WIDEN
#undef FBP_FIRST_LANES
