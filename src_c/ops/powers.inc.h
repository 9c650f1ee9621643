/* Powers, logarithms to other bases and hyperbolic functions of whole vectors: right to 2 units in the last place for
 * every argument, subnormal results among them; special arguments as in C, and there is no slow path.
 *
 *   v_exp2 v_log2 v_log10 v_sinh v_cosh v_arcsinh v_arccosh v_arctanh v_pow v_cbrt v_hypot
 *
 * Built of what math.inc.h has. Where its rounding would show, a number is held as two: the second is what the first
 * leaves out. tools/fit_polynomials.py finds the coefficients.
 */

#if FBP_F64
/* (2^r - 1) / r, |r| <= ½ */
#define FBP_EXP2 0.6931471805599453, 0.2402265069591013, 0.055504108664820084, 0.009618129107594122,                  \
    0.0013333558146774972, 0.00015403530457110823, 1.525273349287353e-05, 1.3215435282311262e-06,                     \
    1.017819965023997e-07, 7.073783335203457e-09, 4.434762744625589e-10
/* (sinh x - x) / x³ in x², |x| <= 1 */
#define FBP_SINH 0.16666666666666669, 0.008333333333333139, 0.0001984126984143781, 2.755731915529513e-06,             \
    2.505212340518243e-08, 1.605723982611161e-10, 7.759327821175631e-13
/* (log2((1 + s) / (1 - s)) - (2 s + 2 s³ / 3) / ln 2) / s^5 in s², as FBP_LOG */
#define FBP_LOG2_REST 0.577078016355618, 0.4121985830919569, 0.32059890227063126, 0.26230770137146014,                \
    0.22198398693474775, 0.19125540175781205, 0.1903832879898289
#define FBP_LOG2_E_HIGH 0x1.71547652b82fep+0  /* 1 / ln 2 in two */
#define FBP_LOG2_E_LOW 0x1.777d0ffda0d24p-56
#define FBP_THIRD_HIGH 0x1.ec709dc3a03fdp-1   /* 2 / (3 ln 2) */
#define FBP_THIRD_LOW 0x1.d27f05548af0cp-55
#define FBP_LOG10_E_HIGH 0x1.bcb7b1526e50ep-2 /* 1 / ln 10 */
#define FBP_LOG10_E_LOW 0x1.95355baaafad3p-57
#define FBP_LOG10_2_HIGH 0x1.34413509f7000p-2 /* log10 2, cut so that its product with an exponent is exact */
#define FBP_LOG10_2_LOW 0x1.3fde623e2566bp-43
#define FBP_EXP2_LOW -1080                    /* below, 2^x is 0 */
#define FBP_EXP2_HIGH 1030                    /* above, it is infinite */
#define FBP_WHOLE 0x1p52                      /* from here on numbers are whole */
#define FBP_SINH_HIGH 712                     /* above, sinh and cosh are infinite */
#else
#define FBP_EXP2 0.6931471824645996f, 0.24022647738456726f, 0.055503323674201965f, 0.00961843691766262f,              \
    0.001339889015071094f, 0.0001535357441753149f
#define FBP_SINH 0.1666666716337204f, 0.008333350531756878f, 0.00019836064893752337f, 2.81744951280416e-06f
#define FBP_LOG2_REST 0.5770801901817322f, 0.4118479788303375f, 0.3378615081310272f
#define FBP_LOG2_E_HIGH 0x1.715476p+0f
#define FBP_LOG2_E_LOW 0x1.4ae0cp-26f
#define FBP_THIRD_HIGH 0x1.ec709ep-1f
#define FBP_THIRD_LOW -0x1.e2fe02p-28f
#define FBP_LOG10_E_HIGH 0x1.bcb7b2p-2f
#define FBP_LOG10_E_LOW -0x1.5b235ep-27f
#define FBP_LOG10_2_HIGH 0x1.344p-2f
#define FBP_LOG10_2_LOW 0x1.3509f8p-18f
#define FBP_EXP2_LOW -160
#define FBP_EXP2_HIGH 132
#define FBP_WHOLE 0x1p23f
#define FBP_SINH_HIGH 92
#endif

/* ∛m, m from √½ to √2, to 17 bits */
#define FBP_CBRT (T)0.4516648054122925, (T)0.9048271179199219, (T)-0.5356432795524597, (T)0.21694573760032654,        \
    (T)-0.037790123373270035

/* a b, rounded, whatever it is added to later: the compiler would fuse that */
static FBP_INLINE V FN(v_product)(V a, V b) { return FN(v_fma)(a, b, (V){0}); }

/* a + b, and what its rounding leaves; |a| >= |b|, or a is 0 */
static FBP_INLINE V FN(v_sum_in_two)(V a, V b, V *low)
{
    const V sum = a + b;
    *low = (a - sum) + b;
    return sum;
}

/* ---- exponentials ----------------------------------------------------------------------------------------------- */

/* 2^(x + low), x within what is not far out of range, low small beside 1 */
static FBP_INLINE V FN(v_exp2_of)(V x, V low)
{
    const V round = FN(v_set1)(FBP_ROUND), n = (x + round) - round, r = (x - n) + low;
    return FN(v_scale)(FN(v_fma)(r, FBP_POLYNOMIAL(r, FBP_EXP2), FN(v_set1)(1)), n);
}

static FBP_INLINE V FN(v_exp2)(V x) { return FN(v_exp2_of)(FN(v_clip)(x, FBP_EXP2_LOW, FBP_EXP2_HIGH), (V){0}); }

/* exp(x) / 2 in two, and exp(-x) / 2, x from 0 on */
static FBP_INLINE V FN(v_half_exp)(V x, V *low, V *inverse)
{
    x = FN(v_min)(FN(v_set1)(FBP_SINH_HIGH), x);
    const V n = FN(v_power)(x), p = FN(v_expm1_near)(FN(v_less_power)(x, n));
    V rest;
    const V y = FN(v_sum_in_two)(FN(v_set1)(1), p, &rest), half = FN(v_scale)(y, n - 1);
    *low = FN(v_scale)(rest, n - 1);
    *inverse = (T)0.25 / half;
    return half;
}

static FBP_INLINE V FN(v_cosh)(V x)
{
    V low, inverse;
    const V half = FN(v_half_exp)(FN(v_abs)(x), &low, &inverse);
    return half + (low + inverse);
}

static FBP_INLINE V FN(v_sinh)(V x)
{
    V low, inverse;
    const V u = FN(v_abs)(x), half = FN(v_half_exp)(u, &low, &inverse), square = u * u;
    const V near = FN(v_fma)(u * square, FBP_POLYNOMIAL(square, FBP_SINH), u), far = half + (low - inverse);
    return FN(v_copysign)(FN(v_select)(u < 1, near, far), x);
}

/* ---- logarithms ------------------------------------------------------------------------------------------------- */

/* shift + (f + rest) / ln base, as 1 / ln base is high + low; shift is 0 or larger than f / ln base */
static FBP_INLINE V FN(v_log_to_base)(V shift, V shift_low, V f, T high, T low)
{
    V sum_low;
    const V factor = FN(v_set1)(high), y = FN(v_product)(f, factor), y_low = FN(v_product_rest)(f, factor, y);
    const V sum = FN(v_sum_in_two)(shift, y, &sum_low);
    return sum + (sum_low + FN(v_fma)(FN(v_log_rest)(f), factor, FN(v_fma)(f, FN(v_set1)(low), y_low + shift_low)));
}

static FBP_INLINE V FN(v_log2)(V x)
{
    V k;
    const V f = FN(v_reduced)(x, &k);
    return FN(v_log_ends)(x, FN(v_log_to_base)(k, (V){0}, f, FBP_LOG2_E_HIGH, FBP_LOG2_E_LOW));
}

static FBP_INLINE V FN(v_log10)(V x)
{
    V k;
    const V f = FN(v_reduced)(x, &k);
    return FN(v_log_ends)(x, FN(v_log_to_base)(k * FBP_LOG10_2_HIGH, k * FBP_LOG10_2_LOW, f, FBP_LOG10_E_HIGH,
                                               FBP_LOG10_E_LOW));
}

/* log(1 + v + low), v from 0 on, low small beside it */
static FBP_INLINE V FN(v_log1p_of_two)(V v, V low)
{
    V k;
    const V u = v + 1, lost = FN(v_select)(v > 1, (v - u) + 1, (1 - u) + v) + low, f = FN(v_reduced)(u, &k);
    return FN(v_fma)(k, FN(v_set1)(FBP_LN2_HIGH), f + (FN(v_log_rest)(f) + FN(v_fma)(k, FN(v_set1)(FBP_LN2_LOW), lost / u)));
}

/* log(2 v), which is log(v + √(v² ± 1)) from where the 1 no longer counts */
static FBP_INLINE V FN(v_log_twice)(V v) { return FN(v_log)(v) + (T)0.69314718055994530942; }

/* log(u + √(u² + 1)), where √(u² + 1) is 1 + u² / (1 + √(u² + 1)) */
static FBP_INLINE V FN(v_arcsinh)(V x)
{
    const V u = FN(v_abs)(x), square = u * u, rest = square / (FN(v_sqrt)(square + 1) + 1), v = u + rest;
    const V near = FN(v_log1p_of_two)(v, (u - v) + rest);
    return FN(v_copysign)(FN(v_select)(u < FBP_WHOLE, near, FN(v_log_twice)(u)), x);
}

/* log(x + √(x² - 1)), where with t = x - 1 x² - 1 is t (t + 2) */
static FBP_INLINE V FN(v_arccosh)(V x)
{
    const V t = x - 1, d = t + 2, square = FN(v_product)(t, d), root = FN(v_sqrt)(square), v = root + t;
    const V square_low = FN(v_fma)(t, t - (d - 2), FN(v_product_rest)(t, d, square));
    const V root_low = (square_low - FN(v_product_rest)(root, root, square)) / FN(v_max)(FN(v_set1)((T)1e-30), root + root);
    const V y = FN(v_select)(x < FBP_WHOLE, FN(v_log1p_of_two)(v, ((root - v) + t) + root_low), FN(v_log_twice)(x));
    return FN(v_select)(x >= 1, y, FN(v_set1)((T)NAN));
}

/* log((1 + u) / (1 - u)) / 2, where the quotient is 2^k (1 + s) / (1 - s). If k is 0, s is u; else it is made in two, for
 * k ln 2 and 2 s may cancel. */
static FBP_INLINE V FN(v_arctanh)(V x)
{
    const V one = FN(v_set1)(1), u = FN(v_abs)(x);
    V above_low, below_low, d_low;
    const V above = FN(v_sum_in_two)(one, u, &above_low), below = FN(v_sum_in_two)(one, -u, &below_low);
    const V k = FN(v_exponent)(above / below), scale = FN(v_pow2)(k), part = below * scale, part_low = below_low * scale;
    const V d = FN(v_sum_in_two)(above, part, &d_low), inverse = 1 / d, top = above - part, quotient = top * inverse;
    const V lacks = (above_low - part_low) - FN(v_product_rest)(quotient, d, top) - quotient * (d_low + above_low + part_low);
    const V s = FN(v_select)(k == 0, u, quotient), s_low = FN(v_select)(k == 0, (V){0}, lacks * inverse), z = s * s;
    const V rest = FN(v_fma)(FN(v_fma)(s * z, FBP_POLYNOMIAL(z, FBP_LOG), k * FBP_LN2_LOW), FN(v_set1)((T)0.5), s_low);
    const V y = FN(v_fma)(k, FN(v_set1)(FBP_LN2_HIGH * (T)0.5), s + rest);
    return FN(v_copysign)(FN(v_select)(u < 1, y, FN(v_select)(u == 1, FN(v_set1)((T)INFINITY), FN(v_set1)((T)NAN))), x);
}

/* ---- powers ----------------------------------------------------------------------------------------------------- */

/* log2 x in two, x a number above 0. With s = f / (2 + f), as in v_log_of, it is k + (2 s + 2 s³ / 3) / ln 2 + s^5 P(s²);
 * in two are s and s³, for a large exponent multiplies what they lack. */
static FBP_INLINE V FN(v_log2_in_two)(V x, V *low)
{
    V k, sum_low, k_low;
    const V first = FN(v_set1)(2 * FBP_LOG2_E_HIGH), third = FN(v_set1)(FBP_THIRD_HIGH);
    const V f = FN(v_reduced)(x, &k), d = f + 2, d_low = f - (d - 2), s = f / d;
    const V s_low = (-FN(v_product_rest)(s, d, f) - s * d_low) * FN(v_fma)(s, FN(v_set1)((T)-0.5), FN(v_set1)((T)0.5));
    const V z = FN(v_product)(s, s), z_low = FN(v_fma)(s + s, s_low, FN(v_product_rest)(s, s, z));
    const V cube = FN(v_product)(z, s), a = FN(v_product)(s, first), b = FN(v_product)(cube, third);
    const V cube_low = FN(v_fma)(z_low, s, FN(v_fma)(z, s_low, FN(v_product_rest)(z, s, cube)));
    const V a_low = FN(v_fma)(s_low, first, FN(v_fma)(s, FN(v_set1)(2 * FBP_LOG2_E_LOW), FN(v_product_rest)(s, first, a)));
    const V b_low = FN(v_fma)(cube_low, third, FN(v_fma)(cube, FN(v_set1)(FBP_THIRD_LOW),
                                                          FN(v_product_rest)(cube, third, b)));
    const V rest = FN(v_fma)(cube * z, FBP_POLYNOMIAL(z, FBP_LOG2_REST), a_low + b_low);
    const V sum = FN(v_sum_in_two)(a, b, &sum_low), high = FN(v_sum_in_two)(k, sum, &k_low);
    return FN(v_sum_in_two)(high, k_low + (sum_low + rest), low);
}

static FBP_INLINE VI FN(v_is_whole)(V u)
{
    const V whole = FN(v_set1)(FBP_WHOLE);
    return (u >= whole) | ((u + whole) - whole == u);
}

/* p, |x|^y as far as x is neither 0 nor infinite and y is a number, made right for all x and y */
static FBP_INLINE V FN(v_pow_ends)(V x, V y, V p)
{
    const V u = FN(v_abs)(x), v = FN(v_abs)(y), zero = {0}, infinite = FN(v_set1)((T)INFINITY);
    const VI at_end = (u == 0) | (u == infinite), negative = (VI)x < 0;
    const VI whole = FN(v_is_whole)(v), odd = whole & ~FN(v_is_whole)(v * (T)0.5);
    p = FN(v_select)(at_end, FN(v_select)((u == 0) ^ (y < 0), zero, infinite), p);
    p = FN(v_select)(negative & ~whole & ~at_end, FN(v_set1)((T)NAN), p);
    p = FN(v_select)(negative & odd, -p, p);
    p = FN(v_select)((x == x) & (y == y), p, x + y);
    return FN(v_select)((x == 1) | (y == 0), FN(v_set1)(1), p);
}

static FBP_INLINE V FN(v_pow)(V x, V y)
{
    /* an exponent so large decides whatever x is, but for 1 and -1 */
    const V most = FN(v_set1)(FBP_F64 ? (T)0x1p80 : (T)0x1p40), e = FN(v_max)(-most, FN(v_min)(most, y));
    V low;
    const V high = FN(v_log2_in_two)(FN(v_abs)(x), &low), t = FN(v_product)(e, high);
    const V t_low = FN(v_fma)(e, low, FN(v_product_rest)(e, high, t));
    const V p = FN(v_exp2_of)(FN(v_clip)(t, FBP_EXP2_LOW, FBP_EXP2_HIGH), FN(v_clip)(t_low, -1, 1));
    const VI usual = (x > 0) & (x < (T)INFINITY) & (y == y);        /* where the ends would change nothing */
    return FN(v_any_nan)(FN(v_select)(usual, p, FN(v_set1)((T)NAN))) ? FN(v_pow_ends)(x, y, p) : p;
}

/* the root of 2^(3 n) m, m from √⅛ to √8: a polynomial, and Newton's steps, the last from what y³ lacks exactly */
static FBP_INLINE V FN(v_cbrt)(V x)
{
    V k;
    const V u = FN(v_abs)(x), near = FN(v_reduced)(u, &k) + 1, round = FN(v_set1)(FBP_ROUND);
    const V n = FN(v_fma)(k, FN(v_set1)((T)0.33333333333333333333), round) - round, j = k - 3 * n, m = near * FN(v_pow2)(j);
    V y = FBP_POLYNOMIAL(near, FBP_CBRT);
    y *= FN(v_select)(j == 0, FN(v_set1)(1), FN(v_select)(j > 0, FN(v_set1)((T)1.2599210498948731648),
                                                           FN(v_set1)((T)0.7937005259840997374)));
    if (FBP_F64) y += (m / (y * y) - y) * (T)0.33333333333333333333;
    const V square = FN(v_product)(y, y), square_low = FN(v_product_rest)(y, y, square);
    const V lacks = -FN(v_product_rest)(square, y, m) - square_low * y;
    y = FN(v_scale)(y + lacks / (3 * square), n);
    return FN(v_select)((u > 0) & (u < (T)INFINITY), FN(v_copysign)(y, x), x);
}

#undef FBP_EXP2
#undef FBP_SINH
/* sqrt(a² + b²). Numbers whose squares would overflow, or lose digits, are brought nearer to 1 by a power of two. */
static FBP_INLINE V FN(v_hypot)(V a, V b)
{
    const V x = FN(v_abs)(a), y = FN(v_abs)(b), most = FN(v_max)(x, y);
    const VI large = most > (FBP_F64 ? (T)0x1p500 : (T)0x1p60), small = most < (FBP_F64 ? (T)0x1p-400 : (T)0x1p-40);
    const V down = FN(v_set1)(FBP_F64 ? (T)0x1p-600 : (T)0x1p-70), up = FN(v_set1)(FBP_F64 ? (T)0x1p700 : (T)0x1p90);
    const V one = FN(v_set1)(1), scale = FN(v_select)(large, down, FN(v_select)(small, up, one));
    const V back = FN(v_select)(large, 1 / down, FN(v_select)(small, 1 / up, one)), u = x * scale, v = y * scale;
    const V root = FN(v_sqrt)(FN(v_fma)(u, u, v * v)) * back;
    return FN(v_select)((x == FN(v_set1)(INFINITY)) | (y == FN(v_set1)(INFINITY)), FN(v_set1)(INFINITY), root);
}

#undef FBP_LOG2_REST
#undef FBP_LOG2_E_HIGH
#undef FBP_LOG2_E_LOW
#undef FBP_THIRD_HIGH
#undef FBP_THIRD_LOW
#undef FBP_LOG10_E_HIGH
#undef FBP_LOG10_E_LOW
#undef FBP_LOG10_2_HIGH
#undef FBP_LOG10_2_LOW
#undef FBP_EXP2_LOW
#undef FBP_EXP2_HIGH
#undef FBP_SINH_HIGH
#undef FBP_WHOLE
#undef FBP_CBRT
#undef FBP_LOG
#undef FBP_LN2_HIGH
#undef FBP_LN2_LOW
