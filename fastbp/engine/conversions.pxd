# Kinds of numbers, and numbers of one kind written as another; compiled into whoever cimports them.
from libc.stdint cimport int32_t, int64_t


cdef enum:
    FLOAT32, FLOAT64, INT64, INT32, OTHER


cdef inline int kind_of(char code) noexcept:
    """The kind of element that a buffer's format means."""
    if code == c"f":
        return FLOAT32
    if code == c"d":
        return FLOAT64
    if code == c"i" or (code == c"l" and sizeof(long) == 4):
        return INT32
    return INT64 if code == c"q" or code == c"l" else OTHER


ctypedef fused given_t:
    float
    double
    int64_t
    int32_t


cdef inline bint put(void *to, int kind, const given_t *given, int64_t n) noexcept:
    """Write numbers as another kind; False if that is not done without a closer look."""
    cdef int64_t i
    if kind == FLOAT32:
        for i in range(n):
            (<float *> to)[i] = <float> given[i]
    elif kind == FLOAT64:
        for i in range(n):
            (<double *> to)[i] = <double> given[i]
    elif given_t is int32_t:
        for i in range(n):
            (<int64_t *> to)[i] = given[i]
    else:
        return False
    return True


cdef inline bint convert(void *to, int kind, const void *given, int given_kind, int64_t n) noexcept:
    """Write n numbers as another kind, likewise."""
    if given_kind == FLOAT32:
        return put(to, kind, <const float *> given, n)
    if given_kind == FLOAT64:
        return put(to, kind, <const double *> given, n)
    if given_kind == INT64:
        return put(to, kind, <const int64_t *> given, n)
    return put(to, kind, <const int32_t *> given, n)


cdef inline bint columns_between(const int64_t *given, int64_t n, const int64_t *limits, int64_t columns) noexcept:
    """Whether all numbers are in the range of their column: below limits[2 k], and at least limits[2 k + 1]."""
    cdef int64_t i, k = 0
    for i in range(n):
        if not (limits[2 * k + 1] <= given[i] < limits[2 * k]):
            return False
        k = k + 1 if k + 1 < columns else 0
    return True


cdef inline bint all_between(const given_t *given, int64_t n, double low, double high) noexcept:
    """Whether all numbers are in a range, both ends included; NaN never is."""
    cdef int64_t i
    for i in range(n):
        if not (low <= given[i] <= high):
            return False
    return True
