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

    Raises:
        UserError: If the table cannot be read, lacks a column, or holds a box without a size; it names the line.
    """
    table = read_table(path, f"The table of boxes {path}", f"give a table with {', '.join(COLUMNS)}")
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise UserError(f"The table of boxes {path} lacks the column {missing[0]!r}; name its columns {_NAMES}.")
    found: dict[str, list[Box]] = {}
    for line in table.lines:
        own = found.setdefault(readable(Path(line.cells["filename"]).stem), [])
        cells = [line.cells[name] for name in COLUMNS[1:]]
        if any(cells):
            own.append(_box(path, line.number, cells))
    return found


def _box(path: Path, line: int, cells: Sequence[str]) -> Box:
    try:
        left, top, width, height = (number(cell) for cell in cells)
    except ValueError as error:
        raise UserError(f"The table of boxes {path}, line {line}: {error}; give four numbers.") from None
    if not all(map(math.isfinite, (left, top, width, height))) or width <= 0 or height <= 0:
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
