# cython: language_level=3, boundscheck=False, cdivision=True
"""Plans: graphs compiled once into C structs, then run without Python.

:class:`Plan` holds one lowered graph (``lowering.py``) over preallocated memory. The choice of an instruction set is
made in settings.pxi, once, at import. What hands it data is ``native_backend.py``.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.weakref cimport PyWeakref_NewRef
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t, uintptr_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from fastbp.core.vector import aligned_zeros
from fastbp.engine.conversions cimport FLOAT32, FLOAT64, INT64, OTHER, all_between, columns_between, convert, kind_of
from fastbp.engine.plan_parts import NetworkArray, buffers_of, groups, nodes_of, read_in_place
from fastbp.engine.python_nodes import call

include "settings.pxi"
include "structs.pxi"
include "borders.pxi"
include "room.pxi"

cdef object _empty = np.empty


def has_optimizer(optimizer) -> bool:
    """Return whether there is a kernel for what an optimizer does."""
    return optimizer.has_twin and fbp_find_optimizer(optimizer.name.encode()) >= 0


class Status:
    """What ``Plan.advance`` returns first."""

    OK, PAUSED = <int> FBP_OK, <int> FBP_PAUSED
    ERROR_LOSS, ERROR_GRADIENT = <int> FBP_ERROR_LOSS, <int> FBP_ERROR_GRADIENT
    ERROR_PARAMETER, ERROR_STEP = <int> FBP_ERROR_PARAMETER, <int> FBP_ERROR_STEP


cdef int64_t _forks = 0, _plans = 0


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


include "messages.pxi"


cdef class Plan(Borders):
    """One lowered graph over memory for up to ``capacity`` rows: takes data, and runs.

    Parameters
    ----------
    memory : Memory
    lowering : Lowering
    capacity : int
    programs : dict of str to list of PlanStep
    gate : Gate
    """

    cdef fbp_loop loop
    cdef fbp_pace pace
    cdef fbp_segment *segments
    cdef fbp_direct *direct
    cdef int64_t n_direct
    cdef fbp_update_plan update
    cdef object _sources, _state
    cdef tuple _applied
    cdef list _direct
    cdef readonly object fed
    cdef readonly int64_t position
    cdef int32_t failed
    cdef Gate gate
    cdef Room room
    cdef Moved *moved
    cdef int64_t n_moved
    cdef public list pieces
    cdef int64_t step_programs[3]
    cdef double *totals
    cdef fbp_rows *tables
    cdef int64_t n_tables, serial

    def __cinit__(self, memory, lowering, capacity, programs, Gate gate):
        self.gate = gate
        self._sources = [None] * len(lowering.feeds)
        self.totals = <double *> _zeros(len(lowering.loss_nodes), sizeof(double))
        for i, name in enumerate(("prepare", "run", "finish_last")):
            self.step_programs[<int64_t> i] = self._program_of.get(name, 0)
        self._find_direct()
        self._find_tables()
        self._find_moved()

    def __dealloc__(self):
        free(self.segments)
        free(self.direct)
        free(self.totals)
        free(self.tables)
        free(self.moved)

    def _find_direct(self):
        """Note the places that can be pointed at the data set itself."""
        self._direct = [] if self.lowering.calls_back else read_in_place(self._node_list, self.lowering.feeds)
        self.n_direct = len(self._direct)
        self.direct = <fbp_direct *> _zeros(self.n_direct, sizeof(fbp_direct))
        for i, (number, name, _) in enumerate(self._direct):
            self.direct[<int64_t> i].place = <const void **> self._pointer(&self.nodes[<int64_t> number], name)

    def _find_tables(self):
        """Note the tables of whose gradient only touched rows are written."""
        global _plans
        cdef int64_t i
        _plans += 1
        self.serial, self.n_tables = _plans, len(self.lowering.touched)
        self.tables = <fbp_rows *> _zeros(self.n_tables, sizeof(fbp_rows))
        for i, (name, touched) in enumerate(self.lowering.touched.items()):
            self.tables[i].gradients = _written(self._memory.grads[name])
            self.tables[i].touched = <const int64_t *> self._at(touched)
            self.tables[i].width = self._memory.grads[name].shape[1]

    cdef int _write_gradients(self) except -1:
        """Note that the gradients are this plan's; rows of tables that another one wrote become 0."""
        if self._memory.clock.writer != self.serial:
            for name in self.lowering.touched:
                self._memory.grads[name][...] = 0
            self._memory.clock.writer = self.serial
        return 0

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

    # ---- running --------------------------------------------------------------------------------------------------

    def feed(self, arrays: Sequence, data=None) -> None:
        """Say where inputs, targets and weights come from, in the order of ``lowering.feeds``.

        Their memory stays where it is until `release`, or until the next ones are fed. `fed` is then ``data``.

        Raises
        ------
        ValueError
            For arrays that do not fit.
        """
        cdef fbp_node *n
        arrays = [array if array.flags.aligned else array.copy() for array in arrays]
        self._check_fed(arrays)
        self.fed, self._sources = data, (arrays, [_hold(array) for array in arrays])
        self._point_home()
        for node, array in zip(self.lowering.feeds, arrays):
            n = &self.nodes[<int64_t> self._number_of[id(node)]]
            n.x[0] = <void *> _read(array)
            n.dim[0] = prod(array.shape[1:]) * array.itemsize
        self._feed_entries(arrays)

    cdef int _feed_entries(self, list arrays) except -1:
        """Say where the entries of sparse rows are."""
        cdef fbp_node *n
        cdef int64_t count
        for number, node in enumerate(self._node_list):
            if node.entries_of < 0:
                continue
            rows, n = arrays[node.entries_of], &self.nodes[<int64_t> number]
            columns, values = rows.columns, rows.values
            if columns.dtype != np.int64 or values.dtype != self._real or columns.shape != values.shape \
                    or values.ndim != 1 or not columns.flags.carray or not values.flags.carray:
                raise ValueError(f"a plan is fed sparse rows of {columns.dtype} and {values.dtype}; expected entries "
                                 f"of int64 and {self._real}, one after the other")
            count = len(values)
            n.x[1], n.x[2], n.dim[3] = <void *> _read(columns), <void *> _read(values), count
            self.nodes[self.feed_numbers[<int64_t> node.entries_of]].dim[1] = count + 1
            self._sources += ([columns, values, _hold(columns), _hold(values)],)
        return 0

    def _check_fed(self, arrays):
        """Check what decides addresses: a loss of the user's own may make targets of any shape."""
        for node, array in zip(self.lowering.feeds, arrays, strict=True):
            wanted = self._real if node.y.kind == "real" else np.dtype(node.y.kind)
            if array.dtype != wanted or not array.flags.c_contiguous or len(array) != len(arrays[0]) \
                    or prod(array.shape[1:]) != node.y.per_row:
                raise ValueError(f"a plan is fed {array.shape} of {array.dtype}; expected {len(arrays[0])} rows of "
                                 f"{node.y.per_row} numbers of {wanted}, one after the other")

    def release(self) -> None:
        """Let go of the arrays that were fed: feed others before the next run."""
        self.fed = self._sources = None

    def run(self, str name, int64_t rows, bint training, uint64_t key=0, int64_t first=0, bint in_place=False) -> None:
        """Run one program once, on some rows of what is fed: where they are, if it is to be and can be.

        In training, random numbers are keyed by the network's seed and ``key``.
        """
        cdef fbp_run run
        cdef int64_t i
        cdef const fbp_program *program = self._program(name)
        memset(&run, 0, sizeof(run))
        if self.lowering.purpose.backward:
            self._write_gradients()
        run.rows, run.first, run.training, run.seed, run.step = rows, first, training, self._memory.seed, key
        run.in_place = in_place and not self.lowering.calls_back
        if run.in_place:
            self._point_at_sources()
            for i in range(self.n_direct):
                self.direct[i].place[0] = self.direct[i].source + first * self.direct[i].row_bytes
        self.failed, run.failed = 0, &self.failed
        with nogil:
            fbp_run_program(program, &run)
        self._raise_error()

    cdef int _raise_error(self) except -1:
        """Raise what a node written in Python raised; or that integers were no more what had been checked."""
        error, self.error = self.error, None
        if error is None and self.failed:
            error = ValueError("an array of integers was changed while it was in use, and one of them is out of range "
                               "now; give each thread arrays of its own")
        if error is not None:
            raise error
        return 0

    def total_loss(self, int64_t rows) -> float:
        """Return the loss of the last run."""
        return fbp_total_loss(self.row_losses, self.loss_rows, len(self.lowering.loss_nodes), rows)

    def losses(self, int64_t rows) -> list:
        """Return each of the losses of the last run."""
        return [fbp_total_loss(&self.row_losses[i], &self.loss_rows[i], 1, rows)
                for i in range(<int64_t> len(self.lowering.loss_nodes))]

    # ---- the quick ways: for contiguous arrays of numbers that fit --------------------------------------------------

    def quick_forward(self, x):
        """Return the output for one input array, or None if it wants checking or converting first."""
        self.gate.enter()
        try:
            return self._quick_forward(x)
        finally:
            self._let_go()
            self.gate.busy = False

    cdef object _quick_forward(self, x):
        cdef int64_t rows, i
        cdef Py_buffer view
        cdef fbp_run run
        cdef const fbp_program *program
        rows = self._quick_feed(0, x, self.input_shape, False)
        if rows == 0:
            return None
        program = self._program("forward")
        memset(&run, 0, sizeof(run))
        run.rows, run.in_place, run.seed, run.step = rows, 1, self._memory.seed, self._memory.step
        self.failed, run.failed = 0, &self.failed
        self._point_at_sources()
        for i in range(self.n_direct):
            self.direct[i].place[0] = self.direct[i].source
        with nogil:
            fbp_run_program(program, &run)
        if self.failed:
            return None
        y = _empty((rows, *self.output_shape), self._real)
        PyObject_GetBuffer(y, &view, PyBUF_SIMPLE)      # a typed memoryview takes half as long as the prediction
        memcpy(view.buf, self.output_at, view.len)
        PyBuffer_Release(&view)
        return y

    def quick_loss_and_grad(self, x, y, tuple domain):
        """Run forward and backward in training mode, on a plan without buffers.

        Return the loss, the rows and the key of the random numbers; or None where nothing was done.
        """
        cdef int64_t rows
        try:
            self.fed = None
            rows = self._quick_batch(x, y, domain)
            if rows == 0:
                return None
            self._point_home()
            key = self._memory.draw()
            self.run("prepare", rows, True)
            self.run("run", rows, True, key)
            return self.total_loss(rows), rows, key
        finally:
            self._let_go()

    def quick_step(self, x, y, update, double lr, double limit, tuple domain):
        """Take one training step: return the loss, or None where nothing was done, for any reason.

        `begin` has been called, on a plan without buffers whose gradients are looked at before they are used.
        """
        self.gate.enter()
        try:
            return self._quick_step(x, y, update, lr, limit, domain)
        finally:
            self._let_go()
            self.gate.busy = False

    cdef object _quick_step(self, x, y, update, double lr, double limit, tuple domain):
        cdef int64_t rows
        cdef double loss = 0
        cdef fbp_status status
        cdef fbp_loop *loop = &self.loop
        cdef fbp_run run
        if update.state is not self._state:
            return None
        self.fed = None
        self._set_numbers(update)
        rows = self._quick_batch(x, y, domain)
        if rows == 0:
            return None
        self._make_ready()
        if self.n_tables:
            self._write_gradients()
        loop.program, loop.finish = &self.programs[self.step_programs[1]], &self.programs[self.step_programs[2]]
        loop.run.order, loop.run.step, loop.run.in_place = NULL, self._memory.clock.step, 1
        self._point_at_sources()
        loop.n_rows = loop.batch_size = rows
        loop.position, loop.stop, loop.gradient_limit = 0, 1, limit
        loop.learning_rates, loop.losses, loop.tally = &lr, &loss, NULL
        memset(&run, 0, sizeof(run))
        run.single = loop.run.single = rows == 1
        with nogil:
            fbp_run_program(&self.programs[self.step_programs[0]], &run)
            status = fbp_run_loop(loop, 0)
        return loss if status == FBP_OK else None

    # ---- training -------------------------------------------------------------------------------------------------

    def begin(self, update, const int64_t[:, ::1] order, int64_t n_rows, int64_t batch_size,
              const double[::1] learning_rates, double[::1] losses, bint checked, share=None,
              double[:, :, ::1] tally=None, int64_t first=0) -> None:
        """Set up a loop over mini-batches from number ``first`` on, or over this rank's share of them.

        The arrays must live as long as it runs.
        """
        memset(&self.loop, 0, sizeof(self.loop))
        self._applied = None
        self._write_gradients()
        self._set_update(update, "finish")
        self._set_segments(update, self.lowering.touched)
        self.loop.tables, self.loop.n_tables = self.tables, self.n_tables
        self.loop.program, self.loop.pace = self._program("run"), &self.pace
        self.loop.row_losses, self.loop.loss_rows = self.row_losses, self.loss_rows
        self.loop.n_losses = len(self.lowering.loss_nodes)
        self.loop.run.seed, self.loop.run.step, self.loop.run.training = self._memory.seed, self._memory.step, 1
        self.loop.run.single = share is None and min(n_rows, batch_size) == 1
        self.loop.run.order = NULL if order is None else &order[0, 0]
        self._point_at_sources()
        self.loop.direct, self.loop.n_direct = self.direct, self.n_direct
        self.loop.run.in_place = order is None and not self.lowering.calls_back
        self.loop.check_gradients, self.loop.gradient_limit = checked, INFINITY
        self.loop.n_rows, self.loop.batch_size, self.loop.position = n_rows, batch_size, first
        self.position = first
        self.loop.learning_rates, self.loop.losses = &learning_rates[0], &losses[0]
        self.loop.tally, self.loop.loss_of = NULL if tally is None else &tally[0, 0, 0], self.loss_of
        self._set_share(share)

    cdef int _set_share(self, share) except -1:
        """Tell the loop which rows of each mini-batch are this rank's."""
        cdef fbp_node *n
        cdef int64_t i
        self.share, self.room = share, None
        for i, node in enumerate(self.lowering.loss_nodes):
            n = &self.nodes[<int64_t> self._number_of[id(node)]]
            n.loss.total = NULL if share is None else &self.totals[i]
        if share is not None:
            self.loop.meet, self.loop.ranks = _meet, <void *> self
            self.loop.parts = <const fbp_part *> _read(share.parts)
            self.loop.totals, self.loop.total = <const double *> _read(share.totals), self.totals
            if share.ranks.room is None and share.ranks.threads and self.pieces:
                self.loop.program, self.loop.pieces = self._program("rows"), self._program("gradients 0")
                self.loop.n_pieces = len(self.pieces)
            self._set_room(<Room?> share.ranks.room if share.ranks.room is not None else None)
        return 0

    cdef int _set_room(self, Room room) except -1:
        """Let ranks of one machine meet in the memory that they share, and update a part of the parameters each."""
        cdef int64_t i, first, last
        self.room = room
        if room is None:
            return 0
        if not room.fits(self._memory.params.flat):
            raise ValueError(f"the ranks share vectors of {room.length} numbers; the network has "
                             f"{self._memory.params.flat.size}")
        self.loop.meet, self.loop.ranks = fbp_meet_in_room, &room.room
        self.loop.finish, self.loop.refresh = self._program("update"), self._program("refresh")
        self.update.first, self.update.last = room.part
        for i in range(self.loop.n_segments):
            first = max(self.segments[i].offset, self.update.first)
            last = min(self.segments[i].offset + self.segments[i].length, self.update.last)
            self.segments[i].offset, self.segments[i].length = first, max(last - first, 0)
        if self.n_moved:
            self._move(room.room.vector, fbp_room_gradients(&room.room))
        return 0

    def _find_moved(self):
        """Note the pointers to parameters and gradients: in training, they may be in memory that ranks share."""
        if not self.lowering.purpose.shared or self.lowering.calls_back:
            return
        found = [(number, name, place) for number, node in enumerate(self._node_list)
                 for name, place in node.places() if isinstance(place, NetworkArray) and place.vector != "buffers"]
        self.n_moved = len(found)
        self.moved = <Moved *> _zeros(self.n_moved, sizeof(Moved))
        for i, (number, name, place) in enumerate(found):
            offsets = getattr(self._memory, place.vector).offsets
            self.moved[<int64_t> i].place = self._pointer(&self.nodes[<int64_t> number], name)
            self.moved[<int64_t> i].offset = offsets[place.name] * self._real.itemsize
            self.moved[<int64_t> i].gradient = place.vector == "grads"

    cdef int _move(self, char *parameters, char *gradients) except -1:
        """Let the nodes find their parameters and gradients in these vectors."""
        cdef int64_t i
        for i in range(self.n_moved):
            self.moved[i].place[0] = (gradients if self.moved[i].gradient else parameters) + self.moved[i].offset
        self.update.parameters, self.update.gradients = parameters, gradients
        return 0

    def end(self) -> None:
        """Take home what is in memory that ranks share, after `begin` and some `advance`."""
        if self.room is None or not self.n_moved:
            return
        parameters = _written(self._memory.params.flat)
        gradients = _written(self._memory.grads.flat)
        self._move(parameters, gradients)
        fbp_leave_room(&self.room.room, parameters, gradients)

    def apply(self, update, double lr, double limit) -> int:
        """Take one step from the gradients that are there, if they are all within the limit; return the status."""
        cdef fbp_status status
        cdef tuple known = self._applied
        if known is None or known[0] is not update or known[1] is not update.segments or known[2] is not update.state:
            self._applied = None
            memset(&self.loop, 0, sizeof(self.loop))
            self._set_update(update, "update")
            self._set_segments(update, ())
            self._applied = update, update.segments, update.state
        else:
            update.check(self._memory)
            self._make_ready()
            self._set_numbers(update)
        self.loop.check_gradients, self.loop.gradient_limit = 1, limit
        with nogil:
            status = fbp_run_update(&self.loop, lr)
        return <int> status

    cdef int _set_update(self, update, str program) except -1:
        """Tell the loop how parameters are updated, by which program."""
        cdef fbp_update_plan *u = &self.update
        cdef int32_t number = fbp_find_optimizer(update.optimizer.name.encode())
        cdef int i
        if number < 0 or not update.optimizer.has_twin:
            raise ValueError(f'the optimizer {type(update.optimizer).__name__} has no native kernel for its update(); '
                             'use backend="reference"')
        update.check(self._memory)
        self._state = tuple(update.state)      # kept alive, whatever becomes of those
        memset(u, 0, sizeof(self.update))
        u.update, u.begin = _table.update[self.dtype][number], _table.begin[number]
        self._set_numbers(update)
        u.parameters = _written(self._memory.params.flat)
        u.gradients = _written(self._memory.grads.flat)
        if len(self._state) > FBP_MOST_STATES:
            raise ValueError(f"the optimizer {update.optimizer.name!r} keeps {len(self._state)} vectors; the native "
                             f'backend takes at most {FBP_MOST_STATES}: use backend="reference"')
        for i, state in enumerate(self._state):
            u.state[i] = _written(state)
        u.item_size, u.first, u.last = self._real.itemsize, 0, self._memory.params.flat.size
        self._set_decay(update)
        self.loop.table, self.loop.dtype, self.loop.finish = _table, self.dtype, self._program(program)
        self.loop.run.update = u
        return 0

    cdef int _set_numbers(self, update) except -1:
        """Tell the loop what may be another number in each step: the optimizer's own, and limits of gradients."""
        cdef int i = 0
        optimizer = update.optimizer
        self.update.hyper[1], self.update.bad = update.step, 0
        self.loop.clip_norm, self.loop.clip_value = update.clip_norm or 0, update.clip_value or 0
        for value in optimizer.hyper():
            if i == FBP_MOST_HYPER:
                raise ValueError(f"the optimizer {optimizer.name!r} has more than {FBP_MOST_HYPER} numbers in hyper(); "
                                 'use backend="reference"')
            self.update.hyper[3 + i] = value
            i += 1
        return 0

    def _set_decay(self, update):
        """Tell the nodes that update parameters the weight decay of each, and the factor of its learning rate."""
        cdef fbp_node *n
        offsets = self._memory.params.offsets
        found = {name: (s.weight_decay, s.rate) for s in update.segments for name, at in offsets.items()
                 if s.offset <= at < s.offset + s.length}
        for number, node in enumerate(self._node_list):
            for i, place in enumerate(node.p):
                if isinstance(place, NetworkArray):
                    n = &self.nodes[<int64_t> number]
                    n.decay[<int> i], n.rate[<int> i] = found.get(place.name, (0.0, 1.0))

    def _set_segments(self, update, tables):
        """Keep the stretches of the parameter vector whose gradients are looked at and clipped: not those of tables."""
        apart = {self._memory.params.offsets[name] for name in tables}
        chosen = [s for s in update.segments if not (s.row and s.offset in apart)]
        cdef int64_t i, n = len(chosen)
        segments = <fbp_segment *> _zeros(n, sizeof(fbp_segment))
        for i in range(n):
            s = chosen[i]
            if not 0 <= s.offset <= s.offset + s.length <= self._memory.params.flat.size:
                free(segments)
                raise ValueError(f"update.segments has {s}; the network has {self._memory.params.flat.size:,} "
                                 "parameters")
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
        if self.room is not None:
            self.room._check()
            if status == FBP_ERROR_STEP:
                self.share.ranks.announced()
        self._raise_error()
        return <int> status, self.position
