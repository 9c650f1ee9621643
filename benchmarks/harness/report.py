"""The result as a table for people, as JSON for programs, and as a chart for the README."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from harness.layer_rows import ROWS
from harness.peers import PEERS
from harness.runner import Result, Timing

_HEADER = ("row", "network", "batch", "library", "µs a step", "spread", "GFLOP/s", "of peak", "÷ fastbp")


def table(result: Result, machine: dict[str, Any]) -> str:
    """Return the result as text."""
    lines: list[tuple[str, ...]] = [_HEADER]
    notes = []
    for name, timings in result.timings.items():
        row = ROWS[name]
        head = name, row.shape, str(row.batch)
        for peer, timing in timings.items():
            lines.append((*head, PEERS[peer].label, *_cells(result, name, peer, timing)))
            head = "", "", ""
            if timing.error:
                notes.append(f"{name}, {PEERS[peer].label}: {timing.error}")
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = ["  ".join(cell.ljust(w) if i in (0, 1, 3) else cell.rjust(w)
                      for i, (cell, w) in enumerate(zip(line, widths, strict=True))).rstrip() for line in lines]
    parts = [_facts(result, machine), body, _forms(result), notes]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _forms(result: Result) -> list[str]:
    """Say what was tried where a library can be used in several ways; the table has the fastest."""
    lines = []
    for name, timings in result.timings.items():
        for peer, timing in timings.items():
            if len(timing.forms) > 1:
                tried = ", ".join(f"{form} {short(time)}" for form, time in timing.forms.items())
                lines.append(f"{name}, {PEERS[peer].label}, µs a step in a short trial: {tried}")
    return lines


def _cells(result: Result, row: str, peer: str, timing: Timing) -> tuple[str, ...]:
    if not timing.samples:
        return "n/a", "", "", "", ""
    gflops, ratio = result.gflops(row, peer), result.speed_up(row, peer)
    return (short(timing.microseconds), f"±{timing.spread:.1%}", short(gflops),
            f"{gflops / result.peak:.1%}", "n/a" if ratio is None else f"{ratio:.2f}")


def short(value: float) -> str:
    """Return a number with three digits, or all those before the point.

    >>> short(0.8514), short(13.72), short(91347.2)
    ('0.851', '13.7', '91\u202f347')
    """
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{digits}f}".replace(",", "\u202f")


def _facts(result: Result, machine: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return [
        f"{machine['cpu']}, {machine['isa']}, {machine['threads']} thread{'s' * (machine['threads'] != 1)} on CPU "
        f"{', '.join(map(str, machine['pinned_to']))} of {machine['cores']}; {machine['system']}",
        f"multiply-add peak in float32: {result.peak:.1f} GFLOP/s, measured between the rounds",
        versions,
        f"{machine['command']}, {machine['date']}, load {machine['load_average_at_start']}, {result.clock} clock",
    ]


def as_json(result: Result, machine: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was measured, as JSON has it."""
    def entry(row: str, peer: str, timing: Timing) -> dict[str, Any]:
        if not timing.samples:
            return {"error": timing.error}
        gflops = result.gflops(row, peer)
        return {"microseconds": timing.microseconds, "spread": timing.spread, "gflops": gflops,
                "share_of_peak": gflops / result.peak,
                "times_as_long_as_fastbp": result.speed_up(row, peer), "form": timing.form, "forms": timing.forms,
                "loss_deviation": timing.deviation, "samples": timing.samples}
    return {
        "machine": machine, "clock": result.clock,
        "peak_gflops": result.peak, "peak_samples_of_one_core": result.peaks,
        "rows": {row: {"widths": ROWS[row].widths, "batch": ROWS[row].batch, "activation": ROWS[row].activation,
                       "loss": ROWS[row].loss, "flop": ROWS[row].flop,
                       "peers": {peer: entry(row, peer, timing) for peer, timing in timings.items()}}
                 for row, timings in result.timings.items()},
    }


def write_json(result: Result, machine: dict[str, Any], path: Path) -> None:
    """Write what was measured to a file."""
    path.write_text(json.dumps(as_json(result, machine), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
