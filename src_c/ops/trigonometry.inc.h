/* Circular functions of whole vectors, right to 2 units in the last place, written as those of math.inc.h; signs of zeros
 * are kept, and NaN gives NaN.
 *
 *   v_sin v_cos      any x; those beyond FBP_TURNS_END, for which π/2 would need more digits, go through libm one by one,
 *                    so that what a lane gives depends on that lane alone
 */

#if FBP_F64
/* (sin r - r) / r³ and (cos r - 1 + r²/2) / r⁴ in r², |r| <= π/4 and a little more */
#define FBP_SIN -0.16666666666666627, 0.008333333333321282, -0.00019841269828866829, 2.7557313354905862e-06,           \
    -2.5050703876564683e-08, 1.5893575118846794e-10
#define FBP_COS 0.04166666666666659, -0.0013888888888872594, 2.4801587288489706e-05, -2.7557314055970553e-07,          \
    2.0875681805498785e-09, -1.135744515213761e-11
#define FBP_QUARTER_HIGH 0x1.921fb54442d18p+0   /* π/2 is the sum of the three */
#define FBP_QUARTER_MIDDLE 0x1.1a62633145c07p-54
#define FBP_QUARTER_LOW -0x1.f1976b7ed8fbcp-110
#define FBP_TURNS_END 0x1p30
#else
#define FBP_SIN -0.16666653752326965f, 0.008332131430506706f, -0.00019510829588398337f
#define FBP_COS 0.04166664555668831f, -0.0013887305976822972f, 2.4431194106000476e-05f
#define FBP_QUARTER_HIGH 0x1.921fb6p+0f
#define FBP_QUARTER_MIDDLE -0x1.777a5cp-25f
#define FBP_QUARTER_LOW -0x1.ee59dap-50f
#define FBP_TURNS_END 0x1p16f
#endif

/* ---- sine and cosine --------------------------------------------------------------------------------------------- */

/* x - n part, as if the product were not rounded */
static FBP_INLINE V FN(v_less_product)(V x, V n, T part)
{
#if FBP_ISA_GENERIC
    const V product = n * part;
    return (x - product) - FN(v_product_rest)(n, FN(v_set1)(part), product);
#else
    return FN(v_fma)(n, FN(v_set1)(-part), x);
#endif
}

/* An angle r + rest, |r| <= π/4 and a little more, behind n quarter turns, of which the two lowest bits count. */
typedef struct { V r, rest; VI n; } FN(angle);

/* x - n π/2 for 0 <= x <= FBP_TURNS_END. The first product leaves no rest: x and n times the first part of π/2 have their
 * digits in the places from 2 to that part's last. What the second loses by rounding goes into the rest. */
static FBP_INLINE FN(angle) FN(v_turned)(V x)
{
    const V round = FN(v_set1)(FBP_ROUND), places = FN(v_fma)(x, FN(v_set1)((T)0.63661977236758134308), round);
    const V n = places - round;
    const V first = FN(v_less_product)(x, n, FBP_QUARTER_HIGH), r = FN(v_less_product)(first, n, FBP_QUARTER_MIDDLE);
    const V step = first - r, lost = FN(v_less_product)(step, n, FBP_QUARTER_MIDDLE) + ((first - step) - r);
    const V rest = FN(v_fma)(n, FN(v_set1)(-FBP_QUARTER_LOW), lost), sum = r + rest;
    return (FN(angle)){sum, rest - (sum - r), (VI)places};
}

static FBP_INLINE V FN(v_sin_near)(FN(angle) a)
{
    const V z = a.r * a.r, cube = z * a.r;
    return a.r + FN(v_fma)(cube, FBP_POLYNOMIAL(z, FBP_SIN), FN(v_fma)(z * (T)-0.5, a.rest, a.rest));
}

/* 1 - r²/2 is rounded: what it loses is brought in */
static FBP_INLINE V FN(v_cos_near)(FN(angle) a)
{
    const V z = a.r * a.r, half = z * (T)0.5, most = 1 - half;
    const V rest = FN(v_fma)(-a.r, a.rest, (1 - most) - half);
    return most + FN(v_fma)(z * z, FBP_POLYNOMIAL(z, FBP_COS), rest);
}

/* sin(r + n π/2): an odd n asks for the cosine, a 2 in it for the other sign */
static FBP_INLINE V FN(v_sin_of)(FN(angle) a)
{
    const VI odd = (a.n & 1) != 0;
    const VW sign = (VW)(a.n & 2) << (8 * sizeof(T) - 2);
    return (V)((VW)FN(v_select)(odd, FN(v_cos_near)(a), FN(v_sin_near)(a)) ^ sign);
}

/* y where |x| is within FBP_TURNS_END, and libm's function, in double, elsewhere */
#define FBP_FAR(function)                                                                                              \
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
FBP_FAR(sin)
FBP_FAR(cos)
#undef FBP_FAR

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

#undef FBP_SIN
#undef FBP_COS
#undef FBP_QUARTER_HIGH
#undef FBP_QUARTER_MIDDLE
#undef FBP_QUARTER_LOW
#undef FBP_TURNS_END
#undef FBP_POLYNOMIAL
