/* Products of operands rounded to bfloat16, added up in float32: twice as many multiply-adds a cycle.
 *
 * Both operands are always copied, into matrices of pairs: 4 bytes hold the elements 2 k and 2 k + 1 of the inner index
 * (past its end: 0). To a tile such a matrix looks like one of float32, half as long in k, and it is the same tile.
 * Every element of C is one chain over the pairs in order, whatever the tiling, so all sizes go this way: its bits do
 * not depend on how many rows there are.
 *
 * Operands are rounded to nearest even; subnormal operands and sums count as 0.
 */

#if FBP_BF16

#ifndef FBP_BF16_KC
#define FBP_BF16_KC 1024                                             /* of the inner index at a time; even */
#define FBP_BF16_PANEL_BYTES (FBP_BF16_KC * FBP_VBYTES)              /* a panel of B: pairs of two vectors of columns */
#define FBP_BF16_BLOCK_BYTES (FBP_PRODUCT_SCRATCH_BYTES - FBP_BF16_PANEL_BYTES)
#define FBP_BF16_ROWS 264                                            /* of a block of A at the most */
#define FBP_BF16_FINISH_ROWS 192                                     /* likewise, if the block of C is finished */
#endif

/* to[k, c] = the pair (from[2 k, c], from[2 k + 1, c]), for so many rows and columns of `from`. Rows of `to` have room
 * for whole vectors. */
static void FN(pair_rows)(T *restrict to, int64_t ld, const T *restrict from, int64_t from_ld, int64_t rows,
                          int64_t columns)
{
    for (int64_t k = 0; k < rows; k += 2) {
        const T *next = from + from_ld;
        const int64_t has_next = k + 1 < rows;
        int64_t c = 0;
        for (; c + VL <= columns; c += VL) {
            const V second = has_next ? FN(v_load)(next + c) : (V){0};
            FN(v_store)(to + c, FN(v_pairs)(FN(v_load)(from + c), second));
        }
        if (c < columns) {
            const V second = has_next ? FN(v_load_n)(next + c, columns - c) : (V){0};
            FN(v_store)(to + c, FN(v_pairs)(FN(v_load_n)(from + c, columns - c), second));
        }
        to += ld;
        from += 2 * from_ld;
    }
}

/* to[r, k] = the pair (from[r, 2 k], from[r, 2 k + 1]), likewise. */
static void FN(pair_columns)(T *restrict to, int64_t ld, const T *restrict from, int64_t from_ld, int64_t rows,
                             int64_t columns)
{
    for (int64_t r = 0; r < rows; r++) {
        int64_t c = 0;
        for (; c + 2 * VL <= columns; c += 2 * VL)
            FN(v_store)(to + c / 2, FN(v_rounded)(FN(v_load)(from + c), FN(v_load)(from + c + VL)));
        if (c < columns) {
            const V a = FN(v_load_up_to)(from + c, columns - c);
            const V b = c + VL < columns ? FN(v_load_n)(from + c + VL, columns - c - VL) : (V){0};
            FN(v_store)(to + c / 2, FN(v_rounded)(a, b));
        }
        to += ld;
        from += from_ld;
    }
}

static void FN(copy_pairs)(T *restrict panel, const T *restrict B, int64_t ld, int64_t depth, int64_t columns)
{
    FN(pair_rows)(panel, 2 * VL, B, ld, depth, columns);
}

/* Pairs are neighbours in a B that is given transposed, and then change places as numbers of 4 bytes do. */
static void FN(copy_pairs_transposed)(T *restrict panel, const T *restrict B, int64_t ld, int64_t depth, int64_t columns)
{
    for (int64_t c = 0; c < columns; c += VL)
        for (int64_t k = 0; k < depth; k += 2 * VL) {
            V pairs[VL];
            const T *from = B + c * ld + k;
            FBP_UNROLL
            for (int r = 0; r < VL; r++) {
                const V a = c + r < columns ? FN(v_load_up_to)(from, depth - k) : (V){0};
                const V b = c + r < columns && k + VL < depth ? FN(v_load_up_to)(from + VL, depth - k - VL) : (V){0};
                pairs[r] = FN(v_rounded)(a, b);
                from += ld;
                FBP_OPAQUE(from);
            }
            FN(v_transpose)(pairs);
            FBP_UNROLL
            for (int r = 0; r < VL; r++)
                if (k + 2 * r < depth) FN(v_store)(panel + (k / 2 + r) * 2 * VL + c, pairs[r]);
        }
}

#define FBP_TILE(MR, NV, CUT)                                                                                    \
static __attribute__((noinline)) void FN(bf16_tile_##MR##_##NV##_##CUT)                                          \
    (const FN(product) *p, const T *A, const T *B, int64_t i, int64_t j, int64_t lanes)                          \
{                                                                                                                \
    FN(tile)(MR, NV, CUT, 0, 1, p, A, B, i, j, lanes);                                                           \
}
#define FBP_TILES(MR) FBP_TILE(MR, 1, 0) FBP_TILE(MR, 1, 1) FBP_TILE(MR, 2, 0) FBP_TILE(MR, 2, 1)
FBP_HEIGHTS(FBP_TILES, FBP_TILES, FBP_TILES)
#undef FBP_TILES
#undef FBP_TILE

static const FN(tile_fn) FN(bf16_tiles)[FBP_MR + 1][6] = {
#define FBP_TWO(MR, NV) FN(bf16_tile_##MR##_##NV##_0), FN(bf16_tile_##MR##_##NV##_1)
#define FBP_ROW(MR) [MR] = {FBP_TWO(MR, 1), FBP_TWO(MR, 2)},
    FBP_HEIGHTS(FBP_ROW, FBP_ROW, FBP_ROW)
#undef FBP_ROW
#undef FBP_TWO
};

/* The rows of a block of A, of `depth` at a time: as many as the scratch memory holds and it is good to have. */
static int64_t FN(bf16_rows)(int64_t a_k, int64_t depth, int32_t finish)
{
    const int64_t places = FBP_BF16_BLOCK_BYTES / (int64_t)sizeof(T), pairs = FN(parts)(depth, 2);
    const int64_t fit = a_k == 1 ? places / FN(spread)(pairs) : places / pairs - 2 * VL;
    return FN(min)(fit, finish ? FBP_BF16_FINISH_ROWS : FBP_BF16_ROWS);
}

/* As FN(gemm). */
static void FN(gemm_bf16)(T *C, int64_t ldc, const T *A, int64_t a_row, int64_t a_k, const T *B, int64_t b_k,
                          int64_t b_j, int64_t M, int64_t N, int64_t K, const FN(epilogue) *e, void *scratch)
{
    if (M <= 0 || N <= 0) return;
    const int64_t k_parts = FN(parts)(K, FBP_BF16_KC), most = 2 * FN(parts)(K, 2 * k_parts);
    const int64_t row_parts = FN(parts)(M, FN(bf16_rows)(a_k, most, e->finish != NULL));
    const FN(copy_fn) copy = b_j == 1 ? FN(copy_pairs) : FN(copy_pairs_transposed);
    FN(product) p = {.tiles = FN(bf16_tiles), .C = C, .ldc = ldc, .e = e, .panel = scratch};
    T *block = (T *)((char *)scratch + FBP_BF16_PANEL_BYTES);
    for (int64_t row_part = 0, i = 0, rows; row_part < row_parts; row_part++, i += rows) {
        rows = FN(part)(M, row_parts, row_part);
        for (int64_t k = 0; k < K; k += most) {
            const int64_t depth = FN(min)(most, K - k);
            const T *A_block = A + i * a_row + k * a_k;
            p.K = FN(parts)(depth, 2);
            p.first = k == 0;
            p.last = k + most >= K;
            p.a_row = a_k == 1 ? FN(spread)(p.K) : 1;
            p.a_k = a_k == 1 ? 1 : FN(spread)(rows);
            if (a_k == 1) FN(pair_columns)(block, p.a_row, A_block, a_row, rows, depth);
            else FN(pair_rows)(block, p.a_k, A_block, a_k, depth, rows);
            FN(gemm_block_copied)(&p, block, B + k * b_k, b_k, b_j, i, rows, N, depth, copy);
        }
        if (e->finish) e->finish(e->context, i, rows);
    }
}

#endif

/* C (M, N) = A (M, K) B (K, N): the product of a linear layer, in float32 or as its node says. */
static inline void FN(product_of)(const fbp_node *n, T *C, int64_t ldc, const T *A, int64_t a_row, int64_t a_k,
                                  const T *B, int64_t b_k, int64_t b_j, int64_t M, int64_t N, int64_t K,
                                  const FN(epilogue) *e, void *scratch)
{
#if FBP_BF16
    if (n->bf16) {
        FN(gemm_bf16)(C, ldc, A, a_row, a_k, B, b_k, b_j, M, N, K, e, scratch);
        return;
    }
#else
    (void)n;
#endif
    FN(gemm)(C, ldc, A, a_row, a_k, B, b_k, b_j, M, N, K, e, scratch);
}
