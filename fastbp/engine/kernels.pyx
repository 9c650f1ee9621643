"""The C kernels one by one: functions on NumPy arrays of float32 or float64.

They are what the native backend runs, without a graph around: for tests, for layers of your own, for trying things.

>>> import numpy as np
>>> from fastbp import kernels
>>> x = np.array([-1.0, 0.0, 2.0], dtype=np.float32)
>>> kernels.relu_forward(x)
array([0., 0., 2.], dtype=float32)
>>> kernels.linear_forward(np.ones((2, 3)), np.ones((3, 1)), np.zeros(1), act="tanh")
array([[0.99505475],
       [0.99505475]])

All arrays of a call have one dtype, which the first decides; labels are int64. Inputs may be read-only, unaligned or
not contiguous (then they are copied). Results are made, or written into `out`: C-contiguous arrays of the right shape
and dtype, one or a tuple of them. `out` may be an input itself in the kernels that work on each element alone, whose
arrays may have any one shape. `isa` runs the kernel of one instruction set, "generic", "avx2", "avx512" or "neon";
the default is the best of this CPU, or what the environment variable FASTBP_ISA says.

Errors: TypeError for another dtype; ValueError for shapes that do not fit, for an `out` that cannot be used, and for an
`isa` that is unknown or that this CPU lacks.

Each function stands on one of typed memoryviews, for Cython code of your own: `fbp_linear_forward` under
`linear_forward`, and so on, for float and double. They take results, then inputs, then numbers, need no GIL, check all
shapes before they touch any memory, and return 0 or raise; updates return whether all parameters are finite. Where a
result or an input may be left out, None says so; the dtype is then chosen by hand, as in `fbp_mse[float](…)`. Labels
must stay as they are meanwhile::

    from fastbp.engine.kernels cimport fbp_activation, fbp_linear_forward

    def hidden(const float[:, ::1] x, const float[:, ::1] W, const float[::1] b, float[:, ::1] y):
        cdef int tanh = fbp_activation("tanh")
        with nogil:
            fbp_linear_forward[float](y, None, x, W, b, tanh, 0.0)
"""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

from fastbp.engine.native cimport (
    fbp_begin,  # no-cython-lint: kernels.pxi uses it
    fbp_table,
    fbp_update,  # no-cython-lint
    selected_table,
    table_named,
)

import numpy as np

cdef object _empty = np.empty
cdef object _FLOAT32 = np.dtype("float32")
cdef object _FLOAT64 = np.dtype("float64")

cdef const fbp_table *_selected = selected_table()


# ---- what kernels of typed memoryviews check ------------------------------------------------------------------------

cdef int64_t MOST_WHOLE = 2**62 - 1     # two of them add up without overflow


cdef inline int _fit1(const char *kernel, const char *name, const char *dims, Py_ssize_t a,
                      Py_ssize_t A) except -1 nogil:
    """Raise ValueError unless an array of one axis has the size that it should."""
    return 0 if a == A else _misfit(kernel, name, dims, 1, a, 0, A, 0)


cdef inline int _fit2(const char *kernel, const char *name, const char *dims, Py_ssize_t a, Py_ssize_t b,
                      Py_ssize_t A, Py_ssize_t B) except -1 nogil:
    return 0 if a == A and b == B else _misfit(kernel, name, dims, 2, a, b, A, B)


cdef int _misfit(const char *kernel, const char *name, const char *dims, int axes, Py_ssize_t a, Py_ssize_t b,
                 Py_ssize_t A, Py_ssize_t B) except -1 with gil:
    for dim, size, wanted in zip(dims.decode().split(", "), (a, b), (A, B)):
        if size != wanted:
            raise ValueError(f"{kernel.decode()}: {name.decode()} has shape {_tuple(axes, a, b)}; expected "
                             f"{_shape_text(dims)} with {dim} = {wanted}")
    return 0


cdef tuple _tuple(int axes, Py_ssize_t a, Py_ssize_t b):
    if axes == 1:
        return (a,)
    return (a, b)


cdef str _shape_text(const char *dims):
    text = dims.decode()
    return f"({text})" if ", " in text else f"({text},)"


cdef int _none(const char *kernel, const char *name) except -1 with gil:
    raise ValueError(f"{kernel.decode()}: {name.decode()} is None; expected an array")


cdef int _odd(const char *kernel, const char *name, int64_t columns) except -1 with gil:
    raise ValueError(f"{kernel.decode()}: {name.decode()} has {columns} columns; expected an even number")


cdef int _no_share(const char *kernel, const char *name, double value) except -1 with gil:
    raise ValueError(f"{kernel.decode()}: {name.decode()} is {value:g}; expected a number from 0 up to, but not "
                     "including, 1")


cdef int _no_memory(const char *kernel) except -1 with gil:
    raise MemoryError(f"{kernel.decode()}: there is no memory to transpose parts of W in")


cdef int _no_whole(const char *kernel, const char *name, value, int bits=62) except -1:
    raise ValueError(f"{kernel.decode()}: {name.decode()} is {value!r}; expected a whole number from 0 to "
                     f"2**{bits} - 1")


cdef inline int _check_whole(const char *kernel, const char *name, int64_t value) except -1 nogil:
    if not 0 <= value <= MOST_WHOLE:
        with gil:
            _no_whole(kernel, name, value)
    return 0


cdef inline int _check_count(const char *kernel, const char *name, int64_t value) except -1 nogil:
    if not 1 <= value <= MOST_WHOLE:
        with gil:
            raise ValueError(f"{kernel.decode()}: {name.decode()} is {value}; expected a whole number from 1 to "
                             "2**62 - 1")
    return 0


cdef inline int _check_activation(const char *kernel, int32_t act) except -1 nogil:
    if not _is_activation(act):
        with gil:
            raise ValueError(f"{kernel.decode()}: act is {act}; expected a number that fbp_activation gives")
    return 0


cdef int _check_labels(const char *kernel, const char *name, const int64_t *labels, int64_t n,
                       int64_t limit) except -1 nogil:
    """Labels index memory in C: one out of range must not get there."""
    cdef int64_t i
    for i in range(n):
        if not 0 <= labels[i] < limit:
            with gil:
                raise ValueError(f"{kernel.decode()}: {name.decode()} has the label {labels[i]}; expected labels from "
                                 f"0 to {limit - 1}")
    return 0


cdef const void *fbp_isa(str name) except NULL:
    """Return what the functions of typed memoryviews take as `isa`; ValueError for what this CPU lacks."""
    return table_named(name)


cdef int32_t fbp_activation(str name) except -1:
    """Return what they take as `act`: 1 and so on are no promise, the names are."""
    return _code_of("fbp_activation", name)


cdef int32_t _code_of(const char *kernel, act) except -1:
    code = ACTIVATIONS.get(act) if isinstance(act, str) else None
    if code is None:
        raise ValueError(f"{kernel.decode()}: act is {act!r}; expected one of {', '.join(map(repr, ACTIVATIONS))}")
    return code


# ---- a call from Python ---------------------------------------------------------------------------------------------

cdef extern from *:
    """
    enum { FBP_ARRAYS = 10, FBP_SIZES = 5, FBP_NUMBERS = 8 };

    /* One axis of an array: a size, the sum of two (plus is -1 for one alone), or a part of it. */
    typedef struct fbp_axis {
        int size, plus, divisor;
    } fbp_axis;

    typedef struct fbp_array {
        const char *name;
        char role;                  /* 'r' read, 'w' weights, 'c' changed in place, 'o' result */
        char code;                  /* 'T' float or double, 'd' double, 'q' int64 */
        int optional;
        int axes;
        fbp_axis axis[2];
    } fbp_array;

    /* What a call from Python gives a kernel: arrays, first those that it is given, then its results. */
    typedef struct fbp_signature {
        const char *name;
        const char *sizes[FBP_SIZES];   /* first those that are asked for */
        int asked;
        int any_shape;              /* all arrays have the shape of the first one */
        int in_place;               /* and a result may be written over an input */
        int inputs, results;
        fbp_array arrays[FBP_ARRAYS];
    } fbp_signature;

    /* Points a typed memoryview at array i of a call, which holds the buffer. The memoryview is a copy of one of the
     * blanks below, and so valid by itself; to make one from a Python object takes four times as long. */
    #define FBP_AIM1(v, call, i)                                                            \
        ((v).data = (char *)(call)->at[i],                                                  \
         (v).shape[0] = (call)->view[i].len / (call)->view[i].itemsize,                     \
         (v).strides[0] = (call)->view[i].itemsize)
    #define FBP_AIM2(v, call, i)                                                            \
        ((v).data = (char *)(call)->at[i],                                                  \
         (v).shape[0] = (call)->view[i].shape[0], (v).shape[1] = (call)->view[i].shape[1],  \
         (v).strides[0] = (call)->view[i].itemsize * (call)->view[i].shape[1],              \
         (v).strides[1] = (call)->view[i].itemsize)
    """
    enum:
        FBP_ARRAYS, FBP_SIZES, FBP_NUMBERS

    ctypedef struct fbp_axis:
        int size, plus, divisor

    ctypedef struct fbp_array:
        const char *name
        char role, code
        int optional, axes
        fbp_axis axis[2]

    ctypedef struct fbp_signature:
        const char *name
        const char *sizes[1]
        int asked, any_shape, in_place, inputs, results
        fbp_array arrays[1]


cdef struct Call:
    const fbp_signature *kernel
    const void *isa
    char code                   # of its real numbers, which the first array decides: 'f' or 'd', or 0 before
    int n                       # arrays held or left out
    bint own[FBP_ARRAYS]        # made here: nobody else has it
    void *at[FBP_ARRAYS]        # NULL for one that is left out
    Py_buffer view[FBP_ARRAYS]
    int64_t size[FBP_SIZES]     # -1 before one is known
    void *labels                # a copy that other threads cannot change


cdef struct Numbers:
    double real[FBP_NUMBERS]
    int64_t whole[FBP_NUMBERS]
    uint64_t key[FBP_NUMBERS]
    int32_t act


ctypedef int (*Aimed)(Call *call, const Numbers *numbers) except -1


cdef extern from "Python.h":
    int get_buffer "PyObject_GetBuffer"(object given, Py_buffer *view, int flags) noexcept  # -1, and an error is set
    void PyErr_Clear() noexcept


cdef extern from *:
    void aim_f1 "FBP_AIM1"(float[::1] view, Call *call, int i)
    void aim_d1 "FBP_AIM1"(double[::1] view, Call *call, int i)
    void aim_f2 "FBP_AIM2"(float[:, ::1] view, Call *call, int i)
    void aim_d2 "FBP_AIM2"(double[:, ::1] view, Call *call, int i)
    void aim_const_f1 "FBP_AIM1"(const float[::1] view, Call *call, int i)
    void aim_const_d1 "FBP_AIM1"(const double[::1] view, Call *call, int i)
    void aim_const_f2 "FBP_AIM2"(const float[:, ::1] view, Call *call, int i)
    void aim_const_d2 "FBP_AIM2"(const double[:, ::1] view, Call *call, int i)
    void aim_const_q1 "FBP_AIM1"(const int64_t[::1] view, Call *call, int i)


cdef float[::1] _f1 = np.zeros(1, np.float32)
cdef double[::1] _d1 = np.zeros(1, np.float64)
cdef float[:, ::1] _f2 = np.zeros((1, 1), np.float32)
cdef double[:, ::1] _d2 = np.zeros((1, 1), np.float64)
cdef int64_t[::1] _q1 = np.zeros(1, np.int64)


cdef object _run(const fbp_signature *kernel, Aimed f32, Aimed f64, tuple given, out, isa, Numbers *numbers):
    """Run a kernel on what Python gives; return its results, or, if it has none, what it returns, as a bool."""
    cdef Call call
    cdef int i, status
    call.kernel, call.code, call.n, call.labels, call.isa = kernel, 0, 0, NULL, _selected
    if isa is not None:
        if not isinstance(isa, str):
            raise TypeError(f"{kernel.name.decode()}: isa is {isa!r}; expected a name such as 'generic'")
        call.isa = table_named(isa)
    for i in range(FBP_SIZES):
        call.size[i] = numbers.whole[i] if i < kernel.asked else -1
    try:
        for i in range(kernel.inputs):
            _take(&call, &kernel.arrays[i], given[i])
        results = _results(&call, out) if kernel.results else None
        _check_memory(&call)
        status = f32(&call, numbers) if call.code == c"f" else f64(&call, numbers)
    finally:
        for i in range(call.n):
            PyBuffer_Release(&call.view[i])
        PyMem_Free(call.labels)
    return results if kernel.results else bool(status)


# ---- holding arrays -------------------------------------------------------------------------------------------------

cdef int _take(Call *call, const fbp_array *array, given) except -1:
    """Hold an array that is given, or a copy of it if it is only read; note the sizes that it tells."""
    cdef int i
    cdef bint written = array.role == c"c"
    if given is None and array.role == c"w":
        given = _equal_weights(call, _extent(call, array, 0))
    if given is None and array.optional:
        memset(&call.view[call.n], 0, sizeof(Py_buffer))
        call.at[call.n] = NULL
        call.n += 1
        return 0
    if not _hold(call, array, given, written):
        _mend(call, array, given, written)
    if array.code == c"q":
        _copy_labels(call)
    for i in range(0 if call.kernel.any_shape else array.axes):
        _learn(call, array, i, call.view[call.n - 1].shape[i])
    return 0


cdef inline int _learn(Call *call, const fbp_array *array, int i, int64_t given) except -1:
    """Note the size that an axis tells, or compare it with what is known."""
    cdef fbp_axis axis = array.axis[i]
    if axis.plus < 0 and axis.divisor == 1 and call.size[axis.size] < 0:
        call.size[axis.size] = given
    elif given != _extent(call, array, i):
        shape = tuple([call.view[call.n - 1].shape[j] for j in range(array.axes)])
        raise ValueError(f"{_name(call)}: {array.name.decode()} has shape {shape}; expected {_dims(call, array)} with "
                         f"{_dim(call, array, i)} = {_extent(call, array, i)}")
    return 0


cdef int _mend(Call *call, const fbp_array *array, given, bint written) except -1:
    """Hold a copy of what is not held as it is, or raise what is wrong with it."""
    label = array.name.decode()
    if written:
        _check_writable(call, label, given)
    try:
        values = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{_name(call)}: {label} is no array: {error}") from None
    wanted = np.int64 if array.code == c"q" else _dtype(call, array) if call.code else None
    if wanted is not None and values.dtype != wanted or wanted is None and values.dtype not in (_FLOAT32, _FLOAT64):
        as_first = f", as {call.kernel.arrays[0].name.decode()} has" if call.code and array.code == c"T" else ""
        raise TypeError(f"{_name(call)}: {label} has dtype {values.dtype}; expected "
                        f"{np.dtype(wanted) if wanted is not None else 'float32 or float64'}{as_first}")
    if not call.kernel.any_shape and values.ndim != array.axes:
        raise ValueError(f"{_name(call)}: {label} has shape {values.shape}; expected {array.axes} "
                         f"{'axis' if array.axes == 1 else 'axes'}, {_dims(call, array)}")
    if call.kernel.any_shape and call.n and values.shape != _shape(call, array):
        raise ValueError(f"{_name(call)}: {label} has shape {values.shape}; expected {_shape(call, array)}, the shape "
                         f"of {call.kernel.arrays[0].name.decode()}")
    if written or not _hold(call, array, np.array(values, order="C", copy=True, subok=False), False):
        raise TypeError(f"{_name(call)}: {label} gives no access to its memory")
    return 0


cdef bint _hold(Call *call, const fbp_array *array, given, bint written) except -1:
    """Hold an array; False if it is none, or does not fit."""
    cdef Py_buffer *view = &call.view[call.n]
    if get_buffer(given, view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if written else 0)) != 0:
        PyErr_Clear()
        return False
    if not (_is_of(view, call.code if array.code == c"T" else array.code) and _has_axes(call, view, array.axes)):
        PyBuffer_Release(view)
        return False
    if not call.code:
        call.code = view.format[0]
    call.at[call.n], call.own[call.n] = view.buf, False
    call.n += 1
    return True


cdef bint _is_of(const Py_buffer *view, char code) noexcept:
    """Whether a buffer has aligned elements of a format: 'f', 'd', 'q' for int64, 0 for either of the first two."""
    if view.format == NULL or not view.format[0] or view.format[1]:
        return False
    cdef char format = view.format[0]
    if code == c"q":
        if view.itemsize != 8 or not (format == c"q" or format == c"l"):
            return False
    elif format != code and (code or not (format == c"f" or format == c"d")):
        return False
    return <size_t> view.buf % <size_t> view.itemsize == 0


cdef bint _has_axes(const Call *call, const Py_buffer *view, int axes) noexcept:
    """Whether a buffer has so many axes, or the shape of the first array."""
    cdef int i
    if not call.kernel.any_shape:
        return view.ndim == axes
    if call.n == 0:
        return True
    if view.ndim != call.view[0].ndim:
        return False
    for i in range(view.ndim):
        if view.shape[i] != call.view[0].shape[i]:
            return False
    return True


cdef int _copy_labels(Call *call) except -1:
    cdef Py_buffer *view = &call.view[call.n - 1]
    call.labels = PyMem_Malloc(view.len)
    if call.labels == NULL:
        raise MemoryError(f"{_name(call)}: no memory for a copy of the labels")
    memcpy(call.labels, view.buf, view.len)
    call.at[call.n - 1] = call.labels
    return 0


cdef object _equal_weights(const Call *call, int64_t n):
    """Return 1 / n for each of n rows."""
    weights = _empty((n,), _FLOAT64 if call.code == c"d" else _FLOAT32)
    weights.fill(1.0 / max(n, 1))
    return weights


cdef object _results(Call *call, out):
    """Hold all results, made or given; return one, or a tuple of them."""
    cdef int n = call.kernel.results
    cdef const fbp_array *arrays = &call.kernel.arrays[call.kernel.inputs]
    if n == 1:
        return _result(call, arrays, "out", out)
    if out is not None and (not isinstance(out, tuple) or len(out) != n):
        names = ", ".join([arrays[i].name.decode() for i in range(n)])
        raise TypeError(f"{_name(call)}: out is {type(out).__name__!r}; expected a tuple ({names})")
    cdef list results = []
    for i in range(n):
        if out is not None and out[i] is None and arrays[i].optional:
            memset(&call.view[call.n], 0, sizeof(Py_buffer))
            call.at[call.n] = NULL
            call.n += 1
            results.append(None)
        else:
            results.append(_result(call, &arrays[i], i, None if out is None else out[i]))
    return tuple(results)


cdef object _result(Call *call, const fbp_array *array, label, given):
    made = given is None
    if made:
        given = _empty(_shape(call, array), _dtype(call, array))
    cdef int i, n = call.n
    cdef bint fits = _hold(call, array, given, True)
    for i in range(array.axes if fits and not call.kernel.any_shape else 0):
        fits = fits and call.view[n].shape[i] == _extent(call, array, i)
    if not fits:
        label = label if isinstance(label, str) else f"out[{label}] ({array.name.decode()})"
        _check_writable(call, label, given)
        if given.dtype != _dtype(call, array):
            raise TypeError(f"{_name(call)}: {label} has dtype {given.dtype}; expected {_dtype(call, array)}")
        raise ValueError(f"{_name(call)}: {label} has shape {given.shape}; expected {_shape(call, array)}")
    call.own[n] = made
    return given


cdef int _check_writable(const Call *call, str label, array) except -1:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{_name(call)}: {label} is {type(array).__name__!r}; expected a NumPy array")
    if not array.flags.writeable:
        raise ValueError(f"{_name(call)}: {label} is read-only; give an array that can be written to")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"{_name(call)}: {label} is not C-contiguous and aligned; give an array that is")
    return 0


cdef int _check_memory(const Call *call) except -1:
    """Refuse given arrays that are written and overlap another one, unless that is the input of the same element."""
    cdef int i, j
    for i in range(call.n):
        if call.own[i] or call.at[i] == NULL or not _is_written(call, i):
            continue
        for j in range(call.n):
            if i == j or call.at[j] == NULL or not _overlap(&call.view[i], &call.view[j]):
                continue
            if _is_written(call, j):
                raise ValueError(f"{_name(call)}: {_label(call, i)} shares memory with another result; give another "
                                 "array")
            if not call.kernel.in_place or call.at[i] != call.at[j]:
                raise ValueError(f"{_name(call)}: {_label(call, i)} shares memory with {_label(call, j)}; give another "
                                 "array")
    return 0


cdef bint _is_written(const Call *call, int i) noexcept:
    return call.kernel.arrays[i].role == c"c" or call.kernel.arrays[i].role == c"o"


cdef bint _overlap(const Py_buffer *a, const Py_buffer *b) noexcept:
    return a.len and b.len and <size_t> a.buf < <size_t> b.buf + b.len and <size_t> b.buf < <size_t> a.buf + a.len


# ---- names and shapes of arrays -------------------------------------------------------------------------------------

cdef str _name(const Call *call):
    return call.kernel.name.decode()


cdef str _label(const Call *call, int i):
    return "out" if call.kernel.arrays[i].role == c"o" else call.kernel.arrays[i].name.decode()


cdef int64_t _extent(const Call *call, const fbp_array *array, int i) noexcept:
    cdef fbp_axis axis = array.axis[i]
    return (call.size[axis.size] + (call.size[axis.plus] if axis.plus >= 0 else 0)) // axis.divisor


cdef object _dtype(const Call *call, const fbp_array *array):
    return _FLOAT64 if array.code == c"d" or call.code == c"d" else _FLOAT32


cdef tuple _shape(const Call *call, const fbp_array *array):
    """Return the shape that an array should have."""
    cdef int i
    if call.kernel.any_shape:
        return tuple([call.view[0].shape[i] for i in range(call.view[0].ndim)])
    if array.axes == 1:
        return (_extent(call, array, 0),)
    return (_extent(call, array, 0), _extent(call, array, 1))


cdef str _dims(const Call *call, const fbp_array *array):
    """Return it in the names of sizes: "(B, I)"."""
    names = ", ".join([_dim(call, array, i) for i in range(array.axes)])
    return f"({names},)" if array.axes == 1 else f"({names})"


cdef str _dim(const Call *call, const fbp_array *array, int i):
    cdef fbp_axis axis = array.axis[i]
    name = call.kernel.sizes[axis.size].decode()
    if axis.plus >= 0:
        name += f" + {call.kernel.sizes[axis.plus].decode()}"
    return name if axis.divisor == 1 else f"{name} / {axis.divisor}"


# ---- numbers --------------------------------------------------------------------------------------------------------

cdef double _number(const fbp_signature *kernel, const char *name, value) except? -1.0:
    if isinstance(value, float):
        return value
    try:
        return value
    except TypeError:
        raise TypeError(f"{kernel.name.decode()}: {name.decode()} is {value!r}; expected a number") from None


cdef int64_t _whole(const fbp_signature *kernel, const char *name, value) except -1:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= value <= MOST_WHOLE:
        _no_whole(kernel.name, name, value)
    return value


cdef uint64_t _key(const fbp_signature *kernel, const char *name, value) except? 0:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= value < 2**64:
        _no_whole(kernel.name, name, value, 64)
    return value


include "scratch.pxi"
include "kernels.pxi"
