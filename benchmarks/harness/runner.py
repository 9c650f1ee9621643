"""Checks that all peers do the same work, then times them in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from shutil import which
from statistics import median, quantiles

import numpy as np

from fastbp.engine import native
from harness.layer_rows import ROWS
from harness.machine import version_of
from harness.peer_fastbp import Exact
from harness.peers import PEERS
from harness.rows import MINI_BATCHES, Row
from harness.worker import PeerError, Worker

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Clock:
    """What a timing is measured with, and how long it shall be."""

    name: str
    seconds: float


@dataclass
class Timing:
    """What one peer did on one row.

    Attributes
    ----------
    form : str
        The form that was fastest.
    deviation : float
        The largest relative deviation of the loss in the first epoch.
    samples : list of float
        Microseconds a step, one for each round.
    forms : dict of str to float
        Microseconds a step of every form, from a short trial.
    error : str
        Why there is nothing; empty if there is.
    """

    form: str = ""
    deviation: float = float("nan")
    samples: list[float] = field(default_factory=list)
    forms: dict[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def microseconds(self) -> float:
        """The median."""
        return median(self.samples)

    @property
    def spread(self) -> float:
        """Half of the distance between the quartiles, relative to the median."""
        if len(self.samples) < 2:
            return 0.0
        low, _, high = quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / 2 / self.microseconds


@dataclass
class Result:
    """All timings: ``timings[row][peer]``, and the multiply-add peak of a core in GFLOP/s, a sample a round."""

    threads: int
    clock: str = "wall"
    timings: dict[str, dict[str, Timing]] = field(default_factory=dict)
    peaks: list[float] = field(default_factory=list)

    @property
    def peak(self) -> float:
        """GFLOP/s that all threads together could do."""
        return median(self.peaks) * self.threads

    def gflops(self, row: str, peer: str) -> float:
        """Return the GFLOP/s of the matrix products."""
        return ROWS[row].flop / self.timings[row][peer].microseconds / 1e3

    def speed_up(self, row: str, peer: str, over: str = "fastbp") -> float | None:
        """Return how many times as long as ``over`` a peer takes: the median over the rounds, each a pair."""
        one, other = self.timings[row].get(peer), self.timings[row].get(over)
        if one is None or other is None or not one.samples or not other.samples:
            return None
        return median(a / b for a, b in zip(one.samples, other.samples, strict=True))

    @property
    def failed(self) -> bool:
        """Whether a peer that is installed could not be timed."""
        return any(timing.error for row in self.timings.values() for timing in row.values())


def installed(peers: Iterable[str]) -> list[str]:
    """Return those of the peers whose library can be used here."""
    return [peer for peer in peers if missing(peer) is None]


def missing(peer: str) -> str | None:
    """Return what a peer needs and is not installed here, or None."""
    needed, program = PEERS[peer].library, PEERS[peer].program
    if needed != "fastbp" and version_of(needed) == "not installed":
        return needed
    return program if program and which(program) is None else None


def run(rows: Sequence[str], peers: Sequence[str], *, threads: int = 1, rounds: int = 7, seconds: float = 0.3,
        clock: str = "wall", say: Say = lambda line: None) -> Result:
    """Compare the peers on the rows.

    Parameters
    ----------
    rows, peers : sequences of str
        Names in ``ROWS`` and ``PEERS``.
    threads : int
    rounds : int
        How often each peer is timed.
    seconds : float
        How long each timing takes, about.
    clock : {"wall", "cpu"}
        "cpu" leaves out the time that other programs take, on a machine that is not idle; for one thread only.
    say : function
        Called with a line on what is being done.

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        If the CPU time of several threads is asked for.
    """
    if clock == "cpu" and threads > 1:
        raise ValueError(f"the clock is 'cpu' with {threads} threads; it adds up the time of all threads: take 'wall'")
    result = Result(threads, clock)
    workers = {peer: Worker(peer, threads) for peer in peers}
    try:
        for name in rows:
            result.timings[name] = _row(ROWS[name], workers, result, rounds, _Clock(clock, seconds), say)
    finally:
        for worker in workers.values():
            worker.close()
    return result


def _row(row: Row, workers: dict[str, Worker], result: Result, rounds: int, clock: _Clock,
         say: Say) -> dict[str, Timing]:
    exact = Exact(row.problem(), 1).losses()
    timings, epochs = {}, {}
    workers = {peer: worker for peer, worker in workers.items() if PEERS[peer].trains(row)}
    for peer, worker in workers.items():
        say(f"{row.name}: checking {PEERS[peer].label}")
        timings[peer], epochs[peer] = _prepare(row, peer, worker, exact, clock)
    for number in range(rounds):
        say(f"{row.name}: round {number + 1} of {rounds}")
        ready = [peer for peer in workers if not timings[peer].error]
        # another one begins each time: nobody always follows the same neighbour
        shift = number % max(len(ready), 1)
        for peer in ready[shift:] + ready[:shift]:
            _time(timings[peer], workers[peer], epochs[peer], clock)
        result.peaks.append(native.fma_peak(0.05))
    for worker in workers.values():
        with suppress(PeerError):
            worker.call("close")
    return timings


def _time(timing: Timing, worker: Worker, epochs: int, clock: _Clock) -> None:
    try:
        duration = worker.call("time", timing.form, epochs, clock.name)
    except PeerError as error:
        timing.error, timing.samples = str(error), []
    else:
        timing.samples.append(duration / epochs / MINI_BATCHES * 1e6)


def _prepare(row: Row, peer: str, worker: Worker, exact: np.ndarray, clock: _Clock) -> tuple[Timing, int]:
    """Check every form of a peer, try each, and keep the fastest; return with it the epochs that fill a timing."""
    timing, chosen = Timing(), 1
    for form in PEERS[peer].forms:
        try:
            losses = worker.call("open", row, form)
            deviation = float(np.max(np.abs(losses - exact) / np.abs(exact)))
            allowed = row.tolerance * PEERS[peer].slack
            if not deviation <= allowed:
                raise PeerError(f"its losses are off by {deviation:.1e}; at most {allowed:.0e} is allowed")
            epochs, each = _calibrate(worker, form, clock)
        except PeerError as error:
            timing.error = timing.error or f"{form}: {error}"
            continue
        timing.forms[form] = each / MINI_BATCHES * 1e6
        if len(timing.forms) == 1 or each < timing.forms[timing.form] * MINI_BATCHES / 1e6:
            timing.form, timing.deviation, chosen = form, deviation, epochs
    if timing.forms:
        timing.error = ""
    for form in PEERS[peer].forms:
        if form != timing.form:
            with suppress(PeerError):
                worker.call("close", form)
    return timing, chosen


def _calibrate(worker: Worker, form: str, clock: _Clock) -> tuple[int, float]:
    """Return how many epochs take about so many seconds, and the seconds of one."""
    epochs = 1
    while (duration := worker.call("time", form, epochs, clock.name)) < clock.seconds / 4:
        epochs = max(2 * epochs, round(epochs * min(clock.seconds / 3 / max(duration, 1e-9), 16)))
    return max(1, round(epochs * clock.seconds / duration)), duration / epochs

