/* Matrix products: C = A B, with what follows the product (bias, relu, a derivative) done on the tile in registers.
 *
 * All three products of a linear layer have one form, "broadcast from A, vector from B" with B's rows contiguous:
 *
 *   y  = x W        A = x,  rows apart by I, columns by 1    B = W     (I, O)
 *   dx = dy Wt      A = dy, rows apart by O, columns by 1    B = Wt    (O, I)
 *   dW = xt dy      A = x,  rows apart by 1, columns by I    B = dy    (B, O)
 *
 * A tile of C, FBP_MR rows of two vectors, stays in registers while the inner index k runs. Every element of C is one
 * chain of multiply-adds over k = 0, 1, 2, …, whatever tile it falls in, so its bits do not depend on the tiling.
 */

#ifndef FBP_MR
#if FBP_ISA_AVX512 || FBP_ISA_NEON
#define FBP_MR 12   /* 24 accumulators of 32 registers */
#else
#define FBP_MR 6    /* 12 accumulators of 16 registers */
#endif
#define FBP_KC 512  /* inner indices a pass: a panel of B, FBP_KC rows of two vectors, fits the first-level cache twice over */
#endif

typedef struct FN(epilogue) {
    const T *bias;     /* (N,), added to every row; or NULL */
    const T *gate;     /* (M, N), rows apart by gate_ld: C is zeroed where the gate is not above 0; or NULL */
    int64_t gate_ld;
    int32_t relu;      /* C = max(0, C) */
} FN(epilogue);

/* One tile: MR rows, NV vectors of which the last has `lanes` lanes. `first` and `last` say whether the product over k
 * begins and ends here: a tile begins from 0 or from C, and the epilogue is done at the end. */
static FBP_INLINE void FN(tile)(const int MR, const int NV, const int partial, T *restrict C, int64_t ldc,
                                const T *restrict A, int64_t a_row, int64_t a_k, const T *restrict B, int64_t ldb,
                                int64_t K, int64_t lanes, int first, int last, const T *bias, const T *gate,
                                int64_t gate_ld, int32_t relu)
{
    V acc[12][2];
    FBP_UNROLL
    for (int r = 0; r < MR; r++) {
        FBP_UNROLL
        for (int v = 0; v < NV; v++)
            acc[r][v] = first ? (V){0} : partial && v == NV - 1 ? FN(v_load_n)(C + r * ldc + v * VL, lanes)
                                                                : FN(v_load)(C + r * ldc + v * VL);
    }
    for (int64_t k = 0; k < K; k++) {
        V b[2];
        FBP_UNROLL
        for (int v = 0; v < NV; v++)
            b[v] = partial && v == NV - 1 ? FN(v_load_n)(B + k * ldb + v * VL, lanes) : FN(v_load)(B + k * ldb + v * VL);
        FBP_UNROLL
        for (int r = 0; r < MR; r++) {
            const V a = FN(v_set1)(A[r * a_row + k * a_k]);
            FBP_UNROLL
            for (int v = 0; v < NV; v++) acc[r][v] += a * b[v];
        }
    }
    FBP_UNROLL
    for (int v = 0; v < NV; v++) {
        const int cut = partial && v == NV - 1;
        if (last && bias) {
            const V b = cut ? FN(v_load_n)(bias + v * VL, lanes) : FN(v_load)(bias + v * VL);
            FBP_UNROLL
            for (int r = 0; r < MR; r++) acc[r][v] += b;
        }
        if (last && relu) {
            FBP_UNROLL
            for (int r = 0; r < MR; r++) acc[r][v] = FN(v_max)((V){0}, acc[r][v]);
        }
        if (last && gate) {
            FBP_UNROLL
            for (int r = 0; r < MR; r++) {
                const T *g = gate + r * gate_ld + v * VL;
                const V s = cut ? FN(v_load_n)(g, lanes) : FN(v_load)(g);
                acc[r][v] = FN(v_gate)(s, acc[r][v]);
            }
        }
        FBP_UNROLL
        for (int r = 0; r < MR; r++) {
            if (cut) FN(v_store_n)(C + r * ldc + v * VL, acc[r][v], lanes);
            else FN(v_store)(C + r * ldc + v * VL, acc[r][v]);
        }
    }
}

#define FBP_TILE_ARGS T *C, int64_t ldc, const T *A, int64_t a_row, int64_t a_k, const T *B, int64_t ldb, int64_t K, \
                      int64_t lanes, int first, int last, const T *bias, const T *gate, int64_t gate_ld, int32_t relu
#define FBP_TILE(MR, NV, P) static __attribute__((noinline)) void FN(tile_##MR##_##NV##_##P)(FBP_TILE_ARGS)      \
{                                                                                                               \
    FN(tile)(MR, NV, P, C, ldc, A, a_row, a_k, B, ldb, K, lanes, first, last, bias, gate, gate_ld, relu);        \
}
#define FBP_TILES(MR) FBP_TILE(MR, 1, 0) FBP_TILE(MR, 1, 1) FBP_TILE(MR, 2, 0) FBP_TILE(MR, 2, 1)
FBP_TILES(1) FBP_TILES(2) FBP_TILES(4) FBP_TILES(6)
#if FBP_MR == 12
FBP_TILES(8) FBP_TILES(12)
#endif
#undef FBP_TILES
#undef FBP_TILE

typedef void (*FN(tile_fn))(FBP_TILE_ARGS);
#undef FBP_TILE_ARGS

/* The tile for up to `rows` rows: as tall as possible; *height says how tall it is. */
static inline const FN(tile_fn) *FN(tile_for)(int64_t rows, int64_t *height)
{
#define FBP_ROW(MR) {FN(tile_##MR##_1_0), FN(tile_##MR##_1_1), FN(tile_##MR##_2_0), FN(tile_##MR##_2_1)}
    static const FN(tile_fn) tiles[][4] = {FBP_ROW(1), FBP_ROW(2), FBP_ROW(4), FBP_ROW(6),
#if FBP_MR == 12
                                           FBP_ROW(8), FBP_ROW(12)
#endif
    };
#undef FBP_ROW
    static const int8_t heights[] = {1, 2, 4, 6, 8, 12};
    int32_t i = FBP_MR == 12 ? 5 : 3;
    while (heights[i] > rows) i--;
    *height = heights[i];
    return tiles[i];
}

/* C (M, N) = A (M, K) B (K, N), and the epilogue. */
static void FN(gemm)(T *C, int64_t ldc, const T *A, int64_t a_row, int64_t a_k, const T *B, int64_t ldb,
                     int64_t M, int64_t N, int64_t K, const FN(epilogue) *e)
{
    int64_t k0 = 0;
    do {
        const int64_t kc = K - k0 > FBP_KC + FBP_KC / 2 ? FBP_KC : K - k0;
        const int first = k0 == 0, last = k0 + kc == K;
        for (int64_t i = 0, height; i < M; i += height) {
            const FN(tile_fn) *tiles = FN(tile_for)(M - i, &height);
            for (int64_t j = 0; j < N; j += 2 * VL) {
                const int64_t left = N - j < 2 * VL ? N - j : 2 * VL;
                const int wide = left > VL;
                const int64_t lanes = wide ? left - VL : left;
                tiles[2 * wide + (lanes < VL)](C + i * ldc + j, ldc, A + i * a_row + k0 * a_k, a_row, a_k,
                                               B + k0 * ldb + j, ldb, kc, lanes, first, last,
                                               e->bias ? e->bias + j : NULL,
                                               e->gate ? e->gate + i * e->gate_ld + j : NULL, e->gate_ld, e->relu);
            }
        }
        k0 += kc;
    } while (k0 < K);
}
