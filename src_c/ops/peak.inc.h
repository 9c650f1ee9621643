/* The speed limit: nothing but fused multiply-adds in registers, to measure what share of it the kernels reach. */

#define FBP_CHAINS 10   /* independent chains: more than latency × multiply-adds per cycle, fewer than registers */

/* n times FBP_CHAINS vector multiply-adds; what it returns is of no interest, but keeps them from being left out. */
static double FN(fma_loop)(int64_t n)
{
    volatile T seed = (T)0.5;
    const V a = FN(v_set1)(seed), b = FN(v_set1)(seed);
    V acc[FBP_CHAINS];
    for (int i = 0; i < FBP_CHAINS; i++) acc[i] = FN(v_set1)((T)i);
    for (int64_t k = 0; k < n; k++) {
        FBP_UNROLL
        for (int i = 0; i < FBP_CHAINS; i++) acc[i] = acc[i] * a + b;
    }
    double sum = 0;
    for (int i = 0; i < FBP_CHAINS; i++) sum += (double)FN(v_sum)(acc[i]);
    return sum;
}
