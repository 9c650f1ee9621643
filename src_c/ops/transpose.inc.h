/* Transposing, summing many vectors at once, taking lanes in turns: networks of lane exchanges in registers. */

#ifndef FBP_OPAQUE
/* hides from the compiler where a pointer comes from */
#define FBP_OPAQUE(pointer) __asm__("" : "+r"(pointer))
#endif
#if FBP_VBYTES == 64 && !FBP_F64
#define FBP_LANES(F, h) F(0, h, 16), F(1, h, 16), F(2, h, 16), F(3, h, 16), F(4, h, 16), F(5, h, 16), F(6, h, 16), \
    F(7, h, 16), F(8, h, 16), F(9, h, 16), F(10, h, 16), F(11, h, 16), F(12, h, 16), F(13, h, 16), F(14, h, 16),  \
    F(15, h, 16)
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
#define FBP_SHUFFLE(a, b, FROM, h) __builtin_shufflevector(a, b, FBP_LANES(FROM, h))
/* Where lane l of a shuffle comes from: of 2 n lanes, those of a, then those of b. FBP_WIDE lanes make 16 bytes. */
#define FBP_WIDE (16 / (int)sizeof(T))
/* lanes, and pairs of lanes, alternating from the low (h = 0) or high (h = 1) halves of 16 bytes of a and b */
#define FBP_FROM_UNPACK(l, h, n) ((l) % 2 * (n) + (l) / FBP_WIDE * FBP_WIDE + (l) % FBP_WIDE / 2 + (h) * FBP_WIDE / 2)
#define FBP_FROM_UNPACK_PAIRS(l, h, n) ((l) % 4 / 2 * (n) + (l) / 4 * 4 + (l) % 2 + 2 * (h))
/* the even (h = 0) or odd (h = 1) blocks of 16 bytes */
#define FBP_FROM_BLOCKS(l, h, n) ((2 * ((l) / FBP_WIDE) + (h)) * FBP_WIDE + (l) % FBP_WIDE)
/* the first (low) or second (high) half of each 2 h lanes of a, beside that of b */
#define FBP_FROM_LOW(l, h, n) ((l) & (h) ? (n) + (l) - (h) : (l))
#define FBP_FROM_HIGH(l, h, n) ((l) & (h) ? (n) + (l) : (l) + (h))
/* the first (h = 0) or second half of a, in turns with that of b */
#define FBP_FROM_HALVES(l, h, n) ((l) % 2 * (n) + (l) / 2 + (h) * (n) / 2)

/* x[i] is row i of a square before, and column i after. In blocks of 16 bytes first, then the blocks: all exchanges are
 * ones that x86 has a single instruction for. */
static FBP_INLINE void FN(v_transpose)(V x[VL])
{
    FBP_UNROLL
    for (int i = 0; i < VL; i += 2) {
        const V a = x[i], b = x[i + 1];
        x[i] = FBP_SHUFFLE(a, b, FBP_FROM_UNPACK, 0);
        x[i + 1] = FBP_SHUFFLE(a, b, FBP_FROM_UNPACK, 1);
    }
#if !FBP_F64
    FBP_UNROLL
    for (int i = 0; i < VL; i += 4) {
        const V a = x[i], b = x[i + 1], c = x[i + 2], d = x[i + 3];
        x[i] = FBP_SHUFFLE(a, c, FBP_FROM_UNPACK_PAIRS, 0);
        x[i + 1] = FBP_SHUFFLE(a, c, FBP_FROM_UNPACK_PAIRS, 1);
        x[i + 2] = FBP_SHUFFLE(b, d, FBP_FROM_UNPACK_PAIRS, 0);
        x[i + 3] = FBP_SHUFFLE(b, d, FBP_FROM_UNPACK_PAIRS, 1);
    }
#endif
#if FBP_VBYTES == 32
    FBP_UNROLL
    for (int i = 0; i < FBP_WIDE; i++) {
        const V a = x[i], b = x[i + FBP_WIDE];
        x[i] = FBP_SHUFFLE(a, b, FBP_FROM_BLOCKS, 0);
        x[i + FBP_WIDE] = FBP_SHUFFLE(a, b, FBP_FROM_BLOCKS, 1);
    }
#elif FBP_VBYTES == 64
    FBP_UNROLL
    for (int i = 0; i < FBP_WIDE; i++) {
        const V a = x[i], b = x[i + FBP_WIDE], c = x[i + 2 * FBP_WIDE], d = x[i + 3 * FBP_WIDE];
        const V ab = FBP_SHUFFLE(a, b, FBP_FROM_BLOCKS, 0), cd = FBP_SHUFFLE(c, d, FBP_FROM_BLOCKS, 0);
        const V AB = FBP_SHUFFLE(a, b, FBP_FROM_BLOCKS, 1), CD = FBP_SHUFFLE(c, d, FBP_FROM_BLOCKS, 1);
        x[i] = FBP_SHUFFLE(ab, cd, FBP_FROM_BLOCKS, 0);
        x[i + FBP_WIDE] = FBP_SHUFFLE(AB, CD, FBP_FROM_BLOCKS, 0);
        x[i + 2 * FBP_WIDE] = FBP_SHUFFLE(ab, cd, FBP_FROM_BLOCKS, 1);
        x[i + 3 * FBP_WIDE] = FBP_SHUFFLE(AB, CD, FBP_FROM_BLOCKS, 1);
    }
#endif
}

/* Lane l is the sum over the lanes of x[l], folded by halves; x is used up. */
static FBP_INLINE V FN(v_sums)(V x[VL])
{
#define FBP_STAGE(h)                                                                                             \
    FBP_UNROLL                                                                                                   \
    for (int i = 0; i < h; i++)                                                                                  \
        x[i] = FBP_SHUFFLE(x[i], x[i + h], FBP_FROM_LOW, h) + FBP_SHUFFLE(x[i], x[i + h], FBP_FROM_HIGH, h);
    FBP_STAGES(FBP_STAGE)
#undef FBP_STAGE
    return x[0];
}

/* The lanes of a and b in turns: those of their first halves, then of their second ones. */
static FBP_INLINE void FN(v_zip)(V y[2], V a, V b)
{
    y[0] = FBP_SHUFFLE(a, b, FBP_FROM_HALVES, 0);
    y[1] = FBP_SHUFFLE(a, b, FBP_FROM_HALVES, 1);
}

/* A square of VL rows and columns; if it is cut, so many of them are there. */
static FBP_INLINE void FN(transpose_square)(const int cut, T *restrict y, int64_t ldy, const T *restrict x, int64_t ldx,
                                            int64_t rows, int64_t columns)
{
    V v[VL];
    FBP_UNROLL
    for (int i = 0; i < VL; i++) {
        v[i] = !cut ? FN(v_load)(x) : i < rows ? FN(v_load_up_to)(x, columns) : (V){0};
        x += ldx;
        FBP_OPAQUE(x);   /* one address at a time, not all of them first */
    }
    FN(v_transpose)(v);
    FBP_UNROLL
    for (int i = 0; i < VL; i++) {
        if (!cut) FN(v_store)(y, v[i]);
        else if (i < columns) FN(v_store_up_to)(y, v[i], rows);
        y += ldy;
        FBP_OPAQUE(y);
    }
}

/* y[c, r] = x[r, c]; rows of y are apart by ldy, of x by ldx. */
static __attribute__((noinline)) void FN(transpose_block)(T *restrict y, int64_t ldy, const T *restrict x, int64_t ldx,
                                                          int64_t R, int64_t C)
{
    if (R == 1 && ldy == 1) {
        memcpy(y, x, (size_t)C * sizeof(T));
        return;
    }
    for (int64_t r = 0; r < R; r += VL) {
        int64_t c = 0;
        if (r + VL <= R)
            for (; c + VL <= C; c += VL) FN(transpose_square)(0, y + c * ldy + r, ldy, x + r * ldx + c, ldx, VL, VL);
        for (; c < C; c += VL) FN(transpose_square)(1, y + c * ldy + r, ldy, x + r * ldx + c, ldx, R - r, C - c);
    }
}

static void KERNEL(transpose)(T *restrict y /* (C, R) */, const T *restrict x /* (R, C) */, int64_t R, int64_t C)
{
    FN(transpose_block)(y, R, x, C, R, C);
}

#undef FBP_FROM_HALVES
#undef FBP_FROM_HIGH
#undef FBP_FROM_LOW
#undef FBP_FROM_BLOCKS
#undef FBP_FROM_UNPACK_PAIRS
#undef FBP_FROM_UNPACK
#undef FBP_WIDE
#undef FBP_SHUFFLE
#undef FBP_STAGES
#undef FBP_LANES
