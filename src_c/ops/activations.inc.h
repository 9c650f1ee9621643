/* Elementwise activations: y = f(x), dx = dy f'; the twins of fastbp/ops/activations.py, where the derivations stand.
 *
 * Each has functions of vectors, a being the hyperparameter alpha. Where f' is cheaply made of y (`derivative_from` of the
 * twin is "output"): NAME_value(x, a), which is f(x), and NAME_gradient(dy, y, a), which is dy f'. Else NAME_both(x, a,
 * &slope), which is f(x) and gives f' as well: the two have an exponential in common, so that while a plan trains, forward
 * leaves f' to backward. From the rows FBP_ACTIVATION of op_list.h are made the kernels, the phases, and what ops that
 * take in an activation apply to rows that they have just made. y and slope may be x, dx may be dy.
 *
 * Node: x[0], y, dx[0], dy, all (rows, dim[0]); fusion.slope f' or NULL; fusion.gate.from is y or f'. dim[0]: elements per
 * row, attr[0]: alpha.
 *
 * Where a formula reads x · 0 at x = ±∞, x is first brought to within ±FBP_FAR: beyond, the other factor is 0.
 */

#ifndef FBP_FAR
#define FBP_FAR 1000
#define FBP_SELU_SCALE 1.0507009873554804934193349852946
#define FBP_SELU_ALPHA 1.6732632423543772848170429916717
#define FBP_GELU_SLOPE 1.5957691216057307117597842397375   /* 2 √(2 / π) */
#define FBP_GELU_CUBIC (0.044715 * FBP_GELU_SLOPE)
#define FBP_ROOT_2PI_INVERSE 0.39894228040143267793994605993438
#endif

static FBP_INLINE V FN(v_not_above_0)(V x) { return FN(v_min)((V){0}, x); }
static FBP_INLINE V FN(v_not_far_below)(V x) { return FN(v_max)(FN(v_set1)(-FBP_FAR), x); }
static FBP_INLINE V FN(v_not_far)(V x) { return FN(v_clip)(x, -FBP_FAR, FBP_FAR); }

static FBP_INLINE V FN(identity_value)(V x, V a) { (void)a; return x; }
static FBP_INLINE V FN(identity_gradient)(V dy, V y, V a) { (void)y; (void)a; return dy; }

static FBP_INLINE V FN(relu_value)(V x, V a) { (void)a; return FN(v_max)((V){0}, x); }
static FBP_INLINE V FN(relu_gradient)(V dy, V y, V a) { (void)a; return FN(v_gate)(y, dy); }

static FBP_INLINE V FN(sigmoid_value)(V x, V a) { (void)a; return FN(v_sigmoid)(x); }
static FBP_INLINE V FN(sigmoid_gradient)(V dy, V y, V a) { (void)a; return dy * (y * (1 - y)); }

static FBP_INLINE V FN(tanh_value)(V x, V a) { (void)a; return FN(v_tanh)(x); }
static FBP_INLINE V FN(tanh_gradient)(V dy, V y, V a) { (void)a; return dy * FN(v_fma)(-y, y, FN(v_set1)(1)); }

static FBP_INLINE V FN(leaky_relu_both)(V x, V a, V *slope)
{
    *slope = FN(v_select)(x > 0, FN(v_set1)(1), a);
    return FN(v_select)(x > 0, x, a * x);
}

static FBP_INLINE V FN(elu_both)(V x, V a, V *slope)
{
    V exp;
    const V below = a * FN(v_expm1_below_0)(FN(v_not_above_0)(x), &exp);
    *slope = FN(v_select)(x > 0, FN(v_set1)(1), a * exp);
    return FN(v_select)(x > 0, x, below);
}

static FBP_INLINE V FN(selu_both)(V x, V a, V *slope)
{
    (void)a;
    V exp;
    const V below = FN(v_expm1_below_0)(FN(v_not_above_0)(x), &exp) * (T)(FBP_SELU_SCALE * FBP_SELU_ALPHA);
    *slope = FN(v_select)(x > 0, FN(v_set1)((T)FBP_SELU_SCALE), exp * (T)(FBP_SELU_SCALE * FBP_SELU_ALPHA));
    return FN(v_select)(x > 0, x * (T)FBP_SELU_SCALE, below);
}

/* with u = |x|, the tail Φ(-u) and the density φ(u): y = max(0, x) - u Φ(-u); y' is w = Φ(-u) - u φ(u) below 0, and
 * 1 - w above */
static FBP_INLINE V FN(gelu_both)(V x, V a, V *slope)
{
    (void)a;
    V u, density;
    const V tail = FN(v_normal_tail)(x, &u, &density);
    const V w = FN(v_fma)(u * (T)-FBP_ROOT_2PI_INVERSE, density, tail);
    *slope = FN(v_select)(x > 0, 1 - w, w);
    return FN(v_fma)(-u, tail, FN(v_max)((V){0}, x));
}

/* y = x σ(v) with v = x (c + d x²); y' = σ(v) (1 + x σ(-v) v') */
static FBP_INLINE V FN(gelu_tanh_both)(V x, V a, V *slope)
{
    (void)a;
    const V c = FN(v_set1)((T)FBP_GELU_SLOPE), below = FN(v_not_far_below)(x), near = FN(v_not_far)(x);
    V other;
    const V v = below * FN(v_fma)(below * below, FN(v_set1)((T)FBP_GELU_CUBIC), c), s = FN(v_sigmoids)(v, &other);
    const V inner = FN(v_fma)(near * near, FN(v_set1)((T)(3 * FBP_GELU_CUBIC)), c);
    *slope = s * FN(v_fma)(near * other, inner, FN(v_set1)(1));
    return below * s;
}

static FBP_INLINE V FN(silu_both)(V x, V a, V *slope)
{
    (void)a;
    V other;
    const V s = FN(v_sigmoids)(x, &other);
    *slope = s * FN(v_fma)(FN(v_not_far)(x), other, FN(v_set1)(1));
    return FN(v_not_far_below)(x) * s;
}

/* with e = exp(-|x|), t = tanh(log(1 + exp(x))) is top / (top + rest) */
static FBP_INLINE V FN(mish_both)(V x, V a, V *slope)
{
    (void)a;
    const VI positive = x > 0;
    const V e = FN(v_exp)(-FN(v_abs)(x)), rest = FN(v_select)(positive, e * e, FN(v_set1)(1)) * 2;
    const V top = FN(v_select)(positive, e + e + 1, e * (e + 2)), t = top / (top + rest);
    const V less = FN(v_not_far)(x) * (rest / (top + rest));
    *slope = FN(v_fma)(less, (t + 1) * FN(v_sigmoid_of)(x, e), t);
    return FN(v_not_far_below)(x) * t;
}

static FBP_INLINE V FN(softplus_both)(V x, V a, V *slope)
{
    (void)a;
    *slope = FN(v_sigmoid)(x);
    return FN(v_softplus)(x);
}

static FBP_INLINE V FN(hardswish_both)(V x, V a, V *slope)
{
    (void)a;
    const V inside = (x + x + 3) * (T)(1.0 / 6), above_3 = FN(v_select)(x >= 3, FN(v_set1)(1), inside);
    *slope = FN(v_select)(x <= -3, (V){0}, above_3);
    return FN(v_max)(FN(v_set1)(-3), x) * (FN(v_clip)(x + 3, 0, 6) * (T)(1.0 / 6));
}

/* ---- kernels and phases ----------------------------------------------------------------------------------------- */

#define FBP_OP(name)
#define FBP_OPTIMIZER(name)
#define FBP_KERNEL(name, args)

/* What is written once for the two kinds of them: those from y, and those from x. */
#define FBP_VALUES_FROM_y(name)
#define FBP_SLOPES_FROM_y(name)
#define FBP_SLOPES_OF_y(name) NULL
#define FBP_BACKWARD_OF_y(name) KERNEL(name##_backward)

#define FBP_VALUES_FROM_x(name)                                                                                        \
static FBP_INLINE V FN(name##_value)(V x, V a) { V slope; return FN(name##_both)(x, a, &slope); }                      \
                                                                                                                       \
static FBP_INLINE V FN(name##_gradient)(V dy, V x, V a)                                                                \
{                                                                                                                      \
    V slope;                                                                                                           \
    FN(name##_both)(x, a, &slope);                                                                                     \
    return dy * slope;                                                                                                 \
}
#define FBP_SLOPES_FROM_x(name)                                                                                        \
static void FN(name##_slopes)(T *y, T *slopes, const T *x, int64_t n, double alpha)                                    \
{                                                                                                                      \
    const V a = FN(v_set1)((T)alpha);                                                                                  \
    for (int64_t i = 0; i < n; i += VL) {                                                                              \
        V slope;                                                                                                       \
        FN(v_store_up_to)(y + i, FN(name##_both)(FN(v_load_up_to)(x + i, n - i), a, &slope), n - i);                   \
        FN(v_store_up_to)(slopes + i, slope, n - i);                                                                   \
    }                                                                                                                  \
}
#define FBP_SLOPES_OF_x(name) FN(name##_slopes)
#define FBP_BACKWARD_OF_x(name) FN(times_slope)

/* dx = dy f', where that is there */
static void FN(times_slope)(T *dx, const T *dy, const T *slope, int64_t n, double alpha)
{
    (void)alpha;
    for (int64_t i = 0; i < n; i += VL)
        FN(v_store_up_to)(dx + i, FN(v_load_up_to)(dy + i, n - i) * FN(v_load_up_to)(slope + i, n - i), n - i);
}

#define FBP_ACTIVATION(name, of, ...)                                                                                  \
FBP_VALUES_FROM_##of(name)                                                                                           \
                                                                                                                       \
static void KERNEL(name##_forward)(T *y /* (n,) */, const T *x /* (n,) */, int64_t n, double alpha)                    \
{                                                                                                                      \
    const V a = FN(v_set1)((T)alpha);                                                                                  \
    int64_t i = 0;                                                                                                     \
    for (; i + VL <= n; i += VL) FN(v_store)(y + i, FN(name##_value)(FN(v_load)(x + i), a));                           \
    if (i < n) FN(v_store_n)(y + i, FN(name##_value)(FN(v_load_n)(x + i, n - i), a), n - i);                           \
}                                                                                                                      \
                                                                                                                       \
static void KERNEL(name##_backward)(T *dx /* (n,) */, const T *dy /* (n,) */, const T *s /* (n,) */, int64_t n,        \
                                    double alpha)                                                                      \
{                                                                                                                      \
    const V a = FN(v_set1)((T)alpha);                                                                                  \
    int64_t i = 0;                                                                                                     \
    for (; i + VL <= n; i += VL)                                                                                       \
        FN(v_store)(dx + i, FN(name##_gradient)(FN(v_load)(dy + i), FN(v_load)(s + i), a));                            \
    if (i < n)                                                                                                         \
        FN(v_store_n)(dx + i, FN(name##_gradient)(FN(v_load_n)(dy + i, n - i), FN(v_load_n)(s + i, n - i), a), n - i); \
}                                                                                                                      \
                                                                                                                       \
FBP_SLOPES_FROM_##of(name)
#include "op_list.h"

typedef void (*FN(activation_forward_fn))(T *y, const T *x, int64_t n, double alpha);
typedef void (*FN(activation_slopes_fn))(T *y, T *slopes, const T *x, int64_t n, double alpha);
typedef void (*FN(activation_backward_fn))(T *dx, const T *dy, const T *s, int64_t n, double alpha);

/* The functions of an activation op; backward is given y or f'. */
#define FBP_ACTIVATION(name, ...) case FBP_OP_##name: return KERNEL(name##_forward);
static FN(activation_forward_fn) FN(activation_forward_of)(int32_t act)
{
    switch (act) {
#include "op_list.h"
        default: return KERNEL(identity_forward);
    }
}

#define FBP_ACTIVATION(name, of, ...) case FBP_OP_##name: return FBP_SLOPES_OF_##of(name);
static FN(activation_slopes_fn) FN(activation_slopes_of)(int32_t act)
{
    switch (act) {
#include "op_list.h"
        default: return NULL;
    }
}

#define FBP_ACTIVATION(name, of, ...) case FBP_OP_##name: return FBP_BACKWARD_OF_##of(name);
static FN(activation_backward_fn) FN(activation_backward_of)(int32_t act)
{
    switch (act) {
#include "op_list.h"
        default: return KERNEL(identity_backward);
    }
}

#undef FBP_VALUES_FROM_y
#undef FBP_SLOPES_FROM_y
#undef FBP_SLOPES_OF_y
#undef FBP_BACKWARD_OF_y
#undef FBP_VALUES_FROM_x
#undef FBP_SLOPES_FROM_x
#undef FBP_SLOPES_OF_x
#undef FBP_BACKWARD_OF_x

/* y = f(x), and f' to slope if that is not NULL; n elements */
static void FN(activate)(const fbp_activation *act, T *y, T *slope, const T *x, int64_t n)
{
    if (slope) FN(activation_slopes_of)(act->op)(y, slope, x, n, act->alpha);
    else if (y != x || act->op != FBP_OP_identity) FN(activation_forward_of)(act->op)(y, x, n, act->alpha);
}

/* dx = dy times the derivative of an activation; from: y or f' */
static void FN(go_back)(const fbp_activation *gate, T *dx, const T *dy, const T *from, int64_t n)
{
    if (dx != dy || gate->op != FBP_OP_identity) FN(activation_backward_of)(gate->op)(dx, dy, from, n, gate->alpha);
}

/* So many rows stay in the first-level cache from one pass over them to the next. */
static int64_t FN(near_rows)(int64_t columns) { return columns < 4096 && columns ? 4096 / columns : 1; }

/* What an op that takes in activations does with `rows` rows of `columns` elements, from row lo on: those of y that it has
 * just made, and those of dx. */
static void FN(activate_rows)(const fbp_node *n, int64_t lo, int64_t rows, int64_t columns)
{
    T *y = (T *)n->y + lo * columns, *slope = n->fusion.slope ? (T *)n->fusion.slope + lo * columns : NULL;
    FN(activate)(&n->fusion.act, y, slope, y, rows * columns);
}

static void FN(go_back_rows)(const fbp_node *n, int64_t lo, int64_t rows, int64_t columns)
{
    T *dx = (T *)n->dx[0] + lo * columns;
    const T *from = (const T *)n->fusion.gate.from;
    FN(go_back)(&n->fusion.gate, dx, dx, from ? from + lo * columns : NULL, rows * columns);
}

#define FBP_ACTIVATION(name, of, ...)                                                                                  \
static void FN(name##_forward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)   \
{                                                                                                                      \
    (void)run; (void)scratch;                                                                                          \
    const int64_t n = node->dim[0];                                                                                    \
    const fbp_activation act = {.op = FBP_OP_##name, .alpha = node->attr[0]};                                          \
    T *slope = node->fusion.slope ? (T *)node->fusion.slope + lo * n : NULL;                                           \
    FN(activate)(&act, (T *)node->y + lo * n, slope, (const T *)node->x[0] + lo * n, (hi - lo) * n);                   \
}                                                                                                                      \
                                                                                                                       \
static void FN(name##_backward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)  \
{                                                                                                                      \
    (void)run; (void)scratch;                                                                                          \
    const int64_t n = node->dim[0];                                                                                    \
    const fbp_activation act = {.op = FBP_OP_##name, .alpha = node->attr[0]};                                          \
    if (node->dx[0])                                                                                                   \
        FN(go_back)(&act, (T *)node->dx[0] + lo * n, (const T *)node->dy + lo * n,                                     \
                    (const T *)node->fusion.gate.from + lo * n, (hi - lo) * n);                                        \
}                                                                                                                      \
                                                                                                                       \
static const fbp_phases FN(name##_phases) = {.forward = FN(name##_forward_rows), .backward = FN(name##_backward_rows)};
#include "op_list.h"

#undef FBP_OP
#undef FBP_OPTIMIZER
#undef FBP_KERNEL
