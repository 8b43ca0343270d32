"""The files of a cell, and its slice table."""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anyadbench.errors import UserError
from anyadbench.results.read import inside
from anyadbench.results.slice_arrays import FURTHER, SOMETIMES, load_slices
from anyadbench.tables import unguarded

HASHED = (
    "manifest.json",
    "protocol.toml",
    "scores/slices.csv",
    "scores/slices.npz",
    "scores/pixels.npz",
    "scores/jackknife.npz",
    "scores/curves.json",
    "scores/maps.npz",
    "scores/normals.npz",
    "scores/scans.npz",
    "scores/healthy.csv",
    "scores/sites.csv",
    "scores/boxes.json",
)
"""Files whose hashes are stored in ``result.json``."""

NEEDED = ("manifest.json", "protocol.toml", "scores/pixels.npz")
"""Files needed to check a number, besides one of `SLICE_TABLES`; the others are derived from them or are pictures."""

WHOLE_SCANS = ("scores/scans.npz", "scores/healthy.csv", "scores/sites.csv", "scores/boxes.json")
"""Files of whole scans, alarms, sites and boxes; a cell has those that its protocol and data give."""

SLICE_TABLES = ("scores/slices.csv", "scores/slices.npz")
"""The slice table as a run writes it, and as it is published."""

MAX_TABLE_BYTES = 256 * 2**20

RowKey = tuple[str, str]
SliceRecord = dict[str, Any]

SLICE_COLUMNS: Mapping[str, Callable[[str], Any]] = {
    "test": str, "subset": str, "subject": str, "scan": str, "slice": int, "height_mm": float, "label": int,
    "lesion_px": int, "brain": float, "image_score": float,
}  # fmt: skip
"""Columns of the slice table in their order, and the type of each."""

SCORE_COLUMNS = FURTHER
"""Columns of further slice scores, in tables that have them; empty where a slice has none."""

FACT_COLUMNS = SOMETIMES
"""Columns of further whole numbers about slices, in tables that have them."""

_NUMBERS = [name for name, kind in SLICE_COLUMNS.items() if kind is not str]


def read_slice_table(folder: Path) -> dict[RowKey, list[SliceRecord]]:
    """Read the slice table of a cell, ``scores/slices.csv`` or ``scores/slices.npz``, by test set and subset.

    Raises:
        UserError: If the file is missing, too large or damaged; the sentence names the line.
    """
    if inside(folder, "scores/slices.csv") is None and (packed := inside(folder, "scores/slices.npz")) is not None:
        return load_slices(packed, f"{folder.name}/scores/slices.npz")
    name = f"{folder.name}/scores/slices.csv"
    path = inside(folder, "scores/slices.csv")
    if path is None or path.stat().st_size > MAX_TABLE_BYTES:
        raise UserError(f"{name} is missing, a link, or too large; run the cell again.")
    found: dict[RowKey, list[SliceRecord]] = {}
    line = 1
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for entry in csv.DictReader(stream):
                line += 1
                if None in entry or None in entry.values():  # longer or shorter than the header
                    raise ValueError
                # Python's own float reads back exactly what was written, whatever the version of pandas.
                record: SliceRecord = {
                    key: unguarded(entry[key]) if kind is str else kind(entry[key])
                    for key, kind in SLICE_COLUMNS.items()
                }
                further = {key: float(entry[key]) if entry[key] else None for key in SCORE_COLUMNS if key in entry}
                record |= further
                record |= {key: int(entry[key] or 0) for key in FACT_COLUMNS if key in entry}
                known = [record[key] for key in (*_NUMBERS, *further) if record[key] is not None]
                if record["label"] not in (0, 1) or not all(map(math.isfinite, known)):
                    raise ValueError
                found.setdefault((record["test"], record["subset"]), []).append(record)
    except (OSError, ValueError, KeyError, OverflowError, csv.Error):  # OverflowError: a whole number above any float
        raise UserError(f"{name} is damaged near line {line}; run the cell again.") from None
    return found


def further_columns(folder: Path) -> frozenset[str]:
    """Return which of `SCORE_COLUMNS` the slice table of a cell has, from its header alone; none if it is damaged."""
    packed, table = inside(folder, "scores/slices.npz"), inside(folder, "scores/slices.csv")
    try:
        if table is not None:
            with table.open(encoding="utf-8", newline="") as stream:
                names = set(next(csv.reader([stream.readline(10_000)]), []))
        elif packed is not None:
            with zipfile.ZipFile(packed) as archive:
                names = {name.removesuffix(".npy") for name in archive.namelist()}
        else:
            return frozenset()
    except (OSError, ValueError, csv.Error, zipfile.BadZipFile, NotImplementedError):
        return frozenset()
    return frozenset(names & set(SCORE_COLUMNS))
