"""Networks that go through a sequence piece by piece: what layers ask for while their graph is made for a piece.

While :meth:`Stream.open` is in force, a layer that looks back takes what it remembers as further inputs of the graph,
and hands on what it is to remember next. Layers that look at each step by itself (``Layer.each_step``) do what they
always do; any other cannot go through a stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from fastbp.graph.tensor import Tensor
from fastbp.ops.base import Shape

_open: ContextVar[Stream | None] = ContextVar("stream", default=None)


class Stream:
    """What the layers of a graph for a piece of a sequence remember.

    Parameters
    ----------
    capacity : int
        How many steps before the piece attention has room for.

    Attributes
    ----------
    states, keys : list of (Tensor, Tensor)
        What is remembered, and what takes its place: all of it, or the steps that follow it.
    hidden, places : Tensor or None
        Which steps, those before and those of the piece, are not there, (capacity + steps); and where in the sequence
        the steps of the piece are. None until a layer asks.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.states: list[tuple[Tensor, Tensor]] = []
        self.keys: list[tuple[Tensor, Tensor]] = []
        self.hidden: Tensor | None = None
        self.places: Tensor | None = None

    def state(self, shape: Shape) -> Tensor:
        """Return an input for what is remembered."""
        return Tensor(shape, name=f"state{len(self.states)}")

    def before(self, features: int) -> Tensor:
        """Return an input for vectors of the steps before."""
        return Tensor((self.capacity, features), name=f"before{len(self.keys)}")

    def hidden_steps(self, steps: int) -> Tensor:
        """Return the input that says which steps are not there."""
        if self.hidden is None:
            self.hidden = Tensor((self.capacity + steps,), name="hidden", dtype="int64")
        return self.hidden

    def places_of(self, steps: int) -> Tensor:
        """Return the input that says where the steps of the piece are."""
        if self.places is None:
            self.places = Tensor((steps,), name="places", dtype="int64")
        return self.places

    @contextmanager
    def open(self) -> Iterator[None]:
        """Let layers that are called know of it."""
        token = _open.set(self)
        try:
            yield
        finally:
            _open.reset(token)


def stream() -> Stream | None:
    """Return the stream whose graph is being made, if there is one."""
    return _open.get()
