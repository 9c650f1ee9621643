/* random: y = random numbers, a function of seed, step, node and element; the twin of fastbp/ops/random.py.
 *
 * Node: y (rows, dim[0]); dim[1]: 1 for the normal distribution, 0 for the uniform one. id: keys the numbers.
 */
static void FN(random_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    enum { WORDS = FBP_VBYTES / 2 }; /* of one call of philox */
    const int64_t D = node->dim[0], n = (hi - lo) * D, first = (run->before + lo) * D;
    const FN(philox_key) key = FN(make_key)(run->seed, run->step, node->id);
    T *y = (T *)node->y + lo * D;
    uint32_t words[WORDS];
    double numbers[WORDS];
    for (int64_t i = 0; i < n;) {
        /* the first element may be in the middle of a block */
        const int64_t skip = (first + i) % 4, count = FN(min)(n - i, WORDS - skip);
        FN(philox)(words, &key, (uint64_t)(first + i) / 4);
        if (node->dim[1]) fbp_normals(numbers, words, WORDS / 2);
        else for (int64_t k = 0; k < WORDS; k++) numbers[k] = (double)(int32_t)(words[k] >> 8) * 0x1p-24;
        for (int64_t k = 0; k < count; k++) y[i + k] = (T)numbers[skip + k];
        i += count;
    }
}

static const fbp_phases FN(random_phases) = {.forward = FN(random_rows)};
