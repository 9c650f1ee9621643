/* random: y = random numbers, a function of seed, step, node and element; whole_random: one array for the whole batch.
 * The twins of fastbp/ops/random.py.
 *
 * Node: y (rows, dim[0]), or (dim[0],); dim[1]: 1 for the normal distribution, 0 for the uniform one. id: keys the numbers.
 */

/* n numbers from element `first` on */
static void FN(random_numbers)(T *y, const fbp_node *node, const fbp_run *run, int64_t first, int64_t n)
{
    enum { WORDS = FN(philox_words) };
    const FN(philox_key) key = FN(make_key)(run->seed, run->step, node->id);
    uint32_t words[WORDS];
    double numbers[WORDS];
    for (int64_t i = 0; i < n;) {
        /* the first element may be in the middle of a block */
        const int64_t skip = (first + i) % 4, count = FN(min)(n - i, WORDS - skip);
        FN(philox)(words, &key, (uint64_t)(first + i) / 4);
        if (node->dim[1]) fbp_normals(numbers, words, (skip + count + 1) / 2);
        else for (int64_t k = 0; k < skip + count; k++) numbers[k] = (double)(int32_t)(words[k] >> 8) * 0x1p-24;
        for (int64_t k = 0; k < count; k++) y[i + k] = (T)numbers[skip + k];
        i += count;
    }
}

static void FN(random_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t D = node->dim[0];
    FN(random_numbers)((T *)node->y + lo * D, node, run, (run->before + lo) * D, (hi - lo) * D);
}

static void FN(random_whole)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)lo; (void)hi; (void)scratch;
    FN(random_numbers)(node->y, node, run, 0, node->dim[0]);
}

static const fbp_phases FN(random_phases) = {.forward = FN(random_rows)};
static const fbp_phases FN(whole_random_phases) = {.forward_reduce = FN(random_whole)};
