/* The few vector operations every kernel is written in.
 *
 * An isa_*.c file defines FBP_ISA_GENERIC, _AVX2, _AVX512 or _NEON, says as FBP_SIMD which file has the operations that
 * differ by instruction set, and includes simd_types.h once; then, for each of float and double, it defines T and
 * includes this file and the ops (*.inc.h), so that every kernel is compiled once for each pair of (instruction set,
 * dtype) from one text. Inside that text:
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

/* select: lane by lane, m ? a : b, for a mask m made by a comparison */
static FBP_INLINE V FN(v_select)(VI m, V a, V b) { return (V)((m & (VI)a) | (~m & (VI)b)); }

/* gate: v where s > 0, else 0 */
static FBP_INLINE V FN(v_gate)(V s, V v) { return (V)((VI)v & (s > (V){0})); }

/* ---- what differs by instruction set ------------------------------------------------------------------------------
 *
 *   load_n, store_n  the first n lanes, 0 <= n <= VL; the other lanes read as 0 and are not written
 *   fma              a b + c, rounded once where the target can. The compiler contracts a * b + c by itself, but not
 *                    across branches: where bits must not depend on what surrounds it, use this
 *   product_rest     a b - product, exactly, product being a b as it is rounded
 *   max, min         a NaN in the second argument is kept, one in the first is not
 *   sqrt
 *   widen            VL bytes, one to a lane, with their signs
 *   any_nan          whether a lane is NaN
 *   over_root        m / (sqrt(v) + e), v >= 0; within 3 ULP
 *   lanes            lane l of the result is lane at[l] of v
 *   scale            a times 2^n, for whole n up to twice the largest exponent, either sign; rounds once, also where the
 *                    result is subnormal
 *
 * and, for float32 on AVX-512 (FBP_BF16), bfloat16. simd_portable.h has what any target can do: each set's file takes of
 * it what it has nothing better for.
 */
#define FBP_BF16 (FBP_ISA_AVX512 && !FBP_F64)

/* pow2: 2^n, for n within the normal exponents. It reads n from the low bits of n + FBP_ROUND, a number in whose binade
 * the last place counts units: adding it rounds to the nearest whole number. */
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

#include "simd_portable.h"
#include FBP_SIMD

/* ---- what is made of them ----------------------------------------------------------------------------------------- */

static FBP_INLINE V FN(v_abs)(V a) { return (V)((VI)a & (FN(v_set1i)(-1) ^ (VI)FN(v_set1)((T)-0.0))); }
static FBP_INLINE V FN(v_copysign)(V magnitude, V sign)
{
    const VI s = (VI)FN(v_set1)((T)-0.0);
    return (V)(((VI)magnitude & ~s) | ((VI)sign & s));
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
