/* How this thread rounds, and whether it takes subnormal numbers for 0. */
#ifndef FASTBP_FLOAT_MODE_H
#define FASTBP_FLOAT_MODE_H

#include <stdint.h>

#if defined(__x86_64__)
#define FBP_FLUSH_BITS 0x8040u /* results, and operands */
#elif defined(__aarch64__)
#define FBP_FLUSH_BITS (1u << 24)
#else
#define FBP_FLUSH_BITS 0u
#endif

static inline uint64_t fbp_float_mode(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_stmxcsr();
#elif defined(__aarch64__)
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
#else
    return 0;
#endif
}

static inline void fbp_set_float_mode(uint64_t mode)
{
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((unsigned)mode);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#else
    (void)mode;
#endif
}

/* Take subnormal numbers for 0, or do not; returns the mode before. */
static inline uint64_t fbp_flush_subnormals(int32_t flush)
{
    const uint64_t mode = fbp_float_mode();
    fbp_set_float_mode(flush ? mode | FBP_FLUSH_BITS : mode & ~(uint64_t)FBP_FLUSH_BITS);
    return mode;
}

#endif
