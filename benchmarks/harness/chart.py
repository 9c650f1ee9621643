"""The chart that the README shows: a panel for each row, a bar for each library. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.layer_rows import ROWS
from harness.peers import PEERS
from harness.report import short
from harness.runner import Result

# Middle tones, readable on white and on black alike; the background is left out.
TEXT, OWN, OTHERS = "#7d8590", "#e8710a", "#8093a8"
SHOWN = ("fastbp", "jax", "compiled", "eager", "sklearn")
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "fastbp", "font.family": "sans-serif", "font.size": 9,
    "text.color": TEXT, "axes.labelcolor": TEXT, "axes.edgecolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT,
}


def draw(result: Result, machine: dict[str, Any], path: Path) -> None:
    """Draw microseconds a step into an SVG file.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise ImportError("the chart needs matplotlib: pip install matplotlib") from None
    matplotlib.use("svg")
    from matplotlib import pyplot as plt
    rows = list(result.timings)
    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(lines, columns, figsize=(3.3 * columns, 1.75 * lines + 0.4), squeeze=False)
        for ax, row in zip(axes.flat, rows, strict=False):
            _panel(ax, result, row)
        for ax in axes.flat[len(rows):]:
            ax.axis("off")
        figure.supxlabel(f"µs a training step, shorter is better; the line is the limit of the arithmetic · "
                         f"{machine['cpu']}, {machine['threads']} thread{'s' * (machine['threads'] != 1)}", fontsize=8)
        figure.tight_layout(w_pad=1.5, h_pad=1.2)
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)


def _panel(ax: Any, result: Result, row: str) -> None:
    peers = [p for p in SHOWN if p in result.timings[row] and result.timings[row][p].samples]
    times = [result.timings[row][p].microseconds for p in peers]
    ax.barh(range(len(peers)), times, height=0.72, color=[OWN if p == "fastbp" else OTHERS for p in peers])
    ax.set_yticks(range(len(peers)), [PEERS[p].label for p in peers])
    ax.invert_yaxis()
    longest = max(times, default=1)
    for i, (peer, time) in enumerate(zip(peers, times, strict=True)):
        ratio = result.speed_up(row, peer)
        beside = "" if peer == "fastbp" or ratio is None else f"  ({short(ratio)}×)"
        ax.text(time + 0.02 * longest, i, f"{short(time)}{beside}", va="center", fontsize=8)
    ax.axvline(ROWS[row].flop / result.peak / 1e3, color=TEXT, linewidth=0.9, linestyle=(0, (2, 2)))
    ax.set_xlim(0, 1.65 * longest)
    ax.set_xticks([])
    ax.set_title(f"{row}: {ROWS[row].shape}, batch {ROWS[row].batch}", fontsize=9, color=TEXT, loc="left", x=-0.3)
    ax.tick_params(length=0)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
