"""Where everything stands in the picture: boxes in columns, lines between them, and labels that cover no box.

Pictures run to the right or, for narrow screens, downwards: *along* is from column to column, *across* within a column.
Between two columns there is a gap as wide as the labels in it need; a line to a later column than the next swings
through a lane beside all boxes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import inf

from fastbp.views.drawing import at
from fastbp.views.explanations.parts import Diagram, Edge

Point = tuple[float, float]

BOX_WIDTH, BOX_HEIGHT, MARGIN = 96, 62, 14
# Between the boxes of a column, and the least between columns, for pictures that run to the right and downwards.
_BESIDE, _AHEAD = (22, 12), (112, 66)
# One line of a label, and half a line: labels of 12 pixels.
_LINE, _RISE = 15, 10
# Lanes for lines that pass columns: their number, and how far apart they are, to the right and downwards.
_LANES, _LANE = 5, (24, 16)
_ARROW, _MORE = 8, 20
# Labels that find room beside one another in the least gap of a picture that runs downwards.
_FEW = 4


@dataclass(frozen=True)
class Label:
    """What is written beside a line: markup and style of each of its lines, and the width of the widest."""

    lines: tuple[tuple[str, str], ...]
    width: float

    @property
    def height(self) -> float:
        """From above the first line to below the last."""
        return _LINE * len(self.lines)


@dataclass(frozen=True)
class Rectangle:
    """A place that is taken."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Rectangle) -> float:
        """Return the area that both have."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0


@dataclass(frozen=True)
class Seat:
    """Where a label stands: its middle, the base of its first line, and how far the next one is below."""

    x: float
    y: float
    step: float = _LINE

    def covers(self, label: Label) -> Rectangle:
        """Return the place that a label takes there."""
        top = self.y - _RISE
        return Rectangle(self.x - label.width / 2, top, self.x + label.width / 2,
                         top + _LINE + self.step * (len(label.lines) - 1))


@dataclass
class Placement:
    """A diagram with a place for everything.

    Attributes
    ----------
    diagram : Diagram
    labels : list of Label or None
        For each line of the diagram.
    vertical : bool
    width, height : float
        Of all boxes, lines and labels.
    centres : dict of box to (x, y)
    more : list of (x, y, count)
        Where a column says how many boxes it leaves out: the middle of the text's base.
    """

    diagram: Diagram
    labels: list[Label | None]
    vertical: bool
    width: float = 0.0
    height: float = 0.0
    centres: dict[str, Point] = field(default_factory=dict)
    more: list[tuple[float, float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._column = {box.id: k for k, c in enumerate(self.diagram.columns) for box in c.boxes}
        self._lanes = self._find_lanes()
        self._gaps = self._find_gaps()
        self._shifts = self._find_shifts()
        self._place_boxes()

    # ---- boxes ------------------------------------------------------------------------------------------------------

    def _spans(self, edge: Edge) -> tuple[int, int]:
        return self._column[edge.source], self._column[edge.target]

    def _find_lanes(self) -> dict[int, int]:
        """Give each line that passes columns a lane, which no other line takes between the same columns if possible."""
        ends = [-1] * _LANES
        lanes: dict[int, int] = {}
        spans = {i: self._spans(e) for i, e in enumerate(self.diagram.edges)}
        for i in sorted((i for i, (a, b) in spans.items() if b > a + 1), key=lambda i: spans[i]):
            start, end = spans[i]
            free = [lane for lane, last in enumerate(ends) if last <= start]
            lanes[i] = free[0] if free else min(range(_LANES), key=ends.__getitem__)
            ends[lanes[i]] = max(end, ends[lanes[i]])
        return lanes

    def _find_gaps(self) -> list[float]:
        """Return how far apart each column is from the next."""
        gaps = [float(_AHEAD[self.vertical])] * len(self.diagram.columns)
        count = [0] * len(gaps)
        for edge, label in zip(self.diagram.edges, self.labels, strict=True):
            start, end = self._spans(edge)
            if label is not None and end == start + 1:
                gaps[start] = max(gaps[start], label.height + 30 if self.vertical else label.width + 20)
                count[start] += 1
        if self.vertical:
            gaps = [gap + _MORE * (bool(c.more) + (labels > _FEW))
                    for gap, c, labels in zip(gaps, self.diagram.columns, count, strict=True)]
        return gaps

    def _find_shifts(self) -> list[float]:
        """Return how far each line is moved across, so that several between the same boxes stand beside one another."""
        alike: dict[tuple[str, str], list[int]] = defaultdict(list)
        for i, edge in enumerate(self.diagram.edges):
            alike[edge.source, edge.target].append(i)
        shifts = [0.0] * len(self.diagram.edges)
        for group in alike.values():
            for k, i in enumerate(group):
                shifts[i] = 22.0 * (k - (len(group) - 1) / 2)
        return shifts

    def _place_boxes(self) -> None:
        across, along = (BOX_WIDTH, BOX_HEIGHT) if self.vertical else (BOX_HEIGHT, BOX_WIDTH)
        beside = _BESIDE[self.vertical]
        extents = [len(c.boxes) * (across + beside) - beside + _MORE * bool(c.more and not self.vertical)
                   for c in self.diagram.columns]
        widest = max(extents)
        self._used = used = max(self._lanes.values(), default=-1) + 1
        before: float = MARGIN + (_LANE[0] * used + 8 * bool(used) if not self.vertical else 0)
        middle = before + widest / 2
        start = float(MARGIN)
        for column, extent, gap in zip(self.diagram.columns, extents, self._gaps, strict=True):
            first = middle - extent / 2 + across / 2
            for i, box in enumerate(column.boxes):
                self.centres[box.id] = self._point(start + along / 2, first + i * (across + beside))
            if column.more:
                end = first + len(column.boxes) * (across + beside) - beside - across / 2
                x, y = self._point(start + along + 16, middle) if self.vertical else (start + along / 2, end + 17)
                self.more.append((x, y, column.more))
            start += along + gap
        self._near = before + widest
        length, breadth = start - self._gaps[-1] + MARGIN, before + widest + float(MARGIN)
        if self.vertical:
            self._reach = max((label.width for i, label in enumerate(self.labels) if label and i in self._lanes),
                              default=0.0) / 2 + 12
            breadth += (self._reach * 2 + _LANE[1] * (used - 1)) if used else 0
            sides = max((label.width for label in self.labels if label), default=0.0)
            breadth = max(breadth, sides + 2 * MARGIN)
        self.width, self.height = self._point(length, breadth)

    def _point(self, along: float, across: float) -> Point:
        return (across, along) if self.vertical else (along, across)

    # ---- lines ------------------------------------------------------------------------------------------------------

    def _ends(self, i: int) -> tuple[Point, Point]:
        """Return where a line leaves its box and where it arrives, each as (along, across)."""
        edge, half = self.diagram.edges[i], (BOX_HEIGHT if self.vertical else BOX_WIDTH) / 2
        start, end = (self._point(*self.centres[name]) for name in (edge.source, edge.target))
        shift = self._shifts[i]
        return (start[0] + half, start[1] + shift), (end[0] - half - 2, end[1] + shift)

    def _lane(self, i: int) -> float:
        """Return where a lane runs, across."""
        lane = self._lanes[i]
        if self.vertical:
            return self._near + self._reach + _LANE[1] * lane
        return MARGIN + _LANE[0] * (self._used - lane) - 4.0

    def path(self, i: int) -> str:
        """Return the path of a line, as SVG has it."""
        (a, c), (b, d) = self._ends(i)
        if i not in self._lanes:
            return "M" + "L".join(self._written(p) for p in ((a, c), (b, d)))
        lane, (first, end) = self._lane(i), self._spans(self.diagram.edges[i])
        up, down = self._gaps[first] * 0.9, self._gaps[end - 1] * 0.9
        curve = [(a + up * 0.6, c), (a + up * 0.4, lane), (a + up, lane)]
        back = [(b - down * 0.4, lane), (b - down * 0.6, d), (b, d)]
        return (f"M{self._written((a, c))}C{' '.join(map(self._written, curve))}L{self._written((b - down, lane))}"
                f"C{' '.join(map(self._written, back))}")

    def _written(self, point: Point) -> str:
        return " ".join(map(at, self._point(*point)))

    # ---- labels -----------------------------------------------------------------------------------------------------

    def seats(self) -> list[Seat]:
        """Return where each label stands; those of the chain come first to choose."""
        seats = [Seat(0.0, 0.0)] * len(self.labels)
        taken: dict[int, list[Rectangle]] = defaultdict(list)
        arriving = Counter(edge.target for edge in self.diagram.edges)
        for i in sorted(range(len(self.labels)), key=lambda i: not self.diagram.edges[i].chain):
            label, edge = self.labels[i], self.diagram.edges[i]
            if label is None:
                continue
            # Gaps are apart from one another, and so are lanes from gaps.
            here = taken[-1 - self._lanes[i] if i in self._lanes else self._column[edge.source]]
            least = inf
            for seat in self._candidates(i, label, arriving[edge.target] > 1):
                shared = sum(seat.covers(label).overlap(other) for other in here)
                if shared < least:
                    seats[i], least = seat, shared
                if not shared:
                    break
            here.append(seats[i].covers(label))
        return seats

    def _candidates(self, i: int, label: Label, converging: bool) -> list[Seat]:
        """Return where a label may stand, the best place first: over its line, within the gap or along the lane."""
        (a, c), (b, d) = self._ends(i)
        if i in self._lanes:
            lane = self._lane(i)
            marks = [a + f * (b - a) for f in (0.5, 0.4, 0.6, 0.3, 0.7)]
            return [self._seat(m, lane, label, level=True) for m in marks]
        room = label.height if self.vertical else label.width
        low, high = a + room / 2 + 4, b - room / 2 - _ARROW
        if self.vertical and self.diagram.columns[self._column[self.diagram.edges[i].source]].more:
            low += _MORE
        high = max(low, high)
        wanted = min(max(a + (0.34 if converging else 0.5) * (b - a), low), high)
        marks = [wanted, *(low + k * (high - low) / 20 for k in range(21))]
        return [self._seat(m, c + (d - c) * (m - a) / (b - a), label, level=abs(c - d) < 8)
                for m in sorted(marks, key=lambda m: abs(m - wanted))]

    def _seat(self, along: float, across: float, label: Label, level: bool) -> Seat:
        """Return the seat at a point of a line: over it or, where that is level, above it and, a second line, below."""
        x, y = self._point(along, across)
        if self.vertical:
            half = label.width / 2 + 2
            return Seat(min(max(x, half), max(self.width - half, half)), y - label.height / 2 + _RISE)
        return Seat(x, y - 6, 20) if level else Seat(x, y - label.height / 2 + _RISE)
