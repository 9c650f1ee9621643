/* The optimizers: parameters and state updated in place, element by element; the twin of fastbp/optim/optimizers.py, whose
 * docstrings give the formulas. Own numbers are h[3], h[4], … as op_list.h names them, derived ones h[8], h[9], …
 */

/* ---- once a step: the derived numbers, always in double ---------------------------------------------------------- */
#if FBP_F64
static void sgd_begin_f64(double *h) { (void)h; }
static void rmsprop_begin_f64(double *h) { (void)h; }
static void adagrad_begin_f64(double *h) { (void)h; }
static void lion_begin_f64(double *h) { (void)h; }

/* 1 - beta^n. From where the power is below half a unit of the last place of 1, it is not computed. */
static double bias_correction(double beta, double n) { return n * (1 - beta) > 40 ? 1 : 1 - pow(beta, n); }

/* h[8]: the step size with both bias corrections in it; h[9]: eps, corrected alike */
static void adam_begin_f64(double *h)
{
    const double root = sqrt(bias_correction(h[4], h[1]));
    h[8] = h[0] * root / bias_correction(h[3], h[1]);
    h[9] = h[5] * root;
}
#endif

/* ---- updates ----------------------------------------------------------------------------------------------------- */

/* What all of them begin with: the vectors, and the gradient with weight decay added to it (or not). */
#define FBP_UPDATE(name)                                                                                          \
    static int32_t FN(name##_update)(void *parameters, void *const *state, const void *gradient, int64_t n,       \
                                     const double *h, double weight_decay)
#define FBP_SET(value) FN(v_set1)((T)(value))

/* In each update: the sum of 0 * x over all parameters x has a NaN where one is not finite. Lanes past the end hold 0/0
 * where eps is 0: optimizers that divide look again. */

FBP_UPDATE(sgd)
{
    T *p = parameters, *velocity = state[0];
    const T *g = gradient;
    const V lr = FBP_SET(h[0]), momentum = FBP_SET(h[3]), decay = FBP_SET(weight_decay);
    /* Nesterov moves along g + momentum v, the other along v */
    const V along_g = FBP_SET(h[4] != 0), along_v = h[4] != 0 ? momentum : FBP_SET(1);
    V zero = {0};
    for (int64_t i = 0; i < n; i += VL) {
        const V p0 = FN(v_load_up_to)(p + i, n - i);
        const V d = FN(v_load_up_to)(g + i, n - i) + decay * p0;
        const V v = momentum * FN(v_load_up_to)(velocity + i, n - i) + d;
        const V p1 = p0 - lr * (along_g * d + along_v * v);
        FN(v_store_up_to)(velocity + i, v, n - i);
        FN(v_store_up_to)(p + i, p1, n - i);
        zero += p1 * (T)0;
    }
    return FN(v_any_nan)(zero);
}

FBP_UPDATE(rmsprop)
{
    T *p = parameters, *square_avg = state[0], *velocity = state[1];
    const T *g = gradient;
    const V lr = FBP_SET(h[0]), alpha = FBP_SET(h[3]), beta = FBP_SET(1 - h[3]), eps = FBP_SET(h[4]);
    const V momentum = FBP_SET(h[5]), decay = FBP_SET(weight_decay);
    V zero = {0};
    for (int64_t i = 0; i < n; i += VL) {
        const V p0 = FN(v_load_up_to)(p + i, n - i);
        const V d = FN(v_load_up_to)(g + i, n - i) + decay * p0;
        const V s = alpha * FN(v_load_up_to)(square_avg + i, n - i) + beta * d * d;
        const V v = momentum * FN(v_load_up_to)(velocity + i, n - i) + FN(v_over_root)(d, s, eps);
        const V p1 = p0 - lr * v;
        FN(v_store_up_to)(square_avg + i, s, n - i);
        FN(v_store_up_to)(velocity + i, v, n - i);
        FN(v_store_up_to)(p + i, p1, n - i);
        zero += p1 * (T)0;
    }
    return FN(v_any_nan)(zero) && !FN(all_finite)(p, n);
}

FBP_UPDATE(adagrad)
{
    T *p = parameters, *sum_of_squares = state[0];
    const T *g = gradient;
    const V lr = FBP_SET(h[0]), eps = FBP_SET(h[3]), decay = FBP_SET(weight_decay);
    V zero = {0};
    for (int64_t i = 0; i < n; i += VL) {
        const V p0 = FN(v_load_up_to)(p + i, n - i);
        const V d = FN(v_load_up_to)(g + i, n - i) + decay * p0;
        const V s = FN(v_load_up_to)(sum_of_squares + i, n - i) + d * d;
        const V p1 = p0 - lr * FN(v_over_root)(d, s, eps);
        FN(v_store_up_to)(sum_of_squares + i, s, n - i);
        FN(v_store_up_to)(p + i, p1, n - i);
        zero += p1 * (T)0;
    }
    return FN(v_any_nan)(zero) && !FN(all_finite)(p, n);
}

/* What adam does with `lanes` elements, at the most a vector: with each the same, whatever the compiler makes of it. */
typedef struct FN(adam_numbers) {
    V rest1, beta2, rest2, step, eps, decay, keep;
} FN(adam_numbers);

static FBP_INLINE V FN(adam_vector)(const int decays, const FN(adam_numbers) *c, T *p, T *exp_avg,
                                    T *exp_avg_sq, const T *g, int64_t lanes)
{
    V p0 = FN(v_load_up_to)(p, lanes), d = FN(v_load_up_to)(g, lanes);
    if (decays) {
        d = FN(v_fma)(c->decay, p0, d);
        p0 *= c->keep;
    }
    const V m0 = FN(v_load_up_to)(exp_avg, lanes), v0 = FN(v_load_up_to)(exp_avg_sq, lanes);
    const V m = FN(v_fma)(c->rest1, d - m0, m0), v = FN(v_fma)(c->beta2, v0, c->rest2 * (d * d));
    const V p1 = FN(v_fma)(-c->step, FN(v_over_root)(m, v, c->eps), p0);
    FN(v_store_up_to)(exp_avg, m, lanes);
    FN(v_store_up_to)(exp_avg_sq, v, lanes);
    FN(v_store_up_to)(p, p1, lanes);
    return p1;
}

/* decays: whether weight decay has anything to do */
static FBP_INLINE int32_t FN(adam_loop)(const int decays, T *p, T *exp_avg, T *exp_avg_sq, const T *g, int64_t n,
                                        const double *h, double weight_decay)
{
    const int32_t decoupled = h[6] != 0;
    const FN(adam_numbers) c = {
        .rest1 = FBP_SET(1 - h[3]), .beta2 = FBP_SET(h[4]), .rest2 = FBP_SET(1 - h[4]), .step = FBP_SET(h[8]),
        .eps = FBP_SET(h[9]), .decay = FBP_SET(decoupled ? 0 : weight_decay),
        .keep = FBP_SET(decoupled ? 1 - h[0] * weight_decay : 1),
    };
    V zero = {0};
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        zero += FN(adam_vector)(decays, &c, p + i, exp_avg + i, exp_avg_sq + i, g + i, VL) * (T)0;
    if (i < n) zero += FN(adam_vector)(decays, &c, p + i, exp_avg + i, exp_avg_sq + i, g + i, n - i) * (T)0;
    return FN(v_any_nan)(zero) && !FN(all_finite)(p, n);
}

FBP_UPDATE(adam)
{
    if (weight_decay == 0) return FN(adam_loop)(0, parameters, state[0], state[1], gradient, n, h, 0);
    return FN(adam_loop)(1, parameters, state[0], state[1], gradient, n, h, weight_decay);
}

FBP_UPDATE(lion)
{
    T *p = parameters, *exp_avg = state[0];
    const T *g = gradient;
    const V beta1 = FBP_SET(h[3]), beta2 = FBP_SET(h[4]), rest1 = FBP_SET(1 - h[3]), rest2 = FBP_SET(1 - h[4]);
    const V lr = FBP_SET(h[0]), keep = FBP_SET(1 - h[0] * weight_decay);
    V zero = {0};
    for (int64_t i = 0; i < n; i += VL) {
        const V d = FN(v_load_up_to)(g + i, n - i), m = FN(v_load_up_to)(exp_avg + i, n - i);
        const V c = beta1 * m + rest1 * d;
        /* the sign of c; NaN where c is NaN */
        const V sign = FN(v_select)(c > 0, FBP_SET(1), FN(v_select)(c < 0, FBP_SET(-1), c));
        const V p1 = keep * FN(v_load_up_to)(p + i, n - i) - lr * sign;
        FN(v_store_up_to)(exp_avg + i, beta2 * m + rest2 * d, n - i);
        FN(v_store_up_to)(p + i, p1, n - i);
        zero += p1 * (T)0;
    }
    return FN(v_any_nan)(zero);
}

#undef FBP_UPDATE
#undef FBP_SET
