# Included by native.pyx: what a plan takes and gives as it is, without a look at anything but its memory.

cdef object _ndarray = np.ndarray
# arrays of fewer bytes are copied in less time than it takes to hold their memory where it is
cdef int64_t _SMALL = 2048


cdef object _hold(object array):
    """Return what keeps the memory of an array where it is: NumPy resizes no array that has a weak reference."""
    base = array.base
    while type(base) is _ndarray:
        array, base = base, base.base
    return PyWeakref_NewRef(array, None)


cdef class Borders(Structs):
    """What comes in and goes out of a lowered graph, and how an array that fits is fed at once."""

    cdef int64_t *feed_numbers
    cdef int *feed_kinds
    cdef object input_shape, output_shape, target_shape, _held_x, _held_y
    cdef char *output_at
    cdef bint target_is_flat

    def __cinit__(self, memory, lowering, *_):
        self.feed_numbers = <int64_t *> _zeros(len(lowering.feeds), sizeof(int64_t))
        self.feed_kinds = <int *> _zeros(len(lowering.feeds), sizeof(int))
        self._describe_borders()

    def __dealloc__(self):
        free(self.feed_numbers)
        free(self.feed_kinds)

    def _describe_borders(self):
        """Note what comes in and goes out, for the ways that take arrays as they are."""
        low = self.lowering
        for i, node in enumerate(low.feeds):
            self.feed_numbers[<int64_t> i] = self._number_of[id(node)]
            self.feed_kinds[<int64_t> i] = INT64 if node.y.kind == "int64" else FLOAT64 if self.dtype else FLOAT32
        self.input_shape, self.output_shape = low.graph.inputs[0].shape, low.graph.outputs[0].shape
        self.output_at = <char *> self._at(low.values[low.graph.outputs[0]])
        if low.purpose.losses:
            self.target_shape = low.purpose.losses[0].target_shape
            self.target_is_flat = prod(self.target_shape) == 1 and low.purpose.losses[0].target_kind == "real"

    cdef int64_t _quick_batch(self, object x, object y, tuple domain) except -1:
        """Feed one input and targets within their domain: return their rows, or 0 where they do not fit."""
        cdef int64_t rows = self._quick_feed(0, x, self.input_shape, False)
        if rows == 0 or self._quick_feed(1, y, self.target_shape, self.target_is_flat) != rows \
                or not self._targets_fit(rows, domain[0], domain[1]):
            return 0
        return rows

    cdef int _let_go(self) except -1:
        """Let go of what was fed at once."""
        self._held_x = self._held_y = None
        return 0

    cdef int64_t _quick_feed(self, int feed, object array, object shape, bint flat) except -1:
        """Feed one array if it fits, where it is or converted: return its rows, or 0 where it does not fit.

        If it may be flat, its shape may be (rows,).
        """
        cdef Py_buffer view
        cdef fbp_node *n = &self.nodes[self.feed_numbers[feed]]
        cdef int i, kind, wanted = self.feed_kinds[feed]
        cdef bint fits
        if type(array) is not _ndarray:
            return 0
        try:
            PyObject_GetBuffer(array, &view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)
        except (BufferError, ValueError):  # NumPy raises ValueError for arrays that are not contiguous, and for dates
            return 0
        kind = kind_of(view.format[0]) if view.format[1] == 0 else OTHER
        fits = kind != OTHER and <uintptr_t> view.buf % <size_t> view.itemsize == 0
        if view.ndim == len(shape) + 1:
            for i in range(view.ndim - 1):
                fits = fits and view.shape[i + 1] == <Py_ssize_t> shape[i]
        else:
            fits = fits and flat and view.ndim == 1
        cdef int64_t rows = view.shape[0] if fits and view.shape[0] <= self.capacity else 0
        cdef int64_t size = view.len // rows if rows else 0
        n.x[0] = view.buf
        if rows and kind != wanted:
            size = size // view.itemsize * (4 if wanted == FLOAT32 else 8)
            if convert(n.y, wanted, view.buf, kind, view.len // view.itemsize):
                n.x[0] = n.y
            else:
                rows = 0
        elif rows and (wanted == INT64 or view.len <= _SMALL):
            # labels are checked, and then they decide addresses: nobody else may change these
            memcpy(n.y, view.buf, view.len)
            n.x[0] = n.y
        elif rows and feed:
            self._held_y = _hold(array)
        elif rows:
            self._held_x = _hold(array)
        n.dim[0] = size
        if rows and wanted == INT64 and n.dim[1]:
            rows = rows if all_between(<const int64_t *> n.x[0], rows * size // 8, n.dim[2],
                                       n.dim[1] - 1) else 0
        if rows and wanted == INT64 and n.dim[3]:
            rows = rows if columns_between(<const int64_t *> n.x[0], rows * size // 8, n.integers, n.dim[3]) else 0
        PyBuffer_Release(&view)
        return rows

    cdef bint _targets_fit(self, int64_t rows, double low, double high) noexcept:
        """Whether numbers are within the domain; that they are finite the loss will tell."""
        cdef const fbp_node *n = &self.nodes[self.feed_numbers[1]]
        cdef int64_t size = rows * n.dim[0]
        if self.feed_kinds[1] == INT64 or (low == -INFINITY and high == INFINITY):
            return True
        if self.feed_kinds[1] == FLOAT32:
            return all_between(<const float *> n.x[0], size // 4, low, high)
        return all_between(<const double *> n.x[0], size // 8, low, high)
