/* expression: a short program that makes y of some inputs, row by row, and another that makes their gradients;
 * whole_expression, the same of arrays without rows, as if each were one row; and row_sum and total, the losses whose
 * rows, or which, are there already.
 *
 * A program works on blocks of rows. What it reckons with are strips: for each row of the block `width` numbers, one row
 * after the other, in the inputs and outputs themselves or in scratch memory, small enough for the first-level cache.
 * It is made by fastbp/engine/program.py; the derivatives in it come from the table of fastbp/ops/scalar.py.
 *
 * Node: x, whole tensors or tensors with rows; y, dy, dx (each may be NULL). integers: where the program of forward and
 * that of backward start. adds: gradients that are added to what is there. A program: registers, instructions, rows of a block, then for each register four numbers
 * (kind, which or where, width, where in scratch memory), then for each instruction FBP_INSTRUCTION_SIZE numbers:
 *
 *   [0] instruction  [1] the register written  [2..4] those read  [5] width of what is written  [6] once: it depends on no
 *   row, and is done in the first block alone  [7..] what the instruction says; 1 for a product that nothing
 *   reads: it may be added to a gradient right away
 *
 * Sizes may depend on the number of rows, as those of pairs of rows do: see program_for_rows.
 *
 * Registers that are written last for each row may be outputs. A splat is one number: its vector is read again and again.
 */

#ifndef FBP_INSTRUCTION_SIZE
#define FBP_INSTRUCTION_SIZE 24
#define FBP_INSTRUCTION(name) FBP_DO_##name,
enum {
#include "../expression_list.h"
    FBP_INSTRUCTION_COUNT
};
#undef FBP_INSTRUCTION
enum { FBP_STRIP_SCRATCH, FBP_STRIP_X, FBP_STRIP_WHOLE_X, FBP_STRIP_Y, FBP_STRIP_DY, FBP_STRIP_DX, FBP_STRIP_CONSTANT,
       FBP_STRIP_SPLAT, FBP_STRIP_ROWS };
#endif

#define FBP_TRUE(m) FN(v_select)(m, FN(v_set1)(1), (V){0})
#define FBP_LARGEST (FBP_F64 ? (T)DBL_MAX : (T)FLT_MAX)

/* lane by lane, by a function of libm in double */
#define FBP_BY_LANES(name, call)                                                                                       \
    static FBP_INLINE V FN(name)(V a)                                                                                  \
    {                                                                                                                  \
        for (int64_t i = 0; i < VL; i++) a[i] = (T)(call);                                                             \
        return a;                                                                                                      \
    }
FBP_BY_LANES(v_erf, erf((double)a[i]))
FBP_BY_LANES(v_floor, floor((double)a[i]))
FBP_BY_LANES(v_ceil, ceil((double)a[i]))
FBP_BY_LANES(v_rint, rint((double)a[i]))
FBP_BY_LANES(v_trunc, trunc((double)a[i]))
#undef FBP_BY_LANES

/* log(1 + x) of any x: what 1 + x loses by rounding is put right */
static FBP_INLINE V FN(v_log1p_any)(V x)
{
    const V u = x + 1, y = FN(v_log)(u);
    return FN(v_select)((u > 0) & (u < (T)INFINITY), y - ((u - 1) - x) / u, y);
}

static FBP_INLINE V FN(v_larger)(V a, V b) { return FN(v_select)(a == a, FN(v_max)(a, b), a); }
static FBP_INLINE V FN(v_smaller)(V a, V b) { return FN(v_select)(a == a, FN(v_min)(a, b), a); }

static FBP_INLINE V FN(v_logaddexp)(V a, V b)
{
    const V high = FN(v_larger)(a, b), rest = FN(v_softplus_rest)(a - b);
    return FN(v_select)(a == b, high + (T)0.69314718055994530942, high + rest);
}

static FBP_INLINE V FN(v_sign)(V a)
{
    return FN(v_select)(a > 0, FN(v_set1)(1), FN(v_select)(a < 0, FN(v_set1)(-1), a));
}

/* Element by element: n numbers of d from those of a, b and c; sa, sb, sc are 0 for a splat, else 1. */
#define FBP_ELEMENTS(A, B, C, value)                                                                                   \
    {                                                                                                                  \
        for (; n >= VL; n -= VL, d += VL) {                                                                            \
            const V a = A ? FN(v_load)(pa) : (V){0}, b = B ? FN(v_load)(pb) : (V){0}, c = C ? FN(v_load)(pc) : (V){0}; \
            (void)a; (void)b; (void)c;                                                                                 \
            FN(v_store)(d, value);                                                                                     \
            if (A) pa += sa * VL;                                                                                      \
            if (B) pb += sb * VL;                                                                                      \
            if (C) pc += sc * VL;                                                                                      \
        }                                                                                                              \
        if (n) {                                                                                                       \
            const V a = A ? FN(v_load_n)(pa, n) : (V){0}, b = B ? FN(v_load_n)(pb, n) : (V){0},                        \
                    c = C ? FN(v_load_n)(pc, n) : (V){0};                                                              \
            (void)a; (void)b; (void)c;                                                                                 \
            FN(v_store_n)(d, value, n);                                                                                \
        }                                                                                                              \
        return;                                                                                                        \
    }
#define FBP_UNARY(name, value) case FBP_DO_##name: FBP_ELEMENTS(1, 0, 0, value)
#define FBP_BINARY(name, value) case FBP_DO_##name: FBP_ELEMENTS(1, 1, 0, value)
#define FBP_TERNARY(name, value) case FBP_DO_##name: FBP_ELEMENTS(1, 1, 1, value)

/* What goes lane by lane, or is long, stands apart: it would take the registers and the stack of what is short. */
static __attribute__((noinline)) void FN(expression_long)(int64_t instruction, T *d, const T *pa, int64_t sa,
                                                          const T *pb, int64_t sb, const T *pc, int64_t sc, int64_t n)
{
    switch (instruction) {
        FBP_BINARY(pow, FN(v_pow)(a, b))
        FBP_UNARY(exp2, FN(v_exp2)(a))
        FBP_UNARY(log2, FN(v_log2)(a))
        FBP_UNARY(log10, FN(v_log10)(a))
        FBP_BINARY(hypot, FN(v_hypot)(a, b))
        FBP_UNARY(arcsinh, FN(v_arcsinh)(a))
        FBP_UNARY(arccosh, FN(v_arccosh)(a))
        FBP_UNARY(arctanh, FN(v_arctanh)(a))
        FBP_UNARY(cbrt, FN(v_cbrt)(a))
        FBP_UNARY(sinh, FN(v_sinh)(a))
        FBP_UNARY(cosh, FN(v_cosh)(a))
        FBP_UNARY(erf, FN(v_erf)(a))
        FBP_UNARY(floor, FN(v_floor)(a))
        FBP_UNARY(ceil, FN(v_ceil)(a))
        FBP_UNARY(rint, FN(v_rint)(a))
        FBP_UNARY(trunc, FN(v_trunc)(a))
        default: return;
    }
}

static void FN(expression_elements)(int64_t instruction, T *d, const T *pa, int64_t sa, const T *pb, int64_t sb,
                                    const T *pc, int64_t sc, int64_t n)
{
    switch (instruction) {
        FBP_BINARY(add, a + b)
        FBP_BINARY(sub, a - b)
        FBP_BINARY(mul, a * b)
        FBP_BINARY(div, a / b)
        FBP_TERNARY(fma, FN(v_fma)(a, b, c))
        FBP_TERNARY(fms, FN(v_fma)(a, b, -c))
        FBP_TERNARY(fnma, FN(v_fma)(-a, b, c))
        FBP_UNARY(neg, -a)
        FBP_UNARY(square, a * a)
        FBP_UNARY(reciprocal, 1 / a)
        FBP_UNARY(sqrt, FN(v_sqrt)(a))
        FBP_UNARY(exp, FN(v_exp)(a))
        FBP_UNARY(expm1, FN(v_expm1)(a))
        FBP_UNARY(log, FN(v_log)(a))
        FBP_UNARY(log1p, FN(v_log1p_any)(a))
        FBP_UNARY(sin, FN(v_sin)(a))
        FBP_UNARY(cos, FN(v_cos)(a))
        FBP_UNARY(tan, FN(v_tan)(a))
        FBP_UNARY(arctan, FN(v_arctan)(a))
        FBP_UNARY(arcsin, FN(v_arcsin)(a))
        FBP_UNARY(arccos, FN(v_arccos)(a))
        FBP_BINARY(arctan2, FN(v_arctan2)(a, b))
        FBP_UNARY(tanh, FN(v_tanh)(a))
        FBP_UNARY(normal_cdf, FN(v_normal_cdf)(a))
        FBP_UNARY(sigmoid, FN(v_sigmoid)(a))
        FBP_UNARY(softplus, FN(v_softplus)(a))
        FBP_BINARY(logaddexp, FN(v_logaddexp)(a, b))
        FBP_UNARY(abs, FN(v_abs)(a))
        FBP_BINARY(max, FN(v_larger)(a, b))
        FBP_BINARY(min, FN(v_smaller)(a, b))
        FBP_TERNARY(clip, FN(v_min)(c, FN(v_max)(b, a)))
        FBP_TERNARY(where, FN(v_select)(a != 0, b, c))
        FBP_UNARY(sign, FN(v_sign)(a))
        FBP_BINARY(less, FBP_TRUE(a < b))
        FBP_BINARY(less_equal, FBP_TRUE(a <= b))
        FBP_BINARY(greater, FBP_TRUE(a > b))
        FBP_BINARY(greater_equal, FBP_TRUE(a >= b))
        FBP_BINARY(equal, FBP_TRUE(a == b))
        FBP_BINARY(not_equal, FBP_TRUE(a != b))
        FBP_BINARY(and, FBP_TRUE((a != 0) & (b != 0)))
        FBP_BINARY(or, FBP_TRUE((a != 0) | (b != 0)))
        FBP_BINARY(xor, FBP_TRUE((a != 0) ^ (b != 0)))
        FBP_UNARY(not, FBP_TRUE(a == 0))
        FBP_UNARY(isnan, FBP_TRUE(a != a))
        FBP_UNARY(isfinite, FBP_TRUE(FN(v_abs)(a) <= FBP_LARGEST))
        FBP_UNARY(nan_to_num, FN(v_select)(a == a, FN(v_clip)(a, -FBP_LARGEST, FBP_LARGEST), (V){0}))
        default: FN(expression_long)(instruction, d, pa, sa, pb, sb, pc, sc, n);
    }
}
#undef FBP_ELEMENTS
#undef FBP_UNARY
#undef FBP_BINARY
#undef FBP_TERNARY
#undef FBP_TRUE
#undef FBP_LARGEST

/* move: [7..10] sizes, [11..14] steps of the source, [15..18] of the target, [19] and [20] where they start, [21] the
 * numbers of a row that the source's rows are apart, [22] whether the target is filled first, with a splat in [3] */
static FBP_INLINE void FN(move_run)(T *d, const T *a, int64_t n, int64_t sd, int64_t sa)
{
    if (sd == 1 && sa == 1) memcpy(d, a, (size_t)n * sizeof(T));
    else if (sd == 1 && sa == 0) for (int64_t i = 0; i < n; i++) d[i] = a[0];
    else for (int64_t i = 0; i < n; i++) d[i * sd] = a[i * sa];
}

static void FN(expression_move)(T *d, const T *a, const T *fill, const int64_t *code, int64_t rows)
{
    const int64_t *size = code + 7, *from = code + 11, *to = code + 15, width = code[5];
    if (code[22]) for (int64_t i = 0; i < rows * width; i++) d[i] = fill[0];
    if (size[2] == 1 && to[3] == 1 && from[3] == 0) {       /* one number, repeated along the row */
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < size[0]; i++)
                for (int64_t j = 0; j < size[1]; j++) {
                    const T number = a[r * code[21] + code[19] + i * from[0] + j * from[1]];
                    T *target = d + r * width + code[20] + i * to[0] + j * to[1];
                    for (int64_t k = 0; k < size[3]; k++) target[k] = number;
                }
        return;
    }
    for (int64_t r = 0; r < rows; r++) {
        const T *source = a + r * code[21] + code[19];
        T *target = d + r * width + code[20];
        for (int64_t i = 0; i < size[0]; i++)
            for (int64_t j = 0; j < size[1]; j++)
                for (int64_t k = 0; k < size[2]; k++)
                    FN(move_run)(target + i * to[0] + j * to[1] + k * to[2],
                                 source + i * from[0] + j * from[1] + k * from[2], size[3], to[3], from[3]);
    }
}

/* [7] outer, [8] n, [9] inner: over the middle axis of (outer, n, inner) */
static T FN(sum_of_run)(const T *a, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n;) {
        const int64_t end = FN(min)(i + FBP_BLOCK * VL, n);
        V part[2] = {{0}};
        for (; i + 2 * VL <= end; i += 2 * VL) {
            part[0] += FN(v_load)(a + i);
            part[1] += FN(v_load)(a + i + VL);
        }
        for (; i < end; i += VL) part[0] += FN(v_load_up_to)(a + i, end - i);
        sum += (double)FN(v_sum)(part[0] + part[1]);
    }
    return (T)sum;
}

static FBP_INLINE int FN(beats)(int64_t instruction, T a, T best)
{
    const int low = instruction == FBP_DO_reduce_min || instruction == FBP_DO_argmin;
    return (low ? a < best : a > best) || (a != a && best == best);
}

static void FN(expression_reduce)(T *d, const T *a, const int64_t *code, int64_t rows)
{
    const int64_t outer = rows * code[7], n = code[8], inner = code[9], instruction = code[0];
    const int place = instruction == FBP_DO_argmax || instruction == FBP_DO_argmin;
    for (int64_t o = 0; o < outer; o++) {
        const T *source = a + o * n * inner;
        T *target = d + o * inner;
        if (instruction == FBP_DO_sum && inner == 1) {
            target[0] = FN(sum_of_run)(source, n);
        } else if (instruction == FBP_DO_sum) {
            for (int64_t k = 0; k < inner; k += VL) {
                V sum = {0};
                for (int64_t j = 0; j < n; j++) sum += FN(v_load_up_to)(source + j * inner + k, inner - k);
                FN(v_store_up_to)(target + k, sum, inner - k);
            }
        } else {
            for (int64_t k = 0; k < inner; k++) {
                int64_t at = 0;
                for (int64_t j = 1; j < n; j++)
                    if (FN(beats)(instruction, source[j * inner + k], source[at * inner + k])) at = j;
                target[k] = place ? (T)at : source[at * inner + k];
            }
        }
    }
}

/* [10] reverse */
static void FN(expression_cumsum)(T *d, const T *a, const int64_t *code, int64_t rows)
{
    const int64_t n = code[8], inner = code[9];
    for (int64_t o = 0; o < rows * code[7]; o++)
        for (int64_t k = 0; k < inner; k++) {
            T sum = 0;
            for (int64_t j = 0; j < n; j++) {
                const int64_t at = (o * n + (code[10] ? n - 1 - j : j)) * inner + k;
                sum += a[at];
                d[at] = sum;
            }
        }
}

/* gather: d of (outer, [10] m, inner) from a of (outer, n, inner) at the places b; scatter: the other way, adding up. A
 * place that is not there gives NaN. */
static void FN(expression_pick)(T *d, const T *a, const T *b, const int64_t *code, int64_t rows)
{
    const int64_t n = code[8], inner = code[9], m = code[10];
    const int scatter = code[0] == FBP_DO_scatter;
    if (scatter) memset(d, 0, (size_t)(rows * code[5]) * sizeof(T));
    for (int64_t o = 0; o < rows * code[7]; o++)
        for (int64_t j = 0; j < m; j++)
            for (int64_t k = 0; k < inner; k++) {
                const int64_t here = (o * m + j) * inner + k;
                const T place = b[here];
                const int there_is = place >= (T)-n && place < (T)n;
                const int64_t whole = there_is ? (int64_t)place : 0, at = (o * n + (whole < 0 ? whole + n : whole)) * inner + k;
                if (scatter) d[at] += there_is ? a[here] : (T)NAN;
                else d[here] = there_is ? a[at] : (T)NAN;
            }
}

/* Numbers in the strips of a block, and its rows at most: as in fastbp/engine/program.py. */
enum { FN(strips_of_block) = 7168, FN(most_rows_of_block) = 256 };

/* A program with sizes that depend on the number of rows, written out for this many at `to`: its strips are all as large
 * as the widest, and lie FBP_TIMES_ROWS apart until it is known how large that is. In the place of a block's rows it has
 * how many strips there are, negative, and then the widest. */
static int64_t FN(program_for_rows)(int64_t *to, const int64_t *program, int64_t rows)
{
    const int64_t n_registers = 4 * program[0], n_code = FBP_INSTRUCTION_SIZE * program[1];
    const int64_t strips = -program[2], width = fbp_with_rows(program[3], rows);
    const int64_t fit = FN(strips_of_block) / (strips * width), block = FN(min)(fit < 1 ? 1 : fit, FN(most_rows_of_block));
    const int64_t apart = ((block * width + 15) / 16 | 1) * 16;
    for (int64_t i = 0; i < 4 + n_registers + n_code; i++) {
        const int is_place = i >= 4 && i < 4 + n_registers && (i & 3) == 3;
        to[i] = fbp_with_rows(program[i], is_place ? apart : rows);
    }
    to[2] = block;
    return 4 + n_registers + n_code;
}

#define FBP_ADDS(r) (node->adds >> (r)[1] & 1)

static void FN(expression_program)(const int64_t *program, const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi,
                                   char *scratch)
{
    if (program[2] < 0) {
        int64_t *to = (int64_t *)scratch;
        scratch += (FN(program_for_rows)(to, program, run->rows) * (int64_t)sizeof(int64_t) + 63) / 64 * 64;
        program = to;
    }
    const int64_t n_registers = program[0], n_instructions = program[1], block = program[2];
    const int64_t *registers = program + 4, *code = registers + 4 * n_registers;
    T **at = (T **)scratch, *strips = (T *)(scratch + (n_registers * (int64_t)sizeof(T *) + 63) / 64 * 64);
    const T *constants = node->constants;
    for (int64_t i = 0; i < n_registers; i++) {
        const int64_t *r = registers + 4 * i;
        if (r[0] == FBP_STRIP_WHOLE_X) at[i] = node->x[r[1]];
        else if (r[0] == FBP_STRIP_CONSTANT) at[i] = (T *)constants + r[1];
        else at[i] = strips + r[3];         /* a gradient that is added to another waits there */
        if (r[0] == FBP_STRIP_SPLAT || r[0] == FBP_STRIP_ROWS)
            for (int64_t k = 0; k < VL; k++) at[i][k] = r[0] == FBP_STRIP_SPLAT ? constants[r[1]] : (T)fbp_whole_rows(run);
    }
    for (int64_t first = lo; first < hi; first += block) {
        const int64_t rows = FN(min)(block, hi - first);
        for (int64_t i = 0; i < n_registers; i++) {
            const int64_t *r = registers + 4 * i;
            void *base = r[0] == FBP_STRIP_X ? node->x[r[1]] : r[0] == FBP_STRIP_Y ? node->y : r[0] == FBP_STRIP_DY ?
                         node->dy : r[0] == FBP_STRIP_DX && !FBP_ADDS(r) ? node->dx[r[1]] : NULL;
            if (base) at[i] = (T *)base + first * r[2];
        }
        for (int64_t i = 0; i < n_instructions; i++) {
            const int64_t *c = code + i * FBP_INSTRUCTION_SIZE;
            if (c[6] && first > lo) continue;
            T *d = at[c[1]];
            const T *a = at[c[2]], *b = at[c[3]];
#define FBP_STEP(k) (registers[4 * c[k]] != FBP_STRIP_SPLAT && registers[4 * c[k]] != FBP_STRIP_ROWS)
            switch (c[0]) {
                case FBP_DO_load_integers: {
                    const int64_t *from = (const int64_t *)node->x[c[7]] + (c[8] ? first * c[5] : 0);
                    for (int64_t k = 0; k < (c[8] ? rows : 1) * c[5]; k++) d[k] = (T)from[k];
                    break;
                }
                case FBP_DO_move: FN(expression_move)(d, a, b, c, rows); break;
                case FBP_DO_sum: case FBP_DO_reduce_max: case FBP_DO_reduce_min: case FBP_DO_argmax: case FBP_DO_argmin:
                    FN(expression_reduce)(d, a, c, rows);
                    break;
                case FBP_DO_cumsum: FN(expression_cumsum)(d, a, c, rows); break;
                case FBP_DO_gather: case FBP_DO_scatter: FN(expression_pick)(d, a, b, c, rows); break;
                default: {
                    const int64_t *r = registers + 4 * c[1];
                    if (c[7] && r[0] == FBP_STRIP_DX && FBP_ADDS(r)) {
                        T *dx = (T *)node->dx[r[1]] + first * r[2];
                        at[c[1]] = NULL;
                        FN(expression_elements)(FBP_DO_fma, dx, a, FBP_STEP(2), b, FBP_STEP(3), dx, 1, rows * c[5]);
                        break;
                    }
                    FN(expression_elements)(c[0], d, a, FBP_STEP(2), b, FBP_STEP(3), at[c[4]], FBP_STEP(4), rows * c[5]);
                }
            }
#undef FBP_STEP
        }
        for (int64_t i = 0; node->adds && i < n_registers; i++) {
            const int64_t *r = registers + 4 * i;
            if (r[0] == FBP_STRIP_DX && FBP_ADDS(r) && at[i])
                FN(accumulate)((T *)node->dx[r[1]] + first * r[2], at[i], rows * r[2]);
        }
    }
}
#undef FBP_ADDS

static void FN(expression_forward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    FN(expression_program)(node->integers + node->integers[0], node, run, lo, hi, scratch);
}

static void FN(expression_backward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    if (node->integers[1]) FN(expression_program)(node->integers + node->integers[1], node, run, lo, hi, scratch);
}

static const fbp_phases FN(expression_phases) = {.forward = FN(expression_forward_rows),
                                                 .backward = FN(expression_backward_rows)};

static void FN(whole_expression_forward)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)lo; (void)hi;
    FN(expression_forward_rows)(node, run, 0, 1, scratch);
}

static void FN(whole_expression_backward)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)lo; (void)hi;
    FN(expression_backward_rows)(node, run, 0, 1, scratch);
}

static const fbp_phases FN(whole_expression_phases) = {.forward_reduce = FN(whole_expression_forward),
                                                       .backward_reduce = FN(whole_expression_backward)};

/* row_sum: the loss is the sum of x (rows,); its gradient is 1 */
static void FN(row_sum_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const T *x = node->x[0];
    T *dx = node->dx[0];
    for (int64_t r = lo; r < hi; r++) {
        node->loss.row_loss[r] = (double)x[r];
        if (dx) dx[r] = 1;
    }
}

static const fbp_phases FN(row_sum_phases) = {.forward = FN(row_sum_rows)};

/* total: the loss is x, one number, which stands for all rows in the first one's place; its gradient is 1 */
static void FN(total_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const T *x = node->x[0];
    T *dx = node->dx[0];
    for (int64_t r = lo; r < hi; r++) node->loss.row_loss[r] = r ? 0 : (double)x[0];
    if (dx && lo == 0) dx[0] = 1;
}

static const fbp_phases FN(total_phases) = {.forward = FN(total_rows)};
