"""Export of a store's slices as the AnyAD release's tree of 8-bit PNGs, so that its code can run on them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.slices.intensity import apply_scale
from anyadbench.data.store.assemble import write_json
from anyadbench.data.store.store import SliceStore
from anyadbench.errors import UserError
from anyadbench.files import make_folder, write_bytes
from anyadbench.folders import atomic_folder
from anyadbench.progress import Progress

if TYPE_CHECKING:
    from jaxtyping import Int, Shaped, UInt8

    from anyadbench.data.slices.selection import Selection

PARTS = {"train": "train", "test/normal": "test/NORMAL", "test/abnormal": "test/ABNORMAL"}
"""Folder of each part, as the release spells it."""

_FIELD = (("pad_y", "height"), ("pad_x", "width"))


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        out: The tree.
        slices: Number of slices by part.
        incomplete: Slices that lack one of the exported sequences; the release's loader skips them.
        validation: Validation normals, which the release's tree has no folder for.
    """

    out: Path
    slices: dict[str, int]
    incomplete: int
    validation: int


def export_png(
    store: SliceStore,
    out: Path,
    selection: Selection,
    sequences: Sequence[str] = ("flair", "t1", "t2"),
    progress: Progress | None = None,
) -> Exported:
    """Write the slices of a selection; the tree appears whole or not at all.

    Each sequence of a slice is min-max scaled and cut to 8 bits, which is the first step of the release's own loader.
    Slices of a store that was itself made from PNGs are written unchanged, in the parts that their tree gave them.
    Masks hold 0 and 255.

    Args:
        store: Source of the slices.
        out: Folder to create.
        selection: Which slices train and test.
        sequences: Sequences to write, for scans that have them.
        progress: Called after each slice.

    Raises:
        UserError: If the folder is not empty or cannot be written, a slice name is ambiguous or contains a dot, or the
            store has boxes instead of masks.
    """
    if store.boxes is not None:
        cause = "has boxes instead of masks, which the release's tree cannot hold"
        raise UserError(f"{store.path} {cause}; export another data set.")
    out = Path(os.path.abspath(out))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not empty, and was left unchanged; name a new folder.")
    if out.is_relative_to(store.path):
        raise UserError(f"{out} lies inside the store {store.path}; name a folder outside it.")
    lists = _parts(store, selection)
    names = _names(store, np.concatenate(list(lists.values())))
    with atomic_folder(out, "--out") as work:
        incomplete = _write(store, work, lists, names, sequences, selection.rules.cavity, progress)
        write_json(work / "export.json", {"store": store.content_hash, "selection": selection.manifest()["hash"]})
    counts = {part: len(rows) for part, rows in lists.items()}
    left = np.setdiff1d(selection.val_normals, np.concatenate(list(lists.values())))
    return Exported(out, counts, incomplete, len(left))


def _parts(store: SliceStore, selection: Selection) -> dict[str, Int[np.ndarray, " n"]]:
    own = store.slices["part"].to_numpy()
    if (own != "").any():
        return {part: np.flatnonzero(own == part) for part in PARTS}
    chosen = (selection.train_normals, selection.test_normals, selection.test_abnormals)
    return dict(zip(PARTS, chosen, strict=True))


def _names(store: SliceStore, rows: Int[np.ndarray, " n"]) -> dict[int, str]:
    """Return each slice's name: subject, time point if there is one, and slice number."""
    names: dict[int, str] = {}
    for row, entry in zip(rows, store.slices.iloc[rows].to_dict("records"), strict=True):
        time = f"_Timepoint_{entry['timepoint']}" if entry["timepoint"] else ""
        scan = str(entry["scan"]) if store.own_parts else f"{entry['subject']}{time}"
        name = f"{scan}_slice{entry['slice']}"
        if "." in name:
            raise UserError(f"The slice {name} has a dot in its name, where the release truncates it; rename the scan.")
        names[int(row)] = name
    twice = sorted(name for name, count in Counter(names.values()).items() if count > 1)
    if twice:
        raise UserError(
            f"Two slices of {store.path} would be called {twice[0]}; prepare them with distinct time points."
        )
    return names


def _write(
    store: SliceStore,
    work: Path,
    lists: Mapping[str, Int[np.ndarray, " n"]],
    names: Mapping[int, str],
    sequences: Sequence[str],
    cavity: bool,
    progress: Progress | None,
) -> int:
    """Write every slice below ``work``; return how many lack a sequence."""
    wanted = [name for name in sequences if name in store.sequences]
    done = incomplete = 0
    # Slices that are in 8 bits already stay as they are.
    highest = store.scans[[f"max_{name}" for name in store.sequences]].to_numpy(np.float64)
    as_stored = store.own_parts and bool(np.nanmax(highest) <= 255)
    for part, rows in lists.items():
        folder = work / PARTS[part]
        for name in wanted:
            make_folder(folder / name, "--out")
        if part == "test/abnormal":
            make_folder(folder / "mask", "--out")
        for row in rows:
            pictures = _eight_bit(store, int(row), wanted, as_stored)
            for name, picture in pictures.items():
                _save(folder / name / f"{names[int(row)]}.png", picture)
            if part == "test/abnormal":
                mask = store.abnormal(np.array([row]), cavity)[0][_own_field(store, int(row))]
                _save(folder / "mask" / f"{names[int(row)]}_mask.png", mask.astype(np.uint8) * np.uint8(255))
            incomplete += len(pictures) < len(sequences)
            done += 1
            if progress is not None:
                progress(done, len(names), "writing slices")
    return incomplete


def _eight_bit(
    store: SliceStore, row: int, sequences: Sequence[str], as_stored: bool
) -> dict[str, UInt8[np.ndarray, "H W"]]:
    """Return the sequences that a slice has as 8-bit pictures, without the padding of the store."""
    rows = np.array([row])
    values, present = store.read(rows, sequences)
    y, x = _own_field(store, row)
    values = np.ascontiguousarray(values[:, :, y, x])
    if not as_stored:
        values = apply_scale(values, present, store, rows, sequences, "slice-minmax8") * np.float32(255)
    return {
        name: np.rint(values[0, place]).astype(np.uint8)
        for place, name in enumerate(sequences)
        if present[0, place]
    }  # fmt: skip


def _own_field(store: SliceStore, row: int) -> tuple[slice, slice]:
    scan = store.scans.iloc[store.scan_of_row[row]]
    y, x = (slice(int(scan[pad]), int(scan[pad]) + int(scan[size])) for pad, size in _FIELD)
    return y, x


def _save(path: Path, picture: Shaped[np.ndarray, "H W"]) -> None:
    import cv2

    done, data = cv2.imencode(".png", picture)
    assert done, "8-bit grey pictures can always be coded"
    write_bytes(path, data.tobytes(), "--out", fsync=False)
