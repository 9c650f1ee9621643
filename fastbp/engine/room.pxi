# Included by native.pyx: memory that the ranks of one machine share, and in which they meet.

# How often a rank looks for another before it gives its processor away: some milliseconds, or some microseconds where
# there are more ranks than processors.
cdef int64_t _SPINS = 100000, _FEW_SPINS = 200


cdef int32_t _wait_on(void *owner) noexcept nogil:
    """Look, now and then, whether the ranks that are waited for are still there, and whether Ctrl-C was pressed."""
    with gil:
        room = <Room> owner
        try:
            PyErr_CheckSignals()
            room._look()
        except BaseException as error:
            room.error = error
            return 1
    return 0


cdef class Room:
    """One rank's end of memory that all of them see: ``src_c/room.c`` says how they meet there.

    Parameters
    ----------
    memory : buffer
        Of ``room_bytes`` bytes, all 0 at first, the same for all ranks.
    rank, size : int
    bounds : int64 array (size + 1,)
        Of a flat vector, rank r has the elements from ``bounds[r]`` to ``bounds[r + 1]`` as its part.
    dtype : numpy.dtype
    look : callable
        Called now and then while this rank waits for others; what it raises ends the waiting.
    """

    cdef fbp_room room
    cdef object _memory, _bounds, _look
    cdef readonly int64_t length
    cdef readonly object error

    def __cinit__(self, memory, int64_t rank, int64_t size, bounds, dtype, look):
        cdef fbp_room *r = &self.room
        self._memory, self._bounds, self._look = memory, np.array(bounds, np.int64), look
        if len(self._bounds) != size + 1 or not 0 <= rank < size or self._bounds[0] != 0 \
                or (np.diff(self._bounds) < 0).any() \
                or memoryview(memory).nbytes < room_bytes(size, bounds[size], dtype):
            raise ValueError(f"Room: {memoryview(memory).nbytes} bytes, rank {rank} of {size}, bounds {bounds}")
        self.length, r.dtype = self._bounds[size], dtype.itemsize == 8
        r.stride = _room_stride(self.length, dtype)
        cdef uint8_t[::1] seats = memory
        r.seats = <fbp_seat *> &seats[0]
        r.gradients = <char *> r.seats + size * sizeof(fbp_seat)
        r.vector = r.gradients + size * r.stride
        r.bounds, r.rank, r.size = <const int64_t *> _read(self._bounds), rank, size
        r.spins = _SPINS if size <= (os.cpu_count() or 1) else _FEW_SPINS
        r.wait, r.owner = _wait_on, <void *> self

    @property
    def part(self) -> tuple:
        """The first element of this rank's part, and the one after its last."""
        return self.room.bounds[self.room.rank], self.room.bounds[self.room.rank + 1]

    def vote(self, double[::1] numbers) -> None:
        """Add up over all ranks, in place, as many numbers as a step's sums."""
        if numbers.shape[0] != FBP_SUMS:
            raise ValueError(f"Room.vote: {numbers.shape[0]} numbers; expected {FBP_SUMS}")
        self._check()
        with nogil:
            fbp_vote(&self.room, &numbers[0])
        self._check()

    def fits(self, array) -> bool:
        """Whether vectors like this one are exchanged here."""
        return array.shape == (self.length,) and array.dtype.kind == "f" \
            and array.dtype.itemsize == (8 if self.room.dtype else 4) and array.flags.c_contiguous

    def give(self, array) -> bool:
        """Put this rank's part of a vector where all see it; return whether a rank has failed, as all three do."""
        return self._exchange(array, 0)

    def collect(self, array) -> bool:
        """Make a vector whole, of which each rank has its part."""
        return self._exchange(array, 1)

    def broadcast(self, array) -> bool:
        """Give all ranks the vector of rank 0."""
        return self._exchange(array, 2)

    cdef bint _exchange(self, array, int what) except -1:
        cdef int32_t failed
        if not self.fits(array):
            raise ValueError(f"Room: {array.shape} of {array.dtype}; expected ({self.length},)")
        cdef char *at = _written(array)
        self._check()
        with nogil:
            failed = (fbp_give(&self.room, at) if what == 0 else fbp_collect(&self.room, at) if what == 1 else
                      fbp_broadcast(&self.room, at))
        self._check()
        return failed != 0

    def leave(self) -> None:
        """Tell the others that this rank will not come any more."""
        self.room.seats[self.room.rank].left = 1

    def has_left(self, int64_t rank) -> bool:
        """Whether a rank has said so."""
        return 0 <= rank < self.room.size and self.room.seats[rank].left != 0

    def waits_for(self, int64_t rank) -> bool:
        """Whether a rank has not come yet to the meeting that this one is at."""
        return 0 <= rank < self.room.size and self.room.seats[rank].turn < self.room.turn

    cdef int _check(self) except -1:
        if self.error is not None:
            self.leave()
            raise self.error
        return 0


cdef struct Moved:
    void **place
    int64_t offset
    bint gradient


cdef int64_t _room_stride(int64_t length, dtype) except -1:
    return (length * <int64_t> dtype.itemsize + 4095) // 4096 * 4096


def room_bytes(int64_t size, int64_t length, dtype) -> int:
    """Return the bytes of memory that so many ranks share for a vector of this length."""
    return size * sizeof(fbp_seat) + (size + 1) * _room_stride(length, dtype)
