# cython: language_level=3, boundscheck=False, cdivision=True
"""Plans: graphs compiled once into C structs, then run without Python.

:class:`Plan` holds one lowered graph (``lowering.py``) over preallocated memory. The choice of an instruction set is
made in settings.pxi, once, at import. What hands it data is ``native_backend.py``.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from fastbp.engine.lowering import Ref, buffers_of, groups, nodes_of
from fastbp.engine.python_nodes import call
from fastbp.core.vector import aligned_zeros

include "settings.pxi"
include "conversions.pxi"


# ---- the plan ------------------------------------------------------------------------------------------------------

_PHASES = ("prepare", "forward_reduce", "forward", "backward_reduce", "backward", "gradient")
# what makes a task, in estimated nanoseconds
cdef double _TASK_COST = 8000


cdef fbp_entry _phase(const fbp_phases *phases, str name) noexcept:
    if name == "prepare":
        return phases.prepare
    if name == "forward_reduce":
        return phases.forward_reduce
    if name == "forward":
        return phases.forward
    if name == "backward_reduce":
        return phases.backward_reduce
    if name == "backward":
        return phases.backward
    return phases.gradient


_known_phases = {}
cdef object _ndarray = np.ndarray, _empty = np.empty


def op_phases(op: str) -> frozenset:
    """Return the names of the phases that the C twin of an op has.

    Raises
    ------
    ValueError
        If it has no C twin.
    """
    cdef int32_t number
    if op == "python":
        return frozenset(["call"])
    if op not in _known_phases:
        number = fbp_find_op(op.encode())
        if number < 0:
            raise ValueError(f'the op {op!r} has no native kernel; use backend="reference"')
        _known_phases[op] = frozenset(n for n in _PHASES if _phase(_table.op[0][number], n) != NULL)
    return _known_phases[op]


cdef int64_t _units(const fbp_node *node, int32_t dim) noexcept:
    return node.dim[dim] if dim >= 0 else 1


cdef void *_address(object array) except? NULL:
    """Where the elements of a contiguous array are; the caller keeps the array alive."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    cdef void *address = view.buf
    PyBuffer_Release(&view)
    return address


class Status:
    """What ``Plan.advance`` returns first."""

    OK, PAUSED = <int> FBP_OK, <int> FBP_PAUSED
    ERROR_LOSS, ERROR_GRADIENT = <int> FBP_ERROR_LOSS, <int> FBP_ERROR_GRADIENT
    ERROR_PARAMETER = <int> FBP_ERROR_PARAMETER


cdef int64_t _forks = 0


def _note_fork():
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


cdef class Gate:
    """Lets one thread at a time into a network: ``with gate:``, or RuntimeError."""

    cdef bint busy
    cdef int64_t forks

    cdef int enter(self) except -1:
        if self.busy and self.forks == _forks:
            raise RuntimeError("the network is in use by another thread, or by the call that this one is made from; "
                               "give each a network of its own (net.copy())")
        self.busy, self.forks = True, _forks
        return 0

    def __enter__(self):
        self.enter()

    def __exit__(self, *error):
        self.busy = False


cdef void _call_back(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch) noexcept nogil:
    """Run a node that is written in Python; what it raises stops the run."""
    if run.failed != NULL and run.failed[0]:
        return
    cdef uint64_t mode = fbp_flush_subnormals(0)
    with gil:
        plan = <Plan> node.aux
        error = call((<object> node.constants).call, plan, run.rows, bool(run.training), run.seed, run.step)
        if error is not None:
            plan.error = error
            if run.failed != NULL:
                run.failed[0] = 1
    fbp_set_float_mode(mode)


cdef class Plan:
    """One lowered graph over memory for up to ``capacity`` rows.

    Parameters
    ----------
    memory : Memory
    lowering : Lowering
    capacity : int
    programs : dict of str to list of Step
    """

    cdef fbp_node *nodes
    cdef fbp_step *steps
    cdef fbp_program *programs
    cdef double **row_losses
    cdef int64_t *loss_rows
    cdef char *scratch
    cdef int32_t scratch_threads
    cdef fbp_loop loop
    cdef fbp_segment *segments
    cdef fbp_direct *direct
    cdef int64_t n_direct
    cdef fbp_update_plan update
    cdef int32_t dtype
    cdef dict _number_of, _program_of, _offsets
    cdef object _arena, _real, _memory, _sources, _state
    cdef list _direct
    cdef list _node_list
    cdef readonly object lowering
    cdef readonly int64_t capacity, position
    # for the quick ways: what fits
    cdef Gate gate
    cdef object error
    cdef int32_t failed
    cdef int64_t *feed_numbers
    cdef int *feed_kinds
    cdef object input_shape, output_shape, target_shape
    cdef char *output_at
    cdef int64_t output_row_bytes, n_classes, n_programs
    cdef int64_t step_programs[3]
    cdef bint target_is_flat

    def __cinit__(self, memory, lowering, capacity, programs, Gate gate):
        self.lowering, self.capacity, self._memory, self.gate = lowering, capacity, memory, gate
        self.dtype = 1 if memory.dtype == "float64" else 0
        self._real = np.dtype(memory.dtype)
        self._node_list = nodes_of(programs.values())
        self._number_of = {id(n): i for i, n in enumerate(self._node_list)}
        self._lay_out()
        self.nodes = <fbp_node *> _zeros(len(self._node_list), sizeof(fbp_node))
        self.steps = <fbp_step *> _zeros(sum(map(len, programs.values())), sizeof(fbp_step))
        self.programs = <fbp_program *> _zeros(len(programs), sizeof(fbp_program))
        self.row_losses = <double **> _zeros(len(lowering.loss_nodes), sizeof(double *))
        self.loss_rows = <int64_t *> _zeros(len(lowering.loss_nodes), sizeof(int64_t))
        self.feed_numbers = <int64_t *> _zeros(len(lowering.feeds), sizeof(int64_t))
        self.feed_kinds = <int *> _zeros(len(lowering.feeds), sizeof(int))
        for i, node in enumerate(self._node_list):
            self._fill_node(&self.nodes[i], node)
        self._fill_programs(programs)
        for i, node in enumerate(lowering.loss_nodes):
            self.row_losses[i] = <double *> self._at(node.row_loss)
            self.loss_rows[i] = node.dims[0]
        self._sources = [None] * len(lowering.feeds)
        self._describe_borders()
        self._find_direct()

    def __dealloc__(self):
        free(self.nodes)
        free(self.steps)
        free(self.programs)
        free(self.row_losses)
        free(self.loss_rows)
        free(self.feed_numbers)
        free(self.feed_kinds)
        free(self.segments)
        free(self.direct)
        free(self.scratch)

    def _lay_out(self):
        """Give every buffer a place in the arena, each starting on a cache line of its own."""
        self._offsets = {}
        total = 0
        # no node may have a gradient that comes from outside: that of an output that is an input
        for b in {id(b): b for b in (*buffers_of(self._node_list), *self.lowering.grads.values())}.values():
            self._offsets[id(b)] = total
            size = (b.per_row * self.capacity + b.fixed) * (self._real.itemsize if b.kind == "real" else 8)
            # an odd number of cache lines between neighbours keeps them out of each other's cache sets
            total += (size + 127) // 64 * 64
        try:
            _may_allocate()
            self._arena = aligned_zeros(total, "uint8")
        except (MemoryError, ValueError) as error:
            raise MemoryError(f"running {self.capacity:,} rows at once needs {total / 2**30:,.1f} GiB, which cannot be "
                              "had; use smaller batches") from error

    def _describe_borders(self):
        """Note what comes in and goes out, for the ways that take arrays as they are."""
        low = self.lowering
        for i, node in enumerate(low.feeds):
            self.feed_numbers[<int64_t> i] = self._number_of[id(node)]
            self.feed_kinds[<int64_t> i] = INT64 if node.y.kind == "int64" else FLOAT64 if self.dtype else FLOAT32
        self.input_shape, self.output_shape = low.graph.inputs[0].shape, low.graph.outputs[0].shape
        self.output_at = <char *> self._at(low.values[low.graph.outputs[0]])
        self.output_row_bytes = prod(self.output_shape) * self._real.itemsize
        if low.settings.losses:
            self.target_shape = low.settings.losses[0].target_shape
            self.target_is_flat = prod(self.target_shape) == 1 and low.settings.losses[0].target_kind == "real"
            self.n_classes = low.settings.losses[0].native.dims[1]
        for i, name in enumerate(("prepare", "run", "finish_last")):
            self.step_programs[<int64_t> i] = self._program_of.get(name, 0)

    def _find_direct(self):
        """Note the places that can be pointed at the data set itself."""
        cdef fbp_node *n
        cdef const void **place
        self._direct = self.lowering.read_in_place(self._node_list)
        self.n_direct = len(self._direct)
        self.direct = <fbp_direct *> _zeros(max(self.n_direct, 1), sizeof(fbp_direct))
        for i, (number, field, _) in enumerate(self._direct):
            n = &self.nodes[<int64_t> number]
            if field == "target":
                place = <const void **> &n.target
            elif field == "weight":
                place = <const void **> &n.weight
            elif field == "in_from":
                place = <const void **> &n.in_from
            else:
                place = <const void **> &n.x[0 if field == "x0" else 1]
            self.direct[<int64_t> i].place = place

    cdef int _point_at_sources(self) except -1:
        """Point what can be at the arrays that are fed, from their first row on."""
        cdef int64_t i
        cdef fbp_node *n
        for i in range(self.n_direct):
            n = &self.nodes[self.feed_numbers[<int> self._direct[i][2]]]
            self.direct[i].source = <const char *> n.x[0]
            self.direct[i].row_bytes = n.dim[0]
        return 0

    cdef int _point_home(self) except -1:
        """Point it back at the plan's own memory."""
        cdef int64_t i
        for i in range(self.n_direct):
            self.direct[i].place[0] = self._at(self.lowering.feeds[self._direct[i][2]].y)
        return 0

    cdef void *_at(self, place) except? NULL:
        if place is None:
            return NULL
        if isinstance(place, Ref):
            return _address(getattr(self._memory, place.vector)[place.name])
        return <char *> _address(self._arena) + <int64_t> self._offsets[id(place)]

    cdef int _fill_node(self, fbp_node *n, node) except -1:
        cdef int i
        if node.call is not None:
            n.constants = <const void *> <void *> node                          # a node calls back: see _call_back
            n.aux = <void *> self
            n.row_loss = <double *> self._at(node.row_loss)
            return 0
        for i, place in enumerate(node.x):
            n.x[i] = self._at(place)
        for i, place in enumerate(node.dx):
            n.dx[i] = self._at(place)
        for i, place in enumerate(node.p):
            n.p[i] = self._at(place)
        for i, place in enumerate(node.dp):
            n.dp[i] = self._at(place)
        for i, place in enumerate(node.buffers):
            n.buffer[i] = self._at(place)
        for i, place in enumerate(node.save):
            n.save[i] = self._at(place)
        n.y, n.dy, n.aux, n.in_from = self._at(node.y), self._at(node.dy), self._at(node.aux), self._at(node.in_from)
        n.target, n.weight = self._at(node.target), self._at(node.weight)
        n.row_loss = <double *> self._at(node.row_loss)
        for i, size in enumerate(node.dims):
            n.dim[i] = size
        for i, value in enumerate(node.attrs):
            n.attr[i] = value
        if len(node.constants):
            kept = np.array(node.constants, dtype=self._real)
            self._offsets[id(node), "constants"] = kept          # kept alive with the plan
            n.constants = _address(kept)
        n.id, n.fused, n.bf16 = node.id, node.fused, node.bf16
        n.act, n.in_act = fbp_find_op(node.act.encode()), fbp_find_op(node.in_act.encode())
        n.act_alpha, n.in_alpha = node.act_alpha, node.in_alpha
        return 0

    cdef int _fill_programs(self, programs) except -1:
        cdef int64_t used = 0
        cdef fbp_step *s
        self._program_of, self.n_programs = {}, len(programs)
        for i, (name, steps) in enumerate(programs.items()):
            self._program_of[name] = i
            self.programs[i].steps = &self.steps[used]
            self.programs[i].n_steps = len(steps)
            self.programs[i].tile = self._tile()
            for step, group in groups(steps):
                s = &self.steps[used]
                s.node = &self.nodes[<int64_t> self._number_of[id(step.node)]]
                s.group, s.domain = group, 1 if step.stage else 0
                s.cost = step.cost(self.capacity)
                self._set_entry(s, step.node.op, step.phase)
                s.chunk = max(1, <int64_t> (_TASK_COST / s.cost))
                if step.node.op == "linear":         # rows of a weight: enough of them for tiles, few enough to share
                    s.chunk = max(s.chunk, min(max(s.units // 8, 64), 192))
                if s.chunk > 16:
                    s.chunk = (s.chunk + 11) // 12 * 12
                used += 1
        return 0

    cdef int _set_entry(self, fbp_step *s, str op, str phase) except -1:
        cdef const fbp_phases *phases
        s.units = s.node.dim[0]
        if phase == "feed":
            s.run = fbp_feed_rows
        elif phase == "update":
            s.run = fbp_update_units
        elif phase == "call":
            s.run, s.units = _call_back, 1
        elif phase == "accumulate_rows":
            s.run = _table.accumulate_phases[self.dtype].forward
        elif phase == "accumulate_units":
            s.run = _table.accumulate_phases[self.dtype].gradient
        else:
            phases = _table.op[self.dtype][fbp_find_op(op.encode())]
            s.run = _phase(phases, phase)
            s.units = _units(s.node, phases.prepare_units if phase == "prepare" else
                             phases.gradient_units if phase == "gradient" else phases.reduce_units)
        return 0

    def _tile(self) -> int:
        """Rows that go through the net together: few enough for the cache, enough to be worth fetching weights for."""
        row_bytes = sum(b.per_row for b in buffers_of(self._node_list)) * self._real.itemsize
        rows = 393216 // max(row_bytes, 1) // 48 * 48
        return min(max(rows, 256), max(self.capacity, 1))

    # ---- running --------------------------------------------------------------------------------------------------

    def feed(self, arrays: Sequence) -> None:
        """Say where inputs, targets and weights come from, in the order of ``lowering.feeds``."""
        cdef fbp_node *n
        arrays = [array if array.flags.aligned else array.copy() for array in arrays]
        self._sources = arrays                                   # keeps them alive
        self._point_home()
        for node, array in zip(self.lowering.feeds, arrays):
            n = &self.nodes[<int64_t> self._number_of[id(node)]]
            n.x[0] = _address(array)
            n.dim[0] = prod(array.shape[1:]) * array.itemsize

    cdef const fbp_program *_program(self, str name) except NULL:
        """A program that is ready to run."""
        self._make_ready()
        return &self.programs[<int64_t> self._program_of[name]]

    cdef int _make_ready(self) except -1:
        """Give all programs as many threads as are allowed now, and scratch memory for them."""
        cdef int64_t i
        cdef int32_t n = _threads
        if self.scratch_threads < n:
            scratch = <char *> _zeros(n * <size_t> FBP_SCRATCH_BYTES + 64, 1)
            free(self.scratch)
            self.scratch, self.scratch_threads = scratch, n
        for i in range(self.n_programs):
            self.programs[i].n_threads, self.programs[i].fork_cost = n, _fork_cost
            self.programs[i].scratch = self.scratch + (-<uintptr_t> self.scratch & 63)
        return 0

    def run(self, str name, int64_t rows, bint training) -> None:
        """Run one program once, on rows 0, 1, … of what is fed."""
        cdef fbp_run run
        cdef const fbp_program *program = self._program(name)
        memset(&run, 0, sizeof(run))
        run.rows, run.training = rows, training
        run.seed, run.step = self._memory.seed, self._memory.step
        self.failed, run.failed = 0, &self.failed
        with nogil:
            fbp_run_program(program, &run)
        self._raise_error()

    cdef int _raise_error(self) except -1:
        """Raise what a node written in Python raised."""
        error, self.error = self.error, None
        if error is not None:
            raise error
        return 0

    def total_loss(self, int64_t rows) -> float:
        """Return the loss of the last run."""
        return fbp_total_loss(self.row_losses, self.loss_rows, len(self.lowering.loss_nodes), rows)

    def view(self, buffer, shape: tuple, int64_t rows):
        """Return the array at a buffer: rows of the given shape."""
        start = self._offsets[id(buffer)]
        dtype = self._real if buffer.kind == "real" else np.dtype(buffer.kind)
        size = rows * prod(shape) * dtype.itemsize
        return self._arena[start:start + size].view(dtype).reshape(rows, *shape)

    def array(self, place, shape: tuple):
        """Return the array of a parameter's gradient: the network's own, or a buffer."""
        if isinstance(place, Ref):
            return getattr(self._memory, place.vector)[place.name]
        return self.view(place, shape, 1)[0]

    @property
    def memory(self):
        """The network's own arrays."""
        return self._memory

    def write(self, buffer, array) -> None:
        """Copy rows into a buffer."""
        memcpy(self._at(buffer), _address(array), array.nbytes)

    # ---- the quick ways: for contiguous arrays of numbers that fit --------------------------------------------------

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
        kind = _kind_of(view.format[0]) if view.format[1] == 0 else OTHER
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
            if _convert(n.y, wanted, view.buf, kind, view.len // view.itemsize):
                n.x[0] = n.y
            else:
                rows = 0
        n.dim[0] = size
        PyBuffer_Release(&view)
        return rows

    def quick_forward(self, x):
        """Return the output for one input array, or None if it wants checking or converting first."""
        self.gate.enter()
        try:
            return self._quick_forward(x)
        finally:
            self.gate.busy = False

    cdef object _quick_forward(self, x):
        cdef int64_t rows, i
        cdef fbp_run run
        cdef const fbp_program *program
        rows = self._quick_feed(0, x, self.input_shape, False)
        if rows == 0:
            return None
        program = self._program("forward")
        memset(&run, 0, sizeof(run))
        run.rows, run.in_place = rows, 1
        self._point_at_sources()
        for i in range(self.n_direct):
            self.direct[i].place[0] = self.direct[i].source
        with nogil:
            fbp_run_program(program, &run)
        y = _empty((rows, *self.output_shape), self._real)
        memcpy(_address(y), self.output_at, rows * self.output_row_bytes)
        return y

    def quick_step(self, x, y, update, double lr, double limit, tuple domain):
        """Take one training step: return the loss, or None where nothing was done, for any reason.

        `begin` has been called, on a plan without buffers whose gradients are looked at before they are used.
        """
        self.gate.enter()
        try:
            return self._quick_step(x, y, update, lr, limit, domain)
        finally:
            self.gate.busy = False

    cdef object _quick_step(self, x, y, update, double lr, double limit, tuple domain):
        cdef int64_t rows
        cdef double loss = 0
        cdef fbp_status status
        cdef fbp_loop *loop = &self.loop
        cdef fbp_run run
        cdef int i = 0
        rows = self._quick_feed(0, x, self.input_shape, False)
        if update.state is not self._state:
            return None
        if rows == 0 or self._quick_feed(1, y, self.target_shape, self.target_is_flat) != rows \
                or not self._targets_fit(rows, domain[0], domain[1]):
            return None
        self._make_ready()
        loop.program, loop.finish = &self.programs[self.step_programs[1]], &self.programs[self.step_programs[2]]
        loop.run.order, loop.run.step, loop.run.in_place = NULL, self._memory.step, 1
        self._point_at_sources()
        loop.n_rows = loop.batch_size = rows
        loop.position, loop.stop, loop.gradient_limit = 0, 1, limit
        loop.learning_rates, loop.losses = &lr, &loss
        loop.clip_norm, loop.clip_value = update.clip_norm or 0, update.clip_value or 0
        self.update.bad = 0
        self.update.hyper[1] = update.step
        for value in update.optimizer.hyper():
            self.update.hyper[3 + i] = value
            i += 1
        memset(&run, 0, sizeof(run))
        with nogil:
            fbp_run_program(&self.programs[self.step_programs[0]], &run)
            status = fbp_run_loop(loop, 0)
        return loss if status == FBP_OK else None

    cdef bint _targets_fit(self, int64_t rows, double low, double high) noexcept:
        """Whether labels are within range, and numbers within the domain; that they are finite the loss will tell."""
        cdef const fbp_node *n = &self.nodes[self.feed_numbers[1]]
        cdef int64_t size = rows * n.dim[0]
        if self.feed_kinds[1] == INT64:
            return _all_between(<const int64_t *> n.x[0], size // 8, 0, self.n_classes - 1)
        if low == -INFINITY and high == INFINITY:
            return True
        if self.feed_kinds[1] == FLOAT32:
            return _all_between(<const float *> n.x[0], size // 4, low, high)
        return _all_between(<const double *> n.x[0], size // 8, low, high)

    # ---- training -------------------------------------------------------------------------------------------------

    def begin(self, update, order, int64_t n_rows, int64_t batch_size, learning_rates, losses, bint checked) -> None:
        """Set up a loop over mini-batches; the arrays must live as long as it runs."""
        cdef fbp_update_plan *u = &self.update
        cdef int32_t number = fbp_find_optimizer(update.optimizer.name.encode())
        cdef int i
        if number < 0:
            raise ValueError(f'the optimizer {update.optimizer.name!r} has no native kernel; use backend="reference"')
        update.check(self._memory)
        self._state = update.state      # kept alive, whatever is assigned there
        memset(u, 0, sizeof(self.update))
        u.update, u.begin = _table.update[self.dtype][number], _table.begin[number]
        u.hyper[1] = update.step
        for i, value in enumerate(update.optimizer.hyper()):
            u.hyper[3 + i] = value
        u.parameters = <char *> _address(self._memory.params.flat)
        u.gradients = <char *> _address(self._memory.grads.flat)
        for i, state in enumerate(self._state):
            u.state[i] = <char *> _address(state)
        u.item_size = self._real.itemsize
        self._set_decay(update)
        memset(&self.loop, 0, sizeof(self.loop))
        self._set_segments(update)
        self.loop.table, self.loop.dtype = _table, self.dtype
        self.loop.program, self.loop.finish = self._program("run"), self._program("finish")
        self.loop.row_losses, self.loop.loss_rows = self.row_losses, self.loss_rows
        self.loop.n_losses = len(self.lowering.loss_nodes)
        self.loop.run.seed, self.loop.run.step, self.loop.run.training = self._memory.seed, self._memory.step, 1
        self.loop.run.update = u
        self.loop.run.order = NULL if order is None else <const int64_t *> _address(order)
        self._point_at_sources()
        self.loop.direct, self.loop.n_direct = self.direct, self.n_direct
        self.loop.run.in_place = order is None and not self.lowering.calls_back
        self.loop.check_gradients, self.loop.gradient_limit = checked, INFINITY
        self.loop.clip_norm, self.loop.clip_value = update.clip_norm or 0, update.clip_value or 0
        self.loop.n_rows, self.loop.batch_size = n_rows, batch_size
        self.loop.learning_rates = <const double *> _address(learning_rates)
        self.loop.losses = <double *> _address(losses)

    def _set_decay(self, update):
        """Tell the nodes that update parameters the weight decay of each."""
        cdef fbp_node *n
        decay = {name: s.weight_decay for s in update.segments for name, at in self._memory.params.offsets.items()
                 if s.offset <= at < s.offset + s.length}
        for number, node in enumerate(self._node_list):
            for i, place in enumerate(node.p):
                if isinstance(place, Ref):
                    n = &self.nodes[<int64_t> number]
                    n.decay[<int> i] = decay.get(place.name, 0.0)

    def _set_segments(self, update):
        """Keep the stretches of the parameter vector whose gradients are looked at and clipped."""
        cdef int64_t i, n = len(update.segments)
        segments = <fbp_segment *> _zeros(n, sizeof(fbp_segment))
        for i in range(n):
            s = update.segments[i]
            segments[i].offset, segments[i].length, segments[i].weight_decay = s.offset, s.length, s.weight_decay
        free(self.segments)
        self.segments = segments
        self.loop.segments, self.loop.n_segments = segments, n

    def advance(self, int64_t stop, double seconds, double limit):
        """Run mini-batches up to number ``stop``, for a while; return the status and how many are done."""
        cdef fbp_status status
        self.loop.stop, self.loop.gradient_limit = stop, limit
        self.failed, self.loop.run.failed = 0, &self.failed
        with nogil:
            status = fbp_run_loop(&self.loop, seconds)
        self.position = self.loop.position
        self._raise_error()
        return <int> status, self.position
