# Included by native.pyx: which kernels are used, how many threads may be, and memory for plans.
import os
from time import perf_counter

from libc.stdlib cimport calloc

from fastbp.engine.threads import initial_threads

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
        raise ValueError(f"isa is {name!r}, {what}; expected one of {usable}. The environment variable FASTBP_ISA sets "
                         "it")
    return table


cdef const fbp_table *selected_table() noexcept:
    return _table


_table = table_named(os.environ.get("FASTBP_ISA", ""))


def isa() -> str:
    """Return the instruction set in use."""
    return _table.name.decode()


def has_bfloat16() -> bool:
    """Return whether the instruction set in use, on this CPU, multiplies in bfloat16."""
    return bool(fbp_has_bf16(_table))


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


# ---- memory --------------------------------------------------------------------------------------------------------

cdef int64_t _until_failure = 0


def fail_allocation(int64_t n) -> int:
    """Let the n-th allocation of a plan from now on fail; 0 for none. Return how many were left until then.

    For tests: what has failed must leave a working network.
    """
    global _until_failure
    left, _until_failure = _until_failure, n
    return left


cdef int _may_allocate() except -1:
    """Raise MemoryError where a test wants it; called before all memory that a plan takes."""
    global _until_failure
    if _until_failure > 0:
        _until_failure -= 1
        if _until_failure == 0:
            raise MemoryError("an allocation that fails on purpose")
    return 0


cdef void *_zeros(size_t count, size_t size) except NULL:
    """Memory for so many elements, all 0, to be given to `free`."""
    _may_allocate()
    cdef void *memory = calloc(max(count, 1), size)
    if not memory:
        raise MemoryError(f"no memory for {count * size:,} bytes of a plan")
    return memory
