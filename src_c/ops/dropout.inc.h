/* dropout: y = x / (1 - rate) where an element is kept, else 0, and dx likewise from dy; in evaluation y = x. The twin
 * of fastbp/ops/dropout.py.
 *
 * Node: x[0], y, dx[0], dy, all (rows, dim[0]). dim[0]: elements per row. attr[0]: rate. id: keys the numbers. Results
 * may be written over x and dy. Backward goes on through fusion.gate. save[0]: a byte for each element, 255 where it is
 * kept and 0 where not; or NULL.
 *
 * An element's random word is a function of its place in the batch (fastbp/ops/philox.py). Drawing it once more costs
 * four times as much as reading what came of it.
 */

/* One block of four words a lane; only the low halves of the lanes count. */
typedef uint64_t FN(blocks) __attribute__((vector_size(FBP_VBYTES), may_alias));
#define FBP_BLOCKS ((int64_t)(FBP_VBYTES / 8))
/* Each round waits for the one before: vectors of blocks that are made side by side fill the time. */
#define FBP_SIDE_BY_SIDE 4
enum { FN(philox_words) = FBP_SIDE_BY_SIDE * FBP_VBYTES / 2 };

typedef struct FN(philox_key) {
    FN(blocks) k0[10], k1[10];
    uint64_t step, node;
} FN(philox_key);

static FN(philox_key) FN(make_key)(uint64_t seed, uint64_t step, int64_t node)
{
    FN(philox_key) key = {.step = step, .node = (uint64_t)node};
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int r = 0; r < 10; r++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        key.k0[r] = (FN(blocks)){0} + k0;
        key.k1[r] = (FN(blocks)){0} + k1;
    }
    return key;
}

/* 64-bit products of the low halves */
static FBP_INLINE FN(blocks) FN(multiply_low)(FN(blocks) a, uint32_t b)
{
#if FBP_ISA_AVX512
    return (FN(blocks))_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(b));
#elif FBP_ISA_AVX2
    return (FN(blocks))_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#else
    return (a & 0xFFFFFFFFu) * (uint64_t)b;
#endif
}

/* The four words of each of FBP_BLOCKS blocks, in order. */
static FBP_INLINE void FN(store_words)(uint32_t *words, FN(blocks) c0, FN(blocks) c1, FN(blocks) c2, FN(blocks) c3)
{
    const FN(blocks) a = (c0 & 0xFFFFFFFFu) | (c1 << 32), b = (c2 & 0xFFFFFFFFu) | (c3 << 32);
#if FBP_ISA_AVX512
    const FN(blocks) lo = (FN(blocks))_mm512_unpacklo_epi64((__m512i)a, (__m512i)b);
    const FN(blocks) hi = (FN(blocks))_mm512_unpackhi_epi64((__m512i)a, (__m512i)b);
#elif FBP_ISA_AVX2
    const FN(blocks) lo = (FN(blocks))_mm256_unpacklo_epi64((__m256i)a, (__m256i)b);
    const FN(blocks) hi = (FN(blocks))_mm256_unpackhi_epi64((__m256i)a, (__m256i)b);
#else
    const FN(blocks) lo = {a[0], b[0]}, hi = {a[1], b[1]};
#endif
    memcpy(words, &lo, sizeof lo);
    memcpy(words + 2 * FBP_BLOCKS, &hi, sizeof hi);
}

/* FN(philox_words) words, in order: those of blocks block, block + 1, … */
static FBP_INLINE void FN(philox)(uint32_t *words, const FN(philox_key) *key, uint64_t block)
{
    /* even lanes hold the first half of the blocks, odd ones the second, so that unpacking leaves them in order */
    FN(blocks) k, c0[FBP_SIDE_BY_SIDE], c1[FBP_SIDE_BY_SIDE], c2[FBP_SIDE_BY_SIDE], c3[FBP_SIDE_BY_SIDE];
    for (int64_t i = 0; i < FBP_BLOCKS; i++) k[i] = (uint64_t)(i / 2 + i % 2 * (FBP_BLOCKS / 2));
    k += block;
    FBP_UNROLL
    for (int s = 0; s < FBP_SIDE_BY_SIDE; s++) {
        c0[s] = k + (uint64_t)(s * FBP_BLOCKS);
        c1[s] = (c0[s] >> 32) ^ (key->step >> 32);
        c2[s] = (FN(blocks)){0} + key->node;
        c3[s] = (FN(blocks)){0} + key->step;
    }
    FBP_UNROLL
    for (int r = 0; r < 10; r++) {
        FBP_UNROLL
        for (int s = 0; s < FBP_SIDE_BY_SIDE; s++) {
            const FN(blocks) p0 = FN(multiply_low)(c0[s], 0xD2511F53u), p1 = FN(multiply_low)(c2[s], 0xCD9E8D57u);
            c0[s] = (p1 >> 32) ^ c1[s] ^ key->k0[r];
            c1[s] = p1;
            c2[s] = (p0 >> 32) ^ c3[s] ^ key->k1[r];
            c3[s] = p0;
        }
    }
    FBP_UNROLL
    for (int s = 0; s < FBP_SIDE_BY_SIDE; s++) FN(store_words)(words + s * 4 * FBP_BLOCKS, c0[s], c1[s], c2[s], c3[s]);
}

typedef int8_t FN(flags) __attribute__((vector_size(VL), aligned(1), may_alias));

/* Elements whose words are below the limit are dropped, and kept (if not NULL) says which; n elements, and VL words at
 * least. */
static FBP_INLINE void FN(drop)(T *y, const T *x, int8_t *kept, const uint32_t *words, uint64_t limit, V scale, int64_t n)
{
    typedef uint32_t part __attribute__((vector_size(VL * 4), aligned(4), may_alias));
    typedef TU words_v __attribute__((vector_size(FBP_VBYTES)));
    const words_v least = (words_v){0} + (TU)limit;
    for (int64_t i = 0; i < n; i += VL) {
        const VI keep = (VI)(__builtin_convertvector(*(const part *)(words + i), words_v) >= least);
        const V v = FN(v_load_up_to)(x + i, n - i) * scale;
        FN(v_store_up_to)(y + i, (V)((VI)v & keep), n - i);
        if (!kept) continue;
        const FN(flags) flags = __builtin_convertvector(keep, FN(flags));
        if (n - i >= VL) memcpy(kept + i, &flags, sizeof flags);
        else memcpy(kept + i, &flags, (size_t)(n - i));
    }
}

/* y = x / (1 - rate) where kept says so, else 0 */
static void FN(drop_again)(T *y, const T *x, const int8_t *kept, int64_t n, double rate)
{
    const V scale = FN(v_set1)((T)(1 / (1 - rate)));
    int64_t i = 0;
    for (; i + VL <= n; i += VL) FN(v_store)(y + i, (V)((VI)(FN(v_load)(x + i) * scale) & FN(v_widen)(kept + i)));
    if (i == n) return;
    int8_t last[VL] = {0};
    memcpy(last, kept + i, (size_t)(n - i));
    FN(v_store_n)(y + i, (V)((VI)(FN(v_load_n)(x + i, n - i) * scale) & FN(v_widen)(last)), n - i);
}

/* kept: where to write which are, or NULL */
static void FN(dropout)(T *y, const T *x, int8_t *kept, int64_t n, int64_t first, double rate, uint64_t seed,
                        uint64_t step, int64_t node)
{
    const uint64_t limit = (uint64_t)(rate * 4294967296.0);
    if (n && rate == 0) memmove(y, x, (size_t)n * sizeof(T));
    if (n && rate >= 1) memset(y, 0, (size_t)n * sizeof(T));
    if (rate == 0 || rate >= 1) return;
    const FN(philox_key) key = FN(make_key)(seed, step, node);
    const V scale = FN(v_set1)((T)(1 / (1 - rate)));
    uint32_t words[FN(philox_words) + VL];
    for (int64_t i = 0; i < n;) {
        /* the first element may be in the middle of a block */
        const int64_t skip = (first + i) % 4, count = FN(min)(n - i, FN(philox_words) - skip);
        FN(philox)(words, &key, (uint64_t)(first + i) / 4);
        int8_t *to = kept ? kept + i : NULL;
        if (skip == 0 && count == FN(philox_words)) FN(drop)(y + i, x + i, to, words, limit, scale, FN(philox_words));
        else FN(drop)(y + i, x + i, to, words + skip, limit, scale, count);
        i += count;
    }
}

#undef FBP_BLOCKS
#undef FBP_SIDE_BY_SIDE

static void KERNEL(dropout_forward)(T *y /* (n,) */, const T *x /* (n,) */, int64_t n, int64_t first, double rate,
                                    uint64_t seed, uint64_t step, int64_t node)
{
    FN(dropout)(y, x, NULL, n, first, rate, seed, step, node);
}

static void KERNEL(dropout_backward)(T *dx /* (n,) */, const T *dy /* (n,) */, int64_t n, int64_t first, double rate,
                                     uint64_t seed, uint64_t step, int64_t node)
{
    FN(dropout)(dx, dy, NULL, n, first, rate, seed, step, node);
}

/* The rate in this run; 0 outside of training. */
static double FN(dropout_rate)(const fbp_node *node, const fbp_run *run) { return run->training ? node->attr[0] : 0; }

/* Whether y says all that backward asks: behind ReLU it is above 0 where an element is kept and ReLU's derivative is 1. */
static int32_t FN(output_tells)(const fbp_node *node, const fbp_run *run)
{
    const double rate = FN(dropout_rate)(node, run);
    return node->fusion.gate.op == FBP_OP_relu && rate > 0 && rate < 1;
}

static void FN(dropout_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, T *to, const T *from,
                             const int again)
{
    const int64_t first = lo * node->dim[0], n = (hi - lo) * node->dim[0];
    const int64_t number = (run->before + lo) * node->dim[0];   /* within the whole batch */
    const double rate = FN(dropout_rate)(node, run);
    int8_t *kept = node->save[0] && !FN(output_tells)(node, run) ? (int8_t *)node->save[0] + first : NULL;
    if (n == 0 || (rate == 0 && to == from)) return;
    if (again && kept && rate > 0 && rate < 1) FN(drop_again)(to + first, from + first, kept, n, rate);
    else FN(dropout)(to + first, from + first, kept, n, number, rate, run->seed, run->step, node->id);
}

static void FN(dropout_forward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    FN(dropout_rows)(node, run, lo, hi, node->y, node->x[0], 0);
}

/* dx = dy / (1 - rate) where y > 0, else 0 */
static void FN(drop_by_output)(T *dx, const T *dy, const T *y, int64_t n, double rate)
{
    const V scale = FN(v_set1)((T)(1 / (1 - rate)));
    for (int64_t i = 0; i < n; i += VL) {
        const V d = FN(v_load_up_to)(dy + i, n - i) * scale;
        FN(v_store_up_to)(dx + i, FN(v_gate)(FN(v_load_up_to)(y + i, n - i), d), n - i);
    }
}

static void FN(dropout_backward_rows)(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)scratch;
    const int64_t columns = node->dim[0], most = FN(near_rows)(columns), at = lo * columns;
    if (!node->dx[0]) return;
    if (FN(output_tells)(node, run)) {
        FN(drop_by_output)((T *)node->dx[0] + at, (const T *)node->dy + at, (const T *)node->y + at, (hi - lo) * columns,
                           node->attr[0]);
        return;
    }
    for (int64_t r = lo, n; r < hi; r += n) {
        n = FN(min)(most, hi - r);
        FN(dropout_rows)(node, run, r, r + n, node->dx[0], node->dy, 1);
        FN(go_back_rows)(node, r, n, columns);
    }
}

static const fbp_phases FN(dropout_phases) = {
    .forward = FN(dropout_forward_rows),
    .backward = FN(dropout_backward_rows),
};
