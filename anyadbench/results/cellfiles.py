"""Which files a cell consists of, and its slice table."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from anyadbench.errors import UserError
from anyadbench.results.read import inside

HASHED = (
    "manifest.json",
    "protocol.toml",
    "scores/slices.csv",
    "scores/pixels.npz",
    "scores/bootstrap.npz",
    "scores/curves.json",
    "scores/maps.npz",
)
"""Files whose hashes stand in ``result.json``."""

NEEDED = ("manifest.json", "protocol.toml", "scores/slices.csv", "scores/pixels.npz")
"""Files that a number can be checked from; the others follow from them or are pictures."""

MAX_TABLE_BYTES = 256 * 2**20

Place = tuple[str, str]
Record = dict[str, Any]

_TYPES = {"slice": int, "label": int, "lesion_px": int, "height_mm": float, "brain": float, "image_score": float}


def read_slice_table(folder: Path) -> dict[Place, list[Record]]:
    """Read ``scores/slices.csv`` of a cell by test set and subset.

    Raises:
        UserError: If the file is missing, too large or damaged; the line is named.
    """
    name = f"{folder.name}/scores/slices.csv"
    path = inside(folder, "scores/slices.csv")
    if path is None or path.stat().st_size > MAX_TABLE_BYTES:
        raise UserError(f"{name} is missing, a link, or too large; run the cell again.")
    found: dict[Place, list[Record]] = {}
    line = 1
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for entry in csv.DictReader(stream):
                line += 1
                record: Record = {key: value for key, value in entry.items() if isinstance(value, str)}
                record |= {key: kind(entry[key]) for key, kind in _TYPES.items()}
                if record["label"] not in (0, 1) or not all(math.isfinite(record[key]) for key in _TYPES):
                    raise ValueError
                found.setdefault((record["test"], record["subset"]), []).append(record)
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        raise UserError(f"{name} is damaged near line {line}; run the cell again.") from None
    return found
