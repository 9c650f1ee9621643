/* Elementary functions of whole vectors: right to 4 units in the last place for every argument, subnormal results among
 * them; NaN gives NaN, and there is no slow path.
 *
 *   v_exp v_expm1 v_log v_log1p v_tanh v_softplus
 *   v_sigmoid        1 / (1 + exp(-x)); v_sigmoids gives 1 - that as well, which keeps its digits
 *   v_normal_cdf     Φ(x) = (1 + erf(x / √2)) / 2, right in the lower tail too; v_normal_tail gives Φ(-|x|) and exp(-x²/2)
 *
 * Each argument is reduced to an interval where a polynomial, or a quotient of two, is good enough:
 * tools/fit_polynomials.py finds the best of its degree and prints the coefficients that stand here, the lowest power first.
 */

#if FBP_F64
/* (e^r - 1 - r) / r², |r| <= ln 2 / 2 */
#define FBP_EXP 0.5000000000000011, 0.16666666666666413, 0.04166666666653013, 0.008333333333494413,                    \
    0.0013888888943637435, 0.00019841269506683303, 2.480149309123771e-05, 2.755758627912826e-06,                       \
    2.7630251136596525e-07, 2.5000092234534713e-08
/* (log((1 + s) / (1 - s)) - 2 s) / s³ in s², for (1 + s) / (1 - s) from √½ to √2 */
#define FBP_LOG 0.6666666666666734, 0.3999999999941414, 0.28571428742517047, 0.2222219855928678, 0.18183565075600952,  \
    0.15314030724956718, 0.14796154428281785
/* Φ(-u) exp(u² / 2) is the first in FBP_NORMAL_IN(u), divided by the second in u, from 0 to where Φ(-u) is below the
 * smallest number; in float32 that needs a division less, but loses digits of float64 */
#define FBP_NORMAL_IN(u) ((u - 4) / (u + 4))
#define FBP_NORMAL 0.4956558668353369, -0.1393029077136394, 0.04509444855924653, 0.010673512219087593,                \
    -0.024481636401789422, 0.015813073610070484, -0.004875488066250601, -0.0001259196481747607,                       \
    0.0006481009702357918, -0.00010581887845174647, -8.069065772285323e-05, 2.240751091433567e-05,                    \
    1.2549155917089157e-05, -3.6384852281971344e-06, -2.4426148589248486e-06, 4.546243843283211e-07,                  \
    5.198604427869056e-07, -1.1486481827160038e-08, -9.924356492062246e-08, -1.5317075926383697e-08,                  \
    1.1813559128070749e-08, 3.77514660152356e-09
#define FBP_NORMAL_BELOW 1.25, 1
#define FBP_LN2_HIGH 0x1.62e42fee00000p-1   /* ln 2 cut so that its product with an exponent is exact */
#define FBP_LN2_LOW 0x1.a39ef35793c76p-33
#define FBP_EXP_LOW -746                    /* below, exp is 0 */
#define FBP_EXP_HIGH 710                    /* above, it is infinite */
#define FBP_NORMAL_END 38.7
#else
#define FBP_EXP 0.4999999403953552f, 0.1666652113199234f, 0.04166838899254799f, 0.00836871936917305f,                  \
    0.001381459878757596f
#define FBP_LOG 0.6666677594184875f, 0.39977535605430603f, 0.2987193167209625f
#define FBP_NORMAL_IN(u) u
#define FBP_NORMAL 0.5f, 0.43829867243766785f, 0.1832379549741745f, 0.040634192526340485f, 0.0041164555586874485f
#define FBP_NORMAL_BELOW 1, 1.6744823455810547f, 1.2025147676467896f, 0.4694780707359314f, 0.10186126083135605f,      \
    0.010318304412066936f
#define FBP_LN2_HIGH 0x1.63p-1f
#define FBP_LN2_LOW -0x1.bd0106p-13f
#define FBP_EXP_LOW -104
#define FBP_EXP_HIGH 89
#define FBP_NORMAL_END 14.5f
#endif
#define FBP_LOG2_E ((T)1.4426950408889634074)

static FBP_INLINE V FN(v_horner)(V x, const T *c, const int n)
{
    V y = FN(v_set1)(c[n - 1]);
    _Pragma("GCC unroll 32")
    for (int i = n - 2; i >= 0; i--) y = FN(v_fma)(y, x, FN(v_set1)(c[i]));
    return y;
}
#define FBP_POLYNOMIAL(x, ...)                                                                                         \
    FN(v_horner)(x, (const T[]){__VA_ARGS__}, (int)(sizeof (const T[]){__VA_ARGS__} / sizeof(T)))

/* The same with fewer roundings one after the other, for where the last one is not all that counts: behind the first
 * coefficient, four at a time. */
static FBP_INLINE V FN(v_by_fours)(V x, const T *c, const int n)
{
    const V square = x * x, fourth = square * square;
    V y = {0};
    _Pragma("GCC unroll 8")
    for (int i = (n - 2) / 4 * 4 + 1; i > 0; i -= 4) {
        V part = FN(v_set1)(c[i]);
        if (i + 1 < n) part = FN(v_fma)(x, FN(v_set1)(c[i + 1]), part);
        if (i + 3 < n) part = FN(v_fma)(FN(v_fma)(x, FN(v_set1)(c[i + 3]), FN(v_set1)(c[i + 2])), square, part);
        else if (i + 2 < n) part = FN(v_fma)(FN(v_set1)(c[i + 2]), square, part);
        y = i + 4 < n ? FN(v_fma)(y, fourth, part) : part;
    }
    return FN(v_fma)(y, x, FN(v_set1)(c[0]));
}
#define FBP_BY_FOURS(x, ...)                                                                                           \
    FN(v_by_fours)(x, (const T[]){__VA_ARGS__}, (int)(sizeof (const T[]){__VA_ARGS__} / sizeof(T)))

/* ---- exponentials ----------------------------------------------------------------------------------------------- */

/* the whole number n for which x - n ln 2 lies within ±ln 2 / 2 */
static FBP_INLINE V FN(v_power)(V x)
{
    const V round = FN(v_set1)(FBP_ROUND);
    return FN(v_fma)(x, FN(v_set1)(FBP_LOG2_E), round) - round;
}

static FBP_INLINE V FN(v_less_power)(V x, V n)
{
    return FN(v_fma)(n, FN(v_set1)(-FBP_LN2_LOW), FN(v_fma)(n, FN(v_set1)(-FBP_LN2_HIGH), x));
}

/* exp(r) - 1, |r| <= ln 2 / 2 */
static FBP_INLINE V FN(v_expm1_near)(V r) { return FN(v_fma)(r * r, FBP_POLYNOMIAL(r, FBP_EXP), r); }

static FBP_INLINE V FN(v_clip)(V x, T low, T high)
{
    return FN(v_max)(FN(v_set1)(low), FN(v_min)(FN(v_set1)(high), x));
}

static FBP_INLINE V FN(v_exp)(V x)
{
    x = FN(v_clip)(x, FBP_EXP_LOW, FBP_EXP_HIGH);
    const V n = FN(v_power)(x);
    return FN(v_scale)(FN(v_expm1_near)(FN(v_less_power)(x, n)) + 1, n);
}

static FBP_INLINE V FN(v_expm1)(V x)
{
    /* below -40 the result is -1; half of it is made first, as 2^n itself may be just out of range */
    x = FN(v_clip)(x, -40, FBP_EXP_HIGH);
    const V n = FN(v_power)(x), half = FN(v_pow2)(n - 1);
    const V y = FN(v_fma)(FN(v_expm1_near)(FN(v_less_power)(x, n)), half, half - (T)0.5);
    return y + y;
}

/* exp(x) - 1 and exp(x), x <= 0 */
static FBP_INLINE V FN(v_expm1_below_0)(V x, V *exp)
{
    x = FN(v_max)(FN(v_set1)(FBP_EXP_LOW), x);
    const V n = FN(v_power)(x), p = FN(v_expm1_near)(FN(v_less_power)(x, n));
    const V scale = FN(v_pow2)(FN(v_max)(FN(v_set1)(-60), n));     /* below, the former is -1 */
    *exp = FN(v_scale)(p + 1, n);
    return FN(v_fma)(p, scale, scale - 1);
}

/* ---- logarithms ------------------------------------------------------------------------------------------------- */

/* log(1 + f) + k ln 2, 1 + f from √½ to √2: with s = f / (2 + f), 1 + f = (1 + s) / (1 - s), and, h being f² / 2,
 * log(1 + f) = 2 s + s³ P(s²) = f - h + s (h + s² P(s²)) */
static FBP_INLINE V FN(v_log_of)(V f, V k)
{
    const V s = f / (f + 2), z = s * s, h = f * f * (T)0.5;
    const V rest = FN(v_fma)(s, FN(v_fma)(z, FBP_POLYNOMIAL(z, FBP_LOG), h), k * FBP_LN2_LOW);
    return FN(v_fma)(k, FN(v_set1)(FBP_LN2_HIGH), f - (h - rest));
}

/* the exponent k of x = 2^k m with m from √½ to √2; x normal. The bits of NaN overflow here: they wrap around */
static FBP_INLINE V FN(v_exponent)(V x)
{
    const VI offset = (VI)FN(v_set1)((T)1) - (VI)FN(v_set1)((T)0.70710678118654752440);
    const VI biased = (VI)((VW)x + (VW)offset) >> FBP_FRACTION_BITS, bias = (VI)FN(v_set1)((T)1) >> FBP_FRACTION_BITS;
    return (V)((VI)FN(v_set1)(FBP_ROUND) + (biased - bias)) - FN(v_set1)(FBP_ROUND);
}

/* f and k of x = 2^k (1 + f), 1 + f from √½ to √2; x a number above 0, subnormal or not */
static FBP_INLINE V FN(v_reduced)(V x, V *k)
{
    const VI subnormal = x < (FBP_F64 ? (T)0x1p-1022 : (T)0x1p-126);
    const V m = FN(v_select)(subnormal, x * (FBP_F64 ? (T)0x1p54 : (T)0x1p25), x), exponent = FN(v_exponent)(m);
    *k = exponent - (V)((VI)FN(v_set1)(FBP_F64 ? 54 : 25) & subnormal);
    return (V)((VW)m - ((VW)FN(v_pow2)(exponent) - (VW)FN(v_set1)(1))) - 1;
}

/* y, the logarithm of x as far as x is a number above 0, made right for all x */
static FBP_INLINE V FN(v_log_ends)(V x, V y)
{
    y = FN(v_select)(x == 0, FN(v_set1)((T)-INFINITY), y);
    y = FN(v_select)(x < (T)INFINITY, y, x);
    return FN(v_select)(x >= 0, y, FN(v_set1)((T)NAN));
}

static FBP_INLINE V FN(v_log)(V x)
{
    V k;
    const V f = FN(v_reduced)(x, &k);
    return FN(v_log_ends)(x, FN(v_log_of)(f, k));
}

/* log(1 + f) - f, 1 + f from √½ to √2 */
static FBP_INLINE V FN(v_log_rest)(V f)
{
    const V s = f / (f + 2), z = s * s, h = f * f * (T)0.5;
    return FN(v_fma)(s, FN(v_fma)(z, FBP_POLYNOMIAL(z, FBP_LOG), h), -h);
}

/* log(1 + x), 0 <= x <= 1, which is all that softplus needs; f comes from x, not from the rounded sum */
static FBP_INLINE V FN(v_log1p)(V x)
{
    const VI halve = x > (T)0.41421356237309504880;
    const V f = FN(v_select)(halve, (x - 1) * (T)0.5, x);
    return FN(v_log_of)(f, (V)((VI)FN(v_set1)(1) & halve));
}

/* ---- what is made of them --------------------------------------------------------------------------------------- */

/* with e = exp(-2 |x|) - 1, tanh |x| is -e / (e + 2); it is 1 from 20 on */
static FBP_INLINE V FN(v_tanh)(V x)
{
    const V y = FN(v_max)(FN(v_set1)(-40), FN(v_abs)(x) * -2), n = FN(v_power)(y), scale = FN(v_pow2)(n);
    const V e = FN(v_fma)(FN(v_expm1_near)(FN(v_less_power)(y, n)), scale, scale - 1);
    return FN(v_copysign)(e / (e + 2), x);
}

/* σ(x) from e = exp(-|x|): 1 / (1 + e), or e / (1 + e) */
static FBP_INLINE V FN(v_sigmoid_of)(V x, V e) { return FN(v_select)(x > 0, FN(v_set1)(1), e) / (e + 1); }

static FBP_INLINE V FN(v_sigmoid)(V x) { return FN(v_sigmoid_of)(x, FN(v_exp)(-FN(v_abs)(x))); }

/* σ(x), and σ(-x): where that is the smaller it is e σ(x), where it is the larger 1 - σ(x) */
static FBP_INLINE V FN(v_sigmoids)(V x, V *other)
{
    const V e = FN(v_exp)(-FN(v_abs)(x)), s = FN(v_sigmoid_of)(x, e);
    *other = FN(v_select)(x > 0, e * s, 1 - s);
    return s;
}

/* log(1 + exp(-|x|)), which softplus adds to max(x, 0) */
static FBP_INLINE V FN(v_softplus_rest)(V x) { return FN(v_log1p)(FN(v_exp)(-FN(v_abs)(x))); }

static FBP_INLINE V FN(v_softplus)(V x) { return FN(v_max)((V){0}, x) + FN(v_softplus_rest)(x); }

/* Φ(-u) and exp(-u²/2) for u = |x|, or as far as either differs from 0. u² has more digits than a number holds: what its
 * rounding leaves is brought in later. */
static FBP_INLINE V FN(v_normal_tail)(V x, V *u_of, V *density)
{
    const V u = FN(v_min)(FN(v_set1)(FBP_NORMAL_END), FN(v_abs)(x)), half = u * (T)-0.5, square = u * half;
    const V n = FN(v_power)(square);
    const V p = FN(v_expm1_near)(FN(v_less_power)(square, n) + FN(v_product_rest)(u, half, square));
    const V top = FBP_BY_FOURS(FBP_NORMAL_IN(u), FBP_NORMAL), below = FBP_BY_FOURS(u, FBP_NORMAL_BELOW);
    *u_of = u;
    *density = FN(v_scale)(p + 1, n);
    return FN(v_scale)(FN(v_fma)(p, top, top) / below, n);
}

static FBP_INLINE V FN(v_normal_cdf)(V x)
{
    V u, density;
    const V tail = FN(v_normal_tail)(x, &u, &density);
    return FN(v_select)(x > 0, 1 - tail, tail);
}

#undef FBP_EXP
#undef FBP_NORMAL
#undef FBP_NORMAL_BELOW
#undef FBP_NORMAL_IN
#undef FBP_NORMAL_END
#undef FBP_EXP_LOW
#undef FBP_EXP_HIGH
#undef FBP_LOG2_E
#undef FBP_BY_FOURS
