"""Ranks: processes that train one network together, each on its share of every mini-batch.

All that is asked of whatever connects them is a sum over all ranks, in place. What a rank has to tell the others is put
among zeros of theirs, and added up. So every rank holds the same numbers afterwards, and goes on in the same way.

A rank that fails says so in the sum that the others wait in; they raise its message. Nobody is left waiting.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fastbp.core.checks import integer
from fastbp.core.errors import RankError
from fastbp.engine.ahead import Ahead
from fastbp.ops.base import Array

Sum = Callable[[Array], Any]
"""Adds up an array over all ranks, in place."""

# What the sum is called, by whoever connects the ranks.
_SUMS = ("sum", "sum_", "sum_in_place", "all_reduce", "allreduce", "allreduce_sum")
# Of an error, this many bytes are told to the others.
_MESSAGE = 2000
# As FBP_SUM_FAILED and FBP_SUMS: what ranks add up before they go on.
_FAILED, _SUMS_LENGTH = 1, 3


class Meeting(Protocol):
    """Memory in which ranks of one machine meet."""

    @property
    def error(self) -> BaseException | None:
        """Why this rank has not waited for the others."""

    def vote(self, numbers: Array) -> None:
        """Add up over all ranks, in place."""

    def fits(self, array: Array) -> bool:
        """Whether vectors like this one are exchanged here."""

    def give(self, array: Array) -> bool:
        """Put this rank's part of a vector where all see it; return whether a rank has failed, as all three do."""

    def collect(self, array: Array) -> bool:
        """Make a vector whole, of which each rank has its part."""

    def broadcast(self, array: Array) -> bool:
        """Give all ranks the vector of rank 0."""

    def leave(self) -> None:
        """Tell the others that this rank will not come any more."""


class Ranks:
    """This rank, and the sum over all.

    Parameters
    ----------
    rank, size : int
    add : callable
        ``add(array)`` puts the sum over all ranks in the array's place, on each of them.
    threads : bool
        Whether that may be done in another thread than before.

    Attributes
    ----------
    room, room_key : Meeting or None, and what it is for
        Where ranks of one machine meet: then they vote there.
    in_parts : sequence of array
        Vectors of which each rank has brought up to date a part.
    """

    def __init__(self, rank: int, size: int, add: Sum, threads: bool = False) -> None:
        self.rank, self.size, self._add, self.threads = rank, size, add, threads
        self.room: Meeting | None = None
        self.room_key: object = None
        self.in_parts: Sequence[Array] = ()
        self._settled: BaseException | None = None
        self._announced = self._broken = False
        self._ahead: Ahead | None = None
        self._voting: Array | None = None

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which calls callbacks and writes files."""
        return self.rank == 0

    # ---- numbers ----------------------------------------------------------------------------------------------------

    def sum(self, array: Array) -> Array:
        """Add up over all ranks, in place."""
        try:
            with np.errstate(all="ignore"):     # a gradient that is not finite is judged later
                self._add(array)
        except BaseException:
            self._broken = True
            if self.room is not None:
                self.room.leave()
            raise
        return array

    def gather(self, array: Array, before: int, whole: int) -> Array:
        """Return the rows of all ranks, of which these are those after the first so many."""
        exact = array.dtype if array.dtype.kind == "f" else np.dtype(np.float64)
        rows = np.zeros((whole, *array.shape[1:]), exact)
        rows[before:before + len(array)] = array
        return self.sum(rows).astype(array.dtype, copy=False)

    def broadcast(self, array: Array) -> None:
        """Give every rank what rank 0 has, in place."""
        if self.room is not None and self.room.fits(array):
            self._exchange(self.room.broadcast, array)
            return
        if not self.leads:
            array[...] = 0
        self.sum(array)

    def share(self, value: Any) -> Any:
        """Return what rank 0 has, on every rank."""
        told = np.frombuffer(pickle.dumps(value) if self.leads else b"", np.uint8).astype(np.float64)
        length = self.sum(np.array([float(len(told))]))
        if not self.leads:
            told = np.zeros(int(length[0]))
        self.sum(told)
        return value if self.leads else pickle.loads(told.astype(np.uint8).tobytes())

    def any(self, value: bool) -> bool:
        """Whether it is so on any rank."""
        return bool(self.sum(np.array([float(value)]))[0])

    # ---- failures ---------------------------------------------------------------------------------------------------

    def vote(self, sums: Array) -> bool:
        """Add up, in place, what ranks go on by; return whether any has failed."""
        if self.room is None:
            self.sum(sums)
        else:
            self.room.vote(sums)
        return bool(sums[_FAILED])

    def meet(self, sums: Array, gradients: Array) -> bool:
        """Add up what a mini-batch is judged by and, if no rank has failed, the gradients; return whether one has."""
        if self._voting is not None:
            return self._wait(sums)
        if self.vote(sums):
            self._announced = True
            return True
        self.sum(gradients)
        return False

    def begin(self, sums: Array) -> None:
        """Begin to do what `meet` does, in another thread; the gradients follow by `add_piece`."""
        self._ahead = self._ahead or Ahead()
        self._voting = sums
        self._ahead.begin(lambda: self.vote(sums))

    def add_piece(self, gradients: Array) -> None:
        """Add up some more gradients, after those before them, if no rank has failed."""
        assert self._ahead is not None
        assert self._voting is not None
        sums = self._voting
        self._ahead.begin(lambda: None if sums[_FAILED] else self.sum(gradients))

    def _wait(self, sums: Array) -> bool:
        assert self._ahead is not None
        assert self._voting is not None
        voted, self._voting = self._voting, None
        self._ahead.wait()
        sums[...] = voted
        self._announced = bool(voted[_FAILED])
        return self._announced

    def give(self, array: Array) -> None:
        """Put this rank's part of a vector where all ranks of the room see it."""
        if self.room is not None:
            self._exchange(self.room.give, array)

    def collect(self) -> None:
        """Make whole what was left in parts."""
        vectors, self.in_parts = self.in_parts, ()
        for array in vectors:
            assert self.room is not None
            self._exchange(self.room.collect, array)

    def _exchange(self, how: Callable[[Array], bool], array: Array) -> None:
        if how(array):
            self.hear()

    def announced(self) -> None:
        """Note that ranks have voted to fail, and tell each other why next."""
        self._announced = True

    @contextmanager
    def together(self) -> Iterator[None]:
        """Do something on each rank that may fail on any, and in which ranks do not meet: then all fail."""
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise
        if self.vote(np.zeros(_SUMS_LENGTH)):
            self.hear()

    def fail(self, error: BaseException) -> None:
        """Tell the others of an error that they do not know of yet, and that this rank is about to raise."""
        if error is self._settled or self._broken or (self.room is not None and self.room.error is not None):
            return
        self._settled = error
        if not self._announced:
            self.vote(np.array([0.0, 1.0, 0.0]))
        self._announced = False
        self._messages(f"rank {self.rank} raised {type(error).__name__}: {error}")

    def hear(self) -> None:
        """Raise what another rank has failed with."""
        self._announced = False
        told = [message for message in self._messages("") if message]
        self._settled = RankError(f"{told[0]}. Training has ended on all ranks")
        raise self._settled

    def settle(self, error: BaseException) -> None:
        """Note an error that all ranks raise alike."""
        self._settled = error

    def _messages(self, own: str) -> list[str]:
        table = np.zeros((self.size, _MESSAGE + 1))
        text = own.encode()[:_MESSAGE]
        table[self.rank, 1:len(text) + 1] = np.frombuffer(text, np.uint8)
        table[self.rank, 0] = bool(self.in_parts)
        in_parts, *told = self.sum(table).T
        if in_parts.all():
            self.collect()
        return [row[row > 0].astype(np.uint8).tobytes().decode(errors="replace") for row in np.transpose(told)]

    def __deepcopy__(self, memo: dict[int, Any]) -> Ranks:
        return self


@dataclass(frozen=True)
class Part:
    """This rank's rows of a batch, for what looks at all of them."""

    ranks: Ranks
    before: int
    whole: int

    def gather(self, array: Array) -> Array:
        """Return the rows of all ranks."""
        return self.ranks.gather(array, self.before, self.whole)

    def own(self, array: Array, rows: int) -> Array:
        """Return this rank's rows."""
        return array[self.before:self.before + rows]

    def total(self, array: Array) -> Array:
        """Return the sum over all ranks."""
        return self.ranks.sum(np.array(array))

    def once(self, array: Array) -> Array:
        """Return what every rank has on rank 0, and zeros elsewhere: it is counted once in sums."""
        return array if self.ranks.leads else np.zeros_like(array)


@dataclass(frozen=True)
class Share:
    """This rank's share of some mini-batches.

    Attributes
    ----------
    ranks : Ranks
    parts : int64 array (mini-batches, 4)
        Of each: this rank's first row in the order of the data, its rows, the rows before them in the batch, and all
        rows of the batch.
    totals : float64 array (mini-batches, losses)
        The sums of the row weights of each whole batch.
    apart : bool
        Whether batch normalisation looks at the rows of each rank by themselves.
    is_local : bool
        Whether the data hold this rank's rows alone, of one mini-batch; else every rank has all of the data.
    """

    ranks: Ranks
    parts: Array
    totals: Array
    apart: bool = False
    is_local: bool = False

    def part(self, before: int, whole: int) -> Part:
        """Return the place of this rank's rows within a batch."""
        return Part(self.ranks, before, whole)

    @property
    def most(self) -> int:
        """The rows of this rank's largest part."""
        return max(1, int(self.parts[:, 1].max()))

    @property
    def fewest(self) -> int:
        """The rows of the smallest batch or, if ranks look at theirs apart, of the smallest part."""
        whole = self.parts[:, 3]
        return int((whole // self.ranks.size if self.apart else whole).min())


def as_ranks(owner: str, comm: Any) -> Ranks | None:
    """Check what connects ranks; None where there is but one.

    Parameters
    ----------
    owner : str
        What errors begin with.
    comm : object
        A communicator of mpi4py; or anything with ``rank``, ``size`` and ``sum(array)``, a sum over all ranks in place.
        If it has ``threads = True``, sums may be made in a thread of their own.
    """
    if comm is None or isinstance(comm, Ranks):
        return comm
    rank, size = (integer(value() if callable(value) else value)
                  for value in (getattr(comm, name, None) for name in ("rank", "size")))
    add = _sum_of(comm)
    if rank is None or size is None or add is None:
        raise TypeError(f"{owner}: comm is {comm!r}; expected a communicator such as mpi4py's MPI.COMM_WORLD, or an "
                        "object with rank, size and sum(array), which adds up over all ranks in place")
    if not 0 <= rank < size:
        raise ValueError(f"{owner}: comm has rank {rank} and size {size}; expected a rank from 0 to size - 1")
    if size == 1:
        return None
    ones = np.ones(2)
    add(ones)
    if not (ones == size).all():
        raise ValueError(f"{owner}: comm adds up ones of {size} ranks to {ones[0]:g}; expected {size}, in the place of "
                         "the array that it is given")
    return Ranks(rank, size, add, _takes_threads(comm))


def _takes_threads(comm: Any) -> bool:
    """Whether sums may be made in another thread than the one that the communicator is from."""
    if type(comm).__module__.partition(".")[0] == "mpi4py":
        from mpi4py import MPI
        return bool(MPI.Query_thread() == MPI.THREAD_MULTIPLE)
    return getattr(comm, "threads", False) is True


def _sum_of(comm: Any) -> Sum | None:
    """Return what adds up in place."""
    if type(comm).__module__.partition(".")[0] == "mpi4py":
        from mpi4py import MPI
        return lambda array: comm.Allreduce(MPI.IN_PLACE, array)
    return next((getattr(comm, name) for name in _SUMS if callable(getattr(comm, name, None))), None)
