/* NEON: multiply-add and square root; the rest is portable. */

#if FBP_F64
#define FBP_VECTOR float64x2_t
#define FBP_NEON(name) name##_f64
#else
#define FBP_VECTOR float32x4_t
#define FBP_NEON(name) name##_f32
#endif

static FBP_INLINE V FN(v_fma)(V a, V b, V c)
{
    return (V)FBP_NEON(vfmaq)((FBP_VECTOR)c, (FBP_VECTOR)a, (FBP_VECTOR)b);
}

static FBP_INLINE V FN(v_product_rest)(V a, V b, V product) { return FN(v_fma)(a, b, -product); }

static FBP_INLINE V FN(v_sqrt)(V a) { return (V)FBP_NEON(vsqrtq)((FBP_VECTOR)a); }

static FBP_INLINE V FN(v_load_n)(const T *p, int64_t n) { return FN(portable_load_n)(p, n); }
static FBP_INLINE void FN(v_store_n)(T *p, V v, int64_t n) { FN(portable_store_n)(p, v, n); }
static FBP_INLINE V FN(v_max)(V a, V b) { return FN(portable_max)(a, b); }
static FBP_INLINE V FN(v_min)(V a, V b) { return FN(portable_min)(a, b); }
static FBP_INLINE VI FN(v_widen)(const int8_t *p) { return FN(portable_widen)(p); }
static FBP_INLINE int32_t FN(v_any_nan)(V a) { return FN(portable_any_nan)(a); }
static FBP_INLINE V FN(v_over_root)(V m, V v, V e) { return FN(portable_over_root)(m, FN(v_sqrt)(v), e); }
static FBP_INLINE V FN(v_lanes)(V v, VI at) { return FN(portable_lanes)(v, at); }
static FBP_INLINE V FN(v_scale)(V a, V n) { return FN(portable_scale)(a, n); }

#undef FBP_VECTOR
#undef FBP_NEON
