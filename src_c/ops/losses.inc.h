/* The losses: row_loss[r] = w_r l(x_r, t_r) and its gradient dx, in one pass; the twin of fastbp/objectives/losses.py
 * and cross_entropy.py.
 *
 * Node: x[0] the network's output (rows * G, D), dx[0] its gradient or NULL, constants (D,) or NULL. dim[0]: G, dim[1]:
 * D, dim[2]: how many rows of the loss share a sample weight, attr[0]. In node->loss: target, weight the sample weights
 * (rows * G / dim[2],) or NULL, row_weight (rows * G,) the weights w, row_loss (rows * G,), row_right (rows * G,) or
 * NULL. forward_reduce, one unit, fills row_weight: the weights divided by their sum, times scale, and so mixes rows;
 * forward does the rest, row by row.
 */

#define FBP_LOSS_ARGS(type) double *row_loss, T *dx, const T *x, const type *target, const T *weight, \
                            const T *constants, int64_t B, int64_t D, double attr

/* ---- losses that are sums over elements: each gives l and dl/dx of a vector of elements -------------------------- */

static FBP_INLINE V FN(mse_element)(V x, V t, V c, V a, V *d)
{
    (void)c; (void)a;
    const V e = x - t;
    *d = e + e;
    return e * e;
}

static FBP_INLINE V FN(half_squared_error_element)(V x, V t, V c, V a, V *d)
{
    (void)c; (void)a;
    *d = x - t;
    return *d * *d * (T)0.5;
}

static FBP_INLINE V FN(mae_element)(V x, V t, V c, V a, V *d)
{
    (void)c; (void)a;
    const V e = x - t, one = FN(v_set1)(1);
    *d = FN(v_select)(e > 0, one, FN(v_select)(e < 0, -one, e));
    return FN(v_abs)(e);
}

static FBP_INLINE V FN(huber_element)(V x, V t, V c, V delta, V *d)
{
    (void)c;
    const V e = x - t, size = FN(v_abs)(e), m = FN(v_min)(delta, size);
    *d = FN(v_copysign)(m, e);
    return m * (size - m * (T)0.5);
}

static FBP_INLINE V FN(quantile_element)(V x, V t, V q, V a, V *d)
{
    (void)a;
    const V e = t - x, over = q * e, under = (q - 1) * e;
    *d = FN(v_select)(e > 0, -q, FN(v_select)(e < 0, 1 - q, e));
    return FN(v_max)(over, under);
}

static FBP_INLINE V FN(poisson_nll_element)(V x, V t, V c, V a, V *d)
{
    (void)c; (void)a;
    const V rate = FN(v_exp)(x);
    *d = rate - t;
    return rate - t * x;
}

static FBP_INLINE V FN(binary_cross_entropy_element)(V x, V t, V pos_weight, V a, V *d)
{
    (void)a;
    const V positive = t * pos_weight, negative = 1 - t;
    /* with e = exp(-|x|): the larger of sigmoid(x), sigmoid(-x) is 1/(1+e), the other e/(1+e) */
    const V e = FN(v_exp)(-FN(v_abs)(x)), large = 1 / (1 + e), small = e * large, tail = FN(v_log1p)(e);
    const VI above = x > 0;
    *d = negative * FN(v_select)(above, large, small) - positive * FN(v_select)(above, small, large);
    const V zero = {0};
    return positive * (FN(v_max)(zero, -x) + tail) + negative * (FN(v_max)(zero, x) + tail);
}

/* A loss of one column: a vector holds as many rows. */
#define FBP_ROWS_AS_LANES(name, scale)                                                                               \
    const V c = FN(v_set1)(constants ? constants[0] : 1), factor = FN(v_set1)((T)(scale));                          \
    for (int64_t r = 0; r < B; r += VL) {                                                                           \
        V d;                                                                                                        \
        const V w = FN(v_load_up_to)(weight + r, B - r);                                                            \
        const V l = FN(name##_element)(FN(v_load_up_to)(x + r, B - r), FN(v_load_up_to)(target + r, B - r), c, a, &d); \
        T each[VL];                                                                                                 \
        FN(v_store)(each, l * factor);                                                                              \
        for (int64_t i = 0; i < VL && r + i < B; i++) row_loss[r + i] = (double)weight[r + i] * (double)each[i];    \
        if (dx) FN(v_store_up_to)(dx + r, d * factor * w, B - r);                                                   \
    }

#define FBP_SUM_OF_ELEMENTS(name, scale)                                                                            \
    static void KERNEL(name)(FBP_LOSS_ARGS(T))                                                                      \
    {                                                                                                               \
        const V a = FN(v_set1)((T)attr);                                                                            \
        if (D == 1) {                                                                                               \
            FBP_ROWS_AS_LANES(name, scale)                                                                          \
            return;                                                                                                 \
        }                                                                                                           \
        for (int64_t r = 0; r < B; r++) {                                                                           \
            const V factor = FN(v_set1)((T)(scale)), w = FN(v_set1)(weight[r]);                                     \
            V sum = {0};                                                                                            \
            for (int64_t j = 0; j < D; j += VL) {                                                                   \
                V d;                                                                                                \
                const V c = constants ? FN(v_load_up_to)(constants + j, D - j) : FN(v_set1)(1);                     \
                const V l = FN(name##_element)(FN(v_load_up_to)(x + r * D + j, D - j),                              \
                                               FN(v_load_up_to)(target + r * D + j, D - j), c, a, &d);              \
                sum += FN(v_first)(l, D - j);                                                                       \
                if (dx) FN(v_store_up_to)(dx + r * D + j, d * factor * w, D - j);                                   \
            }                                                                                                       \
            row_loss[r] = (double)weight[r] * (double)(FN(v_sum)(sum) * (T)(scale));                                \
        }                                                                                                           \
    }

FBP_SUM_OF_ELEMENTS(mse, 1.0 / (double)D)
FBP_SUM_OF_ELEMENTS(half_squared_error, 1.0)
FBP_SUM_OF_ELEMENTS(mae, 1.0 / (double)D)
FBP_SUM_OF_ELEMENTS(huber, 1.0 / (double)D)
FBP_SUM_OF_ELEMENTS(quantile, 1.0 / (double)D)
FBP_SUM_OF_ELEMENTS(poisson_nll, 1.0 / (double)D)
FBP_SUM_OF_ELEMENTS(binary_cross_entropy, 1.0 / (double)D)
#undef FBP_SUM_OF_ELEMENTS
#undef FBP_ROWS_AS_LANES

/* x: D/2 means m, then D/2 log-variances s; r = (t - m) exp(-s/2) */
static void KERNEL(gaussian_nll)(FBP_LOSS_ARGS(T))
{
    (void)constants; (void)attr;
    const int64_t half = D / 2;
    const T scale = half ? (T)1 / (T)half : 0;
    for (int64_t row = 0; row < B; row++) {
        const V w = FN(v_set1)(weight[row] * scale);
        const T *mean = x + row * D, *log_variance = mean + half;
        V sum = {0};
        for (int64_t j = 0; j < half; j += VL) {
            const V s = FN(v_load_up_to)(log_variance + j, half - j), root = FN(v_exp)(s * (T)-0.5);
            const V t = FN(v_load_up_to)(target + row * half + j, half - j);
            const V r = (t - FN(v_load_up_to)(mean + j, half - j)) * root;
            sum += FN(v_first)((s + r * r) * (T)0.5, half - j);
            if (!dx) continue;
            FN(v_store_up_to)(dx + row * D + j, -r * root * w, half - j);
            FN(v_store_up_to)(dx + row * D + half + j, (1 - r * r) * (T)0.5 * w, half - j);
        }
        row_loss[row] = (double)weight[row] * (double)(FN(v_sum)(sum) * scale);
    }
}

/* ---- cross-entropies: softmax, its logarithm and the gradient together ------------------------------------------- */

/* With s = x - max x and S = Σ exp(s), -Σ q log(softmax(x)) = log S Σ q - Σ q s. What rows have of it is kept for a
 * block of them, so that their logarithms are made together. */
typedef struct FN(surprises) {
    T S[FBP_BLOCK];
    double q[FBP_BLOCK], qs[FBP_BLOCK];
} FN(surprises);

static FBP_INLINE void FN(finish_surprises)(double *row_loss, FN(surprises) *block, const T *weight, int64_t rows)
{
    for (int64_t r = 0; r < rows; r += VL)
        FN(v_store_up_to)(block->S + r, FN(v_log)(FN(v_load_up_to)(block->S + r, rows - r)), rows - r);
    for (int64_t r = 0; r < rows; r++)
        row_loss[r] = (double)weight[r] * ((double)block->S[r] * block->q[r] - block->qs[r]);
}

/* a class that the target rules out costs nothing, even where its surprise is infinite */
static FBP_INLINE V FN(v_cost)(V q, V s) { return FN(v_select)(q == 0, (V){0}, q * s); }

/* The constants of a cross-entropy are the weights of the classes, below 0 for one that does not count: labels of it,
 * and labels of -1, are ignored, and smoothing gives it nothing. */
static int64_t FN(classes_that_count)(const T *classes, int64_t D)
{
    int64_t n = 0;
    for (int64_t j = 0; j < D; j++) n += !classes || classes[j] >= 0;
    return n;
}

/* what smoothing gives to classes j and on: less where one counts, else 0 */
static FBP_INLINE V FN(v_share)(const T *classes, int64_t j, int64_t D, V less)
{
    return classes ? FN(v_select)(FN(v_load_up_to)(classes + j, D - j) >= 0, less, (V){0}) : less;
}

/* A label that there is not: nothing is read or written for it. The loss is 0 if it is ignored, else not a number. */
static FBP_INLINE void FN(no_label_row)(T *dx, int64_t D, double loss, FN(surprises) *block, int64_t r)
{
    block->S[r] = 1;
    block->q[r] = 0;
    block->qs[r] = loss;
    if (dx) memset(dx, 0, (size_t)D * sizeof(T));
}

/* q is 1 - smoothing at the label, and a share of smoothing besides for all classes, or for those that count. */
static FBP_INLINE void FN(label_row)(T *dx, const T *x, int64_t label, T weight, int64_t D, double smoothing,
                                     const T *classes, int64_t count, FN(surprises) *block, int64_t r)
{
    const T rest = (T)(smoothing / (double)count), one = (T)(1 - smoothing), max = FN(row_max)(x, D);
    const V top = FN(v_set1)(max), less = FN(v_set1)(rest * weight), one_each = FN(v_set1)(1);
    V sum = {0}, others = {0}, e = {0};
    for (int64_t j = 0; j < D; j += VL) {
        const V s = FN(v_load_up_to)(x + j, D - j) - top;
        e = FN(v_exp)(s);
        sum += FN(v_first)(e, D - j);
        if (smoothing > 0)
            others += FN(v_first)(classes ? FN(v_cost)(FN(v_share)(classes, j, D, one_each), s) : s, D - j);
        if (dx && D > VL) FN(v_store_up_to)(dx + j, e, D - j);
    }
    block->S[r] = FN(v_sum)(sum);
    block->q[r] = 1;
    block->qs[r] = (double)one * (double)(x[label] - max);
    if (smoothing > 0) block->qs[r] += (double)rest * (double)FN(v_sum)(others);
    if (!dx) return;
    const V factor = FN(v_set1)(weight / block->S[r]);
    if (D <= VL) {
        /* the label's share is taken off before the only store: a load from within it would have to wait */
        const V here = (V)((VI)FN(v_set1)(one * weight) & (FN(v_lane)() == FN(v_set1i)((TI)label)));
        FN(v_store_up_to)(dx, FN(v_fma)(e, factor, -FN(v_share)(classes, 0, D, less)) - here, D);
        return;
    }
    for (int64_t j = 0; j < D; j += VL) {
        const V share = FN(v_share)(classes, j, D, less);
        FN(v_store_up_to)(dx + j, FN(v_fma)(FN(v_load_up_to)(dx + j, D - j), factor, -share), D - j);
    }
    dx[label] -= one * weight;
}

static void KERNEL(cross_entropy)(FBP_LOSS_ARGS(int64_t))
{
    const int64_t count = FN(classes_that_count)(constants, D);
    FN(surprises) block;
    for (int64_t first = 0; first < B; first += FBP_BLOCK) {
        const int64_t rows = FN(min)(FBP_BLOCK, B - first);
        for (int64_t i = 0; i < rows; i++) {
            const int64_t r = first + i, label = target[r];
            T *dx_r = dx ? dx + r * D : NULL;
            if (label < 0 || label >= D)
                FN(no_label_row)(dx_r, D, label == -1 && constants ? 0 : (double)NAN, &block, i);
            else if (count == D)
                FN(label_row)(dx_r, x + r * D, label, weight[r], D, attr, NULL, D, &block, i);
            else
                FN(label_row)(dx_r, x + r * D, label, weight[r], D, attr, constants, count, &block, i);
        }
        FN(finish_surprises)(row_loss + first, &block, weight + first, rows);
    }
}

static FBP_INLINE void FN(probability_row)(T *dx, const T *x, const T *target, T weight, int64_t D, double smoothing,
                                           const T *classes, int64_t count, FN(surprises) *block, int64_t r)
{
    const V rest = FN(v_set1)((T)(smoothing / (double)count)), one = FN(v_set1)((T)(1 - smoothing));
    const V top = FN(v_set1)(FN(row_max)(x, D)), w = FN(v_set1)(weight);
    V sum = {0}, total = {0}, costs = {0};
    for (int64_t j = 0; j < D; j += VL) {
        const V s = FN(v_load_up_to)(x + j, D - j) - top, e = FN(v_exp)(s);
        const V share = FN(v_share)(classes, j, D, rest);
        const V q = FN(v_first)(FN(v_fma)(one, FN(v_load_up_to)(target + j, D - j), share), D - j);
        sum += FN(v_first)(e, D - j);
        total += q;
        costs += FN(v_cost)(q, s);
        if (dx) FN(v_store_up_to)(dx + j, e, D - j);
    }
    block->S[r] = FN(v_sum)(sum);
    const T q_sum = FN(v_sum)(total);
    block->q[r] = (double)q_sum;
    block->qs[r] = (double)FN(v_sum)(costs);
    if (!dx) return;
    const V factor = FN(v_set1)(q_sum / block->S[r]);
    for (int64_t j = 0; j < D; j += VL) {
        const V q = FN(v_fma)(one, FN(v_load_up_to)(target + j, D - j), FN(v_share)(classes, j, D, rest));
        FN(v_store_up_to)(dx + j, FN(v_fma)(FN(v_load_up_to)(dx + j, D - j), factor, -q) * w, D - j);
    }
}

static void KERNEL(soft_cross_entropy)(FBP_LOSS_ARGS(T))
{
    const int64_t count = FN(classes_that_count)(constants, D);
    const T *classes = count == D ? NULL : constants;
    FN(surprises) block;
    for (int64_t first = 0; first < B; first += FBP_BLOCK) {
        const int64_t rows = FN(min)(FBP_BLOCK, B - first);
        for (int64_t i = 0; i < rows; i++) {
            const int64_t r = first + i;
            FN(probability_row)(dx ? dx + r * D : NULL, x + r * D, target + r * D, weight[r], D, attr, classes, count,
                                &block, i);
        }
        FN(finish_surprises)(row_loss + first, &block, weight + first, rows);
    }
}

#undef FBP_LOSS_ARGS

/* ---- phases ------------------------------------------------------------------------------------------------------ */

/* The class weight of a row; 1 without class weights, and in losses whose constants mean something else. */
static double FN(class_weight_of)(const fbp_node *node, int64_t row, int32_t labels)
{
    const T *classes = node->constants;
    const int64_t D = node->dim[1];
    if (!classes) return 1;
    if (labels) {
        const int64_t label = ((const int64_t *)node->loss.target)[row];
        return label < 0 || label >= D || classes[label] < 0 ? 0 : (double)classes[label];
    }
    double sum = 0;
    for (int64_t j = 0; j < D; j++)
        if (classes[j] >= 0) sum += (double)classes[j] * (double)((const T *)node->loss.target)[row * D + j];
    return sum;
}

/* The weight of row r before they are made to sum to 1. classes: 0 no class weights, 1 of labels, 2 of probabilities */
static FBP_INLINE double FN(weight_of_row)(const fbp_node *node, int64_t r, int32_t classes)
{
    const T *samples = node->loss.weight;
    const double sample = samples ? (double)samples[r / node->dim[2]] : 1;
    return classes ? sample * FN(class_weight_of)(node, r, classes == 1) : sample;
}

static FBP_INLINE void FN(row_weights)(const fbp_node *node, const fbp_run *run, int32_t classes)
{
    const int64_t G = node->dim[0], n = run->rows * G;
    const double scale = node->loss.scale;
    T *w = node->loss.row_weight;
    if (!node->loss.weight && !(classes && node->constants)) {
        const double count = node->loss.total ? *node->loss.total : (double)n;
        for (int64_t r = 0; r < n; r++) w[r] = (T)(scale / count);
        return;
    }
    double sum = 0;
    for (int64_t r = 0; r < n; r++) sum += FN(weight_of_row)(node, r, classes);
    if (node->loss.total) sum = *node->loss.total;
    for (int64_t r = 0; r < n; r++) w[r] = sum > 0 ? (T)(scale * (FN(weight_of_row)(node, r, classes) / sum)) : 0;
}

/* ---- decisions: the share of each row (B, D) that is right ------------------------------------------------------- */

/* The first of the largest, as NumPy's argmax has it. */
static FBP_INLINE int64_t FN(first_largest)(const T *x, int64_t D)
{
    const T max = FN(row_max)(x, D);
    int64_t at = 0;
    while (at + 1 < D && x[at] != max) at++;
    return at;
}

/* Whether the label's element is that: none is larger, and none before it as large. */
static FBP_INLINE double FN(is_first_largest)(const T *x, int64_t label, int64_t D)
{
    if (label < 0 || label >= D) return 0;
    const V own = FN(v_set1)(x[label]), one = FN(v_set1)(1), zero = {0};
    V above = zero;
    for (int64_t j = 0; j < D; j += VL) {
        const V v = FN(v_load_up_to)(x + j, D - j);
        const VI before = FN(v_lane)() < FN(v_set1i)((TI)(label - j));
        above = FN(v_max)(above, FN(v_first)(FN(v_select)((v > own) | ((v == own) & before), one, zero), D - j));
    }
    return 1 - (double)FN(v_hmax)(above);
}

static void FN(right_labels)(double *right, const T *x, const int64_t *target, int64_t B, int64_t D)
{
    for (int64_t r = 0; r < B; r++) right[r] = FN(is_first_largest)(x + r * D, target[r], D);
}

static void FN(right_probabilities)(double *right, const T *x, const T *target, int64_t B, int64_t D)
{
    for (int64_t r = 0; r < B; r++)
        right[r] = FN(first_largest)(x + r * D, D) == FN(first_largest)(target + r * D, D);
}

static void FN(right_answers)(double *right, const T *x, const T *target, int64_t B, int64_t D)
{
    for (int64_t r = 0; r < B; r++) {
        int64_t sum = 0;
        for (int64_t j = 0; j < D; j++) sum += (x[r * D + j] > 0) == (target[r * D + j] >= (T)0.5);
        right[r] = (double)sum / (double)D;
    }
}

static void FN(right_of_none)(double *right, const T *x, const T *target, int64_t B, int64_t D)
{
    (void)right; (void)x; (void)target; (void)B; (void)D;
}

#define FBP_LOSS_PHASES(name, target_type, target_columns, classes, decisions)                                       \
    static void FN(name##_weights)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)   \
    {                                                                                                                \
        (void)lo; (void)hi; (void)scratch;                                                                           \
        FN(row_weights)(node, run, classes);                                                                         \
    }                                                                                                                \
    static void FN(name##_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)      \
    {                                                                                                                \
        (void)run; (void)scratch;                                                                                    \
        const fbp_loss *loss = &node->loss;                                                                          \
        const int64_t G = node->dim[0], D = node->dim[1], first = lo * G;                                            \
        KERNEL(name)(loss->row_loss + first, node->dx[0] ? (T *)node->dx[0] + first * D : NULL,                       \
                     (const T *)node->x[0] + first * D, (const target_type *)loss->target + first * (target_columns),  \
                     (const T *)loss->row_weight + first, node->constants, (hi - lo) * G, D, node->attr[0]);          \
        if (loss->row_right)                                                                                         \
            FN(decisions)(loss->row_right + first, (const T *)node->x[0] + first * D,                                 \
                          (const target_type *)loss->target + first * (target_columns), (hi - lo) * G, D);            \
    }                                                                                                                \
    static const fbp_phases FN(name##_phases) = {                                                                    \
        .forward_reduce = FN(name##_weights), .forward = FN(name##_rows)};

FBP_LOSS_PHASES(mse, T, D, 0, right_of_none)
FBP_LOSS_PHASES(half_squared_error, T, D, 0, right_of_none)
FBP_LOSS_PHASES(mae, T, D, 0, right_of_none)
FBP_LOSS_PHASES(huber, T, D, 0, right_of_none)
FBP_LOSS_PHASES(quantile, T, D, 0, right_of_none)
FBP_LOSS_PHASES(poisson_nll, T, D, 0, right_of_none)
FBP_LOSS_PHASES(gaussian_nll, T, D / 2, 0, right_of_none)
FBP_LOSS_PHASES(binary_cross_entropy, T, D, 0, right_answers)
FBP_LOSS_PHASES(cross_entropy, int64_t, 1, 1, right_labels)
FBP_LOSS_PHASES(soft_cross_entropy, T, D, 2, right_probabilities)
#undef FBP_LOSS_PHASES
