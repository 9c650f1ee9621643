# cython: language_level=3, boundscheck=False, cdivision=True
"""The native backend: a graph compiled once into a plan in C, then run without Python.

:class:`Plan` holds one lowered graph (``lowering.py``) as C structs over preallocated memory. :class:`NativeBackend`
keeps one plan for each purpose a network has been used for, and hands data to it. The choice of an instruction set is
made here, once, at import.
"""

import os
from collections.abc import Sequence
from math import prod
from time import perf_counter

import numpy as np

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from fastbp.backends.lowering import Lowering, LossSpec, Ref, Settings, buffers_of, groups, nodes_of
from fastbp.backends.reference import first_bad_tensor
from fastbp.errors import NonFiniteError
from fastbp.threads import initial_threads
from fastbp.vector import aligned_zeros

# ---- the kernel table ----------------------------------------------------------------------------------------------

cdef const fbp_table *_table = NULL


def known_isas() -> dict:
    """Return the instruction sets this build has kernels for, plainest first, and whether this CPU can run them."""
    found = {}
    cdef int32_t i = 0, supported = 0
    cdef const fbp_table *table = fbp_known_table(0, &supported)
    while table != NULL:
        found[table.name.decode()] = bool(supported)
        i += 1
        table = fbp_known_table(i, &supported)
    return found


cdef const fbp_table *table_named(str name) except NULL:
    """The table of an instruction set; "" for the best one. ValueError for one that is unknown or unsupported."""
    cdef const fbp_table *table = NULL
    if fbp_select_table(name.encode(), &table) != FBP_OK:
        known = known_isas()
        usable = ", ".join(n for n, supported in known.items() if supported)
        what = "which this CPU lacks" if name in known else "which is unknown"
        raise ValueError(f"isa is {name!r}, {what}; expected one of {usable}. The environment variable FASTBP_ISA sets it")
    return table


cdef const fbp_table *selected_table() noexcept:
    return _table


_table = table_named(os.environ.get("FASTBP_ISA", ""))


def isa() -> str:
    """Return the instruction set in use."""
    return _table.name.decode()


def fma_peak(double seconds=0.05, dtype: str = "float32") -> float:
    """Measure the fused multiply-add peak of one core, in GFLOP/s: the limit that products are held against."""
    cdef int64_t n = 1 << 16
    cdef double best = 0, total = 0, start
    while total < seconds:
        start = perf_counter()
        _table.fma_loop[1 if dtype == "float64" else 0](n)
        elapsed = perf_counter() - start
        total += elapsed
        best = max(best, 20 * n * (_table.vector_bytes // (8 if dtype == "float64" else 4)) / elapsed / 1e9)
    return best


# ---- threads -------------------------------------------------------------------------------------------------------

cdef double _default_fork_cost = 30000
cdef double _fork_cost = _default_fork_cost
cdef int32_t _threads = initial_threads()


def set_threads(int n) -> None:
    """Set how many threads a plan may use."""
    global _threads
    _threads = n


def get_threads() -> int:
    """Return how many threads a plan may use."""
    return _threads


def set_fork_cost(nanoseconds) -> None:
    """Set how much work, in estimated nanoseconds, an added thread must at least take over; None for the default."""
    global _fork_cost
    _fork_cost = _default_fork_cost if nanoseconds is None else max(float(nanoseconds), 1e-9)


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


def op_phases(op: str) -> frozenset:
    """Return the names of the phases that the C twin of an op has.

    Raises
    ------
    ValueError
        If it has no C twin.
    """
    cdef int32_t number
    if op not in _known_phases:
        number = fbp_find_op(op.encode())
        if number < 0:
            raise ValueError(f'the op {op!r} has no native kernel; use backend="reference"')
        _known_phases[op] = frozenset(n for n in _PHASES if _phase(_table.op[0][number], n) != NULL)
    return _known_phases[op]


def _cost(node, phase: str, capacity: int) -> float:
    """Estimate the nanoseconds that one row, or one unit, of a step takes in one thread."""
    if node.op == "linear":
        groups, i, o = node.dims
        if phase in ("forward", "backward"):
            return 0.012 * groups * i * o + 2
        return (0.012 * groups * capacity * o if phase == "gradient" else 0) + o
    if phase in ("update", "accumulate_units"):
        return 0.5
    if phase in ("forward_reduce", "backward_reduce", "gradient"):
        return 0.5 * capacity
    if phase == "feed":
        return 0.1 * node.y.per_row
    return 1.0 * prod(node.dims or (1,))


cdef int64_t _units(const fbp_node *node, int32_t dim) noexcept:
    return node.dim[dim] if dim >= 0 else 1


cdef void *_address(object array) except? NULL:
    """Where the elements of a contiguous array are; the caller keeps the array alive."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    cdef void *address = view.buf
    PyBuffer_Release(&view)
    return address


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
    cdef fbp_update_plan update
    cdef int32_t dtype
    cdef dict _number_of, _program_of, _offsets
    cdef object _arena, _real, _memory, _sources
    cdef list _node_list
    cdef readonly object lowering
    cdef readonly int64_t capacity

    def __cinit__(self, memory, lowering, capacity, programs):
        self.lowering, self.capacity, self._memory = lowering, capacity, memory
        self.dtype = 1 if memory.dtype == "float64" else 0
        self._real = np.dtype(memory.dtype)
        self._node_list = nodes_of(programs.values())
        self._number_of = {id(n): i for i, n in enumerate(self._node_list)}
        self._lay_out()
        self.nodes = <fbp_node *> calloc(max(len(self._node_list), 1), sizeof(fbp_node))
        self.steps = <fbp_step *> calloc(max(sum(map(len, programs.values())), 1), sizeof(fbp_step))
        self.programs = <fbp_program *> calloc(len(programs), sizeof(fbp_program))
        self.row_losses = <double **> calloc(max(len(lowering.loss_nodes), 1), sizeof(double *))
        self.loss_rows = <int64_t *> calloc(max(len(lowering.loss_nodes), 1), sizeof(int64_t))
        if not self.nodes or not self.steps or not self.programs or not self.row_losses or not self.loss_rows:
            raise MemoryError("no memory for the plan of the network")
        for i, node in enumerate(self._node_list):
            self._fill_node(&self.nodes[i], node)
        self._fill_programs(programs)
        for i, node in enumerate(lowering.loss_nodes):
            self.row_losses[i] = <double *> self._at(node.row_loss)
            self.loss_rows[i] = node.dims[0]
        self._sources = [None] * len(lowering.feeds)

    def __dealloc__(self):
        free(self.nodes)
        free(self.steps)
        free(self.programs)
        free(self.row_losses)
        free(self.loss_rows)
        free(self.scratch)

    def _lay_out(self):
        """Give every buffer a place in the arena, each starting on a cache line of its own."""
        self._offsets = {}
        total = 0
        for b in buffers_of(self._node_list):
            self._offsets[id(b)] = total
            size = (b.per_row * self.capacity + b.fixed) * (self._real.itemsize if b.kind == "real" else 8)
            # an odd number of cache lines between neighbours keeps them out of each other's cache sets
            total += (size + 127) // 64 * 64
        try:
            self._arena = aligned_zeros(total, "uint8")
        except (MemoryError, ValueError) as error:
            raise MemoryError(f"running {self.capacity:,} rows at once needs {total / 2**30:,.1f} GiB, which cannot be had; "
                              "use smaller batches") from error

    cdef void *_at(self, place) except? NULL:
        if place is None:
            return NULL
        if isinstance(place, Ref):
            return _address(getattr(self._memory, place.vector)[place.name])
        return <char *> _address(self._arena) + <int64_t> self._offsets[id(place)]

    cdef int _fill_node(self, fbp_node *n, node) except -1:
        cdef int i
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
        n.target, n.weight, n.row_loss = self._at(node.target), self._at(node.weight), <double *> self._at(node.row_loss)
        for i, size in enumerate(node.dims):
            n.dim[i] = size
        for i, value in enumerate(node.attrs):
            n.attr[i] = value
        if len(node.constants):
            kept = np.array(node.constants, dtype=self._real)
            self._offsets[id(node), "constants"] = kept          # kept alive with the plan
            n.constants = _address(kept)
        n.id, n.fused = node.id, node.fused
        n.act, n.in_act = fbp_find_op(node.act.encode()), fbp_find_op(node.in_act.encode())
        n.act_alpha, n.in_alpha = node.act_alpha, node.in_alpha
        return 0

    cdef int _fill_programs(self, programs) except -1:
        cdef int64_t used = 0
        cdef fbp_step *s
        self._program_of = {}
        for i, (name, steps) in enumerate(programs.items()):
            self._program_of[name] = i
            self.programs[i].steps = &self.steps[used]
            self.programs[i].n_steps = len(steps)
            self.programs[i].tile = self._tile()
            for step, group in groups(steps):
                s = &self.steps[used]
                s.node = &self.nodes[<int64_t> self._number_of[id(step.node)]]
                s.group, s.domain = group, 1 if step.stage else 0
                s.cost = _cost(step.node, step.phase, self.capacity)
                self._set_entry(s, step.node.op, step.phase)
                s.chunk = max(1, <int64_t> (_TASK_COST / s.cost))
                if s.chunk > 16:
                    s.chunk = (s.chunk + 47) // 48 * 48
                used += 1
        return 0

    cdef int _set_entry(self, fbp_step *s, str op, str phase) except -1:
        cdef const fbp_phases *phases
        s.units = s.node.dim[0]
        if phase == "feed":
            s.run = fbp_feed_rows
        elif phase == "update":
            s.run = fbp_update_units
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
        return min(max(rows, 96), max(self.capacity, 1))

    # ---- running --------------------------------------------------------------------------------------------------

    def feed(self, arrays: Sequence) -> None:
        """Say where inputs, targets and weights come from, in the order of ``lowering.feeds``."""
        cdef fbp_node *n
        self._sources = arrays                                   # keeps them alive
        for node, array in zip(self.lowering.feeds, arrays):
            n = &self.nodes[<int64_t> self._number_of[id(node)]]
            n.x[0] = _address(array)
            n.dim[0] = prod(array.shape[1:]) * array.itemsize

    cdef const fbp_program *_program(self, str name) except NULL:
        """A program, with as many threads as are allowed now, and scratch memory for them."""
        cdef int i
        cdef int32_t n = _threads
        if self.scratch_threads < n:
            scratch = <char *> calloc(n * <size_t> FBP_SCRATCH_BYTES + 64, 1)
            if not scratch:
                raise MemoryError(f"no memory for {n} threads; set fewer with fastbp.set_num_threads")
            free(self.scratch)
            self.scratch, self.scratch_threads = scratch, n
        for i in range(len(self._program_of)):
            self.programs[i].n_threads, self.programs[i].fork_cost = n, _fork_cost
            self.programs[i].scratch = self.scratch + (-<uintptr_t> self.scratch & 63)
        return &self.programs[<int64_t> self._program_of[name]]

    def run(self, str name, int64_t rows, bint training) -> None:
        """Run one program once, on rows 0, 1, … of what is fed."""
        cdef fbp_run run
        cdef const fbp_program *program = self._program(name)
        memset(&run, 0, sizeof(run))
        run.rows, run.training = rows, training
        run.seed, run.step = self._memory.seed, self._memory.step
        with nogil:
            fbp_run_program(program, &run)

    def total_loss(self, int64_t rows) -> float:
        """Return the loss of the last run."""
        return fbp_total_loss(self.row_losses, self.loss_rows, len(self.lowering.loss_nodes), rows)

    def view(self, buffer, shape: tuple, int64_t rows):
        """Return the array at a buffer: rows of the given shape."""
        start = self._offsets[id(buffer)]
        size = rows * prod(shape) * self._real.itemsize
        return self._arena[start:start + size].view(self._real).reshape(rows, *shape)

    def write(self, buffer, array) -> None:
        """Copy rows into a buffer."""
        memcpy(self._at(buffer), _address(array), array.nbytes)

    # ---- training -------------------------------------------------------------------------------------------------

    def begin(self, update, order, int64_t n_rows, int64_t batch_size, learning_rates, losses, bint checked) -> None:
        """Set up a loop over mini-batches; the arrays must live as long as it runs."""
        cdef fbp_update_plan *u = &self.update
        cdef int32_t number = fbp_find_optimizer(update.optimizer.name.encode())
        cdef int i
        if number < 0:
            raise ValueError(f'the optimizer {update.optimizer.name!r} has no native kernel; use backend="reference"')
        memset(u, 0, sizeof(self.update))
        u.update, u.begin = _table.update[self.dtype][number], _table.begin[number]
        u.hyper[1] = update.step
        for i, value in enumerate(update.optimizer.hyper()):
            u.hyper[3 + i] = value
        u.parameters = <char *> _address(self._memory.flat_params)
        u.gradients = <char *> _address(self._memory.flat_grads)
        for i, state in enumerate(update.state):
            u.state[i] = <char *> _address(state)
        u.item_size = self._real.itemsize
        self._set_decay(update)
        memset(&self.loop, 0, sizeof(self.loop))
        self.loop.table, self.loop.dtype = _table, self.dtype
        self.loop.program, self.loop.finish = self._program("run"), self._program("finish")
        self.loop.row_losses, self.loop.loss_rows = self.row_losses, self.loss_rows
        self.loop.n_losses = len(self.lowering.loss_nodes)
        self.loop.run.seed, self.loop.run.step, self.loop.run.training = self._memory.seed, self._memory.step, 1
        self.loop.run.update = u
        self.loop.run.order = NULL if order is None else <const int64_t *> _address(order)
        self.loop.check_gradients, self.loop.gradient_limit = checked, INFINITY
        self.loop.clip_norm, self.loop.clip_value = update.clip_norm or 0, update.clip_value or 0
        self.loop.n_rows, self.loop.batch_size = n_rows, batch_size
        self.loop.learning_rates = <const double *> _address(learning_rates)
        self.loop.losses = <double *> _address(losses)

    def _set_decay(self, update):
        """Tell the nodes that update parameters the weight decay of each."""
        cdef fbp_node *n
        decay = {name: s.weight_decay for s in update.segments for name, at in self._memory.offsets.items()
                 if s.offset <= at < s.offset + s.length}
        for number, node in enumerate(self._node_list):
            for i, place in enumerate(node.p):
                if isinstance(place, Ref):
                    n = &self.nodes[<int64_t> number]
                    n.decay[<int> i] = decay.get(place.name, 0.0)

    def advance(self, int64_t stop, segments, double seconds, double limit):
        """Run mini-batches up to number ``stop``, for a while; return the status and how many are done."""
        cdef fbp_status status
        cdef int64_t i, n = len(segments)
        cdef fbp_segment *c = <fbp_segment *> calloc(max(n, 1), sizeof(fbp_segment))
        if not c:
            raise MemoryError("no memory to run the plan")
        for i in range(n):
            s = segments[i]
            c[i].offset, c[i].length, c[i].weight_decay = s.offset, s.length, s.weight_decay
        self.loop.segments, self.loop.n_segments = c, n
        self.loop.stop, self.loop.gradient_limit = stop, limit
        with nogil:
            status = fbp_run_loop(&self.loop, seconds)
        free(c)
        return <int> status, self.loop.position


# ---- the backend ---------------------------------------------------------------------------------------------------

# A norm of the gradients above this is looked at twice; below it no optimizer can overflow a parameter.
_SUSPICIOUS = {"float32": 1e15, "float64": 1e100}


class NativeBackend:
    """Runs a graph with the C kernels; see ``backends/base.py`` for the interface."""

    def __init__(self, memory):
        self._memory = memory
        self._graph = memory.graph
        self._plans = {}
        self._last = None
        for node in memory.graph.nodes:
            op_phases(node.op.name) if not node.op.is_view else None

    def forward(self, inputs, training):
        plan = self._plan(Settings(backward=training, input_grads=training), len(inputs[0]))
        plan.feed(inputs)
        self._run(plan, "forward", len(inputs[0]), training)
        return self._outputs(plan, len(inputs[0]))

    def backward(self, dys):
        plan, rows = self._last
        for tensor, dy in zip(self._graph.outputs, dys, strict=True):
            if tensor in plan.lowering.grads:
                plan.write(plan.lowering.grads[tensor], dy)
        self._memory.flat_grads[...] = 0
        plan.run("prepare", rows, True)
        plan.run("backward", rows, True)
        return self._input_grads(plan, rows)

    def loss(self, batch, training):
        plan = self._plan(self._settings(batch), batch.rows)
        plan.feed(_sources(batch))
        self._run(plan, "run", batch.rows, training)
        return plan.total_loss(batch.rows)

    def loss_and_grad(self, batch, input_grads=False):
        plan = self._plan(self._settings(batch, backward=True, input_grads=input_grads), batch.rows)
        plan.feed(_sources(batch))
        plan.run("prepare", batch.rows, True)
        self._memory.flat_grads[...] = 0
        self._run(plan, "run", batch.rows, True)
        return plan.total_loss(batch.rows), self._input_grads(plan, batch.rows) if input_grads else ()

    def train(self, batch, update, order, batch_size, learning_rates, on_progress=None):
        rates = np.ascontiguousarray(learning_rates, dtype=np.float64)
        checked = len(rates) == 1 or update.clip_norm is not None or update.clip_value is not None
        plan = self._plan(self._settings(batch, backward=True, fused=not checked), min(batch.rows, batch_size))
        losses = np.empty(len(rates))
        plan.feed(_sources(batch))
        plan.run("prepare", 0, True)
        self._last = None
        run = _TrainingRun(self._memory, plan, update, order, batch.rows, batch_size, rates, losses, checked)
        bad = run.to_end(on_progress)
        if bad is not None:
            raise NonFiniteError(bad[0], bad[1] or self._first_bad(batch, order, batch_size, bad[0]))
        return losses

    def values(self):
        return self._kept("values")

    def gradients(self):
        return self._kept("grads")

    # ---- plans ----------------------------------------------------------------------------------------------------

    def _settings(self, batch, **kwargs):
        specs = []
        for loss, tensor, target in zip(batch.losses, self._graph.outputs, batch.targets, strict=True):
            kind = "int64" if target.dtype.kind == "i" else "real"
            specs.append(LossSpec(loss.native_name(target), loss.native(tensor.shape, target), prod(target.shape[1:]), kind))
        return Settings(tuple(specs), batch.sample_weight is not None, **kwargs)

    def _plan(self, settings, rows):
        plan = self._plans.get(settings)
        if plan is None or plan.capacity < rows:
            low = Lowering(self._graph, settings, op_phases)
            plan = self._plans[settings] = Plan(self._memory, low, max(rows, 1), _programs(low))
        return plan

    def _run(self, plan, program, rows, training):
        plan.run(program, rows, training)
        self._last = plan, rows

    def _outputs(self, plan, rows):
        return tuple(plan.view(plan.lowering.values[t], t.shape, rows).copy() for t in self._graph.outputs)

    def _input_grads(self, plan, rows):
        grads = plan.lowering.grads
        return tuple(plan.view(grads[t], t.shape, rows).copy() if t in grads else np.zeros((rows, *t.shape), self._memory.dtype)
                     for t in self._graph.inputs)

    def _kept(self, what):
        if self._last is None:
            return {}
        plan, rows = self._last
        return {self._graph.names[t]: plan.view(b, t.shape, rows) for t, b in getattr(plan.lowering, what).items()}

    def _first_bad(self, batch, order, batch_size, number):
        """Run the mini-batch that went wrong once more, and look through it; nothing is changed."""
        epoch, place = divmod(number, -(-batch.rows // batch_size))
        first = place * batch_size
        rows = slice(first, min(first + batch_size, batch.rows))
        part = batch.take(rows if order is None else order[epoch * batch.rows:][rows])
        buffers = self._memory.flat_buffers.copy()
        self.loss_and_grad(part, input_grads=True)
        name = first_bad_tensor(self._memory, part, self.values(), self.gradients())
        self._memory.flat_buffers[...] = buffers
        return name


class _TrainingRun:
    """One call of ``train``: runs the loop, and goes back to the last good mini-batch when one goes wrong.

    Nothing is saved from step to step. Training is deterministic, so that going back is: start again from what was
    saved at the beginning, and stop one mini-batch earlier.
    """

    def __init__(self, memory, plan, update, order, rows, batch_size, rates, losses, checked):
        self.memory, self.plan, self.update = memory, plan, update
        self.order = None if order is None else np.ascontiguousarray(order, dtype=np.int64)
        self.rows, self.batch_size, self.rates, self.losses, self.checked = rows, batch_size, rates, losses, checked
        self.done = 0

    def to_end(self, on_progress):
        """Run; return None, or the number of the bad mini-batch and the parameter that it spoilt, if any."""
        one = len(self.rates) == 1
        saved = self._save(light=one)
        limit = _SUSPICIOUS[self.memory.dtype] if one else INFINITY
        status = self._run(len(self.rates), on_progress, limit)
        if status == FBP_ERROR_GRADIENT and one:
            self._restore(saved)
            saved = self._save(light=False)
            status = self._run(1, None, INFINITY)
        bad = None
        if status != FBP_OK:
            number, name = self.done, self._bad_parameter() if status == FBP_ERROR_PARAMETER else ""
            self._restore(saved)
            self._run(number, None, INFINITY)
            bad = number, name
        self._count()
        return bad

    def _run(self, stop, on_progress, limit):
        self.plan.begin(self.update, self.order, self.rows, self.batch_size, self.rates, self.losses, self.checked)
        self.done = 0
        status = FBP_PAUSED
        try:
            while status == FBP_PAUSED:
                status, self.done = self.plan.advance(stop, self.update.segments, 0.05, limit)
                if on_progress is not None and status in (FBP_OK, FBP_PAUSED):
                    on_progress(self.done)
                PyErr_CheckSignals()
        except BaseException:
            self._count()
            raise
        return status

    def _count(self):
        self.update.step += self.done
        self.memory.step += self.done
        self.done = 0

    def _save(self, light):
        heavy = () if light else (self.memory.flat_params, *self.update.state)
        return [(a, a.copy()) for a in (self.memory.flat_buffers, *heavy)]

    def _restore(self, saved):
        for array, values in saved:
            array[...] = values
        self.plan.run("prepare", 0, True)

    def _bad_parameter(self):
        for name, p in self.memory.params.items():
            if not np.isfinite(p).all():
                return f"{name} after the update"
        return ""


def _sources(batch):
    weight = () if batch.sample_weight is None else (batch.sample_weight,)
    return [*batch.inputs, *batch.targets, *weight]


def _programs(low):
    """The programs of a lowered graph, by what it is for."""
    s = low.settings
    if not s.losses:
        programs = {"forward": low.forward}
        if s.backward:
            programs |= {"prepare": low.prepare, "backward": low.backward + low.gradients}
        return programs
    run = low.first + low.forward + low.loss
    if not s.backward:
        return {"run": run}
    run, late = run + low.backward, low.gradients
    if not s.fused:
        run, late = run + late, []
    return {"prepare": low.prepare, "run": run, "finish": late + low.updates + low.refresh()}
