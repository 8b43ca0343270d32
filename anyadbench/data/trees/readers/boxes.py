"""The table of boxes of a data set."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.errors import UserError
from anyadbench.names import readable
from anyadbench.tables import number, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels."""

COLUMNS = ("filename", "x", "y", "width", "height")


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """Return the boxes of each image by the stem of its file name; a line with only a name is an image without a box.

    A box that is listed twice counts once.

    Raises:
        UserError: If the table cannot be read, lacks a column, contradicts itself, or holds a box without a size; it
            names the lines.
    """
    return boxes_and_notes(path)[0]


def boxes_and_notes(path: Path) -> tuple[dict[str, list[Box]], list[str]]:
    """Return the boxes as ``read_boxes``, and what is odd about the table, as predicates of sentences about it."""
    table = read_table(path, f"The table of boxes {path}", f"give a table with {', '.join(COLUMNS)}")
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise UserError(f"The table of boxes {path} lacks the column {missing[0]!r}; name its columns {_NAMES}.")
    found: dict[str, dict[Box | None, int]] = {}
    files: dict[str, tuple[str, int]] = {}
    notes: list[str] = []
    for line in table.lines:
        file, cells = line.cells["filename"], [line.cells[name] for name in COLUMNS[1:]]
        stem = readable(Path(file).stem)
        if not stem:
            raise UserError(f"The table of boxes {path}, line {line.number}, names no image; add its file name.")
        known, first = files.setdefault(stem, (str(Path(file)), line.number))
        if known != str(Path(file)):
            raise UserError(
                f"The table of boxes {path}, lines {first} and {line.number}, names both {known} and {file}, which are "
                f"one image {stem} here; give each image a name of its own."
            )
        own = found.setdefault(stem, {})
        box = _box(path, line.number, cells) if any(cells) else None
        if box in own:
            what = f"a box of {stem}" if box else f"{stem} without a box"
            notes.append(f"lists {what} twice (lines {own[box]} and {line.number}), which counts once")
            continue
        if own and (box is None or None in own):
            before = next(iter(own.values()))
            raise UserError(
                f"The table of boxes {path}, lines {before} and {line.number}, says that {stem} has no box and that it "
                "has one; keep the right lines."
            )
        own[box] = line.number
    return {stem: [box for box in own if box is not None] for stem, own in found.items()}, notes


def _box(path: Path, line: int, cells: Sequence[str]) -> Box:
    try:
        left, top, width, height = (number(cell) for cell in cells)
    except ValueError as error:
        raise UserError(f"The table of boxes {path}, line {line}: {error}; give four numbers.") from None
    if not all(map(math.isfinite, (left, top, width, height))):
        raise UserError(f"The table of boxes {path}, line {line}, holds NaN or infinity; give four numbers.")
    if width <= 0 or height <= 0:
        raise UserError(
            f"The table of boxes {path}, line {line}, has a box of {width:g} x {height:g} pixels; give it a size."
        )
    return left, top, width, height


def outside(boxes: Sequence[Box], shape: tuple[int, int]) -> Box | None:
    """Return the first box that does not lie inside an image of this height and width; a pixel's width is tolerated."""
    height, width = shape
    for left, top, own_width, own_height in boxes:
        if left < -1 or top < -1 or left + own_width > width + 1 or top + own_height > height + 1:
            return left, top, own_width, own_height
    return None


_NAMES = ", ".join(COLUMNS)
