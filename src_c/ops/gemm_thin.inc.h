/* Products of at most four columns, where a tile's vectors would be mostly empty: vectors run down the rows instead.
 *
 * A block of VL rows of A is transposed in registers, as many columns at a time. Every element of C is the same chain as
 * in a tile, so its bits do not depend on which way it was made.
 */

#ifndef FBP_THIN
#define FBP_THIN 4   /* columns, at the most */
#endif

/* Lane r of column[o] is element o of row r; rows are ldc apart. */
static FBP_INLINE void FN(store_thin)(const int N, T *C, int64_t ldc, const V column[N])
{
    if (N == 3 || ldc != N) {
        T rows[FBP_THIN][VL];
        FBP_UNROLL
        for (int o = 0; o < N; o++) FN(v_store)(rows[o], column[o]);
        for (int r = 0; r < VL; r++) {
            FBP_UNROLL
            for (int o = 0; o < N; o++) C[r * ldc + o] = rows[o][r];
        }
        return;
    }
    V y[FBP_THIN] = {column[0]};
    if (N == 2) FN(v_zip)(y, column[0], column[1]);
    if (N == 4) {
        V even[2], odd[2];
        FN(v_zip)(even, column[0], column[2]);
        FN(v_zip)(odd, column[1], column[3]);
        FN(v_zip)(y, even[0], odd[0]);
        FN(v_zip)(y + 2, even[1], odd[1]);
    }
    FBP_UNROLL
    for (int o = 0; o < N; o++) FN(v_store)(C + o * VL, y[o]);
}

/* VL rows of C, N columns. Rows of A are contiguous. */
static FBP_INLINE void FN(thin_rows)(const int N, T *C, int64_t ldc, const T *A, int64_t a_row, const T *B, int64_t b_k,
                                     int64_t K, const FN(epilogue) *e)
{
    V sum[FBP_THIN];
    FBP_UNROLL
    for (int o = 0; o < N; o++) sum[o] = e->bias ? FN(v_set1)(e->bias[o]) : (V){0};
    for (int64_t k = 0; k < K; k += VL) {
        const int64_t n = K - k < VL ? K - k : VL;
        const T *from = A + k;
        V a[VL];
        FBP_UNROLL
        for (int r = 0; r < VL; r++) {
            a[r] = FN(v_load_up_to)(from, n);
            from += a_row;
            FBP_OPAQUE(from);
        }
        FN(v_transpose)(a);
        FBP_UNROLL
        for (int i = 0; i < VL; i++) {
            if (i >= n) break;
            FBP_UNROLL
            for (int o = 0; o < N; o++) sum[o] = FN(v_fma)(a[i], FN(v_set1)(B[o]), sum[o]);
            B += b_k;
        }
    }
    FBP_UNROLL
    for (int o = 0; o < N; o++) {
        if (e->scale) sum[o] = FN(v_fma)(sum[o], FN(v_set1)(e->scale[o]), FN(v_set1)(e->shift[o]));
        if (e->relu) sum[o] = FN(v_max)((V){0}, sum[o]);
    }
    FN(store_thin)(N, C, ldc, sum);
}

typedef void (*FN(thin_fn))(T *C, int64_t ldc, const T *A, int64_t a_row, const T *B, int64_t b_k, int64_t K,
                            const FN(epilogue) *e);
#define FBP_THIN_ROWS(N)                                                                                         \
static __attribute__((noinline)) void FN(thin_rows_##N)(T *C, int64_t ldc, const T *A, int64_t a_row, const T *B, \
                                                        int64_t b_k, int64_t K, const FN(epilogue) *e)           \
{                                                                                                                \
    FN(thin_rows)(N, C, ldc, A, a_row, B, b_k, K, e);                                                            \
}
FBP_THIN_ROWS(1) FBP_THIN_ROWS(2) FBP_THIN_ROWS(3) FBP_THIN_ROWS(4)
#undef FBP_THIN_ROWS

/* How many rows of C, from the first on, are made here: the rest is left to tiles. */
static int64_t FN(gemm_thin)(T *C, int64_t ldc, const T *A, int64_t a_row, int64_t a_k, const T *B, int64_t b_k,
                             int64_t b_j, int64_t M, int64_t N, int64_t K, const FN(epilogue) *e)
{
    static const FN(thin_fn) rows[] = {FN(thin_rows_1), FN(thin_rows_2), FN(thin_rows_3), FN(thin_rows_4)};
    if (N > FBP_THIN || a_k != 1 || b_j != 1 || K < 2 || e->gate) return 0;
    int64_t i = 0;
    for (; i + VL <= M; i += VL) rows[N - 1](C + i * ldc, ldc, A + i * a_row, a_row, B, b_k, K, e);
    return i;
}
