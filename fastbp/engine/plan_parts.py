"""The parts of a plan, still without memory: what lowering makes of a graph, and ``native.pyx`` makes structs of.

They mirror ``src_c/fastbp.h``: a :class:`PlanNode` becomes an ``fbp_node``, a :class:`PlanStep` an ``fbp_step``, and a
program is a list of steps in groups. A pointer is still a *place*: a :class:`Buffer` of the plan's own memory, or a
:class:`NetworkArray`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

from fastbp.engine.ranks import Part
from fastbp.graph.memory import Memory
from fastbp.graph.tensor import B, Tensor
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Array, Kind, Native, Shape, Space, Work


@dataclass(eq=False)
class Buffer:
    """Memory of the plan: ``per_row`` elements for each row of the batch, ``per_pair`` for each two, ``fixed`` more."""

    per_row: int = 0
    fixed: int = 0
    kind: Kind = "real"
    per_pair: int = 0

    @classmethod
    def of(cls, space: Space) -> Buffer:
        """Return memory for what an op asks for."""
        return cls(space.per_row, space.fixed, space.kind)

    @classmethod
    def for_tensor(cls, t: Tensor) -> Buffer:
        """Return memory for a tensor."""
        sizes = [s for s in t.whole_shape if s is not B]
        axes = len(t.whole_shape) - len(sizes)
        if axes > 2:
            raise ValueError(f"{t!r} has {axes} axes of rows; a plan has room for two: use "
                             'backend="reference"')
        if t.dtype == "sparse":
            return cls(2, kind="int64")     # where each row begins and ends
        fixed, per_row, per_pair = (prod(sizes) if axes == n else 0 for n in range(3))
        return cls(per_row, fixed, t.dtype, per_pair)


@dataclass(frozen=True)
class NetworkArray:
    """Part of the network's own vectors: ``vector`` is "params", "grads" or "buffers"."""

    vector: str
    name: str


Place = Buffer | NetworkArray | None


class PlanMemory(Protocol):
    """Where the places of a plan are: what a node written in Python is called with."""

    @property
    def memory(self) -> Memory:
        """The network's own arrays."""

    def view(self, buffer: Buffer, shape: Shape, rows: int) -> Array:
        """Return the array at a buffer: rows of the given shape."""

    def whole(self, buffer: Buffer, shape: Shape) -> Array:
        """Return the array at a buffer, whose shape is that of all of it."""

    def array(self, place: Buffer | NetworkArray, shape: Shape) -> Array:
        """Return the array of a parameter's gradient: the network's own, or a buffer."""


Call = Callable[[PlanMemory, int, bool, int, int, Part | None], None]
"""A node written in Python: it is given the plan, the rows, whether they train, the seed, the step, and where the rows
are in a batch that ranks share."""


@dataclass
class TakenActivation:
    """An activation op that another op takes in (``fbp_activation``): its name, its hyperparameter, and where its
    output is, or its derivative where that is kept."""

    op: str = "identity"
    alpha: float = 0.0
    source: Place = None


@dataclass
class LossPart:
    """What losses have besides (``fbp_loss``)."""

    target: Place = None
    weight: Place = None
    row_weight: Place = None
    row_loss: Place = None
    row_right: Place = None
    scale: float = 1.0


@dataclass(eq=False)
class PlanNode:
    """An ``fbp_node``: one use of one op. Field by field as there."""

    op: str
    """The op's name; for what the plan does itself, what that is."""
    work: Mapping[str, Work] = field(default_factory=dict)
    """What each phase has to do, as the op's ``native`` says."""
    dims: tuple[int, ...] = ()
    attrs: tuple[float, ...] = ()
    x: Sequence[Place] = ()
    dx: Sequence[Place] = ()
    y: Place = None
    dy: Place = None
    p: Sequence[Place] = ()
    dp: Sequence[Place] = ()
    buffers: Sequence[Place] = ()
    saves: Sequence[Place] = ()
    prepared: Place = None
    constants: tuple[float, ...] = ()
    integers: tuple[int, ...] = ()
    id: int = 0
    adds: Sequence[int] = ()
    """Which gradients in ``dx`` are added to what is there."""
    bf16: bool = False
    act: TakenActivation = field(default_factory=TakenActivation)
    slope: Place = None
    affine: Place = None
    gate: TakenActivation = field(default_factory=TakenActivation)
    updates: bool = False
    loss: LossPart = field(default_factory=LossPart)
    call: Call | None = None
    scratch: Space = field(default_factory=Space)
    """What each thread needs while it runs a phase."""
    entries_of: int = -1
    """The feed whose sparse rows it reads: x[1] and x[2] are their columns and values, dims[3] how many there are."""

    def places(self) -> Iterator[tuple[str, Place]]:
        """Go through all places, each with the name of its pointer."""
        several = (("x", self.x), ("dx", self.dx), ("p", self.p), ("dp", self.dp), ("buffer", self.buffers),
                   ("save", self.saves))
        for name, places in several:
            yield from ((f"{name}[{i}]", place) for i, place in enumerate(places))
        yield from (("y", self.y), ("dy", self.dy), ("prepared", self.prepared), ("slope", self.slope),
                    ("affine", self.affine), ("gate.from", self.gate.source), ("target", self.loss.target),
                    ("weight", self.loss.weight),
                    ("row_weight", self.loss.row_weight), ("row_loss", self.loss.row_loss),
                    ("row_right", self.loss.row_right))


@dataclass(frozen=True)
class PlanStep:
    """One phase of one node. ``stage`` is empty for phases over rows; unit phases that may run together share one."""

    node: PlanNode
    phase: str
    stage: str = ""

    @property
    def work(self) -> Work:
        """What it has to do."""
        return self.node.work[self.phase]

    def cost(self, capacity: int) -> float:
        """Estimate the nanoseconds that one row, or one unit, takes in one thread, in a batch of so many rows."""
        return self.work.cost + self.work.per_row * capacity


@dataclass(frozen=True)
class LossSpec:
    """A loss as the plan sees it: the C op, its sizes, and what one row of targets is."""

    op: str
    native: Native
    target_shape: tuple[int, ...]
    target_kind: Kind
    labels: range | None = None
    """What targets may be, if they are labels that the C op reads."""
    loss: Loss | None = None
    """The loss itself, where it is to be called back."""
    scale: float = 1.0
    """What it counts for beside others."""
    counts_right: bool = False
    """Whether right decisions are counted."""


Trained = tuple[tuple[str, int], ...]
"""Parameters that are trained, each with its number of elements."""


@dataclass(frozen=True)
class Purpose:
    """What a plan is for.

    ``losses`` is empty where gradients of the outputs come from outside; ``backward`` is False for inference.
    """

    losses: tuple[LossSpec, ...] = ()
    weights: int = 0
    """Sample weights in a row: none, one, or one for each position of the loss."""
    backward: bool = False
    training: bool = True
    """Whether it may be run for training; if not, normalisation is by running statistics alone."""
    input_grads: bool = False
    updates: bool = False
    """Whether gradients may be used for an update as soon as they are there."""
    trained: Trained | None = None
    """The parameters whose gradients are wanted, those that the graph lacks too; None for all of the graph."""
    shared: bool = False
    """Whether other ranks have other rows of the batch."""
    apart: bool = False
    """Whether batch normalisation looks at this rank's rows alone, all the same."""
    tables: Trained = ()
    """The parameters of which only rows whose gradient is not 0 are updated, each with the elements of a row."""


def groups(steps: Iterable[PlanStep]) -> list[tuple[PlanStep, int]]:
    """Number the groups of a program: neighbouring steps over rows, or of one stage, are of one group."""
    numbered: list[tuple[PlanStep, int]] = []
    group, stage = -1, None
    for step in steps:
        if step.stage != stage:
            group, stage = group + 1, step.stage
        numbered.append((step, group))
    return numbered


def nodes_of(programs: Iterable[Sequence[PlanStep]]) -> list[PlanNode]:
    """Return all nodes of some programs, each once."""
    found: dict[int, PlanNode] = {id(s.node): s.node for program in programs for s in program}
    return list(found.values())


def buffers_of(nodes: Iterable[PlanNode]) -> list[Buffer]:
    """Return all buffers of some nodes, each once."""
    found: dict[int, Any] = {id(place): place for n in nodes for _, place in n.places() if isinstance(place, Buffer)}
    return list(found.values())


def read_in_place(nodes: Sequence[PlanNode], feeds: Sequence[PlanNode]) -> list[tuple[int, str, int]]:
    """Find the pointers that can be set to rows of the data set itself, instead of to a copy of them.

    Each is the number of a node, the pointer's name, and the number of the feed. Integers are always copied: they
    decide addresses, and Python may change the data set.
    """
    return [(number, name, feed) for feed, source in enumerate(feeds) for number, node in enumerate(nodes)
            for name, place in node.places()
            if place is source.y and name != "y" and isinstance(place, Buffer) and place.kind == "real"]
