/* embedding: y = rows of W, by their ids; the twin of fastbp/ops/embedding.py.
 *
 * Node: x[0] ids (rows, n) of int64, each at least 0 and below N, as fbp_feed_integers sees to; y, dy (rows, n, C); p[0] W
 * (N, C). dim[0] n, dim[1] N, dim[2] C, dim[3] the id whose y is 0 and whose row gets no gradient, or -1;
 * dim[4] K and integers (K,): where in W the table of each column of ids begins, of which there is one that begins at 0
 * unless there are several tables; dim[5]: whether only rows whose gradient is not 0 are updated.
 *
 *   forward           copies rows of W
 *   backward_reduce   one unit: sorts the places of ids by id. save[2] touched (1 + places) says how many rows of W were
 *                     taken, then which; save[0] number (N,) the number of each row among them, counted from 1, or 0;
 *                     the places of number i are order[ends[i - 2]] to order[ends[i - 1] - 1], in order, where save[1] is
 *                     order (places,) and save[3] ends (places,); all of int64. What it reads of them from the mini-batch
 *                     before is 0 at first. With dim[5], what those rows have in dW becomes 0
 *   gradient          the sum of dy over the places of each id: row by row of dy, where all units are done in one go. If the node updates and there is an update, W as well.
 *                     Units are rows of W, and dW is 0 where there are no places; with dim[5] they are FBP_ROW_UNITS
 *                     parts of the rows that were taken, and nothing is done for others
 */

static FBP_INLINE void FN(prefetch_read)(const T *row, int64_t C)
{
    for (int64_t j = 0; j < C && j < 256 / (int64_t)sizeof(T); j += 64 / (int64_t)sizeof(T)) __builtin_prefetch(row + j);
}

/* Rows of W, by ids of which column r % K counts from starts[r % K]. */
static void FN(rows_of_ids)(T *y /* (R, C) */, const T *W, const int64_t *ids /* (R,) */, int64_t R, const int64_t *starts,
                          int64_t K, int64_t C)
{
    const int64_t ahead = (FBP_ROWS_AHEAD + K - 1) / K * K;     /* of the same column */
    for (int64_t r = 0, k = 0; r < R; r++, y += C, k = k + 1 < K ? k + 1 : 0) {
        if (r + ahead < R) FN(prefetch_read)(W + (starts[k] + ids[r + ahead]) * C, C);
        FN(copy_line)(y, W + (starts[k] + ids[r]) * C, C);
    }
}

static void KERNEL(embedding_forward)(T *y /* (R, C) */, const T *W /* (N, C) */, const int64_t *ids /* (R,) */,
                                      int64_t R, int64_t N, int64_t C)
{
    (void)N;
    const int64_t start = 0;
    FN(rows_of_ids)(y, W, ids, R, &start, 1, C);
}

/* dW, with the rows of dy added by ids as above, but for the id `padding`. Each sum is in the order of the rows: the same
 * bits as by sorted places. */
static void FN(add_by_ids)(T *dW, const T *dy /* (R, C) */, const int64_t *ids /* (R,) */, int64_t R,
                           const int64_t *starts, int64_t K, int64_t C, int64_t padding)
{
    const int64_t ahead = (FBP_ROWS_AHEAD + K - 1) / K * K;
    for (int64_t r = 0, k = 0; r < R; r++, dy += C, k = k + 1 < K ? k + 1 : 0) {
        if (r + ahead < R) fbp_prefetch_row(dW + (starts[k] + ids[r + ahead]) * C, C * (int64_t)sizeof(T));
        if (ids[r] == padding) continue;
        T *row = dW + (starts[k] + ids[r]) * C;
        for (int64_t j = 0; j < C; j += VL) {
            const V sum = FN(v_load_up_to)(row + j, C - j) + FN(v_load_up_to)(dy + j, C - j);
            FN(v_store_up_to)(row + j, sum, C - j);
        }
    }
}

static void KERNEL(embedding_backward)(T *dW /* (N, C) */, const T *dy /* (R, C) */, const int64_t *ids /* (R,) */,
                                       int64_t R, int64_t N, int64_t C)
{
    const int64_t start = 0;
    memset(dW, 0, (size_t)(N * C) * sizeof(T));
    FN(add_by_ids)(dW, dy, ids, R, &start, 1, C, -1);
}

/* A counting sort over the rows that are taken: it keeps the order of equal ids. Ids of column r % K count from
 * starts[r % K]. */
static void FN(sort_places)(int64_t *number /* (N,) */, int64_t *order /* (R,) */, int64_t *touched /* (1 + R,) */,
                            int64_t *ends /* (R,) */, const int64_t *ids, int64_t R, const int64_t *starts, int64_t K)
{
    int64_t count = 0;
    for (int64_t i = 1; i <= touched[0]; i++) {
        if (i + FBP_ROWS_AHEAD <= touched[0]) __builtin_prefetch(number + touched[i + FBP_ROWS_AHEAD], 1);
        number[touched[i]] = 0;
    }
    const int64_t ahead = (FBP_ROWS_AHEAD + K - 1) / K * K;     /* of the same column */
    for (int64_t r = 0, k = 0; r < R; r++, k = k + 1 < K ? k + 1 : 0) {
        const int64_t v = starts[k] + ids[r];
        if (r + ahead < R) __builtin_prefetch(number + starts[k] + ids[r + ahead], 1);
        if (!number[v]) {
            ends[count++] = 0;
            touched[count] = v;
            number[v] = count;
        }
        ends[number[v] - 1]++;
    }
    touched[0] = count;
    for (int64_t i = 0, begin = 0; i < count; i++) {
        const int64_t places = ends[i];
        ends[i] = begin;
        begin += places;
    }
    for (int64_t r = 0, k = 0; r < R; r++, k = k + 1 < K ? k + 1 : 0)
        order[ends[number[starts[k] + ids[r]] - 1]++] = r;
}

/* row = the sum of the rows of dy at so many places, four vectors of columns at a time */
static void FN(sum_of_places)(T *row /* (C,) */, const T *dy /* (R, C) */, const int64_t *places, int64_t count,
                              int64_t C)
{
    int64_t j = 0;
    for (; j + 4 * VL <= C; j += 4 * VL) {
        V sum[4] = {{0}};
        for (int64_t i = 0; i < count; i++) {
            FBP_UNROLL
            for (int v = 0; v < 4; v++) sum[v] += FN(v_load)(dy + places[i] * C + j + v * VL);
        }
        FBP_UNROLL
        for (int v = 0; v < 4; v++) FN(v_store)(row + j + v * VL, sum[v]);
    }
    for (; j < C; j += VL) {
        V sum = {0};
        for (int64_t i = 0; i < count; i++) sum += FN(v_load_up_to)(dy + places[i] * C + j, C - j);
        FN(v_store_up_to)(row + j, sum, C - j);
    }
}

static void FN(embedding_forward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const int64_t n = node->dim[0], C = node->dim[2];
    const int64_t R = (hi - lo) * n, padding = node->dim[3], *ids = (const int64_t *)node->x[0] + lo * n;
    T *y = (T *)node->y + lo * n * C;
    const T *W = node->p[0];
    FN(rows_of_ids)(y, W, ids, R, node->integers, node->dim[4], C);
    for (int64_t r = 0; r < R && padding >= 0; r++)
        if (ids[r] == padding) memset(y + r * C, 0, (size_t)C * sizeof(T));
}

static FBP_INLINE void FN(zero_row)(T *row, int64_t C)
{
    for (int64_t j = 0; j < C; j += VL) FN(v_store_up_to)(row + j, (V){0}, C - j);
}

static void FN(embedding_sort)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)lo; (void)hi; (void)scratch;
    const int64_t C = node->dim[2], *touched = node->save[2];
    T *dW = node->dp[0];
    for (int64_t i = 1; i <= touched[0] && node->dim[5] && dW; i++) {
        if (i + FBP_ROWS_AHEAD <= touched[0])
            fbp_prefetch_row(dW + touched[i + FBP_ROWS_AHEAD] * C, C * (int64_t)sizeof(T));
        FN(zero_row)(dW + touched[i] * C, C);
    }
    FN(sort_places)(node->save[0], node->save[1], node->save[2], node->save[3], node->x[0], run->rows * node->dim[0],
                    node->integers, node->dim[4]);
}

static int32_t FN(is_padding)(const fbp_node *node, int64_t v)
{
    for (int64_t k = 0; node->dim[3] >= 0 && k < node->dim[4]; k++)
        if (v == node->integers[k] + node->dim[3]) return 1;
    return 0;
}

/* The gradient of row v, the number of which is i. */
static void FN(row_gradient)(const fbp_node *node, int64_t v, int64_t i)
{
    const int64_t C = node->dim[2], *order = node->save[1], *ends = node->save[3];
    const int64_t begin = i > 1 ? ends[i - 2] : 0, end = ends[i - 1];
    FN(sum_of_places)((T *)node->dp[0] + v * C, node->dy, order + begin, FN(is_padding)(node, v) ? 0 : end - begin, C);
}

/* dW of all rows in one go, where those that are taken are 0 before. */
static void FN(gradient_in_order)(const fbp_node *node, const fbp_run *run)
{
    FN(add_by_ids)(node->dp[0], node->dy, node->x[0], run->rows * node->dim[0], node->integers, node->dim[4], node->dim[2],
                   node->dim[3]);
}

static void FN(gradient_of_touched)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi)
{
    const int64_t *touched = node->save[2], count = touched[0];
    const int64_t begin = count * lo / FBP_ROW_UNITS, end = count * hi / FBP_ROW_UNITS;
    const int32_t all = end - begin == count;
    if (all) FN(gradient_in_order)(node, run);
    for (int64_t i = begin + 1; i <= end && !all; i++) {
        if (i + FBP_ROWS_AHEAD <= end)
            fbp_prefetch_row((T *)node->dp[0] + touched[i + FBP_ROWS_AHEAD] * node->dim[2],
                             node->dim[2] * (int64_t)sizeof(T));
        FN(row_gradient)(node, touched[i], i);
    }
    if (node->fusion.updates && run->update)
        fbp_update_rows(run->update, node, touched + 1 + begin, 0, end - begin, node->dim[2]);
}

static void FN(embedding_gradient)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t C = node->dim[2], *number = node->save[0];
    if (!node->dp[0]) return;
    if (node->dim[5]) {
        FN(gradient_of_touched)(node, run, lo, hi);
        return;
    }
    if (lo == 0 && hi == node->dim[1]) {
        memset(node->dp[0], 0, (size_t)(hi * C) * sizeof(T));
        FN(gradient_in_order)(node, run);
    } else {
        for (int64_t v = lo; v < hi; v++)
            if (number[v]) FN(row_gradient)(node, v, number[v]);
            else FN(zero_row)((T *)node->dp[0] + v * C, C);
    }
    if (node->fusion.updates && run->update) fbp_update_piece(run->update, node, 0, lo * C, (hi - lo) * C);
}

static const fbp_phases FN(embedding_phases) = {
    .forward = FN(embedding_forward_rows),
    .backward_reduce = FN(embedding_sort),
    .gradient = FN(embedding_gradient),
};
