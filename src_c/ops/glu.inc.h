/* glu: y = a sigmoid(b).      swiglu: y = a sigmoid(a) b.      a and b are the halves of each row of x; the twins of
 * fastbp/ops/glu.py, where the gradients are derived.
 *
 * Node: x[0], dx[0] (rows, dim[0], 2 dim[1]), y, dy (rows, dim[0], dim[1]).
 */

#define FBP_GATED(name, VALUE, BY_A, BY_B)                                                                       \
    static void FN(name##_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi,           \
                                        void *scratch)                                                           \
    {                                                                                                            \
        (void)run; (void)scratch;                                                                                \
        const int64_t G = n->dim[0], C = n->dim[1];                                                              \
        for (int64_t r = lo * G; r < hi * G; r++) {                                                              \
            const T *x = (const T *)n->x[0] + 2 * r * C;                                                         \
            for (int64_t i = 0; i < C; i += VL) {                                                                \
                const V a = FN(v_load_up_to)(x + i, C - i), b = FN(v_load_up_to)(x + C + i, C - i);              \
                FN(v_store_up_to)((T *)n->y + r * C + i, VALUE, C - i);                                          \
            }                                                                                                    \
        }                                                                                                        \
    }                                                                                                            \
    static void FN(name##_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi,          \
                                         void *scratch)                                                          \
    {                                                                                                            \
        (void)run; (void)scratch;                                                                                \
        const int64_t G = n->dim[0], C = n->dim[1];                                                              \
        const V one = FN(v_set1)(1);                                                                             \
        for (int64_t r = lo * G; n->dx[0] && r < hi * G; r++) {                                                  \
            const T *x = (const T *)n->x[0] + 2 * r * C;                                                         \
            T *dx = (T *)n->dx[0] + 2 * r * C;                                                                   \
            for (int64_t i = 0; i < C; i += VL) {                                                                \
                const V a = FN(v_load_up_to)(x + i, C - i), b = FN(v_load_up_to)(x + C + i, C - i);              \
                const V d = FN(v_load_up_to)((const T *)n->dy + r * C + i, C - i);                               \
                V other;                                                                                         \
                const V s = FN(v_sigmoids)(BY_A, &other);                                                        \
                BY_B                                                                                             \
            }                                                                                                    \
        }                                                                                                        \
    }                                                                                                            \
    static const fbp_phases FN(name##_phases) = {                                                                \
        .forward = FN(name##_forward_rows),                                                                      \
        .backward = FN(name##_backward_rows),                                                                    \
    };

FBP_GATED(glu, a * FN(v_sigmoid)(b), b, {
    (void)one;
    FN(v_store_up_to)(dx + i, d * s, C - i);
    FN(v_store_up_to)(dx + C + i, d * a * s * other, C - i);
})
FBP_GATED(swiglu, a * FN(v_sigmoid)(a) * b, a, {
    FN(v_store_up_to)(dx + i, d * b * s * FN(v_fma)(a, other, one), C - i);
    FN(v_store_up_to)(dx + C + i, d * a * s, C - i);
})
#undef FBP_GATED
