/* Matrix products: the tiles of C = A B, with what comes before and after done while a tile is in registers.
 *
 * All three products of a linear layer have one form, "broadcast from A, vector from B" with B's rows contiguous:
 *
 *   y  = x W        A = x,  rows apart by I, columns by 1    B = W     (I, O)
 *   dx = dy Wt      A = dy, rows apart by O, columns by 1    B = Wt    (O, I), which a large W is copied to by panels
 *   dW = xt dy      A = x,  rows apart by 1, columns by I    B = dy    (B, O)
 *
 * A tile of C stays in registers while the inner index k runs. Every element of C is one chain of multiply-adds that
 * starts from the bias (or 0) and runs over k = 0, 1, 2, …, whatever tile it falls in and whether or not its operands
 * were packed, so its bits depend on none of that.
 *
 * Tall products use tiles of two vectors and up to FBP_MR rows. Few rows get wider tiles, so that there are always
 * enough independent chains to keep the multipliers busy. gemm_pack.inc.h cuts a product into tiles.
 */

#ifndef FBP_MR
#if FBP_ISA_AVX512 || FBP_ISA_NEON
#define FBP_MR 12   /* 24 accumulators of 32 registers */
#define FBP_HEIGHTS(FEW, MANY, PACK) \
    FEW(1) FEW(2) FEW(3) FEW(4) FEW(5) FEW(6) MANY(7) MANY(8) PACK(9) PACK(10) PACK(11) PACK(12)
#else
#define FBP_MR 6    /* 12 accumulators of 16 registers */
#define FBP_HEIGHTS(FEW, MANY, PACK) FEW(1) FEW(2) FEW(3) MANY(4) PACK(5) PACK(6)
#endif
#define FBP_LATE 32        /* so many steps of k before its end, a tile fetches what it needs there */
#define FBP_PACK_AHEAD 32  /* rows of B, fetched ahead of a packing tile: where rows are far apart the CPU does not */
#endif

/* What comes before and after the product. All members may be 0. */
typedef struct FN(epilogue) {
    const T *bias;            /* (N,), added to every row */
    const T *scale, *shift;   /* (N,): the sum is multiplied by one, and the other is added; both or none */
    const T *gate;            /* (M, N), rows apart by gate_ld: C is zeroed where the gate is not above 0 */
    int64_t gate_ld;
    int32_t relu;             /* C = max(0, C) */
    /* called with each block of rows of C, as soon as it is complete */
    void (*finish)(const void *context, int64_t i, int64_t rows);
    const void *context;
} FN(epilogue);

typedef struct FN(product) FN(product);
typedef void (*FN(tile_fn))(const FN(product) *p, const T *A, const T *B, int64_t i, int64_t j, int64_t lanes);

/* What all tiles of a product have in common. */
struct FN(product) {
    const FN(tile_fn) (*tiles)[6];   /* by height, then as FN(two_vectors) and its like say */
    T *C;
    int64_t ldc, a_row, a_k, ldb, K;
    int32_t first, last;      /* does the sum over k begin, and end, here? else C holds a part of it before, or after */
    const FN(epilogue) *e;
    T *panel;                 /* packing tiles leave B's columns here, two vectors a row; NULL: nothing is packed */
    const T *ahead;           /* the next panel's rows of B, ahead_ld apart: every FBP_LATE steps of k a tile fetches */
    int64_t ahead_ld, ahead_rows;   /* so many of them */
    int64_t ahead_step;       /* from where one tile begins to fetch, to where the next does */
};

/* The vector at p, or its first lanes if it is cut. */
static FBP_INLINE V FN(v_load_cut)(const int cut, const T *p, int64_t lanes)
{
    return cut ? FN(v_load_n)(p, lanes) : FN(v_load)(p);
}

/* MR rows of NV vectors from p on, into the cache: 0 to be read, 1 to be written, 2 to be read a good while later. */
static FBP_INLINE void FN(fetch)(const int MR, const int NV, const int why, const T *p, int64_t ld)
{
    FBP_UNROLL
    for (int r = 0; r < MR; r++) {
        FBP_UNROLL
        for (int byte = 0; byte < NV * FBP_VBYTES; byte += 64) {
            if (why == 2) __builtin_prefetch((const char *)p + byte, 0, 2);
            else if (why == 1) __builtin_prefetch((const char *)p + byte, 1);
            else __builtin_prefetch((const char *)p + byte, 0);
        }
        p += ld;
    }
}

static FBP_INLINE void FN(fetch_for_end)(const int MR, const int NV, const FN(product) *p, const T *C, int64_t i,
                                         int64_t j)
{
    const FN(epilogue) *e = p->e;
    FN(fetch)(MR, NV, 1, p->first ? C : C + MR * p->ldc, p->ldc);   /* later parts of k: C of the next tile */
    if (!p->last) return;
    if (e->gate) FN(fetch)(MR, NV, 0, e->gate + i * e->gate_ld + j, e->gate_ld);
}

/* c + a b; or, if bf16, lanes of a and b are pairs of bfloat16, whose two products are added to c. */
static FBP_INLINE V FN(v_multiply_add)(const int bf16, V a, V b, V c)
{
#if FBP_BF16
    if (bf16) return FN(v_dot_pairs)(a, b, c);
#else
    (void)bf16;
#endif
    return FN(v_fma)(a, b, c);
}

/* One tile: MR rows, NV vectors of which the last has `lanes` lanes if it is cut. A and B are where k = 0. */
static FBP_INLINE void FN(tile)(const int MR, const int NV, const int cut, const int pack, const int bf16,
                                const FN(product) *p, const T *A, const T *B, int64_t i, int64_t j, int64_t lanes)
{
    V acc[12][8];
    const FN(epilogue) *e = p->e;
    const int64_t a_row = p->a_row, a_k = p->a_k, ldb = p->ldb, ldc = p->ldc;
    T *C = p->C + i * ldc + j;
    FBP_UNROLL
    for (int v = 0; v < NV; v++) {
        const V start = p->first && e->bias ? FN(v_load_cut)(cut && v == NV - 1, e->bias + j + v * VL, lanes) : (V){0};
        FBP_UNROLL
        for (int r = 0; r < MR; r++) acc[r][v] = start;
    }
    if (!p->first) {
        FBP_UNROLL
        for (int r = 0; r < MR; r++) {
            FBP_UNROLL
            for (int v = 0; v < NV; v++) acc[r][v] = FN(v_load_cut)(cut && v == NV - 1, C + r * ldc + v * VL, lanes);
        }
    }
    /* every third row has a pointer of its own: the rows between are reached by scaled indices, not more registers */
    const T *a_rows[4] = {A, A + 3 * a_row, A + 6 * a_row, A + 9 * a_row};
    FBP_UNROLL
    for (int r = 3; r < MR; r += 3) FBP_OPAQUE(a_rows[r / 3]);
    T *panel = p->panel;
    const T *ahead = p->ahead;
    for (int64_t left = p->K; left > 0;) {
        int64_t steps = left < 2 * FBP_LATE ? left : FBP_LATE;
        left -= steps;
        for (; steps > 0; steps--) {
            if (NV <= 2) {
                V b[2];
                FBP_UNROLL
                for (int v = 0; v < NV; v++) {
                    b[v] = FN(v_load_cut)(cut && v == NV - 1, B + v * VL, lanes);
                    if (pack) {
                        FN(v_store)(panel + v * VL, b[v]);
                        __builtin_prefetch(B + FBP_PACK_AHEAD * ldb + v * VL);
                    }
                }
                FBP_UNROLL
                for (int r = 0; r < MR; r++) {
                    const V a = FN(v_set1)(a_rows[r / 3][r % 3 * a_row]);
                    FBP_UNROLL
                    for (int v = 0; v < NV; v++) acc[r][v] = FN(v_multiply_add)(bf16, a, b[v], acc[r][v]);
                }
            } else {
                V a[12];
                FBP_UNROLL
                for (int r = 0; r < MR; r++) a[r] = FN(v_set1)(a_rows[r / 3][r % 3 * a_row]);
                FBP_UNROLL
                for (int v = 0; v < NV; v++) {
                    const V b = FN(v_load_cut)(cut && v == NV - 1, B + v * VL, lanes);
                    FBP_UNROLL
                    for (int r = 0; r < MR; r++) acc[r][v] = FN(v_multiply_add)(bf16, a[r], b, acc[r][v]);
                }
            }
            FBP_UNROLL
            for (int r = 0; r < MR; r += 3) a_rows[r / 3] += a_k;
            B += ldb;
            if (pack) panel += 2 * VL;
        }
        if (2 * MR <= FBP_MR) continue;
        if (left > 0 && left < 2 * FBP_LATE) FN(fetch_for_end)(MR, NV, p, C, i, j);
        for (int64_t n = left > 0 ? p->ahead_rows : 0; n > 0; n--, ahead += p->ahead_ld) FN(fetch)(1, 2, 2, ahead, 0);
    }
    if (p->last && e->scale) {
        FBP_UNROLL
        for (int v = 0; v < NV; v++) {
            const V scale = FN(v_load_cut)(cut && v == NV - 1, e->scale + j + v * VL, lanes);
            const V shift = FN(v_load_cut)(cut && v == NV - 1, e->shift + j + v * VL, lanes);
            FBP_UNROLL
            for (int r = 0; r < MR; r++) acc[r][v] = FN(v_fma)(acc[r][v], scale, shift);
        }
    }
    if (p->last && e->relu) {
        FBP_UNROLL
        for (int r = 0; r < MR; r++) {
            FBP_UNROLL
            for (int v = 0; v < NV; v++) acc[r][v] = FN(v_max)((V){0}, acc[r][v]);
        }
    }
    if (p->last && e->gate) {
        const T *gate = e->gate + i * e->gate_ld + j;
        FBP_UNROLL
        for (int r = 0; r < MR; r++) {
            FBP_UNROLL
            for (int v = 0; v < NV; v++)
                acc[r][v] = FN(v_gate)(FN(v_load_cut)(cut && v == NV - 1, gate + v * VL, lanes), acc[r][v]);
            gate += e->gate_ld;
        }
    }
    FBP_UNROLL
    for (int r = 0; r < MR; r++) {
        FBP_UNROLL
        for (int v = 0; v < NV; v++) {
            if (cut && v == NV - 1) FN(v_store_n)(C + v * VL, acc[r][v], lanes);
            else FN(v_store)(C + v * VL, acc[r][v]);
        }
        C += ldc;
    }
}

#define FBP_TILE(MR, NV, CUT, PACK)                                                                              \
static __attribute__((noinline)) void FN(tile_##MR##_##NV##_##CUT##_##PACK)                                      \
    (const FN(product) *p, const T *A, const T *B, int64_t i, int64_t j, int64_t lanes)                          \
{                                                                                                                \
    FN(tile)(MR, NV, CUT, PACK, 0, p, A, B, i, j, lanes);                                                        \
}
#define FBP_TILES(MR, NV) FBP_TILE(MR, NV, 0, 0) FBP_TILE(MR, NV, 1, 0)
#define FBP_TILES_FEW(MR) FBP_TILES(MR, 1) FBP_TILES(MR, 2) FBP_TILES(MR, 4)
#define FBP_TILES_MANY(MR) FBP_TILES(MR, 1) FBP_TILES(MR, 2)
#define FBP_TILES_PACK(MR) FBP_TILES_MANY(MR) FBP_TILE(MR, 2, 0, 1) FBP_TILE(MR, 2, 1, 1)
FBP_TILE(1, 8, 0, 0)
FBP_HEIGHTS(FBP_TILES_FEW, FBP_TILES_MANY, FBP_TILES_PACK)
#undef FBP_TILES_PACK
#undef FBP_TILES_MANY
#undef FBP_TILES_FEW
#undef FBP_TILES
#undef FBP_TILE

/* Where the tile of one, two or four vectors stands, its last vector whole or (one further) cut; and the packing one */
enum { FN(one_vector) = 0, FN(two_vectors) = 2, FN(four_vectors) = 4, FN(packing) = 4 };

static const FN(tile_fn) FN(tiles)[FBP_MR + 1][6] = {
#define FBP_TWO(MR, NV, PACK) FN(tile_##MR##_##NV##_0_##PACK), FN(tile_##MR##_##NV##_1_##PACK)
#define FBP_ROW_FEW(MR) [MR] = {FBP_TWO(MR, 1, 0), FBP_TWO(MR, 2, 0), FBP_TWO(MR, 4, 0)},
#define FBP_ROW_MANY(MR) [MR] = {FBP_TWO(MR, 1, 0), FBP_TWO(MR, 2, 0)},
#define FBP_ROW_PACK(MR) [MR] = {FBP_TWO(MR, 1, 0), FBP_TWO(MR, 2, 0), FBP_TWO(MR, 2, 1)},
    FBP_HEIGHTS(FBP_ROW_FEW, FBP_ROW_MANY, FBP_ROW_PACK)
#undef FBP_ROW_PACK
#undef FBP_ROW_MANY
#undef FBP_ROW_FEW
#undef FBP_TWO
};
