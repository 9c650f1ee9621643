/* Circular functions of whole vectors, right to 2 units in the last place, written as those of math.inc.h; signs of zeros
 * are kept, and NaN gives NaN.
 *
 *   v_sin v_cos v_tan
 *                    any x; those beyond FBP_TURNS_END, for which π/2 would need more digits, go through libm one by one,
 *                    so that what a lane gives depends on that lane alone
 *   v_arctan v_arctan2 v_arcsin v_arccos
 */

#if FBP_F64
/* (sin r - r) / r³ and (cos r - 1 + r²/2) / r⁴ in r², |r| <= π/4 and a little more */
#define FBP_SIN -0.16666666666666627, 0.008333333333321282, -0.00019841269828866829, 2.7557313354905862e-06,           \
    -2.5050703876564683e-08, 1.5893575118846794e-10
#define FBP_COS 0.04166666666666659, -0.0013888888888872594, 2.4801587288489706e-05, -2.7557314055970553e-07,          \
    2.0875681805498785e-09, -1.135744515213761e-11
/* (arctan t - t) / t³ in t², |t| <= 1/2 */
#define FBP_ARCTAN -0.33333333333332993, 0.1999999999990569, -0.14285714276592484, 0.11111110667897253,                \
    -0.09090896436835555, 0.07692076723494864, -0.06663837577338538, 0.05858470949029002, -0.05122729542648675,        \
    0.0418843282933599, -0.02746444303727794, 0.010136568237772807
/* (arcsin t - t) / t³ in t², |t| <= 1/2 */
#define FBP_ARCSIN 0.16666666666666763, 0.07499999999970251, 0.044642857175129884, 0.03038194268323902,                 \
    0.022372215669365876, 0.01735159995662577, 0.013980962763406922, 0.011397767560688202, 0.0107865646394622,         \
    0.003682946869189441, 0.021763645446150653, -0.021077392262023018, 0.03267689296160429
#define FBP_QUARTER_HIGH 0x1.921fb54442d18p+0   /* π/2 is the sum of the three */
#define FBP_QUARTER_MIDDLE 0x1.1a62633145c07p-54
#define FBP_QUARTER_LOW -0x1.f1976b7ed8fbcp-110
#define FBP_TURNS_END 0x1p30
#else
#define FBP_SIN -0.16666653752326965f, 0.008332131430506706f, -0.00019510829588398337f
#define FBP_COS 0.04166664555668831f, -0.0013887305976822972f, 2.4431194106000476e-05f
#define FBP_ARCTAN -0.333332359790802f, 0.19994321465492249f, -0.14176161587238312f, 0.10165487974882126f,             \
    -0.051415715366601944f
#define FBP_ARCSIN 0.16666753590106964f, 0.07495241612195969f, 0.04547710344195366f, 0.024147579446434975f,            \
    0.0422186553478241f
#define FBP_QUARTER_HIGH 0x1.921fb6p+0f
#define FBP_QUARTER_MIDDLE -0x1.777a5cp-25f
#define FBP_QUARTER_LOW -0x1.ee59dap-50f
#define FBP_TURNS_END 0x1p16f
#endif

/* ---- sine and cosine --------------------------------------------------------------------------------------------- */

/* x - n part, as if the product were not rounded */
static FBP_INLINE V FN(v_less_product)(V x, V n, V part)
{
#if FBP_ISA_GENERIC
    const V product = n * part;
    return (x - product) - FN(v_product_rest)(n, part, product);
#else
    return FN(v_fma)(-n, part, x);
#endif
}

/* An angle r + rest, |r| <= π/4 and a little more, behind n quarter turns, of which the two lowest bits count. */
typedef struct { V r, rest; VI n; } FN(angle);

/* x - n π/2 for 0 <= x <= FBP_TURNS_END. The first product leaves no rest: x and n times the first part of π/2 have their
 * digits in the places from 2 to that part's last. What the second loses by rounding goes into the rest. */
static FBP_INLINE FN(angle) FN(v_turned)(V x)
{
    const V round = FN(v_set1)(FBP_ROUND), places = FN(v_fma)(x, FN(v_set1)((T)0.63661977236758134308), round);
    const V n = places - round, middle = FN(v_set1)(FBP_QUARTER_MIDDLE);
    const V first = FN(v_less_product)(x, n, FN(v_set1)(FBP_QUARTER_HIGH)), r = FN(v_less_product)(first, n, middle);
    const V step = first - r, lost = FN(v_less_product)(step, n, middle) + ((first - step) - r);
    const V rest = FN(v_fma)(n, FN(v_set1)(-FBP_QUARTER_LOW), lost), sum = r + rest;
    return (FN(angle)){sum, rest - (sum - r), (VI)places};
}

/* The sum of two, and, if it is wanted, what it loses; a is 0 or the larger. */
static FBP_INLINE V FN(v_sum_and_rest)(V a, V b, V *lost)
{
    const V sum = a + b;
    if (lost) *lost = b - (sum - a);
    return sum;
}

static FBP_INLINE V FN(v_sin_near)(FN(angle) a, V *lost)
{
    const V z = a.r * a.r, cube = z * a.r, rest = FN(v_fma)(z * (T)-0.5, a.rest, a.rest);
    return FN(v_sum_and_rest)(a.r, FN(v_fma)(cube, FBP_POLYNOMIAL(z, FBP_SIN), rest), lost);
}

/* 1 - r²/2 is rounded: what it loses is brought in */
static FBP_INLINE V FN(v_cos_near)(FN(angle) a, V *lost)
{
    const V z = a.r * a.r, half = z * (T)0.5, most = 1 - half, rest = FN(v_fma)(-a.r, a.rest, (1 - most) - half);
    return FN(v_sum_and_rest)(most, FN(v_fma)(z * z, FBP_POLYNOMIAL(z, FBP_COS), rest), lost);
}

/* sin(r + n π/2): an odd n asks for the cosine, a 2 in it for the other sign */
static FBP_INLINE V FN(v_sin_of)(FN(angle) a)
{
    const VI odd = (a.n & 1) != 0;
    const VW sign = (VW)(a.n & 2) << (8 * sizeof(T) - 2);
    return (V)((VW)FN(v_select)(odd, FN(v_cos_near)(a, NULL), FN(v_sin_near)(a, NULL)) ^ sign);
}

/* y where |x| is within FBP_TURNS_END, and libm's function, in double, elsewhere */
#define FBP_BY_LIBM(function)                                                                                           \
    static __attribute__((noinline)) V FN(v_far_##function)(V x, V y)                                                  \
    {                                                                                                                  \
        for (int64_t i = 0; i < VL; i++)                                                                               \
            if (!(x[i] >= -FBP_TURNS_END && x[i] <= FBP_TURNS_END)) y[i] = (T)function((double)x[i]);                  \
        return y;                                                                                                      \
    }                                                                                                                  \
    static FBP_INLINE V FN(v_or_far_##function)(V x, V y)                                                              \
    {                                                                                                                  \
        const VI near = FN(v_abs)(x) <= FBP_TURNS_END;                                                                 \
        return FN(v_any_nan)(FN(v_select)(near, x, FN(v_set1)((T)NAN))) ? FN(v_far_##function)(x, y) : y;              \
    }
FBP_BY_LIBM(sin)
FBP_BY_LIBM(cos)
FBP_BY_LIBM(tan)
#undef FBP_BY_LIBM

static FBP_INLINE V FN(v_with_sign_of)(V y, V x) { return (V)((VI)y ^ ((VI)x & (VI)FN(v_set1)((T)-0.0))); }

static FBP_INLINE V FN(v_sin)(V x)
{
    return FN(v_or_far_sin)(x, FN(v_with_sign_of)(FN(v_sin_of)(FN(v_turned)(FN(v_abs)(x))), x));
}

static FBP_INLINE V FN(v_cos)(V x)
{
    FN(angle) a = FN(v_turned)(FN(v_abs)(x));
    a.n = (VI)((VW)a.n + 1);
    return FN(v_or_far_cos)(x, FN(v_sin_of)(a));
}

/* tan(r + n π/2): sin r / cos r, or for an odd n -cos r / sin r. What the two lose by rounding is brought in, and what the
 * quotient does. */
static FBP_INLINE V FN(v_tan)(V x)
{
    const FN(angle) a = FN(v_turned)(FN(v_abs)(x));
    V s_lost, c_lost;
    const V s = FN(v_sin_near)(a, &s_lost), c = FN(v_cos_near)(a, &c_lost);
    const VI odd = (a.n & 1) != 0;
    const V above = FN(v_select)(odd, -c, s), below = FN(v_select)(odd, s, c), inverse = 1 / below, y = above * inverse;
    const V lost = FN(v_fma)(-y, FN(v_select)(odd, s_lost, c_lost), FN(v_select)(odd, -c_lost, s_lost));
    const V exact = FN(v_fma)(FN(v_less_product)(above, y, below) + lost, inverse, y);
    return FN(v_or_far_tan)(x, FN(v_with_sign_of)(exact, x));
}

/* ---- their inverses ------------------------------------------------------------------------------------------------ */

/* k π/4 + t + rest for whole k: 0, or so large that t is the smaller. What the sum of the first two loses is brought in. */
static FBP_INLINE V FN(v_eighths_and)(V k, V t, V rest)
{
    const V eighth = FN(v_set1)(FBP_QUARTER_HIGH / 2), base = k * eighth;
    const V low = FN(v_fma)(k, FN(v_set1)(FBP_QUARTER_MIDDLE / 2), FN(v_product_rest)(k, eighth, base));
    V lost;
    const V sum = FN(v_sum_and_rest)(base, t, &lost);
    return sum + (lost + (low + rest));
}

/* The angle of (b, a), both >= 0 and neither infinite unless the other is less, or of (-b, a) where `left` is set; with
 * t = tan of what is left of it, at most 1/2: a / b, -b / a from π/2 or (a - b) / (a + b) from π/4. */
static FBP_INLINE V FN(v_angle_of)(V a, V b, VI left)
{
    const VI steep = a > b * (T)2.4142135623730950488, middle = a > b * (T)0.5;
    const V above = FN(v_select)(steep, -b, FN(v_select)(middle, a - b, a));
    const V below = FN(v_select)(steep, a, FN(v_select)(middle, a + b, b));
    const V k = FN(v_select)(steep, FN(v_set1)(2), (V)((VI)FN(v_set1)(1) & middle));
    const V t = (V)((VI)(above / below) ^ (left & (VI)FN(v_set1)((T)-0.0))), z = t * t;
    return FN(v_eighths_and)(FN(v_select)(left, 4 - k, k), t, t * z * FBP_POLYNOMIAL(z, FBP_ARCTAN));
}

static FBP_INLINE V FN(v_arctan)(V x)
{
    return FN(v_copysign)(FN(v_angle_of)(FN(v_abs)(x), FN(v_set1)(1), (VI){0}), x);
}

/* Two infinities are as far away as each other, and so are two zeros, but these on the axis; numbers whose sum might
 * overflow are made smaller. */
static FBP_INLINE V FN(v_arctan2)(V y, V x)
{
    const VI left = (VI)FN(v_copysign)(FN(v_set1)(1), x) < 0;
    V a = FN(v_abs)(y), b = FN(v_abs)(x);
    const VI infinite = (a == (T)INFINITY) & (b == (T)INFINITY), zero = (a == 0) & (b == 0);
    const VI large = (a > (FBP_F64 ? (T)0x1p1000 : (T)0x1p120)) & (b > (FBP_F64 ? (T)0x1p1000 : (T)0x1p120));
    a = FN(v_select)(infinite, FN(v_set1)(1), FN(v_select)(large, a * (T)0.25, a));
    b = FN(v_select)(infinite | zero, FN(v_set1)(1), FN(v_select)(large, b * (T)0.25, b));
    return FN(v_copysign)(FN(v_angle_of)(a, b, left), y);
}

/* s with arcsin |x| = arcsin s, or π/2 - 2 arcsin s where |x| > 1/2; the latter in `far`; and arcsin s - s */
static FBP_INLINE V FN(v_arcsin_near)(V x, VI *far, V *rest)
{
    const V size = FN(v_abs)(x);
    *far = size > (T)0.5;
    const V z = FN(v_select)(*far, (1 - size) * (T)0.5, x * x), s = FN(v_select)(*far, FN(v_sqrt)(z), size);
    *rest = s * z * FBP_POLYNOMIAL(z, FBP_ARCSIN);
    return s;
}

static FBP_INLINE V FN(v_arcsin)(V x)
{
    VI far;
    V rest;
    const V s = FN(v_arcsin_near)(x, &far, &rest), factor = FN(v_select)(far, FN(v_set1)(-2), FN(v_set1)(1));
    const V k = (V)((VI)FN(v_set1)(2) & far);
    return FN(v_copysign)(FN(v_eighths_and)(k, s * factor, rest * factor), x);
}

/* π/2 - arcsin x; from it follow 2 arcsin s, or π - 2 arcsin s */
static FBP_INLINE V FN(v_arccos)(V x)
{
    VI far;
    V rest;
    const V s = FN(v_arcsin_near)(x, &far, &rest), one = FN(v_set1)(1);
    const V factor = FN(v_copysign)(FN(v_select)(far, FN(v_set1)(2), one), FN(v_select)(far, x, -x));
    const V k = FN(v_select)(far, 2 - FN(v_copysign)(FN(v_set1)(2), x), FN(v_set1)(2));
    return FN(v_eighths_and)(k, s * factor, rest * factor);
}

#undef FBP_SIN
#undef FBP_COS
#undef FBP_ARCTAN
#undef FBP_ARCSIN
#undef FBP_QUARTER_HIGH
#undef FBP_QUARTER_MIDDLE
#undef FBP_QUARTER_LOW
#undef FBP_TURNS_END
