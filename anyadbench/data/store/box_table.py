"""The boxes of a store: ``boxes.csv`` beside the slices, in a data set whose lesions are marked by boxes."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.files import write_text

if TYPE_CHECKING:
    from jaxtyping import Float64

NAME = "boxes.csv"
_COLUMNS = ("row", "left", "top", "width", "height")


@dataclass
class BoxTable:
    """Collects the boxes of slices while a store is put together.

    Attributes:
        lines: Row of the slice, left, top, width and height in pixels of the padded slice.
        known: Whether any scan had boxes for labels, even if none of its slices has one.
    """

    lines: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    known: bool = False

    def add(self, meta: Mapping[str, Any], first: int, pad: tuple[int, int]) -> None:
        """Add the boxes of a scan whose first slice has the row ``first``, moved by its padding (y, x)."""
        if meta.get("boxes") is None:
            return
        self.known = True
        for row, own in enumerate(meta["boxes"], first):
            self.lines += [(row, left + pad[1], top + pad[0], width, height) for left, top, width, height in own]

    def write(self, folder: Path) -> dict[str, str]:
        """Write the table, and return the entry of ``store.json`` with its hash; nothing without boxes."""
        if not self.known:
            return {}
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows((row, *map(repr, map(float, box))) for row, *box in self.lines)
        write_text(folder / NAME, stream.getvalue(), fsync=False)
        return {"boxes": box_hash(folder)}


def box_hash(folder: Path) -> str:
    """Return the hash of the table; empty if there is none."""
    path = folder / NAME
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def read_box_table(folder: Path) -> dict[int, Float64[np.ndarray, "b 4"]]:
    """Return the boxes of each slice that has any, by its row.

    Raises:
        UserError: If the table is damaged.
    """
    found: dict[int, list[list[float]]] = {}
    try:
        with (folder / NAME).open(encoding="utf-8", newline="") as file:
            for cells in csv.DictReader(file):
                found.setdefault(int(cells["row"]), []).append([float(cells[name]) for name in _COLUMNS[1:]])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / NAME} is damaged ({error}); delete the store and prepare it again.") from None
    return {row: np.array(boxes, dtype=np.float64) for row, boxes in found.items()}
