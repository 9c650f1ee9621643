# Included by native.pyx: a lowered graph written into C structs, over memory of its own.

# what makes a task, in estimated nanoseconds
cdef double _TASK_COST = 8000
# what a multiply-add takes, likewise
cdef double _MULTIPLY_ADD = 0.012
# the values of a tile, in bytes: what stays in the cache, and what they may be to make enough rows
cdef int64_t _CACHED_TILE = 393216, _LARGEST_TILE = 4194304, _ENOUGH_ROWS = 256


# ---- ops and their phases ------------------------------------------------------------------------------------------

def phases() -> dict:
    """Return the names of all phases, in the order in which they run, and whether each is over rows or units."""
    found = {}
    cdef int32_t i = 0
    while fbp_phase_name(i) != NULL:
        found[fbp_phase_name(i).decode()] = "rows" if fbp_phase_domain(i) == FBP_OVER_ROWS else "units"
        i += 1
    return found


_phase_numbers = {name: i for i, name in enumerate(phases())}
_known_phases = {}
PRODUCT_SCRATCH_BYTES = FBP_PRODUCT_SCRATCH_BYTES
ROW_UNITS = FBP_ROW_UNITS


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
        _known_phases[op] = frozenset(name for name, i in _phase_numbers.items()
                                      if fbp_phase_entry(_table.op[0][number], i) != NULL)
    return _known_phases[op]


def find_instruction(str name) -> int:
    """Return the number of an instruction of expressions; -1 if there is none of the name."""
    return fbp_find_instruction(name.encode())


cdef int _check_room(str op, str what, count, int64_t most) except -1:
    """Raise ValueError for an op that needs more of something than a node has room for."""
    if count > most:
        raise ValueError(f'the op {op!r} has {count} {what}; the native backend takes at most {most}: use '
                         'backend="reference", or cut the op in two')
    return 0


def check_op(op, shapes: Sequence, params: Sequence, buffers: Sequence) -> None:
    """Check that an op has a C twin, which a node has room for, and which is told of all parameters and buffers.

    Raises
    ------
    ValueError
        Otherwise; it names the op.
    """
    if op.is_view or op.calls_back:
        return
    native = op.native(*shapes)
    known = op_phases(op.name)
    for phase in native.work:
        if phase not in known:
            raise ValueError(f"the op {op.name!r} says what the phase {phase!r} has to do, which its C twin does not "
                             f"have; it has {', '.join(sorted(known))}")
    _check_room(op.name, "inputs", len(shapes), FBP_MOST_INPUTS)
    _check_room(op.name, "parameters", len(native.params), FBP_MOST_PARAMETERS)
    _check_room(op.name, "buffers", len(native.buffers), FBP_MOST_BUFFERS)
    _check_room(op.name, "saved tensors", len(native.saves), FBP_MOST_SAVES)
    _check_room(op.name, "dims", len(native.dims), FBP_MOST_DIMS)
    _check_room(op.name, "attrs", len(native.attrs), FBP_MOST_ATTRS)
    for what, roles, known in (("parameters", params, native.params), ("buffers", buffers, native.buffers)):
        unknown = [role for role in roles if role not in known]
        if unknown:
            raise ValueError(f"the op {op.name!r} has {what} {', '.join(map(repr, unknown))} that its C twin is not "
                             f"told of; name them in the {what} of its `native`, or use backend=\"reference\"")


# ---- structs -------------------------------------------------------------------------------------------------------

# where there is nothing: not even none of it may be copied from NULL
cdef int64_t _nothing = 0


cdef const void *_read(object array) except? NULL:
    """Where the numbers of a contiguous array are, through a typed memoryview; the caller keeps the array alive."""
    cdef const float[::1] singles
    cdef const double[::1] doubles
    cdef const int64_t[::1] integers
    if array.size == 0:
        return &_nothing
    flat = array.reshape(-1)
    if array.dtype.char == "f":
        singles = flat
        return &singles[0]
    if array.dtype.char == "d":
        doubles = flat
        return &doubles[0]
    integers = flat
    return &integers[0]


cdef char *_written(object array) except? NULL:
    """The same for real numbers that a plan writes: read-only arrays are refused."""
    cdef float[::1] singles
    cdef double[::1] doubles
    if array.size == 0:
        return <char *> &_nothing
    flat = array.reshape(-1)
    if array.dtype.char == "f":
        singles = flat
        return <char *> &singles[0]
    doubles = flat
    return <char *> &doubles[0]


cdef void _call_back(const fbp_node *node, const fbp_run *run, int64_t lo, int64_t hi, void *scratch) noexcept nogil:
    """Run a node that is written in Python; what it raises stops the run."""
    if run.failed != NULL and run.failed[0]:
        return
    cdef uint64_t mode = fbp_flush_subnormals(0)
    with gil:
        structs = <Structs> node.call.plan
        shared = None if structs.share is None or not run.whole else structs.share.part(run.before, run.whole)
        error = call(<object> node.call.object, structs, run.rows, bool(run.training), run.seed, run.step, shared)
        if error is not None:
            structs.error = error
            if run.failed != NULL:
                run.failed[0] = 1
    fbp_set_float_mode(mode)


cdef class Structs:
    """The nodes, steps and programs of one lowered graph, for up to ``capacity`` rows, and their memory."""

    cdef fbp_node *nodes
    cdef fbp_step *steps
    cdef fbp_program *programs
    cdef double **row_losses
    cdef int64_t *loss_rows
    cdef const fbp_loss **loss_of
    cdef char *scratch
    cdef int32_t scratch_threads, dtype
    cdef int64_t n_programs
    cdef readonly int64_t scratch_bytes, tile
    cdef dict _number_of, _program_of, _offsets
    cdef object _arena, _real, _memory, error
    cdef uint8_t[::1] _bytes    # of the arena
    cdef list _node_list, _arrays
    cdef readonly object lowering
    cdef readonly int64_t capacity
    cdef object share

    def __cinit__(self, memory, lowering, capacity, programs, *_):
        self.lowering, self.capacity, self._memory = lowering, capacity, memory
        self._arrays = []
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
        self.loss_of = <const fbp_loss **> _zeros(len(lowering.loss_nodes), sizeof(fbp_loss *))
        for i, node in enumerate(self._node_list):
            self._fill_node(&self.nodes[i], node)
        self._choose_tile()
        self._fill_programs(programs)
        for i, node in enumerate(lowering.loss_nodes):
            self.row_losses[i] = <double *> self._at(node.loss.row_loss)
            self.loss_rows[i] = node.dims[0]
            self.loss_of[i] = &self.nodes[<int64_t> self._number_of[id(node)]].loss

    def __dealloc__(self):
        free(self.nodes)
        free(self.steps)
        free(self.programs)
        free(self.row_losses)
        free(self.loss_rows)
        free(self.loss_of)
        free(self.scratch)

    def _lay_out(self):
        """Give every buffer a place in the arena, each starting on a cache line of its own."""
        self._offsets = {}
        total = 0
        # no node may have a gradient that comes from outside: that of an output that is an input
        for b in {id(b): b for b in (*buffers_of(self._node_list), *self.lowering.grads.values())}.values():
            self._offsets[id(b)] = total
            size = (b.per_row * self.capacity + b.per_pair * self.capacity ** 2 + b.fixed) * self._item_bytes(b.kind)
            # an odd number of cache lines between neighbours keeps them out of each other's cache sets
            total += (size + 127) // 64 * 64
        try:
            _may_allocate()
            self._arena = self._bytes = aligned_zeros(total, "uint8")
        except (MemoryError, ValueError) as error:
            raise MemoryError(f"running {self.capacity:,} rows at once needs {total / 2**30:,.1f} GiB, which cannot be "
                              "had; use smaller batches") from error

    cdef int64_t _item_bytes(self, str kind) except -1:
        return self._real.itemsize if kind == "real" else np.dtype(kind).itemsize

    cdef int _choose_tile(self) except -1:
        """Choose how many rows go through the net together, and so the scratch memory that each thread needs.

        They are few enough for their values to stay in the cache, but enough to be worth fetching weights for: then
        the values may be as many as those weights.
        """
        cdef int64_t row_bytes, rows
        asked = [(s.per_row * self._item_bytes(s.kind), (s.fixed + s.per_batch_row * self.capacity) *
                  self._item_bytes(s.kind)) for s in [node.scratch for node in self._node_list]]
        row_bytes = sum([b.per_row * self._item_bytes(b.kind) for b in buffers_of(self._node_list)])
        row_bytes = max(1, row_bytes + max([per_row for per_row, _ in asked], default=0))
        rows = min(_ENOUGH_ROWS, max(_LARGEST_TILE, self._fetched_bytes()) // row_bytes)
        if rows > 12 and rows < _ENOUGH_ROWS:
            rows = rows // 12 * 12
        rows = max(1, rows, _CACHED_TILE // row_bytes // 48 * 48)
        self.tile = min(rows, max(self.capacity, 1))
        self.scratch_bytes = max([per_row * self.tile + fixed for per_row, fixed in asked], default=0)
        self.scratch_bytes = (self.scratch_bytes + 63) // 64 * 64
        return 0

    cdef int64_t _fetched_bytes(self) except -1:
        """The bytes of the parameters that a tile fetches: of each node no more than a row can multiply with."""
        elements = 0
        for node in self._node_list:
            sizes = [self._memory.params[place.name].size for place in node.p if isinstance(place, NetworkArray)]
            elements += min(sum(sizes), int(node.work["forward"].cost / _MULTIPLY_ADD) if "forward" in node.work else 0)
        return elements * self._real.itemsize

    cdef void *_at(self, place) except? NULL:
        if place is None:
            return NULL
        if isinstance(place, NetworkArray):
            return _written(getattr(self._memory, place.vector)[place.name])
        return &self._bytes[<int64_t> self._offsets[id(place)]]

    cdef void **_pointer(self, fbp_node *n, str name) except NULL:
        """The pointer of a node that PlanNode.places() calls by this name."""
        cdef int i
        if name.endswith("]"):
            what, number = name.rstrip("]").split("[")
            i = int(number)
            return (&n.x[i] if what == "x" else &n.dx[i] if what == "dx" else &n.p[i] if what == "p" else
                    &n.dp[i] if what == "dp" else &n.buffer[i] if what == "buffer" else &n.save[i])
        if name == "gate.from":
            return <void **> &n.fusion.gate.from_
        if name == "affine":
            return <void **> &n.fusion.affine
        if name == "target":
            return <void **> &n.loss.target
        if name == "weight":
            return <void **> &n.loss.weight
        return (&n.y if name == "y" else &n.dy if name == "dy" else &n.prepared if name == "prepared" else
                &n.fusion.slope if name == "slope" else &n.loss.row_weight if name == "row_weight" else
                <void **> &n.loss.row_loss if name == "row_loss" else <void **> &n.loss.row_right)

    cdef int _fill_node(self, fbp_node *n, node) except -1:
        cdef int i
        if node.call is not None:
            n.call.object, n.call.plan = <void *> node, <void *> self
            n.loss.row_loss = <double *> self._at(node.loss.row_loss)
            n.loss.row_right = <double *> self._at(node.loss.row_right)
            n.loss.weight = self._at(node.loss.weight)
            return 0
        _check_room(node.op, "inputs", max(len(node.x), len(node.dx)), FBP_MOST_INPUTS)
        _check_room(node.op, "parameters", max(len(node.p), len(node.dp)), FBP_MOST_PARAMETERS)
        _check_room(node.op, "buffers", len(node.buffers), FBP_MOST_BUFFERS)
        _check_room(node.op, "saved tensors", len(node.saves), FBP_MOST_SAVES)
        _check_room(node.op, "dims", len(node.dims), FBP_MOST_DIMS)
        _check_room(node.op, "attrs", len(node.attrs), FBP_MOST_ATTRS)
        for name, place in node.places():
            self._pointer(n, name)[0] = self._at(place)
        for i, size in enumerate(node.dims):
            n.dim[i] = size
        for i, value in enumerate(node.attrs):
            n.attr[i] = value
        n.constants = self._kept(node.constants, self._real)
        n.integers = <const int64_t *> self._kept(node.integers, np.int64)
        n.id, n.bf16, n.fusion.updates, n.loss.scale = node.id, node.bf16, node.updates, node.loss.scale
        n.adds = sum([1 << i for i in node.adds])
        n.fusion.act.op, n.fusion.act.alpha = fbp_find_op(node.act.op.encode()), node.act.alpha
        n.fusion.gate.op, n.fusion.gate.alpha = fbp_find_op(node.gate.op.encode()), node.gate.alpha
        return 0

    cdef const void *_kept(self, numbers, dtype) except? NULL:
        """An array of these numbers that lives as long as the plan; NULL for none."""
        if not numbers:
            return NULL
        array = np.array(numbers, dtype=dtype)
        self._arrays.append(array)
        return _read(array)

    cdef int _fill_programs(self, programs) except -1:
        cdef int64_t used = 0
        cdef fbp_step *s
        self._program_of, self.n_programs = {}, len(programs)
        for i, (name, steps) in enumerate(programs.items()):
            self._program_of[name] = i
            self.programs[i].steps = &self.steps[used]
            self.programs[i].n_steps = len(steps)
            self.programs[i].tile = self.tile
            for step, group in groups(steps):
                s = &self.steps[used]
                s.node = &self.nodes[<int64_t> self._number_of[id(step.node)]]
                s.group, s.domain = group, FBP_OVER_UNITS if step.stage else FBP_OVER_ROWS
                s.run, s.units = self._entry(step.node, step.phase), step.work.units
                s.cost = max(step.cost(self.capacity), 1e-3)
                s.chunk = max(1, <int64_t> (_TASK_COST / s.cost), <int64_t> step.work.least)
                if s.chunk > 16:
                    s.chunk = (s.chunk + 11) // 12 * 12
                used += 1
        return 0

    cdef fbp_entry _entry(self, node, str phase) except NULL:
        """What runs a phase of a node: its op's, or, where the plan itself does it, the plan's own."""
        if phase == "feed":
            return fbp_feed_integers if node.y.kind == "int64" else fbp_feed_rows
        if phase == "update":
            return fbp_update_units
        if phase == "update_rows":
            return fbp_update_row_units
        if phase == "call":
            return _call_back
        if phase == "accumulate_rows":
            return _table.accumulate_phases[self.dtype].forward
        if phase == "accumulate_units":
            return _table.accumulate_phases[self.dtype].gradient
        return fbp_phase_entry(_table.op[self.dtype][fbp_find_op(node.op.encode())], _phase_numbers[phase])

    cdef const fbp_program *_program(self, str name) except NULL:
        """A program that is ready to run."""
        self._make_ready()
        return &self.programs[<int64_t> self._program_of[name]]

    cdef int _make_ready(self) except -1:
        """Give all programs as many threads as are allowed now, and scratch memory for them."""
        cdef int64_t i
        cdef int32_t n = _threads
        if self.scratch_threads < n:
            scratch = <char *> _zeros(n * <size_t> self.scratch_bytes + 64, 1)
            free(self.scratch)
            self.scratch, self.scratch_threads = scratch, n
        for i in range(self.n_programs):
            self.programs[i].n_threads, self.programs[i].fork_cost = n, _fork_cost
            self.programs[i].scratch_bytes = self.scratch_bytes
            self.programs[i].scratch = self.scratch + (-<uintptr_t> self.scratch & 63)
        return 0

    def view(self, buffer, shape: tuple, int64_t rows):
        """Return the array at a buffer: rows of the given shape."""
        return self.whole(buffer, (rows, *shape))

    def whole(self, buffer, shape: tuple):
        """Return the array at a buffer, whose shape is that of all of it."""
        start = self._offsets[id(buffer)]
        dtype = self._real if buffer.kind == "real" else np.dtype(buffer.kind)
        return self._arena[start:start + prod(shape) * dtype.itemsize].view(dtype).reshape(shape)

    def array(self, place, shape: tuple):
        """Return the array of a parameter's gradient: the network's own, or a buffer."""
        if isinstance(place, NetworkArray):
            return getattr(self._memory, place.vector)[place.name]
        return self.view(place, shape, 1)[0]

    @property
    def memory(self):
        """The network's own arrays."""
        return self._memory

    def write(self, buffer, array) -> None:
        """Copy rows into a buffer."""
        cdef const uint8_t[::1] given = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        if given.shape[0]:
            memcpy(self._at(buffer), &given[0], given.shape[0])
