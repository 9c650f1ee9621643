/* How a product is cut into tiles, and which operands are copied first.
 *
 * A product is cut into blocks of rows: a block of A stays in the second-level cache while all its columns are made.
 * Operands are read where they are if they fit the cache. Copies are made where they do not, or where rows are so far
 * apart that they fall into few sets of the cache; then the inner index is cut as well, FBP_KC at a time. The first
 * tile of a panel of B (two vectors wide) copies it as it goes, which costs two stores for 24 multiply-adds; if B is
 * given transposed, each panel is transposed before, however few rows there are.
 */

#ifndef FBP_KC
#define FBP_KC (2048 / (int64_t)sizeof(T))
#define FBP_PANEL_BYTES (64 * 1024)                             /* FBP_KC rows of two vectors, at the most */
#define FBP_BLOCK_BYTES (448 * 1024)                            /* a block of A, copied or not */
#define FBP_CACHED_BYTES (1024 * 1024)                          /* more of B than this is copied */
#define FBP_FAR_BYTES 2048                                      /* rows apart by multiples of this fall into few sets */
#define FBP_PACK_ROWS 48                                        /* shorter products pack nothing but a transposed B */
#define FBP_PACK_COLUMNS 16                                     /* and narrower ones, in vectors, not A */
#define FBP_FINISH_BYTES (192 * 1024)                           /* of a block of C finished while in the cache */
#define FBP_REPACK_ROWS 192                                     /* but so many rows if each block copies B anew */
#endif

static inline int64_t FN(min)(int64_t a, int64_t b) { return a < b ? a : b; }

/* n cut into parts of at most `most`, as even as possible: how many, and how long part i is */
static inline int64_t FN(parts)(int64_t n, int64_t most) { return (n + most - 1) / most; }
static inline int64_t FN(part)(int64_t n, int64_t parts, int64_t i) { return n / parts + (i < n % parts); }

static inline int32_t FN(is_far)(int64_t ld) { return ld * (int64_t)sizeof(T) % FBP_FAR_BYTES == 0; }

/* Rows of n elements are copied this far apart: an odd number of cache lines, so that they fall into different sets. */
static inline int64_t FN(spread)(int64_t n)
{
    const int64_t line = 64 / (int64_t)sizeof(T);
    return (FN(parts)(n, line) | 1) * line;
}

static void FN(copy_rows_apart)(T *restrict to, int64_t ld, const T *restrict from, int64_t from_ld, int64_t rows,
                                int64_t n)
{
    for (int64_t r = 0; r < rows; r++) {
        int64_t c = 0;
        for (; c + 4 * VL <= n; c += 4 * VL) {
            FBP_UNROLL
            for (int v = 0; v < 4; v++) FN(v_store)(to + c + v * VL, FN(v_load)(from + c + v * VL));
        }
        for (; c < n; c += VL) FN(v_store_up_to)(to + c, FN(v_load_up_to)(from + c, n - c), n - c);
        to += ld;
        from += from_ld;
    }
}

/* How often a tile fetches p->ahead_rows ahead. */
static inline int64_t FN(fetches)(const FN(product) *p)
{
    return p->K < 2 * FBP_LATE ? 0 : (p->K - FBP_LATE) / FBP_LATE;
}

/* Rows i to i + M of one panel of columns. A is row i; `which` and `lanes` say how wide the panel is. */
static inline void FN(gemm_panel)(FN(product) *p, const T *A, const T *B, int64_t i, int64_t M, int64_t j,
                                  int which, int64_t lanes)
{
    if (M <= FBP_MR) {
        if (M > 0) p->tiles[M][which](p, A, B, i, j, lanes);
        return;
    }
    const int64_t n = FN(parts)(M, FBP_MR), height = M / n, taller = M % n;
    for (int64_t t = 0; t < n; t++) {
        const int64_t rows = height + (t < taller);
        p->tiles[rows][which](p, A, B, i, j, lanes);
        A += rows * p->a_row;
        i += rows;
        p->ahead += p->ahead_step;
    }
}

/* The same for a panel of two vectors, which is copied by its first tile, while the next one, if any, is fetched. */
static inline void FN(gemm_panel_packed)(FN(product) *p, const T *A, const T *B, int64_t i, int64_t M, int64_t j,
                                         int64_t lanes, int32_t last)
{
    const int64_t n = FN(parts)(M, FBP_MR), rows = FN(part)(M, n, 0), ldb = p->ldb;
    p->ahead = B + 2 * VL;
    p->ahead_ld = ldb;
    p->ahead_rows = last ? 0 : FN(parts)(FBP_LATE, n);
    p->ahead_step = FN(fetches)(p) * p->ahead_rows * ldb;
    p->tiles[rows][FN(packing) + (lanes < VL)](p, A, B, i, j, lanes);
    p->ahead += p->ahead_step;
    p->ldb = 2 * VL;
    FN(gemm_panel)(p, A + rows * p->a_row, p->panel, i + rows, M - rows, j, FN(two_vectors) + (lanes < VL), lanes);
    p->ldb = ldb;
    p->ahead_rows = p->ahead_step = 0;
}

/* Rows i to i + M, columns j to j + N. A is row i, B all of B. */
static void FN(gemm_block)(FN(product) *p, const T *A, const T *B, int64_t i, int64_t M, int64_t j, int64_t N)
{
    const int64_t end = j + N;
    B += j;
    if (M == 1)
        for (; j + 8 * VL <= end; j += 8 * VL, B += 8 * VL) FN(tile_1_8_0_0)(p, A, B, i, j, VL);
    if (2 * M <= FBP_MR)
        for (; j + 3 * VL < end; j += 4 * VL, B += 4 * VL) {
            const int64_t lanes = FN(min)(end - j - 3 * VL, VL);
            p->tiles[M][FN(four_vectors) + (lanes < VL)](p, A, B, i, j, lanes);
        }
    for (; j + VL < end; j += 2 * VL, B += 2 * VL) {
        const int64_t lanes = FN(min)(end - j - VL, VL);
        if (p->panel && M >= FBP_PACK_ROWS) FN(gemm_panel_packed)(p, A, B, i, M, j, lanes, j + 2 * VL >= end);
        else FN(gemm_panel)(p, A, B, i, M, j, FN(two_vectors) + (lanes < VL), lanes);
    }
    if (j < end) FN(gemm_panel)(p, A, B, i, M, j, FN(one_vector) + (end - j < VL), end - j);
}

/* Copies so many columns of B, for `depth` of the inner index, to a panel: rows of two vectors. Rows of B, or if it is
 * given transposed its columns, are ld apart. */
typedef void (*FN(copy_fn))(T *restrict panel, const T *restrict B, int64_t ld, int64_t depth, int64_t columns);

static void FN(copy_transposed)(T *restrict panel, const T *restrict B, int64_t ld, int64_t depth, int64_t columns)
{
    FN(transpose_block)(panel, 2 * VL, B, ld, columns, depth);
}

/* Rows i to i + M, for `depth` of the inner index, where all of B is copied, panel by panel, whatever M. While the tiles
 * of a panel are made, they fetch the next one: of a B given transposed, each a few columns of all its rows. */
static void FN(gemm_block_copied)(FN(product) *p, const T *A, const T *B, int64_t b_k, int64_t b_j, int64_t i, int64_t M,
                                  int64_t N, int64_t depth, FN(copy_fn) copy)
{
    const int64_t n = FN(parts)(M, FBP_MR), times = FN(fetches)(p), ld = b_j == 1 ? b_k : b_j;
    const int64_t fetched = times == 0 ? 0 : b_j == 1 ? FN(parts)(depth, n * times) : FN(parts)(2 * VL, times);
    p->ldb = 2 * VL;
    p->ahead_ld = ld;
    p->ahead_step = b_j == 1 ? times * fetched * ld : 2 * VL;
    for (int64_t j = 0; j < N; j += 2 * VL) {
        const int64_t columns = FN(min)(2 * VL, N - j), lanes = columns > VL ? columns - VL : columns;
        copy(p->panel, B + j * b_j, ld, depth, columns);
        p->ahead = B + (j + 2 * VL) * b_j;
        p->ahead_rows = j + 4 * VL <= N ? fetched : 0;
        FN(gemm_panel)(p, A, p->panel, i, M, j, (columns > VL ? FN(two_vectors) : FN(one_vector)) + (lanes < VL), lanes);
    }
}

/* How a product is cut, and what is copied. */
typedef struct FN(cuts) {
    int32_t pack_a, pack_b;
    int64_t k_parts, row_parts;
} FN(cuts);

static FN(cuts) FN(gemm_cuts)(int64_t a_row, int64_t a_k, int64_t b_k, int64_t b_j, int64_t M, int64_t N, int64_t K,
                              int32_t finish, int32_t may_pack)
{
    const int64_t size = sizeof(T);
    FN(cuts) c = {.k_parts = 1};
    if (may_pack && K > 0) {
        c.pack_a = N >= FBP_PACK_COLUMNS * VL && FN(is_far)(a_k == 1 ? a_row : a_k);
        c.pack_b = b_j != 1 || K * N * size > FBP_CACHED_BYTES || (FN(is_far)(b_k) && K > FBP_PACK_ROWS);
    }
    if (c.pack_a || c.pack_b) c.k_parts = FN(parts)(K, FBP_KC);
    /* copied, a row of A or of its transpose is up to two cache lines longer */
    const int64_t pad = 128 / size;
    int64_t rows = FBP_BLOCK_BYTES / size / (FN(parts)(K, c.k_parts) + pad) - pad;
    if (finish) {
        const int64_t least = c.pack_b ? FBP_REPACK_ROWS : FBP_PACK_ROWS, small = FBP_FINISH_BYTES / size / N;
        rows = FN(min)(rows, small < least ? least : small);
    }
    c.row_parts = FN(parts)(M, rows < FBP_PACK_ROWS ? FBP_PACK_ROWS : rows);
    return c;
}

/* C (M, N) = A (M, 1) B (1, N): the gradient of a single row. There is nothing to do but to store. */
static void FN(gemm_outer)(T *C, int64_t ldc, const T *A, int64_t a_row, const T *B, int64_t M, int64_t N)
{
    int64_t j = 0;
    for (; j + VL <= N; j += VL) {
        const V b = FN(v_load)(B + j);
        for (int64_t i = 0; i < M; i++) FN(v_store)(C + i * ldc + j, FN(v_fma)(FN(v_set1)(A[i * a_row]), b, (V){0}));
    }
    if (j == N) return;
    const V b = FN(v_load_n)(B + j, N - j);
    for (int64_t i = 0; i < M; i++)
        FN(v_store_n)(C + i * ldc + j, FN(v_fma)(FN(v_set1)(A[i * a_row]), b, (V){0}), N - j);
}

/* C (M, N) = A (M, K) B (K, N) with the epilogue; scratch as in fastbp.h, or NULL: nothing is copied. Neighbours in a
 * row of B are apart by b_j: 1, or if that is not so b_k is 1, B is given transposed, and there is scratch memory. */
static void FN(gemm)(T *C, int64_t ldc, const T *A, int64_t a_row, int64_t a_k, const T *B, int64_t b_k, int64_t b_j,
                     int64_t M, int64_t N, int64_t K, const FN(epilogue) *e, void *scratch)
{
    if (M <= 0 || N <= 0) return;
    FN(product) p = {.tiles = FN(tiles), .C = C, .ldc = ldc, .a_row = a_row, .a_k = a_k, .ldb = b_k, .K = K, .first = 1,
                     .last = 1, .e = e};
    const int32_t outer = K == 1 && !e->bias && !e->scale && !e->gate && !e->relu;
    const int64_t thin = FN(gemm_thin)(C, ldc, A, a_row, a_k, B, b_k, b_j, M, N, K, e);
    if (thin || (b_j == 1 && (M < FBP_PACK_ROWS || outer))) {
        if (outer) FN(gemm_outer)(C, ldc, A, a_row, B, M, N);
        else if (thin < M) FN(gemm_block)(&p, A + thin * a_row, B, thin, M - thin, 0, N);
        if (e->finish) e->finish(e->context, 0, M);
        return;
    }
    const FN(cuts) cuts = FN(gemm_cuts)(a_row, a_k, b_k, b_j, M, N, K, e->finish != NULL, scratch != NULL);
    if (cuts.pack_b) p.panel = scratch;
    T *block = (T *)((char *)scratch + FBP_PANEL_BYTES);
    for (int64_t row_part = 0, i = 0, rows; row_part < cuts.row_parts; row_part++, i += rows) {
        rows = FN(part)(M, cuts.row_parts, row_part);
        for (int64_t k_part = 0, k = 0; k_part < cuts.k_parts; k_part++, k += p.K) {
            const T *A_block = A + i * a_row + k * a_k;
            p.K = FN(part)(K, cuts.k_parts, k_part);
            p.first = k_part == 0;
            p.last = k_part + 1 == cuts.k_parts;
            p.a_row = a_row;
            p.a_k = a_k;
            if (cuts.pack_a && a_k == 1) {
                p.a_row = FN(spread)(p.K);
                FN(copy_rows_apart)(block, p.a_row, A_block, a_row, rows, p.K);
                A_block = block;
            } else if (cuts.pack_a) {
                p.a_k = FN(spread)(rows);
                FN(copy_rows_apart)(block, p.a_k, A_block, a_k, p.K, rows);
                A_block = block;
            }
            if (b_j == 1) FN(gemm_block)(&p, A_block, B + k * b_k, i, rows, 0, N);
            else FN(gemm_block_copied)(&p, A_block, B + k, 1, b_j, i, rows, N, p.K, FN(copy_transposed));
        }
        if (e->finish) e->finish(e->context, i, rows);
    }
}
