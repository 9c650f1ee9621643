"""``python -m fastbp bench``: time a training step of some networks against other libraries."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from fastbp.commands.arguments import positive_float, positive_int
from fastbp.core.checks import file_to_write
from harness import machine, report, runner
from harness.layer_rows import ROWS
from harness.peers import PEERS


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS), metavar="ROW",
                        help=f"of {', '.join(ROWS)}")
    parser.add_argument("--peers", nargs="+", choices=tuple(PEERS), default=list(PEERS), metavar="PEER",
                        help=f"of {', '.join(PEERS)}; those that are not installed are left out")
    parser.add_argument("--threads", type=positive_int, default=1, help="threads, and CPUs to be confined to")
    parser.add_argument("--rounds", type=positive_int, default=7, help="how often each library is timed")
    parser.add_argument("--seconds", type=positive_float, default=0.3, help="how long one timing takes, about")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall",
                        help="cpu: leave out what other programs take, on a machine that is not idle; one thread only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all that was measured")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="where to draw the chart, as .svg")


def run(args: Namespace) -> None:
    """Check, time, print, write."""
    for option, path in (("--json", args.json), ("--chart", args.chart)):
        if path is not None:
            file_to_write(option, path)
    cpus = machine.fence(args.threads)
    peers = runner.installed(args.peers)
    for peer in args.peers:
        if peer not in peers:
            print(f"{PEERS[peer].label} is left out: {runner.missing(peer)} is not installed", file=sys.stderr)
    if not peers:
        raise ImportError("none of the libraries to be timed is installed")
    idle = [peer for peer in peers if not any(PEERS[peer].trains(ROWS[row]) for row in args.rows)]
    for peer in idle:
        print(f"{PEERS[peer].label} is left out: it trains no network of {', '.join(args.rows)}", file=sys.stderr)
    peers = [peer for peer in peers if peer not in idle]
    if not peers:
        raise ValueError("none of the libraries trains these networks")
    libraries = list(dict.fromkeys(["fastbp", "numpy", *(PEERS[peer].library for peer in peers)]))
    facts = machine.describe(libraries, args.threads, cpus)
    result = runner.run(args.rows, peers, threads=args.threads, rounds=args.rounds, seconds=args.seconds,
                        clock=args.clock, say=_say)
    print(report.table(result, facts))
    if args.json is not None:
        report.write_json(result, facts, args.json)
    if args.chart is not None:
        from harness import chart
        chart.draw(result, facts, args.chart)
    if result.failed:
        raise ValueError("not every library could be timed: see above")


def _say(line: str) -> None:
    """Show what is being done: in one line of a terminal, or a line each in a file."""
    start, end = ("\r\033[K", "") if sys.stderr.isatty() else ("", "\n")
    print(f"{start}{line}", end=end, file=sys.stderr, flush=True)
