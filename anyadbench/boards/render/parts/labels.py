"""Labels beside the points of a plot, placed so that none covers a point, another label or the edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CHARACTER = 6.6
"""Width in pixels that a character of a label takes at most, on average."""

HEIGHT = 12.0
_RADIUS = 5.0
_DISTANCES = (9.0, 15.0, 22.0)

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""


@dataclass(frozen=True)
class Label:
    """Text beside a point: its anchor in pixels (of the baseline), and the box that it takes."""

    x: float
    y: float
    anchor: str
    text: str
    box: Box


def place_labels(
    points: Sequence[tuple[float, float]], texts: Sequence[Sequence[str]], edge: Box, lines: Sequence[Box] = ()
) -> list[Label | None]:
    """Place one label per point; earlier points choose first.

    Args:
        points: Centres of the points, in pixels.
        texts: For each point what to write, best first; shorter texts are tried if a longer one has no room.
        edge: Box that all labels must stay in.
        lines: Boxes of lines that no label may cover.

    Returns:
        The labels; ``None`` where no text has room.
    """
    taken = [*lines, *((x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in points)]
    found: list[Label | None] = []
    for (x, y), choices in zip(points, texts, strict=True):
        label = next((one for text in choices for one in _around(x, y, text) if _free(one.box, taken, edge)), None)
        if label is not None:
            taken.append(label.box)
        found.append(label)
    return found


def _around(x: float, y: float, text: str) -> list[Label]:
    """Return the places of a text around a point, best first."""
    width = CHARACTER * len(text)
    found = []
    for away in _DISTANCES:
        slant = 0.75 * away
        for dx, dy, anchor in (
            (away, 0.0, "start"), (-away, 0.0, "end"), (0.0, -away - 2, "middle"), (0.0, away + 2, "middle"),
            (slant, -slant, "start"), (slant, slant, "start"), (-slant, -slant, "end"), (-slant, slant, "end"),
        ):  # fmt: skip
            left = x + dx - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            top = y + dy - HEIGHT / 2
            found.append(Label(x + dx, y + dy + 4, anchor, text, (left, top, left + width, top + HEIGHT)))
    return found


def _free(box: Box, taken: Sequence[Box], edge: Box) -> bool:
    left, top, right, bottom = box
    if left < edge[0] or top < edge[1] or right > edge[2] or bottom > edge[3]:
        return False
    return all(right <= other[0] or left >= other[2] or bottom <= other[1] or top >= other[3] for other in taken)
