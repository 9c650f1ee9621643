/* Elementary functions of whole vectors: right to 4 units in the last place for every argument, subnormal results among
 * them; NaN gives NaN, and there is no slow path.
 *
 *   v_exp v_expm1 v_log v_log1p v_tanh v_softplus
 *   v_sigmoid        1 / (1 + exp(-x)); v_sigmoids gives 1 - that as well, which keeps its digits
 *   v_normal_cdf     Φ(x) = (1 + erf(x / √2)) / 2, right in the lower tail too; v_normal_parts gives exp(-x²/2) as well
 *
 * Each argument is reduced to an interval where a polynomial is good enough: tools/fit_polynomials.py finds the best of
 * its degree and prints the coefficients that stand here, the lowest power first.
 */

#if FBP_F64
/* (e^r - 1 - r) / r², |r| <= ln 2 / 2 */
#define FBP_EXP 0.5000000000000011, 0.16666666666666413, 0.04166666666653013, 0.008333333333494413,                    \
    0.0013888888943637435, 0.00019841269506683303, 2.480149309123771e-05, 2.755758627912826e-06,                       \
    2.7630251136596525e-07, 2.5000092234534713e-08
/* (log((1 + s) / (1 - s)) - 2 s) / s³ in s², for (1 + s) / (1 - s) from √½ to √2 */
#define FBP_LOG 0.6666666666666734, 0.3999999999941414, 0.28571428742517047, 0.2222219855928678, 0.18183565075600952,  \
    0.15314030724956718, 0.14796154428281785
/* (u + 5/4) Φ(-u) exp(u² / 2) in (u - 4) / (u + 4), u from 0 to where Φ(-u) is below the smallest number */
#define FBP_NORMAL 0.4956558668353369, -0.1393029077136394, 0.04509444855924653, 0.010673512219087593,                \
    -0.024481636401789422, 0.015813073610070484, -0.004875488066250601, -0.0001259196481747607,                       \
    0.0006481009702357918, -0.00010581887845174647, -8.069065772285323e-05, 2.240751091433567e-05,                    \
    1.2549155917089157e-05, -3.6384852281971344e-06, -2.4426148589248486e-06, 4.546243843283211e-07,                  \
    5.198604427869056e-07, -1.1486481827160038e-08, -9.924356492062246e-08, -1.5317075926383697e-08,                  \
    1.1813559128070749e-08, 3.77514660152356e-09
#define FBP_LN2_HIGH 0x1.62e42fee00000p-1   /* ln 2 cut so that its product with an exponent is exact */
#define FBP_LN2_LOW 0x1.a39ef35793c76p-33
#define FBP_EXP_LOW -746                    /* below, exp is 0 */
#define FBP_EXP_HIGH 710                    /* above, it is infinite */
#define FBP_NORMAL_END 38.7
#define FBP_HALF_BITS 27                    /* a number without its last half of bits squares exactly */
#else
#define FBP_EXP 0.4999999403953552f, 0.1666652113199234f, 0.04166838899254799f, 0.00836871936917305f,                  \
    0.001381459878757596f
#define FBP_LOG 0.6666677594184875f, 0.39977535605430603f, 0.2987193167209625f
#define FBP_NORMAL 0.4956558644771576f, -0.1393028199672699f, 0.04509358108043671f, 0.010670721530914307f,            \
    -0.024470048025250435f, 0.015841441228985786f, -0.004920284263789654f, -0.00024360230599995703f,                  \
    0.0006761447293683887f, 6.95160124450922e-05f
#define FBP_LN2_HIGH 0x1.63p-1f
#define FBP_LN2_LOW -0x1.bd0106p-13f
#define FBP_EXP_LOW -104
#define FBP_EXP_HIGH 89
#define FBP_NORMAL_END 14.5f
#define FBP_HALF_BITS 12
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

static FBP_INLINE V FN(v_log)(V x)
{
    const VI subnormal = x < (FBP_F64 ? (T)0x1p-1022 : (T)0x1p-126);
    const V m = FN(v_select)(subnormal, x * (FBP_F64 ? (T)0x1p54 : (T)0x1p25), x), k = FN(v_exponent)(m);
    const V f = (V)((VW)m - ((VW)FN(v_pow2)(k) - (VW)FN(v_set1)(1))) - 1;
    V y = FN(v_log_of)(f, k - (V)((VI)FN(v_set1)(FBP_F64 ? 54 : 25) & subnormal));
    y = FN(v_select)(x == 0, FN(v_set1)((T)-INFINITY), y);
    y = FN(v_select)(x < (T)INFINITY, y, x);
    return FN(v_select)(x >= 0, y, FN(v_set1)((T)NAN));
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

/* σ(x), and σ(-x) = 1 - σ(x): with e = exp(-|x|), the larger is 1 / (1 + e), the smaller e / (1 + e) */
static FBP_INLINE V FN(v_sigmoids)(V x, V *other)
{
    const V e = FN(v_exp)(-FN(v_abs)(x)), large = 1 / (e + 1), small = e * large;
    const VI positive = x > 0;
    *other = FN(v_select)(positive, small, large);
    return FN(v_select)(positive, large, small);
}

static FBP_INLINE V FN(v_sigmoid)(V x)
{
    const V e = FN(v_exp)(-FN(v_abs)(x));
    return FN(v_select)(x > 0, FN(v_set1)(1), e) / (e + 1);
}

/* log(1 + exp(-|x|)), which softplus adds to max(x, 0) */
static FBP_INLINE V FN(v_softplus_rest)(V x) { return FN(v_log1p)(FN(v_exp)(-FN(v_abs)(x))); }

static FBP_INLINE V FN(v_softplus)(V x) { return FN(v_max)((V){0}, x) + FN(v_softplus_rest)(x); }

/* Φ(x), and exp(-x²/2). x² has more digits than a number holds: it is split into the square of x's first half of bits
 * and the rest. */
static FBP_INLINE V FN(v_normal_parts)(V x, V *density)
{
    const V u = FN(v_min)(FN(v_set1)(FBP_NORMAL_END), FN(v_abs)(x));
    const V first = (V)((VI)u & (FN(v_set1i)(-1) << FBP_HALF_BITS));
    const V square = first * first * (T)-0.5, rest = (first - u) * (first + u) * (T)0.5, n = FN(v_power)(square + rest);
    const V p = FN(v_expm1_near)(FN(v_less_power)(square, n) + rest);
    const V smooth = FBP_POLYNOMIAL((u - 4) / (u + 4), FBP_NORMAL);
    const V tail = FN(v_scale)(FN(v_fma)(p, smooth, smooth) / (u + (T)1.25), n);
    *density = FN(v_scale)(p + 1, n);
    return FN(v_select)(x > 0, 1 - tail, tail);
}

static FBP_INLINE V FN(v_normal_cdf)(V x)
{
    V density;
    return FN(v_normal_parts)(x, &density);
}

#undef FBP_EXP
#undef FBP_LOG
#undef FBP_NORMAL
#undef FBP_NORMAL_END
#undef FBP_LN2_HIGH
#undef FBP_LN2_LOW
#undef FBP_EXP_LOW
#undef FBP_EXP_HIGH
#undef FBP_HALF_BITS
#undef FBP_LOG2_E
#undef FBP_POLYNOMIAL
