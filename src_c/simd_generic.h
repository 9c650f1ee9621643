/* No instruction set in particular: the compiler makes what it can of the portable operations. */

static FBP_INLINE V FN(v_load_n)(const T *p, int64_t n) { return FN(portable_load_n)(p, n); }
static FBP_INLINE void FN(v_store_n)(T *p, V v, int64_t n) { FN(portable_store_n)(p, v, n); }
static FBP_INLINE V FN(v_fma)(V a, V b, V c) { return a * b + c; }
static FBP_INLINE V FN(v_max)(V a, V b) { return FN(portable_max)(a, b); }
static FBP_INLINE V FN(v_min)(V a, V b) { return FN(portable_min)(a, b); }
static FBP_INLINE V FN(v_sqrt)(V a) { return FN(portable_sqrt)(a); }
static FBP_INLINE VI FN(v_widen)(const int8_t *p) { return FN(portable_widen)(p); }
static FBP_INLINE int32_t FN(v_any_nan)(V a) { return FN(portable_any_nan)(a); }
static FBP_INLINE V FN(v_over_root)(V m, V v, V e) { return FN(portable_over_root)(m, FN(v_sqrt)(v), e); }
static FBP_INLINE V FN(v_lanes)(V v, VI at) { return FN(portable_lanes)(v, at); }
static FBP_INLINE V FN(v_scale)(V a, V n) { return FN(portable_scale)(a, n); }
static FBP_INLINE V FN(v_product_rest)(V a, V b, V product) { return FN(portable_product_rest)(a, b, product); }
