/* Elementwise activations: y = f(x), dx = dy f'; the twins of fastbp/ops/activations.py, where the derivations stand.
 *
 * Each has two functions of vectors: NAME_value(x, a) is f(x), and NAME_gradient(dy, s, a) is dy f', s being y or x as
 * `derivative_from` of the twin says; a is the hyperparameter alpha. From the rows FBP_ACTIVATION of op_list.h are made
 * the kernels, the phases, and the look-ups by which linear.inc.h applies an activation to a few rows that it has just
 * made. y may be x, dx may be dy.
 *
 * Node: x[0], y, dx[0], dy, all (rows, dim[0]); fusion.gate.from is s. dim[0]: elements per row, attr[0]: alpha.
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

static FBP_INLINE V FN(leaky_relu_value)(V x, V a) { return FN(v_select)(x > 0, x, a * x); }
static FBP_INLINE V FN(leaky_relu_gradient)(V dy, V x, V a) { return FN(v_select)(x > 0, dy, a * dy); }

static FBP_INLINE V FN(elu_value)(V x, V a)
{
    return FN(v_select)(x > 0, x, a * FN(v_expm1)(FN(v_not_above_0)(x)));
}

static FBP_INLINE V FN(elu_gradient)(V dy, V x, V a)
{
    return FN(v_select)(x > 0, dy, dy * (a * FN(v_exp)(FN(v_not_above_0)(x))));
}

static FBP_INLINE V FN(selu_value)(V x, V a)
{
    (void)a;
    const V below = FN(v_expm1)(FN(v_not_above_0)(x)) * (T)(FBP_SELU_SCALE * FBP_SELU_ALPHA);
    return FN(v_select)(x > 0, x * (T)FBP_SELU_SCALE, below);
}

static FBP_INLINE V FN(selu_gradient)(V dy, V x, V a)
{
    (void)a;
    const V below = FN(v_exp)(FN(v_not_above_0)(x)) * (T)(FBP_SELU_SCALE * FBP_SELU_ALPHA);
    return dy * FN(v_select)(x > 0, FN(v_set1)((T)FBP_SELU_SCALE), below);
}

static FBP_INLINE V FN(gelu_value)(V x, V a)
{
    (void)a;
    return FN(v_not_far_below)(x) * FN(v_normal_cdf)(x);
}

static FBP_INLINE V FN(gelu_gradient)(V dy, V x, V a)
{
    (void)a;
    V power;
    const V cdf = FN(v_normal_parts)(x, &power);
    return dy * FN(v_fma)(FN(v_not_far)(x) * (T)FBP_ROOT_2PI_INVERSE, power, cdf);
}

/* y = x σ(v) with v = x (c + d x²); y' = σ(v) (1 + x σ(-v) v') */
static FBP_INLINE V FN(gelu_tanh_value)(V x, V a)
{
    (void)a;
    x = FN(v_not_far_below)(x);
    const V slope = FN(v_fma)(x * x, FN(v_set1)((T)FBP_GELU_CUBIC), FN(v_set1)((T)FBP_GELU_SLOPE));
    return x * FN(v_sigmoid)(x * slope);
}

static FBP_INLINE V FN(gelu_tanh_gradient)(V dy, V x, V a)
{
    (void)a;
    x = FN(v_not_far)(x);
    const V c = FN(v_set1)((T)FBP_GELU_SLOPE), square = x * x;
    V other;
    const V s = FN(v_sigmoids)(x * FN(v_fma)(square, FN(v_set1)((T)FBP_GELU_CUBIC), c), &other);
    const V slope = FN(v_fma)(square, FN(v_set1)((T)(3 * FBP_GELU_CUBIC)), c);
    return dy * (s * FN(v_fma)(x * other, slope, FN(v_set1)(1)));
}

static FBP_INLINE V FN(silu_value)(V x, V a)
{
    (void)a;
    return FN(v_not_far_below)(x) * FN(v_sigmoid)(x);
}

static FBP_INLINE V FN(silu_gradient)(V dy, V x, V a)
{
    (void)a;
    V other;
    const V s = FN(v_sigmoids)(x, &other);
    return dy * (s * FN(v_fma)(FN(v_not_far)(x), other, FN(v_set1)(1)));
}

/* with e = exp(-|x|), t = tanh(log(1 + exp(x))) is top / (top + rest) */
static FBP_INLINE V FN(mish_parts)(V x, V *e, V *rest)
{
    const VI positive = x > 0;
    *e = FN(v_exp)(-FN(v_abs)(x));
    *rest = FN(v_select)(positive, *e * *e, FN(v_set1)(1)) * 2;
    return FN(v_select)(positive, *e + *e + 1, *e * (*e + 2));
}

static FBP_INLINE V FN(mish_value)(V x, V a)
{
    (void)a;
    V e, rest;
    const V top = FN(mish_parts)(x, &e, &rest);
    return FN(v_not_far_below)(x) * (top / (top + rest));
}

static FBP_INLINE V FN(mish_gradient)(V dy, V x, V a)
{
    (void)a;
    V e, rest;
    const V top = FN(mish_parts)(x, &e, &rest), part = 1 / (top + rest), t = top * part;
    const V sigmoid = FN(v_select)(x > 0, FN(v_set1)(1), e) / (e + 1);
    return dy * FN(v_fma)(FN(v_not_far)(x) * (rest * part), (t + 1) * sigmoid, t);
}

static FBP_INLINE V FN(sigmoid_value)(V x, V a) { (void)a; return FN(v_sigmoid)(x); }
static FBP_INLINE V FN(sigmoid_gradient)(V dy, V y, V a) { (void)a; return dy * (y * (1 - y)); }

static FBP_INLINE V FN(tanh_value)(V x, V a) { (void)a; return FN(v_tanh)(x); }
static FBP_INLINE V FN(tanh_gradient)(V dy, V y, V a) { (void)a; return dy * FN(v_fma)(-y, y, FN(v_set1)(1)); }

static FBP_INLINE V FN(softplus_value)(V x, V a) { (void)a; return FN(v_softplus)(x); }
static FBP_INLINE V FN(softplus_gradient)(V dy, V x, V a) { (void)a; return dy * FN(v_sigmoid)(x); }

static FBP_INLINE V FN(hardswish_value)(V x, V a)
{
    (void)a;
    return FN(v_max)(FN(v_set1)(-3), x) * (FN(v_clip)(x + 3, 0, 6) * (T)(1.0 / 6));
}

static FBP_INLINE V FN(hardswish_gradient)(V dy, V x, V a)
{
    (void)a;
    const V inside = (x + x + 3) * (T)(1.0 / 6), above_3 = FN(v_select)(x >= 3, FN(v_set1)(1), inside);
    return dy * FN(v_select)(x <= -3, (V){0}, above_3);
}

/* ---- kernels and phases ----------------------------------------------------------------------------------------- */

#define FBP_OP(name)
#define FBP_OPTIMIZER(name)
#define FBP_KERNEL(name, args)

#define FBP_ACTIVATION(name, ...)                                                                                      \
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
static void FN(name##_forward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)   \
{                                                                                                                      \
    (void)run; (void)scratch;                                                                                          \
    const int64_t n = node->dim[0];                                                                                    \
    KERNEL(name##_forward)((T *)node->y + lo * n, (const T *)node->x[0] + lo * n, (hi - lo) * n, node->attr[0]);       \
}                                                                                                                      \
                                                                                                                       \
static void FN(name##_backward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)  \
{                                                                                                                      \
    (void)run; (void)scratch;                                                                                          \
    const int64_t n = node->dim[0];                                                                                    \
    if (node->dx[0])                                                                                                   \
        KERNEL(name##_backward)((T *)node->dx[0] + lo * n, (const T *)node->dy + lo * n,                               \
                                (const T *)node->fusion.gate.from + lo * n, (hi - lo) * n, node->attr[0]);             \
}                                                                                                                      \
                                                                                                                       \
static const fbp_phases FN(name##_phases) = {.forward = FN(name##_forward_rows), .backward = FN(name##_backward_rows)};
#include "op_list.h"

typedef void (*FN(activation_forward_fn))(T *y, const T *x, int64_t n, double alpha);
typedef void (*FN(activation_backward_fn))(T *dx, const T *dy, const T *s, int64_t n, double alpha);

/* The kernels of an activation op. */
#define FBP_ACTIVATION(name, ...) case FBP_OP_##name: return KERNEL(name##_forward);
static FN(activation_forward_fn) FN(activation_forward_of)(int32_t act)
{
    switch (act) {
#include "op_list.h"
        default: return KERNEL(identity_forward);
    }
}

#define FBP_ACTIVATION(name, ...) case FBP_OP_##name: return KERNEL(name##_backward);
static FN(activation_backward_fn) FN(activation_backward_of)(int32_t act)
{
    switch (act) {
#include "op_list.h"
        default: return KERNEL(identity_backward);
    }
}

#undef FBP_OP
#undef FBP_OPTIMIZER
#undef FBP_KERNEL
