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
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uint64_t  # no-cython-lint: kernels.pxi uses them

from fastbp.engine.native cimport fbp_table, selected_table, table_named

import numpy as np


cdef void *_address(array) except? NULL:
    """Return where an array begins, NULL for None. It is contiguous, and the caller holds it."""
    cdef Py_buffer buffer
    cdef void *address = NULL
    if array is not None:
        PyObject_GetBuffer(array, &buffer, PyBUF_SIMPLE)
        address = buffer.buf
        PyBuffer_Release(&buffer)
    return address


cdef class _Arguments:
    """Checks the arguments of one call, and learns the sizes from their shapes."""

    cdef const fbp_table *table
    cdef str kernel
    cdef object dtype
    cdef str first
    cdef dict sizes, owners
    cdef tuple shape
    cdef list inputs, written
    cdef bint is_double

    def __init__(self, str kernel, isa):
        self.kernel = kernel
        if isa is not None and not isinstance(isa, str):
            raise TypeError(f"{kernel}: isa is {isa!r}; expected a name such as 'generic'")
        self.table = selected_table() if isa is None else table_named(isa)
        self.dtype = None
        self.sizes, self.owners, self.inputs, self.written = {}, {}, [], []

    cdef bind(self, str size, value):
        """Set a size that is given as a number."""
        self.sizes[size] = self.check_whole(size, value, 62)
        self.owners[size] = "given"

    cdef input(self, str name, value, tuple dims, str dtype=None):
        """Return an input as a contiguous array."""
        array = np.asarray(value)
        self.check_dtype(name, array, dtype)
        self.check_shape(name, array, dims)
        if not (array.flags.c_contiguous and array.flags.aligned):
            array = array.copy()
        self.inputs.append((name, array))
        return array

    cdef changed(self, str name, array, tuple dims):
        """Return an array that is changed in place."""
        self.check_writable(name, array)
        self.check_dtype(name, array, None)
        self.check_shape(name, array, dims)
        self.written.append((name, array))
        return array

    cdef tuple outputs(self, out, tuple specs):
        """Return the arrays for the results, given or made. A spec: name, dims, whether None skips it, if float64."""
        if out is not None and len(specs) == 1:
            out = (out,)
        if out is not None and (not isinstance(out, tuple) or len(out) != len(specs)):
            names = ", ".join(spec[0] for spec in specs)
            raise TypeError(f"{self.kernel}: out is {type(out).__name__!r}; expected a tuple ({names})")
        results = []
        for i, (name, dims, nullable, as_double) in enumerate(specs):
            dtype = np.dtype("float64") if as_double else self.dtype
            shape = self.shape if dims == ("n",) else tuple([self.extent(dim) for dim in dims])
            if out is None or (out[i] is None and not nullable):
                results.append(np.empty(shape, dtype))
            elif out[i] is None:
                results.append(None)
            else:
                label = "out" if len(specs) == 1 else f"out[{i}] ({name})"
                self.check_writable(label, out[i])
                if out[i].dtype != dtype:
                    raise TypeError(f"{self.kernel}: {label} has dtype {out[i].dtype}; expected {dtype}")
                if out[i].shape != shape:
                    raise ValueError(f"{self.kernel}: {label} has shape {out[i].shape}; expected {shape}")
                results.append(out[i])
                self.written.append(("out", out[i]))
        return tuple(results)

    cdef check_memory(self, tuple outs, bint elementwise):
        """Refuse given results that overlap another array, unless one is an input itself and that is harmless."""
        for i, (name, array) in enumerate(self.written):
            for other_name, other in self.inputs:
                if np.may_share_memory(array, other) and not (
                        elementwise and array.ctypes.data == other.ctypes.data):
                    raise ValueError(f"{self.kernel}: {name} shares memory with {other_name}; give another array")
            for _, other in self.written[:i]:
                if np.may_share_memory(array, other):
                    raise ValueError(f"{self.kernel}: {name} shares memory with another result; give another array")

    cdef extent(self, str dim):
        """Return the value of a dimension such as "R", "na + nb" or "D / 2"."""
        if dim.endswith(" / 2"):
            size = dim.removesuffix(" / 2")
            whole = self.sizes[size]
            if whole % 2:
                raise ValueError(f"{self.kernel}: {self.owners[size]} has {whole} columns; expected an even "
                                 "number")
            return whole // 2
        return sum([self.sizes[part] for part in dim.split(" + ")])

    cdef check_dtype(self, str name, array, str dtype):
        if dtype is not None:
            if array.dtype != dtype:
                raise TypeError(f"{self.kernel}: {name} has dtype {array.dtype}; expected {dtype}")
        elif self.dtype is None:
            if array.dtype != np.float32 and array.dtype != np.float64:
                raise TypeError(f"{self.kernel}: {name} has dtype {array.dtype}; expected float32 or float64")
            self.dtype, self.first, self.is_double = array.dtype, name, array.dtype == np.float64
        elif array.dtype != self.dtype:
            raise TypeError(f"{self.kernel}: {name} has dtype {array.dtype}; expected {self.dtype}, as {self.first} "
                            "has")

    cdef check_shape(self, str name, array, tuple dims):
        """Compare an array's shape with what is known of the sizes, and learn the others."""
        shape = array.shape
        if dims == ("n",):
            if self.shape is None:
                self.shape, self.sizes["n"], self.owners["n"] = shape, array.size, name
            elif shape != self.shape:
                raise ValueError(f"{self.kernel}: {name} has shape {shape}; expected {self.shape}, the shape of "
                                 f"{self.owners['n']}")
            return
        text = f"({', '.join(dims)}{',' * (len(dims) == 1)})"
        if len(shape) != len(dims):
            raise ValueError(f"{self.kernel}: {name} has shape {shape}; expected {len(dims)} "
                             f"{'axis' if len(dims) == 1 else 'axes'}, {text}")
        for axis, dim in enumerate(dims):
            if dim.isidentifier() and dim not in self.sizes:
                self.sizes[dim], self.owners[dim] = shape[axis], name
            elif shape[axis] != self.extent(dim):
                raise ValueError(f"{self.kernel}: {name} has shape {shape}; expected {text} with "
                                 f"{dim} = {self.extent(dim)}")

    cdef check_writable(self, str name, array):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{self.kernel}: {name} is {type(array).__name__!r}; expected a NumPy array")
        if not array.flags.writeable:
            raise ValueError(f"{self.kernel}: {name} is read-only; give an array that can be written to")
        if not (array.flags.c_contiguous and array.flags.aligned):
            raise ValueError(f"{self.kernel}: {name} is not C-contiguous and aligned; give an array that is")

    cdef check_whole(self, str name, value, int bits):
        if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= value < 2**bits:
            raise ValueError(f"{self.kernel}: {name} is {value!r}; expected a whole number from 0 to 2**{bits} - 1")
        return value

    cdef check_rate(self, rate):
        if not 0 <= rate < 1:
            raise ValueError(f"{self.kernel}: rate is {rate!r}; expected a number from 0 up to, but not including, 1")

    cdef check_activation(self, act):
        if act not in ACTIVATIONS:
            raise ValueError(f"{self.kernel}: act is {act!r}; expected one of {', '.join(map(repr, ACTIVATIONS))}")

    cdef check_labels(self, str name, labels, str classes):
        """Labels index the columns in C: one out of range must not get there."""
        if labels.size and not 0 <= labels.min() <= labels.max() < self.sizes[classes]:
            wrong = labels[(labels < 0) | (labels >= self.sizes[classes])][0]
            raise ValueError(f"{self.kernel}: {name} has the label {wrong}; expected labels from 0 to "
                             f"{self.sizes[classes] - 1}")

    cdef equal_weights(self, str rows):
        return np.full(self.sizes[rows], 1 / max(self.sizes[rows], 1), self.dtype)

    cdef bint update(self, int32_t optimizer, p, g, dict state, double lr, step, tuple own,
                     double weight_decay) except -1:
        """Run an optimizer's update: whether all parameters are finite."""
        cdef double hyper[16]
        cdef void *addresses[2]
        cdef void *parameters
        cdef void *gradient
        cdef int64_t n
        cdef int32_t failed
        hyper[:] = [lr, self.check_whole("step", step, 53)] + 14 * [0.0]
        for i, number in enumerate(own):
            hyper[3 + i] = number
        p = self.changed("p", p, ("n",))
        states = [self.changed(name, array, ("n",)) for name, array in state.items()]
        g = self.input("g", g, ("n",))
        self.check_memory((), False)
        self.table.begin[optimizer](hyper)
        for i, array in enumerate(states):
            addresses[i] = _address(array)
        parameters, gradient, n = _address(p), _address(g), p.size
        with nogil:
            failed = self.table.update[self.is_double][optimizer](parameters, addresses, gradient, n, hyper,
                                                                  weight_decay)
        return not failed


include "kernels.pxi"
