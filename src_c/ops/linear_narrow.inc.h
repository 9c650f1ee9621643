/* Linear layers with few outputs, where vectors across the outputs would be mostly empty.
 *
 * Forward, O <= 4: dot products, vectors along I. One element of y is the sum over blocks of FBP_DOT_BLOCK inputs, in
 * order from the bias on; within a block lane l sums the inputs l, l + VL, …, and v_sums folds the lanes by halves.
 * Which layers go this way depends on I and O alone, so the bits of a row do not depend on how many rows come with it.
 *
 * Gradient, O <= 12: dW transposed is dy transposed times x, whose rows are long; it is made that way in the scratch
 * memory and then transposed. Each element is the same chain over the rows as in the direct product.
 */

#ifndef FBP_DOT_BLOCK
#define FBP_DOT_BLOCK 1024
#define FBP_DOT_OUTPUTS 4
#define FBP_SINGLE_OUTPUTS 8             /* more than FBP_DOT_OUTPUTS: forward has no Wt either */
#define FBP_NARROW_OUTPUTS 12
#define FBP_NARROW_BYTES (128 * 1024)   /* of the scratch memory, for a part of dW transposed */
#endif

static inline int32_t FN(is_dot)(int64_t I, int64_t O)
{
    return O > 0 && O <= FBP_DOT_OUTPUTS && O <= VL && I >= 2 * VL;
}

/* acc[r O + o] += x[r, k to k + VL] Wt[o, k to k + VL]; of the last vector only `lanes` lanes exist if it is cut. */
static FBP_INLINE void FN(dot_step)(const int R, const int O, const int cut, V acc[VL], const T *const rows[6],
                                    int64_t I, const T *Wt, int64_t ld, int64_t k, int64_t lanes)
{
    V w[FBP_DOT_OUTPUTS];
    FBP_UNROLL
    for (int o = 0; o < O; o++) w[o] = FN(v_load_cut)(cut, Wt + o * ld + k, lanes);
    FBP_UNROLL
    for (int r = 0; r < R; r++) {
        const V v = FN(v_load_cut)(cut, rows[r / 3] + r % 3 * I + k, lanes);
        FBP_UNROLL
        for (int o = 0; o < O; o++) acc[r * O + o] = FN(v_fma)(v, w[o], acc[r * O + o]);
    }
}

/* R rows of O outputs, R O <= VL: y := start + x Wt, n inputs. Rows of x are apart by I, of Wt by ld. */
static FBP_INLINE void FN(dot_rows)(const int R, const int O, T *y, const T *start, const T *x, int64_t I, const T *Wt,
                                    int64_t ld, int64_t n)
{
    V acc[VL < FBP_DOT_OUTPUTS ? FBP_DOT_OUTPUTS : VL];
    FBP_UNROLL
    for (int i = 0; i < VL; i++) acc[i] = (V){0};
    const T *rows[6] = {x, x + 3 * I, x + 6 * I, x + 9 * I, x + 12 * I, x + 15 * I};
    FBP_UNROLL
    for (int r = 3; r < R; r += 3) FBP_OPAQUE(rows[r / 3]);
    int64_t k = 0;
    for (; k + VL <= n; k += VL) FN(dot_step)(R, O, 0, acc, rows, I, Wt, ld, k, VL);
    if (k < n) FN(dot_step)(R, O, 1, acc, rows, I, Wt, ld, k, n - k);
    FN(v_store_up_to)(y, FN(v_load_up_to)(start, R * O) + FN(v_sums)(acc), R * O);
}

typedef void (*FN(dot_fn))(T *y, const T *start, const T *x, int64_t I, const T *Wt, int64_t ld, int64_t n);

#define FBP_DOT(name, R, O)                                                                                      \
static __attribute__((noinline)) void FN(dot_##name##_##O)(T *y, const T *start, const T *x, int64_t I, const T *Wt, \
                                                           int64_t ld, int64_t n)                                \
{                                                                                                                \
    FN(dot_rows)(R, O, y, start, x, I, Wt, ld, n);                                                               \
}
FBP_DOT(one, 1, 1) FBP_DOT(one, 1, 2) FBP_DOT(one, 1, 3) FBP_DOT(one, 1, 4)
FBP_DOT(many, VL, 1) FBP_DOT(many, VL / 2, 2) FBP_DOT(many, VL / 3, 3) FBP_DOT(many, VL / 4, 4)
#undef FBP_DOT

/* y = x W + b for a layer that is_dot. Wt is W transposed, or NULL. */
static void FN(linear_forward_dot)(T *restrict y, const T *restrict x, const T *W, const T *Wt, const T *b,
                                   int64_t B, int64_t I, int64_t O)
{
    static const FN(dot_fn) one[] = {FN(dot_one_1), FN(dot_one_2), FN(dot_one_3), FN(dot_one_4)};
    static const FN(dot_fn) many[] = {FN(dot_many_1), FN(dot_many_2), FN(dot_many_3), FN(dot_many_4)};
    static const T zeros[FBP_DOT_OUTPUTS];
    T transposed[FBP_DOT_OUTPUTS * FBP_DOT_BLOCK], bias[VL];   /* bias: for `rows` rows */
    const int64_t rows = VL / O;
    if (!b) b = zeros;
    for (int64_t r = 0; r < rows && B >= rows; r++)
        for (int64_t o = 0; o < O; o++) bias[r * O + o] = b[o];
    for (int64_t k = 0; k < I; k += FBP_DOT_BLOCK) {
        const int64_t n = FN(min)(FBP_DOT_BLOCK, I - k);
        const T *part = O == 1 ? W + k : Wt ? Wt + k : transposed;
        if (part == transposed) FN(transpose_block)(transposed, FBP_DOT_BLOCK, W + k * O, O, n, O);
        const int64_t ld = part == transposed ? FBP_DOT_BLOCK : I;
        int64_t r = 0;
        for (; r + rows <= B; r += rows) many[O - 1](y + r * O, k ? y + r * O : bias, x + r * I + k, I, part, ld, n);
        for (; r < B; r++) one[O - 1](y + r * O, k ? y + r * O : b, x + r * I + k, I, part, ld, n);
    }
}

static inline int32_t FN(is_narrow)(int64_t O)
{
    return O > 1 && O <= FBP_NARROW_OUTPUTS && 4 * O < 3 * FN(parts)(O, VL) * VL;
}

/* dW (I, O) = transposed x times dy, for a layer that is_narrow. Rows of x are apart by x_ld. */
static void FN(linear_gradient_narrow)(T *restrict dW, const T *restrict x, int64_t x_ld, const T *restrict dy,
                                       int64_t B, int64_t I, int64_t O, void *scratch)
{
    const FN(epilogue) none = {0};
    const int64_t most = FBP_NARROW_BYTES / (int64_t)sizeof(T) / O / VL * VL;
    for (int64_t i = 0; i < I; i += most) {
        const int64_t n = FN(min)(most, I - i);
        FN(gemm)(scratch, n, dy, 1, O, x + i, x_ld, 1, O, n, B, &none, NULL);
        FN(transpose_block)(dW + i * O, O, scratch, n, O, n);
    }
}
