/* The few vector operations every kernel is written in.
 *
 * An isa_*.c file defines FBP_ISA_GENERIC, _AVX2, _AVX512 or _NEON and includes simd_types.h once; then, for each
 * of float and double, it defines T and includes this file and the ops (*.inc.h), so that every kernel is compiled once
 * for each pair of (instruction set, dtype) from one text. Inside that text:
 *
 *   T       the element type             V    a vector of VL elements of T
 *   VL      lanes in V                   VI   a vector of integers of T's width: comparisons give it (-1 or 0)
 *   TI TU   integers of T's width        FN(name)  this dtype's name: name_f32 or name_f64
 *
 * + - * / and comparisons are the compiler's own vector operators; a*b + c contracts to a fused multiply-add where
 * the target has one (setup.py).
 */

#if FBP_F64
#define T double
#define TI int64_t
#define TU uint64_t
#define FN(name) name##_f64
#define V fbp_v_f64
#define VU fbp_vu_f64
#define VI fbp_vi_f64
#define VW fbp_vw_f64
#define VL ((int64_t)(FBP_VBYTES / 8))
#else
#define T float
#define TI int32_t
#define TU uint32_t
#define FN(name) name##_f32
#define V fbp_v_f32
#define VU fbp_vu_f32
#define VI fbp_vi_f32
#define VW fbp_vw_f32
#define VL ((int64_t)(FBP_VBYTES / 4))
#endif

/* load and store: any alignment */
static FBP_INLINE V FN(v_load)(const T *p) { return *(const VU *)p; }
static FBP_INLINE void FN(v_store)(T *p, V v) { *(VU *)p = v; }
static FBP_INLINE V FN(v_set1)(T x) { return x - (V){0}; }
static FBP_INLINE VI FN(v_set1i)(TI x) { return x - (VI){0}; }

/* load_n, store_n: the first n lanes, 0 <= n <= VL; the other lanes read as 0 and are not written */
static FBP_INLINE V FN(v_load_n)(const T *p, int64_t n)
{
#if FBP_ISA_AVX512 && FBP_F64
    return (V)_mm512_maskz_loadu_pd((__mmask8)_bzhi_u32(0xff, (unsigned)n), p);
#elif FBP_ISA_AVX512
    return (V)_mm512_maskz_loadu_ps((__mmask16)_bzhi_u32(0xffff, (unsigned)n), p);
#elif FBP_ISA_AVX2 && FBP_F64
    return (V)_mm256_maskload_pd(p, _mm256_loadu_si256((const void *)(fbp_mask64 + 4 - n)));
#elif FBP_ISA_AVX2
    return (V)_mm256_maskload_ps(p, _mm256_loadu_si256((const void *)(fbp_mask32 + 8 - n)));
#else
    V v = {0};
    FBP_UNROLL
    for (int i = 0; i < VL; i++)
        if (i < n) v[i] = p[i];
    return v;
#endif
}

static FBP_INLINE void FN(v_store_n)(T *p, V v, int64_t n)
{
#if FBP_ISA_AVX512 && FBP_F64
    _mm512_mask_storeu_pd(p, (__mmask8)_bzhi_u32(0xff, (unsigned)n), (__m512d)v);
#elif FBP_ISA_AVX512
    _mm512_mask_storeu_ps(p, (__mmask16)_bzhi_u32(0xffff, (unsigned)n), (__m512)v);
#elif FBP_ISA_AVX2 && FBP_F64
    _mm256_maskstore_pd(p, _mm256_loadu_si256((const void *)(fbp_mask64 + 4 - n)), (__m256d)v);
#elif FBP_ISA_AVX2
    _mm256_maskstore_ps(p, _mm256_loadu_si256((const void *)(fbp_mask32 + 8 - n)), (__m256)v);
#else
    FBP_UNROLL
    for (int i = 0; i < VL; i++)
        if (i < n) p[i] = v[i];
#endif
}

/* fma: a b + c, rounded once where the target can. The compiler contracts a * b + c by itself, but not across branches:
 * where bits must not depend on what surrounds it, use this. */
static FBP_INLINE V FN(v_fma)(V a, V b, V c)
{
#if FBP_ISA_AVX512 && FBP_F64
    return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif FBP_ISA_AVX512
    return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif FBP_ISA_AVX2 && FBP_F64
    return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif FBP_ISA_AVX2
    return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif FBP_ISA_NEON && FBP_F64
    return (V)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#elif FBP_ISA_NEON
    return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

/* bfloat16, for float32 on AVX-512 where the CPU has it. rounded: lanes of a, then those of b, as 32 of them; pairs:
 * each a lane of a beside that of b; dot_pairs: c + the two products of the pairs in a and b, all lanes. The compiler
 * would have to be told that functions may use these instructions, each in its own way; the assembler need not. */
#define FBP_BF16 (FBP_ISA_AVX512 && !FBP_F64)
#if FBP_BF16
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

/* select: lane by lane, m ? a : b, for a mask m made by a comparison */
static FBP_INLINE V FN(v_select)(VI m, V a, V b) { return (V)((m & (VI)a) | (~m & (VI)b)); }

/* gate: v where s > 0, else 0 */
static FBP_INLINE V FN(v_gate)(V s, V v) { return (V)((VI)v & (s > (V){0})); }

/* max, min: a NaN in the second argument is kept, one in the first is not */
static FBP_INLINE V FN(v_max)(V a, V b)
{
#if FBP_ISA_AVX512 && FBP_F64
    return (V)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif FBP_ISA_AVX512
    return (V)_mm512_max_ps((__m512)a, (__m512)b);
#elif FBP_ISA_AVX2 && FBP_F64
    return (V)_mm256_max_pd((__m256d)a, (__m256d)b);
#elif FBP_ISA_AVX2
    return (V)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return FN(v_select)(a > b, a, b);
#endif
}

static FBP_INLINE V FN(v_min)(V a, V b)
{
#if FBP_ISA_AVX512 && FBP_F64
    return (V)_mm512_min_pd((__m512d)a, (__m512d)b);
#elif FBP_ISA_AVX512
    return (V)_mm512_min_ps((__m512)a, (__m512)b);
#elif FBP_ISA_AVX2 && FBP_F64
    return (V)_mm256_min_pd((__m256d)a, (__m256d)b);
#elif FBP_ISA_AVX2
    return (V)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return FN(v_select)(a < b, a, b);
#endif
}

static FBP_INLINE V FN(v_abs)(V a) { return (V)((VI)a & (FN(v_set1i)(-1) ^ (VI)FN(v_set1)((T)-0.0))); }
static FBP_INLINE V FN(v_copysign)(V magnitude, V sign)
{
    const VI s = (VI)FN(v_set1)((T)-0.0);
    return (V)(((VI)magnitude & ~s) | ((VI)sign & s));
}

static FBP_INLINE V FN(v_sqrt)(V a)
{
#if FBP_ISA_AVX512 && FBP_F64
    return (V)_mm512_sqrt_pd((__m512d)a);
#elif FBP_ISA_AVX512
    return (V)_mm512_sqrt_ps((__m512)a);
#elif FBP_ISA_AVX2 && FBP_F64
    return (V)_mm256_sqrt_pd((__m256d)a);
#elif FBP_ISA_AVX2
    return (V)_mm256_sqrt_ps((__m256)a);
#elif FBP_ISA_NEON && FBP_F64
    return (V)vsqrtq_f64((float64x2_t)a);
#elif FBP_ISA_NEON
    return (V)vsqrtq_f32((float32x4_t)a);
#else
    FBP_UNROLL
    for (int i = 0; i < VL; i++) a[i] = FBP_F64 ? (T)__builtin_sqrt((double)a[i]) : (T)__builtin_sqrtf((float)a[i]);
    return a;
#endif
}

/* over_root: m / (sqrt(v) + e), v >= 0. On AVX-512 the square root comes from the CPU's estimate, made better by a
 * Newton step, so that it does not queue with the division; within 3 ULP. There v is at least the least normal number,
 * and the estimate above 0: an infinite v, a square that overflowed, gives 0 as it does elsewhere. */
static FBP_INLINE V FN(v_over_root)(V m, V v, V e)
{
#if FBP_ISA_AVX512 && !FBP_F64
    v = FN(v_max)(FN(v_set1)(FLT_MIN), v);
    const V r = FN(v_max)(FN(v_set1)(0x1p-65f), (V)_mm512_rsqrt14_ps((__m512)v)), h = v * r;
    return m / (h * ((T)1.5 - (T)0.5 * (h * r)) + e);
#else
    return m / (FN(v_sqrt)(v) + e);
#endif
}

/* scale: a times 2^n, for whole n up to twice the largest exponent, either sign; rounds once, also where the result is
 * subnormal. pow2: 2^n, for n within the normal exponents. Both read n from the low bits of n + FBP_ROUND, a number in
 * whose binade the last place counts units: adding it rounds to the nearest whole number. */
#if FBP_F64
#define FBP_ROUND 0x1.8p52
#define FBP_FRACTION_BITS 52
#else
#define FBP_ROUND 0x1.8p23f
#define FBP_FRACTION_BITS 23
#endif

static FBP_INLINE V FN(v_pow2)(V n)
{
    return (V)(((VW)(n + FN(v_set1)(FBP_ROUND)) << FBP_FRACTION_BITS) + (VW)FN(v_set1)(1));
}

static FBP_INLINE V FN(v_scale)(V a, V n)
{
#if FBP_ISA_AVX512 && FBP_F64
    return (V)_mm512_scalef_pd((__m512d)a, (__m512d)n);
#elif FBP_ISA_AVX512
    return (V)_mm512_scalef_ps((__m512)a, (__m512)n);
#else
    const V half = n * FN(v_set1)((T)0.5) + FN(v_set1)(FBP_ROUND) - FN(v_set1)(FBP_ROUND);
    return a * FN(v_pow2)(half) * FN(v_pow2)(n - half);
#endif
}

/* rotated: lane l is lane l + h of v */
#if FBP_VBYTES == 64 && !FBP_F64
#define FBP_ROTATED(v, h) __builtin_shufflevector(v, v, (h) & 15, (1 + h) & 15, (2 + h) & 15, (3 + h) & 15,           \
    (4 + h) & 15, (5 + h) & 15, (6 + h) & 15, (7 + h) & 15, (8 + h) & 15, (9 + h) & 15, (10 + h) & 15, (11 + h) & 15, \
    (12 + h) & 15, (13 + h) & 15, (14 + h) & 15, (15 + h) & 15)
#elif FBP_VBYTES == 64 || (FBP_VBYTES == 32 && !FBP_F64)
#define FBP_ROTATED(v, h) __builtin_shufflevector(v, v, (h) & 7, (1 + h) & 7, (2 + h) & 7, (3 + h) & 7, (4 + h) & 7,  \
    (5 + h) & 7, (6 + h) & 7, (7 + h) & 7)
#elif FBP_VBYTES == 32 || !FBP_F64
#define FBP_ROTATED(v, h) __builtin_shufflevector(v, v, (h) & 3, (1 + h) & 3, (2 + h) & 3, (3 + h) & 3)
#else
#define FBP_ROTATED(v, h) __builtin_shufflevector(v, v, (h) & 1, (1 + h) & 1)
#endif

/* sum, hmax: over the lanes, always in the same order: halves are folded onto each other; hmax may lose a NaN */
static FBP_INLINE T FN(v_sum)(V v)
{
    if (VL > 8) v += FBP_ROTATED(v, 8);
    if (VL > 4) v += FBP_ROTATED(v, 4);
    if (VL > 2) v += FBP_ROTATED(v, 2);
    v += FBP_ROTATED(v, 1);
    return v[0];
}

static FBP_INLINE T FN(v_hmax)(V v)
{
    if (VL > 8) v = FN(v_max)(v, FBP_ROTATED(v, 8));
    if (VL > 4) v = FN(v_max)(v, FBP_ROTATED(v, 4));
    if (VL > 2) v = FN(v_max)(v, FBP_ROTATED(v, 2));
    v = FN(v_max)(v, FBP_ROTATED(v, 1));
    return v[0];
}
