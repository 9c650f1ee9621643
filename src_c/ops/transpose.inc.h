/* Transposing, and summing many vectors at once: both are the same butterfly of lane exchanges.
 *
 * A stage of distance h exchanges, between x[i] and x[i + h], the blocks of h lanes off the diagonal. After the stages
 * h = VL/2, …, 2, 1 lane l of vector i is lane i of vector l. If each stage adds the two instead of keeping both, lane l
 * of the one vector that is left is the sum over the lanes of x[l], folded by halves as in v_sum.
 */

#if FBP_VBYTES == 64 && !FBP_F64
#define FBP_LANES(F, h) F(0, h, 16), F(1, h, 16), F(2, h, 16), F(3, h, 16), F(4, h, 16), F(5, h, 16), F(6, h, 16), \
    F(7, h, 16), F(8, h, 16), F(9, h, 16), F(10, h, 16), F(11, h, 16), F(12, h, 16), F(13, h, 16), F(14, h, 16), F(15, h, 16)
#define FBP_STAGES(STAGE) STAGE(8) STAGE(4) STAGE(2) STAGE(1)
#elif FBP_VBYTES == 64 || (FBP_VBYTES == 32 && !FBP_F64)
#define FBP_LANES(F, h) F(0, h, 8), F(1, h, 8), F(2, h, 8), F(3, h, 8), F(4, h, 8), F(5, h, 8), F(6, h, 8), F(7, h, 8)
#define FBP_STAGES(STAGE) STAGE(4) STAGE(2) STAGE(1)
#elif FBP_VBYTES == 32 || !FBP_F64
#define FBP_LANES(F, h) F(0, h, 4), F(1, h, 4), F(2, h, 4), F(3, h, 4)
#define FBP_STAGES(STAGE) STAGE(2) STAGE(1)
#else
#define FBP_LANES(F, h) F(0, h, 2), F(1, h, 2)
#define FBP_STAGES(STAGE) STAGE(1)
#endif
/* where lane l of the first and of the second vector of a pair comes from: lanes of a, then (from n on) of b */
#define FBP_FROM_LOW(l, h, n) ((l) & (h) ? (n) + (l) - (h) : (l))
#define FBP_FROM_HIGH(l, h, n) ((l) & (h) ? (n) + (l) : (l) + (h))
#define FBP_LOW(a, b, h) __builtin_shufflevector(a, b, FBP_LANES(FBP_FROM_LOW, h))
#define FBP_HIGH(a, b, h) __builtin_shufflevector(a, b, FBP_LANES(FBP_FROM_HIGH, h))

static FBP_INLINE void FN(v_transpose)(V x[VL])
{
#define FBP_STAGE(h)                                                                                             \
    FBP_UNROLL                                                                                                   \
    for (int i = 0; i < VL; i++)                                                                                 \
        if (!(i & h)) {                                                                                          \
            const V low = FBP_LOW(x[i], x[i + h], h);                                                            \
            x[i + h] = FBP_HIGH(x[i], x[i + h], h);                                                              \
            x[i] = low;                                                                                          \
        }
    FBP_STAGES(FBP_STAGE)
#undef FBP_STAGE
}

/* Lane l is the sum over the lanes of x[l]; x is used up. */
static FBP_INLINE V FN(v_sums)(V x[VL])
{
#define FBP_STAGE(h)                                                                                             \
    FBP_UNROLL                                                                                                   \
    for (int i = 0; i < h; i++) x[i] = FBP_LOW(x[i], x[i + h], h) + FBP_HIGH(x[i], x[i + h], h);
    FBP_STAGES(FBP_STAGE)
#undef FBP_STAGE
    return x[0];
}

/* A square of VL rows and columns, or what is there of it. */
static FBP_INLINE void FN(transpose_square)(T *restrict y, int64_t ldy, const T *restrict x, int64_t ldx, int64_t rows,
                                            int64_t columns)
{
    V v[VL];
    if (rows >= VL && columns >= VL) {
        FBP_UNROLL
        for (int i = 0; i < VL; i++) v[i] = FN(v_load)(x + i * ldx);
        FN(v_transpose)(v);
        FBP_UNROLL
        for (int i = 0; i < VL; i++) FN(v_store)(y + i * ldy, v[i]);
        return;
    }
    FBP_UNROLL
    for (int i = 0; i < VL; i++) v[i] = i < rows ? FN(v_load_up_to)(x + i * ldx, columns) : (V){0};
    FN(v_transpose)(v);
    FBP_UNROLL
    for (int i = 0; i < VL; i++)
        if (i < columns) FN(v_store_up_to)(y + i * ldy, v[i], rows);
}

/* y[c, r] = x[r, c]; rows of y are apart by ldy, of x by ldx. */
static __attribute__((noinline)) void FN(transpose_block)(T *restrict y, int64_t ldy, const T *restrict x, int64_t ldx,
                                                          int64_t R, int64_t C)
{
    if (R == 1 && ldy == 1) {
        memcpy(y, x, (size_t)C * sizeof(T));
        return;
    }
    for (int64_t r = 0; r < R; r += VL)
        for (int64_t c = 0; c < C; c += VL)
            FN(transpose_square)(y + c * ldy + r, ldy, x + r * ldx + c, ldx, R - r, C - c);
}

static void KERNEL(transpose)(T *restrict y /* (C, R) */, const T *restrict x /* (R, C) */, int64_t R, int64_t C)
{
    FN(transpose_block)(y, R, x, C, R, C);
}

#undef FBP_HIGH
#undef FBP_LOW
#undef FBP_FROM_HIGH
#undef FBP_FROM_LOW
#undef FBP_STAGES
#undef FBP_LANES
