/* Normal random numbers of random words: the twin of fastbp/ops/random.py, bit for bit. Each sum, product and quotient
 * is rounded by itself, in the order in which it stands there: nothing is fused, and no library's logarithm or sine is
 * called. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=off")
#elif defined(__clang__)
#pragma clang fp contract(off)
#endif
#include "fastbp.h"

#include <math.h>
#include <string.h>

static const double LN_2 = 0x1.62e42fefa39efp-1, TURN = 0x1.921fb54442d18p+2 * 0x1p-24, ROOT_HALF = 0x1.6a09e667f3bcdp-1;

/* ln(k / 2^24) for 1 <= k <= 2^24 */
static inline double log_of_share(int32_t k)
{
    static const double series[11] = {1., 1. / 3, 1. / 5, 1. / 7, 1. / 9, 1. / 11, 1. / 13, 1. / 15, 1. / 17, 1. / 19,
                                      1. / 21};
    const double whole = (double)k;
    uint64_t bits;
    memcpy(&bits, &whole, sizeof bits);
    int32_t e = (int32_t)(bits >> 52) - 1022; /* k = 2^e m with m from 1/2 to below 1 */
    bits = (bits & 0xFFFFFFFFFFFFFu) | (uint64_t)1022 << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    const int32_t low = m < ROOT_HALF;
    m = low ? 2 * m : m;
    e -= low;
    const double s = (m - 1) / (m + 1), square = s * s;
    double sum = series[10];
    for (int i = 9; i >= 0; i--) sum = sum * square + series[i];
    return (e - 24) * LN_2 + 2 * s * sum;
}

/* cosine and sine of v of 2^24 parts of a turn */
static inline void on_circle(double *x, double *y, int32_t v)
{
    static const double sines[8] = {1., -1. / 6, 1. / 120, -1. / 5040, 1. / 362880, -1. / 39916800, 1. / 6227020800.,
                                    -1. / 1307674368000.};
    static const double cosines[9] = {1., -1. / 2, 1. / 24, -1. / 720, 1. / 40320, -1. / 3628800, 1. / 479001600,
                                      -1. / 87178291200., 1. / 20922789888000.};
    const int32_t quarter = (v + (1 << 21)) >> 22;
    const double angle = (v - (quarter << 22)) * TURN, square = angle * angle;
    double c = cosines[8], s = sines[7];
    for (int i = 7; i >= 0; i--) c = c * square + cosines[i];
    for (int i = 6; i >= 0; i--) s = s * square + sines[i];
    s = angle * s;
    const double across = quarter & 1 ? s : c, up = quarter & 1 ? c : s;
    *x = (quarter + 1) & 2 ? -across : across;
    *y = quarter & 2 ? -up : up;
}

void fbp_normals(double *y, const uint32_t *words, int64_t pairs)
{
    for (int64_t i = 0; i < pairs; i++) {
        double c, s;
        on_circle(&c, &s, (int32_t)(words[2 * i + 1] >> 8));
        const double radius = sqrt(-2 * log_of_share((int32_t)(words[2 * i] >> 8) + 1));
        y[2 * i] = radius * c;
        y[2 * i + 1] = radius * s;
    }
}
