/* parameter: y = p, one array for the whole batch; the twin of ParameterOp in fastbp/ops/sources.py.
 *
 * Node: y, dy (dim[0],), p[0] or buffer[0] likewise. Units are elements.
 */

static void FN(parameter_forward_reduce)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    const T *from = n->p[0] ? n->p[0] : n->buffer[0];
    memcpy((T *)n->y + lo, from + lo, (size_t)(hi - lo) * sizeof(T));
}

static void FN(parameter_gradient)(const fbp_node *n, const fbp_run *run, int64_t lo, int64_t hi, void *scratch)
{
    (void)run; (void)scratch;
    if (n->dp[0]) memcpy((T *)n->dp[0] + lo, (const T *)n->dy + lo, (size_t)(hi - lo) * sizeof(T));
}

static const fbp_phases FN(parameter_phases) = {
    .forward_reduce = FN(parameter_forward_reduce),
    .gradient = FN(parameter_gradient),
};
