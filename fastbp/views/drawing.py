"""What the SVG drawings share: the frame, and text in it."""

from __future__ import annotations

from collections.abc import Iterable

from fastbp.views import markup


def at(value: float) -> str:
    """Return a coordinate, to a tenth.

    >>> at(12.0), at(1234567.25)
    ('12', '1234567.2')
    """
    return f"{value:.1f}".removesuffix(".0")


def text(x: float, y: float, content: str, css: str = "", anchor: str = "middle") -> str:
    """Return a text element; ``content`` is markup."""
    kind = f' class="{css}"' if css else ""
    where = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text{kind} x="{at(x)}" y="{at(y)}"{where}>{content}</text>'


def frame(css: str, width: float, height: float, style: str, parts: Iterable[str], **attributes: str) -> str:
    """Return a whole drawing; further attributes of the <svg> are plain text."""
    given = "".join(f' {name.replace("_", "-")}="{markup.html(value)}"' for name, value in attributes.items())
    size = f'width="{at(width)}" height="{at(height)}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" class="{css}" viewBox="0 0 {at(width)} {at(height)}" '
                      f'{size} role="img"{given}>', f"<style>{style}</style>", *parts, "</svg>"])
