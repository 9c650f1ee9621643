/* What simd.h needs once per isa_*.c file: the target, the intrinsics, the vector types. */
#ifndef FBP_SIMD_TYPES_H
#define FBP_SIMD_TYPES_H

#ifndef FBP_ISA_GENERIC
#define FBP_ISA_GENERIC 0
#endif
#ifndef FBP_ISA_AVX2
#define FBP_ISA_AVX2 0
#endif
#ifndef FBP_ISA_AVX512
#define FBP_ISA_AVX512 0
#endif
#ifndef FBP_ISA_NEON
#define FBP_ISA_NEON 0
#endif

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Everything after this point is compiled for the file's own target. clang drops a whole target attribute when one
 * item is unknown to it, with a warning only: the build makes -Wunknown-attributes-like warnings errors there. */
#if defined(__clang__)
#pragma clang diagnostic error "-Wignored-attributes"
#pragma clang fp contract(on) /* not fast: in a*b + c*d that fuses one product here, the other there */
#if FBP_ISA_AVX512
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi2,avx512f,avx512vl,avx512dq,avx512bw"))), apply_to = function)
#elif FBP_ISA_AVX2
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi2"))), apply_to = function)
#endif
#elif defined(__GNUC__)
#if FBP_ISA_AVX512
#pragma GCC target("avx2,fma,bmi2,avx512f,avx512vl,avx512dq,avx512bw,prefer-vector-width=512")
#include <immintrin.h>
#elif FBP_ISA_AVX2
#pragma GCC target("avx2,fma,bmi2")
#include <immintrin.h>
#endif
#endif

#if FBP_ISA_AVX512
#define FBP_VBYTES 64
#elif FBP_ISA_AVX2
#define FBP_VBYTES 32
static const int32_t fbp_mask32[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
static const int64_t fbp_mask64[8] = {-1, -1, -1, -1, 0, 0, 0, 0};
#else
#define FBP_VBYTES 16
#if FBP_ISA_NEON
#include <arm_neon.h>
#endif
#endif

#define FBP_INLINE inline __attribute__((always_inline))
#define FBP_UNROLL _Pragma("GCC unroll 16")

typedef float fbp_v_f32 __attribute__((vector_size(FBP_VBYTES)));
typedef double fbp_v_f64 __attribute__((vector_size(FBP_VBYTES)));
typedef int32_t fbp_vi_f32 __attribute__((vector_size(FBP_VBYTES)));
typedef int64_t fbp_vi_f64 __attribute__((vector_size(FBP_VBYTES)));
typedef uint32_t fbp_vw_f32 __attribute__((vector_size(FBP_VBYTES))); /* whole numbers that may wrap around */
typedef uint64_t fbp_vw_f64 __attribute__((vector_size(FBP_VBYTES)));
typedef float fbp_vu_f32 __attribute__((vector_size(FBP_VBYTES), aligned(4), may_alias));
typedef double fbp_vu_f64 __attribute__((vector_size(FBP_VBYTES), aligned(8), may_alias));

#endif
