/* Elementary functions of whole vectors: right to 4 units in the last place for every argument, subnormal results among
 * them; NaN gives NaN, and there is no slow path.
 *
 *   v_exp v_expm1 v_log v_log1p v_tanh v_softplus
 *   v_sigmoid        1 / (1 + exp(-x)); v_sigmoids gives 1 - that as well, which keeps its digits
 *   v_normal_cdf     Φ(x) = (1 + erf(x / √2)) / 2, right in the lower tail too; v_normal_parts gives exp(-x²/2) as well
 *
 * Each argument is reduced to an interval where a polynomial P, or a fraction P / Q, is good enough:
 * tools/fit_polynomials.py finds the best of its degree and prints the coefficients that stand here, the lowest power
 * first. All coefficients of fractions are above 0, so that no digits cancel where they are evaluated.
 */

#if FBP_F64
/* (e^r - 1 - r) / r², |r| <= ln 2 / 2 */
#define FBP_EXP 0.5000000000000011, 0.16666666666666413, 0.04166666666653013, 0.008333333333494413,                    \
    0.0013888888943637435, 0.00019841269506683303, 2.480149309123771e-05, 2.755758627912826e-06,                       \
    2.7630251136596525e-07, 2.5000092234534713e-08
/* (log((1 + s) / (1 - s)) - 2 s) / s³ in s², for (1 + s) / (1 - s) from √½ to √2 */
#define FBP_LOG 0.6666666666666734, 0.3999999999941414, 0.28571428742517047, 0.2222219855928678, 0.18183565075600952,  \
    0.15314030724956718, 0.14796154428281785
/* Φ(-u) exp(u² / 2), u from 0 to where Φ(-u) is below the smallest number */
#define FBP_NORMAL_P 0.5, 0.7747009105716979, 0.5937960022882648, 0.28915414487948227, 0.09761935778178013,            \
    0.023598023990327583, 0.004084139014583692, 0.0004896703263681908, 3.71864372869306e-05, 1.3826923109278028e-06
#define FBP_NORMAL_Q 1.0, 2.347286381946251, 2.5604555685145796, 1.7135745857889948, 0.7815334917634513,               \
    0.2547464236994744, 0.06037196428484167, 0.010330630895244965, 0.0012308873811671625, 9.321257513402869e-05,       \
    3.465895641697099e-06
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
/* tanh(x) / x in x², |x| up to where tanh rounds to 1 */
#define FBP_TANH_P 1.0f, 0.13379712402820587f, 0.003494028002023697f, 2.0583382138283923e-05f, 1.3318955716101755e-08f
#define FBP_TANH_Q 1.0f, 0.46713027358055115f, 0.025871047750115395f, 0.00032830823329277337f, 7.761967140140769e-07f
#define FBP_TANH_END 81.36f
#define FBP_NORMAL_P 0.5f, 0.4382999539375305f, 0.1832389235496521f, 0.040634531527757645f, 0.004116508644074202f
#define FBP_NORMAL_Q 1.0f, 1.6744848489761353f, 1.2025187015533447f, 0.4694806635379791f, 0.1018621101975441f,         \
    0.010318437591195107f
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
    FBP_UNROLL
    for (int i = n - 2; i >= 0; i--) y = FN(v_fma)(y, x, FN(v_set1)(c[i]));
    return y;
}
#define FBP_POLYNOMIAL(x, ...) FN(v_horner)(x, (const T[]){__VA_ARGS__}, (int)(sizeof (const T[]){__VA_ARGS__} / sizeof(T)))

/* ---- exponentials ------------------------------------------------------------------------------------------------- */

/* exp(x + low) = 2^n (1 + result), |low| small beside x: n is a whole number, what is left lies within ±ln 2 / 2 */
static FBP_INLINE V FN(v_exp_parts)(V x, V low, V *n)
{
    const V round = FN(v_set1)(FBP_ROUND);
    *n = FN(v_fma)(x, FN(v_set1)(FBP_LOG2_E), round) - round;
    V r = FN(v_fma)(*n, FN(v_set1)(-FBP_LN2_HIGH), x);
    r = FN(v_fma)(*n, FN(v_set1)(-FBP_LN2_LOW), r) + low;
    return FN(v_fma)(r * r, FBP_POLYNOMIAL(r, FBP_EXP), r);
}

static FBP_INLINE V FN(v_clip)(V x, T low, T high) { return FN(v_max)(FN(v_set1)(low), FN(v_min)(FN(v_set1)(high), x)); }

static FBP_INLINE V FN(v_exp)(V x)
{
    V n;
    const V p = FN(v_exp_parts)(FN(v_clip)(x, FBP_EXP_LOW, FBP_EXP_HIGH), (V){0}, &n);
    return FN(v_scale)(p + 1, n);
}

static FBP_INLINE V FN(v_expm1)(V x)
{
    /* below -40 the result is -1; half of it is made first, as 2^n itself may be just out of range */
    V n;
    const V p = FN(v_exp_parts)(FN(v_clip)(x, -40, FBP_EXP_HIGH), (V){0}, &n), half = FN(v_pow2)(n - 1);
    const V y = FN(v_fma)(p, half, half - (T)0.5);
    return y + y;
}

/* ---- logarithms --------------------------------------------------------------------------------------------------- */

/* log(1 + f) + k ln 2, 1 + f from √½ to √2: with s = f / (2 + f), 1 + f = (1 + s) / (1 - s), and, h being f² / 2,
 * log(1 + f) = 2 s + s³ P(s²) = f - h + s (h + s² P(s²)) */
static FBP_INLINE V FN(v_log_of)(V f, V k)
{
    const V s = f / (f + 2), z = s * s, h = f * f * (T)0.5;
    const V rest = FN(v_fma)(s, FN(v_fma)(z, FBP_POLYNOMIAL(z, FBP_LOG), h), k * FBP_LN2_LOW);
    return FN(v_fma)(k, FN(v_set1)(FBP_LN2_HIGH), f - (h - rest));
}

/* the exponent k of x = 2^k m with m from √½ to √2; x normal */
static FBP_INLINE V FN(v_exponent)(V x)
{
    const VI offset = (VI)FN(v_set1)((T)1) - (VI)FN(v_set1)((T)0.70710678118654752440);
    const VI biased = ((VI)x + offset) >> FBP_FRACTION_BITS, bias = (VI)FN(v_set1)((T)1) >> FBP_FRACTION_BITS;
    return (V)((VI)FN(v_set1)(FBP_ROUND) + (biased - bias)) - FN(v_set1)(FBP_ROUND);
}

static FBP_INLINE V FN(v_log)(V x)
{
    const V smallest = FN(v_set1)(FBP_F64 ? (T)0x1p-1022 : (T)0x1p-126), up = FN(v_set1)(FBP_F64 ? (T)0x1p54 : (T)0x1p25);
    const VI subnormal = x < smallest;
    const V m = FN(v_select)(subnormal, x * up, x), k = FN(v_exponent)(m);
    const V f = (V)((VI)m - ((VI)FN(v_pow2)(k) - (VI)FN(v_set1)(1))) - 1;
    V y = FN(v_log_of)(f, k - (V)((VI)FN(v_set1)(FBP_F64 ? 54 : 25) & subnormal));
    y = FN(v_select)(x == 0, FN(v_set1)((T)-INFINITY), y);
    y = FN(v_select)(x < (T)INFINITY, y, x);
    return FN(v_select)(x >= 0, y, FN(v_set1)((T)NAN));
}

static FBP_INLINE V FN(v_log1p)(V x)
{
    /* 1 + x = 2^k (1 + f): f comes from x, not from the rounded sum; up to 2^-k - 1 all is exact */
    const V k = FN(v_exponent)(x + 1), down = FN(v_pow2)(2 - k) * (T)0.25;
    V y = FN(v_log_of)(FN(v_fma)(x, down, down - 1), k);
    y = FN(v_select)(x == -1, FN(v_set1)((T)-INFINITY), y);
    y = FN(v_select)(x < (T)INFINITY, y, x);
    return FN(v_select)(x >= -1, y, FN(v_set1)((T)NAN));
}

/* ---- what is made of them ----------------------------------------------------------------------------------------- */

static FBP_INLINE V FN(v_tanh)(V x)
{
#if FBP_F64
    /* with e = exp(2 |x|) - 1, tanh |x| = e / (e + 2); it is 1 from 20 on */
    const V e = FN(v_expm1)(FN(v_min)(FN(v_set1)(40), FN(v_abs)(x) * 2));
    return FN(v_copysign)(e / (e + 2), x);
#else
    const V t = FN(v_min)(FN(v_set1)(FBP_TANH_END), x * x);
    const V y = x * FBP_POLYNOMIAL(t, FBP_TANH_P) / FBP_POLYNOMIAL(t, FBP_TANH_Q);
    return FN(v_clip)(y, -1, 1);
#endif
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
    V n;
    const V p = FN(v_exp_parts)(first * first * (T)-0.5, (first - u) * (first + u) * (T)0.5, &n);
    const V power = p + 1;
    *density = FN(v_scale)(power, n);
    const V tail = FN(v_scale)(power * FBP_POLYNOMIAL(u, FBP_NORMAL_P) / FBP_POLYNOMIAL(u, FBP_NORMAL_Q), n);
    return FN(v_select)(x > 0, 1 - tail, tail);
}

static FBP_INLINE V FN(v_normal_cdf)(V x)
{
    V density;
    return FN(v_normal_parts)(x, &density);
}

#undef FBP_EXP
#undef FBP_LOG
#undef FBP_TANH_P
#undef FBP_TANH_Q
#undef FBP_TANH_END
#undef FBP_NORMAL_P
#undef FBP_NORMAL_Q
#undef FBP_NORMAL_END
#undef FBP_LN2_HIGH
#undef FBP_LN2_LOW
#undef FBP_EXP_LOW
#undef FBP_EXP_HIGH
#undef FBP_HALF_BITS
#undef FBP_LOG2_E
#undef FBP_POLYNOMIAL
