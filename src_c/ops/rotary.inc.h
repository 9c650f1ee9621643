/* rotary: pairs of features turned by their position; the twin of fastbp/ops/rotary.py.
 *
 * Node: x[0], y, dx[0], dy (rows, dim[0] T, dim[1] n); dim[2] heads, dim[3] D: the first heads D features are turned.
 * constants: cosine and sine of each angle, (T, D / 2, 2).
 */

static void FN(turn)(const fbp_node *n, T *y, const T *x, int64_t lo, int64_t hi, T sign)
{
    const int64_t steps = n->dim[0], width = n->dim[1], heads = n->dim[2], D = n->dim[3];
    for (int64_t r = lo * steps; r < hi * steps; r++) {
        const T *turns = (const T *)n->constants + r % steps * D, *from = x + r * width;
        T *to = y + r * width;
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < D; i += 2) {
                const T a = from[h * D + i], b = from[h * D + i + 1], c = turns[i], s = sign * turns[i + 1];
                to[h * D + i] = a * c - b * s;
                to[h * D + i + 1] = a * s + b * c;
            }
        memcpy(to + heads * D, from + heads * D, (size_t)(width - heads * D) * sizeof(T));
    }
}

static void FN(rotary_forward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    FN(turn)(n, n->y, n->x[0], lo, hi, 1);
}

static void FN(rotary_backward_rows)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    if (n->dx[0]) FN(turn)(n, n->dx[0], n->dy, lo, hi, -1);
}

static const fbp_phases FN(rotary_phases) = {
    .forward = FN(rotary_forward_rows),
    .backward = FN(rotary_backward_rows),
};
